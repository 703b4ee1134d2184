/* SPDX-License-Identifier: BSD-2-Clause */
/* What once went wrong with pages of objects, with those who are told of them, and with pinned ones. */
#define _DEFAULT_SOURCE

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

static const struct aspace_object_ops ops = {.name = "one page", .get = one_page_get, .dirty = one_page_dirty};

static void map_one_page(struct env *env, enum aspace_kind kind, uint32_t max_rights)
{
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

/* A page that a ticket is for is asked for again while the ticket is being completed: whoever is told to wait for it
 * would wait for a wake that does not come. */
static struct {
    struct env *env;
    struct aspace_ticket ticket;
    enum aspace_fault_result meanwhile;
} busy;

static void try_meanwhile(void *ctx, aspace_pa_t pa, uint64_t bytes)
{
    (void)ctx, (void)pa, (void)bytes;
    busy.meanwhile = aspace_fault_try(busy.env->space, busy.env->base, ASPACE_X, 0, &busy.ticket, NULL);
}

static void asked_for_while_completed(struct env *env)
{
    static const struct aspace_backend backend = {.name = "far", .fill = never_at_hand, .release = release_page};
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, env->base, PAGE, ASPACE_RX);

    m.backend = &backend;
    m.backend_ctx = env;
    memset(&busy, 0, sizeof(busy));
    busy.env = env;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_FAULT(aspace_fault_try(env->space, env->base, ASPACE_X, 0, &busy.ticket, NULL), ASPACE_FAULT_NEEDS_IO);
    CHECK_FAULT(aspace_fault_try(env->space, env->base, ASPACE_X, 0, &busy.ticket, NULL), ASPACE_FAULT_NEEDS_IO);
    env->hal.icache_sync = try_meanwhile;
    CHECK_OK(aspace_fault_complete(&busy.ticket, env->hal.alloc(&env->machine, 0, ASPACE_ALLOC_ZERO)));
    env->hal.icache_sync = NULL;
    CHECK_FAULT(busy.meanwhile, ASPACE_FAULT_RETRY);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
}

/* Who leads because another has failed learns what to fetch as if he had been the first. */
static void next_leader_learns_what_to_fetch(struct env *env)
{
    static const struct aspace_backend backend = {.name = "far", .fill = never_at_hand, .release = release_page};
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, env->base, 2 * PAGE, env->rw);
    struct aspace_fault_info first = {0}, next = {0};
    struct aspace_ticket ticket[2] = {{0}};
    uint64_t va = env->base + PAGE + 24;

    m.backend = &backend;
    m.backend_ctx = env;
    m.offset = 16 * PAGE;
    m.cookie = 99;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_FAULT(aspace_fault_try(env->space, va, ASPACE_R, 0, &ticket[0], &first), ASPACE_FAULT_NEEDS_IO);
    CHECK_FAULT(aspace_fault_try(env->space, va + 8, ASPACE_R, 0, &ticket[1], NULL), ASPACE_FAULT_WAITING);
    CHECK_OK(aspace_fault_fail(&ticket[0], ASPACE_E_FAULT));
    CHECK_FAULT(aspace_fault_try(env->space, va, ASPACE_R, 0, &ticket[1], &next), ASPACE_FAULT_NEEDS_IO);
    CHECK_EQ(next.offset, 17 * PAGE + 24);
    CHECK_EQ(next.offset, first.offset);
    CHECK_EQ(next.area_id, first.area_id);
    CHECK_EQ(next.cookie, 99);
    CHECK_OK(aspace_fault_cancel(&ticket[1]));
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
}

/* A backend, or an object, is asked for more rights, and gives another frame, since the page it gave before has gone
 * meanwhile: that is no reason for BUS. */
static struct {
    struct env *env;
    struct aspace_map map;
    struct aspace_frame frame[2];
    unsigned asked;
    void (*meanwhile)(void);
} lender;

static enum aspace_fault_result give_other(uint32_t access, struct aspace_page *page)
{
    if (access & ASPACE_W && lender.asked == 0) {
        lender.asked = 1;
        lender.meanwhile();
    }
    page->pa = lender.frame[lender.asked].pa;
    page->rights = access & ASPACE_W ? lender.env->rw : lender.env->ro;
    return ASPACE_FAULT_DONE;
}

static enum aspace_fault_result other_fill(const struct aspace_fill *fill, struct aspace_page *page)
{
    return give_other(fill->access, page);
}

static enum aspace_fault_result other_get(struct aspace_object *object, uint64_t offset, uint32_t access,
                                          uint32_t flags, struct aspace_page *page)
{
    (void)object, (void)offset, (void)flags;
    return give_other(access, page);
}

