/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pins: pages that a device uses. A pinned page keeps its frame: migrate, collapse and discard_zero answer BUSY,
 * discard leaves its contents, a fork gives the child a copy. Unmap takes the mapping away and not the frame, which
 * lives until it is unpinned; so does an object that takes its pages back, or cuts off what was copied from it. Protect
 * and the dirty log go on as with other pages: what a device writes is told by aspace_dirty_mark.
 */
#ifndef ASPACE_PIN_H
#define ASPACE_PIN_H

#include <aspace/fault.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Pin the pages of [va, va + size) for the access (ASPACE_R, _W or both) and store their frames in pages[], one for
 * each 4 KiB. Pages are faulted in; one that is shared copy-on-write and that the area lets be written is copied first,
 * whatever the access, so that a later write does not part it from its frame; where the area does not, it stays shared.
 * All or nothing. A page may be pinned several times. Context: not in a read section. TLB: as the faults.
 * Failure: INVALID, RANGE, NOT_MAPPED, PERMISSION, FAULT (backend or trap area), UNSUPPORTED (a backend's page), LIMIT,
 * NO_MEMORY, QUOTA, CLOSED, RETRY (a change in flight that does not end), or what the mirror answers.
 * Cost: a walk and a lock for each page.
 */
ASPACE_MUST_CHECK int aspace_pin(struct aspace *space, aspace_va_t va, uint64_t size, uint32_t access,
                                 aspace_pa_t *pages);

/* Undo a pin, or a part of it: pages[] as the pin stored them for [va, va + size). Frames that nothing maps any more
 * are freed. Before the space is destroyed, which answers BUSY while there are pins; also when it is closed. Failure:
 * INVALID: one of the frames is not pinned, or there are more of them than pins of the space, which is looked at first;
 * or one is in pages[] more often than it is pinned, and what is before that is unpinned. */
ASPACE_MUST_CHECK int aspace_unpin(struct aspace *space, aspace_va_t va, uint64_t size, const aspace_pa_t *pages);

/* Told of pinned ranges, such as an IOMMU's driver, with no lock of the library's held. */
struct aspace_mirror {
    /* [va, va + bytes) is pinned at pa, contiguous, for these rights. An error (negative) makes the pin fail with it;
     * what was mapped for that pin before is unmapped. */
    int (*map)(void *ctx, aspace_va_t va, aspace_pa_t pa, uint64_t bytes, uint32_t rights);
    /* Before the frames may be used for anything else: on return no device uses [va, va + bytes). */
    void (*unmap)(void *ctx, aspace_va_t va, uint64_t bytes);
};

/* NULL: none. Failure: BUSY: there are pins. No other call may be in progress on the space. */
ASPACE_MUST_CHECK int aspace_set_mirror(struct aspace *space, const struct aspace_mirror *mirror, void *ctx);

#ifdef __cplusplus
}
#endif
#endif
