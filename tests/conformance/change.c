/* SPDX-License-Identifier: BSD-2-Clause */
/* What changes a mapping without ending it: protect, discard, populate, faults and fault-around. */
#include <string.h>

#include "suites.h"

/* ---------------------------------------------------------------------------------------------------------- protect */

/* Every change from one expressible set of rights to another, on filled and unfilled pages. */
static void protect_all_pairs(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    for (uint32_t from = 1; from < 16; from++) {
        for (uint32_t to = 1; to < 16; to++) {
            if (!expressible(env, from)) {
                continue;
            }
            struct aspace_map m = request(ASPACE_KIND_LAZY, va, 3 * PAGE, from);
            m.max_rights = 15;
            CHECK_OK(aspace_map(env->space, &m, NULL));
            struct aspace_map linear = request_linear(va + 3 * PAGE, PAGE, from, device_pa(env, PAGE));
            linear.max_rights = 15;
            CHECK_OK(aspace_map(env->space, &linear, NULL));
            uint64_t done;
            CHECK_OK(aspace_populate(env->space, va, PAGE, &done));
            uint64_t pa = agree(env, va).pa;
            int error = aspace_protect(env->space, va, 4 * PAGE, to);
            CHECK_ERROR(error, expressible(env, to) ? ASPACE_OK : ASPACE_E_UNSUPPORTED);
            uint32_t now = expressible(env, to) ? to : from;
            expect_leaf(env, va, pa, now);
            expect_leaf(env, va + 3 * PAGE, linear.pa, now);
            CHECK(!agree(env, va + PAGE).present);
            CHECK_OK(aspace_populate(env->space, va + PAGE, PAGE, &done));
            CHECK_EQ(agree(env, va + PAGE).rights, now);
            CHECK_EQ(query(env, va + 2 * PAGE).rights, now);
            CHECK_OK(aspace_unmap(env->space, va, 4 * PAGE));
        }
    }
}

/* Any part of several areas; neighbours keep theirs. */
static void protect_parts(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    enum { PAGES = 8 };

    for (unsigned from = 0; from < PAGES; from++) {
        for (unsigned to = from + 1; to <= PAGES; to++) {
            do_map(env, ASPACE_KIND_EAGER, va, 3 * PAGE, env->rw);
            do_map(env, ASPACE_KIND_LAZY, va + 3 * PAGE, 3 * PAGE, env->rw);
            do_linear(env, va + 6 * PAGE, 2 * PAGE, env->rw, device_pa(env, PAGE));
            touch(env, va + 4 * PAGE, ASPACE_W);
            CHECK_OK(aspace_protect(env->space, va + from * PAGE, (to - from) * PAGE, env->ro));
            for (unsigned n = 0; n < PAGES; n++) {
                uint32_t rights = n >= from && n < to ? env->ro : env->rw;
                CHECK_EQ(query(env, va + n * PAGE).rights, rights);
                struct naive_result r = agree(env, va + n * PAGE);
                CHECK_EQ(r.present, n != 3 && n != 5);
                CHECK(!r.present || r.rights == rights);
            }
            CHECK_OK(aspace_unmap(env->space, va, PAGES * PAGE));
        }
    }
}

/* A hole, or rights beyond the maximum of one of the areas: nothing changes at all. */
static void protect_refused(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    struct aspace_map limited = request(ASPACE_KIND_EAGER, va + 2 * PAGE, PAGE, env->ro);

    do_map(env, ASPACE_KIND_EAGER, va, 2 * PAGE, env->ro);
    CHECK_OK(aspace_map(env->space, &limited, NULL));
    do_map(env, ASPACE_KIND_EAGER, va + 4 * PAGE, 2 * PAGE, env->ro);
    struct snapshot *before = snapshot_take(env);
    CHECK_ERROR(aspace_protect(env->space, va, 3 * PAGE, env->rw), ASPACE_E_PERMISSION);
    CHECK_ERROR(aspace_protect(env->space, va, 6 * PAGE, env->ro), ASPACE_E_NOT_MAPPED);
    CHECK_ERROR(aspace_protect(env->space, va + 4 * PAGE, 3 * PAGE, env->ro), ASPACE_E_NOT_MAPPED);
    CHECK_ERROR(aspace_protect(env->space, va + 8 * PAGE, PAGE, env->ro), ASPACE_E_NOT_MAPPED);
    snapshot_same(env, before, "a refused protect");
    snapshot_free(before);
    CHECK_OK(aspace_protect(env->space, va, 2 * PAGE, env->rw));
}

