/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine of a schedule: frames, CPUs and TLBs of the hosted port. A layout is built once and copied; before each
 * schedule everything is put back. Owns what may be said about TLBs and frames; must not know how operations are
 * ordered, nor what they should answer.
 */
#include "explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pt/pt.h"
#include "sim_walker.h"

enum {
    FRAMES = 1024,
    DEVICE_FRAMES = 256, /* the last of them, never allocated: what linear areas map */
    TLB_LEAVES = 24,
    TLB_WALKS = 16,
    REGIONS_MAX = 16,
};

struct machine machine;

/* Pages that CPUs access by themselves. */
static const uint8_t warm[] = {0, 1, 2, 5, 9, 13, 17, 22, 29, 33};

static _Alignas(64) char host_memory[ASPACE_HOST_BYTES(CPUS)];
static _Alignas(64) char space_memory[SPACES][ASPACE_BYTES(CPUS)];

static struct {
    void *at, *copy;
    size_t bytes;
} region[REGIONS_MAX];
static unsigned regions;
static uint64_t frames_copied; /* of the arena */
static bool spoilt;

static uint64_t tlb_word; /* stands for the TLBs in the eyes of the search */

/* --------------------------------------------------------------------------------------------------------- hardware */

static const void *walked_at(uint64_t pa)
{
    if (explore_weak && explore_in_fiber())
        weak_walked(aspace_phys_to_virt(pa));
    return aspace_phys_to_virt(pa);
}

static void walk_space(const struct sim_space *space, uint64_t va, const void *(*phys)(uint64_t pa),
                       struct sim_walk *walk)
{
    struct sim_cpu *cpu = &machine.port.sim.cpu[aspace_linux_cpu];
    struct naive_result r;
    sim_walk_naively(space, va, phys, walk);
    if (walk->present)
        machine.stamp[aspace_linux_cpu][cpu->leaf_next] = ++machine.fills;
    if (walk->present && explore_weak) /* again, for the walk above may have begun in a walk cache */
        naive_walk(space->format, space->config, space->root, va, walked_at, &r);
}

static const void *entry_at(uint64_t pa)
{
    if (explore_in_fiber())
        explore_note(aspace_phys_to_virt(pa), EXPLORE_READ);
    return aspace_phys_to_virt(pa);
}

static struct naive_result walk_now(uint64_t va)
{
    struct naive_result r;
    naive_walk(machine.config.format, &machine.config, machine.sim_space.root, va, entry_at, &r);
    return r;
}

/* Accessed and dirty, set as hardware does; false if the entry is not what the TLB says any more. */
static bool hardware_flags(uint64_t va, uint64_t pa, uint32_t access)
{
    if (!(machine.config.features & ASPACE_FEAT_AD))
        return true;
    struct naive_result r = walk_now(va);
    if (!r.present || r.pa != pa || access & ~r.rights)
        return false;
    uint64_t *entry = aspace_phys_to_virt(r.entry_pa);
    uint64_t used = naive_used(&machine.config, *entry, access & ASPACE_W);
    if (used != *entry && explore_in_fiber())
        explore_note(entry, EXPLORE_UPDATE);
    *entry = used;
    return true;
}

bool machine_access(uint64_t va, uint32_t access, uint64_t *pa)
{
    struct sim_cpu *cpu = &machine.port.sim.cpu[aspace_linux_cpu];
    for (;;) {
        if (sim_cpu_access(cpu, &machine.sim_space, va, access, pa) != SIM_OK)
            return false;
        (void)walk_now(va); /* notes what the walk would read */
        if (hardware_flags(va, *pa, access))
            return true;
        sim_cpu_fence(cpu, &machine.sim_space, va);
    }
}

static void warm_up(unsigned cpu)
{
    uint64_t pa;
    machine_become(cpu);
    for (unsigned i = 0; i < sizeof warm; i++)
        (void)machine_access(warm[i] * PAGE, ASPACE_R, &pa);
    machine_become(0);
}

/* Without the flags, which the search would have to know of. */
static void access_pages(unsigned cpu, unsigned first, unsigned step)
{
    uint64_t pa;
    unsigned before = aspace_linux_cpu;
    aspace_linux_cpu = cpu;
    for (unsigned i = first; i < sizeof warm; i += step)
        (void)sim_cpu_access(&machine.port.sim.cpu[cpu], &machine.sim_space, warm[i] * PAGE, ASPACE_R, &pa);
    aspace_linux_cpu = before;
}

