/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pairs of operations that meet in one page, each pair in every order with two switches (baton.h): watchers against
 * the release of what they are told of and against their own end, pins against what takes frames away, harvests of the
 * dirty log against writes, forks against writes and faults, an object that takes pages back against the end of a
 * space. Owns these situations; must not know src/.
 */
#include "race/baton.h"
#include "race/race.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <aspace/dirty.h>
#include <aspace/fork.h>
#include <aspace/object.h>
#include <aspace/pin.h>
#include <aspace/watch.h>

enum { PAGES = 4, FAR = 400, CPUS = 3, RUNS = 2 }; /* CPU 2 runs in the space, in nobody's thread */
#define BASE SHARED_VA
#define WORD(n) (UINT64_C(0x600d) + (n))

void (*race_hook)(void);
void (*race_waits)(void);

static struct race race;

static void check(bool ok, const char *what, int line)
{
    if (!ok) {
        struct baton_place where = baton_where();
        baton_stop();
        race_fail(NULL, __FILE__, line, "%s (%s, at %u and %u)", what, where.pair->name, where.at[0], where.at[1]);
    }
}
#define CHECK(condition) check((condition), #condition, __LINE__)

static uint64_t va_of(unsigned n)
{
    return BASE + n * RACE_PAGE;
}

/* A store of the program on CPU 2, through its TLB; 0: it would fault. */
static bool store(unsigned n, uint64_t value)
{
    uint64_t pa;
    bool done = sim_cpu_access(race.cpu[RUNS].sim, &race.sim_space, va_of(n), ASPACE_W, &pa) == SIM_OK;

    if (done) {
        race_store(pa, value);
    }
    return done;
}

/* With the faults that it takes, on the CPU that runs. */
static void write_through(unsigned n, uint64_t value)
{
    while (!store(n, value)) {
        enum aspace_fault_result r = aspace_fault(race.space, va_of(n), ASPACE_W, NULL);
        CHECK(r == ASPACE_FAULT_DONE || r == ASPACE_FAULT_SPURIOUS || r == ASPACE_FAULT_RETRY);
        sim_cpu_fence(race.cpu[RUNS].sim, &race.sim_space, va_of(n));
        if (r == ASPACE_FAULT_RETRY && race_waits) {
            race_waits();
        }
    }
}

static void write_word(unsigned n, uint64_t value)
{
    int rc;

    while ((rc = aspace_write_object(race.space, va_of(n), &value)) == ASPACE_E_RETRY) {
        if (race_waits) {
            race_waits();
        }
    }
    CHECK(rc == ASPACE_OK);
}

/* --------------------------------------------------------------------------------------------------- every schedule */

/* What is mapped at first: frames, and what the ledger says of them. */
static struct {
    uint64_t pa[PAGES];
    uint32_t generation[PAGES];
} was;

static struct aspace *other; /* another space, to be destroyed: it waits until all that is deferred is released */
static bool other_lives;

static struct aspace *child; /* of a fork */

static void create(struct aspace *space, uint32_t tag)
{
    struct aspace_config config = race.config;

    config.tag = tag;
    CHECK(aspace_create(space, race.host, &config) == ASPACE_OK);
}

static void prepare_other(void)
{
    struct aspace_map m = {.size = RACE_PAGE, .kind = ASPACE_KIND_EAGER, .rights = race.rw};

    create(other, race.config.tag + 1);
    other_lives = true;
    CHECK(aspace_map(other, &m, NULL) == ASPACE_OK);
    CHECK(aspace_unmap(other, 0, RACE_PAGE) == ASPACE_OK);
}

static void prepare(void)
{
    struct aspace_map m = {.va = BASE,
                           .size = (FAR + 1) * RACE_PAGE,
                           .kind = ASPACE_KIND_LAZY,
                           .rights = race.rw,
                           .max_rights = race.ro | race.rw};

    CHECK(aspace_map(race.space, &m, NULL) == ASPACE_OK);
    aspace_linux_set_cpu(RUNS);
    race_enter(&race.cpu[RUNS]);
    for (unsigned n = 0; n < PAGES; n++) {
        struct aspace_translation t;
        write_through(n, WORD(n));
        CHECK(aspace_translate(race.space, va_of(n), &t) == ASPACE_OK);
        was.pa[n] = t.pa;
        was.generation[n] = arena_generation(&race.machine.arena, t.pa);
    }
    write_through(FAR, WORD(FAR));
    aspace_linux_set_cpu(0);
    prepare_other();
}

