/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What once went wrong where two mechanisms meet: a quota and a collapse, a log and a move, a truncation and zeroes.
 * Owns these situations, one a test; what one mechanism does alone is in conformance.
 */
#include <aspace/dirty.h>
#include <aspace/object.h>
#include <aspace/pin.h>
#include <aspace/ticket.h>
#include <aspace/watch.h>

#include "../conformance/clone.h"

/* Pages that a collapse fills count as any others: where the quota has no room for them it is refused. */
static void collapse_above_the_quota(struct env *env)
{
    struct aspace_config config = env->config;
    uint64_t pages = env->span[1] / PAGE;
    struct aspace_map m;

    config.quota_frames = pages - 1;
    recreate(env, &config);
    m = request(ASPACE_KIND_LAZY, at(env, 1, 1), env->span[1], env->rw);
    CHECK_OK(aspace_map(env->space, &m, NULL));
    poke(env, m.va, 1); /* beyond the quota, so in a small page */
    struct snapshot *before = snapshot_take(env);
    CHECK_ERROR(aspace_collapse(env->space, m.va, 1), ASPACE_E_QUOTA);
    snapshot_same(env, before, "a collapse above the quota");
    snapshot_free(before);
    audit(env);
    config.quota_frames = pages;
    recreate(env, &config);
    m.max_leaf_level = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    poke(env, m.va, 1);
    struct aspace_map all = m;
    all.flags = ASPACE_MAP_REPLACE;
    all.max_leaf_level = 0;
    CHECK_OK(aspace_map(env->space, &all, NULL));
    aspace_trim(env->host);
    CHECK_OK(aspace_protect(env->space, m.va, PAGE, env->ro));
    CHECK_OK(aspace_protect(env->space, m.va, PAGE, env->rw));
    poke(env, m.va, 2);
    CHECK_OK(aspace_collapse(env->space, m.va, 1));
    audit(env);
    CHECK_EQ(frames_held(env), pages);
    CHECK_EQ(peek(env, m.va), 2);
}

/* An area past the end of its object has no pages, not even zeroed ones. */
static void zeroes_end_with_the_object(struct env *env)
{
    static struct aspace_anon anon;
    struct aspace_map m = request(ASPACE_KIND_PRIVATE, env->base, 4 * PAGE, env->rw);
    uint64_t done = 0;

    CHECK_OK(aspace_anon_init(&anon, env->host, 4 * PAGE, 0));
    m.object = &anon.object;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    poke(env, m.va, 1);
    poke(env, m.va + 2 * PAGE, 2);
    CHECK_OK(aspace_anon_truncate(&anon, 2 * PAGE));
    CHECK_OK(aspace_discard_zero(env->space, m.va, m.size, &done));
    CHECK_EQ(done, m.size);
    CHECK_EQ(peek(env, m.va), 0);
    CHECK_EQ(peek(env, m.va + PAGE), 0);
    CHECK_FAULT(aspace_fault(env->space, m.va + 2 * PAGE, ASPACE_R, NULL), ASPACE_FAULT_BUS);
    CHECK_FAULT(aspace_fault(env->space, m.va + 3 * PAGE, ASPACE_W, NULL), ASPACE_FAULT_BUS);
    CHECK_EQ(frames_held(env), 2);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    aspace_object_put(&anon.object);
}

/* The end comes while the frame for a zeroed page is being allocated. */
static struct {
    struct env *env;
    struct aspace_anon anon;
    aspace_pa_t (*alloc)(void *ctx, unsigned order, unsigned flags);
    unsigned left; /* frames before the end comes */
} cut;

static aspace_pa_t cut_off(void *ctx, unsigned order, unsigned flags)
{
    struct env *env = cut.env;

    if (flags & ASPACE_ALLOC_ZERO && !cut.left--) {
        env->hal.alloc = cut.alloc;
        aspace_linux_set_cpu(1);
        aspace_object_truncate(&cut.anon.object, PAGE);
        aspace_linux_set_cpu(0);
    }
    return cut.alloc(ctx, order, flags);
}

