/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading and writing memory by input address. Reads copy inside a read section, so that no frame is recycled under
 * them; a writer holds the lock of the table that maps the page, so that no store goes to a frame that was just copied
 * away. Must not know any entry's bits, nor how a fault is handled.
 */
#include <aspace/memory.h>

#include "pt/gate.h"
#include "pt/walk.h"
#include "space/space.h"
#include "sync/bits.h"

enum {
    WRITE_BYTES = 64 << 10, /* copied under one lock */
    READ_BYTES = 1 << 20,   /* copied in one read section: grace periods wait for it */
};

/* Beside aspace_error. */
enum {
    REACH_FAULT = 1, /* no leaf there that allows the access: ask for one */
    REACH_AGAIN = 2, /* a change is in flight: leave the section and look again */
};

int space_fault_error(enum aspace_fault_result result)
{
    switch (result) {
    case ASPACE_FAULT_DONE:
    case ASPACE_FAULT_SPURIOUS:
    case ASPACE_FAULT_RETRY: return ASPACE_E_OK;
    case ASPACE_FAULT_NO_AREA: return ASPACE_E_NOT_MAPPED;
    case ASPACE_FAULT_GUARD:
    case ASPACE_FAULT_PERMISSION: return ASPACE_E_PERMISSION;
    case ASPACE_FAULT_NO_MEMORY: return ASPACE_E_NO_MEMORY;
    case ASPACE_FAULT_CLOSED: return ASPACE_E_CLOSED;
    default: /* TRAP, BUS, WOULD_BLOCK, NEEDS_IO */ return ASPACE_E_FAULT;
    }
}

/* Does the slot allow the access? */
static inline int judge(const struct pt *pt, const struct walk *w, uint32_t access)
{
    if (LIKELY(w->kind == SLOT_LEAF))
        return access & ~fmt_leaf_rights(pt->F, &pt->C, w->e) ? REACH_FAULT : ASPACE_E_OK;
    return w->kind == SLOT_BUSY ? REACH_AGAIN : REACH_FAULT;
}

/* Walk to the leaf for va. Inside a section. */
static int reach(const struct aspace *s, aspace_va_t va, uint32_t access, struct walk *w)
{
    if (UNLIKELY(!space_contains(s, va)))
        return ASPACE_E_RANGE;
    for (unsigned spins = 0;; spins++) {
        walk_any(&s->pt, va, w);
        int rc = judge(&s->pt, w, access);
        if (LIKELY(rc != REACH_AGAIN) || spins == WALK_SPINS)
            return rc;
        aspace_pause();
    }
}

/* What to do about a reach that was not OK: OK means look again. *rounds bounds how often, as long as nothing moves. */
static int resolve(struct aspace *s, aspace_va_t va, uint32_t access, int rc, unsigned *rounds)
{
    if (rc < 0)
        return rc;
    if (++*rounds > WALK_ROUNDS)
        return ASPACE_E_RETRY;
    if (rc != REACH_FAULT)
        return ASPACE_E_OK;
    enum aspace_fault_result r = aspace_fault(s, va, access, NULL);
    return r == ASPACE_FAULT_RETRY && !gate_is_open(&s->pt) ? ASPACE_E_RETRY : space_fault_error(r);
}

static aspace_pa_t leaf_pa(const struct pt *pt, const struct walk *w, aspace_va_t va)
{
    return fmt_output(pt->F, &pt->C, w->level, w->e, w->index) + (va & (slot_span(pt->F, w->level) - 1));
}

/* Bytes from va to the end of the slot, at most n. */
static size_t clip(const struct pt *pt, const struct walk *w, aspace_va_t va, size_t n)
{
    uint64_t span = slot_span(pt->F, w->level), left = span - (va & (span - 1));
    return left < n ? (size_t)left : n;
}

/* --------------------------------------------------------------------------------------------------------- reading */

/* As much as one section may take; adds to *done. */
static int read_some(struct aspace *s, aspace_va_t va, char *to, size_t n, size_t *done)
{
    const struct pt *pt = &s->pt;
    struct walk w;
    size_t end = n - *done > READ_BYTES ? *done + READ_BYTES : n;
    int rc = ASPACE_E_OK;
    smr_enter(pt->host);
    while (*done < end && (rc = reach(s, va + *done, ASPACE_R, &w)) == ASPACE_E_OK) {
        size_t bytes = clip(pt, &w, va + *done, end - *done);
        seam_copy(to + *done, aspace_phys_to_virt(leaf_pa(pt, &w, va + *done)), bytes);
        *done += bytes;
    }
    smr_leave(pt->host);
    return rc;
}

