/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the x86-64 part offer to each other. */
#ifndef HYP_X86_64_H
#define HYP_X86_64_H

#include <stdatomic.h>

#include "../hyp.h"
#include "entry.h"

/* ---- instructions ---- */

static inline void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out16(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint64_t read_msr(uint32_t msr)
{
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static inline void write_msr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid r;
    __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
    return r;
}

#define MSR_PAT 0x277

/* ---- board.c ---- */
void console_init(void);

/* ---- interrupt.c ---- */
void idt_load(void);
uint32_t wait_for_interrupt(const atomic_uint *unless); /* its vector; 0 for an NMI, or if the word is not 0 */

/* ---- vcpu.c: one vCPU, and its exits ---- */

/* Numbers of general registers are those of ModRM, and the layout that of svm_switch and vmx_switch. */
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };
struct vcpu_state {
    uint64_t r[16]; /* but for RSP, which the CPU keeps */
    uint64_t rip, rflags, cr3, cr4, efer;
    uint32_t event; /* delivered at the next entry; an error code is 0 */
};

/* Events have the same layout in SVM (APM 2 15.20) and VMX (SDM 25.8.3). */
enum {
    EVENT_INTERRUPT = 0,
    EVENT_NMI = 2 << 8,
    EVENT_EXCEPTION = 3 << 8,
    EVENT_TYPE = 7 << 8,
    EVENT_ERROR_CODE = 1 << 11
};
#define EVENT_VALID (UINT32_C(1) << 31)

enum exit_kind {
    EXIT_FAULT, /* va, access */
    EXIT_CPUID,
    EXIT_MSR,  /* write */
    EXIT_PORT, /* bytes, write; 0 bytes: an instruction that is not emulated */
    EXIT_HLT,
    EXIT_XSETBV,
    EXIT_UNDEFINED, /* an instruction that the guest's CPU does not have */
    EXIT_NOTHING,   /* somebody wants this CPU out of the guest */
    EXIT_RESET,     /* a triple fault */
    EXIT_STALE,     /* an instruction of arch.poison */
    EXIT_OTHER,     /* code, info */
};

struct exit {
    enum exit_kind kind;
    uint32_t access;
    uint64_t va;
    bool write;
    unsigned bytes;
    unsigned length; /* of the instruction, where it is emulated */
    uint64_t code, info;
};

/* What SVM and VMX do each in its own way. */
struct virt {
    const char *name;
    enum aspace_format format[2]; /* where root mode walks four levels, and five */
    uint32_t features;
    bool (*here)(void);     /* does this CPU have it? */
    void (*cpu_init)(void); /* once a CPU */
    /* The guest: 32-bit code with the segments of a GDT, paging off; with GDT 0 16-bit code in a segment at entry. */
    void (*set_up)(const struct aspace_registers *tables, uint64_t gdt, uint64_t entry);
    void (*run)(struct vcpu_state *vcpu, struct exit *exit); /* enter it, until the next exit */
};
extern const struct virt svm, vmx;

/* Ports that come to us, first and last, and MSRs: the rest is the guest's. */
enum { PORT_PCI = 0xcf8, PORT_PCI_END = 0xcff };
extern const uint32_t watched_msrs[];
extern const unsigned watched_msr_count;

_Noreturn void vcpu_off(void);
bool vcpu_start(unsigned vcpu, uint64_t entry); /* in real mode; false if it has been already */

/* ---- tlb.c ---- */
bool entry_begin(void); /* about to enter the guest: must its translations be forgotten first? */
void entry_end(void);

/* ---- smp.c ---- */
#define APIC UINT64_C(0xfee00000)
enum { APIC_ICR_LOW = 0x300, APIC_ICR_HIGH = 0x310, ICR_NMI = 0x4400, ICR_INIT = 0x4500, ICR_START = 0x4600 };
static inline volatile uint32_t *apic(uint64_t reg)
{
    return (volatile uint32_t *)(uintptr_t)(APIC + reg);
}
void smp_started(void); /* this CPU has */
void smp_send(unsigned cpu, uint32_t what);

/* ---- apic.c: what the guest does with the local APICs ---- */
enum { APIC_BYTES = 4096 };
void apic_reset(void);               /* this CPU's has been */
const atomic_uint *apic_asked(void); /* not 0 if another vCPU wants something of this one: */
bool apic_nmi_taken(void);           /* an NMI, once for each */
void apic_check_init(void);          /* to go off; then does not return */
void apic_write(uint64_t reg, uint32_t value);

/* ---- mp.c ---- */
enum { MP_BYTES_MAX = 1024 };
/* For guest address `at`; returns how many bytes it takes. */
size_t mp_write(const struct guest_layout *guest, uint64_t at, void *to);

/* ---- decode.c ---- */
struct store {
    uint32_t value;
    unsigned length; /* of the instruction */
};
bool decode_store(const struct vcpu_state *vcpu,
                  struct store *store); /* false: it is no MOV of 32 bits in 64-bit code */

/* ---- boot.c ---- */
enum { BOOT_GDT_AT = 4096 }; /* in the boot data */
enum { BOOT_GDT_CODE = 0x10, BOOT_GDT_DATA = 0x18, BOOT_GDT_BYTES = 0x20 };

#endif
