/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The commit phase of range operations. Every node that is changed is locked by the operation, or private to it;
 * everything that can be needed is in op->pages and in the gather's reserve. Nothing here can fail.
 */
#include "pt/log.h"
#include "pt/op.h"
#include "pt/pins.h"
#include "pt/shares.h"

struct node *op_take_page(struct op *op)
{
    struct node *page = op->pages;
    ASSERT(page);
    op->pages = page->next;
    op->have--;
    page->next = NULL;
    return page;
}

void op_give_page(struct op *op, struct node *page)
{
    page->next = op->pages;
    op->pages = page;
    op->have++;
}

void op_set(struct op *op, struct node *n, unsigned lo, unsigned hi, value_t v)
{
    bool large = node_dense_order(op->F, n->level) != 0;
    struct node *dense = n->dense, **list = large ? &op->spill_root : &op->pages, *before = *list;
    node_set(n, lo, hi, v, list);
    if (dense && !n->dense) {
        *list = before; /* not to be reused at once: readers may still look at it */
        gather_page(&op->g, dense);
    } else if (!dense && n->dense && !large) {
        op->have--;
    }
}

/* Inside the section nothing can be deferred, so a record that dies becomes an item. */
void op_put_pages(struct op *op, struct area *area, uint64_t pages)
{
    if (area == op->put_area) {
        op->put_pages += pages;
        return;
    }
    if (op->put_area && area_take_pages(op->put_area, op->put_pages))
        gather_area(&op->g, op->put_area);
    op->put_area = area;
    op->put_pages = pages;
}

struct node *op_new_node(struct op *op, unsigned level)
{
    struct node *n = op_take_page(op);
    n->level = level & 15u;
    if (op->pt->quota_tables)
        op->quota--;
    COUNT(pt_this_cpu(op->pt)->tables, 1);
    return n;
}

void op_publish_table(struct op *op, struct node *n, unsigned i, const struct node *child)
{
    op_clean(op, node_slots(child), node_entries(op->F, child->level));
    slot_publish(node_slots(n) + i, fmt_table_entry(op->F, op->C, node_pa(child)));
    op_clean(op, node_slots(n) + i, 1);
}

static bool breaks(const struct op *op)
{
    return op->F->break_before_make && !(op->C->features & ASPACE_FEAT_BBML2);
}

/* ---------------------------------------------------------------------------------------------------- opening (T8) */

static void fill_split(struct op *op, struct node *child, uint64_t e)
{
    const struct fmt *F = op->F;
    unsigned level = child->level, end = node_entries(F, level);
    uint64_t *slots = node_slots(child), span = slot_span(F, level);
    if (slot_kind(F, level + 1, e) == SLOT_PARKED) {
        uint64_t pa = slot_parked_pa(F, e), state = e & SLOT_PARKED_STATE;
        for (unsigned k = 0; k < end; k++)
            slots[k] = slot_parked(F, op->C, level, pa + k * span, state);
        return;
    }
    uint64_t small = fmt_split(F, level + 1, e), step = fmt_addr_bits(F, span);
    for (unsigned k = 0; k < end; k++)
        slots[k] = small + k * step;
}

/* A leaf becomes a table of the same leaves. Hardware may set accessed or dirty until the exchange, hence the CAS;
 * where the leaf size must not change under a cached translation, break before make. */
static void split_leaf(struct op *op, struct node *n, unsigned i, struct node *child, aspace_va_t slot_va)
{
    uint64_t *slot = node_slots(n) + i, e = slot_load(slot);
    bool present = fmt_present(op->F, n->level, e);
    if (present)
        gather_flush_range(&op->g, slot_va, slot_va + slot_span(op->F, n->level), n->level, 1);
    if (present && breaks(op)) {
        e = slot_xchg(slot, op_busy(op, n->level));
        op_clean(op, slot, 1);
        gather_flush(&op->g);
        fill_split(op, child, e);
        op_publish_table(op, n, i, child);
    } else {
        uint64_t table = fmt_table_entry(op->F, op->C, node_pa(child));
        do {
            fill_split(op, child, e);
            op_clean(op, node_slots(child), node_entries(op->F, child->level));
        } while (!slot_cas(slot, &e, table));
        op_clean(op, slot, 1);
    }
    if (slot_soft(op->F, n->level, e) & SOFT_COUNTED)
        shares_split(op->pt->host, slot_frame(op->F, op->C, n->level, e, i), level_order(op->F, n->level));
    COUNT(pt_this_cpu(op->pt)->splits, 1);
}

