/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The test bed tested, simulated CPUs: each flush that is forgotten here, in part or as a whole, must show, and what is
 * flushed as it should be must pass without a word. Owns a page-table format of its own, as small as can be; must not
 * know the library's sources.
 */
#define _GNU_SOURCE
#include "port_bed.h"

/* ------------------------------------------------------------------------------------------------- a toy MMU format */

/* An entry: 0 present, 1 leaf, 4..2 rights, 51..12 address. Three levels of nine bits. */
enum { TOY_LEVELS = 3 };

static void toy_walk(const struct sim_space *space, uint64_t va, const void *(*phys)(uint64_t pa),
                     struct sim_walk *walk)
{
    uint64_t table = space->root;
    for (unsigned level = TOY_LEVELS; level-- > 0;) {
        unsigned shift = 12 + 9 * level;
        walk->table_pa[walk->tables++] = table;
        uint64_t e = *(const uint64_t *)phys(table + (va >> shift & 511) * 8);
        if ((e & 1) == 0) {
            walk->fault_level = (int)level;
            return;
        }
        if (e & 2) {
            walk->present = true;
            walk->leaf_bytes = 1ull << shift;
            walk->rights = (uint32_t)(e >> 2 & 7);
            walk->pa = (e & 0xffffffffff000ull) + (va & (walk->leaf_bytes - 1));
            return;
        }
        table = e & 0xffffffffff000ull;
    }
}

/* One space with a table at each level that maps va 0 on, and one frame of data. */
static struct toy {
    struct sim_space space;
    aspace_pa_t table[TOY_LEVELS]; /* [2] is the root */
    aspace_pa_t data;
} toy;

static uint64_t *toy_slot(unsigned level, unsigned idx)
{
    return (uint64_t *)(void *)bytes_at(toy.table[level]) + idx;
}

static void toy_set(unsigned level, unsigned idx, uint64_t e)
{
    __atomic_store_n(toy_slot(level, idx), e, __ATOMIC_RELEASE);
}

static uint64_t toy_leaf(aspace_pa_t pa, uint32_t rights)
{
    return pa | (uint64_t)rights << 2 | 3;
}

static void toy_make(uint64_t tag)
{
    for (unsigned level = 0; level < TOY_LEVELS; level++) {
        toy.table[level] = take(0, ASPACE_ALLOC_ZERO | ASPACE_ALLOC_TABLE);
    }
    toy.data = take(0, ASPACE_ALLOC_ZERO);
    toy_set(2, 0, toy.table[1] | 1);
    toy_set(1, 0, toy.table[0] | 1);
    toy_set(0, 0, toy_leaf(toy.data, ASPACE_RW));
    toy.space =
        (struct sim_space){.walk = toy_walk, .root = toy.table[2], .tag = tag, .stage2 = true, .levels = TOY_LEVELS};
}

static struct sim_cpu *cpu(unsigned n)
{
    return &port.sim.cpu[n];
}

/* Where the access goes, or ASPACE_PA_NONE. */
static uint64_t reach(unsigned n, uint64_t va, uint32_t access)
{
    uint64_t pa = 0;
    return sim_cpu_access(cpu(n), &toy.space, va, access, &pa) == SIM_OK ? pa : ASPACE_PA_NONE;
}

static struct aspace_flush flush_of(uint64_t va, uint64_t end, uint64_t *active)
{
    return (struct aspace_flush){.tag = toy.space.tag,
                                 .va = va,
                                 .end = end,
                                 .root = toy.space.root,
                                 .entries = 1,
                                 .stride_lg2 = 12,
                                 .max_lg2 = 12,
                                 .leaf_only = true,
                                 .stage2 = true,
                                 .active = active,
                                 .active_words = 1};
}

static void flush(const struct aspace_flush *f)
{
    port.hal->tlb_flush(&port, f);
    if (port.hal->tlb_wait) {
        port.hal->tlb_wait(&port, f);
    }
}

