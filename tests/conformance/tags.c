/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tags by generation: more spaces than numbers, on CPUs that remember translations by number. A number that reaches its
 * new owner without a flush shows as a translation of the old owner's.
 */
#include <stdlib.h>
#include <string.h>

#include <aspace/tag.h>

#include "suites.h"

enum { SPACES = 12, PAGES = 8, BITS = 3, FIRST = 1, STEPS = 4000 };

struct guest {
    struct aspace *space;
    struct sim_space sim;
    uint64_t pa[PAGES]; /* what each page is mapped to; 0: nothing */
};

struct world {
    struct env *env;
    struct aspace_tags *tags;
    struct guest guest[SPACES];
    struct guest *on[8]; /* what each CPU runs */
    uint64_t base, next_pa, random;
};

static void *aligned(size_t bytes)
{
    void *p = aligned_alloc(ASPACE_CACHE_LINE, (bytes + ASPACE_CACHE_LINE - 1) / ASPACE_CACHE_LINE * ASPACE_CACHE_LINE);

    CHECK(p != NULL);
    return p;
}

static void world_begin(struct world *w, struct env *env)
{
    struct aspace_tags_config config = {.cpus = env->cpus, .bits = BITS, .first = FIRST};

    *w = (struct world){.env = env, .base = env->base, .next_pa = device_pa(env, SPACES * env->span[1]), .random = 1};
    w->tags = aligned(ASPACE_TAGS_BYTES(env->cpus, BITS));
    CHECK_OK(aspace_tags_init(w->tags, &config));
    for (unsigned i = 0; i < SPACES; i++) {
        struct guest *g = &w->guest[i];
        g->space = aligned(aspace_bytes(env->host));
        CHECK_OK(aspace_create(g->space, env->host, &env->config));
        g->sim = env->sim_space;
        aspace_linux_describe(g->space, &env->config, &g->sim);
    }
}

/* CPU n goes from the space it runs to another, or to none. */
static void run(struct world *w, unsigned n, struct guest *to)
{
    struct sim_cpu *cpu = aspace_linux_become(&w->env->machine, n);
    struct guest *from = w->on[n];

    if (to) {
        aspace_tags_activate(w->tags, to->space);
        to->sim.tag = aspace_tag(to->space);
        sim_cpu_load(cpu, &to->sim);
    } else if (from) {
        sim_cpu_unload(cpu, &from->sim);
    }
    w->on[n] = to;
    if (from)
        aspace_deactivate(from->space);
    aspace_linux_become(&w->env->machine, 0);
}

static void change(struct world *w, struct guest *g, unsigned page)
{
    uint64_t va = w->base + page * PAGE;

    if (g->pa[page]) {
        CHECK_OK(aspace_unmap(g->space, va, PAGE));
        g->pa[page] = 0;
    } else {
        struct aspace_map m = request_linear(va, PAGE, w->env->ro, w->next_pa);
        CHECK_OK(aspace_map(g->space, &m, NULL));
        g->pa[page] = w->next_pa;
        w->next_pa += PAGE;
    }
}

/* What CPU n finds at a page is what its space maps there, and nothing else. */
static void look(struct world *w, unsigned n, unsigned page)
{
    struct guest *g = w->on[n];
    uint64_t pa = 0;
    enum sim_answer answer = sim_cpu_access(&w->env->machine.sim.cpu[n], &g->sim, w->base + page * PAGE, ASPACE_R, &pa);

    CHECK_EQ(answer, g->pa[page] ? SIM_OK : SIM_FAULT);
    if (answer == SIM_OK) {
        CHECK_EQ(pa, g->pa[page]);
    }
}