/* R3 for a node that is born in the commit: no fault may change what the operation is about to. */
static void busy_in_range(struct op *op, struct node *child, aspace_va_t va)
{
    aspace_va_t end = va + ((uint64_t)node_entries(op->F, child->level) << op->F->shift[child->level]);
    aspace_va_t from = op->va > va ? op->va : va, to = op->end < end ? op->end : end;
    if (child->level)
        slots_fill(node_slots(child), slot_index(op->F, child->level, from),
                   slot_index(op->F, child->level, to - 1) + 1, op_busy(op, child->level));
}

struct node *op_open(struct op *op, struct node *n, unsigned i, aspace_va_t slot_va)
{
    struct node *child = op_new_node(op, n->level - 1u);
    unsigned end = node_entries(op->F, child->level);
    value_t v = node_value(n, i);
    uint64_t e = slot_load(node_slots(n) + i);
    op_lock_new(op, child);
    child->count = (uint16_t)end;
    child->n_segs = 1;
    child->segs[0] = (struct seg){0, (uint16_t)end, v};
    if (slot_kind(op->F, n->level, e) == SLOT_BUSY) {
        uint64_t how = area_how(value_area(op->pt->host, v));
        slots_fill(node_slots(child), 0, end, slot_armed(op->C, child->level, v, how));
        busy_in_range(op, child, slot_va);
        op_publish_table(op, n, i, child);
    } else {
        split_leaf(op, n, i, child, slot_va);
    }
    return child;
}

/* ------------------------------------------------------------------------------------------------ contiguous runs */

/* Members of a run must agree, so the whole run is absent in between. Hardware sets the flags of one member for any of
 * them: each gets those of all. */
void op_break_run(struct op *op, struct node *n, unsigned i, aspace_va_t slot_va)
{
    unsigned run = 1u << op->C->run_lg2, first = i & ~(run - 1);
    uint64_t *slots = node_slots(n), kept[16];
    ASSERT(run <= 16);
    aspace_va_t va = slot_va & ~(((uint64_t)run << 12) - 1);
    bool accessed = false, dirty = false;
    for (unsigned k = 0; k < run; k++) {
        kept[k] = slot_xchg(slots + first + k, op_busy(op, 0));
        accessed |= fmt_accessed(op->F, kept[k]);
        dirty |= fmt_dirty(op->F, kept[k]);
    }
    op_clean(op, slots + first, run);
    gather_flush_range(&op->g, va, va + ((uint64_t)run << 12), 0, run);
    gather_flush(&op->g);
    for (unsigned k = 0; k < run; k++)
        slot_publish(slots + first + k, fmt_with_ad(op->F, fmt_unrun(op->F, kept[k], first + k), accessed, dirty));
    op_clean(op, slots + first, run);
}

void op_break_runs(struct op *op, struct node *n, struct seg g, aspace_va_t va, unsigned all)
{
    unsigned run = 1u << op->C->run_lg2;
    if (run == 1)
        return;
    for (unsigned i = g.lo; i < g.hi; i = (i | (run - 1)) + 1) {
        bool whole = !(i & (run - 1)) && i + run <= g.hi;
        uint64_t e = slot_peek(node_slots(n) + i);
        if ((all || !whole) && fmt_present(op->F, 0, e) && fmt_in_run(op->F, e))
            op_break_run(op, n, i, va + ((uint64_t)(i - g.lo) << 12));
    }
}

/* ---------------------------------------------------------------------------------------------------------- unmap */

/* A page of the backend's. Whoever takes the pages of an object away asks at once whether they are dirty, all others
 * leave it to the release. */
struct given {
    unsigned level;
    uint64_t e;
    aspace_pa_t pa;
    aspace_va_t va;
};

