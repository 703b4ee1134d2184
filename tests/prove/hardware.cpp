/* SPDX-License-Identifier: BSD-2-Clause */
/* The rules of the MMUs, one function a family, every bit by its number in the manual. Must not know the library. */
#include "hardware.hpp"

enum family { EPT, NPT, PT, ARM_S2, ARM_S1, RISCV_G, RISCV_S, LOONGARCH_S1, LOONGARCH_S2, TOY };

struct shape {
    family kind;
    unsigned levels;
};

/* In the order of ASPACE_FORMATS. */
static const shape shapes[ASPACE_FMT_COUNT] = {
    {EPT, 4},     {EPT, 5},     {NPT, 4},     {NPT, 5},     {PT, 4},           {PT, 5},           {ARM_S2, 3},
    {ARM_S2, 3},  {ARM_S2, 3},  {ARM_S2, 4},  {ARM_S1, 3},  {ARM_S1, 4},       {RISCV_G, 3},      {RISCV_G, 4},
    {RISCV_G, 5}, {RISCV_S, 3}, {RISCV_S, 4}, {RISCV_S, 5}, {LOONGARCH_S1, 4}, {LOONGARCH_S2, 4}, {TOY, 3},
};

/* Memory types, all machines' in one list. */
enum type { WB, WC, UC, NC, NGNRE, NGNRNE, PMA, IO, OTHER };

static constexpr raw ones(unsigned hi, unsigned lo)
{
    return hi < lo ? 0 : (~0ul >> (63 - hi)) & (~0ul << lo);
}

static truth bit(word e, unsigned n)
{
    return (e & 1ul << n) != 0;
}

static word field(word e, unsigned hi, unsigned lo)
{
    return (e & ones(hi, lo)) >> lo;
}

static truth zero(word e, unsigned hi, unsigned lo)
{
    return (e & ones(hi, lo)) == 0;
}

static bool has(const machine &m, unsigned feature)
{
    return (m.features & feature) != 0;
}

static raw encrypt(const machine &m)
{
    return m.encrypt_bit ? 1ul << m.encrypt_bit : 0;
}

/* Is a leaf of this level one that the processor lacks? */
static bool lacks(const machine &m, unsigned level)
{
    return level > 0 && (has(m, ASPACE_FEAT_NO_2M) || (level > 1 && has(m, ASPACE_FEAT_NO_1G)));
}

static access all(truth value)
{
    return {value, value, value};
}

static access both(access a, truth value)
{
    return {a.r & value, a.w & value, a.x & value};
}

/* A leaf of 2^lg2 bytes at `base`. */
static word reach(word base, unsigned lg2, word va)
{
    return base | (va & ones(lg2 - 1, 0));
}

static view nothing()
{
    view v = {};

    v.kernel = v.user = all(true);
    v.type = OTHER;
    return v;
}

/*
 * Intel SDM volume 3C, 29.3.2 and tables 29-1 to 29-7: 0 R, 1 W, 2 X, 5..3 memory type and 6 ignore-PAT (leaf;
 * reserved in what points to a table), 7 leaf (levels 1 and 2; reserved above), 8 accessed, 9 dirty, 10 X for user-mode
 * addresses (mode-based execute control), 51..12 address, 63 suppress #VE.
 */
static view ept_look(const machine &m, unsigned level, word e, word va)
{
    bool mbec = has(m, ASPACE_FEAT_MBEC);
    unsigned width = hardware_width(m), shift = hardware_shift(m, level);
    view v = nothing();
    truth x_user = mbec & bit(e, 10), large = level != 0 ? bit(e, 7) : truth(false);
    word type = field(e, 5, 3), plain = e & ~encrypt(m);

    v.present = bit(e, 0) | bit(e, 1) | bit(e, 2) | x_user;
    v.table = level == 0 ? truth(false) : level <= 2 ? !large : truth(true);
    /* 29.3.3.1 */
    v.reserved = (bit(e, 1) & !bit(e, 0)) | ((bit(e, 2) | x_user) & !bit(e, 0) & !has(m, ASPACE_FEAT_EXEC_ONLY));
    v.reserved = v.reserved | (v.table & (!zero(e, 6, 3) | (level > 2 ? large : truth(false)) | !zero(e, 51, width)));
    v.reserved = v.reserved | (!v.table & ((type == 2) | (type == 3) | (type == 7) | lacks(m, level) |
                                           !zero(plain, 51, width) | !zero(plain, shift - 1, 12)));
    v.next = e & ones(51, 12);
    v.output = reach(plain & ones(51, shift), shift, va);
    v.kernel = {bit(e, 0), bit(e, 1), bit(e, 2)};
    v.user = {bit(e, 0), bit(e, 1), mbec ? bit(e, 10) : bit(e, 2)};
    v.felt = has(m, ASPACE_FEAT_VE) & !bit(e, 63); /* 26.5.7.1: a #VE in the guest */
    v.type = choose(!bit(e, 6), OTHER, choose(type == 6, WB, choose(type == 1, WC, choose(type == 0, UC, OTHER))));
    return v;
}

