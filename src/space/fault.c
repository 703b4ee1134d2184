/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Faults. The common one, a first touch of a 4 KiB page of a zero-filled area whose table is there, is one walk, one
 * frame and one compare-and-swap (T1), specialised by format; everything else takes the general path below, which is
 * as lock-free but reads the area's record. Owns the verdicts; must not know an entry's bits.
 */
#include <aspace/backend.h>

#include "pt/frames.h"
#include "pt/gate.h"
#include "pt/log.h"
#include "pt/pool.h"
#include "pt/walk.h"
#include "space/object.h"
#include "space/space.h"

#include "sync/bits.h"

/* A fault being handled by the general path. */
struct fault {
    struct aspace *s;
    struct pt *pt;
    aspace_va_t va;
    uint32_t need; /* rights asked for, without U where the format does not tell */
    struct aspace_fault_info *info;
    struct walk w;
    bool filled; /* by this fault, in a round before: with less than it asks for */
};

/* Beside the answers: look again, and the same once the page has been copied. */
#define FAULT_AGAIN ASPACE_FAULT_COUNT
#define FAULT_COPY (ASPACE_FAULT_COUNT + 1)

static enum aspace_fault_result answer(const struct fault *f, const struct area *area, enum aspace_fault_result r)
{
    if (f->info) {
        f->info->cookie = area->cookie;
        f->info->offset = area->offset + (f->va - area->va_base);
        f->info->area_id = area->id;
    }
    return r;
}

/* ------------------------------------------------------------------------------------------- installing, T1 and T2 */

/* A private chain of tables, from n down to the one at `level`. */
static void free_chain(const struct fault *f, struct node *n, unsigned level)
{
    struct pt *pt = f->pt;
    while (n) {
        struct node *below = NULL;
        if (n->level > level)
            below = pt_child(pt, node_slots(n)[slot_index(pt->F, n->level, f->va)]);
        pt_account_tables(pt, -1);
        pool_free(pt->host, n);
        n = below;
    }
}

/* A table with every slot ARMED as the faulting one, but for that of the faulting address, which is `below`. */
static struct node *build_table(const struct fault *f, unsigned level, uint64_t below)
{
    struct pt *pt = f->pt;
    unsigned end = node_entries(pt->F, level);
    value_t v = slot_armed_value(f->w.e);
    if (!pt_account_tables(pt, 1))
        return NULL;
    struct node *n = pool_alloc(pt->host);
    if (!n) {
        pt_account_tables(pt, -1);
        return NULL;
    }
    slots_fill(node_slots(n), 0, end, slot_armed(&pt->C, level, v, f->w.e & (SLOT_ZERO | SLOT_HUGE)));
    node_slots(n)[slot_index(pt->F, level, f->va)] = below;
    n->level = level & 15u;
    n->count = (uint16_t)end;
    n->n_segs = 1;
    n->segs[0] = (struct seg){0, (uint16_t)end, v};
    pt_clean(pt, node_slots(n), 4096);
    return n;
}

/* Tables for the levels below w.level down to `level`, which holds `leaf`; NULL: out of memory. */
static struct node *build_chain(const struct fault *f, unsigned level, uint64_t leaf)
{
    struct node *n = NULL;
    for (unsigned l = level; l < f->w.level; l++) {
        struct node *up = build_table(f, l, n ? fmt_table_entry(f->pt->F, &f->pt->C, node_pa(n)) : leaf);
        if (!up) {
            free_chain(f, n, level);
            return NULL;
        }
        n = up;
    }
    return n;
}

/* Many CPUs that fault in one empty upper slot: one builds, the others wait a little for it. Advisory only: one who
 * finds that another slot's child is being built goes ahead without saying so. */
static bool elect_builder(struct fault *f, struct node *n)
{
    uint8_t mine = (uint8_t)(f->w.index % 255 + 1), now = seam_load(&n->building);
    if (!now)
        seam_store(&n->building, mine);
    if (now != mine)
        return !now;
    for (int i = 0; i < WALK_SPINS && seam_load(&n->building) == mine; i++)
        aspace_pause();
    f->w.e = slot_load(f->w.slots + f->w.index);
    return false;
}

