/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty log, in both modes, with flags set as hardware sets them: simulated CPUs write through their TLBs. Owns the
 * expectation of what is told; must not know how flags are kept.
 */
#include <aspace/dirty.h>
#include <string.h>

#include "suites.h"

enum { PAGES = 48, RING = 16, WRITERS = 2, STALE_MAX = 8192 };

static struct {
    bool by_hardware;                  /* the mode */
    bool wrote[WRITERS + 1][PAGES];    /* through what the TLB of that CPU still holds */
    uint64_t va;                       /* of page 0 */
    uint64_t bits[STALE_MAX / 64];     /* of the last harvest */
    struct aspace_dirty_ring rings[8]; /* one for each CPU */
    uint64_t pages[8][RING];
    uint64_t late; /* writes made while a flush was in flight */
} log_;

static bool has_hardware(const struct env *env)
{
    return env->config.features & ASPACE_FEAT_AD && env->config.format != ASPACE_FMT_LOONGARCH_S1 &&
           env->config.format != ASPACE_FMT_LOONGARCH_S2;
}

/* The CPU has just walked for va: of no page of that leaf it knows that it is dirty. */
static void forget(struct env *env, unsigned cpu, uint64_t va)
{
    uint64_t bytes = walk(env, va).leaf_bytes, first = va & ~(bytes - 1);

    for (uint64_t n = 0; n < PAGES; n++) {
        if (log_.va + n * PAGE - first < bytes) {
            log_.wrote[cpu][n] = false;
        }
    }
}

/* A write or read as a running program makes it, with what hardware does to the flags: a TLB that knows a page as dirty
 * does not set the flag again. */
static uint64_t use(struct env *env, unsigned cpu, uint64_t va, uint32_t access)
{
    uint64_t n = (va - log_.va) / PAGE;
    bool outside = false, *wrote = n < PAGES ? &log_.wrote[cpu][n] : &outside;

    bool cached = sim_cpu_caches(&env->machine.sim.cpu[cpu], &env->sim_space, va);
    uint64_t pa = cpu_run(env, cpu, va, access);
    CHECK(pa != ASPACE_PA_NONE);
    if (!cached) {
        forget(env, cpu, va);
    }
    if (access == ASPACE_W && !*wrote) {
        uint64_t *entry = aspace_phys_to_virt(walk(env, va).entry_pa);
        *entry = naive_used(&env->config, *entry, true);
        *wrote = true;
    }
    return pa;
}

static void write_page(struct env *env, unsigned cpu, uint64_t n)
{
    use(env, cpu, log_.va + n * PAGE, ASPACE_W);
}

static struct aspace_dirty_config log_config(bool by_hardware)
{
    return (struct aspace_dirty_config){.mode = by_hardware ? ASPACE_DIRTY_HARDWARE : ASPACE_DIRTY_WRITE_PROTECT};
}

static void start(struct env *env, uint64_t va)
{
    struct aspace_dirty_config c = log_config(log_.by_hardware);

    log_.va = va;
    CHECK_OK(aspace_dirty_start(env->space, &c));
}

static void start_rings(struct env *env, uint64_t va, uint32_t entries)
{
    struct aspace_dirty_config c = log_config(false);

    log_.va = va;
    for (unsigned i = 0; i < env->cpus; i++) {
        log_.rings[i] = (struct aspace_dirty_ring){.pages = log_.pages[i], .entries = entries, .head = 99, .tail = 7};
    }
    c.rings = log_.rings;
    CHECK_OK(aspace_dirty_start(env->space, &c));
}

static uint64_t harvest(struct env *env, uint64_t va, uint64_t pages)
{
    uint64_t count = 77, bits = 0;

    memset(log_.bits, 0xff, sizeof(log_.bits));
    CHECK_OK(aspace_harvest_dirty(env->space, va, pages * PAGE, log_.bits, &count));
    for (uint64_t n = 0; n < pages; n++) {
        bits += log_.bits[n / 64] >> (n % 64) & 1;
    }
    CHECK_EQ(count, bits);
    return count;
}

/* Exactly these of the first pages are told. */
static void expect_dirty(struct env *env, uint64_t bits)
{
    harvest(env, log_.va, PAGES);
    CHECK_EQ(log_.bits[0], bits);
    audit(env);
}

static void stop(struct env *env)
{
    CHECK_OK(aspace_dirty_stop(env->space));
    audit(env);
}

/* Runs the part in each mode that the CPUs of this variant can do. */
static void in_modes(struct env *env, void (*part)(struct env *env))
{
    for (unsigned hardware = 0; hardware <= has_hardware(env); hardware++) {
        memset(&log_, 0, sizeof(log_));
        log_.by_hardware = hardware;
        part(env);
        CHECK_OK(aspace_clear(env->space));
        aspace_trim(env->host);
    }
}

