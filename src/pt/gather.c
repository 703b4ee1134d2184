/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Invalidation and the gate through which frames, tables and records leave. Must not know why they leave.
 *
 * An item is one to three words: the first has its type in bits 0-2, an order in bits 3-8, GATHER_DIRTY in bit 9 and an
 * address above.
 * A deferred page holds its goal (sync/smr.h) in word 0 and items in the others.
 */
#include <aspace/backend.h>

#include "pt/gather.h"
#include "pt/pins.h"
#include "pt/shares.h"
#include "pt/walk.h"

enum item { ITEM_FRAME, ITEM_COUNTED, ITEM_CUSTOM, ITEM_TABLE, ITEM_PAGE };
enum { PAGE_WORDS = 511, FREE_BATCH = 64, DUE = 64, POLL_EVERY = 15 };

#define ITEM_TYPE(w) ((enum item)((w)&7))
#define ITEM_ORDER(w) ((unsigned)(w) >> 3 & 0x3f)
#define ITEM_HOW(w) ((unsigned)(w) >> 3 & 0x7f)
#define ITEM_PA(w) ((w) & ~4095ull)
#define ITEM_POINTER(w) ((void *)(uintptr_t)((w) & ~7ull))

unsigned gather_page_words(void)
{
    return PAGE_WORDS - GATHER_WORDS + 1;
}

/* Room for one item of `words` words, which never straddles two storages. */
static uint64_t *item_room(struct gather *g, unsigned words)
{
    if (LIKELY(g->n + words <= GATHER_INLINE)) {
        g->n += words;
        return &g->items[g->n - words];
    }
    struct node *page = g->pages;
    if (!page || page->count + words > PAGE_WORDS) {
        page = g->reserve;
        ASSERT(page);
        g->reserve = page->next;
        page->count = 0;
        page->next = g->pages;
        g->pages = page;
    }
    page->count = (uint16_t)(page->count + words);
    return node_slots(page) + 1 + page->count - words;
}

void gather_frame(struct gather *g, aspace_pa_t pa, unsigned order)
{
    *item_room(g, 1) = pa | (uint64_t)order << 3 | ITEM_FRAME;
}

void gather_counted(struct gather *g, aspace_pa_t pa, unsigned order)
{
    *item_room(g, 1) = pa | (uint64_t)order << 3 | ITEM_COUNTED;
}

void gather_custom(struct gather *g, const struct area *area, aspace_va_t va, aspace_pa_t pa, unsigned how)
{
    uint64_t *w = item_room(g, 2);
    w[0] = pa | (uint64_t)how << 3 | ITEM_CUSTOM;
    w[1] = (uint64_t)area->index << 40 | (va - area->va_base) >> 12;
}

void gather_table(struct gather *g, struct node *n, aspace_va_t va)
{
    uint64_t *w = item_room(g, 3);
    w[0] = (uint64_t)(uintptr_t)n | ITEM_TABLE;
    w[1] = (uint64_t)(uintptr_t)g->pt;
    w[2] = va;
}

void gather_page(struct gather *g, struct node *page)
{
    *item_room(g, 1) = (uint64_t)(uintptr_t)page | ITEM_PAGE;
}

/* The CPUs to be asked, as they are now. */
static bool copy_active(const struct pt *pt, uint64_t active[CPU_WORDS])
{
    uint64_t any = 0;
    for (unsigned w = 0; w < CPU_WORDS; w++)
        any |= active[w] = seam_load_acquire(&pt->active[w]); /* and the tag of whoever is there */
    return any != 0;
}

static bool any_lazy(const struct pt *pt, const uint64_t active[CPU_WORDS])
{
    uint64_t lazy = 0;
    for (unsigned w = 0; w < CPU_WORDS; w++)
        lazy |= seam_load(&pt->known[w]) & ~active[w];
    return lazy != 0;
}

