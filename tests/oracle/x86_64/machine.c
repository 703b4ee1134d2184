/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The MMU of x86-64, asked by accesses that take place. Process tables: by the kernel, which shares its upper half with
 * the space, and by user code; the error code of a page fault tells the kind. Nested tables: svm.c. Owns the CPU's
 * registers; must not know the library's sources. Sections are those of Intel's SDM, volume 3A.
 */
#include "machine.h"

#define UART 0x3f8
#define DEBUG_PORT 0xe9 /* Bochs */
#define DEBUG_EXIT 0xf4
#define BOCHS_EXIT 0x8900
#define MSR_PAT 0x277u
#define CR4_PGE (UINT64_C(1) << 7)
#define CR4_PCIDE (UINT64_C(1) << 17)
#define CPUID_PCID (1u << 17)    /* leaf 1, ECX */
#define CPUID_INVPCID (1u << 10) /* leaf 7, EBX */
#define CR3_ADDRESS (~UINT64_C(0xfff))
enum { VECTOR_BREAKPOINT = 3, VECTOR_PAGE_FAULT = 14 };
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RESERVED = 8, PF_FETCH = 16 }; /* 4.7 */
enum { USER_SNIPPETS = 257 };
enum { FLUSHES_MAX = 64 };

struct trap_frame {
    uint64_t code, rip, cs, address;
};
extern struct trap_frame trap_frame;
extern uint64_t idt[64], own_root[512], own_root5[512];
extern char exceptions[];
uint64_t try_kernel(uint64_t va, uint64_t value, uint64_t code);
uint64_t try_user(uint64_t va, uint64_t value, uint64_t code);
_Noreturn void machine_own_fault(uint64_t vector);
void machine_interrupts(void);

static struct subject subjects[3];
static const struct subject *current;
static bool pcids; /* are on */
static _Alignas(4096) uint64_t user_tables[3][512];

static void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

void wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

uint64_t rdmsr(uint32_t msr)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

void machine_put(char c)
{
    out8(UART, (uint8_t)c);
    out8(DEBUG_PORT, (uint8_t)c);
}

_Noreturn void machine_off(void)
{
    vmx_print();
    for (;;) {
        out8(DEBUG_EXIT, 0);
        for (const char *c = "Shutdown"; *c; c++) {
            out8(BOCHS_EXIT, (uint8_t)*c);
        }
        __asm__ volatile("hlt");
    }
}

_Noreturn void oracle_assert_fail(const char *expr, const char *file, int line)
{
    print("oracle: assertion %s failed, %s:%u", expr, file, (uint64_t)(unsigned)line);
    machine_off();
}

_Noreturn void machine_own_fault(uint64_t vector)
{
    print("oracle: a fault of its own: vector %u, code %x at %x, address %x", vector, trap_frame.code, trap_frame.rip,
          trap_frame.address);
    machine_off();
}

/* Interrupt gates that user code may use. */
void machine_interrupts(void)
{
    for (uint64_t i = 0; i < 32; i++) {
        uint64_t at = (uintptr_t)exceptions + 16 * i;
        idt[2 * i] = (at & 0xffff) | 8u << 16 | UINT64_C(0xee00) << 32 | (at >> 16 & 0xffff) << 48;
        idt[2 * i + 1] = at >> 32;
    }
}

static void write_cr3(uint64_t value)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(value) : "memory");
}

/* 4.10.4.1: a change of PGE invalidates everything, also what is global. */
static void flush_everything(void)
{
    uint64_t cr4;

    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    __asm__ volatile("mov %0, %%cr4\n mov %1, %%cr4" : : "r"(cr4 & ~CR4_PGE), "r"(cr4) : "memory");
}

static uint64_t own_cr3(void)
{
    return aspace_virt_to_phys(machine_options.special == SPECIAL_FIVE ? own_root5 : own_root);
}

/* 4.10.1. With PCIDs a space's register is loaded as the library gives it; the machine's own number is 0. */
static void start_pcids(void)
{
    uint32_t a = 1, b = 0, c = 0, d, most = 0;
    uint64_t cr4;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    pcids = (c & CPUID_PCID) != 0;
    __asm__ volatile("cpuid" : "+a"(most), "=b"(b), "=c"(c), "=d"(d));
    if (!pcids || most < 7) {
        return;
    }
    a = 7, c = 0;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    pcids = (b & CPUID_INVPCID) != 0;
    if (!pcids) {
        return;
    }
    write_cr3(own_cr3());
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_PCIDE) : "memory");
    print("oracle: PCIDs are in use");
}

