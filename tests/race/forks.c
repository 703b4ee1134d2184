/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Forks while threads that play CPUs write on both sides: what each space holds is what was written to it, a fork is
 * one cut, and frames come back once. Owns these situations; must not know src/.
 */
#include "race/race.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <aspace/fork.h>

enum { CPUS = 4, PAGES = 12, LIVE = 4, LOG = 1 << 20, HIDDEN = 64, WORK = 100 };

static unsigned rounds = 10;

static struct race race;

static const struct configuration {
    const char *name;
    struct race_options options;
    enum aspace_kind kind; /* EAGER: a large leaf at first */
} configurations[] = {
    {"x86-ept4", {.format = ASPACE_FMT_X86_EPT4, .features = ASPACE_FEAT_AD}, ASPACE_KIND_LAZY},
    {"arm-s2-48", {.format = ASPACE_FMT_ARM_S2_48, .smr = ASPACE_SMR_QSBR}, ASPACE_KIND_LAZY},
    {"riscv-sv48, large", {.format = ASPACE_FMT_RISCV_SV48, .features = ASPACE_FEAT_AD}, ASPACE_KIND_EAGER},
};

static void open_race(const struct configuration *c)
{
    struct race_options o = c->options;

    o.cpus = CPUS;
    o.seed = 1;
    o.memory = UINT64_C(64) << 20;
    race_open(&race, &o);
    struct aspace_map m = {.size = RACE_BIG,
                           .kind = c->kind,
                           .rights = race.rw,
                           .max_rights = race.ro | race.rw,
                           .max_leaf_level = c->kind == ASPACE_KIND_LAZY};
    RACE_CHECK(NULL, aspace_map(race.space, &m, NULL) == ASPACE_OK);
}

/* Another space of the machine, empty. */
static struct aspace *open_child(struct race_cpu *cpu, uint32_t tag)
{
    struct aspace_config config = race.config;
    struct aspace *space = aligned_alloc(ASPACE_CACHE_LINE, (aspace_bytes(race.host) + 63) / 64 * 64);

    config.tag = tag;
    RACE_CHECK(cpu, space && aspace_create(space, race.host, &config) == ASPACE_OK);
    return space;
}

/* No audit: that wants the host to itself. */
static void close_child(struct race_cpu *cpu, struct aspace *space)
{
    RACE_CHECK(cpu, aspace_destroy(space) == ASPACE_OK);
    free(space);
}

/* While a thread that is in a section does not run, nothing that the others free can be used again (G4). */
static bool short_of_memory(struct race_cpu *cpu, bool it_is)
{
    if (it_is) {
        cpu->retries++;
        aspace_drain(race.host);
        sched_yield();
    }
    return it_is;
}

/* Both are told to try again while a fork is under way, which in QSBR mode waits for this CPU. */
static void write_word(struct race_cpu *cpu, struct aspace *space, uint64_t va, uint64_t value)
{
    int error;

    while ((error = aspace_write_object(space, va, &value)) == ASPACE_E_RETRY ||
           short_of_memory(cpu, error == ASPACE_E_NO_MEMORY)) {
        race_quiescent(cpu);
        aspace_pause();
    }
    if (error) {
        race_fail(cpu, __FILE__, __LINE__, "a write answers %s", aspace_error_name(error));
    }
}

static uint64_t read_word(struct race_cpu *cpu, struct aspace *space, uint64_t va)
{
    uint64_t value = 0;
    int error;

    while ((error = aspace_read_object(space, va, &value)) == ASPACE_E_RETRY ||
           short_of_memory(cpu, error == ASPACE_E_NO_MEMORY)) {
        race_quiescent(cpu);
        aspace_pause();
    }
    RACE_CHECK(cpu, error == ASPACE_OK);
    return value;
}

/* As a program in the first space: through the TLB, with the faults that it takes. */
static uint64_t reach(struct race_cpu *cpu, uint64_t va, uint32_t access)
{
    uint64_t pa = 0;

    while (sim_cpu_access(cpu->sim, &race.sim_space, va, access, &pa) != SIM_OK) {
        enum aspace_fault_result r = aspace_fault(race.space, va, access, NULL);
        RACE_CHECK(cpu, short_of_memory(cpu, r == ASPACE_FAULT_NO_MEMORY) || r == ASPACE_FAULT_DONE ||
                            r == ASPACE_FAULT_SPURIOUS || r == ASPACE_FAULT_RETRY);
        sim_cpu_fence(cpu->sim, &race.sim_space, va);
        race_quiescent(cpu);
    }
    return pa;
}

static void store_word(struct race_cpu *cpu, uint64_t va, uint64_t value)
{
    race_store(reach(cpu, va, ASPACE_W), value);
}

static unsigned arrived;

static void meet(struct race_cpu *cpu, unsigned n)
{
    __atomic_fetch_add(&arrived, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) < n) {
        race_quiescent(cpu);
        aspace_pause();
    }
}

