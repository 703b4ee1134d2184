/* SPDX-License-Identifier: BSD-2-Clause */
/* Counters, dump and audit of a space. */
#ifndef ASPACE_INSPECT_H
#define ASPACE_INSPECT_H

#include <aspace/fault.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { ASPACE_LEVELS_MAX = 6 };

/* Summed over the CPUs when read; each value was true at some time during the call. */
struct aspace_counters {
    uint64_t faults[ASPACE_FAULT_COUNT]; /* by answer */
    uint64_t tables;                     /* tables held now, the root included (each concatenated page counts) */
    uint64_t frames; /* data frames owned, 4 KiB each; those of unlinked tables until they are freed */
    uint64_t mapped[ASPACE_LEVELS_MAX]; /* leaves present now, by level; counted by a walk when read */
    uint64_t flushes, full_flushes;     /* TLB invalidations asked of the HAL */
    uint64_t flushed_entries;
    uint64_t splits, collapses, migrations, retries;
    uint64_t cow_copies, cow_takes; /* write faults on shared pages: copied, or taken back by the sole owner */
};
void aspace_counters_read(struct aspace *space, struct aspace_counters *counters);

/* The same for one area, in the extent that aspace_next tells: what is filled and held at the moment. Failure: RANGE,
 * NOT_MAPPED, RETRY. Cost: the area's slots. */
struct aspace_area_counters {
    uint64_t mapped[ASPACE_LEVELS_MAX]; /* present leaves by level */
    uint64_t frames;                    /* owned frames held, 4 KiB each */
    uint64_t unfilled;                  /* bytes still to be filled */
    uint64_t faults;                    /* if mapped with ASPACE_MAP_COUNT, else 0 */
};
ASPACE_MUST_CHECK int aspace_area_counters_read(struct aspace *space, aspace_va_t va,
                                                struct aspace_area_counters *counters);

/* A line at a time, without newline, to `line`. Safe while others work: it shows each slot as it was when looked at. */
typedef void aspace_line_fn(void *arg, const char *line);
void aspace_dump(struct aspace *space, aspace_line_fn *line, void *arg);

/* A reader's step by step explanation of what the MMU and the library say about an access at va. */
void aspace_why(struct aspace *space, aspace_va_t va, uint32_t access, aspace_line_fn *line, void *arg);

/*
 * Check every invariant that can be seen from the tables: alignment, reserved bits, segments against slots, counts,
 * locks free, no BUSY left, frames mapped once unless borrowed, records against pages. Each violation is one line with
 * the shortest witness. Returns the number of violations. The space must be at rest: no other call on it in progress.
 * Frees first what is deferred and due, which may call backends' release. line may be NULL.
 */
size_t aspace_audit(struct aspace *space, aspace_line_fn *line, void *arg);

#ifdef __cplusplus
}
#endif
#endif
