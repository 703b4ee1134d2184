/* SPDX-License-Identifier: BSD-2-Clause */
/* Counts of shared frames: the locks, the two stores, and runs that are mapped in pieces by some. */
#include "pt/shares.h"
#include "pt/pins.h"
#include "pt/pool.h"

enum {
    REGION_LG2 = 21, /* a page of counts covers this much: 512 frames */
    DIRECTORY_BITS = 9,
    DIRECTORIES = 4, /* levels above the page of counts: 57 bits of address */
    RUN_MAX = 512,
};

uint32_t *shares_lock(struct aspace_host *host, aspace_pa_t pa)
{
    return &host->shares[(pa >> REGION_LG2) % SHARE_LOCKS].lock;
}

/* ------------------------------------------------------------------------------------------------------ the table */

static unsigned slot_of(aspace_pa_t pa, unsigned level)
{
    return (unsigned)(pa >> (REGION_LG2 + DIRECTORY_BITS * level)) & ((1u << DIRECTORY_BITS) - 1);
}

void *shares_page(void *const *root, aspace_pa_t pa)
{
    void *page = seam_load_acquire(root);
    for (unsigned level = DIRECTORIES; page && level-- > 0;)
        page = seam_load_acquire(&((void **)page)[slot_of(pa, level)]);
    return page;
}

/* The frame's counts, NULL if there is no page for them. */
static struct aspace_frame_counts *find(const struct aspace_host *host, aspace_pa_t pa)
{
    if (host->hal->frame_counts)
        return host->hal->frame_counts(host->ctx, pa);
    void *page = shares_page(&host->share_root, pa);
    return page ? (struct aspace_frame_counts *)page + (pa >> 12 & (RUN_MAX - 1)) : NULL;
}

/* An empty page in *place, unless another CPU is faster. */
static bool grow(struct aspace_host *host, void **place)
{
    struct node *page = pool_alloc(host);
    if (!page)
        return false;
    memset(node_slots(page), 0, 4096);
    seam_lock(&host->lock, host_lock_tag());
    bool first = !*place;
    if (first)
        seam_store_release(place, (void *)node_slots(page));
    seam_unlock(&host->lock);
    if (!first)
        pool_free(host, page);
    return true;
}

int shares_prepare_page(struct aspace_host *host, void **root, aspace_pa_t pa)
{
    void **place = root;
    for (unsigned level = DIRECTORIES;;) {
        if (!seam_load_acquire(place) && !grow(host, place))
            return ASPACE_E_NO_MEMORY;
        if (!level--)
            return ASPACE_E_OK;
        place = &((void **)seam_load_acquire(place))[slot_of(pa, level)];
    }
}

int shares_prepare(struct aspace_host *host, aspace_pa_t pa)
{
    return host->hal->frame_counts ? ASPACE_E_OK : shares_prepare_page(host, &host->share_root, pa);
}

static bool is_zero(const void *page)
{
    const uint64_t *word = page;
    for (unsigned i = 0; i < 512; i++)
        if (word[i])
            return false;
    return true;
}

/* Bounded: the levels of the table. */
static void trim(struct aspace_host *host, void **place, unsigned level)
{
    void *page = *place;
    for (unsigned i = 0; page && level && i < 512; i++)
        trim(host, &((void **)page)[i], level - 1);
    if (!page || !is_zero(page))
        return;
    pool_free(host, node_at(host, aspace_virt_to_phys(page)));
    *place = NULL;
}

void shares_trim(struct aspace_host *host)
{
    trim(host, &host->share_root, DIRECTORIES);
    trim(host, &host->pin_root, DIRECTORIES);
}

/* ------------------------------------------------------------------------------------------------------ the counts */

static void put(uint32_t *count, uint32_t value)
{
    seam_store_release(count, value); /* who then finds that it is alone comes after us */
}

