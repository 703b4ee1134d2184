/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Situations in which real systems were seen to go wrong, each with the one right answer. The numbers are those of the
 * list in docs/testing.md. Owns the situations; the general rules are tested in the other files.
 */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "../inject/operations.h"
#include "suites.h"

/* ------------------------------------------------------------------------------------------ 1: two faults, one page */

static void s01_second_fault_is_spurious(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    do_map(env, ASPACE_KIND_LAZY, va, 2 * PAGE, env->rw);
    touch(env, va, ASPACE_W);
    poke(env, va + 8, 0x1111);
    uint64_t pa = agree(env, va).pa;
    for (unsigned n = 0; n < 3; n++) {
        CHECK_FAULT(aspace_fault(env->space, va, ASPACE_W, NULL), ASPACE_FAULT_SPURIOUS);
        expect_leaf(env, va, pa, env->rw);
        CHECK_EQ(peek(env, va + 8), 0x1111);
        CHECK_EQ(frames_held(env), 1);
    }
    aspace_trim(env->host);
    CHECK_EQ(ledger(env).data, 1);
}

struct racer {
    struct env *env;
    unsigned cpu;
    uint64_t va;
    unsigned pages, done, spurious, other;
    pthread_barrier_t *start;
};

static void *race_faults(void *arg)
{
    struct racer *r = arg;

    aspace_linux_set_cpu(r->cpu);
    if (r->env->variant->smr == ASPACE_SMR_QSBR) {
        aspace_cpu_online(r->env->host);
    }
    pthread_barrier_wait(r->start);
    for (unsigned n = 0; n < r->pages; n++) {
        enum aspace_fault_result result = aspace_fault(r->env->space, r->va + n * PAGE, ASPACE_W, NULL);
        r->done += result == ASPACE_FAULT_DONE;
        r->spurious += result == ASPACE_FAULT_SPURIOUS;
        r->other += result != ASPACE_FAULT_DONE && result != ASPACE_FAULT_SPURIOUS;
        aspace_quiescent(r->env->host);
    }
    if (r->env->variant->smr == ASPACE_SMR_QSBR) {
        aspace_cpu_offline(r->env->host);
    }
    return NULL;
}

/* The main thread does nothing in the library while others run, and must not hold up their grace periods. */
static void join_offline(struct env *env, pthread_t *threads, unsigned n)
{
    if (env->variant->smr == ASPACE_SMR_QSBR) {
        aspace_cpu_offline(env->host);
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
    }
    if (env->variant->smr == ASPACE_SMR_QSBR) {
        aspace_cpu_online(env->host);
    }
}

static void s01_two_cpus_at_once(struct env *env)
{
    enum { PAGES = 12 };
    uint64_t va = at(env, 1, 0);
    struct racer r[2];
    pthread_t threads[2];
    pthread_barrier_t start;

    do_map(env, ASPACE_KIND_LAZY, va, PAGES * PAGE, env->rw);
    pthread_barrier_init(&start, NULL, 2);
    for (unsigned i = 0; i < 2; i++) {
        r[i] = (struct racer){env, i + 1, va, PAGES, 0, 0, 0, &start};
        CHECK_EQ(pthread_create(&threads[i], NULL, race_faults, &r[i]), 0);
    }
    join_offline(env, threads, 2);
    pthread_barrier_destroy(&start);
    CHECK_EQ(r[0].other + r[1].other, 0);
    CHECK(r[0].done + r[1].done <= PAGES);
    CHECK_EQ(r[0].done + r[1].done + r[0].spurious + r[1].spurious, 2 * PAGES);
    CHECK_EQ(frames_held(env), PAGES);
    aspace_trim(env->host);
    CHECK_EQ(ledger(env).data, PAGES);
    for (unsigned n = 0; n < PAGES; n++) {
        CHECK_EQ(peek(env, va + n * PAGE), 0);
    }
}

/* ------------------------------------------------------------------------------------------ 2: part of a large page */

static int change_part(struct env *env, unsigned what, uint64_t part)
{
    switch (what) {
    case 0: return aspace_unmap(env->space, part, PAGE);
    case 1: return aspace_protect(env->space, part, PAGE, env->ro);
    case 2: return aspace_protect(env->space, part, PAGE, 0);
    default: return aspace_discard(env->space, part, PAGE);
    }
}

static void s02_part_of_huge_without_memory(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 0);

    do_map(env, ASPACE_KIND_EAGER, va, big, env->rw);
    for (uint64_t off = 0; off < big; off += 2 * PAGE) {
        poke(env, va + off, off);
    }
    uint64_t *entry = aspace_phys_to_virt(walk(env, va).entry_pa);
    *entry = naive_used(&env->config, *entry, true);
    uint64_t value = *entry;
    for (unsigned what = 0; what < 4; what++) {
        struct snapshot *before = snapshot_take(env);
        aspace_trim(env->host);
        for (uint64_t n = 1; n < 8; n++) {
            uint64_t failed = ledger(env).failed;
            arena_fail_from(&env->machine.arena, n);
            int error = change_part(env, what, va + PAGE);
            arena_fail_nth(&env->machine.arena, 0);
            if (error == ASPACE_OK) {
                CHECK(n > 1 || ledger(env).failed == failed); /* memory that was at hand */
                break;
            }
            CHECK_ERROR(error, ASPACE_E_NO_MEMORY);
            snapshot_same(env, before, "a part of a large page");
            CHECK_EQ(*entry, value);
        }
        snapshot_free(before);
        CHECK_OK(aspace_clear(env->space));
        do_map(env, ASPACE_KIND_EAGER, va, big, env->rw);
        entry = aspace_phys_to_virt(walk(env, va).entry_pa);
        value = *entry;
    }
}

static void s02_rest_of_huge_stays(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 0);

    for (unsigned what = 0; what < 4; what++) {
        do_map(env, ASPACE_KIND_EAGER, va, big, env->rw);
        uint64_t *entry = aspace_phys_to_virt(walk(env, va).entry_pa);
        *entry = naive_used(&env->config, *entry, what % 2 == 0);
        uint64_t pa = agree(env, va).pa;
        for (uint64_t off = 0; off < big; off += PAGE) {
            poke(env, va + off, off + 77);
        }
        CHECK_OK(change_part(env, what, va + big / 2));
        for (uint64_t off = 0; off < big; off += PAGE) {
            if (off == big / 2) {
                continue;
            }
            expect_leaf(env, va + off, pa + off, env->rw);
            uint64_t small = *(uint64_t *)aspace_phys_to_virt(walk(env, va + off).entry_pa);
            CHECK_EQ(naive_used(&env->config, small, what % 2 == 0), small);
            CHECK_EQ(peek(env, va + off), off + 77);
        }
        CHECK_OK(aspace_unmap(env->space, va, big));
        CHECK_EQ(frames_held(env), 0);
    }
}

/* ---------------------------------------------------------------------------------------- 3: large where small were */

static void s03_huge_where_small_were(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 0);

    for (unsigned round = 0; round < 2; round++) {
        do_map(env, ASPACE_KIND_LAZY, va, big, env->rw);
        for (uint64_t off = 0; off < big; off += 3 * PAGE) {
            poke(env, va + off, off);
        }
        CHECK_OK(aspace_protect(env->space, va + PAGE, PAGE, env->ro));
        CHECK_OK(aspace_unmap(env->space, va, big));
        do_map(env, ASPACE_KIND_EAGER, va, big, env->rw);
        CHECK_EQ(agree(env, va + PAGE).leaf_bytes, big);
        CHECK_EQ(peek(env, va), 0);
        CHECK_OK(aspace_unmap(env->space, va, big));
    }
    while (aspace_sweep(env->space, 100) != 0) {}
    struct aspace_config config = env->config;
    uint64_t swept = tables_held(env);
    recreate(env, &config);
    CHECK_EQ(swept, tables_held(env)); /* nothing but the root was left */
}

/* ----------------------------------------------------------------------------------------------------- 4, 5: ranges */

static void s04_ranges(struct env *env)
{
    uint64_t size = env->end - env->base;

    do_map(env, ASPACE_KIND_LAZY, env->end - 2 * PAGE, 2 * PAGE, env->rw);
    touch(env, env->end - 1, ASPACE_W);
    CHECK_ERROR(aspace_unmap(env->space, env->end - PAGE, 0), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_unmap(env->space, env->end - PAGE / 2, PAGE / 2), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_unmap(env->space, env->end - PAGE, 2 * PAGE), ASPACE_E_RANGE);
    CHECK_ERROR(aspace_unmap(env->space, env->end - PAGE, UINT64_MAX - PAGE + 1), ASPACE_E_RANGE);
    CHECK_ERROR(aspace_unmap(env->space, env->base, size + PAGE), ASPACE_E_RANGE);
    CHECK(agree(env, env->end - 1).present);
    CHECK_OK(aspace_unmap(env->space, env->end - PAGE, PAGE));
    CHECK_OK(aspace_unmap(env->space, env->base, size));
    CHECK_OK(aspace_unmap(env->space, env->base, size));
    struct aspace_area area;
    CHECK_ERROR(aspace_next(env->space, env->base, &area), ASPACE_E_NOT_MAPPED);
}

