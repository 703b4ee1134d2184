/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Simulated physical memory: one region of the process that plays a window of physical addresses, and two allocators of
 * frames over it behind one interface.
 *
 *   ARENA_FAST     for benches and plain use: a bump pointer and a stack per order and CPU, a shared depot behind them.
 *                  Checks nothing. Frames that came back in pieces are not joined again.
 *   ARENA_CHECKED  for tests: a ledger with exactly one state a frame, poison in everything that is free, a quarantine
 *                  before reuse, failures on demand, and a question to the simulated TLBs before a frame is taken back.
 *                  Something wrong is a violation: reported, counted, and otherwise survived.
 *
 * Owns the memory and the ledger; must not know the library's state nor how TLBs are simulated. aspace_phys_to_virt has
 * one base for the process, so one arena can exist at a time.
 */
#ifndef ASPACE_LINUX_ARENA_H
#define ASPACE_LINUX_ARENA_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <aspace/hal.h>

enum { ARENA_ORDER_MAX = 18, ARENA_ORDERS = ARENA_ORDER_MAX + 1, ARENA_CPUS_MAX = 64 };

#define ARENA_PAGE 4096u
#define ARENA_POISON 0xa5
#define ARENA_DEFAULT_BYTES (4ull << 30)
#define ARENA_DEFAULT_PA 0x40000000ull
#define ARENA_DEFAULT_QUARANTINE 1024u

enum arena_kind { ARENA_FAST, ARENA_CHECKED };

/* X(identifier, what happened) */
#define ARENA_VIOLATIONS(X)                                                                                            \
    X(OUTSIDE, "freed, but not of this arena")                                                                         \
    X(UNALIGNED, "freed at an address not aligned to its size")                                                        \
    X(NEVER_ALLOCATED, "freed, but was never allocated")                                                               \
    X(DOUBLE_FREE, "freed twice")                                                                                      \
    X(WRONG_ORDER, "freed with more than was allocated in one piece")                                                  \
    X(WRITE_AFTER_FREE, "written while free")                                                                          \
    X(HELD, "freed while a CPU could still use it")

enum arena_violation {
#define ARENA_X(id, text) ARENA_##id,
    ARENA_VIOLATIONS(ARENA_X)
#undef ARENA_X
        ARENA_VIOLATION_COUNT
};

/* One line for a person, without newline. */
typedef void arena_report_fn(void *ctx, const char *line);

struct arena_config {
    enum arena_kind kind;
    uint64_t bytes;          /* a multiple of 4 KiB; 0 means 4 GiB. Costs memory only where touched */
    uint64_t pa_base;        /* first physical address, a multiple of 1 GiB; 0 means 0x40000000 */
    uint64_t prefault_bytes; /* this much from the start is touched at once, so that benches see no fault of the host */
    unsigned quarantine;     /* CHECKED: frames held back before reuse; 0 means 1024 */
    bool skip_zeroing;       /* FAST: data frames are handed out as they are even if zeroed ones are asked for: for
                                benches against systems that do not zero. Tables are zeroed all the same */
    arena_report_fn *report; /* NULL: standard error */
    void *report_ctx;
};

struct arena_counts {
    uint64_t frames; /* allocated now, 4 KiB each */
    uint64_t peak;   /* CHECKED: the most there were at one time */
    uint64_t tables; /* CHECKED: those of `frames` asked for with ASPACE_ALLOC_TABLE */
    uint64_t data;   /* CHECKED: the others */
    uint64_t calls;  /* CHECKED: allocations asked for, each frame of a batch being one */
    uint64_t failed; /* CHECKED: those that were made to fail, or did */
};

/* FAST: what one CPU has at hand of an order. */
struct arena_stack {
    aspace_pa_t *slot;
    unsigned n, most;
};
struct arena_fast_cpu {
    struct arena_stack stack[ARENA_ORDERS];
} __attribute__((aligned(64)));

struct arena_depot {
    aspace_pa_t *slot;
    uint64_t n;
};

struct arena_frame {
    uint8_t state;       /* enum arena_state */
    uint8_t order;       /* of the allocation it is, or was, part of */
    uint8_t table;       /* asked for with ASPACE_ALLOC_TABLE */
    uint32_t generation; /* odd: allocated. One more at each change, so that a stale user can be told */
};

