/* SPDX-License-Identifier: BSD-2-Clause */
/* Large leaves and contiguous runs: where they are used, and that a part of one can be changed without the rest. */
#include <string.h>

#include <aspace/dirty.h>

#include "suites.h"

static uint64_t leaf_at(struct env *env, uint64_t va)
{
    struct naive_result r = agree(env, va);

    return r.present ? r.leaf_bytes : 0;
}

/* -------------------------------------------------------------------------------------------------- choosing leaves */

/* The largest leaf that address, output address and size allow, and never one larger. */
static void linear_leaf_sizes(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 1);
    uint64_t run = env->run_pages * PAGE;

    do_linear(env, va, big, env->rw, device_pa(env, 4 * big));
    CHECK_EQ(leaf_at(env, va + PAGE), big);
    CHECK_OK(aspace_unmap(env->space, va, big));
    do_linear(env, va, big, env->rw, device_pa(env, 4 * big) + PAGE); /* output not aligned */
    CHECK_EQ(leaf_at(env, va + PAGE), PAGE);
    CHECK_OK(aspace_unmap(env->space, va, big));
    do_linear(env, va, big - PAGE, env->rw, device_pa(env, 4 * big)); /* a page short */
    CHECK_EQ(leaf_at(env, va), run <= big - PAGE ? run : PAGE);
    CHECK_EQ(leaf_at(env, va + big - 2 * PAGE), PAGE);
    CHECK_OK(aspace_unmap(env->space, va, big));
    do_linear(env, va - PAGE, big + 2 * PAGE, env->rw, device_pa(env, 4 * big) - PAGE); /* small, large, small */
    CHECK_EQ(leaf_at(env, va - PAGE), PAGE);
    CHECK_EQ(leaf_at(env, va), big);
    CHECK_EQ(leaf_at(env, va + big), PAGE);
    CHECK_EQ(counters(env).mapped[1], 1);
    CHECK_EQ(counters(env).mapped[0], 2);
}

static void linear_limited(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    struct aspace_map m = request_linear(va, env->span[1], env->rw, device_pa(env, env->span[1]));

    m.max_leaf_level = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_EQ(leaf_at(env, va), env->run_pages * PAGE);
}

static void linear_giant(struct env *env)
{
    uint64_t giant = env->span[2], big = env->span[1], va = at(env, 2, 0);
    uint64_t pa = naive_output_end(&env->config) / 2;

    do_linear(env, va, giant, env->rw, pa);
    CHECK_EQ(leaf_at(env, va + big), giant);
    CHECK_OK(aspace_protect(env->space, va + big + PAGE, PAGE, env->ro));
    CHECK_EQ(leaf_at(env, va), big);
    CHECK_EQ(leaf_at(env, va + big + PAGE), PAGE);
    CHECK_EQ(leaf_at(env, va + 2 * big), big);
    expect_leaf(env, va + big + PAGE, pa + big + PAGE, env->ro);
    expect_leaf(env, va + giant - 1, pa + giant - 1, env->rw);
    CHECK_OK(aspace_unmap(env->space, va + big, big));
    expect_absent(env, va + big);
    expect_leaf(env, va + big - 1, pa + big - 1, env->rw);
    expect_leaf(env, va + 2 * big, pa + 2 * big, env->rw);
}

/* Leaves of the largest size that the format has, on either side of a boundary of theirs, and small ones around them.
 * What becomes of a part leaves all others as they are; no operation goes through their pages one by one. */
