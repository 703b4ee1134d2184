/* SPDX-License-Identifier: BSD-2-Clause */
#include "sequence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SLOWER = 5 };
#elif defined(__has_feature)
enum { SLOWER = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ? 5 : 1 };
#else
enum { SLOWER = 1 };
#endif

static struct {
    const struct sequence *sequence;
    unsigned *steps; /* numbers of the steps to take, in order */
    unsigned count;
    unsigned at; /* the one at hand */
    bool print;
} session;

static void run_steps(struct env *env)
{
    const struct sequence *s = session.sequence;

    s->begin(env);
    for (session.at = 0; session.at < session.count; session.at++) {
        s->take(env, session.steps[session.at]);
        if (session.print) {
            fprintf(stderr, "  %6u %s\n", session.steps[session.at], s->text());
        }
        s->check(env, session.at);
    }
    session.at = session.count ? session.count - 1 : 0;
    s->finish(env);
}

static void remove_steps(unsigned first, unsigned n)
{
    memmove(&session.steps[first], &session.steps[first + n], (session.count - first - n) * sizeof(session.steps[0]));
    session.count -= n;
}

/* The place in the source that a reason begins with: another one is another failure. */
static bool same_place(const char *a, const char *b)
{
    const char *text = strstr(a, ": ");
    size_t n = text ? (size_t)(text - a) : strlen(a);

    return strncmp(a, b, n) == 0;
}

/* Leave out ever smaller pieces for as long as what is left still fails in the same place. */
static void shrink(struct env *env, unsigned *spare, const char *reason)
{
    uint64_t budget = session.sequence->shrink_budget;

    session.count = session.at + 1;
    for (unsigned piece = session.count / 2; piece >= 1; piece /= 2) {
        for (unsigned first = 0; first + piece <= session.count && budget > session.count;) {
            unsigned before = session.count;
            memcpy(spare, session.steps, before * sizeof(spare[0]));
            remove_steps(first, piece);
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

    fprintf(stderr, "%s/%s: seed %llu, step %u: %s\n", session.sequence->name, env->variant->name,
            (unsigned long long)harness_seed(), session.steps[session.at], reason);
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
    fprintf(stderr, "  %6u %s  <- %s\n", session.steps[session.at], session.sequence->text(), test_reason());
}

void sequence_run(struct env *env, const struct sequence *sequence, unsigned count)
{
    char reason[400];

    session.sequence = sequence;
    session.count = (unsigned)harness_count(count / SLOWER);
    session.steps = malloc(session.count * sizeof(session.steps[0]));
    CHECK(session.steps != NULL);
    for (unsigned i = 0; i < session.count; i++) {
        session.steps[i] = i;
    }
    bool failed = test_attempt(env, run_steps);
    if (failed) {
        snprintf(reason, sizeof(reason), "%s", test_reason());
        report(env, reason);
    }
    free(session.steps);
    if (failed) {
        test_fail(__FILE__, __LINE__, "seed %llu: %s", (unsigned long long)harness_seed(), reason);
    }
}
