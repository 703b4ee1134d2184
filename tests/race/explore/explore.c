/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The program. Parts of a run: the named cases; all pairs of operations on all layouts; triples and longer programs at
 * random; and the planted mistakes, each of which has to be found.
 */
#include "explore.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct {
    unsigned bound, named_bound;
    uint64_t triples, programs; /* random cases; each with `schedules` schedules */
    uint64_t schedules;
    uint64_t seed, seconds; /* seconds: then no more pairs are begun; 0: no limit */
    const char *only, *single, *schedule, *mistake;
    bool list;
} options = {.bound = 1, .named_bound = 2, .triples = 600, .programs = 300, .schedules = 40, .seed = 1};

static unsigned passed, failed;
static uint64_t schedules_run;
static unsigned shown;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool time_is_up(void)
{
    static double begin;
    begin = begin > 0 ? begin : now();
    return options.seconds && now() - begin > (double)options.seconds;
}

static void build(const struct layout *layout)
{
    static const struct layout *built;
    if (built == layout)
        return;
    if (built)
        machine_drop();
    machine_build(layout);
    built = layout;
    outcome_start();
}

static bool run_case(const struct test_case *c, const struct search *search, struct found *found)
{
    char text[300];
    build(c->layout);
    explore_case(c, search, found);
    schedules_run += found->schedules;
    if (!found->failed || explore_mistake || shown++ >= 40)
        return !found->failed;
    case_print(c, text, sizeof text);
    printf("FAILED %s: %s\n  again: explore --case '%s' --schedule %s --verbose\n", c->name ? c->name : text,
           found->why, text, found->schedule);
    fflush(stdout);
    return false;
}

static bool wanted(const char *name)
{
    return !options.only || strstr(name, options.only);
}

static void count(bool ok)
{
    passed += ok;
    failed += !ok;
}

/* --------------------------------------------------------------------------------------------------- the four parts */

static bool parse_named(const struct named_case *named, struct test_case *c)
{
    if (!case_parse(named->text, c))
        exit(2);
    c->name = named->name;
    return true;
}

static void run_named(void)
{
    double begin = now();
    uint64_t before = schedules_run;
    for (size_t i = 0; i < named_count; i++) {
        struct test_case c;
        struct found found;
        if (!wanted(named_cases[i].name))
            continue;
        parse_named(&named_cases[i], &c);
        /* A third CPU multiplies the schedules: one preemption less for those. */
        struct search search = {.bound = options.named_bound - (c.fibers > 2 && options.named_bound > 1)};
        bool ok = run_case(&c, &search, &found);
        printf("%-44s %8llu schedules%s\n", c.name, (unsigned long long)found.schedules, ok ? "" : ", FAILED");
        count(ok);
    }
    printf("named cases, at most %u preemptions: %llu schedules in %.1f s\n", options.named_bound,
           (unsigned long long)(schedules_run - before), now() - begin);
    fflush(stdout);
}

/* Both orders of a pair are schedules of one case, so each is made once. */
static void run_pairs_on(const struct layout *layout)
{
    double begin = now();
    uint64_t before = schedules_run;
    unsigned pairs = 0, bad = 0;
    for (size_t a = 0; a < operation_count; a++)
        for (size_t b = a; b < operation_count && !time_is_up(); b++) {
            struct test_case c = {.layout = layout, .fibers = 2};
            struct found found;
            struct search search = {.bound = options.bound};
            c.program[0] = (struct program){1, {&operations[a]}};
            c.program[1] = (struct program){1, {&operations[b]}};
            bad += !run_case(&c, &search, &found);
            pairs++;
        }
    printf("pairs/%s: %u pairs%s, at most %u preemptions: %llu schedules in %.1f s, %u failed\n", layout->name, pairs,
           time_is_up() ? " (not all: the time is up)" : "", options.bound,
           (unsigned long long)(schedules_run - before), now() - begin, bad);
    fflush(stdout);
    count(!bad);
}

static void run_pairs(void)
{
    for (size_t i = 0; i < layout_count; i++) {
        char name[64];
        snprintf(name, sizeof name, "pairs/%s", layouts[i].name);
        if (wanted(name) && !time_is_up())
            run_pairs_on(&layouts[i]);
    }
}

static void random_case(struct test_case *c, const struct layout *layout, unsigned longest, uint64_t *random)
{
    *c = (struct test_case){.layout = layout, .fibers = FIBERS_MAX};
    for (unsigned f = 0; f < FIBERS_MAX; f++) {
        c->program[f].count = longest == 1 ? 1 : 1 + (unsigned)(explore_random(random) % longest);
        for (unsigned i = 0; i < c->program[f].count; i++)
            c->program[f].op[i] = &operations[explore_random(random) % operation_count];
    }
}

static void run_random_on(const struct layout *layout, const char *name, unsigned longest, uint64_t cases)
{
    double begin = now();
    uint64_t before = schedules_run, random = options.seed * 1000 + longest;
    unsigned bad = 0;
    for (uint64_t i = 0; i < cases; i++) {
        struct test_case c;
        struct found found;
        random_case(&c, layout, longest, &random);
        struct search search = {.random = options.schedules, .seed = explore_random(&random)};
        bad += !run_case(&c, &search, &found);
    }
    printf("%s: %llu cases, seed %llu: %llu schedules in %.1f s, %u failed\n", name, (unsigned long long)cases,
           (unsigned long long)options.seed, (unsigned long long)(schedules_run - before), now() - begin, bad);
    fflush(stdout);
    count(!bad);
}

