/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Question: faults that wait for I/O hold no lock and no section meanwhile. Is what they install still what is mapped,
 * is nobody who waits for another's page forgotten, and does each ticket end once, also beside close and destroy?
 *
 * Abstracted: one page in a leaf table that stays until destroy. What the object has for the page changes with each
 * operation that takes the page away: `version`; a fetch takes the version of some instant. The section in which a
 * table is reached is left out, but for `settle`. A fault that gives up, or was told to look again, does so at most
 * once, and so does a complete that a fork is in the way of. To wake is to change the state that the owner waits for.
 *
 * Follows: `owner`: aspace_fault_try, _complete, _fail, _cancel (src/space/ticket.c), arm, enter_list, install, fill,
 * end, promote, dismiss, lead_on. `canceller`: aspace_fault_cancel of another's ticket. `remap`, `discard`: pt_unmap and pt_map,
 * pt_discard with pt_revoke (src/pt/range.c). `fault`: T1, where the page is at hand. `closer`: ticket_close,
 * ticket_settle, aspace_destroy_step, space_unpin (space.c).
 *
 * Checked: what is installed has the version of that instant; one ticket that is not stale leads; each ticket ends
 * once; the library touches no ticket that its owner has back, which it has when complete or cancel has answered, no
 * table after destroy, and nothing of a space that was released; whoever waits is woken.
 *
 *   clean   -                     two tickets, one of them cancelled by somebody, discard
 *   clean   -DREMAP               the same, unmap and map
 *   clean   -DFAULT               two tickets, discard, a fault
 *   clean   -DCLOSE               two tickets, one cancelled, close and destroy
 *   deep    -DTHREE               three tickets, discard
 *   assert  -DARM_UNLOCKED        a ticket is armed without the table's lock and a second look
 *   assert  -DARM_LATE            a ticket is listed after the table's unlock
 *   assert  -DNO_STALE            complete does not ask whether the ticket is stale
 *   assert  -DSTALE_EARLY         complete asks before it has the table's lock
 *   assert  -DREVOKE_LATE         tickets become stale after the table's unlock
 *   assert  -DFAULT -DINSTALL_STORE  the page is installed by a load and a store
 *   assert  -DEND_STORE           a ticket's end is claimed by a load and a store
 *   stuck   -DNO_DISMISS          those who wait are not woken when the page goes
 *   stuck   -DNO_PROMOTE          a leader that gives up hands over to nobody
 *   stuck   -DNO_WAKE             a leader that is done wakes nobody
 *   stuck   -DJOIN_STALE          a ticket waits for a leader that is stale
 *   assert  -DCLAIM_NO_WAIT       who finds a ticket being ended answers before that is over
 *   assert  -DCANCEL_BLIND        who cancels takes a ticket that waited a moment ago for one that waits
 *   assert  -DIDLE_EARLY          a ticket is made idle before it is out of the list
 *   assert  -DCLOSE -DNO_PIN      a ticket does not pin the space
 *   assert  -DCLOSE -DNO_SETTLE   destroy does not wait for completions
 *   assert  -DCLOSE -DLEAD_ON_UNLOCKED  a ticket leads on before the list's lock is held
 *   stuck   -DCLOSE -DNO_DISMISS  those who wait are not woken by close
 */
#define EMPTY 0
#define ARMED 1
#define LEAF 2

#define IDLE 0
#define WAITING 1
#define LEADING 2
#define ENDING 3

#ifdef THREE
#define TICKETS 3
#else
#define TICKETS 2
#endif
#ifdef THREE
#define ROUNDS 1
#else
#define ROUNDS 2
#endif
/* What is done under the list's lock is one step: only the states of tickets are changed without it, one at a time, and
 * a claim comes before the step or after it. */
#ifdef IDLE_EARLY
#define SECTION LOCK_LIST; { skip
#define SECTION_END }; UNLOCK_LIST
#else
#define SECTION atomic { list_lock == 0; assert(!released)
#define SECTION_END }
#endif

byte slot = ARMED, area = 1, version = 1;
bit node_lock, list_lock;
byte count, seen; /* of the list; and what is read of it without its lock, which a release makes sure of */
typedef ticket {
    byte state, id;
    bit leads, stale, listed, gone;
}
ticket t[TICKETS];
byte pins = 1, completing, trying, unended;
bool closed, destroyed, released;
byte finished;

#define LOCK(l) atomic { l == 0 -> l = 1 }
#define LOCK_LIST atomic { list_lock == 0 -> list_lock = 1; assert(!released) }
#define UNLOCK_LIST atomic { assert(!released); list_lock = 0 }

active proctype store_buffer()
{
end:
    do
    :: atomic { seen != count -> seen = count }
    od
}

inline cas(x, from, to, ok)
{
    atomic {
        if
        :: t[x].state == from -> t[x].state = to; ok = true
        :: else -> ok = false
        fi
    }
}

