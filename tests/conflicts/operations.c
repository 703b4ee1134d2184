/* SPDX-License-Identifier: BSD-2-Clause */
/* Each operation in a situation in which it does what its name says, and no more. */
#include "operations.h"

#include <aspace/backend.h>
#include <aspace/fork.h>
#include <aspace/memory.h>
#include <aspace/pin.h>

#include <stdio.h>
#include <stdlib.h>

#include "space/space.h"

enum { PAGES = 8, HOLE_AT = 32, SLOT_LG2 = 21, TABLE_LG2 = 30, ROOT_LG2 = 39, OBJECT_BYTES = 1 << 22 };

#define SLOT_BYTES (1ull << SLOT_LG2)
#define FAR_PA (1ull << 40) /* of devices: nothing is behind it */

void must(int rc, const char *what, const char *where)
{
    if (!rc)
        return;
    fprintf(stderr, "conflicts: %s of %s: %s\n", what, where, rc < 0 ? aspace_error_name(rc) : "not as it should be");
    exit(2);
}

static aspace_va_t page(const struct side *s, unsigned n)
{
    return s->va + ((aspace_va_t)n << 12);
}

static int map_at(const struct side *s, enum aspace_kind kind, aspace_va_t va, uint64_t size)
{
    struct aspace_map q = {.va = va, .size = size, .kind = kind, .rights = ASPACE_R | ASPACE_W};
    if (kind == ASPACE_KIND_LINEAR)
        q.pa = FAR_PA + va;
    if (kind == ASPACE_KIND_TRAP)
        q.rights = 0;
    return aspace_map(s->space, &q, NULL);
}

static int fault_at(const struct side *s, aspace_va_t va, enum aspace_fault_result expected)
{
    struct aspace_fault_info info;
    return aspace_fault(s->space, va, ASPACE_W, &info) == expected ? 0 : 1;
}

/* ------------------------------------------------------------------------------------------------------ faults */

static int run_fault(const struct side *s)
{
    return fault_at(s, page(s, 2), ASPACE_FAULT_DONE);
}

static int run_fault_filled(const struct side *s)
{
    return fault_at(s, page(s, 0), ASPACE_FAULT_SPURIOUS);
}

static void prepare_trap(const struct side *s)
{
    must(map_at(s, ASPACE_KIND_TRAP, page(s, HOLE_AT), PAGES << 12), "map", "trap");
}

static int run_fault_trap(const struct side *s)
{
    return fault_at(s, page(s, HOLE_AT), ASPACE_FAULT_TRAP);
}

static int run_fault_none(const struct side *s)
{
    return fault_at(s, page(s, HOLE_AT), ASPACE_FAULT_NO_AREA);
}

static int run_fault_huge(const struct side *s)
{
    machine.huge = true;
    int rc = run_fault(s);
    machine.huge = false;
    return rc;
}

static int run_populate(const struct side *s)
{
    return aspace_populate(s->space, s->va, 4 << 12, NULL);
}

/* ----------------------------------------------------------------------------------------------------- looking up */

static int run_translate(const struct side *s)
{
    struct aspace_translation t;
    return aspace_translate(s->space, s->va, &t);
}

static int run_translate_limit(const struct side *s)
{
    struct aspace_translation t;
    return aspace_translate_limit(s->space, s->va, 4 << 12, &t);
}

static int run_query(const struct side *s)
{
    struct aspace_area a;
    return aspace_query(s->space, s->va, &a);
}

static int run_find(const struct side *s)
{
    struct aspace_find f = {.size = PAGES << 12, .limit = {page(s, PAGES), (HOLE_AT + PAGES) << 12}};
    aspace_va_t va;
    return aspace_find(s->space, &f, &va);
}

/* ----------------------------------------------------------------------------------------------------------- memory */

static int run_read(const struct side *s)
{
    char bytes[256];
    return aspace_read(s->space, s->va, bytes, sizeof bytes, NULL);
}

