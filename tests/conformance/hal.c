/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an embedder's HAL may be: one whose walkers do not snoop the caches, one without batches, one that has frames
 * which the format cannot address.
 */
#include <string.h>

#include <aspace/dirty.h>
#include <aspace/object.h>
#include <aspace/ticket.h>

#include "clone.h"

/* ---------------------------------------------------------------------------------------- walkers that do not snoop */

enum { LINE = 64, SEEN_PAGES = 128 };

/* Memory as such a walker sees it: what was cleaned, as it was then. */
static struct {
    uint64_t pa;
    char bytes[4096];
} seen[SEEN_PAGES];
static unsigned seen_pages;
static bool unseen; /* the walk got to where nothing was ever cleaned */

static void clean_line(const void *line)
{
    uint64_t pa = aspace_virt_to_phys((const void *)((uintptr_t)line & ~(uintptr_t)4095));
    unsigned n = 0;

    while (n < seen_pages && seen[n].pa != pa) {
        n++;
    }
    CHECK(n < SEEN_PAGES);
    if (n == seen_pages) {
        seen_pages++;
        seen[n].pa = pa;
        memset(seen[n].bytes, 0xff, sizeof(seen[n].bytes));
    }
    memcpy(seen[n].bytes + ((uintptr_t)line & 4095), line, LINE);
}

static void clean(void *ctx, const void *p, size_t bytes)
{
    const char *line = (const char *)((uintptr_t)p & ~(uintptr_t)(LINE - 1)), *end = (const char *)p + bytes;

    (void)ctx;
    for (; line < end; line += LINE) {
        clean_line(line);
    }
}

static const void *seen_at(uint64_t pa)
{
    static const uint64_t nothing;

    for (unsigned n = 0; n < seen_pages; n++) {
        if (seen[n].pa == (pa & ~UINT64_C(4095))) {
            return seen[n].bytes + (pa & 4095);
        }
    }
    unseen = true;
    return &nothing;
}

/* The walker finds what is in memory. */
static void expect_seen(struct env *env, uint64_t va, uint64_t pages)
{
    for (; pages; pages--, va += PAGE) {
        struct naive_result r, now = walk(env, va);
        unseen = false;
        naive_walk(env->config.format, &env->config, aspace_root(env->space), va, seen_at, &r);
        CHECK(!unseen);
        CHECK(!r.malformed);
        CHECK_EQ(r.present, now.present);
        if (now.present) {
            CHECK_EQ(r.pa, now.pa);
            CHECK_EQ(r.rights, now.rights);
            CHECK_EQ(r.leaf_bytes, now.leaf_bytes);
        }
    }
}

/* From the first entry of the root on. */
static void watch_walks(struct env *env)
{
    struct aspace_config config = env->config;

    seen_pages = 0;
    env->hal.dcache_clean = clean;
    config.fault_around = 4;
    recreate(env, &config);
}

