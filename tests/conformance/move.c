/* SPDX-License-Identifier: BSD-2-Clause */
/* Moves: what was in one place is in another, all of it and nothing else, and at no time in both. */
#include <string.h>

#include "suites.h"

enum { MIXED = 14 };

/* The n-th distance that is tried, forth and back; 0: no more of them. */
static uint64_t distance(const struct env *env, unsigned n, uint64_t va, uint64_t size)
{
    const uint64_t all[] = {size,
                            size + 3 * PAGE,
                            size > env->span[1] ? 2 * size : env->span[1] * 4,
                            size + env->span[1] + 5 * PAGE,
                            env->span[2] + size,
                            2 * env->span[2],
                            2 * env->span[2] + env->span[1],
                            2 * env->span[2] - PAGE};

    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i] >= size && all[i] < env->end - va && size <= env->end - va - all[i] && n-- == 0) {
            return all[i];
        }
    }
    return 0;
}

/* --------------------------------------------------------------------------------------------------- of every kind */

static struct {
    uint64_t pa[MIXED];
    struct aspace_area area[MIXED];
    int error[MIXED];
} mixed;

/* Fourteen pages: eager, hole, lazy (one filled, one parked), linear, trap, rom, guard, reserved. */
static void map_mixed(struct env *env, uint64_t va)
{
    struct aspace_map trap = request(ASPACE_KIND_TRAP, va + 8 * PAGE, 2 * PAGE, env->rw);
    struct aspace_map rom = request(ASPACE_KIND_ROM, va + 10 * PAGE, PAGE, env->ro);

    trap.cookie = 0x7a9;
    rom.pa = device_pa(env, 64 * PAGE) + 40 * PAGE;
    do_map(env, ASPACE_KIND_EAGER, va, 2 * PAGE, env->rw);
    do_map(env, ASPACE_KIND_LAZY, va + 3 * PAGE, 3 * PAGE, env->rw);
    do_linear(env, va + 6 * PAGE, 2 * PAGE, env->rw, device_pa(env, 64 * PAGE));
    CHECK_OK(aspace_map(env->space, &trap, NULL));
    CHECK_OK(aspace_map(env->space, &rom, NULL));
    do_map(env, ASPACE_KIND_GUARD, va + 11 * PAGE, PAGE, env->rw);
    do_map(env, ASPACE_KIND_RESERVED, va + 12 * PAGE, 2 * PAGE, env->rw);
    poke(env, va, 100);
    poke(env, va + PAGE, 101);
    poke(env, va + 4 * PAGE, 104);
    poke(env, va + 5 * PAGE, 105);
    CHECK_OK(aspace_protect(env->space, va + 5 * PAGE, PAGE, 0));
    for (unsigned n = 0; n < MIXED; n++) {
        mixed.pa[n] = walk(env, va + n * PAGE).present ? walk(env, va + n * PAGE).pa : 0;
        mixed.error[n] = aspace_query(env->space, va + n * PAGE, &mixed.area[n]);
        mixed.area[n].offset += va + n * PAGE - mixed.area[n].va;
    }
}

static void same_page(struct env *env, unsigned n, uint64_t va)
{
    struct aspace_area area;
    struct naive_result r = agree(env, va);

    CHECK_EQ(r.present ? r.pa : 0, mixed.pa[n]);
    CHECK_ERROR(aspace_query(env->space, va, &area), mixed.error[n]);
    if (mixed.error[n] == ASPACE_OK) {
        CHECK_EQ(area.kind, mixed.area[n].kind);
        CHECK_EQ(area.rights, mixed.area[n].rights);
        CHECK_EQ(area.max_rights, mixed.area[n].max_rights);
        CHECK_EQ(area.cookie, mixed.area[n].cookie);
        CHECK_EQ(area.offset + (va - area.va), mixed.area[n].offset);
    }
}