/* ---------------------------------------------------------------------------------------------- a fork is one cut */

/*
 * CPUs 1 to 3 write their serial numbers to pages of their own, through the TLB or by call, and discard some; which
 * page, and whether it was a discard, is in the log before. What a fork sees of a CPU must be its work up to some
 * point.
 */
#define DISCARDED UINT32_C(0x80000000)

static struct {
    uint32_t log[LOG];
    uint64_t last[PAGES];
} writer[CPUS];
static bool over;

/* Pages of the CPUs alternate, so that a fork meets each of them early and late. */
static uint64_t page_va(unsigned id, unsigned page)
{
    return (page * CPUS + id) * RACE_PAGE;
}

static void write_one(struct race_cpu *cpu, uint64_t serial)
{
    unsigned page = (unsigned)race_below(cpu, PAGES);
    uint64_t va = page_va(cpu->id, page), how = race_below(cpu, 16);

    __atomic_store_n(&writer[cpu->id].log[serial], page | (how == 0 ? DISCARDED : 0), __ATOMIC_RELEASE);
    writer[cpu->id].last[page] = how == 0 ? 0 : serial;
    if (how == 0) {
        int error;
        while (short_of_memory(cpu, (error = aspace_discard(race.space, va, RACE_PAGE)) == ASPACE_E_NO_MEMORY)) {
            race_quiescent(cpu);
        }
        RACE_CHECK(cpu, error == ASPACE_OK);
    } else if (how < 9) {
        store_word(cpu, va, serial);
    } else {
        write_word(cpu, race.space, va, serial);
    }
}

static void write_on(struct race_cpu *cpu)
{
    uint64_t serial = 1;

    for (; !__atomic_load_n(&over, __ATOMIC_ACQUIRE) && serial < LOG; serial++) {
        unsigned page = (unsigned)race_below(cpu, PAGES);
        __atomic_store_n(&cpu->step, serial, __ATOMIC_RELAXED);
        write_one(cpu, serial);
        RACE_CHECK(cpu, read_word(cpu, race.space, page_va(cpu->id, page)) == writer[cpu->id].last[page]);
        race_quiescent(cpu);
    }
}

/* What a CPU had done up to some point: the latest number that is seen, or later, if all that was written since has
 * been discarded again. */
static void check_cut(struct race_cpu *cpu, unsigned id, const uint64_t *seen)
{
    uint64_t expected[PAGES] = {0}, latest = 0;

    for (unsigned page = 0; page < PAGES; page++) {
        latest = seen[page] > latest ? seen[page] : latest;
    }
    for (uint64_t serial = 1;; serial++) {
        if (serial > latest) {
            if (memcmp(expected, seen, sizeof(expected)) == 0) {
                return;
            }
            RACE_CHECK(cpu, serial < LOG && serial < latest + HIDDEN);
        }
        uint32_t entry = __atomic_load_n(&writer[id].log[serial], __ATOMIC_ACQUIRE);
        expected[entry % DISCARDED] = entry & DISCARDED ? 0 : serial;
    }
}

static struct child {
    struct aspace *space;
    uint64_t seen[CPUS][PAGES];
} child[LIVE];

static void read_child(struct race_cpu *cpu, const struct child *c, uint64_t seen[CPUS][PAGES])
{
    for (unsigned id = 1; id < CPUS; id++) {
        for (unsigned page = 0; page < PAGES; page++) {
            seen[id][page] = read_word(cpu, c->space, page_va(id, page));
        }
    }
}

/* Written at once, so that both sides copy the same pages; what the parent writes later never shows. */
static void write_child(struct race_cpu *cpu, const struct child *c, uint64_t mark)
{
    for (unsigned id = 1; id < CPUS; id++) {
        for (unsigned page = 0; page < PAGES; page += 1 + (unsigned)race_below(cpu, 2)) {
            write_word(cpu, c->space, page_va(id, page) + 8, mark);
        }
    }
}

static void end_child(struct race_cpu *cpu, struct child *c)
{
    uint64_t seen[CPUS][PAGES] = {{0}};

    if (c->space) {
        read_child(cpu, c, seen);
        RACE_CHECK(cpu, memcmp(seen[1], c->seen[1], sizeof(seen) - sizeof(seen[0])) == 0);
        close_child(cpu, c->space);
        c->space = NULL;
    }
}

