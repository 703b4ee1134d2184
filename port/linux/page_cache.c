/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages in memory by offset: a hash of lists. Detached pages are on a list of their own, to be found by their frame. */
#include "page_cache.h"

#include <stdlib.h>
#include <string.h>

static struct linux_page **bucket_of(struct linux_cache *c, uint64_t offset)
{
    return &c->bucket[(offset >> 12) % (LINUX_CACHE_BUCKETS - 1)];
}

static struct linux_page **detached_of(struct linux_cache *c)
{
    return &c->bucket[LINUX_CACHE_BUCKETS - 1];
}

void linux_cache_init(struct linux_cache *c, struct aspace_host *host)
{
    memset(c, 0, sizeof(*c));
    c->host = host;
    pthread_mutex_init(&c->lock, NULL);
}

void linux_cache_fini(struct linux_cache *c)
{
    for (unsigned i = 0; i < LINUX_CACHE_BUCKETS; i++) {
        while (c->bucket[i]) {
            struct linux_page *page = c->bucket[i];
            c->bucket[i] = page->next;
            linux_cache_free(c, page);
        }
    }
    pthread_mutex_destroy(&c->lock);
}

struct linux_page *linux_cache_find(struct linux_cache *c, uint64_t offset)
{
    struct linux_page *page = *bucket_of(c, offset);

    while (page && page->offset != offset) {
        page = page->next;
    }
    return page;
}

struct linux_page *linux_cache_make(struct linux_cache *c, uint64_t offset)
{
    struct linux_page *page = calloc(1, sizeof(*page));
    struct aspace_frame frame;

    if (!page || aspace_frame_alloc(c->host, 0, true, &frame) != ASPACE_OK) {
        free(page);
        return NULL;
    }
    page->offset = offset;
    page->pa = aspace_frame_take(&frame);
    return page;
}

void linux_cache_free(struct linux_cache *c, struct linux_page *page)
{
    struct aspace_frame frame = {.host = c->host, .pa = page->pa};

    aspace_frame_release(&frame);
    free(page);
}

void linux_cache_add(struct linux_cache *c, struct linux_page *page)
{
    page->age = c->age++;
    page->next = *bucket_of(c, page->offset);
    *bucket_of(c, page->offset) = page;
    c->pages++;
}

static void unlink_page(struct linux_page **place, const struct linux_page *page)
{
    while (*place != page) {
        place = &(*place)->next;
    }
    *place = page->next;
}

void linux_cache_detach(struct linux_cache *c, struct linux_page *page)
{
    unlink_page(bucket_of(c, page->offset), page);
    c->pages--;
    page->detached = true;
    if (page->references == 0) {
        linux_cache_free(c, page);
        return;
    }
    page->next = *detached_of(c);
    *detached_of(c) = page;
}

struct linux_page *linux_cache_oldest(struct linux_cache *c, uint64_t from, enum linux_cache_which which)
{
    struct linux_page *oldest = NULL;

    for (unsigned i = 0; i < LINUX_CACHE_BUCKETS - 1; i++) {
        for (struct linux_page *page = c->bucket[i]; page; page = page->next) {
            bool meant = !page->leaving && page->offset >= from && (which == LINUX_CACHE_ANY || page->dirty);
            oldest = meant && (!oldest || page->age < oldest->age) ? page : oldest;
        }
    }
    return oldest;
}

enum aspace_fault_result linux_cache_get(struct linux_cache *c, uint64_t offset, uint32_t access,
                                         struct aspace_page *page)
{
    enum aspace_fault_result result = ASPACE_FAULT_BUS;

    pthread_mutex_lock(&c->lock);
    struct linux_page *found = linux_cache_find(c, offset);
    if (found && found->leaving) {
        result = ASPACE_FAULT_RETRY;
    } else if (found) {
        found->references++;
        found->dirty |= (access & ASPACE_W) != 0;
        page->pa = found->pa;
        page->rights &= access & ASPACE_W ? ~0u : ~(uint32_t)ASPACE_W;
        result = ASPACE_FAULT_DONE;
    }
    pthread_mutex_unlock(&c->lock);
    return result;
}

static void drop_locked(struct linux_cache *c, struct linux_page *page)
{
    if (--page->references == 0 && page->detached) {
        unlink_page(detached_of(c), page);
        linux_cache_free(c, page);
    }
}

void linux_cache_put(struct linux_cache *c, aspace_pa_t pa, uint64_t offset)
{
    pthread_mutex_lock(&c->lock);
    struct linux_page *page = linux_cache_find(c, offset);
    if (!page || page->pa != pa) {
        page = *detached_of(c);
        while (page && page->pa != pa) {
            page = page->next;
        }
    }
    if (page) {
        drop_locked(c, page);
    }
    pthread_mutex_unlock(&c->lock);
}

void linux_cache_drop(struct linux_cache *c, struct linux_page *page)
{
    pthread_mutex_lock(&c->lock);
    drop_locked(c, page);
    pthread_mutex_unlock(&c->lock);
}
