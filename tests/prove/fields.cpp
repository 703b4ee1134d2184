/* SPDX-License-Identifier: BSD-2-Clause */
/* Claims about which bits of a leaf belong to what, from what the functions read and write. */
#include "subject.hpp"

/* ------------------------------------------------------------------------------------------ which bits are whose */

/* The bits of an entry that a function looks at: flipped, they can change what it says. */
static raw reads(const std::function<word(word)> &f)
{
    return bits_possible([&] {
        word e = any("entry"), which = any("which");
        assume(which < 64);
        word flipped = e ^ word(1) << which;
        return choose(f(e) == f(flipped), 0, e ^ flipped);
    });
}

/* The bits of a leaf that a change can change. */
static raw writes(const std::function<word(word)> &f)
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
static void apart(const field &a, const field &b)
{
    std::string title = std::string(a.name) + " and " + b.name + " share no bit";

    prove(where(), title.c_str(), [&] {
        show(a.name, a.bits);
        show(b.name, b.bits);
        claim("nothing in common", (a.bits & b.bits) == 0);
    });
}

/* An address is in a run or not, and the mark of the run is a field of its own. */
static word address_of(word e)
{
    return output_of(at, unrun_from(e, 0), 0);
}

static raw written_by_rights()
{
    raw all = 0;

    for (unsigned rights = 1; rights < 16; rights++)
        if (fmt_rights_ok(F(), C(), rights))
            all |= writes([&](word e) { return with_rights(e, rights); });
    return all;
}

void claim_fields()
{
    const field fields[] = {
        {"address", reads(address_of) & fmt_addr_bits(F(), (1ul << hardware_width(S->m)) - span(at)).value},
        {"attribute", S->C.attr_mask.value ? reads([](word e) { return word(attribute_of(at, e)); }) : 0},
        {"rights", reads([](word e) { return word(rights_of(e)); })},
        {"accessed", reads([](word e) { return word(accessed_of(e)); })},
        {"dirty", reads([](word e) { return word(dirty_of(e)); })},
        {"run", reads([](word e) { return word(run_of(e)); })},
        {"engine", reads(soft_of)},
    };
    enum { ADDRESS, ATTRIBUTE, RIGHTS, ACCESSED, DIRTY, RUN, ENGINE, FIELDS };
    field by_rights = {"what other rights change", written_by_rights()};
    field by_flags = {"what other flags change",
                      writes([](word e) { return with_flags(e, any_truth("accessed"), any_truth("dirty")); })};

    for (unsigned a = 0; a < FIELDS; a++)
        for (unsigned b = a + 1; b < FIELDS; b++)
            apart(fields[a], fields[b]);
    for (unsigned a : {ADDRESS, ATTRIBUTE, ACCESSED, RUN, ENGINE})
        apart(by_rights, fields[a]);
    for (unsigned a : {ADDRESS, ATTRIBUTE, RIGHTS, RUN, ENGINE})
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
