/* SPDX-License-Identifier: BSD-2-Clause */
/* Mapping and unmapping of every kind; what is refused, and that what is read back is what was asked for. */
#include <string.h>

#include "suites.h"

static const enum aspace_kind kinds[] = {ASPACE_KIND_LINEAR, ASPACE_KIND_EAGER,    ASPACE_KIND_LAZY, ASPACE_KIND_TRAP,
                                         ASPACE_KIND_ROM,    ASPACE_KIND_RESERVED, ASPACE_KIND_GUARD};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static struct aspace_map of_kind(const struct env *env, enum aspace_kind kind, uint64_t va, uint64_t size)
{
    struct aspace_map m = request(kind, va, size, env->rw);

    m.cookie = 0xc00c1e;
    if (kind == ASPACE_KIND_LINEAR || kind == ASPACE_KIND_ROM) {
        m.pa = device_pa(env, size) + va % env->span[2];
    }
    if (kind == ASPACE_KIND_ROM) {
        m.rights = env->ro;
    }
    return m;
}

static bool has_leaf_at_once(enum aspace_kind kind)
{
    return kind == ASPACE_KIND_LINEAR || kind == ASPACE_KIND_EAGER || kind == ASPACE_KIND_ROM;
}

/* ------------------------------------------------------------------------------------------------------- every kind */

static void check_kind(struct env *env, const struct aspace_map *m)
{
    for (uint64_t va = m->va; va < m->va + m->size; va += PAGE) {
        struct aspace_area area = query(env, va);
        CHECK_EQ(area.kind, m->kind);
        CHECK_EQ(area.rights, m->rights);
        CHECK_EQ(area.max_rights, m->rights);
        CHECK_EQ(area.cookie, m->cookie);
        CHECK_EQ(area.fork, m->fork);
        CHECK(area.id != 0);
        if (m->kind == ASPACE_KIND_LINEAR || m->kind == ASPACE_KIND_ROM) {
            CHECK_EQ(area.pa, m->pa + (area.va - m->va));
            expect_leaf(env, va, m->pa + (va - m->va), m->rights);
            expect_leaf(env, va + PAGE - 1, m->pa + (va - m->va) + PAGE - 1, m->rights);
        } else {
            CHECK_EQ(area.pa, ASPACE_PA_NONE);
            CHECK_EQ(agree(env, va).present, has_leaf_at_once(m->kind));
        }
    }
}

static void map_kinds(struct env *env)
{
    uint64_t va = at(env, 1, 0) + PAGE;
    uint64_t last = 0;

    for (unsigned k = 0; k < KINDS; k++, va += 4 * PAGE) {
        struct aspace_map m = of_kind(env, kinds[k], va, 3 * PAGE);
        CHECK_OK(aspace_map(env->space, &m, NULL));
        check_kind(env, &m);
        CHECK(query(env, va).id != last);
        last = query(env, va).id;
        CHECK(!mapped(env, va + 3 * PAGE));
        expect_absent(env, va + 3 * PAGE);
        audit(env);
    }
    CHECK_OK(aspace_unmap(env->space, at(env, 1, 0), KINDS * 4 * PAGE));
    CHECK_EQ(frames_held(env), 0);
}

static void expect_fault(struct env *env, uint64_t va, uint32_t access, enum aspace_fault_result expected)
{
    struct aspace_fault_info info = {0, 0, 0};
    struct aspace_area area = query(env, va);

    CHECK_FAULT(aspace_fault(env->space, va, access, &info), expected);
    if (expected == ASPACE_FAULT_TRAP) {
        CHECK_EQ(info.cookie, area.cookie);
    }
    if (expected == ASPACE_FAULT_TRAP || expected == ASPACE_FAULT_GUARD || expected == ASPACE_FAULT_PERMISSION) {
        CHECK_EQ(info.area_id, area.id);
    }
}

static void fault_of_kinds(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    enum aspace_fault_result expected[KINDS][2] = {
        {ASPACE_FAULT_SPURIOUS, ASPACE_FAULT_SPURIOUS}, {ASPACE_FAULT_SPURIOUS, ASPACE_FAULT_SPURIOUS},
        {ASPACE_FAULT_DONE, ASPACE_FAULT_SPURIOUS},     {ASPACE_FAULT_TRAP, ASPACE_FAULT_TRAP},
        {ASPACE_FAULT_SPURIOUS, ASPACE_FAULT_TRAP},     {ASPACE_FAULT_PERMISSION, ASPACE_FAULT_PERMISSION},
        {ASPACE_FAULT_GUARD, ASPACE_FAULT_GUARD},
    };

    for (unsigned k = 0; k < KINDS; k++, va += 2 * PAGE) {
        struct aspace_map m = of_kind(env, kinds[k], va, PAGE);
        CHECK_OK(aspace_map(env->space, &m, NULL));
        expect_fault(env, va, ASPACE_R, expected[k][0]);
        expect_fault(env, va, ASPACE_W, expected[k][1]);
        CHECK_FAULT(aspace_fault(env->space, va + PAGE, ASPACE_R, NULL), ASPACE_FAULT_NO_AREA);
    }
    CHECK_FAULT(aspace_fault(env->space, env->end, ASPACE_R, NULL), ASPACE_FAULT_NO_AREA);
    CHECK_FAULT(aspace_fault(env->space, UINT64_MAX, ASPACE_W, NULL), ASPACE_FAULT_NO_AREA);
}

/* The offset that a trap reports counts from where the mapping began, also when its front is gone. */
static void trap_offset(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    struct aspace_map m = of_kind(env, ASPACE_KIND_TRAP, va, 4 * PAGE);
    struct aspace_fault_info info;

    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_OK(aspace_unmap(env->space, va, 2 * PAGE));
    CHECK_FAULT(aspace_fault(env->space, va + 3 * PAGE + 0x123, ASPACE_W, &info), ASPACE_FAULT_TRAP);
    CHECK_EQ(info.offset, 3 * PAGE + 0x123);
    CHECK_EQ(info.cookie, m.cookie);
    expect_absent(env, va + 3 * PAGE);
}

/* ----------------------------------------------------------------------------------------------------- bad requests */

static void refuse(struct env *env, const struct aspace_map *m, int expected)
{
    struct aspace_range culprit = {1, 2};
    int error = aspace_map(env->space, m, &culprit);

    if (error != expected) {
        test_fail(__FILE__, __LINE__, "map of 0x%llx+0x%llx, kind %d, rights %u: %s, not %s", (unsigned long long)m->va,
                  (unsigned long long)m->size, (int)m->kind, m->rights, aspace_error_name(error),
                  aspace_error_name(expected));
    }
}

static void refuse_range(struct env *env, enum aspace_kind kind, uint64_t va, uint64_t size, int expected)
{
    struct aspace_map m = of_kind(env, kind, va, PAGE);

    m.size = size;
    refuse(env, &m, expected);
}

static void map_bad_range(struct env *env)
{
    uint64_t va = at(env, 0, 1);
    struct snapshot *before = snapshot_take(env);

    for (unsigned k = 0; k < KINDS; k++) {
        refuse_range(env, kinds[k], va, 0, ASPACE_E_INVALID);
        refuse_range(env, kinds[k], va, PAGE / 2, ASPACE_E_INVALID);
        refuse_range(env, kinds[k], va, PAGE + 1, ASPACE_E_INVALID);
        refuse_range(env, kinds[k], va + 8, PAGE, ASPACE_E_INVALID);
        refuse_range(env, kinds[k], env->end, PAGE, ASPACE_E_RANGE);
        refuse_range(env, kinds[k], env->end - PAGE, 2 * PAGE, ASPACE_E_RANGE);
        refuse_range(env, kinds[k], env->base, env->end - env->base + PAGE, ASPACE_E_RANGE);
        refuse_range(env, kinds[k], UINT64_MAX - PAGE + 1, PAGE, ASPACE_E_RANGE);
        refuse_range(env, kinds[k], va, UINT64_MAX - PAGE + 1, ASPACE_E_RANGE);
        if (env->base != 0) {
            refuse_range(env, kinds[k], env->base - PAGE, 2 * PAGE, ASPACE_E_RANGE);
            refuse_range(env, kinds[k], 0, PAGE, ASPACE_E_RANGE);
        }
    }
    snapshot_same(env, before, "refused maps");
    snapshot_free(before);
}