/* Some of the toy's spaces are smaller. */
static void need_room(const struct env *env, uint64_t va)
{
    if (va >= env->end || env->end - va < PAGES * PAGE) {
        test_skip("too small a space");
    }
}

/* Small leaves, 16 pages each: lazy, eager, linear. */
static uint64_t map_three(struct env *env)
{
    uint64_t va = at(env, 1, 1), third = 16 * PAGE;
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, third, env->rw);

    need_room(env, va);
    m.max_leaf_level = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    m.va += third;
    m.kind = ASPACE_KIND_EAGER;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    struct aspace_map linear = request_linear(va + 2 * third, third, env->rw, device_pa(env, third));
    linear.max_leaf_level = 1;
    CHECK_OK(aspace_map(env->space, &linear, NULL));
    return va;
}

/* ------------------------------------------------------------------------------------------------- what is written */

/* Each write is told once, by the harvest after it, also of a page that the CPU knows as dirty from before. */
static void tell_writes(struct env *env)
{
    uint64_t va = map_three(env);

    log_.va = va;
    cpu_enter(env, 1);
    cpu_enter(env, 2);
    write_page(env, 1, 1);
    write_page(env, 1, 17);
    write_page(env, 1, 33);
    start(env, va);
    expect_dirty(env, 0); /* what was before the start */
    write_page(env, 1, 17);
    write_page(env, 1, 33);
    write_page(env, 2, 2); /* filled by this write */
    use(env, 1, va + 3 * PAGE, ASPACE_R);
    use(env, 1, va + 20 * PAGE, ASPACE_R);
    uint64_t run = log_.by_hardware && env->run_pages > 1 ? ((UINT64_C(1) << env->run_pages) - 1) << 32 : 2ull << 32;
    expect_dirty(env, UINT64_C(1) << 17 | UINT64_C(1) << 2 | run);
    expect_dirty(env, 0);
    write_page(env, 2, 2);
    write_page(env, 2, 3);
    expect_dirty(env, 12);
    write_page(env, 2, 3);
    write_page(env, 1, 3);
    expect_dirty(env, 8);
    stop(env);
    CHECK_ERROR(aspace_harvest_dirty(env->space, va, PAGE, log_.bits, NULL), ASPACE_E_NOT_MAPPED);
    for (uint64_t n = 0; n < PAGES; n++) {
        if (agree(env, va + n * PAGE).present) {
            CHECK_EQ(agree(env, va + n * PAGE).rights & ASPACE_W, ASPACE_W);
        }
    }
    cpu_leave(env, 1);
    cpu_leave(env, 2);
}

static void dirty_writes(struct env *env)
{
    in_modes(env, tell_writes);
}

static void tell_software(struct env *env)
{
    uint64_t va = map_three(env), expected = 5, value;
    bool swapped;

    start(env, va);
    poke(env, va, 1);
    value = peek(env, va + 8 * PAGE);
    CHECK_EQ(peek(env, va + 17 * PAGE), 0);
    expect_dirty(env, 1);
    poke(env, va + 17 * PAGE + 8, value + 5);
    CHECK_OK(aspace_compare_exchange(env->space, va + 17 * PAGE + 8, 8, &expected, 6, &swapped));
    CHECK(swapped);
    uint64_t text[3] = {1, 2, 3}; /* over the end of a page */
    CHECK_OK(aspace_write(env->space, va + 4 * PAGE - 8, text, sizeof(text), NULL));
    expect_dirty(env, UINT64_C(1) << 17 | 8 | 16);
    CHECK_OK(aspace_compare_exchange(env->space, va + 17 * PAGE + 8, 8, &expected, 7, &swapped));
    expected = 6;
    CHECK_OK(aspace_compare_exchange(env->space, va + 17 * PAGE + 8, 8, &expected, 7, &swapped));
    CHECK(swapped);
    CHECK_OK(aspace_dirty_mark(env->space, va + 18 * PAGE, 2 * PAGE));
    expect_dirty(env, UINT64_C(7) << 17);
    CHECK_EQ(peek(env, va + 17 * PAGE + 8), 7);
    stop(env);
}

static void dirty_software_writes(struct env *env)
{
    in_modes(env, tell_software);
}

/* -------------------------------------------------------------------------------------------------- what goes on */

