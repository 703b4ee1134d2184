/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns HS mode: its set-up on a CPU, the entry to VS mode, and the decoding of exits. References: the RISC-V
 * Instruction Set Manual, volume II, chapter "H" (hypervisor extension).
 */
#include <stddef.h>

#include "riscv64.h"

enum { SSTATUS_SPIE = 1 << 5, SSTATUS_SPP = 1 << 8, SSTATUS_FS = 3 << 13, SSTATUS_VS = 3 << 9 };
enum { HSTATUS_SPV = 1 << 7, HSTATUS_SPVP = 1 << 8 };
enum { CAUSE_VS_ECALL = 10, CAUSE_FETCH = 20, CAUSE_LOAD = 21, CAUSE_VIRTUAL = 22, CAUSE_STORE = 23 };
enum { HEDELEG = 0xb1ff & ~(1 << 9), HIDELEG = 1 << 2 | 1 << 6 | 1 << 10 };
enum { HTINST_WALK_READ = 0x3000, HTINST_WALK_WRITE = 0x3020, HTINST_WALK_MASK = 0xffdf };
enum { HENVCFG_CACHE_BLOCKS = 0xf0 };
#define HENVCFG_STCE (UINT64_C(1) << 63)
_Static_assert(offsetof(struct machine, cpu_id) == 24, "entry.S finds a CPU's number there");
#define SCAUSE_INTERRUPT (UINT64_C(1) << 63)

bool has_sstc(void)
{
    return machine.sstc && (READ_CSR(CSR_HENVCFG) & HENVCFG_STCE) != 0;
}

/* Exceptions that are the guest's own go to it: all but calls, and the second stage's faults (HEDELEG has no bits for
 * them). So do the VS interrupts. */
void arch_cpu_init(void)
{
    WRITE_CSR(CSR_HGATP, 0);
    WRITE_CSR(CSR_HEDELEG, HEDELEG);
    WRITE_CSR(CSR_HIDELEG, HIDELEG);
    WRITE_CSR(CSR_HCOUNTEREN, 7);
    WRITE_CSR(CSR_HTIMEDELTA, 0);
    WRITE_CSR(CSR_HVIP, 0);
    SET_CSR(CSR_HENVCFG, HENVCFG_CACHE_BLOCKS | HENVCFG_STCE);
    WRITE_CSR("sie", 1 << INTERRUPT_SOFT | 1 << INTERRUPT_TIMER);
}

void arch_vcpu_enter(const struct aspace_registers *registers, uint64_t entry, uint64_t arg)
{
    if (has_sstc())
        WRITE_CSR(CSR_VSTIMECMP, UINT64_MAX);
    timer_stop();
    WRITE_CSR(CSR_HGATP, registers->base);
    if (READ_CSR(CSR_HGATP) != registers->base)
        fail("this CPU does not know the format: hgatp=0x%lx reads 0x%lx", registers->base, READ_CSR(CSR_HGATP));
    WRITE_CSR(CSR_VSSTATUS, 0);
    WRITE_CSR(CSR_VSIE, 0);
    WRITE_CSR(CSR_VSATP, 0);
    SET_CSR(CSR_HSTATUS, HSTATUS_SPV | HSTATUS_SPVP);
    SET_CSR("sstatus", SSTATUS_SPP | SSTATUS_SPIE | SSTATUS_FS | SSTATUS_VS);
    WRITE_CSR("sepc", entry);
    mail_online();
    guest_enter(&(struct vcpu_regs){.x = {[A0] = aspace_cpu_id(), [A1] = arg}});
}

void arch_vcpu_unload(void)
{
    WRITE_CSR("sie", 0);
    WRITE_CSR(CSR_HGATP, 0);
    mail_offline();
}

void arch_vcpu_kick(unsigned cpu)
{
    const uint64_t args[5] = {sbi_harts(UINT64_C(1) << cpu), 0};
    (void)sbi_call(0x735049, 0, args);
}

/* The access that failed. If it was the CPU's walk of the guest's own tables, that counts, not the instruction. */
static uint32_t fault_access(uint64_t cause)
{
    uint64_t instruction = READ_CSR(CSR_HTINST);
    if ((instruction & HTINST_WALK_MASK) == HTINST_WALK_READ)
        return instruction == HTINST_WALK_WRITE ? ASPACE_W : ASPACE_R;
    return cause == CAUSE_FETCH ? ASPACE_X : cause == CAUSE_STORE ? ASPACE_W : ASPACE_R;
}

static void handle_fault(uint64_t cause)
{
    uint64_t va = READ_CSR(CSR_HTVAL) << 2 | (READ_CSR("stval") & 3);
    if (hyp_guest_fault(va, fault_access(cause)) == HYP_DEVICE)
        hyp_guest_exit("access to a device that cannot be emulated");
}

/* An SBI IPI is either the guest's, for this vCPU, or says that we should look around. */
static void handle_interrupt(uint64_t number)
{
    if (number == INTERRUPT_TIMER) {
        timer_stop();
        SET_CSR(CSR_HVIP, HVIP_VSTIP);
        return;
    }
    CLEAR_CSR("sip", 1 << INTERRUPT_SOFT);
    mail_serve();
    if (ipi_take())
        SET_CSR(CSR_HVIP, HVIP_VSSIP);
    hyp_check_stop();
}

void vcpu_exit(struct vcpu_regs *regs);
void vcpu_exit(struct vcpu_regs *regs)
{
    uint64_t cause = READ_CSR("scause");
    if (cause & SCAUSE_INTERRUPT) {
        handle_interrupt(cause & ~SCAUSE_INTERRUPT);
        return;
    }
    switch (cause) {
    case CAUSE_VS_ECALL:
        WRITE_CSR("sepc", READ_CSR("sepc") + 4);
        sbi_handle(regs);
        break;
    case CAUSE_FETCH:
    case CAUSE_LOAD:
    case CAUSE_STORE: handle_fault(cause); break;
    case CAUSE_VIRTUAL:
        if (READ_CSR("stval") == POISON_HFENCE)
            hyp_guest_is_stale(READ_CSR("sepc"));
        /* fall through */
    default: fail("exit with scause=0x%lx at 0x%lx, stval=0x%lx", cause, READ_CSR("sepc"), READ_CSR("stval"));
    }
}

_Noreturn void vcpu_own_trap(uint64_t cause, uint64_t epc, uint64_t tval);
void vcpu_own_trap(uint64_t cause, uint64_t epc, uint64_t tval)
{
    fail("trap in the hypervisor: scause=0x%lx sepc=0x%lx stval=0x%lx", cause, epc, tval);
}

void hyp_assert_fail(const char *expr, const char *file, int line)
{
    fail("%s:%u: %s is not true", file, (unsigned)line, expr);
}
