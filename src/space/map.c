/* SPDX-License-Identifier: BSD-2-Clause */
/* Mapping and the other operations that change a range: checks what is asked, makes the record, supplies frames. */
#include <aspace/backend.h>

#include "pt/frames.h"
#include "pt/pool.h"
#include "space/object.h"
#include "space/space.h"

#include "sync/bits.h"

/* How each kind is mapped: flags of its record and where its entries come from. */
static const struct {
    uint16_t flags;
    uint8_t source;
    bool leaves; /* rights and attribute end up in leaves, so the format must be able to express them */
} kinds[] = {
    [ASPACE_KIND_LINEAR] = {AREA_LINEAR | AREA_STATIC, MAP_LINEAR, true},
    [ASPACE_KIND_EAGER] = {AREA_OWNED, MAP_FRAMES, true},
    [ASPACE_KIND_LAZY] = {AREA_OWNED, MAP_ARM, true},
    [ASPACE_KIND_TRAP] = {AREA_STATIC, MAP_ARM, false},
    [ASPACE_KIND_ROM] = {AREA_LINEAR | AREA_STATIC | AREA_ROM, MAP_LINEAR, true},
    [ASPACE_KIND_RESERVED] = {AREA_STATIC, MAP_ARM, false},
    [ASPACE_KIND_GUARD] = {AREA_STATIC, MAP_ARM, false},
    [ASPACE_KIND_CUSTOM] = {AREA_CUSTOM, MAP_ARM, true},
    [ASPACE_KIND_PRIVATE] = {AREA_CUSTOM | AREA_OBJECT | AREA_PRIVATE, MAP_ARM, true},
    [ASPACE_KIND_SHARED] = {AREA_CUSTOM | AREA_OBJECT, MAP_ARM, true},
};

static int check_rights(const struct pt *pt, const struct aspace_map *q)
{
    bool less = q->kind == ASPACE_KIND_ROM || q->kind == ASPACE_KIND_PRIVATE;
    uint32_t leaf = less ? q->rights & ~(uint32_t)ASPACE_W : q->rights;
    if (q->rights > 15 || q->max_rights > 15 || (q->max_rights && q->rights & ~q->max_rights))
        return ASPACE_E_INVALID;
    if (!kinds[q->kind].leaves)
        return q->attr ? ASPACE_E_UNSUPPORTED : ASPACE_E_OK;
    if ((leaf && !fmt_rights_ok(pt->F, &pt->C, leaf)) || !fmt_attr_ok(&pt->C, q->attr))
        return ASPACE_E_UNSUPPORTED;
    if (q->kind == ASPACE_KIND_PRIVATE && q->rights && !fmt_rights_ok(pt->F, &pt->C, q->rights))
        return ASPACE_E_UNSUPPORTED; /* a copy has all of them */
    return ASPACE_E_OK;
}

static int check_source(const struct pt *pt, const struct aspace_map *q)
{
    bool linear = kinds[q->kind].source == MAP_LINEAR;
    if (linear && q->pa & 4095)
        return ASPACE_E_INVALID;
    if (linear && (q->pa >= pt->C.pa_end || q->size > pt->C.pa_end - q->pa))
        return ASPACE_E_RANGE;
    if (q->kind == ASPACE_KIND_CUSTOM && (!q->backend || !q->backend->fill || q->offset & 4095))
        return ASPACE_E_INVALID;
    if (kinds[q->kind].flags & AREA_OBJECT &&
        (!q->object || q->object->host != pt->host || q->offset & 4095 || q->offset > UINT64_MAX - q->size))
        return ASPACE_E_INVALID;
    if (q->doorbell_count && (!q->doorbells || q->kind != ASPACE_KIND_TRAP || q->doorbell_count > UINT32_MAX))
        return ASPACE_E_INVALID;
    return q->max_leaf_level > 8 ? ASPACE_E_INVALID : ASPACE_E_OK;
}

/* What a fork could not do is refused when it is asked for. */
static int check_fork(const struct aspace_map *q)
{
    uint16_t flags = kinds[q->kind].flags;
    switch (q->fork) {
    case ASPACE_FORK_SHARE: return flags & AREA_OWNED ? ASPACE_E_UNSUPPORTED : ASPACE_E_OK;
    case ASPACE_FORK_COPY:
    case ASPACE_FORK_WIPE: return flags & (AREA_OWNED | AREA_PRIVATE) ? ASPACE_E_OK : ASPACE_E_UNSUPPORTED;
    default: return ASPACE_E_OK;
    }
}

