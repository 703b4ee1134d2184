/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Question: is a fault right that takes no lock and asks no sequence, only exchanges the marker it read for a leaf or
 * a table, while others unmap, map, unlink the table under it, and use that table again?
 *
 * Abstracted: an upper node with one slot (`up`, its lock `up_lock`; it is never stale) and leaf tables of two pages.
 * The count of a table is taken from its slots. A value stands for area and rights. The grace period is as short as G1
 * allows: the sections that were open at the goal. Invalidations are left to pending.pml; they are acknowledged here
 * where the code waits for them. Private tables and frames are filled in one step.
 *
 * Follows: `fault`: touch_end, on_slot, install, build_chain (src/space/fault.c). `whole`: pt_unmap, then pt_map, of
 * all of the upper slot: plan_slot, plan_doomed (plan.c), unmap_whole, unlink_child, op_end. `page`: pt_unmap, then
 * pt_map, of one page: plan_leaf, op_open, unmap_leaf, map_child; the same as quick.c. `sweep`: sweep_child (huge.c).
 * `look`: translate. `reclaim`: release_page, harvest (gather.c).
 *
 * Checked: what a fault fills is mapped to the value it was filled for; nobody reads, fills or locks a table that was
 * freed, nor a frame in its section; at the end slots say what was mapped last, and each frame is in just one of them.
 *
 *   deep    -                   two faults, all of the slot, one page of it
 *   clean   -DLOOK              a fault, a lookup, all of the slot, one page of it
 *   clean   -DGIVE_WAY          the same two faults and operations, where nothing is mapped at first
 *   clean   -DSWEEP             two faults, one page, and the sweep of the table when it is empty
 *   assert  -DNO_GRACE          a table is freed when it is unlinked
 *   assert  -DLOOK -DNO_GRACE   the same, seen by a lookup
 *   assert  -DNO_STALE          a range operation goes on in a table that was unlinked while it waited for the lock
 *   assert  -DSTALE_LATE        a table is marked stale after its unlock
 *   assert  -DPLAIN             a page is unmapped by a load and a store
 *   assert  -DHARVEST_EARLY     the frames of an unlinked table are collected when it is unlinked
 *   assert  -DNO_R3             a marker is not made BUSY in the lock phase
 *   assert  -DSWEEP -DUNCOUNTED the sweep does not count again under the lock
 */
#define EMPTY 0
#define BUSY 1
#define ARMED 10 /* + value */
#define LEAF 20  /* + frame */
#define TABLE 30 /* + table */
#define IS_ARMED(e) (e > ARMED && e < LEAF)
#define IS_LEAF(e) (e > LEAF && e < TABLE)
#define IS_TABLE(e) (e >= TABLE)

#define TABLES 4
#define FRAMES 6
#define PAGES 2
#define NOBODY 255
#define FREE 0
#define USED 1
#define RETIRED 2

#if defined(SWEEP) || defined(GIVE_WAY)
#define START 0
#else
#define START 1
#endif
byte up = (START -> ARMED + START : EMPTY);
bit up_lock;
typedef table {
    byte slot[PAGES];
    bit lock, stale;
    byte state;
    byte wait; /* sections that must end before it is freed */
}
table t[TABLES];
byte owner[FRAMES];  /* value that the frame was allocated for, 0: free */
bit retired[FRAMES]; /* waits for `frame_wait` */
byte frame_wait[FRAMES];
byte sections;        /* bit set of processes in a section */
byte mapped[PAGES] = START; /* what map and unmap said last */
byte finished;
bool in_bounds = true; /* the arrays are large enough */
#define ACTORS 4

#define BIT(n) (1 << (n))
#define LOCK(l) atomic { l == 0 -> l = 1 }
#define UNLOCK(l) l = 0
/* Every use of a table goes with it. */
#define ALIVE(k) assert(t[k].state != FREE)

inline enter(me)
{
    sections = sections | BIT(me)
}

inline leave(me)
{
    d_step {
        sections = sections & ~BIT(me);
        n = 0;
        do
        :: n < TABLES -> t[n].wait = t[n].wait & ~BIT(me); n++
        :: else -> break
        od;
        n = 0;
        do
        :: n < FRAMES -> frame_wait[n] = frame_wait[n] & ~BIT(me); n++
        :: else -> break
        od;
        n = 0
    }
}

