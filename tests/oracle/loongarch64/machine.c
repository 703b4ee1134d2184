/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * LoongArch's MMU, asked by loads, stores and fetches at PLV 0 and PLV 3 from the window of a direct map. Where an
 * access leads is told by what is read: a number that no other place holds. Of which level a refused entry was is told
 * by its size in the TLB. Owns the MMU's registers; must not know the library's sources. Sections are those of the
 * LoongArch Reference Manual, volume 1.
 *
 * Input addresses of the second stage are asked as virtual addresses: the upper half of 48 bits is what has its bit 47
 * in bits 63 to 48 too, and both roots (PGDL, PGDH) are the space's.
 */
#include "../oracle.h"
#include "aspace_port.h"

#define READ_CSR(csr)                                                                                                  \
    __extension__({                                                                                                    \
        uint64_t value_;                                                                                               \
        __asm__ volatile("csrrd %0, %1" : "=r"(value_) : "i"(csr));                                                    \
        value_;                                                                                                        \
    })
#define WRITE_CSR(csr, value)                                                                                          \
    __extension__({                                                                                                    \
        uint64_t value_ = (value);                                                                                     \
        __asm__ volatile("csrwr %0, %1" : "+r"(value_) : "i"(csr) : "memory");                                         \
    })
#define INVTLB(op, asid, va) __asm__ volatile("invtlb %0, %1, %2" : : "i"(op), "r"(asid), "r"(va) : "memory")

/* 7.4, 7.5 */
enum {
    CSR_PRMD = 0x1,
    CSR_ERA = 0x6,
    CSR_BADV = 0x7,
    CSR_TLBIDX = 0x10,
    CSR_TLBEHI = 0x11,
    CSR_TLBELO0 = 0x12,
    CSR_TLBELO1 = 0x13,
    CSR_ASID = 0x18,
    CSR_PGDL = 0x19,
    CSR_PGDH = 0x1a,
    CSR_PWCL = 0x1c,
    CSR_PWCH = 0x1d,
};

/* 4.2.4.7: what INVTLB is about */
enum { INVTLB_ALL = 0, INVTLB_ASID = 4, INVTLB_ASID_VA = 5, INVTLB_GLOBAL_OR_ASID_VA = 6 };

/* ESTAT.Ecode (7.4.6), table 21 */
enum {
    ECODE_PIL = 1, /* page invalid: load, store, fetch */
    ECODE_PIS = 2,
    ECODE_PIF = 3,
    ECODE_PME = 4, /* store without D */
    ECODE_PNR = 5,
    ECODE_PNX = 6,
    ECODE_PPI = 7, /* PLV */
    ECODE_ADE = 8, /* no such virtual address, or nothing at the physical one */
    ECODE_SYS = 11,
};

/* The virt board: the console, the switch, and memory from TARGET_FIRST on that nothing else uses. The image and the
 * pool of frames are below IMAGE_END. */
#define UART ((volatile uint8_t *)(ORACLE_WINDOW | 0x1fe001e0))
#define SWITCH ((volatile uint8_t *)(ORACLE_WINDOW | 0x100e001c))
#define IMAGE_FIRST UINT64_C(0x2000000)
#define IMAGE_END UINT64_C(0xa000000)
#define TARGET_FIRST UINT64_C(0xc0000000)
#define TARGET_END UINT64_C(0x1c0000000)
#define NOTHING_FIRST (UINT64_C(1) << 40) /* and no device beyond this */
#define SYSCALL UINT64_C(0x2b0000)
enum { OUTPUT_BITS = 48, FLUSHES_MAX = 64 };

uint64_t try_load(uint64_t va);
uint64_t try_store(uint64_t va, uint64_t value);
uint64_t try_fetch(uint64_t va);
extern volatile uint64_t loaded;
_Noreturn void machine_own_fault(uint64_t estat, uint64_t pc);

static const struct subject *current;
static struct aspace_config current_config;
static struct subject subjects[2];

void machine_put(char c)
{
    *UART = (uint8_t)c;
}

_Noreturn void machine_off(void)
{
    for (;;) {
        *SWITCH = 0x34;
    }
}

