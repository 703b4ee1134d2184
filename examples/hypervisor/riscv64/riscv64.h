/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the riscv64 part offer to each other. */
#ifndef HYP_RISCV64_H
#define HYP_RISCV64_H

#include "../hyp.h"

#define READ_CSR(csr)                                                                                                  \
    __extension__({                                                                                                    \
        uint64_t value_;                                                                                               \
        __asm__ volatile("csrr %0, " csr : "=r"(value_));                                                              \
        value_;                                                                                                        \
    })
#define WRITE_CSR(csr, value) __asm__ volatile("csrw " csr ", %0" : : "r"((uint64_t)(value)) : "memory")
#define SET_CSR(csr, bits) __asm__ volatile("csrs " csr ", %0" : : "r"((uint64_t)(bits)) : "memory")
#define CLEAR_CSR(csr, bits) __asm__ volatile("csrc " csr ", %0" : : "r"((uint64_t)(bits)) : "memory")

/* By number: not every assembler knows the hypervisor extension's names. */
#define CSR_HSTATUS "0x600"
#define CSR_HEDELEG "0x602"
#define CSR_HIDELEG "0x603"
#define CSR_HCOUNTEREN "0x606"
#define CSR_HENVCFG "0x60a"
#define CSR_HTIMEDELTA "0x605"
#define CSR_HTVAL "0x643"
#define CSR_HVIP "0x645"
#define CSR_HTINST "0x64a"
#define CSR_HGATP "0x680"
#define CSR_VSSTATUS "0x200"
#define CSR_VSIE "0x204"
#define CSR_VSTIMECMP "0x24d"
#define CSR_VSATP "0x280"

enum { INTERRUPT_SOFT = 1, INTERRUPT_TIMER = 5 }; /* numbers in scause, bits in sie */
enum { HVIP_VSSIP = 1 << 2, HVIP_VSTIP = 1 << 6 };

/* The layout is entry.S's: x[0] is unused. */
struct vcpu_regs {
    uint64_t x[32];
};
enum { A0 = 10, A1, A2, A3, A4, A5, A6, A7 };

/* Poison is "HFENCE.GVMA x0, x0" twice, which comes to HS mode as a virtual-instruction exception. As an entry of a
 * page table it has reserved bits set, which is a page fault. */
#define POISON_HFENCE UINT64_C(0x62000073)

_Noreturn void guest_enter(const struct vcpu_regs *regs);
extern char boot[];
extern uint64_t boot_hart;

/* ---- sbi.c ---- */
struct sbi_result {
    int64_t error;
    uint64_t value;
};
struct sbi_result sbi_call(uint64_t extension, uint64_t function, const uint64_t args[5]);
void sbi_handle(struct vcpu_regs *regs); /* the guest's call */
uint64_t sbi_harts(uint64_t cpus);       /* a set of CPUs as a set of harts */
void timer_stop(void);
bool ipi_take(void); /* has another vCPU sent one? */

bool has_sstc(void);

/* ---- mail.c, and what a request asks for: tlb.c ---- */
struct request {
    enum { REQUEST_EVERYTHING, REQUEST_GVMA, REQUEST_VVMA, REQUEST_VVMA_ASID, REQUEST_FENCE_I } kind;
    uint64_t va, end, stride; /* GVMA, VVMA; va == end: everything of the VMID */
    uint64_t id;              /* VMID, or ASID of the current VMID */
};
void request_do(const struct request *request);
void mail_online(void);  /* before this CPU walks the guest's tables ... */
void mail_offline(void); /* ... and after */
void mail_send(uint64_t cpus, const struct request *request);
void mail_serve(void);

#endif
