/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * AArch64's MMU, asked from EL2: address translation instructions for reads and writes, which tell the address, the
 * attribute, and of a fault the kind, the stage and the level; and for execution a breakpoint instruction at the output
 * address that is run at EL1 or EL0. Owns the registers of the EL1&0 regime; must not know the library's sources.
 * Sections are those of DDI 0487.
 */
#include "../oracle.h"

#define READ_SYSREG(name)                                                                                              \
    __extension__({                                                                                                    \
        uint64_t value_;                                                                                               \
        __asm__ volatile("mrs %0, " name : "=r"(value_));                                                              \
        value_;                                                                                                        \
    })
#define WRITE_SYSREG(name, value) __asm__ volatile("msr " name ", %0" : : "r"((uint64_t)(value)) : "memory")
#define AT(name, va) __asm__ volatile("at " name ", %0\n isb" : : "r"(va) : "memory")
#define TLBI(name, value) __asm__ volatile("tlbi " name ", %0" : : "r"((uint64_t)(value)) : "memory")

/* The virt board: the console, and memory from TARGET_FIRST on that nothing else uses. */
#define UART ((volatile uint32_t *)UINT64_C(0x09000000))
#define TARGET_FIRST UINT64_C(0x80000000)
#define TARGET_END UINT64_C(0x180000000)
#define IMAGE_GIB UINT64_C(0x40000000)
#define PSCI_SYSTEM_OFF UINT64_C(0x84000008)

#define HCR_VM (UINT64_C(1) << 0)
#define HCR_DC (UINT64_C(1) << 12) /* stage 1 is off and says write-back: the attribute is stage 2's */
#define HCR_RW (UINT64_C(1) << 31)
#define HCR_FWB (UINT64_C(1) << 46)
#define MDCR_TDE (UINT64_C(1) << 8) /* breakpoint instructions come to EL2 */
#define SCTLR_EL1_RES1 UINT64_C(0x30d00800)
#define SCTLR_M UINT64_C(1)
#define TCR_T1SZ_39 (UINT64_C(25) << 16)
#define TCR_TG1_4K (UINT64_C(2) << 30)
#define UPPER_HALF UINT64_C(0xffffff8000000000)
enum { SPSR_MASKED = 0x3c0, SPSR_EL0T = 0, SPSR_EL1H = 5 };
enum { EC_HVC = 0x16, EC_FETCH_BELOW = 0x20, EC_FETCH_SAME = 0x21, EC_BRK = 0x3c };
enum { FLUSHES_MAX = 64 };

uint64_t visit(uint64_t pc, uint64_t spsr);
extern char vectors_el1[];
_Noreturn void machine_own_fault(uint64_t esr, uint64_t elr, uint64_t far);

static const struct subject *current;
static struct aspace *current_space;
static struct subject subjects[6];
static _Alignas(4096) uint64_t upper_root[512]; /* EL1's vectors */

void machine_put(char c)
{
    *UART = (unsigned char)c;
}

_Noreturn void machine_off(void)
{
    register uint64_t x0 __asm__("x0") = PSCI_SYSTEM_OFF;

    for (;;) {
        __asm__ volatile("smc #0" : "+r"(x0) : : "memory");
    }
}

_Noreturn void oracle_assert_fail(const char *expr, const char *file, int line)
{
    print("oracle: assertion %s failed, %s:%u", expr, file, (uint64_t)(unsigned)line);
    machine_off();
}

_Noreturn void machine_own_fault(uint64_t esr, uint64_t elr, uint64_t far)
{
    print("oracle: a fault of its own: esr %x at %x, address %x", esr, elr, far);
    machine_off();
}

/* ID_AA64MMFR0_EL1.PARange */
static unsigned output_bits(void)
{
    static const uint8_t bits[] = {32, 36, 40, 42, 44, 48};
    uint64_t range = READ_SYSREG("id_aa64mmfr0_el1") & 0xf;

    return bits[range < sizeof(bits) ? range : sizeof(bits) - 1];
}

/* ID_AA64MMFR1_EL1.HAFDBS: hardware sets the access flag (1) and the dirty state (2). */
static uint32_t flag_features(void)
{
    return (READ_SYSREG("id_aa64mmfr1_el1") & 0xf) >= 2 ? (uint32_t)ASPACE_FEAT_AD : 0u;
}

