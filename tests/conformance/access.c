/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory by input address, areas without memory (traps, doorbells, ROM), an embedder's own backend, owned frames. */
#include <string.h>

#include "suites.h"

/* ------------------------------------------------------------------------------------------------- reading, writing */

static void fill_pattern(uint8_t *bytes, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(seed + i * 7 + (i >> 8));
    }
}

/* Over page and area borders, at odd places, through pages that are not there yet. */
static void copy_across(struct env *env)
{
    static uint8_t out[6 * 4096], in[6 * 4096];
    uint64_t va = at(env, 1, 1) - 2 * PAGE; /* and over the border of a table */
    size_t done;

    do_map(env, ASPACE_KIND_LAZY, va, 3 * PAGE, env->rw);
    do_map(env, ASPACE_KIND_EAGER, va + 3 * PAGE, 3 * PAGE, env->rw);
    const struct {
        uint64_t offset;
        size_t n;
    } pieces[] = {{0, 1}, {PAGE - 1, 2}, {PAGE / 2, 4 * PAGE}, {3 * PAGE - 3, 7}, {0, 6 * PAGE}, {6 * PAGE - 1, 1}};
    for (unsigned i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        fill_pattern(out, pieces[i].n, i);
        CHECK_OK(aspace_write(env->space, va + pieces[i].offset, out, pieces[i].n, &done));
        CHECK_EQ(done, pieces[i].n);
        memset(in, 0xff, sizeof(in));
        CHECK_OK(aspace_read(env->space, va + pieces[i].offset, in, pieces[i].n, &done));
        CHECK_EQ(done, pieces[i].n);
        CHECK(memcmp(in, out, pieces[i].n) == 0);
        CHECK(pieces[i].n == sizeof(in) || in[pieces[i].n] == 0xff);
    }
    CHECK_EQ(frames_held(env), 6);
    CHECK_OK(aspace_read(env->space, va, in, 0, &done));
    CHECK_EQ(done, 0);
}

/* What is written lands in the frame that the MMU would use. */
static void copy_reaches_frame(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    uint32_t value = 0xdeadbeef;

    do_map(env, ASPACE_KIND_LAZY, va, PAGE, env->rw);
    CHECK_OK(aspace_write_object(env->space, va + 0x7fe, &value));
    const uint8_t *frame = aspace_phys_to_virt(walk(env, va).pa);
    CHECK(memcmp(frame + 0x7fe, &value, sizeof(value)) == 0);
    CHECK_EQ(frame[0x7fd], 0);
    CHECK_EQ(frame[0x802], 0);
    value = 0;
    CHECK_OK(aspace_read_object(env->space, va + 0x7fe, &value));
    CHECK_EQ(value, 0xdeadbeef);
}

/* A hole, a trap area, a missing right, the end of the space: the count of bytes done, and none behind touched. */
static void copy_ends(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    uint8_t bytes[3 * 4096];
    const struct {
        enum aspace_kind kind;
        int error;
    } ends[] = {{ASPACE_KIND_TRAP, ASPACE_E_FAULT}, {ASPACE_KIND_GUARD, 0}, {ASPACE_KIND_RESERVED, 0}};
    size_t done;

    do_map(env, ASPACE_KIND_LAZY, va, PAGE, env->rw);
    memset(bytes, 0x31, sizeof(bytes));
    CHECK_ERROR(aspace_write(env->space, va + PAGE - 100, bytes, 200, &done), ASPACE_E_NOT_MAPPED);
    CHECK_EQ(done, 100);
    CHECK_ERROR(aspace_read(env->space, va + PAGE - 50, bytes, 200, &done), ASPACE_E_NOT_MAPPED);
    CHECK_EQ(done, 50);
    CHECK_ERROR(aspace_read(env->space, va + PAGE, bytes, 1, &done), ASPACE_E_NOT_MAPPED);
    CHECK_EQ(done, 0);
    for (unsigned i = 0; i < 3; i++) {
        do_map(env, ends[i].kind, va + PAGE, PAGE, env->rw);
        int error = aspace_write(env->space, va + PAGE - 10, bytes, 20, &done);
        CHECK(error < 0 && (ends[i].error == 0 || error == ends[i].error));
        CHECK_EQ(done, 10);
        CHECK_OK(aspace_unmap(env->space, va + PAGE, PAGE));
    }
    do_map(env, ASPACE_KIND_EAGER, va + PAGE, PAGE, env->ro);
    CHECK_ERROR(aspace_write(env->space, va + PAGE - 8, bytes, 16, &done), ASPACE_E_PERMISSION);
    CHECK_EQ(done, 8);
    CHECK_EQ(peek(env, va + PAGE), 0);
    CHECK_OK(aspace_read(env->space, va + PAGE - 8, bytes, 16, &done));
    CHECK_EQ(bytes[7], 0x31);
    CHECK_EQ(bytes[8], 0);
}