/* What the moved pages [first, end) are good for. */
static void use_mixed(struct env *env, uint64_t va, unsigned first, unsigned end)
{
    struct aspace_fault_info info;

    for (unsigned n = first; n < end; n++) {
        uint64_t page = va + n * PAGE;
        switch (n) {
        case 0:
        case 1:
        case 4: CHECK_EQ(peek(env, page), 100 + n); break;
        case 3: CHECK_EQ(peek(env, page), 0); break;
        case 5:
            CHECK_FAULT(aspace_fault(env->space, page, ASPACE_R, NULL), ASPACE_FAULT_PERMISSION);
            CHECK_OK(aspace_protect(env->space, page, PAGE, env->rw));
            CHECK_EQ(peek(env, page), 105);
            break;
        case 8:
        case 9:
            CHECK_FAULT(aspace_fault(env->space, page + 7, ASPACE_W, &info), ASPACE_FAULT_TRAP);
            CHECK_EQ(info.cookie, 0x7a9);
            CHECK_EQ(info.offset, (n - 8) * PAGE + 7);
            break;
        case 11: CHECK_FAULT(aspace_fault(env->space, page, ASPACE_R, NULL), ASPACE_FAULT_GUARD); break;
        default: break;
        }
    }
}

static void move_mixed(struct env *env, uint64_t va, uint64_t to, unsigned first, unsigned end)
{
    map_mixed(env, va);
    uint64_t frames = frames_held(env);
    CHECK_OK(aspace_move(env->space, va + first * PAGE, (end - first) * PAGE, to + first * PAGE, NULL));
    audit(env);
    CHECK_EQ(frames_held(env), frames);
    for (unsigned n = 0; n < MIXED; n++) {
        bool moved = n >= first && n < end;
        same_page(env, n, (moved ? to : va) + n * PAGE);
        CHECK(!mapped(env, (moved ? va : to) + n * PAGE));
        expect_absent(env, (moved ? va : to) + n * PAGE);
    }
    use_mixed(env, to, first, end);
    use_mixed(env, va, 0, first);
    audit(env);
    CHECK_OK(aspace_clear(env->space));
    CHECK_EQ(frames_held(env), 0);
}

/* Every part of the fourteen pages, up and down, near and far. */
static void move_kinds(struct env *env)
{
    uint64_t va = at(env, 1, 0) + PAGE, far;

    for (unsigned n = 0; (far = distance(env, n, va, MIXED * PAGE)) != 0; n++) {
        for (unsigned first = 0; first < MIXED; first += n ? 3 : 2) {
            for (unsigned end = first + 1; end <= MIXED; end += n ? 4 : 1) {
                move_mixed(env, va, va + far, first, end);
                move_mixed(env, va + far, va, first, end);
            }
        }
    }
}

/* --------------------------------------------------------------------------------------------------------- refused */

