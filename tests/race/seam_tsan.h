/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the thread sanitizer is to see in other ways than the processor: two of the seams, all others are as they are.
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

#if defined(__x86_64__)
#define SEAM_HIDDEN_FENCE() __asm__ volatile("mfence" ::: "memory")
#elif defined(__aarch64__)
#define SEAM_HIDDEN_FENCE() __asm__ volatile("dmb ish" ::: "memory")
#endif

#define seam_fence() SEAM_HIDDEN_FENCE()
#define seam_fence_acquire() SEAM_HIDDEN_FENCE()
#define seam_fence_release() SEAM_HIDDEN_FENCE()

#include "sync/seam_default.h"

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

#endif
