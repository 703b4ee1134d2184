/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns what a random layout is: which ranges, of which kind, size, alignment and rights, and what becomes of them.
 * An operation that the library refuses is no event: whatever it left is what the MMU is asked about. Must not know the
 * library's sources, nor the machine.
 */
#include "oracle.h"

#include "mem.h"

uint64_t span_of(unsigned level)
{
    return PAGE << 9 * level;
}

static void note(struct layout *l, uint64_t va, uint64_t size)
{
    unsigned at = l->count < LAYOUT_SPANS_MAX ? l->count++ : (unsigned)random_below(LAYOUT_SPANS_MAX);
    l->spans[at] = (struct aspace_range){va, size};
}

static uint64_t end_of(const struct layout *l)
{
    return l->config.base + l->config.size - l->subject->own;
}

/* Not of what the machine has for itself. */
static bool is_ours(const struct layout *l, uint64_t va, uint64_t size)
{
    return l->subject->own == 0 || (va < end_of(l) && size <= end_of(l) - va);
}

/* Anywhere in the space, or beside or in something that is there; aligned to a leaf. */
static uint64_t random_place(const struct layout *l, uint64_t align)
{
    uint64_t va = l->config.base + random_below(l->config.size);

    if (l->count && !random_one_in(3)) {
        const struct aspace_range *s = &l->spans[random_below(l->count)];
        va = random_one_in(2) ? s->va + s->size : s->va + random_below(s->size);
    } else if (random_one_in(8)) {
        va = end_of(l) - 1;
    }
    return va & ~(align - 1);
}

static uint32_t random_rights(void)
{
    static const uint32_t common[] = {ASPACE_R, ASPACE_RW, ASPACE_RX, ASPACE_RWX};
    uint32_t any = (uint32_t)random_below(16);

    return random_one_in(2) ? common[random_below(4)] | (any & ASPACE_U) : any;
}

/* The refused are asked for again with what every format has. */
static int map(struct layout *l, struct aspace_map *m)
{
    static const uint32_t plain[] = {ASPACE_R, ASPACE_RW, ASPACE_RX, ASPACE_RWX};
    struct aspace_range culprit;
    int error;

    if (!is_ours(l, m->va, m->size)) {
        return ASPACE_E_RANGE;
    }
    m->rights = random_rights();
    m->attr = random_one_in(2) ? (uint32_t)random_below(ASPACE_ATTR_COUNT) : ASPACE_ATTR_DEFAULT;
    m->max_rights = m->rights | ASPACE_RWX;
    m->flags = random_one_in(3) ? ASPACE_MAP_REPLACE : 0;
    error = aspace_map(l->space, m, &culprit);
    if (error == ASPACE_E_UNSUPPORTED || error == ASPACE_E_INVALID) {
        m->rights = plain[random_below(4)];
        m->max_rights = 0;
        error = aspace_map(l->space, m, &culprit);
    }
    if (error == ASPACE_E_UNSUPPORTED || error == ASPACE_E_INVALID) {
        m->attr = ASPACE_ATTR_DEFAULT;
        error = aspace_map(l->space, m, &culprit);
    }
    if (error == ASPACE_OK || l->count == 0) {
        note(l, m->va, m->size);
    }
    return error;
}

/* A few leaves of one level, whole pages before and behind them, and an output that is as aligned or less. */
static void map_linear(struct layout *l)
{
    unsigned level = (unsigned)random_below(l->leaf_levels);
    uint64_t leaf = span_of(level), small = level ? span_of(level - 1) : PAGE;
    uint64_t va = random_place(l, leaf), size = (1 + random_below(3)) * leaf;
    uint64_t skew = random_one_in(3) ? (random_below(20) + 1) * small : 0;

    if (level == 0) {
        size = (1 + random_below(80)) * PAGE;
    } else if (random_one_in(3)) {
        va += small * random_below(3);
        size += small * random_below(3) + PAGE * random_below(40);
    }
    uint64_t target = machine_target(l->subject, level ? 12 + 9 * level : 17);
    struct aspace_map m = {.va = va, .size = size, .kind = ASPACE_KIND_LINEAR, .pa = target + va % leaf + skew};
    if (random_one_in(6)) {
        m.max_leaf_level = 1 + (uint32_t)random_below(2);
        m.size = size < 4 * MIB ? size : 4 * MIB;
    }
    (void)map(l, &m);
}

