/* SPDX-License-Identifier: BSD-2-Clause */
/* Why an access works or does not: the slots on its way, what the MMU makes of them, and what a fault would answer. */
#include "inspect/describe.h"
#include "inspect/scan.h"
#include "space/space.h"

enum { TRIES = 100 };

/* What was seen, all in one read section, printed outside of it. */
struct sight {
    const struct pt *pt;
    aspace_va_t va;
    uint32_t need; /* rights, as the format tells them apart */
    unsigned n;    /* levels seen */
    uint64_t e[FMT_LEVELS_MAX];
    struct scan_slot slot;
    struct area area; /* copy of the record; flags 0 and id 0 if there is none */
    aspace_line_fn *line;
    void *arg;
};

static unsigned level_of(const struct sight *w, unsigned k)
{
    return w->pt->top - k;
}

/* The levels, then the last slot once more with its record; they belong together if the slot is the same. */
static bool look_once(struct sight *w)
{
    const struct pt *pt = w->pt;
    const struct node *n = pt->root;
    struct scan scan;
    enum slot_kind kind;
    for (w->n = 0;; n = pt_child(pt, w->e[w->n - 1])) {
        w->e[w->n] = slot_load(node_slots(n) + slot_index(pt->F, n->level, w->va));
        kind = slot_kind(pt->F, n->level, w->e[w->n++]);
        if (kind != SLOT_TABLE)
            break;
    }
    w->slot.kind = SLOT_EMPTY;
    if (kind == SLOT_EMPTY)
        return true;
    scan_begin(&scan, pt, w->va, w->va + 1);
    bool same = scan_next(&scan, &w->slot) && w->slot.level == n->level && w->slot.e == w->e[w->n - 1];
    if (same && w->slot.value)
        w->area = *value_area(pt->host, w->slot.value);
    scan_end(&scan);
    return same;
}

static bool look(struct sight *w)
{
    bool found = false;
    smr_enter(w->pt->host);
    for (unsigned tries = 0; tries < TRIES && !found; tries++)
        found = look_once(w);
    smr_leave(w->pt->host);
    return found;
}

static void begin(struct text *t, char *out, const struct sight *w, unsigned k)
{
    unsigned level = level_of(w, k);
    aspace_va_t va = w->va & ~(slot_span(w->pt->F, level) - 1);
    text_begin(t, out, LINE_BYTES);
    text_dec(t, "level ", level);
    text_dec(t, " slot ", slot_index(w->pt->F, level, w->va));
    text_range(t, " ", va, va + slot_span(w->pt->F, level));
    text_hex(t, " entry ", w->e[k]);
}

static void print_tables(const struct sight *w)
{
    char out[LINE_BYTES];
    struct text t;
    for (unsigned k = 0; k + 1 < w->n; k++) {
        begin(&t, out, w, k);
        text_hex(&t, ": table at ", fmt_table_pa(w->pt->F, w->e[k]));
        text_rights(&t, ", permits ", ASPACE_RWX | ASPACE_U);
        w->line(w->arg, out);
    }
}

static void print_leaf(struct text *t, const struct sight *w, unsigned level, uint64_t e)
{
    const struct fmt *F = w->pt->F;
    const struct fmt_ctx *C = &w->pt->C;
    unsigned index = slot_index(F, level, w->va);
    text_bytes(t, ": leaf of ", slot_span(F, level));
    text_hex(t, " at ", fmt_output(F, C, level, e, index));
    text_rights(t, ", permits ", fmt_leaf_rights(F, C, e));
    text_attr(t, ", ", fmt_leaf_attr(F, C, level, e));
    if (!level && F->run_lg2 && fmt_in_run(F, e))
        text_put(t, ", in a run");
    text_put(t, fmt_accessed(F, e) ? ", accessed" : ", not accessed");
    text_put(t, fmt_dirty(F, e) ? ", dirty" : ", clean");
}

static void print_last(const struct sight *w)
{
    char out[LINE_BYTES];
    struct text t;
    unsigned k = w->n - 1;
    begin(&t, out, w, k);
    switch (slot_kind(w->pt->F, level_of(w, k), w->e[k])) {
    case SLOT_LEAF: print_leaf(&t, w, level_of(w, k), w->e[k]); break;
    case SLOT_ARMED:
        text_put(&t, w->area.flags & AREA_STATIC ? ": absent, never filled" : ": absent, to be filled");
        break;
    case SLOT_PARKED:
        text_hex(&t, ": absent, no rights, keeps the frame at ", slot_parked_pa(w->pt->F, w->e[k]));
        break;
    case SLOT_BUSY: text_put(&t, ": absent, being changed"); break;
    default: text_put(&t, ": empty, nothing is mapped"); break;
    }
    w->line(w->arg, out);
}

