/* SPDX-License-Identifier: BSD-2-Clause */
/* Objects: pages shared and copied, taken back from every space, and what is behind them. */
#include <stdlib.h>
#include <string.h>

#include <aspace/object.h>

#include "suites.h"

/* ------------------------------------------------------------------------------------------ an object that keeps
 * books */

enum { STORE_PAGES = 8, READS_ONLY = 1, PAGE_IS_OUT = 2 };

/* Page n is filled with n + 1 until somebody writes it. */
struct store {
    struct aspace_object object; /* first */
    struct aspace_frame page[STORE_PAGES];
    unsigned references[STORE_PAGES]; /* mappings that `get` gave the page for */
    unsigned gets, puts, writes, dirty, wrong, released;
    uint8_t how[STORE_PAGES]; /* READS_ONLY: told of the first write; PAGE_IS_OUT: NEEDS_IO */
    void (*inside)(struct store *store);
    struct env *env;
    struct aspace_frame spare;
};

static struct store *store_of(struct aspace_object *object)
{
    return (struct store *)(void *)object;
}

static enum aspace_fault_result store_get(struct aspace_object *object, uint64_t offset, uint32_t access,
                                          uint32_t flags, struct aspace_page *page)
{
    struct store *s = store_of(object);
    uint64_t n = offset / PAGE;

    if (n >= STORE_PAGES || offset % PAGE || (flags & ~(uint32_t)ASPACE_GET_COPY)) {
        s->wrong++;
        return ASPACE_FAULT_BUS;
    }
    s->gets++;
    s->writes += (access & ASPACE_W) != 0;
    if (s->how[n] & PAGE_IS_OUT) {
        return ASPACE_FAULT_NEEDS_IO;
    }
    page->pa = s->page[n].pa;
    s->references[n]++;
    if (s->how[n] & READS_ONLY && !(access & ASPACE_W)) {
        page->rights &= ~(uint32_t)ASPACE_W;
    }
    if (s->inside) {
        void (*inside)(struct store *) = s->inside;
        s->inside = NULL;
        inside(s);
    }
    return ASPACE_FAULT_DONE;
}

static void store_put(struct aspace_object *object, uint64_t offset, aspace_pa_t pa)
{
    struct store *s = store_of(object);
    uint64_t n = offset / PAGE;

    s->puts++;
    s->wrong += n >= STORE_PAGES || s->references[n]-- == 0 || (pa != s->page[n].pa && pa != s->spare.pa);
}

static void store_dirty(struct aspace_object *object, uint64_t offset, aspace_pa_t pa)
{
    struct store *s = store_of(object);
    uint64_t n = offset / PAGE;

    s->dirty |= 1u << n;
    s->wrong += n >= STORE_PAGES || pa == ASPACE_PA_NONE || s->references[n] == 0;
}

static void store_released(struct aspace_object *object)
{
    store_of(object)->released++;
}

static const struct aspace_object_ops store_ops = {
    .name = "store",
    .get = store_get,
    .put = store_put,
    .dirty = store_dirty,
    .released = store_released,
};

static uint64_t pattern(unsigned n)
{
    return (n + 1) * UINT64_C(0x0101010101010101);
}

static void store_open(struct env *env, struct store *s)
{
    memset(s, 0, sizeof(*s));
    s->env = env;
    CHECK_OK(aspace_object_init(&s->object, env->host, &store_ops, STORE_PAGES * PAGE));
    for (unsigned n = 0; n < STORE_PAGES; n++) {
        CHECK_OK(aspace_frame_alloc(env->host, 0, true, &s->page[n]));
        aspace_frame_fill(&s->page[n], (uint8_t)(n + 1));
    }
    CHECK_OK(aspace_frame_alloc(env->host, 0, true, &s->spare));
    aspace_frame_fill(&s->spare, 0x77);
}

/* Nobody maps it any more. */
static void store_close(struct store *s)
{
    aspace_trim(s->env->host);
    CHECK_EQ(s->wrong, 0);
    CHECK_EQ(s->gets >= s->puts, 1);
    for (unsigned n = 0; n < STORE_PAGES; n++) {
        CHECK_EQ(s->references[n], 0);
        aspace_frame_release(&s->page[n]);
    }
    aspace_frame_release(&s->spare);
    CHECK_EQ(s->released, 0);
    aspace_object_put(&s->object);
    CHECK_EQ(s->released, 1);
}

static uint64_t word_of(const struct aspace_frame *frame)
{
    uint64_t word;

    memcpy(&word, aspace_phys_to_virt(frame->pa), sizeof(word));
    return word;
}

static struct aspace_map request_object(enum aspace_kind kind, uint64_t va, uint64_t pages, uint32_t rights,
                                        struct aspace_object *object)
{
    struct aspace_map m = request(kind, va, pages * PAGE, rights);

    m.object = object;
    return m;
}

static void map_in(struct env *env, struct aspace *space, struct aspace_map m)
{
    m.max_rights = m.rights | env->rw;
    CHECK_OK(aspace_map(space, &m, NULL));
}

