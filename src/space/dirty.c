/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty log: beginning, harvests by bitmap and from the rings, end. A harvest locks one table at a time, since a
 * software write stores to memory first and sets the flag then, both under that lock. Nothing is flushed under a lock;
 * one invalidation for all comes last. Must not know an entry's bits, nor who gives the write right (pt/log.h).
 */
#include "pt/gate.h"
#include "pt/gather.h"
#include "pt/log.h"
#include "pt/walk.h"
#include "space/space.h"

#include "sync/bits.h"

/* What is done to each leaf. */
enum task {
    TAKE, /* clear the flag, take the write right away where it is withheld, tell whether the page was dirty */
    GIVE, /* give the right back */
    MARK, /* set the flag */
};

struct scan {
    struct pt *pt;
    enum task task;
    aspace_va_t base, end; /* whose leaves are looked at */
    aspace_va_t lo, hi;    /* TAKE: what is told, bit 0 of the bitmap on; a leaf is changed that is in it as a whole */
    uint64_t *bitmap;      /* or NULL */
    uint64_t count;        /* bits set */
    struct aspace_range *ranges;
    size_t n, room; /* of ranges; room 0: none are told */
    bool full;
    struct gather g;
};

/* ------------------------------------------------------------------------------------------------------ one entry */

/* Without the flag; where the right is withheld, without that. Unchanged if the format cannot express it. */
static uint64_t cleaned(const struct pt *pt, unsigned level, uint64_t e)
{
    const struct fmt *F = pt->F;
    uint32_t rights = fmt_leaf_rights(F, &pt->C, e), less = rights & ~(uint32_t)pt->log.withheld;
    if (less != rights) {
        if (!fmt_rights_ok(F, &pt->C, less))
            return e;
        e = fmt_with_rights(F, &pt->C, level, e, less);
    }
    return fmt_with_ad(F, e, fmt_accessed(F, e), false);
}

/* With the right that the area gives; a backend is asked first. */
static uint64_t restored(const struct pt *pt, const struct node *n, unsigned i, uint64_t e)
{
    value_t v = node_value(n, i);
    const struct area *area = value_area(pt->host, v);
    unsigned soft = fmt_soft(pt->F, e);
    uint32_t rights = area_leaf_rights(area, soft, VALUE_RIGHTS(v));
    bool give = rights & ~fmt_leaf_rights(pt->F, &pt->C, e) & ASPACE_W;
    return give && area_frame_owner(area, soft) != FRAME_BACKEND ? fmt_with_rights(pt->F, &pt->C, n->level, e, rights)
                                                                 : e;
}

static uint64_t changed(const struct scan *s, const struct node *n, unsigned i, uint64_t e)
{
    bool leaf = fmt_present(s->pt->F, n->level, e);
    switch (s->task) {
    case TAKE: return leaf ? cleaned(s->pt, n->level, e) : e & ~SLOT_PARKED_D;
    case GIVE: return leaf ? restored(s->pt, n, i, e) : e;
    case MARK: return leaf ? fmt_with_ad(s->pt->F, e, fmt_accessed(s->pt->F, e), true) : e | SLOT_PARKED_D;
    }
    return e;
}

/* A LEAF or PARKED slot, changed if `change`. Returns what it was; *flush, if a TLB may know it otherwise than memory
 * now: also where only the flag goes, as whoever took the right before may not have flushed yet. */
static uint64_t visit_slot(const struct scan *s, const struct node *n, unsigned i, bool change, bool *flush)
{
    uint64_t *slot = node_slots(n) + i, e = slot_load(slot), new;
    do
        new = change ? changed(s, n, i, e) : e;
    while (new != e && !slot_cas(slot, &e, new));
    *flush |= new != e && s->task == TAKE;
    return e;
}

/* --------------------------------------------------------------------------------------------------------- telling */

static void set_bits(struct scan *s, aspace_va_t va, aspace_va_t end)
{
    for (; va < end; va += 4096) {
        uint64_t n = (va - s->lo) >> 12, bit = 1ull << (n % 64);
        s->count += !(s->bitmap[n / 64] & bit);
        s->bitmap[n / 64] |= bit;
    }
}

static void add_range(struct scan *s, aspace_va_t va, aspace_va_t end)
{
    struct aspace_range *last = s->n ? &s->ranges[s->n - 1] : NULL;
    if (last && last->va + last->size == va)
        last->size += end - va;
    else
        s->ranges[s->n++] = (struct aspace_range){va, end - va};
}

/* ------------------------------------------------------------------------------------------------------- one table */

/* A page that was not changed has no write fault to come, so the rings will not tell it, or not again. */
static void tell_by_bitmap(struct pt *pt)
{
    struct aspace_dirty_ring *rings = pt->log.rings;
    if (rings)
        seam_store_release(&rings->overflow, 1);
}