static void linear_top(struct env *env)
{
    unsigned top = env->top_level;
    uint64_t leaf = env->span[top], below = env->span[top - 1], va = at(env, top, 1), hole = va + leaf - PAGE;
    uint64_t pa = naive_output_end(&env->config) / 2 + leaf;

    (void)at(env, top, 3); /* is there room? */
    do_linear(env, va - PAGE, 2 * leaf + 2 * PAGE, env->rw, pa - PAGE);
    CHECK_EQ(leaf_at(env, va - PAGE), PAGE);
    CHECK_EQ(leaf_at(env, va), leaf);
    CHECK_EQ(leaf_at(env, va + 2 * leaf - PAGE), leaf);
    CHECK_EQ(leaf_at(env, va + 2 * leaf), PAGE);
    CHECK_EQ(counters(env).mapped[top], 2);
    expect_leaf(env, va + leaf + below + PAGE, pa + leaf + below + PAGE, env->rw);
    CHECK_OK(aspace_unmap(env->space, hole, 2 * PAGE)); /* the last page of one, the first of the other */
    expect_absent(env, hole);
    expect_absent(env, hole + PAGE);
    CHECK_EQ(leaf_at(env, va), below);
    CHECK_EQ(leaf_at(env, va + 2 * leaf - PAGE), below);
    expect_leaf(env, hole - PAGE, pa + leaf - 2 * PAGE, env->rw);
    expect_leaf(env, hole + 2 * PAGE, pa + leaf + PAGE, env->rw);
    CHECK_EQ(counters(env).mapped[top], 0);
    CHECK_EQ(counters(env).splits, 2 * top);
    CHECK_OK(aspace_protect(env->space, va, PAGE, env->ro));
    expect_leaf(env, va, pa, env->ro);
    expect_leaf(env, va + PAGE, pa + PAGE, env->rw);
    CHECK_OK(aspace_unmap(env->space, va - PAGE, 2 * leaf + 2 * PAGE));
    expect_absent(env, va);
}

/* The largest leaf is taken to pieces level by level, and put together again from them. */
static void top_split_and_collapse(struct env *env)
{
    unsigned top = env->top_level;
    uint64_t va = at(env, top, 1), pa = naive_output_end(&env->config) / 2, page = va + env->span[top] - PAGE;

    do_linear(env, va, env->span[top], env->rw, pa);
    for (unsigned level = top; level > 0; level--) {
        CHECK_EQ(leaf_at(env, page), env->span[level]);
        CHECK_OK(aspace_split(env->space, page));
    }
    expect_leaf(env, page, pa + env->span[top] - PAGE, env->rw);
    for (unsigned level = 1; level <= top; level++) {
        CHECK_OK(aspace_collapse(env->space, page, level));
        CHECK_EQ(leaf_at(env, page), env->span[level]);
    }
    CHECK_EQ(leaf_at(env, va), env->span[top]);
    expect_leaf(env, page, pa + env->span[top] - PAGE, env->rw);
    CHECK_OK(aspace_protect(env->space, va, env->span[top], env->ro));
    CHECK_EQ(leaf_at(env, page), env->span[top]);
    expect_leaf(env, page, pa + env->span[top] - PAGE, env->ro);
    if (top + 1 < env->levels) {
        CHECK_ERROR(aspace_collapse(env->space, page, top + 1), ASPACE_E_UNSUPPORTED);
    }
}

/* A backend that has nothing yet, and notes what it could have given. */
static enum aspace_fault_result note_order(const struct aspace_fill *fill, struct aspace_page *page)
{
    unsigned *asked = fill->ctx;

    (void)page;
    *asked = fill->max_order;
    return ASPACE_FAULT_NEEDS_IO;
}

