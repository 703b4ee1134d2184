/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random operations of all CPUs on the same pages. What must hold whatever the others do: an answer is one that the
 * call may give; a word read at an address is zero, or was written for that address; and what is reached inside a read
 * section stays what it was to its end. Must not know src/.
 */
#include "race/race.h"

#include <aspace/dirty.h>
#include <aspace/pin.h>

#define TAG UINT64_C(0x5a00000000000000)

struct span {
    uint64_t va, size;
};

/* What may be written at an address: says the page, and a little more. */
static uint64_t word_for(struct race_cpu *cpu, uint64_t va)
{
    return TAG | va / RACE_PAGE << 24 | (race_random(cpu) & 0xffffff);
}

static void check_word(const struct race_cpu *cpu, uint64_t va, uint64_t word, int line)
{
    if (word != 0 && word >> 24 != (TAG | va / RACE_PAGE << 24) >> 24) {
        race_fail(cpu, __FILE__, line, "0x%llx holds 0x%llx, which nobody wrote there", (unsigned long long)va,
                  (unsigned long long)word);
    }
}
#define CHECK_WORD(cpu, va, word) check_word(cpu, va, word, __LINE__)

/* One of the errors listed, which end with 0. */
static void allow(const struct race_cpu *cpu, int error, const int *errors, int line)
{
    while (*errors && *errors != error) {
        errors++;
    }
    if (error != ASPACE_OK && !*errors) {
        race_fail(cpu, __FILE__, line, "%s is no answer to this", aspace_error_name(error));
    }
}
#define ALLOW(error, ...) allow(cpu, (error), (const int[]){__VA_ARGS__, 0}, __LINE__)

/* Below the shared range and the wide one alike: single pages, some, a large page, and at times all. */
static struct span pick_span(struct race_cpu *cpu)
{
    bool wide = race_below(cpu, 4) == 0;
    uint64_t base = wide ? WIDE_VA : SHARED_VA, all = wide ? RACE_GIANT : SHARED_BIGS * RACE_BIG,
             how = race_below(cpu, 16);

    if (how == 0) {
        return (struct span){base, all};
    }
    if (how < 4) {
        uint64_t bigs = wide ? 1 + race_below(cpu, 4) : 1;
        return (struct span){base + race_below(cpu, wide ? 8 : SHARED_BIGS) * RACE_BIG, bigs * RACE_BIG};
    }
    uint64_t size = (1 + race_below(cpu, how < 12 ? 4 : 64)) * RACE_PAGE;
    uint64_t pages = (wide ? 3 * RACE_BIG : all) / RACE_PAGE;
    return (struct span){base + race_below(cpu, pages - size / RACE_PAGE + 1) * RACE_PAGE, size};
}

/* Half of the time in a few pages that everybody likes. */
static uint64_t pick_va(struct race_cpu *cpu)
{
    static const uint64_t hot[] = {SHARED_VA + 3 * RACE_PAGE, SHARED_VA + 4 * RACE_PAGE,
                                   SHARED_VA + RACE_BIG + RACE_PAGE, WIDE_VA + 7 * RACE_PAGE,
                                   WIDE_VA + RACE_BIG + 5 * RACE_PAGE};
    if (race_below(cpu, 2)) {
        return hot[race_below(cpu, sizeof(hot) / sizeof(hot[0]))] + race_below(cpu, RACE_PAGE / 8) * 8;
    }
    struct span s = pick_span(cpu);

    return s.va + race_below(cpu, s.size < RACE_BIG ? s.size / 8 : RACE_BIG / 8) * 8;
}

static uint32_t pick_access(struct race_cpu *cpu)
{
    return race_below(cpu, 2) ? ASPACE_W : ASPACE_R;
}

static uint32_t pick_rights(struct race_cpu *cpu)
{
    uint64_t how = race_below(cpu, 10);

    return how == 0 ? 0 : how < 3 ? cpu->race->ro : cpu->race->rw;
}

/* ----------------------------------------------------------------------------------------------------------- ranges */

