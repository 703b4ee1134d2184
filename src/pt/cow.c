/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Leaves that lack the write right although their area has it: the frame is shared, or a backend's, and is to be
 * copied before it is written (T7); or a dirty log withholds it. Also the gate of forks. Must not know how a fault is
 * answered.
 */
#include <aspace/watch.h>

#include "pt/frames.h"
#include "pt/gate.h"
#include "pt/log.h"
#include "pt/op.h"
#include "pt/shares.h"

/* ----------------------------------------------------------------------------------------------------- the gate */

void gate_enter_slow(struct pt *pt)
{
    for (;;) {
        uint32_t gate = seam_load_acquire(&pt->gate);
        if (!gate || gate == host_lock_tag())
            return;
        smr_leave(pt->host);
        while (seam_load(&pt->gate)) {
            aspace_quiescent(pt->host);
            aspace_pause();
        }
        smr_enter(pt->host);
    }
}

bool gate_raise(struct pt *pt)
{
    if (!seam_trylock(&pt->gate, GATE_NOBODY))
        return false;
    smr_wait(pt->host, smr_goal(pt->host));
    return true;
}

void gate_hold(struct pt *pt)
{
    seam_store(&pt->gate, host_lock_tag());
}

void gate_let(struct pt *pt)
{
    seam_store(&pt->gate, GATE_NOBODY);
}

void gate_lower(struct pt *pt)
{
    seam_unlock(&pt->gate);
}

/* ----------------------------------------------------------------------------------------------- write faults (T7) */

uint64_t pt_with_frame(const struct pt *pt, unsigned level, value_t v, uint64_t e, aspace_pa_t pa)
{
    const struct fmt *F = pt->F;
    const struct area *area = value_area(pt->host, v);
    unsigned soft = area->flags & AREA_OWNED ? 0 : SOFT_OWN;
    uint32_t rights = log_kept_rights(pt, level, e, area_leaf_rights(area, soft, VALUE_RIGHTS(v)));
    bool present = fmt_present(F, level, e);
    bool accessed = present ? fmt_accessed(F, e) : (e & SLOT_PARKED_A) != 0;
    bool dirty = slot_dirty(F, level, e);
    if (!rights) {
        uint64_t state = e & SLOT_PARKED_STATE & ~(3ull << SLOT_PARKED_SOFT_SHIFT);
        return slot_parked(F, &pt->C, level, pa, state | (uint64_t)soft << SLOT_PARKED_SOFT_SHIFT);
    }
    uint64_t leaf = fmt_leaf(F, &pt->C, level, rights, area->attr) | fmt_addr_bits(F, pa);
    return log_with_flags(pt, fmt_with_soft(F, leaf, soft), accessed, dirty);
}

/* A frame in the place of one that the space has, or one more. */
enum cow_step { COW_DONE, COW_NEEDS_SPLIT, COW_NEEDS_FRAME, COW_NEEDS_MORE };

/* A write fault being worked on. */
struct cow {
    struct op op;
    struct pt *pt;
    aspace_va_t va;     /* of the page */
    uint32_t need;      /* rights of the access */
    aspace_pa_t frame;  /* taken for the copy, or ASPACE_PA_NONE */
    bool copied;        /* it is in the place of the old one */
    bool charged;       /* it is accounted for as one more */
    bool done;          /* the leaf has these rights now */
    struct node *spare; /* taken with it: a place for the old frame to wait in */
    bool whole;         /* no memory to split a large leaf for the log: all of it becomes writable */
    bool drained;       /* what waited to be freed has been */
};

/* The slot found, its node locked. */
struct spot {
    struct node *n;
    unsigned i, soft;
    uint64_t *slot, e;
    value_t v;
    aspace_pa_t pa;
    struct area *area;
};

