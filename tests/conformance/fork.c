/* SPDX-License-Identifier: BSD-2-Clause */
/* Forks, and pages that are shared until they are written: the scenarios about them, and what the header says. */
#include <aspace/fork.h>
#include <aspace/object.h>
#include <aspace/pin.h>
#include <aspace/ticket.h>

#include "clone.h"

/* The space begins anew on a host that is set up otherwise. */
static void new_host(struct env *env, const struct aspace_host_config *special)
{
    struct aspace_host_config config = *special;

    if (config.chunk_order && counters(env).tables >= 1u << config.chunk_order) {
        config.chunk_order = 0; /* the root would not fit */
    }
    config.cpus = env->cpus;
    config.smr = env->variant->smr;
    CHECK_OK(aspace_destroy(env->space));
    CHECK_OK(aspace_host_fini(env->host));
    CHECK_OK(aspace_host_init(env->host, &env->hal, &env->machine, &config));
    if (env->variant->smr == ASPACE_SMR_QSBR) {
        aspace_cpu_online(env->host);
    }
    CHECK_OK(aspace_create(env->space, env->host, &env->config));
    aspace_linux_describe(env->space, &env->config, &env->sim_space);
}

/* ------------------------------------------------------------------------------------------------------ the basics */

static void shared_until_written(struct env *env)
{
    uint64_t va = lazy_pages(env, 3);
    struct clone child;

    uint64_t pa = walk(env, va).pa;
    fork_clone(env, &child);
    CHECK_EQ(walk(env, va).pa, pa);
    CHECK_EQ(clone_pa(env, &child, va), pa);
    CHECK_EQ(clone_peek(env, &child, va + PAGE), 101);
    clone_poke(env, &child, va, 7);
    CHECK(clone_pa(env, &child, va) != pa);
    CHECK_EQ(peek(env, va), 100);
    CHECK_EQ(clone_peek(env, &child, va), 7);
    aspace_trim(env->host);
    poke(env, va, 8); /* the sole owner now */
    CHECK_EQ(walk(env, va).pa, pa);
    CHECK_EQ(clone_peek(env, &child, va), 7);
    clone_poke(env, &child, va + 4 * PAGE, 9); /* unfilled in both: each gets its own */
    CHECK_EQ(peek(env, va + 4 * PAGE), 0);
    CHECK_EQ(counters(env).cow_copies, 0);
    drop_clone(env, &child);
    CHECK_EQ(peek(env, va), 8);
    CHECK_EQ(peek(env, va + PAGE), 101);
}

static void child_outlives_parent(struct env *env)
{
    uint64_t va = lazy_pages(env, 3);
    struct clone child;

    fork_clone(env, &child);
    CHECK_OK(aspace_unmap(env->space, va, 2 * PAGE));
    CHECK_EQ(clone_peek(env, &child, va), 100);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    CHECK_EQ(clone_peek(env, &child, va + 2 * PAGE), 102);
    swap(env, &child);
    poke(env, va + 2 * PAGE, 5);
    CHECK_EQ(counters(env).cow_copies, 0);
    CHECK(counters(env).cow_takes >= 1);
    swap(env, &child);
    drop_clone(env, &child);
}

static void what_does_not_match(struct env *env)
{
    uint64_t va = lazy_pages(env, 1);
    struct clone child;

    CHECK_ERROR(aspace_fork(env->space, env->space), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_fork(env->space, NULL), ASPACE_E_INVALID);
    make_clone(env, &child, 1);
    swap(env, &child);
    do_map(env, ASPACE_KIND_LAZY, va, PAGE, env->rw);
    swap(env, &child);
    CHECK_ERROR(aspace_fork(env->space, child.space), ASPACE_E_INVALID);
    CHECK_OK(aspace_clear(child.space));
    aspace_sweep(child.space, SIZE_MAX);
    CHECK_OK(aspace_fork(env->space, child.space));
    drop_clone(env, &child);
    make_clone(env, &child, 1);
    aspace_close(child.space);
    CHECK_ERROR(aspace_fork(env->space, child.space), ASPACE_E_CLOSED);
    drop_clone(env, &child);
    CHECK_EQ(peek(env, va), 100);
}

