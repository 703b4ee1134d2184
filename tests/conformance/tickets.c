/* SPDX-License-Identifier: BSD-2-Clause */
/* Asynchronous faults: what becomes of a page that is being fetched when the space changes meanwhile. */
#define _DEFAULT_SOURCE

#include <pthread.h>
#include <string.h>

#include <aspace/object.h>
#include <aspace/ticket.h>

#include "suites.h"

/* An object of which no page is at hand until somebody fetches it, or the test puts a frame there. A page holds the
 * object's number and its own. */
struct store {
    struct env *env;
    uint64_t number;
    aspace_pa_t hand; /* the frame that fill gives out next, whatever the page */
    unsigned fills, releases, gone;
    uint64_t wrong; /* releases of pages that are not this object's */
};

static uint64_t content(const struct store *o, uint64_t offset)
{
    return o->number << 32 | offset / PAGE;
}

static void free_page(struct env *env, aspace_pa_t pa)
{
    env->machine.hal->free(&env->machine, pa, 0);
}

static aspace_pa_t fetch(struct store *o, uint64_t offset)
{
    aspace_pa_t pa = o->env->machine.hal->alloc(&o->env->machine, 0, 0);

    CHECK(pa != ASPACE_PA_NONE);
    *(uint64_t *)aspace_phys_to_virt(pa) = content(o, offset);
    return pa;
}

static enum aspace_fault_result store_fill(const struct aspace_fill *fill, struct aspace_page *page)
{
    struct store *o = fill->ctx;

    __atomic_fetch_add(&o->fills, 1, __ATOMIC_RELAXED);
    if (o->hand == ASPACE_PA_NONE) {
        return ASPACE_FAULT_NEEDS_IO;
    }
    page->pa = o->hand;
    o->hand = ASPACE_PA_NONE;
    return ASPACE_FAULT_DONE;
}

static void store_release(void *ctx, uint64_t offset, aspace_pa_t pa, unsigned order)
{
    struct store *o = ctx;

    o->releases++;
    o->wrong += order != 0 || *(uint64_t *)aspace_phys_to_virt(pa) != content(o, offset);
    free_page(o->env, pa);
}

static void store_unmapped(void *ctx, uint64_t area_id)
{
    struct store *o = ctx;

    o->gone++;
    o->wrong += area_id == 0;
}

static const struct aspace_backend store_backend = {
    .name = "store",
    .fill = store_fill,
    .release = store_release,
    .unmapped = store_unmapped,
};

static void woken(void *ctx, void *waiter)
{
    (void)ctx;
    ++*(unsigned *)waiter;
}

static struct store store_open(struct env *env, uint64_t number)
{
    env->hal.wake = woken;
    return (struct store){.env = env, .number = number, .hand = ASPACE_PA_NONE};
}

static struct aspace_map store_request(struct store *o, uint64_t va, uint64_t size, uint32_t rights)
{
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, va, size, rights);

    m.max_rights = rights | o->env->rw;
    m.backend = &store_backend;
    m.backend_ctx = o;
    m.cookie = o->number;
    return m;
}

static void map_store(struct store *o, uint64_t va, uint64_t size, uint32_t rights)
{
    struct aspace_map m = store_request(o, va, size, rights);

    CHECK_OK(aspace_map(o->env->space, &m, NULL));
}

/* Every page that the area got has come back to the object. */
static void store_empty(struct store *o, unsigned pages)
{
    CHECK_OK(aspace_clear(o->env->space));
    aspace_trim(o->env->host);
    CHECK_EQ(o->releases, pages);
    CHECK_EQ(o->gone, 1);
    CHECK_EQ(o->wrong, 0);
    CHECK_EQ(ledger(o->env).data, 0);
}

/* What a program of several CPUs does: a fault that may arm a ticket. */
static enum aspace_fault_result try_at(struct env *env, uint64_t va, uint32_t access, struct aspace_ticket *t)
{
    return aspace_fault_try(env->space, va, access, 0, t, NULL);
}

static void lead(struct env *env, uint64_t va, uint32_t access, struct aspace_ticket *t)
{
    CHECK_FAULT(try_at(env, va, access, t), ASPACE_FAULT_NEEDS_IO);
    CHECK_EQ(aspace_ticket_state(t), ASPACE_TICKET_LEADING);
    expect_absent(env, va);
    audit(env);
}

/* The I/O is done: the answer must be this one. The frame is the caller's to free but for OK. */
static void finish(struct store *o, struct aspace_ticket *t, uint64_t offset, int expected)
{
    aspace_pa_t pa = fetch(o, offset);

    CHECK_ERROR(aspace_fault_complete(t, pa), expected);
    CHECK_EQ(aspace_ticket_state(t), ASPACE_TICKET_IDLE);
    if (expected) {
        free_page(o->env, pa);
    }
    audit(o->env);
}

