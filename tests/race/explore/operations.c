/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What fibers do, and what they do it to. The space has 48 pages: slot 0 of its root has a table below with four slots
 * of four pages each, slot 1 is one marker or a tree of small tables, slot 2 is empty or has tables that are.
 */
#include "explore.h"

#include <aspace/dirty.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <aspace/fork.h>

enum { R = ASPACE_R, RW = ASPACE_RW, NONE = 0, RWX = ASPACE_RWX, TO_GIVEN_FRAME = 99, AFTER_AWAY = 98 };
#define LAZY ASPACE_KIND_LAZY
#define LINEAR ASPACE_KIND_LINEAR
#define TRAP ASPACE_KIND_TRAP
#define EAGER ASPACE_KIND_EAGER

/* Named by what they do, and first page and number of pages. */
const struct operation operations[] = {
    {"fault_0", OP_FAULT, 0, 1, 0, ASPACE_W, 0},
    {"fault_2", OP_FAULT, 2, 1, 0, ASPACE_W, 0},
    {"fault_5", OP_FAULT, 5, 1, 0, ASPACE_W, 0},
    {"fault_9", OP_FAULT, 9, 1, 0, ASPACE_R, 0},
    {"fault_13", OP_FAULT, 13, 1, 0, ASPACE_W, 0},
    {"fault_17", OP_FAULT, 17, 1, 0, ASPACE_W, 0},
    {"fault_29", OP_FAULT, 29, 1, 0, ASPACE_W, 0},
    {"fault_21", OP_FAULT, 21, 1, 0, ASPACE_R, 0},
    {"touch_0_w", OP_TOUCH, 0, 1, 0, ASPACE_W, 0},
    {"touch_0_r", OP_TOUCH, 0, 1, 0, ASPACE_R, 0},
    {"touch_1_w", OP_TOUCH, 1, 1, 0, ASPACE_W, 0},
    {"touch_2_w", OP_TOUCH, 2, 1, 0, ASPACE_W, 0},
    {"touch_5_w", OP_TOUCH, 5, 1, 0, ASPACE_W, 0},
    {"touch_9_r", OP_TOUCH, 9, 1, 0, ASPACE_R, 0},
    {"touch_17_w", OP_TOUCH, 17, 1, 0, ASPACE_W, 0},
    {"map_lazy_0_1", OP_MAP, 0, 1, LAZY, RW, 0},
    {"map_lazy_1_1", OP_MAP, 1, 1, LAZY, RW, 0},
    {"map_lazy_2_1", OP_MAP, 2, 1, LAZY, RW, 0},
    {"map_lazy_12_1", OP_MAP, 12, 1, LAZY, RW, 0},
    {"map_lazy_12_4", OP_MAP, 12, 4, LAZY, RW, 0},
    {"map_linear_13_2", OP_MAP, 13, 2, LINEAR, R, 0},
    {"map_linear_12_4", OP_MAP, 12, 4, LINEAR, RW, 0},
    {"map_trap_14_1", OP_MAP, 14, 1, TRAP, NONE, 0},
    {"map_eager_15_1", OP_MAP, 15, 1, EAGER, RW, 0},
    {"map_lazy_32_16", OP_MAP, 32, 16, LAZY, RW, 0},
    {"map_lazy_33_4", OP_MAP, 33, 4, LAZY, RW, 0},
    {"map_linear_36_4", OP_MAP, 36, 4, LINEAR, RW, 0},
    {"replace_lazy_0_4", OP_REPLACE, 0, 4, LAZY, RW, 0},
    {"replace_linear_1_2", OP_REPLACE, 1, 2, LINEAR, R, 0},
    {"replace_trap_4_4", OP_REPLACE, 4, 4, TRAP, NONE, 0},
    {"replace_lazy_5_1", OP_REPLACE, 5, 1, LAZY, R, 0},
    {"replace_linear_0_16", OP_REPLACE, 0, 16, LINEAR, RW, 0},
    {"replace_lazy_6_4", OP_REPLACE, 6, 4, LAZY, RW, 0},
    {"replace_lazy_30_5", OP_REPLACE, 30, 5, LAZY, R, 0},
    {"replace_lazy_9_1", OP_REPLACE, 9, 1, LAZY, RW, 0},
    {"replace_eager_16_4", OP_REPLACE, 16, 4, EAGER, RW, 0},
    {"replace_lazy_16_16", OP_REPLACE, 16, 16, LAZY, RW, 0},
    {"replace_lazy_18_8", OP_REPLACE, 18, 8, LAZY, R, 0},
    {"unmap_0_1", OP_UNMAP, 0, 1, 0, 0, 0},
    {"unmap_1_1", OP_UNMAP, 1, 1, 0, 0, 0},
    {"unmap_2_1", OP_UNMAP, 2, 1, 0, 0, 0},
    {"unmap_0_4", OP_UNMAP, 0, 4, 0, 0, 0},
    {"unmap_1_2", OP_UNMAP, 1, 2, 0, 0, 0},
    {"unmap_1_8", OP_UNMAP, 1, 8, 0, 0, 0},
    {"unmap_1_5", OP_UNMAP, 1, 5, 0, 0, 0},
    {"unmap_4_6", OP_UNMAP, 4, 6, 0, 0, 0},
    {"unmap_16_20", OP_UNMAP, 16, 20, 0, 0, 0},
    {"unmap_4_4", OP_UNMAP, 4, 4, 0, 0, 0},
    {"unmap_5_1", OP_UNMAP, 5, 1, 0, 0, 0},
    {"unmap_8_4", OP_UNMAP, 8, 4, 0, 0, 0},
    {"unmap_9_1", OP_UNMAP, 9, 1, 0, 0, 0},
    {"unmap_0_16", OP_UNMAP, 0, 16, 0, 0, 0},
    {"unmap_16_16", OP_UNMAP, 16, 16, 0, 0, 0},
    {"unmap_17_1", OP_UNMAP, 17, 1, 0, 0, 0},
    {"unmap_20_4", OP_UNMAP, 20, 4, 0, 0, 0},
    {"unmap_0_48", OP_UNMAP, 0, 48, 0, 0, 0},
    {"protect_none_0_4", OP_PROTECT, 0, 4, 0, NONE, 0},
    {"protect_r_0_1", OP_PROTECT, 0, 1, 0, R, 0},
    {"protect_rwx_0_4", OP_PROTECT, 0, 4, 0, RWX, 0},
    {"protect_r_1_5", OP_PROTECT, 1, 5, 0, R, 0},
    {"protect_r_4_4", OP_PROTECT, 4, 4, 0, R, 0},
    {"protect_none_5_1", OP_PROTECT, 5, 1, 0, NONE, 0},
    {"protect_r_9_1", OP_PROTECT, 9, 1, 0, R, 0},
    {"protect_r_0_12", OP_PROTECT, 0, 12, 0, R, 0},
    {"protect_r_0_16", OP_PROTECT, 0, 16, 0, R, 0},
    {"protect_none_16_16", OP_PROTECT, 16, 16, 0, NONE, 0},
    {"protect_r_17_1", OP_PROTECT, 17, 1, 0, R, 0},
    {"discard_0_1", OP_DISCARD, 0, 1, 0, 0, 0},
    {"discard_0_4", OP_DISCARD, 0, 4, 0, 0, 0},
    {"discard_0_16", OP_DISCARD, 0, 16, 0, 0, 0},
    {"discard_2_4", OP_DISCARD, 2, 4, 0, 0, 0},
    {"discard_5_1", OP_DISCARD, 5, 1, 0, 0, 0},
    {"discard_16_16", OP_DISCARD, 16, 16, 0, 0, 0},
    {"move_0_1_to_13", OP_MOVE, 0, 1, 13, 0, 0},
    {"move_0_4_to_12", OP_MOVE, 0, 4, 12, 0, 0},
    {"move_1_5_to_33", OP_MOVE, 1, 5, 33, 0, 0},
    {"move_16_16_to_32", OP_MOVE, 16, 16, 32, 0, 0},
    {"move_33_2_to_13", OP_MOVE, 33, 2, 13, 0, 0},
    {"migrate_0", OP_MIGRATE, 0, 1, 0, 0, 0},
    {"migrate_2", OP_MIGRATE, 2, 1, 0, 0, 0},
    {"migrate_5", OP_MIGRATE, 5, 1, 0, 0, 0},
    {"migrate_to_0", OP_MIGRATE, 0, 1, 0, TO_GIVEN_FRAME, 0},
    {"collapse_0", OP_COLLAPSE, 0, 4, 0, 0, 0},
    {"collapse_4", OP_COLLAPSE, 4, 4, 0, 0, 0},
    {"collapse_8", OP_COLLAPSE, 8, 4, 0, 0, 0},
    {"collapse_16", OP_COLLAPSE, 16, 4, 0, 0, 0},
    {"split_0", OP_SPLIT, 0, 1, 0, 0, 0},
    {"split_8", OP_SPLIT, 8, 1, 0, 0, 0},
    {"sweep", OP_SWEEP, 0, 48, 0, 0, 0},
    {"translate_0", OP_TRANSLATE, 0, 1, 0, 0, 0},
    {"translate_9", OP_TRANSLATE, 9, 1, 0, 0, 0},
    {"query_0", OP_QUERY, 0, 1, 0, 0, 0},
    {"query_5", OP_QUERY, 5, 1, 0, 0, 0},
    {"query_17", OP_QUERY, 17, 1, 0, 0, 0},
    {"next_0", OP_NEXT, 0, 1, 0, 0, 0},
    {"populate_0_4", OP_POPULATE, 0, 4, 0, 0, 0},
    {"populate_4_4", OP_POPULATE, 4, 4, 0, 0, 0},
    {"populate_16_8", OP_POPULATE, 16, 8, 0, 0, 0},
    {"read_0", OP_READ, 0, 1, 0, ASPACE_R, 0},
    {"read_5", OP_READ, 5, 1, 0, ASPACE_R, 0},
    {"write_0", OP_WRITE, 0, 1, 0, ASPACE_W, 0},
    {"write_2", OP_WRITE, 2, 1, 0, ASPACE_W, 0},
    {"write_17", OP_WRITE, 17, 1, 0, ASPACE_W, 0},
    {"exchange_0", OP_EXCHANGE, 0, 1, 0, ASPACE_W, 0},
    /* The CPU leaves the space and comes back; from here on in cases with a name and with weak memory only. */
    {"return_0_r", OP_TOUCH, 0, 1, AFTER_AWAY, ASPACE_R, 0},
    {"return_0_w", OP_TOUCH, 0, 1, AFTER_AWAY, ASPACE_W, 0},
    {"harvest_0", OP_HARVEST, 0, 4, 0, 0, 0},
    {"accessed_0", OP_ACCESSED, 0, 4, 0, 0, 0},
    /* The first space is forked, and its copy worked on. */
    {"fork", OP_FORK, 0, PAGES, 0, 0, 0},
    {"fork_in_steps", OP_FORK, 0, PAGES, 1, 0, 0},
    {"write_1", OP_WRITE, 1, 1, 0, ASPACE_W, 0},
    {"copy_fork", OP_FORK, 0, PAGES, 0, 0, 1},
    {"copy_fault_0", OP_FAULT, 0, 1, 0, ASPACE_W, 1},
    {"copy_write_0", OP_WRITE, 0, 1, 0, ASPACE_W, 1},
    {"copy_write_2", OP_WRITE, 2, 1, 0, ASPACE_W, 1},
    {"copy_exchange_0", OP_EXCHANGE, 0, 1, 0, ASPACE_W, 1},
    {"copy_read_0", OP_READ, 0, 1, 0, ASPACE_R, 1},
    {"copy_unmap_0_1", OP_UNMAP, 0, 1, 0, 0, 1},
    {"copy_unmap_0_4", OP_UNMAP, 0, 4, 0, 0, 1},
    {"copy_unmap_0_48", OP_UNMAP, 0, 48, 0, 0, 1},
    {"copy_protect_none_0_4", OP_PROTECT, 0, 4, 0, NONE, 1},
    {"copy_discard_0_1", OP_DISCARD, 0, 1, 0, 0, 1},
    {"copy_migrate_0", OP_MIGRATE, 0, 1, 0, 0, 1},
    {"copy_collapse_0", OP_COLLAPSE, 0, 4, 0, 0, 1},
    {"copy_split_0", OP_SPLIT, 0, 1, 0, 0, 1},
};

