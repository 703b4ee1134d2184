/* SPDX-License-Identifier: BSD-2-Clause */
/* Clashes that are alike in relation, line and kind become one finding with the pairs that have it. */
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FINDINGS_MAX = 512, SAMPLES_MAX = 8, MEMBERS_BYTES = 80, PLACE_BYTES = 160 };

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

/* The seams and the helpers of fields say nothing about who asked. */
static bool helper(const char *at)
{
    return strstr(at, "sync/seam.h") || strstr(at, "sync/bits.h");
}

/* addr2line gives function and file:line in turn, the innermost inlined function first. */
void report_place(uintptr_t pc, char *text, size_t bytes)
{
    char self[256] = "", command[400], function[128], at[512];
    snprintf(text, bytes, "%#lx", (unsigned long)pc);
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        return;
    snprintf(command, sizeof command, "addr2line -f -i -e '%s' %#lx", self, (unsigned long)pc - 1);
    FILE *f = popen(command, "r");
    if (!f)
        return;
    bool found = false;
    while (fgets(function, sizeof function, f) && fgets(at, sizeof at, f)) {
        function[strcspn(function, "\n")] = '\0';
        at[strcspn(at, " \n")] = '\0';
        const char *path = strstr(at, "src/");
        if (!found)
            snprintf(text, bytes, "%s %s", function, path ? path : at);
        found = found || !helper(at);
    }
    pclose(f);
}

static void print_pairs(const struct finding *f)
{
    unsigned pairs = 0, shown = 0;
    for (unsigned a = 0; a < operation_count; a++)
        for (unsigned b = 0; b < operation_count; b++)
            pairs += f->pairs[a] >> b & 1;
    printf("    %u pairs:", pairs);
    for (unsigned a = 0; a < operation_count; a++)
        for (unsigned b = 0; b < operation_count; b++)
            if (f->pairs[a] >> b & 1 && shown++ < 12)
                printf(" %s+%s", operations[a].name, operations[b].name);
    printf("%s\n", pairs > shown || pairs > 12 ? " ..." : "");
}

static void print_party(const struct party *p, const char *join)
{
    char place[PLACE_BYTES];
    report_place(p->pc, place, sizeof place);
    printf("%s%s %s in %s", join, p->write ? "writes" : "reads", p->members[0] ? p->members : "it", place);
}

static void print_finding(const struct finding *f)
{
    printf("%s %s: %s, %s\n", f->covered ? "exception" : "CONFLICT", relations[f->relation].name, f->line,
           f->same ? "the same bytes" : "the same line only");
    if (f->covered)
        printf("    %s: %s\n", f->covered->name, f->covered->because);
    print_pairs(f);
    for (unsigned i = 0; i < f->n; i++) {
        print_party(&f->samples[i][0], "    ");
        print_party(&f->samples[i][1], "\n      and ");
        printf("\n");
    }
}

void report_print(bool all)
{
    for (const struct finding *f = findings; f < findings + n_findings; f++)
        if (all || !f->covered)
            print_finding(f);
}