/* The flag goes with the page, and a page that was not written does not get it. */
static void tell_after_changes(struct env *env)
{
    uint64_t va = map_three(env);

    cpu_enter(env, 1);
    start(env, va);
    for (uint64_t n = 16; n < 20; n++) {
        write_page(env, 1, n);
    }
    for (uint64_t n = 16; n < 24; n += 4) {
        CHECK_OK(aspace_migrate(env->space, va + n * PAGE, ASPACE_PA_NONE));
        CHECK_OK(aspace_protect(env->space, va + (n + 1) * PAGE, PAGE, env->ro));
        CHECK_OK(aspace_protect(env->space, va + (n + 1) * PAGE, PAGE, env->rw));
        CHECK_OK(aspace_protect(env->space, va + (n + 2) * PAGE, PAGE, env->ro));
        CHECK_OK(aspace_protect(env->space, va + (n + 3) * PAGE, PAGE, 0));
    }
    expect_dirty(env, UINT64_C(15) << 16);
    expect_dirty(env, 0);
    CHECK_OK(aspace_protect(env->space, va + 16 * PAGE, 8 * PAGE, env->rw));
    expect_dirty(env, 0);
    for (uint64_t n = 16; n < 24; n++) {
        write_page(env, 1, n);
    }
    CHECK_OK(aspace_protect(env->space, va + 16 * PAGE, 4 * PAGE, 0));
    CHECK_OK(aspace_protect(env->space, va + 16 * PAGE, 4 * PAGE, env->rw));
    expect_dirty(env, UINT64_C(255) << 16);
    write_page(env, 1, 17);
    CHECK_OK(aspace_discard(env->space, va + 17 * PAGE, PAGE));
    use(env, 1, va + 17 * PAGE, ASPACE_R);
    expect_dirty(env, 0);
    write_page(env, 1, 17);
    expect_dirty(env, UINT64_C(1) << 17);
    stop(env);
    cpu_leave(env, 1);
}

static void dirty_through_changes(struct env *env)
{
    in_modes(env, tell_after_changes);
}

/* A large leaf is told as a whole, its pages singly once it is split; and back. */
static void tell_large(struct env *env)
{
    uint64_t va = at(env, 1, 1), pages = env->span[1] / PAGE;

    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    CHECK_EQ(walk(env, va).leaf_bytes, env->span[1]);
    cpu_enter(env, 1);
    start(env, va);
    CHECK_EQ(harvest(env, va, pages), 0);
    write_page(env, 1, 1);
    CHECK_EQ(harvest(env, va + 2 * PAGE, 1), 1);
    CHECK_EQ(harvest(env, va, pages), pages);
    CHECK_EQ(harvest(env, va, pages), 0);
    write_page(env, 1, 1);
    CHECK_OK(aspace_split(env->space, va));
    CHECK_EQ(harvest(env, va, pages), pages); /* nobody knows which */
    write_page(env, 1, 2);
    CHECK_EQ(harvest(env, va, pages), 1);
    write_page(env, 1, 2);
    CHECK_OK(aspace_collapse(env->space, va, 1));
    audit(env);
    CHECK_EQ(harvest(env, va, pages), pages);
    CHECK_EQ(harvest(env, va, pages), 0);
    CHECK_OK(aspace_split(env->space, va));
    CHECK_EQ(harvest(env, va, pages), 0);
    CHECK_OK(aspace_collapse(env->space, va, 1));
    CHECK_EQ(harvest(env, va, pages), 0);
    write_page(env, 1, 2);
    CHECK_OK(aspace_migrate(env->space, va, ASPACE_PA_NONE));
    CHECK_EQ(harvest(env, va, pages), pages);
    stop(env);
    CHECK_EQ(agree(env, va).rights, env->rw);
    CHECK_EQ(agree(env, va).leaf_bytes, env->span[1]);
    cpu_leave(env, 1);
}

static void dirty_large(struct env *env)
{
    in_modes(env, tell_large);
}

/* Split on the first write; without memory for it, as a whole. */
static void dirty_splits(struct env *env)
{
    uint64_t va = at(env, 1, 1), pages = env->span[1] / PAGE;
    struct aspace_dirty_config c = {.flags = ASPACE_DIRTY_SPLIT};

    memset(&log_, 0, sizeof(log_));
    log_.va = va;
    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    do_linear(env, va + env->span[1], env->span[1], env->rw, device_pa(env, env->span[1]));
    cpu_enter(env, 1);
    CHECK_OK(aspace_dirty_start(env->space, &c));
    use(env, 1, va, ASPACE_R);
    CHECK_EQ(walk(env, va).leaf_bytes, env->span[1]);
    write_page(env, 1, 1);
    write_page(env, 1, 3);
    CHECK_EQ(harvest(env, va, pages), 2);
    CHECK_EQ(log_.bits[0], 10);
    audit(env);
    arena_fail_nth(&env->machine.arena, 1);
    use(env, 1, va + env->span[1] + PAGE, ASPACE_W);
    uint64_t told = harvest(env, va + env->span[1], pages);
    CHECK(told == pages || told == 1); /* a table may have been at hand */
    arena_fail_nth(&env->machine.arena, 0);
    stop(env);
    cpu_leave(env, 1);
}