/* SDM 4.9.2, APM 7.8.2: PWT, PCD and PAT are an index into eight types. */
static word pat_type(const machine &m, word e, unsigned level)
{
    raw pat = m.pat ? m.pat : 0x0007040100070406ul; /* SDM 12.12.4, after reset, with WC in PA4 */
    word index = field(e, 4, 3) | choose(bit(e, level == 0 ? 7 : 12), 4, 0);
    word result = OTHER;

    for (unsigned i = 0; i < 8; i++) {
        unsigned type = (unsigned)(pat >> (8 * i)) & 7;
        result = choose(index == i, type == 6 ? WB : type == 1 ? WC : type == 0 ? UC : OTHER, result);
    }
    return result;
}

/*
 * Intel SDM volume 3A 4.5 (tables 4-15 to 4-20), AMD APM volume 2 5.3, 5.4 and 15.25: 0 P, 1 R/W, 2 U/S, 3 PWT, 4 PCD,
 * 5 A, 6 D, 7 PS (levels 1 and 2; reserved above) or PAT (level 0), 8 G, 12 PAT of a large leaf, 51..12 address, 63 NX,
 * reserved unless EFER.NXE. A nested walk is an access by user code (APM 15.25.5).
 */
static view x86_look(const machine &m, unsigned level, word e, word va)
{
    bool nested = hardware_second_stage(m);
    unsigned width = hardware_width(m), shift = hardware_shift(m, level);
    view v = nothing();
    truth ps = level != 0 ? bit(e, 7) : truth(false);
    word plain = e & ~encrypt(m);

    v.present = bit(e, 0);
    v.table = level == 0 ? truth(false) : level <= 2 ? !ps : truth(true);
    v.reserved = bit(e, 63) & !has(m, ASPACE_FEAT_NX);
    v.reserved = v.reserved | (v.table & ((level > 2 ? ps : truth(false)) | !zero(e, 51, width)));
    v.reserved =
        v.reserved |
        (!v.table & (truth(lacks(m, level)) | !zero(plain, 51, width) | !zero(plain, shift - 1, level == 0 ? 12 : 13)));
    v.next = e & ones(51, 12);
    v.output = reach(plain & ones(51, shift), shift, va);
    access rights = {true, bit(e, 1), !bit(e, 63)};
    v.user = both(rights, bit(e, 2));
    v.kernel = nested ? v.user : rights;
    v.global = nested ? truth(false) : bit(e, 8);
    v.type = pat_type(m, e, level);
    return v;
}

/* Arm ARM D8.6.1 (stage 1), D8.6.5 and D8.6.6 (stage 2). */
static word arm_type(const machine &m, word e)
{
    raw mair = m.mair ? m.mair : 0x004404fful;
    word result = OTHER;

    if (hardware_second_stage(m)) {
        word attr = field(e, 5, 2);
        unsigned wb = has(m, ASPACE_FEAT_FWB) ? 6 : 15;
        return choose(attr == wb, WB,
                      choose(attr == 5, NC, choose(attr == 1, NGNRE, choose(attr == 0, NGNRNE, OTHER))));
    }
    for (unsigned i = 0; i < 8; i++) {
        raw type = mair >> (8 * i) & 0xff;
        raw known = type == 0xff ? WB : type == 0x44 ? NC : type == 4 ? NGNRE : type == 0 ? NGNRNE : OTHER;
        result = choose(field(e, 4, 2) == i, known, result);
    }
    return result;
}

