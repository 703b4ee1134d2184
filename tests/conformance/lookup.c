/* SPDX-License-Identifier: BSD-2-Clause */
/* Looking up: translate and its limit against the naive walker, listing of areas, finding room. */
#include <string.h>

#include "suites.h"

/* ---------------------------------------------------------------------------------------------- translate and limit */

/* A layout with every kind of neighbour: contiguous, not contiguous, other rights, holes, unfilled. Pages from `va`. */
enum { LAYOUT_PAGES = 18 };

static void build_layout(struct env *env, uint64_t va)
{
    uint64_t pa = device_pa(env, LAYOUT_PAGES * PAGE);

    do_linear(env, va, 3 * PAGE, env->rw, pa);
    do_linear(env, va + 3 * PAGE, 2 * PAGE, env->rw, pa + 3 * PAGE); /* another area, contiguous */
    do_linear(env, va + 5 * PAGE, 2 * PAGE, env->ro, pa + 5 * PAGE); /* contiguous, other rights */
    do_linear(env, va + 7 * PAGE, 2 * PAGE, env->ro, pa + 8 * PAGE); /* not contiguous */
    do_map(env, ASPACE_KIND_LAZY, va + 10 * PAGE, 3 * PAGE, env->rw);
    touch(env, va + 11 * PAGE, ASPACE_W);
    do_map(env, ASPACE_KIND_EAGER, va + 13 * PAGE, 2 * PAGE, env->rw);
    do_map(env, ASPACE_KIND_TRAP, va + 15 * PAGE, PAGE, env->rw);
    do_linear(env, va + 16 * PAGE, 2 * PAGE, env->rw, pa);
}

static uint64_t naive_limit(struct env *env, uint64_t va, uint64_t cap)
{
    struct naive_result first = walk(env, va);
    uint64_t n = 0;

    while (n < cap && va + n < env->end) {
        struct naive_result r = walk(env, va + n);
        if (!r.present || r.rights != first.rights || r.attr != first.attr || r.pa != first.pa + n) {
            break;
        }
        n += PAGE - (va + n) % PAGE;
    }
    return n < cap ? n : cap;
}

static void check_limit(struct env *env, uint64_t va, uint64_t cap)
{
    struct aspace_translation t;
    int error = aspace_translate_limit(env->space, va, cap, &t);

    if (!walk(env, va).present) {
        CHECK_ERROR(error, ASPACE_E_NOT_MAPPED);
        return;
    }
    CHECK_OK(error);
    CHECK_EQ(t.pa, walk(env, va).pa);
    CHECK_EQ(t.length, naive_limit(env, va, cap));
}

static void limit_everywhere(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    const uint64_t caps[] = {1, 8, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 5 * PAGE + 9, UINT64_MAX};
    struct aspace_translation t;

    build_layout(env, va);
    for (unsigned page = 0; page <= LAYOUT_PAGES; page++) {
        for (unsigned c = 0; c < sizeof(caps) / sizeof(caps[0]); c++) {
            check_limit(env, va + page * PAGE, caps[c]);
            check_limit(env, va + page * PAGE + 1, caps[c]);
            check_limit(env, va + page * PAGE + PAGE - 1, caps[c]);
        }
        agree(env, va + page * PAGE);
        agree(env, va + page * PAGE + PAGE - 1);
    }
    CHECK_ERROR(aspace_translate_limit(env->space, va, 0, &t), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_translate_limit(env->space, env->end, 1, &t), ASPACE_E_RANGE);
}

/* Over the borders of tables and of leaves of different sizes. */
static void limit_across_tables(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 1) - 2 * PAGE;
    uint64_t pa = device_pa(env, 4 * big) + big - 2 * PAGE;

    do_linear(env, va, big + 4 * PAGE, env->rw, pa);
    check_limit(env, va, UINT64_MAX);
    check_limit(env, va + PAGE + 5, UINT64_MAX);
    check_limit(env, va + 2 * PAGE, big);
    check_limit(env, va + 2 * PAGE + big - 1, UINT64_MAX);
    struct aspace_translation t;
    CHECK_OK(aspace_translate_limit(env->space, va, UINT64_MAX, &t));
    CHECK_EQ(t.length, big + 4 * PAGE);
    CHECK_OK(aspace_unmap(env->space, va + 3 * PAGE, PAGE));
    CHECK_OK(aspace_translate_limit(env->space, va, UINT64_MAX, &t));
    CHECK_EQ(t.length, 3 * PAGE);
}

