/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty log as the table sees it. That a page was written is the dirty flag of its leaf, in either mode. While a
 * log by write faults is on, the write right is withheld from every leaf that does not have it already; only a write
 * fault gives it, under the table's lock (log_grant), and the flag with it. So a leaf with the right has the flag.
 * Owns who may give the write right; must not know how flags are harvested.
 *
 *   L1  A leaf gets the write right under the lock of its table, together with its flag, or keeps it.
 *   L2  A harvest takes right and flag under the same lock, and its flush is acknowledged before it returns. Until
 *       then memory may lack a right that a TLB has: who takes the right from an area flushes, whatever the leaf says
 *       (log_may_hide).
 */
#ifndef PT_LOG_H
#define PT_LOG_H

#include "pt/pt.h"

/* What of `rights` a new leaf may have. */
static inline uint32_t log_new_rights(const struct pt *pt, uint32_t rights)
{
    uint32_t less = rights & ~(uint32_t)seam_load(&pt->log.withheld);
    if (LIKELY(less == rights))
        return rights;
    return fmt_rights_ok(pt->F, &pt->C, less) ? less : rights;
}

/* What of `rights` the LEAF or PARKED entry e may be changed to have: what is withheld it keeps. */
static inline uint32_t log_kept_rights(const struct pt *pt, unsigned level, uint64_t e, uint32_t rights)
{
    bool has = fmt_present(pt->F, level, e) && fmt_leaf_rights(pt->F, &pt->C, e) & ASPACE_W;
    return has ? rights : log_new_rights(pt, rights);
}

/* L2: may a TLB have the write right where the value had it, although the leaf does not? */
static inline bool log_may_hide(const struct pt *pt)
{
    return UNLIKELY(seam_load(&pt->log.mode) == LOG_FAULTS);
}

/* Is the dirty flag of the page at va for the log to take? In a section: until it is left, no other log begins. */
static inline bool log_wants_flag(const struct pt *pt, aspace_va_t va)
{
    return seam_load_acquire(&pt->log.mode) != LOG_OFF && va >= seam_load(&pt->log.va) && va < seam_load(&pt->log.end);
}

/* `leaf`, made of an entry with these flags. Where no hardware sets flags, those of a leaf with all rights are set. */
static inline uint64_t log_with_flags(const struct pt *pt, uint64_t leaf, bool accessed, bool dirty)
{
    const struct fmt *F = pt->F;
    return fmt_with_ad(F, leaf, accessed | fmt_accessed(F, leaf), dirty | fmt_dirty(F, leaf));
}

/* What `leaf`, the new entry of the page at va, becomes for a write fault. The caller holds the lock of its table and
 * stores the entry before the unlock; in a section. */
uint64_t log_grant(struct pt *pt, aspace_va_t va, unsigned level, uint64_t leaf, uint32_t rights);

/* The leaf's flag has been, or is about to be set, under the lock of its table. */
void log_push(struct pt *pt, aspace_va_t va, unsigned level);

#endif
