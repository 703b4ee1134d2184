/* SPDX-License-Identifier: BSD-2-Clause */
/* How often what all CPUs share is reached, when a CPU does the same again and again: a cycle of operations. */
#ifndef CONFLICTS_PERIODS_H
#define CONFLICTS_PERIODS_H

#include "exceptions.h"

extern const char *const cycle_names[];
extern const unsigned cycle_count;

/* Measures, prints, and counts each that is more often than the list of exceptions says, or not in it, as failed. */
void periods_run(enum aspace_format format, unsigned *passed, unsigned *failed);

#endif
