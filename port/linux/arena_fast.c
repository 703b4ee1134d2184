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
            struct arena_stack *stack = &a->fast[i].stack[order];
            stack->slot = at;
            stack->most = 2 * batch_of(order);
            at += stack->most;
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

static __attribute__((noinline)) bool refill(struct arena *a, struct arena_stack *stack, unsigned order)
{
    aspace_pa_t *pa = stack->slot;
    pthread_mutex_lock(&a->lock);
    unsigned n = take_from_depot(a, order, pa);
    if (n == 0) {
        n = take_from_bump(a, order, pa);
    }
    if (n == 0 && (pa[0] = split_one(a, order)) != ASPACE_PA_NONE) {
        n = 1;
    }
    pthread_mutex_unlock(&a->lock);
    stack->n = n;
    return n != 0;
}

/* The older half goes: what was freed last is likely still in the cache. */
static __attribute__((noinline)) void spill(struct arena *a, struct arena_stack *stack, unsigned order)
{
    unsigned n = batch_of(order);
    struct arena_depot *depot = &a->depot[order];
    pthread_mutex_lock(&a->lock);
    memcpy(depot->slot + depot->n, stack->slot, n * sizeof(*stack->slot));
    depot->n += n;
    pthread_mutex_unlock(&a->lock);
    memmove(stack->slot, stack->slot + n, n * sizeof(*stack->slot));
    stack->n -= n;
}

static bool is_zeroed(const struct arena *a, unsigned flags)
{
    return (flags & ASPACE_ALLOC_ZERO) && (!a->config.skip_zeroing || (flags & ASPACE_ALLOC_TABLE));
}

static __attribute__((noinline)) aspace_pa_t zero(struct arena *a, aspace_pa_t pa, unsigned order)
{
    memset(arena_pointer(a, pa), 0, (size_t)ARENA_PAGE << order);
    return pa;
}

/* All that was ever taken from the bump pointer less what lies in a stack or depot. Exact when nothing runs. */
uint64_t arena_fast_frames(struct arena *a)
{
    pthread_mutex_lock(&a->lock);
    uint64_t frames = a->bump;
    for (unsigned order = 0; order < ARENA_ORDERS; order++) {
        frames -= a->depot[order].n << order;
        for (unsigned i = 0; i < ARENA_CPUS_MAX; i++) {
            frames -= (uint64_t)__atomic_load_n(&a->fast[i].stack[order].n, __ATOMIC_RELAXED) << order;
        }
    }
    pthread_mutex_unlock(&a->lock);
    return frames;
}

static inline struct arena_stack *stack_of(const struct arena *a, unsigned order)
{
    return &a->fast[aspace_linux_cpu].stack[order];
}

/* What is not common is called last, so that the common case saves no register. */
static __attribute__((noinline)) aspace_pa_t alloc_refilled(struct arena *a, unsigned order, unsigned flags)
{
    if (order > ARENA_ORDER_MAX || !refill(a, stack_of(a, order), order)) {
        return ASPACE_PA_NONE;
    }
    return arena_fast_alloc(a, order, flags);
}

aspace_pa_t arena_fast_alloc(struct arena *a, unsigned order, unsigned flags)
{
    struct arena_stack *stack = stack_of(a, order <= ARENA_ORDER_MAX ? order : 0);
    if (__builtin_expect(stack->n == 0 || order > ARENA_ORDER_MAX, 0)) {
        return alloc_refilled(a, order, flags);
    }
    aspace_pa_t pa = stack->slot[--stack->n];
    return __builtin_expect(is_zeroed(a, flags), 0) ? zero(a, pa, order) : pa;
}

static __attribute__((noinline)) void free_spilled(struct arena *a, aspace_pa_t pa, unsigned order)
{
    spill(a, stack_of(a, order), order);
    arena_fast_free(a, pa, order);
}

void arena_fast_free(struct arena *a, aspace_pa_t pa, unsigned order)
{
    struct arena_stack *stack = stack_of(a, order);
    if (__builtin_expect(stack->n == stack->most, 0)) {
        free_spilled(a, pa, order);
        return;
    }
    stack->slot[stack->n++] = pa;
}

size_t arena_fast_alloc_batch(struct arena *a, aspace_pa_t *pa, size_t n, unsigned flags)
{
    struct arena_stack *stack = stack_of(a, 0);
    size_t done = 0;
    while (done < n && (stack->n || refill(a, stack, 0))) {
        for (; done < n && stack->n; done++) {
            pa[done] = stack->slot[--stack->n];
        }
    }
    for (size_t i = 0; is_zeroed(a, flags) && i < done; i++) {
        zero(a, pa[i], 0);
    }
    return done;
}

void arena_fast_free_batch(struct arena *a, const aspace_pa_t *pa, size_t n)
{
    struct arena_stack *stack = stack_of(a, 0);
    for (size_t i = 0; i < n;) {
        if (stack->n == stack->most) {
            spill(a, stack, 0);
        }
        size_t room = stack->most - stack->n;
        size_t some = n - i < room ? n - i : room;
        memcpy(stack->slot + stack->n, pa + i, some * sizeof(*pa));
        stack->n += (unsigned)some;
        i += some;
    }
}
