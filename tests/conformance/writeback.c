/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One dirty flag, two who want to know: a dirty log, and the backend that writes its pages back. Owns a backend and an
 * object that keep books of what they are told; must not know which of the two the flag is taken by.
 */
#include <string.h>

#include <aspace/dirty.h>
#include <aspace/object.h>

#include "suites.h"

enum { PAGES = 4 };

static struct store {
    struct aspace_object object; /* first */
    struct aspace_frame page[PAGES];
    unsigned told; /* a bit a page: written */
} store;

static struct store *store_of(void *object)
{
    return object;
}

static enum aspace_fault_result give(uint64_t offset, uint32_t access, struct aspace_page *page)
{
    page->pa = store.page[offset / PAGE].pa;
    page->rights &= access & ASPACE_W ? ~0u : ~(uint32_t)ASPACE_W;
    return ASPACE_FAULT_DONE;
}

static enum aspace_fault_result object_get(struct aspace_object *object, uint64_t offset, uint32_t access,
                                           uint32_t flags, struct aspace_page *page)
{
    (void)object;
    (void)flags;
    return give(offset, access, page);
}

static void object_dirty(struct aspace_object *object, uint64_t offset, aspace_pa_t pa)
{
    CHECK_EQ(pa, store.page[offset / PAGE].pa);
    store_of(object)->told |= 1u << offset / PAGE;
}

static const struct aspace_object_ops object_ops = {.name = "store", .get = object_get, .dirty = object_dirty};

static enum aspace_fault_result backend_fill(const struct aspace_fill *fill, struct aspace_page *page)
{
    page->rights = fill->rights;
    return give(fill->offset, fill->access, page);
}

static void backend_dirty(void *ctx, uint64_t offset, aspace_pa_t pa, unsigned order)
{
    CHECK_EQ(order, 0);
    object_dirty(ctx, offset, pa);
}

static const struct aspace_backend backend = {.name = "store", .fill = backend_fill, .dirty = backend_dirty};

static void open_store(struct env *env)
{
    memset(&store, 0, sizeof(store));
    CHECK_OK(aspace_object_init(&store.object, env->host, &object_ops, PAGES * PAGE));
    for (unsigned n = 0; n < PAGES; n++) {
        CHECK_OK(aspace_frame_alloc(env->host, 0, true, &store.page[n]));
    }
}

static void close_store(struct env *env)
{
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    for (unsigned n = 0; n < PAGES; n++) {
        aspace_frame_release(&store.page[n]);
    }
    aspace_object_put(&store.object);
}

/* What the backend was told since it was asked last. */
static unsigned told(void)
{
    unsigned bits = store.told;

    store.told = 0;
    return bits;
}

static uint64_t harvest(struct env *env, uint64_t va)
{
    uint64_t bits;

    CHECK_OK(aspace_harvest_dirty(env->space, va, PAGES * PAGE, &bits, NULL));
    audit(env);
    return bits;
}

static void in_modes(struct env *env, const struct aspace_map *m, void (*part)(struct env *env, uint64_t va))
{
    bool hardware = aspace_dirty_start(env->space, &(struct aspace_dirty_config){.mode = ASPACE_DIRTY_HARDWARE}) == 0;

    if (hardware) {
        CHECK_OK(aspace_dirty_stop(env->space));
    }
    for (int mode = 0; mode <= hardware; mode++) {
        struct aspace_dirty_config c = {.mode = mode ? ASPACE_DIRTY_HARDWARE : ASPACE_DIRTY_WRITE_PROTECT};
        CHECK_OK(aspace_map(env->space, m, NULL));
        CHECK_OK(aspace_dirty_start(env->space, &c));
        part(env, m->va);
        CHECK_OK(aspace_dirty_stop(env->space));
        CHECK_OK(aspace_clear(env->space));
        aspace_trim(env->host);
        told();
    }
}

/* A harvest takes the flag, and says so to who will write the page back: also of a page that is parked. */
static void harvest_tells(struct env *env, uint64_t va)
{
    poke(env, va + PAGE, 1);
    CHECK_EQ(peek(env, va + 2 * PAGE), 0);
    CHECK_EQ(harvest(env, va), 2);
    CHECK_EQ(told(), 2);
    CHECK_EQ(harvest(env, va), 0);
    CHECK_EQ(told(), 0);
    poke(env, va + PAGE, 2);
    poke(env, va + 3 * PAGE, 3);
    CHECK_OK(aspace_protect(env->space, va, PAGES * PAGE, 0));
    CHECK_EQ(harvest(env, va), 10);
    CHECK_EQ(told(), 10);
    CHECK_OK(aspace_protect(env->space, va, PAGES * PAGE, env->rw));
    CHECK_OK(aspace_unmap(env->space, va, PAGES * PAGE));
    aspace_trim(env->host);
    CHECK_EQ(told(), 0);
}

