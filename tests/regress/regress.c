/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shortest way to each fault that the random and failing-allocation tests once found in the library. Owns these
 * situations, one a test; what is general is in conformance.
 */
#define _DEFAULT_SOURCE

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <aspace/dirty.h>
#include <aspace/fork.h>
#include <aspace/layout.h>
#include <aspace/pin.h>

#include "../harness.h"

/* A marker two levels above the leaves is opened twice in one operation: the second time it is no leaf either. */
static void marker_opened_twice(struct env *env)
{
    uint64_t va = at(env, 2, 0), page = va + env->span[1] + PAGE;

    do_map(env, ASPACE_KIND_LAZY, va, env->span[2], env->rw);
    CHECK_OK(aspace_unmap(env->space, page, PAGE));
    audit(env);
    CHECK(!mapped(env, page));
    poke(env, page + PAGE, 7);
    CHECK_EQ(peek(env, page + PAGE), 7);
    CHECK_OK(aspace_protect(env->space, va + 2 * env->span[1] + PAGE, PAGE, 0));
    audit(env);
    CHECK_EQ(query(env, va + 2 * env->span[1] + 2 * PAGE).rights, env->rw);
}

/* One map makes several tables, with a page of frame words used up in between. */
static void map_makes_several_tables(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    struct aspace_map m = request(ASPACE_KIND_EAGER, va - PAGE, env->span[1] + 2 * PAGE, env->rw);

    arena_fail_nth(&env->machine.arena, 1);
    CHECK_ERROR(aspace_map(env->space, &m, NULL), ASPACE_E_NO_MEMORY);
    CHECK_OK(aspace_map(env->space, &m, NULL));
    audit(env);
    CHECK_OK(aspace_unmap(env->space, va, PAGE));
    audit(env);
}

/* Ranges that share a table need room for the segments of all of them together. */
static void batch_fills_segments(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    struct aspace_map m[3];

    for (unsigned n = 0; n < 3; n++) {
        do_map(env, ASPACE_KIND_GUARD, va + 4 * n * PAGE, PAGE, env->rw);
    }
    for (unsigned n = 0; n < 3; n++) {
        m[n] = request(n == 1 ? ASPACE_KIND_LAZY : ASPACE_KIND_TRAP, va + (4 * n + 2) * PAGE, PAGE, env->ro);
    }
    CHECK_OK(aspace_map_batch(env->space, m, 3, NULL));
    audit(env);
    for (unsigned n = 0; n < 12; n++) {
        CHECK_EQ(mapped(env, va + n * PAGE), n % 2 == 0);
    }
}

/* The first call of all meets slots that never had an area. */
static void discard_before_any_map(struct env *env)
{
    CHECK_OK(aspace_discard(env->space, env->base, env->end - env->base));
    CHECK_EQ(frames_held(env), 0);
}

/* Without rights and back, on a machine where nobody but software sets the dirty flag: a store must get through. */
static void rights_come_back_whole(struct env *env)
{
    uint64_t size = env->span[1], va = at(env, 1, 1);
    uint32_t other = expressible(env, ASPACE_X) ? ASPACE_X : env->ro;

    do_linear(env, va, size, other, device_pa(env, size));
    CHECK_OK(aspace_protect(env->space, va, size, 0));
    CHECK_OK(aspace_protect(env->space, va + PAGE, 2 * PAGE, env->rw));
    for (unsigned n = 1; n < 3; n++) {
        expect_leaf(env, va + n * PAGE, device_pa(env, size) + n * PAGE, env->rw);
    }
    expect_absent(env, va);
}

/* However small the budget, the sweep gets on. */
static void sweep_with_small_budget(struct env *env)
{
    uint64_t tables = tables_held(env);

    for (unsigned n = 0; n < 2; n++) {
        do_map(env, ASPACE_KIND_EAGER, at(env, 1, n) + PAGE, PAGE, env->rw);
        CHECK_OK(aspace_unmap(env->space, at(env, 1, n) + PAGE, PAGE));
    }
    for (unsigned n = 0; n < 200 && tables_held(env) > tables; n++) {
        (void)aspace_sweep(env->space, 1);
    }
    CHECK_EQ(tables_held(env), tables);
}

/* The highest frame that an entry can hold survives losing its rights. */
static void highest_frame_without_rights(struct env *env)
{
    uint64_t size = env->span[1], va = at(env, 1, 1), pa = highest_pa(env, size);

    do_linear(env, va, size, env->rw, pa);
    CHECK_OK(aspace_protect(env->space, va, size, 0));
    CHECK_OK(aspace_protect(env->space, va + PAGE, PAGE, env->ro));
    expect_leaf(env, va + PAGE, pa + PAGE, env->ro);
    CHECK_OK(aspace_protect(env->space, va, size, env->rw));
    expect_leaf(env, va + size - 1, pa + size - 1, env->rw);
}