inline new_table(k, v)
{
    d_step {
        k = 0;
        do
        :: k < TABLES && t[k].state != FREE -> k++
        :: else -> break
        od;
        if
        :: k == TABLES -> in_bounds = false; assert(in_bounds)
        :: else
        fi;
        t[k].state = USED;
        t[k].lock = 0;
        t[k].stale = 0;
        t[k].slot[0] = v;
        t[k].slot[1] = v
    }
}

inline new_frame(f, v)
{
    d_step {
        f = 1;
        do
        :: f < FRAMES && owner[f] != 0 -> f++
        :: else -> break
        od;
        if
        :: f == FRAMES -> in_bounds = false; assert(in_bounds)
        :: else
        fi;
        owner[f] = v
    }
}

/* gather_table, gather_frame: they wait for the sections that are open now. */
inline defer_table(k)
{
#ifdef NO_GRACE
    d_step { t[k].state = RETIRED; t[k].wait = 0 }
#else
    d_step { t[k].state = RETIRED; t[k].wait = sections }
#endif
}

inline defer_frame(f)
{
    d_step { assert(owner[f] != 0 && !retired[f]); retired[f] = 1; frame_wait[f] = sections }
}

proctype fault(byte me)
{
    byte e, i, k, f, n;
    bit ok;
    if
    :: i = 0
    :: me == 1 -> i = 1
    fi;
again:
    atomic {
        enter(me);
        e = up;
        if
        :: IS_ARMED(e) -> new_table(k, e); new_frame(f, e - ARMED); goto build
        :: IS_TABLE(e) -> k = e - TABLE; goto below
        :: e == EMPTY -> goto out
        :: else -> goto retry
        fi
    };
build: /* T2: the child is private until the exchange */
    atomic {
        t[k].slot[i] = LEAF + f;
        if
        :: up == e -> up = TABLE + k; assert(mapped[i] == e - ARMED); ok = 1
        :: else -> t[k].state = FREE; owner[f] = 0
        fi;
        k = 0;
        f = 0
    };
    if
    :: ok -> goto out
    :: else -> goto retry
    fi;
below:
    atomic {
        ALIVE(k);
        e = t[k].slot[i];
        if
        :: IS_ARMED(e) -> new_frame(f, e - ARMED)
        :: else -> goto out
        fi
    };
    d_step { /* T1 */
        ALIVE(k);
        if
        :: t[k].slot[i] == e ->
            t[k].slot[i] = LEAF + f;
            assert(up != TABLE + k || mapped[i] == e - ARMED);
            ok = 1
        :: else -> owner[f] = 0
        fi;
        k = 0;
        f = 0
    };
    if
    :: ok -> goto out
    :: else
    fi;
retry:
    atomic { leave(me); e = 0; goto again };
out:
    atomic { leave(me); finished++ }
}

/* Marks stale what was unlinked, and unlocks: child, then parent. */
inline unlock_unlinked(k)
{
#ifdef STALE_LATE
    UNLOCK(t[k].lock);
    t[k].stale = 1;
    UNLOCK(up_lock)
#else
    atomic { t[k].stale = 1; UNLOCK(t[k].lock); UNLOCK(up_lock) }
#endif
}

/* The frames that the table held a moment ago. */
inline harvest_now(k)
{
#ifdef HARVEST_EARLY
    atomic {
        i = 0;
        do
        :: i < PAGES ->
            if
            :: IS_LEAF(t[k].slot[i]) -> f = t[k].slot[i] - LEAF; t[k].slot[i] = EMPTY; defer_frame(f); f = 0
            :: else
            fi;
            i++
        :: else -> break
        od;
        i = 0
    }
#endif
    skip
}

