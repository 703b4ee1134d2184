/* SPDX-License-Identifier: BSD-2-Clause */
/* The port of the conflict checker: one thread that takes the part of any CPU, and frames in one arena. */
#ifndef CONFLICTS_PORT_H
#define CONFLICTS_PORT_H

#include <stdint.h>

extern unsigned conflicts_cpu;
extern char *conflicts_memory; /* where physical address 0 would be */

void conflicts_stuck(void);
void conflicts_assert_fail(const char *expr, const char *file, int line) __attribute__((noreturn));

#define aspace_cpu_id() (conflicts_cpu)
#define aspace_phys_to_virt(pa) ((void *)((uintptr_t)conflicts_memory + (uintptr_t)(pa)))
#define aspace_virt_to_phys(p) ((uint64_t)((uintptr_t)(p) - (uintptr_t)conflicts_memory))
#define aspace_pause() conflicts_stuck()
#define aspace_assert_fail(expr, file, line) conflicts_assert_fail(expr, file, line)

#endif