/* -------------------------------------------------------------------------------------------------------------- HAL */

/* In the eyes of the search the contents of a frame are one word, at an address that is no word's. */
static void *contents(uint64_t pa)
{
    return (char *)aspace_phys_to_virt(pa & ~(PAGE - 1)) + 1;
}

static void touch_contents(const void *p, unsigned how, const char *what)
{
    uint64_t pa = aspace_virt_to_phys(p);
    if (machine.host && machine_owns(pa) && !machine.port.arena.frame[(pa - ARENA_DEFAULT_PA) / PAGE].table)
        explore_before(contents(pa), how, what, "memory");
    if (explore_weak && machine.host && machine_owns(pa))
        weak_used(contents(pa));
}

void *explore_memcpy(void *restrict to, const void *restrict from, size_t n)
{
    if (n >= 8) {
        touch_contents(from, EXPLORE_READ, "copied from");
        touch_contents(to, EXPLORE_WRITE, "copied to");
    }
    return memcpy(to, from, n);
}

/* Nobody else knows the frame yet, so this is no place to switch. */
static void made(aspace_pa_t pa, unsigned order)
{
    for (uint64_t i = 0; explore_weak && explore_in_fiber() && i < 1ull << order && i < 16; i++) {
        explore_note(contents(pa + i * PAGE), EXPLORE_WRITE);
        weak_made(contents(pa + i * PAGE));
    }
}

static aspace_pa_t hal_alloc(void *ctx, unsigned order, unsigned flags)
{
    aspace_pa_t pa = aspace_linux_hal_checked.alloc(ctx, order, flags);
    if (pa != ASPACE_PA_NONE)
        made(pa, order);
    return pa;
}

static size_t hal_alloc_batch(void *ctx, aspace_pa_t *pa, size_t n, unsigned flags)
{
    size_t got = aspace_linux_hal_checked.alloc_batch(ctx, pa, n, flags);
    for (size_t i = 0; i < got; i++)
        made(pa[i], 0);
    return got;
}

static void hal_free(void *ctx, aspace_pa_t pa, unsigned order)
{
    for (uint64_t i = 0; i < 1ull << order && i < 16; i++)
        explore_before(contents(pa + i * PAGE), EXPLORE_WRITE, "freed", "hal");
    aspace_linux_hal_checked.free(ctx, pa, order);
}

static void hal_free_batch(void *ctx, const aspace_pa_t *pa, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hal_free(ctx, pa[i], 0);
}

static bool leaves_flush_out(void)
{
    return mistake_is("no_flush") || mistake_is("flush_after_unlock");
}

static void hal_flush(void *ctx, const struct aspace_flush *flush)
{
    explore_before(&tlb_word, EXPLORE_UPDATE | EXPLORE_ALWAYS, "invalidation begins", "hal");
    if (explore_in_fiber() && leaves_flush_out()) {
        machine.cpu[aspace_linux_cpu].flush_left_out = true;
        machine.cpu[aspace_linux_cpu].flush = *flush;
        machine.cpu[aspace_linux_cpu].active = flush->active[0];
        return;
    }
    struct aspace_flush changed = *flush;
    if (mistake_is("walk_caches_kept"))
        changed.leaf_only = true;
    aspace_linux_hal_checked.tlb_flush(ctx, &changed);
}

/* It reaches one CPU after the other. */
static void hal_wait(void *ctx, const struct aspace_flush *flush)
{
    if (explore_in_fiber() && (leaves_flush_out() || mistake_is("flush_not_awaited")))
        return;
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        if (cpu % 2 == 0)
            explore_before(&tlb_word, EXPLORE_UPDATE | EXPLORE_ALWAYS, "invalidation reaches a CPU", "hal");
        sim_cpu_step(&machine.port.sim.cpu[cpu]);
    }
    aspace_linux_hal_checked.tlb_wait(ctx, flush);
}

