/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the first instructions at EL2, the vectors of EL2 and EL1, and the way to EL1 and EL0 and back. Must not know
 * what is asked.
 */
    .section .text.boot, "ax"
    .global boot
boot:
    adrp    x1, stack_top
    add     x1, x1, :lo12:stack_top
    mov     sp, x1
    adrp    x1, vectors
    add     x1, x1, :lo12:vectors
    msr     vbar_el2, x1
    isb
    b       oracle_main

/* uint64_t visit(uint64_t pc, uint64_t spsr): what is at pc is executed at the level that spsr tells, until something
 * brings it back to EL2. The answer is ESR_EL2. All that the callee has to keep is in memory: what is executed may be
 * anything. */
    .text
    .global visit
visit:
    adrp    x2, kept
    add     x2, x2, :lo12:kept
    stp     x19, x20, [x2, #0]
    stp     x21, x22, [x2, #16]
    stp     x23, x24, [x2, #32]
    stp     x25, x26, [x2, #48]
    stp     x27, x28, [x2, #64]
    stp     x29, x30, [x2, #80]
    mov     x3, sp
    str     x3, [x2, #96]
    msr     elr_el2, x0
    msr     spsr_el2, x1
    isb
    eret
back:
    adrp    x2, kept
    add     x2, x2, :lo12:kept
    ldp     x19, x20, [x2, #0]
    ldp     x21, x22, [x2, #16]
    ldp     x23, x24, [x2, #32]
    ldp     x25, x26, [x2, #48]
    ldp     x27, x28, [x2, #64]
    ldp     x29, x30, [x2, #80]
    ldr     x3, [x2, #96]
    mov     sp, x3
    mrs     x0, esr_el2
    ret

own_fault:
    mrs     x0, esr_el2
    mrs     x1, elr_el2
    mrs     x2, far_el2
    b       machine_own_fault

    .macro  vector to
    .balign 128
    b       \to
    .endm

    .balign 2048
vectors:
    .rept   8               /* from EL2 itself */
    vector  own_fault
    .endr
    vector  back            /* from AArch64 below: synchronous */
    .rept   7
    vector  own_fault
    .endr

/* What EL1 is told, EL2 wants to hear. */
    .balign 2048
    .global vectors_el1
vectors_el1:
    .rept   16
    .balign 128
    hvc     #1
    .endr

    .bss
    .balign 16
kept:
    .skip   112
    .skip   65536
stack_top:
