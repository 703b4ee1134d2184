/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The random operations, what each must answer, and what it does to the model. Owns the expectations; must not know how
 * the library keeps anything.
 */
#include <stdio.h>
#include <string.h>

#include "model.h"

/* --------------------------------------------------------------------------------------------------- random choices */

static unsigned pick(struct model *m, uint64_t n)
{
    return (unsigned)(random_next(&m->random) % n);
}

struct range {
    unsigned first, end;
};

/* Mostly a few pages, now and then exactly a large page, or nearly everything. */
static struct range pick_range(struct model *m)
{
    unsigned first = pick(m, m->pages), pages, how = pick(m, 20);

    if (how < 11) {
        pages = 1 + pick(m, 8);
    } else if (how < 15) {
        pages = 1 + pick(m, 64);
    } else if (how < 18) {
        uint64_t index = (m->va / PAGE + m->huge_pages - 1) / m->huge_pages * m->huge_pages - m->va / PAGE;
        first = (unsigned)index + pick(m, 2) * m->huge_pages;
        pages = m->huge_pages * (1 + pick(m, 2));
    } else {
        pages = 1 + pick(m, m->pages);
    }
    if (first >= m->pages) {
        first = 0;
    }
    return (struct range){first, first + pages > m->pages ? m->pages : first + pages};
}

static uint32_t pick_rights(struct model *m)
{
    uint32_t rights = 1 + pick(m, 15);

    for (unsigned n = 0; n < 32 && !expressible(m->env, rights); n++) {
        rights = 1 + pick(m, 15);
    }
    return expressible(m->env, rights) ? rights : m->env->rw;
}

static uint32_t pick_attr(struct model *m)
{
    uint32_t attr = pick(m, 4) ? 0 : pick(m, ASPACE_ATTR_COUNT);

    return attr_expressible(m->env, attr) ? attr : 0;
}

static enum aspace_kind pick_kind(struct model *m)
{
    static const uint8_t kinds[16] = {
        ASPACE_KIND_LINEAR, ASPACE_KIND_LINEAR,   ASPACE_KIND_LINEAR, ASPACE_KIND_EAGER,
        ASPACE_KIND_EAGER,  ASPACE_KIND_EAGER,    ASPACE_KIND_LAZY,   ASPACE_KIND_LAZY,
        ASPACE_KIND_LAZY,   ASPACE_KIND_LAZY,     ASPACE_KIND_LAZY,   ASPACE_KIND_TRAP,
        ASPACE_KIND_ROM,    ASPACE_KIND_RESERVED, ASPACE_KIND_GUARD,  ASPACE_KIND_LAZY,
    };

    return (enum aspace_kind)kinds[pick(m, 16)];
}

/* A page of the device memory from which on so many pages fit; often placed so that large leaves are possible. */
static unsigned pick_device(struct model *m, struct range r)
{
    unsigned pages = r.end - r.first, room = (1u << DEVICE_ORDER) - pages;
    unsigned where = pick(m, room + 1);
    unsigned in_huge = (unsigned)(model_va(m, r.first) / PAGE % m->huge_pages);

    if (pick(m, 3) != 0 && where / m->huge_pages * m->huge_pages + in_huge <= room) {
        where = where / m->huge_pages * m->huge_pages + in_huge;
    }
    return where;
}

/* -------------------------------------------------------------------------------------------------------------- map */

static bool anything_in(const struct model *m, struct range r)
{
    for (unsigned i = r.first; i < r.end; i++) {
        if (m->page[i].kind != NOTHING) {
            return true;
        }
    }
    return false;
}

struct mapping {
    struct aspace_map request;
    struct range range;
    unsigned device_page;
};