/* Every kind in one space: borrowed memory and areas without pages are the same in both. */
static void kinds(struct env *env)
{
    uint64_t va = env->base, pa = device_pa(env, 16 * PAGE);
    struct clone child;

    do_linear(env, va, 2 * PAGE, env->rw, pa);
    struct aspace_map m = request(ASPACE_KIND_ROM, va + 2 * PAGE, PAGE, env->rw);
    m.pa = pa + 2 * PAGE;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    m = request(ASPACE_KIND_TRAP, va + 3 * PAGE, PAGE, env->rw);
    m.cookie = 77;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    do_map(env, ASPACE_KIND_GUARD, va + 4 * PAGE, PAGE, env->rw);
    do_map(env, ASPACE_KIND_RESERVED, va + 5 * PAGE, PAGE, env->rw);
    do_map(env, ASPACE_KIND_EAGER, va + 8 * PAGE, 2 * PAGE, env->rw);
    fork_clone(env, &child);
    swap(env, &child);
    expect_leaf(env, va + PAGE, pa + PAGE, env->rw);
    expect_leaf(env, va + 2 * PAGE, pa + 2 * PAGE, env->rw & ~(uint32_t)ASPACE_W);
    struct aspace_fault_info info = {0};
    CHECK_FAULT(aspace_fault(env->space, va + 3 * PAGE, ASPACE_R, &info), ASPACE_FAULT_TRAP);
    CHECK_EQ(info.cookie, 77);
    CHECK_FAULT(aspace_fault(env->space, va + 4 * PAGE, ASPACE_R, NULL), ASPACE_FAULT_GUARD);
    CHECK_FAULT(aspace_fault(env->space, va + 5 * PAGE, ASPACE_R, NULL), ASPACE_FAULT_PERMISSION);
    poke(env, va + 8 * PAGE, 1);
    CHECK(!mapped(env, va + 6 * PAGE));
    swap(env, &child);
    CHECK_EQ(peek(env, va + 8 * PAGE), 0);
    expect_leaf(env, va, pa, env->rw);
    drop_clone(env, &child);
}

static void in_steps(struct env *env)
{
    uint64_t va = lazy_pages(env, 4);
    struct aspace_fork fork;
    struct clone child;
    uint64_t value = 1;
    int rc, steps = 0;

    make_clone(env, &child, 1);
    CHECK_OK(aspace_fork_begin(&fork, env->space, child.space));
    while ((rc = aspace_fork_step(&fork, 1)) == ASPACE_E_MORE) {
        struct clone other;
        CHECK_FAULT(aspace_fault(env->space, va + 6 * PAGE, ASPACE_W, NULL), ASPACE_FAULT_RETRY);
        CHECK_ERROR(aspace_write(env->space, va, &value, 8, NULL), ASPACE_E_RETRY);
        CHECK_EQ(peek(env, va), 100);
        make_clone(env, &other, 2);
        CHECK_ERROR(aspace_fork(env->space, other.space), ASPACE_E_BUSY);
        drop_clone(env, &other);
        steps++;
    }
    CHECK_OK(rc);
    CHECK(steps > 0);
    poke(env, va, 5);
    CHECK_EQ(clone_peek(env, &child, va), 100);
    drop_clone(env, &child);
    make_clone(env, &child, 1);
    CHECK_OK(aspace_fork_begin(&fork, env->space, child.space));
    CHECK_ERROR(aspace_fork_step(&fork, 1), ASPACE_E_MORE);
    aspace_fork_cancel(&fork);
    swap(env, &child);
    CHECK(!mapped(env, va));
    swap(env, &child);
    poke(env, va, 6);
    drop_clone(env, &child);
    CHECK_EQ(peek(env, va), 6);
}

/* ------------------------------------------------------------------------------------------------------- scenarios */

/* 29: taken back in place, no copy, mark gone. */
static void sole_owner_takes_back(struct env *env)
{
    uint64_t va = lazy_pages(env, 2);
    struct clone child;

    uint64_t pa = walk(env, va).pa;
    fork_clone(env, &child);
    drop_clone(env, &child);
    aspace_trim(env->host);
    uint64_t calls = ledger(env).calls;
    touch(env, va, ASPACE_W);
    expect_leaf(env, va, pa, env->rw);
    CHECK_EQ(ledger(env).calls, calls);
    CHECK_EQ(counters(env).cow_takes, 1);
    CHECK_FAULT(aspace_fault(env->space, va, ASPACE_W, NULL), ASPACE_FAULT_SPURIOUS);
}

/* 30, the part of one CPU: the last two sharers write one after the other; one exits in between. */
static void last_two_write(struct env *env)
{
    uint64_t va = lazy_pages(env, 2);
    struct clone child;

    fork_clone(env, &child);
    poke(env, va, 1);
    clone_poke(env, &child, va, 2);
    CHECK_EQ(peek(env, va), 1);
    CHECK_EQ(frames_held(env), 2);
    clone_poke(env, &child, va + PAGE, 3);
    drop_clone(env, &child);
    poke(env, va + PAGE, 4);
    CHECK_EQ(peek(env, va + PAGE), 4);
    CHECK_EQ(frames_held(env), 2);
    CHECK_EQ(ledger(env).data, 2);
}

/* 31 */
static void out_of_memory_in_copy(struct env *env)
{
    uint64_t va = lazy_pages(env, 2), value = 1;
    struct clone child;

    fork_clone(env, &child);
    aspace_trim(env->host);
    struct snapshot *before = snapshot_take(env);
    arena_fail_from(&env->machine.arena, 1);
    CHECK_FAULT(aspace_fault(env->space, va, ASPACE_W, NULL), ASPACE_FAULT_NO_MEMORY);
    CHECK_ERROR(aspace_write(env->space, va, &value, 8, NULL), ASPACE_E_NO_MEMORY);
    arena_fail_nth(&env->machine.arena, 0);
    snapshot_same(env, before, "after a copy without memory");
    snapshot_free(before);
    poke(env, va, 2);
    CHECK_EQ(clone_peek(env, &child, va), 100);
    drop_clone(env, &child);
}