static void print_area(const struct sight *w)
{
    char out[LINE_BYTES];
    struct text t;
    if (!w->area.id)
        return;
    text_begin(&t, out, sizeof out);
    text_dec(&t, "area ", w->area.id);
    text_put(&t, ": ");
    text_put(&t, kind_name(w->area.kind));
    text_rights(&t, " ", VALUE_RIGHTS(w->slot.value));
    text_rights(&t, ", at most ", w->area.max_rights);
    text_attr(&t, ", ", w->area.attr);
    text_range(&t, ", mapped as ", w->area.va_base, w->area.va_base + w->area.size);
    text_hex(&t, ", offset ", w->va - w->area.va_base);
    w->line(w->arg, out);
}

/* ------------------------------------------------------------------------------------------------------- verdicts */

static enum aspace_fault_result refused(const struct sight *w)
{
    switch (w->area.kind) {
    case ASPACE_KIND_TRAP: return ASPACE_FAULT_TRAP;
    case ASPACE_KIND_GUARD: return ASPACE_FAULT_GUARD;
    case ASPACE_KIND_ROM: return w->need & ASPACE_W ? ASPACE_FAULT_TRAP : ASPACE_FAULT_PERMISSION;
    default: return ASPACE_FAULT_PERMISSION;
    }
}

/* What a fault would answer. DONE stands for whatever comes of an attempt to fill. */
static enum aspace_fault_result verdict(const struct sight *w)
{
    uint32_t rights = VALUE_RIGHTS(w->slot.value);
    if (w->slot.kind == SLOT_EMPTY)
        return ASPACE_FAULT_NO_AREA;
    if (w->slot.kind == SLOT_BUSY || !w->slot.value)
        return ASPACE_FAULT_RETRY;
    if (w->slot.kind == SLOT_LEAF && !(w->need & ~fmt_leaf_rights(w->pt->F, &w->pt->C, w->slot.e)))
        return ASPACE_FAULT_SPURIOUS;
    if (w->need & ~rights || w->area.flags & AREA_STATIC)
        return refused(w);
    return ASPACE_FAULT_DONE;
}

static const char *reason(const struct sight *w, enum aspace_fault_result r)
{
    switch (r) {
    case ASPACE_FAULT_SPURIOUS: return "every level permits the access";
    case ASPACE_FAULT_TRAP: return "the access is to be emulated";
    case ASPACE_FAULT_NO_AREA: return "nothing is mapped there";
    case ASPACE_FAULT_GUARD: return "a guard range";
    case ASPACE_FAULT_RETRY: return "a change is in flight";
    case ASPACE_FAULT_DONE:
        return w->area.flags & AREA_CUSTOM ? "the backend is asked for the page" : "a zeroed frame is put there";
    default: return w->area.kind == ASPACE_KIND_RESERVED ? "a reserved range" : "the area lacks a right";
    }
}

static void print_verdict(const struct sight *w)
{
    char out[LINE_BYTES];
    struct text t;
    enum aspace_fault_result r = verdict(w);
    bool allowed = r == ASPACE_FAULT_SPURIOUS;
    text_begin(&t, out, sizeof out);
    text_put(&t, allowed ? "the MMU allows it; a fault would answer " : "the MMU faults; the answer is ");
    text_put(&t, aspace_fault_name(r));
    text_put(&t, ": ");
    text_put(&t, reason(w, r));
    if (w->slot.kind == SLOT_LEAF && !allowed) {
        uint32_t leaf = fmt_leaf_rights(w->pt->F, &w->pt->C, w->slot.e);
        text_rights(&t, ", the leaf misses ", w->need & ~leaf);
    } else if (w->area.id && w->need & ~VALUE_RIGHTS(w->slot.value)) {
        text_rights(&t, ", missing ", w->need & ~VALUE_RIGHTS(w->slot.value));
    }
    w->line(w->arg, out);
}

static void print_question(const struct aspace *s, const struct sight *w, uint32_t access)
{
    char out[LINE_BYTES];
    struct text t;
    text_begin(&t, out, sizeof out);
    text_put(&t, aspace_format_name(s->pt.F->id));
    text_rights(&t, ": access ", access);
    text_hex(&t, " to ", w->va);
    if (!space_contains(s, w->va))
        text_range(&t, ", which is outside of the space ", s->pt.base, s->pt.end);
    if (!space_is_open(s))
        text_put(&t, ", in a space that is closed");
    w->line(w->arg, out);
}

void aspace_why(struct aspace *s, aspace_va_t va, uint32_t access, aspace_line_fn *line, void *arg)
{
    struct sight w = {.pt = &s->pt, .va = va, .line = line, .arg = arg};
    w.need = access & (s->pt.F->has_user ? ASPACE_RWX | ASPACE_U : ASPACE_RWX);
    print_question(s, &w, access);
    if (!space_contains(s, va) || seam_load(&s->state) == SPACE_CLOSED)
        return;
    if (!look(&w)) {
        line(arg, "it was being changed all the time");
        return;
    }
    print_tables(&w);
    print_last(&w);
    print_area(&w);
    print_verdict(&w);
}
