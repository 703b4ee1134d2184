/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The seams: every access to memory that another CPU may change goes through these few helpers, so that a checker can
 * be compiled in their place (define ASPACE_SEAM_HEADER). Owns the memory orders; must not know what a slot means.
 */
#ifndef ASPACE_SEAM_H
#define ASPACE_SEAM_H

#include <stdbool.h>
#include <stdint.h>

#include <aspace/port.h>

#ifdef ASPACE_SEAM_HEADER
#include ASPACE_SEAM_HEADER
#else
#include "sync/seam_default.h"
#endif

/* As slot_xchg, and no load after it is made before the exchange is seen. */
#ifndef slot_xchg_fence
static inline uint64_t slot_xchg_fence(uint64_t *slot, uint64_t e)
{
    uint64_t old = slot_xchg(slot, e);
    seam_fence();
    return old;
}
#endif

/* Copies memory of a guest or process, which may write it meanwhile: what is torn is theirs. */
#ifndef seam_copy
#define seam_copy(to, from, n) memcpy((to), (from), (n))
#endif

/* A lock that nobody else sees yet is born taken. */
#ifndef seam_lock_new
#define seam_lock_new(lock, tag) (void)(*(lock) = (tag))
#endif

/* The memory of a lock that nobody uses any more: the next lock there is another, for who checks the order of locks. */
#ifndef seam_lock_gone
#define seam_lock_gone(lock) ((void)0)
#endif

#ifdef ASPACE_NDEBUG
#define ASSERT(x) ((void)0)
#else
#define ASSERT(x) ((x) ? (void)0 : aspace_assert_fail(#x, __FILE__, __LINE__))
#endif

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
/* Makes the compiler forget what it knows of the value of a variable. */
#define OPAQUE(x) __asm__("" : "+r"(x))

#endif
