/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the first instructions of every CPU in HS mode, the trap vector and the way into the guest. All enter at boot:
 * firmware may start a CPU before it has noted where (OpenSBI 1.1 marks a hart as starting, then writes the address and
 * argument; a hart that wakes in between takes those of the first boot). While the guest runs, sscratch is the top of the CPU's stack, where its number lies; in HS mode it is zero. The hypervisor uses no
 * floating point registers: they stay the guest's.
 */
#define REGS_BYTES 256
#define TOP_BYTES 16
#define STACK_LG2 14 /* HYP_STACK_BYTES */
#define MACHINE_CPU_ID 24 /* offsetof(struct machine, cpu_id) */

    .section .text.boot, "ax"
    .global boot
boot:                       /* a0: hart id; a1: device tree, on the first hart that comes here */
    la      t0, boot_taken
    li      t1, 1
    amoswap.d.aqrl t1, t1, (t0)
    bnez    t1, later_boot
    la      t0, bss_start
    la      t1, bss_end
1:  bgeu    t0, t1, 2f
    sd      zero, 0(t0)
    addi    t0, t0, 8
    j       1b
2:  la      t0, boot_hart
    sd      a0, 0(t0)
    mv      s0, a1
    li      a0, 0
    call    set_cpu
    mv      a0, s0
    call    hyp_main

later_boot:                 /* the CPU's number is the place of its hart id */
    la      t0, machine + MACHINE_CPU_ID
    li      s0, -1
1:  addi    s0, s0, 1
    ld      t1, 0(t0)
    addi    t0, t0, 8
    bne     t1, a0, 1b
    mv      a0, s0
    call    set_cpu
    mv      a0, s0
    call    hyp_cpu_main

set_cpu:                    /* a0: number of the CPU. Stack, tp, trap vector; uses t0, t1 only */
    mv      tp, a0
    la      t0, stacks
    addi    t1, a0, 1
    slli    t1, t1, STACK_LG2
    add     sp, t0, t1
    addi    sp, sp, -TOP_BYTES
    sd      a0, 0(sp)
    csrw    sscratch, zero
    la      t0, trap
    csrw    stvec, t0
    ret

    .macro  each_register op
    \op     x1, 8(sp)
    \op     x3, 24(sp)
    \op     x4, 32(sp)
    \op     x5, 40(sp)
    \op     x6, 48(sp)
    \op     x7, 56(sp)
    \op     x8, 64(sp)
    \op     x9, 72(sp)
    \op     x10, 80(sp)
    \op     x11, 88(sp)
    \op     x12, 96(sp)
    \op     x13, 104(sp)
    \op     x14, 112(sp)
    \op     x15, 120(sp)
    \op     x16, 128(sp)
    \op     x17, 136(sp)
    \op     x18, 144(sp)
    \op     x19, 152(sp)
    \op     x20, 160(sp)
    \op     x21, 168(sp)
    \op     x22, 176(sp)
    \op     x23, 184(sp)
    \op     x24, 192(sp)
    \op     x25, 200(sp)
    \op     x26, 208(sp)
    \op     x27, 216(sp)
    \op     x28, 224(sp)
    \op     x29, 232(sp)
    \op     x30, 240(sp)
    \op     x31, 248(sp)
    .endm

    .balign 4
trap:
    csrrw   sp, sscratch, sp
    beqz    sp, own_trap
    addi    sp, sp, -REGS_BYTES
    each_register sd
    csrrw   t0, sscratch, zero
    sd      t0, 16(sp)
    ld      tp, REGS_BYTES(sp)
    mv      a0, sp
    call    vcpu_exit
guest_return:
    addi    t0, sp, REGS_BYTES
    csrw    sscratch, t0
    each_register ld
    ld      sp, 16(sp)
    sret

own_trap:
    csrrw   sp, sscratch, sp
    csrr    a0, scause
    csrr    a1, sepc
    csrr    a2, stval
    call    vcpu_own_trap

/* The registers of the guest at a0 become the CPU's. Never returns: traps enter through the vector. Copied from the end,
 * since a0 points into the stack that they go to the top of. */
    .global guest_enter
guest_enter:
    la      t0, stacks
    addi    t1, tp, 1
    slli    t1, t1, STACK_LG2
    add     t0, t0, t1
    addi    sp, t0, -(TOP_BYTES + REGS_BYTES)
    addi    t0, sp, REGS_BYTES
    addi    a0, a0, REGS_BYTES
1:  addi    a0, a0, -8
    addi    t0, t0, -8
    ld      t2, 0(a0)
    sd      t2, 0(t0)
    bne     t0, sp, 1b
    j       guest_return

    .data
    .balign 8
    .global boot_hart
boot_hart:
    .dword  0
boot_taken:
    .dword  0

    .bss
    .balign 16
    .global stacks
stacks:
    .skip   8 << STACK_LG2  /* HYP_CPUS_MAX */