static void cleaned_small(struct env *env)
{
    watch_walks(env);
    uint64_t va = at(env, 1, 0), pages = 2 * env->span[1] / PAGE, done;
    do_linear(env, va, 3 * PAGE, env->rw, device_pa(env, env->span[1]));
    expect_seen(env, va, pages);
    do_map(env, ASPACE_KIND_LAZY, va + 4 * PAGE, 12 * PAGE, env->rw);
    do_map(env, ASPACE_KIND_EAGER, va + 40 * PAGE, 8 * PAGE, env->rw);
    expect_seen(env, va, pages);
    for (unsigned n = 4; n < 9; n++) {
        CHECK(aspace_fault(env->space, va + n * PAGE, ASPACE_W, NULL) <= ASPACE_FAULT_SPURIOUS);
        expect_seen(env, va, pages);
    }
    CHECK_OK(aspace_populate(env->space, va + 4 * PAGE, 12 * PAGE, &done));
    expect_seen(env, va, pages);
    CHECK_OK(aspace_protect(env->space, va + PAGE, PAGE, env->ro));
    CHECK_OK(aspace_protect(env->space, va + 5 * PAGE, 2 * PAGE, env->ro));
    CHECK_OK(aspace_protect(env->space, va + 42 * PAGE, PAGE, 0));
    expect_seen(env, va, pages);
    CHECK_OK(aspace_discard(env->space, va + 6 * PAGE, PAGE));
    CHECK_OK(aspace_migrate(env->space, va + 7 * PAGE, ASPACE_PA_NONE));
    expect_seen(env, va, pages);
    CHECK_OK(aspace_move(env->space, va + 4 * PAGE, 12 * PAGE, va + env->span[1], NULL));
    expect_seen(env, va, pages);
    CHECK_OK(aspace_unmap(env->space, va, PAGE));
    CHECK_OK(aspace_unmap(env->space, va + 40 * PAGE, 2 * PAGE));
    expect_seen(env, va, pages);
    do_linear(env, va + 60 * PAGE, 2 * PAGE, env->rw, device_pa(env, env->span[1])); /* the table is there */
    expect_seen(env, va, pages);
    CHECK_OK(aspace_unmap(env->space, va, env->span[1]));
    expect_seen(env, va, pages);
    struct aspace_map m = request(ASPACE_KIND_LAZY, va + env->span[1], env->span[1], env->rw);
    m.max_leaf_level = 1;
    m.flags = ASPACE_MAP_REPLACE;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    touch(env, m.va + 3 * PAGE, ASPACE_W); /* in one marker */
    expect_seen(env, va, pages);
}

static void cleaned_large(struct env *env)
{
    watch_walks(env);
    uint64_t va = at(env, 1, 0), span = env->span[1], pages = 3 * span / PAGE;
    do_map(env, ASPACE_KIND_LAZY, va, 2 * span, env->rw);
    do_linear(env, va + 2 * span, span, env->rw, device_pa(env, 2 * span));
    expect_seen(env, va, pages);
    touch(env, va, ASPACE_W);
    expect_seen(env, va, pages);
    CHECK_OK(aspace_split(env->space, va));
    expect_seen(env, va, pages);
    CHECK_OK(aspace_collapse(env->space, va, 1));
    expect_seen(env, va, pages);
    CHECK_OK(aspace_protect(env->space, va + 3 * PAGE, PAGE, env->ro));
    CHECK_OK(aspace_unmap(env->space, va + 2 * span + PAGE, PAGE));
    expect_seen(env, va, pages);
    CHECK_OK(aspace_unmap(env->space, va, span));
    CHECK_OK(aspace_unmap(env->space, va + span, span));
    expect_seen(env, va, pages);
}

/* Pages of objects and backends, filled and taken back in each way. */
static enum aspace_fault_result nothing_at_hand(const struct aspace_fill *fill, struct aspace_page *page)
{
    (void)fill, (void)page;
    return ASPACE_FAULT_NEEDS_IO;
}

static void fetch_at(struct env *env, uint64_t va, aspace_pa_t pa)
{
    static const struct aspace_backend far = {.name = "far", .fill = nothing_at_hand};
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, va, PAGE, env->rw);
    struct aspace_ticket ticket = {0};

    m.backend = &far;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_FAULT(aspace_fault_try(env->space, va, ASPACE_R, 0, &ticket, NULL), ASPACE_FAULT_NEEDS_IO);
    CHECK_OK(aspace_fault_complete(&ticket, pa));
}

