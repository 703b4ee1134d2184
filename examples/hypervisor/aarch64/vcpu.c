/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns EL2: its set-up on a CPU, the entry to EL1, and the decoding of exits. The guest has the interrupt controller
 * and the timer to itself. References: Arm Architecture Reference Manual DDI 0487.
 */
#include "aarch64.h"

enum { HCR_VM = 1 << 0, HCR_SWIO = 1 << 1, HCR_TSC = 1 << 19 };
#define HCR_RW (UINT64_C(1) << 31)
#define HCR_APK (UINT64_C(1) << 40)
#define HCR_API (UINT64_C(1) << 41)
#define HCR_ATA (UINT64_C(1) << 56)

enum { EC_HVC64 = 0x16, EC_SMC64 = 0x17, EC_FETCH_ABORT = 0x20, EC_DATA_ABORT = 0x24 };
enum { ESR_S1PTW = 1 << 7, ESR_WNR = 1 << 6, FSC_PERMISSION = 0x0c, FSC_KIND = 0x3c };
enum { SPSR_EL1H_MASKED = 0x3c5 };
#define SCTLR_EL1_OFF UINT64_C(0x30d00800) /* reset value: MMU and caches off, RES1 bits */
#define CPTR_NO_TRAPS UINT64_C(0x22ff)
#define VTCR_RES1 (UINT64_C(1) << 31)

static uint64_t field(uint64_t reg, unsigned low)
{
    return reg >> low & 0xf;
}

static void set_up_interrupts(void)
{
    if (field(READ_SYSREG("id_aa64pfr0_el1"), 24) == 0)
        return;                                                      /* GICv2: nothing at this level */
    WRITE_SYSREG("S3_4_C12_C9_5", READ_SYSREG("S3_4_C12_C9_5") | 9); /* ICC_SRE_EL2: SRE, Enable */
    ISB();
    WRITE_SYSREG("S3_4_C12_C11_0", 0); /* ICH_HCR_EL2 */
}

/* Nothing of the CPU but its memory, SMC and HVC is of interest to us. */
static void stop_traps(void)
{
    WRITE_SYSREG("cptr_el2", CPTR_NO_TRAPS);
    WRITE_SYSREG("hstr_el2", 0);
    if (field(READ_SYSREG("id_aa64dfr0_el1"), 8) != 0)
        WRITE_SYSREG("mdcr_el2", READ_SYSREG("pmcr_el0") >> 11 & 0x1f); /* HPMN: all counters are the guest's */
    else
        WRITE_SYSREG("mdcr_el2", 0);
    if (field(READ_SYSREG("id_aa64pfr0_el1"), 32) != 0)
        WRITE_SYSREG("S3_4_C1_C2_0", 0x1ff); /* ZCR_EL2 */
    WRITE_SYSREG("cnthctl_el2", 3);
    WRITE_SYSREG("cntvoff_el2", 0);
    WRITE_SYSREG("vpidr_el2", READ_SYSREG("midr_el1"));
    WRITE_SYSREG("vmpidr_el2", READ_SYSREG("mpidr_el1"));
}

void arch_cpu_init(void)
{
    mmu_on();
    stop_traps();
    set_up_interrupts();
    WRITE_SYSREG("hcr_el2", HCR_RW);
    ISB();
}

void arch_vcpu_enter(const struct aspace_registers *registers, uint64_t entry, uint64_t arg)
{
    WRITE_SYSREG("vtcr_el2", registers->control | VTCR_RES1);
    WRITE_SYSREG("vttbr_el2", registers->base);
    WRITE_SYSREG("hcr_el2", HCR_RW | HCR_VM | HCR_SWIO | HCR_TSC | HCR_APK | HCR_API | HCR_ATA);
    WRITE_SYSREG("sctlr_el1", SCTLR_EL1_OFF);
    WRITE_SYSREG("elr_el2", entry);
    WRITE_SYSREG("spsr_el2", SPSR_EL1H_MASKED);
    ISB();
    guest_enter(&(struct vcpu_regs){.x = {arg}});
}

void arch_vcpu_unload(void)
{
    WRITE_SYSREG("hcr_el2", HCR_RW);
    WRITE_SYSREG("vttbr_el2", 0);
    ISB();
}

/* The guest-physical address of a fault. HPFAR_EL2 is defined unless it is a permission fault of the access itself
 * (D19.2.65): then the guest's own tables are asked. False if they changed meanwhile. */
static bool fault_address(uint64_t esr, uint64_t *va)
{
    uint64_t far = READ_SYSREG("far_el2");
    if ((esr & FSC_KIND) != FSC_PERMISSION || esr & ESR_S1PTW) {
        *va = (READ_SYSREG("hpfar_el2") >> 4 << 12 & UINT64_C(0xffffffffff000)) | (far & 0xfff);
        return true;
    }
    uint64_t saved = READ_SYSREG("par_el1");
    __asm__ volatile("at s1e1r, %0\n isb" : : "r"(far) : "memory");
    uint64_t par = READ_SYSREG("par_el1");
    WRITE_SYSREG("par_el1", saved);
    *va = (par & UINT64_C(0xffffffffff000)) | (far & 0xfff);
    return (par & 1) == 0;
}

static void handle_abort(struct vcpu_regs *regs, uint64_t esr, bool fetch)
{
    uint64_t va;
    uint32_t access = fetch ? ASPACE_X : esr & ESR_WNR ? ASPACE_W : ASPACE_R;
    if (esr & ESR_S1PTW)
        access = esr & ESR_WNR && !fetch ? ASPACE_RW : ASPACE_R;
    hyp_check_stop();
    if (!fault_address(esr, &va) || hyp_guest_fault(va, access) == HYP_RESUME)
        return;
    if (!rtc_access(regs, va, esr))
        hyp_guest_exit("access to a device that cannot be emulated");
    WRITE_SYSREG("elr_el2", READ_SYSREG("elr_el2") + 4);
}

void vcpu_exit(struct vcpu_regs *regs);
void vcpu_exit(struct vcpu_regs *regs)
{
    uint64_t esr = READ_SYSREG("esr_el2");
    switch (esr >> 26 & 0x3f) {
    case EC_FETCH_ABORT: handle_abort(regs, esr, true); break;
    case EC_DATA_ABORT: handle_abort(regs, esr, false); break;
    case EC_SMC64:
        if ((esr & 0xffff) == POISON_IMMEDIATE)
            hyp_guest_is_stale(READ_SYSREG("elr_el2"));
        WRITE_SYSREG("elr_el2", READ_SYSREG("elr_el2") + 4); /* a trapped SMC has not been executed */
        psci_handle(regs);
        break;
    case EC_HVC64:
        regs->x[0] = UINT64_MAX; /* NOT_SUPPORTED: the device tree says SMC */
        break;
    default: fail("exit with ESR_EL2=0x%lx at 0x%lx", esr, READ_SYSREG("elr_el2"));
    }
}

_Noreturn void vcpu_own_fault(uint64_t esr, uint64_t elr, uint64_t far);
void vcpu_own_fault(uint64_t esr, uint64_t elr, uint64_t far)
{
    fail("exception in the hypervisor: ESR_EL2=0x%lx ELR_EL2=0x%lx FAR_EL2=0x%lx", esr, elr, far);
}

void hyp_assert_fail(const char *expr, const char *file, int line)
{
    fail("%s:%u: %s is not true", file, (unsigned)line, expr);
}
