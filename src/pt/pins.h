/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames that devices use: how often each is pinned, in a sparse table like that of shared frames. Owns what becomes of
 * a pinned frame that is no longer mapped: the last unpin frees it. Must not know of spaces.
 *
 * A pin is made under the lock of the table that maps the frame, so who holds that lock and finds none is free to take
 * the frame away. Who frees frames looks at `host.pinned` first.
 */
#ifndef PT_PINS_H
#define PT_PINS_H

#include "sync/bits.h"
#include "sync/host.h"

static inline bool pins_exist(const struct aspace_host *host)
{
    return UNLIKELY(seam_load(&host->pinned) != 0);
}

/* The same where pins exist at all. */
bool pins_any_of(struct aspace_host *host, aspace_pa_t pa, unsigned order);

/* Is any of the 2^order frames at pa pinned? A fork copies those for the child. */
static inline bool pins_any(struct aspace_host *host, aspace_pa_t pa, unsigned order)
{
    return pins_exist(host) && pins_any_of(host, pa, order);
}

/* Room for the count of the frame: OK, NO_MEMORY. Outside of locks. */
int pins_prepare(struct aspace_host *host, aspace_pa_t pa);

/* One pin more, where there is room. LIMIT: there are as many as can be counted. */
int pins_add(struct aspace_host *host, aspace_pa_t pa);

/* One pin less; frees the frame if nothing maps it any more. INVALID: it has none. Outside of locks. */
int pins_drop(struct aspace_host *host, aspace_pa_t pa);

/* Nothing maps the 2^order frames any more: free them through the HAL, the pinned ones when they are unpinned. Outside
 * of locks. */
void pins_free(struct aspace_host *host, aspace_pa_t pa, unsigned order);

#endif
