/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mistakes that the explorer must find, planted where the library meets the outside: in its accesses and in its HAL.
 * And the accesses themselves. Each mistake undoes one rule that the protocol stands on.
 */
#include "explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pt/pt.h"

#define CASES(...) ((const char *const[]){__VA_ARGS__, NULL})

const struct mistake mistakes[] = {
    {"exchange_in_two_steps", "an unmap takes a leaf with a load and a store", CASES("unmap_against_fault")},
    {"compare_in_two_steps", "a fault installs with a load and a store", CASES("two_faults_on_one_page")},
    {"stale_not_marked", "an unlinked table is not marked stale", CASES("unlink_against_sweep")},
    {"markers_not_taken", "R3: a range operation leaves markers of upper nodes to the faults",
     CASES("map_behind_a_fault", "protect_against_fault_in_marker")},
    {"no_grace_period", "readers are not waited for, nor who found the gate open",
     CASES("read_against_unmap", "fault_against_unlink", "fork_against_unmap", "read_against_copy_and_exit")},
    {"no_flush", "TLBs are not invalidated",
     CASES("touch_against_unmap", "refill_before_flush", "copied_while_read_elsewhere", "fork_is_one_cut_of_accesses")},
    {"flush_not_awaited", "an invalidation is begun and not waited for",
     CASES("touch_against_unmap", "copied_while_read_elsewhere")},
    {"flush_after_unlock", "R7: the invalidation is made after the last unlock",
     CASES("unmap_finds_empty_while_flush_is_pending", "remap_before_flush", "protect_while_flush_is_pending")},
    {"walk_caches_kept", "a flush tells that no table was unlinked", CASES("fault_against_unlink")},
    {"child_born_unlocked", "R4: the table that an operation makes is published unlocked",
     CASES("child_published_final", "child_of_marker_published_final")},
    {"discard_without_busy", "R5: a filled slot becomes a marker before the flush", CASES("refill_before_flush")},
    {"nothing_locked", "tables are locked by nobody", CASES("two_unmaps_of_one_table", "take_back_against_protect")},
    {"gate_not_looked_at", "whoever changes slots does so while they are copied",
     CASES("fork_is_one_cut", "fork_in_steps_is_one_cut", "fork_against_unmap")},
    {"counts_not_looked_at", "a page that others have too is taken back", CASES("last_two_sharers_write")},
    {"counts_unlocked", "the counts of shared frames are locked by nobody", CASES("two_forks_share_a_page")},
};

const size_t mistake_count = sizeof mistakes / sizeof mistakes[0];
const struct mistake *explore_mistake;
bool explore_has_mistake;

bool mistake_is(const char *name)
{
    return explore_has_mistake && !strcmp(explore_mistake->name, name);
}

void mistake_plant(const char *name)
{
    explore_mistake = NULL;
    for (size_t i = 0; name && i < mistake_count; i++)
        if (!strcmp(mistakes[i].name, name))
            explore_mistake = &mistakes[i];
    for (size_t i = 0; name && i < weak_mistake_count; i++)
        if (!strcmp(weak_mistakes[i].mistake.name, name))
            explore_mistake = &weak_mistakes[i].mistake;
    explore_has_mistake = explore_mistake != NULL;
    if (name && !explore_mistake) {
        fprintf(stderr, "explore: no mistake is called %s\n", name);
        exit(2);
    }
}

void explore_bend(const char *text, void *value, unsigned bytes)
{
    if ((mistake_is("no_grace_period") && strstr(text, "smr_seen")) ||
        (mistake_is("gate_not_looked_at") && strstr(text, "pt->gate")) ||
        (mistake_is("counts_not_looked_at") && strstr(text, "c->whole : &c->sharers")))
        memset(value, 0, bytes);
}

bool explore_swallows(const char *text)
{
    if (mistake_is("flush_after_unlock") && strstr(text, "smr_seen"))
        machine_late_flush(); /* sections end behind the last unlock, and before the release */
    return mistake_is("stale_not_marked") && strstr(text, "->stale");
}

/* --------------------------------------------------------------------------------------------------------- accesses */

static bool is_table(uint64_t e)
{
    return machine.host && (e & 3) == 3;
}

/* The table that an entry of the toy format points to gives up the lock it was born with. */
static void unlock_child(uint64_t e)
{
    struct pt *pt = (struct pt *)(void *)machine.space; /* first member */
    pt_child(pt, e)->lock = 0;
}

/* A table that nobody but its maker has seen: its slots were stored by plain accesses, and who reaches it without being
 * told of them reads whatever was there before. */
static void make_known(uint64_t table)
{
    struct pt *pt = (struct pt *)(void *)machine.space;
    const struct node *child = pt_child(pt, table);
    const uint64_t *slots = node_slots(child);
    for (unsigned i = 0; i < node_entries(pt->F, child->level); i++) {
        explore_weak_fresh(&slots[i], sizeof slots[i]);
        if (child->level && is_table(slots[i]))
            make_known(slots[i]);
    }
}