static int check_request(const struct aspace *s, const struct aspace_map *q)
{
    if (!q || (unsigned)q->kind > ASPACE_KIND_SHARED || (unsigned)q->fork > ASPACE_FORK_REFUSE ||
        q->flags & ~(uint32_t)(ASPACE_MAP_REPLACE | ASPACE_MAP_COUNT))
        return ASPACE_E_INVALID;
    int rc = space_check_range(s, q->va, q->size);
    if (rc == ASPACE_E_OK)
        rc = check_rights(&s->pt, q);
    if (rc == ASPACE_E_OK)
        rc = check_fork(q);
    return rc == ASPACE_E_OK ? check_source(&s->pt, q) : rc;
}

static struct area *make_area(struct pt *pt, const struct aspace_map *q)
{
    struct area *a = area_alloc(pt->host);
    if (!a)
        return NULL;
    unsigned limit = q->max_leaf_level ? q->max_leaf_level - 1u : pt->max_level;
    unsigned most = kinds[q->kind].source == MAP_LINEAR ? pt->max_level : pt->max_frame_level;
    a->va_base = q->va;
    a->size = q->size;
    a->id = area_new_id(pt->host);
    a->pa = kinds[q->kind].source == MAP_LINEAR ? q->pa : ASPACE_PA_NONE;
    a->offset = q->offset;
    a->cookie = q->cookie;
    a->backend = q->kind == ASPACE_KIND_CUSTOM        ? q->backend
                 : kinds[q->kind].flags & AREA_OBJECT ? &object_backend
                                                      : NULL;
    a->ctx = q->backend_ctx;
    a->doorbells = q->doorbells;
    a->doorbell_count = (uint32_t)q->doorbell_count;
    a->kind = (uint8_t)q->kind;
    a->max_rights = (uint8_t)(q->max_rights ? q->max_rights : q->rights);
    a->attr = (uint8_t)q->attr;
    a->fork = (uint8_t)q->fork;
    a->flags = kinds[q->kind].flags;
    a->max_level = (uint8_t)(a->flags & AREA_OBJECT ? 0 : limit < most ? limit : most);
    if (a->flags & AREA_OWNED && q->attr == ASPACE_ATTR_DEFAULT)
        a->flags |= AREA_ZERO;
    if (a->max_level && a->flags & (AREA_OWNED | AREA_CUSTOM))
        a->flags |= AREA_HUGE;
    if (q->flags & ASPACE_MAP_COUNT)
        a->flags |= AREA_COUNT;
    a->pages = q->size >> 12;
    a->faults = 0;
    a->next_dead = NULL;
    a->origin = NULL;
    a->holds = 1;
    return a;
}

/* ------------------------------------------------------------------------------------------- frames of eager areas */

static void free_frames(struct pt *pt, struct pt_map *m)
{
    const struct aspace_hal *hal = pt->host->hal;
    while (m->frames) {
        struct node *page = m->frames;
        m->frames = page->next;
        for (unsigned i = 0; i < page->count; i++) {
            uint64_t word = node_slots(page)[i];
            hal->free(pt->host->ctx, word & ~4095ull, (unsigned)(word & 4095));
        }
        pool_free(pt->host, page);
    }
    pt_account_frames(pt, -(int64_t)((m->end - m->va) >> 12));
}

/* The largest frame that va and the space to the end allow and that is available; orders that failed lower the level
 * up to which the map can count on leaves. Returns the bytes got, 0: only small frames will do. */
static uint64_t alloc_huge(struct pt *pt, struct pt_map *m, aspace_va_t va, uint64_t *word)
{
    for (unsigned level = m->area->max_level; level; level--) {
        uint64_t span = slot_span(pt->F, level);
        unsigned order = level_order(pt->F, level);
        if (!(pt->C.leaf_levels >> level & 1) || va & (span - 1) || m->end - va < span)
            continue;
        aspace_pa_t pa = pt_alloc_frame(pt, order, ASPACE_ALLOC_ZERO);
        if (pa != ASPACE_PA_NONE) {
            *word = pa | order;
            return span;
        }
        if (m->max_level >= level)
            m->max_level = (uint8_t)(level - 1);
    }
    return 0;
}

/* Bytes from va to where a huge frame should be tried next. */
static uint64_t small_run(const struct pt *pt, const struct pt_map *m, aspace_va_t va)
{
    uint64_t span = slot_span(pt->F, m->area->max_level ? 1 : 0);
    aspace_va_t next = m->area->max_level ? (va | (span - 1)) + 1 : m->end;
    return (next < m->end ? next : m->end) - va;
}