/* What is above the width of the format does not show what is below it. */
static void s04_no_alias(struct env *env)
{
    struct aspace_translation t;
    uint64_t width = naive_input_end(env->config.format), value;

    do_map(env, ASPACE_KIND_EAGER, env->base, PAGE, env->rw);
    for (unsigned bit = 12; bit < 64; bit++) {
        uint64_t alias = env->base ^ (UINT64_C(1) << bit);
        if (alias < width && alias >= env->base && alias < env->end) {
            expect_absent(env, alias);
            continue;
        }
        CHECK_ERROR(aspace_translate(env->space, alias, &t), ASPACE_E_RANGE);
        CHECK_ERROR(aspace_read(env->space, alias, &value, 8, NULL), ASPACE_E_RANGE);
        CHECK_FAULT(aspace_fault(env->space, alias, ASPACE_R, NULL), ASPACE_FAULT_NO_AREA);
    }
}

static void s05_host_above_and_below(struct env *env)
{
    uint64_t va = at(env, 1, 2), size = env->span[1] + PAGE;
    const uint64_t pa[] = {PAGE, va + env->span[1] + 5 * PAGE, highest_pa(env, size)};

    for (unsigned i = 0; i < 3; i++) {
        if (pa[i] + size > naive_output_end(&env->config)) {
            continue;
        }
        do_linear(env, va, size, env->rw, pa[i]);
        for (uint64_t off = 0; off < size; off += env->span[1] / 2) {
            expect_leaf(env, va + off, pa[i] + off, env->rw);
            CHECK_EQ(query(env, va + off).pa, pa[i] + (query(env, va + off).va - va));
        }
        expect_leaf(env, va + size - 1, pa[i] + size - 1, env->rw);
        CHECK_OK(aspace_unmap(env->space, va, size));
    }
}

/* ----------------------------------------------------------------------------------------- 6, 7: over what is there */

static void s06_every_size_over_every_size(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 1);
    const uint64_t sizes[] = {PAGE, env->run_pages * PAGE, big, big + PAGE};

    for (unsigned there = 0; there < 4; there++) {
        for (unsigned over = 0; over < 4; over++) {
            for (unsigned filled = 0; filled < 3; filled++) {
                enum aspace_kind kind = filled == 2 ? ASPACE_KIND_EAGER : ASPACE_KIND_LAZY;
                do_map(env, kind, va, sizes[there], env->rw);
                if (filled == 1) {
                    touch(env, va + sizes[there] - PAGE, ASPACE_W);
                }
                struct snapshot *before = snapshot_take(env);
                struct aspace_range culprit = {0, 0};
                struct aspace_map m = request_linear(va, sizes[over], env->rw, device_pa(env, 2 * big));
                CHECK_ERROR(aspace_map(env->space, &m, &culprit), ASPACE_E_EXISTS);
                CHECK(culprit.va >= va && culprit.va + culprit.size <= va + sizes[there] && culprit.size != 0);
                snapshot_same(env, before, "a refused map");
                snapshot_free(before);
                m.flags = ASPACE_MAP_REPLACE;
                CHECK_OK(aspace_map(env->space, &m, &culprit));
                expect_leaf(env, va + sizes[over] - 1, m.pa + sizes[over] - 1, env->rw);
                CHECK_EQ(mapped(env, va + sizes[over]), sizes[there] > sizes[over]);
                CHECK_OK(aspace_unmap(env->space, va, 2 * big));
                CHECK_EQ(frames_held(env), 0);
            }
        }
    }
}

struct watcher {
    struct env *env;
    uint64_t va;
    bool stop;
    unsigned looks, missing, odd;
};