/* A frame is never larger than 1 GiB, whatever the format can hold: nobody is asked for one. */
static void top_frames(struct env *env)
{
    static const struct aspace_backend noting = {.name = "noting", .fill = note_order};
    unsigned asked = 0, top = env->top_level;
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, at(env, top, 1), env->span[top], env->rw);

    m.backend = &noting;
    m.backend_ctx = &asked;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_EQ(aspace_fault(env->space, m.va, ASPACE_R, NULL), ASPACE_FAULT_NEEDS_IO);
    CHECK_EQ(PAGE << asked, env->span[env->huge_level]);
    CHECK_OK(aspace_unmap(env->space, m.va, m.size));
    do_map(env, ASPACE_KIND_LAZY, m.va, m.size, env->rw);
    if (top > env->huge_level) { /* a table of unfilled entries that are all alike */
        CHECK_OK(aspace_protect(env->space, m.va, env->span[top - 1], env->ro));
        CHECK_OK(aspace_protect(env->space, m.va, env->span[top - 1], env->rw));
        CHECK_ERROR(aspace_collapse(env->space, m.va, top), ASPACE_E_UNSUPPORTED);
    }
    CHECK_EQ(aspace_fault(env->space, m.va, ASPACE_R, NULL), ASPACE_FAULT_DONE);
    CHECK(leaf_at(env, m.va) <= env->span[env->huge_level]);
}

/* A log that splits gets to the page that was written from a leaf of any size. */
static void top_leaf_in_a_log(struct env *env)
{
    static uint64_t bits[8];
    struct aspace_dirty_config c = {.flags = ASPACE_DIRTY_SPLIT};
    unsigned top = env->top_level;
    uint64_t va = at(env, top, 1), pa = naive_output_end(&env->config) / 2, page = va + env->span[top] - 3 * PAGE,
             count;

    do_linear(env, va, env->span[top], env->rw, pa);
    cpu_enter(env, 1);
    CHECK_OK(aspace_dirty_start(env->space, &c));
    CHECK_EQ(leaf_at(env, page), env->span[top]);
    CHECK_EQ(aspace_fault(env->space, page, ASPACE_W, NULL), ASPACE_FAULT_DONE);
    CHECK_EQ(leaf_at(env, page), PAGE);
    expect_leaf(env, page, pa + env->span[top] - 3 * PAGE, env->rw);
    CHECK_OK(aspace_harvest_dirty(env->space, page - PAGE, 4 * PAGE, bits, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(bits[0], 2);
    CHECK_OK(aspace_dirty_stop(env->space));
    cpu_leave(env, 1);
}

static void eager_huge(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 0);

    do_map(env, ASPACE_KIND_EAGER, va, big + 2 * PAGE, env->rw);
    CHECK_EQ(leaf_at(env, va), big);
    CHECK(leaf_at(env, va + big) <= env->run_pages * PAGE);
    CHECK_EQ(frames_held(env), big / PAGE + 2);
    CHECK_EQ(peek(env, va + big / 2), 0);
    CHECK_EQ(peek(env, va + big - 8), 0);
    CHECK_OK(aspace_unmap(env->space, va, big + 2 * PAGE));
    aspace_trim(env->host);
    CHECK_EQ(ledger(env).data, 0);
}

/* -------------------------------------------------------------------------------------------- parts of large leaves */

/* A page in the middle goes; all others keep frame, rights, contents and what hardware recorded. */
static void huge_unmap_part(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 0), hole = va + big / 2;

    do_map(env, ASPACE_KIND_EAGER, va, big, env->rw);
    for (uint64_t off = 0; off < big; off += PAGE) {
        poke(env, va + off, off + 1);
    }
    uint64_t pa = agree(env, va).pa;
    CHECK_OK(aspace_unmap(env->space, hole, PAGE));
    for (uint64_t off = 0; off < big; off += PAGE) {
        if (va + off == hole) {
            expect_absent(env, hole);
            CHECK(!mapped(env, hole));
        } else {
            expect_leaf(env, va + off, pa + off, env->rw);
            CHECK_EQ(peek(env, va + off), off + 1);
        }
    }
    CHECK_EQ(frames_held(env), big / PAGE - 1);
    CHECK_EQ(counters(env).splits, 1);
    CHECK_OK(aspace_unmap(env->space, va, big));
    aspace_trim(env->host);
    CHECK_EQ(ledger(env).data, 0);
}

