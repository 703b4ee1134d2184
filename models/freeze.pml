/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Question: how may a fault install, without a lock, a page of an object that can be revoked meanwhile?
 *
 * There are no such objects in the library yet; this fixes the rule for when they come. The fault reads the object's
 * sequence, gets the page, and exchanges the marker for BUSY with a tag of its own (the freeze). It reads the sequence
 * again. If that has not changed it exchanges the freeze for the leaf, else back for the marker. The revoker raises
 * the sequence, fences, and scans: a freeze tag it exchanges for the marker, so that the fault's second exchange
 * fails; a leaf it takes away under the node's lock (T11). BUSY of a lock's owner it leaves alone, and looks again
 * under the lock. A collapse that gives up puts back what it closed, but a marker where it found a freeze.
 *
 * Abstracted: one slot in a table that may be collapsed; two faults with a tag each; the version of the object stands
 * for its page: a fault's page is what the object had when the fault read the sequence. The store of the sequence
 * waits in a store buffer until a fence. The invalidation is part of the step that takes the leaf away. A collapse
 * that succeeds is left to huge.pml: here it closes the slot, finds that it cannot go on, and puts back.
 *
 * Follows: T1 and T11 of docs/locking.md; the put-back as op_put_back (src/pt/plan.c).
 *
 * Checked: when the revoker is through, no page of before it is or will be mapped; no leaf is lost by a put-back; the
 * faults get through, and at the end the slot is not BUSY.
 *
 *   clean   -                     the rule
 *   assert  -DNO_REREAD           the sequence is not read again
 *   assert  -DONE_TAG             all freezes look alike
 *   assert  -DNO_KNOCK            the revoker leaves freezes alone
 *   assert  -DKNOCK_OWNER         the revoker exchanges BUSY of a lock's owner too
 *   stuck   -DTAG_PUT_BACK        a collapse that gives up puts the freeze back
 *   assert  -DSCAN_FIRST          the sequence is raised after the scan
 *   assert  -DNO_FENCE            no fence between the sequence and the scan
 */
#define ARMED 1
#define OWNER 2    /* BUSY, a lock's owner */
#define FREEZE 10  /* BUSY, + tag */
#define LEAF 20    /* + version */
#define IS_FREEZE(e) (e >= FREEZE && e < LEAF)
#define IS_LEAF(e) (e >= LEAF)
#ifdef ONE_TAG
#define TAG(me) 0
#else
#define TAG(me) me
#endif

byte slot = ARMED;
bit node_lock;
byte sequence = 1; /* as memory shows it */
bool buffered;     /* one more is in the revoker's store buffer */
byte version = 1;  /* of what the object gives out */
bool revoked;      /* the revoker is through: version 1 must be gone */
byte finished;

#define LOCK(l) atomic { l == 0 -> l = 1 }

inline check()
{
    assert(!revoked || slot != LEAF + 1)
}

active proctype store_buffer()
{
end:
    do
    :: atomic { buffered -> buffered = false; sequence++ }
    od
}

proctype fault(byte me)
{
    byte e, seen, page;
again:
    atomic { page = 0; seen = sequence };
    atomic {
        e = slot;
        if
        :: IS_LEAF(e) -> goto out
        :: e != ARMED -> goto busy
        :: else
        fi
    };
    page = version; /* the object's answer */
    atomic {
        if
        :: slot == ARMED -> slot = FREEZE + TAG(me)
        :: else -> goto again
        fi
    };
#ifndef NO_REREAD
    if
    :: sequence != seen ->
        atomic {
            if
            :: slot == FREEZE + TAG(me) -> slot = ARMED
            :: else
            fi
        };
        goto again
    :: else
    fi;
#endif
    atomic {
        if
        :: slot == FREEZE + TAG(me) -> slot = LEAF + page; check(); goto out
        :: else -> goto again
        fi
    };
busy:
    atomic { slot == ARMED || IS_LEAF(slot) -> goto again };
out:
    atomic { finished++; e = 0; page = 0; seen = 0 }
}

inline raise_sequence()
{
    buffered = true;
#ifndef NO_FENCE
    !buffered
#endif
}

proctype revoker()
{
    byte e;
    version = 2; /* what it gives out from now on */
#ifndef SCAN_FIRST
    raise_sequence();
#endif
again:
    e = slot;
    if
#ifdef NO_KNOCK
    :: IS_FREEZE(e) -> skip
#else
    :: IS_FREEZE(e) ->
        atomic {
            if
            :: slot == e -> slot = ARMED
            :: else -> goto again
            fi
        }
#endif
    :: e == OWNER ->
#ifdef KNOCK_OWNER
        atomic {
            if
            :: slot == e -> slot = ARMED
            :: else -> goto again
            fi
        }
#else
        LOCK(node_lock);
        node_lock = 0;
        goto again
#endif
    :: IS_LEAF(e) ->
        LOCK(node_lock);
        if
        :: slot == LEAF + 1 -> slot = OWNER; /* flush */ slot = ARMED
        :: else
        fi;
        node_lock = 0
    :: e == ARMED -> skip
    fi;
#ifdef SCAN_FIRST
    raise_sequence();
#endif
    atomic { revoked = true; check(); finished++ }
}

proctype collapse()
{
    byte e, old;
    LOCK(node_lock);
    atomic { e = slot; slot = OWNER };
#ifndef TAG_PUT_BACK
    e = (IS_FREEZE(e) -> ARMED : e);
#endif
    atomic {
        assert(slot == OWNER);
        slot = e;
        check()
    };
    atomic { node_lock = 0; finished++; e = 0 }
}

init
{
    atomic {
        run fault(0);
        run fault(1);
        run revoker();
        run collapse()
    };
    finished == 4;
    assert(IS_LEAF(slot) || slot == ARMED)
}
