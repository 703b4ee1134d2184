/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Accesses of the simulated CPUs, and the flushes that reach them. Owns the TLBs; must not know how entries look. Each
 * CPU's lock is held over walk and fill, so that a flush is either before the walk, which then reads the new entry, or
 * after the fill, which it then undoes: as in hardware.
 */
#include "cpu.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aspace_port.h"

enum { PAGE_LG2 = 12, READS_MAX = 64 };

static uint64_t key_of(const struct sim *sim, uint64_t tag, unsigned stage)
{
    uint64_t mask = sim->config.tag_bits && sim->config.tag_bits < 64 ? (1ull << sim->config.tag_bits) - 1 : UINT64_MAX;
    return (tag & mask) << 1 | stage;
}

static unsigned stage_of(const struct sim_space *space)
{
    return space->stage2 ? 1 : 0;
}

static unsigned level_lg2(const struct sim_space *space, unsigned level)
{
    return PAGE_LG2 + (space->index_bits ? space->index_bits : 9) * level;
}

__attribute__((format(printf, 2, 3))) static void violation(struct sim *sim, const char *format, ...)
{
    char line[240];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    __atomic_fetch_add(&sim->violations, 1, __ATOMIC_RELAXED);
    if (sim->hooks.violation) {
        sim->hooks.violation(sim->hooks.ctx, line);
    } else {
        fprintf(stderr, "cpu: %s\n", line);
    }
}

static uint32_t generation(const struct sim *sim, uint64_t pa)
{
    return sim->hooks.generation ? sim->hooks.generation(sim->hooks.ctx, pa) : 0;
}

/* ---------------------------------------------------------------------------------------------- setting up the CPUs */

int sim_init(struct sim *sim, const struct sim_config *config, const struct sim_hooks *hooks)
{
    memset(sim, 0, sizeof(*sim));
    sim->config = *config;
    sim->config.leaves = config->leaves ? config->leaves : 256;
    sim->config.walks = config->walks ? config->walks : 64;
    if (config->cpus == 0 || config->cpus > SIM_CPUS_MAX || sim->config.leaves > SIM_LEAVES_MAX ||
        sim->config.walks > SIM_WALKS_MAX) {
        errno = EINVAL;
        return -1;
    }
    if (hooks) {
        sim->hooks = *hooks;
    }
    sim->cpu = aligned_alloc(_Alignof(struct sim_cpu), config->cpus * sizeof(struct sim_cpu));
    if (!sim->cpu) {
        return -1;
    }
    memset(sim->cpu, 0, config->cpus * sizeof(struct sim_cpu));
    for (unsigned n = 0; n < config->cpus; n++) {
        sim->cpu[n].sim = sim;
        sim->cpu[n].id = n;
        pthread_mutex_init(&sim->cpu[n].lock, NULL);
    }
    return 0;
}

void sim_fini(struct sim *sim)
{
    for (unsigned n = 0; sim->cpu && n < sim->config.cpus; n++) {
        pthread_mutex_destroy(&sim->cpu[n].lock);
    }
    free(sim->cpu);
    memset(sim, 0, sizeof(*sim));
}

void sim_cpu_load(struct sim_cpu *cpu, const struct sim_space *space)
{
    pthread_mutex_lock(&cpu->lock);
    cpu->loaded[stage_of(space)] = *space;
    cpu->is_loaded[stage_of(space)] = true;
    pthread_mutex_unlock(&cpu->lock);
}

void sim_cpu_unload(struct sim_cpu *cpu, const struct sim_space *space)
{
    pthread_mutex_lock(&cpu->lock);
    cpu->is_loaded[stage_of(space)] = false;
    pthread_mutex_unlock(&cpu->lock);
}

/* ------------------------------------------------------------------------------------------ what a flush takes away */

/* Does stepping through the range meet an address of the entry? Hardware is only asked about those addresses. */
static bool step_meets(const struct sim_request *r, uint64_t va, uint64_t bytes)
{
    uint64_t stride = 1ull << r->stride_lg2, from = r->va & ~(stride - 1);
    uint64_t steps = va > from ? (va - from + stride - 1) >> r->stride_lg2 : 0;
    uint64_t met = from + (steps << r->stride_lg2);
    return met >= va && met - va < bytes && met < r->end;
}