static void map_object(struct env *env, enum aspace_kind kind, uint64_t va, uint64_t pages,
                       struct aspace_object *object)
{
    map_in(env, env->space, request_object(kind, va, pages, env->rw, object));
}

/* Another space of the same shape, where nothing runs. */
static struct aspace *second_space(struct env *env)
{
    struct aspace_config config = env->config;
    struct aspace *space = aligned_alloc(ASPACE_CACHE_LINE, aspace_bytes(env->host));

    CHECK(space != NULL);
    config.tag++;
    CHECK_OK(aspace_create(space, env->host, &config));
    return space;
}

static void end_space(struct aspace *space)
{
    CHECK_EQ(aspace_audit(space, NULL, NULL), 0);
    CHECK_OK(aspace_destroy(space));
    free(space);
}

static uint64_t peek_in(struct aspace *space, uint64_t va)
{
    uint64_t value = 0;

    CHECK_OK(aspace_read(space, va, &value, sizeof(value), NULL));
    return value;
}

static void poke_in(struct aspace *space, uint64_t va, uint64_t value)
{
    CHECK_OK(aspace_write(space, va, &value, sizeof(value), NULL));
}

/* -------------------------------------------------------------------------------------------------- shared, private */

static void shared(struct env *env)
{
    static struct store s;
    uint64_t va = at(env, 1, 0);
    struct aspace *other = second_space(env);

    store_open(env, &s);
    map_object(env, ASPACE_KIND_SHARED, va, 6, &s.object);
    struct aspace_map m = request_object(ASPACE_KIND_SHARED, va + PAGE, 4, env->rw, &s.object);
    m.offset = 2 * PAGE;
    map_in(env, other, m);
    CHECK_EQ(s.gets, 0);
    touch(env, va + 3 * PAGE, ASPACE_W);
    expect_leaf(env, va + 3 * PAGE, s.page[3].pa, env->rw);
    CHECK_EQ(peek_in(other, va + 2 * PAGE), pattern(3));
    poke(env, va + 3 * PAGE, 33);
    CHECK_EQ(peek_in(other, va + 2 * PAGE), 33);
    poke_in(other, va + 4 * PAGE, 55);
    CHECK_EQ(peek(env, va + 5 * PAGE), 55);
    CHECK_EQ(frames_held(env), 0); /* lent, not owned */
    CHECK_EQ(query(env, va).object == &s.object && query(env, va).backend == NULL, 1);
    CHECK_EQ(query(env, va + PAGE).kind, ASPACE_KIND_SHARED);
    CHECK_FAULT(aspace_fault(env->space, va + 3 * PAGE, ASPACE_W, NULL), ASPACE_FAULT_SPURIOUS);
    CHECK_OK(aspace_unmap(env->space, va + 3 * PAGE, PAGE));
    CHECK_EQ(peek_in(other, va + 2 * PAGE), 33);
    CHECK_OK(aspace_clear(env->space));
    end_space(other);
    CHECK_EQ(word_of(&s.page[3]), 33);
    store_close(&s);
}

static void private_copies(struct env *env)
{
    static struct store s;
    uint64_t va = at(env, 1, 0);
    struct aspace *other = second_space(env);

    store_open(env, &s);
    map_object(env, ASPACE_KIND_PRIVATE, va, 8, &s.object);
    map_in(env, other, request_object(ASPACE_KIND_PRIVATE, va, 8, env->rw, &s.object));
    CHECK_EQ(peek(env, va + PAGE), pattern(1));
    expect_leaf(env, va + PAGE, s.page[1].pa, env->ro);
    CHECK_EQ(frames_held(env), 0);
    poke(env, va + PAGE, 11);
    CHECK_EQ(frames_held(env), 1);
    CHECK_EQ(word_of(&s.page[1]), pattern(1));
    CHECK_EQ(peek_in(other, va + PAGE), pattern(1));
    CHECK_OK(aspace_protect(env->space, va, 8 * PAGE, 0));
    CHECK_OK(aspace_protect(env->space, va, 8 * PAGE, env->rw));
    CHECK_EQ(peek(env, va + PAGE), 11);
    CHECK_EQ(s.writes, 0); /* the object is never written */
    audit(env);
    CHECK_OK(aspace_discard(env->space, va, 8 * PAGE));
    CHECK_EQ(peek(env, va + PAGE), pattern(1));
    CHECK_EQ(frames_held(env), 0);
    CHECK_OK(aspace_clear(env->space));
    end_space(other);
    CHECK_EQ(s.dirty, 0);
    store_close(&s);
}

/* One fault, without mapping the object's page in between. */
static void private_written_first(struct env *env)
{
    static struct store s;
    uint64_t va = at(env, 1, 0);

    store_open(env, &s);
    map_object(env, ASPACE_KIND_PRIVATE, va, 8, &s.object);
    touch(env, va + 2 * PAGE, ASPACE_W);
    CHECK(agree(env, va + 2 * PAGE).pa != s.page[2].pa);
    CHECK_EQ(agree(env, va + 2 * PAGE).rights, env->rw);
    CHECK_EQ(s.gets, 1);
    CHECK_EQ(s.puts, 1);
    CHECK_EQ(frames_held(env), 1);
    CHECK_EQ(peek(env, va + 2 * PAGE), pattern(2));
    CHECK_OK(aspace_clear(env->space));
    CHECK_EQ(frames_held(env), 0);
    store_close(&s);
}

