/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The world of the benchmarks: a host in quiescent-state mode over the hosted port's fast arena, and spaces on it. TLB
 * flushes are counted and otherwise do nothing. Owns the arena and the host; knows nothing of the scenarios.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <arena.h>
#include <aspace_port.h>

/* The allocator does not put small frames together to large ones again: a gigabyte of each. */
static const uint64_t arena_bytes = 2560 * MIB, prefault_bytes = 1024 * MIB;

static struct arena arena;
static struct aspace_host *host;
static struct {
    uint64_t flushes, entries;
} __attribute__((aligned(64))) counted[BENCH_CPUS]; /* a line each, so that counting is not what is measured */
static uint32_t next_tag = 1;

static aspace_pa_t hal_alloc(void *ctx, unsigned order, unsigned flags)
{
    return arena_fast_alloc(ctx, order, flags);
}

static void hal_free(void *ctx, aspace_pa_t pa, unsigned order)
{
    arena_fast_free(ctx, pa, order);
}

static size_t hal_alloc_batch(void *ctx, aspace_pa_t *pa, size_t n, unsigned flags)
{
    return arena_fast_alloc_batch(ctx, pa, n, flags);
}

static void hal_free_batch(void *ctx, const aspace_pa_t *pa, size_t n)
{
    arena_fast_free_batch(ctx, pa, n);
}

/* A stub: there is no TLB. */
static void hal_flush(void *ctx, const struct aspace_flush *flush)
{
    (void)ctx;
    counted[aspace_linux_cpu].flushes++;
    counted[aspace_linux_cpu].entries += flush->entries;
}

static void hal_flush_local(void *ctx, uint64_t tag, bool stage2)
{
    (void)ctx;
    (void)tag;
    (void)stage2;
}

static const struct aspace_hal hal = {
    .alloc = hal_alloc,
    .free = hal_free,
    .alloc_batch = hal_alloc_batch,
    .free_batch = hal_free_batch,
    .tlb_flush = hal_flush,
    .tlb_flush_local = hal_flush_local,
};

static void pin(unsigned id)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(id, &set);
    /* With fewer processors than that the thread stays where the system puts it. */
    (void)sched_setaffinity(0, sizeof(set), &set);
}

void world_cpu_enter(unsigned id)
{
    pin(id);
    aspace_linux_set_cpu(id);
    aspace_cpu_online(host);
}

void world_cpu_leave(void)
{
    aspace_cpu_offline(host);
}

void world_open(void)
{
    struct arena_config config = {
        .kind = ARENA_FAST,
        .bytes = arena_bytes,
        .prefault_bytes = prefault_bytes,
        .skip_zeroing = true,
    };
    if (arena_init(&arena, &config) != 0)
        bench_fail("no memory for %llu MiB of frames", (unsigned long long)(arena_bytes / MIB));
    host = aligned_alloc(ASPACE_CACHE_LINE, ASPACE_HOST_BYTES(BENCH_CPUS));
    CHECK(host);
    struct aspace_host_config host_config = {.cpus = BENCH_CPUS, .smr = ASPACE_SMR_QSBR};
    CHECK(aspace_host_init(host, &hal, &arena, &host_config) == ASPACE_OK);
    world_cpu_enter(0);
}

void world_close(void)
{
    world_trim();
    CHECK(aspace_host_fini(host) == ASPACE_OK);
    CHECK(world_count().frames == 0);
    free(host);
    arena_fini(&arena);
}

struct aspace_host *world_host(void)
{
    return host;
}

void world_settle(void)
{
    /* Each round lets one grace period pass; what is freed in one may defer more. */
    for (unsigned i = 0; i < 16; i++) {
        aspace_quiescent(host);
        if (aspace_drain(host) == 0)
            return;
    }
    bench_fail("what was deferred does not drain");
}

void world_trim(void)
{
    world_settle();
    aspace_trim(host);
}

void world_zero_data(bool on)
{
    arena.config.skip_zeroing = !on;
}

struct world_count world_count(void)
{
    struct arena_counts counts;
    arena_counts_read(&arena, &counts);
    struct world_count count = {.frames = counts.frames};
    for (unsigned i = 0; i < BENCH_CPUS; i++) {
        count.flushes += counted[i].flushes;
        count.flushed_entries += counted[i].entries;
    }
    return count;
}

aspace_pa_t world_alloc(unsigned order, unsigned flags)
{
    return hal_alloc(&arena, order, flags);
}

void world_free(aspace_pa_t pa, unsigned order)
{
    hal_free(&arena, pa, order);
}

/* -------------------------------------------------------------------------------------------------------- spaces */

void space_config(struct aspace_config *config, enum aspace_format format)
{
    memset(config, 0, sizeof(*config));
    config->format = format;
    config->size = 512 * GIB;
    config->features = ASPACE_FEAT_NX | ASPACE_FEAT_AD;
    config->tag = next_tag++ & 0xfff;
}

struct aspace *space_make(const struct aspace_config *config)
{
    struct aspace *space = aligned_alloc(ASPACE_CACHE_LINE, ASPACE_BYTES(BENCH_CPUS));
    CHECK(space && aspace_bytes(host) <= ASPACE_BYTES(BENCH_CPUS));
    int error = aspace_create(space, host, config);
    if (error)
        bench_fail("create %s: %s", aspace_format_name(config->format), aspace_error_message(error));
    aspace_activate(space);
    return space;
}

struct aspace *space_new(enum aspace_format format)
{
    struct aspace_config config;
    space_config(&config, format);
    return space_make(&config);
}

struct aspace *space_new_4k(enum aspace_format format)
{
    struct aspace_config config;
    space_config(&config, format);
    config.max_leaf_level = 1;
    return space_make(&config);
}

void space_drop(struct aspace *space)
{
    aspace_deactivate(space);
    CHECK(aspace_destroy(space) == ASPACE_OK);
    free(space);
}

/* ------------------------------------------------------------------------------------------------------ requests */

static struct aspace_map request_of(enum aspace_kind kind, aspace_va_t va, uint64_t size)
{
    return (struct aspace_map){.va = va, .size = size, .kind = kind, .rights = ASPACE_RW, .max_rights = ASPACE_RW};
}

struct aspace_map request_linear(aspace_va_t va, uint64_t size, aspace_pa_t pa)
{
    struct aspace_map request = request_of(ASPACE_KIND_LINEAR, va, size);
    request.pa = pa;
    return request;
}

struct aspace_map request_alloc(enum aspace_kind kind, aspace_va_t va, uint64_t size)
{
    return request_of(kind, va, size);
}

void map_or_die(struct aspace *space, const struct aspace_map *request)
{
    int error = aspace_map(space, request, NULL);
    if (error)
        bench_fail("map of 0x%llx bytes at 0x%llx: %s", (unsigned long long)request->size,
                   (unsigned long long)request->va, aspace_error_message(error));
}

void unmap_or_die(struct aspace *space, aspace_va_t va, uint64_t size)
{
    int error = aspace_unmap(space, va, size);
    if (error)
        bench_fail("unmap of 0x%llx bytes at 0x%llx: %s", (unsigned long long)size, (unsigned long long)va,
                   aspace_error_message(error));
}
