/* SPDX-License-Identifier: BSD-2-Clause */
/* The layout of a process: all of it replaced at once, a break that moves, a stack that grows. */
#include <aspace/layout.h>

#include "suites.h"

/* ----------------------------------------------------------------------------------------------------- replace all */

static void old_layout(struct env *env, uint64_t va)
{
    do_map(env, ASPACE_KIND_EAGER, va, 3 * PAGE, env->rw);
    do_map(env, ASPACE_KIND_LAZY, va + 3 * PAGE, env->span[1], env->rw);
    do_linear(env, env->base, PAGE, env->rw, device_pa(env, PAGE));
    do_map(env, ASPACE_KIND_TRAP, env->end - PAGE, PAGE, env->rw);
    poke(env, va, 5);
    poke(env, va + 4 * PAGE, 6);
}

static void replace_everything(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    struct aspace_map m[3] = {
        request(ASPACE_KIND_LAZY, va + 2 * PAGE, 4 * PAGE, env->rw),
        request(ASPACE_KIND_EAGER, env->base, 2 * PAGE, env->rw),
        request_linear(va + 8 * PAGE, 2 * PAGE, env->ro, device_pa(env, 2 * PAGE)),
    };

    for (unsigned n = 0; n < 3; n++) {
        m[n].cookie = n + 1;
    }
    cpu_enter(env, 1);
    old_layout(env, va);
    uint64_t pa = cpu_run(env, 1, va, ASPACE_W);
    CHECK(pa != ASPACE_PA_NONE);
    CHECK_OK(aspace_replace_all(env->space, m, 3));
    audit(env);
    CHECK_EQ(cpu_access(env, 1, va, ASPACE_R), ASPACE_PA_NONE);
    CHECK(!mapped(env, va) && !mapped(env, env->end - PAGE) && !mapped(env, va + 6 * PAGE));
    CHECK_EQ(query(env, va + 2 * PAGE).cookie, 1);
    CHECK_EQ(query(env, env->base + PAGE).cookie, 2);
    CHECK_EQ(query(env, va + 9 * PAGE).cookie, 3);
    CHECK_EQ(peek(env, va + 4 * PAGE), 0);
    CHECK_EQ(peek(env, env->base), 0);
    expect_leaf(env, va + 9 * PAGE, device_pa(env, 2 * PAGE) + PAGE, env->ro);
    CHECK_EQ(frames_held(env), 3);
    m[0] = request(ASPACE_KIND_LAZY, env->base, env->end - env->base, env->rw);
    CHECK_OK(aspace_replace_all(env->space, m, 1));
    audit(env);
    CHECK_EQ(peek(env, va), 0);
    CHECK_OK(aspace_replace_all(env->space, NULL, 0));
    CHECK(!mapped(env, va));
    CHECK_EQ(frames_held(env), 0);
}

/* More areas in one table than its descriptor can tell of. */
static void replace_everything_by_many(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    struct aspace_map m[12];

    for (unsigned round = 0; round < 2; round++) {
        for (unsigned n = 0; n < 12; n++) {
            m[n] = request(n % 2 ? ASPACE_KIND_LAZY : ASPACE_KIND_EAGER, va + (2 * n + round) * PAGE, PAGE, env->rw);
            m[n].cookie = n + 1;
        }
        CHECK_OK(aspace_replace_all(env->space, m, 12));
        audit(env);
        for (unsigned n = 0; n < 12; n++) {
            CHECK_EQ(query(env, va + (2 * n + round) * PAGE).cookie, n + 1);
            CHECK(!mapped(env, va + (2 * n + 1 + round) * PAGE));
        }
    }
}

static void replace_everything_refused(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    struct aspace_map m[2] = {request(ASPACE_KIND_LAZY, va, 2 * PAGE, env->rw),
                              request(ASPACE_KIND_LAZY, va + PAGE, PAGE, env->rw)};

    old_layout(env, va);
    struct snapshot *before = snapshot_take(env);
    CHECK_ERROR(aspace_replace_all(env->space, m, 2), ASPACE_E_INVALID); /* they overlap */
    m[1].va = env->end;
    CHECK_ERROR(aspace_replace_all(env->space, m, 2), ASPACE_E_RANGE);
    m[1].va = va + 2 * PAGE;
    m[1].flags = ASPACE_MAP_REPLACE;
    CHECK_ERROR(aspace_replace_all(env->space, m, 2), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_replace_all(env->space, NULL, 1), ASPACE_E_INVALID);
    snapshot_same(env, before, "a refused replacement");
    snapshot_free(before);
    aspace_close(env->space);
    CHECK_ERROR(aspace_replace_all(env->space, m, 1), ASPACE_E_CLOSED);
    CHECK_ERROR(aspace_replace_all(env->space, NULL, 0), ASPACE_E_CLOSED);
}