/* Some in steps, some of the youngest child. */
static void fork_one(struct race_cpu *cpu, unsigned n)
{
    struct child *c = &child[n % LIVE], *young = &child[(n + LIVE - 1) % LIVE];
    bool grandchild = n % 5 == 4;
    struct aspace *parent = grandchild ? young->space : race.space;
    struct aspace_fork fork;
    int error;

    end_child(cpu, c);
    c->space = open_child(cpu, 100 + n);
    do {
        RACE_CHECK(cpu, aspace_fork_begin(&fork, parent, c->space) == ASPACE_OK);
        while ((error = aspace_fork_step(&fork, n % 3 ? SIZE_MAX : 1)) == ASPACE_E_MORE) {
            race_quiescent(cpu);
        }
    } while (short_of_memory(cpu, error == ASPACE_E_NO_MEMORY));
    RACE_CHECK(cpu, error == ASPACE_OK);
    write_child(cpu, c, n + 1);
    read_child(cpu, c, c->seen);
    for (unsigned id = 1; id < CPUS; id++) {
        check_cut(cpu, id, c->seen[id]);
        RACE_CHECK(cpu, !grandchild || memcmp(c->seen[id], young->seen[id], sizeof(c->seen[id])) == 0);
        RACE_CHECK(cpu, read_word(cpu, race.space, page_va(id, n % PAGES) + 8) == 0);
    }
    race_quiescent(cpu);
}

/* Each of them has done something between two forks, however busy the machine is. */
static void let_them_work(struct race_cpu *cpu)
{
    for (unsigned id = 1; id < CPUS; id++) {
        const uint64_t *step = &race.cpu[id].step;
        uint64_t enough = __atomic_load_n(step, __ATOMIC_RELAXED) + WORK;
        while (__atomic_load_n(step, __ATOMIC_RELAXED) < (enough < LOG ? enough : LOG - 1)) {
            race_quiescent(cpu);
            sched_yield();
        }
    }
}

static void cut_body(struct race_cpu *cpu)
{
    if (cpu->id) {
        race_enter(cpu);
    }
    meet(cpu, CPUS);
    if (cpu->id) {
        write_on(cpu);
        return;
    }
    for (unsigned n = 0; n < rounds; n++) {
        cpu->step = n;
        let_them_work(cpu);
        fork_one(cpu, n);
    }
    __atomic_store_n(&over, true, __ATOMIC_RELEASE);
    for (unsigned n = 0; n < LIVE; n++) {
        end_child(cpu, &child[n]);
    }
}

static void test_one_cut(const struct configuration *c)
{
    over = false;
    memset(writer, 0, sizeof(writer));
    memset(child, 0, sizeof(child));
    open_race(c);
    race_run(&race, cut_body);
    race_close(&race);
}

/* ------------------------------------------------------------------------------------------- the last ones to share */

static struct aspace *sharer[CPUS];

/* All four map the same frames; some write to all pages, others leave, at the same time and in any order. */
static void share_body(struct race_cpu *cpu)
{
    for (unsigned round = 0; round < rounds; round++) {
        cpu->step = round;
        if (cpu->id == 0) {
            for (unsigned id = 1; id < CPUS; id++) {
                struct aspace *parent = id == 3 ? sharer[2] : race.space;
                sharer[id] = open_child(cpu, 100 + id);
                RACE_CHECK(cpu, aspace_fork(parent, sharer[id]) == ASPACE_OK);
            }
        }
        meet(cpu, (2 * round + 1) * CPUS);
        struct aspace *mine = cpu->id ? sharer[cpu->id] : race.space;
        for (unsigned page = 0; page < PAGES; page++) {
            uint64_t va = page * RACE_PAGE, before = round;
            if (cpu->id && race_below(cpu, 2)) {
                RACE_CHECK(cpu, aspace_unmap(mine, va, RACE_PAGE) == ASPACE_OK);
                continue;
            }
            RACE_CHECK(cpu, read_word(cpu, mine, va) == before);
            write_word(cpu, mine, va, cpu->id ? 1000 + cpu->id : round + 1);
            RACE_CHECK(cpu, read_word(cpu, mine, va) == (cpu->id ? 1000 + cpu->id : round + 1));
            race_quiescent(cpu);
        }
        if (cpu->id) {
            close_child(cpu, mine);
        }
        meet(cpu, (2 * round + 2) * CPUS);
    }
}

static void test_last_sharers(const struct configuration *c)
{
    open_race(c);
    sharer[0] = race.space;
    for (unsigned page = 0; page < PAGES; page++) {
        uint64_t zero = 0;
        RACE_CHECK(NULL, aspace_write_object(race.space, page * RACE_PAGE, &zero) == ASPACE_OK);
    }
    race_run(&race, share_body);
    race_close(&race);
}

/* --rounds N: so many forks of each kind. Another argument: only configurations whose name has it. */
int main(int argc, char **argv)
{
    const char *only = "";
    unsigned n = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) {
            rounds = (unsigned)strtoul(argv[++i], NULL, 10);
        } else {
            only = argv[i];
        }
    }
    alarm(600);
    for (unsigned c = 0; c < sizeof(configurations) / sizeof(configurations[0]) && rounds; c++) {
        if (!strstr(configurations[c].name, only)) {
            continue;
        }
        arrived = 0;
        test_one_cut(&configurations[c]);
        arrived = 0;
        test_last_sharers(&configurations[c]);
        printf("%s\n", configurations[c].name);
        fflush(stdout);
        n += 2;
    }
    printf("%u passed, 0 failed\n", n);
    return n ? 0 : 2;
}
