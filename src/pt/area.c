/* SPDX-License-Identifier: BSD-2-Clause */
/* Allocation of area records: pages of 31 and a header, a directory of two levels, a magazine of indices per CPU. */
#include "pt/area.h"
#include "pt/pool.h"

/* In the place of record 0 of a page. A page with a free record is on host->area_partial (by its node). */
struct page_head {
    uint32_t free;  /* bit n: record n is free and in no magazine; bit 0 never */
    uint32_t first; /* index of record 0 */
    struct node *node;
};

enum { IDS_IN_BLOCK = 64, ALL_FREE = ~1 };

static struct page_head *head_of(struct node *page)
{
    return (struct page_head *)(void *)node_slots(page);
}

static struct area **dir_slot(struct aspace_host *host, uint32_t page)
{
    return &host->area_dir[page >> 9][page & 511];
}

/* The directory place for a new record page: one that was given back, else the next. Under the host's lock. */
static uint32_t find_place(struct aspace_host *host)
{
    for (uint32_t p = 0; p < host->area_pages; p++)
        if (!*dir_slot(host, p))
            return p;
    return host->area_pages;
}

/* Adds a record page. `page` and `dir` were allocated before the lock; what is not needed is left set. */
static bool add_page(struct aspace_host *host, struct node **page, struct node **dir)
{
    uint32_t place = find_place(host);
    if (place >> 9 >= AREA_DIRECTORY)
        return false;
    if (!host->area_dir[place >> 9]) {
        memset(node_slots(*dir), 0, 4096);
        seam_store_release(&host->area_dir[place >> 9], (struct area **)(void *)node_slots(*dir));
        *dir = NULL;
    }
    struct page_head *h = head_of(*page);
    memset(h, 0, 4096);
    *h = (struct page_head){(uint32_t)ALL_FREE, place << 5, *page};
    seam_store_release(dir_slot(host, place), (struct area *)(void *)h);
    if (place == host->area_pages)
        host->area_pages++;
    (*page)->next = host->area_partial;
    seam_store(&host->area_partial, *page); /* refill looks first without the lock */
    *page = NULL;
    return true;
}

static void take_indices(struct aspace_host *host, struct host_cpu *cpu)
{
    while (host->area_partial && cpu->n_areas < RECORDS_AT_HAND / 4) {
        struct node *page = host->area_partial;
        struct page_head *h = head_of(page);
        while (h->free && cpu->n_areas < RECORDS_AT_HAND / 4) {
            cpu->areas[cpu->n_areas++] = h->first + lowest_bit(h->free);
            h->free &= h->free - 1;
        }
        if (!h->free)
            seam_store(&host->area_partial, page->next);
    }
}

/* False: out of memory, or of places. Other CPUs may have been faster, and this one has as little as before. */
static bool refill(struct aspace_host *host, struct host_cpu *cpu)
{
    struct node *page = NULL, *dir = NULL;
    bool grow = !seam_load(&host->area_partial);
    if (grow && (!(page = pool_alloc(host)) || !(dir = pool_alloc(host)))) {
        if (page)
            pool_free(host, page);
        return false;
    }
    seam_lock(&host->lock, host_lock_tag());
    if (grow)
        add_page(host, &page, &dir);
    take_indices(host, cpu);
    seam_unlock(&host->lock);
    if (page)
        pool_free(host, page);
    if (dir)
        pool_free(host, dir);
    return cpu->n_areas > 0 || !grow;
}

struct area *area_alloc(struct aspace_host *host)
{
    struct host_cpu *cpu = host_this_cpu(host);
    while (UNLIKELY(!cpu->n_areas))
        if (!refill(host, cpu))
            return NULL;
    uint32_t index = cpu->areas[--cpu->n_areas];
    struct area *area = area_get(host, index);
    area->index = index;
    return area;
}

static void return_indices(struct aspace_host *host, struct host_cpu *cpu, uint32_t keep)
{
    seam_lock(&host->lock, host_lock_tag());
    while (cpu->n_areas > keep) {
        uint32_t index = cpu->areas[--cpu->n_areas];
        struct page_head *h = (struct page_head *)(void *)area_get(host, index & ~31u);
        if (!h->free) {
            h->node->next = host->area_partial;
            seam_store(&host->area_partial, h->node);
        }
        h->free |= 1u << (index & 31);
    }
    seam_unlock(&host->lock);
}

void area_free(struct aspace_host *host, struct area *area)
{
    struct host_cpu *cpu = host_this_cpu(host);
    cpu->areas[cpu->n_areas++] = area->index;
    if (cpu->n_areas == RECORDS_AT_HAND)
        return_indices(host, cpu, RECORDS_AT_HAND / 2);
}

uint64_t area_new_id(struct aspace_host *host)
{
    struct host_cpu *cpu = host_this_cpu(host);
    if (UNLIKELY(cpu->id_next == cpu->id_end)) {
        cpu->id_next = seam_add(&host->next_id, IDS_IN_BLOCK);
        cpu->id_end = cpu->id_next + IDS_IN_BLOCK;
    }
    return cpu->id_next++;
}

void area_trim(struct aspace_host *host)
{
    for (uint32_t i = 0; i < host->cpus; i++)
        return_indices(host, &host->cpu[i], 0);
    struct node **link = &host->area_partial;
    bool any = false;
    while (*link) {
        struct node *page = *link;
        struct page_head *h = head_of(page);
        if (h->free == (uint32_t)ALL_FREE) {
            *link = page->next;
            *dir_slot(host, h->first >> 5) = NULL;
            pool_free(host, page);
        } else {
            link = &page->next;
        }
    }
    for (uint32_t p = 0; p < host->area_pages && !any; p++)
        any = *dir_slot(host, p) != NULL;
    for (unsigned d = 0; !any && d < AREA_DIRECTORY && host->area_dir[d]; d++) {
        pool_free(host, node_at(host, aspace_virt_to_phys(host->area_dir[d])));
        host->area_dir[d] = NULL;
    }
    if (!any)
        host->area_pages = 0;
}
