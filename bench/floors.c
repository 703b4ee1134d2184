/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What no implementation can beat on this machine, measured in the same run: storing entries, walking four loads,
 * zeroing pages, taking a frame from the allocator. Calls the library only to get at tables it has filled.
 */
#include "bench.h"

#include <string.h>

enum { TABLES = 512, ENTRIES = 512, REPEAT = 15 };

static uint64_t *table_of(aspace_pa_t pa)
{
    return aspace_phys_to_virt(pa);
}

/* One atomic store an entry, as hardware walkers ask for. */
static void store_scalar(uint64_t *table, uint64_t first)
{
    for (unsigned i = 0; i < ENTRIES; i++)
        __atomic_store_n(&table[i], first + i * PAGE, __ATOMIC_RELAXED);
}

/* The same sixteen bytes at a time: a lower bound, not a thing to do to a table that is in use. */
static void store_vector(uint64_t *table, uint64_t first)
{
    typedef uint64_t pair __attribute__((vector_size(16)));
    pair *slots = (pair *)(void *)table;
    pair value = {first, first + PAGE};
    for (unsigned i = 0; i < ENTRIES / 2; i++) {
        slots[i] = value;
        value += 2 * PAGE;
    }
    __asm__ volatile("" ::"r"(table) : "memory");
}

static void stores(void)
{
    static aspace_pa_t tables[TABLES];
    for (unsigned i = 0; i < TABLES; i++) {
        tables[i] = world_alloc(0, ASPACE_ALLOC_TABLE | ASPACE_ALLOC_ZERO);
        CHECK(tables[i] != ASPACE_PA_NONE);
    }
    for (unsigned r = 0; r < REPEAT; r++) {
        double begin = bench_now();
        for (unsigned i = 0; i < TABLES; i++)
            store_scalar(table_of(tables[i]), i * 2 * MIB + 7);
        double middle = bench_now();
        for (unsigned i = 0; i < TABLES; i++)
            store_vector(table_of(tables[i]), i * 2 * MIB + 7);
        double end = bench_now();
        bench_ns("floor_store_262144_scalar", ASPACE_FMT_COUNT, middle - begin);
        bench_ns("floor_store_262144_vector", ASPACE_FMT_COUNT, end - middle);
    }
    for (unsigned i = 0; i < TABLES; i++)
        world_free(tables[i], 0);
}

static void zeroing(void)
{
    /* One table, in the cache. */
    aspace_pa_t pa = world_alloc(0, 0);
    for (unsigned r = 0; r < REPEAT; r++) {
        double begin = bench_now();
        for (unsigned i = 0; i < 4096; i++) {
            memset(table_of(pa), 0, PAGE);
            bench_use(pa);
        }
        bench_ns("floor_memset_table", ASPACE_FMT_COUNT, (bench_now() - begin) / 4096);
    }
    world_free(pa, 0);
    /* 256 MiB of frames, out of memory: what a fault or populate that zeroes has to pay a page. Frames that have been
     * used and given back come in any order, which costs more; 4096 tables are what as many new spaces zero. */
    enum { FRAMES = 65536 };
    static aspace_pa_t frames[FRAMES];
    uint32_t *order = bench_shuffled(FRAMES);
    for (unsigned i = 0; i < FRAMES; i++)
        frames[i] = world_alloc(0, 0);
    for (unsigned r = 0; r < 5; r++) {
        double begin = bench_now();
        for (unsigned i = 0; i < FRAMES; i++)
            memset(table_of(frames[i]), 0, PAGE);
        double middle = bench_now();
        for (unsigned i = 0; i < FRAMES; i++)
            memset(table_of(frames[order[i]]), 0, PAGE);
        double end = bench_now();
        bench_ns("floor_memset_frame_256m_seq", ASPACE_FMT_COUNT, (middle - begin) / FRAMES);
        bench_ns("floor_memset_frame_256m_rand", ASPACE_FMT_COUNT, (end - middle) / FRAMES);
    }
    for (unsigned r = 0; r < REPEAT; r++) {
        double begin = bench_now();
        for (unsigned i = 0; i < 4096; i++)
            memset(table_of(frames[i]), 0, PAGE);
        bench_ns("floor_memset_4096_tables", ASPACE_FMT_COUNT, (bench_now() - begin) / 4096);
    }
    bench_free(order);
    for (unsigned i = FRAMES; i-- > 0;)
        world_free(frames[i], 0);
}

