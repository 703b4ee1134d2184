/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Text without a libc: a bounded buffer that pieces are appended to. What does not fit is cut off but counted. Owns how
 * numbers look; must not know what they mean.
 */
#ifndef INSPECT_TEXT_H
#define INSPECT_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct text {
    char *out;
    size_t capacity; /* bytes of out */
    size_t length;   /* of the whole text, terminator not counted */
};

/* Begins an empty text; terminated at all times if capacity > 0. */
void text_begin(struct text *t, char *out, size_t capacity);

void text_char(struct text *t, char c);
void text_put(struct text *t, const char *s);

/* `before`, then the number: 0x and as few digits as it takes; decimal. */
void text_hex(struct text *t, const char *before, uint64_t n);
void text_dec(struct text *t, const char *before, uint64_t n);

/* `before`, then bytes in the largest unit that divides them: 512, 4K, 3M, 1G, 2T. */
void text_bytes(struct text *t, const char *before, uint64_t bytes);

/* "0x1000-0x3000", half open. */
void text_range(struct text *t, const char *before, uint64_t va, uint64_t end);

/* Blanks up to a column, at least one. */
void text_column(struct text *t, size_t column);

#endif
