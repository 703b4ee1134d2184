/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What claims are made of: the format and configuration at hand, the library's calls with their paths merged, unknown
 * addresses and leaves, and what the library's rights are in terms of the hardware. Owns the notion of a good leaf;
 * must not know a claim.
 *
 * A good leaf is one that the hardware knows (present, no table, nothing reserved), that has an attribute of the
 * configuration, and that keeps what the family adds to the hardware's rule. It is claimed that new leaves are such,
 * and that each change of such a leaf gives such a leaf; all else is claimed of every such leaf. So it holds for
 * whatever the library and the hardware make of a leaf, one change after the other.
 */
#ifndef PROVE_SUBJECT_HPP
#define PROVE_SUBJECT_HPP

#include "engine.hpp"
#include "hardware.hpp"
#include "library.hpp"

/* What is proved about: a format, in a configuration. */
struct subject {
    const struct fmt *F;
    struct fmt_ctx C;
    machine m;
    std::string name;
};

extern const subject *S; /* the one at hand, so that claims need not carry it */
extern unsigned at;      /* the level at hand */

const struct fmt *F();
const struct fmt_ctx *C();
bool has(unsigned feature);
raw span(unsigned level);
bool leaves_at(unsigned level);
std::string where();
word rights_of(word e);
word attribute_of(unsigned level, word e);
word output_of(unsigned level, word e, unsigned slot);
truth accessed_of(word e);
truth dirty_of(word e);
truth run_of(word e);
truth present_of(word e);
truth table_of(word e);
truth points_of(word e);
word kind_of(word e);
word soft_of(word e);
word with_rights(word e, unsigned rights);
word with_flags(word e, truth accessed, truth dirty);
word split_of(word e);
word join_of(word e);
word run_from(word e);
word unrun_from(word e, unsigned slot);
word any_address(const char *name, unsigned level);
word index_of(word va, unsigned level);
truth any_truth(const char *name);
truth bit(word e, unsigned n);
truth good_leaf(unsigned level, word e);
word any_leaf(unsigned level);
truth equal(access a, access b);
truth grants(const view &v, word rights);
bool records();
word effective(word e, word rights);
unsigned run_slots(); /* slots whose number can matter: those of one run, or one */

/* What a leaf's claims need of each other: every one is made at the level `at`. */
void claim_entries();
void claim_leaves();
void claim_slots();
void claim_parked();
void claim_fields();

#endif
