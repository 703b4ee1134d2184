/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Filling a range in advance, by any number of CPUs at once. Each begins at a part of the range that follows from its
 * number and goes round; tables that another CPU is filling are passed, by an advisory mark. Zero-filled pages are
 * filled a table at a time from a stock of frames, by the same compare-and-swap as a fault's (T1); all else is left to
 * aspace_fault. Must not know how that comes to its verdict.
 */
#include "pt/frames.h"
#include "pt/gate.h"
#include "pt/walk.h"
#include "space/space.h"

enum { STOCK = 32 }; /* frames at hand, and pages filled in one read section */

/* Beside aspace_error: another CPU is at it. */
enum { POPULATE_PASSED = 1 };

/* Frames that are accounted to the space and not yet mapped. */
struct stock {
    struct pt *pt;
    size_t n;
    aspace_pa_t pa[STOCK];
};

/* At least one frame, if there is one. Not more than `want`: a quota may be nearly used up. */
static bool stock_up(struct stock *st, size_t want)
{
    struct pt *pt = st->pt;
    if (st->n)
        return true;
    want = want < STOCK ? want : STOCK;
    while (want && !pt_account_frames(pt, (int64_t)want))
        want /= 2;
    st->n = want ? pt_alloc_frames(pt, st->pa, want) : 0;
    if (st->n < want)
        pt_account_frames(pt, -(int64_t)(want - st->n));
    return st->n != 0;
}

static void give_back(struct stock *st)
{
    if (!st->n)
        return;
    pt_account_frames(st->pt, -(int64_t)st->n);
    while (st->n)
        st->pt->host->hal->free(st->pt->host->ctx, st->pa[--st->n], 0);
}

/* ------------------------------------------------------------------------------------------------------ one table */

/* Fills zero-filled pages from the slot that the walk ended at. Stops before a slot that takes more than that, when the
 * stock is used up, and at `end`. Returns up to where there is nothing left to do. Inside a section. */
static aspace_va_t fill_slots(struct stock *st, const struct walk *w, aspace_va_t va, aspace_va_t end)
{
    struct pt *pt = st->pt;
    const struct fmt *F = pt->F;
    uint64_t plain = (uint64_t)SLOT_ARMED << SLOT_KIND_SHIFT | SLOT_ZERO;
    unsigned i = w->index, filled = 0;
    for (; va < end && i < node_entries(F, 0); i++, va += 4096) {
        uint64_t *slot = w->slots + i, e = slot_load(slot);
        if (fmt_present(F, 0, e) || slot_absent_kind(e) == SLOT_PARKED)
            continue;
        uint32_t rights = VALUE_RIGHTS(slot_armed_value(e));
        if (slot_absent_kind(e) != SLOT_ARMED || (e & plain) != plain || !st->n)
            break;
        if (!rights)
            continue; /* nobody may touch it yet */
        uint64_t bare = seam_load(&pt->zero_leaf[rights]);
        if (!bare || !slot_cas(slot, &e, bare | fmt_addr_bits(F, st->pa[st->n - 1])))
            break; /* look again */
        st->n--;
        filled++;
    }
    if (filled) {
        pt_sync_walkers(pt, w->slots + w->index, (i - w->index) * sizeof *w->slots);
        COUNT(pt_this_cpu(pt)->faults[ASPACE_FAULT_DONE], filled);
    }
    return va;
}

static int populate_error(enum aspace_fault_result r)
{
    switch (r) {
    case ASPACE_FAULT_DONE:
    case ASPACE_FAULT_SPURIOUS: return ASPACE_E_OK;
    case ASPACE_FAULT_NO_MEMORY: return ASPACE_E_NO_MEMORY;
    case ASPACE_FAULT_CLOSED: return ASPACE_E_CLOSED;
    case ASPACE_FAULT_NO_AREA: return ASPACE_E_NOT_MAPPED;
    case ASPACE_FAULT_RETRY: return ASPACE_E_RETRY;
    default: return ASPACE_E_FAULT;
    }
}

/* A marker that takes more than a frame, with the least access that it allows: a populate fills, it does not upgrade.
 * A refusal counts if the marker is still there: OK means look again. Outside of sections. */
static int fill_by_fault(struct aspace *s, aspace_va_t va, uint64_t marker)
{
    uint32_t rights = VALUE_RIGHTS(slot_armed_value(marker));
    int rc = populate_error(aspace_fault(s, va, rights & (0u - rights), NULL));
    if (rc != ASPACE_E_FAULT)
        return rc;
    struct walk w;
    smr_enter(s->pt.host);
    walk_any(&s->pt, va, &w);
    smr_leave(s->pt.host);
    return w.e == marker ? rc : ASPACE_E_OK;
}

