/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Walks, specialised by format: always-inline over a constant descriptor, so that shifts, masks and family switches
 * fold. PT_SPECIALISE makes one copy a format and a dispatcher; code that is not hot takes F at run time instead.
 */
#ifndef PT_WALK_H
#define PT_WALK_H

#include "pt/pt.h"

#define ASPACE_X(id, name) static const struct fmt fmt_const_##id __attribute__((unused)) = FMT_INIT(id);
ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X

/* Where a walk ended: the first slot that is not TABLE. */
struct walk {
    uint64_t *slots; /* of the node it is in */
    unsigned level, index;
    uint64_t e;
    enum slot_kind kind;
};

/* An address of the space has no bits above the root's index. */
static inline __attribute__((always_inline)) unsigned walk_index(const struct fmt *F, unsigned level, aspace_va_t va)
{
    return level + 1u == F->levels ? (unsigned)(va >> F->shift[level]) : slot_index(F, level, va);
}

/* The table that an entry points to. Opaque, since gcc would add index and base first, and not as part of the load. */
static inline __attribute__((always_inline)) uint64_t *walk_table(const struct fmt *F, uint64_t e)
{
    uint64_t *slots = aspace_phys_to_virt(fmt_table_pa(F, e));
    OPAQUE(slots);
    return slots;
}

/* For an address in the space. */
static inline __attribute__((always_inline)) void walk_to(const struct fmt *const F, const struct pt *pt,
                                                          aspace_va_t va, struct walk *w)
{
    uint64_t *slots = pt->root_slots, e = 0;
    unsigned level = F->levels - 1u, i = 0;
#pragma GCC unroll 6
    for (; level < FMT_LEVELS_MAX; level--) { /* ends by wrapping below level 0 at the latest */
        i = walk_index(F, level, va);
        e = slot_load(slots + i);
        if (!level || UNLIKELY(!fmt_points(F, level, e)))
            break;
        slots = walk_table(F, e);
    }
    w->slots = slots;
    w->level = level;
    w->index = i;
    w->e = e;
    w->kind = fmt_present(F, level, e) ? SLOT_LEAF : slot_absent_kind(e);
}

/* The slots of the table of level 0 for an address in the space; NULL if there is none. */
static inline __attribute__((always_inline)) uint64_t *walk_bottom(const struct fmt *const F, const struct pt *pt,
                                                                   aspace_va_t va)
{
    uint64_t *slots = pt->root_slots;
#pragma GCC unroll 6
    for (unsigned level = F->levels - 1u; level > 0; level--) {
        uint64_t e = slot_load(slots + walk_index(F, level, va));
        if (UNLIKELY(!fmt_points(F, level, e)))
            return NULL;
        slots = walk_table(F, e);
    }
    return slots;
}

/*
 * Defines name_walk(F, k), k a type * with the members pt and va: walks, and returns name_end(F, k, &w) for the slot it
 * ends at. One copy of the end for each level, over constants; of a loop a compiler would make a common end, for which
 * the level is a variable.
 */
#define WALK_LEVEL(name, type, this, below)                                                                            \
    static inline                                                                                                      \
        __attribute__((always_inline)) int name##_##this(const struct fmt *const F, const type *k, uint64_t *slots)    \
    {                                                                                                                  \
        struct walk w = {.slots = slots, .level = this, .index = walk_index(F, this, k->va)};                          \
        w.e = slot_load(slots + w.index);                                                                              \
        if (UNLIKELY(!fmt_points(F, this, w.e)))                                                                       \
            return name##_end(F, k, &w);                                                                               \
        return name##_##below(F, k, walk_table(F, w.e));                                                               \
    }
#define WALK_LEVELS(name, type)                                                                                        \
    static inline __attribute__((always_inline)) int name##_none(const struct fmt *F, const type *k, uint64_t *slots)  \
    {                                                                                                                  \
        (void)F, (void)k, (void)slots;                                                                                 \
        return 0; /* not reached: there are no tables below level 0 */                                                 \
    }                                                                                                                  \
    WALK_LEVEL(name, type, 0, none)                                                                                    \
    WALK_LEVEL(name, type, 1, 0)                                                                                       \
    WALK_LEVEL(name, type, 2, 1)                                                                                       \
    WALK_LEVEL(name, type, 3, 2)                                                                                       \
    WALK_LEVEL(name, type, 4, 3)                                                                                       \
    static inline __attribute__((always_inline)) int name##_walk(const struct fmt *const F, const type *k)             \
    {                                                                                                                  \
        if (F->levels == 3)                                                                                            \
            return name##_2(F, k, k->pt->root_slots);                                                                  \
        return F->levels == 4 ? name##_3(F, k, k->pt->root_slots) : name##_4(F, k, k->pt->root_slots);                 \
    }

/* The descriptor of the table that `slots` are of. */
static inline struct node *walk_node(const struct pt *pt, const uint64_t *slots)
{
    return node_at(pt->host, aspace_virt_to_phys(slots));
}

/* The same with the format looked up, for code that is not hot. */
static inline void walk_any(const struct pt *pt, aspace_va_t va, struct walk *w)
{
    walk_to(pt->F, pt, va, w);
}

/* How long to spin on a BUSY slot before the section is left: a flush takes some microseconds. */
enum { WALK_SPINS = 2000, WALK_ROUNDS = 1000 };

#endif
