/* SPDX-License-Identifier: BSD-2-Clause */
/* The random operations on what is beside a family's tables: objects, pins, logs, tickets. Must not know how the
 * library keeps anything. */
#include <stdio.h>
#include <string.h>

#include <aspace/pin.h>

#include "family.h"

/* ---------------------------------------------------------------------------------------------------------- objects */

void step_store_write(struct family *f)
{
    struct store *s = &f->store[pick(f, OBJECTS)];
    unsigned i = pick(f, STORE_PAGES), n = pick(f, 2);

    SAY(f, "object %u: its owner writes %u", (unsigned)(s - f->store), i);
    s->word[i][n] = random_next(&f->random);
    ((uint64_t *)aspace_phys_to_virt(s->frame[i].pa))[n ? 511 : 0] = s->word[i][n];
}

/* Of an object. What is said of several pages says little of each. */
static struct range pick_some(struct family *f)
{
    unsigned first = pick(f, STORE_PAGES);

    return (struct range){first, first + 1 + (pick(f, 2) ? 0 : pick(f, STORE_PAGES - first))};
}

/* Shared mappings of these pages lost the flag, or those that no log is to find: the object has been told, or is about
 * to be. */
static void flags_gone(struct family *f, struct store *s, struct range r, bool cleaned)
{
    for (unsigned i = r.first; i < r.end; i++) {
        s->granted[i] &= cleaned ? ~(uint32_t)ASPACE_W : 0;
    }
    for (unsigned k = 0; k < SPACES * PAGES; k++) {
        struct page *p = &f->member[k / PAGES].page[k % PAGES];
        if (p->kind == ASPACE_KIND_SHARED && &f->store[p->store] == s && p->offset >= r.first && p->offset < r.end) {
            p->dirty = p->dirty && cleaned && f->member[k / PAGES].log;
            p->maybe = cleaned || family_always_told(f, p);
        }
    }
}

static void check_written(struct store *s, struct range r, bool said)
{
    for (unsigned i = r.first; i < r.end; i++) {
        CHECK(!s->written[i] || s->told[i] || said);
        s->written[i] = s->told[i] = false;
    }
}

/* The frames are changed for others while the pages are out. */
void step_evict(struct family *f)
{
    struct store *s = &f->store[pick(f, OBJECTS)];
    struct range r = pick_some(f);

    SAY(f, "object %u: evict %u-%u", (unsigned)(s - f->store), r.first, r.end);
    s->out = true;
    bool said = aspace_object_evict(&s->object, r.first * PAGE, (r.end - r.first) * PAGE);
    arena_fail_nth(&f->env->machine.arena, 0);
    aspace_trim(f->env->host);
    check_written(s, r, said);
    for (unsigned i = r.first; i < r.end; i++) {
        struct aspace_frame other;
        CHECK_EQ(s->references[i], 0);
        CHECK_OK(aspace_frame_alloc(f->env->host, 0, true, &other));
        memcpy(aspace_phys_to_virt(other.pa), aspace_phys_to_virt(s->frame[i].pa), PAGE);
        aspace_frame_release(&s->frame[i]);
        s->frame[i] = other;
    }
    s->out = false;
    flags_gone(f, s, r, false);
}

void step_clean(struct family *f)
{
    struct store *s = &f->store[pick(f, OBJECTS)];
    struct range r = pick_some(f);

    SAY(f, "object %u: clean %u-%u", (unsigned)(s - f->store), r.first, r.end);
    bool said = aspace_object_clean(&s->object, r.first * PAGE, (r.end - r.first) * PAGE);
    arena_fail_nth(&f->env->machine.arena, 0);
    aspace_trim(f->env->host);
    check_written(s, r, said);
    for (unsigned k = 0; k < SPACES * PAGES; k++) {
        const struct member *m = &f->member[k / PAGES];
        const struct page *p = &m->page[k % PAGES];
        struct aspace_translation t;
        if (m->space && p->kind == ASPACE_KIND_SHARED && &f->store[p->store] == s && p->offset >= r.first &&
            p->offset < r.end && aspace_translate(m->space, family_va(f, k % PAGES), &t) == ASPACE_OK) {
            CHECK(!(t.rights & ASPACE_W) || family_always_told(f, p));
        }
    }
    flags_gone(f, s, r, true);
}

