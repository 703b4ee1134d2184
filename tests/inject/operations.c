/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of operations, with the situation each is tried in. Must not know what is done with them. */
#include <aspace/dirty.h>
#include <aspace/object.h>
#include <aspace/pin.h>
#include <aspace/ticket.h>

#include "operations.h"

/* Where everything happens: both are aligned for a large leaf, `far` in another table where there is room. */
static uint64_t near(struct env *env)
{
    return at(env, 1, 1);
}

static uint64_t far(struct env *env)
{
    return at(env, env->config.format == ASPACE_FMT_TOY ? 1 : 2, 2);
}

static int map(struct env *env, struct aspace_map m)
{
    m.max_rights = m.rights | env->rw;
    return aspace_map(env->space, &m, NULL);
}

static int fault_error(enum aspace_fault_result result)
{
    switch (result) {
    case ASPACE_FAULT_DONE:
    case ASPACE_FAULT_SPURIOUS: return ASPACE_OK;
    case ASPACE_FAULT_NO_MEMORY: return ASPACE_E_NO_MEMORY;
    default: return ASPACE_E_INVALID;
    }
}

/* ------------------------------------------------------------------------------------------------------- situations */

static void lazy_area(struct env *env)
{
    do_map(env, ASPACE_KIND_LAZY, near(env), env->span[1] + 2 * PAGE, env->rw);
}

static void lazy_touched(struct env *env)
{
    lazy_area(env);
    poke(env, near(env) + PAGE, 1);
    poke(env, near(env) + 2 * PAGE, 2);
}

static void lazy_far(struct env *env)
{
    do_map(env, ASPACE_KIND_LAZY, far(env), env->span[1], env->rw);
}

/* Markers above the leaves, so that a part of them needs tables. */
static void lazy_upper(struct env *env)
{
    uint64_t va = at(env, 2, 0);

    do_map(env, ASPACE_KIND_LAZY, va, env->span[2], env->rw);
}

static void huge_page(struct env *env)
{
    do_map(env, ASPACE_KIND_EAGER, near(env), env->span[1], env->rw);
    poke(env, near(env) + PAGE, 11);
}

static void linear_block(struct env *env)
{
    do_linear(env, near(env), env->span[1], env->rw, device_pa(env, env->span[1]));
}

static void linear_upper(struct env *env)
{
    unsigned top = env->top_level;

    do_linear(env, at(env, top, 0), env->span[top], env->rw, naive_output_end(&env->config) / 2);
}

static void linear_run(struct env *env)
{
    do_linear(env, near(env), env->run_pages * PAGE, env->rw, device_pa(env, env->span[1]));
}

static void small_pages(struct env *env)
{
    uint64_t done;

    do_map(env, ASPACE_KIND_LAZY, near(env), env->span[1], env->rw);
    for (uint64_t off = 0; off < env->span[1]; off += PAGE) {
        CHECK_OK(aspace_populate(env->space, near(env) + off, PAGE, &done));
    }
    poke(env, near(env), 5);
    CHECK(aspace_split(env->space, near(env)) <= ASPACE_OK);
}

static void three_areas(struct env *env)
{
    uint64_t va = near(env);

    do_map(env, ASPACE_KIND_EAGER, va, 3 * PAGE, env->rw);
    do_linear(env, va + 3 * PAGE, env->span[1] - 3 * PAGE, env->rw, device_pa(env, PAGE));
    do_map(env, ASPACE_KIND_LAZY, va + env->span[1], 4 * PAGE, env->rw);
    poke(env, va + PAGE, 4);
    poke(env, va + env->span[1] + PAGE, 3);
}

/* Pages of an object that has none of them at hand. */
static enum aspace_fault_result fetch_first(const struct aspace_fill *fill, struct aspace_page *page)
{
    (void)fill;
    (void)page;
    return ASPACE_FAULT_NEEDS_IO;
}

static void take_back(void *ctx, uint64_t offset, aspace_pa_t pa, unsigned order)
{
    struct env *env = ctx;

    (void)offset;
    env->machine.hal->free(&env->machine, pa, order);
}