/* The plain way, and that the answers of a ticket in use are its own. */
static void ticket_completes(struct env *env)
{
    struct store o = store_open(env, 1);
    uint64_t va = at(env, 1, 0);
    struct aspace_ticket t = {0};
    struct aspace_fault_info info;

    map_store(&o, va, 4 * PAGE, env->rw);
    CHECK_FAULT(aspace_fault_try(env->space, va + PAGE + 8, ASPACE_W, 0, &t, &info), ASPACE_FAULT_NEEDS_IO);
    CHECK_EQ(info.offset, PAGE + 8);
    CHECK_EQ(info.cookie, 1);
    CHECK_EQ(info.area_id, query(env, va).id);
    CHECK_FAULT(try_at(env, va + PAGE, ASPACE_R, &t), ASPACE_FAULT_NEEDS_IO);
    CHECK_FAULT(try_at(env, va, ASPACE_R, &t), ASPACE_FAULT_WOULD_BLOCK);
    CHECK_ERROR(aspace_fault_complete(&t, 8), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_fault_complete(&t, naive_output_end(&env->config)), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_fault_fail(&t, 0), ASPACE_E_INVALID);
    CHECK_EQ(aspace_ticket_state(&t), ASPACE_TICKET_LEADING);
    finish(&o, &t, PAGE, ASPACE_OK);
    CHECK_EQ(agree(env, va + PAGE).rights, env->rw);
    CHECK_EQ(peek(env, va + PAGE), content(&o, PAGE));
    CHECK_FAULT(try_at(env, va + PAGE, ASPACE_W, &t), ASPACE_FAULT_SPURIOUS);
    CHECK_EQ(aspace_ticket_state(&t), ASPACE_TICKET_IDLE);
    finish(&o, &t, PAGE, ASPACE_E_STALE);
    lead(env, va, ASPACE_R, &t);
    CHECK_OK(aspace_fault_fail(&t, ASPACE_E_FAULT));
    CHECK_ERROR(aspace_fault_fail(&t, ASPACE_E_FAULT), ASPACE_E_STALE);
    CHECK_EQ(counters(env).faults[ASPACE_FAULT_DONE], 1);
    store_empty(&o, 1);
}

/* Everything but a page to be fetched is answered at once, as a fault is, and arms nothing. */
static void ticket_not_needed(struct env *env)
{
    struct store o = store_open(env, 1);
    uint64_t va = at(env, 1, 0);
    struct aspace_ticket t = {0};

    do_map(env, ASPACE_KIND_LAZY, va, PAGE, env->rw);
    do_map(env, ASPACE_KIND_GUARD, va + PAGE, PAGE, env->rw);
    map_store(&o, va + 2 * PAGE, PAGE, env->ro);
    CHECK_FAULT(try_at(env, va, ASPACE_W, &t), ASPACE_FAULT_DONE);
    CHECK_FAULT(try_at(env, va, ASPACE_W, &t), ASPACE_FAULT_SPURIOUS);
    CHECK_FAULT(try_at(env, va + PAGE, ASPACE_R, &t), ASPACE_FAULT_GUARD);
    CHECK_FAULT(try_at(env, va + 2 * PAGE, ASPACE_W, &t), ASPACE_FAULT_PERMISSION);
    CHECK_FAULT(try_at(env, va + 3 * PAGE, ASPACE_R, &t), ASPACE_FAULT_NO_AREA);
    CHECK_FAULT(try_at(env, env->end, ASPACE_R, &t), ASPACE_FAULT_NO_AREA);
    o.hand = fetch(&o, 0);
    CHECK_FAULT(try_at(env, va + 2 * PAGE, ASPACE_R, &t), ASPACE_FAULT_DONE);
    CHECK_EQ(aspace_ticket_state(&t), ASPACE_TICKET_IDLE);
    CHECK_ERROR(aspace_fault_cancel(&t), ASPACE_E_STALE);
    store_empty(&o, 1);
}

/* Each way to unmap the page: alone, with neighbours, with its table, with everything. */
static void s15_unmap_during_io(struct env *env)
{
    struct store o = store_open(env, 1);
    uint64_t va = at(env, 1, 1), page = va + 2 * PAGE;
    const struct aspace_range ranges[] = {
        {page, PAGE}, {va, 4 * PAGE}, {va, env->span[1]}, {env->base, env->end - env->base}};

    for (unsigned n = 0; n < 4; n++) {
        struct aspace_ticket t = {0};
        map_store(&o, va, env->span[1], env->rw);
        lead(env, page, ASPACE_W, &t);
        CHECK_OK(aspace_unmap(env->space, ranges[n].va, ranges[n].size));
        finish(&o, &t, 2 * PAGE, ASPACE_E_STALE);
        expect_absent(env, page);
        CHECK_FAULT(try_at(env, page, ASPACE_W, &t), ASPACE_FAULT_NO_AREA);
        CHECK_OK(aspace_clear(env->space));
    }
    aspace_trim(env->host);
    CHECK(o.gone == 4 && o.releases == 0);
}