/* The mistake of an invalidation that comes after the unlock; it is complete before anything is freed. */
void machine_late_flush(void)
{
    unsigned cpu = aspace_linux_cpu;
    if (!machine.cpu[cpu].flush_left_out || mistake_is("no_flush"))
        return;
    machine.cpu[cpu].flush_left_out = false;
    machine.cpu[cpu].flush.active = &machine.cpu[cpu].active;
    explore_before(&tlb_word, EXPLORE_UPDATE | EXPLORE_ALWAYS, "late invalidation", "hal");
    sim_tlb_flush(&machine.port.sim, &machine.cpu[cpu].flush);
    sim_tlb_wait(&machine.port.sim, &machine.cpu[cpu].flush);
}

static void on_violation(void *ctx, const char *line)
{
    (void)ctx;
    explore_fail("%s", line);
}

/* -------------------------------------------------------------------------------------------- build, copy, put back */

bool machine_owns(uint64_t pa)
{
    return pa >= ARENA_DEFAULT_PA && pa < ARENA_DEFAULT_PA + (FRAMES - DEVICE_FRAMES) * PAGE;
}

void machine_become(unsigned cpu)
{
    aspace_linux_cpu = cpu;
}

static void must(int rc, const char *what)
{
    if (rc) {
        fprintf(stderr, "explore: %s: %s\n", what, aspace_error_name(rc));
        exit(2);
    }
}

static void start_port(void)
{
    static const struct aspace_linux_config config = {
        .arena = {.kind = ARENA_CHECKED, .bytes = FRAMES * PAGE, .quarantine = 64, .report = on_violation},
        .sim = {.cpus = CPUS, .mode = SIM_DELAYED, .leaves = TLB_LEAVES, .walks = TLB_WALKS},
        .quiet = true,
    };
    if (aspace_linux_init(&machine.port, &config)) {
        perror("explore: the simulated machine");
        exit(2);
    }
    machine.port.sim.hooks.violation = on_violation;
    machine.hal = aspace_linux_hal_checked;
    machine.hal.alloc = hal_alloc;
    machine.hal.alloc_batch = hal_alloc_batch;
    machine.hal.free = hal_free;
    machine.hal.free_batch = hal_free_batch;
    machine.hal.tlb_flush = hal_flush;
    machine.hal.tlb_wait = hal_wait;
    machine.device = ARENA_DEFAULT_PA + (FRAMES - DEVICE_FRAMES) * PAGE;
}

/* So that no CPU meets an empty pool during a schedule: that is other code's business, and costs time. */
static void stock_cpus(void)
{
    for (unsigned cpu = 0; cpu < FIBERS_MAX; cpu++) {
        struct aspace_map m = {
            .va = (PAGES - 1) * PAGE, .size = PAGE, .kind = ASPACE_KIND_LAZY, .rights = ASPACE_RW, .max_leaf_level = 1};
        machine_become(cpu);
        aspace_cpu_online(machine.host);
        must(aspace_map(machine.space, &m, NULL), "a map");
        must(aspace_unmap(machine.space, m.va, m.size), "an unmap");
        while (aspace_sweep(machine.space, 100))
            continue;
        aspace_quiescent(machine.host);
        aspace_drain(machine.host);
        aspace_cpu_offline(machine.host);
    }
    machine_become(0);
}

unsigned machine_spaces(void)
{
    return machine.layout->forks ? SPACES : 1;
}

/* Those that the first is forked to: nobody runs in them. */
static void start_more_spaces(void)
{
    for (unsigned i = 1; i < machine_spaces(); i++) {
        struct aspace_config config = machine.config;
        config.tag += i;
        machine.spaces[i] = (struct aspace *)(void *)space_memory[i];
        must(aspace_create(machine.spaces[i], machine.host, &config), "another space");
    }
}

static void start_space(const struct layout *layout)
{
    struct aspace_host_config host = {.cpus = CPUS, .smr = layout->smr, .chunk_order = 4};
    machine.host = (struct aspace_host *)(void *)host_memory;
    machine.space = machine.spaces[0] = (struct aspace *)(void *)space_memory[0];
    machine.config =
        (struct aspace_config){.format = ASPACE_FMT_TOY, .size = PAGES * PAGE, .features = layout->features, .tag = 1};
    must(aspace_host_init(machine.host, &machine.hal, &machine.port, &host), "the host");
    aspace_cpu_online(machine.host);
    must(aspace_create(machine.space, machine.host, &machine.config), "the space");
    aspace_linux_describe(machine.space, &machine.config, &machine.sim_space);
    machine.sim_space.walk = walk_space;
    machine.sim_space.levels = naive_levels(machine.config.format);
    machine.sim_space.index_bits = naive_index_bits(machine.config.format);
    stock_cpus();
    aspace_cpu_online(machine.host);
    start_more_spaces();
}