/* D8.4.3: AP[1] opens the page to EL0. What EL0 can write EL1 does not execute. */
static void arm_s1_rights(const machine &m, word e, view &v)
{
    truth el0 = bit(e, 6), writable = !bit(e, 7) | (has(m, ASPACE_FEAT_AD) & bit(e, 51));

    v.user = {el0, el0 & writable, !bit(e, 54)};
    v.kernel = {true, writable, !bit(e, 53) & !(el0 & writable)};
}

/* D8.4.4: with FEAT_XNX 0 both execute, 1 only EL0, 2 none, 3 only EL1; without, bit 54 is execute-never for both. */
static void arm_s2_rights(const machine &m, word e, view &v)
{
    bool xnx = has(m, ASPACE_FEAT_XNX);
    truth readable = bit(e, 6), writable = bit(e, 7) | (has(m, ASPACE_FEAT_AD) & bit(e, 51));
    word xn = field(e, 54, 53);

    v.user = {readable, writable, xnx ? (xn == 0) | (xn == 1) : !bit(e, 54)};
    v.kernel = {readable, writable, xnx ? (xn == 0) | (xn == 3) : !bit(e, 54)};
    v.reserved = v.reserved | (!v.table & (bit(e, 11) | (!xnx & bit(e, 53))));
}

/*
 * Arm ARM (DDI 0487) D8.3, 4 KiB granule: 0 valid, 1 table or page (a block above level 0 has 0; 0 at level 0, and a
 * block at level 3, are reserved and mean invalid), 47..12 address, 49..48 RES0. Leaf: 5..2 MemAttr or 4..2 AttrIndx,
 * 7..6 AP or S2AP, 9..8 SH, 10 AF, 11 nG (stage 2: RES0), 50 GP, 51 DBM, 52 contiguous, 54..53 execute-never, 16 nT
 * of a block. Stage 1 table: 63..59 hierarchical controls.
 */
static view arm_look(const machine &m, unsigned level, word e, word va)
{
    bool stage2 = hardware_second_stage(m);
    unsigned width = hardware_width(m), shift = hardware_shift(m, level);
    view v = nothing();
    bool blocks = level == 1 || level == 2;
    word plain = e & ~encrypt(m);

    v.present = bit(e, 0) & (blocks ? truth(true) : bit(e, 1));
    v.table = level == 0 ? truth(false) : blocks ? bit(e, 1) : truth(true);
    v.reserved = bit(e, 0) & !v.present;
    v.reserved = v.reserved | (v.table & (!zero(e, 63, 59) | !zero(e, 50, 48) | !zero(e, 47, width)));
    v.reserved = v.reserved | (!v.table & (!zero(e, 50, 48) | !zero(plain, 47, width) | !zero(plain, shift - 1, 12) |
                                           truth(lacks(m, level))));
    v.run = bit(e, 52);
    v.reserved = v.reserved | (!v.table & v.run & (level != 0 || !has(m, ASPACE_FEAT_CONTIG)));
    v.next = e & ones(47, 12);
    v.output = reach(plain & ones(47, shift), shift, va);
    v.global = stage2 ? truth(false) : !bit(e, 11);
    v.type = arm_type(m, e);
    v.reserved = v.reserved | (!v.table & (field(e, 9, 8) != 3)); /* D8.6.2: inner shareable is what was asked for */
    view leaf = v;
    if (stage2)
        arm_s2_rights(m, e, leaf);
    else
        arm_s1_rights(m, e, leaf);
    v.reserved = leaf.reserved;
    truth usable = v.table | bit(e, 10) | has(m, ASPACE_FEAT_AD); /* D8.5.1: else an access flag fault */
    v.user = both(leaf.user, usable);
    v.kernel = both(leaf.kernel, usable);
    return v;
}

/*
 * RISC-V privileged specification, Sv39 and on, Svpbmt, Svnapot, hypervisor extension: 0 V, 1 R, 2 W, 3 X, 4 U, 5 G,
 * 6 A, 7 D, 53..10 PPN, 62..61 PBMT, 63 N. R = W = X = 0 points to a table, in which D, A, U, PBMT and N are reserved.
 * W without R is reserved. A leaf with U = 0 is a fault in the second stage, and user code may not use it in the first;
 * with U = 1 supervisor code never executes it.
 */