/* The first page of a table is the one that does not go on, with all behind it as if it did. */
static void limit_first_of_table(struct env *env)
{
    uint64_t border = at(env, 1, 1), va = border - 3 * PAGE;
    uint64_t pa = device_pa(env, 16 * PAGE);

    do_linear(env, va, 3 * PAGE, env->rw, pa);
    do_linear(env, border + PAGE, 2 * PAGE, env->rw, pa + 4 * PAGE);
    check_limit(env, va, 6 * PAGE);
    check_limit(env, va + PAGE + 9, 4 * PAGE);
    do_linear(env, border, PAGE, env->rw, pa + 8 * PAGE); /* mapped, and not contiguous */
    check_limit(env, va, 6 * PAGE);
    CHECK_OK(aspace_unmap(env->space, border, PAGE));
    do_linear(env, border, PAGE, env->ro, pa + 3 * PAGE); /* contiguous, other rights */
    check_limit(env, va, 6 * PAGE);
    check_limit(env, border - 1, 2);
}

/* To the very last byte of the space, without running over. */
static void limit_at_end(struct env *env)
{
    struct aspace_translation t;

    do_linear(env, env->end - 2 * PAGE, 2 * PAGE, env->rw, highest_pa(env, 2 * PAGE));
    CHECK_OK(aspace_translate_limit(env->space, env->end - PAGE - 1, UINT64_MAX, &t));
    CHECK_EQ(t.length, PAGE + 1);
    CHECK_OK(aspace_translate_limit(env->space, env->end - 1, UINT64_MAX, &t));
    CHECK_EQ(t.length, 1);
    CHECK_EQ(t.pa, highest_pa(env, PAGE) + PAGE - 1);
}

/* At both sides of every border of every level that the space has, there is what was mapped and nothing else. */
static void translate_borders(struct env *env)
{
    for (unsigned level = 1; level < env->levels; level++) {
        uint64_t span = env->span[level];
        uint64_t va = (env->base / span + 1) * span;
        if (va >= env->end - 2 * PAGE || va < env->base + 2 * PAGE) {
            continue;
        }
        uint64_t pa = device_pa(env, 4 * PAGE);
        do_linear(env, va - PAGE, 2 * PAGE, env->rw, pa);
        expect_absent(env, va - PAGE - 1);
        expect_leaf(env, va - PAGE, pa, env->rw);
        expect_leaf(env, va - 1, pa + PAGE - 1, env->rw);
        expect_leaf(env, va, pa + PAGE, env->rw);
        expect_leaf(env, va + PAGE - 1, pa + 2 * PAGE - 1, env->rw);
        expect_absent(env, va + PAGE);
        uint64_t alias = va ^ (env->span[env->levels - 1]); /* the same indices below another root entry */
        if (alias >= env->base && alias < env->end && level < env->levels - 1) {
            expect_absent(env, alias);
        }
        CHECK_OK(aspace_unmap(env->space, va - PAGE, 2 * PAGE));
        expect_absent(env, va - 1);
        expect_absent(env, va);
    }
}

/* --------------------------------------------------------------------------------------------------- query and next */

static void check_query(struct env *env, uint64_t va, uint64_t size)
{
    struct aspace_area area;

    for (uint64_t page = va; page < va + size; page += PAGE) {
        CHECK_OK(aspace_query(env->space, page + 7, &area));
        CHECK_EQ(area.va, va);
        CHECK_EQ(area.size, size);
    }
}

