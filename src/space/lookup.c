/* SPDX-License-Identifier: BSD-2-Clause */
/* Looking up: translate, limit, areas, free ranges. All lock-free; nothing here writes shared memory. */
#include <aspace/fault.h>

#include "pt/walk.h"
#include "space/object.h"
#include "space/space.h"

bool space_walk(struct pt *pt, aspace_va_t va, struct walk *w)
{
    for (int round = 0; round < WALK_ROUNDS; round++) {
        walk_any(pt, va, w);
        for (int i = 0; i < WALK_SPINS && w->kind == SLOT_BUSY; i++) {
            aspace_pause();
            walk_any(pt, va, w);
        }
        if (w->kind != SLOT_BUSY)
            return true;
        smr_leave(pt->host);
        smr_enter(pt->host);
    }
    return false;
}

/* ------------------------------------------------------------------------------------------------------ translate */

static __attribute__((noinline, cold)) int fill_attr(const struct fmt_ctx *C, uint64_t bits,
                                                     struct aspace_translation *t)
{
    int ok = ASPACE_E_OK;
    t->attr = fmt_attr_find(C, bits);
    OPAQUE(ok); /* else clang, knowing the result, would call and not jump */
    return ok;
}

/* `bytes`: of the leaf, or of the run it is in. The attribute comes last, so that what finds a rare one is a jump. */
static inline __attribute__((always_inline)) int fill(const struct fmt *const F, const struct pt *pt,
                                                      const struct walk *w, uint64_t bytes, aspace_va_t va,
                                                      struct aspace_translation *t)
{
    uint64_t bits = fmt_attr_bits(F, w->level, w->e);
    t->pa = fmt_output(F, &pt->C, w->level, w->e, w->index) + (va & (slot_span(F, w->level) - 1));
    t->leaf_bytes = bytes;
    t->length = bytes - (va & (bytes - 1));
    t->rights = fmt_leaf_rights(F, &pt->C, w->e);
    t->attr = ASPACE_ATTR_DEFAULT;
    return LIKELY(fmt_attr_is_default(&pt->C, bits)) ? ASPACE_E_OK : fill_attr(&pt->C, bits, t);
}

static inline __attribute__((always_inline)) int fill_translation(const struct fmt *const F, const struct pt *pt,
                                                                  const struct walk *w, aspace_va_t va,
                                                                  struct aspace_translation *t)
{
    if (F->run_lg2 && !w->level && fmt_in_run(F, w->e))
        return fill(F, pt, w, slot_span(F, 0) << F->run_lg2, va, t);
    return fill(F, pt, w, slot_span(F, w->level), va, t);
}

/* A change was in flight: wait for it, within bounds. In a section, which may be left for a while. */
static __attribute__((noinline, cold)) int translate_busy(struct pt *pt, aspace_va_t va, struct aspace_translation *t)
{
    struct walk w;
    if (!space_walk(pt, va, &w))
        return ASPACE_E_RETRY;
    return w.kind == SLOT_LEAF ? fill_translation(pt->F, pt, &w, va, t) : ASPACE_E_NOT_MAPPED;
}

/* A leaf without what hardware may change, and without its address. */
static uint64_t leaf_kind(const struct pt *pt, const struct walk *w)
{
    const struct fmt *F = pt->F;
    uint64_t e = F->run_lg2 && !w->level && fmt_in_run(F, w->e) ? fmt_unrun(F, w->e, w->index) : w->e;
    return (uint64_t)fmt_leaf_rights(F, &pt->C, e) << 8 | fmt_leaf_attr(F, &pt->C, w->level, e);
}

/* Goes on from the leaf at w in its table while entries are exactly the next ones; how many more it found. */
static inline __attribute__((always_inline)) unsigned same_neighbours(const struct fmt *const F, const struct walk *w,
                                                                      uint64_t max)
{
    unsigned end = node_entries(F, w->level), n = 0;
    uint64_t step = fmt_addr_bits(F, slot_span(F, w->level)), e = w->e;
    while (n < max && w->index + n + 1 < end && slot_load(w->slots + w->index + n + 1) == (e += step))
        n++;
    return n;
}

