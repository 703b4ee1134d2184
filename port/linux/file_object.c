/* SPDX-License-Identifier: BSD-2-Clause */
/* A file as an object. A fault that meets an I/O error answers BUS. */
#define _GNU_SOURCE

#include "file_object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096, PAGES_STANDARD = 256 };

static struct linux_file *file_of(struct aspace_object *object)
{
    return (struct linux_file *)(void *)object;
}

/* As much as there is: a short file leaves zeroes. */
static int read_page(struct linux_file *file, const struct linux_page *page)
{
    char *to = aspace_phys_to_virt(page->pa);
    size_t done = 0;
    ssize_t n = 1;

    __atomic_fetch_add(&file->reads, 1, __ATOMIC_RELAXED);
    while (done < PAGE_BYTES && n > 0) {
        n = pread(file->config.fd, to + done, PAGE_BYTES - done, (off_t)(page->offset + done));
        if (n < 0 && errno == EINTR) {
            n = 1;
            continue;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return n < 0 ? -1 : 0;
}

/* The part of the page that the file has. */
static int write_page(struct linux_file *file, const struct linux_page *page)
{
    const char *from = aspace_phys_to_virt(page->pa);
    uint64_t size = aspace_object_size(&file->object), done = 0;
    uint64_t bytes = size <= page->offset ? 0 : size - page->offset;

    bytes = bytes < PAGE_BYTES ? bytes : PAGE_BYTES;
    file->writes++;
    while (done < bytes) {
        ssize_t n = pwrite(file->config.fd, from + done, bytes - done, (off_t)(page->offset + done));
        if (n == 0) {
            errno = EIO; /* it would be so for ever */
        }
        if (n <= 0 && errno != EINTR) {
            return -1;
        }
        done += n > 0 ? (uint64_t)n : 0;
    }
    return 0;
}

/* ----------------------------------------------------------------------------------------------------- as an object */

/* Read the page and enter it, unless another was faster or the file was truncated meanwhile. 0, -1 with errno. */
static int fetch(struct linux_file *file, uint64_t offset)
{
    struct linux_cache *c = &file->cache;
    uint64_t before = __atomic_load_n(&file->truncations, __ATOMIC_ACQUIRE);
    struct linux_page *page = linux_cache_make(c, offset);

    if (!page) {
        errno = ENOMEM;
        return -1;
    }
    int rc = read_page(file, page), error = errno;
    pthread_mutex_lock(&c->lock);
    bool enter = rc == 0 && before == file->truncations && !linux_cache_find(c, offset);
    if (enter) {
        linux_cache_add(c, page);
    }
    pthread_mutex_unlock(&c->lock);
    if (!enter) {
        linux_cache_free(c, page);
    }
    errno = error;
    return rc;
}

static enum aspace_fault_result file_get(struct aspace_object *object, uint64_t offset, uint32_t access, uint32_t flags,
                                         struct aspace_page *page)
{
    struct linux_file *file = file_of(object);

    (void)flags;
    if (access & ASPACE_W && !file->config.writes) {
        return ASPACE_FAULT_PERMISSION;
    }
    enum aspace_fault_result result = linux_cache_get(&file->cache, offset, access, page);
    if (result != ASPACE_FAULT_BUS) {
        return result;
    }
    if (!file->config.reads_at_once) {
        return ASPACE_FAULT_NEEDS_IO;
    }
    if (fetch(file, offset)) {
        return errno == ENOMEM ? ASPACE_FAULT_NO_MEMORY : ASPACE_FAULT_BUS;
    }
    return ASPACE_FAULT_RETRY; /* it is there, or the file has changed */
}

static void file_put(struct aspace_object *object, uint64_t offset, aspace_pa_t pa)
{
    linux_cache_put(&file_of(object)->cache, pa, offset);
}

/* Nothing is mapped any more: what is dirty is written, as far as it can be. */
static void file_released(struct aspace_object *object)
{
    struct linux_file *file = file_of(object);
    struct linux_page *page;

    while ((page = linux_cache_oldest(&file->cache, 0, LINUX_CACHE_DIRTY)) != NULL) {
        (void)write_page(file, page);
        page->dirty = false;
    }
    linux_cache_fini(&file->cache);
    pthread_mutex_destroy(&file->io);
    if (file->config.released) {
        file->config.released(file->config.arg);
    }
}

static const struct aspace_object_ops file_ops = {
    .name = "file",
    .get = file_get,
    .put = file_put,
    .released = file_released,
};

int linux_file_init(struct linux_file *file, struct aspace_host *host, const struct linux_file_config *config)
{
    struct stat st;

    if (fstat(config->fd, &st)) {
        return -1;
    }
    memset(file, 0, sizeof(*file));
    if (aspace_object_init(&file->object, host, &file_ops, (uint64_t)st.st_size) != ASPACE_OK) {
        errno = EINVAL;
        return -1;
    }
    file->config = *config;
    file->config.pages_max = config->pages_max ? config->pages_max : PAGES_STANDARD;
    linux_cache_init(&file->cache, host);
    pthread_mutex_init(&file->io, NULL);
    return 0;
}

/* ------------------------------------------------------------------------------------- loading, writing back,
 * dropping */

/* With `io`. A page that is given, of the cache's, with a reference of ours. */
static struct linux_page *pick(struct linux_file *file, enum linux_cache_which which)
{
    struct linux_cache *c = &file->cache;

    pthread_mutex_lock(&c->lock);
    struct linux_page *page = linux_cache_oldest(c, 0, which);
    if (page) {
        page->references++;
        page->leaving = which == LINUX_CACHE_ANY;
        page->dirty &= which == LINUX_CACHE_ANY; /* before the write right is taken: later writes say so again */
    }
    pthread_mutex_unlock(&c->lock);
    return page;
}

/* Nobody gets the page while it is leaving, and nobody has it mapped after evict: its contents are final. */
static int shrink(struct linux_file *file)
{
    struct linux_cache *c = &file->cache;
    struct linux_page *page = pick(file, LINUX_CACHE_ANY);

    if (!page) {
        return 0;
    }
    aspace_object_evict(&file->object, page->offset, PAGE_BYTES);
    int rc = page->dirty ? write_page(file, page) : 0, error = errno;
    pthread_mutex_lock(&c->lock);
    page->leaving = false;
    if (rc == 0) {
        linux_cache_detach(c, page);
    } else {
        page->age = c->age++;
    }
    pthread_mutex_unlock(&c->lock);
    linux_cache_drop(c, page);
    errno = error;
    return rc ? -1 : 1;
}

static int make_room(struct linux_file *file, uint64_t pages)
{
    while (__atomic_load_n(&file->cache.pages, __ATOMIC_RELAXED) > pages) {
        if (shrink(file) < 0) {
            return -1;
        }
    }
    return 0;
}

int linux_file_load(struct linux_file *file, uint64_t offset)
{
    struct linux_cache *c = &file->cache;
    int rc = 0;

    offset &= ~(uint64_t)(PAGE_BYTES - 1);
    pthread_mutex_lock(&file->io);
    pthread_mutex_lock(&c->lock);
    bool there = linux_cache_find(c, offset) != NULL;
    pthread_mutex_unlock(&c->lock);
    if (!there) {
        rc = make_room(file, file->config.pages_max - 1);
        rc = rc ? rc : fetch(file, offset);
    }
    pthread_mutex_unlock(&file->io);
    return rc;
}

/* One round over what is dirty when it begins: pages that fail, or are written again, are left for the next. */
int linux_file_sync(struct linux_file *file)
{
    struct linux_cache *c = &file->cache;
    struct linux_page *page;
    int rc = 0, error = 0;

    pthread_mutex_lock(&file->io);
    uint64_t most = __atomic_load_n(&c->pages, __ATOMIC_RELAXED);
    for (; most && (page = pick(file, LINUX_CACHE_DIRTY)) != NULL; most--) {
        aspace_object_clean(&file->object, page->offset, PAGE_BYTES);
        int failed = write_page(file, page);
        error = failed ? errno : error;
        pthread_mutex_lock(&c->lock);
        page->dirty |= failed != 0;
        page->age = c->age++;
        pthread_mutex_unlock(&c->lock);
        linux_cache_drop(c, page);
        rc |= failed;
    }
    if (rc == 0 && make_room(file, file->config.pages_max)) {
        rc = -1;
        error = errno;
    }
    pthread_mutex_unlock(&file->io);
    errno = error;
    return rc;
}

int linux_file_shrink(struct linux_file *file)
{
    pthread_mutex_lock(&file->io);
    int rc = shrink(file);
    pthread_mutex_unlock(&file->io);
    return rc;
}

/* The file first, which can fail: what is read of it meanwhile, for the old size, is dropped or not entered. The rest
 * of the page that the file ended in, or ends in, reads zero from now on. */
int linux_file_truncate(struct linux_file *file, uint64_t size)
{
    struct linux_cache *c = &file->cache;
    uint64_t from = (size + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
    struct linux_page *page;
    int rc;

    pthread_mutex_lock(&file->io);
    uint64_t before = aspace_object_size(&file->object), cut = size < before ? size : before;
    do {
        rc = ftruncate(file->config.fd, (off_t)size);
    } while (rc != 0 && errno == EINTR);
    if (rc == 0) {
        aspace_object_truncate(&file->object, size);
        pthread_mutex_lock(&c->lock);
        __atomic_store_n(&file->truncations, file->truncations + 1, __ATOMIC_RELEASE);
        while (size < before && (page = linux_cache_oldest(c, from, LINUX_CACHE_ANY)) != NULL) {
            linux_cache_detach(c, page);
        }
        page = cut % PAGE_BYTES ? linux_cache_find(c, cut - cut % PAGE_BYTES) : NULL;
        if (page) {
            memset((char *)aspace_phys_to_virt(page->pa) + cut % PAGE_BYTES, 0, PAGE_BYTES - cut % PAGE_BYTES);
        }
        pthread_mutex_unlock(&c->lock);
    }
    pthread_mutex_unlock(&file->io);
    return rc;
}