static void move_refused(struct env *env)
{
    uint64_t va = at(env, 1, 0), to = va + 16 * PAGE;
    struct aspace_range culprit = {0, 0};

    do_map(env, ASPACE_KIND_EAGER, va, 4 * PAGE, env->rw);
    do_map(env, ASPACE_KIND_LAZY, va + 4 * PAGE, 4 * PAGE, env->rw);
    do_map(env, ASPACE_KIND_LAZY, to + 3 * PAGE, PAGE, env->rw);
    poke(env, va, 1);
    struct snapshot *before = snapshot_take(env);
    CHECK_ERROR(aspace_move(env->space, va, 8 * PAGE, to, &culprit), ASPACE_E_EXISTS);
    CHECK(culprit.va <= to + 3 * PAGE && culprit.va + culprit.size > to + 3 * PAGE);
    CHECK_ERROR(aspace_move(env->space, va, 8 * PAGE, to, NULL), ASPACE_E_EXISTS);
    CHECK_ERROR(aspace_move(env->space, va, 2 * PAGE, va + 4 * PAGE, &culprit), ASPACE_E_EXISTS);
    CHECK_ERROR(aspace_move(env->space, to, 4 * PAGE, va + PAGE, &culprit), ASPACE_E_EXISTS);
    CHECK_ERROR(aspace_move(env->space, va, 4 * PAGE, va, NULL), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_move(env->space, va, 4 * PAGE, va + 3 * PAGE, NULL), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_move(env->space, va + PAGE, 4 * PAGE, va, NULL), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_move(env->space, va, 0, to, NULL), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_move(env->space, va + 1, PAGE, to, NULL), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_move(env->space, va, PAGE, to + 1, NULL), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_move(env->space, va, PAGE + 1, to, NULL), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_move(env->space, va, PAGE, env->end, NULL), ASPACE_E_RANGE);
    CHECK_ERROR(aspace_move(env->space, va, 2 * PAGE, env->end - PAGE, NULL), ASPACE_E_RANGE);
    CHECK_ERROR(aspace_move(env->space, env->end - PAGE, 2 * PAGE, va, NULL), ASPACE_E_RANGE);
    snapshot_same(env, before, "a refused move");
    CHECK_OK(aspace_move(env->space, to + 4 * PAGE, 2 * PAGE, to, NULL)); /* nothing there: nothing moves */
    snapshot_same(env, before, "a move of nothing");
    snapshot_free(before);
    aspace_close(env->space);
    CHECK_ERROR(aspace_move(env->space, va, PAGE, to, NULL), ASPACE_E_CLOSED);
}

/* Both places in one marker, or in one large leaf: it is in the way of itself. */
static void move_within_one(struct env *env)
{
    uint64_t va = at(env, 2, 0), big = env->span[1];
    struct aspace_range culprit = {0, 0};

    do_map(env, ASPACE_KIND_LAZY, va, env->span[2], env->rw);
    struct snapshot *before = snapshot_take(env);
    CHECK_ERROR(aspace_move(env->space, va + PAGE, PAGE, va + big + PAGE, &culprit), ASPACE_E_EXISTS);
    CHECK(culprit.size != 0);
    CHECK_ERROR(aspace_move(env->space, va + big + PAGE, PAGE, va, &culprit), ASPACE_E_EXISTS);
    CHECK_ERROR(aspace_move(env->space, va, big, va + big, &culprit), ASPACE_E_EXISTS);
    snapshot_same(env, before, "a refused move");
    snapshot_free(before);
}

/* ---------------------------------------------------------------------------------------------------- large leaves */

static void large_moved(struct env *env, uint64_t va, uint64_t to, uint64_t pa)
{
    uint64_t big = env->span[1], size = (va ^ to) & (big - 1) ? env->run_pages * PAGE : big;

    for (uint64_t off = 0; off < big; off += PAGE) {
        expect_leaf(env, to + off, pa + off, env->rw);
        CHECK(agree(env, to + off).leaf_bytes <= size);
        CHECK(!mapped(env, va + off));
    }
    CHECK(size != big || agree(env, to).leaf_bytes == big);
}

static void move_large(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 1), far;

    for (unsigned n = 0; (far = distance(env, n, va, big)) != 0; n++) {
        do_map(env, ASPACE_KIND_EAGER, va, big, env->rw);
        uint64_t pa = agree(env, va).pa;
        poke(env, va + big / 2, 0x1a49e);
        CHECK_EQ(agree(env, va).leaf_bytes, big);
        CHECK_OK(aspace_move(env->space, va, big, va + far, NULL));
        audit(env);
        large_moved(env, va, va + far, pa);
        CHECK_OK(aspace_move(env->space, va + far, big, va, NULL));
        audit(env);
        CHECK_EQ(agree(env, va + big / 2).pa, pa + big / 2);
        CHECK_EQ(peek(env, va + big / 2), 0x1a49e);
        CHECK_EQ(frames_held(env), big / PAGE);
        CHECK_OK(aspace_clear(env->space));
        CHECK_EQ(frames_held(env), 0);
    }
}

