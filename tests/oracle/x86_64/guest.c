/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest that asks: its own four tables lead one virtual page to the guest-physical page in question. They are in
 * the space that is asked about, at its end. Owns the guest's memory; must not know how it is entered.
 */
#include "machine.h"

/* The guest's pages, in this order in its memory; the code is behind them. */
enum { GUEST_ROOT, GUEST_L3, GUEST_L2, GUEST_L1, GUEST_PAGES };

static _Alignas(2 * 1024 * 1024) uint64_t guest[512][512]; /* 2 MiB: tables, code, then room */

uint64_t guest_base(const struct aspace *space)
{
    return aspace_end(space) - GUEST_OWN;
}

static void make_guest(uint64_t base)
{
    for (unsigned i = GUEST_ROOT; i < GUEST_L1; i++) {
        guest[i][0] = (base + (i + 1) * PAGE) | 7;
    }
    guest[GUEST_L1][0] = (base + GUEST_PAGES * PAGE) | 1; /* not for user code: mode-based control would tell */
    for (unsigned i = 0; i < 512; i++) {
        guest[GUEST_PAGES][i] = ((const uint64_t *)(const void *)snippets)[i];
    }
}

bool guest_prepare(struct aspace *space)
{
    struct aspace_map m = {.va = guest_base(space),
                           .size = GUEST_OWN,
                           .kind = ASPACE_KIND_LINEAR,
                           .rights = ASPACE_RWX,
                           .pa = aspace_virt_to_phys(guest)};

    make_guest(m.va);
    return aspace_map(space, &m, NULL) == ASPACE_OK;
}

uint64_t guest_aim(uint64_t gpa, enum access access, unsigned first)
{
    guest[GUEST_L1][1] = (gpa & ~(PAGE - 1)) | (access >= ACCESS_UR ? 0x67 : 0x63); /* P, W, (U,) A, D */
    return GVA_CODE + first + SNIPPET_BYTES * (unsigned)(access % ACCESS_UR);
}
