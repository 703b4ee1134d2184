/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Simulated CPUs. Each has a TLB of leaves and a cache of the upper part of walks, both filled only by walking the
 * tables in memory when an access is made, and emptied only by a flush (or by making room). The library meets them
 * through the tlb_* members of its HAL.
 *
 *   SIM_IMMEDIATE  one thread plays all CPUs; a flush is done on each at once.
 *   SIM_DELAYED    one thread plays all CPUs; a flush reaches a CPU at its next step, which tlb_wait makes it take.
 *                  `window` is called before that, for a test to make accesses while the flush is in flight.
 *   SIM_THREADED   a thread a CPU (sim_cpu_attach); a flush is posted to the CPU's mailbox and served when it accesses,
 *                  waits or spins in aspace_pause. A CPU that no thread plays is flushed by the initiator.
 *
 * A walk that is in the cache goes on from there, even if memory says otherwise by now: just this makes a forgotten
 * flush visible. An entry of a frame that was freed in between is a violation when it is used.
 *
 * Owns the TLBs and the mailboxes; must not know the library's sources, nor how entries look: the walker does.
 */
#ifndef ASPACE_LINUX_CPU_H
#define ASPACE_LINUX_CPU_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <aspace/aspace.h>

enum { SIM_CPUS_MAX = 64, SIM_LEVELS_MAX = 6, SIM_LEAVES_MAX = 1024, SIM_WALKS_MAX = 256, SIM_MAILBOX = 32 };

enum sim_mode { SIM_IMMEDIATE, SIM_DELAYED, SIM_THREADED };

/* ------------------------------------------------------------------------------------------------------- the walker */

struct sim_walk {
    bool present;
    bool malformed;  /* reserved bits and the like: reported as a violation */
    int fault_level; /* level of the entry that ended the walk, if not present */
    uint64_t pa;     /* of va itself */
    uint64_t leaf_bytes;
    uint32_t rights;
    uint32_t attr;
    uint64_t table_pa[SIM_LEVELS_MAX]; /* tables read, the root first */
    unsigned tables;
};

struct sim_space;

/*
 * Walk the tables from space->root for va. Every entry is read once, root first, through phys(physical address of the
 * entry), which returns a pointer to a copy of its 8 bytes, good until the walk ends; entries beside the one of va may
 * be read at the last level.
 */
typedef void sim_walk_fn(const struct sim_space *space, uint64_t va, const void *(*phys)(uint64_t pa),
                         struct sim_walk *walk);

/* What the CPU is told about a space: its registers, so to speak. */
struct sim_space {
    sim_walk_fn *walk;
    enum aspace_format format;
    const struct aspace_config *config;
    uint64_t root;
    uint64_t tag;
    bool stage2;
    unsigned levels;
    unsigned index_bits; /* of an ordinary table; 0 means 9 */
};

/* --------------------------------------------------------------------------------------------------------- the CPUs */

struct sim_leaf {
    bool valid;
    bool present;                  /* false: remembers that nothing was there (config.cache_invalid) */
    uint8_t level_lg2, index_bits; /* of the level it was read at: a run's is that of one member */
    uint64_t key, va, bytes, pa;
    uint32_t rights;
    uint32_t generation; /* of the frame at `seen_pa` when it was filled; even: not of the arena */
    uint64_t seen_pa;
};

/* The way down to one table: the entries read before it. */
struct sim_walk_entry {
    bool valid;
    uint8_t depth; /* number of entries read: 1 is the table below the root */
    uint64_t key, va, bytes, table_pa;
    uint64_t entry_pa[SIM_LEVELS_MAX], value[SIM_LEVELS_MAX];
};

struct sim_request {
    uint64_t key, va, end;
    uint32_t stride_lg2, max_lg2;
    bool leaf_only, full, everything;
};

struct sim_counts {
    uint64_t accesses, hits, walks, walk_cache_hits, faults;
    uint64_t requests, dropped_leaves, dropped_walks, evictions;
};

struct sim;