/* No rights at all: no access, by MMU or library, and the contents are there afterwards. */
static void protect_none(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    uint64_t value = 0;

    do_map(env, ASPACE_KIND_EAGER, va, 2 * PAGE, env->rw);
    do_map(env, ASPACE_KIND_LAZY, va + 2 * PAGE, 2 * PAGE, env->rw);
    do_linear(env, va + 4 * PAGE, PAGE, env->rw, device_pa(env, PAGE));
    poke(env, va, 11);
    poke(env, va + 2 * PAGE, 22);
    uint64_t frames = frames_held(env), pa = agree(env, va).pa;
    CHECK_OK(aspace_protect(env->space, va, 5 * PAGE, 0));
    for (unsigned n = 0; n < 5; n++) {
        expect_absent(env, va + n * PAGE);
        CHECK_FAULT(aspace_fault(env->space, va + n * PAGE, ASPACE_R, NULL), ASPACE_FAULT_PERMISSION);
        CHECK_ERROR(aspace_read(env->space, va + n * PAGE, &value, 8, NULL), ASPACE_E_PERMISSION);
        CHECK_EQ(query(env, va + n * PAGE).rights, 0);
    }
    CHECK_EQ(frames_held(env), frames);
    audit(env);
    CHECK_OK(aspace_protect(env->space, va, 5 * PAGE, env->rw));
    expect_leaf(env, va, pa, env->rw);
    CHECK_EQ(peek(env, va), 11);
    CHECK_EQ(peek(env, va + 2 * PAGE), 22);
    CHECK_EQ(peek(env, va + 3 * PAGE), 0);
    expect_leaf(env, va + 4 * PAGE, device_pa(env, PAGE), env->rw);
    CHECK_OK(aspace_protect(env->space, va, 5 * PAGE, 0));
    CHECK_OK(aspace_unmap(env->space, va, 5 * PAGE)); /* frames without rights are given back too */
    CHECK_EQ(frames_held(env), 0);
}

/* An area that begins without rights: lazily reserved address space. */
static void map_without_rights(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, 4 * PAGE, 0);

    m.max_rights = env->rw;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_FAULT(aspace_fault(env->space, va, ASPACE_R, NULL), ASPACE_FAULT_PERMISSION);
    CHECK_EQ(frames_held(env), 0);
    CHECK_OK(aspace_protect(env->space, va + PAGE, PAGE, env->rw));
    touch(env, va + PAGE, ASPACE_W);
    CHECK_EQ(peek(env, va + PAGE), 0);
    CHECK_FAULT(aspace_fault(env->space, va + 2 * PAGE, ASPACE_R, NULL), ASPACE_FAULT_PERMISSION);
}

