/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the aarch64 part offer to each other. */
#ifndef HYP_AARCH64_H
#define HYP_AARCH64_H

#include "../hyp.h"

#define READ_SYSREG(name)                                                                                              \
    __extension__({                                                                                                    \
        uint64_t value_;                                                                                               \
        __asm__ volatile("mrs %0, " name : "=r"(value_));                                                              \
        value_;                                                                                                        \
    })
#define WRITE_SYSREG(name, value) __asm__ volatile("msr " name ", %0" : : "r"((uint64_t)(value)) : "memory")
#define ISB() __asm__ volatile("isb" ::: "memory")

/* The layout is entry.S's. */
struct vcpu_regs {
    uint64_t x[31];
    uint64_t unused;
};

/* Poison is "SMC #1" twice, which comes to EL2. As a descriptor it is valid and leads to 0x23d4000000, where no guest
 * has memory: that comes to EL2, too. */
enum { POISON_IMMEDIATE = 1 };
#define POISON_SMC UINT64_C(0xd4000023)

_Noreturn void guest_enter(const struct vcpu_regs *regs);
void smc_call(uint64_t x[8]);
extern char cpu_entry[];

void mmu_on(void); /* EL2's own: identity */
void psci_handle(struct vcpu_regs *regs);
bool rtc_access(struct vcpu_regs *regs, uint64_t va, uint64_t esr);

#endif
