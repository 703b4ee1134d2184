/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the boot sector of a disk that does what a Multiboot loader does, for machines without one (Bochs): it copies
 * parts of the disk to where the table at its end says, and starts the first of them. Whoever makes the disk fills in
 * the table. Must not know what the parts are.
 */
#include "../entry.h"

    .set    BUFFER, 0x10000     /* 64 KiB - 512 at most, so that no transfer crosses its end */
    .set    BUFFER_SECTORS, 64
    .set    INFO, 0x9000
    .set    TABLE, 0x7c00 + 512 - 2 - 4 - 16 * PARTS
    .set    PARTS, 4

    .code16
    .global sector
sector:
    cli
    xorw    %ax, %ax
    movw    %ax, %ds
    movw    %ax, %es
    movw    %ax, %ss
    movw    $0x7c00, %sp
    movb    %dl, drive
    inb     $0x92, %al          /* A20 */
    orb     $2, %al
    outb    %al, $0x92
    movw    $TABLE, %bp
next_part:                      /* a part: its first sector, how many, where to */
    movl    (%bp), %eax
    movl    %eax, packet_sector
next_piece:
    movl    4(%bp), %ecx
    testl   %ecx, %ecx
    jz      part_done
    cmpl    $BUFFER_SECTORS, %ecx
    jbe     1f
    movl    $BUFFER_SECTORS, %ecx
1:  movw    %cx, packet_count
    pushl   %ecx
    movw    $packet, %si
    movb    drive, %dl
    movb    $0x42, %ah
    int     $0x13
    jc      failed
    popl    %ecx
    addl    %ecx, packet_sector
    subl    %ecx, 4(%bp)
    shll    $9, %ecx
    call    all_memory
    movl    $BUFFER, %esi
    movl    8(%bp), %edi
    addl    %ecx, 8(%bp)
    shrl    $2, %ecx
    cld
    rep movsl %ds:(%esi), %es:(%edi)
    xorw    %ax, %ax
    movw    %ax, %ds
    movw    %ax, %es
    jmp     next_piece
part_done:
    addw    $16, %bp
    cmpw    $TABLE + 16 * PARTS, %bp
    jne     next_part

    movb    $0x34, %al          /* 64 KiB each, from 16 MiB on */
    outb    %al, $0x70
    inb     $0x71, %al
    movb    %al, %bl
    movb    $0x35, %al
    outb    %al, $0x70
    inb     $0x71, %al
    movb    %al, %bh
    movzwl  %bx, %eax
    shll    $6, %eax
    addl    $15 << 10, %eax
    movl    $5, INFO
    movl    %eax, INFO + 8
    movl    TABLE + 16 * PARTS, %eax
    movl    %eax, INFO + 16
    lgdt    gdt_pointer
    movl    $CR0_ET | CR0_PE, %eax
    movl    %eax, %cr0
    ljmpl   $SELECTOR_CODE, $protected

/* Real mode with segments of 4 GiB, until the BIOS is called again. Keeps all but AX. */
all_memory:
    lgdt    gdt_pointer
    movl    %cr0, %eax
    orb     $CR0_PE, %al
    movl    %eax, %cr0
    movw    $SELECTOR_DATA, %ax
    movw    %ax, %ds
    movw    %ax, %es
    movl    %cr0, %eax
    andb    $~CR0_PE, %al
    movl    %eax, %cr0
    xorw    %ax, %ax
    movw    %ax, %ds
    movw    %ax, %es
    ret

failed:
    movw    $0xe9, %dx
    movb    $'!', %al
    outb    %al, %dx
    hlt
    jmp     failed

    .code32
protected:
    movl    $SELECTOR_DATA, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %ss
    movl    $MULTIBOOT_LOADER_MAGIC, %eax
    movl    $INFO, %ebx
    jmp     *0x10001c           /* the header's entry_addr: the header is the first thing in our image */

    .balign 4
packet:
    .byte   16, 0
packet_count:
    .word   0
    .word   0, BUFFER >> 4
packet_sector:
    .long   0, 0
gdt:
    .quad   0
    .quad   0x00cf9b000000ffff
    .quad   0x00cf93000000ffff
gdt_pointer:
    .word   gdt_pointer - gdt - 1
    .long   gdt
drive:
    .byte   0

/* The table: of each part, 16 bytes; and where the command line is. */
    .org    512 - 2 - 4 - 16 * 4
    .skip   16 * 4 + 4, 0
    .word   0xaa55
