/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random operations on pages that no other CPU touches, though their tables are shared: whatever the others do, each
 * answer and each byte must be what a flat array of pages says. Must not know src/.
 */
#include "race/race.h"

struct piece {
    struct window *w;
    unsigned from, to; /* pages */
};

static uint64_t va_of(const struct window *w, unsigned page)
{
    return w->va + page * RACE_PAGE;
}

static uint64_t bytes_of(const struct piece *p)
{
    return (p->to - p->from) * RACE_PAGE;
}

/* Each page has its word somewhere else. */
static uint64_t word_va(const struct window *w, unsigned page)
{
    return va_of(w, page) + page * 8 % RACE_PAGE;
}

static uint64_t *value_of(struct window *w, unsigned page)
{
    return w->page[page].kind == ASPACE_KIND_LINEAR ? &w->device[page % RACE_BIG_PAGES] : &w->page[page].value;
}

static bool is_owned(const struct page *p)
{
    return p->mapped && (p->kind == ASPACE_KIND_LAZY || p->kind == ASPACE_KIND_EAGER);
}

/* Mostly one of a few, so that they stay in the TLB and meet every operation. */
static unsigned pick_page(struct race_cpu *cpu, const struct window *w)
{
    if (race_below(cpu, 200) == 0) {
        __atomic_store_n(&cpu->hot, (unsigned)race_random(cpu) & 0xffff, __ATOMIC_RELAXED); /* neighbours look */
    }
    unsigned near = (unsigned)race_below(cpu, race_below(cpu, 4) ? 6 : w->pages);
    return (cpu->hot + near) % w->pages;
}

/* Mostly small pieces, at times a whole large page, or all. */
static struct piece pick_piece(struct race_cpu *cpu, struct window *w)
{
    unsigned size = 1 + (unsigned)race_below(cpu, race_below(cpu, 4) ? 8 : 100), big = RACE_BIG_PAGES;
    uint64_t how = race_below(cpu, 12);

    if (how == 0) {
        return (struct piece){w, 0, w->pages};
    }
    if (how < 3 && w->pages >= big) {
        unsigned at = (unsigned)race_below(cpu, w->pages / big) * big;
        return (struct piece){w, at, at + big};
    }
    unsigned from = pick_page(cpu, w);
    size = size < w->pages - from ? size : w->pages - from;
    return (struct piece){w, from, from + size};
}

static uint32_t pick_rights(struct race_cpu *cpu)
{
    uint64_t how = race_below(cpu, 8);

    return how == 0 ? 0 : how < 3 ? cpu->race->ro : cpu->race->rw;
}

static bool any_mapped(const struct piece *p)
{
    for (unsigned i = p->from; i < p->to; i++) {
        if (p->w->page[i].mapped) {
            return true;
        }
    }
    return false;
}

static bool any_hole(const struct piece *p)
{
    for (unsigned i = p->from; i < p->to; i++) {
        if (!p->w->page[i].mapped) {
            return true;
        }
    }
    return false;
}

/* A fault may fill a large page at once. */
static void filled(struct window *w, unsigned page)
{
    unsigned first = page / RACE_BIG_PAGES * RACE_BIG_PAGES;

    for (unsigned i = first; w->pages >= RACE_BIG_PAGES && i < first + RACE_BIG_PAGES; i++) {
        if (is_owned(&w->page[i]) && w->page[i].filled == UNFILLED) {
            w->page[i].filled = MAYBE_FILLED;
        }
    }
    w->page[page].filled = FILLED;
}

#define EXPECT(error, wanted)                                                                                          \
    do {                                                                                                               \
        int got_ = (error), wanted_ = (wanted);                                                                        \
        if (got_ != wanted_) {                                                                                         \
            race_fail(cpu, __FILE__, __LINE__, "%s, not %s", aspace_error_name(got_), aspace_error_name(wanted_));     \
        }                                                                                                              \
    } while (0)

static void expect_value(struct race_cpu *cpu, struct window *w, unsigned page, uint64_t value)
{
    if (value != *value_of(w, page)) {
        race_fail(cpu, __FILE__, __LINE__, "0x%llx is 0x%llx, and was made 0x%llx",
                  (unsigned long long)word_va(w, page), (unsigned long long)value,
                  (unsigned long long)*value_of(w, page));
    }
}

static uint64_t new_value(struct race_cpu *cpu)
{
    return (uint64_t)(cpu->id + 1) << 56 | ++cpu->serial;
}

/* ----------------------------------------------------------------------------------------------------------- ranges */