/* All of the upper slot: unmap, then map value 2. */
proctype whole(byte me)
{
    byte e, k, i, f, n;
    atomic { !up_lock -> enter(me); up_lock = 1 };
look:
    e = up;
    if
#ifndef NO_R3
    :: IS_ARMED(e) -> /* R3 */
        atomic {
            if
            :: up == e -> up = BUSY
            :: else -> goto look
            fi
        };
#else
    :: IS_ARMED(e) ->
#endif
        d_step { up = EMPTY; mapped[0] = 0; mapped[1] = 0 };
        atomic { UNLOCK(up_lock); leave(me) }
    :: IS_TABLE(e) -> /* T6 */
        k = e - TABLE;
        ALIVE(k);
        LOCK(t[k].lock);
        harvest_now(k);
        d_step { up = EMPTY; mapped[0] = 0; mapped[1] = 0 };
        unlock_unlinked(k);
        leave(me);
        defer_table(k)
    :: else -> atomic { UNLOCK(up_lock); leave(me) }
    fi;

    atomic { !up_lock -> enter(me); up_lock = 1 };
    e = up;
    if
    :: e == EMPTY -> d_step { up = ARMED + 2; mapped[0] = 2; mapped[1] = 2 }; atomic { UNLOCK(up_lock); leave(me) }
    :: IS_TABLE(e) -> /* gives way if it is empty */
        k = e - TABLE;
        ALIVE(k);
        LOCK(t[k].lock);
        if
        :: t[k].slot[0] == EMPTY && t[k].slot[1] == EMPTY ->
            up = BUSY; /* flush */
            d_step { up = ARMED + 2; mapped[0] = 2; mapped[1] = 2 };
            unlock_unlinked(k);
            leave(me);
            defer_table(k)
        :: else -> atomic { UNLOCK(t[k].lock); UNLOCK(up_lock); leave(me) }
        fi
    :: else -> atomic { UNLOCK(up_lock); leave(me) }
    fi;
    finished++
}

#ifdef NO_STALE
#define IS_STALE(k) false
#else
#define IS_STALE(k) t[k].stale
#endif

/* Unmap the page in the locked leaf table, T4. */
inline clear_page(k)
{
#ifdef PLAIN
    e = t[k].slot[i];
    d_step { t[k].slot[i] = EMPTY; mapped[i] = 0 };
#else
    d_step { ALIVE(k); e = t[k].slot[i]; t[k].slot[i] = EMPTY; mapped[i] = 0 };
#endif
    f = (IS_LEAF(e) -> e - LEAF : 0);
    e = 0
}

/* One page: unmap, then map value 3; before that a map, if nothing is there at first. */
proctype page(byte me)
{
    byte e, k, i, f, n, rounds = 1 - START;
    if
    :: rounds > 0 -> goto map
    :: else
    fi;
unmap:
    atomic { enter(me); e = up };
    if
    :: IS_TABLE(e) ->
        k = e - TABLE;
        atomic { !t[k].lock -> ALIVE(k); t[k].lock = 1 };
        if
        :: IS_STALE(k) -> atomic { UNLOCK(t[k].lock); leave(me) }; goto unmap
        :: else
        fi;
        clear_page(k);
        UNLOCK(t[k].lock)
    :: else ->
        LOCK(up_lock);
look:
        e = up;
        if
        :: e == EMPTY -> UNLOCK(up_lock)
        :: IS_TABLE(e) -> atomic { UNLOCK(up_lock); leave(me) }; goto unmap
        :: IS_ARMED(e) ->
            atomic {
                if
                :: up == e -> up = BUSY
                :: else -> goto look
                fi
            };
            new_table(k, e); /* op_open: the child is born locked */
            d_step { t[k].lock = 1; up = TABLE + k };
            clear_page(k);
            UNLOCK(t[k].lock);
            UNLOCK(up_lock)
        fi
    fi;
    leave(me);
    if
    :: f != 0 -> defer_frame(f); f = 0
    :: else
    fi;
map:
    atomic { enter(me); e = up };
    if
    :: IS_TABLE(e) ->
        k = e - TABLE;
        atomic { !t[k].lock -> ALIVE(k); t[k].lock = 1 };
        if
        :: IS_STALE(k) -> atomic { UNLOCK(t[k].lock); leave(me) }; goto map
        :: else
        fi;
        if
        :: t[k].slot[i] == EMPTY -> d_step { t[k].slot[i] = ARMED + 3; mapped[i] = 3 }
        :: else
        fi;
        UNLOCK(t[k].lock)
    :: else ->
        LOCK(up_lock);
        e = up;
        if
        :: e == EMPTY -> /* T3' */
            new_table(k, EMPTY);
            d_step { t[k].slot[i] = ARMED + 3; up = TABLE + k; mapped[i] = 3 }
        :: IS_TABLE(e) -> atomic { UNLOCK(up_lock); leave(me) }; goto map
        :: else
        fi;
        UNLOCK(up_lock)
    fi;
    if
    :: rounds > 0 -> atomic { rounds--; leave(me); goto unmap }
    :: else -> atomic { leave(me); finished++ }
    fi
}