static view riscv_look(const machine &m, unsigned level, word e, word va)
{
    bool stage2 = hardware_second_stage(m), ad = has(m, ASPACE_FEAT_AD);
    unsigned width = hardware_width(m), shift = hardware_shift(m, level);
    view v = nothing();
    word plain = e & ~encrypt(m), pbmt = field(e, 62, 61);
    truth pointer = zero(e, 3, 1);

    v.present = bit(e, 0);
    v.table = level != 0 ? pointer : truth(false);
    v.run = bit(e, 63);
    v.reserved = (level == 0 ? pointer : truth(false)) | (bit(e, 2) & !bit(e, 1)) | !zero(plain, 60, 54) | (pbmt == 3) |
                 ((pbmt != 0) & !has(m, ASPACE_FEAT_SVPBMT));
    v.reserved = v.reserved | (v.table & (!zero(e, 7, 6) | bit(e, 4) | !zero(e, 63, 54) | !zero(e, 53, width - 2)));
    v.reserved = v.reserved | (!v.table & (!zero(plain, 53, width - 2) | !zero(plain, shift - 3, 10)) & !v.run);
    v.reserved =
        v.reserved |
        (!v.table & v.run &
         ((level != 0 || !has(m, ASPACE_FEAT_SVNAPOT)) | (field(e, 13, 10) != 8) | !zero(plain, 53, width - 2)));
    v.reserved = v.reserved | (!v.table & lacks(m, level < 2 ? level : 2));
    v.next = field(e, 53, 10) << 12;
    v.output = choose(v.run, reach(field(plain, 53, 14) << 16, 16, va), reach(field(plain, 53, 10) << 12, shift, va));
    access rights = both({bit(e, 1), bit(e, 2) & (bit(e, 7) | ad), bit(e, 3)}, bit(e, 6) | ad);
    v.user = both(rights, bit(e, 4));
    v.kernel = stage2 ? v.user : rights;
    if (!stage2)
        v.kernel.x = v.kernel.x & !bit(e, 4);
    v.global = stage2 ? truth(false) : bit(e, 5);
    v.type = choose(pbmt == 0, PMA, choose(pbmt == 1, NC, choose(pbmt == 2, IO, OTHER)));
    return v;
}

/*
 * LoongArch reference manual, volume 1, 5.4.5, 5.4.6 and 4.2.5: a directory entry is the address of a table, or with
 * bit 6 (H) a huge leaf, in which LDDIR writes the level to bits 14..13. Leaf: 0 V, 1 D (stores), 3..2 PLV (the least
 * privilege that has access), 5..4 MAT, 6 G (huge: 12), 7 P, 8 W, 61 NR, 62 NX, 63 RPLV. An invalid huge leaf becomes
 * an invalid translation.
 */
static view loongarch_look(const machine &m, unsigned level, word e, word va)
{
    bool stage2 = hardware_second_stage(m);
    unsigned width = hardware_width(m), shift = hardware_shift(m, level);
    view v = nothing();
    word plain = e & ~encrypt(m), mat = field(e, 5, 4);

    v.table = level != 0 ? !bit(e, 6) : truth(false);
    v.present = v.table | bit(e, 0);
    v.reserved = v.table & (!zero(e, 11, 0) | !zero(e, 63, width));
    v.reserved = v.reserved | (!v.table & ((mat == 3) | bit(e, 63) | !zero(plain, 60, width) |
                                           !zero(plain, shift - 1, level == 0 ? 12 : 13) | lacks(m, level)));
    v.felt = level != 0 ? !v.table & !zero(e, 14, 13) : truth(false); /* LDDIR takes these for the level of a leaf */
    v.next = e & ones(63, 12);
    v.output = reach(plain & ones(60, shift), shift, va);
    access rights = {!bit(e, 61), bit(e, 1), !bit(e, 62)};
    v.kernel = rights;
    v.user = both(rights, field(e, 3, 2) == 3);
    v.global = stage2 ? truth(false) : bit(e, level == 0 ? 6 : 12);
    v.type = choose(mat == 0, UC, choose(mat == 1, WB, choose(mat == 2, WC, OTHER)));
    return v;
}

/*
 * No machine's: 0 present, 1 table (reserved at level 0), 39..12 address, 55..52 rights R, W, X, U, 56 accessed, 57
 * dirty, 60..58 attribute, 61 member of a run.
 */
