/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Table descriptors. One cache line for each table page; the first frame of a chunk holds the descriptors of the
 * others, so that descriptor, table and physical address are found from each other by arithmetic alone.
 *
 * Field guards: `lock` itself; stale, count, segs, n_segs, dense: written under the lock, with seq odd while they
 * change, read without it by the seq protocol (node_value_rcu); flushing: under the lock; next: owner of the lock, or
 * of the page when it is in no tree.
 */
#ifndef PT_NODE_H
#define PT_NODE_H

#include "pt/slot.h"
#include "sync/host.h"

enum { NODE_SEGS = 4, NODE_BYTES = 64, FLUSHING_MANY = 255 };

/* Slots [lo, hi) that are not EMPTY and not TABLE map to `value`; slots that are TABLE are not told by it. */
struct seg {
    uint16_t lo, hi;
    value_t value;
};

struct node {
    uint32_t lock;
    uint32_t seq;
    uint16_t count;   /* slots that are not EMPTY */
    uint8_t n_segs;   /* in use; with `dense` set, none */
    uint8_t stale;    /* no longer in the tree */
    uint8_t doomed;   /* the owner of the lock will unlink it */
    uint8_t building; /* advisory: which of its ARMED slots, by a small number, a CPU is making a child for; 0: none */
    uint8_t flushing; /* R7: CPU + 1 that may have announced an invalidation here; FLUSHING_MANY; 0: none */
    uint8_t level : 4;
    uint8_t order : 4;  /* of the run of frames that the table is */
    struct node *dense; /* page that holds a value for each slot, when the segments are not enough */
    struct node *next;
    struct seg segs[NODE_SEGS];
};
_Static_assert(sizeof(struct node) == NODE_BYTES, "a descriptor is one cache line");

static inline uint64_t *node_slots(const struct node *n)
{
    uintptr_t base = (uintptr_t)n & ~(uintptr_t)4095;
    return (uint64_t *)(base + (((uintptr_t)n & 4095) / NODE_BYTES << 12));
}

static inline aspace_pa_t node_pa(const struct node *n)
{
    return aspace_virt_to_phys(node_slots(n));
}

/* The descriptor of the table at pa, the begin of a page. */
static inline struct node *node_at(const struct aspace_host *host, aspace_pa_t pa)
{
    uint64_t chunk = pa & host->chunk_mask;
    char *nodes = aspace_phys_to_virt(chunk);
    return (struct node *)(void *)(nodes + (pa - chunk) / (4096 / NODE_BYTES));
}

static inline unsigned node_entries(const struct fmt *F, unsigned level)
{
    return 1u << F->bits[level];
}

static inline unsigned slot_index(const struct fmt *F, unsigned level, aspace_va_t va)
{
    return (unsigned)(va >> F->shift[level]) & ((1u << F->bits[level]) - 1);
}

static inline uint64_t slot_span(const struct fmt *F, unsigned level)
{
    return 1ull << F->shift[level];
}

/* The sweep looks for empty tables without their locks. */
static inline void node_count_add(struct node *n, int slots)
{
    seam_store(&n->count, (uint16_t)(n->count + slots));
}

static inline value_t *node_values(const struct node *dense)
{
    return (value_t *)(void *)node_slots(dense);
}

/* The value of slot i, 0 if none; under the lock. */
value_t node_value(const struct node *n, unsigned i);

/* The value of slot i, and the slot range around it that has the same value ([*lo, *hi)); without the lock. *slot is
 * the slot as it was in the same instant. False: a change is in flight. */
bool node_value_rcu(const struct node *n, unsigned i, struct seg *seg, uint64_t *slot);

/* The next stretch of equal, non-zero value that begins at or after slot i and below end; under the lock. */
bool node_next_seg(const struct node *n, unsigned i, unsigned end, struct seg *seg);

/* Would node_set for these slots need a dense page that is not there? */
bool node_set_spills(const struct node *n, unsigned lo, unsigned hi, value_t v);

/* Set the value of [lo, hi) (0: none). *spill is an unused page for `dense`, taken (set NULL) if needed; a dense page
 * that is no longer needed is given back the same way, for the caller to free after a grace period. */
void node_set(struct node *n, unsigned lo, unsigned hi, value_t v, struct node **spill);

/* Frames that `dense` of a table of this level takes, log2. */
static inline unsigned node_dense_order(const struct fmt *F, unsigned level)
{
    return F->bits[level] > 10 ? F->bits[level] - 10u : 0;
}

#endif