static void touch(struct layout *l, uint64_t va, uint64_t size)
{
    uint64_t n = 1 + random_below(12), page = random_below(size / PAGE);

    for (uint64_t i = 0; i < n; i++) {
        page = (random_one_in(2) ? page + 1 : random_next() >> 1) % (size / PAGE);
        (void)!aspace_fault(l->space, va + page * PAGE, ASPACE_R, NULL);
    }
}

static void map_lazy(struct layout *l)
{
    uint64_t align = span_of((unsigned)random_below(2)), size = (1 + random_below(700)) * PAGE;
    struct aspace_map m = {.va = random_place(l, align), .size = size, .kind = ASPACE_KIND_LAZY};

    m.max_leaf_level = (uint32_t)random_below(3);
    if (random_one_in(4)) {
        m.size *= 512;
        m.max_leaf_level = 1;
    }
    if (map(l, &m) == ASPACE_OK) {
        touch(l, m.va, m.size);
    }
}

static void map_eager(struct layout *l)
{
    bool huge = random_one_in(8);
    struct aspace_map m = {.va = random_place(l, huge               ? 2 * MIB
                                                 : random_one_in(2) ? 16 * PAGE
                                                                    : PAGE),
                           .size = huge ? 2 * MIB : (1 + random_below(48)) * PAGE,
                           .kind = ASPACE_KIND_EAGER};

    (void)map(l, &m);
}

static void map_nothing(struct layout *l)
{
    static const enum aspace_kind kinds[] = {ASPACE_KIND_TRAP, ASPACE_KIND_GUARD, ASPACE_KIND_RESERVED};
    struct aspace_map m = {.va = random_place(l, PAGE), .size = (1 + random_below(2000)) * PAGE, .cookie = 3};

    m.kind = kinds[random_below(3)];
    m.rights = m.kind == ASPACE_KIND_TRAP ? ASPACE_RWX : 0;
    struct aspace_range culprit;
    if (is_ours(l, m.va, m.size) && aspace_map(l->space, &m, &culprit) == ASPACE_E_INVALID) {
        m.rights = ASPACE_R;
        (void)!aspace_map(l->space, &m, &culprit);
    }
}

static void map_something(struct layout *l)
{
    switch (random_below(8)) {
    case 0: map_nothing(l); break;
    case 1: map_lazy(l); break;
    case 2:
    case 3: map_eager(l); break;
    default: map_linear(l); break;
    }
}

/* Part of what is there, from a boundary of some level to another. */
static struct aspace_range random_part(struct layout *l)
{
    const struct aspace_range *s = &l->spans[random_below(l->count)];
    uint64_t step = span_of((unsigned)random_below(2));
    uint64_t va = (s->va + random_below(s->size)) & ~(step - 1);
    struct aspace_range part = {va, step * (1 + random_below(step == PAGE ? 40 : 3))};

    if (va < l->config.base) {
        part.va = l->config.base;
    }
    if (random_one_in(4)) {
        part = *s;
    }
    note(l, part.va, part.size);
    return part;
}

static void change_once(struct layout *l)
{
    struct aspace_range part = random_part(l);
    int error = ASPACE_OK;

    if (!is_ours(l, part.va, part.size)) {
        return;
    }
    switch (random_below(8)) {
    case 0: error = aspace_unmap(l->space, part.va, part.size); break;
    case 1: error = aspace_discard(l->space, part.va, part.size); break;
    case 2: error = aspace_collapse(l->space, part.va, 1); break;
    case 3: error = aspace_split(l->space, part.va); break;
    case 4: error = aspace_migrate(l->space, part.va, ASPACE_PA_NONE); break;
    case 5: map_something(l); break;
    default:
        error = aspace_protect(l->space, part.va, part.size, random_rights());
        if (error) {
            error = aspace_protect(l->space, part.va, part.size, ASPACE_R);
        }
        break;
    }
    (void)error;
}