/* A part leaves: the rest stays where it is, in smaller leaves. Also without rights. */
static void move_large_part(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 1), to = va + 4 * big;

    for (unsigned parked = 0; parked < 2; parked++) {
        do_map(env, ASPACE_KIND_EAGER, va, big, env->rw);
        uint64_t pa = agree(env, va).pa;
        CHECK_OK(parked ? aspace_protect(env->space, va, big, 0) : ASPACE_OK);
        CHECK_OK(aspace_move(env->space, va + PAGE, PAGE, to, NULL));
        CHECK_OK(aspace_move(env->space, va + 2 * PAGE, big - 2 * PAGE, to + 2 * PAGE, NULL));
        audit(env);
        CHECK_OK(parked ? aspace_protect(env->space, to, PAGE, env->rw) : ASPACE_OK);
        CHECK_OK(parked ? aspace_protect(env->space, to + 2 * PAGE, big - 2 * PAGE, env->rw) : ASPACE_OK);
        CHECK_OK(parked ? aspace_protect(env->space, va, PAGE, env->rw) : ASPACE_OK);
        expect_leaf(env, va, pa, env->rw);
        expect_leaf(env, to, pa + PAGE, env->rw);
        CHECK(!mapped(env, va + PAGE) && !mapped(env, to + PAGE));
        for (uint64_t off = 2 * PAGE; off < big; off += PAGE) {
            expect_leaf(env, to + off, pa + off, env->rw);
            CHECK(!mapped(env, va + off));
        }
        CHECK_OK(aspace_clear(env->space));
        CHECK_EQ(frames_held(env), 0);
    }
}

/* Of a giant leaf: as one, in large ones, and by a page. */
static void move_giant(struct env *env)
{
    uint64_t giant = env->span[2], big = env->span[1], va = at(env, 2, 0), to = at(env, 2, 2);
    uint64_t pa = naive_output_end(&env->config) / 2;

    do_linear(env, va, giant, env->rw, pa);
    CHECK_OK(aspace_move(env->space, va, giant, to, NULL));
    CHECK_EQ(agree(env, to).leaf_bytes, giant);
    CHECK_OK(aspace_move(env->space, to, giant, va + big, NULL));
    audit(env);
    CHECK_EQ(agree(env, va + big).leaf_bytes, big);
    expect_leaf(env, va + big, pa, env->rw);
    expect_leaf(env, va + big + giant - 1, pa + giant - 1, env->rw);
    CHECK(!mapped(env, to + big) && !mapped(env, va));
    CHECK_OK(aspace_clear(env->space));
    do_linear(env, va, giant, env->rw, pa);
    CHECK_OK(aspace_move(env->space, va + big, giant - big, to + PAGE, NULL));
    audit(env);
    expect_leaf(env, to + PAGE, pa + big, env->rw);
    expect_leaf(env, to + PAGE + giant - big - 1, pa + giant - 1, env->rw);
    expect_leaf(env, va + big - 1, pa + big - 1, env->rw);
    CHECK(!mapped(env, va + big) && !mapped(env, to));
}

/* A run stays one where it can be one; a part of it leaves the rest small. */
static void move_runs(struct env *env)
{
    uint64_t run = env->run_pages * PAGE, va = at(env, 1, 1), to = at(env, 1, 2) + run;
    uint64_t pa = device_pa(env, 8 * env->span[1]);

    do_linear(env, va, run, env->rw, pa);
    CHECK_EQ(agree(env, va).leaf_bytes, run);
    CHECK_OK(aspace_move(env->space, va, run, to, NULL));
    audit(env);
    CHECK_EQ(agree(env, to).leaf_bytes, run);
    expect_leaf(env, to + run - PAGE, pa + run - PAGE, env->rw);
    CHECK_OK(aspace_move(env->space, to, run, va + PAGE, NULL));
    audit(env);
    CHECK_EQ(agree(env, va + PAGE).leaf_bytes, PAGE);
    CHECK_OK(aspace_clear(env->space));
    do_linear(env, va, run, env->rw, pa);
    CHECK_OK(aspace_move(env->space, va, PAGE, to, NULL));
    audit(env);
    for (uint64_t off = 0; off < run; off += PAGE) {
        expect_leaf(env, (off ? va : to) + off, pa + off, env->rw);
        CHECK_EQ(agree(env, (off ? va : to) + off).leaf_bytes, PAGE);
    }
}