static void fill_request(struct race_cpu *cpu, struct aspace_map *m, struct span s)
{
    static const enum aspace_kind kinds[] = {ASPACE_KIND_LAZY,   ASPACE_KIND_LAZY,  ASPACE_KIND_LAZY,
                                             ASPACE_KIND_LINEAR, ASPACE_KIND_TRAP,  ASPACE_KIND_LAZY,
                                             ASPACE_KIND_LAZY,   ASPACE_KIND_EAGER, ASPACE_KIND_GUARD};
    m->va = s.va;
    m->size = s.size;
    m->kind = kinds[race_below(cpu, sizeof(kinds) / sizeof(kinds[0]))];
    m->rights = pick_rights(cpu);
    m->max_rights = cpu->race->ro | cpu->race->rw;
    m->max_leaf_level = race_below(cpu, 4) ? 1 : 2;
    m->flags = race_below(cpu, 3) == 0 ? ASPACE_MAP_COUNT : 0;
    /* The device has a page for each address of the shared range only, so that a word keeps its place. */
    bool wide = s.va >= WIDE_VA;
    if (wide ? m->kind == ASPACE_KIND_LINEAR || m->kind == ASPACE_KIND_EAGER
             : m->kind == ASPACE_KIND_EAGER && s.size > RACE_BIG) {
        m->kind = ASPACE_KIND_LAZY;
    }
    m->pa = cpu->race->shared_pa + (s.va - SHARED_VA);
}

static void shared_map(struct race_cpu *cpu)
{
    struct span s = pick_span(cpu);
    struct aspace_map m = {0};
    struct aspace_range culprit = {0, 0};

    fill_request(cpu, &m, s);
    m.flags |= race_below(cpu, 3) ? 0 : ASPACE_MAP_REPLACE;
    int error = aspace_map(cpu->race->space, &m, &culprit);
    ALLOW(error, m.flags & ASPACE_MAP_REPLACE ? ASPACE_E_NO_MEMORY : ASPACE_E_EXISTS, ASPACE_E_NO_MEMORY);
    if (error == ASPACE_E_EXISTS) {
        RACE_CHECK(cpu, culprit.va < s.va + s.size && s.va < culprit.va + culprit.size);
    }
}

static void shared_batch(struct race_cpu *cpu)
{
    struct aspace_map m[3] = {{0}, {0}, {0}};
    struct span s = pick_span(cpu);

    for (unsigned i = 0; i < 3; i++) {
        struct span part = {s.va + i * 5 * RACE_PAGE, 2 * RACE_PAGE};
        if (part.va + part.size > SHARED_VA + SHARED_BIGS * RACE_BIG && part.va < WIDE_VA) {
            return;
        }
        fill_request(cpu, &m[i], part);
    }
    ALLOW(aspace_map_batch(cpu->race->space, m, 3, NULL), ASPACE_E_EXISTS, ASPACE_E_NO_MEMORY);
}

static void shared_map_anywhere(struct race_cpu *cpu)
{
    struct aspace_find find = {.size = (1 + race_below(cpu, 16)) * RACE_PAGE,
                               .limit = {WIDE_VA, 2 * RACE_BIG},
                               .flags = race_below(cpu, 2) ? ASPACE_FIND_DOWN : 0};
    struct aspace_map m = {0};
    uint64_t va = 0;

    fill_request(cpu, &m, (struct span){WIDE_VA, RACE_PAGE});
    int error = aspace_map_anywhere(cpu->race->space, &m, &find, &va);
    ALLOW(error, ASPACE_E_LIMIT, ASPACE_E_NO_MEMORY);
    if (error == ASPACE_OK) {
        RACE_CHECK(cpu, va - WIDE_VA < find.limit.size && va % RACE_PAGE == 0);
    }
}

static void shared_find(struct race_cpu *cpu)
{
    struct aspace_find find = {.size = (1 + race_below(cpu, 600)) * RACE_PAGE,
                               .align = race_below(cpu, 2) ? RACE_BIG : 0,
                               .limit = {SHARED_VA, SHARED_BIGS * RACE_BIG}};
    uint64_t va = 0;
    int error = aspace_find(cpu->race->space, &find, &va);

    ALLOW(error, ASPACE_E_LIMIT);
    if (error == ASPACE_OK) {
        RACE_CHECK(cpu, va - SHARED_VA < find.limit.size && va % (find.align ? find.align : RACE_PAGE) == 0);
    }
}

static void shared_unmap(struct race_cpu *cpu)
{
    struct span s = pick_span(cpu);

    ALLOW(aspace_unmap(cpu->race->space, s.va, s.size), ASPACE_E_NO_MEMORY);
}