/* One that the kind can have. */
static enum aspace_fork_policy pick_fork(struct model *m, enum aspace_kind kind)
{
    static const enum aspace_fork_policy owned[] = {ASPACE_FORK_COW, ASPACE_FORK_COPY, ASPACE_FORK_DROP,
                                                    ASPACE_FORK_WIPE, ASPACE_FORK_REFUSE};
    static const enum aspace_fork_policy others[] = {ASPACE_FORK_COW, ASPACE_FORK_SHARE, ASPACE_FORK_DROP,
                                                     ASPACE_FORK_REFUSE};
    bool owns = kind == ASPACE_KIND_LAZY || kind == ASPACE_KIND_EAGER;

    return owns ? owned[pick(m, 5)] : others[pick(m, 4)];
}

static struct mapping pick_mapping(struct model *m, struct range r)
{
    struct mapping q = {.range = r};

    q.request = request(pick_kind(m), model_va(m, r.first), (r.end - r.first) * PAGE, pick_rights(m));
    if (q.request.kind <= ASPACE_KIND_LAZY || q.request.kind == ASPACE_KIND_ROM) {
        q.request.attr = pick_attr(m); /* of memory: others have none */
    }
    q.request.fork = pick_fork(m, q.request.kind);
    q.request.max_rights = q.request.rights | (pick(m, 2) ? 15 : 0);
    q.request.cookie = ++m->next_cookie;
    q.request.max_leaf_level = pick(m, 4) == 0;
    if (q.request.kind == ASPACE_KIND_ROM) {
        q.request.rights = q.request.max_rights = m->env->ro;
    }
    if (q.request.kind == ASPACE_KIND_LINEAR || q.request.kind == ASPACE_KIND_ROM) {
        q.device_page = pick_device(m, r);
        q.request.pa = m->device.pa + q.device_page * PAGE;
    }
    if (q.request.kind == ASPACE_KIND_LAZY && pick(m, 8) == 0) {
        q.request.rights = 0;
        q.request.max_rights = m->env->rw;
    }
    return q;
}

static void set_mapping(struct model *m, const struct mapping *q)
{
    for (unsigned i = q->range.first; i < q->range.end; i++) {
        struct page *p = &m->page[i];
        memset(p, 0, sizeof(*p));
        p->kind = (uint8_t)q->request.kind;
        p->rights = (uint8_t)q->request.rights;
        p->max_rights = (uint8_t)q->request.max_rights;
        p->attr = (uint8_t)q->request.attr;
        p->fork = (uint8_t)q->request.fork;
        p->cookie = (uint32_t)q->request.cookie;
        p->offset = i - q->range.first;
        p->device_page = q->device_page + (i - q->range.first);
        if (p->kind == ASPACE_KIND_EAGER) {
            p->filled = true;
            p->pa = walk(m->env, model_va(m, i)).pa;
        }
    }
}

static void check_culprit(const struct model *m, struct range r, struct aspace_range culprit)
{
    CHECK(culprit.size != 0 && culprit.va % PAGE == 0 && culprit.size % PAGE == 0);
    CHECK(culprit.va < model_va(m, r.end) && culprit.va + culprit.size > model_va(m, r.first));
    for (uint64_t va = culprit.va; va < culprit.va + culprit.size; va += PAGE) {
        CHECK(va >= m->va && va < model_va(m, m->pages));
        CHECK(m->page[(va - m->va) / PAGE].kind != NOTHING);
    }
}

static void step_map(struct model *m)
{
    struct mapping q = pick_mapping(m, pick_range(m));
    struct aspace_range culprit = {0, 0};
    bool taken = anything_in(m, q.range);

    if (pick(m, 3) == 0) {
        q.request.flags |= ASPACE_MAP_REPLACE;
    }
    snprintf(m->text, sizeof(m->text), "map pages %u-%u kind %d rights %u maximum %u attr %u device %u leaf %u%s",
             q.range.first, q.range.end, (int)q.request.kind, q.request.rights, q.request.max_rights, q.request.attr,
             q.device_page, q.request.max_leaf_level, q.request.flags ? " replace" : "");
    int error = aspace_map(m->env->space, &q.request, &culprit);
    if (taken && q.request.flags == 0) {
        CHECK_ERROR(error, ASPACE_E_EXISTS);
        check_culprit(m, q.range, culprit);
    } else {
        CHECK_OK(error);
        set_mapping(m, &q);
    }
    model_compare(m, q.range.first, q.range.end);
}

