/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pins and the dirty log over pages of every sort: shared with a child, copies of an object's, a backend's, large ones,
 * moved and forked ones. Owns the situations; the plain cases are in pin.c and dirty.c.
 */
#include <aspace/dirty.h>
#include <aspace/object.h>
#include <aspace/pin.h>

#include "clone.h"

enum { PAGES = 8 };

static uint64_t *memory(aspace_pa_t pa)
{
    return aspace_phys_to_virt(pa);
}

static uint64_t data_frames(struct env *env)
{
    aspace_trim(env->host);
    return ledger(env).data;
}

/* A backend whose pages are there at once. */
static aspace_pa_t custom_pages;

static enum aspace_fault_result custom_fill(const struct aspace_fill *fill, struct aspace_page *page)
{
    page->pa = custom_pages + fill->offset;
    return ASPACE_FAULT_DONE;
}

static const struct aspace_backend custom = {.name = "custom", .fill = custom_fill};

static void map_custom(struct env *env, uint64_t va)
{
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, va, PAGES * PAGE, env->rw);

    custom_pages = env->machine.hal->alloc(&env->machine, 3, ASPACE_ALLOC_ZERO);
    CHECK(custom_pages != ASPACE_PA_NONE);
    m.backend = &custom;
    CHECK_OK(aspace_map(env->space, &m, NULL));
}

static void end_custom(struct env *env)
{
    aspace_trim(env->host);
    env->machine.hal->free(&env->machine, custom_pages, 3);
}

static struct aspace_anon anon; /* outlives the test: the space is destroyed after it */

/* Gone with the area. */
static void map_object(struct env *env, enum aspace_kind kind, uint64_t va)
{
    struct aspace_map m = request(kind, va, PAGES * PAGE, env->rw);

    CHECK_OK(aspace_anon_init(&anon, env->host, m.size, 0));
    m.object = &anon.object;
    CHECK_OK(aspace_map(env->space, &m, NULL));
}

/* ------------------------------------------------------------------------------------------------------------- pins */

/* A page that another space has too is copied before it is pinned, for reading as well; then it is the parent's for
 * good, and the child's page is the child's. */
static void pin_shared(struct env *env)
{
    uint64_t va = lazy_pages(env, 3);
    aspace_pa_t pages[3], before = walk(env, va).pa;
    struct clone child;

    fork_clone(env, &child);
    CHECK_OK(aspace_pin(env->space, va, PAGE, ASPACE_R, pages));
    CHECK_OK(aspace_pin(env->space, va + PAGE, 2 * PAGE, ASPACE_RW, pages + 1));
    CHECK(pages[0] != before);
    CHECK_EQ(counters(env).cow_copies, 3);
    CHECK_EQ(clone_pa(env, &child, va), before);
    memory(pages[0])[1] = 55; /* the device */
    poke(env, va, 7);
    CHECK_EQ(walk(env, va).pa, pages[0]);
    CHECK_EQ(peek(env, va + 8), 55);
    aspace_trim(env->host);
    clone_poke(env, &child, va, 8); /* the sole owner */
    CHECK_EQ(clone_pa(env, &child, va), before);
    CHECK_EQ(clone_peek(env, &child, va + 8), 0);
    CHECK_EQ(clone_peek(env, &child, va + PAGE), 101);
    CHECK_OK(aspace_unmap(env->space, va, 2 * PAGE));
    CHECK_EQ(data_frames(env), 6);
    memory(pages[1])[0] = 5; /* the ledger would tell if it were free */
    CHECK_OK(aspace_unpin(env->space, va, 3 * PAGE, pages));
    CHECK_EQ(data_frames(env), 4);
    drop_clone(env, &child);
    CHECK_EQ(data_frames(env), 1);
}

/* What the area does not let be written is pinned as it is. Whoever unmaps it last leaves it to the pin. */
static void pin_shared_readable(struct env *env)
{
    uint64_t va = lazy_pages(env, 2);
    aspace_pa_t page[1], none[1];
    struct clone child;

    CHECK_OK(aspace_protect(env->space, va, PAGE, env->ro));
    fork_clone(env, &child);
    CHECK_OK(aspace_pin(env->space, va, PAGE, ASPACE_R, page));
    CHECK_EQ(clone_pa(env, &child, va), page[0]);
    CHECK_ERROR(aspace_pin(env->space, va, PAGE, ASPACE_W, none), ASPACE_E_PERMISSION);
    CHECK_OK(aspace_unmap(env->space, va, PAGE));
    drop_clone(env, &child);
    CHECK_EQ(data_frames(env), 2);
    CHECK_EQ(memory(page[0])[0], 100);
    CHECK_OK(aspace_unpin(env->space, va, PAGE, page));
    CHECK_EQ(data_frames(env), 1);
}

