/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Operations on one leaf or one table: migrate, split, collapse, and the sweep of empty tables. They use the machinery
 * of range operations for locks, preparation and release.
 */
#include "pt/frames.h"
#include "pt/gate.h"
#include "pt/log.h"
#include "pt/op.h"
#include "pt/pins.h"

/* The node whose slot for va is not TABLE, or is at level `stop`. Not locked; inside the section. No descriptor is read
 * on the way. */
static struct node *find_node(const struct pt *pt, aspace_va_t va, unsigned stop)
{
    struct node *n = pt->root;
    for (unsigned level = pt->top; level > stop; level--) {
        uint64_t e = slot_load(node_slots(n) + slot_index(pt->F, level, va));
        if (slot_kind(pt->F, level, e) != SLOT_TABLE)
            break;
        n = pt_child(pt, e);
    }
    return n;
}

struct node *op_lock_leaf(struct op *op, aspace_va_t va)
{
    for (;;) {
        struct node *n = find_node(op->pt, va, 0);
        op_lock(op, n);
        uint64_t e = slot_load(node_slots(n) + slot_index(op->F, n->level, va));
        if (!n->stale && (!n->level || slot_kind(op->F, n->level, e) != SLOT_TABLE))
            return n;
        op_unlock_all(op);
        aspace_pause();
    }
}

/* ---------------------------------------------------------------------------------------------------------- split */

static int split_prepared(struct op *op, aspace_va_t va)
{
    const struct fmt *F = op->F;
    struct node *n = op_lock_leaf(op, va);
    unsigned i = slot_index(F, n->level, va);
    enum slot_kind kind = slot_kind(F, n->level, slot_load(node_slots(n) + i));
    if (kind != SLOT_LEAF && kind != SLOT_PARKED)
        return ASPACE_E_NOT_MAPPED;
    if (n->level)
        op_open(op, n, i, va & ~(slot_span(F, n->level) - 1));
    return ASPACE_E_OK;
}

static void split_begin(struct op *op, struct pt *pt, aspace_va_t va)
{
    op_init(op, pt, OP_PROTECT, va, va + 1);
    op->need = 1;
    op->tables = 1;
    op->words = 0;
    op->need_spill_root = false;
}

int pt_split(struct pt *pt, aspace_va_t va)
{
    struct op op;
    split_begin(&op, pt, va);
    int rc = op_prepare(&op);
    if (rc == ASPACE_E_OK) {
        gate_enter(pt);
        rc = split_prepared(&op, va);
        op_end(&op);
    }
    op_fini(&op);
    return rc;
}

int pt_split_in_fault(struct pt *pt, aspace_va_t va)
{
    struct op op;
    split_begin(&op, pt, va);
    op.in_fault = true;
    int rc = op_prepare(&op);
    if (rc == ASPACE_E_OK) {
        smr_enter(pt->host);
        if (gate_is_open(pt))
            rc = split_prepared(&op, va);
        op_end(&op);
    }
    op_fini(&op);
    return rc;
}

/* -------------------------------------------------------------------------------------------------------- migrate */

/* Does a device use a frame of the LEAF or PARKED entry e? Under the lock it stays so. */
static bool is_pinned(const struct op *op, const struct node *n, unsigned i, uint64_t e)
{
    return pins_any(op->pt->host, slot_frame(op->F, op->C, n->level, e, i), level_order(op->F, n->level));
}

/* T7 without sharing: the leaf is absent (BUSY) from before the copy until after the flush, so that no write can go to
 * the old frame once it has been copied. */