const size_t operation_all = sizeof operations / sizeof operations[0];
enum { FORK_OPERATIONS = 17 };
const size_t operation_count = sizeof operations / sizeof operations[0] - 4 - FORK_OPERATIONS;
const size_t operation_forks = sizeof operations / sizeof operations[0] - FORK_OPERATIONS;

bool operation_fits(const struct operation *op, const struct layout *layout)
{
    return layout->forks || (op->kind != OP_FORK && !op->space);
}

const struct operation *operation_find(const char *name, size_t length)
{
    for (size_t i = 0; i < operation_all; i++)
        if (strlen(operations[i].name) == length && !strncmp(operations[i].name, name, length))
            return &operations[i];
    return NULL;
}

bool operation_is_loose(const struct operation *op)
{
    return op->kind == OP_POPULATE || op->kind == OP_NEXT || op->kind == OP_SWEEP;
}

bool operation_is_composite(const struct operation *op)
{
    return op->kind == OP_TOUCH || op->kind == OP_READ || op->kind == OP_WRITE || op->kind == OP_EXCHANGE ||
           op->kind == OP_POPULATE;
}

bool operation_takes(const struct operation *op)
{
    return op->kind == OP_MAP || op->kind == OP_REPLACE || op->kind == OP_UNMAP || op->kind == OP_PROTECT ||
           op->kind == OP_DISCARD || op->kind == OP_MOVE || op->kind == OP_MIGRATE || op->kind == OP_COLLAPSE ||
           op->kind == OP_HARVEST || op->kind == OP_ACCESSED || op->kind == OP_FORK;
}

