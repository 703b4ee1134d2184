/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What goes on beside an operation whose allocations fail: a child that shares all pages, a dirty log, a watcher. Owns
 * these; must not know the operations.
 */
#include <aspace/dirty.h>
#include <aspace/watch.h>

#include "../conformance/clone.h"
#include "operations.h"

/* ---------------------------------------------------------------------------------------------------------- a child */

static struct clone child;
static struct snapshot *childs;

static void forget_childs(void)
{
    snapshot_free(childs);
    childs = NULL;
}

static void share_all(struct env *env)
{
    fork_clone(env, &child);
    swap(env, &child);
    forget_childs();
    childs = snapshot_take(env);
    swap(env, &child);
}

static void child_is_same(struct env *env, uint32_t needs)
{
    (void)needs;
    swap(env, &child);
    snapshot_same(env, childs, "the child");
    audit(env);
    swap(env, &child);
}

static void drop_child(struct env *env)
{
    child_is_same(env, 0);
    forget_childs();
    drop_clone(env, &child);
}

const struct setting shared_setting = {.name = "shared", .begin = share_all, .same = child_is_same, .end = drop_child};

/* ------------------------------------------------------------------------------------------------ a log, a watcher */

enum { WORDS = 9 };

static unsigned told;

static void on_gone(struct aspace_watcher *watcher, const struct aspace_gone *gone)
{
    (void)watcher;
    told += gone->kind != ASPACE_GONE_DESTROYED;
}

static struct aspace_watcher watcher;

static void begin_log(struct env *env)
{
    struct aspace_dirty_config config = {.mode = ASPACE_DIRTY_WRITE_PROTECT};

    watcher = (struct aspace_watcher){.va = env->base, .size = env->end - env->base, .gone = on_gone};
    CHECK_OK(aspace_dirty_start(env->space, &config));
    CHECK_OK(aspace_watch(env->space, &watcher));
    told = 0;
}

/* One that has done a part may have written it, and has taken away what it went through. */
static void nothing_told(struct env *env, uint32_t needs)
{
    uint64_t bits[WORDS], count, va = at(env, 1, 1), size = env->span[1];

    if (needs & OPERATION_PARTIAL) {
        return;
    }
    CHECK_EQ(told, 0);
    CHECK_OK(aspace_harvest_dirty(env->space, va, size, bits, &count));
    CHECK_EQ(count, 0);
}

static void end_log(struct env *env)
{
    aspace_unwatch(env->space, &watcher);
    CHECK_OK(aspace_dirty_stop(env->space));
}

const struct setting logged_setting = {.name = "logged", .begin = begin_log, .same = nothing_told, .end = end_log};