static void allocator(void)
{
    for (unsigned r = 0; r < REPEAT; r++) {
        double begin = bench_now();
        for (unsigned i = 0; i < 65536; i++) {
            aspace_pa_t pa = world_alloc(0, 0);
            bench_use(pa);
            world_free(pa, 0);
        }
        bench_ns("floor_allocator_pair", ASPACE_FMT_COUNT, (bench_now() - begin) / 65536);
    }
}

static void clocks(void)
{
    for (unsigned r = 0; r < REPEAT; r++) {
        struct bench_timer timer = {0};
        for (unsigned i = 0; i < 1024; i++) {
            bench_go(&timer);
            bench_stop(&timer);
        }
        bench_ns("floor_timer_error", ASPACE_FMT_COUNT, bench_timer_ns(&timer));
    }
}

/* A call that does nothing, with the arguments of a translation. */
static __attribute__((noinline)) int empty_call(struct aspace *space, aspace_va_t va, struct aspace_translation *t)
{
    __asm__ volatile("" ::"r"(space), "r"(va), "r"(t));
    return 0;
}

static void calls(void)
{
    for (unsigned r = 0; r < REPEAT; r++) {
        struct aspace_translation t = {0};
        uint64_t sum = 0;
        double begin = bench_now();
        for (unsigned i = 0; i < 65536; i++) {
            sum += (uint64_t)empty_call(NULL, i * PAGE, &t);
            sum += t.pa;
        }
        bench_ns("floor_call", ASPACE_FMT_COUNT, (bench_now() - begin) / 65536);
        bench_use(sum);
    }
}

/* Intel SDM 3C 29.3.2: bits 51-12 of an entry are the address of the next table or page. */
static inline uint64_t bare_walk(const uint64_t *root, uint64_t va)
{
    const uint64_t address = 0x000ffffffffff000u;
    uint64_t e = __atomic_load_n(&root[(va >> 39) & 511], __ATOMIC_RELAXED);
    e = __atomic_load_n(&table_of(e & address)[(va >> 30) & 511], __ATOMIC_RELAXED);
    e = __atomic_load_n(&table_of(e & address)[(va >> 21) & 511], __ATOMIC_RELAXED);
    e = __atomic_load_n(&table_of(e & address)[(va >> 12) & 511], __ATOMIC_RELAXED);
    return (e & address) | (va & (PAGE - 1));
}

enum { PAGES = 262144 };

/* The same tables, and addresses from an array, as translate_hit_4k_*. */
static double walk_all(const uint64_t *root, const uint32_t *page)
{
    uint64_t sum = 0;
    double begin = bench_now();
    for (uint32_t i = 0; i < PAGES; i++)
        sum += bare_walk(root, page[i] * PAGE);
    double end = bench_now();
    bench_use(sum);
    return (end - begin) / PAGES;
}

static void walks(void)
{
    struct aspace *space = space_new_4k(ASPACE_FMT_X86_EPT4);
    struct aspace_map request = request_linear(0, GIB, 4 * GIB + PAGE);
    map_or_die(space, &request);
    uint32_t *order = bench_shuffled(PAGES);
    static uint32_t in_order[PAGES];
    for (uint32_t i = 0; i < PAGES; i++)
        in_order[i] = i;
    const uint64_t *root = table_of(aspace_root(space));
    CHECK(bare_walk(root, 5 * PAGE + 7) == 4 * GIB + 6 * PAGE + 7);
    for (unsigned r = 0; r < REPEAT; r++) {
        bench_ns("floor_walk_4k_seq", ASPACE_FMT_COUNT, walk_all(root, in_order));
        bench_ns("floor_walk_4k_rand", ASPACE_FMT_COUNT, walk_all(root, order));
    }
    bench_free(order);
    space_drop(space);
}

void bench_floors(void)
{
    clocks();
    calls();
    stores();
    zeroing();
    allocator();
    if (bench_wanted("floor_walk_4k_seq floor_walk_4k_rand translate_hit_4k_seq translate_hit_4k_rand"))
        walks();
}