/* What the length says holds for every page of a contiguous run. */
static void length_inside_run(struct env *env)
{
    uint64_t run = env->run_pages * PAGE, va = at(env, 1, 1) + run;
    struct aspace_translation t;

    do_linear(env, va, run, env->rw, device_pa(env, env->span[1]));
    for (uint64_t off = 0; off < run; off += PAGE) {
        CHECK_OK(aspace_translate(env->space, va + off + 5, &t));
        CHECK_EQ(t.leaf_bytes, run);
        CHECK_EQ(t.length, run - off - 5);
    }
}

/* Faults are counted for the area also where a page of zeros is all that is needed. */
static void counted_area_counts(struct env *env)
{
    uint64_t va = at(env, 1, 0) + PAGE;
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, 2 * PAGE, env->rw);
    struct aspace_area_counters c;

    m.flags = ASPACE_MAP_COUNT;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    touch(env, va, ASPACE_W);
    CHECK_OK(aspace_area_counters_read(env->space, va, &c));
    CHECK_EQ(c.faults, 1);
}

/* An operation that has raised the flush generation, but not looked at the active set again, asks no CPU that leaves in
 * between; such a CPU must still flush when it comes back. It cannot tell this raise from one that did reach it. */
static void cpu_leaves_after_a_raised_generation(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    do_map(env, ASPACE_KIND_LAZY, va, 2 * PAGE, env->rw);
    poke(env, va + PAGE, 1);
    cpu_enter(env, 2);
    cpu_leave(env, 2);
    cpu_enter(env, 1);
    cpu_run(env, 1, va, ASPACE_R);
    CHECK_OK(aspace_unmap(env->space, va + PAGE, PAGE));
    CHECK(sim_cpu_caches(&env->machine.sim.cpu[1], &env->sim_space, va));
    cpu_leave(env, 1);
    cpu_enter(env, 1);
    CHECK(!sim_cpu_caches(&env->machine.sim.cpu[1], &env->sim_space, va));
    cpu_leave(env, 1);
}

/* A table that a batch has published and not yet filled belongs to the batch: another CPU that maps into it waits,
 * and then finds that the place is taken. */
static struct {
    struct env *env;
    pthread_t thread;
    uint64_t va;
    bool started;
    int error;
} rival;

static void *map_beside(void *arg)
{
    struct aspace_map m = request(ASPACE_KIND_TRAP, rival.va, PAGE, 0);

    (void)arg;
    aspace_linux_set_cpu(1);
    rival.error = aspace_map(rival.env->space, &m, NULL);
    return NULL;
}

static void start_rival(void *ctx, const void *p, size_t bytes)
{
    struct timespec pause = {.tv_nsec = 20000000};

    (void)ctx;
    (void)p;
    /* One entry: the table has just been published. */
    if (!rival.started && bytes == sizeof(uint64_t)) {
        rival.started = true;
        CHECK_EQ(pthread_create(&rival.thread, NULL, map_beside, NULL), 0);
        nanosleep(&pause, NULL);
    }
}

static void batch_shares_new_table(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    struct aspace_map m[2];

    for (unsigned i = 0; i < 2; i++) {
        m[i] = request(ASPACE_KIND_TRAP, va + 2 * i * PAGE, 2 * PAGE, 0);
    }
    do_map(env, ASPACE_KIND_TRAP, at(env, 1, 0), PAGE, 0); /* the tables above */
    memset(&rival, 0, sizeof(rival));
    rival.env = env;
    rival.va = va + 3 * PAGE;
    if (env->variant->smr == ASPACE_SMR_QSBR) {
        aspace_linux_set_cpu(1);
        aspace_cpu_online(env->host);
        aspace_linux_set_cpu(0);
    }
    env->hal.dcache_clean = start_rival;
    CHECK_OK(aspace_map_batch(env->space, m, 2, NULL));
    env->hal.dcache_clean = NULL;
    CHECK(rival.started);
    pthread_join(rival.thread, NULL);
    CHECK_ERROR(rival.error, ASPACE_E_EXISTS);
    if (env->variant->smr == ASPACE_SMR_QSBR) {
        aspace_linux_set_cpu(1);
        aspace_cpu_offline(env->host);
        aspace_linux_set_cpu(0);
    }
    audit(env);
}

/* The sweep waited only for flushes of the first address of a table; its own stands for others in a leaf table, but not
 * in a larger one, where it goes in steps of the slots. */
static struct {
    struct env *env;
    void (*flush)(void *ctx, const struct aspace_flush *f);
    pthread_t thread;
    bool started, swept, early;
} sweeper;

static void *sweep_beside(void *arg)
{
    (void)arg;
    aspace_linux_set_cpu(1);
    (void)aspace_sweep(sweeper.env->space, 1000);
    __atomic_store_n(&sweeper.swept, true, __ATOMIC_RELEASE);
    return NULL;
}

