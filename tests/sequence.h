/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random steps in a row, each the same whatever was before it, and when they fail, the shortest list that was found to
 * fail in the same place. Owns the run and the search; must not know the steps.
 */
#ifndef TESTS_SEQUENCE_H
#define TESTS_SEQUENCE_H

#include "harness.h"

struct sequence {
    const char *name;       /* of the program, for reports */
    uint64_t shrink_budget; /* steps taken at most to find a shorter list */
    void (*begin)(struct env *env);
    void (*take)(struct env *env, unsigned number); /* by harness_seed() and this */
    void (*check)(struct env *env, unsigned taken); /* after each; how many were taken before it */
    void (*finish)(struct env *env);                /* ... and the space is destroyed */
    const char *(*text)(void);                      /* the step at hand, for a person */
};

/* As many steps as --count says; or this many, fewer under a sanitizer, which makes each several times as long. */
void sequence_run(struct env *env, const struct sequence *sequence, unsigned count);

#endif
