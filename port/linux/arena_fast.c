/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The allocator for benches: each CPU has a stack of frames for each order, filled from and emptied to a shared depot
 * in batches; the depot is filled by a bump pointer. Owns the stacks; must not know who uses the frames. Trusts its
 * caller, and that a CPU number is used by one thread at a time, as aspace_cpu_id() promises.
 */
#include "arena.h"

#include <string.h>

#include "aspace_port.h"

enum { BATCH_FRAMES = 1024 };

static unsigned batch_of(unsigned order)
{
    return order < 10 ? BATCH_FRAMES >> order : 1;
}

static uint64_t depot_room(const struct arena *a, unsigned order)
{
    return (a->frames_total >> order) + 1;
}

static size_t side_items(const struct arena *a)
{
    size_t items = 0;
    for (unsigned order = 0; order < ARENA_ORDERS; order++) {
        items += depot_room(a, order) + 2 * (size_t)batch_of(order) * ARENA_CPUS_MAX;
    }
    return items;
}

int arena_fast_init(struct arena *a)
{
    size_t cpus_bytes = sizeof(struct arena_fast_cpu) * ARENA_CPUS_MAX;
    char *side = arena_side_memory(a, cpus_bytes + side_items(a) * sizeof(aspace_pa_t));
    if (!side) {
        return -1;
    }
    a->fast = (struct arena_fast_cpu *)(void *)side;
    aspace_pa_t *at = (aspace_pa_t *)(void *)(side + cpus_bytes);
    for (unsigned order = 0; order < ARENA_ORDERS; order++) {
        a->depot[order].slot = at;
        at += depot_room(a, order);
        for (unsigned i = 0; i < ARENA_CPUS_MAX; i++) {
            a->fast[i].slot[order] = at;
            at += 2 * batch_of(order);
        }
    }
    return 0;
}

static void depot_put(struct arena *a, unsigned order, uint64_t frame)
{
    a->depot[order].slot[a->depot[order].n++] = a->config.pa_base + frame * ARENA_PAGE;
}

/* Frames skipped to align the bump pointer are not lost: they go to the depots in the largest aligned pieces. */
static aspace_pa_t bump_one(struct arena *a, unsigned order)
{
    uint64_t size = 1ull << order, start = (a->bump + size - 1) & ~(size - 1);
    if (start + size > a->frames_total) {
        return ASPACE_PA_NONE;
    }
    while (a->bump < start) {
        unsigned piece = (unsigned)__builtin_ctzll(a->bump);
        piece = piece < order ? piece : order - 1;
        depot_put(a, piece, a->bump);
        a->bump += 1ull << piece;
    }
    a->bump = start + size;
    return a->config.pa_base + start * ARENA_PAGE;
}

/* The last resort: cut a larger frame of the depot in two until one of the order wanted is there. */
static aspace_pa_t split_one(struct arena *a, unsigned order)
{
    unsigned from = order;
    while (from <= ARENA_ORDER_MAX && a->depot[from].n == 0) {
        from++;
    }
    if (from > ARENA_ORDER_MAX) {
        return ASPACE_PA_NONE;
    }
    aspace_pa_t pa = a->depot[from].slot[--a->depot[from].n];
    while (from > order) {
        from--;
        depot_put(a, from, (pa - a->config.pa_base) / ARENA_PAGE + (1ull << from));
    }
    return pa;
}

static unsigned take_from_depot(struct arena *a, unsigned order, aspace_pa_t *pa)
{
    struct arena_depot *depot = &a->depot[order];
    unsigned n = depot->n < batch_of(order) ? (unsigned)depot->n : batch_of(order);
    depot->n -= n;
    memcpy(pa, depot->slot + depot->n, n * sizeof(*pa));
    return n;
}

/* In falling order, since the stack turns it round: neighbours in time are then neighbours in memory. */
static unsigned take_from_bump(struct arena *a, unsigned order, aspace_pa_t *pa)
{
    unsigned n = 0;
    while (n < batch_of(order) && (pa[n] = bump_one(a, order)) != ASPACE_PA_NONE) {
        n++;
    }
    for (unsigned i = 0; i < n / 2; i++) {
        aspace_pa_t other = pa[i];
        pa[i] = pa[n - 1 - i];
        pa[n - 1 - i] = other;
    }
    return n;
}