static bool overlaps(const struct sim_request *r, uint64_t va, uint64_t bytes)
{
    return va < r->end && r->va < va + bytes;
}

/* Where all leaves are of one size an embedder may tell the hardware their level, which then looks at no other. */
static bool level_excluded(const struct sim_request *r, const struct sim_leaf *leaf)
{
    return r->leaf_only && r->stride_lg2 == r->max_lg2 &&
           (r->stride_lg2 < leaf->level_lg2 || r->stride_lg2 >= leaf->level_lg2 + leaf->index_bits);
}

static bool must_drop_leaf(const struct sim *sim, const struct sim_request *r, const struct sim_leaf *leaf)
{
    if (r->everything || (leaf->key == r->key && r->full)) {
        return true;
    }
    if (leaf->key != r->key || !overlaps(r, leaf->va, leaf->bytes)) {
        return false;
    }
    return sim->config.lenient || !leaf->present || (!level_excluded(r, leaf) && step_meets(r, leaf->va, leaf->bytes));
}

static bool must_drop_walk(const struct sim *sim, const struct sim_request *r, const struct sim_walk_entry *w)
{
    if (r->everything || (w->key == r->key && r->full)) {
        return true;
    }
    return w->key == r->key && !r->leaf_only && overlaps(r, w->va, w->bytes) &&
           (sim->config.lenient || step_meets(r, w->va, w->bytes));
}

static void apply(struct sim_cpu *cpu, const struct sim_request *r)
{
    const struct sim *sim = cpu->sim;
    cpu->counts.requests++;
    for (unsigned i = 0; i < sim->config.leaves; i++) {
        if (cpu->leaf[i].valid && must_drop_leaf(sim, r, &cpu->leaf[i])) {
            cpu->leaf[i].valid = false;
            cpu->counts.dropped_leaves++;
        }
    }
    for (unsigned i = 0; i < sim->config.walks; i++) {
        if (cpu->walk[i].valid && must_drop_walk(sim, r, &cpu->walk[i])) {
            cpu->walk[i].valid = false;
            cpu->counts.dropped_walks++;
        }
    }
}

/* ---------------------------------------------------------------------------------------------------- the mailboxes */

static void serve_locked(struct sim_cpu *cpu)
{
    for (unsigned i = 0; i < cpu->mail_count; i++) {
        apply(cpu, &cpu->mail[i]);
    }
    cpu->mail_count = 0;
    __atomic_store_n(&cpu->served, cpu->posted, __ATOMIC_RELEASE);
}

void sim_cpu_step(struct sim_cpu *cpu)
{
    if (__atomic_load_n(&cpu->served, __ATOMIC_RELAXED) == __atomic_load_n(&cpu->posted, __ATOMIC_ACQUIRE)) {
        return;
    }
    pthread_mutex_lock(&cpu->lock);
    serve_locked(cpu);
    pthread_mutex_unlock(&cpu->lock);
}

void sim_cpu_attach(struct sim *sim, unsigned n)
{
    struct sim_cpu *cpu = &sim->cpu[n];
    aspace_linux_set_cpu(n);
    pthread_mutex_lock(&cpu->lock);
    cpu->attached = true;
    pthread_mutex_unlock(&cpu->lock);
    aspace_linux_sim_cpu = cpu;
}

void sim_cpu_detach(struct sim *sim)
{
    struct sim_cpu *cpu = aspace_linux_sim_cpu;
    (void)sim;
    aspace_linux_sim_cpu = NULL;
    pthread_mutex_lock(&cpu->lock);
    cpu->attached = false;
    serve_locked(cpu);
    pthread_mutex_unlock(&cpu->lock);
}

/* A mailbox that is full is emptied of its detail: everything goes. */
static void post_locked(struct sim_cpu *cpu, const struct sim_request *r)
{
    if (cpu->mail_count == SIM_MAILBOX) {
        cpu->mail[0] = (struct sim_request){.everything = true};
        cpu->mail_count = 1;
    } else {
        cpu->mail[cpu->mail_count++] = *r;
    }
    __atomic_store_n(&cpu->posted, cpu->posted + 1, __ATOMIC_RELEASE);
}

