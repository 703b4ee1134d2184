/* SPDX-License-Identifier: BSD-2-Clause */
/* State of one range operation, shared by its phases: plan.c, commit.c, range.c, and by huge.c. */
#ifndef PT_OP_H
#define PT_OP_H

#include <aspace/watch.h>

#include "pt/range.h"

enum op_kind { OP_MAP, OP_UNMAP, OP_PROTECT, OP_DISCARD };

enum { OP_RESTART = 1 }; /* beside aspace_error: put back and plan again */

struct op {
    struct pt *pt;
    const struct fmt *F;
    const struct fmt_ctx *C;
    enum op_kind kind;
    bool replace;
    bool batch;       /* more than one range */
    bool lock_all;    /* R2: restarted too often, or a batch */
    bool clear_first; /* MAP: something must be unlinked, and flushed, before it is mapped over */
    bool in_fault;    /* a caller's section may be around it: nothing is waited for */
    bool busied;      /* R3 was applied somewhere: put back on abort */
    bool everything;  /* MAP: a batch in place of all there is */
    bool moves;       /* two ranges: what is unmapped from one is mapped in the other */
    uint8_t restarts;
    uint32_t tag;
    uint32_t rights;         /* PROTECT, and for watchers */
    uint32_t only;           /* DISCARD: index of the one area concerned, 0: any (rmap.c) */
    bool keeps_own;          /* ... and of that only what is the backend's */
    bool dirty;              /* ... something of the backend's had been written */
    bool pinned;             /* DISCARD: a leaf was passed over, since a page of it is pinned */
    aspace_va_t va, end;     /* hull */
    struct pt_map *map;      /* MAP: the range being worked on */
    struct node *top;        /* where plan and commit start */
    struct node *locked;     /* by `next` */
    struct node *pages;      /* prepared: tables and dense pages */
    struct node *spill_root; /* prepared: dense page of a root larger than one page */
    uint64_t have, need;     /* pages; need counts tables and dense pages */
    uint64_t tables;         /* of need: tables, for the quota */
    uint64_t quota;          /* tables accounted in advance, not yet made */
    uint64_t words;          /* items for the gather */
    bool need_spill_root;
    struct aspace_range *culprit;
    struct gather g;
    struct area *put_area; /* pages of it unmapped and not yet taken back */
    uint64_t put_pages;
    uint64_t records;          /* MOVE: records of areas that are needed, */
    struct area *record_first; /* ... prepared, by next_dead, */
    uint64_t record_have;
    struct move *move;
};

static inline uint64_t op_busy(const struct op *op, unsigned level)
{
    return slot_busy(op->C, level, op->tag);
}

/* What a slot that is being unmapped becomes: one that is mapped over never shows EMPTY (R5). */
static inline uint64_t op_vacant(const struct op *op, unsigned level)
{
    return op->kind == OP_MAP ? op_busy(op, level) : slot_empty(op->C, level);
}

static inline bool covers(const struct op *op, unsigned level, aspace_va_t va, aspace_va_t end)
{
    return end - va == slot_span(op->F, level);
}

static inline bool op_owns(const struct op *op, const struct node *n)
{
    return seam_load(&n->lock) == op->tag;
}

/* For walkers that do not snoop. */
static inline void op_clean(const struct op *op, const uint64_t *slots, unsigned n)
{
    pt_clean(op->pt, slots, n * sizeof *slots);
}

/* End of the slot that va is in, or the end of the range if that is earlier. */
static inline aspace_va_t slot_clip(const struct fmt *F, unsigned level, aspace_va_t va, aspace_va_t end)
{
    aspace_va_t next = (va | (slot_span(F, level) - 1)) + 1;
    return next < end ? next : end;
}

void op_init(struct op *op, struct pt *pt, enum op_kind kind, aspace_va_t va, aspace_va_t end);
/* Prepare and lock. OK: planned, locked, in a read section. Anything else: out of it, nothing held. */
int op_begin(struct op *op, struct pt_map *maps);
int op_prepare(struct op *op); /* get what op->need, words and need_spill_root ask for; outside of the section */
void op_end(struct op *op);    /* flush, unlock, leave the section */
/* To watchers, of op->va to op->end; between op_end and op_fini. */
void op_tell(struct op *op, enum aspace_gone_kind kind);
void op_fini(struct op *op); /* release items and what was prepared for nothing; outside of the section */
void op_lock(struct op *op, struct node *n);     /* and enter into op->locked */
void op_lock_new(struct op *op, struct node *n); /* born locked (R4): nobody else sees it yet */
void op_unlock_all(struct op *op);
struct node *op_take_page(struct op *op);                /* cannot fail: the plan counted it */
void op_give_page(struct op *op, struct node *page);     /* back, unused or used up */
struct node *op_new_node(struct op *op, unsigned level); /* a table to be, private, its slots undefined */
void op_publish_table(struct op *op, struct node *n, unsigned i, const struct node *child);

/* Lock the node that holds the LEAF, or whatever is no TABLE, for va. */
struct node *op_lock_leaf(struct op *op, aspace_va_t va);

/* plan.c: OK, OP_RESTART or an error, locks held in any case. */
int op_plan(struct op *op, aspace_va_t va, aspace_va_t end);
/* The same for what has a reason of its own: move.c, both ranges. */
int op_plan_move(struct op *op);
/* ... all that is mapped, to be unmapped, and what the maps need in place of it. */
int op_plan_everything(struct op *op, const struct pt_map *maps);
/* Undo R3 after a plan that will not be committed, and unlock. */
void op_put_back(struct op *op);

/* commit.c */
void op_commit_unmap(struct op *op, struct node *n, aspace_va_t va, aspace_va_t end);
void op_commit_protect(struct op *op, struct node *n, aspace_va_t va, aspace_va_t end);
void op_commit_discard(struct op *op, struct node *n, aspace_va_t va, aspace_va_t end);
void op_discard_rearm(struct op *op, struct node *n, aspace_va_t va, aspace_va_t end);
/* commit_map.c: op->map into what is EMPTY or BUSY in range. */
void op_commit_map(struct op *op, struct node *n, aspace_va_t va, aspace_va_t end);

/* Turn the LEAF, PARKED or BUSY (was ARMED) slot i into TABLE, the child locked, with the same meaning (T8). */
struct node *op_open(struct op *op, struct node *n, unsigned i, aspace_va_t slot_va);
/* What a table that was unlinked from a slot of a table of `level` makes CPUs forget. */
void op_flush_table(struct op *op, unsigned level, aspace_va_t va);
/* Take contiguous runs apart that [g.lo, g.hi) has a part in, or with `all` any part of them whatever; va is that of
 * g.lo. */
void op_break_runs(struct op *op, struct node *n, struct seg g, aspace_va_t va, unsigned all);
/* The leaf of a PARKED slot, with these rights. */
uint64_t op_unpark(const struct op *op, const struct area *area, unsigned level, uint64_t e, uint32_t rights);
/* Take the contiguous run apart that slot i, of va slot_va, is in; flushes. */
void op_break_run(struct op *op, struct node *n, unsigned i, aspace_va_t slot_va);
/* Set values of slots, with the spill page the plan counted. */
void op_set(struct op *op, struct node *n, unsigned lo, unsigned hi, value_t v);
/* These pages of the area are no longer mapped; area NULL: account for what is pending. */
void op_put_pages(struct op *op, struct area *area, uint64_t pages);

#endif
