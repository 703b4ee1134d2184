/* SPDX-License-Identifier: BSD-2-Clause */
/* Claims about what the engine writes where the hardware is to see nothing (pt/slot.h). */
#include "subject.hpp"

/* --------------------------------------------------------------------------------------------------------- markers */

/* Whatever it carries, the hardware sees nothing, and the library the kind that it is. */
static void hidden(word e, enum slot_kind kind)
{
    view v = hardware_look(S->m, at, e, 0);

    show("marker", e);
    claim("the hardware does not see it", !v.present & !v.felt);
    claim("not present", !present_of(e) & !points_of(e));
    claim("its kind", kind_of(e) == kind);
    claim("busy or not", same(slot_is_busy(e), kind == SLOT_BUSY));
}

/* L1TF: the address of what is absent is one that no memory answers. */
static bool address_is_fetched()
{
    return S->F->family == FMT_EPT || S->F->family == FMT_X86;
}

static void empty_slot()
{
    claim("no table is as an empty slot", slot_empty(C(), at) != fmt_table_entry(F(), C(), 0x1000));
    hidden(slot_empty(C(), at), SLOT_EMPTY);
}

static void armed_slot()
{
    word payload = any("payload"), how = any("how") & (SLOT_ZERO | SLOT_HUGE);
    half value = VALUE(payload & 0xffffff, payload >> 24 & 15);
    word e = slot_armed(C(), at, value, how);

    hidden(e, SLOT_ARMED);
    claim("its value", slot_armed_value(e) == value);
    claim("how", (e & (SLOT_ZERO | SLOT_HUGE)) == how);
    claim("no memory is there", !address_is_fetched() | (e >> 44 & 0xff) == 0xff);
}

static void busy_slot()
{
    word e = slot_busy(C(), at, half(any("tag")));

    hidden(e, SLOT_BUSY);
    claim("no memory is there", !address_is_fetched() | (e >> 44 & 0xff) == 0xff);
}

static void parked_slot()
{
    word pa = any_address("pa", at), other = any_address("other", at), state = any("state") & SLOT_PARKED_STATE;
    word e = slot_parked(F(), C(), at, pa, state);

    hidden(e, SLOT_PARKED);
    claim("its frame", slot_parked_pa(F(), e) == pa);
    claim("its state", (e & SLOT_PARKED_STATE) == state);
    claim("a frame in its place", slot_parked_pa(F(), e ^ (pa ^ other)) == other);
    claim("no memory is there", !address_is_fetched() | (e & 0xffffffffff000) == ((~pa) & 0xffffffffff000));
}

static void parked_leaf(unsigned slot)
{
    word e = any_leaf(at), va = any("va");

    assume((va >> hardware_shift(S->m, at) & (run_slots() - 1)) == slot);
    word parked = merged([&] { return slot_park(F(), C(), at, e, slot); });
    hidden(parked, SLOT_PARKED);
    claim("its frame", (slot_parked_pa(F(), parked) | (va & (span(at) - 1))) == hardware_look(S->m, at, e, va).output);
    claim("its rights", parked_rights(parked) == rights_of(e));
    claim("the engine's bits", parked_soft(F(), at, parked) == soft_of(e));
    claim("accessed", same((parked & SLOT_PARKED_A) != 0, accessed_of(e)));
    claim("dirty", same((parked & SLOT_PARKED_D) != 0, dirty_of(e)));
}

void claim_slots()
{
    prove(where(), "an empty slot", empty_slot);
    prove(where(), "an armed slot", armed_slot);
    prove(where(), "a busy slot", busy_slot);
}

void claim_parked()
{
    prove(where(), "a parked slot", parked_slot);
    for (unsigned slot = 0; slot < run_slots(); slot++)
        prove(where() + " slot " + std::to_string(slot), "a parked leaf", [&] { parked_leaf(slot); });
}
