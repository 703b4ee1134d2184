/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Question: is the copy that a fork makes of a space one consistent cut, even while CPUs run in it?
 *
 * The fork raises a gate, which faults (T1, T2, and T7, the copy of a page that is written while it is shared), writes
 * by software and range operations respect: they test it inside their section, and give up while it is raised. It waits
 * for one grace period, so that who tested before is through. Then it goes from page to page: an empty page is empty in
 * the child, a filled one is shared, its leaf made read-only by exchange. It flushes once. Pages that are to be copied
 * (policy COPY) are copied after that, when they stand still. Then it lowers the gate.
 *
 * Abstracted: two pages, P and Q, of one byte; a program in the parent that writes 1 to Q, and then 1 to P, each
 * through its TLB or by software; the fork meets the pages in either order, each filled or ARMED at first, to be shared
 * or copied. What the child sees is the frame that it has, or 0. The grace period is the program's section. How
 * frames are counted is in cow.pml.
 *
 * Follows: gate_raise, gate_is_open, gate_lower (src/pt/gate.h, cow.c); copy_table, protect, unshare_table, pt_fork_step
 * (src/pt/fork.c); `write`: fault_general in fault.c and write_once in memory.c.
 *
 * Checked: the child does not see the later write without the earlier one, and nothing that is written after the gate
 * was lowered.
 *
 *   clean   -                  the rule
 *   assert  -DNO_GATE          no gate
 *   assert  -DNO_GRACE         no grace period after the gate is raised
 *   assert  -DTEST_OUTSIDE     a fault tests the gate before its section
 *   assert  -DLOWER_EARLY      the gate is lowered before the flush is acknowledged
 *   assert  -DNO_FLUSH         leaves are made read-only without a flush
 *   assert  -DSOFTWARE_PASSES  a write by software does not look at the gate
 *   assert  -DCOPY_EARLY       a page that is to be copied is copied when the fork comes to it
 */
#define P 0
#define Q 1
#define ARMED 0 /* slots: else a frame, and whether it may be written */
#define FRAME(e) ((e) & 7)
#define WRITABLE 8
#define NONE 255

byte slot[2];
byte tlb[2] = NONE;
byte memory[8];
byte next_frame = 3;
bool shared[8];
byte child[2]; /* frame, or 0 */
bool gate, section, ended;
bool apart[2]; /* pages that are to be copied */

inline flush_page(p)
{
    tlb[p] = NONE
}

/* A write by the program, until it succeeds. */
inline write(p)
{
    do
    :: atomic { /* hits */
        tlb[p] != NONE && (tlb[p] & WRITABLE) -> memory[FRAME(tlb[p])] = 1;
        break
    }
    :: atomic { /* walks */
        tlb[p] == NONE && slot[p] != ARMED -> tlb[p] = slot[p]
    }
    :: true -> goto software
    :: atomic { /* faults */
        (tlb[p] == NONE && slot[p] == ARMED) || (tlb[p] != NONE && !(tlb[p] & WRITABLE)) -> tlb[p] = NONE
    };
#ifdef NO_GATE
        section = true;
#else
#ifdef TEST_OUTSIDE
        !gate;
        section = true;
#else
        section = true;
        if
        :: gate -> section = false; !gate; goto retry
        :: else
        fi;
#endif
#endif
        e = slot[p];
        new = next_frame;
        if
        :: e == ARMED ->
            atomic { /* T1 */
                if
                :: slot[p] == e -> slot[p] = new | WRITABLE; next_frame++
                :: else
                fi
            }
        :: e != ARMED && !(e & WRITABLE) ->
            if
            :: shared[FRAME(e)] -> /* T7 */
                memory[new] = memory[FRAME(e)];
                atomic {
                    if
                    :: slot[p] == e -> slot[p] = new | WRITABLE; next_frame++
                    :: else
                    fi
                }
            :: else ->
                atomic { /* no one shares it any more */
                    if
                    :: slot[p] == e -> slot[p] = e | WRITABLE
                    :: else
                    fi
                }
            fi
        :: else
        fi;
        section = false;
        goto retry;
software: /* checks the leaf, then stores; the lock of its table is no matter to a fork */
        section = true;
#ifndef SOFTWARE_PASSES
        if
        :: gate -> section = false; !gate; goto retry
        :: else
        fi;
#endif
        e = slot[p];
        if
        :: e & WRITABLE -> memory[FRAME(e)] = 1; section = false; break
        :: else -> section = false /* takes the fault's way next */
        fi;
retry:
        skip
    od
}

#define SEEN(p) (child[p] == 0 -> 0 : memory[child[p]])

proctype program()
{
    byte e, new;
    if
    :: slot[P] != ARMED -> tlb[P] = slot[P]
    :: true
    fi;
    write(Q);
    write(P);
    ended = true
}

inline unshare(p)
{
    if
    :: apart[p] && child[p] != 0 ->
        memory[next_frame] = memory[child[p]];
        shared[child[p]] = false;
        child[p] = next_frame;
        next_frame++
    :: else
    fi
}

inline copy(p)
{
    atomic {
        if
        :: slot[p] == ARMED -> child[p] = 0
        :: else ->
            shared[FRAME(slot[p])] = true; /* the reference is counted before the leaf is changed */
            child[p] = FRAME(slot[p]);
            slot[p] = FRAME(slot[p]);
#ifdef COPY_EARLY
            unshare(p)
#endif
        fi
    }
}

proctype fork()
{
    byte p, q;
#ifndef NO_GATE
    gate = true;
#endif
#ifndef NO_GRACE
    !section;
#endif
    if
    :: true -> copy(P); copy(Q)
    :: true -> copy(Q); copy(P)
    fi;
#ifdef LOWER_EARLY
    gate = false;
#endif
#ifndef NO_FLUSH
    flush_page(P);
    flush_page(Q);
#endif
#ifndef COPY_EARLY
    atomic { unshare(P) };
    atomic { unshare(Q) };
#endif
    atomic { p = SEEN(P); q = SEEN(Q); gate = false };
    ended;
    assert(SEEN(P) == p && SEEN(Q) == q)
}

init
{
    atomic {
        if
        :: slot[P] = 1 | WRITABLE
        :: true
        fi;
        if
        :: slot[Q] = 2 | WRITABLE
        :: true
        fi;
        if
        :: apart[P] = true
        :: apart[Q] = true
        :: true
        fi;
        run program();
        run fork()
    };
    _nr_pr == 1;
    assert(SEEN(P) == 0 || SEEN(Q) == 1)
}