static void keep(void *at, size_t bytes)
{
    region[regions].at = at;
    region[regions].bytes = bytes;
    region[regions].copy = malloc(bytes);
    if (!region[regions].copy)
        must(ASPACE_E_NO_MEMORY, "a copy of the machine");
    memcpy(region[regions].copy, at, bytes);
    regions++;
}

/* Of the CPUs only the entries that are in use. */
static void keep_cpu(struct sim_cpu *cpu)
{
    keep(cpu, offsetof(struct sim_cpu, leaf) + TLB_LEAVES * sizeof cpu->leaf[0]);
    keep(cpu->walk, TLB_WALKS * sizeof cpu->walk[0]);
    keep(&cpu->leaf_next, sizeof *cpu - offsetof(struct sim_cpu, leaf_next));
}

void machine_build(const struct layout *layout)
{
    memset(&machine, 0, sizeof machine);
    machine_become(0);
    start_port();
    machine.layout = layout;
    start_space(layout);
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        machine_become(cpu);
        aspace_linux_enter(&machine.port, machine.space, &machine.sim_space);
    }
    machine_become(0);
    layout->build();
    for (unsigned cpu = 0; cpu < FIBERS_MAX; cpu++)
        warm_up(cpu);
    access_pages(WATCHER, 0, 2);
    aspace_quiescent(machine.host);
    aspace_drain(machine.host);
    aspace_cpu_offline(machine.host);
    frames_copied = machine.port.arena.bump;
    keep(&machine, sizeof machine);
    keep(host_memory, sizeof host_memory);
    keep(space_memory, sizeof space_memory);
    keep(machine.port.arena.side, machine.port.arena.side_bytes);
    keep(machine.port.arena.memory, frames_copied * PAGE);
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        keep_cpu(&machine.port.sim.cpu[cpu]);
}

/* After a failure frames may have been written that were never given out. */
void machine_spoilt(void)
{
    spoilt = true;
}

void machine_restore(void)
{
    uint64_t end = spoilt ? FRAMES - DEVICE_FRAMES : machine.port.arena.bump;
    spoilt = false;
    explore_nobody_waits();
    for (uint64_t n = frames_copied; n < end; n++)
        memset(machine.port.arena.memory + n * PAGE, 0, PAGE);
    for (unsigned i = 0; i < regions; i++)
        memcpy(region[i].at, region[i].copy, region[i].bytes);
    for (unsigned i = 0; i < DEVICE_FRAMES; i++)
        memset(aspace_phys_to_virt(machine.device + i * PAGE), 0, WORDS * sizeof(uint64_t));
    machine_become(0);
}

void machine_drop(void)
{
    for (unsigned i = 0; i < regions; i++)
        free(region[i].copy);
    regions = 0;
    aspace_linux_fini(&machine.port);
}

/* ----------------------------------------------------------------------------------------------- what TLBs may hold */

typedef void leaf_fn(unsigned cpu, const struct sim_leaf *leaf, uint64_t stamp, const void *arg);

/* A CPU that is away uses none of what it holds, and forgets what it must when it comes back. */
static bool is_away(unsigned cpu)
{
    return !machine.port.sim.cpu[cpu].is_loaded[0] && !machine.port.sim.cpu[cpu].is_loaded[1];
}

static void for_each_leaf(leaf_fn *fn, const void *arg)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        for (unsigned i = 0; i < TLB_LEAVES && !is_away(cpu); i++) {
            const struct sim_leaf *leaf = &machine.port.sim.cpu[cpu].leaf[i];
            if (leaf->valid && leaf->present)
                fn(cpu, leaf, machine.stamp[cpu][i], arg);
        }
}

