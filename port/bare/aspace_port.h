/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The compile-time half of the smallest real port: one CPU, and memory where its physical address says it is, as in a
 * kernel or hypervisor that runs untranslated or maps all memory one to one. What is left out here keeps the default
 * that include/aspace/port.h gives it; of those, trapping on a broken invariant is the one to replace first.
 */
#ifndef ASPACE_BARE_PORT_H
#define ASPACE_BARE_PORT_H

#include <stdint.h>

#define aspace_phys_to_virt(pa) ((void *)(uintptr_t)(pa))
#define aspace_virt_to_phys(p) ((uint64_t)(uintptr_t)(p))
#define aspace_cpu_id() 0u

#endif
