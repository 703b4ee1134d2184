/* SPDX-License-Identifier: BSD-2-Clause */
/* What the two parts of the stress share: one stress CPU, and how it takes a range from the guest for a moment. */
#ifndef HYP_STRESS_H
#define HYP_STRESS_H

#include <stdatomic.h>

#include "hyp.h"

/* X(name): what is counted, and printed in this order. */
#define STRESS_COUNTS(X)                                                                                               \
    X(migrated)                                                                                                        \
    X(protected)                                                                                                       \
    X(parked)                                                                                                          \
    X(split)                                                                                                           \
    X(collapsed)                                                                                                       \
    X(unmapped)                                                                                                        \
    X(replaced)                                                                                                        \
    X(populated)                                                                                                       \
    X(discarded)                                                                                                       \
    X(refused)

enum stress_count {
#define HYP_X(name) COUNT_##name,
    STRESS_COUNTS(HYP_X)
#undef HYP_X
        COUNT_COUNT
};

struct stressor {
    _Alignas(ASPACE_CACHE_LINE) _Atomic uint64_t held, held_end; /* what the guest cannot use now; empty: 0, 0 */
    atomic_bool stopped;
    unsigned number;
    struct aspace_host *host;
    struct aspace *space;
    uint64_t random;
    uint64_t counts[COUNT_COUNT];
};

uint64_t stress_random(struct stressor *s, uint64_t below);
void stress_count(struct stressor *s, int error, enum stress_count what);

/* Between these two, faults of the guest in the range are ours to explain. `us` is how long it lasts at least. */
void stress_hold(struct stressor *s, uint64_t va, uint64_t bytes);
void stress_wait(uint64_t us);
void stress_let_go(struct stressor *s);

/* For what must succeed. */
void stress_must(int error, const char *what);

/* ---- window.c ---- */
void window_move(struct stressor *s);    /* unmap live pages, and map them to other frames with the same contents */
void window_replace(struct stressor *s); /* map live pages over themselves */
void scratch_edit(struct stressor *s);   /* map, populate, discard, unmap */

#endif