static void zeroes_end_with_the_object_meanwhile(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_PRIVATE, env->base, 3 * PAGE, env->rw);
    uint64_t done = 0;

    CHECK_OK(aspace_anon_init(&cut.anon, env->host, 3 * PAGE, 0));
    m.object = &cut.anon.object;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    touch(env, m.va, ASPACE_R);
    cut.env = env;
    cut.left = 1;
    cut.alloc = env->hal.alloc;
    env->hal.alloc = cut_off;
    CHECK_OK(aspace_discard_zero(env->space, m.va, m.size, &done));
    env->hal.alloc = cut.alloc;
    CHECK_EQ(done, m.size);
    CHECK_EQ(aspace_object_size(&cut.anon.object), PAGE);
    CHECK_EQ(peek(env, m.va), 0);
    CHECK_FAULT(aspace_fault(env->space, m.va + PAGE, ASPACE_R, NULL), ASPACE_FAULT_BUS);
    CHECK_EQ(frames_held(env), 1);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    aspace_object_put(&cut.anon.object);
}

/* ------------------------------------------------------------------------------------------------- logs with rings */

static struct {
    struct aspace_dirty_ring rings[8];
    uint64_t pages[8][16];
    uint64_t bitmap[64];
} log_;

static void start_log(struct env *env, uint64_t va, uint64_t size)
{
    struct aspace_dirty_config config = {
        .mode = ASPACE_DIRTY_WRITE_PROTECT, .rings = log_.rings, .va = va, .size = size};

    for (unsigned i = 0; i < env->cpus; i++) {
        log_.rings[i] = (struct aspace_dirty_ring){.pages = log_.pages[i], .entries = 16};
    }
    CHECK_OK(aspace_dirty_start(env->space, &config));
}

/* A write by CPU 1, and what hardware does to the flags. */
static void write_by_cpu(struct env *env, uint64_t va)
{
    CHECK(cpu_run(env, 1, va, ASPACE_W) != ASPACE_PA_NONE);
    uint64_t *entry = aspace_phys_to_virt(walk(env, va).entry_pa);
    *entry = naive_used(&env->config, *entry, true);
}

/* Do the rings tell the page, or say that they do not tell all? */
static bool rings_own_up(struct env *env, uint64_t va)
{
    struct aspace_range told[8];
    size_t n = 8;
    int rc = aspace_drain_dirty(env->space, told, &n);
    bool found = rc == ASPACE_E_LIMIT;

    CHECK(rc == ASPACE_OK || rc == ASPACE_E_LIMIT);
    for (size_t i = 0; i < n; i++) {
        found |= va - told[i].va < told[i].size;
    }
    return found;
}

/* A page that could be written outside of the log's range, and is in it now. */
static void rings_tell_what_has_come_in(struct env *env)
{
    uint64_t from = at(env, 1, 1), to = at(env, 1, 2);

    do_map(env, ASPACE_KIND_EAGER, from, 2 * PAGE, env->rw);
    cpu_enter(env, 1);
    start_log(env, to, 2 * PAGE);
    CHECK_OK(aspace_move(env->space, from, 2 * PAGE, to, NULL));
    write_by_cpu(env, to + PAGE);
    CHECK(rings_own_up(env, to + PAGE));
    CHECK_OK(aspace_dirty_stop(env->space));
}

/* A large leaf of which only a part is in the log's range keeps its right to be written. */
static void rings_tell_of_a_leaf_in_part(struct env *env)
{
    uint64_t va = at(env, 1, 1), size = env->span[1] / 2;

    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    cpu_enter(env, 1);
    start_log(env, va, size);
    write_by_cpu(env, va + PAGE);
    CHECK(rings_own_up(env, va + PAGE));
    CHECK_OK(aspace_harvest_dirty(env->space, va, size, log_.bitmap, NULL));
    CHECK(log_.bitmap[0] & 2);
    write_by_cpu(env, va);
    CHECK(rings_own_up(env, va));
    CHECK_OK(aspace_dirty_stop(env->space));
}

