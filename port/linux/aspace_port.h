/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The compile-time half of the hosted Linux port: -DASPACE_PORT_HEADER='"aspace_port.h"' -Iport/linux. Owns the macros
 * that port.h asks for; must not know the library's types, the arena's or those of the simulated CPUs.
 */
#ifndef ASPACE_LINUX_PORT_H
#define ASPACE_LINUX_PORT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* __thread and not _Thread_local, for C++; initial-exec, so that a shared library needs no call to find them. */
#define ASPACE_LINUX_THREAD __thread __attribute__((tls_model("initial-exec")))

struct sim_cpu;

extern char *aspace_linux_base; /* where physical address 0 would be: an arena's memory less its first address */
extern ASPACE_LINUX_THREAD unsigned aspace_linux_cpu;
extern ASPACE_LINUX_THREAD unsigned aspace_linux_spins;
extern ASPACE_LINUX_THREAD struct sim_cpu *aspace_linux_sim_cpu; /* NULL: this thread is no simulated CPU */

/* Every thread that calls the library at the same time as another needs a number of its own; a new thread has 0. */
void aspace_linux_set_cpu(unsigned cpu);
void aspace_linux_serve(struct sim_cpu *cpu);
void aspace_linux_yield(void);
void aspace_linux_assert_fail(const char *expr, const char *file, int line) __attribute__((noreturn));

#if defined(__x86_64__)
#define ASPACE_LINUX_RELAX() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define ASPACE_LINUX_RELAX() __asm__ volatile("yield" ::: "memory")
#else
#define ASPACE_LINUX_RELAX() __asm__ volatile("" ::: "memory")
#endif

/* A spinning CPU answers TLB requests, since the one it waits for may be waiting for that answer; and now and then it
 * gives way, since there may be more threads than processors. */
static inline void aspace_linux_pause(void)
{
    if (__builtin_expect(aspace_linux_sim_cpu != NULL, 0)) {
        aspace_linux_serve(aspace_linux_sim_cpu);
    }
    ASPACE_LINUX_RELAX();
    if ((++aspace_linux_spins & 255u) == 0) {
        aspace_linux_yield();
    }
}

#ifdef __cplusplus
}
#endif

/* Integer arithmetic: the base is no pointer into an object, and a sum of pointers would be undefined. */
#define aspace_phys_to_virt(pa) ((void *)((uintptr_t)aspace_linux_base + (uintptr_t)(pa)))
#define aspace_virt_to_phys(p) ((uint64_t)((uintptr_t)(p) - (uintptr_t)aspace_linux_base))
#define aspace_cpu_id() (aspace_linux_cpu)
#define aspace_pause() aspace_linux_pause()
#define aspace_assert_fail(expr, file, line) aspace_linux_assert_fail(expr, file, line)

#endif
