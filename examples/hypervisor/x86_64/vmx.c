/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns Intel's extension: the VMCS, the entry to the guest, and what its exits mean. Sections are those of the Intel
 * SDM, volume 3C, and its appendix A (capabilities) and B (fields). What an exit does not exchange (SYSCALL's MSRs, the
 * FPU's state) is not used in root mode, and stays the guest's.
 */
#include "x86_64.h"

enum { CPUID_ECX_VMX = 1 << 5, CR4_VMXE = 1 << 13 };
enum { MSR_FEATURE_CONTROL = 0x3a, FEATURE_LOCKED = 1, FEATURE_VMX = 1 << 2 };
enum {
    MSR_BASIC = 0x480,
    MSR_CR0_FIXED0 = 0x486,
    MSR_CR0_FIXED1,
    MSR_CR4_FIXED0,
    MSR_CR4_FIXED1,
    MSR_SECONDARY = 0x48b,
    MSR_EPT_VPID_CAP = 0x48c,
    MSR_TRUE_PIN = 0x48d,
    MSR_TRUE_PRIMARY,
    MSR_TRUE_EXIT,
    MSR_TRUE_ENTRY,
};
#define BASIC_TRUE (UINT64_C(1) << 55)

/* 25.6 to 25.8: controls. */
#define PRIMARY_HLT (UINT32_C(1) << 7)
#define PRIMARY_MWAIT (UINT32_C(1) << 10)
#define PRIMARY_PORTS (UINT32_C(1) << 25)
#define PRIMARY_MSRS (UINT32_C(1) << 28)
#define PRIMARY_MONITOR (UINT32_C(1) << 29)
#define PRIMARY_SECONDARY (UINT32_C(1) << 31)
enum { SECONDARY_EPT = 1 << 1, SECONDARY_UNRESTRICTED = 1 << 7 };
enum { SECONDARY_RDTSCP = 1 << 3, SECONDARY_INVPCID = 1 << 12, SECONDARY_XSAVES = 1 << 20 };
enum { EXIT_HOST_64 = 1 << 9, EXIT_SAVE_EFER = 1 << 20, EXIT_LOAD_EFER = 1 << 21, ENTRY_LOAD_EFER = 1 << 15 };

/* Appendix B, what is used of it. */
enum field {
    GUEST_ES = 0x800, /* CS, SS, DS, FS, GS, LDTR, TR follow by twos, here and below */
    GUEST_CS = 0x802,
    GUEST_LDTR = 0x80c,
    GUEST_TR = 0x80e,
    HOST_ES = 0xc00,
    HOST_CS = 0xc02,
    HOST_SS = 0xc04,
    HOST_DS = 0xc06,
    HOST_TR = 0xc0c,
    PORT_MAP_A = 0x2000,
    PORT_MAP_B = 0x2002,
    MSR_MAP = 0x2004,
    EPT_POINTER = 0x201a,
    GUEST_PHYSICAL = 0x2400,
    LINK_POINTER = 0x2800,
    GUEST_EFER = 0x2806,
    HOST_EFER = 0x2c02,
    PIN_CONTROLS = 0x4000,
    PRIMARY_CONTROLS = 0x4002,
    EXIT_CONTROLS = 0x400c,
    ENTRY_CONTROLS = 0x4012,
    ENTRY_EVENT = 0x4016,
    ENTRY_ERROR_CODE = 0x4018,
    SECONDARY_CONTROLS = 0x401e,
    INSTRUCTION_ERROR = 0x4400,
    EXIT_REASON = 0x4402,
    VECTORING_EVENT = 0x4408,
    VECTORING_ERROR_CODE = 0x440a,
    INSTRUCTION_LENGTH = 0x440c,
    GUEST_ES_LIMIT = 0x4800,
    GUEST_GDTR_LIMIT = 0x4810,
    GUEST_IDTR_LIMIT = 0x4812,
    GUEST_ES_RIGHTS = 0x4814,
    GUEST_INTERRUPTIBILITY = 0x4824,
    CR4_MASK = 0x6002,
    CR4_SHADOW = 0x6006,
    QUALIFICATION = 0x6400,
    GUEST_CR0 = 0x6800,
    GUEST_CR3 = 0x6802,
    GUEST_CR4 = 0x6804,
    GUEST_GDTR_BASE = 0x6816,
    GUEST_DR7 = 0x681a,
    GUEST_RIP = 0x681e,
    GUEST_RFLAGS = 0x6820,
    HOST_CR0 = 0x6c00,
    HOST_CR3 = 0x6c02,
    HOST_CR4 = 0x6c04,
    HOST_GDTR_BASE = 0x6c0c,
    HOST_IDTR_BASE = 0x6c0e,
    HOST_RIP = 0x6c16,
};

/* Appendix C: why it came. */
enum {
    REASON_TRIPLE_FAULT = 2,
    REASON_CPUID = 10,
    REASON_HLT = 12,
    REASON_VMCALL = 18,
    REASON_VMXON = 27,
    REASON_PORT = 30,
    REASON_RDMSR = 31,
    REASON_WRMSR = 32,
    REASON_MWAIT = 36,
    REASON_MONITOR = 39,
    REASON_EPT_VIOLATION = 48,
    REASON_INVEPT = 50,
    REASON_INVVPID = 53,
    REASON_XSETBV = 55,
};

enum { PORT_SIZE = 7, PORT_IN = 1 << 3, PORT_STRING = 1 << 4 }; /* table 28-5 */
enum { RIGHTS_CODE = 0xc09b, RIGHTS_DATA = 0xc093, RIGHTS_TASK = 0x8b, RIGHTS_NONE = 0x10000 };
enum { SEGMENTS = 6, SELECTOR_TASK = 0x20 }; /* the CPU wants one, and never looks what is there */
enum { TYPE_SOFT_INTERRUPT = 4 << 8 };       /* and above: raised by an instruction */
enum { BLOCKED_BY_STI_OR_SS = 3, INVEPT_ALL = 2 };

static _Alignas(4096) uint32_t vmxon_region[1024], vmcs[1024];
static _Alignas(4096) uint8_t port_map[2 * 4096], msr_map[4096];
static int launched;

int vmx_switch(struct vcpu_state *vcpu, int resume);
extern const char vmx_exit[];

static uint64_t get(enum field field)
{
    uint64_t value;
    __asm__ volatile("vmread %1, %0" : "=r"(value) : "r"((uint64_t)field) : "cc");
    return value;
}

static void set(enum field field, uint64_t value)
{
    uint8_t failed;
    __asm__ volatile("vmwrite %1, %2\n setna %0" : "=r"(failed) : "r"(value), "r"((uint64_t)field) : "cc");
    if (failed)
        fail("the VMCS has no field 0x%x", (unsigned)field);
}

/* ---- the CPU ---- */

static bool can(uint32_t msr, uint32_t controls)
{
    return (read_msr(msr) >> 32 & controls) == controls;
}

static bool vmx_here(void)
{
    if (!(cpuid(1, 0).ecx & CPUID_ECX_VMX) || !(read_msr(MSR_BASIC) & BASIC_TRUE))
        return false;
    uint64_t control = read_msr(MSR_FEATURE_CONTROL);
    if (control & FEATURE_LOCKED && !(control & FEATURE_VMX))
        return false;
    return can(MSR_TRUE_PRIMARY, PRIMARY_SECONDARY) && can(MSR_SECONDARY, SECONDARY_EPT | SECONDARY_UNRESTRICTED);
}

static void vmx_cpu_init(void)
{
    uint64_t cr0, cr4, control = read_msr(MSR_FEATURE_CONTROL), at = (uintptr_t)vmxon_region;
    uint8_t failed;
    if (aspace_cpu_id() != 0)
        fail("under VMX nobody takes a vCPU out of the guest, which stress and other vCPUs need");
    if (!(control & FEATURE_LOCKED))
        write_msr(MSR_FEATURE_CONTROL, control | FEATURE_LOCKED | FEATURE_VMX);
    __asm__ volatile("mov %%cr0, %0\n mov %%cr4, %1" : "=r"(cr0), "=r"(cr4));
    cr0 = (cr0 | read_msr(MSR_CR0_FIXED0)) & read_msr(MSR_CR0_FIXED1);
    cr4 = (cr4 | CR4_VMXE | CR4_OSXSAVE | read_msr(MSR_CR4_FIXED0)) & read_msr(MSR_CR4_FIXED1);
    __asm__ volatile("mov %0, %%cr0\n mov %1, %%cr4" : : "r"(cr0), "r"(cr4) : "memory");
    vmxon_region[0] = vmcs[0] = (uint32_t)read_msr(MSR_BASIC) & 0x7fffffff;
    __asm__ volatile("vmxon %1\n setna %0" : "=r"(failed) : "m"(at) : "cc", "memory");
    if (failed)
        fail("VMXON is refused");
}

/* ---- the VMCS ---- */

/* What must be set and what may be (A.3 to A.5); what is asked for and may not be is left out. */
static void set_controls(enum field field, uint32_t msr, uint32_t wanted)
{
    uint64_t capability = read_msr(msr);
    set(field, (wanted | (uint32_t)capability) & (uint32_t)(capability >> 32));
}

static void watch_msr(uint32_t msr)
{
    uint32_t range = msr >= 0xc0000000 ? 0x400 : 0, bit = 1u << (msr & 7);
    if ((msr & 0x3fffffff) > 0x1fff)
        return; /* comes to us anyway */
    msr_map[range + (msr & 0x1fff) / 8] |= (uint8_t)bit;
    msr_map[0x800 + range + (msr & 0x1fff) / 8] |= (uint8_t)bit;
}

static void set_up_controls(uint64_t ept_pointer)
{
    set_controls(PIN_CONTROLS, MSR_TRUE_PIN, 0);
    set_controls(PRIMARY_CONTROLS, MSR_TRUE_PRIMARY,
                 PRIMARY_HLT | PRIMARY_MWAIT | PRIMARY_MONITOR | PRIMARY_PORTS | PRIMARY_MSRS | PRIMARY_SECONDARY);
    set_controls(SECONDARY_CONTROLS, MSR_SECONDARY,
                 SECONDARY_EPT | SECONDARY_UNRESTRICTED | SECONDARY_RDTSCP | SECONDARY_INVPCID | SECONDARY_XSAVES);
    set_controls(EXIT_CONTROLS, MSR_TRUE_EXIT, EXIT_HOST_64 | EXIT_SAVE_EFER | EXIT_LOAD_EFER);
    set_controls(ENTRY_CONTROLS, MSR_TRUE_ENTRY, ENTRY_LOAD_EFER);
    for (unsigned i = 0; i < watched_msr_count; i++)
        watch_msr(watched_msrs[i]);
    for (unsigned port = PORT_PCI; port <= PORT_PCI_END; port++)
        port_map[port / 8] |= (uint8_t)(1u << port % 8);
    set(PORT_MAP_A, (uintptr_t)port_map);
    set(PORT_MAP_B, (uintptr_t)port_map + 4096);
    set(MSR_MAP, (uintptr_t)msr_map);
    set(EPT_POINTER, ept_pointer);
    set(LINK_POINTER, UINT64_MAX);
    set(CR4_MASK, CR4_VMXE);
    set(CR4_SHADOW, 0);
}

static void set_up_host(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) gdtr, idtr;
    uint64_t cr0, cr3, cr4;
    __asm__ volatile("mov %%cr0, %0\n mov %%cr3, %1\n mov %%cr4, %2" : "=r"(cr0), "=r"(cr3), "=r"(cr4));
    __asm__ volatile("sgdt %0\n sidt %1" : "=m"(gdtr), "=m"(idtr));
    set(HOST_CR0, cr0);
    set(HOST_CR3, cr3);
    set(HOST_CR4, cr4);
    set(HOST_CS, SELECTOR_CODE);
    set(HOST_SS, SELECTOR_DATA);
    set(HOST_DS, SELECTOR_DATA);
    set(HOST_ES, SELECTOR_DATA);
    set(HOST_TR, SELECTOR_TASK);
    set(HOST_GDTR_BASE, gdtr.base);
    set(HOST_IDTR_BASE, idtr.base);
    set(HOST_EFER, read_msr(MSR_EFER));
    set(HOST_RIP, (uintptr_t)vmx_exit);
}

