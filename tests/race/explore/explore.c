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

enum { WEAK_BOUND = 1, RANDOM_STALE = 2 }; /* of the parts in weak memory: preemptions; stale reads of random cases */

static struct {
    unsigned bound, named_bound;
    unsigned stale;      /* reads of older stores: of a single case, and of named cases and pairs in weak memory */
    uint64_t weak_pairs; /* layouts on which pairs are run in weak memory */
    uint64_t triples, programs; /* random cases; each with `schedules` schedules */
    uint64_t schedules;
    uint64_t seed, seconds; /* seconds: then no more pairs are begun; 0: no limit */
    const char *only, *single, *schedule, *mistake;
    bool list;
} options = {
    .bound = 1, .named_bound = 2, .triples = 600, .programs = 300, .schedules = 40, .seed = 1, .weak_pairs = 1};

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
    printf("FAILED %s: %s\n  again: explore --case '%s' --stale %u --schedule %s --verbose\n", c->name ? c->name : text,
           found->why, text, search->stale, found->schedule);
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

static const char *stale_text(unsigned stale)
{
    static char text[40];
    if (!stale)
        return "";
    snprintf(text, sizeof text, ", at most %u stale reads", stale);
    return text;
}

/* ------------------------------------------------------------------------------------------------------- the parts */

static bool parse_named(const struct named_case *named, struct test_case *c)
{
    if (!case_parse(named->text, c))
        exit(2);
    c->name = named->name;
    return true;
}

static void run_named(unsigned bound, unsigned stale)
{
    double begin = now();
    uint64_t before = schedules_run;
    for (size_t i = 0; i < named_count; i++) {
        struct test_case c;
        struct found found;
        char name[100];
        snprintf(name, sizeof name, "%s%s", stale ? "weak/" : "", named_cases[i].name);
        if (!wanted(name))
            continue;
        parse_named(&named_cases[i], &c);
        /* A third CPU multiplies the schedules: one preemption less for those. */
        struct search search = {.bound = bound - (c.fibers > 2 && bound > 1), .stale = stale};
        bool ok = run_case(&c, &search, &found);
        printf("%-44s %8llu schedules%s\n", name, (unsigned long long)found.schedules, ok ? "" : ", FAILED");
        count(ok);
    }
    printf("named cases, at most %u preemptions%s: %llu schedules in %.1f s\n", bound, stale_text(stale),
           (unsigned long long)(schedules_run - before), now() - begin);
    fflush(stdout);
}

/* What one fork fills is not empty for another. */
static bool same_child(const struct operation *a, const struct operation *b)
{
    return a->kind == OP_FORK && b->kind == OP_FORK && a->space == b->space;
}

/* On layouts with forks: what is about forks or the copy, or writes to a page that is shared, beside all others. */
static bool is_about_forks(const struct operation *op)
{
    bool writes = op->kind == OP_TOUCH || op->kind == OP_WRITE || op->kind == OP_FAULT;
    return op->kind == OP_FORK || op->space || (writes && !op->page && op->rights & ASPACE_W);
}

static bool pair_fits(const struct layout *layout, size_t a, size_t b, size_t end)
{
    const struct operation *x = &operations[a], *y = &operations[b];
    if (layout->forks)
        return (is_about_forks(x) || is_about_forks(y)) && !same_child(x, y);
    return a < end && b < end && operation_fits(x, layout) && operation_fits(y, layout);
}

/* Both orders of a pair are schedules of one case, so each is made once. */
static void run_pairs_on(const struct layout *layout, const char *name, unsigned bound, unsigned stale)
{
    double begin = now();
    uint64_t before = schedules_run;
    unsigned pairs = 0, bad = 0;
    size_t end = stale ? operation_all : operation_count;
    for (size_t a = 0; a < operation_all; a++)
        for (size_t b = a; b < operation_all && !time_is_up(); b++) {
            struct test_case c = {.layout = layout, .fibers = 2};
            struct found found;
            if (!pair_fits(layout, a, b, end))
                continue;
            struct search search = {.bound = bound, .stale = stale};
            c.program[0] = (struct program){1, {&operations[a]}};
            c.program[1] = (struct program){1, {&operations[b]}};
            bad += !run_case(&c, &search, &found);
            pairs++;
        }
    printf("%s: %u pairs%s, at most %u preemptions%s: %llu schedules in %.1f s, %u failed\n", name, pairs,
           time_is_up() ? " (not all: the time is up)" : "", bound, stale_text(stale),
           (unsigned long long)(schedules_run - before), now() - begin, bad);
    fflush(stdout);
    count(!bad);
}