static void add(unsigned n, enum aspace_format format, uint32_t features)
{
    subjects[n] = (struct subject){
        .format = format,
        .features = features | flag_features() | ASPACE_FEAT_CONTIG | ASPACE_FEAT_BBML2,
        .output_bits = output_bits(),
        .accesses = ACCESS_ALL,
    };
}

/* ID_AA64MMFR1_EL1: XNX in 31:28. ID_AA64MMFR2_EL1: FWB in 43:40. */
static uint32_t stage2_features(void)
{
    bool xnx = (READ_SYSREG("id_aa64mmfr1_el1") >> 28 & 0xf) != 0;
    bool fwb = (READ_SYSREG("s3_0_c0_c7_2") >> 40 & 0xf) != 0;

    return (xnx ? (uint32_t)ASPACE_FEAT_XNX : 0u) | (fwb ? (uint32_t)ASPACE_FEAT_FWB : 0u);
}

/* One block of 1 GiB (D8.3.1): write-back in the default MAIR, for EL1 only, accessed. */
static void map_upper_half(void)
{
    upper_root[0] = IMAGE_GIB | 1u << 10 | 3u << 8 | 1u;
    WRITE_SYSREG("ttbr1_el1", (uintptr_t)upper_root);
    WRITE_SYSREG("vbar_el1", UPPER_HALF + ((uintptr_t)vectors_el1 - IMAGE_GIB));
}

unsigned machine_start(void)
{
    static const enum aspace_format stage2[] = {ASPACE_FMT_ARM_S2_39, ASPACE_FMT_ARM_S2_40, ASPACE_FMT_ARM_S2_43,
                                                ASPACE_FMT_ARM_S2_48};
    unsigned n = 0;

    for (unsigned i = 0; i < 4; i++) {
        /* The input of stage 2 is no wider than physical addresses are, D8.2.1. */
        if (stage2[i] != ASPACE_FMT_ARM_S2_48 || output_bits() >= 48) {
            add(n++, stage2[i], stage2_features());
        }
    }
    add(n++, ASPACE_FMT_ARM_S1_39, ASPACE_FEAT_GLOBAL);
    add(n++, ASPACE_FMT_ARM_S1_48, ASPACE_FEAT_GLOBAL);
    map_upper_half();
    WRITE_SYSREG("mdcr_el2", MDCR_TDE);
    WRITE_SYSREG("cptr_el2", 0x33ff);
    return n;
}

const struct subject *machine_subject(unsigned n)
{
    return &subjects[n];
}

static bool is_stage2(void)
{
    return current->format <= ASPACE_FMT_ARM_S2_48;
}

static void load_stage2(const struct aspace_registers *r, uint32_t features)
{
    WRITE_SYSREG("hcr_el2", HCR_RW | HCR_VM | HCR_DC | ((features & ASPACE_FEAT_FWB) ? HCR_FWB : 0));
    WRITE_SYSREG("vtcr_el2", r->control);
    WRITE_SYSREG("vttbr_el2", r->base);
    WRITE_SYSREG("sctlr_el1", SCTLR_EL1_RES1);
}

static void load_stage1(const struct aspace_registers *r)
{
    WRITE_SYSREG("hcr_el2", HCR_RW);
    WRITE_SYSREG("vttbr_el2", 0);
    WRITE_SYSREG("tcr_el1", r->control | TCR_T1SZ_39 | TCR_TG1_4K);
    WRITE_SYSREG("ttbr0_el1", r->base);
    WRITE_SYSREG("mair_el1", r->memory_types);
    WRITE_SYSREG("sctlr_el1", SCTLR_EL1_RES1 | SCTLR_M);
}

bool machine_prepare(const struct layout *layout)
{
    (void)layout;
    return true;
}

void machine_load(const struct layout *layout)
{
    struct aspace_registers r;

    current = layout->subject;
    current_space = layout->space;
    aspace_registers(current_space, &r);
    if (is_stage2()) {
        load_stage2(&r, layout->config.features);
    } else {
        load_stage1(&r);
    }
    __asm__ volatile("dsb ish\n tlbi alle1\n dsb ish\n isb" ::: "memory");
}

