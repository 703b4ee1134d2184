/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Question: is nothing freed that a section still uses, on processors that delay stores, and does a goal pass once
 * every CPU has announced itself anew?
 *
 * Abstracted: one object behind one pointer, replaced once; two readers and one reclaimer, each with a store buffer
 * that drains in order at any time. A fence waits until the own buffer is empty. The epoch is raised by the reclaimer
 * alone, so its read-modify-write may stay in the buffer like any store: later loads overtake it, as on processors
 * whose acquire-release operations are no full barriers. Loads are not reordered among themselves.
 *
 * Follows: `reader`: smr_enter, smr_leave (src/sync/smr.h); with -DQSBR aspace_cpu_online, aspace_quiescent and
 * aspace_cpu_offline (smr.c). `reclaimer`: an unlink, smr_goal, and smr_passed as smr_wait polls it (smr.c).
 *
 * Checked: no reader uses the object after it was freed; a goal has passed when all readers have stored an epoch of
 * after it, or none, and these stores are seen.
 *
 *   clean   -                         sections
 *   clean   -DQSBR                    quiescent states
 *   clean   -DNO_GOAL_FENCE           either of the reclaimer's two fences is enough: without that of smr_goal
 *   clean   -DNO_PASSED_FENCE         without that of smr_passed
 *   clean   -DQSBR -DNO_GOAL_FENCE    the same
 *   clean   -DQSBR -DNO_PASSED_FENCE  the same
 *   clean   -DQSBR -DNO_QUIESCENT_FENCE  without that of aspace_quiescent: the older epoch is shown meanwhile
 *   assert  -DNO_READER_FENCE         no fence between the reader's epoch and its first load
 *   assert  -DQSBR -DNO_READER_FENCE  the same in aspace_cpu_online
 *   assert  -DNO_GOAL_FENCE -DNO_PASSED_FENCE  no fence between the unlink and the look at the epochs
 *   assert  -DQSBR -DNO_GOAL_FENCE -DNO_PASSED_FENCE  the same
 *   assert  -DGOAL_FIRST              the goal is taken before the unlink
 *   assert  -DSAME_EPOCH              a goal of the epoch as it was, not one more
 *   assert  -DQSBR -DSAME_EPOCH       the same
 *   assert  -DLESS_OR_EQUAL           readers of the goal's own epoch are waited for too
 *   assert  -DQSBR -DLESS_OR_EQUAL    the same
 */
#define READERS 2
#define RECLAIMER 2
#define OLD 1
#define NEW 2

/* What can be stored to. */
#define SEEN 0 /* + reader */
#define EPOCH 2
#define POINTER 3
byte memory[4];

chan buffer[3] = [3] of { byte, byte };
bool freed;
byte goal;       /* 0: none yet */
bool rounds_end; /* the reclaimer is through */

#define STORE(me, what, value) buffer[me] ! what, value
#define FENCE(me) empty(buffer[me])
#define DRAIN(me) atomic { buffer[me] ? what, value -> memory[what] = value; what = 0; value = 0 }

active proctype drain()
{
    byte what, value;
end:
    do
    :: DRAIN(0)
    :: DRAIN(1)
    :: DRAIN(2)
    od
}

proctype reader(byte me)
{
    byte epoch, p;
#ifdef QSBR
online:
    epoch = memory[EPOCH]; /* aspace_cpu_online */
    STORE(me, SEEN + me, epoch);
#ifndef NO_READER_FENCE
    FENCE(me);
#endif
#endif
    do
    :: !rounds_end ->
#ifdef QSBR
        p = memory[POINTER];
        assert(p != OLD || !freed);
        p = 0;
        if
        :: STORE(me, SEEN + me, 0); goto online /* aspace_cpu_offline */
        :: epoch = memory[EPOCH]; /* aspace_quiescent */
            STORE(me, SEEN + me, epoch);
#ifndef NO_QUIESCENT_FENCE
            FENCE(me)
#endif
        fi
#else
        epoch = memory[EPOCH]; /* smr_enter */
        STORE(me, SEEN + me, epoch);
#ifndef NO_READER_FENCE
        FENCE(me);
#endif
        p = memory[POINTER];
        assert(p != OLD || !freed);
        p = 0;
        STORE(me, SEEN + me, 0) /* smr_leave */
#endif
    :: rounds_end -> break
    od
}

inline raise_epoch()
{
    goal = memory[EPOCH] + 1; /* seam_add_acq_rel: what was stored before is seen before */
    STORE(RECLAIMER, EPOCH, goal);
#ifdef SAME_EPOCH
    goal--
#endif
}

#ifdef LESS_OR_EQUAL
#define OLDER(seen) (seen != 0 && seen <= goal)
#else
#define OLDER(seen) (seen != 0 && seen < goal)
#endif
/* Announced since the goal was taken, and visible. */
#define FRESH(seen) (seen == 0 || seen >= memory[EPOCH])

proctype reclaimer()
{
    bool old;
#ifdef GOAL_FIRST
    FENCE(RECLAIMER);
    atomic { raise_epoch() };
#endif
    STORE(RECLAIMER, POINTER, NEW);
#ifndef GOAL_FIRST
#ifndef NO_GOAL_FENCE
    FENCE(RECLAIMER);
#endif
    atomic { raise_epoch() };
#endif
poll:
#ifndef NO_PASSED_FENCE
    FENCE(RECLAIMER);
#endif
    old = OLDER(memory[SEEN]);
    if
    :: !old -> old = OLDER(memory[SEEN + 1])
    :: else
    fi;
    if
    :: old -> goto again
    :: else -> freed = true
    fi;
    rounds_end = true;
    goto end_reclaimer;
again:
    /* Once more from the beginning; but if all is announced and seen, the goal must have passed now. */
    atomic {
        if
        :: empty(buffer[RECLAIMER]) && FRESH(memory[SEEN]) && FRESH(memory[SEEN + 1]) ->
            assert(!OLDER(memory[SEEN]) && !OLDER(memory[SEEN + 1]))
        :: else
        fi;
        goto poll
    };
end_reclaimer:
    skip
}

init
{
    atomic {
        memory[EPOCH] = 1;
        memory[POINTER] = OLD;
        run reader(0);
        run reader(1);
        run reclaimer()
    }
}