static void *watch(void *arg)
{
    struct watcher *w = arg;
    struct aspace_area area;

    aspace_linux_set_cpu(1);
    if (w->env->variant->smr == ASPACE_SMR_QSBR) {
        aspace_cpu_online(w->env->host);
    }
    while (!__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE)) {
        enum aspace_fault_result result = aspace_fault(w->env->space, w->va + PAGE, ASPACE_R, NULL);
        w->missing += result == ASPACE_FAULT_NO_AREA;
        w->odd += result != ASPACE_FAULT_DONE && result != ASPACE_FAULT_SPURIOUS && result != ASPACE_FAULT_RETRY &&
                  result != ASPACE_FAULT_NO_AREA;
        int error = aspace_query(w->env->space, w->va + PAGE, &area);
        w->missing += error == ASPACE_E_NOT_MAPPED;
        w->odd += error != ASPACE_OK && error != ASPACE_E_RETRY && error != ASPACE_E_NOT_MAPPED;
        __atomic_store_n(&w->looks, w->looks + 1, __ATOMIC_RELEASE);
        aspace_quiescent(w->env->host);
    }
    if (w->env->variant->smr == ASPACE_SMR_QSBR) {
        aspace_cpu_offline(w->env->host);
    }
    return NULL;
}

/* While a range is replaced again and again, another CPU never sees that nothing is mapped there. */
static void s06_replace_never_shows_a_hole(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    struct watcher w = {env, va, false, 0, 0, 0};
    pthread_t thread;

    do_map(env, ASPACE_KIND_LAZY, va, 3 * PAGE, env->rw);
    CHECK_EQ(pthread_create(&thread, NULL, watch, &w), 0);
    while (__atomic_load_n(&w.looks, __ATOMIC_ACQUIRE) == 0) {
        sched_yield();
    }
    int error = ASPACE_OK;
    for (unsigned n = 0; n < 400 && error == ASPACE_OK; n++) {
        struct aspace_map m = request(n % 3 == 0 ? ASPACE_KIND_EAGER : ASPACE_KIND_LAZY, va, (2 + n % 2) * PAGE,
                                      n % 2 ? env->ro : env->rw);
        m.flags = ASPACE_MAP_REPLACE;
        error = aspace_map(env->space, &m, NULL);
        aspace_quiescent(env->host);
        if (n % 16 == 0) {
            sched_yield();
        }
    }
    __atomic_store_n(&w.stop, true, __ATOMIC_RELEASE);
    join_offline(env, &thread, 1);
    CHECK_OK(error);
    CHECK_EQ(w.missing, 0);
    CHECK_EQ(w.odd, 0);
    CHECK(w.looks > 0);
}

static void s07_replace_three_without_memory(struct env *env)
{
    uint64_t va = at(env, 1, 1), size = env->span[1];

    do_map(env, ASPACE_KIND_EAGER, va - 2 * PAGE, 4 * PAGE, env->rw);
    do_linear(env, va + 2 * PAGE, size - 3 * PAGE, env->rw, device_pa(env, size));
    do_map(env, ASPACE_KIND_LAZY, va + size - PAGE, 3 * PAGE, env->rw);
    poke(env, va + PAGE, 1);
    poke(env, va + size, 2);
    aspace_trim(env->host);
    struct snapshot *before = snapshot_take(env);
    struct aspace_map m = request(ASPACE_KIND_EAGER, va, size + PAGE, env->ro);
    m.flags = ASPACE_MAP_REPLACE;
    m.max_leaf_level = 1;
    uint64_t data = ledger(env).data, n = 1;
    for (;; n += 1 + n / 8) {
        arena_fail_nth(&env->machine.arena, n);
        uint64_t failed = ledger(env).failed;
        int error = aspace_map(env->space, &m, NULL);
        arena_fail_nth(&env->machine.arena, 0);
        if (error == ASPACE_OK) {
            CHECK(n > 1);
            break;
        }
        CHECK_ERROR(error, ASPACE_E_NO_MEMORY);
        CHECK_EQ(ledger(env).failed, failed + 1);
        snapshot_same(env, before, "a replace without memory");
        audit(env);
        aspace_trim(env->host);
        CHECK_EQ(ledger(env).data, data);
    }
    snapshot_free(before);
    CHECK_EQ(query(env, va + 3 * PAGE).kind, ASPACE_KIND_EAGER);
    CHECK_EQ(frames_held(env), size / PAGE + 1 + 2);
}

