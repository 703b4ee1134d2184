/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an MMU makes of an entry, from the architecture manuals alone. Owns the hardware's rules; must not know any
 * source of the library but the names of formats, rights, attributes and features in aspace/format.h.
 *
 * An entry may be an unknown. Nothing here branches on it, so that one formula says it for all 2^64 of them.
 */
#ifndef PROVE_HARDWARE_HPP
#define PROVE_HARDWARE_HPP

#include "term.hpp"

extern "C" {
#include <aspace/format.h>
}

/* Levels as in the library: 0 maps 4 KiB. */
struct machine {
    aspace_format format;
    unsigned features;    /* ASPACE_FEAT_* that the processor has */
    unsigned output_bits; /* width of physical addresses; 0: all that the format has */
    unsigned encrypt_bit; /* a bit of leaves that belongs to no address; 0: none */
    raw pat, mair;
};

struct access {
    truth r, w, x;
};

struct view {
    truth present;       /* not "not present": the walk goes on, or this is a leaf, or it is reserved */
    truth table;         /* of what is present: the walk goes on */
    truth reserved;      /* a bit or combination that the manual reserves, or that nobody asked for */
    word next;           /* table: its address */
    word output;         /* leaf: what the address of the access becomes */
    access kernel, user; /* leaf: what is let through right now; x86, EPT: also what a table does */
    truth global, run, encrypted;
    truth felt; /* of what is not present: the guest or the walk trips over it all the same */
    word type;  /* memory type, hardware_type() */
};

unsigned hardware_levels(const machine &m);
unsigned hardware_shift(const machine &m, unsigned level); /* an entry spans 2^this bytes */
unsigned hardware_width(const machine &m);                 /* of addresses, less the encrypt bit */
bool hardware_second_stage(const machine &m);

view hardware_look(const machine &m, unsigned level, word e, word va);

/* The leaf after an access, where processors record it (ASPACE_FEAT_AD). */
word hardware_used(const machine &m, word e, truth write);

/* The memory type that an attribute stands for. */
raw hardware_type(const machine &m, unsigned attr);

#endif
