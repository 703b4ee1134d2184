/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty log: which pages were written. For live migration, snapshots and replication. One log a space at a time.
 *
 * A page is dirty from the first write on that a CPU, aspace_write or aspace_compare_exchange makes, until a harvest
 * has told it. No write is lost: one made before a harvest returns is told by that harvest or by the next. The flag
 * goes with the page through protect, migrate, move, split, collapse and copies on write. What the caller changes by
 * other means is not told: map, unmap, discard and move; an unmapped or discarded page takes its flag with it, as does
 * one that its object evicts (watch.h tells), one that is mapped or filled anew is clean until it is written, and one
 * that was moved is as dirty at its new address as it was, though nothing of it was told for that address. Devices,
 * and writers through aspace_segments, say what they wrote by aspace_dirty_mark. A backend that writes dirty pages back
 * is told of each flag of its pages that a harvest takes (backend.h, object.h). A fork goes on with the parent's log;
 * the child has none, and may begin one of its own.
 *
 * Two modes. Both keep the flag in the entry itself.
 *   WRITE_PROTECT   for every format. While the log is on, pages get the right to write by a write fault only; a
 *                   harvest takes it from them again. aspace_translate tells the rights without W then.
 *   HARDWARE        where CPUs set dirty flags (ASPACE_FEAT_AD). No faults; a harvest clears the flags.
 *
 * Large leaves are told as a whole, as are contiguous runs in mode HARDWARE. A leaf that is in the range of a harvest
 * in part only is told each time, and so is one that the format cannot express without W.
 */
#ifndef ASPACE_DIRTY_H
#define ASPACE_DIRTY_H

#include <aspace/aspace.h>

#ifdef __cplusplus
extern "C" {
#endif

enum aspace_dirty_mode { ASPACE_DIRTY_WRITE_PROTECT, ASPACE_DIRTY_HARDWARE };

enum {
    ASPACE_DIRTY_SPLIT = 1u << 0, /* WRITE_PROTECT: a write to a large leaf splits it, and is told by the page; without
                                     memory for that, by the leaf */
};

/* The pages that were granted the right to write, of one CPU, in caller's memory. What did not fit is not lost: the
 * flags stay in the entries. */
struct aspace_dirty_ring {
    uint64_t *pages;  /* caller's: room for `entries` */
    uint32_t entries; /* a power of two */
    uint32_t tail;    /* the library's from here on, zeroed by start */
    uint32_t head __attribute__((aligned(ASPACE_CACHE_LINE)));
    uint32_t overflow;
};

struct aspace_dirty_config {
    enum aspace_dirty_mode mode;
    uint32_t flags;                  /* ASPACE_DIRTY_* */
    aspace_va_t va;                  /* what is harvested; 4 KiB aligned */
    uint64_t size;                   /* bytes; 0: the whole space */
    struct aspace_dirty_ring *rings; /* WRITE_PROTECT: one for each CPU of the host, valid until stop; NULL: none */
};

/*
 * Begin. All pages are clean on return; writes made before are not told. TLB: as after a harvest. Context: waits for a
 * grace period, so not inside a read section. Failure: INVALID, RANGE, CLOSED, UNSUPPORTED (no hardware flags), BUSY
 * (there is a log, or another CPU is at it). Cost: a harvest.
 */
ASPACE_MUST_CHECK int aspace_dirty_start(struct aspace *space, const struct aspace_dirty_config *config);

/*
 * Which pages were written since the last harvest, as aspace_harvest_accessed: bit n of bitmap[n / 64] is set or
 * cleared for the page at va + n * 4096. The range is one of the log's. bitmap: caller's, (size / 4096 + 63) / 64
 * words; *dirty (may be NULL): how many bits are set. A harvest of all of the log's range empties the rings too.
 * Context: not in a read section, as a fork is waited for; one table is locked at a time; allocates nothing. TLB: on
 * return no CPU can write a page that was told without its flag being set again. Failure: INVALID, RANGE, CLOSED,
 * NOT_MAPPED (no log), BUSY (another harvest).
 * Cost: the slots of the tables in range, a compare-and-swap for each dirty leaf, one invalidation.
 */
ASPACE_MUST_CHECK int aspace_harvest_dirty(struct aspace *space, aspace_va_t va, uint64_t size, uint64_t *bitmap,
                                           uint64_t *dirty);

/*
 * The same from the rings: ranges[] are dirty pages, adjacent ones joined, in no order, none twice but what is written
 * again meanwhile. *count is the room (at least 1) on entry, the number used on return. MORE: the room is used up; call
 * again. LIMIT: a ring was too small since the rings were last emptied, or there are leaves that are told each time;
 * what is told is not all: harvest the whole range by bitmap next. Failure: INVALID, CLOSED, NOT_MAPPED (no log),
 * UNSUPPORTED (it has no rings), BUSY. Cost: the pages written.
 */
ASPACE_MUST_CHECK int aspace_drain_dirty(struct aspace *space, struct aspace_range *ranges, size_t *count);

/* Pages of [va, va + size) that are mapped by a leaf are dirty: what a device wrote. Without a log it is kept for
 * nobody. Context: not in a read section, as a fork is waited for: so after the one that the segments were used in.
 * Failure: INVALID, RANGE, CLOSED. */
ASPACE_MUST_CHECK int aspace_dirty_mark(struct aspace *space, aspace_va_t va, uint64_t size);

/* End. Writable pages have their right back on return, but a backend's, which is asked at the next write; the rings are
 * the caller's again. Context: as start. Failure: NOT_MAPPED (no log), BUSY (a harvest), CLOSED: too late, and the
 * rings are the library's until the space is destroyed. Cost: the slots of all tables, no invalidation. */
ASPACE_MUST_CHECK int aspace_dirty_stop(struct aspace *space);

#ifdef __cplusplus
}
#endif
#endif
