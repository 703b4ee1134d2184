/* SPDX-License-Identifier: BSD-2-Clause */
/* The vocabulary of the claims. Must not know a claim. */
#include "subject.hpp"

const subject *S;
unsigned at;

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

word soft_of(word e)
{
    return fmt_soft(F(), e);
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

/* --------------------------------------------------------------------------------------------------------- unknowns */

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
static truth ours(unsigned level, word e)
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
        return same(bit(e, 1), bit(e, 8) & bit(e, 9)) & bit(e, 7) & (plv == 3 | (plv == 0 & !S->F->stage2));
    case FMT_TOY: return true;
    }
    return false;
}

/* One of the attributes of the configuration. */
static truth known_attribute(unsigned level, word e)
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

/* -------------------------------------------------------------------------------------------------- what is granted */

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
static bool flags_fault()
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

unsigned run_slots()
{
    return at == 0 ? 1u << S->C.run_lg2 : 1;
}