static void map_bad_values(struct env *env)
{
    uint64_t va = at(env, 0, 1);
    struct aspace_map m = request_linear(va, 2 * PAGE, env->rw, device_pa(env, PAGE) + 8);
    struct aspace_range culprit;

    refuse(env, &m, ASPACE_E_INVALID);
    m.pa = naive_output_end(&env->config);
    refuse(env, &m, ASPACE_E_RANGE);
    m.pa = highest_pa(env, PAGE);
    refuse(env, &m, ASPACE_E_RANGE);
    m.pa = UINT64_MAX - PAGE + 1;
    refuse(env, &m, ASPACE_E_RANGE);
    m = request((enum aspace_kind)(ASPACE_KIND_CUSTOM + 1), va, PAGE, env->rw);
    refuse(env, &m, ASPACE_E_INVALID);
    m.kind = ASPACE_KIND_CUSTOM; /* without a backend */
    refuse(env, &m, ASPACE_E_INVALID);
    m = request(ASPACE_KIND_LAZY, va, PAGE, env->rw);
    m.max_rights = env->ro; /* less than the rights */
    CHECK(aspace_map(env->space, &m, &culprit) != ASPACE_OK);
    m = request(ASPACE_KIND_LAZY, va, PAGE, env->rw);
    m.attr = ASPACE_ATTR_COUNT;
    CHECK(aspace_map(env->space, &m, &culprit) != ASPACE_OK);
    m.attr = 0;
    m.rights |= 0x100;
    CHECK(aspace_map(env->space, &m, &culprit) != ASPACE_OK);
    CHECK(!mapped(env, va));
}

static void range_arguments(struct env *env)
{
    uint64_t va = at(env, 0, 1), done;
    struct aspace_translation t;
    struct aspace_area area;

    do_map(env, ASPACE_KIND_EAGER, va, 2 * PAGE, env->rw);
    struct snapshot *before = snapshot_take(env);
    const struct {
        uint64_t va, size;
        int error;
    } bad[] = {
        {va, 0, ASPACE_E_INVALID},
        {va, PAGE + 1, ASPACE_E_INVALID},
        {va + 1, PAGE, ASPACE_E_INVALID},
        {env->end, PAGE, ASPACE_E_RANGE},
        {va, UINT64_MAX - PAGE + 1, ASPACE_E_RANGE},
        {env->end - PAGE, 2 * PAGE, ASPACE_E_RANGE},
        {UINT64_MAX - PAGE + 1, PAGE, ASPACE_E_RANGE},
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_ERROR(aspace_unmap(env->space, bad[i].va, bad[i].size), bad[i].error);
        CHECK_ERROR(aspace_protect(env->space, bad[i].va, bad[i].size, env->ro), bad[i].error);
        CHECK_ERROR(aspace_discard(env->space, bad[i].va, bad[i].size), bad[i].error);
        CHECK_ERROR(aspace_populate(env->space, bad[i].va, bad[i].size, &done), bad[i].error);
    }
    CHECK_ERROR(aspace_translate(env->space, env->end, &t), ASPACE_E_RANGE);
    CHECK_ERROR(aspace_translate(env->space, UINT64_MAX, &t), ASPACE_E_RANGE);
    CHECK_ERROR(aspace_query(env->space, env->end, &area), ASPACE_E_RANGE);
    CHECK_ERROR(aspace_migrate(env->space, env->end, ASPACE_PA_NONE), ASPACE_E_RANGE);
    CHECK_ERROR(aspace_split(env->space, env->end), ASPACE_E_RANGE);
    CHECK_ERROR(aspace_collapse(env->space, env->end, 1), ASPACE_E_RANGE);
    if (env->base != 0) {
        CHECK_ERROR(aspace_translate(env->space, env->base - 1, &t), ASPACE_E_RANGE);
        CHECK_ERROR(aspace_unmap(env->space, env->base - PAGE, PAGE), ASPACE_E_RANGE);
    }
    snapshot_same(env, before, "bad ranges");
    snapshot_free(before);
}