static int move_page(struct op *op, struct node *n, aspace_va_t va, aspace_pa_t new_pa)
{
    const struct fmt *F = op->F;
    unsigned i = slot_index(F, n->level, va);
    uint64_t *slot = node_slots(n) + i, e = slot_load(slot), span = slot_span(F, n->level);
    enum slot_kind kind = slot_kind(F, n->level, e);
    if (kind != SLOT_LEAF && kind != SLOT_PARKED)
        return ASPACE_E_NOT_MAPPED;
    enum frame_owner owner = area_frame_owner(value_area(op->pt->host, node_value(n, i)), slot_soft(F, n->level, e));
    if (owner != FRAME_UNIQUE && owner != FRAME_COUNTED)
        return ASPACE_E_UNSUPPORTED;
    if (is_pinned(op, n, i, e))
        return ASPACE_E_BUSY;
    e = slot_xchg(slot, op_busy(op, n->level));
    op_clean(op, slot, 1);
    bool present = fmt_present(F, n->level, e);
    aspace_pa_t old = slot_frame(F, op->C, n->level, e, i);
    if (present)
        gather_flush_range(&op->g, va & ~(span - 1), (va & ~(span - 1)) + span, n->level, 1);
    gather_flush(&op->g);
    memcpy(aspace_phys_to_virt(new_pa), aspace_phys_to_virt(old), span);
    pt_sync_icache(op->pt, VALUE_RIGHTS(node_value(n, i)), new_pa, span);
    slot_publish(slot, pt_with_frame(op->pt, n->level, node_value(n, i), e, new_pa));
    op_clean(op, slot, 1);
    gather_owned(&op->g, slot_soft(F, n->level, e), old, level_order(F, n->level));
    COUNT(pt_this_cpu(op->pt)->migrations, 1);
    return ASPACE_E_OK;
}

/* The size of the leaf is known only under the lock, so look, allocate, and look again. */
int pt_migrate(struct pt *pt, aspace_va_t va, aspace_pa_t new_pa)
{
    const struct aspace_hal *hal = pt->host->hal;
    for (;;) {
        struct op op;
        smr_enter(pt->host);
        struct node *seen = find_node(pt, va, 0);
        unsigned level = seen->level, order = level_order(pt->F, level);
        enum slot_kind kind = slot_kind(pt->F, level, slot_load(node_slots(seen) + slot_index(pt->F, level, va)));
        smr_leave(pt->host);
        if (kind == SLOT_BUSY || kind == SLOT_TABLE) { /* in an operation's hand, or opened since the walk */
            aspace_pause();
            continue;
        }
        if (kind != SLOT_LEAF && kind != SLOT_PARKED)
            return ASPACE_E_NOT_MAPPED;
        if (new_pa != ASPACE_PA_NONE && level)
            return ASPACE_E_UNSUPPORTED; /* the caller's frame is one page, whatever its address is aligned to */
        aspace_pa_t frame = new_pa;
        if (frame == ASPACE_PA_NONE)
            frame = pt_alloc_frame(pt, order, 0);
        if (frame == ASPACE_PA_NONE)
            return ASPACE_E_NO_MEMORY;
        op_init(&op, pt, OP_PROTECT, va, va + 1);
        gate_enter(pt);
        struct node *n = op_lock_leaf(&op, va);
        int rc = n->level == level ? move_page(&op, n, va, frame) : ASPACE_E_RETRY;
        op_end(&op);
        op.va = va & ~(slot_span(pt->F, level) - 1);
        op.end = op.va + slot_span(pt->F, level);
        if (rc == ASPACE_E_OK)
            op_tell(&op, ASPACE_GONE_FRAME);
        op_fini(&op);
        if (rc != ASPACE_E_OK && new_pa == ASPACE_PA_NONE)
            hal->free(pt->host->ctx, frame, order);
        if (rc != ASPACE_E_RETRY)
            return rc;
    }
}

/* ------------------------------------------------------------------------------------------------------- collapse */

struct collapse {
    struct node *parent, *child;
    unsigned i; /* slot of the parent */
    value_t value;
    struct area *area;
    aspace_va_t va;  /* of the huge page */
    aspace_pa_t pa;  /* of the huge frame */
    int64_t charged; /* pages of it that are accounted for and were not filled before */
};

/* What is there is no table. */
static int not_small(enum slot_kind kind)
{
    return kind == SLOT_EMPTY ? ASPACE_E_NOT_MAPPED : ASPACE_E_UNSUPPORTED;
}

