/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Question: do collapse (T9) and split (T8) keep every write and every dirty flag, while CPUs write through their
 * TLBs, hardware sets dirty by itself (T10), faults fill pages (T1) and another operation waits for the child's lock?
 *
 * Abstracted: one upper slot and tables of two pages; the first may be collapsed, and what was collapsed split again
 * into a second. A leaf is its place (0: as at first; 1: the large frame; 2: a second one) and dirty; `memory` holds
 * the last value written. A TLB with one entry a page of small leaves, with the table it was read from, so that
 * hardware sets dirty there, as it may through its cache of upper levels; and one for the large leaf. A store needs an
 * entry with dirty set. A translation that meets BUSY looks again.
 *
 * Follows: `collapse`: collapse_owned, drop_child, install_huge (src/pt/huge.c). `split`: pt_split, split_leaf
 * (commit.c); -DBREAKS: with break before make. `unmap`: unmap of one page in the child (quick.c). `program`: a CPU
 * with its faults (fault.c). `look`: translate (lookup.c).
 *
 * Checked: at the end each page has the last value written, and is dirty if it was written; an unmapped page is not
 * mapped; no leaf is left in a table that was unlinked; no lookup finds a hole; with -DBREAKS no TLB holds both sizes.
 *
 *   clean   -                          without break before make
 *   clean   -DBREAKS                   with
 *   assert  -DNO_CLOSE                 collapse reads the child's slots and leaves them open
 *   assert  -DCOPY_EARLY               collapse copies before the flush
 *   assert  -DNOT_STALE                the collapsed child is not marked stale
 *   assert  -DSPLIT_STORE              split by a load and a store
 *   assert  -DCLEAN_CHILD              split does not pass dirty on
 *   assert  -DBREAKS -DNO_BREAK        split in one exchange where break before make is needed
 *   assert  -DBREAKS -DLEAF_AT_ONCE    collapse without BUSY: the large leaf is stored over the table, then flushed
 */
#define EMPTY 0
#define ARMED 1
#define BUSY 2
#define PARKED 4 /* + dirty: its place is remembered by `collapse` */
#define LEAF 8   /* + 2 * place + dirty */
#define TABLE 16 /* + table */
#define IS_LEAF(e) (e >= LEAF && e < TABLE)
#define IS_TABLE(e) (e >= TABLE)
#define PLACE(e) ((e - LEAF) / 2)
#define DIRTY(e) ((e) & 1)

byte up = 16; /* TABLE + 0 */
bit up_lock;
typedef table {
    byte slot[2];
    bit lock, stale;
}
table t[2];
typedef place {
    byte page[2];
}
place memory[3];
byte small[2], small_table[2]; /* the TLB: leaves, 0: nothing */
byte large;
byte last[2];
bool written[2], unmapped;
byte finished;

#define LOCK(l) atomic { l == 0 -> l = 1 }

inline flush()
{
    small[0] = 0;
    small[1] = 0;
    large = 0
}

/* One store to page p. */
inline store_to(p)
{
    do
    :: atomic { /* hit, dirty is set */
        (DIRTY(small[p]) && small[p] != 0) || (DIRTY(large) && large != 0) ->
            e = (DIRTY(small[p]) && small[p] != 0 -> small[p] : large);
            value++;
            memory[PLACE(e)].page[p] = value;
            last[p] = value;
            written[p] = true;
            e = 0;
            break
    }
    :: atomic { /* T10 */
        small[p] != 0 && !DIRTY(small[p]) ->
            if
            :: t[small_table[p]].slot[p] == small[p] || t[small_table[p]].slot[p] == small[p] + 1 ->
                small[p] = small[p] | 1;
                t[small_table[p]].slot[p] = small[p]
            :: else -> small[p] = 0
            fi
    }
    :: atomic {
        large != 0 && !DIRTY(large) ->
            if
            :: up == large || up == large + 1 -> large = large | 1; up = large
            :: else -> large = 0
            fi
    }
    :: atomic { /* walk */
        small[p] == 0 && IS_TABLE(up) && IS_LEAF(t[up - TABLE].slot[p]) ->
            small[p] = t[up - TABLE].slot[p];
            small_table[p] = up - TABLE;
#ifdef BREAKS
            assert(large == 0)
#endif
    }
    :: atomic {
        large == 0 && IS_LEAF(up) -> large = up;
#ifdef BREAKS
        assert(small[0] == 0 && small[1] == 0)
#endif
    }
    :: atomic { /* fault: the walk, then T1 */
        small[p] == 0 && large == 0 && IS_TABLE(up) && t[up - TABLE].slot[p] == ARMED -> k = up - TABLE
    };
        atomic {
            if
            :: t[k].slot[p] == ARMED -> t[k].slot[p] = LEAF; memory[0].page[p] = 0
            :: else
            fi;
            k = 0
        }
    :: unmapped && p == 0 -> break
    od
}

proctype program()
{
    byte e, k, value;
    store_to(0);
    store_to(1);
    store_to(1);
    finished++
}

