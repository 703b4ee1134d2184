/* SPDX-License-Identifier: BSD-2-Clause */
/* A break and stacks that grow, as helpers over the operations of aspace.h. Each keeps its state in the caller's memory
 * and may be left alone for operations of one's own on the same ranges. */
#ifndef ASPACE_LAYOUT_H
#define ASPACE_LAYOUT_H

#include <aspace/fault.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The memory from `start` up to the break, filled at first touch. The caller sets the first five members. */
struct aspace_brk {
    struct aspace *space;
    aspace_va_t start; /* 4 KiB aligned */
    uint64_t limit;    /* most bytes, 4 KiB aligned */
    uint32_t rights, max_rights;
    aspace_va_t end; /* the break; 0 before the first call stands for start */
};

/*
 * Set the break, up or down; any byte address from start to start + limit. Whole pages are mapped and unmapped. Calls
 * for one break must not be made at the same time.
 * Failure: LIMIT (outside of start and limit), EXISTS (another area is in the way), and those of map and unmap; nothing
 * has changed, the break included. Cost: one map or unmap, or none within a page.
 */
ASPACE_MUST_CHECK int aspace_brk_set(struct aspace_brk *brk, aspace_va_t end);

/* A stack that grows down, filled at first touch, with a guard range below it. The caller sets all but the last two. */
struct aspace_stack {
    struct aspace *space;
    aspace_va_t top; /* one past its last byte; all 4 KiB aligned, as what follows */
    uint64_t size;   /* bytes mapped at first, not 0 */
    uint64_t limit;  /* bytes it may grow to, at least size */
    uint64_t gap;    /* bytes of guard kept below, not 0: the least distance to any other area */
    uint32_t rights;
    aspace_va_t low; /* the lowest byte mapped now */
    uint32_t lock;   /* the library's */
};

/* Map the first part, and the guard below it, in one step. Failure: INVALID, and those of aspace_map_batch. */
ASPACE_MUST_CHECK int aspace_stack_map(struct aspace_stack *stack);

/*
 * aspace_fault for an address of the stack, its guard, or what it may grow into: grows the stack to the page at va if
 * that is below it, within the limit, and the gap below stays free; then handles the fault. GUARD: it may not grow so
 * far, or another area would come nearer than the gap. NO_MEMORY: no page was filled, though the stack may
 * have grown. Any CPU, any time; RETRY while another CPU makes it grow.
 */
ASPACE_MUST_CHECK enum aspace_fault_result aspace_stack_fault(struct aspace_stack *stack, aspace_va_t va,
                                                              uint32_t access);

#ifdef __cplusplus
}
#endif
#endif