/* Part of a large leaf is told each time; its other pages are not the log's. */
static void tell_part(struct env *env)
{
    uint64_t va = at(env, 1, 1), count;
    struct aspace_dirty_config c = log_config(log_.by_hardware);

    log_.va = va;
    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    c.va = va + PAGE;
    c.size = 2 * PAGE;
    cpu_enter(env, 1);
    CHECK_OK(aspace_dirty_start(env->space, &c));
    write_page(env, 1, 0);
    CHECK_EQ(harvest(env, va + PAGE, 2), 2);
    write_page(env, 1, 1);
    CHECK_EQ(harvest(env, va + PAGE, 2), 2);
    CHECK_EQ(harvest(env, va + PAGE, 1), 1);
    CHECK_ERROR(aspace_harvest_dirty(env->space, va, 2 * PAGE, log_.bits, &count), ASPACE_E_RANGE);
    CHECK_ERROR(aspace_harvest_dirty(env->space, va + PAGE, 3 * PAGE, log_.bits, &count), ASPACE_E_RANGE);
    audit(env);
    stop(env);
    cpu_leave(env, 1);
}

static void dirty_part_of_large(struct env *env)
{
    in_modes(env, tell_part);
}

/* ----------------------------------------------------------------------------------------------------------- rings */

static bool told(const struct aspace_range *ranges, size_t n, uint64_t va)
{
    for (size_t i = 0; i < n; i++) {
        if (va >= ranges[i].va && va - ranges[i].va < ranges[i].size) {
            return true;
        }
    }
    return false;
}

static void dirty_rings(struct env *env)
{
    uint64_t va = map_three(env);
    struct aspace_range r[8];
    size_t n = 8;

    memset(&log_, 0, sizeof(log_));
    cpu_enter(env, 1);
    start_rings(env, va, RING);
    CHECK_OK(aspace_drain_dirty(env->space, r, &n));
    CHECK_EQ(n, 0);
    write_page(env, 1, 2);
    write_page(env, 1, 3);
    write_page(env, 1, 40);
    poke(env, va + 20 * PAGE, 1);
    write_page(env, 1, 2);
    n = 8;
    CHECK_OK(aspace_drain_dirty(env->space, r, &n));
    CHECK_EQ(n, 3);
    CHECK(told(r, n, va + 2 * PAGE) && told(r, n, va + 3 * PAGE) && told(r, n, va + 20 * PAGE));
    CHECK(told(r, n, va + 40 * PAGE) && !told(r, n, va + 4 * PAGE) && !told(r, n, va + 41 * PAGE));
    expect_dirty(env, 0); /* all is told */
    for (uint64_t i = 0; i < 5; i++) {
        write_page(env, 1, 2 * i);
    }
    n = 2;
    CHECK_ERROR(aspace_drain_dirty(env->space, r, &n), ASPACE_E_MORE);
    CHECK_EQ(n, 2);
    n = 8;
    CHECK_OK(aspace_drain_dirty(env->space, r, &n));
    CHECK_EQ(n, 3);
    CHECK(told(r, n, va + 8 * PAGE));
    write_page(env, 1, 16);
    CHECK_OK(aspace_migrate(env->space, va + 16 * PAGE, ASPACE_PA_NONE));
    CHECK_OK(aspace_protect(env->space, va + 16 * PAGE, PAGE, 0));
    CHECK_OK(aspace_dirty_mark(env->space, va + 24 * PAGE, PAGE));
    n = 8;
    CHECK_OK(aspace_drain_dirty(env->space, r, &n));
    CHECK_EQ(n, 2);
    CHECK(told(r, n, va + 16 * PAGE) && told(r, n, va + 24 * PAGE));
    stop(env);
    cpu_leave(env, 1);
}

