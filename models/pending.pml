/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Question: may an operation drop its locks before its invalidation is acknowledged, if its CPU announces what it
 * flushes and who locks the same nodes looks there (R7)? Does "memory says so" then imply "no TLB says otherwise" for
 * everyone who returns from an operation, and for markers towards faults?
 *
 * Abstracted: an upper node (0) with one slot, leaf tables of two pages. One CPU's TLB, an entry a page at most, also
 * of a large leaf; it fills at any time, and a flush reaches it page by page at any time until it is acknowledged. A
 * flush for leaves of one size leaves entries of the other (the level is hinted at).
 * Operations of any kind on any range, and faults on both pages. OLD_RW, OLD_RO and PARKED are the frame that was
 * there at first; NEW is any later one. Sets of CPUs are left to activation.pml: there is always somebody to ask. No
 * break before make in T8. What is swept may be larger than the stride of the flush: only the first page of it goes.
 *
 * Follows: `operation`: op_plan, op_commit_unmap, op_commit_protect, op_commit_discard, op_commit_map, op_open, op_end
 * (src/pt/range.c, plan.c, commit.c), pt_split, pt_migrate, sweep_one (huge.c); what quick.c does is the same in a
 * single node. `settle`: gather_settle and announces; `announce`: gather_ask; `mark`: gather_mark_node (src/pt/gather.c,
 * gather.h). `fault`: T1 in fault.c. `harvest`: visit_at in dirty.c, which waits for nobody and announces nothing; the
 * harvest of accessed flags is the same without the lock. A leaf that it finds counts as one whose flag it takes.
 *
 * Checked: when an unmap, protect or harvest returns, no TLB holds what it took away, or what memory had lost before (a
 * harvest: of pages that are there); when a slot is mapped, re-armed, moved or filled, no TLB holds anything for its address; nobody waits for ever.
 *
 *   clean   -                         three CPUs, small leaves at first
 *   clean   -DHALF                    the same, one page mapped at first
 *   deep    -DLARGE                   the same, a large leaf at first
 *   deep    -DTWICE                   two CPUs, of which one goes on to a second operation: two announcements
 *   deep    -DTWICE -DLARGE           the same, a large leaf at first
 *   deep    -DTWICE -DVA_FIRST        the words of an announcement are read in the other order: it does not matter
 *   clean   -DLOG                     one of three is a harvest of dirty flags
 *   deep    -DLOG -DLARGE             the same, a large leaf at first
 *   assert  -DCHILD_ONLY              the mark is set in the leaf table only, not in the upper node
 *   assert  -DWITHDRAW_EARLY          the announcement is withdrawn before the acknowledgement
 *   assert  -DANNOUNCE_LATE           announced after the unlock
 *   assert  -DTWICE -DNEXT_EARLY      the next announcement begins before the last one is acknowledged
 *   assert  -DOVERWRITE               a second CPU's mark in place of MANY
 *   assert  -DCLEAR_ANYWAY            the mark is cleared although something else is announced
 *   assert  -DTWICE -DCLEAR_ANYWAY    the same, and then another announcement of the same CPU
 *   assert  -DFIRST_ONLY              only what overlaps the first page of the range is waited for
 *   assert  -DHALF -DSWEEP_FIRST      the same in the sweep only
 *   assert  -DMAP_AT_ONCE             map does not wait
 *   assert  -DNOTHING_AT_ONCE         unmap and protect do not wait if they find nothing to do
 *   assert  -DDISCARD_AT_ONCE         discard does not wait
 *   assert  -DARM_AT_ONCE             discard puts the marker back before its flush
 *   assert  -DMIGRATE_AT_ONCE         migrate does not wait
 *   assert  -DLARGE -DOPEN_AT_ONCE    who opens a slot (T8) does not wait
 *   assert  -DLOG -DPROTECT_BELIEVES  a protect does not flush where a harvest has taken the right before
 *   assert  -DLOG -DLARGE -DHARVEST_HINT  a harvest hints at the size of the leaves that it found
 */
#define EMPTY 0
#define BUSY 1
#define ARMED 2
#define PARKED 3
#define OLD_RO 4
#define OLD_RW 5
#define NEW 6
#define TABLE 10 /* + table */
#define IS_LEAF(e) (e >= OLD_RO && e <= NEW)
#define IS_TABLE(e) (e >= TABLE)
#define LARGE_ENTRY 16 /* in a TLB: of a large leaf */
#define HELD(p) (tlb[p] & 15)
#define LARGE_LEAVES 4 /* in `need`, beside the pages: the sizes to be flushed */
#define SMALL_LEAVES 8
#define ANY_LEAVES 12
#define SMALL(pages) ((pages) | SMALL_LEAVES)
#define LARGE_ONE (3 | LARGE_LEAVES)