/* A right that is taken away is gone from every CPU's TLB on return; one that is added needs no flush. */
static void protect_reaches_cpus(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    cpu_enter(env, 1);
    cpu_enter(env, 2);
    do_map(env, ASPACE_KIND_EAGER, va, 2 * PAGE, env->rw);
    uint64_t pa = agree(env, va).pa;
    CHECK_EQ(cpu_run(env, 1, va, ASPACE_W), pa);
    CHECK_EQ(cpu_run(env, 2, va, ASPACE_R), pa);
    CHECK_OK(aspace_protect(env->space, va, PAGE, env->ro));
    CHECK_EQ(cpu_access(env, 1, va, ASPACE_W), ASPACE_PA_NONE);
    CHECK_EQ(cpu_run(env, 1, va, ASPACE_R), pa);
    CHECK_EQ(cpu_run(env, 1, va, ASPACE_W), ASPACE_PA_NONE);
    CHECK_OK(aspace_protect(env->space, va, PAGE, env->rw));
    CHECK_EQ(cpu_run(env, 1, va, ASPACE_W), pa); /* by a spurious fault at most */
    uint64_t second = cpu_run(env, 2, va + PAGE, ASPACE_W);
    CHECK_EQ(second, agree(env, va + PAGE).pa);
    CHECK_OK(aspace_protect(env->space, va, 2 * PAGE, 0));
    for (unsigned cpu = 1; cpu <= 2; cpu++) {
        CHECK_EQ(cpu_access(env, cpu, va, ASPACE_R), ASPACE_PA_NONE);
        CHECK_EQ(cpu_access(env, cpu, va + PAGE, ASPACE_R), ASPACE_PA_NONE);
    }
}

/* What hardware recorded in a leaf is neither lost nor made up when rights change. */
static void protect_keeps_used(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    do_map(env, ASPACE_KIND_EAGER, va, 3 * PAGE, env->rw);
    uint64_t entry_pa[3];
    for (unsigned n = 0; n < 3; n++) {
        entry_pa[n] = walk(env, va + n * PAGE).entry_pa;
        uint64_t *entry = aspace_phys_to_virt(entry_pa[n]);
        *entry = n == 0 ? *entry : naive_used(&env->config, *entry, n == 2);
    }
    uint64_t before[3];
    for (unsigned n = 0; n < 3; n++) {
        before[n] = *(uint64_t *)aspace_phys_to_virt(entry_pa[n]);
    }
    CHECK_OK(aspace_protect(env->space, va, 3 * PAGE, env->ro));
    CHECK_OK(aspace_protect(env->space, va, 3 * PAGE, env->rw));
    CHECK_OK(aspace_protect(env->space, va, 3 * PAGE, 0));
    CHECK_OK(aspace_protect(env->space, va, 3 * PAGE, env->rw));
    for (unsigned n = 0; n < 3; n++) {
        CHECK_EQ(walk(env, va + n * PAGE).entry_pa, entry_pa[n]);
        CHECK_EQ(*(uint64_t *)aspace_phys_to_virt(entry_pa[n]), before[n]);
    }
}

/* ---------------------------------------------------------------------------------------------------------- discard */

static void discard(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    do_map(env, ASPACE_KIND_EAGER, va, 3 * PAGE, env->rw);
    do_map(env, ASPACE_KIND_LAZY, va + 4 * PAGE, 3 * PAGE, env->rw);
    do_linear(env, va + 8 * PAGE, PAGE, env->rw, device_pa(env, PAGE));
    do_map(env, ASPACE_KIND_TRAP, va + 9 * PAGE, PAGE, env->rw);
    for (unsigned n = 0; n < 7; n++) {
        if (n != 3) {
            poke(env, va + n * PAGE, 100 + n);
        }
    }
    CHECK_EQ(frames_held(env), 6);
    CHECK_OK(aspace_discard(env->space, va + PAGE, 9 * PAGE)); /* holes, linear and trap areas are skipped */
    CHECK_EQ(peek(env, va), 100);
    for (unsigned n = 1; n < 7; n++) {
        if (n != 3) {
            CHECK(mapped(env, va + n * PAGE));
            CHECK_EQ(peek(env, va + n * PAGE), 0);
            poke(env, va + n * PAGE, 1);
        }
    }
    expect_leaf(env, va + 8 * PAGE, device_pa(env, PAGE), env->rw);
    CHECK_EQ(query(env, va + 9 * PAGE).kind, ASPACE_KIND_TRAP);
}

