/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Operations on objects, tickets, breaks, stacks and logs, in situations that are wound up with the space. Those that
 * need no memory are here to show it. Must not know what is done with them.
 */
#include <aspace/dirty.h>
#include <aspace/layout.h>
#include <aspace/object.h>
#include <aspace/pin.h>
#include <aspace/ticket.h>

#include "operations.h"

static uint64_t first(struct env *env)
{
    return at(env, 1, 1);
}

static int fault_error(enum aspace_fault_result result)
{
    CHECK(result == ASPACE_FAULT_DONE || result == ASPACE_FAULT_NO_MEMORY);
    return result == ASPACE_FAULT_DONE ? ASPACE_OK : ASPACE_E_NO_MEMORY;
}

/* ---------------------------------------------------------------------------------------------------------- objects */

static struct aspace_anon anon;

/* Two areas of one object, which is gone with them: pages 0 and 1 are filled, 1 is copied, 2 and 3 are not there. */
static void both_kinds(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_SHARED, first(env) - 2 * PAGE, 4 * PAGE, env->rw);

    CHECK_OK(aspace_anon_init(&anon, env->host, m.size, 0));
    m.object = &anon.object;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    poke(env, m.va, 1);
    poke(env, m.va + PAGE, 2);
    m.va += 4 * PAGE;
    m.kind = ASPACE_KIND_PRIVATE;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_EQ(peek(env, m.va), 1);
    poke(env, m.va + PAGE, 3);
    aspace_object_put(&anon.object);
}

/* Tried again after a refusal: the reference of the first attempt goes with its record. */
static int map_private(struct env *env)
{
    static struct aspace_anon other;
    struct aspace_map m = request(ASPACE_KIND_PRIVATE, first(env) + PAGE, env->span[1], env->rw);

    if (other.object.references) {
        aspace_trim(env->host);
    }
    CHECK_OK(aspace_anon_init(&other, env->host, m.size, 0));
    m.object = &other.object;
    m.flags = ASPACE_MAP_REPLACE;
    int error = aspace_map(env->space, &m, NULL);
    aspace_object_put(&other.object);
    return error;
}

static int truncate(struct env *env)
{
    CHECK_OK(aspace_anon_truncate(&anon, PAGE));
    CHECK_FAULT(aspace_fault(env->space, first(env) - PAGE, ASPACE_R, NULL), ASPACE_FAULT_BUS);
    CHECK_FAULT(aspace_fault(env->space, first(env) + 3 * PAGE, ASPACE_R, NULL), ASPACE_FAULT_BUS);
    CHECK_EQ(peek(env, first(env) + 2 * PAGE), 1);
    return aspace_anon_truncate(&anon, 4 * PAGE);
}

static int evict(struct env *env)
{
    (void)aspace_object_evict(&anon.object, 0, 4 * PAGE);
    expect_absent(env, first(env) - 2 * PAGE);
    expect_absent(env, first(env) + 2 * PAGE);
    CHECK_EQ(peek(env, first(env) + 3 * PAGE), 3);
    return ASPACE_OK;
}

static int write_back(struct env *env)
{
    (void)aspace_object_clean(&anon.object, 0, 4 * PAGE);
    CHECK_EQ(walk(env, first(env) - 2 * PAGE).rights & ASPACE_W, 0);
    CHECK_EQ(peek(env, first(env) - 2 * PAGE), 1);
    return ASPACE_OK;
}

/* The object may have its page by then, and the table for it be made: nobody can tell. */
static int fill_shared(struct env *env)
{
    return fault_error(aspace_fault(env->space, first(env) + PAGE, ASPACE_W, NULL));
}

static int copy_private(struct env *env)
{
    return fault_error(aspace_fault(env->space, first(env) + 2 * PAGE, ASPACE_W, NULL));
}

static int discard_zero(struct env *env)
{
    return aspace_discard_zero(env->space, first(env) + 2 * PAGE, 2 * PAGE, NULL);
}

/* ---------------------------------------------------------------------------------------------------------- tickets */

static struct aspace_ticket ticket;
static aspace_pa_t fetched = ASPACE_PA_NONE;