bool operation_is_lock_free(const struct operation *op)
{
    return op->kind == OP_FAULT || op->kind == OP_TOUCH || op->kind == OP_TRANSLATE || op->kind == OP_QUERY ||
           op->kind == OP_READ || operation_is_loose(op) || operation_is_composite(op);
}

/* -------------------------------------------------------------------------------------------------- performing them */

static struct aspace_map request(const struct operation *op, unsigned fiber)
{
    bool leaves = op->what != ASPACE_KIND_TRAP;
    return (struct aspace_map){
        .va = op->page * PAGE,
        .size = op->pages * PAGE,
        .kind = op->what,
        .rights = op->rights,
        .max_rights = leaves ? RWX : 0,
        .max_leaf_level = machine.layout->largest,
        .pa = machine.device + (fiber * 64 + op->page) * PAGE,
        .cookie = (fiber + 1) * 256 + (uint64_t)(op - operations),
        .flags = op->kind == OP_REPLACE ? ASPACE_MAP_REPLACE : 0,
    };
}

static uint64_t mix(const uint64_t *words)
{
    uint64_t hash = 0;
    for (unsigned i = 0; i < WORDS; i++)
        hash = hash * 1000 + (words[i] & 0xff);
    return hash;
}

/* What a CPU does to memory that it reached: no switch may come in between, as none does in hardware, where a flush is
 * not acknowledged before the accesses that used the translation are done. */