static void copy_at_end_of_space(struct env *env)
{
    uint8_t bytes[32] = {1, 2, 3};
    size_t done;

    do_map(env, ASPACE_KIND_LAZY, env->end - PAGE, PAGE, env->rw);
    CHECK_OK(aspace_write(env->space, env->end - 32, bytes, 32, &done));
    int error = aspace_write(env->space, env->end - 16, bytes, 32, &done);
    CHECK(error == ASPACE_E_RANGE || error == ASPACE_E_NOT_MAPPED);
    CHECK(done == 16 || done == 0);
    CHECK(aspace_read(env->space, env->end, bytes, 1, &done) == ASPACE_E_RANGE);
    CHECK_EQ(done, 0);
    CHECK(aspace_read(env->space, UINT64_MAX - 3, bytes, 32, &done) == ASPACE_E_RANGE);
}

/* Reading needs R, also where the MMU could write or execute. */
static void copy_needs_rights(struct env *env)
{
    uint64_t va = at(env, 1, 0), value = 7;

    for (uint32_t rights = 1; rights < 8; rights++) {
        if (!expressible(env, rights)) {
            continue;
        }
        do_map(env, ASPACE_KIND_LAZY, va, PAGE, rights);
        CHECK_ERROR(aspace_read(env->space, va, &value, 8, NULL),
                    (rights & ASPACE_R) ? ASPACE_OK : ASPACE_E_PERMISSION);
        CHECK_ERROR(aspace_write(env->space, va, &value, 8, NULL),
                    (rights & ASPACE_W) ? ASPACE_OK : ASPACE_E_PERMISSION);
        CHECK_OK(aspace_unmap(env->space, va, PAGE));
    }
}

/* A write by the library is one the hardware would have recorded. */
static void copy_marks_dirty(struct env *env)
{
    uint64_t va = at(env, 1, 0), value = 7;

    do_map(env, ASPACE_KIND_EAGER, va, 2 * PAGE, env->rw);
    CHECK_OK(aspace_write(env->space, va + 64, &value, 8, NULL));
    uint64_t e = *(uint64_t *)aspace_phys_to_virt(walk(env, va).entry_pa);
    CHECK_EQ(naive_used(&env->config, e, true), e);
    uint64_t other = *(uint64_t *)aspace_phys_to_virt(walk(env, va + PAGE).entry_pa);
    CHECK(env->run_pages > 1 || naive_used(&env->config, other, true) != other);
}

static void compare_exchange(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    bool swapped = false;

    do_map(env, ASPACE_KIND_LAZY, va, PAGE, env->rw);
    for (unsigned width = 1; width <= 8; width *= 2) {
        uint64_t expected = 0, mask = width == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * width)) - 1;
        uint64_t where = va + 64 * width;
        uint64_t wanted = UINT64_C(0x8182838485868788) & mask;
        poke(env, where + 8, UINT64_MAX);
        CHECK_OK(aspace_compare_exchange(env->space, where, width, &expected, wanted, &swapped));
        CHECK(swapped);
        CHECK_EQ(expected, 0);
        expected = wanted ^ 1;
        CHECK_OK(aspace_compare_exchange(env->space, where, width, &expected, 5, &swapped));
        CHECK(!swapped);
        CHECK_EQ(expected, wanted);
        CHECK_EQ(peek(env, where), wanted);
        CHECK_EQ(peek(env, where + 8), UINT64_MAX);
    }
    uint64_t expected = 0;
    CHECK_ERROR(aspace_compare_exchange(env->space, va, 3, &expected, 1, &swapped), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_compare_exchange(env->space, va, 16, &expected, 1, &swapped), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_compare_exchange(env->space, va, 0, &expected, 1, &swapped), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_compare_exchange(env->space, va + 2, 4, &expected, 1, &swapped), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_compare_exchange(env->space, va + PAGE, 8, &expected, 1, &swapped), ASPACE_E_NOT_MAPPED);
    CHECK_OK(aspace_protect(env->space, va, PAGE, env->ro));
    CHECK_ERROR(aspace_compare_exchange(env->space, va, 8, &expected, 1, &swapped), ASPACE_E_PERMISSION);
    CHECK_EQ(peek(env, va), 0);
}

