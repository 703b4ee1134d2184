/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns TLB maintenance. Neither SVM nor VMX can reach another CPU's translations: it has to leave the guest, and forget
 * them when it enters again. In root mode nobody uses them, so that whoever is there is not waited for.
 */
#include "leave_out.h"
#include "x86_64.h"

enum { SPINS = 2000, NAP_US = 50 };

static struct cpu {
    _Alignas(ASPACE_CACHE_LINE) atomic_uint asked; /* grows with each request */
    atomic_uint entered;                           /* what `asked` was when the guest was entered last */
    atomic_bool inside;
} cpus[HYP_CPUS_MAX];

static struct {
    atomic_uint leaves, tables, all;
} flushes;

void arch_report_flushes(void)
{
    print("invalidations: of leaves %u, with tables %u, of everything %u", atomic_load(&flushes.leaves),
          atomic_load(&flushes.tables), atomic_load(&flushes.all));
}

/* From here on a request is either seen, or its sender sees `inside` and sends an interrupt, which is held back until
 * the guest runs. */
bool entry_begin(void)
{
    struct cpu *cpu = &cpus[aspace_cpu_id()];
    atomic_store(&cpu->inside, true);
    unsigned asked = atomic_load(&cpu->asked);
    return atomic_exchange(&cpu->entered, asked) != asked;
}

void entry_end(void)
{
    atomic_store(&cpus[aspace_cpu_id()].inside, false);
}

static void ask_local(void)
{
    atomic_fetch_add(&cpus[aspace_cpu_id()].asked, 1);
}

static bool obeyed(unsigned cpu, unsigned asked)
{
    return !atomic_load(&cpus[cpu].inside) || (int)(atomic_load(&cpus[cpu].entered) - asked) >= 0;
}

/* On return each of them is outside, or inside again and has forgotten. */
static void ask_remote(uint64_t members)
{
    unsigned asked[HYP_CPUS_MAX], spins = 0;
    for (unsigned i = 0; i < HYP_CPUS_MAX; i++) {
        if (!(members >> i & 1))
            continue;
        asked[i] = atomic_fetch_add(&cpus[i].asked, 1) + 1;
        if (!obeyed(i, asked[i]))
            arch_vcpu_kick(i);
    }
    for (unsigned i = 0; i < HYP_CPUS_MAX; i++)
        while (members >> i & 1 && !obeyed(i, asked[i]))
            if (++spins < SPINS)
                aspace_pause();
            else
                arch_yield(NAP_US);
}

static void tlb_flush(void *ctx, const struct aspace_flush *flush)
{
    (void)ctx;
    atomic_fetch_add(flush->full ? &flushes.all : flush->leaf_only ? &flushes.leaves : &flushes.tables, 1);
    uint64_t self = UINT64_C(1) << aspace_cpu_id(), active = flush->active[0];
    if (active & self && leave_in(LEAVE_OUT_asid_local))
        ask_local();
    if (active & ~self && leave_in(LEAVE_OUT_asid_remote))
        ask_remote(active & ~self);
}

static void tlb_flush_local(void *ctx, uint64_t tag, bool stage2)
{
    (void)ctx;
    (void)tag;
    (void)stage2;
    if (leave_in(LEAVE_OUT_activation))
        ask_local();
}

/* More rights may be there than this CPU remembers. */
void arch_fence_local(uint64_t va)
{
    (void)va;
    if (leave_in(LEAVE_OUT_spurious))
        ask_local();
}

/* Caches are coherent, also that of instructions. */
void arch_hal(struct aspace_hal *hal)
{
    hal->tlb_flush = tlb_flush;
    hal->tlb_flush_local = tlb_flush_local;
}
