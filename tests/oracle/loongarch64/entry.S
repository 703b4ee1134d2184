/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the first instructions, the trap vector, and accesses that may trap. Must not know what is asked. Registers by
 * their numbers: LoongArch Reference Manual, volume 1, 7.4 and 7.5.
 */
    .equ    CRMD, 0x0
    .equ    ESTAT, 0x5
    .equ    ERA, 0x6
    .equ    EENTRY, 0xc
    .equ    STLBPS, 0x1e
    .equ    TLBRENTRY, 0x88
    .equ    DMW0, 0x180

    .section .text.boot, "ax"
    .global boot
boot:                               /* untranslated: the upper bits of addresses are dropped */
    li.d    $t1, 0x9000000000000000
    ori     $t0, $t1, 0x19          /* the window: PLV 0 and 3, coherent cached */
    csrwr   $t0, DMW0
    la.pcrel $t0, start
    bstrins.d $t0, $zero, 63, 48
    or      $t0, $t0, $t1
    jr      $t0

start:
    li.w    $t0, 0xb0               /* PLV 0, no interrupts, translation on */
    csrwr   $t0, CRMD
    la.pcrel $t0, trap
    csrwr   $t0, EENTRY
    la.pcrel $t0, refill
    bstrins.d $t0, $zero, 63, 48    /* a physical address: the handler runs untranslated */
    csrwr   $t0, TLBRENTRY
    li.w    $t0, 12
    csrwr   $t0, STLBPS
    la.pcrel $sp, stack_top
    b       oracle_main

/* Registers are saved or taken back, by `how`. */
    .macro  callee_saved how
    \how    $ra, $t0, 0
    \how    $tp, $t0, 8
    \how    $sp, $t0, 16
    \how    $r21, $t0, 24
    \how    $fp, $t0, 32
    \how    $s0, $t0, 40
    \how    $s1, $t0, 48
    \how    $s2, $t0, 56
    \how    $s3, $t0, 64
    \how    $s4, $t0, 72
    \how    $s5, $t0, 80
    \how    $s6, $t0, 88
    \how    $s7, $t0, 96
    \how    $s8, $t0, 104
    .endm

/*
 * uint64_t try_load(va), try_store(va, value), try_fetch(va): at the privilege that PRMD has. The answer is ESTAT of
 * the trap that came, SYSCALL's where the access took place; what was loaded is in `loaded`. All that a callee has to
 * keep is in memory: what is executed may be anything.
 */
    .macro  keep
    la.pcrel $t0, kept
    callee_saved st.d
    li.w    $t1, 1
    st.d    $t1, $t0, 112
    .endm

    .text
    .global try_load
try_load:
    keep
    la.pcrel $t0, load
    csrwr   $t0, ERA
    ertn
load:
    ld.d    $t2, $a0, 0
    syscall 0

    .global try_store
try_store:
    keep
    la.pcrel $t0, store
    csrwr   $t0, ERA
    ertn
store:
    st.d    $a1, $a0, 0
    syscall 0

    .global try_fetch
try_fetch:
    keep
    csrwr   $a0, ERA
    ertn

    .balign 4096
trap:
    la.pcrel $t0, kept
    ld.d    $t1, $t0, 112
    beqz    $t1, own_trap
    st.d    $zero, $t0, 112
    la.pcrel $t1, loaded
    st.d    $t2, $t1, 0
    callee_saved ld.d
    csrrd   $a0, ESTAT
    jr      $ra
own_trap:
    csrrd   $a0, ESTAT
    csrrd   $a1, ERA
    la.pcrel $sp, stack_top
    b       machine_own_fault

    .bss
    .balign 16
    .global loaded
loaded:
    .skip   8
    .balign 16
kept:
    .skip   128
    .skip   65536
stack_top:
