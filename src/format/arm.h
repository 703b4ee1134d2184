/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * AArch64 (VMSAv8-64) translation tables with the 4 KiB granule: stage 1 (TTBR0) and stage 2. Sections are those of the
 * Arm Architecture Reference Manual, DDI 0487. Knows bits only.
 *
 * The write right is DBM in both stages: hardware that updates dirty state (D8.5.2) reads it so, other hardware ignores
 * it, and it keeps the right while a leaf is clean, that is not writable in AP[2] or S2AP[1]. When the right goes away
 * from a dirty leaf, a software bit remembers that it was dirty.
 */
#ifndef ASPACE_FORMAT_ARM_H
#define ASPACE_FORMAT_ARM_H

#include "common.h"

#define ARM_VALID FMT_BIT(0) /* D8.3.1 */
#define ARM_TABLE FMT_BIT(1) /* D8.3.1: table above level 0; a page at level 0, where 0 is reserved */
#define ARM_ATTR_SHIFT 2
#define ARM_S1_ATTR FMT_FIELD(4, 2)  /* D8.6.1: AttrIndx, stage 1 */
#define ARM_S2_ATTR FMT_FIELD(5, 2)  /* D8.6.5: MemAttr, stage 2 */
#define ARM_S1_USER FMT_BIT(6)       /* D8.4.1: AP[1], EL0 has access */
#define ARM_S2_R FMT_BIT(6)          /* D8.4.2: S2AP[0], readable */
#define ARM_WRITE_BIT 7              /* D8.4.1: AP[2], 1 is read-only; D8.4.2: S2AP[1], 1 is writable */
#define ARM_SH_INNER FMT_FIELD(9, 8) /* D8.6.2: inner shareable */
#define ARM_AF FMT_BIT(10)           /* D8.5.1: access flag */
#define ARM_S1_NG FMT_BIT(11)        /* D8.7: not global, the translation belongs to the ASID */
#define ARM_DBM FMT_BIT(51)          /* D8.5.2: dirty bit modifier */
#define ARM_CONTIG FMT_BIT(52)       /* D8.7.1: contiguous */
#define ARM_XN_LO_BIT 53             /* D8.4.1: PXN, stage 1; D8.4.2: XN[0], stage 2 with FEAT_XNX, else 0 */
#define ARM_XN_HI_BIT 54             /* D8.4.1: UXN, stage 1; D8.4.2: XN[1], stage 2 */
#define ARM_XN FMT_FIELD(54, 53)
#define ARM_SW_DIRTY FMT_BIT(56) /* D8.3.2: bits 58:55 are ignored, for software (55 is NS in a Realm's stage 2) */
#define ARM_SOFT_BIT 57          /* two more of them */
#define ARM_ADDRESS FMT_FIELD(47, 12)

/* D8.6.1, MAIR_EL1 */
enum { ARM_MAIR_WB = 0xff, ARM_MAIR_NGNRE = 0x04, ARM_MAIR_NC = 0x44, ARM_MAIR_NGNRNE = 0x00 };
#define ARM_MAIR_DEFAULT UINT64_C(0x004404ff)
/* D8.6.5 (without FWB) and D8.6.6 (with): MemAttr. All but write-back are the same in both. */
enum { ARM_S2_WB = 15, ARM_S2_FWB_WB = 6, ARM_S2_NC = 5, ARM_S2_NGNRE = 1, ARM_S2_NGNRNE = 0 };

/* D24.2: TCR_EL1 and VTCR_EL2. The first fields are in the same place in both; TG0 = 0 is the 4 KiB granule. */
#define ARM_TCR_T0SZ(input_bits) (UINT64_C(64) - (input_bits))
#define ARM_TCR_IRGN0_WBWA FMT_BIT(8)
#define ARM_TCR_ORGN0_WBWA FMT_BIT(10)
#define ARM_TCR_SH0_INNER FMT_FIELD(13, 12)
#define ARM_TCR_WALKS (ARM_TCR_IRGN0_WBWA | ARM_TCR_ORGN0_WBWA | ARM_TCR_SH0_INNER)
/* TCR_EL1; AS: 16-bit ASIDs */
#define ARM_TCR_IPS_SHIFT 32
#define ARM_TCR_AS FMT_BIT(36)
#define ARM_TCR_HA FMT_BIT(39)
#define ARM_TCR_HD FMT_BIT(40)
/* VTCR_EL2; SL0: start at level 1 is 1, at level 0 is 2 (4 KiB granule); VS: 16-bit VMIDs */
#define ARM_VTCR_SL0_SHIFT 6
#define ARM_VTCR_PS_SHIFT 16
#define ARM_VTCR_VS FMT_BIT(19)
#define ARM_VTCR_HA FMT_BIT(21)
#define ARM_VTCR_HD FMT_BIT(22)
#define ARM_VTCR_RES1 FMT_BIT(31)
/* D24.2: TTBR0_EL1.ASID, VTTBR_EL2.VMID */
#define ARM_TTBR_TAG_SHIFT 48