static void do_release(void)
{
    other_lives = false;
    CHECK(aspace_destroy(other) == ASPACE_OK);
}

static void finish(void)
{
    struct arena_counts a;

    CHECK(aspace_audit(race.space, race_print_line, NULL) == 0);
    aspace_linux_set_cpu(RUNS);
    race_leave(&race.cpu[RUNS]);
    aspace_linux_set_cpu(0);
    CHECK(aspace_unmap(race.space, 0, SPACE_BYTES) == ASPACE_OK);
    if (other_lives) {
        do_release();
    }
    aspace_trim(race.host);
    arena_counts_read(&race.machine.arena, &a);
    CHECK(a.data == race.device_frames);
    CHECK(sim_violations(&race.machine.sim) == 0 && arena_violations(&race.machine.arena) == 0);
}

static void do_unmap(void)
{
    CHECK(aspace_unmap(race.space, BASE, PAGES * RACE_PAGE) == ASPACE_OK);
}

static void do_unmap_table(void)
{
    CHECK(aspace_unmap(race.space, BASE, RACE_BIG) == ASPACE_OK);
}

static void do_discard(void)
{
    CHECK(aspace_discard(race.space, BASE, PAGES * RACE_PAGE) == ASPACE_OK);
}

static void do_replace(void)
{
    struct aspace_map m = {.va = BASE,
                           .size = PAGES * RACE_PAGE,
                           .kind = ASPACE_KIND_LINEAR,
                           .rights = race.rw,
                           .pa = race.shared_pa,
                           .flags = ASPACE_MAP_REPLACE};

    CHECK(aspace_map(race.space, &m, NULL) == ASPACE_OK);
}

static void do_migrate(void)
{
    int rc = aspace_migrate(race.space, BASE, ASPACE_PA_NONE);

    CHECK(rc == ASPACE_OK || rc == ASPACE_E_BUSY);
}

static void do_unmap_and_release(void)
{
    do_unmap();
    do_release();
}

/* --------------------------------------------------------------------------------------------------------- watchers */

static struct aspace_watcher watcher;
static struct {
    unsigned calls;
    bool ended; /* aspace_unwatch has returned */
    bool found; /* there was something at BASE when aspace_watch had returned */
} watch;

/* Told before anything is released, and when no CPU gets there by its TLB. */
static void gone(struct aspace_watcher *w, const struct aspace_gone *told)
{
    struct aspace_area area;

    CHECK(!watch.ended && w == &watcher && told->va >= BASE && told->size);
    for (unsigned n = 0; n < PAGES; n++) {
        if (va_of(n) < told->va || va_of(n) >= told->va + told->size || (told->kind == ASPACE_GONE_FRAME && n)) {
            continue;
        }
        CHECK(arena_generation(&race.machine.arena, was.pa[n]) == was.generation[n]);
        CHECK(!sim_cpu_caches(race.cpu[RUNS].sim, &race.sim_space, va_of(n)));
    }
    (void)!aspace_query(race.space, BASE, &area); /* the others go on while it is told */
    CHECK(!watch.ended);
    watch.calls++;
}

static void do_watch(void)
{
    struct aspace_translation t;

    CHECK(aspace_watch(race.space, &watcher) == ASPACE_OK);
    watch.found = aspace_translate(race.space, BASE, &t) == ASPACE_OK;
}

static void do_unwatch(void)
{
    aspace_unwatch(race.space, &watcher);
    watch.ended = true;
}

static void prepare_unwatched(void)
{
    prepare();
    memset(&watch, 0, sizeof(watch));
    watcher = (struct aspace_watcher){.va = BASE, .size = PAGES * RACE_PAGE, .gone = gone};
}

static void prepare_watched(void)
{
    prepare_unwatched();
    do_watch();
}

static void finish_watched(void)
{
    CHECK(watch.ended || !watch.found || watch.calls == 1);
    if (!watch.ended) {
        do_unwatch();
    }
    finish();
}

/* ------------------------------------------------------------------------------------------------------------- pins */

static struct {
    uint64_t pa;
    bool held;
} pin;

static void do_pin(void)
{
    int rc = aspace_pin(race.space, BASE, RACE_PAGE, ASPACE_RW, &pin.pa);

    CHECK(rc == ASPACE_OK || rc == ASPACE_E_NOT_MAPPED || rc == ASPACE_E_RETRY);
    pin.held = rc == ASPACE_OK;
}

