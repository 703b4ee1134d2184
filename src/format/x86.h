/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * x86-64 process page tables, and AMD nested page tables, which have the same entries. Manuals: Intel SDM volume 3A
 * 4.5 (tables 4-15 to 4-20), AMD APM volume 2 5.3, 5.4 and 15.25. Knows bits only.
 *
 * A nested walk counts as an access by user code (APM 2 15.25.5), so that every nested entry has the U bit, and the
 * privilege of the guest cannot be told.
 */
#ifndef ASPACE_FORMAT_X86_H
#define ASPACE_FORMAT_X86_H

#include "common.h"

#define X86_P FMT_BIT(0)          /* SDM 4.5, APM 5.4.1: present, and so readable */
#define X86_W FMT_BIT(1)          /* SDM 4.6, APM 5.4.1: writable */
#define X86_U FMT_BIT(2)          /* SDM 4.6, APM 5.4.1: user code may */
#define X86_PWT FMT_BIT(3)        /* SDM 4.9.2, APM 7.8.2: bit 0 of the PAT index */
#define X86_PCD FMT_BIT(4)        /* SDM 4.9.2, APM 7.8.2: bit 1 of the PAT index */
#define X86_A FMT_BIT(5)          /* SDM 4.8, APM 5.4.2: accessed */
#define X86_D FMT_BIT(6)          /* SDM 4.8, APM 5.4.2: dirty; leaf */
#define X86_LARGE FMT_BIT(7)      /* SDM 4.5, APM 5.4.1: PS, a leaf at level 1 or 2 */
#define X86_PAT_SMALL FMT_BIT(7)  /* SDM 4.9.2, APM 7.8.2: bit 2 of the PAT index at level 0 */
#define X86_PAT_LARGE FMT_BIT(12) /* SDM 4.9.2, APM 7.8.2: bit 2 of the PAT index in a large leaf */
#define X86_G FMT_BIT(8)          /* SDM 4.10.2.4, APM 5.5.1: global, outlives a change of CR3; leaf */
#define X86_SOFT_BIT 9            /* SDM 4.5, APM 5.4.1: bits 11:9 are ignored (11 not with HLAT paging) */
#define X86_NX FMT_BIT(63)        /* SDM 4.6, APM 5.6.1: no execution; reserved unless EFER.NXE */
#define X86_ADDRESS FMT_FIELD(51, 12)

enum { X86_UC = 0, X86_WC = 1, X86_WB = 6 };         /* SDM 12.12.2, APM 7.8.1: memory types in IA32_PAT */
#define X86_PAT_DEFAULT UINT64_C(0x0007040100070406) /* SDM 12.12.4: value after reset, but WC in PA4 */
#define X86_CR3_PCID FMT_FIELD(11, 0)                /* SDM 4.5, APM 5.5.1: process-context identifier */

#define X86_FORMAT(id_, bits_, nested_, levels_)                                                                       \
    {                                                                                                                  \
        .id = ASPACE_FMT_##id_, .family = FMT_X86, .input_bits = (bits_), .output_bits = 52, .stage2 = (nested_),      \
        .has_user = !(nested_), .upper_half = !(nested_), .leaf_levels = FMT_LEAF_4K_2M_1G,                            \
        .soft_shift = X86_SOFT_BIT, levels_                                                                            \
    }
#define FMT_INIT_X86_NPT4 X86_FORMAT(X86_NPT4, 48, true, FMT_LEVELS4(9))
#define FMT_INIT_X86_NPT5 X86_FORMAT(X86_NPT5, 57, true, FMT_LEVELS5(9))
#define FMT_INIT_X86_PT4 X86_FORMAT(X86_PT4, 47, false, FMT_LEVELS4(8))
#define FMT_INIT_X86_PT5 X86_FORMAT(X86_PT5, 56, false, FMT_LEVELS5(8))

FMT_INLINE void x86_init_attr(struct fmt_ctx *C, enum aspace_attr a, uint8_t type)
{
    int index = fmt_type_index(C->pat, type);

    if (index >= 0)
        fmt_attr_set(C, a,
                     ((index & 1) ? X86_PWT : 0) | ((index & 2) ? X86_PCD : 0) | ((index & 4) ? X86_PAT_SMALL : 0));
}

FMT_INLINE int x86_init(const struct fmt *F, struct fmt_ctx *C, const struct aspace_config *config)
{
    C->leaf_global = !F->stage2 && (C->features & ASPACE_FEAT_GLOBAL);
    C->leaf_bits = C->leaf_global ? X86_G : 0;
    C->pat = config->pat != 0 ? config->pat : X86_PAT_DEFAULT;
    C->attr_mask = X86_PWT | X86_PCD | X86_PAT_SMALL;
    x86_init_attr(C, ASPACE_ATTR_DEFAULT, X86_WB);
    x86_init_attr(C, ASPACE_ATTR_NORMAL, X86_WB);
    x86_init_attr(C, ASPACE_ATTR_DEVICE, X86_UC);
    x86_init_attr(C, ASPACE_ATTR_WC, X86_WC);
    x86_init_attr(C, ASPACE_ATTR_UC, X86_UC);
    /* Accessed is preset, so that no walker ever writes an entry that points to a table. */
    C->table_bits = X86_P | X86_W | X86_U | X86_A;
    return ASPACE_OK;
}