_Noreturn void oracle_assert_fail(const char *expr, const char *file, int line)
{
    print("oracle: assertion %s failed, %s:%u", expr, file, (uint64_t)(unsigned)line);
    machine_off();
}

_Noreturn void machine_own_fault(uint64_t estat, uint64_t pc)
{
    print("oracle: a trap of its own: status %x at %x, address %x", estat, pc, READ_CSR(CSR_BADV));
    machine_off();
}

static bool is_stage2(enum aspace_format format)
{
    return format == ASPACE_FMT_LOONGARCH_S2;
}

unsigned machine_start(void)
{
    for (unsigned i = 0; i < 2; i++) {
        subjects[i] = (struct subject){
            .format = i == 0 ? ASPACE_FMT_LOONGARCH_S1 : ASPACE_FMT_LOONGARCH_S2,
            .features = ASPACE_FEAT_AD | (i == 0 ? (uint32_t)ASPACE_FEAT_GLOBAL : 0u),
            .output_bits = OUTPUT_BITS,
            .accesses = ACCESS_ALL,
        };
    }
    return 2;
}

const struct subject *machine_subject(unsigned n)
{
    return &subjects[n];
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
    current_config = layout->config;
    aspace_registers(layout->space, &r);
    WRITE_CSR(CSR_PWCL, r.control & UINT32_MAX);
    WRITE_CSR(CSR_PWCH, r.control >> 32);
    WRITE_CSR(CSR_PGDL, r.base);
    WRITE_CSR(CSR_PGDH, r.base);
    WRITE_CSR(CSR_ASID, current_config.tag);
    INVTLB(INVTLB_ALL, 0, 0);
}

void machine_unload(void)
{
    INVTLB(INVTLB_ALL, 0, 0);
}

/* The virtual address that stands for an input address. */
static uint64_t virtual_of(uint64_t va)
{
    return is_stage2(current->format) && va >> 47 == 1 ? va | UINT64_C(0xffff) << 48 : va;
}

static void flush_one(const struct aspace_flush *f, uint64_t va)
{
    if (f->global) {
        INVTLB(INVTLB_GLOBAL_OR_ASID_VA, f->tag, virtual_of(va));
    } else {
        INVTLB(INVTLB_ASID_VA, f->tag, virtual_of(va));
    }
}

void machine_flush(const struct aspace_flush *f)
{
    if (f->full || (f->end - f->va) >> f->stride_lg2 > FLUSHES_MAX) {
        if (f->global) {
            INVTLB(INVTLB_ALL, 0, 0);
        } else {
            INVTLB(INVTLB_ASID, f->tag, 0);
        }
        return;
    }
    for (uint64_t va = f->va; current && va < f->end; va += UINT64_C(1) << f->stride_lg2) {
        flush_one(f, va);
    }
}

/* What the CPU that took a fault does before it tries again: invalid entries are in the TLB too. */
static void forget(uint64_t address)
{
    INVTLB(INVTLB_GLOBAL_OR_ASID_VA, current_config.tag, address);
}

/* Privileged code may do what user code may; the second stage is for all. */
bool machine_allows(const struct aspace_config *config, uint32_t rights, enum access access)
{
    static const uint32_t needed[] = {ASPACE_R, ASPACE_W, ASPACE_X, ASPACE_R, ASPACE_W, ASPACE_X};

    if (!is_stage2(config->format) && access >= ACCESS_UR && !(rights & ASPACE_U)) {
        return false;
    }
    return (rights & needed[access]) != 0;
}

/* Where there is no memory only the rights are seen: up to the widest address that an entry can hold. */
uint64_t machine_target(const struct subject *subject, unsigned lg2)
{
    uint64_t leaf = UINT64_C(1) << lg2;

    if (random_one_in(12)) {
        uint64_t end = UINT64_C(1) << subject->output_bits;
        return (NOTHING_FIRST + random_below(end - NOTHING_FIRST)) & ~(leaf - 1);
    }
    return (TARGET_FIRST + random_below(TARGET_END - TARGET_FIRST)) & ~(leaf - 1);
}

static bool in_targets(uint64_t pa)
{
    return pa >= TARGET_FIRST && pa < TARGET_END;
}