static enum aspace_fault_result fetch_first(const struct aspace_fill *fill, struct aspace_page *page)
{
    (void)fill, (void)page;
    return ASPACE_FAULT_NEEDS_IO;
}

static void take_page(void *ctx, uint64_t offset, aspace_pa_t pa, unsigned order)
{
    struct env *env = ctx;

    (void)offset;
    env->machine.hal->free(&env->machine, pa, order);
}

static void map_fetched(struct env *env)
{
    static const struct aspace_backend backend = {.name = "fetched", .fill = fetch_first, .release = take_page};
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, at(env, 2, 0), env->span[2], env->rw);

    m.backend = &backend;
    m.backend_ctx = env;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    ticket = (struct aspace_ticket){0};
}

static uint64_t fetched_va(struct env *env)
{
    return at(env, 2, 0) + env->span[1] + PAGE;
}

/* Armed, the page read into a frame. */
static void map_fetching(struct env *env)
{
    map_fetched(env);
    CHECK_FAULT(aspace_fault_try(env->space, fetched_va(env), ASPACE_W, 0, &ticket, NULL), ASPACE_FAULT_NEEDS_IO);
    fetched = env->machine.hal->alloc(&env->machine, 0, ASPACE_ALLOC_ZERO);
    CHECK(fetched != ASPACE_PA_NONE);
}

static int ticket_try(struct env *env)
{
    enum aspace_fault_result r = aspace_fault_try(env->space, fetched_va(env), ASPACE_W, 0, &ticket, NULL);

    if (r == ASPACE_FAULT_NEEDS_IO) {
        return aspace_fault_cancel(&ticket);
    }
    CHECK_FAULT(r, ASPACE_FAULT_NO_MEMORY);
    CHECK_EQ(aspace_ticket_state(&ticket), ASPACE_TICKET_IDLE);
    return ASPACE_E_NO_MEMORY;
}

static int ticket_complete(struct env *env)
{
    int error = aspace_fault_complete(&ticket, fetched);

    CHECK_EQ(walk(env, fetched_va(env)).pa, fetched);
    return error;
}

static int ticket_cancel(struct env *env)
{
    int error = aspace_fault_cancel(&ticket);

    take_page(env, 0, fetched, 0);
    expect_absent(env, fetched_va(env));
    return error;
}

static int ticket_fail(struct env *env)
{
    int error = aspace_fault_fail(&ticket, ASPACE_E_FAULT);

    take_page(env, 0, fetched, 0);
    return error;
}

/* ------------------------------------------------------------------------------------------------ breaks and stacks */

static struct aspace_brk brk;
static struct aspace_stack stack;

static void brk_at_start(struct env *env)
{
    brk = (struct aspace_brk){.space = env->space,
                              .start = first(env) - 2 * PAGE,
                              .limit = env->span[1] + 4 * PAGE,
                              .rights = env->rw,
                              .max_rights = env->rw};
}

static void brk_high(struct env *env)
{
    brk_at_start(env);
    CHECK_OK(aspace_brk_set(&brk, brk.start + env->span[1] + 3 * PAGE));
    poke(env, brk.start + PAGE, 1);
    poke(env, brk.start + 3 * PAGE, 3);
}

static int brk_move(struct env *env, uint64_t bytes)
{
    uint64_t before = brk.end;
    int error = aspace_brk_set(&brk, brk.start + bytes);

    (void)env;
    CHECK_EQ(brk.end, error ? before : brk.start + bytes);
    return error;
}

static int brk_up(struct env *env)
{
    return brk_move(env, env->span[1] + PAGE + 8);
}

static int brk_down(struct env *env)
{
    return brk_move(env, 2 * PAGE);
}

static void stack_at_top(struct env *env)
{
    stack = (struct aspace_stack){.space = env->space,
                                  .top = first(env) + 2 * PAGE,
                                  .size = PAGE,
                                  .limit = 4 * PAGE,
                                  .gap = PAGE,
                                  .rights = env->rw};
}

static void stack_mapped(struct env *env)
{
    stack_at_top(env);
    CHECK_OK(aspace_stack_map(&stack));
}

