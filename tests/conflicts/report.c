/* SPDX-License-Identifier: BSD-2-Clause */
/* Clashes that are alike in relation, line and kind become one finding with the pairs that have it. */
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    FINDINGS_MAX = 512,
    SAMPLES_MAX = 64,
    SAMPLES_SHOWN = 6,
    MEMBERS_BYTES = 80,
    PLACE_BYTES = 160,
    PLACES_MAX = 2048,
    SAMPLE_BYTES = 600,
};

struct party {
    uintptr_t pc;
    bool write;
    char members[MEMBERS_BYTES];
};

struct finding {
    unsigned relation;
    char line[NAME_BYTES];
    bool same;
    const struct exception *covered;
    uint64_t pairs[OPERATIONS_MAX];
    unsigned n;
    struct party samples[SAMPLES_MAX][2];
};

static struct finding findings[FINDINGS_MAX];
static unsigned n_findings;

static struct finding *find(unsigned relation, const char *line, bool same, const struct exception *covered)
{
    for (struct finding *f = findings; f < findings + n_findings; f++)
        if (f->relation == relation && f->same == same && f->covered == covered && !strcmp(f->line, line))
            return f;
    if (n_findings == FINDINGS_MAX) {
        fprintf(stderr, "conflicts: more findings than can be held\n");
        exit(1);
    }
    struct finding *f = &findings[n_findings++];
    f->relation = relation;
    f->same = same;
    f->covered = covered;
    snprintf(f->line, sizeof f->line, "%s", line);
    return f;
}

static struct party party(const struct access *a, uintptr_t line)
{
    struct party p = {.pc = a->pc, .write = a->write};
    uintptr_t from = a->addr > line ? a->addr : line, to = a->end < line + TRACE_LINE ? a->end : line + TRACE_LINE;
    machine_members(from, to, p.members, sizeof p.members);
    return p;
}

static bool alike(const struct party *a, const struct party *b)
{
    return a->pc == b->pc && a->write == b->write;
}

void report_add(unsigned relation, unsigned one, unsigned two, const struct clash *c, const struct exception *covered)
{
    char name[NAME_BYTES];
    machine_name(c->line, name);
    struct finding *f = find(relation, name, c->shared, covered);
    struct party a = party(c->one, c->line), b = party(c->two, c->line);
    f->pairs[one] |= 1ull << two;
    for (unsigned i = 0; i < f->n; i++)
        if ((alike(&f->samples[i][0], &a) && alike(&f->samples[i][1], &b)) ||
            (alike(&f->samples[i][0], &b) && alike(&f->samples[i][1], &a)))
            return;
    if (f->n < SAMPLES_MAX) {
        f->samples[f->n][0] = a;
        f->samples[f->n++][1] = b;
    }
}

/* ----------------------------------------------------------------------------------------------------------- places */

/* Headers hold helpers: who asked is the file that uses them. */
static bool helper(const char *at)
{
    const char *dot = strrchr(at, '.');
    return dot && dot[1] == 'h';
}

static struct place {
    uintptr_t pc;
    char text[PLACE_BYTES];
} places[PLACES_MAX];
static unsigned n_places;

static const char *place_of(uintptr_t pc)
{
    for (unsigned i = 0; i < n_places; i++)
        if (places[i].pc == pc)
            return places[i].text;
    return "?";
}

static void place_add(uintptr_t pc)
{
    if (!strcmp(place_of(pc), "?") && n_places < PLACES_MAX) {
        snprintf(places[n_places].text, PLACE_BYTES, "%#lx", (unsigned long)pc);
        places[n_places++].pc = pc;
    }
}