/* All segments are flat. */
static void set_up_segments(uint64_t gdt)
{
    for (unsigned i = 0; i < SEGMENTS; i++) {
        set(GUEST_ES + 2 * i, BOOT_GDT_DATA);
        set(GUEST_ES_LIMIT + 2 * i, UINT32_MAX);
        set(GUEST_ES_RIGHTS + 2 * i, RIGHTS_DATA);
    }
    set(GUEST_CS, BOOT_GDT_CODE);
    set(GUEST_ES_RIGHTS + GUEST_CS - GUEST_ES, RIGHTS_CODE);
    set(GUEST_ES_RIGHTS + GUEST_LDTR - GUEST_ES, RIGHTS_NONE);
    set(GUEST_ES_RIGHTS + GUEST_TR - GUEST_ES, RIGHTS_TASK);
    set(GUEST_ES_LIMIT + GUEST_TR - GUEST_ES, 0xffff);
    set(GUEST_GDTR_BASE, gdt);
    set(GUEST_GDTR_LIMIT, BOOT_GDT_BYTES - 1);
    set(GUEST_IDTR_LIMIT, 0);
}

static void vmx_set_up(const struct aspace_registers *tables, uint64_t gdt, uint64_t entry)
{
    (void)entry;
    uint64_t at = (uintptr_t)vmcs;
    uint8_t failed;
    __asm__ volatile("vmclear %1\n vmptrld %1\n setna %0" : "=r"(failed) : "m"(at) : "cc", "memory");
    if (failed)
        fail("the VMCS is refused");
    set_up_controls(tables->base);
    set_up_host();
    set_up_segments(gdt);
    set(GUEST_CR0, CR0_PE | CR0_ET | CR0_NE);
    set(GUEST_CR4, CR4_VMXE);
    set(GUEST_DR7, 0x400);
    set(GUEST_RFLAGS, RFLAGS_ONE);
}

