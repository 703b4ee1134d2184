/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The library's compile-time port for one CPU whose addresses are the physical ones; a machine where that is not so has
 * its own. Owns nothing; must not know the oracle.
 */
#ifndef ORACLE_PORT_H
#define ORACLE_PORT_H

#include <stdint.h>

#define aspace_phys_to_virt(pa) ((void *)(uintptr_t)(pa))
#define aspace_virt_to_phys(p) ((uint64_t)(uintptr_t)(p))
#define aspace_cpu_id() 0u

_Noreturn void oracle_assert_fail(const char *expr, const char *file, int line);
#define aspace_assert_fail(expr, file, line) oracle_assert_fail(expr, file, line)

#endif