static bool is_target(const struct sim *sim, const struct aspace_flush *flush, unsigned n)
{
    return n < sim->config.cpus && n / 64 < flush->active_words &&
           (__atomic_load_n(&flush->active[n / 64], __ATOMIC_RELAXED) >> (n % 64) & 1);
}

void sim_tlb_flush(struct sim *sim, const struct aspace_flush *flush)
{
    unsigned self = aspace_linux_cpu;
    struct sim_request r = {
        .key = key_of(sim, flush->tag, flush->stage2 ? 1 : 0),
        .va = flush->va,
        .end = flush->end,
        .stride_lg2 = flush->stride_lg2,
        .max_lg2 = flush->max_lg2,
        .leaf_only = flush->leaf_only,
        .full = flush->full,
    };
    for (unsigned n = 0; n < sim->config.cpus; n++) {
        struct sim_cpu *cpu = &sim->cpu[n];
        if (!is_target(sim, flush, n)) {
            continue;
        }
        pthread_mutex_lock(&cpu->lock);
        post_locked(cpu, &r);
        sim->want[self][n] = cpu->posted;
        if (sim->config.mode == SIM_IMMEDIATE || (sim->config.mode == SIM_THREADED && (n == self || !cpu->attached))) {
            serve_locked(cpu);
        }
        pthread_mutex_unlock(&cpu->lock);
    }
}

static bool is_served(const struct sim_cpu *cpu, uint64_t want)
{
    return __atomic_load_n(&cpu->served, __ATOMIC_ACQUIRE) >= want;
}

/* Waits for what the initiator posted, whoever is in the active set by now. While it waits it is asked by others, who
 * may be waiting for it in turn. */
void sim_tlb_wait(struct sim *sim, const struct aspace_flush *flush)
{
    const uint64_t *want = sim->want[aspace_linux_cpu];
    (void)flush;
    if (sim->config.mode == SIM_DELAYED && sim->hooks.window) {
        sim->hooks.window(sim->hooks.ctx);
    }
    for (unsigned n = 0; n < sim->config.cpus; n++) {
        if (sim->config.mode == SIM_DELAYED && !is_served(&sim->cpu[n], want[n])) {
            sim_cpu_step(&sim->cpu[n]);
        }
        while (!is_served(&sim->cpu[n], want[n])) {
            aspace_linux_pause();
        }
    }
}

void sim_tlb_flush_local(struct sim *sim, uint64_t tag, unsigned stage)
{
    struct sim_request r = {.key = key_of(sim, tag, stage), .full = true};
    if (aspace_linux_cpu < sim->config.cpus) {
        struct sim_cpu *cpu = &sim->cpu[aspace_linux_cpu];
        pthread_mutex_lock(&cpu->lock);
        serve_locked(cpu);
        apply(cpu, &r);
        pthread_mutex_unlock(&cpu->lock);
    }
}

void sim_cpu_fence(struct sim_cpu *cpu, const struct sim_space *space, uint64_t va)
{
    struct sim_request r = {
        .key = key_of(cpu->sim, space->tag, stage_of(space)),
        .va = va,
        .end = va + 1,
        .stride_lg2 = PAGE_LG2,
        .max_lg2 = UINT32_MAX,
    };
    pthread_mutex_lock(&cpu->lock);
    serve_locked(cpu);
    apply(cpu, &r);
    pthread_mutex_unlock(&cpu->lock);
}

/* ---------------------------------------------------------------------------------------------------------- walking */

struct read {
    uint64_t pa, value;
};

/* The walker's only argument is an address, so what it stands for is kept beside it. */
static _Thread_local struct {
    struct sim_cpu *cpu;
    const struct sim_walk_entry *from; /* the part of the walk that is cached, or NULL */
    struct read read[READS_MAX];
    unsigned reads;
} walking;

