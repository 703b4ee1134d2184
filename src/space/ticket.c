/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asynchronous faults. A ticket is an entry of the space's list of pending pages (pt/pending.h). Owns what becomes of
 * tickets; must not know how a fault comes to its verdict.
 *
 * A ticket changes hands by compare-and-swap of its state: its owner takes it to ENDING (complete, fail, cancel), the
 * library a WAITING one to ENDING (and IDLE), or to LEADING. `leads` and `stale` are written under the list's lock. Of
 * the tickets for one page at most one leads and is not stale; none waits without such a leader.
 */
#include <aspace/ticket.h>

#include "pt/gate.h"
#include "pt/log.h"
#include "pt/pending.h"
#include "pt/walk.h"
#include "space/space.h"

enum { IDLE = ASPACE_TICKET_IDLE, WAITING = ASPACE_TICKET_WAITING, LEADING = ASPACE_TICKET_LEADING, ENDING };

static struct aspace_ticket *ticket_of(struct aspace_pending *p)
{
    return (struct aspace_ticket *)(void *)((char *)p - offsetof(struct aspace_ticket, pending));
}

static bool change(struct aspace_ticket *t, uint64_t from, uint64_t to)
{
    return slot_cas(&t->state, &from, to);
}

/* For who ends a ticket, leading or, with `or_waits`, waiting. If another is about to, until that is over: the ticket's
 * memory is its owner's again when it is told so. */
static bool claim(struct aspace_ticket *t, uint64_t or_waits)
{
    for (;;) {
        if (change(t, LEADING, ENDING) || change(t, or_waits, ENDING))
            return true;
        uint64_t state = seam_load_acquire(&t->state);
        if (state != ENDING && state != LEADING && state != or_waits)
            return false;
        aspace_pause();
    }
}

enum aspace_ticket_state aspace_ticket_state(const struct aspace_ticket *t)
{
    uint64_t state = seam_load_acquire(&t->state);
    return state == ENDING ? ASPACE_TICKET_WAITING : (enum aspace_ticket_state)state;
}

/* --------------------------------------------------------------------------------------------------------- the list */

static void list_lock(struct aspace *s)
{
    seam_lock(&s->pt.pending.lock, host_lock_tag());
}

static void list_unlock(struct aspace *s)
{
    seam_unlock(&s->pt.pending.lock);
}

static void wake(const struct aspace *s, void *waiter)
{
    const struct aspace_host *host = s->pt.host;
    if (waiter && host->hal->wake)
        host->hal->wake(host->ctx, waiter);
}

/* One who waits is to run its access again. The last that is done to its ticket is to make it IDLE, since its owner may
 * be looking. Not if it is being cancelled: then its owner takes it out. The caller holds a pin of its own. */
static void dismiss(struct aspace *s, struct aspace_ticket *t)
{
    void *waiter = t->waiter;
    if (!change(t, WAITING, ENDING))
        return;
    pt_pending_remove(&s->pt, &t->pending);
    seam_sub_acq_rel(&s->pins, 1);
    seam_store_release(&t->state, IDLE);
    wake(s, waiter);
}

static void dismiss_page(struct aspace *s, aspace_va_t va)
{
    for (struct aspace_pending *p = s->pt.pending.first, *next; p; p = next) {
        next = p->next;
        if (p->va == va)
            dismiss(s, ticket_of(p));
    }
}

/* The first who waits for the page leads. */
static void promote(struct aspace *s, aspace_va_t va)
{
    for (struct aspace_pending *p = s->pt.pending.first; p; p = p->next) {
        struct aspace_ticket *t = ticket_of(p);
        void *waiter = t->waiter;
        if (p->va != va || seam_load(&t->state) != WAITING)
            continue;
        t->leads = 1; /* before its owner can see it */
        if (change(t, WAITING, LEADING)) {
            wake(s, waiter);
            return;
        }
        t->leads = 0;
    }
}

static bool has_leader(struct aspace *s, aspace_va_t va)
{
    for (struct aspace_pending *p = s->pt.pending.first; p; p = p->next)
        if (p->va == va && !p->stale && ticket_of(p)->leads)
            return true;
    return false;
}