static void run_pairs(unsigned bound, unsigned stale, size_t on)
{
    for (size_t i = 0; i < on; i++) {
        char name[64];
        snprintf(name, sizeof name, "%spairs/%s", stale ? "weak/" : "", layouts[i].name);
        if (wanted(name) && !time_is_up())
            run_pairs_on(&layouts[i], name, bound, stale);
    }
}

/* Each operation beside a CPU that writes and a harvest of flags. */
static void run_harvest_on(const struct layout *layout, const char *name, const char *harvest)
{
    double begin = now();
    uint64_t before = schedules_run;
    unsigned bad = 0;
    for (size_t i = 0; i < operation_count && !time_is_up(); i++) {
        struct test_case c = {.layout = layout, .fibers = 3};
        struct found found;
        if (operations[i].kind == OP_TRANSLATE)
            continue; /* its answer depends on the log, of which the flat model knows nothing */
        struct search search = {.bound = options.bound};
        c.program[0] = (struct program){1, {operation_find("touch_0_w", strlen("touch_0_w"))}};
        c.program[1] = (struct program){1, {&operations[i]}};
        c.program[2] = (struct program){1, {operation_find(harvest, strlen(harvest))}};
        bad += !run_case(&c, &search, &found);
    }
    printf("%s: at most %u preemptions: %llu schedules in %.1f s, %u failed\n", name, options.bound,
           (unsigned long long)(schedules_run - before), now() - begin, bad);
    fflush(stdout);
    count(!bad);
}

static void run_harvests(void)
{
    static const char *const harvests[] = {"harvest_0", "accessed_0"};
    for (size_t i = layout_count; i < layout_all; i++)
        for (unsigned k = 0; k < 2; k++) {
            char name[64];
            snprintf(name, sizeof name, "%s/%s", harvests[k], layouts[i].name);
            if (wanted(name) && (!k || layouts[i].features & ASPACE_FEAT_AD))
                run_harvest_on(&layouts[i], name, harvests[k]);
        }
}

static bool has_fork_like(const struct test_case *c, const struct operation *op)
{
    for (unsigned f = 0; f < c->fibers; f++)
        for (unsigned i = 0; i < c->program[f].count; i++)
            if (c->program[f].op[i] && same_child(c->program[f].op[i], op))
                return true;
    return false;
}

static const struct operation *random_operation(const struct test_case *c, uint64_t *random)
{
    if (!c->layout->forks)
        return &operations[explore_random(random) % operation_count];
    for (;;) {
        bool about_forks = explore_random(random) % 2;
        size_t first = about_forks ? operation_forks : 0, end = about_forks ? operation_all : operation_count;
        const struct operation *op = &operations[first + explore_random(random) % (end - first)];
        if (!has_fork_like(c, op))
            return op;
    }
}

static void random_case(struct test_case *c, const struct layout *layout, unsigned longest, uint64_t *random)
{
    *c = (struct test_case){.layout = layout, .fibers = FIBERS_MAX};
    for (unsigned f = 0; f < FIBERS_MAX; f++) {
        c->program[f].count = longest == 1 ? 1 : 1 + (unsigned)(explore_random(random) % longest);
        for (unsigned i = 0; i < c->program[f].count; i++)
            c->program[f].op[i] = random_operation(c, random);
    }
}

static void run_random_on(const struct layout *layout, const char *name, unsigned longest, unsigned stale)
{
    double begin = now();
    uint64_t before = schedules_run, random = options.seed * 1000 + longest;
    uint64_t cases = (longest == 1 ? options.triples : options.programs) / layout_count + 1;
    unsigned bad = 0;
    for (uint64_t i = 0; i < cases; i++) {
        struct test_case c;
        struct found found;
        random_case(&c, layout, longest, &random);
        struct search search = {.random = options.schedules, .seed = explore_random(&random), .stale = stale};
        bad += !run_case(&c, &search, &found);
    }
    printf("%s: %llu cases, seed %llu: %llu schedules in %.1f s, %u failed\n", name, (unsigned long long)cases,
           (unsigned long long)options.seed, (unsigned long long)(schedules_run - before), now() - begin, bad);
    fflush(stdout);
    count(!bad);
}

static void run_random(unsigned stale)
{
    const char *weak = stale ? "weak/" : "";
    for (size_t i = 0; i < layout_count; i++) {
        char name[64];
        snprintf(name, sizeof name, "%striples/%s", weak, layouts[i].name);
        if (options.triples && wanted(name))
            run_random_on(&layouts[i], name, 1, stale);
        snprintf(name, sizeof name, "%sprograms/%s", weak, layouts[i].name);
        if (options.programs && wanted(name))
            run_random_on(&layouts[i], name, 2, stale);
    }
}

