/* SPDX-License-Identifier: BSD-2-Clause */
/* The random operations on a family of spaces, what each must answer, and what is expected after it. Must not know how
 * the library keeps anything. */
#include <stdio.h>
#include <string.h>

#include <aspace/fork.h>

#include "family.h"

/* OK; or out of memory, if some allocation was to fail, and nothing has changed. */
bool family_worked(const struct family *f, int error)
{
    if (error != ASPACE_E_NO_MEMORY || !f->scarce) {
        CHECK_OK(error);
    }
    return error == ASPACE_OK;
}

static struct range pick_range(struct family *f)
{
    unsigned first = pick_page(f), pages = pick(f, 4) ? 1 + pick(f, 4) : 1 + pick(f, f->pages);

    return (struct range){first, first + pages > f->pages ? f->pages : first + pages};
}

struct member *pick_member(struct family *f)
{
    unsigned n = pick(f, SPACES);

    while (!f->member[n].space) {
        n = (n + 1) % SPACES;
    }
    return &f->member[n];
}

/* A pinned page of the member's, if there is one and chance wants it. */
static unsigned pick_pinned(struct family *f, const struct member *m)
{
    unsigned i = pick_page(f), other = pick(f, f->pages);
    bool wanted = pick(f, 2);

    for (unsigned n = 0; wanted && n < f->pages; n++) {
        if (m->page[(other + n) % f->pages].pins) {
            return (other + n) % f->pages;
        }
    }
    return i;
}

/* The same as a range. */
static struct range pick_contents(struct family *f, const struct member *m)
{
    struct range r = pick_range(f);
    unsigned i = pick_pinned(f, m);

    return m->page[i].pins ? (struct range){i, i + 1} : r;
}

static uint32_t pick_rights(struct family *f)
{
    const uint32_t some[] = {f->env->rw, f->env->rw, f->env->ro, ASPACE_RWX, ASPACE_RWX, ASPACE_RX};
    uint32_t rights = some[pick(f, 6)];

    return expressible(f->env, rights) ? rights : f->env->rw;
}

/* ---------------------------------------------------------------------------------------------------------- mapping */

static const enum aspace_kind kinds[] = {
    ASPACE_KIND_LAZY,    ASPACE_KIND_LAZY,   ASPACE_KIND_LAZY,   ASPACE_KIND_EAGER,   ASPACE_KIND_EAGER,
    ASPACE_KIND_SHARED,  ASPACE_KIND_SHARED, ASPACE_KIND_SHARED, ASPACE_KIND_PRIVATE, ASPACE_KIND_PRIVATE,
    ASPACE_KIND_PRIVATE, ASPACE_KIND_CUSTOM, ASPACE_KIND_CUSTOM, ASPACE_KIND_LINEAR,  ASPACE_KIND_ROM,
    ASPACE_KIND_TRAP,    ASPACE_KIND_GUARD,
};

static enum aspace_fork_policy pick_fork(struct family *f, enum aspace_kind kind)
{
    bool owns = kind == ASPACE_KIND_LAZY || kind == ASPACE_KIND_EAGER || kind == ASPACE_KIND_PRIVATE;
    unsigned n = pick(f, 16);

    if (n == 0 && pick(f, 4) == 0) {
        return ASPACE_FORK_REFUSE;
    }
    return n < 2    ? ASPACE_FORK_DROP
           : n < 10 ? ASPACE_FORK_COW
           : !owns  ? ASPACE_FORK_SHARE
           : n < 14 ? ASPACE_FORK_COPY
                    : ASPACE_FORK_WIPE;
}

static struct aspace_map pick_map(struct family *f, struct range r, struct page *first)
{
    enum aspace_kind kind = kinds[pick(f, sizeof(kinds) / sizeof(kinds[0]))];
    struct aspace_map m = request(kind, family_va(f, r.first), (r.end - r.first) * PAGE, pick_rights(f));
    unsigned pages = r.end - r.first;

