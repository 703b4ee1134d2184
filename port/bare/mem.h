/* SPDX-License-Identifier: BSD-2-Clause */
/* The four functions that a freestanding program must bring along; compilers ask for them too. */
#ifndef ASPACE_BARE_MEM_H
#define ASPACE_BARE_MEM_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);

#endif
