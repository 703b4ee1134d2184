/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The invariants that can be seen from tables at rest. Every table is checked slot by slot; then pages are counted
 * against records, and owned frames marked in bitmaps, in as many passes as bounded memory asks for. Changes no
 * table; reads without locks, since nobody else is at work.
 */
#include "inspect/describe.h"
#include "pt/gather.h"
#include "pt/pending.h"
#include "pt/pool.h"
#include "pt/walk.h"
#include "space/space.h"
#include "sync/bits.h"

enum {
    COUNTERS = 512,   /* records counted in one pass: a page of words */
    PASSES_MAX = 256, /* of one kind; what is beyond is not checked, and the audit says so */
    BITMAP_PAGES = 16,
    BITMAP_BITS = 32768, /* of one page: 128 MiB of frames */
};

struct audit {
    struct aspace *s;
    const struct pt *pt;
    const struct fmt *F;
    const struct fmt_ctx *C;
    aspace_line_fn *line;
    void *arg;
    size_t violations;
    bool broken;               /* tables cannot be followed: no further passes */
    bool settled;              /* nothing of the host is on its way out: counts are exact, else upper bounds */
    uint64_t tables, frames;   /* found; frames: 4 KiB, owned */
    aspace_pa_t pa_lo, pa_end; /* hull of owned frames */

    /* A pass. */
    uint32_t index;             /* records: of the first counter */
    uint64_t *count;            /* records: found pages */
    aspace_pa_t at, window_end; /* frames: what the bitmap covers */
    aspace_pa_t next;           /* frames: the lowest at or after window_end */
    uint64_t *bits[BITMAP_PAGES];
    aspace_pa_t wanted; /* witness: a frame, and two addresses it is mapped at */
    aspace_va_t va, other_va;

    struct text t;
    char out[LINE_BYTES];
};

/* One slot as it is checked. */
struct spot {
    const struct node *n;
    unsigned i;
    aspace_va_t va;
    uint64_t e;
    enum slot_kind kind;
    value_t value;
    const struct area *area; /* NULL: no value, or none that is known */
};

/* -------------------------------------------------------------------------------------------------------- telling */

static struct text *begin(struct audit *a)
{
    text_begin(&a->t, a->out, sizeof a->out);
    return &a->t;
}

/* A line that is no violation. */
static void remark(struct audit *a)
{
    a->line(a->arg, a->out);
}

static void violation(struct audit *a)
{
    a->violations++;
    a->line(a->arg, a->out);
}

static void begin_node(struct audit *a, const struct node *n, aspace_va_t va)
{
    text_hex(begin(a), "", va);
    text_dec(&a->t, " level ", n->level);
    text_hex(&a->t, " table ", node_pa(n));
    text_put(&a->t, ": ");
}

static void bad_node(struct audit *a, const struct node *n, aspace_va_t va, const char *what)
{
    begin_node(a, n, va);
    text_put(&a->t, what);
    violation(a);
}

static void begin_spot(struct audit *a, const struct spot *p)
{
    text_hex(begin(a), "", p->va);
    text_dec(&a->t, " level ", p->n->level);
    text_dec(&a->t, " slot ", p->i);
    text_hex(&a->t, " entry ", p->e);
    if (p->value)
        text_hex(&a->t, " value ", p->value);
    text_put(&a->t, ": ");
}

static void bad_spot(struct audit *a, const struct spot *p, const char *what)
{
    begin_spot(a, p);
    text_put(&a->t, what);
    violation(a);
}

/* `what` is `found`, not `expected`. */
static void bad_number(struct audit *a, const char *what, uint64_t found, uint64_t expected)
{
    text_dec(begin(a), what, found);
    text_dec(&a->t, ", not ", expected);
    violation(a);
}

/* ---------------------------------------------------------------------------------------------------------- slots */