static void refused(struct env *env)
{
    static struct store s;
    uint64_t va = at(env, 1, 0);
    struct aspace_map m = request_object(ASPACE_KIND_SHARED, va, 4, env->rw, NULL);
    struct aspace_range culprit;

    store_open(env, &s);
    CHECK_ERROR(aspace_map(env->space, &m, NULL), ASPACE_E_INVALID);
    m.object = &s.object;
    m.offset = 8;
    CHECK_ERROR(aspace_map(env->space, &m, NULL), ASPACE_E_INVALID);
    m.offset = UINT64_MAX - 4095;
    CHECK_ERROR(aspace_map(env->space, &m, NULL), ASPACE_E_INVALID);
    m.offset = 0;
    do_map(env, ASPACE_KIND_LAZY, va + PAGE, PAGE, env->rw);
    CHECK_ERROR(aspace_map(env->space, &m, &culprit), ASPACE_E_EXISTS);
    CHECK_EQ(culprit.va, va + PAGE);
    m.size = PAGE;
    m.offset = 7 * PAGE;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    s.how[7] = PAGE_IS_OUT;
    CHECK_FAULT(aspace_fault(env->space, va, ASPACE_R, NULL), ASPACE_FAULT_NEEDS_IO);
    expect_absent(env, va);
    CHECK_OK(aspace_clear(env->space));
    store_close(&s); /* also the reference of the map that failed */
}

/* A page past the end of the object is not there, whatever the area's size. */
static void past_the_end(struct env *env)
{
    static struct store s;
    uint64_t va = at(env, 1, 0), value, done;
    struct aspace_fault_info info;

    store_open(env, &s);
    map_object(env, ASPACE_KIND_PRIVATE, va, STORE_PAGES + 2, &s.object);
    CHECK_FAULT(aspace_fault(env->space, va + STORE_PAGES * PAGE, ASPACE_W, &info), ASPACE_FAULT_BUS);
    CHECK_EQ(info.area_id, query(env, va).id);
    CHECK_ERROR(aspace_read(env->space, va + (STORE_PAGES + 1) * PAGE, &value, 8, NULL), ASPACE_E_FAULT);
    CHECK_ERROR(aspace_populate(env->space, va, (STORE_PAGES + 2) * PAGE, &done), ASPACE_E_FAULT);
    CHECK_EQ(done, STORE_PAGES * PAGE);
    CHECK_OK(aspace_clear(env->space));
    store_close(&s);
}

/* ------------------------------------------------------------------------------------------------- taking pages
 * back */

static void truncated(struct env *env)
{
    static struct store s;
    uint64_t va = at(env, 1, 0), done;
    struct aspace *other = second_space(env);

    store_open(env, &s);
    map_object(env, ASPACE_KIND_SHARED, va, 8, &s.object);
    map_in(env, other, request_object(ASPACE_KIND_PRIVATE, va + PAGE, 8, env->rw, &s.object));
    cpu_enter(env, 1);
    CHECK_OK(aspace_populate(env->space, va, 8 * PAGE, &done));
    CHECK_OK(aspace_populate(other, va + PAGE, 8 * PAGE, &done));
    poke_in(other, va + PAGE + 6 * PAGE, 66); /* a copy */
    poke_in(other, va + PAGE + 2 * PAGE, 22);
    CHECK(cpu_run(env, 1, va + 5 * PAGE, ASPACE_W) != ASPACE_PA_NONE);
    aspace_object_truncate(&s.object, 4 * PAGE + 1);
    CHECK_EQ(cpu_access(env, 1, va + 5 * PAGE, ASPACE_R), ASPACE_PA_NONE);
    expect_absent(env, va + 5 * PAGE);
    CHECK_FAULT(aspace_fault(env->space, va + 5 * PAGE, ASPACE_R, NULL), ASPACE_FAULT_BUS);
    CHECK_FAULT(aspace_fault(other, va + PAGE + 6 * PAGE, ASPACE_R, NULL), ASPACE_FAULT_BUS);
    CHECK_EQ(peek(env, va + 4 * PAGE), pattern(4)); /* partly there */
    CHECK_EQ(peek_in(other, va + PAGE + 2 * PAGE), 22);
    audit(env);
    aspace_trim(env->host);
    CHECK_EQ(s.references[3] + s.references[4], 4);
    CHECK_EQ(s.references[5] + s.references[6] + s.references[7], 0);
    aspace_object_truncate(&s.object, 8 * PAGE);
    CHECK_EQ(peek_in(other, va + PAGE + 6 * PAGE), pattern(6));
    CHECK_EQ(peek(env, va + 7 * PAGE), pattern(7));
    cpu_leave(env, 1);
    CHECK_OK(aspace_clear(env->space));
    end_space(other);
    store_close(&s);
}

