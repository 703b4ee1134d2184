/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the handler that fills the TLB from the library's tables: up to PUT_BACK the one that an embedder needs
 * (docs/formats.md). Must not know who asks. Sections are those of the LoongArch Reference Manual, volume 1.
 */
    .equ    PGD, 0x1b               /* 7.5.7: PGDL or PGDH, by bit 63 of the address */
    .equ    SAVE0, 0x30             /* 7.4.16 */
    .equ    SAVE1, 0x31
    .equ    SAVE2, 0x32
    .equ    TLBRBADV, 0x89          /* 7.5.12 and following */
    .equ    TLBRSAVE, 0x8b
    .equ    TLBRELO0, 0x8c
    .equ    TLBRELO1, 0x8d
    .equ    TLBREHI, 0x8e

    .text
    .global refill
    .balign 4096
refill:
    csrwr   $t0, TLBRSAVE
    csrwr   $t1, SAVE0
    csrrd   $t0, PGD
    lddir   $t0, $t0, 3
    lddir   $t0, $t0, 2
    lddir   $t0, $t0, 1
    andi    $t1, $t0, 0x40          /* H: a leaf above level 0, or a marker there */
    beqz    $t1, pair
    bstrpick.d $t1, $t0, 14, 13
    addi.d  $t1, $t1, -2
    beqz    $t1, no_such_page       /* of the root: 512 GiB, which PRCFG2 does not have */
pair:
    ldpte   $t0, 0
    ldpte   $t0, 1
    b       put_back
fill:
    tlbfill
    csrrd   $t1, SAVE0
    csrrd   $t0, TLBRSAVE
    ertn

no_such_page:                       /* is a marker: nothing is valid here; D tells the oracle who said so */
    li.w    $t0, 2
    csrwr   $t0, TLBRELO0
    li.w    $t0, 2
    csrwr   $t0, TLBRELO1
    li.w    $t0, 12
    li.w    $t1, 0x3f
    csrxchg $t0, $t1, TLBREHI       /* PS: 4 KiB */
    b       fill

/*
 * PUT_BACK: LDDIR and LDPTE of QEMU, up to 10.0 at least, lose bits 63 to 48 of an entry, and with them NX and NR. They
 * are read here and put back into both halves of the pair. Where they are not lost nothing changes.
 */
    .macro  directory low
    bstrpick.d $t1, $t3, \low + 8, \low
    alsl.d  $t1, $t1, $t0, 3
    ld.d    $t0, $t1, 0
    andi    $t1, $t0, 0x40
    bnez    $t1, put_back_large
    .endm
    .macro  put_back_bits entry, register
    bstrins.d \entry, $zero, 47, 0
    csrrd   $t3, \register
    or      $t3, $t3, \entry
    csrwr   $t3, \register
    .endm
put_back:
    csrwr   $t2, SAVE1
    csrwr   $t3, SAVE2
    csrrd   $t3, TLBRBADV
    csrrd   $t0, PGD
    directory 39
    directory 30
    directory 21
    bstrpick.d $t1, $t3, 20, 13
    slli.d  $t1, $t1, 4
    add.d   $t1, $t1, $t0
    ld.d    $t0, $t1, 0
    ld.d    $t2, $t1, 8
    b       put_back_pair
put_back_large:
    move    $t2, $t0
put_back_pair:
    put_back_bits $t0, TLBRELO0
    put_back_bits $t2, TLBRELO1
    csrrd   $t3, SAVE2
    csrrd   $t2, SAVE1
    b       fill