static void do_unpin(void)
{
    CHECK(aspace_unpin(race.space, BASE, RACE_PAGE, &pin.pa) == ASPACE_OK);
    pin.held = false;
}

static void prepare_pinned(void)
{
    prepare();
    do_pin();
    CHECK(pin.held);
}

/* The frame is there as long as it is pinned, and where it is mapped no other is. */
static void finish_pinned(void)
{
    struct aspace_translation t;

    if (pin.held) {
        CHECK(arena_generation(&race.machine.arena, pin.pa) & 1);
        CHECK(pin.pa != was.pa[0] || arena_generation(&race.machine.arena, pin.pa) == was.generation[0]);
        CHECK(aspace_translate(race.space, BASE, &t) != ASPACE_OK || t.pa == pin.pa);
        do_unpin();
    }
    finish();
}

/* ---------------------------------------------------------------------------------------------------------- the log */

enum { RING = 8 };

static uint64_t harvested; /* the contents when the harvest had returned */
static uint64_t entries[CPUS][RING];
static struct aspace_dirty_ring rings[CPUS];

static uint64_t harvest(void)
{
    uint64_t bits = 0;

    CHECK(aspace_harvest_dirty(race.space, BASE, PAGES * RACE_PAGE, &bits, NULL) == ASPACE_OK);
    return bits;
}

/* The same from the rings. */
static bool drain(void)
{
    struct aspace_range ranges[PAGES];
    size_t n = PAGES;
    bool told = false;

    CHECK(aspace_drain_dirty(race.space, ranges, &n) == ASPACE_OK);
    for (size_t i = 0; i < n; i++) {
        told |= ranges[i].va <= BASE && BASE < ranges[i].va + ranges[i].size;
    }
    return told;
}

static void do_drain(void)
{
    (void)drain();
    harvested = race_load(was.pa[0]);
}

static void do_harvest(void)
{
    (void)harvest();
    harvested = race_load(was.pa[0]);
}

static void do_write_through(void)
{
    write_through(0, WORD(0) + 1);
    write_through(0, WORD(0) + 2);
}

static void do_store(void)
{
    struct aspace_area area;

    (void)!aspace_query(race.space, BASE, &area); /* the other comes in between */
    store(0, WORD(0) + 1);
}

static void do_write(void)
{
    write_word(0, WORD(0) + 1);
    write_word(0, WORD(0) + 2);
}

static void start_log(enum aspace_dirty_mode mode, struct aspace_dirty_ring *in)
{
    struct aspace_dirty_config c = {.mode = mode, .va = BASE, .size = PAGES * RACE_PAGE, .rings = in};

    prepare();
    CHECK(aspace_dirty_start(race.space, &c) == ASPACE_OK);
    write_through(0, WORD(0) + 8);
}

static void prepare_log(void)
{
    start_log(ASPACE_DIRTY_WRITE_PROTECT, NULL);
}

static void prepare_rings(void)
{
    for (unsigned n = 0; n < CPUS; n++) {
        rings[n] = (struct aspace_dirty_ring){.pages = entries[n], .entries = RING};
    }
    start_log(ASPACE_DIRTY_WRITE_PROTECT, rings);
    (void)drain();
}

static void prepare_hardware_log(void)
{
    start_log(ASPACE_DIRTY_HARDWARE, NULL);
}

/* Who copied the page when the first harvest had told it is told again if that was not the last of it. */
static void finish_told(bool told)
{
    CHECK(told || race_load(was.pa[0]) == harvested);
    CHECK(aspace_dirty_stop(race.space) == ASPACE_OK);
    finish();
}

static void finish_log(void)
{
    finish_told(harvest() & 1);
}

static void finish_rings(void)
{
    finish_told(drain());
}

/* ------------------------------------------------------------------------------------------------------------ forks */

static uint64_t word_of(struct aspace *space, unsigned n)
{
    uint64_t word = 0;

    CHECK(aspace_read_object(space, va_of(n), &word) == ASPACE_OK);
    return word;
}

/* The first and the last page of the area that are filled, and two that are not: a fork takes its time in between. */
enum { FIRST, FIRST_UNFILLED, LAST_UNFILLED, LAST, LOOKED_AT };
static const unsigned looked_at[LOOKED_AT] = {0, PAGES, FAR - 1, FAR};
static uint64_t seen[LOOKED_AT]; /* of the child when the fork had returned */