static void was_mapped(const struct piece *p, enum aspace_kind kind, uint32_t rights)
{
    for (unsigned i = p->from; i < p->to; i++) {
        p->w->page[i] = (struct page){
            .mapped = true,
            .kind = (uint8_t)kind,
            .rights = (uint8_t)rights,
            .filled = kind == ASPACE_KIND_EAGER || kind == ASPACE_KIND_LINEAR ? FILLED : UNFILLED,
        };
    }
}

static struct aspace_map any_request(struct race_cpu *cpu, struct window *w)
{
    static const enum aspace_kind kinds[] = {ASPACE_KIND_LAZY,   ASPACE_KIND_LAZY, ASPACE_KIND_LAZY,
                                             ASPACE_KIND_LINEAR, ASPACE_KIND_TRAP, ASPACE_KIND_EAGER};
    (void)w;
    return (struct aspace_map){
        .kind = kinds[race_below(cpu, sizeof(kinds) / sizeof(kinds[0]))],
        .rights = pick_rights(cpu),
        .max_rights = cpu->race->ro | cpu->race->rw,
        .max_leaf_level = race_below(cpu, 3) ? 1 : 0,
        .cookie = cpu->id,
    };
}

/* A page of the device for each page: contiguous up to the end of a large page. */
static void own_map(struct race_cpu *cpu, struct window *w)
{
    struct piece p = pick_piece(cpu, w);
    struct aspace_map m = any_request(cpu, w);

    if (m.kind == ASPACE_KIND_LINEAR && p.from / RACE_BIG_PAGES != (p.to - 1) / RACE_BIG_PAGES) {
        p.to = (p.from / RACE_BIG_PAGES + 1) * RACE_BIG_PAGES;
    }
    if (m.kind == ASPACE_KIND_EAGER && p.to - p.from > RACE_BIG_PAGES) {
        p.to = p.from + RACE_BIG_PAGES;
    }
    m.va = va_of(w, p.from);
    m.size = bytes_of(&p);
    m.pa = w->device_pa + p.from % RACE_BIG_PAGES * RACE_PAGE;
    m.flags = race_below(cpu, 2) ? ASPACE_MAP_REPLACE : 0;
    bool refused = any_mapped(&p) && !m.flags;
    EXPECT(aspace_map(cpu->race->space, &m, NULL), refused ? ASPACE_E_EXISTS : ASPACE_OK);
    if (!refused) {
        was_mapped(&p, m.kind, m.rights);
    }
}

static void own_map_anywhere(struct race_cpu *cpu, struct window *w)
{
    struct aspace_map m = any_request(cpu, w);
    unsigned pages = 1 + (unsigned)race_below(cpu, 40), run = 0, i;
    struct aspace_find find = {.size = pages * RACE_PAGE, .limit = {w->va, w->pages * RACE_PAGE}};
    uint64_t va = 0;

    m.kind = race_below(cpu, 2) ? ASPACE_KIND_LAZY : ASPACE_KIND_TRAP;
    for (i = 0; i < w->pages && run < pages; i++) {
        run = w->page[i].mapped ? 0 : run + 1;
    }
    EXPECT(aspace_map_anywhere(cpu->race->space, &m, &find, &va), run < pages ? ASPACE_E_LIMIT : ASPACE_OK);
    if (run == pages) {
        struct piece p = {w, i - pages, i};
        RACE_CHECK(cpu, va == va_of(w, p.from));
        was_mapped(&p, m.kind, m.rights);
    }
}

static void own_unmap(struct race_cpu *cpu, struct window *w)
{
    struct piece p = pick_piece(cpu, w);

    EXPECT(aspace_unmap(cpu->race->space, va_of(w, p.from), bytes_of(&p)), ASPACE_OK);
    for (unsigned i = p.from; i < p.to; i++) {
        w->page[i] = (struct page){0};
    }
}

static void own_protect(struct race_cpu *cpu, struct window *w)
{
    struct piece p = pick_piece(cpu, w);
    uint32_t rights = pick_rights(cpu);
    int wanted = any_hole(&p) ? ASPACE_E_NOT_MAPPED : ASPACE_OK;

    EXPECT(aspace_protect(cpu->race->space, va_of(w, p.from), bytes_of(&p), rights), wanted);
    for (unsigned i = p.from; i < p.to && wanted == ASPACE_OK; i++) {
        w->page[i].rights = (uint8_t)rights;
    }
}

static void own_discard(struct race_cpu *cpu, struct window *w)
{
    struct piece p = pick_piece(cpu, w);

    EXPECT(aspace_discard(cpu->race->space, va_of(w, p.from), bytes_of(&p)), ASPACE_OK);
    for (unsigned i = p.from; i < p.to; i++) {
        if (is_owned(&w->page[i])) {
            w->page[i].value = 0;
            w->page[i].filled = UNFILLED;
        }
    }
}