/* Many pages, in areas that begin and end anywhere in several tables, and nothing to put the items in. */
static void truncated_without_memory(struct env *env)
{
    struct aspace_anon a;
    uint64_t pages = 3 * (env->span[1] / PAGE) / 2, va = at(env, 1, 0) + 3 * PAGE, done;

    if (va + pages * PAGE > env->end) {
        test_skip("the space is too small");
    }
    CHECK_OK(aspace_anon_init(&a, env->host, pages * PAGE, 0));
    map_object(env, ASPACE_KIND_SHARED, va, pages, &a.object);
    CHECK_OK(aspace_populate(env->space, va, pages * PAGE, &done));
    poke(env, va + (pages - 1) * PAGE, 5);
    CHECK_EQ(a.frames, pages);
    arena_fail_from(&env->machine.arena, 1);
    CHECK_OK(aspace_anon_truncate(&a, PAGE));
    arena_fail_from(&env->machine.arena, 0);
    CHECK_EQ(a.frames, 1);
    CHECK_FAULT(aspace_fault(env->space, va + (pages - 1) * PAGE, ASPACE_R, NULL), ASPACE_FAULT_BUS);
    CHECK_OK(aspace_anon_truncate(&a, pages * PAGE));
    CHECK_EQ(peek(env, va + (pages - 1) * PAGE), 0);
    audit(env);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    aspace_object_put(&a.object);
}

static void evicted(struct env *env)
{
    static struct store s;
    uint64_t va = at(env, 1, 0);
    struct aspace *other = second_space(env);

    store_open(env, &s);
    map_object(env, ASPACE_KIND_SHARED, va, 8, &s.object);
    map_in(env, other, request_object(ASPACE_KIND_PRIVATE, va, 8, env->rw, &s.object));
    CHECK_EQ(peek(env, va + 2 * PAGE), pattern(2));
    CHECK_EQ(peek_in(other, va + 2 * PAGE), pattern(2));
    poke_in(other, va + 3 * PAGE, 33);
    CHECK_EQ(peek(env, va + 3 * PAGE), pattern(3));
    cpu_enter(env, 1);
    CHECK_EQ(cpu_run(env, 1, va + 3 * PAGE, ASPACE_R), s.page[3].pa);
    aspace_object_evict(&s.object, 2 * PAGE, 2 * PAGE);
    CHECK_EQ(cpu_access(env, 1, va + 3 * PAGE, ASPACE_R), ASPACE_PA_NONE);
    cpu_leave(env, 1);
    expect_absent(env, va + 2 * PAGE);
    aspace_trim(env->host);
    CHECK_EQ(s.references[2], 0);
    CHECK_EQ(s.references[3], 0);
    CHECK_EQ(peek_in(other, va + 3 * PAGE), 33); /* its own */
    unsigned gets = s.gets;
    CHECK_EQ(peek_in(other, va + 2 * PAGE), pattern(2));
    CHECK_EQ(peek(env, va + 2 * PAGE), pattern(2));
    CHECK_EQ(s.gets, gets + 2);
    CHECK(!aspace_object_evict(&s.object, 5 * PAGE, PAGE)); /* nobody has it */
    poke(env, va + 5 * PAGE, 5);
    CHECK(aspace_object_evict(&s.object, 5 * PAGE + 7, 1));
    CHECK_EQ(s.dirty, 0); /* told at once, so not again */
    CHECK_OK(aspace_clear(env->space));
    end_space(other);
    store_close(&s);
}

/* A page that was written is told when its mapping ends, also with its whole table; one only read is not, where
 * hardware can tell. */
static void dirty_told(struct env *env)
{
    static struct store s;
    uint64_t va = at(env, 1, 0);

    store_open(env, &s);
    s.how[1] = READS_ONLY;
    map_object(env, ASPACE_KIND_SHARED, va, 8, &s.object);
    CHECK_EQ(peek(env, va), pattern(0));
    CHECK_EQ(peek(env, va + PAGE), pattern(1));
    poke(env, va + 2 * PAGE, 2);
    poke(env, va + 3 * PAGE, 3);
    CHECK_OK(aspace_unmap(env->space, va + 2 * PAGE, PAGE));
    aspace_trim(env->host);
    CHECK_EQ(s.dirty, 4);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    if (naive_used(&env->config, 0, true) != 0) {
        CHECK_EQ(s.dirty, 12);
    } else {
        CHECK_EQ(s.dirty & 12, 12);
    }
    store_close(&s);
}

