/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gate: while a fork copies a table, nothing else may change it. Whoever changes slots, or stores to memory
 * through them, looks at the gate inside its section; the fork raises it and waits for one grace period (G2), after
 * which nobody is under way who had found it open. Hardware's accessed and dirty flags, and their harvest, go on.
 */
#ifndef PT_GATE_H
#define PT_GATE_H

#include "pt/pt.h"

/* For what must not wait, as it may be inside a section of its caller's: false is answered with RETRY. In a section. */
static inline __attribute__((always_inline)) bool gate_is_open(const struct pt *pt)
{
    return LIKELY(!seam_load(&pt->gate));
}

/* Enter a section in which the gate is open, or raised by this CPU; waits for it outside of sections. */
void gate_enter_slow(struct pt *pt);
static inline void gate_enter(struct pt *pt)
{
    smr_enter(pt->host);
    if (UNLIKELY(seam_load(&pt->gate)))
        gate_enter_slow(pt);
}

/* Raise it and wait until no one is under way; false: another fork has it. Outside of sections. */
bool gate_raise(struct pt *pt);
void gate_hold(struct pt *pt); /* raised already, by another CPU perhaps: it is this one's now */
void gate_lower(struct pt *pt);

#endif