static void own_populate(struct race_cpu *cpu, struct window *w)
{
    struct piece p = pick_piece(cpu, w);
    uint64_t done = 0;
    unsigned end = p.from;

    if (p.to - p.from > 64) {
        p.to = p.from + 64;
    }
    while (end < p.to && w->page[end].mapped) {
        end++;
    }
    int error = aspace_populate(cpu->race->space, va_of(w, p.from), bytes_of(&p), &done);
    EXPECT(error, end < p.to ? ASPACE_E_NOT_MAPPED : ASPACE_OK);
    RACE_CHECK(cpu, done == (end - p.from) * RACE_PAGE);
    for (unsigned i = p.from; i < end; i++) {
        if (is_owned(&w->page[i]) && w->page[i].rights) {
            filled(w, i);
        }
    }
}

/* ----------------------------------------------------------------------------------------------------- single pages */

static enum aspace_fault_result verdict(const struct page *p, uint32_t access)
{
    if (!p->mapped) {
        return ASPACE_FAULT_NO_AREA;
    }
    if (p->kind == ASPACE_KIND_TRAP) {
        return ASPACE_FAULT_TRAP;
    }
    return access & ~p->rights ? ASPACE_FAULT_PERMISSION : ASPACE_FAULT_DONE;
}

static int access_error(const struct page *p, uint32_t access)
{
    switch (verdict(p, access)) {
    case ASPACE_FAULT_DONE: return ASPACE_OK;
    case ASPACE_FAULT_NO_AREA: return ASPACE_E_NOT_MAPPED;
    case ASPACE_FAULT_PERMISSION: return ASPACE_E_PERMISSION;
    default: return ASPACE_E_FAULT;
    }
}

static enum aspace_fault_result fault(struct race_cpu *cpu, uint64_t va, uint32_t access)
{
    for (;;) {
        enum aspace_fault_result r = aspace_fault(cpu->race->space, va, access, NULL);
        if (r != ASPACE_FAULT_RETRY) {
            return r == ASPACE_FAULT_SPURIOUS ? ASPACE_FAULT_DONE : r;
        }
        cpu->retries++;
        aspace_pause();
    }
}

static void own_fault(struct race_cpu *cpu, struct window *w)
{
    unsigned i = pick_page(cpu, w);
    uint32_t access = race_below(cpu, 2) ? ASPACE_W : ASPACE_R;
    enum aspace_fault_result r = fault(cpu, va_of(w, i), access), wanted = verdict(&w->page[i], access);

    if (r != wanted) {
        race_fail(cpu, __FILE__, __LINE__, "fault at 0x%llx is %s, not %s", (unsigned long long)va_of(w, i),
                  aspace_fault_name(r), aspace_fault_name(wanted));
    }
    if (r == ASPACE_FAULT_DONE) {
        filled(w, i);
    }
}

/* As a running program: through the TLB, faults handled until the access goes through or is refused. */
static void access_once(struct race_cpu *cpu, struct window *w, unsigned i)
{
    uint32_t access = race_below(cpu, 2) ? ASPACE_W : ASPACE_R;
    enum aspace_fault_result wanted = verdict(&w->page[i], access), r = ASPACE_FAULT_DONE;
    const struct sim_space *space = &cpu->race->sim_space;
    uint64_t va = word_va(w, i), pa = 0;

    while (sim_cpu_access(cpu->sim, space, va, access, &pa) != SIM_OK && r == ASPACE_FAULT_DONE) {
        r = fault(cpu, va, access);
        sim_cpu_fence(cpu->sim, space, va);
    }
    if (r != wanted) {
        race_fail(cpu, __FILE__, __LINE__, "access %u to 0x%llx ends with %s, not %s", access, (unsigned long long)va,
                  aspace_fault_name(r), aspace_fault_name(wanted));
    }
    if (r != ASPACE_FAULT_DONE) {
        return;
    }
    filled(w, i);
    race_dawdle(cpu);
    if (access == ASPACE_W) {
        race_store(pa, *value_of(w, i) = new_value(cpu));
    } else {
        expect_value(cpu, w, i, race_load(pa));
    }
}

static void own_access(struct race_cpu *cpu, struct window *w)
{
    unsigned i = pick_page(cpu, w);

    for (uint64_t n = 1 + race_below(cpu, 6); cpu->active && n; n--) {
        access_once(cpu, w, i);
        i = race_below(cpu, 4) ? i : (i + 1) % w->pages;
    }
}

