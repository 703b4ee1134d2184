/* SPDX-License-Identifier: BSD-2-Clause */
/* Commit of map: leaves and markers into slots that are EMPTY, or BUSY since they were unmapped in the same step. */
#include "pt/log.h"
#include "pt/op.h"

/* The word of the next frame (pa | order), which stays. */
static uint64_t frame_next(const struct pt_map *m)
{
    return node_slots(m->frames)[m->at];
}

/* Takes the first `bytes` of it. A huge frame is used in pieces where a table is there already. Pages of words that are
 * used up go back to the operation. */
static uint64_t frame_take(struct op *op, struct pt_map *m, uint64_t bytes)
{
    uint64_t *word = &node_slots(m->frames)[m->at], pa = *word & ~4095ull;
    uint64_t size = 4096ull << (*word & 4095);
    *word += bytes;
    if ((pa + bytes) & (size - 1))
        return pa;
    if (++m->at < m->frames->count)
        return pa;
    struct node *page = m->frames;
    m->frames = page->next;
    m->at = 0;
    page->count = 0;
    op_give_page(op, page);
    return pa;
}

static bool placeable(const struct op *op, unsigned level, aspace_va_t va, aspace_va_t end)
{
    const struct pt_map *m = op->map;
    if (!covers(op, level, va, end))
        return false;
    switch ((enum map_source)m->source) {
    case MAP_ARM: return true;
    case MAP_LINEAR: return level <= m->max_level && op->C->leaf_levels >> level & 1;
    case MAP_FRAMES: return (frame_next(m) & 4095) == level_order(op->F, level);
    }
    return false;
}

static inline uint64_t linear_pa(const struct pt_map *m, aspace_va_t va)
{
    return m->area->pa + (va - m->area->va_base);
}

static uint64_t leaf_for(const struct pt *pt, const struct pt_map *m, unsigned level, aspace_pa_t pa)
{
    const struct area *area = m->area;
    uint32_t rights = area_leaf_rights(area, 0, VALUE_RIGHTS(m->value));
    if (!rights)
        return slot_parked(pt->F, &pt->C, level, pa, 0);
    return fmt_leaf(pt->F, &pt->C, level, log_new_rights(pt, rights), area->attr) | fmt_addr_bits(pt->F, pa);
}

/* Entries from `first` on, `step` apart. A private table takes ordinary stores, which vectorise. Elsewhere each entry
 * leads lock-free readers to the area's record, which is as new as the entry (O1). */
static void fill_linear(uint64_t *slots, unsigned n, uint64_t first, uint64_t step, unsigned private)
{
    if (private)
        for (unsigned k = 0; k < n; k++)
            slots[k] = first + k * step;
    else
        for (unsigned k = 0; k < n; k++)
            slot_publish(slots + k, first + k * step);
}

/* Entries as fill_linear's, but that whole runs whose output addresses are aligned like their input addresses are
 * runs: from the start, since a walker must not find members that differ in it. */
static void fill_runs(const struct pt *pt, uint64_t *slots, unsigned n, uint64_t first, struct seg runs)
{
    uint64_t step = fmt_addr_bits(pt->F, 4096);
    fill_linear(slots, runs.lo, first, step, 0);
    for (unsigned i = runs.lo; i < runs.hi; i++)
        slot_publish(slots + i, fmt_run(pt->F, first + i * step));
    fill_linear(slots + runs.hi, n - runs.hi, first + runs.hi * step, step, 0);
}

/* Which of the slots from `lo` on to `hi` are in whole runs, counted from lo; [0, 0) if there are none. */
static struct seg whole_runs(const struct pt *pt, unsigned lo, unsigned hi, uint64_t pa)
{
    unsigned run = 1u << pt->C.run_lg2, begin = (lo + run - 1) & ~(run - 1), end = hi & ~(run - 1);
    bool aligned = run > 1 && !((pa - ((uint64_t)lo << 12)) & (((uint64_t)run << 12) - 1));
    return aligned && begin < end ? (struct seg){(uint16_t)(begin - lo), (uint16_t)(end - lo), 0}
                                  : (struct seg){0, 0, 0};
}

