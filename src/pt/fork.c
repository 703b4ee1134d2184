/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fork of a table. No lock is taken: behind the gate nobody but hardware, and the harvest of its flags, changes a slot
 * of the parent, and nobody else knows the child. Each frame is counted before its leaf loses the write right, and the
 * child's table is in order after every slot, so that it can be emptied as any other when memory is short.
 */
#include "pt/fork.h"
#include "pt/frames.h"
#include "pt/gate.h"
#include "pt/log.h"
#include "pt/pins.h"
#include "pt/range.h"
#include "pt/rmap.h"
#include "pt/shares.h"

#include <aspace/backend.h>
#include <aspace/watch.h>

/* Slots [lo, hi) of a table that map to one value, and the first address of slot lo. */
struct stretch {
    struct node *from, *to;
    unsigned lo, hi;
    aspace_va_t va;
    const struct area *area;
    struct area *twin;
    value_t value; /* in the child */
};

/* --------------------------------------------------------------------------------------------------------- records */

/* The backend, or the object, learns of the child's mapping. */
static int link_twin(struct pt_fork *f, const struct area *area, struct area *twin)
{
    if (area->flags & AREA_OBJECT)
        return rmap_clone(f->child, twin) ? ASPACE_E_OK : ASPACE_E_NO_MEMORY;
    if (area->backend && area->backend->forked)
        return area->backend->forked(area->ctx, area->id, twin->id);
    return ASPACE_E_OK;
}

/* It has a page more than the child until the fork is over: who goes through an object's areas must not pass it by, but
 * wait at the child's gate. */
static int make_twin(struct pt_fork *f, struct area *area)
{
    struct aspace_host *host = f->parent->host;
    struct area *twin = area_alloc(host);
    if (!twin)
        return ASPACE_E_NO_MEMORY;
    area_copy(twin, area);
    twin->id = area_new_id(host);
    twin->pages = 1;
    int rc = link_twin(f, area, twin);
    if (rc) {
        area_free(host, twin);
        return rc;
    }
    twin->next_dead = f->twins;
    f->twins = twin;
    twin->origin = area; /* until forget_twins: to the backend it is a mapping of its own */
    area->next_dead = twin;
    return ASPACE_E_OK;
}

/* One that was made for nothing ends here. */
static void forget_twins(struct pt_fork *f)
{
    while (f->twins) {
        struct area *twin = f->twins;
        f->twins = twin->next_dead;
        twin->origin->next_dead = NULL;
        twin->origin = twin->next_dead = NULL;
        area_put_pages(f->parent->host, twin, 1);
    }
}

/* ----------------------------------------------------------------------------------------------------------- slots */

/* The parent's leaf without the write right, and marked. Returns what it has become. */
static uint64_t protect(struct pt_fork *f, const struct stretch *s, unsigned i, uint64_t e)
{
    const struct pt *pt = f->parent;
    const struct fmt *F = pt->F;
    unsigned level = s->from->level;
    uint64_t *slot = node_slots(s->from) + i, new;
    uint32_t had;
    do {
        bool present = fmt_present(F, level, e);
        had = present ? fmt_leaf_rights(F, &pt->C, e) : 0;
        if (!present)
            new = (e & ~(3ull << SLOT_PARKED_SOFT_SHIFT)) | (uint64_t)SOFT_COUNTED << SLOT_PARKED_SOFT_SHIFT;
        else if (had & ~(uint32_t)ASPACE_W)
            new = fmt_with_soft(F, fmt_with_rights(F, &pt->C, level, e, had & ~(uint32_t)ASPACE_W), SOFT_COUNTED);
        else
            new = slot_park(F, &pt->C, level, fmt_with_soft(F, e, SOFT_COUNTED), i);
    } while (new != e && !slot_cas(slot, &e, new));
    if (had & ASPACE_W || log_may_hide(pt)) {
        f->took = true;
        aspace_va_t va = s->va + (i - s->lo) * slot_span(F, level);
        gather_flush_range(&f->g, va, va + slot_span(F, level), level, 1);
    }
    return new;
}