/* --------------------------------------------------------------------------------------------------------- segments */

static void segments(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    struct aspace_segment s[8];
    size_t count = 8, done = 0;

    do_map(env, ASPACE_KIND_LAZY, va, 3 * PAGE, env->rw);
    do_map(env, ASPACE_KIND_EAGER, va + 3 * PAGE, PAGE, env->ro);
    for (unsigned n = 0; n < 3; n++) {
        poke(env, va + n * PAGE + 16, n);
    }
    aspace_read_begin(env->host);
    CHECK_OK(aspace_segments(env->space, va + 16, 3 * PAGE, ASPACE_R, s, &count, &done));
    CHECK_EQ(done, 3 * PAGE);
    uint64_t at_va = va + 16;
    for (size_t i = 0; i < count; i++) {
        CHECK_EQ(s[i].pa, walk(env, at_va).pa);
        CHECK(s[i].data == aspace_phys_to_virt(s[i].pa));
        CHECK(i == 0 || s[i - 1].pa + s[i - 1].bytes != s[i].pa);
        at_va += s[i].bytes;
    }
    CHECK_EQ(at_va, va + 16 + 3 * PAGE);
    count = 8;
    CHECK_ERROR(aspace_segments(env->space, va + 2 * PAGE, 2 * PAGE, ASPACE_W, s, &count, &done), ASPACE_E_PERMISSION);
    CHECK_EQ(done, PAGE);
    count = 8;
    CHECK_ERROR(aspace_segments(env->space, va + 3 * PAGE, 2 * PAGE, ASPACE_R, s, &count, &done), ASPACE_E_NOT_MAPPED);
    CHECK_EQ(done, PAGE);
    count = 0;
    CHECK_ERROR(aspace_segments(env->space, va, PAGE, ASPACE_R, s, &count, &done), ASPACE_E_LIMIT);
    CHECK_EQ(done, 0);
    aspace_read_end(env->host);
}

/* Adjacent output addresses are one segment, over areas and tables. */
static void segments_joined(struct env *env)
{
    uint64_t va = at(env, 1, 1) - PAGE;
    struct aspace_segment s[2];
    size_t count = 2, done = 0;
    struct aspace_frame run;

    CHECK_OK(aspace_frame_alloc(env->host, 2, true, &run));
    do_linear(env, va, 2 * PAGE, env->rw, run.pa);
    do_linear(env, va + 2 * PAGE, PAGE, env->rw, run.pa + 2 * PAGE);
    do_linear(env, va + 3 * PAGE, PAGE, env->rw, run.pa);
    aspace_read_begin(env->host);
    CHECK_OK(aspace_segments(env->space, va + 5, 3 * PAGE, ASPACE_W, s, &count, &done));
    CHECK_EQ(count, 2);
    CHECK_EQ(s[0].pa, run.pa + 5);
    CHECK_EQ(s[0].bytes, 3 * PAGE - 5);
    CHECK_EQ(s[1].pa, run.pa);
    CHECK_EQ(s[1].bytes, 5);
    CHECK_EQ(done, 3 * PAGE);
    count = 1;
    CHECK_ERROR(aspace_segments(env->space, va + 5, 3 * PAGE, ASPACE_W, s, &count, &done), ASPACE_E_LIMIT);
    CHECK_EQ(count, 1);
    CHECK_EQ(done, 3 * PAGE - 5);
    aspace_read_end(env->host);
    CHECK_OK(aspace_unmap(env->space, va, 4 * PAGE));
    aspace_frame_release(&run);
}

/* --------------------------------------------------------------------------------------------- areas without memory */