static void huge_protect_part(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 0), part = va + PAGE;

    do_map(env, ASPACE_KIND_EAGER, va, big, env->rw);
    poke(env, part, 9);
    uint64_t pa = agree(env, va).pa;
    CHECK_OK(aspace_protect(env->space, part, PAGE, env->ro));
    expect_leaf(env, va, pa, env->rw);
    expect_leaf(env, part, pa + PAGE, env->ro);
    expect_leaf(env, part + PAGE, pa + 2 * PAGE, env->rw);
    CHECK_EQ(peek(env, part), 9);
    CHECK_OK(aspace_protect(env->space, part, PAGE, 0));
    expect_absent(env, part);
    CHECK_OK(aspace_protect(env->space, part, PAGE, env->rw));
    expect_leaf(env, part, pa + PAGE, env->rw);
    CHECK_EQ(peek(env, part), 9);
    CHECK_EQ(frames_held(env), big / PAGE);
}

static void huge_discard_part(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 0), part = va + big - PAGE;

    do_map(env, ASPACE_KIND_EAGER, va, big, env->rw);
    poke(env, va, 8);
    poke(env, part, 9);
    CHECK_OK(aspace_discard(env->space, part, PAGE));
    CHECK_EQ(frames_held(env), big / PAGE - 1);
    CHECK_EQ(peek(env, va), 8);
    CHECK_EQ(peek(env, part), 0);
    CHECK_OK(aspace_discard(env->space, va, big));
    CHECK_EQ(peek(env, va), 0);
}

/* Whole large leaves change as they are. */
static void huge_whole(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 0);

    do_map(env, ASPACE_KIND_EAGER, va, big, env->rw);
    poke(env, va + PAGE, 3);
    CHECK_OK(aspace_protect(env->space, va, big, env->ro));
    CHECK_EQ(leaf_at(env, va), big);
    CHECK_EQ(agree(env, va).rights, env->ro);
    CHECK_OK(aspace_protect(env->space, va, big, 0));
    expect_absent(env, va + PAGE);
    CHECK_OK(aspace_protect(env->space, va, big, env->rw));
    CHECK_EQ(leaf_at(env, va), big);
    CHECK_EQ(peek(env, va + PAGE), 3);
    CHECK_EQ(counters(env).splits, 0);
    CHECK_OK(aspace_unmap(env->space, va, big));
    CHECK_EQ(frames_held(env), 0);
}

/* What hardware recorded for a large leaf holds for each of its parts after a split. */
static void split_keeps_used(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 0);

    for (unsigned state = 0; state < 3; state++) {
        do_map(env, ASPACE_KIND_EAGER, va, big, env->rw);
        uint64_t *entry = aspace_phys_to_virt(walk(env, va).entry_pa);
        *entry = state == 0 ? *entry : naive_used(&env->config, *entry, state == 2);
        CHECK_OK(aspace_split(env->space, va + PAGE));
        for (unsigned n = 0; n < 4; n++) {
            uint64_t small = *(uint64_t *)aspace_phys_to_virt(walk(env, va + n * PAGE).entry_pa);
            CHECK_EQ(leaf_at(env, va + n * PAGE), PAGE);
            CHECK_EQ(naive_used(&env->config, small, state == 2) == small, state != 0);
            CHECK_EQ(naive_used(&env->config, small, true) == small, state == 2);
        }
        CHECK_OK(aspace_unmap(env->space, va, big));
    }
}

/* A large leaf where small pages were: their table is gone, and not in the way. */
static void huge_after_small(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 0);
    uint64_t tables = tables_held(env);

    for (unsigned round = 0; round < 3; round++) {
        for (unsigned n = 0; n < 4; n++) {
            do_map(env, ASPACE_KIND_EAGER, va + n * PAGE, PAGE, env->rw);
        }
        CHECK_OK(aspace_unmap(env->space, va + PAGE, PAGE));
        CHECK_OK(aspace_unmap(env->space, va, 4 * PAGE));
        do_linear(env, va, big, env->rw, device_pa(env, big));
        CHECK_EQ(leaf_at(env, va), big);
        CHECK_OK(aspace_unmap(env->space, va, big));
    }
    while (aspace_sweep(env->space, 1000) != 0) {}
    CHECK_EQ(tables_held(env), tables);
}

