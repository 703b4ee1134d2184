/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tags by generation. A space's `context` is generation and tag in one word. What a CPU runs is in its `active` word; a
 * roll-over exchanges all of them for 0, so that a CPU that finds 0 there takes the slow way and the lock, and reserves
 * what it found. Owns who has which number; must not know how a TLB is flushed: aspace_set_tag has every CPU do that
 * before it uses a number that had another owner.
 */
#include <aspace/tag.h>

#include "space/space.h"
#include "sync/bits.h"

enum { TAG_BITS_MAX = 16 };
#define TAG_OF(context) ((uint32_t)((context) & ((1u << TAG_BITS_MAX) - 1)))
#define GENERATION_OF(context) ((context) >> TAG_BITS_MAX)

struct tag_cpu {
    uint64_t active;   /* context of the space this CPU runs; 0 since a roll-over took it */
    uint64_t reserved; /* what the last roll-over took: under the lock */
} __attribute__((aligned(ASPACE_CACHE_LINE)));

struct aspace_tags {
    uint64_t generation; /* read by every activation */
    uint32_t cpus, first, end;
    uint32_t lock __attribute__((aligned(ASPACE_CACHE_LINE))); /* guards all below, and `reserved` */
    uint32_t next;                                             /* where the search for a free number goes on */
    uint64_t *used;                                            /* bitmap of the numbers of this generation */
    struct tag_cpu cpu[] __attribute__((aligned(ASPACE_CACHE_LINE)));
};
_Static_assert(sizeof(struct aspace_tags) <= 256, "ASPACE_TAGS_BYTES covers the allocator");
_Static_assert(sizeof(struct tag_cpu) <= 128, "ASPACE_TAGS_BYTES covers a CPU");

static bool is_used(const struct aspace_tags *t, uint32_t tag)
{
    return t->used[tag / 64] >> (tag % 64) & 1;
}

static void use(struct aspace_tags *t, uint32_t tag)
{
    t->used[tag / 64] |= 1ull << (tag % 64);
}

int aspace_tags_init(struct aspace_tags *t, const struct aspace_tags_config *config)
{
    if (!t || !config || !config->bits || config->bits > TAG_BITS_MAX || config->cpus > ASPACE_CPUS_MAX)
        return ASPACE_E_INVALID;
    unsigned cpus = config->cpus ? config->cpus : 1;
    uint32_t end = 1u << config->bits;
    if (config->first >= end || end - config->first <= cpus)
        return ASPACE_E_INVALID;
    memset(t, 0, ASPACE_TAGS_BYTES(cpus, config->bits));
    t->generation = 1;
    t->cpus = cpus;
    t->first = t->next = config->first;
    t->end = end;
    t->used = (uint64_t *)(void *)&t->cpu[cpus];
    return ASPACE_E_OK;
}

uint64_t aspace_tags_generation(const struct aspace_tags *t)
{
    return seam_load(&t->generation);
}

/* A CPU that runs a space goes on with its number: it is not to be given away. */
static void roll_over(struct aspace_tags *t)
{
    seam_store(&t->generation, t->generation + 1);
    memset(t->used, 0, (t->end + 63) / 64 * 8);
    for (uint32_t i = 0; i < t->cpus; i++) {
        uint64_t active = slot_xchg(&t->cpu[i].active, 0);
        if (active)
            t->cpu[i].reserved = active;
        if (t->cpu[i].reserved)
            use(t, TAG_OF(t->cpu[i].reserved));
    }
    t->next = t->first;
}

/* A number that is not used in this generation; t->end: there is none. */
static uint32_t find_free(struct aspace_tags *t)
{
    for (uint32_t n = t->end - t->first, tag = t->next; n; n--) {
        if (!is_used(t, tag)) {
            t->next = tag + 1 < t->end ? tag + 1 : t->first;
            return tag;
        }
        tag = tag + 1 < t->end ? tag + 1 : t->first;
    }
    return t->end;
}

/* Was the space running on a CPU at the last roll-over? Then all that reserve it are told its new context. */
static bool is_reserved(struct aspace_tags *t, uint64_t old, uint64_t now)
{
    bool found = false;
    for (uint32_t i = 0; i < t->cpus; i++) {
        if (t->cpu[i].reserved == old) {
            t->cpu[i].reserved = now;
            found = true;
        }
    }
    return found;
}

/* Under the lock: the number that the space keeps or gets. Those that were not reserved may have had other owners
 * since, so every CPU has to flush before it uses them. */
static void renew(struct aspace_tags *t, struct aspace *s)
{
    uint64_t old = s->context, generation = t->generation << TAG_BITS_MAX;
    uint32_t tag = TAG_OF(old);
    if (!old || !is_reserved(t, old, generation | tag)) {
        if (!old || is_used(t, tag))
            tag = find_free(t);
        if (tag == t->end) {
            roll_over(t);
            generation = t->generation << TAG_BITS_MAX;
            tag = find_free(t);
            ASSERT(tag != t->end); /* there are more numbers than CPUs */
        }
        aspace_set_tag(s, tag);
    }
    use(t, tag);
    seam_store_release(&s->context, generation | tag);
}

/* The exchange fails if a roll-over has taken the word: then the context read may be of the generation before. */
static bool is_current(struct aspace_tags *t, struct tag_cpu *c, const struct aspace *s)
{
    uint64_t context = seam_load_acquire(&s->context), active = seam_load(&c->active);
    return active && GENERATION_OF(context) == seam_load(&t->generation) && slot_cas(&c->active, &active, context);
}

void aspace_tags_activate(struct aspace_tags *t, struct aspace *s)
{
    ASSERT(aspace_cpu_id() < t->cpus);
    struct tag_cpu *c = &t->cpu[aspace_cpu_id()];
    if (UNLIKELY(!is_current(t, c, s))) {
        seam_lock(&t->lock, host_lock_tag());
        if (GENERATION_OF(s->context) != t->generation)
            renew(t, s);
        slot_publish(&c->active, s->context);
        seam_unlock(&t->lock);
    }
    aspace_activate(s);
}
