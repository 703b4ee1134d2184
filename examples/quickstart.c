/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest's address space, hosted on Linux: a device, some RAM, a fault, a lookup, a copy, an unmap. */
#include <stdio.h>
#include <stdlib.h>

#include <aspace/fault.h>
#include <aspace/inspect.h>
#include <aspace/memory.h>
#include <linux_hal.h>

static void check(int error, const char *what)
{
    if (error) {
        fprintf(stderr, "%s: %s\n", what, aspace_error_message(error));
        exit(1);
    }
}

static void print_line(void *arg, const char *line)
{
    (void)arg;
    puts(line);
}

int main(void)
{
    struct aspace_linux *port = aspace_linux_default(); /* in a hypervisor: your own functions instead */
    struct aspace_host *host = aligned_alloc(ASPACE_CACHE_LINE, ASPACE_HOST_BYTES(1));
    struct aspace *space = aligned_alloc(ASPACE_CACHE_LINE, ASPACE_BYTES(1));
    if (!port || !host || !space) {
        return 1;
    }
    check(aspace_host_init(host, port->hal, port, &(struct aspace_host_config){.cpus = 1}), "host");

    /* Arm stage 2, 39 bits of guest-physical addresses. */
    struct aspace_config config = {.format = ASPACE_FMT_ARM_S2_39, .size = UINT64_C(1) << 39, .tag = 1};
    check(aspace_create(space, host, &config), "create");

    /* A device at a fixed place, and 1 GiB of RAM of which each page appears when it is first touched. */
    struct aspace_map uart = {.va = 0x09000000,
                              .size = 0x1000,
                              .kind = ASPACE_KIND_LINEAR,
                              .pa = 0x09000000,
                              .rights = ASPACE_RW,
                              .attr = ASPACE_ATTR_DEVICE};
    struct aspace_map ram = {.va = 0x40000000,
                             .size = UINT64_C(1) << 30,
                             .kind = ASPACE_KIND_LAZY,
                             .rights = ASPACE_RWX,
                             .max_leaf_level = 1};
    check(aspace_map(space, &uart, NULL), "map uart");
    check(aspace_map(space, &ram, NULL), "map ram");

    /* The guest touches its RAM: what the trap handler does. */
    enum aspace_fault_result answer = aspace_fault(space, 0x40001234, ASPACE_W, NULL);
    printf("fault: %s\n", aspace_fault_name(answer));

    struct aspace_translation t;
    check(aspace_translate(space, 0x09000018, &t), "translate");
    printf("0x09000018 is 0x%08llx\n", (unsigned long long)t.pa);

    /* Copies cross pages, and fill what is lazy. */
    char text[] = "hello, guest", back[sizeof(text)];
    check(aspace_write(space, 0x40001ffa, text, sizeof(text), NULL), "write");
    check(aspace_read(space, 0x40001ffa, back, sizeof(back), NULL), "read");
    printf("read back: %s\n", back);

    check(aspace_unmap(space, 0x40100000, 0x100000), "unmap"); /* a hole in the RAM */
    aspace_dump(space, print_line, NULL);

    check(aspace_destroy(space), "destroy");
    check(aspace_host_fini(host), "fini");
    free(space);
    free(host);
    return 0;
}