static void cleaned_objects(struct env *env)
{
    static struct aspace_anon anon;
    struct aspace_map m[2];

    watch_walks(env);
    uint64_t va = at(env, 1, 0), pages = 16;
    CHECK_OK(aspace_anon_init(&anon, env->host, 4 * PAGE, 0));
    for (unsigned n = 0; n < 2; n++) {
        m[n] = request(n ? ASPACE_KIND_PRIVATE : ASPACE_KIND_SHARED, va + n * 4 * PAGE, 4 * PAGE, env->rw);
        m[n].object = &anon.object;
        CHECK_OK(aspace_map(env->space, &m[n], NULL));
        touch(env, m[n].va, ASPACE_R);
        expect_seen(env, va, pages);
        poke(env, m[n].va, 1);
        expect_seen(env, va, pages);
        poke(env, m[n].va + PAGE, 1);
        expect_seen(env, va, pages);
    }
    fetch_at(env, va + 8 * PAGE, device_pa(env, PAGE));
    expect_seen(env, va, pages);
    (void)aspace_object_clean(&anon.object, 0, PAGE);
    expect_seen(env, va, pages);
    poke(env, va, 2);
    expect_seen(env, va, pages);
    (void)aspace_object_evict(&anon.object, 0, PAGE);
    expect_seen(env, va, pages);
    CHECK_OK(aspace_discard_zero(env->space, va, 7 * PAGE, NULL));
    expect_seen(env, va, pages);
    CHECK_OK(aspace_move(env->space, va, 5 * PAGE, va + 10 * PAGE, NULL));
    expect_seen(env, va, pages);
    aspace_object_truncate(&anon.object, PAGE);
    expect_seen(env, va, pages);
    CHECK_OK(aspace_replace_all(env->space, m, 2));
    expect_seen(env, va, pages);
    touch(env, va, ASPACE_W);
    expect_seen(env, va, pages);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    aspace_object_put(&anon.object);
}

static void cleaned_logged(struct env *env)
{
    struct aspace_dirty_config log = {.mode = ASPACE_DIRTY_WRITE_PROTECT};
    uint64_t bits;

    watch_walks(env);
    uint64_t va = at(env, 1, 0);
    do_map(env, ASPACE_KIND_EAGER, va, 4 * PAGE, env->rw);
    do_linear(env, va + 4 * PAGE, 2 * PAGE, env->rw, device_pa(env, env->span[1]));
    CHECK_OK(aspace_dirty_start(env->space, &log));
    expect_seen(env, va, 6);
    for (unsigned n = 1; n < 6; n += 2) {
        CHECK(aspace_fault(env->space, va + n * PAGE, ASPACE_W, NULL) <= ASPACE_FAULT_SPURIOUS);
        expect_seen(env, va, 6);
    }
    CHECK_OK(aspace_harvest_dirty(env->space, va, 6 * PAGE, &bits, NULL));
    expect_seen(env, va, 6);
    CHECK_OK(aspace_dirty_stop(env->space));
    expect_seen(env, va, 6);
}

/* What was copied can be fetched: by a fork for the child, and by a write to what they share. */
static struct {
    uint64_t pa[8];
    unsigned n;
} synced;

static void note_sync(void *ctx, aspace_pa_t pa, uint64_t bytes)
{
    (void)ctx, (void)bytes;
    synced.pa[synced.n++ % 8] = pa;
}

static bool was_synced(uint64_t pa)
{
    for (unsigned n = 0; n < synced.n && n < 8; n++) {
        if (synced.pa[n] == pa) {
            return true;
        }
    }
    return false;
}

static void copied_is_fetchable(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_EAGER, env->base, PAGE, ASPACE_RWX);
    static struct clone child;

    if (!expressible(env, ASPACE_RWX)) {
        test_skip("nothing is written and executed");
    }
    m.fork = ASPACE_FORK_COPY;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    do_map(env, ASPACE_KIND_EAGER, m.va + PAGE, PAGE, ASPACE_RWX);
    synced.n = 0;
    env->hal.icache_sync = note_sync;
    fork_clone(env, &child);
    swap(env, &child);
    uint64_t pa = walk(env, m.va).pa;
    swap(env, &child);
    CHECK(pa != walk(env, m.va).pa);
    CHECK(was_synced(pa));
    pa = walk(env, m.va + PAGE).pa;
    synced.n = 0;
    poke(env, m.va + PAGE, 1);
    CHECK(pa != walk(env, m.va + PAGE).pa);
    CHECK(was_synced(walk(env, m.va + PAGE).pa));
    env->hal.icache_sync = NULL;
    drop_clone(env, &child);
}

