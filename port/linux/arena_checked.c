/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The allocator for tests: every frame is in exactly one state of the ledger, everything free is full of poison, and
 * what is freed rests in quarantine first. Owns the ledger; must not know what the frames are used for. One mutex: it
 * is never held while the TLBs are asked, since they ask back for generations.
 */
#include "arena.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BITS 64u

/* ------------------------------------------------------------------------------------------------------- violations */

static const char *const violation_text[] = {
#define ARENA_X(id, text) text,
    ARENA_VIOLATIONS(ARENA_X)
#undef ARENA_X
};

static void report(struct arena *a, const char *line)
{
    if (a->config.report) {
        a->config.report(a->config.report_ctx, line);
    } else {
        fprintf(stderr, "arena: %s\n", line);
    }
}

__attribute__((format(printf, 4, 5))) static void violation(struct arena *a, enum arena_violation kind, aspace_pa_t pa,
                                                            const char *format, ...)
{
    char detail[160], line[320];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    snprintf(line, sizeof(line), "frame 0x%" PRIx64 " %s (%s)", pa, violation_text[kind], detail);
    a->violations[kind]++;
    report(a, line);
}

/* ------------------------------------------------------------------------------------------------------- the ledger */

static uint64_t bitmap_words(const struct arena *a)
{
    return (a->frames_total + BITS - 1) / BITS;
}

int arena_checked_init(struct arena *a)
{
    size_t ledger_bytes = (size_t)a->frames_total * sizeof(struct arena_frame);
    size_t map_bytes = (size_t)bitmap_words(a) * sizeof(uint64_t);
    ledger_bytes = (ledger_bytes + 63) & ~(size_t)63;
    char *side = arena_side_memory(a, ledger_bytes + map_bytes + a->config.quarantine * sizeof(uint64_t));
    if (!side) {
        return -1;
    }
    a->frame = (struct arena_frame *)(void *)side;
    a->free_map = (uint64_t *)(void *)(side + ledger_bytes);
    a->quarantine = (uint64_t *)(void *)(side + ledger_bytes + map_bytes);
    for (uint64_t n = 0; n < a->frames_total; n++) {
        a->free_map[n / BITS] |= 1ull << (n % BITS);
    }
    return 0;
}

static aspace_pa_t pa_of(const struct arena *a, uint64_t frame)
{
    return a->config.pa_base + frame * ARENA_PAGE;
}

static uint64_t frame_of(const struct arena *a, aspace_pa_t pa)
{
    return (pa - a->config.pa_base) / ARENA_PAGE;
}

static void next_generation(struct arena_frame *f)
{
    __atomic_store_n(&f->generation, f->generation + 1, __ATOMIC_RELEASE);
}

uint32_t arena_generation(const struct arena *a, aspace_pa_t pa)
{
    if (!a->frame || !arena_contains(a, pa)) {
        return 0;
    }
    return __atomic_load_n(&a->frame[frame_of(a, pa)].generation, __ATOMIC_ACQUIRE);
}

static uint64_t free_mask(unsigned order, uint64_t frame)
{
    return (order >= 6 ? UINT64_MAX : (1ull << (1u << order)) - 1) << (frame % BITS);
}

static void map_set(struct arena *a, uint64_t frame, unsigned order)
{
    for (uint64_t n = frame; n < frame + (1ull << order); n += BITS) {
        a->free_map[n / BITS] |= free_mask(order, n);
    }
    for (unsigned o = 0; o < ARENA_ORDERS; o++) {
        uint64_t run = frame & ~((1ull << o) - 1);
        a->hint[o] = run < a->hint[o] ? run : a->hint[o];
    }
}

static void map_clear(struct arena *a, uint64_t frame, unsigned order)
{
    for (uint64_t n = frame; n < frame + (1ull << order); n += BITS) {
        a->free_map[n / BITS] &= ~free_mask(order, n);
    }
}

static bool map_all_free(const struct arena *a, uint64_t frame, unsigned order)
{
    for (uint64_t n = frame; n < frame + (1ull << order); n += BITS) {
        if ((a->free_map[n / BITS] & free_mask(order, n)) != free_mask(order, n)) {
            return false;
        }
    }
    return true;
}