static void shared_protect(struct race_cpu *cpu)
{
    struct span s = pick_span(cpu);

    ALLOW(aspace_protect(cpu->race->space, s.va, s.size, pick_rights(cpu)), ASPACE_E_NOT_MAPPED, ASPACE_E_NO_MEMORY);
}

static void shared_discard(struct race_cpu *cpu)
{
    struct span s = pick_span(cpu);

    ALLOW(aspace_discard(cpu->race->space, s.va, s.size), ASPACE_E_NO_MEMORY);
}

static void shared_populate(struct race_cpu *cpu)
{
    struct span s = pick_span(cpu);
    uint64_t size = s.size < 32 * RACE_PAGE ? s.size : 32 * RACE_PAGE;

    ALLOW(aspace_populate(cpu->race->space, s.va, size, NULL), ASPACE_E_NOT_MAPPED, ASPACE_E_FAULT, ASPACE_E_RETRY,
          ASPACE_E_NO_MEMORY);
}

static void shared_harvest(struct race_cpu *cpu)
{
    struct span s = pick_span(cpu);
    uint64_t bits[64], size = s.size < 4096 * RACE_PAGE ? s.size : 4096 * RACE_PAGE;

    ALLOW(aspace_harvest_accessed(cpu->race->space, s.va, size, bits, NULL), ASPACE_E_UNSUPPORTED);
}

/* A log that whoever comes by begins, harvests or ends; by hardware, for others compare the rights of their pages. */
static void shared_log(struct race_cpu *cpu)
{
    struct aspace *space = cpu->race->space;
    struct span s = pick_span(cpu);
    uint64_t bits[64], size = s.size < 4096 * RACE_PAGE ? s.size : 4096 * RACE_PAGE;
    struct aspace_dirty_config c = {.mode = ASPACE_DIRTY_HARDWARE};

    switch (race_below(cpu, 16)) {
    case 0: ALLOW(aspace_dirty_start(space, &c), ASPACE_E_BUSY, ASPACE_E_UNSUPPORTED); break;
    case 1: ALLOW(aspace_dirty_stop(space), ASPACE_E_BUSY, ASPACE_E_NOT_MAPPED); break;
    default: ALLOW(aspace_harvest_dirty(space, s.va, size, bits, NULL), ASPACE_E_BUSY, ASPACE_E_NOT_MAPPED); break;
    }
}

/* For a moment, so that nothing else is refused for long. */
static void shared_pin(struct race_cpu *cpu)
{
    aspace_pa_t page[1];
    uint64_t va = pick_va(cpu) & ~(RACE_PAGE - 1);
    int error = aspace_pin(cpu->race->space, va, RACE_PAGE, ASPACE_R, page);

    ALLOW(error, ASPACE_E_NOT_MAPPED, ASPACE_E_PERMISSION, ASPACE_E_FAULT, ASPACE_E_RETRY, ASPACE_E_NO_MEMORY,
          ASPACE_E_UNSUPPORTED);
    if (error == ASPACE_OK) {
        race_dawdle(cpu);
        ALLOW(aspace_unpin(cpu->race->space, va, RACE_PAGE, page), ASPACE_OK);
    }
}

static void shared_sweep(struct race_cpu *cpu)
{
    (void)aspace_sweep(cpu->race->space, 1 + (size_t)race_below(cpu, 8));
}

static void shared_drain(struct race_cpu *cpu)
{
    (void)aspace_drain(cpu->race->host);
}

/* ----------------------------------------------------------------------------------------------------- single pages */

static void shared_fault(struct race_cpu *cpu)
{
    struct aspace_fault_info info;
    enum aspace_fault_result r = aspace_fault(cpu->race->space, pick_va(cpu), pick_access(cpu), &info);

    RACE_CHECK(cpu, r <= ASPACE_FAULT_PERMISSION || r == ASPACE_FAULT_RETRY || r == ASPACE_FAULT_NO_MEMORY);
}