/* The first call on an empty space may be any. */
static void change_nothing(struct env *env)
{
    uint64_t size = env->end - env->base, done;

    CHECK_OK(aspace_discard(env->space, env->base, size));
    CHECK_OK(aspace_unmap(env->space, env->base, size));
    CHECK_ERROR(aspace_protect(env->space, env->base, size, env->ro), ASPACE_E_NOT_MAPPED);
    CHECK_ERROR(aspace_populate(env->space, env->base, size, &done), ASPACE_E_NOT_MAPPED);
    CHECK_ERROR(aspace_migrate(env->space, env->base, ASPACE_PA_NONE), ASPACE_E_NOT_MAPPED);
    CHECK_ERROR(aspace_split(env->space, env->base), ASPACE_E_NOT_MAPPED);
    CHECK(aspace_collapse(env->space, env->base, 1) != ASPACE_OK);
    CHECK_EQ(aspace_sweep(env->space, 10), 0);
    CHECK_OK(aspace_clear(env->space));
    CHECK_FAULT(aspace_fault(env->space, env->base, ASPACE_R, NULL), ASPACE_FAULT_NO_AREA);
    expect_absent(env, env->base);
}

static void discard_gives_back(struct env *env)
{
    uint64_t va = at(env, 1, 1), done;
    uint64_t pages = env->span[1] / PAGE;

    do_map(env, ASPACE_KIND_LAZY, va, env->span[1], env->rw);
    CHECK_OK(aspace_populate(env->space, va, env->span[1], &done));
    CHECK_EQ(frames_held(env), pages);
    CHECK_OK(aspace_discard(env->space, va, env->span[1]));
    CHECK_EQ(frames_held(env), 0);
    aspace_trim(env->host);
    CHECK_EQ(ledger(env).data, 0);
    expect_absent(env, va);
    CHECK_EQ(peek(env, va + PAGE), 0);
}

/* The pages of an area without rights are dropped like any other. */
static void discard_parked(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    do_map(env, ASPACE_KIND_LAZY, va, 2 * PAGE, env->rw);
    poke(env, va, 7);
    CHECK_OK(aspace_protect(env->space, va, 2 * PAGE, 0));
    CHECK_OK(aspace_discard(env->space, va, 2 * PAGE));
    CHECK_EQ(frames_held(env), 0);
    CHECK_FAULT(aspace_fault(env->space, va, ASPACE_R, NULL), ASPACE_FAULT_PERMISSION);
    CHECK_OK(aspace_protect(env->space, va, 2 * PAGE, env->rw));
    CHECK_EQ(peek(env, va), 0);
}

/* Nobody can use the old frame through a TLB once discard returned. */
static void discard_reaches_cpus(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    cpu_enter(env, 1);
    do_map(env, ASPACE_KIND_LAZY, va, PAGE, env->rw);
    uint64_t pa = cpu_run(env, 1, va, ASPACE_W);
    CHECK(pa != ASPACE_PA_NONE);
    CHECK_OK(aspace_discard(env->space, va, PAGE));
    CHECK_EQ(cpu_access(env, 1, va, ASPACE_R), ASPACE_PA_NONE);
    CHECK(cpu_run(env, 1, va, ASPACE_W) != ASPACE_PA_NONE);
}

/* --------------------------------------------------------------------------------------------------------- populate */

static void populate(struct env *env)
{
    uint64_t va = at(env, 1, 0) + PAGE, done = 77;

    do_map(env, ASPACE_KIND_LAZY, va, 6 * PAGE, env->rw);
    poke(env, va + 2 * PAGE, 5);
    uint64_t pa = agree(env, va + 2 * PAGE).pa;
    CHECK_OK(aspace_populate(env->space, va + PAGE, 4 * PAGE, &done));
    CHECK_EQ(done, 4 * PAGE);
    CHECK_EQ(frames_held(env), 4);
    CHECK_EQ(agree(env, va + 2 * PAGE).pa, pa);
    CHECK(!agree(env, va).present && !agree(env, va + 5 * PAGE).present);
    CHECK_EQ(peek(env, va + 2 * PAGE), 5);
    CHECK_EQ(peek(env, va + 3 * PAGE), 0);
    CHECK_ERROR(aspace_populate(env->space, va, 8 * PAGE, &done), ASPACE_E_NOT_MAPPED);
    CHECK(done <= 6 * PAGE);
    CHECK_OK(aspace_populate(env->space, va, 6 * PAGE, NULL));
    CHECK_EQ(frames_held(env), 6);
    do_linear(env, va + 6 * PAGE, PAGE, env->rw, device_pa(env, PAGE));
    CHECK_OK(aspace_populate(env->space, va, 7 * PAGE, &done));
    CHECK_EQ(frames_held(env), 6);
}