static int stack_map(struct env *env)
{
    (void)env;
    return aspace_stack_map(&stack);
}

/* Over the end of a table: the stack may have grown when no page is filled. */
static int stack_grow(struct env *env)
{
    (void)env;
    return fault_error(aspace_stack_fault(&stack, stack.top - 3 * PAGE, ASPACE_W));
}

/* --------------------------------------------------------------------------------------------------- logs and pins */

static void some_pages(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_LAZY, first(env) - 2 * PAGE, 4 * PAGE, env->rw);

    m.max_leaf_level = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    for (unsigned n = 0; n < 3; n++) {
        poke(env, m.va + n * PAGE, n);
    }
}

/* Everything about a log but the write itself. */
static int log_all(struct env *env)
{
    struct aspace_dirty_config config = {.mode = ASPACE_DIRTY_WRITE_PROTECT};
    uint64_t bits[1], va = first(env) - 2 * PAGE;

    CHECK_OK(aspace_dirty_start(env->space, &config));
    CHECK_OK(aspace_dirty_mark(env->space, va + PAGE, PAGE));
    CHECK_OK(aspace_harvest_dirty(env->space, va, 4 * PAGE, bits, NULL));
    CHECK_EQ(bits[0], 2);
    return aspace_dirty_stop(env->space);
}

/* All or nothing, but for pages that were filled or copied on the way: no pin is left, or destroy were BUSY. */
static int pin_read(struct env *env)
{
    aspace_pa_t pages[4];
    uint64_t va = first(env) - 2 * PAGE;
    int error = aspace_pin(env->space, va, 4 * PAGE, ASPACE_R, pages);

    for (unsigned n = 0; n < 4 && !error; n++) {
        CHECK_EQ(walk(env, va + n * PAGE).pa, pages[n]);
    }
    return error ? error : aspace_unpin(env->space, va, 4 * PAGE, pages);
}

/* What was unmapped while it was pinned is freed by this. */
static aspace_pa_t pinned[3];

static void pinned_pages(struct env *env)
{
    some_pages(env);
    CHECK_OK(aspace_pin(env->space, first(env) - 2 * PAGE, 3 * PAGE, ASPACE_RW, pinned));
}

static int unmap_and_unpin(struct env *env)
{
    CHECK_OK(aspace_unmap(env->space, first(env) - 2 * PAGE, 4 * PAGE));
    return aspace_unpin(env->space, first(env) - 2 * PAGE, 3 * PAGE, pinned);
}

const struct operation further_operations[] = {
    {"map_private", some_pages, map_private, 0},
    {"object_truncate", both_kinds, truncate, OPERATION_SURE | OPERATION_REACHES},
    {"object_evict", both_kinds, evict, OPERATION_SURE | OPERATION_REACHES},
    {"object_clean", both_kinds, write_back, OPERATION_SURE | OPERATION_REACHES},
    {"object_fill", both_kinds, fill_shared, 0},
    {"object_copy", both_kinds, copy_private, 0},
    {"object_discard_zero", both_kinds, discard_zero, OPERATION_PARTIAL},
    {"ticket_try", map_fetched, ticket_try, 0},
    {"ticket_complete", map_fetching, ticket_complete, OPERATION_SURE},
    {"ticket_cancel", map_fetching, ticket_cancel, OPERATION_SURE},
    {"ticket_fail", map_fetching, ticket_fail, OPERATION_SURE},
    {"brk_up", brk_at_start, brk_up, 0},
    {"brk_down", brk_high, brk_down, 0},
    {"stack_map", stack_at_top, stack_map, 0},
    {"stack_grow", stack_mapped, stack_grow, OPERATION_PARTIAL},
    {"log", some_pages, log_all, OPERATION_SURE | OPERATION_LOGS},
    {"pin_read", some_pages, pin_read, OPERATION_PARTIAL},
    {"unmap_and_unpin", pinned_pages, unmap_and_unpin, OPERATION_SURE},
};
const size_t further_operation_count = sizeof(further_operations) / sizeof(further_operations[0]);
