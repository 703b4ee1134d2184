/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The reference walker: one function a family, one entry after the other, every field drawn where it is taken apart.
 * Owns nothing but its reading of the manuals; must not know any source of the library, nor its idea of an entry that
 * is not present.
 */
#include "naive.h"

#include <string.h>

#define PAGE_LG2 12

struct walk {
    const struct aspace_config *config;
    const void *(*phys)(uint64_t pa);
    struct naive_result *r;
    uint64_t va;
    uint64_t pa_end;  /* physical addresses are below this */
    uint64_t encrypt; /* the bit that is part of no address */
};

/* Bits hi..lo of a value, as the manuals write them. */
static uint64_t field(uint64_t value, unsigned hi, unsigned lo)
{
    return (value >> lo) & ((hi - lo == 63) ? UINT64_MAX : (UINT64_C(1) << (hi - lo + 1)) - 1);
}

/* The same bits left in place. */
static uint64_t field_at(uint64_t value, unsigned hi, unsigned lo)
{
    return field(value, hi, lo) << lo;
}

static bool bit(uint64_t value, unsigned n)
{
    return ((value >> n) & 1) != 0;
}

static bool has(const struct walk *w, uint32_t feature)
{
    return (w->config->features & feature) != 0;
}

static void enter_table(struct walk *w, uint64_t pa)
{
    if (pa >= w->pa_end) {
        w->r->malformed = true;
    }
    if (w->r->tables < 6) {
        w->r->table_pa[w->r->tables++] = pa;
    }
}

static uint64_t entry_at(struct walk *w, uint64_t table, uint64_t index)
{
    w->r->entry_pa = table + index * 8;
    return __atomic_load_n((const uint64_t *)w->phys(table + index * 8), __ATOMIC_ACQUIRE);
}

/* An entry beside the one of va: the other members of a run. */
static uint64_t neighbour_at(struct walk *w, uint64_t table, uint64_t index)
{
    return __atomic_load_n((const uint64_t *)w->phys(table + index * 8), __ATOMIC_ACQUIRE);
}

/* A member of a run that is not there: bit 0 in all formats that have runs. */
static bool is_absent(struct walk *w, uint64_t other)
{
    w->r->open_run |= !(other & 1);
    return !(other & 1);
}

static void stop(struct walk *w, int level)
{
    w->r->present = false;
    w->r->fault_level = level;
}

static void stop_bad(struct walk *w, int level)
{
    w->r->malformed = true;
    stop(w, level);
}

/* A leaf of 2^lg2 bytes that begins at pa. */
static void reach(struct walk *w, uint64_t pa, unsigned lg2)
{
    uint64_t bytes = UINT64_C(1) << lg2;

    if (pa % bytes != 0 || pa >= w->pa_end) {
        w->r->malformed = true;
    }
    w->r->present = true;
    w->r->fault_level = -1;
    w->r->leaf_bytes = bytes;
    w->r->pa = pa + w->va % bytes;
}

static void must_be_zero(struct walk *w, uint64_t value)
{
    if (value != 0) {
        w->r->malformed = true;
    }
}

/* Is a leaf of this level one that the CPU knows? */
static bool leaf_size_ok(const struct walk *w, int level)
{
    if (has(w, ASPACE_FEAT_NO_2M)) {
        return level == 0;
    }
    return level <= 1 || (level == 2 && !has(w, ASPACE_FEAT_NO_1G));
}

/* Stage 1: a leaf holds for every ASID exactly if the space is to be global. */
static void check_global(struct walk *w, bool global)
{
    w->r->malformed |= global != has(w, ASPACE_FEAT_GLOBAL);
}

static void mark_encrypted(struct walk *w, uint64_t e)
{
    if ((e & w->encrypt) != 0) {
        w->r->attr |= ASPACE_ATTR_ENCRYPTED;
    }
}

/* -------------------------------------------------------------------------------------------------------- Intel EPT */

/*
 * Intel SDM volume 3C, 29.3.2, tables 29-1 to 29-7. A guest-physical address with four levels (five: 56..48 above):
 *
 *   47     39 38     30 29     21 20     12 11        0
 *  +---------+---------+---------+---------+-----------+
 *  |  PML4   |  PDPT   |   PD    |   PT    |  offset   |
 *  +---------+---------+---------+---------+-----------+
 *
 * An entry: 0 R, 1 W, 2 X, 5..3 memory type and 6 ignore-PAT (leaves; else reserved), 7 leaf (levels 1 and 2),
 * 8 accessed, 9 dirty, 10 X for user-mode addresses (MBEC), 51..12 address, 63 suppress #VE.
 */
