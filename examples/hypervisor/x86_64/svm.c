/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns AMD's extension: the VMCB, the entry to the guest, and what its exits mean. Sections are those of the AMD64
 * Architecture Programmer's Manual, volume 2. Registers that VMRUN does not exchange (FS and GS, SYSCALL's, the FPU's)
 * are not used in root mode, and stay the guest's.
 */
#include <stddef.h>

#include "leave_out.h"
#include "x86_64.h"

enum { CPUID_EXTENDED = 0x80000001, CPUID_SVM = 0x8000000a, ECX_SVM = 1 << 2, EDX_NESTED_PAGING = 1 << 0 };
#define MSR_VM_CR 0xc0010114
#define MSR_VM_HSAVE 0xc0010117
enum { VM_CR_SVMDIS = 1 << 4 };

/* 15.13: what comes to us. */
#define INTERCEPT_NMI (UINT32_C(1) << 1)
#define INTERCEPT_CPUID (UINT32_C(1) << 18)
#define INTERCEPT_HLT (UINT32_C(1) << 24)
#define INTERCEPT_PORTS (UINT32_C(1) << 27)
#define INTERCEPT_MSRS (UINT32_C(1) << 28)
#define INTERCEPT_SHUTDOWN (UINT32_C(1) << 31)
/* VMRUN, VMMCALL, VMLOAD, VMSAVE, STGI, CLGI, SKINIT; ICEBP; MONITOR, MWAIT */
enum { INTERCEPT_SVM = 0x7f, INTERCEPT_ICEBP = 1 << 8, INTERCEPT_MWAIT = 7 << 10 };

/* Appendix C: why it came. */
enum {
    CODE_NMI = 0x61,
    CODE_CPUID = 0x72,
    CODE_HLT = 0x78,
    CODE_PORT = 0x7b,
    CODE_MSR = 0x7c,
    CODE_SHUTDOWN = 0x7f,
    CODE_SVM = 0x80, /* VMRUN and those after it */
    CODE_ICEBP = 0x88,
    CODE_MWAIT_LAST = 0x8c,
    CODE_NESTED_FAULT = 0x400
};

enum { FAULT_WRITE = 1 << 1, FAULT_FETCH = 1 << 4 };                            /* 15.25.6 */
enum { PORT_IN = 1 << 0, PORT_STRING = 3 << 2, PORT_SIZE = 4, PORT_SIZES = 7 }; /* 15.10.2 */
enum { TLB_NOTHING = 0, TLB_EVERYTHING = 1 };                                   /* 15.16.2 */
enum { NESTED_PAGING = 1 };
enum { TYPE_SOFT_INTERRUPT = 4 << 8, VECTOR = 0xff, VECTOR_BREAKPOINT = 3, VECTOR_OVERFLOW = 4 };
enum { SEGMENT_CODE32 = 0xc9b, SEGMENT_DATA = 0xc93, SEGMENT_TASK = 0x8b, SEGMENT_LDT = 0x82 };
enum { SEGMENT_CODE16 = 0x9b, SEGMENT_DATA16 = 0x93 };
#define PAT_RESET UINT64_C(0x0007040600070406)

struct segment {
    uint16_t selector, attributes;
    uint32_t limit;
    uint64_t base;
};

/* Appendix B, what is used of it. */
struct vmcb {
    uint32_t intercepts[5];
    uint8_t unused1[0x40 - 0x14];
    uint64_t port_map, msr_map, tsc_offset;
    uint32_t asid, tlb_control;
    uint64_t interrupt_control, interrupt_shadow;
    uint64_t exit_code, exit_info1, exit_info2, exit_event;
    uint64_t nested_control;
    uint8_t unused2[0xa8 - 0x98];
    uint64_t event, nested_cr3;
    uint8_t unused3[0x400 - 0xb8];
    struct segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
    uint8_t unused4[0x4d0 - 0x4a0];
    uint64_t efer;
    uint8_t unused5[0x548 - 0x4d8];
    uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
    uint8_t unused6[0x5d8 - 0x580];
    uint64_t rsp;
    uint8_t unused7[0x5f8 - 0x5e0];
    uint64_t rax;
    uint8_t unused8[0x668 - 0x600];
    uint64_t pat;
    uint8_t unused9[0x1000 - 0x670];
};
_Static_assert(sizeof(struct vmcb) == 4096, "a page");
_Static_assert(offsetof(struct vmcb, exit_code) == 0x70 && offsetof(struct vmcb, nested_cr3) == 0xb0, "control area");
_Static_assert(offsetof(struct vmcb, efer) == 0x4d0 && offsetof(struct vmcb, rip) == 0x578, "save area");
_Static_assert(offsetof(struct vmcb, rax) == 0x5f8 && offsetof(struct vmcb, pat) == 0x668, "save area");

