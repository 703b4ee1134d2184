/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the embedder supplies at run time: one constant struct of functions, and a context pointer handed back to each.
 * Every member may be called by several CPUs at once, and with page-table locks held unless said otherwise: none may
 * block, and none may call back into the library, except where it says so.
 */
#ifndef ASPACE_HAL_H
#define ASPACE_HAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t aspace_va_t; /* input address: guest-physical in stage 2, virtual in stage 1; bytes */
typedef uint64_t aspace_pa_t; /* output address: host-physical; bytes */

#define ASPACE_PA_NONE UINT64_MAX /* no address: never the address of a frame */

/* Flags of aspace_hal.alloc. */
enum {
    ASPACE_ALLOC_ZERO = 1u << 0,  /* contents must be zero */
    ASPACE_ALLOC_TABLE = 1u << 1, /* for page tables and their descriptors, not for data */
};

/*
 * One TLB invalidation. Everything cached for the tag (VMID or ASID) in [va, end) must be gone from every CPU of
 * `active` (and from the local CPU if it is a member) when tlb_flush, or tlb_wait where there is one, returns. CPUs
 * outside the set need nothing: aspace_activate tells them to flush the tag before they use it again.
 */
struct aspace_flush {
    uint64_t tag;           /* VMID or ASID of the space, as aspace_config.tag */
    aspace_va_t va;         /* first byte */
    aspace_va_t end;        /* one past the last byte */
    uint64_t root;          /* physical address of the root table */
    uint64_t entries;       /* how many leaves changed, as a cost hint */
    uint32_t stride_lg2;    /* smallest leaf size in the range, log2 of bytes: the step for invalidation by address */
    uint32_t max_lg2;       /* largest leaf that may be cached, log2 of bytes: level hint when equal to stride_lg2 */
    bool leaf_only;         /* no table was unlinked: walk caches may stay */
    bool full;              /* above the tunable threshold: invalidate the whole tag */
    bool stage2;            /* the format is a second stage */
    bool global;            /* leaves hold for every tag (ASPACE_FEAT_GLOBAL): invalidate them whatever the tag */
    const uint64_t *active; /* CPUs that may hold translations: bit n of word n/64 */
    unsigned active_words;  /* number of 64-bit words in `active` */
    struct aspace *space;   /* whose tables */
};

/* How many mappings share a frame, as the library counts them; both are zero when a frame is allocated or freed. */
struct aspace_frame_counts {
    uint32_t sharers, whole;
};

struct aspace_hal {
    /*
     * Allocate 2^order frames of 4 KiB, aligned to their size. Returns ASPACE_PA_NONE when out of memory. Called
     * without any lock of the library held, but inside a read section by faults: must not wait for a grace period.
     * Required.
     */
    aspace_pa_t (*alloc)(void *ctx, unsigned order, unsigned flags);

    /* Give back 2^order frames. A huge frame may come back in smaller, aligned pieces, each once. Called without
     * locks, from any CPU. Required. */
    void (*free)(void *ctx, aspace_pa_t pa, unsigned order);

    /* Allocate up to n single data frames into pa[]; returns how many. Optional: absent, alloc is called n times. */
    size_t (*alloc_batch)(void *ctx, aspace_pa_t *pa, size_t n, unsigned flags);

    /* Free n single frames. Optional: absent, free is called n times. */
    void (*free_batch)(void *ctx, const aspace_pa_t *pa, size_t n);

    /* Start an invalidation; may return before it is complete if tlb_wait is there. Required for a space that is ever
     * activated; absent means that no CPU of this host walks the tables. */
    void (*tlb_flush)(void *ctx, const struct aspace_flush *flush);

    /* Wait until every CPU has acknowledged `flush`. While it waits it must serve requests of others. Optional: absent
     * means that tlb_flush is synchronous. */
    void (*tlb_wait)(void *ctx, const struct aspace_flush *flush);

    /* Invalidate everything of one tag on the calling CPU: for aspace_activate. Optional where tags are not used. */
    void (*tlb_flush_local)(void *ctx, uint64_t tag, bool stage2);

    /* Make freshly written instructions in [pa, pa+bytes) fetchable on every CPU: called before a page with contents
     * becomes executable (a backend's page, protect, migrate, collapse). Not for zero-filled frames, in which nothing
     * can be executed before someone writes instructions and does what the architecture asks of a writer. Optional:
     * absent means that the caches are coherent. */
    void (*icache_sync)(void *ctx, aspace_pa_t pa, uint64_t bytes);

    /* Write back [p, p+bytes) so that a table walker that does not snoop the caches sees it. Optional: absent means
     * that walkers are coherent. */
    void (*dcache_clean)(void *ctx, const void *p, size_t bytes);

    /* The two counts of the frame at pa, where the embedder has a record for each frame. Optional: absent, the library
     * keeps a sparse table, a page for each 2 MiB in which a frame was shared by a fork. */
    struct aspace_frame_counts *(*frame_counts)(void *ctx, aspace_pa_t pa);

    /* The embedder's own safe memory reclamation. All four or none; none means the library's own (ASPACE_SMR_*). */
    void (*smr_enter)(void *ctx);
    void (*smr_leave)(void *ctx);
    uint64_t (*smr_goal)(void *ctx);              /* a point in time after every section entered before now */
    bool (*smr_passed)(void *ctx, uint64_t goal); /* has every section entered before that goal ended? */

    /* Wake who waits for another's asynchronous fault (aspace/ticket.h): what it finds out is stored before the call.
     * At most once for each WAITING answer. Optional: absent, aspace_ticket_state has to be polled. */
    void (*wake)(void *ctx, void *waiter);
};

#endif