static void shared_access(struct race_cpu *cpu)
{
    const struct sim_space *space = &cpu->race->sim_space;
    uint64_t va = pick_va(cpu), pa = 0;
    uint32_t access = pick_access(cpu);

    for (unsigned tries = 0; cpu->active && tries < 4; tries++) {
        if (sim_cpu_access(cpu->sim, space, va, access, &pa) == SIM_OK) {
            race_dawdle(cpu);
            if (access == ASPACE_W) {
                race_store(pa, word_for(cpu, va));
            } else {
                CHECK_WORD(cpu, va, race_load(pa));
            }
            return;
        }
        enum aspace_fault_result r = aspace_fault(cpu->race->space, va, access, NULL);
        if (r != ASPACE_FAULT_DONE && r != ASPACE_FAULT_SPURIOUS) {
            return;
        }
        sim_cpu_fence(cpu->sim, space, va);
    }
}

#define ACCESS_ERRORS ASPACE_E_NOT_MAPPED, ASPACE_E_PERMISSION, ASPACE_E_FAULT, ASPACE_E_RETRY, ASPACE_E_NO_MEMORY

/* Words of several pages at once. */
static void shared_read(struct race_cpu *cpu)
{
    uint64_t words[1024];
    uint64_t va = pick_va(cpu);
    size_t n = 8 + (size_t)race_below(cpu, 1024) * 8, done = 0;

    if (n > sizeof(words)) {
        n = sizeof(words);
    }
    ALLOW(aspace_read(cpu->race->space, va, words, n, &done), ACCESS_ERRORS);
    for (size_t at = 0; at + 8 <= done; at += 8) {
        CHECK_WORD(cpu, va + at, words[at / 8]);
    }
}

static void shared_write(struct race_cpu *cpu)
{
    uint64_t va = pick_va(cpu), words[2] = {word_for(cpu, va), word_for(cpu, va + 8)};

    ALLOW(aspace_write(cpu->race->space, va, words, sizeof(words), NULL), ACCESS_ERRORS);
}

static void shared_exchange(struct race_cpu *cpu)
{
    uint64_t va = pick_va(cpu), expected = 0, seen = 0;
    bool swapped = false;

    int error = aspace_read_object(cpu->race->space, va, &seen);
    ALLOW(error, ACCESS_ERRORS);
    expected = error == ASPACE_OK ? seen : 0;
    error = aspace_compare_exchange(cpu->race->space, va, 8, &expected, word_for(cpu, va), &swapped);
    ALLOW(error, ACCESS_ERRORS);
    if (error == ASPACE_OK) {
        CHECK_WORD(cpu, va, expected);
    }
}

static void shared_migrate(struct race_cpu *cpu)
{
    ALLOW(aspace_migrate(cpu->race->space, pick_va(cpu), ASPACE_PA_NONE), ASPACE_E_NOT_MAPPED, ASPACE_E_UNSUPPORTED,
          ASPACE_E_BUSY, ASPACE_E_NO_MEMORY);
}

/* What keeps contents and rights may be done to the pages of others: they must not notice. */
static void shared_neighbour(struct race_cpu *cpu)
{
    struct race_cpu *other = &cpu->race->cpu[race_below(cpu, cpu->race->options.cpus)];
    const struct window *w = &other->own[race_below(cpu, WINDOWS)];
    uint64_t page = (__atomic_load_n(&other->hot, __ATOMIC_RELAXED) + race_below(cpu, 6)) % w->pages;

    if (race_below(cpu, 8)) {
        ALLOW(aspace_migrate(cpu->race->space, w->va + page * RACE_PAGE, ASPACE_PA_NONE), ASPACE_E_NOT_MAPPED,
              ASPACE_E_UNSUPPORTED, ASPACE_E_NO_MEMORY);
    } else {
        ALLOW(aspace_split(cpu->race->space, w->va + page * RACE_PAGE), ASPACE_E_NOT_MAPPED);
    }
}

static void shared_collapse(struct race_cpu *cpu)
{
    ALLOW(aspace_collapse(cpu->race->space, pick_va(cpu), 1), ASPACE_E_NOT_MAPPED, ASPACE_E_UNSUPPORTED, ASPACE_E_BUSY,
          ASPACE_E_NO_MEMORY);
}

static void shared_split(struct race_cpu *cpu)
{
    ALLOW(aspace_split(cpu->race->space, pick_va(cpu)), ASPACE_E_NOT_MAPPED, ASPACE_E_NO_MEMORY);
}

/* ------------------------------------------------------------------------------------------------------- looking up */

