/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Move of a range (R8), by the machinery of range operations over two ranges. Owns how what is mapped in one place is
 * told in another: pages, markers, records. Must not know what an area is for.
 *
 *   plan    lock both ranges, the lower first; the old one as an unmap would, the new one as a map. Then count, under
 *           the locks, what the new one needs
 *   commit  take: each slot of the old range becomes BUSY and holds what it was; flush; place: each is made visible in
 *           the new range, in a record of its own; clear: the old slots become EMPTY
 *
 * Where old and new address differ by a multiple of what a slot spans, slots move one by one, whatever their level;
 * elsewhere large leaves are told in smaller ones, and markers as if they were mapped there.
 */
#include "pt/log.h"
#include "pt/op.h"
#include "pt/pending.h"
#include "pt/rmap.h"
#include "pt/shares.h"

struct move {
    aspace_va_t va, end, delta; /* the old range; new address less old one, modulo 2^64 */
    struct aspace_range *culprit;

    /* The record of what is being moved, for as long as the area does not change. */
    const struct area *from;
    struct area *to;

    /* Counting: by level, tables of the new range that were counted up to here, and stretches in the last of them. */
    uint64_t counted[FMT_LEVELS_MAX];
    unsigned stretches[FMT_LEVELS_MAX];
};

/* Do slots of this level move one by one? */
static bool congruent(const struct op *op, unsigned level)
{
    return !(op->move->delta & (slot_span(op->F, level) - 1));
}

/* The largest level below at which a leaf can be told in the new place. */
static unsigned leaf_level(const struct op *op, unsigned level)
{
    while (level && !(congruent(op, level) && op->C->leaf_levels >> level & 1))
        level--;
    return level;
}

enum thing { NOTHING, TABLE, PAGE, MARKER };

/* What the slot is or, once it was taken, was. */
static enum thing thing_in(const struct op *op, unsigned level, uint64_t e)
{
    switch (slot_kind(op->F, level, e)) {
    case SLOT_EMPTY: return NOTHING;
    case SLOT_TABLE: return TABLE;
    case SLOT_LEAF:
    case SLOT_PARKED: return PAGE;
    case SLOT_BUSY:
        if (slot_held(e))
            return slot_held(e) == SLOT_HOLDS_TABLE ? TABLE : PAGE;
        return MARKER;
    default: return MARKER;
    }
}

/* Slots of an upper table from i on, below `end`, that are alike: pages or markers, of one area and protection. */
static unsigned stretch_end(const struct op *op, const struct node *n, unsigned i, unsigned end)
{
    value_t v = node_value(n, i);
    enum thing thing = thing_in(op, n->level, slot_peek(node_slots(n) + i));
    while (++i < end)
        if (thing_in(op, n->level, slot_peek(node_slots(n) + i)) != thing || node_value(n, i) != v)
            break;
    return i;
}

/* ------------------------------------------------------------------------------------------------------- counting */

/* Is there a table of this level in the new range that stays? All of it is locked. */
static bool stays(const struct op *op, unsigned level, aspace_va_t va)
{
    const struct node *n = op->top;
    while (n->level > level) {
        uint64_t e = slot_peek(node_slots(n) + slot_index(op->F, n->level, va));
        if (slot_kind(op->F, n->level, e) != SLOT_TABLE)
            return false;
        n = pt_child(op->pt, e);
        if (n->doomed)
            return false;
    }
    return true;
}

/* Tables of a level that one stretch, told in [va, end) of the new range, touches. Stretches ascend. */
static void count_tables(struct op *op, unsigned level, aspace_va_t va, aspace_va_t end)
{
    struct move *m = op->move;
    unsigned shift = op->F->shift[level + 1];
    uint64_t first = va >> shift, last = (end - 1) >> shift;
    if (first < m->counted[level] && last + 1 >= m->counted[level])
        op->need += ++m->stretches[level] == NODE_SEGS + 1; /* a page of values */
    first = first > m->counted[level] ? first : m->counted[level];
    for (; first <= last; first++) {
        m->counted[level] = first + 1;
        m->stretches[level] = 1;
        if (stays(op, level, first << shift))
            continue;
        op->need++;
        op->tables++;
    }
}

