/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every point of one operation at which another CPU could come in between: for each access to shared memory that CPU 0
 * makes in an operation, a run in which CPU 1 or 2 does something, all of it, just before. One thread plays all, so a
 * failure is found again. What comes in between takes no lock, since who holds one would never drop it.
 */
#include "race/race.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PAGES = 6, CPUS = 3 };
#define BASE SHARED_VA

void (*race_hook)(void);
void (*race_waits)(void);

static struct race race;

struct actor {
    const char *name;
    void (*run)(void);
};

static void be(unsigned cpu)
{
    aspace_linux_set_cpu(cpu);
}

static void check(bool ok, const char *what, int line);
#define CHECK(condition) check((condition), #condition, __LINE__)

static bool access_by(unsigned id, uint64_t va, uint32_t access, uint64_t *pa)
{
    return sim_cpu_access(race.cpu[id].sim, &race.sim_space, va, access, pa) == SIM_OK;
}

static void enter(unsigned id)
{
    be(id);
    if (!race.cpu[id].active) {
        race_enter(&race.cpu[id]);
    }
}

static void leave(unsigned id)
{
    be(id);
    if (race.cpu[id].active) {
        race_leave(&race.cpu[id]);
    }
}

/* A running program on a CPU that is in the space. */
static void touch(unsigned id, uint64_t va, uint32_t access)
{
    uint64_t pa;

    be(id);
    for (unsigned tries = 0; tries < 4 && !access_by(id, va, access, &pa); tries++) {
        if (aspace_fault(race.space, va, access, NULL) > ASPACE_FAULT_SPURIOUS) {
            return;
        }
        sim_cpu_fence(race.cpu[id].sim, &race.sim_space, va);
    }
}

/* ----------------------------------------------------------------------------------------------- what CPU 0 is doing
 * */

static void a_unmap(void)
{
    CHECK(aspace_unmap(race.space, BASE, PAGES * RACE_PAGE) == ASPACE_OK);
}

static void a_unmap_part(void)
{
    CHECK(aspace_unmap(race.space, BASE + RACE_PAGE, 2 * RACE_PAGE) == ASPACE_OK);
}

static void a_unmap_table(void)
{
    CHECK(aspace_unmap(race.space, BASE, RACE_BIG) == ASPACE_OK);
}

static void a_protect(void)
{
    CHECK(aspace_protect(race.space, BASE, PAGES * RACE_PAGE, race.ro) == ASPACE_OK);
}

static void a_protect_none(void)
{
    CHECK(aspace_protect(race.space, BASE, PAGES * RACE_PAGE, 0) == ASPACE_OK);
}

static void a_discard(void)
{
    CHECK(aspace_discard(race.space, BASE, PAGES * RACE_PAGE) == ASPACE_OK);
}

static void a_migrate(void)
{
    CHECK(aspace_migrate(race.space, BASE, ASPACE_PA_NONE) == ASPACE_OK);
}

static void a_replace(void)
{
    struct aspace_map m = {.va = BASE + RACE_PAGE,
                           .size = 3 * RACE_PAGE,
                           .kind = ASPACE_KIND_LINEAR,
                           .rights = race.rw,
                           .pa = race.shared_pa,
                           .flags = ASPACE_MAP_REPLACE};
    CHECK(aspace_map(race.space, &m, NULL) == ASPACE_OK);
}

static void a_map(void)
{
    struct aspace_map m = {.va = BASE + 8 * RACE_PAGE, .size = RACE_PAGE, .kind = ASPACE_KIND_LAZY, .rights = race.rw};
    CHECK(aspace_map(race.space, &m, NULL) == ASPACE_OK);
}

static void a_fault(void)
{
    CHECK(aspace_fault(race.space, BASE + 5 * RACE_PAGE, ASPACE_W, NULL) <= ASPACE_FAULT_SPURIOUS);
}

static void a_leave(void)
{
    enter(1);
    leave(1);
    be(0);
}

static const struct actor actors[] = {
    {"unmap", a_unmap},
    {"unmap_part", a_unmap_part},
    {"unmap_table", a_unmap_table},
    {"protect", a_protect},
    {"protect_none", a_protect_none},
    {"discard", a_discard},
    {"migrate", a_migrate},
    {"replace", a_replace},
    {"map", a_map},
    {"fault", a_fault},
    {"switch", a_leave},
};