static bool ept_misconfigured(const struct walk *w, uint64_t e)
{
    bool r = bit(e, 0);
    bool x_user = has(w, ASPACE_FEAT_MBEC) && bit(e, 10);

    if (bit(e, 1) && !r) {
        return true; /* 29.3.3.1: writable but not readable */
    }
    return !r && (bit(e, 2) || x_user) && !has(w, ASPACE_FEAT_EXEC_ONLY);
}

static void ept_leaf(struct walk *w, uint64_t e, int level, uint64_t granted)
{
    static const uint8_t attr_of[8] = {
        ASPACE_ATTR_DEVICE, ASPACE_ATTR_WC, 0xff, 0xff, ASPACE_ATTR_COUNT, ASPACE_ATTR_COUNT, ASPACE_ATTR_DEFAULT, 0xff,
    };
    unsigned lg2 = PAGE_LG2 + 9 * (unsigned)level;
    uint64_t type = field(e, 5, 3); /* 0 UC, 1 WC, 4 WT, 5 WP, 6 WB; others are misconfigurations */

    w->r->rights =
        (bit(granted, 0) ? ASPACE_R : 0u) | (bit(granted, 1) ? ASPACE_W : 0u) | (bit(granted, 2) ? ASPACE_X : 0u);
    if (has(w, ASPACE_FEAT_MBEC) && bit(granted, 10)) {
        w->r->rights |= ASPACE_U;
    }
    w->r->attr = attr_of[type];
    if (attr_of[type] == 0xff) {
        w->r->attr = ASPACE_ATTR_COUNT;
        w->r->malformed = true;
    }
    mark_encrypted(w, e);
    reach(w, field_at(e & ~w->encrypt, 51, 12), lg2);
}

static void ept_walk(struct walk *w, uint64_t table, int levels)
{
    uint64_t granted = UINT64_MAX;

    for (int level = levels - 1; level >= 0; level--) {
        unsigned lo = PAGE_LG2 + 9 * (unsigned)level;
        enter_table(w, table);
        uint64_t e = entry_at(w, table, field(w->va, lo + 8, lo));
        if (field(e, 2, 0) == 0 && !(has(w, ASPACE_FEAT_MBEC) && bit(e, 10))) {
            stop(w, level);
            return;
        }
        granted &= e;
        if (ept_misconfigured(w, e)) {
            w->r->malformed = true;
        }
        if (level == 0 || bit(e, 7)) {
            if (!leaf_size_ok(w, level)) {
                stop_bad(w, level); /* bit 7 is reserved there */
                return;
            }
            ept_leaf(w, e, level, granted);
            return;
        }
        must_be_zero(w, field(e, 6, 3));
        table = field_at(e & ~w->encrypt, 51, 12);
    }
}

/* ------------------------------------------------------------------------------------------------------ x86 and NPT */

/*
 * Intel SDM volume 3A 4.5 (tables 4-15 to 4-20), AMD APM volume 2 5.3 and 15.25. Addresses as for EPT.
 * An entry: 0 P, 1 R/W, 2 U/S, 3 PWT, 4 PCD, 5 A, 6 D, 7 PS (levels 1, 2) or PAT (level 0), 8 G, 12 PAT of a large
 * leaf, 51..12 address, 63 NX (reserved unless EFER.NXE).
 */
static uint32_t x86_attr(const struct walk *w, uint64_t e, int level)
{
    uint64_t pat = w->config->pat;
    unsigned index = (bit(e, 3) ? 1u : 0u) | (bit(e, 4) ? 2u : 0u) | (bit(e, level == 0 ? 7 : 12) ? 4u : 0u);

    if (pat == 0) {
        pat = UINT64_C(0x0007040100070406); /* SDM 12.12.4, after reset, with WC in PA4 */
    }
    switch (field(pat, 8 * index + 2, 8 * index)) {
    case 0: /* UC */
    case 7: /* UC- */ return ASPACE_ATTR_DEVICE;
    case 1: return ASPACE_ATTR_WC;
    case 6: return ASPACE_ATTR_DEFAULT;
    default: return ASPACE_ATTR_COUNT;
    }
}

static void x86_leaf(struct walk *w, uint64_t e, int level, bool nested)
{
    /* accumulated in r->rights by the caller: what every level allows */
    uint32_t rights = w->r->rights;

    if (nested && !(rights & ASPACE_U)) {
        rights = 0; /* APM 15.25.5: nested walks are user accesses */
    }
    if (nested) {
        rights &= ~(uint32_t)ASPACE_U;
    }
    w->r->rights = rights;
    w->r->attr = x86_attr(w, e, level);
    if (!nested) {
        check_global(w, bit(e, 8));
    }
    mark_encrypted(w, e);
    uint64_t pa = field_at(e & ~w->encrypt, 51, 12);
    if (level > 0) {
        pa &= ~(UINT64_C(1) << 12); /* PAT of a large leaf */
    }
    reach(w, pa, PAGE_LG2 + 9 * (unsigned)level);
}