/* The library's own frames are mapped in leaves of up to 2 MiB. */
static bool is_memory(uint64_t pa, uint64_t bytes)
{
    return in_targets(pa) || (bytes <= 2 * MIB && pa >= IMAGE_FIRST && pa < IMAGE_END);
}

uint64_t machine_steer(uint64_t pa, uint64_t leaf, uint64_t bytes)
{
    if (is_memory(pa, bytes) || leaf >= TARGET_END || leaf + bytes <= TARGET_FIRST) {
        return pa;
    }
    uint64_t first = leaf > TARGET_FIRST ? leaf : TARGET_FIRST;
    uint64_t end = leaf + bytes < TARGET_END ? leaf + bytes : TARGET_END;
    return (first + random_below(end - first)) & ~UINT64_C(7);
}

/* There are no such flags. */
enum flags machine_sets_flags(enum access access)
{
    (void)access;
    return FLAGS_SET;
}

static bool is_canonical(uint64_t address)
{
    return address + (UINT64_C(1) << 47) < UINT64_C(1) << 48;
}

static enum kind kind_of(uint64_t ecode, enum access access, uint64_t address)
{
    static const uint64_t invalid[] = {ECODE_PIL, ECODE_PIS, ECODE_PIF};
    static const uint64_t forbidden[] = {ECODE_PNR, ECODE_PME, ECODE_PNX};
    unsigned act = access % ACCESS_UR;

    if (ecode == ECODE_ADE) { /* translated, and then there was no memory; or never translated */
        return is_canonical(address) ? KIND_ALLOWED : KIND_REFUSED;
    }
    if (ecode == invalid[act]) {
        return KIND_ABSENT;
    }
    return ecode == forbidden[act] || (ecode == ECODE_PPI && access >= ACCESS_UR) ? KIND_PERMISSION : KIND_STRANGE;
}

/* The level of the entry that the TLB has for an address: large leaves are there in halves (5.4.5, LDPTE). */
static int level_of(uint64_t address)
{
    WRITE_CSR(CSR_TLBEHI, address & (UINT64_C(1) << 48) - PAGE * 2);
    __asm__ volatile("tlbsrch\n tlbrd" ::: "memory");
    uint64_t index = READ_CSR(CSR_TLBIDX), first = READ_CSR(CSR_TLBELO0);
    WRITE_CSR(CSR_ASID, current_config.tag);
    if (index >> 31 || first == 2) {
        return LEVEL_UNTOLD; /* not there; or the handler's own work */
    }
    switch (index >> 24 & 0x3f) {
    case 12: return 0;
    case 20: return 1;
    case 29: return 2;
    default: return (int)ASPACE_LEVELS_MAX; /* of no entry: a disagreement */
    }
}

static void read_trap(uint64_t estat, enum access access, uint64_t address, struct reply *r)
{
    r->raw[0] = estat;
    r->raw[1] = READ_CSR(CSR_BADV);
    r->raw[2] = READ_CSR(CSR_ERA);
    r->kind = kind_of(estat >> 16 & 0x3f, access, address);
    if (r->kind != KIND_ABSENT && r->kind != KIND_PERMISSION) {
        return; /* nor does QEMU tell the address of ADE, where there was no memory */
    }
    r->level = level_of(address);
    if (r->raw[1] != address) {
        r->kind = KIND_STRANGE;
    }
}

static uint64_t ecode_of(uint64_t estat)
{
    return estat >> 16 & 0x3f;
}

static volatile uint64_t *at(uint64_t pa)
{
    return aspace_phys_to_virt(pa);
}

static void ask_read(uint64_t address, enum access access, uint64_t pa, struct reply *r)
{
    uint64_t number = random_next();

    if (pa != PA_UNTOLD) {
        *at(pa) = number;
    }
    uint64_t estat = try_load(address);
    if (ecode_of(estat) != ECODE_SYS) {
        read_trap(estat, access, address, r);
        return;
    }
    r->kind = KIND_ALLOWED;
    r->pa = loaded == number ? pa : 0;
    r->raw[0] = loaded;
}