/* Memory for writing only cannot be without that right. */
static void rings_tell_of_what_is_only_written(struct env *env)
{
    if (!expressible(env, ASPACE_W)) {
        test_skip("what is written is read");
    }
    do_map(env, ASPACE_KIND_EAGER, env->base, 2 * PAGE, ASPACE_W);
    cpu_enter(env, 1);
    start_log(env, env->base, 2 * PAGE);
    write_by_cpu(env, env->base + PAGE);
    CHECK(rings_own_up(env, env->base + PAGE));
    CHECK_OK(aspace_harvest_dirty(env->space, env->base, 2 * PAGE, log_.bitmap, NULL));
    CHECK(log_.bitmap[0] & 2);
    write_by_cpu(env, env->base + PAGE);
    CHECK(rings_own_up(env, env->base + PAGE));
    CHECK_OK(aspace_dirty_stop(env->space));
}

/* A large leaf that was written, and has moved to where it is told in small ones. */
static void rings_tell_what_has_come_apart(struct env *env)
{
    uint64_t va = at(env, 1, 1), to = at(env, 1, 3) + PAGE;

    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    start_log(env, env->base, env->end - env->base);
    poke(env, va + PAGE, 1);
    CHECK(rings_own_up(env, va + PAGE));
    poke(env, va + PAGE, 2);
    CHECK_OK(aspace_move(env->space, va, env->span[1], to, NULL));
    CHECK(rings_own_up(env, to + PAGE));
    CHECK_OK(aspace_dirty_stop(env->space));
}

/* A fork finds pages whose write right a harvest has just taken, and CPUs that have not heard of it yet: when it
 * returns, none of them writes to what the child has. */
static struct {
    struct clone child;
    bool wrote;
} late;

static void fork_in_flight(struct env *env)
{
    env->window = NULL;
    aspace_cpu_offline(env->host); /* CPU 0 is in no section: the fork need not wait for it */
    aspace_linux_set_cpu(2);
    aspace_cpu_online(env->host);
    CHECK_OK(aspace_fork(env->space, late.child.space));
    late.wrote = cpu_access(env, 1, env->base, ASPACE_W) != ASPACE_PA_NONE;
    aspace_cpu_offline(env->host);
    aspace_linux_set_cpu(0);
    aspace_cpu_online(env->host);
}

static void fork_waits_for_a_harvest(struct env *env)
{
    do_map(env, ASPACE_KIND_LAZY, env->base, PAGE, env->rw);
    make_clone(env, &late.child, 1);
    cpu_enter(env, 1);
    start_log(env, env->base, PAGE);
    cpu_run(env, 1, env->base, ASPACE_W);
    env->window = fork_in_flight;
    late.wrote = true;
    CHECK_OK(aspace_harvest_dirty(env->space, env->base, PAGE, log_.bitmap, NULL));
    env->window = NULL;
    CHECK(log_.bitmap[0] & 1);
    CHECK(!late.wrote);
    audit(env);
    CHECK_OK(aspace_dirty_stop(env->space));
    cpu_leave(env, 1);
    drop_clone(env, &late.child);
}

