/* SPDX-License-Identifier: BSD-2-Clause */
/* Operations that must not wait for another CPU that is in the middle of one. */
#ifndef CONFLICTS_WAITS_H
#define CONFLICTS_WAITS_H

#include "operations.h"

void waits_run(enum aspace_format format, unsigned *passed, unsigned *failed);

#endif
