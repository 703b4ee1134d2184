/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Area records: what the index in a mapping value stands for. Immutable once published but for the two counters; found
 * by index, lock-free; reused only after a grace period. Owns allocation of indices and of 64-bit ids.
 */
#ifndef PT_AREA_H
#define PT_AREA_H

#include "pt/slot.h"
#include "sync/bits.h"
#include "sync/host.h"

enum {
    AREA_OWNED = 1u << 0,   /* present leaves own their frames: freed to the HAL when unmapped */
    AREA_ZERO = 1u << 1,    /* unfilled pages are zero-filled frames of the default attribute */
    AREA_HUGE = 1u << 2,    /* a fault may use a huge frame */
    AREA_LINEAR = 1u << 3,  /* present leaves are pa + (va - va_base) */
    AREA_STATIC = 1u << 4,  /* a fault never fills: ARMED slots change under the lock only */
    AREA_CUSTOM = 1u << 5,  /* the backend is told of every page released */
    AREA_COUNT = 1u << 6,   /* faults are counted in the record */
    AREA_ROM = 1u << 7,     /* leaves never get the write right */
    AREA_PRIVATE = 1u << 8, /* CUSTOM: the backend's pages are copied before they are written */
    AREA_OBJECT = 1u << 9,  /* CUSTOM: ctx is a link (pt/rmap.h), by which others find, and hold, the record */
};

/* Who frees a frame that is no longer mapped. */
enum frame_owner { FRAME_BORROWED, FRAME_BACKEND, FRAME_UNIQUE, FRAME_COUNTED };

/* What faults and lookups read is in the first line. */
struct area {
    aspace_va_t va_base; /* of the map call: offsets count from here for as long as any page of it lives */
    aspace_pa_t pa;      /* LINEAR, ROM: of va_base */
    uint64_t id;
    uint64_t cookie;
    uint64_t offset; /* CUSTOM: object offset of va_base */
    const struct aspace_backend *backend;
    void *ctx;
    uint8_t kind, max_rights, attr, fork;
    uint8_t max_level;
    uint16_t flags;

    /* A line of its own: faults and lookups read the one above, each unmap of a part of the area writes this one. */
    uint64_t pages __attribute__((aligned(64))); /* 4 KiB pages still mapped or awaiting release; 0: the record dies */
    uint64_t faults;                             /* with AREA_COUNT */
    uint64_t size;
    const struct aspace_doorbell *doorbells;
    uint32_t doorbell_count;
    uint32_t index;
    struct area
        *next_dead;      /* on the list of a CPU, or of an operation; of one in use, its twin during a fork, or NULL */
    struct area *origin; /* CUSTOM, moved: the record of the map call, whose end the backend is told; else NULL */
    uint32_t holds;      /* 1 for its pages, and 1 for each record that names it as origin */
} __attribute__((aligned(128)));
_Static_assert(sizeof(struct area) == 128, "thirty-one records and a header share a page");

/* A record with an index of its own, all else for the caller to fill in; NULL when out of memory or indices. */
struct area *area_alloc(struct aspace_host *host);
void area_free(struct aspace_host *host, struct area *area);
uint64_t area_new_id(struct aspace_host *host);

static inline struct area *area_get(const struct aspace_host *host, uint32_t index)
{
    struct area *page = seam_load_acquire(&seam_load_acquire(&host->area_dir[index >> 14])[index >> 5 & 511]);
    return page + (index & 31);
}

static inline struct area *value_area(const struct aspace_host *host, value_t v)
{
    return area_get(host, VALUE_INDEX(v));
}

/* What a record that has its index says of its range, but for the id, is to be as another says, which lives: what that
 * one counts may change meanwhile. */
static inline void area_copy(struct area *to, const struct area *from)
{
    memcpy(to, from, offsetof(struct area, pages));
    to->pages = to->faults = 0;
    to->size = from->size;
    to->doorbells = from->doorbells;
    to->doorbell_count = from->doorbell_count;
    to->next_dead = to->origin = NULL;
    to->holds = 1;
}

/* n pages of the area are no longer mapped. Returns whether they were the last. Who takes away all that is left needs
 * no atomic for it: nobody else has a page to take away, or to add to, but for who holds an object's area. */
static inline bool area_take_pages(struct area *area, uint64_t n)
{
    if (!n)
        return false;
    if (!(area->flags & AREA_OBJECT) && seam_load_acquire(&area->pages) == n)
        return true;
    return seam_sub_acq_rel(&area->pages, n) == n;
}

/* n pages that a release is about to take back stay mapped, to other frames or to none. */
static inline void area_keep_pages(struct area *area, uint64_t n)
{
    seam_add(&area->pages, n);
}

/* How ARMED slots of this area are marked. */
static inline uint64_t area_how(const struct area *area)
{
    bool plain = (area->flags & (AREA_ZERO | AREA_COUNT)) == AREA_ZERO;
    return (plain ? SLOT_ZERO : 0) | (area->flags & AREA_HUGE ? SLOT_HUGE : 0);
}

/* Of a leaf or parked slot with these soft bits. */
static inline enum frame_owner area_frame_owner(const struct area *area, unsigned soft)
{
    if (soft & SOFT_COUNTED)
        return FRAME_COUNTED;
    if (soft & SOFT_OWN || area->flags & AREA_OWNED)
        return FRAME_UNIQUE;
    return area->flags & AREA_CUSTOM ? FRAME_BACKEND : FRAME_BORROWED;
}

/* Has a page of a backend's been written through this leaf or parked slot? Where hardware does not tell, it is written
 * if it may have been. */
static inline bool area_page_dirty(const struct fmt *F, const struct area *area, unsigned level, uint64_t e)
{
    return slot_dirty(F, level, e) && area->max_rights & ASPACE_W && !(area->flags & AREA_PRIVATE);
}

/* Rights of a leaf where the value says `rights`: a page that must be copied before it is written lacks one. */
static inline uint32_t area_leaf_rights(const struct area *area, unsigned soft, uint32_t rights)
{
    bool copied = soft & SOFT_COUNTED || (area->flags & AREA_PRIVATE && !soft);
    return copied || area->flags & AREA_ROM ? rights & ~(uint32_t)ASPACE_W : rights;
}

/* Give cached indices and empty record pages back: no other call may be in progress on the host. */
void area_trim(struct aspace_host *host);

#endif
