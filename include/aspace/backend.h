/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A backend supplies frames and verdicts for an area; the core alone writes page tables and owns the TLB. The same
 * contract serves the library's own backends and an embedder's. Functions hold no per-fault state: all they need is
 * passed in. They are called without page-table locks, unless said otherwise, and may be called by several CPUs at
 * once. `fill` is called inside of a read section, `release` and `unmapped` by whatever call frees what was deferred,
 * faults and forks among them: none of these may call what waits or changes a space.
 */
#ifndef ASPACE_BACKEND_H
#define ASPACE_BACKEND_H

#include <aspace/fault.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One page that is wanted. */
struct aspace_fill {
    struct aspace *space;
    void *ctx; /* aspace_map.backend_ctx */
    uint64_t area_id;
    aspace_va_t va;     /* page aligned */
    uint64_t offset;    /* object offset of va, bytes */
    uint32_t access;    /* what is being attempted */
    uint32_t rights;    /* what the area allows now */
    unsigned max_order; /* a frame of up to 2^max_order pages could be used: va is aligned for it */
};

/* What the backend supplies. */
struct aspace_page {
    aspace_pa_t pa;  /* contents final before fill returns */
    unsigned order;  /* 0, or at most max_order: pa and va aligned to it */
    uint32_t rights; /* the rights to map with, a subset of fill.rights; 0 means fill.rights */
};

struct aspace_backend {
    const char *name;

    /*
     * Supply the page for a fault. DONE with *page filled, or any other answer, which the fault then gives. Must not
     * block: answer WOULD_BLOCK or NEEDS_IO. If another CPU was faster, `release` is called for the page at once. One
     * that was given with fewer rights is asked for again when an access needs more: the same page, which `release` is
     * then told of once more.
     */
    enum aspace_fault_result (*fill)(const struct aspace_fill *fill, struct aspace_page *page);

    /* A page that fill supplied is no longer mapped: no CPU can reach it and no reader holds it. NULL: frames are
     * borrowed and nobody needs to know. Called without locks, once a page (or piece of a huge page). */
    void (*release)(void *ctx, uint64_t offset, aspace_pa_t pa, unsigned order);

    /* A page that fill supplied was written through a mapping that is no more: called before `release`. Where hardware
     * keeps no dirty flags, for every page that could have been written. Also when a dirty log (dirty.h) takes the
     * flag of a page, which stays mapped and may be told again: then with a page table locked, so this must neither
     * block nor call the library. NULL: nobody needs to know. */
    void (*dirty)(void *ctx, uint64_t offset, aspace_pa_t pa, unsigned order);

    /* A fork is about to map, in the child, what area_id maps in the parent, with the same ctx: as child_id, for which
     * `unmapped` will be called too. Pages of the backend's are not taken over: the child's faults ask for them. OK, or
     * an error which the fork then gives. NULL: nothing is to be done. Nothing else changes the parent meanwhile. */
    int (*forked)(void *ctx, uint64_t area_id, uint64_t child_id);

    /* The last page of the mapping is gone, and nothing of the library will use ctx again. May be NULL. */
    void (*unmapped)(void *ctx, uint64_t area_id);
};

#ifdef __cplusplus
}
#endif
#endif
