/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nested tables, asked by a guest: an exit tells what became of the access. Owns the VMCB; must not know the library's
 * sources. Sections are those of AMD's APM, volume 2.
 */
#include "machine.h"

#define MSR_EFER 0xc0000080u
#define MSR_VM_CR 0xc0010114u
#define MSR_HSAVE 0xc0010117u
#define EFER_SVME (UINT64_C(1) << 12)
#define VM_CR_SVMDIS (UINT64_C(1) << 4)
enum { EXIT_VMMCALL = 0x81, EXIT_NPF = 0x400 }; /* appendix C */
/* 15.25.6: as a page fault's, and whether it was the final address or one of the guest's own tables */
enum { NPF_P = 1, NPF_W = 2, NPF_U = 4, NPF_RESERVED = 8, NPF_FETCH = 16 };
#define NPF_FINAL (UINT64_C(1) << 32)

uint64_t try_guest(uint64_t va, uint64_t value, uint64_t code, uint64_t vmcb);

static _Alignas(4096) uint8_t vmcb[4096], hsave[4096];

/* Appendix B. */
static void put64(unsigned at, uint64_t value)
{
    *(volatile uint64_t *)(void *)(vmcb + at) = value;
}

static uint64_t get64(unsigned at)
{
    return *(volatile uint64_t *)(void *)(vmcb + at);
}

static void put32(unsigned at, uint32_t value)
{
    *(volatile uint32_t *)(void *)(vmcb + at) = value;
}

static void put_segment(unsigned at, uint32_t selector_and_attributes)
{
    put32(at, selector_and_attributes);
    put32(at + 4, 0xffffffff);
    put64(at + 8, 0);
}

bool svm_start(void)
{
    uint32_t a = 0x80000000u, b, c = 0, d;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (a < 0x8000000au) {
        return false;
    }
    a = 0x80000001u, c = 0;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (!(c & 4) || (rdmsr(MSR_VM_CR) & VM_CR_SVMDIS)) {
        return false;
    }
    a = 0x8000000au, c = 0;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (!(d & 1)) {
        return false; /* no nested paging */
    }
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
    wrmsr(MSR_HSAVE, aspace_virt_to_phys(hsave));
    return true;
}

/* 15.5: a guest in long mode that intercepts everything that may happen to it. */
void svm_load(struct aspace *space, const struct aspace_registers *registers)
{
    for (unsigned at = 0; at < sizeof(vmcb); at += 8) {
        put64(at, 0);
    }
    put32(0x08, 0xffffffff); /* exceptions */
    put32(0x0c, 1u << 31);   /* shutdown */
    put32(0x10, 3);          /* VMRUN, VMMCALL */
    put32(0x58, 1);          /* ASID */
    put32(0x5c, 1);          /* forget all translations */
    put64(0x90, 1);          /* nested paging */
    put64(0xb0, registers->base);
    put_segment(0x400, 0x0c930010);
    put_segment(0x410, 0x0a9b0008);
    put_segment(0x420, 0x0c930010);
    put_segment(0x430, 0x0c930010);
    put_segment(0x490, 0x008b0028);
    put64(0x4d0, EFER_SVME | 0xd00); /* NXE, LMA, LME */
    put64(0x548, 0x20);              /* CR4: PAE */
    put64(0x550, guest_base(space));
    put64(0x558, 0x80010011); /* CR0: PG, WP, ET, PE */
    put64(0x668, registers->memory_types);
}

static void read_fault(uint64_t gpa, enum access access, struct reply *r)
{
    uint64_t code = get64(0x78), of = NPF_U;

    of |= access == ACCESS_W ? NPF_W : 0;
    of |= access == ACCESS_X ? NPF_FETCH : 0;
    r->raw[0] = code;
    r->raw[1] = get64(0x80);
    if (!(code & NPF_FINAL) || (code & (NPF_W | NPF_U | NPF_FETCH)) != of || (r->raw[1] ^ gpa) >> 12 != 0) {
        r->kind = KIND_STRANGE;
    } else if (code & NPF_RESERVED) {
        r->kind = KIND_BROKEN;
    } else {
        r->kind = (code & NPF_P) ? KIND_PERMISSION : KIND_ABSENT;
    }
}

void svm_ask(uint64_t gpa, enum access access, uint64_t value, struct reply *r)
{
    put64(0x570, 2);
    put64(0x578, guest_aim(gpa, access, SNIPPETS_SVM));
    put64(0x5d8, 0);
    (void)try_guest(GVA_TARGET + gpa % PAGE, value, 0, aspace_virt_to_phys(vmcb));
    uint64_t exit = get64(0x70);
    r->raw[2] = exit;
    if (exit == EXIT_NPF) {
        read_fault(gpa, access, r);
    } else {
        r->kind = exit == EXIT_VMMCALL ? KIND_ALLOWED : KIND_STRANGE;
    }
}
