/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory whose contents are somewhere else: on the machine that a guest is migrating from, or swapped out. A fault on a
 * page that is not here answers NEEDS_IO, and the offset waits to be taken by whoever fetches. Owns the pages that are
 * here; must not know where the others are.
 */
#ifndef ASPACE_LINUX_REMOTE_OBJECT_H
#define ASPACE_LINUX_REMOTE_OBJECT_H

#include "page_cache.h"

struct linux_remote {
    struct aspace_object object; /* first */
    struct linux_cache cache;    /* its lock guards all of this */
    uint64_t *wanted;            /* bit n: a fault has asked for page n since it was last taken */
    uint64_t pages;
    void (*released)(struct linux_remote *remote); /* may be NULL */
};

/* 0, or -1 with errno. */
int linux_remote_init(struct linux_remote *remote, struct aspace_host *host, uint64_t size);

/* A page that somebody waits for, which is from now on the caller's to fetch. False: there is none. It can be asked for
 * by a fault whose ticket is not armed yet when it has come: who leads looks once more before he waits for it. */
bool linux_remote_take(struct linux_remote *remote, uint64_t *offset);

/* The contents of a page have come. 0; -1 with errno: EINVAL (there is no page of this offset), EEXIST (it is here),
 * ENOMEM. */
int linux_remote_fill(struct linux_remote *remote, uint64_t offset, const void *contents);

/* Send a page away: unmapped everywhere, its contents copied out. Outside of read sections. 0; -1 with errno:
 * ENOENT. */
int linux_remote_drop(struct linux_remote *remote, uint64_t offset, void *contents);

#endif
