/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The naive walker as the MMU of the port's simulated CPUs. Owns nothing; must not know a format, nor src/.
 */
#ifndef TESTS_SIM_WALKER_H
#define TESTS_SIM_WALKER_H

#include <string.h>

#include "conformance/naive.h"
#include "cpu.h"

/* A sim_walk_fn. */
static inline void sim_walk_naively(const struct sim_space *space, uint64_t va, const void *(*phys)(uint64_t pa),
                                    struct sim_walk *walk)
{
    struct naive_result r;

    naive_walk(space->format, space->config, space->root, va, phys, &r);
    walk->present = r.present;
    walk->malformed = r.malformed;
    walk->fault_level = r.fault_level;
    walk->pa = r.pa;
    walk->leaf_bytes = r.leaf_bytes;
    walk->rights = r.rights;
    walk->attr = r.attr;
    walk->tables = r.tables;
    _Static_assert(sizeof walk->table_pa == sizeof r.table_pa, "as many levels");
    memcpy(walk->table_pa, r.table_pa, sizeof walk->table_pa);
}

#endif