/* Whole slots of a level, all of one kind. */
static void count_whole(struct op *op, unsigned level, aspace_va_t va, aspace_va_t end, bool filled)
{
    unsigned lowest = filled ? leaf_level(op, level) : 0;
    for (unsigned l = level; l-- > lowest;) {
        if (filled || end - va <= slot_span(op->F, l + 1)) {
            count_tables(op, l, va, end);
            continue;
        }
        if (va & (slot_span(op->F, l + 1) - 1))
            count_tables(op, l, va, va + 1);
        if (end & (slot_span(op->F, l + 1) - 1))
            count_tables(op, l, end - 1, end);
    }
}

/* What is of one kind in [va, end), in slots of a level or, at the ends, in those that parts of them will be opened to.
 * Addresses are of the old range. */
static void count_stretch(struct op *op, unsigned level, aspace_va_t va, aspace_va_t end, bool filled)
{
    uint64_t span = slot_span(op->F, level), delta = op->move->delta;
    aspace_va_t first = (va + span - 1) & ~(span - 1), last = end & ~(span - 1);
    for (unsigned l = level; l < op->top->level; l++)
        count_tables(op, l, va + delta, end + delta);
    if (first > last) {
        count_stretch(op, level - 1, va, end, filled);
        return;
    }
    if (va < first)
        count_stretch(op, level - 1, va, first, filled);
    if (first < last)
        count_whole(op, level, first + delta, last + delta, filled);
    if (last < end)
        count_stretch(op, level - 1, last, end, filled);
}

static void count_record(struct op *op, value_t v)
{
    const struct area *area = value_area(op->pt->host, v);
    if (area != op->move->from) /* and one for the object to know it by */
        op->records += area->flags & AREA_OBJECT ? 2 : 1;
    op->move->from = area;
}

static void count_leaf(struct op *op, const struct node *n, aspace_va_t va, aspace_va_t end)
{
    struct seg g = {0, 0, 0};
    unsigned lo = slot_index(op->F, 0, va), hi = slot_index(op->F, 0, end - 1) + 1;
    for (unsigned i = lo; node_next_seg(n, i, hi, &g); i = g.hi) {
        aspace_va_t from = va + ((uint64_t)(g.lo - lo) << 12);
        count_record(op, g.value);
        count_stretch(op, 0, from, from + ((uint64_t)(g.hi - g.lo) << 12), true);
    }
}

/* As deep as the format has levels. */
static void count(struct op *op, const struct node *n, aspace_va_t va, aspace_va_t end)
{
    unsigned hi = slot_index(op->F, n->level, end - 1) + 1, i = slot_index(op->F, n->level, va);
    if (!n->level) {
        count_leaf(op, n, va, end);
        return;
    }
    while (i < hi) {
        aspace_va_t next = slot_clip(op->F, n->level, va, end);
        uint64_t e = slot_peek(node_slots(n) + i);
        enum thing thing = thing_in(op, n->level, e);
        unsigned to = i + 1;
        if (thing == TABLE) {
            count(op, pt_child(op->pt, e), va, next);
        } else if (thing != NOTHING) {
            to = stretch_end(op, n, i, hi);
            for (unsigned k = i + 1; k < to; k++)
                next = slot_clip(op->F, n->level, next, end);
            count_record(op, node_value(n, i));
            count_stretch(op, n->level, va, next, thing == PAGE);
        }
        va = next;
        i = to;
    }
}

static int plan_old(struct op *op)
{
    op->kind = OP_UNMAP;
    return op_plan(op, op->move->va, op->move->end);
}

/* Tables are counted later: what is mapped there is not one marker. */
static int plan_new(struct op *op)
{
    struct move *m = op->move;
    struct pt_map map = {.va = m->va + m->delta, .end = m->end + m->delta, .source = MAP_ARM};
    uint64_t tables = op->tables;
    op->kind = OP_MAP;
    op->map = &map;
    op->culprit = m->culprit;
    int rc = op_plan(op, map.va, map.end);
    op->map = NULL;
    op->need -= op->tables - tables;
    op->tables = tables;
    return rc;
}