static void remap(struct env *env, const struct aspace_map *m, bool replace)
{
    struct aspace_map again = *m;

    again.flags = replace ? ASPACE_MAP_REPLACE : 0;
    if (!replace) {
        CHECK_OK(aspace_unmap(env->space, m->va, m->size));
    }
    CHECK_OK(aspace_map(env->space, &again, NULL));
}

/* What comes in its place has contents of its own: never those that were fetched for the old one. */
static void s16_map_another_during_io(struct env *env)
{
    struct store a = store_open(env, 1), b = store_open(env, 2);
    uint64_t va = at(env, 1, 1);

    for (unsigned replace = 0; replace < 2; replace++) {
        struct aspace_ticket t = {0}, u = {0};
        struct aspace_map m = store_request(&b, va, 4 * PAGE, env->rw);
        map_store(&a, va, 4 * PAGE, env->rw);
        lead(env, va, ASPACE_R, &t);
        remap(env, &m, replace);
        lead(env, va, ASPACE_R, &u); /* of its own, although the other is not done yet */
        finish(&a, &t, 0, ASPACE_E_STALE);
        finish(&b, &u, 0, ASPACE_OK);
        CHECK_EQ(peek(env, va), content(&b, 0));
        CHECK_OK(aspace_clear(env->space));
        map_store(&a, va, 4 * PAGE, env->rw);
        lead(env, va, ASPACE_R, &t);
        m = request(ASPACE_KIND_LAZY, va, 4 * PAGE, env->rw);
        remap(env, &m, replace);
        finish(&a, &t, 0, ASPACE_E_STALE);
        CHECK_EQ(peek(env, va), 0);
        CHECK_OK(aspace_clear(env->space));
    }
    aspace_trim(env->host);
    CHECK(a.gone == 4 && b.gone == 2 && a.releases == 0 && b.releases == 2 && !a.wrong && !b.wrong);
}

/* The same object at the same place again is another mapping: what was fetched before it is not for it. */
static void s16_map_again_during_io(struct env *env)
{
    struct store o = store_open(env, 1);
    uint64_t va = at(env, 1, 1);
    struct aspace_ticket t = {0};

    map_store(&o, va, PAGE, env->rw);
    lead(env, va, ASPACE_R, &t);
    CHECK_OK(aspace_unmap(env->space, va, PAGE));
    map_store(&o, va, PAGE, env->rw);
    finish(&o, &t, 0, ASPACE_E_STALE);
    aspace_trim(env->host);
    CHECK_EQ(o.gone, 1);
    o.gone = 0;
    store_empty(&o, 0);
}

static void s17_write_right_lost_during_io(struct env *env)
{
    struct store o = store_open(env, 1);
    uint64_t va = at(env, 1, 1);
    struct aspace_ticket w = {0}, r = {0};

    map_store(&o, va, 4 * PAGE, env->rw);
    lead(env, va, ASPACE_W, &w);
    lead(env, va + PAGE, ASPACE_R, &r);
    CHECK_OK(aspace_protect(env->space, va, 4 * PAGE, env->ro));
    finish(&o, &w, 0, ASPACE_E_STALE);
    expect_absent(env, va);
    CHECK_FAULT(try_at(env, va, ASPACE_W, &w), ASPACE_FAULT_PERMISSION);
    finish(&o, &r, PAGE, ASPACE_OK);
    CHECK_EQ(agree(env, va + PAGE).rights, env->ro);
    store_empty(&o, 1);
}

static void s18_rights_change_during_io(struct env *env)
{
    struct store o = store_open(env, 1);
    uint64_t va = at(env, 1, 1);
    struct aspace_ticket t = {0};

    map_store(&o, va, 4 * PAGE, env->ro);
    lead(env, va, ASPACE_R, &t);
    CHECK_OK(aspace_protect(env->space, va, PAGE, 0));
    CHECK_OK(aspace_protect(env->space, va, PAGE, env->ro)); /* as it was, but it was away */
    finish(&o, &t, 0, ASPACE_E_STALE);
    lead(env, va, ASPACE_R, &t);
    CHECK_OK(aspace_protect(env->space, va, PAGE, 0));
    CHECK_FAULT(aspace_fault(env->space, va, ASPACE_R, NULL), ASPACE_FAULT_PERMISSION);
    finish(&o, &t, 0, ASPACE_E_STALE);
    CHECK_OK(aspace_protect(env->space, va, PAGE, env->ro));
    lead(env, va, ASPACE_R, &t);
    CHECK_OK(aspace_protect(env->space, va, PAGE, env->rw));
    finish(&o, &t, 0, ASPACE_OK);
    CHECK_EQ(agree(env, va).rights, env->rw);
    CHECK_FAULT(try_at(env, va, ASPACE_W, &t), ASPACE_FAULT_SPURIOUS);
    store_empty(&o, 1);
}