static void flush_beside_sweep(void *ctx, const struct aspace_flush *f)
{
    struct timespec pause = {.tv_nsec = 20000000};

    if (!sweeper.started) {
        sweeper.started = true;
        CHECK_EQ(pthread_create(&sweeper.thread, NULL, sweep_beside, NULL), 0);
        nanosleep(&pause, NULL);
        sweeper.early = __atomic_load_n(&sweeper.swept, __ATOMIC_ACQUIRE);
    }
    sweeper.flush(ctx, f);
}

static void sweep_waits_for_flushes_below(struct env *env)
{
    uint64_t va = at(env, 1, 0) + PAGE;

    do_map(env, ASPACE_KIND_LAZY, va, PAGE, env->rw);
    cpu_enter(env, 2);
    cpu_run(env, 2, va, ASPACE_W);
    memset(&sweeper, 0, sizeof(sweeper));
    sweeper.env = env;
    sweeper.flush = env->hal.tlb_flush;
    if (env->variant->smr == ASPACE_SMR_QSBR) {
        aspace_linux_set_cpu(1);
        aspace_cpu_online(env->host);
    }
    aspace_linux_set_cpu(0);
    env->hal.tlb_flush = flush_beside_sweep;
    CHECK_OK(aspace_unmap(env->space, va, PAGE));
    CHECK(sweeper.started);
    pthread_join(sweeper.thread, NULL);
    env->hal.tlb_flush = sweeper.flush;
    CHECK(!sweeper.early);
    if (env->variant->smr == ASPACE_SMR_QSBR) {
        aspace_linux_set_cpu(1);
        aspace_cpu_offline(env->host);
        aspace_linux_set_cpu(0);
    }
    cpu_leave(env, 2);
    audit(env);
}

/* Can a page be executed at the time when its contents are made fetchable? Then it is too late. */
struct fetch_watch {
    struct env *env;
    uint64_t va;
    unsigned early, late;
};

static void watch_fetch(void *ctx)
{
    struct fetch_watch *w = ctx;
    struct naive_result r = walk(w->env, w->va);
    if (r.present && r.rights & ASPACE_X) {
        w->late++;
    } else {
        w->early++;
    }
}

static void watch_syncs(struct env *env, struct fetch_watch *w, uint64_t va)
{
    *w = (struct fetch_watch){.env = env, .va = va};
    env->machine.icache_watch = watch_fetch;
    env->machine.icache_watch_ctx = w;
}

/* Protect made a page executable first, and its contents fetchable afterwards. */
static void executable_before_fetchable(struct env *env)
{
    uint64_t va = at(env, 1, 0) + PAGE;
    struct fetch_watch w;
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, PAGE, env->rw & ~(uint32_t)ASPACE_X);

    m.max_rights = ASPACE_RWX;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    poke(env, va, 0x13);
    watch_syncs(env, &w, va);
    CHECK_OK(aspace_protect(env->space, va, PAGE, ASPACE_RX));
    env->machine.icache_watch = NULL;
    CHECK_EQ(w.early, 1);
    CHECK_EQ(w.late, 0);
}

/* Collapse copies instructions into another frame, as migrate does, and did not make them fetchable there. */
static void collapse_makes_contents_fetchable(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    struct fetch_watch w;
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, env->span[1], ASPACE_RWX);

    m.max_leaf_level = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    poke(env, va + PAGE, 0x13);
    watch_syncs(env, &w, va + PAGE);
    CHECK_OK(aspace_collapse(env->space, va, 1));
    env->machine.icache_watch = NULL;
    CHECK_EQ(w.early, 1);
    CHECK_EQ(w.late, 0);
}

/* An empty space beside the environment's, of the same kind. */
static struct aspace *beside(struct env *env)
{
    struct aspace_config config = env->config;
    struct aspace *space = aligned_alloc(ASPACE_CACHE_LINE, (aspace_bytes(env->host) + 63) / 64 * 64);

    config.tag = env->config.tag + 1;
    CHECK(space);
    CHECK_OK(aspace_create(space, env->host, &config));
    return space;
}

static void drop_beside(struct aspace *space)
{
    CHECK_OK(aspace_destroy(space));
    free(space);
}

/* The copies of records that a failed fork made die while the child is emptied; nobody may look for them there. */
static void failed_fork_forgets_its_records(struct env *env)
{
    struct aspace_area area;
    unsigned top = env->levels - 1;

    if (at(env, top, 2) + env->span[top] > env->end) {
        test_skip("the space has fewer than three slots in its root");
    }
    struct aspace *child = beside(env);
    for (unsigned n = 0; n < 3; n++) {
        struct aspace_map m = request(ASPACE_KIND_TRAP, at(env, top, n), env->span[top], env->rw);
        m.cookie = n + 1;
        m.fork = n == 2 ? ASPACE_FORK_REFUSE : ASPACE_FORK_COW;
        CHECK_OK(aspace_map(env->space, &m, NULL));
    }
    for (unsigned n = 0; n < 2; n++) {
        CHECK_ERROR(aspace_fork(env->space, child), ASPACE_E_PERMISSION);
        aspace_trim(env->host);
    }
    CHECK_OK(aspace_unmap(env->space, at(env, top, 2), env->span[top]));
    CHECK_OK(aspace_fork(env->space, child));
    for (unsigned n = 0; n < 2; n++) {
        CHECK_OK(aspace_query(child, at(env, top, n), &area));
        CHECK_EQ(area.cookie, n + 1);
    }
    audit(env);
    CHECK_EQ(aspace_audit(child, NULL, NULL), 0);
    drop_beside(child);
}