/* Pages of objects and backends may be taken back, so they are not pinned, and nothing is left of the attempt; a copy
 * that a private area has made is its own, and outlives the object's end. */
static void pin_of_objects(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    aspace_pa_t pages[2];

    map_object(env, ASPACE_KIND_SHARED, va);
    CHECK_ERROR(aspace_pin(env->space, va, PAGE, ASPACE_R, pages), ASPACE_E_UNSUPPORTED);
    CHECK_ERROR(aspace_pin(env->space, va, PAGE, ASPACE_W, pages), ASPACE_E_UNSUPPORTED);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    aspace_object_put(&anon.object);
    map_custom(env, va);
    CHECK_ERROR(aspace_pin(env->space, va, PAGE, ASPACE_RW, pages), ASPACE_E_UNSUPPORTED);
    CHECK_OK(aspace_clear(env->space));
    end_custom(env);
    map_object(env, ASPACE_KIND_PRIVATE, va);
    CHECK_ERROR(aspace_pin(env->space, va, PAGE, ASPACE_R, pages), ASPACE_E_UNSUPPORTED);
    CHECK_OK(aspace_pin(env->space, va, 2 * PAGE, ASPACE_RW, pages));
    CHECK_EQ(counters(env).cow_copies, 2);
    poke(env, va, 9);
    CHECK_EQ(memory(pages[0])[0], 9);
    (void)aspace_object_evict(&anon.object, 0, 2 * PAGE);
    CHECK_EQ(walk(env, va).pa, pages[0]);
    aspace_pa_t other[2];
    CHECK_ERROR(aspace_pin(env->space, va + PAGE, 2 * PAGE, ASPACE_R, other), ASPACE_E_UNSUPPORTED);
    CHECK_OK(aspace_anon_truncate(&anon, PAGE));
    CHECK_FAULT(aspace_fault(env->space, va + PAGE, ASPACE_R, NULL), ASPACE_FAULT_BUS);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    aspace_object_put(&anon.object);
    CHECK_EQ(data_frames(env), 2);
    memory(pages[1])[0] = 9; /* the ledger would tell if it were free */
    CHECK_OK(aspace_unpin(env->space, va, 2 * PAGE, pages));
    CHECK_EQ(data_frames(env), 0);
}

/* A fork copies them for the child, whatever becomes of the object. */
static void pin_private_copies(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    aspace_pa_t pages[2];
    struct clone child;

    map_object(env, ASPACE_KIND_PRIVATE, va);
    CHECK_OK(aspace_pin(env->space, va, 2 * PAGE, ASPACE_W, pages));
    fork_clone(env, &child);
    CHECK(clone_pa(env, &child, va) != pages[0]);
    memory(pages[0])[0] = 3;
    CHECK_EQ(clone_peek(env, &child, va), 0);
    poke(env, va + PAGE, 4);
    CHECK_EQ(walk(env, va + PAGE).pa, pages[1]);
    CHECK_EQ(clone_peek(env, &child, va + PAGE), 0);
    CHECK_OK(aspace_anon_truncate(&anon, PAGE));
    CHECK_OK(aspace_unmap(env->space, va, PAGE));
    memory(pages[0])[1] = memory(pages[1])[1] = 6;
    CHECK_OK(aspace_unpin(env->space, va, 2 * PAGE, pages));
    CHECK_OK(aspace_clear(env->space));
    drop_clone(env, &child);
    aspace_object_put(&anon.object);
    CHECK_EQ(data_frames(env), 0);
}