/* What did not fit is told by bitmap; then the rings are good again. */
static void dirty_ring_overflows(struct env *env)
{
    uint64_t va = map_three(env);
    struct aspace_range r[8];
    size_t n = 8;

    memset(&log_, 0, sizeof(log_));
    start_rings(env, va, 2);
    for (uint64_t i = 16; i < 19; i++) {
        poke(env, va + i * PAGE, i);
    }
    CHECK_ERROR(aspace_drain_dirty(env->space, r, &n), ASPACE_E_LIMIT);
    CHECK_EQ(n, 1); /* two pages beside each other */
    CHECK_EQ(r[0].size, 2 * PAGE);
    poke(env, va + 20 * PAGE, 1);
    CHECK_OK(aspace_harvest_dirty(env->space, env->base, 4 * env->span[1], log_.bits, NULL)); /* a part: no matter */
    n = 8;
    CHECK_ERROR(aspace_drain_dirty(env->space, r, &n), ASPACE_E_LIMIT);
    CHECK_OK(aspace_dirty_stop(env->space));
    struct aspace_dirty_config c = {.va = va, .size = PAGES * PAGE, .rings = log_.rings};
    CHECK_OK(aspace_dirty_start(env->space, &c));
    for (uint64_t i = 16; i < 19; i++) {
        poke(env, va + i * PAGE, i);
    }
    expect_dirty(env, UINT64_C(7) << 16);
    n = 8;
    CHECK_OK(aspace_drain_dirty(env->space, r, &n));
    CHECK_EQ(n, 0);
    poke(env, va + 20 * PAGE, 1);
    CHECK_OK(aspace_drain_dirty(env->space, r, (n = 8, &n)));
    CHECK_EQ(n, 1);
    stop(env);
}

/* A large leaf in a ring that is split before it is told, and small ones that are merged. */
static void dirty_ring_of_large(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    struct aspace_range r[4];
    size_t n = 4;

    memset(&log_, 0, sizeof(log_));
    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    start_rings(env, va, RING);
    poke(env, va + PAGE, 1);
    CHECK_OK(aspace_split(env->space, va));
    CHECK_OK(aspace_drain_dirty(env->space, r, &n));
    CHECK_EQ(n, 1);
    CHECK_EQ(r[0].size, env->span[1]);
    poke(env, va + PAGE, 1);
    CHECK_OK(aspace_collapse(env->space, va, 1));
    CHECK_OK(aspace_drain_dirty(env->space, r, (n = 4, &n)));
    CHECK_EQ(n, 1);
    CHECK_EQ(r[0].size, env->span[1]);
    CHECK_OK(aspace_drain_dirty(env->space, r, (n = 4, &n)));
    CHECK_EQ(n, 0);
    stop(env);
}

/* ------------------------------------------------------------------------------------------------- in flight (T10) */

/* While a flush is in flight CPU 1 writes page 0 through what it remembers. */
static void write_late(struct env *env)
{
    uint64_t pa = cpu_access(env, 1, log_.va, ASPACE_W);

    if (pa != ASPACE_PA_NONE) {
        *(uint64_t *)aspace_phys_to_virt(pa) = ++log_.late;
    }
}

/* 49: a write that a CPU makes before the harvest returns is told by it, and has reached memory; the next is told by
 * the next. */
static void harvest_against_write(struct env *env)
{
    uint64_t va = map_three(env);

    cpu_enter(env, 1);
    start(env, va);
    write_page(env, 1, 0);
    env->window = write_late;
    expect_dirty(env, 1);
    env->window = NULL;
    CHECK_EQ(log_.late, 1);
    CHECK_EQ(peek(env, va), 1);
    CHECK(!sim_cpu_caches(&env->machine.sim.cpu[1], &env->sim_space, va));
    write_page(env, 1, 0);
    expect_dirty(env, 1);
    stop(env);
    cpu_leave(env, 1);
}

static void s49_harvest_against_write(struct env *env)
{
    in_modes(env, harvest_against_write);
}

/* The flag is cleared while a protect that took the right has not flushed yet, or the other way round: whoever returns
 * has made sure that no CPU writes any more. */
static void protect_in_flight(struct env *env)
{
    env->window = NULL;
    aspace_linux_set_cpu(2);
    CHECK_OK(aspace_protect(env->space, log_.va, 16 * PAGE, env->ro));
    log_.late = cpu_access(env, 1, log_.va, ASPACE_W) != ASPACE_PA_NONE;
    aspace_linux_set_cpu(0);
}

static void harvest_in_flight(struct env *env)
{
    env->window = NULL;
    aspace_linux_set_cpu(2);
    CHECK_EQ(harvest(env, log_.va, 16), 1);
    log_.late = cpu_access(env, 1, log_.va, ASPACE_W) != ASPACE_PA_NONE;
    aspace_linux_set_cpu(0);
}