static const struct aspace_backend fetched = {.name = "fetched", .fill = fetch_first, .release = take_back};

static void fetched_upper(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, at(env, 2, 0), env->span[2], env->rw);

    m.backend = &fetched;
    m.backend_ctx = env;
    CHECK_OK(aspace_map(env->space, &m, NULL));
}

/* The object is gone with its areas. One that is to be copied has the pages that are touched later: they would stay
 * where a fault fails. */
static void map_object(struct env *env, enum aspace_kind kind)
{
    static struct aspace_anon anon;
    struct aspace_map m = request(kind, near(env), env->span[1] + 2 * PAGE, env->rw);

    CHECK_OK(aspace_anon_init(&anon, env->host, m.size, 0));
    m.object = &anon.object;
    if (kind == ASPACE_KIND_PRIVATE) {
        m.kind = ASPACE_KIND_SHARED;
        CHECK_OK(aspace_map(env->space, &m, NULL));
        poke(env, near(env) + 3 * PAGE, 0);
        CHECK_OK(aspace_clear(env->space));
    }
    m.kind = kind;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    aspace_object_put(&anon.object);
}

static void shared_area(struct env *env)
{
    map_object(env, ASPACE_KIND_SHARED);
}

static void private_area(struct env *env)
{
    map_object(env, ASPACE_KIND_PRIVATE);
}

static void private_read(struct env *env)
{
    private_area(env);
    CHECK_EQ(peek(env, near(env) + 3 * PAGE), 0);
    poke(env, near(env) + 4 * PAGE, 4);
}

static void shared_beside_lazy(struct env *env)
{
    do_map(env, ASPACE_KIND_LAZY, near(env) - 2 * PAGE, 4 * PAGE, env->rw);
    poke(env, near(env) + PAGE, 4);
}

/* ------------------------------------------------------------------------------------------------------------- maps */

/* With REPLACE, so that it can be tried again; the reference of an attempt that fails goes with its record. */
static int map_shared(struct env *env)
{
    static struct aspace_anon anon;
    struct aspace_map m = request(ASPACE_KIND_SHARED, near(env), env->span[1] + 2 * PAGE, env->rw);

    if (anon.object.references) {
        aspace_trim(env->host);
    }
    CHECK_OK(aspace_anon_init(&anon, env->host, m.size, 0));
    m.object = &anon.object;
    m.flags = ASPACE_MAP_REPLACE;
    int error = map(env, m);
    aspace_object_put(&anon.object);
    return error;
}

static int map_lazy(struct env *env)
{
    return map(env, request(ASPACE_KIND_LAZY, near(env) + PAGE, env->span[1], env->rw));
}

static int map_whole(struct env *env)
{
    return map(env, request(ASPACE_KIND_LAZY, env->base + PAGE, env->end - env->base - 2 * PAGE, env->rw));
}

static int map_trap(struct env *env)
{
    return map(env, request(ASPACE_KIND_TRAP, far(env) + PAGE, PAGE, env->rw));
}

static int map_eager(struct env *env)
{
    return map(env, request(ASPACE_KIND_EAGER, near(env) - 2 * PAGE, 5 * PAGE, env->rw));
}

static int map_eager_huge(struct env *env)
{
    return map(env, request(ASPACE_KIND_EAGER, near(env) - PAGE, env->span[1] + 2 * PAGE, env->rw));
}

static int map_linear(struct env *env)
{
    return map(env, request_linear(near(env) - PAGE, env->span[1] + 2 * PAGE, env->rw,
                                   device_pa(env, 4 * env->span[1]) + env->span[1] - PAGE));
}

static int map_rom(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_ROM, far(env), 2 * PAGE, env->ro);

    m.pa = device_pa(env, 2 * PAGE);
    return map(env, m);
}

static int map_replace(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_EAGER, near(env) + PAGE, env->span[1] + PAGE, env->rw);

    m.flags = ASPACE_MAP_REPLACE;
    return map(env, m);
}