/* ----------------------------------------------------------------------------------------------------------- break */

static void brk(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    struct aspace_brk b = {.space = env->space, .start = va, .limit = 8 * PAGE, .rights = env->rw};

    do_map(env, ASPACE_KIND_GUARD, va + 6 * PAGE, PAGE, env->rw);
    CHECK_OK(aspace_brk_set(&b, va)); /* says where it is */
    CHECK(!mapped(env, va));
    CHECK_OK(aspace_brk_set(&b, va + 1));
    CHECK(mapped(env, va) && !mapped(env, va + PAGE));
    poke(env, va, 9);
    CHECK_OK(aspace_brk_set(&b, va + PAGE));
    CHECK(!mapped(env, va + PAGE));
    CHECK_OK(aspace_brk_set(&b, va + 3 * PAGE + 8));
    CHECK(mapped(env, va + 3 * PAGE) && !mapped(env, va + 4 * PAGE));
    CHECK_EQ(peek(env, va), 9);
    poke(env, va + 3 * PAGE, 10);
    struct snapshot *before = snapshot_take(env);
    CHECK_ERROR(aspace_brk_set(&b, va - 1), ASPACE_E_LIMIT);
    CHECK_ERROR(aspace_brk_set(&b, va + 8 * PAGE + 1), ASPACE_E_LIMIT);
    CHECK_ERROR(aspace_brk_set(&b, va + 7 * PAGE), ASPACE_E_EXISTS);
    snapshot_same(env, before, "a refused break");
    snapshot_free(before);
    CHECK_EQ(b.end, va + 3 * PAGE + 8);
    CHECK_OK(aspace_brk_set(&b, va + PAGE / 2));
    CHECK(!mapped(env, va + PAGE));
    CHECK_EQ(peek(env, va), 9);
    CHECK_OK(aspace_brk_set(&b, va + 4 * PAGE));
    CHECK_EQ(peek(env, va + 3 * PAGE), 0);
    CHECK_OK(aspace_brk_set(&b, va));
    CHECK(!mapped(env, va) && mapped(env, va + 6 * PAGE));
    CHECK_EQ(frames_held(env), 0);
}

/* ----------------------------------------------------------------------------------------------------------- stack */

static void stack(struct env *env)
{
    uint64_t va = at(env, 1, 0), top = va + 24 * PAGE;
    struct aspace_stack s = {
        .space = env->space, .top = top, .size = 2 * PAGE, .limit = 16 * PAGE, .gap = 3 * PAGE, .rights = env->rw};

    CHECK_OK(aspace_stack_map(&s));
    CHECK_FAULT(aspace_stack_fault(&s, top - 8, ASPACE_W), ASPACE_FAULT_DONE);
    poke(env, top - 8, 1);
    CHECK(!mapped(env, top - 6 * PAGE));
    CHECK_FAULT(aspace_fault(env->space, top - 3 * PAGE, ASPACE_W, NULL), ASPACE_FAULT_GUARD);
    CHECK_FAULT(aspace_stack_fault(&s, top - 3 * PAGE + 16, ASPACE_W), ASPACE_FAULT_DONE);
    audit(env);
    CHECK_EQ(s.low, top - 3 * PAGE);
    CHECK_EQ(query(env, top - 4 * PAGE).kind, ASPACE_KIND_GUARD);
    CHECK_EQ(query(env, top - 6 * PAGE).kind, ASPACE_KIND_GUARD);
    CHECK(!mapped(env, top - 7 * PAGE));
    CHECK_FAULT(aspace_stack_fault(&s, top - 10 * PAGE, ASPACE_W), ASPACE_FAULT_DONE); /* beyond the guard */
    CHECK_EQ(query(env, top - 9 * PAGE).kind, ASPACE_KIND_LAZY);
    CHECK_EQ(query(env, top - 13 * PAGE).kind, ASPACE_KIND_GUARD);
    CHECK_EQ(frames_held(env), 3);
    CHECK_EQ(peek(env, top - 8), 1);
    struct aspace_area area;
    CHECK_OK(aspace_next(env->space, top - 10 * PAGE, &area)); /* one area, however often it grew */
    CHECK_EQ(area.va, top - 10 * PAGE);
    CHECK_EQ(area.size, 10 * PAGE);
    do_map(env, ASPACE_KIND_LAZY, top - 15 * PAGE, PAGE, env->rw);
    struct snapshot *before = snapshot_take(env);
    CHECK_FAULT(aspace_stack_fault(&s, top - 12 * PAGE, ASPACE_W), ASPACE_FAULT_GUARD); /* too near */
    CHECK_FAULT(aspace_stack_fault(&s, top - 15 * PAGE, ASPACE_W), ASPACE_FAULT_GUARD);
    CHECK_FAULT(aspace_stack_fault(&s, top - 17 * PAGE, ASPACE_W), ASPACE_FAULT_GUARD); /* the limit */
    snapshot_same(env, before, "a stack that may not grow");
    snapshot_free(before);
    CHECK_FAULT(aspace_stack_fault(&s, top - 11 * PAGE, ASPACE_W), ASPACE_FAULT_DONE);
    CHECK_OK(aspace_unmap(env->space, top - 15 * PAGE, PAGE));
    CHECK_FAULT(aspace_stack_fault(&s, top - 16 * PAGE, ASPACE_W), ASPACE_FAULT_DONE);
    CHECK_EQ(query(env, top - 19 * PAGE).kind, ASPACE_KIND_GUARD);
    CHECK_FAULT(aspace_stack_fault(&s, top - 17 * PAGE, ASPACE_W), ASPACE_FAULT_GUARD);
}

