/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns what is particular to the machine (QEMU "virt"): console, clock, the one device that the guest reaches, and the
 * guest's device tree, which is written from nothing. Without an interrupt controller the guest has the timer and IPIs.
 */
#include "leave_out.h"
#include "riscv64.h"

enum { UART = 0x10000000, UART_LSR = UART + 5, UART_IDLE = 1 << 5, UART_HZ = 3686400 };

/* Without Svpbmt a table cannot say "device": what kind of memory it is, the physical address says (PMA). */
static const struct guest_device devices[] = {
    {.va = UART, .bytes = 0x1000, .kind = ASPACE_KIND_LINEAR, .rights = ASPACE_RW, .attr = ASPACE_ATTR_DEFAULT},
};

const struct arch arch = {
    .name = "riscv64",
    .guest_ram = 0x80000000,
    .poison = UINT64_C(0x100000001) * POISON_HFENCE,
    .devices = devices,
    .device_count = sizeof devices / sizeof devices[0],
};

enum { IMAGE_MAGIC = 0x05435352 }; /* "RSC\x05" */

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

static volatile uint8_t *reg8(uint64_t pa)
{
    return (volatile uint8_t *)(uintptr_t)pa;
}

void arch_console_put(char c)
{
    while (!(*reg8(UART_LSR) & UART_IDLE))
        ;
    *reg8(UART) = (uint8_t)c;
}

uint64_t arch_ticks(void)
{
    return READ_CSR("time");
}

uint64_t arch_ticks_hz(void)
{
    return machine.timebase_hz;
}

/* ---- the guest's device tree ---- */

static void write_cells(struct fdt_writer *w, uint32_t address, uint32_t size)
{
    fdt_u32(w, "#address-cells", address);
    fdt_u32(w, "#size-cells", size);
}

static void write_cpu(struct fdt_writer *w, unsigned cpu)
{
    char name[16];
    format_text(name, sizeof name, "cpu@%x", cpu);
    fdt_node(w, name);
    fdt_text(w, "device_type", "cpu");
    fdt_u32(w, "reg", cpu);
    fdt_text(w, "status", "okay");
    fdt_text(w, "compatible", "riscv");
    fdt_text(w, "riscv,isa", has_sstc() ? "rv64imafdc_sstc" : "rv64imafdc");
    fdt_text(w, "mmu-type", "riscv,sv39");
    fdt_node(w, "interrupt-controller");
    fdt_u32(w, "#interrupt-cells", 1);
    fdt_property(w, "interrupt-controller", NULL, 0);
    fdt_text(w, "compatible", "riscv,cpu-intc");
    fdt_u32(w, "phandle", cpu + 1);
    fdt_node_end(w);
    fdt_node_end(w);
}

static void write_cpus(struct fdt_writer *w, unsigned cpus)
{
    fdt_node(w, "cpus");
    write_cells(w, 1, 0);
    fdt_u32(w, "timebase-frequency", (uint32_t)machine.timebase_hz);
    for (unsigned i = 0; i < cpus; i++)
        write_cpu(w, i);
    fdt_node_end(w);
}

static void write_chosen(struct fdt_writer *w, const struct guest_layout *guest)
{
    fdt_node(w, "chosen");
    fdt_text(w, "bootargs", guest->command_line);
    fdt_text(w, "stdout-path", "/soc/serial@10000000");
    fdt_u64(w, "linux,initrd-start", guest->initrd);
    fdt_u64(w, "linux,initrd-end", guest->initrd + guest->initrd_bytes);
    fdt_node_end(w);
}

static void write_memory(struct fdt_writer *w, const struct guest_layout *guest)
{
    char name[32];
    format_text(name, sizeof name, "memory@%lx", guest->ram);
    fdt_node(w, name);
    fdt_text(w, "device_type", "memory");
    fdt_u64_pair(w, "reg", guest->ram, guest->ram_bytes);
    fdt_node_end(w);
}

static void write_devices(struct fdt_writer *w)
{
    fdt_node(w, "soc");
    write_cells(w, 2, 2);
    fdt_text(w, "compatible", "simple-bus");
    fdt_property(w, "ranges", NULL, 0);
    fdt_node(w, "serial@10000000");
    fdt_text(w, "compatible", "ns16550a");
    fdt_u64_pair(w, "reg", UART, 0x100);
    fdt_u32(w, "clock-frequency", UART_HZ);
    fdt_node_end(w);
    fdt_node_end(w);
}

/* The boot hart becomes CPU 0: which one wins is the firmware's choice. */
static void boot_hart_first(void)
{
    for (unsigned i = 1; i < machine.cpus; i++) {
        if (machine.cpu_id[i] == boot_hart) {
            machine.cpu_id[i] = machine.cpu_id[0];
            machine.cpu_id[0] = boot_hart;
        }
    }
}

size_t arch_guest_boot_data(const void *boot_info, const struct guest_layout *guest, void *blob, size_t capacity)
{
    static struct fdt_writer w;
    (void)boot_info;
    boot_hart_first();
    fdt_begin(&w, blob, capacity);
    fdt_node(&w, "");
    write_cells(&w, 2, 2);
    fdt_text(&w, "compatible", "riscv-virtio");
    fdt_text(&w, "model", "aspace example");
    write_chosen(&w, guest);
    write_memory(&w, guest);
    write_cpus(&w, guest->cpus);
    write_devices(&w);
    fdt_node_end(&w);
    return fdt_finish(&w);
}