static int map_replace_lazy(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_LAZY, near(env) + 2 * PAGE, env->span[1], env->ro);

    m.flags = ASPACE_MAP_REPLACE;
    return map(env, m);
}

static int map_batch(struct env *env)
{
    uint64_t va = near(env);
    struct aspace_map m[3] = {
        request(ASPACE_KIND_EAGER, far(env) + PAGE, 2 * PAGE, env->rw),
        request(ASPACE_KIND_LAZY, va - PAGE, 2 * PAGE, env->rw),
        request_linear(va + env->span[1] - PAGE, 2 * PAGE, env->rw, device_pa(env, PAGE)),
    };

    return aspace_map_batch(env->space, m, 3, NULL);
}

static int map_somewhere(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_EAGER, 0, 0, env->rw);
    struct aspace_find find = {.size = 3 * PAGE, .hint = near(env)};
    uint64_t va;

    return aspace_map_anywhere(env->space, &m, &find, &va);
}

static int replace_all(struct env *env)
{
    uint64_t va = near(env);
    struct aspace_map m[3] = {
        request(ASPACE_KIND_EAGER, va + PAGE, env->span[1], env->rw),
        request(ASPACE_KIND_LAZY, far(env) + 2 * PAGE, 2 * PAGE, env->rw),
        request_linear(env->base, PAGE, env->rw, device_pa(env, PAGE)),
    };

    return aspace_replace_all(env->space, m, 3);
}

/* ---------------------------------------------------------------------------------------------------------- changes */

static int unmap_part(struct env *env)
{
    return aspace_unmap(env->space, near(env) + PAGE, PAGE);
}

static int unmap_upper(struct env *env)
{
    return aspace_unmap(env->space, at(env, 2, 0) + env->span[1] + PAGE, PAGE);
}

static int unmap_three(struct env *env)
{
    return aspace_unmap(env->space, near(env) + 2 * PAGE, env->span[1] - PAGE);
}

static int protect_part(struct env *env)
{
    return aspace_protect(env->space, near(env) + PAGE, PAGE, env->ro);
}

static int protect_upper(struct env *env)
{
    return aspace_protect(env->space, at(env, 2, 0) + env->span[1] + PAGE, PAGE, env->ro);
}

static int protect_three(struct env *env)
{
    return aspace_protect(env->space, near(env) + 2 * PAGE, env->span[1], env->ro);
}

static int protect_to_none(struct env *env)
{
    return aspace_protect(env->space, near(env) + PAGE, 2 * PAGE, 0);
}

static int discard_part(struct env *env)
{
    return aspace_discard(env->space, near(env) + PAGE, PAGE);
}

static int discard_all(struct env *env)
{
    return aspace_discard(env->space, near(env), env->span[1]);
}

static int clear(struct env *env)
{
    return aspace_clear(env->space);
}

static int migrate(struct env *env)
{
    return aspace_migrate(env->space, near(env) + PAGE, ASPACE_PA_NONE);
}

static int collapse(struct env *env)
{
    return aspace_collapse(env->space, near(env), 1);
}

static int split(struct env *env)
{
    return aspace_split(env->space, near(env));
}

/* ------------------------------------------------------------------------------------------------------------ moves */

static uint64_t away(struct env *env)
{
    return env->config.format == ASPACE_FMT_TOY ? at(env, 1, 4) : far(env) + env->span[1];
}

static int move_three(struct env *env)
{
    return aspace_move(env->space, near(env) + PAGE, env->span[1] + PAGE, away(env) + 2 * PAGE, NULL);
}

static int move_part(struct env *env)
{
    return aspace_move(env->space, near(env) + PAGE, PAGE, away(env), NULL);
}

static int move_whole(struct env *env)
{
    return aspace_move(env->space, near(env), env->span[1], away(env) + 2 * PAGE, NULL);
}

static int move_upper(struct env *env)
{
    unsigned level = env->top_level > 2 ? env->top_level : 2; /* behind a leaf of any size */

    return aspace_move(env->space, at(env, 2, 0) + PAGE, env->span[2] - 2 * PAGE, at(env, level, 2) + 3 * PAGE, NULL);
}

