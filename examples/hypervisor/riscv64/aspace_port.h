/* SPDX-License-Identifier: BSD-2-Clause */
/* The library's compile-time port for HS mode: untranslated, the CPU's number in tp, which nothing else uses. */
#ifndef HYP_ASPACE_PORT_H
#define HYP_ASPACE_PORT_H

#include <stdint.h>

#define aspace_phys_to_virt(pa) ((void *)(uintptr_t)(pa))
#define aspace_virt_to_phys(p) ((uint64_t)(uintptr_t)(p))

static inline unsigned hyp_cpu_id(void)
{
    uint64_t id;
    __asm__ volatile("mv %0, tp" : "=r"(id));
    return (unsigned)id;
}
#define aspace_cpu_id() hyp_cpu_id()

/* PAUSE of Zihintpause, a hint that does nothing where it is not known. Whoever spins may be waited for. */
void mail_serve(void);
static inline void hyp_pause(void)
{
    __asm__ volatile(".insn i 0x0f, 0, x0, x0, 0x010" ::: "memory");
    mail_serve();
}
#define aspace_pause() hyp_pause()

/* Orders the store with the walks of CPUs that take a fence, or a trap and try again: the fault path does both. */
#define aspace_walker_barrier() __asm__ volatile("fence w, rw" ::: "memory")

_Noreturn void hyp_assert_fail(const char *expr, const char *file, int line);
#define aspace_assert_fail(expr, file, line) hyp_assert_fail(expr, file, line)

#endif
