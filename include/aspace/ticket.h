/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Page faults, the asynchronous form: for pages that a backend has to fetch. No lock, no read section and no reference
 * to a table is held while a fault is pending, so that it fits threads, stackless tasks and vCPU loops alike.
 *
 *   try        NEEDS_IO: the ticket leads; fetch the page that *info tells into a frame which nothing maps, then
 *              WAITING: another ticket leads for this page; wait for hal->wake, which may come before try has
 *              returned, then look at aspace_ticket_state
 *   complete   of a leader: maps the frame, if all is still as it was
 *   fail       of a leader: the next in line leads
 *   cancel     of any: the same
 *
 * A leader that ends makes those who wait for its page run their access again, or one of them lead; so nobody waits
 * for nothing. Unmap, replace, move, discard, protection to none, an object that takes its pages back, and close make
 * the tickets in their range stale: the leaders learn it when they complete, those who wait are woken at once.
 * What is fetched are pages of CUSTOM areas; those of objects by the object itself.
 */
#ifndef ASPACE_TICKET_H
#define ASPACE_TICKET_H

#include <aspace/fault.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of the library: an entry of a space's list of pending pages. */
struct aspace_pending {
    struct aspace_pending *next, **link;
    aspace_va_t va;
    uint32_t stale;
};

/* The caller's memory, zeroed before its first use, and left where it is while it is not IDLE. All but `waiter` is the
 * library's. A ticket that is not IDLE pins the memory of its space, not what the space maps. */
struct aspace_ticket {
    void *waiter; /* what hal->wake gets; NULL: nobody is to be woken. After WAITING it is used until the wake has come,
                     be the ticket IDLE before that, or cancel has answered OK */
    struct aspace_pending pending;
    struct aspace *space;
    uint64_t area_id, cookie, offset, pa_end;
    uint64_t state;
    uint32_t need, leads;
};

enum aspace_ticket_state {
    ASPACE_TICKET_IDLE,    /* holds nothing; after a wake: run the access again */
    ASPACE_TICKET_WAITING, /* another fetches the page */
    ASPACE_TICKET_LEADING, /* fetch the page, then complete, fail or cancel */
};

enum {
    ASPACE_FAULT_NOWAIT = 1u << 0, /* WOULD_BLOCK in the place of NEEDS_IO and WAITING; the ticket may be NULL */
};

/*
 * As aspace_fault, and where the backend answers NEEDS_IO the ticket is armed: NEEDS_IO, it leads, or WAITING. info may
 * be NULL; for NEEDS_IO it is what says which page of which area is to be fetched. A ticket that is not IDLE: for the
 * same page the answer is what it is now, or RETRY while a CPU is ending it; for another WOULD_BLOCK. WOULD_BLOCK too
 * where the page is there with too few rights, and the backend needs I/O to give more.
 * Context: any; never blocks. Atomic: the tables that complete will need are made here (NO_MEMORY). Cost: a fault, a
 * page-table lock, and a look at each pending ticket of the space.
 */
ASPACE_MUST_CHECK enum aspace_fault_result aspace_fault_try(struct aspace *space, aspace_va_t va, uint32_t access,
                                                            uint32_t flags, struct aspace_ticket *ticket,
                                                            struct aspace_fault_info *info);

/*
 * The frame at pa holds the page. OK: it is mapped with the rights that the area has now, and is the area's as if
 * `fill` had given it; in every other case the frame stays the caller's. But for INVALID and RETRY a ticket that
 * led is IDLE afterwards; one that did not stays what it is.
 * With ASPACE_PA_NONE nothing is mapped: the backend or the object has the page at hand now, and whoever waits for it
 * faults again. That is the only way for areas of objects (UNSUPPORTED with a frame): their pages are the object's.
 * Failure: INVALID (pa; nothing happened), UNSUPPORTED, STALE (the page is no longer mapped, was discarded, or the
 * access is no longer allowed: run it again; or the ticket does not lead, such as when a cancel was faster), EXISTS
 * (filled already), CLOSED, RETRY (a fork is under way: complete again).
 * Context: any CPU, in or out of a read section; takes a page-table lock; never allocates.
 * TLB: as a fault's. On return the memory of a destroyed space may be gone (aspace_config.released). Cost: a walk.
 */
ASPACE_MUST_CHECK int aspace_fault_complete(struct aspace_ticket *ticket, aspace_pa_t pa);

/* The page could not be fetched: one of those who wait for it leads instead and is woken. `error` is for the trace.
 * Failure: INVALID (error is not negative), STALE (the ticket does not lead). */
ASPACE_MUST_CHECK int aspace_fault_fail(struct aspace_ticket *ticket, int error);

/* Give up, leading or waiting; as fail. Of complete, fail and cancel of one ticket exactly one takes effect, on
 * whatever CPUs. Failure: STALE (the ticket was IDLE, or became so before). */
ASPACE_MUST_CHECK int aspace_fault_cancel(struct aspace_ticket *ticket);

/* What the ticket is now; WAITING, too, while a CPU is ending it. Context: its owner's, any CPU. Cost: a load. */
enum aspace_ticket_state aspace_ticket_state(const struct aspace_ticket *ticket);

#ifdef __cplusplus
}
#endif
#endif