/* ----------------------------------------------------------------------------------------------------------- EXISTS */

static void expect_exists(struct env *env, const struct aspace_map *m, uint64_t there, uint64_t there_size)
{
    struct aspace_range culprit = {0, 0};

    CHECK_ERROR(aspace_map(env->space, m, &culprit), ASPACE_E_EXISTS);
    CHECK(culprit.size != 0);
    CHECK(culprit.va < m->va + m->size && m->va < culprit.va + culprit.size);      /* it is in the way */
    CHECK(culprit.va >= there && culprit.va + culprit.size <= there + there_size); /* and it is mapped */
    CHECK_ERROR(aspace_map(env->space, m, NULL), ASPACE_E_EXISTS);
}

static void map_exists(struct env *env)
{
    uint64_t va = at(env, 1, 1);

    for (unsigned there = 0; there < KINDS; there++) {
        struct aspace_map old = of_kind(env, kinds[there], va, 2 * PAGE);
        CHECK_OK(aspace_map(env->space, &old, NULL));
        struct snapshot *before = snapshot_take(env);
        for (unsigned k = 0; k < KINDS; k++) {
            struct aspace_map m = of_kind(env, kinds[k], va, 2 * PAGE);
            expect_exists(env, &m, va, 2 * PAGE);
            m = of_kind(env, kinds[k], va - PAGE, 2 * PAGE);
            expect_exists(env, &m, va, 2 * PAGE);
            m = of_kind(env, kinds[k], va + PAGE, 2 * PAGE);
            expect_exists(env, &m, va, 2 * PAGE);
            m = of_kind(env, kinds[k], va - PAGE, 4 * PAGE);
            expect_exists(env, &m, va, 2 * PAGE);
        }
        snapshot_same(env, before, "refused maps");
        snapshot_free(before);
        CHECK_OK(aspace_unmap(env->space, va, 2 * PAGE));
    }
}

/* ------------------------------------------------------------------------------------------------------ round trips */

static void rights_round_trip(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    for (uint32_t rights = 1; rights < 16; rights++) {
        struct aspace_map m = request_linear(va, PAGE, rights, device_pa(env, PAGE));
        struct aspace_map lazy = request(ASPACE_KIND_LAZY, va + PAGE, PAGE, rights);
        if (!expressible(env, rights)) {
            refuse(env, &m, ASPACE_E_UNSUPPORTED);
            refuse(env, &lazy, ASPACE_E_UNSUPPORTED);
            continue;
        }
        CHECK_OK(aspace_map(env->space, &m, NULL));
        CHECK_OK(aspace_map(env->space, &lazy, NULL));
        expect_leaf(env, va, m.pa, rights);
        CHECK_EQ(query(env, va).rights, rights);
        uint32_t access = (rights & ASPACE_R) ? ASPACE_R : (rights & ASPACE_W) ? ASPACE_W : ASPACE_X;
        touch(env, va + PAGE, access | (rights & ASPACE_U));
        CHECK_EQ(agree(env, va + PAGE).rights, rights);
        CHECK_EQ(query(env, va + PAGE).rights, rights);
        CHECK_OK(aspace_unmap(env->space, va, 2 * PAGE));
    }
}