bool space_ticket_leads(struct aspace_pending *p)
{
    return ticket_of(p)->leads;
}

/* What the page was is gone. */
static void revoke(struct pt *pt, struct aspace_pending *p)
{
    seam_store(&p->stale, 1);
    dismiss(pt->owner, ticket_of(p));
}

void ticket_init(struct aspace *s)
{
    s->pins = 1;
    s->pt.pending.last = &s->pt.pending.first;
    s->pt.pending.revoke = revoke;
}

void ticket_close(struct aspace *s)
{
    list_lock(s);
    seam_store(&s->state, SPACE_CLOSING);
    list_unlock(s);
    pt_revoke_pending(&s->pt, 0, UINT64_MAX);
}

void ticket_settle(const struct aspace *s)
{
    while (seam_load_acquire(&s->completing))
        aspace_pause();
}

void space_unpin(struct aspace *s)
{
    if (seam_sub_acq_rel(&s->pins, 1) == 1 && s->released)
        s->released(s->user);
}

/* ----------------------------------------------------------------------------------------------------------- arming */

/* The table that holds the slot for va, locked and in the tree. In a section. */
static struct node *lock_slot(struct pt *pt, aspace_va_t va, uint64_t **slot)
{
    for (;;) {
        struct walk w;
        walk_any(pt, va, &w);
        struct node *n = walk_node(pt, w.slots);
        seam_lock(&n->lock, host_lock_tag());
        *slot = w.slots + w.index;
        if (!n->stale && slot_kind(pt->F, n->level, slot_load(*slot)) != SLOT_TABLE)
            return n;
        seam_unlock(&n->lock);
        aspace_pause();
    }
}

/* NEEDS_IO: the marker of this area is there, and allows the access. WOULD_BLOCK: a page, of whatever size, that I/O
 * could give more rights to, which no ticket is for. RETRY: the fault has another answer by now. */
static enum aspace_fault_result can_arm(const struct pt *pt, unsigned level, uint64_t e, const struct aspace_ticket *t)
{
    enum slot_kind kind = slot_kind(pt->F, level, e);
    if (kind == SLOT_LEAF || kind == SLOT_PARKED) {
        uint32_t granted = kind == SLOT_LEAF ? fmt_leaf_rights(pt->F, &pt->C, e) : 0;
        return t->need & ~granted ? ASPACE_FAULT_WOULD_BLOCK : ASPACE_FAULT_RETRY;
    }
    if (level || kind != SLOT_ARMED || t->need & ~VALUE_RIGHTS(slot_armed_value(e)))
        return ASPACE_FAULT_RETRY;
    return value_area(pt->host, slot_armed_value(e))->id == t->area_id ? ASPACE_FAULT_NEEDS_IO : ASPACE_FAULT_RETRY;
}

static enum aspace_fault_result enter_list(struct aspace *s, struct aspace_ticket *t)
{
    enum aspace_fault_result r = ASPACE_FAULT_CLOSED;
    list_lock(s);
    if (space_is_open(s)) {
        t->leads = !has_leader(s, t->pending.va);
        t->pending.stale = 0;
        seam_add(&s->pins, 1);
        seam_store(&t->state, t->leads ? LEADING : WAITING);
        pt_pending_add(&s->pt, &t->pending);
        r = t->leads ? ASPACE_FAULT_NEEDS_IO : ASPACE_FAULT_WAITING;
    }
    list_unlock(s);
    return r;
}

/* The ticket is filled in before it is seen: what the backend said holds if the area is there under the lock. */
static enum aspace_fault_result arm(struct aspace *s, struct aspace_ticket *t)
{
    struct pt *pt = &s->pt;
    uint64_t *slot;
    smr_enter(pt->host);
    struct node *n = lock_slot(pt, t->pending.va, &slot);
    enum aspace_fault_result r = can_arm(pt, n->level, slot_load(slot), t);
    if (r == ASPACE_FAULT_NEEDS_IO)
        r = enter_list(s, t);
    seam_unlock(&n->lock);
    smr_leave(pt->host);
    return r;
}