static void do_fork(void)
{
    CHECK(aspace_fork(race.space, child) == ASPACE_OK);
    for (unsigned n = 0; n < LOOKED_AT; n++) {
        seen[n] = word_of(child, looked_at[n]);
    }
}

static void do_write_both_through(void)
{
    write_through(0, WORD(8));
    write_through(FAR, WORD(9));
}

static void do_fill_both(void)
{
    write_through(PAGES, WORD(8));
    write_through(FAR - 1, WORD(9));
}

/* The first by a call that looks at the page before it stores. */
static void do_exchange_both(void)
{
    uint64_t expected = WORD(0);
    bool swapped = false;
    int rc;

    while ((rc = aspace_compare_exchange(race.space, BASE, 8, &expected, WORD(8), &swapped)) == ASPACE_E_RETRY) {
        race_waits();
    }
    CHECK(rc == ASPACE_OK && swapped);
    write_word(FAR, WORD(9));
}

static void prepare_fork(void)
{
    prepare();
    create(child, race.config.tag + 2);
}

/* All was shared once, and the other has left; the last page was taken back. */
static void prepare_fork_again(void)
{
    prepare_fork();
    do_fork();
    CHECK(aspace_destroy(child) == ASPACE_OK);
    create(child, race.config.tag + 3);
    write_through(FAR, WORD(FAR));
}

/* Who has the later write has the earlier one; what is written after the fork only the parent has. */
static void finish_fork(void)
{
    bool filled = word_of(race.space, PAGES) == WORD(8);
    unsigned first = filled ? FIRST_UNFILLED : FIRST, last = filled ? LAST_UNFILLED : LAST;

    CHECK(word_of(race.space, looked_at[first]) == WORD(8) && word_of(race.space, looked_at[last]) == WORD(9));
    CHECK(seen[last] != WORD(9) || seen[first] == WORD(8));
    write_through(looked_at[first], 1);
    write_through(looked_at[last], 2);
    for (unsigned n = 0; n < LOOKED_AT; n++) {
        CHECK(word_of(child, looked_at[n]) == seen[n]);
    }
    CHECK(aspace_audit(child, race_print_line, NULL) == 0);
    CHECK(aspace_destroy(child) == ASPACE_OK);
    finish();
}

/* ---------------------------------------------------------------------------------------------------------- objects */

static struct aspace_object object;
static uint64_t page_pa;
static unsigned page_references;

static enum aspace_fault_result get(struct aspace_object *o, uint64_t offset, uint32_t access, uint32_t flags,
                                    struct aspace_page *page)
{
    (void)o, (void)offset, (void)access, (void)flags;
    page->pa = page_pa;
    page_references++;
    return ASPACE_FAULT_DONE;
}

static void put(struct aspace_object *o, uint64_t offset, aspace_pa_t pa)
{
    (void)o, (void)offset;
    CHECK(pa == page_pa && page_references);
    page_references--;
}

static const struct aspace_object_ops object_ops = {.name = "one page", .get = get, .put = put};

static void do_evict(void)
{
    (void)!aspace_object_evict(&object, 0, RACE_PAGE);
}

static void do_truncate(void)
{
    aspace_object_truncate(&object, 0);
}

/* The memory is the embedder's again, and of the object's references one is his, one the other area's. */
static void do_destroy(void)
{
    do_release();
    CHECK(object.references == 2);
    memset(other, 0xee, aspace_bytes(race.host));
}

static void prepare_object(void)
{
    struct aspace_map m = {.size = RACE_PAGE, .kind = ASPACE_KIND_SHARED, .rights = race.rw, .object = &object};
    uint64_t word;

    prepare();
    page_pa = race.shared_pa;
    page_references = 0;
    CHECK(aspace_object_init(&object, race.host, &object_ops, RACE_PAGE) == ASPACE_OK);
    CHECK(aspace_map(other, &m, NULL) == ASPACE_OK);
    CHECK(aspace_read_object(other, 0, &word) == ASPACE_OK);
    m.va = va_of(FAR + 1);
    CHECK(aspace_map(race.space, &m, NULL) == ASPACE_OK);
}

static void finish_object(void)
{
    finish();
    CHECK(page_references == 0 && object.references == 1);
}

/* ------------------------------------------------------------------------------------------------------ the program */