int op_plan_move(struct op *op)
{
    struct move *m = op->move;
    bool up = m->va < m->va + m->delta;
    int rc = up ? plan_old(op) : plan_new(op);
    if (rc == ASPACE_E_OK)
        rc = up ? plan_new(op) : plan_old(op);
    if (rc)
        return rc;
    m->from = NULL;
    for (unsigned level = 0; level < FMT_LEVELS_MAX; level++)
        m->counted[level] = m->stretches[level] = 0;
    count(op, op->top, m->va, m->end);
    return ASPACE_E_OK;
}

/* --------------------------------------------------------------------------------------------------------- taking */

static void take_slot(struct op *op, struct node *n, unsigned i, aspace_va_t va)
{
    uint64_t *slot = node_slots(n) + i, e = slot_xchg(slot, op_busy(op, n->level));
    enum slot_kind kind = slot_kind(op->F, n->level, e);
    if (kind == SLOT_LEAF) {
        uint64_t run = !n->level && op->C->run_lg2 && fmt_in_run(op->F, e) ? SLOT_HOLDS_RUN : 0;
        gather_flush_range(&op->g, va, va + slot_span(op->F, n->level), n->level, 1);
        slot_store(slot, slot_hold(slot_park(op->F, op->C, n->level, e, i), SLOT_HOLDS_LEAF | run));
    } else if (kind == SLOT_PARKED) {
        slot_store(slot, slot_hold(e, SLOT_HOLDS_PARKED));
    }
}

/* Hardware sets the flags of one member of a run for any of them: each has those of all, should they part. */
static void share_flags(const struct op *op, const struct node *n, struct seg g)
{
    unsigned run = 1u << op->C->run_lg2;
    uint64_t *slots = node_slots(n);
    for (unsigned i = g.lo, next; i < g.hi; i = next) {
        uint64_t flags = 0, e = slot_peek(slots + i);
        next = (i | (run - 1)) + 1;
        if (slot_held(e) != SLOT_HOLDS_LEAF || !(e & SLOT_HOLDS_RUN))
            continue;
        for (unsigned k = i; k < next; k++)
            flags |= slot_peek(slots + k) & (SLOT_PARKED_A | SLOT_PARKED_D);
        for (unsigned k = i; k < next; k++)
            slot_store(slots + k, slot_peek(slots + k) | flags);
    }
}

static void take_leaf(struct op *op, struct node *n, aspace_va_t va, aspace_va_t end)
{
    struct seg g = {0, 0, 0};
    unsigned lo = slot_index(op->F, 0, va), hi = slot_index(op->F, 0, end - 1) + 1;
    for (unsigned i = lo; node_next_seg(n, i, hi, &g); i = g.hi) {
        op_break_runs(op, n, g, va + ((uint64_t)(g.lo - lo) << 12), 0);
        for (unsigned k = g.lo; k < g.hi; k++)
            take_slot(op, n, k, va + ((uint64_t)(k - lo) << 12));
        if (op->C->run_lg2)
            share_flags(op, n, g);
    }
    op_clean(op, node_slots(n) + lo, hi - lo);
}

/* A table that moves with all it holds leaves the tree now, while its slot shows BUSY: one invalidation is enough. */
static void hide(struct op *op, struct node *n, unsigned i, const struct node *child, aspace_va_t va)
{
    slot_publish(node_slots(n) + i, slot_hold_table(op->F, op->C, node_pa(child)));
    op_flush_table(op, n->level, va);
}

