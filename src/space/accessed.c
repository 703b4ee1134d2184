/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Harvest of accessed flags. Lock-free: a flag is cleared by compare-and-swap from the exact entry, so that nothing
 * else that happens to the entry meanwhile is lost, and inside a section, so that no freed table is touched. Must not
 * know an entry's bits.
 */
#include "pt/gather.h"
#include "pt/walk.h"
#include "space/space.h"

#include "sync/bits.h"

struct harvest {
    struct pt *pt;
    aspace_va_t base, end; /* of the range */
    uint64_t *bitmap;
    uint64_t count;
    struct gather g;
};

/* The flag of a slot, cleared if `clear`. */
static bool take_flag(const struct pt *pt, unsigned level, uint64_t *slot, unsigned clear)
{
    const struct fmt *F = pt->F;
    uint64_t e = slot_load(slot), without;
    do {
        bool leaf = fmt_present(F, level, e) && !(level && fmt_is_table(F, level, e));
        bool parked = !leaf && !fmt_present(F, level, e) && slot_absent_kind(e) == SLOT_PARKED;
        if (!(leaf && fmt_accessed(F, e)) && !(parked && e & SLOT_PARKED_A))
            return false;
        without = leaf ? fmt_with_ad(F, e, false, fmt_dirty(F, e)) : e & ~SLOT_PARKED_A;
    } while (clear && !slot_cas(slot, &e, without));
    return true;
}

/* Pages [va, end) are one leaf's, or one run's. */
static void mark(struct harvest *h, aspace_va_t va, aspace_va_t end)
{
    for (; va < end; va += 4096) {
        uint64_t n = (va - h->base) >> 12, bit = 1ull << (n % 64);
        h->count += !(h->bitmap[n / 64] & bit);
        h->bitmap[n / 64] |= bit;
    }
}

/* One leaf, or one run of leaves, that begins at slot i and va. Hardware may set the flag in any member of a run. */
static void harvest_unit(struct harvest *h, const struct walk *w, unsigned i, unsigned members, aspace_va_t va)
{
    uint64_t span = slot_span(h->pt->F, w->level), bytes = members * span;
    unsigned whole = va >= h->base && h->end - va >= bytes;
    bool any = false;
    for (unsigned k = 0; k < members; k++)
        any |= take_flag(h->pt, w->level, w->slots + i + k, whole);
    if (!any)
        return;
    mark(h, va < h->base ? h->base : va, h->end - va < bytes ? h->end : va + bytes);
    if (!whole)
        return;
    pt_clean(h->pt, w->slots + i, members * sizeof *w->slots);
    gather_flush_range(&h->g, va, va + bytes, w->level, members);
}

/* The slots of one table from that of va on; returns where to go on, which is not further where a slot has just become
 * a table. Inside a section. */
static aspace_va_t harvest_table(struct harvest *h, aspace_va_t va)
{
    const struct fmt *F = h->pt->F;
    struct walk w;
    walk_any(h->pt, va, &w);
    uint64_t span = slot_span(F, w.level);
    unsigned i = w.index, end = node_entries(F, w.level), run = w.level ? 1 : 1u << h->pt->C.run_lg2;
    for (va &= ~(span - 1); i < end && va < h->end; i++, va += span) {
        uint64_t e = slot_load(w.slots + i);
        bool leaf = fmt_present(F, w.level, e);
        if (leaf && w.level && fmt_is_table(F, w.level, e))
            break;
        unsigned members = leaf && run > 1 && fmt_in_run(F, e) ? run : 1, back = i & (members - 1);
        harvest_unit(h, &w, i - back, members, va - back * span);
        i += members - 1 - back;
        va += (members - 1 - back) * span;
    }
    return va;
}

int aspace_harvest_accessed(struct aspace *s, aspace_va_t va, uint64_t size, uint64_t *bitmap, uint64_t *accessed)
{
    struct harvest h = {.pt = &s->pt, .base = va, .end = va + size, .bitmap = bitmap};
    int rc = bitmap ? space_check_range(s, va, size) : ASPACE_E_INVALID;
    if (rc)
        return rc;
    if (!(s->pt.C.features & ASPACE_FEAT_AD))
        return ASPACE_E_UNSUPPORTED;
    aspace_trace(harvest_accessed, s, va, size);
    memset(bitmap, 0, ((size >> 12) + 63) / 64 * sizeof *bitmap);
    gather_init(&h.g, &s->pt);
    gather_flush_any_size(&h.g);
    while (va < h.end) {
        smr_enter(s->pt.host);
        va = harvest_table(&h, va);
        smr_leave(s->pt.host);
    }
    gather_flush(&h.g);
    gather_finish(&h.g);
    if (accessed)
        *accessed = h.count;
    return ASPACE_E_OK;
}
