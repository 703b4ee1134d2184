/* SPDX-License-Identifier: BSD-2-Clause */
/* Many frames at once, and the way back of one. Must not know what they are for. */
#include "pt/frames.h"

size_t pt_alloc_frames(const struct pt *pt, aspace_pa_t *pa, size_t n)
{
    const struct aspace_hal *hal = pt->host->hal;
    size_t got = 0, good = 0;
    if (hal->alloc_batch)
        got = hal->alloc_batch(pt->host->ctx, pa, n, ASPACE_ALLOC_ZERO);
    else
        while (got < n && (pa[got] = hal->alloc(pt->host->ctx, 0, ASPACE_ALLOC_ZERO)) != ASPACE_PA_NONE)
            got++;
    for (size_t i = 0; i < got; i++) {
        if (LIKELY(pa[i] < pt->C.pa_end))
            pa[good++] = pa[i];
        else /* the format cannot address it */
            hal->free(pt->host->ctx, pa[i], 0);
    }
    return good;
}

void pt_give_frame(struct pt *pt, aspace_pa_t pa, unsigned order)
{
    pt->host->hal->free(pt->host->ctx, pa, order);
    pt_account_frames(pt, -((int64_t)1 << order));
}