/* Parent and child locked, in this order; or RETRY. */
static int lock_pair(struct op *op, struct collapse *c, unsigned level)
{
    struct pt *pt = op->pt;
    struct node *n = find_node(pt, c->va, level);
    op_lock(op, n);
    if (n->stale)
        return ASPACE_E_RETRY;
    if (n->level != level) { /* nothing smaller than the level is there, or was when an operation had it in hand */
        uint64_t upper = slot_load(node_slots(n) + slot_index(pt->F, n->level, c->va));
        enum slot_kind kind = slot_kind(pt->F, n->level, upper);
        return kind == SLOT_TABLE ? ASPACE_E_RETRY : not_small(kind);
    }
    c->parent = n;
    c->i = slot_index(pt->F, level, c->va);
    uint64_t e = slot_load(node_slots(n) + c->i);
    if (slot_kind(pt->F, level, e) != SLOT_TABLE)
        return not_small(slot_kind(pt->F, level, e));
    c->child = pt_child(pt, e);
    op_lock(op, c->child);
    return ASPACE_E_OK;
}

/* One area, one protection, leaves only. */
static int check_uniform(struct op *op, struct collapse *c)
{
    const struct fmt *F = op->F;
    unsigned end = node_entries(F, c->child->level);
    struct seg g = {0, 0, 0};
    if (!node_next_seg(c->child, 0, end, &g))
        return ASPACE_E_NOT_MAPPED;
    if (g.lo != 0 || g.hi != end)
        return ASPACE_E_UNSUPPORTED;
    for (unsigned i = 0; c->child->level && i < end; i++)
        if (slot_kind(F, c->child->level, slot_load(node_slots(c->child) + i)) == SLOT_TABLE)
            return ASPACE_E_UNSUPPORTED;
    c->value = g.value;
    c->area = value_area(op->pt->host, g.value);
    return VALUE_RIGHTS(g.value) ? ASPACE_E_OK : ASPACE_E_UNSUPPORTED;
}

/* A fault may fill a page of the child meanwhile, but nobody pins one. */
static bool any_pinned(const struct op *op, const struct node *child)
{
    unsigned end = pins_exist(op->pt->host) ? node_entries(op->F, child->level) : 0;
    for (unsigned i = 0; i < end; i++) {
        uint64_t e = slot_load(node_slots(child) + i);
        enum slot_kind kind = slot_kind(op->F, child->level, e);
        if ((kind == SLOT_LEAF || kind == SLOT_PARKED) && is_pinned(op, child, i, e))
            return true;
    }
    return false;
}

/* What is not filled yet counts from now on. Faults may fill some of it meanwhile, but nobody empties a slot. */
static bool charge_unfilled(const struct op *op, struct collapse *c)
{
    const struct fmt *F = op->F;
    unsigned level = c->child->level, n = 0;
    for (unsigned i = 0; i < node_entries(F, level); i++)
        n += slot_kind(F, level, slot_load(node_slots(c->child) + i)) == SLOT_ARMED;
    c->charged = (int64_t)n << level_order(F, level);
    return pt_account_frames(op->pt, c->charged);
}

/* Unlink the child, whose values have passed to the parent. */
static void drop_child(struct op *op, struct collapse *c)
{
    struct node *child = c->child;
    if (child->dense)
        gather_page(&op->g, child->dense);
    seam_store(&child->dense, NULL);
    seam_store(&child->n_segs, 0);
    child->doomed = 1;
    op_clean(op, node_slots(c->parent) + c->i, 1); /* the caller has made it BUSY */
    op->g.tables = true;
    gather_table(&op->g, child, c->va);
    gather_flush_range(&op->g, c->va, c->va + slot_span(op->F, c->parent->level), child->level,
                       node_entries(op->F, child->level));
}

static void install_huge(struct op *op, struct collapse *c, bool accessed, bool dirty)
{
    unsigned level = c->parent->level;
    uint32_t rights = log_new_rights(op->pt, area_leaf_rights(c->area, 0, VALUE_RIGHTS(c->value)));
    uint64_t leaf = fmt_leaf(op->F, op->C, level, rights, c->area->attr) | fmt_addr_bits(op->F, c->pa);
    leaf = log_with_flags(op->pt, leaf, accessed, dirty);
    op_set(op, c->parent, c->i, c->i + 1, c->value);
    slot_publish(node_slots(c->parent) + c->i, leaf);
    op_clean(op, node_slots(c->parent) + c->i, 1);
    COUNT(pt_this_cpu(op->pt)->collapses, 1);
}