inline claim(x, from, ok)
{
#ifdef END_STORE
    ok = (t[x].state == from);
    if
    :: ok -> t[x].state = ENDING
    :: else
    fi
#else
    cas(x, from, ENDING, ok)
#endif
}

inline unlist(x)
{
    d_step { assert(!t[x].gone && t[x].listed); t[x].listed = 0; count-- }
}

inline unpin()
{
#ifdef NO_PIN
    skip
#else
    d_step {
        assert(pins > 0);
        pins--;
        released = (pins == 0)
    }
#endif
}

/* Under the list's lock. */
inline dismiss(x, ok)
{
    if
    :: t[x].listed ->
        cas(x, WAITING, ENDING, ok);
        if
        :: ok ->
            unended--;
#ifdef IDLE_EARLY
            t[x].state = IDLE;
#endif
            unlist(x);
            unpin();
            t[x].state = IDLE
        :: else
        fi
    :: else
    fi;
    ok = false
}

inline dismiss_all(x, ok)
{
    x = 0;
    do
    :: x < TICKETS -> dismiss(x, ok); x++
    :: else -> break
    od;
    x = 0
}

inline promote(x, ok)
{
    x = 0;
    do
    :: x < TICKETS ->
        if
        :: t[x].listed && t[x].state == WAITING ->
            t[x].leads = 1;
            cas(x, WAITING, LEADING, ok);
            if
            :: ok -> break
            :: else -> t[x].leads = 0
            fi
        :: else
        fi;
        x++
    :: else -> break
    od;
    atomic { x = 0; ok = false }
}

/* The page goes: under the node's lock. */
inline revoke(x, ok)
{
    if
    :: seen ->
        SECTION;
        x = 0;
        do
        :: x < TICKETS ->
            if
            :: t[x].listed -> t[x].stale = 1
            :: else
            fi;
#ifndef NO_DISMISS
            dismiss(x, ok);
#endif
            x++
        :: else -> break
        od;
        x = 0
        SECTION_END
    :: else
    fi
}

/* me's state is ENDING. */
inline end(me, fetched, open, x, ok)
{
    SECTION;
    unended--;
    unlist(me);
    if
    :: t[me].leads && !t[me].stale ->
        if
        :: fetched ->
#ifndef NO_WAKE
            dismiss_all(x, ok)
#else
            skip
#endif
        :: else ->
#ifndef NO_PROMOTE
            promote(x, ok)
#else
            skip
#endif
        fi
    :: else
    fi;
    if
    :: open -> completing--
    :: else
    fi
    SECTION_END;
    t[me].state = IDLE;
    unpin()
}

/* Leading, or in the other state; if somebody else is ending it, when that is over. */
inline claim_end(me, other, ok)
{
    do
    :: claim(me, LEADING, ok);
        if
        :: !ok && other != LEADING ->
#ifdef CANCEL_BLIND
            ok = (t[me].state == other);
            if
            :: ok -> t[me].state = ENDING
            :: else
            fi
#else
            claim(me, other, ok)
#endif
        :: else
        fi;
        if
        :: ok -> break
        :: else
        fi;
#ifdef CLAIM_NO_WAIT
        break
#else
        atomic {
            t[me].state != ENDING;
            if
            :: t[me].state == LEADING || t[me].state == other
            :: else -> break
            fi
        }
#endif
    od
}

inline cancel(me, x, ok)
{
    claim_end(me, WAITING, ok);
    if
    :: ok -> end(me, false, false, x, ok)
    :: else
    fi
}

inline lead_on(me)
{
#ifdef LEAD_ON_UNLOCKED
    t[me].state = LEADING;
    LOCK_LIST;
    completing--;
    UNLOCK_LIST
#else
    SECTION;
    completing--;
    t[me].state = LEADING
    SECTION_END
#endif
}

inline install(me)
{
    bool stale;
#ifdef STALE_EARLY
    stale = t[me].stale;
#endif
    LOCK(node_lock);
    assert(!destroyed);
#ifndef STALE_EARLY
    stale = t[me].stale;
#endif
#ifdef NO_STALE
    stale = false;
#endif
    if
    :: !stale && slot == ARMED && area == t[me].id ->
#ifdef INSTALL_STORE
        skip;
        atomic { assert(slot == ARMED); slot = LEAF; assert(page == version) }
#else
        atomic {
            if
            :: slot == ARMED -> slot = LEAF; assert(page == version && !destroyed)
            :: else
            fi
        }
#endif
    :: else
    fi;
    atomic { assert(!destroyed); stale = false; node_lock = 0 }
}

inline complete(me, x, ok, open, retried, leads_on)
{
    claim_end(me, LEADING, ok);
    if
    :: ok ->
        SECTION;
        open = !closed;
        if
        :: open -> completing++
        :: else
        fi
        SECTION_END;
        if
        :: open && !retried -> retried = true; leads_on = true; lead_on(me) /* a fork is in the way */
        :: true ->
            if
            :: open -> install(me)
            :: else
            fi;
            end(me, true, open, x, ok)
        fi;
        open = false
    :: else
    fi
}

