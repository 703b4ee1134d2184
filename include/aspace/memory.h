/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Access to the memory of a space by input address, and frames of the embedder's as owned values. The frames reached
 * are not recycled during an access. Lazy pages are faulted in; nothing past what is mapped is touched; a hole, a trap
 * area or a missing right ends the access with the count of bytes done. LINEAR and ROM memory is reached through
 * aspace_phys_to_virt like any other, so the port must cover it.
 */
#ifndef ASPACE_MEMORY_H
#define ASPACE_MEMORY_H

#include <aspace/fault.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Copy n bytes from (read) or to (write) the space. *done (may be NULL) is the number of bytes copied, also on failure.
 * Rights are checked: R to read, W to write. Writes are done under the lock of the table that maps the page, so that
 * none is lost to a concurrent migrate, protect or collapse, and mark it dirty where the format has such a bit.
 * Failure: RANGE, NOT_MAPPED, PERMISSION, FAULT (backend or trap area), NO_MEMORY, CLOSED, RETRY (a change in flight
 * that does not end, or a fork). Not atomic as a whole.
 */
ASPACE_MUST_CHECK int aspace_read(struct aspace *space, aspace_va_t va, void *buffer, size_t n, size_t *done);
ASPACE_MUST_CHECK int aspace_write(struct aspace *space, aspace_va_t va, const void *buffer, size_t n, size_t *done);

/* Objects: all or an error. */
#define aspace_read_object(space, va, object) aspace_read(space, va, object, sizeof(*(object)), NULL)
#define aspace_write_object(space, va, object) aspace_write(space, va, object, sizeof(*(object)), NULL)

/* Atomic compare-exchange of a naturally aligned value of width 1, 2, 4 or 8 bytes: *expected is what was there;
 * *swapped says whether desired was stored. Sequentially consistent. Failure: as write, INVALID (width, alignment). */
ASPACE_MUST_CHECK int aspace_compare_exchange(struct aspace *space, aspace_va_t va, unsigned width, uint64_t *expected,
                                              uint64_t desired, bool *swapped);

struct aspace_segment {
    void *data;
    aspace_pa_t pa;
    size_t bytes;
};

/*
 * Zero-copy: the segments that make up [va, va+n), adjacent output addresses joined. The caller is in a read section
 * (aspace_read_begin) and uses the segments only inside it. *count is the capacity on entry, the number used on return;
 * *done (may be NULL) the bytes covered, which is less than n if the array is too small (LIMIT), or on failure.
 * With access ASPACE_W the pages are writable now; a migrate or protect by another CPU is not held off, and pages are
 * not marked dirty. A fork waits for the section to end, and until it is through there are no such segments: RETRY.
 * Failure: as read and write, INVALID (no access).
 */
ASPACE_MUST_CHECK int aspace_segments(struct aspace *space, aspace_va_t va, size_t n, uint32_t access,
                                      struct aspace_segment *segments, size_t *count, size_t *done);

/* A run of 2^order owned frames, usable without a space: allocate, fill, address, release exactly once.
 * Failure of alloc: INVALID, NO_MEMORY. */
struct aspace_frame {
    struct aspace_host *host; /* NULL: empty */
    aspace_pa_t pa;
    unsigned order;
};

ASPACE_MUST_CHECK int aspace_frame_alloc(struct aspace_host *host, unsigned order, bool zero, struct aspace_frame *f);
void aspace_frame_fill(struct aspace_frame *f, uint8_t byte);
void *aspace_frame_data(const struct aspace_frame *f);
uint64_t aspace_frame_bytes(const struct aspace_frame *f);
void aspace_frame_release(struct aspace_frame *f);     /* f becomes empty; releasing an empty frame does nothing */
aspace_pa_t aspace_frame_take(struct aspace_frame *f); /* ownership passes to the caller, who frees through the HAL */

#ifdef __cplusplus
}
#endif
#endif