static void open_toy(unsigned cpus, enum sim_mode mode)
{
    open_checked(cpus, mode);
    toy_make(5);
    for (unsigned n = 0; n < cpus; n++) {
        sim_cpu_load(cpu(n), &toy.space);
    }
}

static void close_toy(void)
{
    aspace_linux_set_cpu(0);
    aspace_linux_fini(&port);
}

/* ------------------------------------------------------------------------------------------------- TLBs and flushes */

static void test_hit_and_flush(void)
{
    uint64_t both = 3, only1 = 2;
    open_toy(2, SIM_IMMEDIATE);
    CHECK(reach(0, 0x123, ASPACE_R) == toy.data + 0x123 && reach(1, 0, ASPACE_W) == toy.data);
    CHECK(reach(0, 0, ASPACE_X) == ASPACE_PA_NONE && reach(0, PAGE, ASPACE_R) == ASPACE_PA_NONE);
    toy_set(0, 0, 0);
    CHECK(reach(0, 0, ASPACE_R) == toy.data); /* memory changed, the TLB did not */
    struct aspace_flush f = flush_of(0, PAGE, &only1);
    flush(&f);
    CHECK(reach(0, 0, ASPACE_R) == toy.data && reach(1, 0, ASPACE_R) == ASPACE_PA_NONE);
    f = flush_of(PAGE, 4 * PAGE, &both);
    flush(&f);
    CHECK(reach(0, 0, ASPACE_R) == toy.data); /* another range */
    f = flush_of(0, PAGE, &both);
    f.tag++;
    flush(&f);
    f.tag--;
    f.stage2 = false;
    flush(&f);
    CHECK(reach(0, 0, ASPACE_R) == toy.data); /* another tag, another stage */
    f = flush_of(0, PAGE, &both);
    flush(&f);
    CHECK(reach(0, 0, ASPACE_R) == ASPACE_PA_NONE && sim_violations(&port.sim) == 0);
    close_toy();
}

static void test_full_and_local(void)
{
    uint64_t one = 1;
    open_toy(1, SIM_IMMEDIATE);
    CHECK(reach(0, 0, ASPACE_R) == toy.data);
    struct aspace_flush f = flush_of(PAGE, 2 * PAGE, &one);
    f.full = true;
    flush(&f);
    CHECK(!sim_cpu_caches(cpu(0), &toy.space, 0));
    CHECK(reach(0, 0, ASPACE_R) == toy.data && sim_cpu_caches(cpu(0), &toy.space, 0));
    port.hal->tlb_flush_local(&port, toy.space.tag, false);
    CHECK(sim_cpu_caches(cpu(0), &toy.space, 0));
    port.hal->tlb_flush_local(&port, toy.space.tag, true);
    CHECK(!sim_cpu_caches(cpu(0), &toy.space, 0));
    CHECK(reach(0, 0, ASPACE_R) == toy.data);
    sim_cpu_fence(cpu(0), &toy.space, 0);
    CHECK(!sim_cpu_caches(cpu(0), &toy.space, 0));
    struct aspace_linux_counts c;
    aspace_linux_counts_read(&port, &c);
    CHECK(c.tlb_flush == 1 && c.flush_full == 1 && c.tlb_flush_local == 2 && c.flush_entries == 1);
    aspace_linux_counts_clear(&port);
    aspace_linux_counts_read(&port, &c);
    CHECK(c.tlb_flush == 0);
    close_toy();
}

/* A table is unlinked: the walk that is cached goes on through it until a flush that is not for leaves only. */
static void test_walk_cache(void)
{
    uint64_t one = 1;
    open_toy(1, SIM_IMMEDIATE);
    toy_set(0, 1, toy_leaf(toy.data, ASPACE_R));
    CHECK(reach(0, 0, ASPACE_R) == toy.data);
    toy_set(2, 0, 0);
    CHECK(reach(0, PAGE, ASPACE_R) == toy.data); /* not in the TLB, and not to be reached from the root */
    struct aspace_flush f = flush_of(0, 512 * PAGE, &one);
    flush(&f);
    CHECK(reach(0, PAGE, ASPACE_R) == toy.data);
    f.leaf_only = false;
    flush(&f);
    CHECK(reach(0, PAGE, ASPACE_R) == ASPACE_PA_NONE && sim_violations(&port.sim) == 0);
    close_toy();
}