static void doorbells(struct env *env)
{
    static const struct aspace_doorbell bells[] = {
        {.offset = 0x10, .width = 4, .any_value = true, .cookie = 1},
        {.offset = 0x20, .width = 2, .value = 7, .cookie = 2},
        {.offset = 0x20, .width = 2, .value = 8, .cookie = 3},
        {.offset = 0x1008, .width = 0, .any_value = true, .cookie = 4},
    };
    uint64_t va = at(env, 1, 0), cookie = 0;
    struct aspace_map m = request(ASPACE_KIND_TRAP, va, 2 * PAGE, env->rw);

    m.doorbells = bells;
    m.doorbell_count = 4;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_OK(aspace_doorbell_match(env->space, va + 0x10, 4, 99, &cookie));
    CHECK_EQ(cookie, 1);
    CHECK_OK(aspace_doorbell_match(env->space, va + 0x20, 2, 7, &cookie));
    CHECK_EQ(cookie, 2);
    CHECK_OK(aspace_doorbell_match(env->space, va + 0x20, 2, 8, &cookie));
    CHECK_EQ(cookie, 3);
    CHECK_OK(aspace_doorbell_match(env->space, va + 0x1008, 8, 8, &cookie));
    CHECK_EQ(cookie, 4);
    CHECK_ERROR(aspace_doorbell_match(env->space, va + 0x20, 2, 9, &cookie), ASPACE_E_NOT_MAPPED);
    CHECK_ERROR(aspace_doorbell_match(env->space, va + 0x10, 2, 99, &cookie), ASPACE_E_NOT_MAPPED);
    CHECK_ERROR(aspace_doorbell_match(env->space, va + 0x11, 4, 99, &cookie), ASPACE_E_NOT_MAPPED);
    CHECK_ERROR(aspace_doorbell_match(env->space, va + 2 * PAGE, 4, 99, &cookie), ASPACE_E_NOT_MAPPED);
    CHECK_ERROR(aspace_doorbell_match(env->space, env->end, 4, 99, &cookie), ASPACE_E_RANGE);
    CHECK_OK(aspace_unmap(env->space, va, PAGE)); /* offsets are those of the mapping */
    CHECK_OK(aspace_doorbell_match(env->space, va + 0x1008, 1, 8, &cookie));
    CHECK_ERROR(aspace_doorbell_match(env->space, va + 0x10, 4, 99, &cookie), ASPACE_E_NOT_MAPPED);
}

static void rom(struct env *env)
{
    uint64_t va = at(env, 1, 0), value = 0;
    struct aspace_frame frame;
    struct aspace_fault_info info;

    CHECK_OK(aspace_frame_alloc(env->host, 1, true, &frame));
    aspace_frame_fill(&frame, 0x5c);
    struct aspace_map m = request(ASPACE_KIND_ROM, va, 2 * PAGE, env->ro);
    m.pa = frame.pa;
    m.cookie = 0x40;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_EQ(peek(env, va + PAGE), UINT64_C(0x5c5c5c5c5c5c5c5c));
    CHECK_EQ(agree(env, va).rights & ASPACE_W, 0);
    CHECK_FAULT(aspace_fault(env->space, va + PAGE + 3, ASPACE_W, &info), ASPACE_FAULT_TRAP);
    CHECK_EQ(info.cookie, 0x40);
    CHECK_EQ(info.offset, PAGE + 3);
    CHECK(aspace_write(env->space, va, &value, 8, NULL) != ASPACE_OK);
    CHECK_EQ(peek(env, va), UINT64_C(0x5c5c5c5c5c5c5c5c));
    CHECK_OK(aspace_unmap(env->space, va, 2 * PAGE));
    aspace_frame_release(&frame);
}

/* --------------------------------------------------------------------------------------------------------- backends */

/* An object of eight pages, one of which it has not, one it must fetch first, one it lends read-only. */
struct object {
    struct aspace_frame page[8];
    unsigned fills, releases, gone;
    uint64_t wrong;
};

static enum aspace_fault_result object_fill(const struct aspace_fill *fill, struct aspace_page *page)
{
    struct object *o = fill->ctx;
    uint64_t n = fill->offset / PAGE;

    o->fills++;
    if (n >= 8) {
        return ASPACE_FAULT_BUS;
    }
    if (n == 6) {
        return ASPACE_FAULT_NEEDS_IO;
    }
    page->pa = o->page[n].pa;
    page->order = 0;
    page->rights = n == 5 ? ASPACE_RX & fill->rights : 0;
    return ASPACE_FAULT_DONE;
}

