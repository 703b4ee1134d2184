/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The library with nothing under it: a space is created, filled, used and destroyed by a program that has no C library.
 * Its status is 0, or the number of the line of the first thing that was not as it should be, modulo 255, plus 1. Run
 * for each format; owns the space; must not know the library's sources.
 */
#include <aspace/fault.h>
#include <aspace/inspect.h>
#include <aspace/memory.h>

#include "bare.h"
#include "start.h"

#define MIB (1ull << 20)
#define PAGE 4096ull

#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            return __LINE__;                                                                                           \
        }                                                                                                              \
    } while (0)

static _Alignas(ASPACE_CACHE_LINE) unsigned char host_memory[ASPACE_HOST_BYTES(1)];
static _Alignas(ASPACE_CACHE_LINE) unsigned char space_memory[ASPACE_BYTES(1)];

static void no_line(void *arg, const char *line)
{
    (void)arg;
    (void)line;
}

/* A device that goes to a known place, memory that appears when it is touched, and a range to be emulated. */
static int map_all(struct aspace *space, const struct aspace_config *config)
{
    struct aspace_map device = {
        .va = 4 * PAGE, .size = 4 * PAGE, .kind = ASPACE_KIND_LINEAR, .rights = ASPACE_RWX, .pa = 0x10000000};
    struct aspace_map ram = {.va = 16 * PAGE, .size = config->size / 2, .kind = ASPACE_KIND_LAZY, .rights = ASPACE_RWX};
    struct aspace_map trap = {.va = 0, .size = PAGE, .kind = ASPACE_KIND_TRAP, .rights = ASPACE_RWX, .cookie = 42};
    struct aspace_range culprit = {0};
    MUST(aspace_map(space, &device, &culprit) == ASPACE_OK);
    MUST(aspace_map(space, &ram, &culprit) == ASPACE_OK);
    MUST(aspace_map(space, &trap, &culprit) == ASPACE_OK);
    MUST(aspace_map(space, &device, &culprit) == ASPACE_E_EXISTS);
    MUST(culprit.size != 0);
    return 0;
}

static int use(struct aspace *space)
{
    struct aspace_translation t;
    struct aspace_fault_info info;
    uint64_t there = 0, value = 0x0123456789abcdefull;
    MUST(aspace_translate(space, 5 * PAGE + 8, &t) == ASPACE_OK);
    MUST(t.pa == 0x10000000 + PAGE + 8);
    MUST(aspace_translate(space, 17 * PAGE, &t) == ASPACE_E_NOT_MAPPED);
    MUST(aspace_fault(space, 17 * PAGE, ASPACE_R, NULL) == ASPACE_FAULT_DONE);
    MUST(aspace_fault(space, 17 * PAGE, ASPACE_R, NULL) == ASPACE_FAULT_SPURIOUS);
    MUST(aspace_translate(space, 17 * PAGE, &t) == ASPACE_OK);
    MUST(aspace_fault(space, 8, ASPACE_W, &info) == ASPACE_FAULT_TRAP);
    MUST(info.cookie == 42 && info.offset == 8);
    MUST(aspace_write_object(space, 19 * PAGE - 4, &value) == ASPACE_OK);
    MUST(aspace_read_object(space, 19 * PAGE - 4, &there) == ASPACE_OK);
    MUST(there == value);
    MUST(aspace_audit(space, no_line, NULL) == 0);
    MUST(aspace_unmap(space, 17 * PAGE, PAGE) == ASPACE_OK);
    MUST(aspace_fault(space, 17 * PAGE, ASPACE_R, NULL) == ASPACE_FAULT_NO_AREA);
    return 0;
}

static int run_format(enum aspace_format format)
{
    struct aspace_host *host = (struct aspace_host *)(void *)host_memory;
    struct aspace *space = (struct aspace *)(void *)space_memory;
    struct aspace_host_config host_config = {.cpus = 1};
    struct aspace_config config = {.format = format, .size = format == ASPACE_FMT_TOY ? 64 * PAGE : 1024 * MIB};
    MUST(aspace_host_init(host, &bare_hal, NULL, &host_config) == ASPACE_OK);
    MUST(aspace_create(space, host, &config) == ASPACE_OK);
    int line = map_all(space, &config);
    line = line ? line : use(space);
    if (line) {
        return line;
    }
    MUST(aspace_destroy(space) == ASPACE_OK);
    MUST(aspace_host_fini(host) == ASPACE_OK);
    MUST(bare_frames_used() == 0);
    return 0;
}

__attribute__((noreturn, used)) void bare_main(void);

void bare_main(void)
{
    int line = 0;
    for (unsigned format = 0; format < ASPACE_FMT_COUNT && !line; format++) {
        line = run_format((enum aspace_format)format);
    }
    for (;;) {
        BARE_EXIT(line ? line % 255 + 1 : 0);
    }
}

BARE_START
