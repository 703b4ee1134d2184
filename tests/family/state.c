/* SPDX-License-Identifier: BSD-2-Clause */
/* The family's members, objects and frames, and the comparison with what is expected. Must not know the operations. */
#include <stdlib.h>
#include <string.h>

#include "family.h"

/* --------------------------------------------------------------------------------------------------------- contents */

static uint64_t pattern(uint32_t cookie, uint64_t offset)
{
    return cookie * UINT64_C(1000000) + offset + 1;
}

static void set_word(aspace_pa_t pa, unsigned n, uint64_t value)
{
    ((uint64_t *)aspace_phys_to_virt(pa))[n ? 511 : 0] = value;
}

static uint64_t get_word(aspace_pa_t pa, unsigned n)
{
    return ((const uint64_t *)aspace_phys_to_virt(pa))[n ? 511 : 0];
}

static bool of_device(const struct page *p)
{
    return p->kind == ASPACE_KIND_LINEAR || p->kind == ASPACE_KIND_ROM;
}

uint64_t *family_words(struct family *f, struct page *p)
{
    if (of_device(p)) {
        return f->device_word[p->offset];
    }
    if (p->kind == ASPACE_KIND_SHARED || (p->kind == ASPACE_KIND_PRIVATE && !p->own)) {
        return f->store[p->store].word[p->offset];
    }
    return p->word;
}

static bool past_the_end(const struct family *f, const struct page *p)
{
    return (p->kind == ASPACE_KIND_SHARED || p->kind == ASPACE_KIND_PRIVATE) &&
           p->offset >= aspace_object_size(&f->store[p->store].object) / PAGE;
}

enum aspace_fault_result family_fault(const struct family *f, const struct page *p, uint32_t access)
{
    switch (p->kind) {
    case NOTHING: return ASPACE_FAULT_NO_AREA;
    case ASPACE_KIND_TRAP: return ASPACE_FAULT_TRAP;
    case ASPACE_KIND_GUARD: return ASPACE_FAULT_GUARD;
    default: break;
    }
    if (p->kind == ASPACE_KIND_ROM && access == ASPACE_W) {
        return ASPACE_FAULT_TRAP;
    }
    if (access & ~(uint32_t)p->rights) {
        return ASPACE_FAULT_PERMISSION;
    }
    return past_the_end(f, p) ? ASPACE_FAULT_BUS : ASPACE_FAULT_DONE;
}

void family_touched(struct family *f, struct member *m, unsigned page)
{
    struct aspace_translation t = {.leaf_bytes = PAGE};
    uint64_t va = family_va(f, page);

    (void)!aspace_translate(m->space, va, &t);
    for (unsigned i = 0; i < f->pages; i++) {
        m->page[i].maybe |= family_va(f, i) / t.leaf_bytes == va / t.leaf_bytes;
    }
}

void family_revoke(struct family *f, const struct member *m, unsigned first, unsigned end)
{
    for (unsigned n = 0; n < TICKETS; n++) {
        struct pending *t = &f->pending[n];
        if (t->armed && &f->member[t->member] == m && t->page >= first && t->page < end) {
            t->stale = true;
            t->armed = t->leads; /* who waits is woken */
        }
    }
}

/* --------------------------------------------------------------------------------------------- objects, backends */

static struct family *now;

static enum aspace_fault_result store_get(struct aspace_object *object, uint64_t offset, uint32_t access,
                                          uint32_t flags, struct aspace_page *page)
{
    struct store *s = (struct store *)(void *)object;

    (void)flags;
    if (s->out) {
        return ASPACE_FAULT_RETRY;
    }
    s->granted[offset / PAGE] |= access;
    for (uint32_t right = ASPACE_W; s->mean && right <= ASPACE_X; right <<= 1) {
        uint32_t less = page->rights & ~(right & ~s->granted[offset / PAGE]);
        page->rights = expressible(now->env, less) ? less : page->rights;
    }
    page->pa = s->frame[offset / PAGE].pa;
    s->references[offset / PAGE]++;
    return ASPACE_FAULT_DONE;
}

static void store_put(struct aspace_object *object, uint64_t offset, aspace_pa_t pa)
{
    struct store *s = (struct store *)(void *)object;

    (void)pa;
    s->references[offset / PAGE]--;
}

static void store_dirty(struct aspace_object *object, uint64_t offset, aspace_pa_t pa)
{
    struct store *s = (struct store *)(void *)object;

    (void)pa;
    s->told[offset / PAGE] = true;
}

static int store_zero(struct aspace_object *object, uint64_t offset, uint64_t size)
{
    struct store *s = (struct store *)(void *)object;

    for (uint64_t n = offset / PAGE; n < (offset + size) / PAGE && n < STORE_PAGES; n++) {
        aspace_frame_fill(&s->frame[n], 0);
        s->word[n][0] = s->word[n][1] = 0;
    }
    return ASPACE_OK;
}