/* No two CPUs run different spaces under one number, and none has a number that is the embedder's. */
static void check_numbers(struct world *w)
{
    for (unsigned a = 0; a < w->env->cpus; a++) {
        for (unsigned b = 0; w->on[a] && b < a; b++) {
            CHECK(!w->on[b] || w->on[a] == w->on[b] || aspace_tag(w->on[a]->space) != aspace_tag(w->on[b]->space));
        }
        CHECK(!w->on[a] || (aspace_tag(w->on[a]->space) >= FIRST && aspace_tag(w->on[a]->space) < 1u << BITS));
        CHECK(!w->on[a] || w->on[a]->sim.tag == aspace_tag(w->on[a]->space)); /* it does not change under a CPU */
    }
}

static void world_end(struct world *w)
{
    for (unsigned n = 0; n < w->env->cpus; n++) {
        run(w, n, NULL);
    }
    for (unsigned i = 0; i < SPACES; i++) {
        CHECK_OK(aspace_destroy(w->guest[i].space));
        free(w->guest[i].space);
    }
    free(w->tags);
}

static uint64_t pick(struct world *w, uint64_t n)
{
    return random_next(&w->random) % n;
}

static void tags_roll_over(struct env *env)
{
    struct world w;

    world_begin(&w, env);
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned n = (unsigned)pick(&w, env->cpus);
        if (pick(&w, 3) == 0) {
            run(&w, n, pick(&w, 8) ? &w.guest[pick(&w, SPACES)] : NULL);
            check_numbers(&w);
        }
        change(&w, &w.guest[pick(&w, SPACES)], (unsigned)pick(&w, PAGES));
        for (unsigned page = 0; w.on[n] && page < PAGES; page++) {
            look(&w, n, page);
        }
    }
    CHECK(aspace_tags_generation(w.tags) > STEPS / 100);
    world_end(&w);
}

/* A space that a CPU goes on running keeps its number through any number of generations. */
static void tags_keep_running(struct env *env)
{
    struct world w;

    world_begin(&w, env);
    run(&w, 3, &w.guest[0]);
    uint32_t tag = aspace_tag(w.guest[0].space);
    for (unsigned i = 0; i < 200; i++) {
        run(&w, 1, &w.guest[1 + i % (SPACES - 1)]);
        CHECK_EQ(aspace_tag(w.guest[0].space), tag);
        check_numbers(&w);
    }
    CHECK(aspace_tags_generation(w.tags) > 10);
    run(&w, 2, &w.guest[0]);
    CHECK_EQ(aspace_tag(w.guest[0].space), tag);
    world_end(&w);
}

/* --------------------------------------------------------------------------------- while an invalidation is pending */

static struct world *pending;

/* Uses all numbers up, on a CPU that has nothing to do with the invalidation. */
static void roll_over(struct env *env)
{
    uint64_t generation = aspace_tags_generation(pending->tags);

    env->window = NULL;
    for (unsigned i = 0; aspace_tags_generation(pending->tags) == generation; i++) {
        run(pending, 2, &pending->guest[2 + i % (SPACES - 2)]);
    }
}

/* Space 0 runs on CPU 1, has run on CPU 3, and loses a page; the numbers roll over before CPU 1 has acknowledged. */
static void s47_roll_over_with_a_flush_pending(struct env *env)
{
    struct world w;

    world_begin(&w, env);
    pending = &w;
    for (unsigned page = 0; page < PAGES; page++) {
        change(&w, &w.guest[0], page);
        change(&w, &w.guest[1], page);
    }
    run(&w, 3, &w.guest[0]);
    run(&w, 1, &w.guest[0]);
    for (unsigned page = 0; page < PAGES; page++) {
        look(&w, 3, page);
        look(&w, 1, page);
    }
    run(&w, 3, &w.guest[1]);
    for (unsigned page = 0; page < PAGES / 2; page++) {
        env->window = roll_over;
        change(&w, &w.guest[0], page);
        CHECK(env->window == NULL);
        look(&w, 1, page);
        check_numbers(&w);
    }
    run(&w, 1, NULL);
    env->window = NULL;
    roll_over(env);
    change(&w, &w.guest[0], PAGES - 1); /* active nowhere: CPUs 1 and 3 hear of it when they are back */
    roll_over(env);
    for (unsigned n = 1; n <= 3; n += 2) {
        run(&w, n, &w.guest[0]);
        for (unsigned page = 0; page < PAGES; page++) {
            look(&w, n, page);
        }
    }
    world_end(&w);
}