/* ---------------------------------------------------------------------------------------------- 8: to none and back */

static void s08_none_and_back(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 0);

    cpu_enter(env, 1);
    do_map(env, ASPACE_KIND_EAGER, va, big, env->rw); /* large where there are large ones */
    do_map(env, ASPACE_KIND_LAZY, va + big, 4 * PAGE, env->rw);
    poke(env, va + PAGE, 1);
    poke(env, va + big + PAGE, 2);
    uint64_t pa = cpu_run(env, 1, va + PAGE, ASPACE_W), frames = frames_held(env);
    for (unsigned round = 0; round < 3; round++) {
        CHECK_OK(aspace_protect(env->space, va, big + 4 * PAGE, 0));
        for (uint64_t off = 0; off < big + 4 * PAGE; off += PAGE) {
            expect_absent(env, va + off);
        }
        CHECK_EQ(cpu_run(env, 1, va + PAGE, ASPACE_R), ASPACE_PA_NONE);
        CHECK_FAULT(aspace_fault(env->space, va + big + 2 * PAGE, ASPACE_R, NULL), ASPACE_FAULT_PERMISSION);
        CHECK_EQ(frames_held(env), frames);
        audit(env);
        CHECK_OK(aspace_protect(env->space, va, big + 4 * PAGE, env->rw));
        CHECK_EQ(cpu_run(env, 1, va + PAGE, ASPACE_W), pa);
        CHECK_EQ(peek(env, va + PAGE), 1);
        CHECK_EQ(peek(env, va + big + PAGE), 2);
        CHECK_EQ(frames_held(env), frames);
    }
}

/* ----------------------------------------------------------------------------------------- 9: everything reads back */

static void s09_reads_back(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    for (uint32_t attr = 0; attr < ASPACE_ATTR_COUNT; attr++) {
        for (uint32_t rights = 1; rights < 16; rights++) {
            struct aspace_map m = request_linear(va, 2 * PAGE, rights, device_pa(env, PAGE) + PAGE);
            m.attr = attr;
            if (!expressible(env, rights) || !attr_expressible(env, attr)) {
                CHECK_ERROR(aspace_map(env->space, &m, NULL), ASPACE_E_UNSUPPORTED);
                continue;
            }
            CHECK_OK(aspace_map(env->space, &m, NULL));
            struct naive_result r = agree(env, va + PAGE);
            CHECK_EQ(r.rights, rights);
            CHECK_EQ(r.attr, attr_class(env, attr));
            CHECK_EQ(r.pa, m.pa + PAGE);
            CHECK_EQ(query(env, va).rights, rights);
            CHECK_EQ(attr_class(env, query(env, va).attr), attr_class(env, attr));
            CHECK_OK(aspace_unmap(env->space, va, 2 * PAGE));
        }
    }
}

/* -------------------------------------------------------------------------------------------- 10: limit, any layout */

static uint64_t plain_limit(struct env *env, uint64_t va, uint64_t end)
{
    struct naive_result first = walk(env, va);
    uint64_t n = PAGE - va % PAGE;

    while (va + n < end) {
        struct naive_result r = walk(env, va + n);
        if (!r.present || r.pa != first.pa + n || r.rights != first.rights || r.attr != first.attr) {
            break;
        }
        n += PAGE;
    }
    return n;
}

static void s10_limit_of_random_layouts(struct env *env)
{
    enum { PAGES = 20 };
    uint64_t va = at(env, 1, 0) + PAGE, seed = harness_seed();
    struct aspace_translation t;

    for (unsigned layout = 0; layout < 6; layout++) {
        for (unsigned n = 0; n < PAGES;) {
            uint64_t x = random_next(&seed);
            unsigned pages = 1 + (unsigned)(x % 4);
            pages = n + pages > PAGES ? PAGES - n : pages;
            uint32_t rights = (x >> 8) % 3 ? env->rw : env->ro;
            if ((x >> 16) % 4 != 0) {
                do_linear(env, va + n * PAGE, pages * PAGE, rights,
                          device_pa(env, PAGE) + (n + (x >> 20) % 5 / 4) * PAGE);
            }
            n += pages;
        }
        for (unsigned n = 0; n < PAGES; n++) {
            uint64_t from = va + n * PAGE + random_next(&seed) % PAGE;
            if (!walk(env, from).present) {
                CHECK_ERROR(aspace_translate_limit(env->space, from, 100, &t), ASPACE_E_NOT_MAPPED);
                continue;
            }
            uint64_t length = plain_limit(env, from, va + PAGES * PAGE), cap = 1 + random_next(&seed) % (4 * PAGE);
            CHECK_OK(aspace_translate_limit(env->space, from, UINT64_MAX, &t));
            CHECK_EQ(t.length, length);
            CHECK_OK(aspace_translate_limit(env->space, from, cap, &t));
            CHECK_EQ(t.length, cap < length ? cap : length);
        }
        CHECK_OK(aspace_unmap(env->space, va, PAGES * PAGE));
    }
}

