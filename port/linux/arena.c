/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory of the arena and the choice of allocator. Owns the mappings; must not know how frames are given out. */
#define _GNU_SOURCE
#include "arena.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "aspace_port.h"

#define HUGE_BYTES (2ull << 20)
#define GIB (1ull << 30)

/*
 * Mappings that were given up, kept for the next arena of the same size. A test program makes thousands of arenas, and
 * user-mode emulators keep a record of every page of address space that ever was mapped. One arena exists at a time, so
 * this needs no lock.
 */
enum { SPARES = 4 };
static struct {
    void *memory;
    size_t bytes;
} spare[SPARES];

static void *map_fresh(void *at, size_t bytes)
{
    void *p = mmap(at, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED : 0), -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void *reserve(size_t bytes)
{
    for (unsigned i = 0; i < SPARES; i++) {
        if (spare[i].memory && spare[i].bytes == bytes) {
            void *p = spare[i].memory;
            spare[i].memory = NULL;
            return p;
        }
    }
    return map_fresh(NULL, bytes);
}

static void give_up(void *p, size_t bytes)
{
    for (unsigned i = 0; i < SPARES; i++) {
        if (!spare[i].memory && map_fresh(p, bytes)) { /* all zero again */
            spare[i].memory = p;
            spare[i].bytes = bytes;
            return;
        }
    }
    munmap(p, bytes);
}

void *arena_side_memory(struct arena *a, size_t bytes)
{
    a->side = reserve(bytes);
    a->side_bytes = a->side ? bytes : 0;
    return a->side;
}

static int check_config(const struct arena_config *config)
{
    if (config->bytes % ARENA_PAGE || config->bytes < ARENA_PAGE || config->pa_base % GIB ||
        config->pa_base + config->bytes < config->pa_base || config->prefault_bytes > config->bytes ||
        (config->kind != ARENA_FAST && config->kind != ARENA_CHECKED)) {
        errno = EINVAL;
        return -1;
    }
    if (aspace_linux_base) {
        errno = EBUSY;
        return -1;
    }
    return 0;
}

static int map_memory(struct arena *a)
{
    /* Frames of 2 MiB are as aligned in the process as in the simulation, so that the host can use huge ones. */
    a->mapping_bytes = (size_t)(a->config.bytes + HUGE_BYTES);
    a->mapping = reserve(a->mapping_bytes);
    if (!a->mapping) {
        return -1;
    }
    uintptr_t start = ((uintptr_t)a->mapping + HUGE_BYTES - 1) & ~(uintptr_t)(HUGE_BYTES - 1);
    a->memory = (char *)a->mapping + (start - (uintptr_t)a->mapping);
    a->frames_total = a->config.bytes / ARENA_PAGE;
    for (uint64_t at = 0; at < a->config.prefault_bytes; at += ARENA_PAGE) {
        ((volatile char *)a->memory)[at] = 0;
    }
    return 0;
}

int arena_init(struct arena *a, const struct arena_config *config)
{
    memset(a, 0, sizeof(*a));
    a->config = *config;
    a->config.bytes = config->bytes ? config->bytes : ARENA_DEFAULT_BYTES;
    a->config.pa_base = config->pa_base ? config->pa_base : ARENA_DEFAULT_PA;
    a->config.quarantine = config->quarantine ? config->quarantine : ARENA_DEFAULT_QUARANTINE;
    if (check_config(&a->config)) {
        return -1;
    }
    pthread_mutex_init(&a->lock, NULL);
    if (map_memory(a) || (a->config.kind == ARENA_FAST ? arena_fast_init(a) : arena_checked_init(a))) {
        arena_fini(a);
        errno = ENOMEM;
        return -1;
    }
    aspace_linux_base = (char *)((uintptr_t)a->memory - (uintptr_t)a->config.pa_base);
    return 0;
}

void arena_fini(struct arena *a)
{
    if (a->mapping) {
        give_up(a->mapping, a->mapping_bytes);
    }
    if (a->side) {
        give_up(a->side, a->side_bytes);
    }
    if (a->frames_total) {
        aspace_linux_base = NULL;
    }
    pthread_mutex_destroy(&a->lock);
    memset(a, 0, sizeof(*a));
}

aspace_pa_t arena_alloc(struct arena *a, unsigned order, unsigned flags)
{
    return a->config.kind == ARENA_FAST ? arena_fast_alloc(a, order, flags) : arena_checked_alloc(a, order, flags);
}

void arena_free(struct arena *a, aspace_pa_t pa, unsigned order)
{
    if (a->config.kind == ARENA_FAST) {
        arena_fast_free(a, pa, order);
    } else {
        arena_checked_free(a, pa, order);
    }
}

size_t arena_alloc_batch(struct arena *a, aspace_pa_t *pa, size_t n, unsigned flags)
{
    if (a->config.kind == ARENA_FAST) {
        return arena_fast_alloc_batch(a, pa, n, flags);
    }
    size_t done = 0;
    while (done < n && (pa[done] = arena_checked_alloc(a, 0, flags)) != ASPACE_PA_NONE) {
        done++;
    }
    return done;
}

void arena_free_batch(struct arena *a, const aspace_pa_t *pa, size_t n)
{
    if (a->config.kind == ARENA_FAST) {
        arena_fast_free_batch(a, pa, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        arena_checked_free(a, pa[i], 0);
    }
}

bool arena_contains(const struct arena *a, aspace_pa_t pa)
{
    return pa >= a->config.pa_base && pa - a->config.pa_base < a->config.bytes;
}

void *arena_pointer(const struct arena *a, aspace_pa_t pa)
{
    return a->memory + (pa - a->config.pa_base);
}

void arena_counts_read(struct arena *a, struct arena_counts *counts)
{
    pthread_mutex_lock(&a->lock);
    *counts = a->counts;
    pthread_mutex_unlock(&a->lock);
    if (a->fast) {
        counts->frames = arena_fast_frames(a);
    }
}

uint64_t arena_violations_of(struct arena *a, enum arena_violation kind)
{
    pthread_mutex_lock(&a->lock);
    uint64_t n = a->violations[kind];
    pthread_mutex_unlock(&a->lock);
    return n;
}

uint64_t arena_violations(struct arena *a)
{
    uint64_t n = 0;
    for (unsigned kind = 0; kind < ARENA_VIOLATION_COUNT; kind++) {
        n += arena_violations_of(a, (enum arena_violation)kind);
    }
    return n;
}

void arena_violations_clear(struct arena *a)
{
    pthread_mutex_lock(&a->lock);
    memset(a->violations, 0, sizeof(a->violations));
    pthread_mutex_unlock(&a->lock);
}
