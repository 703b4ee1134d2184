/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames as owned values: a thin cover of the HAL's allocator. Knows nothing of spaces. */
#include <aspace/memory.h>

#include "sync/bits.h"
#include "sync/host.h"

enum { ORDER_MAX = 40 }; /* far above any allocator's, and 4096 << order does not wrap */

int aspace_frame_alloc(struct aspace_host *host, unsigned order, bool zero, struct aspace_frame *f)
{
    if (!host || !f || order > ORDER_MAX)
        return ASPACE_E_INVALID;
    *f = (struct aspace_frame){.host = NULL, .pa = ASPACE_PA_NONE, .order = 0};
    aspace_pa_t pa = host->hal->alloc(host->ctx, order, zero ? ASPACE_ALLOC_ZERO : 0);
    if (pa == ASPACE_PA_NONE)
        return ASPACE_E_NO_MEMORY;
    *f = (struct aspace_frame){.host = host, .pa = pa, .order = order};
    return ASPACE_E_OK;
}

void *aspace_frame_data(const struct aspace_frame *f)
{
    return f->host ? aspace_phys_to_virt(f->pa) : NULL;
}

uint64_t aspace_frame_bytes(const struct aspace_frame *f)
{
    return f->host ? 4096ull << f->order : 0;
}

void aspace_frame_fill(struct aspace_frame *f, uint8_t byte)
{
    if (f->host)
        memset(aspace_frame_data(f), byte, aspace_frame_bytes(f));
}

aspace_pa_t aspace_frame_take(struct aspace_frame *f)
{
    aspace_pa_t pa = f->host ? f->pa : ASPACE_PA_NONE;
    *f = (struct aspace_frame){.host = NULL, .pa = ASPACE_PA_NONE, .order = 0};
    return pa;
}

void aspace_frame_release(struct aspace_frame *f)
{
    struct aspace_host *host = f->host;
    unsigned order = f->order;
    aspace_pa_t pa = aspace_frame_take(f);
    if (host)
        host->hal->free(host->ctx, pa, order);
}
