/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the functions that a freestanding compiler may call on its own. Words at a time where both ends are aligned. */
#include <stdint.h>
#include <string.h>

typedef uint64_t __attribute__((may_alias)) word;

void *memset(void *to, int byte, size_t n)
{
    unsigned char *p = to;
    uint64_t pattern = (unsigned char)byte * UINT64_C(0x0101010101010101);
    for (; n && ((uintptr_t)p & 7); n--)
        *p++ = (unsigned char)byte;
    for (; n >= 64; n -= 64, p += 64)
        for (unsigned i = 0; i < 8; i++)
            ((word *)(void *)p)[i] = pattern;
    for (; n; n--)
        *p++ = (unsigned char)byte;
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    unsigned char *p = to;
    const unsigned char *q = from;
    if ((((uintptr_t)p | (uintptr_t)q) & 7) == 0)
        for (; n >= 64; n -= 64, p += 64, q += 64)
            for (unsigned i = 0; i < 8; i++)
                ((word *)(void *)p)[i] = ((const word *)(const void *)q)[i];
    while (n--)
        *p++ = *q++;
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    unsigned char *p = to;
    const unsigned char *q = from;
    if ((uintptr_t)p - (uintptr_t)q >= n)
        return memcpy(to, from, n);
    while (n--)
        p[n] = q[n];
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *p = a, *q = b;
    for (; n; n--, p++, q++)
        if (*p != *q)
            return *p < *q ? -1 : 1;
    return 0;
}

size_t strlen(const char *text)
{
    size_t n = 0;
    while (text[n])
        n++;
    return n;
}

int strcmp(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return (unsigned char)*a - (unsigned char)*b;
}
