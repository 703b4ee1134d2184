/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Forks whose allocations fail, by each policy, in one go and in steps. The parent is as before: pages that were marked
 * on the way are taken back without a copy. The child is empty. Owns the forks and the space that they go into; must
 * not know when memory runs out.
 */
#include <aspace/object.h>

#include "../conformance/clone.h"
#include "operations.h"

enum { FILLED = 3 };

static struct clone child;
static enum aspace_fork_policy policy;
static struct aspace_anon anon;
static uint64_t references, copies;

static uint64_t first(struct env *env)
{
    return at(env, 1, 1);
}

/* ------------------------------------------------------------------------------------------------------- situations */

/* Three pages that are filled, and some that are not, over the end of a table. */
static void pages_with(struct env *env, enum aspace_fork_policy how)
{
    struct aspace_map m = request(ASPACE_KIND_LAZY, first(env) - 2 * PAGE, 5 * PAGE, env->rw);

    references = 0;
    policy = how;
    m.fork = how;
    m.max_leaf_level = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    for (unsigned n = 0; n < FILLED; n++) {
        poke(env, m.va + n * PAGE, 100 + n);
    }
}

static void pages_cow(struct env *env)
{
    pages_with(env, ASPACE_FORK_COW);
}

static void pages_copy(struct env *env)
{
    pages_with(env, ASPACE_FORK_COPY);
}

static void pages_drop(struct env *env)
{
    pages_with(env, ASPACE_FORK_DROP);
}

static void pages_wipe(struct env *env)
{
    pages_with(env, ASPACE_FORK_WIPE);
}

/* What comes before it is shared already when the fork finds it. */
static void pages_refuse(struct env *env)
{
    struct aspace_map m = request_linear(at(env, 1, 2), PAGE, env->rw, device_pa(env, PAGE));

    pages_with(env, ASPACE_FORK_COW);
    policy = ASPACE_FORK_REFUSE;
    m.fork = ASPACE_FORK_REFUSE;
    CHECK_OK(aspace_map(env->space, &m, NULL));
}

/* An object's pages, mapped by both, and borrowed memory. */
static void pages_share(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_SHARED, first(env) - 2 * PAGE, 5 * PAGE, env->rw);

    policy = ASPACE_FORK_SHARE;
    CHECK_OK(aspace_anon_init(&anon, env->host, m.size, 0));
    m.fork = ASPACE_FORK_SHARE;
    m.object = &anon.object;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    for (unsigned n = 0; n < FILLED; n++) {
        poke(env, m.va + n * PAGE, 100 + n);
    }
    m = request_linear(at(env, 1, 2), PAGE, env->rw, device_pa(env, PAGE));
    m.fork = ASPACE_FORK_SHARE;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    aspace_object_put(&anon.object);
    references = 1;
}

/* Copies that a private area has made, and pages that are still the object's. */
static void pages_private(struct env *env, enum aspace_fork_policy how)
{
    struct aspace_map m = request(ASPACE_KIND_PRIVATE, first(env) - 2 * PAGE, 5 * PAGE, env->rw);

    policy = how;
    CHECK_OK(aspace_anon_init(&anon, env->host, m.size, 0));
    m.fork = how;
    m.object = &anon.object;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    for (unsigned n = 0; n < FILLED; n++) {
        poke(env, m.va + n * PAGE, 100 + n);
    }
    CHECK_EQ(peek(env, m.va + FILLED * PAGE), 0);
    aspace_object_put(&anon.object);
    references = 1;
}

static void private_cow(struct env *env)
{
    pages_private(env, ASPACE_FORK_COW);
}

static void private_copy(struct env *env)
{
    pages_private(env, ASPACE_FORK_COPY);
}

static void large_with(struct env *env, enum aspace_fork_policy how)
{
    struct aspace_map m = request(ASPACE_KIND_EAGER, at(env, 1, 2), env->span[1], env->rw);

    pages_with(env, how);
    m.fork = how;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    poke(env, m.va + PAGE, 7);
}

static void large_cow(struct env *env)
{
    large_with(env, ASPACE_FORK_COW);
}

static void large_copy(struct env *env)
{
    large_with(env, ASPACE_FORK_COPY);
}

/* ------------------------------------------------------------------------------------------------------------ forks */

/* That it is refused is what is asked for. */
static int answer(int error)
{
    if (policy != ASPACE_FORK_REFUSE) {
        return error;
    }
    CHECK(error == ASPACE_E_PERMISSION || error == ASPACE_E_NO_MEMORY);
    return error == ASPACE_E_PERMISSION ? ASPACE_OK : error;
}

static int fork_at_once(struct env *env)
{
    return answer(aspace_fork(env->space, child.space));
}