int aspace_read(struct aspace *s, aspace_va_t va, void *buffer, size_t n, size_t *done)
{
    size_t copied = 0, before = 0;
    unsigned rounds = 0;
    int rc = space_is_open(s) ? ASPACE_E_OK : ASPACE_E_CLOSED;
    aspace_trace(read, s, va, n);
    while (rc == ASPACE_E_OK && copied < n) {
        rc = read_some(s, va, buffer, n, &copied);
        if (copied != before)
            rounds = 0;
        before = copied;
        rc = resolve(s, va + copied, ASPACE_R, rc, &rounds);
    }
    if (done)
        *done = copied;
    return rc;
}

/* --------------------------------------------------------------------------------------------------------- writing */

/* What is to be done to memory that is writable and stays so meanwhile. */
struct store {
    const char *from; /* copy `bytes`; NULL: compare and exchange */
    size_t bytes;
    uint64_t expected, desired;
    bool swapped;
};

/* Compare and exchange the bits of *p that are in mask. Narrow widths go through the word around them, since not every
 * machine has atomic bytes; a change beside them is not a failure. */
static void exchange_masked(struct store *x, uint32_t *p, uint32_t mask, unsigned shift)
{
    uint32_t expected = (uint32_t)x->expected << shift & mask, desired = (uint32_t)x->desired << shift & mask;
    uint32_t old = seam_memory_load(p);
    do
        x->swapped = (old & mask) == expected;
    while (x->swapped && !seam_memory_cas(p, &old, (old & ~mask) | desired));
    x->expected = (old & mask) >> shift;
}

static void exchange(struct store *x, void *p)
{
    uintptr_t at = (uintptr_t)p;
    if (x->bytes == 8)
        x->swapped = seam_memory_cas((uint64_t *)p, &x->expected, x->desired);
    else if (x->bytes == 4)
        exchange_masked(x, p, UINT32_MAX, 0);
    else
        exchange_masked(x, (uint32_t *)(at & ~(uintptr_t)3), ((1u << 8 * x->bytes) - 1) << 8 * (at & 3),
                        8 * (unsigned)(at & 3));
}

/* Returns whether memory changed. */
static bool store(struct store *x, void *p)
{
    if (x->from)
        seam_copy(p, x->from, x->bytes);
    else
        exchange(x, p);
    return x->from || x->swapped;
}

/* Hardware sets these flags meanwhile (T10), hence the loop. */
static void mark_dirty(const struct pt *pt, uint64_t *slot, uint64_t e)
{
    if (!(pt->C.features & ASPACE_FEAT_AD))
        return;
    while (!fmt_dirty(pt->F, e) || !fmt_accessed(pt->F, e))
        if (slot_cas(slot, &e, fmt_with_ad(pt->F, e, true, true)))
            return;
}

/* Re-check the slot under the lock of its table, where nobody takes the leaf or its rights away, and store. */
static int store_locked(const struct pt *pt, aspace_va_t va, struct walk *w, struct store *x)
{
    struct node *n = walk_node(pt, w->slots);
    int rc = REACH_AGAIN;
    seam_lock(&n->lock, host_lock_tag());
    if (LIKELY(!n->stale)) {
        w->e = slot_load(w->slots + w->index);
        w->kind = slot_kind(pt->F, w->level, w->e);
        if (LIKELY(w->kind == SLOT_LEAF))
            rc = judge(pt, w, ASPACE_W);
    }
    if (LIKELY(rc == ASPACE_E_OK) && store(x, aspace_phys_to_virt(leaf_pa(pt, w, va))))
        mark_dirty(pt, w->slots + w->index, w->e);
    seam_unlock(&n->lock);
    return rc;
}

/* One store that does not reach over a leaf's end; x->bytes is cut down to that. */
static int write_once(struct aspace *s, aspace_va_t va, struct store *x)
{
    struct walk w;
    smr_enter(s->pt.host);
    int rc = gate_is_open(&s->pt) ? reach(s, va, ASPACE_W, &w) : ASPACE_E_RETRY;
    if (rc == ASPACE_E_OK) {
        x->bytes = clip(&s->pt, &w, va, x->bytes);
        rc = store_locked(&s->pt, va, &w, x);
    }
    smr_leave(s->pt.host);
    return rc;
}

static int write_through(struct aspace *s, aspace_va_t va, struct store *x)
{
    unsigned rounds = 0;
    for (;;) {
        int rc = write_once(s, va, x);
        if (LIKELY(rc == ASPACE_E_OK))
            return rc;
        rc = resolve(s, va, ASPACE_W, rc, &rounds);
        if (rc)
            return rc;
    }
}

int aspace_write(struct aspace *s, aspace_va_t va, const void *buffer, size_t n, size_t *done)
{
    size_t copied = 0;
    int rc = space_is_open(s) ? ASPACE_E_OK : ASPACE_E_CLOSED;
    aspace_trace(write, s, va, n);
    while (rc == ASPACE_E_OK && copied < n) {
        size_t left = n - copied;
        struct store x = {.from = (const char *)buffer + copied, .bytes = left < WRITE_BYTES ? left : WRITE_BYTES};
        rc = write_through(s, va + copied, &x);
        if (rc == ASPACE_E_OK)
            copied += x.bytes;
    }
    if (done)
        *done = copied;
    return rc;
}