/* 32 */
static void stale_read_only_translation(struct env *env)
{
    uint64_t va = lazy_pages(env, 2);
    struct clone child;

    fork_clone(env, &child);
    cpu_enter(env, 0);
    cpu_enter(env, 1);
    uint64_t old = cpu_run(env, 1, va, ASPACE_R);
    uint64_t new = cpu_run(env, 0, va, ASPACE_W);
    CHECK(old != new);
    CHECK_EQ(cpu_access(env, 1, va, ASPACE_R), new);
    drop_clone(env, &child);
}

/* 33: what was writable in a TLB is not, when fork returns. */
static void stale_writable_translation(struct env *env)
{
    uint64_t va = lazy_pages(env, 2);
    struct clone child;

    cpu_enter(env, 1);
    uint64_t pa = cpu_run(env, 1, va, ASPACE_W);
    fork_clone(env, &child);
    CHECK_EQ(cpu_access(env, 1, va, ASPACE_W), ASPACE_PA_NONE);
    CHECK(cpu_run(env, 1, va, ASPACE_W) != pa);
    CHECK_EQ(clone_pa(env, &child, va), pa);
    drop_clone(env, &child);
}

/* 34: fork of fork of fork, and then in any order. */
static void many_sharers(struct env *env)
{
    enum { SHARERS = 300 };
    uint64_t va = lazy_pages(env, 1), state = harness_seed();
    static struct clone clones[SHARERS];

    uint64_t pa = walk(env, va).pa;
    for (unsigned i = 0; i < SHARERS; i++) {
        make_clone(env, &clones[i], 1 + i);
        struct aspace *parent = i % 3 && i > 2 ? clones[random_next(&state) % i].space : env->space;
        CHECK_OK(aspace_fork(parent, clones[i].space));
    }
    CHECK_OK(aspace_unmap(env->space, va, PAGE));
    for (unsigned left = SHARERS; left > 0; left--) {
        unsigned pick = (unsigned)(random_next(&state) % left);
        CHECK_EQ(clone_pa(env, &clones[pick], va), pa);
        if (left == 1) { /* the last one has it for itself */
            clone_poke(env, &clones[pick], va, 1);
            CHECK_EQ(clone_pa(env, &clones[pick], va), pa);
        }
        CHECK_EQ(ledger(env).data, 1);
        drop_clone(env, &clones[pick]);
        clones[pick] = clones[left - 1];
        clones[pick].sim_space.config = &clones[pick].config;
    }
    aspace_trim(env->host);
    CHECK_EQ(ledger(env).data, 0);
}

/* 35: the parent is as before, and what was marked is taken back without a copy. */
static void fork_without_memory(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_EAGER, at(env, 1, 3) + PAGE, 3 * PAGE, env->rw);
    struct clone child;
    uint64_t va, n = 1;

    new_host(env, &(struct aspace_host_config){.chunk_order = 3}); /* memory for tables comes in small pieces */
    va = lazy_pages(env, 3);
    m.fork = ASPACE_FORK_COPY;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    make_clone(env, &child, 1);
    for (int rc = ASPACE_E_NO_MEMORY; rc != ASPACE_OK; n++) {
        aspace_trim(env->host);
        uint64_t data = ledger(env).data;
        arena_fail_from(&env->machine.arena, n);
        rc = aspace_fork(env->space, child.space);
        arena_fail_nth(&env->machine.arena, 0);
        audit(env);
        if (rc == ASPACE_OK)
            break;
        CHECK_ERROR(rc, ASPACE_E_NO_MEMORY);
        CHECK_EQ(counters(env).cow_copies, 0);
        aspace_trim(env->host);
        swap(env, &child);
        CHECK_EQ(counters(env).tables, tables_held(env));
        CHECK(!mapped(env, va));
        audit(env);
        swap(env, &child);
        for (unsigned i = 0; i < 3; i++) {
            CHECK_EQ(peek(env, va + i * PAGE), 100 + i);
            poke(env, va + i * PAGE, 100 + i);
        }
        CHECK_EQ(counters(env).cow_copies, 0);
        aspace_trim(env->host);
        CHECK_EQ(ledger(env).data, data);
        aspace_sweep(child.space, SIZE_MAX);
    }
    CHECK(n > 3);
    CHECK_EQ(clone_peek(env, &child, va + PAGE), 101);
    drop_clone(env, &child);
}

