/* SPDX-License-Identifier: BSD-2-Clause */
/* The space: a page table, a state, and what the embedder said at creation. Owns struct aspace; knows no entry's
 * bits. */
#ifndef SPACE_SPACE_H
#define SPACE_SPACE_H

#include <aspace/fault.h>

#include "pt/range.h"

struct aspace_mirror;

enum space_state { SPACE_OPEN, SPACE_CLOSING, SPACE_CLOSED };

struct aspace {
    struct pt pt; /* first: pt.owner points back */
    uint32_t state;
    void *user;
    void (*released)(void *user);
    const struct aspace_mirror *mirror; /* or NULL */
    void *mirror_ctx;
    uint64_t context;                /* aspace/tag.h: generation and tag; 0: none yet */
    aspace_va_t watch_va, watch_end; /* all that is watched lies in it: nobody else takes the lock of the watchers */

    /* What is written often lies apart from the state, which all calls read. Tickets that are not idle, and one until
     * destroy has ended: the last calls `released`. */
    uint64_t pins __attribute__((aligned(ASPACE_CACHE_LINE)));
    uint32_t completing; /* completions that may be looking at tables; raised under pt.pending.lock while open */

    aspace_va_t sweep_va __attribute__((aligned(ASPACE_CACHE_LINE)));
    uint32_t watch_lock; /* guards what follows, the two above, and the watchers */
    uint64_t watch_number;
    struct aspace_watcher *watchers; /* in the order of their numbers */

    uint64_t pinned __attribute__((aligned(ASPACE_CACHE_LINE))); /* pages, each as often as it is pinned */
    struct pt_cpu cpu[] __attribute__((aligned(ASPACE_CACHE_LINE)));
};
_Static_assert(sizeof(struct aspace) <= 2048, "ASPACE_BYTES covers the space");

static inline bool space_is_open(const struct aspace *s)
{
    return seam_load(&s->state) == SPACE_OPEN;
}

/* OK, INVALID, RANGE or CLOSED for a page-aligned, non-empty range of an open space. */
int space_check_range(const struct aspace *s, aspace_va_t va, uint64_t size);

/* ticket.c. Close: no fault is pending or completed after it, though some may still be completing. */
void ticket_init(struct aspace *s);
void ticket_close(struct aspace *s);
void ticket_settle(const struct aspace *s); /* after close: waits for those */
void space_unpin(struct aspace *s);         /* the space's memory may be gone on return */
bool space_ticket_leads(struct aspace_pending *p);

/* lookup.c: walks until the slot is not BUSY. In a section, which is left in between so that grace periods end. False:
 * it stays so for too long. */
struct walk;
bool space_walk(struct pt *pt, aspace_va_t va, struct walk *w);

/* fault.c: the tables for a leaf of one page at va, if the marker there is above that level. DONE, NO_MEMORY, RETRY. */
enum aspace_fault_result fault_make_tables(struct aspace *s, aspace_va_t va);
/* Tells all watchers that the space ends, and forgets them. */
void space_tell_destroyed(struct aspace *s);

/* The answer of a fault that a call of another sort made; OK: look again. */
int space_fault_error(enum aspace_fault_result result);

/* Leaves that faults copy: anew when a log begins or ends to withhold the write right. */
void space_fill_templates(struct pt *pt);

static inline bool space_contains(const struct aspace *s, aspace_va_t va)
{
    return va >= s->pt.base && va < s->pt.end;
}

#endif
