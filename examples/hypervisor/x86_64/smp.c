/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the other CPUs, and what we do with the local APICs: start, sleep, and interrupts that take a CPU out of the
 * guest. Those of the vCPUs are the guest's (apic.c), which must not notice. Sections are those of the Intel SDM,
 * volume 3A.
 */
#include <string.h>

#include "x86_64.h"

enum { ICR_BUSY = 1 << 12 };
enum { SPURIOUS = 0xf0, SPURIOUS_ENABLE = 0x1ff, END_OF_INTERRUPT = 0xb0 };
enum {
    TIMER = 0x320,
    TIMER_MASKED = 1 << 16,
    TIMER_START = 0x380,
    TIMER_NOW = 0x390,
    TIMER_DIVIDE = 0x3e0,
    BY_ONE = 0xb
};
enum { ALARM = 0x40 };
enum { INIT_US = 10000, START_US = 2000000, MEASURE_US = 1000, TRIES = 2 };

extern const char trampoline[], trampoline_end[];
extern uint32_t trampoline_cpu;

static atomic_bool started[HYP_CPUS_MAX];
static uint64_t timer_hz[HYP_CPUS_MAX];

static void spin(uint64_t us)
{
    uint64_t end = arch_ticks() + us * arch_ticks_hz() / 1000000;
    while (arch_ticks() < end)
        aspace_pause();
}

static void wait_until_sent(void)
{
    while (*apic(APIC_ICR_LOW) & ICR_BUSY)
        aspace_pause();
}

/* The guest may have written the upper half, and be about to write the lower. */
void smp_send(unsigned cpu, uint32_t what)
{
    uint32_t saved = *apic(APIC_ICR_HIGH);
    wait_until_sent();
    *apic(APIC_ICR_HIGH) = (uint32_t)machine.cpu_id[cpu] << 24;
    *apic(APIC_ICR_LOW) = what;
    wait_until_sent();
    *apic(APIC_ICR_HIGH) = saved;
}

void arch_vcpu_kick(unsigned cpu)
{
    smp_send(cpu, ICR_NMI);
}

void smp_started(void)
{
    atomic_store(&started[aspace_cpu_id()], true);
}

/* 8.4.4.1. */
static bool start(unsigned cpu)
{
    atomic_store(&started[cpu], false);
    trampoline_cpu = cpu;
    memcpy(aspace_phys_to_virt(TRAMPOLINE), trampoline, (size_t)(trampoline_end - trampoline));
    smp_send(cpu, ICR_INIT);
    spin(INIT_US);
    for (unsigned tries = 0; tries < TRIES && !atomic_load(&started[cpu]); tries++) {
        smp_send(cpu, ICR_START | TRAMPOLINE >> 12);
        uint64_t end = arch_ticks() + START_US * arch_ticks_hz() / 1000000;
        while (!atomic_load(&started[cpu]) && arch_ticks() < end)
            aspace_pause();
    }
    return atomic_load(&started[cpu]);
}

/* One at a time: the number that it finds is in the image. */
bool arch_cpu_start(unsigned cpu)
{
    static atomic_flag lock = ATOMIC_FLAG_INIT;
    while (atomic_flag_test_and_set(&lock))
        aspace_pause();
    bool done = start(cpu);
    atomic_flag_clear(&lock);
    return done;
}

void arch_cpu_park(void)
{
    for (;;)
        __asm__ volatile("cli\n hlt");
}

/* ---- sleep ---- */

static uint64_t measure_timer(void)
{
    *apic(SPURIOUS) = SPURIOUS_ENABLE;
    *apic(TIMER_DIVIDE) = BY_ONE;
    *apic(TIMER) = TIMER_MASKED | ALARM;
    *apic(TIMER_START) = UINT32_MAX;
    spin(MEASURE_US);
    return (uint64_t)(UINT32_MAX - *apic(TIMER_NOW)) * (1000000 / MEASURE_US);
}

/* No other interrupt comes to a CPU that runs no guest. */
void arch_sleep(uint64_t ticks)
{
    static const atomic_uint nothing;
    uint64_t end = arch_ticks() + ticks, *hz = &timer_hz[aspace_cpu_id()];
    if (!*hz)
        *hz = measure_timer();
    uint64_t count = ticks * (*hz / 1000) / (arch_ticks_hz() / 1000);
    *apic(TIMER) = ALARM;
    *apic(TIMER_START) = count == 0 ? 1 : (uint32_t)count;
    while (arch_ticks() < end)
        if (wait_for_interrupt(&nothing) == ALARM)
            break;
    *apic(END_OF_INTERRUPT) = 0;
}

/* A CPU that runs the guest takes the guest's interrupts. */
void arch_yield(uint64_t us)
{
    if (aspace_cpu_id() >= hyp_vcpus())
        arch_sleep(us * arch_ticks_hz() / 1000000);
    else
        spin(us);
}