FMT_INLINE bool x86_present(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    (void)level;
    return (e & X86_P) != 0;
}

FMT_INLINE bool x86_is_table(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return level != 0 && !(e & X86_LARGE);
}

FMT_INLINE bool x86_points(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return (level != 0) & ((uint8_t)e == (X86_P | X86_W | X86_U | X86_A));
}

FMT_INLINE uint64_t x86_table_entry(const struct fmt *F, const struct fmt_ctx *C, uint64_t pa)
{
    (void)F;
    return pa | C->table_bits;
}

FMT_INLINE uint64_t x86_table_pa(const struct fmt *F, uint64_t e)
{
    (void)F;
    return e & X86_ADDRESS;
}

/* Present is readable; without NX present is executable too. */
FMT_INLINE bool x86_rights_ok(const struct fmt *F, const struct fmt_ctx *C, uint32_t rights)
{
    uint32_t most = F->stage2 ? ASPACE_RWX : FMT_RIGHTS_ALL;

    return !(rights & ~most) && (rights & ASPACE_R) && ((rights & ASPACE_X) || (C->features & ASPACE_FEAT_NX));
}

FMT_INLINE uint64_t x86_rights_bits(const struct fmt *F, const struct fmt_ctx *C, uint32_t rights)
{
    return X86_P | ((rights & ASPACE_W) ? X86_W | fmt_preset(C) * X86_D : 0) |
           ((F->stage2 || (rights & ASPACE_U)) ? X86_U : 0) | ((rights & ASPACE_X) ? 0 : X86_NX);
}

/* The PAT bit of a large leaf moved to where it is at level 0, and back. */
FMT_INLINE uint64_t x86_pat_to_small(uint64_t e)
{
    return (e & ~(X86_LARGE | X86_PAT_LARGE)) | ((e & X86_PAT_LARGE) >> 5);
}

FMT_INLINE uint64_t x86_pat_to_large(uint64_t e)
{
    return (e & ~X86_PAT_SMALL) | ((e & X86_PAT_SMALL) << 5) | X86_LARGE;
}

FMT_INLINE uint64_t x86_leaf(const struct fmt *F, const struct fmt_ctx *C, unsigned level, uint32_t rights,
                             uint32_t attr)
{
    uint64_t e = C->attr[attr];

    return (level != 0 ? x86_pat_to_large(e) : e) | C->leaf_bits | x86_rights_bits(F, C, rights) |
           fmt_preset(C) * X86_A;
}

FMT_INLINE uint64_t x86_leaf_pa(const struct fmt *F, unsigned level, uint64_t e, unsigned idx)
{
    (void)idx;
    return e & fmt_address_mask(F, level);
}

FMT_INLINE uint32_t x86_leaf_rights(const struct fmt *F, const struct fmt_ctx *C, uint64_t e)
{
    (void)C;
    return ASPACE_R | ((e & X86_W) ? ASPACE_W : 0) | ((e & X86_NX) ? 0 : ASPACE_X) |
           ((!F->stage2 && (e & X86_U)) ? ASPACE_U : 0);
}

FMT_INLINE uint64_t x86_with_rights(const struct fmt *F, const struct fmt_ctx *C, unsigned level, uint64_t e,
                                    uint32_t rights)
{
    (void)level;
    return (e & ~(X86_P | X86_W | X86_U | X86_NX)) | x86_rights_bits(F, C, rights);
}

FMT_INLINE bool x86_accessed(const struct fmt *F, uint64_t e)
{
    (void)F;
    return (e & X86_A) != 0;
}

FMT_INLINE bool x86_dirty(const struct fmt *F, uint64_t e)
{
    (void)F;
    return (e & X86_D) != 0;
}

FMT_INLINE uint64_t x86_with_ad(const struct fmt *F, uint64_t e, bool accessed, bool dirty)
{
    (void)F;
    return (e & ~(X86_A | X86_D)) | (accessed ? X86_A : 0) | (dirty ? X86_D : 0);
}

FMT_INLINE uint64_t x86_split(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return level == 1 ? x86_pat_to_small(e) : e;
}

FMT_INLINE uint64_t x86_join(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return level == 1 ? x86_pat_to_large(e) : e;
}

FMT_INLINE uint64_t x86_run(const struct fmt *F, uint64_t e)
{
    (void)F;
    return e; /* no runs */
}

FMT_INLINE uint64_t x86_unrun(const struct fmt *F, uint64_t e, unsigned idx)
{
    (void)F;
    (void)idx;
    return e;
}

FMT_INLINE bool x86_in_run(const struct fmt *F, uint64_t e)
{
    (void)F;
    (void)e;
    return false;
}

FMT_INLINE struct aspace_registers x86_registers(const struct fmt *F, const struct fmt_ctx *C, uint64_t root_pa,
                                                 uint32_t tag)
{
    /* APM 2 15.25.4: nCR3 has no tag, the ASID is a field of the VMCB. */
    return (struct aspace_registers){.base = root_pa | (F->stage2 ? 0 : tag & X86_CR3_PCID), .memory_types = C->pat};
}

#endif
