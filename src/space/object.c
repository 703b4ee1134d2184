/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects: references, faults in areas that map them, and the operations that take pages back. Pages are installed
 * under the lock of their leaf table, after the object's sequence has been read again there (pt/rmap.h, B4). Must not
 * know what kinds of objects there are.
 */
#include "space/object.h"
#include "pt/frames.h"
#include "pt/log.h"
#include "space/space.h"

#include "sync/bits.h"

/* ------------------------------------------------------------------------------------------------------ references */

int aspace_object_init(struct aspace_object *object, struct aspace_host *host, const struct aspace_object_ops *ops,
                       uint64_t size)
{
    if (!object || !host || !ops || !ops->get)
        return ASPACE_E_INVALID;
    *object = (struct aspace_object){.ops = ops, .host = host, .size = size, .references = 1};
    object->append = &object->first;
    return ASPACE_E_OK;
}

void aspace_object_ref(struct aspace_object *object)
{
    seam_add(&object->references, 1);
}

void aspace_object_put(struct aspace_object *object)
{
    if (seam_sub_acq_rel(&object->references, 1) == 1 && object->ops->released)
        object->ops->released(object);
}

uint64_t aspace_object_size(const struct aspace_object *object)
{
    return seam_load(&object->size);
}

/* --------------------------------------------------------------------------------------------------- as a backend */

static void backend_release(void *ctx, uint64_t offset, aspace_pa_t pa, unsigned order)
{
    struct aspace_object *object = ((struct rmap_link *)ctx)->object;
    (void)order; /* 0: an object's pages are small */
    if (object->ops->put)
        object->ops->put(object, offset, pa);
}

static void backend_dirty(void *ctx, uint64_t offset, aspace_pa_t pa, unsigned order)
{
    struct aspace_object *object = ((struct rmap_link *)ctx)->object;
    (void)order;
    if (object->ops->dirty)
        object->ops->dirty(object, offset, pa);
}

static void backend_unmapped(void *ctx, uint64_t area_id)
{
    struct aspace_object *object = ((struct rmap_link *)ctx)->object;
    (void)area_id;
    rmap_remove(ctx);
    aspace_object_put(object);
}

/* Its faults do not go through `fill`. */
const struct aspace_backend object_backend = {
    .name = "object",
    .release = backend_release,
    .dirty = backend_dirty,
    .unmapped = backend_unmapped,
};

/* ---------------------------------------------------------------------------------------------------------- faults */

/* What the object was asked, and what it said. */
struct asked {
    struct aspace_object *object;
    uint64_t sequence, offset;
    struct aspace_page page;
    uint32_t grant; /* the rights of a leaf that a dirty log gets to know as written; else 0 */
};

static uint64_t offset_of(const struct area *area, aspace_va_t va)
{
    return area->offset + ((va & ~4095ull) - area->va_base);
}

bool object_covers(const struct area *area, aspace_va_t va)
{
    return offset_of(area, va) < seam_load(&rmap_link_of(area)->object->size);
}

static void put_page(const struct asked *a)
{
    if (a->object->ops->put)
        a->object->ops->put(a->object, a->offset, a->page.pa);
}

static bool page_is_good(const struct object_fault *k, const struct aspace_page *page, uint32_t rights, uint32_t need)
{
    const struct pt *pt = k->pt;
    return !page->order && !(page->pa & 4095) && page->pa < pt->C.pa_end && !(page->rights & ~rights) &&
           !(need & ~page->rights) && fmt_rights_ok(pt->F, &pt->C, page->rights);
}

/* The sequence is read before the size: who reads the new one finds the new size. */
static enum aspace_fault_result ask(const struct object_fault *k, struct asked *a, uint32_t flags)
{
    bool private = k->area->flags & AREA_PRIVATE;
    uint32_t need = private ? k->need & ~(uint32_t)ASPACE_W : k->need;
    uint32_t rights = area_leaf_rights(k->area, 0, VALUE_RIGHTS(k->value));
    a->object = rmap_link_of(k->area)->object;
    a->offset = offset_of(k->area, k->va);
    a->sequence = seam_load_acquire(&a->object->sequence);
    a->grant = 0;
    a->page = (struct aspace_page){.pa = ASPACE_PA_NONE, .rights = rights};
    if (!object_covers(k->area, k->va))
        return ASPACE_FAULT_BUS;
    enum aspace_fault_result r = a->object->ops->get(a->object, a->offset, need, flags, &a->page);
    if (r != ASPACE_FAULT_DONE)
        return (unsigned)r < ASPACE_FAULT_COUNT ? r : ASPACE_FAULT_BUS;
    if (flags & ASPACE_GET_COPY ? !(a->page.pa & 4095) : page_is_good(k, &a->page, rights, need))
        return r;
    if (a->page.pa != ASPACE_PA_NONE)
        put_page(a);
    return ASPACE_FAULT_BUS;
}

/* Without hardware flags a leaf counts as dirty from when it may be written. */
static uint64_t with_dirty(const struct pt *pt, uint64_t leaf, uint32_t rights)
{
    return pt->C.features & ASPACE_FEAT_AD ? leaf : fmt_with_ad(pt->F, leaf, true, rights & ASPACE_W);
}

static uint64_t make_leaf(const struct object_fault *k, uint32_t rights, aspace_pa_t pa)
{
    const struct pt *pt = k->pt;
    pt_sync_icache(pt, rights, pa, 4096);
    rights = log_new_rights(pt, rights);
    uint64_t leaf = fmt_leaf(pt->F, &pt->C, 0, rights, k->area->attr) | fmt_addr_bits(pt->F, pa);
    return with_dirty(pt, leaf, rights);
}