/* A frame of the child's own with the contents of the one in e, which nobody writes any more. */
static int copy_frame(struct pt_fork *f, unsigned level, value_t v, uint64_t *e, aspace_pa_t from)
{
    struct pt *pt = f->child;
    unsigned order = level_order(pt->F, level);
    aspace_pa_t to = pt_alloc_frame(pt, order, 0);
    if (to == ASPACE_PA_NONE)
        return ASPACE_E_NO_MEMORY;
    memcpy(aspace_phys_to_virt(to), aspace_phys_to_virt(from), slot_span(pt->F, level));
    pt_sync_icache(pt, VALUE_RIGHTS(v), to, slot_span(pt->F, level));
    *e = pt_with_frame(pt, level, v, *e, to);
    return ASPACE_E_OK;
}

/* A frame of the area's own: shared from now on. One that has as many mappings as can be counted is read-only already,
 * so that it can be copied at once. */
static int share_slot(struct pt_fork *f, const struct stretch *s, unsigned i, uint64_t e)
{
    unsigned level = s->from->level, order = level_order(f->child->F, level);
    aspace_pa_t pa = slot_frame(f->parent->F, &f->parent->C, level, e, i);
    if (!pt_account_frames(f->child, (int64_t)1 << order))
        return ASPACE_E_QUOTA;
    int rc = shares_prepare(f->parent->host, pa);
    if (rc == ASPACE_E_OK) {
        rc = shares_add(f->parent->host, pa, order);
        if (rc == ASPACE_E_OK)
            e = protect(f, s, i, e);
        else
            rc = copy_frame(f, level, s->value, &e, pa);
    }
    if (rc) {
        pt_account_frames(f->child, -((int64_t)1 << order));
        return rc;
    }
    f->copies |= s->area->fork == ASPACE_FORK_COPY || pins_any(f->parent->host, pa, order);
    slot_store(node_slots(s->to) + i, e);
    return ASPACE_E_OK;
}

/* The parent's own leaf, but for what a log withholds: each table has its own. */
static uint64_t borrowed_slot(const struct pt_fork *f, const struct stretch *s, uint64_t e)
{
    const struct pt *pt = f->child;
    uint32_t rights = log_new_rights(pt, area_leaf_rights(s->area, 0, VALUE_RIGHTS(s->value)));
    if (!fmt_present(pt->F, s->from->level, e) || rights == fmt_leaf_rights(pt->F, &pt->C, e))
        return e;
    return fmt_with_rights(pt->F, &pt->C, s->from->level, e, rights);
}

static int copy_slot(struct pt_fork *f, const struct stretch *s, unsigned i)
{
    const struct pt *pt = f->child;
    unsigned level = s->from->level;
    uint64_t e = slot_load(node_slots(s->from) + i), *to = node_slots(s->to) + i;
    bool filled = slot_kind(pt->F, level, e) != SLOT_ARMED;
    switch (filled ? area_frame_owner(s->area, slot_soft(pt->F, level, e)) : FRAME_BACKEND) {
    case FRAME_UNIQUE:
    case FRAME_COUNTED:
        if (s->area->fork != ASPACE_FORK_WIPE)
            return share_slot(f, s, i, e);
        break;
    case FRAME_BORROWED: slot_store(to, borrowed_slot(f, s, e)); return ASPACE_E_OK;
    case FRAME_BACKEND: break; /* the child's faults ask it for themselves */
    }
    slot_store(to, slot_armed(&pt->C, level, s->value, area_how(s->twin)));
    return ASPACE_E_OK;
}

/* ---------------------------------------------------------------------------------------------------------- tables */