/* ----------------------------------------------------------------------------------------------- collapse and split */

static void collapse_and_split(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 0), done;

    do_map(env, ASPACE_KIND_EAGER, va, big, env->rw);
    CHECK_OK(aspace_discard(env->space, va + PAGE, PAGE)); /* small pages now, and not all of them adjacent */
    CHECK_OK(aspace_migrate(env->space, va, ASPACE_PA_NONE));
    for (uint64_t off = 0; off < big; off += 2 * PAGE) {
        poke(env, va + off, off + 1);
    }
    CHECK_OK(aspace_populate(env->space, va, big, &done));
    CHECK(leaf_at(env, va) < big);
    CHECK_OK(aspace_collapse(env->space, va + 3 * PAGE, 1));
    CHECK_EQ(leaf_at(env, va), big);
    for (uint64_t off = 0; off < big; off += PAGE) {
        CHECK_EQ(peek(env, va + off), off % (2 * PAGE) == 0 ? off + 1 : 0);
    }
    CHECK_EQ(frames_held(env), big / PAGE);
    CHECK_EQ(counters(env).collapses, 1);
    audit(env);
    uint64_t pa = agree(env, va).pa;
    CHECK_OK(aspace_split(env->space, va + big - 1));
    expect_leaf(env, va + PAGE, pa + PAGE, env->rw);
    CHECK(leaf_at(env, va) < big);
    CHECK_EQ(peek(env, va + 2 * PAGE), 2 * PAGE + 1);
    CHECK_EQ(frames_held(env), big / PAGE);
}

/* Unfilled pages are zero afterwards. */
static void collapse_unfilled(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 0);
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, big, env->rw);

    m.max_leaf_level = 0;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    poke(env, va + PAGE, 6);
    CHECK_OK(aspace_discard(env->space, va, PAGE));
    CHECK_OK(aspace_collapse(env->space, va, 1));
    CHECK_EQ(leaf_at(env, va), big);
    CHECK_EQ(peek(env, va + PAGE), 6);
    CHECK_EQ(peek(env, va + 2 * PAGE), 0);
    CHECK_EQ(peek(env, va + big - 8), 0);
}

static void collapse_refused(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 0), other = at(env, 1, 1), third = at(env, 1, 2), none = at(env, 1, 3);

    do_map(env, ASPACE_KIND_LAZY, va, big - PAGE, env->rw); /* a hole at its end */
    do_map(env, ASPACE_KIND_EAGER, other, big, env->rw);
    CHECK_OK(aspace_protect(env->space, other, PAGE, env->ro));          /* two protections */
    do_linear(env, third, big, env->rw, device_pa(env, 4 * big) + PAGE); /* frames that are not contiguous */
    poke(env, va, 4);
    struct snapshot *before = snapshot_take(env);
    CHECK(aspace_collapse(env->space, va, 1) != ASPACE_OK);
    CHECK_ERROR(aspace_collapse(env->space, other, 1), ASPACE_E_UNSUPPORTED);
    CHECK_ERROR(aspace_collapse(env->space, third, 1), ASPACE_E_UNSUPPORTED);
    CHECK_ERROR(aspace_collapse(env->space, none, 1), ASPACE_E_NOT_MAPPED);
    CHECK_ERROR(aspace_collapse(env->space, other, 0), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_collapse(env->space, other, 7), ASPACE_E_UNSUPPORTED);
    snapshot_same(env, before, "a refused collapse");
    snapshot_free(before);
    do_map(env, ASPACE_KIND_EAGER, none, PAGE, env->rw);
    CHECK_OK(aspace_unmap(env->space, none, PAGE));
    CHECK_ERROR(aspace_collapse(env->space, none, 1), ASPACE_E_NOT_MAPPED); /* nor where a table is left */
}

