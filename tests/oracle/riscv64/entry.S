/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the first instructions in M mode, which leave all to HS mode, the trap vector, and accesses that may trap. Must
 * not know what is asked.
 */
    .section .text.boot, "ax"
    .global boot
boot:                           /* in M mode; one hart */
    la      t0, machine_fault
    csrw    mtvec, t0
    li      t0, -1
    csrw    0x3b0, t0           /* pmpaddr0: all memory ... */
    li      t0, 0x1f
    csrw    0x3a0, t0           /* pmpcfg0: ... NAPOT, read, write, execute */
    li      t0, 0xf0b5ff
    csrw    medeleg, t0         /* all exceptions but those of HS and M themselves */
    csrw    mideleg, zero
    li      t0, -1
    csrw    0x30a, t0           /* menvcfg: PBMTE, and what else there is */
    li      t0, 3 << 11
    csrc    mstatus, t0
    li      t0, 1 << 11
    csrs    mstatus, t0         /* MPP: S */
    csrw    satp, zero
    la      t0, start
    csrw    mepc, t0
    mret

start:
    la      sp, stack_top
    la      t0, own_trap
    csrw    stvec, t0
    j       oracle_main

machine_fault:
    csrr    a0, mcause
    csrr    a1, mepc
    csrr    a2, mtval
    la      sp, stack_top
    j       machine_own_fault
    .balign 4
own_trap:
    csrr    a0, scause
    csrr    a1, sepc
    csrr    a2, stval
    la      sp, stack_top
    j       machine_own_fault

/*
 * uint64_t try_load(va, uint64_t *value), try_store(va, value), try_fetch(va): 0, or what trapped, plus 1. All that a
 * callee has to keep is in memory: what is executed may be anything.
 */
    .macro  keep
    la      t0, kept
    sd      ra, 0(t0)
    sd      sp, 8(t0)
    sd      gp, 16(t0)
    sd      tp, 24(t0)
    sd      s0, 32(t0)
    sd      s1, 40(t0)
    sd      s2, 48(t0)
    sd      s3, 56(t0)
    sd      s4, 64(t0)
    sd      s5, 72(t0)
    sd      s6, 80(t0)
    sd      s7, 88(t0)
    sd      s8, 96(t0)
    sd      s9, 104(t0)
    sd      s10, 112(t0)
    sd      s11, 120(t0)
    la      t0, back
    csrw    stvec, t0
    .endm

    .text
    .global try_load
try_load:
    keep
    .insn   r 0x73, 4, 0x36, t2, a0, x0     /* hlv.d t2, (a0) */
    sd      t2, 0(a1)
    j       done

    .global try_store
try_store:
    keep
    .insn   r 0x73, 4, 0x37, x0, a0, a1     /* hsv.d a1, (a0) */
done:
    la      t0, own_trap
    csrw    stvec, t0
    li      a0, 0
    ret

    .global try_fetch
try_fetch:
    keep
    csrw    sepc, a0
    sret

    .balign 4
back:
    la      t0, kept
    ld      ra, 0(t0)
    ld      sp, 8(t0)
    ld      gp, 16(t0)
    ld      tp, 24(t0)
    ld      s0, 32(t0)
    ld      s1, 40(t0)
    ld      s2, 48(t0)
    ld      s3, 56(t0)
    ld      s4, 64(t0)
    ld      s5, 72(t0)
    ld      s6, 80(t0)
    ld      s7, 88(t0)
    ld      s8, 96(t0)
    ld      s9, 104(t0)
    ld      s10, 112(t0)
    ld      s11, 120(t0)
    la      t0, own_trap
    csrw    stvec, t0
    csrr    a0, scause
    addi    a0, a0, 1
    ret

    .bss
    .balign 16
kept:
    .skip   128
    .skip   65536
stack_top:
