/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Question: do the counts of shared frames say at all times who maps a run, as a whole or in pieces: is each frame freed
 * once, by the last, and is a mapping called the only one only if it is?
 *
 * Abstracted: one large leaf of two frames, allocated once and mapped by space 0 at first. Each space forks what it maps
 * into an empty one, splits it, gives it up as a whole or by pieces, and takes back what it is alone with, as often as it
 * can, in any order. A space does one thing at a time: its locks and its gate see to that (range.pml, fork.pml). It gives
 * up when flush and grace period are over (cow.pml). Frames are not used again. A count is what is below GROUPED.
 *
 * Follows: shares_add, shares_split, shares_drop, drop_run, drop_whole, dissolve, shares_unique (src/pt/shares.c);
 * `fork_into`: share_slot (src/pt/fork.c); `split`: split_leaf (src/pt/commit.c), which asks for a count only where the
 * leaf is marked; `write`: is_sole, take_back (src/pt/cow.c); `give_up`: release_page (src/pt/gather.c).
 *
 * Checked: a frame is freed once, while nobody maps it, and not forgotten; a mapping that is called the only one is;
 * whenever the lock is free the counts say how many map each frame, and a frame that is free has none.
 *
 *   clean   -                     the rule: three spaces, of which all may share
 *   clean   -DMAX=2               ... and two at most
 *   assert  -DNOT_GROUPED         pieces are counted, but not marked as beside others that map the whole
 *   assert  -DWHOLE_FIRST         a split takes itself from the whole before it counts the pieces
 *   assert  -DFIRST_IS_ONE        the second mapping of a whole run is counted as one, like that of a frame
 *   assert  -DONE_STAYS           the last but one to map the whole leaves a count of one behind
 *   assert  -DONE_GOES            ... or none, also where there are pieces beside
 *   assert  -DNOT_DISSOLVED       the last one to map the whole does not look at the pieces
 *   assert  -DNOT_LOWERED         ... or leaves their counts as they are
 *   assert  -DALL_GONE            ... or frees all of them
 *   assert  -DNONE_GONE           ... or none
 *   assert  -DPIECES_ALONE        a piece is called unique when nobody else maps the piece, whoever maps the whole
 *   assert  -DPIECE_IS_LAST       the last one to map a piece frees it, whoever maps the whole
 *   assert  -DTORN                a mapping of a piece is given up by a load and a store of the count, without the lock
 *   assert  -DUNLOCKED_SPLIT      a run is split without the lock
 *   assert  -DNO_LIMIT            a count runs over into the mark
 *   assert  -DMAX=2 -DLIMIT_COUNTS  a fork that may not share has counted before it finds out
 */
#define SPACES 3
#ifndef MAX
#define MAX 6
#endif
#ifdef NO_LIMIT
#define GROUPED 2
#else
#define GROUPED 8
#endif

/* Of the run, and of its frames. */
byte whole, sharers[2];
bit lock, freed[2];

/* What a space maps, until it has told the counts that it does not; and whether its leaf is marked as counted. */
bit has_run[SPACES], has[2 * SPACES], marked[2 * SPACES];
bit filled[SPACES]; /* a fork is filling it */
byte freeing;       /* spaces that have found out that they were the last */

#define AT(s, i) (2 * (s) + (i))
#define IS_EMPTY(s) (!filled[s] && !has_run[s] && !has[AT(s, 0)] && !has[AT(s, 1)])
#define NUMBER(a, step, i) (a[i] + a[step + i] + a[2 * (step) + i])
#define WHOLES NUMBER(has_run, 1, 0)
#define PIECES(i) NUMBER(has, 2, i)
#define MAPPINGS(i) (WHOLES + PIECES(i))

/* What the counts must be while nobody has the lock. */
#define ONE_LESS(n) ((n) > 1 -> (n) - 1 : 0)
#define IS_COUNTED(i)                                                                                                  \
    (sharers[i] >= GROUPED -> whole == WHOLES && whole > 0 && sharers[i] == GROUPED + PIECES(i)                        \
                            : (WHOLES > 0 -> PIECES(i) == 0 && sharers[i] == 0 && whole == (WHOLES > 1 -> WHOLES : 0)  \
                                           : whole == 0 && sharers[i] == ONE_LESS(PIECES(i))))

