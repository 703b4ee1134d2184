/* SPDX-License-Identifier: BSD-2-Clause */
/* What once went wrong with pages of objects, with those who are told of them, and with pinned ones. */
#include <string.h>

#include <aspace/object.h>
#include <aspace/pin.h>
#include <aspace/ticket.h>
#include <aspace/watch.h>

#include "../conformance/clone.h"

static struct one_page {
    struct aspace_object object; /* first */
    struct aspace_frame frame;
    unsigned dirty;
} one_page;

static enum aspace_fault_result one_page_get(struct aspace_object *object, uint64_t offset, uint32_t access,
                                             uint32_t flags, struct aspace_page *page)
{
    (void)object, (void)offset, (void)access, (void)flags;
    page->pa = one_page.frame.pa;
    return ASPACE_FAULT_DONE;
}

static void one_page_dirty(struct aspace_object *object, uint64_t offset, aspace_pa_t pa)
{
    (void)object, (void)offset, (void)pa;
    one_page.dirty++;
}

static void map_one_page(struct env *env, enum aspace_kind kind, uint32_t max_rights)
{
    static const struct aspace_object_ops ops = {.name = "one page", .get = one_page_get, .dirty = one_page_dirty};
    struct aspace_map m = request(kind, env->base, PAGE, env->rw);

    memset(&one_page, 0, sizeof(one_page));
    CHECK_OK(aspace_object_init(&one_page.object, env->host, &ops, PAGE));
    m.object = &one_page.object;
    m.max_rights = max_rights;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_OK(aspace_frame_alloc(env->host, 0, true, &one_page.frame));
}

static void drop_one_page(struct env *env)
{
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    aspace_frame_release(&one_page.frame);
}

/* Another right that the object is asked for, once the write right has been taken away, does not make a page clean. */
static void written_page_stays_dirty(struct env *env)
{
    if (!expressible(env, ASPACE_R) || !expressible(env, ASPACE_RX)) {
        test_skip("read-only and executable are not told apart");
    }
    map_one_page(env, ASPACE_KIND_SHARED, ASPACE_RWX);
    touch(env, env->base, ASPACE_W);
    poke(env, env->base, 5);
    CHECK_OK(aspace_protect(env->space, env->base, PAGE, ASPACE_R));
    CHECK_OK(aspace_protect(env->space, env->base, PAGE, ASPACE_RX));
    touch(env, env->base, ASPACE_X);
    drop_one_page(env);
    CHECK_EQ(one_page.dirty, 1);
}

/* A page that is made clean for its object loses the write right and no other. */
static uint32_t rights_left;

static void note_rights(struct aspace_watcher *watcher, const struct aspace_gone *gone)
{
    (void)watcher;
    rights_left = gone->kind == ASPACE_GONE_PROTECTED ? gone->rights : 0;
}

static void watcher_learns_what_is_left(struct env *env)
{
    struct aspace_watcher watcher = {.va = env->base, .size = PAGE, .gone = note_rights};

    map_one_page(env, ASPACE_KIND_SHARED, env->rw);
    poke(env, env->base, 5);
    CHECK_OK(aspace_watch(env->space, &watcher));
    CHECK(aspace_object_clean(&one_page.object, 0, PAGE));
    CHECK_EQ(rights_left, ASPACE_RX | ASPACE_U);
    aspace_unwatch(env->space, &watcher);
    drop_one_page(env);
}

/* A page that is made zero is in another frame. */
static void watcher_learns_of_zeroes(struct env *env)
{
    struct aspace_watcher watcher = {.va = env->base, .size = PAGE, .gone = note_rights};

    map_one_page(env, ASPACE_KIND_PRIVATE, env->rw);
    poke(env, env->base, 5);
    CHECK_OK(aspace_watch(env->space, &watcher));
    rights_left = 1;
    CHECK_OK(aspace_discard_zero(env->space, env->base, PAGE, NULL));
    CHECK_EQ(rights_left, 0);
    aspace_unwatch(env->space, &watcher);
    drop_one_page(env);
}