#define ARM_FORMAT(id_, family_, bits_, order_, levels_)                                                               \
    {                                                                                                                  \
        .id = ASPACE_FMT_##id_, .family = (family_), .input_bits = (bits_), .output_bits = 48, .root_order = (order_), \
        .stage2 = (family_) == FMT_ARM_S2, .has_user = true, .leaf_levels = FMT_LEAF_4K_2M_1G, .run_lg2 = 4,           \
        .soft_shift = ARM_SOFT_BIT, .break_before_make = true, levels_                                                 \
    }
/* D8.2.2: up to 16 tables concatenated at the first level looked up */
#define FMT_INIT_ARM_S2_39 ARM_FORMAT(ARM_S2_39, FMT_ARM_S2, 39, 0, FMT_LEVELS3(9))
#define FMT_INIT_ARM_S2_40 ARM_FORMAT(ARM_S2_40, FMT_ARM_S2, 40, 1, FMT_LEVELS3(10))
#define FMT_INIT_ARM_S2_43 ARM_FORMAT(ARM_S2_43, FMT_ARM_S2, 43, 4, FMT_LEVELS3(13))
#define FMT_INIT_ARM_S2_48 ARM_FORMAT(ARM_S2_48, FMT_ARM_S2, 48, 0, FMT_LEVELS4(9))
#define FMT_INIT_ARM_S1_39 ARM_FORMAT(ARM_S1_39, FMT_ARM_S1, 39, 0, FMT_LEVELS3(9))
#define FMT_INIT_ARM_S1_48 ARM_FORMAT(ARM_S1_48, FMT_ARM_S1, 48, 0, FMT_LEVELS4(9))

/* D24.2, ID_AA64MMFR0_EL1.PARange: the narrowest encoded size that holds `width` bits. */
FMT_INLINE uint64_t arm_size_code(uint64_t pa_end)
{
    static const uint8_t width[] = {32, 36, 40, 42, 44};
    unsigned code = 0;

    while (code < sizeof width / sizeof *width && FMT_BIT(width[code]) < pa_end)
        code++;
    return code; /* 5: 48 bits */
}

FMT_INLINE void arm_init_s1_attr(struct fmt_ctx *C, enum aspace_attr a, uint8_t type)
{
    int index = fmt_type_index(C->mair, type);

    if (index >= 0)
        fmt_attr_set(C, a, (uint64_t)index << ARM_ATTR_SHIFT);
}

FMT_INLINE void arm_init_s1(const struct fmt *F, struct fmt_ctx *C, const struct aspace_config *config)
{
    C->mair = config->mair != 0 ? config->mair : ARM_MAIR_DEFAULT;
    C->attr_mask = ARM_S1_ATTR;
    arm_init_s1_attr(C, ASPACE_ATTR_DEFAULT, ARM_MAIR_WB);
    arm_init_s1_attr(C, ASPACE_ATTR_NORMAL, ARM_MAIR_WB);
    arm_init_s1_attr(C, ASPACE_ATTR_DEVICE, ARM_MAIR_NGNRE);
    arm_init_s1_attr(C, ASPACE_ATTR_WC, ARM_MAIR_NC);
    arm_init_s1_attr(C, ASPACE_ATTR_UC, ARM_MAIR_NGNRNE);
    C->control = ARM_TCR_T0SZ(F->input_bits) | ARM_TCR_WALKS | arm_size_code(C->pa_end) << ARM_TCR_IPS_SHIFT |
                 fmt_has(C->features, ASPACE_FEAT_AD) * (ARM_TCR_HA | ARM_TCR_HD);
}

