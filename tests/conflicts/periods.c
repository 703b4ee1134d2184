/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each cycle is run many times by one CPU, and the lines counted that are not its own: those of the host and the space,
 * of other CPUs, of the pool and of record pages. A line that no cycle ever writes is left out.
 */
#include "periods.h"

#include <aspace/fault.h>
#include <aspace/memory.h>

#include <stdio.h>
#include <string.h>

#define AT ((aspace_va_t)1 << 30)
#define SLOT ((aspace_va_t)1 << 21)
#define HERE (machine.space[0])

enum { LINES_MAX = 32, TIMES = 2048, TABLES = 8, PAGES = 8 };

static void map(enum aspace_kind kind, aspace_va_t va, uint64_t size)
{
    struct aspace_map q = {.va = va, .size = size, .kind = kind, .rights = ASPACE_R | ASPACE_W};
    q.pa = kind == ASPACE_KIND_LINEAR ? va : 0;
    must(aspace_map(HERE, &q, NULL), "map", "a cycle");
}

static void unmap(aspace_va_t va, uint64_t size)
{
    must(aspace_unmap(HERE, va, size), "unmap", "a cycle");
}

static void fault(aspace_va_t va)
{
    must(aspace_fault(HERE, va, ASPACE_W, NULL) == ASPACE_FAULT_DONE ? 0 : 1, "fault", "a cycle");
}

/* A page that keeps the leaf table. */
static void begin_table(void)
{
    map(ASPACE_KIND_GUARD, AT + SLOT - 4096, 4096);
}

static void begin_pages(void)
{
    begin_table();
    map(ASPACE_KIND_LAZY, AT, PAGES << 12);
    for (unsigned i = 0; i < PAGES; i++)
        fault(AT + (i << 12));
}

static void begin_area(void)
{
    map(ASPACE_KIND_LAZY, AT, TIMES * SLOT);
}

static void begin_faults(void)
{
    begin_area();
    for (unsigned i = 0; i < TABLES; i++)
        fault(AT + (i + 1) * SLOT - 4096);
}

static void cycle_fault(unsigned n)
{
    fault(AT + n % TABLES * SLOT + (aspace_va_t)(n / TABLES) * 4096);
}

static void cycle_fault_table(unsigned n)
{
    fault(AT + n * SLOT);
}

static void cycle_read(unsigned n)
{
    char bytes[64];
    must(aspace_read(HERE, AT + n % PAGES * 4096, bytes, sizeof bytes, NULL), "read", "a cycle");
}

static void cycle_map(unsigned n)
{
    (void)n;
    map(ASPACE_KIND_LAZY, AT, PAGES << 12);
    unmap(AT, PAGES << 12);
}

static void cycle_map_linear(unsigned n)
{
    (void)n;
    map(ASPACE_KIND_LINEAR, AT, PAGES << 12);
    unmap(AT, PAGES << 12);
}

static void cycle_map_fault(unsigned n)
{
    (void)n;
    map(ASPACE_KIND_LAZY, AT, PAGES << 12);
    for (unsigned i = 0; i < PAGES; i++)
        fault(AT + (i << 12));
    unmap(AT, PAGES << 12);
}

static void cycle_table(unsigned n)
{
    (void)n;
    map(ASPACE_KIND_LAZY, AT, SLOT);
    fault(AT);
    unmap(AT, SLOT);
}

static void cycle_protect(unsigned n)
{
    must(aspace_protect(HERE, AT, PAGES << 12, n % 2 ? ASPACE_R | ASPACE_W : ASPACE_R), "protect", "a cycle");
}

static void cycle_discard(unsigned n)
{
    (void)n;
    must(aspace_discard(HERE, AT, PAGES << 12), "discard", "a cycle");
    for (unsigned i = 0; i < PAGES; i++)
        fault(AT + (i << 12));
}

static void cycle_migrate(unsigned n)
{
    must(aspace_migrate(HERE, AT + n % PAGES * 4096, ASPACE_PA_NONE), "migrate", "a cycle");
}

static void cycle_activate(unsigned n)
{
    (void)n;
    aspace_deactivate(HERE);
    aspace_activate(HERE);
}

static void begin_nothing(void)
{
}

static const struct cycle {
    void (*begin)(void);
    void (*run)(unsigned n);
} cycles[] = {
    {begin_faults, cycle_fault},  {begin_area, cycle_fault_table}, {begin_pages, cycle_read},
    {begin_table, cycle_map},     {begin_table, cycle_map_linear}, {begin_table, cycle_map_fault},
    {begin_nothing, cycle_table}, {begin_pages, cycle_protect},    {begin_pages, cycle_discard},
    {begin_pages, cycle_migrate}, {begin_nothing, cycle_activate},
};
const char *const cycle_names[] = {
    "fault",           "fault-table",         "read",
    "map+unmap",       "map+unmap-linear",    "map+8-faults+unmap",
    "map+table+unmap", "protect-8",           "discard+8-faults",
    "migrate",         "deactivate+activate",
};
const unsigned cycle_count = sizeof cycles / sizeof *cycles;
_Static_assert(sizeof cycles / sizeof *cycles == sizeof cycle_names / sizeof *cycle_names, "a name each");

