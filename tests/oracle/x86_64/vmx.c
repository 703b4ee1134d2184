/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Extended page tables, asked by the same guest as nested tables are: an exit tells what became of the access, and of
 * entries made wrong on purpose that they are. Owns the VMCS; must not know the library's sources. Sections are those
 * of Intel's SDM, volume 3C.
 */
#include "machine.h"

#define MSR_FEATURE_CONTROL 0x3au
#define MSR_VMX_BASIC 0x480u
#define MSR_EFER 0xc0000080u
#define CR4_VMXE (UINT64_C(1) << 13)
#define CR0_NE UINT64_C(0x20)
#define EFER_LONG_NX UINT64_C(0xd00)
enum { EXIT_EXCEPTION = 0, EXIT_VMCALL = 18, EXIT_EPT_VIOLATION = 48, EXIT_EPT_MISCONFIGURED = 49 }; /* appendix C */
enum { VECTOR_VE = 20 };
enum { QUALIFICATION_GRANTED = 0x38, QUALIFICATION_FINAL = 0x180 }; /* table 28-7 */

/* Appendix B. */
enum {
    GUEST_ES = 0x800,
    GUEST_TR = 0x80e,
    GUEST_LIMIT = 0x4800,
    GUEST_RIGHTS = 0x4814,
    GUEST_EFER = 0x2806,
    GUEST_CR0 = 0x6800,
    GUEST_CR3 = 0x6802,
    GUEST_CR4 = 0x6804,
    GUEST_DR7 = 0x681a,
    GUEST_RSP = 0x681c,
    GUEST_RIP = 0x681e,
    GUEST_RFLAGS = 0x6820,
    GUEST_LINK = 0x2800,
    HOST_ES = 0xc00,
    HOST_TR = 0xc0c,
    HOST_EFER = 0x2c02,
    HOST_CR0 = 0x6c00,
    HOST_CR3 = 0x6c02,
    HOST_CR4 = 0x6c04,
    HOST_TR_BASE = 0x6c0a,
    HOST_GDTR = 0x6c0c,
    HOST_IDTR = 0x6c0e,
    HOST_RSP = 0x6c14,
    HOST_RIP = 0x6c16,
    CONTROL_PIN = 0x4000,
    CONTROL_CPU = 0x4002,
    CONTROL_EXCEPTIONS = 0x4004,
    CONTROL_EXIT = 0x400c,
    CONTROL_ENTRY = 0x4012,
    CONTROL_CPU2 = 0x401e,
    CONTROL_EPTP = 0x201a,
    CONTROL_VE_AREA = 0x202a,
    EXIT_REASON = 0x4402,
    EXIT_INTERRUPTION = 0x4404,
    EXIT_QUALIFICATION = 0x6400,
    EXIT_ADDRESS = 0x2400,
};

extern char tss[], gdt[], vmx_exit[], trap_stack_top[];
extern uint64_t idt[64];
uint64_t try_vmx(uint64_t va, uint64_t value, uint64_t launched);

/* Secondary controls: 25.6.2 */
#define CPU2_EPT UINT64_C(2)
#define CPU2_VE (UINT64_C(1) << 18)
#define CPU2_MBEC (UINT64_C(1) << 22)
#define SUPPRESS_VE (UINT64_C(1) << 63)

static _Alignas(4096) uint32_t vmxon_region[1024], vmcs[1024], ve_area[1024];
static uint64_t launched, misconfigured, made_exceptions, eptp;
static uint32_t features; /* of the space */

static void vmwrite(uint64_t field, uint64_t value)
{
    __asm__ volatile("vmwrite %1, %0" : : "r"(field), "r"(value) : "cc", "memory");
}

static uint64_t vmread(uint64_t field)
{
    uint64_t value;

    __asm__ volatile("vmread %1, %0" : "=r"(value) : "r"(field) : "cc");
    return value;
}

static uint64_t read_cr(unsigned n)
{
    uint64_t value;

    switch (n) {
    case 0: __asm__ volatile("mov %%cr0, %0" : "=r"(value)); break;
    case 3: __asm__ volatile("mov %%cr3, %0" : "=r"(value)); break;
    default: __asm__ volatile("mov %%cr4, %0" : "=r"(value)); break;
    }
    return value;
}

