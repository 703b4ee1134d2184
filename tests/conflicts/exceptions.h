/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of what may be shared, and why: tests/conflicts/exceptions.txt, whose head says how it is written. */
#ifndef CONFLICTS_EXCEPTIONS_H
#define CONFLICTS_EXCEPTIONS_H

#include "operations.h"

enum { EXCEPTIONS_MAX = 64, REASON_BYTES = 600 };

struct exception {
    char name[NAME_BYTES];
    uint64_t relations, between, and; /* bits of relations[] and operations[]; or cycles (periods.h) */
    char line[NAME_BYTES];
    uint64_t sometimes;     /* bits of operations[] that need it for some formats only */
    bool same;              /* the same bytes; else the line only */
    bool cycles;            /* for what cycles, not pairs, do now and then: */
    unsigned reads, writes; /* at most once in so many times; 0: never */
    char because[REASON_BYTES];

    uint64_t met_relations, met; /* what it was needed for */
};
extern struct exception exceptions[EXCEPTIONS_MAX];
extern unsigned exception_count;

/* Reads the file; a mistake in it ends the program with one line and status 2. */
void exceptions_read(const char *path);

/* The exception that covers this clash, which is noted as met; NULL if there is none. */
struct exception *exceptions_cover(unsigned relation, unsigned one, unsigned two, const char *line, bool same);

/* The exception for a line that a cycle uses now and then, noted as met. */
struct exception *exceptions_period(unsigned cycle, const char *line);

/* Prints what is listed and was never met; returns how many. Told which relations were run, and whether cycles were. */
unsigned exceptions_idle(uint64_t relations_run, bool cycles_run);

#endif
