/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ground the tests of behaviour stand on: a registry of named tests and variants of a space, one fresh machine a
 * test (arena, host, space), complete snapshots of a space, and the ledger at the end. Owns nothing of what is tested;
 * must not know src/.
 */
#ifndef TESTS_HARNESS_H
#define TESTS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <aspace/backend.h>
#include <aspace/inspect.h>
#include <aspace/memory.h>

#include "conformance/naive.h"
#include "linux_hal.h"

#define PAGE UINT64_C(4096)

/* One way to set up a space. */
struct variant {
    char name[48]; /* format, and what is special */
    struct aspace_config config;
    uint64_t arena_pa; /* where owned frames lie; 0: the port's own choice */
    enum aspace_smr smr;
};

/* The matrix: every format, plain and in every special way that concerns it. */
const struct variant *variants_all(size_t *count);

/* The machine of one test. */
struct env {
    const struct variant *variant;
    struct aspace_linux machine;
    struct aspace_hal hal;      /* the machine's, for a test to put functions of its own into */
    struct sim_space sim_space; /* for accesses of the simulated CPUs */
    unsigned cpus;
    bool entered[8]; /* CPUs on which the space is active */
    struct aspace_host *host;
    struct aspace *space;
    struct aspace_config config;
    uint32_t ro, rw; /* expressible rights: readable not writable, readable and writable */
    unsigned levels;
    uint64_t span[6]; /* bytes an entry of each level spans */
    uint64_t base, end;
    unsigned huge_level; /* of leaves that a frame may be: 2 if span[2] is allowed, 1 if span[1] is, else 0 */
    unsigned top_level;  /* of linear leaves: as much, or above it */
    unsigned run_pages;  /* pages in a contiguous run, 1 if there are none */
    bool destroyed;
    uint32_t needs;                  /* of the test */
    void (*window)(struct env *env); /* DELAYED: called while a flush is in flight */
};

typedef void test_fn(struct env *env);

enum {
    NEEDS_HUGE = 1u << 0,   /* leaves of level 1 */
    NEEDS_RUNS = 1u << 1,   /* contiguous runs of 64 KiB */
    NEEDS_ROOM = 1u << 2,   /* more than the toy format has: 1 GiB and more */
    NEEDS_PLAIN = 1u << 3,  /* run once a format, for its first variant */
    NEEDS_FEW = 1u << 8,    /* run for the first variant, and for those with all features and with small leaves */
    NEEDS_SAMPLE = 1u << 9, /* run for one format of each family: plain, with hardware flags, with all features */
    NEEDS_GIANT = 1u << 4,  /* leaves of level 2 */
    NEEDS_AD = 1u << 5,     /* hardware accessed and dirty flags */
    SLOW = 1u << 7,         /* may take minutes */
    DELAYED = 1u << 6,      /* flushes reach the simulated CPUs late, with env->window in between */
};

struct test {
    const char *name;
    test_fn *run;
    uint32_t needs;
};

/* Tests are listed in tables; a program hands its tables to harness_main, which runs each for every variant. */
struct suite {
    const struct test *tests;
    size_t count;
};
#define SUITE(table)                                                                                                   \
    {                                                                                                                  \
        (table), sizeof(table) / sizeof((table)[0])                                                                    \
    }

struct program {
    const char *name;
    const struct suite *suites;
    size_t suite_count;
    void (*picked)(size_t index); /* called before a test runs, with its place in its suite; may be NULL */
};

/* Options: [part of a name...] --list, --seed N, --count N, --verbose (every name; and a crash stops the run). Returns
 * the exit status: 0, 1 (a failure) or 2 (bad input). */
int harness_main(const struct program *program, int argc, char **argv);

/* The options of the run that tests may look at. */
uint64_t harness_seed(void);
bool harness_seed_given(void);
uint64_t harness_count(uint64_t standard); /* --count N, or the standard */
bool harness_verbose(void);

/* For tests that look for the shortest way to a failure: run a part and say whether it failed (the reason is kept), and
 * begin again with a new machine, whatever state the old one is in. */
bool test_attempt(struct env *env, test_fn *part);
const char *test_reason(void);
void restart(struct env *env);

/* ----------------------------------------------------------------------------------------------------------- checks */

void test_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4), noreturn));
void test_skip(const char *why) __attribute__((noreturn));

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            test_fail(__FILE__, __LINE__, "%s", #condition);                                                           \
        }                                                                                                              \
    } while (0)

#define CHECK_EQ(actual, expected)                                                                                     \
    do {                                                                                                               \
        unsigned long long actual_value = (unsigned long long)(actual);                                                \
        unsigned long long expected_value = (unsigned long long)(expected);                                            \
        if (actual_value != expected_value) {                                                                          \
            test_fail(__FILE__, __LINE__, "%s is 0x%llx, not %s, 0x%llx", #actual, actual_value, #expected,            \
                      expected_value);                                                                                 \
        }                                                                                                              \
    } while (0)