static uint64_t use_memory(uint64_t pa, unsigned fiber, uint32_t access)
{
    uint64_t *words = aspace_phys_to_virt(pa);
    if (!machine_owns(pa))
        return 0;
    uint64_t seen = mix(words);
    explore_note((char *)words + 1, access & ASPACE_W ? EXPLORE_UPDATE : EXPLORE_READ);
    if (access & ASPACE_W)
        words[fiber] = fiber + 1;
    return seen;
}

static void touch(const struct operation *op, unsigned fiber, struct result *result)
{
    static uint64_t place;
    uint64_t va = op->page * PAGE, pa;
    if (op->what == AFTER_AWAY) {
        aspace_linux_leave(&machine.port, machine.space, &machine.sim_space);
        aspace_linux_enter(&machine.port, machine.space, &machine.sim_space);
    }
    for (unsigned round = 0; round < 200; round++) {
        explore_before(&place, EXPLORE_READ | EXPLORE_ALWAYS, "an access", "cpu");
        if (machine_access(va, op->rights, &pa)) {
            if (op->rights & ASPACE_W)
                dirty_written(op->page);
            *result = (struct result){-1, use_memory(pa, fiber, op->rights)};
            return;
        }
        enum aspace_fault_result r = aspace_fault(machine.space, va, op->rights, NULL);
        if (r == ASPACE_FAULT_SPURIOUS)
            sim_cpu_fence(&machine.port.sim.cpu[aspace_linux_cpu], &machine.sim_space, va);
        if (r != ASPACE_FAULT_DONE && r != ASPACE_FAULT_SPURIOUS && r != ASPACE_FAULT_RETRY) {
            *result = (struct result){(int)r, 0};
            return;
        }
        if (r == ASPACE_FAULT_RETRY) {
            aspace_quiescent(machine.host);
            explore_pause();
        }
    }
    explore_fail("%s faults again and again", op->name);
}

