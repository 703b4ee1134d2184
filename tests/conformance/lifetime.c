/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scenarios of tables and frames that are taken away while somebody is still at them. One thread plays the CPUs where
 * it can: what comes in between is called from the HAL's functions. Owns the situations; must not know src/.
 */
#define _DEFAULT_SOURCE

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "suites.h"

static struct {
    struct env *env;
    uint64_t va, pa;
    unsigned calls;
    bool armed, set;
    uint64_t limit; /* frames that there are */
} scene;

static void begin(struct env *env, uint64_t va)
{
    memset(&scene, 0, sizeof(scene));
    scene.env = env;
    scene.va = va;
}

static bool is_allocated(uint64_t pa)
{
    return arena_generation(&scene.env->machine.arena, pa) % 2 == 1;
}

static void online(struct env *env, unsigned cpu)
{
    aspace_linux_set_cpu(cpu);
    aspace_cpu_online(env->host); /* nothing but with quiescent states */
}

static void offline(struct env *env, unsigned cpu)
{
    aspace_linux_set_cpu(cpu);
    aspace_cpu_offline(env->host);
    aspace_linux_set_cpu(0);
}

/* --------------------------------------------------------------------------- 45: a fault in a table that is detached
 * */

/* The fault has walked, and asks for a frame: CPU 1 takes the table away. What is in it stays until the fault is
 * over. */
static aspace_pa_t alloc_while_detached(void *ctx, unsigned order, unsigned flags)
{
    struct env *env = scene.env;

    if (scene.armed && !(flags & ASPACE_ALLOC_TABLE)) {
        scene.armed = false;
        aspace_linux_set_cpu(1);
        CHECK_OK(aspace_unmap(env->space, scene.va, env->span[1]));
        (void)aspace_drain(env->host);
        CHECK(is_allocated(scene.pa));
        aspace_linux_set_cpu(0);
        scene.calls++;
    }
    return env->machine.hal->alloc(ctx, order, flags);
}

static void s45_fault_in_detached_table(struct env *env)
{
    uint64_t va = at(env, 1, 1), size = env->span[1];
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, size, env->rw);

    m.max_leaf_level = 1;
    for (unsigned round = 0; round < 3; round++) {
        begin(env, va);
        online(env, 1);
        aspace_linux_set_cpu(0);
        CHECK_OK(aspace_map(env->space, &m, NULL));
        touch(env, va, ASPACE_W);
        scene.pa = walk(env, va).pa;
        scene.armed = true;
        env->hal.alloc = alloc_while_detached;
        /* Its frame lands in a table that nobody walks any more. */
        CHECK_FAULT(aspace_fault(env->space, va + PAGE, ASPACE_W, NULL), ASPACE_FAULT_DONE);
        env->hal.alloc = env->machine.hal->alloc;
        CHECK_EQ(scene.calls, 1);
        expect_absent(env, va + PAGE);
        CHECK(!mapped(env, va + PAGE));
        CHECK_EQ(ledger(env).data, 2);
        offline(env, 1);
        aspace_trim(env->host);
        CHECK_EQ(ledger(env).data, 0);
        CHECK_EQ(frames_held(env), 0);
    }
}

/* ----------------------------------------------------------------------------------------- 46: split, dirty,
 * collapse */

/* The split has made its copy of the leaf and cleans it: at this moment a CPU writes, and hardware says so in the
 * leaf. */
static void write_while_splitting(void *ctx, const void *p, size_t bytes)
{
    struct env *env = scene.env;

    (void)ctx;
    (void)p;
    (void)bytes;
    struct naive_result r = walk(env, scene.va);
    if (scene.armed && r.present && r.leaf_bytes == env->span[1]) {
        uint64_t *entry = aspace_phys_to_virt(r.entry_pa);
        *entry = naive_used(&env->config, *entry, true);
        scene.armed = false;
        scene.set = true;
    }
}

static void s46_split_keeps_late_dirty(struct env *env)
{
    uint64_t va = at(env, 1, 1), size = env->span[1];

    begin(env, va);
    do_map(env, ASPACE_KIND_EAGER, va, size, env->rw);
    struct naive_result huge = walk(env, va);
    CHECK_EQ(huge.leaf_bytes, size);
    scene.armed = true;
    env->hal.dcache_clean = write_while_splitting;
    CHECK_OK(aspace_split(env->space, va));
    env->hal.dcache_clean = NULL;
    for (uint64_t off = 0; off < size; off += PAGE) {
        struct naive_result r = walk(env, va + off);
        uint64_t e = *(const uint64_t *)aspace_phys_to_virt(r.entry_pa);
        CHECK_EQ(r.pa, huge.pa + off);
        CHECK(!scene.set || naive_used(&env->config, e, true) == e);
    }
}

