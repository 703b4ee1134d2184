/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Copying a table into an empty one, with the parent's gate raised: pages that are an area's own become shared and
 * read-only in both, by one consistent cut; records get twins of their own in the child. What each area asks for is its
 * fork policy. Must not know spaces.
 */
#ifndef PT_FORK_H
#define PT_FORK_H

#include "pt/gather.h"

struct pt_fork {
    struct pt *parent, *child;
    aspace_va_t next;   /* first address that this phase has not come to */
    struct area *twins; /* records made, by next_dead */
    struct node *spare; /* a page for dense values */
    struct gather g;    /* what the parent's CPUs must forget */
    bool took;          /* some page has lost the write right in the parent */
    bool copies;        /* some pages are to be copied once they stand still */
    bool frozen;        /* ... as they do: flushed and acknowledged */
    bool failed;        /* ... or are given up */
};

/* Same host, format and configuration; the child is empty and nobody uses it. BUSY: another fork of the parent. */
int pt_fork_begin(struct pt_fork *f, struct pt *parent, struct pt *child);

/* About *budget tables more, which are taken off it. OK: all is copied. MORE, or an error: NO_MEMORY, QUOTA, PERMISSION
 * (an area refuses). Outside of sections. */
int pt_fork_step(struct pt_fork *f, size_t *budget);

/* After OK, keep the child; else empty it. Flushes, and lowers the gate. */
void pt_fork_end(struct pt_fork *f, int rc);

#endif
