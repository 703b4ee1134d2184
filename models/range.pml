/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Question: are range operations atomic towards each other, although each locks only the nodes that rules R1 to R4
 * name and faults put tables under their feet without any lock?
 *
 * Abstracted: two pages that every operation works on together. The right one is in a leaf table that stays. The left
 * one is below the upper slot `top` of a node that is never stale: as a marker there, or (-DDEEP) in a middle table;
 * faults turn the marker into a leaf table (T2). What else the slots of these tables translate is not told, so that an
 * operation may cover all of the left slot of the top or only a page of it. A value stands for area and rights. Tables
 * are never used again; fault.pml has grace periods.
 *
 * Follows: `operation`: needs_lock, plan_table, plan_slot, plan_doomed, op_put_back (src/pt/plan.c), op_open,
 * unmap_whole, map_child (commit.c, commit_map.c), mark_stale (range.c), as UNMAP of all of the left slot, REPLACE and
 * PROTECT of one page of it. `fault`: install (fault.c).
 *
 * Checked: at the end both pages have the same value; no marker is left BUSY; nobody meets another's BUSY under the
 * lock.
 *
 *   clean   -                   the marker is in the node that stays
 *   clean   -DDEEP              the marker is in a middle table, which is unlinked with the slot
 *   assert  -DNO_R3             a marker is not made BUSY in the lock phase
 *   assert  -DDEEP -DNO_R3      the same
 *   assert  -DDEEP -DLEAVE_OPEN the markers of a table that will be unlinked are left to the faults
 *   assert  -DNO_STALE          an operation goes on in a table that was unlinked
 *   assert  -DDEEP -DNO_STALE   the same
 *   assert  -DNO_PUT_BACK       a refused operation leaves its BUSY behind
 *   assert  -DNO_RELOOK         a marker is made BUSY without looking whether it still is one
 *   stuck   -DBORN_OPEN         a child is published unlocked and locked then
 */
#define EMPTY 0
#define BUSY 1
#define ARMED 10 /* + value */
#define TABLE 20 /* + table */
#define IS_ARMED(e) (e > ARMED && e < TABLE)
#define IS_TABLE(e) (e >= TABLE)
#define UNMAP 0
#define REPLACE 2 /* the value that the pages get */
#define PROTECT 3
#define TABLES 12
#define NONE 255

#ifdef DEEP
byte top = 20; /* TABLE + 0 */
#else
byte top = 11; /* ARMED + 1 */
#endif
bit top_lock;
typedef table {
    byte slot; /* of a leaf table: EMPTY or ARMED */
    bit lock, stale, middle;
}
table t[TABLES];
byte next_table = 1;
byte right = 1;
bit right_lock;
byte finished;
bool in_bounds = true;

inline new_table(k, e)
{
    k = next_table;
    next_table++;
    in_bounds = k < TABLES;
    assert(in_bounds);
    t[k].slot = e
}

/* T2 on the page to the left. */
proctype fault()
{
    byte e, m = NONE, k;
again:
    e = top;
    if
    :: IS_TABLE(e) && t[e - TABLE].middle -> m = e - TABLE; e = t[m].slot
    :: else -> m = NONE
    fi;
    atomic {
        if
        :: !IS_ARMED(e) -> goto out
        :: IS_ARMED(e) && m == NONE && top == e -> new_table(k, e); top = TABLE + k; goto out
        :: IS_ARMED(e) && m != NONE && t[m].slot == e -> new_table(k, e); t[m].slot = TABLE + k; goto out
        :: else -> goto again
        fi
    };
out:
    atomic { finished++; e = 0; m = 0; k = 0 }
}

#ifdef NO_STALE
#define IS_STALE(k) false
#else
#define IS_STALE(k) t[k].stale
#endif

/* R3 on a slot of a locked node, which held the marker `seen`. */
inline make_busy(word, seen, look)
{
    atomic {
        if
#ifdef NO_R3
        :: true -> skip
#elif defined(NO_RELOOK)
        :: true -> word = BUSY
#else
        :: word == seen -> word = BUSY
        :: else -> goto look
#endif
        fi
    }
}

/* Unlocks; what was made BUSY is a marker again. */
inline put_back()
{
    d_step {
#ifndef NO_PUT_BACK
        if
        :: was != EMPTY && middle == NONE -> top = was
        :: was != EMPTY && middle != NONE -> t[middle].slot = was
        :: else
        fi;
#endif
        unlock_all()
    }
}

inline unlock_all()
{
    if
    :: has_top -> top_lock = 0
    :: else
    fi;
    if
    :: has_middle -> t[middle].lock = 0
    :: else
    fi;
    if
    :: leaf != NONE -> t[leaf].lock = 0
    :: else
    fi;
    if
    :: has_right -> right_lock = 0
    :: else
    fi;
    has_top = 0;
    has_middle = 0;
    has_right = 0;
    middle = NONE;
    leaf = NONE;
    was = EMPTY
}

