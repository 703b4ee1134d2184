/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Map and unmap of slots of one table that is there: a part of a leaf table, or one slot of an upper one. Most calls
 * for devices, small buffers and single large pages. The same locks and the same order as the general way (range.h),
 * without its plan: what needs a page, or meets something unusual, is left to it.
 */
#include <aspace/watch.h>

#include "pt/gate.h"
#include "pt/range.h"
#include "pt/walk.h"

enum { QUICK_FRAMES = 32 }; /* fits the gather without a reserved page */

static inline __attribute__((always_inline)) struct node *find_table_fmt(const struct fmt *const F, const struct pt *pt,
                                                                         aspace_va_t va, aspace_va_t end)
{
    struct walk w;
    walk_to(F, pt, va, &w);
    bool part = va >> F->shift[1] == (end - 1) >> F->shift[1] && end - va != slot_span(F, 1);
    bool fits = w.level ? end - va == slot_span(F, w.level) && !(va & (end - va - 1)) : part;
    return fits ? w.level == F->levels - 1u ? pt->root : walk_node(pt, w.slots) : NULL;
}

/* The table whose slots, none of them TABLE, are exactly the range; NULL if there is none. */
static struct node *find_table(const struct pt *pt, aspace_va_t va, aspace_va_t end)
{
    switch (pt->F->id) {
#define ASPACE_X(id, name)                                                                                             \
    case ASPACE_FMT_##id: return find_table_fmt(&fmt_const_##id, pt, va, end);
        ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X
    default: return NULL;
    }
}

/* Locked, in a section, with room for one more segment; or NULL, and neither. */
static struct node *enter(struct pt *pt, aspace_va_t va, aspace_va_t end)
{
    gate_enter(pt);
    struct node *n = find_table(pt, va, end);
    if (n) {
        seam_lock(&n->lock, host_lock_tag());
        gather_settle_node(pt, n, va, end);
        if (!n->stale && n->n_segs < NODE_SEGS)
            return n;
        seam_unlock(&n->lock);
    }
    smr_leave(pt->host);
    return NULL;
}

static void leave(struct pt *pt, struct node *n)
{
    seam_unlock(&n->lock);
    aspace_walker_barrier();
    smr_leave(pt->host);
}

static struct seg slots_of(const struct pt *pt, const struct node *n, aspace_va_t va, aspace_va_t end)
{
    unsigned lo = slot_index(pt->F, n->level, va);
    return (struct seg){(uint16_t)lo, (uint16_t)(lo + ((end - va) >> pt->F->shift[n->level])), 0};
}

/* Are the slots free, and can the map's entries be at this level? */
static bool takes(const struct pt *pt, const struct pt_map *m, const struct node *n, struct seg g)
{
    struct seg met = {0, 0, 0};
    if (!n->level)
        return !node_next_seg(n, g.lo, g.hi, &met);
    return (m->source == MAP_ARM || (n->level <= m->max_level && pt->C.leaf_levels >> n->level & 1)) &&
           slot_peek(node_slots(n) + g.lo) == slot_empty(&pt->C, n->level);
}

bool pt_quick_map(struct pt *pt, const struct pt_map *m)
{
    struct node *n = m->source == MAP_FRAMES ? NULL : enter(pt, m->va, m->end);
    if (!n)
        return false;
    struct seg g = slots_of(pt, n, m->va, m->end);
    bool free = takes(pt, m, n, g);
    if (free) {
        struct node *none = NULL;
        pt_place(pt, m, n, g, m->va);
        node_set(n, g.lo, g.hi, m->value, &none); /* room was seen to, and only clearing gives a page back */
        pt_clean(pt, node_slots(n) + g.lo, (size_t)(g.hi - g.lo) * 8);
    }
    leave(pt, n);
    return free;
}

/* Slots of one area that borrows its frames, or has none. */
static void clear_borrowed(struct gather *gather, struct node *n, struct seg g)
{
    uint64_t *slots = node_slots(n), empty = slot_empty(&gather->pt->C, 0);
    unsigned last = g.hi - 1u;
    for (unsigned i = g.lo; i < last; i++)
        slot_store(slots + i, empty);
    slot_xchg_fence(slots + last, empty);
    gather->fenced = true;
}

/* Slots of one area that owns its frames. */
static void clear_owned(struct gather *gather, struct node *n, struct seg g, aspace_va_t va)
{
    struct pt *pt = gather->pt;
    const struct fmt *F = pt->F;
    int64_t frames = 0;
    for (unsigned i = g.lo; i < g.hi; i++, va += 4096) {
        uint64_t e = slot_xchg(node_slots(n) + i, slot_empty(&pt->C, 0));
        bool present = fmt_present(F, 0, e);
        if (!present && slot_absent_kind(e) != SLOT_PARKED)
            continue;
        if (present)
            gather_flush_range(gather, va, va + 4096, 0, 1);
        gather_owned(gather, slot_soft(F, 0, e), slot_frame(F, &pt->C, 0, e, i), 0);
        frames++;
    }
    if (frames)
        pt_account_frames(pt, -frames);
}