    *first = (struct page){.kind = (uint8_t)kind, .cookie = ++f->next_cookie};
    m.cookie = first->cookie;
    m.fork = pick_fork(f, kind);
    m.max_leaf_level = pick(f, 2);
    m.max_rights = 15;
    if (kind == ASPACE_KIND_LINEAR || kind == ASPACE_KIND_ROM) {
        first->offset = pick(f, (1u << DEVICE_ORDER) - pages + 1);
        m.pa = f->device.pa + first->offset * PAGE;
        m.rights = kind == ASPACE_KIND_ROM ? f->env->ro : m.rights;
        m.max_rights = kind == ASPACE_KIND_ROM ? f->env->ro : m.max_rights;
    }
    if (kind == ASPACE_KIND_PRIVATE || kind == ASPACE_KIND_SHARED) {
        first->store = (uint8_t)pick(f, OBJECTS);
        first->offset = pick(f, STORE_PAGES);
        m.object = &f->store[first->store].object;
    }
    if (kind == ASPACE_KIND_CUSTOM) {
        m.backend = &family_backend;
        m.backend_ctx = (void *)(uintptr_t)first->cookie;
        first->offset = pick(f, STORE_PAGES);
    }
    m.offset = first->offset * PAGE;
    first->rights = (uint8_t)m.rights;
    first->max_rights = (uint8_t)m.max_rights;
    first->fork = (uint8_t)m.fork;
    return m;
}

/* Without the right to write it cannot be told whether a page has been written. */
bool family_always_told(const struct family *f, const struct page *p)
{
    uint32_t less = p->rights & ~(uint32_t)ASPACE_W;

    return less != p->rights && !expressible(f->env, less);
}

static void set_pages(struct family *f, struct member *m, struct range r, const struct page *first)
{
    family_revoke(f, m, r.first, r.end);
    for (unsigned i = r.first; i < r.end; i++) {
        struct page *p = &m->page[i];
        *p = (struct page){.seen_pa = p->seen_pa, .seen_right = p->seen_right, .kind = NOTHING};
        if (first) {
            uint64_t pa = p->seen_pa;
            uint32_t right = p->seen_right;
            *p = *first;
            p->seen_pa = pa;
            p->seen_right = right;
            p->offset += i - r.first;
        }
    }
}

static bool is_free(const struct family *f, const struct member *m, struct range r)
{
    for (unsigned i = r.first; i < r.end; i++) {
        if (m->page[i].kind != NOTHING) {
            return false;
        }
    }
    return r.end <= f->pages;
}

static void step_map(struct family *f)
{
    struct member *m = pick_member(f);
    struct range r = pick_range(f);
    struct page first;
    struct aspace_map q = pick_map(f, r, &first);
    bool replace = pick(f, 2);

    q.flags = replace ? ASPACE_MAP_REPLACE : 0;
    SAY(f, "%u: map %u-%u kind %d rights %u fork %d offset %u leaf %u%s", number_of(f, m), r.first, r.end, (int)q.kind,
        q.rights, (int)q.fork, first.offset, q.max_leaf_level, replace ? " replace" : "");
    int error = aspace_map(m->space, &q, NULL);
    if (!replace && !is_free(f, m, r)) {
        CHECK(error == ASPACE_E_EXISTS || (f->scarce && error == ASPACE_E_NO_MEMORY));
    } else if (family_worked(f, error)) {
        set_pages(f, m, r, &first);
    }
}

static void step_replace_all(struct family *f)
{
    struct member *m = pick_member(f);
    unsigned half = f->pages / 2, n = pick(f, 3);
    struct range r[2] = {{pick(f, half), 0}, {half + pick(f, f->pages - half), f->pages}};
    struct aspace_map q[2];
    struct page first[2];

    r[0].end = r[0].first + 1 + pick(f, half - r[0].first);
    for (unsigned k = 0; k < n; k++) {
        q[k] = pick_map(f, r[k], &first[k]);
    }
    SAY(f, "%u: replace all by %u", number_of(f, m), n);
    if (family_worked(f, aspace_replace_all(m->space, q, n))) {
        set_pages(f, m, (struct range){0, f->pages}, NULL);
        for (unsigned k = 0; k < n; k++) {
            set_pages(f, m, r[k], &first[k]);
        }
    }
}

static void step_unmap(struct family *f)
{
    struct member *m = pick_member(f);
    struct range r = pick_range(f);

    SAY(f, "%u: unmap %u-%u", number_of(f, m), r.first, r.end);
    if (family_worked(f, aspace_unmap(m->space, family_va(f, r.first), (r.end - r.first) * PAGE))) {
        set_pages(f, m, r, NULL);
    }
}