static void right_gone(struct env *env)
{
    for (unsigned way = 0; way < 2; way++) {
        uint64_t va = map_three(env);
        cpu_enter(env, 1);
        start(env, va);
        write_page(env, 1, 0);
        log_.late = 7;
        env->window = way ? harvest_in_flight : protect_in_flight;
        if (way) {
            CHECK_OK(aspace_protect(env->space, va, 16 * PAGE, env->ro));
        } else {
            CHECK_EQ(harvest(env, va, 16), 1);
        }
        CHECK_EQ(log_.late, 0);
        stop(env);
        cpu_leave(env, 1);
        CHECK_OK(aspace_clear(env->space));
        aspace_trim(env->host);
    }
}

static void dirty_right_gone_means_gone(struct env *env)
{
    in_modes(env, right_gone);
}

/* 46: hardware sets dirty while the leaf is split: all of it is told. */
static struct env *splitting;
static void set_while_splitting(void *ctx, const void *address, size_t bytes)
{
    (void)ctx, (void)address, (void)bytes;
    struct naive_result r = walk(splitting, log_.va);
    if (!log_.late && r.present && r.leaf_bytes == splitting->span[1]) {
        uint64_t *entry = aspace_phys_to_virt(r.entry_pa);
        *entry = naive_used(&splitting->config, *entry, true);
        log_.late = 1;
    }
}

static void s46_split_then_harvest(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    struct aspace_dirty_config c = log_config(true);

    if (!has_hardware(env)) {
        CHECK_ERROR(aspace_dirty_start(env->space, &c), ASPACE_E_UNSUPPORTED);
        return;
    }
    memset(&log_, 0, sizeof(log_));
    log_.va = va;
    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    CHECK_OK(aspace_dirty_start(env->space, &c));
    splitting = env;
    env->hal.dcache_clean = set_while_splitting;
    CHECK_OK(aspace_split(env->space, va));
    env->hal.dcache_clean = NULL;
    CHECK_EQ(harvest(env, va, env->span[1] / PAGE), log_.late ? env->span[1] / PAGE : 0);
    stop(env);
}

/* ------------------------------------------------------------------------------------------------- what is refused */

static void dirty_refused(struct env *env)
{
    uint64_t va = at(env, 1, 1), bits[1], lent[4];
    struct aspace_dirty_config c = log_config(false);
    struct aspace_range r;
    size_t n = 1;

    do_map(env, ASPACE_KIND_LAZY, va, PAGE, env->rw);
    CHECK_ERROR(aspace_dirty_stop(env->space), ASPACE_E_NOT_MAPPED);
    CHECK_ERROR(aspace_drain_dirty(env->space, &r, &n), ASPACE_E_NOT_MAPPED);
    CHECK_ERROR(aspace_dirty_start(env->space, NULL), ASPACE_E_INVALID);
    c.flags = 2;
    CHECK_ERROR(aspace_dirty_start(env->space, &c), ASPACE_E_INVALID);
    c = (struct aspace_dirty_config){.va = va + 1, .size = PAGE};
    CHECK_ERROR(aspace_dirty_start(env->space, &c), ASPACE_E_INVALID);
    c = (struct aspace_dirty_config){.va = env->end, .size = PAGE};
    CHECK_ERROR(aspace_dirty_start(env->space, &c), ASPACE_E_RANGE);
    c = (struct aspace_dirty_config){.rings = log_.rings};
    log_.rings[0] = (struct aspace_dirty_ring){.pages = lent, .entries = 3};
    CHECK_ERROR(aspace_dirty_start(env->space, &c), ASPACE_E_INVALID);
    c = (struct aspace_dirty_config){.mode = ASPACE_DIRTY_HARDWARE, .flags = ASPACE_DIRTY_SPLIT};
    CHECK_ERROR(aspace_dirty_start(env->space, &c), ASPACE_E_INVALID);
    c = log_config(!has_hardware(env));
    if (!has_hardware(env)) {
        CHECK_ERROR(aspace_dirty_start(env->space, &c), ASPACE_E_UNSUPPORTED);
        c = log_config(false);
    }
    CHECK_OK(aspace_dirty_start(env->space, &c));
    CHECK_ERROR(aspace_dirty_start(env->space, &c), ASPACE_E_BUSY);
    CHECK_ERROR(aspace_harvest_dirty(env->space, va, PAGE, NULL, NULL), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_harvest_dirty(env->space, va, 0, bits, NULL), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_drain_dirty(env->space, &r, &n), ASPACE_E_UNSUPPORTED);
    n = 0;
    CHECK_ERROR(aspace_drain_dirty(env->space, &r, &n), ASPACE_E_INVALID);
    stop(env);
    CHECK_OK(aspace_dirty_start(env->space, &c));
    aspace_close(env->space); /* with a log */
    CHECK_ERROR(aspace_harvest_dirty(env->space, va, PAGE, bits, NULL), ASPACE_E_CLOSED);
}

