/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Map and unmap inside one leaf table that is there: most calls for devices and small buffers. The same locks and the
 * same order as the general way (range.h), without its plan: what needs a page, or meets something unusual, is left to
 * it.
 */
#include "pt/range.h"
#include "pt/walk.h"

enum { QUICK_FRAMES = 32 }; /* fits the gather without a reserved page */

static inline __attribute__((always_inline)) struct node *leaf_table_fmt(const struct fmt *const F, const struct pt *pt,
                                                                         aspace_va_t va)
{
    struct walk w;
    walk_to(F, pt, va, &w);
    return w.level ? NULL : walk_node(pt, w.slots);
}

static struct node *leaf_table(const struct pt *pt, aspace_va_t va)
{
    switch (pt->F->id) {
#define ASPACE_X(id, name)                                                                                             \
    case ASPACE_FMT_##id: return leaf_table_fmt(&fmt_const_##id, pt, va);
        ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X
    default: return NULL;
    }
}

static bool one_part_of_a_table(const struct pt *pt, aspace_va_t va, aspace_va_t end)
{
    unsigned shift = pt->F->shift[1];
    return va >> shift == (end - 1) >> shift && end - va != 1ull << shift;
}

/* Locked, in a section, with room for two more segments; or NULL, and neither. */
static struct node *enter(struct pt *pt, aspace_va_t va, aspace_va_t end)
{
    smr_enter(pt->host);
    struct node *n = leaf_table(pt, va);
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

static struct seg slots_of(const struct pt *pt, aspace_va_t va, aspace_va_t end)
{
    unsigned lo = slot_index(pt->F, 0, va);
    return (struct seg){(uint16_t)lo, (uint16_t)(lo + ((end - va) >> 12)), 0};
}

static void clean(const struct pt *pt, const struct node *n, struct seg g)
{
    const struct aspace_hal *hal = pt->host->hal;
    if (UNLIKELY(hal->dcache_clean != NULL))
        hal->dcache_clean(pt->host->ctx, node_slots(n) + g.lo, (size_t)(g.hi - g.lo) * 8);
}

bool pt_quick_map(struct pt *pt, const struct pt_map *m)
{
    struct seg g = slots_of(pt, m->va, m->end), met = {0, 0, 0};
    if (m->source == MAP_FRAMES || !one_part_of_a_table(pt, m->va, m->end))
        return false;
    struct node *n = enter(pt, m->va, m->end);
    if (!n)
        return false;
    bool free = !node_next_seg(n, g.lo, g.hi, &met);
    if (free) {
        struct node *none = NULL;
        pt_place(pt, m, n, g, m->va);
        node_set(n, g.lo, g.hi, m->value, &none); /* room was seen to, and only clearing gives a page back */
        clean(pt, n, g);
    }
    leave(pt, n);
    return free;
}

/* Slots of one area that borrows its frames, or has none. */
static void clear_borrowed(struct pt *pt, struct node *n, struct seg g)
{
    uint64_t *slots = node_slots(n), empty = slot_empty(&pt->C, 0);
    for (unsigned i = g.lo; i < g.hi; i++)
        slot_store(slots + i, empty);
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
        gather_frame(gather, present ? fmt_output(F, &pt->C, 0, e, i) : slot_parked_pa(F, e), 0);
        frames++;
    }
    if (frames)
        pt_account_frames(pt, -frames);
}

static bool is_plain(const struct pt *pt, const struct area *area, struct seg g)
{
    return !(area->flags & AREA_CUSTOM) && !(area->flags & AREA_OWNED && g.hi - g.lo > QUICK_FRAMES) &&
           !(area->flags & AREA_LINEAR && pt->C.run_lg2);
}

bool pt_quick_unmap(struct pt *pt, aspace_va_t va, aspace_va_t end)
{
    struct seg all = slots_of(pt, va, end), g = {0, 0, 0}, more = {0, 0, 0};
    if (!one_part_of_a_table(pt, va, end))
        return false;
    struct node *n = enter(pt, va, end);
    if (!n)
        return false;
    struct gather gather;
    struct area *area = NULL;
    gather_init(&gather, pt);
    bool ask = false, one = node_next_seg(n, all.lo, all.hi, &g) && !node_next_seg(n, g.hi, all.hi, &more);
    if (one && is_plain(pt, value_area(pt->host, g.value), g)) {
        struct node *none = NULL;
        aspace_va_t at = va + ((uint64_t)(g.lo - all.lo) << 12), to = at + ((uint64_t)(g.hi - g.lo) << 12);
        area = value_area(pt->host, g.value);
        if (area->flags & AREA_OWNED)
            clear_owned(&gather, n, g, at);
        else
            clear_borrowed(pt, n, g);
        if (area->flags & AREA_LINEAR)
            gather_flush_range(&gather, at, to, 0, (uint64_t)(g.hi - g.lo));
        node_count_add(n, g.lo - g.hi);
        node_set(n, g.lo, g.hi, 0, &none);
        if (none)
            gather_page(&gather, none);
        clean(pt, n, g);
        ask = gather_ask(&gather);
        n->flushing |= ask;
    }
    seam_unlock(&n->lock);
    if (ask)
        gather_send(&gather);
    aspace_walker_barrier();
    smr_leave(pt->host);
    if (area)
        area_put_pages(pt->host, area, (uint64_t)(g.hi - g.lo));
    gather_finish(&gather);
    return area != NULL;
}