/* The pages are being merged, the flush is in flight: who asks is told that a change is in flight, and what a CPU
 * writes
 * through what it remembers is in the merged page. */
static void in_collapse(struct env *env)
{
    struct aspace_translation t;

    scene.calls++;
    uint64_t pa = cpu_access(env, 1, scene.va, ASPACE_W);
    if (pa != ASPACE_PA_NONE) {
        *(uint64_t *)aspace_phys_to_virt(pa) = 0x1a7e;
        scene.set = true;
    }
    aspace_linux_set_cpu(2);
    CHECK_ERROR(aspace_translate(env->space, scene.va, &t), ASPACE_E_RETRY);
    CHECK_FAULT(aspace_fault(env->space, scene.va + PAGE, ASPACE_W, NULL), ASPACE_FAULT_RETRY);
    aspace_linux_set_cpu(0);
}

static void s46_collapse_under_access(struct env *env)
{
    uint64_t va = at(env, 1, 1), size = env->span[1];
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, size, env->rw);

    m.max_leaf_level = 1;
    begin(env, va);
    CHECK_OK(aspace_map(env->space, &m, NULL));
    poke(env, va + 3 * PAGE, 0x600d);
    cpu_enter(env, 1);
    CHECK(cpu_run(env, 1, va, ASPACE_W) != ASPACE_PA_NONE);
    env->window = in_collapse;
    CHECK_OK(aspace_collapse(env->space, va, 1));
    env->window = NULL;
    CHECK_EQ(scene.calls, 1);
    CHECK(scene.set);
    CHECK_EQ(walk(env, va).leaf_bytes, size);
    CHECK_EQ(peek(env, va), 0x1a7e);
    CHECK_EQ(peek(env, va + 3 * PAGE), 0x600d);
    CHECK_EQ(cpu_run(env, 1, va, ASPACE_R), walk(env, va).pa);
}

/* --------------------------------------------------------------------------- 48: a CPU that never becomes quiescent */

/* CPU 2 is in a read section that does not end. */
static void begin_long_section(struct env *env)
{
    online(env, 2);
    aspace_read_begin(env->host);
    aspace_linux_set_cpu(0);
}

static void end_long_section(struct env *env)
{
    aspace_linux_set_cpu(2);
    aspace_read_end(env->host);
    offline(env, 2);
}

/* Memory that is freed cannot be used again, so there is an end to it, which is told; what is there can be used. */
static void s48_bounded_without_quiescence(struct env *env)
{
    uint64_t va = at(env, 1, 0), rounds = 0;
    enum aspace_fault_result r;

    do_map(env, ASPACE_KIND_LAZY, va, 2 * PAGE, env->rw);
    poke(env, va + PAGE, 0x600d);
    begin(env, va);
    begin_long_section(env);
    scene.limit = ledger(env).frames + 200;
    limit_frames(env, scene.limit);
    while ((r = aspace_fault(env->space, va, ASPACE_W, NULL)) == ASPACE_FAULT_DONE) {
        CHECK_OK(aspace_discard(env->space, va, PAGE));
        aspace_quiescent(env->host);
        CHECK(++rounds <= 200);
    }
    CHECK_EQ(r, ASPACE_FAULT_NO_MEMORY);
    CHECK(rounds > 50 && ledger(env).frames <= scene.limit);
    CHECK_EQ(peek(env, va + PAGE), 0x600d);
    CHECK_FAULT(aspace_fault(env->space, va + PAGE, ASPACE_R, NULL), ASPACE_FAULT_SPURIOUS);
    end_long_section(env);
    aspace_quiescent(env->host);
    (void)aspace_drain(env->host);
    touch(env, va, ASPACE_W);
    limit_frames(env, UINT64_MAX);
    CHECK_EQ(frames_held(env), 2);
}

enum { WAITER_ROUNDS = 300 };

static struct {
    int error;
    unsigned rounds;
} waiter;

/* Each round uses tables, and defers them. */
static void *use_up_tables(void *arg)
{
    struct env *env = arg;
    struct aspace_map m = request(ASPACE_KIND_LAZY, scene.va, PAGE, env->rw);

    online(env, 1);
    while (!waiter.error && waiter.rounds < WAITER_ROUNDS) {
        waiter.error = aspace_map(env->space, &m, NULL);
        waiter.error = waiter.error ? waiter.error : aspace_unmap(env->space, env->base, env->end - env->base);
        aspace_quiescent(env->host);
        __atomic_store_n(&waiter.rounds, waiter.rounds + 1, __ATOMIC_RELEASE);
    }
    aspace_cpu_offline(env->host);
    return NULL;
}