void step_truncate(struct family *f)
{
    struct store *s = &f->store[pick(f, OBJECTS)];
    unsigned pages = pick(f, 4) ? STORE_PAGES : pick(f, STORE_PAGES + 1);

    SAY(f, "object %u: %u pages", (unsigned)(s - f->store), pages);
    aspace_object_truncate(&s->object, pages * PAGE);
    arena_fail_nth(&f->env->machine.arena, 0);
    aspace_trim(f->env->host);
    for (unsigned i = pages; i < STORE_PAGES; i++) {
        CHECK_EQ(s->references[i], 0);
        s->granted[i] = 0;
        s->written[i] = s->told[i] = false; /* what is cut off is written back by nobody */
    }
    for (unsigned k = 0; k < SPACES * PAGES; k++) {
        struct page *p = &f->member[k / PAGES].page[k % PAGES];
        bool mine = (p->kind == ASPACE_KIND_SHARED || p->kind == ASPACE_KIND_PRIVATE) && &f->store[p->store] == s;
        if (mine && p->offset >= pages) {
            p->pins = 0;
            family_drop(p);
        }
    }
}

/* ------------------------------------------------------------------------------------------------------------- pins */

void family_unpin(struct family *f, struct pin *pin)
{
    CHECK_OK(aspace_unpin(pin->member->space, pin->va, PAGE, &pin->pa));
    for (unsigned i = 0; i < PAGES; i++) {
        struct page *p = &pin->member->page[i];
        p->pins -= p->pins && p->pinned_pa == pin->pa;
    }
    pin->pa = 0;
    (void)f;
}

void step_pin(struct family *f)
{
    struct member *m = pick_member(f);
    unsigned i = pick_page(f), n = pick(f, PINS);
    struct page *p = &m->page[i];
    uint32_t access = pick(f, 3) ? ASPACE_W : ASPACE_R;
    struct pin *pin = &f->pin[n];
    struct aspace_translation t;

    SAY(f, "%u: %s %u access %u", number_of(f, m), pin->pa ? "unpin, pin" : "pin", i, access);
    if (pin->pa) {
        family_unpin(f, pin);
    }
    if (!(p->rights & ASPACE_W) || family_fault(f, p, access) != ASPACE_FAULT_DONE ||
        (aspace_translate(m->space, family_va(f, i), &t) == ASPACE_OK && t.leaf_bytes != PAGE)) {
        return;
    }
    bool wanted = family_owned(p) || (p->kind == ASPACE_KIND_PRIVATE && (p->own || access == ASPACE_W));
    int error = aspace_pin(m->space, family_va(f, i), PAGE, access, &pin->pa);
    if (p->kind == ASPACE_KIND_LINEAR && error == ASPACE_OK) {
        family_unpin(f, &(struct pin){m, family_va(f, i), pin->pa});
    }
    if (!wanted || !family_worked(f, error)) {
        CHECK(wanted || p->kind == ASPACE_KIND_LINEAR || error == ASPACE_E_UNSUPPORTED ||
              (f->scarce && error == ASPACE_E_NO_MEMORY));
        pin->pa = 0;
        family_touched(f, m, i);
        return;
    }
    family_becomes_own(f, m, i);
    *pin = (struct pin){m, family_va(f, i), pin->pa};
    CHECK_OK(aspace_translate(m->space, pin->va, &t));
    CHECK_EQ(t.pa, pin->pa);
    CHECK(!p->pins || p->pinned_pa == pin->pa);
    p->pins++;
    p->pinned_pa = pin->pa;
    if (t.leaf_bytes != PAGE) {
        family_unpin(f, pin); /* what is done to a large leaf is done for all its pages */
    }
}

/* The page is the device's for as long as it is pinned, wherever it is now. */
void step_device(struct family *f)
{
    struct pin *pin = &f->pin[pick(f, PINS)];
    unsigned n = pick(f, 2);
    uint64_t value = random_next(&f->random);

    SAY(f, "device writes to 0x%llx", (unsigned long long)pin->pa);
    if (!pin->pa) {
        return;
    }
    ((uint64_t *)aspace_phys_to_virt(pin->pa))[n ? 511 : 0] = value;
    for (unsigned i = 0; i < f->pages; i++) {
        struct page *p = &pin->member->page[i];
        if (p->pins && p->pinned_pa == pin->pa) {
            p->word[n] = value;
            CHECK_OK(aspace_dirty_mark(pin->member->space, family_va(f, i), PAGE));
            p->dirty = true;
        }
    }
}

