/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What was written and what harvests of the dirty log told, in the order of a schedule; and a copy of the pages that is
 * brought up to date by what is told, as a migration does it. Owns the check of what the log promises.
 */
#include "explore.h"

#include <string.h>

#include <aspace/dirty.h>

#include "conformance/naive.h"

static struct {
    uint64_t now;
    uint64_t written[PAGES], told[PAGES]; /* 0: never */
    bool gone[PAGES];
    struct copy {
        bool known;
        uint64_t word[WORDS];
    } copy[PAGES];
} log_;

static const void *entry_at(uint64_t pa)
{
    return aspace_phys_to_virt(pa);
}

/* What is absent, and not unfilled, is in an operation's hand: nobody can copy it then. */
static struct copy copy_of(uint64_t page)
{
    struct copy copy = {false, {0}};
    struct naive_result r;
    naive_walk(machine.config.format, &machine.config, machine.sim_space.root, page * PAGE, entry_at, &r);
    copy.known = r.present && machine_owns(r.pa);
    if (copy.known)
        memcpy(copy.word, aspace_phys_to_virt(r.pa), sizeof copy.word);
    return copy;
}

void dirty_forget(void)
{
    memset(&log_, 0, sizeof log_);
    for (unsigned p = 0; p < PAGES; p++)
        log_.copy[p] = copy_of(p);
}

void dirty_written(uint64_t page)
{
    log_.written[page] = ++log_.now;
}

void dirty_gone(const struct operation *op)
{
    bool takes = op->kind == OP_UNMAP || op->kind == OP_REPLACE || op->kind == OP_DISCARD || op->kind == OP_MOVE;
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
        if (bits >> p & 1) {
            log_.told[page + p] = log_.now;
            log_.copy[page + p] = copy_of(page + p);
        }
    return rc;
}

void dirty_check(void)
{
    if (dirty_harvest(0, PAGES) == ASPACE_E_NOT_MAPPED)
        return;
    for (unsigned p = 0; p < PAGES; p++) {
        struct copy end = copy_of(p);
        if (log_.written[p] > log_.told[p] && !log_.gone[p])
            explore_fail("page %u was written, and no harvest has told it", p);
        if (log_.copy[p].known && end.known && !log_.gone[p] && memcmp(log_.copy[p].word, end.word, sizeof end.word))
            explore_fail("page %u was written after it was told, and that was not told", p);
    }
}