static bool publish(struct fault *f, uint64_t e)
{
    uint64_t *slot = f->w.slots + f->w.index, expected = f->w.e;
    if (!slot_cas(slot, &expected, e))
        return false;
    pt_sync_walkers(f->pt, slot, sizeof *slot);
    return true;
}

/* Put `leaf` at `level` for the faulting address, in the ARMED slot where the walk ended. */
static enum aspace_fault_result install(struct fault *f, unsigned level, uint64_t leaf)
{
    if (level == f->w.level)
        return publish(f, leaf) ? ASPACE_FAULT_DONE : FAULT_AGAIN;
    struct node *parent = walk_node(f->pt, f->w.slots);
    uint64_t seen = f->w.e;
    bool builder = elect_builder(f, parent);
    enum aspace_fault_result r = FAULT_AGAIN;
    if (f->w.e == seen) {
        struct node *chain = build_chain(f, level, leaf);
        if (!chain)
            r = ASPACE_FAULT_NO_MEMORY;
        else if (publish(f, fmt_table_entry(f->pt->F, &f->pt->C, node_pa(chain))))
            r = ASPACE_FAULT_DONE;
        else
            free_chain(f, chain, level);
    }
    if (builder)
        seam_store_release(&parent->building, 0);
    return r;
}

/* ------------------------------------------------------------------------------------------------------- filling */

static uint64_t make_leaf(const struct fault *f, unsigned level, const struct area *area, uint32_t rights,
                          aspace_pa_t pa)
{
    const struct pt *pt = f->pt;
    if (area->flags & AREA_CUSTOM)
        pt_sync_icache(pt, rights, pa, slot_span(pt->F, level));
    return fmt_leaf(pt->F, &pt->C, level, log_new_rights(pt, rights), area->attr) | fmt_addr_bits(pt->F, pa);
}

/* The largest leaf that the ARMED slot and the area allow. */
static unsigned top_leaf_level(const struct fault *f, const struct area *area)
{
    unsigned level = area->max_level < f->w.level ? area->max_level : f->w.level;
    while (level && !(f->pt->C.leaf_levels >> level & 1))
        level--;
    return area->flags & AREA_HUGE ? level : 0;
}

static enum aspace_fault_result fill_owned(struct fault *f, struct area *area, uint32_t rights)
{
    for (unsigned level = top_leaf_level(f, area);; level--) {
        unsigned order = level_order(f->pt->F, level);
        bool may = f->pt->C.leaf_levels >> level & 1;
        aspace_pa_t pa = may ? pt_take_frame(f->pt, order, ASPACE_ALLOC_ZERO) : ASPACE_PA_NONE;
        if (pa != ASPACE_PA_NONE) {
            enum aspace_fault_result r = install(f, level, make_leaf(f, level, area, rights, pa));
            if (r != ASPACE_FAULT_DONE)
                pt_give_frame(f->pt, pa, order);
            return r;
        }
        if (!level)
            return ASPACE_FAULT_NO_MEMORY;
    }
}

static bool level_of_order(const struct pt *pt, unsigned order, unsigned *level)
{
    for (*level = 0; *level < pt->F->levels; ++*level)
        if (pt->C.leaf_levels >> *level & 1 && level_order(pt->F, *level) == order)
            return true;
    return false;
}

static enum aspace_fault_result ask_backend(struct fault *f, const struct area *area, unsigned level, uint32_t rights,
                                            struct aspace_page *page)
{
    struct aspace_fill fill = {
        .space = f->s,
        .ctx = area->ctx,
        .area_id = area->id,
        .va = f->va & ~4095ull,
        .offset = area->offset + ((f->va & ~4095ull) - area->va_base),
        .access = f->need,
        .rights = rights,
        .max_order = level_order(f->pt->F, level),
    };
    *page = (struct aspace_page){.pa = ASPACE_PA_NONE};
    enum aspace_fault_result r = area->backend->fill(&fill, page);
    return (unsigned)r < ASPACE_FAULT_COUNT ? r : ASPACE_FAULT_BUS;
}

