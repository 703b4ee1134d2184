/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the three examples share: a host, a space, and an area whose pages come from a disk. Page n of the disk is full
 * of n. Owns the disk; must not know who waits for it, or how.
 */
#ifndef EXAMPLES_DISK_H
#define EXAMPLES_DISK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <aspace/backend.h>
#include <aspace/memory.h>
#include <aspace/ticket.h>
#include <linux_hal.h>

enum { DISK_PAGES = 16, DISK_VA = 0x40000000 };
#define PAGE UINT64_C(4096)

static struct {
    struct aspace_linux *port;
    struct aspace_hal hal;
    struct aspace_host *host;
    struct aspace *space;
    unsigned mapped; /* pages of the disk that the space has now */
} disk;

static void check(int error, const char *what)
{
    if (error) {
        fprintf(stderr, "%s: %s\n", what, aspace_error_message(error));
        exit(1);
    }
}

/* Nothing is at hand: whoever faults has to read it. */
static enum aspace_fault_result disk_fill(const struct aspace_fill *fill, struct aspace_page *page)
{
    (void)fill;
    (void)page;
    return ASPACE_FAULT_NEEDS_IO;
}

static void disk_release(void *ctx, uint64_t offset, aspace_pa_t pa, unsigned order)
{
    (void)ctx;
    (void)offset;
    __atomic_fetch_sub(&disk.mapped, 1, __ATOMIC_RELAXED);
    disk.hal.free(disk.port, pa, order);
}

/* The transfer into a frame of the caller's. How long it takes, and what happens meanwhile, is up to him. */
static aspace_pa_t disk_read(uint64_t offset)
{
    aspace_pa_t pa = disk.hal.alloc(disk.port, 0, 0);

    if (pa != ASPACE_PA_NONE) {
        memset(aspace_phys_to_virt(pa), (int)(offset / PAGE), PAGE);
    }
    return pa;
}

/* The end of a fault: the frame is the area's, or comes back. */
static void disk_complete(struct aspace_ticket *ticket, aspace_pa_t pa)
{
    if (pa == ASPACE_PA_NONE) {
        check(aspace_fault_fail(ticket, ASPACE_E_NO_MEMORY), "fail");
    } else if (aspace_fault_complete(ticket, pa) == ASPACE_OK) {
        __atomic_fetch_add(&disk.mapped, 1, __ATOMIC_RELAXED);
    } else {
        disk.hal.free(disk.port, pa, 0); /* what it was for has changed: the access is run again */
    }
}

static uint64_t disk_va(uint64_t page)
{
    return DISK_VA + page * PAGE;
}

static void disk_open(unsigned cpus, void (*wake)(void *ctx, void *waiter))
{
    static const struct aspace_backend backend = {.name = "disk", .fill = disk_fill, .release = disk_release};
    struct aspace_config config = {.format = ASPACE_FMT_X86_EPT4, .size = UINT64_C(1) << 32, .tag = 1};
    struct aspace_map map = {
        .va = DISK_VA, .size = DISK_PAGES * PAGE, .kind = ASPACE_KIND_CUSTOM, .rights = ASPACE_RW, .backend = &backend};

    disk.port = aspace_linux_default();
    disk.host = aligned_alloc(ASPACE_CACHE_LINE, ASPACE_HOST_BYTES(cpus));
    disk.space = aligned_alloc(ASPACE_CACHE_LINE, ASPACE_BYTES(cpus));
    if (!disk.port || !disk.host || !disk.space) {
        exit(1);
    }
    disk.hal = *disk.port->hal;
    disk.hal.wake = wake;
    check(aspace_host_init(disk.host, &disk.hal, disk.port, &(struct aspace_host_config){.cpus = cpus}), "host");
    check(aspace_create(disk.space, disk.host, &config), "create");
    check(aspace_map(disk.space, &map, NULL), "map");
}

/* Every page has been read, and has its contents; then all of them go back. */
static void disk_close(void)
{
    for (unsigned n = 0; n < DISK_PAGES; n++) {
        uint8_t byte = 0xff;
        check(aspace_read(disk.space, disk_va(n) + n, &byte, 1, NULL), "read");
        check(byte == n ? ASPACE_OK : ASPACE_E_FAULT, "contents");
    }
    aspace_trim(disk.host); /* what was thrown out has come back */
    check(disk.mapped == DISK_PAGES ? ASPACE_OK : ASPACE_E_FAULT, "pages");
    check(aspace_destroy(disk.space), "destroy");
    check(aspace_host_fini(disk.host), "fini");
    check(disk.mapped == 0 ? ASPACE_OK : ASPACE_E_FAULT, "pages given back");
    free(disk.space);
    free(disk.host);
}

#endif