/* INVPCID of one context: all of the tag's but what is global. */
static void flush_tag(uint64_t tag)
{
    uint64_t descriptor[2] = {tag, 0};

    __asm__ volatile("invpcid %0, %1" : : "m"(descriptor), "r"(UINT64_C(1)) : "memory");
}

/* One page that user code may execute. */
static void map_user(void)
{
    own_root[USER_SNIPPETS] = aspace_virt_to_phys(user_tables[0]) | 7;
    user_tables[0][0] = aspace_virt_to_phys(user_tables[1]) | 7;
    user_tables[1][0] = aspace_virt_to_phys(user_tables[2]) | 7;
    user_tables[2][0] = aspace_virt_to_phys(snippets) | 5;
}

static struct subject *add(unsigned n, enum aspace_format format)
{
    subjects[n] = (struct subject){
        .format = format,
        .features = ASPACE_FEAT_NX | ASPACE_FEAT_AD,
        .output_bits = 40, /* QEMU's */
        .accesses = ACCESS_ALL,
    };
    return &subjects[n];
}

/* Nested, of either maker: guest-physical addresses are no wider than physical ones. */
static void add_nested(unsigned n, enum aspace_format format, uint32_t features)
{
    struct subject *nested = add(n, format);

    nested->features |= features;
    nested->top = UINT64_C(1) << 40;
    nested->own = GUEST_OWN;
    nested->accesses = ACCESS_SUPERVISOR;
}

unsigned machine_start(void)
{
    bool five = machine_options.special == SPECIAL_FIVE;
    unsigned n = 1;

    map_user();
    flush_everything();
    start_pcids();
    add(0, five ? ASPACE_FMT_X86_PT5 : ASPACE_FMT_X86_PT4)->features |= ASPACE_FEAT_GLOBAL;
    if (svm_start()) {
        add_nested(n++, five ? ASPACE_FMT_X86_NPT5 : ASPACE_FMT_X86_NPT4, 0);
    }
    if (!five && vmx_start()) {
        add_nested(n, ASPACE_FMT_X86_EPT4, ASPACE_FEAT_EXEC_ONLY | vmx_features());
        subjects[n].accesses |= (vmx_features() & ASPACE_FEAT_MBEC) ? ACCESS_BIT(ACCESS_UX) : 0;
        n++;
    }
    return n;
}

const struct subject *machine_subject(unsigned n)
{
    return &subjects[n];
}

static bool is_nested(void)
{
    return current->format <= ASPACE_FMT_X86_NPT5;
}

static bool is_ept(void)
{
    return current->format <= ASPACE_FMT_X86_EPT5;
}

bool machine_prepare(const struct layout *layout)
{
    return layout->subject->own == 0 || guest_prepare(layout->space);
}

void machine_load(const struct layout *layout)
{
    struct aspace_registers r;
    bool five = machine_options.special == SPECIAL_FIVE;

    current = layout->subject;
    aspace_registers(layout->space, &r);
    if (is_nested()) {
        if (is_ept()) {
            vmx_load(layout, &r);
        } else {
            svm_load(layout->space, &r);
        }
        return;
    }
    if (aspace_share_upper(layout->space, (five ? own_root5 : own_root) + ASPACE_UPPER_ENTRIES) != ASPACE_OK) {
        print("oracle: the upper half could not be shared");
        machine_off();
    }
    wrmsr(MSR_PAT, r.memory_types);
    write_cr3(pcids ? r.base : r.base & CR3_ADDRESS);
    flush_everything();
}

void machine_unload(void)
{
    write_cr3(own_cr3());
    flush_everything();
}

void machine_flush(const struct aspace_flush *f)
{
    if (f->stage2) {
        if (is_ept()) {
            vmx_flush();
        }
        return; /* each entry of the other guest forgets everything */
    }
    if (f->full || (f->end - f->va) >> f->stride_lg2 > FLUSHES_MAX) {
        if (pcids && !f->global) {
            flush_tag(f->tag);
        } else {
            flush_everything();
        }
        return;
    }
    for (uint64_t va = f->va; va < f->end; va += UINT64_C(1) << f->stride_lg2) {
        __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
    }
}

/* 4.6.1: with SMEP and SMAP off, privileged code may do all that user code may; with WP on it writes no more. EPT tells
 * users by mode-based execute control alone (volume 3C, 29.3.2). */
bool machine_allows(const struct aspace_config *config, uint32_t rights, enum access access)
{
    static const uint32_t needed[] = {ASPACE_R, ASPACE_W, ASPACE_X, ASPACE_R, ASPACE_W, ASPACE_X};
    bool user = access >= ACCESS_UR && (!is_ept() || (config->features & ASPACE_FEAT_MBEC));

    return (!user || (rights & ASPACE_U)) && (rights & needed[access]);
}