/* 36: of a shared object, whoever touches a page first, and after the fork; of a private one, each has its own copy. */
static void objects(struct env *env)
{
    static struct aspace_anon anon; /* outlives the test: the space is destroyed after it */
    struct clone child;
    uint64_t va = env->base;

    CHECK_OK(aspace_anon_init(&anon, env->host, 4 * PAGE, 0));
    struct aspace_map m = request(ASPACE_KIND_SHARED, va, 4 * PAGE, env->rw);
    m.object = &anon.object;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    m.kind = ASPACE_KIND_PRIVATE;
    m.va = va + 4 * PAGE;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    poke(env, va, 1);
    poke(env, va + 5 * PAGE, 2); /* a copy, shared by the fork */
    fork_clone(env, &child);
    clone_poke(env, &child, va + PAGE, 3);
    CHECK_EQ(peek(env, va + PAGE), 3);
    poke(env, va + 2 * PAGE, 4);
    CHECK_EQ(clone_peek(env, &child, va + 2 * PAGE), 4);
    CHECK_EQ(clone_peek(env, &child, va), 1);
    poke(env, va, 5);
    CHECK_EQ(clone_peek(env, &child, va), 5);
    CHECK_EQ(clone_peek(env, &child, va + 4 * PAGE), 5); /* not copied: the object's */
    CHECK_EQ(clone_peek(env, &child, va + 5 * PAGE), 2);
    clone_poke(env, &child, va + 5 * PAGE, 6);
    CHECK_EQ(peek(env, va + 5 * PAGE), 2);
    CHECK_OK(aspace_anon_truncate(&anon, PAGE));
    CHECK_FAULT(aspace_fault(env->space, va + PAGE, ASPACE_R, NULL), ASPACE_FAULT_BUS);
    CHECK_FAULT(aspace_fault(child.space, va + 5 * PAGE, ASPACE_R, NULL), ASPACE_FAULT_BUS);
    CHECK_FAULT(aspace_fault(env->space, va + 5 * PAGE, ASPACE_R, NULL), ASPACE_FAULT_BUS);
    CHECK_EQ(clone_peek(env, &child, va), 5);
    audit(env);
    aspace_object_put(&anon.object);
    drop_clone(env, &child);
    CHECK_EQ(peek(env, va), 5);
}

/* A fork whose memory runs out while areas of objects are copied leaves nothing of the child behind. */
static void objects_without_memory(struct env *env)
{
    static struct aspace_anon anon; /* outlives the test: the space is destroyed after it */
    struct clone child;
    uint64_t n = 1, va;

    new_host(env, &(struct aspace_host_config){.chunk_order = 3});
    va = env->base;
    CHECK_OK(aspace_anon_init(&anon, env->host, 2 * PAGE, 0));
    for (unsigned i = 0; i < 2; i++) {
        struct aspace_map m =
            request(i ? ASPACE_KIND_PRIVATE : ASPACE_KIND_SHARED, va + i * 2 * PAGE, 2 * PAGE, env->rw);
        m.object = &anon.object;
        m.fork = i ? ASPACE_FORK_COPY : ASPACE_FORK_SHARE;
        CHECK_OK(aspace_map(env->space, &m, NULL));
        poke(env, m.va, 1 + i);
        poke(env, m.va + PAGE, 3 + i);
    }
    make_clone(env, &child, 1);
    for (int rc = ASPACE_E_NO_MEMORY; rc != ASPACE_OK; n++) {
        aspace_trim(env->host);
        arena_fail_from(&env->machine.arena, n);
        rc = aspace_fork(env->space, child.space);
        arena_fail_nth(&env->machine.arena, 0);
        audit(env);
        CHECK_EQ(peek(env, va + 2 * PAGE), 2);
        aspace_sweep(child.space, SIZE_MAX);
    }
    CHECK(n > 2);
    CHECK_EQ(clone_peek(env, &child, va), 1);
    CHECK_EQ(clone_peek(env, &child, va + 3 * PAGE), 4);
    aspace_object_put(&anon.object);
    drop_clone(env, &child);
}

/* 24: a page that is being fetched when its space is forked arrives in the parent; the child has it to fetch yet. */
static enum aspace_fault_result fetch_later(const struct aspace_fill *fill, struct aspace_page *page)
{
    (void)fill;
    (void)page;
    return ASPACE_FAULT_NEEDS_IO;
}

static void give_frame_back(void *ctx, uint64_t offset, aspace_pa_t pa, unsigned order)
{
    struct env *env = ctx;

    (void)offset;
    env->machine.hal->free(&env->machine, pa, order);
}

static void fork_during_a_fault(struct env *env)
{
    static const struct aspace_backend backend = {"later", .fill = fetch_later, .release = give_frame_back};
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, env->base, 2 * PAGE, env->rw);
    struct aspace_ticket parents = {0}, childs = {0};
    struct clone child;

    m.backend = &backend;
    m.backend_ctx = env;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_FAULT(aspace_fault_try(env->space, m.va, ASPACE_W, 0, &parents, NULL), ASPACE_FAULT_NEEDS_IO);
    fork_clone(env, &child);
    aspace_pa_t pa = env->machine.hal->alloc(&env->machine, 0, ASPACE_ALLOC_ZERO);
    CHECK_OK(aspace_fault_complete(&parents, pa));
    CHECK_EQ(walk(env, m.va).pa, pa);
    swap(env, &child);
    expect_absent(env, m.va);
    CHECK_FAULT(aspace_fault_try(env->space, m.va, ASPACE_W, 0, &childs, NULL), ASPACE_FAULT_NEEDS_IO);
    aspace_pa_t other = env->machine.hal->alloc(&env->machine, 0, ASPACE_ALLOC_ZERO);
    CHECK_OK(aspace_fault_complete(&childs, other));
    CHECK_EQ(walk(env, m.va).pa, other);
    swap(env, &child);
    drop_clone(env, &child);
    CHECK_EQ(walk(env, m.va).pa, pa);
}