static void object_release(void *ctx, uint64_t offset, aspace_pa_t pa, unsigned order)
{
    struct object *o = ctx;

    o->releases++;
    o->wrong += order != 0 || offset / PAGE >= 8 || o->page[offset / PAGE].pa != pa;
}

static void object_unmapped(void *ctx, uint64_t area_id)
{
    struct object *o = ctx;

    o->gone++;
    o->wrong += area_id == 0;
}

static const struct aspace_backend object_backend = {
    .name = "object",
    .fill = object_fill,
    .release = object_release,
    .unmapped = object_unmapped,
};

static void object_open(struct env *env, struct object *o)
{
    memset(o, 0, sizeof(*o));
    for (unsigned n = 0; n < 8; n++) {
        CHECK_OK(aspace_frame_alloc(env->host, 0, true, &o->page[n]));
        aspace_frame_fill(&o->page[n], (uint8_t)(n + 1));
    }
}

static void object_close(struct object *o)
{
    for (unsigned n = 0; n < 8; n++) {
        aspace_frame_release(&o->page[n]);
    }
}

static void backend_custom(struct env *env)
{
    struct object o;
    uint64_t va = at(env, 1, 0);
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, va, 8 * PAGE, env->rw);
    uint64_t value;

    object_open(env, &o);
    m.backend = &object_backend;
    m.backend_ctx = &o;
    m.offset = 2 * PAGE;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_EQ(o.fills, 0);
    CHECK(query(env, va + PAGE).backend == &object_backend && query(env, va).backend_ctx == &o);
    CHECK_EQ(query(env, va + PAGE).offset, 2 * PAGE + (query(env, va + PAGE).va - va));
    touch(env, va, ASPACE_W);
    expect_leaf(env, va, o.page[2].pa, env->rw);
    CHECK_EQ(peek(env, va + PAGE), UINT64_C(0x0404040404040404));
    CHECK_FAULT(aspace_fault(env->space, va, ASPACE_W, NULL), ASPACE_FAULT_SPURIOUS);
    CHECK_FAULT(aspace_fault(env->space, va + 4 * PAGE, ASPACE_R, NULL), ASPACE_FAULT_NEEDS_IO);
    CHECK_FAULT(aspace_fault(env->space, va + 6 * PAGE, ASPACE_R, NULL), ASPACE_FAULT_BUS);
    CHECK_ERROR(aspace_read(env->space, va + 6 * PAGE, &value, 8, NULL), ASPACE_E_FAULT);
    expect_absent(env, va + 4 * PAGE);
    CHECK_EQ(frames_held(env), 0); /* lent, not owned */
    CHECK_OK(aspace_unmap(env->space, va, PAGE));
    aspace_trim(env->host);
    CHECK_EQ(o.releases, 1);
    CHECK_EQ(o.gone, 0);
    CHECK_OK(aspace_unmap(env->space, va + PAGE, 7 * PAGE));
    aspace_trim(env->host);
    CHECK_EQ(o.releases, 2);
    CHECK_EQ(o.gone, 1);
    CHECK_EQ(o.wrong, 0);
    object_close(&o);
}

/* A page lent with fewer rights than the area has is mapped with those. */
static void backend_lends_less(struct env *env)
{
    struct object o;
    uint64_t va = at(env, 1, 0);
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, va, 8 * PAGE, ASPACE_RWX);

    object_open(env, &o);
    m.backend = &object_backend;
    m.backend_ctx = &o;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    touch(env, va + 5 * PAGE, ASPACE_R);
    expect_leaf(env, va + 5 * PAGE, o.page[5].pa, ASPACE_RX);
    touch(env, va + 4 * PAGE, ASPACE_R);
    expect_leaf(env, va + 4 * PAGE, o.page[4].pa, ASPACE_RWX);
    CHECK_OK(aspace_discard(env->space, va, 8 * PAGE));
    expect_absent(env, va + 4 * PAGE);
    touch(env, va + 4 * PAGE, ASPACE_R);
    expect_leaf(env, va + 4 * PAGE, o.page[4].pa, ASPACE_RWX);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    CHECK_EQ(o.releases, 3);
    CHECK_EQ(o.wrong, 0);
    object_close(&o);
}