static void discard_it(void)
{
    CHECK_OK(aspace_discard(lender.env->space, lender.map.va, PAGE));
}

static void unmap_its_table(void)
{
    CHECK_OK(aspace_unmap(lender.env->space, lender.map.va, lender.map.size));
    CHECK_OK(aspace_map(lender.env->space, &lender.map, NULL));
}

static void write_gets_another(struct env *env, const struct aspace_map *map, void (*meanwhile)(void))
{
    lender.env = env;
    lender.map = *map;
    lender.meanwhile = meanwhile;
    lender.asked = 0;
    CHECK_OK(aspace_map(env->space, map, NULL));
    touch(env, map->va, ASPACE_R);
    CHECK_EQ(walk(env, map->va).pa, lender.frame[0].pa);
    touch(env, map->va, ASPACE_W);
    CHECK_EQ(walk(env, map->va).pa, lender.frame[1].pa);
    CHECK_OK(aspace_clear(env->space));
}

static void another_frame_for_a_write(struct env *env)
{
    static const struct aspace_backend backend = {.name = "other", .fill = other_fill};
    static const struct aspace_object_ops other_ops = {.name = "other", .get = other_get};
    static struct aspace_object object;
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, at(env, 1, 0), env->span[1], env->rw);

    if (env->ro & ASPACE_W) {
        test_skip("all that is readable can be written");
    }
    m.max_leaf_level = 1;
    m.backend = &backend;
    for (unsigned n = 0; n < 2; n++) {
        CHECK_OK(aspace_frame_alloc(env->host, 0, true, &lender.frame[n]));
    }
    write_gets_another(env, &m, discard_it);
    write_gets_another(env, &m, unmap_its_table);
    CHECK_OK(aspace_object_init(&object, env->host, &other_ops, m.size));
    m.kind = ASPACE_KIND_SHARED;
    m.object = &object;
    write_gets_another(env, &m, discard_it);
    write_gets_another(env, &m, unmap_its_table);
    aspace_trim(env->host);
    for (unsigned n = 0; n < 2; n++) {
        aspace_frame_release(&lender.frame[n]);
    }
}

/* -------------------------------------------------------------------------------------------------- in other spaces */

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void wait_for(const unsigned *flag)
{
    while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE)) {
        nap();
    }
}

static void raise_flag(unsigned *flag)
{
    __atomic_store_n(flag, 1, __ATOMIC_RELEASE);
}

static void *evict_on_cpu(void *cpu)
{
    aspace_linux_set_cpu(*(const unsigned *)cpu);
    aspace_cpu_online(one_page.object.host);
    (void)aspace_object_evict(&one_page.object, 0, PAGE);
    aspace_cpu_offline(one_page.object.host);
    return NULL;
}

/* A space ends while an object takes its pages back: its watchers are told of the end when they are in no call. */
static struct {
    struct aspace_watcher watcher;
    unsigned called, left, ended, overlapped;
} slow;

static void hear_slowly(struct aspace_watcher *watcher, const struct aspace_gone *gone)
{
    (void)watcher;
    if (gone->kind == ASPACE_GONE_DESTROYED) {
        slow.overlapped = !__atomic_load_n(&slow.left, __ATOMIC_ACQUIRE);
        raise_flag(&slow.ended);
    } else if (!__atomic_load_n(&slow.called, __ATOMIC_ACQUIRE)) {
        raise_flag(&slow.called);
        for (unsigned n = 0; n < 50 && !__atomic_load_n(&slow.ended, __ATOMIC_ACQUIRE); n++) {
            nap();
        }
        raise_flag(&slow.left);
    }
}

static void end_is_told_to_who_listens(struct env *env)
{
    struct aspace *space = aligned_alloc(ASPACE_CACHE_LINE, aspace_bytes(env->host));
    struct aspace_map m = request(ASPACE_KIND_SHARED, env->base, PAGE, env->rw);
    struct aspace_config config = env->config;
    pthread_t thread;
    unsigned cpu = 1;

    config.tag = 7;
    map_one_page(env, ASPACE_KIND_SHARED, env->rw);
    CHECK(space != NULL);
    CHECK_OK(aspace_create(space, env->host, &config));
    m.object = &one_page.object;
    CHECK_OK(aspace_map(space, &m, NULL));
    CHECK_FAULT(aspace_fault(space, env->base, ASPACE_R, NULL), ASPACE_FAULT_DONE);
    memset(&slow, 0, sizeof(slow));
    slow.watcher = (struct aspace_watcher){.va = env->base, .size = PAGE, .gone = hear_slowly};
    CHECK_OK(aspace_watch(space, &slow.watcher));
    CHECK_EQ(pthread_create(&thread, NULL, evict_on_cpu, &cpu), 0);
    wait_for(&slow.called);
    CHECK_OK(aspace_destroy(space));
    pthread_join(thread, NULL);
    CHECK(slow.ended && !slow.overlapped);
    free(space);
    drop_one_page(env);
}

