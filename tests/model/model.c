/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random operations against the model, with an audit after each, for every format. Owns the comparison; steps.c has the
 * operations, and sequence.h tells what happens on failure.
 */
#include "model.h"
#include "../sequence.h"

#include <string.h>

enum { STEPS = 10000, STEPS_SPECIAL = 400, FULL_EVERY = 16, SHRINK_STEPS = 60000 };

/* ------------------------------------------------------------------------------------------------------- comparison */

uint64_t *model_words(struct model *m, unsigned page)
{
    struct page *p = &m->page[page];

    return model_linear(p) ? m->device_word[p->device_page] : p->word;
}

void model_filled(struct model *m, unsigned page)
{
    struct naive_result r = walk(m->env, model_va(m, page));
    uint64_t first = model_va(m, page) / r.leaf_bytes * r.leaf_bytes;

    CHECK(r.present);
    for (uint64_t va = first; va < first + r.leaf_bytes; va += PAGE) {
        unsigned i = (unsigned)((va - m->va) / PAGE);
        CHECK(va >= m->va && i < m->pages);
        struct page *p = &m->page[i];
        CHECK(model_owned(p));
        CHECK_EQ(p->cookie, m->page[page].cookie);
        if (!p->filled) {
            p->filled = true;
            p->pa = walk(m->env, va).pa;
            CHECK_EQ(p->word[0], 0);
            CHECK_EQ(p->word[1], 0);
        }
    }
}

static void compare_contents(struct model *m, unsigned i, uint64_t pa)
{
    const uint64_t *frame = aspace_phys_to_virt(pa);
    const uint64_t *expected = model_words(m, i);

    if (frame[0] != expected[0] || frame[511] != expected[1] || frame[1 + i % 510] != 0) {
        test_fail(__FILE__, __LINE__, "page %u: contents 0x%llx 0x%llx 0x%llx, not 0x%llx 0 0x%llx", i,
                  (unsigned long long)frame[0], (unsigned long long)frame[1 + i % 510], (unsigned long long)frame[511],
                  (unsigned long long)expected[0], (unsigned long long)expected[1]);
    }
}

static void compare_walk(struct model *m, unsigned i)
{
    struct page *p = &m->page[i];
    struct naive_result r = walk(m->env, model_va(m, i));
    bool backed = p->kind != NOTHING && (model_linear(p) || (model_owned(p) && p->filled));
    bool present = backed && p->rights != 0;

    if (r.present != present) {
        test_fail(__FILE__, __LINE__, "page %u is %s", i, r.present ? "present" : "not present");
    }
    if (!present) {
        return;
    }
    p->pa = p->pa != 0 ? p->pa : r.pa;
    uint64_t pa = model_linear(p) ? m->device.pa + p->device_page * PAGE : p->pa;
    if (r.pa != pa || r.rights != p->rights || r.attr != attr_class(m->env, p->attr)) {
        test_fail(__FILE__, __LINE__, "page %u: pa 0x%llx rights %u attr %u, not 0x%llx %u %u", i,
                  (unsigned long long)r.pa, r.rights, r.attr, (unsigned long long)pa, p->rights, p->attr);
    }
    compare_contents(m, i, pa);
}

static void compare_query(struct model *m, unsigned i)
{
    const struct page *p = &m->page[i];
    struct aspace_area area;
    int error = aspace_query(m->env->space, model_va(m, i), &area);

    CHECK_ERROR(error, p->kind == NOTHING ? ASPACE_E_NOT_MAPPED : ASPACE_OK);
    if (error == ASPACE_OK &&
        (area.kind != (enum aspace_kind)p->kind || area.rights != p->rights || area.max_rights != p->max_rights ||
         area.cookie != p->cookie || area.fork != (enum aspace_fork_policy)p->fork || area.va > model_va(m, i) ||
         area.va + area.size <= model_va(m, i))) {
        test_fail(__FILE__, __LINE__,
                  "page %u: area 0x%llx+0x%llx kind %d rights %u maximum %u cookie %llu, not %u %u %u %u", i,
                  (unsigned long long)area.va, (unsigned long long)area.size, (int)area.kind, area.rights,
                  area.max_rights, (unsigned long long)area.cookie, p->kind, p->rights, p->max_rights, p->cookie);
    }
}

void model_compare(struct model *m, unsigned first, unsigned end)
{
    for (unsigned i = first; i < end; i++) {
        compare_walk(m, i);
        compare_query(m, i);
    }
}

/* Pages that came together by moves are told apart where it makes a difference which page of the area they are. */
static bool same_area(const struct page *a, const struct page *b)
{
    bool by_offset = a->kind == ASPACE_KIND_TRAP || model_linear(a);

    return a->kind == b->kind && a->cookie == b->cookie && a->rights == b->rights &&
           (a->kind == NOTHING || !by_offset || a->offset + 1 == b->offset);
}