static void split_refused(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    CHECK_ERROR(aspace_split(env->space, va), ASPACE_E_NOT_MAPPED);
    do_map(env, ASPACE_KIND_EAGER, va, PAGE, env->rw);
    struct snapshot *before = snapshot_take(env);
    int error = aspace_split(env->space, va); /* nothing to do, or said so */
    CHECK(error == ASPACE_OK || error == ASPACE_E_UNSUPPORTED || error == ASPACE_E_INVALID);
    snapshot_same(env, before, "a split of a small page");
    snapshot_free(before);
}

static void collapse_keeps_used(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 0);

    for (unsigned state = 0; state < 3; state++) {
        do_map(env, ASPACE_KIND_EAGER, va, big, env->rw);
        CHECK_OK(aspace_split(env->space, va));
        uint64_t *entry = aspace_phys_to_virt(walk(env, va + PAGE).entry_pa);
        *entry = state == 0 ? *entry : naive_used(&env->config, *entry, state == 2);
        CHECK_OK(aspace_collapse(env->space, va, 1));
        CHECK_EQ(leaf_at(env, va), big);
        uint64_t e = *(uint64_t *)aspace_phys_to_virt(walk(env, va).entry_pa);
        CHECK(state != 1 || naive_used(&env->config, e, false) == e);
        CHECK(state != 2 || naive_used(&env->config, e, true) == e);
        CHECK_OK(aspace_unmap(env->space, va, big));
    }
}

/* ---------------------------------------------------------------------------------------------------------- migrate */

static void migrate(struct env *env)
{
    uint64_t va = at(env, 1, 0) + PAGE;

    do_map(env, ASPACE_KIND_LAZY, va, 2 * PAGE, env->rw);
    CHECK_ERROR(aspace_migrate(env->space, va, ASPACE_PA_NONE), ASPACE_E_NOT_MAPPED);
    cpu_enter(env, 1);
    poke(env, va, 77);
    poke(env, va + PAGE - 8, 78);
    uint64_t old = cpu_run(env, 1, va, ASPACE_W);
    CHECK_OK(aspace_migrate(env->space, va + 123, ASPACE_PA_NONE));
    uint64_t pa = agree(env, va).pa;
    CHECK(pa != old);
    CHECK_EQ(cpu_run(env, 1, va, ASPACE_W), pa);
    CHECK_EQ(peek(env, va), 77);
    CHECK_EQ(peek(env, va + PAGE - 8), 78);
    CHECK_EQ(agree(env, va).rights, env->rw);
    CHECK_EQ(frames_held(env), 1);
    CHECK_EQ(counters(env).migrations, 1);
    struct aspace_frame frame;
    CHECK_OK(aspace_frame_alloc(env->host, 0, false, &frame));
    aspace_frame_fill(&frame, 0xee);
    uint64_t mine = frame.pa;
    CHECK_OK(aspace_migrate(env->space, va, aspace_frame_take(&frame)));
    CHECK_EQ(agree(env, va).pa, mine);
    CHECK_EQ(peek(env, va), 77);
    CHECK_OK(aspace_protect(env->space, va, PAGE, env->ro));
    CHECK_OK(aspace_migrate(env->space, va, ASPACE_PA_NONE));
    CHECK_EQ(agree(env, va).rights, env->ro);
    CHECK_EQ(peek(env, va), 77);
    aspace_trim(env->host);
    CHECK_EQ(ledger(env).data, 1);
}

