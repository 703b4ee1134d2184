/* SPDX-License-Identifier: BSD-2-Clause */
/* Chunks of table pages. */
#include "pt/pool.h"

/* Lives in the place of the descriptor of the chunk's own first frame. */
struct chunk {
    uint64_t free;             /* bit n: frame n is free; bit 0 never */
    uint64_t all;              /* what `free` is when nothing is used */
    struct chunk *next, *prev; /* on host->chunks: exactly when `free` is not 0 */
};
_Static_assert(sizeof(struct chunk) <= NODE_BYTES, "a chunk's header replaces one descriptor");

static struct chunk *chunk_of(const struct node *page)
{
    return (struct chunk *)((uintptr_t)page & ~(uintptr_t)4095);
}

static unsigned index_in_chunk(const struct node *page)
{
    return (unsigned)(((uintptr_t)page & 4095) / NODE_BYTES);
}

static void list_chunk(struct aspace_host *host, struct chunk *c)
{
    c->prev = NULL;
    c->next = host->chunks;
    if (c->next)
        c->next->prev = c;
    seam_store(&host->chunks, c); /* refill looks first without the lock */
}

static void unlist_chunk(struct aspace_host *host, struct chunk *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        seam_store(&host->chunks, c->next);
    if (c->next)
        c->next->prev = c->prev;
}

/* Not under the host's lock: the HAL is called. */
static struct chunk *new_chunk(struct aspace_host *host)
{
    aspace_pa_t pa = host->hal->alloc(host->ctx, host->chunk_order, ASPACE_ALLOC_TABLE);
    if (pa == ASPACE_PA_NONE)
        return NULL;
    struct chunk *c = aspace_phys_to_virt(pa);
    c->all = (host->chunk_order == 6 ? ~0ull : (1ull << (1u << host->chunk_order)) - 1) & ~1ull;
    c->free = c->all;
    return c;
}

static struct node *take(struct aspace_host *host, struct chunk *c, unsigned index, unsigned order)
{
    uint64_t mask = (order == 6 ? ~0ull : (1ull << (1u << order)) - 1) << index;
    c->free &= ~mask;
    if (!c->free)
        unlist_chunk(host, c);
    struct node *page = (struct node *)c + index;
    memset(page, 0, sizeof *page);
    page->order = order & 15u;
    return page;
}

static void give(struct aspace_host *host, struct node *page)
{
    struct chunk *c = chunk_of(page);
    unsigned index = index_in_chunk(page);
    uint64_t mask = ((1ull << (1u << page->order)) - 1) << index;
    ASSERT(index && !(c->free & mask));
    if (!c->free)
        list_chunk(host, c);
    c->free |= mask;
}

/* Index of an aligned free run, 0 if there is none. */
static unsigned find_run(uint64_t free, unsigned order)
{
    uint64_t mask = (1ull << (1u << order)) - 1;
    for (unsigned i = 1u << order; i < 64; i += 1u << order)
        if ((free >> i & mask) == mask)
            return i;
    return 0;
}

/* False: the HAL has no more. Other CPUs may have been faster than this one, which then has as little as before. */
static bool refill(struct aspace_host *host, struct host_cpu *cpu)
{
    struct chunk *fresh = NULL;
    if (!seam_load(&host->chunks) && !(fresh = new_chunk(host)))
        return false;
    seam_lock(&host->lock, host_lock_tag());
    if (fresh)
        list_chunk(host, fresh);
    while (host->chunks && cpu->n_tables < MAGAZINE / 2) {
        struct chunk *c = host->chunks;
        cpu->tables[cpu->n_tables++] = take(host, c, lowest_bit(c->free), 0);
    }
    seam_unlock(&host->lock);
    return true;
}

struct node *pool_alloc(struct aspace_host *host)
{
    struct host_cpu *cpu = host_this_cpu(host);
    while (UNLIKELY(!cpu->n_tables))
        if (!refill(host, cpu))
            return NULL;
    struct node *page = cpu->tables[--cpu->n_tables];
    page->next = NULL;
    return page;
}