static void own_read(struct race_cpu *cpu, struct window *w)
{
    unsigned i = pick_page(cpu, w);
    uint64_t value = 0;
    int wanted = access_error(&w->page[i], ASPACE_R);

    EXPECT(aspace_read_object(cpu->race->space, word_va(w, i), &value), wanted);
    if (wanted == ASPACE_OK) {
        expect_value(cpu, w, i, value);
        filled(w, i);
    }
}

static void own_write(struct race_cpu *cpu, struct window *w)
{
    unsigned i = pick_page(cpu, w);
    uint64_t value = new_value(cpu);
    int wanted = access_error(&w->page[i], ASPACE_W);

    EXPECT(aspace_write_object(cpu->race->space, word_va(w, i), &value), wanted);
    if (wanted == ASPACE_OK) {
        *value_of(w, i) = value;
        filled(w, i);
    }
}

static void own_exchange(struct race_cpu *cpu, struct window *w)
{
    unsigned i = pick_page(cpu, w);
    uint64_t expected = *value_of(w, i) + race_below(cpu, 2), was = expected, value = new_value(cpu);
    int wanted = access_error(&w->page[i], ASPACE_W);
    bool swapped = false;

    EXPECT(aspace_compare_exchange(cpu->race->space, word_va(w, i), 8, &expected, value, &swapped), wanted);
    if (wanted != ASPACE_OK) {
        return;
    }
    expect_value(cpu, w, i, expected);
    RACE_CHECK(cpu, swapped == (was == expected));
    if (swapped) {
        *value_of(w, i) = value;
    }
    filled(w, i);
}

static void own_migrate(struct race_cpu *cpu, struct window *w)
{
    unsigned i = pick_page(cpu, w);
    const struct page *p = &w->page[i];
    int error = aspace_migrate(cpu->race->space, va_of(w, i), ASPACE_PA_NONE);

    if (error == ASPACE_E_NO_MEMORY && is_owned(p) && p->filled) {
        return; /* of a large frame */
    }
    if (!is_owned(p)) {
        EXPECT(error, p->mapped && p->kind == ASPACE_KIND_LINEAR ? ASPACE_E_UNSUPPORTED : ASPACE_E_NOT_MAPPED);
    } else if (p->filled != MAYBE_FILLED) {
        EXPECT(error, p->filled ? ASPACE_OK : ASPACE_E_NOT_MAPPED);
    } else if (error != ASPACE_OK) {
        EXPECT(error, ASPACE_E_NOT_MAPPED);
    }
}

static void own_collapse(struct race_cpu *cpu, struct window *w)
{
    unsigned i = pick_page(cpu, w), first = i / RACE_BIG_PAGES * RACE_BIG_PAGES;

    if (w->pages < RACE_BIG_PAGES) {
        return;
    }
    struct piece p = {w, first, first + RACE_BIG_PAGES};
    int error = aspace_collapse(cpu->race->space, va_of(w, i), 1);
    if (error != ASPACE_OK) {
        RACE_CHECK(cpu, error == ASPACE_E_UNSUPPORTED || error == ASPACE_E_NOT_MAPPED || error == ASPACE_E_NO_MEMORY);
        return;
    }
    RACE_CHECK(cpu, !any_hole(&p));
    for (i = p.from; i < p.to; i++) {
        w->page[i].filled = FILLED;
    }
}

static void own_split(struct race_cpu *cpu, struct window *w)
{
    unsigned i = pick_page(cpu, w);
    const struct page *p = &w->page[i];
    int error = aspace_split(cpu->race->space, va_of(w, i));

    if (!p->mapped || p->kind == ASPACE_KIND_TRAP || p->filled == UNFILLED) {
        EXPECT(error, ASPACE_E_NOT_MAPPED);
    } else if (p->filled == FILLED || error != ASPACE_E_NOT_MAPPED) {
        EXPECT(error, ASPACE_OK);
    }
}

/* ------------------------------------------------------------------------------------------------------- looking up */

static void own_translate(struct race_cpu *cpu, struct window *w)
{
    unsigned i = pick_page(cpu, w);
    const struct page *p = &w->page[i];
    struct aspace_translation t = {0};

    aspace_read_begin(cpu->race->host);
    int error = aspace_translate(cpu->race->space, word_va(w, i), &t);
    uint64_t value = error == ASPACE_OK ? race_load(t.pa) : 0;
    aspace_read_end(cpu->race->host);
    if (error == ASPACE_E_RETRY) {
        cpu->retries++;
    } else if (!p->mapped || !p->rights || p->filled == UNFILLED || p->kind == ASPACE_KIND_TRAP) {
        EXPECT(error, ASPACE_E_NOT_MAPPED);
    } else if (p->filled == FILLED || error != ASPACE_E_NOT_MAPPED) {
        EXPECT(error, ASPACE_OK);
        RACE_CHECK(cpu, t.rights == p->rights);
        expect_value(cpu, w, i, value);
    }
}