#define UNMAP 1
#define PROTECT_RO 2
#define PROTECT_NONE 3
#define DISCARD 4
#define MAP 5
#define SPLIT 6
#define MIGRATE 7
#define SWEEP 8
#define HARVEST 9
#if defined(LOG) && !defined(PROTECT_BELIEVES) /* one at a time, of a log by write faults */
#define LOG_MAY_HIDE true
#else
#define LOG_MAY_HIDE false
#endif

#ifdef TWICE /* one of two CPUs goes on to a second operation */
#define CPUS 2
#else
#define CPUS 3
#endif
#define OPERATIONS 3
#define CALL(kind, lo, hi) (4 * (kind) + 2 * (lo) + (hi))
#define KIND(call) ((call) / 4)
#define LO(call) ((call) / 2 % 2)
#define HI(call) ((call) % 2)
#define MANY 4 /* in `flushing`, beside CPU + 1 */

#ifdef LARGE
byte up = OLD_RW;
#else
byte up = 11; /* TABLE + 1 */
#endif
typedef node {
    byte slot[2];
    bit lock, stale;
    byte flushing;
    byte wait; /* sections that must end before it is another table */
    bit used;
}
node n[3];
byte flush_va[CPUS], flush_end[CPUS]; /* what CPUs announce: [va, end); end 0: nothing */
byte tlb[2];
byte sections;
bit given_back[2]; /* a protect gave OLD_RO to a page that was PARKED */
byte finished;
bool in_bounds = true;

#define BIT(b) (1 << (b))
#define WALK(p) (IS_TABLE(up) -> n[up - TABLE].slot[p] : up) /* what a walk finds for the page */
#define WALKED(p) (WALK(p) + (IS_TABLE(up) -> 0 : LARGE_ENTRY))
#define WHOLE (lo == 0 && hi == 1)

/* Who does not wait: mistakes. */
#define CHANGES(e)                                                                                                     \
    (kind == UNMAP && e != EMPTY || kind == PROTECT_RO && (e == OLD_RW || e == PARKED) ||                              \
     kind == PROTECT_NONE && (e == OLD_RW || e == OLD_RO))
#if defined(MAP_AT_ONCE)
#define AT_ONCE(k) (kind == MAP)
#elif defined(DISCARD_AT_ONCE)
#define AT_ONCE(k) (kind == DISCARD)
#elif defined(MIGRATE_AT_ONCE)
#define AT_ONCE(k) (kind == MIGRATE)
#elif defined(OPEN_AT_ONCE)
#define AT_ONCE(k) (k == 0 && !WHOLE && IS_OPENING(kind) && !IS_TABLE(up) && up != EMPTY)
#define IS_OPENING(kind) (kind == UNMAP || kind == PROTECT_RO || kind == PROTECT_NONE || kind == SPLIT)
#elif defined(NOTHING_AT_ONCE)
#define AT_ONCE(k)                                                                                                     \
    (kind <= PROTECT_NONE && (k == 0 -> !IS_TABLE(up) && !CHANGES(up)                                                  \
                                     : !(lo == 0 && CHANGES(n[k].slot[0])) && !(hi == 1 && CHANGES(n[k].slot[1]))))
#else
#define AT_ONCE(k) false
#endif

/* How far the range goes, for which a marked node is waited for. */
#if defined(FIRST_ONLY)
#define LAST lo
#elif defined(SWEEP_FIRST)
#define LAST (kind == SWEEP -> lo : hi)
#else
#define LAST hi
#endif

#define SIZE(p) (tlb[p] & LARGE_ENTRY -> LARGE_LEAVES : SMALL_LEAVES)

