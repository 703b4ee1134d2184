/* SPDX-License-Identifier: BSD-2-Clause */
/* Range operations from prepare to finish. */
#include "pt/gate.h"
#include "pt/op.h"
#include "pt/pending.h"

void op_lock(struct op *op, struct node *n)
{
    seam_lock(&n->lock, op->tag);
    n->next = op->locked;
    op->locked = n;
    gather_settle_node(op->pt, n, op->va, op->end);
}

void op_lock_new(struct op *op, struct node *n)
{
    seam_lock_new(&n->lock, op->tag);
    n->next = op->locked;
    op->locked = n;
}

void op_unlock_all(struct op *op)
{
    while (op->locked) {
        struct node *n = op->locked;
        op->locked = n->next;
        n->next = NULL;
        seam_unlock(&n->lock);
    }
}

void op_init(struct op *op, struct pt *pt, enum op_kind kind, aspace_va_t va, aspace_va_t end)
{
    op->pt = pt;
    op->F = pt->F;
    op->C = &pt->C;
    op->kind = kind;
    op->replace = op->batch = op->lock_all = op->clear_first = op->busied = false;
    op->in_fault = false;
    op->moves = op->everything = false;
    op->restarts = 0;
    op->tag = host_lock_tag();
    op->rights = op->only = 0;
    op->keeps_own = op->dirty = op->pinned = false;
    op->va = va;
    op->end = end;
    op->map = NULL;
    op->locked = op->pages = op->spill_root = NULL;
    op->have = op->quota = 0;
    op->culprit = NULL;
    op->put_area = NULL;
    op->put_pages = 0;
    op->records = op->record_have = 0;
    op->record_first = NULL;
    op->move = NULL;
    gather_init(&op->g, pt);
}

void op_tell(struct op *op, enum aspace_gone_kind kind)
{
    const struct pt_gone gone = {.kind = (uint32_t)kind, .rights = op->rights, .va = op->va, .end = op->end};
    pt_tell(op->pt, &gone);
}

/* Release what was prepared and not used, and the items; outside of the section. */
void op_fini(struct op *op)
{
    struct aspace_host *host = op->pt->host;
    while (UNLIKELY(op->pages != NULL)) {
        struct node *page = op->pages;
        op->pages = page->next;
        pool_free(host, page);
    }
    if (UNLIKELY(op->spill_root != NULL))
        pool_free(host, op->spill_root);
    while (UNLIKELY(op->record_first != NULL)) {
        struct area *area = op->record_first;
        op->record_first = area->next_dead;
        area_free(host, area);
    }
    if (UNLIKELY(op->quota))
        pt_account(&op->pt->used_tables, op->pt->quota_tables, -(int64_t)op->quota);
    gather_finish(&op->g);
}

static bool prepared(const struct op *op)
{
    return op->have >= op->need && op->g.capacity >= op->words && (op->spill_root || !op->need_spill_root) &&
           op->record_have >= op->records && (!op->pt->quota_tables || op->quota >= op->tables);
}

/* Unmap may use what is held back: it must not fail for want of a place to put what it frees. */
static struct node *page_for(struct op *op)
{
    struct node *page = pool_alloc(op->pt->host);
    return page || op->kind != OP_UNMAP || op->batch ? page : pool_alloc_emergency(op->pt->host);
}

static bool prepare_records(struct op *op)
{
    while (op->record_have < op->records) {
        struct area *area = area_alloc(op->pt->host);
        if (!area)
            return false;
        area->next_dead = op->record_first;
        op->record_first = area;
        op->record_have++;
    }
    return true;
}

static bool prepare_pages(struct op *op)
{
    while (op->have < op->need) {
        struct node *page = pool_alloc(op->pt->host);
        if (!page)
            return false;
        page->next = op->pages;
        op->pages = page;
        op->have++;
    }
    while (op->g.capacity < op->words) {
        struct node *page = page_for(op);
        if (!page)
            return false;
        page->next = op->g.reserve;
        op->g.reserve = page;
        op->g.capacity += gather_page_words();
    }
    if (op->need_spill_root && !op->spill_root)
        op->spill_root = pool_alloc_run(op->pt->host, node_dense_order(op->F, op->F->levels - 1u));
    return (op->spill_root || !op->need_spill_root) && prepare_records(op);
}