/* Areas that nobody may write, and those written before, are left alone by start and stop. */
static void tell_readable(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    struct aspace_map m = request(ASPACE_KIND_EAGER, va, 4 * PAGE, env->ro);

    need_room(env, va);
    m.max_rights = env->rw;
    m.max_leaf_level = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    struct snapshot *before = snapshot_take(env);
    start(env, va);
    CHECK_FAULT(aspace_fault(env->space, va, ASPACE_W, NULL), ASPACE_FAULT_PERMISSION);
    expect_dirty(env, 0);
    stop(env);
    snapshot_same(env, before, "log of what nobody writes");
    snapshot_free(before);
    start(env, va);
    CHECK_OK(aspace_protect(env->space, va, 4 * PAGE, env->rw));
    expect_dirty(env, 0);
    poke(env, va + PAGE, 1);
    expect_dirty(env, 2);
    stop(env);
    expect_leaf(env, va, walk(env, va).pa, env->rw);
}

/* What is mapped while the log is on is clean until it is written, of whatever kind. */
static void tell_mapped(struct env *env)
{
    uint64_t va = at(env, 1, 1);

    need_room(env, va);
    start(env, va);
    map_three(env);
    CHECK_OK(aspace_populate(env->space, va, 16 * PAGE, NULL));
    expect_dirty(env, 0);
    cpu_enter(env, 1);
    for (uint64_t n = 0; n < PAGES; n += 15) {
        use(env, 1, va + n * PAGE, ASPACE_R);
        expect_dirty(env, 0);
        write_page(env, 1, n);
        harvest(env, va, PAGES);
        CHECK_EQ(log_.bits[0] >> n & 1, 1);
    }
    CHECK_OK(aspace_unmap(env->space, va, PAGES * PAGE)); /* written or not, it is gone */
    expect_dirty(env, 0);
    cpu_leave(env, 1);
    stop(env);
}

static void dirty_mapped_late(struct env *env)
{
    in_modes(env, tell_mapped);
}

static void dirty_readable(struct env *env)
{
    in_modes(env, tell_readable);
}

/* ------------------------------------------------------------------------------------------------ random operations */

/* A copy of the memory that is brought up to date by what harvests tell, as a migration would. */
static struct {
    uint64_t copy[PAGES]; /* the first word of each page */
    uint64_t written;     /* bit a page: since it was told */
    uint64_t state;
} shadow;

static uint64_t pick(uint64_t n)
{
    return random_next(&shadow.state) % n;
}

/* The first word of page n, whatever its rights are. */
static uint64_t word_of(struct env *env, uint64_t n)
{
    struct naive_result r = walk(env, log_.va + n * PAGE);

    return r.present ? *(const uint64_t *)aspace_phys_to_virt(r.pa) : 0;
}

static void random_write(struct env *env, uint64_t n)
{
    uint64_t va = log_.va + n * PAGE, value = random_next(&shadow.state) | 1;

    if (pick(2)) {
        uint64_t pa = use(env, 1 + (unsigned)pick(WRITERS), va, ASPACE_W);
        *(uint64_t *)aspace_phys_to_virt(pa) = value;
    } else {
        poke(env, va, value);
    }
    shadow.written |= UINT64_C(1) << n;
}

static void random_change(struct env *env, uint64_t n)
{
    uint64_t va = log_.va + n * PAGE;
    int rc = ASPACE_OK;

    switch (pick(8)) {
    case 0: rc = aspace_migrate(env->space, va, ASPACE_PA_NONE); break;
    case 1:
        rc = aspace_protect(env->space, va, PAGE, pick(2) ? env->ro : 0);
        CHECK_OK(rc);
        rc = aspace_protect(env->space, log_.va, PAGES * PAGE, env->rw);
        break;
    case 2: rc = aspace_collapse(env->space, va, 1); break;
    case 3: rc = aspace_split(env->space, va); break;
    case 4:
        rc = aspace_discard(env->space, va, PAGE);
        if (walk(env, va).present) {
            break; /* not the space's own */
        }
        shadow.copy[n] = 0;
        shadow.written &= ~(UINT64_C(1) << n);
        break;
    case 5: rc = aspace_populate(env->space, log_.va, PAGES * PAGE, NULL); break;
    default: use(env, 1 + (unsigned)pick(WRITERS), va, ASPACE_R); break;
    }
    CHECK(rc == ASPACE_OK || rc == ASPACE_E_NOT_MAPPED || rc == ASPACE_E_UNSUPPORTED || rc == ASPACE_E_NO_MEMORY);
}

