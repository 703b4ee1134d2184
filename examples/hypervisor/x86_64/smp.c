/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the other CPUs, and with them the local APICs, which the guest is not told of: start, sleep, and interrupts that
 * take a CPU out of the guest. Sections are those of the Intel SDM, volume 3A.
 */
#include <string.h>

#include "x86_64.h"

enum { ICR_LOW = 0x300, ICR_HIGH = 0x310, ICR_BUSY = 1 << 12, ICR_NMI = 0x4400, ICR_INIT = 0x4500, ICR_START = 0x4600 };
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
#define APIC UINT64_C(0xfee00000)

extern const char trampoline[], trampoline_end[];
extern uint32_t trampoline_cpu;

static atomic_bool started[HYP_CPUS_MAX];
static uint64_t timer_hz[HYP_CPUS_MAX];

static volatile uint32_t *apic(uint32_t reg)
{
    return (volatile uint32_t *)(uintptr_t)(APIC + reg);
}

static void spin(uint64_t us)
{
    uint64_t end = arch_ticks() + us * arch_ticks_hz() / 1000000;
    while (arch_ticks() < end)
        aspace_pause();
}

static void send(unsigned cpu, uint32_t what)
{
    *apic(ICR_HIGH) = (uint32_t)machine.cpu_id[cpu] << 24;
    *apic(ICR_LOW) = what;
    while (*apic(ICR_LOW) & ICR_BUSY)
        aspace_pause();
}

void arch_vcpu_kick(unsigned cpu)
{
    send(cpu, ICR_NMI);
}

void smp_started(void)
{
    atomic_store(&started[aspace_cpu_id()], true);
}

/* 8.4.4.1. One at a time: the number that it finds is in the image. */
bool arch_cpu_start(unsigned cpu)
{
    trampoline_cpu = cpu;
    memcpy(aspace_phys_to_virt(TRAMPOLINE), trampoline, (size_t)(trampoline_end - trampoline));
    send(cpu, ICR_INIT);
    spin(INIT_US);
    for (unsigned tries = 0; tries < TRIES && !atomic_load(&started[cpu]); tries++) {
        send(cpu, ICR_START | TRAMPOLINE >> 12);
        uint64_t end = arch_ticks() + START_US * arch_ticks_hz() / 1000000;
        while (!atomic_load(&started[cpu]) && arch_ticks() < end)
            aspace_pause();
    }
    return atomic_load(&started[cpu]);
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
    uint64_t end = arch_ticks() + ticks, *hz = &timer_hz[aspace_cpu_id()];
    if (!*hz)
        *hz = measure_timer();
    uint64_t count = ticks * (*hz / 1000) / (arch_ticks_hz() / 1000);
    *apic(TIMER) = ALARM;
    *apic(TIMER_START) = count == 0 ? 1 : (uint32_t)count;
    while (arch_ticks() < end)
        if (wait_for_interrupt() == ALARM)
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