static void x86_walk(struct walk *w, uint64_t table, int levels, bool nested)
{
    w->r->rights = ASPACE_RWX | ASPACE_U;
    for (int level = levels - 1; level >= 0; level--) {
        unsigned lo = PAGE_LG2 + 9 * (unsigned)level;
        enter_table(w, table);
        uint64_t e = entry_at(w, table, field(w->va, lo + 8, lo));
        if (!bit(e, 0)) {
            stop(w, level);
            return;
        }
        if (bit(e, 63) && !has(w, ASPACE_FEAT_NX)) {
            w->r->malformed = true;
        }
        w->r->rights &= ~((bit(e, 1) ? 0u : (uint32_t)ASPACE_W) | (bit(e, 2) ? 0u : (uint32_t)ASPACE_U) |
                          (bit(e, 63) ? (uint32_t)ASPACE_X : 0u));
        if (level == 0 || bit(e, 7)) {
            if (!leaf_size_ok(w, level)) {
                stop_bad(w, level);
                return;
            }
            x86_leaf(w, e, level, nested);
            return;
        }
        table = field_at(e & ~w->encrypt, 51, 12);
    }
}

/* -------------------------------------------------------------------------------------------------------------- Arm */

/*
 * Arm ARM (DDI 0487) D8.2 and D8.3, 4 KiB granule. The input address; at the first level looked up, the field takes in
 * the bits of concatenated tables above it (D8.2.2):
 *
 *   47     39 38     30 29     21 20     12 11        0
 *  +---------+---------+---------+---------+-----------+
 *  | level 0 | level 1 | level 2 | level 3 |  offset   |     (the manual's levels; here 3, 2, 1, 0)
 *  +---------+---------+---------+---------+-----------+
 *
 * A descriptor: 0 valid, 1 table or page, 47..12 address. A stage 2 leaf: 5..2 MemAttr, 6 read, 7 write, 9..8 SH,
 * 10 AF, 51 DBM, 52 contiguous, 54..53 XN. A stage 1 leaf: 4..2 AttrIndx, 5 NS, 6 AP[1], 7 AP[2], 9..8 SH, 10 AF,
 * 11 nG, 51 DBM, 52 contiguous, 53 PXN, 54 UXN; a stage 1 table: 59 PXNTable, 60 UXNTable, 62..61 APTable.
 */
static uint32_t arm_s2_attr(struct walk *w, uint64_t e)
{
    uint64_t memattr = field(e, 5, 2);

    if (has(w, ASPACE_FEAT_FWB)) { /* D8.6.6 */
        switch (memattr) {
        case 0: return ASPACE_ATTR_UC;     /* Device-nGnRnE */
        case 1: return ASPACE_ATTR_DEVICE; /* Device-nGnRE */
        case 5: return ASPACE_ATTR_WC;     /* Normal Non-cacheable */
        case 6:
        case 7: return ASPACE_ATTR_DEFAULT; /* write-back, or what stage 1 says */
        default: break;
        }
    } else {
        switch (memattr) { /* D8.6.5 */
        case 0: return ASPACE_ATTR_UC;
        case 1: return ASPACE_ATTR_DEVICE;
        case 5: return ASPACE_ATTR_WC;
        case 15: return ASPACE_ATTR_DEFAULT;
        default: break;
        }
    }
    w->r->malformed = true;
    return ASPACE_ATTR_COUNT;
}

/* D8.4.4: with FEAT_XNX 0 both may, 1 only EL0, 2 none, 3 only EL1; without, bit 54 is execute-never for both. */
static uint32_t arm_s2_rights(struct walk *w, uint64_t e)
{
    uint32_t rights = 0;

    if (bit(e, 6)) {
        rights |= ASPACE_R;
    }
    if (bit(e, 7) || (has(w, ASPACE_FEAT_AD) && bit(e, 51))) {
        rights |= ASPACE_W;
    }
    if (!has(w, ASPACE_FEAT_XNX)) {
        must_be_zero(w, field(e, 53, 53));
        return rights | (bit(e, 54) ? 0u : (uint32_t)ASPACE_X);
    }
    switch (field(e, 54, 53)) {
    case 0: return rights | ASPACE_X | ASPACE_U;
    case 2: return rights;
    case 3: return rights | ASPACE_X;
    default:
        w->r->malformed = true; /* EL0 alone: no name for it */
        return rights;
    }
}