#define CHECK_ERROR(call, expected)                                                                                    \
    do {                                                                                                               \
        int error_value = (call);                                                                                      \
        if (error_value != (expected)) {                                                                               \
            test_fail(__FILE__, __LINE__, "%s is %s, not %s", #call, aspace_error_name(error_value),                   \
                      aspace_error_name(expected));                                                                    \
        }                                                                                                              \
    } while (0)

#define CHECK_OK(call) CHECK_ERROR(call, ASPACE_OK)

#define CHECK_FAULT(call, expected)                                                                                    \
    do {                                                                                                               \
        enum aspace_fault_result fault_value = (call);                                                                 \
        if (fault_value != (expected)) {                                                                               \
            test_fail(__FILE__, __LINE__, "%s is %s, not %s", #call, aspace_fault_name(fault_value),                   \
                      aspace_fault_name(expected));                                                                    \
        }                                                                                                              \
    } while (0)

/* --------------------------------------------------------------------------------------------------------- machines */

/* A request with everything common filled in. */
struct aspace_map request(enum aspace_kind kind, uint64_t va, uint64_t size, uint32_t rights);
struct aspace_map request_linear(uint64_t va, uint64_t size, uint32_t rights, uint64_t pa);

/* Map, and fail the test if it does not work. */
void do_map(struct env *env, enum aspace_kind kind, uint64_t va, uint64_t size, uint32_t rights);
void do_linear(struct env *env, uint64_t va, uint64_t size, uint32_t rights, uint64_t pa);

/* The first address of the space that is aligned to the span of `level`, and n spans on. */
uint64_t at(const struct env *env, unsigned level, uint64_t n);

/* A physical address below the format's top, aligned for every leaf, with `bytes` behind it, not the arena's. */
uint64_t device_pa(const struct env *env, uint64_t bytes);
/* The last possible `bytes` of physical addresses that the format can hold. */
uint64_t highest_pa(const struct env *env, uint64_t bytes);

/* Is this an address of the machine's memory? */
bool machine_owns(uint64_t pa);

/* CPU n begins, and ends, to run in the space. */
void cpu_enter(struct env *env, unsigned n);
void cpu_leave(struct env *env, unsigned n);
/* An access of CPU n through its TLB, without any help: where it goes, or ASPACE_PA_NONE for a fault. */
uint64_t cpu_access(struct env *env, unsigned n, uint64_t va, uint32_t access);
/* The same as a running program would: faults are handled (DONE, SPURIOUS) and the access repeated. */
uint64_t cpu_run(struct env *env, unsigned n, uint64_t va, uint32_t access);

struct naive_result walk(struct env *env, uint64_t va);
void expect_absent(struct env *env, uint64_t va);
void expect_leaf(struct env *env, uint64_t va, uint64_t pa, uint32_t rights);
struct aspace_area query(struct env *env, uint64_t va); /* that must succeed */
struct arena_counts ledger(struct env *env);
/* From now on the machine has at most so many frames to give out, tables and all; UINT64_MAX: as many as there are. */
void limit_frames(struct env *env, uint64_t most);
/* translate must say the same as the naive walk; returns the walk. */
struct naive_result agree(struct env *env, uint64_t va);
uint64_t peek(struct env *env, uint64_t va);               /* read 8 bytes; fails the test if it cannot */
void poke(struct env *env, uint64_t va, uint64_t value);   /* write 8 bytes */
void touch(struct env *env, uint64_t va, uint32_t access); /* a fault that must be DONE */
bool mapped(struct env *env, uint64_t va);                 /* does a query find an area? */
void audit(struct env *env);
void recreate(struct env *env, const struct aspace_config *config); /* destroy, and begin anew with this */
void check_ledger(struct env *env); /* ... and this: nothing is left, nothing went wrong */
void destroy(struct env *env);      /* destroy and check the ledger, once */
struct aspace_counters counters(struct env *env);
uint64_t frames_held(struct env *env); /* data frames owned by the space, when nothing is deferred any more */
uint64_t tables_held(struct env *env);

/* May a leaf have exactly these rights, according to the manuals? */
bool expressible(const struct env *env, uint32_t rights);
/* The attribute the MMU cannot tell from this one, listed first. */
uint32_t attr_class(const struct env *env, uint32_t attr);
bool attr_expressible(const struct env *env, uint32_t attr);

/* -------------------------------------------------------------------------------------------------------- snapshots */

/* Everything that a caller or a CPU can see: each leaf as the naive walker finds it, with its contents; each area as
 * listed, with its counts; what query says at the edges of each. */
struct snapshot;
struct snapshot *snapshot_take(struct env *env);
/* NULL if equal; else a description of the first difference, valid until the next call. */
const char *snapshot_difference(const struct snapshot *a, const struct snapshot *b);
void snapshot_free(struct snapshot *snapshot);
/* Take another and compare; fails the test if they differ. */
void snapshot_same(struct env *env, const struct snapshot *before, const char *what);

/* A small generator with a state of its own: splitmix64. */
uint64_t random_next(uint64_t *state);

#endif