/* More stretches in a table than its short list holds: areas of a page and of two, at both ends of the table too. */
static void query_many_in_a_table(struct env *env)
{
    uint64_t va = at(env, 1, 0), pages = env->span[1] / PAGE, pa = device_pa(env, 64 * PAGE);
    struct aspace_area area;

    if (pages < 32) {
        return;
    }
    const uint64_t first[] = {0, 3, 5, 8, 11, 14, pages - 6, pages - 2}, count[] = {2, 1, 2, 1, 3, 1, 1, 2};
    for (unsigned i = 0; i < 8; i++) {
        do_linear(env, va + first[i] * PAGE, count[i] * PAGE, env->rw, pa + 7 * i * PAGE);
    }
    for (unsigned i = 0; i < 8; i++) {
        check_query(env, va + first[i] * PAGE, count[i] * PAGE);
        CHECK_ERROR(aspace_query(env->space, va + 2 * PAGE, &area), ASPACE_E_NOT_MAPPED);
    }
    for (unsigned i = 0; i < 8; i++) {
        CHECK_OK(aspace_unmap(env->space, va + first[i] * PAGE, count[i] * PAGE));
        CHECK_ERROR(aspace_query(env->space, va + first[i] * PAGE, &area), ASPACE_E_NOT_MAPPED);
    }
}

static void next_lists(struct env *env)
{
    uint64_t va = at(env, 1, 0), at_va = env->base;
    struct aspace_area area;
    const struct {
        unsigned first, pages;
        enum aspace_kind kind;
        uint32_t rights;
    } expected[] = {
        /* the first two are contiguous in both addresses, so that they are one to a reader */
        {0, 5, ASPACE_KIND_LINEAR, env->rw},  {5, 2, ASPACE_KIND_LINEAR, env->ro}, {7, 2, ASPACE_KIND_LINEAR, env->ro},
        {10, 3, ASPACE_KIND_LAZY, env->rw},   {13, 2, ASPACE_KIND_EAGER, env->rw}, {15, 1, ASPACE_KIND_TRAP, env->rw},
        {16, 2, ASPACE_KIND_LINEAR, env->rw},
    };

    build_layout(env, va);
    for (unsigned i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        CHECK_OK(aspace_next(env->space, at_va, &area));
        CHECK_EQ(area.va, va + expected[i].first * PAGE);
        CHECK_EQ(area.size, expected[i].pages * PAGE);
        CHECK_EQ(area.kind, expected[i].kind);
        CHECK_EQ(area.rights, expected[i].rights);
        at_va = area.va + area.size;
    }
    CHECK_ERROR(aspace_next(env->space, at_va, &area), ASPACE_E_NOT_MAPPED);
}

/* From inside of an area the whole of it is told, as far as it reaches. */
static void next_whole_extent(struct env *env)
{
    uint64_t va = at(env, 1, 1) - 3 * PAGE, size = env->span[1] + 7 * PAGE;
    struct aspace_area area;

    do_map(env, ASPACE_KIND_LAZY, va, size, env->rw);
    touch(env, va + 5 * PAGE, ASPACE_W);
    touch(env, va + size - PAGE, ASPACE_W);
    CHECK_OK(aspace_next(env->space, env->base, &area));
    CHECK_EQ(area.va, va);
    CHECK_EQ(area.size, size);
    CHECK_OK(aspace_protect(env->space, va + PAGE, PAGE, env->ro));
    CHECK_OK(aspace_next(env->space, env->base, &area));
    CHECK_EQ(area.size, PAGE);
    CHECK_OK(aspace_next(env->space, va + PAGE, &area));
    CHECK_EQ(area.va, va + PAGE);
    CHECK_EQ(area.size, PAGE);
    CHECK_EQ(area.rights, env->ro);
    CHECK_OK(aspace_next(env->space, va + 2 * PAGE, &area));
    CHECK_EQ(area.va, va + 2 * PAGE);
    CHECK_EQ(area.size, size - 2 * PAGE);
    CHECK_OK(aspace_protect(env->space, va, size, env->rw)); /* the same again: one */
    CHECK_OK(aspace_next(env->space, env->base, &area));
    CHECK_EQ(area.va, va);
    CHECK_EQ(area.size, size);
}

