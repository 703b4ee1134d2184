/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The first sector of a disk, where there is no other boot loader: reads the options and the image, and leaves them
 * where a loader would have. Owns the way from real mode to the image. Assembled alone. Must not know the image but for its place and the place where it begins.
 */
#define OPTIONS_AT 0x4000000
#define IMAGE_AT 0x100000
#define LOW_AT 0x10000
#define CHUNK 64                /* sectors: half a segment */
#define CHUNKS 15

    .code16
    .section .text
    .globl  _start
_start:
    cli
    xorw    %ax, %ax
    movw    %ax, %ds
    movw    %ax, %ss
    movw    $0x7c00, %sp
    movw    $CHUNKS, %cx
next:
    pushw   %cx
    movw    $packet, %si
    movb    $0x42, %ah
    int     $0x13
    popw    %cx
    addw    $(CHUNK * 32), packet + 6
    addl    $CHUNK, packet + 8
    loop    next
    cli
    inb     $0x92, %al
    orb     $2, %al
    outb    %al, $0x92
    lgdtl   pointer
    movl    %cr0, %eax
    orb     $1, %al
    movl    %eax, %cr0
    ljmpl   $8, $wide

    .code32
wide:
    movw    $16, %ax
    movw    %ax, %ds
    movw    %ax, %es
    movw    %ax, %ss
    movl    $LOW_AT, %esi
    movl    $OPTIONS_AT, %edi
    movl    $128, %ecx
    rep movsl
    movl    $IMAGE_AT, %edi
    movl    $((CHUNK * CHUNKS - 1) * 128), %ecx
    rep movsl
    movl    IMAGE_AT + 28, %eax /* entry address of the header */
    jmp     *%eax

    .balign 4
packet:
    .byte   16, 0
    .word   CHUNK, 0, LOW_AT / 16
    .quad   1
    .balign 8
table:
    .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff
pointer:
    .word   23
    .long   table
    .org    510
    .word   0xaa55