/* CPUID.1:ECX.VMX; 24.7: the switch in IA32_FEATURE_CONTROL, which firmware may have locked. */
bool vmx_start(void)
{
    uint32_t a = 1, b, c = 0, d;
    uint64_t region = aspace_virt_to_phys(vmxon_region);

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (!(c & 1u << 5)) {
        return false;
    }
    uint64_t control = rdmsr(MSR_FEATURE_CONTROL);
    if (!(control & 1)) {
        wrmsr(MSR_FEATURE_CONTROL, control | 5);
    } else if (!(control & 4)) {
        return false;
    }
    __asm__ volatile("mov %0, %%cr4" : : "r"(read_cr(4) | CR4_VMXE) : "memory");
    __asm__ volatile("mov %0, %%cr0" : : "r"(read_cr(0) | CR0_NE) : "memory");
    vmxon_region[0] = (uint32_t)rdmsr(MSR_VMX_BASIC);
    __asm__ volatile("vmxon %0" : : "m"(region) : "cc", "memory");
    return true;
}

/* Appendix A.3: what must be one, and what may. */
static void put_control(unsigned field, uint32_t msr, uint64_t wanted)
{
    uint64_t allowed = rdmsr(msr);

    vmwrite(field, (wanted | (uint32_t)allowed) & allowed >> 32);
}

uint32_t vmx_features(void)
{
    uint64_t may = rdmsr(0x48b) >> 32;

    return ((may & CPU2_VE) ? (uint32_t)ASPACE_FEAT_VE : 0u) | ((may & CPU2_MBEC) ? (uint32_t)ASPACE_FEAT_MBEC : 0u);
}

static void load_controls(void)
{
    uint64_t cpu2 = CPU2_EPT;

    cpu2 |= (features & ASPACE_FEAT_VE) ? CPU2_VE : 0;
    cpu2 |= (features & ASPACE_FEAT_MBEC) ? CPU2_MBEC : 0;
    put_control(CONTROL_PIN, 0x481, 0);
    put_control(CONTROL_CPU, 0x482, 1u << 31); /* there are more */
    put_control(CONTROL_CPU2, 0x48b, cpu2);
    put_control(CONTROL_EXIT, 0x483, 1u << 9 | 1u << 21); /* host of 64 bits; its EFER */
    put_control(CONTROL_ENTRY, 0x484, 1u << 9 | 1u << 15);
    vmwrite(CONTROL_EXCEPTIONS, 0xffffffff);
    vmwrite(CONTROL_EPTP, eptp);
    if (features & ASPACE_FEAT_VE) {
        vmwrite(CONTROL_VE_AREA, aspace_virt_to_phys(ve_area));
    }
}

static void load_guest(uint64_t cr3)
{
    static const uint32_t rights[] = {0xc093, 0xa09b, 0xc093, 0xc093, 0xc093, 0xc093, 0x10000, 0x8b};

    for (unsigned i = 0; i < 8; i++) {
        vmwrite(GUEST_ES + 2 * i, i == 1 ? 8 : i == 6 ? 0 : 16);
        vmwrite(GUEST_LIMIT + 2 * i, i == 7 ? 0x67 : 0xffffffff);
        vmwrite(GUEST_RIGHTS + 2 * i, rights[i]);
    }
    vmwrite(GUEST_TR, 0x28);
    vmwrite(GUEST_EFER, EFER_LONG_NX);
    vmwrite(GUEST_CR0, read_cr(0));
    vmwrite(GUEST_CR3, cr3);
    vmwrite(GUEST_CR4, CR4_VMXE | 0x20);
    vmwrite(GUEST_DR7, 0x400);
    vmwrite(GUEST_RFLAGS, 2);
    vmwrite(GUEST_LINK, UINT64_MAX);
}

static void load_host(void)
{
    for (unsigned i = 0; i < 4; i++) {
        vmwrite(HOST_ES + 2 * i, i == 1 ? 8 : 16);
    }
    vmwrite(HOST_TR, 0x28);
    vmwrite(HOST_EFER, rdmsr(MSR_EFER));
    vmwrite(HOST_CR0, read_cr(0));
    vmwrite(HOST_CR3, read_cr(3));
    vmwrite(HOST_CR4, read_cr(4));
    vmwrite(HOST_TR_BASE, (uintptr_t)tss);
    vmwrite(HOST_GDTR, (uintptr_t)gdt);
    vmwrite(HOST_IDTR, (uintptr_t)idt);
    vmwrite(HOST_RSP, (uintptr_t)trap_stack_top);
    vmwrite(HOST_RIP, (uintptr_t)vmx_exit);
}

void vmx_load(const struct layout *layout, const struct aspace_registers *registers)
{
    uint64_t region = aspace_virt_to_phys(vmcs);

    features = layout->config.features & vmx_features();
    eptp = registers->base;
    __asm__ volatile("vmclear %0" : : "m"(region) : "cc", "memory");
    vmcs[0] = (uint32_t)rdmsr(MSR_VMX_BASIC);
    __asm__ volatile("vmptrld %0" : : "m"(region) : "cc", "memory");
    load_controls();
    load_guest(guest_base(layout->space));
    load_host();
    launched = 0;
    vmx_flush();
}

