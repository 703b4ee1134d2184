/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page-table walker as slow and as plain as the manuals' own pseudo code: the reference that every format is compared
 * with. Owns its reading of the manuals; must not know any source of the library but the names of formats, rights and
 * attributes.
 */
#ifndef TESTS_NAIVE_H
#define TESTS_NAIVE_H

#include <stdbool.h>
#include <stdint.h>

#include <aspace/aspace.h>

struct naive_result {
    bool present;        /* the walk reached a leaf */
    int fault_level;     /* level of the entry that ended the walk, 0 is the leaf's; the number of levels if the address
                             is outside the format; -1 if present */
    uint64_t pa;         /* of va itself */
    uint64_t leaf_bytes; /* size of the leaf, or of the contiguous run it belongs to */
    uint32_t rights;     /* what the MMU grants, over all levels */
    uint32_t attr;       /* enum aspace_attr, the first listed of those the MMU treats alike; with
                             ASPACE_ATTR_ENCRYPTED; ASPACE_ATTR_COUNT for a memory type that has no name */
    uint64_t table_pa[6]; /* tables read, the root first */
    unsigned tables;
    bool malformed; /* reserved bits, a misconfiguration, a misaligned leaf or a broken run; a leaf that is global and
                          should not be, or the other way round */
    bool open_run;  /* other members of the run are absent, as while it is made or taken apart; never at rest */
    uint64_t entry_pa; /* where the entry is that ended the walk */
};

/* phys gives the bytes at a physical address; it is asked for single entries, 8 bytes aligned. */
void naive_walk(enum aspace_format format, const struct aspace_config *config, uint64_t root_pa, uint64_t va,
                const void *(*phys)(uint64_t pa), struct naive_result *result);

/* A leaf's entry as the MMU leaves it behind after a read or fetch, or (write) a write. Where the configuration says
 * that hardware sets no flags, and where the format has none, the entry as it is. */
uint64_t naive_used(const struct aspace_config *config, uint64_t entry, bool write);

/* Number of levels, and the first input address that the format cannot translate. */
unsigned naive_levels(enum aspace_format format);
unsigned naive_leaf_levels(enum aspace_format format); /* how many of them, from below, can hold leaves */
uint64_t naive_input_end(enum aspace_format format);

/* Index bits of an ordinary table, and pages in a contiguous run if the configuration has those (else 1). */
unsigned naive_index_bits(enum aspace_format format);
unsigned naive_run_pages(const struct aspace_config *config);

/* The first physical address that is too wide. */
uint64_t naive_output_end(const struct aspace_config *config);

#endif
