/* SPDX-License-Identifier: BSD-2-Clause */
/* Watchers of a space: a list under a lock of its own, in the order of their numbers. Owns whom to tell; must not know
 * what an operation does to tables. */
#include <aspace/watch.h>

#include "space/space.h"

const char *aspace_gone_name(enum aspace_gone_kind kind)
{
    static const char *const names[ASPACE_GONE_COUNT] = {
#define ASPACE_X(id, text) #id,
        ASPACE_GONE_KINDS(ASPACE_X)
#undef ASPACE_X
    };
    return (unsigned)kind < ASPACE_GONE_COUNT ? names[kind] : "?";
}

/* The first watcher from `number` on, and before `end`, that the range concerns, held so that it stays. Others may come
 * and go between two calls; the numbers tell where to go on. */
static struct aspace_watcher *hold_next(struct aspace *s, uint64_t number, uint64_t end, const struct pt_gone *gone)
{
    seam_lock(&s->watch_lock, host_lock_tag());
    struct aspace_watcher *w = s->watchers;
    while (w && (w->number < number || w->va >= gone->end || gone->va >= w->va + w->size))
        w = w->next;
    if (w && w->number >= end)
        w = NULL;
    if (w)
        seam_store(&w->calls, w->calls + 1);
    seam_unlock(&s->watch_lock);
    return w;
}

static void let_go(struct aspace *s, struct aspace_watcher *w)
{
    seam_lock(&s->watch_lock, host_lock_tag());
    seam_store_release(&w->calls, w->calls - 1);
    seam_unlock(&s->watch_lock);
}

static void tell_one(struct aspace *s, struct aspace_watcher *w, const struct pt_gone *gone)
{
    aspace_va_t va = gone->va > w->va ? gone->va : w->va;
    aspace_va_t end = gone->end < w->va + w->size ? gone->end : w->va + w->size;
    struct aspace_gone told = {
        .space = s,
        .kind = (enum aspace_gone_kind)gone->kind,
        .va = va,
        .size = end - va,
        .new_va = gone->kind == ASPACE_GONE_MOVED ? gone->new_va + (va - gone->va) : 0,
        .rights = gone->rights,
    };
    w->gone(w, &told);
}

/* Without the lock: so those who work where nobody watches share nothing. A watcher that is to be told was registered
 * before the operation's fence, and with it all that the bounds were widened for. */
static bool may_concern(const struct aspace *s, const struct pt_gone *gone)
{
    return seam_load(&s->watch_va) < gone->end && gone->va < seam_load(&s->watch_end);
}

static void tell(struct pt *pt, const struct pt_gone *gone)
{
    struct aspace *s = pt->owner;
    struct aspace_watcher *w;
    if (!may_concern(s, gone))
        return;
    uint64_t end = seam_load(&s->watch_number); /* who begins now, maybe because it was told, has lost nothing */
    for (uint64_t number = 0; (w = hold_next(s, number, end, gone)) != NULL;) {
        number = w->number + 1;
        tell_one(s, w, gone);
        let_go(s, w);
    }
}

/* Under the lock. Anew only while there are no watchers. */
static void widen_bounds(struct aspace *s, const struct aspace_watcher *w)
{
    aspace_va_t end = w->va + w->size;
    if (!s->watchers || w->va < s->watch_va)
        seam_store(&s->watch_va, w->va);
    if (!s->watchers || end > s->watch_end)
        seam_store(&s->watch_end, end);
}

int aspace_watch(struct aspace *s, struct aspace_watcher *w)
{
    if (!w || !w->gone)
        return ASPACE_E_INVALID;
    int rc = space_check_range(s, w->va, w->size);
    if (rc)
        return rc;
    w->next = NULL;
    w->calls = 0;
    seam_lock(&s->watch_lock, host_lock_tag());
    widen_bounds(s, w);
    struct aspace_watcher **link = &s->watchers;
    while (*link)
        link = &(*link)->next;
    w->number = s->watch_number;
    seam_store(&s->watch_number, w->number + 1);
    *link = w;
    seam_store_release(&s->pt.gone, &tell);
    seam_unlock(&s->watch_lock);
    seam_fence(); /* an operation changes slots, fences, looks for watchers; the caller the other way round */
    return ASPACE_E_OK;
}

static void take_off(struct aspace *s, const struct aspace_watcher *w)
{
    struct aspace_watcher **link = &s->watchers;
    while (*link && *link != w)
        link = &(*link)->next;
    if (*link)
        *link = w->next;
    if (!s->watchers)
        seam_store(&s->pt.gone, NULL);
}

/* No call that was made before it was taken off is in progress. */
static void wait_for_calls(const struct aspace_watcher *w)
{
    while (seam_load_acquire(&w->calls))
        aspace_pause();
}

void aspace_unwatch(struct aspace *s, struct aspace_watcher *w)
{
    seam_lock(&s->watch_lock, host_lock_tag());
    take_off(s, w);
    seam_unlock(&s->watch_lock);
    wait_for_calls(w);
}

static struct aspace_watcher *take_first(struct aspace *s)
{
    seam_lock(&s->watch_lock, host_lock_tag());
    struct aspace_watcher *w = s->watchers;
    if (w)
        take_off(s, w);
    seam_unlock(&s->watch_lock);
    return w;
}

/* No call on the space is in progress, but an object may be taking its pages back, and telling of it. What is taken
 * away afterwards concerns no one. */
void space_tell_destroyed(struct aspace *s)
{
    const struct pt_gone gone = {.kind = ASPACE_GONE_DESTROYED, .va = s->pt.base, .end = s->pt.end};
    struct aspace_watcher *w;
    while ((w = take_first(s)) != NULL) {
        wait_for_calls(w);
        tell_one(s, w, &gone);
    }
}