/* The lowest free run: low addresses are used again and again, which finds more and touches less memory. */
static bool find_run(struct arena *a, unsigned order, uint64_t *frame)
{
    uint64_t step = 1ull << order, n = a->hint[order];
    while (n + step <= a->frames_total) {
        if (n % BITS == 0 && a->free_map[n / BITS] == 0) {
            n += step > BITS ? step : BITS;
        } else if (map_all_free(a, n, order)) {
            a->hint[order] = n;
            *frame = n;
            return true;
        } else {
            n += step;
        }
    }
    a->hint[order] = n;
    return false;
}

/* ----------------------------------------------------------------------------------------------- poison, quarantine */

static bool all_bytes(const void *p, unsigned char byte)
{
    const unsigned char *bytes = p;
    return bytes[0] == byte && memcmp(bytes, bytes + 1, ARENA_PAGE - 1) == 0;
}

/* A frame never given out is zero, as the host made it; one that came back is poison. True if it is as it should be. */
static bool verify_frame(struct arena *a, uint64_t frame)
{
    unsigned char expected = a->frame[frame].generation == 0 ? 0 : ARENA_POISON;
    unsigned char *p = arena_pointer(a, pa_of(a, frame));
    if (all_bytes(p, expected)) {
        return true;
    }
    unsigned at = 0;
    while (p[at] == expected) {
        at++;
    }
    violation(a, ARENA_WRITE_AFTER_FREE, pa_of(a, frame), "byte %u is 0x%02x, generation %u", at, p[at],
              a->frame[frame].generation);
    memset(p, expected, ARENA_PAGE); /* said once */
    return false;
}

static void make_free(struct arena *a, uint64_t frame)
{
    a->frame[frame].state = ARENA_STATE_FREE;
    map_set(a, frame, 0);
}

static void quarantine_pop(struct arena *a)
{
    uint64_t frame = a->quarantine[a->quarantine_head];
    a->quarantine_head = (a->quarantine_head + 1) % a->config.quarantine;
    a->quarantine_count--;
    make_free(a, frame);
}

static void quarantine_push(struct arena *a, uint64_t frame)
{
    if (a->quarantine_count == a->config.quarantine) {
        quarantine_pop(a);
    }
    a->quarantine[(a->quarantine_head + a->quarantine_count) % a->config.quarantine] = frame;
    a->quarantine_count++;
    a->frame[frame].state = ARENA_STATE_QUARANTINED;
}

/* ------------------------------------------------------------------------------------------------------- allocation */

static bool must_fail(struct arena *a)
{
    uint64_t call = ++a->counts.calls;
    return call >= a->fail_at && call < a->fail_until;
}

static void own(struct arena *a, uint64_t frame, unsigned order, unsigned flags)
{
    uint64_t n = 1ull << order;
    map_clear(a, frame, order);
    for (uint64_t i = frame; i < frame + n; i++) {
        struct arena_frame *f = &a->frame[i];
        bool fresh = f->generation == 0;
        bool clean = verify_frame(a, i);
        f->state = ARENA_STATE_ALLOCATED;
        f->order = (uint8_t)order;
        f->table = (flags & ASPACE_ALLOC_TABLE) != 0;
        next_generation(f);
        if (flags & ASPACE_ALLOC_ZERO ? !fresh || !clean : fresh) {
            memset(arena_pointer(a, pa_of(a, i)), flags & ASPACE_ALLOC_ZERO ? 0 : ARENA_POISON, ARENA_PAGE);
        }
    }
    a->bump = frame + n > a->bump ? frame + n : a->bump;
    a->counts.frames += n;
    a->counts.peak = a->counts.frames > a->counts.peak ? a->counts.frames : a->counts.peak;
    *(flags & ASPACE_ALLOC_TABLE ? &a->counts.tables : &a->counts.data) += n;
}

/* The quarantine is no reason to be out of memory: it is given up before an allocation fails. */
static bool find_or_release(struct arena *a, unsigned order, uint64_t *frame)
{
    if (find_run(a, order, frame)) {
        return true;
    }
    if (a->quarantine_count == 0) {
        return false;
    }
    while (a->quarantine_count) {
        quarantine_pop(a);
    }
    return find_run(a, order, frame);
}

