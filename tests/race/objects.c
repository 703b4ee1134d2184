/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An object takes its pages back while CPUs fault them in, write them, and map and unmap the areas, in two spaces, one
 * of which comes and goes. What must hold: once evict or truncate has returned, nobody reaches the old page; a frame
 * goes back to the arena, which asks the TLBs, with its last reference; no write is lost to a page that was called
 * clean. Must not know src/.
 */
#include "race/race.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <aspace/object.h>

enum { PAGES = 16, WIDE_BIGS = 40, OWNER = 0, MAPPER = 3, THREADS = 4, ARENA_FRAMES = 64 << 8 };

#define SHARED_AT (7 * RACE_PAGE)             /* in the first space */
#define PRIVATE_AT (RACE_BIG - 5 * RACE_PAGE) /* over the end of a table */
#define OTHER_AT (3 * RACE_PAGE)              /* in the second space */
#define MADE_HERE (UINT64_C(1) << 63)         /* a word that was written to a private copy */

static struct race race;

/* ------------------------------------------------------------------------------------------------------- the object */

/* A frame that holds, or held, a page. */
struct held {
    unsigned references;
    bool dead;
};

static struct {
    struct aspace_object object;
    pthread_mutex_t lock;
    aspace_pa_t pa[PAGES]; /* 0: none */
    uint64_t incarnation[PAGES];
    uint64_t least[PAGES]; /* no older one may be seen by now */
    uint64_t phase, limit; /* odd phase: pages from `limit` on are not there */
    uint32_t dirty[PAGES];
    bool tracks;
    struct held held[ARENA_FRAMES];
} store;

static struct held *held_of(aspace_pa_t pa)
{
    return &store.held[(pa - race.machine.arena.config.pa_base) / RACE_PAGE];
}

static void drop(aspace_pa_t pa)
{
    if (!pa) {
        return;
    }
    held_of(pa)->dead = true;
    if (held_of(pa)->references == 0) {
        race.hal.free(&race.machine, pa, 0);
    }
}

static enum aspace_fault_result store_get(struct aspace_object *object, uint64_t offset, uint32_t access,
                                          uint32_t flags, struct aspace_page *page)
{
    unsigned n = (unsigned)(offset / RACE_PAGE);

    (void)object, (void)flags;
    pthread_mutex_lock(&store.lock);
    if (!store.pa[n]) {
        store.pa[n] = race.hal.alloc(&race.machine, 0, ASPACE_ALLOC_ZERO);
        *held_of(store.pa[n]) = (struct held){0, false};
        race_store(store.pa[n], (uint64_t)n << 48 | store.incarnation[n]);
    }
    page->pa = store.pa[n];
    held_of(page->pa)->references++;
    pthread_mutex_unlock(&store.lock);
    if (store.tracks && !(access & ASPACE_W)) {
        page->rights &= ~(uint32_t)ASPACE_W;
    }
    if (access & ASPACE_W) {
        __atomic_store_n(&store.dirty[n], 1, __ATOMIC_SEQ_CST);
    }
    return ASPACE_FAULT_DONE;
}

static void store_put(struct aspace_object *object, uint64_t offset, aspace_pa_t pa)
{
    (void)object, (void)offset;
    pthread_mutex_lock(&store.lock);
    RACE_CHECK(&race.cpu[aspace_cpu_id()], held_of(pa)->references > 0);
    if (--held_of(pa)->references == 0 && held_of(pa)->dead) {
        race.hal.free(&race.machine, pa, 0);
    }
    pthread_mutex_unlock(&store.lock);
}

static const struct aspace_object_ops store_ops = {.name = "store", .get = store_get, .put = store_put};

/* From now on `get` gives another page; returns what incarnation that is. */
static uint64_t renew(unsigned n)
{
    pthread_mutex_lock(&store.lock);
    drop(store.pa[n]);
    store.pa[n] = 0;
    uint64_t incarnation = ++store.incarnation[n];
    pthread_mutex_unlock(&store.lock);
    return incarnation;
}

/* ---------------------------------------------------------------------------------------------------------- the
 * areas */

static void map_at(struct race_cpu *cpu, struct aspace *space, enum aspace_kind kind, uint64_t va)
{
    struct aspace_map m = {
        .va = va, .size = PAGES * RACE_PAGE, .kind = kind, .rights = race.rw, .object = &store.object};

    m.flags = ASPACE_MAP_REPLACE;
    RACE_CHECK(cpu, aspace_map(space, &m, NULL) == ASPACE_OK);
}

