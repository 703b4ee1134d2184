/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Question: is a page that spaces share until it is written (T7) copied, taken back and given up rightly, whoever
 * writes, leaves, forks or protects meanwhile? Is a look at the count, without a lock, enough to take a page back?
 *
 * Abstracted: one page in spaces A and B, which share frame 1 at first, and C, the child of a fork of A. CPUs 0 and 1
 * run in A, 2 in B, each with a TLB of one entry that fills at any time. A write is the hardware's; a reader in A holds
 * in a section what a lookup found. A frame has 7 in it at first, or what its space has written. The grace period is
 * that of the one reader, and of faults for the gate.
 *
 * Follows: `fault`: step, step_locked, take_back, copy (src/pt/cow.c) with op_end; `drop`: shares_drop (src/pt/shares.c)
 * from release_page; `leave`: an unmap (src/pt/quick.c); `protect`: pt_protect, which leaves a leaf alone that lacks the
 * right; `fork`: pt_fork_begin to pt_fork_end (src/pt/fork.c).
 *
 * Checked: a frame is freed once, and not while a slot, a TLB or a section has it; who writes is the only one that maps
 * the frame; each space reads what it wrote, or what was there; after a protect no leaf has the right.
 *
 *   clean   -                     the rule: both write, one of them leaves or not, and a reader
 *   clean   -DPROTECT             A is protected meanwhile
 *   clean   -DFORK                A is forked meanwhile
 *   clean   -DFORK -DCOUNT_LATE   the fork counts the frame after its leaf lost the right: behind the gate nobody sees
 *   assert  -DFORK -DNO_GATE -DCOUNT_LATE  the same, without the gate
 *   assert  -DFORK -DLOOK_EARLY   the count is read before the gate is looked at
 *   assert  -DPROTECT -DLOCK_FREE a page is taken back by an exchange without the lock
 *   assert  -DDROP_EARLY          the old frame is given up before the flush
 *   assert  -DNO_GRACE            ... or before the readers' sections have ended
 *   assert  -DNO_FLUSH            the copy is published without a flush
 *   assert  -DCOPY_LATE           the copy is made after it is published
 *   assert  -DTORN_COUNT          a mapping is given up by a load and a store of the count
 *   assert  -DNEVER_LAST          whoever finds others does not look again: the last one does not free
 */
#define EMPTY 0
#define BUSY 15
#define W 8
#define FRAME(e) ((e) & 7)
#define IS_LEAF(e) ((e) != EMPTY && (e) != BUSY)
#define SPACE(cpu) ((cpu) / 2)
#define FRAMES 6

byte slot[3];
byte tlb[3];
byte beyond[FRAMES];    /* the first mapping of a frame */
byte memory[FRAMES];
bit freed[FRAMES], counted[3]; /* of slots: the soft bit */
byte next_frame = 2;
bit may_write[3] = 1;   /* the value of A, B, C */
bit lock[3];
bit gate, faulting[2];  /* of A: CPUs that are in a section of a fault */
byte held;              /* by the reader's section */
bit section;
bit written[3];         /* the space has written */
byte held_by_child;
byte busy;              /* writers, and who leaves */

#define MAPS(s, f) (IS_LEAF(slot[s]) && FRAME(slot[s]) == f)
#define CACHES(s, f) (s == 0 && (FRAME(tlb[0]) == f || FRAME(tlb[1]) == f) || s == 1 && FRAME(tlb[2]) == f)
#define RIGHT(s, f) (memory[f] == (written[s] -> s + 1 : 7))