static int run_write(const struct side *s)
{
    char bytes[256] = {1};
    return aspace_write(s->space, s->va, bytes, sizeof bytes, NULL);
}

static int run_exchange(const struct side *s)
{
    uint64_t expected = 0;
    bool swapped;
    return aspace_compare_exchange(s->space, s->va, 8, &expected, 1, &swapped);
}

static int run_segments(const struct side *s)
{
    struct aspace_segment segments[4];
    size_t n = 4;
    aspace_read_begin(machine.host);
    int rc = aspace_segments(s->space, s->va, 4 << 12, ASPACE_R, segments, &n, NULL);
    aspace_read_end(machine.host);
    return rc;
}

/* ------------------------------------------------------------------------------------------- pages of a leaf table */

static int run_map_lazy(const struct side *s)
{
    return map_at(s, ASPACE_KIND_LAZY, page(s, HOLE_AT), PAGES << 12);
}

static int run_map_linear(const struct side *s)
{
    return map_at(s, ASPACE_KIND_LINEAR, page(s, HOLE_AT), PAGES << 12);
}

static int run_map_eager(const struct side *s)
{
    return map_at(s, ASPACE_KIND_EAGER, page(s, HOLE_AT), PAGES << 12);
}

static int run_replace(const struct side *s)
{
    struct aspace_map q = {.va = s->va,
                           .size = PAGES << 12,
                           .kind = ASPACE_KIND_LAZY,
                           .rights = ASPACE_R | ASPACE_W,
                           .flags = ASPACE_MAP_REPLACE};
    return aspace_map(s->space, &q, NULL);
}

static int run_unmap(const struct side *s)
{
    return aspace_unmap(s->space, s->va, PAGES << 12);
}

static void prepare_linear(const struct side *s)
{
    must(run_map_linear(s), "map", "linear");
}

static int run_unmap_linear(const struct side *s)
{
    return aspace_unmap(s->space, page(s, HOLE_AT), PAGES << 12);
}

static int run_protect(const struct side *s)
{
    return aspace_protect(s->space, s->va, PAGES << 12, ASPACE_R);
}

static int run_discard(const struct side *s)
{
    return aspace_discard(s->space, s->va, PAGES << 12);
}

static int run_move(const struct side *s)
{
    return aspace_move(s->space, s->va, PAGES << 12, page(s, HOLE_AT), 0);
}

static int run_migrate(const struct side *s)
{
    return aspace_migrate(s->space, s->va, ASPACE_PA_NONE);
}

/* ------------------------------------------------------------------------------------------ slots of upper tables */

static int run_map_slot(const struct side *s)
{
    return map_at(s, ASPACE_KIND_LAZY, s->va, SLOT_BYTES);
}

static int run_map_slot_linear(const struct side *s)
{
    return map_at(s, ASPACE_KIND_LINEAR, s->va, SLOT_BYTES);
}

static int run_map_table(const struct side *s)
{
    return map_at(s, ASPACE_KIND_LAZY, s->va, PAGES << 12);
}

static int run_unmap_slot(const struct side *s)
{
    return aspace_unmap(s->space, s->va, SLOT_BYTES);
}

static void prepare_touched(const struct side *s)
{
    must(run_fault(s), "fault", "a table");
}

static void prepare_huge(const struct side *s)
{
    must(run_fault_huge(s), "fault", "a huge page");
}

static int run_protect_slot(const struct side *s)
{
    return aspace_protect(s->space, s->va, SLOT_BYTES, ASPACE_R);
}

static int run_collapse(const struct side *s)
{
    machine.huge = true;
    int rc = aspace_collapse(s->space, s->va, 1);
    machine.huge = false;
    return rc;
}

static int run_split(const struct side *s)
{
    return aspace_split(s->space, s->va);
}

/* -------------------------------------------------------------------------------------------------- host and space */

static void prepare_activate(const struct side *s)
{
    aspace_deactivate(s->space);
}