/* The record of a value; NULL if there is none with that index. */
static const struct area *known_area(const struct aspace_host *host, value_t v)
{
    uint32_t index = VALUE_INDEX(v);
    if (!(index & 31) || index >> 5 >= host->area_pages || !host->area_dir[index >> 14] ||
        !host->area_dir[index >> 14][index >> 5 & 511])
        return NULL;
    const struct area *area = area_get(host, index);
    return area->id && area->index == index ? area : NULL;
}

static uint64_t spot_span(const struct audit *a, const struct spot *p)
{
    return slot_span(a->F, p->n->level);
}

/* What each slot with a value must agree with. */
static bool check_record(struct audit *a, const struct spot *p)
{
    uint64_t span = spot_span(a, p);
    if (!p->value)
        bad_spot(a, p, "has no value in the segments");
    else if (!p->area)
        bad_spot(a, p, "value of no area");
    else if (p->va < a->pt->base || p->va >= a->pt->end || span > a->pt->end - p->va)
        bad_spot(a, p, "mapped outside of the space");
    else if (p->va < p->area->va_base || p->va - p->area->va_base >= p->area->size ||
             span > p->area->size - (p->va - p->area->va_base))
        bad_spot(a, p, "mapped outside of what its area was mapped as");
    else if (VALUE_RIGHTS(p->value) & ~(uint32_t)p->area->max_rights)
        bad_spot(a, p, "more rights than the area's maximum");
    else
        return true;
    return false;
}

static void check_armed(struct audit *a, const struct spot *p)
{
    uint64_t expected = slot_armed(a->C, p->n->level, p->value, area_how(p->area));
    if (p->area->flags & AREA_LINEAR)
        bad_spot(a, p, "unfilled, in a linear area");
    else if (slot_armed_value(p->e) != p->value)
        bad_spot(a, p, "the marker's value is not that of the segments");
    else if (p->e != expected)
        bad_spot(a, p, "a marker with wrong bits");
}

/* What a filled slot must be, whether present or parked. */
static bool check_frame(struct audit *a, const struct spot *p, aspace_pa_t pa)
{
    uint64_t span = spot_span(a, p);
    if (p->area->flags & AREA_STATIC && !(p->area->flags & AREA_LINEAR))
        bad_spot(a, p, "filled, in an area that never is");
    else if (p->n->level > a->pt->max_level || !(a->C->leaf_levels >> p->n->level & 1))
        bad_spot(a, p, "a leaf of a size that is not in use");
    else if (pa & (span - 1))
        bad_spot(a, p, "the frame is not aligned to the leaf");
    else if (pa >= a->C->pa_end || span > a->C->pa_end - pa)
        bad_spot(a, p, "the frame is above the width of addresses");
    else if (p->area->flags & AREA_LINEAR && pa != p->area->pa + (p->va - p->area->va_base))
        bad_spot(a, p, "not where a linear area maps to");
    else
        return true;
    return false;
}

static void note_frame(struct audit *a, const struct spot *p, aspace_pa_t pa)
{
    uint64_t span = spot_span(a, p);
    enum frame_owner owner = area_frame_owner(p->area, slot_soft(a->F, p->n->level, p->e));
    if (owner != FRAME_UNIQUE && owner != FRAME_COUNTED)
        return;
    a->frames += span >> 12;
    a->pa_lo = pa < a->pa_lo ? pa : a->pa_lo;
    a->pa_end = pa + span > a->pa_end ? pa + span : a->pa_end;
}

static void check_parked(struct audit *a, const struct spot *p)
{
    aspace_pa_t pa = slot_parked_pa(a->F, p->e);
    uint64_t state = p->e & SLOT_PARKED_STATE;
    unsigned soft = slot_soft(a->F, p->n->level, p->e);
    uint32_t rights = area_leaf_rights(p->area, soft, VALUE_RIGHTS(p->value));
    note_frame(a, p, pa);
    if (!check_frame(a, p, pa))
        return;
    if (p->e != slot_parked(a->F, a->C, p->n->level, pa, state))
        bad_spot(a, p, "a parked frame with wrong bits");
    else if (SLOT_PARKED_RIGHTS(p->e) & ~(uint32_t)p->area->max_rights)
        bad_spot(a, p, "parked with more rights than the area's maximum");
    else if (rights &&
             area_frame_owner(p->area, soft) != FRAME_BACKEND) /* a backend may have given less than what is left */
        bad_spot(a, p, "parked, though the area has rights");
}

