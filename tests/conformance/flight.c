/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scenarios of what others do while an invalidation is in flight, while a page is fetched, or between the steps of a
 * fork. One thread plays the CPUs, so a failure is found again. Owns these moments; must not know src/.
 */
#include <aspace/dirty.h>
#include <aspace/object.h>
#include <aspace/ticket.h>

#include "clone.h"

enum { OLD = 0x01d, LATE = 0x1a7e };

static struct {
    uint64_t va;
    unsigned calls; /* of the window, or of the allocator */
    unsigned wrote; /* writes that went somewhere */
    int software;   /* what aspace_write answered in the window */
    bool busy;      /* in a hook already */
} flight;

static void begin(uint64_t va)
{
    memset(&flight, 0, sizeof(flight));
    flight.va = va;
}

static uint64_t *word(uint64_t pa)
{
    return (uint64_t *)aspace_phys_to_virt(pa);
}

/* A running program on a CPU: false where it has to fault. */
static bool store(struct env *env, unsigned cpu, uint64_t va, uint64_t value)
{
    uint64_t pa = cpu_access(env, cpu, va, ASPACE_W);

    if (pa != ASPACE_PA_NONE) {
        *word(pa) = value;
        flight.wrote++;
    }
    return pa != ASPACE_PA_NONE;
}

/* ------------------------------------------------------------------------------------- 42: a discard, a write fault */

/* CPU 1 writes through what it remembers; CPU 2 remembers nothing, and faults. */
static void write_in_discard(struct env *env)
{
    flight.calls++;
    (void)store(env, 1, flight.va, LATE);
    aspace_linux_set_cpu(2);
    enum aspace_fault_result r = aspace_fault(env->space, flight.va, ASPACE_W, NULL);
    CHECK(r == ASPACE_FAULT_RETRY || r == ASPACE_FAULT_SPURIOUS);
    if (r == ASPACE_FAULT_SPURIOUS) { /* large leaves are taken apart first */
        CHECK(store(env, 2, flight.va, LATE));
    } else {
        env->window = NULL; /* a fault that finds BUSY waits for long */
    }
    aspace_linux_set_cpu(0);
}

/* Nothing of what was there is seen any more, by any CPU, nor what was written to the frame that went; a write after
 * that is seen by all. */
static void check_discarded(struct env *env, uint64_t va)
{
    uint64_t pa = cpu_run(env, 2, va, ASPACE_W);

    CHECK(pa != ASPACE_PA_NONE);
    CHECK_EQ(word(pa)[0], 0);
    CHECK_EQ(word(pa)[1], 0);
    word(pa)[0] = LATE + 1;
    CHECK_EQ(cpu_run(env, 1, va, ASPACE_R), pa);
    CHECK_EQ(peek(env, va), LATE + 1);
    CHECK_EQ(peek(env, va + 8), 0);
}

static void discard_written(struct env *env, uint64_t va, uint64_t from, uint64_t size)
{
    begin(va);
    poke(env, va, OLD);
    poke(env, va + 8, OLD);
    cpu_enter(env, 1);
    cpu_enter(env, 2);
    CHECK(cpu_run(env, 1, va, ASPACE_W) != ASPACE_PA_NONE);
    env->window = write_in_discard;
    CHECK_OK(aspace_discard(env->space, from, size));
    env->window = NULL;
    CHECK(flight.calls >= 1 && flight.wrote >= 1);
    check_discarded(env, va);
    audit(env);
    cpu_leave(env, 1);
    cpu_leave(env, 2);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
}

/* A small page, with neighbours; all and a part of a large one. */
static void s42_discard_against_write(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, 4 * PAGE, env->rw);

    m.max_leaf_level = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    discard_written(env, va + PAGE, va + PAGE, PAGE);
    CHECK_OK(aspace_map(env->space, &m, NULL));
    discard_written(env, va + PAGE, va, 4 * PAGE);
    do_map(env, ASPACE_KIND_LAZY, va, env->span[1], env->rw);
    discard_written(env, va + PAGE, va, env->span[1]);
    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    discard_written(env, va + PAGE, va + PAGE, 2 * PAGE);
}

/* A page that another space has too: what it discards is its own view; the other has the old contents. */
static void s42_discard_of_shared_page(struct env *env)
{
    uint64_t va = lazy_pages(env, 2);
    struct clone child;

    fork_clone(env, &child);
    begin(va);
    cpu_enter(env, 1);
    cpu_enter(env, 2);
    CHECK(cpu_run(env, 1, va, ASPACE_R) != ASPACE_PA_NONE);
    env->window = write_in_discard;
    CHECK_OK(aspace_discard(env->space, va, PAGE));
    env->window = NULL;
    CHECK(flight.calls >= 1 && flight.wrote == 0);
    check_discarded(env, va);
    CHECK_EQ(clone_peek(env, &child, va), 100);
    drop_clone(env, &child);
}