/* An invalidation by address is a loop of steps: too long a step leaves entries between them. */
static void test_stride(void)
{
    uint64_t one = 1;
    for (unsigned lenient = 0; lenient < 2; lenient++) {
        struct aspace_linux_config config = checked_config(1, SIM_IMMEDIATE);
        config.sim.lenient = lenient != 0;
        open_config(&config);
        toy_make(1);
        sim_cpu_load(cpu(0), &toy.space);
        toy_set(0, 3, toy_leaf(toy.data, ASPACE_R));
        CHECK(reach(0, 3 * PAGE, ASPACE_R) == toy.data);
        struct aspace_flush f = flush_of(0, MIB2, &one);
        f.stride_lg2 = 21;
        f.max_lg2 = 30; /* sizes differ: no hint of a level */
        flush(&f);
        CHECK(sim_cpu_caches(cpu(0), &toy.space, 3 * PAGE) == !lenient);
        f.stride_lg2 = 12;
        flush(&f);
        CHECK(!sim_cpu_caches(cpu(0), &toy.space, 3 * PAGE));
        close_toy();
    }
}

/* A hint of the wrong level excuses hardware from looking. */
static void test_level_hint(void)
{
    uint64_t one = 1;
    open_toy(1, SIM_IMMEDIATE);
    toy_set(1, 1, toy_leaf(ARENA_DEFAULT_PA + (32ull << 20), ASPACE_R));
    CHECK(reach(0, MIB2, ASPACE_R) == ARENA_DEFAULT_PA + (32ull << 20));
    struct aspace_flush f = flush_of(MIB2, 2 * MIB2, &one);
    flush(&f);
    CHECK(sim_cpu_caches(cpu(0), &toy.space, MIB2));
    f.max_lg2 = 21;
    flush(&f);
    CHECK(!sim_cpu_caches(cpu(0), &toy.space, MIB2));
    CHECK(reach(0, MIB2 + 5, ASPACE_R) != ASPACE_PA_NONE);
    f.stride_lg2 = 21;
    flush(&f);
    CHECK(!sim_cpu_caches(cpu(0), &toy.space, MIB2));
    close_toy();
}

static void test_negative_caching(void)
{
    struct aspace_linux_config config = checked_config(1, SIM_IMMEDIATE);
    config.sim.cache_invalid = true;
    open_config(&config);
    toy_make(1);
    sim_cpu_load(cpu(0), &toy.space);
    CHECK(reach(0, PAGE, ASPACE_R) == ASPACE_PA_NONE);
    toy_set(0, 1, toy_leaf(toy.data, ASPACE_R));
    CHECK(reach(0, PAGE, ASPACE_R) == ASPACE_PA_NONE); /* remembered: a spurious fault */
    sim_cpu_fence(cpu(0), &toy.space, PAGE);
    CHECK(reach(0, PAGE, ASPACE_R) == toy.data);
    close_toy();
}

static void test_narrow_tags(void)
{
    struct aspace_linux_config config = checked_config(1, SIM_IMMEDIATE);
    config.sim.tag_bits = 3;
    open_config(&config);
    toy_make(1);
    sim_cpu_load(cpu(0), &toy.space);
    CHECK(reach(0, 0, ASPACE_R) == toy.data);
    struct sim_space other = toy.space;
    other.tag = 9;
    CHECK(sim_cpu_caches(cpu(0), &other, 0)); /* 9 is 1 in three bits: what an unsafe roll-over would meet */
    other.tag = 2;
    CHECK(!sim_cpu_caches(cpu(0), &other, 0));
    close_toy();
}