static __attribute__((noinline)) bool refill(struct arena *a, struct arena_fast_cpu *cpu, unsigned order)
{
    aspace_pa_t *pa = cpu->slot[order];
    pthread_mutex_lock(&a->lock);
    unsigned n = take_from_depot(a, order, pa);
    if (n == 0) {
        n = take_from_bump(a, order, pa);
    }
    if (n == 0 && (pa[0] = split_one(a, order)) != ASPACE_PA_NONE) {
        n = 1;
    }
    pthread_mutex_unlock(&a->lock);
    cpu->n[order] = n;
    return n != 0;
}

/* The older half goes: what was freed last is likely still in the cache. */
static __attribute__((noinline)) void spill(struct arena *a, struct arena_fast_cpu *cpu, unsigned order)
{
    unsigned n = batch_of(order);
    aspace_pa_t *slot = cpu->slot[order];
    struct arena_depot *depot = &a->depot[order];
    pthread_mutex_lock(&a->lock);
    memcpy(depot->slot + depot->n, slot, n * sizeof(*slot));
    depot->n += n;
    pthread_mutex_unlock(&a->lock);
    memmove(slot, slot + n, n * sizeof(*slot));
    cpu->n[order] -= n;
}

static void zero(struct arena *a, aspace_pa_t pa, unsigned order, unsigned flags)
{
    if (!a->config.skip_zeroing || (flags & ASPACE_ALLOC_TABLE)) {
        memset(arena_pointer(a, pa), 0, (size_t)ARENA_PAGE << order);
    }
}

/* All that was ever taken from the bump pointer less what lies in a stack or depot. Exact when nothing runs. */
uint64_t arena_fast_frames(struct arena *a)
{
    pthread_mutex_lock(&a->lock);
    uint64_t frames = a->bump;
    for (unsigned order = 0; order < ARENA_ORDERS; order++) {
        frames -= a->depot[order].n << order;
        for (unsigned i = 0; i < ARENA_CPUS_MAX; i++) {
            frames -= (uint64_t)__atomic_load_n(&a->fast[i].n[order], __ATOMIC_RELAXED) << order;
        }
    }
    pthread_mutex_unlock(&a->lock);
    return frames;
}

aspace_pa_t arena_fast_alloc(struct arena *a, unsigned order, unsigned flags)
{
    if (order > ARENA_ORDER_MAX) {
        return ASPACE_PA_NONE;
    }
    struct arena_fast_cpu *cpu = &a->fast[aspace_linux_cpu];
    if (cpu->n[order] == 0 && !refill(a, cpu, order)) {
        return ASPACE_PA_NONE;
    }
    aspace_pa_t pa = cpu->slot[order][--cpu->n[order]];
    if (flags & ASPACE_ALLOC_ZERO) {
        zero(a, pa, order, flags);
    }
    return pa;
}

void arena_fast_free(struct arena *a, aspace_pa_t pa, unsigned order)
{
    struct arena_fast_cpu *cpu = &a->fast[aspace_linux_cpu];
    if (cpu->n[order] == 2 * batch_of(order)) {
        spill(a, cpu, order);
    }
    cpu->slot[order][cpu->n[order]++] = pa;
}

size_t arena_fast_alloc_batch(struct arena *a, aspace_pa_t *pa, size_t n, unsigned flags)
{
    struct arena_fast_cpu *cpu = &a->fast[aspace_linux_cpu];
    size_t done = 0;
    while (done < n && (cpu->n[0] || refill(a, cpu, 0))) {
        for (; done < n && cpu->n[0]; done++) {
            pa[done] = cpu->slot[0][--cpu->n[0]];
        }
    }
    for (size_t i = 0; (flags & ASPACE_ALLOC_ZERO) && i < done; i++) {
        zero(a, pa[i], 0, flags);
    }
    return done;
}

void arena_fast_free_batch(struct arena *a, const aspace_pa_t *pa, size_t n)
{
    struct arena_fast_cpu *cpu = &a->fast[aspace_linux_cpu];
    for (size_t i = 0; i < n;) {
        if (cpu->n[0] == 2 * BATCH_FRAMES) {
            spill(a, cpu, 0);
        }
        size_t room = 2 * BATCH_FRAMES - cpu->n[0];
        size_t some = n - i < room ? n - i : room;
        memcpy(cpu->slot[0] + cpu->n[0], pa + i, some * sizeof(*pa));
        cpu->n[0] += (unsigned)some;
        i += some;
    }
}
