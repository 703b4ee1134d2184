/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RISC-V's MMU, asked from HS mode: HLV and HSV for reads and writes as VS and VU, a fetch in these for execution.
 * Where an access leads is told by what is read: a number that no other place holds. Owns the registers of the two
 * stages; must not know the library's sources. Chapters are those of the privileged architecture.
 */
#include "../oracle.h"

#define READ_CSR(csr)                                                                                                  \
    __extension__({                                                                                                    \
        uint64_t value_;                                                                                               \
        __asm__ volatile("csrr %0, " csr : "=r"(value_));                                                              \
        value_;                                                                                                        \
    })
#define WRITE_CSR(csr, value) __asm__ volatile("csrw " csr ", %0" : : "r"((uint64_t)(value)) : "memory")

/* By number: not every assembler knows the hypervisor extension's names. */
#define CSR_HSTATUS "0x600"
#define CSR_HEDELEG "0x602"
#define CSR_HENVCFG "0x60a"
#define CSR_HTVAL "0x643"
#define CSR_HGATP "0x680"
#define CSR_VSSTATUS "0x200"
#define CSR_VSATP "0x280"

#define HSTATUS_SPV (UINT64_C(1) << 7)
#define HSTATUS_SPVP (UINT64_C(1) << 8)
#define HSTATUS_VSXL_64 (UINT64_C(2) << 32)
#define SSTATUS_SPP (UINT64_C(1) << 8)
#define VSSTATUS_SUM (UINT64_C(1) << 18)
#define ENVCFG_PBMTE (UINT64_C(1) << 62)

/* scause */
enum {
    CAUSE_FETCH_FAULT = 1,
    CAUSE_LOAD_FAULT = 5,
    CAUSE_STORE_FAULT = 7,
    CAUSE_ECALL_VU = 8,
    CAUSE_ECALL_VS = 10,
    CAUSE_FETCH_PAGE = 12,
    CAUSE_LOAD_PAGE = 13,
    CAUSE_STORE_PAGE = 15,
    CAUSE_FETCH_GUEST = 20,
    CAUSE_LOAD_GUEST = 21,
    CAUSE_STORE_GUEST = 23,
};

/* The virt board: the console, the switch, and memory from TARGET_FIRST on that nothing else uses. The image and the
 * pool of frames are below IMAGE_END. */
#define UART ((volatile uint8_t *)UINT64_C(0x10000000))
#define SWITCH ((volatile uint32_t *)UINT64_C(0x100000))
#define IMAGE_FIRST UINT64_C(0x80000000)
#define IMAGE_END UINT64_C(0x88000000)
#define TARGET_FIRST UINT64_C(0xc0000000)
#define TARGET_END UINT64_C(0x200000000)
#define NOTHING_FIRST (UINT64_C(1) << 40) /* and no device beyond this */
#define ECALL UINT64_C(0x73)
enum { FLUSHES_MAX = 64 };

uint64_t try_load(uint64_t va, uint64_t *value);
uint64_t try_store(uint64_t va, uint64_t value);
uint64_t try_fetch(uint64_t va);
_Noreturn void machine_own_fault(uint64_t cause, uint64_t pc, uint64_t value);

static const struct subject *current;
static bool
    image_is_mapped; /* so large a leaf is in the layout that this program is behind it: nothing there is asked */
static struct subject subjects[6];
static _Alignas(4096) uint64_t own_root[512];

void machine_put(char c)
{
    *UART = (uint8_t)c;
}

_Noreturn void machine_off(void)
{
    for (;;) {
        *SWITCH = 0x5555;
    }
}

_Noreturn void oracle_assert_fail(const char *expr, const char *file, int line)
{
    print("oracle: assertion %s failed, %s:%u", expr, file, (uint64_t)(unsigned)line);
    machine_off();
}

_Noreturn void machine_own_fault(uint64_t cause, uint64_t pc, uint64_t value)
{
    print("oracle: a trap of its own: cause %u at %x, value %x", cause, pc, value);
    machine_off();
}

static bool is_stage2(enum aspace_format format)
{
    return format <= ASPACE_FMT_RISCV_SV57X4;
}

/* A mode that is not there is not kept ("H", hgatp; "Supervisor-Level ISA", satp). */
static bool keeps_mode(enum aspace_format format)
{
    uint64_t first = is_stage2(format) ? ASPACE_FMT_RISCV_SV39X4 : ASPACE_FMT_RISCV_SV39;
    uint64_t mode = 8 + (format - first), there;

    if (is_stage2(format)) {
        WRITE_CSR(CSR_HGATP, mode << 60);
        there = READ_CSR(CSR_HGATP) >> 60;
        WRITE_CSR(CSR_HGATP, 0);
    } else {
        WRITE_CSR(CSR_VSATP, mode << 60);
        there = READ_CSR(CSR_VSATP) >> 60;
        WRITE_CSR(CSR_VSATP, 0);
    }
    return there == mode;
}