/* ---- exits ---- */

/* 28.2.4: an event whose delivery an exit got in the way of is lost, unless it is delivered again. An instruction that
 * raises one is executed again. */
static void deliver(uint32_t event)
{
    uint32_t lost = (uint32_t)get(VECTORING_EVENT);
    if (event) {
        set(ENTRY_ERROR_CODE, 0);
    } else if (launched && lost & EVENT_VALID && (lost & EVENT_TYPE) < TYPE_SOFT_INTERRUPT) {
        event = lost & (EVENT_VALID | EVENT_ERROR_CODE | EVENT_TYPE | 0xff);
        set(ENTRY_ERROR_CODE, get(VECTORING_ERROR_CODE));
    }
    set(ENTRY_EVENT, event);
}

static void read_port(struct exit *exit)
{
    exit->kind = EXIT_PORT;
    exit->write = !(exit->info & PORT_IN);
    exit->bytes = exit->info & PORT_STRING ? 0 : (unsigned)(exit->info & PORT_SIZE) + 1;
}

/* Bits 2:0 say what was tried, and are those of ASPACE_R, _W and _X. */
static void read_fault(struct exit *exit)
{
    exit->kind = EXIT_FAULT;
    exit->va = get(GUEST_PHYSICAL);
    exit->access = exit->info & ASPACE_X ? ASPACE_X : exit->info & ASPACE_W ? ASPACE_W : ASPACE_R;
}