/* What is at *va, and as much after it as goes with it; moves *va to where there may be something left to do. */
static int populate_at(struct aspace *s, struct stock *st, aspace_va_t *va, aspace_va_t end)
{
    struct pt *pt = &s->pt;
    struct walk w;
    stock_up(st, (end - *va) >> 12);
    smr_enter(pt->host);
    bool settled = space_walk(pt, *va, &w), open = gate_is_open(pt);
    aspace_va_t from = *va;
    if (!w.level && w.kind != SLOT_EMPTY && open)
        *va = fill_slots(st, &w, *va, end);
    value_t v = w.kind == SLOT_ARMED ? slot_armed_value(w.e) : 0;
    bool fill = VALUE_RIGHTS(v) && !(value_area(pt->host, v)->flags & AREA_STATIC);
    smr_leave(pt->host);
    if (*va != from)
        return ASPACE_E_OK;
    if (!open || !settled)
        return ASPACE_E_RETRY;
    if (w.kind == SLOT_EMPTY)
        return ASPACE_E_NOT_MAPPED;
    if (fill) {
        give_back(st); /* the fault takes a frame of its own, of what may be the last ones */
        return fill_by_fault(s, *va, w.e);
    }
    *va = (*va | (slot_span(pt->F, w.level) - 1)) + 1;
    return ASPACE_E_OK;
}

/* ------------------------------------------------------------------------------------------------- sharing the work */

/* The leaf table for va, NULL if there is none. Inside a section. */
static struct node *leaf_table(const struct pt *pt, aspace_va_t va)
{
    struct walk w;
    walk_any(pt, va, &w);
    return w.level ? NULL : walk_node(pt, w.slots);
}

/* Mark the leaf table as being filled by this CPU: 1 or 0, or PASSED if another's mark is there. A mark that is lost,
 * or set by two, costs time only. */
static int claim(struct pt *pt, aspace_va_t va)
{
    smr_enter(pt->host);
    struct node *n = leaf_table(pt, va);
    int rc = n && seam_load(&n->building) ? POPULATE_PASSED : ASPACE_E_OK;
    if (n && !rc)
        seam_store(&n->building, 1);
    smr_leave(pt->host);
    return rc;
}

static void disclaim(struct pt *pt, aspace_va_t va)
{
    smr_enter(pt->host);
    struct node *n = leaf_table(pt, va);
    if (n)
        seam_store(&n->building, 0);
    smr_leave(pt->host);
}

/* A part of the range that one leaf table can translate. */
static int populate_block(struct aspace *s, struct stock *st, aspace_va_t va, aspace_va_t end)
{
    int rc = claim(&s->pt, va);
    if (rc)
        return rc;
    for (aspace_va_t at = va; rc == ASPACE_E_OK && at < end;)
        rc = populate_at(s, st, &at, end);
    disclaim(&s->pt, va);
    return rc;
}

/* All of the range, in this CPU's order. Whether all was filled; what was passed or refused is the caller's to look
 * at. */
static bool populate_shared(struct aspace *s, struct stock *st, aspace_va_t va, aspace_va_t end)
{
    struct pt *pt = &s->pt;
    uint64_t span = slot_span(pt->F, 1), first = va >> pt->F->shift[1], last = (end - 1) >> pt->F->shift[1];
    uint64_t n = last - first + 1, start = n / pt->host->cpus * aspace_cpu_id();
    bool all = true;
    for (uint64_t k = 0; k < n; k++) {
        uint64_t block = (first + (start + k) % n) * span;
        aspace_va_t from = block > va ? block : va, to = end - block > span ? block + span : end;
        int rc = populate_block(s, st, from, to);
        if (rc < 0)
            return false;
        all &= rc == ASPACE_E_OK;
    }
    return all;
}

int aspace_populate(struct aspace *s, aspace_va_t va, uint64_t size, uint64_t *done)
{
    aspace_va_t at = va, end = va + size;
    struct stock st = {.pt = &s->pt};
    int rc = space_check_range(s, va, size);
    aspace_trace(populate, s, va, size);
    if (rc == ASPACE_E_OK && s->pt.host->cpus > 1 && size > slot_span(s->pt.F, 1) && populate_shared(s, &st, va, end))
        at = end;
    while (rc == ASPACE_E_OK && at < end)
        rc = populate_at(s, &st, &at, end);
    give_back(&st);
    if (done)
        *done = rc == ASPACE_E_OK ? size : at - va;
    return rc;
}