static bool cached_value(uint64_t pa, uint64_t *value)
{
    const struct sim_walk_entry *from = walking.from;
    for (unsigned i = 0; from && i < from->depth; i++) {
        if (from->entry_pa[i] == pa) {
            *value = from->value[i];
            return true;
        }
    }
    return false;
}

static const void *read_entry(uint64_t pa)
{
    struct read *read = &walking.read[walking.reads < READS_MAX ? walking.reads++ : READS_MAX - 1];
    read->pa = pa;
    if (cached_value(pa, &read->value)) {
        return &read->value;
    }
    uint32_t seen = generation(walking.cpu->sim, pa);
    if (seen != 0 && seen % 2 == 0) {
        violation(walking.cpu->sim, "cpu %u reads a table in a freed frame, 0x%" PRIx64, walking.cpu->id, pa);
    }
    read->value = __atomic_load_n((const uint64_t *)aspace_phys_to_virt(pa), __ATOMIC_ACQUIRE);
    return &read->value;
}

static const struct sim_walk_entry *deepest_walk(const struct sim_cpu *cpu, uint64_t key, uint64_t va)
{
    const struct sim_walk_entry *best = NULL;
    for (unsigned i = 0; i < cpu->sim->config.walks; i++) {
        const struct sim_walk_entry *w = &cpu->walk[i];
        if (w->valid && w->key == key && va - w->va < w->bytes && (!best || w->depth > best->depth)) {
            best = w;
        }
    }
    return best;
}

static struct sim_walk_entry *walk_slot(struct sim_cpu *cpu)
{
    struct sim_walk_entry *w = &cpu->walk[cpu->walk_next];
    cpu->walk_next = (cpu->walk_next + 1) % cpu->sim->config.walks;
    cpu->counts.evictions += w->valid;
    return w;
}

/* The table below the first `depth` entries is remembered with them. */
static void remember_walk(struct sim_cpu *cpu, const struct sim_space *space, uint64_t va, const struct sim_walk *walk,
                          unsigned depth)
{
    struct sim_walk_entry *w = walk_slot(cpu);
    uint64_t bytes = 1ull << level_lg2(space, space->levels - depth);
    *w = (struct sim_walk_entry){
        .valid = true,
        .depth = (uint8_t)depth,
        .key = key_of(cpu->sim, space->tag, stage_of(space)),
        .va = va & ~(bytes - 1),
        .bytes = bytes,
        .table_pa = walk->table_pa[depth],
    };
    for (unsigned i = 0; i < depth; i++) {
        w->entry_pa[i] = walking.read[i].pa;
        w->value[i] = walking.read[i].value;
    }
}

static void remember_walks(struct sim_cpu *cpu, const struct sim_space *space, uint64_t va, const struct sim_walk *walk)
{
    unsigned known = walking.from ? walking.from->depth : 0;
    for (unsigned depth = known + 1; depth < walk->tables && depth < SIM_LEVELS_MAX; depth++) {
        remember_walk(cpu, space, va, walk, depth);
    }
}

/* A member of a contiguous run may be cached alone or as part of the run: the manuals leave it open, so both happen. */
static uint64_t cached_bytes(const struct sim_cpu *cpu, uint64_t leaf_bytes, unsigned lg2)
{
    return !cpu->sim->config.lenient && (cpu->counts.walks & 1) ? 1ull << lg2 : leaf_bytes;
}

static struct sim_leaf *leaf_slot(struct sim_cpu *cpu)
{
    struct sim_leaf *leaf = &cpu->leaf[cpu->leaf_next];
    cpu->leaf_next = (cpu->leaf_next + 1) % cpu->sim->config.leaves;
    cpu->counts.evictions += leaf->valid;
    return leaf;
}

static unsigned leaf_level(const struct sim_space *space, uint64_t leaf_bytes)
{
    unsigned level = 0;
    while (level + 1 < space->levels && leaf_bytes >> level_lg2(space, level + 1)) {
        level++;
    }
    return level;
}