static int limit_from(struct pt *pt, struct walk *w, aspace_va_t va, uint64_t cap, struct aspace_translation *t)
{
    uint64_t kind = leaf_kind(pt, w), length = t->length;
    aspace_va_t end = cap < pt->end - va ? va + cap : pt->end;
    for (;;) {
        uint64_t span = slot_span(pt->F, w->level);
        aspace_va_t at = va + length;
        if (at >= end)
            break;
        unsigned more = same_neighbours(pt->F, w, (end - at + span - 1) >> pt->F->shift[w->level]);
        if (more) {
            length += more * span;
            w->index += more;
            w->e = slot_load(w->slots + w->index);
            if (!fmt_present(pt->F, w->level, w->e))
                break; /* unmapped meanwhile: what was seen is enough */
            continue;
        }
        if (!space_walk(pt, at, w))
            return ASPACE_E_RETRY;
        if (w->kind != SLOT_LEAF || leaf_kind(pt, w) != kind ||
            fmt_output(pt->F, &pt->C, w->level, w->e, w->index) != t->pa + length)
            break;
        length += slot_span(pt->F, w->level);
    }
    t->length = length < end - va ? length : end - va;
    return ASPACE_E_OK;
}

/* In a section, which may be left for a while. */
static __attribute__((noinline)) int limit_general(struct pt *pt, aspace_va_t va, uint64_t cap,
                                                   struct aspace_translation *t)
{
    struct walk w;
    if (!space_walk(pt, va, &w))
        return ASPACE_E_RETRY;
    if (w.kind != SLOT_LEAF)
        return ASPACE_E_NOT_MAPPED;
    (void)fill_translation(pt->F, pt, &w, va, t);
    t->length = slot_span(pt->F, w.level) - (va & (slot_span(pt->F, w.level) - 1));
    return limit_from(pt, &w, va, cap, t);
}

/* A lookup in the making: kept in registers by functions that are all inlined. */
struct look {
    struct pt *pt;
    aspace_va_t va;
    uint64_t cap;
    struct aspace_translation *t;
    /* A constant: goes on where the cap is more than the page. NULL: there is no cap. `slots`: of level 0. */
    int (*pages)(struct pt *pt, aspace_va_t va, uint64_t cap, struct aspace_translation *t, uint64_t *slots);
};

/* Are the `count` entries behind the one at `slot` exactly the next ones? */
static inline __attribute__((always_inline)) bool goes_on(const uint64_t *slot, uint64_t e, uint64_t step,
                                                          uint64_t count)
{
    for (; count >= 4; count -= 4, slot += 4, e += 4 * step)
        if (UNLIKELY(slot_load(slot + 1) != e + step || slot_load(slot + 2) != e + 2 * step ||
                     slot_load(slot + 3) != e + 3 * step || slot_load(slot + 4) != e + 4 * step))
            return false;
    for (; count; count--, slot++, e += step)
        if (UNLIKELY(slot_load(slot + 1) != e + step))
            return false;
    return true;
}

/* The same up to the cap, which is not in the first page, over any number of tables. va's slot, in `slots` of level 0,
 * holds e. */
static inline __attribute__((always_inline)) bool all_go_on(const struct fmt *const F, const struct look *k,
                                                            const uint64_t *slots, uint64_t e)
{
    uint64_t step = fmt_addr_bits(F, slot_span(F, 0)), behind = k->cap - (4096 - (k->va & 4095));
    uint64_t more = ((behind - 1) >> 12) + 1;
    unsigned i = slot_index(F, 0, k->va), left = node_entries(F, 0) - 1 - i;
    aspace_va_t va = k->va;
    for (; UNLIKELY(more > left); more -= left + 1, left = node_entries(F, 0) - 1, i = 0) {
        if (!goes_on(slots + i, e, step, left))
            return false;
        va += (left + 1ull) << 12;
        slots = va < k->pt->end ? walk_bottom(F, k->pt, va) : NULL;
        e += (left + 1) * step;
        if (!slots || slot_load(slots) != e)
            return false;
    }
    return goes_on(slots + i, e, step, more);
}