static void query_fields(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, 4 * PAGE, env->ro);
    struct aspace_area area;

    m.max_rights = env->rw;
    m.fork = ASPACE_FORK_WIPE;
    m.cookie = 0x123456789abcdef0;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_ERROR(aspace_query(env->space, va + 4 * PAGE, &area), ASPACE_E_NOT_MAPPED);
    area = query(env, va + PAGE + 9);
    CHECK_EQ(area.va, va);
    CHECK_EQ(area.size, 4 * PAGE);
    CHECK_EQ(area.rights, env->ro);
    CHECK_EQ(area.max_rights, env->rw);
    CHECK_EQ(area.fork, ASPACE_FORK_WIPE);
    CHECK_EQ(area.cookie, m.cookie);
    CHECK_EQ(area.attr, ASPACE_ATTR_DEFAULT);
    uint64_t id = area.id;
    CHECK_OK(aspace_unmap(env->space, va, 4 * PAGE));
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK(query(env, va).id != id); /* never reused */
}

/* ----------------------------------------------------------------------------------------------------- finding room */

static uint64_t found(struct env *env, const struct aspace_find *find)
{
    uint64_t va = 0;

    CHECK_OK(aspace_find(env->space, find, &va));
    CHECK(aspace_contains(env->space, va, find->size));
    CHECK_EQ(va % (find->align ? find->align : PAGE), 0);
    return va;
}

static void find_first_fit(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    struct aspace_find find = {.size = 2 * PAGE, .hint = va, .limit = {va, 12 * PAGE}};
    uint64_t unused;

    do_map(env, ASPACE_KIND_GUARD, va, PAGE, env->rw);
    do_map(env, ASPACE_KIND_LAZY, va + 2 * PAGE, 2 * PAGE, env->rw); /* a gap of one */
    do_map(env, ASPACE_KIND_EAGER, va + 6 * PAGE, PAGE, env->rw);    /* a gap of two */
    CHECK_EQ(found(env, &find), va + 4 * PAGE);
    find.size = PAGE;
    CHECK_EQ(found(env, &find), va + PAGE);
    find.hint = va + 2 * PAGE;
    CHECK_EQ(found(env, &find), va + 4 * PAGE);
    find.size = 5 * PAGE;
    CHECK_EQ(found(env, &find), va + 7 * PAGE);
    find.size = 6 * PAGE;
    CHECK_ERROR(aspace_find(env->space, &find, &unused), ASPACE_E_LIMIT);
    find.size = PAGE;
    find.hint = va + 11 * PAGE;
    CHECK_EQ(found(env, &find), va + 11 * PAGE);
    find.size = 2 * PAGE; /* none from the hint on: from the other end */
    uint64_t around = found(env, &find);
    CHECK(around >= va && around + find.size <= va + 12 * PAGE && around != va + 11 * PAGE);
    find.flags = ASPACE_FIND_DOWN;
    find.hint = va + 12 * PAGE;
    CHECK_EQ(found(env, &find), va + 10 * PAGE);
    find.hint = va + 6 * PAGE;
    CHECK_EQ(found(env, &find), va + 4 * PAGE);
    find.hint = 0; /* the end of the limit */
    CHECK_EQ(found(env, &find), va + 10 * PAGE);
}

static void find_aligned(struct env *env)
{
    uint64_t span = env->span[1], va = at(env, 1, 0);
    struct aspace_find find = {.size = PAGE, .align = span, .hint = va, .limit = {va, 3 * span}};
    uint64_t unused;

    CHECK_EQ(found(env, &find), va);
    do_map(env, ASPACE_KIND_LAZY, va, PAGE, env->rw);
    CHECK_EQ(found(env, &find), va + span);
    find.flags = ASPACE_FIND_DOWN;
    find.hint = 0;
    CHECK_EQ(found(env, &find), va + 2 * span);
    find.flags = 0;
    find.align = 3 * PAGE;
    CHECK_ERROR(aspace_find(env->space, &find, &unused), ASPACE_E_INVALID);
    find.align = 0;
    find.size = 0;
    CHECK_ERROR(aspace_find(env->space, &find, &unused), ASPACE_E_INVALID);
    find.size = PAGE + 1;
    CHECK_ERROR(aspace_find(env->space, &find, &unused), ASPACE_E_INVALID);
}

