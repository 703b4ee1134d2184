/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Invalidation between threads that play CPUs: who is asked, and that a CPU which was away catches up. Must not know
 * src/.
 */
#include "race/race.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <aspace/tag.h>

static uint64_t rounds = 300000;

static struct race race;

static struct race_options standard(unsigned cpus)
{
    return (struct race_options){.format = ASPACE_FMT_X86_EPT4, .cpus = cpus, .seed = 1, .memory = UINT64_C(64) << 20};
}

static void map_lazy(struct race_cpu *cpu, uint64_t va, uint64_t size)
{
    struct aspace_map m = {.va = va, .size = size, .kind = ASPACE_KIND_LAZY, .rights = cpu->race->rw};

    m.max_leaf_level = 1;
    RACE_CHECK(cpu, aspace_map(cpu->race->space, &m, NULL) == ASPACE_OK);
}

/* As a program: true if the access goes through in the end. */
static bool reach(struct race_cpu *cpu, uint64_t va, uint32_t access, uint64_t *pa)
{
    while (sim_cpu_access(cpu->sim, &cpu->race->sim_space, va, access, pa) != SIM_OK) {
        enum aspace_fault_result r = aspace_fault(cpu->race->space, va, access, NULL);
        if (r != ASPACE_FAULT_DONE && r != ASPACE_FAULT_SPURIOUS && r != ASPACE_FAULT_RETRY) {
            return false;
        }
        sim_cpu_fence(cpu->sim, &cpu->race->sim_space, va);
    }
    return true;
}

static unsigned arrived;

static void meet(struct race_cpu *cpu, unsigned n)
{
    (void)cpu;
    __atomic_fetch_add(&arrived, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) < n) {
        race_quiescent(cpu);
        aspace_pause();
    }
}

/* ------------------------------------------------------------------------------------------------------ who is asked
 * */

static uint64_t requests_of(struct race_cpu *cpu, unsigned id)
{
    struct sim_cpu *sim = &cpu->race->machine.sim.cpu[id];

    pthread_mutex_lock(&sim->lock);
    uint64_t n = sim->counts.requests;
    pthread_mutex_unlock(&sim->lock);
    return n;
}

/* CPUs 0 and 1 are in the space, 2 was, 3 never: only the first two hear of it. */
static void only_active(struct race_cpu *cpu)
{
    enum { UNMAPS = 200 };
    uint64_t pa, before[4];

    if (cpu->id < 3) {
        race_enter(cpu);
    }
    if (cpu->id == 2) {
        race_leave(cpu);
    }
    meet(cpu, 4);
    if (cpu->id == 0) {
        for (unsigned id = 0; id < 4; id++) {
            before[id] = requests_of(cpu, id);
        }
        for (unsigned i = 0; i < UNMAPS; i++) {
            map_lazy(cpu, 0, RACE_PAGE);
            RACE_CHECK(cpu, reach(cpu, 0, ASPACE_W, &pa));
            RACE_CHECK(cpu, aspace_unmap(cpu->race->space, 0, RACE_PAGE) == ASPACE_OK);
        }
        /* CPU 0 also made a fence a fault. */
        RACE_CHECK(cpu, requests_of(cpu, 0) == before[0] + 2 * UNMAPS);
        RACE_CHECK(cpu, requests_of(cpu, 1) == before[1] + UNMAPS);
        RACE_CHECK(cpu, requests_of(cpu, 2) == before[2] && requests_of(cpu, 3) == before[3]);
    }
    meet(cpu, 8);
    if (cpu->id == 2) { /* and flushes once, by itself, when it is back */
        uint64_t was = requests_of(cpu, 2);
        race_enter(cpu);
        RACE_CHECK(cpu, requests_of(cpu, 2) == was + 1);
        race_leave(cpu);
        race_enter(cpu);
        RACE_CHECK(cpu, requests_of(cpu, 2) == was + 1);
    }
}

static void test_only_active(void)
{
    struct race_options o = standard(4);

    race_open(&race, &o);
    race_run(&race, only_active);
    race_close(&race);
}

/* ------------------------------------------------------------------------------------------------------ catching up */

static uint64_t round_gone; /* rounds whose page is unmapped, the flush acknowledged */

/* CPU 0 maps and unmaps; 1 to n come and go at their own pace, one of them mostly being away. Whatever is unmapped for
 * good when an access begins must not be reached. */