/*
 * At any time. Memory never maps an address to another place than a TLB does, and an address is never armed for a fault
 * while a TLB translates it (R5): else two CPUs could write two frames for one address.
 */
static void check_invariant(unsigned cpu, const struct sim_leaf *leaf, uint64_t stamp, const void *arg)
{
    (void)stamp, (void)arg;
    for (uint64_t va = leaf->va; va < leaf->va + leaf->bytes; va += PAGE) {
        struct naive_result r = walk_now(va);
        uint64_t pa = leaf->pa + (va - leaf->va);
        if (r.present && r.pa != pa)
            explore_fail("cpu %u translates 0x%llx to 0x%llx while memory maps it to 0x%llx", cpu,
                         (unsigned long long)va, (unsigned long long)pa, (unsigned long long)r.pa);
        uint64_t e = *(const uint64_t *)aspace_phys_to_virt(r.entry_pa);
        if (!r.present && slot_absent_kind(e) == SLOT_ARMED)
            explore_fail("cpu %u translates 0x%llx while it is armed for a fault", cpu, (unsigned long long)va);
    }
}

/* A page that moves is not yet in the new place while a TLB has it in the old one. */
static void check_moving(unsigned cpu, const struct sim_leaf *leaf, uint64_t stamp, const void *arg)
{
    const struct operation *op = arg;
    (void)stamp;
    for (uint64_t va = leaf->va; va < leaf->va + leaf->bytes; va += PAGE) {
        if (va < op->page * PAGE || va >= (op->page + op->pages) * PAGE)
            continue;
        struct naive_result r = walk_now(va + ((uint64_t)op->what - op->page) * PAGE);
        if (r.present && r.pa == leaf->pa + (va - leaf->va))
            explore_fail("cpu %u translates 0x%llx while memory has the page in its new place", cpu,
                         (unsigned long long)va);
    }
}

void machine_switched(void)
{
    access_pages(WATCHER, machine.fills & 1, 2);
    for_each_leaf(check_invariant, NULL);
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        if (machine.cpu[cpu].op && machine.cpu[cpu].op->kind == OP_MOVE)
            for_each_leaf(check_moving, machine.cpu[cpu].op);
}

struct promise {
    const struct operation *op;
    uint64_t begin;
};

/* Does memory say accessed of every page of the operation that the TLB has? What is gone from memory is another's. */
static bool says_accessed(const struct operation *op, const struct sim_leaf *leaf)
{
    for (uint64_t page = op->page; page < op->page + op->pages; page++) {
        uint64_t at = page * PAGE - leaf->va;
        struct naive_result r = walk_now(page * PAGE);
        if (page * PAGE < leaf->va || at >= leaf->bytes || !r.present || r.pa != leaf->pa + at)
            continue;
        uint64_t e = *(const uint64_t *)aspace_phys_to_virt(r.entry_pa);
        if (naive_used(&machine.config, e, false) != e)
            return false;
    }
    return true;
}

static bool reaches_out(const struct operation *op, const struct sim_leaf *leaf)
{
    return leaf->va < op->page * PAGE || leaf->va + leaf->bytes > (op->page + op->pages) * PAGE;
}

static bool keeps(const struct operation *op, unsigned cpu, const struct sim_leaf *leaf)
{
    switch (op->kind) {
    case OP_PROTECT: return !(leaf->rights & ~op->rights);
    case OP_MAP:
    case OP_REPLACE: {
        struct naive_result r = walk_now(leaf->va);
        return op->what == ASPACE_KIND_LINEAR && r.present && r.pa == leaf->pa && !machine_owns(r.pa);
    }
    case OP_DISCARD:
    case OP_MIGRATE:
    case OP_COLLAPSE: return !machine_owns(leaf->pa);
    case OP_HARVEST: /* what is being unmapped goes when that is done; what reaches out of the range is not changed */
        return machine.config.features & ASPACE_FEAT_AD || !(leaf->rights & ASPACE_W) || !walk_now(leaf->va).present ||
               reaches_out(op, leaf);
    case OP_ACCESSED: return cpu == WATCHER || reaches_out(op, leaf) || says_accessed(op, leaf); /* it sets no flags */
    case OP_FORK: return !machine_owns(leaf->pa) || !(leaf->rights & ASPACE_W);
    default: return false;
    }
}