/* A write fault has its frame and has not put it in place: meanwhile another CPU fills the page, writes it and discards
 * it. */
static aspace_pa_t discard_while_filled(void *ctx, unsigned order, unsigned flags)
{
    struct aspace_linux *machine = ctx;
    struct env *env = flight.busy ? NULL : (struct env *)((char *)machine - offsetof(struct env, machine));

    if (env) {
        flight.busy = true;
        flight.calls++;
        aspace_linux_set_cpu(1);
        poke(env, flight.va, OLD);
        poke(env, flight.va + 8, OLD);
        CHECK_OK(aspace_discard(env->space, flight.va, flight.wrote ? env->span[1] : PAGE));
        aspace_linux_set_cpu(0);
    }
    return machine->hal->alloc(ctx, order, flags);
}

static void s42_write_fault_against_discard(struct env *env)
{
    uint64_t va = at(env, 1, 1);

    for (unsigned large = 0; large < 2; large++) {
        struct aspace_map m = request(ASPACE_KIND_LAZY, va, env->span[1], env->rw);
        m.max_leaf_level = !large;
        CHECK_OK(aspace_map(env->space, &m, NULL));
        begin(va + PAGE);
        flight.wrote = large;
        cpu_enter(env, 2);
        env->hal.alloc = discard_while_filled;
        enum aspace_fault_result r = aspace_fault(env->space, flight.va, ASPACE_W, NULL);
        env->hal.alloc = env->machine.hal->alloc;
        CHECK(r == ASPACE_FAULT_DONE || r == ASPACE_FAULT_SPURIOUS);
        CHECK_EQ(flight.calls, 1);
        cpu_enter(env, 1);
        check_discarded(env, flight.va);
        audit(env);
        cpu_leave(env, 1);
        cpu_leave(env, 2);
        CHECK_OK(aspace_clear(env->space));
        aspace_trim(env->host);
    }
}

/* ------------------------------------------------------------------------------------------- 49, 46: writes, a fork */

/* Q first, then P. Where a write faults the program stops: it is told to try again until the fork is over. */
static void write_q_then_p(struct env *env)
{
    flight.calls++;
    if (!store(env, 1, flight.va, 1) || !store(env, 1, flight.va + PAGE, 2)) {
        aspace_linux_set_cpu(1);
        CHECK_FAULT(aspace_fault(env->space, flight.va, ASPACE_W, NULL), ASPACE_FAULT_RETRY);
        aspace_linux_set_cpu(0);
    }
}

/* remembers: which of the two CPU 1 can write without a fault. */
static void cut_in_flight(struct env *env, enum aspace_fork_policy policy, unsigned remembers)
{
    struct aspace_map m = request(ASPACE_KIND_LAZY, at(env, 1, 1) - PAGE, 2 * PAGE, env->rw);
    struct clone child;

    m.fork = policy;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    begin(m.va);
    poke(env, m.va, 100);
    poke(env, m.va + PAGE, 101);
    cpu_enter(env, 1);
    for (unsigned n = 0; n < 2; n++) {
        if (remembers & 1u << n) {
            CHECK(cpu_run(env, 1, m.va + n * PAGE, ASPACE_W) != ASPACE_PA_NONE);
        }
    }
    env->window = write_q_then_p;
    fork_clone(env, &child);
    env->window = NULL;
    CHECK_EQ(flight.calls, 1);
    CHECK_EQ(flight.wrote, remembers == 3 ? 2 : remembers & 1);
    for (unsigned n = 0; n < 2; n++) {
        uint64_t value = flight.wrote > n ? 1 + n : 100 + n;
        CHECK_EQ(peek(env, m.va + n * PAGE), value);
        CHECK_EQ(clone_peek(env, &child, m.va + n * PAGE), value);
        uint64_t pa = cpu_run(env, 1, m.va + n * PAGE, ASPACE_W); /* later than the fork */
        *word(pa) = LATE;
        CHECK_EQ(peek(env, m.va + n * PAGE), LATE);
        CHECK_EQ(clone_peek(env, &child, m.va + n * PAGE), value);
    }
    cpu_leave(env, 1);
    drop_clone(env, &child);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
}

static void s49_fork_is_one_cut(struct env *env)
{
    for (unsigned remembers = 0; remembers < 4; remembers++) {
        cut_in_flight(env, ASPACE_FORK_COW, remembers);
        cut_in_flight(env, ASPACE_FORK_COPY, remembers);
    }
}

/* As hardware makes it: the flag is set in the entry that is there. */
static void set_dirty(struct env *env, uint64_t va)
{
    uint64_t *entry = aspace_phys_to_virt(walk(env, va).entry_pa);

    *entry = naive_used(&env->config, *entry, true);
}