/* ------------------------------------------------------------------------------------------- frames that are in use */

static void test_held_by_tlb(void)
{
    uint64_t one = 1;
    open_toy(2, SIM_IMMEDIATE);
    CHECK(reach(1, 0, ASPACE_R) == toy.data);
    toy_set(0, 0, 0);
    struct aspace_flush f = flush_of(0, PAGE, &one); /* CPU 1 forgotten */
    flush(&f);
    give(toy.data, 0);
    CHECK(found(ARENA_HELD) == 1 && strstr(last_line, "cpu 1"));
    CHECK(sim_violations(&port.sim) == 0);
    CHECK(reach(1, 0, ASPACE_R) == toy.data && sim_violations(&port.sim) == 1); /* and then it uses it */
    close_toy();
}

static void test_held_by_walk_cache(void)
{
    uint64_t one = 1;
    open_toy(1, SIM_IMMEDIATE);
    CHECK(reach(0, 0, ASPACE_R) == toy.data);
    toy_set(1, 0, 0);
    struct aspace_flush f = flush_of(0, MIB2, &one); /* leaves only: not enough for a table */
    flush(&f);
    give(toy.table[0], 0);
    CHECK(found(ARENA_HELD) == 1 && strstr(last_line, "walk cache"));
    CHECK(reach(0, 0, ASPACE_R) != toy.data && sim_violations(&port.sim) >= 1); /* walks through poison */
    CHECK(aspace_linux_violations(&port) >= 2);
    give(toy.table[2], 0);
    CHECK(found(ARENA_HELD) == 2 && strstr(last_line, "root"));
    close_toy();
}

static void test_held_properly_flushed(void)
{
    uint64_t one = 1;
    open_toy(1, SIM_IMMEDIATE);
    CHECK(reach(0, 0, ASPACE_R) == toy.data);
    toy_set(1, 0, 0);
    struct aspace_flush f = flush_of(0, MIB2, &one);
    f.leaf_only = false;
    flush(&f);
    give(toy.data, 0);
    give(toy.table[0], 0);
    sim_cpu_unload(cpu(0), &toy.space);
    give(toy.table[1], 0);
    give(toy.table[2], 0);
    CHECK(counts().frames == 0 && aspace_linux_violations(&port) == 0);
    close_toy();
}

/* A CPU that is not in the space may keep what it has: until it comes back without a flush. */
static void test_inactive(void)
{
    open_toy(1, SIM_IMMEDIATE);
    CHECK(reach(0, 0, ASPACE_R) == toy.data);
    sim_cpu_unload(cpu(0), &toy.space);
    toy_set(0, 0, 0);
    give(toy.data, 0);
    CHECK(aspace_linux_violations(&port) == 0);
    CHECK(reach(0, 0, ASPACE_R) == ASPACE_PA_NONE && sim_violations(&port.sim) == 1); /* not loaded */
    sim_cpu_load(cpu(0), &toy.space);
    CHECK(reach(0, 0, ASPACE_R) == toy.data && sim_violations(&port.sim) == 2);
    port.hal->tlb_flush_local(&port, toy.space.tag, true);
    CHECK(reach(0, 0, ASPACE_R) == ASPACE_PA_NONE && sim_violations(&port.sim) == 2);
    close_toy();
}

/* The frame was freed and given out again: the number is the same, its owner is not. */
static void test_reused_frame(void)
{
    struct aspace_linux_config config = checked_config(1, SIM_IMMEDIATE);
    config.arena.quarantine = 1;
    open_config(&config);
    toy_make(1);
    sim_cpu_load(cpu(0), &toy.space);
    CHECK(reach(0, 0, ASPACE_R) == toy.data);
    sim_cpu_unload(cpu(0), &toy.space);
    give(toy.data, 0);
    give(take(0, 0), 0);
    CHECK(take(0, 0) == toy.data);
    sim_cpu_load(cpu(0), &toy.space);
    CHECK(reach(0, 0, ASPACE_R) == toy.data && sim_violations(&port.sim) == 1);
    close_toy();
}