struct node *pool_alloc_run(struct aspace_host *host, unsigned order)
{
    if (order == 0)
        return pool_alloc(host);
    if (order >= host->chunk_order)
        return NULL;
    seam_lock(&host->lock, host_lock_tag());
    for (struct chunk *c = host->chunks; c; c = c->next) {
        unsigned i = find_run(c->free, order);
        if (i) {
            struct node *page = take(host, c, i, order);
            seam_unlock(&host->lock);
            return page;
        }
    }
    seam_unlock(&host->lock);
    struct chunk *fresh = new_chunk(host);
    if (!fresh)
        return NULL;
    seam_lock(&host->lock, host_lock_tag());
    list_chunk(host, fresh);
    struct node *page = take(host, fresh, find_run(fresh->free, order), order);
    seam_unlock(&host->lock);
    return page;
}

/* Half of the magazine goes back, so that neither a run of frees nor one of allocations reaches the lock each time. */
static void spill_magazine(struct aspace_host *host, struct host_cpu *cpu, uint32_t keep)
{
    seam_lock(&host->lock, host_lock_tag());
    while (cpu->n_tables > keep) {
        struct node *page = cpu->tables[--cpu->n_tables];
        if (host->n_emergency < EMERGENCY_PAGES) {
            page->next = host->emergency;
            host->emergency = page;
            seam_store(&host->n_emergency, host->n_emergency + 1);
        } else {
            give(host, page);
        }
    }
    seam_unlock(&host->lock);
}

void pool_free(struct aspace_host *host, struct node *page)
{
    struct host_cpu *cpu = host_this_cpu(host);
    seam_lock_gone(&page->lock);
    if (page->order) {
        seam_lock(&host->lock, host_lock_tag());
        give(host, page);
        seam_unlock(&host->lock);
        return;
    }
    memset(page, 0, sizeof *page);
    cpu->tables[cpu->n_tables++] = page;
    if (cpu->n_tables == MAGAZINE || UNLIKELY(seam_load(&host->n_emergency) < EMERGENCY_PAGES))
        spill_magazine(host, cpu, cpu->n_tables == MAGAZINE ? MAGAZINE / 2 : cpu->n_tables - 1);
}

/* Not the builtin: without hardware help it would call libgcc. */
static uint64_t count_bits(uint64_t x)
{
    uint64_t n = 0;
    for (; x; x &= x - 1)
        n++;
    return n;
}

bool pool_reserve(struct aspace_host *host, uint64_t n)
{
    uint64_t have = 0;
    seam_lock(&host->lock, host_lock_tag());
    for (struct chunk *c = host->chunks; c && have < n; c = c->next)
        have += count_bits(c->free);
    seam_unlock(&host->lock);
    while (have < n) {
        struct chunk *fresh = new_chunk(host);
        if (!fresh)
            return false;
        have += count_bits(fresh->free);
        seam_lock(&host->lock, host_lock_tag());
        list_chunk(host, fresh);
        seam_unlock(&host->lock);
    }
    return true;
}

bool pool_fill_emergency(struct aspace_host *host)
{
    while (seam_load(&host->n_emergency) < EMERGENCY_PAGES) {
        struct node *page = pool_alloc(host);
        if (!page)
            return false;
        seam_lock(&host->lock, host_lock_tag());
        page->next = host->emergency;
        host->emergency = page;
        seam_store(&host->n_emergency, host->n_emergency + 1);
        seam_unlock(&host->lock);
    }
    return true;
}

struct node *pool_alloc_emergency(struct aspace_host *host)
{
    seam_lock(&host->lock, host_lock_tag());
    struct node *page = host->emergency;
    if (page) {
        host->emergency = page->next;
        seam_store(&host->n_emergency, host->n_emergency - 1);
        page->next = NULL;
    }
    seam_unlock(&host->lock);
    return page;
}

/* The pages held back go too when no space is left that could need them. */
void pool_trim(struct aspace_host *host)
{
    for (uint32_t i = 0; i < host->cpus; i++)
        spill_magazine(host, &host->cpu[i], 0);
    struct chunk *unused = NULL;
    seam_lock(&host->lock, host_lock_tag());
    while (!host->spaces && host->emergency) {
        struct node *page = host->emergency;
        host->emergency = page->next;
        seam_store(&host->n_emergency, host->n_emergency - 1);
        give(host, page);
    }
    for (struct chunk *c = host->chunks, *next; c; c = next) {
        next = c->next;
        if (c->free == c->all) {
            unlist_chunk(host, c);
            c->next = unused;
            unused = c;
        }
    }
    seam_unlock(&host->lock);
    while (unused) {
        struct chunk *c = unused;
        unused = c->next;
        host->hal->free(host->ctx, aspace_virt_to_phys(c), host->chunk_order);
    }
}