static void own_query(struct race_cpu *cpu, struct window *w)
{
    unsigned i = pick_page(cpu, w);
    const struct page *p = &w->page[i];
    struct aspace_area area;
    int error = aspace_query(cpu->race->space, va_of(w, i), &area);

    if (error == ASPACE_E_RETRY) {
        cpu->retries++;
        return;
    }
    EXPECT(error, p->mapped ? ASPACE_OK : ASPACE_E_NOT_MAPPED);
    if (p->mapped) {
        RACE_CHECK(cpu, va_of(w, i) - area.va < area.size);
        RACE_CHECK(cpu, area.kind == (enum aspace_kind)p->kind && area.rights == p->rights);
    }
}

/* What follows the window is somebody else's. */
static void own_next(struct race_cpu *cpu, struct window *w)
{
    unsigned i = pick_page(cpu, w), next = i;
    struct aspace_area area;
    int error = aspace_next(cpu->race->space, va_of(w, i), &area);

    while (next < w->pages && !w->page[next].mapped) {
        next++;
    }
    if (error == ASPACE_E_RETRY) {
        cpu->retries++;
    } else if (next < w->pages) {
        EXPECT(error, ASPACE_OK);
        RACE_CHECK(cpu, va_of(w, next) - area.va < area.size);
        RACE_CHECK(cpu, next == i || area.va == va_of(w, next));
    } else {
        RACE_CHECK(cpu, error == ASPACE_E_NOT_MAPPED || (error == ASPACE_OK && area.va >= va_of(w, w->pages)));
    }
}

static void own_limit(struct race_cpu *cpu, struct window *w)
{
    unsigned i = pick_page(cpu, w);
    struct aspace_translation t;
    int error = aspace_translate_limit(cpu->race->space, va_of(w, i), (w->pages - i) * RACE_PAGE, &t);

    for (uint64_t off = 0; error == ASPACE_OK && off < t.length; off += RACE_PAGE, i++) {
        RACE_CHECK(cpu, w->page[i].mapped && w->page[i].rights == t.rights && w->page[i].filled != UNFILLED);
    }
}

/* ---------------------------------------------------------------------------------------------------------- picking */

static const struct {
    const char *name;
    void (*run)(struct race_cpu *cpu, struct window *w);
    unsigned weight;
} ops[] = {
    {"map", own_map, 8},
    {"map_anywhere", own_map_anywhere, 3},
    {"unmap", own_unmap, 3},
    {"protect", own_protect, 4},
    {"discard", own_discard, 2},
    {"populate", own_populate, 2},
    {"fault", own_fault, 6},
    {"access", own_access, 12},
    {"read", own_read, 6},
    {"write", own_write, 6},
    {"exchange", own_exchange, 3},
    {"migrate", own_migrate, 3},
    {"collapse", own_collapse, 1},
    {"split", own_split, 1},
    {"translate", own_translate, 8},
    {"query", own_query, 5},
    {"next", own_next, 2},
    {"limit", own_limit, 2},
};

enum { N_OPS = sizeof(ops) / sizeof(ops[0]) };
_Static_assert((int)N_OPS <= (int)RACE_OPS_MAX, "each has its count");

const char *own_op_name(unsigned op)
{
    return op < N_OPS ? ops[op].name : NULL;
}

void own_step(struct race_cpu *cpu)
{
    unsigned total = 0, op = 0;

    for (unsigned i = 0; i < N_OPS; i++) {
        total += ops[i].weight;
    }
    unsigned at = (unsigned)race_below(cpu, total);
    while (at >= ops[op].weight) {
        at -= ops[op++].weight;
    }
    cpu->doing = ops[op].name;
    cpu->counts[0][op]++;
    ops[op].run(cpu, &cpu->own[race_below(cpu, WINDOWS)]);
}

void own_check_all(struct race_cpu *cpu)
{
    cpu->doing = "the check of all pages";
    for (unsigned k = 0; k < WINDOWS; k++) {
        struct window *w = &cpu->own[k];
        for (unsigned i = 0; i < w->pages; i++) {
            uint64_t value = 0;
            int wanted = access_error(&w->page[i], ASPACE_R);
            EXPECT(aspace_read_object(cpu->race->space, word_va(w, i), &value), wanted);
            if (wanted == ASPACE_OK) {
                expect_value(cpu, w, i, value);
                filled(w, i);
            }
        }
    }
}