void machine_unload(void)
{
    WRITE_SYSREG("sctlr_el1", SCTLR_EL1_RES1);
    WRITE_SYSREG("hcr_el2", HCR_RW);
    current_space = NULL;
    __asm__ volatile("isb" ::: "memory");
}

/* D8.17: entries of stage 2 by IPA; those combined with stage 1 all at once. */
static void flush_stage2(const struct aspace_flush *f, bool all)
{
    if (all) {
        __asm__ volatile("tlbi vmalls12e1" ::: "memory");
        return;
    }
    for (uint64_t va = f->va; va < f->end; va += UINT64_C(1) << f->stride_lg2) {
        if (f->leaf_only) {
            TLBI("ipas2le1", va >> 12);
        } else {
            TLBI("ipas2e1", va >> 12);
        }
    }
    __asm__ volatile("dsb ish\n tlbi vmalle1" ::: "memory");
}

static void flush_stage1(const struct aspace_flush *f, bool all)
{
    if (all) {
        TLBI("aside1", f->tag << 48);
        return;
    }
    for (uint64_t va = f->va; va < f->end; va += UINT64_C(1) << f->stride_lg2) {
        if (f->leaf_only) {
            TLBI("vale1", va >> 12 | f->tag << 48);
        } else {
            TLBI("vae1", va >> 12 | f->tag << 48);
        }
    }
}

void machine_flush(const struct aspace_flush *f)
{
    bool all = f->full || (f->end - f->va) >> f->stride_lg2 > FLUSHES_MAX;

    __asm__ volatile("dsb ishst" ::: "memory");
    if (f->stage2) {
        flush_stage2(f, all);
    } else if (all && f->global) {
        __asm__ volatile("tlbi vmalle1" ::: "memory");
    } else {
        flush_stage1(f, all);
    }
    __asm__ volatile("dsb ish\n isb" ::: "memory");
}

/* Stage 2: the same for both levels, but for execution with XNX. Stage 1: EL1 may read and write what EL0 may, and
 * executes nothing of it. */
bool machine_allows(const struct aspace_config *config, uint32_t rights, enum access access)
{
    static const uint32_t needed[] = {ASPACE_R, ASPACE_W, ASPACE_X, ASPACE_R, ASPACE_W, ASPACE_X};
    bool stage2 = config->format <= ASPACE_FMT_ARM_S2_48, user = (rights & ASPACE_U) != 0;

    if (!(rights & needed[access])) {
        return false;
    }
    if (stage2) {
        return access != ACCESS_UX || user || !(config->features & ASPACE_FEAT_XNX);
    }
    return access >= ACCESS_UR ? user : access != ACCESS_X || !user;
}

uint64_t machine_target(const struct subject *subject, unsigned lg2)
{
    uint64_t leaf = UINT64_C(1) << lg2, end = UINT64_C(1) << subject->output_bits;

    if (random_one_in(2)) {
        return (TARGET_FIRST + random_below(TARGET_END - TARGET_FIRST)) & ~(leaf - 1);
    }
    return (random_one_in(4) ? end - leaf : random_next() & (end - 1)) & ~(leaf - 1);
}

/* Nothing is accessed but for execution, which is tried where there is memory. */
uint64_t machine_steer(uint64_t pa, uint64_t leaf, uint64_t bytes)
{
    (void)leaf;
    (void)bytes;
    return pa;
}

/* Translation instructions may leave them alone (C5.5); a fetch may not. */
enum flags machine_sets_flags(enum access access)
{
    return access == ACCESS_X || access == ACCESS_UX ? FLAGS_SET : FLAGS_MAYBE;
}

/* The fault status codes of long descriptors, in ESR and in PAR alike: kind in 5:2, level in 1:0. */
static void read_status(uint64_t status, struct reply *r)
{
    r->level = 3 - (int)(status & 3);
    switch (status >> 2 & 0xf) {
    case 1: r->kind = KIND_ABSENT; break;
    case 3: r->kind = KIND_PERMISSION; break;
    default: r->kind = KIND_STRANGE; break;
    }
}