int op_prepare(struct op *op)
{
    if (op->pt->quota_tables && op->tables > op->quota) {
        uint64_t more = op->tables - op->quota;
        if (!pt_account(&op->pt->used_tables, op->pt->quota_tables, (int64_t)more))
            return ASPACE_E_QUOTA;
        op->quota += more;
    }
    if (prepare_pages(op))
        return ASPACE_E_OK;
    if (op->in_fault)
        return ASPACE_E_NO_MEMORY;
    limbo_drain_wait(op->pt->host); /* what is deferred may be all that is missing */
    return prepare_pages(op) ? ASPACE_E_OK : ASPACE_E_NO_MEMORY;
}

static int plan(struct op *op, struct pt_map *maps)
{
    op->need = op->tables = op->words = op->records = 0;
    op->need_spill_root = op->clear_first = false;
    if (op->moves)
        return op_plan_move(op);
    if (op->everything)
        return op_plan_everything(op, maps);
    if (!maps)
        return op_plan(op, op->va, op->end);
    for (op->map = maps; op->map; op->map = op->map->next) {
        int rc = op_plan(op, op->map->va, op->map->end);
        if (rc)
            return rc;
    }
    return ASPACE_E_OK;
}

int op_begin(struct op *op, struct pt_map *maps)
{
    for (;;) {
        gate_enter(op->pt);
        int rc = plan(op, maps);
        if (LIKELY(rc == ASPACE_E_OK && prepared(op)))
            return ASPACE_E_OK;
        op_put_back(op);
        smr_leave(op->pt->host);
        if (rc == OP_RESTART) {
            COUNT(pt_this_cpu(op->pt)->retries, 1);
            if (++op->restarts > 2)
                op->lock_all = true;
            if (op->restarts > 200)
                op->restarts = 200;
            aspace_pause();
            continue;
        }
        if (rc == ASPACE_E_OK)
            rc = op_prepare(op);
        if (rc)
            return rc;
    }
}

/* Marks what was unlinked stale, before its unlock. */
static void mark_stale(struct op *op)
{
    for (struct node *n = op->locked; n; n = n->next)
        if (n->doomed)
            seam_store(&n->stale, 1);
}

void op_end(struct op *op)
{
    op_put_pages(op, NULL, 0);
    mark_stale(op);
    bool ask = gather_ask(&op->g);
    for (struct node *n = op->locked; n && ask; n = n->next)
        gather_mark_node(n);
    op_unlock_all(op);
    if (ask)
        gather_send(&op->g);
    aspace_walker_barrier();
    smr_leave(op->pt->host);
}

unsigned pt_linear_level(const struct pt *pt, aspace_va_t va, aspace_pa_t pa, unsigned max)
{
    unsigned level = 0;
    for (unsigned l = 1; l <= max && l <= pt->max_level; l++)
        if (pt->C.leaf_levels >> l & 1 && !((va ^ pa) & (slot_span(pt->F, l) - 1)))
            level = l;
    return level;
}

int pt_map(struct pt *pt, struct pt_map *maps, bool replace, struct aspace_range *culprit)
{
    struct op op;
    if (!maps->next && !replace && pt_quick_map(pt, maps))
        return ASPACE_E_OK;
    struct pt_map *last = maps;
    while (last->next)
        last = last->next;
    op_init(&op, pt, OP_MAP, maps->va, last->end);
    op.replace = replace;
    op.lock_all = op.batch = maps->next != NULL;
    op.culprit = culprit;
    int rc = op_begin(&op, maps);
    if (rc == ASPACE_E_OK) {
        if (UNLIKELY(replace || op.clear_first)) {
            for (op.map = maps; op.map; op.map = op.map->next)
                op_commit_unmap(&op, op.top, op.map->va, op.map->end);
            gather_flush(&op.g);
        }
        for (op.map = maps; op.map; op.map = op.map->next)
            op_commit_map(&op, op.top, op.map->va, op.map->end);
        if (replace)
            pt_revoke(pt, op.va, op.end);
        op_end(&op);
        if (UNLIKELY(replace))
            op_tell(&op, ASPACE_GONE_REPLACED);
    }
    op_fini(&op);
    return rc;
}

/* What was vacated and is not mapped over. Nodes from `n` on were locked by the plan. */
static void empty_vacated(struct op *op, struct node *n)
{
    for (; n; n = n->next) {
        uint64_t *slots = node_slots(n), busy = op_busy(op, n->level);
        unsigned end = n->doomed ? 0 : node_entries(op->F, n->level);
        for (unsigned i = 0; i < end; i++)
            if (slot_peek(slots + i) == busy)
                slot_publish(slots + i, slot_empty(op->C, n->level));
        op_clean(op, slots, end);
    }
}

