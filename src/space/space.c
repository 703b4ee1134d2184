/* SPDX-License-Identifier: BSD-2-Clause */
/* Host and space: creation, state, activation, tear-down. */
#include "space/space.h"
#include "pt/log.h"
#include "pt/rmap.h"
#include "pt/shares.h"

#include "sync/bits.h"

/* ---------------------------------------------------------------------------------------------------------- host */

int aspace_host_init(struct aspace_host *host, const struct aspace_hal *hal, void *ctx,
                     const struct aspace_host_config *config)
{
    unsigned cpus = config && config->cpus ? config->cpus : 1;
    unsigned order = config && config->chunk_order ? config->chunk_order : 6;
    if (!host || !hal || !hal->alloc || !hal->free || cpus > ASPACE_CPUS_MAX || order > 6)
        return ASPACE_E_INVALID;
    bool hooks = hal->smr_enter != NULL;
    if (hooks != !!hal->smr_leave || hooks != !!hal->smr_goal || hooks != !!hal->smr_passed ||
        (config &&
         ((unsigned)config->smr > ASPACE_SMR_QSBR || config->share_max == 1 || config->share_max > SHARES_MAX)))
        return ASPACE_E_INVALID;
    memset(host, 0, ASPACE_HOST_BYTES(cpus));
    host->hal = hal;
    host->ctx = ctx;
    host->cpus = cpus;
    host->chunk_order = order;
    host->chunk_mask = ~((4096ull << order) - 1);
    host->full_flush_entries = config && config->full_flush_entries ? config->full_flush_entries : 512;
    host->smr = hooks ? (uint32_t)SMR_HOOKS : config ? (uint32_t)config->smr : (uint32_t)ASPACE_SMR_EPOCH;
    host->share_max = config && config->share_max ? config->share_max : SHARES_MAX;
    host->smr_epoch = 1;
    host->next_id = 1;
    return ASPACE_E_OK;
}

size_t aspace_drain(struct aspace_host *host)
{
    return limbo_drain(host);
}

void aspace_trim(struct aspace_host *host)
{
    limbo_drain_wait(host);
    area_trim(host);
    shares_trim(host);
    pool_trim(host);
}

int aspace_host_fini(struct aspace_host *host)
{
    if (seam_load(&host->spaces))
        return ASPACE_E_BUSY;
    aspace_trim(host);
    return ASPACE_E_OK;
}

int aspace_reserve_tables(struct aspace_host *host, uint64_t n)
{
    return pool_reserve(host, n) ? ASPACE_E_OK : ASPACE_E_NO_MEMORY;
}

/* ------------------------------------------------------------------------------------------------------ creation */

size_t aspace_bytes(const struct aspace_host *host)
{
    return ASPACE_BYTES(host->cpus);
}

static int check_config(const struct aspace_config *c)
{
    if (!c || (unsigned)c->format >= ASPACE_FMT_COUNT || !c->size || (c->size | c->base) & 4095 ||
        c->fault_around > 64 || c->max_leaf_level > 8)
        return ASPACE_E_INVALID;
    const struct fmt *F = &fmt_table[c->format];
    if (c->base + c->size < c->base || c->base + c->size > 1ull << F->input_bits)
        return ASPACE_E_RANGE;
    return c->output_bits > 64 ? ASPACE_E_INVALID : ASPACE_E_OK;
}

void space_fill_templates(struct pt *pt)
{
    for (uint32_t r = 1; r < 16; r++) {
        bool whole = fmt_rights_ok(pt->F, &pt->C, r) && log_new_rights(pt, r) == r;
        seam_store(&pt->zero_leaf[r], whole ? fmt_leaf(pt->F, &pt->C, 0, r, ASPACE_ATTR_DEFAULT) : 0);
    }
}

/* The largest level of leaves of up to 2^order pages: what the format has, less what the configuration forbids. */
static uint8_t max_level(const struct pt *pt, unsigned order)
{
    unsigned level = 0;
    for (unsigned l = 1; l < pt->F->levels && l < FMT_LEVELS_MAX; l++)
        if (pt->C.leaf_levels >> l & 1 && level_order(pt->F, l) <= order)
            level = l;
    return (uint8_t)level;
}