static void migrate_refused(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    do_linear(env, va, PAGE, env->rw, device_pa(env, PAGE));
    do_map(env, ASPACE_KIND_TRAP, va + PAGE, PAGE, env->rw);
    do_map(env, ASPACE_KIND_EAGER, va + 2 * PAGE, PAGE, env->rw);
    struct snapshot *before = snapshot_take(env);
    CHECK_ERROR(aspace_migrate(env->space, va, ASPACE_PA_NONE), ASPACE_E_UNSUPPORTED);
    CHECK(aspace_migrate(env->space, va + PAGE, ASPACE_PA_NONE) != ASPACE_OK);
    CHECK_ERROR(aspace_migrate(env->space, va + 3 * PAGE, ASPACE_PA_NONE), ASPACE_E_NOT_MAPPED);
    CHECK_ERROR(aspace_migrate(env->space, va + 2 * PAGE, device_pa(env, PAGE) + 8), ASPACE_E_INVALID);
    CHECK(aspace_migrate(env->space, va + 2 * PAGE, naive_output_end(&env->config)) != ASPACE_OK);
    snapshot_same(env, before, "a refused migrate");
    snapshot_free(before);
}

/* Part of a large leaf: the page moves, or it is refused; never the rest. */
static void migrate_huge(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 0);

    do_map(env, ASPACE_KIND_EAGER, va, big, env->rw);
    poke(env, va + PAGE, 5);
    poke(env, va + 2 * PAGE, 6);
    struct snapshot *before = snapshot_take(env);
    uint64_t pa = agree(env, va).pa;
    struct aspace_frame frame; /* one page; that more of its size lie behind it is nobody's business */
    CHECK_OK(aspace_frame_alloc(env->host, env->config.format == ASPACE_FMT_TOY ? 2 : 9, false, &frame));
    CHECK_ERROR(aspace_migrate(env->space, va, frame.pa), ASPACE_E_UNSUPPORTED);
    aspace_frame_release(&frame);
    snapshot_same(env, before, "a page for a large leaf");
    int error = aspace_migrate(env->space, va + PAGE, ASPACE_PA_NONE);
    if (error != ASPACE_OK) {
        CHECK_ERROR(error, ASPACE_E_UNSUPPORTED);
        snapshot_same(env, before, "a refused migrate");
    } else {
        CHECK(agree(env, va + PAGE).pa != pa + PAGE);
    }
    snapshot_free(before);
    CHECK_EQ(peek(env, va + PAGE), 5);
    CHECK_EQ(peek(env, va + 2 * PAGE), 6);
    CHECK_EQ(frames_held(env), big / PAGE);
}

/* ------------------------------------------------------------------------------------------------------------- runs */

static void run_sizes(struct env *env)
{
    uint64_t run = env->run_pages * PAGE, va = at(env, 1, 1) + run;

    do_linear(env, va - PAGE, run + 2 * PAGE, env->rw, device_pa(env, env->span[1]) + 2 * run - PAGE);
    CHECK_EQ(leaf_at(env, va - PAGE), PAGE);
    for (uint64_t off = 0; off < run; off += PAGE) {
        CHECK_EQ(leaf_at(env, va + off), run);
        expect_leaf(env, va + off + 17, device_pa(env, env->span[1]) + 2 * run + off + 17, env->rw);
    }
    CHECK_EQ(leaf_at(env, va + run), PAGE);
    audit(env);
}

/* A run is broken as a whole before a part of it changes, and the rest stays as it was, in small leaves. */
static void run_parts(struct env *env)
{
    uint64_t run = env->run_pages * PAGE, va = at(env, 1, 1) + run;
    uint64_t pa = device_pa(env, env->span[1]);

    for (unsigned what = 0; what < 3; what++) {
        uint64_t part = va + (env->run_pages - 1) * PAGE;
        do_linear(env, va, 2 * run, env->rw, pa);
        switch (what) {
        case 0: CHECK_OK(aspace_unmap(env->space, part, PAGE)); break;
        case 1: CHECK_OK(aspace_protect(env->space, part, PAGE, env->ro)); break;
        default: CHECK_OK(aspace_protect(env->space, part, PAGE, 0)); break;
        }
        for (uint64_t off = 0; off < run - PAGE; off += PAGE) {
            expect_leaf(env, va + off, pa + off, env->rw);
        }
        CHECK_EQ(leaf_at(env, va), PAGE);
        CHECK_EQ(leaf_at(env, va + run), run);
        if (what == 1) {
            expect_leaf(env, part, pa + run - PAGE, env->ro);
        } else {
            expect_absent(env, part);
        }
        audit(env);
        CHECK_OK(aspace_unmap(env->space, va, 2 * run));
    }
}