/* Between the steps of a fork the parent stands still for the CPU that makes the steps too: what that may not wait for
 * is told so. Here another thread comes to the CPU. */
struct late_unmap {
    struct env *env;
    uint64_t va;
    int done;
};

static void *unmap_on_cpu_0(void *arg)
{
    struct late_unmap *late = arg;

    aspace_linux_set_cpu(0);
    int rc = aspace_unmap(late->env->space, late->va, PAGE);
    __atomic_store_n(&late->done, rc ? rc : 1, __ATOMIC_RELEASE);
    return NULL;
}

static void parent_stands_still_between_steps(struct env *env)
{
    struct timespec pause = {.tv_nsec = 5000000};
    struct aspace *child = beside(env);
    struct aspace_fork fork;
    struct aspace_area area;
    pthread_t thread;
    struct late_unmap late = {env, env->base, 0};
    int rc;

    do_map(env, ASPACE_KIND_EAGER, env->base, PAGE, env->rw);
    do_map(env, ASPACE_KIND_EAGER, at(env, 1, 1), PAGE, env->rw);
    CHECK_OK(aspace_fork_begin(&fork, env->space, child));
    CHECK_ERROR(aspace_fork_step(&fork, 1), ASPACE_E_MORE);
    CHECK(pthread_create(&thread, NULL, unmap_on_cpu_0, &late) == 0);
    nanosleep(&pause, NULL);
    CHECK_EQ(__atomic_load_n(&late.done, __ATOMIC_ACQUIRE), 0);
    aspace_linux_set_cpu(1); /* one call at a time on a CPU */
    if (env->variant->smr == ASPACE_SMR_QSBR) {
        aspace_cpu_online(env->host);
    }
    while ((rc = aspace_fork_step(&fork, 1)) == ASPACE_E_MORE) {
        continue;
    }
    CHECK_OK(rc);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_EQ(late.done, 1);
    if (env->variant->smr == ASPACE_SMR_QSBR) {
        aspace_cpu_offline(env->host);
    }
    aspace_linux_set_cpu(0);
    CHECK(!mapped(env, env->base));
    CHECK_OK(aspace_query(child, env->base, &area));
    drop_beside(child);
}

/* The fewest mappings that a frame may have are two: with one the parent could still write to what is copied. The most
 * are half of what a count can be: it may be the sum of two. */
static void a_frame_is_shared_by_two_at_least(struct env *env)
{
    char memory[ASPACE_HOST_BYTES(1)] __attribute__((aligned(ASPACE_CACHE_LINE)));
    struct aspace_host *host = (struct aspace_host *)(void *)memory;

    CHECK_ERROR(
        aspace_host_init(host, &env->hal, &env->machine, &(struct aspace_host_config){.cpus = 1, .share_max = 1}),
        ASPACE_E_INVALID);
    CHECK_ERROR(aspace_host_init(host, &env->hal, &env->machine,
                                 &(struct aspace_host_config){.cpus = 1, .share_max = UINT32_C(1) << 30}),
                ASPACE_E_INVALID);
    CHECK_OK(aspace_host_init(host, &env->hal, &env->machine, &(struct aspace_host_config){.cpus = 1, .share_max = 2}));
    CHECK_OK(aspace_host_fini(host));
}

/* Segments to be written to are a write: while a fork is under way there are none. */
static void no_writable_segments_in_a_fork(struct env *env)
{
    struct aspace *child = beside(env);
    struct aspace_segment segment;
    struct aspace_fork fork;
    size_t count = 1;
    int rc;

    do_map(env, ASPACE_KIND_EAGER, env->base, PAGE, env->rw);
    CHECK_OK(aspace_fork_begin(&fork, env->space, child));
    aspace_read_begin(env->host);
    rc = aspace_segments(env->space, env->base, 8, ASPACE_W, &segment, &count, NULL);
    aspace_read_end(env->host);
    CHECK_ERROR(rc, ASPACE_E_RETRY);
    aspace_read_begin(env->host);
    count = 1;
    rc = aspace_segments(env->space, env->base, 8, ASPACE_R, &segment, &count, NULL);
    aspace_read_end(env->host);
    CHECK_OK(rc);
    CHECK_OK(aspace_fork_step(&fork, SIZE_MAX));
    count = 1;
    aspace_read_begin(env->host);
    CHECK_OK(aspace_segments(env->space, env->base, 8, ASPACE_W, &segment, &count, NULL));
    *(uint64_t *)segment.data = 5;
    aspace_read_end(env->host);
    uint64_t value = 1;
    CHECK_OK(aspace_read_object(child, env->base, &value));
    CHECK_EQ(value, 0);
    drop_beside(child);
}

