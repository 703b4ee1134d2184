/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two operations that commute and work at different leaves should touch no common cache line that one of them writes:
 * then they scale, whatever the number of CPUs. Every pair is run, one after the other from the same state, as two
 * different CPUs, and the lines they touched are intersected.
 */
#include <aspace/fault.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "periods.h"
#include "report.h"
#include "waits.h"

enum { CLASHES_MAX = 512, LOOKS_AGAIN = 2 };

static struct options {
    const char *exceptions;
    enum aspace_format format;
    const char *relation; /* NULL: all */
    bool all;             /* print exceptions, too */
    bool periods;         /* measure them although one relation only was asked for */
} options = {.exceptions = "tests/conflicts/exceptions.txt", .format = ASPACE_FMT_X86_EPT4};

static char symbols[RELATIONS_MAX][OPERATIONS_MAX][OPERATIONS_MAX];
static unsigned passed, failed;

static void usage(const char *why, const char *what)
{
    fprintf(stderr,
            "conflicts: %s '%s'; usage: conflicts [--exceptions FILE] [--format NAME] [--relation NAME] [--periods] "
            "[--all]\n",
            why, what);
    exit(2);
}

static enum aspace_format format_named(const char *name)
{
    for (int i = 0; i < ASPACE_FMT_COUNT; i++)
        if (!strcmp(aspace_format_name((enum aspace_format)i), name))
            return (enum aspace_format)i;
    usage("no format has the name", name);
    return ASPACE_FMT_COUNT;
}

static void read_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (!strcmp(argv[i], "--exceptions") && more)
            options.exceptions = argv[++i];
        else if (!strcmp(argv[i], "--format") && more)
            options.format = format_named(argv[++i]);
        else if (!strcmp(argv[i], "--relation") && more)
            options.relation = argv[++i];
        else if (!strcmp(argv[i], "--periods"))
            options.periods = true;
        else if (!strcmp(argv[i], "--all"))
            options.all = true;
        else
            usage("not understood:", argv[i]);
    }
}

/* ------------------------------------------------------------------------------------------------------------ pairs */

static void prepare(unsigned relation, enum aspace_smr smr, const unsigned pair[2], struct side sides[2])
{
    const struct operation *o[2] = {&operations[pair[0]], &operations[pair[1]]};
    struct machine_config config = relations[relation].config;
    config.format = options.format;
    config.smr = smr;
    machine_reset(&config);
    prepare_pair(&relations[relation], o, sides);
    machine_survey();
}

/* A fault that has made a page writable pauses and looks again. Nothing else is waited for. */
static void run(unsigned operation, const struct side *s, struct trace *t)
{
    machine_be(s->cpu);
    machine.spins = 0;
    trace_begin(t);
    int rc = operations[operation].run(s);
    trace_end();
    must(rc || machine.spins > LOOKS_AGAIN ? 1 : 0, "the run", operations[operation].name);
    machine.spins = 0;
}

static void mark(unsigned relation, const unsigned pair[2], char symbol)
{
    char *s = &symbols[relation][pair[0]][pair[1]];
    if (!*s || *s == '.' || symbol == 'X')
        *s = symbol;
}

static void run_pair(unsigned relation, enum aspace_smr smr, unsigned one, unsigned two)
{
    static struct trace traces[2];
    static struct clash clashes[CLASHES_MAX];
    const unsigned pair[2] = {one, two};
    struct side sides[2];
    prepare(relation, smr, pair, sides);
    run(one, &sides[0], &traces[0]);
    run(two, &sides[1], &traces[1]);
    machine_survey();
    size_t n = trace_clashes(&traces[0], &traces[1], clashes, CLASHES_MAX);
    mark(relation, pair, '.');
    for (size_t i = 0; i < n; i++) {
        char name[NAME_BYTES];
        machine_name(clashes[i].line, name);
        const struct exception *e = exceptions_cover(relation, one, two, name, clashes[i].shared);
        report_add(relation, one, two, &clashes[i], e);
        mark(relation, pair, e ? 'e' : 'X');
    }
}

/* Whatever an operation changes must be in its trace, or the checker is blind there. */
static void check_trace(unsigned relation, enum aspace_smr smr, unsigned operation)
{
    static struct trace t;
    const unsigned pair[2] = {operation, operation};
    struct side sides[2];
    char name[NAME_BYTES];
    prepare(relation, smr, pair, sides);
    machine_snapshot();
    run(operation, &sides[0], &t);
    uintptr_t at = machine_unseen(&t);
    if (!at) {
        passed++;
        return;
    }
    machine_name(at & ~(uintptr_t)(TRACE_LINE - 1), name);
    printf("FAILED %s: a change that the trace has not, in %s\n", operations[operation].name, name);
    failed++;
}

static void run_relation(unsigned relation)
{
    const struct relation *r = &relations[relation];
    for (unsigned smr = ASPACE_SMR_EPOCH; smr <= ASPACE_SMR_QSBR; smr++)
        for (unsigned one = 0; one < operation_count; one++) {
            if (!applies(&operations[one], r))
                continue;
            check_trace(relation, (enum aspace_smr)smr, one);
            for (unsigned two = 0; two < operation_count; two++)
                if (applies(&operations[two], r) && paired(&operations[one], &operations[two]))
                    run_pair(relation, (enum aspace_smr)smr, one, two);
        }
}

static char letter(unsigned operation)
{
    return "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-"[operation];
}

static void print_relation(unsigned relation)
{
    printf("\n%s: %s\n%18s", relations[relation].name, relations[relation].text, "");
    for (unsigned two = 0; two < operation_count; two++)
        printf("%c", letter(two));
    printf("\n");
    for (unsigned one = 0; one < operation_count; one++) {
        if (!applies(&operations[one], &relations[relation]))
            continue;
        printf("%c %-15s ", letter(one), operations[one].name);
        for (unsigned two = 0; two < operation_count; two++) {
            char s = symbols[relation][one][two];
            printf("%c", s ? s : ' ');
            passed += s && s != 'X';
            failed += s == 'X';
        }
        printf("\n");
    }
}

int main(int argc, char **argv)
{
    int top = 0;
    uint64_t ran = 0;
    read_options(argc, argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    trace_init(&top);
    machine_init();
    exceptions_read(options.exceptions);
    printf("First the operation of the row, then that of the column, as two CPUs: . nothing shared, e an exception,\n"
           "X a conflict. Format %s, readers by epochs and by quiescent states.\n",
           aspace_format_name(options.format));
    for (unsigned r = 0; r < relation_count; r++) {
        if (options.relation && strcmp(options.relation, relations[r].name) != 0)
            continue;
        run_relation(r);
        print_relation(r);
        ran |= 1ull << r;
    }
    if (!ran)
        usage("no relation has the name", options.relation);
    printf("\n");
    report_print(options.all);
    waits_run(options.format, &passed, &failed);
    bool periods = options.periods || !options.relation;
    if (periods)
        periods_run(options.format, &passed, &failed);
    failed += exceptions_idle(ran, periods);
    printf("%u passed, %u failed\n", passed, failed);
    return failed ? 1 : 0;
}