/* A page that is not mapped, or once more than it was supplied; `max` is the level it was asked for. What has no size
 * that was asked for goes back as the page at the address. */
static void release_page(const struct fault *f, const struct area *area, const struct aspace_page *page, unsigned max)
{
    unsigned level;
    bool sized = level_of_order(f->pt, page->order, &level) && level <= max;
    aspace_va_t va = f->va & ~(slot_span(f->pt->F, sized ? level : 0) - 1);
    if (page->pa != ASPACE_PA_NONE && area->backend->release)
        area->backend->release(area->ctx, area->offset + (va - area->va_base), page->pa, page->order);
}

static bool page_is_good(const struct fault *f, const struct aspace_page *page, unsigned max, uint32_t rights)
{
    unsigned level;
    return level_of_order(f->pt, page->order, &level) && level <= max && !(page->pa & ((4096ull << page->order) - 1)) &&
           page->pa < f->pt->C.pa_end && !(page->rights & ~rights) &&
           fmt_rights_ok(f->pt->F, &f->pt->C, page->rights ? page->rights : rights) &&
           !(f->need & ~(page->rights ? page->rights : rights));
}

static enum aspace_fault_result fill_custom(struct fault *f, struct area *area, uint32_t rights)
{
    struct aspace_page page;
    unsigned max = top_leaf_level(f, area), level;
    enum aspace_fault_result r = ask_backend(f, area, max, rights, &page);
    if (r != ASPACE_FAULT_DONE)
        return answer(f, area, r);
    if (!page_is_good(f, &page, max, rights)) {
        release_page(f, area, &page, max);
        return answer(f, area, ASPACE_FAULT_BUS);
    }
    level_of_order(f->pt, page.order, &level);
    r = install(f, level, make_leaf(f, level, area, page.rights ? page.rights : rights, page.pa));
    if (r != ASPACE_FAULT_DONE)
        release_page(f, area, &page, max);
    return r;
}

/* --------------------------------------------------------------------------------------------------- objects' pages */

static struct object_fault object_fault(const struct fault *f, struct area *area, value_t v)
{
    return (struct object_fault){
        .pt = f->pt,
        .area = area,
        .value = v,
        .va = f->va & ~4095ull,
        .slot = f->w.slots + f->w.index,
        .e = f->w.e,
        .n = walk_node(f->pt, f->w.slots),
        .index = f->w.index,
        .need = f->need,
    };
}

/* They go into a leaf table only, which is made first, without any of them. */
static enum aspace_fault_result fill_object(struct fault *f, struct area *area, value_t v)
{
    enum aspace_fault_result r;
    if (!object_covers(area, f->va))
        return answer(f, area, ASPACE_FAULT_BUS);
    if (f->w.level) {
        r = install(f, 0, slot_armed(&f->pt->C, 0, v, area_how(area)));
        return r == ASPACE_FAULT_DONE ? FAULT_AGAIN : r;
    }
    struct object_fault k = object_fault(f, area, v);
    r = object_fill(&k);
    return r == OBJECT_AGAIN ? FAULT_AGAIN : answer(f, area, r);
}

static enum aspace_fault_result upgrade_object(struct fault *f, struct area *area, value_t v)
{
    struct object_fault k = object_fault(f, area, v);
    enum aspace_fault_result r = object_upgrade(&k);
    return r == OBJECT_AGAIN ? FAULT_AGAIN : answer(f, area, r);
}

/* ------------------------------------------------------------------------------------------------------- verdicts */

/* One that asks for nothing is refused where nothing is allowed: there is no leaf without rights. */
static bool is_beyond(const struct fault *f, uint32_t rights)
{
    return !rights || f->need & ~rights;
}

/* A kind that no leaf ever answers for. */
static enum aspace_fault_result verdict(const struct fault *f, const struct area *area)
{
    switch ((enum aspace_kind)area->kind) {
    case ASPACE_KIND_TRAP: return answer(f, area, ASPACE_FAULT_TRAP);
    case ASPACE_KIND_GUARD: return answer(f, area, ASPACE_FAULT_GUARD);
    case ASPACE_KIND_ROM: return answer(f, area, f->need & ASPACE_W ? ASPACE_FAULT_TRAP : ASPACE_FAULT_PERMISSION);
    default: return answer(f, area, ASPACE_FAULT_PERMISSION);
    }
}

