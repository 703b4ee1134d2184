/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames for pages of a space. Owns how they are asked for: what the format can address, within the quota. Must not
 * know what they are mapped as.
 */
#ifndef PT_FRAMES_H
#define PT_FRAMES_H

#include "pt/pt.h"

/* A frame that the format can address, or ASPACE_PA_NONE. */
static inline aspace_pa_t pt_alloc_frame(const struct pt *pt, unsigned order, unsigned flags)
{
    aspace_pa_t pa = pt->host->hal->alloc(pt->host->ctx, order, flags);
    if (LIKELY(pa < pt->C.pa_end))
        return pa;
    if (pa != ASPACE_PA_NONE)
        pt->host->hal->free(pt->host->ctx, pa, order);
    return ASPACE_PA_NONE;
}

/* Up to n small ones, filled with zeroes; how many. */
size_t pt_alloc_frames(const struct pt *pt, aspace_pa_t *pa, size_t n);

/* A frame that the space is charged with, or ASPACE_PA_NONE. */
static inline aspace_pa_t pt_take_frame(struct pt *pt, unsigned order, unsigned flags)
{
    if (!pt_account_frames(pt, (int64_t)1 << order))
        return ASPACE_PA_NONE;
    aspace_pa_t pa = pt_alloc_frame(pt, order, flags);
    if (UNLIKELY(pa == ASPACE_PA_NONE))
        pt_account_frames(pt, -((int64_t)1 << order));
    return pa;
}

/* One that was charged and is not mapped. */
void pt_give_frame(struct pt *pt, aspace_pa_t pa, unsigned order);

#endif