/* What is done to neighbours, and to other pages of the table, does not concern it. */
static void s19_neighbours_change_during_io(struct env *env)
{
    struct store o = store_open(env, 1);
    uint64_t va = at(env, 1, 1);
    struct aspace_ticket t = {0}, u = {0};
    unsigned wakes = 0;

    u.waiter = &wakes;
    map_store(&o, va, 6 * PAGE, env->rw);
    lead(env, va + 2 * PAGE, ASPACE_W, &t);
    CHECK_FAULT(try_at(env, va + 2 * PAGE, ASPACE_W, &u), ASPACE_FAULT_WAITING);
    CHECK_OK(aspace_unmap(env->space, va, 2 * PAGE));
    CHECK_OK(aspace_unmap(env->space, va + 3 * PAGE, PAGE));
    CHECK_OK(aspace_protect(env->space, va + 4 * PAGE, PAGE, 0));
    CHECK_OK(aspace_discard(env->space, va + 4 * PAGE, 2 * PAGE));
    do_map(env, ASPACE_KIND_LAZY, va, PAGE, env->rw);
    CHECK_EQ(aspace_sweep(env->space, 1000), 0);
    CHECK_EQ(aspace_ticket_state(&u), ASPACE_TICKET_WAITING);
    finish(&o, &t, 2 * PAGE, ASPACE_OK);
    CHECK_EQ(wakes, 1);
    CHECK_EQ(peek(env, va + 2 * PAGE), content(&o, 2 * PAGE));
    store_empty(&o, 1);
}

/* The second waits, is woken, and faults no more. */
static void s20_second_waits(struct env *env)
{
    struct store o = store_open(env, 1);
    uint64_t va = at(env, 1, 1);
    struct aspace_ticket a = {0}, b = {0}, other = {0};
    unsigned wakes = 0;

    b.waiter = &wakes;
    map_store(&o, va, 4 * PAGE, env->rw);
    lead(env, va, ASPACE_R, &a);
    CHECK_FAULT(try_at(env, va + 16, ASPACE_W, &b), ASPACE_FAULT_WAITING);
    CHECK_EQ(aspace_ticket_state(&b), ASPACE_TICKET_WAITING);
    CHECK_FAULT(try_at(env, va, ASPACE_W, &b), ASPACE_FAULT_WAITING);
    lead(env, va + PAGE, ASPACE_R, &other); /* another page has a leader of its own */
    CHECK_ERROR(aspace_fault_complete(&b, 0), ASPACE_E_STALE);
    CHECK_ERROR(aspace_fault_fail(&b, ASPACE_E_FAULT), ASPACE_E_STALE);
    CHECK_EQ(wakes, 0);
    finish(&o, &a, 0, ASPACE_OK);
    CHECK_EQ(wakes, 1);
    CHECK_EQ(aspace_ticket_state(&b), ASPACE_TICKET_IDLE);
    CHECK_FAULT(try_at(env, va + 16, ASPACE_W, &b), ASPACE_FAULT_SPURIOUS);
    CHECK_OK(aspace_fault_cancel(&other));
    store_empty(&o, 1);
}

/* The page came by another way meanwhile: the frame is the caller's, and is freed once. */
static void s20_filled_meanwhile(struct env *env)
{
    struct store o = store_open(env, 1);
    uint64_t va = at(env, 1, 1);
    struct aspace_ticket a = {0}, b = {0};
    unsigned wakes = 0;

    b.waiter = &wakes;
    map_store(&o, va, 4 * PAGE, env->rw);
    lead(env, va, ASPACE_R, &a);
    CHECK_FAULT(try_at(env, va, ASPACE_R, &b), ASPACE_FAULT_WAITING);
    o.hand = fetch(&o, 0);
    aspace_pa_t pa = o.hand;
    CHECK_FAULT(aspace_fault(env->space, va, ASPACE_W, NULL), ASPACE_FAULT_DONE);
    finish(&o, &a, 0, ASPACE_E_EXISTS);
    expect_leaf(env, va, pa, env->rw);
    CHECK_EQ(wakes, 1);
    CHECK_EQ(aspace_ticket_state(&b), ASPACE_TICKET_IDLE);
    store_empty(&o, 1);
}

