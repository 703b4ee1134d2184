/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Range operations: map, unmap, protect, discard over any range of a table, in four phases.
 *
 *   prepare  allocate every page that could be needed, before the first lock
 *   lock     plan: lock what must be locked, pre-order and left to right, check everything that can be refused, and
 *            count what is needed; too little prepared: put back, prepare more, again
 *   commit   cannot fail
 *   finish   flush, unlock, release
 *
 * The rules, numbered for the code:
 *   R1  A node is locked if a slot of it in range is not TABLE, or is a TABLE that will be unlinked; leaves always.
 *   R2  Locks are taken pre-order, left to right, and held to the end. A node found to need a lock after one of its
 *       descendants was locked, or found stale: put back and restart; after two restarts lock every node from the
 *       lowest that covers the range.
 *   R3  In a locked non-leaf, each ARMED slot in range becomes BUSY(owner) by CAS as it is passed. A failed CAS means
 *       that a fault made it TABLE (or a huge LEAF), so it is looked at again. After the lock phase no lock-free fault
 *       can change the shape of anything in range.
 *   R4  A child is published final, or born locked.
 *   R5  A slot that was LEAF or TABLE becomes ARMED, or a leaf with another frame or size, only through BUSY held until
 *       the invalidation is acknowledged.
 *   R6  Plain stores only over slots that no one else may change: EMPTY or BUSY(owner) under the lock, LEAF and PARKED
 *       of formats without hardware accessed/dirty under the lock, ARMED of areas that a fault never fills.
 *   R7  Locks are dropped before the flush is acknowledged. So that "memory says so" implies "no TLB says otherwise"
 *       for whoever holds a lock: before the unlock the range is announced in the CPU's part of the table and every
 *       locked node is marked `flushing`; who locks a marked node waits until no announcement overlaps its own range.
 */
#ifndef PT_RANGE_H
#define PT_RANGE_H

#include "pt/gather.h"

enum map_source { MAP_ARM, MAP_LINEAR, MAP_FRAMES };

/* One range to map; kept small because batches store it in the caller's request. */
struct pt_map {
    aspace_va_t va, end;
    struct area *area;
    value_t value;
    uint8_t source;
    uint8_t max_level;   /* LINEAR: of leaves; FRAMES: as far as all frames allow */
    uint16_t at;         /* FRAMES: next word in the first page */
    struct node *frames; /* FRAMES: pages of words, pa | order, in ascending va; the first at a multiple of its size */
    struct pt_map *next; /* ascending */
};
_Static_assert(sizeof(struct pt_map) <= 64, "aspace_map.reserved holds one");

/* The largest level at which [va, va + size) can hold leaves for pa, at most `max`. */
unsigned pt_linear_level(const struct pt *pt, aspace_va_t va, aspace_pa_t pa, unsigned max);

/* Fill slots [g.lo, g.hi) of a node, the first of which translates va, from a map that is no MAP_FRAMES; segments are
 * the caller's business. */
void pt_place(const struct pt *pt, const struct pt_map *m, struct node *n, struct seg g, aspace_va_t va);

/*
 * The short way for a range inside one leaf table that is there, with segments to spare: no plan, nothing to prepare.
 * False: nothing was done, take the general way. What they do is what the general way would.
 */
bool pt_quick_map(struct pt *pt, const struct pt_map *m);
bool pt_quick_unmap(struct pt *pt, aspace_va_t va, aspace_va_t end);

/* Map the list, in order, all or nothing. With `replace` (one range only) what was there is unmapped in the same step.
 * OK, EXISTS (culprit filled), NO_MEMORY, QUOTA. Frames of MAP_FRAMES are consumed only on OK. */
int pt_map(struct pt *pt, struct pt_map *maps, bool replace, struct aspace_range *culprit);

/* Unmap all there is and map the list, in one step. OK, NO_MEMORY, QUOTA; frames as above. */
int pt_replace_all(struct pt *pt, struct pt_map *maps);

int pt_unmap(struct pt *pt, aspace_va_t va, aspace_va_t end);

/* Unmap one slot: the leftmost that is a leaf table, an empty table, or no table at all. The root is not empty, and no
 * other operation is in progress. Cannot fail. */
void pt_unmap_first(struct pt *pt);

/* One past the last address that the root translates. */
static inline aspace_va_t pt_limit(const struct pt *pt)
{
    return (uint64_t)node_entries(pt->F, pt->top) << pt->F->shift[pt->top];
}

/* OK, NOT_MAPPED, PERMISSION, UNSUPPORTED, NO_MEMORY, QUOTA */
int pt_protect(struct pt *pt, aspace_va_t va, aspace_va_t end, uint32_t rights);

/* OK, NO_MEMORY, QUOTA; BUSY: all is done but leaves with a pinned page. */
int pt_discard(struct pt *pt, aspace_va_t va, aspace_va_t end);

/*
 * Move what [va, end) holds to new_va, which is free and does not overlap it. OK, EXISTS (culprit filled), NO_MEMORY,
 * QUOTA. Both ranges are locked as a batch is, the lower one first.
 *   R8  A slot that moves is BUSY in the old place, and holds there what it was, until it is visible in the new one;
 *       between the two every CPU has acknowledged the invalidation of the old place.
 */
int pt_move(struct pt *pt, aspace_va_t va, aspace_va_t end, aspace_va_t new_va, struct aspace_range *culprit);

/* The three that work on one leaf or table; va is any address in it. */
int pt_migrate(struct pt *pt, aspace_va_t va, aspace_pa_t new_pa);
int pt_collapse(struct pt *pt, aspace_va_t va, unsigned level);
int pt_split(struct pt *pt, aspace_va_t va);

/* For faults: may be inside a section of the caller's, so that nothing is waited for. Both are OK if there is nothing
 * to be done any more: look again. */
int pt_split_in_fault(struct pt *pt, aspace_va_t va);

/* A write fault on a leaf that lacks the right although its area has it (T7): the sole mapping of the frame gets it
 * back, any other a copy. OK (the leaf got the rights `need`), RETRY (nothing was to be done, or a fork is under way:
 * look again), NO_MEMORY, QUOTA. */
int pt_cow(struct pt *pt, aspace_va_t va, uint32_t need);

/* What a LEAF or PARKED entry e becomes with the frame pa, of which it is the only mapping: all rights that its value
 * gives, accessed and dirty as they are. */
uint64_t pt_with_frame(const struct pt *pt, unsigned level, value_t v, uint64_t e, aspace_pa_t pa);

/* A zeroed frame of the area's own for a page of a PRIVATE area, whether filled or not. OK, NO_MEMORY, QUOTA,
 * NOT_MAPPED; RETRY: there is no leaf table, another area, or the object ends before the page. */
int pt_zero_page(struct pt *pt, aspace_va_t va);

/* Worst-case tables for one operation on the range. */
uint64_t pt_tables_needed(const struct fmt *F, aspace_va_t va, aspace_va_t end);

/* Reclaim tables that hold nothing under [va, end), looking at about *budget tables; returns how many were reclaimed
 * and sets *next_va to where to go on. */
size_t pt_sweep(struct pt *pt, aspace_va_t *next_va, size_t budget);

#endif
