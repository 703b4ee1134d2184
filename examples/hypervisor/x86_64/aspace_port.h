/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The library's compile-time port for x86-64 in root mode: identity mapped. Which CPU this is the stack tells, so that
 * no register has to be kept from the guest for it.
 */
#ifndef HYP_ASPACE_PORT_H
#define HYP_ASPACE_PORT_H

#include <stdint.h>

#define aspace_phys_to_virt(pa) ((void *)(uintptr_t)(pa))
#define aspace_virt_to_phys(p) ((uint64_t)(uintptr_t)(p))

enum { HYP_STACK_LG2 = 14 };
extern char hyp_stacks[];
#define aspace_cpu_id() ((unsigned)(((uintptr_t)__builtin_frame_address(0) - (uintptr_t)hyp_stacks) >> HYP_STACK_LG2))

_Noreturn void hyp_assert_fail(const char *expr, const char *file, int line);
#define aspace_assert_fail(expr, file, line) hyp_assert_fail(expr, file, line)

#endif