/* 29.4.3: INVEPT of the one context, which the space's own register names; it fails if that is malformed. */
void vmx_flush(void)
{
    uint64_t descriptor[2] = {eptp, 0};
    uint8_t failed;

    __asm__ volatile("invept %1, %2; setbe %0" : "=r"(failed) : "m"(descriptor), "r"(UINT64_C(1)) : "cc", "memory");
    if (failed) {
        print("oracle: INVEPT does not take %x", eptp);
        machine_off();
    }
}

/* Table 28-7: what was tried, what was granted, and that it was the final address. */
static void read_violation(uint64_t gpa, enum access access, struct reply *r)
{
    uint64_t q = vmread(EXIT_QUALIFICATION);

    r->raw[0] = q;
    r->raw[1] = vmread(EXIT_ADDRESS);
    if ((q & QUALIFICATION_FINAL) != QUALIFICATION_FINAL || (q & 7) != 1u << access % ACCESS_UR || r->raw[1] != gpa) {
        r->kind = KIND_STRANGE;
    } else {
        r->kind = (q & QUALIFICATION_GRANTED) ? KIND_PERMISSION : KIND_ABSENT;
    }
}

struct question {
    uint64_t gpa, value;
    enum access access;
};

static void try_once(uint64_t gpa, enum access access, uint64_t value, struct reply *r)
{
    vmwrite(GUEST_RIP, guest_aim(gpa, access, SNIPPETS_VMX));
    vmwrite(GUEST_RSP, 0);
    ve_area[1] = 0; /* 26.5.7.1: else there is no second exception */
    uint64_t failed = try_vmx(GVA_TARGET + gpa % PAGE, value, launched);
    uint64_t reason = vmread(EXIT_REASON);
    launched = 1;
    r->raw[2] = failed ? UINT64_MAX : reason;
    if (failed) {
        r->kind = KIND_STRANGE;
    } else if (reason == EXIT_EPT_VIOLATION) {
        read_violation(gpa, access, r);
    } else if (reason == EXIT_EPT_MISCONFIGURED) {
        r->kind = KIND_BROKEN;
    } else {
        r->kind = reason == EXIT_VMCALL ? KIND_ALLOWED : KIND_STRANGE;
    }
}

/* The access with another entry in place of the one that the walk ends in. */
static void try_with(const struct question *q, uint64_t *entry, uint64_t other, struct reply *r)
{
    uint64_t before = *entry;

    *entry = other;
    vmx_flush();
    try_once(q->gpa, q->access, q->value, r);
    *entry = before;
    vmx_flush();
}

/* 29.3.3.1: an entry that is writable and not readable is misconfigured, and that has to be said. */
static bool misconfigure(const struct question *q, uint64_t *entry)
{
    struct reply r = {.kind = KIND_UNTOLD};

    try_with(q, entry, (*entry & ~UINT64_C(1)) | 2, &r);
    misconfigured++;
    return r.kind == KIND_BROKEN;
}

/* 26.5.7.1: without the bit that suppresses it a violation is an exception in the guest. With it none ever is, or the
 * answers of try_once would be strange; so it is seen here that exceptions are on, and that this is the bit. */
static bool make_exception(const struct question *q, uint64_t *entry)
{
    struct reply r = {.kind = KIND_UNTOLD};

    if (!(*entry & SUPPRESS_VE)) {
        return false;
    }
    try_with(q, entry, *entry & ~SUPPRESS_VE, &r);
    made_exceptions++;
    return r.kind == KIND_STRANGE && r.raw[2] == EXIT_EXCEPTION && (vmread(EXIT_INTERRUPTION) & 0xff) == VECTOR_VE;
}

static bool provoke(const struct question *q, const struct naive_result *expected)
{
    uint64_t *entry = aspace_phys_to_virt(expected->entry_pa);

    if (expected->present) {
        return misconfigure(q, entry);
    }
    return !(features & ASPACE_FEAT_VE) || make_exception(q, entry);
}

void vmx_print(void)
{
    if (misconfigured) {
        print("oracle: entries of EPT changed on purpose: %u misconfigured, %u that make an exception", misconfigured,
              made_exceptions);
    }
}

void vmx_ask(uint64_t gpa, enum access access, uint64_t value, const struct naive_result *expected, struct reply *r)
{
    struct question q = {.gpa = gpa, .value = value, .access = access};

    if (expected->tables && random_one_in(32) && !provoke(&q, expected)) {
        r->kind = KIND_STRANGE;
        return;
    }
    try_once(gpa, access, value, r);
}