struct sim_cpu {
    struct sim *sim;
    unsigned id;
    pthread_mutex_t lock; /* guards all that follows but `posted` and `served`, which are only written under it */
    bool attached;
    struct sim_space loaded[2]; /* by stage: [1] is stage 2 */
    bool is_loaded[2];
    struct sim_leaf leaf[SIM_LEAVES_MAX];
    struct sim_walk_entry walk[SIM_WALKS_MAX];
    unsigned leaf_next, walk_next;
    struct sim_request mail[SIM_MAILBOX];
    unsigned mail_count;
    uint64_t posted, served;
    struct sim_counts counts;
} __attribute__((aligned(64)));

struct sim_config {
    unsigned cpus; /* at least 1 */
    enum sim_mode mode;
    unsigned leaves;    /* entries of the TLB; 0 means 256, at most SIM_LEAVES_MAX */
    unsigned walks;     /* entries of the walk cache; 0 means 64 */
    unsigned tag_bits;  /* tags are cut to so many bits; 0 means all 64 */
    bool cache_invalid; /* remember faults too, as RISC-V allows */
    bool lenient;       /* drop every leaf that overlaps a range. Otherwise only those that hardware must drop: which
                            contain an address that stepping through the range by 2^stride_lg2 meets and, where stride
                            and largest size are equal, are at that level */
};

/* What the simulation asks and tells; each may be NULL. */
struct sim_hooks {
    void *ctx;
    uint32_t (*generation)(void *ctx, uint64_t pa); /* odd: allocated; 0: no frame of the arena */
    void (*violation)(void *ctx, const char *line);
    void (*window)(void *ctx); /* DELAYED: a flush is in flight */
};

struct sim {
    struct sim_config config;
    struct sim_hooks hooks;
    uint64_t violations;
    uint64_t want[SIM_CPUS_MAX][SIM_CPUS_MAX]; /* [initiator][target]: what the target has to have served */
    struct sim_cpu *cpu;
};

/* 0, or -1 with errno. */
int sim_init(struct sim *sim, const struct sim_config *config, const struct sim_hooks *hooks);
void sim_fini(struct sim *sim);

/* The calling thread plays CPU n from now on, for aspace_cpu_id() too; and no more. Detach before waiting for anything
 * that is not of this library: an attached CPU that serves nothing stops the others. */
void sim_cpu_attach(struct sim *sim, unsigned n);
void sim_cpu_detach(struct sim *sim);

/* Load the space's registers, after aspace_activate; take them out, before aspace_deactivate. */
void sim_cpu_load(struct sim_cpu *cpu, const struct sim_space *space);
void sim_cpu_unload(struct sim_cpu *cpu, const struct sim_space *space);

/* Serve what is in the mailbox. */
void sim_cpu_step(struct sim_cpu *cpu);

enum sim_answer { SIM_OK, SIM_FAULT };

/* An access of the CPU, in a space that is loaded: *pa is where it goes, good until the CPU serves a flush. A fault is
 * what the TLB says, which may be out of date if rights were added. */
enum sim_answer sim_cpu_access(struct sim_cpu *cpu, const struct sim_space *space, uint64_t va, uint32_t access,
                               uint64_t *pa);

/* The fence a CPU makes for itself after a fault was handled. */
void sim_cpu_fence(struct sim_cpu *cpu, const struct sim_space *space, uint64_t va);

/* Does the CPU remember how va is translated? */
bool sim_cpu_caches(struct sim_cpu *cpu, const struct sim_space *space, uint64_t va);

/* Could a CPU use something in [pa, pa+bytes), by a translation or in a walk, in a space that it has loaded? What it
 * remembers of others it has to flush before it loads them. As arena_held_fn. */
bool sim_holds(struct sim *sim, uint64_t pa, uint64_t bytes, char *why, size_t why_bytes);

/* The members of the HAL. The initiator is aspace_cpu_id(). */
void sim_tlb_flush(struct sim *sim, const struct aspace_flush *flush);
void sim_tlb_wait(struct sim *sim, const struct aspace_flush *flush);
void sim_tlb_flush_local(struct sim *sim, uint64_t tag, unsigned stage);

void sim_counts_read(struct sim *sim, struct sim_counts *counts);
uint64_t sim_violations(const struct sim *sim);

#endif
