/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Watchers: who keeps something that was derived from a space (a device emulator a pointer, an IOMMU a copy of the
 * table) is told when what it was derived from has gone.
 */
#ifndef ASPACE_WATCH_H
#define ASPACE_WATCH_H

#include <aspace/aspace.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(identifier, what happened) */
#define ASPACE_GONE_KINDS(X)                                                                                           \
    X(UNMAPPED, "nothing is mapped there any more")                                                                    \
    X(REPLACED, "something else is mapped there")                                                                      \
    X(DISCARDED, "the contents were dropped, the area stays")                                                          \
    X(PROTECTED, "a right was taken away, or all of them")                                                             \
    X(MOVED, "what was there is at new_va")                                                                            \
    X(FRAME, "the same contents are in another frame")                                                                 \
    X(DESTROYED, "the space ends; the watcher is no longer registered after this")

enum aspace_gone_kind {
#define ASPACE_X(id, text) ASPACE_GONE_##id,
    ASPACE_GONE_KINDS(ASPACE_X)
#undef ASPACE_X
        ASPACE_GONE_COUNT
};

/* "UNMAPPED" ...; "?" for any other number. */
const char *aspace_gone_name(enum aspace_gone_kind kind);

struct aspace_gone {
    struct aspace *space;
    enum aspace_gone_kind kind;
    aspace_va_t va; /* what of the operation's range the watcher watches */
    uint64_t size;
    aspace_va_t new_va; /* MOVED: of va */
    uint32_t rights;    /* PROTECTED: what is left */
};

/* The caller's memory, from aspace_watch until aspace_unwatch has returned or DESTROYED was told. */
struct aspace_watcher {
    aspace_va_t va; /* 4 KiB aligned */
    uint64_t size;  /* bytes, 4 KiB aligned, not 0 */
    /*
     * Called once for each operation that took something in the range away, on the CPU that makes it: when every CPU
     * has acknowledged the invalidation, before the operation returns, and before a frame or a table that it took is
     * released. So what a device may still reach until the call returns is nobody else's yet; but what CPUs find there
     * may be new already, so a device that writes must be stopped before frames change (FRAME) if no write may be lost.
     * No lock is held, nor a read section of the library's: it may wait, and call the library, but not what takes
     * pages of objects back (object.h), which may be what it is called by. Several CPUs may be in it at once. An
     * operation that fails tells nothing; one that found nothing to take may tell.
     * Harvests of accessed and dirty flags tell nothing: what a dirty log withholds comes back by itself.
     */
    void (*gone)(struct aspace_watcher *watcher, const struct aspace_gone *gone);
    void *user; /* the embedder's own */

    struct aspace_watcher *next; /* the library's, as all below */
    uint64_t number;
    uint32_t calls;
};

/*
 * Begin to watch. What is looked up after the return is watched: an operation that takes it away tells. Lock of the
 * watchers of the space. Failure: INVALID (no function, not aligned), RANGE, CLOSED. Cost: as many steps as there are
 * watchers; an operation pays a load while there are none, two more while its range is below or above all that is
 * watched, else a lock and as many steps.
 */
ASPACE_MUST_CHECK int aspace_watch(struct aspace *space, struct aspace_watcher *watcher);

/* End it. No call of the watcher is in progress when this returns, nor comes after it: it waits for those that are.
 * Not from the watcher's own call. */
void aspace_unwatch(struct aspace *space, struct aspace_watcher *watcher);

#ifdef __cplusplus
}
#endif
#endif
