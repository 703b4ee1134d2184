/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Question: may an operation drop its locks before its invalidation is acknowledged, if each table counts the
 * invalidations that are still under way? Does "memory says so" then still imply "no TLB says otherwise" for everyone
 * who returns from an operation, and for markers towards faults?
 *
 * The rule: an operation that has something to flush raises `pending` in every node it holds, under the lock; unlocks;
 * flushes and waits; lowers what it raised; leaves its section. After each lock it takes, a map, split, discard (and
 * migrate, collapse, sweep) waits until `pending` of the node is 0, holding the lock. Unmap and protect do not wait:
 * if they saw it raised, they flush their whole range themselves. What opens a slot (T8) waits first, whoever it is:
 * the child has a count of its own, which knows nothing of what is pending for the slot. Where there are too many
 * nodes to remember, the flush is done before the unlock.
 *
 * Abstracted: an upper node (0) with one slot, leaf tables (1, 2) of two pages. One CPU's TLB, an entry a page at
 * most, also of a large leaf; it fills at any time, and a flush reaches it page by page at any time until it is
 * acknowledged. Three operations at once, of any kind on any range, and faults on both pages. OLD_RW, OLD_RO and
 * PARKED are the frame that was there at first; NEW is any later one. Sets of CPUs are left to activation.pml. No
 * break before make in T8.
 *
 * Follows: `operation`: op_plan, op_commit_unmap, op_commit_protect, op_commit_discard, op_commit_map, op_open, op_end
 * (src/pt), with the rule in place of the flush before the unlock. `fault`: T1 in fault.c.
 *
 * Checked: when an unmap or protect returns, no TLB holds what it took away, or what memory had lost before; when a
 * slot is mapped, re-armed or filled, no TLB holds anything for its address; all counts end at 0.
 *
 *   deep    -                       small leaves at first
 *   deep    -DLARGE                 a large leaf at first
 *   assert  -DFLAG                  a flag in place of the count
 *   assert  -DMAP_AT_ONCE           map does not wait
 *   assert  -DDISCARD_AT_ONCE       discard does not wait
 *   assert  -DARM_AT_ONCE           discard puts the marker back before its flush
 *   assert  -DNO_WIDENING           unmap and protect flush only what they changed
 *   assert  -DLOWER_EARLY           lowered before the acknowledgement
 *   assert  -DRAISE_LATE            raised after the unlock
 *   assert  -DCHILD_ONLY            raised in the leaf table only, not in the upper node
 *   assert  -DLARGE -DOPEN_AT_ONCE  unmap and protect open a slot of a node with a pending flush
 *   assert  -DLEAVE_EARLY           lowered after the section ended: the table may be another by now
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

#define UNMAP 1
#define PROTECT_RO 2
#define PROTECT_NONE 3
#define DISCARD 4
#define MAP 5
#define SPLIT 6

#ifdef LARGE
byte up = OLD_RW;
#else
byte up = 11; /* TABLE + 1 */
#endif
typedef node {
    byte slot[2];
    bit lock, stale;
    byte pending;
    byte wait; /* sections that must end before it is another table */
    bit used;
}
node n[3];
byte tlb[2];
byte sections;
bit given_back[2]; /* a protect gave OLD_RO to a page that was PARKED */
byte finished;
bool in_bounds = true;

#define OPERATIONS 3
#define BIT(b) (1 << (b))
#define WHOLE (lo == 0 && hi == 1)
#define WAITS (kind == MAP || kind == SPLIT || kind == DISCARD)

/* After a lock was taken. */
inline meet_pending(k)
{
    if
#ifdef MAP_AT_ONCE
    :: kind == MAP -> skip
#endif
#ifdef DISCARD_AT_ONCE
    :: kind == DISCARD -> skip
#endif
    :: WAITS -> n[k].pending == 0
    :: else -> saw = saw || n[k].pending != 0
    fi
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
        n[k].pending = 0;
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

#ifdef FLAG
#define RAISE(k) n[k].pending = 1
#define LOWER(k) n[k].pending = 0
#else
#define RAISE(k) n[k].pending++
#define LOWER(k) n[k].pending--
#endif
inline raise()
{
    d_step {
        if
        :: child != 0 -> RAISE(child)
        :: else
        fi;
#ifndef CHILD_ONLY
        if
        :: top -> RAISE(0)
        :: else
        fi
#endif
    }
}

inline lower()
{
    d_step {
        if
        :: child != 0 -> LOWER(child)
        :: else
        fi;
#ifndef CHILD_ONLY
        if
        :: top -> LOWER(0)
        :: else
        fi
#endif
    }
}

inline flush()
{
    if
    :: need & 1 -> tlb[0] = 0
    :: else
    fi;
    if
    :: need & 2 -> tlb[1] = 0
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
        :: kind == PROTECT_RO && e == OLD_RW -> need = need | bits; e = OLD_RO
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
        :: kind == MAP && e == EMPTY ->
            assert(!(bits & 1) || tlb[0] == 0);
            assert(!(bits & 2) || tlb[1] == 0);
            e = (eager -> NEW : ARMED)
        :: else
        fi
    }
}

inline rearm(e, bits)
{
    d_step {
        if
        :: e == BUSY ->
            assert(!(bits & 1) || tlb[0] == 0);
            assert(!(bits & 2) || tlb[1] == 0);
            e = ARMED
        :: else
        fi
    }
}

/* What an operation may rely on when it returns. */
inline check_return()
{
    if
    :: kind == UNMAP || kind == PROTECT_NONE ->
        assert(lo != 0 || (tlb[0] != OLD_RW && (tlb[0] != OLD_RO || given_back[0])));
        assert(hi != 1 || (tlb[1] != OLD_RW && (tlb[1] != OLD_RO || given_back[1])))
    :: kind == PROTECT_RO ->
        assert(lo != 0 || tlb[0] != OLD_RW);
        assert(hi != 1 || tlb[1] != OLD_RW)
    :: else
    fi;
    finished++
}

