/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every format x feature set x level x rights x attribute: what goes into an entry comes out of it, nothing else is
 * set, and what cannot be expressed is refused. Expectations are written down here from the manuals, not taken from the
 * headers of the families. Knows nothing of the engine.
 */
#include "format/format.h"

#include <stdio.h>
#include <string.h>

static unsigned long passed, failed;

static void check(bool ok, const char *what, const char *format, uint64_t e)
{
    if (ok) {
        passed++;
    } else if (++failed <= 20) {
        printf("FAILED %s: %s (0x%llx)\n", format, what, (unsigned long long)e);
    }
}

#define CHECK(ok, e)                                                                                                   \
    do {                                                                                                               \
        bool ok_ = (ok);                                                                                               \
        check(ok_, #ok, aspace_format_name(F->id), (uint64_t)(e));                                                     \
    } while (0)

/* The same state of a space in every test. */
struct subject {
    const struct fmt *F;
    const struct fmt_ctx *C;
};

static const uint32_t feature_sets[] = {
    0,
    ASPACE_FEAT_AD,
    ASPACE_FEAT_NX,
    ASPACE_FEAT_AD | ASPACE_FEAT_NX | ASPACE_FEAT_SVPBMT | ASPACE_FEAT_SVNAPOT | ASPACE_FEAT_CONTIG,
    ASPACE_FEAT_SVPBMT | ASPACE_FEAT_SVNAPOT | ASPACE_FEAT_CONTIG | ASPACE_FEAT_FWB | ASPACE_FEAT_EXEC_ONLY,
    ASPACE_FEAT_MBEC | ASPACE_FEAT_XNX | ASPACE_FEAT_VE,
    ASPACE_FEAT_MBEC | ASPACE_FEAT_XNX | ASPACE_FEAT_EXEC_ONLY | ASPACE_FEAT_AD | ASPACE_FEAT_NX | ASPACE_FEAT_FWB,
    ASPACE_FEAT_NO_1G | ASPACE_FEAT_VE | ASPACE_FEAT_BBML2,
    ASPACE_FEAT_NO_2M,
    (ASPACE_FEAT_GLOBAL << 1) - 1,
};
enum { FEATURE_SETS = sizeof feature_sets / sizeof *feature_sets };

/* ---------------------------------------------------------------------------------- what the manuals lead to expect */

static bool signed_addresses(const struct fmt *F)
{
    return !F->stage2 && (F->family == FMT_X86 || F->family == FMT_RISCV || F->family == FMT_LOONGARCH);
}

static bool expect_user_ok(const struct fmt *F, uint32_t features, uint32_t rights)
{
    bool x = rights & ASPACE_X;

    switch (F->family) {
    case FMT_EPT: return (features & ASPACE_FEAT_MBEC) && x;
    case FMT_ARM_S2: return (features & ASPACE_FEAT_XNX) && x;
    case FMT_X86:
    case FMT_RISCV:
    case FMT_LOONGARCH: return !F->stage2;
    case FMT_ARM_S1:
    case FMT_TOY: return true;
    }
    return false;
}

static bool expect_rights_ok(const struct fmt *F, uint32_t features, uint32_t rights)
{
    bool r = rights & ASPACE_R, w = rights & ASPACE_W, x = rights & ASPACE_X;

    if (rights > 15 || (!r && !w && !x) || ((rights & ASPACE_U) && !expect_user_ok(F, features, rights)))
        return false;
    switch (F->family) {
    case FMT_EPT: return r || (x && !w && (features & ASPACE_FEAT_EXEC_ONLY));
    case FMT_X86: return r && (x || (features & ASPACE_FEAT_NX));
    case FMT_ARM_S1: return r;
    case FMT_RISCV: return r || !w;
    case FMT_ARM_S2:
    case FMT_LOONGARCH:
    case FMT_TOY: return true;
    }
    return false;
}

/* Bits that a leaf may have, whatever its address. */
static uint64_t expect_leaf_bits(const struct fmt *F, unsigned level, uint32_t features)
{
    switch (F->family) {
    case FMT_EPT: return ((features & ASPACE_FEAT_VE) ? UINT64_C(1) << 63 : 0) | (level ? 0x7ff : 0x77f);
    case FMT_X86: return UINT64_C(1) << 63 | (level ? 0x10ff : 0xff) | ((features & ASPACE_FEAT_GLOBAL) ? 0x100 : 0);
    case FMT_ARM_S1: return UINT64_C(0x0078000000000fdf) | UINT64_C(1) << 56;
    case FMT_ARM_S2: return UINT64_C(0x00780000000007ff) | UINT64_C(1) << 56;
    case FMT_RISCV:
        return (features & ASPACE_FEAT_SVPBMT ? UINT64_C(3) << 61 : 0) | 0xdf |
               (features & ASPACE_FEAT_GLOBAL ? 0x20 : 0) |
               (features & ASPACE_FEAT_SVNAPOT && level == 0 ? UINT64_C(1) << 63 | 0xf << 10 : 0);
    case FMT_LOONGARCH:
        return UINT64_C(0x6000000000000000) | (level ? 0x3ff : 0x3bf) |
               ((features & ASPACE_FEAT_GLOBAL) ? (level ? 0x1000 : 0x40) : 0);
    case FMT_TOY: return UINT64_C(0x3ff0000000000001);
    }
    return 0;
}

/* Two attributes that mean the same bits. */
static uint32_t attr_class(const struct fmt *F, uint32_t attr)
{
    uint32_t kind = attr & 15, encrypted = attr & ASPACE_ATTR_ENCRYPTED;
    bool arm = F->family == FMT_ARM_S1 || F->family == FMT_ARM_S2;

    if (F->family == FMT_TOY)
        return attr;
    if (kind == ASPACE_ATTR_NORMAL)
        kind = ASPACE_ATTR_DEFAULT;
    if (kind == ASPACE_ATTR_UC && !arm)
        kind = ASPACE_ATTR_DEVICE;
    return kind | encrypted;
}

static bool expect_attr_ok(const struct fmt *F, uint32_t features, uint32_t attr)
{
    return attr < ASPACE_ATTR_COUNT && (F->family != FMT_RISCV || (features & ASPACE_FEAT_SVPBMT) || attr < 2);
}

/* ----------------------------------------------------------------------------------------------------------- leaves */

/* Everything that can be read from a leaf is as given. */
static void check_leaf(struct subject s, unsigned level, uint64_t e, uint32_t rights, uint32_t attr)
{
    const struct fmt *F = s.F;

    CHECK(fmt_present(F, level, e), e);
    CHECK(!fmt_is_table(F, level, e), e);
    CHECK(!fmt_points(F, level, e), e);
    CHECK(fmt_leaf_rights(F, s.C, e) == rights, e);
    CHECK(fmt_leaf_attr(F, s.C, level, e) == attr_class(F, attr), e);
}

static void check_addresses(struct subject s, unsigned level, uint64_t leaf, uint32_t rights, uint32_t attr)
{
    const struct fmt *F = s.F;
    uint64_t span = UINT64_C(1) << F->shift[level];
    const uint64_t pa[] = {0, span, s.C->pa_end / 2, s.C->pa_end - span};

    for (unsigned i = 0; i < sizeof pa / sizeof *pa; i++) {
        uint64_t e = leaf | fmt_addr_bits(F, pa[i]);
        CHECK(fmt_output(F, s.C, level, e, 0) == pa[i], e);
        CHECK(fmt_output(F, s.C, level, e, 511) == pa[i], e);
        check_leaf(s, level, e, rights, attr);
    }
}

static void check_change_rights(struct subject s, unsigned level, uint64_t e, uint32_t attr)
{
    const struct fmt *F = s.F;

    for (uint32_t rights = 1; rights < 16; rights++) {
        if (!fmt_rights_ok(F, s.C, rights))
            continue;
        uint64_t n = fmt_with_rights(F, s.C, level, e, rights);
        bool by_hardware = (s.C->features & ASPACE_FEAT_AD) && F->family != FMT_LOONGARCH;
        bool dirty = fmt_dirty(F, e) || ((rights & ASPACE_W) && !by_hardware);
        check_leaf(s, level, n, rights, attr);
        CHECK(fmt_leaf_pa(F, level, n, 3) == fmt_leaf_pa(F, level, e, 3), n);
        CHECK(fmt_in_run(F, n) == fmt_in_run(F, e), n);
        CHECK(fmt_accessed(F, n) == fmt_accessed(F, e), n);
        CHECK(fmt_dirty(F, n) == dirty, n);
    }
}

static void check_flags(struct subject s, unsigned level, uint64_t e, uint32_t rights, uint32_t attr)
{
    const struct fmt *F = s.F;

    for (unsigned i = 0; i < 4; i++) {
        bool accessed = i & 1, dirty = i & 2;
        uint64_t n = fmt_with_ad(F, e, accessed, dirty);
        check_leaf(s, level, n, rights, attr);
        CHECK(fmt_accessed(F, n) == (accessed || F->family == FMT_LOONGARCH), n);
        CHECK(fmt_dirty(F, n) == dirty, n);
        CHECK(fmt_leaf_pa(F, level, n, 3) == fmt_leaf_pa(F, level, e, 3), n);
        CHECK(fmt_in_run(F, n) == fmt_in_run(F, e), n);
        CHECK(fmt_with_ad(F, n, fmt_accessed(F, e), fmt_dirty(F, e)) == e, n);
        check_change_rights(s, level, n, attr);
    }
}

static void check_split(struct subject s, unsigned level, uint64_t e, uint32_t rights, uint32_t attr)
{
    const struct fmt *F = s.F;
    unsigned below = level - 1;
    uint64_t span = UINT64_C(1) << F->shift[below];

    for (unsigned i = 0; i < 4; i++) {
        uint64_t huge = fmt_with_ad(F, e, i & 1, i & 2);
        uint64_t small = fmt_split(F, level, huge);
        uint64_t next = small + fmt_addr_bits(F, span);
        check_leaf(s, below, small, rights, attr);
        check_leaf(s, below, next, rights, attr);
        CHECK(fmt_leaf_pa(F, below, small, 0) == fmt_leaf_pa(F, level, huge, 0), small);
        CHECK(fmt_leaf_pa(F, below, next, 1) == fmt_leaf_pa(F, level, huge, 0) + span, next);
        CHECK(fmt_accessed(F, small) == fmt_accessed(F, huge), small);
        CHECK(fmt_dirty(F, small) == fmt_dirty(F, huge), small);
        CHECK(fmt_join(F, level, small) == huge, small);
    }
    uint64_t same = fmt_leaf(F, s.C, below, rights, attr) | fmt_addr_bits(F, fmt_output(F, s.C, level, e, 0));
    CHECK(fmt_split(F, level, e) == same, same);
}

/* Arm ARM D8.7.1: bit 52. Svnapot: bit 63, and 1000 for the low bits of the frame number. Toy: bit 61. */
static uint64_t expect_run(const struct fmt *F, uint64_t e)
{
    if (F->family == FMT_RISCV)
        return (e & ~UINT64_C(0x3c00)) | UINT64_C(0x8000000000002000);
    return e | UINT64_C(1) << (F->family == FMT_TOY ? 61 : 52);
}

static void check_run(struct subject s, uint64_t leaf, uint32_t rights, uint32_t attr)
{
    const struct fmt *F = s.F;
    unsigned n = 1u << s.C->run_lg2;
    uint64_t base = s.C->pa_end - ((uint64_t)n << 12);

    if (s.C->run_lg2 == 0) {
        CHECK(!fmt_in_run(F, leaf), leaf);
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        uint64_t pa = base + ((uint64_t)i << 12);
        uint64_t one = leaf | fmt_addr_bits(F, pa);
        uint64_t e = fmt_run(F, one);
        unsigned idx = 512 - n + i;
        CHECK(!fmt_in_run(F, one) && fmt_in_run(F, e), e);
        CHECK(fmt_output(F, s.C, 0, e, idx) == pa, e);
        CHECK(fmt_unrun(F, e, idx) == one, e);
        CHECK(e == expect_run(F, one), e);
        uint64_t known = expect_leaf_bits(F, 0, s.C->features) | fmt_addr_bits(F, s.C->pa_end - 4096) | s.C->encrypt;
        CHECK(!(e & ~known), e);
        check_leaf(s, 0, e, rights, attr);
        check_flags(s, 0, e, rights, attr);
    }
    if (F->leaf_levels & 2) {
        uint64_t first = leaf | fmt_addr_bits(F, UINT64_C(1) << F->shift[1]);
        CHECK(fmt_join(F, 1, fmt_run(F, first)) == fmt_join(F, 1, first), first);
    }
}

static void check_template(struct subject s, unsigned level, uint32_t rights, uint32_t attr)
{
    const struct fmt *F = s.F;
    uint64_t e = fmt_leaf(F, s.C, level, rights, attr);
    uint64_t top = e | fmt_addr_bits(F, s.C->pa_end - (UINT64_C(1) << F->shift[level]));
    bool by_hardware = (s.C->features & ASPACE_FEAT_AD) && F->family != FMT_LOONGARCH;

    CHECK(!(e & ~(expect_leaf_bits(F, level, s.C->features) | s.C->encrypt)), e);
    CHECK(fmt_leaf_pa(F, level, e, 0) == ((attr & ASPACE_ATTR_ENCRYPTED) ? fmt_encrypt_pa(F, s.C) : 0), e);
    CHECK(fmt_dirty(F, e) == (!by_hardware && (rights & ASPACE_W)), e);
    CHECK(fmt_accessed(F, e) == !by_hardware, e);
    check_addresses(s, level, e, rights, attr);
    check_flags(s, level, top, rights, attr);
    if (level > 0)
        check_split(s, level, top, rights, attr);
    else
        check_run(s, e, rights, attr);
}

static void check_leaves(struct subject s)
{
    const struct fmt *F = s.F;

    for (unsigned level = 0; level < F->levels; level++) {
        for (uint32_t rights = 1; rights < 16; rights++) {
            for (uint32_t attr = 0; attr < 32; attr++) {
                if (((s.C->leaf_levels >> level) & 1) && fmt_rights_ok(F, s.C, rights) && fmt_attr_ok(s.C, attr))
                    check_template(s, level, rights, attr);
            }
        }
    }
}

/* --------------------------------------------------------------------------------- refusals, tables, absent entries */

static void check_refusals(struct subject s)
{
    const struct fmt *F = s.F;

    for (uint32_t rights = 0; rights < 64; rights++)
        CHECK(fmt_rights_ok(F, s.C, rights) == expect_rights_ok(F, s.C->features, rights), rights);
    CHECK(!fmt_rights_ok(F, s.C, UINT32_C(1) << 31 | ASPACE_RWX), s.C->features);
    for (uint32_t attr = 0; attr < 64; attr++) {
        bool plain = expect_attr_ok(F, s.C->features, attr);
        bool encrypted = s.C->encrypt && attr >= 16 && expect_attr_ok(F, s.C->features, attr - 16);
        CHECK(fmt_attr_ok(s.C, attr) == (plain || encrypted), attr);
    }
    CHECK(fmt_attr_ok(s.C, UINT32_MAX) == false, 0);
}

static void check_tables(struct subject s)
{
    const struct fmt *F = s.F;
    const uint64_t pa[] = {0, 4096, s.C->pa_end / 2, s.C->pa_end - 4096};

    for (unsigned level = 1; level < F->levels; level++) {
        for (unsigned i = 0; i < sizeof pa / sizeof *pa; i++) {
            uint64_t e = fmt_table_entry(F, s.C, pa[i]);
            CHECK(fmt_present(F, level, e), e);
            CHECK(fmt_is_table(F, level, e), e);
            CHECK(fmt_points(F, level, e), e);
            CHECK(fmt_table_pa(F, e) == pa[i], e);
            CHECK(e == (fmt_addr_bits(F, pa[i]) | s.C->table_bits), e);
        }
    }
}

static uint64_t random_bits(void)
{
    static uint64_t x = UINT64_C(0x9e3779b97f4a7c15);

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

/* The payload of engine entries: bits 3-5, 7-9, 11 and 15-62; a parked frame's address (at level 0, and inverted on
 * x86) reaches down to bit 12. */
static uint64_t payload_bits(const struct fmt *F, unsigned level)
{
    uint64_t low = level == 0 || F->family == FMT_EPT || F->family == FMT_X86 ? 0xfff8 : 0x8ff8;

    return (UINT64_C(0x7fffffffffff0000) | low) & ~UINT64_C(0x440);
}

static void check_absent(struct subject s)
{
    const struct fmt *F = s.F;

    for (unsigned level = 0; level < F->levels; level++) {
        uint64_t data = payload_bits(F, level);
        uint64_t empty = s.C->absent[level > 0];
        CHECK(!(empty & data), empty);
        CHECK(!fmt_points(F, level, empty) && !fmt_points(F, level, empty | data), empty);
        CHECK(!fmt_present(F, level, empty), empty);
        CHECK(!fmt_present(F, level, empty | data), empty | data);
        for (unsigned bit = 0; bit < 64; bit++)
            CHECK(!fmt_present(F, level, empty | (data & UINT64_C(1) << bit)), bit);
        for (unsigned i = 0; i < 200; i++) {
            uint64_t e = empty | (data & random_bits());
            CHECK(!fmt_present(F, level, e), e);
            CHECK(!fmt_points(F, level, e), e);
        }
    }
}

static void check_leaf_levels(struct subject s)
{
    const struct fmt *F = s.F;
    unsigned most = (s.C->features & ASPACE_FEAT_NO_2M) ? 1 : (s.C->features & ASPACE_FEAT_NO_1G) ? 3 : 0xff;

    for (unsigned level = 0; level < F->levels; level++) {
        bool fits = UINT64_C(1) << F->shift[level] <= s.C->pa_end;
        CHECK(((s.C->leaf_levels >> level) & 1) == (fits ? ((F->leaf_levels & most) >> level) & 1 : 0), level);
    }
    bool runs = ((s.C->features & ASPACE_FEAT_SVNAPOT) && F->family == FMT_RISCV) ||
                ((s.C->features & ASPACE_FEAT_CONTIG) &&
                 (F->family == FMT_ARM_S1 || F->family == FMT_ARM_S2 || F->family == FMT_TOY));
    CHECK(s.C->run_lg2 == (runs ? F->run_lg2 : 0), s.C->run_lg2);
}

static void check_format(const struct fmt *F, const struct aspace_config *config)
{
    struct fmt_ctx C;

    memset(&C, 0, sizeof C);
    CHECK(fmt_init(F, &C, config) == ASPACE_OK, config->features);
    struct subject s = {F, &C};
    unsigned width = config->output_bits ? config->output_bits : F->output_bits;
    if (config->encrypt_bit && !config->output_bits)
        width = config->encrypt_bit + (F->family == FMT_RISCV ? 2 : 0);
    CHECK(C.pa_end == UINT64_C(1) << width, C.pa_end);
    check_leaf_levels(s);
    check_refusals(s);
    check_tables(s);
    check_absent(s);
    check_leaves(s);
}

/* --------------------------------------------------------------------------------------------------------- geometry */

static void check_geometry(const struct fmt *F)
{
    unsigned bits = 12;

    CHECK(F->levels >= 3 && F->levels <= FMT_LEVELS_MAX, F->levels);
    for (unsigned level = 0; level < F->levels; level++) {
        CHECK(F->shift[level] == bits, level);
        unsigned root = 9u + F->root_order - signed_addresses(F);
        CHECK(F->bits[level] == (F->family == FMT_TOY ? 2 : level + 1 < F->levels ? 9 : root), level);
        bits += F->bits[level];
    }
    CHECK(F->input_bits == bits, bits);
    CHECK(F->leaf_levels & 1, F->leaf_levels);
    CHECK(F->leaf_levels < 1u << F->levels, F->leaf_levels);
    bool bbm = F->family == FMT_ARM_S1 || F->family == FMT_ARM_S2 || F->family == FMT_LOONGARCH;
    CHECK(F->break_before_make == bbm, bbm);
    CHECK(strlen(aspace_format_name(F->id)) > 2, F->id);
}

/* A descriptor as a constant of the program says the same as the table. */
#define ASPACE_X(id, name) static const struct fmt constant_##id = FMT_INIT(id);
ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X

static void check_constant(const struct fmt *K, enum aspace_format id, const char *name)
{
    const struct fmt *F = &fmt_table[id];

    CHECK(F->id == id && K->id == id, id);
    CHECK(!strcmp(aspace_format_name(id), name), id);
    CHECK(!memcmp(K->bits, F->bits, sizeof F->bits) && !memcmp(K->shift, F->shift, sizeof F->shift), id);
    CHECK(K->family == F->family && K->levels == F->levels && K->input_bits == F->input_bits, id);
    CHECK(K->output_bits == F->output_bits && K->root_order == F->root_order && K->run_lg2 == F->run_lg2, id);
}

static void check_constants(void)
{
    const struct fmt *F = &fmt_table[0];

#define ASPACE_X(id, name) check_constant(&constant_##id, ASPACE_FMT_##id, name);
    ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X
    CHECK(aspace_format_name(ASPACE_FMT_COUNT) == NULL, 0);
    CHECK(aspace_format_name((enum aspace_format) - 1) == NULL, 0);
}

/* --------------------------------------------------------------------------------------------------- configurations */

static int init_result(const struct fmt *F, const struct aspace_config *config, struct fmt_ctx *C)
{
    memset(C, 0, sizeof *C);
    return fmt_init(F, C, config);
}

static void check_configs(const struct fmt *F)
{
    struct fmt_ctx C;

#define INIT(...) init_result(F, &(struct aspace_config){__VA_ARGS__}, &C)
    CHECK(INIT(.output_bits = F->output_bits) == ASPACE_OK, 0);
    CHECK(INIT(.output_bits = F->output_bits + 1u) == ASPACE_E_UNSUPPORTED, 0);
    CHECK(INIT(.output_bits = 12) == ASPACE_E_INVALID, 0);
    CHECK(INIT(.output_bits = 36) == ASPACE_OK && C.pa_end == UINT64_C(1) << 36, C.pa_end);
    CHECK(INIT(.max_leaf_level = 1) == ASPACE_OK && C.leaf_levels == 1, C.leaf_levels);
    CHECK(INIT(.max_leaf_level = 2) == ASPACE_OK && C.leaf_levels == (F->leaf_levels & 3), C.leaf_levels);
    CHECK(INIT(.max_leaf_level = 3) == ASPACE_OK && C.leaf_levels == (F->leaf_levels & 7), C.leaf_levels);
    CHECK(INIT(.max_leaf_level = FMT_LEVELS_MAX) == ASPACE_OK && C.leaf_levels == F->leaf_levels, C.leaf_levels);
    CHECK(INIT(.max_leaf_level = FMT_LEVELS_MAX + 1) == ASPACE_E_INVALID, 0);
    CHECK(INIT(.encrypt_bit = 0) == ASPACE_OK && C.encrypt == 0, C.encrypt);
    CHECK(INIT(.encrypt_bit = 5) == ASPACE_E_UNSUPPORTED, 0);
    CHECK(INIT(.encrypt_bit = 63) == ASPACE_E_UNSUPPORTED, 0);
    CHECK(INIT(.encrypt_bit = F->output_bits) == ASPACE_E_UNSUPPORTED, 0);
    unsigned bit = F->output_bits - 1u - (F->family == FMT_RISCV ? 2 : 0);
    CHECK(INIT(.encrypt_bit = bit, .output_bits = F->output_bits) == ASPACE_E_INVALID, bit);
    CHECK(INIT(.encrypt_bit = bit) == ASPACE_OK && C.encrypt == UINT64_C(1) << bit, C.encrypt);
#undef INIT
}

static void check_memory_types(void)
{
    const struct fmt *F = &constant_X86_PT4;
    struct fmt_ctx C;

    /* After reset there is no WC; the same backwards has write-back at index 7. */
    struct aspace_config reset = {.pat = UINT64_C(0x0007040600070406)};
    CHECK(init_result(F, &reset, &C) == ASPACE_OK && !fmt_attr_ok(&C, ASPACE_ATTR_WC), C.attr_ok);
    struct aspace_config backwards = {.pat = UINT64_C(0x0600070401070400), .features = ASPACE_FEAT_NX};
    CHECK(init_result(F, &backwards, &C) == ASPACE_OK, C.attr_ok);
    CHECK(C.attr[ASPACE_ATTR_DEFAULT] == 0x98 && C.attr[ASPACE_ATTR_WC] == 0x18, C.attr[ASPACE_ATTR_DEFAULT]);
    struct subject s = {F, &C};
    check_leaves(s);
    struct aspace_config none = {.pat = UINT64_C(0x0101010101010101)};
    CHECK(init_result(F, &none, &C) == ASPACE_E_UNSUPPORTED, C.attr_ok);

    F = &constant_ARM_S1_48;
    struct aspace_config only = {.mair = UINT64_C(0xff44444444444444)};
    CHECK(init_result(F, &only, &C) == ASPACE_OK, C.attr_ok);
    CHECK(fmt_attr_ok(&C, ASPACE_ATTR_WC) && !fmt_attr_ok(&C, ASPACE_ATTR_DEVICE), C.attr_ok);
    CHECK(!fmt_attr_ok(&C, ASPACE_ATTR_UC) && C.attr[ASPACE_ATTR_NORMAL] == 7 << 2, C.attr_ok);
    struct aspace_config no_wb = {.mair = 4};
    CHECK(init_result(F, &no_wb, &C) == ASPACE_E_UNSUPPORTED, C.attr_ok);
}

/* --------------------------------------------------------------------- whole entries, put together from the manuals */

struct golden {
    const struct fmt *F;
    uint32_t features;
    unsigned level;
    uint32_t rights, attr;
    uint64_t pa, entry;
};

static const struct golden goldens[] = {
    {&constant_X86_EPT4, 0, 0, ASPACE_RWX, ASPACE_ATTR_NORMAL, 0x1000, 0x1377},
    {&constant_X86_EPT4, ASPACE_FEAT_AD, 0, ASPACE_RX, ASPACE_ATTR_DEFAULT, 0x1000, 0x1075},
    {&constant_X86_EPT4, ASPACE_FEAT_AD | ASPACE_FEAT_VE, 1, ASPACE_RW, ASPACE_ATTR_DEVICE, 0x200000,
     UINT64_C(0x80000000002000c3)},
    {&constant_X86_EPT5, ASPACE_FEAT_MBEC, 2, ASPACE_RX | ASPACE_U, ASPACE_ATTR_WC, UINT64_C(0x40000000), 0x400005cd},
    {&constant_X86_NPT4, 0, 0, ASPACE_RWX, ASPACE_ATTR_NORMAL, 0x1000, 0x1067},
    {&constant_X86_PT4, ASPACE_FEAT_NX, 0, ASPACE_RW | ASPACE_U, ASPACE_ATTR_WC, 0x1000, UINT64_C(0x80000000000010e7)},
    {&constant_X86_PT4, ASPACE_FEAT_AD, 1, ASPACE_RX, ASPACE_ATTR_WC, 0x200000, 0x201081},
    {&constant_ARM_S2_40, 0, 0, ASPACE_RWX, ASPACE_ATTR_NORMAL, 0x1000, UINT64_C(0x00080000000017ff)},
    {&constant_ARM_S2_48, ASPACE_FEAT_FWB, 1, ASPACE_RX, ASPACE_ATTR_NORMAL, 0x200000, 0x200759},
    {&constant_ARM_S2_48, 0, 0, ASPACE_RW, ASPACE_ATTR_DEVICE, 0x1000, UINT64_C(0x00480000000017c7)},
    {&constant_ARM_S2_39, ASPACE_FEAT_AD, 0, ASPACE_RWX, ASPACE_ATTR_NORMAL, 0x1000, UINT64_C(0x000800000000137f)},
    {&constant_ARM_S1_48, 0, 0, ASPACE_RX | ASPACE_U, ASPACE_ATTR_NORMAL, 0x1000, UINT64_C(0x0020000000001fc3)},
    {&constant_ARM_S1_39, 0, 0, ASPACE_RW, ASPACE_ATTR_DEVICE, 0x1000, UINT64_C(0x0068000000001f07)},
    {&constant_RISCV_SV39X4, 0, 0, ASPACE_RWX, ASPACE_ATTR_NORMAL, 0x1000, 0x4df},
    {&constant_RISCV_SV39, ASPACE_FEAT_AD, 0, ASPACE_RX | ASPACE_U, ASPACE_ATTR_NORMAL, 0x1000, 0x41b},
    {&constant_RISCV_SV48X4, ASPACE_FEAT_SVPBMT, 1, ASPACE_RW, ASPACE_ATTR_DEVICE, 0x200000,
     UINT64_C(0x40000000000800d7)},
    {&constant_LOONGARCH_S1, 0, 0, ASPACE_RW | ASPACE_U, ASPACE_ATTR_NORMAL, 0x1000, UINT64_C(0x400000000000139f)},
    {&constant_LOONGARCH_S1, 0, 1, ASPACE_RX, ASPACE_ATTR_WC, 0x200000, 0x2000e1},
    {&constant_X86_PT4, ASPACE_FEAT_GLOBAL, 0, ASPACE_RWX, ASPACE_ATTR_NORMAL, 0x1000, 0x1163},
    {&constant_ARM_S1_39, ASPACE_FEAT_GLOBAL, 0, ASPACE_RW, ASPACE_ATTR_DEVICE, 0x1000, UINT64_C(0x0068000000001707)},
    {&constant_RISCV_SV39, ASPACE_FEAT_GLOBAL, 0, ASPACE_RWX, ASPACE_ATTR_NORMAL, 0x1000, 0x4ef},
    {&constant_RISCV_SV39X4, ASPACE_FEAT_GLOBAL, 0, ASPACE_RWX, ASPACE_ATTR_NORMAL, 0x1000, 0x4df},
    {&constant_LOONGARCH_S1, ASPACE_FEAT_GLOBAL, 0, ASPACE_RX, ASPACE_ATTR_WC, 0x1000, 0x10e1},
    {&constant_LOONGARCH_S1, ASPACE_FEAT_GLOBAL, 1, ASPACE_RX, ASPACE_ATTR_WC, 0x200000, 0x2010e1},
};

static void check_goldens(void)
{
    for (unsigned i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        const struct golden *g = &goldens[i];
        const struct fmt *F = g->F;
        struct aspace_config config = {.features = g->features};
        struct fmt_ctx C;
        CHECK(init_result(F, &config, &C) == ASPACE_OK, i);
        uint64_t e = fmt_leaf(F, &C, g->level, g->rights, g->attr) | fmt_addr_bits(F, g->pa);
        CHECK(e == g->entry, e);
    }
}

struct golden_register {
    const struct fmt *F;
    uint32_t features, tag;
    unsigned output_bits;
    uint64_t root, base, control, memory_types;
};

static const struct golden_register registers[] = {
    {&constant_X86_EPT4, 0, 7, 0, 0x10000, 0x1001e, 0, 0},
    {&constant_X86_EPT5, ASPACE_FEAT_AD, 7, 0, 0x10000, 0x10066, 0, 0},
    {&constant_X86_NPT4, 0, 7, 0, 0x10000, 0x10000, 0, UINT64_C(0x0007040100070406)},
    {&constant_X86_PT4, 0, 7, 0, 0x10000, 0x10007, 0, UINT64_C(0x0007040100070406)},
    {&constant_ARM_S2_39, 0, 7, 40, 0x10000, UINT64_C(0x0007000000010000), 0x80023559, 0},
    {&constant_ARM_S2_40, 0, 7, 40, 0x10000, UINT64_C(0x0007000000010000), 0x80023558, 0},
    {&constant_ARM_S2_43, ASPACE_FEAT_AD, 0x107, 0, 0x10000, UINT64_C(0x0107000000010000), 0x806d3555, 0},
    {&constant_ARM_S2_48, 0, 7, 48, 0x10000, UINT64_C(0x0007000000010000), 0x80053590, 0},
    {&constant_ARM_S1_48, 0, 7, 48, 0x10000, UINT64_C(0x0007000000010000), UINT64_C(0x0000000500003510), 0x4404ff},
    {&constant_ARM_S1_39, ASPACE_FEAT_AD, 0x107, 36, 0x10000, UINT64_C(0x0107000000010000),
     UINT64_C(0x0000019100003519), 0x4404ff},
    {&constant_RISCV_SV39X4, 0, 7, 0, 0x10000, UINT64_C(0x8000700000000010), 0, 0},
    {&constant_RISCV_SV57X4, 0, 0x4007, 0, 0x10000, UINT64_C(0xa000700000000010), 0, 0},
    {&constant_RISCV_SV48, 0, 0xffff, 0, 0x10000, UINT64_C(0x9ffff00000000010), 0, 0},
    {&constant_LOONGARCH_S1, 0, 7, 0, 0x10000, 0x10000, UINT64_C(0x0000026713e4d52c), 0},
    {&constant_TOY, 0, 7, 0, 0x10000, 0x10000, 0, 0},
};

static void check_registers(void)
{
    for (unsigned i = 0; i < sizeof registers / sizeof *registers; i++) {
        const struct golden_register *g = &registers[i];
        const struct fmt *F = g->F;
        struct aspace_config config = {.features = g->features, .output_bits = g->output_bits};
        struct aspace_registers r = {0};
        struct fmt_ctx C;
        CHECK(init_result(F, &config, &C) == ASPACE_OK, i);
        fmt_registers(F, &C, g->root, g->tag, &r);
        CHECK(r.base == g->base, r.base);
        CHECK(r.control == g->control, r.control);
        CHECK(r.memory_types == g->memory_types, r.memory_types);
    }
}

int main(void)
{
    for (unsigned id = 0; id < ASPACE_FMT_COUNT; id++) {
        const struct fmt *F = &fmt_table[id];
        check_geometry(F);
        check_configs(F);
        for (unsigned i = 0; i < FEATURE_SETS; i++) {
            struct aspace_config config = {.features = feature_sets[i]};
            check_format(F, &config);
        }
        unsigned shared = F->output_bits - 1u - (F->family == FMT_RISCV ? 2 : 0);
        check_format(F, &(struct aspace_config){.features = feature_sets[4], .encrypt_bit = shared});
        check_format(F, &(struct aspace_config){.features = feature_sets[3], .encrypt_bit = shared, .output_bits = 36});
    }
    check_constants();
    check_memory_types();
    check_goldens();
    check_registers();
    printf("%lu passed, %lu failed\n", passed, failed);
    return failed != 0;
}