inline take_lock()
{
    atomic { !lock -> lock = 1 }
}

inline let_lock()
{
    d_step {
        assert(IS_COUNTED(0) && IS_COUNTED(1));
        lock = 0
    }
}

inline free_frame(i)
{
    assert(!freed[i] && MAPPINGS(i) == 0 && sharers[i] == 0 && whole == 0);
    freed[i] = 1
}

/* Nobody maps the run as a whole any more. gone0, gone1: pieces that nobody maps. */
inline dissolve_piece(i, gone)
{
    atomic {
        n = sharers[i] % GROUPED;
#ifdef ALL_GONE
        gone = 1;
#endif
#ifndef NONE_GONE
        if
        :: n == 0 -> gone = 1
        :: else
        fi;
#endif
#ifdef NOT_LOWERED
        sharers[i] = n;
#else
        sharers[i] = (n > 0 -> n - 1 : 0);
#endif
        n = 0
    }
}

/* One mapping of the whole run less, of the two or more there are, or of the last beside pieces. */
inline drop_whole()
{
    atomic {
        n = whole - 1;
#ifdef ONE_STAYS
#elif defined(ONE_GOES)
        if
        :: n == 1 -> n = 0
#else
        if
        :: n == 1 && sharers[0] < GROUPED -> n = 0
#endif
#ifndef ONE_STAYS
        :: else
        fi;
#endif
        whole = n;
        n = 0
    };
    if
#ifndef NOT_DISSOLVED
    :: whole == 0 && sharers[0] >= GROUPED -> dissolve_piece(0, gone0); dissolve_piece(1, gone1)
#endif
    :: else
    fi
}

/* The child maps, and both leaves are marked, before anybody can know: the parent's gate is raised. */
inline add_whole(s, c)
{
    take_lock();
    atomic {
        n = (whole > 0 -> whole : 1);
#ifdef LIMIT_COUNTS
        whole = (whole > 0 -> whole + 1 : 2);
#endif
        if
        :: n < MAX ->
#if defined(FIRST_IS_ONE)
            whole = whole + 1;
#elif !defined(LIMIT_COUNTS)
            whole = (whole > 0 -> whole + 1 : 2);
#endif
            has_run[c] = 1;
            marked[AT(s, 0)] = 1;
            marked[AT(c, 0)] = 1
        :: else /* copied */
        fi;
        n = 0
    };
    let_lock()
}

inline add_piece(s, c, i)
{
    take_lock();
    atomic {
        n = sharers[i] % GROUPED + (sharers[i] < GROUPED -> 1 : 0);
        if
#ifdef NO_LIMIT
        :: true ->
#else
        :: n < MAX ->
#endif
            sharers[i] = sharers[i] + 1;
            has[AT(c, i)] = 1;
            marked[AT(s, i)] = 1;
            marked[AT(c, i)] = 1
#ifndef NO_LIMIT
        :: else /* copied */
#endif
        fi;
        n = 0
    };
    let_lock()
}

inline fork_into(s, c)
{
    if
    :: has_run[s] -> add_whole(s, c)
    :: else ->
        if
        :: has[AT(s, 0)] -> add_piece(s, c, 0)
        :: else
        fi;
        if
        :: has[AT(s, 1)] -> add_piece(s, c, 1)
        :: else
        fi
    fi;
    filled[c] = 0
}

inline group(i)
{
#ifdef NOT_GROUPED
    sharers[i] = sharers[i] + 1
#else
    sharers[i] = GROUPED + (sharers[i] + 1) % GROUPED
#endif
}

/* Who looks without the lock finds that the space maps all of it, in this way or that. */
inline split(s)
{
    if
    :: marked[AT(s, 0)] ->
#ifndef UNLOCKED_SPLIT
        take_lock();
#endif
        if
        :: whole > 0 ->
#ifdef WHOLE_FIRST
            drop_whole();
#endif
            group(0);
            group(1);
#ifndef WHOLE_FIRST
            drop_whole()
#endif
        :: else
        fi;
        atomic {
            has_run[s] = 0;
            has[AT(s, 0)] = 1;
            has[AT(s, 1)] = 1;
            marked[AT(s, 1)] = 1;
            gone0 = 0;
            gone1 = 0;
#ifndef UNLOCKED_SPLIT
            let_lock()
#endif
        }
    :: else -> atomic { has_run[s] = 0; has[AT(s, 0)] = 1; has[AT(s, 1)] = 1 }
    fi
}

