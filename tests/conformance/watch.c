/* SPDX-License-Identifier: BSD-2-Clause */
/* Watchers: told of what goes, once an operation, before it is anybody else's, and never after they were taken off. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <string.h>
#include <time.h>

#include <aspace/object.h>
#include <aspace/watch.h>

#include "clone.h"

enum { TOLD_MAX = 8 };

/* A watcher, what it was told, and a frame that it has derived something from. */
struct ear {
    struct aspace_watcher watcher;
    struct env *env;
    unsigned told, early;
    struct aspace_gone gone[TOLD_MAX];
    uint64_t frame, reachable;
    struct aspace_watcher *takes_off;
};

/* The frame is still the area's while the watcher is told, and no CPU reaches it. */
static void hear(struct aspace_watcher *watcher, const struct aspace_gone *gone)
{
    struct ear *ear = watcher->user;

    CHECK(ear->told < TOLD_MAX);
    ear->gone[ear->told++] = *gone;
    if (ear->frame != 0) {
        (void)aspace_drain(ear->env->host);
        ear->early += arena_generation(&ear->env->machine.arena, ear->frame) % 2 == 0;
        ear->early += cpu_access(ear->env, 1, ear->reachable, ASPACE_R) == ear->frame;
    }
    if (ear->takes_off) {
        aspace_unwatch(ear->env->space, ear->takes_off);
        ear->takes_off = NULL;
    }
}

static void listen(struct env *env, struct ear *ear, uint64_t va, uint64_t size)
{
    memset(ear, 0, sizeof(*ear));
    ear->env = env;
    ear->watcher.va = va;
    ear->watcher.size = size;
    ear->watcher.gone = hear;
    ear->watcher.user = ear;
    CHECK_OK(aspace_watch(env->space, &ear->watcher));
}

static void heard(struct ear *ear, enum aspace_gone_kind kind, uint64_t va, uint64_t size)
{
    CHECK_EQ(ear->told, 1);
    CHECK_EQ(ear->gone[0].kind, kind);
    CHECK_EQ(ear->gone[0].va, va);
    CHECK_EQ(ear->gone[0].size, size);
    CHECK(ear->gone[0].space == ear->env->space);
    CHECK_EQ(ear->early, 0);
    ear->told = 0;
}

/* Derives something: from now on the frame at va must outlive the telling. */
static void derive(struct ear *ear, uint64_t va)
{
    ear->frame = cpu_run(ear->env, 1, va, ASPACE_W);
    ear->reachable = va;
    CHECK(ear->frame != ASPACE_PA_NONE);
}