/* ------------------------------------------------------------------------------------------------------- 11: copies */

static void s11_copies(struct env *env)
{
    uint64_t va = at(env, 1, 1) - 3 * PAGE, seed = harness_seed();
    enum { BYTES = 7 * 4096 };
    static uint8_t shadow[BYTES], buffer[BYTES + 4096];

    memset(shadow, 0, sizeof(shadow));
    do_map(env, ASPACE_KIND_EAGER, va, 2 * PAGE, env->rw);
    do_map(env, ASPACE_KIND_LAZY, va + 2 * PAGE, 5 * PAGE, env->rw); /* then a hole */
    for (unsigned round = 0; round < 60; round++) {
        uint64_t from = random_next(&seed) % BYTES, n = 1 + random_next(&seed) % (2 * PAGE + 100);
        uint64_t inside = from + n > BYTES ? BYTES - from : n;
        size_t done = 99999;
        memset(buffer, (int)(round + 1), n);
        int error = aspace_write(env->space, va + from, buffer, n, &done);
        CHECK_ERROR(error, inside == n ? ASPACE_OK : ASPACE_E_NOT_MAPPED);
        CHECK_EQ(done, inside);
        memset(shadow + from, (int)(round + 1), inside);
        from = random_next(&seed) % BYTES;
        inside = from + n > BYTES ? BYTES - from : n;
        memset(buffer, 0xdd, sizeof(buffer));
        error = aspace_read(env->space, va + from, buffer, n, &done);
        CHECK_ERROR(error, inside == n ? ASPACE_OK : ASPACE_E_NOT_MAPPED);
        CHECK_EQ(done, inside);
        CHECK(memcmp(buffer, shadow + from, inside) == 0);
        CHECK_EQ(buffer[inside], 0xdd);
    }
    CHECK(!mapped(env, va + BYTES));
}

/* ----------------------------------------------------------------------------------------------------- 14: anywhere */

static bool operation_applies(const struct env *env, const struct operation *o)
{
    return !((o->needs & NEEDS_HUGE) && env->huge_level < 1) && !((o->needs & NEEDS_GIANT) && env->huge_level < 2) &&
           !((o->needs & NEEDS_RUNS) && env->run_pages == 1);
}

/* Destroyed before, after, and after a failure of every operation; the frames are counted each time. */
static void s14_destroy_at_any_point(struct env *env)
{
    for (size_t i = 0; i < operation_count; i++) {
        const struct operation *o = &operations[i];
        for (unsigned point = 0; point < 3 && operation_applies(env, o); point++) {
            if (o->prepare) {
                o->prepare(env);
            }
            if (point == 1) {
                CHECK_OK(o->run(env));
            } else if (point == 2) {
                arena_fail_from(&env->machine.arena, 1 + i % 3);
                int error = o->run(env);
                arena_fail_nth(&env->machine.arena, 0);
                CHECK(error == ASPACE_OK || error == ASPACE_E_NO_MEMORY);
            }
            destroy(env);
            aspace_trim(env->host);
            CHECK_EQ(ledger(env).frames, 0);
            CHECK_EQ(aspace_linux_violations(&env->machine), 0);
            env->destroyed = false;
            CHECK_OK(aspace_create(env->space, env->host, &env->config));
            env->sim_space.root = aspace_root(env->space);
        }
    }
}

/* -------------------------------------------------------------------------------------------- 40: TLBs and lifetime */

static struct {
    uint64_t va, pa, table;
    unsigned calls, early;
} flight;

