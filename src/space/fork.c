/* SPDX-License-Identifier: BSD-2-Clause */
/* Fork of a space: checks that the two match, and runs the copy. Knows nothing of slots. */
#include <aspace/fork.h>

#include "pt/fork.h"
#include "space/space.h"

_Static_assert(sizeof(struct pt_fork) <= sizeof(struct aspace_fork), "aspace_fork holds the state of a fork");

static struct pt_fork *state(struct aspace_fork *fork)
{
    return (struct pt_fork *)(void *)fork->opaque;
}

/* Entries mean the same in both, so that they can be taken over as they are. */
static bool match(const struct pt *a, const struct pt *b)
{
    return a->F == b->F && a->host == b->host && a->base == b->base && a->end == b->end &&
           a->max_level == b->max_level && memcmp(&a->C, &b->C, sizeof a->C) == 0;
}

static int check(const struct aspace *parent, const struct aspace *child)
{
    if (!parent || !child || parent == child || !match(&parent->pt, &child->pt))
        return ASPACE_E_INVALID;
    if (!space_is_open(parent) || !space_is_open(child))
        return ASPACE_E_CLOSED; /* maybe destroyed: then there is no root */
    return seam_load(&child->pt.root->count) ? ASPACE_E_INVALID : ASPACE_E_OK;
}

int aspace_fork_begin(struct aspace_fork *fork, struct aspace *parent, struct aspace *child)
{
    int rc = fork ? check(parent, child) : ASPACE_E_INVALID;
    if (rc)
        return rc;
    aspace_trace(fork, parent, (uintptr_t)child, 0);
    return pt_fork_begin(state(fork), &parent->pt, &child->pt);
}

int aspace_fork_step(struct aspace_fork *fork, size_t budget)
{
    budget = budget ? budget : 1;
    int rc = pt_fork_step(state(fork), &budget);
    if (rc != ASPACE_E_MORE)
        pt_fork_end(state(fork), rc);
    return rc;
}

void aspace_fork_cancel(struct aspace_fork *fork)
{
    pt_fork_end(state(fork), ASPACE_E_NO_MEMORY);
}

int aspace_fork(struct aspace *parent, struct aspace *child)
{
    struct aspace_fork fork;
    int rc = aspace_fork_begin(&fork, parent, child);
    return rc ? rc : aspace_fork_step(&fork, SIZE_MAX);
}