aspace_pa_t arena_checked_alloc(struct arena *a, unsigned order, unsigned flags)
{
    uint64_t frame = 0;
    pthread_mutex_lock(&a->lock);
    bool found = !must_fail(a) && order <= ARENA_ORDER_MAX && find_or_release(a, order, &frame);
    if (found) {
        own(a, frame, order, flags);
    } else {
        a->counts.failed++;
    }
    pthread_mutex_unlock(&a->lock);
    return found ? pa_of(a, frame) : ASPACE_PA_NONE;
}

/* ---------------------------------------------------------------------------------------------------------- freeing */

/* Is [pa, pa + 2^order frames) in its entirety one aligned piece of something allocated? Else say what is wrong. */
static bool may_free(struct arena *a, aspace_pa_t pa, unsigned order)
{
    uint64_t bytes = (uint64_t)ARENA_PAGE << (order & 31);
    if (order > ARENA_ORDER_MAX || !arena_contains(a, pa) || !arena_contains(a, pa + bytes - 1)) {
        violation(a, ARENA_OUTSIDE, pa, "order %u", order);
        return false;
    }
    if (pa & (bytes - 1)) {
        violation(a, ARENA_UNALIGNED, pa, "order %u", order);
        return false;
    }
    for (uint64_t i = frame_of(a, pa), end = i + (1ull << order); i < end; i++) {
        const struct arena_frame *f = &a->frame[i];
        if (f->state != ARENA_STATE_ALLOCATED) {
            violation(a, f->generation ? ARENA_DOUBLE_FREE : ARENA_NEVER_ALLOCATED, pa_of(a, i),
                      "order %u at 0x%" PRIx64 ", generation %u", order, pa, f->generation);
            return false;
        }
        if (f->order < order) {
            violation(a, ARENA_WRONG_ORDER, pa_of(a, i), "order %u, allocated with %u", order, f->order);
            return false;
        }
    }
    return true;
}

static void disown(struct arena *a, aspace_pa_t pa, unsigned order)
{
    memset(arena_pointer(a, pa), ARENA_POISON, (size_t)ARENA_PAGE << order);
    for (uint64_t i = frame_of(a, pa), end = i + (1ull << order); i < end; i++) {
        struct arena_frame *f = &a->frame[i];
        next_generation(f);
        *(f->table ? &a->counts.tables : &a->counts.data) -= 1;
        a->counts.frames--;
        quarantine_push(a, i);
    }
}

void arena_checked_free(struct arena *a, aspace_pa_t pa, unsigned order)
{
    char why[128] = "";
    bool held = a->held && order <= ARENA_ORDER_MAX &&
                a->held(a->held_ctx, pa, (uint64_t)ARENA_PAGE << order, why, sizeof(why));
    pthread_mutex_lock(&a->lock);
    if (may_free(a, pa, order)) {
        if (held) {
            violation(a, ARENA_HELD, pa, "%s", why);
        }
        disown(a, pa, order);
    }
    pthread_mutex_unlock(&a->lock);
}

/* ----------------------------------------------------------------------------------------------- what tests ask for */

static void fail_between(struct arena *a, uint64_t n, uint64_t count)
{
    pthread_mutex_lock(&a->lock);
    a->fail_at = n ? a->counts.calls + n : 0;
    a->fail_until = n ? (count == UINT64_MAX ? UINT64_MAX : a->fail_at + count) : 0;
    pthread_mutex_unlock(&a->lock);
}

void arena_fail_nth(struct arena *a, uint64_t n)
{
    fail_between(a, n, 1);
}

void arena_fail_from(struct arena *a, uint64_t n)
{
    fail_between(a, n, UINT64_MAX);
}

void arena_set_held(struct arena *a, arena_held_fn *held, void *ctx)
{
    pthread_mutex_lock(&a->lock);
    a->held = held;
    a->held_ctx = ctx;
    pthread_mutex_unlock(&a->lock);
}

/* Frames never given out are not looked at: reading them would make the host touch all of the arena. */
uint64_t arena_verify_free(struct arena *a)
{
    uint64_t found = 0;
    if (!a->frame) {
        return 0;
    }
    pthread_mutex_lock(&a->lock);
    for (uint64_t i = 0; i < a->bump; i++) {
        if (a->frame[i].state != ARENA_STATE_ALLOCATED && a->frame[i].generation != 0) {
            found += !verify_frame(a, i);
        }
    }
    pthread_mutex_unlock(&a->lock);
    return found;
}