static int run_activate(const struct side *s)
{
    aspace_activate(s->space);
    return 0;
}

static int run_deactivate(const struct side *s)
{
    aspace_deactivate(s->space);
    return 0;
}

static int run_quiescent(const struct side *s)
{
    (void)s;
    aspace_quiescent(machine.host);
    return 0;
}

static int run_drain(const struct side *s)
{
    (void)s;
    return aspace_drain(machine.host) ? 1 : 0;
}

static int run_drain_some(const struct side *s)
{
    (void)s;
    (void)aspace_drain(machine.host); /* in QSBR mode the grace period is not over yet */
    return 0;
}

static void prepare_deferred(const struct side *s)
{
    must(run_unmap(s), "unmap", "what is to be drained");
}

static int run_create(const struct side *s)
{
    struct aspace_config c = {.format = aspace_format_of(s->space), .size = 1ull << 44, .tag = 1};
    return aspace_create(machine.space[CREATED + s->index], machine.host, &c);
}

static void prepare_destroy(const struct side *s)
{
    must(run_create(s), "create", "what is to be destroyed");
}

static int run_destroy(const struct side *s)
{
    return aspace_destroy(machine.space[CREATED + s->index]);
}

/* --------------------------------------------------------------------------------- pages that a fork made shared */

/* The counters tell which of the two it was. */
static int cow_at(const struct side *s, uint64_t copies, uint64_t takes)
{
    const struct pt_cpu *cpu = &s->space->cpu[s->cpu];
    copies += cpu->cow_copies;
    takes += cpu->cow_takes;
    int rc = fault_at(s, page(s, 0), ASPACE_FAULT_DONE);
    return rc ? rc : cpu->cow_copies != copies || cpu->cow_takes != takes;
}

static int run_fault_copy(const struct side *s)
{
    return cow_at(s, 1, 0);
}

/* The copy gives its mappings up. */
static void prepare_back(const struct side *s)
{
    machine_be(CPU_OTHER);
    must(aspace_unmap(s->copy, s->va, PAGES << 12), "unmap", "what a fork copied");
    machine_settle();
}

static int run_fault_back(const struct side *s)
{
    return cow_at(s, 0, 1);
}

/* -------------------------------------------------------------------------------------------------- objects' pages */

/* Both sides map parts of one object. */
static void map_object(const struct side *s, enum aspace_kind kind)
{
    struct aspace_map q = {.va = page(s, HOLE_AT),
                           .size = PAGES << 12,
                           .kind = kind,
                           .rights = ASPACE_R | ASPACE_W,
                           .object = &outside.anon.object,
                           .offset = s->index * OBJECT_BYTES / 2};
    must(aspace_map(s->space, &q, NULL), "map", "an object");
}

/* Somebody had the page before. */
static void put_at_hand(const struct side *s, unsigned n)
{
    struct aspace_object *o = &outside.anon.object;
    uint64_t offset = s->index * OBJECT_BYTES / 2 + ((uint64_t)n << 12);
    struct aspace_page p;
    machine_be(CPU_OTHER);
    must(o->ops->get(o, offset, ASPACE_W, 0, &p) == ASPACE_FAULT_DONE ? 0 : 1, "get", "a page");
}

/* A neighbour is at hand, so the object has a place for its frames here. */
static void prepare_shared(const struct side *s)
{
    map_object(s, ASPACE_KIND_SHARED);
    put_at_hand(s, 256);
}

static void prepare_shared_at_hand(const struct side *s)
{
    map_object(s, ASPACE_KIND_SHARED);
    put_at_hand(s, 0);
}

static void prepare_private(const struct side *s)
{
    map_object(s, ASPACE_KIND_PRIVATE);
    put_at_hand(s, 0);
}

static int run_fault_object(const struct side *s)
{
    return fault_at(s, page(s, HOLE_AT), ASPACE_FAULT_DONE);
}

static int run_fault_private(const struct side *s)
{
    return aspace_fault(s->space, page(s, HOLE_AT), ASPACE_R, NULL) == ASPACE_FAULT_DONE ? 0 : 1;
}

