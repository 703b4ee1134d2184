/* SPDX-License-Identifier: BSD-2-Clause */
/* From an object to its areas: the list, and taking pages back a leaf table at a time. */
#include "pt/rmap.h"
#include "pt/gate.h"
#include "pt/log.h"
#include "pt/op.h"
#include "pt/pending.h"
#include "pt/walk.h"

#include <aspace/watch.h>

_Static_assert(sizeof(struct rmap_link) <= sizeof(struct area), "a link lives in a record");

/* ------------------------------------------------------------------------------------------------------- the list */

void rmap_add_at(struct pt *pt, struct area *area, struct aspace_object *object, struct area *record)
{
    uint32_t index = record->index;
    struct rmap_link *link = (struct rmap_link *)(void *)record;
    *link = (struct rmap_link){.object = object, .pt = pt, .area = area, .index = index};
    area->ctx = link;
    seam_store(&pt->deferred, 1); /* the reference goes with the record, which destroy is to wait for */
    seam_add(&object->references, 1);
    seam_lock(&object->lock, host_lock_tag());
    link->at = (struct rmap_link **)object->append;
    *link->at = link;
    object->append = (void **)&link->next;
    seam_unlock(&object->lock);
}

bool rmap_add(struct pt *pt, struct area *area, struct aspace_object *object)
{
    struct area *record = area_alloc(pt->host);
    if (record)
        rmap_add_at(pt, area, object, record);
    return record != NULL;
}

void rmap_remove(struct rmap_link *link)
{
    struct aspace_object *object = link->object;
    uint32_t index = link->index;
    ASSERT(!seam_load(&link->area->pages)); /* B2: nobody holds it, nor will */
    seam_lock(&object->lock, host_lock_tag());
    *link->at = link->next;
    if (link->next)
        link->next->at = link->at;
    else
        object->append = (void **)link->at;
    seam_unlock(&object->lock);
    struct area *record = (struct area *)(void *)link;
    record->index = index;
    area_free(object->host, record);
}

/* -------------------------------------------------------------------------------------------------------- one table */

/* One area's part of it. */
struct part {
    struct rmap_revoke *r;
    struct pt *pt;
    const struct area *area;
    aspace_va_t end;
};

enum { WORDS_A_PAGE = 2, PAGES_AT_ONCE = 512 };

/* As many pages as there are to be had for items: without any, a few pages of the object's go at a time. */
static void reserve(struct op *op)
{
    struct node *page;
    while (op->g.capacity < WORDS_A_PAGE * PAGES_AT_ONCE && (page = pool_alloc(op->pt->host)) != NULL) {
        page->next = op->g.reserve;
        op->g.reserve = page;
        op->g.capacity += gather_page_words();
    }
}

/* Take the write right from a page of the object's, and the dirty flag, but for one that a log is to find. A TLB may
 * have the right although the log took it from the leaf (L2). */
static void clean_slot(struct op *op, struct node *n, unsigned i, const struct area *area, aspace_va_t va)
{
    const struct fmt *F = op->F;
    uint64_t *slot = node_slots(n) + i, e = slot_load(slot), new;
    bool present, kept = log_wants_flag(op->pt, va);
    uint32_t rights;
    do {
        enum slot_kind kind = slot_kind(F, 0, e);
        if ((kind != SLOT_LEAF && kind != SLOT_PARKED) || area_frame_owner(area, slot_soft(F, 0, e)) != FRAME_BACKEND)
            return;
        present = kind == SLOT_LEAF;
        rights = present ? fmt_leaf_rights(F, op->C, e) : SLOT_PARKED_RIGHTS(e);
        if (present && rights & ~(uint32_t)ASPACE_W)
            new = fmt_with_rights(F, op->C, 0, e, rights & ~(uint32_t)ASPACE_W);
        else
            new = (present ? slot_park(F, op->C, 0, e, i) : e) & ~((uint64_t)ASPACE_W << 56);
        if (!kept)
            new = fmt_present(F, 0, new) ? fmt_with_ad(F, new, fmt_accessed(F, e), false) : new & ~SLOT_PARKED_D;
    } while (!slot_cas(slot, &e, new));
    op->dirty |= area_page_dirty(F, area, 0, e);
    if (present && (new != e || log_may_hide(op->pt)))
        gather_flush_range(&op->g, va, va + 4096, 0, 1);
}

static void clean(struct op *op, struct node *n, const struct part *p, aspace_va_t va, aspace_va_t end)
{
    unsigned lo = slot_index(op->F, 0, va), hi = lo + (unsigned)((end - va) >> 12);
    struct seg g = {0, 0, 0};
    for (unsigned i = lo; node_next_seg(n, i, hi, &g); i = g.hi)
        for (unsigned k = g.lo; k < g.hi && VALUE_INDEX(g.value) == p->area->index; k++)
            clean_slot(op, n, k, p->area, va + ((uint64_t)(k - lo) << 12));
    op_clean(op, node_slots(n) + lo, hi - lo);
}

/* Tickets for pages of other areas, which have come into this one's extent, have nothing to do with it. */
static void revoke_tickets(struct op *op, const struct node *n, const struct part *p, aspace_va_t va, aspace_va_t end)
{
    unsigned lo = slot_index(op->F, 0, va), hi = lo + (unsigned)((end - va) >> 12);
    struct seg g = {0, 0, 0};
    for (unsigned i = lo; node_next_seg(n, i, hi, &g); i = g.hi)
        if (VALUE_INDEX(g.value) == p->area->index)
            pt_revoke(op->pt, va + ((uint64_t)(g.lo - lo) << 12), va + ((uint64_t)(g.hi - lo) << 12));
}