/* CPU 1 has entered the next space and not yet left the last, which gets another number meanwhile: what was flushed
 * under that number before CPU 1 left does not count for CPU 1. */
static void tags_change_during_a_switch(struct env *env)
{
    struct world w;

    world_begin(&w, env);
    pending = &w;
    struct guest *last = &w.guest[0], *next = &w.guest[1];
    change(&w, last, 0);
    run(&w, 1, last);
    look(&w, 1, 0);
    for (unsigned i = 2; i < SPACES; i++) { /* what CPU 1 remembers under every other number */
        change(&w, &w.guest[i], 0);
        run(&w, 1, &w.guest[i]);
        look(&w, 1, 0);
    }
    run(&w, 1, last);
    struct sim_cpu *cpu = aspace_linux_become(&env->machine, 1);
    aspace_tags_activate(w.tags, next->space);
    next->sim.tag = aspace_tag(next->space);
    aspace_linux_become(&env->machine, 0);
    uint32_t tag = aspace_tag(last->space);
    unsigned i = 0;
    for (roll_over(env); !w.on[2] || aspace_tag(w.on[2]->space) != tag; i++) { /* someone else gets it */
        CHECK(i < 100);
        run(&w, 2, &w.guest[2 + i % (SPACES - 2)]);
    }
    run(&w, 3, last);
    CHECK(aspace_tag(last->space) != tag);
    aspace_linux_become(&env->machine, 1);
    sim_cpu_load(cpu, &next->sim);
    aspace_deactivate(last->space);
    aspace_linux_become(&env->machine, 0);
    w.on[1] = next;
    run(&w, 1, last);
    for (unsigned page = 0; page < PAGES; page++) {
        look(&w, 1, page);
        look(&w, 3, page);
    }
    world_end(&w);
}

static void tags_refusals(struct env *env)
{
    struct aspace_tags *tags = aligned(ASPACE_TAGS_BYTES(ASPACE_CPUS_MAX, 16));
    struct aspace_tags_config c = {.cpus = 4, .bits = 2};

    (void)env;
    CHECK_ERROR(aspace_tags_init(NULL, &c), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_tags_init(tags, NULL), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_tags_init(tags, &c), ASPACE_E_INVALID);
    c.cpus = 3;
    CHECK_OK(aspace_tags_init(tags, &c));
    c.first = 1;
    CHECK_ERROR(aspace_tags_init(tags, &c), ASPACE_E_INVALID);
    c = (struct aspace_tags_config){.bits = 17};
    CHECK_ERROR(aspace_tags_init(tags, &c), ASPACE_E_INVALID);
    c.bits = 0;
    CHECK_ERROR(aspace_tags_init(tags, &c), ASPACE_E_INVALID);
    c = (struct aspace_tags_config){.bits = 16, .cpus = ASPACE_CPUS_MAX + 1};
    CHECK_ERROR(aspace_tags_init(tags, &c), ASPACE_E_INVALID);
    c.cpus = ASPACE_CPUS_MAX;
    CHECK_OK(aspace_tags_init(tags, &c));
    CHECK_EQ(aspace_tags_generation(tags), 1);
    free(tags);
}

static const struct test tests[] = {
    {"tags_refusals", tags_refusals, NEEDS_PLAIN},
    {"tags_roll_over", tags_roll_over, NEEDS_PLAIN},
    {"tags_keep_running", tags_keep_running, NEEDS_PLAIN},
    {"tags_change_during_a_switch", tags_change_during_a_switch, NEEDS_PLAIN},
    {"s47_roll_over_with_a_flush_pending", s47_roll_over_with_a_flush_pending, NEEDS_PLAIN | DELAYED},
};
const struct suite tag_suite = SUITE(tests);