/*
 * Whom to ask. A CPU that activates enters `known` and `active`, then reads the generation, then walks; here the tables
 * have changed, then the sets are read. A CPU not in `known` has walked nothing before the change. One that was active
 * and is not now may hold something: for its sake the generation is raised, and then the active set is read again:
 * either it is there, or it will see the new generation and flush by itself. While no CPU is in that state the
 * generation, a line that all CPUs of the space share, is left alone.
 */
static bool whom_to_ask(struct pt *pt, bool fenced, uint64_t active[CPU_WORDS])
{
    if (!fenced)
        seam_fence();
    bool any = copy_active(pt, active);
    if (!any_lazy(pt, active))
        return any;
    seam_add_acq_rel(&pt->flush_generation, 1);
    seam_fence();
    return copy_active(pt, active);
}

bool gather_ask(struct gather *g)
{
    struct pt *pt = g->pt;
    if (g->va == g->end)
        return false;
    struct pt_cpu *c = pt_this_cpu(pt);
    g->took = true;
    COUNT(c->flushes, 1);
    COUNT(c->full_flushes, g->entries > pt->host->full_flush_entries);
    COUNT(c->flushed_entries, g->entries);
    if (!whom_to_ask(pt, g->fenced, g->active) || !pt->host->hal->tlb_flush) {
        gather_clear_flush(g);
        return false;
    }
    seam_store_release(&c->flush_va, g->va);
    seam_store_release(&c->flush_end, g->end);
    return true;
}

void gather_send(struct gather *g)
{
    struct pt *pt = g->pt;
    const struct aspace_hal *hal = pt->host->hal;
    struct aspace_flush f = {
        .tag = seam_load(&pt->tag),
        .va = g->va,
        .end = g->end,
        .root = pt->root_pa,
        .entries = g->entries,
        .stride_lg2 = g->min_lg2,
        .max_lg2 = g->max_lg2,
        .leaf_only = !g->tables,
        .full = g->entries > pt->host->full_flush_entries,
        .stage2 = pt->F->stage2,
        .global = pt->C.leaf_global,
        .active = g->active,
        .active_words = CPU_WORDS,
        .space = pt->owner,
    };
    hal->tlb_flush(pt->host->ctx, &f);
    if (hal->tlb_wait)
        hal->tlb_wait(pt->host->ctx, &f);
    seam_store_release(&pt_this_cpu(pt)->flush_end, 0);
    gather_clear_flush(g);
}

void gather_flush(struct gather *g)
{
    if (gather_ask(g))
        gather_send(g);
}

/*
 * What a CPU announces changes only after the last one was acknowledged. So whichever mixture of an old and a new
 * announcement is read, to find no overlap means that the old one is over or concerns other addresses; and a new one
 * for these would need the lock that the caller holds.
 */
static bool announces(const struct pt_cpu *c, aspace_va_t va, aspace_va_t end, bool *any)
{
    aspace_va_t flush_end = seam_load_acquire(&c->flush_end), flush_va = seam_load_acquire(&c->flush_va);
    *any |= flush_end != 0;
    return flush_end && flush_va < end && va < flush_end;
}

void gather_settle(struct pt *pt, struct node *n, aspace_va_t va, aspace_va_t end)
{
    bool any = false, many = n->flushing == FLUSHING_MANY;
    uint32_t first = many ? 0 : n->flushing - 1u, last = many ? pt->host->cpus - 1 : first;
    for (uint32_t i = first; i <= last; i++)
        while (announces(&pt->cpu[i], va, end, &any))
            aspace_pause();
    if (!any)
        n->flushing = 0;
}

/* ------------------------------------------------------------------------------------------------------- releasing */

struct freer {
    struct aspace_host *host;
    unsigned n;
    aspace_pa_t pa[FREE_BATCH];
};

static void freer_flush(struct freer *f)
{
    const struct aspace_hal *hal = f->host->hal;
    if (hal->free_batch)
        hal->free_batch(f->host->ctx, f->pa, f->n);
    else
        for (unsigned i = 0; i < f->n; i++)
            hal->free(f->host->ctx, f->pa[i], 0);
    f->n = 0;
}

