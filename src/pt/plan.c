/* SPDX-License-Identifier: BSD-2-Clause */
/* The lock phase of range operations: what to lock, what to refuse, what is needed. Changes nothing but R3. */
#include "pt/op.h"

static uint64_t tables_for(const struct fmt *F, unsigned max_level, unsigned level, aspace_va_t va, aspace_va_t end)
{
    if (level == 0 || (level <= max_level && end - va == slot_span(F, level)))
        return 0;
    uint64_t span = slot_span(F, level - 1), n = 1;
    aspace_va_t first = (va + span - 1) & ~(span - 1), last = end & ~(span - 1);
    if (level == 1)
        return n;
    if (first > last)
        return n + tables_for(F, max_level, level - 1, va, end);
    if (va < first)
        n += tables_for(F, max_level, level - 1, va, first);
    if (last < end)
        n += tables_for(F, max_level, level - 1, last, end);
    if (last > first)
        n += ((last - first) >> F->shift[level - 1]) * tables_for(F, max_level, level - 1, 0, span);
    return n;
}

/* Every table on the way to both ends, and every one in between if all is mapped page by page. */
uint64_t pt_tables_needed(const struct fmt *F, aspace_va_t va, aspace_va_t end)
{
    uint64_t n = 0;
    unsigned top = F->levels - 1u;
    while (va < end) {
        aspace_va_t next = slot_clip(F, top, va, end);
        n += tables_for(F, 0, top, va, next);
        va = next;
    }
    return n;
}

static void need_tables(struct op *op, uint64_t n)
{
    op->need += n;
    op->tables += n;
}

static void need_spill(struct op *op, const struct node *n)
{
    if (node_dense_order(op->F, n->level))
        op->need_spill_root = true;
    else
        op->need++;
}

/* The largest level at which the map puts leaves or markers. */
static unsigned map_level(const struct op *op)
{
    return op->map->source == MAP_ARM ? op->F->levels : op->map->max_level;
}

static int exists(struct op *op, aspace_va_t va, uint64_t size)
{
    if (op->culprit)
        *op->culprit = (struct aspace_range){va, size};
    return ASPACE_E_EXISTS;
}

static int check_protect(const struct op *op, value_t v)
{
    const struct area *area = value_area(op->pt->host, v);
    if (op->rights & ~(uint32_t)area->max_rights)
        return ASPACE_E_PERMISSION;
    uint32_t leaf = area_leaf_rights(area, 0, op->rights);
    return leaf && !fmt_rights_ok(op->F, op->C, leaf) ? ASPACE_E_UNSUPPORTED : ASPACE_E_OK;
}

/* Words of items that unmapping or discarding slots of this area takes. What moves stays mapped. */
static uint64_t words_for(const struct op *op, const struct area *area, uint64_t slots)
{
    if (op->moves)
        return 0;
    return area->flags & AREA_OWNED ? slots : area->flags & AREA_CUSTOM ? 2 * slots : 0;
}

/* In a batch the ranges before this one may have used the segments up; those that fall into a table that the batch
 * itself makes have each counted that table, of which all but one are to spare.
 *
 * What changing the values of slots [lo, hi) of a locked node can need: a dense page, or a place to put one back.
 * Unmapping whole areas never needs a page: clearing whole segments makes none. */
static void plan_values(struct op *op, const struct node *n, unsigned lo, unsigned hi)
{
    bool spills = false;
    if (n->dense) {
        op->words += 2;
        return;
    }
    op->words += op->moves; /* one range may use the page, and the other have it put back */
    if (op->kind == OP_PROTECT)
        spills = n->n_segs + 2 > NODE_SEGS;
    else if (op->kind == OP_UNMAP)
        spills = node_set_spills(n, lo, hi, 0);
    else if (op->kind == OP_MAP)
        spills = op->batch || node_set_spills(n, lo, hi, op->map->value) || node_set_spills(n, lo, hi, 0);
    if (spills)
        need_spill(op, n);
}