/* A leaf that keeps the right that is withheld from others: clean or not, nobody faults when it is written. */
static bool may_be_written(const struct pt *pt, const struct node *n, unsigned i)
{
    uint64_t e = slot_load(node_slots(n) + i);
    return fmt_present(pt->F, n->level, e) && fmt_leaf_rights(pt->F, &pt->C, e) & pt->log.withheld;
}

/* The flag that is taken may be a backend's only sign that a page of its was written. It is told before the lock is
 * dropped: who takes the page from it then finds either the flag or a backend that knows. */
static void tell_backend(const struct scan *s, const struct node *n, unsigned i, aspace_va_t va, uint64_t e)
{
    const struct pt *pt = s->pt;
    const struct area *area = value_area(pt->host, node_value(n, i));
    if (area_frame_owner(area, slot_soft(pt->F, n->level, e)) == FRAME_BACKEND &&
        area_page_dirty(pt->F, area, n->level, e))
        backend_tell_dirty(area, (va - area->va_base) >> 12, slot_frame(pt->F, &pt->C, n->level, e, i),
                           level_order(pt->F, n->level));
}

/* A leaf, or a run of them, that begins at slot i and va. One that reaches out of the range is told and not changed. */
static void visit_unit(struct scan *s, const struct node *n, unsigned i, unsigned members, aspace_va_t va)
{
    uint64_t span = slot_span(s->pt->F, n->level), bytes = members * span;
    bool whole = s->task != TAKE || (va >= s->lo && s->hi - va >= bytes), any = false, flush = false;
    for (unsigned k = 0; k < members; k++) {
        uint64_t e = visit_slot(s, n, i + k, whole, &flush);
        any |= slot_dirty(s->pt->F, n->level, e);
        if (s->task == TAKE && whole)
            tell_backend(s, n, i + k, va + k * span, e);
    }
    if (flush)
        gather_flush_range(&s->g, va, va + bytes, n->level, members);
    if (s->task == TAKE && may_be_written(s->pt, n, i))
        tell_by_bitmap(s->pt);
    if (s->task == MARK && !any)
        log_push(s->pt, va, n->level);
    if (s->task != TAKE || !any)
        return;
    if (!flush)
        tell_by_bitmap(s->pt);
    aspace_va_t from = va < s->lo ? s->lo : va, to = s->hi - va < bytes ? s->hi : va + bytes;
    if (s->bitmap)
        set_bits(s, from, to);
    else if (s->room)
        add_range(s, from, to);
}

/* Most slots are clean; inlined over a constant format, so that finding this out is a few instructions. */
static inline __attribute__((always_inline)) bool is_clean(const struct fmt *const F, const struct scan *s,
                                                           unsigned level, uint64_t e)
{
    if (s->task != TAKE)
        return false;
    if (!fmt_present(F, level, e))
        return !(e & SLOT_PARKED_D) || slot_absent_kind(e) != SLOT_PARKED;
    return !fmt_dirty(F, e) && !(s->pt->log.withheld & fmt_leaf_rights(F, &s->pt->C, e));
}

/* The slots of a locked table from that of va on; returns where to go on: behind it, or at a table below. */
static inline __attribute__((always_inline)) aspace_va_t visit_table(const struct fmt *const F, struct scan *s,
                                                                     const struct node *n, aspace_va_t va)
{
    const uint64_t *slots = node_slots(n);
    unsigned level = n->level, i = slot_index(F, level, va), end = node_entries(F, level);
    unsigned run = level ? 1 : 1u << s->pt->C.run_lg2;
    uint64_t span = slot_span(F, level);
    for (va &= ~(span - 1); i < end && va < s->end; i++, va += span) {
        uint64_t e = slot_load(slots + i);
        bool leaf = fmt_present(F, level, e);
        if (leaf && level && fmt_is_table(F, level, e))
            break;
        unsigned members = leaf && run > 1 && fmt_in_run(F, e) ? run : 1, back = i & (members - 1);
        if (members == 1 && (is_clean(F, s, level, e) || (!leaf && slot_absent_kind(e) != SLOT_PARKED)))
            continue;
        s->full = s->room && s->n == s->room;
        if (s->full)
            break;
        visit_unit(s, n, i - back, members, va - back * span);
        i += members - 1 - back;
        va += (members - 1 - back) * span;
    }
    return va;
}

static aspace_va_t visit_any_table(struct scan *s, const struct node *n, aspace_va_t va)
{
    switch (s->pt->F->id) {
#define ASPACE_X(id, name)                                                                                             \
    case ASPACE_FMT_##id: return visit_table(&fmt_const_##id, s, n, va);
        ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X
    default: return s->end;
    }
}

