/* SPDX-License-Identifier: BSD-2-Clause */
/* What the macros of aspace_port.h need to exist once: owns the variables of the process and of its threads. Must not
 * know the arena nor the library. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "aspace_port.h"
#include "cpu.h"

char *aspace_linux_base;
ASPACE_LINUX_THREAD unsigned aspace_linux_cpu;
ASPACE_LINUX_THREAD unsigned aspace_linux_spins;
ASPACE_LINUX_THREAD struct sim_cpu *aspace_linux_sim_cpu;

void aspace_linux_set_cpu(unsigned cpu)
{
    aspace_linux_cpu = cpu;
}

void aspace_linux_serve(struct sim_cpu *cpu)
{
    sim_cpu_step(cpu);
}

void aspace_linux_yield(void)
{
    sched_yield();
}

void aspace_linux_assert_fail(const char *expr, const char *file, int line)
{
    fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expr);
    abort();
}
