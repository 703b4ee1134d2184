/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From an object to the areas that map it, so that it can take its pages back wherever they are. Owns the list of
 * links, one for each area, and the walk over it; must not know how an object comes by its pages.
 *
 *   B1  A link is in the list from before the first page of its area can be installed until its record dies: links are
 *       appended, so that whoever moves a page from one area to another of the same object, with the new link in the
 *       list before, cannot move it past a walk.
 *   B2  A walk holds a page of the area it works on, so the record lives, and with it the link.
 *   B3  A CPU publishes the table it is about to work on (host_cpu.visiting), fences, and then takes that page, if
 *       there are any. Who destroys a space has emptied the table, publishes that (host_cpu.leaving), fences, and waits
 *       for who is in it; who comes later finds it published and passes by, though another who is in there may hold a
 *       page of the area. That is given back under the object's lock, and before `visiting` changes. So the table
 *       lives, and nothing is left behind.
 *   B4  The object's sequence is raised (seq_cst), then the tables are looked at, each leaf under its lock. A fault
 *       reads the sequence, asks the object, and installs under that lock after it has read the sequence again
 *       (seq_cst). So a page that was got before is not installed after.
 */
#ifndef PT_RMAP_H
#define PT_RMAP_H

#include <aspace/object.h>

#include "pt/pt.h"

/* Lives in a record of its own. */
struct rmap_link {
    struct aspace_object *object; /* with a reference */
    struct pt *pt;
    struct area *area;
    struct rmap_link *next, **at; /* in the object's list, by its lock */
    uint32_t index;               /* of the record that this is */
};

/* The link of an area of AREA_OBJECT. */
static inline struct rmap_link *rmap_link_of(const struct area *area)
{
    return area->ctx;
}

/* Link an area that is about to be mapped; its backend's ctx becomes the link. False: out of memory. */
bool rmap_add(struct pt *pt, struct area *area, struct aspace_object *object);

/* The same in a spare record, which becomes the link. */
void rmap_add_at(struct pt *pt, struct area *area, struct aspace_object *object, struct area *record);

/* For a record that is a copy of an area's: a link of its own, in the table that it will be mapped in. */
static inline bool rmap_clone(struct pt *pt, struct area *twin)
{
    return rmap_add(pt, twin, rmap_link_of(twin)->object);
}

/* At the end of the record. The reference to the object becomes the caller's. */
void rmap_remove(struct rmap_link *link);

enum rmap_what {
    RMAP_ALL,    /* unmap the object's pages and the private copies */
    RMAP_PAGES,  /* unmap the object's pages */
    RMAP_WRITES, /* take the write right and the dirty flag from the object's pages */
};

/* What to do with the pages at offsets [offset, end), multiples of 4 KiB. */
struct rmap_revoke {
    struct aspace_object *object;
    uint64_t offset, end;
    enum rmap_what what;
    bool dirty; /* set if a page of the object's was dirty */
};

/* Raise the sequence, then do it in every table; flushed on return. Outside of sections; needs no memory. */
void rmap_revoke(struct rmap_revoke *r);

/* The table is empty: wait until nobody works on it, and let nobody begin to; until what was left behind by those who
 * did is released, too. */
void rmap_leave(const struct pt *pt);
void rmap_left(const struct pt *pt);

#endif