/* A leaf whose area lets it be written, and that does not; another CPU may have been faster. */
static bool find_spot(struct cow *c, struct spot *s)
{
    const struct pt *pt = c->pt;
    s->n = op_lock_leaf(&c->op, c->va);
    s->i = slot_index(pt->F, s->n->level, c->va);
    s->slot = node_slots(s->n) + s->i;
    s->e = slot_load(s->slot);
    enum slot_kind kind = slot_kind(pt->F, s->n->level, s->e);
    if (kind != SLOT_LEAF && kind != SLOT_PARKED)
        return false;
    s->v = node_value(s->n, s->i);
    s->area = value_area(pt->host, s->v);
    s->soft = slot_soft(pt->F, s->n->level, s->e);
    s->pa = slot_frame(pt->F, &pt->C, s->n->level, s->e, s->i);
    if (!(VALUE_RIGHTS(s->v) & ASPACE_W) || s->area->flags & AREA_ROM)
        return false;
    if (kind == SLOT_LEAF && fmt_leaf_rights(pt->F, &pt->C, s->e) & ASPACE_W)
        return false; /* another CPU was faster */
    return log_may_hide(pt) || area_frame_owner(s->area, s->soft) != FRAME_BORROWED;
}

/* Only the log withholds the right. Nothing to flush but a run that is taken apart, so that pages are told singly. */
static void let_write(struct cow *c, struct spot *s)
{
    const struct pt *pt = c->pt;
    if (!s->n->level && pt->C.run_lg2 && fmt_in_run(pt->F, s->e)) {
        op_break_run(&c->op, s->n, s->i, c->va);
        s->e = slot_load(s->slot);
    }
    uint64_t new;
    do
        new = log_grant(c->pt, c->va, s->n->level, s->e, VALUE_RIGHTS(s->v));
    while (!slot_cas(s->slot, &s->e, new));
    op_clean(&c->op, s->slot, 1);
}

/* What the slot becomes with a frame that only it maps. */
static uint64_t writable(struct cow *c, const struct spot *s, aspace_pa_t pa)
{
    uint64_t leaf = pt_with_frame(c->pt, s->n->level, s->v, s->e, pa);
    return log_grant(c->pt, c->va, s->n->level, leaf, VALUE_RIGHTS(s->v));
}

/* The mapping is the only one: the frame becomes the area's own, with all rights. Nothing to flush: they are added. */
static void take_back(struct cow *c, struct spot *s)
{
    while (!slot_cas(s->slot, &s->e, writable(c, s, s->pa)))
        continue;
    op_clean(&c->op, s->slot, 1);
    COUNT(pt_this_cpu(c->pt)->cow_takes, 1);
}

/* The old frame is read-only wherever it is mapped, so it is copied before the leaf is taken away. */
static void copy(struct cow *c, struct spot *s)
{
    const struct pt *pt = c->pt;
    seam_copy(aspace_phys_to_virt(c->frame), aspace_phys_to_virt(s->pa), 4096); /* a backend may still write its own */
    pt_sync_icache(pt, VALUE_RIGHTS(s->v), c->frame, 4096);
    s->e = slot_xchg(s->slot, slot_busy(&pt->C, 0, c->op.tag));
    op_clean(&c->op, s->slot, 1);
    if (fmt_present(pt->F, 0, s->e))
        gather_flush_range(&c->op.g, c->va, c->va + 4096, 0, 1);
    gather_flush(&c->op.g);
    slot_publish(s->slot, writable(c, s, c->frame));
    op_clean(&c->op, s->slot, 1);
    c->op.g.reserve = c->spare;
    c->spare = NULL;
    c->frame = ASPACE_PA_NONE;
    c->copied = true;
    if (s->soft & SOFT_COUNTED) {
        gather_counted(&c->op.g, s->pa, 0);
    } else {
        gather_custom(&c->op.g, s->area, c->va, s->pa, 0);
        area_keep_pages(s->area, 1);
    }
    COUNT(pt_this_cpu(c->pt)->cow_copies, 1);
}

static bool is_sole(const struct cow *c, const struct spot *s)
{
    enum frame_owner owner = area_frame_owner(s->area, s->soft);
    return owner == FRAME_UNIQUE ||
           (owner == FRAME_COUNTED && shares_unique(c->pt->host, s->pa, level_order(c->pt->F, s->n->level)));
}