/* --------------------------------------------------------------------------------------------------------- tickets */

static enum aspace_fault_result fill_slowly(const struct aspace_fill *fill, struct aspace_page *p)
{
    (void)fill;
    (void)p;
    return ASPACE_FAULT_NEEDS_IO;
}

static const struct aspace_backend slow = {.name = "slow", .fill = fill_slowly};

static void prepare_slow(const struct side *s)
{
    struct aspace_map q = {.va = page(s, HOLE_AT),
                           .size = PAGES << 12,
                           .kind = ASPACE_KIND_CUSTOM,
                           .rights = ASPACE_R | ASPACE_W,
                           .backend = &slow};
    must(aspace_map(s->space, &q, NULL), "map", "what has to be fetched");
}

static int run_try(const struct side *s)
{
    struct aspace_ticket *t = &outside.ticket[s->index].ticket;
    return aspace_fault_try(s->space, page(s, HOLE_AT), ASPACE_W, 0, t, NULL) == ASPACE_FAULT_NEEDS_IO ? 0 : 1;
}

static void prepare_ticket(const struct side *s)
{
    prepare_slow(s);
    must(run_try(s), "try", "a page");
}

static int run_complete(const struct side *s)
{
    return aspace_fault_complete(&outside.ticket[s->index].ticket, FAR_PA + s->va);
}

static int run_cancel(const struct side *s)
{
    return aspace_fault_cancel(&outside.ticket[s->index].ticket);
}

/* ------------------------------------------------------------------------------------------------- the dirty log */

static int run_harvest(const struct side *s)
{
    uint64_t bitmap[1], dirty;
    int rc = aspace_harvest_dirty(s->space, s->va, PAGES << 12, bitmap, &dirty);
    return rc ? rc : dirty != 4;
}

static void prepare_clean(const struct side *s)
{
    must(run_harvest(s), "harvest", "what is to be written again");
}

static int run_fault_log(const struct side *s)
{
    return fault_at(s, page(s, 0), ASPACE_FAULT_DONE);
}

/* ------------------------------------------------------------------------------------------------------------- pins */

/* Of each side, on a line of its own. */
static struct {
    aspace_pa_t page __attribute__((aligned(TRACE_LINE)));
} pinned[2];

static int run_pin(const struct side *s)
{
    return aspace_pin(s->space, s->va, 4096, ASPACE_R | ASPACE_W, &pinned[s->index].page);
}

static int run_unpin(const struct side *s)
{
    return aspace_unpin(s->space, s->va, 4096, &pinned[s->index].page);
}

static void prepare_pinned(const struct side *s)
{
    must(run_pin(s), "pin", "a page");
}

/* The counts of frames of these 2 MiB have their page. */
static void prepare_pins(const struct side *s)
{
    prepare_pinned(s);
    must(run_unpin(s), "unpin", "a page");
}

/* --------------------------------------------------------------------------------------------------------- the list */