/* Memory that nothing else uses. */
static uint64_t target_first(void)
{
    return machine_options.special == SPECIAL_SMALL ? GIB : 4 * GIB;
}

static uint64_t target_end(void)
{
    return machine_options.special == SPECIAL_SMALL ? 2 * GIB - 64 * MIB : 8 * GIB; /* firmware has tables at the end */
}

uint64_t machine_target(const struct subject *subject, unsigned lg2)
{
    (void)subject;
    return (target_first() + random_below(target_end() - target_first())) & ~((UINT64_C(1) << lg2) - 1);
}

/* The library's own frames are mapped in leaves of up to 2 MiB. */
static bool is_memory(uint64_t pa, uint64_t bytes)
{
    return (pa >= target_first() && pa < target_end()) || (bytes <= 2 * MIB && pa >= MIB && pa < IMAGE_END);
}

uint64_t machine_steer(uint64_t pa, uint64_t leaf, uint64_t bytes)
{
    (void)leaf;
    (void)bytes;
    return pa;
}

enum flags machine_sets_flags(enum access access)
{
    (void)access;
    return FLAGS_SET;
}

/* 4.7. What the code says of the access must be true. */
static void read_fault(uint64_t va, enum access access, struct reply *r)
{
    uint64_t code = trap_frame.code, of = 0;

    of |= access == ACCESS_W || access == ACCESS_UW ? PF_W : 0;
    of |= access == ACCESS_X || access == ACCESS_UX ? PF_FETCH : 0;
    of |= access >= ACCESS_UR ? PF_U : 0;
    r->raw[0] = code;
    r->raw[1] = trap_frame.address;
    if (trap_frame.address != va || (code & (PF_W | PF_U | PF_FETCH)) != of) {
        r->kind = KIND_STRANGE;
    } else if (code & PF_RESERVED) {
        r->kind = KIND_BROKEN;
    } else {
        r->kind = (code & PF_P) ? KIND_PERMISSION : KIND_ABSENT;
    }
}

static void ask_process(uint64_t va, enum access access, uint64_t value, struct reply *r)
{
    unsigned code = SNIPPET_BYTES * (access % ACCESS_UR);
    uint64_t vector = access >= ACCESS_UR ? try_user(va, value, code) : try_kernel(va, value, code);

    r->raw[2] = vector;
    if (vector == VECTOR_PAGE_FAULT) {
        read_fault(va, access, r);
    } else {
        r->kind = vector == VECTOR_BREAKPOINT ? KIND_ALLOWED : KIND_STRANGE;
    }
}

/* A number for the output address that begins with a breakpoint instruction, VMMCALL or VMCALL: that says so if it is
 * executed. */
static uint64_t random_code(void)
{
    uint64_t number = random_next() & UINT64_C(0xffffffff00000000);

    return number | (is_ept() ? UINT64_C(0xccc1010f) : is_nested() ? UINT64_C(0xccd9010f) : UINT64_C(0x909090cc));
}

/* Did the access reach the output address? */
static bool arrived(enum access access, uint64_t value, const volatile uint64_t *at)
{
    switch (access % ACCESS_UR) {
    case ACCESS_R: return found == value;
    case ACCESS_W: return *at == value;
    default: return true; /* the instruction there was executed */
    }
}

static void ask(uint64_t va, enum access access, const struct naive_result *expected, struct reply *r)
{
    uint64_t pa = expected->present ? expected->pa : PA_UNTOLD;
    volatile uint64_t *at = aspace_phys_to_virt(pa == PA_UNTOLD ? 0 : pa);
    uint64_t value = random_code();
    bool write = access % ACCESS_UR == ACCESS_W;

    if (pa != PA_UNTOLD) {
        *at = write ? ~value : value;
    }
    if (is_ept()) {
        vmx_ask(va, access, value, expected, r);
    } else if (is_nested()) {
        svm_ask(va, access, value, r);
    } else {
        ask_process(va, access, value, r);
    }
    if (r->kind == KIND_ALLOWED) {
        r->pa = pa != PA_UNTOLD && arrived(access, value, at) ? pa : 0;
    }
}

/* Beyond the lower half is the kernel, or nothing that is an address; at the end of a nested space are the guest's own
 * tables; what is not memory is let alone. */
void machine_ask(uint64_t va, enum access access, const struct naive_result *expected, struct reply *r)
{
    if (va >= (current->top ? current->top - current->own : naive_input_end(current->format))) {
        return;
    }
    if (!expected->present || is_memory(expected->pa, expected->leaf_bytes)) {
        ask(va, access, expected, r);
    }
}
