/* SPDX-License-Identifier: BSD-2-Clause */
/* First touches: faults on lazy memory, in order and at random, dense and sparse. */
#include <aspace/backend.h>
#include <aspace/object.h>
#include <aspace/ticket.h>

#include "bench.h"

enum { PAGES = 65536, REPEAT = 15, SPARSE = 16384 };

static void fault_or_die(struct aspace *space, aspace_va_t va)
{
    enum aspace_fault_result result = aspace_fault(space, va, ASPACE_W, NULL);
    if (result != ASPACE_FAULT_DONE)
        bench_fail("fault at 0x%llx: %s", (unsigned long long)va, aspace_fault_name(result));
}

/* 256 MiB in a new space, so that the tables are made by the faults. order NULL: one page after the other. */
static void dense_once(enum aspace_format format, const uint32_t *order, const char *way, const char *suffix)
{
    char name[64];
    struct aspace *space = space_new_4k(format);
    struct aspace_map request = request_alloc(ASPACE_KIND_LAZY, 0, 256 * MIB);
    double t0 = bench_now();
    map_or_die(space, &request);
    double t1 = bench_now();
    if (order)
        for (unsigned i = 0; i < PAGES; i++)
            fault_or_die(space, order[i] * PAGE);
    else
        for (unsigned i = 0; i < PAGES; i++)
            fault_or_die(space, i * PAGE);
    double t2 = bench_now();
    unmap_or_die(space, 0, 256 * MIB);
    world_settle();
    double t3 = bench_now();
    bench_name(name, sizeof(name), way, suffix);
    char full[80];
    bench_name(full, sizeof(full), "fault_256m_", name);
    bench_ns(full, format, (t2 - t1) / PAGES);
    bench_name(full, sizeof(full), "map_and_fault_256m_", name);
    bench_ns(full, format, (t2 - t0) / PAGES);
    bench_name(full, sizeof(full), "unmap_faulted_256m_", name);
    bench_ns(full, format, t3 - t2);
    space_drop(space);
    world_settle();
}

static void dense(enum aspace_format format, const uint32_t *order, bool zeroed)
{
    const char *suffix = zeroed ? "_zeroed" : "";
    world_zero_data(zeroed);
    for (unsigned r = 0; r < (zeroed ? 5 : REPEAT); r++) {
        dense_once(format, NULL, "seq", suffix);
        dense_once(format, order, "rand", suffix);
    }
    world_zero_data(false);
}

/* The same with a window of neighbours filled by each fault that finds the page empty. */
static void around(unsigned pages)
{
    struct aspace_config config;
    space_config(&config, ASPACE_FMT_X86_EPT4);
    config.max_leaf_level = 1;
    config.fault_around = pages;
    for (unsigned r = 0; r < REPEAT; r++) {
        struct aspace *space = space_make(&config);
        struct aspace_map request = request_alloc(ASPACE_KIND_LAZY, 0, 256 * MIB);
        map_or_die(space, &request);
        unsigned faults = 0;
        double begin = bench_now();
        for (unsigned i = 0; i < PAGES; i++) {
            /* Hardware would fault only where nothing is yet. */
            struct aspace_translation t;
            if (aspace_translate(space, i * PAGE, &t) == ASPACE_OK)
                continue;
            fault_or_die(space, i * PAGE);
            faults++;
        }
        bench_ns("fault_256m_seq_around64", ASPACE_FMT_COUNT, (bench_now() - begin) / PAGES);
        bench_row("fault_256m_seq_around64_faults", ASPACE_FMT_COUNT, "faults", faults);
        space_drop(space);
        world_settle();
    }
}

static void sparse(void)
{
    uint32_t *order = bench_shuffled((uint32_t)(64 * GIB / PAGE));
    for (unsigned r = 0; r < 9; r++) {
        struct aspace *space = space_new_4k(ASPACE_FMT_X86_EPT4);
        struct aspace_map request = request_alloc(ASPACE_KIND_LAZY, 0, 64 * GIB);
        struct bench_timer map = {0};
        bench_go(&map);
        map_or_die(space, &request);
        bench_stop(&map);
        double t0 = bench_now();
        for (unsigned i = 0; i < SPARSE; i++)
            fault_or_die(space, order[i] * PAGE);
        double t1 = bench_now();
        space_drop(space);
        double t2 = bench_now();
        world_settle();
        double t3 = bench_now();
        bench_ns("sparse_64g_map_lazy", ASPACE_FMT_COUNT, bench_timer_ns(&map));
        bench_ns("sparse_64g_fault_rand", ASPACE_FMT_COUNT, (t1 - t0) / SPARSE);
        bench_ns("sparse_64g_drop", ASPACE_FMT_COUNT, t2 - t1);
        bench_ns("sparse_64g_drop_settled", ASPACE_FMT_COUNT, t3 - t1);
    }
    bench_free(order);
    world_trim();
}

