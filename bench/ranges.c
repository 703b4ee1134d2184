/* SPDX-License-Identifier: BSD-2-Clause */
/* Range operations: map, unmap, protect and drop of large and small ranges. */
#include "bench.h"

#include <aspace/memory.h>

enum { REPEAT = 31, SMALL = 256 };

/*
 * Not congruent: no leaf can be larger than 4 KiB. A first map builds the tables, one after an unmap finds what the
 * unmap left. What an unmap defers (tables, in pieces) is the `_settled` row's: the call and all that it put off.
 */
static void linear_4k(enum aspace_format format)
{
    struct aspace_map request = request_linear(0, GIB, 4 * GIB + PAGE);
    for (unsigned r = 0; r < REPEAT; r++) {
        struct aspace *space = space_new(format);
        double t0 = bench_now();
        map_or_die(space, &request);
        double t1 = bench_now();
        unmap_or_die(space, 0, GIB);
        double t2 = bench_now();
        world_settle();
        double t3 = bench_now();
        map_or_die(space, &request);
        double t4 = bench_now();
        space_drop(space);
        double t5 = bench_now();
        world_settle();
        double t6 = bench_now();
        bench_ns("map_linear_1g_4k", format, t1 - t0);
        bench_ns("unmap_linear_1g_4k", format, t2 - t1);
        bench_ns("unmap_linear_1g_4k_settled", format, t3 - t1);
        bench_ns("map_linear_1g_4k_warm", format, t4 - t3);
        bench_ns("drop_linear_1g_4k", format, t5 - t4);
        bench_ns("drop_linear_1g_4k_settled", format, t6 - t4);
    }
}

/* Map and unmap of one range, over and over in one space, each timed by itself. `beside` keeps the upper tables. */
static void pair(const char *map_name, const char *unmap_name, const struct aspace_map *request, aspace_va_t beside)
{
    if (!bench_wanted(map_name) && !bench_wanted(unmap_name))
        return;
    struct aspace *space = space_new(ASPACE_FMT_X86_EPT4);
    struct aspace_map neighbour = request_linear(beside, PAGE, 64 * GIB);
    map_or_die(space, &neighbour);
    for (unsigned r = 0; r < REPEAT + 1; r++) {
        struct bench_timer map = {0}, unmap = {0};
        for (unsigned i = 0; i < SMALL; i++) {
            bench_go(&map);
            map_or_die(space, request);
            bench_stop(&map);
            bench_go(&unmap);
            unmap_or_die(space, request->va, request->size);
            bench_stop(&unmap);
            if (i % 64 == 63)
                world_settle();
        }
        if (r == 0)
            continue;
        bench_ns(map_name, ASPACE_FMT_COUNT, bench_timer_ns(&map));
        bench_ns(unmap_name, ASPACE_FMT_COUNT, bench_timer_ns(&unmap));
    }
    space_drop(space);
    world_settle();
}

static void pairs(void)
{
    /* Congruent modulo 2 MiB but begun and ended amid a large page: 511 large leaves and 512 small ones at the ends. */
    struct aspace_map request = request_linear(GIB + MIB, GIB, 4 * GIB + MIB);
    pair("map_linear_1g_4kcong", "unmap_linear_1g_4kcong", &request, 4 * GIB);
    request = request_linear(GIB, GIB, 4 * GIB + 2 * MIB);
    pair("map_linear_1g_2m", "unmap_linear_1g_2m", &request, 4 * GIB);
    request = request_linear(GIB, GIB, 4 * GIB);
    pair("map_linear_1g_1g", "unmap_linear_1g_1g", &request, 4 * GIB);
    request = request_alloc(ASPACE_KIND_LAZY, GIB, GIB);
    pair("map_lazy_1g", "unmap_lazy_1g_untouched", &request, 4 * GIB);
    request = request_linear(GIB, PAGE, 4 * GIB);
    pair("map_4k", "unmap_4k", &request, GIB + 8 * PAGE);
    request = request_linear(GIB, 256 * PAGE, 4 * GIB);
    pair("map_256x4k", "unmap_256x4k", &request, GIB + 300 * PAGE);
}

