/* SPDX-License-Identifier: BSD-2-Clause */
/* Segments of a table descriptor: run-length values of the slots, spilled to a dense page when there are too many. */
#include "pt/node.h"

#include "sync/bits.h"

enum { COMPRESS_EVERY = 0x7e }; /* of the sequence, which is odd here */

static void change_begin(struct node *n)
{
    seam_store(&n->seq, n->seq + 1);
    seam_fence_release();
}

static void change_end(struct node *n)
{
    seam_store_release(&n->seq, n->seq + 1);
}

/* Readers may be looking (node_value_rcu): member by member, each whole. */
static void put_seg(struct seg *to, struct seg from)
{
    seam_store(&to->lo, from.lo);
    seam_store(&to->hi, from.hi);
    seam_store(&to->value, from.value);
}

static void put_segs(struct node *n, const struct seg *from, unsigned count)
{
    for (unsigned s = 0; s < count; s++)
        put_seg(&n->segs[s], from[s]);
    seam_store(&n->n_segs, (uint8_t)count);
}

static unsigned entries_of(const struct node *n)
{
    return n->order ? 512u << n->order : 512;
}

value_t node_value(const struct node *n, unsigned i)
{
    if (n->dense)
        return node_values(n->dense)[i];
    for (unsigned s = 0; s < n->n_segs; s++)
        if (i >= n->segs[s].lo && i < n->segs[s].hi)
            return n->segs[s].value;
    return 0;
}

bool node_next_seg(const struct node *n, unsigned i, unsigned end, struct seg *seg)
{
    if (i >= end)
        return false;
    if (n->dense) {
        const value_t *dense = node_values(n->dense);
        while (i < end && !dense[i])
            i++;
        if (i >= end)
            return false;
        unsigned hi = i + 1;
        while (hi < end && dense[hi] == dense[i])
            hi++;
        *seg = (struct seg){(uint16_t)i, (uint16_t)hi, dense[i]};
        return true;
    }
    for (unsigned s = 0; s < n->n_segs; s++) {
        if (n->segs[s].hi <= i)
            continue;
        if (n->segs[s].lo >= end)
            return false;
        *seg = n->segs[s];
        if (seg->lo < i)
            seg->lo = (uint16_t)i;
        if (seg->hi > end)
            seg->hi = (uint16_t)end;
        return true;
    }
    return false;
}

/* The dense array is read inside a read section; it is freed only after a grace period. */
static void dense_stretch(const struct node *n, const value_t *dense, unsigned i, struct seg *seg)
{
    value_t v = seam_load(&dense[i]);
    unsigned lo = i, hi = i + 1, end = entries_of(n);
    while (lo && seam_load(&dense[lo - 1]) == v)
        lo--;
    while (hi < end && seam_load(&dense[hi]) == v)
        hi++;
    *seg = (struct seg){(uint16_t)lo, (uint16_t)hi, v};
}

bool node_value_rcu(const struct node *n, unsigned i, struct seg *seg, uint64_t *slot)
{
    uint32_t seq = seam_load_acquire(&n->seq);
    if (seq & 1)
        return false;
    *slot = slot_load(node_slots(n) + i);
    *seg = (struct seg){0, 0, 0};
    const struct node *dense = seam_load_acquire(&n->dense);
    if (dense) {
        dense_stretch(n, node_values(dense), i, seg);
    } else {
        unsigned count = seam_load(&n->n_segs);
        for (unsigned s = 0; s < count && s < NODE_SEGS; s++) {
            uint16_t lo = seam_load(&n->segs[s].lo), hi = seam_load(&n->segs[s].hi);
            if (i >= lo && i < hi)
                *seg = (struct seg){lo, hi, seam_load(&n->segs[s].value)};
        }
    }
    uint64_t again = slot_load(node_slots(n) + i);
    seam_fence_acquire();
    return again == *slot && seam_load(&n->seq) == seq;
}

/* Rebuilds the list with [lo, hi) replaced by v into out, which has room for n_segs + 2; returns how many. */
static unsigned splice(const struct node *n, struct seg set, struct seg *out)
{
    unsigned k = 0;
    bool placed = !set.value;
    for (unsigned s = 0; s <= n->n_segs; s++) {
        const struct seg *g = s < n->n_segs ? &n->segs[s] : NULL;
        if (g && g->lo < set.lo)
            out[k++] = (struct seg){g->lo, g->hi < set.lo ? g->hi : set.lo, g->value};
        if (!placed && (!g || g->hi > set.lo)) {
            out[k++] = set;
            placed = true;
        }
        if (g && g->hi > set.hi)
            out[k++] = (struct seg){g->lo > set.hi ? g->lo : set.hi, g->hi, g->value};
    }
    unsigned m = 0;
    for (unsigned s = 0; s < k; s++) {
        if (m && out[m - 1].hi == out[s].lo && out[m - 1].value == out[s].value)
            out[m - 1].hi = out[s].hi;
        else
            out[m++] = out[s];
    }
    return m;
}