static uint32_t arm_s1_attr(struct walk *w, uint64_t e)
{
    uint64_t mair = w->config->mair != 0 ? w->config->mair : UINT64_C(0x004404ff);
    unsigned index = (unsigned)field(e, 4, 2);

    switch (field(mair, 8 * index + 7, 8 * index)) {
    case 0x00: return ASPACE_ATTR_UC;
    case 0x04: return ASPACE_ATTR_DEVICE;
    case 0x44: return ASPACE_ATTR_WC;
    case 0xff: return ASPACE_ATTR_DEFAULT;
    default: return ASPACE_ATTR_COUNT;
    }
}

/* D8.4.3: AP[1] opens the page to EL0, and EL0's own rights are what counts then. */
static uint32_t arm_s1_rights(const struct walk *w, uint64_t e)
{
    bool writable = !bit(e, 7) || (has(w, ASPACE_FEAT_AD) && bit(e, 51));
    bool pxn = bit(e, 53), uxn = bit(e, 54);

    if (bit(e, 6)) {
        return ASPACE_U | ASPACE_R | (writable ? ASPACE_W : 0u) | (uxn ? 0u : (uint32_t)ASPACE_X);
    }
    if (!uxn && pxn) {
        return ASPACE_U | ASPACE_X; /* EL0 may only execute */
    }
    return ASPACE_R | (writable ? ASPACE_W : 0u) | (pxn ? 0u : (uint32_t)ASPACE_X);
}

/* D8.7.1: the sixteen entries of a run are adjacent, aligned and equal in all but AF and the dirty state. */
static bool arm_run_ok(struct walk *w, uint64_t table, uint64_t index, uint64_t e)
{
    uint64_t varies = (UINT64_C(1) << 10) | (UINT64_C(1) << 7) | (UINT64_C(0xf) << 55);
    uint64_t address = field_at(UINT64_MAX, 47, 12);
    uint64_t first = field_at(e, 47, 16);

    for (uint64_t i = 0; i < 16; i++) {
        uint64_t other = neighbour_at(w, table, (index & ~UINT64_C(15)) + i);
        if (!is_absent(w, other) &&
            (((other ^ e) & ~(varies | address)) != 0 || (other & address) != first + i * 4096)) {
            return false;
        }
    }
    return true;
}

static void arm_leaf(struct walk *w, uint64_t e, int level, bool stage2)
{
    w->r->rights = stage2 ? arm_s2_rights(w, e) : arm_s1_rights(w, e);
    w->r->attr = stage2 ? arm_s2_attr(w, e) : arm_s1_attr(w, e);
    must_be_zero(w, field(e, 49, 48));
    if (stage2) {
        must_be_zero(w, field(e, 50, 50) | field(e, 11, 11));
    } else {
        check_global(w, !bit(e, 11));
    }
    if (!bit(e, 10) && !has(w, ASPACE_FEAT_AD)) {
        w->r->rights = 0; /* access flag fault */
    }
    mark_encrypted(w, e);
    uint64_t pa = field_at(e & ~w->encrypt, 47, 12);
    if (level > 0) {
        must_be_zero(w, field(pa, 20, 12)); /* nT and RES0 */
    }
    reach(w, pa, PAGE_LG2 + 9 * (unsigned)level);
}

static void arm_walk(struct walk *w, uint64_t table, int levels, bool stage2)
{
    for (int level = levels - 1; level >= 0; level--) {
        unsigned lo = PAGE_LG2 + 9 * (unsigned)level;
        uint64_t index = level == levels - 1 ? w->va >> lo : field(w->va, lo + 8, lo);
        enter_table(w, table);
        uint64_t e = entry_at(w, table, index);
        if (!bit(e, 0)) {
            stop(w, level);
            return;
        }
        if (level > 0 && bit(e, 1)) {
            must_be_zero(w, field(e, 50, 48) | field(e, 63, 59)); /* hierarchical controls are never asked for */
            table = field_at(e & ~w->encrypt, 47, 12);
            continue;
        }
        if ((level == 0) != bit(e, 1) || !leaf_size_ok(w, level)) {
            stop_bad(w, level); /* reserved encodings: treated as invalid */
            return;
        }
        arm_leaf(w, e, level, stage2);
        if (bit(e, 52) && level == 0) {
            w->r->malformed |= !has(w, ASPACE_FEAT_CONTIG) || !arm_run_ok(w, table, index, e);
            w->r->leaf_bytes = 65536;
        } else if (bit(e, 52)) {
            w->r->malformed = true; /* 32 MiB and 16 GiB runs are not asked for */
        }
        return;
    }
}

/* ----------------------------------------------------------------------------------------------------------- RISC-V */