static _Alignas(4096) struct vmcb vmcbs[HYP_CPUS_MAX];
static _Alignas(4096) uint8_t host_save[HYP_CPUS_MAX][4096];
static _Alignas(4096) uint8_t port_map[3 * 4096], msr_map[2 * 4096];

void svm_switch(struct vcpu_state *vcpu, uint64_t vmcb_pa);

static bool svm_here(void)
{
    if (cpuid(0x80000000, 0).eax < CPUID_SVM || !(cpuid(CPUID_EXTENDED, 0).ecx & ECX_SVM))
        return false;
    return cpuid(CPUID_SVM, 0).edx & EDX_NESTED_PAGING && !(read_msr(MSR_VM_CR) & VM_CR_SVMDIS);
}

/* 15.11: two bits an MSR, 2 KiB for each of three ranges. */
static void watch_msr(uint32_t msr)
{
    uint32_t range = msr >= 0xc0010000 ? 0x1000 : msr >= 0xc0000000 ? 0x800 : 0;
    msr_map[range + (msr & 0x1fff) / 4] |= (uint8_t)(3u << 2 * (msr & 3));
}

/* The same for all vCPUs. */
static void set_up_maps(void)
{
    for (unsigned i = 0; i < watched_msr_count; i++)
        watch_msr(watched_msrs[i]);
    for (unsigned port = PORT_PCI; port <= PORT_PCI_END; port++)
        port_map[port / 8] |= (uint8_t)(1u << port % 8);
}

static void svm_cpu_init(void)
{
    write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_SVME);
    if (aspace_cpu_id() == 0)
        set_up_maps();
    write_msr(MSR_VM_HSAVE, (uintptr_t)host_save[aspace_cpu_id()]);
}

static void set_up_flat(struct vmcb *vmcb, uint64_t gdt)
{
    const struct segment data = {BOOT_GDT_DATA, SEGMENT_DATA, UINT32_MAX, 0};
    vmcb->cs = (struct segment){BOOT_GDT_CODE, SEGMENT_CODE32, UINT32_MAX, 0};
    vmcb->ds = vmcb->es = vmcb->ss = vmcb->fs = vmcb->gs = data;
    vmcb->tr = (struct segment){0, SEGMENT_TASK, 0xffff, 0};
    vmcb->ldtr = (struct segment){0, SEGMENT_LDT, 0xffff, 0};
    vmcb->gdtr = (struct segment){0, 0, BOOT_GDT_BYTES - 1, gdt};
    vmcb->idtr = (struct segment){0, 0, 0, 0};
}

/* 14.1.3, 15.27.8: as after INIT, but for the place that the start-up interrupt names. */
static void set_up_real(struct vmcb *vmcb, uint64_t entry)
{
    const struct segment data = {0, SEGMENT_DATA16, 0xffff, 0};
    vmcb->cs = (struct segment){(uint16_t)(entry >> 4), SEGMENT_CODE16, 0xffff, entry};
    vmcb->ds = vmcb->es = vmcb->ss = vmcb->fs = vmcb->gs = data;
    vmcb->tr = (struct segment){0, SEGMENT_TASK, 0xffff, 0};
    vmcb->ldtr = (struct segment){0, SEGMENT_LDT, 0xffff, 0};
    vmcb->gdtr = vmcb->idtr = (struct segment){0, 0, 0xffff, 0};
}

static void svm_set_up(const struct aspace_registers *tables, uint64_t gdt, uint64_t entry)
{
    struct vmcb *vmcb = &vmcbs[aspace_cpu_id()];
    *vmcb = (struct vmcb){0};
    vmcb->intercepts[3] =
        INTERCEPT_NMI | INTERCEPT_CPUID | INTERCEPT_HLT | INTERCEPT_PORTS | INTERCEPT_MSRS | INTERCEPT_SHUTDOWN;
    vmcb->intercepts[4] = INTERCEPT_SVM | INTERCEPT_ICEBP | INTERCEPT_MWAIT;
    vmcb->asid = 1;
    vmcb->nested_control = NESTED_PAGING;
    vmcb->nested_cr3 = tables->base;
    vmcb->cr0 = gdt ? CR0_PE | CR0_ET : CR0_ET;
    vmcb->dr6 = 0xffff0ff0;
    vmcb->dr7 = 0x400;
    vmcb->pat = PAT_RESET;
    vmcb->rflags = RFLAGS_ONE;
    vmcb->port_map = (uintptr_t)port_map;
    vmcb->msr_map = (uintptr_t)msr_map;
    if (gdt)
        set_up_flat(vmcb, gdt);
    else
        set_up_real(vmcb, entry);
    __asm__ volatile("vmload %0" : : "a"((uintptr_t)vmcb) : "memory");
}

