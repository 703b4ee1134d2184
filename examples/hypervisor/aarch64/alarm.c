/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns sleep on a CPU that runs no guest: EL2's own timer wakes it from WFI. The distributor is the guest's, but the
 * redistributor and the CPU interface of such a CPU are ours (Arm IHI 0069 12.9, 12.11). With a GICv2, whose
 * enables of private interrupts are the guest's too, it spins.
 */
#include "aarch64.h"

enum { GICD_CTLR = 0, GICD_CTLR_GROUP1 = 1 << 1, GICD_CTLR_ARE = 1 << 4 };
enum { GICR_TYPER = 0x8, GICR_TYPER_LAST = 1 << 4, GICR_WAKER = 0x14, GICR_ASLEEP = 1 << 2, GICR_BYTES = 0x20000 };
enum { GICR_IGROUPR = 0x10080, GICR_ISENABLER = 0x10100, GICR_IPRIORITYR = 0x10400 };
enum { TIMER = 26, TIMER_ENABLE = 1 };

static bool ready[HYP_CPUS_MAX];

static volatile uint32_t *reg32(uint64_t pa)
{
    return (volatile uint32_t *)(uintptr_t)pa;
}

/* The affinity is in the upper half of the type register, packed; in MPIDR Aff3 stands alone. */
static uint64_t redistributor(void)
{
    uint64_t mpidr = READ_SYSREG("mpidr_el1");
    uint32_t affinity = (uint32_t)((mpidr & 0xffffff) | (mpidr >> 32 & 0xff) << 24);
    for (uint64_t at = machine.gic_redistributor;; at += GICR_BYTES) {
        if (*reg32(at + GICR_TYPER + 4) == affinity)
            return at;
        if (*reg32(at + GICR_TYPER) & GICR_TYPER_LAST)
            return 0;
    }
}

/* The guest switches the distributor off for a moment when it boots; the alarm then comes later. */
static bool prepare(void)
{
    uint64_t gicr = machine.gic_v2 || !machine.gic_redistributor ? 0 : redistributor();
    if (!gicr)
        return false;
    *reg32(gicr + GICR_WAKER) = 0;
    while (*reg32(gicr + GICR_WAKER) & GICR_ASLEEP)
        ;
    *reg32(gicr + GICR_IGROUPR) |= UINT32_C(1) << TIMER;
    *(volatile uint8_t *)(uintptr_t)(gicr + GICR_IPRIORITYR + TIMER) = 0;
    *reg32(gicr + GICR_ISENABLER) = UINT32_C(1) << TIMER;
    *reg32(machine.gic_distributor + GICD_CTLR) |= GICD_CTLR_GROUP1 | GICD_CTLR_ARE;
    WRITE_SYSREG("S3_0_C12_C12_5", READ_SYSREG("S3_0_C12_C12_5") | 1); /* ICC_SRE_EL1: system registers */
    ISB();
    WRITE_SYSREG("S3_0_C4_C6_0", 0xff); /* ICC_PMR_EL1: any priority */
    WRITE_SYSREG("S3_0_C12_C12_7", 1);  /* ICC_IGRPEN1_EL1 */
    ISB();
    return true;
}

/* The interrupt controller of a CPU that runs the guest is the guest's. */
void arch_yield(uint64_t us)
{
    if (aspace_cpu_id() >= hyp_vcpus())
        arch_sleep(us * arch_ticks_hz() / 1000000);
}

/* Interrupts stay masked: a pending one ends WFI all the same, and is gone when the timer is off. */
void arch_sleep(uint64_t ticks)
{
    uint64_t end = arch_ticks() + ticks;
    bool *alarm = &ready[aspace_cpu_id()];
    if (!*alarm)
        *alarm = prepare();
    if (*alarm) {
        WRITE_SYSREG("cnthp_cval_el2", end);
        WRITE_SYSREG("cnthp_ctl_el2", TIMER_ENABLE);
        ISB();
    }
    while (arch_ticks() < end)
        if (*alarm)
            __asm__ volatile("wfi" ::: "memory");
        else
            aspace_pause();
    WRITE_SYSREG("cnthp_ctl_el2", 0);
}