/* A device goes on with the frame that it has: a page that reads zero from then on would be another. */
static void pinned_page_is_not_zeroed(struct env *env)
{
    aspace_pa_t pages[2];
    uint64_t done;

    map_one_page(env, ASPACE_KIND_PRIVATE, env->rw);
    do_map(env, ASPACE_KIND_LAZY, env->base + PAGE, PAGE, env->rw);
    poke(env, env->base, 5);
    poke(env, env->base + PAGE, 6);
    CHECK_OK(aspace_pin(env->space, env->base, 2 * PAGE, ASPACE_RW, pages));
    CHECK_ERROR(aspace_discard_zero(env->space, env->base, 2 * PAGE, &done), ASPACE_E_BUSY);
    CHECK_EQ(done, 0);
    CHECK_ERROR(aspace_discard_zero(env->space, env->base + PAGE, PAGE, &done), ASPACE_E_BUSY);
    CHECK_EQ(done, 0);
    for (unsigned n = 0; n < 2; n++) {
        CHECK_EQ(walk(env, env->base + n * PAGE).pa, pages[n]);
        CHECK_EQ(peek(env, env->base + n * PAGE), 5 + n);
    }
    CHECK_OK(aspace_unpin(env->space, env->base, 2 * PAGE, pages));
    CHECK_OK(aspace_discard_zero(env->space, env->base, 2 * PAGE, &done));
    CHECK_EQ(done, 2 * PAGE);
    CHECK_EQ(peek(env, env->base), 0);
    CHECK_EQ(peek(env, env->base + PAGE), 0);
    drop_one_page(env);
}

/* A page of another area, in the middle of what an object was mapped to, is no business of the object's. */
static enum aspace_fault_result never_at_hand(const struct aspace_fill *fill, struct aspace_page *page)
{
    (void)fill, (void)page;
    return ASPACE_FAULT_NEEDS_IO;
}

static void release_page(void *ctx, uint64_t offset, aspace_pa_t pa, unsigned order)
{
    struct env *env = ctx;

    (void)offset;
    env->hal.free(&env->machine, pa, order);
}

static void evicted_around_a_ticket(struct env *env)
{
    static const struct aspace_backend backend = {.name = "far", .fill = never_at_hand, .release = release_page};
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, env->base, PAGE, env->rw);
    struct aspace_map two = request(ASPACE_KIND_SHARED, env->base, 2 * PAGE, env->rw);
    struct aspace_ticket ticket = {0};

    map_one_page(env, ASPACE_KIND_SHARED, env->rw);
    two.flags = m.flags = ASPACE_MAP_REPLACE;
    two.object = &one_page.object;
    CHECK_OK(aspace_map(env->space, &two, NULL));
    m.backend = &backend;
    m.backend_ctx = env;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_FAULT(aspace_fault_try(env->space, env->base, ASPACE_R, 0, &ticket, NULL), ASPACE_FAULT_NEEDS_IO);
    CHECK(!aspace_object_evict(&one_page.object, 0, PAGE));
    aspace_object_truncate(&one_page.object, 0);
    aspace_pa_t pa = env->hal.alloc(&env->machine, 0, ASPACE_ALLOC_ZERO);
    CHECK_OK(aspace_fault_complete(&ticket, pa));
    drop_one_page(env);
}

/* An object takes its pages back, and private copies past its end, whether their frames are pinned or not. */
static void revoked_although_pinned(struct env *env)
{
    static struct aspace_blob blob;
    struct aspace_map m = request_linear(env->base, 2 * PAGE, env->rw, 0);
    struct aspace_frame frame;
    aspace_pa_t pages[2];

    CHECK_OK(aspace_frame_alloc(env->host, 1, true, &frame));
    CHECK_OK(aspace_blob_init(&blob, env->host, frame.pa, 2 * PAGE, ASPACE_RWX));
    m.pa = frame.pa;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    m = request(ASPACE_KIND_SHARED, env->base + 2 * PAGE, 2 * PAGE, env->rw);
    m.object = &blob.object;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    touch(env, m.va, ASPACE_W);
    CHECK_OK(aspace_pin(env->space, env->base, PAGE, ASPACE_RW, pages));
    (void)aspace_object_evict(&blob.object, 0, PAGE);
    expect_absent(env, m.va);
    m.va += 2 * PAGE;
    m.kind = ASPACE_KIND_PRIVATE;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_OK(aspace_pin(env->space, m.va, PAGE, ASPACE_RW, pages + 1));
    aspace_object_truncate(&blob.object, 0);
    expect_absent(env, m.va);
    CHECK_FAULT(aspace_fault(env->space, m.va, ASPACE_R, NULL), ASPACE_FAULT_BUS);
    aspace_trim(env->host);
    *(uint64_t *)aspace_phys_to_virt(pages[1]) = 1; /* the ledger would tell if it were free */
    CHECK_OK(aspace_unpin(env->space, env->base, PAGE, pages));
    CHECK_OK(aspace_unpin(env->space, m.va, PAGE, pages + 1));
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    aspace_object_put(&blob.object);
    aspace_frame_release(&frame);
}