static void take(struct op *op, struct node *n, aspace_va_t va, aspace_va_t end)
{
    unsigned lo = slot_index(op->F, n->level, va), hi = slot_index(op->F, n->level, end - 1) + 1;
    if (!n->level) {
        take_leaf(op, n, va, end);
        return;
    }
    for (unsigned i = lo; i < hi; i++) {
        aspace_va_t next = slot_clip(op->F, n->level, va, end);
        uint64_t e = slot_peek(node_slots(n) + i);
        enum slot_kind kind = slot_kind(op->F, n->level, e);
        if (kind == SLOT_TABLE) {
            struct node *child = pt_child(op->pt, e);
            take(op, child, va, next);
            if (child->doomed && covers(op, n->level, va, next))
                hide(op, n, i, child, va);
        } else if (kind != SLOT_EMPTY && covers(op, n->level, va, next)) {
            take_slot(op, n, i, va);
        } else if (kind != SLOT_EMPTY) {
            take(op, op_open(op, n, i, va & ~(slot_span(op->F, n->level) - 1)), va, next);
        }
        va = next;
    }
    op_clean(op, node_slots(n) + lo, hi - lo);
}

/* -------------------------------------------------------------------------------------------------------- placing */

static struct area *take_record(struct op *op)
{
    struct area *record = op->record_first;
    op->record_first = record->next_dead;
    op->record_have--;
    return record;
}

/* The record of what moves from `area`: the part of its extent that is in the range, in the new place. Everything that
 * counts from the begin of the extent goes on counting from where it did. */
static struct area *new_record(struct op *op, struct area *area)
{
    struct move *m = op->move;
    struct area *to = take_record(op);
    aspace_va_t lo = area->va_base > m->va ? area->va_base : m->va;
    aspace_va_t hi = area->va_base + area->size < m->end ? area->va_base + area->size : m->end;
    area_copy(to, area);
    to->id = area_new_id(op->pt->host);
    to->va_base = lo + m->delta;
    to->size = hi - lo;
    to->offset += lo - area->va_base;
    if (to->pa != ASPACE_PA_NONE)
        to->pa += lo - area->va_base;
    if (area->flags & AREA_OBJECT) {
        rmap_add_at(op->pt, to, rmap_link_of(area)->object, take_record(op));
    } else if (area->flags & AREA_CUSTOM) {
        to->origin = area->origin ? area->origin : area;
        seam_add(&to->origin->holds, 1);
    }
    return to;
}

/* `pages` of the value are about to move: what they are called in the new place. */
static value_t new_value(struct op *op, value_t v, uint64_t pages)
{
    struct area *area = value_area(op->pt->host, v);
    if (area != op->move->from) {
        op->move->from = area;
        op->move->to = new_record(op, area);
    }
    seam_add(&op->move->to->pages, pages);
    op_put_pages(op, area, pages);
    return VALUE(op->move->to->index, VALUE_RIGHTS(v));
}

/* The table of the new range at this level; those that are missing are made, empty. */
static struct node *new_table(struct op *op, unsigned level, aspace_va_t va)
{
    struct node *n = op->top;
    while (n->level > level) {
        unsigned i = slot_index(op->F, n->level, va);
        uint64_t e = slot_peek(node_slots(n) + i);
        struct node *child;
        if (slot_kind(op->F, n->level, e) == SLOT_TABLE) {
            child = pt_child(op->pt, e);
        } else {
            child = op_new_node(op, n->level - 1u);
            op_lock_new(op, child); /* R4: more will be placed in it */
            slots_fill(node_slots(child), 0, node_entries(op->F, child->level), slot_empty(op->C, child->level));
            op_publish_table(op, n, i, child);
            node_count_add(n, 1);
        }
        n = child;
    }
    return n;
}

/* What a slot held, as a slot of this level for what is `off` bytes behind its begin. What may come into the range of a
 * log has the write right only together with the dirty flag (L1). */
static uint64_t told(const struct op *op, unsigned level, uint64_t e, uint64_t off, value_t v)
{
    const struct area *area = op->move->to;
    uint64_t held = slot_held(e);
    if (!held)
        return slot_armed(op->C, level, v, area_how(area));
    uint64_t parked = slot_parked(op->F, op->C, level, slot_parked_pa(op->F, e) + off, e & SLOT_PARKED_STATE);
    if (held != SLOT_HOLDS_LEAF)
        return parked;
    uint32_t rights = SLOT_PARKED_RIGHTS(parked);
    return op_unpark(op, area, level, parked, parked & SLOT_PARKED_D ? rights : log_new_rights(op->pt, rights));
}

