/* SPDX-License-Identifier: BSD-2-Clause */
/* Granting the write right while a dirty log is on, and the producers' side of its rings. */
#include "pt/log.h"

/* One producer a ring: its CPU, in a section and with a table locked. */
void log_push(struct pt *pt, aspace_va_t va, unsigned level)
{
    struct aspace_dirty_ring *rings = seam_load_acquire(&pt->log.rings);
    if (!rings)
        return;
    struct aspace_dirty_ring *r = &rings[aspace_cpu_id()];
    uint32_t head = seam_load(&r->head);
    if (head - seam_load_acquire(&r->tail) >= r->entries) {
        seam_store_release(&r->overflow, 1);
        return;
    }
    seam_store(&r->pages[head & (r->entries - 1)], (va & ~(slot_span(pt->F, level) - 1)) | level);
    seam_store_release(&r->head, head + 1);
}

/* Whoever finds the page in the ring waits for the lock before it looks at the leaf. */
uint64_t log_grant(struct pt *pt, aspace_va_t va, unsigned level, uint64_t leaf, uint32_t rights)
{
    if (!log_may_hide(pt) || !(rights & ASPACE_W))
        return leaf;
    log_push(pt, va, level);
    leaf = fmt_with_rights(pt->F, &pt->C, level, leaf, rights);
    return log_with_flags(pt, leaf, false, true);
}