/* A ticket that is in use: what it is now, if that is what is asked. One that another CPU is ending, or has let go
 * meanwhile, may have had its wake: who waited for it now would wait for nothing. */
static enum aspace_fault_result in_use(const struct aspace *s, aspace_va_t va, const struct aspace_ticket *t,
                                       struct aspace_fault_info *info)
{
    if (t->space != s || t->pending.va != (va & ~4095ull))
        return ASPACE_FAULT_WOULD_BLOCK;
    *info = (struct aspace_fault_info){t->cookie, t->offset + (va & 4095), t->area_id};
    switch (seam_load_acquire(&t->state)) {
    case LEADING: return ASPACE_FAULT_NEEDS_IO;
    case WAITING: return ASPACE_FAULT_WAITING;
    default: return ASPACE_FAULT_RETRY;
    }
}

static enum aspace_fault_result try_once(struct aspace *s, aspace_va_t va, uint32_t access, struct aspace_ticket *t,
                                         struct aspace_fault_info *info)
{
    enum aspace_fault_result r = aspace_fault(s, va, access, info);
    if (r != ASPACE_FAULT_NEEDS_IO)
        return r;
    if (!t)
        return ASPACE_FAULT_WOULD_BLOCK;
    r = fault_make_tables(s, va);
    if (r != ASPACE_FAULT_DONE)
        return r;
    t->space = s;
    t->pending.va = va & ~4095ull;
    t->area_id = info->area_id;
    t->cookie = info->cookie;
    t->offset = info->offset - (va & 4095);
    t->need = access & (s->pt.F->has_user ? 15u : 7u);
    t->pa_end = s->pt.C.pa_end;
    return arm(s, t);
}

enum aspace_fault_result aspace_fault_try(struct aspace *s, aspace_va_t va, uint32_t access, uint32_t flags,
                                          struct aspace_ticket *t, struct aspace_fault_info *info)
{
    struct aspace_fault_info own;
    enum aspace_fault_result r = ASPACE_FAULT_RETRY;
    t = flags & ASPACE_FAULT_NOWAIT ? NULL : t;
    aspace_trace(fault_try, s, va, access);
    info = info ? info : &own;
    if (t && aspace_ticket_state(t) != ASPACE_TICKET_IDLE)
        return in_use(s, va, t, info);
    for (int round = 0; round < WALK_ROUNDS && r == ASPACE_FAULT_RETRY; round++)
        r = try_once(s, va, access, t, info);
    if (r == ASPACE_FAULT_WAITING || r == ASPACE_FAULT_WOULD_BLOCK)
        COUNT(pt_this_cpu(&s->pt)->faults[r], 1);
    return r;
}

/* ----------------------------------------------------------------------------------------------------------- ending */

/* Take a ticket whose state is ENDING out of the list; who waits for its page is dismissed, or the next leads. Nothing
 * of the space is touched after this. */
static void end(struct aspace_ticket *t, bool fetched, bool completing)
{
    struct aspace *s = t->space;
    list_lock(s);
    pt_pending_remove(&s->pt, &t->pending);
    if (t->leads && !t->pending.stale) {
        if (fetched)
            dismiss_page(s, t->pending.va);
        else
            promote(s, t->pending.va);
    }
    if (completing)
        seam_store_release(&s->completing, s->completing - 1);
    list_unlock(s);
    seam_store_release(&t->state, IDLE);
    space_unpin(s);
}

/* Nothing has come of completing: the ticket leads as before. */
static void lead_on(struct aspace_ticket *t)
{
    struct aspace *s = t->space;
    list_lock(s);
    seam_store_release(&s->completing, s->completing - 1);
    seam_store_release(&t->state, LEADING);
    list_unlock(s);
}