static void come_and_go(struct race_cpu *cpu)
{
    uint64_t pa;

    meet(cpu, 3);
    if (cpu->id == 0) {
        for (uint64_t round = 1; round <= rounds; round++) {
            uint64_t va = round % 64 * RACE_PAGE;
            map_lazy(cpu, va, RACE_PAGE);
            RACE_CHECK(cpu, aspace_fault(cpu->race->space, va, ASPACE_W, NULL) == ASPACE_FAULT_DONE);
            RACE_CHECK(cpu, aspace_unmap(cpu->race->space, va, RACE_PAGE) == ASPACE_OK);
            __atomic_store_n(&round_gone, round, __ATOMIC_RELEASE);
        }
        return;
    }
    for (uint64_t gone = 0; gone < rounds; cpu->step++) {
        race_enter(cpu);
        gone = __atomic_load_n(&round_gone, __ATOMIC_ACQUIRE);
        for (unsigned i = 0; i < 3; i++) {
            (void)sim_cpu_access(cpu->sim, &cpu->race->sim_space, (gone + i) % 64 * RACE_PAGE, ASPACE_W, &pa);
        }
        uint64_t later = __atomic_load_n(&round_gone, __ATOMIC_ACQUIRE);
        if (sim_cpu_access(cpu->sim, &cpu->race->sim_space, gone % 64 * RACE_PAGE, ASPACE_R, &pa) == SIM_OK) {
            /* Mapped anew in between, or stale. */
            later = __atomic_load_n(&round_gone, __ATOMIC_ACQUIRE);
            RACE_CHECK(cpu, later >= gone + 63);
        }
        (void)later;
        race_leave(cpu);
        for (uint64_t n = race_below(cpu, cpu->id == 1 ? 2 : 200); n; n--) {
            aspace_pause();
        }
        RACE_CHECK(cpu, sim_violations(&cpu->race->machine.sim) == 0);
    }
}

static void test_come_and_go(void)
{
    struct race_options o = standard(3);

    round_gone = 0;
    race_open(&race, &o);
    race_run(&race, come_and_go);
    race_close(&race);
}

/* --------------------------------------------------------------------------------------- mapped before acknowledged */

static uint64_t slow_state; /* 1: CPU 2 has its translation, 2: it is about to serve */

/* CPU 0 unmaps what CPU 2 is using at the moment; the lock is dropped meanwhile. CPU 1, which maps the same address,
 * may
 * return only when nobody can use the old translation any more. */
static void map_while_pending(struct race_cpu *cpu)
{
    struct timespec pause = {.tv_nsec = 2000000};
    uint64_t pa;
    struct aspace_area area;

    race_enter(cpu);
    if (cpu->id == 0) {
        map_lazy(cpu, 0, RACE_PAGE);
    }
    meet(cpu, 3);
    if (cpu->id == 2) {
        RACE_CHECK(cpu, reach(cpu, 0, ASPACE_W, &pa));
        __atomic_store_n(&slow_state, 1, __ATOMIC_RELEASE);
        nanosleep(&pause, NULL);
        race_store(pa, 1);
        __atomic_store_n(&slow_state, 2, __ATOMIC_RELEASE);
        return;
    }
    while (__atomic_load_n(&slow_state, __ATOMIC_ACQUIRE) == 0) {
        aspace_pause();
    }
    if (cpu->id == 0) {
        RACE_CHECK(cpu, aspace_unmap(cpu->race->space, 0, RACE_PAGE) == ASPACE_OK);
    } else {
        while (aspace_query(cpu->race->space, 0, &area) != ASPACE_E_NOT_MAPPED) {
            aspace_pause();
        }
        map_lazy(cpu, 0, RACE_PAGE);
    }
    RACE_CHECK(cpu, __atomic_load_n(&slow_state, __ATOMIC_ACQUIRE) == 2);
}

static void test_map_while_pending(void)
{
    for (unsigned i = 0; i < 20; i++) {
        struct race_options o = standard(3);

        arrived = 0;
        slow_state = 0;
        race_open(&race, &o);
        race_run(&race, map_while_pending);
        race_close(&race);
    }
}

/* ------------------------------------------------------------------------------------------------------ narrow tags */