/* --------------------------------------------------------------------------------------------------------- markers */

/* Much that is not filled costs a few tables, wherever it goes, and can be touched there. */
static void move_markers(struct env *env)
{
    uint64_t giant = env->span[2], va = at(env, 2, 0), size = 2 * giant, far;

    for (unsigned n = 0; (far = distance(env, n, va, size)) != 0; n++) {
        uint64_t empty = tables_held(env);
        do_map(env, ASPACE_KIND_LAZY, va, size, env->rw);
        poke(env, va + giant - PAGE, 7);
        CHECK_OK(aspace_move(env->space, va, size, va + far, NULL));
        audit(env);
        CHECK(tables_held(env) <= empty + 3 * env->levels);
        CHECK(!mapped(env, va) && !mapped(env, va + far - PAGE) && mapped(env, va + far));
        CHECK(mapped(env, va + far + size - PAGE));
        CHECK(va + far + size == env->end || !mapped(env, va + far + size));
        CHECK_EQ(peek(env, va + far + giant - PAGE), 7);
        CHECK_EQ(peek(env, va + far), 0);
        CHECK_EQ(peek(env, va + far + size - 8), 0);
        CHECK_OK(aspace_move(env->space, va + far + PAGE, size - 2 * PAGE, va + PAGE, NULL));
        audit(env);
        CHECK_EQ(peek(env, va + giant - PAGE), 7);
        CHECK_EQ(peek(env, va + giant), 0);
        CHECK(mapped(env, va + far) && !mapped(env, va + far + PAGE) && !mapped(env, va));
        CHECK_OK(aspace_clear(env->space));
        (void)aspace_sweep(env->space, SIZE_MAX);
        CHECK_EQ(tables_held(env), empty);
    }
}

/* More areas than fit into a table's own segments, in both places. */
static void move_many_areas(struct env *env)
{
    uint64_t va = at(env, 1, 0), far;

    for (unsigned n = 0; (far = distance(env, n, va, 12 * PAGE)) != 0; n++) {
        for (unsigned i = 0; i < 12; i++) {
            struct aspace_map m = request(ASPACE_KIND_LAZY, va + i * PAGE, PAGE, env->rw);
            m.cookie = i + 1;
            CHECK_OK(aspace_map(env->space, &m, NULL));
            poke(env, va + i * PAGE, i);
        }
        CHECK_OK(aspace_move(env->space, va + PAGE, 10 * PAGE, va + far + PAGE, NULL));
        audit(env);
        for (unsigned i = 0; i < 12; i++) {
            uint64_t page = va + i * PAGE + (i >= 1 && i < 11 ? far : 0);
            CHECK_EQ(query(env, page).cookie, i + 1);
            CHECK_EQ(peek(env, page), i);
        }
        CHECK_OK(aspace_clear(env->space));
        CHECK_EQ(frames_held(env), 0);
    }
}

/* ------------------------------------------------------------------------------------------------------------ CPUs */

static void move_reaches_cpus(struct env *env)
{
    uint64_t va = at(env, 1, 0), to = va + 8 * PAGE;

    cpu_enter(env, 1);
    cpu_enter(env, 2);
    do_map(env, ASPACE_KIND_LAZY, va, 3 * PAGE, env->rw);
    uint64_t pa = cpu_run(env, 1, va, ASPACE_W);
    CHECK_EQ(cpu_run(env, 2, va, ASPACE_R), pa);
    CHECK_OK(aspace_move(env->space, va, 3 * PAGE, to, NULL));
    for (unsigned cpu = 1; cpu <= 2; cpu++) {
        CHECK_EQ(cpu_access(env, cpu, va, ASPACE_R), ASPACE_PA_NONE);
        CHECK_EQ(cpu_run(env, cpu, to, ASPACE_W), pa);
    }
    do_map(env, ASPACE_KIND_LAZY, va, 3 * PAGE, env->rw);
    CHECK(cpu_run(env, 1, va, ASPACE_W) != pa);
}

