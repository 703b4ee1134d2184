/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages that are somewhere else until they are filled in. */
#include "remote_object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_BYTES = 4096 };

static struct linux_remote *remote_of(struct aspace_object *object)
{
    return (struct linux_remote *)(void *)object;
}

static enum aspace_fault_result remote_get(struct aspace_object *object, uint64_t offset, uint32_t access,
                                           uint32_t flags, struct aspace_page *page)
{
    struct linux_remote *r = remote_of(object);
    uint64_t n = offset / PAGE_BYTES;
    enum aspace_fault_result result = linux_cache_get(&r->cache, offset, access, page);

    (void)flags;
    if (result != ASPACE_FAULT_BUS) {
        return result;
    }
    if (n >= r->pages) {
        return ASPACE_FAULT_BUS;
    }
    pthread_mutex_lock(&r->cache.lock);
    bool here = linux_cache_find(&r->cache, offset) != NULL; /* by now */
    if (!here) {
        r->wanted[n / 64] |= UINT64_C(1) << n % 64;
    }
    pthread_mutex_unlock(&r->cache.lock);
    return here ? ASPACE_FAULT_RETRY : ASPACE_FAULT_NEEDS_IO;
}

static void remote_put(struct aspace_object *object, uint64_t offset, aspace_pa_t pa)
{
    linux_cache_put(&remote_of(object)->cache, pa, offset);
}

static void remote_released(struct aspace_object *object)
{
    struct linux_remote *r = remote_of(object);

    linux_cache_fini(&r->cache);
    free(r->wanted);
    if (r->released) {
        r->released(r);
    }
}

static const struct aspace_object_ops remote_ops = {
    .name = "remote",
    .get = remote_get,
    .put = remote_put,
    .released = remote_released,
};

int linux_remote_init(struct linux_remote *remote, struct aspace_host *host, uint64_t size)
{
    memset(remote, 0, sizeof(*remote));
    remote->pages = size / PAGE_BYTES + (size % PAGE_BYTES != 0);
    remote->wanted = calloc(remote->pages / 64 + 1, sizeof(uint64_t));
    if (!remote->wanted) {
        return -1;
    }
    if (aspace_object_init(&remote->object, host, &remote_ops, size) != ASPACE_OK) {
        free(remote->wanted);
        errno = EINVAL;
        return -1;
    }
    linux_cache_init(&remote->cache, host);
    return 0;
}

bool linux_remote_take(struct linux_remote *remote, uint64_t *offset)
{
    bool found = false;

    pthread_mutex_lock(&remote->cache.lock);
    for (uint64_t n = 0; n < remote->pages && !found; n++) {
        found = remote->wanted[n / 64] >> n % 64 & 1;
        if (found) {
            remote->wanted[n / 64] &= ~(UINT64_C(1) << n % 64);
            *offset = n * PAGE_BYTES;
        }
    }
    pthread_mutex_unlock(&remote->cache.lock);
    return found;
}

int linux_remote_fill(struct linux_remote *remote, uint64_t offset, const void *contents)
{
    struct linux_cache *c = &remote->cache;

    if (offset % PAGE_BYTES != 0 || offset / PAGE_BYTES >= remote->pages) {
        errno = EINVAL;
        return -1;
    }
    struct linux_page *page = linux_cache_make(c, offset);
    if (!page) {
        errno = ENOMEM;
        return -1;
    }
    memcpy(aspace_phys_to_virt(page->pa), contents, PAGE_BYTES);
    pthread_mutex_lock(&c->lock);
    bool exists = linux_cache_find(c, offset) != NULL;
    if (!exists) {
        linux_cache_add(c, page);
        remote->wanted[offset / PAGE_BYTES / 64] &= ~(UINT64_C(1) << offset / PAGE_BYTES % 64);
    }
    pthread_mutex_unlock(&c->lock);
    if (exists) {
        linux_cache_free(c, page);
        errno = EEXIST;
    }
    return exists ? -1 : 0;
}

int linux_remote_drop(struct linux_remote *remote, uint64_t offset, void *contents)
{
    struct linux_cache *c = &remote->cache;

    pthread_mutex_lock(&c->lock);
    struct linux_page *page = linux_cache_find(c, offset);
    bool ours = page && !page->leaving;
    if (ours) {
        page->leaving = true;
        page->references++;
    }
    pthread_mutex_unlock(&c->lock);
    if (!ours) {
        errno = ENOENT;
        return -1;
    }
    aspace_object_evict(&remote->object, offset, PAGE_BYTES);
    memcpy(contents, aspace_phys_to_virt(page->pa), PAGE_BYTES);
    pthread_mutex_lock(&c->lock);
    linux_cache_detach(c, page);
    pthread_mutex_unlock(&c->lock);
    linux_cache_drop(c, page);
    return 0;
}
