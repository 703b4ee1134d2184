/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random operations on several spaces that fork from each other, with objects, tickets, pins, logs and watchers, and
 * memory that runs out now and then; after each, everything is compared with what it ought to be, and audited. Owns
 * the runs; steps.c has the operations, and sequence.h tells what happens on failure.
 */
#include <stdio.h>

#include "../sequence.h"
#include "family.h"

enum { STEPS = 7000, SHRINK_STEPS = 400000 };

static struct family family;

/* Each variant takes steps of its own. */
static uint64_t first_random(const struct env *env)
{
    uint64_t random = harness_seed();

    for (const char *c = env->variant->name; *c; c++) {
        random = random * 31 + (unsigned char)*c;
    }
    return random * UINT64_C(0x2545f4914f6cdd1d);
}

static void begin(struct env *env)
{
    family_begin(&family, env);
}

static void take(struct env *env, unsigned number)
{
    family.random = first_random(env) + number;
    random_next(&family.random);
    family_look(&family);
    family_step(&family);
}

static void check(struct env *env, unsigned taken)
{
    (void)env, (void)taken;
    family_compare(&family);
}

static void finish(struct env *env)
{
    family_finish(&family);
    destroy(env);
}

static const char *text(void)
{
    static char line[sizeof(family.text) + 16];

    snprintf(line, sizeof(line), "%s%s", family.text, family.scarce ? " (scarce)" : "");
    return line;
}

static void family_random(struct env *env)
{
    static const struct sequence sequence = {"family", SHRINK_STEPS, begin, take, check, finish, text};

    sequence_run(env, &sequence, STEPS);
}

static const struct test tests[] = {{"family", family_random, SLOW | NEEDS_SAMPLE}};

int main(int argc, char **argv)
{
    const struct suite suites[] = {SUITE(tests)};
    const struct program program = {"family", suites, 1, NULL};

    return harness_main(&program, argc, argv);
}