static enum aspace_fault_result on_armed(struct fault *f)
{
    value_t v = slot_armed_value(f->w.e);
    struct area *area = value_area(f->pt->host, v);
    if (area->flags & AREA_STATIC || is_beyond(f, VALUE_RIGHTS(v)))
        return verdict(f, area);
    enum aspace_fault_result r;
    if (area->flags & AREA_OBJECT)
        r = fill_object(f, area, v);
    else if (area->flags & AREA_CUSTOM)
        r = fill_custom(f, area, VALUE_RIGHTS(v));
    else
        r = fill_owned(f, area, VALUE_RIGHTS(v));
    if (r != ASPACE_FAULT_DONE)
        return r;
    if (area->flags & AREA_COUNT)
        seam_add(&area->faults, 1);
    f->filled = true;
    return f->need & ASPACE_W && log_may_hide(f->pt) ? FAULT_AGAIN : r; /* what is withheld the next round grants */
}

/* Under the lock, as rights are given: a protect that takes them from the area may find nothing to change in the leaf,
 * and would be undone. */
static bool publish_upgrade(struct fault *f, value_t v, uint64_t e, uint32_t rights)
{
    struct node *n = walk_node(f->pt, f->w.slots);
    seam_lock(&n->lock, host_lock_tag());
    bool done = !n->stale && node_value(n, f->w.index) == v;
    if (done && f->need & ASPACE_W)
        e = log_grant(f->pt, f->va, f->w.level, e, rights);
    done = done && publish(f, e);
    seam_unlock(&n->lock);
    return done;
}

/* What the leaf becomes; what it may then execute can be fetched. */
static uint64_t with_more_rights(const struct fault *f, uint32_t rights)
{
    const struct pt *pt = f->pt;
    unsigned level = f->w.level;
    uint32_t had = fmt_leaf_rights(pt->F, &pt->C, f->w.e);
    pt_sync_icache(pt, rights & ~had, fmt_output(pt->F, &pt->C, level, f->w.e, f->w.index), slot_span(pt->F, level));
    return fmt_with_rights(pt->F, &pt->C, level, f->w.e, log_kept_rights(pt, level, f->w.e, rights));
}

/* Is the slot still what the walk found? Asked under the lock, as a slot of a table that is unlinked stays as it is. */
static bool is_as_found(const struct fault *f)
{
    struct node *n = walk_node(f->pt, f->w.slots);
    seam_lock(&n->lock, host_lock_tag());
    bool same = !n->stale && slot_load(f->w.slots + f->w.index) == f->w.e;
    seam_unlock(&n->lock);
    return same;
}

/* A backend gave the page fewer rights than the area has: it is asked again, and may give more for the same frame. For
 * another one, if the page is no longer mapped. */
static enum aspace_fault_result upgrade(struct fault *f, const struct area *area, value_t v)
{
    const struct pt *pt = f->pt;
    struct aspace_page page;
    uint32_t rights = VALUE_RIGHTS(v);
    bool parked = f->w.kind == SLOT_PARKED;
    aspace_pa_t pa = slot_frame(pt->F, &pt->C, f->w.level, f->w.e, f->w.index);
    enum aspace_fault_result r = ask_backend(f, area, f->w.level, rights, &page);
    if (r != ASPACE_FAULT_DONE)
        return answer(f, area, r);
    uint32_t now = page.rights ? page.rights : rights;
    bool same =
        page.pa == pa && page.order == level_order(pt->F, f->w.level) && page_is_good(f, &page, f->w.level, rights);
    uint64_t e = f->w.e;
    if (same && parked)
        e = log_with_flags(pt, make_leaf(f, f->w.level, area, now, pa), e & SLOT_PARKED_A, e & SLOT_PARKED_D);
    else if (same)
        e = with_more_rights(f, now);
    bool done = same && publish_upgrade(f, v, e, now);
    release_page(f, area, &page, f->w.level); /* the mapping holds one reference, not two */
    if (done)
        return ASPACE_FAULT_DONE;
    return same || !is_as_found(f) ? FAULT_AGAIN : answer(f, area, ASPACE_FAULT_BUS);
}