/* ----------------------------------------------------------------------------------------------------------- faults */

/* Each page faults once; then it is there, zero, and the others are still not. */
static void fault_fills_one(struct env *env)
{
    uint64_t va = at(env, 1, 0) + PAGE;

    do_map(env, ASPACE_KIND_LAZY, va, 5 * PAGE, env->rw);
    for (unsigned n = 0; n < 5; n += 2) {
        CHECK_FAULT(aspace_fault(env->space, va + n * PAGE + 8 * n, ASPACE_R, NULL), ASPACE_FAULT_DONE);
        CHECK_FAULT(aspace_fault(env->space, va + n * PAGE, ASPACE_W, NULL), ASPACE_FAULT_SPURIOUS);
        struct naive_result r = agree(env, va + n * PAGE);
        CHECK(r.present);
        CHECK_EQ(r.rights, env->rw);
        CHECK(machine_owns(r.pa));
        CHECK_EQ(frames_held(env), n / 2 + 1);
        if (n + 1 < 5) {
            CHECK(!agree(env, va + (n + 1) * PAGE).present);
        }
    }
    struct aspace_counters c = counters(env);
    CHECK_EQ(c.faults[ASPACE_FAULT_DONE], 3);
    CHECK_EQ(c.faults[ASPACE_FAULT_SPURIOUS], 3);
    CHECK_EQ(c.mapped[0], 3);
}

/* Frames come back full of poison: a page that is not zeroed would show it. */
static void fault_zeroes(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    uint64_t words[512];

    do_map(env, ASPACE_KIND_LAZY, va, PAGE, env->rw);
    for (unsigned round = 0; round < 4; round++) {
        touch(env, va, ASPACE_W);
        CHECK_OK(aspace_read(env->space, va, words, sizeof(words), NULL));
        for (unsigned i = 0; i < 512; i++) {
            CHECK_EQ(words[i], 0);
        }
        memset(words, 0x77, sizeof(words));
        CHECK_OK(aspace_write(env->space, va, words, sizeof(words), NULL));
        CHECK_OK(aspace_discard(env->space, va, PAGE));
    }
}

/* Accesses that the area forbids change nothing, filled or not. */
static void fault_refused(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    struct aspace_fault_info info = {0, 0, 0};

    do_map(env, ASPACE_KIND_LAZY, va, 2 * PAGE, env->ro);
    touch(env, va, ASPACE_R);
    struct snapshot *before = snapshot_take(env);
    for (unsigned n = 0; n < 2; n++) {
        CHECK_FAULT(aspace_fault(env->space, va + n * PAGE, ASPACE_W, &info), ASPACE_FAULT_PERMISSION);
        CHECK_EQ(info.area_id, query(env, va).id);
    }
    snapshot_same(env, before, "a refused fault");
    snapshot_free(before);
    CHECK_EQ(counters(env).faults[ASPACE_FAULT_PERMISSION], 2);
}