/* ------------------------------------------------------------------------------------------------------- dirty logs */

/* The flag is told once: to the log, and not to the object. */
static void flags_taken(struct family *f, struct member *m)
{
    for (unsigned i = 0; i < f->pages; i++) {
        struct page *p = &m->page[i];
        struct aspace_translation t = {.leaf_bytes = PAGE};
        uint64_t va = family_va(f, i);
        (void)!aspace_translate(m->space, va, &t);
        bool whole = va / t.leaf_bytes * t.leaf_bytes >= f->va &&
                     (va / t.leaf_bytes + 1) * t.leaf_bytes <= family_va(f, f->pages);
        p->dirty = false;
        p->maybe = family_always_told(f, p) || !whole;
    }
}

static void harvest(struct family *f, struct member *m)
{
    uint64_t bitmap[1] = {~UINT64_C(0)};

    _Static_assert(PAGES <= 64, "one word");
    CHECK_OK(aspace_harvest_dirty(m->space, f->va, f->pages * PAGE, bitmap, NULL));
    for (unsigned i = 0; i < f->pages; i++) {
        const struct page *p = &m->page[i];
        bool told = bitmap[0] >> i & 1;
        if ((p->dirty && !told) || (told && !p->dirty && !p->maybe)) {
            test_fail(__FILE__, __LINE__, "member %u page %u: %s", number_of(f, m), i, told ? "told" : "lost");
        }
    }
    flags_taken(f, m);
}

void step_log(struct family *f)
{
    struct member *m = pick_member(f);
    struct aspace_dirty_config config = {.flags = pick(f, 2) ? ASPACE_DIRTY_SPLIT : 0};
    bool ad = naive_used(&f->env->config, 0, true) != 0;

    if (!m->log) {
        m->hardware = ad && pick(f, 2);
        config.mode = m->hardware ? ASPACE_DIRTY_HARDWARE : ASPACE_DIRTY_WRITE_PROTECT;
        config.flags = m->hardware ? 0 : config.flags;
        SAY(f, "%u: start a log, %s flags %u", number_of(f, m), m->hardware ? "hardware" : "write-protect",
            config.flags);
        CHECK_OK(aspace_dirty_start(m->space, &config));
        m->log = true;
        flags_taken(f, m);
    } else if (pick(f, 3)) {
        SAY(f, "%u: harvest", number_of(f, m));
        harvest(f, m);
    } else {
        SAY(f, "%u: stop the log", number_of(f, m));
        CHECK_OK(aspace_dirty_stop(m->space));
        m->log = false;
    }
}

/* As a device says what it wrote; whether it may write is not asked. */
void step_mark(struct family *f)
{
    struct member *m = pick_member(f);
    unsigned i = pick_page(f);
    struct page *p = &m->page[i];
    struct aspace_translation t;

    SAY(f, "%u: mark %u", number_of(f, m), i);
    bool mapped = aspace_translate(m->space, family_va(f, i), &t) == ASPACE_OK;
    CHECK_OK(aspace_dirty_mark(m->space, family_va(f, i), PAGE));
    family_touched(f, m, i);
    p->dirty |= mapped;
    if (mapped && p->kind == ASPACE_KIND_SHARED) {
        f->store[p->store].written[p->offset] = true;
        f->store[p->store].told[p->offset] = false;
    }
    if (mapped && pick(f, 2)) {
        family_touch(f, m, i, ASPACE_X);
    }
}

/* ---------------------------------------------------------------------------------------------------------- tickets */

static struct pending *leader_of(struct family *f, const struct pending *t)
{
    for (unsigned n = 0; n < TICKETS; n++) {
        struct pending *other = &f->pending[n];
        if (other != t && other->armed && other->leads && !other->stale && other->member == t->member &&
            other->page == t->page) {
            return other;
        }
    }
    return NULL;
}