/* Whoever waits first leads next; the others go on waiting; nobody is lost. */
static void s21_leader_ends(struct env *env)
{
    struct store o = store_open(env, 1);
    uint64_t va = at(env, 1, 1);
    struct aspace_ticket t[4] = {{0}};
    unsigned wakes[4] = {0};

    map_store(&o, va, 4 * PAGE, env->rw);
    for (unsigned n = 0; n < 4; n++) {
        t[n].waiter = &wakes[n];
        CHECK_FAULT(try_at(env, va, ASPACE_R, &t[n]), n ? ASPACE_FAULT_WAITING : ASPACE_FAULT_NEEDS_IO);
    }
    CHECK_OK(aspace_fault_cancel(&t[0]));
    CHECK(wakes[0] == 0 && wakes[1] == 1 && wakes[2] == 0 && wakes[3] == 0);
    CHECK_FAULT(try_at(env, va, ASPACE_R, &t[1]), ASPACE_FAULT_NEEDS_IO);
    CHECK_EQ(aspace_ticket_state(&t[2]), ASPACE_TICKET_WAITING);
    finish(&o, &t[0], 0, ASPACE_E_STALE); /* cancelled: it is too late */
    CHECK_OK(aspace_fault_cancel(&t[2])); /* who only waits leaves the others alone */
    CHECK(wakes[1] == 1 && wakes[2] == 0 && wakes[3] == 0);
    CHECK_OK(aspace_fault_fail(&t[1], ASPACE_E_FAULT));
    CHECK(wakes[2] == 0 && wakes[3] == 1 && aspace_ticket_state(&t[3]) == ASPACE_TICKET_LEADING);
    finish(&o, &t[3], 0, ASPACE_OK);
    CHECK_ERROR(aspace_fault_cancel(&t[3]), ASPACE_E_STALE);
    CHECK_EQ(wakes[3], 1);
    store_empty(&o, 1);
}

/* A page that goes takes those who wait for it along at once; the one who fetches it learns it at the end, and is not
 * the one that later faults wait for. */
static void revoked_wake_at_once(struct env *env)
{
    struct store o = store_open(env, 1);
    uint64_t va = at(env, 1, 1);
    struct aspace_ticket t[4] = {{0}};
    unsigned wakes[4] = {0};

    map_store(&o, va, 4 * PAGE, env->rw);
    for (unsigned n = 0; n < 4; n++) {
        t[n].waiter = &wakes[n];
    }
    lead(env, va, ASPACE_R, &t[0]);
    CHECK_FAULT(try_at(env, va, ASPACE_R, &t[1]), ASPACE_FAULT_WAITING);
    CHECK_OK(aspace_discard(env->space, va, PAGE));
    CHECK(wakes[0] == 0 && wakes[1] == 1 && aspace_ticket_state(&t[1]) == ASPACE_TICKET_IDLE);
    lead(env, va, ASPACE_R, &t[2]);
    CHECK_FAULT(try_at(env, va, ASPACE_R, &t[3]), ASPACE_FAULT_WAITING);
    finish(&o, &t[0], 0, ASPACE_E_STALE);
    CHECK_EQ(aspace_ticket_state(&t[3]), ASPACE_TICKET_WAITING);
    finish(&o, &t[2], 0, ASPACE_OK);
    CHECK_EQ(wakes[3], 1);
    store_empty(&o, 1);
}

/* ----------------------------------------------------------------------------------------- what ends which tickets */

static enum aspace_fault_result far_get(struct aspace_object *object, uint64_t offset, uint32_t access, uint32_t flags,
                                        struct aspace_page *page)
{
    (void)object, (void)offset, (void)access, (void)flags, (void)page;
    return ASPACE_FAULT_NEEDS_IO;
}

static const struct aspace_object_ops far_ops = {.name = "far", .get = far_get};
static struct aspace_object far;

static int move_there_and_back(struct env *env, uint64_t va)
{
    int rc = aspace_move(env->space, va, PAGE, at(env, 1, 3), NULL);
    return rc ? rc : aspace_move(env->space, at(env, 1, 3), PAGE, va, NULL);
}

static int replace_by_lazy(struct env *env, uint64_t va)
{
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, PAGE, env->rw);

    m.flags = ASPACE_MAP_REPLACE;
    return aspace_map(env->space, &m, NULL);
}

static int protect_twice(struct env *env, uint64_t va)
{
    int rc = aspace_protect(env->space, va, PAGE, 0);
    return rc ? rc : aspace_protect(env->space, va, PAGE, env->rw);
}

static int unmap_page(struct env *env, uint64_t va)
{
    return aspace_unmap(env->space, va, PAGE);
}

static int discard_page(struct env *env, uint64_t va)
{
    return aspace_discard(env->space, va, PAGE);
}

static int zero_page(struct env *env, uint64_t va)
{
    return aspace_discard_zero(env->space, va, PAGE, NULL);
}

static int evict_page(struct env *env, uint64_t va)
{
    struct aspace_area area = query(env, va);

    (void)aspace_object_evict(&far, area.offset + (va - area.va), PAGE);
    return ASPACE_OK;
}

static int replace_all_by_lazy(struct env *env, uint64_t va)
{
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, PAGE, env->rw);

    return aspace_replace_all(env->space, &m, 1);
}

static int clear_all(struct env *env, uint64_t va)
{
    (void)va;
    return aspace_clear(env->space);
}

static int truncate_all(struct env *env, uint64_t va)
{
    (void)env, (void)va;
    aspace_object_truncate(&far, 0);
    return ASPACE_OK;
}

