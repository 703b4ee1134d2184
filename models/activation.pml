/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Question: does a change of the tables reach every CPU that could still use what it took away, although CPUs come and
 * go without asking, and a CPU that is not active is not interrupted (O6 of docs/locking.md)?
 *
 * Abstracted: one page, mapped at first, unmapped by each operation and mapped again in between (`now` counts; a
 * cached translation carries the count it was read at). A CPU's TLB holds at most that one translation and keeps it
 * while the CPU is not active. The store that clears the slot waits in a store buffer until a fence, or until it is
 * drained at any time; everything else is sequentially consistent: seam_or in aspace_activate is taken for a full
 * barrier.
 *
 * Follows: `cpu`: aspace_activate, aspace_deactivate (src/space/space.c) and hardware walks in between; `operation`:
 * whom_to_ask, gather_flush (src/pt/gather.c).
 *
 * Checked: no CPU uses a translation of before a change whose operation has returned.
 *
 *   clean   -                     two CPUs, two operations one after the other
 *   deep    -DOPERATORS=2         two CPUs, two operations at once
 *   assert  -DREAD_THEN_ENTER     a CPU reads the generation before it enters the sets
 *   assert  -DRAISE_LAST          the active set is not read again after the generation was raised
 *   assert  -DNO_RAISE            the generation is not raised
 *   assert  -DNO_FENCE            no fence between the change and the look at the sets
 *   assert  -DKNOWN_LAST          a CPU enters the known set only when it has left the active set
 *   assert  -DRECORD_BEFORE       a CPU that leaves takes the generation for one that it has seen, then leaves the set
 *   assert  -DRECORD_AFTER        the same the other way round
 */
#ifndef OPERATORS
#define OPERATORS 1
#endif
#define CPUS 2
#define ROUNDS (3 - OPERATORS)

byte now = 1;         /* what memory shows to a walk: the count of changes, as far as drained */
byte buffered = 0;    /* stores of `now` not yet drained */
byte returned = 0;    /* changes up to here have been reported done */
byte generation = 0;
bit known_set[CPUS], active_set[CPUS];
byte tlb[CPUS];       /* 0: nothing */
byte seen[CPUS];

active proctype store_buffer()
{
end:
    do
    :: d_step { buffered > 0 -> now = now + buffered; buffered = 0 }
    od
}

proctype cpu(byte me)
{
    byte g;
end:
    do
    :: /* aspace_activate */
#ifdef READ_THEN_ENTER
        g = generation;
#endif
#ifndef KNOWN_LAST
        known_set[me] = 1;
#endif
        active_set[me] = 1;
#ifndef READ_THEN_ENTER
        g = generation;
#endif
        if
        :: seen[me] != g -> tlb[me] = 0 /* tlb_flush_local */
        :: else
        fi;
        seen[me] = g;
        do /* runs in the space */
        :: atomic { tlb[me] == 0 -> tlb[me] = now }
        :: atomic { tlb[me] != 0 -> assert(tlb[me] > returned) }
        :: break
        od;
        /* aspace_deactivate */
#ifdef RECORD_BEFORE
        seen[me] = generation;
#endif
        active_set[me] = 0;
#ifdef KNOWN_LAST
        known_set[me] = 1;
#endif
#ifdef RECORD_AFTER
        seen[me] = generation;
#endif
    od
}

/* copy_active; the sets are one word each. */
inline copy_active()
{
    d_step { ask[0] = active_set[0]; ask[1] = active_set[1] }
}

proctype operation()
{
    byte round, i, mine;
    bit ask[CPUS], lazy;
    for (round : 1 .. ROUNDS) {
        d_step { buffered++; mine = now + buffered }; /* the slot changes */
#ifndef NO_FENCE
        buffered == 0; /* seam_fence */
#endif
        copy_active();
        d_step { lazy = (known_set[0] && !ask[0]) || (known_set[1] && !ask[1]) };
#ifndef NO_RAISE
        if
        :: lazy ->
            generation++;
#ifndef RAISE_LAST
            copy_active();
#endif
        :: else
        fi;
#endif
        for (i : 0 .. CPUS - 1) { /* tlb_flush, tlb_wait */
            if
            :: ask[i] -> tlb[i] = 0
            :: else
            fi
        }
        atomic {
            buffered == 0; /* seam_unlock is a release */
            /* What was mapped before the change has number mine - 1 or less. */
            if
            :: mine - 1 > returned -> returned = mine - 1
            :: else
            fi
        }
    }
}

init
{
    atomic {
        byte n;
        for (n : 1 .. OPERATORS) { run operation() }
        run cpu(0);
        run cpu(1)
    }
}