/* Everything that is not visible to others before the unlock is one step: they could do the same after it. */
proctype operation(byte me; byte kind; byte lo; byte hi)
{
    byte child, need;
    bit top, saw, eager;
again:
    atomic {
        sections = sections | BIT(me);
        saw = 0;
        if
        :: IS_TABLE(up) && !(kind == UNMAP && WHOLE) -> child = up - TABLE; goto below
        :: else
        fi
    };
    atomic { n[0].lock == 0 -> n[0].lock = 1; top = 1 };
    atomic {
        meet_pending(0);
        if
        :: IS_TABLE(up) -> child = up - TABLE
        :: else -> goto here
        fi
    };
below:
    atomic {
        n[child].lock == 0 -> n[child].lock = 1;
        if
        :: n[child].stale -> unlock(); leave(); child = 0; top = 0; goto again
        :: else
        fi
    };
    atomic {
        meet_pending(child);
        if
        :: kind == UNMAP && WHOLE -> /* T6 */
            up = EMPTY;
            need = 3;
            n[child].stale = 1;
            n[child].used = 0;
            n[child].wait = sections;
            goto finish
        :: else -> goto pages
        fi
    };
here: /* the upper slot is no table, and the upper node is locked */
    atomic {
#ifndef OPEN_AT_ONCE
        n[0].pending == 0 || WHOLE || !(IS_LEAF(up) || up == PARKED) ->
#endif
        if
        :: kind == MAP -> eager = 1
        :: true
        fi;
        if
        :: up == EMPTY && kind == MAP && !WHOLE -> /* T3' */
            new_table(child, EMPTY);
            change(n[child].slot[lo], BIT(lo));
            up = TABLE + child;
            child = 0;
            goto finish
        :: !WHOLE && kind != MAP && (IS_LEAF(up) || up == PARKED) -> /* T8 */
            new_table(child, up);
            n[child].lock = 1;
            need = (IS_LEAF(up) -> 3 : 0);
            up = TABLE + child
        :: WHOLE -> change(up, 3); goto finish
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
        :: lo == 0 -> change(n[child].slot[0], 1)
        :: else
        fi;
        if
        :: hi == 1 -> change(n[child].slot[1], 2)
        :: else
        fi
    };
finish:
    if
    :: kind == DISCARD -> /* T11: flushed here, with the locks held */
        flush();
        atomic {
            if
            :: child == 0 -> rearm(up, 3)
            :: else -> rearm(n[child].slot[0], 1); rearm(n[child].slot[1], 2)
            fi;
            need = 0
        }
    :: else
    fi;
    atomic {
#ifndef NO_WIDENING
        need = need | (saw && lo == 0 -> 1 : 0) | (saw && hi == 1 -> 2 : 0);
#endif
        if
        :: need == 0 -> unlock(); goto out
        :: need != 0 -> goto flush_first /* too many nodes to remember */
        :: need != 0 ->
#ifdef RAISE_LATE
            unlock();
#else
            raise();
            unlock();
#endif
#ifdef LOWER_EARLY
            lower()
#endif
        fi
    };
#ifdef RAISE_LATE
    raise();
#endif
    flush();
#ifdef LEAVE_EARLY
    leave();
#endif
    atomic {
#ifndef LOWER_EARLY
        lower();
#endif
        goto out
    };
flush_first:
    flush();
    unlock();
out:
    d_step { check_return(); leave(); child = 0; need = 0; top = 0; saw = 0; eager = 0 }
}

/* What a walk finds for the page. */
#define WALK(p) (IS_TABLE(up) -> n[up - TABLE].slot[p] : up)

active proctype cpu()
{
end:
    do
    :: atomic { tlb[0] == 0 && IS_LEAF(WALK(0)) -> tlb[0] = WALK(0) }
    :: atomic { tlb[1] == 0 && IS_LEAF(WALK(1)) -> tlb[1] = WALK(1) }
    od
}

/* T1, at whatever level. A large marker stays here. */
active proctype fault()
{
end:
    do
    :: atomic { IS_TABLE(up) && WALK(0) == ARMED -> assert(tlb[0] == 0); n[up - TABLE].slot[0] = NEW }
    :: atomic { IS_TABLE(up) && WALK(1) == ARMED -> assert(tlb[1] == 0); n[up - TABLE].slot[1] = NEW }
    :: atomic { finished == OPERATIONS -> assert(n[0].pending == 0 && n[1].pending == 0 && n[2].pending == 0); break }
    od
}

inline start(me)
{
    if
    :: kind = UNMAP
    :: kind = PROTECT_RO
    :: kind = PROTECT_NONE
    :: kind = DISCARD
    :: kind = MAP
    :: kind = SPLIT
    fi;
    if
    :: lo = 0; hi = 0
    :: lo = 1; hi = 1
    :: lo = 0; hi = 1
    fi;
    /* In any order is in one order: the operations do not know their numbers. */
    if
    :: 16 * kind + 4 * lo + hi < last -> goto none
    :: else -> last = 16 * kind + 4 * lo + hi
    fi;
    run operation(me, kind, lo, hi)
}

init
{
    byte kind, lo, hi, last;
    atomic {
        n[1].used = IS_TABLE(up);
        n[1].slot[0] = OLD_RW;
        n[1].slot[1] = OLD_RW;
        start(0);
        start(1);
        start(2);
        kind = 0;
        lo = 0;
        hi = 0;
        last = 0
    };
none:
    skip
}