static void step_batch(struct model *m)
{
    struct mapping q[3];
    struct aspace_map requests[3];
    struct aspace_range culprit = {0, 0};
    unsigned n = 0, at_page = pick(m, m->pages);
    bool taken = false;

    for (; n < 3 && at_page < m->pages; n++) {
        unsigned end = at_page + 1 + pick(m, pick(m, 3) ? 6 : m->huge_pages);
        q[n] = pick_mapping(m, (struct range){at_page, end > m->pages ? m->pages : end});
        taken |= anything_in(m, q[n].range);
        at_page = end + pick(m, 3);
    }
    for (unsigned i = 0; i < n; i++) {
        requests[n - 1 - i] = q[i].request;
    }
    int used = snprintf(m->text, sizeof(m->text), "batch of %u:", n);
    for (unsigned i = n; i-- > 0;) {
        used += snprintf(m->text + used, sizeof(m->text) - (size_t)used, " %u-%u kind %d rights %u device %u leaf %u,",
                         q[i].range.first, q[i].range.end, (int)q[i].request.kind, q[i].request.rights,
                         q[i].device_page, q[i].request.max_leaf_level);
    }
    int error = aspace_map_batch(m->env->space, requests, n, &culprit);
    CHECK_ERROR(error, taken ? ASPACE_E_EXISTS : ASPACE_OK);
    for (unsigned i = 0; i < n && error == ASPACE_OK; i++) {
        set_mapping(m, &q[i]);
    }
    if (error != ASPACE_OK) {
        CHECK(culprit.size != 0);
    }
    model_compare(m, q[0].range.first, q[n - 1].range.end);
}

static void step_unmap(struct model *m)
{
    struct range r = pick_range(m);

    snprintf(m->text, sizeof(m->text), "unmap pages %u-%u", r.first, r.end);
    CHECK_OK(aspace_unmap(m->env->space, model_va(m, r.first), (r.end - r.first) * PAGE));
    for (unsigned i = r.first; i < r.end; i++) {
        memset(&m->page[i], 0, sizeof(m->page[i]));
        m->page[i].kind = NOTHING;
    }
    model_compare(m, r.first, r.end);
}

/* ---------------------------------------------------------------------------------------------------------- changes */

static bool has_leaves(const struct page *p)
{
    return model_owned(p) || model_linear(p);
}

static void step_protect(struct model *m)
{
    struct range r = pick_range(m);
    uint32_t rights = pick(m, 5) == 0 ? 0 : pick(m, 8) == 0 ? pick(m, 16) : pick_rights(m);
    bool hole = false, beyond = false, leaves = false, awkward = rights != 0 && !expressible(m->env, rights);

    for (unsigned i = r.first; i < r.end; i++) {
        const struct page *p = &m->page[i];
        hole |= p->kind == NOTHING;
        beyond |= p->kind != NOTHING && (rights & ~(uint32_t)p->max_rights) != 0;
        leaves |= p->kind != NOTHING && has_leaves(p);
    }
    snprintf(m->text, sizeof(m->text), "protect pages %u-%u to %u", r.first, r.end, rights);
    int error = aspace_protect(m->env->space, model_va(m, r.first), (r.end - r.first) * PAGE, rights);
    switch (error) {
    case ASPACE_E_NOT_MAPPED: CHECK(hole); break;
    case ASPACE_E_PERMISSION: CHECK(beyond); break;
    case ASPACE_E_UNSUPPORTED: CHECK(awkward); break;
    default:
        CHECK_OK(error);
        CHECK(!hole && !beyond && !(awkward && leaves));
        for (unsigned i = r.first; i < r.end; i++) {
            m->page[i].rights = (uint8_t)rights;
        }
    }
    model_compare(m, r.first, r.end);
}