/* Which faults are spurious, and which are refused, follows the rights exactly. */
static void rights_decide_faults(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    for (uint32_t rights = 1; rights < 8; rights++) {
        if (!expressible(env, rights)) {
            continue;
        }
        do_linear(env, va, PAGE, rights, device_pa(env, PAGE));
        do_map(env, ASPACE_KIND_LAZY, va + PAGE, PAGE, rights);
        for (uint32_t access = ASPACE_R; access <= ASPACE_X; access <<= 1) {
            CHECK_FAULT(aspace_fault(env->space, va, access, NULL),
                        (rights & access) ? ASPACE_FAULT_SPURIOUS : ASPACE_FAULT_PERMISSION);
            enum aspace_fault_result lazy = aspace_fault(env->space, va + PAGE, access, NULL);
            CHECK((rights & access) ? lazy == ASPACE_FAULT_DONE || lazy == ASPACE_FAULT_SPURIOUS
                                    : lazy == ASPACE_FAULT_PERMISSION);
        }
        CHECK_OK(aspace_unmap(env->space, va, 2 * PAGE));
    }
}

/* Frames that are there before anybody may use them: small, and as large as can be. */
static void rights_come_later(struct env *env)
{
    uint64_t va = at(env, 1, 1) - 4 * PAGE, size = env->span[1] + 8 * PAGE, pa = device_pa(env, 2 * size);
    struct aspace_map m = request_linear(va, size, 0, pa - pa % env->span[1] + env->span[1] - 4 * PAGE);

    m.max_rights = env->rw;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    audit(env);
    for (uint64_t n = 0; n < size / PAGE; n++) {
        expect_absent(env, va + n * PAGE);
    }
    CHECK_OK(aspace_protect(env->space, va, size, env->rw));
    for (uint64_t n = 0; n < size / PAGE; n++) {
        expect_leaf(env, va + n * PAGE, m.pa + n * PAGE, env->rw);
    }
    CHECK_OK(aspace_unmap(env->space, va, size));
    m = request(ASPACE_KIND_EAGER, va, 6 * PAGE, 0);
    m.max_rights = env->rw;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    expect_absent(env, va + PAGE);
    CHECK_EQ(frames_held(env), 6);
    CHECK_FAULT(aspace_fault(env->space, va + PAGE, ASPACE_R, NULL), ASPACE_FAULT_PERMISSION);
    CHECK_OK(aspace_protect(env->space, va, 6 * PAGE, env->rw));
    CHECK_EQ(peek(env, va + PAGE), 0);
    audit(env);
}

static void attr_round_trip(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    for (uint32_t attr = 0; attr < 2 * ASPACE_ATTR_ENCRYPTED; attr++) {
        for (unsigned level = 0; level <= env->huge_level && level < 2; level++) {
            struct aspace_map m = request_linear(va, env->span[level], env->rw, device_pa(env, env->span[level]));
            m.attr = attr;
            if (!attr_expressible(env, attr)) {
                int error = aspace_map(env->space, &m, NULL);
                CHECK(error == ASPACE_E_UNSUPPORTED || error == ASPACE_E_INVALID);
                CHECK(error == ASPACE_E_UNSUPPORTED || (attr & 15) >= ASPACE_ATTR_COUNT);
                CHECK(!mapped(env, va));
                continue;
            }
            CHECK_OK(aspace_map(env->space, &m, NULL));
            CHECK_EQ(agree(env, va).attr, attr_class(env, attr));
            CHECK_EQ(walk(env, va).leaf_bytes, env->span[level]);
            CHECK_EQ(attr_class(env, query(env, va).attr), attr_class(env, attr));
            CHECK_OK(aspace_unmap(env->space, va, env->span[level]));
        }
    }
}