/* Slots [lo, hi) of a locked leaf table, whose first slot translates va. */
static int plan_leaf(struct op *op, struct node *n, unsigned lo, unsigned hi, aspace_va_t va)
{
    struct seg g = {0, 0, 0};
    unsigned mapped = 0;
    for (unsigned i = lo; node_next_seg(n, i, hi, &g); i = g.hi) {
        if (op->kind == OP_MAP && !op->replace)
            return exists(op, va + ((uint64_t)(g.lo - lo) << 12), (uint64_t)(g.hi - g.lo) << 12);
        if (op->kind == OP_PROTECT) {
            int rc = check_protect(op, g.value);
            if (rc)
                return rc;
        } else {
            const struct area *area = value_area(op->pt->host, g.value);
            op->words += words_for(op, area, (uint64_t)(g.hi - g.lo));
        }
        mapped += (unsigned)(g.hi - g.lo);
    }
    plan_values(op, n, lo, hi);
    return op->kind == OP_PROTECT && mapped != hi - lo ? ASPACE_E_NOT_MAPPED : ASPACE_E_OK;
}

/* Lock a table that will be unlinked, and all below it (T6). For a map it must hold nothing. */
static int plan_doomed(struct op *op, struct node *n, aspace_va_t va)
{
    op_lock(op, n);
    if (n->stale)
        return OP_RESTART;
    n->doomed = 1;
    if (op->moves)
        op->words += GATHER_WORDS + 1; /* emptied one by one, each goes by itself, and its page of values */
    if (op->kind == OP_MAP && !op->replace && n->level == 0 && n->count) {
        struct seg g = {0, 0, 0};
        node_next_seg(n, 0, node_entries(op->F, 0), &g);
        return exists(op, va + ((uint64_t)g.lo << 12), (uint64_t)(g.hi - g.lo) << 12);
    }
    for (unsigned i = 0; n->level && i < node_entries(op->F, n->level); i++) {
        uint64_t *slot = node_slots(n) + i, e = slot_load(slot);
        aspace_va_t sva = va + ((uint64_t)i << op->F->shift[n->level]);
        enum slot_kind kind = slot_kind(op->F, n->level, e);
        if (kind == SLOT_ARMED && (op->kind != OP_MAP || op->replace)) {
            op->busied = true;
            if (!slot_cas(slot, &e, op_busy(op, n->level)))
                kind = slot_kind(op->F, n->level, slot_load(slot));
        }
        if (kind == SLOT_TABLE) {
            int rc = plan_doomed(op, pt_child(op->pt, slot_load(slot)), sva);
            if (rc)
                return rc;
        } else if (kind != SLOT_EMPTY && op->kind == OP_MAP && !op->replace) {
            return exists(op, sva, slot_span(op->F, n->level));
        }
    }
    return ASPACE_E_OK;
}

/* Will a TABLE slot wholly in range be unlinked? An empty subtree gives way to a larger leaf or marker. */
static bool unlinks(const struct op *op, unsigned level, aspace_va_t va, aspace_va_t end)
{
    if (!covers(op, level, va, end))
        return false;
    return op->kind == OP_UNMAP || op->replace || (op->kind == OP_MAP && level <= map_level(op));
}

static int plan_table(struct op *op, struct node *n, aspace_va_t va, aspace_va_t end);

/* One slot that is not TABLE, [va, end) of it, in a locked node; `filled`: 1 if it may hold a frame. */
static int plan_mapped_slot(struct op *op, struct node *n, unsigned filled, aspace_va_t va, aspace_va_t end)
{
    bool whole = covers(op, n->level, va, end);
    if (op->kind == OP_MAP && !op->replace)
        return exists(op, va & ~(slot_span(op->F, n->level) - 1), slot_span(op->F, n->level));
    value_t v = node_value(n, slot_index(op->F, n->level, va));
    const struct area *area = value_area(op->pt->host, v);
    if (op->kind == OP_PROTECT) {
        int rc = check_protect(op, v);
        if (rc)
            return rc;
    } else if (op->kind == OP_DISCARD && !(area->flags & (AREA_OWNED | AREA_CUSTOM))) {
        return ASPACE_E_OK;
    } else {
        op->words += words_for(op, area, filled);
    }
    if (!whole) {
        need_tables(op, tables_for(op->F, op->F->levels, n->level, va, end));
        op->words += words_for(op, area, (uint64_t)n->level << (op->F->bits[0] + 1)); /* small leaves at both ends */
    }
    if (op->kind == OP_MAP)
        need_tables(op, tables_for(op->F, map_level(op), n->level, va, end));
    return ASPACE_E_OK;
}

