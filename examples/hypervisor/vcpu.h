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

/* What the firmware or the loader says of the machine; read once, before the memory that lies in is given away. */
struct machine {
    uint64_t ram, ram_bytes;
    unsigned cpus;
    uint64_t cpu_id[HYP_CPUS_MAX]; /* MPIDR, hart id or APIC id of CPU n */
    uint64_t initrd, initrd_end;   /* 0 if nobody says where it is */
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
    uint64_t initrd, initrd_bytes;
    uint64_t boot_data;   /* device tree, or whatever else the kernel asks of its loader */
    const uint8_t *image; /* the kernel's file, in the host's memory */
    unsigned cpus;
    const char *command_line;
};

/* What the header of the kernel's file says. */
struct guest_kernel {
    uint64_t skip;  /* bytes of the file that are not loaded */
    uint64_t at;    /* guest address of the rest */
    uint64_t bytes; /* what it takes from there on once it runs */
    uint64_t entry;
    uint64_t boot_data; /* where its loader's data must lie; 0: anywhere */
};

/* ------------------------------------------------------------------------------------------ the architecture's part */

struct guest_device {
    uint64_t va, bytes;    /* mapped to the same host address */
    enum aspace_kind kind; /* LINEAR, or TRAP: accesses end with HYP_DEVICE */
    uint32_t rights, attr;
    unsigned cpus; /* a guest with fewer vCPUs does without */
};

struct arch {
    const char *name;
    uint64_t guest_ram; /* where the guest's RAM begins */
    uint64_t poison;    /* eight bytes that are no use to a guest that fetches, follows or reads them */
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

/* Fill in `machine` from what the boot code was handed. */
void arch_machine_read(const void *boot_info);

/* Fill in what the CPU decides about a space: format, features, width of host-physical addresses. */
void arch_space(struct aspace_config *config);

/* Adds the architecture's members to the HAL: TLB and caches. */
void arch_hal(struct aspace_hal *hal);
void arch_report_flushes(void); /* one line: how many of each kind of invalidation there were */

/* False if this is no kernel for the architecture. */
bool arch_guest_kernel(const uint8_t *image, struct guest_kernel *kernel);

/* Write what will lie at guest->boot_data; boot_info is the machine's own. Bytes, 0 if it does not fit. */
size_t arch_guest_boot_data(const void *boot_info, const struct guest_layout *guest, void *blob, size_t capacity);

/* Once on every CPU, before anything else there. */
void arch_cpu_init(void);

/* Start CPU n at the hypervisor's level, in hyp_cpu_main. False if the firmware refuses. */
bool arch_cpu_start(unsigned cpu);
_Noreturn void arch_cpu_park(void);
_Noreturn void arch_machine_off(void);

/* Load the space's registers and enter the guest. arg is what Linux expects there: the address of the boot data on
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
_Noreturn void hyp_main(const void *boot_info);
_Noreturn void hyp_cpu_main(unsigned cpu);

enum hyp_verdict {
    HYP_RESUME, /* run the same instruction again */
    HYP_DEVICE, /* emulate the access: the address belongs to a trap area */
};

/* For arch_machine_read, where the firmware passes a device tree. */
void machine_read_tree(const void *device_tree);

/* For arch_guest_kernel, where the file is a flat Image with this word at byte 56. */
bool image_read_flat(const uint8_t *image, uint32_t magic, struct guest_kernel *kernel);

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
