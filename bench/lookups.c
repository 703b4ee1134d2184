/* SPDX-License-Identifier: BSD-2-Clause */
/* Lock-free lookups: translate, limit, segments. All in one read section, which is free in quiescent-state mode. */
#include "bench.h"

enum { LOOKUPS = 262144, REPEAT = 21 };

/* What to look up, made beforehand, so that only the lookup is timed; in as few bytes as the bare walk reads. */
static uint32_t page[LOOKUPS];

static void pages(const uint32_t *order)
{
    for (uint32_t i = 0; i < LOOKUPS; i++)
        page[i] = order ? order[i] : i;
}

/* The sum keeps the answers alive; whether they are right is asked once, after the clock has stopped. */
static double translate_all(struct aspace *space, uint64_t offset, int expected)
{
    struct aspace_translation t = {0};
    uint64_t sum = 0;
    int wrong = 0;
    aspace_read_begin(world_host());
    double begin = bench_now();
    for (uint32_t i = 0; i < LOOKUPS; i++) {
        wrong |= aspace_translate(space, page[i] * PAGE + offset, &t) ^ expected;
        sum += t.pa;
    }
    double end = bench_now();
    aspace_read_end(world_host());
    CHECK(!wrong);
    bench_use(sum);
    return (end - begin) / LOOKUPS;
}

static void hit_row(struct aspace *space, const char *name, enum aspace_format format)
{
    (void)translate_all(space, 0, ASPACE_OK);
    for (unsigned r = 0; r < REPEAT; r++)
        bench_ns(name, format, translate_all(space, 0, ASPACE_OK));
}

static void miss_row(struct aspace *space, const char *name, uint64_t offset, int expected)
{
    (void)translate_all(space, offset, expected);
    for (unsigned r = 0; r < REPEAT; r++)
        bench_ns(name, ASPACE_FMT_COUNT, translate_all(space, offset, expected));
}

static void hits(enum aspace_format format, const uint32_t *order)
{
    struct aspace *space = space_new(format);
    struct aspace_map request = request_linear(0, GIB, 4 * GIB + PAGE);
    map_or_die(space, &request);
    pages(NULL);
    hit_row(space, "translate_hit_4k_seq", format);
    pages(order);
    hit_row(space, "translate_hit_4k_rand", format);
    unmap_or_die(space, 0, GIB);
    request = request_linear(0, GIB, 4 * GIB + 2 * MIB);
    map_or_die(space, &request);
    hit_row(space, "translate_hit_2m_rand", format);
    space_drop(space);
    world_settle();
}

static void misses(const uint32_t *order)
{
    struct aspace *space = space_new(ASPACE_FMT_X86_EPT4);
    struct aspace_map request = request_alloc(ASPACE_KIND_LAZY, 0, GIB);
    map_or_die(space, &request);
    pages(order);
    miss_row(space, "translate_miss_lazy", 0, ASPACE_E_NOT_MAPPED);
    miss_row(space, "translate_miss_notable", 4 * GIB, ASPACE_E_NOT_MAPPED);
    miss_row(space, "translate_miss_outofrange", 512 * GIB, ASPACE_E_RANGE);
    space_drop(space);
    world_settle();
}

static void limit_row(struct aspace *space, const char *name, uint64_t cap)
{
    for (unsigned r = 0; r < REPEAT; r++) {
        struct aspace_translation t = {0};
        uint64_t sum = 0;
        int wrong = 0;
        double begin = bench_now();
        for (uint32_t i = 0; i < LOOKUPS; i++) {
            wrong |= aspace_translate_limit(space, page[i] * PAGE, cap, &t);
            sum += t.length;
        }
        double end = bench_now();
        CHECK(!wrong);
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
    pages(order);
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
