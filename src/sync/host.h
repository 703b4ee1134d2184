/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host: what all spaces of one instance share. Owns the layout of struct aspace_host and of its per-CPU parts;
 * the pieces are worked by sync/smr.c (reclamation), pt/pool.c (tables) and pt/area.c (records).
 */
#ifndef ASPACE_SYNC_HOST_H
#define ASPACE_SYNC_HOST_H

#include <aspace/aspace.h>

#include "sync/seam.h"

enum {
    MAGAZINE = 64,         /* tables a CPU keeps at hand */
    RECORDS_AT_HAND = 256, /* indices of records: they come back from the deferred list by the score */
    AREA_DIRECTORY = 512,  /* pages of record pages: 512 * 512 * 32 indices */
    SMR_HOOKS = 2,         /* the embedder's own reclamation */
    EMERGENCY_PAGES = 4,   /* held back so that an unmap of whole areas cannot fail */
    SHARE_LOCKS = 16,      /* of the counts of shared frames */
};

struct share_lock {
    uint32_t lock;
} __attribute__((aligned(ASPACE_CACHE_LINE)));

struct node;
struct area;

struct host_cpu {
    /* Written by its own CPU, read by whoever waits for a grace period. 0: not in a section (EPOCH), offline (QSBR). */
    uint64_t smr_seen;
    uint32_t smr_nest; /* own CPU only */

    /* On a line of its own: whoever waits for a grace period does not take the rest away. Guards what is below up to
     * `releasing`; taken by others only to drain. */
    uint32_t limbo_lock __attribute__((aligned(ASPACE_CACHE_LINE)));
    uint32_t n_dead;          /* records in dead_open */
    struct node *limbo_open;  /* page being filled */
    struct node *limbo_first; /* closed pages, oldest first */
    struct node *limbo_last;
    struct area *dead_open;   /* records that nothing maps any more */
    struct area *dead_closed; /* ... before dead_goal */
    uint64_t dead_goal;
    uint32_t releasing; /* items taken from a list are being freed by this CPU */

    /* Whose table this CPU is in on behalf of an object (pt/rmap.h): read by who destroys a space. */
    const void *visiting;
    const void *leaving; /* the table that this CPU has emptied, to destroy it: nobody is to begin to visit it */

    uint32_t limbo_polls; /* own CPU only: not every operation asks whether a grace period has passed */
    uint32_t n_tables; /* own CPU only, as are all below; aspace_trim requires that no call is in progress elsewhere */
    uint32_t n_areas;
    uint64_t id_next, id_end; /* block of 64-bit ids */
    struct node *tables[MAGAZINE];
    uint32_t areas[RECORDS_AT_HAND];
} __attribute__((aligned(ASPACE_CACHE_LINE)));

struct aspace_host {
    const struct aspace_hal *hal;
    void *ctx;
    uint32_t cpus;
    uint32_t chunk_order;
    uint32_t full_flush_entries;
    uint32_t smr; /* enum aspace_smr, or SMR_HOOKS */
    uint32_t share_max;
    uint64_t chunk_mask; /* of a physical address: the begin of its chunk */

    uint32_t n_emergency; /* guarded by `lock`, read at each free of a page, written only when memory was short */

    /* Read by each section: alone, so that nothing else that changes takes the line away. */
    uint64_t smr_epoch __attribute__((aligned(ASPACE_CACHE_LINE)));

    uint32_t lock __attribute__((aligned(ASPACE_CACHE_LINE))); /* guards what follows but for the two that are atomic */
    uint32_t area_pages;                                       /* record pages, free or not: the next to grow at */
    struct chunk *chunks;                                      /* chunks with a free page, in no order */
    struct node *emergency;
    struct node *area_partial; /* record pages with free slots */
    uint64_t next_id;          /* atomic */
    uint64_t spaces;           /* atomic */
    uint64_t leaving;          /* atomic: CPUs whose `leaving` is set */

    /* Counts of shared frames (pt/shares.h): pages are added under `lock` and found without it. */
    void *share_root __attribute__((aligned(ASPACE_CACHE_LINE)));
    void *pin_root; /* the same of pinned frames (pt/pins.h) */
    /* Pins held; read by whoever frees frames, 0 nearly always. Apart from the roots, which write faults read. */
    uint64_t pinned __attribute__((aligned(ASPACE_CACHE_LINE)));
    struct share_lock shares[SHARE_LOCKS];

    /* Guarded by `lock`, read by whoever looks a record up. */
    struct area **area_dir[AREA_DIRECTORY] __attribute__((aligned(ASPACE_CACHE_LINE)));

    struct host_cpu cpu[];
};

_Static_assert(sizeof(struct aspace_host) <= 8192, "ASPACE_HOST_BYTES covers the host");
_Static_assert(sizeof(struct host_cpu) <= 2048, "ASPACE_HOST_BYTES covers a CPU");

static inline struct host_cpu *host_this_cpu(struct aspace_host *host)
{
    unsigned id = aspace_cpu_id();
    ASSERT(id < host->cpus);
    return &host->cpu[id];
}

/* The tag a CPU locks with: never 0. */
static inline uint32_t host_lock_tag(void)
{
    return (uint32_t)aspace_cpu_id() + 1;
}

#endif
