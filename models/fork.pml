/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Question: is the copy that a fork makes of a space one consistent cut, even while CPUs run in it?
 *
 * There is no fork in the library yet; this fixes the rule for when it comes. The fork raises a gate, which faults
 * (T1, T2, and T7, the copy of a page that is written while it is shared) and range operations respect: they test it
 * inside their section, and leave and wait while it is raised. It waits for one grace period, so that who tested
 * before is through. Then it goes from page to page: an empty page is empty in the copy, a filled one is shared, its
 * leaf made read-only by exchange. It flushes once, and lowers the gate when that is acknowledged.
 *
 * Abstracted: two pages, P and Q, of one byte; a program in the parent that writes 1 to Q, and then 1 to P, with its
 * TLB; the fork meets the pages in either order, each filled or ARMED at first. What the child sees is the frame that
 * it shares, or 0. The grace period is the section of the program's fault.
 *
 * Checked: the child does not see the later write without the earlier one.
 *
 *   clean   -                  the rule
 *   assert  -DNO_GATE          no gate
 *   assert  -DNO_GRACE         no grace period after the gate is raised
 *   assert  -DTEST_OUTSIDE     a fault tests the gate before its section
 *   assert  -DLOWER_EARLY      the gate is lowered before the flush is acknowledged
 *   assert  -DNO_FLUSH         leaves are made read-only without a flush
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
bool gate, section;

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
retry:
        skip
    od
}

proctype program()
{
    byte e, new;
    if
    :: slot[P] != ARMED -> tlb[P] = slot[P]
    :: true
    fi;
    write(Q);
    write(P)
}

inline copy(p)
{
    atomic {
        if
        :: slot[p] == ARMED -> child[p] = 0
        :: else ->
            shared[FRAME(slot[p])] = true; /* the reference is counted before the leaf is changed */
            child[p] = FRAME(slot[p]);
            slot[p] = FRAME(slot[p])
        fi
    }
}

proctype fork()
{
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
    gate = false
}

#define SEEN(p) (child[p] == 0 -> 0 : memory[child[p]])

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
        run program();
        run fork()
    };
    _nr_pr == 1;
    assert(SEEN(P) == 0 || SEEN(Q) == 1)
}
