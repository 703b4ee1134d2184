/* SPDX-License-Identifier: BSD-2-Clause */
/* The machine of the tests with threads, its mistakes on request, and the checks while all CPUs rest. */
#include "race/race.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sim_walker.h"

void race_fail(const struct race_cpu *cpu, const char *file, int line, const char *format, ...)
{
    va_list args;

    flockfile(stdout);
    printf("FAILED %s:%d: ", file, line);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    if (cpu) {
        const struct race_options *o = &cpu->race->options;
        printf("\n  cpu %u, step %llu, %s; seed %llu, %s, features 0x%x, smr %u%s", cpu->id,
               (unsigned long long)cpu->step, cpu->doing ? cpu->doing : "-", (unsigned long long)o->seed,
               aspace_format_name(o->format), o->features, (unsigned)o->smr, o->hooks ? " (hooks)" : "");
    }
    printf("\n0 passed, 1 failed\n");
    fflush(stdout);
    _exit(1);
}

uint64_t race_random(struct race_cpu *cpu)
{
    uint64_t z = cpu->random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t race_below(struct race_cpu *cpu, uint64_t n)
{
    return race_random(cpu) % n;
}

/* -------------------------------------------------------------------------------------------- the mistaken embedder */

static struct aspace_hal right; /* what the mistaken functions call most of the time */

/* Every 32nd call of a CPU goes wrong: often enough to be found, seldom enough to be found by more than one test. */
static bool now_and_then(void)
{
    static _Thread_local unsigned calls;

    return ++calls % 32 == 0;
}

static void lose_flush(void *ctx, const struct aspace_flush *flush)
{
    if (!now_and_then()) {
        right.tlb_flush(ctx, flush);
    }
}

static void lose_wait(void *ctx, const struct aspace_flush *flush)
{
    (void)ctx;
    (void)flush;
}

static void lose_local(void *ctx, uint64_t tag, bool stage2)
{
    (void)ctx;
    (void)tag;
    (void)stage2;
}

static void no_section(void *ctx)
{
    (void)ctx;
}

static uint64_t no_goal(void *ctx)
{
    (void)ctx;
    return 0;
}

static bool always_passed(void *ctx, uint64_t goal)
{
    (void)ctx;
    return goal == 0;
}

static void make_mistake(struct aspace_hal *hal, enum race_mistake mistake)
{
    right = *hal;
    switch (mistake) {
    case FLUSH_LOST: hal->tlb_flush = lose_flush; break;
    case WAIT_LOST: hal->tlb_wait = lose_wait; break;
    case LOCAL_FLUSH_LOST: hal->tlb_flush_local = lose_local; break;
    case GRACE_LOST:
        hal->smr_enter = hal->smr_leave = no_section;
        hal->smr_goal = no_goal;
        hal->smr_passed = always_passed;
        break;
    default: break;
    }
}

/* ---------------------------------------------------------------------------------------------------------- machine */

static void *zeroed(size_t bytes)
{
    size_t whole = (bytes + ASPACE_CACHE_LINE - 1) / ASPACE_CACHE_LINE * ASPACE_CACHE_LINE;
    void *p = aligned_alloc(ASPACE_CACHE_LINE, whole);

    if (!p) {
        race_fail(NULL, __FILE__, __LINE__, "no memory for the test");
    }
    memset(p, 0, whole);
    return p;
}

static void open_machine(struct race *race)
{
    const struct race_options *o = &race->options;
    struct aspace_linux_config config = {
        .arena = {.kind = ARENA_CHECKED, .bytes = o->memory ? o->memory : UINT64_C(256) << 20, .quarantine = 256},
        .sim = {.cpus = o->cpus, .mode = SIM_THREADED, .leaves = 64, .walks = 16, .tag_bits = o->tag_bits},
    };
    struct aspace_host_config host = {.cpus = o->cpus, .smr = o->smr};

    if (aspace_linux_init(&race->machine, &config)) {
        race_fail(NULL, __FILE__, __LINE__, "no memory for the machine");
    }
    race->hal = *race->machine.hal;
    if (o->hooks) {
        o->hooks->install(&race->hal);
    }
    make_mistake(&race->hal, o->mistake);
    race->host = zeroed(ASPACE_HOST_BYTES(o->cpus));
    RACE_CHECK(NULL, aspace_host_init(race->host, &race->hal, &race->machine, &host) == ASPACE_OK);
}

/* Some formats cannot express every right. */
static bool expresses(struct race *race, uint32_t rights)
{
    struct aspace_map m = {.size = RACE_PAGE, .kind = ASPACE_KIND_LAZY, .rights = rights};

    if (aspace_map(race->space, &m, NULL) != ASPACE_OK) {
        return false;
    }
    return aspace_unmap(race->space, 0, RACE_PAGE) == ASPACE_OK;
}

static void open_space(struct race *race)
{
    race->config = (struct aspace_config){
        .format = race->options.format,
        .size = SPACE_BYTES,
        .features = race->options.features,
        .tag = 7,
    };
    race->space = zeroed(aspace_bytes(race->host));
    int error = aspace_create(race->space, race->host, &race->config);
    if (error) {
        race_fail(NULL, __FILE__, __LINE__, "create: %s", aspace_error_name(error));
    }
    race->sim_space.walk = sim_walk_naively;
    race->sim_space.levels = naive_levels(race->config.format);
    race->sim_space.index_bits = naive_index_bits(race->config.format);
    aspace_linux_describe(race->space, &race->config, &race->sim_space);
    race->ro = expresses(race, ASPACE_R) ? ASPACE_R : ASPACE_RX;
    race->rw = expresses(race, ASPACE_RW) ? ASPACE_RW : ASPACE_RWX;
}

static uint64_t device(struct race *race, uint64_t bytes)
{
    unsigned order = 0;

    while (RACE_PAGE << order < bytes) {
        order++;
    }
    uint64_t pa = race->machine.hal->alloc(&race->machine, order, ASPACE_ALLOC_ZERO);
    RACE_CHECK(NULL, pa != ASPACE_PA_NONE);
    race->device_frames += bytes / RACE_PAGE;
    return pa;
}

static void open_cpu(struct race *race, unsigned id)
{
    struct race_cpu *cpu = &race->cpu[id];
    const uint64_t va[WINDOWS] = {OWN_VA(id), STRIPES_VA + id * STRIPE_PAGES * RACE_PAGE};
    const unsigned pages[WINDOWS] = {OWN_BIGS * RACE_BIG_PAGES, STRIPE_PAGES};
    uint64_t pa = device(race, RACE_BIG);
    uint64_t *values = zeroed(RACE_BIG_PAGES * sizeof(uint64_t));

    cpu->race = race;
    cpu->id = id;
    cpu->sim = &race->machine.sim.cpu[id];
    cpu->random = race->options.seed * 1000003 + id;
    for (unsigned w = 0; w < WINDOWS; w++) {
        struct page *page = zeroed(pages[w] * sizeof(struct page));
        cpu->own[w] = (struct window){va[w], pages[w], page, pa, values};
    }
}

static void online(struct race *race)
{
    if (race->options.hooks) {
        race->options.hooks->thread_begin();
    } else {
        aspace_cpu_online(race->host);
    }
}

static void offline(struct race *race)
{
    if (race->options.hooks) {
        race->options.hooks->thread_end();
    } else {
        aspace_cpu_offline(race->host);
    }
}

void race_open(struct race *race, const struct race_options *options)
{
    memset(race, 0, sizeof(*race));
    race->options = *options;
    aspace_linux_set_cpu(0);
    open_machine(race);
    online(race);
    open_space(race);
    race->shared_pa = device(race, SHARED_BIGS * RACE_BIG);
    for (unsigned id = 0; id < options->cpus; id++) {
        open_cpu(race, id);
    }
    offline(race);
    pthread_barrier_init(&race->barrier, NULL, options->cpus);
}

static void close_cpu(struct race_cpu *cpu)
{
    cpu->race->machine.hal->free(&cpu->race->machine, cpu->own[0].device_pa, 9);
    free(cpu->own[0].device);
    for (unsigned w = 0; w < WINDOWS; w++) {
        free(cpu->own[w].page);
    }
}

static void check_empty(struct race *race)
{
    struct arena_counts left;

    arena_counts_read(&race->machine.arena, &left);
    if (left.frames != 0) {
        race_fail(&race->cpu[0], __FILE__, __LINE__, "%llu frames of data and %llu of tables did not come back",
                  (unsigned long long)left.data, (unsigned long long)left.tables);
    }
    RACE_CHECK(&race->cpu[0], aspace_linux_violations(&race->machine) == 0);
}

void race_close(struct race *race)
{
    aspace_linux_set_cpu(0);
    online(race);
    RACE_CHECK(&race->cpu[0], aspace_destroy(race->space) == ASPACE_OK);
    RACE_CHECK(&race->cpu[0], aspace_host_fini(race->host) == ASPACE_OK);
    offline(race);
    for (unsigned id = 0; id < race->options.cpus; id++) {
        close_cpu(&race->cpu[id]);
    }
    race->machine.hal->free(&race->machine, race->shared_pa, 10);
    check_empty(race);
    pthread_barrier_destroy(&race->barrier);
    aspace_linux_fini(&race->machine);
    free(race->space);
    free(race->host);
}

/* ------------------------------------------------------------------------------------------------------ the threads */

void race_enter(struct race_cpu *cpu)
{
    cpu->active++;
    aspace_linux_enter(&cpu->race->machine, cpu->race->space, &cpu->race->sim_space);
}

void race_leave(struct race_cpu *cpu)
{
    struct race *race = cpu->race;

    if (--cpu->active) {
        aspace_deactivate(race->space);
    } else {
        aspace_linux_leave(&race->machine, race->space, &race->sim_space);
    }
}

void race_quiescent(struct race_cpu *cpu)
{
    aspace_quiescent(cpu->race->host);
}

void race_dawdle(struct race_cpu *cpu)
{
    struct timespec pause = {.tv_nsec = 200000};

    if (race_below(cpu, 64) == 0) {
        nanosleep(&pause, NULL);
    }
}

struct start {
    struct race_cpu *cpu;
    void (*body)(struct race_cpu *cpu);
};

static void *thread_main(void *arg)
{
    struct start start = *(struct start *)arg;
    struct race *race = start.cpu->race;

    sim_cpu_attach(&race->machine.sim, start.cpu->id);
    online(race);
    start.body(start.cpu);
    while (start.cpu->active) {
        race_leave(start.cpu);
    }
    offline(race);
    sim_cpu_detach(&race->machine.sim);
    return NULL;
}

void race_run(struct race *race, void (*body)(struct race_cpu *cpu))
{
    struct start start[RACE_CPUS];

    for (unsigned id = 0; id < race->options.cpus; id++) {
        start[id] = (struct start){&race->cpu[id], body};
        RACE_CHECK(NULL, pthread_create(&race->cpu[id].thread, NULL, thread_main, &start[id]) == 0);
    }
    for (unsigned id = 0; id < race->options.cpus; id++) {
        pthread_join(race->cpu[id].thread, NULL);
    }
}

/* ---------------------------------------------------------------------------------------------------------- at rest */

void race_print_line(void *arg, const char *line)
{
    (void)arg;
    printf("audit: %s\n", line);
}

/* Every frame that the ledger has out is one that the space counts, or a device's. */
void race_check_at_rest(struct race *race)
{
    struct race_cpu *cpu = &race->cpu[0];
    struct aspace_counters c;
    struct arena_counts a;

    RACE_CHECK(cpu, aspace_audit(race->space, race_print_line, NULL) == 0);
    aspace_trim(race->host);
    RACE_CHECK(cpu, aspace_audit(race->space, race_print_line, NULL) == 0);
    aspace_counters_read(race->space, &c);
    arena_counts_read(&race->machine.arena, &a);
    if (a.data != c.frames + race->device_frames) {
        race_fail(cpu, __FILE__, __LINE__, "the ledger has %llu frames of data out, the space counts %llu and %llu",
                  (unsigned long long)a.data, (unsigned long long)c.frames, (unsigned long long)race->device_frames);
    }
    RACE_CHECK(cpu, aspace_linux_violations(&race->machine) == 0);
}

/* A CPU that waits for something else than the library must be no CPU meanwhile. */
void race_rest(struct race_cpu *cpu)
{
    struct race *race = cpu->race;

    cpu->doing = "at rest";
    sim_cpu_detach(&race->machine.sim);
    offline(race);
    pthread_barrier_wait(&race->barrier);
    if (cpu->id == 0) {
        online(race);
        race_check_at_rest(race);
        offline(race);
        race->stop = race->enough;
    }
    pthread_barrier_wait(&race->barrier);
    sim_cpu_attach(&race->machine.sim, cpu->id);
    online(race);
}