static void populated(const char *suffix, unsigned max_leaf, bool zeroed)
{
    char map_name[64], unmap_name[64];
    bench_name(map_name, sizeof(map_name), "map_populate_256m", suffix);
    bench_name(unmap_name, sizeof(unmap_name), "unmap_populate_256m", suffix);
    if (!bench_wanted(map_name) && !bench_wanted(unmap_name))
        return;
    struct aspace_map request = request_alloc(ASPACE_KIND_EAGER, 0, 256 * MIB);
    request.max_leaf_level = max_leaf;
    world_zero_data(zeroed);
    struct aspace *space = space_new(ASPACE_FMT_X86_EPT4);
    for (unsigned r = 0; r < (zeroed ? 5 : REPEAT); r++) {
        double t0 = bench_now();
        map_or_die(space, &request);
        double t1 = bench_now();
        unmap_or_die(space, 0, 256 * MIB);
        world_settle();
        double t2 = bench_now();
        bench_ns(map_name, ASPACE_FMT_COUNT, t1 - t0);
        bench_ns(unmap_name, ASPACE_FMT_COUNT, t2 - t1);
    }
    world_zero_data(false);
    space_drop(space);
    world_trim();
}

/*
 * Rights of 65,536 leaves. While hardware may set accessed or dirty in a leaf it takes a compare-and-swap; `_used`
 * leaves have both set, as pages of a running guest have, `_noad` is a machine that never sets them.
 */
static void protect(const char *suffix, bool by_hardware, bool used)
{
    char down[64], up[64];
    bench_name(down, sizeof(down), "protect_256m_rw_to_r", suffix);
    bench_name(up, sizeof(up), "protect_256m_r_to_rw", suffix);
    if (!bench_wanted(down) && !bench_wanted(up))
        return;
    struct aspace_config config;
    space_config(&config, ASPACE_FMT_X86_EPT4);
    config.max_leaf_level = 1;
    config.features &= by_hardware ? ~0u : ~(uint32_t)ASPACE_FEAT_AD;
    struct aspace *space = space_make(&config);
    struct aspace_map request = request_alloc(ASPACE_KIND_EAGER, 0, 256 * MIB);
    map_or_die(space, &request);
    for (aspace_va_t va = 0; used && va < 256 * MIB; va += PAGE)
        CHECK(aspace_write(space, va, "x", 1, NULL) == ASPACE_OK);
    for (unsigned r = 0; r < REPEAT; r++) {
        double t0 = bench_now();
        CHECK(aspace_protect(space, 0, 256 * MIB, ASPACE_R) == ASPACE_OK);
        double t1 = bench_now();
        CHECK(aspace_protect(space, 0, 256 * MIB, ASPACE_RW) == ASPACE_OK);
        double t2 = bench_now();
        bench_ns(down, ASPACE_FMT_COUNT, t1 - t0);
        bench_ns(up, ASPACE_FMT_COUNT, t2 - t1);
    }
    space_drop(space);
    world_trim();
}

/*
 * A move of filled pages to a place that is congruent with theirs, so that leaves of any size go as they are, and back.
 * No page is copied: the floor is a store an entry. `_settled`: with what the call put off, the tables it left.
 */
static void move(const char *suffix, unsigned max_leaf)
{
    char name[64], settled[64];
    bench_name(name, sizeof(name), "move_1g", suffix);
    bench_name(settled, sizeof(settled), name, "_settled");
    if (!bench_wanted(name) && !bench_wanted(settled))
        return;
    struct aspace_map request = request_alloc(ASPACE_KIND_EAGER, 0, GIB);
    request.max_leaf_level = max_leaf;
    struct aspace *space = space_new(ASPACE_FMT_X86_EPT4);
    map_or_die(space, &request);
    for (unsigned r = 0; r < REPEAT; r++) {
        aspace_va_t from = r % 2 ? 4 * GIB : 0;
        double t0 = bench_now();
        CHECK(aspace_move(space, from, GIB, 4 * GIB - from, NULL) == ASPACE_OK);
        double t1 = bench_now();
        world_settle();
        double t2 = bench_now();
        bench_ns(name, ASPACE_FMT_COUNT, t1 - t0);
        bench_ns(settled, ASPACE_FMT_COUNT, t2 - t0);
    }
    space_drop(space);
    world_trim();
}

void bench_ranges(void)
{
    if (bench_wanted("map_linear_1g_4k unmap_linear_1g_4k_settled map_linear_1g_4k_warm drop_linear_1g_4k_settled"))
        for (const enum aspace_format *f = bench_formats; *f != ASPACE_FMT_COUNT; f++)
            linear_4k(*f);
    world_trim();
    pairs();
    populated("", 1, false);
    populated("_2m", 2, false);
    populated("_zeroed", 1, true);
    populated("_2m_zeroed", 2, true);
    protect("", true, false);
    protect("_used", true, true);
    protect("_noad", false, false);
    move("_4k", 1);
    move("_2m", 2);
}
