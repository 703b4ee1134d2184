/* SPDX-License-Identifier: BSD-2-Clause */
/* Whole lives: creating and destroying spaces, and the life of a small machine. */
#include "bench.h"

#include <stdlib.h>

/* 4096 empty spaces at once, their root tables in the host's pool. */
static void empty_spaces(void)
{
    enum { SPACES = 4096 };
    size_t bytes = ASPACE_BYTES(BENCH_CPUS);
    char *memory = aligned_alloc(ASPACE_CACHE_LINE, SPACES * bytes);
    CHECK(memory);
    struct aspace_config config;
    space_config(&config, ASPACE_FMT_X86_EPT4);
    for (unsigned r = 0; r < 22; r++) {
        CHECK(aspace_reserve_tables(world_host(), SPACES) == ASPACE_OK);
        double begin = bench_now();
        for (size_t i = 0; i < SPACES; i++)
            CHECK(aspace_create((struct aspace *)(void *)(memory + i * bytes), world_host(), &config) == ASPACE_OK);
        double middle = bench_now();
        for (size_t i = 0; i < SPACES; i++)
            CHECK(aspace_destroy((struct aspace *)(void *)(memory + i * bytes)) == ASPACE_OK);
        double end = bench_now();
        world_settle();
        if (r < 2)
            continue; /* the memory of the spaces and the pool are cold */
        bench_ns("new_empty", ASPACE_FMT_COUNT, (middle - begin) / SPACES);
        bench_ns("drop_empty", ASPACE_FMT_COUNT, (end - middle) / SPACES);
    }
    free(memory);
    world_trim();
}

/* RAM of 1 GiB from one piece, 32 devices, 256 MiB given out at first touch and partly used. */
static void one_life(const uint32_t *order)
{
    struct aspace *space = space_new_4k(ASPACE_FMT_X86_EPT4);
    struct aspace_map request = request_linear(0, GIB, 4 * GIB + PAGE);
    map_or_die(space, &request);
    for (unsigned i = 0; i < 32; i++) {
        request = request_linear(3 * GIB + i * MIB, 64 * KIB, 8 * GIB + i * MIB + PAGE);
        request.attr = ASPACE_ATTR_DEVICE;
        map_or_die(space, &request);
    }
    request = request_alloc(ASPACE_KIND_LAZY, 8 * GIB, 256 * MIB);
    map_or_die(space, &request);
    for (unsigned i = 0; i < 4096; i++)
        CHECK(aspace_fault(space, 8 * GIB + order[i] * PAGE, ASPACE_W, NULL) == ASPACE_FAULT_DONE);
    aspace_read_begin(world_host());
    for (unsigned i = 0; i < 10000; i++) {
        struct aspace_translation t;
        CHECK(aspace_translate(space, order[i] * PAGE, &t) == ASPACE_OK);
    }
    aspace_read_end(world_host());
    space_drop(space);
    world_settle();
}

static void lifecycle(void)
{
    uint32_t *order = bench_shuffled(65536);
    for (unsigned r = 0; r < 33; r++) {
        double begin = bench_now();
        one_life(order);
        if (r >= 2)
            bench_ns("vm_lifecycle", ASPACE_FMT_COUNT, bench_now() - begin);
    }
    bench_free(order);
}

void bench_spaces(void)
{
    if (bench_wanted("new_empty drop_empty"))
        empty_spaces();
    if (bench_wanted("vm_lifecycle"))
        lifecycle();
}