static int alloc_frames(struct pt *pt, struct pt_map *m)
{
    struct node **link = &m->frames, *page = NULL;
    if (!pt_account_frames(pt, (int64_t)((m->end - m->va) >> 12)))
        return ASPACE_E_QUOTA;
    aspace_va_t va = m->va;
    while (va < m->end) {
        if (!page || page->count == 512) {
            if (!(page = pool_alloc(pt->host)))
                break;
            page->count = 0;
            *link = page;
            link = &page->next;
        }
        uint64_t *word = node_slots(page) + page->count, bytes = alloc_huge(pt, m, va, word);
        size_t n = 1;
        if (!bytes) {
            uint64_t want = small_run(pt, m, va) >> 12, room = 512u - page->count;
            if (!(n = pt_alloc_frames(pt, word, want < room ? want : room)))
                break;
            bytes = (uint64_t)n << 12;
        }
        page->count = (uint16_t)(page->count + n);
        va += bytes;
    }
    if (va == m->end)
        return ASPACE_E_OK;
    free_frames(pt, m);
    return ASPACE_E_NO_MEMORY;
}

/* ------------------------------------------------------------------------------------------------------------ map */

static int make_map(struct pt *pt, const struct aspace_map *q, struct pt_map *m)
{
    *m = (struct pt_map){.va = q->va, .end = q->va + q->size, .source = kinds[q->kind].source};
    m->area = make_area(pt, q);
    if (!m->area)
        return ASPACE_E_NO_MEMORY;
    if (m->area->flags & AREA_OBJECT && !rmap_add(pt, m->area, q->object)) {
        area_free(pt->host, m->area);
        m->area = NULL;
        return ASPACE_E_NO_MEMORY;
    }
    m->value = VALUE(m->area->index, q->rights);
    m->max_level = m->area->max_level;
    if (m->source == MAP_LINEAR)
        m->max_level = (uint8_t)pt_linear_level(pt, q->va, q->pa, m->area->max_level);
    return m->source == MAP_FRAMES ? alloc_frames(pt, m) : ASPACE_E_OK;
}

/* A record that others may have found already ends as if it had been mapped. */
static void drop_map(struct pt *pt, struct pt_map *m)
{
    if (!m->area)
        return;
    if (m->area->flags & AREA_OBJECT) {
        area_put_pages(pt->host, m->area, m->area->size >> 12);
        return;
    }
    if (m->source == MAP_FRAMES && m->frames)
        free_frames(pt, m);
    area_free(pt->host, m->area);
}

int aspace_map(struct aspace *s, const struct aspace_map *q, struct aspace_range *culprit)
{
    struct pt_map m;
    int rc = check_request(s, q);
    if (UNLIKELY(rc))
        return rc;
    aspace_trace(map, s, q->va, q->size);
    rc = make_map(&s->pt, q, &m);
    if (rc == ASPACE_E_OK)
        rc = pt_map(&s->pt, &m, q->flags & ASPACE_MAP_REPLACE, culprit);
    if (UNLIKELY(rc))
        drop_map(&s->pt, &m);
    return rc;
}

static struct pt_map *map_of(struct aspace_map *q)
{
    return (struct pt_map *)(void *)q->reserved;
}

/* Merge of two ascending lists. */
static struct pt_map *merge(struct pt_map *a, struct pt_map *b)
{
    struct pt_map *first = NULL, **link = &first;
    while (a && b) {
        struct pt_map **least = a->va <= b->va ? &a : &b;
        *link = *least;
        link = &(*least)->next;
        *least = *link;
    }
    *link = a ? a : b;
    return first;
}

/* Bottom-up merge sort: lists[k] is empty or 2^k long. */
static struct pt_map *sort(struct aspace_map *requests, size_t n)
{
    struct pt_map *lists[48] = {NULL}, *all = NULL;
    for (size_t i = 0; i < n; i++) {
        struct pt_map *run = map_of(&requests[i]);
        unsigned k = 0;
        for (run->next = NULL; lists[k]; k++) {
            run = merge(lists[k], run);
            lists[k] = NULL;
        }
        lists[k] = run;
    }
    for (unsigned k = 0; k < 48; k++)
        all = merge(lists[k], all);
    return all;
}

static bool overlaps(const struct pt_map *m)
{
    for (; m->next; m = m->next)
        if (m->end > m->next->va)
            return true;
    return false;
}

static int check_batch(const struct aspace *s, const struct aspace_map *requests, size_t n)
{
    int rc = !n || !requests ? ASPACE_E_INVALID : ASPACE_E_OK;
    for (size_t i = 0; i < n && rc == ASPACE_E_OK; i++)
        rc = requests[i].flags & ASPACE_MAP_REPLACE ? ASPACE_E_INVALID : check_request(s, &requests[i]);
    return rc;
}