const struct operation operations[] = {
    {"fault", UNIT_PAGES, 0, SAMPLE, NULL, run_fault},
    {"fault-filled", UNIT_PAGES, 4, 0, NULL, run_fault_filled},
    {"fault-trap", UNIT_PAGES, 0, OWN, prepare_trap, run_fault_trap},
    {"fault-none", UNIT_PAGES, 0, OWN, NULL, run_fault_none},
    {"fault-table", UNIT_SLOT, 0, SAMPLE, NULL, run_fault},
    {"fault-huge", UNIT_SLOT, 0, 0, NULL, run_fault_huge},
    {"populate", UNIT_PAGES, 0, 0, NULL, run_populate},
    {"translate", UNIT_PAGES, 4, 0, NULL, run_translate},
    {"translate-limit", UNIT_PAGES, 4, 0, NULL, run_translate_limit},
    {"query", UNIT_PAGES, 4, 0, NULL, run_query},
    {"find", UNIT_PAGES, 4, OWN, NULL, run_find},
    {"read", UNIT_PAGES, 4, SAMPLE, NULL, run_read},
    {"segments", UNIT_PAGES, 4, 0, NULL, run_segments},
    {"write", UNIT_PAGES, 4, SAMPLE, NULL, run_write},
    {"exchange", UNIT_PAGES, 4, 0, NULL, run_exchange},
    {"map-lazy", UNIT_PAGES, 0, OWN | SAMPLE, NULL, run_map_lazy},
    {"map-linear", UNIT_PAGES, 0, OWN, NULL, run_map_linear},
    {"map-eager", UNIT_PAGES, 0, OWN, NULL, run_map_eager},
    {"replace", UNIT_PAGES, 4, 0, NULL, run_replace},
    {"unmap-unfilled", UNIT_PAGES, 0, 0, NULL, run_unmap},
    {"unmap-filled", UNIT_PAGES, 8, SAMPLE, NULL, run_unmap},
    {"unmap-linear", UNIT_PAGES, 0, OWN, prepare_linear, run_unmap_linear},
    {"protect", UNIT_PAGES, 4, SAMPLE, NULL, run_protect},
    {"discard", UNIT_PAGES, 4, 0, NULL, run_discard},
    {"migrate", UNIT_PAGES, 4, 0, NULL, run_migrate},
    {"move", UNIT_PAGES, 4, OWN, NULL, run_move},
    {"map-slot", UNIT_HOLE, 0, OWN | SAMPLE, NULL, run_map_slot},
    {"map-slot-linear", UNIT_HOLE, 0, OWN, NULL, run_map_slot_linear},
    {"map-table", UNIT_HOLE, 0, OWN, NULL, run_map_table},
    {"unmap-slot", UNIT_SLOT, 0, 0, NULL, run_unmap_slot},
    {"unmap-table", UNIT_SLOT, 0, 0, prepare_touched, run_unmap_slot},
    {"unmap-huge", UNIT_SLOT, 0, 0, prepare_huge, run_unmap_slot},
    {"protect-slot", UNIT_SLOT, 0, 0, NULL, run_protect_slot},
    {"collapse", UNIT_SLOT, 0, 0, prepare_touched, run_collapse},
    {"split", UNIT_SLOT, 0, 0, prepare_huge, run_split},
    {"activate", UNIT_PAGES, 0, SAMPLE, prepare_activate, run_activate},
    {"deactivate", UNIT_PAGES, 0, 0, NULL, run_deactivate},
    {"quiescent", UNIT_PAGES, 0, 0, NULL, run_quiescent},
    {"drain-nothing", UNIT_PAGES, 0, 0, NULL, run_drain},
    {"drain", UNIT_PAGES, 8, SAMPLE, prepare_deferred, run_drain_some},
    {"create", UNIT_PAGES, 0, 0, NULL, run_create},
    {"destroy", UNIT_PAGES, 0, 0, prepare_destroy, run_destroy},
    {"fault-copy", UNIT_PAGES, 4, FORKED | NARROW, NULL, run_fault_copy},
    {"fault-back", UNIT_PAGES, 4, FORKED | NARROW, prepare_back, run_fault_back},
    {"fault-object", UNIT_PAGES, 0, OWN | NARROW, prepare_shared_at_hand, run_fault_object},
    {"fault-anon", UNIT_PAGES, 0, OWN | NARROW, prepare_shared, run_fault_object},
    {"fault-private", UNIT_PAGES, 0, OWN | NARROW, prepare_private, run_fault_private},
    {"try", UNIT_PAGES, 0, OWN | NARROW, prepare_slow, run_try},
    {"complete", UNIT_PAGES, 0, OWN | NARROW, prepare_ticket, run_complete},
    {"cancel", UNIT_PAGES, 0, OWN | NARROW, prepare_ticket, run_cancel},
    {"fault-log", UNIT_PAGES, 4, LOGGED | NARROW, prepare_clean, run_fault_log},
    {"fault-ring", UNIT_PAGES, 4, LOGGED | RINGS | NARROW, prepare_clean, run_fault_log},
    {"harvest", UNIT_PAGES, 4, LOGGED | NARROW, NULL, run_harvest},
    {"pin", UNIT_PAGES, 4, NARROW, prepare_pins, run_pin},
    {"unpin", UNIT_PAGES, 4, NARROW, prepare_pinned, run_unpin},
};
const unsigned operation_count = sizeof operations / sizeof *operations;
_Static_assert(sizeof operations / sizeof *operations <= OPERATIONS_MAX, "a bit each");

