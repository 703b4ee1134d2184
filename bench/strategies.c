/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mapping strategies side by side, on 256 MiB of memory each: what setting up costs, what the first touch of every
 * page costs, what a walk costs from then on, what tearing down costs, and what memory is held. The data frames are
 * zeroed, as in real use, but for the rows that say otherwise; the trap that brings a fault to the library and back is
 * not in here, since it is the machine's and not the library's.
 */
#include "bench.h"

enum { PAGES = 65536, REPEAT = 9 };

static const uint64_t bytes = (uint64_t)PAGES * 4096;

struct strategy {
    const char *name;
    enum aspace_kind kind;
    unsigned max_leaf; /* 1: 4 KiB, 2: up to 2 MiB */
    unsigned around;
};

static const struct strategy strategies[] = {
    {"linear_4k", ASPACE_KIND_LINEAR, 1, 0}, {"linear_2m", ASPACE_KIND_LINEAR, 2, 0},
    {"eager_4k", ASPACE_KIND_EAGER, 1, 0},   {"eager_2m", ASPACE_KIND_EAGER, 2, 0},
    {"lazy_4k", ASPACE_KIND_LAZY, 1, 0},     {"lazy_4k_around16", ASPACE_KIND_LAZY, 1, 16},
    {"lazy_2m", ASPACE_KIND_LAZY, 2, 0},
};

static uint32_t *order;

static void name_row(const struct strategy *s, const char *what, char *name, size_t n)
{
    char head[64];
    bench_name(head, sizeof(head), "strategy_", what);
    bench_name(name, n, head, s->name);
}

static void ns_row(const struct strategy *s, const char *what, double ns)
{
    char name[80];
    name_row(s, what, name, sizeof(name));
    bench_ns(name, ASPACE_FMT_COUNT, ns);
}

static void count_row(const struct strategy *s, const char *what, const char *unit, double count)
{
    char name[80];
    name_row(s, what, name, sizeof(name));
    bench_row(name, ASPACE_FMT_COUNT, unit, count);
}

/* What an MMU and the trap handler would do together: walk, and fault where nothing is there. */
static unsigned touch(struct aspace *space, aspace_va_t va)
{
    struct aspace_translation t;
    if (aspace_translate(space, va, &t) == ASPACE_OK)
        return 0;
    CHECK(aspace_fault(space, va, ASPACE_W, NULL) == ASPACE_FAULT_DONE);
    return 1;
}

static double touch_all(struct aspace *space, unsigned *faults)
{
    double begin = bench_now();
    for (unsigned i = 0; i < PAGES; i++)
        *faults += touch(space, i * PAGE);
    return (bench_now() - begin) / PAGES;
}

static double walk_all(struct aspace *space, const uint32_t *pages)
{
    uint64_t sum = 0;
    aspace_read_begin(world_host());
    double begin = bench_now();
    for (unsigned i = 0; i < PAGES; i++) {
        struct aspace_translation t;
        CHECK(aspace_translate(space, (pages ? pages[i] : i) * PAGE, &t) == ASPACE_OK);
        sum += t.pa;
    }
    double end = bench_now();
    aspace_read_end(world_host());
    bench_use(sum);
    return (end - begin) / PAGES;
}

static struct aspace *make(const struct strategy *s, struct aspace_map *request)
{
    struct aspace_config config;
    space_config(&config, ASPACE_FMT_X86_EPT4);
    config.fault_around = s->around;
    *request = request_linear(0, bytes, 4 * GIB);
    request->kind = s->kind;
    request->max_leaf_level = s->max_leaf;
    return space_make(&config);
}

static void whole_life(const struct strategy *s)
{
    struct aspace_map request;
    struct aspace *space = make(s, &request);
    double t0 = bench_now();
    map_or_die(space, &request);
    double t1 = bench_now();
    unsigned faults = 0;
    double first = touch_all(space, &faults);
    (void)walk_all(space, NULL);
    double seq = walk_all(space, NULL), rand = walk_all(space, order);
    struct aspace_counters counters;
    aspace_counters_read(space, &counters);
    double t2 = bench_now();
    unmap_or_die(space, 0, bytes);
    world_settle();
    double t3 = bench_now();
    ns_row(s, "setup_", t1 - t0);
    ns_row(s, "first_touch_", first);
    ns_row(s, "walk_seq_", seq);
    ns_row(s, "walk_rand_", rand);
    ns_row(s, "tear_down_", t3 - t2);
    ns_row(s, "total_", t1 - t0 + first * PAGES + t3 - t2);
    count_row(s, "faults_", "faults", faults);
    count_row(s, "tables_", "tables", (double)counters.tables);
    count_row(s, "frames_", "frames", (double)counters.frames);
    space_drop(space);
    world_trim();
}

/* One page in sixteen, at random: what a guest that does not use all of its memory costs. */
static void sparse_use(const struct strategy *s)
{
    struct aspace_map request;
    struct aspace *space = make(s, &request);
    double begin = bench_now();
    map_or_die(space, &request);
    for (unsigned i = 0; i < PAGES / 16; i++)
        (void)touch(space, order[i] * PAGE);
    double end = bench_now();
    struct aspace_counters counters;
    aspace_counters_read(space, &counters);
    ns_row(s, "sixteenth_", end - begin);
    count_row(s, "sixteenth_frames_", "frames", (double)counters.frames);
    space_drop(space);
    world_trim();
}

static void setup_without_zeroing(const struct strategy *s)
{
    struct aspace_map request;
    struct aspace *space = make(s, &request);
    double begin = bench_now();
    map_or_die(space, &request);
    double middle = bench_now();
    unsigned faults = 0;
    double first = touch_all(space, &faults);
    ns_row(s, "unzeroed_setup_", middle - begin);
    ns_row(s, "unzeroed_first_touch_", first);
    space_drop(space);
    world_trim();
}

void bench_strategies(void)
{
    order = bench_shuffled(PAGES);
    for (unsigned i = 0; i < sizeof(strategies) / sizeof(strategies[0]); i++) {
        const struct strategy *s = &strategies[i];
        char names[96];
        bench_name(names, sizeof(names), "strategy_ strategy_setup_", s->name);
        if (!bench_wanted(names))
            continue;
        for (unsigned r = 0; r < REPEAT; r++) {
            world_zero_data(true);
            whole_life(s);
            sparse_use(s);
            world_zero_data(false);
            setup_without_zeroing(s);
        }
    }
    bench_free(order);
}
