/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What Helgrind is to see in other ways than the processor, beside the atomic accesses (atomics_helgrind.h).
 *
 *   Fences    No order is drawn from them, and copies of a guest's memory go by words, as for the thread sanitizer.
 *   Locks     A spin lock is a lock that is always taken to write: who takes it is after all who had it. Reported are
 *             letting go of one that is not held or is another thread's, an end of one that is held, and two that are
 *             ever taken in both orders. The accesses to its word draw no edge.
 */
#ifndef TESTS_RACE_SEAM_HELGRIND_H
#define TESTS_RACE_SEAM_HELGRIND_H

#include "race/atomics_helgrind.h"

#define seam_trylock seam_trylock_unseen
#define seam_lock seam_lock_unseen
#define seam_unlock seam_unlock_unseen
#include "race/seam_tsan.h"
#undef seam_trylock
#undef seam_lock
#undef seam_unlock

SEAM_INLINE bool seam_trylock(uint32_t *lock, uint32_t tag)
{
    uint32_t free = 0;

    if (!__atomic_compare_exchange_n(lock, &free, tag, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        return false;
    }
    ANNOTATE_RWLOCK_ACQUIRED(lock, 1);
    ANNOTATE_HAPPENS_AFTER(lock); /* of whoever was born with it */
    return true;
}

SEAM_INLINE void seam_lock(uint32_t *lock, uint32_t tag)
{
    while (!seam_trylock(lock, tag)) {
        aspace_pause();
    }
}

/* Only some of the pages that come here had a lock that was used. */
SEAM_INLINE void seam_lock_gone(uint32_t *lock)
{
    ANNOTATE_RWLOCK_CREATE(lock);
    ANNOTATE_RWLOCK_DESTROY(lock);
}
#define seam_lock_gone seam_lock_gone

/* A lock that is born taken was not waited for, so that it may lie before locks that its owner holds already: which of
 * these came first says nothing. Its first owner is not known as one, and hands on by an edge what a release would. */
enum { BORN_MAX = 64 };
__thread uint32_t *seam_born[BORN_MAX] __attribute__((weak)); /* one for all files */

SEAM_INLINE void seam_lock_new(uint32_t *lock, uint32_t tag)
{
    unsigned i = 0;

    *lock = tag;
    while (seam_born[i]) {
        i++;
    }
    seam_born[i] = lock;
}
#define seam_lock_new seam_lock_new

SEAM_INLINE void seam_unlock(uint32_t *lock)
{
    unsigned i = 0;

    while (i < BORN_MAX && seam_born[i] != lock) {
        i++;
    }
    if (i < BORN_MAX) {
        seam_born[i] = 0;
        ANNOTATE_HAPPENS_BEFORE(lock);
    } else {
        ANNOTATE_RWLOCK_RELEASED(lock, 1);
    }
    __atomic_store_n(lock, 0, __ATOMIC_RELAXED);
}

#endif