static void step_discard(struct model *m)
{
    struct range r = pick_range(m);

    snprintf(m->text, sizeof(m->text), "discard pages %u-%u", r.first, r.end);
    CHECK_OK(aspace_discard(m->env->space, model_va(m, r.first), (r.end - r.first) * PAGE));
    for (unsigned i = r.first; i < r.end; i++) {
        struct page *p = &m->page[i];
        if (p->kind != NOTHING && model_owned(p)) {
            p->filled = false;
            p->word[0] = p->word[1] = 0;
        }
    }
    model_compare(m, r.first, r.end);
}

/* Where a range may go to: near or far, and often so that large leaves can stay large. */
static unsigned pick_new_place(struct model *m, struct range r)
{
    unsigned room = m->pages - (r.end - r.first), to = pick(m, room + 1), distance = m->huge_pages;

    if (pick(m, 2) == 0) {
        to = r.first % distance + to / distance * distance;
    }
    return to > room ? room : to;
}

static void step_move(struct model *m)
{
    static struct page moved[MODEL_PAGES_MAX];
    struct range r = pick_range(m);
    unsigned pages = r.end - r.first, to = pick_new_place(m, r);
    struct aspace_range culprit = {0, 0};

    snprintf(m->text, sizeof(m->text), "move pages %u-%u to %u", r.first, r.end, to);
    int error = aspace_move(m->env->space, model_va(m, r.first), pages * PAGE, model_va(m, to), &culprit);
    if (to < r.end && r.first < to + pages) {
        CHECK_ERROR(error, ASPACE_E_INVALID);
    } else if (anything_in(m, (struct range){to, to + pages})) {
        CHECK_ERROR(error, ASPACE_E_EXISTS);
        CHECK(culprit.size != 0);
    } else {
        CHECK_OK(error);
        memcpy(moved, &m->page[r.first], pages * sizeof(moved[0]));
        for (unsigned i = 0; i < pages; i++) {
            memset(&m->page[r.first + i], 0, sizeof(moved[0]));
            m->page[r.first + i].kind = NOTHING;
        }
        memcpy(&m->page[to], moved, pages * sizeof(moved[0]));
    }
    model_compare(m, r.first, r.end);
    model_compare(m, to, to + pages);
}

/* Up to the first page that cannot be filled, if there is one. */
static void step_populate(struct model *m)
{
    struct range r = pick_range(m);
    uint64_t done = 0;
    unsigned end = r.first;

    while (end < r.end && m->page[end].kind != NOTHING && has_leaves(&m->page[end]) && m->page[end].rights != 0) {
        end++;
    }
    r.end = end;
    snprintf(m->text, sizeof(m->text), "populate pages %u-%u", r.first, r.end);
    if (r.end == r.first) {
        return;
    }
    CHECK_OK(aspace_populate(m->env->space, model_va(m, r.first), (r.end - r.first) * PAGE, &done));
    CHECK_EQ(done, (r.end - r.first) * PAGE);
    for (unsigned i = r.first; i < r.end; i++) {
        if (model_owned(&m->page[i]) && !m->page[i].filled) {
            model_filled(m, i);
        }
    }
    model_compare(m, r.first, r.end);
}

/* Of a large page all pages moved. What is out of sight for lack of rights is looked at when it comes back. */
static void moved(struct model *m, unsigned page, struct naive_result before)
{
    uint64_t first = before.present ? model_va(m, page) / before.leaf_bytes * before.leaf_bytes : 0;

    for (unsigned i = 0; i < m->pages; i++) {
        struct page *p = &m->page[i];
        uint64_t va = model_va(m, i);
        if (before.present && va >= first && va - first < before.leaf_bytes) {
            p->pa = walk(m->env, va).pa;
        } else if (!before.present && p->cookie == m->page[page].cookie && p->rights == 0) {
            p->pa = 0;
        }
    }
}