/* While the flush is in flight CPU 1 still writes through what it remembers: to a frame that is still the area's. */
static void write_in_flight(struct env *env)
{
    flight.calls++;
    uint64_t pa = cpu_access(env, 1, flight.va, ASPACE_W);
    if (pa != ASPACE_PA_NONE) {
        *(uint64_t *)aspace_phys_to_virt(pa) = 0x57a1e;
        flight.early += pa != flight.pa;
    }
    flight.early += arena_generation(&env->machine.arena, flight.pa) % 2 == 0;
    if (flight.table != 0) {
        flight.early += arena_generation(&env->machine.arena, flight.table) % 2 == 0;
    }
}

static void begin_flight(struct env *env, uint64_t va)
{
    memset(&flight, 0, sizeof(flight));
    cpu_enter(env, 1);
    flight.va = va;
    flight.pa = cpu_run(env, 1, va, ASPACE_W);
    CHECK(flight.pa != ASPACE_PA_NONE);
    env->window = write_in_flight;
}

static void end_flight(struct env *env)
{
    env->window = NULL;
    CHECK(flight.calls > 0);
    CHECK_EQ(flight.early, 0);
    CHECK_EQ(aspace_linux_violations(&env->machine), 0);
}

static void s40_frame_waits_for_flush(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    for (unsigned what = 0; what < 4; what++) {
        do_map(env, ASPACE_KIND_LAZY, va, 3 * PAGE, env->rw);
        begin_flight(env, va + PAGE);
        switch (what) {
        case 0: CHECK_OK(aspace_unmap(env->space, va + PAGE, PAGE)); break;
        case 1: CHECK_OK(aspace_discard(env->space, va, 3 * PAGE)); break;
        case 2: CHECK_OK(aspace_migrate(env->space, va + PAGE, ASPACE_PA_NONE)); break;
        default: CHECK_OK(aspace_clear(env->space)); break;
        }
        end_flight(env);
        CHECK(what == 2 || cpu_access(env, 1, va + PAGE, ASPACE_R) == ASPACE_PA_NONE);
        aspace_trim(env->host);
        CHECK_EQ(aspace_linux_violations(&env->machine), 0);
        cpu_leave(env, 1);
        CHECK_OK(aspace_clear(env->space));
        aspace_trim(env->host);
        CHECK_EQ(ledger(env).data, 0);
    }
}

/* A table of which a CPU remembers the way to it. */
static void s40_table_waits_for_flush(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 1);

    do_map(env, ASPACE_KIND_EAGER, va + PAGE, PAGE, env->rw);
    begin_flight(env, va + PAGE);
    struct naive_result r = walk(env, va + PAGE);
    flight.table = r.table_pa[r.tables - 1];
    struct aspace_map m = request_linear(va, big, env->rw, device_pa(env, big));
    m.flags = ASPACE_MAP_REPLACE;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    end_flight(env);
    aspace_trim(env->host);
    CHECK_EQ(aspace_linux_violations(&env->machine), 0);
    CHECK_EQ(cpu_run(env, 1, va + PAGE, ASPACE_R), m.pa + PAGE);
    CHECK_EQ(cpu_run(env, 1, va + 3 * PAGE, ASPACE_W), m.pa + 3 * PAGE);
}

/* A CPU that was not in the space at the time of the change does not see the old one when it comes back. */
static void s40_inactive_cpu_catches_up(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    do_map(env, ASPACE_KIND_LAZY, va, 2 * PAGE, env->rw);
    cpu_enter(env, 1);
    CHECK(cpu_run(env, 1, va, ASPACE_W) != ASPACE_PA_NONE);
    cpu_leave(env, 1);
    CHECK_OK(aspace_unmap(env->space, va, PAGE));
    do_linear(env, va, PAGE, env->rw, device_pa(env, PAGE));
    cpu_enter(env, 1);
    CHECK_EQ(cpu_run(env, 1, va, ASPACE_W), device_pa(env, PAGE));
    aspace_trim(env->host);
    CHECK_EQ(aspace_linux_violations(&env->machine), 0);
}