/* No write is lost between two rounds of writing back. */
static void cleaned(struct env *env)
{
    static struct store s;
    uint64_t va = at(env, 1, 0);
    struct aspace *other = second_space(env);

    store_open(env, &s);
    s.how[4] = READS_ONLY;
    map_object(env, ASPACE_KIND_SHARED, va, 8, &s.object);
    map_in(env, other, request_object(ASPACE_KIND_SHARED, va, 8, env->rw, &s.object));
    CHECK_EQ(peek(env, va + 4 * PAGE), pattern(4));
    expect_leaf(env, va + 4 * PAGE, s.page[4].pa, env->ro);
    CHECK_EQ(s.writes, 0);
    cpu_enter(env, 1);
    for (unsigned round = 1; round <= 3; round++) {
        CHECK_EQ(cpu_run(env, 1, va + 4 * PAGE, ASPACE_W), s.page[4].pa);
        CHECK_EQ(s.writes, 2 * round - 1);
        poke_in(other, va + 4 * PAGE, round);
        CHECK_EQ(s.writes, 2 * round);
        CHECK(aspace_object_clean(&s.object, 4 * PAGE, PAGE));
        CHECK_EQ(cpu_access(env, 1, va + 4 * PAGE, ASPACE_W), ASPACE_PA_NONE);
        expect_leaf(env, va + 4 * PAGE, s.page[4].pa, env->ro);
        CHECK_EQ(peek(env, va + 4 * PAGE), round);
        audit(env);
    }
    CHECK(!aspace_object_clean(&s.object, 4 * PAGE, PAGE));
    CHECK(!aspace_object_evict(&s.object, 4 * PAGE, PAGE));
    cpu_leave(env, 1);
    CHECK_OK(aspace_protect(env->space, va, 8 * PAGE, 0));
    aspace_object_clean(&s.object, 0, STORE_PAGES * PAGE);
    CHECK_OK(aspace_protect(env->space, va, 8 * PAGE, env->rw));
    poke(env, va + 4 * PAGE, 9);
    CHECK_EQ(s.writes, 7);
    CHECK_OK(aspace_clear(env->space));
    end_space(other);
    store_close(&s);
}

/* ------------------------------------------------------------------------------------------ between answer and
 * install */

static void evict_now(struct store *s)
{
    aspace_pa_t pa = s->page[2].pa;

    s->page[2].pa = s->spare.pa; /* what the object says from now on */
    s->spare.pa = pa;
    CHECK(!aspace_object_evict(&s->object, 2 * PAGE, PAGE));
}

static void truncate_now(struct store *s)
{
    aspace_object_truncate(&s->object, 2 * PAGE);
}

static void between(struct env *env, void (*inside)(struct store *), enum aspace_kind kind, uint32_t access)
{
    static struct store s;
    uint64_t va = at(env, 1, 0);
    enum aspace_fault_result expected = inside == truncate_now ? ASPACE_FAULT_BUS : ASPACE_FAULT_DONE;

    store_open(env, &s);
    map_object(env, kind, va, 8, &s.object);
    s.inside = inside;
    CHECK_FAULT(aspace_fault(env->space, va + 2 * PAGE, access, NULL), expected);
    if (expected == ASPACE_FAULT_DONE) {
        CHECK_EQ(peek(env, va + 2 * PAGE), UINT64_C(0x7777777777777777));
    } else {
        expect_absent(env, va + 2 * PAGE);
    }
    CHECK_EQ(s.references[2], expected == ASPACE_FAULT_DONE && !(kind == ASPACE_KIND_PRIVATE && access & ASPACE_W));
    CHECK_OK(aspace_clear(env->space));
    store_close(&s);
}

static void evicted_before_install(struct env *env)
{
    between(env, evict_now, ASPACE_KIND_SHARED, ASPACE_R);
    between(env, evict_now, ASPACE_KIND_SHARED, ASPACE_W);
    between(env, evict_now, ASPACE_KIND_PRIVATE, ASPACE_R);
    between(env, evict_now, ASPACE_KIND_PRIVATE, ASPACE_W);
}

static void truncated_before_install(struct env *env)
{
    between(env, truncate_now, ASPACE_KIND_SHARED, ASPACE_R);
    between(env, truncate_now, ASPACE_KIND_PRIVATE, ASPACE_R);
    between(env, truncate_now, ASPACE_KIND_PRIVATE, ASPACE_W);
}

/* The write right is asked for while the page is cleaned: asked again. */
static void clean_now(struct store *s)
{
    aspace_object_clean(&s->object, 0, STORE_PAGES * PAGE);
}

static void cleaned_before_upgrade(struct env *env)
{
    static struct store s;
    uint64_t va = at(env, 1, 0);

    store_open(env, &s);
    s.how[1] = READS_ONLY;
    map_object(env, ASPACE_KIND_SHARED, va, 8, &s.object);
    touch(env, va + PAGE, ASPACE_R);
    s.inside = clean_now;
    touch(env, va + PAGE, ASPACE_W);
    CHECK_EQ(s.writes, 2);
    expect_leaf(env, va + PAGE, s.page[1].pa, env->rw);
    CHECK_EQ(s.references[1], 1);
    CHECK_OK(aspace_clear(env->space));
    store_close(&s);
}

static struct store replacement;

static void remap_now(struct store *s)
{
    struct env *env = s->env;
    uint64_t va = at(env, 1, 0);

    CHECK_OK(aspace_unmap(env->space, va, 8 * PAGE));
    map_object(env, ASPACE_KIND_SHARED, va, 8, &replacement.object);
}

