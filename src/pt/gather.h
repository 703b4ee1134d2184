/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gather: what one operation took away. Collects the address range to be invalidated, and the frames, tables and
 * records to be released. Release happens through one gate: flush, acknowledgement, grace period, free, in this order
 * (invariant I1). The grace period is waited for by the deferred lists of the CPUs, one page of items at a time.
 */
#ifndef PT_GATHER_H
#define PT_GATHER_H

#include "pt/pool.h"
#include "pt/pt.h"

enum { GATHER_INLINE = 48 };

struct gather {
    struct pt *pt;
    aspace_va_t va, end; /* hull of what must be flushed; va == end: nothing */
    uint64_t entries;
    uint8_t min_lg2, max_lg2;
    bool tables;                /* tables were unlinked */
    bool took;                  /* there was something to flush, at some time */
    bool fenced;                /* the last change was a slot_xchg_fence */
    uint64_t active[CPU_WORDS]; /* gather_ask: whom gather_send asks */
    unsigned n;
    unsigned capacity;    /* items that fit in `items` and the reserved pages */
    struct node *reserve; /* unused pages */
    struct node *pages;   /* full ones; node->count items each */
    struct area *dead;    /* by next_dead */
    uint64_t items[GATHER_INLINE];
};

/* Nothing is to be flushed, or no longer. */
static inline void gather_clear_flush(struct gather *g)
{
    g->va = g->end = 0;
    g->entries = 0;
    g->min_lg2 = 63;
    g->max_lg2 = 0;
    g->tables = g->fenced = false;
}

static inline void gather_init(struct gather *g, struct pt *pt)
{
    g->pt = pt;
    gather_clear_flush(g);
    g->took = false;
    g->n = 0;
    g->capacity = GATHER_INLINE - 2; /* an item does not straddle storages */
    g->reserve = g->pages = NULL;
    g->dead = NULL;
}

/* Words of items that a reserved page is sure to take. */
unsigned gather_page_words(void);

/* `entries` leaves of level `level` in [va, end) may be cached by CPUs. */
static inline void gather_flush_range(struct gather *g, aspace_va_t va, aspace_va_t end, unsigned level,
                                      uint64_t entries)
{
    uint8_t lg2 = g->pt->F->shift[level];
    if (g->va == g->end) {
        g->va = va;
        g->end = end;
    } else {
        g->va = va < g->va ? va : g->va;
        g->end = end > g->end ? end : g->end;
    }
    g->entries += entries;
    g->min_lg2 = lg2 < g->min_lg2 ? lg2 : g->min_lg2;
    g->max_lg2 = lg2 > g->max_lg2 ? lg2 : g->max_lg2;
}

/* For who does not wait for flushes under way (R7): the leaves he finds may have been one until just before, which a
 * CPU still has, and an invalidation of a small leaf need not reach it. The next flush hints at no size. */
static inline void gather_flush_any_size(struct gather *g)
{
    g->max_lg2 = g->pt->F->shift[g->pt->top];
}

/* The frame of a leaf of an OWNED area, to be freed; one word. */
void gather_frame(struct gather *g, aspace_pa_t pa, unsigned order);

/* The same of a frame that others may map too; one word. */
void gather_counted(struct gather *g, aspace_pa_t pa, unsigned order);

/* Either of them, by the soft bits of the slot. */
static inline void gather_owned(struct gather *g, unsigned soft, aspace_pa_t pa, unsigned order)
{
    if (UNLIKELY(soft & SOFT_COUNTED))
        gather_counted(g, pa, order);
    else
        gather_frame(g, pa, order);
}

/* The page at va of a CUSTOM area, to be given to its backend; two words. Its page count is taken back at the release.
 * `how`: the order, and GATHER_DIRTY if the backend is to be told that it was written. */
enum { GATHER_DIRTY = 1u << 6 };
void gather_custom(struct gather *g, const struct area *area, aspace_va_t va, aspace_pa_t pa, unsigned how);

/* Tell the backend now that a page of its was written, which stays mapped. */
void backend_tell_dirty(const struct area *area, uint64_t page_index, aspace_pa_t pa, unsigned order);

/* An unlinked table, the first address it translated, and with it all tables below; three words. */
void gather_table(struct gather *g, struct node *n, aspace_va_t va);

/* A page that held dense values; one word. */
void gather_page(struct gather *g, struct node *page);

/* A record whose last page is gone; takes no room. */
static inline void gather_area(struct gather *g, struct area *area)
{
    area->next_dead = g->dead;
    g->dead = area;
}

/* The most words that one of the above takes. */
enum { GATHER_WORDS = 3 };

/*
 * Invalidate what was collected on all CPUs that may hold it, and wait. What is released stays. In two halves where
 * locks are dropped in between: gather_ask, after the last change and under the locks, says whether any CPU has to be
 * asked and announces the range; gather_send does it, and withdraws the announcement when all have acknowledged.
 */
bool gather_ask(struct gather *g);
void gather_send(struct gather *g);
void gather_flush(struct gather *g);

/* R7: the locked node is about to be looked at by an operation on [va, end). Wait until no other CPU has an
 * invalidation announced that overlaps it. */
void gather_settle(struct pt *pt, struct node *n, aspace_va_t va, aspace_va_t end);

static inline void gather_settle_node(struct pt *pt, struct node *n, aspace_va_t va, aspace_va_t end)
{
    if (UNLIKELY(n->flushing))
        gather_settle(pt, n, va, end);
}

/* R7: the locked node is about to be unlocked with this CPU's invalidation announced. */
static inline void gather_mark_node(struct node *n)
{
    uint32_t me = host_lock_tag();
    n->flushing = me < FLUSHING_MANY && (!n->flushing || n->flushing == me) ? (uint8_t)me : FLUSHING_MANY;
}

/* After the flush, outside of the section: hand the items to this CPU's deferred list, and free what is due there.
 * Unused reserved pages are freed. */
void gather_finish(struct gather *g);

/* n pages of the area are gone and released: the record dies with the last. Outside of a section. */
void area_put_pages(struct aspace_host *host, struct area *area, uint64_t pages);

/* Free what is deferred on this CPU's list and past its grace period. Returns how many items are left. */
size_t limbo_drain(struct aspace_host *host);

/* The same on every CPU's list: where memory is short, since a CPU that is idle frees nothing by itself. */
void limbo_drain_all(struct aspace_host *host);

/* Free all that is deferred on any CPU, waiting for readers. */
void limbo_drain_wait(struct aspace_host *host);

#endif
