/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading and applying the list of exceptions. */
#include "periods.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETS_MAX = 32, LINE_BYTES = 1024 };

struct exception exceptions[EXCEPTIONS_MAX];
unsigned exception_count;

static struct set {
    char name[NAME_BYTES];
    uint64_t operations;
} sets[SETS_MAX];
static unsigned n_sets;

static const char *file;
static unsigned line_number;

static void bad(const char *what, const char *word)
{
    fprintf(stderr, "conflicts: %s:%u: %s '%s'\n", file, line_number, what, word);
    exit(2);
}

static uint64_t operation_bits(const char *word)
{
    for (unsigned i = 0; i < operation_count; i++)
        if (!strcmp(operations[i].name, word))
            return 1ull << i;
    for (unsigned i = 0; i < n_sets; i++)
        if (!strcmp(sets[i].name, word))
            return sets[i].operations;
    bad("no operation and no set has the name", word);
    return 0;
}

static uint64_t cycle_bits(const char *word)
{
    for (unsigned i = 0; i < cycle_count; i++)
        if (!strcmp(cycle_names[i], word))
            return 1ull << i;
    bad("no cycle has the name", word);
    return 0;
}

static uint64_t relation_bits(const char *word)
{
    for (unsigned i = 0; i < relation_count; i++)
        if (!strcmp(relations[i].name, word))
            return 1ull << i;
    bad("no relation has the name", word);
    return 0;
}

/* The bits of all words. */
static uint64_t bits_of(char *words, uint64_t (*bits)(const char *))
{
    uint64_t all = 0;
    for (char *w = strtok(words, " \t"); w; w = strtok(NULL, " \t"))
        all |= !strcmp(w, "all") ? ~0ull : bits(w);
    return all;
}

static void read_set(char *rest)
{
    char *equals = strchr(rest, '=');
    if (!equals || n_sets == SETS_MAX)
        bad("a set is written NAME = OPERATION..., not", rest);
    *equals = '\0';
    struct set *s = &sets[n_sets];
    if (sscanf(rest, "%39s", s->name) != 1)
        bad("a set without a name:", rest);
    s->operations = bits_of(equals + 1, operation_bits);
    n_sets++;
}

static void read_member(struct exception *e, const char *key, char *rest)
{
    if (!strcmp(key, "relations"))
        e->relations = bits_of(rest, relation_bits);
    else if (!strcmp(key, "line"))
        snprintf(e->line, sizeof e->line, "%.39s", rest);
    else if (!strcmp(key, "bytes") && (!strcmp(rest, "same") || !strcmp(rest, "apart")))
        e->same = rest[0] == 's';
    else if (!strcmp(key, "between"))
        e->between = bits_of(rest, operation_bits);
    else if (!strcmp(key, "sometimes"))
        e->sometimes = bits_of(rest, operation_bits);
    else if (!strcmp(key, "cycles"))
        e->cycles = (e->between = bits_of(rest, cycle_bits)) != 0;
    else if (!strcmp(key, "and"))
        e->and = bits_of(rest, operation_bits);
    else if (!strcmp(key, "reads") && atoi(rest) > 0)
        e->reads = (unsigned)atoi(rest);
    else if (!strcmp(key, "writes") && atoi(rest) > 0)
        e->writes = (unsigned)atoi(rest);
    else if (!strcmp(key, "because"))
        snprintf(e->because + strlen(e->because), sizeof e->because - strlen(e->because), "%s%s",
                 e->because[0] ? " " : "", rest);
    else
        bad("not understood:", key);
}

static void read_line(char *line)
{
    char *key = line + strspn(line, " \t"), *end = key + strcspn(key, " \t"), *rest = end + strspn(end, " \t");
    if (!*key || *key == '#')
        return;
    *end = '\0';
    if (!strcmp(key, "set")) {
        read_set(rest);
    } else if (!strcmp(key, "exception")) {
        if (exception_count == EXCEPTIONS_MAX)
            bad("too many exceptions at", rest);
        snprintf(exceptions[exception_count++].name, NAME_BYTES, "%.39s", rest);
    } else if (exception_count) {
        read_member(&exceptions[exception_count - 1], key, rest);
    } else {
        bad("stands before the first exception:", key);
    }
}

