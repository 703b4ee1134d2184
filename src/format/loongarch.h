/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * LoongArch64: four levels of 9 bits, for virtual and for guest-physical addresses. Manual: LoongArch Reference Manual
 * volume 1, 5.4 (page tables), 7.5 (registers), 4.2.5 (LDDIR, LDPTE). Knows bits only.
 *
 * A directory entry has no valid bit: without H it is the bare address of a table. An entry that is absent therefore
 * poses as a huge leaf with V = 0, which LDPTE turns into an invalid TLB entry.
 *
 * A store needs D, and hardware does not set it: D is W and "has been written", which is kept in a software bit, so
 * that it outlives the write right. There is no accessed flag: every leaf counts as accessed.
 */
#ifndef ASPACE_FORMAT_LOONGARCH_H
#define ASPACE_FORMAT_LOONGARCH_H

#include "common.h"

#define LOONGARCH_V FMT_BIT(0) /* 5.4.2, 7.5.2: valid */
#define LOONGARCH_D FMT_BIT(1) /* 5.4.2, 7.5.2: dirty; a store without it is a page modification exception */
#define LOONGARCH_PLV_USER FMT_FIELD(3, 2) /* 5.4.2: PLV, the least privilege that has access; 3 is user */
#define LOONGARCH_MAT_CC FMT_BIT(4)        /* 5.2, 5.4.2: memory access type 1, coherent cached */
#define LOONGARCH_MAT_WUC FMT_BIT(5)       /* 2, weakly ordered uncached; 0 is strongly ordered uncached (SUC) */
#define LOONGARCH_MAT FMT_FIELD(5, 4)
#define LOONGARCH_HUGE FMT_BIT(6)     /* 5.4.5: H of a directory entry */
#define LOONGARCH_G FMT_BIT(6)        /* 5.4.2: holds for every ASID; leaf at level 0 */
#define LOONGARCH_HUGE_G FMT_BIT(12)  /* 5.4.5: the same in a huge leaf */
#define LOONGARCH_P FMT_BIT(7)        /* 5.4.5: the page exists */
#define LOONGARCH_W FMT_BIT(8)        /* 5.4.5: the page may be written */
#define LOONGARCH_SW_DIRTY FMT_BIT(9) /* 5.4.5: bits 11:9 of a leaf have no meaning */
#define LOONGARCH_SOFT_BIT 10         /* two more of them */
#define LOONGARCH_NR FMT_BIT(61)      /* 5.4.2: not readable */
#define LOONGARCH_NX FMT_BIT(62)      /* 5.4.2: not executable */
#define LOONGARCH_ADDRESS FMT_FIELD(47, 12)

/* 7.5.9, 7.5.10: base and width of the table and of three directories, 64-bit entries; no hardware walker (bit 24). */
#define LOONGARCH_PWCL (UINT64_C(12) | 9u << 5 | 21u << 10 | 9u << 15 | UINT64_C(30) << 20 | UINT64_C(9) << 25)
#define LOONGARCH_PWCH (UINT64_C(39) | 9u << 6)

/* Two page sizes for one address in a TLB are a fault of software (5.4.3): so break before make. */
#define LOONGARCH_FORMAT(id_, bits_, stage2_)                                                                          \
    {                                                                                                                  \
        .id = ASPACE_FMT_##id_, .family = FMT_LOONGARCH, .input_bits = (bits_), .output_bits = 48,                     \
        .stage2 = (stage2_), .has_user = !(stage2_), .leaf_levels = FMT_LEAF_4K_2M_1G,                                 \
        .soft_shift = LOONGARCH_SOFT_BIT, .break_before_make = true, FMT_LEVELS4((stage2_) ? 9 : 8)                    \
    }
#define FMT_INIT_LOONGARCH_S1 LOONGARCH_FORMAT(LOONGARCH_S1, 47, false)
#define FMT_INIT_LOONGARCH_S2 LOONGARCH_FORMAT(LOONGARCH_S2, 48, true)

FMT_INLINE int loongarch_init(const struct fmt *F, struct fmt_ctx *C, const struct aspace_config *config)
{
    (void)config;
    C->features &= ~(uint32_t)ASPACE_FEAT_AD; /* no processor sets D by itself: it raises page modification */
    C->absent[1] = LOONGARCH_HUGE;
    C->leaf_global = !F->stage2 && (C->features & ASPACE_FEAT_GLOBAL);
    C->leaf_bits = C->leaf_global ? LOONGARCH_G : 0;
    C->attr_mask = LOONGARCH_MAT;
    fmt_attr_set(C, ASPACE_ATTR_DEFAULT, LOONGARCH_MAT_CC);
    fmt_attr_set(C, ASPACE_ATTR_NORMAL, LOONGARCH_MAT_CC);
    fmt_attr_set(C, ASPACE_ATTR_DEVICE, 0);
    fmt_attr_set(C, ASPACE_ATTR_WC, LOONGARCH_MAT_WUC);
    fmt_attr_set(C, ASPACE_ATTR_UC, 0);
    C->control = LOONGARCH_PWCL | LOONGARCH_PWCH << 32;
    return ASPACE_OK;
}

/* V at level 0; above it "V or not H". */
FMT_INLINE bool loongarch_present(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return level == 0 ? (e & LOONGARCH_V) != 0 : (e & (LOONGARCH_V | LOONGARCH_HUGE)) != LOONGARCH_HUGE;
}

FMT_INLINE bool loongarch_is_table(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return level != 0 && !(e & LOONGARCH_HUGE);
}

