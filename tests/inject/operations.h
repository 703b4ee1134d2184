/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every operation of the library that may allocate, in a situation that makes it do so: for the tests that let
 * allocations fail, and for those that stop anywhere. And settings: what else goes on in the space meanwhile. Owns the
 * lists; must not know what is done with them.
 */
#ifndef TESTS_OPERATIONS_H
#define TESTS_OPERATIONS_H

#include "../harness.h"

enum {
    OPERATION_PARTIAL = 1u << 16, /* may stop midway by design, and says how far it came */
    OPERATION_SURE = 1u << 17,    /* succeeds without memory, too */
    OPERATION_LOGS = 1u << 18,    /* begins a dirty log of its own */
    OPERATION_REACHES = 1u << 19, /* every space that maps the same object */
    OPERATION_LONG = 1u << 20,    /* looks at so much that it is run once a format, in a setting for a sample of them */
};

struct operation {
    const char *name;
    void (*prepare)(struct env *env); /* NULL: an empty space */
    int (*run)(struct env *env);      /* an error code; faults are translated */
    uint32_t needs;                   /* NEEDS_*, OPERATION_* */
};

extern const struct operation operations[];
extern const size_t operation_count;

/* The same, but they leave something behind that has to end with the space, or begin it anew. */
extern const struct operation further_operations[];
extern const size_t further_operation_count;

/* Forks, for the setting `child_setting` only. */
extern const struct operation fork_operations[];
extern const size_t fork_operation_count;

/* What is there beside the space of the test. */
struct setting {
    const char *name;
    void (*begin)(struct env *env);                /* after `prepare` */
    void (*settle)(struct env *env);               /* after a refusal: what may be left is put in order; or NULL */
    void (*same)(struct env *env, uint32_t needs); /* ... and then: nothing else has changed */
    void (*end)(struct env *env);                  /* in the end: checks, and all is dropped */
};

extern const struct setting shared_setting; /* all pages are shared with a child, which is not to notice anything */
extern const struct setting logged_setting; /* a dirty log is on; nothing was written; a watcher is told nothing */
extern const struct setting child_setting;  /* an empty space, to be forked into */

#endif
