/* SPDX-License-Identifier: BSD-2-Clause */
/* The hosted port with three things in the explorer's hands: who runs, what waiting means, and what is a failure. */
#ifndef EXPLORE_PORT_H
#define EXPLORE_PORT_H

#include "aspace_port.h"

void explore_pause(void);
void explore_assert_fail(const char *expr, const char *file, int line) __attribute__((noreturn));
void *explore_memcpy(void *restrict to, const void *restrict from, size_t n);

/* The running fiber's CPU is the hosted port's: the explorer sets it at each switch. */
#undef aspace_pause
#define aspace_pause() explore_pause()
#undef aspace_assert_fail
#define aspace_assert_fail(expr, file, line) explore_assert_fail(expr, file, line)

#endif