FMT_INLINE bool loongarch_points(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return (level != 0) & ((uint8_t)e == 0);
}

FMT_INLINE uint64_t loongarch_table_entry(const struct fmt *F, const struct fmt_ctx *C, uint64_t pa)
{
    (void)F;
    (void)C;
    return pa;
}

FMT_INLINE uint64_t loongarch_table_pa(const struct fmt *F, uint64_t e)
{
    (void)F;
    return e & LOONGARCH_ADDRESS;
}

FMT_INLINE bool loongarch_rights_ok(const struct fmt *F, const struct fmt_ctx *C, uint32_t rights)
{
    uint32_t most = F->stage2 ? ASPACE_RWX : FMT_RIGHTS_ALL;

    (void)C;
    return !(rights & ~most) && (rights & ASPACE_RWX);
}

/* `dirty`: 1 or 0. User code needs PLV 3; in the second stage everything is let through. */
FMT_INLINE uint64_t loongarch_rights_bits(const struct fmt *F, uint32_t rights, uint64_t dirty)
{
    return ((rights & ASPACE_R) ? 0 : LOONGARCH_NR) | ((rights & ASPACE_X) ? 0 : LOONGARCH_NX) |
           ((rights & ASPACE_W) ? LOONGARCH_W | dirty * LOONGARCH_D : 0) | dirty * LOONGARCH_SW_DIRTY |
           ((F->stage2 || (rights & ASPACE_U)) ? LOONGARCH_PLV_USER : 0);
}

FMT_INLINE bool loongarch_accessed(const struct fmt *F, uint64_t e)
{
    (void)F;
    (void)e;
    return true;
}

FMT_INLINE bool loongarch_dirty(const struct fmt *F, uint64_t e)
{
    (void)F;
    return (e & LOONGARCH_SW_DIRTY) != 0;
}

/* Nothing but software sets D, so that a leaf that may be written starts as dirty. */
FMT_INLINE uint64_t loongarch_leaf(const struct fmt *F, const struct fmt_ctx *C, unsigned level, uint32_t rights,
                                   uint32_t attr)
{
    uint64_t global = level != 0 ? LOONGARCH_HUGE | C->leaf_bits << 6 : C->leaf_bits;

    return C->attr[attr] | LOONGARCH_V | LOONGARCH_P | global |
           loongarch_rights_bits(F, rights, (rights & ASPACE_W) != 0);
}

FMT_INLINE uint64_t loongarch_leaf_pa(const struct fmt *F, unsigned level, uint64_t e, unsigned idx)
{
    (void)idx;
    return e & fmt_address_mask(F, level);
}

FMT_INLINE uint32_t loongarch_leaf_rights(const struct fmt *F, const struct fmt_ctx *C, uint64_t e)
{
    (void)C;
    return ((e & LOONGARCH_NR) ? 0 : ASPACE_R) | ((e & LOONGARCH_W) ? ASPACE_W : 0) |
           ((e & LOONGARCH_NX) ? 0 : ASPACE_X) | ((!F->stage2 && (e & LOONGARCH_PLV_USER)) ? ASPACE_U : 0);
}

#define LOONGARCH_RIGHTS                                                                                               \
    (LOONGARCH_D | LOONGARCH_PLV_USER | LOONGARCH_W | LOONGARCH_SW_DIRTY | LOONGARCH_NR | LOONGARCH_NX)

FMT_INLINE uint64_t loongarch_with_rights(const struct fmt *F, const struct fmt_ctx *C, unsigned level, uint64_t e,
                                          uint32_t rights)
{
    uint64_t dirty = loongarch_dirty(F, e) | ((rights & ASPACE_W) != 0);

    (void)C;
    (void)level;
    return (e & ~LOONGARCH_RIGHTS) | loongarch_rights_bits(F, rights, dirty);
}

FMT_INLINE uint64_t loongarch_with_ad(const struct fmt *F, uint64_t e, bool accessed, bool dirty)
{
    uint64_t d = dirty, w = (e & LOONGARCH_W) != 0;

    (void)F;
    (void)accessed;
    return (e & ~(LOONGARCH_D | LOONGARCH_SW_DIRTY)) | d * LOONGARCH_SW_DIRTY | (d & w) * LOONGARCH_D;
}

/* Bits 13 and 14 of a huge leaf, where LDDIR writes the level, are zero, as its address is aligned. */
FMT_INLINE uint64_t loongarch_split(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return level == 1 ? (e & ~(LOONGARCH_HUGE | LOONGARCH_HUGE_G)) | (e & LOONGARCH_HUGE_G) >> 6 : e;
}

FMT_INLINE uint64_t loongarch_join(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return level == 1 ? (e & ~LOONGARCH_G) | (e & LOONGARCH_G) << 6 | LOONGARCH_HUGE : e;
}

FMT_INLINE uint64_t loongarch_run(const struct fmt *F, uint64_t e)
{
    (void)F;
    return e; /* no runs */
}

FMT_INLINE uint64_t loongarch_unrun(const struct fmt *F, uint64_t e, unsigned idx)
{
    (void)F;
    (void)idx;
    return e;
}

FMT_INLINE bool loongarch_in_run(const struct fmt *F, uint64_t e)
{
    (void)F;
    (void)e;
    return false;
}

FMT_INLINE struct aspace_registers loongarch_registers(const struct fmt *F, const struct fmt_ctx *C, uint64_t root_pa,
                                                       uint32_t tag)
{
    (void)F;
    (void)tag; /* 7.5.4: the ASID is a register of its own */
    return (struct aspace_registers){.base = root_pa, .control = C->control};
}

#endif