/* The list of areas, each as long as it can be, and the number of frames held. */
void model_compare_areas(struct model *m)
{
    uint64_t va = m->env->base, frames = 0;

    for (unsigned i = 0; i < m->pages;) {
        unsigned end = i + 1;
        while (end < m->pages && same_area(&m->page[end - 1], &m->page[end])) {
            end++;
        }
        if (m->page[i].kind != NOTHING) {
            struct aspace_area area;
            CHECK_OK(aspace_next(m->env->space, va, &area));
            CHECK_EQ(area.va, model_va(m, i));
            CHECK_EQ(area.size, (end - i) * PAGE);
            CHECK_EQ(area.cookie, m->page[i].cookie);
            va = area.va + area.size;
        }
        i = end;
    }
    struct aspace_area area;
    CHECK_ERROR(aspace_next(m->env->space, va, &area), ASPACE_E_NOT_MAPPED);
    for (unsigned i = 0; i < m->pages; i++) {
        frames += model_owned(&m->page[i]) && m->page[i].filled;
    }
    CHECK_EQ(frames_held(m->env), frames);
}

/* Programs on other CPUs see what the model says, through whatever their TLBs remember. */
static void compare_cpus(struct model *m)
{
    for (unsigned n = 0; n < 6; n++) {
        unsigned i = (unsigned)(random_next(&m->random) % m->pages);
        const struct page *p = &m->page[i];
        uint32_t access = 1u << (random_next(&m->random) % 3);
        uint64_t pa = cpu_access(m->env, 1 + n % 2, model_va(m, i), access);
        bool backed = p->kind != NOTHING && (model_linear(p) || (model_owned(p) && p->filled));
        if (pa != ASPACE_PA_NONE) {
            CHECK(backed && (p->rights & access) != 0);
            compare_walk(m, i);
            CHECK_EQ(pa, model_linear(p) ? m->device.pa + p->device_page * PAGE : p->pa);
        }
    }
}

/* ---------------------------------------------------------------------------------------------------- one whole run */

static struct model model;

/* For real formats a window over a border of the tables two levels up, with two large pages in it; all of the toy. */
static void place_window(struct model *m, struct env *env)
{
    uint64_t margin = 16 * PAGE, middle;

    m->huge_pages = (unsigned)(env->span[1] / PAGE);
    if (env->config.format == ASPACE_FMT_TOY) {
        m->va = env->base;
        m->pages = (unsigned)((env->end - env->base) / PAGE);
        return;
    }
    middle = at(env, 2, 1);
    margin += env->huge_level != 0 ? env->span[1] : 40 * PAGE;
    m->va = middle - margin;
    m->pages = (unsigned)(2 * margin / PAGE);
    CHECK(m->pages <= MODEL_PAGES_MAX);
}

static void begin(struct env *env)
{
    struct model *m = &model;

    memset(m, 0, sizeof(*m));
    m->env = env;
    for (unsigned i = 0; i < MODEL_PAGES_MAX; i++) {
        m->page[i].kind = NOTHING;
    }
    place_window(m, env);
    CHECK_OK(aspace_frame_alloc(env->host, DEVICE_ORDER, true, &m->device));
    cpu_enter(env, 1);
    cpu_enter(env, 2);
}

static void take(struct env *env, unsigned number)
{
    (void)env;
    model.random = harness_seed() * UINT64_C(0x2545f4914f6cdd1d) + number;
    random_next(&model.random);
    model_step(&model);
}

static void compare_all(void)
{
    model_compare(&model, 0, model.pages);
    model_compare_areas(&model);
}

static void check(struct env *env, unsigned taken)
{
    audit(env);
    compare_cpus(&model);
    if (taken % FULL_EVERY == 0) {
        compare_all();
    }
}

static void finish(struct env *env)
{
    compare_all();
    CHECK_OK(aspace_clear(env->space));
    aspace_frame_release(&model.device);
    destroy(env);
}

static const char *text(void)
{
    return model.text;
}

static void model_random(struct env *env)
{
    static const struct sequence sequence = {"model", SHRINK_STEPS, begin, take, check, finish, text};

    sequence_run(env, &sequence, strchr(env->variant->name, '+') ? STEPS_SPECIAL : STEPS);
}

static const struct test tests[] = {{"model", model_random, SLOW}};

int main(int argc, char **argv)
{
    const struct suite suites[] = {SUITE(tests)};
    const struct program program = {"model", suites, 1, NULL};

    return harness_main(&program, argc, argv);
}
