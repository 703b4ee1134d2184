/* SPDX-License-Identifier: BSD-2-Clause */
/* Other spaces of the machine of a test: made, forked into, looked at, dropped. */
#ifndef TESTS_CLONE_H
#define TESTS_CLONE_H

#include <stdlib.h>
#include <string.h>

#include <aspace/fork.h>

#include "suites.h"

/* Another space of the same machine. While it is swapped in, all of env is about it. */
struct clone {
    struct aspace *space;
    struct sim_space sim_space;
    struct aspace_config config;
    bool entered[8];
};

static inline void swap(struct env *env, struct clone *clone)
{
    struct clone now = {.space = env->space, .sim_space = env->sim_space, .config = env->config};

    memcpy(now.entered, env->entered, sizeof(now.entered));
    env->space = clone->space;
    env->sim_space = clone->sim_space;
    env->config = clone->config;
    memcpy(env->entered, clone->entered, sizeof(now.entered));
    *clone = now;
    if (env->sim_space.config) {
        env->sim_space.config = &env->config;
    }
    if (clone->sim_space.config) {
        clone->sim_space.config = &clone->config;
    }
}

/* Empty, with a tag of its own. */
static inline void make_clone(struct env *env, struct clone *clone, unsigned n)
{
    memset(clone, 0, sizeof(*clone));
    clone->config = env->config;
    clone->config.tag = env->config.tag + n;
    clone->space = aligned_alloc(ASPACE_CACHE_LINE, (aspace_bytes(env->host) + 63) / 64 * 64);
    CHECK(clone->space);
    CHECK_OK(aspace_create(clone->space, env->host, &clone->config));
    clone->sim_space = env->sim_space;
    aspace_linux_describe(clone->space, &clone->config, &clone->sim_space);
}

static inline void drop_clone(struct env *env, struct clone *clone)
{
    swap(env, clone);
    for (unsigned n = 0; n < env->cpus; n++) {
        if (env->entered[n]) {
            cpu_leave(env, n);
        }
    }
    audit(env);
    CHECK_OK(aspace_destroy(env->space));
    swap(env, clone);
    free(clone->space);
}

static inline void fork_clone(struct env *env, struct clone *clone)
{
    make_clone(env, clone, 1);
    CHECK_OK(aspace_fork(env->space, clone->space));
    audit(env);
    swap(env, clone);
    audit(env);
    swap(env, clone);
}

static inline uint64_t clone_peek(struct env *env, struct clone *clone, uint64_t va)
{
    swap(env, clone);
    uint64_t value = peek(env, va);
    swap(env, clone);
    return value;
}

static inline void clone_poke(struct env *env, struct clone *clone, uint64_t va, uint64_t value)
{
    swap(env, clone);
    poke(env, va, value);
    audit(env);
    swap(env, clone);
}

static inline uint64_t clone_pa(struct env *env, struct clone *clone, uint64_t va)
{
    swap(env, clone);
    uint64_t pa = walk(env, va).pa;
    swap(env, clone);
    return pa;
}

/* `pages` small ones, written with 100, 101 and so on, and as many unfilled behind. */
static inline uint64_t lazy_pages(struct env *env, unsigned pages)
{
    struct aspace_map m = request(ASPACE_KIND_LAZY, env->base, 2 * pages * PAGE, env->rw);

    m.max_leaf_level = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    for (unsigned i = 0; i < pages; i++) {
        poke(env, env->base + i * PAGE, 100 + i);
    }
    return env->base;
}

#endif