/* A pointer of a reader's is good to the end of its section, whatever others unmap. */
static void s40_reader_holds_frame(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    struct aspace_translation t;

    do_map(env, ASPACE_KIND_LAZY, va, PAGE, env->rw);
    poke(env, va, 0x600d);
    aspace_linux_set_cpu(2);
    if (env->variant->smr == ASPACE_SMR_QSBR) {
        aspace_cpu_online(env->host);
    }
    aspace_read_begin(env->host);
    CHECK_OK(aspace_translate(env->space, va, &t));
    aspace_linux_set_cpu(0);
    CHECK_OK(aspace_unmap(env->space, va, PAGE));
    aspace_quiescent(env->host);
    (void)aspace_drain(env->host);
    CHECK_EQ(*(const uint64_t *)aspace_phys_to_virt(t.pa), 0x600d);
    CHECK_EQ(arena_generation(&env->machine.arena, t.pa) % 2, 1);
    aspace_linux_set_cpu(2);
    aspace_read_end(env->host);
    aspace_cpu_offline(env->host);
    aspace_linux_set_cpu(0);
    aspace_trim(env->host);
    CHECK_EQ(ledger(env).data, 0);
}

/* ----------------------------------------------------------------------------------------- 44: a large sparse space */

static void s44_close_sparse_in_steps(struct env *env)
{
    enum { STEP = 64 << 20, BUDGET = 16 };
    uint64_t va = at(env, 2, 0), size = UINT64_C(64) << 30;
    struct aspace_config small = {
        .format = env->config.format, .size = 64 * PAGE, .tag = 3, .features = env->config.features};
    static uint64_t memory[8192];
    struct aspace *other = (struct aspace *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);

    CHECK(aspace_bytes(env->host) + 64 <= sizeof(memory));
    CHECK_OK(aspace_create(other, env->host, &small));
    struct aspace_map m = request(ASPACE_KIND_LAZY, 0, 64 * PAGE, env->rw);
    CHECK_OK(aspace_map(other, &m, NULL));
    m = request(ASPACE_KIND_LAZY, va, size, env->rw);
    m.max_leaf_level = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    for (uint64_t off = 0; off < size; off += STEP) {
        touch(env, va + off, ASPACE_W);
    }
    CHECK_EQ(frames_held(env), size / STEP);
    uint64_t tables = tables_held(env);
    aspace_close(env->space);
    unsigned steps = 0, faults = 0;
    int error;
    do {
        error = aspace_destroy_step(env->space, BUDGET);
        if (steps % 8 == 0 && faults < 64) { /* others are served in between */
            CHECK_FAULT(aspace_fault(other, faults++ * PAGE, ASPACE_W, NULL), ASPACE_FAULT_DONE);
        }
        CHECK(++steps < 100000);
    } while (error == ASPACE_E_MORE);
    CHECK_OK(error);
    CHECK(steps >= tables / BUDGET / 4);
    env->destroyed = true;
    CHECK_OK(aspace_destroy(other));
}

static const struct test tests[] = {
    {"s01_second_fault_is_spurious", s01_second_fault_is_spurious, 0},
    {"s01_two_cpus_at_once", s01_two_cpus_at_once, 0},
    {"s02_part_of_huge_without_memory", s02_part_of_huge_without_memory, NEEDS_HUGE},
    {"s02_rest_of_huge_stays", s02_rest_of_huge_stays, NEEDS_HUGE},
    {"s03_huge_where_small_were", s03_huge_where_small_were, NEEDS_HUGE},
    {"s04_ranges", s04_ranges, 0},
    {"s04_no_alias", s04_no_alias, 0},
    {"s05_host_above_and_below", s05_host_above_and_below, 0},
    {"s06_every_size_over_every_size", s06_every_size_over_every_size, NEEDS_FEW},
    {"s06_replace_never_shows_a_hole", s06_replace_never_shows_a_hole, 0},
    {"s07_replace_three_without_memory", s07_replace_three_without_memory, 0},
    {"s08_none_and_back", s08_none_and_back, 0},
    {"s09_reads_back", s09_reads_back, 0},
    {"s10_limit_of_random_layouts", s10_limit_of_random_layouts, 0},
    {"s11_copies", s11_copies, 0},
    {"s14_destroy_at_any_point", s14_destroy_at_any_point, NEEDS_SAMPLE},
    {"s40_frame_waits_for_flush", s40_frame_waits_for_flush, DELAYED},
    {"s40_table_waits_for_flush", s40_table_waits_for_flush, DELAYED},
    {"s40_inactive_cpu_catches_up", s40_inactive_cpu_catches_up, 0},
    {"s40_reader_holds_frame", s40_reader_holds_frame, 0},
    {"s44_close_sparse_in_steps", s44_close_sparse_in_steps, NEEDS_PLAIN | NEEDS_ROOM},
};
const struct suite scenario_suite = SUITE(tests);