static const struct {
    int (*run)(struct env *env, uint64_t va);
    bool all;       /* ... of the pages, not one */
    bool of_object; /* only where an object is mapped */
} ways[] = {
    {unmap_page, false, false},   {replace_by_lazy, false, false},    {move_there_and_back, false, false},
    {discard_page, false, false}, {protect_twice, false, false},      {zero_page, false, true},
    {evict_page, false, true},    {replace_all_by_lazy, true, false}, {clear_all, true, false},
    {truncate_all, true, true},
};

/* Two pages, each with one who fetches it and one who waits; the first loses what it was, or both do. */
static void revoke_one_way(struct env *env, struct store *o, bool object, size_t way)
{
    struct aspace_map m = store_request(o, at(env, 1, 1), 4 * PAGE, env->rw);
    struct aspace_ticket leader[2] = {{0}}, waiter[2] = {{0}};
    unsigned wakes[2] = {0};

    if (object) {
        CHECK_OK(aspace_object_init(&far, env->host, &far_ops, 4 * PAGE));
        m.kind = ASPACE_KIND_PRIVATE;
        m.object = &far;
    }
    CHECK_OK(aspace_map(env->space, &m, NULL));
    for (unsigned n = 0; n < 2; n++) {
        waiter[n].waiter = &wakes[n];
        lead(env, m.va + (n + 1) * PAGE, ASPACE_R, &leader[n]);
        CHECK_FAULT(try_at(env, m.va + (n + 1) * PAGE, ASPACE_R, &waiter[n]), ASPACE_FAULT_WAITING);
    }
    CHECK_OK(ways[way].run(env, m.va + PAGE));
    for (unsigned n = 0; n < 2; n++) {
        bool gone = !n || ways[way].all;
        aspace_pa_t pa = object ? ASPACE_PA_NONE : fetch(o, (n + 1) * PAGE);
        CHECK_EQ(wakes[n], gone);
        CHECK_EQ(aspace_ticket_state(&waiter[n]), gone ? ASPACE_TICKET_IDLE : ASPACE_TICKET_WAITING);
        CHECK_EQ(aspace_ticket_state(&leader[n]), ASPACE_TICKET_LEADING);
        CHECK_ERROR(aspace_fault_complete(&leader[n], pa), gone ? ASPACE_E_STALE : ASPACE_OK);
        CHECK_EQ(wakes[n], 1);
        if (gone && !object) {
            free_page(env, pa);
        }
    }
    audit(env);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
}

static void revoked_by_each(struct env *env)
{
    struct store o = store_open(env, 1);

    for (size_t way = 0; way < sizeof(ways) / sizeof(ways[0]); way++) {
        if (!ways[way].of_object) {
            revoke_one_way(env, &o, false, way);
        }
        revoke_one_way(env, &o, true, way);
    }
    CHECK_EQ(o.wrong, 0);
}

static void count_release(void *user)
{
    ++*(unsigned *)user;
}

static void begin_counted(struct env *env, unsigned *released)
{
    struct aspace_config config = env->config;

    config.user = released;
    config.released = count_release;
    recreate(env, &config);
}

/* After destroy the tickets still end, whichever way, and the last of them lets the space's memory go. */
static void s22_close_during_io(struct env *env)
{
    static unsigned released, wakes;
    uint64_t va = at(env, 1, 1);
    struct aspace_ticket t[3] = {{0}}, waits = {.waiter = &wakes};
    struct store o = store_open(env, 1);
    aspace_pa_t pa = fetch(&o, 0);

    released = wakes = 0;
    begin_counted(env, &released);
    map_store(&o, va, 4 * PAGE, env->rw);
    for (unsigned n = 0; n < 3; n++) {
        lead(env, va + n * PAGE, ASPACE_W, &t[n]);
    }
    CHECK_FAULT(try_at(env, va, ASPACE_R, &waits), ASPACE_FAULT_WAITING);
    aspace_close(env->space);
    CHECK_EQ(wakes, 1);
    CHECK_FAULT(try_at(env, va, ASPACE_R, &waits), ASPACE_FAULT_CLOSED);
    CHECK_EQ(aspace_ticket_state(&waits), ASPACE_TICKET_IDLE);
    CHECK_ERROR(aspace_fault_complete(&t[0], pa), ASPACE_E_CLOSED);
    destroy(env);
    CHECK_EQ(released, 0);
    CHECK_OK(aspace_fault_cancel(&t[1]));
    CHECK_EQ(released, 0);
    CHECK_ERROR(aspace_fault_complete(&t[2], pa), ASPACE_E_CLOSED);
    CHECK_EQ(released, 1);
    CHECK_EQ(wakes, 1);
    free_page(env, pa);
}

/* The page is evicted from the object, and so from the space, while it is on its way: it is fetched again. */
static void s23_evicted_during_io(struct env *env)
{
    struct store o = store_open(env, 1);
    uint64_t va = at(env, 1, 1);
    struct aspace_ticket t = {0};

    map_store(&o, va, 4 * PAGE, env->rw);
    for (unsigned n = 0; n < 2; n++) {
        lead(env, va + PAGE, ASPACE_R, &t);
        o.number++; /* it has other contents now */
        CHECK_OK(aspace_discard(env->space, va, n ? 4 * PAGE : 2 * PAGE));
        o.number--;
        finish(&o, &t, PAGE, ASPACE_E_STALE);
        o.number++;
    }
    lead(env, va + PAGE, ASPACE_R, &t);
    finish(&o, &t, PAGE, ASPACE_OK);
    CHECK_EQ(peek(env, va + PAGE), content(&o, PAGE));
    store_empty(&o, 1);
}