static void stack_refused(struct env *env)
{
    uint64_t top = at(env, 1, 0) + 12 * PAGE;
    struct aspace_stack s = {.space = env->space, .top = top, .size = PAGE, .limit = 4 * PAGE, .gap = PAGE};

    s.rights = env->rw;
    s.size = 0;
    CHECK_ERROR(aspace_stack_map(&s), ASPACE_E_INVALID);
    s.size = 5 * PAGE;
    CHECK_ERROR(aspace_stack_map(&s), ASPACE_E_INVALID);
    s.size = PAGE + 1;
    CHECK_ERROR(aspace_stack_map(&s), ASPACE_E_INVALID);
    s.size = PAGE;
    s.gap = 0;
    CHECK_ERROR(aspace_stack_map(&s), ASPACE_E_INVALID);
    s.gap = PAGE;
    s.limit = top + PAGE;
    CHECK_ERROR(aspace_stack_map(&s), ASPACE_E_INVALID);
    s.limit = 4 * PAGE;
    do_map(env, ASPACE_KIND_LAZY, top - 2 * PAGE, PAGE, env->rw);
    CHECK_ERROR(aspace_stack_map(&s), ASPACE_E_EXISTS);
    CHECK(!mapped(env, top - PAGE));
}

/* What somebody has mapped in place of a part of the guard stays. */
static void stack_with_another_in_its_guard(struct env *env)
{
    uint64_t top = at(env, 1, 0) + 24 * PAGE;
    struct aspace_stack s = {
        .space = env->space, .top = top, .size = PAGE, .limit = 16 * PAGE, .gap = 4 * PAGE, .rights = env->rw};
    struct aspace_map m = request(ASPACE_KIND_LAZY, top - 4 * PAGE, PAGE, env->rw);

    m.flags = ASPACE_MAP_REPLACE;
    CHECK_OK(aspace_stack_map(&s));
    CHECK_OK(aspace_map(env->space, &m, NULL));
    poke(env, m.va, 7);
    CHECK_FAULT(aspace_stack_fault(&s, top - 3 * PAGE, ASPACE_W), ASPACE_FAULT_DONE);
    CHECK_FAULT(aspace_stack_fault(&s, top - 5 * PAGE, ASPACE_W), ASPACE_FAULT_GUARD);
    CHECK_FAULT(aspace_stack_fault(&s, top - 10 * PAGE, ASPACE_W), ASPACE_FAULT_GUARD);
    CHECK_EQ(peek(env, m.va), 7);
    CHECK_EQ(s.low, top - 3 * PAGE);
    CHECK_OK(aspace_unmap(env->space, m.va, PAGE));
    CHECK_FAULT(aspace_stack_fault(&s, top - 5 * PAGE, ASPACE_W), ASPACE_FAULT_DONE);
}

static const struct test tests[] = {
    {"replace_everything", replace_everything, 0},
    {"replace_everything_by_many", replace_everything_by_many, 0},
    {"replace_everything_refused", replace_everything_refused, 0},
    {"brk", brk, 0},
    {"stack", stack, 0},
    {"stack_refused", stack_refused, NEEDS_FEW},
    {"stack_with_another_in_its_guard", stack_with_another_in_its_guard, 0},
};
const struct suite layout_suite = SUITE(tests);