/* True if a CPU may still use something in [pa, pa+bytes); `why` then says who and how. */
typedef bool arena_held_fn(void *ctx, aspace_pa_t pa, uint64_t bytes, char *why, size_t why_bytes);

struct arena {
    struct arena_config config;
    char *memory;
    uint64_t frames_total;
    void *mapping, *side; /* what mmap gave: the memory, and the arrays below */
    size_t mapping_bytes, side_bytes;
    pthread_mutex_t lock; /* guards all that follows, but fast[n], which is CPU n's */

    uint64_t bump; /* frames from here on were never given out */
    struct arena_fast_cpu *fast;
    struct arena_depot depot[ARENA_ORDERS];

    struct arena_frame *frame;
    uint64_t *free_map;   /* bit n: frame n may be allocated */
    uint64_t *quarantine; /* ring of frame numbers */
    uint64_t quarantine_head, quarantine_count;
    uint64_t hint[ARENA_ORDERS]; /* no free run of this order below */
    struct arena_counts counts;
    uint64_t fail_at, fail_until; /* calls in [at, until) fail */
    uint64_t violations[ARENA_VIOLATION_COUNT];
    arena_held_fn *held;
    void *held_ctx;
};

/* 0, or -1 with errno (EINVAL: the configuration; EBUSY: there is an arena already). */
int arena_init(struct arena *a, const struct arena_config *config);
void arena_fini(struct arena *a);

/* As the members of aspace_hal of the same names. */
aspace_pa_t arena_alloc(struct arena *a, unsigned order, unsigned flags);
void arena_free(struct arena *a, aspace_pa_t pa, unsigned order);
size_t arena_alloc_batch(struct arena *a, aspace_pa_t *pa, size_t n, unsigned flags);
void arena_free_batch(struct arena *a, const aspace_pa_t *pa, size_t n);

/* The same without the choice, for a HAL that knows which it is. */
aspace_pa_t arena_fast_alloc(struct arena *a, unsigned order, unsigned flags);
void arena_fast_free(struct arena *a, aspace_pa_t pa, unsigned order);
size_t arena_fast_alloc_batch(struct arena *a, aspace_pa_t *pa, size_t n, unsigned flags);
void arena_fast_free_batch(struct arena *a, const aspace_pa_t *pa, size_t n);
aspace_pa_t arena_checked_alloc(struct arena *a, unsigned order, unsigned flags);
void arena_checked_free(struct arena *a, aspace_pa_t pa, unsigned order);

bool arena_contains(const struct arena *a, aspace_pa_t pa);
void *arena_pointer(const struct arena *a, aspace_pa_t pa);
void arena_counts_read(struct arena *a, struct arena_counts *counts);

/* CHECKED: the n-th allocation from now fails, 1 being the next; `from`: it and all after it. 0: none any more. */
void arena_fail_nth(struct arena *a, uint64_t n);
void arena_fail_from(struct arena *a, uint64_t n);

/* CHECKED: odd if the frame of pa is allocated, and a different number after every change; 0 outside the arena. May be
 * called by any thread, with any lock. */
uint32_t arena_generation(const struct arena *a, aspace_pa_t pa);

/* CHECKED: asked before a frame is taken back. Set before the first free. */
void arena_set_held(struct arena *a, arena_held_fn *held, void *ctx);

/* CHECKED: look at every frame that is free for writes that came after; returns the number of violations found now. */
uint64_t arena_verify_free(struct arena *a);

/* Since init or the last clear. */
uint64_t arena_violations(struct arena *a);
uint64_t arena_violations_of(struct arena *a, enum arena_violation kind);
void arena_violations_clear(struct arena *a);

/* For the files of the arena. */
enum arena_state { ARENA_STATE_FREE, ARENA_STATE_ALLOCATED, ARENA_STATE_QUARANTINED };
int arena_fast_init(struct arena *a);
int arena_checked_init(struct arena *a);
uint64_t arena_fast_frames(struct arena *a);
void *arena_side_memory(struct arena *a, size_t bytes);

#endif
