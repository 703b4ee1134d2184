/* SPDX-License-Identifier: BSD-2-Clause */
/* The seams as they are when nobody checks them (seam.h). A checker's header may define the fences and include the rest
 * from here. */
#ifndef ASPACE_SEAM_DEFAULT_H
#define ASPACE_SEAM_DEFAULT_H

#include <stdbool.h>
#include <stdint.h>

#include <aspace/port.h>

#define SEAM_INLINE static inline __attribute__((always_inline, unused))

/* Reads a slot that a walk is about to follow or decide on. Pairs with every slot_publish and slot_cas. */
SEAM_INLINE uint64_t slot_load(const uint64_t *slot)
{
    return __atomic_load_n(slot, __ATOMIC_ACQUIRE);
}

/* Reads a slot whose content no other CPU depends on being ordered: scans under the node's lock. */
SEAM_INLINE uint64_t slot_peek(const uint64_t *slot)
{
    return __atomic_load_n(slot, __ATOMIC_RELAXED);
}

/* Makes initialised contents (a child, a frame) reachable. */
SEAM_INLINE void slot_publish(uint64_t *slot, uint64_t e)
{
    __atomic_store_n(slot, e, __ATOMIC_RELEASE);
}

/* Overwrites a slot under its node's lock where nothing becomes reachable by it. */
SEAM_INLINE void slot_store(uint64_t *slot, uint64_t e)
{
    __atomic_store_n(slot, e, __ATOMIC_RELAXED);
}

SEAM_INLINE bool slot_cas(uint64_t *slot, uint64_t *expected, uint64_t e)
{
    return __atomic_compare_exchange_n(slot, expected, e, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

SEAM_INLINE uint64_t slot_xchg(uint64_t *slot, uint64_t e)
{
    return __atomic_exchange_n(slot, e, __ATOMIC_ACQ_REL);
}

#if defined(__x86_64__) && !defined(seam_fence)
/* An exchange is a full fence there. */
#define slot_xchg_fence(slot, e) __atomic_exchange_n((slot), (e), __ATOMIC_SEQ_CST)
#endif

/* Plain words: counters, sequence numbers, flags. */
#define seam_load(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define seam_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define seam_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define seam_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define seam_add(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
#define seam_add_acq_rel(p, v) __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL)
#define seam_sub_release(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_RELEASE)
#define seam_sub_acq_rel(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_ACQ_REL)
#define seam_or(p, v) __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)
#define seam_and(p, v) __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST)
#ifndef seam_fence
#define seam_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define seam_fence_acquire() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define seam_fence_release() __atomic_thread_fence(__ATOMIC_RELEASE)
#endif

/* Memory of the space itself, changed for a caller who asks for a sequentially consistent exchange. */
#define seam_memory_load(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define seam_memory_cas(p, expected, v)                                                                                \
    __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

/* Spin locks hold the owner's tag (not 0) while taken. */
SEAM_INLINE bool seam_trylock(uint32_t *lock, uint32_t tag)
{
    uint32_t free = 0;
    return __atomic_compare_exchange_n(lock, &free, tag, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

/* Who waits looks less and less often: each look takes the line away from the owner, who is about to write beside the
 * lock. */
SEAM_INLINE void seam_lock(uint32_t *lock, uint32_t tag)
{
    enum { PAUSES_MAX = 16 };
    for (unsigned pauses = 1; !seam_trylock(lock, tag);)
        do {
            for (unsigned i = 0; i < pauses; i++)
                aspace_pause();
            pauses = pauses < PAUSES_MAX ? 2 * pauses : pauses;
        } while (__atomic_load_n(lock, __ATOMIC_RELAXED));
}

SEAM_INLINE void seam_unlock(uint32_t *lock)
{
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

#endif