/* Attributes and rights are kept through protect, split and fill. */
static void attr_survives(struct env *env)
{
    uint64_t va = at(env, 1, 1), size = env->span[1];

    for (uint32_t attr = 0; attr < ASPACE_ATTR_COUNT; attr++) {
        if (!attr_expressible(env, attr)) {
            continue;
        }
        struct aspace_map m = request_linear(va, size, env->rw, device_pa(env, size));
        m.attr = attr;
        CHECK_OK(aspace_map(env->space, &m, NULL));
        CHECK_OK(aspace_protect(env->space, va + PAGE, PAGE, env->ro));
        CHECK_OK(aspace_protect(env->space, va + 2 * PAGE, PAGE, 0));
        CHECK_OK(aspace_protect(env->space, va + 2 * PAGE, PAGE, env->rw));
        for (unsigned n = 0; n < 4; n++) {
            CHECK_EQ(agree(env, va + n * PAGE).attr, attr_class(env, attr));
            expect_leaf(env, va + n * PAGE, m.pa + n * PAGE, n == 1 ? env->ro : env->rw);
        }
        CHECK_OK(aspace_unmap(env->space, va, size));
    }
}

/* ---------------------------------------------------------------------------------------------- addresses at limits */

/* Output above input, below it, at the format's last frame, at zero; every leaf size. */
static void linear_offsets(struct env *env)
{
    uint64_t va = at(env, 1, 1), size = env->span[1];
    const uint64_t pa[] = {0, highest_pa(env, size), device_pa(env, size), highest_pa(env, size + PAGE)};

    for (unsigned i = 0; i < sizeof(pa) / sizeof(pa[0]); i++) {
        do_linear(env, va, size, env->rw, pa[i]);
        expect_leaf(env, va, pa[i], env->rw);
        expect_leaf(env, va + size - 1, pa[i] + size - 1, env->rw);
        bool large = env->huge_level >= 1 && pa[i] % size == 0;
        CHECK_EQ(walk(env, va).leaf_bytes == size, large);
        CHECK_EQ(query(env, va + PAGE).pa, pa[i] + (query(env, va + PAGE).va - va));
        CHECK_OK(aspace_unmap(env->space, va, size));
    }
}

/* The first and last page of the space are as good as any. */
static void first_and_last(struct env *env)
{
    const uint64_t pages[] = {env->base, env->end - PAGE};

    for (unsigned i = 0; i < 2; i++) {
        do_map(env, ASPACE_KIND_LAZY, pages[i], PAGE, env->rw);
        touch(env, pages[i] + PAGE - 1, ASPACE_W);
        poke(env, pages[i] + PAGE - 8, 42 + i);
        CHECK_EQ(agree(env, pages[i] + PAGE - 1).pa % PAGE, PAGE - 1);
        CHECK_EQ(peek(env, pages[i] + PAGE - 8), 42 + i);
    }
    struct snapshot *all = snapshot_take(env);
    snapshot_same(env, all, "nothing");
    snapshot_free(all);
    CHECK_OK(aspace_unmap(env->space, env->base, env->end - env->base));
    CHECK_EQ(frames_held(env), 0);
}

/* One map over the whole space, lazily, costs a few slots, and every byte of it belongs to it. */
static void whole_space(struct env *env)
{
    uint64_t size = env->end - env->base;
    struct aspace_area area;

    do_map(env, ASPACE_KIND_LAZY, env->base, size, env->rw);
    CHECK_OK(aspace_next(env->space, env->base, &area));
    CHECK_EQ(area.va, env->base);
    CHECK_EQ(area.size, size);
    poke(env, env->base, 1);
    poke(env, env->end - 8, 2);
    poke(env, at(env, 0, size / PAGE / 2), 3);
    CHECK_EQ(peek(env, env->base), 1);
    CHECK_EQ(peek(env, env->end - 8), 2);
    CHECK(frames_held(env) >= 3);
    struct aspace_map m = request(ASPACE_KIND_RESERVED, env->end - PAGE, PAGE, env->rw);
    expect_exists(env, &m, env->base, size);
    CHECK_OK(aspace_unmap(env->space, env->base, size));
    CHECK_EQ(frames_held(env), 0);
}