/* What a CPU can walk to once its TLB is empty is in memory before the flush: else it comes back. */
static struct {
    struct env *env;
    unsigned flushes;
    void (*flush)(void *ctx, const struct aspace_flush *f);
} stale;

static void look_for_stale(void *ctx, const struct aspace_flush *f)
{
    struct env *env = stale.env;

    for (uint64_t va = f->va; va < f->end; va += PAGE) {
        struct naive_result r, now = walk(env, va);
        naive_walk(env->config.format, &env->config, aspace_root(env->space), va, seen_at, &r);
        CHECK(!r.present || (now.present && r.pa == now.pa && !(r.rights & ~now.rights)));
    }
    stale.flushes++;
    stale.flush(ctx, f);
}

static void watch_flushes(struct env *env)
{
    watch_walks(env);
    stale.env = env;
    stale.flushes = 0;
    stale.flush = env->hal.tlb_flush;
    env->hal.tlb_flush = look_for_stale;
    cpu_enter(env, 0);
}

static void cleaned_before_flush(struct env *env)
{
    struct aspace_dirty_config log = {.mode = ASPACE_DIRTY_WRITE_PROTECT};
    static struct clone child;
    static struct aspace_anon anon;
    uint64_t va = at(env, 1, 0), bits[1], done;

    watch_flushes(env);
    CHECK_OK(aspace_anon_init(&anon, env->host, PAGE, 0));
    do_map(env, ASPACE_KIND_EAGER, va, 3 * PAGE, env->rw);
    struct aspace_map m = request(ASPACE_KIND_PRIVATE, va + 3 * PAGE, PAGE, env->rw);
    m.object = &anon.object;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    aspace_object_put(&anon.object);
    poke(env, m.va, 1);
    CHECK_OK(aspace_discard_zero(env->space, m.va, PAGE, &done));
    CHECK_OK(aspace_migrate(env->space, va, ASPACE_PA_NONE));
    CHECK_OK(aspace_discard(env->space, va + PAGE, PAGE));
    fork_clone(env, &child);
    poke(env, va, 2);
    drop_clone(env, &child);
    CHECK_EQ(stale.flushes, 5);
    CHECK_OK(aspace_unmap(env->space, va, 4 * PAGE));
    do_map(env, ASPACE_KIND_EAGER, va, PAGE, env->rw);
    uint64_t pa = walk(env, va).entry_pa, *entry = aspace_phys_to_virt(pa);
    *entry = naive_used(&env->config, *entry, true);
    clean(NULL, entry, sizeof(*entry));
    (void)!aspace_harvest_accessed(env->space, va, PAGE, bits, NULL); /* not every variant has flags */
    CHECK_EQ(*(const uint64_t *)seen_at(pa), *entry);
    if (env->run_pages > 1) {
        uint64_t size = env->run_pages * PAGE, run = at(env, 1, 1);
        do_linear(env, run, size, env->rw, device_pa(env, size));
        CHECK_OK(aspace_dirty_start(env->space, &log));
        CHECK_FAULT(aspace_fault(env->space, run + PAGE, ASPACE_W, NULL), ASPACE_FAULT_DONE);
        expect_seen(env, run, env->run_pages);
        CHECK_OK(aspace_dirty_stop(env->space));
    }
    env->hal.tlb_flush = stale.flush;
}

/* The walker of a format that may change the size of a leaf by one store finds either; the others nothing in between.
 */
static void cleaned_before_flush_large(struct env *env)
{
    uint64_t va = at(env, 1, 0), span = env->span[1];
    struct aspace_fork fork;
    static struct clone child;

    watch_flushes(env);
    do_map(env, ASPACE_KIND_EAGER, va, span, env->rw);
    CHECK_OK(aspace_split(env->space, va));
    CHECK_OK(aspace_collapse(env->space, va, 1));
    do_map(env, ASPACE_KIND_EAGER, va + span, PAGE, env->rw);
    unsigned before = stale.flushes;
    make_clone(env, &child, 1);
    CHECK_OK(aspace_fork_begin(&fork, env->space, child.space));
    CHECK_ERROR(aspace_fork_step(&fork, 1), ASPACE_E_MORE); /* the large leaf and the table */
    aspace_fork_cancel(&fork);
    CHECK(stale.flushes > before);
    drop_clone(env, &child);
    env->hal.tlb_flush = stale.flush;
}

