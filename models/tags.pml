/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Question: tags (VMID, ASID) are handed out by generation, and a roll-over interrupts and flushes nobody: does a CPU
 * ever use what it remembers under a tag from the tag's former space, and does an operation's invalidation reach all
 * who use what it changed, when its space gets another tag meanwhile (O8)?
 *
 * Abstracted: two CPUs that switch between spaces, or idle with the last one still loaded; tags 1 to 3, all used
 * at first, and any free one may be found. Space 1 had tag 1 before space 0 got it; space 3 has none yet; all others
 * were active on both CPUs. Of what TLBs hold only space 0 is told, one entry a tag, and whether it is from before the
 * operation's change. A CPU walks the tables that are loaded at any time, also while it switches, but uses what it
 * finds only when it has switched. flush_seen and flush_generation are one bit a CPU and space: do they differ?
 *
 * Follows: `cpu`: aspace_tags_activate with is_current, renew, is_reserved, find_free and roll_over (src/space/tag.c),
 * aspace_set_tag, aspace_activate, aspace_deactivate (src/space/space.c), in the order that tag.h asks for. `operation`:
 * whom_to_ask, gather_send (src/pt/gather.c).
 *
 * Checked: a CPU uses nothing of another space; two CPUs never run two spaces under one tag; after the operation no
 * CPU uses what it changed.
 *
 *   clean   -DGOES_TO=2                two CPUs that switch twice, two spaces
 *   deep    -                          the same, four spaces
 *   deep    -DGOES_TO=2 -DMORE=1       one of them switches three times
 *   deep    -DGOES_TO=3 -DRAISE_FIRST  the generation is raised before the tag is stored: it does not matter
 *   deep    -DGOES_TO=3 -DTAG_FIRST    the tag is read after the change, but before the sets: it does not matter
 *   assert  -DNO_RESERVATION           a roll-over does not keep the tags that CPUs run on
 *   assert  -DNO_RAISE                 aspace_set_tag does not raise the space's flush generation
 *   assert  -DNO_CLAIM                 a roll-over reads the active words and leaves them
 *   assert  -DCONTEXT_FIRST            the context is stored before the tag
 *   assert  -DKEEP_FREE                a number that is free and was the space's last is kept without a flush
 *   assert  -DLATE_WORD                a CPU runs before it has made its active word known
 *   assert  -DMORE=1 -DSEEN_LEAVING    a CPU that leaves takes the generation for one that it has seen
 *   assert  -DOLD_TAG                  an operation flushes by the tag that it read before its change
 *   assert  -DNO_LAZY                  an operation does not raise the generation
 */
#define CPUS 2
#define SPACES 4
#define TAGS 3
#define IDLE SPACES
#ifndef GOES_TO
#define GOES_TO SPACES /* of these, the first so many are switched to */
#endif
#ifndef MORE
#define MORE 0 /* switches of CPU 0 beyond two */
#endif
#define CONTEXT(g, tag) (((g) << 2) | (tag))
#define TAG_OF(context) ((context) & 3)
#define GENERATION_OF(context) ((context) >> 2)

/* struct aspace_tags */
byte generation = 2;
bool used[TAGS + 1];
bit lock;
byte active_word[CPUS], reserved[CPUS];

/* The spaces. The sets are those of space 0; `known` has all CPUs. */
byte context[SPACES]; /* 0: none yet */
byte tag_of[SPACES];
bool active_set[CPUS];
typedef per_cpu {
    bool differs[SPACES]; /* flush_seen from flush_generation */
    byte entry[TAGS + 1];
    byte space, tag; /* loaded: space + 1 */
    bool runs;
}
per_cpu on[CPUS];
#define NOTHING 0
#define MINE 1 /* of space 0 */
#define OLD 2  /* of space 0, from before the change */
bool changed, done;

#define RAISE(s) d_step { on[0].differs[s] = true; on[1].differs[s] = true }

/* -------------------------------------------------------------------------------------------------------- hardware */

#define MAY_WALK(c) (on[c].space == 1 && on[c].entry[on[c].tag] == NOTHING)
#define USE(c) on[c].entry[on[c].tag]

proctype hardware()
{
end:
    do
    :: d_step { MAY_WALK(0) -> USE(0) = (changed -> MINE : OLD) }
    :: d_step { MAY_WALK(1) -> USE(1) = (changed -> MINE : OLD) }
    :: d_step { on[0].runs -> assert(on[0].space == 1 || USE(0) == NOTHING); assert(!done || USE(0) != OLD) }
    :: d_step { on[1].runs -> assert(on[1].space == 1 || USE(1) == NOTHING); assert(!done || USE(1) != OLD) }
    :: d_step { on[0].runs && on[1].runs -> assert(on[0].space == on[1].space || on[0].tag != on[1].tag) }
    od
}

/* ------------------------------------------------------------------------------------------------------------ tags */

inline take_word(c)
{
    atomic {
        if
        :: active_word[c] != 0 -> reserved[c] = active_word[c]
        :: else
        fi;
#ifndef NO_CLAIM
        active_word[c] = 0;
#endif
#ifndef NO_RESERVATION
        used[TAG_OF(reserved[c])] = true
#endif
    }
}

inline roll_over()
{
    d_step { generation++; used[1] = false; used[2] = false; used[3] = false };
    take_word(0);
    take_word(1)
}

/* 0: there is none. */
inline find_free()
{
    if
    :: !used[1] -> tag = 1
    :: !used[2] -> tag = 2
    :: !used[3] -> tag = 3
    :: used[1] && used[2] && used[3] -> tag = 0
    fi
}