/* A frame for the copy comes before a split: without one all stays as it is. */
static enum cow_step step_locked(struct cow *c)
{
    struct spot s;
    if (!find_spot(c, &s))
        return COW_DONE;
    bool hides = log_may_hide(c->pt), backend = area_frame_owner(s.area, s.soft) == FRAME_BACKEND;
    bool foreign = backend && !(s.area->flags & AREA_PRIVATE);
    bool log_only =
        hides && !backend && fmt_present(c->pt->F, s.n->level, s.e) && area_leaf_rights(s.area, s.soft, ASPACE_W);
    bool copies = !foreign && !log_only && !is_sole(c, &s);
    if (copies && (c->frame == ASPACE_PA_NONE || c->charged != backend))
        return backend ? COW_NEEDS_MORE : COW_NEEDS_FRAME;
    if (s.n->level && (copies || (hides && c->pt->log.split && !c->whole)))
        return COW_NEEDS_SPLIT;
    if (foreign)
        return COW_DONE;
    if (log_only)
        let_write(c, &s);
    else if (copies)
        copy(c, &s);
    else
        take_back(c, &s);
    c->done = !(c->need & ~fmt_leaf_rights(c->pt->F, &c->pt->C, slot_load(s.slot)));
    return COW_DONE;
}

static enum cow_step step(struct cow *c)
{
    enum cow_step next = COW_DONE;
    op_init(&c->op, c->pt, OP_PROTECT, c->va, c->va + 4096);
    smr_enter(c->pt->host);
    if (gate_is_open(c->pt))
        next = step_locked(c);
    op_end(&c->op);
    if (c->copied)
        op_tell(&c->op, ASPACE_GONE_FRAME);
    op_fini(&c->op);
    return next;
}

static void put_frame(struct cow *c)
{
    if (c->frame == ASPACE_PA_NONE)
        return;
    pool_free(c->pt->host, c->spare);
    c->spare = NULL;
    c->pt->host->hal->free(c->pt->host->ctx, c->frame, 0);
    c->frame = ASPACE_PA_NONE;
    if (c->charged)
        pt_account_frames(c->pt, -1);
}

static int get_frame(struct cow *c, enum cow_step next)
{
    struct pt *pt = c->pt;
    put_frame(c);
    c->charged = next == COW_NEEDS_MORE;
    if (c->charged && !pt_account_frames(pt, 1))
        return ASPACE_E_QUOTA;
    c->spare = pool_alloc(pt->host);
    c->frame = c->spare ? pt_alloc_frame(pt, 0, 0) : ASPACE_PA_NONE;
    if (c->frame != ASPACE_PA_NONE)
        return ASPACE_E_OK;
    if (c->spare)
        pool_free(pt->host, c->spare);
    c->spare = NULL;
    if (c->charged)
        pt_account_frames(pt, -1);
    return ASPACE_E_NO_MEMORY;
}

static int split(struct cow *c)
{
    int rc = pt_split_in_fault(c->pt, c->va);
    if (rc == ASPACE_E_OK || rc == ASPACE_E_NOT_MAPPED)
        return ASPACE_E_OK;
    if (c->whole || !log_may_hide(c->pt))
        return rc;
    c->whole = true;
    return ASPACE_E_OK;
}

/* Before the answer is NO_MEMORY: a frame may be free now, or this mapping of the old one the only one that is left. */
static bool drain_once(struct cow *c)
{
    bool again = !c->drained;
    if (again)
        limbo_drain_all(c->pt->host);
    c->drained = true;
    return again;
}

/* What a frame was taken for may have changed by the next step: then it goes back, and all begins again. */
int pt_cow(struct pt *pt, aspace_va_t va, uint32_t need)
{
    struct cow c = {.pt = pt, .va = va & ~4095ull, .need = need, .frame = ASPACE_PA_NONE};
    int rc = ASPACE_E_OK;
    enum cow_step next = COW_DONE;
    while (rc == ASPACE_E_OK && (next = step(&c)) != COW_DONE) {
        rc = next == COW_NEEDS_SPLIT ? split(&c) : get_frame(&c, next);
        if (rc == ASPACE_E_NO_MEMORY && drain_once(&c))
            rc = ASPACE_E_OK;
    }
    put_frame(&c);
    return rc || c.done ? rc : ASPACE_E_RETRY;
}
