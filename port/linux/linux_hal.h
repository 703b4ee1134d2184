/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hosted HAL: an arena of frames, simulated CPUs if wanted, and a counter behind every callback. Owns the two and
 * the counters; must not know the library's sources.
 *
 *     struct aspace_linux *port = aspace_linux_default();
 *     aspace_host_init(host, port->hal, port, &config);
 */
#ifndef ASPACE_LINUX_HAL_H
#define ASPACE_LINUX_HAL_H

#include <aspace/aspace.h>

#include "arena.h"
#include "cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The context of each is a struct aspace_linux, set up with an arena of the kind named.
 *   fast      ARENA_FAST; invalidations are counted and otherwise ignored: for benches, and where no CPU is simulated
 *   checked   ARENA_CHECKED; invalidations go to the simulated CPUs
 *   minimal   ARENA_CHECKED with nothing that is optional: no batches, a synchronous tlb_flush
 */
extern const struct aspace_hal aspace_linux_hal_fast;
extern const struct aspace_hal aspace_linux_hal_checked;
extern const struct aspace_hal aspace_linux_hal_minimal;

/* X(member): calls of the HAL's member of the same name, and what they added up to. */
#define ASPACE_LINUX_COUNTS(X)                                                                                         \
    X(alloc)                                                                                                           \
    X(free)                                                                                                            \
    X(alloc_batch)                                                                                                     \
    X(free_batch)                                                                                                      \
    X(tlb_flush)                                                                                                       \
    X(tlb_wait)                                                                                                        \
    X(tlb_flush_local)                                                                                                 \
    X(icache_sync)                                                                                                     \
    X(wake)                                                                                                            \
    X(flush_full)                                                                                                      \
    X(flush_entries)                                                                                                   \
    X(icache_bytes)

struct aspace_linux_counts {
#define ASPACE_LINUX_X(member) uint64_t member;
    ASPACE_LINUX_COUNTS(ASPACE_LINUX_X)
#undef ASPACE_LINUX_X
};

struct aspace_linux_config {
    struct arena_config arena;
    struct sim_config sim;     /* cpus 0: no CPUs are simulated; else the arena must be CHECKED */
    bool minimal;              /* use aspace_linux_hal_minimal */
    bool quiet;                /* count violations, but say nothing */
    void (*window)(void *ctx); /* as sim_hooks.window */
    void *window_ctx;
};

struct aspace_linux {
    const struct aspace_hal *hal;
    struct aspace_linux_config config;
    struct arena arena;
    struct sim sim;
    bool simulates;
    struct {
        struct aspace_linux_counts counts;
    } __attribute__((aligned(64))) cpu[ARENA_CPUS_MAX]; /* a line each, so that counting costs no sharing */
    aspace_pa_t icache_last;                            /* of the last icache_sync */
    void (*icache_watch)(void *ctx);                    /* NULL, or called within each icache_sync */
    void *icache_watch_ctx;
};

/* 0, or -1 with errno. port->hal is the HAL to use, port itself its context. One port at a time. */
int aspace_linux_init(struct aspace_linux *port, const struct aspace_linux_config *config);
void aspace_linux_fini(struct aspace_linux *port);

/* A port for the life of the process: 4 GiB, no checks, no simulated CPUs. NULL if the process cannot have it. */
struct aspace_linux *aspace_linux_default(void);

/* Sums over the CPUs; exact when nothing runs. */
void aspace_linux_counts_read(const struct aspace_linux *port, struct aspace_linux_counts *counts);
void aspace_linux_counts_clear(struct aspace_linux *port);

/* Of the arena and of the CPUs together, with a look at all free frames first. 0 is what a test wants to see. */
uint64_t aspace_linux_violations(struct aspace_linux *port);

/* What the registers of the space mean to a simulated CPU. The caller fills in walk, levels and index_bits. */
void aspace_linux_describe(const struct aspace *space, const struct aspace_config *config, struct sim_space *sim_space);

/* One thread plays CPU n from now on (not SIM_THREADED, where sim_cpu_attach does it). */
struct sim_cpu *aspace_linux_become(struct aspace_linux *port, unsigned n);

/* The CPU that the thread plays begins and ends to use the space, in the order that aspace.h asks for. */
void aspace_linux_enter(struct aspace_linux *port, struct aspace *space, const struct sim_space *sim_space);
void aspace_linux_leave(struct aspace_linux *port, struct aspace *space, const struct sim_space *sim_space);

#ifdef __cplusplus
}
#endif
#endif
