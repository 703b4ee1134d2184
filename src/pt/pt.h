/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page table: root, format, configuration, counters and the CPUs that walk it. Embedded in a space, of which this
 * layer knows nothing but that `owner` is to be passed on to the HAL.
 */
#ifndef PT_PT_H
#define PT_PT_H

#include <aspace/dirty.h>
#include <aspace/fault.h>

#include "pt/area.h"
#include "pt/node.h"
#include "sync/bits.h"
#include "sync/smr.h"

enum { CPU_WORDS = ASPACE_CPUS_MAX / 64 };

/* The largest frame that is asked of an allocator or a backend: 1 GiB. What a leaf's frame needs is done page by page
 * in places (pins, copies, zeroes), and nobody can wait for 512 GiB of that. A linear leaf has no frame. */
enum { FRAME_ORDER_MAX = 18 };

struct aspace_pending;
struct pt;

/* pending.h. On a line that is written by what is pending only, and read by each range operation. */
struct pt_pending {
    uint32_t lock;
    uint32_t count; /* read without the lock */
    struct aspace_pending *first, **last;
    void (*revoke)(struct pt *pt, struct aspace_pending *p); /* under the lock */
} __attribute__((aligned(ASPACE_CACHE_LINE)));

/* Written by its own CPU only; sums are taken by readers. */
struct pt_cpu {
    uint64_t faults[ASPACE_FAULT_COUNT];
    int64_t tables, frames;
    uint64_t flushes, full_flushes, flushed_entries;
    uint64_t migrations, retries;
    uint64_t flush_seen;   /* generation that the CPU read when it last was activated */
    aspace_va_t next_va;   /* fault-around: where a sequential fault would come next */
    aspace_va_t find_next; /* where its last find in an arena ended */
    uint32_t window;       /* fault-around: pages */
    uint32_t active_count; /* nested activations */

    /* On a line apart from what faults and activation write: read by whoever locks a table that it concerns (R7). An
     * invalidation announced and not yet acknowledged; flush_end 0: none. */
    aspace_va_t flush_va __attribute__((aligned(ASPACE_CACHE_LINE)));
    aspace_va_t flush_end;
    uint64_t splits, collapses;
    uint64_t cow_copies, cow_takes;
} __attribute__((aligned(ASPACE_CACHE_LINE)));
_Static_assert(sizeof(struct pt_cpu) <= 256, "ASPACE_BYTES counts this much a CPU");

/* What an operation took away (aspace/watch.h). */
struct pt_gone {
    uint32_t kind; /* enum aspace_gone_kind */
    uint32_t rights;
    aspace_va_t va, end, new_va;
};

enum log_mode { LOG_OFF, LOG_FAULTS, LOG_HARDWARE };

/* The dirty log (pt/log.h): what faults and operations read of it; written by start and stop. */
struct pt_log {
    uint8_t mode;     /* enum log_mode */
    uint8_t withheld; /* ASPACE_W: leaves get that right by a write fault only; else 0 */
    uint8_t split;    /* a write fault splits large leaves */
    struct aspace_dirty_ring *rings;
    aspace_va_t va, end;
};

/* What every lookup reads comes first. */
struct pt {
    aspace_va_t base, end;
    uint64_t *root_slots;
    uint32_t walk_id;  /* F->id if read sections cost nothing, else ASPACE_FMT_COUNT: one comparison tells both */
    uint8_t top;       /* level of the root */
    uint8_t max_level; /* largest leaf level in use */
    uint16_t fault_around;
    const struct fmt *F;
    struct aspace_host *host;
    uint32_t gate;           /* CPU + 1 of the fork that is copying this table; 0: open (pt/gate.h) */
    uint8_t max_frame_level; /* largest leaf level of a frame that is not the embedder's: FRAME_ORDER_MAX */
    struct pt_log log;
    struct fmt_ctx C;
    struct node *root;
    struct pt_cpu *cpu;
    uint32_t tag;
    uint32_t deferred; /* something of this table went to a deferred list at some time: written once */
    uint64_t
        zero_leaf[16]; /* leaf of level 0, default attribute, address 0, by rights; 0: cannot be expressed, or a log
                               withholds the write right */
    struct aspace *owner;
    uint64_t quota_tables, quota_frames;
    aspace_pa_t root_pa;
    void (*gone)(struct pt *pt, const struct pt_gone *gone); /* tells the watchers; NULL while there are none */