static const struct baton_pair pairs[] = {
    {"watched unmap, release", prepare_watched, {do_unmap, do_release}, finish_watched},
    {"watched unmap of a table, release", prepare_watched, {do_unmap_table, do_release}, finish_watched},
    {"watched discard, release", prepare_watched, {do_discard, do_release}, finish_watched},
    {"watched replace, release", prepare_watched, {do_replace, do_release}, finish_watched},
    {"watched migrate, release", prepare_watched, {do_migrate, do_release}, finish_watched},
    {"watched unmap, unwatch", prepare_watched, {do_unmap, do_unwatch}, finish_watched},
    {"unwatch, watched discard", prepare_watched, {do_unwatch, do_discard}, finish_watched},
    {"watch, unmap", prepare_unwatched, {do_watch, do_unmap}, finish_watched},
    {"unmap of a table, watch", prepare_unwatched, {do_unmap_table, do_watch}, finish_watched},
    {"migrate, pin", prepare, {do_migrate, do_pin}, finish_pinned},
    {"pin, migrate", prepare, {do_pin, do_migrate}, finish_pinned},
    {"discard, pin", prepare, {do_discard, do_pin}, finish_pinned},
    {"pin, discard", prepare, {do_pin, do_discard}, finish_pinned},
    {"pin, unmap and release", prepare, {do_pin, do_unmap_and_release}, finish_pinned},
    {"unmap and release, unpin", prepare_pinned, {do_unmap_and_release, do_unpin}, finish_pinned},
    {"unpin, unmap and release", prepare_pinned, {do_unpin, do_unmap_and_release}, finish_pinned},
    {"harvest, write", prepare_log, {do_harvest, do_write}, finish_log},
    {"write, harvest", prepare_log, {do_write, do_harvest}, finish_log},
    {"harvest, write through a TLB", prepare_log, {do_harvest, do_write_through}, finish_log},
    {"store through a TLB, harvest", prepare_log, {do_store, do_harvest}, finish_log},
    {"hardware harvest, write", prepare_hardware_log, {do_harvest, do_write}, finish_log},
    {"write, hardware harvest", prepare_hardware_log, {do_write, do_harvest}, finish_log},
    {"write, drain of rings", prepare_rings, {do_write, do_drain}, finish_rings},
    {"write through a TLB, drain of rings", prepare_rings, {do_write_through, do_drain}, finish_rings},
    {"drain of rings, write", prepare_rings, {do_drain, do_write}, finish_rings},
    {"fork, writes through a TLB", prepare_fork, {do_fork, do_write_both_through}, finish_fork},
    {"fork, first touches", prepare_fork, {do_fork, do_fill_both}, finish_fork},
    {"fork, exchange and write", prepare_fork, {do_fork, do_exchange_both}, finish_fork},
    {"evict, destroy", prepare_object, {do_evict, do_destroy}, finish_object},
    {"truncate, destroy", prepare_object, {do_truncate, do_destroy}, finish_object},
    {"pages taken back, fork", prepare_fork_again, {do_write_both_through, do_fork}, finish_fork},
};

static unsigned run_all(enum aspace_format format, uint32_t features, unsigned places, const char *only)
{
    struct race_options o = {
        .format = format, .features = features, .cpus = CPUS, .seed = 1, .memory = UINT64_C(64) << 20};
    unsigned n = 0;

    race_open(&race, &o);
    child = aligned_alloc(ASPACE_CACHE_LINE, aspace_bytes(race.host));
    other = aligned_alloc(ASPACE_CACHE_LINE, aspace_bytes(race.host));
    RACE_CHECK(NULL, child && other);
    baton_open();
    for (unsigned i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        bool hardware = pairs[i].prepare == prepare_hardware_log;
        if (strstr(pairs[i].name, only) && (!hardware || features & ASPACE_FEAT_AD)) {
            unsigned schedules = baton_run(&pairs[i], 1, places);
            printf("%s: %s: %u schedules\n", aspace_format_name(format), pairs[i].name, schedules);
            n += schedules;
        }
    }
    baton_close();
    free(child);
    free(other);
    race_close(&race);
    return n;
}

/* First argument: how many places of the second are looked at for each of the first, 0: all. Second: only pairs whose
 * name has this. */
int main(int argc, char **argv)
{
    unsigned places = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 4, n;
    const char *only = argc > 2 ? argv[2] : "";

    alarm(600);
    n = run_all(ASPACE_FMT_X86_EPT4, ASPACE_FEAT_AD, places, only);
    n += run_all(ASPACE_FMT_ARM_S2_39, 0, places, only);
    printf("%u passed, 0 failed\n", n ? 2 : 0);
    return n ? 0 : 2;
}