static unsigned rounds_after(struct env *env, long milliseconds)
{
    struct timespec pause = {.tv_nsec = 1000000};

    for (long i = 0; i < milliseconds; i++) {
        nanosleep(&pause, NULL);
        aspace_quiescent(env->host);
    }
    return __atomic_load_n(&waiter.rounds, __ATOMIC_ACQUIRE);
}

/* An operation that needs a table when there is none waits until the section ends, and then has one: none fails. */
static void s48_back_pressure_ends(struct env *env)
{
    pthread_t thread;

    begin(env, at(env, 1, 1));
    begin_long_section(env);
    scene.limit = ledger(env).frames;
    limit_frames(env, scene.limit);
    memset(&waiter, 0, sizeof(waiter));
    CHECK_EQ(pthread_create(&thread, NULL, use_up_tables, env), 0);
    unsigned before = rounds_after(env, 20), stuck = rounds_after(env, 20);
    while (stuck != before) {
        before = stuck;
        stuck = rounds_after(env, 20);
    }
    end_long_section(env);
    while (rounds_after(env, 1) < WAITER_ROUNDS && !waiter.error) {}
    pthread_join(thread, NULL);
    limit_frames(env, UINT64_MAX);
    CHECK_OK(waiter.error);
    CHECK(stuck < WAITER_ROUNDS);
}

/* ----------------------------------------------------------------------------------------------- 43: accessed flags */

/* An access as hardware makes it: what is not in the TLB is walked for, and the flags are set. */
static void use(struct env *env, unsigned cpu, uint64_t va, uint32_t access)
{
    bool cached = sim_cpu_caches(&env->machine.sim.cpu[cpu], &env->sim_space, va);

    cpu_run(env, cpu, va, access);
    if (!cached) {
        uint64_t *entry = aspace_phys_to_virt(walk(env, va).entry_pa);
        *entry = naive_used(&env->config, *entry, access == ASPACE_W);
    }
}

static uint64_t harvest(struct env *env, uint64_t va, uint64_t pages, uint64_t *bitmap)
{
    uint64_t count = 77;

    CHECK_OK(aspace_harvest_accessed(env->space, va, pages * PAGE, bitmap, &count));
    return count;
}

/* Each access is told once, by the harvest after it; also when the CPU had the translation before. */
static void harvest_accessed(struct env *env)
{
    uint64_t va = at(env, 1, 0) + PAGE, bits[2] = {~UINT64_C(0), ~UINT64_C(0)};

    bool by_hardware = env->config.format != ASPACE_FMT_LOONGARCH_S1 && env->config.format != ASPACE_FMT_LOONGARCH_S2;
    if (!by_hardware || (env->config.features & ASPACE_FEAT_AD) == 0) {
        do_map(env, ASPACE_KIND_LAZY, va, PAGE, env->rw);
        CHECK_ERROR(aspace_harvest_accessed(env->space, va, PAGE, bits, NULL), ASPACE_E_UNSUPPORTED);
        return;
    }
    CHECK_ERROR(aspace_harvest_accessed(env->space, va, PAGE, NULL, NULL), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_harvest_accessed(env->space, va + 1, PAGE, bits, NULL), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_harvest_accessed(env->space, env->end, PAGE, bits, NULL), ASPACE_E_RANGE);
    CHECK_EQ(harvest(env, va, 3, bits), 0); /* nothing is mapped */
    CHECK_EQ(bits[0], 0);
    do_map(env, ASPACE_KIND_LAZY, va, 2 * PAGE, env->rw);
    do_linear(env, va + 2 * PAGE, PAGE, env->ro, device_pa(env, PAGE));
    cpu_enter(env, 1);
    use(env, 1, va + PAGE, ASPACE_W);
    use(env, 1, va + 2 * PAGE, ASPACE_R);
    CHECK_EQ(harvest(env, va, 3, bits), 2);
    CHECK_EQ(bits[0], 6);
    uint64_t e = *(const uint64_t *)aspace_phys_to_virt(walk(env, va + PAGE).entry_pa); /* written as before */
    CHECK_EQ(naive_used(&env->config, e, false), naive_used(&env->config, e, true));
    CHECK(naive_used(&env->config, e, false) != e);
    CHECK_EQ(harvest(env, va, 3, bits), 0);
    use(env, 1, va + PAGE, ASPACE_R);
    CHECK_EQ(harvest(env, va + PAGE, 1, bits), 1);
    CHECK_EQ(bits[0], 1);
    use(env, 1, va, ASPACE_W);
    CHECK_OK(aspace_protect(env->space, va, PAGE, 0)); /* without rights it is still told */
    CHECK_EQ(harvest(env, va, 3, bits), 1);
    CHECK_EQ(harvest(env, va, 3, bits), 0);
    CHECK_OK(aspace_protect(env->space, va, PAGE, env->rw));
    CHECK_EQ(harvest(env, va, 3, bits), 0);
    struct aspace_translation t;
    CHECK_OK(aspace_translate(env->space, va, &t));
    CHECK_EQ(t.rights, env->rw);
}