/* However the rights of the area change, a page never has more than it was lent with. */
static void backend_keeps_less(struct env *env)
{
    struct object o;
    uint64_t va = at(env, 1, 0), lent = va + 5 * PAGE;
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, va, 8 * PAGE, ASPACE_RWX);
    const uint32_t between[] = {env->ro, 0, env->rw};

    object_open(env, &o);
    m.backend = &object_backend;
    m.backend_ctx = &o;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    for (unsigned i = 0; i < 3; i++) {
        CHECK_FAULT(aspace_fault(env->space, va + 4 * PAGE, ASPACE_R, NULL),
                    i == 0 ? ASPACE_FAULT_DONE : ASPACE_FAULT_SPURIOUS);
        if (!agree(env, lent).present) {
            touch(env, lent, ASPACE_R);
        }
        CHECK_OK(aspace_protect(env->space, va, 8 * PAGE, between[i]));
        struct naive_result r = agree(env, lent);
        CHECK_EQ(r.rights & ~between[i] & ASPACE_RWX, 0);
        CHECK_EQ(r.rights & ASPACE_W, 0);
        CHECK_OK(aspace_protect(env->space, va, 8 * PAGE, ASPACE_RWX));
        r = agree(env, lent);
        CHECK_EQ(r.rights & ASPACE_W, 0);
        expect_leaf(env, va + 4 * PAGE, o.page[4].pa, agree(env, va + 4 * PAGE).rights);
        audit(env);
    }
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    CHECK_EQ(o.wrong, 0);
    object_close(&o);
}

/* Closing gives everything back to the backend, also what is unmapped by destroy only. */
static void backend_destroy(struct env *env)
{
    static struct object o;
    uint64_t va = at(env, 1, 0), done;
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, va, 5 * PAGE, env->rw);

    object_open(env, &o);
    m.backend = &object_backend;
    m.backend_ctx = &o;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_OK(aspace_populate(env->space, va, 5 * PAGE, &done));
    CHECK_EQ(o.fills, 5);
    destroy(env);
    aspace_trim(env->host);
    CHECK_EQ(o.releases, 5);
    CHECK_EQ(o.gone, 1);
    CHECK_EQ(o.wrong, 0);
    object_close(&o);
}

/* One that answers what it is told to. */
struct lender {
    enum aspace_fault_result answer;
    struct aspace_page page;
    unsigned fills, releases, dirty;
    uint64_t offset; /* of the last release */
    aspace_pa_t pa;
};

static enum aspace_fault_result lender_fill(const struct aspace_fill *fill, struct aspace_page *page)
{
    struct lender *l = fill->ctx;

    l->fills++;
    *page = l->page;
    return l->answer;
}

static void lender_release(void *ctx, uint64_t offset, aspace_pa_t pa, unsigned order)
{
    struct lender *l = ctx;

    (void)order;
    l->releases++;
    l->offset = offset;
    l->pa = pa;
}

static void lender_dirty(void *ctx, uint64_t offset, aspace_pa_t pa, unsigned order)
{
    struct lender *l = ctx;

    (void)offset, (void)pa, (void)order;
    l->dirty++;
}

static const struct aspace_backend lender_backend = {
    .name = "lender", .fill = lender_fill, .release = lender_release, .dirty = lender_dirty};

/* Four pages, the first at `offset` to the lender. */
static void map_lender(struct env *env, struct lender *l, uint64_t va, uint64_t offset, uint32_t rights)
{
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, va, 4 * PAGE, rights);

    m.backend = &lender_backend;
    m.backend_ctx = l;
    m.offset = offset;
    m.max_rights = ASPACE_RWX;
    CHECK_OK(aspace_map(env->space, &m, NULL));
}