static void take_told(struct env *env, uint64_t bits, bool exact)
{
    CHECK_EQ(shadow.written & ~bits, 0); /* none is lost */
    if (exact) {
        CHECK_EQ(bits & ~shadow.written, 0);
    }
    for (uint64_t n = 0; n < PAGES; n++) {
        if (bits >> n & 1) {
            shadow.copy[n] = word_of(env, n);
        }
    }
    shadow.written = 0;
}

static void random_harvest(struct env *env, bool exact)
{
    struct aspace_range r[PAGES];
    size_t n = PAGES;
    uint64_t bits = 0;

    if (!log_.rings[0].pages || pick(3) == 0) {
        harvest(env, log_.va, PAGES);
        take_told(env, log_.bits[0], exact);
        return;
    }
    int rc = aspace_drain_dirty(env->space, r, &n);
    CHECK(rc == ASPACE_OK || rc == ASPACE_E_LIMIT);
    for (uint64_t page = 0; page < PAGES; page++) {
        bits |= (uint64_t)told(r, n, log_.va + page * PAGE) << page;
    }
    if (rc == ASPACE_E_LIMIT) { /* the rest by bitmap */
        harvest(env, log_.va, PAGES);
        bits |= log_.bits[0];
    }
    take_told(env, bits, exact);
}

static void random_round(struct env *env, bool large)
{
    struct aspace_dirty_config c = log_config(log_.by_hardware);

    c.va = log_.va;
    c.size = PAGES * PAGE;
    if (!log_.by_hardware && pick(2)) {
        for (unsigned i = 0; i < env->cpus; i++) {
            log_.rings[i] = (struct aspace_dirty_ring){.pages = log_.pages[i], .entries = 1u << pick(5)};
        }
        c.rings = log_.rings;
    } else {
        log_.rings[0].pages = NULL;
    }
    c.flags = !log_.by_hardware && pick(2) ? ASPACE_DIRTY_SPLIT : 0;
    CHECK_OK(aspace_dirty_start(env->space, &c));
    shadow.written = 0;
    for (uint64_t n = 0; n < PAGES; n++) {
        shadow.copy[n] = word_of(env, n);
    }
    for (unsigned step = 0; step < 120; step++) {
        uint64_t n = pick(PAGES);
        uint64_t what = pick(8);
        if (what < 4) {
            random_write(env, n);
        } else if (what < 7) {
            random_change(env, n);
        } else {
            random_harvest(env, !large);
        }
        if (step % 16 == 0) {
            audit(env);
        }
    }
    random_harvest(env, !large);
    for (uint64_t n = 0; n < PAGES; n++) {
        CHECK_EQ(shadow.copy[n], word_of(env, n));
    }
    stop(env);
}

/* A migration that copies what is told ends with the same memory, whatever else goes on. */
static void copy_by_log(struct env *env)
{
    uint64_t span = env->span[1];
    bool small = span < PAGES * PAGE; /* toy */
    bool large = small || env->huge_level || env->run_pages > 1;
    struct aspace_map m = request(ASPACE_KIND_LAZY, at(env, 1, 1), small ? PAGES * PAGE : span, env->rw);

    need_room(env, m.va);
    log_.va = m.va;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    cpu_enter(env, 1);
    cpu_enter(env, 2);
    for (uint64_t round = 0; round < harness_count(4); round++) {
        random_round(env, large);
    }
    cpu_leave(env, 1);
    cpu_leave(env, 2);
}

static void dirty_random(struct env *env)
{
    shadow.state = harness_seed();
    in_modes(env, copy_by_log);
}

static const struct test tests[] = {
    {"dirty_writes", dirty_writes, 0},
    {"dirty_software_writes", dirty_software_writes, 0},
    {"dirty_through_changes", dirty_through_changes, 0},
    {"dirty_large", dirty_large, NEEDS_HUGE},
    {"dirty_splits", dirty_splits, NEEDS_HUGE},
    {"dirty_part_of_large", dirty_part_of_large, NEEDS_HUGE},
    {"dirty_rings", dirty_rings, 0},
    {"dirty_ring_overflows", dirty_ring_overflows, 0},
    {"dirty_ring_of_large", dirty_ring_of_large, NEEDS_HUGE},
    {"s49_harvest_against_write", s49_harvest_against_write, DELAYED},
    {"dirty_right_gone_means_gone", dirty_right_gone_means_gone, DELAYED},
    {"s46_split_then_harvest", s46_split_then_harvest, NEEDS_HUGE},
    {"dirty_refused", dirty_refused, 0},
    {"dirty_mapped_late", dirty_mapped_late, 0},
    {"dirty_readable", dirty_readable, 0},
    {"dirty_random", dirty_random, NEEDS_FEW},
};
const struct suite dirty_suite = SUITE(tests);