/* Already contiguous: only the tables change. */
static int collapse_linear(struct op *op, struct collapse *c)
{
    aspace_pa_t pa = c->area->pa + (c->va - c->area->va_base);
    unsigned level = c->parent->level;
    bool accessed = false, dirty = false;
    if (pa & (slot_span(op->F, level) - 1))
        return ASPACE_E_UNSUPPORTED;
    slot_store(node_slots(c->parent) + c->i, op_busy(op, level));
    for (unsigned k = 0; k < node_entries(op->F, c->child->level); k++) {
        uint64_t e = slot_xchg(node_slots(c->child) + k, op_busy(op, c->child->level));
        accessed |= fmt_accessed(op->F, e);
        dirty |= fmt_dirty(op->F, e);
    }
    drop_child(op, c);
    gather_flush(&op->g);
    c->pa = pa;
    install_huge(op, c, accessed, dirty);
    return ASPACE_E_OK;
}

/* T9: every slot of the child is exchanged to BUSY, so that lock-free faults and hardware are out; flush; then copy.
 * What the slots were is kept in a page of the operation's own: a lookup in the child must find nothing but BUSY. */
static int collapse_owned(struct op *op, struct collapse *c)
{
    const struct fmt *F = op->F;
    unsigned level = c->child->level, end = node_entries(F, level), order = level_order(F, level);
    struct node *page = op_take_page(op);
    uint64_t *slots = node_slots(c->child), *kept = node_slots(page), span = slot_span(F, level);
    bool accessed = false, dirty = false;
    char *to = aspace_phys_to_virt(c->pa);
    slot_store(node_slots(c->parent) + c->i, op_busy(op, c->parent->level));
    for (unsigned k = 0; k < end; k++) {
        uint64_t e = slot_xchg(slots + k, op_busy(op, level));
        kept[k] = fmt_present(F, level, e) ? slot_park(F, op->C, level, e, k) : e;
    }
    drop_child(op, c);
    gather_flush(&op->g);
    for (unsigned k = 0; k < end; k++) {
        uint64_t e = kept[k];
        if (slot_absent_kind(e) != SLOT_PARKED) {
            memset(to + k * span, 0, span);
            c->charged -= (int64_t)1 << order;
            continue;
        }
        memcpy(to + k * span, aspace_phys_to_virt(slot_parked_pa(F, e)), span);
        accessed |= (e & SLOT_PARKED_A) != 0;
        dirty |= (e & SLOT_PARKED_D) != 0;
        gather_owned(&op->g, slot_soft(F, level, e), slot_parked_pa(F, e), order);
    }
    pt_account_frames(op->pt, -c->charged); /* what faults have filled, and paid for */
    pt_sync_icache(op->pt, VALUE_RIGHTS(c->value), c->pa, slot_span(F, c->parent->level));
    op_give_page(op, page);
    install_huge(op, c, accessed, dirty);
    return ASPACE_E_OK;
}

static int collapse_locked(struct op *op, struct collapse *c, unsigned level)
{
    int rc = lock_pair(op, c, level);
    if (rc == ASPACE_E_OK)
        rc = check_uniform(op, c);
    if (rc)
        return rc;
    if (c->area->flags & AREA_LINEAR)
        return collapse_linear(op, c);
    if (!(c->area->flags & AREA_OWNED) || level > op->pt->max_frame_level)
        return ASPACE_E_UNSUPPORTED;
    if (any_pinned(op, c->child))
        return ASPACE_E_BUSY;
    if (c->pa == ASPACE_PA_NONE)
        return ASPACE_E_NO_MEMORY;
    return charge_unfilled(op, c) ? collapse_owned(op, c) : ASPACE_E_QUOTA;
}