static void give_back(struct op *op, const struct area *area, struct given p)
{
    bool dirty = area_page_dirty(op->F, area, p.level, p.e);
    unsigned how = level_order(op->F, p.level) | (dirty && !op->only ? GATHER_DIRTY : 0);
    op->dirty |= dirty;
    gather_custom(&op->g, area, p.va, p.pa, how);
}

/* Give up what a slot of an OWNED or CUSTOM area held. Returns the pages that the operation takes back: those of a
 * backend are taken back when it has been told. */
static uint64_t give_up(struct op *op, const struct node *n, unsigned i, uint64_t old, aspace_va_t va)
{
    const struct fmt *F = op->F;
    struct area *area = value_area(op->pt->host, node_value(n, i));
    unsigned order = level_order(F, n->level);
    bool present = fmt_present(F, n->level, old);
    if (!present && slot_absent_kind(old) != SLOT_PARKED)
        return 1ull << order;
    if (present)
        gather_flush_range(&op->g, va, va + slot_span(F, n->level), n->level, 1);
    aspace_pa_t pa = slot_frame(F, op->C, n->level, old, i);
    switch (area_frame_owner(area, slot_soft(F, n->level, old))) {
    case FRAME_BACKEND: give_back(op, area, (struct given){n->level, old, pa, va}); return 0;
    case FRAME_UNIQUE: gather_frame(&op->g, pa, order); break;
    case FRAME_COUNTED: gather_counted(&op->g, pa, order); break;
    case FRAME_BORROWED: return 1ull << order;
    }
    pt_account_frames(op->pt, -((int64_t)1 << order));
    return 1ull << order;
}

/* Borrowed frames, or none: nothing to look at but whether a TLB can hold them (R6). */
static void clear_plain(struct op *op, struct node *n, struct seg g, aspace_va_t va, const struct area *area)
{
    uint64_t *slots = node_slots(n), vacant = op_vacant(op, 0);
    for (unsigned i = g.lo; i < g.hi; i++)
        slot_store(slots + i, vacant);
    if (area->flags & AREA_LINEAR)
        gather_flush_range(&op->g, va, va + ((uint64_t)(g.hi - g.lo) << 12), 0, (uint64_t)(g.hi - g.lo));
}

static void unmap_leaf(struct op *op, struct node *n, aspace_va_t va, unsigned lo, unsigned hi)
{
    struct seg g = {0, 0, 0};
    uint64_t *slots = node_slots(n);
    bool any = false;
    for (unsigned i = lo; node_next_seg(n, i, hi, &g); i = g.hi) {
        struct area *area = value_area(op->pt->host, g.value);
        aspace_va_t seg_va = va + ((uint64_t)(g.lo - lo) << 12);
        uint64_t pages = (uint64_t)(g.hi - g.lo);
        op_break_runs(op, n, g, seg_va, 0);
        if (area->flags & (AREA_OWNED | AREA_CUSTOM)) {
            pages = 0;
            for (unsigned k = g.lo; k < g.hi; k++)
                pages +=
                    give_up(op, n, k, slot_xchg(slots + k, op_vacant(op, 0)), seg_va + ((uint64_t)(k - g.lo) << 12));
        } else {
            clear_plain(op, n, g, seg_va, area);
        }
        op_put_pages(op, area, pages);
        node_count_add(n, g.lo - g.hi);
        any = true;
    }
    if (any) {
        op_set(op, n, lo, hi, 0);
        op_clean(op, slots + lo, hi - lo);
    }
}

void op_flush_table(struct op *op, unsigned level, aspace_va_t va)
{
    aspace_va_t end = va + slot_span(op->F, level);
    gather_flush_range(&op->g, va, end, 0, (end - va) >> 12);
    op->g.max_lg2 = op->g.max_lg2 > op->F->shift[level] ? op->g.max_lg2 : op->F->shift[level];
    op->g.tables = true;
}

/* T6: the child and all below it are locked and doomed; faults that are in it may still fill its leaves, which the
 * harvest after the grace period finds. */
static void unlink_child(struct op *op, struct node *n, unsigned i, aspace_va_t va)
{
    struct node *child = pt_child(op->pt, slot_peek(node_slots(n) + i));
    slot_publish(node_slots(n) + i, op_vacant(op, n->level));
    op_flush_table(op, n->level, va);
    gather_table(&op->g, child, va);
    node_count_add(n, -1);
}