static int init_table(struct aspace *s, struct aspace_host *host, const struct aspace_config *c)
{
    struct pt *pt = &s->pt;
    pt->F = &fmt_table[c->format];
    pt->host = host;
    pt->walk_id = host->smr == ASPACE_SMR_QSBR ? (uint32_t)c->format : ASPACE_FMT_COUNT;
    int rc = fmt_init(pt->F, &pt->C, c);
    if (rc)
        return rc;
    ASSERT(pt->C.pa_end - 1 <= (SLOT_PA | 4095)); /* what a PARKED entry can hold */
    pt->base = c->base;
    pt->end = c->base + c->size;
    pt->top = (uint8_t)(pt->F->levels - 1);
    pt->max_level = max_level(pt, 63);
    pt->max_frame_level = max_level(pt, FRAME_ORDER_MAX);
    pt->fault_around = (uint16_t)c->fault_around;
    pt->tag = c->tag;
    pt->quota_tables = c->quota_tables;
    pt->quota_frames = c->quota_frames;
    pt->cpu = s->cpu;
    pt->owner = s;
    space_fill_templates(pt);
    return pt->F->root_order >= host->chunk_order ? ASPACE_E_UNSUPPORTED : ASPACE_E_OK;
}

static int make_root(struct pt *pt)
{
    if (!pt_account_tables(pt, (int64_t)1 << pt->F->root_order))
        return ASPACE_E_QUOTA;
    struct node *root = pool_alloc_run(pt->host, pt->F->root_order);
    if (!root)
        return ASPACE_E_NO_MEMORY;
    root->level = pt->top & 15u;
    root->order = pt->F->root_order & 15u;
    pt->root = root;
    pt->root_slots = node_slots(root);
    pt->root_pa = node_pa(root);
    /* The hardware's table may be larger than the indices in use (the kernel's half): all of it is filled. */
    slots_fill(pt->root_slots, 0, 512u << root->order, slot_empty(&pt->C, pt->top));
    pt_sync_walkers(pt, pt->root_slots, 4096u << root->order);
    return ASPACE_E_OK;
}

int aspace_create(struct aspace *s, struct aspace_host *host, const struct aspace_config *config)
{
    if (!s || !host)
        return ASPACE_E_INVALID;
    int rc = check_config(config);
    if (rc)
        return rc;
    memset(s, 0, sizeof *s + host->cpus * sizeof s->cpu[0]);
    rc = init_table(s, host, config);
    if (rc == ASPACE_E_OK && !pool_fill_emergency(host))
        rc = ASPACE_E_NO_MEMORY;
    if (rc == ASPACE_E_OK)
        rc = make_root(&s->pt);
    if (rc)
        return rc;
    s->user = config->user;
    s->released = config->released;
    s->sweep_va = config->base;
    ticket_init(s);
    seam_add(&host->spaces, 1);
    return ASPACE_E_OK;
}

/* ------------------------------------------------------------------------------------------------------ questions */

aspace_va_t aspace_base(const struct aspace *s)
{
    return s->pt.base;
}

aspace_va_t aspace_end(const struct aspace *s)
{
    return s->pt.end;
}

aspace_va_t aspace_last(const struct aspace *s)
{
    return s->pt.end - 1;
}

uint64_t aspace_size(const struct aspace *s)
{
    return s->pt.end - s->pt.base;
}

bool aspace_contains(const struct aspace *s, aspace_va_t va, uint64_t size)
{
    return size && va >= s->pt.base && va < s->pt.end && size <= s->pt.end - va;
}

enum aspace_format aspace_format_of(const struct aspace *s)
{
    return s->pt.F->id;
}

void *aspace_user(const struct aspace *s)
{
    return s->user;
}

aspace_pa_t aspace_root(const struct aspace *s)
{
    return s->pt.root_pa;
}

void aspace_registers(const struct aspace *s, struct aspace_registers *registers)
{
    fmt_registers(s->pt.F, &s->pt.C, s->pt.root_pa, aspace_tag(s), registers);
}

int space_check_range(const struct aspace *s, aspace_va_t va, uint64_t size)
{
    if (UNLIKELY(!size || (va | size) & 4095))
        return ASPACE_E_INVALID;
    if (UNLIKELY(!aspace_contains(s, va, size)))
        return ASPACE_E_RANGE;
    return LIKELY(space_is_open(s)) ? ASPACE_E_OK : ASPACE_E_CLOSED;
}

uint64_t aspace_tables_needed(const struct aspace *s, aspace_va_t va, uint64_t size)
{
    return aspace_contains(s, va, size) ? pt_tables_needed(s->pt.F, va, va + size) : 0;
}

/* ------------------------------------------------------------------------------------------------ the kernel's half */

int aspace_share_upper(struct aspace *s, const uint64_t *upper)
{
    struct pt *pt = &s->pt;
    if (!upper)
        return ASPACE_E_INVALID;
    if (!pt->F->upper_half)
        return ASPACE_E_UNSUPPORTED;
    if (!space_is_open(s))
        return ASPACE_E_CLOSED;
    uint64_t *slots = pt->root_slots + node_entries(pt->F, pt->top);
    for (unsigned i = 0; i < ASPACE_UPPER_ENTRIES; i++) {
        uint64_t e = slot_load(upper + i); /* the kernel may be adding some */
        bool present = fmt_present(pt->F, pt->top, e);
        slot_publish(slots + i, present ? fmt_shared(pt->F, e) : slot_empty(&pt->C, pt->top));
    }
    pt_sync_walkers(pt, slots, ASPACE_UPPER_ENTRIES * sizeof *slots);
    return ASPACE_E_OK;
}

