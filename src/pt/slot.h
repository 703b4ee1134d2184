/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slots: what one entry of a table can be, and the encodings of those that the MMU does not see. Owns the marker bits;
 * what is present belongs to the format.
 *
 *   EMPTY | ARMED(value, how) | PARKED(frame) | LEAF | TABLE(child) | BUSY(owner)
 *
 * Marker layout, OR-ed with C->absent (fmt.h says which bits a format leaves alone):
 *
 *   63 62 61 60 59..56 55..52 51..44 43..40 39......16 15 14 13 12 11 10  9  8  7  6  5..3 2..0
 *    V  .  .  .    .      .   ones   rights area index                      H  Z  .  kind   0        ARMED
 *    V  .  .  .    .      .   ones    .     owner tag                       .  .  .  kind   0        BUSY
 *    V  w  D  A  rights  as PARKED, or a table's address 59..16              w     w soft .  kind   0        BUSY, held
 *    V  .  D  A  rights  frame address 55..12, 51..12 inverted on x86 (L1TF) soft .  kind   0        PARKED
 *
 * Z: plain zero-fill will do, H: a huge frame may be used: so that the common fault reads no area record. Bits 44-51 of
 * ARMED and BUSY are ones and PARKED is inverted because a not-present x86 entry is still fed to the L1 cache by
 * processors with L1TF: the address must be one that no memory answers.
 */
#ifndef PT_SLOT_H
#define PT_SLOT_H

#include "format/format.h"
#include "sync/seam.h"

/* A mapping value: what a slot maps to, apart from the frame. 0: nothing. */
typedef uint32_t value_t;
#define VALUE_INDEX(v) ((v)&0xffffffu)
#define VALUE_RIGHTS(v) ((v) >> 24 & 0xfu)
#define VALUE(index, rights) ((value_t)(index) | (value_t)(rights) << 24)

enum slot_kind { SLOT_EMPTY, SLOT_ARMED, SLOT_PARKED, SLOT_BUSY, SLOT_LEAF, SLOT_TABLE };

#define SLOT_KIND_SHIFT 3
#define SLOT_KIND_MASK 7u
#define SLOT_ZERO (1ull << 7)
#define SLOT_HUGE (1ull << 8)
#define SLOT_HIGH (0xffull << 44)
#define SLOT_PA 0x00fffffffffff000ull
#define SLOT_PARKED_A (1ull << 60)
#define SLOT_PARKED_D (1ull << 61)
#define SLOT_PARKED_RIGHTS(e) ((uint32_t)((e) >> 56) & 0xfu)
#define SLOT_PARKED_SOFT_SHIFT 7
#define SLOT_PARKED_STATE (0x3full << 56 | 3ull << SLOT_PARKED_SOFT_SHIFT)

/*
 * Whose frame a leaf or a PARKED slot holds, in the two bits of a present entry that the format leaves to software
 * (fmt_soft). Neither: as the area says, unique for one that owns its frames, borrowed for any other. COUNTED: the
 * frame may be mapped elsewhere too, pt/shares.h knows how often, and the leaf never has the write right. OWN: unique
 * in an area whose other pages are borrowed.
 */
enum { SOFT_COUNTED = 1, SOFT_OWN = 2 };

static inline __attribute__((always_inline)) enum slot_kind slot_absent_kind(uint64_t e)
{
    return (enum slot_kind)(e >> SLOT_KIND_SHIFT & SLOT_KIND_MASK);
}

/* Of a slot that is not present. */
static inline __attribute__((always_inline)) bool slot_is_busy(uint64_t e)
{
    return (e & SLOT_KIND_MASK << SLOT_KIND_SHIFT) == (uint64_t)SLOT_BUSY << SLOT_KIND_SHIFT;
}

static inline __attribute__((always_inline)) enum slot_kind slot_kind(const struct fmt *F, unsigned level, uint64_t e)
{
    if (!fmt_present(F, level, e))
        return slot_absent_kind(e);
    return level && fmt_is_table(F, level, e) ? SLOT_TABLE : SLOT_LEAF;
}

static inline uint64_t slot_empty(const struct fmt_ctx *C, unsigned level)
{
    return C->absent[level > 0];
}

/* `how`: SLOT_ZERO and SLOT_HUGE as the area's record says. */
static inline uint64_t slot_armed(const struct fmt_ctx *C, unsigned level, value_t v, uint64_t how)
{
    return C->absent[level > 0] | SLOT_HIGH | (uint64_t)VALUE_RIGHTS(v) << 40 | (uint64_t)VALUE_INDEX(v) << 16 | how |
           (uint64_t)SLOT_ARMED << SLOT_KIND_SHIFT;
}

