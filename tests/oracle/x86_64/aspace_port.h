/* SPDX-License-Identifier: BSD-2-Clause */
/* The library's compile-time port for one CPU in the upper half: the image at the top, and all memory one to one from
 * the first upper address on. Owns nothing; must not know the oracle. */
#ifndef ORACLE_PORT_H
#define ORACLE_PORT_H

#include <stdint.h>

#define ORACLE_DIRECT UINT64_C(0xffff800000000000)
#define ORACLE_IMAGE UINT64_C(0xffffffff80000000)

static inline uint64_t oracle_virt_to_phys(const void *p)
{
    uint64_t va = (uintptr_t)p;
    return va - (va >= ORACLE_IMAGE ? ORACLE_IMAGE : ORACLE_DIRECT);
}

#define aspace_phys_to_virt(pa) ((void *)(uintptr_t)((pa) + ORACLE_DIRECT))
#define aspace_virt_to_phys(p) oracle_virt_to_phys(p)
#define aspace_cpu_id() 0u

_Noreturn void oracle_assert_fail(const char *expr, const char *file, int line);
#define aspace_assert_fail(expr, file, line) oracle_assert_fail(expr, file, line)

#endif
