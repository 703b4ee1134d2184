/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the guest's side of the local APICs: a vCPU has that of its CPU. It reads there by itself; what it writes comes
 * here and goes through, but for commands to send interrupts, which must reach vCPUs only, and start them our way. See
 * the Intel SDM, volume 3A, 11.6.
 */
#include "x86_64.h"

enum { LOGICAL_ID = 0xd0, REGISTER_STRIDE = 16, ID_SHIFT = 24, BROADCAST = 0xff };
enum { COMMAND_VECTOR = 0xff, COMMAND_MODE = 7 << 8, COMMAND_LOGICAL = 1 << 11, COMMAND_ASSERT = 1 << 14 };
enum { MODE_FIXED = 0, MODE_LOWEST = 1 << 8, MODE_NMI = 4 << 8, MODE_INIT = 5 << 8, MODE_START = 6 << 8 };
enum { COMMAND_TO = 3 << 18, TO_SELF = 1 << 18, TO_ALL = 2 << 18, TO_OTHERS = 3 << 18 };
enum { START_PAGE_LG2 = 12, ASKED_NMI = 1, ASKED_INIT = 2, KICK_US = 50 };

static _Atomic uint32_t logical_ids[HYP_CPUS_MAX];
static atomic_uint asked[HYP_CPUS_MAX]; /* of each vCPU, by others */

void apic_reset(void)
{
    atomic_store(&logical_ids[aspace_cpu_id()], 0);
    atomic_store(&asked[aspace_cpu_id()], 0);
}

const atomic_uint *apic_asked(void)
{
    return &asked[aspace_cpu_id()];
}

bool apic_nmi_taken(void)
{
    return atomic_fetch_and(&asked[aspace_cpu_id()], ~(unsigned)ASKED_NMI) & ASKED_NMI;
}

void apic_check_init(void)
{
    if (atomic_load(&asked[aspace_cpu_id()]) & ASKED_INIT)
        vcpu_off();
}

/* NMIs are what we take CPUs out of the guest with, so that the guest's own are delivered by us. */
static void ask(unsigned vcpu, unsigned what)
{
    atomic_fetch_or(&asked[vcpu], what);
    arch_vcpu_kick(vcpu);
}

/* It is off on return: the next command starts it. Two that do this to each other both go. */
static void init(unsigned vcpu)
{
    while (vcpu != aspace_cpu_id() && hyp_vcpu_is_on(vcpu)) {
        ask(vcpu, ASKED_INIT);
        arch_yield(KICK_US);
        hyp_check_stop();
        apic_check_init();
    }
}

/* The flat model, a bit each: the cluster model is for more CPUs than there are here. */
static bool is_meant(unsigned vcpu, uint32_t command, uint32_t to)
{
    if (to == BROADCAST)
        return true;
    return command & COMMAND_LOGICAL ? atomic_load(&logical_ids[vcpu]) >> ID_SHIFT & to : machine.cpu_id[vcpu] == to;
}

static uint32_t targets(uint32_t command)
{
    uint32_t self = 1u << aspace_cpu_id(), all = (1u << hyp_vcpus()) - 1, meant = 0;
    switch (command & COMMAND_TO) {
    case TO_SELF: return self;
    case TO_ALL: return all;
    case TO_OTHERS: return all & ~self;
    default: break;
    }
    for (unsigned i = 0; i < hyp_vcpus(); i++)
        if (is_meant(i, command, *apic(APIC_ICR_HIGH) >> ID_SHIFT))
            meant |= 1u << i;
    return meant;
}

static void send_one(unsigned vcpu, uint32_t command)
{
    uint32_t vector = command & COMMAND_VECTOR;
    switch (command & COMMAND_MODE) {
    case MODE_FIXED:
    case MODE_LOWEST: smp_send(vcpu, COMMAND_ASSERT | vector); break;
    case MODE_NMI:
        if (hyp_vcpu_is_on(vcpu))
            ask(vcpu, ASKED_NMI);
        break;
    case MODE_INIT:
        if (command & COMMAND_ASSERT)
            init(vcpu);
        break;
    case MODE_START: (void)vcpu_start(vcpu, vector << START_PAGE_LG2); break;
    default: break;
    }
}

/* To each by itself: the machine's "all" are more than the guest's. */
static void send(uint32_t command)
{
    uint32_t to = targets(command);
    if ((command & COMMAND_MODE) == MODE_LOWEST)
        to &= ~to + 1;
    for (unsigned i = 0; i < hyp_vcpus(); i++)
        if (to >> i & 1)
            send_one(i, command);
}

void apic_write(uint64_t reg, uint32_t value)
{
    if (reg % REGISTER_STRIDE != 0)
        return;
    if (reg == APIC_ICR_LOW) {
        send(value);
        return;
    }
    if (reg == LOGICAL_ID)
        atomic_store(&logical_ids[aspace_cpu_id()], value);
    *apic(reg) = value;
}