/* A backend that counts its mappings, and may refuse one more. */
struct told {
    int answer;
    uint64_t parent, child;
    unsigned unmapped;
};

static int hear_of_fork(void *ctx, uint64_t area_id, uint64_t child_id)
{
    struct told *t = ctx;

    t->parent = area_id;
    t->child = child_id;
    return t->answer;
}

static void hear_of_end(void *ctx, uint64_t area_id)
{
    struct told *t = ctx;

    t->unmapped += area_id == t->child;
}

static void backend_is_told(struct env *env)
{
    static const struct aspace_backend backend = {"told", .fill = fetch_later, .forked = hear_of_fork,
                                                  .unmapped = hear_of_end};
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, env->base, 2 * PAGE, env->rw);
    static struct told told; /* outlives the test: the space is destroyed after it */
    struct clone child;

    told = (struct told){.answer = ASPACE_E_LIMIT};
    m.backend = &backend;
    m.backend_ctx = &told;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    make_clone(env, &child, 1);
    CHECK_ERROR(aspace_fork(env->space, child.space), ASPACE_E_LIMIT);
    aspace_trim(env->host);
    CHECK_EQ(told.unmapped, 0);
    told.answer = ASPACE_E_OK;
    CHECK_OK(aspace_fork(env->space, child.space));
    CHECK_EQ(told.parent, query(env, m.va).id);
    swap(env, &child);
    CHECK_EQ(told.child, query(env, m.va).id);
    swap(env, &child);
    drop_clone(env, &child);
    aspace_trim(env->host);
    CHECK_EQ(told.unmapped, 1);
    CHECK(mapped(env, m.va));
}

/* 37: the child gets a copy at once; what the device writes the parent sees, and only it. */
static void pinned_page(struct env *env)
{
    uint64_t va = lazy_pages(env, 2);
    aspace_pa_t frame;
    struct clone child;

    CHECK_OK(aspace_pin(env->space, va, PAGE, ASPACE_RW, &frame));
    fork_clone(env, &child);
    CHECK(clone_pa(env, &child, va) != frame);
    CHECK_EQ(clone_pa(env, &child, va + PAGE), walk(env, va + PAGE).pa);
    *(uint64_t *)aspace_phys_to_virt(frame) = 77; /* the device */
    CHECK_EQ(peek(env, va), 77);
    CHECK_EQ(clone_peek(env, &child, va), 100);
    poke(env, va, 78);
    CHECK_EQ(walk(env, va).pa, frame);
    CHECK_EQ(counters(env).cow_copies, 0);
    CHECK_OK(aspace_unpin(env->space, va, PAGE, &frame));
    drop_clone(env, &child);
}

/* 41: each page of a range is released by its own rule, once. */
static void every_sort_of_page(struct env *env)
{
    static struct aspace_anon anon; /* outlives the test: the space is destroyed after it */
    uint64_t big = env->span[1], va = at(env, 1, 1);
    struct clone child;

    CHECK_OK(aspace_anon_init(&anon, env->host, 2 * PAGE, 0));
    do_map(env, ASPACE_KIND_EAGER, va, big, env->rw); /* large where the format lets it be */
    struct aspace_map m = request(ASPACE_KIND_LAZY, va - 2 * PAGE, 2 * PAGE, env->rw);
    CHECK_OK(aspace_map(env->space, &m, NULL));
    poke(env, va - 2 * PAGE, 1); /* counted after the fork; its neighbour stays unfilled */
    m = request(ASPACE_KIND_PRIVATE, va + big, 2 * PAGE, env->rw);
    m.object = &anon.object;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_EQ(peek(env, m.va), 0);                                             /* the object's */
    poke(env, m.va + PAGE, 2);                                                /* a copy */
    do_linear(env, va + big + 3 * PAGE, PAGE, env->rw, device_pa(env, PAGE)); /* behind a hole */
    fork_clone(env, &child);
    poke(env, va - 2 * PAGE, 3); /* unique again: another frame */
    aspace_trim(env->host);
    uint64_t data = ledger(env).data;
    CHECK_OK(aspace_unmap(env->space, va - 2 * PAGE, big + 6 * PAGE));
    CHECK_OK(aspace_unmap(env->space, va - 2 * PAGE, big + 6 * PAGE));
    aspace_trim(env->host);
    CHECK_EQ(ledger(env).data, data - 1); /* all else is the child's too, or the object's */
    CHECK_EQ(clone_peek(env, &child, va - 2 * PAGE), 1);
    CHECK_EQ(clone_peek(env, &child, va + big + PAGE), 2);
    drop_clone(env, &child);
    aspace_trim(env->host);
    CHECK_EQ(ledger(env).data, 2); /* the object's pages */
    aspace_object_put(&anon.object);
}

