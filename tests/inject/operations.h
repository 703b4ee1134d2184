/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every operation of the library that may allocate, in a situation that makes it do so: for the tests that let
 * allocations fail, and for those that stop anywhere. Owns the list; must not know what is done with it.
 */
#ifndef TESTS_OPERATIONS_H
#define TESTS_OPERATIONS_H

#include "../harness.h"

enum {
    OPERATION_PARTIAL = 1u << 16, /* may stop midway by design, and says how far it came */
};

struct operation {
    const char *name;
    void (*prepare)(struct env *env); /* NULL: an empty space */
    int (*run)(struct env *env);      /* an error code; faults are translated */
    uint32_t needs;                   /* NEEDS_*, OPERATION_* */
};

extern const struct operation operations[];
extern const size_t operation_count;

#endif