static unsigned add(unsigned n, enum aspace_format format, bool pbmt)
{
    bool halved = is_stage2(format) && machine_options.full == 0;

    if (!keeps_mode(format)) {
        print("oracle: skipped: %s: this machine does not have it", aspace_format_name(format));
        return n;
    }
    subjects[n] = (struct subject){
        .format = format,
        .features = ASPACE_FEAT_SVNAPOT | ASPACE_FEAT_AD | (pbmt ? (uint32_t)ASPACE_FEAT_SVPBMT : 0u) |
                    (is_stage2(format) ? 0u : (uint32_t)ASPACE_FEAT_GLOBAL),
        .output_bits = 56,
        .top = halved ? naive_input_end(format) / 2 : 0,
        .accesses = ACCESS_ALL,
    };
    return n + 1;
}

/* HS mode's own map, one to one. QEMU 7.2 tells a page fault of HLV as an access fault if this is off. */
static void map_own(void)
{
    for (uint64_t i = 0; i < 256; i++) {
        own_root[i] = i << 28 | 0xcf; /* 1 GiB: V, R, W, X, A, D */
    }
    WRITE_CSR("satp", UINT64_C(8) << 60 | (uintptr_t)own_root >> 12);
    __asm__ volatile("sfence.vma" ::: "memory");
}

unsigned machine_start(void)
{
    unsigned n = 0;

    map_own();
    WRITE_CSR(CSR_HEDELEG, 0);
    WRITE_CSR(CSR_HENVCFG, UINT64_MAX);
    WRITE_CSR(CSR_VSSTATUS, VSSTATUS_SUM);
    bool pbmt = (READ_CSR(CSR_HENVCFG) & ENVCFG_PBMTE) != 0;
    for (unsigned format = ASPACE_FMT_RISCV_SV39X4; format <= ASPACE_FMT_RISCV_SV57; format++) {
        n = add(n, (enum aspace_format)format, pbmt);
    }
    return n;
}

const struct subject *machine_subject(unsigned n)
{
    return &subjects[n];
}

/* HFENCE.GVMA and HFENCE.VVMA of everything. */
static void fence_all(void)
{
    __asm__ volatile(".insn r 0x73, 0, 0x31, x0, x0, x0\n .insn r 0x73, 0, 0x11, x0, x0, x0" ::: "memory");
}

bool machine_prepare(const struct layout *layout)
{
    (void)layout;
    image_is_mapped = false;
    return true;
}

void machine_load(const struct layout *layout)
{
    struct aspace_registers r;

    current = layout->subject;
    aspace_registers(layout->space, &r);
    WRITE_CSR(CSR_HGATP, is_stage2(current->format) ? r.base : 0);
    WRITE_CSR(CSR_VSATP, is_stage2(current->format) ? 0 : r.base);
    fence_all();
}

void machine_unload(void)
{
    WRITE_CSR(CSR_HGATP, 0);
    WRITE_CSR(CSR_VSATP, 0);
    fence_all();
}

/* HFENCE.GVMA takes the address shifted right by two. */
static void flush_one(const struct aspace_flush *f, uint64_t va)
{
    if (f->stage2) {
        __asm__ volatile(".insn r 0x73, 0, 0x31, x0, %0, %1" : : "r"(va >> 2), "r"(f->tag) : "memory");
    } else if (f->global) {
        __asm__ volatile(".insn r 0x73, 0, 0x11, x0, %0, x0" : : "r"(va) : "memory");
    } else {
        __asm__ volatile(".insn r 0x73, 0, 0x11, x0, %0, %1" : : "r"(va), "r"(f->tag) : "memory");
    }
}

static void flush_tag(const struct aspace_flush *f)
{
    if (f->stage2) {
        __asm__ volatile(".insn r 0x73, 0, 0x31, x0, x0, %0" : : "r"(f->tag) : "memory");
    } else if (f->global) {
        fence_all();
    } else {
        __asm__ volatile(".insn r 0x73, 0, 0x11, x0, x0, %0" : : "r"(f->tag) : "memory");
    }
}

void machine_flush(const struct aspace_flush *f)
{
    if (f->full || (f->end - f->va) >> f->stride_lg2 > FLUSHES_MAX) {
        flush_tag(f);
        return;
    }
    for (uint64_t va = f->va; va < f->end; va += UINT64_C(1) << f->stride_lg2) {
        flush_one(f, va);
    }
}

/* Stage 2 knows no user. Stage 1: with SUM set VS may read and write what is for VU, and executes nothing of it. (QEMU
 * 7.2 takes SUM for set in any HLV.) */
bool machine_allows(const struct aspace_config *config, uint32_t rights, enum access access)
{
    static const uint32_t needed[] = {ASPACE_R, ASPACE_W, ASPACE_X, ASPACE_R, ASPACE_W, ASPACE_X};
    bool user = (rights & ASPACE_U) != 0;

    if (!is_stage2(config->format) && (access >= ACCESS_UR ? !user : access == ACCESS_X && user)) {
        return false;
    }
    return (rights & needed[access]) != 0;
}

