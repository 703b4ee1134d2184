/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an architecture provides (below "the architecture's part") and what it may call in the shared part. Everything
 * runs untranslated or identity-mapped at the hypervisor's level, one stack a CPU, interrupts off. CPUs are numbered
 * from 0, the one that booted; a vCPU is the CPU of the same number.
 */
#ifndef HYP_VCPU_H
#define HYP_VCPU_H

#include <aspace/aspace.h>

#include "fdt.h"

enum { HYP_CPUS_MAX = 8, HYP_STACK_BYTES = 16384 };
enum { HYP_TEXT_BYTES = 2048 };
enum { HYP_FENCES_MAX = 64 }; /* more addresses than that, and the whole VMID is invalidated */

/* What the host's device tree says; read once, before the memory it lies in is given away. */
struct machine {
    uint64_t ram, ram_bytes;
    unsigned cpus;
    uint64_t cpu_id[HYP_CPUS_MAX]; /* MPIDR or hart id of CPU n */
    uint64_t initrd, initrd_end;   /* 0 if /chosen has none */
    uint64_t timebase_hz;          /* 0 if the device tree does not say */
    uint64_t gic_distributor, gic_redistributor;
    bool gic_v2;
    bool sstc;
    char bootargs[HYP_TEXT_BYTES];
};
extern struct machine machine;

/* Where things are in the guest's physical memory. */
struct guest_layout {
    uint64_t ram, ram_bytes;
    uint64_t kernel;
    uint64_t initrd, initrd_bytes;
    uint64_t dtb;
    unsigned cpus;
    const char *command_line;
};

/* ------------------------------------------------------------------------------------------ the architecture's part */

struct guest_device {
    uint64_t va, bytes;    /* mapped to the same host address */
    enum aspace_kind kind; /* LINEAR, or TRAP: accesses end with HYP_DEVICE */
    uint32_t attr;
};

struct arch {
    const char *name;
    uint32_t image_magic;      /* at byte 56 of a Linux Image */
    uint64_t guest_ram;        /* where the guest's RAM begins */
    enum aspace_format format; /* unless aspace.format says otherwise */
    uint64_t poison;           /* eight bytes that are no use to a guest that fetches, follows or reads them */
    const struct guest_device *devices;
    size_t device_count;
};
extern const struct arch arch;
const char *arch_left_out(void); /* the TLB invalidation that this build leaves out, "" if none */

void arch_console_put(char c);
uint64_t arch_ticks(void);
uint64_t arch_ticks_hz(void);

/* On a CPU that runs no guest: sleep so long, as far as the hardware has an alarm for it, and spin otherwise. */
void arch_sleep(uint64_t ticks);

/* On any CPU that waits for another: let that one have the host's processor for about so long, if there is a way. */
void arch_yield(uint64_t us);
unsigned arch_output_bits(void); /* width of host-physical addresses, 0 if the CPU does not say */

/* Adds the architecture's members to the HAL: TLB and caches. */
void arch_hal(struct aspace_hal *hal);
void arch_report_flushes(void); /* one line: how many of each kind of invalidation there were */

/* Write the guest's device tree. `host` is the machine's own. */
size_t arch_guest_fdt(const void *host, const struct guest_layout *guest, void *blob, size_t capacity);

/* Once on every CPU, before anything else there. */
void arch_cpu_init(void);

/* Start CPU n at the hypervisor's level, in hyp_cpu_main. False if the firmware refuses. */
bool arch_cpu_start(unsigned cpu);
_Noreturn void arch_cpu_park(void);
_Noreturn void arch_machine_off(void);

/* Load the space's registers and enter the guest. arg is what Linux expects there: the address of the device tree on
 * the first vCPU, on the others what the guest asked for. The space is active on this CPU. */
_Noreturn void arch_vcpu_enter(const struct aspace_registers *registers, uint64_t entry, uint64_t arg);

/* Stop walking the space on this CPU, so that it may be deactivated. */
void arch_vcpu_unload(void);

/* Make CPU n enter the hypervisor soon. Guest RAM may be unreachable for the guest already. */
void arch_vcpu_kick(unsigned cpu);

/* After SPURIOUS: forget what this CPU may have cached about va. */
void arch_fence_local(uint64_t va);

/* -------------------------------------------------------------------------------------------------- the shared part */

/* Entered by entry.S, on a stack of the CPU's own. */
_Noreturn void hyp_main(const void *device_tree);
_Noreturn void hyp_cpu_main(unsigned cpu);

enum hyp_verdict {
    HYP_RESUME, /* run the same instruction again */
    HYP_DEVICE, /* emulate the access: the address belongs to a trap area */
};

/* A second-stage fault of the guest. Returns if the guest may go on. */
enum hyp_verdict hyp_guest_fault(uint64_t va, uint32_t access);

/* Called on every exit: leaves for good if the guest is being stopped. */
void hyp_check_stop(void);

/* The guest asks for another of its CPUs. false: it has been started already, or there is none. */
bool hyp_vcpu_start(unsigned vcpu, uint64_t entry, uint64_t arg);
/* The calling vCPU goes off; it may be started again. Does not return. */
_Noreturn void hyp_vcpu_off(void);
bool hyp_vcpu_is_on(unsigned vcpu);
unsigned hyp_vcpus(void);

/* The guest is done (why == NULL) or cannot go on. The first caller writes the report. */
_Noreturn void hyp_guest_exit(const char *why);

/* Copy from the guest's memory; 1 to 4096 bytes. */
bool hyp_guest_read(uint64_t va, void *buffer, size_t bytes);

/* The guest has fetched an instruction of arch.poison. */
_Noreturn void hyp_guest_is_stale(uint64_t pc);

#endif