/* Nobody maps the run as a whole any more. Bits of `gone`: pieces that nobody maps. */
static void dissolve(struct aspace_frame_counts *run, unsigned frames, uint64_t *gone)
{
    for (unsigned i = 0; i < frames; i++) {
        uint32_t pieces = run[i].sharers & ~SHARES_GROUPED;
        if (!pieces)
            gone[i / 64] |= 1ull << (i % 64);
        put(&run[i].sharers, pieces ? pieces - 1 : 0);
    }
}

/* One mapping of the whole run less, of the two or more there are, or of the last beside pieces. */
static void drop_whole(struct aspace_frame_counts *run, unsigned frames, uint64_t *gone)
{
    bool grouped = run->sharers & SHARES_GROUPED;
    uint32_t left = run->whole - 1;
    if (left == 1 && !grouped)
        left = 0;
    put(&run->whole, left);
    if (!left && grouped)
        dissolve(run, frames, gone);
}

int shares_add(struct aspace_host *host, aspace_pa_t pa, unsigned order)
{
    struct aspace_frame_counts *c = find(host, pa);
    uint32_t *count = order ? &c->whole : &c->sharers, *lock = shares_lock(host, pa);
    seam_lock(lock, host_lock_tag());
    uint32_t mappings = order ? (*count ? *count : 1) : (*count & ~SHARES_GROUPED) + !(*count & SHARES_GROUPED);
    bool full = mappings >= host->share_max;
    if (!full)
        put(count, order && !*count ? 2 : *count + 1);
    seam_unlock(lock);
    return full ? ASPACE_E_LIMIT : ASPACE_E_OK;
}

static void free_gone(struct aspace_host *host, aspace_pa_t pa, const uint64_t *gone, unsigned frames)
{
    for (unsigned i = 0; i < frames; i++)
        if (gone[i / 64] >> (i % 64) & 1)
            pins_free(host, pa + ((uint64_t)i << 12), 0);
}

static void drop_run(struct aspace_host *host, aspace_pa_t pa, unsigned order, struct aspace_frame_counts *run)
{
    uint64_t gone[RUN_MAX / 64] = {0};
    uint32_t *lock = shares_lock(host, pa);
    seam_lock(lock, host_lock_tag());
    bool last = !run->whole;
    if (!last)
        drop_whole(run, 1u << order, gone);
    seam_unlock(lock);
    if (last)
        pins_free(host, pa, order);
    else
        free_gone(host, pa, gone, 1u << order);
}

void shares_drop(struct aspace_host *host, aspace_pa_t pa, unsigned order)
{
    struct aspace_frame_counts *c = find(host, pa);
    uint32_t *lock = shares_lock(host, pa);
    ASSERT(order <= 9);
    if (c && order) {
        drop_run(host, pa, order, c);
        return;
    }
    bool last = !c;
    if (c) {
        seam_lock(lock, host_lock_tag());
        last = !c->sharers;
        if (!last)
            put(&c->sharers, c->sharers - 1);
        seam_unlock(lock);
    }
    if (last)
        pins_free(host, pa, order);
}

bool shares_unique(const struct aspace_host *host, aspace_pa_t pa, unsigned order)
{
    const struct aspace_frame_counts *c = find(host, pa);
    return !c || !seam_load_acquire(order ? &c->whole : &c->sharers);
}

void shares_split(struct aspace_host *host, aspace_pa_t pa, unsigned order)
{
    struct aspace_frame_counts *run = find(host, pa);
    uint64_t gone[RUN_MAX / 64] = {0};
    uint32_t *lock = shares_lock(host, pa);
    if (!run)
        return;
    seam_lock(lock, host_lock_tag());
    if (run->whole) {
        for (unsigned i = 0; i < 1u << order; i++)
            put(&run[i].sharers, (run[i].sharers + 1) | SHARES_GROUPED);
        drop_whole(run, 1u << order, gone);
    }
    seam_unlock(lock);
}