/* 38 */
static void protect_shared_pages(struct env *env)
{
    struct clone child;
    uint32_t rwx = env->rw | ASPACE_X;

    if (!expressible(env, rwx) || !expressible(env, env->ro)) {
        test_skip("not every right can be expressed");
    }
    struct aspace_map m = request(ASPACE_KIND_LAZY, env->base, 2 * PAGE, env->rw);
    m.max_rights = rwx;
    m.max_leaf_level = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    poke(env, env->base, 100);
    uint64_t va = env->base, pa = walk(env, va).pa;
    fork_clone(env, &child);
    CHECK_OK(aspace_protect(env->space, va, PAGE, 0));
    CHECK_FAULT(aspace_fault(env->space, va, ASPACE_R, NULL), ASPACE_FAULT_PERMISSION);
    CHECK_FAULT(aspace_fault(env->space, va, ASPACE_W, NULL), ASPACE_FAULT_PERMISSION);
    CHECK_OK(aspace_protect(env->space, va, PAGE, env->rw));
    CHECK_EQ(peek(env, va), 100);
    CHECK_EQ(walk(env, va).pa, pa);
    CHECK(!(walk(env, va).rights & ASPACE_W));
    CHECK_OK(aspace_protect(env->space, va, PAGE, rwx));
    CHECK(walk(env, va).rights & ASPACE_X);
    CHECK(!(walk(env, va).rights & ASPACE_W));
    CHECK_EQ(counters(env).cow_copies, 0);
    poke(env, va, 5);
    CHECK_EQ(counters(env).cow_copies, 1);
    CHECK_EQ(clone_peek(env, &child, va), 100);
    drop_clone(env, &child);
}

/* A right that protect has taken away while the page was shared is not given back with the page. */
static void take_back_after_protect(struct env *env)
{
    uint64_t va = lazy_pages(env, 1);
    struct clone child;

    fork_clone(env, &child);
    CHECK_OK(aspace_protect(env->space, va, PAGE, env->ro));
    drop_clone(env, &child);
    CHECK_FAULT(aspace_fault(env->space, va, ASPACE_W, NULL), ASPACE_FAULT_PERMISSION);
    CHECK(!(walk(env, va).rights & ASPACE_W));
}

/* 39 */
static void policies(struct env *env)
{
    static const enum aspace_fork_policy policy[] = {ASPACE_FORK_COW, ASPACE_FORK_COPY, ASPACE_FORK_DROP,
                                                     ASPACE_FORK_WIPE};
    uint64_t va = env->base, pa[4];
    struct clone child;

    for (unsigned i = 0; i < 4; i++) {
        struct aspace_map m = request(ASPACE_KIND_LAZY, va + i * PAGE, PAGE, env->rw);
        m.fork = policy[i];
        CHECK_OK(aspace_map(env->space, &m, NULL));
        poke(env, va + i * PAGE, 100 + i);
        pa[i] = walk(env, va + i * PAGE).pa;
    }
    fork_clone(env, &child);
    CHECK_EQ(clone_pa(env, &child, va), pa[0]);
    CHECK(clone_pa(env, &child, va + PAGE) != pa[1]);
    CHECK_EQ(clone_peek(env, &child, va + PAGE), 101);
    swap(env, &child);
    CHECK(!mapped(env, va + 2 * PAGE));
    expect_absent(env, va + 3 * PAGE);
    CHECK_EQ(peek(env, va + 3 * PAGE), 0);
    swap(env, &child);
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQ(peek(env, va + i * PAGE), 100 + i);
    }
    poke(env, va + PAGE, 5);
    CHECK_EQ(counters(env).cow_copies, 0);
    drop_clone(env, &child);
    struct aspace_map m = request(ASPACE_KIND_LAZY, va + 4 * PAGE, PAGE, env->rw);
    m.fork = ASPACE_FORK_SHARE;
    CHECK_ERROR(aspace_map(env->space, &m, NULL), ASPACE_E_UNSUPPORTED);
    m = request_linear(va + 4 * PAGE, PAGE, env->rw, device_pa(env, PAGE));
    m.fork = ASPACE_FORK_COPY;
    CHECK_ERROR(aspace_map(env->space, &m, NULL), ASPACE_E_UNSUPPORTED);
    m.fork = ASPACE_FORK_WIPE;
    CHECK_ERROR(aspace_map(env->space, &m, NULL), ASPACE_E_UNSUPPORTED);
    m.fork = ASPACE_FORK_REFUSE;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    make_clone(env, &child, 1);
    CHECK_ERROR(aspace_fork(env->space, child.space), ASPACE_E_PERMISSION);
    drop_clone(env, &child);
    poke(env, va, 6);
    CHECK_EQ(counters(env).cow_copies, 0);
}

/* ------------------------------------------------------------------------------------------------------ large pages */