bool node_set_spills(const struct node *n, unsigned lo, unsigned hi, value_t v)
{
    if (n->dense || n->n_segs < NODE_SEGS - 1)
        return false;
    struct seg out[2 * NODE_SEGS + 2];
    return splice(n, (struct seg){(uint16_t)lo, (uint16_t)hi, v}, out) > NODE_SEGS;
}

static void expand(struct node *n, const struct seg *segs, unsigned count, value_t *dense)
{
    memset(dense, 0, entries_of(n) * sizeof *dense);
    for (unsigned s = 0; s < count; s++)
        for (unsigned i = segs[s].lo; i < segs[s].hi; i++)
            dense[i] = segs[s].value;
}

/* Back to segments at NODE_SEGS - 1, so that one more map does not spill again at once. Returns whether it fits. */
static bool compress(struct node *n)
{
    struct seg out[NODE_SEGS], g = {0, 0, 0};
    unsigned k = 0, end = entries_of(n);
    for (unsigned i = 0; node_next_seg(n, i, end, &g); i = g.hi) {
        if (k == NODE_SEGS - 1)
            return false;
        out[k++] = g;
    }
    put_segs(n, out, k);
    return true;
}

static void set_dense(struct node *n, unsigned lo, unsigned hi, value_t v)
{
    value_t *dense = node_values(n->dense);
    for (unsigned i = lo; i < hi; i++)
        seam_store(&dense[i], v);
}

static void remove_seg(struct node *n, unsigned s)
{
    for (; s + 1u < n->n_segs; s++)
        put_seg(&n->segs[s], n->segs[s + 1]);
    seam_store(&n->n_segs, (uint8_t)(n->n_segs - 1));
}

static void insert_seg(struct node *n, unsigned s, struct seg set)
{
    for (unsigned k = n->n_segs; k > s; k--)
        put_seg(&n->segs[k], n->segs[k - 1]);
    put_seg(&n->segs[s], set);
    seam_store(&n->n_segs, (uint8_t)(n->n_segs + 1));
}

/* The commonest calls, without the general rebuild: a stretch where nothing was, or all of one stretch. */
static bool set_simple(struct node *n, struct seg set)
{
    unsigned s = 0;
    while (s < n->n_segs && n->segs[s].hi <= set.lo)
        s++;
    bool overlaps = s < n->n_segs && n->segs[s].lo < set.hi;
    bool joins = set.value && ((s && n->segs[s - 1].hi == set.lo && n->segs[s - 1].value == set.value) ||
                               (s < n->n_segs && n->segs[s].lo == set.hi && n->segs[s].value == set.value));
    if (joins)
        return false;
    if (!overlaps) {
        if (n->n_segs == NODE_SEGS && set.value)
            return false;
        if (set.value)
            insert_seg(n, s, set);
        return true;
    }
    if (n->segs[s].lo != set.lo || n->segs[s].hi != set.hi)
        return false;
    if (set.value)
        return false;
    remove_seg(n, s);
    return true;
}

void node_set(struct node *n, unsigned lo, unsigned hi, value_t v, struct node **spill)
{
    struct seg set = {(uint16_t)lo, (uint16_t)hi, v};
    change_begin(n);
    if (n->dense) {
        set_dense(n, lo, hi, v);
        /* Looking for few enough stretches costs a scan, so not at every change. */
        if (!v && !(n->seq & COMPRESS_EVERY) && compress(n)) {
            struct node *page = n->dense;
            seam_store(&n->dense, NULL);
            page->next = *spill;
            *spill = page;
        }
    } else if (!set_simple(n, set)) {
        struct seg out[2 * NODE_SEGS + 2];
        unsigned k = splice(n, set, out);
        if (k <= NODE_SEGS) {
            put_segs(n, out, k);
        } else {
            struct node *page = *spill;
            ASSERT(page);
            *spill = page->next;
            expand(n, out, k, node_values(page));
            seam_store(&n->n_segs, 0);
            seam_store_release(&n->dense, page);
        }
    }
    change_end(n);
}