static const struct aspace_object_ops store_ops = {
    .name = "store", .get = store_get, .put = store_put, .dirty = store_dirty, .zero = store_zero};

aspace_pa_t family_give(struct family *f, uint32_t cookie, uint64_t offset)
{
    aspace_pa_t pa = f->env->hal.alloc(&f->env->machine, 0, ASPACE_ALLOC_ZERO);
    unsigned n = 0;

    if (pa == ASPACE_PA_NONE) {
        return pa;
    }
    while (n < FRAMES && f->frame[n].references) {
        n++;
    }
    CHECK(n < FRAMES);
    f->frame[n].pa = pa;
    f->frame[n].references = 1;
    set_word(pa, 0, pattern(cookie, offset));
    return pa;
}

void family_take(struct family *f, aspace_pa_t pa)
{
    unsigned n = 0;

    while (n < FRAMES && (f->frame[n].pa != pa || !f->frame[n].references)) {
        n++;
    }
    CHECK(n < FRAMES);
    if (--f->frame[n].references == 0) {
        f->env->hal.free(&f->env->machine, pa, 0);
        for (unsigned k = 0; k < SPACES * PAGES; k++) {
            struct page *p = &f->member[k / PAGES].page[k % PAGES];
            p->custom_pa = p->custom_pa == pa ? 0 : p->custom_pa; /* it was not to be mapped */
        }
    }
}

static void custom_release(void *ctx, uint64_t offset, aspace_pa_t pa, unsigned order)
{
    (void)ctx, (void)offset;
    CHECK_EQ(order, 0);
    family_take(now, pa);
}

/* Asked again for a page that it has given, it gives the same one, for which the mapping holds one reference. */
static enum aspace_fault_result custom_fill(const struct aspace_fill *fill, struct aspace_page *page)
{
    struct family *f = now;
    struct page *p = NULL;

    for (unsigned n = 0; n < SPACES; n++) {
        if (f->member[n].space == fill->space) {
            p = &f->member[n].page[(fill->va - f->va) / PAGE];
        }
    }
    CHECK(p && p->kind == ASPACE_KIND_CUSTOM);
    CHECK_EQ(fill->offset, p->offset * PAGE);
    CHECK_EQ((uintptr_t)fill->ctx, p->cookie);
    for (unsigned n = 0; p->custom_pa && n < FRAMES; n++) {
        if (f->frame[n].pa == p->custom_pa && f->frame[n].references) {
            f->frame[n].references++;
            page->pa = p->custom_pa;
            return ASPACE_FAULT_DONE;
        }
    }
    if (f->far) {
        return ASPACE_FAULT_NEEDS_IO;
    }
    page->pa = family_give(f, p->cookie, p->offset);
    if (page->pa == ASPACE_PA_NONE) {
        return ASPACE_FAULT_NO_MEMORY;
    }
    p->custom_pa = page->pa;
    p->word[0] = pattern(p->cookie, p->offset);
    p->word[1] = 0;
    return ASPACE_FAULT_DONE;
}

const struct aspace_backend family_backend = {.name = "custom", .fill = custom_fill, .release = custom_release};

/* ---------------------------------------------------------------------------------------------------------- members */

static void note_gone(struct aspace_watcher *watcher, const struct aspace_gone *gone)
{
    struct member *m = watcher->user;

    for (unsigned i = 0; i < now->pages; i++) {
        uint64_t va = family_va(now, i);
        m->told[i] |= va >= gone->va && va - gone->va < gone->size;
    }
}

void family_watch(struct family *f, struct member *m)
{
    m->watcher = (struct aspace_watcher){.va = f->va, .size = f->pages * PAGE, .gone = note_gone, .user = m};
    CHECK_OK(aspace_watch(m->space, &m->watcher));
    m->fresh = true;
}

/* Before another space uses a tag: what CPUs know of the last one that did. */
static void forget(struct env *env, uint32_t tag)
{
    for (unsigned n = 0; n < env->cpus; n++) {
        aspace_linux_become(&env->machine, n);
        env->hal.tlb_flush_local(&env->machine, tag, false);
        env->hal.tlb_flush_local(&env->machine, tag, true);
    }
    aspace_linux_become(&env->machine, 0);
}