    /* Shared and written, apart from what is only read: quotas where they are set ... */
    uint64_t used_tables __attribute__((aligned(ASPACE_CACHE_LINE)));
    uint64_t used_frames;

    /* ... and what activation and flushes tell each other. */
    uint64_t flush_generation __attribute__((aligned(ASPACE_CACHE_LINE)));
    uint64_t active[CPU_WORDS];
    uint64_t known[CPU_WORDS]; /* CPUs that were active at some time */

    struct pt_pending pending;
    uint32_t log_lock __attribute__((aligned(ASPACE_CACHE_LINE))); /* one start, harvest or stop at a time */
};

/* Between the flush and the release of what an operation took, outside of its locks and its section. */
static inline void pt_tell(struct pt *pt, const struct pt_gone *gone)
{
    void (*tell)(struct pt *, const struct pt_gone *) = seam_load_acquire(&pt->gone);
    if (UNLIKELY(tell != NULL))
        tell(pt, gone);
}

static inline struct pt_cpu *pt_this_cpu(struct pt *pt)
{
    return &pt->cpu[aspace_cpu_id()];
}

/* Counters have one writer each, so a load and a store are enough; atomic for the reader's sake. */
#define COUNT(counter, n) seam_store(&(counter), seam_load(&(counter)) + (n))

/* Account n tables (or 4 KiB frames) gained or lost; gaining more than the quota is refused. */
static inline bool pt_account(uint64_t *used, uint64_t quota, int64_t n)
{
    if (LIKELY(!quota))
        return true;
    if (n <= 0 || seam_add(used, (uint64_t)n) + (uint64_t)n <= quota) {
        if (n < 0)
            seam_add(used, (uint64_t)n);
        return true;
    }
    seam_add(used, (uint64_t)-n);
    return false;
}

static inline bool pt_account_tables(struct pt *pt, int64_t n)
{
    if (!pt_account(&pt->used_tables, pt->quota_tables, n))
        return false;
    COUNT(pt_this_cpu(pt)->tables, n);
    return true;
}

static inline bool pt_account_frames(struct pt *pt, int64_t n)
{
    if (!pt_account(&pt->used_frames, pt->quota_frames, n))
        return false;
    COUNT(pt_this_cpu(pt)->frames, n);
    return true;
}

/* The table that a slot of kind TABLE points to. */
static inline struct node *pt_child(const struct pt *pt, uint64_t e)
{
    return node_at(pt->host, fmt_table_pa(pt->F, e));
}

/* Log2 of the pages that a leaf of this level is. */
static inline unsigned level_order(const struct fmt *F, unsigned level)
{
    return F->shift[level] - 12u;
}

/* Fill slots [lo, hi) of a private table with one marker. */
static inline void slots_fill(uint64_t *slots, unsigned lo, unsigned hi, uint64_t e)
{
    fill_words(slots + lo, e, hi - lo);
}

/* For walkers that do not snoop. */
static inline void pt_clean(const struct pt *pt, const uint64_t *slots, size_t bytes)
{
    if (UNLIKELY(pt->host->hal->dcache_clean != NULL))
        pt->host->hal->dcache_clean(pt->host->ctx, slots, bytes);
}

/* Before a CPU may depend on entries stored by this one. */
static inline void pt_sync_walkers(const struct pt *pt, const uint64_t *slots, size_t bytes)
{
    pt_clean(pt, slots, bytes);
    aspace_walker_barrier();
}

/* Before a leaf with these rights is there: what was written to the frame can be fetched, if it may be. */
static inline void pt_sync_icache(const struct pt *pt, uint32_t rights, aspace_pa_t pa, uint64_t bytes)
{
    if (rights & ASPACE_X && pt->host->hal->icache_sync)
        pt->host->hal->icache_sync(pt->host->ctx, pa, bytes);
}

#endif