static int take_spare(struct pt_fork *f, const struct node *n)
{
    unsigned order = node_dense_order(f->child->F, n->level);
    if (f->spare && f->spare->order != order) {
        pool_free(f->child->host, f->spare);
        f->spare = NULL;
    }
    if (!f->spare)
        f->spare = order ? pool_alloc_run(f->child->host, order) : pool_alloc(f->child->host);
    if (!f->spare)
        return ASPACE_E_NO_MEMORY;
    f->spare->order = order & 15u;
    f->spare->next = NULL;
    return ASPACE_E_OK;
}

/* Slots of one value. Those that were copied before memory ran out are entered in the child all the same. */
static int copy_stretch(struct pt_fork *f, struct stretch *s)
{
    struct area *area = value_area(f->parent->host, s->value);
    int rc = ASPACE_E_OK;
    if (area->fork == ASPACE_FORK_REFUSE)
        return ASPACE_E_PERMISSION;
    if (area->fork == ASPACE_FORK_DROP)
        return ASPACE_E_OK;
    if (!area->next_dead)
        rc = make_twin(f, area);
    if (rc)
        return rc;
    s->area = area;
    s->twin = area->next_dead;
    s->value = VALUE(s->twin->index, VALUE_RIGHTS(s->value));
    if (node_set_spills(s->to, s->lo, s->hi, s->value))
        rc = take_spare(f, s->to);
    unsigned i = s->lo;
    while (rc == ASPACE_E_OK && i < s->hi) {
        rc = copy_slot(f, s, i);
        i += rc == ASPACE_E_OK;
    }
    if (i == s->lo)
        return rc;
    node_set(s->to, s->lo, i, s->value, &f->spare);
    node_count_add(s->to, (int)(i - s->lo));
    seam_add(&s->twin->pages, (uint64_t)(i - s->lo) << level_order(f->child->F, s->to->level));
    return rc;
}

static int copy_leaf_table(struct pt_fork *f, struct node *from, struct node *to, aspace_va_t va)
{
    struct seg g = {0, 0, 0};
    int rc = ASPACE_E_OK;
    for (unsigned i = 0; rc == ASPACE_E_OK && node_next_seg(from, i, node_entries(f->child->F, 0), &g); i = g.hi) {
        struct stretch s = {.from = from, .to = to, .lo = g.lo, .hi = g.hi, .value = g.value};
        s.va = va + ((uint64_t)g.lo << 12);
        rc = copy_stretch(f, &s);
    }
    return rc;
}

/* The child's table below slot i, made if it is not there. */
static int child_table(struct pt_fork *f, struct node *to, unsigned i, struct node **below)
{
    struct pt *pt = f->child;
    uint64_t *slot = node_slots(to) + i, e = slot_load(slot);
    if (slot_kind(pt->F, to->level, e) == SLOT_TABLE) {
        *below = pt_child(pt, e);
        return ASPACE_E_OK;
    }
    if (!pt_account_tables(pt, 1))
        return ASPACE_E_QUOTA;
    struct node *n = pool_alloc(pt->host);
    if (!n) {
        pt_account_tables(pt, -1);
        return ASPACE_E_NO_MEMORY;
    }
    n->level = (to->level - 1u) & 15u;
    slots_fill(node_slots(n), 0, node_entries(pt->F, n->level), slot_empty(&pt->C, n->level));
    slot_publish(slot, fmt_table_entry(pt->F, &pt->C, node_pa(n)));
    node_count_add(to, 1);
    *below = n;
    return ASPACE_E_OK;
}

static bool has_own_frame(const struct pt_fork *f, const struct node *n, unsigned i, uint64_t e)
{
    const struct pt *pt = f->parent;
    enum slot_kind kind = slot_kind(pt->F, n->level, e);
    if (kind != SLOT_LEAF && kind != SLOT_PARKED)
        return false;
    enum frame_owner owner = area_frame_owner(value_area(pt->host, node_value(n, i)), slot_soft(pt->F, n->level, e));
    return owner == FRAME_UNIQUE || owner == FRAME_COUNTED;
}

