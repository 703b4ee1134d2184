/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The formats as the engine sees them: fmt_* over any `struct fmt`. Over a constant one the switch folds away. Knows
 * which families there are, and nothing of their bits.
 *
 * An address enters an entry through fmt_addr_bits, which RISC-V shifts: leaf template | fmt_addr_bits(F, pa); the next
 * leaf is e + fmt_addr_bits(F, span), as long as e is in no run. It comes out through fmt_leaf_pa with an encrypt bit,
 * if one is configured and set: it is an address bit, so mask it with ~fmt_encrypt_pa(F, C) or use fmt_output.
 */
#ifndef ASPACE_FORMAT_FORMAT_H
#define ASPACE_FORMAT_FORMAT_H

#include "arm.h"
#include "ept.h"
#include "loongarch.h"
#include "riscv.h"
#include "toy.h"
#include "x86.h"

/* One line a family: FAMILY_fn(...) of the family of F is the result of the function this ends. */
#define FMT_DISPATCH(fn, ...)                                                                                          \
    do {                                                                                                               \
        switch (F->family) {                                                                                           \
        case FMT_EPT: return ept_##fn(__VA_ARGS__);                                                                    \
        case FMT_X86: return x86_##fn(__VA_ARGS__);                                                                    \
        case FMT_ARM_S1: return arm_##fn(__VA_ARGS__);                                                                 \
        case FMT_ARM_S2: return arm_##fn(__VA_ARGS__);                                                                 \
        case FMT_RISCV: return riscv_##fn(__VA_ARGS__);                                                                \
        case FMT_LOONGARCH: return loongarch_##fn(__VA_ARGS__);                                                        \
        case FMT_TOY: return toy_##fn(__VA_ARGS__);                                                                    \
        }                                                                                                              \
        __builtin_unreachable();                                                                                       \
    } while (0)

/* A constant descriptor by identifier, for code specialised by it: static const struct fmt f = FMT_INIT(X86_EPT4); */
#define FMT_INIT(id) FMT_INIT_##id

/* The encrypt bit as it shows in an address from fmt_leaf_pa; 0 if there is none. */
FMT_INLINE uint64_t fmt_encrypt_pa(const struct fmt *F, const struct fmt_ctx *C)
{
    return F->family == FMT_RISCV ? C->encrypt << 2 : C->encrypt;
}

FMT_INLINE int fmt_family_init(const struct fmt *F, struct fmt_ctx *C, const struct aspace_config *config)
{
    FMT_DISPATCH(init, F, C, config);
}

FMT_INLINE int fmt_init(const struct fmt *F, struct fmt_ctx *C, const struct aspace_config *config)
{
    int error = fmt_init_begin(F, C, config);

    if (error == ASPACE_OK)
        error = fmt_family_init(F, C, config);
    if (error == ASPACE_OK)
        error = fmt_init_end(C);
    C->output = FMT_FIELD(F->output_bits - 1, 12) & ~fmt_encrypt_pa(F, C);
    return error;
}

/* The bits of an output address in an entry, and the span between neighbours. Only RISC-V shifts them. */
FMT_INLINE uint64_t fmt_addr_bits(const struct fmt *F, uint64_t pa)
{
    return F->family == FMT_RISCV ? riscv_addr_bits(F, pa) : pa;
}

/* An entry of the kernel's root as entry of another root. Only RISC-V marks entries that point to tables global, and
 * with them all below; elsewhere the kernel's leaves say it. */
FMT_INLINE uint64_t fmt_shared(const struct fmt *F, uint64_t e)
{
    return F->family == FMT_RISCV ? e | RISCV_G : e;
}

FMT_INLINE bool fmt_present(const struct fmt *F, unsigned level, uint64_t e)
{
    FMT_DISPATCH(present, F, level, e);
}

FMT_INLINE bool fmt_is_table(const struct fmt *F, unsigned level, uint64_t e)
{
    FMT_DISPATCH(is_table, F, level, e);
}

/* Present and a table, by one comparison: the low byte of every entry that points to a table is the same, and neither a
 * leaf above level 0 nor an absent entry has it. */
FMT_INLINE bool fmt_points(const struct fmt *F, unsigned level, uint64_t e)
{
    FMT_DISPATCH(points, F, level, e);
}

FMT_INLINE uint64_t fmt_table_entry(const struct fmt *F, const struct fmt_ctx *C, uint64_t pa)
{
    FMT_DISPATCH(table_entry, F, C, pa);
}

FMT_INLINE uint64_t fmt_table_pa(const struct fmt *F, uint64_t e)
{
    FMT_DISPATCH(table_pa, F, e);
}