/* The two words are read one after the other, and may be of two announcements. */
inline look_at(c)
{
    do
#ifdef VA_FIRST
    :: va = flush_va[c];
       atomic {
           end = flush_end[c];
           any = any || end != 0;
#else
    :: end = flush_end[c];
       atomic {
           any = any || end != 0;
           va = flush_va[c];
#endif
           if
           :: end != 0 && va <= LAST && lo < end -> (flush_end[c] != end || flush_va[c] != va); va = 0; end = 0
           :: else -> va = 0; end = 0; break
           fi
       }
    od
}

/* After a lock was taken, and with it what follows in one step. */
inline settle(k)
{
    if
    :: n[k].flushing == 0 || n[k].flushing == me + 1 || AT_ONCE(k)
    :: n[k].flushing == MANY && !AT_ONCE(k) -> /* in any order, since the operations do not know their numbers */
#if CPUS == 2
        c = 1 - me;
#else
        if
        :: c = (me == 0 -> 1 : 0)
        :: c = (me == 2 -> 1 : 2)
        fi;
        look_at(c);
        c = 3 - me - c;
#endif
        look_at(c);
    :: else ->
        c = n[k].flushing - 1;
        look_at(c)
    fi
}

inline settled(k)
{
    d_step {
        if
#ifdef CLEAR_ANYWAY
        :: !AT_ONCE(k) -> n[k].flushing = 0
#else
        :: !AT_ONCE(k) && !any -> n[k].flushing = 0
#endif
        :: else
        fi;
        any = 0;
        c = 0
    }
}

inline new_table(k, e)
{
    d_step {
        if
        :: !n[1].used && n[1].wait == 0 -> k = 1
        :: else -> k = 2; in_bounds = !n[2].used; assert(in_bounds)
        fi;
        n[k].used = 1;
        n[k].stale = 0;
        n[k].lock = 0;
        n[k].flushing = 0;
        n[k].slot[0] = e;
        n[k].slot[1] = e
    }
}

inline unlock()
{
    d_step {
        if
        :: child != 0 -> n[child].lock = 0
        :: else
        fi;
        if
        :: top -> n[0].lock = 0
        :: else
        fi
    }
}

inline leave()
{
    d_step {
        sections = sections & ~BIT(me);
        n[1].wait = n[1].wait & ~BIT(me);
        n[2].wait = n[2].wait & ~BIT(me)
    }
}

inline mark(k)
{
#ifdef OVERWRITE
    n[k].flushing = me + 1
#else
    n[k].flushing = (n[k].flushing == 0 || n[k].flushing == me + 1 -> me + 1 : MANY)
#endif
}

inline mark_nodes()
{
    d_step {
        if
        :: child != 0 -> mark(child)
        :: else
        fi;
#ifndef CHILD_ONLY
        if
        :: top -> mark(0)
        :: else
        fi
#endif
    }
}

inline announce()
{
    flush_va[me] = (need & 1 -> 0 : 1);
    flush_end[me] = (need & 2 -> 2 : 1)
}

inline flush()
{
    if
    :: need & 1 && need & SIZE(0) -> tlb[0] = 0
    :: else
    fi;
    if
    :: need & 2 && need & SIZE(1) && kind != SWEEP -> tlb[1] = 0
    :: else
    fi
}

/* A slot that is no table becomes what the operation makes of it; `bits` are the pages it translates. */
inline change(e, bits)
{
    d_step {
        if
        :: kind == UNMAP ->
            need = need | (IS_LEAF(e) -> bits : 0);
            e = EMPTY
        :: kind == PROTECT_RO && (e == OLD_RW || e == OLD_RO && LOG_MAY_HIDE) -> need = need | bits; e = OLD_RO /* L2 */
        :: kind == PROTECT_RO && e == PARKED ->
            e = OLD_RO;
            given_back[0] = given_back[0] || (bits & 1);
            given_back[1] = given_back[1] || (bits & 2)
        :: kind == PROTECT_NONE && (e == OLD_RW || e == OLD_RO) -> need = need | bits; e = PARKED
        :: kind == DISCARD && (IS_LEAF(e) || e == PARKED) ->
            need = need | (IS_LEAF(e) -> bits : 0);
#ifdef ARM_AT_ONCE
            e = ARMED
#else
            e = BUSY
#endif
        :: kind == MIGRATE && IS_LEAF(e) -> need = need | bits; e = BUSY
        :: kind == MIGRATE && e == PARKED -> /* its frame is copied, and nobody must write to it */
            assert(!(bits & 1) || tlb[0] == 0);
            assert(!(bits & 2) || tlb[1] == 0)
        :: kind == MAP && e == EMPTY ->
            assert(!(bits & 1) || tlb[0] == 0);
            assert(!(bits & 2) || tlb[1] == 0);
            e = (eager -> NEW : ARMED)
        :: else
        fi
    }
}

inline release_busy(e, bits)
{
    d_step {
        if
        :: e == BUSY ->
            assert(!(bits & 1) || tlb[0] == 0);
            assert(!(bits & 2) || tlb[1] == 0);
            e = (kind == MIGRATE -> NEW : ARMED)
        :: else
        fi
    }
}

inline take_right(e, bits)
{
    d_step {
        if
        :: IS_LEAF(e) ->
#ifdef HARVEST_HINT
            need = need | bits;
#else
            need = need | bits | ANY_LEAVES;
#endif
            e = (e == OLD_RW -> OLD_RO : e)
        :: else
        fi
    }
}

/* What an operation may rely on when it returns. */
inline check_return()
{
    if
    :: kind == UNMAP || kind == PROTECT_NONE ->
        assert(lo != 0 || (HELD(0) != OLD_RW && (HELD(0) != OLD_RO || given_back[0])));
        assert(hi != 1 || (HELD(1) != OLD_RW && (HELD(1) != OLD_RO || given_back[1])))
    :: kind == PROTECT_RO ->
        assert(lo != 0 || HELD(0) != OLD_RW);
        assert(hi != 1 || HELD(1) != OLD_RW)
    :: kind == HARVEST ->
        assert(lo != 0 || HELD(0) != OLD_RW || !IS_LEAF(WALK(0)));
        assert(hi != 1 || HELD(1) != OLD_RW || !IS_LEAF(WALK(1)))
    :: else
    fi;
    finished++
}

/* Everything that is not visible to others before the unlock is one step: they could do the same after it. */
proctype operation(byte me; byte kind; byte lo; byte hi; byte next)
{
    byte child, need, c, va, end;
    bit top, any, eager;
again:
    atomic {
        sections = sections | BIT(me);
        if
        :: kind == HARVEST -> goto harvest
        :: kind != HARVEST && IS_TABLE(up) && !(kind == UNMAP && WHOLE) && kind != SWEEP -> child = up - TABLE; goto below
        :: else
        fi
    };
    atomic { n[0].lock == 0 -> n[0].lock = 1; top = 1 };
    settle(0);
    atomic {
        settled(0);
        if
        :: IS_TABLE(up) -> child = up - TABLE
        :: else -> goto here
        fi
    };
below:
    atomic { n[child].lock == 0 -> n[child].lock = 1 };
    settle(child);
    atomic {
        settled(child);
        if
        :: n[child].stale -> unlock(); leave(); child = 0; top = 0; goto again
        :: else
        fi;
        if
        :: kind == UNMAP && WHOLE || kind == SWEEP && n[child].slot[0] == EMPTY && n[child].slot[1] == EMPTY -> /* T6 */
            up = EMPTY;
            need = 3 | ANY_LEAVES;
            n[child].stale = 1;
            n[child].used = 0;
            n[child].wait = sections;
            goto finish
        :: else -> goto pages
        fi
    };
here: /* the upper slot is no table, and the upper node is locked */
    atomic {
        if
        :: kind == MAP -> eager = 1
        :: true
        fi;
        if
        :: up == EMPTY && kind == MAP && !WHOLE -> /* T3' */
            new_table(child, EMPTY);
            change(n[child].slot[lo], SMALL(BIT(lo)));
            up = TABLE + child;
            child = 0;
            goto finish
        :: !WHOLE && kind != MAP && kind != MIGRATE && (IS_LEAF(up) || up == PARKED) -> /* T8 */
            new_table(child, up);
            n[child].lock = 1;
            need = (IS_LEAF(up) -> LARGE_ONE : 0);
            up = TABLE + child
        :: WHOLE || kind == MIGRATE -> change(up, LARGE_ONE); goto finish
        :: else -> goto finish
        fi
    };
pages:
    atomic {
        if
        :: kind == MAP -> eager = 1
        :: true
        fi;
        if
        :: lo == 0 -> change(n[child].slot[0], SMALL(1))
        :: else
        fi;
        if
        :: hi == 1 -> change(n[child].slot[1], SMALL(2))
        :: else
        fi
    };
finish:
    if
    :: (kind == DISCARD || kind == MIGRATE) && need != 0 -> /* R5: flushed here, with the locks held */
        announce();
        flush();
        atomic { flush_end[me] = 0; need = 0 }
    :: else
    fi;
    atomic {
        if
        :: child == 0 -> release_busy(up, 3)
        :: else -> release_busy(n[child].slot[0], 1); release_busy(n[child].slot[1], 2)
        fi;
        if
        :: need == 0 -> unlock(); goto out
        :: else
        fi
    };
#ifdef ANNOUNCE_LATE
    atomic { mark_nodes(); unlock() };
    announce();
#else
    announce();
    atomic { mark_nodes(); unlock() };
#endif
#ifdef WITHDRAW_EARLY
    flush_end[me] = 0;
#endif
#ifdef NEXT_EARLY
    if
    :: next != 0 -> flush_va[me] = LO(next)
    :: else
    fi;
#endif
    flush();
out:
    d_step {
        flush_end[me] = 0;
        check_return();
        leave();
        child = 0;
        need = 0;
        top = 0;
        eager = 0
    };
    if
    :: next != 0 -> atomic { kind = KIND(next); lo = LO(next); hi = HI(next); next = 0; goto again }
    :: else -> goto over
    fi;
harvest: /* the table in which the walk ends, and nothing above it */
    if
    :: atomic { !IS_TABLE(up) && n[0].lock == 0 -> n[0].lock = 1; top = 1 }
    :: atomic { IS_TABLE(up) && n[up - TABLE].lock == 0 -> child = up - TABLE; n[child].lock = 1 }
    fi;
    atomic {
        if
        :: top && WHOLE && !IS_TABLE(up) -> take_right(up, LARGE_ONE)
        :: top && !WHOLE && !IS_TABLE(up) -> lo = 2; hi = 2 /* it is not changed for a part of it */
        :: child != 0 && lo == 0 && !n[child].stale -> take_right(n[child].slot[0], SMALL(1))
        :: else
        fi;
        if
        :: child != 0 && hi == 1 && !n[child].stale -> take_right(n[child].slot[1], SMALL(2))
        :: else
        fi;
        unlock()
    };
    flush();
    goto out;
over:
    skip
}

active proctype cpu()
{
end:
    do
    :: atomic { tlb[0] == 0 && IS_LEAF(WALK(0)) -> tlb[0] = WALKED(0) }
    :: atomic { tlb[1] == 0 && IS_LEAF(WALK(1)) -> tlb[1] = WALKED(1) }
    od
}

/* T1, at whatever level. A large marker stays here. */
active proctype fault()
{
end:
    do
    :: atomic { IS_TABLE(up) && WALK(0) == ARMED -> assert(tlb[0] == 0); n[up - TABLE].slot[0] = NEW }
    :: atomic { IS_TABLE(up) && WALK(1) == ARMED -> assert(tlb[1] == 0); n[up - TABLE].slot[1] = NEW }
    :: finished == OPERATIONS -> break
    od
}

inline choose(what)
{
    if
    :: kind = UNMAP
    :: kind = PROTECT_RO
    :: kind = PROTECT_NONE
    :: kind = DISCARD
    :: kind = MAP
    :: kind = SPLIT
    :: kind = MIGRATE
    :: kind = SWEEP
    fi;
    if
    :: kind != SWEEP -> lo = 0; hi = 0
    :: kind != SWEEP -> lo = 1; hi = 1
    :: kind != SPLIT && kind != MIGRATE -> lo = 0; hi = 1
    fi;
    what = CALL(kind, lo, hi);
    kind = 0;
    lo = 0;
    hi = 0
}

init
{
    byte kind, lo, hi, a, b, c;
    atomic {
        n[1].used = IS_TABLE(up);
#ifndef HALF
        n[1].slot[0] = OLD_RW;
#endif
        n[1].slot[1] = OLD_RW;
        choose(a);
        choose(b);
#ifdef LOG
        if
        :: c = CALL(HARVEST, 0, 0)
        :: c = CALL(HARVEST, 1, 1)
        :: c = CALL(HARVEST, 0, 1)
        fi;
#else
        choose(c);
#endif
#ifdef TWICE
        run operation(0, KIND(a), LO(a), HI(a), b);
        run operation(1, KIND(c), LO(c), HI(c), 0);
#else
        /* In any order is in one order. */
        if
        :: a <= b && b <= c ->
            run operation(0, KIND(a), LO(a), HI(a), 0);
            run operation(1, KIND(b), LO(b), HI(b), 0);
            run operation(2, KIND(c), LO(c), HI(c), 0)
        :: else
        fi;
#endif
        a = 0;
        b = 0;
        c = 0
    }
}