static struct {
    uint64_t va, to, pa;
    unsigned calls, wrong;
} flight;

/* While the invalidation is in flight the page is in no place for who looks, and in the new one for nobody. */
static void in_flight(struct env *env)
{
    struct aspace_translation t;

    flight.calls++;
    uint64_t old = cpu_access(env, 1, flight.va, ASPACE_W);
    flight.wrong += old != ASPACE_PA_NONE && old != flight.pa;
    flight.wrong += cpu_access(env, 1, flight.to, ASPACE_R) != ASPACE_PA_NONE;
    aspace_linux_set_cpu(2);
    CHECK_ERROR(aspace_translate(env->space, flight.va, &t), ASPACE_E_RETRY);
    CHECK_FAULT(aspace_fault(env->space, flight.va, ASPACE_W, NULL), ASPACE_FAULT_RETRY);
    CHECK_ERROR(aspace_translate(env->space, flight.to, &t), ASPACE_E_NOT_MAPPED);
    aspace_linux_set_cpu(0);
}

/* A part of a table, and tables that move with all they hold. */
static void move_in_flight(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 1);

    cpu_enter(env, 1);
    for (unsigned whole = 0; whole < 2; whole++) {
        uint64_t size = whole ? big : 2 * PAGE;
        struct aspace_map m = request(ASPACE_KIND_LAZY, va, size, env->rw);
        m.max_leaf_level = 1;
        CHECK_OK(aspace_map(env->space, &m, NULL));
        memset(&flight, 0, sizeof(flight));
        flight.va = va + PAGE;
        flight.to = va + 2 * big + PAGE;
        flight.pa = cpu_run(env, 1, va + PAGE, ASPACE_W);
        env->window = in_flight;
        CHECK_OK(aspace_move(env->space, va, size, va + 2 * big, NULL));
        env->window = NULL;
        CHECK_EQ(flight.calls, 1);
        CHECK_EQ(flight.wrong, 0);
        CHECK_EQ(cpu_access(env, 1, flight.va, ASPACE_W), ASPACE_PA_NONE);
        CHECK_EQ(cpu_run(env, 1, flight.to, ASPACE_W), flight.pa);
        CHECK_OK(aspace_clear(env->space));
    }
}

/* What hardware recorded goes along; it is neither lost nor made up. */
static void move_keeps_used(struct env *env)
{
    uint64_t va = at(env, 1, 0), to = va + 8 * PAGE, before[3];

    do_map(env, ASPACE_KIND_EAGER, va, 3 * PAGE, env->rw);
    for (unsigned n = 0; n < 3; n++) {
        uint64_t *entry = aspace_phys_to_virt(walk(env, va + n * PAGE).entry_pa);
        *entry = n == 0 ? *entry : naive_used(&env->config, *entry, n == 2);
        before[n] = *entry;
    }
    CHECK_OK(aspace_move(env->space, va, 3 * PAGE, to, NULL));
    for (unsigned n = 0; n < 3; n++) {
        CHECK_EQ(*(uint64_t *)aspace_phys_to_virt(walk(env, to + n * PAGE).entry_pa), before[n]);
    }
    CHECK_OK(aspace_protect(env->space, to, 3 * PAGE, 0));
    CHECK_OK(aspace_move(env->space, to, 3 * PAGE, va, NULL));
    CHECK_OK(aspace_protect(env->space, va, 3 * PAGE, env->rw));
    for (unsigned n = 0; n < 3; n++) {
        CHECK_EQ(*(uint64_t *)aspace_phys_to_virt(walk(env, va + n * PAGE).entry_pa), before[n]);
    }
}

/* -------------------------------------------------------------------------------------------------------- backends */