/* [va, end) is one whole slot. Returns whether it held anything. */
static bool unmap_whole(struct op *op, struct node *n, unsigned i, aspace_va_t va)
{
    uint64_t *slot = node_slots(n) + i, e = slot_peek(slot);
    switch (slot_kind(op->F, n->level, e)) {
    case SLOT_EMPTY: return false;
    case SLOT_TABLE:
        /* Another operation may have doomed a table that is not ours, and be waiting for locks below it. */
        if (op_owns(op, pt_child(op->pt, e)) && pt_child(op->pt, e)->doomed)
            unlink_child(op, n, i, va);
        else
            op_commit_unmap(op, pt_child(op->pt, e), va, va + slot_span(op->F, n->level));
        return true;
    default: {
        struct area *area = value_area(op->pt->host, node_value(n, i));
        op_put_pages(op, area, give_up(op, n, i, slot_xchg(slot, op_vacant(op, n->level)), va));
        node_count_add(n, -1);
        return true;
    }
    }
}

/* A stretch of whole slots from i on that hold leaves or markers of one area without frames of its own: as clear_plain,
 * at any level. Returns how many. */
static unsigned unmap_borrowed(struct op *op, struct node *n, unsigned i, aspace_va_t va, aspace_va_t end)
{
    const struct fmt *F = op->F;
    struct seg g = {0, 0, 0};
    unsigned whole = (unsigned)((end - va) >> F->shift[n->level]), room = node_entries(F, n->level) - i, k = 0;
    uint64_t *slots = node_slots(n) + i, vacant = op_vacant(op, n->level);
    enum slot_kind kind = slot_kind(F, n->level, slot_peek(slots));
    if (kind == SLOT_TABLE || kind == SLOT_EMPTY)
        return 0; /* the value may name a record that is gone */
    if (!node_next_seg(n, i, i + (whole < room ? whole : room), &g) || g.lo != i)
        return 0;
    struct area *area = value_area(op->pt->host, g.value);
    if (!(area->flags & AREA_STATIC))
        return 0;
    for (; k < (unsigned)(g.hi - g.lo); k++) {
        kind = slot_kind(F, n->level, slot_peek(slots + k));
        if (kind == SLOT_TABLE || kind == SLOT_EMPTY)
            break;
        slot_store(slots + k, vacant);
    }
    if (k && area->flags & AREA_LINEAR)
        gather_flush_range(&op->g, va, va + k * slot_span(F, n->level), n->level, k);
    op_put_pages(op, area, (uint64_t)k << level_order(F, n->level));
    node_count_add(n, -(int)k);
    return k;
}

static void unmap_part(struct op *op, struct node *n, unsigned i, aspace_va_t va, aspace_va_t end)
{
    uint64_t e = slot_peek(node_slots(n) + i);
    enum slot_kind kind = slot_kind(op->F, n->level, e);
    if (kind == SLOT_EMPTY)
        return;
    struct node *child =
        kind == SLOT_TABLE ? pt_child(op->pt, e) : op_open(op, n, i, va & ~(slot_span(op->F, n->level) - 1));
    op_commit_unmap(op, child, va, end);
}

void op_commit_unmap(struct op *op, struct node *n, aspace_va_t va, aspace_va_t end)
{
    unsigned lo = slot_index(op->F, n->level, va), hi = slot_index(op->F, n->level, end - 1) + 1;
    bool any = false;
    if (n->level == 0) {
        unmap_leaf(op, n, va, lo, hi);
        return;
    }
    for (unsigned i = lo; i < hi; i++) {
        aspace_va_t next = slot_clip(op->F, n->level, va, end);
        unsigned run = 0;
        if (!covers(op, n->level, va, next))
            unmap_part(op, n, i, va, next);
        else if (op_owns(op, n) && (run = unmap_borrowed(op, n, i, va, end)) != 0)
            any = true;
        else
            any |= unmap_whole(op, n, i, va);
        va = run ? va + run * slot_span(op->F, n->level) : next;
        i += run ? run - 1 : 0;
    }
    if (any && op_owns(op, n)) {
        op_set(op, n, lo, hi, 0);
        op_clean(op, node_slots(n) + lo, hi - lo);
    }
}

