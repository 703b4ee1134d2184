/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Question: objects take their pages out of tables of other spaces without a reference on them. Does a table live as
 * long as one of them works on it, and is all that they leave behind released before destroy has ended? (B2, B3)
 *
 * Abstracted: one object with one area in one table, which is emptied once; two walks over the object's areas. The
 * area's record counts pages: those that are mapped, which destroy gives up, and one for each walk that holds it; the
 * last one hands the record to the deferred lists, which a drain releases. Stores of who visits and who leaves may be
 * delayed until a fence, as on processors that buffer them.
 *
 * Follows: `walk`: rmap_revoke, hold, visit, take_page (src/pt/rmap.c), area_put_pages (gather.c). `destroy`:
 * aspace_destroy_step (src/space/space.c), rmap_leave, rmap_left.
 *
 * Checked: nobody works on a table that was freed; no record is deferred when destroy has ended.
 *
 *   clean   -                two walks, one destroy
 *   clean   -DLEFT_EARLY     that a table is being left is withdrawn before the second drain: nobody finds a page then
 *   assert  -DNO_LEAVING     a walk does not ask whether the table is being left
 *   assert  -DNO_WAIT        destroy does not wait for walks
 *   assert  -DNO_DRAIN       nothing is released after that
 *   assert  -DNO_VISIT_FENCE    no fence between telling where a walk is and its look at who leaves
 *   assert  -DNO_LEAVE_FENCE    no fence between telling that a table is left and the look at the walks
 *   assert  -DPUT_UNLOCKED   the page is given back after the object's lock
 *   assert  -DPUT_LATE       the page is given back when the walk has told that it is elsewhere
 */
#define WALKS 2

bit lock;            /* of the object */
byte visiting[WALKS]; /* as others see it */
bit leaving;
byte pages = 1;
byte deferred;
bool freed;
bool pending_visit[WALKS], pending_leave; /* a store that is not seen yet: to 1 */

#define LOCK atomic { lock == 0 -> lock = 1 }
#define UNLOCK lock = 0

active proctype drain_buffers()
{
end:
    do
    :: atomic { pending_visit[0] -> visiting[0] = 1; pending_visit[0] = false }
    :: atomic { pending_visit[1] -> visiting[1] = 1; pending_visit[1] = false }
    :: atomic { pending_leave -> leaving = 1; pending_leave = false }
    od
}

inline put()
{
    d_step {
        pages--;
        if
        :: pages == 0 -> assert(!freed); deferred++
        :: else
        fi
    }
}

/* Stores drain in order, so the one before is seen first. */
inline move_on(me)
{
    atomic { !pending_visit[me] -> visiting[me] = 0 }
}

proctype walk(byte me)
{
    bool held;

    LOCK;
    pending_visit[me] = true;
#ifndef NO_VISIT_FENCE
    !pending_visit[me];
#endif
#ifdef NO_LEAVING
    held = true;
#else
    held = !leaving;
#endif
    atomic {
        if
        :: held && pages -> pages++
        :: else -> held = false
        fi
    };
    UNLOCK;
    if
    :: held ->
        assert(!freed); /* the table, slot by slot */
        assert(!freed);
#ifdef PUT_UNLOCKED
        move_on(me);
        put()
#else
        LOCK;
#ifdef PUT_LATE
        move_on(me);
#endif
        put();
        UNLOCK;
        move_on(me)
#endif
    :: else -> move_on(me)
    fi
}

proctype destroy()
{
    byte i;

    put();
    deferred = 0; /* limbo_drain_wait */
    pending_leave = true;
#ifndef NO_LEAVE_FENCE
    !pending_leave;
#endif
#ifndef NO_WAIT
    do
    :: i < WALKS -> visiting[i] == 0; i++
    :: else -> break
    od;
#endif
#ifdef LEFT_EARLY
    atomic { !pending_leave -> leaving = 0 };
#endif
#ifndef NO_DRAIN
    deferred = 0;
#endif
    atomic { !pending_leave -> leaving = 0 };
    atomic { freed = true; assert(deferred == 0 && pages == 0) }
}

init
{
    atomic {
        run walk(0);
        run walk(1);
        run destroy()
    }
}