/* As much of [va, ...) as the leaf table there holds and the items have room for; returns where that ends. Pages of an
 * object are small: there is nothing to do where a larger slot is. */
static aspace_va_t revoke_table(const struct part *p, struct op *op, aspace_va_t va)
{
    struct node *n = op_lock_leaf(op, va);
    aspace_va_t end = slot_clip(op->F, n->level ? n->level : 1, va, p->end);
    if (n->level)
        return end;
    uint64_t most = (uint64_t)(op->g.capacity / WORDS_A_PAGE) << 12;
    end = end - va > most ? va + most : end;
    if (p->r->what == RMAP_WRITES) {
        clean(op, n, p, va, end);
        return end;
    }
    op_commit_discard(op, n, va, end);
    gather_flush(&op->g);
    op_discard_rearm(op, n, va, end);
    revoke_tickets(op, n, p, va, end);
    return end;
}

/* A slot above the leaves that is no table, and not about to be one with pages in it: its table would be filled by
 * faults only, under a lock (B4). */
static bool nothing_there(const struct pt *pt, aspace_va_t va, aspace_va_t *end)
{
    struct walk w;
    walk_any(pt, va, &w);
    *end = slot_clip(pt->F, w.level, va, *end);
    return w.level && (w.kind == SLOT_EMPTY || w.kind == SLOT_ARMED);
}

static aspace_va_t revoke_some(const struct part *p, aspace_va_t va)
{
    struct op op;
    aspace_va_t end = p->end;
    gate_enter(p->pt);
    bool nothing = nothing_there(p->pt, va, &end);
    smr_leave(p->pt->host);
    if (nothing)
        return end;
    op_init(&op, p->pt, OP_DISCARD, va, p->end);
    op.only = p->area->index;
    op.keeps_own = p->r->what != RMAP_ALL;
    op.rights = ASPACE_RX | ASPACE_U; /* for the watchers: what WRITES leaves */
    reserve(&op);
    gate_enter(p->pt);
    end = revoke_table(p, &op, va);
    p->r->dirty |= op.dirty;
    op.end = end;
    op_end(&op);
    op_tell(&op, p->r->what == RMAP_WRITES ? ASPACE_GONE_PROTECTED : ASPACE_GONE_DISCARDED);
    op_fini(&op);
    return end;
}

/* --------------------------------------------------------------------------------------------------------- the walk */

static void revoke_link(const struct rmap_link *link, struct rmap_revoke *r)
{
    const struct area *area = link->area;
    uint64_t lo = r->offset > area->offset ? r->offset : area->offset;
    uint64_t hi = r->end < area->offset + area->size ? r->end : area->offset + area->size;
    struct part p = {r, link->pt, area, area->va_base + (hi - area->offset)};
    if (lo >= hi || (r->what == RMAP_WRITES && area->flags & AREA_PRIVATE))
        return;
    for (aspace_va_t va = area->va_base + (lo - area->offset); va < p.end;)
        va = revoke_some(&p, va);
}

static bool take_page(struct area *area)
{
    uint64_t pages = seam_load(&area->pages);
    while (pages && !slot_cas(&area->pages, &pages, pages + 1))
        continue;
    return pages != 0;
}

/* B3 */
static bool visit(struct host_cpu *me, const struct pt *pt, const struct aspace_host *host)
{
    bool leaving = false;
    seam_store(&me->visiting, pt);
    seam_fence();
    if (UNLIKELY(seam_load(&host->leaving)))
        for (uint32_t i = 0; i < host->cpus; i++)
            leaving |= seam_load(&host->cpu[i].leaving) == pt;
    return !leaving;
}

/* The first link from this one on whose area has pages, one of which is held now (B2, B3). Under the object's lock. */
static struct rmap_link *hold(struct rmap_link *link, struct host_cpu *me, const struct aspace_host *host)
{
    while (link && !(visit(me, link->pt, host) && take_page(link->area)))
        link = link->next;
    return link;
}

void rmap_revoke(struct rmap_revoke *r)
{
    struct aspace_object *object = r->object;
    struct host_cpu *me = host_this_cpu(object->host);
    seam_add_acq_rel(&object->sequence, 1);
    seam_fence();
    seam_lock(&object->lock, host_lock_tag());
    struct rmap_link *link = hold(object->first, me, object->host);
    seam_unlock(&object->lock);
    while (link) {
        revoke_link(link, r);
        seam_lock(&object->lock, host_lock_tag());
        area_put_pages(object->host, link->area, 1); /* while its table waits for us; the lock keeps the link */
        link = hold(link->next, me, object->host);
        seam_unlock(&object->lock);
    }
    seam_store_release(&me->visiting, NULL);
}

void rmap_leave(const struct pt *pt)
{
    seam_add(&pt->host->leaving, 1);
    seam_store(&host_this_cpu(pt->host)->leaving, pt);
    seam_fence();
    for (uint32_t i = 0; i < pt->host->cpus; i++)
        while (seam_load_acquire(&pt->host->cpu[i].visiting) == pt)
            aspace_pause();
}

void rmap_left(const struct pt *pt)
{
    seam_store_release(&host_this_cpu(pt->host)->leaving, NULL);
    seam_sub_release(&pt->host->leaving, 1);
}