/* 15.7.2: an event whose delivery an exit got in the way of is lost, unless it is delivered again. An instruction that
 * raises one is executed again. QEMU calls interrupts exceptions, whose vectors are smaller. */
static uint64_t interrupted_event(const struct vmcb *vmcb)
{
    uint64_t event = vmcb->exit_event, vector = event & VECTOR, type = event & EVENT_TYPE;
    bool soft = type == TYPE_SOFT_INTERRUPT ||
                (type == EVENT_EXCEPTION && (vector == VECTOR_BREAKPOINT || vector == VECTOR_OVERFLOW));
    if (type == EVENT_EXCEPTION && vector >= VECTORS_RESERVED)
        event &= ~(uint64_t)EVENT_TYPE;
    return event & EVENT_VALID && !soft ? event : 0;
}

static uint32_t fault_access(uint64_t info)
{
    return info & FAULT_FETCH ? ASPACE_X : info & FAULT_WRITE ? ASPACE_W : ASPACE_R;
}

static void read_fault(const struct vmcb *vmcb, struct exit *exit)
{
    exit->kind = EXIT_FAULT;
    exit->va = vmcb->exit_info2;
    exit->access = fault_access(vmcb->exit_info1);
}

static void read_port(const struct vmcb *vmcb, struct exit *exit)
{
    exit->kind = EXIT_PORT;
    exit->write = !(vmcb->exit_info1 & PORT_IN);
    exit->bytes = vmcb->exit_info1 & PORT_STRING ? 0 : vmcb->exit_info1 >> PORT_SIZE & PORT_SIZES;
    exit->length = (unsigned)(vmcb->exit_info2 - vmcb->rip);
}

/* Lengths: nobody puts a prefix before these. */
static void read_exit(const struct vmcb *vmcb, struct exit *exit)
{
    *exit = (struct exit){.kind = EXIT_OTHER, .code = vmcb->exit_code, .info = vmcb->exit_info1};
    switch (vmcb->exit_code) {
    case CODE_NESTED_FAULT: read_fault(vmcb, exit); break;
    case CODE_PORT: read_port(vmcb, exit); break;
    case CODE_CPUID:
        exit->kind = EXIT_CPUID;
        exit->length = 2;
        break;
    case CODE_MSR:
        exit->kind = EXIT_MSR;
        exit->write = vmcb->exit_info1 & 1;
        exit->length = 2;
        break;
    case CODE_HLT:
        exit->kind = EXIT_HLT;
        exit->length = 1;
        break;
    case CODE_NMI: exit->kind = EXIT_NOTHING; break;
    case CODE_SHUTDOWN: exit->kind = EXIT_RESET; break;
    case CODE_ICEBP: exit->kind = EXIT_STALE; break;
    default:
        if (vmcb->exit_code >= CODE_SVM && vmcb->exit_code <= CODE_MWAIT_LAST)
            exit->kind = EXIT_UNDEFINED;
        break;
    }
}

static void svm_run(struct vcpu_state *vcpu, struct exit *exit)
{
    struct vmcb *vmcb = &vmcbs[aspace_cpu_id()];
    vmcb->rax = vcpu->r[RAX];
    if (vmcb->rip != vcpu->rip) /* an instruction was emulated: the shadow of the one before it ends */
        vmcb->interrupt_shadow = 0;
    vmcb->rip = vcpu->rip;
    vmcb->efer = vcpu->efer | EFER_SVME;
    vmcb->event = vcpu->event ? vcpu->event : vmcb->event;
    vcpu->event = 0;
    __asm__ volatile("clgi" ::: "memory");
    if (!(vmcb->event & EVENT_VALID) && apic_nmi_taken())
        vmcb->event = EVENT_VALID | EVENT_NMI | VECTOR_NMI;
    vmcb->tlb_control = entry_begin() ? TLB_EVERYTHING : TLB_NOTHING;
    svm_switch(vcpu, (uintptr_t)vmcb);
    entry_end();
    vcpu->r[RAX] = vmcb->rax;
    vcpu->rip = vmcb->rip;
    vcpu->rflags = vmcb->rflags;
    vcpu->cr3 = vmcb->cr3;
    vcpu->cr4 = vmcb->cr4;
    vcpu->efer = vmcb->efer & ~(uint64_t)EFER_SVME;
    vmcb->event = interrupted_event(vmcb);
    read_exit(vmcb, exit);
}

const struct virt svm = {
    .name = "SVM",
    .format = {ASPACE_FMT_X86_NPT4, ASPACE_FMT_X86_NPT5},
    .features = ASPACE_FEAT_NX,
    .here = svm_here,
    .cpu_init = svm_cpu_init,
    .set_up = svm_set_up,
    .run = svm_run,
};
