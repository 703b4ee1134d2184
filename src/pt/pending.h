/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages that something is pending for. Owns the list, and that whoever takes a page away tells so under the locks of
 * the tables that held it; must not know what is pending.
 *
 *   P1  An entry is put into the list under the lock of the leaf table that holds its page.
 *   P2  What takes away or drops pages calls pt_revoke for exactly their range, after the change and before the unlock
 *       of those tables.
 *   P3  The list's lock is taken last: node lock, list lock, nothing.
 */
#ifndef PT_PENDING_H
#define PT_PENDING_H

#include <aspace/ticket.h>

#include "pt/pt.h"

/* Call `revoke` for each entry in [va, end). It may take that entry out. */
void pt_revoke_pending(struct pt *pt, aspace_va_t va, aspace_va_t end);

/* P1 and the node's lock order the load. */
static inline void pt_revoke(struct pt *pt, aspace_va_t va, aspace_va_t end)
{
    if (UNLIKELY(seam_load(&pt->pending.count)))
        pt_revoke_pending(pt, va, end);
}

/* Under the list's lock: at the end, and out again. */
void pt_pending_add(struct pt *pt, struct aspace_pending *p);
void pt_pending_remove(struct pt *pt, struct aspace_pending *p);

#endif
