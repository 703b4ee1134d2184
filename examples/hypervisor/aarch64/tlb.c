/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns TLB and cache maintenance, and EL2's own identity map. All of it is broadcast by the hardware: no CPU has to be
 * interrupted for an invalidation.
 */
#include <stdatomic.h>

#include "aarch64.h"
#include "leave_out.h"

enum { VMID_SHIFT = 48 };
enum { DESCRIPTOR_BLOCK = 1, DESCRIPTOR_ATTR1 = 1 << 2, DESCRIPTOR_INNER = 3 << 8, DESCRIPTOR_AF = 1 << 10 };
enum { GIB_LG2 = 30, ENTRIES = 512, SCTLR_M = 1, SCTLR_C = 4, SCTLR_I = 0x1000 };
#define DESCRIPTOR_XN (UINT64_C(1) << 54)
#define SCTLR_EL2_RES1 UINT64_C(0x30c50830)
#define TCR_EL2_RES1 (UINT64_C(1) << 31 | UINT64_C(1) << 23)

static const uint8_t pa_bits[] = {32, 36, 40, 42, 44, 48, 52, 56};

static uint64_t pa_range(void)
{
    return READ_SYSREG("id_aa64mmfr0_el1") & 0xf;
}

void arch_space(struct aspace_config *config)
{
    uint64_t range = pa_range();
    unsigned bits = pa_bits[range < sizeof pa_bits ? range : 0];
    config->format = ASPACE_FMT_ARM_S2_40;
    config->output_bits = bits > 48 ? 48 : bits;
}

/* One table of 1 GiB blocks for 39 bits: the first GiB has the devices, the rest is RAM. With the MMU off EL2's
 * accesses would be uncached, and exclusives on them are not architected. */
static _Alignas(4096) uint64_t identity[ENTRIES];
static atomic_bool identity_ready;

void mmu_on(void)
{
    if (!identity_ready) {
        identity[0] = DESCRIPTOR_BLOCK | DESCRIPTOR_ATTR1 | DESCRIPTOR_AF | DESCRIPTOR_XN;
        for (uint64_t i = 1; i < ENTRIES; i++)
            identity[i] = i << GIB_LG2 | DESCRIPTOR_BLOCK | DESCRIPTOR_INNER | DESCRIPTOR_AF;
        identity_ready = true;
    }
    uint64_t size = pa_range() > 5 ? 5 : pa_range();
    WRITE_SYSREG("mair_el2", 0x04ff); /* 0: write-back, 1: Device-nGnRE */
    WRITE_SYSREG("tcr_el2", TCR_EL2_RES1 | size << 16 | 3 << 12 | 1 << 10 | 1 << 8 | (64 - 39));
    WRITE_SYSREG("ttbr0_el2", (uintptr_t)identity);
    __asm__ volatile("dsb ish\n tlbi alle2\n dsb ish\n isb" ::: "memory");
    WRITE_SYSREG("sctlr_el2", SCTLR_EL2_RES1 | SCTLR_M | SCTLR_C | SCTLR_I);
    ISB();
}

/* How many there were: by address of leaves, and of tables too; of the whole VMID. */
static struct {
    atomic_uint leaves, tables, all;
} flushes;

void arch_report_flushes(void)
{
    print("invalidations: of leaves %u, with tables %u, of everything %u", atomic_load(&flushes.leaves),
          atomic_load(&flushes.tables), atomic_load(&flushes.all));
}

/* Invalidations concern the VMID in VTTBR_EL2: a CPU that is not in the guest borrows the space's. */
static uint64_t borrow_vmid(const struct aspace_flush *flush)
{
    uint64_t saved = READ_SYSREG("vttbr_el2");
    WRITE_SYSREG("vttbr_el2", flush->root | flush->tag << VMID_SHIFT);
    ISB();
    return saved;
}

/* On all CPUs, unless that is what is left out. */
#define TLBI(name, ...)                                                                                                \
    do {                                                                                                               \
        if (leave_in(LEAVE_OUT_broadcast))                                                                             \
            __asm__ volatile("tlbi " name "is" __VA_ARGS__ : "memory");                                                \
        else                                                                                                           \
            __asm__ volatile("tlbi " name __VA_ARGS__ : "memory");                                                     \
    } while (0)

static void barrier(enum leave_out kind)
{
    if (leave_in(kind))
        __asm__ volatile("dsb ish" ::: "memory");
}

static void invalidate_by_address(const struct aspace_flush *flush)
{
    uint64_t stride = UINT64_C(1) << flush->stride_lg2;
    atomic_fetch_add(flush->leaf_only ? &flushes.leaves : &flushes.tables, 1);
    for (uint64_t va = flush->va & ~(stride - 1); va < flush->end; va += stride)
        if (flush->leaf_only)
            TLBI("ipas2le1", ", %0" : : "r"(va >> 12));
        else
            TLBI("ipas2e1", ", %0" : : "r"(va >> 12));
}

/*
 * DDI 0487 D8.17: by-IPA invalidation removes stage 2 entries only; what was combined with stage 1 is found by virtual
 * address alone, so all of it goes, after the first has completed.
 */
static void tlb_flush(void *ctx, const struct aspace_flush *flush)
{
    (void)ctx;
    uint64_t saved = borrow_vmid(flush);
    barrier(LEAVE_OUT_dsb_store);
    if (flush->full || (flush->end - flush->va) >> flush->stride_lg2 > HYP_FENCES_MAX) {
        atomic_fetch_add(&flushes.all, 1);
        if (leave_in(LEAVE_OUT_vmalls12))
            TLBI("vmalls12e1", ::);
    } else {
        if (leave_in(LEAVE_OUT_ipas2))
            invalidate_by_address(flush);
        barrier(LEAVE_OUT_dsb_between);
        if (leave_in(LEAVE_OUT_vmalle1))
            TLBI("vmalle1", ::);
    }
    barrier(LEAVE_OUT_dsb_after);
    ISB();
    WRITE_SYSREG("vttbr_el2", saved);
    ISB();
}

static void tlb_flush_local(void *ctx, uint64_t tag, bool stage2)
{
    (void)ctx;
    (void)stage2;
    uint64_t saved = READ_SYSREG("vttbr_el2");
    WRITE_SYSREG("vttbr_el2", tag << VMID_SHIFT);
    ISB();
    if (leave_in(LEAVE_OUT_activation))
        __asm__ volatile("dsb nshst\n tlbi vmalls12e1\n dsb nsh" ::: "memory");
    __asm__ volatile("isb" ::: "memory");
    WRITE_SYSREG("vttbr_el2", saved);
    ISB();
}

void arch_fence_local(uint64_t va)
{
    /* The exception return synchronises; invalid entries are never cached (D8.17.1). */
    (void)va;
}

/* The guest may fetch from a frame whose last contents were other instructions. */
static void icache_sync(void *ctx, aspace_pa_t pa, uint64_t bytes)
{
    (void)ctx;
    uint64_t line = UINT64_C(4) << (READ_SYSREG("ctr_el0") >> 16 & 0xf);
    for (uint64_t p = pa; p < pa + bytes; p += line)
        __asm__ volatile("dc cvau, %0" : : "r"(p) : "memory");
    __asm__ volatile("dsb ish\n ic ialluis\n dsb ish\n isb" ::: "memory");
}

void arch_hal(struct aspace_hal *hal)
{
    hal->tlb_flush = tlb_flush;
    hal->tlb_flush_local = tlb_flush_local;
    hal->icache_sync = icache_sync;
}
