/* SPDX-License-Identifier: BSD-2-Clause */
/* Page faults, the synchronous form: find the mapping, check the access, fill or refuse. */
#ifndef ASPACE_FAULT_H
#define ASPACE_FAULT_H

#include <aspace/aspace.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(identifier, what the caller does) */
#define ASPACE_FAULTS(X)                                                                                               \
    X(DONE, "filled: run again")                                                                                       \
    X(SPURIOUS, "already allowed: local fence, run again")                                                             \
    X(TRAP, "emulate: info holds cookie and offset")                                                                   \
    X(NO_AREA, "nothing is mapped there")                                                                              \
    X(GUARD, "a guard range")                                                                                          \
    X(PERMISSION, "the area forbids this access")                                                                      \
    X(BUS, "the object has no such page")                                                                              \
    X(NO_MEMORY, "out of memory or quota; nothing changed")                                                            \
    X(CLOSED, "the space is closing or closed")                                                                        \
    X(WOULD_BLOCK, "the backend would have to wait")                                                                   \
    X(NEEDS_IO, "the backend needs I/O")                                                                               \
    X(WAITING, "another fault fetches this page: wait to be woken")                                                    \
    X(RETRY, "a change is in flight: run again")

enum aspace_fault_result {
#define ASPACE_X(id, text) ASPACE_FAULT_##id,
    ASPACE_FAULTS(ASPACE_X)
#undef ASPACE_X
        ASPACE_FAULT_COUNT
};

/* "DONE" ...; "?" for any other number. */
const char *aspace_fault_name(enum aspace_fault_result result);

/* More about an answer. Filled for TRAP, NEEDS_IO and WAITING (all), GUARD, PERMISSION, BUS (area_id). */
struct aspace_fault_info {
    uint64_t cookie; /* of the area */
    uint64_t offset; /* of va in the mapping: bytes */
    uint64_t area_id;
};

/*
 * Handle a fault of the given access (ASPACE_R, _W or _X, with _U for unprivileged code where it matters) at va.
 * info may be NULL. Context: any CPU, in or out of a read section; lock-free on lazily mapped pages; calls the HAL's
 * allocator inside a read section. TLB: an invalid entry became valid, nothing to flush; after
 * SPURIOUS the CPU that faulted does a local fence. Atomic: on any answer but DONE no mapping is changed.
 * Cost: a walk, a frame, one compare-and-swap.
 */
ASPACE_MUST_CHECK enum aspace_fault_result aspace_fault(struct aspace *space, aspace_va_t va, uint32_t access,
                                                        struct aspace_fault_info *info);

/* A doorbell: a write of `width` bytes (0: any width) of `value` (ignored if any_value) at `offset` in a trap area. */
struct aspace_doorbell {
    uint64_t offset;
    uint32_t width;
    bool any_value;
    uint64_t value;
    uint64_t cookie;
};

/* After a TRAP answer for a write has been decoded: is there a doorbell? *cookie is its cookie.
 * Failure: NOT_MAPPED (no trap area there, or no such doorbell), RANGE, RETRY. Lock-free. */
ASPACE_MUST_CHECK int aspace_doorbell_match(struct aspace *space, aspace_va_t va, uint32_t width, uint64_t value,
                                            uint64_t *cookie);

#ifdef __cplusplus
}
#endif
#endif
