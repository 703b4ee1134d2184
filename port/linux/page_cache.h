/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages that an object has in memory, by offset: what the objects of this port have in common. Owns the frames, who
 * refers to them, and which are dirty; must not know where contents come from.
 *
 * A page is in the index until it is *detached*, and then lives until its last reference is gone. While it is
 * *leaving*, its contents being taken somewhere else, who asks for it is told to come again.
 */
#ifndef ASPACE_LINUX_PAGE_CACHE_H
#define ASPACE_LINUX_PAGE_CACHE_H

#include <aspace/memory.h>
#include <aspace/object.h>

#include <pthread.h>

enum { LINUX_CACHE_BUCKETS = 256 };

struct linux_page {
    struct linux_page *next; /* in its bucket, or of what is detached */
    uint64_t offset, age;
    aspace_pa_t pa;
    unsigned references; /* mappings, and whoever works on it */
    bool dirty, leaving, detached;
};

struct linux_cache {
    struct aspace_host *host;
    pthread_mutex_t lock; /* guards all that follows */
    struct linux_page *bucket[LINUX_CACHE_BUCKETS];
    uint64_t pages, age;
};

void linux_cache_init(struct linux_cache *c, struct aspace_host *host);

/* Nobody refers to any page any more. */
void linux_cache_fini(struct linux_cache *c);

/* The page at offset; with the lock. NULL if there is none. */
struct linux_page *linux_cache_find(struct linux_cache *c, uint64_t offset);

/* A page with a zeroed frame, in no index. NULL: out of memory. Without the lock. */
struct linux_page *linux_cache_make(struct linux_cache *c, uint64_t offset);
void linux_cache_free(struct linux_cache *c, struct linux_page *page);

/* Into the index, where there is none for its offset; with the lock. */
void linux_cache_add(struct linux_cache *c, struct linux_page *page);

/* Out of it; freed now, or with the last reference. With the lock. */
void linux_cache_detach(struct linux_cache *c, struct linux_page *page);

/* The oldest page that is not leaving, at or after offset `from`; dirty ones only, if so asked. With the lock. */
enum linux_cache_which { LINUX_CACHE_ANY, LINUX_CACHE_DIRTY };
struct linux_page *linux_cache_oldest(struct linux_cache *c, uint64_t from, enum linux_cache_which which);

/* As an object's `get` for a page that is there, and `put`. A page is mapped without the write right until it is
 * written, and is dirty from then on. BUS: it is not there. */
enum aspace_fault_result linux_cache_get(struct linux_cache *c, uint64_t offset, uint32_t access,
                                         struct aspace_page *page);
void linux_cache_put(struct linux_cache *c, aspace_pa_t pa, uint64_t offset);

/* A reference less. Without the lock. */
void linux_cache_drop(struct linux_cache *c, struct linux_page *page);

#endif
