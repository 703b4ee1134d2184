/* SPDX-License-Identifier: BSD-2-Clause */
/* An embedder's own source of pages, nothing of which the library knows: page n of it holds the multiples of n. Two
 * spaces map it, one shared, one with copies of what it writes. */
#include <stdio.h>
#include <stdlib.h>

#include <aspace/memory.h>
#include <aspace/object.h>
#include <linux_hal.h>

enum { PAGE = 4096, WORDS = PAGE / 8, PAGES = 16 };

struct tables {
    struct aspace_object object; /* first, so that a pointer to it is one to the whole */
    struct aspace_frame page[PAGES];
};

/* Two CPUs may ask for the same page at once: here all are made in advance. */
static enum aspace_fault_result get(struct aspace_object *object, uint64_t offset, uint32_t access, uint32_t flags,
                                    struct aspace_page *page)
{
    (void)access, (void)flags;
    page->pa = ((struct tables *)(void *)object)->page[offset / PAGE].pa;
    return ASPACE_FAULT_DONE;
}

static void released(struct aspace_object *object)
{
    for (unsigned n = 0; n < PAGES; n++)
        aspace_frame_release(&((struct tables *)(void *)object)->page[n]);
    puts("nobody has the tables any more");
}

static const struct aspace_object_ops ops = {.name = "tables", .get = get, .released = released};

static void check(int error)
{
    if (error) {
        fprintf(stderr, "%s\n", aspace_error_message(error));
        exit(1);
    }
}

int main(void)
{
    struct aspace_linux *port = aspace_linux_default();
    struct aspace_host *host = aligned_alloc(ASPACE_CACHE_LINE, ASPACE_HOST_BYTES(1));
    struct aspace *space[2];
    static struct tables t;
    uint64_t seven = 0, nine = 9, seen[2] = {0, 0};

    if (!port || !host)
        return 1;
    check(aspace_host_init(host, port->hal, port, NULL));
    check(aspace_object_init(&t.object, host, &ops, PAGES * PAGE));
    for (uint64_t n = 0; n < PAGES; n++) {
        check(aspace_frame_alloc(host, 0, false, &t.page[n]));
        for (uint64_t i = 0; i < WORDS; i++)
            ((uint64_t *)aspace_frame_data(&t.page[n]))[i] = n * i;
    }
    struct aspace_map map = {.size = PAGES * PAGE, .rights = ASPACE_RW, .object = &t.object};
    for (unsigned i = 0; i < 2; i++) {
        struct aspace_config config = {.format = ASPACE_FMT_RISCV_SV39, .size = 1 << 30, .tag = i + 1};
        space[i] = aligned_alloc(ASPACE_CACHE_LINE, ASPACE_BYTES(1));
        check(!space[i] ? ASPACE_E_NO_MEMORY : aspace_create(space[i], host, &config));
        map.kind = i ? ASPACE_KIND_PRIVATE : ASPACE_KIND_SHARED;
        check(aspace_map(space[i], &map, NULL));
    }
    check(aspace_read_object(space[0], 7 * PAGE + 6 * 8, &seven));
    printf("7 times 6 is %llu\n", (unsigned long long)seven);
    check(aspace_write_object(space[1], 7 * PAGE + 6 * 8, &nine));
    for (unsigned i = 0; i < 2; i++)
        check(aspace_read_object(space[i], 7 * PAGE + 6 * 8, &seen[i]));
    printf("and stays %llu, except for who writes %llu\n", (unsigned long long)seen[0], (unsigned long long)seen[1]);
    aspace_object_put(&t.object);
    for (unsigned i = 0; i < 2; i++)
        check(aspace_destroy(space[i]));
    check(aspace_host_fini(host));
    return seven == 42 && seen[0] == 42 && seen[1] == 9 ? 0 : 1;
}
