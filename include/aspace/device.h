/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Addresses of devices as a trap decoder meets them: access widths, I/O ports, system registers, guest-physical
 * device addresses, and ranges of each. Port and register ranges are inclusive at both ends, address ranges half open.
 */
#ifndef ASPACE_DEVICE_H
#define ASPACE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <aspace/hal.h>

#ifdef __cplusplus
extern "C" {
#endif

/* 1, 2, 4 or 8 bytes; the value is the size in bytes. */
enum aspace_width { ASPACE_WIDTH_1 = 1, ASPACE_WIDTH_2 = 2, ASPACE_WIDTH_4 = 4, ASPACE_WIDTH_8 = 8 };

bool aspace_width_from_bytes(size_t bytes, enum aspace_width *width); /* false for any other size */
uint64_t aspace_width_mask(enum aspace_width width);                  /* 0xff ... UINT64_MAX */

struct aspace_port {
    uint16_t number;
};
struct aspace_sysreg {
    uint64_t number;
};

struct aspace_port_range {
    uint16_t first, last;
};
struct aspace_sysreg_range {
    uint64_t first, last;
};
struct aspace_device_range {
    aspace_va_t va, end;
};

bool aspace_port_in(struct aspace_port port, struct aspace_port_range range);
bool aspace_sysreg_in(struct aspace_sysreg reg, struct aspace_sysreg_range range);
bool aspace_device_in(aspace_va_t va, struct aspace_device_range range);

/* An access of `width` bytes lies wholly inside; false if it wraps. */
bool aspace_device_access_in(aspace_va_t va, enum aspace_width width, struct aspace_device_range range);

/* Text for a person: "port 0x3f8", "sysreg 0xc0000080", "0xfee00000-0xfee01000". Returns the length that the whole
 * text has; writes at most n bytes, terminated if n > 0. */
size_t aspace_port_format(struct aspace_port port, char *text, size_t n);
size_t aspace_sysreg_format(struct aspace_sysreg reg, char *text, size_t n);
size_t aspace_device_range_format(struct aspace_device_range range, char *text, size_t n);

#ifdef __cplusplus
}
#endif
#endif