/* A page that is shared lacks the write right until it is written. */
uint32_t translate_hides(void)
{
    return machine.layout->forks ? ASPACE_W : 0;
}

static void translate(const struct operation *op, struct result *result)
{
    struct aspace_translation t;
    result->rc = aspace_translate(machine.spaces[op->space], op->page * PAGE, &t);
    if (result->rc == ASPACE_OK)
        result->value = (machine_owns(t.pa) ? 0 : t.pa) | (t.rights & ~translate_hides());
}

static void query(const struct operation *op, struct result *result)
{
    struct aspace_area area = machine_query(op->space, op->page * PAGE, &result->rc);
    if (result->rc)
        return;
    if (op->page * PAGE - area.va >= area.size)
        explore_fail("%s tells of another place", op->name);
    result->value = area.cookie << 16 | (uint64_t)area.kind << 8 | area.rights;
}

static void next(const struct operation *op, struct result *result)
{
    struct aspace_area area;
    result->rc = aspace_next(machine.space, op->page * PAGE, &area);
    if (result->rc == ASPACE_OK && (!area.size || area.va + area.size > PAGES * PAGE))
        explore_fail("%s tells of a range that is none", op->name);
}

static void reach_once(const struct operation *op, unsigned fiber, struct result *result)
{
    struct aspace *s = machine.spaces[op->space];
    uint64_t words[WORDS] = {0}, mine = fiber + 1, expected = 7;
    uint64_t va = op->page * PAGE;
    bool swapped = false;
    if (op->kind != OP_READ)
        dirty_written(op->page);
    if (op->kind == OP_READ) {
        result->rc = aspace_read(s, va, words, sizeof words, NULL);
        result->value = result->rc ? 0 : mix(words);
    } else if (op->kind == OP_WRITE) {
        result->rc = aspace_write(s, va + fiber * 8, &mine, sizeof mine, NULL);
    } else {
        mine += 16;
        result->rc = aspace_compare_exchange(s, va + (WORDS - 1) * 8, 8, &expected, mine, &swapped);
        result->value = result->rc ? 0 : expected << 1 | swapped;
    }
}

/* A fork may keep writers waiting for longer than one call does. */
static void reach_memory(const struct operation *op, unsigned fiber, struct result *result)
{
    for (unsigned round = 0; round < 200; round++) {
        reach_once(op, fiber, result);
        if (result->rc != ASPACE_E_RETRY || !machine.layout->forks)
            return;
        aspace_quiescent(machine.host);
        explore_pause();
    }
    explore_fail("%s is told to try again and again", op->name);
}

static void fork_space(const struct operation *op, struct result *result)
{
    struct aspace *parent = machine.spaces[op->space], *child = machine.spaces[op->space + FORKED];
    struct aspace_fork fork;
    if (!op->what) {
        result->rc = aspace_fork(parent, child);
        return;
    }
    result->rc = aspace_fork_begin(&fork, parent, child);
    if (result->rc == ASPACE_OK)
        while ((result->rc = aspace_fork_step(&fork, op->what)) == ASPACE_E_MORE)
            aspace_quiescent(machine.host);
}

/* With a frame of the caller's, which stays his if it was not used. It is one that no huge leaf can take: a caller who
 * gives a frame answers for its size. */
static void migrate(const struct operation *op, struct result *result)
{
    aspace_pa_t pa = ASPACE_PA_NONE;
    if (op->rights == TO_GIVEN_FRAME) {
        aspace_pa_t two = machine.hal.alloc(&machine.port, 1, 0);
        machine.hal.free(&machine.port, two, 0);
        pa = two + PAGE;
    }
    result->rc = aspace_migrate(machine.spaces[op->space], op->page * PAGE, pa);
    if (result->rc && pa != ASPACE_PA_NONE)
        machine.hal.free(&machine.port, pa, 0);
}

