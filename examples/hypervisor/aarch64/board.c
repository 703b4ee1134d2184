/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns what is particular to the machine (QEMU "virt"): console, clock, which device addresses the guest reaches, and
 * the guest's device tree, which is the host's with less in it.
 */
#include <string.h>

#include "aarch64.h"
#include "leave_out.h"

enum { GIC = 0x08000000, UART = 0x09000000, RTC = 0x09010000, GPIO = 0x09011000, RAM = 0x40000000 };
enum { UART_FLAGS = UART + 0x18, UART_FULL = 1 << 5 };
enum {
    GICD_TYPER = 0x4,
    GICD_IGROUPR = 0x80,
    GICD_ISENABLER = 0x100,
    GICD_ISPENDR = 0x200,
    GICD_IPRIORITYR = 0x400,
    GICD_ITARGETSR = 0x800,
    GICD_IROUTER = 0x6000,
    GIC_LAST = 1019,
};

/* Interrupt controller, UART, GPIO; not the flash below. The clock between them is emulated. */
static const struct guest_device devices[] = {
    {.va = GIC, .bytes = RTC - GIC, .kind = ASPACE_KIND_LINEAR, .rights = ASPACE_RW, .attr = ASPACE_ATTR_DEVICE},
    {.va = RTC, .bytes = 0x1000, .kind = ASPACE_KIND_TRAP, .rights = ASPACE_RW},
    {.va = GPIO, .bytes = RAM - GPIO, .kind = ASPACE_KIND_LINEAR, .rights = ASPACE_RW, .attr = ASPACE_ATTR_DEVICE},
};

const struct arch arch = {
    .name = "aarch64",
    .guest_ram = RAM,
    .poison = UINT64_C(0x100000001) * POISON_SMC,
    .devices = devices,
    .device_count = sizeof devices / sizeof devices[0],
};

enum { IMAGE_MAGIC = 0x644d5241 }; /* "ARM\x64" */

bool arch_guest_kernel(const uint8_t *image, struct guest_kernel *kernel)
{
    return image_read_flat(image, IMAGE_MAGIC, kernel);
}

void arch_machine_read(const void *boot_info)
{
    machine_read_tree(boot_info);
}

const char *arch_left_out(void)
{
    return leave_out_name();
}

static volatile uint32_t *reg32(uint64_t pa)
{
    return (volatile uint32_t *)(uintptr_t)pa;
}

static volatile uint8_t *reg8(uint64_t pa)
{
    return (volatile uint8_t *)(uintptr_t)pa;
}

static volatile uint64_t *reg64(uint64_t pa)
{
    return (volatile uint64_t *)(uintptr_t)pa;
}

void arch_console_put(char c)
{
    while (*reg32(UART_FLAGS) & UART_FULL)
        ;
    *reg32(UART) = (uint8_t)c;
}

uint64_t arch_ticks(void)
{
    ISB();
    return READ_SYSREG("cntpct_el0");
}

uint64_t arch_ticks_hz(void)
{
    return READ_SYSREG("cntfrq_el0");
}

/*
 * Wake a CPU that may sleep in WFI inside an interrupt handler, where nothing of the priority that Linux uses gets
 * through: a shared interrupt that no device has, one a CPU from the last one down, with the highest priority. The
 * guest is being stopped, so its interrupt controller is ours (Arm IHI 0048 4.3, IHI 0069 12.9).
 */
void arch_vcpu_kick(unsigned cpu)
{
    uint64_t gicd = machine.gic_distributor;
    uint64_t last = ((*reg32(gicd + GICD_TYPER) & 0x1f) + 1) * 32 - 1;
    uint64_t id = (last > GIC_LAST ? GIC_LAST : last) - cpu;
    uint32_t bit = UINT32_C(1) << (id & 31);
    uint64_t word = id / 32 * 4;

    *reg8(gicd + GICD_IPRIORITYR + id) = 0;
    if (machine.gic_v2) {
        *reg8(gicd + GICD_ITARGETSR + id) = (uint8_t)(1u << cpu);
    } else {
        *reg32(gicd + GICD_IGROUPR + word) |= bit; /* Linux uses group 1 here, and group 0 on a GICv2 */
        *reg64(gicd + GICD_IROUTER + 8 * id) = machine.cpu_id[cpu];
    }
    *reg32(gicd + GICD_ISENABLER + word) = bit;
    __asm__ volatile("dsb sy" ::: "memory");
    *reg32(gicd + GICD_ISPENDR + word) = bit;
}

/* A clock that can be read and not be set: loads see the real one's registers, stores are ignored. */
bool rtc_access(struct vcpu_regs *regs, uint64_t va, uint64_t esr)
{
    unsigned target = (unsigned)(esr >> 16 & 0x1f);
    bool syndrome = esr >> 24 & 1, write = esr >> 6 & 1;
    unsigned size_lg2 = (unsigned)(esr >> 22 & 3);
    if (!syndrome || size_lg2 != 2 || va & 3)
        return false;
    if (!write && target < 31)
        regs->x[target] = *reg32(va);
    return true;
}

/* ---- the guest's device tree ---- */

/* Whatever does DMA would use the guest's addresses as the host's: also the tables of the ITS are in memory. */
static const char *const left_out_nodes[] = {
    "pcie", "virtio_mmio", "fw-cfg", "flash", "its", "platform-bus", "cpu-map",
};

static bool keep_node(const struct fdt_token *node, unsigned *cpu, unsigned cpus)
{
    for (size_t i = 0; i < sizeof left_out_nodes / sizeof left_out_nodes[0]; i++)
        if (fdt_name_is(node, left_out_nodes[i]))
            return false;
    return !fdt_name_is(node, "cpu") || (*cpu)++ < cpus;
}

static void write_property(struct fdt_writer *w, const struct fdt_token *node, const struct fdt_token *property,
                           const struct guest_layout *guest)
{
    bool chosen = fdt_name_is(node, "chosen");
    if (chosen && strcmp(property->name, "bootargs") == 0)
        fdt_text(w, property->name, guest->command_line);
    else if (chosen && strcmp(property->name, "linux,initrd-start") == 0)
        fdt_u64(w, property->name, guest->initrd);
    else if (chosen && strcmp(property->name, "linux,initrd-end") == 0)
        fdt_u64(w, property->name, guest->initrd + guest->initrd_bytes);
    else if (fdt_name_is(node, "memory") && strcmp(property->name, "reg") == 0)
        fdt_u64_pair(w, property->name, guest->ram, guest->ram_bytes);
    else
        fdt_property(w, property->name, property->data, property->bytes);
}

size_t arch_guest_boot_data(const void *boot_info, const struct guest_layout *guest, void *blob, size_t capacity)
{
    static struct fdt_writer writer;
    struct fdt_reader reader;
    struct fdt_token token, node = {.name = ""};
    unsigned cpu = 0;
    if (!fdt_open(&reader, boot_info))
        return 0;
    fdt_begin(&writer, blob, capacity);
    for (fdt_next(&reader, &token); token.kind != FDT_DONE; fdt_next(&reader, &token)) {
        if (token.kind == FDT_PROPERTY) {
            write_property(&writer, &node, &token, guest);
        } else if (token.kind == FDT_NODE_END) {
            fdt_node_end(&writer);
        } else if (keep_node(&token, &cpu, guest->cpus)) {
            node = token;
            fdt_node(&writer, token.name);
        } else {
            fdt_skip_node(&reader);
        }
    }
    return fdt_finish(&writer);
}