void family_open(struct family *f, unsigned n)
{
    struct member *m = &f->member[n];
    struct env *env = f->env;

    memset(m, 0, sizeof(*m));
    for (unsigned i = 0; i < PAGES; i++) {
        m->page[i].kind = NOTHING;
    }
    m->config = env->config;
    m->config.tag = env->config.tag + 1 + n;
    forget(env, m->config.tag);
    m->space = aligned_alloc(ASPACE_CACHE_LINE, (aspace_bytes(env->host) + 63) / 64 * 64);
    CHECK(m->space);
    CHECK_OK(aspace_create(m->space, env->host, &m->config));
    m->sim = env->sim_space;
    aspace_linux_describe(m->space, &m->config, &m->sim);
    m->sim.config = &m->config;
    if (n + 1 < env->cpus) {
        aspace_linux_become(&env->machine, n + 1);
        aspace_linux_enter(&env->machine, m->space, &m->sim);
        aspace_linux_become(&env->machine, 0);
    }
}

void family_close(struct family *f, unsigned n)
{
    struct member *m = &f->member[n];
    struct env *env = f->env;

    if (n + 1 < env->cpus) {
        aspace_linux_become(&env->machine, n + 1);
        aspace_linux_leave(&env->machine, m->space, &m->sim);
        aspace_linux_become(&env->machine, 0);
    }
    CHECK_OK(aspace_destroy(m->space));
    free(m->space);
    m->space = NULL;
}

/* For real formats a window over a border of leaf tables; all of the toy, with its large leaves of few pages. */
static void place_window(struct family *f, struct env *env)
{
    uint64_t room = (env->end - env->base) / PAGE;

    f->va = env->config.format == ASPACE_FMT_TOY ? env->base : at(env, 1, 1) - PAGES * 2 / 3 * PAGE;
    f->va = f->va < env->base ? env->base : f->va;
    f->pages = room < PAGES ? (unsigned)room : PAGES;
}

static void open_store(struct family *f, struct store *s)
{
    CHECK_OK(aspace_object_init(&s->object, f->env->host, &store_ops, STORE_PAGES * PAGE));
    for (unsigned n = 0; n < STORE_PAGES; n++) {
        CHECK_OK(aspace_frame_alloc(f->env->host, 0, true, &s->frame[n]));
        s->word[n][0] = n + 100;
        s->word[n][1] = n + 200;
        set_word(s->frame[n].pa, 0, s->word[n][0]);
        set_word(s->frame[n].pa, 1, s->word[n][1]);
    }
}

void family_begin(struct family *f, struct env *env)
{
    uint64_t random = f->random;

    memset(f, 0, sizeof(*f));
    now = f;
    f->env = env;
    f->random = random;
    place_window(f, env);
    CHECK_OK(aspace_frame_alloc(env->host, DEVICE_ORDER, true, &f->device));
    for (unsigned n = 0; n < OBJECTS; n++) {
        open_store(f, &f->store[n]);
        f->store[n].mean = n == 1;
    }
    family_open(f, 0);
    family_watch(f, &f->member[0]);
}

void family_end(struct family *f)
{
    aspace_trim(f->env->host);
    aspace_frame_release(&f->device);
    for (unsigned n = 0; n < OBJECTS * STORE_PAGES; n++) {
        struct store *s = &f->store[n / STORE_PAGES];
        CHECK_EQ(s->references[n % STORE_PAGES], 0);
        CHECK(!s->written[n % STORE_PAGES] || s->told[n % STORE_PAGES]);
        aspace_frame_release(&s->frame[n % STORE_PAGES]);
    }
    for (unsigned n = 0; n < FRAMES; n++) {
        CHECK_EQ(f->frame[n].references, 0);
    }
}

/* ------------------------------------------------------------------------------------------------------- comparison */

static void compare_area(struct family *f, struct member *m, unsigned i)
{
    const struct page *p = &m->page[i];
    struct aspace_area area;
    int error = aspace_query(m->space, family_va(f, i), &area);

    CHECK_ERROR(error, p->kind == NOTHING ? ASPACE_E_NOT_MAPPED : ASPACE_OK);
    if (error == ASPACE_OK) {
        CHECK_EQ(area.kind, p->kind);
        CHECK_EQ(area.rights, p->rights);
        CHECK_EQ(area.cookie, p->cookie);
        CHECK_EQ(area.fork, p->fork);
    }
}

static bool has_leaf(const struct family *f, const struct page *p)
{
    return p->rights && !past_the_end(f, p) &&
           (family_owned(p) || of_device(p) || p->kind == ASPACE_KIND_CUSTOM || p->kind == ASPACE_KIND_PRIVATE ||
            p->kind == ASPACE_KIND_SHARED);
}

/* A page that would be lost. */
static bool holds_something(const struct page *p)
{
    return p->pins || (p->kind == ASPACE_KIND_PRIVATE && p->own) || (family_owned(p) && (p->word[0] || p->word[1]));
}

static void check_grant(const struct family *f, const struct page *p, const struct aspace_translation *t)
{
    const struct store *s = &f->store[p->store];

    if (p->kind == ASPACE_KIND_SHARED && s->mean && t->rights & ASPACE_W) {
        CHECK(s->granted[p->offset] & ASPACE_W || family_always_told(f, p));
    }
}