static void perform(const struct operation *op, unsigned fiber, struct result *result)
{
    struct aspace *s = machine.spaces[op->space];
    uint64_t va = op->page * PAGE, size = op->pages * PAGE, bits;
    struct aspace_map m = request(op, fiber);
    switch (op->kind) {
    case OP_FAULT: result->rc = (int)aspace_fault(s, va, op->rights, NULL); break;
    case OP_TOUCH: touch(op, fiber, result); break;
    case OP_MAP:
    case OP_REPLACE: result->rc = aspace_map(s, &m, NULL); break;
    case OP_UNMAP: result->rc = aspace_unmap(s, va, size); break;
    case OP_PROTECT: result->rc = aspace_protect(s, va, size, op->rights); break;
    case OP_DISCARD: result->rc = aspace_discard(s, va, size); break;
    case OP_MOVE: result->rc = aspace_move(s, va, size, op->what * PAGE, NULL); break;
    case OP_MIGRATE: migrate(op, result); break;
    case OP_COLLAPSE: result->rc = aspace_collapse(s, va, 1); break;
    case OP_SPLIT: result->rc = aspace_split(s, va); break;
    case OP_SWEEP: (void)aspace_sweep(s, 64); break;
    case OP_TRANSLATE: translate(op, result); break;
    case OP_QUERY: query(op, result); break;
    case OP_NEXT: next(op, result); break;
    case OP_HARVEST: result->rc = dirty_harvest(op->page, op->pages); break;
    case OP_ACCESSED: result->rc = aspace_harvest_accessed(s, va, size, &bits, NULL); break;
    case OP_POPULATE: result->rc = aspace_populate(s, va, size, &result->value); break;
    case OP_FORK: fork_space(op, result); break;
    default: reach_memory(op, fiber, result); break;
    }
}

/* Followed by a look at what is deferred, so that what may be freed is freed while others are at work. */
void operation_run(const struct operation *op, unsigned fiber, struct result *result)
{
    *result = (struct result){0, 0};
    perform(op, fiber, result);
    dirty_gone(op);
    if (operation_takes(op) || op->kind == OP_SWEEP)
        aspace_drain(machine.host);
}

/* ---------------------------------------------------------------------------------------------------------- layouts */

static void must(int rc, const char *what)
{
    if (rc) {
        fprintf(stderr, "explore: layout %s: %s: %d\n", machine.layout->name, what, rc);
        exit(2);
    }
}

static void map(enum aspace_kind kind, unsigned page, unsigned pages, unsigned largest)
{
    struct aspace_map m = {
        .va = page * PAGE,
        .size = pages * PAGE,
        .kind = kind,
        .rights = kind == ASPACE_KIND_TRAP ? 0 : RW,
        .max_rights = kind == ASPACE_KIND_TRAP ? 0 : RWX,
        .max_leaf_level = largest,
        .pa = machine.device + (FIBERS_MAX * 64 + page) * PAGE,
        .cookie = page + 1,
    };
    must(aspace_map(machine.space, &m, NULL), "map");
}

static void fill(unsigned page)
{
    uint64_t seven = 7;
    must(aspace_write(machine.space, page * PAGE + (WORDS - 1) * 8, &seven, sizeof seven, NULL), "fill");
}

static void build_small(void)
{
    map(LAZY, 0, 4, 1);
    map(LAZY, 4, 4, 1);
    map(LINEAR, 8, 4, 1);
    map(LAZY, 16, 16, 1);
    fill(0);
    fill(1);
}

static void build_huge(void)
{
    map(LAZY, 0, 4, 0);
    map(LAZY, 4, 4, 0);
    map(LINEAR, 8, 4, 0);
    map(LAZY, 16, 16, 2);
    fill(0);
}

/* One area over several tables, and tables everywhere. */
static void build_tables(void)
{
    map(LAZY, 0, 8, 1);
    map(TRAP, 9, 2, 1);
    map(LAZY, 16, 16, 1);
    map(LINEAR, 33, 4, 1);
    fill(0);
    fill(1);
    fill(5);
    fill(17);
    fill(22);
}