proctype owner(byte me)
{
    byte x, y, rounds, page, id;
    bool ok, open, retried, leads_on;
again:
    atomic {
        assert(t[me].state == IDLE);
        if
        :: rounds == ROUNDS || closed -> goto out
        :: else -> rounds++; trying++
        fi
    };
    atomic { /* the backend's answer */
        if
        :: slot != ARMED -> trying--; goto out
        :: else -> id = area
        fi
    };
#ifndef ARM_UNLOCKED
    LOCK(node_lock);
    if
    :: slot != ARMED || area != id -> atomic { node_lock = 0; trying--; goto again }
    :: else
    fi;
#endif
#ifdef ARM_LATE
    node_lock = 0;
#endif
    atomic {
        list_lock == 0;
        assert(!released);
        if
        :: closed ->
#if !defined(ARM_UNLOCKED) && !defined(ARM_LATE)
            node_lock = 0;
#endif
            trying--;
            goto out
        :: else
        fi;
        y = 0;
        x = 0;
        do
        :: x < TICKETS ->
#ifdef JOIN_STALE
            y = y + (t[x].listed && t[x].leads);
#else
            y = y + (t[x].listed && t[x].leads && !t[x].stale);
            assert(y < 2);
#endif
            x++
        :: else -> break
        od;
        t[me].id = id;
        t[me].leads = (y == 0);
        t[me].stale = 0;
        t[me].listed = 1;
        t[me].state = (y == 0 -> LEADING : WAITING);
        count++;
        unended++;
#ifndef NO_PIN
        pins++;
#endif
        x = 0;
        y = 0
    };
    atomic {
#if !defined(ARM_UNLOCKED) && !defined(ARM_LATE)
        seen = count;
        node_lock = 0;
#endif
        trying--
    };
    if
    :: true -> t[me].state != WAITING && t[me].state != ENDING
    :: t[me].state == WAITING -> cancel(me, x, ok); assert(t[me].state == IDLE)
    fi;
    if
    :: t[me].state == LEADING ->
        page = version; /* the I/O */
        if
        :: true ->
            complete(me, x, ok, open, retried, leads_on);
            if
            :: leads_on -> leads_on = false; complete(me, x, ok, open, retried, leads_on)
            :: else
            fi
        :: true -> cancel(me, x, ok); rounds = ROUNDS
        fi;
        assert(t[me].state == IDLE)
    :: else -> t[me].state == IDLE
    fi;
    atomic { page = 0; id = 0; ok = false; goto again };
out:
    atomic { t[me].gone = 1; finished++; x = 0; page = 0; id = 0; rounds = 0 }
}

proctype canceller(byte me)
{
    byte x;
    bool ok;
    if
    :: t[me].state != IDLE && !t[me].gone -> cancel(me, x, ok)
    :: skip
    fi;
    finished++
}

proctype remap()
{
    byte x;
    bool ok;
    LOCK(node_lock);
    atomic { slot = EMPTY; version++ };
#ifndef REVOKE_LATE
    revoke(x, ok);
#endif
    node_lock = 0;
#ifdef REVOKE_LATE
    revoke(x, ok);
#endif
    LOCK(node_lock);
    atomic { slot = ARMED; area++ };
    atomic { node_lock = 0; finished++ }
}

proctype discard()
{
    byte x;
    bool ok;
    LOCK(node_lock);
    atomic { slot = ARMED; version++ };
#ifndef REVOKE_LATE
    revoke(x, ok);
#endif
    node_lock = 0;
#ifdef REVOKE_LATE
    revoke(x, ok);
#endif
    finished++
}

proctype fault()
{
    atomic {
        if
        :: slot == ARMED -> slot = LEAF
        :: skip
        fi
    };
    finished++
}

proctype closer()
{
    byte x;
    bool ok;
    SECTION;
    closed = true
    SECTION_END;
    revoke(x, ok);
    /* No other call than the end of a ticket is in progress. */
    trying == 0;
#ifndef NO_SETTLE
    completing == 0;
#endif
    LOCK(node_lock);
    slot = EMPTY;
    node_lock = 0;
    destroyed = true;
#ifdef NO_PIN
    released = true;
#else
    unpin();
#endif
    finished++
}

init
{
    byte all;
    atomic {
        run owner(0);
        run owner(1);
        all = 4;
#ifdef THREE
        run owner(2);
#else
#ifdef FAULT
        run fault();
#else
        run canceller(0);
#endif
#endif
#ifdef CLOSE
        run closer()
#else
#ifdef REMAP
        run remap()
#else
        run discard()
#endif
#endif
    };
    finished == all;
    assert(count == 0 && unended == 0 && completing == 0);
#ifdef CLOSE
    assert(released)
#else
    assert(pins == 1)
#endif
}