static inline void free_frame(struct freer *f, aspace_pa_t pa, unsigned order)
{
    if (UNLIKELY(order || pins_exist(f->host))) {
        pins_free(f->host, pa, order);
        return;
    }
    f->pa[f->n++] = pa;
    if (f->n == FREE_BATCH)
        freer_flush(f);
}

void backend_tell_dirty(const struct area *area, uint64_t page_index, aspace_pa_t pa, unsigned order)
{
    if (area->backend->dirty)
        area->backend->dirty(area->ctx, area->offset + (page_index << 12), pa, order);
}

static void release_custom(struct area *area, uint64_t page_index, aspace_pa_t pa, unsigned how)
{
    unsigned order = how & (GATHER_DIRTY - 1u);
    if (how & GATHER_DIRTY)
        backend_tell_dirty(area, page_index, pa, order);
    if (area->backend->release)
        area->backend->release(area->ctx, area->offset + (page_index << 12), pa, order);
}

/* The frames of slots [lo, hi) of an OWNED leaf table; returns how many there were. Most slots are unfilled in a sparse
 * table and filled in a dense one, so those two tests come first. */
static inline __attribute__((always_inline)) int64_t harvest_leaf_fmt(const struct fmt *const F, const struct pt *pt,
                                                                      const uint64_t *slots, struct seg g,
                                                                      struct freer *f)
{
    const struct area *area = value_area(pt->host, g.value);
    uint64_t armed = slot_armed(&pt->C, 0, g.value, area_how(area));
    int64_t freed = 0;
    for (unsigned i = g.lo; i < g.hi; i++) {
        uint64_t e = slot_peek(slots + i);
        if (e == armed)
            continue;
        bool present = fmt_present(F, 0, e);
        if (UNLIKELY(!present && slot_absent_kind(e) != SLOT_PARKED))
            continue;
        aspace_pa_t pa = slot_frame(F, &pt->C, 0, e, i);
        if (UNLIKELY(slot_soft(F, 0, e)))
            shares_drop(f->host, pa, 0);
        else
            free_frame(f, pa, 0);
        freed++;
    }
    return freed;
}

static int64_t harvest_leaf(const struct pt *pt, const uint64_t *slots, struct seg g, struct freer *f)
{
    switch (pt->F->id) {
#define ASPACE_X(id, name)                                                                                             \
    case ASPACE_FMT_##id: return harvest_leaf_fmt(&fmt_const_##id, pt, slots, g, f);
        ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X
    default: return 0;
    }
}

/* Free the frame of one slot that is no table. */
static void harvest_slot(struct pt *pt, struct node *n, unsigned i, aspace_va_t va, struct freer *f)
{
    struct area *area = value_area(pt->host, node_value(n, i));
    unsigned order = level_order(pt->F, n->level);
    uint64_t e = slot_peek(node_slots(n) + i);
    bool filled = fmt_present(pt->F, n->level, e) || slot_absent_kind(e) == SLOT_PARKED;
    enum frame_owner owner = filled ? area_frame_owner(area, slot_soft(pt->F, n->level, e)) : FRAME_BORROWED;
    aspace_pa_t pa = slot_frame(pt->F, &pt->C, n->level, e, i);
    switch (owner) {
    case FRAME_UNIQUE: free_frame(f, pa, order); break;
    case FRAME_COUNTED: shares_drop(f->host, pa, order); break;
    case FRAME_BACKEND:
        release_custom(area, (va - area->va_base) >> 12, pa,
                       order | (area_page_dirty(pt->F, area, n->level, e) ? GATHER_DIRTY : 0));
        break;
    case FRAME_BORROWED: break;
    }
    if (owner == FRAME_UNIQUE || owner == FRAME_COUNTED)
        pt_account_frames(pt, -((int64_t)1 << order));
    area_put_pages(pt->host, area, 1ull << order);
}

