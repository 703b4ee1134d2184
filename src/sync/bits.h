/* SPDX-License-Identifier: BSD-2-Clause */
/* What a freestanding C implementation does not declare, and bit searches that never call a compiler's library. */
#ifndef ASPACE_SYNC_BITS_H
#define ASPACE_SYNC_BITS_H

#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);

/* The lowest bit that is set, of x not 0. */
static inline unsigned lowest_bit(uint64_t x)
{
    unsigned n = 0;
    for (unsigned half = 32; half; half /= 2) {
        if (!(x & ((1ull << half) - 1))) {
            x >>= half;
            n += half;
        }
    }
    return n;
}

#endif