static bool is_dirty(struct env *env, uint64_t va)
{
    uint64_t e = *(const uint64_t *)aspace_phys_to_virt(walk(env, va).entry_pa);

    return naive_used(&env->config, e, true) == e;
}

/* After each step CPU 1 writes a page that the fork has been at, or has not: the flags are kept on both sides, lookups
 * go on, faults are put off, and the child has all. */
static void s46_fork_keeps_late_dirty(struct env *env)
{
    uint64_t va = at(env, 1, 1) - PAGE, round = 0;
    struct aspace_fork fork;
    struct clone child;
    int rc;

    do_map(env, ASPACE_KIND_LAZY, va, 3 * PAGE, env->rw);
    begin(va);
    poke(env, va, 100);
    poke(env, va + PAGE, 101);
    cpu_enter(env, 1);
    CHECK(cpu_run(env, 1, va, ASPACE_W) != ASPACE_PA_NONE);
    CHECK(cpu_run(env, 1, va + PAGE, ASPACE_W) != ASPACE_PA_NONE);
    make_clone(env, &child, 1);
    CHECK_OK(aspace_fork_begin(&fork, env->space, child.space));
    while ((rc = aspace_fork_step(&fork, 1)) == ASPACE_E_MORE) {
        struct aspace_translation t;
        round++;
        CHECK(store(env, 1, va, round) && store(env, 1, va + PAGE, round));
        if (walk(env, va + PAGE).rights & ASPACE_W) {
            set_dirty(env, va + PAGE);
        }
        CHECK_OK(aspace_translate(env->space, va, &t));
        CHECK_EQ(t.pa, walk(env, va).pa);
        CHECK_FAULT(aspace_fault(env->space, va + 2 * PAGE, ASPACE_W, NULL), ASPACE_FAULT_RETRY);
    }
    CHECK_OK(rc);
    CHECK(round > 0);
    CHECK(is_dirty(env, va + PAGE));
    CHECK_EQ(cpu_access(env, 1, va, ASPACE_W), ASPACE_PA_NONE);
    swap(env, &child);
    CHECK(is_dirty(env, va + PAGE));
    CHECK_EQ(peek(env, va), round);
    CHECK_EQ(peek(env, va + PAGE), round);
    swap(env, &child);
    poke(env, va, LATE);
    CHECK_EQ(clone_peek(env, &child, va), round);
    drop_clone(env, &child);
}

/* A write by call, while the flush of something else is in flight: it is made and seen, or it is refused and is not. */
static void write_by_call(struct env *env)
{
    uint64_t value = LATE;

    if (!flight.calls++) {
        aspace_linux_set_cpu(2);
        flight.software = aspace_write(env->space, flight.va, &value, sizeof(value), NULL);
        aspace_linux_set_cpu(0);
    }
}

static void check_by_call(struct env *env, int refused)
{
    env->window = NULL;
    CHECK_EQ(flight.calls >= 1, 1);
    CHECK(flight.software == ASPACE_OK || flight.software == refused);
    CHECK_EQ(peek(env, flight.va), flight.software ? OLD : LATE);
}

static void begin_by_call(struct env *env)
{
    begin(flight.va);
    poke(env, flight.va, OLD);
    CHECK(cpu_run(env, 1, flight.va, ASPACE_W) != ASPACE_PA_NONE);
    env->window = write_by_call;
}

static void s49_write_by_call(struct env *env)
{
    uint64_t va = at(env, 1, 1), bits[1], again[1];
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, env->span[1], env->rw);
    struct aspace_dirty_config log = {.mode = ASPACE_DIRTY_WRITE_PROTECT};
    struct clone child;

    m.max_leaf_level = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    cpu_enter(env, 1);
    flight.va = va;
    begin_by_call(env);
    CHECK_OK(aspace_protect(env->space, va, 2 * PAGE, env->ro));
    check_by_call(env, ASPACE_E_PERMISSION);
    CHECK_OK(aspace_protect(env->space, va, 2 * PAGE, env->rw));
    CHECK_OK(aspace_dirty_start(env->space, &log));
    begin_by_call(env);
    CHECK_OK(aspace_harvest_dirty(env->space, va, PAGE, bits, NULL));
    check_by_call(env, ASPACE_OK);
    CHECK_OK(aspace_harvest_dirty(env->space, va, PAGE, again, NULL));
    CHECK_EQ(bits[0], 1);
    CHECK_EQ(again[0], 1); /* the flag was taken before the write */
    CHECK_OK(aspace_dirty_stop(env->space));
    begin_by_call(env);
    fork_clone(env, &child);
    check_by_call(env, ASPACE_E_RETRY);
    CHECK_EQ(flight.software, ASPACE_E_RETRY);
    CHECK_EQ(clone_peek(env, &child, va), OLD);
    drop_clone(env, &child);
    if (env->huge_level) {
        begin_by_call(env);
        CHECK_OK(aspace_collapse(env->space, va, 1));
        check_by_call(env, ASPACE_E_RETRY);
    }
}

