/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Forks of 1 GiB and the first writes after them, beside what else could be done: copying all of it, and fork() of a
 * Linux process with the same memory (its time until the parent goes on; of its tables and pages nothing else).
 */
#define _GNU_SOURCE
#include "bench.h"

#include <aspace/fork.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REPEAT = 11, PAGES_1G = 262144, COPIES = 16384, COPY_MIB = 128 };

static struct aspace *filled(const struct aspace_config *config)
{
    struct aspace *space = space_make(config);
    struct aspace_map request = request_alloc(ASPACE_KIND_LAZY, 0, GIB);
    map_or_die(space, &request);
    CHECK(aspace_populate(space, 0, GIB, NULL) == ASPACE_OK);
    return space;
}

static void write_fault(struct aspace *space, aspace_va_t va)
{
    CHECK(aspace_fault(space, va, ASPACE_W, NULL) == ASPACE_FAULT_DONE);
}

/* The child writes to some pages, then it goes, and the parent writes to all of its pages again. */
static void first_writes(struct aspace *parent, struct aspace *child, const uint32_t *order)
{
    double begin = bench_now();
    for (unsigned i = 0; i < COPIES; i++)
        write_fault(child, order[i] * PAGE);
    double copied = bench_now();
    world_settle();
    double settled = bench_now();
    for (unsigned i = 0; i < COPIES; i++)
        write_fault(parent, order[i] * PAGE);
    double taken = bench_now();
    bench_ns("cow_write_4k", ASPACE_FMT_COUNT, (copied - begin) / COPIES);
    bench_ns("cow_take_back_4k", ASPACE_FMT_COUNT, (taken - settled) / COPIES);
}

static void fork_4k(const uint32_t *order)
{
    struct aspace_config config;
    space_config(&config, ASPACE_FMT_X86_EPT4);
    config.max_leaf_level = 1;
    for (unsigned r = 0; r < REPEAT; r++) {
        struct aspace *parent = filled(&config), *child = space_make(&config), *second = space_make(&config);
        world_trim();
        uint64_t held = world_count().frames;
        double t0 = bench_now();
        CHECK(aspace_fork(parent, child) == ASPACE_OK);
        double t1 = bench_now();
        uint64_t more = world_count().frames - held;
        double t2 = bench_now();
        CHECK(aspace_fork(parent, second) == ASPACE_OK); /* of what is read-only and counted already */
        double t3 = bench_now();
        space_drop(second);
        world_settle();
        first_writes(parent, child, order);
        double t5 = bench_now();
        space_drop(child);
        world_settle();
        double t6 = bench_now();
        space_drop(parent);
        world_settle();
        if (r == 0) { /* only now the pool has nothing to spare */
            bench_row("fork_1g_4k_memory", ASPACE_FMT_COUNT, "frames", (double)more);
            continue;
        }
        bench_ns("fork_1g_4k", ASPACE_FMT_COUNT, t1 - t0);
        bench_ns("fork_1g_4k_per_page", ASPACE_FMT_COUNT, (t1 - t0) / PAGES_1G);
        bench_ns("fork_1g_4k_per_leaf_table", ASPACE_FMT_COUNT, (t1 - t0) / 512);
        bench_ns("fork_1g_4k_again", ASPACE_FMT_COUNT, t3 - t2);
        bench_ns("drop_child_1g_4k", ASPACE_FMT_COUNT, t6 - t5);
    }
}

static void fork_2m(void)
{
    struct aspace_config config;
    space_config(&config, ASPACE_FMT_X86_EPT4);
    config.max_leaf_level = 2;
    for (unsigned r = 0; r < REPEAT; r++) {
        struct aspace *parent = filled(&config), *child = space_make(&config);
        world_trim();
        uint64_t held = world_count().frames;
        double begin = bench_now();
        CHECK(aspace_fork(parent, child) == ASPACE_OK);
        double end = bench_now();
        if (r)
            bench_ns("fork_1g_2m", ASPACE_FMT_COUNT, end - begin);
        else
            bench_row("fork_1g_2m_memory", ASPACE_FMT_COUNT, "frames", (double)(world_count().frames - held));
        space_drop(child);
        space_drop(parent);
        world_settle();
    }
}

/* Scaled from a part that fits beside the rest. */
static void copying(void)
{
    char *from = malloc(COPY_MIB * MIB), *to = malloc(COPY_MIB * MIB);
    CHECK(from && to);
    memset(from, 1, COPY_MIB * MIB);
    memset(to, 2, COPY_MIB * MIB);
    for (unsigned r = 0; r < REPEAT; r++) {
        double begin = bench_now();
        memcpy(to, from, COPY_MIB * MIB);
        bench_use((uint64_t)to[r]);
        bench_ns("copy_1g", ASPACE_FMT_COUNT, (bench_now() - begin) * (1024 / COPY_MIB));
    }
    free(from);
    free(to);
}

static void linux_fork(const char *name, const char *write_name, int advice)
{
    char *memory = mmap(NULL, GIB + 2 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return; /* a machine too small for the comparison */
    char *aligned = (char *)(((uintptr_t)memory + 2 * MIB - 1) & ~(uintptr_t)(2 * MIB - 1));
    (void)madvise(aligned, GIB, advice);
    memset(aligned, 1, GIB);
    for (unsigned r = 0; r < REPEAT / 2; r++) {
        int gate[2];
        CHECK(pipe(gate) == 0);
        double begin = bench_now();
        pid_t pid = fork();
        if (pid == 0) {
            char c;
            close(gate[1]);
            _exit(read(gate[0], &c, 1) == 1); /* until the parent has written what it wants */
        }
        double forked = bench_now();
        CHECK(pid > 0);
        for (unsigned i = 0; i < COPIES; i++)
            *(volatile char *)(aligned + i * PAGE) = 2;
        double written = bench_now();
        close(gate[0]);
        close(gate[1]);
        CHECK(waitpid(pid, NULL, 0) == pid);
        bench_ns(name, ASPACE_FMT_COUNT, forked - begin);
        if (write_name)
            bench_ns(write_name, ASPACE_FMT_COUNT, (written - forked) / COPIES);
    }
    munmap(memory, GIB + 2 * MIB);
}

void bench_forks(void)
{
    if (bench_wanted("fork_1g_2m fork_1g_2m_memory"))
        fork_2m();
    if (bench_wanted("fork_1g_4k fork_1g_4k_per_page fork_1g_4k_per_leaf_table fork_1g_4k_again drop_child_1g_4k "
                     "fork_1g_4k_memory cow_write_4k cow_take_back_4k")) {
        uint32_t *order = bench_shuffled(PAGES_1G);
        fork_4k(order);
        bench_free(order);
    }
    if (bench_wanted("copy_1g"))
        copying();
    if (bench_wanted("linux_fork_1g_4k linux_cow_write_4k"))
        linux_fork("linux_fork_1g_4k", "linux_cow_write_4k", MADV_NOHUGEPAGE);
    if (bench_wanted("linux_fork_1g_2m"))
        linux_fork("linux_fork_1g_2m", NULL, MADV_HUGEPAGE);
}