/* -------------------------------------------------------------------------------------------------------- protect */

uint64_t op_unpark(const struct op *op, const struct area *area, unsigned level, uint64_t e, uint32_t rights)
{
    uint64_t leaf = fmt_leaf(op->F, op->C, level, rights, area->attr) | fmt_addr_bits(op->F, slot_parked_pa(op->F, e));
    leaf = fmt_with_soft(op->F, leaf, slot_soft(op->F, level, e));
    return log_with_flags(op->pt, leaf, e & SLOT_PARKED_A, e & SLOT_PARKED_D);
}

/* What the slot becomes. A backend that mapped a page with fewer rights than the area allows is asked again at the
 * next fault, so rights are never added to its leaves. */
static uint64_t protected_slot(const struct op *op, const struct node *n, unsigned i, uint64_t e, value_t v)
{
    const struct area *area = value_area(op->pt->host, v);
    unsigned soft = slot_soft(op->F, n->level, e);
    uint32_t rights = area_leaf_rights(area, soft, VALUE_RIGHTS(v));
    bool backend = area_frame_owner(area, soft) == FRAME_BACKEND;
    switch (slot_kind(op->F, n->level, e)) {
    case SLOT_LEAF:
        if (backend)
            rights &= fmt_leaf_rights(op->F, op->C, e);
        rights = log_kept_rights(op->pt, n->level, e, rights);
        return rights ? fmt_with_rights(op->F, op->C, n->level, e, rights) : slot_park(op->F, op->C, n->level, e, i);
    case SLOT_PARKED:
        if (backend)
            rights &= SLOT_PARKED_RIGHTS(e);
        rights = log_new_rights(op->pt, rights);
        return rights ? op_unpark(op, area, n->level, e, rights) : e;
    default: /* ARMED, or BUSY by R3 */ return slot_armed(op->C, n->level, v, area_how(area));
    }
}

static uint32_t granted(const struct op *op, unsigned level, uint64_t e)
{
    return fmt_present(op->F, level, e) ? fmt_leaf_rights(op->F, op->C, e) : 0;
}

/* L2: rights that the new value v of a slot lacks, and that a TLB may have although the entry does not. */
static uint32_t hidden(const struct op *op, value_t old, value_t v)
{
    return log_may_hide(op->pt) ? VALUE_RIGHTS(old) & ~VALUE_RIGHTS(v) & ASPACE_W : 0;
}

/* Instructions are fetchable before the page is executable: another CPU may fetch as soon as the entry is there. A
 * fault or hardware's flags may change the entry meanwhile, but not the frame of a leaf. */
static void protect_slot(struct op *op, struct node *n, unsigned i, value_t v, aspace_va_t va)
{
    uint64_t *slot = node_slots(n) + i, e = slot_load(slot), new;
    uint32_t before, after, maybe = hidden(op, node_value(n, i), v);
    bool synced = false;
    do {
        new = protected_slot(op, n, i, e, v);
        if (new == e && !maybe)
            return;
        before = granted(op, n->level, e) | (fmt_present(op->F, n->level, e) ? maybe : 0);
        after = granted(op, n->level, new);
        if (after & ~before & ASPACE_X && !synced) {
            pt_sync_icache(op->pt, after, fmt_output(op->F, op->C, n->level, new, i), slot_span(op->F, n->level));
            synced = true;
        }
    } while (!slot_cas(slot, &e, new));
    if (before & ~after)
        gather_flush_range(&op->g, va, va + slot_span(op->F, n->level), n->level, 1);
}

/*
 * A stretch of present leaves of one area that are alike but for address, accessed and dirty: the same bits flipped in
 * each. By plain stores where no one but the lock's owner changes leaves (R6): without hardware accessed and dirty, or
 * where both are set already; else by CAS, as long as rights and those flags share no bit. Returns the slot at which it
 * stopped.
 */