#define GIB(n) ((aspace_va_t)(n) << TABLE_LG2)
#define SLOT(n) ((aspace_va_t)(n) << SLOT_LG2)
#define ROOT(n) ((aspace_va_t)(n) << ROOT_LG2)
#define PAGE(n) ((aspace_va_t)(n) << 12)

const struct relation relations[] = {
    {"spaces", "two spaces of one host", {GIB(1), GIB(1)}, .two_spaces = true},
    {"far", "one space, different tables below the root", {ROOT(1), ROOT(16)}, .config = {0}},
    {"leaves", "two leaf tables below one, slots on different lines", {GIB(1), GIB(1) + SLOT(64)}, .config = {0}},
    {"next", "two leaf tables below one, adjacent slots", {GIB(1), GIB(1) + SLOT(1)}, .config = {0}},
    {"area", "the same as leaves, within one area", {GIB(1), GIB(1) + SLOT(64)}, .one_area = true},
    {"table", "one leaf table, two areas", {GIB(1), GIB(1) + PAGE(256)}, .one_table = true},
    {"lines", "one leaf table, one area", {GIB(1), GIB(1) + PAGE(256)}, .one_table = true, .one_area = true},
    {"idle", "as far, and a third CPU is no longer active", {ROOT(1), ROOT(16)}, .config = {.idle = true}},
    {"quota", "as far, with a quota", {ROOT(1), ROOT(16)}, .config = {.quota = true}},
    {"watched", "as leaves, with a watcher elsewhere", {GIB(1), GIB(1) + SLOT(64)}, .watched = true},
};
const unsigned relation_count = sizeof relations / sizeof *relations;
_Static_assert(sizeof relations / sizeof *relations <= RELATIONS_MAX, "a bit each");

bool applies(const struct operation *o, const struct relation *r)
{
    bool listed = !r->watched || o->traits & (SAMPLE | NARROW);
    return listed && !(r->one_table && o->unit != UNIT_PAGES) && !(r->one_area && o->traits & OWN);
}

bool paired(const struct operation *a, const struct operation *b)
{
    return !((a->traits | b->traits) & NARROW) || (a->traits & b->traits & NARROW) || (a->traits | b->traits) & SAMPLE;
}

/* A table in which the unit's parent slot lies, kept by a page that no operation touches. */
static void anchor(const struct side *s)
{
    aspace_va_t table = s->va & ~(GIB(1) - 1);
    must(map_at(s, ASPACE_KIND_GUARD, table + SLOT(448 + 32 * s->index), 4096), "map", "the anchor");
}

static void prepare_unit(const struct side *s, const struct operation *o)
{
    if (!s->one_area && o->unit == UNIT_PAGES)
        must(map_at(s, ASPACE_KIND_LAZY, s->va, PAGES << 12), "map", o->name);
    if (s->one_area && o->unit == UNIT_PAGES)
        must(fault_at(s, page(s, HOLE_AT), ASPACE_FAULT_DONE), "fault", o->name);
    if (!s->one_area && o->unit == UNIT_SLOT)
        must(map_at(s, ASPACE_KIND_LAZY, s->va, SLOT_BYTES), "map", o->name);
    for (unsigned i = 0; i < o->filled; i++)
        must(fault_at(s, page(s, i), ASPACE_FAULT_DONE), "fault", o->name);
}