/* A run is whole: its members are leaves of neighbouring frames, the first one aligned. It is enough that each member
 * is followed by the right one, the last by the first. */
static bool check_run(struct audit *a, const struct spot *p, aspace_pa_t pa)
{
    unsigned run = 1u << a->F->run_lg2, next = (p->i & ~(run - 1)) | ((p->i + 1) & (run - 1));
    uint64_t e = slot_peek(node_slots(p->n) + next);
    aspace_pa_t first = pa - ((uint64_t)(p->i & (run - 1)) << 12);
    if (!a->C->run_lg2)
        bad_spot(a, p, "in a contiguous run, which is not in use");
    else if (first & (((uint64_t)run << 12) - 1))
        bad_spot(a, p, "in a contiguous run that is not aligned");
    else if (!fmt_present(a->F, 0, e) || !fmt_in_run(a->F, e) ||
             fmt_output(a->F, a->C, 0, e, next) != first + ((uint64_t)(next & (run - 1)) << 12))
        bad_spot(a, p, "in a contiguous run that is not whole");
    else
        return true;
    return false;
}

/* An entry without what hardware or the place in a run may change. */
static uint64_t essence(const struct audit *a, unsigned level, uint64_t e, unsigned i)
{
    if (!level && a->F->run_lg2 && fmt_in_run(a->F, e))
        e = fmt_unrun(a->F, e, i);
    return fmt_with_soft(a->F, fmt_with_ad(a->F, e, true, true), 0);
}

/* A dirty log gives the write right by faults only. */
static bool is_withheld(const struct audit *a, uint32_t rights, uint32_t has)
{
    return a->pt->log.withheld && has == (rights & ~(uint32_t)a->pt->log.withheld);
}

static void check_leaf(struct audit *a, const struct spot *p)
{
    unsigned level = p->n->level;
    aspace_pa_t pa = fmt_output(a->F, a->C, level, p->e, p->i);
    unsigned soft = fmt_soft(a->F, p->e);
    uint32_t rights = area_leaf_rights(p->area, soft, VALUE_RIGHTS(p->value)), has = fmt_leaf_rights(a->F, a->C, p->e);
    note_frame(a, p, pa);
    if (!check_frame(a, p, pa))
        return;
    if (!level && a->F->run_lg2 && fmt_in_run(a->F, p->e) && !check_run(a, p, pa))
        return;
    if (area_frame_owner(p->area, soft) == FRAME_BACKEND ? has & ~rights
                                                         : has != rights && !is_withheld(a, rights, has)) {
        begin_spot(a, p);
        text_rights(&a->t, "permits ", has);
        text_rights(&a->t, ", not ", rights);
        violation(a);
        return;
    }
    uint64_t expected = fmt_leaf(a->F, a->C, level, has, p->area->attr) | fmt_addr_bits(a->F, pa);
    bool hardware = a->C->features & ASPACE_FEAT_AD;
    if (essence(a, level, p->e, p->i) != fmt_with_ad(a->F, expected, true, true)) {
        begin_spot(a, p);
        text_hex(&a->t, "not the leaf that its area asks for, ", expected);
        violation(a);
    } else if (!hardware && (!fmt_accessed(a->F, p->e) || (has & ASPACE_W && !fmt_dirty(a->F, p->e)))) {
        bad_spot(a, p, "accessed or dirty is clear, and no hardware sets it");
    }
}

