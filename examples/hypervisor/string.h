/* SPDX-License-Identifier: BSD-2-Clause */
/* The little of <string.h> that there is without a C library: see string.c. */
#ifndef HYP_STRING_H
#define HYP_STRING_H

#include <stddef.h>

void *memset(void *to, int byte, size_t n);
void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *text);
int strcmp(const char *a, const char *b);

#endif
