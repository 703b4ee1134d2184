/* SPDX-License-Identifier: BSD-2-Clause */
/* Counts of pinned frames. A count is a word; its top bit says that nothing maps the frame any more. */
#include "pt/pins.h"
#include "pt/shares.h"

#define PINS_ORPHAN (1u << 31)

enum { PIN_FRAMES = 512 }; /* a page of the table is for so many */

static uint32_t *find(const struct aspace_host *host, aspace_pa_t pa)
{
    uint32_t *page = shares_page(&host->pin_root, pa);
    return page ? page + (pa >> 12 & (PIN_FRAMES - 1)) : NULL;
}

int pins_prepare(struct aspace_host *host, aspace_pa_t pa)
{
    return shares_prepare_page(host, &host->pin_root, pa);
}

bool pins_any_of(struct aspace_host *host, aspace_pa_t pa, unsigned order)
{
    for (uint64_t i = 0; i < 1ull << order; i++) {
        const uint32_t *count = find(host, pa + (i << 12));
        if (count && seam_load(count))
            return true;
    }
    return false;
}

int pins_add(struct aspace_host *host, aspace_pa_t pa)
{
    uint32_t *count = find(host, pa), *lock = shares_lock(host, pa);
    seam_add(&host->pinned, 1);
    seam_lock(lock, host_lock_tag());
    bool full = *count == PINS_ORPHAN - 1;
    if (!full)
        seam_store(count, *count + 1);
    seam_unlock(lock);
    if (full)
        seam_add(&host->pinned, (uint64_t)-1);
    return full ? ASPACE_E_LIMIT : ASPACE_E_OK;
}

int pins_drop(struct aspace_host *host, aspace_pa_t pa)
{
    uint32_t *count = find(host, pa), *lock = shares_lock(host, pa);
    if (!count)
        return ASPACE_E_INVALID;
    seam_lock(lock, host_lock_tag());
    bool any = *count & ~PINS_ORPHAN;
    if (any)
        seam_store(count, *count - 1);
    bool free = any && *count == PINS_ORPHAN;
    if (free)
        seam_store(count, 0);
    seam_unlock(lock);
    if (!any)
        return ASPACE_E_INVALID;
    if (free)
        host->hal->free(host->ctx, pa, 0);
    seam_add(&host->pinned, (uint64_t)-1);
    return ASPACE_E_OK;
}

/* Left to the one who unpins it? */
static bool leave_to_pins(struct aspace_host *host, aspace_pa_t pa)
{
    uint32_t *count = find(host, pa), *lock = shares_lock(host, pa);
    if (!count)
        return false;
    seam_lock(lock, host_lock_tag());
    bool pinned = *count;
    if (pinned)
        seam_store(count, *count | PINS_ORPHAN);
    seam_unlock(lock);
    return pinned;
}

void pins_free(struct aspace_host *host, aspace_pa_t pa, unsigned order)
{
    if (!pins_any(host, pa, order)) {
        host->hal->free(host->ctx, pa, order);
        return;
    }
    for (uint64_t i = 0; i < 1ull << order; i++)
        if (!leave_to_pins(host, pa + (i << 12)))
            host->hal->free(host->ctx, pa + (i << 12), 0);
}
