/* SPDX-License-Identifier: BSD-2-Clause */
/* The CPUs that run a family's members, and what their TLBs may hold after a step. Owns what hardware does to the flags
 * of an entry; must not know how the library keeps anything. */
#include <stdio.h>

#include "family.h"

/* NULL: the member runs on none. */
static struct sim_cpu *cpu_of(const struct family *f, const struct member *m)
{
    unsigned cpu = number_of(f, m) + 1;

    return cpu < f->env->cpus ? &f->env->machine.sim.cpu[cpu] : NULL;
}

static const void *memory(uint64_t pa)
{
    return aspace_phys_to_virt(pa);
}

static struct naive_result walk_to(const struct family *f, const struct member *m, unsigned i)
{
    struct naive_result r;

    naive_walk(m->config.format, &m->config, m->sim.root, family_va(f, i), memory, &r);
    CHECK(r.present);
    return r;
}

/* The CPU has just walked for the page: of none in that leaf it knows that it is dirty. */
static void forget(const struct family *f, struct member *m, unsigned page)
{
    uint64_t bytes = walk_to(f, m, page).leaf_bytes;

    for (unsigned i = 0; i < f->pages; i++) {
        m->knows[i] &= family_va(f, i) / bytes != family_va(f, page) / bytes;
    }
}

/* A TLB that knows a page as dirty does not set the flag again. */
static void set_flags(const struct family *f, struct member *m, unsigned i)
{
    if (!m->knows[i]) {
        uint64_t *entry = aspace_phys_to_virt(walk_to(f, m, i).entry_pa);
        *entry = naive_used(&m->config, *entry, true);
        m->knows[i] = true;
    }
}

/* As a program does it: faults are handled, and the access repeated. Not done: the reason was a good one. */
static bool access_page(struct family *f, struct member *m, unsigned i, uint32_t access, uint64_t *pa)
{
    struct sim_cpu *cpu = cpu_of(f, m);
    uint64_t va = family_va(f, i);

    for (unsigned tries = 0; tries < 4; tries++) {
        bool cached = sim_cpu_caches(cpu, &m->sim, va);
        enum sim_answer answer = sim_cpu_access(cpu, &m->sim, va, access, pa);
        if (!cached && sim_cpu_caches(cpu, &m->sim, va)) {
            forget(f, m, i);
        }
        if (answer == SIM_OK) {
            return true;
        }
        enum aspace_fault_result r = aspace_fault(m->space, va, access, NULL);
        if (r != ASPACE_FAULT_DONE && r != ASPACE_FAULT_SPURIOUS) {
            CHECK(f->scarce || family_fault(f, &m->page[i], access) == r);
            return false;
        }
        sim_cpu_fence(cpu, &m->sim, va);
    }
    test_fail(__FILE__, __LINE__, "faults at page %u lead to nothing", i);
}

static void use_page(struct family *f, struct member *m, unsigned i)
{
    uint32_t access = pick(f, 2) ? ASPACE_W : pick(f, 3) ? ASPACE_R : ASPACE_X;
    uint64_t pa, value = random_next(&f->random);
    unsigned n = pick(f, 2);

    if (!access_page(f, m, i, access, &pa)) {
        return;
    }
    CHECK_FAULT(family_fault(f, &m->page[i], access), ASPACE_FAULT_DONE);
    uint64_t *word = (uint64_t *)aspace_phys_to_virt(pa) + (n ? 511 : 0);
    if (access == ASPACE_W) {
        *word = value;
        set_flags(f, m, i);
        family_written(f, m, i, n, value);
    } else {
        CHECK_EQ(*word, family_words(f, &m->page[i])[n]);
    }
}

/* A program on a CPU of the member, through whatever its TLB remembers. */
void step_cpu(struct family *f)
{
    struct member *m = pick_member(f);
    unsigned i = pick_page(f), pages = 1 + pick(f, 4);

    SAY(f, "%u: CPU uses %u pages from %u on", number_of(f, m), pages, i);
    for (; cpu_of(f, m) && pages && i < f->pages; i++, pages--) {
        use_page(f, m, i);
    }
}

/* Between two steps a TLB leads where memory does, permits no more, and takes no page for dirty that is clean. */
void compare_tlb(struct family *f, struct member *m)
{
    struct sim_cpu *cpu = cpu_of(f, m);

    for (unsigned i = 0; cpu && i < f->pages; i++) {
        const struct page *p = &m->page[i];
        for (uint32_t access = ASPACE_R; access <= ASPACE_X; access <<= 1) {
            uint64_t pa = 0;
            if (!sim_cpu_caches(cpu, &m->sim, family_va(f, i)) ||
                sim_cpu_access(cpu, &m->sim, family_va(f, i), access, &pa) != SIM_OK) {
                continue;
            }
            if (pa != p->seen_pa || access & ~p->seen_right) {
                test_fail(__FILE__, __LINE__, "member %u page %u: stale TLB, access %u", number_of(f, m), i, access);
            }
            if (access == ASPACE_W && m->knows[i]) {
                uint64_t e = *(const uint64_t *)aspace_phys_to_virt(walk_to(f, m, i).entry_pa);
                CHECK_EQ(naive_used(&m->config, e, true), e);
            }
        }
    }
}