static void remap_zero_now(struct store *s)
{
    uint64_t va = at(s->env, 1, 0);

    CHECK_OK(aspace_unmap(s->env->space, va, 8 * PAGE));
    do_map(s->env, ASPACE_KIND_LAZY, va, 8 * PAGE, s->env->rw);
}

/* Scenario 16: the place belongs to something else by the time that the page is to be installed. */
static void remapped_before_install(struct env *env)
{
    static struct store s;
    uint64_t va = at(env, 1, 0);

    for (unsigned zero = 0; zero < 2; zero++) {
        store_open(env, &s);
        store_open(env, &replacement);
        aspace_frame_fill(&replacement.page[3], 0x77);
        map_object(env, ASPACE_KIND_SHARED, va, 8, &s.object);
        s.inside = zero ? remap_zero_now : remap_now;
        touch(env, va + 3 * PAGE, ASPACE_W);
        CHECK_EQ(peek(env, va + 3 * PAGE), zero ? 0 : UINT64_C(0x7777777777777777));
        CHECK_EQ(s.references[3], 0);
        CHECK_OK(aspace_clear(env->space));
        store_close(&s);
        store_close(&replacement);
    }
}

/* -------------------------------------------------------------------------------------------------------- lifetimes */

/* However areas are cut, and whichever spaces are gone, the object finds what is left. */
static void links(struct env *env)
{
    static struct store s;
    uint64_t va = at(env, 1, 0), done;
    struct aspace *other = second_space(env), *third = second_space(env);

    store_open(env, &s);
    map_object(env, ASPACE_KIND_SHARED, va, 8, &s.object);
    map_object(env, ASPACE_KIND_SHARED, va + 8 * PAGE, 8, &s.object);
    map_in(env, other, request_object(ASPACE_KIND_SHARED, va, 8, env->rw, &s.object));
    map_in(env, third, request_object(ASPACE_KIND_SHARED, va, 8, env->rw, &s.object));
    CHECK_OK(aspace_unmap(env->space, va + 2 * PAGE, 2 * PAGE));
    do_map(env, ASPACE_KIND_LAZY, va + 2 * PAGE, PAGE, env->rw);
    poke(env, va + 2 * PAGE, 2);
    CHECK_OK(aspace_populate(env->space, va + 4 * PAGE, 12 * PAGE, &done));
    CHECK_OK(aspace_populate(third, va, 8 * PAGE, &done));
    end_space(other);
    aspace_object_truncate(&s.object, 0);
    aspace_trim(env->host);
    for (unsigned n = 0; n < STORE_PAGES; n++) {
        CHECK_EQ(s.references[n], 0);
    }
    CHECK_EQ(peek(env, va + 2 * PAGE), 2); /* another's, in the middle of the area */
    CHECK_EQ(s.object.references, 4);
    CHECK_OK(aspace_unmap(env->space, va + 8 * PAGE, 8 * PAGE));
    aspace_trim(env->host);
    CHECK_EQ(s.object.references, 3);
    end_space(third);
    CHECK_EQ(s.object.references, 2);
    destroy(env);
    CHECK_EQ(s.object.references, 1);
    aspace_object_truncate(&s.object, PAGE);
    store_close(&s);
}

/* The last reference is an area's. */
static void released_by_destroy(struct env *env)
{
    static struct store s;
    uint64_t va = at(env, 1, 0);

    store_open(env, &s);
    map_object(env, ASPACE_KIND_SHARED, va, 8, &s.object);
    map_object(env, ASPACE_KIND_PRIVATE, va + 8 * PAGE, 8, &s.object);
    poke(env, va + PAGE, 1);
    poke(env, va + 9 * PAGE, 1);
    aspace_object_ref(&s.object);
    aspace_object_put(&s.object);
    aspace_object_put(&s.object);
    CHECK_EQ(s.released, 0);
    destroy(env);
    CHECK_EQ(s.released, 1);
    aspace_object_ref(&s.object); /* for store_close */
    s.released = 0;
    store_close(&s);
}

