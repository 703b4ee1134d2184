/* SPDX-License-Identifier: BSD-2-Clause */
/* Lock-free lookups: translate, limit, segments. All in one read section, which is free in quiescent-state mode. */
#include "bench.h"

enum { LOOKUPS = 262144, REPEAT = 21 };

/* Addresses to look up, made beforehand, so that only the lookup is timed. */
static aspace_va_t address[LOOKUPS];

static void addresses(const uint32_t *order, uint64_t stride, uint64_t offset)
{
    for (uint32_t i = 0; i < LOOKUPS; i++)
        address[i] = (order ? order[i] : i) * stride + offset;
}

/* The sum keeps the answers alive. */
static double translate_all(struct aspace *space, int expected)
{
    uint64_t sum = 0;
    aspace_read_begin(world_host());
    double begin = bench_now();
    for (uint32_t i = 0; i < LOOKUPS; i++) {
        struct aspace_translation t;
        int error = aspace_translate(space, address[i], &t);
        if (__builtin_expect(error != expected, 0))
            bench_fail("translate 0x%llx: %s", (unsigned long long)address[i], aspace_error_message(error));
        sum += error ? 1 : t.pa;
    }
    double end = bench_now();
    aspace_read_end(world_host());
    bench_use(sum);
    return (end - begin) / LOOKUPS;
}

static void translate_row(struct aspace *space, const char *name, enum aspace_format format, int expected)
{
    (void)translate_all(space, expected);
    for (unsigned r = 0; r < REPEAT; r++)
        bench_ns(name, format, translate_all(space, expected));
}

static void hits(enum aspace_format format, const uint32_t *order)
{
    struct aspace *space = space_new(format);
    struct aspace_map request = request_linear(0, GIB, 4 * GIB + PAGE);
    map_or_die(space, &request);
    addresses(NULL, PAGE, 0);
    translate_row(space, "translate_hit_4k_seq", format, ASPACE_OK);
    addresses(order, PAGE, 0);
    translate_row(space, "translate_hit_4k_rand", format, ASPACE_OK);
    unmap_or_die(space, 0, GIB);
    request = request_linear(0, GIB, 4 * GIB + 2 * MIB);
    map_or_die(space, &request);
    translate_row(space, "translate_hit_2m_rand", format, ASPACE_OK);
    space_drop(space);
    world_settle();
}

static void misses(const uint32_t *order)
{
    struct aspace *space = space_new(ASPACE_FMT_X86_EPT4);
    struct aspace_map request = request_alloc(ASPACE_KIND_LAZY, 0, GIB);
    map_or_die(space, &request);
    addresses(order, PAGE, 0);
    translate_row(space, "translate_miss_lazy", ASPACE_FMT_COUNT, ASPACE_E_NOT_MAPPED);
    addresses(order, PAGE, 4 * GIB);
    translate_row(space, "translate_miss_notable", ASPACE_FMT_COUNT, ASPACE_E_NOT_MAPPED);
    addresses(order, PAGE, 512 * GIB);
    translate_row(space, "translate_miss_outofrange", ASPACE_FMT_COUNT, ASPACE_E_RANGE);
    space_drop(space);
    world_settle();
}

static void limit_row(struct aspace *space, const char *name, uint64_t cap)
{
    for (unsigned r = 0; r < REPEAT; r++) {
        uint64_t sum = 0;
        double begin = bench_now();
        for (uint32_t i = 0; i < LOOKUPS; i++) {
            struct aspace_translation t;
            CHECK(aspace_translate_limit(space, address[i], cap, &t) == ASPACE_OK);
            sum += t.length;
        }
        double end = bench_now();
        /* Contiguous from end to end, so that only the last pages fall short of the cap. */
        CHECK(sum <= cap * LOOKUPS && sum >= cap * (LOOKUPS - 16));
        if (r)
            bench_ns(name, ASPACE_FMT_COUNT, (end - begin) / LOOKUPS);
    }
}

static void limits(const uint32_t *order)
{
    struct aspace *space = space_new(ASPACE_FMT_X86_EPT4);
    struct aspace_map request = request_linear(0, GIB, 4 * GIB + PAGE);
    map_or_die(space, &request);
    addresses(order, PAGE, 0);
    aspace_read_begin(world_host());
    limit_row(space, "query_limit_4k_rand_1area_cap4k", 4 * KIB);
    limit_row(space, "query_limit_4k_rand_1area_cap64k", 64 * KIB);
    aspace_read_end(world_host());
    space_drop(space);
    world_settle();
}

/* 64 KiB that begin amid a page, no two pages adjacent in memory: seventeen segments. */
static void segments(const uint32_t *order)
{
    enum { PAGES = 65536, CALLS = 2048, SPAN = 64 * 1024 };
    struct aspace *space = space_new_4k(ASPACE_FMT_X86_EPT4);
    struct aspace_map request = request_alloc(ASPACE_KIND_LAZY, 0, PAGES * PAGE);
    map_or_die(space, &request);
    for (uint32_t i = 0; i < LOOKUPS; i++) {
        if (order[i] >= PAGES)
            continue;
        CHECK(aspace_fault(space, order[i] * PAGE, ASPACE_W, NULL) == ASPACE_FAULT_DONE);
    }
    for (unsigned r = 0; r < REPEAT + 1; r++) {
        uint64_t sum = 0;
        aspace_read_begin(world_host());
        double begin = bench_now();
        for (unsigned i = 0; i < CALLS; i++) {
            struct aspace_segment list[32];
            size_t count = 32;
            int error = aspace_segments(space, i * 31 * PAGE + 2048, SPAN, ASPACE_R, list, &count, NULL);
            if (error || count < 15 || count > 17)
                bench_fail("segments: %s, %zu of them", aspace_error_message(error), count);
            sum += count;
        }
        double end = bench_now();
        aspace_read_end(world_host());
        /* By chance a few frames are neighbours after all. */
        CHECK(sum > 16 * CALLS + CALLS * 9 / 10);
        if (r)
            bench_ns("byte_buffer_64k_17seg", ASPACE_FMT_COUNT, (end - begin) / CALLS);
    }
    space_drop(space);
    world_trim();
}

void bench_lookups(void)
{
    uint32_t *order = bench_shuffled(LOOKUPS);
    if (bench_wanted("translate_hit_4k_seq translate_hit_4k_rand translate_hit_2m_rand"))
        for (const enum aspace_format *f = bench_formats; *f != ASPACE_FMT_COUNT; f++)
            hits(*f, order);
    if (bench_wanted("translate_miss_notable translate_miss_lazy translate_miss_outofrange"))
        misses(order);
    if (bench_wanted("query_limit_4k_rand_1area_cap4k query_limit_4k_rand_1area_cap64k"))
        limits(order);
    if (bench_wanted("byte_buffer_64k_17seg"))
        segments(order);
    bench_free(order);
    world_trim();
}
