/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pinning pages for devices, and telling their mirror. A pin is made under the lock of the table that maps the page, so
 * that whoever takes the frame away sees it before or after. Must not know an entry's bits, nor where pins are counted.
 */
#include <aspace/pin.h>

#include "pt/gate.h"
#include "pt/pins.h"
#include "pt/walk.h"
#include "space/space.h"

/* Beside aspace_error: what to do before looking again. */
enum { PIN_FAULT = 1, PIN_COPY = 2, PIN_AGAIN = 3, PIN_ROOM = 4 };

/* The page at va, the lock of its table held. PIN_ROOM: for the count of *pa, which is *room if there is some. */
static int pin_leaf(const struct pt *pt, const struct node *n, aspace_va_t va, uint32_t access, aspace_pa_t *room)
{
    const struct fmt *F = pt->F;
    unsigned i = slot_index(F, n->level, va);
    uint64_t e = slot_load(node_slots(n) + i), span = slot_span(F, n->level);
    enum slot_kind kind = slot_kind(F, n->level, e);
    if (kind != SLOT_LEAF || access & ~fmt_leaf_rights(F, &pt->C, e))
        return kind == SLOT_TABLE || kind == SLOT_BUSY ? PIN_AGAIN : PIN_FAULT;
    value_t v = node_value(n, i);
    enum frame_owner owner = area_frame_owner(value_area(pt->host, v), fmt_soft(F, e));
    if (owner == FRAME_BACKEND)
        return ASPACE_E_UNSUPPORTED;
    if (owner == FRAME_COUNTED && VALUE_RIGHTS(v) & ASPACE_W)
        return PIN_COPY;
    aspace_pa_t pa = fmt_output(F, &pt->C, n->level, e, i) + (va & (span - 1));
    if (*room != pa) {
        *room = pa;
        return PIN_ROOM;
    }
    return pins_add(pt->host, pa);
}

static int pin_step(struct aspace *s, aspace_va_t va, uint32_t access, aspace_pa_t *room)
{
    struct pt *pt = &s->pt;
    struct walk w;
    int rc = PIN_AGAIN;
    gate_enter(pt);
    walk_any(pt, va, &w);
    struct node *n = walk_node(pt, w.slots);
    seam_lock(&n->lock, host_lock_tag());
    if (LIKELY(!n->stale))
        rc = pin_leaf(pt, n, va, access, room);
    seam_unlock(&n->lock);
    smr_leave(pt->host);
    return rc;
}

static int pin_page(struct aspace *s, aspace_va_t va, uint32_t access, aspace_pa_t *pa)
{
    *pa = ASPACE_PA_NONE;
    for (unsigned round = 0; round < WALK_ROUNDS; round++) {
        int rc = pin_step(s, va, access, pa);
        switch (rc) {
        case PIN_FAULT: rc = space_fault_error(aspace_fault(s, va, access, NULL)); break;
        case PIN_COPY:
            rc = pt_cow(&s->pt, va, access);
            rc = rc == ASPACE_E_RETRY ? ASPACE_E_OK : rc; /* another CPU was faster */
            break;
        case PIN_ROOM: rc = pins_prepare(s->pt.host, *pa); break;
        case PIN_AGAIN:
            rc = ASPACE_E_OK;
            aspace_pause();
            break;
        default: return rc;
        }
        if (rc)
            return rc;
    }
    return ASPACE_E_RETRY;
}

/* ------------------------------------------------------------------------------------------------------ the mirror */

/* Bytes from page i on whose frames are contiguous. */
static uint64_t stretch(const aspace_pa_t *pages, uint64_t i, uint64_t n)
{
    uint64_t k = i + 1;
    while (k < n && pages[k] == pages[k - 1] + 4096)
        k++;
    return (k - i) << 12;
}

static void mirror_unmap(const struct aspace *s, aspace_va_t va, uint64_t size)
{
    if (s->mirror && s->mirror->unmap && size)
        s->mirror->unmap(s->mirror_ctx, va, size);
}

static int mirror_map(const struct aspace *s, aspace_va_t va, uint64_t size, uint32_t access, const aspace_pa_t *pages)
{
    if (!s->mirror || !s->mirror->map)
        return ASPACE_E_OK;
    for (uint64_t done = 0, bytes; done < size; done += bytes) {
        bytes = stretch(pages, done >> 12, size >> 12);
        int rc = s->mirror->map(s->mirror_ctx, va + done, pages[done >> 12], bytes, access);
        if (rc) {
            mirror_unmap(s, va, done);
            return rc;
        }
    }
    return ASPACE_E_OK;
}

int aspace_set_mirror(struct aspace *s, const struct aspace_mirror *mirror, void *ctx)
{
    if (seam_load(&s->pinned))
        return ASPACE_E_BUSY;
    s->mirror = mirror;
    s->mirror_ctx = ctx;
    return ASPACE_E_OK;
}

/* ------------------------------------------------------------------------------------------------------- the calls */

/* INVALID: a page is not pinned, and all before it are no longer. */
static int drop(struct aspace *s, const aspace_pa_t *pages, uint64_t count)
{
    uint64_t n = 0;
    while (n < count && pins_drop(s->pt.host, pages[n]) == ASPACE_E_OK)
        n++;
    seam_add(&s->pinned, 0 - n);
    return n == count ? ASPACE_E_OK : ASPACE_E_INVALID;
}

int aspace_pin(struct aspace *s, aspace_va_t va, uint64_t size, uint32_t access, aspace_pa_t *pages)
{
    int rc = space_check_range(s, va, size);
    if (!rc && (!pages || !access || access & ~(uint32_t)ASPACE_RW))
        rc = ASPACE_E_INVALID;
    if (rc)
        return rc;
    aspace_trace(pin, s, va, size);
    uint64_t n = 0;
    while (n < size >> 12 && (rc = pin_page(s, va + (n << 12), access, &pages[n])) == ASPACE_E_OK) {
        seam_add(&s->pinned, 1);
        n++;
    }
    if (rc == ASPACE_E_OK)
        rc = mirror_map(s, va, size, access, pages);
    if (rc)
        (void)drop(s, pages, n);
    return rc;
}

int aspace_unpin(struct aspace *s, aspace_va_t va, uint64_t size, const aspace_pa_t *pages)
{
    if (!pages || !size || (va | size) & 4095 || !aspace_contains(s, va, size))
        return ASPACE_E_INVALID;
    if (seam_load(&s->pinned) < size >> 12)
        return ASPACE_E_INVALID;
    for (uint64_t i = 0; i < size >> 12; i++)
        if (pages[i] & 4095 || pages[i] >= s->pt.C.pa_end || !pins_any(s->pt.host, pages[i], 0))
            return ASPACE_E_INVALID;
    aspace_trace(unpin, s, va, size);
    mirror_unmap(s, va, size);
    return drop(s, pages, size >> 12);
}