static void ask_write(uint64_t address, enum access access, uint64_t pa, struct reply *r)
{
    uint64_t number = random_next();

    if (pa != PA_UNTOLD) {
        *at(pa) = ~number;
    }
    uint64_t estat = try_store(address, number);
    if (ecode_of(estat) != ECODE_SYS) {
        read_trap(estat, access, address, r);
        return;
    }
    r->kind = KIND_ALLOWED;
    r->pa = pa != PA_UNTOLD && *at(pa) == number ? pa : 0;
}

static void ask_fetch(uint64_t address, enum access access, uint64_t pa, struct reply *r)
{
    if (pa != PA_UNTOLD) {
        *at(pa) = SYSCALL;
        __asm__ volatile("ibar 0" ::: "memory");
    }
    uint64_t estat = try_fetch(address);
    if (pa != PA_UNTOLD) {
        *at(pa) = 0;
    }
    if (ecode_of(estat) != ECODE_SYS) {
        read_trap(estat, access, address, r);
        return;
    }
    r->raw[0] = estat;
    r->kind = KIND_ALLOWED;
    r->pa = READ_CSR(CSR_ERA) == address ? pa : 0;
}

static void ask_once(uint64_t address, enum access access, uint64_t pa, struct reply *r)
{
    WRITE_CSR(CSR_PRMD, access >= ACCESS_UR ? 3 : 0);
    switch (access) {
    case ACCESS_R:
    case ACCESS_UR: ask_read(address, access, pa, r); break;
    case ACCESS_W:
    case ACCESS_UW: ask_write(address, access, pa, r); break;
    default: ask_fetch(address, access, pa, r); break;
    }
}

/* QEMU does not come back from a fetch that finds a page and is refused it: to report PNX or PPI it fetches the
 * instruction once more. So such fetches are left out, but for one that run.sh asks for by its number (PNX odd, PPI
 * even), to see which of the two the emulator's log has at the end. With a planted mistake nobody knows which they are:
 * all are left out. */
static bool does_not_return(uint64_t va, enum access access, const struct naive_result *expected)
{
    static uint64_t numbers[2];
    bool allowed = machine_allows(&current_config, expected->rights, access);

    if (access % ACCESS_UR != ACCESS_X || !expected->present || (allowed && !machine_options.alone)) {
        return false;
    }
    bool ppi = (expected->rights & ASPACE_X) != 0;
    if (allowed || 2 * numbers[ppi]++ + 1 + ppi != machine_options.special) {
        return true;
    }
    print("oracle: last fetch: exception %u at %x", (uint64_t)(ppi ? ECODE_PPI : ECODE_PNX), virtual_of(va));
    return false;
}

/* Memory as far as it may be touched, or where there is none at all: not devices, nor the image; nor what no virtual
 * address stands for. */
static bool can_be_asked(uint64_t va, const struct naive_result *expected)
{
    if (is_stage2(current->format) && va >= naive_input_end(current->format)) {
        return false;
    }
    return !expected->present || is_memory(expected->pa, expected->leaf_bytes) || expected->pa >= NOTHING_FIRST;
}

/*
 * What is refused is asked again once the TLB has forgotten it; then the other accesses see that new entry. After an
 * access that was no load QEMU allows loads too, without a look at NR, so that it has to forget that as well. Where
 * there is no memory only the rights are seen.
 */
void machine_ask(uint64_t va, enum access access, const struct naive_result *expected, struct reply *r)
{
    static bool is_new; /* the entry in the TLB is what memory has */
    bool memory = expected->present && is_memory(expected->pa, expected->leaf_bytes);
    uint64_t pa = memory ? expected->pa : PA_UNTOLD, address = virtual_of(va);

    is_new = is_new && access != ACCESS_R;
    if (!can_be_asked(va, expected) || does_not_return(va, access, expected)) {
        return;
    }
    ask_once(address, access, pa, r);
    if (r->kind > KIND_ALLOWED && !is_new) {
        forget(address);
        ask_once(address, access, pa, r);
        is_new = true;
    } else if (r->kind == KIND_ALLOWED && !(expected->rights & ASPACE_R)) {
        forget(address);
    }
}