/* CPUs that remember a run forget all of it when a part changes. */
static void run_flush(struct env *env)
{
    uint64_t run = env->run_pages * PAGE, va = at(env, 1, 1) + run;
    uint64_t pa = device_pa(env, env->span[1]);

    cpu_enter(env, 1);
    do_linear(env, va, run, env->rw, pa);
    CHECK_EQ(cpu_run(env, 1, va, ASPACE_W), pa);
    CHECK_OK(aspace_unmap(env->space, va + PAGE, PAGE));
    CHECK_EQ(cpu_access(env, 1, va + PAGE, ASPACE_R), ASPACE_PA_NONE);
    CHECK_EQ(cpu_run(env, 1, va, ASPACE_W), pa);
}

static void run_protect_whole(struct env *env)
{
    uint64_t run = env->run_pages * PAGE, va = at(env, 1, 1) + run;
    uint64_t pa = device_pa(env, env->span[1]);

    do_linear(env, va, 2 * run, env->rw, pa);
    CHECK_OK(aspace_protect(env->space, va, run, env->ro));
    for (uint64_t off = 0; off < 2 * run; off += PAGE) {
        expect_leaf(env, va + off, pa + off, off < run ? env->ro : env->rw);
    }
    CHECK_OK(aspace_protect(env->space, va, 2 * run, env->rw));
    CHECK_OK(aspace_unmap(env->space, va, run));
    expect_absent(env, va);
    expect_leaf(env, va + run, pa + run, env->rw);
}

static const struct test tests[] = {
    {"linear_leaf_sizes", linear_leaf_sizes, NEEDS_HUGE},
    {"linear_limited", linear_limited, 0},
    {"linear_giant", linear_giant, NEEDS_GIANT},
    {"linear_top", linear_top, NEEDS_HUGE},
    {"top_split_and_collapse", top_split_and_collapse, NEEDS_HUGE},
    {"top_frames", top_frames, NEEDS_HUGE | NEEDS_ROOM},
    {"top_leaf_in_a_log", top_leaf_in_a_log, NEEDS_HUGE},
    {"eager_huge", eager_huge, NEEDS_HUGE},
    {"huge_unmap_part", huge_unmap_part, NEEDS_HUGE},
    {"huge_protect_part", huge_protect_part, NEEDS_HUGE},
    {"huge_discard_part", huge_discard_part, NEEDS_HUGE},
    {"huge_whole", huge_whole, NEEDS_HUGE},
    {"split_keeps_used", split_keeps_used, NEEDS_HUGE | NEEDS_AD},
    {"huge_after_small", huge_after_small, NEEDS_HUGE},
    {"collapse_and_split", collapse_and_split, NEEDS_HUGE},
    {"collapse_unfilled", collapse_unfilled, NEEDS_HUGE},
    {"collapse_refused", collapse_refused, NEEDS_HUGE},
    {"split_refused", split_refused, 0},
    {"collapse_keeps_used", collapse_keeps_used, NEEDS_HUGE | NEEDS_AD},
    {"migrate", migrate, 0},
    {"migrate_refused", migrate_refused, 0},
    {"migrate_huge", migrate_huge, NEEDS_HUGE},
    {"run_sizes", run_sizes, NEEDS_RUNS},
    {"run_parts", run_parts, NEEDS_RUNS},
    {"run_flush", run_flush, NEEDS_RUNS},
    {"run_protect_whole", run_protect_whole, NEEDS_RUNS},
};
const struct suite huge_suite = SUITE(tests);
