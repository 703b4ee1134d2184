/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the guest's calls to the firmware (Arm DEN 0022, PSCI): what starts or ends a CPU or the machine is ours,
 * questions are passed on, and whatever else could reach past the guest's memory is not supported. */
#include "aarch64.h"

#define PSCI_CPU_OFF UINT64_C(0x84000002)
#define PSCI_CPU_ON UINT64_C(0xc4000003)
#define PSCI_SYSTEM_OFF UINT64_C(0x84000008)
#define PSCI_SYSTEM_RESET UINT64_C(0x84000009)
#define PSCI_SYSTEM_RESET2 UINT64_C(0xc4000012)
#define PSCI_VERSION UINT64_C(0x84000000)
#define PSCI_AFFINITY_INFO UINT64_C(0xc4000004)
#define PSCI_MIGRATE_INFO_TYPE UINT64_C(0x84000006)
#define PSCI_FEATURES UINT64_C(0x8400000a)
#define SMCCC_VERSION UINT64_C(0x80000000)
#define PSCI_NOT_SUPPORTED ((uint64_t)-1)
#define PSCI_INVALID ((uint64_t)-2)
#define PSCI_ALREADY_ON ((uint64_t)-4)
#define MPIDR_AFFINITY UINT64_C(0xff00ffffff)

static uint64_t firmware(uint64_t function, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t x[8] = {function, a, b, c};
    smc_call(x);
    return x[0];
}

bool arch_cpu_start(unsigned cpu)
{
    return firmware(PSCI_CPU_ON, machine.cpu_id[cpu], (uint64_t)(uintptr_t)cpu_entry, cpu) == 0;
}

void arch_machine_off(void)
{
    (void)firmware(PSCI_SYSTEM_OFF, 0, 0, 0);
    arch_cpu_park();
}

void arch_cpu_park(void)
{
    (void)firmware(PSCI_CPU_OFF, 0, 0, 0);
    for (;;)
        __asm__ volatile("wfi");
}

static uint64_t cpu_on(uint64_t mpidr, uint64_t entry, uint64_t arg)
{
    for (unsigned i = 0; i < hyp_vcpus(); i++)
        if (machine.cpu_id[i] == (mpidr & MPIDR_AFFINITY))
            return hyp_vcpu_start(i, entry, arg) ? 0 : PSCI_ALREADY_ON;
    return PSCI_INVALID;
}

void psci_handle(struct vcpu_regs *regs)
{
    switch (regs->x[0]) {
    case PSCI_CPU_ON: regs->x[0] = cpu_on(regs->x[1], regs->x[2], regs->x[3]); break;
    case PSCI_CPU_OFF: hyp_vcpu_off();
    case PSCI_SYSTEM_OFF: hyp_guest_exit(NULL);
    case PSCI_SYSTEM_RESET:
    case PSCI_SYSTEM_RESET2: hyp_guest_exit("the guest asks for a reset: it has panicked");
    case PSCI_VERSION:
    case PSCI_AFFINITY_INFO:
    case PSCI_MIGRATE_INFO_TYPE:
    case PSCI_FEATURES:
    case SMCCC_VERSION: smc_call(regs->x); break;
    default: regs->x[0] = PSCI_NOT_SUPPORTED;
    }
}