/* -------------------------------------------------------------------------------------------------------- unmapping */

/* Areas of many kinds with holes between them; what is outside of the range stays. */
static void unmap_shapes(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    enum { PAGES = 12 };

    for (unsigned from = 0; from < PAGES; from += 2) {
        for (unsigned to = from + 1; to <= PAGES; to += 3) {
            do_map(env, ASPACE_KIND_EAGER, va, 3 * PAGE, env->rw);
            do_map(env, ASPACE_KIND_LAZY, va + 4 * PAGE, 3 * PAGE, env->rw);
            do_linear(env, va + 7 * PAGE, 2 * PAGE, env->rw, device_pa(env, PAGE));
            do_map(env, ASPACE_KIND_TRAP, va + 10 * PAGE, 2 * PAGE, env->rw);
            touch(env, va + 5 * PAGE, ASPACE_W);
            CHECK_OK(aspace_unmap(env->space, va + from * PAGE, (to - from) * PAGE));
            for (unsigned n = 0; n < PAGES; n++) {
                bool hole = n == 3 || n == 9, gone = n >= from && n < to;
                bool leaf = n < 3 || n == 5 || n == 7 || n == 8;
                CHECK_EQ(mapped(env, va + n * PAGE), !hole && !gone);
                CHECK_EQ(agree(env, va + n * PAGE).present, leaf && !gone);
            }
            CHECK_OK(aspace_unmap(env->space, va, PAGES * PAGE));
            CHECK_EQ(frames_held(env), 0);
        }
    }
    CHECK_OK(aspace_unmap(env->space, va, PAGES * PAGE));
}

/* What was unmapped can be mapped again, otherwise, and shows nothing of what was there. */
static void unmap_and_map(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    for (unsigned round = 0; round < 6; round++) {
        do_map(env, round % 2 ? ASPACE_KIND_EAGER : ASPACE_KIND_LAZY, va, 2 * PAGE, env->rw);
        CHECK_EQ(peek(env, va + PAGE), 0);
        poke(env, va + PAGE, 0x1234 + round);
        CHECK_EQ(peek(env, va + PAGE), 0x1234 + round);
        CHECK_OK(aspace_unmap(env->space, va, 2 * PAGE));
        CHECK_FAULT(aspace_fault(env->space, va, ASPACE_R, NULL), ASPACE_FAULT_NO_AREA);
    }
}

/* ------------------------------------------------------------------------------------------------ replace and batch */

static void replace(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    do_map(env, ASPACE_KIND_EAGER, va, 4 * PAGE, env->rw);
    do_map(env, ASPACE_KIND_LAZY, va + 4 * PAGE, PAGE, env->rw);
    do_linear(env, va + 6 * PAGE, 3 * PAGE, env->rw, device_pa(env, PAGE));
    struct aspace_map m = request(ASPACE_KIND_EAGER, va + 2 * PAGE, 6 * PAGE, env->ro);
    m.flags = ASPACE_MAP_REPLACE;
    m.cookie = 99;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    for (unsigned n = 0; n < 9; n++) {
        bool inside = n >= 2 && n < 8;
        CHECK_EQ(query(env, va + n * PAGE).cookie, inside ? 99 : 0);
        CHECK_EQ(agree(env, va + n * PAGE).rights, inside ? env->ro : env->rw);
    }
    CHECK_EQ(frames_held(env), 2 + 6);
    CHECK_EQ(agree(env, va + 8 * PAGE).pa, device_pa(env, PAGE) + 2 * PAGE);
    m.va = va + 12 * PAGE; /* over nothing it is a plain map */
    CHECK_OK(aspace_map(env->space, &m, NULL));
}

