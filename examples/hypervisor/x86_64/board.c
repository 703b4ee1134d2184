/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns what is particular to the machine, a PC: what Multiboot says of it, console, clock, and how it goes off. The
 * guest reaches its devices through ports, but for the local APIC, which only several vCPUs have.
 */
#include <string.h>

#include "leave_out.h"
#include "x86_64.h"

enum { UART = 0x3f8, UART_FCR = UART + 2, UART_LCR = UART + 3, UART_LSR = UART + 5 };
enum { UART_FIFOS = 1, UART_8N1 = 3, UART_DIVISOR = 0x80, UART_ROOM = 1 << 5, UART_EMPTY = 1 << 6 };
enum { PIT_CHANNEL2 = 0x42, PIT_MODE = 0x43, PIT_HZ = 1193182, PIT_ONE_SHOT = 0xb0 };
enum { PORT_B = 0x61, PORT_B_GATE = 1, PORT_B_SPEAKER = 2, PORT_B_OUTPUT = 1 << 5 };
enum { MILLISECONDS = 10, MEASUREMENTS = 3 };
enum { MULTIBOOT_MEMORY = 1, MULTIBOOT_COMMAND_LINE = 4, HIGH_MEMORY = 0x100000 };
enum { CPUID_EDX_HTT = 1 << 28 };
enum { QEMU_PM_CONTROL = 0x604, BOCHS_PM_CONTROL = 0xb004, PM_OFF = 0x2000 };

struct multiboot_info {
    uint32_t flags, mem_lower, mem_upper; /* KiB; the latter from 1 MiB on, up to the first hole */
    uint32_t boot_device, cmdline;
};

/* What a vCPU writes there concerns others, and comes to us. */
static const struct guest_device devices[] = {
    {APIC, APIC_BYTES, .kind = ASPACE_KIND_LINEAR, .rights = ASPACE_R, .attr = ASPACE_ATTR_DEVICE, .cpus = 2},
};

/* Each byte of poison is ICEBP, which comes to us. As an entry of a table it has reserved bits set, as an address it is
 * not canonical. */
const struct arch arch = {
    .name = "x86_64",
    .guest_ram = 0,
    .poison = UINT64_C(0xf1f1f1f1f1f1f1f1),
    .devices = devices,
    .device_count = sizeof devices / sizeof devices[0],
};

static uint64_t ticks_hz;

const char *arch_left_out(void)
{
    return leave_out_name();
}

/* The firmware of some machines leaves it at five bits a character. */
void console_init(void)
{
    out8(UART_LCR, UART_DIVISOR | UART_8N1);
    out8(UART, 1); /* 115200 baud */
    out8(UART + 1, 0);
    out8(UART_LCR, UART_8N1);
    out8(UART_FCR, UART_FIFOS);
}

void arch_console_put(char c)
{
    while (!(in8(UART_LSR) & UART_ROOM))
        ;
    out8(UART, (uint8_t)c);
}

/* ---- the clock ---- */

uint64_t arch_ticks(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence\n rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

uint64_t arch_ticks_hz(void)
{
    return ticks_hz;
}

/* Channel 2 of the timer counts down once; nobody hears it. Too much, if an emulator does not run all the while. */
static uint64_t measure_ticks(void)
{
    unsigned count = PIT_HZ / 1000 * MILLISECONDS;
    uint8_t saved = in8(PORT_B);
    out8(PORT_B, (uint8_t)((saved & ~PORT_B_SPEAKER) | PORT_B_GATE));
    out8(PIT_MODE, PIT_ONE_SHOT);
    out8(PIT_CHANNEL2, (uint8_t)count);
    out8(PIT_CHANNEL2, (uint8_t)(count >> 8));
    uint64_t begin = arch_ticks();
    while (!(in8(PORT_B) & PORT_B_OUTPUT))
        ;
    uint64_t ticks = arch_ticks() - begin;
    out8(PORT_B, saved);
    return ticks * 1000 / MILLISECONDS;
}

/* ---- the machine ---- */

/* Of one package, whose local APICs are numbered from 0. */
static unsigned cpu_count(void)
{
    struct cpuid c = cpuid(1, 0);
    unsigned count = c.edx & CPUID_EDX_HTT ? c.ebx >> 16 & 0xff : 1;
    return count < HYP_CPUS_MAX ? count : HYP_CPUS_MAX;
}

/* The loader puts our file's name before the options. */
static void read_command_line(const char *text)
{
    static const char first[] = " aspace.";
    while (*text && memcmp(text, first, sizeof first - 1) != 0)
        text++;
    size_t bytes = strlen(text) + 1;
    if (bytes > sizeof machine.bootargs)
        fail("the command line is too long");
    memcpy(machine.bootargs, text, bytes);
}

void arch_machine_read(const void *boot_info)
{
    const struct multiboot_info *info = boot_info;
    if (!(info->flags & MULTIBOOT_MEMORY) || !(info->flags & MULTIBOOT_COMMAND_LINE))
        fail("the loader describes no memory or no options");
    for (unsigned i = 0; i < MEASUREMENTS; i++) {
        uint64_t hz = measure_ticks();
        ticks_hz = ticks_hz == 0 || hz < ticks_hz ? hz : ticks_hz;
    }
    machine.ram = HIGH_MEMORY;
    machine.ram_bytes = (uint64_t)info->mem_upper << 10;
    machine.cpus = cpu_count();
    for (unsigned i = 0; i < machine.cpus; i++)
        machine.cpu_id[i] = i;
    read_command_line(aspace_phys_to_virt(info->cmdline));
}

/* By power management, whose place only ACPI knows; failing that, by a triple fault, which resets. */
void arch_machine_off(void)
{
    static const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) none = {0, 0};
    while (!(in8(UART_LSR) & UART_EMPTY))
        ;
    out16(QEMU_PM_CONTROL, PM_OFF);
    out16(BOCHS_PM_CONTROL, PM_OFF);
    __asm__ volatile("lidt %0\n int3" : : "m"(none));
    __builtin_unreachable();
}