static void run_random(void)
{
    for (size_t i = 0; i < layout_count; i++) {
        char name[64];
        snprintf(name, sizeof name, "triples/%s", layouts[i].name);
        if (options.triples && wanted(name))
            run_random_on(&layouts[i], name, 1, options.triples / layout_count + 1);
        snprintf(name, sizeof name, "programs/%s", layouts[i].name);
        if (options.programs && wanted(name))
            run_random_on(&layouts[i], name, 2, options.programs / layout_count + 1);
    }
}

static bool mistake_found(const char *name, struct found *found)
{
    for (size_t i = 0; i < named_count; i++) {
        struct test_case c;
        struct search search = {.bound = 2};
        if (strcmp(named_cases[i].name, name))
            continue;
        parse_named(&named_cases[i], &c);
        return !run_case(&c, &search, found);
    }
    printf("no case is called %s\n", name);
    return false;
}

static void run_mistake(const struct mistake *m)
{
    for (size_t k = 0; m->cases[k]; k++) {
        struct found found = {0};
        mistake_plant(m->name);
        bool ok = mistake_found(m->cases[k], &found);
        mistake_plant(NULL);
        if (ok)
            printf("mistakes/%s: %s finds it after %llu schedules: %s\n", m->name, m->cases[k],
                   (unsigned long long)found.schedules, found.why);
        else
            printf("FAILED mistakes/%s: %s does not find it (%s)\n", m->name, m->cases[k], m->what);
        count(ok);
    }
}

static void run_mistakes(void)
{
    for (size_t i = 0; i < mistake_count; i++) {
        char name[80];
        snprintf(name, sizeof name, "mistakes/%s", mistakes[i].name);
        if (wanted(name))
            run_mistake(&mistakes[i]);
        fflush(stdout);
    }
}

/* ---------------------------------------------------------------------------------------------------------- options */

static void run_single(void)
{
    struct test_case c;
    struct found found;
    struct search search = {.bound = options.named_bound, .replay = options.schedule};
    if (!case_parse(options.single, &c))
        exit(2);
    mistake_plant(options.mistake);
    bool ok = run_case(&c, &search, &found);
    printf("%s: %llu schedules%s%s\n", options.single, (unsigned long long)found.schedules, ok ? "" : ": ", found.why);
    if (!ok)
        printf("  --schedule %s\n", found.schedule);
    count(ok);
}

static void list(void)
{
    for (size_t i = 0; i < named_count; i++)
        printf("%s\n    %s\n    %s\n", named_cases[i].name, named_cases[i].text, named_cases[i].what);
    printf("operations:");
    for (size_t i = 0; i < operation_count; i++)
        printf(" %s", operations[i].name);
    printf("\n");
    for (size_t i = 0; i < layout_count; i++)
        printf("pairs/%s triples/%s programs/%s\n", layouts[i].name, layouts[i].name, layouts[i].name);
    for (size_t i = 0; i < mistake_count; i++)
        printf("mistakes/%s: %s\n", mistakes[i].name, mistakes[i].what);
}

static void usage(void)
{
    fprintf(stderr,
            "explore: usage: explore [--bound N] [--named-bound N] [--triples N] [--programs N] [--schedules N]\n"
            "    [--seed N] [--seconds N] [--list] [part of a name] | --case LAYOUT/OP,OP|OP [--schedule TEXT] "
            "[--mistake NAME]"
            " [--verbose]\n");
    exit(2);
}

static uint64_t number(const char *text)
{
    char *end;
    errno = 0;
    uint64_t n = text ? strtoull(text, &end, 0) : 0;
    if (!text || errno || !*text || *end)
        usage();
    return n;
}

static bool take_option(const char *name, const char *value)
{
    if (!strcmp(name, "--bound"))
        options.bound = (unsigned)number(value);
    else if (!strcmp(name, "--named-bound"))
        options.named_bound = (unsigned)number(value);
    else if (!strcmp(name, "--triples"))
        options.triples = number(value);
    else if (!strcmp(name, "--programs"))
        options.programs = number(value);
    else if (!strcmp(name, "--schedules"))
        options.schedules = number(value);
    else if (!strcmp(name, "--seconds"))
        options.seconds = number(value);
    else if (!strcmp(name, "--seed"))
        options.seed = number(value);
    else if (!strcmp(name, "--case"))
        options.single = value;
    else if (!strcmp(name, "--schedule"))
        options.schedule = value;
    else if (!strcmp(name, "--mistake"))
        options.mistake = value;
    else
        return false;
    return true;
}

static void take_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--verbose"))
            explore_verbose = true;
        else if (!strcmp(argv[i], "--list"))
            options.list = true;
        else if (argv[i][0] != '-')
            options.only = argv[i];
        else if (i + 1 < argc && take_option(argv[i], argv[i + 1]))
            i++;
        else
            usage();
    }
}

int main(int argc, char **argv)
{
    take_options(argc, argv);
    if (options.list) {
        list();
        return 0;
    }
    if (options.single) {
        run_single();
    } else {
        (void)time_is_up(); /* begins to count */
        run_named();
        run_mistakes();
        run_random();
        run_pairs();
    }
    printf("%llu schedules\n%u passed, %u failed\n", (unsigned long long)schedules_run, passed, failed);
    return failed != 0;
}