/* A leaf of a run that moves as a whole to where a run can be; its members enter one by one, each as one of the run. */
static uint64_t told_alike(const struct op *op, unsigned level, uint64_t e, value_t v)
{
    uint64_t leaf = told(op, level, e, 0, v), run = 4096ull << op->C->run_lg2;
    bool joins = slot_held(e) == SLOT_HOLDS_LEAF && e & SLOT_HOLDS_RUN && !(op->move->delta & (run - 1));
    return joins ? fmt_run(op->F, leaf) : leaf;
}

/* The rings of a dirty log name the place where a page was written: one that leaves it is told anew. */
static void tell_log(struct op *op, unsigned level, uint64_t e, aspace_va_t va)
{
    if (slot_held(e) && e & SLOT_PARKED_D)
        log_push(op->pt, va, level);
}

/* Slots [lo, hi) of n to slots of the same level; va is the new address of the first. */
static void place_alike(struct op *op, const struct node *n, struct seg g, aspace_va_t va)
{
    const uint64_t *old = node_slots(n) + g.lo;
    unsigned left = (unsigned)(g.hi - g.lo);
    while (left) {
        struct node *t = new_table(op, n->level, va);
        unsigned at = slot_index(op->F, n->level, va), room = node_entries(op->F, n->level) - at;
        unsigned k = left < room ? left : room;
        for (unsigned j = 0; j < k; j++) {
            slot_publish(node_slots(t) + at + j, told_alike(op, n->level, slot_peek(old + j), g.value));
            tell_log(op, n->level, slot_peek(old + j), va + j * slot_span(op->F, n->level));
        }
        op_set(op, t, at, at + k, g.value);
        node_count_add(t, (int)k);
        op_clean(op, node_slots(t) + at, k);
        va += k * slot_span(op->F, n->level);
        old += k;
        left -= k;
    }
}

/* A leaf, present or parked, in smaller ones. */
static void place_smaller(struct op *op, unsigned level, uint64_t e, aspace_va_t va, value_t v)
{
    unsigned small = leaf_level(op, level);
    uint64_t span = slot_span(op->F, small), size = slot_span(op->F, level), off = 0;
    while (off < size) {
        struct node *t = new_table(op, small, va + off);
        unsigned at = slot_index(op->F, small, va + off), to = at;
        for (; off < size && to < node_entries(op->F, small); off += span) {
            slot_publish(node_slots(t) + to++, told(op, small, e, off, v));
            tell_log(op, small, e, va + off);
        }
        op_set(op, t, at, to, v);
        node_count_add(t, (int)(to - at));
        op_clean(op, node_slots(t) + at, to - at);
    }
    if (slot_soft(op->F, level, e) & SOFT_COUNTED)
        shares_split(op->pt->host, slot_frame(op->F, op->C, level, e, 0), level_order(op->F, level));
    COUNT(pt_this_cpu(op->pt)->splits, 1);
}

/* A stretch of one kind, where slots do not move one by one. */
static void place_other(struct op *op, const struct node *n, struct seg g, aspace_va_t va)
{
    uint64_t span = slot_span(op->F, n->level);
    if (slot_held(slot_peek(node_slots(n) + g.lo))) {
        for (unsigned i = g.lo; i < g.hi; i++, va += span)
            place_smaller(op, n->level, slot_peek(node_slots(n) + i), va, g.value);
        return;
    }
    struct pt_map map = {.va = va,
                         .end = va + (uint64_t)(g.hi - g.lo) * span,
                         .area = op->move->to,
                         .value = g.value,
                         .source = MAP_ARM};
    op->map = &map;
    op_commit_map(op, op->top, map.va, map.end);
}

/* Of a TABLE, also once it is hidden. */
static struct node *table_of(const struct op *op, const struct node *n, uint64_t e)
{
    bool hidden = slot_kind(op->F, n->level, e) == SLOT_BUSY;
    return hidden ? node_at(op->pt->host, slot_held_table(op->F, e)) : pt_child(op->pt, e);
}

