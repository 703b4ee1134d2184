/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One CPU is stopped inside an operation, where it asks for memory, and another runs one to its end. If it has to spin
 * it waits for the first, which is counted.
 */
#include "waits.h"

#include <stdio.h>
#include <string.h>

#include "pt/pool.h"

static const struct operation *other;
static struct side sides[2];
static int other_rc;

static void run_other(void)
{
    machine_be(sides[1].cpu);
    other_rc = other->run(&sides[1]);
}

/* The next table makes the pool ask for a chunk. */
static void empty_pool(unsigned cpu)
{
    machine_be(cpu);
    while (machine.host->cpu[cpu].n_tables || machine.host->chunks)
        (void)pool_alloc(machine.host);
}

static const struct operation *named(const char *name)
{
    for (unsigned i = 0; i < operation_count; i++)
        if (!strcmp(operations[i].name, name))
            return &operations[i];
    must(1, "the name", name);
    return NULL;
}

static unsigned relation_named(const char *name)
{
    for (unsigned i = 0; i < relation_count; i++)
        if (!strcmp(relations[i].name, name))
            return i;
    must(1, "the name", name);
    return 0;
}

/* While a table is built for one slot, a fault in another slot of the same upper table builds its own. */
static bool table_beside_table(enum aspace_format format)
{
    const struct relation *r = &relations[relation_named("leaves")];
    struct machine_config config = {.format = format, .smr = ASPACE_SMR_QSBR};
    other = named("fault-table");
    const struct operation *o[2] = {other, other};
    machine_reset(&config);
    prepare_pair(r, o, sides);
    empty_pool(sides[0].cpu);
    machine.spins = 0;
    other_rc = 1;
    machine.meanwhile = run_other;
    int rc = other->run(&sides[0]);
    bool good = !rc && !other_rc && !machine.spins;
    if (!good)
        printf("FAILED a fault waits while another slot's table is built: %d, %d, %u rounds\n", rc, other_rc,
               machine.spins);
    machine.spins = 0;
    machine.meanwhile = NULL;
    return good;
}

void waits_run(enum aspace_format format, unsigned *passed, unsigned *failed)
{
    bool good = table_beside_table(format);
    *passed += good;
    *failed += !good;
}