/* The area that both sides have belongs to neither: a third CPU makes it. */
static void prepare_area(const struct relation *r, const struct side *s)
{
    machine_be(CPU_OTHER);
    must(map_at(s, ASPACE_KIND_LAZY, s->va, r->one_table ? SLOT_BYTES : SLOT(128)), "map", "the area");
}

/* Before anything is filled: pages that are filled after that have the right to write until they are harvested. */
static void start_log(const struct side *s, bool rings)
{
    struct aspace_dirty_config c = {.mode = ASPACE_DIRTY_WRITE_PROTECT,
                                    .rings = rings ? outside.rings[s->index] : NULL};
    for (unsigned i = 0; i < CPUS; i++)
        outside.rings[s->index][i] =
            (struct aspace_dirty_ring){.pages = outside.ring_pages[s->index][i], .entries = RING_ENTRIES};
    must(aspace_dirty_start(s->space, &c), "start", "a dirty log");
}

static void gone(struct aspace_watcher *watcher, const struct aspace_gone *gone)
{
    (void)watcher;
    (void)gone;
}

static void watch_elsewhere(const struct side *s)
{
    outside.watcher = (struct aspace_watcher){.va = 0, .size = 4096, .gone = gone};
    must(aspace_watch(s->space, &outside.watcher), "watch", "elsewhere");
}

/* What neither of the two does, but a third CPU: once where both are in one space. */
static void prepare_spaces(const struct relation *r, unsigned traits, const struct side sides[2])
{
    machine_be(CPU_OTHER);
    outside.ticket[0].ticket = outside.ticket[1].ticket = (struct aspace_ticket){.waiter = NULL};
    must(aspace_anon_init(&outside.anon, machine.host, OBJECT_BYTES, 0), "init", "an object");
    for (unsigned i = 0; i < (r->two_spaces ? 2 : 1); i++) {
        if (traits & LOGGED)
            start_log(&sides[i], traits & RINGS);
        if (r->watched)
            watch_elsewhere(&sides[i]);
    }
}

static void fork_spaces(const struct relation *r)
{
    machine_be(CPU_OTHER);
    for (unsigned i = 0; i < (r->two_spaces ? 2 : 1); i++)
        machine_fork(i);
}

static void prepare_side(const struct side *s, const struct operation *o)
{
    machine_be(s->cpu);
    anchor(s);
    prepare_unit(s, o);
    machine_settle();
}

/* What is not to be shared with a copy of the space is filled after the fork. */
static void prepare_units(const struct relation *r, const struct operation *const o[2], const struct side sides[2])
{
    unsigned traits = o[0]->traits | o[1]->traits;
    for (unsigned i = 0; i < 2; i++)
        if (o[i]->traits & FORKED)
            prepare_side(&sides[i], o[i]);
    if (traits & FORKED)
        fork_spaces(r);
    for (unsigned i = 0; i < 2; i++)
        if (!(o[i]->traits & FORKED))
            prepare_side(&sides[i], o[i]);
}

void prepare_pair(const struct relation *r, const struct operation *const o[2], struct side sides[2])
{
    for (unsigned i = 0; i < 2; i++)
        sides[i] = (struct side){.index = i,
                                 .cpu = i ? CPU_TWO : CPU_ONE,
                                 .space = machine.space[r->two_spaces ? i : 0],
                                 .copy = machine.space[FORKED_FROM + (r->two_spaces ? i : 0)],
                                 .va = r->va[i],
                                 .one_area = r->one_area};
    if (r->one_area)
        prepare_area(r, &sides[0]);
    machine.patient = true;
    prepare_spaces(r, o[0]->traits | o[1]->traits, sides);
    prepare_units(r, o, sides);
    for (unsigned i = 0; i < 2; i++) {
        machine_be(sides[i].cpu);
        if (o[i]->prepare)
            o[i]->prepare(&sides[i]);
    }
    machine.patient = false;
}
