/* SPDX-License-Identifier: BSD-2-Clause */
/* The library's compile-time port for one CPU that sees physical memory through a window. Owns the window's address;
 * must not know the oracle. */
#ifndef ORACLE_PORT_H
#define ORACLE_PORT_H

#include <stdint.h>

#define ORACLE_WINDOW UINT64_C(0x9000000000000000)

#define aspace_phys_to_virt(pa) ((void *)(uintptr_t)((pa) | ORACLE_WINDOW))
#define aspace_virt_to_phys(p) ((uint64_t)(uintptr_t)(p) & ~ORACLE_WINDOW)
#define aspace_cpu_id() 0u

_Noreturn void oracle_assert_fail(const char *expr, const char *file, int line);
#define aspace_assert_fail(expr, file, line) oracle_assert_fail(expr, file, line)

#endif