/* Where a page leads, and what is there. */
static void compare_page(struct family *f, struct member *m, unsigned i)
{
    struct page *p = &m->page[i];
    struct aspace_translation t;
    int error = aspace_translate(m->space, family_va(f, i), &t);

    if (error == ASPACE_E_NOT_MAPPED) {
        CHECK(!p->rights || !(of_device(p) || holds_something(p)));
        return;
    }
    CHECK_OK(error);
    CHECK(has_leaf(f, p));
    CHECK_EQ(t.rights & ~(uint32_t)p->rights, 0);
    if (p->kind == ASPACE_KIND_SHARED || p->kind == ASPACE_KIND_PRIVATE) {
        bool same = t.pa == f->store[p->store].frame[p->offset].pa;
        CHECK_EQ(same, p->kind == ASPACE_KIND_SHARED || !p->own);
        CHECK(p->kind == ASPACE_KIND_SHARED || p->own || !(t.rights & ASPACE_W));
    }
    if (of_device(p)) {
        CHECK_EQ(t.pa, f->device.pa + p->offset * PAGE);
    }
    check_grant(f, p, &t);
    CHECK(!p->pins || t.pa == p->pinned_pa);
    for (unsigned n = 0; n < 2; n++) {
        uint64_t expected = family_words(f, p)[n], found = get_word(t.pa, n);
        if (found != expected) {
            test_fail(__FILE__, __LINE__, "member %u page %u word %u is 0x%llx, not 0x%llx", (unsigned)(m - f->member),
                      i, n, (unsigned long long)found, (unsigned long long)expected);
        }
    }
}

static void check_told(const struct family *f, const struct member *m, unsigned i, const struct aspace_translation *t)
{
    const struct page *p = &m->page[i];
    uint32_t lost = p->seen_right & ~t->rights;

    if (m->log && !m->hardware) {
        lost &= ~(uint32_t)ASPACE_W; /* the log takes it, and gives it back */
    }
    if (p->seen_pa != ASPACE_PA_NONE && (t->pa != p->seen_pa || lost) && !m->told[i]) {
        test_fail(__FILE__, __LINE__, "member %u page %u: watcher not told", (unsigned)(m - f->member), i);
    }
}

static void look(struct family *f, struct member *m, bool check)
{
    for (unsigned i = 0; i < f->pages; i++) {
        struct aspace_translation t;
        if (aspace_translate(m->space, family_va(f, i), &t) != ASPACE_OK) {
            t = (struct aspace_translation){.pa = ASPACE_PA_NONE};
        }
        if (check && !m->fresh) {
            check_told(f, m, i, &t);
        }
        m->page[i].seen_pa = t.pa;
        m->page[i].seen_right = t.rights;
    }
}

void family_look(struct family *f)
{
    for (unsigned n = 0; n < SPACES; n++) {
        struct member *m = &f->member[n];
        if (m->space) {
            look(f, m, false);
            memset(m->told, 0, sizeof(m->told));
            m->fresh = false;
        }
    }
}

/* Who may write to a page of his own has it alone. */
static void compare_writers(const struct family *f)
{
    for (unsigned k = 0; k < SPACES * PAGES; k++) {
        const struct member *m = &f->member[k / PAGES];
        const struct page *p = &m->page[k % PAGES];
        bool owned = family_owned(p) || (p->kind == ASPACE_KIND_PRIVATE && p->own);
        if (!m->space || !owned || p->seen_pa == ASPACE_PA_NONE || !(p->seen_right & ASPACE_W)) {
            continue;
        }
        for (unsigned j = 0; j < SPACES * PAGES; j++) {
            CHECK(j == k || !f->member[j / PAGES].space || f->member[j / PAGES].page[j % PAGES].seen_pa != p->seen_pa);
        }
    }
}

void family_compare(struct family *f)
{
    for (unsigned n = 0; n < SPACES; n++) {
        struct member *m = &f->member[n];
        if (!m->space) {
            continue;
        }
        for (unsigned i = 0; i < f->pages; i++) {
            compare_area(f, m, i);
            compare_page(f, m, i);
        }
        look(f, m, true);
        compare_tlb(f, m);
        CHECK_EQ(aspace_audit(m->space, NULL, NULL), 0);
    }
    compare_writers(f);
    for (unsigned n = 0; n < TICKETS; n++) {
        const struct pending *t = &f->pending[n];
        enum aspace_ticket_state state = aspace_ticket_state(&t->ticket);
        CHECK_EQ(state, !t->armed ? ASPACE_TICKET_IDLE : t->leads ? ASPACE_TICKET_LEADING : ASPACE_TICKET_WAITING);
    }
}