/* The lock of the slot's table is held. A fault of another CPU may still fill the slot (T1). */
static int fill(const struct aspace_ticket *t, uint64_t *slot, aspace_pa_t pa)
{
    struct pt *pt = &t->space->pt;
    uint64_t e = slot_load(slot);
    enum slot_kind kind = slot_kind(pt->F, 0, e);
    if (seam_load(&t->pending.stale))
        return ASPACE_E_STALE;
    if (kind == SLOT_LEAF || kind == SLOT_PARKED)
        return ASPACE_E_EXISTS;
    if (kind != SLOT_ARMED)
        return ASPACE_E_STALE;
    struct area *area = value_area(pt->host, slot_armed_value(e));
    uint32_t rights = VALUE_RIGHTS(slot_armed_value(e));
    if (area->id != t->area_id || t->need & ~rights || !rights)
        return ASPACE_E_STALE;
    if (area->flags & AREA_OBJECT)
        return ASPACE_E_UNSUPPORTED;
    rights = log_new_rights(pt, area_leaf_rights(area, 0, rights));
    pt_sync_icache(pt, rights, pa, 4096);
    if (!slot_cas(slot, &e, fmt_leaf(pt->F, &pt->C, 0, rights, area->attr) | fmt_addr_bits(pt->F, pa)))
        return ASPACE_E_EXISTS; /* nothing but T1 changes a marker without the lock */
    pt_sync_walkers(pt, slot, sizeof *slot);
    if (area->flags & AREA_COUNT)
        seam_add(&area->faults, 1);
    COUNT(pt_this_cpu(pt)->faults[ASPACE_FAULT_DONE], 1);
    return ASPACE_E_OK;
}

/* RETRY: a fork is under way, and may be waiting for this CPU. */
static int install(const struct aspace_ticket *t, aspace_pa_t pa)
{
    struct pt *pt = &t->space->pt;
    int rc = ASPACE_E_RETRY;
    uint64_t *slot;
    smr_enter(pt->host);
    if (gate_is_open(pt)) {
        struct node *n = lock_slot(pt, t->pending.va, &slot);
        rc = n->level ? ASPACE_E_STALE : fill(t, slot, pa);
        seam_unlock(&n->lock);
    }
    smr_leave(pt->host);
    return rc;
}

/* False: closed. True: destroy will wait until `completing` is lowered. */
static bool begin_completing(struct aspace *s)
{
    list_lock(s);
    bool open = space_is_open(s);
    if (open)
        seam_store(&s->completing, s->completing + 1);
    list_unlock(s);
    return open;
}

/* The page is where the next fault finds it, if it is still asked for. */
static int arrived(const struct aspace_ticket *t)
{
    return seam_load(&t->pending.stale) ? ASPACE_E_STALE : ASPACE_E_OK;
}

int aspace_fault_complete(struct aspace_ticket *t, aspace_pa_t pa)
{
    bool elsewhere = pa == ASPACE_PA_NONE;
    if (!elsewhere && (pa & 4095 || pa >= t->pa_end))
        return ASPACE_E_INVALID;
    if (!claim(t, LEADING))
        return ASPACE_E_STALE;
    aspace_trace(fault_complete, t->space, t->pending.va, pa);
    bool open = begin_completing(t->space);
    int rc = !open ? ASPACE_E_CLOSED : elsewhere ? arrived(t) : install(t, pa);
    if (rc == ASPACE_E_STALE && !space_is_open(t->space))
        rc = ASPACE_E_CLOSED;
    if (rc == ASPACE_E_RETRY)
        lead_on(t);
    else
        end(t, true, open);
    return rc;
}

int aspace_fault_fail(struct aspace_ticket *t, int error)
{
    if (error >= 0)
        return ASPACE_E_INVALID;
    if (!claim(t, LEADING))
        return ASPACE_E_STALE;
    aspace_trace(fault_fail, t->space, t->pending.va, error);
    end(t, false, false);
    return ASPACE_E_OK;
}

int aspace_fault_cancel(struct aspace_ticket *t)
{
    if (!claim(t, WAITING))
        return ASPACE_E_STALE;
    aspace_trace(fault_cancel, t->space, t->pending.va, 0);
    end(t, false, false);
    return ASPACE_E_OK;
}
