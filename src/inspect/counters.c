/* SPDX-License-Identifier: BSD-2-Clause */
/* Counters of a space and of an area: sums of what each CPU counted, and walks for what is not counted at all. */
#include <aspace/inspect.h>

#include "inspect/scan.h"
#include "space/space.h"
#include "sync/bits.h"

_Static_assert((int)ASPACE_LEVELS_MAX == (int)FMT_LEVELS_MAX, "a counter a level");

static void sum_cpus(const struct pt *pt, struct aspace_counters *sum)
{
    int64_t tables = 0, frames = 0;
    for (uint32_t i = 0; i < pt->host->cpus; i++) {
        const struct pt_cpu *c = &pt->cpu[i];
        for (unsigned r = 0; r < ASPACE_FAULT_COUNT; r++)
            sum->faults[r] += seam_load(&c->faults[r]);
        tables += seam_load(&c->tables);
        frames += seam_load(&c->frames);
        sum->flushes += seam_load(&c->flushes);
        sum->full_flushes += seam_load(&c->full_flushes);
        sum->flushed_entries += seam_load(&c->flushed_entries);
        sum->splits += seam_load(&c->splits);
        sum->collapses += seam_load(&c->collapses);
        sum->migrations += seam_load(&c->migrations);
        sum->cow_copies += seam_load(&c->cow_copies);
        sum->cow_takes += seam_load(&c->cow_takes);
        sum->retries += seam_load(&c->retries);
    }
    /* One CPU may lose what another gained, and the two were read at different times. */
    sum->tables = tables > 0 ? (uint64_t)tables : 0;
    sum->frames = frames > 0 ? (uint64_t)frames : 0;
}

void aspace_counters_read(struct aspace *s, struct aspace_counters *counters)
{
    struct scan scan;
    struct scan_slot slot;
    memset(counters, 0, sizeof *counters);
    sum_cpus(&s->pt, counters);
    if (seam_load(&s->state) == SPACE_CLOSED)
        return;
    scan_begin(&scan, &s->pt, s->pt.base, s->pt.end);
    while (scan_next(&scan, &slot))
        counters->mapped[slot.level] += slot.kind == SLOT_LEAF;
    scan_end(&scan);
}

static void count_slot(const struct scan_slot *slot, const struct area *area, struct aspace_area_counters *c)
{
    bool filled = slot->kind == SLOT_LEAF || slot->kind == SLOT_PARKED;
    c->mapped[slot->level] += slot->kind == SLOT_LEAF;
    if (filled && area->flags & AREA_OWNED)
        c->frames += (slot->end - slot->va) >> 12;
    if (slot->kind == SLOT_ARMED && !(area->flags & AREA_STATIC))
        c->unfilled += slot->end - slot->va;
}

int aspace_area_counters_read(struct aspace *s, aspace_va_t va, struct aspace_area_counters *counters)
{
    struct aspace_area extent;
    struct scan scan;
    struct scan_slot slot;
    uint64_t last_id = 0;
    memset(counters, 0, sizeof *counters);
    if (!space_contains(s, va))
        return ASPACE_E_RANGE;
    int rc = aspace_next(s, va, &extent);
    if (rc == ASPACE_E_OK && extent.va > va)
        rc = ASPACE_E_NOT_MAPPED;
    if (rc)
        return rc;
    scan_begin(&scan, &s->pt, extent.va, extent.va + extent.size);
    while (scan_next(&scan, &slot)) {
        if (!slot.value)
            continue;
        const struct area *area = value_area(s->pt.host, slot.value);
        count_slot(&slot, area, counters);
        if (area->flags & AREA_COUNT && area->id != last_id)
            counters->faults += seam_load(&area->faults);
        last_id = area->id;
    }
    scan_end(&scan);
    return ASPACE_E_OK;
}