static void build_hollow(void)
{
    build_small();
    map(LINEAR, 12, 2, 1);
    map(LAZY, 32, 2, 1);
    must(aspace_unmap(machine.space, 12 * PAGE, 2 * PAGE), "unmap");
    must(aspace_unmap(machine.space, 32 * PAGE, 2 * PAGE), "unmap");
    must(aspace_unmap(machine.space, 8 * PAGE, PAGE), "unmap");
}

static void build_parked(void)
{
    build_small();
    fill(2);
    must(aspace_unmap(machine.space, 4 * PAGE, 4 * PAGE), "unmap");
    map(LAZY, 4, 4, 0);
    fill(5);
    must(aspace_protect(machine.space, 0, 8 * PAGE, 0), "protect");
    must(aspace_protect(machine.space, 9 * PAGE, PAGE, 0), "protect");
}

/* In the mode that the CPUs can do best. */
static void start_log(void)
{
    bool hardware = machine.config.features & ASPACE_FEAT_AD;
    struct aspace_dirty_config c = {.mode = hardware ? ASPACE_DIRTY_HARDWARE : ASPACE_DIRTY_WRITE_PROTECT};
    must(aspace_dirty_start(machine.space, &c), "log");
}

static void build_logged(void)
{
    build_small();
    start_log();
}

static void build_logged_huge(void)
{
    build_huge();
    start_log();
}

/* Page 0 is shared with the copy, page 1 is written anew, so each has its own, and page 2 is filled in neither. */
static void share(void)
{
    must(aspace_fork(machine.space, machine.spaces[1]), "fork");
    fill(1);
}

static void build_shared(void)
{
    build_small();
    share();
}

/* A large leaf that both map as a whole, and one of the first's own. */
static void build_shared_huge(void)
{
    build_huge();
    must(aspace_fork(machine.space, machine.spaces[1]), "fork");
    fill(5);
}

/* The first maps the large frame in pieces, of which it has one anew. */
static void build_shared_pieces(void)
{
    build_huge();
    share();
}

const struct layout layouts[] = {
    {"small", build_small, 1, 0, ASPACE_SMR_EPOCH, false, false},
    {"huge", build_huge, 0, 0, ASPACE_SMR_EPOCH, true, false},
    {"tables", build_tables, 1, 0, ASPACE_SMR_EPOCH, false, false},
    {"hollow", build_hollow, 1, 0, ASPACE_SMR_EPOCH, false, false},
    {"parked", build_parked, 1, 0, ASPACE_SMR_EPOCH, true, false},
    {"ad", build_small, 1, ASPACE_FEAT_AD, ASPACE_SMR_EPOCH, false, false},
    {"runs", build_small, 1, ASPACE_FEAT_CONTIG, ASPACE_SMR_EPOCH, false, false},
    {"qsbr", build_tables, 1, 0, ASPACE_SMR_QSBR, false, false},
    {"shared", build_shared, 1, 0, ASPACE_SMR_EPOCH, false, true},
    {"shared_ad", build_shared, 1, ASPACE_FEAT_AD, ASPACE_SMR_EPOCH, false, true},
    {"shared_huge", build_shared_huge, 0, 0, ASPACE_SMR_EPOCH, true, true},
    {"shared_pieces", build_shared_pieces, 0, 0, ASPACE_SMR_EPOCH, true, true},
    {"shared_qsbr", build_shared, 1, 0, ASPACE_SMR_QSBR, false, true},
    /* From here on in cases with a name, and with harvests. */
    {"logged", build_logged, 1, 0, ASPACE_SMR_EPOCH, false, false},
    {"loggedhuge", build_logged_huge, 0, 0, ASPACE_SMR_EPOCH, true, false},
    {"loggedad", build_logged, 1, ASPACE_FEAT_AD, ASPACE_SMR_EPOCH, false, false},
    {"loggedadhuge", build_logged_huge, 0, ASPACE_FEAT_AD, ASPACE_SMR_EPOCH, true, false},
};

const size_t layout_all = sizeof layouts / sizeof layouts[0];
const size_t layout_count = sizeof layouts / sizeof layouts[0] - 4;