/* Can the child be followed? */
static bool check_child(struct audit *a, const struct spot *p)
{
    const struct pt *pt = a->pt;
    aspace_pa_t pa = fmt_table_pa(a->F, p->e);
    aspace_va_t end = p->va + spot_span(a, p);
    if (p->e != fmt_table_entry(a->F, a->C, pa))
        bad_spot(a, p, "a pointer to a table with wrong bits");
    else if (pa & 4095 || !(pa & ((4096ull << pt->host->chunk_order) - 1)))
        bad_spot(a, p, "points to what is no table");
    else if (pt_child(pt, p->e)->level + 1u != p->n->level)
        bad_spot(a, p, "points to a table of another level");
    else if (p->va >= pt->end || end <= pt->base)
        bad_spot(a, p, "a table outside of the space");
    else
        return true;
    a->broken = true;
    return false;
}

static void check_slot(struct audit *a, struct spot *p)
{
    switch (p->kind) {
    case SLOT_EMPTY:
        if (p->e != slot_empty(a->C, p->n->level))
            bad_spot(a, p, "empty, with wrong bits");
        else if (p->value)
            bad_spot(a, p, "empty, with a value in the segments");
        return;
    case SLOT_ARMED:
        if (check_record(a, p))
            check_armed(a, p);
        return;
    case SLOT_PARKED:
        if (check_record(a, p))
            check_parked(a, p);
        return;
    case SLOT_LEAF:
        if (check_record(a, p))
            check_leaf(a, p);
        return;
    case SLOT_BUSY: bad_spot(a, p, "left busy"); return;
    default: bad_spot(a, p, "a marker of no kind"); return;
    }
}

/* --------------------------------------------------------------------------------------------------------- tables */

/* Stretches ascend, are not empty, and lie within the table. */
static bool check_segments(const struct audit *a, const struct node *n)
{
    unsigned at = 0, end = node_entries(a->F, n->level);
    if (n->n_segs > NODE_SEGS || (n->dense && n->n_segs))
        return false;
    for (unsigned s = 0; s < n->n_segs; s++) {
        const struct seg *g = &n->segs[s];
        if (g->lo < at || g->hi <= g->lo || g->hi > end || !g->value)
            return false;
        at = g->hi;
    }
    return true;
}

static void check_head(struct audit *a, const struct node *n, aspace_va_t va)
{
    a->tables += 1ull << n->order;
    if (n->lock)
        bad_node(a, n, va, "locked");
    if (n->seq & 1)
        bad_node(a, n, va, "a change of values is not finished");
    if (n->stale || n->doomed)
        bad_node(a, n, va, "marked as unlinked, but in the tree");
    if (n->building)
        bad_node(a, n, va, "a builder of a child is left");
    if (n->order != (n == a->pt->root ? a->F->root_order : 0))
        bad_node(a, n, va, "of another size than tables of this level are");
    if (!check_segments(a, n))
        bad_node(a, n, va, "segments that overlap or reach beyond the table");
    if (n->dense && n->dense->order != node_dense_order(a->F, n->level))
        bad_node(a, n, va, "the page of values is of another size than the table needs");
}

/* Recursion is as deep as the format has levels. */
static void check_node(struct audit *a, const struct node *n, aspace_va_t va)
{
    unsigned end = node_entries(a->F, n->level), used = 0;
    check_head(a, n, va);
    for (unsigned i = 0; i < end; i++) {
        struct spot p = {.n = n, .i = i, .va = va + ((uint64_t)i << a->F->shift[n->level])};
        p.e = slot_peek(node_slots(n) + i);
        p.kind = slot_kind(a->F, n->level, p.e);
        used += p.kind != SLOT_EMPTY;
        if (p.kind == SLOT_TABLE) {
            if (check_child(a, &p))
                check_node(a, pt_child(a->pt, p.e), p.va);
            continue;
        }
        p.value = node_value(n, i);
        p.area = p.value ? known_area(a->pt->host, p.value) : NULL;
        check_slot(a, &p);
    }
    if (used != n->count) {
        begin_node(a, n, va);
        text_dec(&a->t, "counts ", n->count);
        text_dec(&a->t, " slots in use, and has ", used);
        violation(a);
    }
}

