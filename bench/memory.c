/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory held, by scenario: tables in use, data frames, and everything else that came from the embedder's allocator
 * for them (descriptors, records, lists that grew, what is left over of a chunk), once the pool was trimmed.
 */
#include "bench.h"

struct scenario {
    const char *name;
    void (*fill)(struct aspace *space);
};

static void fill_nothing(struct aspace *space)
{
    (void)space;
}

static void fill_linear(struct aspace *space)
{
    struct aspace_map request = request_linear(0, GIB, 4 * GIB + PAGE);
    map_or_die(space, &request);
}

static void fill_linear_2m(struct aspace *space)
{
    struct aspace_map request = request_linear(0, GIB, 4 * GIB + 2 * MIB);
    map_or_die(space, &request);
}

static void fill_lazy(struct aspace *space)
{
    struct aspace_map request = request_alloc(ASPACE_KIND_LAZY, 0, GIB);
    map_or_die(space, &request);
}

static void fill_populated(struct aspace *space)
{
    struct aspace_map request = request_alloc(ASPACE_KIND_EAGER, 0, 256 * MIB);
    request.max_leaf_level = 1;
    map_or_die(space, &request);
}

static void fill_faulted(struct aspace *space)
{
    struct aspace_map request = request_alloc(ASPACE_KIND_LAZY, 0, 256 * MIB);
    request.max_leaf_level = 1;
    map_or_die(space, &request);
    for (uint64_t va = 0; va < 256 * MIB; va += PAGE)
        CHECK(aspace_fault(space, va, ASPACE_W, NULL) == ASPACE_FAULT_DONE);
}

/* One page in each 4 MiB of 64 GiB. */
static void fill_sparse(struct aspace *space)
{
    struct aspace_map request = request_alloc(ASPACE_KIND_LAZY, 0, 64 * GIB);
    request.max_leaf_level = 1;
    map_or_die(space, &request);
    for (uint64_t va = 0; va < 64 * GIB; va += 4 * MIB)
        CHECK(aspace_fault(space, va, ASPACE_W, NULL) == ASPACE_FAULT_DONE);
}

static void fill_areas(struct aspace *space)
{
    for (unsigned i = 0; i < 10000; i++) {
        struct aspace_map request = request_linear(i * 64 * KIB, PAGE, 4 * GIB + i * 2 * PAGE);
        map_or_die(space, &request);
    }
}

static void row(const char *name, const char *what, const char *unit, double value)
{
    char head[48], full[80];
    bench_name(head, sizeof(head), "memory_", name);
    bench_name(full, sizeof(full), head, what);
    bench_row(full, ASPACE_FMT_COUNT, unit, value);
}

static void measure(const struct scenario *scenario)
{
    if (!bench_wanted("memory_") && !bench_wanted(scenario->name))
        return;
    world_trim();
    uint64_t before = world_count().frames;
    struct aspace *space = space_new(ASPACE_FMT_X86_EPT4);
    scenario->fill(space);
    world_trim();
    struct aspace_counters counters;
    aspace_counters_read(space, &counters);
    uint64_t held = world_count().frames - before;
    CHECK(held >= counters.tables + counters.frames);
    row(scenario->name, "_tables", "tables", (double)counters.tables);
    row(scenario->name, "_data", "frames", (double)counters.frames);
    row(scenario->name, "_other", "frames", (double)(held - counters.tables - counters.frames));
    space_drop(space);
    world_trim();
    CHECK(world_count().frames == before);
}

void bench_memory(void)
{
    static const struct scenario scenarios[] = {
        {"empty", fill_nothing},           {"linear_1g_4k", fill_linear},     {"linear_1g_2m", fill_linear_2m},
        {"lazy_1g_untouched", fill_lazy},  {"populate_256m", fill_populated}, {"faulted_256m", fill_faulted},
        {"sparse_64g_16384", fill_sparse}, {"areas_N10000", fill_areas},
    };
    for (unsigned i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
        measure(&scenarios[i]);
    if (bench_wanted("memory_space memory_host")) {
        bench_row("memory_space_object", ASPACE_FMT_COUNT, "bytes", (double)aspace_bytes(world_host()));
        bench_row("memory_host_object", ASPACE_FMT_COUNT, "bytes", (double)ASPACE_HOST_BYTES(BENCH_CPUS));
    }
}