/* Shared as a whole; a write takes it apart in the writer's table only, and copies one page. */
static void large_page(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 1);
    struct clone child;

    do_map(env, ASPACE_KIND_EAGER, va, big, env->rw);
    CHECK_EQ(agree(env, va).leaf_bytes, big);
    poke(env, va + PAGE, 11);
    poke(env, va + 2 * PAGE, 22);
    uint64_t pa = walk(env, va).pa;
    fork_clone(env, &child);
    clone_poke(env, &child, va + PAGE, 33);
    CHECK_EQ(agree(env, va).leaf_bytes, big);
    CHECK_EQ(peek(env, va + PAGE), 11);
    CHECK_EQ(clone_pa(env, &child, va + 2 * PAGE), pa + 2 * PAGE);
    CHECK(clone_pa(env, &child, va + PAGE) != pa + PAGE);
    poke(env, va + 2 * PAGE, 44); /* still shared, piece by piece */
    CHECK_EQ(clone_peek(env, &child, va + 2 * PAGE), 22);
    CHECK_EQ(counters(env).cow_copies, 1);
    aspace_trim(env->host);
    poke(env, va + PAGE, 55); /* the child has dropped this one */
    CHECK_EQ(walk(env, va + PAGE).pa, pa + PAGE);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    CHECK_EQ(clone_peek(env, &child, va + 2 * PAGE), 22);
    CHECK_EQ(ledger(env).data, big / PAGE);
    drop_clone(env, &child);
    aspace_trim(env->host);
    CHECK_EQ(ledger(env).data, 0);
}

/* Who maps pieces goes first, or last; what nobody maps any more is freed, the rest is not. */
static void large_page_in_pieces(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 1), pages = big / PAGE;

    for (unsigned order = 0; order < 2; order++) {
        struct clone child, third;
        do_map(env, ASPACE_KIND_EAGER, va, big, env->rw);
        fork_clone(env, &child);
        CHECK_OK(aspace_fork(env->space, (make_clone(env, &third, 2), third.space)));
        CHECK_OK(aspace_unmap(child.space, va, PAGE)); /* the child maps the other pieces */
        CHECK_OK(aspace_unmap(third.space, va + PAGE, big - PAGE));
        aspace_trim(env->host);
        CHECK_EQ(ledger(env).data, pages);
        CHECK_OK(aspace_unmap(env->space, va, big));
        aspace_trim(env->host);
        CHECK_EQ(ledger(env).data, pages);
        drop_clone(env, order ? &child : &third);
        aspace_trim(env->host);
        CHECK_EQ(ledger(env).data, order ? 1 : pages - 1);
        drop_clone(env, order ? &third : &child);
        aspace_trim(env->host);
        CHECK_EQ(ledger(env).data, 0);
    }
}

static void large_page_taken_back(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 1);
    struct clone child;

    do_map(env, ASPACE_KIND_EAGER, va, big, env->rw);
    uint64_t pa = walk(env, va).pa;
    fork_clone(env, &child);
    drop_clone(env, &child);
    aspace_trim(env->host);
    poke(env, va + PAGE, 1);
    CHECK_EQ(agree(env, va).leaf_bytes, big);
    CHECK_EQ(walk(env, va).pa, pa);
    CHECK_EQ(counters(env).splits, 0);
}

static void giant_page(struct env *env)
{
    uint64_t va = at(env, 2, 1);
    struct clone child;

    if (env->span[2] > UINT64_C(1) << 20) {
        test_skip("the machine has no such frame");
    }
    do_map(env, ASPACE_KIND_EAGER, va, env->span[2], env->rw);
    CHECK_EQ(agree(env, va).leaf_bytes, env->span[2]);
    poke(env, va + env->span[1], 9);
    fork_clone(env, &child);
    clone_poke(env, &child, va + env->span[1], 8);
    CHECK_EQ(peek(env, va + env->span[1]), 9);
    drop_clone(env, &child);
}

/* Migrate and collapse give a shared page a frame of its own. */
static void moved_while_shared(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 1);
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, big, env->rw);
    struct clone child;

    m.max_leaf_level = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    poke(env, va, 1);
    poke(env, va + PAGE, 2);
    fork_clone(env, &child);
    uint64_t pa = walk(env, va).pa;
    CHECK_OK(aspace_migrate(env->space, va, ASPACE_PA_NONE));
    CHECK(walk(env, va).pa != pa);
    CHECK_EQ(clone_pa(env, &child, va), pa);
    audit(env);
    CHECK_OK(aspace_collapse(env->space, va, 1));
    audit(env);
    poke(env, va + PAGE, 3);
    CHECK_EQ(clone_peek(env, &child, va + PAGE), 2);
    drop_clone(env, &child);
    CHECK_EQ(peek(env, va), 1);
}

/* ---------------------------------------------------------------------------------------------------------- counts */

/* A machine whose embedder has a record for each frame. */
static struct aspace_frame_counts *frame_records;
static uint64_t first_record_pa;

static struct aspace_frame_counts *count_of(void *ctx, aspace_pa_t pa)
{
    (void)ctx;
    return &frame_records[(pa - first_record_pa) >> 12];
}

