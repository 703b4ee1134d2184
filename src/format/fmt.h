/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The contract between the engine and the formats. A format is a constant `struct fmt` of geometry, and the helpers of
 * its family, which are always inlined and switch on F->family: over a constant F every switch and shift folds away.
 * Owns the geometry and the meaning of entries that an MMU can see; knows nothing of areas, locks or allocation.
 *
 * Levels: 0 is the level whose entries map 4 KiB. An entry at `level` spans 2^F->shift[level] bytes.
 *
 * Entries that the MMU does not regard as present are the engine's own (pt/slot.h): bits 3-5 say what they are, bits
 * 7-9, 11 and 15-62 carry data; all others are zero but for C->absent[level > 0], which is OR-ed into every one of
 * them. So C->absent is the EMPTY entry itself, and a format needs only to say how to make an entry with those
 * data bits absent to the MMU:
 *   x86 tables, Arm, RISC-V   bit 0 = 0
 *   EPT                       bits 0-2 and 10 = 0; bit 63 (suppress #VE) where #VE is in use
 *   LoongArch leaf            bit 0 (V) = 0
 *   LoongArch directory       there is no valid bit, so it poses as a huge leaf that is invalid: bit 6 (H) = 1 and bit
 *                             0 (V) = 0; bits 13-14 must be zero (LDDIR writes the level there)
 */
#ifndef ASPACE_FMT_H
#define ASPACE_FMT_H

#include <aspace/aspace.h>

#define FMT_LEVELS_MAX 6

enum fmt_family { FMT_EPT, FMT_X86, FMT_ARM_S1, FMT_ARM_S2, FMT_RISCV, FMT_LOONGARCH, FMT_TOY };

struct fmt {
    enum aspace_format id;
    enum fmt_family family;
    uint8_t levels;      /* the root is at level levels - 1 */
    uint8_t input_bits;  /* input addresses are below 2^input_bits (lower half where addresses are signed) */
    uint8_t output_bits; /* widest physical address an entry can hold */
    uint8_t root_order;  /* the root is 2^root_order frames, aligned to its size */
    uint8_t leaf_levels; /* bit n: a leaf may be at level n */
    uint8_t run_lg2;     /* log2 of entries in a contiguous run at level 0; 0 if there are none */
    uint8_t soft_shift;  /* two bits of a leaf of any level that the MMU ignores begin here: the engine's (pt/slot.h) */
    bool stage2;
    bool has_user;                 /* tells user from privileged */
    bool upper_half;               /* input addresses are signed: the upper half of the root is the kernel's */
    bool break_before_make;        /* changing the leaf size needs an invalidation in between */
    uint8_t bits[FMT_LEVELS_MAX];  /* index bits of each level; the root's include those above the ordinary table's */
    uint8_t shift[FMT_LEVELS_MAX]; /* log2 of the bytes an entry spans */
};

/* What depends on the space's configuration: computed once by fmt_init, constant afterwards. */
struct fmt_ctx {
    uint64_t output;       /* the bits that an output address can have: without the encrypt bit */
    uint64_t attr_mask;    /* all bits that belong to the attribute in a leaf of level 0, encrypt bit included */
    uint64_t absent[2];    /* OR-ed into every entry that is not present: [0] level 0, [1] directories */
    uint64_t attr[2 * 16]; /* leaf bits of attribute a: [a]; with ASPACE_ATTR_ENCRYPTED: [16 + a] */
    uint32_t attr_ok;      /* bit a (or 16 + a): the attribute can be expressed */
    uint32_t features;
    uint64_t pa_end;     /* physical addresses are below this */
    uint64_t encrypt;    /* the encrypt bit, or 0 */
    uint64_t table_bits; /* constant bits of an entry that points to a table */
    uint64_t leaf_bits;  /* constant bits of a leaf of level 0: global, or not global */
    bool leaf_global;    /* leaves hold for every tag */
    uint8_t leaf_levels; /* F->leaf_levels less what features and configuration forbid */
    uint8_t run_lg2;     /* F->run_lg2 if the feature is there, else 0 */
    uint64_t mair, pat;  /* effective memory-type register */
    uint64_t control;    /* aspace_registers.control */
};

extern const struct fmt fmt_table[ASPACE_FMT_COUNT]; /* src/format/formats.c, indexed by enum aspace_format */

#define FMT_INLINE static inline __attribute__((always_inline, unused))

/*
 * Each family F has a header src/format/<family>.h that defines, with the family's prefix (ept_, x86_, arm_, riscv_,
 * loongarch_, toy_), the following; src/format/format.h dispatches to them under the names given here. `e` is an entry,
 * `level` its level. None but fmt_init and fmt_registers may branch on data where it can be avoided.
 *
 *   int fmt_init(F, C, const struct aspace_config *)        OK, UNSUPPORTED, INVALID; fills C (C is zeroed)
 *   bool fmt_present(F, level, e)                           a leaf or table to the MMU
 *   bool fmt_is_table(F, level, e)                          given present: points to a table (never at level 0)
 *   bool fmt_points(F, level, e)                            both of these, for entries made by fmt_table_entry
 *   uint64_t fmt_table_entry(F, C, pa)                      entry for a table at pa
 *   uint64_t fmt_table_pa(F, e)
 *   bool fmt_rights_ok(F, C, rights)                        can a leaf have exactly these rights (not 0)?
 *   uint64_t fmt_leaf(F, C, level, rights, attr)            leaf for address 0: OR the address in. The attribute and
 *                                                           rights are known to be expressible. Where hardware does not
 *                                                           update accessed and dirty (no ASPACE_FEAT_AD) they are
 *                                                           set such that no fault is taken for them
 *   uint64_t fmt_leaf_pa(F, level, e, idx)                  output address of the leaf in slot idx (runs: of that slot)
 *   uint32_t fmt_leaf_rights(F, C, e)                       rights the MMU grants; the inverse of fmt_leaf
 *   uint32_t fmt_leaf_attr(F, C, level, e)                  inverse of fmt_leaf, with ASPACE_ATTR_ENCRYPTED; where two
 *                                                           attributes share an encoding, the one listed first in C
 *   uint64_t fmt_with_rights(F, C, level, e, rights)        the same leaf with other rights (not 0), all else kept
 *   bool fmt_accessed(F, e), fmt_dirty(F, e)                what hardware recorded (or was preset)
 *   uint64_t fmt_with_ad(F, e, accessed, dirty)             set or clear both
 *   uint64_t fmt_split(F, level, e)                         leaf at level turned into the first of the leaves one level
 *                                                           down (next ones: add the span to the address)
 *   uint64_t fmt_join(F, level, e)                          the inverse: first small leaf at level - 1 as leaf at level
 *   uint64_t fmt_run(F, e), fmt_unrun(F, e, idx)            level-0 leaf as member of a contiguous run and back
 *   bool fmt_in_run(F, e)
 *   void fmt_registers(F, C, root_pa, tag, struct aspace_registers *)
 */

#endif
