/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of the test bed share: counting, and one port that they set up and use. Must not know the library's
 * sources. */
#ifndef TESTS_UNIT_PORT_BED_H
#define TESTS_UNIT_PORT_BED_H

#include "linux_hal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aspace_port.h"

#define PAGE 4096ull
#define MIB2 (2ull << 20)

#define BED __attribute__((unused)) static

BED unsigned long passed, failed;

BED void check(bool ok, const char *what, const char *file, int line)
{
    if (ok) {
        passed++;
    } else {
        failed++;
        printf("FAILED %s:%d: %s\n", file, line, what);
    }
}

#define CHECK(condition) check((condition), #condition, __FILE__, __LINE__)

/* ------------------------------------------------------------------------------------------------------ the machine */

BED struct aspace_linux port;
BED char last_line[320];

BED void keep_line(void *ctx, const char *line)
{
    (void)ctx;
    snprintf(last_line, sizeof(last_line), "%s", line);
}

BED struct aspace_linux_config checked_config(unsigned cpus, enum sim_mode mode)
{
    return (struct aspace_linux_config){
        .arena = {.kind = ARENA_CHECKED, .bytes = 64ull << 20, .quarantine = 8, .report = keep_line},
        .sim = {.cpus = cpus, .mode = mode},
        .quiet = true};
}

BED void open_config(const struct aspace_linux_config *config)
{
    last_line[0] = 0;
    aspace_linux_set_cpu(0);
    if (aspace_linux_init(&port, config)) {
        printf("FAILED cannot set up the port: %s\n", strerror(errno));
        exit(1);
    }
}

BED void open_checked(unsigned cpus, enum sim_mode mode)
{
    struct aspace_linux_config config = checked_config(cpus, mode);
    open_config(&config);
}

BED aspace_pa_t take(unsigned order, unsigned flags)
{
    return port.hal->alloc(&port, order, flags);
}

BED void give(aspace_pa_t pa, unsigned order)
{
    port.hal->free(&port, pa, order);
}

BED unsigned char *bytes_at(aspace_pa_t pa)
{
    return aspace_phys_to_virt(pa);
}

BED uint64_t found(enum arena_violation kind)
{
    return arena_violations_of(&port.arena, kind);
}

BED struct arena_counts counts(void)
{
    struct arena_counts c;
    arena_counts_read(&port.arena, &c);
    return c;
}

BED int bed_run(void (*const *tests)(void), size_t n)
{
    for (size_t i = 0; i < n; i++) {
        tests[i]();
    }
    printf("%lu passed, %lu failed\n", passed, failed);
    return failed != 0;
}

#endif