/* ------------------------------------------------------------------------------------------------ what comes between
 * */

static void b_leave(void)
{
    leave(1);
}

static void b_come_and_go(void)
{
    enter(2);
    touch(2, BASE + RACE_PAGE, ASPACE_R);
    leave(2);
}

static void b_come(void)
{
    enter(2);
    touch(2, BASE, ASPACE_W);
}

static void b_access(void)
{
    uint64_t pa;

    if (race.cpu[1].active && access_by(1, BASE + RACE_PAGE, ASPACE_W, &pa)) {
        race_store(pa, 0x5eed);
    }
}

static void b_fault(void)
{
    be(1);
    (void)!aspace_fault(race.space, BASE + 4 * RACE_PAGE, ASPACE_W, NULL);
}

static void b_look(void)
{
    struct aspace_translation t;
    struct aspace_area area;

    be(1);
    (void)!aspace_query(race.space, BASE + RACE_PAGE, &area);
    (void)!aspace_next(race.space, BASE, &area);
    aspace_read_begin(race.host);
    if (aspace_translate(race.space, BASE, &t) == ASPACE_OK) {
        CHECK(race_load(t.pa) == 0x600d);
    }
    aspace_read_end(race.host);
}

static const struct actor between[] = {
    {"leave", b_leave}, {"come and go", b_come_and_go}, {"come", b_come}, {"access", b_access}, {"fault", b_fault},
    {"look", b_look},
};

/* ------------------------------------------------------------------------------- 42: a discard against a write fault
 *
 * What is read afterwards is zero, or what was written later, whichever of the two is interrupted by the other, and
 * wherever.
 */

enum { OLD = 0x600d, LATE = 0x1a7e };

static bool wrote;

/* A running program writes the first word of a page; it may be told to try again. */
static void write_word(unsigned id, uint64_t va, uint64_t value)
{
    uint64_t pa;

    touch(id, va, ASPACE_W);
    if (access_by(id, va, ASPACE_W, &pa)) {
        race_store(pa, value);
        wrote = true;
    }
}

/* CPU 1 knows the page, CPU 2 has to fault. */
static void b_write(void)
{
    enter(2);
    write_word(1, BASE, LATE);
    write_word(2, BASE, LATE);
}

static void a_write_fault(void)
{
    enter(2);
    write_word(2, BASE + 5 * RACE_PAGE, LATE);
    be(0);
}

/* The page is filled by another, written, and discarded with its neighbours. */
static void b_fill_and_discard(void)
{
    write_word(1, BASE + 5 * RACE_PAGE, OLD);
    write_word(1, BASE + 5 * RACE_PAGE + 8, OLD);
    wrote = false;
    CHECK(aspace_discard(race.space, BASE, PAGES * RACE_PAGE) == ASPACE_OK);
}

static void check_words(uint64_t va, bool written)
{
    uint64_t word[2];

    be(0);
    CHECK(aspace_read(race.space, va, word, sizeof(word), NULL) == ASPACE_OK);
    CHECK(word[1] == 0 && (word[0] == LATE || (word[0] == 0 && !written)));
}

/* A write that was made in the middle may have gone to the frame that was dropped. */
static void after_discard(void)
{
    check_words(BASE, false);
    write_word(1, BASE, LATE);
    check_words(BASE, true);
}

static void after_write_fault(void)
{
    CHECK(wrote);
    check_words(BASE + 5 * RACE_PAGE, true);
}

static const struct pair {
    struct actor a, b;
    void (*after)(void);
} s42[] = {
    {{"discard", a_discard}, {"write", b_write}, after_discard},
    {{"write fault", a_write_fault}, {"fill and discard", b_fill_and_discard}, after_write_fault},
};

/* ------------------------------------------------------------------------------------------------------- one
 * schedule */

static struct {
    const struct actor *a, *b;
    void (*after)(void); /* or NULL */
    unsigned at, points;
    bool done;
} now;

static void check(bool ok, const char *what, int line)
{
    if (!ok) {
        race_hook = NULL;
        race_fail(&race.cpu[0], __FILE__, line, "%s (%s; at point %u: %s)", what, now.a->name, now.at, now.b->name);
    }
}

