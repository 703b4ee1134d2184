/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the MP table, by which the guest finds its CPUs (Intel MultiProcessor Specification 1.4, chapter 4). It names no
 * I/O APIC: devices interrupt the first CPU, through the PIC. Must not know where it lies.
 */
#include <string.h>

#include "x86_64.h"

enum { REVISION = 4, APIC_VERSION = 0x14, CPU_ENABLED = 1, CPU_FIRST = 2, ALL = 0xff };
enum { TYPE_CPU, TYPE_BUS, TYPE_DEVICE_INTERRUPT = 3, TYPE_LOCAL_INTERRUPT };
enum { INTERRUPT_NMI = 1, INTERRUPT_PIC = 3 };

struct pointer {
    char signature[4];
    uint32_t table;
    uint8_t paragraphs, revision, checksum, features[5];
};

struct header {
    char signature[4];
    uint16_t bytes;
    uint8_t revision, checksum;
    char oem[8], product[12];
    uint32_t oem_table;
    uint16_t oem_bytes, entries;
    uint32_t apic, reserved;
};

struct cpu {
    uint8_t type, id, version, flags;
    uint32_t signature, features, reserved[2];
};

struct bus {
    uint8_t type, id;
    char name[6];
};

struct interrupt {
    uint8_t type, kind;
    uint16_t flags;
    uint8_t bus, line, to_id, to_input;
};

struct table {
    struct pointer pointer;
    struct header header;
    struct cpu cpus[HYP_CPUS_MAX]; /* from here on entries follow each other without a gap */
    struct bus bus;
    struct interrupt device, pic, nmi;
};
_Static_assert(sizeof(struct pointer) == 16 && sizeof(struct header) == 44 && sizeof(struct cpu) == 20,
               "as in chapter 4");
_Static_assert(sizeof(struct bus) == 8 && sizeof(struct interrupt) == 8, "as in chapter 4");
_Static_assert(sizeof(struct table) <= MP_BYTES_MAX, "there is room");

static uint8_t checksum(const void *from, size_t bytes)
{
    const uint8_t *p = from;
    uint8_t sum = 0;
    for (size_t i = 0; i < bytes; i++)
        sum = (uint8_t)(sum + p[i]);
    return (uint8_t)-sum;
}

static uint8_t *append(uint8_t *end, const void *entry, size_t bytes)
{
    memcpy(end, entry, bytes);
    return end + bytes;
}

/* Of the I/O APICs all get the PIC's output: without one such entry Linux takes the table for broken. */
static uint8_t *write_entries(const struct guest_layout *guest, uint8_t *end)
{
    static const struct bus bus = {TYPE_BUS, 0, "ISA   "};
    static const struct interrupt device = {TYPE_DEVICE_INTERRUPT, INTERRUPT_PIC, 0, 0, 0, ALL, 0};
    static const struct interrupt pic = {TYPE_LOCAL_INTERRUPT, INTERRUPT_PIC, 0, 0, 0, 0, 0};
    static const struct interrupt nmi = {TYPE_LOCAL_INTERRUPT, INTERRUPT_NMI, 0, 0, 0, ALL, 1};
    for (unsigned i = 0; i < guest->cpus; i++) {
        struct cpuid c = cpuid(1, 0);
        const struct cpu cpu = {
            .type = TYPE_CPU,
            .id = (uint8_t)machine.cpu_id[i],
            .version = APIC_VERSION,
            .flags = i == 0 ? CPU_ENABLED | CPU_FIRST : CPU_ENABLED,
            .signature = c.eax,
            .features = c.edx,
        };
        end = append(end, &cpu, sizeof cpu);
    }
    end = append(end, &bus, sizeof bus);
    end = append(end, &device, sizeof device);
    end = append(end, &pic, sizeof pic);
    return append(end, &nmi, sizeof nmi);
}

size_t mp_write(const struct guest_layout *guest, uint64_t at, void *to)
{
    struct table *table = to;
    uint8_t *begin = (uint8_t *)&table->header;
    size_t bytes = (size_t)(write_entries(guest, (uint8_t *)table->cpus) - begin);
    table->header = (struct header){
        .signature = "PCMP",
        .bytes = (uint16_t)bytes,
        .revision = REVISION,
        .oem = "libaspac",
        .product = "hypervisor  ",
        .entries = (uint16_t)(guest->cpus + 4),
        .apic = (uint32_t)APIC,
    };
    table->header.checksum = checksum(begin, bytes);
    table->pointer = (struct pointer){
        .signature = "_MP_",
        .table = (uint32_t)(at + sizeof table->pointer),
        .paragraphs = sizeof table->pointer / 16,
        .revision = REVISION,
    };
    table->pointer.checksum = checksum(&table->pointer, sizeof table->pointer);
    return sizeof table->pointer + bytes;
}