/*
 * RISC-V privileged specification 12.3.2 (and 12.4, 12.5 for Sv39, Sv48, Sv57), 15.5 for the x4 formats, whose root is
 * four times as large:
 *
 *   40       30 29     21 20     12 11        0
 *  +-----------+---------+---------+-----------+
 *  |  VPN[2]   | VPN[1]  | VPN[0]  |  offset   |    Sv39x4: eleven bits at the root; Sv39: 38..30, sign-extended
 *  +-----------+---------+---------+-----------+
 *
 * An entry: 0 V, 1 R, 2 W, 3 X, 4 U, 5 G, 6 A, 7 D, 9..8 software, 53..10 PPN, 60..54 reserved, 62..61 PBMT, 63 N.
 */
static uint32_t riscv_rights(const struct walk *w, uint64_t e, bool gstage)
{
    uint32_t rights = (bit(e, 1) ? ASPACE_R : 0u) | (bit(e, 2) ? ASPACE_W : 0u) | (bit(e, 3) ? ASPACE_X : 0u);

    if (!has(w, ASPACE_FEAT_AD) && !bit(e, 6)) {
        return 0; /* step 9: a page fault */
    }
    if (!has(w, ASPACE_FEAT_AD) && !bit(e, 7)) {
        rights &= ~(uint32_t)ASPACE_W;
    }
    if (gstage) {
        return bit(e, 4) ? rights : 0; /* 15.5.1: every access is as if from U-mode */
    }
    return rights | (bit(e, 4) ? ASPACE_U : 0u);
}

static uint32_t riscv_attr(struct walk *w, uint64_t e)
{
    static const uint8_t attr_of[4] = {ASPACE_ATTR_DEFAULT, ASPACE_ATTR_WC, ASPACE_ATTR_DEVICE, ASPACE_ATTR_COUNT};
    uint64_t pbmt = field(e, 62, 61); /* 0 the PMA, 1 NC, 2 IO, 3 reserved */

    if (pbmt == 3 || (pbmt != 0 && !has(w, ASPACE_FEAT_SVPBMT))) {
        w->r->malformed = true;
    }
    return attr_of[pbmt];
}

/* 12.6: sixteen equal entries whose PPN ends in 1000. */
static bool riscv_run_ok(struct walk *w, uint64_t table, uint64_t index, uint64_t e)
{
    uint64_t varies = (UINT64_C(3) << 6) | (UINT64_C(3) << 8);

    for (uint64_t i = 0; i < 16; i++) {
        uint64_t other = neighbour_at(w, table, (index & ~UINT64_C(15)) + i);
        if (!is_absent(w, other) && ((other ^ e) & ~varies) != 0) {
            return false;
        }
    }
    return field(e, 13, 10) == 8 && has(w, ASPACE_FEAT_SVNAPOT);
}

static void riscv_leaf(struct walk *w, uint64_t e, int level, bool gstage)
{
    uint64_t ppn = field(e & ~w->encrypt, 53, 10);

    if (bit(e, 2) && !bit(e, 1)) {
        w->r->malformed = true; /* step 3: writable but not readable is reserved */
    }
    must_be_zero(w, field(e & ~w->encrypt, 60, 54));
    if (!gstage) {
        check_global(w, bit(e, 5));
    }
    w->r->rights = riscv_rights(w, e, gstage);
    w->r->attr = riscv_attr(w, e);
    mark_encrypted(w, e);
    if (bit(e, 63) && level == 0) {
        reach(w, (ppn & ~UINT64_C(15)) << PAGE_LG2, 16);
    } else {
        w->r->malformed |= bit(e, 63);
        reach(w, ppn << PAGE_LG2, PAGE_LG2 + 9 * (unsigned)level); /* step 6: a misaligned superpage is a fault */
    }
}

static void riscv_walk(struct walk *w, uint64_t table, int levels, bool gstage)
{
    for (int level = levels - 1; level >= 0; level--) {
        unsigned lo = PAGE_LG2 + 9 * (unsigned)level;
        unsigned wide = (gstage && level == levels - 1) ? 2 : 0;
        uint64_t index = field(w->va, lo + 8 + wide, lo);
        enter_table(w, table);
        uint64_t e = entry_at(w, table, index);
        if (!bit(e, 0)) {
            stop(w, level);
            return;
        }
        if (field(e, 3, 1) != 0) {
            if (!leaf_size_ok(w, level < 2 ? level : 2)) {
                w->r->malformed = true; /* else every level may have leaves */
            }
            riscv_leaf(w, e, level, gstage);
            if (bit(e, 63) && level == 0 && !riscv_run_ok(w, table, index, e)) {
                w->r->malformed = true;
            }
            return;
        }
        if (level == 0) {
            stop_bad(w, level);
            return;
        }
        must_be_zero(w, field(e, 7, 6) | field(e, 4, 4) | field(e & ~w->encrypt, 63, 54));
        must_be_zero(w, !has(w, ASPACE_FEAT_GLOBAL) && bit(e, 5)); /* G of a table holds for all below */
        table = field(e & ~w->encrypt, 53, 10) << PAGE_LG2;
    }
}