/* The hardware's root may be larger than the indices in use. The kernel's half is not ours to judge. */
static void check_rest_of_root(struct audit *a)
{
    const struct node *root = a->pt->root;
    for (unsigned i = node_entries(a->F, root->level); !a->F->upper_half && i < 512u << root->order; i++)
        if (slot_peek(node_slots(root) + i) != slot_empty(a->C, root->level))
            bad_node(a, root, (uint64_t)i << a->F->shift[root->level], "a slot above the space is not empty");
}

/* -------------------------------------------------------------------------------------------------------- passes */

typedef void visit_fn(struct audit *a, const struct node *n, aspace_va_t va);

/* Each table below n, and n; as deep as the format has levels. */
static void visit(struct audit *a, const struct node *n, aspace_va_t va, visit_fn *fn)
{
    fn(a, n, va);
    for (unsigned i = 0; n->level && i < node_entries(a->F, n->level); i++) {
        uint64_t e = slot_peek(node_slots(n) + i);
        if (slot_kind(a->F, n->level, e) == SLOT_TABLE)
            visit(a, pt_child(a->pt, e), va + ((uint64_t)i << a->F->shift[n->level]), fn);
    }
}

static void visit_all(struct audit *a, visit_fn *fn)
{
    visit(a, a->pt->root, 0, fn);
}

static bool settled(const struct aspace_host *host)
{
    for (uint32_t i = 0; i < host->cpus; i++) {
        const struct host_cpu *c = &host->cpu[i];
        if (c->limbo_first || (c->limbo_open && c->limbo_open->count) || c->dead_open || c->dead_closed || c->releasing)
            return false;
    }
    return true;
}

static bool differs(const struct audit *a, uint64_t counted, uint64_t found)
{
    return a->settled ? counted != found : counted < found;
}

static void check_totals(struct audit *a)
{
    const struct pt *pt = a->pt;
    int64_t tables = 0, frames = 0;
    for (uint32_t i = 0; i < pt->host->cpus; i++) {
        tables += pt->cpu[i].tables;
        frames += pt->cpu[i].frames;
    }
    if (tables < 0 || differs(a, (uint64_t)tables, a->tables))
        bad_number(a, "tables counted: ", (uint64_t)tables, a->tables);
    if (frames < 0 || differs(a, (uint64_t)frames, a->frames))
        bad_number(a, "owned frames counted: ", (uint64_t)frames, a->frames);
    if (pt->quota_tables && pt->used_tables != (uint64_t)tables)
        bad_number(a, "tables accounted to the quota: ", pt->used_tables, (uint64_t)tables);
    if (pt->quota_frames && pt->used_frames != (uint64_t)frames)
        bad_number(a, "frames accounted to the quota: ", pt->used_frames, (uint64_t)frames);
}

/* ------------------------------------------------------------------------------------- pages against records */

static void count_pages(struct audit *a, const struct node *n, aspace_va_t va)
{
    struct seg g = {0, 0, 0};
    unsigned end = node_entries(a->F, n->level);
    (void)va;
    for (unsigned i = 0; node_next_seg(n, i, end, &g); i = g.hi) {
        uint32_t k = VALUE_INDEX(g.value) - a->index;
        uint64_t slots = 0;
        if (k >= COUNTERS)
            continue;
        if (!n->level)
            slots = (uint64_t)(g.hi - g.lo);
        for (unsigned j = g.lo; n->level && j < g.hi; j++) {
            enum slot_kind kind = slot_kind(a->F, n->level, slot_peek(node_slots(n) + j));
            slots += kind != SLOT_TABLE && kind != SLOT_EMPTY;
        }
        a->count[k] += slots << level_order(a->F, n->level);
    }
}

static void compare_pages(struct audit *a)
{
    for (uint32_t k = 0; k < COUNTERS; k++) {
        const struct area *area = a->count[k] ? known_area(a->pt->host, a->index + k) : NULL;
        if (!area || !differs(a, area->pages, a->count[k]))
            continue;
        text_dec(begin(a), "area ", area->id);
        text_range(&a->t, ", mapped as ", area->va_base, area->va_base + area->size);
        text_dec(&a->t, ": counts ", area->pages);
        text_dec(&a->t, " pages, and has ", a->count[k]);
        violation(a);
    }
}