FMT_INLINE void arm_init_s2(const struct fmt *F, struct fmt_ctx *C)
{
    uint64_t wb = (C->features & ASPACE_FEAT_FWB) ? ARM_S2_FWB_WB : ARM_S2_WB;

    C->attr_mask = ARM_S2_ATTR;
    fmt_attr_set(C, ASPACE_ATTR_DEFAULT, wb << ARM_ATTR_SHIFT);
    fmt_attr_set(C, ASPACE_ATTR_NORMAL, wb << ARM_ATTR_SHIFT);
    fmt_attr_set(C, ASPACE_ATTR_DEVICE, (uint64_t)ARM_S2_NGNRE << ARM_ATTR_SHIFT);
    fmt_attr_set(C, ASPACE_ATTR_WC, (uint64_t)ARM_S2_NC << ARM_ATTR_SHIFT);
    fmt_attr_set(C, ASPACE_ATTR_UC, (uint64_t)ARM_S2_NGNRNE << ARM_ATTR_SHIFT);
    C->control = ARM_TCR_T0SZ(F->input_bits) | ARM_TCR_WALKS | arm_size_code(C->pa_end) << ARM_VTCR_PS_SHIFT |
                 (uint64_t)(F->levels - 2) << ARM_VTCR_SL0_SHIFT | ARM_VTCR_RES1 |
                 fmt_has(C->features, ASPACE_FEAT_AD) * (ARM_VTCR_HA | ARM_VTCR_HD);
}

FMT_INLINE int arm_init(const struct fmt *F, struct fmt_ctx *C, const struct aspace_config *config)
{
    if (F->stage2)
        arm_init_s2(F, C);
    else
        arm_init_s1(F, C, config);
    C->run_lg2 = (C->features & ASPACE_FEAT_CONTIG) ? F->run_lg2 : 0;
    C->table_bits = ARM_VALID | ARM_TABLE;
    C->leaf_global = !F->stage2 && (C->features & ASPACE_FEAT_GLOBAL);
    C->leaf_bits = F->stage2 || C->leaf_global ? 0 : ARM_S1_NG;
    return ASPACE_OK;
}

FMT_INLINE bool arm_present(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    (void)level;
    return (e & ARM_VALID) != 0;
}

FMT_INLINE bool arm_is_table(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return level != 0 && (e & ARM_TABLE);
}

FMT_INLINE bool arm_points(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return (level != 0) & ((uint8_t)e == (ARM_VALID | ARM_TABLE));
}

FMT_INLINE uint64_t arm_table_entry(const struct fmt *F, const struct fmt_ctx *C, uint64_t pa)
{
    (void)F;
    return pa | C->table_bits;
}

FMT_INLINE uint64_t arm_table_pa(const struct fmt *F, uint64_t e)
{
    (void)F;
    return e & ARM_ADDRESS;
}

/*
 * Stage 1: valid is readable by EL1 (D8.4.1); what EL0 may write EL1 never executes, but there X with U means EL0 only.
 * Stage 2: any combination; U is a matter of execution only and needs FEAT_XNX (D8.4.2).
 */
FMT_INLINE bool arm_rights_ok(const struct fmt *F, const struct fmt_ctx *C, uint32_t rights)
{
    bool user = !F->stage2 || ((C->features & ASPACE_FEAT_XNX) && (rights & ASPACE_X));
    uint32_t least = F->stage2 ? ASPACE_RWX : ASPACE_R;

    return !(rights & ~(uint32_t)FMT_RIGHTS_ALL) && (rights & least) && (!(rights & ASPACE_U) || user);
}

/* Execute-never bits. Stage 2 with FEAT_XNX: 0 executable, 2 not, 3 at EL1 only. */
FMT_INLINE uint64_t arm_xn_bits(const struct fmt *F, const struct fmt_ctx *C, uint32_t rights)
{
    uint64_t x = (rights & ASPACE_X) != 0, u = (rights & ASPACE_U) != 0;
    uint64_t el1_only = fmt_has(C->features, ASPACE_FEAT_XNX) & x & (u ^ 1);

    if (F->stage2)
        return ((x ^ 1) | el1_only) << ARM_XN_HI_BIT | el1_only << ARM_XN_LO_BIT;
    return ((x & u) ^ 1) << ARM_XN_HI_BIT | ((x & (u ^ 1)) ^ 1) << ARM_XN_LO_BIT;
}

/* AP[2] or S2AP[1] for a leaf that is writable as it stands (1) or not (0). */
FMT_INLINE uint64_t arm_write_bit(const struct fmt *F, uint64_t writable)
{
    return (writable ^ !F->stage2) << ARM_WRITE_BIT;
}

FMT_INLINE uint64_t arm_writable(const struct fmt *F, uint64_t e)
{
    return ((e >> ARM_WRITE_BIT) & 1) ^ !F->stage2;
}