static void clean(const struct pt *pt, const struct node *n)
{
    pt_clean(pt, node_slots(n), 4096u << n->order);
}

/* Counts are kept for runs of one size beside pages: larger leaves are split first. */
static int copy_upper_slot(struct pt_fork *f, struct node *from, struct node *to, unsigned i, aspace_va_t va)
{
    uint64_t e = slot_load(node_slots(from) + i);
    if (from->level > 1 && has_own_frame(f, from, i, e))
        return pt_split(f->parent, va);
    struct stretch s = {.from = from, .to = to, .lo = i, .hi = i + 1, .va = va, .value = node_value(from, i)};
    return copy_stretch(f, &s);
}

/* Bounded: one call a level. */
static int copy_table(struct pt_fork *f, struct node *from, struct node *to, aspace_va_t va, size_t *budget)
{
    const struct fmt *F = f->child->F;
    unsigned i = f->next > va ? slot_index(F, from->level, f->next) : 0, end = node_entries(F, from->level);
    int rc = from->level ? ASPACE_E_OK : copy_leaf_table(f, from, to, va);
    va += (uint64_t)i << F->shift[from->level];
    while (from->level && rc == ASPACE_E_OK && i < end) {
        uint64_t e = slot_load(node_slots(from) + i);
        enum slot_kind kind = slot_kind(F, from->level, e);
        if (!*budget) {
            rc = ASPACE_E_MORE; /* what this table has lost is cleaned below: the fork may end here */
            break;
        }
        if (kind == SLOT_TABLE) {
            struct node *below;
            rc = child_table(f, to, i, &below);
            if (rc == ASPACE_E_OK)
                rc = copy_table(f, pt_child(f->parent, e), below, va, budget);
        } else if (kind != SLOT_EMPTY) {
            rc = copy_upper_slot(f, from, to, i, va);
            if (slot_kind(F, from->level, slot_load(node_slots(from) + i)) == SLOT_TABLE)
                continue; /* it was split */
        }
        i += rc == ASPACE_E_OK;
        va += rc == ASPACE_E_OK ? slot_span(F, from->level) : 0;
        f->next = rc == ASPACE_E_OK ? va : f->next;
    }
    *budget -= rc == ASPACE_E_OK && *budget;
    clean(f->parent, from);
    clean(f->child, to);
    return rc;
}

/* ------------------------------------------------------------------------------------- pages that are to be copied */

/* Of a fork that failed: as if it had never been filled. No grace period, since nobody has read in the child. */
static void unfill(struct pt_fork *f, unsigned level, value_t v, uint64_t *e)
{
    struct pt *pt = f->child;
    *e = slot_armed(&pt->C, level, v, area_how(value_area(pt->host, v)));
    pt_account_frames(pt, -((int64_t)1 << level_order(pt->F, level)));
}

static int unshare_slot(struct pt_fork *f, struct node *n, unsigned i)
{
    struct pt *pt = f->child;
    uint64_t *slot = node_slots(n) + i, e = slot_load(slot);
    enum slot_kind kind = slot_kind(pt->F, n->level, e);
    if ((kind != SLOT_LEAF && kind != SLOT_PARKED) || !(slot_soft(pt->F, n->level, e) & SOFT_COUNTED))
        return ASPACE_E_OK;
    value_t v = node_value(n, i);
    aspace_pa_t pa = slot_frame(pt->F, &pt->C, n->level, e, i);
    if (value_area(pt->host, v)->fork != ASPACE_FORK_COPY && !pins_any(pt->host, pa, level_order(pt->F, n->level)))
        return ASPACE_E_OK;
    int rc = ASPACE_E_OK;
    if (f->failed)
        unfill(f, n->level, v, &e);
    else
        rc = copy_frame(f, n->level, v, &e, pa);
    if (rc == ASPACE_E_OK) {
        slot_store(slot, e);
        shares_drop(pt->host, pa, level_order(pt->F, n->level));
    }
    return rc;
}