/* Accessed and dirty are kept by software where hardware does not, and a leaf may have been cleaned. */
static enum aspace_fault_result allowed(struct fault *f)
{
    const struct pt *pt = f->pt;
    bool write = f->need & ASPACE_W, dirty = fmt_dirty(pt->F, f->w.e);
    if (pt->C.features & ASPACE_FEAT_AD || (fmt_accessed(pt->F, f->w.e) && (dirty || !write)))
        return ASPACE_FAULT_SPURIOUS;
    return publish(f, fmt_with_ad(pt->F, f->w.e, true, dirty || write)) ? ASPACE_FAULT_SPURIOUS : FAULT_AGAIN;
}

static enum aspace_fault_result on_filled(struct fault *f)
{
    struct pt *pt = f->pt;
    struct seg g;
    uint64_t e;
    if (f->w.kind == SLOT_LEAF && !(f->need & ~fmt_leaf_rights(pt->F, &pt->C, f->w.e)))
        return allowed(f);
    if (!node_value_rcu(walk_node(pt, f->w.slots), f->w.index, &g, &e) || e != f->w.e || !g.value)
        return FAULT_AGAIN;
    struct area *area = value_area(pt->host, g.value);
    if (is_beyond(f, VALUE_RIGHTS(g.value)) || area->flags & AREA_ROM)
        return verdict(f, area);
    unsigned soft = slot_soft(pt->F, f->w.level, f->w.e);
    if (f->need & ASPACE_W && f->need & ~area_leaf_rights(area, soft, VALUE_RIGHTS(g.value)))
        return FAULT_COPY;
    if (area_frame_owner(area, soft) == FRAME_BACKEND)
        return area->flags & AREA_OBJECT ? upgrade_object(f, area, g.value) : upgrade(f, area, g.value);
    if (f->need & ASPACE_W && f->w.kind == SLOT_LEAF && log_may_hide(pt))
        return FAULT_COPY;
    return FAULT_AGAIN; /* a protect is between the slot and the segment */
}

static enum aspace_fault_result on_slot(struct fault *f)
{
    switch (f->w.kind) {
    case SLOT_EMPTY: return ASPACE_FAULT_NO_AREA;
    case SLOT_ARMED: return on_armed(f);
    case SLOT_PARKED:
    case SLOT_LEAF: return on_filled(f);
    default: /* from the root each time: in a table that was unlinked the slot stays as it is */
        for (int i = 0; i < WALK_SPINS && f->w.kind == SLOT_BUSY; i++) {
            aspace_pause();
            walk_any(f->pt, f->va, &f->w);
        }
        return FAULT_AGAIN;
    }
}

/* Outside of the fault's section. */
static enum aspace_fault_result copy(const struct fault *f)
{
    int rc = pt_cow(f->pt, f->va, f->need);
    return rc == ASPACE_E_OK ? ASPACE_FAULT_DONE : rc == ASPACE_E_RETRY ? FAULT_AGAIN : ASPACE_FAULT_NO_MEMORY;
}

/* Before the answer is NO_MEMORY, once: a frame may be free now. Outside of the fault's section, which would keep what
 * waits from being released. */
static enum aspace_fault_result drain_once(struct pt *pt, bool *drained)
{
    enum aspace_fault_result r = *drained ? ASPACE_FAULT_NO_MEMORY : FAULT_AGAIN;
    if (!*drained)
        limbo_drain_all(pt->host);
    *drained = true;
    return r;
}

/* Each round has a section of its own, so that a change in flight elsewhere never keeps a grace period from ending. A
 * fork is not waited for: it waits itself, for the caller's section to end, or for a quiescent state of this CPU. */
