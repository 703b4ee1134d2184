/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file as an object: a cache of its pages, of bounded size, and writing back what was written through shared
 * mappings. Owns the cache; the descriptor is the caller's. Must not know spaces.
 */
#ifndef ASPACE_LINUX_FILE_OBJECT_H
#define ASPACE_LINUX_FILE_OBJECT_H

#include "page_cache.h"

struct linux_file_config {
    int fd;      /* for pread and, if `writes`, pwrite and ftruncate; valid until `released` */
    bool writes; /* else shared mappings cannot be written: PERMISSION */

    /* A fault on a page that is not in the cache reads it, and may be kept waiting; else: NEEDS_IO. */
    bool reads_at_once;

    /* Of the cache; 0 means 256. Faults that read at once may exceed it until the next load or sync. */
    uint64_t pages_max;
    void (*released)(void *arg);
    void *arg;
};

struct linux_file {
    struct aspace_object object; /* first */
    struct linux_file_config config;
    struct linux_cache cache;
    uint64_t truncations; /* guarded by the cache's lock */
    pthread_mutex_t io;   /* one load, sync, eviction or truncation at a time; before the cache's */
    uint64_t reads, writes;
};

/* Size as the file has it now. 0, or -1 with errno. */
int linux_file_init(struct linux_file *file, struct aspace_host *host, const struct linux_file_config *config);

/* For a fault that answered NEEDS_IO, aspace_fault_info.offset being the offset: read the page into the cache, if it is
 * not there; the oldest one makes room. What the file is too short for reads zero. 0, or -1 with errno. These four are
 * called outside of read sections. */
int linux_file_load(struct linux_file *file, uint64_t offset);

/* Write back what is dirty. 0, or -1 with errno: what could not be written stays dirty. With the last reference the
 * rest is written, and nobody is told if it cannot be. */
int linux_file_sync(struct linux_file *file);

/* Unmap and drop the oldest page, written back first. 1; 0: there is none; -1 with errno: it stays. */
int linux_file_shrink(struct linux_file *file);

/* The file and the object. 0, or -1 with errno and nothing changed. */
int linux_file_truncate(struct linux_file *file, uint64_t size);

#endif