static view toy_look(const machine &m, unsigned level, word e, word va)
{
    unsigned width = hardware_width(m), shift = hardware_shift(m, level);
    view v = nothing();
    word plain = e & ~encrypt(m);

    v.present = bit(e, 0);
    v.table = level != 0 ? bit(e, 1) : truth(false);
    v.run = bit(e, 61);
    v.reserved = !zero(e, 11, 2) | !zero(plain, 51, width) | (v.table & (!zero(e, 61, 40) | !zero(e, 39, width)));
    v.reserved = v.reserved | (!v.table & (bit(e, 1) | !zero(plain, shift - 1, 12) | truth(lacks(m, level)) |
                                           (v.run & (level != 0 || !has(m, ASPACE_FEAT_CONTIG)))));
    v.next = e & ones(39, 12);
    v.output = reach(plain & ones(39, shift), shift, va);
    v.kernel = {bit(e, 52), bit(e, 53), bit(e, 54)};
    v.user = both(v.kernel, bit(e, 55));
    v.type = field(e, 60, 58);
    return v;
}

unsigned hardware_levels(const machine &m)
{
    return shapes[m.format].levels;
}

unsigned hardware_shift(const machine &m, unsigned level)
{
    return 12 + (shapes[m.format].kind == TOY ? 2 : 9) * level;
}

unsigned hardware_width(const machine &m)
{
    static const unsigned widest[] = {52, 52, 52, 48, 48, 56, 56, 48, 48, 40};
    family kind = shapes[m.format].kind;
    unsigned width = m.output_bits ? m.output_bits : widest[kind];
    unsigned encrypted = m.encrypt_bit + (kind == RISCV_G || kind == RISCV_S ? 2 : 0);

    return m.encrypt_bit && encrypted < width ? encrypted : width;
}

bool hardware_second_stage(const machine &m)
{
    family kind = shapes[m.format].kind;

    return kind == EPT || kind == NPT || kind == ARM_S2 || kind == RISCV_G || kind == LOONGARCH_S2;
}

view hardware_look(const machine &m, unsigned level, word e, word va)
{
    view v = {};

    switch (shapes[m.format].kind) {
    case EPT: v = ept_look(m, level, e, va); break;
    case NPT:
    case PT: v = x86_look(m, level, e, va); break;
    case ARM_S1:
    case ARM_S2: v = arm_look(m, level, e, va); break;
    case RISCV_G:
    case RISCV_S: v = riscv_look(m, level, e, va); break;
    case LOONGARCH_S1:
    case LOONGARCH_S2: v = loongarch_look(m, level, e, va); break;
    case TOY: v = toy_look(m, level, e, va); break;
    }
    v.encrypted = (e & encrypt(m)) != 0;
    return v;
}

word hardware_used(const machine &m, word e, truth write)
{
    switch (shapes[m.format].kind) {
    case EPT: return e | 1ul << 8 | choose(write & bit(e, 1), 1ul << 9, 0); /* SDM 29.3.5 */
    case NPT:
    case PT: return e | 1ul << 5 | choose(write & bit(e, 1), 1ul << 6, 0);                        /* SDM 4.8 */
    case ARM_S1: return choose(write & bit(e, 51), (e | 1ul << 10) & ~(1ul << 7), e | 1ul << 10); /* D8.5.5 */
    case ARM_S2: return e | 1ul << 10 | choose(write & bit(e, 51), 1ul << 7, 0);
    case RISCV_G:
    case RISCV_S: return e | 1ul << 6 | choose(write & bit(e, 2), 1ul << 7, 0); /* Svadu */
    case LOONGARCH_S1:
    case LOONGARCH_S2: return e; /* nothing is recorded */
    case TOY: return e | 1ul << 56 | choose(write & bit(e, 53), 1ul << 57, 0);
    }
    return e;
}

raw hardware_type(const machine &m, unsigned attr)
{
    family kind = shapes[m.format].kind;
    bool arm = kind == ARM_S1 || kind == ARM_S2, riscv = kind == RISCV_G || kind == RISCV_S;

    if (kind == TOY)
        return attr;
    switch (attr) {
    case ASPACE_ATTR_DEFAULT:
    case ASPACE_ATTR_NORMAL: return riscv ? PMA : WB;
    case ASPACE_ATTR_DEVICE: return arm ? NGNRE : riscv ? IO : UC;
    case ASPACE_ATTR_WC: return arm || riscv ? NC : WC;
    case ASPACE_ATTR_UC: return arm ? NGNRNE : riscv ? IO : UC;
    default: return OTHER;
    }
}