static __attribute__((noinline)) enum aspace_fault_result fault_general(struct aspace *s, aspace_va_t va,
                                                                        uint32_t access, struct aspace_fault_info *info)
{
    struct pt *pt = &s->pt;
    struct fault f = {.s = s, .pt = pt, .va = va, .info = info};
    f.need = access & (pt->F->has_user ? 15u : 7u);
    enum aspace_fault_result r = FAULT_AGAIN;
    bool drained = false;
    for (int round = 0; round < WALK_ROUNDS && r == FAULT_AGAIN; round++) {
        bool was_filled = f.filled;
        smr_enter(pt->host);
        walk_any(pt, va, &f.w);
        r = gate_is_open(pt) ? on_slot(&f) : ASPACE_FAULT_RETRY;
        smr_leave(pt->host);
        if (r == FAULT_COPY)
            r = copy(&f);
        if (UNLIKELY(r == ASPACE_FAULT_NO_MEMORY))
            r = drain_once(pt, &drained);
        if (r == FAULT_AGAIN && was_filled == f.filled) { /* else it got on */
            COUNT(pt_this_cpu(pt)->retries, 1);
            aspace_pause();
        }
    }
    r = r == FAULT_AGAIN ? ASPACE_FAULT_RETRY : r == ASPACE_FAULT_SPURIOUS && f.filled ? ASPACE_FAULT_DONE : r;
    COUNT(pt_this_cpu(pt)->faults[r], 1);
    return r;
}

enum aspace_fault_result fault_make_tables(struct aspace *s, aspace_va_t va)
{
    struct fault f = {.s = s, .pt = &s->pt, .va = va};
    enum aspace_fault_result r = ASPACE_FAULT_DONE;
    smr_enter(s->pt.host);
    walk_any(&s->pt, va, &f.w);
    if (!gate_is_open(&s->pt)) {
        r = ASPACE_FAULT_RETRY;
    } else if (f.w.level && f.w.kind == SLOT_ARMED) {
        uint64_t how = f.w.e & (SLOT_ZERO | SLOT_HUGE);
        r = install(&f, 0, slot_armed(&s->pt.C, 0, slot_armed_value(f.w.e), how));
    }
    smr_leave(s->pt.host);
    return r == FAULT_AGAIN ? ASPACE_FAULT_RETRY : r;
}

/* --------------------------------------------------------------------------------------------------- fault-around */

/* Fill the neighbours that follow in the same table. The window doubles while faults come in sequence. */
static __attribute__((noinline)) void fault_around(struct pt *pt, aspace_va_t va, uint64_t *slot, uint64_t armed)
{
    struct pt_cpu *c = pt_this_cpu(pt);
    uint64_t template = seam_load(&pt->zero_leaf[VALUE_RIGHTS(slot_armed_value(armed))]);
    va &= ~4095ull;
    c->window = va == c->next_va ? (c->window ? c->window * 2 : 1) : 0;
    if (c->window > pt->fault_around)
        c->window = pt->fault_around;
    unsigned i = 1, end = node_entries(pt->F, 0) - slot_index(pt->F, 0, va);
    for (; template && i < end && i <= c->window; i++) {
        uint64_t e = slot_load(slot + i);
        if (e != armed)
            break; /* not the same area, rights and kind */
        aspace_pa_t pa = pt_take_frame(pt, 0, ASPACE_ALLOC_ZERO);
        if (pa == ASPACE_PA_NONE)
            break;
        if (!slot_cas(slot + i, &e, template | fmt_addr_bits(pt->F, pa))) {
            pt_give_frame(pt, pa, 0);
            break;
        }
    }
    pt_sync_walkers(pt, slot, i * sizeof *slot);
    c->next_va = va + ((uint64_t)i << 12);
}

/* ------------------------------------------------------------------------------------------------- the fast path */

/* A frame for one page, which the caller counts. None left: the general way knows what else to try. */
static inline __attribute__((always_inline)) aspace_pa_t take_page(struct pt *pt)
{
    if (UNLIKELY(!pt_account(&pt->used_frames, pt->quota_frames, 1)))
        return ASPACE_PA_NONE;
    aspace_pa_t pa = pt_alloc_frame(pt, 0, ASPACE_ALLOC_ZERO);
    if (UNLIKELY(pa == ASPACE_PA_NONE))
        pt_account(&pt->used_frames, pt->quota_frames, -1);
    return pa;
}

