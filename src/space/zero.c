/* SPDX-License-Identifier: BSD-2-Clause */
/* Discard of areas whose object has data, so that they read zero: an area at a time. Must not know an entry's bits. */
#include "space/object.h"
#include "space/space.h"

enum { ZERO_ROUNDS = 1000 };

/* A part of the range in one area. */
struct piece {
    aspace_va_t va, end;
    struct aspace_area area;
};

/* The object with a reference, while the record that has one cannot go. */
static int next_piece(struct aspace *s, struct piece *p, aspace_va_t end)
{
    smr_enter(s->pt.host);
    int rc = aspace_query(s, p->va, &p->area);
    if (rc == ASPACE_E_OK && p->area.object)
        aspace_object_ref(p->area.object);
    smr_leave(s->pt.host);
    if (rc)
        return rc;
    aspace_va_t area_end = p->area.va + p->area.size;
    p->end = area_end < end ? area_end : end;
    return ASPACE_E_OK;
}

/* Nothing to zero. Whether that has become so is asked again for each page, under its lock. */
static bool is_past_the_end(const struct piece *p)
{
    return p->area.offset + (p->va - p->area.va) >= aspace_object_size(p->area.object);
}

/* Unfilled pages above the leaves get tables, as by a fault. */
static int zero_private(struct aspace *s, struct piece *p)
{
    int rc = ASPACE_E_OK;
    for (unsigned rounds = 0; p->va < p->end && rc == ASPACE_E_OK && !is_past_the_end(p);) {
        rc = pt_zero_page(&s->pt, p->va);
        if (rc == ASPACE_E_RETRY && rounds++ < ZERO_ROUNDS)
            rc = fault_make_tables(s, p->va) == ASPACE_FAULT_NO_MEMORY ? ASPACE_E_NO_MEMORY : ASPACE_E_OK;
        else if (rc == ASPACE_E_OK)
            rounds = 0, p->va += 4096;
    }
    return rc == ASPACE_E_NOT_MAPPED ? ASPACE_E_RETRY : rc;
}

static int zero_shared(const struct piece *p)
{
    struct aspace_object *object = p->area.object;
    uint64_t offset = p->area.offset + (p->va - p->area.va);
    if (!(p->area.rights & ASPACE_W))
        return ASPACE_E_PERMISSION; /* it would be a write to what others see */
    return object->ops->zero ? object->ops->zero(object, offset, p->end - p->va) : ASPACE_E_UNSUPPORTED;
}

static int zero_piece(struct aspace *s, struct piece *p)
{
    switch (p->area.kind) {
    case ASPACE_KIND_LAZY:
    case ASPACE_KIND_EAGER: return pt_discard(&s->pt, p->va, p->end);
    case ASPACE_KIND_PRIVATE: return zero_private(s, p);
    case ASPACE_KIND_SHARED: return zero_shared(p);
    case ASPACE_KIND_CUSTOM: return ASPACE_E_UNSUPPORTED;
    default: return ASPACE_E_OK;
    }
}

/* Over a hole; what is unmapped meanwhile is one. */
static aspace_va_t skip_hole(struct aspace *s, aspace_va_t va, aspace_va_t end)
{
    struct aspace_area area;
    if (aspace_next(s, va, &area) != ASPACE_E_OK || area.va >= end)
        return end;
    return area.va > va ? area.va : va;
}

int aspace_discard_zero(struct aspace *s, aspace_va_t va, uint64_t size, uint64_t *done)
{
    struct piece p = {.va = va};
    aspace_va_t end = va + size;
    int rc = space_check_range(s, va, size);
    unsigned rounds = 0;
    aspace_trace(discard_zero, s, va, size);
    while (rc == ASPACE_E_OK && p.va < end) {
        rc = next_piece(s, &p, end);
        if (rc == ASPACE_E_NOT_MAPPED) {
            p.va = skip_hole(s, p.va, end);
            rc = ASPACE_E_OK;
            continue;
        }
        if (rc == ASPACE_E_OK) {
            rc = zero_piece(s, &p);
            p.va = rc == ASPACE_E_OK ? p.end : p.va;
            if (p.area.object)
                aspace_object_put(p.area.object);
        }
        if (rc == ASPACE_E_RETRY && rounds++ < ZERO_ROUNDS)
            rc = ASPACE_E_OK; /* a change is in flight: look at the area again */
    }
    if (done)
        *done = p.va - va;
    return rc;
}
