/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RISC-V Sv39, Sv48 and Sv57, and the second stages Sv39x4, Sv48x4 and Sv57x4. Manual: "The RISC-V Instruction Set
 * Manual, volume II: Privileged Architecture", chapters "Supervisor-Level ISA" (Sv39 and on), "Svpbmt", "Svnapot" and
 * "H" (two-stage address translation). Knows bits only.
 *
 * An entry holds address bit n at bit n - 2: addresses enter through riscv_addr_bits.
 */
#ifndef ASPACE_FORMAT_RISCV_H
#define ASPACE_FORMAT_RISCV_H

#include "common.h"

#define RISCV_V FMT_BIT(0) /* Sv32, "Addressing and Memory Protection": valid */
#define RISCV_R FMT_BIT(1) /* same: readable; R = W = X = 0 points to a table */
#define RISCV_W FMT_BIT(2) /* same: writable; without R it is reserved */
#define RISCV_X FMT_BIT(3) /* same: executable */
#define RISCV_U FMT_BIT(4) /* same: user mode may; a leaf of the second stage needs it always (H) */
#define RISCV_G FMT_BIT(5) /* same: global, holds for every ASID */
#define RISCV_A FMT_BIT(6) /* same: accessed; zero faults unless hardware sets it (Svadu) */
#define RISCV_D FMT_BIT(7) /* same: dirty; a store with zero faults unless hardware sets it (Svadu) */
#define RISCV_SOFT_BIT 8   /* same: RSW, bits 9:8 are for software */
#define RISCV_PPN_SHIFT 10 /* Sv39: bits 53:10 are the frame number */
#define RISCV_PPN FMT_FIELD(53, 10)
#define RISCV_PBMT_NC FMT_BIT(61)     /* Svpbmt: bits 62:61 = 1, non-cacheable, idempotent, weakly ordered */
#define RISCV_PBMT_IO FMT_BIT(62)     /* Svpbmt: 2, non-cacheable, non-idempotent, strongly ordered */
#define RISCV_PBMT FMT_FIELD(62, 61)  /* Svpbmt: 0, as the physical memory attributes (PMA) say */
#define RISCV_N FMT_BIT(63)           /* Svnapot: one of 16 equal entries that map 64 KiB */
#define RISCV_NAPOT FMT_FIELD(13, 10) /* Svnapot: low bits of the frame number, 1000 in a 64 KiB range */
#define RISCV_NAPOT_64K FMT_BIT(13)

/* "Supervisor-Level ISA", satp; "H", hgatp */
#define RISCV_MODE_SHIFT 60
#define RISCV_MODE_SV39 UINT64_C(8) /* x4 modes have the same numbers; one more for each further level */
#define RISCV_TAG_SHIFT 44
#define RISCV_SATP_ASID 0xffffu
#define RISCV_HGATP_VMID 0x3fffu

#define RISCV_FORMAT(id_, bits_, stage2_, leaves_, levels_)                                                            \
    {                                                                                                                  \
        .id = ASPACE_FMT_##id_, .family = FMT_RISCV, .input_bits = (bits_), .output_bits = 56,                         \
        .root_order = (stage2_) ? 2 : 0, .stage2 = (stage2_), .has_user = !(stage2_), .leaf_levels = (leaves_),        \
        .run_lg2 = 4, .soft_shift = RISCV_SOFT_BIT, .upper_half = !(stage2_), levels_                                  \
    }
/* H: the root of the second stage is 16 KiB, indexed by two more bits. A leaf may be at every level. */
#define FMT_INIT_RISCV_SV39X4 RISCV_FORMAT(RISCV_SV39X4, 41, true, 0x7, FMT_LEVELS3(11))
#define FMT_INIT_RISCV_SV48X4 RISCV_FORMAT(RISCV_SV48X4, 50, true, 0xf, FMT_LEVELS4(11))
#define FMT_INIT_RISCV_SV57X4 RISCV_FORMAT(RISCV_SV57X4, 59, true, 0x1f, FMT_LEVELS5(11))
#define FMT_INIT_RISCV_SV39 RISCV_FORMAT(RISCV_SV39, 38, false, 0x7, FMT_LEVELS3(8))
#define FMT_INIT_RISCV_SV48 RISCV_FORMAT(RISCV_SV48, 47, false, 0xf, FMT_LEVELS4(8))
#define FMT_INIT_RISCV_SV57 RISCV_FORMAT(RISCV_SV57, 56, false, 0x1f, FMT_LEVELS5(8))

FMT_INLINE int riscv_init(const struct fmt *F, struct fmt_ctx *C, const struct aspace_config *config)
{
    (void)config;
    C->leaf_global = !F->stage2 && (C->features & ASPACE_FEAT_GLOBAL);
    C->leaf_bits = C->leaf_global ? RISCV_G : 0;
    C->attr_mask = RISCV_PBMT;
    fmt_attr_set(C, ASPACE_ATTR_DEFAULT, 0);
    fmt_attr_set(C, ASPACE_ATTR_NORMAL, 0);
    if (C->features & ASPACE_FEAT_SVPBMT) {
        fmt_attr_set(C, ASPACE_ATTR_DEVICE, RISCV_PBMT_IO);
        fmt_attr_set(C, ASPACE_ATTR_WC, RISCV_PBMT_NC);
        fmt_attr_set(C, ASPACE_ATTR_UC, RISCV_PBMT_IO);
    }
    C->run_lg2 = (C->features & ASPACE_FEAT_SVNAPOT) ? F->run_lg2 : 0;
    C->table_bits = RISCV_V; /* all but the frame number is zero: A, D, U, PBMT and N are reserved there */
    return ASPACE_OK;
}