FMT_INLINE bool fmt_rights_ok(const struct fmt *F, const struct fmt_ctx *C, uint32_t rights)
{
    FMT_DISPATCH(rights_ok, F, C, rights);
}

/* Can a leaf have this attribute (with ASPACE_ATTR_ENCRYPTED)? */
FMT_INLINE bool fmt_attr_ok(const struct fmt_ctx *C, uint32_t attr)
{
    return attr < 32 && ((C->attr_ok >> attr) & 1);
}

FMT_INLINE uint64_t fmt_leaf(const struct fmt *F, const struct fmt_ctx *C, unsigned level, uint32_t rights,
                             uint32_t attr)
{
    FMT_DISPATCH(leaf, F, C, level, rights, attr);
}

FMT_INLINE uint64_t fmt_leaf_pa(const struct fmt *F, unsigned level, uint64_t e, unsigned idx)
{
    FMT_DISPATCH(leaf_pa, F, level, e, idx);
}

/* fmt_leaf_pa without the encrypt bit, by one mask where that is possible. */
FMT_INLINE uint64_t fmt_output(const struct fmt *F, const struct fmt_ctx *C, unsigned level, uint64_t e, unsigned idx)
{
    uint64_t pa = (F->family == FMT_RISCV ? riscv_unrun(F, e, idx) << 2 : e) & C->output;

    return level != 0 ? pa & ~(FMT_BIT(F->shift[level]) - 1) : pa;
}

FMT_INLINE uint32_t fmt_leaf_rights(const struct fmt *F, const struct fmt_ctx *C, uint64_t e)
{
    FMT_DISPATCH(leaf_rights, F, C, e);
}

/* The leaf with the bits of its attribute where they are at level 0. */
FMT_INLINE uint64_t fmt_attr_bits(const struct fmt *F, unsigned level, uint64_t e)
{
    return F->family == FMT_X86 && level != 0 ? x86_pat_to_small(e) : e;
}

FMT_INLINE uint32_t fmt_leaf_attr(const struct fmt *F, const struct fmt_ctx *C, unsigned level, uint64_t e)
{
    return fmt_attr_find(C, fmt_attr_bits(F, level, e));
}

FMT_INLINE uint64_t fmt_with_rights(const struct fmt *F, const struct fmt_ctx *C, unsigned level, uint64_t e,
                                    uint32_t rights)
{
    FMT_DISPATCH(with_rights, F, C, level, e, rights);
}

/* The engine's two bits of a leaf. They stay through every change below and above; split and join keep them too. */
FMT_INLINE unsigned fmt_soft(const struct fmt *F, uint64_t e)
{
    return (unsigned)(e >> F->soft_shift & 3u);
}

FMT_INLINE uint64_t fmt_with_soft(const struct fmt *F, uint64_t e, unsigned soft)
{
    return (e & ~(UINT64_C(3) << F->soft_shift)) | (uint64_t)soft << F->soft_shift;
}

FMT_INLINE bool fmt_accessed(const struct fmt *F, uint64_t e)
{
    FMT_DISPATCH(accessed, F, e);
}

FMT_INLINE bool fmt_dirty(const struct fmt *F, uint64_t e)
{
    FMT_DISPATCH(dirty, F, e);
}

FMT_INLINE uint64_t fmt_with_ad(const struct fmt *F, uint64_t e, bool accessed, bool dirty)
{
    FMT_DISPATCH(with_ad, F, e, accessed, dirty);
}

FMT_INLINE uint64_t fmt_split(const struct fmt *F, unsigned level, uint64_t e)
{
    FMT_DISPATCH(split, F, level, e);
}

FMT_INLINE uint64_t fmt_join(const struct fmt *F, unsigned level, uint64_t e)
{
    FMT_DISPATCH(join, F, level, e);
}

FMT_INLINE uint64_t fmt_run(const struct fmt *F, uint64_t e)
{
    FMT_DISPATCH(run, F, e);
}

FMT_INLINE uint64_t fmt_unrun(const struct fmt *F, uint64_t e, unsigned idx)
{
    FMT_DISPATCH(unrun, F, e, idx);
}

FMT_INLINE bool fmt_in_run(const struct fmt *F, uint64_t e)
{
    FMT_DISPATCH(in_run, F, e);
}

FMT_INLINE struct aspace_registers fmt_family_registers(const struct fmt *F, const struct fmt_ctx *C, uint64_t root_pa,
                                                        uint32_t tag)
{
    FMT_DISPATCH(registers, F, C, root_pa, tag);
}

FMT_INLINE void fmt_registers(const struct fmt *F, const struct fmt_ctx *C, uint64_t root_pa, uint32_t tag,
                              struct aspace_registers *registers)
{
    *registers = fmt_family_registers(F, C, root_pa, tag);
}

#endif
