/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns what is known of an instruction that stores to a device: it is looked for through the guest's own tables, as not
 * every CPU hands it over, and decoded: MOV from a register, the one form that Linux has there. Sections are those of
 * the AMD64 Architecture Programmer's Manual: 5.3 and 5.4 of volume 2 (tables), 1.2 to 1.8 of volume 3 (encoding). Must
 * not know of devices.
 */
#include "x86_64.h"

enum { PAGE = 4096, SHIFT_4 = 39, SHIFT_5 = 48, SHIFT_LARGEST = 30, SHIFT_LEAST = 12, INDEX_BITS = 9 };
enum { ENTRY_PRESENT = 1, ENTRY_LARGE = 1 << 7 };
enum { CODE_MAX = 15 };
enum { REX = 0x40, REX_MASK = 0xf0, REX_R = 1 << 2, REX_W = 1 << 3 };
enum { STORE_REGISTER = 0x89 };
enum { MOD_DISP8 = 1, MOD_DISP32 = 2, MOD_REGISTER = 3, RM_SIB = 4, RM_DISP32 = 5 };
#define ENTRY_ADDRESS UINT64_C(0xffffffffff000)

static bool translate(const struct vcpu_state *vcpu, uint64_t va, uint64_t *pa)
{
    uint64_t entry = vcpu->cr3;
    unsigned shift = vcpu->cr4 & CR4_LA57 ? SHIFT_5 : SHIFT_4;
    for (;; shift -= INDEX_BITS) {
        uint64_t index = va >> shift & ((1u << INDEX_BITS) - 1);
        if (!hyp_guest_read((entry & ENTRY_ADDRESS) + index * sizeof entry, &entry, sizeof entry))
            return false;
        if (!(entry & ENTRY_PRESENT))
            return false;
        if (shift == SHIFT_LEAST || (shift <= SHIFT_LARGEST && entry & ENTRY_LARGE))
            break;
    }
    uint64_t inside = (UINT64_C(1) << shift) - 1;
    *pa = (entry & ENTRY_ADDRESS & ~inside) | (va & inside);
    return true;
}

/* Bytes from RIP on: fewer where the next page is not there. */
static size_t fetch(const struct vcpu_state *vcpu, uint8_t code[CODE_MAX])
{
    size_t have = 0;
    while (have < CODE_MAX) {
        uint64_t pa, va = vcpu->rip + have;
        size_t bytes = PAGE - va % PAGE < CODE_MAX - have ? PAGE - va % PAGE : CODE_MAX - have;
        if (!translate(vcpu, va, &pa) || !hyp_guest_read(pa, code + have, bytes))
            break;
        have += bytes;
    }
    return have;
}

/* What follows ModRM to say where: SIB, displacement. */
static unsigned address_bytes(const uint8_t *modrm)
{
    unsigned mod = *modrm >> 6, rm = *modrm & 7, sib = rm == RM_SIB;
    if (mod == MOD_DISP8 || mod == MOD_DISP32)
        return sib + (mod == MOD_DISP8 ? 1 : 4);
    bool no_base = (sib ? modrm[1] & 7 : rm) == RM_DISP32;
    return sib + (no_base ? 4 : 0);
}

bool decode_store(const struct vcpu_state *vcpu, struct store *store)
{
    uint8_t code[CODE_MAX] = {0}, rex = 0;
    size_t have = vcpu->efer & EFER_LMA ? fetch(vcpu, code) : 0;
    const uint8_t *at = code;
    if ((*at & REX_MASK) == REX)
        rex = *at++;
    uint8_t opcode = *at++, reg = (uint8_t)((*at >> 3 & 7) | (rex & REX_R ? 8 : 0));
    if (opcode != STORE_REGISTER || reg == RSP || rex & REX_W || *at >> 6 == MOD_REGISTER)
        return false;
    at += 1 + address_bytes(at);
    *store = (struct store){(uint32_t)vcpu->r[reg], (unsigned)(at - code)};
    return store->length <= have;
}