/* B4. The table may have been unlinked, the slot changed, or pages taken back: then nothing is done. */
static bool install(const struct object_fault *k, const struct asked *a, uint64_t leaf)
{
    uint64_t expected = k->e;
    seam_lock(&k->n->lock, host_lock_tag());
    seam_fence();
    bool done =
        !k->n->stale && seam_load(&a->object->sequence) == a->sequence && node_value(k->n, k->index) == k->value;
    if (done && a->grant)
        leaf = log_grant(k->pt, k->va, 0, leaf, a->grant);
    done = done && slot_cas(k->slot, &expected, leaf);
    if (done)
        pt_sync_walkers(k->pt, k->slot, sizeof *k->slot);
    seam_unlock(&k->n->lock);
    return done;
}

/* Not what was asked for any more: the lock tells of the table, since a slot of one that is unlinked stays as it is. */
static bool has_changed(const struct object_fault *k, const struct asked *a)
{
    seam_lock(&k->n->lock, host_lock_tag());
    bool changed = k->n->stale || seam_load(&a->object->sequence) != a->sequence || slot_load(k->slot) != k->e;
    seam_unlock(&k->n->lock);
    return changed;
}

/* A frame of the area's own, with the page's contents. The page goes back in any case. */
static enum aspace_fault_result fill_copy(const struct object_fault *k, const struct asked *a)
{
    struct pt *pt = k->pt;
    aspace_pa_t frame = pt_take_frame(pt, 0, 0);
    bool done = false;
    if (frame != ASPACE_PA_NONE) {
        memcpy(aspace_phys_to_virt(frame), aspace_phys_to_virt(a->page.pa), 4096);
        done = install(k, a, fmt_with_soft(pt->F, make_leaf(k, VALUE_RIGHTS(k->value), frame), SOFT_OWN));
    }
    put_page(a);
    if (done)
        COUNT(pt_this_cpu(pt)->cow_copies, 1);
    if (done || frame == ASPACE_PA_NONE)
        return done ? ASPACE_FAULT_DONE : ASPACE_FAULT_NO_MEMORY;
    pt_give_frame(pt, frame, 0);
    return OBJECT_AGAIN;
}

enum aspace_fault_result object_fill(const struct object_fault *k)
{
    bool copies = k->area->flags & AREA_PRIVATE && k->need & ASPACE_W;
    struct asked a;
    enum aspace_fault_result r = ask(k, &a, copies ? ASPACE_GET_COPY : 0);
    if (r != ASPACE_FAULT_DONE)
        return r;
    if (copies)
        return fill_copy(k, &a);
    if (install(k, &a, make_leaf(k, a.page.rights, a.page.pa)))
        return ASPACE_FAULT_DONE;
    put_page(&a);
    return OBJECT_AGAIN;
}

/* Not the same page: it was evicted after the slot was read, if the object keeps its word. */
enum aspace_fault_result object_upgrade(const struct object_fault *k)
{
    const struct pt *pt = k->pt;
    bool present = fmt_present(pt->F, 0, k->e);
    aspace_pa_t pa = slot_frame(pt->F, &pt->C, 0, k->e, k->index);
    struct asked a;
    enum aspace_fault_result r = ask(k, &a, 0);
    if (r != ASPACE_FAULT_DONE)
        return r;
    if (a.page.pa == pa) {
        uint32_t had = present ? fmt_leaf_rights(pt->F, &pt->C, k->e) : 0;
        uint32_t kept = log_kept_rights(pt, 0, k->e, a.page.rights);
        a.grant = k->need & ASPACE_W ? a.page.rights : 0;
        uint64_t leaf = present ? with_dirty(pt, fmt_with_rights(pt->F, &pt->C, 0, k->e, kept), kept)
                                : make_leaf(k, a.page.rights, pa);
        if (slot_dirty(pt->F, 0, k->e))
            leaf = fmt_with_ad(pt->F, leaf, true, true);
        if (present)
            pt_sync_icache(pt, a.page.rights & ~had, pa, 4096);
        r = install(k, &a, leaf) ? ASPACE_FAULT_DONE : OBJECT_AGAIN;
    } else {
        r = has_changed(k, &a) ? OBJECT_AGAIN : ASPACE_FAULT_BUS;
    }
    put_page(&a); /* the mapping holds one reference, not two */
    return r;
}

/* ------------------------------------------------------------------------------------------------ taking pages back */

static uint64_t page_up(uint64_t offset)
{
    return offset > UINT64_MAX - 4095 ? ~4095ull : (offset + 4095) & ~4095ull;
}

void aspace_object_truncate(struct aspace_object *object, uint64_t size)
{
    struct rmap_revoke r = {.object = object, .offset = page_up(size), .end = ~4095ull, .what = RMAP_ALL};
    seam_store(&object->size, size); /* before the sequence, which publishes it */
    rmap_revoke(&r);
}

static bool revoke(struct aspace_object *object, uint64_t offset, uint64_t size, enum rmap_what what)
{
    uint64_t end = size > UINT64_MAX - offset ? UINT64_MAX : offset + size;
    struct rmap_revoke r = {.object = object, .offset = offset & ~4095ull, .end = page_up(end), .what = what};
    if (size)
        rmap_revoke(&r);
    return r.dirty;
}

bool aspace_object_evict(struct aspace_object *object, uint64_t offset, uint64_t size)
{
    return revoke(object, offset, size, RMAP_PAGES);
}

bool aspace_object_clean(struct aspace_object *object, uint64_t offset, uint64_t size)
{
    return revoke(object, offset, size, RMAP_WRITES);
}