proctype sweep(byte me)
{
    byte e, k, n;
    atomic { enter(me); e = up };
    if
    :: IS_TABLE(e) && t[e - TABLE].slot[0] == EMPTY && t[e - TABLE].slot[1] == EMPTY ->
        LOCK(up_lock);
        e = up;
        if
        :: IS_TABLE(e) ->
            k = e - TABLE;
            ALIVE(k);
            LOCK(t[k].lock);
            if
#ifdef UNCOUNTED
            :: true ->
#else
            :: t[k].slot[0] == EMPTY && t[k].slot[1] == EMPTY ->
#endif
                up = EMPTY;
                unlock_unlinked(k);
                leave(me);
                defer_table(k)
            :: else -> atomic { UNLOCK(t[k].lock); UNLOCK(up_lock); leave(me) }
            fi
        :: else -> atomic { UNLOCK(up_lock); leave(me) }
        fi
    :: else -> leave(me)
    fi;
    finished++
}

proctype look(byte me)
{
    byte e, k, i, n;
    atomic { enter(me); e = up };
    if
    :: IS_TABLE(e) ->
        k = e - TABLE;
        d_step { ALIVE(k); e = t[k].slot[i] };
        if
        :: IS_LEAF(e) -> assert(owner[e - LEAF] != 0)
        :: else
        fi
    :: else
    fi;
    atomic { leave(me); finished++ }
}

/* The frames of an unlinked table, and the table. */
inline harvest(k)
{
    p = 0;
    do
    :: p < PAGES ->
#ifndef HARVEST_EARLY
        if
        :: IS_LEAF(t[k].slot[p]) -> f = t[k].slot[p] - LEAF; assert(owner[f] != 0); owner[f] = 0
        :: else
        fi;
#endif
        t[k].slot[p] = EMPTY;
        p++
    :: else -> break
    od;
    t[k].state = FREE;
    p = 0;
    f = 0
}

/* What the slot says, towards what was mapped last; counts its frame. */
inline check_slot(e, i)
{
    if
    :: e == EMPTY -> assert(mapped[i] == 0)
    :: IS_ARMED(e) -> assert(e - ARMED == mapped[i])
    :: IS_LEAF(e) -> assert(owner[e - LEAF] == mapped[i]); n++
    :: else -> assert(false)
    fi
}

#define TABLE_DUE(k) t[k].state == RETIRED && t[k].wait == 0
#define FRAME_DUE(f) retired[f] && frame_wait[f] == 0

/* Frees what no section can reach any more; when all is quiet, adds up. */
proctype reclaim()
{
    byte i, p, f, n, frames, tables;
    do
    :: d_step { TABLE_DUE(0) -> harvest(0) }
    :: d_step { TABLE_DUE(1) -> harvest(1) }
    :: d_step { TABLE_DUE(2) -> harvest(2) }
    :: d_step { TABLE_DUE(3) -> harvest(3) }
    :: d_step { FRAME_DUE(1) -> owner[1] = 0; retired[1] = 0 }
    :: d_step { FRAME_DUE(2) -> owner[2] = 0; retired[2] = 0 }
    :: d_step { FRAME_DUE(3) -> owner[3] = 0; retired[3] = 0 }
    :: d_step { FRAME_DUE(4) -> owner[4] = 0; retired[4] = 0 }
    :: finished == ACTORS -> break
    od;
    skip;
    d_step {
        for (i : 0 .. TABLES - 1) {
            if
            :: t[i].state == RETIRED -> harvest(i)
            :: t[i].state == USED -> tables++; assert(up == TABLE + i)
            :: else
            fi
        }
        for (i : 1 .. FRAMES - 1) {
            if
            :: retired[i] -> owner[i] = 0
            :: else
            fi;
            frames = frames + (owner[i] != 0 -> 1 : 0)
        }
        if
        :: IS_TABLE(up) ->
            check_slot(t[up - TABLE].slot[0], 0);
            check_slot(t[up - TABLE].slot[1], 1);
            assert(tables == 1)
        :: else -> check_slot(up, 0); check_slot(up, 1); assert(tables == 0)
        fi;
        assert(frames == n)
    }
}

init
{
    atomic {
        run fault(0);
#ifdef LOOK
        run look(1);
#else
        run fault(1);
#endif
#ifdef SWEEP
        run sweep(2);
#else
        run whole(2);
#endif
        run page(3);
        run reclaim()
    }
}