static struct aspace *other;
static pthread_rwlock_t other_lock = PTHREAD_RWLOCK_INITIALIZER;

static void open_other(struct race_cpu *cpu)
{
    struct aspace_config config = race.config;

    config.tag = race.config.tag + 1;
    other = aligned_alloc(ASPACE_CACHE_LINE, aspace_bytes(race.host));
    RACE_CHECK(cpu, other && aspace_create(other, race.host, &config) == ASPACE_OK);
    map_at(cpu, other, ASPACE_KIND_SHARED, OTHER_AT);
    /* A long way for who takes pages back, most of it past the end of the object. */
    struct aspace_map m = {
        .va = RACE_BIG, .size = WIDE_BIGS * RACE_BIG, .kind = ASPACE_KIND_PRIVATE, .rights = race.rw};
    m.object = &store.object;
    RACE_CHECK(cpu, aspace_map(other, &m, NULL) == ASPACE_OK);
    m.va += WIDE_BIGS * RACE_BIG;
    RACE_CHECK(cpu, aspace_map(other, &m, NULL) == ASPACE_OK);
}

static void close_other(struct race_cpu *cpu)
{
    RACE_CHECK(cpu, aspace_destroy(other) == ASPACE_OK);
    memset(other, 0xee, aspace_bytes(race.host)); /* nobody may be in there */
    free(other);
    other = NULL;
}

/* Parts go, and come back; the second space as a whole. */
static void change_areas(struct race_cpu *cpu)
{
    uint64_t how = race_below(cpu, 8), page = race_below(cpu, PAGES), va = race_below(cpu, 2) ? SHARED_AT : PRIVATE_AT;

    if (how < 3) {
        RACE_CHECK(cpu, aspace_unmap(race.space, va + page * RACE_PAGE, RACE_PAGE) == ASPACE_OK);
    } else if (how < 5) {
        map_at(cpu, race.space, va == SHARED_AT ? ASPACE_KIND_SHARED : ASPACE_KIND_PRIVATE, va);
    } else if (how < 6) {
        RACE_CHECK(cpu, aspace_discard(race.space, va, PAGES * RACE_PAGE) == ASPACE_OK);
    } else if (how < 7) {
        int error = aspace_protect(race.space, va, PAGES * RACE_PAGE, race.rw);
        RACE_CHECK(cpu, error == ASPACE_OK || error == ASPACE_E_NOT_MAPPED);
    } else {
        pthread_rwlock_wrlock(&other_lock);
        close_other(cpu);
        open_other(cpu);
        pthread_rwlock_unlock(&other_lock);
    }
}

/* --------------------------------------------------------------------------------------------------------- accesses */

/* What a CPU finds, once; no rights or no page is an answer too. */
static bool look(struct race_cpu *cpu, uint64_t va, uint32_t access, uint64_t *word)
{
    uint64_t pa;

    for (unsigned tries = 0; tries < 3; tries++) {
        if (sim_cpu_access(cpu->sim, &race.sim_space, va, access, &pa) == SIM_OK) {
            *word = race_load(pa);
            if (access & ASPACE_W && va >= PRIVATE_AT) {
                race_store(pa, *word | MADE_HERE);
            }
            return true;
        }
        enum aspace_fault_result r = aspace_fault(race.space, va, access, NULL);
        if (r != ASPACE_FAULT_DONE && r != ASPACE_FAULT_SPURIOUS && r != ASPACE_FAULT_RETRY) {
            return false;
        }
        sim_cpu_fence(cpu->sim, &race.sim_space, va);
    }
    return false;
}

static bool look_elsewhere(unsigned n, uint64_t *word)
{
    bool found = false;

    if (pthread_rwlock_tryrdlock(&other_lock) == 0) {
        found = aspace_read(other, OTHER_AT + n * RACE_PAGE, word, sizeof(*word), NULL) == ASPACE_OK;
        pthread_rwlock_unlock(&other_lock);
    }
    return found;
}

