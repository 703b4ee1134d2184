/* SPDX-License-Identifier: BSD-2-Clause */
/* How often an operation reaches what all CPUs of a host share, when it is done again and again. */
#ifndef CONFLICTS_PERIODS_H
#define CONFLICTS_PERIODS_H

#include "exceptions.h"

/* Measures, prints, and counts each that is more often than the list of exceptions says, or not in it, as failed. */
void periods_run(enum aspace_format format, unsigned *passed, unsigned *failed);

#endif
