/* SPDX-License-Identifier: BSD-2-Clause */
/* Appending to a bounded text. */
#include "inspect/text.h"

void text_begin(struct text *t, char *out, size_t capacity)
{
    t->out = out;
    t->capacity = capacity;
    t->length = 0;
    if (capacity)
        out[0] = 0;
}

void text_char(struct text *t, char c)
{
    if (t->length + 1 < t->capacity) {
        t->out[t->length] = c;
        t->out[t->length + 1] = 0;
    }
    t->length++;
}

void text_put(struct text *t, const char *s)
{
    while (*s)
        text_char(t, *s++);
}

/* Digits from the highest one on: `weight` is base to the power of the number of digits less one. */
static void digits(struct text *t, uint64_t n, uint64_t base)
{
    uint64_t weight = 1;
    while (n / weight >= base)
        weight *= base;
    for (; weight; weight /= base)
        text_char(t, "0123456789abcdef"[n / weight % base]);
}

void text_hex(struct text *t, const char *before, uint64_t n)
{
    text_put(t, before);
    text_put(t, "0x");
    digits(t, n, 16);
}

void text_dec(struct text *t, const char *before, uint64_t n)
{
    text_put(t, before);
    digits(t, n, 10);
}

void text_bytes(struct text *t, const char *before, uint64_t bytes)
{
    static const char unit[] = "KMGTPE";
    unsigned u = 0;
    while (bytes && !(bytes & 1023) && u < sizeof unit - 1) {
        bytes >>= 10;
        u++;
    }
    text_dec(t, before, bytes);
    if (u)
        text_char(t, unit[u - 1]);
}

void text_range(struct text *t, const char *before, uint64_t va, uint64_t end)
{
    text_hex(t, before, va);
    text_hex(t, "-", end);
}

void text_column(struct text *t, size_t column)
{
    do
        text_char(t, ' ');
    while (t->length < column);
}
