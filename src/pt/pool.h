/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pool of table pages: chunks of 2^chunk_order frames from the HAL, handed out as pages (and aligned runs, for
 * roots), through a magazine per CPU. Owns which page is free; knows nothing of what a page is used for: tables, dense
 * values, area records and deferred lists all live in these pages.
 */
#ifndef PT_POOL_H
#define PT_POOL_H

#include "pt/node.h"

#include "sync/bits.h"

/* One page: its descriptor has only `order` and `next` defined. NULL: out of memory. Outside of locks. */
struct node *pool_alloc(struct aspace_host *host);

/* An aligned run of 2^order pages; its descriptor is that of its first page. */
struct node *pool_alloc_run(struct aspace_host *host, unsigned order);

void pool_free(struct aspace_host *host, struct node *page);

/* Chunks that hold at least n free pages altogether. False: out of memory. */
bool pool_reserve(struct aspace_host *host, uint64_t n);

/* Fill, and use, the pages held back for what must not fail. */
bool pool_fill_emergency(struct aspace_host *host);
struct node *pool_alloc_emergency(struct aspace_host *host);

/* Return all free chunks to the HAL: no other call may be in progress on the host. */
void pool_trim(struct aspace_host *host);

#endif