/* From va on in the table that its walk ends in. A fork is waited for: rights change. */
static aspace_va_t visit_at(struct scan *s, aspace_va_t va)
{
    struct walk w;
    gate_enter(s->pt);
    walk_any(s->pt, va, &w);
    struct node *n = walk_node(s->pt, w.slots);
    seam_lock(&n->lock, host_lock_tag());
    if (LIKELY(!n->stale)) {
        aspace_va_t next = visit_any_table(s, n, va);
        pt_sync_walkers(s->pt, node_slots(n), (size_t)8 << s->pt->F->bits[n->level]);
        va = next > va ? next : va; /* not further where the slot has just become a table */
    }
    seam_unlock(&n->lock);
    smr_leave(s->pt->host);
    return va;
}

static void scan_begin(struct scan *s, struct pt *pt, enum task task)
{
    *s = (struct scan){.pt = pt, .task = task, .lo = pt->log.va, .hi = pt->log.end};
    gather_init(&s->g, pt);
    gather_flush_any_size(&s->g);
}

static void scan_end(struct scan *s)
{
    gather_flush(&s->g);
    gather_finish(&s->g);
}

/* Outside of sections. Stops early if there is no room for more ranges. */
static void scan_range(struct scan *s, aspace_va_t va, aspace_va_t end)
{
    s->base = va;
    s->end = end;
    while (va < end && !s->full)
        va = visit_at(s, va);
}

/* ----------------------------------------------------------------------------------------------------- beginning */

static bool rings_ok(const struct aspace_dirty_config *c, unsigned cpus)
{
    for (unsigned i = 0; c->rings && i < cpus; i++) {
        const struct aspace_dirty_ring *r = &c->rings[i];
        if (!r->pages || !r->entries || r->entries & (r->entries - 1))
            return false;
    }
    return true;
}

static int check_config(const struct aspace *s, const struct aspace_dirty_config *c)
{
    if (!c || c->mode > ASPACE_DIRTY_HARDWARE || c->flags & ~(uint32_t)ASPACE_DIRTY_SPLIT)
        return ASPACE_E_INVALID;
    bool hardware = c->mode == ASPACE_DIRTY_HARDWARE;
    if ((hardware && (c->flags || c->rings)) || !rings_ok(c, s->pt.host->cpus) || (!c->size && c->va))
        return ASPACE_E_INVALID;
    int rc = space_check_range(s, c->size ? c->va : s->pt.base, c->size ? c->size : aspace_size(s));
    if (rc)
        return rc;
    return hardware && !(s->pt.C.features & ASPACE_FEAT_AD) ? ASPACE_E_UNSUPPORTED : ASPACE_E_OK;
}

static void set_log(struct pt *pt, const struct aspace_dirty_config *c)
{
    seam_store(&pt->log.va, c->size ? c->va : pt->base);
    seam_store(&pt->log.end, c->size ? c->va + c->size : pt->end);
    seam_store(&pt->log.split, c->flags & ASPACE_DIRTY_SPLIT ? 1 : 0);
    for (unsigned i = 0; c->rings && i < pt->host->cpus; i++)
        c->rings[i].head = c->rings[i].tail = c->rings[i].overflow = 0;
    seam_store_release(&pt->log.rings, c->rings);
}

/* Whoever may not have seen the change is in a section that began before it. */
static void set_withheld(struct aspace *s, uint32_t rights)
{
    seam_store(&s->pt.log.withheld, (uint8_t)rights);
    space_fill_templates(&s->pt);
    smr_wait(s->pt.host, smr_goal(s->pt.host));
}

static bool enter(struct pt *pt)
{
    return seam_trylock(&pt->log_lock, host_lock_tag());
}

static void leave(struct pt *pt)
{
    seam_unlock(&pt->log_lock);
}

int aspace_dirty_start(struct aspace *s, const struct aspace_dirty_config *config)
{
    struct pt *pt = &s->pt;
    struct scan clear;
    int rc = check_config(s, config);
    if (rc)
        return rc;
    if (!enter(pt))
        return ASPACE_E_BUSY;
    if (pt->log.mode != LOG_OFF) {
        leave(pt);
        return ASPACE_E_BUSY;
    }
    aspace_trace(dirty_start, s, config->va, config->size);
    set_log(pt, config);
    seam_store_release(&pt->log.mode, config->mode == ASPACE_DIRTY_HARDWARE ? LOG_HARDWARE : LOG_FAULTS);
    set_withheld(s, config->mode == ASPACE_DIRTY_HARDWARE ? 0 : ASPACE_W);
    scan_begin(&clear, pt, TAKE);
    scan_range(&clear, pt->log.va, pt->log.end);
    scan_end(&clear);
    leave(pt);
    return ASPACE_E_OK;
}

/* ------------------------------------------------------------------------------------------------------- harvests */

