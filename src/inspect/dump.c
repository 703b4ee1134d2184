/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A space as text: a line of its own, then one for every stretch of neighbouring addresses that belong to one area with
 * one protection, however it is filled. Addresses of owned frames are left out, so that equal spaces look equal.
 */
#include "inspect/describe.h"
#include "inspect/scan.h"
#include "space/space.h"
#include "sync/bits.h"

/* What one line tells; copied from the record, which may be gone by the time the line is printed. */
struct stretch {
    aspace_va_t va, end;
    value_t value; /* 0: changed all the time */
    uint64_t id, cookie, offset;
    aspace_pa_t pa;
    uint32_t kind, max_rights, attr, fork;
    bool is_static;
    uint64_t leaves[FMT_LEVELS_MAX];
    uint64_t runs;                /* leaves of level 0 that are in contiguous runs */
    uint64_t armed, parked, busy; /* bytes */
};

static void start(struct stretch *st, const struct pt *pt, const struct scan_slot *slot)
{
    memset(st, 0, sizeof *st);
    st->va = st->end = slot->va;
    st->value = slot->value;
    if (!slot->value)
        return;
    const struct area *a = value_area(pt->host, slot->value);
    st->id = a->id;
    st->cookie = a->cookie;
    st->offset = a->offset + (slot->va - a->va_base);
    st->pa = a->flags & AREA_LINEAR ? a->pa + (slot->va - a->va_base) : ASPACE_PA_NONE;
    st->kind = a->kind;
    st->max_rights = a->max_rights;
    st->attr = a->attr;
    st->fork = a->fork;
    st->is_static = a->flags & AREA_STATIC;
}

static bool continues(const struct stretch *st, const struct pt *pt, const struct scan_slot *slot)
{
    return slot->va == st->end && slot->value == st->value &&
           (!slot->value || value_area(pt->host, slot->value)->id == st->id);
}

static void add(struct stretch *st, const struct pt *pt, const struct scan_slot *slot)
{
    uint64_t bytes = slot->end - slot->va;
    st->end = slot->end;
    switch (slot->kind) {
    case SLOT_LEAF:
        st->leaves[slot->level]++;
        st->runs += !slot->level && pt->F->run_lg2 && fmt_in_run(pt->F, slot->e);
        break;
    case SLOT_ARMED: st->armed += bytes; break;
    case SLOT_PARKED: st->parked += bytes; break;
    default: st->busy += bytes; break;
    }
}

/* Each after the first behind a comma. */
static const char *separator(bool *any)
{
    const char *s = *any ? ", " : ": ";
    *any = true;
    return s;
}

static void print_filling(struct text *t, const struct pt *pt, const struct stretch *st)
{
    bool any = false;
    for (unsigned level = FMT_LEVELS_MAX; level-- > 0;) {
        if (!st->leaves[level])
            continue;
        text_dec(t, separator(&any), st->leaves[level]);
        text_bytes(t, " x ", slot_span(pt->F, level));
        if (!level && st->runs)
            text_dec(t, ", in runs ", st->runs);
    }
    if (st->armed && !st->is_static)
        text_bytes(t, any ? ", unfilled " : ": unfilled ", st->armed), any = true;
    if (st->parked)
        text_bytes(t, any ? ", parked " : ": parked ", st->parked), any = true;
    if (st->busy)
        text_bytes(t, any ? ", changing " : ": changing ", st->busy);
}

static void print_purpose(struct text *t, const struct stretch *st)
{
    if (st->pa != ASPACE_PA_NONE)
        text_hex(t, ", at ", st->pa);
    if (st->kind >= ASPACE_KIND_CUSTOM)
        text_hex(t, ", offset ", st->offset);
    if (st->cookie)
        text_hex(t, ", cookie ", st->cookie);
    if (st->max_rights != VALUE_RIGHTS(st->value))
        text_rights(t, ", at most ", st->max_rights);
    if (st->fork != ASPACE_FORK_COW) {
        text_put(t, ", fork ");
        text_put(t, fork_name(st->fork));
    }
    text_dec(t, ", area ", st->id);
}

static void print_stretch(const struct pt *pt, const struct stretch *st, aspace_line_fn *line, void *arg)
{
    char out[LINE_BYTES];
    struct text t;
    text_begin(&t, out, sizeof out);
    text_range(&t, "", st->va, st->end);
    text_column(&t, 26);
    if (st->value) {
        text_put(&t, kind_name(st->kind));
        text_column(&t, 35);
        text_rights(&t, "", VALUE_RIGHTS(st->value));
        text_attr(&t, " ", st->attr);
        text_bytes(&t, " ", st->end - st->va);
        print_filling(&t, pt, st);
        print_purpose(&t, st);
    } else {
        text_put(&t, "changing");
    }
    line(arg, out);
}

static void print_header(struct aspace *s, aspace_line_fn *line, void *arg)
{
    const struct pt *pt = &s->pt;
    char out[LINE_BYTES];
    struct text t;
    int64_t tables = 0, frames = 0;
    for (uint32_t i = 0; i < pt->host->cpus; i++) {
        tables += seam_load(&pt->cpu[i].tables);
        frames += seam_load(&pt->cpu[i].frames);
    }
    text_begin(&t, out, sizeof out);
    text_put(&t, aspace_format_name(pt->F->id));
    text_range(&t, " ", pt->base, pt->end);
    text_dec(&t, " tag ", pt->tag);
    text_dec(&t, ": tables ", tables > 0 ? (uint64_t)tables : 0);
    text_dec(&t, ", frames ", frames > 0 ? (uint64_t)frames : 0);
    if (!space_is_open(s))
        text_put(&t, ", closed");
    line(arg, out);
}

void aspace_dump(struct aspace *s, aspace_line_fn *line, void *arg)
{
    const struct pt *pt = &s->pt;
    struct stretch st = {.va = 0}, next;
    struct scan scan;
    struct scan_slot slot;
    print_header(s, line, arg);
    if (seam_load(&s->state) == SPACE_CLOSED)
        return;
    scan_begin(&scan, pt, pt->base, pt->end);
    while (scan_next(&scan, &slot)) {
        if (st.va == st.end || !continues(&st, pt, &slot)) {
            start(&next, pt, &slot); /* before the section is left: the record is needed */
            if (st.va != st.end) {
                scan_pause(&scan);
                print_stretch(pt, &st, line, arg);
                scan_resume(&scan);
            }
            st = next;
        }
        add(&st, pt, &slot);
    }
    scan_end(&scan);
    if (st.va != st.end)
        print_stretch(pt, &st, line, arg);
}