/* ------------------------------------------------------------------------------------------- flushes that take time */

static unsigned windows;
static uint64_t window_reach;

static void in_window(void *ctx)
{
    (void)ctx;
    windows++;
    window_reach = reach(1, 0, ASPACE_R);
}

static void test_delayed(void)
{
    uint64_t both = 3;
    struct aspace_linux_config config = checked_config(2, SIM_DELAYED);
    config.window = in_window;
    open_config(&config);
    toy_make(1);
    sim_cpu_load(cpu(1), &toy.space);
    CHECK(reach(1, 0, ASPACE_R) == toy.data);
    toy_set(0, 0, 0);
    struct aspace_flush f = flush_of(0, PAGE, &both);
    windows = 0;
    port.hal->tlb_flush(&port, &f);
    CHECK(reach(1, 0, ASPACE_R) == toy.data); /* in flight */
    port.hal->tlb_wait(&port, &f);
    CHECK(windows == 1 && window_reach == toy.data && reach(1, 0, ASPACE_R) == ASPACE_PA_NONE);
    toy_set(0, 0, toy_leaf(toy.data, ASPACE_R));
    CHECK(reach(1, 0, ASPACE_R) == toy.data);
    port.hal->tlb_flush(&port, &f);
    CHECK(sim_cpu_caches(cpu(1), &toy.space, 0));
    sim_cpu_step(cpu(1));
    CHECK(!sim_cpu_caches(cpu(1), &toy.space, 0));
    close_toy();
}

static void test_mailbox_overflow(void)
{
    uint64_t one = 1;
    open_toy(1, SIM_DELAYED);
    CHECK(reach(0, 0, ASPACE_R) == toy.data);
    struct aspace_flush f = flush_of(PAGE, 2 * PAGE, &one);
    for (unsigned i = 0; i < SIM_MAILBOX; i++) {
        port.hal->tlb_flush(&port, &f);
    }
    sim_cpu_step(cpu(0));
    CHECK(sim_cpu_caches(cpu(0), &toy.space, 0));
    for (unsigned i = 0; i <= SIM_MAILBOX; i++) {
        port.hal->tlb_flush(&port, &f);
    }
    sim_cpu_step(cpu(0));
    CHECK(!sim_cpu_caches(cpu(0), &toy.space, 0)); /* more than asked for, never less */
    port.hal->tlb_wait(&port, &f);
    close_toy();
}

/* Two real threads: each unmaps its own page, then waits for the other's answer. After the wait nobody may reach it. */
enum { ROUNDS = 300 };
static unsigned ready, done;
static uint64_t gone[2]; /* rounds each thread has finished */
static uint64_t late[2];

static void wait_until(const unsigned *counter, unsigned n)
{
    while (__atomic_load_n(counter, __ATOMIC_ACQUIRE) < n) {
        aspace_pause();
    }
}

static void *player(void *arg)
{
    unsigned n = (unsigned)(uintptr_t)arg;
    uint64_t both = 3, mine = n * PAGE, other = (n ^ 1) * PAGE;
    struct aspace_flush f = flush_of(mine, mine + PAGE, &both);
    sim_cpu_attach(&port.sim, n);
    sim_cpu_load(cpu(n), &toy.space);
    __atomic_fetch_add(&ready, 1, __ATOMIC_ACQ_REL);
    wait_until(&ready, 2);
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        toy_set(0, n, toy_leaf(toy.data, ASPACE_R));
        reach(n, mine, ASPACE_R);
        reach(n, other, ASPACE_R);
        toy_set(0, n, 0);
        flush(&f);
        late[n] += sim_cpu_caches(cpu(n ^ 1), &toy.space, mine);
        gone[n] = round;
    }
    __atomic_fetch_add(&done, 1, __ATOMIC_ACQ_REL);
    wait_until(&done, 2);
    sim_cpu_unload(cpu(n), &toy.space);
    sim_cpu_detach(&port.sim);
    return NULL;
}