static void check(const struct exception *e)
{
    if (!e->line[0] || !e->between || !e->because[0] ||
        (e->cycles ? !e->reads && !e->writes : !e->and || !e->relations))
        bad("something is missing in the exception", e->name);
}

void exceptions_read(const char *path)
{
    char line[LINE_BYTES];
    file = path;
    FILE *f = fopen(path, "r");
    if (!f)
        bad("cannot be read", path);
    while (f && fgets(line, sizeof line, f)) {
        line_number++;
        line[strcspn(line, "\r\n")] = '\0';
        read_line(line);
    }
    if (f)
        fclose(f);
    for (unsigned i = 0; i < exception_count; i++)
        check(&exceptions[i]);
}

static bool between(const struct exception *e, unsigned one, unsigned two)
{
    return (e->between >> one & 1 && e->and >> two & 1) || (e->between >> two & 1 && e->and >> one & 1);
}

struct exception *exceptions_cover(unsigned relation, unsigned one, unsigned two, const char *line, bool same)
{
    for (unsigned i = 0; i < exception_count; i++) {
        struct exception *e = &exceptions[i];
        if (e->cycles || e->same != same || strcmp(e->line, line) || !(e->relations >> relation & 1) ||
            !between(e, one, two))
            continue;
        e->met_relations |= 1ull << relation;
        e->met |= 1ull << one | 1ull << two;
        return e;
    }
    return NULL;
}

struct exception *exceptions_period(unsigned cycle, const char *line)
{
    for (unsigned i = 0; i < exception_count; i++) {
        struct exception *e = &exceptions[i];
        if (e->cycles && e->between >> cycle & 1 && !strcmp(e->line, line)) {
            e->met |= 1ull << cycle;
            return e;
        }
    }
    return NULL;
}

static void say_idle(const struct exception *e, uint64_t operations_idle, uint64_t relations_idle)
{
    printf("NEVER MET: exception %s:", e->name);
    for (unsigned i = 0; i < (e->cycles ? cycle_count : operation_count); i++)
        if (operations_idle >> i & 1)
            printf(" %s", e->cycles ? cycle_names[i] : operations[i].name);
    for (unsigned i = 0; i < relation_count; i++)
        if (relations_idle >> i & 1)
            printf(" relation %s", relations[i].name);
    printf("\n");
}

/* The operations that take part in one of the relations. */
static uint64_t taking_part(uint64_t relations_run)
{
    uint64_t set = 0;
    for (unsigned r = 0; r < relation_count; r++)
        for (unsigned i = 0; i < operation_count && relations_run >> r & 1; i++)
            set |= (uint64_t)applies(&operations[i], &relations[r]) << i;
    return set;
}

/* "all" asks for nothing in particular; whatever is named must occur. */
unsigned exceptions_idle(uint64_t relations_run, bool cycles_run)
{
    unsigned idle = 0;
    uint64_t able = taking_part(relations_run);
    for (unsigned i = 0; i < exception_count; i++) {
        const struct exception *e = &exceptions[i];
        uint64_t named = (e->between == ~0ull ? 0 : e->between) | (e->and == ~0ull ? 0 : e->and);
        named &= ~e->sometimes & (e->cycles ? ~0ull : able);
        uint64_t where = e->cycles || e->relations == ~0ull ? 0 : e->relations;
        if (where & ~relations_run || (e->cycles && !cycles_run))
            continue;
        bool nowhere = !e->met && (e->cycles || (e->relations & relations_run && able & e->between && able & e->and));
        if (!(named & ~e->met) && !(where & ~e->met_relations) && !nowhere)
            continue;
        say_idle(e, named & ~e->met, where & ~e->met_relations);
        idle++;
    }
    return idle;
}