struct object {
    struct aspace_frame page[4];
    unsigned fills, releases, gone;
    uint64_t wrong, id;
};

static enum aspace_fault_result object_fill(const struct aspace_fill *fill, struct aspace_page *page)
{
    struct object *o = fill->ctx;

    o->fills++;
    page->pa = o->page[fill->offset / PAGE].pa;
    page->order = 0;
    page->rights = fill->offset / PAGE == 3 ? fill->rights & ~(uint32_t)ASPACE_W : 0;
    return ASPACE_FAULT_DONE;
}

static void object_release(void *ctx, uint64_t offset, aspace_pa_t pa, unsigned order)
{
    struct object *o = ctx;

    o->releases++;
    o->wrong += order != 0 || o->page[offset / PAGE].pa != pa;
}

static void object_unmapped(void *ctx, uint64_t area_id)
{
    struct object *o = ctx;

    o->gone++;
    o->wrong += area_id != o->id;
}

static const struct aspace_backend object_backend = {
    .name = "moved", .fill = object_fill, .release = object_release, .unmapped = object_unmapped};

/* The object's pages keep their offsets, nothing is released or filled for a move, and the end is told once. */
static void move_custom(struct env *env)
{
    uint64_t va = at(env, 1, 0), a = va + 8 * PAGE, b = va + 16 * PAGE;
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, va, 4 * PAGE, env->rw);
    struct object o = {.fills = 0};

    for (unsigned n = 0; n < 4; n++) {
        CHECK_OK(aspace_frame_alloc(env->host, 0, true, &o.page[n]));
        aspace_frame_fill(&o.page[n], (uint8_t)(n + 1));
    }
    m.backend = &object_backend;
    m.backend_ctx = &o;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    o.id = query(env, va).id;
    touch(env, va + PAGE, ASPACE_R);
    touch(env, va + 3 * PAGE, ASPACE_R);
    CHECK_OK(aspace_move(env->space, va + PAGE, 3 * PAGE, a, NULL));
    CHECK_OK(aspace_move(env->space, a + PAGE, 2 * PAGE, b, NULL));
    CHECK(query(env, a).id != o.id && query(env, b).id != query(env, a).id);
    CHECK_EQ(query(env, b + PAGE).offset + (b + PAGE - query(env, b + PAGE).va), 3 * PAGE);
    CHECK_EQ(o.fills, 2);
    CHECK_EQ(peek(env, a), UINT64_C(0x0202020202020202));
    CHECK_EQ(peek(env, b), UINT64_C(0x0303030303030303));
    CHECK_EQ(peek(env, b + PAGE), UINT64_C(0x0404040404040404));
    CHECK_EQ(agree(env, b + PAGE).rights & ASPACE_W, 0);
    CHECK_EQ(o.fills, 3);
    CHECK_OK(aspace_unmap(env->space, va, PAGE));
    CHECK_OK(aspace_unmap(env->space, a, PAGE));
    aspace_trim(env->host);
    CHECK_EQ(o.releases, 1);
    CHECK_EQ(o.gone, 0);
    CHECK_OK(aspace_discard(env->space, b, PAGE));
    CHECK_OK(aspace_unmap(env->space, b, 2 * PAGE));
    aspace_trim(env->host);
    CHECK_EQ(o.releases, 3);
    CHECK_EQ(o.gone, 1);
    CHECK_EQ(o.wrong, 0);
    for (unsigned n = 0; n < 4; n++) {
        aspace_frame_release(&o.page[n]);
    }
}

/* However often a mapping moves, it costs what one costs. */
static void move_custom_again(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, at(env, 1, 0), 2 * PAGE, env->rw);
    struct object o = {.fills = 0};
    uint64_t to = m.va + 8 * PAGE, frames = 0;

    m.backend = &object_backend;
    m.backend_ctx = &o;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    o.id = query(env, m.va).id;
    for (unsigned n = 0; n < 4000; n++) {
        CHECK_OK(aspace_move(env->space, n % 2 ? to : m.va, 2 * PAGE, n % 2 ? m.va : to, NULL));
        if (n == 100) {
            aspace_trim(env->host);
            frames = ledger(env).frames;
        }
    }
    aspace_trim(env->host);
    CHECK(ledger(env).frames <= frames + 64); /* one chunk */
    CHECK_EQ(o.gone, 0);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    CHECK_EQ(o.gone, 1);
    CHECK_EQ(o.wrong, 0);
}

