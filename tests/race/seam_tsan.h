/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The seams as the thread sanitizer is to see them: the same operations with the same orders, and two differences.
 *
 *   Fences    The sanitizer knows none. They are made where it cannot see them, so that the machine behaves and the
 *             sanitizer draws no order from them. It then knows less order than there is, never more: code that is free
 *             of reports needs its fences for the outcome of a Dekker (O2, O6 in docs/locking.md), not for what a plain
 *             access may assume.
 *   Copies    Memory of guests and processes is read and written while they run, by contract. Such copies go word by
 *             word, atomically, so that what is reported about a frame is a life-time that overlaps with another's.
 */
#ifndef TESTS_RACE_SEAM_TSAN_H
#define TESTS_RACE_SEAM_TSAN_H

#include <stddef.h>

#define SEAM_INLINE static inline __attribute__((always_inline, unused))

#if defined(__x86_64__)
#define SEAM_HIDDEN_FENCE() __asm__ volatile("mfence" ::: "memory")
#elif defined(__aarch64__)
#define SEAM_HIDDEN_FENCE() __asm__ volatile("dmb ish" ::: "memory")
#endif

SEAM_INLINE uint64_t slot_load(const uint64_t *slot)
{
    return __atomic_load_n(slot, __ATOMIC_ACQUIRE);
}

SEAM_INLINE uint64_t slot_peek(const uint64_t *slot)
{
    return __atomic_load_n(slot, __ATOMIC_RELAXED);
}

SEAM_INLINE void slot_publish(uint64_t *slot, uint64_t e)
{
    __atomic_store_n(slot, e, __ATOMIC_RELEASE);
}

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

#define seam_load(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define seam_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define seam_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define seam_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define seam_add(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
#define seam_add_acq_rel(p, v) __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL)
#define seam_or(p, v) __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)
#define seam_and(p, v) __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST)
#define seam_fence() SEAM_HIDDEN_FENCE()
#define seam_fence_acquire() SEAM_HIDDEN_FENCE()
#define seam_fence_release() SEAM_HIDDEN_FENCE()

/* Within a page a copy of any alignment is made of words as soon as both sides are aligned, else of bytes. */
static inline void seam_copy(void *to, const void *from, size_t n)
{
    char *t = to;
    const char *f = from;

    while (n) {
        if (n >= 8 && ((uintptr_t)t & 7) == 0 && ((uintptr_t)f & 7) == 0) {
            uint64_t word = __atomic_load_n((const uint64_t *)(const void *)f, __ATOMIC_RELAXED);
            __atomic_store_n((uint64_t *)(void *)t, word, __ATOMIC_RELAXED);
            t += 8, f += 8, n -= 8;
        } else {
            __atomic_store_n(t++, __atomic_load_n(f++, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
            n--;
        }
    }
}
#define seam_copy seam_copy

SEAM_INLINE bool seam_trylock(uint32_t *lock, uint32_t tag)
{
    uint32_t free = 0;
    return __atomic_compare_exchange_n(lock, &free, tag, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

SEAM_INLINE void seam_lock(uint32_t *lock, uint32_t tag)
{
    while (!seam_trylock(lock, tag)) {
        while (__atomic_load_n(lock, __ATOMIC_RELAXED)) {
            aspace_pause();
        }
    }
}

SEAM_INLINE void seam_unlock(uint32_t *lock)
{
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

#endif