static void log_tells_object(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_SHARED, at(env, 1, 0), PAGES * PAGE, env->rw);

    open_store(env);
    m.object = &store.object;
    in_modes(env, &m, harvest_tells);
    close_store(env);
}

static void log_tells_backend(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_CUSTOM, at(env, 1, 0), PAGES * PAGE, env->rw);

    open_store(env);
    m.backend = &backend;
    m.backend_ctx = &store;
    in_modes(env, &m, harvest_tells);
    close_store(env);
}

/* Nothing is told to the backend of a page that is its own copy, or of one outside of what is harvested. */
static void log_tells_who_it_concerns(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_PRIVATE, at(env, 1, 0), PAGES * PAGE, env->rw);
    struct aspace_dirty_config c = {.mode = ASPACE_DIRTY_WRITE_PROTECT};

    open_store(env);
    m.object = &store.object;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_OK(aspace_dirty_start(env->space, &c));
    poke(env, m.va + PAGE, 1);
    CHECK_EQ(harvest(env, m.va), 2);
    CHECK_EQ(told(), 0);
    CHECK_OK(aspace_dirty_stop(env->space));
    CHECK_OK(aspace_clear(env->space));
    m.kind = ASPACE_KIND_SHARED;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_OK(aspace_dirty_start(env->space, &c));
    poke(env, m.va, 1);
    poke(env, m.va + PAGE, 1);
    uint64_t bits;
    CHECK_OK(aspace_harvest_dirty(env->space, m.va, PAGE, &bits, NULL));
    CHECK_EQ(told(), 1);
    CHECK_OK(aspace_dirty_stop(env->space));
    close_store(env);
}

/* What is written back before the harvest is told by it all the same, and once. */
static void clean_leaves_it(struct env *env, uint64_t va)
{
    poke(env, va + PAGE, 1);
    CHECK(aspace_object_clean(&store.object, 0, PAGES * PAGE));
    CHECK_EQ(agree(env, va + PAGE).rights & ASPACE_W, 0);
    CHECK_EQ(harvest(env, va), 2);
    CHECK(!aspace_object_clean(&store.object, 0, PAGES * PAGE));
    CHECK_EQ(harvest(env, va), 0);
    poke(env, va + PAGE, 1);
    CHECK_OK(aspace_protect(env->space, va, PAGES * PAGE, 0));
    CHECK(aspace_object_clean(&store.object, 0, PAGES * PAGE));
    CHECK_OK(aspace_protect(env->space, va, PAGES * PAGE, env->rw));
    CHECK_FAULT(aspace_fault(env->space, va + PAGE, ASPACE_R, NULL), ASPACE_FAULT_SPURIOUS);
    CHECK_EQ(harvest(env, va), 2);
    CHECK(!aspace_object_clean(&store.object, 0, PAGES * PAGE));
}

static void clean_leaves_the_log_its_flag(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_SHARED, at(env, 1, 0), PAGES * PAGE, env->rw);

    open_store(env);
    m.object = &store.object;
    in_modes(env, &m, clean_leaves_it);
    close_store(env);
}

/* While a harvest that took the right has not reached all CPUs: when clean returns, none of them writes any more. */
static bool wrote_after_clean;

static void clean_in_flight(struct env *env)
{
    env->window = NULL;
    aspace_linux_set_cpu(2);
    aspace_object_clean(&store.object, 0, PAGES * PAGE);
    wrote_after_clean = cpu_access(env, 1, at(env, 1, 0), ASPACE_W) != ASPACE_PA_NONE;
    aspace_linux_set_cpu(0);
}

static void harvest_under_clean(struct env *env, uint64_t va)
{
    cpu_enter(env, 1);
    cpu_run(env, 1, va, ASPACE_W);
    poke(env, va, 1);
    env->window = clean_in_flight;
    wrote_after_clean = true;
    CHECK_EQ(harvest(env, va), 1);
    CHECK(!wrote_after_clean);
    cpu_leave(env, 1);
}

static void clean_waits_for_a_harvest(struct env *env)
{
    struct aspace_map m = request(ASPACE_KIND_SHARED, at(env, 1, 0), PAGES * PAGE, env->rw);

    open_store(env);
    m.object = &store.object;
    in_modes(env, &m, harvest_under_clean);
    close_store(env);
}

static const struct test tests[] = {
    {"clean_waits_for_a_harvest", clean_waits_for_a_harvest, DELAYED},
    {"log_tells_object", log_tells_object, 0},
    {"log_tells_backend", log_tells_backend, 0},
    {"log_tells_who_it_concerns", log_tells_who_it_concerns, 0},
    {"clean_leaves_the_log_its_flag", clean_leaves_the_log_its_flag, 0},
};
const struct suite writeback_suite = SUITE(tests);