void family_touch(struct family *f, struct member *m, unsigned i, uint32_t access)
{
    enum aspace_fault_result expected = family_fault(f, &m->page[i], access);
    enum aspace_fault_result r = aspace_fault(m->space, family_va(f, i), access, NULL);

    if (expected == ASPACE_FAULT_DONE && (r == ASPACE_FAULT_SPURIOUS || (f->scarce && r == ASPACE_FAULT_NO_MEMORY))) {
        expected = r;
    }
    CHECK_FAULT(r, expected);
    if ((r == ASPACE_FAULT_DONE || r == ASPACE_FAULT_SPURIOUS) && access == ASPACE_W) {
        family_becomes_own(f, m, i);
    }
}

static void protect(struct family *f, struct member *m, struct range r, uint32_t rights)
{
    bool hole = false, beyond = false;

    for (unsigned i = r.first; i < r.end; i++) {
        hole |= m->page[i].kind == NOTHING;
        beyond |= m->page[i].kind != NOTHING && (rights & ~(uint32_t)m->page[i].max_rights);
    }
    SAY(f, "%u: protect %u-%u to %u", number_of(f, m), r.first, r.end, rights);
    int error = aspace_protect(m->space, family_va(f, r.first), (r.end - r.first) * PAGE, rights);
    if (hole || beyond) {
        CHECK(error == ASPACE_E_NOT_MAPPED || error == ASPACE_E_PERMISSION ||
              (f->scarce && error == ASPACE_E_NO_MEMORY));
        return;
    }
    if (family_worked(f, error)) {
        for (unsigned i = r.first; i < r.end; i++) {
            m->page[i].rights = (uint8_t)rights;
            m->page[i].maybe |= family_always_told(f, &m->page[i]);
        }
        if (!rights) {
            family_revoke(f, m, r.first, r.end);
        }
    }
}

static void step_protect(struct family *f)
{
    struct member *m = pick_member(f);
    struct range r = pick_range(f);
    bool away = pick(f, 3) == 0;

    protect(f, m, r, away ? 0 : pick_rights(f));
    if (away && pick(f, 2)) {
        protect(f, m, r, pick_rights(f));
        SAY(f, "%u: protect %u-%u to nothing and back, fault", number_of(f, m), r.first, r.end);
        family_touch(f, m, r.first, pick(f, 2) ? ASPACE_R : ASPACE_X);
    }
}

void family_drop(struct page *p)
{
    if (p->pins) {
        return;
    }
    p->own = p->dirty = p->maybe = false;
    p->custom_pa = 0;
    p->word[0] = p->word[1] = 0;
}

static void step_discard(struct family *f)
{
    struct member *m = pick_member(f);
    struct range r = pick_contents(f, m);

    SAY(f, "%u: discard %u-%u", number_of(f, m), r.first, r.end);
    if (!family_worked(f, aspace_discard(m->space, family_va(f, r.first), (r.end - r.first) * PAGE))) {
        return;
    }
    family_revoke(f, m, r.first, r.end);
    for (unsigned i = r.first; i < r.end; i++) {
        if (m->page[i].kind != ASPACE_KIND_LINEAR && m->page[i].kind != ASPACE_KIND_ROM) {
            family_drop(&m->page[i]);
        }
    }
}

static void zeroed(struct family *f, struct member *m, unsigned i)
{
    struct page *p = &m->page[i];

    if (p->kind == ASPACE_KIND_SHARED && p->offset < STORE_PAGES) {
        f->store[p->store].word[p->offset][0] = f->store[p->store].word[p->offset][1] = 0;
    }
    if (p->kind == ASPACE_KIND_PRIVATE || family_owned(p)) {
        family_drop(p);
        p->own = p->kind == ASPACE_KIND_PRIVATE;
        p->maybe |= p->own && !(f->env->config.features & ASPACE_FEAT_AD); /* flags that no hardware sets are set */
    }
}

static bool not_to_write(const struct page *p)
{
    return p->kind == ASPACE_KIND_SHARED && !(p->rights & ASPACE_W);
}