/* -------------------------------------------------------------------------------------------------------- LoongArch */

/*
 * LoongArch reference manual, volume 1, 5.4.5 and 5.4.6 (LDDIR, LDPTE), four tables of nine bits:
 *
 *   47     39 38     30 29     21 20     12 11        0
 *  +---------+---------+---------+---------+-----------+
 *  |  dir 3  |  dir 2  |  dir 1  |   PT    |  offset   |
 *  +---------+---------+---------+---------+-----------+
 *
 * A directory entry is the address of a table, or with bit 6 (H) a huge leaf. A leaf: 0 V, 1 D (store allowed),
 * 3..2 PLV, 5..4 MAT, 6 G (huge: H), 7 P, 8 W, 12 G of a huge leaf, 61 NR, 62 NX, 63 RPLV. LDDIR leaves the level of
 * a huge leaf in bits 14..13, which memory must have clear.
 */
static void loongarch_leaf(struct walk *w, uint64_t e, int level, bool stage2)
{
    static const uint8_t attr_of[4] = {ASPACE_ATTR_DEVICE, ASPACE_ATTR_DEFAULT, ASPACE_ATTR_WC, ASPACE_ATTR_COUNT};
    uint64_t mat = field(e, 5, 4); /* 0 strongly ordered uncached, 1 coherent cached, 2 weakly ordered uncached */

    if (mat == 3) {
        w->r->malformed = true;
    }
    w->r->attr = attr_of[mat];
    w->r->rights =
        (bit(e, 61) ? 0u : (uint32_t)ASPACE_R) | (bit(e, 1) ? ASPACE_W : 0u) | (bit(e, 62) ? 0u : (uint32_t)ASPACE_X);
    if (!stage2) {
        check_global(w, bit(e, level > 0 ? 12 : 6));
    }
    if (!stage2 && field(e, 3, 2) == 3) {
        w->r->rights |= ASPACE_U;
    }
    mark_encrypted(w, e);
    uint64_t pa = field_at(e & ~w->encrypt, 60, 12);
    if (level > 0) {
        must_be_zero(w, field(e, 14, 13));
        pa &= ~(UINT64_C(1) << 12); /* G */
    }
    reach(w, pa, PAGE_LG2 + 9 * (unsigned)level);
}

static void loongarch_walk(struct walk *w, uint64_t table, bool stage2)
{
    for (int level = 3; level >= 0; level--) {
        unsigned lo = PAGE_LG2 + 9 * (unsigned)level;
        enter_table(w, table);
        uint64_t e = entry_at(w, table, field(w->va, lo + 8, lo));
        if (level == 0 || bit(e, 6)) {
            if (!bit(e, 0)) {
                must_be_zero(w, level > 0 ? field(e, 14, 13) : 0);
                stop(w, level);
                return;
            }
            if (!leaf_size_ok(w, level)) {
                stop_bad(w, level);
                return;
            }
            loongarch_leaf(w, e, level, stage2);
            return;
        }
        if (field(e, 11, 0) != 0 || field_at(e, 63, 12) == 0) {
            stop_bad(w, level); /* LDDIR would take any of these for a table */
            return;
        }
        table = field_at(e, 63, 12);
    }
}

/* -------------------------------------------------------------------------------------------------------------- toy */

/*
 * No machine's: three tables of two bits.
 *
 *   17 16 15 14 13 12 11        0
 *  +-----+-----+-----+-----------+
 *  |  2  |  1  |  0  |  offset   |
 *  +-----+-----+-----+-----------+
 *
 * An entry: 0 present, 1 table, 39..12 address, 55..52 rights, 56 accessed, 57 dirty, 60..58 attribute, 61 member of a
 * run of two, 63..62 for software.
 */
static uint64_t toy_used(uint64_t e, bool write)
{
    return e | (UINT64_C(1) << 56) | (write ? UINT64_C(1) << 57 : 0);
}

static bool toy_run_ok(struct walk *w, uint64_t table, uint64_t index, uint64_t e)
{
    uint64_t varies = (UINT64_C(3) << 56) | field_at(UINT64_MAX, 39, 12);
    uint64_t other = neighbour_at(w, table, index ^ 1);
    uint64_t first = field_at(e, 39, 13) | field_at(~index << 12, 12, 12);

    return has(w, ASPACE_FEAT_CONTIG) &&
           (is_absent(w, other) || (((other ^ e) & ~varies) == 0 && field_at(other, 39, 12) == first));
}