static void move_doorbells(struct env *env)
{
    static const struct aspace_doorbell bells[] = {{.offset = 0x1008, .any_value = true, .cookie = 4}};
    uint64_t va = at(env, 1, 0), to = va + 8 * PAGE, cookie = 0;
    struct aspace_map m = request(ASPACE_KIND_TRAP, va, 2 * PAGE, env->rw);

    m.doorbells = bells;
    m.doorbell_count = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_OK(aspace_move(env->space, va + PAGE, PAGE, to, NULL));
    CHECK_OK(aspace_doorbell_match(env->space, to + 8, 4, 1, &cookie));
    CHECK_EQ(cookie, 4);
    CHECK_ERROR(aspace_doorbell_match(env->space, va + 0x1008, 4, 1, &cookie), ASPACE_E_NOT_MAPPED);
}

static void bell_in_flight(struct env *env)
{
    uint64_t cookie = 0;

    flight.calls++;
    aspace_linux_set_cpu(2);
    CHECK_ERROR(aspace_doorbell_match(env->space, flight.va, 4, 1, &cookie), ASPACE_E_RETRY);
    CHECK_ERROR(aspace_doorbell_match(env->space, flight.to, 4, 1, &cookie), ASPACE_E_NOT_MAPPED);
    aspace_linux_set_cpu(0);
}

/* A doorbell that is moved beside memory is not missed: who rings is told to look again. */
static void move_doorbells_in_flight(struct env *env)
{
    static const struct aspace_doorbell bell = {.any_value = true, .cookie = 4};
    uint64_t va = at(env, 1, 0), to = va + 8 * PAGE, cookie = 0;
    struct aspace_map m = request(ASPACE_KIND_TRAP, va, PAGE, env->rw);

    m.doorbells = &bell;
    m.doorbell_count = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    do_map(env, ASPACE_KIND_LAZY, va + PAGE, PAGE, env->rw);
    cpu_enter(env, 1);
    (void)cpu_run(env, 1, va + PAGE, ASPACE_W);
    memset(&flight, 0, sizeof(flight));
    flight.va = va;
    flight.to = to;
    env->window = bell_in_flight;
    CHECK_OK(aspace_move(env->space, va, 2 * PAGE, to, NULL));
    env->window = NULL;
    CHECK_EQ(flight.calls, 1);
    CHECK_OK(aspace_doorbell_match(env->space, to, 4, 1, &cookie));
    CHECK_EQ(cookie, 4);
}

static const struct test tests[] = {
    {"move_kinds", move_kinds, NEEDS_FEW},
    {"move_refused", move_refused, 0},
    {"move_within_one", move_within_one, 0},
    {"move_large", move_large, NEEDS_HUGE},
    {"move_large_part", move_large_part, NEEDS_HUGE},
    {"move_giant", move_giant, NEEDS_GIANT},
    {"move_runs", move_runs, NEEDS_RUNS},
    {"move_markers", move_markers, 0},
    {"move_many_areas", move_many_areas, 0},
    {"move_reaches_cpus", move_reaches_cpus, 0},
    {"move_in_flight", move_in_flight, NEEDS_SAMPLE | DELAYED},
    {"move_doorbells_in_flight", move_doorbells_in_flight, NEEDS_SAMPLE | DELAYED},
    {"move_keeps_used", move_keeps_used, 0},
    {"move_custom", move_custom, 0},
    {"move_custom_again", move_custom_again, NEEDS_SAMPLE},
    {"move_doorbells", move_doorbells, 0},
};
const struct suite move_suite = SUITE(tests);
