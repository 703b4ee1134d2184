/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns requests between CPUs: fences on other harts. The firmware offers them too, but its caller spins for as long as
 * an emulator takes to get the others to run, and all of them compete for the host's processors; here a CPU that may
 * sleep does.
 *
 * Each CPU has at most one request out, and a word that says from whom it has one to serve. One that runs the guest is
 * interrupted; one that runs the hypervisor serves in aspace_pause(), so that nobody who spins for a lock keeps waiting
 * the CPU that holds it.
 */
#include <stdatomic.h>

#include "riscv64.h"

enum { SPINS = 2000, NAP_US = 50, EXT_IPI = 0x735049 };

static struct request requests[HYP_CPUS_MAX]; /* by sender; stands still until all have served it */
static atomic_uint waiting[HYP_CPUS_MAX];     /* by receiver: bit n, CPU n waits */
static atomic_uint online;                    /* CPUs that run the guest, or the hypervisor on its behalf */

static bool is_online(unsigned cpu)
{
    return atomic_load(&online) >> cpu & 1;
}

/* Offline, a sender does not wait and may write its next request already. */
void mail_serve(void)
{
    unsigned self = aspace_cpu_id(), senders = atomic_load(&waiting[self]);
    for (unsigned i = 0; senders >> i && is_online(self); i++) {
        if (senders >> i & 1) {
            request_do(&requests[i]);
            atomic_fetch_and(&waiting[self], ~(1u << i));
        }
    }
}

/* Whoever sees this CPU offline from here on does not wait for it: it fences everything before it walks again. */
void mail_offline(void)
{
    atomic_fetch_and(&online, ~(1u << aspace_cpu_id()));
}

void mail_online(void)
{
    atomic_fetch_or(&online, 1u << aspace_cpu_id());
    request_do(&(struct request){.kind = REQUEST_EVERYTHING});
}

static bool served(uint64_t cpus)
{
    unsigned self = aspace_cpu_id();
    for (unsigned i = 0; i < HYP_CPUS_MAX; i++) {
        if (!(cpus >> i & 1) || !(atomic_load(&waiting[i]) >> self & 1))
            continue;
        if (is_online(i))
            return false;
        atomic_fetch_and(&waiting[i], ~(1u << self));
    }
    return true;
}

/* The members of `cpus` that are online do it; on return they have. */
void mail_send(uint64_t cpus, const struct request *request)
{
    unsigned self = aspace_cpu_id(), spins = 0;
    cpus &= atomic_load(&online) & ~(UINT64_C(1) << self);
    if (!cpus)
        return;
    requests[self] = *request;
    for (unsigned i = 0; i < HYP_CPUS_MAX; i++)
        if (cpus >> i & 1)
            atomic_fetch_or(&waiting[i], 1u << self);
    const uint64_t args[5] = {sbi_harts(cpus), 0};
    if (sbi_call(EXT_IPI, 0, args).error != 0)
        fail("the firmware refuses an interrupt to another CPU");
    while (!served(cpus)) {
        aspace_pause();
        if (++spins > SPINS)
            arch_yield(NAP_US);
    }
}