static void access_page(struct race_cpu *cpu)
{
    unsigned n = (unsigned)race_below(cpu, PAGES);
    uint64_t phase = __atomic_load_n(&store.phase, __ATOMIC_SEQ_CST),
             limit = __atomic_load_n(&store.limit, __ATOMIC_SEQ_CST);
    uint64_t least = __atomic_load_n(&store.least[n], __ATOMIC_SEQ_CST), word = 0;
    uint32_t access = race_below(cpu, 2) ? ASPACE_W : ASPACE_R;
    bool gone = (phase & 1) && n >= limit, private = race_below(cpu, 3) == 0, found;

    if (private) {
        found = look(cpu, PRIVATE_AT + n * RACE_PAGE, access, &word);
    } else if (race_below(cpu, 3) == 0) {
        found = look_elsewhere(n, &word);
    } else {
        found = look(cpu, SHARED_AT + n * RACE_PAGE, access, &word);
    }
    if (!found) {
        return;
    }
    RACE_CHECK(cpu, !(gone && __atomic_load_n(&store.phase, __ATOMIC_SEQ_CST) == phase));
    RACE_CHECK(cpu, (word & ~MADE_HERE) >> 48 == n);
    RACE_CHECK(cpu, private || !(word & MADE_HERE));
    RACE_CHECK(cpu, private || (word & 0xffffffffffff) >= least);
}

/* --------------------------------------------------------------------------------------------------------- the
 * owner */

static void evict(unsigned n)
{
    uint64_t incarnation = renew(n);

    aspace_object_evict(&store.object, n * RACE_PAGE, RACE_PAGE);
    __atomic_store_n(&store.least[n], incarnation, __ATOMIC_SEQ_CST);
}

static void truncate_and_grow(struct race_cpu *cpu)
{
    uint64_t limit = race_below(cpu, PAGES);

    __atomic_store_n(&store.limit, limit, __ATOMIC_SEQ_CST);
    aspace_object_truncate(&store.object, limit * RACE_PAGE);
    __atomic_store_n(&store.phase, store.phase + 1, __ATOMIC_SEQ_CST);
    for (unsigned n = (unsigned)limit; n < PAGES; n++) {
        uint64_t incarnation = renew(n);
        __atomic_store_n(&store.least[n], incarnation, __ATOMIC_SEQ_CST);
    }
    for (uint64_t i = race_below(cpu, 300); i; i--) {
        race_quiescent(cpu);
        aspace_pause();
    }
    __atomic_store_n(&store.phase, store.phase + 1, __ATOMIC_SEQ_CST);
    aspace_object_truncate(&store.object, PAGES * RACE_PAGE);
}

static uint64_t steps;
static bool finished; /* the owner has made its steps */

static bool goes_on(struct race_cpu *cpu)
{
    race_quiescent(cpu);
    if (cpu->id != OWNER) {
        if (cpu->step++ % 4 == 0) {
            sched_yield(); /* the owner waits for every CPU, and may have no processor to itself */
        }
        return !__atomic_load_n(&finished, __ATOMIC_ACQUIRE);
    }
    if (cpu->step == steps) {
        __atomic_store_n(&finished, true, __ATOMIC_RELEASE);
    }
    return cpu->step++ < steps;
}

static void take_back(struct race_cpu *cpu)
{
    race_enter(cpu);
    while (goes_on(cpu)) {
        if (cpu->id == OWNER && race_below(cpu, 4) == 0) {
            truncate_and_grow(cpu);
        } else if (cpu->id == OWNER) {
            evict((unsigned)race_below(cpu, PAGES));
        } else if (cpu->id == MAPPER) {
            change_areas(cpu);
        } else {
            access_page(cpu);
        }
    }
    race_leave(cpu);
}

/* ------------------------------------------------------------------------------------------------------ writing
 * back */

static uint64_t disk[PAGES];

/* 0: nobody has asked for the page yet. */
static uint64_t contents(unsigned n)
{
    pthread_mutex_lock(&store.lock);
    aspace_pa_t pa = store.pa[n];
    pthread_mutex_unlock(&store.lock);
    return pa ? race_load(pa + 8) : 0;
}

static void write_back(struct race_cpu *cpu, unsigned n)
{
    if (!__atomic_exchange_n(&store.dirty[n], 0, __ATOMIC_SEQ_CST)) {
        return;
    }
    aspace_object_clean(&store.object, n * RACE_PAGE, RACE_PAGE);
    disk[n] = contents(n);
    race_dawdle(cpu);
}

/* Contents of which nobody has said since that they would change are those on the disk. */
static void check_clean(struct race_cpu *cpu, unsigned n)
{
    uint64_t now = contents(n);

    RACE_CHECK(cpu, __atomic_load_n(&store.dirty[n], __ATOMIC_SEQ_CST) || now == disk[n]);
}

