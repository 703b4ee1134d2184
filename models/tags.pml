/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Question: how may tags (VMID, ASID) be handed out and taken back with a generation that rolls over, so that a CPU
 * never uses what its TLB holds under a tag from the tag's former space; and by which tag does an operation flush
 * whose invalidation is still under way when its space gets another one?
 *
 * The library takes a tag from the embedder and hands none out; this fixes the rule for whoever does. A space's word
 * is generation and tag. Each CPU has an active word, which a roll-over claims by exchanging it for 0, and a reserved
 * word, what it ran then. A CPU that switches goes the fast way if the space's word is of the current generation and
 * an exchange of its active word from what it read, not 0, succeeds; else it takes the lock. A roll-over, under the
 * lock, clears the bitmap but for the reserved tags and tells every CPU to flush all tags before it uses one of the
 * new generation. An operation changes its table, fences, then reads the space's tag and flushes that: entries under a
 * later tag were made after the change, and entries under an earlier one are met by the flush of the roll-over before
 * its CPU switches. It need not read the tag again, but must not have read it before the change.
 *
 * Abstracted: two CPUs that switch twice each, between four spaces; tags 1 to 3, all taken at first. Of what
 * TLBs hold only space 0 is told, one entry a tag, and whether it is from before the operation's change. A flush by
 * tag reaches all CPUs, one after the other, and the operation changes a table of space 0 once.
 *
 * Checked: a CPU hits nothing of another space; two CPUs never run two spaces under one tag; after the operation no
 * CPU hits what it changed.
 *
 *   clean   -                  two CPUs, an operation
 *   deep    -DMORE=1           one of them switches three times
 *   assert  -DNO_RESERVATION   a roll-over does not keep the tags that CPUs run on
 *   assert  -DMORE=1 -DNO_FLUSH  a roll-over tells no CPU to flush
 *   assert  -DNO_CLAIM         a roll-over reads the active words and leaves them
 *   assert  -DOLD_TAG          an operation flushes by the tag that it read before its change
 *   assert  -DLATE_WORD        a CPU makes its active word known after it has begun to run
 */
#define CPUS 2
#define SPACES 4
#define TAGS 3
#ifndef MORE
#define MORE 0 /* switches of CPU 0 beyond two */
#endif
#define WORD(g, tag) (((g) << 2) | (tag))
#define TAG(w) ((w) & 3)
#define GENERATION(w) ((w) >> 2)

byte generation = 1;
bool taken[TAGS + 1];
byte space_word[SPACES]; /* 0: none yet */
byte active_word[CPUS], reserved[CPUS];
bool must_flush[CPUS];
byte running[CPUS]; /* space + 1 */
byte run_tag[CPUS];
bit lock;

typedef cpu_tlb {
    byte entry[TAGS + 1];
}
cpu_tlb tlb[CPUS];
#define NOTHING 0
#define MINE 1 /* of space 0 */
#define OLD 2  /* of space 0, from before the change */
bool changed, done;

inline flush_all(c)
{
    d_step { tlb[c].entry[1] = NOTHING; tlb[c].entry[2] = NOTHING; tlb[c].entry[3] = NOTHING }
}

/* What CPU c is found to run at a roll-over. */
inline claim(c)
{
    w = active_word[c];
#ifndef NO_CLAIM
    active_word[c] = 0;
#endif
    w = (w == 0 -> reserved[c] : w);
#ifndef NO_RESERVATION
    taken[TAG(w)] = true;
#endif
    reserved[c] = w;
#ifndef NO_FLUSH
    must_flush[c] = true;
#endif
    w = 0
}

inline find_free()
{
    tag = (!taken[1] -> 1 : (!taken[2] -> 2 : (!taken[3] -> 3 : 0)))
}

/* A new word for the space, under the lock. The exchange of each active word is a step of its own. */
inline new_word(s)
{
    word = space_word[s];
    if
    :: word != 0 && (reserved[0] == word || reserved[1] == word) -> /* it runs: it keeps the tag */
        tag = TAG(word);
        d_step {
            if
            :: reserved[0] == word -> reserved[0] = WORD(generation, tag)
            :: else
            fi;
            if
            :: reserved[1] == word -> reserved[1] = WORD(generation, tag)
            :: else
            fi
        }
    :: else ->
        find_free();
        if
        :: tag == 0 ->
            generation++;
            d_step { taken[1] = false; taken[2] = false; taken[3] = false };
            atomic { claim(0) };
            atomic { claim(1) };
            find_free()
        :: else
        fi;
        d_step { assert(tag != 0); taken[tag] = true }
    fi;
    atomic { word = WORD(generation, tag); tag = 0; space_word[s] = word }
}

inline walk()
{
    d_step {
        if
        :: s == 0 && tlb[me].entry[tag] == NOTHING -> tlb[me].entry[tag] = (changed -> MINE : OLD)
        :: else
        fi
    }
}

inline hit()
{
    assert(s == 0 || tlb[me].entry[tag] == NOTHING);
    assert(s != 0 || tlb[me].entry[tag] != OLD || !done);
    assert(running[1 - me] == 0 || running[1 - me] == s + 1 || run_tag[1 - me] != tag)
}

proctype cpu(byte me)
{
    byte s, word, old, tag, w, round;
    for (round : 1 .. 2 + (me == 0 -> MORE : 0)) { /* switch to a space */
        atomic {
            running[me] = 0;
            run_tag[me] = 0;
            if
            :: s = 0
            :: s = 1
            :: s = 2
            :: s = 3
            fi;
            old = active_word[me]
        };
        word = space_word[s];
        if
        :: old != 0 && word != 0 && GENERATION(word) == generation ->
#ifdef LATE_WORD
            tag = TAG(word);
            running[me] = s + 1;
            run_tag[me] = tag;
            walk();
#endif
            atomic {
                if
                :: active_word[me] == old -> active_word[me] = word; goto runs
                :: else
                fi
            }
        :: else
        fi;
        atomic { lock == 0 -> lock = 1; old = 0; word = space_word[s] };
        if
        :: word == 0 || GENERATION(word) != generation -> new_word(s)
        :: else
        fi;
        if
        :: must_flush[me] -> d_step { must_flush[me] = false; flush_all(me) }
        :: else
        fi;
        atomic { active_word[me] = word; lock = 0 };
runs:
        atomic { tag = TAG(word); running[me] = s + 1; run_tag[me] = tag; word = 0; old = 0 };
        if
        :: walk()
        :: true
        fi;
        atomic { hit(); tag = 0 }
    }
}

active proctype operation()
{
    byte tag;
#ifdef OLD_TAG
    tag = TAG(space_word[0]);
    changed = true;
#else
    changed = true;
    tag = TAG(space_word[0]);
#endif
    if
    :: tag != 0 ->
        tlb[0].entry[tag] = NOTHING;
        tlb[1].entry[tag] = NOTHING
    :: else
    fi;
    done = true
}

init
{
    atomic {
        /* All tags are taken: the next new one is a roll-over. */
        taken[1] = true;
        taken[2] = true;
        taken[3] = true;
        space_word[0] = WORD(1, 1);
        space_word[1] = WORD(1, 2);
        space_word[2] = WORD(1, 3);
        run cpu(0);
        run cpu(1)
    }
}