static void step_migrate(struct model *m)
{
    unsigned i = pick(m, m->pages);
    struct page *p = &m->page[i];
    struct naive_result before = walk(m->env, model_va(m, i));

    snprintf(m->text, sizeof(m->text), "migrate page %u", i);
    int error = aspace_migrate(m->env->space, model_va(m, i) + pick(m, PAGE), ASPACE_PA_NONE);
    if (p->kind == NOTHING || (model_owned(p) && !p->filled)) {
        CHECK_ERROR(error, ASPACE_E_NOT_MAPPED);
    } else if (!model_owned(p)) {
        CHECK(error == ASPACE_E_UNSUPPORTED || error == ASPACE_E_NOT_MAPPED);
    } else if (error == ASPACE_OK) {
        moved(m, i, before);
    } else {
        CHECK_ERROR(error, ASPACE_E_UNSUPPORTED);
    }
    model_compare(m, i, i + 1);
}

/* A whole large page of one area with one protection, owned: that must work. */
static bool collapsible(const struct model *m, unsigned first)
{
    const struct page *p = &m->page[first];

    if (p->kind == NOTHING || !model_owned(p) || p->rights == 0) {
        return false;
    }
    for (unsigned i = first; i < first + m->huge_pages; i++) {
        if (m->page[i].kind != p->kind || m->page[i].cookie != p->cookie || m->page[i].rights != p->rights) {
            return false;
        }
    }
    return true;
}

static void step_collapse(struct model *m)
{
    unsigned i = pick(m, m->pages);
    uint64_t va = model_va(m, i) / m->env->span[1] * m->env->span[1];
    unsigned first = (unsigned)((va - m->va) / PAGE);

    snprintf(m->text, sizeof(m->text), "collapse page %u", i);
    if (va < m->va || first + m->huge_pages > m->pages) {
        return;
    }
    int error = aspace_collapse(m->env->space, model_va(m, i), 1);
    if (error == ASPACE_OK && m->page[first].kind != NOTHING && model_owned(&m->page[first])) {
        CHECK(collapsible(m, first));
        CHECK_EQ(walk(m->env, va).leaf_bytes, m->env->span[1]);
        for (unsigned n = first; n < first + m->huge_pages; n++) {
            m->page[n].filled = true;
            m->page[n].pa = walk(m->env, model_va(m, n)).pa;
        }
    }
    model_compare(m, first, first + m->huge_pages);
}

static void step_split(struct model *m)
{
    unsigned i = pick(m, m->pages);
    struct naive_result before = walk(m->env, model_va(m, i));

    snprintf(m->text, sizeof(m->text), "split page %u", i);
    int error = aspace_split(m->env->space, model_va(m, i));
    if (before.present && before.leaf_bytes >= m->env->span[1]) {
        CHECK_OK(error);
        CHECK(walk(m->env, model_va(m, i)).leaf_bytes < before.leaf_bytes);
    }
    model_compare(m, i, i + 1);
}

/* ---------------------------------------------------------------------------------------------- faults and accesses */

static enum aspace_fault_result expected_fault(const struct page *p, uint32_t access)
{
    switch (p->kind) {
    case NOTHING: return ASPACE_FAULT_NO_AREA;
    case ASPACE_KIND_TRAP: return ASPACE_FAULT_TRAP;
    case ASPACE_KIND_RESERVED: return ASPACE_FAULT_PERMISSION;
    case ASPACE_KIND_GUARD: return ASPACE_FAULT_GUARD;
    default: break;
    }
    if (p->kind == ASPACE_KIND_ROM && access == ASPACE_W) {
        return ASPACE_FAULT_TRAP;
    }
    if ((access & ~(uint32_t)p->rights) != 0) {
        return ASPACE_FAULT_PERMISSION;
    }
    return model_linear(p) || p->filled ? ASPACE_FAULT_SPURIOUS : ASPACE_FAULT_DONE;
}