static bool publishes_table(uint64_t e, const char *where)
{
    return explore_weak && explore_in_fiber() && is_table(e) &&
           (!strcmp(where, "op_publish_table") || !strcmp(where, "split_leaf") || !strcmp(where, "publish"));
}

/* The store of a value, or the exchange, and its order. */
static void set_slot(uint64_t *slot, uint64_t e, bool update, const struct access *a)
{
    uint64_t before = __atomic_load_n(slot, __ATOMIC_RELAXED);
    if (publishes_table(e, a->where))
        make_known(e);
    __atomic_store_n(slot, e, __ATOMIC_RELAXED);
    if (explore_weak)
        explore_weak_store(a, before, e, update);
}

uint64_t explore_slot_load(const uint64_t *slot, unsigned order, const char *text, const char *where)
{
    const struct access a = {slot, sizeof *slot, order, text, where};
    explore_before(slot, EXPLORE_READ, text, where);
    uint64_t e = __atomic_load_n(slot, __ATOMIC_RELAXED);
    return explore_weak ? explore_weak_load(&a, e) : e;
}

void explore_slot_store(uint64_t *slot, uint64_t e, unsigned order, const char *text, const char *where)
{
    const struct access a = {slot, sizeof *slot, order, text, where};
    explore_before(slot, EXPLORE_WRITE, text, where);
    set_slot(slot, e, false, &a);
    if (explore_in_fiber() && mistake_is("child_born_unlocked") && is_table(e))
        unlock_child(e);
}

/* Where a mistake makes an indivisible step two. */
static bool in_two_steps(const char *mistake)
{
    return explore_in_fiber() && mistake_is(mistake);
}

bool explore_slot_cas(uint64_t *slot, uint64_t *expected, uint64_t e, const char *text, const char *where)
{
    const struct access a = {slot, sizeof *slot, EXPLORE_ACQ_REL, text, where};
    bool taking_marker = strstr(text, "op_busy") != NULL;
    explore_before(slot, EXPLORE_UPDATE | EXPLORE_TRY, text, where);
    uint64_t was = __atomic_load_n(slot, __ATOMIC_RELAXED);
    if (explore_weak && !explore_weak_compare(&a, was, expected))
        return false;
    if (was != *expected) {
        *expected = was;
        return false;
    }
    explore_wrote(slot);
    if (explore_in_fiber() && mistake_is("markers_not_taken") && taking_marker)
        return true;
    if (in_two_steps("compare_in_two_steps"))
        explore_before(slot, EXPLORE_WRITE, text, where);
    set_slot(slot, e, true, &a);
    if (explore_in_fiber() && mistake_is("child_born_unlocked") && is_table(e))
        unlock_child(e);
    return true;
}

/* The marker of the slot's own value. */
static uint64_t marker_of(const uint64_t *slot)
{
    const struct pt *pt = (const struct pt *)(const void *)machine.space;
    const struct node *n = node_at(pt->host, aspace_virt_to_phys(slot) & ~(PAGE - 1));
    value_t v = node_value(n, (unsigned)((uintptr_t)slot % PAGE / sizeof *slot));
    return slot_armed(&pt->C, n->level, v, area_how(value_area(pt->host, v)));
}

uint64_t explore_slot_xchg(uint64_t *slot, uint64_t e, const char *text, const char *where)
{
    const struct access a = {slot, sizeof *slot, EXPLORE_ACQ_REL, text, where};
    explore_before(slot, EXPLORE_UPDATE, text, where);
    uint64_t was = __atomic_load_n(slot, __ATOMIC_RELAXED);
    if (explore_in_fiber() && mistake_is("discard_without_busy") && !strcmp(where, "discard_slot"))
        e = marker_of(slot);
    if (in_two_steps("exchange_in_two_steps"))
        explore_before(slot, EXPLORE_WRITE, text, where);
    set_slot(slot, e, true, &a);
    return was;
}

bool explore_trylock(uint32_t *lock, uint32_t tag, const char *where)
{
    explore_before(lock, EXPLORE_UPDATE | EXPLORE_TRY, "lock", where);
    if ((in_two_steps("nothing_locked") && !strcmp(where, "op_lock")) ||
        (in_two_steps("counts_unlocked") && (!strncmp(where, "shares_", 7) || !strcmp(where, "drop_run")))) {
        *lock = tag;
        return true;
    }
    if (*lock)
        return false;
    *lock = tag;
    if (explore_weak)
        explore_weak_store(&(const struct access){lock, sizeof *lock, EXPLORE_ACQUIRE, "lock", where}, 0, tag, true);
    explore_wrote(lock);
    return true;
}

void explore_lock(uint32_t *lock, uint32_t tag, const char *where)
{
    while (!explore_trylock(lock, tag, where))
        explore_pause();
}

void explore_unlock(uint32_t *lock, const char *where)
{
    uint32_t before;
    explore_before(lock, EXPLORE_WRITE, "unlock", where);
    before = *lock;
    *lock = 0;
    if (explore_weak)
        explore_weak_store(&(const struct access){lock, sizeof *lock, EXPLORE_RELEASE, "unlock", where}, before, 0,
                           false);
}
