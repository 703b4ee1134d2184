/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the vCPU: which extension runs it, and what comes of its exits. The guest has the interrupt controller, the
 * timer, the UART and nearly all MSRs to itself. References: AMD APM volumes 2 and 3, Intel SDM volumes 2 and 3.
 */
#include "x86_64.h"

enum { CPUID_FEATURES = 1, CPUID_STRUCTURED = 7, CPUID_EXTENDED = 0x80000001, CPUID_SVM = 0x8000000a };
enum {
    ECX_MONITOR = 1 << 3,
    ECX_VMX = 1 << 5,
    ECX_X2APIC = 1 << 21,
    ECX_TSC_DEADLINE = 1 << 24,
    ECX_OSXSAVE = 1 << 27
};
enum { EDX_APIC = 1 << 9, EDX_HTT = 1 << 28, ECX_EXT_SVM = 1 << 2, ECX_EXT_MWAITX = 1 << 29, ECX_OSPKE = 1 << 4 };
enum { CR4_PKE = 1 << 22 };
enum { MSR_FEATURE_CONTROL = 0x3a, FEATURE_CONTROL_LOCKED = 1 };
enum { EFER_SCE = 1, EFER_FFXSR = 1 << 14 };
enum { EFER_KNOWN = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_FFXSR };
enum { CPUID_XSTATE = 0xd, XCR0_X87 = 1, XCR0_SSE = 2, XCR0_AVX = 4 };
enum { UNDEFINED_OPCODE = 6, GENERAL_PROTECTION = 13 };
#define MSR_VM_CR 0xc0010114
#define MSR_VM_HSAVE 0xc0010117
#define VM_CR_SVM_DISABLED 0x18 /* SVMDIS, and locked */

const uint32_t watched_msrs[] = {MSR_FEATURE_CONTROL, MSR_EFER, MSR_VM_CR, MSR_VM_HSAVE};
const unsigned watched_msr_count = sizeof watched_msrs / sizeof watched_msrs[0];

static const struct virt *virt;
static atomic_uint awake = 1; /* vCPUs that have been started, and not gone off */

void arch_cpu_init(void)
{
    if (aspace_cpu_id() == 0) {
        console_init();
        idt_load();
    }
    const struct virt *here = svm.here() ? &svm : vmx.here() ? &vmx : NULL;
    if (!here)
        fail("this CPU has neither SVM with nested paging nor VMX with EPT and unrestricted guests");
    if (aspace_cpu_id() == 0)
        virt = here;
    here->cpu_init();
    smp_started();
}

void arch_space(struct aspace_config *config)
{
    uint64_t cr4;
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    config->format = virt->format[(cr4 & CR4_LA57) != 0];
    if (options.format != ASPACE_FMT_COUNT && options.format != config->format)
        fail("this CPU, with %s, does not walk the format %s", virt->name, aspace_format_name(options.format));
    config->features = virt->features;
    config->output_bits = cpuid(0x80000008, 0).eax & 0xff;
}

/* ---- what the guest is told of the CPU ---- */

/* No local APIC for a guest with one vCPU; no virtualisation; nothing that waits without HLT. */
static void emulate_cpuid(struct vcpu_state *vcpu)
{
    uint32_t leaf = (uint32_t)vcpu->r[RAX], of_many = hyp_vcpus() > 1 ? 0 : UINT32_MAX;
    struct cpuid c = cpuid(leaf, (uint32_t)vcpu->r[RCX]);
    switch (leaf) {
    case CPUID_FEATURES:
        c.ecx &= ~(uint32_t)(ECX_MONITOR | ECX_VMX | ECX_X2APIC | ECX_TSC_DEADLINE | ECX_OSXSAVE);
        c.ecx |= vcpu->cr4 & CR4_OSXSAVE ? ECX_OSXSAVE : 0;
        c.edx &= ~((EDX_APIC | EDX_HTT) & of_many);
        break;
    case CPUID_STRUCTURED:
        if ((uint32_t)vcpu->r[RCX] != 0)
            break;
        c.ecx &= ~(uint32_t)ECX_OSPKE;
        c.ecx |= vcpu->cr4 & CR4_PKE ? ECX_OSPKE : 0;
        break;
    case CPUID_EXTENDED:
        c.ecx &= ~(uint32_t)(ECX_EXT_SVM | ECX_EXT_MWAITX);
        c.edx &= ~(EDX_APIC & of_many);
        break;
    case CPUID_SVM: c = (struct cpuid){0}; break;
    default: break;
    }
    vcpu->r[RAX] = c.eax;
    vcpu->r[RBX] = c.ebx;
    vcpu->r[RCX] = c.ecx;
    vcpu->r[RDX] = c.edx;
}

/* False where the CPU itself would answer with a general protection. */
static bool read_watched(const struct vcpu_state *vcpu, uint32_t msr, uint64_t *value)
{
    switch (msr) {
    case MSR_EFER: *value = vcpu->efer; return true;
    case MSR_VM_CR: *value = VM_CR_SVM_DISABLED; return true;
    case MSR_FEATURE_CONTROL: *value = FEATURE_CONTROL_LOCKED; return true;
    default: return false;
    }
}

static bool emulate_msr(struct vcpu_state *vcpu, bool write)
{
    uint32_t msr = (uint32_t)vcpu->r[RCX];
    uint64_t value = vcpu->r[RDX] << 32 | (uint32_t)vcpu->r[RAX];
    if (write && msr == MSR_EFER && !(value & ~(uint64_t)EFER_KNOWN))
        vcpu->efer = (value & ~(uint64_t)EFER_LMA) | (vcpu->efer & EFER_LMA);
    else if (write || !read_watched(vcpu, msr, &value))
        return false;
    vcpu->r[RAX] = (uint32_t)value;
    vcpu->r[RDX] = value >> 32;
    return true;
}

