/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fork: an empty space becomes a copy of another, a process or a running guest. Pages that an area owns are shared and
 * read-only in both from then on; the first write to one, on either side, copies it, and the last mapping takes its
 * frame back without a copy. Pages not yet filled stay unfilled. A fork that nobody runs is a snapshot.
 *
 * What each area asks for is aspace_map.fork:
 *   COW     owned pages are shared until written. Borrowed memory (LINEAR, ROM) and areas without pages (TRAP,
 *           RESERVED, GUARD) are the same in both. A backend's pages are asked for by the child's own faults
 *   SHARE   the same, where no page is the area's own; UNSUPPORTED at the map otherwise: what the parent fills later
 *           could not reach the child
 *   COPY    owned pages are copied at once, as they are at the cut, which pinned ones (aspace/pin.h) always are;
 *           UNSUPPORTED at the map for other areas
 *   DROP    the child has nothing there
 *   WIPE    the child has the area, unfilled; UNSUPPORTED at the map where nothing is owned
 *   REFUSE  the fork fails with PERMISSION
 *
 * The copy is one consistent cut, even of a space that CPUs are running in: a write that the child sees was made before
 * every write, by whomever, that it does not see. While it is made, faults and writes to the parent answer RETRY (a CPU
 * simply faults again; in QSBR mode it passes a quiescent state before, as the fork waits for that), operations that
 * change it wait, lookups go on, and so do reads, but for what would have to be filled: RETRY.
 *
 * The child has nothing of the parent's watchers, tickets, pins, mirror and dirty log, nor the kernel's half of a first
 * stage (aspace_share_upper).
 */
#ifndef ASPACE_FORK_H
#define ASPACE_FORK_H

#include <aspace/aspace.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * child: created with the parent's host and configuration (but for tag, quotas, fault_around, user, released), empty,
 * and used by nobody until this returns. Context: outside of read sections; waits for a grace period; allocates.
 * TLB: on return no CPU can write to the parent by a translation from before.
 * Failure: INVALID (the two do not match, or the child is not empty), CLOSED, BUSY (the parent is being forked),
 * PERMISSION (an area refuses), NO_MEMORY, QUOTA (the child's; the parent's for a split), or what a backend's `forked`
 * gives. The child is empty then, and the parent as before: pages that were shared already cost it a fault each, but no
 * copy, and leaves with frames of 1 GiB, which are split to be shared, stay so.
 * Cost: the parent's tables; a count and a compare-and-swap for each page that is filled; for one that is to be copied,
 * that.
 */
ASPACE_MUST_CHECK int aspace_fork(struct aspace *parent, struct aspace *child);

/*
 * The same in steps of about `budget` tables, for large spaces whose writers are excluded anyway: a guest whose CPUs
 * are stopped, a process of one thread. A table counts as one, also where each of its pages is copied. The parent
 * stands still from begin to the last step, which gives OK or an error; MORE before that. So what changes the parent
 * waits, and is not to be called between two steps by who makes them. Any CPU may make a step; after an error or OK the
 * fork is over. aspace_fork_cancel ends it after MORE, as if memory had run out. An end without OK waits for a grace
 * period, as begin does. The memory of `fork` is the caller's until then.
 */
struct aspace_fork {
    uint64_t opaque[96];
};
ASPACE_MUST_CHECK int aspace_fork_begin(struct aspace_fork *fork, struct aspace *parent, struct aspace *child);
ASPACE_MUST_CHECK int aspace_fork_step(struct aspace_fork *fork, size_t budget);
void aspace_fork_cancel(struct aspace_fork *fork);

#ifdef __cplusplus
}
#endif
#endif