/* First touch of anonymous shared memory that another space has filled. */
static void shared(void)
{
    static struct aspace_anon anon;
    for (unsigned r = 0; r < REPEAT; r++) {
        struct aspace *owner = space_new_4k(ASPACE_FMT_X86_EPT4), *space = space_new_4k(ASPACE_FMT_X86_EPT4);
        struct aspace_map request = request_alloc(ASPACE_KIND_SHARED, 0, 256 * MIB);
        if (aspace_anon_init(&anon, world_host(), 256 * MIB, 0) != ASPACE_OK)
            bench_fail("no object");
        request.object = &anon.object;
        map_or_die(owner, &request);
        map_or_die(space, &request);
        for (unsigned i = 0; i < PAGES; i++)
            fault_or_die(owner, i * PAGE);
        double begin = bench_now();
        for (unsigned i = 0; i < PAGES; i++)
            fault_or_die(space, i * PAGE);
        bench_ns("shared_fault", ASPACE_FMT_COUNT, (bench_now() - begin) / PAGES);
        space_drop(owner);
        space_drop(space);
        aspace_object_put(&anon.object);
        world_settle();
    }
    world_trim();
}

static enum aspace_fault_result fill_later(const struct aspace_fill *fill, struct aspace_page *page)
{
    (void)fill, (void)page;
    return ASPACE_FAULT_NEEDS_IO;
}

static void release_page(void *ctx, uint64_t offset, aspace_pa_t pa, unsigned order)
{
    (void)ctx, (void)offset;
    world_free(pa, order);
}

/* A page that has to be fetched, by one who waits for it: try, and complete with the frame. No I/O and no sleep. */
static void async(void)
{
    static const struct aspace_backend backend = {.name = "later", .fill = fill_later, .release = release_page};
    struct aspace_ticket ticket = {0};
    for (unsigned r = 0; r < REPEAT; r++) {
        struct aspace *space = space_new_4k(ASPACE_FMT_X86_EPT4);
        struct aspace_map request = request_alloc(ASPACE_KIND_CUSTOM, 0, 256 * MIB);
        request.backend = &backend;
        map_or_die(space, &request);
        double begin = bench_now();
        for (unsigned i = 0; i < PAGES; i++) {
            if (aspace_fault_try(space, i * PAGE, ASPACE_W, 0, &ticket, NULL) != ASPACE_FAULT_NEEDS_IO ||
                aspace_fault_complete(&ticket, world_alloc(0, 0)) != ASPACE_OK)
                bench_fail("no page arrives");
        }
        bench_ns("async_fault_roundtrip", ASPACE_FMT_COUNT, (bench_now() - begin) / PAGES);
        space_drop(space);
        world_settle();
    }
    world_trim();
}

void bench_faults(void)
{
    uint32_t *order = bench_shuffled(PAGES);
    if (bench_wanted("map_and_fault_256m_seq map_and_fault_256m_rand unmap_faulted_256m_seq unmap_faulted_256m_rand"))
        for (const enum aspace_format *f = bench_formats; *f != ASPACE_FMT_COUNT; f++)
            dense(*f, order, false);
    if (bench_wanted("map_and_fault_256m_seq_zeroed map_and_fault_256m_rand_zeroed"))
        dense(ASPACE_FMT_X86_EPT4, order, true);
    if (bench_wanted("fault_256m_seq_around64_faults"))
        around(64);
    bench_free(order);
    if (bench_wanted("shared_fault"))
        shared();
    if (bench_wanted("async_fault_roundtrip"))
        async();
    if (bench_wanted("sparse_64g_map_lazy sparse_64g_fault_rand sparse_64g_drop_settled"))
        sparse();
    world_trim();
}