static void step_fault(struct model *m)
{
    unsigned i = pick(m, m->pages), within = pick(m, PAGE);
    uint32_t access = 1u << pick(m, 3);
    struct page *p = &m->page[i];
    enum aspace_fault_result expected = expected_fault(p, access);
    struct aspace_fault_info info;

    snprintf(m->text, sizeof(m->text), "fault page %u access %u", i, access);
    CHECK_FAULT(aspace_fault(m->env->space, model_va(m, i) + within, access, &info), expected);
    if (expected == ASPACE_FAULT_TRAP) {
        CHECK_EQ(info.cookie, p->cookie);
        CHECK_EQ(info.offset, p->offset * PAGE + within);
    }
    if (expected == ASPACE_FAULT_DONE) {
        model_filled(m, i);
    }
    model_compare(m, i, i + 1);
}

/* What an access of the library's at a page must answer; 1 stands for any error. */
static int expected_access(const struct page *p, uint32_t need)
{
    if (p->kind == NOTHING) {
        return ASPACE_E_NOT_MAPPED;
    }
    if (p->kind == ASPACE_KIND_ROM && need == ASPACE_W) {
        return 1;
    }
    if (!has_leaves(p)) {
        return p->kind == ASPACE_KIND_TRAP ? ASPACE_E_FAULT : 1;
    }
    return (p->rights & need) != 0 ? ASPACE_OK : ASPACE_E_PERMISSION;
}

static void accessed(struct model *m, unsigned i)
{
    if (model_owned(&m->page[i]) && !m->page[i].filled) {
        model_filled(m, i);
    }
}

/* The last word of a page, and with it the first of the next one. */
static void step_copy(struct model *m)
{
    unsigned i = pick(m, m->pages);
    bool write = pick(m, 3) != 0;
    uint32_t need = write ? ASPACE_W : ASPACE_R;
    uint64_t words[2] = {random_next(&m->random), random_next(&m->random)};
    size_t done = 0, expected_done = 0;
    int expected = expected_access(&m->page[i], need);

    snprintf(m->text, sizeof(m->text), "%s at the end of page %u", write ? "write" : "read", i);
    if (expected == ASPACE_OK) {
        expected_done = 8;
        expected = i + 1 < m->pages ? expected_access(&m->page[i + 1], need) : 1;
        expected_done += expected == ASPACE_OK ? 8 : 0;
    }
    uint64_t va = model_va(m, i) + PAGE - 8;
    int error =
        write ? aspace_write(m->env->space, va, words, 16, &done) : aspace_read(m->env->space, va, words, 16, &done);
    CHECK(expected == 1 ? error < 0 : error == expected);
    CHECK_EQ(done, expected_done);
    for (unsigned n = 0; n < expected_done / 8; n++) {
        accessed(m, i + n);
        uint64_t *word = &model_words(m, i + n)[1 - n];
        if (write) {
            *word = words[n];
        } else {
            CHECK_EQ(words[n], *word);
        }
    }
    model_compare(m, i, i + 2 > m->pages ? m->pages : i + 2);
}

static void step_exchange(struct model *m)
{
    unsigned i = pick(m, m->pages);
    int expected_error = expected_access(&m->page[i], ASPACE_W);
    uint64_t desired = random_next(&m->random);
    bool swapped = false, hit = pick(m, 2) != 0;

    snprintf(m->text, sizeof(m->text), "compare-exchange page %u", i);
    uint64_t there = m->page[i].kind == NOTHING ? 0 : model_words(m, i)[0];
    uint64_t expected = hit ? there : there + 1;
    int error = aspace_compare_exchange(m->env->space, model_va(m, i), 8, &expected, desired, &swapped);
    CHECK(expected_error == 1 ? error < 0 : error == expected_error);
    if (error == ASPACE_OK) {
        accessed(m, i);
        CHECK_EQ(swapped, hit);
        CHECK_EQ(expected, there);
        if (hit) {
            model_words(m, i)[0] = desired;
        }
    }
    model_compare(m, i, i + 1);
}