/* Each writer has pages of its own, and counts in them. */
static void write_on(struct race_cpu *cpu)
{
    uint64_t pa, va = SHARED_AT + (cpu->id + race_below(cpu, PAGES / THREADS) * THREADS) * RACE_PAGE;

    if (sim_cpu_access(cpu->sim, &race.sim_space, va + 8, ASPACE_W, &pa) == SIM_OK) {
        race_store(pa, race_load(pa) + 1);
        return;
    }
    enum aspace_fault_result r = aspace_fault(race.space, va, race_below(cpu, 2) ? ASPACE_W : ASPACE_R, NULL);
    RACE_CHECK(cpu, r == ASPACE_FAULT_DONE || r == ASPACE_FAULT_SPURIOUS || r == ASPACE_FAULT_RETRY);
    sim_cpu_fence(cpu->sim, &race.sim_space, va);
}

static void keep_clean(struct race_cpu *cpu)
{
    race_enter(cpu);
    while (goes_on(cpu)) {
        if (cpu->id == OWNER) {
            write_back(cpu, (unsigned)race_below(cpu, PAGES));
            check_clean(cpu, (unsigned)race_below(cpu, PAGES));
        } else {
            write_on(cpu);
        }
    }
    race_leave(cpu);
}

/* ------------------------------------------------------------------------------------------------------ the program */

static void begin(enum aspace_format format, uint32_t features, enum aspace_smr smr, bool tracks)
{
    struct race_options o = {.format = format, .features = features, .smr = smr, .cpus = THREADS, .seed = steps};

    o.memory = (uint64_t)ARENA_FRAMES * RACE_PAGE;
    finished = false;
    race_open(&race, &o);
    aspace_cpu_online(race.host);
    memset(&store, 0, sizeof(store));
    pthread_mutex_init(&store.lock, NULL);
    store.tracks = tracks;
    memset(disk, 0, sizeof(disk));
    RACE_CHECK(&race.cpu[0], aspace_object_init(&store.object, race.host, &store_ops, PAGES * RACE_PAGE) == ASPACE_OK);
    map_at(&race.cpu[0], race.space, ASPACE_KIND_SHARED, SHARED_AT);
    map_at(&race.cpu[0], race.space, ASPACE_KIND_PRIVATE, PRIVATE_AT);
    open_other(&race.cpu[0]);
    aspace_cpu_offline(race.host);
}

static void end(void)
{
    struct race_cpu *cpu = &race.cpu[0];

    aspace_cpu_online(race.host);
    RACE_CHECK(cpu, aspace_audit(race.space, race_print_line, NULL) == 0);
    RACE_CHECK(cpu, aspace_audit(other, race_print_line, NULL) == 0);
    close_other(cpu);
    RACE_CHECK(cpu, aspace_clear(race.space) == ASPACE_OK);
    aspace_trim(race.host);
    RACE_CHECK(cpu, store.object.references == 1);
    for (unsigned n = 0; n < PAGES; n++) {
        RACE_CHECK(cpu, !store.pa[n] || held_of(store.pa[n])->references == 0);
        drop(store.pa[n]);
    }
    aspace_cpu_offline(race.host);
    race_close(&race);
}

int main(int argc, char **argv)
{
    static const struct {
        enum aspace_format format;
        uint32_t features;
        enum aspace_smr smr;
    } ways[] = {
        {ASPACE_FMT_X86_EPT4, ASPACE_FEAT_AD, ASPACE_SMR_EPOCH},
        {ASPACE_FMT_ARM_S2_48, 0, ASPACE_SMR_QSBR},
        {ASPACE_FMT_RISCV_SV39, 0, ASPACE_SMR_EPOCH},
    };
    unsigned n = sizeof(ways) / sizeof(ways[0]), passed = 0;

    steps = argc == 3 && strcmp(argv[1], "--steps") == 0 ? strtoull(argv[2], NULL, 10) : 3000;
    alarm(600);
    for (unsigned i = 0; i < n; i++) {
        begin(ways[i].format, ways[i].features, ways[i].smr, i == 2);
        race_run(&race, take_back);
        end();
        printf("take_back: %s\n", aspace_format_name(ways[i].format));
        begin(ways[i].format, ways[i].features, ways[i].smr, true);
        race_run(&race, keep_clean);
        for (unsigned k = 0; k < PAGES; k++) {
            RACE_CHECK(&race.cpu[0], store.dirty[k] || disk[k] == contents(k));
        }
        end();
        printf("keep_clean: %s\n", aspace_format_name(ways[i].format));
        passed += 2;
    }
    printf("%u passed, 0 failed\n", passed);
    return 0;
}