static void watch_every_kind(struct env *env)
{
    uint64_t va = at(env, 1, 0), to = va + 16 * PAGE;
    struct aspace_map over = request(ASPACE_KIND_LAZY, va + 3 * PAGE, 3 * PAGE, env->rw);
    static struct ear ear, other; /* told of the end, after the test */

    cpu_enter(env, 1);
    listen(env, &ear, va + 2 * PAGE, 4 * PAGE);
    listen(env, &other, va + 8 * PAGE, PAGE);
    do_map(env, ASPACE_KIND_LAZY, va, 8 * PAGE, env->rw);
    CHECK_EQ(ear.told, 0);
    derive(&ear, va + 2 * PAGE);
    CHECK_OK(aspace_protect(env->space, va, 8 * PAGE, env->ro));
    ear.early = 0; /* still to be read there */
    CHECK_EQ(ear.gone[0].rights, env->ro);
    heard(&ear, ASPACE_GONE_PROTECTED, va + 2 * PAGE, 4 * PAGE);
    CHECK_OK(aspace_protect(env->space, va, 8 * PAGE, env->rw));
    CHECK_EQ(ear.told, 0);
    derive(&ear, va + 2 * PAGE);
    CHECK_OK(aspace_protect(env->space, va + 2 * PAGE, PAGE, 0));
    heard(&ear, ASPACE_GONE_PROTECTED, va + 2 * PAGE, PAGE);
    CHECK_OK(aspace_protect(env->space, va + 2 * PAGE, PAGE, env->rw));
    derive(&ear, va + 2 * PAGE);
    CHECK_OK(aspace_migrate(env->space, va + 2 * PAGE, ASPACE_PA_NONE));
    heard(&ear, ASPACE_GONE_FRAME, va + 2 * PAGE, PAGE);
    derive(&ear, va + 2 * PAGE);
    CHECK_OK(aspace_discard(env->space, va, 3 * PAGE));
    heard(&ear, ASPACE_GONE_DISCARDED, va + 2 * PAGE, PAGE);
    derive(&ear, va + 4 * PAGE);
    over.flags = ASPACE_MAP_REPLACE;
    CHECK_OK(aspace_map(env->space, &over, NULL));
    heard(&ear, ASPACE_GONE_REPLACED, va + 3 * PAGE, 3 * PAGE);
    derive(&ear, va + 5 * PAGE);
    CHECK_OK(aspace_move(env->space, va + 4 * PAGE, 4 * PAGE, to, NULL));
    CHECK_EQ(ear.gone[0].new_va, to);
    heard(&ear, ASPACE_GONE_MOVED, va + 4 * PAGE, 2 * PAGE);
    derive(&ear, va + 3 * PAGE);
    CHECK_OK(aspace_unmap(env->space, va + PAGE, 3 * PAGE));
    heard(&ear, ASPACE_GONE_UNMAPPED, va + 2 * PAGE, 2 * PAGE);
    ear.frame = 0;
    CHECK_OK(aspace_clear(env->space));
    heard(&ear, ASPACE_GONE_UNMAPPED, va + 2 * PAGE, 4 * PAGE);
    heard(&other, ASPACE_GONE_UNMAPPED, va + 8 * PAGE, PAGE);
    cpu_leave(env, 1);
    destroy(env);
    heard(&ear, ASPACE_GONE_DESTROYED, va + 2 * PAGE, 4 * PAGE);
    heard(&other, ASPACE_GONE_DESTROYED, va + 8 * PAGE, PAGE);
}

/* Whole tables, whose frames are freed by the harvest, and one unmap in two tables. */
static void watch_tables(struct env *env)
{
    uint64_t big = env->span[1], va = at(env, 1, 1);
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, 2 * big, env->rw);
    static struct ear ear;

    m.max_leaf_level = 1;
    cpu_enter(env, 1);
    listen(env, &ear, va, 2 * big);
    CHECK_OK(aspace_map(env->space, &m, NULL));
    derive(&ear, va + big);
    CHECK_OK(aspace_unmap(env->space, va, 2 * big));
    heard(&ear, ASPACE_GONE_UNMAPPED, va, 2 * big);
    ear.frame = 0;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    uint64_t done;
    CHECK_OK(aspace_populate(env->space, va, big, &done));
    if (env->huge_level != 0) {
        derive(&ear, va + PAGE);
        CHECK_OK(aspace_collapse(env->space, va, 1));
        heard(&ear, ASPACE_GONE_FRAME, va, big);
        CHECK_OK(aspace_split(env->space, va)); /* the same frames */
        CHECK_EQ(ear.told, 0);
    }
    aspace_unwatch(env->space, &ear.watcher);
    CHECK_OK(aspace_clear(env->space));
    CHECK_EQ(ear.told, 0);
}