static void batch(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    struct aspace_range culprit = {0, 0};
    struct aspace_map m[4] = {
        request(ASPACE_KIND_EAGER, va + 6 * PAGE, 2 * PAGE, env->rw),
        request(ASPACE_KIND_LAZY, va, 2 * PAGE, env->rw),
        request_linear(va + 2 * PAGE, PAGE, env->rw, device_pa(env, PAGE)),
        request(ASPACE_KIND_TRAP, va + 9 * PAGE, PAGE, env->rw),
    };

    CHECK_OK(aspace_map_batch(env->space, m, 4, &culprit));
    CHECK_EQ(query(env, va).kind, ASPACE_KIND_LAZY);
    CHECK_EQ(query(env, va + 2 * PAGE).kind, ASPACE_KIND_LINEAR);
    CHECK_EQ(query(env, va + 7 * PAGE).kind, ASPACE_KIND_EAGER);
    CHECK_EQ(query(env, va + 9 * PAGE).kind, ASPACE_KIND_TRAP);
    expect_leaf(env, va + 2 * PAGE, device_pa(env, PAGE), env->rw);
    CHECK(agree(env, va + 6 * PAGE).present);
    CHECK(!mapped(env, va + 3 * PAGE) && !mapped(env, va + 8 * PAGE));
}

static void batch_refused(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    struct aspace_range culprit = {0, 0};
    struct aspace_map m[3];

    do_map(env, ASPACE_KIND_LAZY, va + 4 * PAGE, PAGE, env->rw);
    struct snapshot *before = snapshot_take(env);
    for (unsigned bad = 0; bad < 4; bad++) {
        m[0] = request(ASPACE_KIND_EAGER, va, 2 * PAGE, env->rw);
        m[1] = request(ASPACE_KIND_LAZY, va + 6 * PAGE, 2 * PAGE, env->rw);
        m[2] = request(ASPACE_KIND_LAZY, va + 2 * PAGE, PAGE, env->rw);
        int expected = ASPACE_E_INVALID;
        switch (bad) {
        case 0:
            m[2].size = 3 * PAGE; /* runs into what is there */
            expected = ASPACE_E_EXISTS;
            break;
        case 1:
            m[2].va = va + PAGE; /* overlaps the first */
            break;
        case 2: m[2].flags = ASPACE_MAP_REPLACE; break;
        default:
            m[2].va = env->end;
            expected = ASPACE_E_RANGE;
            break;
        }
        CHECK_ERROR(aspace_map_batch(env->space, m, 3, &culprit), expected);
        if (bad == 0) {
            CHECK(culprit.va == va + 4 * PAGE && culprit.size == PAGE);
        }
        snapshot_same(env, before, "a refused batch");
    }
    snapshot_free(before);
}

static const struct test tests[] = {
    {"map_kinds", map_kinds, 0},
    {"fault_of_kinds", fault_of_kinds, 0},
    {"trap_offset", trap_offset, 0},
    {"map_bad_range", map_bad_range, 0},
    {"map_bad_values", map_bad_values, 0},
    {"range_arguments", range_arguments, 0},
    {"map_exists", map_exists, 0},
    {"rights_round_trip", rights_round_trip, 0},
    {"rights_decide_faults", rights_decide_faults, 0},
    {"rights_come_later", rights_come_later, NEEDS_ROOM},
    {"attr_round_trip", attr_round_trip, 0},
    {"attr_survives", attr_survives, 0},
    {"linear_offsets", linear_offsets, 0},
    {"first_and_last", first_and_last, 0},
    {"whole_space", whole_space, 0},
    {"unmap_shapes", unmap_shapes, 0},
    {"unmap_and_map", unmap_and_map, 0},
    {"replace", replace, 0},
    {"batch", batch, 0},
    {"batch_refused", batch_refused, 0},
};
const struct suite mapping_suite = SUITE(tests);