/* --------------------------------------------------------------------------------------------------------- the rest */

static unsigned first_fit(const struct model *m, unsigned from, unsigned pages)
{
    for (unsigned first = from; first + pages <= m->pages; first++) {
        if (!anything_in(m, (struct range){first, first + pages})) {
            return first;
        }
    }
    return m->pages;
}

static void step_find(struct model *m)
{
    unsigned pages = 1 + pick(m, pick(m, 3) ? 8 : m->pages), hint = pick(m, m->pages);
    struct aspace_find find = {.size = pages * PAGE, .hint = model_va(m, hint), .limit = {m->va, m->pages * PAGE}};
    uint64_t va = 0;

    snprintf(m->text, sizeof(m->text), "find %u pages from page %u", pages, hint);
    int error = aspace_find(m->env->space, &find, &va);
    unsigned expected = first_fit(m, hint, pages);
    if (expected < m->pages) {
        CHECK_OK(error);
        CHECK_EQ(va, model_va(m, expected));
        return;
    }
    CHECK_ERROR(error, first_fit(m, 0, pages) < m->pages ? ASPACE_OK : ASPACE_E_LIMIT);
    if (error == ASPACE_OK) {
        unsigned first = (unsigned)((va - m->va) / PAGE);
        CHECK(!anything_in(m, (struct range){first, first + pages}));
    }
}

static void step_limit(struct model *m)
{
    unsigned i = pick(m, m->pages), end = i;
    struct aspace_translation t;
    uint64_t pa = 0;
    struct naive_result first = walk(m->env, model_va(m, i)), r = first;

    snprintf(m->text, sizeof(m->text), "limit from page %u", i);
    int error = aspace_translate_limit(m->env->space, model_va(m, i), UINT64_MAX, &t);
    if (!first.present) {
        CHECK_ERROR(error, ASPACE_E_NOT_MAPPED);
        return;
    }
    CHECK_OK(error);
    for (pa = first.pa; r.present && r.pa == pa && r.rights == first.rights && r.attr == first.attr; pa += PAGE) {
        end++;
        if (end == m->pages) {
            break;
        }
        r = walk(m->env, model_va(m, end));
    }
    CHECK_EQ(t.length, (end - i) * PAGE);
}

static void step_housekeeping(struct model *m)
{
    snprintf(m->text, sizeof(m->text), "housekeeping");
    switch (pick(m, 4)) {
    case 0: (void)aspace_sweep(m->env->space, 1 + pick(m, 20)); break;
    case 1: (void)aspace_drain(m->env->host); break;
    case 2: aspace_trim(m->env->host); break;
    default:
        cpu_leave(m->env, 1);
        cpu_enter(m->env, 1);
        break;
    }
}

void model_step(struct model *m)
{
    static const struct {
        unsigned weight;
        void (*step)(struct model *m);
    } steps[] = {
        {22, step_map},    {4, step_batch},    {12, step_unmap},       {14, step_protect},
        {5, step_discard}, {5, step_populate}, {4, step_migrate},      {5, step_collapse},
        {3, step_split},   {12, step_fault},   {12, step_copy},        {4, step_exchange},
        {4, step_find},    {4, step_limit},    {4, step_housekeeping}, {12, step_move},
    };
    unsigned total = 0;

    for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        total += steps[i].weight;
    }
    unsigned at_weight = pick(m, total);
    for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (at_weight < steps[i].weight) {
            steps[i].step(m);
            return;
        }
        at_weight -= steps[i].weight;
    }
}