static void step_discard_zero(struct family *f)
{
    struct member *m = pick_member(f);
    struct range r = pick_contents(f, m);
    uint64_t done = 0;

    if (m->page[r.first].pins) {
        SAY(f, "%u: discard zero %u, which is pinned", number_of(f, m), r.first);
        int error = aspace_discard_zero(m->space, family_va(f, r.first), PAGE, &done);
        CHECK(error == ASPACE_E_BUSY || (f->scarce && error == ASPACE_E_NO_MEMORY));
        CHECK_EQ(done, 0);
        return;
    }
    if (not_to_write(&m->page[r.first])) {
        SAY(f, "%u: discard zero %u, which is shared and read-only", number_of(f, m), r.first);
        CHECK_ERROR(aspace_discard_zero(m->space, family_va(f, r.first), PAGE, &done), ASPACE_E_PERMISSION);
        CHECK_EQ(done, 0);
        return;
    }
    for (unsigned i = r.first; i < r.end; i++) {
        const struct page *p = &m->page[i];
        bool past = p->kind == ASPACE_KIND_PRIVATE && family_fault(f, p, 0) == ASPACE_FAULT_BUS;
        if (p->pins || p->kind == ASPACE_KIND_CUSTOM || past || not_to_write(p)) {
            r.end = i;
        }
    }
    SAY(f, "%u: discard zero %u-%u", number_of(f, m), r.first, r.end);
    if (r.end == r.first) {
        return;
    }
    int error = aspace_discard_zero(m->space, family_va(f, r.first), (r.end - r.first) * PAGE, &done);
    if (family_worked(f, error)) {
        CHECK_EQ(done, (r.end - r.first) * PAGE);
    }
    for (unsigned i = r.first; i < r.first + done / PAGE; i++) {
        zeroed(f, m, i);
    }
}

static void step_move(struct family *f)
{
    struct member *m = pick_member(f);
    struct range r = pick_range(f);
    unsigned pages = r.end - r.first, to = pick(f, f->pages - pages + 1);
    static struct page moved[PAGES];

    SAY(f, "%u: move %u-%u to %u", number_of(f, m), r.first, r.end, to);
    int error = aspace_move(m->space, family_va(f, r.first), pages * PAGE, family_va(f, to), NULL);
    if (to < r.end && r.first < to + pages) {
        CHECK_ERROR(error, ASPACE_E_INVALID);
    } else if (!is_free(f, m, (struct range){to, to + pages})) {
        CHECK(error == ASPACE_E_EXISTS || (f->scarce && error == ASPACE_E_NO_MEMORY));
    } else if (family_worked(f, error)) {
        memcpy(moved, &m->page[r.first], pages * sizeof(moved[0]));
        set_pages(f, m, r, NULL);
        for (unsigned i = 0; i < pages; i++) {
            moved[i].seen_pa = ASPACE_PA_NONE;
            m->page[to + i] = moved[i];
        }
    }
}

/* -------------------------------------------------------------------------------------------------------- accesses */

/* The page is written, or may be from now on. */
void family_becomes_own(struct family *f, struct member *m, unsigned i)
{
    struct page *p = &m->page[i];

    if (p->kind == ASPACE_KIND_PRIVATE && !p->own) {
        memcpy(p->word, family_words(f, p), sizeof(p->word));
        p->own = true;
    }
    family_touched(f, m, i);
}

void family_written(struct family *f, struct member *m, unsigned i, unsigned n, uint64_t value)
{
    struct page *p = &m->page[i];

    family_becomes_own(f, m, i);
    family_words(f, p)[n] = value;
    p->dirty = true;
    if (p->kind == ASPACE_KIND_SHARED) {
        f->store[p->store].written[p->offset] = true;
        f->store[p->store].told[p->offset] = false;
    }
}

static void step_write(struct family *f)
{
    struct member *m = pick_member(f);
    unsigned i = pick_page(f), n = pick(f, 2);
    uint64_t value = random_next(&f->random);
    size_t done = 0;

    SAY(f, "%u: write %u", number_of(f, m), i);
    int error = aspace_write(m->space, family_va(f, i) + (n ? PAGE - 8 : 0), &value, 8, &done);
    if (family_fault(f, &m->page[i], ASPACE_W) != ASPACE_FAULT_DONE) {
        CHECK(error < 0 && done == 0);
    } else if (family_worked(f, error)) {
        family_written(f, m, i, n, value);
    }
}