int aspace_compare_exchange(struct aspace *s, aspace_va_t va, unsigned width, uint64_t *expected, uint64_t desired,
                            bool *swapped)
{
    *swapped = false;
    if ((width != 1 && width != 2 && width != 4 && width != 8) || va & (width - 1))
        return ASPACE_E_INVALID;
    if (!space_is_open(s))
        return ASPACE_E_CLOSED;
    aspace_trace(compare_exchange, s, va, width);
    struct store x = {.bytes = width, .expected = *expected, .desired = desired};
    int rc = write_through(s, va, &x);
    if (rc == ASPACE_E_OK) {
        *expected = x.expected;
        *swapped = x.swapped;
    }
    return rc;
}

/* -------------------------------------------------------------------------------------------------------- segments */

/* A list of segments in the making. */
struct cover {
    const struct pt *pt;
    aspace_va_t va; /* covered up to here */
    size_t left;
    uint32_t access;
    bool full;
    aspace_pa_t pa; /* one past the last segment's: what begins there is joined */
    struct aspace_segment *next, *end;
};

static inline __attribute__((always_inline)) void cover_add(struct cover *c, aspace_pa_t pa, size_t bytes)
{
    if (pa == c->pa) {
        c->next[-1].bytes += bytes;
    } else if (UNLIKELY(c->next == c->end)) {
        c->full = true;
        return;
    } else {
        *c->next++ = (struct aspace_segment){aspace_phys_to_virt(pa), pa, bytes};
    }
    c->pa = pa + bytes;
    c->va += bytes;
    c->left -= bytes;
}

/* The pages of one level-0 table, from the slot walked to, as long as they allow the access. A local copy, so that the
 * state stays in registers while segments are stored. */
static inline __attribute__((always_inline)) void cover_pages(const struct fmt *const F, struct cover *cover,
                                                              const struct walk *w)
{
    struct cover c = *cover;
    const struct fmt_ctx *C = &c.pt->C;
    for (unsigned i = w->index, end = 1u << F->bits[0]; i < end && c.left && !c.full; i++) {
        uint64_t e = slot_load(w->slots + i), offset = c.va & 4095;
        if (UNLIKELY(!fmt_present(F, 0, e) || c.access & ~fmt_leaf_rights(F, C, e)))
            break;
        cover_add(&c, fmt_output(F, C, 0, e, i) + offset, c.left < 4096 - offset ? c.left : 4096 - offset);
    }
    *cover = c;
}

static void cover_table(struct cover *c, const struct walk *w)
{
    switch (c->pt->F->id) {
#define ASPACE_X(id, name)                                                                                             \
    case ASPACE_FMT_##id: cover_pages(&fmt_const_##id, c, w); break;
        ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X
    default: break;
    }
}

static void cover_some(struct cover *c, const struct walk *w)
{
    if (w->level)
        cover_add(c, leaf_pa(c->pt, w, c->va), clip(c->pt, w, c->va, c->left));
    else
        cover_table(c, w);
}

static int cover_all(struct aspace *s, struct cover *c)
{
    unsigned rounds = 0;
    struct walk w;
    while (c->left && !c->full) {
        size_t before = c->left;
        bool shut = c->access & ASPACE_W && !gate_is_open(c->pt);
        int rc = shut ? ASPACE_E_RETRY : reach(s, c->va, c->access, &w);
        if (LIKELY(rc == ASPACE_E_OK))
            cover_some(c, &w);
        if (LIKELY(c->left != before || c->full)) {
            rounds = 0;
            continue;
        }
        rc = resolve(s, c->va, c->access, rc, &rounds);
        if (rc)
            return rc;
    }
    return c->full ? ASPACE_E_LIMIT : ASPACE_E_OK;
}

int aspace_segments(struct aspace *s, aspace_va_t va, size_t n, uint32_t access, struct aspace_segment *segments,
                    size_t *count, size_t *done)
{
    struct cover c = {.pt = &s->pt,
                      .va = va,
                      .left = n,
                      .access = access & ASPACE_RWX,
                      .pa = ASPACE_PA_NONE,
                      .next = segments,
                      .end = segments + *count};
    int rc = !c.access ? ASPACE_E_INVALID : !space_is_open(s) ? ASPACE_E_CLOSED : ASPACE_E_OK;
    aspace_trace(segments, s, va, n);
    if (rc == ASPACE_E_OK)
        rc = cover_all(s, &c);
    *count = (size_t)(c.next - segments);
    if (done)
        *done = n - c.left;
    return rc;
}
