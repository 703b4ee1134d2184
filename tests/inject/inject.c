/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The n-th allocation fails, for every n, in every operation: the error is told, the space is equal to before by full
 * comparison, nothing is leaked, and the same operation succeeds when there is memory again. Owns the loop; must not
 * know the operations, nor what else is going on meanwhile.
 */
#include <stdio.h>
#include <stdlib.h>

#include "operations.h"

enum { FAILURES_MAX = 3000 };

/* Failing once tells whether each place copes; failing from then on, whether a second attempt does harm. */
enum pattern { FAIL_ONCE, FAIL_FROM };

static void arm(struct env *env, enum pattern pattern, uint64_t n)
{
    if (pattern == FAIL_ONCE) {
        arena_fail_nth(&env->machine.arena, n);
    } else {
        arena_fail_from(&env->machine.arena, n);
    }
}

static void disarm(struct env *env)
{
    arena_fail_nth(&env->machine.arena, 0);
}

static const struct setting *setting; /* of the test that is running; or NULL */

static void check_unchanged(struct env *env, const struct operation *operation, const struct snapshot *before,
                            uint64_t data)
{
    if (setting && setting->settle) {
        setting->settle(env);
    }
    snapshot_same(env, before, operation->name);
    audit(env);
    aspace_trim(env->host);
    CHECK_EQ(ledger(env).data, data);
    snapshot_same(env, before, "after trim");
}

/* What an operation that stops midway may have changed: contents that were to be filled, never areas. */
static void check_refused(struct env *env, const struct operation *operation, const struct snapshot *before,
                          uint64_t data)
{
    CHECK(!(operation->needs & OPERATION_SURE));
    if (!(operation->needs & OPERATION_PARTIAL)) {
        check_unchanged(env, operation, before, data);
    }
    audit(env);
    if (setting) {
        setting->same(env, operation->needs);
    }
}

/* Kept here, since an operation may find that the test is not for this space, and not return. */
static struct snapshot *taken;

static void drop_snapshot(void)
{
    snapshot_free(taken);
    taken = NULL;
}

static struct snapshot *take_snapshot(struct env *env)
{
    drop_snapshot();
    taken = snapshot_take(env);
    return taken;
}

/* One attempt in a fresh space. True if the failure was reached: not every failure is one that was ordered. */
static bool attempt(struct env *env, const struct operation *operation, enum pattern pattern, uint64_t n)
{
    recreate(env, &env->config);
    if (operation->prepare) {
        operation->prepare(env);
    }
    if (setting) {
        setting->begin(env);
    }
    aspace_trim(env->host);
    struct snapshot *before = take_snapshot(env);
    struct arena_counts counts = ledger(env);
    arm(env, pattern, n);
    int error = operation->run(env);
    disarm(env);
    bool fired = ledger(env).calls - counts.calls >= n;
    if (error != ASPACE_OK && (!fired || error != ASPACE_E_NO_MEMORY)) {
        test_fail(__FILE__, __LINE__, "%s: allocation %llu of it fails: %s", operation->name, (unsigned long long)n,
                  aspace_error_name(error));
    }
    if (error != ASPACE_OK) {
        if (harness_verbose()) {
            printf("  %s: refused at allocation %llu\n", operation->name, (unsigned long long)n);
        }
        check_refused(env, operation, before, counts.data);
        CHECK_OK(operation->run(env));
    }
    drop_snapshot();
    audit(env);
    if (setting) {
        setting->end(env);
    }
    return fired;
}

/* A second attempt is the same in every setting. */
static void try_all(struct env *env, const struct operation *operation)
{
    for (enum pattern pattern = FAIL_ONCE; pattern <= (setting ? FAIL_ONCE : FAIL_FROM); pattern++) {
        for (uint64_t n = 1; attempt(env, operation, pattern, n); n++) {
            CHECK(n < FAILURES_MAX);
            if (n > 24) {
                n += n / 4; /* a long run of frames, each like the one before */
            }
        }
    }
}

static const struct operation *picked; /* what the test that is running stands for */

/* Memory for tables comes in small pieces, so that running out of it is not left to frames. */
static void small_chunks(struct env *env)
{
    struct aspace_host_config config = {.cpus = env->cpus, .smr = env->variant->smr, .chunk_order = 3};

    if (counters(env).tables >= 1u << config.chunk_order) {
        config.chunk_order = 0; /* the root would not fit */
    }
    CHECK_OK(aspace_destroy(env->space));
    CHECK_OK(aspace_host_fini(env->host));
    CHECK_OK(aspace_host_init(env->host, &env->hal, &env->machine, &config));
    if (env->variant->smr == ASPACE_SMR_QSBR) {
        aspace_cpu_online(env->host);
    }
    CHECK_OK(aspace_create(env->space, env->host, &env->config));
    aspace_linux_describe(env->space, &env->config, &env->sim_space);
}

