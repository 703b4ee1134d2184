/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * No machine's format: three levels of 4 entries over 4 KiB pages, 256 KiB in all, so that tests can try every state.
 * It can express everything the library knows, a leaf may be at every level, and a run is 2 entries. Knows bits only.
 */
#ifndef ASPACE_FORMAT_TOY_H
#define ASPACE_FORMAT_TOY_H

#include "common.h"

#define TOY_PRESENT FMT_BIT(0)
#define TOY_TABLE FMT_BIT(1)
#define TOY_ADDRESS FMT_FIELD(39, 12)
#define TOY_RIGHTS_SHIFT 52 /* R, W, X, U as in ASPACE_* */
#define TOY_RIGHTS FMT_FIELD(55, 52)
#define TOY_ACCESSED FMT_BIT(56)
#define TOY_DIRTY FMT_BIT(57)
#define TOY_ATTR_SHIFT 58 /* enum aspace_attr */
#define TOY_ATTR FMT_FIELD(60, 58)
#define TOY_RUN FMT_BIT(61)
#define TOY_SOFT_BIT 62

#define FMT_INIT_TOY                                                                                                   \
    {                                                                                                                  \
        .id = ASPACE_FMT_TOY, .family = FMT_TOY, .levels = 3, .input_bits = 18, .output_bits = 40, .leaf_levels = 7,   \
        .run_lg2 = 1, .soft_shift = TOY_SOFT_BIT, .has_user = true, .bits = {2, 2, 2}, .shift = {                      \
            12,                                                                                                        \
            14,                                                                                                        \
            16                                                                                                         \
        }                                                                                                              \
    }

FMT_INLINE int toy_init(const struct fmt *F, struct fmt_ctx *C, const struct aspace_config *config)
{
    (void)config;
    C->attr_mask = TOY_ATTR;
    for (unsigned a = 0; a < ASPACE_ATTR_COUNT; a++)
        fmt_attr_set(C, (enum aspace_attr)a, (uint64_t)a << TOY_ATTR_SHIFT);
    C->run_lg2 = (C->features & ASPACE_FEAT_CONTIG) ? F->run_lg2 : 0;
    C->table_bits = TOY_PRESENT | TOY_TABLE;
    return ASPACE_OK;
}

FMT_INLINE bool toy_present(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    (void)level;
    return (e & TOY_PRESENT) != 0;
}

FMT_INLINE bool toy_is_table(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return level != 0 && (e & TOY_TABLE);
}

FMT_INLINE bool toy_points(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    return (level != 0) & ((uint8_t)e == (TOY_PRESENT | TOY_TABLE));
}

FMT_INLINE uint64_t toy_table_entry(const struct fmt *F, const struct fmt_ctx *C, uint64_t pa)
{
    (void)F;
    return pa | C->table_bits;
}

FMT_INLINE uint64_t toy_table_pa(const struct fmt *F, uint64_t e)
{
    (void)F;
    return e & TOY_ADDRESS;
}

FMT_INLINE bool toy_rights_ok(const struct fmt *F, const struct fmt_ctx *C, uint32_t rights)
{
    (void)F;
    (void)C;
    return !(rights & ~(uint32_t)FMT_RIGHTS_ALL) && (rights & ASPACE_RWX);
}

FMT_INLINE uint64_t toy_rights_bits(const struct fmt_ctx *C, uint32_t rights)
{
    return (uint64_t)rights << TOY_RIGHTS_SHIFT | ((rights & ASPACE_W) ? fmt_preset(C) * TOY_DIRTY : 0);
}

FMT_INLINE uint64_t toy_leaf(const struct fmt *F, const struct fmt_ctx *C, unsigned level, uint32_t rights,
                             uint32_t attr)
{
    (void)F;
    (void)level;
    return C->attr[attr] | TOY_PRESENT | fmt_preset(C) * TOY_ACCESSED | toy_rights_bits(C, rights);
}

FMT_INLINE uint64_t toy_leaf_pa(const struct fmt *F, unsigned level, uint64_t e, unsigned idx)
{
    (void)idx;
    return e & fmt_address_mask(F, level);
}

FMT_INLINE uint32_t toy_leaf_rights(const struct fmt *F, const struct fmt_ctx *C, uint64_t e)
{
    (void)F;
    (void)C;
    return (uint32_t)(e >> TOY_RIGHTS_SHIFT) & FMT_RIGHTS_ALL;
}

FMT_INLINE uint64_t toy_with_rights(const struct fmt *F, const struct fmt_ctx *C, unsigned level, uint64_t e,
                                    uint32_t rights)
{
    (void)F;
    (void)level;
    return (e & ~TOY_RIGHTS) | toy_rights_bits(C, rights);
}

FMT_INLINE bool toy_accessed(const struct fmt *F, uint64_t e)
{
    (void)F;
    return (e & TOY_ACCESSED) != 0;
}

FMT_INLINE bool toy_dirty(const struct fmt *F, uint64_t e)
{
    (void)F;
    return (e & TOY_DIRTY) != 0;
}

FMT_INLINE uint64_t toy_with_ad(const struct fmt *F, uint64_t e, bool accessed, bool dirty)
{
    (void)F;
    return (e & ~(TOY_ACCESSED | TOY_DIRTY)) | (accessed ? TOY_ACCESSED : 0) | (dirty ? TOY_DIRTY : 0);
}

FMT_INLINE uint64_t toy_split(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    (void)level;
    return e;
}

FMT_INLINE uint64_t toy_join(const struct fmt *F, unsigned level, uint64_t e)
{
    (void)F;
    (void)level;
    return e & ~TOY_RUN;
}

FMT_INLINE uint64_t toy_run(const struct fmt *F, uint64_t e)
{
    (void)F;
    return e | TOY_RUN;
}

FMT_INLINE uint64_t toy_unrun(const struct fmt *F, uint64_t e, unsigned idx)
{
    (void)F;
    (void)idx;
    return e & ~TOY_RUN;
}

FMT_INLINE bool toy_in_run(const struct fmt *F, uint64_t e)
{
    (void)F;
    return (e & TOY_RUN) != 0;
}

FMT_INLINE struct aspace_registers toy_registers(const struct fmt *F, const struct fmt_ctx *C, uint64_t root_pa,
                                                 uint32_t tag)
{
    (void)F;
    (void)C;
    (void)tag;
    return (struct aspace_registers){.base = root_pa};
}

#endif