static void arm(struct family *f, struct pending *t)
{
    struct member *m = pick_member(f);
    unsigned i = pick_page(f);

    for (unsigned n = 0; n < f->pages && m->page[i].kind != ASPACE_KIND_CUSTOM; n++) {
        i = (i + 1) % f->pages;
    }
    struct page *p = &m->page[i];
    SAY(f, "%u: try %u", number_of(f, m), i);
    if (p->kind != ASPACE_KIND_CUSTOM || p->custom_pa) {
        return;
    }
    *t = (struct pending){.member = number_of(f, m), .page = i, .cookie = p->cookie};
    t->need = pick(f, 2) ? ASPACE_W : ASPACE_R;
    enum aspace_fault_result expected = family_fault(f, p, t->need);
    expected = expected != ASPACE_FAULT_DONE ? expected
               : leader_of(f, t)             ? ASPACE_FAULT_WAITING
                                             : ASPACE_FAULT_NEEDS_IO;
    f->far = true;
    enum aspace_fault_result r = aspace_fault_try(m->space, family_va(f, i), t->need, 0, &t->ticket, NULL);
    f->far = false;
    if (!f->scarce || r != ASPACE_FAULT_NO_MEMORY) {
        CHECK_FAULT(r, expected);
    }
    t->leads = r == ASPACE_FAULT_NEEDS_IO;
    t->armed = t->leads || r == ASPACE_FAULT_WAITING;
}

/* What happens to those who wait: the first leads, or all are woken. */
static void ended(struct family *f, const struct pending *t, bool fetched)
{
    bool led = t->leads && !t->stale;
    struct pending *first = NULL;

    for (unsigned n = 0; led && n < TICKETS; n++) {
        struct pending *other = &f->pending[n];
        if (other == t || !other->armed || other->leads || other->member != t->member || other->page != t->page) {
            continue;
        }
        if (fetched) {
            other->armed = false;
        } else if (aspace_ticket_state(&other->ticket) == ASPACE_TICKET_LEADING) {
            CHECK(!first);
            first = other;
            other->leads = true;
        }
    }
}

static void complete(struct family *f, struct pending *t)
{
    struct page *p = &f->member[t->member].page[t->page];
    int expected = ASPACE_OK;

    arena_fail_nth(&f->env->machine.arena, 0);
    aspace_pa_t pa = family_give(f, p->cookie, p->offset);
    if (t->stale) {
        expected = ASPACE_E_STALE;
    } else if (p->custom_pa) {
        expected = ASPACE_E_EXISTS;
    } else if (t->need & ~(uint32_t)p->rights) {
        expected = ASPACE_E_STALE;
    }
    arena_fail_nth(&f->env->machine.arena, 1); /* it allocates nothing */
    CHECK_ERROR(aspace_fault_complete(&t->ticket, pa), expected);
    arena_fail_nth(&f->env->machine.arena, 0);
    if (expected == ASPACE_OK) {
        p->custom_pa = pa;
        p->word[0] = ((uint64_t *)aspace_phys_to_virt(pa))[0];
        p->word[1] = 0;
        family_touched(f, &f->member[t->member], t->page);
    } else {
        family_take(f, pa);
    }
    ended(f, t, true);
}

void step_ticket(struct family *f)
{
    struct pending *t = &f->pending[pick(f, TICKETS)];

    if (!t->armed) {
        arm(f, t);
        return;
    }
    if (t->leads && pick(f, 3)) {
        SAY(f, "%u: complete %u%s", t->member, t->page, t->stale ? ", stale" : "");
        complete(f, t);
    } else {
        SAY(f, "%u: cancel %u", t->member, t->page);
        CHECK_OK(aspace_fault_cancel(&t->ticket));
        ended(f, t, false);
    }
    t->armed = false;
}

void family_end_tickets(struct family *f, struct member *m, bool closed)
{
    for (unsigned n = 0; n < TICKETS; n++) {
        struct pending *t = &f->pending[n];
        if (!t->armed || &f->member[t->member] != m) {
            continue;
        }
        t->armed = false;
        if (closed) {
            aspace_pa_t pa = family_give(f, 0, 0);
            CHECK_ERROR(aspace_fault_complete(&t->ticket, pa), t->leads ? ASPACE_E_CLOSED : ASPACE_E_STALE);
            family_take(f, pa);
        } else {
            CHECK_OK(aspace_fault_cancel(&t->ticket));
            for (unsigned k = n + 1; t->leads && !t->stale && k < TICKETS; k++) {
                struct pending *next = &f->pending[k];
                next->leads |= next->armed && next->member == t->member && next->page == t->page;
            }
        }
    }
}