static unsigned protect_alike(struct op *op, struct node *n, struct seg g, value_t v, aspace_va_t va)
{
    const struct area *area = value_area(op->pt->host, v);
    const struct fmt *F = op->F;
    uint64_t *slots = node_slots(n), e = slot_load(slots + g.lo), flags = 0;
    uint32_t rights = area_leaf_rights(area, slot_soft(F, 0, e), VALUE_RIGHTS(v));
    if (!rights || (area->flags & AREA_CUSTOM) || !fmt_present(F, 0, e))
        return g.lo;
    rights = log_kept_rights(op->pt, 0, e, rights);
    bool hardware = op->C->features & ASPACE_FEAT_AD;
    uint32_t before = fmt_leaf_rights(F, op->C, e);
    uint64_t flip = e ^ fmt_with_rights(F, op->C, 0, e, rights);
    if (hardware) {
        uint64_t clean = fmt_with_ad(F, e, false, false), used = fmt_with_ad(F, e, true, true);
        flags = clean ^ used;
        /* Arm tells writable and dirty by the same bits: what is flipped depends on the flags. */
        if ((clean ^ fmt_with_rights(F, op->C, 0, clean, rights)) !=
            (used ^ fmt_with_rights(F, op->C, 0, used, rights)))
            return g.lo;
    }
    if ((flip & flags) || (rights & ~before & ASPACE_X && op->pt->host->hal->icache_sync))
        return g.lo;
    uint64_t alike = ~fmt_addr_bits(F, fmt_address_mask(F, 0)) & ~flags, same = e & alike;
    unsigned i = g.lo;
    for (; i < g.hi; i++) {
        e = slot_load(slots + i);
        while ((e & alike) == same && (e & flags) != flags && !slot_cas(slots + i, &e, e ^ flip))
            continue;
        if ((e & alike) != same)
            break;
        if ((e & flags) == flags)
            slot_store(slots + i, e ^ flip);
    }
    if ((before | hidden(op, g.value, v)) & ~rights)
        gather_flush_range(&op->g, va, va + ((uint64_t)(i - g.lo) << 12), 0, (uint64_t)(i - g.lo));
    return i;
}

static void protect_leaf(struct op *op, struct node *n, aspace_va_t va, unsigned lo, unsigned hi)
{
    struct seg g = {0, 0, 0};
    for (unsigned i = lo; node_next_seg(n, i, hi, &g); i = g.hi) {
        value_t v = VALUE(VALUE_INDEX(g.value), op->rights);
        aspace_va_t seg_va = va + ((uint64_t)(g.lo - lo) << 12);
        if (v == g.value)
            continue;
        op_break_runs(op, n, g, seg_va, 1);
        for (unsigned k = g.lo; k < g.hi;) {
            aspace_va_t at = seg_va + ((uint64_t)(k - g.lo) << 12);
            unsigned to = protect_alike(op, n, (struct seg){(uint16_t)k, g.hi, g.value}, v, at);
            if (to == k)
                protect_slot(op, n, to++, v, at);
            k = to;
        }
        op_set(op, n, g.lo, g.hi, v);
    }
    op_clean(op, node_slots(n) + lo, hi - lo);
}

/* The values of a stretch of an upper node, TABLE slots included: theirs do not count, and passing over them would cut
 * the stretch into more segments than were planned for. */
static void protect_values(struct op *op, struct node *n, unsigned lo, unsigned hi)
{
    struct seg g = {0, 0, 0};
    for (unsigned i = lo; node_next_seg(n, i, hi, &g); i = g.hi)
        op_set(op, n, g.lo, g.hi, VALUE(VALUE_INDEX(g.value), op->rights));
}

void op_commit_protect(struct op *op, struct node *n, aspace_va_t va, aspace_va_t end)
{
    unsigned lo = slot_index(op->F, n->level, va), hi = slot_index(op->F, n->level, end - 1) + 1;
    if (n->level == 0) {
        protect_leaf(op, n, va, lo, hi);
        return;
    }
    for (unsigned i = lo; i < hi; i++) {
        aspace_va_t next = slot_clip(op->F, n->level, va, end);
        uint64_t e = slot_peek(node_slots(n) + i);
        if (slot_kind(op->F, n->level, e) == SLOT_TABLE) {
            op_commit_protect(op, pt_child(op->pt, e), va, next);
        } else if (covers(op, n->level, va, next)) {
            protect_slot(op, n, i, VALUE(VALUE_INDEX(node_value(n, i)), op->rights), va);
            op_clean(op, node_slots(n) + i, 1);
        } else {
            op_commit_protect(op, op_open(op, n, i, va & ~(slot_span(op->F, n->level) - 1)), va, next);
        }
        va = next;
    }
    if (op_owns(op, n))
        protect_values(op, n, lo, hi);
}