/* More than one page. */
static inline __attribute__((always_inline)) int limit_pages(const struct fmt *const F, const struct look *k,
                                                             uint64_t *slots)
{
    struct walk w = {.slots = slots, .index = slot_index(F, 0, k->va)};
    w.e = slot_load(slots + w.index);
    if (UNLIKELY(!fmt_present(F, 0, w.e) || !fmt_attr_is_default(&k->pt->C, w.e) || !all_go_on(F, k, slots, w.e)))
        return limit_general(k->pt, k->va, k->cap, k->t);
    (void)fill_translation(F, k->pt, &w, k->va, k->t);
    k->t->length = k->cap;
    return ASPACE_E_OK;
}

static inline __attribute__((always_inline)) int limit_leaf(const struct fmt *const F, const struct look *k,
                                                            const struct walk *w)
{
    uint64_t span = slot_span(F, w->level);
    if (k->cap > span - (k->va & (span - 1)))
        return w->level ? limit_general(k->pt, k->va, k->cap, k->t) : k->pages(k->pt, k->va, k->cap, k->t, w->slots);
    if (UNLIKELY(!fmt_attr_is_default(&k->pt->C, fmt_attr_bits(F, w->level, w->e))))
        return limit_general(k->pt, k->va, k->cap, k->t);
    (void)fill_translation(F, k->pt, w, k->va, k->t);
    k->t->length = k->cap;
    return ASPACE_E_OK;
}

/* The answer for a slot that is no table, in a section. Nothing is called but at the end, so that no register has to be
 * saved. Where a leaf would span a gigabyte or more there rather is nothing. */
static inline __attribute__((always_inline)) int look_end(const struct fmt *const F, const struct look *k,
                                                          const struct walk *w)
{
    bool leaf = (F->leaf_levels >> w->level & 1) && fmt_present(F, w->level, w->e);
    if (__builtin_expect(leaf, w->level < 2))
        return k->pages ? limit_leaf(F, k, w) : fill_translation(F, k->pt, w, k->va, k->t);
    if (LIKELY(!slot_is_busy(w->e)))
        return ASPACE_E_NOT_MAPPED;
    return k->pages ? limit_general(k->pt, k->va, k->cap, k->t) : translate_busy(k->pt, k->va, k->t);
}

WALK_LEVELS(look, struct look)