/* A page that cannot be mapped is given back as what it was asked for; what was not supplied is not. */
static void backend_bad_pages(struct env *env)
{
    struct aspace_frame f;
    uint64_t va = at(env, 1, 0), end = naive_output_end(&env->config);
    CHECK_OK(aspace_frame_alloc(env->host, 0, true, &f));
    const struct aspace_page bad[] = {
        {.pa = f.pa + 8}, {.pa = f.pa, .order = 63},       {.pa = f.pa, .order = 200}, {.pa = f.pa, .order = 40},
        {.pa = end},      {.pa = f.pa, .rights = env->rw},
    };
    struct lender l = {.answer = ASPACE_FAULT_DONE};

    map_lender(env, &l, va, 16 * PAGE, env->ro);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        l.page = bad[i];
        CHECK_FAULT(aspace_fault(env->space, va + 2 * PAGE + 5, ASPACE_R, NULL), ASPACE_FAULT_BUS);
        expect_absent(env, va + 2 * PAGE);
        CHECK_EQ(l.releases, i + 1);
        CHECK_EQ(l.offset, 18 * PAGE);
        CHECK_EQ(l.pa, bad[i].pa);
    }
    l.page = (struct aspace_page){.pa = ASPACE_PA_NONE};
    CHECK_FAULT(aspace_fault(env->space, va + 2 * PAGE, ASPACE_R, NULL), ASPACE_FAULT_BUS);
    l.answer = (enum aspace_fault_result)(ASPACE_FAULT_COUNT + 3);
    CHECK_FAULT(aspace_fault(env->space, va + 2 * PAGE, ASPACE_R, NULL), ASPACE_FAULT_BUS);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    CHECK_EQ(l.releases, sizeof(bad) / sizeof(bad[0]));
    aspace_frame_release(&f);
}

/* Lent for reading, then written: the same page with more rights, and one reference of the two. */
static void backend_asked_again(struct env *env)
{
    struct aspace_frame f, other;
    uint64_t va = at(env, 1, 0);
    struct lender l = {.answer = ASPACE_FAULT_DONE};

    CHECK_OK(aspace_frame_alloc(env->host, 0, true, &f));
    CHECK_OK(aspace_frame_alloc(env->host, 0, true, &other));
    map_lender(env, &l, va, 0, env->rw);
    l.page = (struct aspace_page){.pa = f.pa, .rights = env->ro};
    touch(env, va + PAGE, ASPACE_R);
    l.answer = ASPACE_FAULT_NEEDS_IO;
    CHECK_FAULT(aspace_fault(env->space, va + PAGE, ASPACE_W, NULL), ASPACE_FAULT_NEEDS_IO);
    l.answer = ASPACE_FAULT_DONE;
    l.page = (struct aspace_page){.pa = ASPACE_PA_NONE};
    CHECK_FAULT(aspace_fault(env->space, va + PAGE, ASPACE_W, NULL), ASPACE_FAULT_BUS);
    CHECK_EQ(l.releases, 0);
    l.page.pa = other.pa;
    CHECK_FAULT(aspace_fault(env->space, va + PAGE, ASPACE_W, NULL), ASPACE_FAULT_BUS);
    CHECK_EQ(l.releases, 1);
    CHECK_EQ(l.pa, other.pa);
    expect_leaf(env, va + PAGE, f.pa, env->ro);
    l.page.pa = f.pa;
    touch(env, va + PAGE, ASPACE_W);
    expect_leaf(env, va + PAGE, f.pa, env->rw);
    CHECK_EQ(l.releases, 2);
    CHECK_EQ(l.fills, 5);
    audit(env);
    if (env->config.features & ASPACE_FEAT_AD) {
        poke(env, va + PAGE, 1); /* without flags of hardware's it may have been written */
    }
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    CHECK_EQ(l.releases, 3);
    CHECK_EQ(l.dirty, 1);
    aspace_frame_release(&f);
    aspace_frame_release(&other);
}

/* Lent for reading, then executed. */
static void backend_executed_later(struct env *env)
{
    struct aspace_frame f;
    uint64_t va = at(env, 1, 0);
    struct aspace_linux_counts before, after;
    struct lender l = {.answer = ASPACE_FAULT_DONE};

    if (!expressible(env, ASPACE_R)) {
        test_skip("pages that can be read can be executed");
    }
    CHECK_OK(aspace_frame_alloc(env->host, 0, true, &f));
    map_lender(env, &l, va, 0, ASPACE_RX);
    l.page = (struct aspace_page){.pa = f.pa, .rights = ASPACE_R};
    touch(env, va + PAGE, ASPACE_R);
    l.page.rights = 0;
    aspace_linux_counts_read(&env->machine, &before);
    touch(env, va + PAGE, ASPACE_X);
    expect_leaf(env, va + PAGE, f.pa, ASPACE_RX);
    aspace_linux_counts_read(&env->machine, &after);
    CHECK_EQ(after.icache_sync, before.icache_sync + 1);
    CHECK_EQ(env->machine.icache_last, f.pa);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    aspace_frame_release(&f);
}