/* Neighbours are filled on sequential access, never beyond the area, and never more than was asked for. */
static void fault_around(struct env *env)
{
    struct aspace_config config = env->config;
    enum { AROUND = 4, PAGES = 14 };

    config.fault_around = AROUND;
    recreate(env, &config);
    uint64_t va = at(env, 1, 0);
    do_map(env, ASPACE_KIND_LAZY, va, PAGES * PAGE, env->rw);
    do_map(env, ASPACE_KIND_GUARD, va + PAGES * PAGE, PAGE, env->rw);
    unsigned faults = 0;
    for (unsigned n = 0; n < PAGES; n++) {
        uint64_t frames = frames_held(env);
        enum aspace_fault_result result = aspace_fault(env->space, va + n * PAGE, ASPACE_W, NULL);
        CHECK(result == ASPACE_FAULT_DONE || result == ASPACE_FAULT_SPURIOUS);
        faults += result == ASPACE_FAULT_DONE;
        CHECK(frames_held(env) - frames <= 1 + AROUND);
        CHECK(agree(env, va + n * PAGE).present);
        CHECK_EQ(peek(env, va + n * PAGE), 0);
    }
    CHECK(faults < PAGES);
    CHECK_EQ(frames_held(env), PAGES);
    CHECK_EQ(query(env, va + PAGES * PAGE).kind, ASPACE_KIND_GUARD);
}

/* Faults that are counted for an area, where that was asked for. */
static void fault_counted(struct env *env)
{
    uint64_t va = at(env, 1, 0) + PAGE;
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, 4 * PAGE, env->rw);
    struct aspace_area_counters c;

    m.flags = ASPACE_MAP_COUNT;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    touch(env, va, ASPACE_W);
    touch(env, va + PAGE, ASPACE_R);
    CHECK_OK(aspace_area_counters_read(env->space, va + 3 * PAGE, &c));
    CHECK_EQ(c.faults, 2);
    CHECK_EQ(c.frames, 2);
    CHECK_EQ(c.mapped[0], 2);
    CHECK_EQ(c.unfilled, 2 * PAGE);
    CHECK_ERROR(aspace_area_counters_read(env->space, va + 4 * PAGE, &c), ASPACE_E_NOT_MAPPED);
}

/* What was written into a page can be fetched once the page becomes executable, and is asked for then, once. */
static void execute_syncs_icache(struct env *env)
{
    uint64_t va = at(env, 1, 0) + PAGE;
    struct aspace_linux_counts before, after;
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, 2 * PAGE, env->rw & ~(uint32_t)ASPACE_X);

    m.max_rights = ASPACE_RWX;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    poke(env, va, 0x13);
    aspace_linux_counts_read(&env->machine, &before);
    CHECK_OK(aspace_protect(env->space, va, 2 * PAGE, ASPACE_RX));
    aspace_linux_counts_read(&env->machine, &after);
    CHECK_EQ(after.icache_sync, before.icache_sync + 1);
    CHECK_EQ(after.icache_bytes, before.icache_bytes + PAGE);
    CHECK_EQ(env->machine.icache_last, agree(env, va).pa);
    CHECK_FAULT(aspace_fault(env->space, va, ASPACE_X, NULL), ASPACE_FAULT_SPURIOUS);
    aspace_linux_counts_read(&env->machine, &after);
    CHECK_EQ(after.icache_sync, before.icache_sync + 1);
}

static const struct test tests[] = {
    {"protect_all_pairs", protect_all_pairs, 0},
    {"protect_parts", protect_parts, 0},
    {"protect_refused", protect_refused, 0},
    {"protect_none", protect_none, 0},
    {"map_without_rights", map_without_rights, 0},
    {"protect_reaches_cpus", protect_reaches_cpus, 0},
    {"protect_keeps_used", protect_keeps_used, NEEDS_AD},
    {"discard", discard, 0},
    {"change_nothing", change_nothing, 0},
    {"discard_gives_back", discard_gives_back, 0},
    {"discard_parked", discard_parked, 0},
    {"discard_reaches_cpus", discard_reaches_cpus, 0},
    {"populate", populate, 0},
    {"fault_fills_one", fault_fills_one, 0},
    {"fault_zeroes", fault_zeroes, 0},
    {"fault_refused", fault_refused, 0},
    {"fault_around", fault_around, 0},
    {"fault_counted", fault_counted, NEEDS_PLAIN},
    {"execute_syncs_icache", execute_syncs_icache, NEEDS_PLAIN},
};
const struct suite change_suite = SUITE(tests);