inline is_reserved(old, now)
{
    d_step {
        found = (old != 0 && (reserved[0] == old || reserved[1] == old));
        if
        :: found && reserved[0] == old -> reserved[0] = now
        :: else
        fi;
        if
        :: found && reserved[1] == old -> reserved[1] = now
        :: else
        fi
    }
}

inline aspace_set_tag(s)
{
#ifdef RAISE_FIRST
    RAISE(s);
#endif
    tag_of[s] = tag;
#if !defined(RAISE_FIRST) && !defined(NO_RAISE)
    RAISE(s)
#endif
}

/* Steps that nobody sees without the lock are one. */
inline renew(s)
{
    atomic {
        tag = TAG_OF(context[s]);
        is_reserved(context[s], CONTEXT(generation, tag));
        if
        :: found -> goto keeps
#ifdef KEEP_FREE
        :: !found && context[s] != 0 && !used[tag] -> goto keeps
#endif
        :: else
        fi;
        if
        :: context[s] == 0 || used[tag] -> find_free()
        :: else
        fi;
        if
        :: tag != 0 -> goto sets
        :: else
        fi
    };
    roll_over();
    atomic { find_free(); assert(tag != 0) };
sets:
#ifdef CONTEXT_FIRST
    context[s] = CONTEXT(generation, tag);
#endif
    aspace_set_tag(s);
keeps:
    atomic { used[tag] = true; context[s] = CONTEXT(generation, tag); found = false; tag = 0 }
}

/* ---------------------------------------------------------------------------------------------------------- switch */

inline load_registers(s)
{
    d_step { on[me].tag = tag_of[s]; on[me].space = s + 1 }
}

inline aspace_tags_activate(s)
{
    d_step { now = context[s]; word = active_word[me] }; /* is_current; only a roll-over changes the word */
    if
    :: word != 0 && GENERATION_OF(now) == generation ->
#ifdef LATE_WORD
        atomic { load_registers(s); on[me].runs = true };
        on[me].runs = false;
#endif
        atomic {
            if
            :: active_word[me] == word -> active_word[me] = now; goto current
            :: else
            fi
        }
    :: else
    fi;
    atomic {
        lock == 0 -> lock = 1;
        if
        :: GENERATION_OF(context[s]) == generation -> goto publish
        :: else
        fi
    };
    renew(s);
publish:
    atomic { active_word[me] = context[s]; lock = 0 };
current:
    skip
}

inline read_generation(s)
{
    flush = on[me].differs[s];
    on[me].differs[s] = false
}

inline aspace_activate(s)
{
    if
    :: s == 0 -> active_set[me] = true; d_step { read_generation(s) }
    :: d_step { s != 0 -> read_generation(s) }
    fi;
    d_step {
        if
        :: flush -> on[me].entry[tag_of[s]] = NOTHING; flush = false
        :: else
        fi
    }
}

inline aspace_deactivate(s)
{
#ifdef SEEN_LEAVING
    on[me].differs[s] = false;
#endif
    if
    :: s == 0 -> active_set[me] = false
    :: else
    fi
}

proctype cpu(byte me)
{
    byte s, old = IDLE, now, word, tag, round;
    bool found, flush;
another:
    atomic {
        round++;
        on[me].runs = false;
        if
        :: s = 0
        :: s = 1
        :: GOES_TO > 2 -> s = 2
        :: GOES_TO > 3 -> s = 3
        :: old != IDLE -> s = IDLE; goto deactivate
        fi
    };
    aspace_tags_activate(s);
    atomic {
        now = 0;
        word = 0;
        if
        :: s == old -> goto load /* active_count */
        :: else
        fi
    };
    aspace_activate(s);
load:
    load_registers(s);
deactivate:
    if
    :: old != IDLE && old != s -> aspace_deactivate(old)
    :: else
    fi;
    atomic {
        on[me].runs = (s != IDLE);
        old = s;
        s = 0;
        if
        :: round < 2 + (me == 0 -> MORE : 0) -> goto another
        :: else
        fi
    }
}

/* ------------------------------------------------------------------------------------------------------- operation */

inline copy_active()
{
    d_step { ask[0] = active_set[0]; ask[1] = active_set[1] }
}

proctype operation()
{
    byte tag;
    bool ask[CPUS];
#ifdef OLD_TAG
    tag = tag_of[0];
#endif
    changed = true;
#ifdef TAG_FIRST
    tag = tag_of[0];
#endif
    copy_active();
#ifndef NO_LAZY
    if
    :: !ask[0] || !ask[1] ->
        RAISE(0);
        copy_active()
    :: else
    fi;
#endif
#if !defined(OLD_TAG) && !defined(TAG_FIRST)
    tag = tag_of[0];
#endif
    if
    :: ask[0] -> on[0].entry[tag] = NOTHING
    :: else
    fi;
    if
    :: ask[1] -> on[1].entry[tag] = NOTHING
    :: else
    fi;
    atomic { done = true; tag = 0; ask[0] = false; ask[1] = false }
}

init
{
    atomic {
        used[1] = true;
        used[2] = true;
        used[3] = true;
        context[0] = CONTEXT(2, 1);
        context[1] = CONTEXT(1, 1);
        context[2] = CONTEXT(2, 2);
        tag_of[0] = 1;
        tag_of[1] = 1;
        tag_of[2] = 2;
        on[0].entry[1] = OLD;
        on[1].entry[1] = OLD;
        run hardware();
        run operation();
        run cpu(0);
        run cpu(1)
    }
}