/* ---------------------------------------------------------------------------------------------- faults and accesses */

static int fault_near(struct env *env)
{
    return fault_error(aspace_fault(env->space, near(env) + 3 * PAGE, ASPACE_W, NULL));
}

static int fault_upper(struct env *env)
{
    return fault_error(aspace_fault(env->space, at(env, 2, 0) + env->span[1] + PAGE, ASPACE_W, NULL));
}

static int fault_far(struct env *env)
{
    return fault_error(aspace_fault(env->space, far(env), ASPACE_R, NULL));
}

/* A page that is fetched: only try needs memory of the library. */
static int fault_ticket(struct env *env)
{
    struct aspace_ticket t = {0};
    enum aspace_fault_result r =
        aspace_fault_try(env->space, at(env, 2, 0) + env->span[1] + PAGE, ASPACE_W, 0, &t, NULL);

    if (r != ASPACE_FAULT_NEEDS_IO) {
        CHECK_EQ(aspace_ticket_state(&t), ASPACE_TICKET_IDLE);
        return fault_error(r);
    }
    aspace_pa_t pa = env->machine.hal->alloc(&env->machine, 0, ASPACE_ALLOC_ZERO);
    if (pa == ASPACE_PA_NONE) {
        CHECK_OK(aspace_fault_fail(&t, ASPACE_E_NO_MEMORY));
        return ASPACE_E_NO_MEMORY;
    }
    return aspace_fault_complete(&t, pa);
}

static int populate(struct env *env)
{
    uint64_t done = 0;
    int error = aspace_populate(env->space, near(env), 4 * PAGE, &done);

    CHECK(done <= 4 * PAGE && (error != ASPACE_OK || done == 4 * PAGE));
    return error;
}

static int write_page(struct env *env)
{
    uint64_t value = 3;

    return aspace_write(env->space, near(env) + 64, &value, sizeof(value), NULL);
}

static int read_pages(struct env *env)
{
    uint8_t bytes[2 * 4096];
    size_t done = 0;
    int error = aspace_read(env->space, near(env) + PAGE / 2, bytes, sizeof(bytes), &done);

    CHECK(error != ASPACE_OK || done == sizeof(bytes));
    return error;
}

static int swap(struct env *env)
{
    uint64_t expected = 0;
    bool swapped;

    return aspace_compare_exchange(env->space, near(env), 8, &expected, 9, &swapped);
}

static int segments(struct env *env)
{
    struct aspace_segment s[4];
    size_t count = 4, done;

    aspace_read_begin(env->host);
    int error = aspace_segments(env->space, near(env) + 8, PAGE / 2, ASPACE_W, s, &count, &done);
    aspace_read_end(env->host);
    return error;
}

static int pin(struct env *env)
{
    aspace_pa_t pages[3];
    int error = aspace_pin(env->space, near(env), 3 * PAGE, ASPACE_RW, pages);

    return error ? error : aspace_unpin(env->space, near(env), 3 * PAGE, pages);
}

static int write_logged(struct env *env)
{
    struct aspace_dirty_config c = {.flags = ASPACE_DIRTY_SPLIT};
    uint64_t bits[1], value = 1;

    CHECK_OK(aspace_dirty_start(env->space, &c));
    int error = aspace_write(env->space, near(env), &value, sizeof(value), NULL);
    CHECK_OK(aspace_harvest_dirty(env->space, near(env), PAGE, bits, NULL));
    CHECK_EQ(bits[0], !error);
    CHECK_OK(aspace_dirty_stop(env->space));
    return error;
}