/* --------------------------------------------------------------------------------- 23: an object that gets shorter */

static struct fetched {
    struct aspace_object object; /* first */
    struct aspace_frame page;    /* the one at PAGE; the others are never there */
    bool here;
    unsigned references;
} fetched;

static enum aspace_fault_result get_fetched(struct aspace_object *object, uint64_t offset, uint32_t access,
                                            uint32_t flags, struct aspace_page *page)
{
    struct fetched *f = (struct fetched *)(void *)object;

    (void)access, (void)flags;
    if (!f->here || offset != PAGE) {
        return ASPACE_FAULT_NEEDS_IO;
    }
    page->pa = f->page.pa;
    f->references++;
    return ASPACE_FAULT_DONE;
}

static void put_fetched(struct aspace_object *object, uint64_t offset, aspace_pa_t pa)
{
    (void)offset, (void)pa;
    ((struct fetched *)(void *)object)->references--;
}

static const struct aspace_object_ops fetched_ops = {.name = "fetched", .get = get_fetched, .put = put_fetched};

/* STALE for what has gone, and BUS; a page that is left arrives. Of each kind of area. */
static void s23_truncated_during_io(struct env *env)
{
    uint64_t va = at(env, 1, 0);

    for (unsigned private = 0; private < 2; private ++) {
        struct aspace_map m = request(private ? ASPACE_KIND_PRIVATE : ASPACE_KIND_SHARED, va, 4 * PAGE, env->rw);
        struct aspace_ticket gone = {0}, left = {0};
        memset(&fetched, 0, sizeof(fetched));
        CHECK_OK(aspace_object_init(&fetched.object, env->host, &fetched_ops, 4 * PAGE));
        CHECK_OK(aspace_frame_alloc(env->host, 0, true, &fetched.page));
        *word(fetched.page.pa) = 77;
        m.object = &fetched.object;
        CHECK_OK(aspace_map(env->space, &m, NULL));
        CHECK_FAULT(aspace_fault_try(env->space, va + 3 * PAGE, ASPACE_R, 0, &gone, NULL), ASPACE_FAULT_NEEDS_IO);
        CHECK_FAULT(aspace_fault_try(env->space, va + PAGE, ASPACE_R, 0, &left, NULL), ASPACE_FAULT_NEEDS_IO);
        aspace_object_truncate(&fetched.object, 2 * PAGE);
        CHECK_ERROR(aspace_fault_complete(&gone, ASPACE_PA_NONE), ASPACE_E_STALE);
        CHECK_FAULT(aspace_fault_try(env->space, va + 3 * PAGE, ASPACE_R, 0, &gone, NULL), ASPACE_FAULT_BUS);
        CHECK_EQ(aspace_ticket_state(&gone), ASPACE_TICKET_IDLE);
        expect_absent(env, va + 3 * PAGE);
        fetched.here = true;
        CHECK_OK(aspace_fault_complete(&left, ASPACE_PA_NONE));
        CHECK_EQ(peek(env, va + PAGE), 77);
        (void)aspace_object_evict(&fetched.object, PAGE, PAGE);
        fetched.here = false;
        CHECK_FAULT(aspace_fault_try(env->space, va + PAGE, ASPACE_R, 0, &left, NULL), ASPACE_FAULT_NEEDS_IO);
        CHECK_OK(aspace_fault_cancel(&left));
        audit(env);
        CHECK_OK(aspace_clear(env->space));
        aspace_trim(env->host);
        CHECK_EQ(fetched.references, 0);
        aspace_object_put(&fetched.object);
        aspace_frame_release(&fetched.page);
    }
}

static const struct test tests[] = {
    {"s42_discard_against_write", s42_discard_against_write, DELAYED | NEEDS_SAMPLE},
    {"s42_discard_of_shared_page", s42_discard_of_shared_page, DELAYED | NEEDS_SAMPLE},
    {"s42_write_fault_against_discard", s42_write_fault_against_discard, 0},
    {"s49_fork_is_one_cut", s49_fork_is_one_cut, DELAYED},
    {"s46_fork_keeps_late_dirty", s46_fork_keeps_late_dirty, NEEDS_AD},
    {"s49_write_by_call", s49_write_by_call, DELAYED | NEEDS_SAMPLE},
    {"s23_truncated_during_io", s23_truncated_during_io, 0},
};
const struct suite flight_suite = SUITE(tests);