/* The fork failed, the parent goes on, and what the child had is about to be released: the next write has to find the
 * frame that the device uses. The frame of an earlier page of the child's is freed in between. */
static struct {
    struct env *env;
    uint64_t va;
    void (*free)(void *ctx, aspace_pa_t pa, unsigned order);
} early_writer;

static void write_before_release(void *ctx, aspace_pa_t pa, unsigned order)
{
    struct env *env = early_writer.env;

    early_writer.free(ctx, pa, order);
    env->hal.free = early_writer.free;
    aspace_linux_set_cpu(1);
    if (env->variant->smr == ASPACE_SMR_QSBR) {
        aspace_cpu_online(env->host);
    }
    (void)!aspace_fault(env->space, early_writer.va, ASPACE_W, NULL);
    if (env->variant->smr == ASPACE_SMR_QSBR) {
        aspace_cpu_offline(env->host);
    }
    aspace_linux_set_cpu(0);
    env->hal.free = write_before_release;
}

static void failed_fork_leaves_pinned_frames(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_LAZY, env->base, 2 * PAGE, env->rw);
    struct clone child;
    int rc = ASPACE_E_NO_MEMORY;
    aspace_pa_t frame;

    m.fork = ASPACE_FORK_COPY;
    m.max_leaf_level = 1;
    make_clone(env, &child, 1);
    CHECK_OK(aspace_map(env->space, &m, NULL));
    poke(env, m.va, 1);
    CHECK_OK(aspace_pin(env->space, m.va + PAGE, PAGE, ASPACE_RW, &frame));
    early_writer.env = env;
    early_writer.va = m.va + PAGE;
    early_writer.free = env->hal.free;
    env->hal.free = write_before_release;
    for (uint64_t n = 1; rc != ASPACE_OK; n++) {
        CHECK(n < 100);
        arena_fail_nth(&env->machine.arena, n);
        rc = aspace_fork(env->space, child.space);
        arena_fail_nth(&env->machine.arena, 0);
        CHECK_EQ(walk(env, m.va + PAGE).pa, frame);
        audit(env);
    }
    poke(env, m.va + PAGE, 2);
    CHECK_EQ(walk(env, m.va + PAGE).pa, frame);
    env->hal.free = early_writer.free;
    CHECK_OK(aspace_unpin(env->space, m.va + PAGE, PAGE, &frame));
    drop_clone(env, &child);
}

static const struct test tests[] = {
    {"failed_fork_leaves_pinned_frames", failed_fork_leaves_pinned_frames, 0},
    {"written_page_stays_dirty", written_page_stays_dirty, 0},
    {"watcher_learns_what_is_left", watcher_learns_what_is_left, 0},
    {"watcher_learns_of_zeroes", watcher_learns_of_zeroes, 0},
    {"pinned_page_is_not_zeroed", pinned_page_is_not_zeroed, 0},
    {"evicted_around_a_ticket", evicted_around_a_ticket, 0},
    {"revoked_although_pinned", revoked_although_pinned, 0},
};

int main(int argc, char **argv)
{
    const struct suite suites[] = {SUITE(tests)};
    const struct program program = {"regress", suites, 1, NULL};

    return harness_main(&program, argc, argv);
}