/* Two CPUs take an object's pages back in a space that a third one destroys: when it is gone nobody is in it. They are
 * stopped where they hold no lock, as a section ends. */
enum { CPUS = 4 };

static struct {
    unsigned nest[CPUS], stop[CPUS], stopped[CPUS], go[CPUS], done[CPUS];
    struct aspace *space;
} visit;

static void visit_enter(void *ctx)
{
    (void)ctx;
    __atomic_fetch_add(&visit.nest[aspace_cpu_id()], 1, __ATOMIC_SEQ_CST);
}

static void visit_leave(void *ctx)
{
    unsigned cpu = aspace_cpu_id();

    (void)ctx;
    __atomic_fetch_sub(&visit.nest[cpu], 1, __ATOMIC_SEQ_CST);
    if (__atomic_exchange_n(&visit.stop[cpu], 0, __ATOMIC_ACQ_REL)) {
        raise_flag(&visit.stopped[cpu]);
        wait_for(&visit.go[cpu]);
    }
}

static uint64_t visit_goal(void *ctx)
{
    (void)ctx;
    return 1;
}

static bool visit_passed(void *ctx, uint64_t goal)
{
    unsigned inside = 0;

    (void)ctx, (void)goal;
    for (unsigned n = 0; n < CPUS; n++) {
        inside += __atomic_load_n(&visit.nest[n], __ATOMIC_SEQ_CST);
    }
    return inside == 0;
}

static void *visit_on_cpu(void *arg)
{
    unsigned cpu = *(const unsigned *)arg;

    if (cpu == CPUS - 1) {
        aspace_linux_set_cpu(cpu);
        (void)!aspace_destroy(visit.space);
    } else {
        (void)evict_on_cpu(arg);
    }
    raise_flag(&visit.done[cpu]);
    return NULL;
}

static void wait_a_while(const unsigned *one, const unsigned *other)
{
    for (unsigned n = 0; n < 50; n++) {
        if (__atomic_load_n(one, __ATOMIC_ACQUIRE) || __atomic_load_n(other, __ATOMIC_ACQUIRE)) {
            return;
        }
        nap();
    }
}

static void open_visit(struct env *env, struct aspace_host *host, struct aspace_hal *hal)
{
    struct aspace_map m = request(ASPACE_KIND_SHARED, env->base, PAGE, env->rw);

    memset(&visit, 0, sizeof(visit));
    memset(&one_page, 0, sizeof(one_page));
    *hal = env->hal;
    hal->smr_enter = visit_enter;
    hal->smr_leave = visit_leave;
    hal->smr_goal = visit_goal;
    hal->smr_passed = visit_passed;
    CHECK_OK(aspace_host_init(host, hal, &env->machine, &(struct aspace_host_config){.cpus = CPUS}));
    visit.space = aligned_alloc(ASPACE_CACHE_LINE, aspace_bytes(host));
    CHECK(visit.space != NULL);
    CHECK_OK(aspace_create(visit.space, host, &env->config));
    CHECK_OK(aspace_object_init(&one_page.object, host, &ops, PAGE));
    CHECK_OK(aspace_frame_alloc(host, 0, true, &one_page.frame));
    m.object = &one_page.object;
    CHECK_OK(aspace_map(visit.space, &m, NULL));
    CHECK_FAULT(aspace_fault(visit.space, env->base, ASPACE_R, NULL), ASPACE_FAULT_DONE);
}

static void gone_when_nobody_is_in_it(struct env *env)
{
    static struct aspace_hal hal;
    static unsigned cpu[CPUS] = {0, 1, 2, 3};
    struct aspace_host *host = aligned_alloc(ASPACE_CACHE_LINE, ASPACE_HOST_BYTES(CPUS));
    pthread_t thread[CPUS];

    CHECK(host != NULL);
    open_visit(env, host, &hal);
    visit.stop[1] = visit.stop[2] = 1;
    CHECK_EQ(pthread_create(&thread[2], NULL, visit_on_cpu, &cpu[2]), 0);
    wait_for(&visit.stopped[2]);
    CHECK_EQ(pthread_create(&thread[3], NULL, visit_on_cpu, &cpu[3]), 0);
    wait_a_while(&visit.done[3], &visit.done[3]);
    CHECK(!visit.done[3]);
    CHECK_EQ(pthread_create(&thread[1], NULL, visit_on_cpu, &cpu[1]), 0);
    wait_a_while(&visit.stopped[1], &visit.done[1]);
    raise_flag(&visit.go[2]);
    wait_a_while(&visit.done[3], &visit.done[3]);
    CHECK(!visit.done[3] || visit.done[1]);
    raise_flag(&visit.go[1]);
    for (unsigned n = 1; n < CPUS; n++) {
        pthread_join(thread[n], NULL);
    }
    aspace_frame_release(&one_page.frame);
    CHECK_OK(aspace_host_fini(host));
    free(visit.space);
    free(host);
}