enum { SPACES = 16, TAG_BITS = 3 };

/* More spaces than tags, several CPUs in each: all have the same address, and there their own number. */
static struct tagged {
    struct aspace *space;
    struct aspace_config config;
} tagged[SPACES];
static struct aspace_tags *tags;

static void open_tagged(struct race_cpu *cpu, unsigned n)
{
    struct tagged *t = &tagged[n];
    struct race *r = cpu->race;
    uint64_t number = n + 1;

    t->config = r->config;
    t->config.tag = 0;
    t->space = aligned_alloc(ASPACE_CACHE_LINE, aspace_bytes(r->host));
    RACE_CHECK(cpu, t->space && aspace_create(t->space, r->host, &t->config) == ASPACE_OK);
    struct aspace_map m = {.size = 4 * RACE_PAGE, .kind = ASPACE_KIND_LAZY, .rights = r->rw};
    RACE_CHECK(cpu, aspace_map(t->space, &m, NULL) == ASPACE_OK);
    RACE_CHECK(cpu, aspace_write_object(t->space, 0, &number) == ASPACE_OK);
}

/* A fault is what a migration in between leaves. */
static void visit(struct race_cpu *cpu, struct tagged *t, uint64_t number)
{
    struct sim_space sim = cpu->race->sim_space;
    uint64_t pa = 0;

    aspace_tags_activate(tags, t->space);
    aspace_linux_describe(t->space, &t->config, &sim);
    sim.tag = aspace_tag(t->space); /* the registers hold what the space has now */
    sim_cpu_load(cpu->sim, &sim);
    for (unsigned i = 0; i < 3; i++) {
        if (sim_cpu_access(cpu->sim, &sim, 0, ASPACE_R, &pa) == SIM_OK) {
            RACE_CHECK(cpu, race_load(pa) == number);
        }
        if (race_below(cpu, 8) == 0) {
            RACE_CHECK(cpu, aspace_migrate(t->space, 0, ASPACE_PA_NONE) == ASPACE_OK);
        }
    }
    sim_cpu_unload(cpu->sim, &sim);
    aspace_deactivate(t->space);
}

static void switch_spaces(struct race_cpu *cpu)
{
    for (unsigned i = 0; i < 4000; i++) {
        unsigned n = (unsigned)race_below(cpu, SPACES);
        visit(cpu, &tagged[n], n + 1);
    }
}

static void test_narrow_tags(void)
{
    struct race_options o = standard(4);
    struct aspace_tags_config config = {.cpus = 4, .bits = TAG_BITS};

    o.tag_bits = TAG_BITS;
    race_open(&race, &o);
    tags = aligned_alloc(ASPACE_CACHE_LINE, (ASPACE_TAGS_BYTES(4, TAG_BITS) + 63) / 64 * 64);
    RACE_CHECK(&race.cpu[0], tags && aspace_tags_init(tags, &config) == ASPACE_OK);
    for (unsigned n = 0; n < SPACES; n++) {
        open_tagged(&race.cpu[0], n);
    }
    race_run(&race, switch_spaces);
    RACE_CHECK(&race.cpu[0], aspace_tags_generation(tags) > 100);
    for (unsigned n = 0; n < SPACES; n++) {
        RACE_CHECK(&race.cpu[0], aspace_audit(tagged[n].space, race_print_line, NULL) == 0);
        RACE_CHECK(&race.cpu[0], aspace_destroy(tagged[n].space) == ASPACE_OK);
        free(tagged[n].space);
    }
    free(tags);
    race_close(&race);
}

/* First argument: how many rounds of each. */
int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {
        {"only_active", test_only_active},
        {"come_and_go", test_come_and_go},
        {"map_while_pending", test_map_while_pending},
        {"narrow_tags", test_narrow_tags},
    };
    unsigned n = sizeof(tests) / sizeof(tests[0]);

    if (argc > 1 && (rounds = strtoull(argv[1], NULL, 10)) < 1000) {
        fprintf(stderr, "tlb: %s is no number, or less than 1000\n", argv[1]);
        return 2;
    }
    alarm(300);
    for (unsigned i = 0; i < n; i++) {
        arrived = 0;
        tests[i].run();
        printf("%s\n", tests[i].name);
        fflush(stdout);
    }
    printf("%u passed, 0 failed\n", n);
    return 0;
}