FMT_INLINE uint64_t riscv_addr_bits(const struct fmt *F, uint64_t pa)
{
    (void)F;
    return pa >> 12 << RISCV_PPN_SHIFT;
}

FMT_INLINE bool riscv_present(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    (void)level;
    return (e & RISCV_V) != 0;
}

FMT_INLINE bool riscv_is_table(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return level != 0 && !(e & (RISCV_R | RISCV_W | RISCV_X));
}

FMT_INLINE bool riscv_points(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return (level != 0) & ((uint8_t)e == (RISCV_V));
}

FMT_INLINE uint64_t riscv_table_entry(const struct fmt *F, const struct fmt_ctx *C, uint64_t pa)
{
    return riscv_addr_bits(F, pa) | C->table_bits;
}

FMT_INLINE uint64_t riscv_table_pa(const struct fmt *F, uint64_t e)
{
    (void)F;
    return (e & RISCV_PPN) >> RISCV_PPN_SHIFT << 12;
}

FMT_INLINE bool riscv_rights_ok(const struct fmt *F, const struct fmt_ctx *C, uint32_t rights)
{
    uint32_t most = F->stage2 ? ASPACE_RWX : FMT_RIGHTS_ALL;

    (void)C;
    return !(rights & ~most) && (rights & (ASPACE_R | ASPACE_X)) && (!(rights & ASPACE_W) || (rights & ASPACE_R));
}

/* ASPACE_R, _W, _X and _U are bits 0 to 3, here bits 1 to 4. */
FMT_INLINE uint64_t riscv_rights_bits(const struct fmt *F, const struct fmt_ctx *C, uint32_t rights)
{
    return (uint64_t)rights << 1 | (F->stage2 ? RISCV_U : 0) | ((rights & ASPACE_W) ? fmt_preset(C) * RISCV_D : 0);
}

FMT_INLINE uint64_t riscv_leaf(const struct fmt *F, const struct fmt_ctx *C, unsigned level, uint32_t rights,
                               uint32_t attr)
{
    (void)level;
    return C->attr[attr] | C->leaf_bits | RISCV_V | fmt_preset(C) * RISCV_A | riscv_rights_bits(F, C, rights);
}

/* Svnapot: in a 64 KiB range the low bits of the frame number come from the input address. */
FMT_INLINE uint64_t riscv_unrun(const struct fmt *F, uint64_t e, unsigned idx)
{
    uint64_t low = (e & RISCV_N) ? (uint64_t)(idx & 15) << RISCV_PPN_SHIFT : e & RISCV_NAPOT;

    (void)F;
    return (e & ~(RISCV_N | RISCV_NAPOT)) | low;
}

FMT_INLINE uint64_t riscv_leaf_pa(const struct fmt *F, unsigned level, uint64_t e, unsigned idx)
{
    return riscv_table_pa(F, riscv_unrun(F, e, idx)) & ~(FMT_BIT(F->shift[level]) - 1);
}

FMT_INLINE uint32_t riscv_leaf_rights(const struct fmt *F, const struct fmt_ctx *C, uint64_t e)
{
    (void)C;
    return (uint32_t)(e >> 1) & (F->stage2 ? ASPACE_RWX : FMT_RIGHTS_ALL);
}

FMT_INLINE uint64_t riscv_with_rights(const struct fmt *F, const struct fmt_ctx *C, unsigned level, uint64_t e,
                                      uint32_t rights)
{
    (void)level;
    return (e & ~(RISCV_R | RISCV_W | RISCV_X | RISCV_U)) | riscv_rights_bits(F, C, rights);
}

FMT_INLINE bool riscv_accessed(const struct fmt *F, uint64_t e)
{
    (void)F;
    return (e & RISCV_A) != 0;
}

FMT_INLINE bool riscv_dirty(const struct fmt *F, uint64_t e)
{
    (void)F;
    return (e & RISCV_D) != 0;
}

FMT_INLINE uint64_t riscv_with_ad(const struct fmt *F, uint64_t e, bool accessed, bool dirty)
{
    (void)F;
    return (e & ~(RISCV_A | RISCV_D)) | (accessed ? RISCV_A : 0) | (dirty ? RISCV_D : 0);
}

FMT_INLINE uint64_t riscv_split(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    (void)level;
    return e;
}

FMT_INLINE uint64_t riscv_join(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)level;
    return riscv_unrun(F, e, 0);
}

FMT_INLINE uint64_t riscv_run(const struct fmt *F, uint64_t e)
{
    (void)F;
    return (e & ~RISCV_NAPOT) | RISCV_NAPOT_64K | RISCV_N;
}

FMT_INLINE bool riscv_in_run(const struct fmt *F, uint64_t e)
{
    (void)F;
    return (e & RISCV_N) != 0;
}

FMT_INLINE struct aspace_registers riscv_registers(const struct fmt *F, const struct fmt_ctx *C, uint64_t root_pa,
                                                   uint32_t tag)
{
    uint64_t mode = RISCV_MODE_SV39 + (uint64_t)(F->levels - 3);
    uint64_t id = tag & (F->stage2 ? RISCV_HGATP_VMID : RISCV_SATP_ASID);

    (void)C;
    return (struct aspace_registers){.base = mode << RISCV_MODE_SHIFT | id << RISCV_TAG_SHIFT | root_pa >> 12};
}

#endif