/* A page of a large leaf: at a fork the child gets a copy of all of it, and what the parent writes stays in place. */
static void pin_large_and_fork(struct env *env)
{
    uint64_t va = at(env, 1, 1), big = env->span[1], pages = big / PAGE;
    aspace_pa_t page[2];

    for (unsigned policy = 0; policy < 2; policy++) {
        struct aspace_map m = request(ASPACE_KIND_EAGER, va, big, env->rw);
        struct clone child;
        m.fork = policy ? ASPACE_FORK_COPY : ASPACE_FORK_COW;
        CHECK_OK(aspace_map(env->space, &m, NULL));
        poke(env, va + PAGE, 11);
        CHECK_OK(aspace_pin(env->space, va + PAGE, 2 * PAGE, ASPACE_RW, page));
        CHECK_EQ(page[1], page[0] + PAGE);
        fork_clone(env, &child);
        CHECK_EQ(data_frames(env), 2 * pages);
        CHECK(clone_pa(env, &child, va + PAGE) != page[0]);
        memory(page[0])[1] = 12;
        CHECK_EQ(clone_peek(env, &child, va + PAGE), 11);
        CHECK_EQ(clone_peek(env, &child, va + PAGE + 8), 0);
        poke(env, va + PAGE, 13);
        CHECK_EQ(walk(env, va + PAGE).pa, page[0]);
        CHECK_EQ(counters(env).cow_copies, 0);
        clone_poke(env, &child, va + PAGE, 14);
        CHECK_EQ(memory(page[0])[0], 13);
        CHECK_OK(aspace_unmap(env->space, va, big));
        CHECK_EQ(data_frames(env), pages + 2);
        memory(page[1])[0] = 15;
        CHECK_OK(aspace_unpin(env->space, va + PAGE, 2 * PAGE, page));
        drop_clone(env, &child);
        CHECK_EQ(data_frames(env), 0);
    }
}

/* -------------------------------------------------------------------------------------------------------- the log */

enum mode { BY_BITMAP, BY_RINGS, BY_HARDWARE, MODES };

static struct {
    enum mode mode;
    uint64_t va;
    bool child;                        /* its log has no rings: they are the parent's */
    struct aspace_dirty_ring rings[8]; /* one for each CPU */
    uint64_t pages[8][4 * PAGES];
} log_;

static bool has_hardware(const struct env *env)
{
    return env->config.features & ASPACE_FEAT_AD && env->config.format != ASPACE_FMT_LOONGARCH_S1 &&
           env->config.format != ASPACE_FMT_LOONGARCH_S2;
}

static void start(struct env *env, uint64_t va)
{
    struct aspace_dirty_config c = {.mode =
                                        log_.mode == BY_HARDWARE ? ASPACE_DIRTY_HARDWARE : ASPACE_DIRTY_WRITE_PROTECT};

    log_.va = va;
    for (unsigned i = 0; i < env->cpus; i++) {
        log_.rings[i] = (struct aspace_dirty_ring){.pages = log_.pages[i], .entries = 4 * PAGES};
    }
    c.rings = log_.mode == BY_RINGS ? log_.rings : NULL;
    CHECK_OK(aspace_dirty_start(env->space, &c));
}

/* As a running program, with what hardware does to the flags. */
static void use(struct env *env, uint64_t n, uint32_t access)
{
    uint64_t va = log_.va + n * PAGE;

    CHECK(cpu_run(env, 1, va, access) != ASPACE_PA_NONE);
    uint64_t *entry = aspace_phys_to_virt(walk(env, va).entry_pa);
    *entry = naive_used(&env->config, *entry, access == ASPACE_W);
}

static uint64_t drain(struct env *env)
{
    struct aspace_range r[PAGES];
    size_t n = PAGES;
    uint64_t bits = 0;

    CHECK_OK(aspace_drain_dirty(env->space, r, &n));
    while (n-- > 0) {
        for (uint64_t va = r[n].va; va < r[n].va + r[n].size; va += PAGE) {
            bits |= UINT64_C(1) << (va - log_.va) / PAGE;
        }
    }
    return bits;
}

/* Exactly these are told, and once. */
static void expect_dirty(struct env *env, uint64_t expected)
{
    uint64_t bits[1], count;

    if (log_.mode == BY_RINGS && !log_.child) {
        CHECK_EQ(drain(env), expected);
        expected = 0;
    }
    CHECK_OK(aspace_harvest_dirty(env->space, log_.va, PAGES * PAGE, bits, &count));
    CHECK_EQ(bits[0], expected);
    CHECK_OK(aspace_harvest_dirty(env->space, log_.va, PAGES * PAGE, bits, &count));
    CHECK_EQ(bits[0], 0);
    audit(env);
}