proctype operation(byte kind)
{
    byte e, k;
    byte middle = NONE; /* the middle table on the way, if there is one */
    byte leaf = NONE;   /* locked */
    byte was;           /* the marker that was made BUSY */
    bit has_top, has_middle, has_right;
again:
    if
    :: !IS_TABLE(top) || kind == UNMAP -> atomic { top_lock == 0 -> top_lock = 1; has_top = 1 }
    :: else
    fi;
look_top:
    e = top;
    if
    :: IS_TABLE(e) && t[e - TABLE].middle -> middle = e - TABLE
    :: IS_TABLE(e) && !t[e - TABLE].middle -> k = e - TABLE; goto lock_leaf
    :: IS_ARMED(e) ->
        if
        :: !has_top -> goto restart
        :: else -> make_busy(top, e, look_top); was = e; goto lock_right
        fi
    :: e == EMPTY ->
        if
        :: kind == PROTECT -> goto refuse
        :: kind == REPLACE && !has_top -> goto restart
        :: else -> goto lock_right
        fi
    :: e == BUSY -> assert(!has_top); goto restart
    fi;
    /* The middle table: locked if it will be unlinked (plan_doomed), or holds something else than a table. */
    if
    :: kind == UNMAP || !IS_TABLE(t[middle].slot) ->
        atomic { t[middle].lock == 0 -> t[middle].lock = 1; has_middle = 1 };
        if
        :: IS_STALE(middle) -> goto restart
        :: else
        fi
    :: else
    fi;
look_middle:
    e = t[middle].slot;
    if
    :: IS_TABLE(e) -> k = e - TABLE
    :: IS_ARMED(e) ->
        if
        :: !has_middle -> goto restart
#ifdef LEAVE_OPEN
        :: has_middle && kind == UNMAP -> goto lock_right
        :: has_middle && kind != UNMAP -> make_busy(t[middle].slot, e, look_middle); was = e; goto lock_right
#else
        :: else -> make_busy(t[middle].slot, e, look_middle); was = e; goto lock_right
#endif
        fi
    :: e == EMPTY -> goto lock_right
    :: e == BUSY -> assert(!has_middle); goto restart
    fi;
lock_leaf:
    atomic { t[k].lock == 0 -> t[k].lock = 1; leaf = k };
    if
    :: IS_STALE(leaf) -> goto restart
    :: else
    fi;
lock_right:
    atomic { right_lock == 0 -> right_lock = 1; has_right = 1 };
    if
    :: kind == PROTECT && (right == 0 || (leaf != NONE && t[leaf].slot == EMPTY)) -> goto refuse
    :: kind == PROTECT && right != 0 -> goto refuse /* more than the area allows, or too little prepared */
    :: kind != PROTECT || right != 0
    fi;

    /* Commit. The value of the pages is the kind. */
    if
    :: kind == UNMAP -> top = EMPTY
    :: kind != UNMAP && leaf != NONE -> t[leaf].slot = ARMED + kind
    :: kind != UNMAP && leaf == NONE && was != EMPTY -> /* op_open */
        d_step {
            new_table(k, was);
#ifndef BORN_OPEN
            t[k].lock = 1;
            leaf = k
#endif
        };
        if
        :: middle == NONE -> top = TABLE + k
        :: else -> t[middle].slot = TABLE + k
        fi;
#ifdef BORN_OPEN
        atomic { t[k].lock == 0 -> t[k].lock = 1; leaf = k };
#endif
        t[leaf].slot = ARMED + kind
    :: kind != UNMAP && leaf == NONE && was == EMPTY -> /* map_child: final when it is published */
        d_step {
            new_table(k, ARMED + kind);
            if
            :: middle == NONE -> top = TABLE + k
            :: else -> t[middle].slot = TABLE + k
            fi
        }
    fi;
    right = kind;
    d_step {
        if
        :: kind == UNMAP && middle != NONE -> t[middle].stale = 1
        :: else
        fi;
        if
        :: kind == UNMAP && leaf != NONE -> t[leaf].stale = 1
        :: else
        fi;
        unlock_all()
    };
    goto out;
refuse:
    put_back();
    goto out;
restart:
    put_back();
    goto again;
out:
    atomic { finished++; e = 0; k = 0; middle = 0; leaf = 0 }
}

init
{
    byte e;
    atomic {
#ifdef DEEP
        t[0].middle = 1;
        t[0].slot = ARMED + 1;
#endif
        run fault();
        run operation(UNMAP);
        run operation(REPLACE);
        run operation(PROTECT)
    };
    finished == 4;
    d_step {
        e = top;
        if
        :: IS_TABLE(e) -> e = t[e - TABLE].slot
        :: else
        fi;
        if
        :: IS_TABLE(e) -> e = t[e - TABLE].slot
        :: else
        fi;
        assert(e != BUSY && (e == EMPTY -> 0 : e - ARMED) == right)
    }
}