static int plan_slot(struct op *op, struct node *n, bool locked, aspace_va_t va, aspace_va_t end)
{
    unsigned i = slot_index(op->F, n->level, va);
    uint64_t *slot = node_slots(n) + i;
    for (;;) {
        uint64_t e = slot_load(slot);
        switch (slot_kind(op->F, n->level, e)) {
        case SLOT_TABLE:
            if (!unlinks(op, n->level, va, end))
                return plan_table(op, pt_child(op->pt, e), va, end);
            if (!locked)
                return OP_RESTART;
            op->words += GATHER_WORDS;
            if (op->kind == OP_MAP) {
                op->clear_first = true;
                need_tables(op, tables_for(op->F, map_level(op), n->level, va, end));
            }
            return plan_doomed(op, pt_child(op->pt, e), va);
        case SLOT_EMPTY:
            if (op->kind == OP_PROTECT)
                return ASPACE_E_NOT_MAPPED;
            if (!locked) /* also to find nothing there: its flush may be under way (R7) */
                return OP_RESTART;
            if (op->kind != OP_MAP)
                return ASPACE_E_OK;
            need_tables(op, tables_for(op->F, map_level(op), n->level, va, end));
            return ASPACE_E_OK;
        case SLOT_ARMED:
            if (!locked)
                return OP_RESTART;
            if (op->kind == OP_DISCARD && covers(op, n->level, va, end)) {
                op->words +=
                    words_for(op, value_area(op->pt->host, slot_armed_value(e)), 1); /* a fault may fill it yet */
                return ASPACE_E_OK;
            }
            if (op->kind != OP_MAP || op->replace) {
                op->busied = true;
                if (!slot_cas(slot, &e, op_busy(op, n->level)))
                    continue;
            }
            if (op->kind == OP_DISCARD) /* BUSY, so it cannot become a leaf, for which a table would be missing */
                return ASPACE_E_OK;
            return plan_mapped_slot(op, n, 0, va, end); /* R3: and no fault fills it now */
        case SLOT_LEAF:
        case SLOT_PARKED: return locked ? plan_mapped_slot(op, n, 1, va, end) : OP_RESTART;
        case SLOT_BUSY: /* another's, if the node is not locked by us; ours, if a part of it is to move within it */
            ASSERT(!locked || (op->moves && op->kind == OP_MAP));
            return locked ? exists(op, va & ~(slot_span(op->F, n->level) - 1), slot_span(op->F, n->level)) : OP_RESTART;
        }
    }
}

/* R1. Looked at without the lock: what changes afterwards is met again under the lock, or as OP_RESTART. */
static bool needs_lock(const struct op *op, const struct node *n, aspace_va_t va, aspace_va_t end)
{
    if (n->level == 0)
        return true;
    bool same_slot = (op->va >> op->F->shift[n->level]) == ((op->end - 1) >> op->F->shift[n->level]);
    if (op->lock_all && !same_slot)
        return true;
    while (va < end) {
        aspace_va_t next = slot_clip(op->F, n->level, va, end);
        uint64_t e = slot_load(node_slots(n) + slot_index(op->F, n->level, va));
        if (slot_kind(op->F, n->level, e) != SLOT_TABLE || unlinks(op, n->level, va, next))
            return true;
        va = next;
    }
    return false;
}

/* Whole slots from va on of one area without frames of its own, to be unmapped: faults never change them, so that R3
 * has nothing to do. Returns where they end. */
static aspace_va_t plan_borrowed(struct op *op, const struct node *n, aspace_va_t va, aspace_va_t end)
{
    const struct fmt *F = op->F;
    unsigned i = slot_index(F, n->level, va), last = i + (unsigned)((end - va) >> F->shift[n->level]);
    struct seg g;
    if (!node_next_seg(n, i, last < node_entries(F, n->level) ? last : node_entries(F, n->level), &g) || g.lo != i)
        return va;
    enum slot_kind kind = slot_kind(F, n->level, slot_peek(node_slots(n) + i));
    if (kind == SLOT_TABLE || kind == SLOT_EMPTY)
        return va; /* the value may name a record that is gone */
    const struct area *area = value_area(op->pt->host, g.value);
    if (!(area->flags & AREA_STATIC))
        return va;
    for (; i < g.hi; i++, va += slot_span(F, n->level)) {
        kind = slot_kind(F, n->level, slot_peek(node_slots(n) + i));
        if (kind == SLOT_TABLE || kind == SLOT_EMPTY)
            break;
    }
    return va;
}

