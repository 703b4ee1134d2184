/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Intel extended page tables. Sections are those of the Intel SDM, volume 3C: 29.3.2 and the tables of entry formats
 * there. Knows bits only.
 */
#ifndef ASPACE_FORMAT_EPT_H
#define ASPACE_FORMAT_EPT_H

#include "common.h"

#define EPT_R FMT_BIT(0) /* 29.3.2 read access */
#define EPT_W FMT_BIT(1) /* 29.3.2 write access */
#define EPT_X FMT_BIT(2) /* 29.3.2 execute access; with mode-based control, for supervisor code */
#define EPT_TYPE_SHIFT 3 /* 29.3.7.2 memory type, bits 5:3 of a leaf */
#define EPT_TYPE FMT_FIELD(5, 3)
#define EPT_IGNORE_PAT FMT_BIT(6)   /* 29.3.7.2 the guest's PAT has no say; leaf */
#define EPT_LARGE FMT_BIT(7)        /* 29.3.2 a leaf at level 1 or 2; ignored at level 0 */
#define EPT_ACCESSED FMT_BIT(8)     /* 29.3.5, if EPTP bit 6 is set, else ignored */
#define EPT_DIRTY FMT_BIT(9)        /* 29.3.5, leaf; if EPTP bit 6 is set, else ignored */
#define EPT_X_USER FMT_BIT(10)      /* 29.3.2 execute access for user code, with mode-based execute control */
#define EPT_SOFT_BIT 52             /* 29.3.2: bits 56:52 of a leaf are ignored */
#define EPT_SUPPRESS_VE FMT_BIT(63) /* 26.5.7.1: violations by this entry exit, they do not become #VE */
#define EPT_ADDRESS FMT_FIELD(51, 12)

enum { EPT_UC = 0, EPT_WC = 1, EPT_WB = 6 }; /* 29.3.7.2 */

#define EPTP_TYPE_WB UINT64_C(6) /* 25.6.11 bits 2:0: memory type of the tables */
#define EPTP_WALK_SHIFT 3        /* 25.6.11 bits 5:3: levels less 1 */
#define EPTP_AD FMT_BIT(6)       /* 25.6.11 accessed and dirty flags are enabled */

#define EPT_FORMAT(id_, bits_, levels_)                                                                                \
    {                                                                                                                  \
        .id = ASPACE_FMT_##id_, .family = FMT_EPT, .input_bits = (bits_), .output_bits = 52, .stage2 = true,           \
        .has_user = true, .leaf_levels = FMT_LEAF_4K_2M_1G, .soft_shift = EPT_SOFT_BIT, levels_                        \
    }
#define FMT_INIT_X86_EPT4 EPT_FORMAT(X86_EPT4, 48, FMT_LEVELS4(9))
#define FMT_INIT_X86_EPT5 EPT_FORMAT(X86_EPT5, 57, FMT_LEVELS5(9))

FMT_INLINE int ept_init(const struct fmt *F, struct fmt_ctx *C, const struct aspace_config *config)
{
    (void)F;
    (void)config;
    C->absent[0] = C->absent[1] = fmt_has(C->features, ASPACE_FEAT_VE) * EPT_SUPPRESS_VE;
    C->attr_mask = EPT_TYPE;
    fmt_attr_set(C, ASPACE_ATTR_DEFAULT, (uint64_t)EPT_WB << EPT_TYPE_SHIFT);
    fmt_attr_set(C, ASPACE_ATTR_NORMAL, (uint64_t)EPT_WB << EPT_TYPE_SHIFT);
    fmt_attr_set(C, ASPACE_ATTR_DEVICE, (uint64_t)EPT_UC << EPT_TYPE_SHIFT);
    fmt_attr_set(C, ASPACE_ATTR_WC, (uint64_t)EPT_WC << EPT_TYPE_SHIFT);
    fmt_attr_set(C, ASPACE_ATTR_UC, (uint64_t)EPT_UC << EPT_TYPE_SHIFT);
    /* Accessed is preset, so that no walker ever writes an entry that points to a table. */
    C->table_bits =
        EPT_R | EPT_W | EPT_X | EPT_ACCESSED | C->absent[1] | fmt_has(C->features, ASPACE_FEAT_MBEC) * EPT_X_USER;
    return ASPACE_OK;
}

/* 29.3.2: an entry is present if any of bits 2:0 (and 10) is set; bit 10 is never set here without bit 2. */
FMT_INLINE bool ept_present(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    (void)level;
    return (e & (EPT_R | EPT_W | EPT_X)) != 0;
}

FMT_INLINE bool ept_is_table(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return level != 0 && !(e & EPT_LARGE);
}