static void step_read(struct family *f)
{
    struct member *m = pick_member(f);
    unsigned i = pick_page(f), n = pick(f, 2);
    uint64_t value = 0;
    size_t done = 0;

    SAY(f, "%u: read %u", number_of(f, m), i);
    int error = aspace_read(m->space, family_va(f, i) + (n ? PAGE - 8 : 0), &value, 8, &done);
    if (family_fault(f, &m->page[i], ASPACE_R) != ASPACE_FAULT_DONE) {
        CHECK(error < 0 && done == 0);
    } else if (family_worked(f, error)) {
        CHECK_EQ(value, family_words(f, &m->page[i])[n]);
    }
}

static void step_fault(struct family *f)
{
    struct member *m = pick_member(f);
    unsigned i = pick_page(f);
    uint32_t access = 1u << pick(f, 3);

    SAY(f, "%u: fault %u access %u", number_of(f, m), i, access);
    family_touch(f, m, i, access);
}

/* ------------------------------------------------------------------------------------------------------------ forks */

static void inherit(struct family *f, struct member *child, const struct member *parent)
{
    for (unsigned i = 0; i < f->pages; i++) {
        const struct page *from = &parent->page[i];
        struct page *p = &child->page[i];
        *p = *from;
        p->pins = 0;
        p->custom_pa = 0;
        p->seen_pa = ASPACE_PA_NONE;
        p->maybe |= p->dirty | (child->space != NULL);
        p->dirty = false;
        if (from->kind != NOTHING && from->fork == ASPACE_FORK_DROP) {
            *p = (struct page){.kind = NOTHING, .seen_pa = ASPACE_PA_NONE};
        } else if (from->fork == ASPACE_FORK_WIPE) {
            p->own = false;
            p->word[0] = p->word[1] = 0;
        }
        struct aspace_translation t;
        bool copied = from->pins || from->fork == ASPACE_FORK_COPY;
        if (aspace_translate(child->space, family_va(f, i), &t) == ASPACE_OK && copied && (family_owned(p) || p->own)) {
            CHECK(t.pa != from->pinned_pa && t.pa != from->seen_pa);
        }
    }
}

static int fork_in_steps(struct family *f, const struct member *parent, struct member *child, bool give_up)
{
    struct aspace_fork fork;
    int rc = aspace_fork_begin(&fork, parent->space, child->space);

    if (rc) {
        return rc;
    }
    do {
        rc = aspace_fork_step(&fork, 1 + pick(f, 3));
    } while (rc == ASPACE_E_MORE && !(give_up && pick(f, 2)));
    if (rc == ASPACE_E_MORE) {
        aspace_fork_cancel(&fork);
    }
    return rc;
}

static void step_fork(struct family *f)
{
    struct member *parent = pick_member(f);
    unsigned n = 0, how = pick(f, 4);
    bool refused = false;

    while (n < SPACES && f->member[n].space) {
        n++;
    }
    SAY(f, "%u: fork to %u, %s", number_of(f, parent), n, how == 0 ? "in steps" : how == 1 ? "given up" : "at once");
    if (n == SPACES) {
        return;
    }
    arena_fail_nth(&f->env->machine.arena, 0);
    family_open(f, n);
    arena_fail_nth(&f->env->machine.arena, f->scarce ? 1 + pick(f, 12) : 0);
    struct member *child = &f->member[n];
    int rc = how < 2 ? fork_in_steps(f, parent, child, how == 1) : aspace_fork(parent->space, child->space);
    arena_fail_nth(&f->env->machine.arena, 0);
    for (unsigned i = 0; i < f->pages; i++) {
        refused |= parent->page[i].kind != NOTHING && parent->page[i].fork == ASPACE_FORK_REFUSE;
    }
    if (rc == ASPACE_OK) {
        CHECK(!refused);
        inherit(f, child, parent);
        family_watch(f, child);
        return;
    }
    CHECK((refused && rc == ASPACE_E_PERMISSION) || (how == 1 && rc == ASPACE_E_MORE) ||
          (f->scarce && rc == ASPACE_E_NO_MEMORY));
    CHECK_EQ(aspace_audit(child->space, NULL, NULL), 0);
    family_close(f, n);
}