/* One slot of an upper table. False: a fault made it a table, or there is nothing. */
static bool clear_large(struct gather *gather, struct node *n, unsigned i, const struct area *area, aspace_va_t va)
{
    struct pt *pt = gather->pt;
    const struct fmt *F = pt->F;
    uint64_t *slot = node_slots(n) + i, e = slot_load(slot);
    unsigned level = n->level, order = level_order(F, level);
    enum slot_kind kind;
    do {
        kind = slot_kind(F, level, e);
        if (kind == SLOT_TABLE || kind == SLOT_EMPTY)
            return false;
    } while (!slot_cas(slot, &e, slot_empty(&pt->C, level)));
    if (kind == SLOT_LEAF)
        gather_flush_range(gather, va, va + slot_span(F, level), level, 1);
    if (area->flags & AREA_OWNED && kind != SLOT_ARMED) {
        gather_owned(gather, slot_soft(F, level, e), slot_frame(F, &pt->C, level, e, i), order);
        pt_account_frames(pt, -((int64_t)1 << order));
    }
    return true;
}

/* Nothing is pending for pages of areas that are not CUSTOM (pending.h), so nothing is revoked here. */
static bool is_plain(const struct pt *pt, const struct area *area, struct seg g)
{
    return !(area->flags & AREA_CUSTOM) && !(area->flags & AREA_OWNED && g.hi - g.lo > QUICK_FRAMES) &&
           !(area->flags & AREA_LINEAR && pt->C.run_lg2);
}

/* Slots [g.lo, g.hi), the first of which translates va. False: nothing was done. */
static bool clear(struct gather *gather, struct node *n, struct seg g, const struct area *area, aspace_va_t va)
{
    if (!is_plain(gather->pt, area, g))
        return false;
    if (n->level)
        return clear_large(gather, n, g.lo, area, va);
    if (area->flags & AREA_OWNED)
        clear_owned(gather, n, g, va);
    else
        clear_borrowed(gather, n, g);
    if (area->flags & AREA_LINEAR)
        gather_flush_range(gather, va, va + ((uint64_t)(g.hi - g.lo) << 12), 0, (uint64_t)(g.hi - g.lo));
    return true;
}

/* The only stretch of values in `all`, where clearing it needs no page. In an upper table only what is no TABLE, and
 * not EMPTY, has a value of its own. */
static bool find_only(const struct pt *pt, const struct node *n, struct seg all, struct seg *g)
{
    struct seg more;
    if (n->level) {
        enum slot_kind kind = slot_kind(pt->F, n->level, slot_load(node_slots(n) + all.lo));
        if (kind == SLOT_TABLE || kind == SLOT_EMPTY)
            return false;
    }
    return node_next_seg(n, all.lo, all.hi, g) && (g->hi == all.hi || !node_next_seg(n, g->hi, all.hi, &more));
}

bool pt_quick_unmap(struct pt *pt, aspace_va_t va, aspace_va_t end)
{
    struct node *n = enter(pt, va, end), *none = NULL;
    if (!n)
        return false;
    struct seg all = slots_of(pt, n, va, end), g = {0, 0, 0};
    struct gather gather;
    struct area *area = find_only(pt, n, all, &g) ? value_area(pt->host, g.value) : NULL;
    uint64_t slots = (uint64_t)(g.hi - g.lo), pages = slots << level_order(pt->F, n->level);
    bool ask = false;
    gather_init(&gather, pt);
    if (area && !clear(&gather, n, g, area, va + ((uint64_t)(g.lo - all.lo) << 12)))
        area = NULL;
    if (area) {
        node_count_add(n, -(int)slots);
        node_set(n, g.lo, g.hi, 0, &none);
        if (none)
            gather_page(&gather, none);
        pt_clean(pt, node_slots(n) + g.lo, slots * 8);
        ask = gather_ask(&gather);
        if (ask)
            gather_mark_node(n);
    }
    seam_unlock(&n->lock);
    if (ask)
        gather_send(&gather);
    aspace_walker_barrier();
    smr_leave(pt->host);
    if (area)
        pt_tell(pt, &(struct pt_gone){.kind = ASPACE_GONE_UNMAPPED, .va = va, .end = end});
    if (area)
        area_put_pages(pt->host, area, pages);
    gather_finish(&gather);
    return area != NULL;
}
