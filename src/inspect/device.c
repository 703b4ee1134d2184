/* SPDX-License-Identifier: BSD-2-Clause */
/* Device addresses: widths, ports, system registers, ranges. Knows nothing of spaces. */
#include <aspace/device.h>

#include "inspect/text.h"

bool aspace_width_from_bytes(size_t bytes, enum aspace_width *width)
{
    if (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8)
        return false;
    *width = (enum aspace_width)bytes;
    return true;
}

uint64_t aspace_width_mask(enum aspace_width width)
{
    return UINT64_MAX >> (64 - 8 * (unsigned)width);
}

bool aspace_port_in(struct aspace_port port, struct aspace_port_range range)
{
    return port.number >= range.first && port.number <= range.last;
}

bool aspace_sysreg_in(struct aspace_sysreg reg, struct aspace_sysreg_range range)
{
    return reg.number >= range.first && reg.number <= range.last;
}

bool aspace_device_in(aspace_va_t va, struct aspace_device_range range)
{
    return va >= range.va && va < range.end;
}

/* What is left of the range is compared, not the access's own end, which may wrap. */
bool aspace_device_access_in(aspace_va_t va, enum aspace_width width, struct aspace_device_range range)
{
    return aspace_device_in(va, range) && range.end - va >= (uint64_t)width;
}

size_t aspace_port_format(struct aspace_port port, char *text, size_t n)
{
    struct text t;
    text_begin(&t, text, n);
    text_hex(&t, "port ", port.number);
    return t.length;
}

size_t aspace_sysreg_format(struct aspace_sysreg reg, char *text, size_t n)
{
    struct text t;
    text_begin(&t, text, n);
    text_hex(&t, "sysreg ", reg.number);
    return t.length;
}

size_t aspace_device_range_format(struct aspace_device_range range, char *text, size_t n)
{
    struct text t;
    text_begin(&t, text, n);
    text_range(&t, "", range.va, range.end);
    return t.length;
}