/* Bounded: one call a level. */
static int unshare_table(struct pt_fork *f, struct node *n, aspace_va_t va, size_t *budget)
{
    const struct fmt *F = f->child->F;
    unsigned i = f->next > va ? slot_index(F, n->level, f->next) : 0, end = node_entries(F, n->level);
    va += (uint64_t)i << F->shift[n->level];
    for (; i < end; i++, va += slot_span(F, n->level)) {
        uint64_t e = slot_load(node_slots(n) + i);
        bool table = slot_kind(F, n->level, e) == SLOT_TABLE;
        if (!*budget)
            return ASPACE_E_MORE;
        int rc = table ? unshare_table(f, pt_child(f->child, e), va, budget) : unshare_slot(f, n, i);
        if (rc)
            return rc;
        f->next = n->level ? va + slot_span(F, n->level) : f->next;
    }
    *budget -= *budget != 0; /* the last child may have used it up */
    clean(f->child, n);
    return ASPACE_E_OK;
}

/* ----------------------------------------------------------------------------------------------------- from outside */

int pt_fork_begin(struct pt_fork *f, struct pt *parent, struct pt *child)
{
    if (!gate_raise(parent))
        return ASPACE_E_BUSY;
    gate_let(child); /* nobody uses it but, through an object, who takes pages back */
    f->parent = parent;
    f->child = child;
    f->next = 0;
    f->twins = NULL;
    f->spare = NULL;
    f->took = f->copies = f->frozen = f->failed = false;
    gather_init(&f->g, parent);
    return ASPACE_E_OK;
}

static int step(struct pt_fork *f, size_t *budget)
{
    int rc = ASPACE_E_OK;
    if (!f->frozen) {
        rc = copy_table(f, f->parent->root, f->child->root, 0, budget);
        if (rc)
            return rc;
        pt_sync_walkers(f->parent, f->parent->root_slots, sizeof *f->parent->root_slots);
        gather_flush(&f->g);
        f->frozen = true;
        f->next = 0;
    }
    return f->copies ? unshare_table(f, f->child->root, 0, budget) : ASPACE_E_OK;
}

int pt_fork_step(struct pt_fork *f, size_t *budget)
{
    gate_hold(f->parent);
    int rc = step(f, budget);
    gate_let(f->parent);
    return rc;
}

/* A page that a device uses is the parent's alone again before the parent goes on: else its next write would copy the
 * page, and leave the device with the old frame. */
static void let_pinned_go(struct pt_fork *f)
{
    size_t budget = SIZE_MAX;
    f->failed = true;
    f->next = 0;
    (void)unshare_table(f, f->child->root, 0, &budget);
}

/* What the child had is counted no more when the caller goes on: the parent takes its pages back without a copy, and
 * who tries again for want of memory finds what any CPU had deferred. Not behind the gate: what is released may be
 * somebody's who changes the parent. */
static void release_child(const struct pt *child)
{
    struct aspace_host *host = child->host;
    limbo_drain_all(host);
    smr_wait(host, smr_goal(host));
    limbo_drain_all(host);
}

void pt_fork_end(struct pt_fork *f, int rc)
{
    struct pt *child = f->child;
    bool failed = rc != ASPACE_E_OK;
    gather_flush(&f->g);
    gather_finish(&f->g);
    if (failed && f->copies)
        let_pinned_go(f);
    forget_twins(f); /* first: those whose last page goes with the child are on a list of their own then */
    gate_hold(child);
    if (failed && child->root->count)
        rc = pt_unmap(child, 0, pt_limit(child));
    if (f->spare)
        pool_free(child->host, f->spare);
    gate_lower(child);
    gate_lower(f->parent);
    if (failed)
        release_child(child);
    if (f->took)
        pt_tell(f->parent, &(struct pt_gone){.kind = ASPACE_GONE_PROTECTED,
                                             .va = f->parent->base,
                                             .end = f->parent->end,
                                             .rights = ASPACE_RX | ASPACE_U});
}