static void watch_refused(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    struct aspace_watcher w = {.va = va, .size = PAGE, .gone = hear};
    static struct ear ear; /* told of the end, after the test */

    CHECK_ERROR(aspace_watch(env->space, NULL), ASPACE_E_INVALID);
    w.gone = NULL;
    CHECK_ERROR(aspace_watch(env->space, &w), ASPACE_E_INVALID);
    w.gone = hear;
    w.size = 0;
    CHECK_ERROR(aspace_watch(env->space, &w), ASPACE_E_INVALID);
    w.size = PAGE;
    w.va = env->end;
    CHECK_ERROR(aspace_watch(env->space, &w), ASPACE_E_RANGE);
    listen(env, &ear, va, 4 * PAGE);
    do_map(env, ASPACE_KIND_EAGER, va, PAGE, env->rw);
    CHECK_ERROR(aspace_protect(env->space, va, 2 * PAGE, 0), ASPACE_E_NOT_MAPPED);
    CHECK_ERROR(aspace_move(env->space, va, PAGE, va, NULL), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_unmap(env->space, va, 1), ASPACE_E_INVALID);
    CHECK_EQ(ear.told, 0);
    aspace_close(env->space);
    w.va = va;
    CHECK_ERROR(aspace_watch(env->space, &w), ASPACE_E_CLOSED);
    CHECK(strcmp(aspace_gone_name(ASPACE_GONE_MOVED), "MOVED") == 0);
    CHECK(strcmp(aspace_gone_name(ASPACE_GONE_COUNT), "?") == 0);
}

/* One that is called takes others off, before and behind it. */
static void watch_taken_off_while_told(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    static struct ear ear[4]; /* told of the end, after the test */

    for (unsigned n = 0; n < 4; n++) {
        listen(env, &ear[n], va, PAGE);
    }
    ear[1].takes_off = &ear[0].watcher;
    ear[2].takes_off = &ear[3].watcher;
    for (unsigned round = 0; round < 2; round++) {
        do_map(env, ASPACE_KIND_EAGER, va, PAGE, env->rw);
        CHECK_OK(aspace_unmap(env->space, va, PAGE));
    }
    CHECK_EQ(ear[0].told, 1);
    CHECK_EQ(ear[1].told, 2);
    CHECK_EQ(ear[2].told, 2);
    CHECK_EQ(ear[3].told, 0);
}

static void take_away(struct env *env, uint64_t va, struct ear *told)
{
    do_map(env, ASPACE_KIND_EAGER, va, PAGE, env->rw);
    CHECK_OK(aspace_unmap(env->space, va, PAGE));
    if (told) {
        heard(told, ASPACE_GONE_UNMAPPED, va, PAGE);
    }
}

/* The bounds of what is watched: below, above and between the first, and anew when all are gone. */
static void watch_below_and_above(struct env *env)
{
    uint64_t va = at(env, 1, 0);
    static struct ear ear[4]; /* told of the end, after the test */
    static const unsigned places[] = {4, 1, 8, 5};

    for (unsigned n = 0; n < 4; n++) {
        listen(env, &ear[n], va + places[n] * PAGE, PAGE);
    }
    for (unsigned n = 0; n < 4; n++) {
        take_away(env, va + places[n] * PAGE, &ear[n]);
    }
    for (unsigned n = 0; n < 4; n++) {
        aspace_unwatch(env->space, &ear[n].watcher);
    }
    listen(env, &ear[0], va + 12 * PAGE, PAGE);
    take_away(env, va + 12 * PAGE, &ear[0]);
    take_away(env, va + 4 * PAGE, NULL);
    listen(env, &ear[1], va, PAGE);
    take_away(env, va, &ear[1]);
    take_away(env, va + 12 * PAGE, &ear[0]);
    CHECK(!ear[0].told && !ear[1].told && !ear[2].told && !ear[3].told);
}

/* ----------------------------------------------------------------------------------- who takes off one that is told */

static struct {
    struct env *env;
    uint64_t va;
    uint32_t inside, go_on, done;
} slow;

static void hear_slowly(struct aspace_watcher *watcher, const struct aspace_gone *gone)
{
    (void)watcher, (void)gone;
    __atomic_store_n(&slow.inside, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&slow.go_on, __ATOMIC_SEQ_CST)) {
        aspace_pause();
    }
    __atomic_store_n(&slow.done, 1, __ATOMIC_SEQ_CST);
}

