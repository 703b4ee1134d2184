/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tags (VMIDs, ASIDs, PCIDs) for more spaces than the hardware has numbers. An allocator hands them out by generation:
 * when all numbers are used up, a new generation begins, in which only the spaces that CPUs run right now keep theirs;
 * every other space gets one when it is activated next. What CPUs remember under a number from its former owner is
 * flushed at the new owner's first activation on each of them, so a roll-over interrupts nobody.
 *
 * One allocator for each set of numbers: one for VMIDs, one for ASIDs. A space belongs to one allocator for life. On
 * each CPU at most one space of an allocator is loaded at a time; while switching, in this order:
 * aspace_tags_activate(new), load the registers, aspace_deactivate(old).
 */
#ifndef ASPACE_TAG_H
#define ASPACE_TAG_H

#include <aspace/aspace.h>

#ifdef __cplusplus
extern "C" {
#endif

struct aspace_tags_config {
    unsigned cpus;  /* as of the host: aspace_cpu_id() is below. 0 means 1 */
    unsigned bits;  /* width of a tag, 1 to 16: Arm 8 or 16, RISC-V as found by writing satp or hgatp, x86 PCID 12 */
    uint32_t first; /* lowest tag to hand out; those below are the embedder's own */
};

/* Opaque; ASPACE_TAGS_BYTES(cpus, bits) bytes, aligned to ASPACE_CACHE_LINE, supplied by the caller. */
struct aspace_tags;
#define ASPACE_TAGS_BYTES(cpus, bits) (256u + (size_t)(cpus)*128u + ((size_t)1 << ((bits) > 6 ? (bits)-3 : 3)))

/* Failure: INVALID (bits, too many CPUs, or not more tags than CPUs: each may hold one through a roll-over). */
ASPACE_MUST_CHECK int aspace_tags_init(struct aspace_tags *tags, const struct aspace_tags_config *config);

/*
 * aspace_activate for a space whose tag the allocator sees to: afterwards aspace_registers has a tag that no other
 * space of the allocator uses, and the CPU remembers nothing under it from before. Cannot fail. Context: as
 * aspace_activate; takes the allocator's lock only if the space has no tag of this generation. Cost: a compare-and-swap
 * on a word of the CPU's own beside aspace_activate; once a generation and space a search for a free number.
 */
void aspace_tags_activate(struct aspace_tags *tags, struct aspace *space);

/* The generation, from 1: how often the numbers were used up, and one more. */
uint64_t aspace_tags_generation(const struct aspace_tags *tags);

#ifdef __cplusplus
}
#endif
#endif