static void toy_leaf(struct walk *w, uint64_t e, int level)
{
    must_be_zero(w, field(e & ~w->encrypt, 51, 40) | field(e, 11, 2));
    w->r->rights = (uint32_t)field(e, 55, 52);
    w->r->attr = (uint32_t)field(e, 60, 58);
    if (w->r->attr == ASPACE_ATTR_NORMAL || w->r->attr == ASPACE_ATTR_UC) {
        w->r->attr = w->r->attr == ASPACE_ATTR_NORMAL ? ASPACE_ATTR_DEFAULT : ASPACE_ATTR_DEVICE;
    }
    mark_encrypted(w, e);
    reach(w, field_at(e & ~w->encrypt, 39, 12), PAGE_LG2 + 2 * (unsigned)level);
}

static void toy_walk(struct walk *w, uint64_t table)
{
    for (int level = 2; level >= 0; level--) {
        unsigned lo = PAGE_LG2 + 2 * (unsigned)level;
        uint64_t index = field(w->va, lo + 1, lo);
        enter_table(w, table);
        uint64_t e = entry_at(w, table, index);
        if (!bit(e, 0)) {
            stop(w, level);
            return;
        }
        if (!bit(e, 1)) {
            w->r->malformed |= !leaf_size_ok(w, level) || (bit(e, 61) && level != 0);
            toy_leaf(w, e, level);
            if (bit(e, 61)) {
                w->r->malformed |= !toy_run_ok(w, table, index, e);
                w->r->leaf_bytes = 8192;
            }
            return;
        }
        if (level == 0) {
            stop_bad(w, level);
            return;
        }
        must_be_zero(w, field(e, 63, 40) | field(e, 11, 2));
        table = field_at(e, 39, 12);
    }
}

/* ------------------------------------------------------------------------------------------------------ all of them */

struct shape {
    unsigned levels;
    unsigned input_bits; /* what may be translated: the lower half where addresses are signed */
    unsigned pa_bits;    /* width of an address in an entry */
    unsigned root_lg2;   /* size and alignment of the root, log2 of bytes */
};

static const struct shape shapes[ASPACE_FMT_COUNT] = {
    [ASPACE_FMT_X86_EPT4] = {4, 48, 52, 12},     [ASPACE_FMT_X86_EPT5] = {5, 57, 52, 12},
    [ASPACE_FMT_X86_NPT4] = {4, 48, 52, 12},     [ASPACE_FMT_X86_NPT5] = {5, 57, 52, 12},
    [ASPACE_FMT_X86_PT4] = {4, 47, 52, 12},      [ASPACE_FMT_X86_PT5] = {5, 56, 52, 12},
    [ASPACE_FMT_ARM_S2_39] = {3, 39, 48, 12},    [ASPACE_FMT_ARM_S2_40] = {3, 40, 48, 13},
    [ASPACE_FMT_ARM_S2_43] = {3, 43, 48, 16},    [ASPACE_FMT_ARM_S2_48] = {4, 48, 48, 12},
    [ASPACE_FMT_ARM_S1_39] = {3, 39, 48, 12},    [ASPACE_FMT_ARM_S1_48] = {4, 48, 48, 12},
    [ASPACE_FMT_RISCV_SV39X4] = {3, 41, 56, 14}, [ASPACE_FMT_RISCV_SV48X4] = {4, 50, 56, 14},
    [ASPACE_FMT_RISCV_SV57X4] = {5, 59, 56, 14}, [ASPACE_FMT_RISCV_SV39] = {3, 38, 56, 12},
    [ASPACE_FMT_RISCV_SV48] = {4, 47, 56, 12},   [ASPACE_FMT_RISCV_SV57] = {5, 56, 56, 12},
    [ASPACE_FMT_LOONGARCH_S1] = {4, 47, 48, 12}, [ASPACE_FMT_LOONGARCH_S2] = {4, 48, 48, 12},
    [ASPACE_FMT_TOY] = {3, 18, 40, 12},
};

unsigned naive_levels(enum aspace_format format)
{
    return shapes[format].levels;
}

uint64_t naive_input_end(enum aspace_format format)
{
    return UINT64_C(1) << shapes[format].input_bits;
}

unsigned naive_index_bits(enum aspace_format format)
{
    return format == ASPACE_FMT_TOY ? 2 : 9;
}

static bool is_riscv(enum aspace_format format)
{
    return format >= ASPACE_FMT_RISCV_SV39X4 && format <= ASPACE_FMT_RISCV_SV57;
}

/* RISC-V: "any level of PTE may be a leaf PTE" (Sv39, Sv48, Sv57). All others: the table of each above. */
unsigned naive_leaf_levels(enum aspace_format format)
{
    return is_riscv(format) ? shapes[format].levels : 3;
}

