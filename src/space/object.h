/* SPDX-License-Identifier: BSD-2-Clause */
/* What faults and maps need of objects. Must not know an entry's bits beyond what the format says of leaves. */
#ifndef SPACE_OBJECT_H
#define SPACE_OBJECT_H

#include "pt/rmap.h"

/* The backend of areas that map an object. */
extern const struct aspace_backend object_backend;

/* A fault in such an area, in a slot of a leaf table. In a section. */
struct object_fault {
    struct pt *pt;
    struct area *area;
    value_t value;  /* of the slot */
    aspace_va_t va; /* of the page */
    uint64_t *slot; /* ... and as it was seen: */
    uint64_t e;
    struct node *n; /* its table */
    unsigned index;
    uint32_t need;
};

/* Beside the answers of both: look again. */
#define OBJECT_AGAIN ASPACE_FAULT_COUNT

/* Has the object such a page at all? */
bool object_covers(const struct area *area, aspace_va_t va);

/* Fill an ARMED slot: with the object's page or, for a write to a private mapping, at once with a copy. */
enum aspace_fault_result object_fill(const struct object_fault *k);

/* A LEAF or PARKED slot of the object's lacks rights that the area has: ask for them. */
enum aspace_fault_result object_upgrade(const struct object_fault *k);

#endif