static void cleaned_fork(struct env *env)
{
    static struct clone child;

    watch_walks(env);
    uint64_t va = at(env, 1, 0);
    do_map(env, ASPACE_KIND_LAZY, va, 8 * PAGE, env->rw);
    poke(env, va, 1);
    poke(env, va + PAGE, 2);
    fork_clone(env, &child);
    expect_seen(env, va, 16);
    swap(env, &child);
    expect_seen(env, va, 16);
    poke(env, va, 3);
    expect_seen(env, va, 16);
    swap(env, &child);
    CHECK_EQ(peek(env, va), 1);
    drop_clone(env, &child);
    aspace_trim(env->host);
    poke(env, va, 4);
    expect_seen(env, va, 16);
}

/* ------------------------------------------------------------------------------------------------ frames one by one */

static void no_batches(struct env *env)
{
    uint64_t va = at(env, 1, 0), done;

    env->hal.alloc_batch = NULL;
    env->hal.free_batch = NULL;
    do_map(env, ASPACE_KIND_EAGER, va, 40 * PAGE, env->rw);
    do_map(env, ASPACE_KIND_LAZY, va + 40 * PAGE, 40 * PAGE, env->rw);
    CHECK_OK(aspace_populate(env->space, va + 40 * PAGE, 40 * PAGE, &done));
    CHECK_EQ(frames_held(env), 80);
    for (unsigned n = 0; n < 80; n++) {
        CHECK_EQ(peek(env, va + n * PAGE), 0);
    }
    audit(env);
    CHECK_OK(aspace_unmap(env->space, va, 80 * PAGE));
    CHECK_EQ(frames_held(env), 0);
}

/* ------------------------------------------------------------------------------------- frames that are out of reach */

static struct aspace_hal right;
static uint64_t far_pa;             /* the first that the format cannot address */
static unsigned far_every, far_out; /* every so many-th frame is that one; how many are out */
static unsigned far_asked;

static bool is_far(unsigned flags)
{
    return !(flags & ASPACE_ALLOC_TABLE) && ++far_asked % far_every == 0;
}

static aspace_pa_t far_alloc(void *ctx, unsigned order, unsigned flags)
{
    bool far = is_far(flags);

    far_out += far;
    return far ? far_pa : right.alloc(ctx, order, flags);
}

static void far_free(void *ctx, aspace_pa_t pa, unsigned order)
{
    if (pa == far_pa) {
        far_out--;
        return;
    }
    right.free(ctx, pa, order);
}

static size_t far_alloc_batch(void *ctx, aspace_pa_t *pa, size_t n, unsigned flags)
{
    size_t got = 0;

    while (got < n && (pa[got] = far_alloc(ctx, 0, flags)) != ASPACE_PA_NONE) {
        got++;
    }
    return got;
}

static void far_begin(struct env *env, unsigned every)
{
    right = env->hal;
    far_pa = naive_output_end(&env->config);
    far_every = every;
    far_out = far_asked = 0;
    env->hal.alloc = far_alloc;
    env->hal.free = far_free;
    env->hal.alloc_batch = right.alloc_batch ? far_alloc_batch : NULL;
}

