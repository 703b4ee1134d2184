/* SPDX-License-Identifier: BSD-2-Clause */
/* What was written and what harvests of the dirty log told, in the order of a schedule. Owns that promise's check. */
#include "explore.h"

#include <string.h>

#include <aspace/dirty.h>

static struct {
    uint64_t now;
    uint64_t written[PAGES], told[PAGES]; /* 0: never */
    bool gone[PAGES];
} log_;

void dirty_forget(void)
{
    memset(&log_, 0, sizeof log_);
}

void dirty_written(uint64_t page)
{
    log_.written[page] = ++log_.now;
}

void dirty_gone(const struct operation *op)
{
    bool takes = op->kind == OP_UNMAP || op->kind == OP_REPLACE || op->kind == OP_DISCARD;
    for (unsigned p = op->page; takes && p < op->page + op->pages; p++)
        log_.gone[p] = true;
}

int dirty_harvest(unsigned page, unsigned pages)
{
    uint64_t bits = 0;
    int rc;
    while ((rc = aspace_harvest_dirty(machine.space, page * PAGE, pages * PAGE, &bits, NULL)) == ASPACE_E_BUSY)
        aspace_pause();
    log_.now++;
    for (unsigned p = 0; rc == ASPACE_OK && p < pages; p++)
        if (bits >> p & 1)
            log_.told[page + p] = log_.now;
    return rc;
}

void dirty_check(void)
{
    if (dirty_harvest(0, PAGES) == ASPACE_E_NOT_MAPPED)
        return;
    for (unsigned p = 0; p < PAGES; p++)
        if (log_.written[p] > log_.told[p] && !log_.gone[p])
            explore_fail("page %u was written, and no harvest has told it", p);
}
