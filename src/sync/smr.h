/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Safe memory reclamation: read sections and grace periods. The guarantees, cited by their numbers in the code:
 *
 *   G1  What a reader reached inside a section is not reclaimed before the section's end, if it was unlinked before
 *       smr_goal was called for it.
 *   G2  smr_passed(goal) true: every section that began before that smr_goal has ended.
 *   G3  Readers never wait for reclaimers; a reclaimer that polls never waits for readers.
 *   G4  A CPU that never ends its section stops reclamation, not allocation: memory is bounded by what prepare's retry
 *       and destroy are willing to wait for.
 *
 * How: one epoch counter; each CPU publishes the epoch it entered with. A goal is one more than the epoch at the time;
 * it has passed when no CPU shows an older epoch. Dekker: the reader stores its epoch, fences, reads tables; the
 * reclaimer unlinks, fences, reads the epochs (both seq_cst). Every store of an epoch is a release, the one that begins
 * a section too: who reads it may not have seen the one before, which ended the last section.
 */
#ifndef ASPACE_SMR_H
#define ASPACE_SMR_H

#include "sync/host.h"

static inline __attribute__((always_inline)) void smr_enter(struct aspace_host *host)
{
    if (LIKELY(host->smr == ASPACE_SMR_QSBR))
        return;
    if (host->smr == SMR_HOOKS) {
        host->hal->smr_enter(host->ctx);
    } else {
        struct host_cpu *c = host_this_cpu(host);
        if (c->smr_nest++ == 0) {
            seam_store_release(&c->smr_seen, seam_load_acquire(&host->smr_epoch));
            seam_fence();
        }
    }
}

static inline __attribute__((always_inline)) void smr_leave(struct aspace_host *host)
{
    if (LIKELY(host->smr == ASPACE_SMR_QSBR))
        return;
    if (host->smr == SMR_HOOKS) {
        host->hal->smr_leave(host->ctx);
    } else {
        struct host_cpu *c = host_this_cpu(host);
        if (--c->smr_nest == 0)
            seam_store_release(&c->smr_seen, 0);
    }
}

/* What was unlinked before this call may be reclaimed once smr_passed says so for the value returned. */
uint64_t smr_goal(struct aspace_host *host);
bool smr_passed(struct aspace_host *host, uint64_t goal);

/* Spins until the goal has passed; announces a quiescent state for the calling CPU. Not inside a section. */
void smr_wait(struct aspace_host *host, uint64_t goal);

#endif
