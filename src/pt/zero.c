/* SPDX-License-Identifier: BSD-2-Clause */
/* A zeroed frame of the area's own in the place of a page of a PRIVATE area. Must not know what the page was. */
#include "pt/frames.h"
#include "pt/gate.h"
#include "pt/log.h"
#include "pt/op.h"
#include "pt/pending.h"
#include "pt/pins.h"
#include "pt/rmap.h"

/* The slot, its node locked. */
struct zeroed {
    struct node *n;
    struct area *area;
    unsigned i;
    value_t v;
    uint64_t e;
    aspace_va_t va;
};

static uint64_t own_leaf(const struct op *op, const struct zeroed *z, aspace_pa_t frame)
{
    uint32_t rights = log_new_rights(op->pt, area_leaf_rights(z->area, SOFT_OWN, VALUE_RIGHTS(z->v)));
    if (!rights)
        return slot_parked(op->F, op->C, 0, frame, (uint64_t)SOFT_OWN << SLOT_PARKED_SOFT_SHIFT);
    uint64_t leaf = fmt_leaf(op->F, op->C, 0, rights, z->area->attr) | fmt_addr_bits(op->F, frame);
    return fmt_with_soft(op->F, leaf, SOFT_OWN);
}

/* What was there waits for its release. */
static void give_up_old(struct op *op, const struct zeroed *z)
{
    unsigned soft = slot_soft(op->F, 0, z->e);
    aspace_pa_t pa = slot_frame(op->F, op->C, 0, z->e, z->i);
    if (area_frame_owner(z->area, soft) == FRAME_BACKEND) {
        gather_custom(&op->g, z->area, z->va, pa, 0);
        area_keep_pages(z->area, 1);
    } else {
        gather_owned(&op->g, soft, pa, 0);
        pt_account_frames(op->pt, -1);
    }
}

/* Is the page one that the object has? Who cuts it off stores the size first, and comes to this table later than the
 * fence, or has been here (B4). */
static bool reaches(const struct zeroed *z)
{
    seam_fence();
    return z->area->offset + (z->va - z->area->va_base) < seam_load(&rmap_link_of(z->area)->object->size);
}

/* Faults in such an area fill under the lock only, so an ARMED slot stays one; a page goes through BUSY (R5). */
static int replace(struct op *op, struct zeroed *z, aspace_pa_t frame)
{
    uint64_t *slot = node_slots(z->n) + z->i;
    z->e = slot_load(slot);
    enum slot_kind kind = slot_kind(op->F, z->n->level, z->e);
    if (kind == SLOT_EMPTY)
        return ASPACE_E_NOT_MAPPED;
    if (z->n->level)
        return ASPACE_E_RETRY;
    z->v = node_value(z->n, z->i);
    z->area = value_area(op->pt->host, z->v);
    if (!(z->area->flags & AREA_PRIVATE))
        return ASPACE_E_RETRY; /* something else was mapped there meanwhile */
    if (!reaches(z))
        return ASPACE_E_RETRY;
    if (kind != SLOT_ARMED) {
        if (pins_any(op->pt->host, slot_frame(op->F, op->C, 0, z->e, z->i), 0))
            return ASPACE_E_BUSY;
        z->e = slot_xchg(slot, op_busy(op, 0));
        op_clean(op, slot, 1);
        if (fmt_present(op->F, 0, z->e))
            gather_flush_range(&op->g, z->va, z->va + 4096, 0, 1);
        gather_flush(&op->g);
        give_up_old(op, z);
    }
    slot_publish(slot, own_leaf(op, z, frame));
    op_clean(op, slot, 1);
    pt_revoke(op->pt, z->va, z->va + 4096);
    return ASPACE_E_OK;
}

int pt_zero_page(struct pt *pt, aspace_va_t va)
{
    struct op op;
    if (!pt_account_frames(pt, 1))
        return ASPACE_E_QUOTA;
    aspace_pa_t frame = pt_alloc_frame(pt, 0, ASPACE_ALLOC_ZERO);
    int rc = ASPACE_E_NO_MEMORY;
    if (frame != ASPACE_PA_NONE) {
        op_init(&op, pt, OP_DISCARD, va, va + 4096);
        gate_enter(pt);
        struct zeroed z = {.n = op_lock_leaf(&op, va), .va = va};
        z.i = slot_index(pt->F, z.n->level, va);
        rc = replace(&op, &z, frame);
        op_end(&op);
        if (rc == ASPACE_E_OK)
            op_tell(&op, ASPACE_GONE_DISCARDED);
        op_fini(&op);
    }
    if (rc == ASPACE_E_OK)
        return rc;
    if (frame != ASPACE_PA_NONE)
        pt->host->hal->free(pt->host->ctx, frame, 0);
    pt_account_frames(pt, -1);
    return rc;
}