/* One stretch of an unlinked leaf table whose slot 0 translates va. */
static void harvest_seg(struct pt *pt, struct node *n, aspace_va_t va, struct seg g, struct freer *f)
{
    struct area *area = value_area(pt->host, g.value);
    if (area->flags & AREA_OWNED) {
        int64_t freed = harvest_leaf(pt, node_slots(n), g, f);
        if (freed)
            pt_account_frames(pt, -freed);
    } else if (area->flags & AREA_CUSTOM) {
        for (unsigned i = g.lo; i < g.hi; i++)
            harvest_slot(pt, n, i, va + ((uint64_t)i << 12), f);
        return;
    }
    area_put_pages(pt->host, area, (uint64_t)(g.hi - g.lo));
}

/* The value of a slot that is TABLE, or EMPTY, may name a record that is gone: look at the slot first. */
static void harvest(struct pt *pt, struct node *n, aspace_va_t va, struct freer *f)
{
    const struct fmt *F = pt->F;
    unsigned end = node_entries(F, n->level);
    struct seg g = {0, 0, 0};
    for (unsigned i = 0; !n->level && node_next_seg(n, i, end, &g); i = g.hi)
        harvest_seg(pt, n, va, g, f);
    for (unsigned i = 0; n->level && i < end; i++) {
        uint64_t e = slot_peek(node_slots(n) + i);
        aspace_va_t slot_va = va + ((uint64_t)i << F->shift[n->level]);
        if (slot_kind(F, n->level, e) == SLOT_TABLE)
            harvest(pt, pt_child(pt, e), slot_va, f);
        else if (slot_absent_kind(e) != SLOT_EMPTY || fmt_present(F, n->level, e))
            if (node_value(n, i))
                harvest_slot(pt, n, i, slot_va, f);
    }
    if (n->dense)
        pool_free(pt->host, n->dense);
    pt_account_tables(pt, -((int64_t)1 << n->order));
    pool_free(pt->host, n);
}

static void release_page(struct aspace_host *host, struct node *page)
{
    struct freer f;
    f.host = host;
    f.n = 0;
    const uint64_t *w = node_slots(page) + 1, *end = w + page->count;
    for (; w < end; w++) {
        switch (ITEM_TYPE(*w)) {
        case ITEM_FRAME: free_frame(&f, ITEM_PA(*w), ITEM_ORDER(*w)); break;
        case ITEM_COUNTED: shares_drop(host, ITEM_PA(*w), ITEM_ORDER(*w)); break;
        case ITEM_CUSTOM: {
            struct area *area = area_get(host, (uint32_t)(w[1] >> 40));
            release_custom(area, w[1] & ((1ull << 40) - 1), ITEM_PA(*w), ITEM_HOW(*w));
            area_put_pages(host, area, 1ull << ITEM_ORDER(*w));
            w++;
            break;
        }
        case ITEM_TABLE:
            harvest((struct pt *)(uintptr_t)w[1], ITEM_POINTER(*w), w[2], &f);
            w += 2;
            break;
        case ITEM_PAGE: pool_free(host, ITEM_POINTER(*w)); break;
        }
    }
    freer_flush(&f);
    page->count = 0;
    pool_free(host, page);
}

/* ------------------------------------------------------------------------------------------- the deferred lists */

static void close_open(struct aspace_host *host, struct host_cpu *c)
{
    struct node *page = c->limbo_open;
    if (!page || !page->count)
        return;
    node_slots(page)[0] = smr_goal(host);
    page->next = NULL;
    if (c->limbo_last)
        c->limbo_last->next = page;
    else
        seam_store(&c->limbo_first, page); /* gather_finish looks first without the lock */
    c->limbo_last = page;
    c->limbo_open = NULL;
}

/* Takes the oldest page if its goal has passed. */
static struct node *take_due(struct aspace_host *host, struct host_cpu *c)
{
    struct node *page = c->limbo_first;
    if (!page || !smr_passed(host, node_slots(page)[0]))
        return NULL;
    seam_store(&c->limbo_first, page->next);
    if (!c->limbo_first)
        c->limbo_last = NULL;
    return page;
}

