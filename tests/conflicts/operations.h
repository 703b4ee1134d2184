/* SPDX-License-Identifier: BSD-2-Clause */
/* The operations that are run in pairs, and the places that the two of a pair work at. */
#ifndef CONFLICTS_OPERATIONS_H
#define CONFLICTS_OPERATIONS_H

#include "machine.h"

/* Where an operation works: from `va` on, in a unit that is a whole 2 MiB or, where a table is shared, 64 pages. */
struct side {
    unsigned index; /* 0 or 1 */
    unsigned cpu;
    struct aspace *space, *copy; /* copy: what a fork makes, for FORKED */
    aspace_va_t va;
    bool one_area; /* the unit is part of an area that both sides have */
};

/* What an operation finds in its unit. */
enum unit {
    UNIT_PAGES, /* an area of eight lazy pages, the first `filled` of them touched, in a leaf table */
    UNIT_SLOT,  /* a lazy area of 2 MiB, without a leaf table */
    UNIT_HOLE,  /* nothing, and no leaf table either */
};

/* More about an operation. */
enum trait {
    OWN = 1 << 0,    /* makes or removes areas of its own: not where both sides have one area */
    SAMPLE = 1 << 1, /* stands for those like it beside what is NARROW */
    NARROW = 1 << 2, /* run beside its like and beside each SAMPLE only, so that the run stays short */
    FORKED = 1 << 3, /* what its unit has filled is shared with a copy of the space */
    LOGGED = 1 << 4, /* a dirty log is on in the space: for the other side, too */
    RINGS = 1 << 5,  /* ... with rings */
};

struct operation {
    const char *name;
    enum unit unit;
    unsigned filled;
    unsigned traits;                      /* enum trait */
    void (*prepare)(const struct side *); /* may be NULL */
    int (*run)(const struct side *);      /* 0 if all went as it should */
};
extern const struct operation operations[];
extern const unsigned operation_count;
enum { OPERATIONS_MAX = 64 };

/* How the two sides lie to each other. */
struct relation {
    const char *name, *text;
    aspace_va_t va[2];
    bool two_spaces, one_table, one_area, watched;
    struct machine_config config;
};
extern const struct relation relations[];
extern const unsigned relation_count;
enum { RELATIONS_MAX = 16 };

/* Can the operation be run in this relation? */
bool applies(const struct operation *o, const struct relation *r);

/* Are the two run with each other? */
bool paired(const struct operation *a, const struct operation *b);

/* A fresh machine, with the sides as the relation says and prepared for the two operations. */
void prepare_pair(const struct relation *r, const struct operation *const o[2], struct side sides[2]);

/* Stops with a message if an operation of the preparation fails. */
void must(int rc, const char *what, const char *where);

#endif