/* -------------------------------------------------------------------------------------------------------- discard */

/* Discard: is a page with these soft bits meant? */
static bool concerns(const struct op *op, const struct area *area, unsigned soft)
{
    if (op->only && area->index != op->only)
        return false;
    return !op->keeps_own || area_frame_owner(area, soft) == FRAME_BACKEND;
}

/* T11, first half: filled slots become BUSY until the flush is acknowledged. A pinned page stays; one that its object
 * takes back goes all the same, as by an unmap, and only the frame stays. */
static void discard_slot(struct op *op, struct node *n, unsigned i, aspace_va_t va)
{
    uint64_t *slot = node_slots(n) + i, e = slot_load(slot);
    enum slot_kind kind = slot_kind(op->F, n->level, e);
    if (kind != SLOT_LEAF && kind != SLOT_PARKED)
        return;
    struct area *area = value_area(op->pt->host, node_value(n, i));
    if (!(area->flags & (AREA_OWNED | AREA_CUSTOM)) || !concerns(op, area, slot_soft(op->F, n->level, e)))
        return;
    if (!op->only && pins_any(op->pt->host, slot_frame(op->F, op->C, n->level, e, i), level_order(op->F, n->level))) {
        op->pinned = true;
        return;
    }
    if (!give_up(op, n, i, slot_xchg(slot, op_busy(op, n->level)), va))
        area_keep_pages(area, 1ull << level_order(op->F, n->level));
    op_clean(op, slot, 1);
}

/* Whole ARMED slots of upper nodes are left to the faults. A fault may have filled one with a leaf meanwhile, which is
 * discarded with the rest, or with a table: what is in that is later than this discard, and not ours to touch. */
void op_commit_discard(struct op *op, struct node *n, aspace_va_t va, aspace_va_t end)
{
    bool mine = op_owns(op, n);
    unsigned lo = slot_index(op->F, n->level, va), hi = slot_index(op->F, n->level, end - 1) + 1;
    for (unsigned i = lo; i < hi; i++) {
        aspace_va_t next = slot_clip(op->F, n->level, va, end);
        uint64_t e = slot_load(node_slots(n) + i); /* maybe a table that a fault has just made */
        enum slot_kind kind = slot_kind(op->F, n->level, e);
        if (kind == SLOT_TABLE)
            op_commit_discard(op, pt_child(op->pt, e), va, next);
        else if (mine && covers(op, n->level, va, next))
            discard_slot(op, n, i, va);
        else if (mine && (kind == SLOT_LEAF || kind == SLOT_PARKED) &&
                 (value_area(op->pt->host, node_value(n, i))->flags & (AREA_OWNED | AREA_CUSTOM)))
            op_commit_discard(op, op_open(op, n, i, va & ~(slot_span(op->F, n->level) - 1)), va, next);
        va = next;
    }
}

/* T11, second half. */
void op_discard_rearm(struct op *op, struct node *n, aspace_va_t va, aspace_va_t end)
{
    bool mine = op_owns(op, n);
    unsigned lo = slot_index(op->F, n->level, va), hi = slot_index(op->F, n->level, end - 1) + 1;
    for (unsigned i = lo; i < hi; i++) {
        aspace_va_t next = slot_clip(op->F, n->level, va, end);
        uint64_t *slot = node_slots(n) + i, e = slot_load(slot);
        if (slot_kind(op->F, n->level, e) == SLOT_TABLE) {
            op_discard_rearm(op, pt_child(op->pt, e), va, next);
        } else if (mine && e == op_busy(op, n->level)) {
            value_t v = node_value(n, i);
            slot_publish(slot, slot_armed(op->C, n->level, v, area_how(value_area(op->pt->host, v))));
        }
        va = next;
    }
    op_clean(op, node_slots(n) + lo, hi - lo);
}
