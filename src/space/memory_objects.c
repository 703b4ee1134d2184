/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The objects that the library brings: anonymous shared memory, and memory of the embedder's. Users of the public
 * interface, apart from the pool, which anonymous memory keeps its frames' addresses in. Must not know tables.
 */
#include <aspace/object.h>

#include "pt/pool.h"
#include "sync/smr.h"

enum { ANON_BITS = 9, ANON_WORDS = 1 << ANON_BITS, ANON_LEVELS = 4, ANON_THERE = 1 };

/* --------------------------------------------------------------------------------------- the tree of frames'
 * addresses */

/*
 * Nodes of 512 words, of the pool. A word is 0, or an address: of a node (as this CPU sees it) or, below level 0, of a
 * frame, with ANON_THERE. All change from 0 by compare-and-swap; back only where nobody can look
 * (aspace_anon_truncate, the end of the object).
 */
static unsigned word_index(uint64_t offset, unsigned level)
{
    return (unsigned)(offset >> (12 + ANON_BITS * level)) & (ANON_WORDS - 1);
}

static uint64_t *node_words(uint64_t word)
{
    return (uint64_t *)(uintptr_t)word;
}

static void free_words(struct aspace_host *host, uint64_t *words)
{
    pool_free(host, node_at(host, aspace_virt_to_phys(words)));
}

/* The node that *place is to name, made if there is none; NULL: out of memory. */
static uint64_t *descend(struct aspace_host *host, uint64_t *place)
{
    uint64_t word = slot_load(place);
    if (word)
        return node_words(word);
    struct node *page = pool_alloc(host);
    if (!page)
        return NULL;
    uint64_t *words = node_slots(page);
    memset(words, 0, 4096);
    if (slot_cas(place, &word, (uint64_t)(uintptr_t)words))
        return words;
    pool_free(host, page); /* another CPU was faster */
    return node_words(word);
}

static uint64_t *frame_word(struct aspace_anon *anon, uint64_t offset)
{
    uint64_t *place = &anon->root;
    for (unsigned level = ANON_LEVELS; level-- > 0;) {
        uint64_t *words = descend(anon->object.host, place);
        if (!words)
            return NULL;
        place = &words[word_index(offset, level)];
    }
    return place;
}

/* The same without making any: NULL if there is no node for it, nor for what follows up to *end. */
static const uint64_t *find_word(const struct aspace_anon *anon, uint64_t offset, uint64_t *end)
{
    const uint64_t *place = &anon->root;
    for (unsigned level = ANON_LEVELS; level-- > 0;) {
        uint64_t word = slot_load(place);
        *end = (offset | ((1ull << (12 + ANON_BITS * (level + 1))) - 1)) + 1;
        if (!word)
            return NULL;
        place = &node_words(word)[word_index(offset, level)];
    }
    return place;
}

/* Zero from `offset` to the end of its page. Returns where to go on: what is missing, or cut off, reads zero anyway. In
 * a section, and below the size that is seen there: a truncation stores the size, and frees after a grace period. */
static uint64_t clear_page(const struct aspace_anon *anon, uint64_t offset)
{
    uint64_t end = anon->limit, word;
    smr_enter(anon->object.host);
    if ((offset & ~4095ull) < aspace_object_size(&anon->object)) {
        const uint64_t *place = find_word(anon, offset, &end);
        if (place)
            end = (offset | 4095) + 1;
        word = place ? slot_load(place) : 0;
        if (word)
            memset((char *)aspace_phys_to_virt(word & ~4095ull) + (offset & 4095), 0, end - offset);
    }
    smr_leave(anon->object.host);
    return end;
}

/* Free the frames at `from` and after in the tree below *place, which begins at offset `at`. Bounded: the levels. */
static void free_from(struct aspace_anon *anon, uint64_t *place, unsigned level, uint64_t at, uint64_t from)
{
    struct aspace_host *host = anon->object.host;
    uint64_t span = 1ull << (12 + ANON_BITS * level); /* of all of it */
    if (at + span <= from || !*place)
        return;
    if (!level) {
        host->hal->free(host->ctx, *place & ~4095ull, 0);
        seam_add(&anon->frames, (uint64_t)-1);
        *place = 0;
        return;
    }
    uint64_t *words = node_words(*place);
    for (unsigned i = 0; i < ANON_WORDS; i++)
        free_from(anon, &words[i], level - 1, at + i * (span >> ANON_BITS), from);
    if (at >= from) {
        free_words(host, words);
        *place = 0;
    }
}

/* ------------------------------------------------------------------------------------------------ anonymous memory */