static enum exit_kind undefined(uint64_t reason)
{
    bool of_vmx = reason >= REASON_VMCALL && reason <= REASON_VMXON;
    return of_vmx || reason == REASON_INVEPT || reason == REASON_INVVPID || reason == REASON_MWAIT ||
                   reason == REASON_MONITOR
               ? EXIT_UNDEFINED
               : EXIT_OTHER;
}

static void read_exit(struct exit *exit)
{
    *exit = (struct exit){.code = get(EXIT_REASON), .info = get(QUALIFICATION)};
    exit->length = (unsigned)get(INSTRUCTION_LENGTH);
    switch (exit->code) {
    case REASON_EPT_VIOLATION: read_fault(exit); break;
    case REASON_PORT: read_port(exit); break;
    case REASON_CPUID: exit->kind = EXIT_CPUID; break;
    case REASON_RDMSR: exit->kind = EXIT_MSR; break;
    case REASON_WRMSR:
        exit->kind = EXIT_MSR;
        exit->write = true;
        break;
    case REASON_HLT: exit->kind = EXIT_HLT; break;
    case REASON_XSETBV: exit->kind = EXIT_XSETBV; break;
    case REASON_TRIPLE_FAULT: exit->kind = EXIT_RESET; break;
    default: exit->kind = undefined(exit->code); break;
    }
}

static void flush_all(void)
{
    const uint64_t nothing[2] = {0};
    __asm__ volatile("invept %0, %1" : : "m"(nothing), "r"((uint64_t)INVEPT_ALL) : "cc", "memory");
}

static void vmx_run(struct vcpu_state *vcpu, struct exit *exit)
{
    deliver(vcpu->event);
    vcpu->event = 0;
    if (get(GUEST_RIP) != vcpu->rip) /* an instruction was emulated: the shadow of the one before it ends */
        set(GUEST_INTERRUPTIBILITY, get(GUEST_INTERRUPTIBILITY) & ~(uint64_t)BLOCKED_BY_STI_OR_SS);
    set(GUEST_RIP, vcpu->rip);
    set(GUEST_EFER, vcpu->efer);
    if (entry_begin())
        flush_all();
    if (vmx_switch(vcpu, launched))
        fail("VM entry is refused: error %lu", get(INSTRUCTION_ERROR));
    entry_end();
    launched = 1;
    vcpu->rip = get(GUEST_RIP);
    vcpu->rflags = get(GUEST_RFLAGS);
    vcpu->cr3 = get(GUEST_CR3);
    vcpu->cr4 = get(GUEST_CR4);
    vcpu->efer = get(GUEST_EFER);
    read_exit(exit);
}

const struct virt vmx = {
    .name = "VMX",
    .format = {ASPACE_FMT_X86_EPT4, ASPACE_FMT_X86_EPT4},
    .here = vmx_here,
    .cpu_init = vmx_cpu_init,
    .set_up = vmx_set_up,
    .run = vmx_run,
};
