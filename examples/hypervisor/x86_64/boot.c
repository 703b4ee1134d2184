/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the Linux boot protocol for x86 (Documentation/x86/boot.rst), in its 32-bit form: what the header of a bzImage
 * says, and the "zero page" with the memory map. Must not know how the guest is run.
 */
#include <string.h>

#include "x86_64.h"

/* Places in the file, and in the zero page. */
enum {
    SETUP_SECTS = 0x1f1,
    VID_MODE = 0x1fa,
    JUMP_LENGTH = 0x201,
    HEADER = 0x202,
    MAGIC = 0x202,
    VERSION = 0x206,
    TYPE_OF_LOADER = 0x210,
    RAMDISK_IMAGE = 0x218,
    RAMDISK_SIZE = 0x21c,
    CMD_LINE_PTR = 0x228,
    CMD_LINE_SIZE = 0x238,
    PREF_ADDRESS = 0x258,
    INIT_SIZE = 0x260,
    E820_ENTRIES = 0x1e8,
    E820_TABLE = 0x2d0,
};
enum { SECTOR = 512, VERSION_LEAST = 0x20a, LOADER_UNDEFINED = 0xff, VID_MODE_NORMAL = 0xffff };
enum { COMMAND_LINE_AT = BOOT_GDT_AT + BOOT_GDT_BYTES };
enum { BOOT_DATA = 0x90000, LOW_MEMORY_END = 0x9fc00, HIGH_MEMORY = 0x100000 };
enum { E820_RAM = 1, MP_AT = LOW_MEMORY_END - BOOT_DATA };
#define HEADER_MAGIC 0x53726448 /* "HdrS" */

struct e820_entry {
    uint64_t addr, size;
    uint32_t type;
} __attribute__((packed));

static uint64_t get(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;
    memcpy(&value, at, bytes);
    return value;
}

static void put32(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, 4);
}

bool arch_guest_kernel(const uint8_t *image, struct guest_kernel *kernel)
{
    if (get(image + MAGIC, 4) != HEADER_MAGIC || get(image + VERSION, 2) < VERSION_LEAST)
        return false;
    kernel->skip = (get(image + SETUP_SECTS, 1) + 1) * SECTOR;
    kernel->at = kernel->entry = get(image + PREF_ADDRESS, 8);
    kernel->bytes = get(image + INIT_SIZE, 4);
    kernel->boot_data = BOOT_DATA;
    return true;
}

/* Between the two there is memory too, where the firmware has its tables. The kernel looks there, and finds an MP table
 * at the beginning, or nothing. */
static void write_memory_map(uint8_t *page, uint64_t ram_bytes)
{
    const struct e820_entry map[] = {
        {0, LOW_MEMORY_END, E820_RAM},
        {HIGH_MEMORY, ram_bytes - HIGH_MEMORY, E820_RAM},
    };
    memcpy(page + E820_TABLE, map, sizeof map);
    page[E820_ENTRIES] = sizeof map / sizeof map[0];
}

size_t arch_guest_boot_data(const void *boot_info, const struct guest_layout *guest, void *blob, size_t capacity)
{
    static const uint64_t gdt[BOOT_GDT_BYTES / 8] = {
        [BOOT_GDT_CODE / 8] = 0x00cf9b000000ffff,
        [BOOT_GDT_DATA / 8] = 0x00cf93000000ffff,
    };
    uint8_t *page = blob;
    size_t line = strlen(guest->command_line);
    (void)boot_info;
    if (COMMAND_LINE_AT + line + 1 > MP_AT || MP_AT + MP_BYTES_MAX > capacity ||
        line > get(guest->image + CMD_LINE_SIZE, 4))
        return 0;
    memset(page, 0, MP_AT);
    memcpy(page + SETUP_SECTS, guest->image + SETUP_SECTS, HEADER + guest->image[JUMP_LENGTH] - SETUP_SECTS);
    page[TYPE_OF_LOADER] = LOADER_UNDEFINED;
    memset(page + VID_MODE, VID_MODE_NORMAL & 0xff, 2);
    put32(page + RAMDISK_IMAGE, guest->initrd);
    put32(page + RAMDISK_SIZE, guest->initrd_bytes);
    put32(page + CMD_LINE_PTR, guest->boot_data + COMMAND_LINE_AT);
    write_memory_map(page, guest->ram_bytes);
    memcpy(page + BOOT_GDT_AT, gdt, sizeof gdt);
    memcpy(page + COMMAND_LINE_AT, guest->command_line, line + 1);
    return guest->cpus > 1 ? MP_AT + mp_write(guest, guest->boot_data + MP_AT, page + MP_AT) : MP_AT;
}