static void embedder_counts(struct env *env)
{
    uint64_t frames = env->machine.arena.frames_total;

    frame_records = calloc(frames, sizeof(*frame_records));
    CHECK(frame_records);
    first_record_pa = env->machine.arena.config.pa_base;
    if (!machine_owns(first_record_pa)) {
        first_record_pa = 0;
        do_map(env, ASPACE_KIND_EAGER, env->base, PAGE, env->rw);
        first_record_pa = walk(env, env->base).pa & ~((frames << 12) - 1);
        CHECK_OK(aspace_unmap(env->space, env->base, PAGE));
    }
    env->hal.frame_counts = count_of;
    shared_until_written(env);
    if (env->huge_level) {
        CHECK_OK(aspace_clear(env->space));
        large_page_in_pieces(env);
    }
    destroy(env);
    aspace_trim(env->host);
    for (uint64_t i = 0; i < frames; i++) {
        CHECK(!frame_records[i].sharers && !frame_records[i].whole);
    }
    free(frame_records);
}

/* As many as can be counted share it; who comes then gets a copy. */
static void saturation(struct env *env)
{
    struct clone clones[3];

    new_host(env, &(struct aspace_host_config){.share_max = 2});
    uint64_t va = lazy_pages(env, 1), pa = walk(env, va).pa;
    for (unsigned i = 0; i < 3; i++) {
        make_clone(env, &clones[i], 1 + i);
        CHECK_OK(aspace_fork(env->space, clones[i].space));
        CHECK_EQ(clone_pa(env, &clones[i], va) == pa, i == 0);
        CHECK_EQ(clone_peek(env, &clones[i], va), 100);
    }
    poke(env, va, 1);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(clone_peek(env, &clones[i], va), 100);
        clone_poke(env, &clones[i], va, 200 + i);
        drop_clone(env, &clones[i]);
    }
    CHECK_EQ(peek(env, va), 1);
}

/* A quota counts what a space has mapped, whether others have it too or not. */
static void quota_of_child(struct env *env)
{
    uint64_t va = lazy_pages(env, 3);
    struct clone child;

    make_clone(env, &child, 1);
    CHECK_OK(aspace_destroy(child.space));
    child.config.quota_tables = tables_held(env) - 1;
    CHECK_OK(aspace_create(child.space, env->host, &child.config));
    CHECK_ERROR(aspace_fork(env->space, child.space), ASPACE_E_QUOTA);
    CHECK_OK(aspace_destroy(child.space));
    child.config.quota_tables = 0;
    child.config.quota_frames = 2;
    CHECK_OK(aspace_create(child.space, env->host, &child.config));
    CHECK_ERROR(aspace_fork(env->space, child.space), ASPACE_E_QUOTA);
    CHECK_OK(aspace_unmap(env->space, va, PAGE));
    aspace_sweep(child.space, SIZE_MAX);
    aspace_trim(env->host);
    CHECK_OK(aspace_fork(env->space, child.space));
    clone_poke(env, &child, va + PAGE, 1);
    swap(env, &child);
    CHECK_EQ(frames_held(env), 2);
    CHECK_FAULT(aspace_fault(env->space, va + 3 * PAGE, ASPACE_W, NULL), ASPACE_FAULT_NO_MEMORY);
    swap(env, &child);
    drop_clone(env, &child);
}

static const struct test tests[] = {
    {"fork_shared_until_written", shared_until_written, 0},
    {"fork_child_outlives_parent", child_outlives_parent, 0},
    {"fork_what_does_not_match", what_does_not_match, NEEDS_PLAIN},
    {"fork_kinds", kinds, 0},
    {"fork_in_steps", in_steps, 0},
    {"fork_large_page", large_page, NEEDS_HUGE},
    {"fork_large_page_in_pieces", large_page_in_pieces, NEEDS_HUGE},
    {"fork_large_page_taken_back", large_page_taken_back, NEEDS_HUGE},
    {"fork_giant_page", giant_page, NEEDS_GIANT},
    {"fork_moved_while_shared", moved_while_shared, NEEDS_HUGE},
    {"fork_embedder_counts", embedder_counts, NEEDS_FEW},
    {"fork_saturation", saturation, 0},
    {"fork_backend_is_told", backend_is_told, 0},
    {"fork_quota_of_child", quota_of_child, 0},
    {"fork_take_back_after_protect", take_back_after_protect, 0},
    {"s29_sole_owner_takes_back", sole_owner_takes_back, 0},
    {"s30_last_two_write", last_two_write, 0},
    {"s31_out_of_memory_in_copy", out_of_memory_in_copy, 0},
    {"s32_stale_read_only_translation", stale_read_only_translation, 0},
    {"s33_stale_writable_translation", stale_writable_translation, 0},
    {"s34_many_sharers", many_sharers, NEEDS_FEW},
    {"s35_fork_without_memory", fork_without_memory, 0},
    {"s36_objects", objects, 0},
    {"fork_objects_without_memory", objects_without_memory, 0},
    {"s24_fork_during_a_fault", fork_during_a_fault, 0},
    {"s37_pinned_page", pinned_page, 0},
    {"s41_every_sort_of_page", every_sort_of_page, 0},
    {"s38_protect_shared_pages", protect_shared_pages, 0},
    {"s39_policies", policies, 0},
};
const struct suite fork_suite = SUITE(tests);