/* The whole format, its top part, or an odd piece. */
static void random_window(struct layout *l, uint64_t top)
{
    struct aspace_config *c = &l->config;

    c->size = top;
    if (l->subject->own) {
        c->base = random_one_in(2) ? 0 : random_below(top / 2 / PAGE) * PAGE;
        c->size = top - c->base;
    } else if (random_one_in(3)) {
        c->base = random_below(top / 2 / PAGE) * PAGE;
        c->size = top - c->base;
    } else if (random_one_in(3)) {
        c->base = top - top / 4;
        c->size = top / 4;
    } else if (random_one_in(4)) {
        c->base = random_below(top / 2 / PAGE) * PAGE;
        c->size = (1 + random_below(top / 2 / PAGE)) * PAGE;
    }
}

static unsigned leaf_levels_of(const struct layout *l)
{
    unsigned most = naive_leaf_levels(l->config.format), asked = l->config.max_leaf_level;

    if (l->config.features & (ASPACE_FEAT_NO_1G | ASPACE_FEAT_NO_2M)) {
        most = (l->config.features & ASPACE_FEAT_NO_2M) ? 1 : 2;
    }
    return asked && asked < most ? asked : most;
}

static uint32_t random_features(const struct subject *subject)
{
    uint32_t some = random_one_in(3) ? subject->features : subject->features & (uint32_t)random_next();

    return subject->always | some | (random_one_in(8) ? ASPACE_FEAT_NO_1G : 0) |
           (random_one_in(12) ? ASPACE_FEAT_NO_2M | ASPACE_FEAT_NO_1G : 0);
}

bool layout_make(struct layout *l, const struct subject *subject, struct aspace_host *host, void *memory)
{
    memset(l, 0, sizeof(*l));
    l->subject = subject;
    l->space = memory;
    l->config.format = subject->format;
    l->config.tag = 1 + (uint32_t)random_below(100);
    l->config.features = random_features(subject);
    l->config.output_bits = subject->output_bits;
    l->config.max_leaf_level = random_one_in(8) ? (unsigned)random_below(4) : 0;
    random_window(l, subject->top ? subject->top : naive_input_end(subject->format));
    l->levels = naive_levels(subject->format);
    l->leaf_levels = leaf_levels_of(l);
    int error = aspace_create(l->space, host, &l->config);
    if (error) {
        print("oracle: create: %s", aspace_error_message(error));
        return false;
    }
    aspace_activate(l->space);
    if (!machine_prepare(l)) {
        return false;
    }
    for (unsigned i = 0; i < 30; i++) {
        map_something(l);
    }
    for (unsigned i = 0; i < 12; i++) {
        change_once(l);
    }
    return true;
}

void layout_change(struct layout *l)
{
    for (unsigned i = 0; i < 12; i++) {
        change_once(l);
    }
}

static void print_line(void *arg, const char *line)
{
    (void)arg;
    print("%s", line);
}

bool layout_end(struct layout *l)
{
    size_t violations = aspace_audit(l->space, print_line, NULL);

    aspace_deactivate(l->space);
    return aspace_destroy(l->space) == ASPACE_OK && violations == 0;
}

/* On either side of a boundary, by a word, a page or a leaf; not by so much below 0 that the machine's own part of the
 * upper half is met. */
static uint64_t near(uint64_t edge)
{
    uint64_t step[] = {8, PAGE, 16 * PAGE, 2 * MIB, GIB, span_of(3)};
    uint64_t by = step[random_below(edge < span_of(3) ? 5 : 6)];

    switch (random_below(4)) {
    case 0: return edge - 8;
    case 1: return edge - by;
    case 2: return edge + by;
    default: return edge;
    }
}

uint64_t layout_address(const struct layout *l)
{
    const struct aspace_range *s = &l->spans[random_below(l->count)];
    uint64_t va, input_end = naive_input_end(l->config.format);

    switch (random_below(16)) {
    case 0: va = l->config.base + random_below(l->config.size); break;
    case 1: va = near(end_of(l)); break;
    case 2: va = near(l->config.base); break;
    case 3: va = near(input_end); break;
    case 4: va = random_next() & (2 * input_end - 1); break;
    case 5:
    case 6: va = near(s->va); break;
    case 7:
    case 8: va = near(s->va + s->size); break;
    default: va = s->va + random_below(s->size); break;
    }
    return va & ~UINT64_C(7);
}