static void *unmap_elsewhere(void *arg)
{
    (void)arg;
    aspace_linux_set_cpu(3);
    aspace_cpu_online(slow.env->host);
    int error = aspace_unmap(slow.env->space, slow.va, PAGE);
    aspace_cpu_offline(slow.env->host);
    return error == ASPACE_OK ? &slow : NULL;
}

static void *let_it_go_on(void *arg)
{
    struct timespec moment = {0, 20000000};
    nanosleep(&moment, NULL);
    __atomic_store_n(&slow.go_on, 1, __ATOMIC_SEQ_CST);
    return arg;
}

static void watch_waits_for_the_told(struct env *env)
{
    struct aspace_watcher w = {.va = at(env, 1, 0), .size = PAGE, .gone = hear_slowly};
    pthread_t unmaps, frees;
    void *good = NULL;

    memset(&slow, 0, sizeof(slow));
    slow.env = env;
    slow.va = w.va;
    do_map(env, ASPACE_KIND_EAGER, w.va, PAGE, env->rw);
    CHECK_OK(aspace_watch(env->space, &w));
    CHECK_EQ(pthread_create(&unmaps, NULL, unmap_elsewhere, NULL), 0);
    while (!__atomic_load_n(&slow.inside, __ATOMIC_SEQ_CST)) {
        aspace_pause();
    }
    CHECK_EQ(pthread_create(&frees, NULL, let_it_go_on, NULL), 0);
    aspace_unwatch(env->space, &w);
    CHECK_EQ(__atomic_load_n(&slow.done, __ATOMIC_SEQ_CST), 1);
    pthread_join(frees, NULL);
    pthread_join(unmaps, &good);
    CHECK(good == &slow);
}

/* A fork takes a right, a copy on write the frame; to take a frame back, or to make a copy elsewhere, takes nothing. */
static void watch_fork_and_copies(struct env *env)
{
    static struct aspace_anon anon;
    static struct ear ear;
    static struct clone child;
    uint64_t va = env->base;
    struct aspace_map m = request(ASPACE_KIND_PRIVATE, va + 2 * PAGE, PAGE, env->rw);

    CHECK_OK(aspace_anon_init(&anon, env->host, PAGE, 0));
    m.object = &anon.object;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    do_map(env, ASPACE_KIND_LAZY, va, 2 * PAGE, env->rw);
    poke(env, va, 1);
    poke(env, va + PAGE, 2);
    touch(env, m.va, ASPACE_R);
    listen(env, &ear, va, 3 * PAGE);
    cpu_enter(env, 1);
    derive(&ear, m.va); /* copies the object's page; the ear hears of it before it knows a frame */
    heard(&ear, ASPACE_GONE_FRAME, m.va, PAGE);
    ear.frame = 0;
    fork_clone(env, &child);
    CHECK(!(ear.gone[0].rights & ASPACE_W));
    heard(&ear, ASPACE_GONE_PROTECTED, va, 3 * PAGE);
    ear.frame = walk(env, va).pa;
    ear.reachable = va;
    poke(env, va, 3);
    heard(&ear, ASPACE_GONE_FRAME, va, PAGE);
    clone_poke(env, &child, va + PAGE, 4);
    aspace_trim(env->host);
    poke(env, va + PAGE, 5);
    CHECK_EQ(ear.told, 0);
    drop_clone(env, &child);
    aspace_unwatch(env->space, &ear.watcher);
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    aspace_object_put(&anon.object);
}

static const struct test tests[] = {
    {"watch_every_kind", watch_every_kind, 0},
    {"watch_fork_and_copies", watch_fork_and_copies, 0},
    {"watch_tables", watch_tables, 0},
    {"watch_refused", watch_refused, NEEDS_FEW},
    {"watch_taken_off_while_told", watch_taken_off_while_told, NEEDS_FEW},
    {"watch_below_and_above", watch_below_and_above, NEEDS_FEW},
    {"watch_waits_for_the_told", watch_waits_for_the_told, NEEDS_PLAIN},
};
const struct suite watch_suite = SUITE(tests);