/* A quota that the map just fits into: try needs two tables more. */
static void try_without_tables(struct env *env, struct store *o, uint64_t va, uint64_t page)
{
    struct aspace_ticket t = {0};
    struct aspace_config config = env->config;

    map_store(o, va, env->span[2], env->rw);
    config.quota_tables = tables_held(env);
    recreate(env, &config);
    map_store(o, va, env->span[2], env->rw);
    struct snapshot *before = snapshot_take(env);
    CHECK_FAULT(try_at(env, page, ASPACE_R, &t), ASPACE_FAULT_NO_MEMORY);
    CHECK_EQ(aspace_ticket_state(&t), ASPACE_TICKET_IDLE);
    snapshot_same(env, before, "a try without tables");
    snapshot_free(before);
    config.quota_tables = 0;
    recreate(env, &config);
}

/* Try makes the tables, or fails for want of them; complete needs no memory. */
static void s25_tables_are_reserved(struct env *env)
{
    struct store o = store_open(env, 1);
    uint64_t va = at(env, 2, 0), page = va + env->span[1] + PAGE;
    struct aspace_ticket t = {0};

    try_without_tables(env, &o, va, page);
    aspace_trim(env->host);
    o.gone = 0;
    map_store(&o, va, env->span[2], env->rw);
    lead(env, page, ASPACE_R, &t);
    struct aspace_area area; /* more tables, but one area of the same extent */
    CHECK_OK(aspace_next(env->space, env->base, &area));
    CHECK(area.va == va && area.size == env->span[2]);
    aspace_pa_t pa = fetch(&o, env->span[1] + PAGE);
    uint64_t calls = ledger(env).calls, tables = tables_held(env);
    arena_fail_from(&env->machine.arena, 1);
    CHECK_OK(aspace_fault_complete(&t, pa));
    arena_fail_nth(&env->machine.arena, 0);
    CHECK_EQ(ledger(env).calls, calls);
    CHECK_EQ(tables_held(env), tables);
    CHECK_EQ(peek(env, page), content(&o, env->span[1] + PAGE));
    audit(env);
    store_empty(&o, 1);
}

static void s26_nowait(struct env *env)
{
    static unsigned released;
    uint64_t va = at(env, 1, 1);
    struct aspace_ticket t = {0}, u = {0};
    struct store o = store_open(env, 1);

    released = 0;
    begin_counted(env, &released);
    map_store(&o, va, 4 * PAGE, env->rw);
    enum { NOWAIT = ASPACE_FAULT_NOWAIT };
    CHECK_FAULT(aspace_fault_try(env->space, va, ASPACE_R, NOWAIT, &t, NULL), ASPACE_FAULT_WOULD_BLOCK);
    CHECK_FAULT(aspace_fault_try(env->space, va, ASPACE_R, NOWAIT, NULL, NULL), ASPACE_FAULT_WOULD_BLOCK);
    CHECK_FAULT(aspace_fault_try(env->space, va, ASPACE_R, 0, NULL, NULL), ASPACE_FAULT_WOULD_BLOCK);
    CHECK_EQ(aspace_ticket_state(&t), ASPACE_TICKET_IDLE);
    lead(env, va, ASPACE_R, &u);
    CHECK_FAULT(aspace_fault_try(env->space, va, ASPACE_R, NOWAIT, &t, NULL), ASPACE_FAULT_WOULD_BLOCK);
    CHECK_EQ(aspace_ticket_state(&t), ASPACE_TICKET_IDLE);
    CHECK_OK(aspace_fault_cancel(&u));
    destroy(env);
    CHECK_EQ(released, 1);
}

static unsigned syncs;
static aspace_pa_t synced;

static void count_sync(void *ctx, aspace_pa_t pa, uint64_t bytes)
{
    (void)ctx;
    syncs += bytes == PAGE;
    synced = pa;
}