static void in_modes(struct env *env, void (*part)(struct env *env))
{
    for (enum mode mode = 0; mode < (has_hardware(env) ? MODES : BY_HARDWARE); mode++) {
        log_.mode = mode;
        cpu_enter(env, 1);
        part(env);
        cpu_leave(env, 1);
        CHECK_OK(aspace_clear(env->space));
        aspace_trim(env->host);
    }
}

/* What every sort of page has in common: n is written by a CPU, n + 1 by call, n + 2 read; then read and written. */
static void write_some(struct env *env, uint64_t n)
{
    use(env, n, ASPACE_W);
    poke(env, log_.va + (n + 1) * PAGE, 1);
    use(env, n + 2, ASPACE_R);
    CHECK_EQ(peek(env, log_.va + (n + 2) * PAGE),
             walk(env, log_.va + (n + 2) * PAGE).present ? memory(walk(env, log_.va + (n + 2) * PAGE).pa)[0] : 0);
    expect_dirty(env, UINT64_C(3) << n);
    use(env, n + 2, ASPACE_W);
    use(env, n, ASPACE_R);
    expect_dirty(env, UINT64_C(4) << n);
    use(env, n, ASPACE_W);
    poke(env, log_.va + (n + 1) * PAGE, 2);
    expect_dirty(env, UINT64_C(3) << n);
}

/* Copied, taken back, taken back after it was read. What is still shared stays read-only when the log ends. */
static void tell_shared(struct env *env)
{
    uint64_t va = lazy_pages(env, PAGES);
    struct clone child;

    use(env, (log_.va = va, 0), ASPACE_W);
    fork_clone(env, &child);
    start(env, va);
    expect_dirty(env, 0);
    write_some(env, 0);
    CHECK_OK(aspace_unmap(child.space, va + 3 * PAGE, 3 * PAGE));
    aspace_trim(env->host);
    uint64_t copies = counters(env).cow_copies;
    write_some(env, 3);
    CHECK_EQ(counters(env).cow_copies, copies);
    use(env, 6, ASPACE_R);
    expect_dirty(env, 0);
    CHECK_OK(aspace_dirty_stop(env->space));
    audit(env);
    CHECK_EQ(walk(env, va).rights & ASPACE_W, ASPACE_W);
    CHECK_EQ(walk(env, va + 4 * PAGE).rights & ASPACE_W, ASPACE_W);
    CHECK_EQ(walk(env, va + 6 * PAGE).rights & ASPACE_W, 0);
    CHECK_EQ(clone_peek(env, &child, va), 100);
    drop_clone(env, &child);
}

static void dirty_shared(struct env *env)
{
    in_modes(env, tell_shared);
}

static void tell_custom(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    map_custom(env, va);
    start(env, va);
    write_some(env, 0);
    write_some(env, 4);
    CHECK_OK(aspace_dirty_stop(env->space));
    CHECK_OK(aspace_clear(env->space));
    end_custom(env);
}

static void dirty_custom(struct env *env)
{
    in_modes(env, tell_custom);
}

/* Pages of an object, and copies: of pages that were there, and of those that were read before. */
static void tell_objects(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    for (unsigned private = 0; private < 2; private ++) {
        map_object(env, private ? ASPACE_KIND_PRIVATE : ASPACE_KIND_SHARED, va);
        CHECK_EQ(peek(env, va + 4 * PAGE), 0);
        start(env, va);
        write_some(env, 0);
        write_some(env, 4);
        use(env, 1, ASPACE_W);
        (void)aspace_object_evict(&anon.object, 0, PAGES * PAGE);
        expect_dirty(env, private ? 2 : 0); /* what is not mapped any more is the object's to know */
        use(env, 1, ASPACE_R);
        expect_dirty(env, 0);
        use(env, 1, ASPACE_W);
        expect_dirty(env, 2);
        CHECK_OK(aspace_dirty_stop(env->space));
        CHECK_OK(aspace_clear(env->space));
        aspace_trim(env->host);
        aspace_object_put(&anon.object);
    }
}

static void dirty_objects(struct env *env)
{
    in_modes(env, tell_objects);
}