static struct sim_leaf *remember_leaf(struct sim_cpu *cpu, const struct sim_space *space, uint64_t va,
                                      const struct sim_walk *walk)
{
    unsigned level = walk->present ? leaf_level(space, walk->leaf_bytes) : (unsigned)walk->fault_level;
    unsigned lg2 = level_lg2(space, level);
    uint64_t bytes = walk->present ? cached_bytes(cpu, walk->leaf_bytes, lg2) : 1ull << lg2;
    struct sim_leaf *leaf = leaf_slot(cpu);
    *leaf = (struct sim_leaf){
        .valid = true,
        .present = walk->present,
        .level_lg2 = (uint8_t)lg2,
        .index_bits = (uint8_t)(space->index_bits ? space->index_bits : 9),
        .key = key_of(cpu->sim, space->tag, stage_of(space)),
        .va = va & ~(bytes - 1),
        .bytes = bytes,
        .pa = walk->pa - (va & (bytes - 1)),
        .rights = walk->rights,
        .generation = walk->present ? generation(cpu->sim, walk->pa) : 0,
        .seen_pa = walk->pa & ~0xfffull,
    };
    return leaf;
}

/* NULL if there is no translation, and none of that is remembered. */
static const struct sim_leaf *walk_and_fill(struct sim_cpu *cpu, const struct sim_space *space, uint64_t va)
{
    struct sim_walk walk = {0};
    walking.cpu = cpu;
    walking.from = deepest_walk(cpu, key_of(cpu->sim, space->tag, stage_of(space)), va);
    walking.reads = 0;
    cpu->counts.walks++;
    cpu->counts.walk_cache_hits += walking.from != NULL;
    space->walk(space, va, read_entry, &walk);
    if (walk.malformed) {
        violation(cpu->sim, "cpu %u meets a malformed entry at va 0x%" PRIx64, cpu->id, va);
    }
    remember_walks(cpu, space, va, &walk);
    bool outside = !walk.present && (walk.fault_level < 0 || (unsigned)walk.fault_level >= space->levels);
    if (!walk.present && (outside || !cpu->sim->config.cache_invalid)) {
        return NULL;
    }
    return remember_leaf(cpu, space, va, &walk);
}

/* --------------------------------------------------------------------------------------------------------- accesses */

static const struct sim_leaf *find_leaf(const struct sim_cpu *cpu, uint64_t key, uint64_t va)
{
    for (unsigned i = 0; i < cpu->sim->config.leaves; i++) {
        const struct sim_leaf *leaf = &cpu->leaf[i];
        if (leaf->valid && leaf->key == key && va - leaf->va < leaf->bytes) {
            return leaf;
        }
    }
    return NULL;
}

static void check_not_stale(struct sim_cpu *cpu, const struct sim_leaf *leaf, uint64_t va)
{
    uint64_t pa = leaf->pa + (va - leaf->va);
    uint32_t now = generation(cpu->sim, pa);
    bool reused = (pa & ~0xfffull) == leaf->seen_pa ? now != leaf->generation : now % 2 == 0;
    if (leaf->generation % 2 && reused) {
        violation(cpu->sim, "cpu %u uses a stale translation of va 0x%" PRIx64 " to a freed frame, 0x%" PRIx64, cpu->id,
                  va, pa);
    }
}

static const struct sim_leaf *translate_locked(struct sim_cpu *cpu, const struct sim_space *space, uint64_t va)
{
    const struct sim_leaf *leaf = find_leaf(cpu, key_of(cpu->sim, space->tag, stage_of(space)), va);
    if (!leaf) {
        return walk_and_fill(cpu, space, va);
    }
    cpu->counts.hits++;
    if (leaf->present) {
        check_not_stale(cpu, leaf, va);
    }
    return leaf;
}

enum sim_answer sim_cpu_access(struct sim_cpu *cpu, const struct sim_space *space, uint64_t va, uint32_t access,
                               uint64_t *pa)
{
    enum sim_answer answer = SIM_FAULT;
    if (cpu->sim->config.mode == SIM_THREADED) {
        sim_cpu_step(cpu);
    }
    pthread_mutex_lock(&cpu->lock);
    cpu->counts.accesses++;
    if (!cpu->is_loaded[stage_of(space)] || cpu->loaded[stage_of(space)].root != space->root) {
        violation(cpu->sim, "cpu %u is asked for a space that it has not loaded", cpu->id);
    } else {
        const struct sim_leaf *leaf = translate_locked(cpu, space, va);
        if (leaf && leaf->present && leaf->rights && (access & ~leaf->rights) == 0) {
            *pa = leaf->pa + (va - leaf->va);
            answer = SIM_OK;
        }
    }
    cpu->counts.faults += answer == SIM_FAULT;
    pthread_mutex_unlock(&cpu->lock);
    return answer;
}