/* The list that is open becomes the closed one, if that is free. */
static void close_dead(struct aspace_host *host, struct host_cpu *c)
{
    if (!c->dead_open || c->dead_closed)
        return;
    c->dead_goal = smr_goal(host);
    seam_store(&c->dead_closed, c->dead_open); /* gather_finish looks first without the lock */
    c->dead_open = NULL;
    c->n_dead = 0;
}

/* Records name each other, so they need no place to wait in: a release, which may be made where nothing may wait, can
 * be the end of some. */
static void defer_areas(struct aspace_host *host, struct area *first)
{
    struct host_cpu *c = host_this_cpu(host);
    seam_lock(&c->limbo_lock, host_lock_tag());
    while (first) {
        struct area *area = first;
        first = area->next_dead;
        area->next_dead = c->dead_open;
        c->dead_open = area;
        c->n_dead++;
    }
    if (c->n_dead >= DUE)
        close_dead(host, c);
    seam_unlock(&c->limbo_lock);
}

void area_put_pages(struct aspace_host *host, struct area *area, uint64_t pages)
{
    if (!area_take_pages(area, pages))
        return;
    area->next_dead = NULL;
    defer_areas(host, area);
}

/* Nobody reads it any more. The record of a map call stays for those that name it as origin: to the backend they are
 * one mapping, whose end is told once. */
static void release_area(struct aspace_host *host, struct area *area)
{
    while (area && (seam_load_acquire(&area->holds) == 1 || seam_sub_acq_rel(&area->holds, 1) == 1)) {
        struct area *origin = area->origin;
        if (!origin && area->backend && area->backend->unmapped)
            area->backend->unmapped(area->ctx, area->id);
        area_free(host, area);
        area = origin;
    }
}

static void release_areas(struct aspace_host *host, struct host_cpu *c)
{
    struct host_cpu *me = host_this_cpu(host);
    struct area *area = NULL;
    seam_lock(&c->limbo_lock, host_lock_tag());
    if (c->dead_closed && smr_passed(host, c->dead_goal)) {
        area = c->dead_closed;
        seam_store(&c->dead_closed, NULL);
        seam_add(&me->releasing, 1);
    }
    seam_unlock(&c->limbo_lock);
    if (!area)
        return;
    while (area) {
        struct area *next = area->next_dead;
        release_area(host, area);
        area = next;
    }
    seam_sub_release(&me->releasing, 1);
}

static void release_due(struct aspace_host *host, struct host_cpu *c)
{
    struct host_cpu *me = host_this_cpu(host);
    for (;;) {
        seam_lock(&c->limbo_lock, host_lock_tag());
        struct node *page = take_due(host, c);
        if (page)
            seam_add(&me->releasing, 1);
        seam_unlock(&c->limbo_lock);
        if (!page)
            break;
        release_page(host, page);
        seam_sub_release(&me->releasing, 1);
    }
    release_areas(host, c);
}

/* A page to defer items on. When there is none at all, wait until deferred pages come free: this is the back-pressure
 * that keeps memory bounded (G4), and what lets an unmap of whole areas always succeed. */
static struct node *limbo_page(struct aspace_host *host)
{
    for (;;) {
        struct node *page = pool_alloc(host);
        if (!page)
            page = pool_alloc_emergency(host);
        if (page)
            return page;
        limbo_drain_wait(host);
    }
}

