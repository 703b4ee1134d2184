/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the embedder supplies at compile time. Define ASPACE_PORT_HEADER to the name of a header (with its quotes or
 * brackets) that defines any of the macros below; what it leaves out gets the default given here. port/linux and
 * port/bare hold two examples. Owns nothing; must not know the library's types.
 */
#ifndef ASPACE_PORT_H
#define ASPACE_PORT_H

#include <stddef.h>
#include <stdint.h>

#ifdef ASPACE_PORT_HEADER
#include ASPACE_PORT_HEADER
#endif

/*
 * void *aspace_phys_to_virt(uint64_t pa): the pointer through which the library reaches a frame that the HAL's
 * allocator gave out. Must be valid for every such frame for as long as it is not freed. No default with meaning
 * everywhere exists; identity suits a hypervisor that runs untranslated.
 */
#ifndef aspace_phys_to_virt
#define aspace_phys_to_virt(pa) ((void *)(uintptr_t)(pa))
#endif

/* uint64_t aspace_virt_to_phys(const void *): the inverse, asked only for pointers that aspace_phys_to_virt gave. */
#ifndef aspace_virt_to_phys
#define aspace_virt_to_phys(p) ((uint64_t)(uintptr_t)(p))
#endif

/*
 * unsigned aspace_cpu_id(void): 0 <= id < the host's cpu count. Must not change during one call into the library, and
 * no two calls may be in progress with the same id at one time: disable preemption around calls, or give each thread
 * an id of its own. Default: a single CPU.
 */
#ifndef aspace_cpu_id
#define aspace_cpu_id() 0u
#endif

/* void aspace_pause(void): one round of a spin loop. A CPU that spins here must still answer TLB requests that reach
 * it other than by interrupt: serve them here. */
#ifndef aspace_pause
#if defined(__x86_64__)
#define aspace_pause() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define aspace_pause() __asm__ volatile("yield" ::: "memory")
#else
#define aspace_pause() __asm__ volatile("" ::: "memory")
#endif
#endif

/*
 * void aspace_walker_barrier(void): makes entries stored before it visible to the hardware walkers of all CPUs, before
 * an instruction after it that depends on them. Arm ARM (DDI 0487) D8.2.6 asks for DSB ISHST; the RISC-V privileged
 * specification for an SFENCE/HFENCE on the CPU that faulted only, which the trap path of an embedder may add.
 */
#ifndef aspace_walker_barrier
#if defined(__aarch64__)
#define aspace_walker_barrier() __asm__ volatile("dsb ishst" ::: "memory")
#elif defined(__riscv)
#define aspace_walker_barrier() __asm__ volatile("fence w,rw" ::: "memory")
#else
#define aspace_walker_barrier() __asm__ volatile("" ::: "memory")
#endif
#endif

/* void aspace_assert_fail(const char *expr, const char *file, int line): called when an invariant of the library's own
 * is broken; must not return. Default: trap. Compiled in unless ASPACE_NDEBUG is defined. */
#ifndef aspace_assert_fail
#define aspace_assert_fail(expr, file, line) __builtin_trap()
#endif

/* void aspace_trace(event, space, a, b): called at the entry of every operation and at every change that is of
 * interest; event is a bare identifier. Default: nothing. */
#ifndef aspace_trace
#define aspace_trace(event, space, a, b) ((void)0)
#endif

/* Cache line size assumed for layout, bytes. */
#ifndef ASPACE_CACHE_LINE
#define ASPACE_CACHE_LINE 64
#endif

/* Largest number of CPUs a host can have; sizes the active sets inside a space. A multiple of 64. */
#ifndef ASPACE_CPUS_MAX
#define ASPACE_CPUS_MAX 64
#endif

#endif