/* ---------------------------------------------------------------------------------------------- anonymous memory */

/* What was written behind the end is no part of the object, also once the object has grown over it. */
static void grown_memory_reads_zero(struct env *env)
{
    static struct aspace_anon anon;
    struct aspace_map m = request(ASPACE_KIND_SHARED, env->base, 2 * PAGE, env->rw);

    CHECK_OK(aspace_anon_init(&anon, env->host, 64, 2 * PAGE));
    m.object = &anon.object;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    poke(env, env->base + 56, 1);
    poke(env, env->base + 64, 2);
    CHECK_OK(aspace_anon_truncate(&anon, PAGE + 8));
    CHECK_EQ(peek(env, env->base + 56), 1);
    CHECK_EQ(peek(env, env->base + 64), 0);
    poke(env, env->base + 64, 3);
    CHECK_OK(aspace_anon_truncate(&anon, 2 * PAGE));
    CHECK_EQ(peek(env, env->base + 64), 3);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    aspace_object_put(&anon.object);
}

/* Pages are made zero while they are cut off: the machine tells of what is written to frames that were freed. */
enum { ZEROED = 64, ZERO_ROUNDS = 100 };

static struct {
    struct env *env;
    struct aspace_anon anon;
    unsigned enough;
} zeroing;

static void *zero_again(void *arg)
{
    struct env *env = arg;

    aspace_linux_set_cpu(1);
    aspace_cpu_online(env->host);
    while (!__atomic_load_n(&zeroing.enough, __ATOMIC_ACQUIRE)) {
        (void)!aspace_discard_zero(env->space, env->base, ZEROED * PAGE, NULL);
        aspace_quiescent(env->host);
    }
    aspace_cpu_offline(env->host);
    return NULL;
}

static void zeroed_while_cut_off(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_SHARED, env->base, ZEROED * PAGE, env->rw);
    pthread_t thread;

    memset(&zeroing, 0, sizeof(zeroing));
    CHECK_OK(aspace_anon_init(&zeroing.anon, env->host, ZEROED * PAGE, 0));
    m.object = &zeroing.anon.object;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_EQ(pthread_create(&thread, NULL, zero_again, env), 0);
    for (unsigned n = 0; n < ZERO_ROUNDS; n++) {
        (void)!aspace_populate(env->space, env->base, ZEROED * PAGE, NULL);
        CHECK_OK(aspace_anon_truncate(&zeroing.anon, 0));
        CHECK_OK(aspace_anon_truncate(&zeroing.anon, ZEROED * PAGE));
    }
    raise_flag(&zeroing.enough);
    pthread_join(thread, NULL);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    aspace_object_put(&zeroing.anon.object);
}

static const struct test tests[] = {
    {"failed_fork_leaves_pinned_frames", failed_fork_leaves_pinned_frames, 0},
    {"written_page_stays_dirty", written_page_stays_dirty, 0},
    {"watcher_learns_what_is_left", watcher_learns_what_is_left, 0},
    {"watcher_learns_of_zeroes", watcher_learns_of_zeroes, 0},
    {"pinned_page_is_not_zeroed", pinned_page_is_not_zeroed, 0},
    {"evicted_around_a_ticket", evicted_around_a_ticket, 0},
    {"revoked_although_pinned", revoked_although_pinned, 0},
    {"asked_for_while_completed", asked_for_while_completed, 0},
    {"another_frame_for_a_write", another_frame_for_a_write, 0},
    {"next_leader_learns_what_to_fetch", next_leader_learns_what_to_fetch, 0},
    {"end_is_told_to_who_listens", end_is_told_to_who_listens, NEEDS_SAMPLE},
    {"gone_when_nobody_is_in_it", gone_when_nobody_is_in_it, NEEDS_SAMPLE},
    {"grown_memory_reads_zero", grown_memory_reads_zero, 0},
    {"zeroed_while_cut_off", zeroed_while_cut_off, NEEDS_ROOM | NEEDS_SAMPLE | NEEDS_PLAIN},
};

int main(int argc, char **argv)
{
    const struct suite suites[] = {SUITE(tests)};
    const struct program program = {"regress", suites, 1, NULL};

    return harness_main(&program, argc, argv);
}