/* COUNTERS records a pass. A record of this space is told from others by having pages in it. */
static void check_records(struct audit *a)
{
    struct aspace_host *host = a->pt->host;
    uint32_t end = host->area_pages << 5;
    struct node *page = end ? pool_alloc(host) : NULL;
    if (end && !page) {
        text_put(begin(a), "no memory to count the pages of areas: not checked");
        remark(a);
        return;
    }
    unsigned passes = 0;
    for (a->index = 0; a->index < end; a->index += COUNTERS) {
        if (passes++ == PASSES_MAX) {
            text_put(begin(a), "too many areas: pages of the later ones not checked");
            remark(a);
            break;
        }
        a->count = node_slots(page);
        memset(a->count, 0, 4096);
        visit_all(a, count_pages);
        compare_pages(a);
    }
    if (page)
        pool_free(host, page);
}

/* ----------------------------------------------------------------------------------------- frames mapped twice */

/* The frame of slot i if an area owns it. */
static aspace_pa_t owned_frame(const struct audit *a, const struct node *n, unsigned i)
{
    uint64_t e = slot_peek(node_slots(n) + i);
    enum slot_kind kind = slot_kind(a->F, n->level, e);
    if (kind != SLOT_LEAF && kind != SLOT_PARKED)
        return ASPACE_PA_NONE;
    const struct area *area = known_area(a->pt->host, node_value(n, i));
    if (!area || !(area->flags & AREA_OWNED))
        return ASPACE_PA_NONE;
    return kind == SLOT_LEAF ? fmt_output(a->F, a->C, n->level, e, i) : slot_parked_pa(a->F, e);
}

static void find_other(struct audit *a, const struct node *n, aspace_va_t va)
{
    for (unsigned i = 0; i < node_entries(a->F, n->level); i++) {
        aspace_pa_t pa = owned_frame(a, n, i);
        if (pa == ASPACE_PA_NONE || pa > a->wanted || a->wanted - pa >= slot_span(a->F, n->level))
            continue;
        aspace_va_t at = va + ((uint64_t)i << a->F->shift[n->level]) + (a->wanted - pa);
        if (at != a->va && at < a->other_va)
            a->other_va = at;
    }
}

static void mapped_twice(struct audit *a, aspace_pa_t pa, aspace_va_t va)
{
    a->wanted = pa;
    a->va = va;
    a->other_va = UINT64_MAX;
    visit_all(a, find_other);
    text_hex(begin(a), "frame ", pa);
    text_hex(&a->t, ": mapped at ", va < a->other_va ? va : a->other_va);
    text_hex(&a->t, " and at ", va < a->other_va ? a->other_va : va);
    violation(a);
}

/* Returns whether the bit was set. */
static bool mark(struct audit *a, uint64_t bit)
{
    uint64_t *word = a->bits[bit / BITMAP_BITS] + bit % BITMAP_BITS / 64, mask = 1ull << bit % 64;
    bool was = *word & mask;
    *word |= mask;
    return was;
}

static void mark_frames(struct audit *a, const struct node *n, aspace_va_t va)
{
    uint64_t span = slot_span(a->F, n->level);
    for (unsigned i = 0; i < node_entries(a->F, n->level); i++) {
        aspace_pa_t pa = owned_frame(a, n, i), p = pa > a->at ? pa : a->at;
        if (pa == ASPACE_PA_NONE || pa + span <= a->at)
            continue;
        for (; p < pa + span && p < a->window_end; p += 4096) {
            if (!mark(a, (p - a->at) >> 12))
                continue;
            mapped_twice(a, p, va + i * span + (p - pa));
            break; /* one line a leaf is enough */
        }
        if (pa + span > a->window_end && p < a->next)
            a->next = p < a->window_end ? a->window_end : p;
    }
}