/* Records and frames for all, and *list in ascending order. */
static int make_batch(struct pt *pt, struct aspace_map *requests, size_t n, struct pt_map **list)
{
    int rc = ASPACE_E_OK;
    size_t made = 0;
    for (; made < n && rc == ASPACE_E_OK; made++)
        rc = make_map(pt, &requests[made], map_of(&requests[made]));
    if (rc == ASPACE_E_OK) {
        *list = sort(requests, n);
        rc = overlaps(*list) ? ASPACE_E_INVALID : ASPACE_E_OK;
    }
    for (size_t i = 0; rc && i < made; i++)
        drop_map(pt, map_of(&requests[i]));
    return rc;
}

static int end_batch(struct pt *pt, struct aspace_map *requests, size_t n, int rc)
{
    for (size_t i = 0; rc && i < n; i++)
        drop_map(pt, map_of(&requests[i]));
    return rc;
}

int aspace_map_batch(struct aspace *s, struct aspace_map *requests, size_t n, struct aspace_range *culprit)
{
    struct pt_map *list;
    int rc = check_batch(s, requests, n);
    if (rc)
        return rc;
    aspace_trace(map_batch, s, requests[0].va, n);
    rc = make_batch(&s->pt, requests, n, &list);
    return rc ? rc : end_batch(&s->pt, requests, n, pt_map(&s->pt, list, false, culprit));
}

int aspace_replace_all(struct aspace *s, struct aspace_map *requests, size_t n)
{
    struct pt_map *list;
    if (!n)
        return aspace_clear(s);
    int rc = check_batch(s, requests, n);
    if (rc)
        return rc;
    aspace_trace(replace_all, s, requests[0].va, n);
    rc = make_batch(&s->pt, requests, n, &list);
    return rc ? rc : end_batch(&s->pt, requests, n, pt_replace_all(&s->pt, list));
}

/* ------------------------------------------------------------------------------------------------- the other ranges */

int aspace_unmap(struct aspace *s, aspace_va_t va, uint64_t size)
{
    int rc = space_check_range(s, va, size);
    if (UNLIKELY(rc))
        return rc;
    aspace_trace(unmap, s, va, size);
    return pt_unmap(&s->pt, va, va + size);
}

int aspace_clear(struct aspace *s)
{
    return aspace_unmap(s, s->pt.base, s->pt.end - s->pt.base);
}

int aspace_protect(struct aspace *s, aspace_va_t va, uint64_t size, uint32_t rights)
{
    int rc = rights > 15 ? ASPACE_E_INVALID : space_check_range(s, va, size);
    if (UNLIKELY(rc))
        return rc;
    aspace_trace(protect, s, va, size);
    return pt_protect(&s->pt, va, va + size, rights);
}

int aspace_move(struct aspace *s, aspace_va_t va, uint64_t size, aspace_va_t new_va, struct aspace_range *culprit)
{
    int rc = space_check_range(s, va, size);
    if (rc == ASPACE_E_OK)
        rc = space_check_range(s, new_va, size);
    if (rc)
        return rc;
    if (va - new_va < size || new_va - va < size)
        return ASPACE_E_INVALID;
    aspace_trace(move, s, va, new_va);
    return pt_move(&s->pt, va, va + size, new_va, culprit);
}

int aspace_discard(struct aspace *s, aspace_va_t va, uint64_t size)
{
    int rc = space_check_range(s, va, size);
    if (UNLIKELY(rc))
        return rc;
    aspace_trace(discard, s, va, size);
    rc = pt_discard(&s->pt, va, va + size);
    return rc == ASPACE_E_BUSY ? ASPACE_E_OK : rc;
}

static int check_page(const struct aspace *s, aspace_va_t va)
{
    if (!space_contains(s, va))
        return ASPACE_E_RANGE;
    return space_is_open(s) ? ASPACE_E_OK : ASPACE_E_CLOSED;
}

int aspace_migrate(struct aspace *s, aspace_va_t va, aspace_pa_t new_pa)
{
    int rc = check_page(s, va);
    if (rc)
        return rc;
    if (new_pa != ASPACE_PA_NONE && (new_pa & 4095 || new_pa >= s->pt.C.pa_end))
        return ASPACE_E_INVALID;
    aspace_trace(migrate, s, va, new_pa);
    return pt_migrate(&s->pt, va, new_pa);
}

int aspace_collapse(struct aspace *s, aspace_va_t va, unsigned level)
{
    int rc = check_page(s, va);
    if (rc)
        return rc;
    if (!level || level > s->pt.max_level || !(s->pt.C.leaf_levels >> level & 1))
        return level ? ASPACE_E_UNSUPPORTED : ASPACE_E_INVALID;
    aspace_trace(collapse, s, va, level);
    return pt_collapse(&s->pt, va, level);
}

int aspace_split(struct aspace *s, aspace_va_t va)
{
    int rc = check_page(s, va);
    if (rc)
        return rc;
    aspace_trace(split, s, va, 0);
    return pt_split(&s->pt, va);
}
