/* SPDX-License-Identifier: BSD-2-Clause */
/* The break and the stack: what of a process's layout grows. Owns no more than their limits; must not know anything
 * that the public headers do not say. */
#include <aspace/layout.h>

#include "sync/seam.h"

enum { PAGE_BYTES = 4096 };

static aspace_va_t page_up(aspace_va_t va)
{
    return (va + PAGE_BYTES - 1) & ~(aspace_va_t)(PAGE_BYTES - 1);
}

/* ---------------------------------------------------------------------------------------------------------- break */

static int brk_grow(const struct aspace_brk *b, aspace_va_t from, aspace_va_t to)
{
    struct aspace_map m = {
        .va = from, .size = to - from, .kind = ASPACE_KIND_LAZY, .rights = b->rights, .max_rights = b->max_rights};
    return aspace_map(b->space, &m, NULL);
}

int aspace_brk_set(struct aspace_brk *b, aspace_va_t end)
{
    if ((b->start | b->limit) & (PAGE_BYTES - 1))
        return ASPACE_E_INVALID;
    aspace_va_t now = b->end ? b->end : b->start;
    if (end < b->start || end - b->start > b->limit || page_up(end) < end)
        return ASPACE_E_LIMIT;
    aspace_va_t from = page_up(now), to = page_up(end);
    int rc = ASPACE_E_OK;
    if (to > from)
        rc = brk_grow(b, from, to);
    else if (to < from)
        rc = aspace_unmap(b->space, to, from - to);
    if (rc == ASPACE_E_OK)
        b->end = end;
    return rc;
}

/* ---------------------------------------------------------------------------------------------------------- stack */

static struct aspace_map stack_part(const struct aspace_stack *s, aspace_va_t from, aspace_va_t to)
{
    return (struct aspace_map){
        .va = from, .size = to - from, .kind = ASPACE_KIND_LAZY, .rights = s->rights, .max_rights = s->rights};
}

static struct aspace_map guard_part(aspace_va_t from, aspace_va_t to)
{
    return (struct aspace_map){.va = from, .size = to - from, .kind = ASPACE_KIND_GUARD};
}

int aspace_stack_map(struct aspace_stack *s)
{
    if (!s->size || !s->gap || s->limit < s->size || (s->top | s->size | s->limit | s->gap) & (PAGE_BYTES - 1) ||
        s->limit > s->top || s->gap > s->top - s->limit)
        return ASPACE_E_INVALID;
    aspace_va_t low = s->top - s->size;
    struct aspace_map parts[2] = {stack_part(s, low, s->top), guard_part(low - s->gap, low)};
    int rc = aspace_map_batch(s->space, parts, 2, NULL);
    if (rc)
        return rc;
    s->lock = 0;
    seam_store(&s->low, low);
    return ASPACE_E_OK;
}

/* Somebody may have mapped something else there, in place of the guard: GUARD, as where the gap is not free. */
static enum aspace_fault_result look_for_others(const struct aspace_stack *s, aspace_va_t va, aspace_va_t end)
{
    struct aspace_area area;
    int rc = ASPACE_E_OK;
    while (va < end && (rc = aspace_next(s->space, va, &area)) == ASPACE_E_OK && area.va < end) {
        if (area.kind != ASPACE_KIND_GUARD)
            return ASPACE_FAULT_GUARD;
        va = area.va + area.size;
    }
    return rc == ASPACE_E_RETRY ? ASPACE_FAULT_RETRY : ASPACE_FAULT_DONE;
}

/* The guard first, so that nothing else can come into the gap; then the stack over the upper part of it. A guard that
 * was mapped for nothing is a whole area: to unmap it cannot fail. */
static enum aspace_fault_result stack_grow(struct aspace_stack *s, aspace_va_t low)
{
    aspace_va_t now = s->low;
    struct aspace_map guard = guard_part(low - s->gap, now - s->gap), part = stack_part(s, low, now);
    enum aspace_fault_result r = look_for_others(s, now - low < s->gap ? low : now - s->gap, now);
    if (r != ASPACE_FAULT_DONE)
        return r;
    int rc = aspace_map(s->space, &guard, NULL);
    if (rc)
        return rc == ASPACE_E_EXISTS || rc == ASPACE_E_RANGE ? ASPACE_FAULT_GUARD
               : rc == ASPACE_E_CLOSED                       ? ASPACE_FAULT_CLOSED
                                                             : ASPACE_FAULT_NO_MEMORY;
    part.flags = ASPACE_MAP_REPLACE;
    rc = aspace_map(s->space, &part, NULL);
    if (rc) {
        rc = aspace_unmap(s->space, guard.va, guard.size);
        return rc == ASPACE_E_CLOSED ? ASPACE_FAULT_CLOSED : ASPACE_FAULT_NO_MEMORY;
    }
    seam_store(&s->low, low);
    return ASPACE_FAULT_DONE;
}

enum aspace_fault_result aspace_stack_fault(struct aspace_stack *s, aspace_va_t va, uint32_t access)
{
    aspace_va_t low = va & ~(aspace_va_t)(PAGE_BYTES - 1);
    enum aspace_fault_result r = ASPACE_FAULT_DONE;
    if (low < seam_load(&s->low) && !(access & ~(s->rights | ASPACE_U))) {
        if (low < s->top - s->limit)
            return ASPACE_FAULT_GUARD;
        if (!seam_trylock(&s->lock, 1))
            return ASPACE_FAULT_RETRY;
        if (low < s->low)
            r = stack_grow(s, low);
        seam_unlock(&s->lock);
    }
    return r == ASPACE_FAULT_DONE ? aspace_fault(s->space, va, access, NULL) : r;
}
