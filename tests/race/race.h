/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ground of the tests with real threads: one host and one space, eight CPUs that are a thread each, and what is
 * checked when all of them rest. Owns the machine; must not know what a thread does, nor src/.
 */
#ifndef TESTS_RACE_H
#define TESTS_RACE_H

#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* barriers; so this header comes first */
#endif

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <aspace/inspect.h>
#include <aspace/memory.h>

#include "linux_hal.h"

#define RACE_PAGE UINT64_C(4096)
#define RACE_BIG (UINT64_C(2) << 20)
#define RACE_GIANT (UINT64_C(1) << 30)

enum { RACE_CPUS = 8, RACE_BIG_PAGES = 512 };

/* Where things lie. Everything below 1 GiB shares one table of the second level. */
enum { OWN_BIGS = 2, STRIPE_PAGES = RACE_BIG_PAGES / RACE_CPUS, SHARED_BIGS = 2 };
#define OWN_VA(cpu) ((cpu)*OWN_BIGS * RACE_BIG)      /* two large pages for each CPU */
#define STRIPES_VA (RACE_CPUS * OWN_BIGS * RACE_BIG) /* one leaf table, a part for each CPU */
#define SHARED_VA (STRIPES_VA + 8 * RACE_BIG)        /* everybody's, page by page */
#define WIDE_VA RACE_GIANT                           /* everybody's, 1 GiB */
#define SPACE_BYTES (4 * RACE_GIANT)

/* Ways to be wrong on purpose, in the embedder's part: each must be found. */
enum race_mistake { RIGHT, FLUSH_LOST, WAIT_LOST, GRACE_LOST, LOCAL_FLUSH_LOST, RACE_MISTAKES };

/* Someone else's read sections, for the SMR members of the HAL; each thread that calls the library begins and ends. */
struct race_smr {
    const char *name;
    void (*install)(struct aspace_hal *hal);
    void (*thread_begin)(void);
    void (*thread_end)(void);
};

struct race_options {
    enum aspace_format format;
    uint32_t features;
    enum aspace_smr smr;
    const struct race_smr *hooks; /* NULL: the library's own */
    enum race_mistake mistake;
    uint64_t seed;
    unsigned cpus;
    uint64_t memory; /* of the arena; 0: 256 MiB */
    unsigned tag_bits;
};

/* What a CPU knows about one of its own pages. */
enum filled { UNFILLED, MAYBE_FILLED, FILLED };
struct page {
    uint8_t mapped, kind, rights, filled;
    uint64_t value;
};

/* A range that only one CPU touches, and what must be there. LINEAR pages are page n of the CPU's device. */
struct window {
    uint64_t va;
    unsigned pages;
    struct page *page;
    uint64_t device_pa;
    uint64_t *device; /* values, by number modulo the pages of a large page */
};

enum { WINDOWS = 2, RACE_OPS_MAX = 32 };

struct race_cpu {
    struct race *race;
    unsigned id;
    struct sim_cpu *sim;
    pthread_t thread;
    uint64_t random, serial, step;
    unsigned active; /* activations, nested */
    unsigned hot;    /* page that the CPU works around at the moment */
    struct window own[WINDOWS];
    const char *doing;
    uint64_t retries;
    uint64_t counts[2][RACE_OPS_MAX];
};

struct race {
    struct race_options options;
    struct aspace_linux machine;
    struct aspace_hal hal; /* the machine's, with what the options change */
    struct aspace_host *host;
    struct aspace *space;
    struct aspace_config config;
    struct sim_space sim_space;
    uint32_t ro, rw;
    uint64_t shared_pa; /* device of the shared range: page n of it there is page n here */
    uint64_t device_frames;
    struct race_cpu cpu[RACE_CPUS];
    pthread_barrier_t barrier;
    bool enough, stop; /* CPU 0 has seen enough; all of them stop, at the same rest */
};

/* Ends the process: a machine that other threads are changing cannot be put in order again. */
void race_fail(const struct race_cpu *cpu, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5), noreturn));

#define RACE_CHECK(cpu, condition)                                                                                     \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            race_fail((cpu), __FILE__, __LINE__, "%s", #condition);                                                    \
        }                                                                                                              \
    } while (0)

/* Set up, and take down with every frame accounted for. */
void race_open(struct race *race, const struct race_options *options);
void race_close(struct race *race);

/* Run the body on every CPU, each a thread that is attached to its simulated CPU. */
void race_run(struct race *race, void (*body)(struct race_cpu *cpu));

/* All CPUs come here; while they rest, CPU 0 audits and counts. The bodies go on together. */
void race_rest(struct race_cpu *cpu);
void race_check_at_rest(struct race *race);
void race_print_line(void *arg, const char *line); /* for audits */

/* The CPU begins and ends to walk the space; may be nested. */
void race_enter(struct race_cpu *cpu);
void race_leave(struct race_cpu *cpu);

/* Between any two operations: what the way of reclamation asks for. */
void race_quiescent(struct race_cpu *cpu);

/* Between a translation and the access that uses it: an instruction may take its time, and nothing is served in it. */
void race_dawdle(struct race_cpu *cpu);

uint64_t race_random(struct race_cpu *cpu);
uint64_t race_below(struct race_cpu *cpu, uint64_t n);

/* A word of physical memory, as a running program reads and writes it. */
static inline uint64_t race_load(uint64_t pa)
{
    return __atomic_load_n((const uint64_t *)aspace_phys_to_virt(pa), __ATOMIC_RELAXED);
}

static inline void race_store(uint64_t pa, uint64_t value)
{
    __atomic_store_n((uint64_t *)aspace_phys_to_virt(pa), value, __ATOMIC_RELAXED);
}

/* One random operation on the CPU's own pages, checked against the model; or on everybody's. */
void own_step(struct race_cpu *cpu);
void shared_step(struct race_cpu *cpu);
void own_check_all(struct race_cpu *cpu);

/* NULL past the last. */
const char *own_op_name(unsigned op);
const char *shared_op_name(unsigned op);

/* The program: options, configurations in turn, the last line. */
int race_main(int argc, char **argv, const struct race_smr *hooks);

#endif
