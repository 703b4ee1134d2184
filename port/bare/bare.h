/* SPDX-License-Identifier: BSD-2-Clause */
/* The run-time half of the smallest port: frames out of a static array. Owns that array; must not know the library's
 * sources. */
#ifndef ASPACE_BARE_H
#define ASPACE_BARE_H

#include <aspace/hal.h>

#ifndef BARE_FRAMES
#define BARE_FRAMES 2048 /* a program with more memory says so on its command line */
#endif

enum { BARE_ORDER_MAX = 9 };

extern const struct aspace_hal bare_hal; /* its context is not used: NULL will do */

uint64_t bare_frames_used(void);

#endif
