/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the header of flat Linux Images (Documentation/arch/{arm64/booting,riscv/boot-image-header}.rst), which two
 * architectures share. Must not know what else a loader does.
 */
#include <string.h>

#include "hyp.h"

enum { SIZE_AT = 16, MAGIC_AT = 56, OFFSET = 0x200000 };

bool image_read_flat(const uint8_t *image, uint32_t magic, struct guest_kernel *kernel)
{
    uint32_t found;
    memcpy(&found, image + MAGIC_AT, sizeof found);
    memcpy(&kernel->bytes, image + SIZE_AT, sizeof kernel->bytes);
    kernel->skip = 0;
    kernel->at = kernel->entry = arch.guest_ram + OFFSET;
    return found == magic;
}