/* Once for each page that becomes executable, before it is, and for no other. */
static void s27_instructions_are_synchronised(struct env *env)
{
    struct store o = store_open(env, 1);
    uint64_t va = at(env, 1, 1);
    struct aspace_ticket t = {0};

    env->hal.icache_sync = count_sync;
    syncs = 0;
    struct aspace_map m = store_request(&o, va, 4 * PAGE, ASPACE_RX);
    m.max_rights = ASPACE_RWX;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    lead(env, va, ASPACE_X, &t);
    finish(&o, &t, 0, ASPACE_OK);
    CHECK_EQ(syncs, 1);
    CHECK_EQ(synced, agree(env, va).pa);
    lead(env, va + PAGE, ASPACE_X, &t);
    o.hand = fetch(&o, PAGE);
    CHECK_FAULT(aspace_fault(env->space, va + PAGE, ASPACE_X, NULL), ASPACE_FAULT_DONE);
    CHECK_EQ(syncs, 2);
    finish(&o, &t, PAGE, ASPACE_E_EXISTS);
    CHECK_EQ(syncs, 2);
    unsigned pages = 2;
    if (expressible(env, ASPACE_R)) {
        lead(env, va + 2 * PAGE, ASPACE_R, &t);
        CHECK_OK(aspace_protect(env->space, va + 2 * PAGE, PAGE, ASPACE_R));
        finish(&o, &t, 2 * PAGE, ASPACE_OK);
        CHECK_EQ(syncs, 2);
        pages++;
    }
    env->hal.icache_sync = NULL;
    store_empty(&o, pages);
}

/* ------------------------------------------------------------------------------------------------------------ races */

enum { REMAPS = 1000 };

struct remapping {
    struct env *env;
    uint64_t va;
    struct store store[REMAPS + 1];
    bool enough;
    uint64_t completed, other;
};

/* The reader: what area the page is to come from is known when it is tried; by the time it is fetched that may be
 * another. */
static void *keep_faulting(void *arg)
{
    struct remapping *r = arg;
    struct aspace_ticket t = {0};

    aspace_linux_set_cpu(1);
    aspace_cpu_online(r->env->host);
    while (!__atomic_load_n(&r->enough, __ATOMIC_ACQUIRE)) {
        struct aspace_fault_info info;
        enum aspace_fault_result a = aspace_fault_try(r->env->space, r->va, ASPACE_R, 0, &t, &info);
        if (a == ASPACE_FAULT_NEEDS_IO) {
            aspace_pa_t pa = fetch(&r->store[info.cookie], 0);
            int rc = aspace_fault_complete(&t, pa);
            r->completed += rc == ASPACE_OK;
            r->other += rc != ASPACE_OK;
            if (rc) {
                free_page(r->env, pa);
            }
        }
    }
    aspace_cpu_offline(r->env->host);
    return NULL;
}

/* A page that an object's area gives back is one that was fetched from this object: store_release looks. */
static void s28_remaps_race_a_fault(struct env *env)
{
    static struct remapping r;
    pthread_t thread;

    memset(&r, 0, sizeof(r));
    r.env = env;
    r.va = at(env, 1, 1);
    for (unsigned n = 0; n <= REMAPS; n++) {
        r.store[n] = store_open(env, n);
    }
    map_store(&r.store[0], r.va, PAGE, env->rw);
    CHECK_EQ(pthread_create(&thread, NULL, keep_faulting, &r), 0);
    for (unsigned n = 1; n <= REMAPS; n++) {
        struct aspace_map m = store_request(&r.store[n], r.va, PAGE, env->rw);
        remap(env, &m, n & 1);
        for (unsigned i = 0; i < (n & 63); i++) {
            aspace_pause();
        }
    }
    __atomic_store_n(&r.enough, true, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    unsigned releases = 0;
    for (unsigned n = 0; n <= REMAPS; n++) {
        CHECK_EQ(r.store[n].wrong, 0);
        CHECK_EQ(r.store[n].gone, 1);
        releases += r.store[n].releases;
    }
    CHECK_EQ(releases, r.completed);
    CHECK_EQ(ledger(env).data, 0);
}

static const struct test tests[] = {
    {"ticket_completes", ticket_completes, 0},
    {"ticket_not_needed", ticket_not_needed, 0},
    {"s15_unmap_during_io", s15_unmap_during_io, 0},
    {"s16_map_another_during_io", s16_map_another_during_io, 0},
    {"s16_map_again_during_io", s16_map_again_during_io, 0},
    {"s17_write_right_lost_during_io", s17_write_right_lost_during_io, 0},
    {"s18_rights_change_during_io", s18_rights_change_during_io, 0},
    {"s19_neighbours_change_during_io", s19_neighbours_change_during_io, 0},
    {"s20_second_waits", s20_second_waits, 0},
    {"s20_filled_meanwhile", s20_filled_meanwhile, 0},
    {"s21_leader_ends", s21_leader_ends, 0},
    {"revoked_wake_at_once", revoked_wake_at_once, 0},
    {"revoked_by_each", revoked_by_each, 0},
    {"s22_close_during_io", s22_close_during_io, 0},
    {"s23_evicted_during_io", s23_evicted_during_io, 0},
    {"s25_tables_are_reserved", s25_tables_are_reserved, 0},
    {"s26_nowait", s26_nowait, 0},
    {"s27_instructions_are_synchronised", s27_instructions_are_synchronised, 0},
    {"s28_remaps_race_a_fault", s28_remaps_race_a_fault, NEEDS_PLAIN},
};
const struct suite ticket_suite = SUITE(tests);
