/* SPDX-License-Identifier: BSD-2-Clause */
/* Scanning slots in order of their addresses, a table at a time. */
#include "inspect/scan.h"

enum { SECTION_SLOTS = 4096, TRIES = 200 };

void scan_resume(struct scan *s)
{
    smr_enter(s->pt->host);
    s->node = NULL;
    s->left = SECTION_SLOTS;
}

void scan_begin(struct scan *s, const struct pt *pt, aspace_va_t va, aspace_va_t end)
{
    s->pt = pt;
    s->va = va;
    s->end = end;
    scan_resume(s);
}

void scan_pause(struct scan *s)
{
    smr_leave(s->pt->host);
}

void scan_end(struct scan *s)
{
    smr_leave(s->pt->host);
}

static void enter_node(struct scan *s, const struct node *n)
{
    s->node = n;
    s->seg = (struct seg){0, 0, 0};
}

/* The table whose slot for va is not TABLE, found from the one at hand or from the root. */
static void find_node(struct scan *s)
{
    const struct fmt *F = s->pt->F;
    const struct node *n = s->node ? s->node : s->pt->root;
    while (n->level) {
        uint64_t e = slot_load(node_slots(n) + slot_index(F, n->level, s->va));
        if (slot_kind(F, n->level, e) != SLOT_TABLE)
            break;
        n = pt_child(s->pt, e);
    }
    if (n != s->node)
        enter_node(s, n);
}

/* The value of slot i, and the slot as it was at the same time. The stretch read last holds while the sequence does. */
static value_t value_at(struct scan *s, unsigned i, uint64_t *e)
{
    const struct node *n = s->node;
    if (i >= s->seg.lo && i < s->seg.hi) {
        *e = slot_load(node_slots(n) + i);
        seam_fence_acquire();
        if (LIKELY(seam_load(&n->seq) == s->seq))
            return s->seg.value;
    }
    for (unsigned tries = 0; tries < TRIES; tries++) {
        s->seq = seam_load_acquire(&n->seq);
        if (node_value_rcu(n, i, &s->seg, e) && seam_load(&n->seq) == s->seq)
            return s->seg.value;
        aspace_pause();
    }
    s->seg = (struct seg){0, 0, 0};
    *e = slot_load(node_slots(n) + i);
    return 0;
}

static void look(struct scan *s, struct scan_slot *slot)
{
    const struct fmt *F = s->pt->F;
    slot->level = s->node->level;
    slot->index = slot_index(F, slot->level, s->va);
    slot->e = slot_load(node_slots(s->node) + slot->index);
    slot->kind = slot_kind(F, slot->level, slot->e);
    slot->value = 0;
    if (slot->kind != SLOT_EMPTY && slot->kind != SLOT_TABLE) {
        slot->value = value_at(s, slot->index, &slot->e);
        slot->kind = slot_kind(F, slot->level, slot->e);
    }
    if (slot->kind == SLOT_ARMED)
        slot->value = slot_armed_value(slot->e);
}

bool scan_next(struct scan *s, struct scan_slot *slot)
{
    const struct fmt *F = s->pt->F;
    while (s->va < s->end) {
        if (!s->left--) {
            scan_pause(s);
            scan_resume(s);
        }
        find_node(s);
        look(s, slot);
        if (slot->kind == SLOT_TABLE)
            continue; /* just become one */
        aspace_va_t next = (s->va | (slot_span(F, slot->level) - 1)) + 1;
        slot->va = s->va;
        slot->end = next < s->end ? next : s->end;
        s->va = slot->end;
        if (slot->index + 1 == node_entries(F, slot->level))
            s->node = NULL;
        if (slot->kind != SLOT_EMPTY)
            return true;
    }
    return false;
}
