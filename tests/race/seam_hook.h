/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The seams with a point before each, at which tests/race/schedule.c can let another CPU run. All else is as in
 * src/sync/seam.h.
 */
#ifndef TESTS_RACE_SEAM_HOOK_H
#define TESTS_RACE_SEAM_HOOK_H
#define ASPACE_SEAM_ALL

#include <stdbool.h>
#include <stdint.h>

#define SEAM_INLINE static inline __attribute__((always_inline, unused))

extern void (*race_hook)(void);
extern void (*race_waits)(void); /* somebody has to go on before the caller can; NULL: nobody ever has to */

/* One thread plays all CPUs. */
static inline void race_wait(void)
{
    if (race_waits) {
        race_waits();
    }
}

#undef aspace_pause
#define aspace_pause() race_wait()

static inline void race_point(void)
{
    if (race_hook) {
        race_hook();
    }
}

#define seam_load(p) (race_point(), __atomic_load_n((p), __ATOMIC_RELAXED))
#define seam_load_acquire(p) (race_point(), __atomic_load_n((p), __ATOMIC_ACQUIRE))
#define seam_store(p, v) (race_point(), __atomic_store_n((p), (v), __ATOMIC_RELAXED))
#define seam_store_release(p, v) (race_point(), __atomic_store_n((p), (v), __ATOMIC_RELEASE))
#define seam_add(p, v) (race_point(), __atomic_fetch_add((p), (v), __ATOMIC_RELAXED))
#define seam_add_acq_rel(p, v) (race_point(), __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL))
#define seam_sub_release(p, v) (race_point(), __atomic_fetch_sub((p), (v), __ATOMIC_RELEASE))
#define seam_sub_acq_rel(p, v) (race_point(), __atomic_fetch_sub((p), (v), __ATOMIC_ACQ_REL))
#define seam_or(p, v) (race_point(), __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST))
#define seam_and(p, v) (race_point(), __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST))
#define seam_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define seam_fence_acquire() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define seam_fence_release() __atomic_thread_fence(__ATOMIC_RELEASE)
#define seam_memory_load(p) (race_point(), __atomic_load_n((p), __ATOMIC_SEQ_CST))
#define seam_memory_cas(p, expected, v)                                                                                \
    (race_point(), __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))

#define slot_peek(slot) seam_load(slot)
#define slot_load(slot) seam_load_acquire(slot)
#define slot_store(slot, e) seam_store((slot), (e))
#define slot_publish(slot, e) seam_store_release((slot), (e))

SEAM_INLINE bool slot_cas(uint64_t *slot, uint64_t *expected, uint64_t e)
{
    race_point();
    return __atomic_compare_exchange_n(slot, expected, e, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

SEAM_INLINE uint64_t slot_xchg(uint64_t *slot, uint64_t e)
{
    race_point();
    return __atomic_exchange_n(slot, e, __ATOMIC_ACQ_REL);
}

SEAM_INLINE bool seam_trylock(uint32_t *lock, uint32_t tag)
{
    uint32_t free = 0;
    race_point();
    return __atomic_compare_exchange_n(lock, &free, tag, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

SEAM_INLINE void seam_lock(uint32_t *lock, uint32_t tag)
{
    while (!seam_trylock(lock, tag)) {
        race_wait();
    }
}

SEAM_INLINE void seam_unlock(uint32_t *lock)
{
    race_point();
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

#endif