/* A large leaf tells for all its pages, and is cleared by a range that has all of it. */
static void harvest_accessed_large(struct env *env)
{
    uint64_t va = at(env, 1, 0), bits[8];
    uint64_t pages = env->span[1] / PAGE;

    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    cpu_enter(env, 1);
    use(env, 1, va, ASPACE_W);
    CHECK_EQ(harvest(env, va + PAGE, 2, bits), 2);
    CHECK_EQ(bits[0], 3);
    CHECK_EQ(harvest(env, va, pages, bits), pages);
    CHECK_EQ(harvest(env, va, pages, bits), 0);
    CHECK_EQ(agree(env, va).leaf_bytes, env->span[1]);
}

static void *harvest_for_long(void *arg)
{
    struct env *env = arg;
    uint64_t bits[32];

    aspace_linux_set_cpu(1);
    aspace_cpu_online(env->host);
    while (!__atomic_load_n(&scene.set, __ATOMIC_ACQUIRE)) {
        if (aspace_harvest_accessed(env->space, scene.va, 2 * env->span[1], bits, NULL) == ASPACE_OK) {
            __atomic_store_n(&scene.calls, 1, __ATOMIC_RELEASE);
        }
        aspace_quiescent(env->host);
    }
    aspace_cpu_offline(env->host);
    return NULL;
}

/* Tables come and go under the harvest, which touches none that was freed: freed frames are poisoned, and looked at. */
static void s43_harvest_against_unmap(struct env *env)
{
    pthread_t thread;

    begin(env, at(env, 1, 0));
    online(env, 0);
    CHECK_EQ(pthread_create(&thread, NULL, harvest_for_long, env), 0);
    while (!__atomic_load_n(&scene.calls, __ATOMIC_ACQUIRE)) {
        aspace_quiescent(env->host);
    }
    for (unsigned round = 0; round < 200; round++) {
        struct aspace_map m = request(ASPACE_KIND_EAGER, scene.va, 2 * env->span[1], env->rw);
        m.max_leaf_level = 1;
        if (env->span[1] > 64 * PAGE) { /* some pages of each table, without the time that all of them take */
            m.kind = ASPACE_KIND_LAZY;
        }
        CHECK_OK(aspace_map(env->space, &m, NULL));
        for (unsigned n = 0; n < 8; n++) {
            poke(env, scene.va + (n % 2) * env->span[1] + n * PAGE / 2 / PAGE * PAGE, round);
        }
        CHECK_OK(aspace_unmap(env->space, scene.va, 2 * env->span[1]));
        aspace_quiescent(env->host);
        (void)aspace_drain(env->host);
    }
    __atomic_store_n(&scene.set, true, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    audit(env);
}

/* A CPU that is idle frees nothing by itself: what it deferred is another's who runs out of memory. */
static void idle_cpu_has_what_is_missing(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    do_map(env, ASPACE_KIND_LAZY, va, 2 * PAGE, env->rw);
    poke(env, va, 1);
    online(env, 1);
    CHECK_OK(aspace_discard(env->space, va, PAGE));
    offline(env, 1);
    limit_frames(env, ledger(env).frames);
    if (env->variant->smr == ASPACE_SMR_QSBR) { /* the grace period begins with the first who looks for it */
        CHECK_FAULT(aspace_fault(env->space, va + PAGE, ASPACE_W, NULL), ASPACE_FAULT_NO_MEMORY);
        aspace_quiescent(env->host);
    }
    touch(env, va + PAGE, ASPACE_W);
    limit_frames(env, UINT64_MAX);
}

static const struct test tests[] = {
    {"harvest_accessed", harvest_accessed, 0},
    {"harvest_accessed_large", harvest_accessed_large, NEEDS_HUGE | NEEDS_AD},
    {"s43_harvest_against_unmap", s43_harvest_against_unmap, NEEDS_AD},
    {"s45_fault_in_detached_table", s45_fault_in_detached_table, 0},
    {"s46_split_keeps_late_dirty", s46_split_keeps_late_dirty, NEEDS_HUGE | NEEDS_AD},
    {"s46_collapse_under_access", s46_collapse_under_access, NEEDS_HUGE | NEEDS_SAMPLE | DELAYED},
    {"s48_bounded_without_quiescence", s48_bounded_without_quiescence, 0},
    {"idle_cpu_has_what_is_missing", idle_cpu_has_what_is_missing, 0},
    {"s48_back_pressure_ends", s48_back_pressure_ends, NEEDS_FEW},
};
const struct suite lifetime_suite = SUITE(tests);