bool sim_cpu_caches(struct sim_cpu *cpu, const struct sim_space *space, uint64_t va)
{
    pthread_mutex_lock(&cpu->lock);
    const struct sim_leaf *leaf = find_leaf(cpu, key_of(cpu->sim, space->tag, stage_of(space)), va);
    pthread_mutex_unlock(&cpu->lock);
    return leaf != NULL;
}

/* -------------------------------------------------------------------------------------------------------- questions */

static bool in_use(const struct sim_cpu *cpu, uint64_t key)
{
    for (unsigned stage = 0; stage < 2; stage++) {
        if (cpu->is_loaded[stage] && key_of(cpu->sim, cpu->loaded[stage].tag, stage) == key) {
            return true;
        }
    }
    return false;
}

static bool cpu_holds(const struct sim_cpu *cpu, uint64_t pa, uint64_t bytes, char *why, size_t why_bytes)
{
    for (unsigned i = 0; i < cpu->sim->config.leaves; i++) {
        const struct sim_leaf *leaf = &cpu->leaf[i];
        if (leaf->valid && leaf->present && leaf->pa < pa + bytes && pa < leaf->pa + leaf->bytes &&
            in_use(cpu, leaf->key)) {
            snprintf(why, why_bytes, "cpu %u has va 0x%" PRIx64 " in its TLB", cpu->id, leaf->va);
            return true;
        }
    }
    for (unsigned i = 0; i < cpu->sim->config.walks; i++) {
        const struct sim_walk_entry *w = &cpu->walk[i];
        if (w->valid && w->table_pa - pa < bytes && in_use(cpu, w->key)) {
            snprintf(why, why_bytes, "cpu %u has the table of va 0x%" PRIx64 " in its walk cache", cpu->id, w->va);
            return true;
        }
    }
    for (unsigned stage = 0; stage < 2; stage++) {
        if (cpu->is_loaded[stage] && cpu->loaded[stage].root - pa < bytes) {
            snprintf(why, why_bytes, "cpu %u has the root loaded", cpu->id);
            return true;
        }
    }
    return false;
}

bool sim_holds(struct sim *sim, uint64_t pa, uint64_t bytes, char *why, size_t why_bytes)
{
    bool held = false;
    for (unsigned n = 0; n < sim->config.cpus && !held; n++) {
        pthread_mutex_lock(&sim->cpu[n].lock);
        held = cpu_holds(&sim->cpu[n], pa, bytes, why, why_bytes);
        pthread_mutex_unlock(&sim->cpu[n].lock);
    }
    return held;
}

void sim_counts_read(struct sim *sim, struct sim_counts *counts)
{
    memset(counts, 0, sizeof(*counts));
    for (unsigned n = 0; n < sim->config.cpus; n++) {
        struct sim_cpu *cpu = &sim->cpu[n];
        pthread_mutex_lock(&cpu->lock);
        counts->accesses += cpu->counts.accesses;
        counts->hits += cpu->counts.hits;
        counts->walks += cpu->counts.walks;
        counts->walk_cache_hits += cpu->counts.walk_cache_hits;
        counts->faults += cpu->counts.faults;
        counts->requests += cpu->counts.requests;
        counts->dropped_leaves += cpu->counts.dropped_leaves;
        counts->dropped_walks += cpu->counts.dropped_walks;
        counts->evictions += cpu->counts.evictions;
        pthread_mutex_unlock(&cpu->lock);
    }
}

uint64_t sim_violations(const struct sim *sim)
{
    return __atomic_load_n(&sim->violations, __ATOMIC_RELAXED);
}