/* The whole space, exactly, and one page more than what is left. */
static void find_whole(struct env *env)
{
    uint64_t size = env->end - env->base, unused;
    struct aspace_find find = {.size = size, .hint = env->base};

    CHECK_EQ(found(env, &find), env->base);
    do_map(env, ASPACE_KIND_GUARD, env->end - PAGE, PAGE, env->rw);
    CHECK_ERROR(aspace_find(env->space, &find, &unused), ASPACE_E_LIMIT);
    find.size = size - PAGE;
    CHECK_EQ(found(env, &find), env->base);
    find.size = PAGE;
    find.flags = ASPACE_FIND_DOWN;
    find.hint = 0;
    CHECK_EQ(found(env, &find), env->end - 2 * PAGE);
}

static void map_anywhere(struct env *env)
{
    uint64_t va = at(env, 1, 0), where[4];
    struct aspace_find find = {.size = 2 * PAGE, .hint = va, .limit = {va, 8 * PAGE}};
    struct aspace_map m = request(ASPACE_KIND_EAGER, 1, 1, env->rw); /* its own range is not looked at */

    for (unsigned n = 0; n < 4; n++) {
        CHECK_OK(aspace_map_anywhere(env->space, &m, &find, &where[n]));
        CHECK_EQ(where[n], va + 2 * n * PAGE);
        CHECK_EQ(peek(env, where[n] + PAGE), 0);
    }
    uint64_t unused;
    struct snapshot *before = snapshot_take(env);
    CHECK_ERROR(aspace_map_anywhere(env->space, &m, &find, &unused), ASPACE_E_LIMIT);
    snapshot_same(env, before, "a map without room");
    snapshot_free(before);
    CHECK_OK(aspace_unmap(env->space, where[1], 2 * PAGE));
    CHECK_OK(aspace_map_anywhere(env->space, &m, &find, &unused));
    CHECK_EQ(unused, where[1]);
}

/* Each CPU goes on where its last find ended, and all of them in tables of their own. */
static void find_in_arenas(struct env *env)
{
    struct aspace_find find = {.size = 3 * PAGE, .flags = ASPACE_FIND_ARENA};
    struct aspace_map m = request(ASPACE_KIND_LAZY, 0, 0, env->rw);
    uint64_t last[4] = {0}, va, span = (env->end - env->base) / env->cpus >= 3 * env->span[1] ? env->span[1] : PAGE;

    for (unsigned round = 0; round < 3; round++) {
        for (unsigned n = 0; n < env->cpus; n++) {
            aspace_linux_become(&env->machine, n);
            CHECK_OK(aspace_map_anywhere(env->space, &m, &find, &va));
            CHECK(round == 0 || va == last[n] + find.size);
            for (unsigned k = 0; k < env->cpus; k++) {
                CHECK(k == n || last[k] == 0 || va / span != last[k] / span);
            }
            last[n] = va;
        }
    }
    aspace_linux_become(&env->machine, 0);
    find.hint = env->base + PAGE;
    CHECK_ERROR(aspace_find(env->space, &find, &va), ASPACE_E_INVALID);
    find.hint = 0;
    find.flags |= ASPACE_FIND_DOWN;
    CHECK_ERROR(aspace_find(env->space, &find, &va), ASPACE_E_INVALID);
    find.flags = 4;
    CHECK_ERROR(aspace_find(env->space, &find, &va), ASPACE_E_INVALID);
}

/* One CPU may use all of the limit, the parts of others too; and what it gave up is found again. */
static void find_arena_overflows(struct env *env)
{
    uint64_t va = at(env, 1, 0), where[16], room;
    struct aspace_find find = {.size = PAGE, .flags = ASPACE_FIND_ARENA, .limit = {va, 16 * PAGE}};
    struct aspace_map m = request(ASPACE_KIND_GUARD, 0, 0, env->rw);

    aspace_linux_become(&env->machine, 2);
    for (unsigned n = 0; n < 16; n++) {
        CHECK_OK(aspace_map_anywhere(env->space, &m, &find, &where[n]));
    }
    CHECK_EQ(where[0], va + 8 * PAGE);
    CHECK_ERROR(aspace_find(env->space, &find, &room), ASPACE_E_LIMIT);
    CHECK_OK(aspace_unmap(env->space, where[1], PAGE));
    CHECK_EQ(found(env, &find), where[1]);
    aspace_linux_become(&env->machine, 0);
    CHECK_EQ(found(env, &find), where[1]);
}

