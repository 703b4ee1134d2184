/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random operations on several spaces that fork from each other, with objects, tickets, pins, logs and watchers, and
 * memory that runs out now and then; after each, everything is compared with what it ought to be, and audited. On
 * failure: the seed, and the shortest list of operations that was found to fail. Owns the runs; steps.c has the
 * operations.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "family.h"

/* Ten seconds for all variants; sanitizers make each step several times as long. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SANITIZED 0
#endif
enum { STEPS = SANITIZED ? 1000 : 7000, SHRINK_STEPS = 400000 };

static struct {
    uint64_t seed;
    unsigned *steps; /* numbers of the steps to take, in order */
    unsigned count, at;
    bool print;
    struct family family;
} session;

/* Each variant takes steps of its own. */
static uint64_t first_random(const struct env *env)
{
    uint64_t random = session.seed;

    for (const char *c = env->variant->name; *c; c++) {
        random = random * 31 + (unsigned char)*c;
    }
    return random * UINT64_C(0x2545f4914f6cdd1d);
}

static void run_steps(struct env *env)
{
    struct family *f = &session.family;

    family_begin(f, env);
    for (session.at = 0; session.at < session.count; session.at++) {
        f->random = first_random(env) + session.steps[session.at];
        random_next(&f->random);
        family_look(f);
        family_step(f);
        if (session.print) {
            fprintf(stderr, "  %6u %s%s\n", session.steps[session.at], f->text, f->scarce ? " (scarce)" : "");
        }
        family_compare(f);
    }
    session.at = session.count ? session.count - 1 : 0;
    family_finish(f);
    destroy(env);
}

static bool same_place(const char *a, const char *b)
{
    const char *text = strstr(a, ": ");
    size_t n = text ? (size_t)(text - a) : strlen(a);

    return strncmp(a, b, n) == 0;
}

/* Leave out ever smaller pieces for as long as what is left still fails in the same place. */
static void shrink(struct env *env, unsigned *spare, const char *reason)
{
    uint64_t budget = SHRINK_STEPS;

    session.count = session.at + 1;
    for (unsigned piece = session.count / 2; piece >= 1; piece /= 2) {
        for (unsigned first = 0; first + piece <= session.count && budget > session.count;) {
            unsigned before = session.count, rest = before - first - piece;
            memcpy(spare, session.steps, before * sizeof(spare[0]));
            memmove(&session.steps[first], &session.steps[first + piece], rest * sizeof(spare[0]));
            session.count -= piece;
            budget -= session.count;
            restart(env);
            if (test_attempt(env, run_steps) && same_place(reason, test_reason())) {
                session.count = session.at + 1;
            } else {
                memcpy(session.steps, spare, before * sizeof(spare[0]));
                session.count = before;
                first += piece;
            }
        }
    }
}

static void report(struct env *env, const char *reason)
{
    unsigned *spare = malloc(session.count * sizeof(unsigned));

    fprintf(stderr, "family/%s: seed %llu, step %u: %s\n", env->variant->name, (unsigned long long)session.seed,
            session.steps[session.at], reason);
    if (!spare) {
        return;
    }
    shrink(env, spare, reason);
    free(spare);
    fprintf(stderr, "  %u operations are enough:\n", session.count);
    session.print = true;
    restart(env);
    (void)test_attempt(env, run_steps);
    session.print = false;
    fprintf(stderr, "  %6u %s  <- %s\n", session.steps[session.at], session.family.text, test_reason());
}

static void family_random(struct env *env)
{
    char reason[400];

    session.seed = harness_seed();
    session.count = (unsigned)harness_count(STEPS);
    session.steps = malloc(session.count * sizeof(session.steps[0]));
    CHECK(session.steps != NULL);
    for (unsigned i = 0; i < session.count; i++) {
        session.steps[i] = i;
    }
    bool failed = test_attempt(env, run_steps);
    if (failed) {
        snprintf(reason, sizeof(reason), "%s", test_reason());
        report(env, reason);
        free(session.steps);
        test_fail(__FILE__, __LINE__, "seed %llu: %s", (unsigned long long)session.seed, reason);
    }
    free(session.steps);
}

static const struct test tests[] = {{"family", family_random, SLOW | NEEDS_SAMPLE}};

int main(int argc, char **argv)
{
    const struct suite suites[] = {SUITE(tests)};
    const struct program program = {"family", suites, 1, NULL};

    return harness_main(&program, argc, argv);
}