FMT_INLINE bool ept_points(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return (level != 0) & ((uint8_t)e == (EPT_R | EPT_W | EPT_X));
}

FMT_INLINE uint64_t ept_table_entry(const struct fmt *F, const struct fmt_ctx *C, uint64_t pa)
{
    (void)F;
    return pa | C->table_bits;
}

FMT_INLINE uint64_t ept_table_pa(const struct fmt *F, uint64_t e)
{
    (void)F;
    return e & EPT_ADDRESS;
}

/* 29.3.3.1: W without R is a misconfiguration, and so is X without R where the processor lacks it. */
FMT_INLINE bool ept_rights_ok(const struct fmt *F, const struct fmt_ctx *C, uint32_t rights)
{
    bool exec_only = (C->features & ASPACE_FEAT_EXEC_ONLY) && (rights & ASPACE_X) && !(rights & ASPACE_W);
    bool user = (C->features & ASPACE_FEAT_MBEC) && (rights & ASPACE_X);

    (void)F;
    return !(rights & ~(uint32_t)FMT_RIGHTS_ALL) && ((rights & ASPACE_R) || exec_only) &&
           (!(rights & ASPACE_U) || user);
}

/* ASPACE_R, _W and _X are bits 0 to 2 here and there. */
FMT_INLINE uint64_t ept_rights_bits(const struct fmt_ctx *C, uint32_t rights)
{
    return (rights & ASPACE_RWX) | ((rights & ASPACE_U) ? EPT_X_USER : 0) |
           ((rights & ASPACE_W) ? fmt_preset(C) * EPT_DIRTY : 0);
}

FMT_INLINE uint64_t ept_leaf(const struct fmt *F, const struct fmt_ctx *C, unsigned level, uint32_t rights,
                             uint32_t attr)
{
    (void)F;
    return C->attr[attr] | EPT_IGNORE_PAT | C->absent[0] | fmt_preset(C) * EPT_ACCESSED | ept_rights_bits(C, rights) |
           (level != 0 ? EPT_LARGE : 0);
}

FMT_INLINE uint64_t ept_leaf_pa(const struct fmt *F, unsigned level, uint64_t e, unsigned idx)
{
    (void)idx;
    return e & fmt_address_mask(F, level);
}

FMT_INLINE uint32_t ept_leaf_rights(const struct fmt *F, const struct fmt_ctx *C, uint64_t e)
{
    (void)F;
    (void)C;
    return (uint32_t)(e & ASPACE_RWX) | ((e & EPT_X_USER) ? ASPACE_U : 0);
}

FMT_INLINE uint64_t ept_with_rights(const struct fmt *F, const struct fmt_ctx *C, unsigned level, uint64_t e,
                                    uint32_t rights)
{
    (void)F;
    (void)level;
    return (e & ~(EPT_R | EPT_W | EPT_X | EPT_X_USER)) | ept_rights_bits(C, rights);
}

FMT_INLINE bool ept_accessed(const struct fmt *F, uint64_t e)
{
    (void)F;
    return (e & EPT_ACCESSED) != 0;
}

FMT_INLINE bool ept_dirty(const struct fmt *F, uint64_t e)
{
    (void)F;
    return (e & EPT_DIRTY) != 0;
}

FMT_INLINE uint64_t ept_with_ad(const struct fmt *F, uint64_t e, bool accessed, bool dirty)
{
    (void)F;
    return (e & ~(EPT_ACCESSED | EPT_DIRTY)) | (accessed ? EPT_ACCESSED : 0) | (dirty ? EPT_DIRTY : 0);
}

FMT_INLINE uint64_t ept_split(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return level == 1 ? e & ~EPT_LARGE : e;
}

FMT_INLINE uint64_t ept_join(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    (void)level;
    return e | EPT_LARGE;
}

FMT_INLINE uint64_t ept_run(const struct fmt *F, uint64_t e)
{
    (void)F;
    return e; /* no runs */
}

FMT_INLINE uint64_t ept_unrun(const struct fmt *F, uint64_t e, unsigned idx)
{
    (void)F;
    (void)idx;
    return e;
}

FMT_INLINE bool ept_in_run(const struct fmt *F, uint64_t e)
{
    (void)F;
    (void)e;
    return false;
}

FMT_INLINE struct aspace_registers ept_registers(const struct fmt *F, const struct fmt_ctx *C, uint64_t root_pa,
                                                 uint32_t tag)
{
    uint64_t walk = (uint64_t)(F->levels - 1) << EPTP_WALK_SHIFT;

    (void)tag; /* the VPID is a field of the VMCS */
    return (struct aspace_registers){.base = root_pa | EPTP_TYPE_WB | walk |
                                             fmt_has(C->features, ASPACE_FEAT_AD) * EPTP_AD};
}

#endif