/* None at all will do: nothing is changed, and each goes back. */
static void all_far(struct env *env)
{
    uint64_t va = at(env, 1, 0), done;
    struct aspace_map m = request(ASPACE_KIND_EAGER, va, 8 * PAGE, env->rw);

    do_map(env, ASPACE_KIND_LAZY, va + 8 * PAGE, 8 * PAGE, env->rw);
    do_map(env, ASPACE_KIND_LAZY, va + 16 * PAGE, 8 * PAGE, env->rw);
    poke(env, va + 16 * PAGE, 1);
    far_begin(env, 1);
    CHECK_ERROR(aspace_map(env->space, &m, NULL), ASPACE_E_NO_MEMORY);
    CHECK_FAULT(aspace_fault(env->space, va + 8 * PAGE, ASPACE_W, NULL), ASPACE_FAULT_NO_MEMORY);
    CHECK_ERROR(aspace_populate(env->space, va + 8 * PAGE, 8 * PAGE, &done), ASPACE_E_NO_MEMORY);
    CHECK_ERROR(aspace_migrate(env->space, va + 16 * PAGE, ASPACE_PA_NONE), ASPACE_E_NO_MEMORY);
    CHECK_EQ(far_out, 0);
    CHECK(far_asked >= 4);
    env->hal = right;
    CHECK_EQ(frames_held(env), 1);
    CHECK(!mapped(env, va));
    CHECK_EQ(peek(env, va + 16 * PAGE), 1);
    audit(env);
}

/* Some will do, and are used: with batches and without. */
static void some_far(struct env *env)
{
    uint64_t va = at(env, 1, 0), done;

    for (unsigned round = 0; round < 2; round++) {
        env->hal.alloc_batch = round ? NULL : env->hal.alloc_batch;
        far_begin(env, 3);
        do_map(env, ASPACE_KIND_EAGER, va, 40 * PAGE, env->rw);
        CHECK(far_asked > 40);
        do_map(env, ASPACE_KIND_LAZY, va + 40 * PAGE, 40 * PAGE, env->rw);
        CHECK_OK(aspace_populate(env->space, va + 40 * PAGE, 40 * PAGE, &done));
        CHECK_EQ(far_out, 0);
        env->hal = right;
        for (unsigned n = 0; n < 80; n++) {
            CHECK(machine_owns(agree(env, va + n * PAGE).pa));
        }
        CHECK_EQ(frames_held(env), 80);
        audit(env);
        CHECK_OK(aspace_clear(env->space));
    }
}

/* ------------------------------------------------------------------------------------------- frames that wait to go */

static bool went;

static aspace_pa_t scarce_alloc(void *ctx, unsigned order, unsigned flags)
{
    return went ? right.alloc(ctx, order, flags) : ASPACE_PA_NONE;
}

static void scarce_free(void *ctx, aspace_pa_t pa, unsigned order)
{
    went = true;
    right.free(ctx, pa, order);
}

/* The last frame waits for its release: a fault finds it. */
static void fault_frees_first(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    if (env->variant->smr != ASPACE_SMR_EPOCH) {
        test_skip("the faulting CPU has a quiescent state to go through");
    }
    do_map(env, ASPACE_KIND_LAZY, va, 4 * PAGE, env->rw);
    poke(env, va, 1);
    aspace_trim(env->host);
    CHECK_OK(aspace_discard(env->space, va, PAGE));
    right = env->hal;
    went = false;
    env->hal.alloc = scarce_alloc;
    env->hal.free = scarce_free;
    env->hal.free_batch = NULL;
    touch(env, va + PAGE, ASPACE_W);
    CHECK(went);
    env->hal = right;
    CHECK_EQ(frames_held(env), 1);
}

static const struct test tests[] = {
    {"fault_frees_first", fault_frees_first, NEEDS_ROOM},
    {"cleaned_small", cleaned_small, NEEDS_ROOM},
    {"cleaned_large", cleaned_large, NEEDS_HUGE},
    {"cleaned_fork", cleaned_fork, 0},
    {"cleaned_objects", cleaned_objects, 0},
    {"cleaned_logged", cleaned_logged, 0},
    {"copied_is_fetchable", copied_is_fetchable, 0},
    {"cleaned_before_flush", cleaned_before_flush, 0},
    {"cleaned_before_flush_large", cleaned_before_flush_large, NEEDS_HUGE},
    {"hal_no_batches", no_batches, NEEDS_ROOM},
    {"hal_all_far", all_far, NEEDS_ROOM},
    {"hal_some_far", some_far, NEEDS_ROOM},
};
const struct suite hal_suite = SUITE(tests);
