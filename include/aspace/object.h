/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects: reference-counted sources of pages that areas of any number of spaces share: files, blobs, shared memory,
 * remote memory. An area of ASPACE_KIND_SHARED maps an object's pages themselves, one of ASPACE_KIND_PRIVATE copies of
 * those that it writes. An object may take its pages back at any time, wherever they are mapped.
 *
 * What an object's owner keeps to: what `get` is to answer is changed first, and then the operation below is called
 * that takes back what was answered before. The library makes sure that no page which `get` gave before is mapped
 * after.
 */
#ifndef ASPACE_OBJECT_H
#define ASPACE_OBJECT_H

#include <aspace/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

struct aspace_object;

/* Flags of aspace_object_ops.get. */
enum {
    ASPACE_GET_COPY = 1u << 0, /* the page is read once and put again at once, not mapped */
};

/*
 * What an object does. Called by several CPUs at once, without locks of the library; `get` inside of a read section,
 * the others in one or not. But for `released` none may block for long, or call anything that waits (range operations,
 * the operations below).
 */
struct aspace_object_ops {
    const char *name;

    /*
     * The page at `offset` (page aligned, below the size), with a reference for the mapping that it is for. access:
     * what is being attempted, never ASPACE_W for a private mapping. page->rights: what it will be mapped with; may be
     * reduced, to be asked again at the first access that needs more. page->pa: to be filled in, contents final; the
     * order stays 0. DONE, or BUS, NO_MEMORY, WOULD_BLOCK, NEEDS_IO, PERMISSION, RETRY (on its way out), which the
     * fault then answers. To be told of the first write to a page, map it without ASPACE_W until `access` has that.
     * Required.
     */
    enum aspace_fault_result (*get)(struct aspace_object *object, uint64_t offset, uint32_t access, uint32_t flags,
                                    struct aspace_page *page);

    /* A reference less: a mapping that `get` gave the page for is gone, no CPU can reach the page through it and no
     * reader holds it; or it never came to be. May come after `get` gives another page for the offset. NULL: nobody
     * counts. */
    void (*put)(struct aspace_object *object, uint64_t offset, aspace_pa_t pa);

    /* The page was written through a shared mapping that is no more: called before `put`, and not for what evict and
     * clean tell by themselves, nor for what truncate cuts off. Where hardware keeps no dirty flags, for each page that
     * could be written. Also when a dirty log (dirty.h) takes the flag of a page, which stays mapped and may be told
     * again: then with a page table locked, so this must neither block nor call the library. May be NULL. */
    void (*dirty)(struct aspace_object *object, uint64_t offset, aspace_pa_t pa);

    /* Make [offset, offset + size) read zero, without giving up pages that are mapped: aspace_discard_zero of a shared
     * mapping. Failure: any error, nothing changed. NULL: the object's data cannot be dropped so. */
    int (*zero)(struct aspace_object *object, uint64_t offset, uint64_t size);

    /* The last reference is gone: the library does not touch the object any more. May be NULL. */
    void (*released)(struct aspace_object *object);
};

/* Caller's memory, usually the first member of something larger; valid until `released`. The members are the
 * library's. */
struct aspace_object {
    const struct aspace_object_ops *ops;
    struct aspace_host *host;
    uint64_t size;
    uint64_t sequence; /* one more each time that pages were taken back */
    uint64_t references;
    uint32_t lock;         /* of the list; nothing else is locked while it is held */
    void *first, **append; /* areas that map the object */
};

/* Set up an object of `size` bytes, with one reference, the caller's. Failure: INVALID. */
ASPACE_MUST_CHECK int aspace_object_init(struct aspace_object *object, struct aspace_host *host,
                                         const struct aspace_object_ops *ops, uint64_t size);

/* A reference more, by somebody who has one, and one less: the last one ends in `released`. Each area has one from
 * aspace_map on until its last page is unmapped and what that deferred is done (aspace_drain, aspace_trim). */
void aspace_object_ref(struct aspace_object *object);
void aspace_object_put(struct aspace_object *object);

uint64_t aspace_object_size(const struct aspace_object *object); /* bytes */

/*
 * The three that take pages back, in every space that maps the object, also while areas of it are mapped, unmapped and
 * faulted in, and spaces destroyed. The caller has a reference.
 * Context: outside of read sections; they wait for the end of a fork of such a space (fork.h). TLB: on return no CPU
 * can use a translation that was taken away. Cannot fail: they need no memory. A fault that is being handled meanwhile,
 * with a page got before, does not map it, and asks again.
 * Cost: the areas that map the object, and their tables in the range.
 */

/* A new size; where an object has a truncation of its own, that is to be called instead. Growing only permits more.
 * Pages that begin at or after the end are unmapped, private copies of them too, as a file's are elsewhere; an access
 * to them answers BUS. A page of which a part is left stays: what is past the end in it is the object's business. */
void aspace_object_truncate(struct aspace_object *object, uint64_t size);

/* Unmap the pages of [offset, offset + size), rounded out to pages, and let the next access ask for them again. Private
 * copies stay. Returns whether one was dirty in a shared mapping: its contents are what they will be, and nobody writes
 * them any more; `put` comes later. */
bool aspace_object_evict(struct aspace_object *object, uint64_t offset, uint64_t size);

/* Before pages are written back: take the write right from them, and the dirty flag, wherever they are mapped shared.
 * Returns whether one was dirty. A write after that is announced by `get` with ASPACE_W; one before is in the
 * contents. So who marks pages as clean, calls this, and then writes their contents, loses none. In a space with a
 * dirty log (dirty.h) the flag stays for the log's harvest; until that the page may be called dirty once more. */
bool aspace_object_clean(struct aspace_object *object, uint64_t offset, uint64_t size);

/* ------------------------------------------------------------------------------------- objects that the library has */

/* Anonymous shared memory: zeroed frames of the HAL's at the first access, kept until the object is gone. */
struct aspace_anon {
    struct aspace_object object; /* first */
    uint64_t limit;
    uint64_t root; /* of the tree of their addresses */
    void (*released)(struct aspace_anon *anon);
    uint64_t apart[ASPACE_CACHE_LINE / 8 - 1]; /* from what each fault reads */
    uint64_t frames;                           /* held now */
};

/* limit: the most that the size may grow to, 0: `size`. Allocates nothing. `released` may be set after. Failure:
 * INVALID, RANGE (more than 2^48 bytes). */
ASPACE_MUST_CHECK int aspace_anon_init(struct aspace_anon *anon, struct aspace_host *host, uint64_t size,
                                       uint64_t limit);

/* As aspace_object_truncate, and frees the frames past the end; what is grown again reads zero. One call at a time.
 * Context: as that, and waits for a grace period. Failure: RANGE (above the limit). */
ASPACE_MUST_CHECK int aspace_anon_truncate(struct aspace_anon *anon, uint64_t size);

/* Memory of the embedder's, contiguous: an image, a firmware, a framebuffer. Never allocated or freed. */
struct aspace_blob {
    struct aspace_object object; /* first */
    aspace_pa_t pa;
    uint32_t rights; /* the most that a shared mapping gets */
    void (*released)(struct aspace_blob *blob);
};

/* pa: 4 KiB aligned, size bytes; what is behind it in its last page is seen too. Failure: INVALID. */
ASPACE_MUST_CHECK int aspace_blob_init(struct aspace_blob *blob, struct aspace_host *host, aspace_pa_t pa,
                                       uint64_t size, uint32_t rights);

#ifdef __cplusplus
}
#endif
#endif