static void at_point(void)
{
    unsigned cpu = aspace_linux_cpu;

    if (++now.points == now.at) {
        race_hook = NULL;
        now.done = true;
        now.b->run();
        be(cpu);
    }
}

/* CPU 1 runs the space and CPU 2 ran it: both remember pages of it, the last two of which nobody has touched. */
static void prepare(void)
{
    struct aspace_map m = {.va = BASE,
                           .size = PAGES * RACE_PAGE,
                           .kind = ASPACE_KIND_LAZY,
                           .rights = race.rw,
                           .max_rights = race.ro | race.rw,
                           .max_leaf_level = 1};
    uint64_t word = OLD;

    be(0);
    CHECK(aspace_map(race.space, &m, NULL) == ASPACE_OK);
    CHECK(aspace_write_object(race.space, BASE, &word) == ASPACE_OK);
    CHECK(aspace_write_object(race.space, BASE + 8, &word) == ASPACE_OK);
    for (unsigned id = 1; id < CPUS; id++) {
        enter(id);
        for (unsigned i = 0; i < 4; i++) {
            touch(id, BASE + i * RACE_PAGE, ASPACE_W);
        }
    }
    leave(2);
    be(0);
}

/* Whoever is in the space, or comes back to it, goes where the tables lead now. */
static void check_translations(unsigned id)
{
    enter(id);
    for (unsigned i = 0; i < 10; i++) {
        uint64_t va = BASE + i * RACE_PAGE, pa = 0;
        struct aspace_translation t;
        bool mapped = aspace_translate(race.space, va, &t) == ASPACE_OK;
        for (uint32_t access = ASPACE_R; access <= ASPACE_W; access++) {
            if (access_by(id, va, access, &pa)) {
                CHECK(mapped && pa == t.pa && (access & ~t.rights) == 0);
            }
        }
    }
}

static void finish(void)
{
    struct aspace_counters c;
    struct arena_counts a;

    check_translations(1);
    check_translations(2);
    be(0);
    CHECK(aspace_audit(race.space, race_print_line, NULL) == 0);
    leave(1);
    leave(2);
    be(0);
    CHECK(aspace_unmap(race.space, 0, SPACE_BYTES) == ASPACE_OK);
    aspace_trim(race.host);
    aspace_counters_read(race.space, &c);
    arena_counts_read(&race.machine.arena, &a);
    CHECK(c.frames == 0 && a.data == race.device_frames);
    CHECK(sim_violations(&race.machine.sim) == 0 && arena_violations(&race.machine.arena) == 0);
}

/* False: the operation has fewer points. */
static bool run_one(void)
{
    prepare();
    now.points = 0;
    now.done = false;
    race_hook = at_point;
    now.a->run();
    race_hook = NULL;
    if (now.after) {
        now.after();
    }
    finish();
    return now.done;
}

static unsigned run_pair(const struct actor *a, const struct actor *b, void (*after)(void))
{
    unsigned n = 0;

    now.a = a;
    now.b = b;
    now.after = after;
    for (now.at = 1; run_one(); now.at++) {
        n++;
    }
    return n;
}

static void run_all(const char *name, enum aspace_format format, uint32_t features)
{
    struct race_options o = {
        .format = format, .features = features, .cpus = CPUS, .seed = 1, .memory = UINT64_C(64) << 20};
    unsigned n = 0, discards = 0;

    race_open(&race, &o);
    for (unsigned a = 0; a < sizeof(actors) / sizeof(actors[0]); a++) {
        for (unsigned b = 0; b < sizeof(between) / sizeof(between[0]); b++) {
            n += run_pair(&actors[a], &between[b], NULL);
        }
    }
    for (unsigned p = 0; p < sizeof(s42) / sizeof(s42[0]); p++) {
        discards += run_pair(&s42[p].a, &s42[p].b, s42[p].after);
    }
    race_close(&race);
    printf("%s: %u schedules, s42_discard_against_write: %u\n", name, n, discards);
}

int main(void)
{
    alarm(600);
    run_all("x86-ept4", ASPACE_FMT_X86_EPT4, ASPACE_FEAT_AD);
    run_all("arm-s2-39", ASPACE_FMT_ARM_S2_39, 0);
    printf("2 passed, 0 failed\n");
    return 0;
}