proctype collapse()
{
    byte k, i, from[2], was[2], to;
    bit dirty;
    LOCK(up_lock);
    if
    :: IS_TABLE(up) -> k = up - TABLE
    :: else -> goto out
    fi;
    LOCK(t[k].lock);
    if
    :: t[k].slot[0] == EMPTY -> t[k].lock = 0; goto out /* not uniform */
    :: else
    fi;
    to = k + 1;
#ifndef LEAF_AT_ONCE
    up = BUSY;
#endif
    for (i : 0 .. 1) {
        atomic {
            was[i] = t[k].slot[i];
#ifndef NO_CLOSE
            t[k].slot[i] = (IS_LEAF(was[i]) -> PARKED + DIRTY(was[i]) : BUSY)
#endif
        }
    }
#ifdef LEAF_AT_ONCE
    up = LEAF + 2 * to;
#endif
#ifndef COPY_EARLY
    flush();
#endif
    for (i : 0 .. 1) {
        memory[to].page[i] = (IS_LEAF(was[i]) -> memory[PLACE(was[i])].page[i] : 0);
        dirty = dirty | (IS_LEAF(was[i]) -> DIRTY(was[i]) : 0)
    }
#ifdef COPY_EARLY
    flush();
#endif
    atomic {
#ifdef NO_CLOSE
        /* What was there is taken to be what was read. */
        t[k].slot[0] = (t[k].slot[0] == was[0] || IS_LEAF(was[0]) -> BUSY : t[k].slot[0]);
        t[k].slot[1] = (t[k].slot[1] == was[1] || IS_LEAF(was[1]) -> BUSY : t[k].slot[1]);
#else
        t[k].slot[0] = BUSY;
        t[k].slot[1] = BUSY;
#endif
#ifndef LEAF_AT_ONCE
        up = LEAF + 2 * to + dirty
#endif
    };
#ifndef NOT_STALE
    t[k].stale = 1;
#endif
    t[k].lock = 0;
out:
    atomic { up_lock = 0; finished++; i = 0; k = 0; to = 0 }
}

inline fill_split(e)
{
    d_step {
#ifdef CLEAN_CHILD
        t[1].slot[0] = (e & 254);
        t[1].slot[1] = (e & 254)
#else
        t[1].slot[0] = e;
        t[1].slot[1] = e
#endif
    }
}

proctype split()
{
    byte e;
    LOCK(up_lock);
    if
    :: IS_LEAF(up) -> t[1].lock = 1 /* born locked */
    :: else -> goto out
    fi;
#if defined(BREAKS) && !defined(NO_BREAK)
    atomic { e = up; up = BUSY };
    flush();
    fill_split(e);
    up = TABLE + 1;
#else
again:
    e = up;
    fill_split(e);
    atomic {
        if
#ifdef SPLIT_STORE
        :: true -> up = TABLE + 1
#else
        :: up == e -> up = TABLE + 1
        :: else -> goto again
#endif
        fi
    };
    flush();
#endif
    t[1].lock = 0;
out:
    atomic { up_lock = 0; finished++; e = 0 }
}

#define WALK(p) (IS_TABLE(up) -> t[up - TABLE].slot[p] : up)

/* Unmap page 0, if it is in a table. */
proctype unmap()
{
    byte k;
again:
    if
    :: atomic { IS_TABLE(up) -> k = up - TABLE }
    :: atomic { IS_LEAF(up) -> goto out }
    fi;
    LOCK(t[k].lock);
    if
    :: t[k].stale -> t[k].lock = 0; goto again
    :: else
    fi;
    d_step { t[k].slot[0] = EMPTY; unmapped = true };
    small[0] = 0;
    large = 0;
    d_step { assert(!IS_LEAF(WALK(0)) && small[0] == 0); t[k].lock = 0 };
out:
    finished++
}

proctype look()
{
    byte e, k;
    do
    :: e = up;
        if
        :: IS_TABLE(e) ->
            k = e - TABLE;
            atomic { e = t[k].slot[1]; assert(e != EMPTY) }
        :: else
        fi;
        if
        :: e == BUSY -> skip
        :: else -> break
        fi
    od;
    finished++
}

init
{
    byte e;
    atomic {
        t[0].slot[0] = LEAF;
        if
        :: t[0].slot[1] = LEAF
        :: t[0].slot[1] = ARMED
        fi;
        run program();
        run collapse();
        run split();
        run unmap();
        run look()
    };
    finished == 5;
    d_step {
        e = WALK(1);
        assert(IS_LEAF(e) && memory[PLACE(e)].page[1] == last[1] && DIRTY(e));
        e = WALK(0);
        assert(unmapped || (IS_LEAF(e) && memory[PLACE(e)].page[0] == last[0]));
        assert(unmapped || !written[0] || DIRTY(e));
        assert(!unmapped || !IS_LEAF(e));
        assert(up == TABLE || (!IS_LEAF(t[0].slot[0]) && !IS_LEAF(t[0].slot[1])))
    }
}