static void defer(struct aspace_host *host, struct gather *g)
{
    const uint64_t *words = g->items;
    unsigned n = g->n;
    struct host_cpu *c = host_this_cpu(host);
    seam_lock(&c->limbo_lock, host_lock_tag());
    if (c->limbo_open && c->limbo_open->count + n > PAGE_WORDS)
        close_open(host, c);
    if (!c->limbo_open) {
        seam_unlock(&c->limbo_lock);
        struct node *page = g->reserve;
        if (page)
            g->reserve = page->next;
        else
            page = limbo_page(host);
        page->count = 0;
        seam_lock(&c->limbo_lock, host_lock_tag());
        ASSERT(!c->limbo_open); /* only this CPU opens one, and nothing that is released does */
        c->limbo_open = page;
    }
    uint64_t *to = node_slots(c->limbo_open) + 1 + c->limbo_open->count;
    for (unsigned i = 0; i < n; i++)
        to[i] = words[i];
    c->limbo_open->count = (uint16_t)(c->limbo_open->count + n);
    if (c->limbo_open->count >= DUE)
        close_open(host, c);
    seam_unlock(&c->limbo_lock);
}

static void defer_pages(struct aspace_host *host, struct node *pages)
{
    struct host_cpu *c = host_this_cpu(host);
    seam_lock(&c->limbo_lock, host_lock_tag());
    while (pages) {
        struct node *page = pages;
        pages = page->next;
        struct node *open = c->limbo_open;
        c->limbo_open = page;
        close_open(host, c);
        c->limbo_open = open;
    }
    seam_unlock(&c->limbo_lock);
}

void gather_finish(struct gather *g)
{
    struct aspace_host *host = g->pt->host;
    ASSERT(g->va == g->end);
    if ((g->n || g->pages || g->dead) && !seam_load(&g->pt->deferred))
        seam_store(&g->pt->deferred, 1);
    if (g->n)
        defer(host, g);
    if (g->pages)
        defer_pages(host, g->pages);
    if (g->dead)
        defer_areas(host, g->dead);
    while (UNLIKELY(g->reserve != NULL)) {
        struct node *page = g->reserve;
        g->reserve = page->next;
        pool_free(host, page);
    }
    struct host_cpu *me = host_this_cpu(host);
    if ((seam_load(&me->limbo_first) || seam_load(&me->dead_closed)) && !(me->limbo_polls++ & POLL_EVERY))
        release_due(host, me);
}

static void drain_list(struct aspace_host *host, struct host_cpu *c)
{
    seam_lock(&c->limbo_lock, host_lock_tag());
    close_open(host, c);
    close_dead(host, c);
    seam_unlock(&c->limbo_lock);
    release_due(host, c);
}

size_t limbo_drain(struct aspace_host *host)
{
    struct host_cpu *me = host_this_cpu(host);
    drain_list(host, me);
    seam_lock(&me->limbo_lock, host_lock_tag());
    size_t left = me->n_dead;
    for (struct node *page = me->limbo_first; page; page = page->next)
        left += page->count;
    for (struct area *area = me->dead_closed; area; area = area->next_dead)
        left++;
    seam_unlock(&me->limbo_lock);
    return left;
}

void limbo_drain_all(struct aspace_host *host)
{
    for (uint32_t i = 0; i < host->cpus; i++)
        drain_list(host, &host->cpu[i]);
}

static bool lists_empty(struct aspace_host *host)
{
    for (uint32_t i = 0; i < host->cpus; i++) {
        struct host_cpu *c = &host->cpu[i];
        seam_lock(&c->limbo_lock, host_lock_tag());
        close_open(host, c);
        close_dead(host, c);
        bool empty = !c->limbo_first && !c->dead_closed && !c->dead_open;
        seam_unlock(&c->limbo_lock);
        if (!empty)
            return false;
    }
    return true;
}

/* What is released can be the end of records, hence the loop; each round has less to do. */
void limbo_drain_wait(struct aspace_host *host)
{
    struct host_cpu *me = host_this_cpu(host);
    uint32_t own = seam_load(&me->releasing);
    while (!lists_empty(host)) {
        smr_wait(host, smr_goal(host));
        for (uint32_t i = 0; i < host->cpus; i++)
            release_due(host, &host->cpu[i]);
    }
    for (uint32_t i = 0; i < host->cpus; i++)
        while (seam_load_acquire(&host->cpu[i].releasing) > (&host->cpu[i] == me ? own : 0))
            aspace_pause();
}
