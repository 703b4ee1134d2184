/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Many areas in one space: single pages with holes between, so that nothing merges. An area every 64 KiB makes 32 in
 * the 2 MiB of a leaf table, more than a table keeps in its short list.
 */
#include "bench.h"

enum { CALLS = 4096, REPEAT = 21 };

static const uint64_t stride = 64 * KIB;

static struct aspace *space_with(unsigned areas)
{
    struct aspace *space = space_new(ASPACE_FMT_X86_EPT4);
    for (unsigned i = 0; i < areas; i++) {
        struct aspace_map request = request_linear(i * stride, PAGE, 4 * GIB + i * 2 * PAGE);
        map_or_die(space, &request);
    }
    return space;
}

/* Where the calls go, made beforehand, so that only they are timed: `offset` behind the begin of a random area. */
static aspace_va_t address[4 * CALLS];

static void addresses(unsigned areas, uint64_t offset)
{
    uint32_t at = 12345;
    for (unsigned i = 0; i < 4 * CALLS; i++) {
        at = at * 1664525u + 1013904223u;
        address[i] = (at >> 8) % areas * stride + offset;
    }
}

/* In the hole behind a random area. */
static void map_unmap(struct aspace *space, unsigned areas, enum aspace_kind kind, const char *name)
{
    addresses(areas, 2 * PAGE);
    for (unsigned r = 0; r < REPEAT + 1; r++) {
        double begin = bench_now();
        for (unsigned i = 0; i < CALLS; i++) {
            struct aspace_map request = request_linear(address[i], PAGE, 64 * GIB);
            request.kind = kind;
            map_or_die(space, &request);
            unmap_or_die(space, address[i], PAGE);
            if (i % 64 == 63)
                world_settle();
        }
        if (r)
            bench_ns(name, ASPACE_FMT_COUNT, (bench_now() - begin) / CALLS);
    }
}

static void find(struct aspace *space, unsigned areas, uint64_t offset, const char *name)
{
    int expected = offset ? ASPACE_E_NOT_MAPPED : ASPACE_OK;
    addresses(areas, offset);
    aspace_read_begin(world_host());
    for (unsigned r = 0; r < REPEAT + 1; r++) {
        double begin = bench_now();
        uint64_t sum = 0;
        for (unsigned i = 0; i < 4 * CALLS; i++) {
            struct aspace_area area;
            CHECK(aspace_query(space, address[i], &area) == expected);
            sum += offset ? 0 : area.va;
        }
        bench_use(sum);
        if (r)
            bench_ns(name, ASPACE_FMT_COUNT, (bench_now() - begin) / (4 * CALLS));
    }
    aspace_read_end(world_host());
}

static void build(unsigned areas, const char *name)
{
    for (unsigned r = 0; r < REPEAT; r++) {
        double begin = bench_now();
        struct aspace *space = space_with(areas);
        double end = bench_now();
        if (r)
            bench_ns(name, ASPACE_FMT_COUNT, (end - begin) / areas);
        space_drop(space);
        world_settle();
    }
}

void bench_areas(void)
{
    static const unsigned counts[] = {10, 1000, 10000};
    static const char *const suffixes[] = {"_N10", "_N1000", "_N10000"};
    for (unsigned i = 0; i < 3; i++) {
        char linear[64], populate[64], hit[64], miss[64], built[64];
        bench_name(linear, sizeof(linear), "mapunmap_linear_4k", suffixes[i]);
        bench_name(populate, sizeof(populate), "mapunmap_populate_4k", suffixes[i]);
        bench_name(hit, sizeof(hit), "find_hit", suffixes[i]);
        bench_name(miss, sizeof(miss), "find_miss", suffixes[i]);
        bench_name(built, sizeof(built), "build_areas", suffixes[i]);
        bool pairs = bench_wanted(linear) || bench_wanted(populate);
        bool finds = bench_wanted(hit) || bench_wanted(miss);
        struct aspace *space = pairs || finds ? space_with(counts[i]) : NULL;
        if (pairs) {
            map_unmap(space, counts[i], ASPACE_KIND_LINEAR, linear);
            map_unmap(space, counts[i], ASPACE_KIND_EAGER, populate);
        }
        if (finds) {
            find(space, counts[i], 0, hit);
            find(space, counts[i], 2 * PAGE, miss);
        }
        if (space)
            space_drop(space);
        world_settle();
        if (counts[i] > 10 && bench_wanted(built))
            build(counts[i], built);
    }
    world_trim();
}
