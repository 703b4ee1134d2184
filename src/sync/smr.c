/* SPDX-License-Identifier: BSD-2-Clause */
/* Grace periods of the library's own reclamation, and the public calls around it. Must not know what is reclaimed. */
#include "sync/smr.h"

uint64_t smr_goal(struct aspace_host *host)
{
    if (host->smr == SMR_HOOKS)
        return host->hal->smr_goal(host->ctx);
    seam_fence();
    return seam_add_acq_rel(&host->smr_epoch, 1) + 1;
}

bool smr_passed(struct aspace_host *host, uint64_t goal)
{
    if (host->smr == SMR_HOOKS)
        return host->hal->smr_passed(host->ctx, goal);
    seam_fence();
    for (uint32_t i = 0; i < host->cpus; i++) {
        uint64_t seen = seam_load_acquire(&host->cpu[i].smr_seen);
        if (seen && seen < goal)
            return false;
    }
    return true;
}

void smr_wait(struct aspace_host *host, uint64_t goal)
{
    while (!smr_passed(host, goal)) {
        aspace_quiescent(host);
        aspace_pause();
    }
}

void aspace_cpu_online(struct aspace_host *host)
{
    if (host->smr != ASPACE_SMR_QSBR)
        return;
    seam_store_release(&host_this_cpu(host)->smr_seen, seam_load_acquire(&host->smr_epoch));
    seam_fence();
}

void aspace_cpu_offline(struct aspace_host *host)
{
    if (host->smr == ASPACE_SMR_QSBR)
        seam_store_release(&host_this_cpu(host)->smr_seen, 0);
}

/* The release half orders the section that ends here, the fence the one that begins. */
void aspace_quiescent(struct aspace_host *host)
{
    struct host_cpu *c = host_this_cpu(host);
    if (host->smr != ASPACE_SMR_QSBR || !c->smr_seen)
        return;
    seam_store_release(&c->smr_seen, seam_load_acquire(&host->smr_epoch));
    seam_fence();
}

void aspace_read_begin(struct aspace_host *host)
{
    smr_enter(host);
}

void aspace_read_end(struct aspace_host *host)
{
    smr_leave(host);
}
