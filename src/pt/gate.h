/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gate: while a fork copies a table, nothing else may change it. Whoever changes slots, or stores to memory
 * through them, looks at the gate inside its section; the fork raises it and waits for one grace period (G2), after
 * which nobody is under way who had found it open. Hardware's accessed and dirty flags, and their harvest, go on.
 */
#ifndef PT_GATE_H
#define PT_GATE_H

#include "pt/pt.h"

/* In the place of a CPU's tag, between the steps of a fork. */
#define GATE_NOBODY UINT32_MAX

/* For what must not wait, as it may be inside a section of its caller's: false is answered with RETRY. In a section.
 * Acquire: who finds it lowered finds what the fork has made of the slots, also where it takes a lock that the fork
 * never took. */
static inline __attribute__((always_inline)) bool gate_is_open(const struct pt *pt)
{
    return LIKELY(!seam_load_acquire(&pt->gate));
}

/* Enter a section in which the gate is open, or raised by this CPU; waits for it outside of sections. */
void gate_enter_slow(struct pt *pt);
static inline void gate_enter(struct pt *pt)
{
    smr_enter(pt->host);
    if (UNLIKELY(seam_load_acquire(&pt->gate)))
        gate_enter_slow(pt);
}

/* Raise it for nobody, and wait until no one is under way; false: another fork has it. Outside of sections. */
bool gate_raise(struct pt *pt);
void gate_hold(struct pt *pt); /* raised for nobody: now this CPU passes, for a step of the fork */
void gate_let(struct pt *pt);  /* for nobody again */
void gate_lower(struct pt *pt);

#endif