static unsigned alloc_bitmap(struct audit *a, struct node **pages)
{
    uint64_t wanted = ((a->pa_end - a->pa_lo) >> 12) / BITMAP_BITS + 1;
    unsigned n = 0;
    for (; n < BITMAP_PAGES && n < wanted; n++) {
        struct node *page = pool_alloc(a->pt->host);
        if (!page)
            break;
        page->next = *pages;
        *pages = page;
        a->bits[n] = node_slots(page);
    }
    return n;
}

/* A window of the bitmap's size from the lowest frame on, then from the lowest that is left. */
static void check_frames(struct audit *a)
{
    struct node *pages = NULL;
    unsigned n = a->pa_lo < a->pa_end ? alloc_bitmap(a, &pages) : 0, passes = 0;
    for (a->at = a->pa_lo; n && a->at != ASPACE_PA_NONE && passes < PASSES_MAX; a->at = a->next, passes++) {
        a->window_end = a->at + ((uint64_t)n * BITMAP_BITS << 12);
        a->next = ASPACE_PA_NONE;
        for (unsigned k = 0; k < n; k++)
            memset(a->bits[k], 0, 4096);
        visit_all(a, mark_frames);
    }
    if (a->pa_lo < a->pa_end && (!n || a->at != ASPACE_PA_NONE)) {
        text_hex(begin(a), n ? "too many frames" : "no memory", a->at);
        text_put(&a->t, " and above: not checked for being mapped twice");
        remark(a);
    }
    while (pages) {
        struct node *page = pages;
        pages = page->next;
        pool_free(a->pt->host, page);
    }
}

/* ---------------------------------------------------------------------------------------------------------- tickets */

static void tell_ticket(struct audit *a, aspace_va_t va, const char *what)
{
    text_hex(begin(a), "", va);
    text_put(&a->t, what);
    violation(a);
}

/* Of the tickets for the same page, how many lead and are not stale? */
static unsigned leaders(const struct audit *a, aspace_va_t va)
{
    unsigned n = 0;
    for (struct aspace_pending *p = a->pt->pending.first; p; p = p->next)
        n += p->va == va && !p->stale && space_ticket_leads(p);
    return n;
}

/* What is pending and was not revoked is for a page that is mapped, in a table of its own level. */
static void check_tickets(struct audit *a)
{
    unsigned n = 0;
    for (struct aspace_pending *p = a->pt->pending.first; p; p = p->next, n++) {
        struct walk w;
        if (p->stale)
            continue;
        walk_any(a->pt, p->va, &w);
        if (w.level || w.kind == SLOT_EMPTY || w.kind == SLOT_BUSY)
            tell_ticket(a, p->va, ": a ticket for a page that is not mapped");
        else if (leaders(a, p->va) != 1)
            tell_ticket(a, p->va, ": not one ticket leads for the page");
    }
    if (n != a->pt->pending.count)
        tell_ticket(a, n, " tickets are listed, which is not their count");
}

static void say_nothing(void *arg, const char *line)
{
    (void)arg;
    (void)line;
}

size_t aspace_audit(struct aspace *s, aspace_line_fn *line, void *arg)
{
    const struct pt *pt = &s->pt;
    line = line ? line : say_nothing;
    struct audit a = {.s = s, .pt = pt, .F = pt->F, .C = &pt->C, .line = line, .arg = arg, .pa_lo = ASPACE_PA_NONE};
    if (seam_load(&s->state) == SPACE_CLOSED)
        return 0;
    (void)aspace_drain(pt->host); /* the less is on its way out, the more can be told */
    a.settled = settled(pt->host);
    check_node(&a, pt->root, 0);
    check_rest_of_root(&a);
    if (a.broken) {
        text_put(begin(&a), "tables that cannot be followed: counts and frames not checked");
        remark(&a);
        return a.violations;
    }
    check_totals(&a);
    check_records(&a);
    check_frames(&a);
    check_tickets(&a);
    return a.violations;
}