/* ------------------------------------------------------------------------------------------- tables, counters, text */

static void tables_needed(struct env *env)
{
    uint64_t va = at(env, 1, 0) + PAGE;

    do_map(env, ASPACE_KIND_GUARD, at(env, 1, 2), PAGE, env->rw); /* what the first map of all needs is there */
    uint64_t tables = tables_held(env);
    uint64_t worst = aspace_tables_needed(env->space, va, env->span[1]);

    CHECK(worst >= env->levels - 1);
    CHECK(worst <= 2 * env->levels + 1);
    CHECK_OK(aspace_reserve_tables(env->host, worst));
    arena_fail_from(&env->machine.arena, 1); /* with that much at hand no allocation is made */
    do_map(env, ASPACE_KIND_LAZY, va, env->span[1], env->rw);
    do_linear(env, va + env->span[1], PAGE, env->rw, device_pa(env, PAGE));
    arena_fail_nth(&env->machine.arena, 0);
    CHECK(tables_held(env) - tables <= worst + 1);
}

static void sweep_reclaims(struct env *env)
{
    uint64_t tables = tables_held(env);

    for (unsigned n = 0; n < 4; n++) {
        do_map(env, ASPACE_KIND_EAGER, at(env, 1, n) + PAGE, PAGE, env->rw);
    }
    CHECK(tables_held(env) > tables);
    for (unsigned n = 0; n < 4; n++) {
        CHECK_OK(aspace_unmap(env->space, at(env, 1, n), env->span[1]));
    }
    for (unsigned n = 0; n < 1000 && tables_held(env) > tables; n++) {
        (void)aspace_sweep(env->space, 4);
    }
    CHECK_EQ(tables_held(env), tables);
}

struct text {
    unsigned lines;
    bool found;
    const char *wanted;
};

static void look_at(void *arg, const char *line)
{
    struct text *text = arg;

    text->lines++;
    text->found |= strstr(line, text->wanted) != NULL;
    CHECK(strchr(line, '\n') == NULL);
}

static void dump_and_why(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    struct text text = {0, false, "linear"};

    build_layout(env, va);
    aspace_dump(env->space, look_at, &text);
    CHECK(text.lines >= 7);
    CHECK(text.found);
    text = (struct text){0, false, ""};
    aspace_why(env->space, va, ASPACE_R, look_at, &text);
    CHECK(text.lines >= 2);
    text = (struct text){0, false, ""};
    aspace_why(env->space, va + 9 * PAGE, ASPACE_W, look_at, &text);
    CHECK(text.lines >= 1);
    text.lines = 0;
    aspace_why(env->space, env->end, ASPACE_W, look_at, &text);
    CHECK(text.lines >= 1);
}

static const struct test tests[] = {
    {"limit_everywhere", limit_everywhere, 0},
    {"limit_across_tables", limit_across_tables, 0},
    {"limit_first_of_table", limit_first_of_table, 0},
    {"query_many_in_a_table", query_many_in_a_table, 0},
    {"limit_at_end", limit_at_end, 0},
    {"translate_borders", translate_borders, 0},
    {"next_lists", next_lists, 0},
    {"next_whole_extent", next_whole_extent, 0},
    {"query_fields", query_fields, 0},
    {"find_first_fit", find_first_fit, 0},
    {"find_aligned", find_aligned, 0},
    {"find_whole", find_whole, 0},
    {"map_anywhere", map_anywhere, 0},
    {"find_in_arenas", find_in_arenas, NEEDS_ROOM},
    {"find_arena_overflows", find_arena_overflows, 0},
    {"tables_needed", tables_needed, 0},
    {"sweep_reclaims", sweep_reclaims, 0},
    {"dump_and_why", dump_and_why, 0},
};
const struct suite lookup_suite = SUITE(tests);