/* What a translation leads to stays that page's for as long as the section lasts, whatever happens to the mapping. */
static void shared_translate(struct race_cpu *cpu)
{
    struct aspace_translation t = {0};
    uint64_t va = pick_va(cpu);

    aspace_read_begin(cpu->race->host);
    int error = aspace_translate(cpu->race->space, va, &t);
    for (uint64_t n = race_below(cpu, 20); error == ASPACE_OK && n; n--) {
        CHECK_WORD(cpu, va, race_load(t.pa));
        aspace_pause();
    }
    aspace_read_end(cpu->race->host);
    ALLOW(error, ASPACE_E_NOT_MAPPED, ASPACE_E_RETRY);
}

static void shared_segments(struct race_cpu *cpu)
{
    struct aspace_segment segments[8];
    size_t count = 8, done = 0;
    uint64_t va = pick_va(cpu) & ~UINT64_C(7), at = va;

    aspace_read_begin(cpu->race->host);
    int error = aspace_segments(cpu->race->space, va, 5 * RACE_PAGE, ASPACE_R, segments, &count, &done);
    for (size_t i = 0; i < count; at += segments[i++].bytes) {
        CHECK_WORD(cpu, at, race_load(segments[i].pa));
    }
    aspace_read_end(cpu->race->host);
    ALLOW(error, ACCESS_ERRORS, ASPACE_E_LIMIT);
    RACE_CHECK(cpu, at - va == done);
}

static void shared_query(struct race_cpu *cpu)
{
    struct aspace_area area;
    uint64_t va = pick_va(cpu);
    int error = aspace_query(cpu->race->space, va, &area);

    ALLOW(error, ASPACE_E_NOT_MAPPED, ASPACE_E_RETRY);
    if (error == ASPACE_OK) {
        RACE_CHECK(cpu, va - area.va < area.size && (area.rights & ~area.max_rights) == 0);
        RACE_CHECK(cpu, area.kind <= ASPACE_KIND_GUARD && area.id != 0);
        RACE_CHECK(cpu, area.kind != ASPACE_KIND_LINEAR || area.pa - cpu->race->shared_pa == area.va - SHARED_VA);
    }
}

static void shared_next(struct race_cpu *cpu)
{
    struct aspace_area area;
    uint64_t va = pick_va(cpu);
    int error = aspace_next(cpu->race->space, va, &area);

    ALLOW(error, ASPACE_E_NOT_MAPPED, ASPACE_E_RETRY);
    if (error == ASPACE_OK) {
        RACE_CHECK(cpu, area.va + area.size > va && area.size != 0);
    }
}

static void shared_limit(struct race_cpu *cpu)
{
    struct aspace_translation t;
    uint64_t cap = 1 + race_below(cpu, 64 * RACE_PAGE);
    int error = aspace_translate_limit(cpu->race->space, pick_va(cpu), cap, &t);

    ALLOW(error, ASPACE_E_NOT_MAPPED, ASPACE_E_RETRY);
    RACE_CHECK(cpu, error != ASPACE_OK || (t.length && t.length <= cap));
}

/* ---------------------------------------------------------------------------------------------------------- picking */

#define OP(name, weight)                                                                                               \
    {                                                                                                                  \
#name, shared_##name, weight                                                                                   \
    }

static const struct {
    const char *name;
    void (*run)(struct race_cpu *cpu);
    unsigned weight;
} ops[] = {
    OP(map, 8),     OP(batch, 1),    OP(map_anywhere, 1), OP(find, 1),    OP(unmap, 3),     OP(protect, 4),
    OP(discard, 2), OP(populate, 1), OP(sweep, 2),        OP(harvest, 2), OP(log, 3),       OP(pin, 2),
    OP(drain, 1),   OP(fault, 6),    OP(access, 12),      OP(read, 4),    OP(write, 6),     OP(exchange, 3),
    OP(migrate, 3), OP(collapse, 1), OP(neighbour, 4),    OP(split, 1),   OP(translate, 8), OP(segments, 2),
    OP(query, 4),   OP(next, 2),     OP(limit, 2),
};

enum { N_OPS = sizeof(ops) / sizeof(ops[0]) };
_Static_assert((int)N_OPS <= (int)RACE_OPS_MAX, "each has its count");

const char *shared_op_name(unsigned op)
{
    return op < N_OPS ? ops[op].name : NULL;
}

void shared_step(struct race_cpu *cpu)
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
    cpu->counts[1][op]++;
    ops[op].run(cpu);
}
