/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every benchmark uses: a clock, rows of results, and a world (a host over a fast allocator, spaces on it).
 * The groups of scenarios are in the other files and know nothing of each other.
 *
 * A scenario measures as often as it likes and hands each sample to bench_row; the table shows median, minimum and
 * maximum of the samples of a name. Names of rows in other formats than x86-ept4 end in "/" and the format's name.
 */
#ifndef ASPACE_BENCH_H
#define ASPACE_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <aspace/aspace.h>
#include <aspace/fault.h>
#include <aspace/inspect.h>
#include <aspace/memory.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define PAGE ((uint64_t)4096)

enum { BENCH_CPUS = 2 };

/* ----------------------------------------------------------------------------------------------------- harness.c */

void bench_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
#define CHECK(condition) ((condition) ? (void)0 : bench_fail("%s:%d: not true: %s", __FILE__, __LINE__, #condition))

/* Nanoseconds of a clock that only goes forward. */
double bench_now(void);

/*
 * For calls of a few nanoseconds: a serialised counter of ticks, with the cost of reading it known. A timer sums up
 * stretches between go and stop.
 */
struct bench_timer {
    uint64_t begin, ticks, stretches;
};
static inline uint64_t bench_ticks_begin(void);
static inline uint64_t bench_ticks_end(void);
static inline void bench_go(struct bench_timer *timer);
static inline void bench_stop(struct bench_timer *timer);
double bench_timer_ns(const struct bench_timer *timer); /* of one stretch, reading the counter taken off */

/* One sample of the row `name`. `format` is part of the name unless it is the default or ASPACE_FMT_COUNT. */
void bench_row(const char *name, enum aspace_format format, const char *unit, double value);
void bench_ns(const char *name, enum aspace_format format, double ns);
void bench_name(char *name, size_t n, const char *base, const char *suffix);
double bench_median(const char *name); /* of a row of the default format; a negative number if there is none */

/* Does ONLY ask for one of these names (a list with blanks between)? */
bool bench_wanted(const char *names);

/* The formats for which a starred scenario is repeated; the default comes first. ASPACE_FMT_COUNT ends the list. */
extern const enum aspace_format bench_formats[];

/* Numbers 0..n-1 in a random order that is always the same. */
uint32_t *bench_shuffled(uint32_t n);
void bench_free(uint32_t *order);

/* ------------------------------------------------------------------------------------------------------- world.c */

struct aspace_host *world_host(void);
void world_open(void);
void world_close(void); /* checks that every frame came back */

/* A space [0, 512 GiB) of the format, active on this CPU. space_new_4k: no leaf is larger than 4 KiB. */
struct aspace *space_new(enum aspace_format format);
struct aspace *space_new_4k(enum aspace_format format);
void space_drop(struct aspace *space);
void space_config(struct aspace_config *config, enum aspace_format format);
struct aspace *space_make(const struct aspace_config *config);

/* Announce a quiescent state and free what was deferred: afterwards every table and frame is where the next one comes
 * from. */
void world_settle(void);
/* The same, and the pool of tables given back to the allocator as far as unused. */
void world_trim(void);

void world_zero_data(bool on); /* do data frames come zeroed? Off at first */

struct world_count {
    uint64_t frames; /* handed out at the moment: data, tables, descriptors, records and the pool's reserve */
    uint64_t flushes, flushed_entries;
};
struct world_count world_count(void);

aspace_pa_t world_alloc(unsigned order, unsigned flags); /* what the HAL does, for the floors */
void world_free(aspace_pa_t pa, unsigned order);

/* Become CPU `id` of the host: pinned, known to the port, online. */
void world_cpu_enter(unsigned id);
void world_cpu_leave(void);

/* Requests for [va, va + size), readable and writable. */
struct aspace_map request_linear(aspace_va_t va, uint64_t size, aspace_pa_t pa);
struct aspace_map request_alloc(enum aspace_kind kind, aspace_va_t va, uint64_t size);
void map_or_die(struct aspace *space, const struct aspace_map *request);
void unmap_or_die(struct aspace *space, aspace_va_t va, uint64_t size);

/* -------------------------------------------------------------------------------------------- the scenarios' files */

void bench_floors(void);
void bench_spaces(void);
void bench_ranges(void);
void bench_dirty(void);
void bench_faults(void);
void bench_lookups(void);
void bench_areas(void);
void bench_threads(void);
void bench_forks(void);
void bench_memory(void);
void bench_strategies(void);

/* ------------------------------------------------------------------------------------------------- inline helpers */

#if defined(__x86_64__)
static inline uint64_t bench_ticks_begin(void)
{
    uint32_t lo, hi;
    __asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(lo), "=d"(hi)::"memory");
    return ((uint64_t)hi << 32) | lo;
}

static inline uint64_t bench_ticks_end(void)
{
    uint32_t lo, hi;
    __asm__ volatile("rdtscp\n\tlfence" : "=a"(lo), "=d"(hi)::"rcx", "memory");
    return ((uint64_t)hi << 32) | lo;
}
#else
static inline uint64_t bench_ticks_begin(void)
{
    return (uint64_t)bench_now();
}

static inline uint64_t bench_ticks_end(void)
{
    return (uint64_t)bench_now();
}
#endif

static inline void bench_go(struct bench_timer *timer)
{
    timer->begin = bench_ticks_begin();
}

static inline void bench_stop(struct bench_timer *timer)
{
    timer->ticks += bench_ticks_end() - timer->begin;
    timer->stretches++;
}

/* Keeps a value alive that nothing else uses. */
static inline void bench_use(uint64_t value)
{
    __asm__ volatile("" ::"r"(value) : "memory");
}

#endif
