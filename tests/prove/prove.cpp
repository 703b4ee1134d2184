/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is claimed of the formats, for every entry and every address. Owns the claims; must not know a bit of an entry:
 * what the hardware makes of one is in hardware.cpp, what the library makes of it in the library's headers.
 *
 * A leaf of the library is one that the hardware knows (present, no table, nothing reserved), that has an attribute of the
 * configuration, and that keeps what the family adds to the hardware's rule (`ours`). It is proved that new leaves are
 * such, and that each change of such a leaf gives such a leaf; all else is proved of every such leaf. So it holds for
 * whatever the library and the hardware make of a leaf, one change after the other.
 */
#include "engine.hpp"
#include "hardware.hpp"
#include "library.hpp"

#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <time.h>

namespace
{

/* What is proved about: a format, in a configuration. */
struct subject {
    const struct fmt *F;
    struct fmt_ctx C;
    machine m;
    std::string name;
};

const subject *S; /* the one at hand, so that claims need not carry it */
unsigned at;      /* the level at hand */

const struct fmt *F()
{
    return S->F;
}

const struct fmt_ctx *C()
{
    return &S->C;
}

bool has(unsigned feature)
{
    return (S->m.features & feature) != 0;
}

raw span(unsigned level)
{
    return 1ul << hardware_shift(S->m, level);
}

bool leaves_at(unsigned level)
{
    return (S->C.leaf_levels >> level & 1) != 0;
}

std::string where()
{
    return S->name + " level " + std::to_string(at);
}

/* ------------------------------------------------------------------------------- the library, on all paths at once */

word rights_of(word e)
{
    return fmt_leaf_rights(F(), C(), e);
}

word attribute_of(unsigned level, word e)
{
    return merged([&] { return word(fmt_leaf_attr(F(), C(), level, e)); });
}

word output_of(unsigned level, word e, unsigned slot)
{
    return fmt_output(F(), C(), level, e, slot);
}

truth accessed_of(word e)
{
    return fmt_accessed(F(), e);
}

truth dirty_of(word e)
{
    return fmt_dirty(F(), e);
}

truth run_of(word e)
{
    return merged_truth([&] { return fmt_in_run(F(), e); });
}

truth present_of(word e)
{
    return merged_truth([&] { return fmt_present(F(), at, e); });
}

truth table_of(word e)
{
    return merged_truth([&] { return fmt_is_table(F(), at, e); });
}

truth points_of(word e)
{
    return merged_truth([&] { return fmt_points(F(), at, e); });
}

word kind_of(word e)
{
    return merged([&] { return (word)slot_kind(F(), at, e); });
}

word with_rights(word e, unsigned rights)
{
    return merged([&] { return fmt_with_rights(F(), C(), at, e, rights); });
}

word with_flags(word e, truth accessed, truth dirty)
{
    return merged([&] { return fmt_with_ad(F(), e, accessed, dirty); });
}

word split_of(word e)
{
    return merged([&] { return fmt_split(F(), at, e); });
}

word join_of(word e)
{
    return merged([&] { return fmt_join(F(), at, e); });
}

word run_from(word e)
{
    return merged([&] { return fmt_run(F(), e); });
}

word unrun_from(word e, unsigned slot)
{
    return merged([&] { return fmt_unrun(F(), e, slot); });
}

/* -------------------------------------------------------------------------------------------------------- unknowns */

/* Any address of memory that begins a leaf of this level. */
word any_address(const char *name, unsigned level)
{
    return any(name) & ((1ul << hardware_width(S->m)) - span(level));
}

/* The slot that the hardware takes for an address: the root has more of them. */
word index_of(word va, unsigned level)
{
    raw entries = 1ul << S->F->bits[level];
    return va >> hardware_shift(S->m, level) & (entries - 1);
}

truth any_truth(const char *name)
{
    return (any(name) & 1) != 0;
}

/* -------------------------------------------------------------------------------------------- leaves of the library */

truth bit(word e, unsigned n)
{
    return (e & 1ul << n) != 0;
}

/* What a family adds to the hardware's rule, in words of the manual. */
truth ours(unsigned level, word e)
{
    word plv = e >> 2 & 3;

    switch (S->F->family) {
    case FMT_EPT: /* user code executes what the kernel executes; no #VE; the guest's PAT has no say; ignored is zero */
        return implies(bit(e, 10), bit(e, 2) & has(ASPACE_FEAT_MBEC)) & same(bit(e, 63), has(ASPACE_FEAT_VE)) &
               bit(e, 6) & !(bit(e, 7) & (level == 0));
    case FMT_X86: /* nested entries are for user code */ return bit(e, 2) | !S->F->stage2;
    case FMT_ARM_S1: /* writable has DBM; a page is executable for the user or for the kernel; 56: was dirty */
        return implies(!bit(e, 7), bit(e, 51)) & implies(bit(e, 56), !bit(e, 51)) &
               choose(bit(e, 6), e >> 53 & 1, e >> 54 & 1) != 0;
    case FMT_ARM_S2: /* the same, and EL0 alone never executes */
        return implies(bit(e, 7), bit(e, 51)) & implies(bit(e, 56), !bit(e, 51)) & (e >> 53 & 3) != 1;
    case FMT_RISCV: return bit(e, 4) | !S->F->stage2;
    case FMT_LOONGARCH: /* D is W and the mark of software; PLV is that of the user or of the kernel; P is set */
        return same(bit(e, 1), bit(e, 8) & bit(e, 10)) & bit(e, 7) & (plv == 3 | (plv == 0 & !S->F->stage2));
    case FMT_TOY: return true;
    }
    return false;
}

/* One of the attributes of the configuration. */
truth known_attribute(unsigned level, word e)
{
    word bits = fmt_attr_bits(F(), level, e) & S->C.attr_mask & ~S->C.encrypt;
    truth found = false;

    for (unsigned a = 0; a < ASPACE_ATTR_COUNT; a++)
        if (fmt_attr_ok(C(), a))
            found = found | bits == S->C.attr[a];
    return found;
}

truth good_leaf(unsigned level, word e)
{
    view v = hardware_look(S->m, level, e, 0);

    return v.present & !v.table & !v.reserved & known_attribute(level, e) & ours(level, e);
}

word any_leaf(unsigned level)
{
    word e = any("entry");

    assume(good_leaf(level, e));
    return e;
}

/* --------------------------------------------------------------------------------------------------- what is granted */

truth equal(access a, access b)
{
    return same(a.r, b.r) & same(a.w, b.w) & same(a.x, b.x);
}

/* The rights of the library, as what the hardware lets through. */
truth grants(const view &v, word rights)
{
    access some = {(rights & ASPACE_R) != 0, (rights & ASPACE_W) != 0, (rights & ASPACE_X) != 0};
    access none = {false, false, false};
    truth user = (rights & ASPACE_U) != 0;
    bool tells = S->F->family == FMT_EPT ? has(ASPACE_FEAT_MBEC) : has(ASPACE_FEAT_XNX);

    if (S->F->family == FMT_EPT || S->F->family == FMT_ARM_S2) /* docs/formats.md: U is about execution alone */
        return equal(v.kernel, some) & equal(v.user, {some.r, some.w, some.x & (user | !tells)});
    if (S->F->stage2)
        return equal(v.kernel, some) & equal(v.user, some);
    truth kernel_x = S->F->family != FMT_ARM_S1 || !v.kernel.x;
    return choose(user, equal(v.user, some) & kernel_x, equal(v.user, none) & equal(v.kernel, some)) != 0;
}

/* Does an access fault where a flag is clear, and no hardware sets it? */
bool flags_fault()
{
    return S->F->family == FMT_ARM_S1 || S->F->family == FMT_ARM_S2 || S->F->family == FMT_RISCV;
}

bool records()
{
    return has(ASPACE_FEAT_AD) && S->F->family != FMT_LOONGARCH;
}

/* What is let through until software answers the fault that sets a flag. */
word effective(word e, word rights)
{
    word result = rights;

    if (records() || !(flags_fault() || S->F->family == FMT_LOONGARCH))
        return rights;
    result = choose(dirty_of(e), rights, rights & ~word(ASPACE_W));
    if (flags_fault())
        result = choose(accessed_of(e), result, 0);
    return result;
}

/* ------------------------------------------------------------------------------------------------ what entries are */

void every_entry()
{
    word e = any("entry");
    view v = hardware_look(S->m, at, e, 0);

    /* 29.3.2: no entry of the library has bit 10 alone, as `ours` and the markers show. */
    if (S->F->family == FMT_EPT)
        assume((e & 0x407) != 0x400);
    truth present = present_of(e), table = table_of(e);
    claim("what the hardware takes for present is present", implies(v.present, present));
    claim("what is present the hardware takes for present", implies(present & !v.reserved, v.present));
    claim("a table is a table", implies(v.present & !v.reserved, same(table, v.table)));
    claim("an entry that points to a table is one", implies(points_of(e), present & table));
    claim("the address of a table", implies(v.present & v.table & !v.reserved, fmt_table_pa(F(), e) == v.next));
    word kind = kind_of(e);
    claim("the kind of the slot", implies(v.present & !v.reserved, kind == choose(v.table, SLOT_TABLE, SLOT_LEAF)));
}

/* An address at which a table may be: the encrypt bit is never part of it. */
void table_entries()
{
    word pa = any_address("table", 0), e = fmt_table_entry(F(), C(), pa);
    view v = hardware_look(S->m, at, e, 0), shared = hardware_look(S->m, at, fmt_shared(F(), e), 0);

    show("entry", e);
    claim("present", v.present & present_of(e));
    claim("a table", v.table & table_of(e));
    claim("points", points_of(e));
    claim("nothing reserved", !v.reserved);
    claim("the address is read back", fmt_table_pa(F(), e) == pa);
    claim("the hardware goes on there", v.next == pa);
    claim("a table takes no right away",
          (S->F->family != FMT_EPT && S->F->family != FMT_X86) || equal(v.user, {true, true, true}));
    claim("a shared entry leads there", shared.present & shared.table & !shared.reserved & shared.next == pa);
}

/* The attribute that is listed first with the same bits. */
unsigned attribute_class(unsigned attr)
{
    unsigned a = 0;

    while (!fmt_attr_ok(C(), a) || S->C.attr[a] != S->C.attr[attr & 15])
        a++;
    return a | (attr & ASPACE_ATTR_ENCRYPTED);
}

void new_leaf(unsigned rights, unsigned attr)
{
    word pa = any_address("pa", at), va = any("va"), empty = fmt_leaf(F(), C(), at, rights, attr);
    word e = empty | fmt_addr_bits(F(), pa);
    view v = hardware_look(S->m, at, e, va);

    show("entry", e);
    claim("no bit of it is one of the address", (empty & fmt_addr_bits(F(), pa)) == 0);
    claim("it is a good leaf", good_leaf(at, e));
    claim("present", present_of(e) & !table_of(e) & !points_of(e));
    claim("the hardware's address", v.output == (pa | (va & (span(at) - 1))));
    unsigned idx = 0; /* no part of the result: in no run */
    claim("the address is read back", output_of(at, e, idx) == pa);
    claim("with the encrypt bit", (fmt_leaf_pa(F(), at, e, idx) & ~fmt_encrypt_pa(F(), C())) == pa);
    claim("the rights are read back", rights_of(e) == rights);
    claim("the hardware grants them, and no flag is in the way", grants(v, rights));
    claim("the attribute is read back", attribute_of(at, e) == attribute_class(attr));
    claim("the hardware's memory type", v.type == hardware_type(S->m, attr & 15));
    claim("encrypted", v.encrypted == ((attr & ASPACE_ATTR_ENCRYPTED) != 0));
    claim("accessed", same(accessed_of(e), !records()));
    claim("dirty", same(dirty_of(e), !records() && (rights & ASPACE_W)));
    claim("global", same(v.global, S->C.leaf_global));
    claim("in no run", !v.run & !run_of(e));
}

/* ---------------------------------------------------------------------------------------------- every leaf, as it is */

void leaf_as_it_is()
{
    word e = any_leaf(at), va = any("va");
    view v = hardware_look(S->m, at, e, va);
    word rights = rights_of(e), attr = attribute_of(at, e);

    show("rights", rights);
    show("attribute", attr);
    claim("the hardware grants the rights that are read", grants(v, effective(e, rights)));
    claim("the attribute that is read is the memory type",
          v.type == merged([&] { return word(hardware_type(S->m, (unsigned)(attr & 15))); }));
    claim("encrypted", v.encrypted == ((attr & ASPACE_ATTR_ENCRYPTED) != 0));
    claim("a run", same(v.run, run_of(e)));
    claim("present", present_of(e) & !table_of(e) & !points_of(e));
}

/* Slots whose number can matter: those of one run. */
unsigned run_slots()
{
    return at == 0 ? 1u << S->C.run_lg2 : 1;
}

/* Output is base and offset, for an address in slot `slot` of a run, and for every slot where there is none. */
void leaf_output(unsigned slot)
{
    word e = any_leaf(at), va = any("va");
    view v = hardware_look(S->m, at, e, va);
    word offset = va & (span(at) - 1);

    assume((va >> hardware_shift(S->m, at) & (run_slots() - 1)) == slot);
    word output = output_of(at, e, slot);
    show("output", output);
    claim("base and offset", v.output == (output | offset));
    claim("the two readings of the address",
          (merged([&] { return fmt_leaf_pa(F(), at, e, slot); }) & ~fmt_encrypt_pa(F(), C())) == output);
    for (unsigned n = 1; n < 512; n *= 2)
        claim("whatever the slot's other bits", output_of(at, e, slot ^ (n * run_slots())) == output);
}

/* ------------------------------------------------------------------------------------------------------- changes */

/* All that a change does not name stays, for the library and for the hardware. */
struct kept {
    bool rights, flags, run;
};

void keeps(word before, word after, kept what)
{
    word va = any("va");
    view b = hardware_look(S->m, at, before, va), a = hardware_look(S->m, at, after, va);

    show("after", after);
    claim("it is a good leaf", good_leaf(at, after));
    claim("keeps the address", a.output == b.output);
    claim("keeps the memory type", a.type == b.type);
    claim("keeps the attribute", attribute_of(at, after) == attribute_of(at, before));
    claim("keeps global", same(a.global, b.global));
    claim("keeps encrypted", same(a.encrypted, b.encrypted));
    if (what.rights)
        claim("keeps the rights", rights_of(after) == rights_of(before));
    if (what.flags) {
        claim("keeps accessed", same(accessed_of(after), accessed_of(before)));
        claim("keeps dirty", same(dirty_of(after), dirty_of(before)));
    }
    if (what.run)
        claim("keeps the run", same(run_of(after), run_of(before)));
}

void other_rights(unsigned rights)
{
    word e = any_leaf(at), n = with_rights(e, rights);
    view v = hardware_look(S->m, at, n, 0);

    keeps(e, n, {false, false, true});
    claim("the rights are read back", rights_of(n) == rights);
    claim("the hardware grants them", grants(v, effective(n, rights)));
    claim("keeps accessed", same(accessed_of(n), accessed_of(e)));
    claim("dirty if it was, or if it is preset", same(dirty_of(n), dirty_of(e) | (!records() && (rights & ASPACE_W))));
}

void other_flags()
{
    word e = any_leaf(at);
    truth accessed = any_truth("accessed"), dirty = any_truth("dirty");
    word n = with_flags(e, accessed, dirty);

    keeps(e, n, {true, false, true});
    claim("accessed", same(accessed_of(n), accessed | S->F->family == FMT_LOONGARCH));
    claim("dirty", same(dirty_of(n), dirty));
    claim("and back", with_flags(n, accessed_of(e), dirty_of(e)) == e);
}

void used_by_hardware()
{
    word e = any_leaf(at);
    truth write = any_truth("write");
    word n = hardware_used(S->m, e, write);
    truth may = (rights_of(e) & ASPACE_W) != 0;

    keeps(e, n, {true, false, true});
    claim("accessed is seen", accessed_of(n));
    claim("dirty is seen", same(dirty_of(n), dirty_of(e) | (write & may)));
}

/* What two leaves of different size have in common. */
void same_leaf(word large, word small, unsigned above)
{
    view l = hardware_look(S->m, above, large, 0), s = hardware_look(S->m, above - 1, small, 0);

    claim("the rights", rights_of(small) == rights_of(large));
    claim("the memory type", s.type == l.type);
    claim("the attribute", attribute_of(above - 1, small) == attribute_of(above, large));
    claim("accessed", same(accessed_of(small), accessed_of(large)));
    claim("dirty", same(dirty_of(small), dirty_of(large)));
    claim("global", same(s.global, l.global));
    claim("encrypted", same(s.encrypted, l.encrypted));
}

void split_leaf()
{
    word e = any_leaf(at), va = any("va");
    word first = split_of(e), idx = index_of(va, at - 1);
    word small = first + idx * fmt_addr_bits(F(), span(at - 1));

    show("small leaf", small);
    claim("each of them is a good leaf", good_leaf(at - 1, small));
    claim("together they map what the large one did",
          hardware_look(S->m, at - 1, small, va).output == hardware_look(S->m, at, e, va).output);
    claim("in no run", !run_of(small));
    same_leaf(e, small, at);
    claim("and back", join_of(first) == e);
}

void join_leaf()
{
    word e = any_leaf(at - 1), va = any("va");

    assume((output_of(at - 1, e, 0u) & (span(at) - 1)) == 0);
    word large = join_of(e);
    show("large leaf", large);
    claim("it is a good leaf", good_leaf(at, large));
    claim("it begins where the first one does", hardware_look(S->m, at, large, va & (span(at - 1) - 1)).output ==
                                                    hardware_look(S->m, at - 1, e, va & (span(at - 1) - 1)).output);
    same_leaf(large, e, at);
    claim("and back", split_of(large) == unrun_from(e, 0));
}

/* A leaf in slot `slot` of its run becomes a member of it. */
void run_leaf(unsigned slot)
{
    word e = any_leaf(0), va = any("va");
    unsigned entries = 1u << S->C.run_lg2;

    assume(!run_of(e));
    assume((output_of(0, e, slot) >> 12 & (entries - 1)) == slot);
    assume((va >> 12 & (entries - 1)) == slot);
    word n = run_from(e);
    show("member", n);
    view a = hardware_look(S->m, 0, n, va), b = hardware_look(S->m, 0, e, va);
    claim("it is a good leaf", good_leaf(0, n));
    claim("in a run", a.run & run_of(n));
    claim("the hardware's address", a.output == b.output);
    claim("the address is read back", output_of(0, n, slot) == output_of(0, e, slot));
    claim("and back", unrun_from(n, slot) == e);
    claim("the memory type", a.type == b.type);
    claim("the attribute", attribute_of(0, n) == attribute_of(0, e));
    claim("the rights", rights_of(n) == rights_of(e));
    claim("accessed", same(accessed_of(n), accessed_of(e)));
    claim("dirty", same(dirty_of(n), dirty_of(e)));
    claim("global", same(a.global, b.global));
    claim("encrypted", same(a.encrypted, b.encrypted));
}

/* --------------------------------------------------------------------------------------------------------- markers */

/* Whatever it carries, the hardware sees nothing, and the library the kind that it is. */
void hidden(word e, enum slot_kind kind)
{
    view v = hardware_look(S->m, at, e, 0);

    show("marker", e);
    claim("the hardware does not see it", !v.present & !v.felt);
    claim("not present", !present_of(e) & !points_of(e));
    claim("its kind", kind_of(e) == kind);
    claim("busy or not", same(slot_is_busy(e), kind == SLOT_BUSY));
}

/* L1TF: the address of what is absent is one that no memory answers. */
bool address_is_fetched()
{
    return S->F->family == FMT_EPT || S->F->family == FMT_X86;
}

void empty_slot()
{
    claim("no table is as an empty slot", slot_empty(C(), at) != fmt_table_entry(F(), C(), 0x1000));
    hidden(slot_empty(C(), at), SLOT_EMPTY);
}

void armed_slot()
{
    word payload = any("payload"), how = any("how") & (SLOT_ZERO | SLOT_HUGE);
    half value = VALUE(payload & 0xffffff, payload >> 24 & 15);
    word e = slot_armed(C(), at, value, how);

    hidden(e, SLOT_ARMED);
    claim("its value", slot_armed_value(e) == value);
    claim("how", (e & (SLOT_ZERO | SLOT_HUGE)) == how);
    claim("no memory is there", !address_is_fetched() | (e >> 44 & 0xff) == 0xff);
}

void busy_slot()
{
    word e = slot_busy(C(), at, half(any("tag")));

    hidden(e, SLOT_BUSY);
    claim("no memory is there", !address_is_fetched() | (e >> 44 & 0xff) == 0xff);
}

void parked_slot()
{
    word pa = any_address("pa", at), other = any_address("other", at), state = any("state") & SLOT_PARKED_STATE;
    word e = slot_parked(F(), C(), at, pa, state);

    hidden(e, SLOT_PARKED);
    claim("its frame", slot_parked_pa(F(), e) == pa);
    claim("its state", (e & SLOT_PARKED_STATE) == state);
    claim("a frame in its place", slot_parked_pa(F(), e ^ (pa ^ other)) == other);
    claim("no memory is there", !address_is_fetched() | (e & 0xffffffffff000) == ((~pa) & 0xffffffffff000));
}

void parked_leaf(unsigned slot)
{
    word e = any_leaf(at), va = any("va");

    assume((va >> hardware_shift(S->m, at) & (run_slots() - 1)) == slot);
    word parked = merged([&] { return slot_park(F(), C(), at, e, slot); });
    hidden(parked, SLOT_PARKED);
    claim("its frame", (slot_parked_pa(F(), parked) | (va & (span(at) - 1))) == hardware_look(S->m, at, e, va).output);
    claim("its rights", parked_rights(parked) == rights_of(e));
    claim("accessed", same((parked & SLOT_PARKED_A) != 0, accessed_of(e)));
    claim("dirty", same((parked & SLOT_PARKED_D) != 0, dirty_of(e)));
}

/* ------------------------------------------------------------------------------------------ which bits are whose */

/* The bits of an entry that a function looks at: flipped, they can change what it says. */
raw reads(const std::function<word(word)> &f)
{
    return bits_possible([&] {
        word e = any("entry"), which = any("which");
        assume(which < 64);
        word flipped = e ^ word(1) << which;
        return choose(f(e) == f(flipped), 0, e ^ flipped);
    });
}

/* The bits of a leaf that a change can change. */
raw writes(const std::function<word(word)> &f)
{
    return bits_possible([&] {
        word e = any_leaf(at);
        return e ^ f(e);
    });
}

struct field {
    const char *name;
    raw bits;
};

/* Two fields that claim one bit. */
void apart(const field &a, const field &b)
{
    std::string title = std::string(a.name) + " and " + b.name + " share no bit";

    prove(where(), title.c_str(), [&] {
        show(a.name, a.bits);
        show(b.name, b.bits);
        claim("nothing in common", (a.bits & b.bits) == 0);
    });
}

/* An address is in a run or not, and the mark of the run is a field of its own. */
word address_of(word e)
{
    return output_of(at, unrun_from(e, 0), 0);
}

raw written_by_rights()
{
    raw all = 0;

    for (unsigned rights = 1; rights < 16; rights++)
        if (fmt_rights_ok(F(), C(), rights))
            all |= writes([&](word e) { return with_rights(e, rights); });
    return all;
}

void whose_bits()
{
    const field fields[] = {
        {"address", reads(address_of) & fmt_addr_bits(F(), (1ul << hardware_width(S->m)) - span(at)).value},
        {"attribute", S->C.attr_mask.value ? reads([](word e) { return word(attribute_of(at, e)); }) : 0},
        {"rights", reads([](word e) { return word(rights_of(e)); })},
        {"accessed", reads([](word e) { return word(accessed_of(e)); })},
        {"dirty", reads([](word e) { return word(dirty_of(e)); })},
        {"run", reads([](word e) { return word(run_of(e)); })},
    };
    enum { ADDRESS, ATTRIBUTE, RIGHTS, ACCESSED, DIRTY, RUN, FIELDS };
    field by_rights = {"what other rights change", written_by_rights()};
    field by_flags = {"what other flags change",
                      writes([](word e) { return with_flags(e, any_truth("accessed"), any_truth("dirty")); })};

    for (unsigned a = 0; a < FIELDS; a++)
        for (unsigned b = a + 1; b < FIELDS; b++)
            apart(fields[a], fields[b]);
    for (unsigned a : {ADDRESS, ATTRIBUTE, ACCESSED, RUN})
        apart(by_rights, fields[a]);
    for (unsigned a : {ADDRESS, ATTRIBUTE, RIGHTS, RUN})
        apart(by_flags, fields[a]);
    /* What the hardware reads when it grants: all else stays. */
    raw granted = reads([](word e) {
        view v = hardware_look(S->m, at, e, 0);
        return word(v.user.r) | word(v.user.w) << 1 | word(v.user.x) << 2 | word(v.kernel.r) << 3 |
               word(v.kernel.w) << 4 | word(v.kernel.x) << 5 | word(dirty_of(e)) << 6 | word(rights_of(e)) << 7;
    });
    apart(by_rights, {"all else", ~granted});
    apart(by_flags, {"all but the flags", ~(granted | fields[ACCESSED].bits | fields[DIRTY].bits)});
}

/* ----------------------------------------------------------------------------------------------------- all of it */

void prove_leaves()
{
    for (unsigned rights = 1; rights < 16; rights++) {
        if (!fmt_rights_ok(F(), C(), rights))
            continue;
        for (unsigned attr = 0; attr < 32; attr++)
            if (fmt_attr_ok(C(), attr))
                prove(where() + " rights " + std::to_string(rights) + " attribute " + std::to_string(attr),
                      "a new leaf", [&] { new_leaf(rights, attr); });
        prove(where() + " rights " + std::to_string(rights), "other rights", [&] { other_rights(rights); });
    }
    prove(where(), "a leaf as it is", leaf_as_it_is);
    prove(where(), "other flags", other_flags);
    if (records())
        prove(where(), "used by the hardware", used_by_hardware);
    prove(where(), "a parked slot", parked_slot);
    if (at > 0) {
        prove(where(), "split", split_leaf);
        prove(where(), "join", join_leaf);
    }
    for (unsigned slot = 0; slot < run_slots(); slot++) {
        prove(where() + " slot " + std::to_string(slot), "where a leaf leads", [&] { leaf_output(slot); });
        prove(where() + " slot " + std::to_string(slot), "a parked leaf", [&] { parked_leaf(slot); });
        if (run_slots() > 1)
            prove(where() + " slot " + std::to_string(slot), "a member of a run", [&] { run_leaf(slot); });
    }
}

void prove_subject()
{
    for (at = 0; at < hardware_levels(S->m); at++) {
        prove(where(), "every entry", every_entry);
        if (at > 0)
            prove(where(), "a table", table_entries);
        prove(where(), "an empty slot", empty_slot);
        prove(where(), "an armed slot", armed_slot);
        prove(where(), "a busy slot", busy_slot);
        if (leaves_at(at)) {
            prove_leaves();
            whose_bits();
        }
    }
}

/* ------------------------------------------------------------------------------------------------- configurations */

struct configuration {
    unsigned features, output_bits, encrypt_below; /* the encrypt bit, from the top of the address; 0: none */
    raw pat, mair;
    const char *name;
};

constexpr unsigned ALL = (ASPACE_FEAT_GLOBAL << 1) - 1 - ASPACE_FEAT_NO_1G - ASPACE_FEAT_NO_2M;

/* What changes no entry of a family is left out by `matters`. */
const configuration configurations[] = {
    {0, 0, 0, 0, 0, ""},
    {ASPACE_FEAT_AD, 0, 0, 0, 0, "+ad"},
    {ASPACE_FEAT_NX, 0, 0, 0, 0, "+nx"},
    {ASPACE_FEAT_EXEC_ONLY, 0, 0, 0, 0, "+execonly"},
    {ASPACE_FEAT_MBEC, 0, 0, 0, 0, "+mbec"},
    {ASPACE_FEAT_VE, 0, 0, 0, 0, "+ve"},
    {ASPACE_FEAT_XNX, 0, 0, 0, 0, "+xnx"},
    {ASPACE_FEAT_FWB, 0, 0, 0, 0, "+fwb"},
    {ASPACE_FEAT_CONTIG, 0, 0, 0, 0, "+contig"},
    {ASPACE_FEAT_SVPBMT, 0, 0, 0, 0, "+svpbmt"},
    {ASPACE_FEAT_SVNAPOT, 0, 0, 0, 0, "+svnapot"},
    {ASPACE_FEAT_GLOBAL, 0, 0, 0, 0, "+global"},
    {ASPACE_FEAT_NO_1G, 36, 0, 0, 0, "+no1g+36bits"},
    {ALL, 0, 0, 0, 0, "+all"},
    {ALL & ~ASPACE_FEAT_AD, 0, 1, 0x0600070401070400ul, 0xff000444ul, "+all-ad+encrypt+types"},
};

unsigned matters(enum fmt_family family)
{
    switch (family) {
    case FMT_EPT: return ASPACE_FEAT_AD | ASPACE_FEAT_EXEC_ONLY | ASPACE_FEAT_MBEC | ASPACE_FEAT_VE;
    case FMT_X86: return ASPACE_FEAT_AD | ASPACE_FEAT_NX | ASPACE_FEAT_GLOBAL;
    case FMT_ARM_S1: return ASPACE_FEAT_AD | ASPACE_FEAT_CONTIG | ASPACE_FEAT_GLOBAL;
    case FMT_ARM_S2: return ASPACE_FEAT_AD | ASPACE_FEAT_CONTIG | ASPACE_FEAT_XNX | ASPACE_FEAT_FWB;
    case FMT_RISCV: return ASPACE_FEAT_AD | ASPACE_FEAT_SVPBMT | ASPACE_FEAT_SVNAPOT | ASPACE_FEAT_GLOBAL;
    case FMT_LOONGARCH: return ASPACE_FEAT_GLOBAL;
    case FMT_TOY: return ASPACE_FEAT_AD | ASPACE_FEAT_CONTIG;
    }
    return 0;
}

const char *const families[] = {"ept", "x86", "arm-s1", "arm-s2", "riscv", "loongarch", "toy"};

std::string explain(raw value)
{
    view v = hardware_look(S->m, at, value, 0);
    auto rights = [](access a) { return std::string(a.r ? "r" : "-") + (a.w ? "w" : "-") + (a.x ? "x" : "-"); };
    std::string text = !v.present ? "absent" : v.table ? "table" : "leaf";

    if (v.reserved)
        text += " reserved";
    return text + " user " + rights(v.user) + " kernel " + rights(v.kernel) + " type " + std::to_string(v.type.value);
}

void prove_configuration(const struct fmt *format, const configuration &c)
{
    unsigned riscv = format->family == FMT_RISCV ? 2 : 0;
    unsigned encrypt = c.encrypt_below ? format->output_bits - c.encrypt_below - riscv : 0;
    struct aspace_config config;
    subject s;

    memset((void *)&config, 0, sizeof config);
    memset((void *)&s.C, 0, sizeof s.C);
    config.features = c.features;
    config.output_bits = (decltype(config.output_bits))c.output_bits;
    config.encrypt_bit = (decltype(config.encrypt_bit))encrypt;
    config.pat = c.pat;
    config.mair = c.mair;
    s.F = format;
    s.m = {format->id, c.features, c.output_bits, encrypt, c.pat, c.mair};
    s.name = std::string(aspace_format_name(format->id)) + c.name;
    engine_reset();
    S = &s;
    if (fmt_init(format, &s.C, &config) != ASPACE_OK) {
        printf("REFUTED %s: fmt_init refuses the configuration\n", s.name.c_str());
        totals.refuted++;
        return;
    }
    prove_subject();
}

bool worth_it(const struct fmt *format, const configuration &c, bool brief)
{
    unsigned single = c.features & matters(format->family);

    if (brief)
        return c.name[0] == 0 || c.encrypt_below;
    return c.name[0] == 0 || c.output_bits || c.features >= ALL - ASPACE_FEAT_AD || single;
}

void prove_family(unsigned family, bool brief)
{
    engine_totals before = totals;
    clock_t begin = clock();
    unsigned spaces = 0;
    bool seen_stage[2] = {};

    for (unsigned id = 0; id < ASPACE_FMT_COUNT; id++) {
        const struct fmt *format = &fmt_table[id];
        if (format->family != (enum fmt_family)family || (brief && seen_stage[format->stage2]))
            continue;
        seen_stage[format->stage2] = true;
        for (const configuration &c : configurations)
            if (worth_it(format, c, brief)) {
                prove_configuration(format, c);
                spaces++;
            }
    }
    printf("prove: %s: %lu proved, %lu refuted: %u configurations, %lu claims on %lu paths, %lu queries (%.1f s)\n",
           families[family], totals.proved - before.proved, totals.refuted - before.refuted, spaces,
           totals.claims - before.claims, totals.paths - before.paths, totals.queries - before.queries,
           (double)(clock() - begin) / CLOCKS_PER_SEC);
    fflush(stdout);
}

} // namespace

/* prove [--brief] [FAMILY]: status 0 if all is proved, 1 if something was refuted. */
int main(int argc, char **argv)
{
    bool brief = argc > 1 && !strcmp(argv[1], "--brief");
    const char *only = argc > 1 + brief ? argv[1 + brief] : "";
    unsigned run = 0;

    engine_explain = explain;
    for (unsigned family = 0; family < sizeof families / sizeof *families; family++)
        if (strstr(families[family], only)) {
            prove_family(family, brief);
            run++;
        }
    if (!run) {
        fprintf(stderr, "prove: no family has %s in its name\n", only);
        return 2;
    }
    printf("%lu passed, %lu failed\n", totals.proved, totals.refuted);
    return totals.refuted != 0;
}
