/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The library's own headers of the formats and of the slots, with terms for uint64_t, uint32_t and uint8_t. Owns what
 * is put in the place of what; must not know what any of it means.
 *
 * `struct fmt`, which has no 64-bit member, keeps the layout it has in C: fmt_table comes from the C file. The seams
 * are left out: a slot is a value here, and there is no memory.
 */
#ifndef PROVE_LIBRARY_HPP
#define PROVE_LIBRARY_HPP

#include "engine.hpp"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wenum-compare" /* ?: of two unnamed enums */
#pragma GCC diagnostic ignored "-Wconversion"   /* x ? 1 : 0 is an int */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wparentheses" /* bool & comparison of terms */

#define ASPACE_SEAM_H
#define uint64_t word
#define uint32_t half

extern "C" {
#include "format/common.h"
/* Above, an octet is a small number of the geometry. Below, it is the low byte of an entry, and a bool is one bit. */
#define uint8_t octet
#define bool truth
#include "format/format.h"
}

/* The slots call the formats: each call is one value, however many paths there are through it. */
static inline word library_leaf_rights(const struct fmt *F, const struct fmt_ctx *C, word e)
{
    return merged([&] { return word(fmt_leaf_rights(F, C, e)); });
}

static inline word library_output(const struct fmt *F, const struct fmt_ctx *C, unsigned level, word e, unsigned idx)
{
    return merged([&] { return fmt_output(F, C, level, e, idx); });
}

static inline truth library_accessed(const struct fmt *F, word e)
{
    return merged_truth([&] { return fmt_accessed(F, e); });
}

static inline truth library_dirty(const struct fmt *F, word e)
{
    return merged_truth([&] { return fmt_dirty(F, e); });
}

static inline word library_soft(const struct fmt *F, word e)
{
    return merged([&] { return word(fmt_soft(F, e)); });
}

#define fmt_leaf_rights library_leaf_rights
#define fmt_output library_output
#define fmt_accessed library_accessed
#define fmt_dirty library_dirty
extern "C" {
#include "pt/slot.h"
}

#define fmt_soft library_soft

/* Unsigned is a type of C there, and a term here. */
static inline word parked_soft(const struct fmt *F, unsigned level, word e)
{
    return merged([&] { return word(slot_soft(F, level, e)); });
}

/* Its macro has a cast to uint32_t in it. */
static inline word parked_rights(word e)
{
    return SLOT_PARKED_RIGHTS(e);
}

#undef uint64_t
#undef uint32_t
#undef uint8_t
#undef bool
#pragma GCC diagnostic pop

#endif