/* What is moved takes its flags along, and has no others. */
static void tell_moved(struct env *env)
{
    uint64_t va = lazy_pages(env, PAGES), to = at(env, 1, 4);
    uint64_t bits[1];

    if (va + 2 * PAGES * PAGE > to || env->end - to < 2 * PAGES * PAGE) {
        test_skip("too small a space");
    }
    start(env, va);
    use(env, 0, ASPACE_W);
    poke(env, va + PAGE, 1);
    use(env, 2, ASPACE_R);
    CHECK_OK(aspace_move(env->space, va, PAGES * PAGE, to, NULL));
    CHECK_OK(aspace_harvest_dirty(env->space, va, PAGES * PAGE, bits, NULL));
    CHECK_EQ(bits[0], 0);
    log_.va = to;
    expect_dirty(env, 3);
    write_some(env, 0);
    write_some(env, 4);
    CHECK_OK(aspace_dirty_stop(env->space));
    CHECK_EQ(walk(env, to + 3 * PAGE).rights & ASPACE_W, ASPACE_W);
}

static void dirty_moved(struct env *env)
{
    in_modes(env, tell_moved);
}

/* A fork neither loses nor makes a flag in the parent, whose log goes on. The child has no log, and may begin one. */
static void tell_forked(struct env *env)
{
    uint64_t va = lazy_pages(env, PAGES), bits[1];
    struct clone child;

    start(env, va);
    use(env, 0, ASPACE_W);
    poke(env, va + PAGE, 1);
    use(env, 2, ASPACE_R);
    fork_clone(env, &child);
    expect_dirty(env, 3);
    clone_poke(env, &child, va + 3 * PAGE, 7); /* by the child, in a frame of its own */
    expect_dirty(env, 0);
    write_some(env, 2);
    CHECK_ERROR(aspace_harvest_dirty(child.space, va, PAGES * PAGE, bits, NULL), ASPACE_E_NOT_MAPPED);
    CHECK_ERROR(aspace_dirty_stop(child.space), ASPACE_E_NOT_MAPPED);
    struct aspace_dirty_config own = {.mode = ASPACE_DIRTY_WRITE_PROTECT};
    swap(env, &child);
    log_.child = true;
    CHECK_OK(aspace_dirty_start(env->space, &own));
    expect_dirty(env, 0);
    poke(env, va, 8);
    poke(env, va + 5 * PAGE, 9);
    expect_dirty(env, 0x21);
    CHECK_OK(aspace_dirty_stop(env->space));
    log_.child = false;
    swap(env, &child);
    expect_dirty(env, 0);
    CHECK_OK(aspace_dirty_stop(env->space));
    drop_clone(env, &child);
}

static void dirty_forked(struct env *env)
{
    in_modes(env, tell_forked);
}

/* A large leaf that is shared is split by the copy, and only the page that is written is told. */
static void tell_large_shared(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    struct clone child;

    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    fork_clone(env, &child);
    start(env, va);
    use(env, 1, ASPACE_R);
    CHECK_EQ(walk(env, va).leaf_bytes, env->span[1]);
    use(env, 1, ASPACE_W);
    poke(env, va + 2 * PAGE, 2);
    uint64_t bits[1];
    CHECK_OK(aspace_harvest_dirty(env->space, va, 4 * PAGE, bits, NULL));
    CHECK_EQ(bits[0], 6);
    CHECK_EQ(clone_peek(env, &child, va + 2 * PAGE), 0);
    CHECK_OK(aspace_dirty_stop(env->space));
    drop_clone(env, &child);
}

static void dirty_large_shared(struct env *env)
{
    in_modes(env, tell_large_shared);
}

static const struct test tests[] = {
    {"pin_shared", pin_shared, 0},
    {"pin_shared_readable", pin_shared_readable, 0},
    {"pin_of_objects", pin_of_objects, 0},
    {"pin_private_copies", pin_private_copies, 0},
    {"pin_large_and_fork", pin_large_and_fork, NEEDS_HUGE},
    {"dirty_shared", dirty_shared, 0},
    {"dirty_custom", dirty_custom, 0},
    {"dirty_objects", dirty_objects, 0},
    {"dirty_moved", dirty_moved, 0},
    {"dirty_forked", dirty_forked, 0},
    {"dirty_large_shared", dirty_large_shared, NEEDS_HUGE},
};
const struct suite sort_suite = SUITE(tests);
