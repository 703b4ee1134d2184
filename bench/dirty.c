/* SPDX-License-Identifier: BSD-2-Clause */
/* The dirty log: a harvest of 1 GiB of 4 KiB pages of which one in a hundred was written. Owns what is written. */
#include <aspace/dirty.h>
#include <aspace/fault.h>
#include <stdlib.h>

#include "bench.h"

enum { PAGES = 262144, STEP = 100, ROUNDS = 15 };

static uint64_t bits[PAGES / 64];
static struct aspace_range told[PAGES / STEP + 1];

/* There is no memory behind the pages: a write fault, or the flag as hardware sets it. */
static void write_some(struct aspace *space, enum aspace_dirty_mode mode)
{
    for (aspace_va_t n = 0; n < PAGES; n += STEP)
        if (mode == ASPACE_DIRTY_HARDWARE)
            CHECK(aspace_dirty_mark(space, n * PAGE, PAGE) == ASPACE_OK);
        else
            CHECK(aspace_fault(space, n * PAGE, ASPACE_W, NULL) == ASPACE_FAULT_DONE);
}

static void harvest(const char *name, enum aspace_dirty_mode mode, struct aspace_dirty_ring *rings)
{
    if (!bench_wanted(name))
        return;
    struct aspace_dirty_config config = {.mode = mode, .rings = rings};
    struct aspace *space = space_new(ASPACE_FMT_X86_EPT4);
    struct aspace_map request = request_linear(0, GIB, 4 * GIB);
    request.max_leaf_level = 1;
    map_or_die(space, &request);
    CHECK(aspace_dirty_start(space, &config) == ASPACE_OK);
    for (unsigned r = 0; r < ROUNDS; r++) {
        uint64_t dirty = 0;
        size_t count = sizeof told / sizeof told[0];
        write_some(space, mode);
        double t0 = bench_now();
        if (rings)
            CHECK(aspace_drain_dirty(space, told, &count) == ASPACE_OK);
        else
            CHECK(aspace_harvest_dirty(space, 0, GIB, bits, &dirty) == ASPACE_OK);
        bench_ns(name, ASPACE_FMT_COUNT, bench_now() - t0);
        CHECK((rings ? count : dirty) == PAGES / STEP + 1);
    }
    CHECK(aspace_dirty_stop(space) == ASPACE_OK);
    space_drop(space);
    world_trim();
}

void bench_dirty(void)
{
    enum { ENTRIES = 4096, CPUS = 64 };
    struct aspace_dirty_ring *rings = aligned_alloc(ASPACE_CACHE_LINE, CPUS * sizeof *rings);
    uint64_t *pages = malloc(CPUS * ENTRIES * sizeof *pages);
    CHECK(rings && pages);
    for (unsigned i = 0; i < CPUS; i++)
        rings[i] = (struct aspace_dirty_ring){.pages = pages + i * ENTRIES, .entries = ENTRIES};
    harvest("dirty_harvest_1g_wp", ASPACE_DIRTY_WRITE_PROTECT, NULL);
    harvest("dirty_harvest_1g_ad", ASPACE_DIRTY_HARDWARE, NULL);
    harvest("dirty_drain_1g_wp", ASPACE_DIRTY_WRITE_PROTECT, rings);
    free(pages);
    free(rings);
}
