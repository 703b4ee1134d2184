/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A walk over all slots of a range that are not EMPTY, without locks, while others change them: each slot is seen as it
 * was at one instant. Owns the position; must not know what is done with a slot.
 */
#ifndef INSPECT_SCAN_H
#define INSPECT_SCAN_H

#include "pt/walk.h"

struct scan {
    const struct pt *pt;
    aspace_va_t va, end;     /* what is still to be looked at */
    const struct node *node; /* the table that va is in; NULL: not known */
    unsigned left;           /* slots until the section is left for a moment */
    uint32_t seq;            /* of node when seg was read */
    struct seg seg;
};

struct scan_slot {
    aspace_va_t va, end; /* clipped to the range */
    unsigned level, index;
    enum slot_kind kind; /* never EMPTY or TABLE */
    uint64_t e;
    value_t value; /* 0: could not be read, it was being changed all the time */
};

/* Enters a read section; scan_pause leaves it, scan_resume enters another and goes on, scan_end leaves for good. */
void scan_begin(struct scan *s, const struct pt *pt, aspace_va_t va, aspace_va_t end);
void scan_pause(struct scan *s);
void scan_resume(struct scan *s);
void scan_end(struct scan *s);

/* The next slot; false at the end. Records (value_area) are good until the next call on the scan. */
bool scan_next(struct scan *s, struct scan_slot *slot);

#endif
