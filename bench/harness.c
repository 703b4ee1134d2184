/* SPDX-License-Identifier: BSD-2-Clause */
/* Clock, statistics, filter and output of the benchmarks. Knows nothing of what is measured. */
#define _POSIX_C_SOURCE 200809L
#include "bench.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

enum { ROWS_MAX = 640, SAMPLES_MAX = 64, NAME_MAX = 64 };

struct row {
    char name[NAME_MAX];
    const char *unit;
    unsigned samples;
    double sample[SAMPLES_MAX];
};

static struct row rows[ROWS_MAX];
static unsigned rows_used;
static const char *only;
static double tick_ns = 1.0;
static double tick_cost;

const enum aspace_format bench_formats[] = {
    ASPACE_FMT_X86_EPT4,     ASPACE_FMT_X86_NPT4,   ASPACE_FMT_X86_PT4,      ASPACE_FMT_ARM_S2_48, ASPACE_FMT_ARM_S1_48,
    ASPACE_FMT_RISCV_SV48X4, ASPACE_FMT_RISCV_SV48, ASPACE_FMT_LOONGARCH_S2, ASPACE_FMT_COUNT,
};

void bench_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* How long a tick is, and how many an empty stretch takes: the smallest of many, since noise only adds. */
static void calibrate(void)
{
    double begin = bench_now();
    uint64_t ticks = bench_ticks_begin();
    while (bench_now() - begin < 20e6)
        ;
    double ns = bench_now() - begin;
    tick_ns = ns / (double)(bench_ticks_end() - ticks);
    double best = 1e9;
    for (unsigned i = 0; i < 64; i++) {
        struct bench_timer timer = {0};
        for (unsigned j = 0; j < 256; j++) {
            bench_go(&timer);
            bench_stop(&timer);
        }
        double cost = (double)timer.ticks / (double)timer.stretches;
        best = cost < best ? cost : best;
    }
    tick_cost = best;
}

double bench_timer_ns(const struct bench_timer *timer)
{
    double each = (double)timer->ticks / (double)timer->stretches - tick_cost;
    return each < 0 ? 0 : each * tick_ns;
}