inline free_gone()
{
    atomic {
        if
        :: gone0 -> free_frame(0)
        :: else
        fi;
        if
        :: gone1 -> free_frame(1)
        :: else
        fi;
        gone0 = 0;
        gone1 = 0;
        freeing--
    }
}

inline give_up_run(s)
{
    if
    :: marked[AT(s, 0)] ->
        take_lock();
        atomic {
            freeing++;
            has_run[s] = 0;
            marked[AT(s, 0)] = 0
        };
        if
        :: whole == 0 -> gone0 = 1; gone1 = 1
        :: else -> drop_whole()
        fi;
        let_lock()
    :: else -> atomic { freeing++; has_run[s] = 0; gone0 = 1; gone1 = 1 }
    fi;
    free_gone()
}

inline give_up_piece(s, i, gone)
{
    if
    :: marked[AT(s, i)] ->
#ifdef TORN
        n = sharers[i];
#else
        take_lock();
        n = sharers[i];
#endif
        atomic {
            freeing++;
            has[AT(s, i)] = 0;
            marked[AT(s, i)] = 0;
            if
            :: n == 0 -> gone = 1
            :: else -> sharers[i] = n - 1
            fi;
#ifdef PIECE_IS_LAST
            gone = (n % GROUPED < 2);
#endif
            n = 0;
#ifndef TORN
            let_lock()
#endif
        }
    :: else -> atomic { freeing++; has[AT(s, i)] = 0; gone = 1 }
    fi;
    free_gone()
}

/* The count is looked at without the lock, and believed later. */
inline take_back_run(s)
{
    alone = whole == 0;
    atomic {
        if
        :: alone ->
            assert(MAPPINGS(0) == 1 && MAPPINGS(1) == 1);
            marked[AT(s, 0)] = 0
        :: else
        fi;
        alone = 0
    }
}

inline take_back_piece(s, i)
{
#ifdef PIECES_ALONE
    alone = sharers[i] == 0 || sharers[i] == GROUPED + 1;
#else
    alone = sharers[i] == 0;
#endif
    atomic {
        if
        :: alone ->
            assert(MAPPINGS(i) == 1);
            marked[AT(s, i)] = 0
        :: else
        fi;
        alone = 0
    }
}

proctype space(byte s)
{
    byte n, c;
    bit gone0, gone1, alone;
end:
    do
    :: atomic {
        !filled[s] && !IS_EMPTY(s) ->
        c = 0;
        do
        :: c < SPACES && !IS_EMPTY(c) -> c++
        :: else -> break
        od;
        if
        :: c < SPACES -> filled[c] = 1
        :: c == SPACES -> c = 0; goto end
        fi
    };
        fork_into(s, c);
        c = 0
    :: atomic { !filled[s] && has_run[s] -> skip };
        if
        :: true -> split(s)
        :: true -> give_up_run(s)
        :: marked[AT(s, 0)] -> take_back_run(s)
        fi
    :: atomic { !filled[s] && has[AT(s, 0)] -> skip };
        if
        :: true -> give_up_piece(s, 0, gone0)
        :: marked[AT(s, 0)] -> take_back_piece(s, 0)
        fi
    :: atomic { !filled[s] && has[AT(s, 1)] -> skip };
        if
        :: true -> give_up_piece(s, 1, gone1)
        :: marked[AT(s, 1)] -> take_back_piece(s, 1)
        fi
    od
}

/* Nobody maps it, and nobody is about to free it. */
proctype forgotten()
{
end:
    atomic {
        freeing == 0 && (MAPPINGS(0) == 0 && !freed[0] || MAPPINGS(1) == 0 && !freed[1]) ->
        assert(false)
    }
}

init
{
    atomic {
        has_run[0] = 1;
        run forgotten();
        run space(0);
        run space(1);
        run space(2)
    }
}
