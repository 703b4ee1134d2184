/* SPDX-License-Identifier: BSD-2-Clause */
/* The seams with a point before each, at which tests/race/schedule.c can let another CPU run. */
#ifndef TESTS_RACE_SEAM_HOOK_H
#define TESTS_RACE_SEAM_HOOK_H

#include "race/seam_tsan.h"

/* Who waits here waits for nobody: one thread plays all CPUs. */
#undef aspace_pause
#define aspace_pause() ((void)0)

extern void (*race_hook)(void);

static inline void race_point(void)
{
    if (race_hook) {
        race_hook();
    }
}

#define slot_load(slot) (race_point(), slot_load(slot))
#define slot_publish(slot, e) (race_point(), slot_publish((slot), (e)))
#define slot_store(slot, e) (race_point(), slot_store((slot), (e)))
#define slot_cas(slot, expected, e) (race_point(), slot_cas((slot), (expected), (e)))
#define slot_xchg(slot, e) (race_point(), slot_xchg((slot), (e)))
#define seam_lock(lock, tag) (race_point(), seam_lock((lock), (tag)))
#define seam_unlock(lock) (race_point(), seam_unlock(lock))

#undef seam_load
#undef seam_load_acquire
#undef seam_store
#undef seam_store_release
#undef seam_add_acq_rel
#undef seam_or
#undef seam_and
#define seam_load(p) (race_point(), __atomic_load_n((p), __ATOMIC_RELAXED))
#define seam_load_acquire(p) (race_point(), __atomic_load_n((p), __ATOMIC_ACQUIRE))
#define seam_store(p, v) (race_point(), __atomic_store_n((p), (v), __ATOMIC_RELAXED))
#define seam_store_release(p, v) (race_point(), __atomic_store_n((p), (v), __ATOMIC_RELEASE))
#define seam_add_acq_rel(p, v) (race_point(), __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL))
#define seam_or(p, v) (race_point(), __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST))
#define seam_and(p, v) (race_point(), __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST))

#endif