static void test_threads(void)
{
    pthread_t thread[2];
    open_checked(3, SIM_THREADED);
    toy_make(1);
    for (uintptr_t n = 0; n < 2; n++) {
        pthread_create(&thread[n], NULL, player, (void *)n);
    }
    for (unsigned n = 0; n < 2; n++) {
        pthread_join(thread[n], NULL);
    }
    CHECK(gone[0] == ROUNDS && gone[1] == ROUNDS && late[0] == 0 && late[1] == 0);
    struct sim_counts c;
    sim_counts_read(&port.sim, &c);
    CHECK(c.requests == 4 * ROUNDS && c.accesses == 4 * ROUNDS && sim_violations(&port.sim) == 0);
    uint64_t third = 4; /* nobody plays CPU 2: its flush is done for it, without waiting */
    sim_cpu_load(cpu(2), &toy.space);
    toy_set(0, 0, toy_leaf(toy.data, ASPACE_R));
    CHECK(reach(2, 0, ASPACE_R) == toy.data);
    struct aspace_flush f = flush_of(0, PAGE, &third);
    flush(&f);
    CHECK(!sim_cpu_caches(cpu(2), &toy.space, 0));
    close_toy();
}

/* A CPU that spins, on whatever, still answers. */
static unsigned release_spinner, spinner_started;

static void *spinner(void *arg)
{
    (void)arg;
    sim_cpu_attach(&port.sim, 1);
    sim_cpu_load(cpu(1), &toy.space);
    reach(1, 0, ASPACE_R);
    __atomic_store_n(&spinner_started, 1, __ATOMIC_RELEASE);
    wait_until(&release_spinner, 1);
    sim_cpu_detach(&port.sim);
    return NULL;
}

static void test_pause_serves(void)
{
    pthread_t thread;
    uint64_t other = 2;
    open_checked(2, SIM_THREADED);
    toy_make(1);
    pthread_create(&thread, NULL, spinner, NULL);
    wait_until(&spinner_started, 1);
    CHECK(sim_cpu_caches(cpu(1), &toy.space, 0));
    struct aspace_flush f = flush_of(0, PAGE, &other);
    flush(&f);
    CHECK(!sim_cpu_caches(cpu(1), &toy.space, 0));
    __atomic_store_n(&release_spinner, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    close_toy();
}

static void test_minimal(void)
{
    uint64_t one = 1;
    struct aspace_linux_config config = checked_config(1, SIM_DELAYED);
    config.minimal = true;
    open_config(&config);
    toy_make(1);
    sim_cpu_load(cpu(0), &toy.space);
    CHECK(!port.hal->tlb_wait && !port.hal->alloc_batch && !port.hal->icache_sync);
    CHECK(reach(0, 0, ASPACE_R) == toy.data);
    struct aspace_flush f = flush_of(0, PAGE, &one);
    port.hal->tlb_flush(&port, &f);
    CHECK(!sim_cpu_caches(cpu(0), &toy.space, 0)); /* complete on return */
    close_toy();
}

static void (*const tests[])(void) = {test_hit_and_flush,
                                      test_full_and_local,
                                      test_walk_cache,
                                      test_stride,
                                      test_level_hint,
                                      test_negative_caching,
                                      test_narrow_tags,
                                      test_held_by_tlb,
                                      test_held_by_walk_cache,
                                      test_held_properly_flushed,
                                      test_inactive,
                                      test_reused_frame,
                                      test_delayed,
                                      test_mailbox_overflow,
                                      test_threads,
                                      test_pause_serves,
                                      test_minimal};

int main(void)
{
    return bed_run(tests, sizeof(tests) / sizeof(*tests));
}
