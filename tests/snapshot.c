/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Snapshots: everything that a caller or a CPU can see of a space, and the first difference between two. Owns the rows;
 * must not know src/ nor the tests.
 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum row_kind { ROW_LEAF, ROW_AREA, ROW_QUERY };

struct row {
    enum row_kind kind;
    uint64_t va, size;
    uint64_t field[10];
};

struct snapshot {
    struct row *rows;
    size_t count, capacity;
    uint64_t frames;
};

static const char *const field_name[3][10] = {
    [ROW_LEAF] = {"pa", "leaf bytes", "rights", "attr", "contents", "", "", "", "", ""},
    [ROW_AREA] = {"kind", "rights", "maximum", "attr", "fork", "pa", "cookie", "offset", "frames", "unfilled"},
    [ROW_QUERY] = {"kind", "rights", "maximum", "attr", "fork", "pa", "cookie", "offset", "id", ""},
};

static struct row *add_row(struct snapshot *s, enum row_kind kind, uint64_t va, uint64_t size)
{
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 64;
        s->rows = realloc(s->rows, s->capacity * sizeof(*s->rows));
        if (!s->rows) {
            abort();
        }
    }
    struct row *row = &s->rows[s->count++];
    memset(row, 0, sizeof(*row));
    row->kind = kind;
    row->va = va;
    row->size = size;
    return row;
}

static uint64_t hash_memory(uint64_t pa, uint64_t bytes)
{
    uint64_t hash = 1;

    if (!machine_owns(pa) || !machine_owns(pa + bytes - 1)) {
        return 0;
    }
    const uint64_t *words = aspace_phys_to_virt(pa);
    for (uint64_t i = 0; i < bytes / 8; i += 4) {
        hash = (hash ^ words[i]) * UINT64_C(0x100000001b3);
        hash = (hash ^ words[i + 1] ^ (words[i + 2] << 1) ^ (words[i + 3] << 2)) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* Every leaf, found by the naive walker alone; what is not present is skipped an entry at a time. */
static void collect_leaves(struct env *env, struct snapshot *s)
{
    for (uint64_t va = env->base; va < env->end;) {
        struct naive_result r = walk(env, va);
        uint64_t step = r.present ? r.leaf_bytes : env->span[r.fault_level];
        uint64_t next = (va / step + 1) * step;
        next = next > env->end ? env->end : next;
        if (r.present) {
            struct row *row = add_row(s, ROW_LEAF, va, next - va);
            row->field[0] = r.pa;
            row->field[1] = r.leaf_bytes;
            row->field[2] = r.rights;
            row->field[3] = r.attr;
            row->field[4] = hash_memory(r.pa, next - va);
        }
        va = next;
    }
}

static void fill_area(struct row *row, const struct aspace_area *area)
{
    row->field[0] = area->kind;
    row->field[1] = area->rights;
    row->field[2] = area->max_rights;
    row->field[3] = area->attr;
    row->field[4] = area->fork;
    row->field[5] = area->pa;
    row->field[6] = area->cookie;
    row->field[7] = area->offset;
}

static void collect_query(struct env *env, struct snapshot *s, uint64_t va)
{
    struct aspace_area area;
    struct row *row = add_row(s, ROW_QUERY, va, 1);

    CHECK_OK(aspace_query(env->space, va, &area));
    fill_area(row, &area);
    row->field[8] = area.id;
}

static void collect_areas(struct env *env, struct snapshot *s)
{
    struct aspace_area area;

    for (uint64_t va = env->base; va < env->end; va = area.va + area.size) {
        int error = aspace_next(env->space, va, &area);
        if (error == ASPACE_E_NOT_MAPPED) {
            break;
        }
        CHECK_OK(error);
        CHECK(area.size != 0 && area.va >= va && area.va + area.size <= env->end);
        struct aspace_area_counters counted;
        CHECK_OK(aspace_area_counters_read(env->space, area.va, &counted));
        struct row *row = add_row(s, ROW_AREA, area.va, area.size);
        fill_area(row, &area);
        row->field[8] = counted.frames;
        row->field[9] = counted.unfilled;
        collect_query(env, s, area.va);
        collect_query(env, s, area.va + area.size / 2 / PAGE * PAGE);
        collect_query(env, s, area.va + area.size - 1);
    }
}

struct snapshot *snapshot_take(struct env *env)
{
    struct snapshot *s = calloc(1, sizeof(*s));

    if (!s) {
        abort();
    }
    collect_leaves(env, s);
    collect_areas(env, s);
    s->frames = frames_held(env);
    return s;
}

const char *snapshot_difference(const struct snapshot *a, const struct snapshot *b)
{
    static const char *const kind_name[3] = {"leaf", "area", "query"};
    static char text[240];

    for (size_t i = 0; i < a->count && i < b->count; i++) {
        const struct row *x = &a->rows[i], *y = &b->rows[i];
        if (x->kind != y->kind || x->va != y->va || x->size != y->size) {
            snprintf(text, sizeof(text), "%s 0x%llx+0x%llx became %s 0x%llx+0x%llx", kind_name[x->kind],
                     (unsigned long long)x->va, (unsigned long long)x->size, kind_name[y->kind],
                     (unsigned long long)y->va, (unsigned long long)y->size);
            return text;
        }
        for (unsigned f = 0; f < 10; f++) {
            if (x->field[f] != y->field[f]) {
                snprintf(text, sizeof(text), "%s 0x%llx+0x%llx: %s was 0x%llx, is 0x%llx", kind_name[x->kind],
                         (unsigned long long)x->va, (unsigned long long)x->size, field_name[x->kind][f],
                         (unsigned long long)x->field[f], (unsigned long long)y->field[f]);
                return text;
            }
        }
    }
    if (a->count != b->count) {
        const struct snapshot *longer = a->count > b->count ? a : b;
        const struct row *row = &longer->rows[a->count < b->count ? a->count : b->count];
        snprintf(text, sizeof(text), "%s 0x%llx+0x%llx %s", kind_name[row->kind], (unsigned long long)row->va,
                 (unsigned long long)row->size, longer == a ? "is gone" : "is new");
        return text;
    }
    if (a->frames != b->frames) {
        snprintf(text, sizeof(text), "%llu frames were held, now %llu", (unsigned long long)a->frames,
                 (unsigned long long)b->frames);
        return text;
    }
    return NULL;
}

void snapshot_free(struct snapshot *snapshot)
{
    if (snapshot) {
        free(snapshot->rows);
        free(snapshot);
    }
}

void snapshot_same(struct env *env, const struct snapshot *before, const char *what)
{
    struct snapshot *now = snapshot_take(env);
    const char *difference = snapshot_difference(before, now);

    snapshot_free(now);
    if (difference) {
        test_fail(__FILE__, __LINE__, "%s: %s", what, difference);
    }
}
