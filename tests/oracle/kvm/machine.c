/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux's KVM as the judge of process tables: it is asked where an address leads for a virtual CPU that never runs. It
 * tells the address and whether there is one, and nothing of rights. A process, linked where physical addresses are its
 * own. Owns the virtual machine; must not know the library's sources.
 */
#include "../oracle.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define TARGET_END (UINT64_C(1) << 40)
#define CR0_LONG UINT64_C(0x80010033)  /* PG, WP, NE, ET, MP, PE */
#define EFER_LONG UINT64_C(0xd00)      /* NXE, LMA, LME */
#define CR3_ADDRESS (~UINT64_C(0xfff)) /* without PCIDs */
enum { CPUID_1G = 1 << 26, CPUID_MAX = 256, SKIPPED = 77 };

extern char __bss_start[], _end[];
_Noreturn void oracle_main(void);

static int vcpu = -1;
static struct subject pt4 = {
    .format = ASPACE_FMT_X86_PT4,
    .features = ASPACE_FEAT_NX,
    .always = ASPACE_FEAT_NX,
    .output_bits = 40,
    .accesses = ACCESS_BIT(ACCESS_R),
};

void machine_put(char c)
{
    putchar(c);
}

_Noreturn void machine_off(void)
{
    exit(0);
}

_Noreturn void oracle_assert_fail(const char *expr, const char *file, int line)
{
    print("oracle: assertion %s failed, %s:%u", expr, file, (uint64_t)(unsigned)line);
    exit(1);
}

static _Noreturn void skip(const char *what)
{
    print("oracle: skipped: %s", what);
    exit(SKIPPED);
}

/* Large pages, no-execute and the width of addresses are what KVM says that it can do. */
static void tell_cpuid(int kvm)
{
    struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + CPUID_MAX * sizeof(cpuid->entries[0]));

    if (!cpuid) {
        skip("no memory");
    }
    cpuid->nent = CPUID_MAX;
    if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid) || ioctl(vcpu, KVM_SET_CPUID2, cpuid)) {
        skip("CPUID cannot be set");
    }
    bool giant = false;
    for (unsigned i = 0; i < cpuid->nent; i++) {
        giant |= cpuid->entries[i].function == 0x80000001u && (cpuid->entries[i].edx & CPUID_1G) != 0;
    }
    if (!giant) {
        print("oracle: skipped: x86-pt4: leaves of 1 GiB, which this KVM does not have");
        pt4.always |= ASPACE_FEAT_NO_1G;
    }
    free(cpuid);
}

/* The program's own variables, the library's frames among them, are the machine's memory. */
unsigned machine_start(void)
{
    uint64_t first = (uintptr_t)__bss_start & ~(PAGE - 1), end = ((uintptr_t)_end + PAGE - 1) & ~(PAGE - 1);
    struct kvm_userspace_memory_region memory = {
        .guest_phys_addr = first, .memory_size = end - first, .userspace_addr = first};
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (kvm < 0) {
        skip("no /dev/kvm that may be opened");
    }
    int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm < 0 || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &memory)) {
        skip("no virtual machine");
    }
    vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    if (vcpu < 0) {
        skip("no virtual CPU");
    }
    tell_cpuid(kvm);
    return 1;
}

const struct subject *machine_subject(unsigned n)
{
    (void)n;
    return &pt4;
}

bool machine_prepare(const struct layout *layout)
{
    (void)layout;
    return true;
}

/* A failure must not go unseen: KVM would then translate with paging off. */
void machine_load(const struct layout *layout)
{
    struct aspace_registers r;
    struct kvm_sregs s;

    aspace_registers(layout->space, &r);
    if (ioctl(vcpu, KVM_GET_SREGS, &s)) {
        skip("the registers cannot be read");
    }
    s.cr0 = CR0_LONG;
    s.cr3 = r.base & CR3_ADDRESS;
    s.cr4 = 0x20;
    s.efer = EFER_LONG;
    s.cs.l = 1, s.cs.db = 0, s.cs.type = 11, s.cs.s = 1, s.cs.present = 1, s.cs.g = 1;
    if (ioctl(vcpu, KVM_SET_SREGS, &s)) {
        print("oracle: KVM refuses the registers");
        exit(1);
    }
}

void machine_unload(void)
{
}

/* Every question is a walk of its own. */
void machine_flush(const struct aspace_flush *flush)
{
    (void)flush;
}

bool machine_allows(const struct aspace_config *config, uint32_t rights, enum access access)
{
    (void)config;
    (void)access;
    return (rights & ASPACE_R) != 0;
}

uint64_t machine_target(const struct subject *subject, unsigned lg2)
{
    (void)subject;
    return random_below(TARGET_END) & ~((UINT64_C(1) << lg2) - 1);
}

uint64_t machine_steer(uint64_t pa, uint64_t leaf, uint64_t bytes)
{
    (void)leaf;
    (void)bytes;
    return pa;
}

enum flags machine_sets_flags(enum access access)
{
    (void)access;
    return FLAGS_SET;
}

void machine_ask(uint64_t va, enum access access, const struct naive_result *expected, struct reply *r)
{
    struct kvm_translation t = {.linear_address = va};

    (void)access;
    (void)expected;
    if (va >= naive_input_end(ASPACE_FMT_X86_PT4)) {
        return;
    }
    if (ioctl(vcpu, KVM_TRANSLATE, &t)) {
        r->kind = KIND_STRANGE;
        return;
    }
    r->kind = t.valid ? KIND_ALLOWED : KIND_ABSENT;
    r->pa = t.valid ? t.physical_address : PA_UNTOLD;
}

/* What the other machines find in memory stands on the command line: layouts, addresses, seed, without the walker. */
struct options machine_options_here;

int main(int argc, char **argv)
{
    machine_options_here.layouts = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
    machine_options_here.addresses = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;
    machine_options_here.seed = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;
    machine_options_here.alone = argc > 4 ? strtoull(argv[4], NULL, 0) : 0;
    oracle_main();
}