/* A write fault that gives back the right which a dirty log withheld has done something: it is not spurious. */
static void right_given_back_is_not_spurious(struct env *env)
{
    struct aspace_dirty_config config = {.mode = ASPACE_DIRTY_WRITE_PROTECT};

    do_map(env, ASPACE_KIND_LAZY, env->base, PAGE, env->rw);
    touch(env, env->base, ASPACE_R);
    CHECK_OK(aspace_dirty_start(env->space, &config));
    CHECK_FAULT(aspace_fault(env->space, env->base, ASPACE_W, NULL), ASPACE_FAULT_DONE);
    CHECK_FAULT(aspace_fault(env->space, env->base, ASPACE_W, NULL), ASPACE_FAULT_SPURIOUS);
    CHECK_OK(aspace_dirty_stop(env->space));
}

/* A write to a shared large page splits it when there is a frame for the copy, and not before. */
static void copy_without_memory_splits_nothing(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    struct aspace *child = beside(env);

    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    CHECK_OK(aspace_fork(env->space, child));
    arena_fail_from(&env->machine.arena, 1);
    CHECK_FAULT(aspace_fault(env->space, va, ASPACE_W, NULL), ASPACE_FAULT_NO_MEMORY);
    arena_fail_nth(&env->machine.arena, 0);
    CHECK_EQ(agree(env, va).leaf_bytes, env->span[1]);
    CHECK_EQ(counters(env).splits, 0);
    touch(env, va, ASPACE_W);
    drop_beside(child);
}

/* ... and when the split may not have its table, the frame goes back, and what was taken with it. */
static void copy_without_table_gives_its_frame_back(struct env *env)
{
    struct aspace_config config = env->config;
    uint64_t va = at(env, 1, 1);

    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    config.quota_tables = tables_held(env);
    recreate(env, &config);
    struct aspace *child = beside(env);
    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    CHECK_OK(aspace_fork(env->space, child));
    aspace_trim(env->host);
    uint64_t data = ledger(env).data;
    CHECK_FAULT(aspace_fault(env->space, va, ASPACE_W, NULL), ASPACE_FAULT_NO_MEMORY);
    CHECK_EQ(agree(env, va).leaf_bytes, env->span[1]);
    CHECK_EQ(ledger(env).data, data);
    drop_beside(child);
}

/* A frame that only waits for a grace period is one that a copy can have; and if another mapping has gone that was not
 * counted down yet, no frame is needed. */
static void copy_frees_before_it_refuses(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_LAZY, env->base, 3 * PAGE, env->rw);
    struct aspace *child = beside(env);

    m.max_leaf_level = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    poke(env, m.va, 1);
    poke(env, m.va + PAGE, 2);
    CHECK_OK(aspace_fork(env->space, child));
    poke(env, m.va + 2 * PAGE, 3);
    limit_frames(env, ledger(env).frames);
    CHECK_FAULT(aspace_fault(env->space, m.va, ASPACE_W, NULL), ASPACE_FAULT_NO_MEMORY);
    CHECK_OK(aspace_discard(env->space, m.va + 2 * PAGE, PAGE));
    touch(env, m.va, ASPACE_W);
    CHECK_EQ(counters(env).cow_copies, 1);
    CHECK_OK(aspace_unmap(child, m.va, 3 * PAGE));
    limit_frames(env, 0);
    touch(env, m.va + PAGE, ASPACE_W);
    CHECK_EQ(counters(env).cow_copies, 1);
    limit_frames(env, UINT64_MAX);
    CHECK_EQ(peek(env, m.va + PAGE), 2);
    drop_beside(child);
}

/* What the child had of a fork that failed does not make the parent copy its pages. */
static void failed_fork_costs_no_copy(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_LAZY, env->base, 2 * PAGE, env->rw);
    struct aspace *child = beside(env);
    int rc = ASPACE_E_NO_MEMORY;

    m.fork = ASPACE_FORK_COPY;
    m.max_leaf_level = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    for (uint64_t n = 1; rc != ASPACE_OK; n++) {
        poke(env, m.va, 1);
        poke(env, m.va + PAGE, 2);
        CHECK_EQ(counters(env).cow_copies, 0);
        CHECK(n < 100);
        arena_fail_nth(&env->machine.arena, n);
        rc = aspace_fork(env->space, child);
        arena_fail_nth(&env->machine.arena, 0);
    }
    drop_beside(child);
}