/* PAR_EL1.ATTR and SH. Write-back has to be inner shareable. */
static uint32_t attribute(uint64_t par)
{
    switch (par >> 56) {
    case 0x00: return ASPACE_ATTR_UC;
    case 0x04: return ASPACE_ATTR_DEVICE;
    case 0x44: return ASPACE_ATTR_WC;
    case 0xff: return (par >> 7 & 3) == 3 ? ASPACE_ATTR_DEFAULT : ASPACE_ATTR_COUNT;
    default: return ASPACE_ATTR_COUNT;
    }
}

static void read_par(uint64_t par, uint64_t va, struct reply *r)
{
    bool failed = par & 1, stage2 = par >> 9 & 1;

    r->raw[0] = par;
    if (!failed) {
        r->kind = KIND_ALLOWED;
        r->pa = (par & UINT64_C(0x000ffffffffff000)) | (va & (PAGE - 1));
        r->attr = attribute(par);
        return;
    }
    read_status(par >> 1 & 0x3f, r);
    if (is_stage2() && !stage2) {
        /* Stage 1 is off, and refuses what is wider than physical addresses: an address size fault of level 0. */
        bool wide = va >> current->output_bits != 0 && (par >> 1 & 0x3f) == 0;
        r->kind = wide ? KIND_ABSENT : KIND_STRANGE;
        r->level = LEVEL_UNTOLD;
    } else if (stage2 != is_stage2()) {
        r->kind = KIND_STRANGE;
    }
}

static void translate(uint64_t va, enum access access)
{
    if (is_stage2()) {
        switch (access) {
        case ACCESS_R: AT("s12e1r", va); break;
        case ACCESS_W: AT("s12e1w", va); break;
        case ACCESS_UR: AT("s12e0r", va); break;
        default: AT("s12e0w", va); break;
        }
        return;
    }
    switch (access) {
    case ACCESS_R: AT("s1e1r", va); break;
    case ACCESS_W: AT("s1e1w", va); break;
    case ACCESS_UR: AT("s1e0r", va); break;
    default: AT("s1e0w", va); break;
    }
}

/* A breakpoint instruction with a number of its own at the output address: it says who has been executed. */
static void execute(uint64_t va, enum access access, uint64_t pa, struct reply *r)
{
    uint32_t number = (uint32_t)random_below(0x10000);

    if (pa != PA_UNTOLD) {
        *(volatile uint32_t *)pa = 0xd4200000u | number << 5;
        __asm__ volatile("dc cvau, %0\n dsb ish\n ic ivau, %0\n dsb ish\n isb" : : "r"(pa) : "memory");
    }
    uint64_t esr = visit(va, SPSR_MASKED | (access == ACCESS_UX ? SPSR_EL0T : SPSR_EL1H));
    r->raw[0] = esr;
    if (esr >> 26 == EC_HVC && (esr & 0xffff) == 1) {
        esr = READ_SYSREG("esr_el1");
        r->raw[1] = esr;
    }
    uint64_t ec = esr >> 26;
    if (ec == EC_BRK) {
        r->kind = (esr & 0xffff) == number ? KIND_ALLOWED : KIND_STRANGE;
    } else if (ec == EC_FETCH_BELOW || ec == EC_FETCH_SAME) {
        read_status(esr & 0x3f, r);
    } else {
        r->kind = KIND_STRANGE;
    }
}

/* Only what is in memory. And what stage 1, being off, refuses comes to EL1, which then has no vectors. */
static bool can_execute(uint64_t va, uint64_t pa)
{
    if (is_stage2() && va >> current->output_bits != 0) {
        return false;
    }
    return pa == PA_UNTOLD || (pa >= TARGET_FIRST && pa < TARGET_END);
}

void machine_ask(uint64_t va, enum access access, const struct naive_result *expected, struct reply *r)
{
    uint64_t pa = expected->present ? expected->pa : PA_UNTOLD;

    if (access != ACCESS_X && access != ACCESS_UX) {
        translate(va, access);
        read_par(READ_SYSREG("par_el1"), va, r);
    } else if (can_execute(va, pa)) {
        execute(va, access, pa, r);
    }
}
