/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns TLB maintenance: HFENCE.GVMA here, the firmware's remote fences elsewhere. */
#include <stdatomic.h>

#include "leave_out.h"
#include "riscv64.h"

/* Unlike SFENCE.VMA, the address is shifted right by two bits. By number: see riscv64.h. */
static void fence_address(uint64_t va, uint64_t vmid)
{
    __asm__ volatile(".insn r 0x73, 0, 0x31, x0, %0, %1" : : "r"(va >> 2), "r"(vmid) : "memory");
}

static void fence_all(uint64_t vmid)
{
    __asm__ volatile(".insn r 0x73, 0, 0x31, x0, x0, %0" : : "r"(vmid) : "memory");
}

static void fence_range(const struct aspace_flush *flush)
{
    uint64_t stride = UINT64_C(1) << flush->stride_lg2;
    if (flush->full || (flush->end - flush->va) >> flush->stride_lg2 > HYP_FENCES_MAX) {
        fence_all(flush->tag);
        return;
    }
    for (uint64_t va = flush->va & ~(stride - 1); va < flush->end; va += stride)
        fence_address(va, flush->tag);
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

static void tlb_flush(void *ctx, const struct aspace_flush *flush)
{
    (void)ctx;
    uint64_t self = UINT64_C(1) << aspace_cpu_id();
    uint64_t active = flush->active[0];
    atomic_fetch_add(flush->full ? &flushes.all : flush->leaf_only ? &flushes.leaves : &flushes.tables, 1);
    if (active & self && leave_in(LEAVE_OUT_gvma_local))
        fence_range(flush);
    if (active & ~self && leave_in(LEAVE_OUT_gvma_remote))
        sbi_fence_gvma(sbi_harts(active & ~self), flush);
}

static void tlb_flush_local(void *ctx, uint64_t tag, bool stage2)
{
    (void)ctx;
    (void)stage2;
    if (leave_in(LEAVE_OUT_activation))
        fence_all(tag);
}

/* A store that makes an entry valid needs no fence on other CPUs: at worst they fault once more, and come here. */
void arch_fence_local(uint64_t va)
{
    if (leave_in(LEAVE_OUT_spurious))
        __asm__ volatile(".insn r 0x73, 0, 0x31, x0, %0, x0" : : "r"(va >> 2) : "memory");
}

unsigned arch_output_bits(void)
{
    return 0; /* nothing tells; the format's 56 bits */
}

/*
 * FENCE.I concerns one hart. A vCPU that starts later does its own. The firmware's interrupt takes the other hart out
 * of the guest, upon which QEMU forgets all translations: so where the remote invalidation is left out, this is too.
 * (QEMU keeps what it fetches from coherent.)
 */
static void icache_sync(void *ctx, aspace_pa_t pa, uint64_t bytes)
{
    uint64_t others = 0;
    (void)ctx;
    (void)pa;
    (void)bytes;
    for (unsigned i = 0; i < hyp_vcpus(); i++)
        if (i != aspace_cpu_id() && hyp_vcpu_is_on(i))
            others |= UINT64_C(1) << i;
    __asm__ volatile("fence.i" ::: "memory");
    if (others && leave_in(LEAVE_OUT_gvma_remote))
        sbi_fence_i(sbi_harts(others));
}

void arch_hal(struct aspace_hal *hal)
{
    hal->tlb_flush = tlb_flush;
    hal->tlb_flush_local = tlb_flush_local;
    hal->icache_sync = icache_sync;
}