static inline value_t slot_armed_value(uint64_t e)
{
    return VALUE(e >> 16 & 0xffffffu, e >> 40 & 0xfu);
}

static inline uint64_t slot_busy(const struct fmt_ctx *C, unsigned level, uint32_t tag)
{
    return C->absent[level > 0] | SLOT_HIGH | (uint64_t)tag << 16 | (uint64_t)SLOT_BUSY << SLOT_KIND_SHIFT;
}

static inline uint64_t slot_park_xor(const struct fmt *F)
{
    return F->family == FMT_EPT || F->family == FMT_X86 ? 0x000ffffffffff000ull : 0;
}

/* What a BUSY slot holds while its owner moves it elsewhere. To everybody else it is BUSY as any other. */
#define SLOT_HOLDS_LEAF (1ull << 9)
#define SLOT_HOLDS_PARKED (1ull << 11)
#define SLOT_HOLDS_TABLE (SLOT_HOLDS_LEAF | SLOT_HOLDS_PARKED)
#define SLOT_HOLDS_RUN (1ull << 62) /* beside LEAF */

static inline uint64_t slot_held(uint64_t e)
{
    return e & SLOT_HOLDS_TABLE;
}

/* `state`: what of the leaf is to come back, SLOT_PARKED_STATE bits. */
static inline uint64_t slot_parked(const struct fmt *F, const struct fmt_ctx *C, unsigned level, uint64_t pa,
                                   uint64_t state)
{
    return C->absent[level > 0] | (pa ^ slot_park_xor(F)) | state | (uint64_t)SLOT_PARKED << SLOT_KIND_SHIFT;
}

/* The marker that keeps a leaf's frame, its rights, accessed and dirty. */
static inline uint64_t slot_park(const struct fmt *F, const struct fmt_ctx *C, unsigned level, uint64_t e, unsigned i)
{
    uint64_t ad = (fmt_accessed(F, e) ? SLOT_PARKED_A : 0) | (fmt_dirty(F, e) ? SLOT_PARKED_D : 0);
    ad |= (uint64_t)fmt_soft(F, e) << SLOT_PARKED_SOFT_SHIFT;
    return slot_parked(F, C, level, fmt_output(F, C, level, e, i), ad | (uint64_t)fmt_leaf_rights(F, C, e) << 56);
}

/* Of a LEAF or a PARKED slot. */
static inline unsigned slot_soft(const struct fmt *F, unsigned level, uint64_t e)
{
    return fmt_present(F, level, e) ? fmt_soft(F, e) : (unsigned)(e >> SLOT_PARKED_SOFT_SHIFT & 3u);
}

/* Of a LEAF or a PARKED slot: was it written since the flag was cleared? Where hardware does not tell: may it be? */
static inline bool slot_dirty(const struct fmt *F, unsigned level, uint64_t e)
{
    return fmt_present(F, level, e) ? fmt_dirty(F, e) : (e & SLOT_PARKED_D) != 0;
}

/* BUSY that holds what a PARKED slot does. */
static inline uint64_t slot_hold(uint64_t parked, uint64_t what)
{
    return (parked & ~((uint64_t)SLOT_KIND_MASK << SLOT_KIND_SHIFT)) | (uint64_t)SLOT_BUSY << SLOT_KIND_SHIFT | what;
}

/* BUSY that holds the address of a table, in bits that every directory has for markers. */
static inline uint64_t slot_hold_table(const struct fmt *F, const struct fmt_ctx *C, aspace_pa_t pa)
{
    return C->absent[1] | ((pa << 4) ^ (slot_park_xor(F) & ~0xffffull)) | (uint64_t)SLOT_BUSY << SLOT_KIND_SHIFT |
           SLOT_HOLDS_TABLE;
}

static inline aspace_pa_t slot_held_table(const struct fmt *F, uint64_t e)
{
    return ((e ^ slot_park_xor(F)) & 0x0fffffffffff0000ull) >> 4;
}

static inline aspace_pa_t slot_parked_pa(const struct fmt *F, uint64_t e)
{
    return (e ^ slot_park_xor(F)) & SLOT_PA;
}

/* The frame of the LEAF or PARKED entry e of slot i. */
static inline __attribute__((always_inline)) aspace_pa_t slot_frame(const struct fmt *F, const struct fmt_ctx *C,
                                                                    unsigned level, uint64_t e, unsigned i)
{
    return fmt_present(F, level, e) ? fmt_output(F, C, level, e, i) : slot_parked_pa(F, e);
}

#endif