/* Scenario 41: each page of a range is released by its own rule, once. */
static void all_sorts(struct env *env)
{
    static struct store s;
    struct aspace_anon a;
    uint64_t va = at(env, 1, 0), huge = at(env, 1, 1), span = env->span[1];
    uint64_t page = va + span - 8 * PAGE; /* just below the huge page */

    if (env->config.format == ASPACE_FMT_TOY) {
        test_skip("the tables are too small");
    }
    store_open(env, &s);
    CHECK_OK(aspace_anon_init(&a, env->host, 4 * PAGE, 0));
    do_map(env, ASPACE_KIND_EAGER, page, PAGE, env->rw);
    do_map(env, ASPACE_KIND_LAZY, page + PAGE, 2 * PAGE, env->rw); /* one of them unfilled */
    do_linear(env, page + 3 * PAGE, PAGE, env->rw, device_pa(env, PAGE));
    map_object(env, ASPACE_KIND_SHARED, page + 4 * PAGE, 2, &s.object);
    map_object(env, ASPACE_KIND_PRIVATE, page + 6 * PAGE, 1, &s.object); /* then a hole */
    do_map(env, ASPACE_KIND_EAGER, huge, span, env->rw);
    map_object(env, ASPACE_KIND_SHARED, huge + span, 2, &a.object);
    poke(env, page + PAGE, 1);
    poke(env, page + 4 * PAGE, 1);
    poke(env, page + 6 * PAGE, 1);
    poke(env, huge + span, 1);
    CHECK_EQ(frames_held(env), 3 + span / PAGE);
    CHECK_EQ(a.frames, 1);
    CHECK_OK(aspace_discard(env->space, page, span + 10 * PAGE));
    CHECK_EQ(frames_held(env), 0);
    CHECK_EQ(s.references[0], 0);
    CHECK_EQ(peek(env, huge + span), 1); /* the object keeps it */
    poke(env, page, 1);
    poke(env, page + PAGE, 1);
    poke(env, page + 4 * PAGE, 1);
    poke(env, page + 6 * PAGE, 1);
    poke(env, huge, 1);
    audit(env);
    CHECK_OK(aspace_unmap(env->space, page, span + 10 * PAGE));
    CHECK_EQ(frames_held(env), 0);
    CHECK_EQ(s.references[0], 0);
    CHECK_EQ(a.frames, 1);
    aspace_object_put(&a.object);
    store_close(&s);
}

/* Every page reads zero, and the object has its data. */
static void zeroed(struct env *env)
{
    static struct store s;
    struct aspace_anon a;
    uint64_t va = at(env, 1, 0) + env->span[1] - 6 * PAGE, done = 1;

    if (env->config.format == ASPACE_FMT_TOY) {
        test_skip("the tables are too small");
    }
    store_open(env, &s);
    CHECK_OK(aspace_anon_init(&a, env->host, 4 * PAGE, 0));
    map_object(env, ASPACE_KIND_PRIVATE, va, 8, &s.object); /* over the end of a table */
    do_map(env, ASPACE_KIND_LAZY, va + 9 * PAGE, PAGE, env->rw);
    map_object(env, ASPACE_KIND_SHARED, va + 10 * PAGE, 2, &a.object);
    cpu_enter(env, 1);
    CHECK_EQ(cpu_run(env, 1, va + PAGE, ASPACE_R), s.page[1].pa);
    poke(env, va + 2 * PAGE, 2);
    poke(env, va + 9 * PAGE, 9);
    poke(env, va + 10 * PAGE, 10);
    CHECK_OK(aspace_protect(env->space, va + 3 * PAGE, PAGE, 0));
    CHECK_OK(aspace_discard_zero(env->space, va + PAGE, 11 * PAGE, &done));
    CHECK_EQ(done, 11 * PAGE);
    CHECK(cpu_access(env, 1, va + PAGE, ASPACE_R) != s.page[1].pa);
    cpu_leave(env, 1);
    CHECK_EQ(frames_held(env), 7);
    CHECK_EQ(s.references[1], 0);
    CHECK_OK(aspace_protect(env->space, va + 3 * PAGE, PAGE, env->rw));
    CHECK_EQ(peek(env, va), pattern(0));
    for (unsigned n = 1; n < 12; n++) {
        CHECK(n == 8 || peek(env, va + n * PAGE) == 0);
    }
    CHECK_EQ(word_of(&s.page[2]), pattern(2));
    poke(env, va + 2 * PAGE, 3);
    audit(env);
    CHECK_OK(aspace_discard(env->space, va, 8 * PAGE));
    CHECK_EQ(peek(env, va + 2 * PAGE), pattern(2));
    arena_fail_from(&env->machine.arena, 3);
    CHECK_ERROR(aspace_discard_zero(env->space, va, 8 * PAGE, &done), ASPACE_E_NO_MEMORY);
    arena_fail_from(&env->machine.arena, 0);
    CHECK_EQ(done, 2 * PAGE);
    CHECK_OK(aspace_clear(env->space));
    map_object(env, ASPACE_KIND_SHARED, va, 8, &s.object);
    CHECK_ERROR(aspace_discard_zero(env->space, va, PAGE, NULL), ASPACE_E_UNSUPPORTED);
    CHECK_OK(aspace_clear(env->space));
    map_object(env, ASPACE_KIND_SHARED, va, 2, &a.object);
    poke(env, va, 11);
    CHECK_OK(aspace_protect(env->space, va, 2 * PAGE, env->ro));
    CHECK_ERROR(aspace_discard_zero(env->space, va, 2 * PAGE, &done), ASPACE_E_PERMISSION);
    CHECK_EQ(done, 0);
    CHECK_EQ(peek(env, va), 11);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    aspace_object_put(&a.object);
    store_close(&s);
}

/* ------------------------------------------------------------------------------------------- objects of the library */

static unsigned anons_released;

static void on_anon_released(struct aspace_anon *anon)
{
    (void)anon;
    anons_released++;
}