/* OK with the log's lock taken. */
static int enter_log(struct aspace *s)
{
    if (!space_is_open(s))
        return ASPACE_E_CLOSED;
    if (!enter(&s->pt))
        return ASPACE_E_BUSY;
    if (s->pt.log.mode != LOG_OFF)
        return ASPACE_E_OK;
    leave(&s->pt);
    return ASPACE_E_NOT_MAPPED;
}

/* Before all is looked at: what is in the rings by now will be found, and so will what was not. */
static void empty_rings(struct pt *pt)
{
    struct aspace_dirty_ring *rings = pt->log.rings;
    for (unsigned i = 0; rings && i < pt->host->cpus; i++) {
        seam_store(&rings[i].overflow, 0);
        seam_store_release(&rings[i].tail, seam_load_acquire(&rings[i].head));
    }
}

int aspace_harvest_dirty(struct aspace *s, aspace_va_t va, uint64_t size, uint64_t *bitmap, uint64_t *dirty)
{
    struct pt *pt = &s->pt;
    struct scan take;
    int rc = bitmap ? space_check_range(s, va, size) : ASPACE_E_INVALID;
    if (rc == ASPACE_E_OK)
        rc = enter_log(s);
    if (rc)
        return rc;
    if (va < pt->log.va || va + size > pt->log.end) {
        leave(pt);
        return ASPACE_E_RANGE;
    }
    aspace_trace(harvest_dirty, s, va, size);
    memset(bitmap, 0, ((size >> 12) + 63) / 64 * sizeof *bitmap);
    if (va == pt->log.va && va + size == pt->log.end)
        empty_rings(pt);
    scan_begin(&take, pt, TAKE);
    take.lo = va;
    take.hi = va + size;
    take.bitmap = bitmap;
    scan_range(&take, va, va + size);
    scan_end(&take);
    leave(pt);
    if (dirty)
        *dirty = take.count;
    return ASPACE_E_OK;
}

/* One ring, as far as there is room. An entry stays until all of its leaf is told: that may have been split since. */
static void drain_ring(struct scan *s, struct aspace_dirty_ring *r)
{
    const struct pt_log *log = &s->pt->log;
    uint32_t tail = r->tail, head = seam_load_acquire(&r->head);
    for (; tail != head && !s->full; tail += !s->full) {
        uint64_t page = seam_load(&r->pages[tail & (r->entries - 1)]);
        aspace_va_t va = page & ~4095ull, end = va + slot_span(s->pt->F, (unsigned)(page & 4095));
        scan_range(s, va > log->va ? va : log->va, end < log->end ? end : log->end);
    }
    seam_store_release(&r->tail, tail);
}

int aspace_drain_dirty(struct aspace *s, struct aspace_range *ranges, size_t *count)
{
    struct pt *pt = &s->pt;
    struct scan take;
    bool overflow = false;
    int rc = ranges && count && *count ? enter_log(s) : ASPACE_E_INVALID;
    if (rc)
        return rc;
    struct aspace_dirty_ring *rings = pt->log.rings;
    aspace_trace(drain_dirty, s, pt->log.va, *count);
    scan_begin(&take, pt, TAKE);
    take.ranges = ranges;
    take.room = *count;
    for (unsigned i = 0; rings && i < pt->host->cpus; i++) {
        drain_ring(&take, &rings[i]);
        overflow |= seam_load_acquire(&rings[i].overflow);
    }
    scan_end(&take);
    leave(pt);
    *count = take.n;
    if (!rings)
        return ASPACE_E_UNSUPPORTED;
    return take.full ? ASPACE_E_MORE : overflow ? ASPACE_E_LIMIT : ASPACE_E_OK;
}

int aspace_dirty_mark(struct aspace *s, aspace_va_t va, uint64_t size)
{
    struct scan mark;
    int rc = space_check_range(s, va, size);
    if (rc)
        return rc;
    aspace_trace(dirty_mark, s, va, size);
    scan_begin(&mark, &s->pt, MARK);
    scan_range(&mark, va, va + size);
    scan_end(&mark);
    return ASPACE_E_OK;
}

/* ------------------------------------------------------------------------------------------------------------ end */

/* Nobody withholds the right any more before it is given back, and faults still grant it meanwhile. */
int aspace_dirty_stop(struct aspace *s)
{
    struct pt *pt = &s->pt;
    struct scan give;
    int rc = enter_log(s);
    if (rc)
        return rc;
    aspace_trace(dirty_stop, s, pt->log.va, pt->log.end - pt->log.va);
    if (pt->log.mode == LOG_FAULTS) {
        set_withheld(s, 0);
        scan_begin(&give, pt, GIVE);
        scan_range(&give, pt->base, pt->end);
        scan_end(&give);
    }
    seam_store_release(&pt->log.rings, NULL);
    seam_store(&pt->log.mode, LOG_OFF);
    smr_wait(pt->host, smr_goal(pt->host));
    leave(pt);
    return ASPACE_E_OK;
}