unsigned naive_run_pages(const struct aspace_config *config)
{
    enum aspace_format format = config->format;

    if (is_riscv(format)) {
        return (config->features & ASPACE_FEAT_SVNAPOT) != 0 ? 16 : 1;
    }
    if ((config->features & ASPACE_FEAT_CONTIG) == 0) {
        return 1;
    }
    if (format >= ASPACE_FMT_ARM_S2_39 && format <= ASPACE_FMT_ARM_S1_48) {
        return 16;
    }
    return format == ASPACE_FMT_TOY ? 2 : 1;
}

uint64_t naive_output_end(const struct aspace_config *config)
{
    unsigned bits = config->output_bits != 0 ? config->output_bits : shapes[config->format].pa_bits;
    unsigned encrypt = config->encrypt_bit + (is_riscv(config->format) ? 2u : 0u); /* there bit n of PA is bit n - 2 */

    if (config->encrypt_bit != 0 && encrypt < bits) {
        bits = encrypt;
    }
    return UINT64_C(1) << bits;
}

static void walk_family(struct walk *w, enum aspace_format format, uint64_t root)
{
    int levels = (int)shapes[format].levels;

    switch (format) {
    case ASPACE_FMT_X86_EPT4:
    case ASPACE_FMT_X86_EPT5: ept_walk(w, root, levels); break;
    case ASPACE_FMT_X86_NPT4:
    case ASPACE_FMT_X86_NPT5: x86_walk(w, root, levels, true); break;
    case ASPACE_FMT_X86_PT4:
    case ASPACE_FMT_X86_PT5: x86_walk(w, root, levels, false); break;
    case ASPACE_FMT_ARM_S2_39:
    case ASPACE_FMT_ARM_S2_40:
    case ASPACE_FMT_ARM_S2_43:
    case ASPACE_FMT_ARM_S2_48: arm_walk(w, root, levels, true); break;
    case ASPACE_FMT_ARM_S1_39:
    case ASPACE_FMT_ARM_S1_48: arm_walk(w, root, levels, false); break;
    case ASPACE_FMT_RISCV_SV39X4:
    case ASPACE_FMT_RISCV_SV48X4:
    case ASPACE_FMT_RISCV_SV57X4: riscv_walk(w, root, levels, true); break;
    case ASPACE_FMT_RISCV_SV39:
    case ASPACE_FMT_RISCV_SV48:
    case ASPACE_FMT_RISCV_SV57: riscv_walk(w, root, levels, false); break;
    case ASPACE_FMT_LOONGARCH_S1:
    case ASPACE_FMT_LOONGARCH_S2: loongarch_walk(w, root, format == ASPACE_FMT_LOONGARCH_S2); break;
    default: toy_walk(w, root); break;
    }
}

void naive_walk(enum aspace_format format, const struct aspace_config *config, uint64_t root_pa, uint64_t va,
                const void *(*phys)(uint64_t pa), struct naive_result *result)
{
    const struct shape *shape = &shapes[format];
    struct walk w = {.config = config, .phys = phys, .r = result, .va = va};

    memset(result, 0, sizeof(*result));
    w.pa_end = naive_output_end(config);
    w.encrypt = config->encrypt_bit != 0 ? UINT64_C(1) << config->encrypt_bit : 0;
    if (va >= naive_input_end(format)) {
        stop(&w, (int)shape->levels);
        return;
    }
    result->malformed = root_pa % (UINT64_C(1) << shape->root_lg2) != 0;
    walk_family(&w, format, root_pa);
    if (!result->present) {
        result->rights = 0;
        result->attr = 0;
    }
}

uint64_t naive_used(const struct aspace_config *config, uint64_t entry, bool write)
{
    enum aspace_format format = config->format;
    uint64_t dbm = UINT64_C(1) << 51;

    if ((config->features & ASPACE_FEAT_AD) == 0) {
        return entry;
    }
    if (format <= ASPACE_FMT_X86_EPT5) { /* SDM 29.3.5 */
        return entry | (UINT64_C(1) << 8) | (write ? UINT64_C(1) << 9 : 0);
    }
    if (format <= ASPACE_FMT_X86_PT5) { /* SDM 4.8 */
        return entry | (UINT64_C(1) << 5) | (write ? UINT64_C(1) << 6 : 0);
    }
    if (format <= ASPACE_FMT_ARM_S2_48) { /* DDI 0487 D8.5.5 */
        return entry | (UINT64_C(1) << 10) | (write && (entry & dbm) != 0 ? UINT64_C(1) << 7 : 0);
    }
    if (format <= ASPACE_FMT_ARM_S1_48) {
        entry |= UINT64_C(1) << 10;
        return write && (entry & dbm) != 0 ? entry & ~(UINT64_C(1) << 7) : entry;
    }
    if (is_riscv(format)) { /* 12.3.1 */
        return entry | (UINT64_C(1) << 6) | (write ? UINT64_C(1) << 7 : 0);
    }
    return format == ASPACE_FMT_TOY ? toy_used(entry, write) : entry;
}
