/* SPDX-License-Identifier: BSD-2-Clause */
/* Claims about entries that the hardware sees: tables, new leaves, and what each change of a leaf keeps. */
#include "subject.hpp"

/* ------------------------------------------------------------------------------------------------- what entries are */

static void every_entry()
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
static void table_entries()
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
static unsigned attribute_class(unsigned attr)
{
    unsigned a = 0;

    while (!fmt_attr_ok(C(), a) || S->C.attr[a] != S->C.attr[attr & 15])
        a++;
    return a | (attr & ASPACE_ATTR_ENCRYPTED);
}

static void new_leaf(unsigned rights, unsigned attr)
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
    claim("nothing in the engine's bits", soft_of(e) == 0);
}

/* --------------------------------------------------------------------------------------------- every leaf, as it is */

static void leaf_as_it_is()
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

/* Output is base and offset, for an address in slot `slot` of a run, and for every slot where there is none. */
static void leaf_output(unsigned slot)
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

/* ---------------------------------------------------------------------------------------------------------- changes */

/* All that a change does not name stays, for the library and for the hardware. */
struct kept {
    bool rights, flags, run, soft;
};

static void keeps(word before, word after, kept what)
{
    word va = any("va");
    view b = hardware_look(S->m, at, before, va), a = hardware_look(S->m, at, after, va);

    show("after", after);
    claim("it is a good leaf", good_leaf(at, after));
    claim("keeps the address", a.output == b.output);
    claim("keeps the memory type", a.type == b.type);
    claim("keeps the attribute", attribute_of(at, after) == attribute_of(at, before));
    claim("keeps global", same(a.global, b.global));
    if (what.soft)
        claim("keeps the engine's bits", soft_of(after) == soft_of(before));
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

static void other_rights(unsigned rights)
{
    word e = any_leaf(at), n = with_rights(e, rights);
    view v = hardware_look(S->m, at, n, 0);

    keeps(e, n, {false, false, true, true});
    claim("the rights are read back", rights_of(n) == rights);
    claim("the hardware grants them", grants(v, effective(n, rights)));
    claim("keeps accessed", same(accessed_of(n), accessed_of(e)));
    claim("dirty if it was, or if it is preset", same(dirty_of(n), dirty_of(e) | (!records() && (rights & ASPACE_W))));
}

static void other_flags()
{
    word e = any_leaf(at);
    truth accessed = any_truth("accessed"), dirty = any_truth("dirty");
    word n = with_flags(e, accessed, dirty);

    keeps(e, n, {true, false, true, true});
    claim("accessed", same(accessed_of(n), accessed | S->F->family == FMT_LOONGARCH));
    claim("dirty", same(dirty_of(n), dirty));
    claim("and back", with_flags(n, accessed_of(e), dirty_of(e)) == e);
}

static void used_by_hardware()
{
    word e = any_leaf(at);
    truth write = any_truth("write");
    word n = hardware_used(S->m, e, write);
    truth may = (rights_of(e) & ASPACE_W) != 0;

    keeps(e, n, {true, false, true, true});
    claim("accessed is seen", accessed_of(n));
    claim("dirty is seen", same(dirty_of(n), dirty_of(e) | (write & may)));
}

static void other_soft(unsigned soft)
{
    word e = any_leaf(at), n = fmt_with_soft(F(), e, soft);

    keeps(e, n, {true, true, true, false});
    claim("the engine's bits", soft_of(n) == soft);
    claim("and back", fmt_with_soft(F(), n, 0) == fmt_with_soft(F(), e, 0));
}

/* Of any leaf that the hardware sees, good or not. */
static void soft_is_ignored()
{
    word e = any("entry"), n = e ^ (any("change") & fmt_with_soft(F(), 0, 3)), va = any("va");
    view b = hardware_look(S->m, at, e, va), a = hardware_look(S->m, at, n, va);

    assume(b.present & !b.table);
    show("after", n);
    claim("a leaf", a.present & !a.table & same(a.reserved, b.reserved));
    claim("the same address", a.output == b.output);
    claim("the same rights", equal(a.user, b.user) & equal(a.kernel, b.kernel));
    claim("the same memory", a.type == b.type & same(a.encrypted, b.encrypted));
    claim("the same translation", same(a.global, b.global) & same(a.run, b.run));
}

/* What two leaves of different size have in common. */
static void same_leaf(word large, word small, unsigned above)
{
    view l = hardware_look(S->m, above, large, 0), s = hardware_look(S->m, above - 1, small, 0);

    claim("the rights", rights_of(small) == rights_of(large));
    claim("the memory type", s.type == l.type);
    claim("the engine's bits", soft_of(small) == soft_of(large));
    claim("the attribute", attribute_of(above - 1, small) == attribute_of(above, large));
    claim("accessed", same(accessed_of(small), accessed_of(large)));
    claim("dirty", same(dirty_of(small), dirty_of(large)));
    claim("global", same(s.global, l.global));
    claim("encrypted", same(s.encrypted, l.encrypted));
}

static void split_leaf()
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

static void join_leaf()
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
static void run_leaf(unsigned slot)
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
    claim("the engine's bits", soft_of(n) == soft_of(e));
    claim("the attribute", attribute_of(0, n) == attribute_of(0, e));
    claim("the rights", rights_of(n) == rights_of(e));
    claim("accessed", same(accessed_of(n), accessed_of(e)));
    claim("dirty", same(dirty_of(n), dirty_of(e)));
    claim("global", same(a.global, b.global));
    claim("encrypted", same(a.encrypted, b.encrypted));
}

void claim_entries()
{
    prove(where(), "every entry", every_entry);
    if (at > 0)
        prove(where(), "a table", table_entries);
}

static void claim_rights(unsigned rights)
{
    std::string place = where() + " rights " + std::to_string(rights);

    for (unsigned attr = 0; attr < 32; attr++)
        if (fmt_attr_ok(C(), attr))
            prove(place + " attribute " + std::to_string(attr), "a new leaf", [&] { new_leaf(rights, attr); });
    prove(place, "other rights", [&] { other_rights(rights); });
}

void claim_leaves()
{
    for (unsigned rights = 1; rights < 16; rights++)
        if (fmt_rights_ok(F(), C(), rights))
            claim_rights(rights);
    prove(where(), "a leaf as it is", leaf_as_it_is);
    prove(where(), "other flags", other_flags);
    for (unsigned soft = 0; soft < 4; soft++)
        prove(where() + " soft " + std::to_string(soft), "other bits of the engine", [&] { other_soft(soft); });
    prove(where(), "bits of the engine", soft_is_ignored);
    if (records())
        prove(where(), "used by the hardware", used_by_hardware);
    if (at > 0) {
        prove(where(), "split", split_leaf);
        prove(where(), "join", join_leaf);
    }
    for (unsigned slot = 0; slot < run_slots(); slot++) {
        std::string place = where() + " slot " + std::to_string(slot);
        prove(place, "where a leaf leads", [&] { leaf_output(slot); });
        if (run_slots() > 1)
            prove(place, "a member of a run", [&] { run_leaf(slot); });
    }
}
