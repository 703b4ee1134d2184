/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the names of the TLB invalidations that a build may leave out, to see that the guest then fails. */
#ifndef HYP_LEAVE_OUT_H
#define HYP_LEAVE_OUT_H

enum leave_out {
    LEAVE_OUT_nothing,
    LEAVE_OUT_all,
    LEAVE_OUT_ipas2,
    LEAVE_OUT_vmalle1,
    LEAVE_OUT_gvma_remote,
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
    static const char *const names[] = {"", "all", "ipas2", "vmalle1", "gvma-remote"};
    return names[LEAVE_OUT];
}

#endif