/* A leaf that a log is to split, and that the quota leaves no table for, is told as a whole. */
static void log_splits_above_the_quota(struct env *env)
{
    struct aspace_dirty_config log = {.mode = ASPACE_DIRTY_WRITE_PROTECT, .flags = ASPACE_DIRTY_SPLIT};
    struct aspace_config config = env->config;
    uint64_t va = at(env, 1, 1), dirty = 0;

    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    config.quota_tables = tables_held(env);
    recreate(env, &config);
    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    if (!expressible(env, env->rw & ~(uint32_t)ASPACE_W)) {
        test_skip("what is mapped can be written");
    }
    CHECK_OK(aspace_dirty_start(env->space, &log));
    touch(env, va + PAGE, ASPACE_W);
    CHECK_EQ(walk(env, va).leaf_bytes, env->span[1]);
    CHECK_OK(aspace_harvest_dirty(env->space, va, env->span[1], log_.bitmap, &dirty));
    CHECK_EQ(dirty, env->span[1] / PAGE);
    audit(env);
    CHECK_OK(aspace_dirty_stop(env->space));
}

/* What a fork had shared when it failed is the parent's alone when it returns. */
static void refused_fork_costs_no_copy(struct env *env)
{
    struct aspace_map last = request(ASPACE_KIND_LAZY, at(env, 1, 3), PAGE, env->rw);
    uint64_t va = at(env, 1, 1);
    struct clone child;

    make_clone(env, &child, 1);
    last.fork = ASPACE_FORK_REFUSE;
    CHECK_OK(aspace_map(env->space, &last, NULL));
    do_map(env, ASPACE_KIND_LAZY, va, 2 * PAGE, env->rw);
    poke(env, va, 1);
    poke(env, va + PAGE, 2);
    CHECK_ERROR(aspace_fork(env->space, child.space), ASPACE_E_PERMISSION);
    CHECK_EQ(walk(env, va).rights & ASPACE_W, 0);
    poke(env, va, 3);
    poke(env, va + PAGE, 4);
    CHECK_EQ(counters(env).cow_copies, 0);
    CHECK_EQ(counters(env).cow_takes, 2);
    drop_clone(env, &child);
}

/* --------------------------------------------------------------------------------------------------------- tickets */

static struct {
    struct env *env;
    aspace_pa_t pa;
    unsigned order;
} large;

/* Readable at once; to write it the page has to be fetched anew. */
static enum aspace_fault_result readable_now(const struct aspace_fill *fill, struct aspace_page *page)
{
    if (fill->access & ASPACE_W) {
        return ASPACE_FAULT_NEEDS_IO;
    }
    if (large.pa == ASPACE_PA_NONE) {
        large.pa = large.env->hal.alloc(&large.env->machine, fill->max_order, ASPACE_ALLOC_ZERO);
        large.order = fill->max_order;
    }
    *page = (struct aspace_page){.pa = large.pa, .order = large.order, .rights = large.env->ro};
    return ASPACE_FAULT_DONE;
}

/* A large page that is there with too few rights is as one that is small: no ticket is for it. */
static void large_page_needs_io_for_more(struct env *env)
{
    static const struct aspace_backend backend = {.name = "slow", .fill = readable_now};
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, at(env, 1, 1), env->span[1], env->rw);
    struct aspace_ticket ticket = {0};

    large.env = env;
    large.pa = ASPACE_PA_NONE;
    m.backend = &backend;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    touch(env, m.va, ASPACE_R);
    CHECK_EQ(PAGE << large.order, env->span[1]);
    CHECK_FAULT(aspace_fault_try(env->space, m.va + PAGE, ASPACE_W, 0, &ticket, NULL), ASPACE_FAULT_WOULD_BLOCK);
    CHECK_EQ(aspace_ticket_state(&ticket), ASPACE_TICKET_IDLE);
    CHECK_OK(aspace_protect(env->space, m.va, env->span[1], 0));
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    env->hal.free(&env->machine, large.pa, large.order);
}

/* A page that was fetched while a log is on is clean until it is written, and that is told. */
static enum aspace_fault_result far_fill(const struct aspace_fill *fill, struct aspace_page *page)
{
    (void)fill, (void)page;
    return ASPACE_FAULT_NEEDS_IO;
}