/* The arguments of a fault, in registers: it is all inlined. */
struct touch {
    struct pt *pt;
    aspace_va_t va;
    uint32_t access;
};

/* A page that plain zero-fill will do for, in a table that is there. In a section. 0: the general way; else done. */
static inline __attribute__((always_inline)) int touch_end(const struct fmt *const F, const struct touch *k,
                                                           const struct walk *w)
{
    const uint64_t plain = (uint64_t)SLOT_ARMED << SLOT_KIND_SHIFT | SLOT_ZERO;
    const uint64_t kind = (uint64_t)SLOT_KIND_MASK << SLOT_KIND_SHIFT | SLOT_ZERO;
    struct pt *pt = k->pt;
    uint64_t *slot = w->slots + w->index, e = w->e;
    uint32_t rights = VALUE_RIGHTS(slot_armed_value(e)), need = k->access & (F->has_user ? 15u : 7u);
    if (w->level || UNLIKELY(fmt_present(F, 0, e) || (e & kind) != plain || need & ~rights || !gate_is_open(pt)))
        return 0;
    uint64_t bare = seam_load(&pt->zero_leaf[rights]);
    if (UNLIKELY(!bare))
        return 0;
    aspace_pa_t pa = take_page(pt);
    if (UNLIKELY(pa == ASPACE_PA_NONE))
        return 0;
    struct pt_cpu *cpu = pt_this_cpu(pt);
    COUNT(cpu->frames, 1);
    if (UNLIKELY(!slot_cas(slot, &e, bare | fmt_addr_bits(F, pa)))) {
        pt_give_frame(pt, pa, 0);
        return 0;
    }
    pt_sync_walkers(pt, slot, sizeof *slot);
    COUNT(cpu->faults[ASPACE_FAULT_DONE], 1);
    if (UNLIKELY(pt->fault_around))
        fault_around(pt, k->va, slot, w->e);
    return 1;
}

WALK_LEVELS(touch, struct touch)

/* Each of its own, so that none saves registers which only another needs. fault_general has sections of its own. */
#define ASPACE_X(id, name)                                                                                             \
    static __attribute__((noinline)) enum aspace_fault_result fault_##id(                                              \
        struct aspace *s, aspace_va_t va, uint32_t access, struct aspace_fault_info *info)                             \
    {                                                                                                                  \
        bool sections = s->pt.walk_id == ASPACE_FMT_COUNT;                                                             \
        if (UNLIKELY(sections))                                                                                        \
            smr_enter(s->pt.host);                                                                                     \
        int done = touch_walk(&fmt_const_##id, &(struct touch){&s->pt, va, access});                                   \
        if (UNLIKELY(sections))                                                                                        \
            smr_leave(s->pt.host);                                                                                     \
        return LIKELY(done) ? ASPACE_FAULT_DONE : fault_general(s, va, access, info);                                  \
    }
ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X

enum aspace_fault_result aspace_fault(struct aspace *s, aspace_va_t va, uint32_t access, struct aspace_fault_info *info)
{
    aspace_trace(fault, s, va, access);
    if (UNLIKELY(!space_contains(s, va))) {
        COUNT(pt_this_cpu(&s->pt)->faults[ASPACE_FAULT_NO_AREA], 1);
        return ASPACE_FAULT_NO_AREA;
    }
    if (UNLIKELY(!space_is_open(s))) {
        COUNT(pt_this_cpu(&s->pt)->faults[ASPACE_FAULT_CLOSED], 1);
        return ASPACE_FAULT_CLOSED;
    }
    if (LIKELY(s->pt.walk_id == ASPACE_FMT_X86_EPT4))
        return fault_X86_EPT4(s, va, access, info);
    switch (s->pt.F->id) {
#define ASPACE_X(id, name)                                                                                             \
    case ASPACE_FMT_##id: return fault_##id(s, va, access, info);
        ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X
    default: return ASPACE_FAULT_NO_AREA;
    }
}