/* What an operation promises when it returns: nothing that was translated before it began, and that it took away, is
 * in a TLB, whether itself or another took it away. */
static void check_promise(unsigned cpu, const struct sim_leaf *leaf, uint64_t stamp, const void *arg)
{
    const struct promise *promise = arg;
    uint64_t va = promise->op->page * PAGE, end = va + promise->op->pages * PAGE;
    if (stamp <= promise->begin && leaf->va < end && va < leaf->va + leaf->bytes && !keeps(promise->op, cpu, leaf))
        explore_fail("%s has returned, and cpu %u still translates 0x%llx to 0x%llx", promise->op->name, cpu,
                     (unsigned long long)leaf->va, (unsigned long long)leaf->pa);
}

void machine_begin(const struct operation *op)
{
    machine.cpu[aspace_linux_cpu].op = op;
    machine.cpu[aspace_linux_cpu].begin = machine.fills;
    if (explore_weak && explore_in_fiber() && operation_takes(op))
        weak_began();
}

void machine_end(const struct operation *op, const struct result *r)
{
    unsigned cpu = aspace_linux_cpu;
    explore_hide(true);
    machine.cpu[cpu].op = NULL;
    struct promise promise = {op, machine.cpu[cpu].begin};
    if (operation_takes(op) && !op->space && r->rc == ASPACE_OK)
        for_each_leaf(check_promise, &promise);
    explore_hide(false);
}

static void check_leaf_at_rest(unsigned cpu, const struct sim_leaf *leaf, uint64_t stamp, const void *arg)
{
    (void)stamp, (void)arg;
    for (uint64_t va = leaf->va; va < leaf->va + leaf->bytes; va += PAGE) {
        struct naive_result r = walk_now(va);
        if (!r.present || r.pa != leaf->pa + (va - leaf->va) || leaf->rights & ~r.rights)
            explore_fail("all is done, and cpu %u holds a translation of 0x%llx that memory does not say", cpu,
                         (unsigned long long)va);
    }
}

static void check_walks_at_rest(unsigned cpu)
{
    for (unsigned i = 0; i < TLB_WALKS; i++) {
        const struct sim_walk_entry *w = &machine.port.sim.cpu[cpu].walk[i];
        for (unsigned d = 0; w->valid && d < w->depth; d++)
            if (*(const uint64_t *)aspace_phys_to_virt(w->entry_pa[d]) != w->value[d])
                explore_fail("all is done, and cpu %u holds a table of 0x%llx that memory does not say", cpu,
                             (unsigned long long)w->va);
    }
}

static void audit_line(void *arg, const char *line)
{
    char *first = arg;
    if (!first[0])
        snprintf(first, 200, "%s", line);
}

void machine_check_rest(void)
{
    char line[200] = "";
    machine_become(0);
    aspace_cpu_online(machine.host);
    for_each_leaf(check_leaf_at_rest, NULL);
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        check_walks_at_rest(cpu);
    for (unsigned i = 0; i < machine_spaces(); i++)
        if (aspace_audit(machine.spaces[i], audit_line, line))
            explore_fail("audit: %s", line);
}

/* ------------------------------------------------------------------------------------------------------- the ledger */

void machine_check_empty(void)
{
    struct arena_counts counts;
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        machine_become(cpu);
        aspace_linux_leave(&machine.port, machine.space, &machine.sim_space);
    }
    machine_become(0);
    int rc = ASPACE_OK;
    for (unsigned i = 0; i < machine_spaces() && !rc; i++)
        rc = aspace_destroy(machine.spaces[i]);
    if (rc)
        explore_fail("destroy answers %s", aspace_error_name(rc));
    if ((rc = aspace_host_fini(machine.host)) != 0)
        explore_fail("the end of the host answers %s", aspace_error_name(rc));
    arena_counts_read(&machine.port.arena, &counts);
    if (counts.frames)
        explore_fail("%llu frames were not given back", (unsigned long long)counts.frames);
    (void)aspace_linux_violations(&machine.port);
}

struct aspace_area machine_query(unsigned space, uint64_t va, int *rc)
{
    struct aspace_area area;
    memset(&area, 0, sizeof area);
    *rc = aspace_query(machine.spaces[space], va, &area);
    return area;
}
