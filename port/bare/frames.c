/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All that an embedder must supply at run time: frames. A bump pointer over a static array, and a list of free frames
 * for each order, linked through the frames. One CPU and no interrupts, so no lock. No CPU walks these tables, so there
 * is no TLB to flush and tlb_flush may be absent; a real port has it, or gives it as soon as it loads a root.
 */
#include "bare.h"

#include <stddef.h>

#include <aspace/port.h>

#include "mem.h"

#define FRAME_BYTES 4096u

/* Aligned for the largest order, so that offsets into it are as aligned as the addresses. */
static _Alignas(FRAME_BYTES << BARE_ORDER_MAX) unsigned char memory[BARE_FRAMES * FRAME_BYTES];
static size_t bump; /* frames from here on were never given out */
static uint64_t used;

struct free_frame {
    struct free_frame *next;
};
static struct free_frame *free_list[BARE_ORDER_MAX + 1];

static void put(void *frame, unsigned order)
{
    struct free_frame *f = frame;
    f->next = free_list[order];
    free_list[order] = f;
}

static void *take(unsigned order)
{
    struct free_frame *f = free_list[order];
    if (f) {
        free_list[order] = f->next;
        return f;
    }
    size_t size = (size_t)1 << order;
    if (bump + (-bump & (size - 1)) + size > BARE_FRAMES) {
        return NULL;
    }
    while (bump & (size - 1)) { /* what alignment skips is not lost */
        put(memory + bump++ * FRAME_BYTES, 0);
    }
    bump += size;
    return memory + (bump - size) * FRAME_BYTES;
}

static aspace_pa_t bare_alloc(void *ctx, unsigned order, unsigned flags)
{
    (void)ctx;
    void *frame = order <= BARE_ORDER_MAX ? take(order) : NULL;
    if (!frame) {
        return ASPACE_PA_NONE;
    }
    if (flags & ASPACE_ALLOC_ZERO) {
        memset(frame, 0, (size_t)FRAME_BYTES << order);
    }
    used += 1ull << order;
    return aspace_virt_to_phys(frame);
}

static void bare_free(void *ctx, aspace_pa_t pa, unsigned order)
{
    (void)ctx;
    used -= 1ull << order;
    put(aspace_phys_to_virt(pa), order);
}

uint64_t bare_frames_used(void)
{
    return used;
}

const struct aspace_hal bare_hal = {.alloc = bare_alloc, .free = bare_free};