static int plan_table(struct op *op, struct node *n, aspace_va_t va, aspace_va_t end)
{
    const struct fmt *F = op->F;
    bool locked = op_owns(op, n);
    if (!locked && needs_lock(op, n, va, end)) {
        op_lock(op, n);
        locked = true;
    }
    if (locked && n->stale)
        return OP_RESTART;
    unsigned lo = slot_index(F, n->level, va), hi = slot_index(F, n->level, end - 1) + 1;
    if (n->level == 0)
        return plan_leaf(op, n, lo, hi, va);
    if (locked)
        plan_values(op, n, lo, hi);
    bool simple = locked && op->kind == OP_MAP && n->level <= map_level(op), unmap = locked && op->kind == OP_UNMAP;
    uint64_t *slots = node_slots(n), empty = slot_empty(op->C, n->level);
    while (va < end) {
        aspace_va_t next = slot_clip(F, n->level, va, end);
        if (simple && slot_load(slots + slot_index(F, n->level, va)) == empty && covers(op, n->level, va, next)) {
            va = next; /* takes a leaf or a marker, and needs nothing */
            continue;
        }
        aspace_va_t passed = unmap && covers(op, n->level, va, next) ? plan_borrowed(op, n, va, end) : va;
        if (passed != va) {
            va = passed;
            continue;
        }
        int rc = plan_slot(op, n, locked, va, next);
        if (rc)
            return rc;
        va = next;
    }
    return ASPACE_E_OK;
}

/* Down from the root while the range is a part of one slot and that slot is TABLE: nothing on that way is locked or
 * changed, nor are its descriptors read, which whoever works there writes. A node that is unlinked meanwhile is found
 * stale when it, or what is locked below it, is locked. */
static struct node *find_top(const struct op *op, aspace_va_t va, aspace_va_t end)
{
    const struct fmt *F = op->F;
    struct node *n = op->pt->root;
    for (unsigned level = op->pt->top; level; level--) {
        unsigned shift = F->shift[level];
        if (va >> shift != (end - 1) >> shift || end - va == 1ull << shift)
            break;
        uint64_t e = slot_load(node_slots(n) + slot_index(F, level, va));
        if (!fmt_present(F, level, e) || !fmt_is_table(F, level, e))
            break;
        n = pt_child(op->pt, e);
    }
    return n;
}

int op_plan(struct op *op, aspace_va_t va, aspace_va_t end)
{
    op->top = find_top(op, op->va, op->end);
    return plan_table(op, op->top, va, end);
}

static void plan_fresh(struct op *op, const struct pt_map *m)
{
    unsigned level = op->top->level, max = m->source == MAP_ARM ? op->F->levels : m->max_level;
    for (aspace_va_t va = m->va; va < m->end; va = slot_clip(op->F, level, va, m->end))
        need_tables(op, tables_for(op->F, max, level, va, slot_clip(op->F, level, va, m->end)));
}

/* What stays of the old tables are those on the ways to both ends of the space. Their values are set anew. */
int op_plan_everything(struct op *op, const struct pt_map *maps)
{
    op->kind = OP_UNMAP;
    int rc = op_plan(op, op->va, op->end);
    if (rc)
        return rc;
    op->need += 2u * op->F->levels;
    op->words += 4u * op->F->levels;
    op->need_spill_root = node_dense_order(op->F, op->pt->top) != 0;
    for (; maps; maps = maps->next)
        plan_fresh(op, maps);
    return ASPACE_E_OK;
}

void op_put_back(struct op *op)
{
    for (struct node *n = op->locked; n; n = n->next) {
        n->doomed = 0;
        if (!op->busied || !n->level || n->stale)
            continue;
        uint64_t busy = op_busy(op, n->level), *slots = node_slots(n);
        for (unsigned i = 0; i < node_entries(op->F, n->level); i++) {
            if (slot_peek(slots + i) != busy)
                continue;
            value_t v = node_value(n, i);
            slot_publish(slots + i, slot_armed(op->C, n->level, v, area_how(value_area(op->pt->host, v))));
        }
    }
    op->busied = false;
    op_unlock_all(op);
}