static enum aspace_fault_result anon_get(struct aspace_object *object, uint64_t offset, uint32_t access, uint32_t flags,
                                         struct aspace_page *page)
{
    struct aspace_anon *anon = (struct aspace_anon *)(void *)object;
    const struct aspace_hal *hal = object->host->hal;
    (void)access, (void)flags;
    uint64_t *word = frame_word(anon, offset), pa;
    if (!word)
        return ASPACE_FAULT_NO_MEMORY;
    pa = slot_load(word);
    if (pa == 0) {
        aspace_pa_t frame = hal->alloc(object->host->ctx, 0, ASPACE_ALLOC_ZERO);
        if (frame == ASPACE_PA_NONE)
            return ASPACE_FAULT_NO_MEMORY;
        if (slot_cas(word, &pa, frame | ANON_THERE)) {
            seam_add(&anon->frames, 1);
            pa = frame;
        } else {
            hal->free(object->host->ctx, frame, 0);
        }
    }
    page->pa = pa & ~4095ull;
    return ASPACE_FAULT_DONE;
}

/* For who asks for zeroes: the frames stay, since they are mapped. */
static int anon_zero(struct aspace_object *object, uint64_t offset, uint64_t size)
{
    struct aspace_anon *anon = (struct aspace_anon *)(void *)object;
    for (uint64_t at = offset; at < offset + size && at < anon->limit;)
        at = clear_page(anon, at);
    return ASPACE_E_OK;
}

static void anon_released(struct aspace_object *object)
{
    struct aspace_anon *anon = (struct aspace_anon *)(void *)object;
    free_from(anon, &anon->root, ANON_LEVELS, 0, 0);
    if (anon->released)
        anon->released(anon);
}

static const struct aspace_object_ops anon_ops = {
    .name = "anon",
    .get = anon_get,
    .zero = anon_zero,
    .released = anon_released,
};

int aspace_anon_init(struct aspace_anon *anon, struct aspace_host *host, uint64_t size, uint64_t limit)
{
    if (!anon || (limit && limit < size))
        return ASPACE_E_INVALID;
    limit = limit ? limit : size;
    if (limit > 1ull << (12 + ANON_BITS * ANON_LEVELS))
        return ASPACE_E_RANGE;
    *anon = (struct aspace_anon){.limit = limit};
    return aspace_object_init(&anon->object, host, &anon_ops, size);
}

/* After the grace period nobody is in `get` with the old size, and nobody reads through a mapping that is gone. */
int aspace_anon_truncate(struct aspace_anon *anon, uint64_t size)
{
    struct aspace_object *object = &anon->object;
    uint64_t old = aspace_object_size(object), from = (size + 4095) & ~4095ull;
    if (size > anon->limit)
        return ASPACE_E_RANGE;
    if (size > old && old & 4095)
        (void)clear_page(anon, old);
    aspace_object_truncate(object, size);
    if (size >= old)
        return ASPACE_E_OK;
    smr_wait(object->host, smr_goal(object->host));
    free_from(anon, &anon->root, ANON_LEVELS, 0, from);
    if (size & 4095)
        (void)clear_page(anon, size);
    return ASPACE_E_OK;
}

/* -------------------------------------------------------------------------------------------- memory of the
 * embedder's */

static enum aspace_fault_result blob_get(struct aspace_object *object, uint64_t offset, uint32_t access, uint32_t flags,
                                         struct aspace_page *page)
{
    const struct aspace_blob *blob = (const struct aspace_blob *)(const void *)object;
    (void)flags;
    if (access & ~blob->rights & (ASPACE_R | ASPACE_W | ASPACE_X))
        return ASPACE_FAULT_PERMISSION;
    page->pa = blob->pa + offset;
    page->rights &= blob->rights | ASPACE_U;
    return ASPACE_FAULT_DONE;
}

static void blob_released(struct aspace_object *object)
{
    struct aspace_blob *blob = (struct aspace_blob *)(void *)object;
    if (blob->released)
        blob->released(blob);
}

static const struct aspace_object_ops blob_ops = {
    .name = "blob",
    .get = blob_get,
    .released = blob_released,
};

int aspace_blob_init(struct aspace_blob *blob, struct aspace_host *host, aspace_pa_t pa, uint64_t size, uint32_t rights)
{
    if (!blob || pa & 4095 || size > UINT64_MAX - pa || rights > 15 || !(rights & ASPACE_R))
        return ASPACE_E_INVALID;
    *blob = (struct aspace_blob){.pa = pa, .rights = rights};
    return aspace_object_init(&blob->object, host, &blob_ops, size);
}