/* Where there is no memory only the rights are seen: at the top, up to the widest entry that QEMU knows. */
uint64_t machine_target(const struct subject *subject, unsigned lg2)
{
    uint64_t leaf = UINT64_C(1) << lg2;

    (void)subject;
    if (random_one_in(12)) {
        return (UINT64_C(1) << 40) + (random_next() >> 10 & ~(leaf - 1));
    }
    uint64_t target = (TARGET_FIRST + random_below(TARGET_END - TARGET_FIRST)) & ~(leaf - 1);
    image_is_mapped |= target < IMAGE_END;
    return target;
}

static bool in_targets(uint64_t pa)
{
    return pa >= TARGET_FIRST && pa < TARGET_END;
}

/* The library's own frames are mapped in leaves of up to 2 MiB. */
static bool is_memory(uint64_t pa, uint64_t bytes)
{
    return in_targets(pa) || (!image_is_mapped && bytes <= 2 * MIB && pa >= IMAGE_FIRST && pa < IMAGE_END);
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

/* A run's entries are sixteen, of which hardware may pick the one that it marks; QEMU takes the one that it read. */
enum flags machine_sets_flags(enum access access)
{
    (void)access;
    return FLAGS_SET;
}

/* The three codes of an access: of a page fault, a guest-page fault, an access fault. */
struct causes {
    uint64_t page, guest, fault;
};

static void read_cause(uint64_t cause, const struct causes *known, uint64_t va, struct reply *r)
{
    bool stage2 = is_stage2(current->format);

    r->raw[0] = cause;
    r->raw[1] = READ_CSR("stval");
    r->raw[2] = READ_CSR(CSR_HTVAL);
    if (cause == known->fault) {
        r->kind = KIND_ALLOWED; /* translated, and then there was no memory */
    } else if (cause == (stage2 ? known->guest : known->page)) {
        bool told = r->raw[1] == va && (!stage2 || r->raw[2] == va >> 2);
        r->kind = told ? KIND_REFUSED : KIND_STRANGE;
    } else {
        r->kind = KIND_STRANGE;
    }
}

static void ask_read(uint64_t va, uint64_t pa, struct reply *r)
{
    static const struct causes causes = {CAUSE_LOAD_PAGE, CAUSE_LOAD_GUEST, CAUSE_LOAD_FAULT};
    uint64_t number = random_next(), found = ~number;

    if (pa != PA_UNTOLD) {
        *(volatile uint64_t *)pa = number;
    }
    uint64_t trap = try_load(va, &found);
    if (trap) {
        read_cause(trap - 1, &causes, va, r);
        return;
    }
    r->kind = KIND_ALLOWED;
    r->pa = found == number ? pa : 0;
    r->raw[0] = found;
}

static void ask_write(uint64_t va, uint64_t pa, struct reply *r)
{
    static const struct causes causes = {CAUSE_STORE_PAGE, CAUSE_STORE_GUEST, CAUSE_STORE_FAULT};
    uint64_t number = random_next();

    if (pa != PA_UNTOLD) {
        *(volatile uint64_t *)pa = ~number;
    }
    uint64_t trap = try_store(va, number);
    if (trap) {
        read_cause(trap - 1, &causes, va, r);
        return;
    }
    r->kind = KIND_ALLOWED;
    r->pa = pa != PA_UNTOLD && *(volatile uint64_t *)pa == number ? pa : 0;
}

static void ask_fetch(uint64_t va, enum access access, uint64_t pa, struct reply *r)
{
    static const struct causes causes = {CAUSE_FETCH_PAGE, CAUSE_FETCH_GUEST, CAUSE_FETCH_FAULT};

    if (pa != PA_UNTOLD) {
        *(volatile uint64_t *)pa = ECALL;
        __asm__ volatile("fence.i" ::: "memory");
    }
    uint64_t cause = try_fetch(va) - 1;
    if (pa != PA_UNTOLD) {
        *(volatile uint64_t *)pa = 0;
    }
    if (cause == (access == ACCESS_UX ? CAUSE_ECALL_VU : CAUSE_ECALL_VS)) {
        r->raw[0] = cause;
        r->kind = KIND_ALLOWED;
        r->pa = READ_CSR("sepc") == va ? pa : 0;
        return;
    }
    read_cause(cause, &causes, va, r);
}

/* What is neither memory of ours nor nothing at all, as devices and the image, is let alone. Where there is nothing
 * only the rights are seen. */
void machine_ask(uint64_t va, enum access access, const struct naive_result *expected, struct reply *r)
{
    bool user = access >= ACCESS_UR;
    bool memory = expected->present && is_memory(expected->pa, expected->leaf_bytes);
    uint64_t pa = memory ? expected->pa : PA_UNTOLD;

    if (expected->present && !memory && expected->pa < NOTHING_FIRST) {
        return;
    }
    WRITE_CSR(CSR_HSTATUS, HSTATUS_VSXL_64 | HSTATUS_SPV | (user ? 0 : HSTATUS_SPVP));
    WRITE_CSR("sstatus", user ? 0 : SSTATUS_SPP);
    switch (access) {
    case ACCESS_R:
    case ACCESS_UR: ask_read(va, pa, r); break;
    case ACCESS_W:
    case ACCESS_UW: ask_write(va, pa, r); break;
    default: ask_fetch(va, access, pa, r); break;
    }
}
