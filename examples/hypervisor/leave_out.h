/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the names of the TLB invalidations that a build may leave out, to see that the guest then fails. */
#ifndef HYP_LEAVE_OUT_H
#define HYP_LEAVE_OUT_H

enum leave_out {
    LEAVE_OUT_nothing,
    LEAVE_OUT_all,
    /* aarch64 */
    LEAVE_OUT_ipas2,     /* stage 2 by address */
    LEAVE_OUT_vmalle1,   /* what was combined with stage 1, after that */
    LEAVE_OUT_vmalls12,  /* everything of the VMID, for many addresses */
    LEAVE_OUT_broadcast, /* to the other CPUs: all of the above are done, here only */
    LEAVE_OUT_dsb_store, /* the barriers before the first invalidation, between the two, and after the last */
    LEAVE_OUT_dsb_between,
    LEAVE_OUT_dsb_after,
    /* riscv64 */
    LEAVE_OUT_gvma_local,
    LEAVE_OUT_gvma_remote,
    LEAVE_OUT_spurious, /* after a fault on what is mapped already */
    /* x86_64 */
    LEAVE_OUT_asid_local, /* on this CPU, at its next entry to the guest */
    LEAVE_OUT_asid_remote,
    /* all */
    LEAVE_OUT_activation, /* on a CPU that was not active while others were told */
};

#ifndef LEAVE_OUT
#define LEAVE_OUT LEAVE_OUT_nothing
#endif

/* Is this invalidation part of the build? */
static inline int leave_in(enum leave_out kind)
{
    return LEAVE_OUT != LEAVE_OUT_all && LEAVE_OUT != kind;
}

static inline const char *leave_out_name(void)
{
    static const char *const names[] = {
        "",          "all",        "ipas2",       "vmalle1",  "vmalls12",   "broadcast",   "dsb-store", "dsb-between",
        "dsb-after", "gvma-local", "gvma-remote", "spurious", "asid-local", "asid-remote", "activation"};
    return names[LEAVE_OUT];
}

#endif