/* Each of its own, so that none saves registers which only another needs. */
#define ASPACE_X(id, name)                                                                                             \
    static __attribute__((noinline)) int translate_##id(struct pt *pt, aspace_va_t va, struct aspace_translation *t)   \
    {                                                                                                                  \
        return look_walk(&fmt_const_##id, &(struct look){pt, va, 0, t, NULL});                                         \
    }                                                                                                                  \
    static __attribute__((noinline)) int pages_##id(struct pt *pt, aspace_va_t va, uint64_t cap,                       \
                                                    struct aspace_translation *t, uint64_t *slots)                     \
    {                                                                                                                  \
        return limit_pages(&fmt_const_##id, &(struct look){pt, va, cap, t, NULL}, slots);                              \
    }                                                                                                                  \
    static __attribute__((noinline)) int limit_##id(struct pt *pt, aspace_va_t va, uint64_t cap,                       \
                                                    struct aspace_translation *t)                                      \
    {                                                                                                                  \
        return look_walk(&fmt_const_##id, &(struct look){pt, va, cap, t, pages_##id});                                 \
    }
ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X

static __attribute__((noinline)) int translate_any(struct pt *pt, aspace_va_t va, struct aspace_translation *t)
{
    switch (pt->F->id) {
#define ASPACE_X(id, name)                                                                                             \
    case ASPACE_FMT_##id: return translate_##id(pt, va, t);
        ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X
    default: return ASPACE_E_RANGE;
    }
}

static __attribute__((noinline)) int translate_in_section(struct pt *pt, aspace_va_t va, struct aspace_translation *t)
{
    smr_enter(pt->host);
    int rc = translate_any(pt, va, t);
    smr_leave(pt->host);
    return rc;
}

int aspace_translate(struct aspace *s, aspace_va_t va, struct aspace_translation *t)
{
    struct pt *pt = &s->pt;
    if (UNLIKELY(!space_contains(s, va)))
        return ASPACE_E_RANGE;
    if (LIKELY(pt->walk_id == ASPACE_FMT_X86_EPT4))
        return look_walk(&fmt_const_X86_EPT4, &(struct look){pt, va, 0, t, NULL});
    switch (pt->walk_id) {
#define ASPACE_X(id, name)                                                                                             \
    case ASPACE_FMT_##id: return translate_##id(pt, va, t);
        ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X
    default: return translate_in_section(pt, va, t);
    }
}

static __attribute__((noinline)) int limit_in_section(struct pt *pt, aspace_va_t va, uint64_t cap,
                                                      struct aspace_translation *t)
{
    int rc = ASPACE_E_RANGE;
    smr_enter(pt->host);
    switch (pt->F->id) {
#define ASPACE_X(id, name)                                                                                             \
    case ASPACE_FMT_##id: rc = limit_##id(pt, va, cap, t); break;
        ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X
    default: break;
    }
    smr_leave(pt->host);
    return rc;
}

int aspace_translate_limit(struct aspace *s, aspace_va_t va, uint64_t cap, struct aspace_translation *t)
{
    struct pt *pt = &s->pt;
    if (UNLIKELY(!cap))
        return ASPACE_E_INVALID;
    if (UNLIKELY(!space_contains(s, va)))
        return ASPACE_E_RANGE;
    if (LIKELY(pt->walk_id == ASPACE_FMT_X86_EPT4))
        return look_walk(&fmt_const_X86_EPT4, &(struct look){pt, va, cap, t, pages_X86_EPT4});
    switch (pt->walk_id) {
#define ASPACE_X(id, name)                                                                                             \
    case ASPACE_FMT_##id: return limit_##id(pt, va, cap, t);
        ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X
    default: return limit_in_section(pt, va, cap, t);
    }
}

/* ---------------------------------------------------------------------------------------------------------- areas */

static inline __attribute__((always_inline)) void describe(const struct area *a, value_t v, aspace_va_t va,
                                                           struct aspace_area *out)
{
    uint64_t offset = va - a->va_base;
    out->va = va;
    out->kind = (enum aspace_kind)a->kind;
    out->rights = VALUE_RIGHTS(v);
    out->max_rights = a->max_rights;
    out->attr = a->attr;
    out->fork = (enum aspace_fork_policy)a->fork;
    out->pa = a->pa == ASPACE_PA_NONE ? ASPACE_PA_NONE : a->pa + offset;
    out->id = a->id;
    out->cookie = a->cookie;
    out->offset = a->offset + offset;
    bool object = a->flags & AREA_OBJECT;
    out->backend = object ? NULL : a->backend;
    out->backend_ctx = object ? NULL : a->ctx;
    out->object = object ? rmap_link_of(a)->object : NULL;
}

/* Slots around i that have the same value and are no tables: the value of a TABLE slot is not its own. */
static struct seg own_stretch(const struct pt *pt, const struct walk *w, struct seg g)
{
    unsigned lo = w->index, hi = w->index + 1;
    if (!w->level)
        return g;
    while (lo > g.lo && slot_kind(pt->F, w->level, slot_load(w->slots + lo - 1)) != SLOT_TABLE)
        lo--;
    while (hi < g.hi && slot_kind(pt->F, w->level, slot_load(w->slots + hi)) != SLOT_TABLE)
        hi++;
    return (struct seg){(uint16_t)lo, (uint16_t)hi, g.value};
}

/* In a section. OK, NOT_MAPPED or RETRY. */
static __attribute__((noinline)) int query_general(struct pt *pt, aspace_va_t va, struct aspace_area *out)
{
    for (int round = 0; round < WALK_ROUNDS; round++) {
        struct walk w;
        struct seg g;
        uint64_t e;
        if (!space_walk(pt, va, &w))
            return ASPACE_E_RETRY;
        if (w.kind == SLOT_EMPTY)
            return ASPACE_E_NOT_MAPPED;
        struct node *n = w.level == pt->top ? pt->root : walk_node(pt, w.slots);
        if (!node_value_rcu(n, w.index, &g, &e) || e != w.e || !g.value) {
            aspace_pause();
            continue;
        }
        g = own_stretch(pt, &w, g);
        uint64_t span = slot_span(pt->F, w.level);
        aspace_va_t node_va = (va & ~(span - 1)) - w.index * span;
        describe(value_area(pt->host, g.value), g.value, node_va + g.lo * span, out);
        out->size = (uint64_t)(g.hi - g.lo) * span;
        return ASPACE_E_OK;
    }
    return ASPACE_E_RETRY;
}

/* A slot of level 0 that is not EMPTY, and what is read without a lock to describe it (O3). */
struct page {
    const uint64_t *slot;
    uint64_t e;
    const struct node *node;
    uint32_t seq; /* read before all values */
    unsigned index;
};

static inline __attribute__((always_inline)) struct page page_at(const struct pt *pt, const uint64_t *slot, uint64_t e)
{
    uintptr_t at = (uintptr_t)slot;
    struct page p = {.slot = slot, .e = e, .index = (unsigned)(at & 4095) / 8};
    p.node = walk_node(pt, (const uint64_t *)(at & ~(uintptr_t)4095));
    p.seq = seam_load_acquire(&p.node->seq);
    return p;
}

enum { SLOT_LAST = 511 };

/* g was read: the answer, if nothing has changed meanwhile. */
static inline __attribute__((always_inline)) int page_answer(struct pt *pt, const struct page *p, struct seg g,
                                                             aspace_va_t va, struct aspace_area *out)
{
    bool same = slot_load(p->slot) == p->e;
    seam_fence_acquire();
    if (UNLIKELY(!same || !g.value || p->seq & 1 || seam_load(&p->node->seq) != p->seq))
        return query_general(pt, va, out);
    describe(value_area(pt->host, g.value), g.value, (va & ~4095ull) - ((uint64_t)(p->index - g.lo) << 12), out);
    out->size = (uint64_t)(g.hi - g.lo) << 12;
    return ASPACE_E_OK;
}

/* Where the table has a short list of stretches. */
static __attribute__((noinline)) int query_listed(struct pt *pt, aspace_va_t va, struct aspace_area *out,
                                                  const uint64_t *slot, uint64_t e)
{
    struct page p = page_at(pt, slot, e);
    struct seg g = {0, 0, 0};
    unsigned count = seam_load(&p.node->n_segs);
    for (unsigned s = 0; s < count && s < NODE_SEGS && !g.value; s++) {
        g.lo = seam_load(&p.node->segs[s].lo);
        g.hi = seam_load(&p.node->segs[s].hi);
        if (p.index >= g.lo && p.index < g.hi)
            g.value = seam_load(&p.node->segs[s].value);
    }
    return page_answer(pt, &p, g, va, out);
}

/* Where it has a value for each slot. */
static __attribute__((noinline)) int query_dense(struct pt *pt, aspace_va_t va, struct aspace_area *out,
                                                 const uint64_t *slot, uint64_t e)
{
    struct page p = page_at(pt, slot, e);
    const struct node *dense = seam_load_acquire(&p.node->dense);
    if (!dense)
        return query_listed(pt, va, out, slot, e);
    const value_t *values = node_values(dense);
    value_t v = seam_load(&values[p.index]);
    unsigned lo = p.index, hi = p.index + 1;
    while (lo && seam_load(&values[lo - 1]) == v)
        lo--;
    while (hi <= SLOT_LAST && seam_load(&values[hi]) == v)
        hi++;
    return page_answer(pt, &p, (struct seg){(uint16_t)lo, (uint16_t)hi, v}, va, out);
}

/* The same if the page is a stretch of its own, as it is where stretches are many. At the ends of a table the slot that
 * is compared is the one at the other end: if it is alike, the long way looks again. */
static __attribute__((noinline)) int query_page(struct pt *pt, aspace_va_t va, struct aspace_area *out,
                                                const uint64_t *slot, uint64_t e)
{
    struct page p = page_at(pt, slot, e);
    const struct node *dense = seam_load_acquire(&p.node->dense);
    if (UNLIKELY(!dense))
        return query_listed(pt, va, out, slot, e);
    const value_t *values = node_values(dense);
    value_t v = seam_load(&values[p.index]);
    if (UNLIKELY(seam_load(&values[(p.index - 1) & SLOT_LAST]) == v ||
                 seam_load(&values[(p.index + 1) & SLOT_LAST]) == v))
        return query_dense(pt, va, out, slot, e);
    return page_answer(pt, &p, (struct seg){(uint16_t)p.index, (uint16_t)(p.index + 1), v}, va, out);
}

struct query {
    struct pt *pt;
    aspace_va_t va;
    struct aspace_area *out;
};

static inline __attribute__((always_inline)) int query_end(const struct fmt *const F, const struct query *k,
                                                           const struct walk *w)
{
    if (w->e == slot_empty(&k->pt->C, w->level))
        return ASPACE_E_NOT_MAPPED;
    if (w->level || UNLIKELY(!fmt_present(F, 0, w->e) && slot_is_busy(w->e)))
        return query_general(k->pt, k->va, k->out);
    return query_page(k->pt, k->va, k->out, w->slots + w->index, w->e);
}

WALK_LEVELS(query, struct query)

#define ASPACE_X(id, name)                                                                                             \
    static __attribute__((noinline)) int query_##id(struct pt *pt, aspace_va_t va, struct aspace_area *out)            \
    {                                                                                                                  \
        return query_walk(&fmt_const_##id, &(struct query){pt, va, out});                                              \
    }
ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X

static __attribute__((noinline)) int query_in_section(struct pt *pt, aspace_va_t va, struct aspace_area *out)
{
    int rc = ASPACE_E_RANGE;
    smr_enter(pt->host);
    switch (pt->F->id) {
#define ASPACE_X(id, name)                                                                                             \
    case ASPACE_FMT_##id: rc = query_##id(pt, va, out); break;
        ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X
    default: break;
    }
    smr_leave(pt->host);
    return rc;
}

int aspace_query(struct aspace *s, aspace_va_t va, struct aspace_area *area)
{
    struct pt *pt = &s->pt;
    if (UNLIKELY(!space_contains(s, va)))
        return ASPACE_E_RANGE;
    if (LIKELY(pt->walk_id == ASPACE_FMT_X86_EPT4))
        return query_walk(&fmt_const_X86_EPT4, &(struct query){pt, va, area});
    switch (pt->walk_id) {
#define ASPACE_X(id, name)                                                                                             \
    case ASPACE_FMT_##id: return query_##id(pt, va, area);
        ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X
    default: return query_in_section(pt, va, area);
    }
}

/* Could b, which follows a, be told as one mapping with it? */
static bool compatible(const struct aspace_area *a, const struct aspace_area *b)
{
    if (a->kind != b->kind || a->rights != b->rights || a->max_rights != b->max_rights || a->attr != b->attr ||
        a->fork != b->fork || a->cookie != b->cookie || a->backend != b->backend || a->backend_ctx != b->backend_ctx ||
        a->object != b->object)
        return false;
    if (a->pa != ASPACE_PA_NONE && a->pa + a->size != b->pa)
        return false;
    bool by_offset = a->kind >= ASPACE_KIND_CUSTOM || a->kind == ASPACE_KIND_TRAP;
    return a->id == b->id || !by_offset || a->offset + a->size == b->offset;
}

/* The first address at or after va, below end, whose slot is EMPTY or not, as `empty` says; else end. */
static aspace_va_t skip(struct pt *pt, aspace_va_t va, aspace_va_t end, unsigned empty)
{
    while (va < end) {
        struct walk w;
        walk_any(pt, va, &w);
        if ((w.kind == SLOT_EMPTY) == empty)
            return va;
        unsigned i = w.index, n = node_entries(pt->F, w.level);
        uint64_t span = slot_span(pt->F, w.level), more = (end - 1 - (va & ~(span - 1))) >> pt->F->shift[w.level];
        n = more < n - i ? i + 1 + (unsigned)more : n;
        enum slot_kind kind = w.kind;
        while (++i < n) {
            kind = slot_kind(pt->F, w.level, slot_load(w.slots + i));
            if (kind == SLOT_TABLE || (kind == SLOT_EMPTY) == empty)
                break;
        }
        va = (va & ~(span - 1)) + (i - w.index) * span;
    }
    return end;
}

static void extend(struct aspace *s, struct aspace_area *a)
{
    struct aspace_area b;
    while (a->va + a->size < s->pt.end && aspace_query(s, a->va + a->size, &b) == ASPACE_E_OK &&
           b.va == a->va + a->size && compatible(a, &b))
        a->size += b.size;
    while (a->va > s->pt.base && aspace_query(s, a->va - 1, &b) == ASPACE_E_OK && b.va + b.size == a->va &&
           compatible(&b, a)) {
        uint64_t size = a->size;
        *a = b;
        a->size += size;
    }
}

int aspace_next(struct aspace *s, aspace_va_t va, struct aspace_area *area)
{
    for (va = va < s->pt.base ? s->pt.base : va; va < s->pt.end;) {
        smr_enter(s->pt.host);
        va = skip(&s->pt, va, s->pt.end, 0);
        smr_leave(s->pt.host);
        if (va == s->pt.end)
            break;
        int rc = aspace_query(s, va, area);
        if (rc == ASPACE_E_OK)
            extend(s, area);
        if (rc != ASPACE_E_NOT_MAPPED)
            return rc;
    }
    return ASPACE_E_NOT_MAPPED;
}

int aspace_doorbell_match(struct aspace *s, aspace_va_t va, uint32_t width, uint64_t value, uint64_t *cookie)
{
    struct pt *pt = &s->pt;
    struct walk w;
    int rc = ASPACE_E_NOT_MAPPED;
    if (!space_contains(s, va))
        return ASPACE_E_RANGE;
    smr_enter(pt->host);
    if (!space_walk(pt, va, &w)) {
        rc = ASPACE_E_RETRY;
    } else if (w.kind == SLOT_ARMED) {
        const struct area *a = value_area(pt->host, slot_armed_value(w.e));
        for (uint32_t i = 0; i < a->doorbell_count && rc; i++) {
            const struct aspace_doorbell *d = &a->doorbells[i];
            if (d->offset == a->offset + (va - a->va_base) && (!d->width || d->width == width) &&
                (d->any_value || d->value == value)) {
                *cookie = d->cookie;
                rc = ASPACE_E_OK;
            }
        }
    }
    smr_leave(pt->host);
    return rc;
}

/* ---------------------------------------------------------------------------------------------------- free ranges */

static int check_find(const struct aspace *s, const struct aspace_find *f, aspace_va_t *lo, aspace_va_t *hi)
{
    bool arena = f && f->flags & ASPACE_FIND_ARENA;
    if (!f || f->flags & ~(uint32_t)(ASPACE_FIND_DOWN | ASPACE_FIND_ARENA) || !f->size || f->size & 4095 ||
        f->align & (f->align - 1) || (f->align && f->align < 4096) || (f->limit.va | f->limit.size) & 4095 ||
        (arena && (f->hint || f->flags & ASPACE_FIND_DOWN)))
        return ASPACE_E_INVALID;
    *lo = s->pt.base;
    *hi = s->pt.end;
    if (f->limit.size) {
        if (!aspace_contains(s, f->limit.va, f->limit.size))
            return ASPACE_E_RANGE;
        *lo = f->limit.va;
        *hi = f->limit.va + f->limit.size;
    }
    return ASPACE_E_OK;
}

/* Lowest aligned fit that begins in [from, to - size]. */
static bool fit_up(struct pt *pt, const struct aspace_find *f, aspace_va_t from, aspace_va_t to, aspace_va_t *va)
{
    uint64_t align = f->align ? f->align : 4096;
    while (from < to) {
        aspace_va_t start = skip(pt, from, to, 1);
        aspace_va_t at = (start + align - 1) & ~(align - 1);
        if (at < start || at >= to || to - at < f->size)
            return false;
        if (skip(pt, at, at + f->size, 0) == at + f->size) {
            *va = at;
            return true;
        }
        from = skip(pt, at, to, 0);
    }
    return false;
}

/* Where the mapped stretch that makes [at, at + size) unusable begins or, walking down, the last fit that avoids it. */
static bool fit_down(struct pt *pt, const struct aspace_find *f, aspace_va_t from, aspace_va_t to, aspace_va_t *va)
{
    uint64_t align = f->align ? f->align : 4096;
    while (to > from && to - from >= f->size) {
        aspace_va_t at = (to - f->size) & ~(align - 1);
        if (at < from)
            return false;
        aspace_va_t hit = skip(pt, at, at + f->size, 0);
        if (hit == at + f->size) {
            *va = at;
            return true;
        }
        /* The slot at `hit` is used: go below it. */
        struct walk w;
        walk_any(pt, hit, &w);
        to = hit & ~(slot_span(pt->F, w.level) - 1);
    }
    return false;
}

/* The part of [lo, hi) that is this CPU's: a part each, cut at the borders of tables as large as that allows. */
static struct aspace_range arena_of(const struct pt *pt, aspace_va_t lo, aspace_va_t hi)
{
    uint64_t part = (hi - lo) / pt->host->cpus, span = 4096;
    for (unsigned level = 0; level < pt->F->levels && slot_span(pt->F, level) <= part; level++)
        span = slot_span(pt->F, level);
    part &= ~(span - 1);
    aspace_va_t va = ((lo + span - 1) & ~(span - 1)) + part * aspace_cpu_id();
    return part && va < hi ? (struct aspace_range){va, part < hi - va ? part : hi - va}
                           : (struct aspace_range){lo, hi - lo};
}

/* In this CPU's part, from where it found room last; then anywhere. */
static bool fit_arena(struct pt *pt, const struct aspace_find *f, aspace_va_t lo, aspace_va_t hi, aspace_va_t *va)
{
    struct pt_cpu *c = pt_this_cpu(pt);
    struct aspace_range own = arena_of(pt, lo, hi);
    aspace_va_t end = own.va + own.size, from = c->find_next >= own.va && c->find_next < end ? c->find_next : own.va;
    bool found = fit_up(pt, f, from, end, va) || fit_up(pt, f, own.va, end, va);
    if (found)
        c->find_next = *va + f->size;
    return found || fit_up(pt, f, lo, hi, va);
}

int aspace_find(struct aspace *s, const struct aspace_find *f, aspace_va_t *va)
{
    aspace_va_t lo, hi;
    int rc = check_find(s, f, &lo, &hi);
    if (rc)
        return rc;
    bool down = f->flags & ASPACE_FIND_DOWN;
    aspace_va_t hint = f->hint ? f->hint & ~4095ull : down ? hi : lo;
    hint = hint < lo ? lo : hint > hi ? hi : hint;
    smr_enter(s->pt.host);
    bool found = f->flags & ASPACE_FIND_ARENA ? fit_arena(&s->pt, f, lo, hi, va)
                 : down                       ? fit_down(&s->pt, f, lo, hint, va) || fit_down(&s->pt, f, lo, hi, va)
                                              : fit_up(&s->pt, f, hint, hi, va) || fit_up(&s->pt, f, lo, hi, va);
    smr_leave(s->pt.host);
    return found ? ASPACE_E_OK : ASPACE_E_LIMIT;
}

int aspace_map_anywhere(struct aspace *s, const struct aspace_map *request, const struct aspace_find *f,
                        aspace_va_t *va)
{
    if (!request || request->flags & ASPACE_MAP_REPLACE)
        return ASPACE_E_INVALID;
    struct aspace_map m = *request;
    for (;;) {
        int rc = aspace_find(s, f, &m.va);
        if (rc)
            return rc;
        m.size = f->size;
        rc = aspace_map(s, &m, NULL);
        if (rc != ASPACE_E_EXISTS) { /* else another CPU was faster: there has been progress */
            if (rc == ASPACE_E_OK)
                *va = m.va;
            return rc;
        }
    }
}