/* Written, then without any right, then with one that it was not lent with. */
static void backend_stays_dirty(struct env *env)
{
    struct aspace_frame f;
    uint64_t va = at(env, 1, 0);
    struct lender l = {.answer = ASPACE_FAULT_DONE};

    if (!expressible(env, ASPACE_X) || env->rw & ASPACE_X) {
        test_skip("pages that can be executed can be read");
    }
    CHECK_OK(aspace_frame_alloc(env->host, 0, true, &f));
    map_lender(env, &l, va, 0, env->rw);
    l.page.pa = f.pa;
    poke(env, va + PAGE, 1);
    CHECK_OK(aspace_protect(env->space, va, 4 * PAGE, 0));
    CHECK_OK(aspace_protect(env->space, va, 4 * PAGE, ASPACE_X));
    touch(env, va + PAGE, ASPACE_X);
    expect_leaf(env, va + PAGE, f.pa, ASPACE_X);
    CHECK_EQ(l.dirty, 0);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    CHECK_EQ(l.dirty, 1);
    aspace_frame_release(&f);
}

/* ----------------------------------------------------------------------------------------------------------- frames */

static void frames(struct env *env)
{
    struct aspace_frame f;
    struct aspace_frame empty = {0};

    for (unsigned order = 0; order <= 9; order += 3) {
        CHECK_OK(aspace_frame_alloc(env->host, order, true, &f));
        CHECK_EQ(aspace_frame_bytes(&f), PAGE << order);
        CHECK_EQ(f.pa % (PAGE << order), 0);
        const uint8_t *bytes = aspace_frame_data(&f);
        CHECK_EQ(bytes[0], 0);
        CHECK_EQ(bytes[(PAGE << order) - 1], 0);
        aspace_frame_fill(&f, 0x42);
        CHECK_EQ(bytes[(PAGE << order) - 1], 0x42);
        CHECK_EQ(ledger(env).data, UINT64_C(1) << order);
        aspace_frame_release(&f);
        CHECK(f.host == NULL);
        aspace_frame_release(&f);
        CHECK_EQ(ledger(env).data, 0);
    }
    aspace_frame_release(&empty);
    CHECK_OK(aspace_frame_alloc(env->host, 0, false, &f));
    aspace_pa_t pa = aspace_frame_take(&f);
    CHECK(f.host == NULL);
    aspace_frame_release(&f);
    CHECK_EQ(ledger(env).data, 1);
    env->machine.hal->free(&env->machine, pa, 0);
    arena_fail_nth(&env->machine.arena, 1);
    CHECK_ERROR(aspace_frame_alloc(env->host, 0, false, &f), ASPACE_E_NO_MEMORY);
}

static const struct test tests[] = {
    {"copy_across", copy_across, 0},
    {"copy_reaches_frame", copy_reaches_frame, 0},
    {"copy_ends", copy_ends, 0},
    {"copy_at_end_of_space", copy_at_end_of_space, 0},
    {"copy_needs_rights", copy_needs_rights, 0},
    {"copy_marks_dirty", copy_marks_dirty, NEEDS_AD},
    {"compare_exchange", compare_exchange, 0},
    {"segments", segments, 0},
    {"segments_joined", segments_joined, 0},
    {"doorbells", doorbells, 0},
    {"rom", rom, 0},
    {"backend_custom", backend_custom, 0},
    {"backend_lends_less", backend_lends_less, 0},
    {"backend_keeps_less", backend_keeps_less, 0},
    {"backend_destroy", backend_destroy, NEEDS_PLAIN},
    {"backend_bad_pages", backend_bad_pages, 0},
    {"backend_asked_again", backend_asked_again, 0},
    {"backend_executed_later", backend_executed_later, 0},
    {"backend_stays_dirty", backend_stays_dirty, 0},
    {"frames", frames, NEEDS_PLAIN},
};
const struct suite access_suite = SUITE(tests);