/* --------------------------------------------------------------------------------------------------------- counting */

static struct line {
    char name[NAME_BYTES];
    unsigned read[OPERATIONS_MAX], written[OPERATIONS_MAX]; /* times, by cycle */
    bool ever_written, others;                              /* by a cycle; is of another CPU */
} lines[LINES_MAX];
static unsigned n_lines;

static struct line *line_named(const char *name)
{
    for (unsigned i = 0; i < n_lines; i++)
        if (!strcmp(lines[i].name, name))
            return &lines[i];
    must(n_lines == LINES_MAX, "the number", "lines");
    snprintf(lines[n_lines].name, NAME_BYTES, "%s", name);
    return &lines[n_lines++];
}

/* What only this CPU uses, as it is the only one that works in this part of the space. */
static bool shared(uintptr_t line, const char *name)
{
    unsigned owner = machine_owner(line);
    if (owner < CPUS)
        return owner != CPU_ONE;
    return !strncmp(name, "host", 4) || !strncmp(name, "space", 5) || !strcmp(name, "chunk") ||
           !strcmp(name, "record-page") || !strcmp(name, "elsewhere");
}

/* One run of a cycle: each name counts once, however many of its lines are touched. */
static void count(unsigned cycle, const struct trace *t)
{
    bool read[LINES_MAX] = {false}, written[LINES_MAX] = {false};
    for (const struct access *a = t->a; a < t->a + t->n; a++)
        for (uintptr_t at = a->addr & ~(uintptr_t)(TRACE_LINE - 1); at < a->end; at += TRACE_LINE) {
            char name[NAME_BYTES];
            machine_name(at, name);
            if (!shared(at, name))
                continue;
            struct line *l = line_named(name);
            l->others = l->others || machine_owner(at) < CPUS;
            *(a->write ? &written[l - lines] : &read[l - lines]) = true;
        }
    for (unsigned i = 0; i < n_lines; i++) {
        lines[i].read[cycle] += read[i] && !written[i];
        lines[i].written[cycle] += written[i];
        lines[i].ever_written = lines[i].ever_written || written[i];
    }
}

/* Every CPU goes on meanwhile, or nothing that was deferred would ever be free. */
static void others_go_on(void)
{
    for (unsigned i = 0; i < CPUS; i++) {
        machine_be(i);
        aspace_quiescent(machine.host);
    }
    machine_be(CPU_ONE);
}

static unsigned times(unsigned cycle)
{
    return cycles[cycle].run == cycle_fault_table ? 512 : TIMES;
}

static void run_cycle(const struct machine_config *config, unsigned cycle)
{
    static struct trace t;
    machine_reset(config);
    machine.reuse = true;
    machine_be(CPU_ONE);
    cycles[cycle].begin();
    machine_survey();
    for (unsigned n = 0; n < times(cycle); n++) {
        others_go_on();
        trace_begin(&t);
        cycles[cycle].run(n);
        trace_end();
        if (n < 256)
            machine_survey();
        count(cycle, &t);
    }
    machine.reuse = false;
}

/* -------------------------------------------------------------------------------------------------------- reporting */

/* Once in how many times; 0: never. */
static unsigned period(unsigned cycle, unsigned uses)
{
    return uses ? times(cycle) / uses : 0;
}

static bool allowed(unsigned found, unsigned listed)
{
    return !found || (listed && found >= listed);
}

static bool judge(unsigned cycle, const struct line *l)
{
    unsigned reads = period(cycle, l->read[cycle]), writes = period(cycle, l->written[cycle]);
    const struct exception *e = exceptions_period(cycle, l->name);
    bool good = e && allowed(reads, e->reads) && allowed(writes, e->writes);
    printf("    %-20s %-23s %8u %8u  %s\n", cycle_names[cycle], l->name, reads, writes,
           good ? e->name
           : e  ? "X more often than the exception says"
                : "X no exception");
    return good;
}

static void run_mode(const struct machine_config *config, const char *name, unsigned *passed, unsigned *failed)
{
    memset(lines, 0, sizeof lines);
    n_lines = 0;
    for (unsigned c = 0; c < cycle_count; c++)
        run_cycle(config, c);
    printf("\nLines that CPUs share, when one CPU repeats a cycle: once in how many cycles (0: never), %s\n", name);
    printf("    %-20s %-23s %8s %8s\n", "cycle", "line", "read", "written");
    for (unsigned c = 0; c < cycle_count; c++)
        for (const struct line *l = lines; l < lines + n_lines; l++) {
            if (!(l->ever_written || l->others) || !(l->read[c] + l->written[c]))
                continue;
            bool good = judge(c, l);
            *passed += good;
            *failed += !good;
        }
}

void periods_run(enum aspace_format format, unsigned *passed, unsigned *failed)
{
    struct machine_config config = {.format = format, .smr = ASPACE_SMR_EPOCH};
    run_mode(&config, "epochs", passed, failed);
    config.smr = ASPACE_SMR_QSBR;
    run_mode(&config, "quiescent states", passed, failed);
}
