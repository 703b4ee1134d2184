/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns two ranges of the guest's address space that the stress CPUs map and unmap, each CPU its share.
 *
 * The window is the end of the guest's RAM: linear areas over frames that are ours, so that live pages can be unmapped
 * and mapped again without losing what is in them. Linux takes its first memory from there, for its table of all pages
 * among others. The scratch range lies behind the RAM, below the same upper tables; the guest never uses it.
 */
#include <aspace/memory.h>
#include <string.h>

#include "stress.h"

enum { PAGE = 4096, HUGE_BYTES = 0x200000, HUGE_ORDER = 9 };
enum { GROUP_ORDER = 3, GROUP_BYTES = PAGE << GROUP_ORDER }; /* what is moved at a time */
enum { WINDOW_PART = 16, WINDOW_MAX = 0x4000000 };           /* of the RAM, and at most */
enum { GROUPS_MAX = WINDOW_MAX / GROUP_BYTES };
enum { BLOCK_BYTES = 0x100000, BLOCKS = 64, BLOCK_PAGES = BLOCK_BYTES / PAGE }; /* two blocks share a leaf table */
enum { MOVED_US = 5 };

static uint64_t group_pa[GROUPS_MAX]; /* each touched by the CPU whose share it is */

uint64_t window_bytes(void)
{
    uint64_t bytes = options.ram_bytes / WINDOW_PART & ~(uint64_t)(HUGE_BYTES - 1);
    return !options.stress ? 0 : bytes < WINDOW_MAX ? bytes : WINDOW_MAX;
}

static uint64_t window_begin(void)
{
    return arch.guest_ram + options.ram_bytes - window_bytes();
}

uint64_t scratch_bytes(void)
{
    return options.stress ? (uint64_t)BLOCKS * BLOCK_BYTES : 0;
}

/* ---- the window ---- */

static int map_linear(struct aspace *space, uint64_t va, uint64_t bytes, uint64_t pa, uint32_t flags)
{
    const struct aspace_map map = {
        .va = va,
        .size = bytes,
        .kind = ASPACE_KIND_LINEAR,
        .rights = ASPACE_RWX,
        .attr = ASPACE_ATTR_DEFAULT,
        .flags = flags,
        .max_leaf_level = options.leaf_level,
        .pa = pa,
    };
    return aspace_map(space, &map, NULL);
}

int window_map(struct aspace *space)
{
    for (uint64_t at = 0; at < window_bytes(); at += HUGE_BYTES) {
        uint64_t pa = frames_alloc(HUGE_ORDER, ASPACE_ALLOC_ZERO);
        if (pa == ASPACE_PA_NONE)
            return ASPACE_E_NO_MEMORY;
        for (uint64_t g = 0; g < HUGE_BYTES / GROUP_BYTES; g++)
            group_pa[at / GROUP_BYTES + g] = pa + g * GROUP_BYTES;
        int error = map_linear(space, window_begin() + at, HUGE_BYTES, pa, 0);
        if (error != ASPACE_OK)
            return error;
    }
    return ASPACE_OK;
}

void window_free(void)
{
    for (uint64_t g = 0; g < window_bytes() / GROUP_BYTES; g++)
        frames_free(group_pa[g], GROUP_ORDER);
}

/* One of this CPU's. Neighbours are another's, in the same leaf table. */
static uint64_t random_group(struct stressor *s)
{
    return stress_random(s, window_bytes() / GROUP_BYTES / options.stress) * options.stress + s->number;
}

void window_move(struct stressor *s)
{
    uint64_t group = random_group(s), va = window_begin() + group * GROUP_BYTES, old = group_pa[group];
    uint64_t new = frames_alloc(GROUP_ORDER, 0);
    if (new == ASPACE_PA_NONE) {
        stress_count(s, ASPACE_E_NO_MEMORY, COUNT_unmapped);
        return;
    }
    stress_hold(s, va, GROUP_BYTES);
    int error = aspace_unmap(s->space, va, GROUP_BYTES);
    stress_count(s, error, COUNT_unmapped);
    if (error == ASPACE_OK) {
        memcpy(aspace_phys_to_virt(new), aspace_phys_to_virt(old), GROUP_BYTES);
        hyp_icache_sync(new, GROUP_BYTES);
        stress_wait(MOVED_US);
        stress_must(map_linear(s->space, va, GROUP_BYTES, new, 0), "pages cannot be mapped again");
        group_pa[group] = new;
    }
    stress_let_go(s);
    frames_free(error == ASPACE_OK ? old : new, GROUP_ORDER);
}

/* Not held: at no time may the guest find nothing there. */
void window_replace(struct stressor *s)
{
    uint64_t group = random_group(s), va = window_begin() + group * GROUP_BYTES;
    stress_count(s, map_linear(s->space, va, GROUP_BYTES, group_pa[group], ASPACE_MAP_REPLACE), COUNT_replaced);
}

/* ---- the scratch range ---- */

static void check_word(struct stressor *s, uint64_t va, uint64_t expected)
{
    uint64_t word = ~expected;
    stress_must(aspace_read(s->space, va, &word, sizeof word, NULL), "reading a populated page");
    if (word != expected)
        fail("stress: 0x%lx holds 0x%lx, not 0x%lx", va, word, expected);
}

static void check_unmapped(struct stressor *s, uint64_t va)
{
    struct aspace_translation t;
    if (aspace_translate(s->space, va, &t) != ASPACE_E_NOT_MAPPED)
        fail("stress: 0x%lx is still mapped", va);
}

/* Contents come, stay, are dropped, and the pages go. */
static void check_contents(struct stressor *s, uint64_t va, uint64_t bytes)
{
    uint64_t done = 0, page = va + stress_random(s, bytes / PAGE) * PAGE, word = s->random;
    stress_must(aspace_populate(s->space, va, bytes, &done), "populating");
    if (done != bytes)
        fail("stress: %lu bytes of %lu are populated", done, bytes);
    stress_count(s, ASPACE_OK, COUNT_populated);
    check_word(s, page, 0);
    stress_must(aspace_write(s->space, page, &word, sizeof word, NULL), "writing a populated page");
    stress_must(aspace_protect(s->space, va, bytes, ASPACE_R), "protecting populated pages");
    check_word(s, page, word);
    stress_must(aspace_discard(s->space, va, bytes), "discarding");
    stress_count(s, ASPACE_OK, COUNT_discarded);
    check_word(s, page, 0);
}

void scratch_edit(struct stressor *s)
{
    static const enum aspace_kind kinds[] = {ASPACE_KIND_LAZY, ASPACE_KIND_LAZY, ASPACE_KIND_EAGER, ASPACE_KIND_TRAP};
    uint64_t block = stress_random(s, BLOCKS / options.stress) * options.stress + s->number;
    uint64_t begin = stress_random(s, BLOCK_PAGES), pages = 1 + stress_random(s, BLOCK_PAGES - begin);
    uint64_t va = arch.guest_ram + options.ram_bytes + block * BLOCK_BYTES + begin * PAGE;
    const struct aspace_map map = {
        .va = va,
        .size = pages * PAGE,
        .kind = kinds[stress_random(s, sizeof kinds / sizeof kinds[0])],
        .rights = ASPACE_RW,
    };
    stress_must(aspace_map(s->space, &map, NULL), "mapping the scratch range");
    if (map.kind != ASPACE_KIND_TRAP)
        check_contents(s, va, map.size);
    stress_must(aspace_unmap(s->space, va, map.size), "unmapping the scratch range");
    check_unmapped(s, va + stress_random(s, pages) * PAGE);
    (void)aspace_drain(s->host);
}
