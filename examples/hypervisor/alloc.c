/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the host's free frames: a buddy allocator with one lock. Every frame has one byte of state, so that a frame that
 * comes back twice, or was never given out, is noticed. Frames are poisoned when they come back: whoever still uses a
 * translation that should be gone sees garbage instead of the old contents. Knows nothing of tables or guests.
 */
#include "hyp.h"

#include <stdatomic.h>
#include <string.h>

enum { FRAME_LG2 = 12, ORDERS = 10 };
enum { STATE_TAIL = 0xfe, STATE_OUT = 0xff }; /* else: the first frame of a free run of that order */

#define LARGEST (UINT64_C(1) << (ORDERS - 1)) /* frames of the largest run */

struct free_run {
    struct free_run *next, *previous;
};

static atomic_flag lock = ATOMIC_FLAG_INIT;
static atomic_uint unpoisoned;
static struct free_run lists[ORDERS];
static uint8_t *state; /* of each frame from `base` on */
static uint64_t base, frames, free_frames, bad_frees;
static uint64_t untouched; /* frames from here on were never out and are on no list: a machine may back them lazily */

static void acquire(void)
{
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
        aspace_pause();
}

static void release(void)
{
    atomic_flag_clear_explicit(&lock, memory_order_release);
}

static struct free_run *run_at(uint64_t frame)
{
    return aspace_phys_to_virt(base + (frame << FRAME_LG2));
}

void frames_guest_gone(void)
{
    atomic_store(&unpoisoned, 1);
}

static uint64_t frame_of(const struct free_run *run)
{
    return (aspace_virt_to_phys(run) - base) >> FRAME_LG2;
}

static void put_run(uint64_t frame, unsigned order)
{
    struct free_run *run = run_at(frame);
    run->next = lists[order].next;
    run->previous = &lists[order];
    run->next->previous = run;
    lists[order].next = run;
    state[frame] = (uint8_t)order;
}

static void take_run(struct free_run *run)
{
    run->next->previous = run->previous;
    run->previous->next = run->next;
}

void frames_init(uint64_t begin, uint64_t end)
{
    uint64_t run_bytes = UINT64_C(1) << (FRAME_LG2 + ORDERS - 1);
    state = aspace_phys_to_virt(begin);
    frames = (end - begin) >> FRAME_LG2;
    base = (begin + frames + run_bytes - 1) & ~(run_bytes - 1); /* the state takes a byte a frame */
    frames = base < end ? ((end - base) >> FRAME_LG2) & ~(LARGEST - 1) : 0;
    for (unsigned order = 0; order < ORDERS; order++)
        lists[order].next = lists[order].previous = &lists[order];
    memset(state, STATE_TAIL, frames);
    free_frames = frames;
}

/* Take the smallest free run of at least that order. Its order goes to *from. NULL if there is none. */
static struct free_run *take_smallest(unsigned order, unsigned *from)
{
    for (*from = order; *from < ORDERS; ++*from) {
        struct free_run *run = lists[*from].next;
        if (run != &lists[*from]) {
            take_run(run);
            return run;
        }
    }
    if (order >= ORDERS || untouched == frames)
        return NULL;
    *from = ORDERS - 1;
    untouched += LARGEST;
    return run_at(untouched - LARGEST);
}

aspace_pa_t frames_alloc(unsigned order, unsigned flags)
{
    unsigned from;
    acquire();
    struct free_run *run = take_smallest(order, &from);
    if (!run) {
        release();
        return ASPACE_PA_NONE;
    }
    uint64_t frame = frame_of(run);
    for (; from > order; from--)
        put_run(frame + (UINT64_C(1) << (from - 1)), from - 1);
    memset(state + frame, STATE_OUT, (size_t)1 << order);
    free_frames -= UINT64_C(1) << order;
    release();
    if (flags & ASPACE_ALLOC_ZERO)
        memset(run, 0, (size_t)1 << (order + FRAME_LG2));
    return base + (frame << FRAME_LG2);
}

static void poison(uint64_t frame, unsigned order)
{
    uint64_t *word = aspace_phys_to_virt(base + (frame << FRAME_LG2));
    for (uint64_t n = (UINT64_C(1) << (order + FRAME_LG2)) / sizeof *word; n != 0; n--)
        *word++ = arch.poison;
}

static bool all_out(uint64_t frame, unsigned order)
{
    uint64_t n = UINT64_C(1) << order;
    if (frame & (n - 1) || frame >= frames || order >= ORDERS)
        return false;
    for (uint64_t i = 0; i < n; i++)
        if (state[frame + i] != STATE_OUT)
            return false;
    return true;
}

void frames_free(aspace_pa_t pa, unsigned order)
{
    uint64_t frame = (pa - base) >> FRAME_LG2; /* below base: huge, and refused */
    acquire();
    if (!all_out(frame, order)) {
        bad_frees++;
        release();
        return;
    }
    memset(state + frame, STATE_TAIL, (size_t)1 << order);
    release();
    if (!atomic_load_explicit(&unpoisoned, memory_order_relaxed))
        poison(frame, order);
    acquire();
    free_frames += UINT64_C(1) << order;
    for (; order + 1 < ORDERS && state[frame ^ (UINT64_C(1) << order)] == order; order++) {
        uint64_t buddy = frame ^ (UINT64_C(1) << order);
        take_run(run_at(buddy));
        state[buddy] = STATE_TAIL;
        frame &= ~(UINT64_C(1) << order);
    }
    put_run(frame, order);
    release();
}

uint64_t frames_free_count(void)
{
    acquire();
    uint64_t count = free_frames;
    release();
    return count;
}

uint64_t frames_bad_frees(void)
{
    return bad_frees;
}