static void anonymous(struct env *env)
{
    struct aspace_anon a;
    uint64_t va = at(env, 1, 0);
    struct aspace *other = second_space(env);

    anons_released = 0;
    CHECK_ERROR(aspace_anon_init(&a, env->host, 8 * PAGE, PAGE), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_anon_init(&a, env->host, PAGE, UINT64_MAX), ASPACE_E_RANGE);
    CHECK_OK(aspace_anon_init(&a, env->host, 4 * PAGE, 8 * PAGE));
    a.released = on_anon_released;
    map_object(env, ASPACE_KIND_SHARED, va, 8, &a.object);
    map_in(env, other, request_object(ASPACE_KIND_SHARED, va, 8, env->ro, &a.object));
    CHECK_EQ(peek_in(other, va + 3 * PAGE), 0);
    poke(env, va + 3 * PAGE + 8, 3);
    CHECK_EQ(peek_in(other, va + 3 * PAGE + 8), 3);
    poke(env, va + 2 * PAGE + 64, 2);
    poke(env, va + 2 * PAGE + 16, 4);
    CHECK_EQ(a.frames, 2);
    CHECK_OK(aspace_unmap(env->space, va, 8 * PAGE));
    CHECK_EQ(a.frames, 2);
    map_object(env, ASPACE_KIND_SHARED, va, 8, &a.object);
    CHECK_EQ(peek(env, va + 3 * PAGE + 8), 3);
    CHECK_ERROR(aspace_anon_truncate(&a, 9 * PAGE), ASPACE_E_RANGE);
    CHECK_OK(aspace_anon_truncate(&a, 2 * PAGE + 32));
    CHECK_EQ(a.frames, 1);
    CHECK_FAULT(aspace_fault(env->space, va + 3 * PAGE, ASPACE_W, NULL), ASPACE_FAULT_BUS);
    CHECK_OK(aspace_anon_truncate(&a, 8 * PAGE));
    CHECK_EQ(peek(env, va + 2 * PAGE + 16), 4);
    CHECK_EQ(peek(env, va + 2 * PAGE + 64), 0); /* cut off, and grown again */
    CHECK_EQ(peek(env, va + 3 * PAGE + 8), 0);
    aspace_object_put(&a.object);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    CHECK_EQ(anons_released, 0);
    end_space(other);
    CHECK_EQ(anons_released, 1);
}

static void blob(struct env *env)
{
    struct aspace_blob b, rom;
    struct aspace_frame f;
    uint64_t va = at(env, 1, 0);

    CHECK_OK(aspace_frame_alloc(env->host, 1, true, &f));
    aspace_frame_fill(&f, 0x11);
    CHECK_ERROR(aspace_blob_init(&b, env->host, f.pa + 8, PAGE, env->rw), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_blob_init(&b, env->host, f.pa, PAGE, 0), ASPACE_E_INVALID);
    CHECK_OK(aspace_blob_init(&b, env->host, f.pa, 2 * PAGE, ASPACE_RWX));
    CHECK_OK(aspace_blob_init(&rom, env->host, f.pa, 2 * PAGE, ASPACE_RX));
    map_object(env, ASPACE_KIND_SHARED, va, 2, &b.object);
    map_object(env, ASPACE_KIND_SHARED, va + 2 * PAGE, 2, &rom.object);
    map_object(env, ASPACE_KIND_PRIVATE, va + 4 * PAGE, 2, &rom.object);
    poke(env, va + PAGE, 5);
    CHECK_EQ(peek(env, va + 3 * PAGE), 5);
    CHECK_FAULT(aspace_fault(env->space, va + 3 * PAGE, ASPACE_W, NULL), ASPACE_FAULT_PERMISSION);
    CHECK_EQ(peek(env, va + 3 * PAGE), 5);
    poke(env, va + 5 * PAGE, 6);
    CHECK_EQ(peek(env, va + PAGE), 5);
    expect_leaf(env, va + PAGE, f.pa + PAGE, env->rw);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    aspace_object_put(&b.object);
    aspace_object_put(&rom.object);
    aspace_frame_release(&f);
}

static const struct test tests[] = {
    {"object_shared", shared, 0},
    {"object_private", private_copies, 0},
    {"object_private_written_first", private_written_first, 0},
    {"object_refused", refused, 0},
    {"object_past_the_end", past_the_end, 0},
    {"object_truncated", truncated, 0},
    {"object_truncated_without_memory", truncated_without_memory, NEEDS_FEW},
    {"object_evicted", evicted, 0},
    {"object_dirty_told", dirty_told, 0},
    {"object_cleaned", cleaned, 0},
    {"object_evicted_before_install", evicted_before_install, 0},
    {"object_truncated_before_install", truncated_before_install, 0},
    {"object_cleaned_before_upgrade", cleaned_before_upgrade, 0},
    {"object_remapped_before_install", remapped_before_install, 0},
    {"object_links", links, 0},
    {"object_released_by_destroy", released_by_destroy, 0},
    {"object_all_sorts", all_sorts, 0},
    {"object_zeroed", zeroed, 0},
    {"object_anonymous", anonymous, 0},
    {"object_blob", blob, 0},
};
const struct suite object_suite = SUITE(tests);