/* A log withholds the write right in its own space only: a child of that space can write what neither owns. */
static void log_stays_with_the_parent(struct env *env)
{
    struct aspace_dirty_config config = {.mode = ASPACE_DIRTY_WRITE_PROTECT};
    struct aspace *child = beside(env), *grandchild = beside(env);
    struct aspace_translation t;

    CHECK_OK(aspace_dirty_start(env->space, &config));
    do_linear(env, env->base, PAGE, env->rw, device_pa(env, PAGE));
    CHECK_OK(aspace_fork(env->space, child));
    audit(env);
    CHECK_EQ(aspace_audit(child, NULL, NULL), 0);
    CHECK_FAULT(aspace_fault(child, env->base, ASPACE_W, NULL), ASPACE_FAULT_SPURIOUS);
    CHECK_OK(aspace_translate(child, env->base, &t));
    CHECK_EQ(t.rights, env->rw);
    CHECK_OK(aspace_dirty_start(grandchild, &config));
    CHECK_OK(aspace_fork(child, grandchild));
    CHECK_EQ(aspace_audit(grandchild, NULL, NULL), 0);
    uint64_t bitmap = 0;
    CHECK_OK(aspace_harvest_dirty(grandchild, env->base, PAGE, &bitmap, NULL));
    CHECK_FAULT(aspace_fault(grandchild, env->base, ASPACE_W, NULL),
                t.rights & ASPACE_W && expressible(env, env->rw & ~(uint32_t)ASPACE_W) ? ASPACE_FAULT_DONE
                                                                                       : ASPACE_FAULT_SPURIOUS);
    CHECK_OK(aspace_harvest_dirty(grandchild, env->base, PAGE, &bitmap, NULL));
    CHECK_EQ(bitmap, 1);
    drop_beside(grandchild);
    drop_beside(child);
}

/* More pins given back than there are, and one of an address that only the format cuts short. */
static void too_many_unpins(struct env *env)
{
    aspace_pa_t pages[2];

    do_map(env, ASPACE_KIND_LAZY, env->base, 2 * PAGE, env->rw);
    CHECK_OK(aspace_pin(env->space, env->base, PAGE, ASPACE_R, pages));
    pages[1] = pages[0];
    CHECK_ERROR(aspace_unpin(env->space, env->base, 2 * PAGE, pages), ASPACE_E_INVALID);
    pages[1] |= UINT64_C(1) << 60;
    CHECK_ERROR(aspace_unpin(env->space, env->base, PAGE, pages + 1), ASPACE_E_INVALID);
    CHECK_OK(aspace_unpin(env->space, env->base, PAGE, pages));
    CHECK_OK(aspace_pin(env->space, env->base, 2 * PAGE, ASPACE_R, pages));
    CHECK_ERROR(aspace_unpin(env->space, env->base, 2 * PAGE, (aspace_pa_t[]){pages[0], pages[0]}), ASPACE_E_INVALID);
    CHECK_OK(aspace_unpin(env->space, env->base, PAGE, pages + 1));
    CHECK_ERROR(aspace_unpin(env->space, env->base, PAGE, pages + 1), ASPACE_E_INVALID);
}

/* A stack may not grow where its space does not reach. */
static void stack_at_the_bottom_of_its_space(struct env *env)
{
    struct aspace_stack stack = {.space = env->space, .size = PAGE, .limit = 16 * PAGE, .gap = PAGE, .rights = env->rw};

    if (env->base < 16 * PAGE) {
        test_skip("the space begins at 0");
    }
    stack.top = env->base + 8 * PAGE;
    CHECK_OK(aspace_stack_map(&stack));
    CHECK_FAULT(aspace_stack_fault(&stack, env->base, ASPACE_W), ASPACE_FAULT_GUARD);
    CHECK_FAULT(aspace_stack_fault(&stack, env->base + PAGE, ASPACE_W), ASPACE_FAULT_DONE);
}

/* The rings tell where a page is that was written, not where it was when that happened. */
static void rings_tell_what_has_moved(struct env *env)
{
    static struct aspace_dirty_ring rings[8];
    static uint64_t pages[8][16];
    struct aspace_dirty_config config = {.mode = ASPACE_DIRTY_WRITE_PROTECT, .rings = rings};
    struct aspace_range told[4];
    uint64_t to = at(env, 1, 2) + PAGE;
    size_t n = 4;

    for (unsigned i = 0; i < env->cpus; i++) {
        rings[i] = (struct aspace_dirty_ring){.pages = pages[i], .entries = 16};
    }
    do_map(env, ASPACE_KIND_EAGER, env->base, 3 * PAGE, env->rw);
    CHECK_OK(aspace_dirty_start(env->space, &config));
    poke(env, env->base + PAGE, 1);
    CHECK_OK(aspace_move(env->space, env->base, 3 * PAGE, to, NULL));
    CHECK_OK(aspace_drain_dirty(env->space, told, &n));
    CHECK_EQ(n, 1);
    CHECK_EQ(told[0].va, to + PAGE);
    CHECK_EQ(told[0].size, PAGE);
    CHECK_OK(aspace_dirty_stop(env->space));
}