static void log_of_a_fetched_page(struct env *env)
{
    static const struct aspace_backend backend = {.name = "far", .fill = far_fill};
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, env->base, PAGE, env->rw);
    struct aspace_ticket ticket = {0};
    struct aspace_translation t;

    if (!expressible(env, env->rw & ~(uint32_t)ASPACE_W)) {
        test_skip("what is mapped can be written");
    }
    m.backend = &backend;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    start_log(env, env->base, PAGE);
    CHECK_FAULT(aspace_fault_try(env->space, m.va, ASPACE_W, 0, &ticket, NULL), ASPACE_FAULT_NEEDS_IO);
    CHECK_OK(aspace_fault_complete(&ticket, device_pa(env, PAGE)));
    CHECK_OK(aspace_translate(env->space, m.va, &t));
    CHECK(!(t.rights & ASPACE_W));
    CHECK_OK(aspace_harvest_dirty(env->space, m.va, PAGE, log_.bitmap, NULL));
    CHECK(!(log_.bitmap[0] & 1));
    CHECK_OK(aspace_dirty_stop(env->space));
}

/* -------------------------------------------------------------------------------------------------------- watchers */

static struct {
    struct aspace_watcher watchers[8];
    unsigned made, told;
} anew;

/* Whoever is told looks again, and watches what it has found: with a watcher of its own, as the old one is in use. */
static void watch_anew(struct aspace_watcher *watcher, const struct aspace_gone *gone)
{
    anew.told++;
    if (anew.made < 8) {
        struct aspace_watcher *next = &anew.watchers[anew.made++];
        *next = (struct aspace_watcher){.va = watcher->va, .size = watcher->size, .gone = watch_anew};
        CHECK_OK(aspace_watch(gone->space, next));
    }
}

static void told_once_although_watched_anew(struct env *env)
{
    anew.made = anew.told = 0;
    do_map(env, ASPACE_KIND_EAGER, env->base, PAGE, env->rw);
    anew.watchers[anew.made++] = (struct aspace_watcher){.va = env->base, .size = PAGE, .gone = watch_anew};
    CHECK_OK(aspace_watch(env->space, &anew.watchers[0]));
    CHECK_OK(aspace_unmap(env->space, env->base, PAGE));
    CHECK_EQ(anew.told, 1);
    CHECK_EQ(anew.made, 2);
    for (unsigned n = 0; n < anew.made; n++) {
        aspace_unwatch(env->space, &anew.watchers[n]);
    }
}

static const struct test tests[] = {
    {"collapse_above_the_quota", collapse_above_the_quota, NEEDS_HUGE},
    {"zeroes_end_with_the_object", zeroes_end_with_the_object, 0},
    {"zeroes_end_with_the_object_meanwhile", zeroes_end_with_the_object_meanwhile, 0},
    {"rings_tell_what_has_come_in", rings_tell_what_has_come_in, 0},
    {"rings_tell_of_a_leaf_in_part", rings_tell_of_a_leaf_in_part, NEEDS_HUGE},
    {"rings_tell_what_has_come_apart", rings_tell_what_has_come_apart, NEEDS_HUGE},
    {"rings_tell_of_what_is_only_written", rings_tell_of_what_is_only_written, 0},
    {"fork_waits_for_a_harvest", fork_waits_for_a_harvest, DELAYED},
    {"log_splits_above_the_quota", log_splits_above_the_quota, NEEDS_HUGE},
    {"refused_fork_costs_no_copy", refused_fork_costs_no_copy, 0},
    {"large_page_needs_io_for_more", large_page_needs_io_for_more, NEEDS_HUGE},
    {"log_of_a_fetched_page", log_of_a_fetched_page, 0},
    {"told_once_although_watched_anew", told_once_although_watched_anew, 0},
};

int main(int argc, char **argv)
{
    const struct suite suites[] = {SUITE(tests)};
    const struct program program = {"regress", suites, 1, NULL};

    return harness_main(&program, argc, argv);
}