const struct operation operations[] = {
    {"map_lazy", NULL, map_lazy, 0},
    {"map_whole", NULL, map_whole, 0},
    {"map_trap", NULL, map_trap, 0},
    {"map_eager", NULL, map_eager, 0},
    {"map_eager_huge", NULL, map_eager_huge, NEEDS_HUGE},
    {"map_linear", NULL, map_linear, 0},
    {"map_rom", NULL, map_rom, 0},
    {"map_replace", three_areas, map_replace, OPERATION_LONG},
    {"map_replace_huge", huge_page, map_replace_lazy, NEEDS_HUGE},
    {"map_batch", NULL, map_batch, 0},
    {"replace_all", three_areas, replace_all, OPERATION_LONG},
    {"replace_all_huge", huge_page, replace_all, NEEDS_HUGE | OPERATION_LONG},
    {"replace_all_upper", lazy_upper, replace_all, OPERATION_LONG},
    {"map_anywhere", NULL, map_somewhere, 0},
    {"unmap_huge_part", huge_page, unmap_part, NEEDS_HUGE},
    {"unmap_linear_part", linear_block, unmap_part, 0},
    {"unmap_lazy_part", lazy_area, unmap_part, 0},
    {"unmap_run_part", linear_run, unmap_part, NEEDS_RUNS},
    {"unmap_marker_part", lazy_upper, unmap_upper, 0},
    {"unmap_giant_part", linear_upper, unmap_upper, NEEDS_GIANT},
    {"unmap_three", three_areas, unmap_three, 0},
    {"protect_huge_part", huge_page, protect_part, NEEDS_HUGE},
    {"protect_lazy_part", lazy_area, protect_part, 0},
    {"protect_run_part", linear_run, protect_part, NEEDS_RUNS},
    {"protect_marker_part", lazy_upper, protect_upper, 0},
    {"protect_giant_part", linear_upper, protect_upper, NEEDS_GIANT},
    {"protect_three", three_areas, protect_three, 0},
    {"protect_none", lazy_touched, protect_to_none, 0},
    {"discard_huge_part", huge_page, discard_part, NEEDS_HUGE},
    {"discard_touched", lazy_touched, discard_all, 0},
    {"clear", three_areas, clear, 0},
    {"migrate", lazy_touched, migrate, 0},
    {"collapse", small_pages, collapse, NEEDS_HUGE},
    {"split_huge", huge_page, split, NEEDS_HUGE},
    {"move_three", three_areas, move_three, 0},
    {"move_touched", lazy_touched, move_whole, 0},
    {"move_huge", huge_page, move_whole, NEEDS_HUGE},
    {"move_huge_part", huge_page, move_part, NEEDS_HUGE},
    {"move_run_part", linear_run, move_part, NEEDS_RUNS},
    {"move_marker_part", lazy_upper, move_upper, 0},
    {"move_giant_part", linear_upper, move_upper, NEEDS_GIANT | OPERATION_LONG},
    {"split_linear", linear_block, split, NEEDS_HUGE},
    {"fault", lazy_touched, fault_near, 0},
    {"fault_first", lazy_area, fault_near, 0},
    {"fault_upper", lazy_upper, fault_upper, 0},
    {"fault_far", lazy_far, fault_far, 0},
    {"fault_ticket", fetched_upper, fault_ticket, OPERATION_PARTIAL}, /* tables that try made stay */
    {"populate", lazy_area, populate, OPERATION_PARTIAL},
    {"write", lazy_area, write_page, 0},
    {"read", lazy_area, read_pages, OPERATION_PARTIAL},
    {"compare_exchange", lazy_area, swap, 0},
    {"pin", lazy_touched, pin, OPERATION_PARTIAL},
    {"pin_first", lazy_area, pin, OPERATION_PARTIAL},
    {"write_logged", lazy_area, write_logged, OPERATION_LOGS},
    {"write_logged_huge", huge_page, write_logged, NEEDS_HUGE | OPERATION_LOGS},
    {"segments", lazy_area, segments, OPERATION_PARTIAL},
    {"map_shared", shared_beside_lazy, map_shared, 0},
    {"fault_shared", shared_area, fault_near, 0},
    {"fault_private", private_area, fault_near, 0},
    {"fault_private_read", private_read, fault_near, 0},
    {"unmap_private_part", private_read, unmap_part, 0},
    {"protect_private", private_read, protect_part, 0},
    {"discard_private", private_read, discard_all, 0},
    {"clear_shared", shared_area, clear, 0},
};
const size_t operation_count = sizeof(operations) / sizeof(operations[0]);