static struct row *row_of(const char *name)
{
    for (unsigned i = 0; i < rows_used; i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

void bench_row(const char *name, enum aspace_format format, const char *unit, double value)
{
    char full[NAME_MAX];
    bool plain = format == bench_formats[0] || format == ASPACE_FMT_COUNT;
    int n = snprintf(full, sizeof(full), "%s%s%s", name, plain ? "" : "/", plain ? "" : aspace_format_name(format));
    CHECK(n > 0 && (size_t)n < sizeof(full));
    struct row *row = row_of(full);
    if (!row) {
        CHECK(rows_used < ROWS_MAX);
        row = &rows[rows_used++];
        memcpy(row->name, full, sizeof(full));
        row->unit = unit;
    }
    if (row->samples < SAMPLES_MAX)
        row->sample[row->samples++] = value;
}

void bench_ns(const char *name, enum aspace_format format, double ns)
{
    bench_row(name, format, "ns", ns);
}

void bench_name(char *name, size_t n, const char *base, const char *suffix)
{
    int length = snprintf(name, n, "%s%s", base, suffix);
    CHECK(length > 0 && (size_t)length < n);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(struct row *row)
{
    qsort(row->sample, row->samples, sizeof(row->sample[0]), compare);
    unsigned half = row->samples / 2;
    return row->samples % 2 ? row->sample[half] : (row->sample[half - 1] + row->sample[half]) / 2;
}

double bench_median(const char *name)
{
    struct row *row = row_of(name);
    return row ? median_of(row) : -1.0;
}

bool bench_wanted(const char *names)
{
    return !only || strstr(names, only) != NULL;
}

uint32_t *bench_shuffled(uint32_t n)
{
    uint32_t *order = malloc(n * sizeof(*order));
    CHECK(order);
    uint64_t state = 0x9e3779b97f4a7c15u;
    for (uint32_t i = 0; i < n; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        uint32_t j = (uint32_t)(state % (i + 1));
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

void bench_free(uint32_t *order)
{
    free(order);
}

/* -------------------------------------------------------------------------------------------------------- output */

static void print_value(FILE *to, double value)
{
    int digits = value >= 1000 ? 0 : value >= 100 ? 1 : 2;
    fprintf(to, "%.*f", digits, value);
}

static void write_table(void)
{
    printf("\n%-44s %-7s %12s %12s %12s\n", "row", "unit", "median", "min", "max");
    for (unsigned i = 0; i < rows_used; i++) {
        struct row *row = &rows[i];
        double median = median_of(row);
        int digits = median >= 1000 ? 0 : median >= 100 ? 1 : 2;
        printf("%-44s %-7s %12.*f %12.*f %12.*f\n", row->name, row->unit, digits, median, digits, row->sample[0],
               digits, row->sample[row->samples - 1]);
    }
}

static FILE *open_result(const char *dir, const char *name)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *to = fopen(path, "w");
    if (!to)
        bench_fail("cannot write %s", path);
    return to;
}

static void write_tsv(const char *dir)
{
    FILE *to = open_result(dir, "bench.tsv");
    fputs("name\tunit\tmedian\tmin\tmax\n", to);
    for (unsigned i = 0; i < rows_used; i++) {
        struct row *row = &rows[i];
        double median = median_of(row);
        fprintf(to, "%s\t%s\t", row->name, row->unit);
        print_value(to, median);
        fputc('\t', to);
        print_value(to, row->sample[0]);
        fputc('\t', to);
        print_value(to, row->sample[row->samples - 1]);
        fputc('\n', to);
    }
    fclose(to);
}

static void json_text(FILE *to, const char *text)
{
    fputc('"', to);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', to);
        if ((unsigned char)*text >= ' ')
            fputc(*text, to);
    }
    fputc('"', to);
}

/* The value behind the first "model name : " of /proc/cpuinfo, or "unknown". */
static void cpu_name(char *name, size_t n)
{
    snprintf(name, n, "unknown");
    FILE *from = fopen("/proc/cpuinfo", "r");
    char line[512];
    while (from && fgets(line, sizeof(line), from)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        colon[strcspn(colon, "\n")] = 0;
        snprintf(name, n, "%s", colon + 2);
        break;
    }
    if (from)
        fclose(from);
}

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : "unknown";
}

static void write_json(const char *dir)
{
    FILE *to = open_result(dir, "bench.json");
    char cpu[256];
    cpu_name(cpu, sizeof(cpu));
    struct utsname system;
    memset(&system, 0, sizeof(system));
    uname(&system);
    const char *pairs[][2] = {
        {"cpu", cpu},
        {"machine", system.machine},
        {"system", system.release},
        {"compiler", __VERSION__},
        {"build", environment("BENCH_BUILD")},
        {"commit", environment("BENCH_COMMIT")},
        {"date", environment("BENCH_DATE")},
    };
    fputs("{\n", to);
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        fprintf(to, "  \"%s\": ", pairs[i][0]);
        json_text(to, pairs[i][1]);
        fputs(",\n", to);
    }
    fputs("  \"rows\": {\n", to);
    for (unsigned i = 0; i < rows_used; i++) {
        struct row *row = &rows[i];
        double median = median_of(row);
        fprintf(to,
                "    \"%s\": {\"unit\": \"%s\", \"median\": %.3f, \"min\": %.3f, \"max\": %.3f, \"samples\": %u}%s\n",
                row->name, row->unit, median, row->sample[0], row->sample[row->samples - 1], row->samples,
                i + 1 < rows_used ? "," : "");
    }
    fputs("  }\n}\n", to);
    fclose(to);
}

int main(int argc, char **argv)
{
    if (argc > 3 || (argc > 1 && argv[1][0] == '-')) {
        fputs("bench: usage: bench [directory for the results [part of a name]]\n", stderr);
        return 2;
    }
    const char *dir = argc > 1 ? argv[1] : ".";
    only = argc > 2 && argv[2][0] ? argv[2] : NULL;
    static const struct {
        const char *name;
        void (*run)(void);
    } groups[] = {
        {"floors", bench_floors}, {"spaces", bench_spaces},         {"ranges", bench_ranges},
        {"dirty", bench_dirty},   {"faults", bench_faults},         {"lookups", bench_lookups},
        {"areas", bench_areas},   {"threads", bench_threads},       {"forks", bench_forks},
        {"memory", bench_memory}, {"strategies", bench_strategies},
    };
    calibrate();
    world_open();
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        double begin = bench_now();
        groups[i].run();
        fprintf(stderr, "bench: %s: %.1f s\n", groups[i].name, (bench_now() - begin) / 1e9);
    }
    world_close();
    if (rows_used == 0)
        bench_fail("no row has \"%s\" in its name", only);
    write_table();
    write_tsv(dir);
    write_json(dir);
    return 0;
}