/* `dirty`: 1 or 0, the leaf has been written. */
FMT_INLINE uint64_t arm_rights_bits(const struct fmt *F, const struct fmt_ctx *C, uint32_t rights, uint64_t dirty)
{
    uint64_t w = (rights & ASPACE_W) != 0;
    uint64_t access = F->stage2 ? ((rights & ASPACE_R) ? ARM_S2_R : 0) : ((rights & ASPACE_U) ? ARM_S1_USER : 0);

    return access | w * ARM_DBM | arm_write_bit(F, w & (dirty | fmt_preset(C))) | (w ^ 1) * dirty * ARM_SW_DIRTY |
           arm_xn_bits(F, C, rights);
}

FMT_INLINE uint64_t arm_leaf(const struct fmt *F, const struct fmt_ctx *C, unsigned level, uint32_t rights,
                             uint32_t attr)
{
    return C->attr[attr] | ARM_VALID | (level == 0 ? ARM_TABLE : 0) | ARM_SH_INNER | fmt_preset(C) * ARM_AF |
           C->leaf_bits | arm_rights_bits(F, C, rights, 0);
}

FMT_INLINE uint64_t arm_leaf_pa(const struct fmt *F, unsigned level, uint64_t e, unsigned idx)
{
    (void)idx; /* each entry of a contiguous run has its own address */
    return e & fmt_address_mask(F, level);
}

FMT_INLINE uint32_t arm_leaf_rights(const struct fmt *F, const struct fmt_ctx *C, uint64_t e)
{
    bool hi = (e >> ARM_XN_HI_BIT) & 1, lo = (e >> ARM_XN_LO_BIT) & 1;
    uint32_t w = (e & ARM_DBM) ? ASPACE_W : 0;

    if (F->stage2)
        return w | ((e & ARM_S2_R) ? ASPACE_R : 0) | ((!hi || lo) ? ASPACE_X : 0) |
               ((!hi && (C->features & ASPACE_FEAT_XNX)) ? ASPACE_U : 0);
    bool user = (e & ARM_S1_USER) != 0;
    return w | ASPACE_R | ((user ? !hi : !lo) ? ASPACE_X : 0) | (user ? ASPACE_U : 0);
}

FMT_INLINE bool arm_accessed(const struct fmt *F, uint64_t e)
{
    (void)F;
    return (e & ARM_AF) != 0;
}

FMT_INLINE bool arm_dirty(const struct fmt *F, uint64_t e)
{
    return arm_writable(F, e) || (e & ARM_SW_DIRTY);
}

#define ARM_RIGHTS (FMT_BIT(6) | FMT_BIT(ARM_WRITE_BIT) | ARM_DBM | ARM_XN | ARM_SW_DIRTY)

FMT_INLINE uint64_t arm_with_rights(const struct fmt *F, const struct fmt_ctx *C, unsigned level, uint64_t e,
                                    uint32_t rights)
{
    (void)level;
    return (e & ~ARM_RIGHTS) | arm_rights_bits(F, C, rights, arm_dirty(F, e));
}

FMT_INLINE uint64_t arm_with_ad(const struct fmt *F, uint64_t e, bool accessed, bool dirty)
{
    uint64_t w = (e & ARM_DBM) != 0, d = dirty;

    e &= ~(ARM_AF | FMT_BIT(ARM_WRITE_BIT) | ARM_SW_DIRTY);
    return e | (accessed ? ARM_AF : 0) | arm_write_bit(F, w & d) | (w ^ 1) * d * ARM_SW_DIRTY;
}

FMT_INLINE uint64_t arm_split(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return level == 1 ? e | ARM_TABLE : e;
}

FMT_INLINE uint64_t arm_join(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return level == 1 ? e & ~(ARM_TABLE | ARM_CONTIG) : e;
}

FMT_INLINE uint64_t arm_run(const struct fmt *F, uint64_t e)
{
    (void)F;
    return e | ARM_CONTIG;
}

FMT_INLINE uint64_t arm_unrun(const struct fmt *F, uint64_t e, unsigned idx)
{
    (void)F;
    (void)idx;
    return e & ~ARM_CONTIG;
}

FMT_INLINE bool arm_in_run(const struct fmt *F, uint64_t e)
{
    (void)F;
    return (e & ARM_CONTIG) != 0;
}

FMT_INLINE struct aspace_registers arm_registers(const struct fmt *F, const struct fmt_ctx *C, uint64_t root_pa,
                                                 uint32_t tag)
{
    uint64_t wide_tag = tag > 0xff ? (F->stage2 ? ARM_VTCR_VS : ARM_TCR_AS) : 0;

    return (struct aspace_registers){.base = root_pa | (uint64_t)(tag & 0xffff) << ARM_TTBR_TAG_SHIFT,
                                     .control = C->control | wide_tag,
                                     .memory_types = C->mair};
}

#endif