inline drop(f)
{
#ifdef TORN_COUNT
    seen = beyond[f];
    atomic {
        if
        :: seen > 0 -> beyond[f] = seen - 1; seen = 0; goto dropped
        :: else
        fi;
#else
    atomic {
        if
        :: beyond[f] > 0 -> beyond[f]--; goto dropped
        :: else
        fi;
#endif
        assert(!freed[f]);
        assert(!MAPS(0, f) && !MAPS(1, f) && !MAPS(2, f));
        assert(!CACHES(0, f) && !CACHES(1, f) && held != f);
#ifndef NEVER_LAST
        freed[f] = 1
#endif
    };
dropped:
    skip
}

inline flush(s)
{
    if
    :: s == 0 -> tlb[0] = 0; tlb[1] = 0
    :: s == 1 -> tlb[2] = 0
    :: else
    fi
}

inline grace()
{
#ifdef NO_GRACE
    skip
#else
    !section
#endif
}

/* One write of CPU `cpu`, or none if it may not. */
proctype write(byte cpu)
{
    byte e, new, old, seen;
    bit sole;
again:
    do
    :: atomic { /* the access */
        tlb[cpu] & W ->
        assert(!MAPS(1 - SPACE(cpu), FRAME(tlb[cpu])) && !CACHES((1 - SPACE(cpu)), FRAME(tlb[cpu])));
        memory[FRAME(tlb[cpu])] = SPACE(cpu) + 1;
        written[SPACE(cpu)] = 1;
        goto done
    }
    :: atomic { tlb[cpu] == 0 && IS_LEAF(slot[SPACE(cpu)]) -> tlb[cpu] = slot[SPACE(cpu)] }
    :: atomic { tlb[cpu] != 0 && !(tlb[cpu] & W) -> tlb[cpu] = 0; break }
    :: atomic { slot[SPACE(cpu)] == EMPTY -> goto done }
    od;
#ifdef LOOK_EARLY
    sole = beyond[FRAME(slot[SPACE(cpu)])] == 0;
#endif
    atomic {
        if
#ifndef NO_GATE
        :: cpu < 2 && gate -> goto again
#endif
        :: else ->
            if
            :: cpu < 2 -> faulting[cpu] = 1
            :: else
            fi
        fi
    };
#ifndef LOCK_FREE
    atomic { !lock[SPACE(cpu)] -> lock[SPACE(cpu)] = 1 };
#endif
    atomic {
        e = slot[SPACE(cpu)];
        if
        :: !IS_LEAF(e) || (e & W) || !may_write[SPACE(cpu)] -> goto unlock
        :: else
        fi
    };
#ifndef LOOK_EARLY
    sole = !counted[SPACE(cpu)] || beyond[FRAME(e)] == 0;
#endif
    if
    :: sole ->
        atomic { /* taken back */
            if
            :: slot[SPACE(cpu)] == e -> slot[SPACE(cpu)] = e | W; counted[SPACE(cpu)] = 0
            :: else
            fi
        };
        goto unlock
    :: else
    fi;
    atomic { new = next_frame; next_frame++ };
#ifndef COPY_LATE
    memory[new] = memory[FRAME(e)];
#endif
    atomic { old = FRAME(slot[SPACE(cpu)]); slot[SPACE(cpu)] = BUSY };
#ifdef DROP_EARLY
    drop(old);
#endif
#ifndef NO_FLUSH
    atomic { flush(SPACE(cpu)) };
#endif
    atomic { slot[SPACE(cpu)] = new | W; counted[SPACE(cpu)] = 0 };
#ifdef COPY_LATE
    memory[new] = memory[old];
#endif
unlock:
    atomic {
        lock[SPACE(cpu)] = 0;
        if
        :: cpu < 2 -> faulting[cpu] = 0
        :: else
        fi;
        e = 0;
        sole = 0;
        new = 0
    };
#ifndef DROP_EARLY
    if
    :: old != 0 -> grace(); drop(old)
    :: else
    fi;
#endif
    old = 0;
    goto again;
done:
    busy--
}

/* B gives up the page. */
proctype leave()
{
    byte old, seen;
    atomic { !lock[1] -> lock[1] = 1; old = FRAME(slot[1]); slot[1] = EMPTY };
    atomic { flush(1) };
    lock[1] = 0;
    grace();
    drop(old);
    busy--
}

/* What a CPU of A, and one of B, reads by its TLB at any time. */
active proctype read()
{
end:
    do
    :: atomic { tlb[0] == 0 && IS_LEAF(slot[0]) -> tlb[0] = slot[0] }
    :: atomic { tlb[2] == 0 && IS_LEAF(slot[1]) -> tlb[2] = slot[1] }
    :: atomic { tlb[0] != 0 && !RIGHT(0, FRAME(tlb[0])) -> assert(false) }
    :: atomic { tlb[2] != 0 && !RIGHT(1, FRAME(tlb[2])) -> assert(false) }
    od
}

/* Software that looks a page of A up, and uses it to the end of its section. It may see what was there before. */
proctype reader()
{
    section = 1;
    atomic { IS_LEAF(slot[0]) -> held = FRAME(slot[0]) };
    assert(!freed[held] && memory[held] != 2);
    atomic { held = 0; section = 0 }
}

#ifdef PROTECT
proctype protect()
{
    atomic { !lock[0] -> lock[0] = 1 };
    atomic {
        if
        :: slot[0] & W && slot[0] != BUSY -> slot[0] = FRAME(slot[0])
        :: else /* nothing to change in the leaf */
        fi;
        may_write[0] = 0
    };
    atomic { flush(0) };
    lock[0] = 0;
    atomic { assert(!(slot[0] & W) && !(tlb[0] & W) && !(tlb[1] & W)) };
    /* And from now on. */
end:
    atomic { slot[0] & W || tlb[0] & W || tlb[1] & W -> assert(false) }
}
#endif

#ifdef FORK
proctype fork()
{
    byte f;
    gate = 1;
#ifndef NO_GATE
    !faulting[0] && !faulting[1];
#endif
#ifndef COUNT_LATE
    atomic { f = FRAME(slot[0]); beyond[f]++ };
#endif
#ifdef NO_GATE
    slot[0] != BUSY;
#endif
    atomic { slot[0] = FRAME(slot[0]); counted[0] = 1; written[2] = 0 };
#ifdef COUNT_LATE
    atomic { f = FRAME(slot[0]); beyond[f]++ };
#endif
    atomic { slot[2] = slot[0]; counted[2] = 1 };
    atomic { flush(0) };
    /* The child's page is that of now, for good. */
    atomic { held_by_child = memory[FRAME(slot[2])]; gate = 0 };
end:
    atomic { memory[FRAME(slot[2])] != held_by_child || freed[FRAME(slot[2])] -> assert(false) }
}
#endif

init
{
    atomic {
        slot[0] = 1;
        slot[1] = 1;
        counted[0] = 1;
        counted[1] = 1;
        beyond[1] = 1;
        memory[1] = 7;
        busy = 2;
        run reader();
        run write(1);
#ifdef PROTECT
        run protect();
#endif
#ifdef FORK
        run fork();
#endif
        if
        :: run write(2)
        :: run leave()
        :: busy = 3; run write(2); run leave()
        fi
    };
    atomic { /* nothing is left over */
        busy == 0;
        assert(freed[1] || MAPS(0, 1) || MAPS(1, 1) || MAPS(2, 1));
        assert(next_frame <= 2 || freed[2] || MAPS(0, 2) || MAPS(1, 2) || MAPS(2, 2));
        assert(next_frame <= 3 || freed[3] || MAPS(0, 3) || MAPS(1, 3) || MAPS(2, 3))
    }
}
