/* SPDX-License-Identifier: BSD-2-Clause */
/* The library's compile-time port for EL2: identity mapped, the CPU's number in TPIDR_EL2. */
#ifndef HYP_ASPACE_PORT_H
#define HYP_ASPACE_PORT_H

#include <stdint.h>

#define aspace_phys_to_virt(pa) ((void *)(uintptr_t)(pa))
#define aspace_virt_to_phys(p) ((uint64_t)(uintptr_t)(p))

static inline unsigned hyp_cpu_id(void)
{
    uint64_t id;
    __asm__ volatile("mrs %0, tpidr_el2" : "=r"(id));
    return (unsigned)id;
}
#define aspace_cpu_id() hyp_cpu_id()

#define aspace_pause() __asm__ volatile("yield" ::: "memory")

/* DDI 0487 D8.2.6: a store to a table is seen by the walkers once it is complete, and by the code that follows on this
 * CPU after a context synchronisation, which the exception return to the guest is. */
#define aspace_walker_barrier() __asm__ volatile("dsb ishst" ::: "memory")

_Noreturn void hyp_assert_fail(const char *expr, const char *file, int line);
#define aspace_assert_fail(expr, file, line) hyp_assert_fail(expr, file, line)

#endif