/* Each table that is emptied by a move goes by itself: a place for each is prepared, however deep it hangs. */
static void move_of_many_tables(struct env *env)
{
    uint64_t va = at(env, 2, 0), to = at(env, 2, 2);

    for (unsigned n = 0; n < 64; n++) {
        struct aspace_map m = {.va = va + n * env->span[1], .size = PAGE, .kind = ASPACE_KIND_LAZY, .rights = env->rw};
        CHECK_OK(aspace_map(env->space, &m, NULL));
    }
    CHECK_OK(aspace_move(env->space, va, env->span[2], to, NULL));
    for (unsigned n = 0; n < 64; n++) {
        struct aspace_area area;
        CHECK_OK(aspace_query(env->space, to + n * env->span[1], &area));
    }
    audit(env);
}

/* A large leaf that two spaces share becomes small ones by a move: from then on its pages are counted one by one. */
static void shared_leaf_moved_in_pieces(struct env *env)
{
    uint64_t va = at(env, 1, 1), to = va + 2 * env->span[1] + PAGE;
    struct aspace *child = beside(env);

    if (to + env->span[1] > env->end) {
        test_skip("too small a space");
    }
    uint64_t data = ledger(env).data;
    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    CHECK_OK(aspace_fork(env->space, child));
    CHECK_OK(aspace_move(env->space, va, env->span[1], to, NULL));
    CHECK_EQ(agree(env, to).leaf_bytes, PAGE);
    poke(env, to, 1);
    CHECK_OK(aspace_unmap(env->space, to + PAGE, PAGE));
    aspace_trim(env->host);
    CHECK_EQ(aspace_audit(child, NULL, NULL), 0);
    drop_beside(child);
    poke(env, to + 2 * PAGE, 1);
    CHECK_EQ(counters(env).cow_copies, 1);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    CHECK_EQ(ledger(env).data, data);
}

/* The last table of a directory uses the budget up, and the step has still to end there. */
static void step_ends_with_the_last_table(struct env *env)
{
    uint64_t va = at(env, 2, 1) - env->span[1]; /* the first is the last that its directory has */
    struct aspace *child = beside(env);
    struct aspace_fork fork;
    unsigned tables = 0, steps = 0;
    int rc;

    for (; tables < 6 && va + PAGE <= env->end; tables++, va += env->span[1]) {
        struct aspace_map m = request(ASPACE_KIND_EAGER, va, PAGE, env->rw);
        m.fork = ASPACE_FORK_COPY;
        CHECK_OK(aspace_map(env->space, &m, NULL));
    }
    CHECK_OK(aspace_fork_begin(&fork, env->space, child));
    while ((rc = aspace_fork_step(&fork, 1)) == ASPACE_E_MORE) {
        steps++;
    }
    CHECK_OK(rc);
    CHECK(steps >= 2 * tables - 1); /* they are gone through twice: shared, then copied */
    drop_beside(child);
}

/* Hardware said of one page of a run that the run was written. Taken apart, it forgot that of the others. */
static void write_one_of_a_run(struct env *env, uint64_t va)
{
    uint64_t *entry = aspace_phys_to_virt(walk(env, va).entry_pa);

    *entry = naive_used(&env->config, *entry, true);
}

static void runs_part_as_written(struct env *env)
{
    uint64_t pages = env->run_pages, size = pages * PAGE, va = at(env, 1, 1), bits[1], told;
    uint64_t ways = 3;

    for (uint64_t way = 0; way < ways; way++) {
        struct aspace_dirty_config log = {.mode = ASPACE_DIRTY_HARDWARE};
        uint64_t to = va, left = pages;
        do_linear(env, va, size, env->rw, device_pa(env, size));
        CHECK_OK(aspace_dirty_start(env->space, &log));
        write_one_of_a_run(env, va);
        if (way == 0) {
            CHECK_OK(aspace_protect(env->space, va, PAGE, env->ro));
        } else if (way == 1) {
            CHECK_OK(aspace_unmap(env->space, va + --left * PAGE, PAGE));
        } else {
            to = va + size + PAGE;
            CHECK_OK(aspace_move(env->space, va, size, to, NULL));
        }
        CHECK_OK(aspace_harvest_dirty(env->space, to, size, bits, &told));
        CHECK_EQ(told, left);
        CHECK_OK(aspace_dirty_stop(env->space));
        CHECK_OK(aspace_clear(env->space));
    }
}

/* A child that has been destroyed has no root to look at: its frame may be another table by then. */
static void fork_into_a_destroyed_space(struct env *env)
{
    struct aspace *child = beside(env), *other;

    CHECK_OK(aspace_destroy(child));
    other = beside(env);
    struct aspace_map m = request(ASPACE_KIND_TRAP, env->base, PAGE, env->rw);
    CHECK_OK(aspace_map(other, &m, NULL));
    CHECK_ERROR(aspace_fork(env->space, child), ASPACE_E_CLOSED);
    drop_beside(other);
    free(child);
}

