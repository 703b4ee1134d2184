/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns TLB maintenance: fences here, and requests for them elsewhere (mail.c). */
#include <stdatomic.h>

#include "leave_out.h"
#include "riscv64.h"

/* Unlike SFENCE.VMA and HFENCE.VVMA, the address is shifted right by two bits. By number: see riscv64.h. */
static void fence_gvma(uint64_t va, uint64_t vmid)
{
    __asm__ volatile(".insn r 0x73, 0, 0x31, x0, %0, %1" : : "r"(va >> 2), "r"(vmid) : "memory");
}

static void fence_gvma_all(uint64_t vmid)
{
    __asm__ volatile(".insn r 0x73, 0, 0x31, x0, x0, %0" : : "r"(vmid) : "memory");
}

static void fence_vvma(uint64_t va)
{
    __asm__ volatile(".insn r 0x73, 0, 0x11, x0, %0, x0" : : "r"(va) : "memory");
}

static void fence_vvma_all(void)
{
    __asm__ volatile(".insn r 0x73, 0, 0x11, x0, x0, x0" ::: "memory");
}

static void fence_vvma_asid(uint64_t va, uint64_t asid)
{
    __asm__ volatile(".insn r 0x73, 0, 0x11, x0, %0, %1" : : "r"(va), "r"(asid) : "memory");
}

static void fence_vvma_asid_all(uint64_t asid)
{
    __asm__ volatile(".insn r 0x73, 0, 0x11, x0, x0, %0" : : "r"(asid) : "memory");
}

static void fence_address(const struct request *r, uint64_t va)
{
    switch (r->kind) {
    case REQUEST_GVMA: fence_gvma(va, r->id); break;
    case REQUEST_VVMA: fence_vvma(va); break;
    case REQUEST_VVMA_ASID: fence_vvma_asid(va, r->id); break;
    default: break;
    }
}

/* Also what needs no address. */
static void fence_all(const struct request *r)
{
    switch (r->kind) {
    case REQUEST_GVMA: fence_gvma_all(r->id); break;
    case REQUEST_VVMA: fence_vvma_all(); break;
    case REQUEST_VVMA_ASID: fence_vvma_asid_all(r->id); break;
    case REQUEST_FENCE_I: __asm__ volatile("fence.i" ::: "memory"); break;
    case REQUEST_EVERYTHING:
        __asm__ volatile("fence.i\n .insn r 0x73, 0, 0x31, x0, x0, x0" ::: "memory");
        fence_vvma_all();
        break;
    }
}

void request_do(const struct request *r)
{
    if (r->va == r->end || (r->end - r->va) / r->stride > HYP_FENCES_MAX) {
        fence_all(r);
        return;
    }
    for (uint64_t va = r->va & ~(r->stride - 1); va < r->end; va += r->stride)
        fence_address(r, va);
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
    const struct request request = {
        .kind = REQUEST_GVMA,
        .va = flush->full ? 0 : flush->va,
        .end = flush->full ? 0 : flush->end,
        .stride = UINT64_C(1) << flush->stride_lg2,
        .id = flush->tag,
    };
    uint64_t self = UINT64_C(1) << aspace_cpu_id(), active = flush->active[0];
    atomic_fetch_add(flush->full ? &flushes.all : flush->leaf_only ? &flushes.leaves : &flushes.tables, 1);
    if (active & self && leave_in(LEAVE_OUT_gvma_local))
        request_do(&request);
    if (active & ~self && leave_in(LEAVE_OUT_gvma_remote))
        mail_send(active & ~self, &request);
}

static void tlb_flush_local(void *ctx, uint64_t tag, bool stage2)
{
    (void)ctx;
    (void)stage2;
    if (leave_in(LEAVE_OUT_activation))
        fence_gvma_all(tag);
}

/* A store that makes an entry valid needs no fence on other CPUs: at worst they fault once more, and come here. */
void arch_fence_local(uint64_t va)
{
    if (leave_in(LEAVE_OUT_spurious))
        __asm__ volatile(".insn r 0x73, 0, 0x31, x0, %0, x0" : : "r"(va >> 2) : "memory");
}

/* Nothing tells how wide addresses are: the format's 56 bits. */
void arch_space(struct aspace_config *config)
{
    config->format = ASPACE_FMT_RISCV_SV39X4;
}

/*
 * FENCE.I concerns one hart. A vCPU that starts later does its own. The interrupt takes the other hart out of the
 * guest, upon which QEMU forgets all translations: so where the remote invalidation is left out, this is too. (QEMU
 * keeps what it fetches from coherent.)
 */
static void icache_sync(void *ctx, aspace_pa_t pa, uint64_t bytes)
{
    (void)ctx;
    (void)pa;
    (void)bytes;
    __asm__ volatile("fence.i" ::: "memory");
    if (leave_in(LEAVE_OUT_gvma_remote))
        mail_send((UINT64_C(1) << hyp_vcpus()) - 1, &(struct request){.kind = REQUEST_FENCE_I});
}

void arch_hal(struct aspace_hal *hal)
{
    hal->tlb_flush = tlb_flush;
    hal->tlb_flush_local = tlb_flush_local;
    hal->icache_sync = icache_sync;
}