/* addr2line gives the address, then function and file:line in turn, the innermost inlined function first. */
static void places_read(FILE *f)
{
    char function[256], at[512];
    struct place *place = NULL;
    bool found = true;
    while (fgets(function, sizeof function, f)) {
        function[strcspn(function, "\n")] = '\0';
        if (!strncmp(function, "0x", 2)) {
            place = place ? place + 1 : places;
            found = false;
            continue;
        }
        if (!fgets(at, sizeof at, f) || !place || place >= places + n_places)
            return;
        at[strcspn(at, ": \n")] = '\0';
        const char *path = strstr(at, "src/"), *line = at + strlen(at) + 1;
        if (!found)
            snprintf(place->text, PLACE_BYTES, "%.60s, %.80s:%d", function, path ? path : at, atoi(line));
        found = found || !helper(at);
    }
}

/* All at once, since the tool takes its time to begin. */
static void places_find(void)
{
    static char command[512 + 24 * PLACES_MAX];
    char self[256] = "";
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        return;
    int n = snprintf(command, sizeof command, "addr2line -a -f -i -e '%s'", self);
    for (unsigned i = 0; i < n_places; i++)
        n += snprintf(command + n, sizeof command - (size_t)n, " %#lx", (unsigned long)places[i].pc - 1);
    FILE *f = popen(command, "r");
    if (!f)
        return;
    places_read(f);
    pclose(f);
}

/* --------------------------------------------------------------------------------------------------------- printing */

static void print_names(uint64_t operations_named)
{
    for (unsigned i = 0; i < operation_count; i++)
        if (operations_named >> i & 1)
            printf(" %s", operations[i].name);
}

/* Operations that have the same partners stand together. A pair that was found in both orders is told once. */
static void print_pairs(const struct finding *f)
{
    uint64_t done = 0;
    for (unsigned a = 0; a < operation_count; a++) {
        uint64_t alike = 0, before = done;
        if (done >> a & 1 || !f->pairs[a])
            continue;
        for (unsigned b = a; b < operation_count; b++)
            if (f->pairs[b] == f->pairs[a])
                alike |= 1ull << b;
        done |= alike;
        if (!(f->pairs[a] & ~before))
            continue;
        printf("   ");
        print_names(alike);
        printf("\n      with");
        print_names(f->pairs[a] & ~before);
        printf("\n");
    }
}

/* The text of one example, so that those that differ in format or inlining only are printed once. */
static void sample_text(const struct party sample[2], char text[SAMPLE_BYTES])
{
    int n = 0;
    for (unsigned i = 0; i < 2; i++)
        n += snprintf(text + n, (size_t)(SAMPLE_BYTES - n), "    %s%s %s: %s\n", i ? "  and " : "",
                      sample[i].write ? "writes" : "reads", sample[i].members[0] ? sample[i].members : "it",
                      place_of(sample[i].pc));
}

static void print_samples(const struct finding *f)
{
    char text[SAMPLES_SHOWN][SAMPLE_BYTES];
    unsigned shown = 0;
    for (unsigned i = 0; i < f->n && shown < SAMPLES_SHOWN; i++) {
        bool again = false;
        sample_text(f->samples[i], text[shown]);
        for (unsigned k = 0; k < shown; k++)
            again = again || !strcmp(text[k], text[shown]);
        if (!again)
            fputs(text[shown++], stdout);
    }
}

static void print_finding(const struct finding *f)
{
    printf("%s %s: %s, %s\n", f->covered ? "exception" : "CONFLICT", relations[f->relation].name, f->line,
           f->same ? "the same bytes" : "the same line only");
    if (f->covered)
        printf("    %s: %s\n", f->covered->name, f->covered->because);
    print_pairs(f);
    print_samples(f);
}

void report_print(bool all)
{
    for (const struct finding *f = findings; f < findings + n_findings; f++)
        for (unsigned i = 0; i < f->n && (all || !f->covered); i++) {
            place_add(f->samples[i][0].pc);
            place_add(f->samples[i][1].pc);
        }
    places_find();
    for (const struct finding *f = findings; f < findings + n_findings; f++)
        if (all || !f->covered)
            print_finding(f);
}