/* There is nothing behind the ports that are watched: all ones, and stores are lost. */
static bool emulate_port(struct vcpu_state *vcpu, const struct exit *exit)
{
    if (exit->bytes == 0)
        return false;
    if (exit->write)
        return true;
    uint64_t ones = exit->bytes == 4 ? UINT32_MAX : (UINT64_C(1) << 8 * exit->bytes) - 1;
    vcpu->r[RAX] = exit->bytes == 4 ? ones : vcpu->r[RAX] | ones;
    return true;
}

/* XCR0 is the guest's; what it may hold is checked here, since a general protection would be ours. */
static bool emulate_xsetbv(const struct vcpu_state *vcpu)
{
    uint32_t low = (uint32_t)vcpu->r[RAX], high = (uint32_t)vcpu->r[RDX];
    struct cpuid may = cpuid(CPUID_XSTATE, 0);
    bool avx_without_sse = (low & (XCR0_SSE | XCR0_AVX)) == XCR0_AVX;
    if ((uint32_t)vcpu->r[RCX] != 0 || !(low & XCR0_X87) || avx_without_sse || low & ~may.eax || high & ~may.edx)
        return false;
    __asm__ volatile("xsetbv" : : "a"(low), "d"(high), "c"(0));
    return true;
}

/* ---- exits ---- */

bool vcpu_start(unsigned vcpu, uint64_t entry)
{
    atomic_fetch_add(&awake, 1);
    bool started = hyp_vcpu_start(vcpu, entry, 0);
    if (!started)
        atomic_fetch_sub(&awake, 1);
    return started;
}

void vcpu_off(void)
{
    if (atomic_fetch_sub(&awake, 1) == 1)
        hyp_guest_exit(NULL);
    hyp_vcpu_off();
}

/* The guest waits here, where it is not in the way of invalidations. With its interrupts off it waits for nothing: that
 * is how a vCPU goes off, and how a PC without power management does, when all have. */
static void emulate_halt(struct vcpu_state *vcpu)
{
    if (!(vcpu->rflags & RFLAGS_IF))
        vcpu_off();
    uint32_t vector = wait_for_interrupt(apic_asked());
    if (vector)
        vcpu->event = EVENT_VALID | EVENT_INTERRUPT | vector;
}

static void after(struct vcpu_state *vcpu, const struct exit *exit, bool done)
{
    if (done)
        vcpu->rip += exit->length;
    else
        vcpu->event = EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE | GENERAL_PROTECTION;
}

/* Reads do not come here. */
static bool emulate_apic(struct vcpu_state *vcpu, const struct exit *exit)
{
    struct store store;
    if (hyp_vcpus() == 1 || exit->va - APIC >= APIC_BYTES || exit->access != ASPACE_W || !decode_store(vcpu, &store))
        return false;
    apic_write(exit->va - APIC, store.value);
    vcpu->rip += store.length;
    return true;
}

static void handle_fault(struct vcpu_state *vcpu, const struct exit *exit)
{
    if (!emulate_apic(vcpu, exit) && hyp_guest_fault(exit->va, exit->access) == HYP_DEVICE)
        hyp_guest_exit("access to a device that cannot be emulated");
}

static void handle(struct vcpu_state *vcpu, const struct exit *exit)
{
    hyp_check_stop();
    apic_check_init();
    switch (exit->kind) {
    case EXIT_FAULT: handle_fault(vcpu, exit); break;
    case EXIT_CPUID:
        emulate_cpuid(vcpu);
        after(vcpu, exit, true);
        break;
    case EXIT_MSR: after(vcpu, exit, emulate_msr(vcpu, exit->write)); break;
    case EXIT_PORT: after(vcpu, exit, emulate_port(vcpu, exit)); break;
    case EXIT_XSETBV: after(vcpu, exit, emulate_xsetbv(vcpu)); break;
    case EXIT_HLT:
        emulate_halt(vcpu);
        after(vcpu, exit, true);
        break;
    case EXIT_UNDEFINED: vcpu->event = EVENT_VALID | EVENT_EXCEPTION | UNDEFINED_OPCODE; break;
    case EXIT_NOTHING: break;
    case EXIT_RESET: hyp_guest_exit("the guest asks for a reset: it has panicked"); break;
    case EXIT_STALE: hyp_guest_is_stale(vcpu->rip); break;
    default: fail("exit 0x%lx (0x%lx) at 0x%lx", exit->code, exit->info, vcpu->rip);
    }
}

void arch_vcpu_enter(const struct aspace_registers *registers, uint64_t entry, uint64_t arg)
{
    uint64_t gdt = aspace_cpu_id() == 0 ? arg + BOOT_GDT_AT : 0;
    struct vcpu_state vcpu = {.r = {[RSI] = arg}, .rip = gdt ? entry : 0};
    struct exit exit;
    if (registers->memory_types)
        write_msr(MSR_PAT, registers->memory_types);
    virt->set_up(registers, gdt, entry);
    apic_reset();
    for (;;) {
        virt->run(&vcpu, &exit);
        handle(&vcpu, &exit);
    }
}

/* Outside virt->run no translation of the guest is in use. */
void arch_vcpu_unload(void)
{
}

_Noreturn void vcpu_own_exception(const uint64_t *frame);
void vcpu_own_exception(const uint64_t *frame)
{
    uint64_t cr2;
    __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
    fail("exception %lu in the hypervisor: error 0x%lx at 0x%lx, CR2=0x%lx", frame[0], frame[1], frame[2], cr2);
}

void hyp_assert_fail(const char *expr, const char *file, int line)
{
    fail("%s:%u: %s is not true", file, (unsigned)line, expr);
}