int pt_replace_all(struct pt *pt, struct pt_map *maps)
{
    struct op op;
    op_init(&op, pt, OP_UNMAP, pt->base, pt->end);
    op.everything = op.batch = op.lock_all = true;
    int rc = op_begin(&op, maps);
    if (rc == ASPACE_E_OK) {
        struct node *old = op.locked;
        op.kind = OP_MAP; /* what is vacated is BUSY */
        op_commit_unmap(&op, op.top, pt->base, pt->end);
        gather_flush(&op.g);
        for (op.map = maps; op.map; op.map = op.map->next)
            op_commit_map(&op, op.top, op.map->va, op.map->end);
        empty_vacated(&op, old);
        pt_revoke(pt, pt->base, pt->end);
        op_end(&op);
        op_tell(&op, ASPACE_GONE_REPLACED);
    }
    op_fini(&op);
    return rc;
}

int pt_unmap(struct pt *pt, aspace_va_t va, aspace_va_t end)
{
    struct op op;
    if (pt_quick_unmap(pt, va, end))
        return ASPACE_E_OK;
    op_init(&op, pt, OP_UNMAP, va, end);
    int rc = op_begin(&op, NULL);
    if (rc == ASPACE_E_OK) {
        op_commit_unmap(&op, op.top, va, end);
        pt_revoke(pt, va, end);
        op_end(&op);
        op_tell(&op, ASPACE_GONE_UNMAPPED);
    }
    op_fini(&op);
    return rc;
}

void pt_pending_add(struct pt *pt, struct aspace_pending *p)
{
    struct pt_pending *l = &pt->pending;
    p->next = NULL;
    p->link = l->last;
    *l->last = p;
    l->last = &p->next;
    seam_store(&l->count, l->count + 1);
}

void pt_pending_remove(struct pt *pt, struct aspace_pending *p)
{
    struct pt_pending *l = &pt->pending;
    *p->link = p->next;
    if (p->next)
        p->next->link = p->link;
    else
        l->last = p->link;
    seam_store(&l->count, l->count - 1);
}

void pt_revoke_pending(struct pt *pt, aspace_va_t va, aspace_va_t end)
{
    struct pt_pending *l = &pt->pending;
    seam_lock(&l->lock, host_lock_tag());
    for (struct aspace_pending *p = l->first, *next; p; p = next) {
        next = p->next;
        if (p->va >= va && p->va < end)
            l->revoke(pt, p);
    }
    seam_unlock(&l->lock);
}

/* From the left, so that clearing one slot never splits a segment, which could need a page. */
void pt_unmap_first(struct pt *pt)
{
    const struct fmt *F = pt->F;
    struct node *n = pt->root;
    aspace_va_t va = 0;
    for (;;) {
        unsigned i = 0;
        while (slot_kind(F, n->level, slot_load(node_slots(n) + i)) == SLOT_EMPTY)
            i++;
        va += (uint64_t)i << F->shift[n->level];
        uint64_t e = slot_load(node_slots(n) + i);
        if (!n->level || slot_kind(F, n->level, e) != SLOT_TABLE)
            break;
        struct node *child = pt_child(pt, e);
        if (!child->level || !child->count)
            break;
        n = child;
    }
    int rc = pt_unmap(pt, va, va + slot_span(F, n->level));
    ASSERT(rc == ASPACE_E_OK);
    (void)rc;
}

int pt_protect(struct pt *pt, aspace_va_t va, aspace_va_t end, uint32_t rights)
{
    struct op op;
    op_init(&op, pt, OP_PROTECT, va, end);
    op.rights = rights;
    int rc = op_begin(&op, NULL);
    if (rc == ASPACE_E_OK) {
        op_commit_protect(&op, op.top, va, end);
        if (!rights)
            pt_revoke(pt, va, end);
        op_end(&op);
        if (op.g.took || !rights)
            op_tell(&op, ASPACE_GONE_PROTECTED);
    }
    op_fini(&op);
    return rc;
}

int pt_discard(struct pt *pt, aspace_va_t va, aspace_va_t end)
{
    struct op op;
    op_init(&op, pt, OP_DISCARD, va, end);
    int rc = op_begin(&op, NULL);
    if (rc == ASPACE_E_OK) {
        op_commit_discard(&op, op.top, va, end);
        gather_flush(&op.g);
        op_discard_rearm(&op, op.top, va, end);
        pt_revoke(pt, va, end);
        op_end(&op);
        op_tell(&op, ASPACE_GONE_DISCARDED);
        rc = op.pinned ? ASPACE_E_BUSY : rc;
    }
    op_fini(&op);
    return rc;
}