static int fork_by_steps(struct env *env)
{
    struct aspace_fork fork;
    int error = aspace_fork_begin(&fork, env->space, child.space);

    CHECK_OK(error);
    while ((error = aspace_fork_step(&fork, 1)) == ASPACE_E_MORE) {
        CHECK_FAULT(aspace_fault(env->space, first(env) + PAGE, ASPACE_W, NULL), ASPACE_FAULT_RETRY);
    }
    return answer(error);
}

/* -------------------------------------------------------------------------------------------------------- the child */

static void make_child(struct env *env)
{
    make_clone(env, &child, 1);
    copies = counters(env).cow_copies;
}

/* Each page that an area owns is written: it costs a fault, and no copy. */
static void take_back(struct env *env)
{
    struct aspace_area area;

    for (uint64_t va = env->base; aspace_next(env->space, va, &area) == ASPACE_OK; va = area.va + area.size) {
        for (uint64_t page = area.va; page - area.va < area.size; page += PAGE) {
            struct naive_result r = walk(env, page);
            bool object = area.kind == ASPACE_KIND_PRIVATE && page - area.va >= FILLED * PAGE;
            if (r.present && area.kind != ASPACE_KIND_SHARED && !object) {
                enum aspace_fault_result a = aspace_fault(env->space, page, ASPACE_W, NULL);
                CHECK(a == ASPACE_FAULT_DONE || a == ASPACE_FAULT_SPURIOUS);
            }
        }
        if (area.va + area.size >= env->end) {
            break;
        }
    }
    CHECK_EQ(counters(env).cow_copies, copies);
}

static void child_is_empty(struct env *env, uint32_t needs)
{
    struct aspace_area area;

    (void)needs;
    swap(env, &child);
    CHECK_ERROR(aspace_next(env->space, env->base, &area), ASPACE_E_NOT_MAPPED);
    CHECK_EQ(frames_held(env), 0);
    audit(env);
    swap(env, &child);
    CHECK(!references || anon.object.references == references);
}

/* What the child has of the first page is what the policy says. */
static void check_child(struct env *env)
{
    uint64_t va = first(env) - 2 * PAGE;

    for (unsigned n = 0; n < FILLED; n++) {
        CHECK_EQ(peek(env, va + n * PAGE), 100 + n);
    }
    if (policy == ASPACE_FORK_REFUSE) {
        take_back(env);
        child_is_empty(env, 0);
        return;
    }
    uint64_t pa = walk(env, va).pa;
    swap(env, &child);
    audit(env);
    CHECK(policy != ASPACE_FORK_COW || walk(env, va).pa == pa);
    CHECK_EQ(mapped(env, va), policy != ASPACE_FORK_DROP);
    for (unsigned n = 0; n < FILLED && policy != ASPACE_FORK_DROP; n++) {
        CHECK_EQ(peek(env, va + n * PAGE), policy == ASPACE_FORK_WIPE ? 0 : 100 + n);
    }
    if (policy != ASPACE_FORK_DROP) { /* the object's are asked for by its own faults */
        CHECK_EQ(walk(env, va).pa == pa, policy == ASPACE_FORK_COW || policy == ASPACE_FORK_SHARE);
    }
    swap(env, &child);
}

static void end_child(struct env *env)
{
    check_child(env);
    drop_clone(env, &child);
    aspace_trim(env->host);
    CHECK(!references || anon.object.references == references);
}

const struct setting child_setting = {
    .name = "fork", .begin = make_child, .settle = take_back, .same = child_is_empty, .end = end_child};

const struct operation fork_operations[] = {
    {"cow", pages_cow, fork_at_once, 0},
    {"copy", pages_copy, fork_at_once, 0},
    {"drop", pages_drop, fork_at_once, 0},
    {"wipe", pages_wipe, fork_at_once, 0},
    {"refuse", pages_refuse, fork_at_once, 0},
    {"share", pages_share, fork_at_once, 0},
    {"private", private_cow, fork_at_once, 0},
    {"private_copy", private_copy, fork_at_once, 0},
    {"large", large_cow, fork_at_once, NEEDS_HUGE},
    {"large_copy", large_copy, fork_at_once, NEEDS_HUGE},
    {"steps_cow", pages_cow, fork_by_steps, 0},
    {"steps_copy", pages_copy, fork_by_steps, 0},
    {"steps_drop", pages_drop, fork_by_steps, 0},
    {"steps_wipe", pages_wipe, fork_by_steps, 0},
    {"steps_refuse", pages_refuse, fork_by_steps, 0},
    {"steps_share", pages_share, fork_by_steps, 0},
    {"steps_private", private_cow, fork_by_steps, 0},
    {"steps_large_copy", large_copy, fork_by_steps, NEEDS_HUGE},
};
const size_t fork_operation_count = sizeof(fork_operations) / sizeof(fork_operations[0]);