static bool mistake_found(const char *name, const struct search *search, struct found *found)
{
    for (size_t i = 0; i < named_count; i++) {
        struct test_case c;
        if (strcmp(named_cases[i].name, name))
            continue;
        parse_named(&named_cases[i], &c);
        return !run_case(&c, search, found);
    }
    printf("no case is called %s\n", name);
    return false;
}

static void run_mistake(const struct mistake *m, const struct search *search)
{
    for (size_t k = 0; m->cases[k]; k++) {
        struct found found = {0};
        mistake_plant(m->name);
        bool ok = mistake_found(m->cases[k], search, &found);
        mistake_plant(NULL);
        if (ok)
            printf("mistakes/%s: %s finds it after %llu schedules: %s\n", m->name, m->cases[k],
                   (unsigned long long)found.schedules, found.why);
        else
            printf("FAILED mistakes/%s: %s does not find it (%s)\n", m->name, m->cases[k], m->what);
        count(ok);
    }
}

/* And not without stale reads, else it would say nothing about them. */
static void run_weak_mistake(const struct weak_mistake *m)
{
    const struct search weak = {.bound = m->preemptions, .stale = m->stale};
    const struct search strong = {.bound = m->preemptions};
    run_mistake(&m->mistake, &weak);
    for (size_t k = 0; m->mistake.cases[k]; k++) {
        struct found found = {0};
        mistake_plant(m->mistake.name);
        bool ok = !mistake_found(m->mistake.cases[k], &strong, &found);
        mistake_plant(NULL);
        if (!ok)
            printf("FAILED mistakes/%s: %s finds it without stale reads: %s\n", m->mistake.name, m->mistake.cases[k],
                   found.why);
        count(ok);
    }
}

static bool mistake_wanted(const struct mistake *m)
{
    char name[80];
    fflush(stdout);
    snprintf(name, sizeof name, "mistakes/%s", m->name);
    return wanted(name);
}

static void run_mistakes(void)
{
    const struct search search = {.bound = 2};
    for (size_t i = 0; i < mistake_count; i++)
        if (mistake_wanted(&mistakes[i]))
            run_mistake(&mistakes[i], &search);
    for (size_t i = 0; i < weak_mistake_count; i++)
        if (mistake_wanted(&weak_mistakes[i].mistake))
            run_weak_mistake(&weak_mistakes[i]);
    fflush(stdout);
}

static void run_weak(void)
{
    size_t on = options.weak_pairs < layout_count ? options.weak_pairs : layout_count;
    run_named(WEAK_BOUND, options.stale);
    run_random(RANDOM_STALE);
    run_pairs(WEAK_BOUND, options.stale, on);
}

/* ---------------------------------------------------------------------------------------------------------- options */

static void run_single(void)
{
    struct test_case c;
    struct found found;
    struct search search = {.bound = options.named_bound, .stale = options.stale, .replay = options.schedule};
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
    for (size_t i = 0; i < operation_all; i++)
        printf(" %s", operations[i].name);
    printf("\n");
    for (size_t i = 0; i < layout_count; i++)
        printf("pairs/%s triples/%s programs/%s\n", layouts[i].name, layouts[i].name, layouts[i].name);
    for (size_t i = 0; i < mistake_count; i++)
        printf("mistakes/%s: %s\n", mistakes[i].name, mistakes[i].what);
    for (size_t i = 0; i < weak_mistake_count; i++)
        printf("mistakes/%s: %s\n", weak_mistakes[i].mistake.name, weak_mistakes[i].mistake.what);
}

static void usage(void)
{
    fprintf(stderr,
            "explore: usage: explore [--bound N] [--named-bound N] [--triples N] [--programs N] [--schedules N]\n"
            "    [--stale N] [--weak-pairs LAYOUTS] [--seed N] [--seconds N] [--list] [part of a name] | --case "
            "LAYOUT/OP,OP|OP [--schedule TEXT] "
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
    else if (!strcmp(name, "--stale"))
        options.stale = (unsigned)number(value);
    else if (!strcmp(name, "--weak-pairs"))
        options.weak_pairs = number(value);
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
        run_named(options.named_bound, 0);
        run_mistakes();
        run_random(0);
        if (options.stale)
            run_weak();
        run_pairs(options.bound, 0, layout_count);
        run_harvests();
    }
    printf("%llu schedules\n%u passed, %u failed\n", (unsigned long long)schedules_run, passed, failed);
    return failed != 0;
}