void pt_place(const struct pt *pt, const struct pt_map *m, struct node *n, struct seg g, aspace_va_t va)
{
    uint64_t *slots = node_slots(n), span = slot_span(pt->F, n->level), first, step = 0;
    unsigned private = seam_load(&n->lock) == 0, count = (unsigned)(g.hi - g.lo);
    if (m->source == MAP_ARM) {
        first = slot_armed(&pt->C, n->level, m->value, area_how(m->area));
    } else {
        first = leaf_for(pt, m, n->level, linear_pa(m, va));
        step = fmt_addr_bits(pt->F, span);
        if (!VALUE_RIGHTS(m->value) || !fmt_present(pt->F, n->level, first))
            step = slot_park_xor(pt->F) ? 0 - span : span;
    }
    struct seg runs = {0, 0, 0};
    if (!n->level && pt->C.run_lg2 && m->source == MAP_LINEAR && fmt_present(pt->F, 0, first))
        runs = whole_runs(pt, g.lo, g.hi, linear_pa(m, va));
    if (runs.hi)
        fill_runs(pt, slots + g.lo, count, first, runs);
    else
        fill_linear(slots + g.lo, count, first, step, private);
    node_count_add(n, (int)count);
}

/* Slots [lo, hi) of one node, all to be placed at this level. Entries become visible by themselves: each is final. */
static void place(struct op *op, struct node *n, unsigned lo, unsigned hi, aspace_va_t va)
{
    uint64_t span = slot_span(op->F, n->level);
    if (op->map->source != MAP_FRAMES) {
        pt_place(op->pt, op->map, n, (struct seg){(uint16_t)lo, (uint16_t)hi, 0}, va);
        return;
    }
    uint64_t bare = leaf_for(op->pt, op->map, n->level, 0);
    bool present = fmt_present(op->F, n->level, bare);
    for (unsigned i = lo; i < hi; i++) {
        aspace_pa_t pa = frame_take(op, op->map, span);
        slot_publish(node_slots(n) + i, present ? bare | fmt_addr_bits(op->F, pa) : bare ^ pa);
    }
    node_count_add(n, (int)(hi - lo));
}

static void map_leaf(struct op *op, struct node *n, aspace_va_t va, unsigned lo, unsigned hi)
{
    place(op, n, lo, hi, va);
    op_set(op, n, lo, hi, op->map->value);
    op_clean(op, node_slots(n) + lo, hi - lo);
}

/* T3': a private table, filled, then published: final, or locked. */
static void map_child(struct op *op, struct node *n, unsigned i, aspace_va_t va, aspace_va_t end)
{
    struct node *child = op_new_node(op, n->level - 1u);
    /* R4: later ranges of a batch may fall into the same table, which is thus not final when it is published. */
    if (op->batch)
        op_lock_new(op, child);
    unsigned lo = slot_index(op->F, child->level, va), hi = slot_index(op->F, child->level, end - 1) + 1;
    slots_fill(node_slots(child), 0, lo, slot_empty(op->C, child->level));
    slots_fill(node_slots(child), hi, node_entries(op->F, child->level), slot_empty(op->C, child->level));
    if (child->level)
        slots_fill(node_slots(child), lo, hi, slot_empty(op->C, child->level));
    op_commit_map(op, child, va, end);
    op_publish_table(op, n, i, child);
    node_count_add(n, 1);
}

/* How many slots after i, from va on, are whole and take the same kind of entry. */
static unsigned place_more(const struct op *op, const struct node *n, unsigned i, aspace_va_t va, aspace_va_t end)
{
    unsigned whole = (unsigned)((end - va) >> op->F->shift[n->level]), more = 0;
    unsigned room = node_entries(op->F, n->level) - 1 - i;
    while (more < whole && more < room) {
        uint64_t e = slot_peek(node_slots(n) + i + 1 + more);
        if (fmt_present(op->F, n->level, e)) /* TABLE: nothing else is left here */
            break;
        more++;
    }
    return more;
}

void op_commit_map(struct op *op, struct node *n, aspace_va_t va, aspace_va_t end)
{
    const struct fmt *F = op->F;
    unsigned lo = slot_index(F, n->level, va), hi = slot_index(F, n->level, end - 1) + 1;
    bool any = false;
    if (n->level == 0) {
        map_leaf(op, n, va, lo, hi);
        return;
    }
    for (unsigned i = lo; i < hi;) {
        aspace_va_t next = slot_clip(F, n->level, va, end);
        uint64_t e = slot_peek(node_slots(n) + i);
        if (slot_kind(F, n->level, e) == SLOT_TABLE) {
            op_commit_map(op, pt_child(op->pt, e), va, next);
        } else if (placeable(op, n->level, va, next)) {
            unsigned more = op->map->source == MAP_FRAMES ? 0 : place_more(op, n, i, next, end);
            place(op, n, i, i + 1 + more, va);
            next += more * slot_span(F, n->level);
            i += more;
            any = true;
        } else {
            map_child(op, n, i, va, next);
        }
        va = next;
        i++;
    }
    if (any) {
        op_set(op, n, lo, hi, op->map->value);
        op_clean(op, node_slots(n) + lo, hi - lo);
    }
}
