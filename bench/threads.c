/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The same work by one thread and by two on one space. disjoint: each thread in leaf tables of its own. sameleaf: both
 * in the same leaf tables, every other page. The figure is wall time by operations of one thread, so that perfect
 * scaling keeps it as it is; populate and the faults work on 64 MiB a thread.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <pthread.h>
#include <unistd.h>

/* Translates go round so often that the threads' coming together is small beside them. */
enum { PAGES = 16384, REPEAT = 21, ROUNDS = 16 };

struct work {
    struct aspace *space;
    unsigned threads;
    bool same; /* sameleaf */
};

typedef void work_fn(const struct work *work, unsigned id);

struct team {
    pthread_barrier_t barrier;
    struct work work;
    work_fn *run;
};

struct member {
    struct team *team;
    unsigned id;
    pthread_t thread;
};

static aspace_va_t page_of(const struct work *work, unsigned id, unsigned i)
{
    return work->same ? ((uint64_t)i * work->threads + id) * PAGE : id * (uint64_t)GIB + i * PAGE;
}

/* Nothing but atomic operations, each thread on a line of its own: what the processors themselves cost each other. */
static void do_floor(const struct work *work, unsigned id)
{
    static struct {
        uint64_t word __attribute__((aligned(64)));
    } lines[BENCH_CPUS];
    (void)work;
    for (unsigned i = 0; i < 8 * PAGES; i++)
        bench_use(__atomic_exchange_n(&lines[id].word, i, __ATOMIC_SEQ_CST));
}

/* The least that a map and an unmap in one table can be: its lock taken twice, and the line that it is in written. */
static void do_lock(const struct work *work, unsigned id)
{
    static struct {
        uint32_t lock, word[8];
    } __attribute__((aligned(64))) lines[BENCH_CPUS];
    for (unsigned i = 0; i < 2 * PAGES; i++) {
        uint32_t *lock = &lines[work->same ? 0 : id].lock, free = 0;
        while (!__atomic_compare_exchange_n(lock, &free, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
            free = 0;
            for (unsigned k = 0; k < 16; k++)
                aspace_pause();
        }
        __atomic_store_n(&lock[1 + i % 8], i, __ATOMIC_RELAXED);
        __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
    }
}

static void do_fault(const struct work *work, unsigned id)
{
    for (unsigned i = 0; i < PAGES; i++)
        CHECK(aspace_fault(work->space, page_of(work, id, i), ASPACE_W, NULL) == ASPACE_FAULT_DONE);
}

/* One page in 64 of them over and over, of one table or of two. */
static void do_mapunmap(const struct work *work, unsigned id)
{
    for (unsigned i = 0; i < PAGES; i++) {
        aspace_va_t va = page_of(work, id, i % 64);
        struct aspace_map request = request_linear(va, PAGE, 64 * GIB + va);
        map_or_die(work->space, &request);
        unmap_or_die(work->space, va, PAGE);
        aspace_quiescent(world_host());
        if (i % 64 == 63)
            (void)aspace_drain(world_host());
    }
}

static void do_translate(const struct work *work, unsigned id)
{
    uint64_t sum = 0;
    aspace_read_begin(world_host());
    for (unsigned i = 0; i < ROUNDS * PAGES; i++) {
        struct aspace_translation t;
        CHECK(aspace_translate(work->space, page_of(work, id, i % PAGES), &t) == ASPACE_OK);
        sum += t.pa;
    }
    aspace_read_end(world_host());
    bench_use(sum);
}

/* sameleaf: all fill one range, and share its pages. */
static void do_populate(const struct work *work, unsigned id)
{
    aspace_va_t va = work->same ? 0 : id * (uint64_t)GIB;
    uint64_t bytes = PAGES * PAGE * (work->same ? work->threads : 1);
    CHECK(aspace_populate(work->space, va, bytes, NULL) == ASPACE_OK);
}

static void *member_run(void *arg)
{
    struct member *member = arg;
    struct team *team = member->team;
    world_cpu_enter(member->id);
    pthread_barrier_wait(&team->barrier);
    team->run(&team->work, member->id);
    aspace_quiescent(world_host());
    pthread_barrier_wait(&team->barrier);
    world_cpu_leave();
    return NULL;
}

/* The calling thread is member 0. */
static double team_run(struct team *team)
{
    struct member members[BENCH_CPUS];
    unsigned threads = team->work.threads;
    pthread_barrier_init(&team->barrier, NULL, threads);
    for (unsigned id = 1; id < threads; id++) {
        members[id] = (struct member){.team = team, .id = id};
        CHECK(pthread_create(&members[id].thread, NULL, member_run, &members[id]) == 0);
    }
    pthread_barrier_wait(&team->barrier);
    double begin = bench_now();
    team->run(&team->work, 0);
    aspace_quiescent(world_host());
    pthread_barrier_wait(&team->barrier);
    double end = bench_now();
    for (unsigned id = 1; id < threads; id++)
        pthread_join(members[id].thread, NULL);
    pthread_barrier_destroy(&team->barrier);
    return (end - begin) / PAGES;
}

struct kind {
    const char *name;
    work_fn *run;
    enum aspace_kind area; /* what is there beforehand; GUARD: nothing */
};

static struct aspace *ground(const struct kind *kind)
{
    struct aspace *space = space_new_4k(ASPACE_FMT_X86_EPT4);
    for (unsigned id = 0; id < BENCH_CPUS && kind->area != ASPACE_KIND_GUARD; id++) {
        struct aspace_map request = request_linear(id * GIB, GIB, 4 * GIB + id * GIB + PAGE);
        request.kind = kind->area;
        map_or_die(space, &request);
    }
    if (kind->area == ASPACE_KIND_GUARD) {
        /* A page that stays keeps the tables. */
        struct aspace_map request = request_linear(MIB + 512 * KIB, PAGE, 4 * GIB);
        map_or_die(space, &request);
        request.va += GIB;
        map_or_die(space, &request);
    }
    return space;
}

static void measure(const struct kind *kind, unsigned threads, bool same)
{
    char tail[48], head[32], name[80];
    const char *number = threads == 1 ? "1_" : "2_";
    bench_name(head, sizeof(head), "threads_", number);
    bench_name(tail, sizeof(tail), kind->name, same ? "_sameleaf" : "_disjoint");
    bench_name(name, sizeof(name), head, tail);
    if (!bench_wanted(name))
        return;
    for (unsigned r = 0; r < REPEAT; r++) {
        struct team team = {.run = kind->run};
        team.work = (struct work){.space = ground(kind), .threads = threads, .same = same};
        double each = team_run(&team);
        if (r)
            bench_ns(name, ASPACE_FMT_COUNT, kind->run == do_translate ? each / ROUNDS : each);
        space_drop(team.work.space);
        world_settle();
    }
}

void bench_threads(void)
{
    static const struct kind kinds[] = {
        {"floor", do_floor, ASPACE_KIND_GUARD},          {"floor_lock", do_lock, ASPACE_KIND_GUARD},
        {"fault", do_fault, ASPACE_KIND_LAZY},           {"mapunmap", do_mapunmap, ASPACE_KIND_GUARD},
        {"translate", do_translate, ASPACE_KIND_LINEAR}, {"populate", do_populate, ASPACE_KIND_LAZY},
    };
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    for (unsigned k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
        for (unsigned threads = 1; threads <= BENCH_CPUS && (long)threads <= processors; threads++) {
            measure(&kinds[k], threads, false);
            if (kinds[k].run != do_floor)
                measure(&kinds[k], threads, true);
        }
    world_trim();
}