static void inject_operation(struct env *env)
{
    small_chunks(env);
    try_all(env, picked);
}

/* Creation itself, and the frames that need no space. */
static void inject_create(struct env *env)
{
    struct aspace_config config = env->config;

    destroy(env);
    aspace_trim(env->host);
    CHECK_EQ(ledger(env).frames, 0);
    for (uint64_t n = 1;; n++) {
        struct arena_counts counts = ledger(env);
        arena_fail_nth(&env->machine.arena, n);
        int error = aspace_create(env->space, env->host, &config);
        disarm(env);
        bool fired = ledger(env).calls - counts.calls >= n;
        CHECK_ERROR(error, fired ? ASPACE_E_NO_MEMORY : ASPACE_OK);
        if (!fired) {
            break;
        }
        aspace_trim(env->host);
        CHECK_EQ(ledger(env).frames, 0);
    }
    env->destroyed = false;
}

static void inject_reserve(struct env *env)
{
    struct snapshot *before = take_snapshot(env);

    for (uint64_t n = 1; n < 100; n++) {
        struct arena_counts counts = ledger(env);
        arena_fail_nth(&env->machine.arena, n);
        int error = aspace_reserve_tables(env->host, 500);
        disarm(env);
        bool fired = ledger(env).calls - counts.calls >= n;
        CHECK(error == ASPACE_OK || (fired && error == ASPACE_E_NO_MEMORY));
        snapshot_same(env, before, "reserve");
        aspace_trim(env->host);
        if (!fired) {
            break;
        }
    }
    drop_snapshot();
}

static const struct test own_tests[] = {
    {"inject_create", inject_create, 0},
    {"inject_reserve", inject_reserve, NEEDS_PLAIN},
};

enum { TESTS_MAX = 400 };

static struct {
    struct test tests[TESTS_MAX];
    char names[TESTS_MAX][48];
    const struct operation *operations[TESTS_MAX];
    const struct setting *settings[TESTS_MAX];
    size_t count;
} all;

static void pick(size_t index)
{
    picked = index < all.count ? all.operations[index] : NULL;
    setting = index < all.count ? all.settings[index] : NULL;
}

/* One that logs cannot be logged, and what is done to an object a child sees. */
static bool fits(const struct operation *operation, const struct setting *in)
{
    return !(in == &logged_setting && operation->needs & OPERATION_LOGS) &&
           !(in == &shared_setting && operation->needs & OPERATION_REACHES);
}

static uint32_t variants_for(const struct operation *operation, const struct setting *in)
{
    uint32_t needs = in == &logged_setting ? NEEDS_PLAIN : NEEDS_FEW;

    if (operation->needs & OPERATION_LONG) {
        needs |= in ? NEEDS_SAMPLE : NEEDS_PLAIN;
    }
    return needs;
}

/* A test for each of the operations. */
static void add(const struct operation *operation, size_t count, const struct setting *in)
{
    for (size_t i = 0; i < count; i++, operation++) {
        if (!fits(operation, in)) {
            continue;
        }
        size_t n = all.count++;
        if (n == TESTS_MAX) {
            abort();
        }
        snprintf(all.names[n], sizeof(all.names[n]), "inject_%s%s%s", in ? in->name : "", in ? "_" : "",
                 operation->name);
        all.tests[n] =
            (struct test){all.names[n], inject_operation, (operation->needs & 0xffff) | variants_for(operation, in)};
        all.operations[n] = operation;
        all.settings[n] = in;
    }
}

int main(int argc, char **argv)
{
    static const struct setting *const beside[] = {NULL, &shared_setting, &logged_setting};

    for (size_t i = 0; i < sizeof(beside) / sizeof(beside[0]); i++) {
        add(operations, operation_count, beside[i]);
        add(further_operations, further_operation_count, beside[i]);
    }
    add(fork_operations, fork_operation_count, &child_setting);
    const struct suite suites[] = {{all.tests, all.count}, SUITE(own_tests)};
    const struct program program = {"inject", suites, 2, pick};

    return harness_main(&program, argc, argv);
}