/* An access that asks for nothing made a leaf without rights, which is no leaf. */
static void access_to_nothing(struct env *env)
{
    do_map(env, ASPACE_KIND_LAZY, env->base, 2 * PAGE, env->rw);
    poke(env, env->base, 1);
    CHECK_OK(aspace_protect(env->space, env->base, 2 * PAGE, 0));
    for (unsigned n = 0; n < 2; n++) {
        CHECK_FAULT(aspace_fault(env->space, env->base + n * PAGE, 0, NULL), ASPACE_FAULT_PERMISSION);
        CHECK_FAULT(aspace_fault(env->space, env->base + n * PAGE, ASPACE_U, NULL), ASPACE_FAULT_PERMISSION);
        expect_absent(env, env->base + n * PAGE);
    }
    audit(env);
    CHECK_OK(aspace_protect(env->space, env->base, 2 * PAGE, env->rw));
    CHECK_EQ(peek(env, env->base), 1);
    CHECK_EQ(peek(env, env->base + PAGE), 0);
}

/* A break whose page would end behind the last address there is: what is mapped below stays. */
static void break_at_the_last_address(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    struct aspace_brk b = {.space = env->space, .start = va, .limit = 0 - PAGE, .rights = env->rw};

    do_map(env, ASPACE_KIND_GUARD, env->base, PAGE, env->rw);
    CHECK_OK(aspace_brk_set(&b, va + PAGE));
    CHECK_ERROR(aspace_brk_set(&b, UINT64_MAX), ASPACE_E_LIMIT);
    CHECK_ERROR(aspace_brk_set(&b, UINT64_MAX - PAGE + 2), ASPACE_E_LIMIT);
    CHECK_ERROR(aspace_brk_set(&b, UINT64_MAX - PAGE + 1), ASPACE_E_RANGE);
    CHECK_EQ(b.end, va + PAGE);
    CHECK(mapped(env, env->base) && mapped(env, va));
}

static const struct test tests[] = {
    {"step_ends_with_the_last_table", step_ends_with_the_last_table, 0},
    {"fork_into_a_destroyed_space", fork_into_a_destroyed_space, NEEDS_PLAIN},
    {"access_to_nothing", access_to_nothing, 0},
    {"runs_part_as_written", runs_part_as_written, NEEDS_RUNS | NEEDS_AD},
    {"shared_leaf_moved_in_pieces", shared_leaf_moved_in_pieces, NEEDS_HUGE},
    {"rings_tell_what_has_moved", rings_tell_what_has_moved, 0},
    {"copy_without_memory_splits_nothing", copy_without_memory_splits_nothing, NEEDS_HUGE},
    {"copy_without_table_gives_its_frame_back", copy_without_table_gives_its_frame_back, NEEDS_HUGE},
    {"copy_frees_before_it_refuses", copy_frees_before_it_refuses, NEEDS_PLAIN},
    {"failed_fork_costs_no_copy", failed_fork_costs_no_copy, 0},
    {"log_stays_with_the_parent", log_stays_with_the_parent, 0},
    {"too_many_unpins", too_many_unpins, 0},
    {"stack_at_the_bottom_of_its_space", stack_at_the_bottom_of_its_space, 0},
    {"move_of_many_tables", move_of_many_tables, NEEDS_ROOM},
    {"right_given_back_is_not_spurious", right_given_back_is_not_spurious, 0},
    {"failed_fork_forgets_its_records", failed_fork_forgets_its_records, 0},
    {"parent_stands_still_between_steps", parent_stands_still_between_steps, NEEDS_PLAIN},
    {"a_frame_is_shared_by_two_at_least", a_frame_is_shared_by_two_at_least, NEEDS_PLAIN},
    {"no_writable_segments_in_a_fork", no_writable_segments_in_a_fork, NEEDS_PLAIN},
    {"break_at_the_last_address", break_at_the_last_address, 0},
    {"batch_shares_new_table", batch_shares_new_table, 0},
    {"marker_opened_twice", marker_opened_twice, 0},
    {"map_makes_several_tables", map_makes_several_tables, 0},
    {"batch_fills_segments", batch_fills_segments, 0},
    {"discard_before_any_map", discard_before_any_map, 0},
    {"rights_come_back_whole", rights_come_back_whole, 0},
    {"sweep_with_small_budget", sweep_with_small_budget, 0},
    {"highest_frame_without_rights", highest_frame_without_rights, 0},
    {"length_inside_run", length_inside_run, NEEDS_RUNS},
    {"counted_area_counts", counted_area_counts, 0},
    {"cpu_leaves_after_a_raised_generation", cpu_leaves_after_a_raised_generation, 0},
    {"sweep_waits_for_flushes_below", sweep_waits_for_flushes_below, 0},
    {"executable_before_fetchable", executable_before_fetchable, NEEDS_PLAIN},
    {"collapse_makes_contents_fetchable", collapse_makes_contents_fetchable, NEEDS_PLAIN | NEEDS_HUGE},
};

int main(int argc, char **argv)
{
    const struct suite suites[] = {SUITE(tests)};
    const struct program program = {"regress", suites, 1, NULL};

    return harness_main(&program, argc, argv);
}