static void place_stretch(struct op *op, const struct node *n, struct seg g, aspace_va_t va)
{
    g.value = new_value(op, g.value, (uint64_t)(g.hi - g.lo) << level_order(op->F, n->level));
    if (congruent(op, n->level))
        place_alike(op, n, g, va + op->move->delta);
    else
        place_other(op, n, g, va + op->move->delta);
}

static void place(struct op *op, const struct node *n, aspace_va_t va, aspace_va_t end)
{
    unsigned lo = slot_index(op->F, n->level, va), hi = slot_index(op->F, n->level, end - 1) + 1, i = lo;
    struct seg g = {0, 0, 0};
    for (; !n->level && node_next_seg(n, i, hi, &g); i = g.hi)
        place_stretch(op, n, g, va + ((uint64_t)(g.lo - lo) << 12));
    while (n->level && i < hi) {
        aspace_va_t next = slot_clip(op->F, n->level, va, end);
        uint64_t e = slot_peek(node_slots(n) + i);
        enum thing thing = thing_in(op, n->level, e);
        unsigned to = i + 1;
        if (thing == TABLE) {
            place(op, table_of(op, n, e), va, next);
        } else if (thing != NOTHING) {
            to = stretch_end(op, n, i, hi);
            next = va + (to - i) * slot_span(op->F, n->level);
            place_stretch(op, n, (struct seg){(uint16_t)i, (uint16_t)to, node_value(n, i)}, va);
        }
        va = next;
        i = to;
    }
}

/* ------------------------------------------------------------------------------------------------------- clearing */

/* Whoever finds the old place empty finds the new one filled: release. */
static void clear_slot(struct op *op, struct node *n, unsigned i)
{
    slot_publish(node_slots(n) + i, slot_empty(op->C, n->level));
    node_count_add(n, -1);
}

static void clear(struct op *op, struct node *n, aspace_va_t va, aspace_va_t end)
{
    unsigned lo = slot_index(op->F, n->level, va), hi = slot_index(op->F, n->level, end - 1) + 1;
    bool any = false;
    for (unsigned i = lo; i < hi; i++) {
        aspace_va_t next = slot_clip(op->F, n->level, va, end);
        uint64_t e = slot_peek(node_slots(n) + i);
        bool busy = slot_kind(op->F, n->level, e) == SLOT_BUSY, table = thing_in(op, n->level, e) == TABLE;
        if (table)
            clear(op, table_of(op, n, e), va, next);
        if (table && busy)
            gather_table(&op->g, table_of(op, n, e), va);
        if (busy)
            clear_slot(op, n, i);
        any |= busy;
        va = next;
    }
    if (any) {
        op_set(op, n, lo, hi, 0);
        op_clean(op, node_slots(n) + lo, hi - lo);
    }
}

static void commit(struct op *op)
{
    struct move *m = op->move;
    op->kind = OP_UNMAP;
    op->batch = true; /* tables are born locked */
    if (op->clear_first)
        op_commit_unmap(op, op->top, m->va + m->delta, m->end + m->delta);
    op->va = m->va; /* what is opened is BUSY in the old range only */
    op->end = m->end;
    take(op, op->top, m->va, m->end);
    gather_flush(&op->g);
    m->from = NULL;
    place(op, op->top, m->va, m->end);
    clear(op, op->top, m->va, m->end);
}

int pt_move(struct pt *pt, aspace_va_t va, aspace_va_t end, aspace_va_t new_va, struct aspace_range *culprit)
{
    struct op op;
    struct move m = {.va = va, .end = end, .delta = new_va - va, .culprit = culprit};
    aspace_va_t new_end = new_va + (end - va);
    op_init(&op, pt, OP_UNMAP, va < new_va ? va : new_va, end > new_end ? end : new_end);
    op.moves = op.batch = op.lock_all = true;
    op.move = &m;
    int rc = op_begin(&op, NULL);
    if (rc == ASPACE_E_OK) {
        commit(&op);
        pt_revoke(pt, va, end);
        op_end(&op);
        pt_tell(pt, &(struct pt_gone){.kind = ASPACE_GONE_MOVED, .va = va, .end = end, .new_va = new_va});
    }
    op_fini(&op);
    return rc;
}
