/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the arm64 Image header, the first instructions of every CPU at EL2, the vectors, and the way into the guest. The
 * hypervisor uses no floating point registers: they stay the guest's.
 */
#define REGS_BYTES 256
#define STACK_LG2 14 /* HYP_STACK_BYTES */

    .section .text.header, "ax"
    .global image_header
image_header:
    b       boot
    .long   0
    .quad   0               /* text_offset */
    .quad   image_size
    .quad   0xa             /* little endian, 4K pages, anywhere in memory */
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

    .text
boot:
    adrp    x1, bss_start
    add     x1, x1, :lo12:bss_start
    adrp    x2, bss_end
    add     x2, x2, :lo12:bss_end
1:  cmp     x1, x2
    b.hs    2f
    stp     xzr, xzr, [x1], #16
    b       1b
2:  mov     x19, x0
    mov     x0, xzr
    bl      set_cpu
    mov     x0, x19
    bl      hyp_main

    /* PSCI enters here with the CPU's number in x0. */
    .global cpu_entry
cpu_entry:
    mov     x19, x0
    bl      set_cpu
    mov     x0, x19
    bl      hyp_cpu_main

/* x0: number of the CPU. Stack, TPIDR_EL2, vectors. */
set_cpu:
    msr     tpidr_el2, x0
    adrp    x1, stacks
    add     x1, x1, :lo12:stacks
    add     x0, x0, #1
    add     x1, x1, x0, lsl #STACK_LG2
    mov     sp, x1
    adrp    x1, vectors
    add     x1, x1, :lo12:vectors
    msr     vbar_el2, x1
    isb
    ret

/* The registers of the guest at x0 become the CPU's. Never returns: exits enter through the vectors. The stack is empty
 * from here on. */
    .global guest_enter
guest_enter:
    mov     x2, x0
    mrs     x0, tpidr_el2
    adrp    x1, stacks
    add     x1, x1, :lo12:stacks
    add     x0, x0, #1
    add     x1, x1, x0, lsl #STACK_LG2
    sub     sp, x1, #REGS_BYTES
    add     x2, x2, #REGS_BYTES /* from the end: x0 points into the stack that they go to the top of */
    mov     x4, #REGS_BYTES
1:  ldp     x5, x6, [x2, #-16]!
    subs    x4, x4, #16
    add     x3, sp, x4
    stp     x5, x6, [x3]
    b.ne    1b
    b       guest_return

guest_exit:
    sub     sp, sp, #REGS_BYTES
    stp     x0, x1, [sp, #0]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    str     x30, [sp, #240]
    mov     x0, sp
    bl      vcpu_exit
guest_return:
    ldp     x0, x1, [sp, #0]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    ldr     x30, [sp, #240]
    add     sp, sp, #REGS_BYTES
    eret

own_fault:
    mrs     x0, esr_el2
    mrs     x1, elr_el2
    mrs     x2, far_el2
    bl      vcpu_own_fault

/* Call the firmware with the eight registers at x0; four come back. */
    .global smc_call
smc_call:
    mov     x8, x0
    ldp     x0, x1, [x8, #0]
    ldp     x2, x3, [x8, #16]
    ldp     x4, x5, [x8, #32]
    ldp     x6, x7, [x8, #48]
    str     x8, [sp, #-16]!
    smc     #0
    ldr     x8, [sp], #16
    stp     x0, x1, [x8, #0]
    stp     x2, x3, [x8, #16]
    ret

    .macro  vector to
    .balign 128
    b       \to
    .endm

    .balign 2048
vectors:
    .rept   8               /* from EL2 itself */
    vector  own_fault
    .endr
    vector  guest_exit      /* from AArch64 below: synchronous; interrupts go to the guest without us */
    vector  own_fault
    vector  own_fault
    vector  own_fault
    .rept   4               /* from AArch32 below */
    vector  own_fault
    .endr

    .bss
    .balign 16
    .global stacks
stacks:
    .skip   8 << STACK_LG2  /* HYP_CPUS_MAX */
