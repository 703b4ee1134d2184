/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What all families share: geometry lists, and the part of fmt_init that is the same everywhere. Knows no bits of any
 * family.
 */
#ifndef ASPACE_FORMAT_COMMON_H
#define ASPACE_FORMAT_COMMON_H

#include "fmt.h"

#define FMT_BIT(n) (UINT64_C(1) << (n))
/* Bits lo to hi, both included. */
#define FMT_FIELD(hi, lo) ((~UINT64_C(0) >> (63 - (hi))) & (~UINT64_C(0) << (lo)))

/* Levels of 9 bits over 4 KiB pages; `root` is the number of index bits of the root. */
#define FMT_LEVELS3(root) .levels = 3, .bits = {9, 9, (root)}, .shift = {12, 21, 30}
#define FMT_LEVELS4(root) .levels = 4, .bits = {9, 9, 9, (root)}, .shift = {12, 21, 30, 39}
#define FMT_LEVELS5(root) .levels = 5, .bits = {9, 9, 9, 9, (root)}, .shift = {12, 21, 30, 39, 48}

enum {
    FMT_LEAF_4K_2M_1G = 7,
    FMT_RIGHTS_ALL = ASPACE_RWX | ASPACE_U,
    FMT_ATTR_ENCRYPTED = 16, /* offset of the encrypted variants in fmt_ctx.attr and attr_ok */
};

/* 1 or 0: does `features` contain `feature`? A value to shift, so that no branch is needed. */
FMT_INLINE uint64_t fmt_has(uint32_t features, uint32_t feature)
{
    return (features & feature) != 0;
}

/* 1 or 0: must accessed and dirty be preset, because no hardware sets them? */
FMT_INLINE uint64_t fmt_preset(const struct fmt_ctx *C)
{
    return !(C->features & ASPACE_FEAT_AD);
}

/* The address bits of an output address in an entry at `level` that holds addresses as they are. */
FMT_INLINE uint64_t fmt_address_mask(const struct fmt *F, unsigned level)
{
    return FMT_FIELD(F->output_bits - 1, 0) & ~(FMT_BIT(F->shift[level]) - 1);
}

/* Is it the default attribute, not encrypted? */
FMT_INLINE bool fmt_attr_is_default(const struct fmt_ctx *C, uint64_t bits)
{
    return __builtin_expect((bits & C->attr_mask) == C->attr[ASPACE_ATTR_DEFAULT], 1);
}

/* The attribute whose bits are `bits`, the one listed first if several share them. */
FMT_INLINE uint32_t fmt_attr_find(const struct fmt_ctx *C, uint64_t bits)
{
    uint64_t encrypted = bits & C->encrypt;
    uint64_t plain = bits & C->attr_mask & ~C->encrypt;
    uint32_t found = ASPACE_ATTR_DEFAULT;

    if (fmt_attr_is_default(C, bits))
        return ASPACE_ATTR_DEFAULT;
    for (uint32_t a = ASPACE_ATTR_COUNT; a-- > 0;) {
        if (((C->attr_ok >> a) & 1) && C->attr[a] == plain)
            found = a;
    }
    return found | (encrypted ? ASPACE_ATTR_ENCRYPTED : 0);
}

/* Attribute a is expressible as `bits`. */
FMT_INLINE void fmt_attr_set(struct fmt_ctx *C, enum aspace_attr a, uint64_t bits)
{
    C->attr[a] = bits;
    C->attr_ok |= 1u << a;
}

/* Position 0 to 7 of `type` among the bytes of a memory-type register (MAIR, PAT), or -1. */
FMT_INLINE int fmt_type_index(uint64_t reg, uint8_t type)
{
    for (unsigned i = 0; i < 8; i++) {
        if ((uint8_t)(reg >> (8 * i)) == type)
            return (int)i;
    }
    return -1;
}

/* The part of fmt_init before the family's. */
FMT_INLINE int fmt_init_begin(const struct fmt *F, struct fmt_ctx *C, const struct aspace_config *config)
{
    unsigned width = config->output_bits;
    unsigned top = 0;

    if (config->max_leaf_level > FMT_LEVELS_MAX || (width != 0 && width <= F->shift[0]))
        return ASPACE_E_INVALID;
    if (width > F->output_bits)
        return ASPACE_E_UNSUPPORTED;
    C->features = config->features;
    C->leaf_levels = F->leaf_levels;
    if (config->max_leaf_level != 0)
        C->leaf_levels &= (uint8_t)((1u << config->max_leaf_level) - 1);
    if (config->features & ASPACE_FEAT_NO_1G)
        C->leaf_levels &= 3;
    if (config->features & ASPACE_FEAT_NO_2M)
        C->leaf_levels &= 1;
    while (top + 1 < F->levels && ((F->leaf_levels >> (top + 1)) & 1))
        top++;
    if (config->encrypt_bit != 0) {
        /* It has to be an address bit in leaves of every size: all other bits have a meaning already. RISC-V entries
         * hold address bit n at bit n - 2. */
        unsigned address_bit = config->encrypt_bit + (F->family == FMT_RISCV ? 2 : 0);
        if (address_bit < F->shift[top] || address_bit >= F->output_bits)
            return ASPACE_E_UNSUPPORTED;
        if (width > address_bit)
            return ASPACE_E_INVALID;
        if (width == 0)
            width = address_bit;
        C->encrypt = FMT_BIT(config->encrypt_bit);
    }
    C->pa_end = FMT_BIT(width != 0 ? width : F->output_bits);
    for (unsigned level = 0; level < F->levels; level++) {
        if (FMT_BIT(F->shift[level]) > C->pa_end)
            C->leaf_levels &= (uint8_t) ~(1u << level);
    }
    return ASPACE_OK;
}

/* The part of fmt_init after the family's: encrypted variants of every attribute. */
FMT_INLINE int fmt_init_end(struct fmt_ctx *C)
{
    if (!(C->attr_ok & (1u << ASPACE_ATTR_DEFAULT)))
        return ASPACE_E_UNSUPPORTED; /* a memory-type register without write-back */
    if (C->encrypt != 0) {
        for (unsigned a = 0; a < ASPACE_ATTR_COUNT; a++)
            C->attr[FMT_ATTR_ENCRYPTED + a] = C->attr[a] | C->encrypt;
        C->attr_ok |= C->attr_ok << FMT_ATTR_ENCRYPTED;
        C->attr_mask |= C->encrypt;
    }
    return ASPACE_OK;
}

#endif