/* ----------------------------------------------------------------------------------------------------- activation */

uint32_t aspace_tag(const struct aspace *s)
{
    return seam_load(&s->pt.tag);
}

void aspace_set_tag(struct aspace *s, uint32_t tag)
{
    seam_store(&s->pt.tag, tag);
    /* What CPUs hold under the new tag belongs to whoever had it before. */
    seam_add_acq_rel(&s->pt.flush_generation, 1);
}

/*
 * Enter the sets, then read the generation; gather_ask does it in the other order. The generation read here is what
 * counts as seen until the next activation, however many invalidations reach this CPU meanwhile: one that has raised it
 * and not yet looked at the active set again would miss a CPU that leaves now.
 */
void aspace_activate(struct aspace *s)
{
    struct pt *pt = &s->pt;
    struct pt_cpu *c = pt_this_cpu(pt);
    unsigned id = aspace_cpu_id();
    if (c->active_count++)
        return;
    seam_or(&pt->known[id / 64], 1ull << (id % 64));
    seam_or(&pt->active[id / 64], 1ull << (id % 64));
    seam_fence();
    uint64_t generation = seam_load_acquire(&pt->flush_generation);
    if (c->flush_seen != generation && pt->host->hal->tlb_flush_local)
        pt->host->hal->tlb_flush_local(pt->host->ctx, aspace_tag(s), pt->F->stage2);
    c->flush_seen = generation;
}

/* The generation stays as activate read it: an operation that has raised it by now, but not yet looked at the active
 * set again, will not find this CPU there, and only the difference tells the CPU when it comes back. */
void aspace_deactivate(struct aspace *s)
{
    struct pt *pt = &s->pt;
    struct pt_cpu *c = pt_this_cpu(pt);
    unsigned id = aspace_cpu_id();
    ASSERT(c->active_count);
    if (--c->active_count)
        return;
    seam_and(&pt->active[id / 64], ~(1ull << (id % 64)));
}

/* ------------------------------------------------------------------------------------------------------ tear-down */

void aspace_close(struct aspace *s)
{
    ticket_close(s);
}

/* Without a budget worth the trouble of counting, the whole root at once. */
static int destroy_some(struct pt *pt, size_t budget)
{
    while (pt->root->count) {
        if (!budget)
            return ASPACE_E_MORE;
        if (budget == SIZE_MAX) {
            int rc = pt_unmap(pt, 0, pt_limit(pt));
            ASSERT(rc == ASPACE_E_OK);
            (void)rc;
            continue;
        }
        pt_unmap_first(pt);
        budget--;
        if (!(budget & 63))
            limbo_drain(pt->host);
    }
    return ASPACE_E_OK;
}

int aspace_destroy_step(struct aspace *s, size_t budget)
{
    struct pt *pt = &s->pt;
    struct aspace_host *host = pt->host;
    for (unsigned w = 0; w < CPU_WORDS; w++)
        if (seam_load(&pt->active[w]))
            return ASPACE_E_BUSY;
    if (seam_load(&s->pinned))
        return ASPACE_E_BUSY;
    aspace_close(s);
    ticket_settle(s);
    space_tell_destroyed(s);
    int rc = destroy_some(pt, budget ? budget : 1);
    if (rc)
        return rc;
    if (seam_load(&pt->deferred)) {
        limbo_drain_wait(host);
        rmap_leave(pt);
        limbo_drain_wait(host); /* what an object, who was in here, left behind */
        rmap_left(pt);
    }
    if (pt->root->dense)
        pool_free(host, pt->root->dense);
    pool_free(host, pt->root);
    seam_store(&s->state, SPACE_CLOSED); /* the end of a ticket may be looking */
    seam_add(&host->spaces, (uint64_t)-1);
    space_unpin(s);
    return ASPACE_E_OK;
}

int aspace_destroy(struct aspace *s)
{
    int rc;
    do
        rc = aspace_destroy_step(s, SIZE_MAX);
    while (rc == ASPACE_E_MORE);
    return rc;
}

size_t aspace_sweep(struct aspace *s, size_t budget)
{
    if (!space_is_open(s))
        return 0;
    /* Several CPUs may sweep: each goes on from where one of them ended. */
    aspace_va_t va = seam_load(&s->sweep_va);
    size_t reclaimed = pt_sweep(&s->pt, &va, budget);
    seam_store(&s->sweep_va, va);
    return reclaimed;
}