int pt_collapse(struct pt *pt, aspace_va_t va, unsigned level)
{
    const struct aspace_hal *hal = pt->host->hal;
    unsigned order = level_order(pt->F, level);
    struct collapse c = {.va = va & ~(slot_span(pt->F, level) - 1)};
    aspace_pa_t frame = level <= pt->max_frame_level ? pt_alloc_frame(pt, order, 0) : ASPACE_PA_NONE;
    int rc;
    do {
        struct op op;
        op_init(&op, pt, OP_PROTECT, c.va, c.va + slot_span(pt->F, level));
        op.need = 2; /* a dense page for the parent, and one for what the child's slots were */
        op.tables = 0;
        op.words = node_entries(pt->F, level - 1) + GATHER_WORDS + 2;
        op.need_spill_root = node_dense_order(pt->F, level) != 0;
        rc = op_prepare(&op);
        if (rc == ASPACE_E_OK) {
            gate_enter(pt);
            c.pa = frame;
            rc = collapse_locked(&op, &c, level);
            bool used = rc == ASPACE_E_OK && c.area->flags & AREA_OWNED;
            if (used)
                frame = ASPACE_PA_NONE;
            op_end(&op);
            if (used)
                op_tell(&op, ASPACE_GONE_FRAME);
        }
        op_fini(&op);
    } while (rc == ASPACE_E_RETRY);
    if (frame != ASPACE_PA_NONE)
        hal->free(pt->host->ctx, frame, order);
    return rc;
}

/* ---------------------------------------------------------------------------------------------------------- sweep */

/* Unlink child i of n if it holds nothing: both are locked, parent first. */
static bool sweep_child(struct op *op, struct node *n, aspace_va_t va)
{
    unsigned i = slot_index(op->F, n->level, va);
    op_lock(op, n);
    uint64_t e = slot_load(node_slots(n) + i);
    if (n->stale || slot_kind(op->F, n->level, e) != SLOT_TABLE)
        return false;
    struct node *child = pt_child(op->pt, e);
    op_lock(op, child);
    if (child->count)
        return false;
    child->doomed = 1;
    op_set(op, n, i, i + 1, 0);
    slot_publish(node_slots(n) + i, slot_empty(op->C, n->level));
    op_clean(op, node_slots(n) + i, 1);
    node_count_add(n, -1);
    gather_flush_range(&op->g, va, va + slot_span(op->F, n->level), child->level, 1);
    op->g.tables = true;
    gather_table(&op->g, child, va);
    return true;
}

/* One candidate: the parent that find_node gave, still valid if not stale when locked. The range is all that the table
 * translates: its own flush goes in steps of its slots, so it does not stand for one that is under way below (R7). */
static bool sweep_one(struct pt *pt, aspace_va_t va, unsigned level)
{
    struct op op;
    bool done = false;
    op_init(&op, pt, OP_UNMAP, va, va + slot_span(pt->F, level));
    op.need = 1;
    op.tables = 0;
    op.words = GATHER_WORDS + 2;
    op.need_spill_root = node_dense_order(pt->F, level) != 0;
    if (op_prepare(&op) == ASPACE_E_OK) {
        gate_enter(pt);
        struct node *n = find_node(pt, va, level);
        done = n->level == level && sweep_child(&op, n, va);
        op_end(&op);
    }
    op_fini(&op);
    return done;
}

/* The first table at or after *va that is empty, children before parents; its parent's level, 0 if none. */
static unsigned find_empty(struct pt *pt, aspace_va_t *va, aspace_va_t end, size_t *budget)
{
    const struct fmt *F = pt->F;
    while (*va < end && *budget) {
        struct node *n = pt->root;
        unsigned skip = n->level;
        (*budget)--;
        for (;;) {
            uint64_t e = slot_load(node_slots(n) + slot_index(F, n->level, *va));
            skip = n->level;
            if (!n->level || slot_kind(F, n->level, e) != SLOT_TABLE)
                break;
            struct node *child = pt_child(pt, e);
            if (!seam_load(&child->count))
                return n->level;
            n = child;
        }
        *va = (*va | (slot_span(F, skip ? skip : 1) - 1)) + 1;
    }
    return 0;
}

size_t pt_sweep(struct pt *pt, aspace_va_t *next_va, size_t budget)
{
    size_t reclaimed = 0;
    while (budget) {
        smr_enter(pt->host);
        unsigned level = find_empty(pt, next_va, pt->end, &budget);
        smr_leave(pt->host);
        if (level) {
            aspace_va_t va = *next_va & ~(slot_span(pt->F, level) - 1);
            if (sweep_one(pt, va, level)) {
                reclaimed++; /* the parent may be empty now: look at the same address again */
                continue;
            }
            *next_va = va + slot_span(pt->F, level);
        }
        if (*next_va >= pt->end) {
            *next_va = pt->base;
            break;
        }
    }
    return reclaimed;
}