static void step_drop(struct family *f)
{
    struct member *m = pick_member(f);
    unsigned others = 0;
    bool closed = pick(f, 2);

    for (unsigned n = 0; n < SPACES; n++) {
        others += f->member[n].space && &f->member[n] != m;
    }
    SAY(f, "%u: drop%s", number_of(f, m), closed ? ", closed before" : "");
    if (!others) {
        return;
    }
    arena_fail_nth(&f->env->machine.arena, 0);
    if (closed) {
        aspace_close(m->space);
    }
    family_end_tickets(f, m, closed);
    for (unsigned n = 0; n < PINS; n++) {
        if (f->pin[n].pa && f->pin[n].member == m) {
            CHECK_ERROR(aspace_destroy(m->space), ASPACE_E_BUSY);
            family_unpin(f, &f->pin[n]);
        }
    }
    family_close(f, number_of(f, m));
}

/* ------------------------------------------------------------------------------------------------------- the others */

static void step_shape(struct family *f)
{
    struct member *m = pick_member(f);
    unsigned i = pick_pinned(f, m);
    struct page *p = &m->page[i];
    int error;

    switch (pick(f, 4)) {
    case 0:
        SAY(f, "%u: collapse %u", number_of(f, m), i);
        error = aspace_collapse(m->space, family_va(f, i), 1);
        for (unsigned k = 0; error == ASPACE_OK && k < f->pages; k++) {
            bool in = family_va(f, k) / f->env->span[1] == family_va(f, i) / f->env->span[1];
            CHECK(!in || family_owned(&m->page[k]));
            CHECK(!in || !m->page[k].pins);
            m->page[k].maybe |= in;
        }
        break;
    case 1:
        SAY(f, "%u: split %u", number_of(f, m), i);
        error = aspace_split(m->space, family_va(f, i));
        break;
    case 2:
        SAY(f, "%u: migrate %u", number_of(f, m), i);
        error = aspace_migrate(m->space, family_va(f, i), ASPACE_PA_NONE);
        CHECK(error != ASPACE_OK || (!p->pins && (family_owned(p) || p->own)));
        break;
    default:
        SAY(f, "%u: sweep, trim", number_of(f, m));
        (void)aspace_sweep(m->space, 8);
        aspace_trim(f->env->host);
        error = ASPACE_OK;
    }
    CHECK(error == ASPACE_OK || error == ASPACE_E_NOT_MAPPED || error == ASPACE_E_UNSUPPORTED ||
          error == ASPACE_E_BUSY || error == ASPACE_E_RANGE || (error == ASPACE_E_NO_MEMORY));
}

void family_step(struct family *f)
{
    static const struct {
        void (*step)(struct family *f);
        unsigned weight;
    } steps[] = {
        {step_map, 9},      {step_replace_all, 1},  {step_unmap, 2},  {step_protect, 8}, {step_discard, 3},
        {step_move, 4},     {step_discard_zero, 2}, {step_write, 14}, {step_read, 5},    {step_fault, 12},
        {step_cpu, 24},     {step_fork, 8},         {step_drop, 5},   {step_evict, 4},   {step_clean, 3},
        {step_truncate, 1}, {step_store_write, 2},  {step_pin, 6},    {step_device, 3},  {step_log, 10},
        {step_ticket, 8},   {step_shape, 6},        {step_mark, 6},
    };
    unsigned sum = 0, n = 0;

    for (unsigned k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
        sum += steps[k].weight;
    }
    unsigned at = pick(f, sum);
    while (at >= steps[n].weight) {
        at -= steps[n++].weight;
    }
    f->scarce = pick(f, 6) == 0;
    f->text[0] = 0;
    arena_fail_nth(&f->env->machine.arena, f->scarce ? 1 + pick(f, 5) : 0);
    steps[n].step(f);
    arena_fail_nth(&f->env->machine.arena, 0);
}

void family_finish(struct family *f)
{
    for (unsigned n = 0; n < SPACES; n++) {
        struct member *m = &f->member[n];
        if (m->space) {
            family_end_tickets(f, m, false);
            for (unsigned k = 0; k < PINS; k++) {
                if (f->pin[k].pa && f->pin[k].member == m) {
                    family_unpin(f, &f->pin[k]);
                }
            }
            family_close(f, n);
        }
    }
    family_end(f);
}
