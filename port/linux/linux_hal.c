/* SPDX-License-Identifier: BSD-2-Clause */
/* The functions of the hosted HAL. Owns the counters; must not know how frames are kept nor how TLBs are simulated. */
#include "linux_hal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "aspace_port.h"

static void add(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static struct aspace_linux_counts *mine(struct aspace_linux *port)
{
    return &port->cpu[aspace_linux_cpu].counts;
}

/* ----------------------------------------------------------------------------------------------------------- frames */

static aspace_pa_t fast_alloc(void *ctx, unsigned order, unsigned flags)
{
    struct aspace_linux *port = ctx;
    add(&mine(port)->alloc, 1);
    return arena_fast_alloc(&port->arena, order, flags);
}

static void fast_free(void *ctx, aspace_pa_t pa, unsigned order)
{
    struct aspace_linux *port = ctx;
    add(&mine(port)->free, 1);
    arena_fast_free(&port->arena, pa, order);
}

static size_t fast_alloc_batch(void *ctx, aspace_pa_t *pa, size_t n, unsigned flags)
{
    struct aspace_linux *port = ctx;
    add(&mine(port)->alloc_batch, 1);
    return arena_fast_alloc_batch(&port->arena, pa, n, flags);
}

static void fast_free_batch(void *ctx, const aspace_pa_t *pa, size_t n)
{
    struct aspace_linux *port = ctx;
    add(&mine(port)->free_batch, 1);
    arena_fast_free_batch(&port->arena, pa, n);
}

static aspace_pa_t checked_alloc(void *ctx, unsigned order, unsigned flags)
{
    struct aspace_linux *port = ctx;
    add(&mine(port)->alloc, 1);
    return arena_checked_alloc(&port->arena, order, flags);
}

static void checked_free(void *ctx, aspace_pa_t pa, unsigned order)
{
    struct aspace_linux *port = ctx;
    add(&mine(port)->free, 1);
    arena_checked_free(&port->arena, pa, order);
}

static size_t checked_alloc_batch(void *ctx, aspace_pa_t *pa, size_t n, unsigned flags)
{
    struct aspace_linux *port = ctx;
    add(&mine(port)->alloc_batch, 1);
    return arena_alloc_batch(&port->arena, pa, n, flags);
}

static void checked_free_batch(void *ctx, const aspace_pa_t *pa, size_t n)
{
    struct aspace_linux *port = ctx;
    add(&mine(port)->free_batch, 1);
    arena_free_batch(&port->arena, pa, n);
}

/* -------------------------------------------------------------------------------------------------- TLBs and caches */

static void count_flush(void *ctx, const struct aspace_flush *flush)
{
    struct aspace_linux_counts *counts = mine(ctx);
    add(&counts->tlb_flush, 1);
    add(&counts->flush_full, flush->full ? 1 : 0);
    add(&counts->flush_entries, flush->entries);
}

static void sim_flush(void *ctx, const struct aspace_flush *flush)
{
    struct aspace_linux *port = ctx;
    count_flush(ctx, flush);
    if (port->simulates) {
        sim_tlb_flush(&port->sim, flush);
    }
}

static void sim_wait(void *ctx, const struct aspace_flush *flush)
{
    struct aspace_linux *port = ctx;
    add(&mine(port)->tlb_wait, 1);
    if (port->simulates) {
        sim_tlb_wait(&port->sim, flush);
    }
}

static void sim_flush_and_wait(void *ctx, const struct aspace_flush *flush)
{
    sim_flush(ctx, flush);
    sim_wait(ctx, flush);
}

static void flush_local(void *ctx, uint64_t tag, bool stage2)
{
    struct aspace_linux *port = ctx;
    add(&mine(port)->tlb_flush_local, 1);
    if (port->simulates) {
        sim_tlb_flush_local(&port->sim, tag, stage2 ? 1 : 0);
    }
}

/* The caches of the process are coherent: what is counted is that the library asks once, and for the right bytes. */
static void icache_sync(void *ctx, aspace_pa_t pa, uint64_t bytes)
{
    struct aspace_linux *port = ctx;
    add(&mine(port)->icache_sync, 1);
    add(&mine(port)->icache_bytes, bytes);
    __atomic_store_n(&port->icache_last, pa, __ATOMIC_RELAXED);
    if (port->icache_watch) {
        port->icache_watch(port->icache_watch_ctx);
    }
}

static void wake(void *ctx, void *waiter)
{
    (void)waiter;
    add(&mine(ctx)->wake, 1);
}

const struct aspace_hal aspace_linux_hal_fast = {
    .alloc = fast_alloc,
    .free = fast_free,
    .alloc_batch = fast_alloc_batch,
    .free_batch = fast_free_batch,
    .tlb_flush = count_flush,
    .tlb_flush_local = flush_local,
    .icache_sync = icache_sync,
    .wake = wake,
};

const struct aspace_hal aspace_linux_hal_checked = {
    .alloc = checked_alloc,
    .free = checked_free,
    .alloc_batch = checked_alloc_batch,
    .free_batch = checked_free_batch,
    .tlb_flush = sim_flush,
    .tlb_wait = sim_wait,
    .tlb_flush_local = flush_local,
    .icache_sync = icache_sync,
    .wake = wake,
};

const struct aspace_hal aspace_linux_hal_minimal = {
    .alloc = checked_alloc,
    .free = checked_free,
    .tlb_flush = sim_flush_and_wait,
    .tlb_flush_local = flush_local,
};

/* ------------------------------------------------------------------------------------------------------- setting up */

static uint32_t frame_generation(void *ctx, uint64_t pa)
{
    struct aspace_linux *port = ctx;
    return arena_generation(&port->arena, pa);
}

static bool frame_held(void *ctx, aspace_pa_t pa, uint64_t bytes, char *why, size_t why_bytes)
{
    struct aspace_linux *port = ctx;
    return sim_holds(&port->sim, pa, bytes, why, why_bytes);
}

static void say_nothing(void *ctx, const char *line)
{
    (void)ctx;
    (void)line;
}

static void in_window(void *ctx)
{
    struct aspace_linux *port = ctx;
    if (port->config.window) {
        port->config.window(port->config.window_ctx);
    }
}

static int start_sim(struct aspace_linux *port)
{
    struct sim_hooks hooks = {
        .ctx = port,
        .generation = frame_generation,
        .window = in_window,
        .violation = port->config.quiet ? say_nothing : NULL,
    };
    if (port->config.sim.cpus == 0) {
        return 0;
    }
    if (port->config.arena.kind != ARENA_CHECKED) {
        errno = EINVAL;
        return -1;
    }
    if (sim_init(&port->sim, &port->config.sim, &hooks)) {
        return -1;
    }
    port->simulates = true;
    arena_set_held(&port->arena, frame_held, port);
    return 0;
}

static const struct aspace_hal *choose_hal(const struct aspace_linux_config *config)
{
    if (config->arena.kind == ARENA_FAST) {
        return &aspace_linux_hal_fast;
    }
    return config->minimal ? &aspace_linux_hal_minimal : &aspace_linux_hal_checked;
}

int aspace_linux_init(struct aspace_linux *port, const struct aspace_linux_config *config)
{
    memset(port, 0, sizeof(*port));
    port->config = *config;
    if (config->quiet && !config->arena.report) {
        port->config.arena.report = say_nothing;
    }
    if (arena_init(&port->arena, &port->config.arena)) {
        return -1;
    }
    if (start_sim(port)) {
        int error = errno;
        arena_fini(&port->arena);
        errno = error;
        return -1;
    }
    port->hal = choose_hal(config);
    return 0;
}

void aspace_linux_fini(struct aspace_linux *port)
{
    if (port->simulates) {
        sim_fini(&port->sim);
    }
    arena_fini(&port->arena);
    port->simulates = false;
    port->hal = NULL;
}

struct aspace_linux *aspace_linux_default(void)
{
    static struct aspace_linux port;
    static const struct aspace_linux_config config = {.arena = {.kind = ARENA_FAST}};
    if (!port.hal && aspace_linux_init(&port, &config)) {
        return NULL;
    }
    return &port;
}

/* ----------------------------------------------------------------------------------------------- what tests look at */

void aspace_linux_counts_read(const struct aspace_linux *port, struct aspace_linux_counts *counts)
{
    memset(counts, 0, sizeof(*counts));
    for (unsigned n = 0; n < ARENA_CPUS_MAX; n++) {
        const struct aspace_linux_counts *c = &port->cpu[n].counts;
#define ASPACE_LINUX_X(member) counts->member += __atomic_load_n(&c->member, __ATOMIC_RELAXED);
        ASPACE_LINUX_COUNTS(ASPACE_LINUX_X)
#undef ASPACE_LINUX_X
    }
}

void aspace_linux_counts_clear(struct aspace_linux *port)
{
    memset(port->cpu, 0, sizeof(port->cpu));
}

uint64_t aspace_linux_violations(struct aspace_linux *port)
{
    arena_verify_free(&port->arena);
    return arena_violations(&port->arena) + (port->simulates ? sim_violations(&port->sim) : 0);
}

/* ------------------------------------------------------------------------------------------------- playing the CPUs */

static bool is_stage2(enum aspace_format format)
{
    switch (format) {
    case ASPACE_FMT_X86_EPT4:
    case ASPACE_FMT_X86_EPT5:
    case ASPACE_FMT_X86_NPT4:
    case ASPACE_FMT_X86_NPT5:
    case ASPACE_FMT_ARM_S2_39:
    case ASPACE_FMT_ARM_S2_40:
    case ASPACE_FMT_ARM_S2_43:
    case ASPACE_FMT_ARM_S2_48:
    case ASPACE_FMT_RISCV_SV39X4:
    case ASPACE_FMT_RISCV_SV48X4:
    case ASPACE_FMT_RISCV_SV57X4:
    case ASPACE_FMT_LOONGARCH_S2: return true;
    default: return false;
    }
}

void aspace_linux_describe(const struct aspace *space, const struct aspace_config *config, struct sim_space *sim_space)
{
    sim_space->format = config->format;
    sim_space->config = config;
    sim_space->root = aspace_root(space);
    sim_space->tag = config->tag;
    sim_space->stage2 = is_stage2(config->format);
}

struct sim_cpu *aspace_linux_become(struct aspace_linux *port, unsigned n)
{
    aspace_linux_set_cpu(n);
    return port->simulates && n < port->config.sim.cpus ? &port->sim.cpu[n] : NULL;
}

void aspace_linux_enter(struct aspace_linux *port, struct aspace *space, const struct sim_space *sim_space)
{
    aspace_activate(space);
    if (port->simulates) {
        sim_cpu_load(&port->sim.cpu[aspace_linux_cpu], sim_space);
    }
}

void aspace_linux_leave(struct aspace_linux *port, struct aspace *space, const struct sim_space *sim_space)
{
    if (port->simulates) {
        sim_cpu_unload(&port->sim.cpu[aspace_linux_cpu], sim_space);
    }
    aspace_deactivate(space);
}
