/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the first instructions of every CPU, from where Multiboot or a start-up interrupt leaves it to long mode with
 * all of 4 GiB mapped to itself, and the entries of interrupts in root mode.
 */
#include "entry.h"

    .section .text.boot, "ax"
    .code32
    .balign 4
multiboot_header:
    .long   MULTIBOOT_HEADER_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_HEADER_MAGIC + MULTIBOOT_FLAGS)
    .long   multiboot_header, image_begin, image_end, hyp_end, boot

    .global boot
boot:                       /* eax: the loader's magic, ebx: what it says */
    cld
    cli
    cmpl    $MULTIBOOT_LOADER_MAGIC, %eax
    jne     halt
    movl    $bss_start, %edi
    movl    $bss_end, %ecx
    subl    %edi, %ecx
    shrl    $2, %ecx
    xorl    %eax, %eax
    rep stosl
    movl    %ebx, %esi
    movl    $PTE_TABLE + page_tables_4, page_tables_5
    movl    $PTE_TABLE + page_tables_3, page_tables_4
    movl    $PTE_TABLE + page_tables_2, %eax
    movl    $page_tables_3, %edi
1:  movl    %eax, (%edi)
    addl    $4096, %eax
    addl    $8, %edi
    cmpl    $page_tables_3 + 8 * GIB_COUNT, %edi
    jne     1b
    movl    $PTE_LARGE, %eax
    movl    $page_tables_2, %edi
1:  movl    %eax, (%edi)
    addl    $0x200000, %eax
    addl    $8, %edi
    cmpl    $page_tables_2 + 4096 * GIB_COUNT, %edi
    jne     1b
    xorl    %ebp, %ebp

to_long_mode:               /* ebp: number of the CPU, esi: kept. Paging is off */
    movl    $7, %eax            /* five levels where the CPU has them: nested tables then have them, too */
    xorl    %ecx, %ecx
    cpuid
    movl    $CR4_PAE, %eax
    movl    $page_tables_4, %edi
    testl   $CPUID_7_ECX_LA57, %ecx
    jz      1f
    orl     $CR4_LA57, %eax
    movl    $page_tables_5, %edi
1:  movl    %eax, %cr4
    movl    %edi, %cr3
    movl    $MSR_EFER, %ecx
    rdmsr
    orl     $EFER_LME | EFER_NXE, %eax
    wrmsr
    movl    $CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_PE, %eax
    movl    %eax, %cr0
    lgdt    gdt_pointer
    ljmp    $SELECTOR_CODE, $long_mode
halt:
    hlt
    jmp     halt

/* Where a start-up interrupt sends a CPU, at TRAMPOLINE: 16-bit code. */
    .code16
    .global trampoline, trampoline_end, trampoline_cpu
trampoline:
    cli
    xorw    %ax, %ax
    movw    %ax, %ds
    lgdtl   TRAMPOLINE + trampoline_gdt - trampoline
    movl    TRAMPOLINE + trampoline_cpu - trampoline, %ebp
    movl    $CR0_ET | CR0_PE, %eax
    movl    %eax, %cr0
    ljmpl   $SELECTOR_CODE32, $trampoline_32
    .balign 4
trampoline_cpu:
    .long   0
trampoline_gdt:
    .word   gdt_end - gdt - 1
    .long   gdt
trampoline_end:

    .code32
trampoline_32:
    movl    $SELECTOR_DATA, %eax
    movl    %eax, %ds
    jmp     to_long_mode

    .code64
long_mode:
    movl    $SELECTOR_DATA, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %ss
    xorl    %eax, %eax
    movl    %eax, %fs
    movl    %eax, %gs
    lea     1(%rbp), %rsp
    shl     $STACK_LG2, %rsp
    add     $hyp_stacks, %rsp
    lidt    idt_pointer
    movl    %ebp, %edi
    testl   %edi, %edi
    jnz     1f
    movl    %esi, %edi
    call    hyp_main
1:  call    hyp_cpu_main

/* ---- interrupts and exceptions, in root mode ---- */

    .text
    .balign 16
    .global interrupt_entries
interrupt_entries:          /* 16 bytes each: its number, as if there had been an error code where the CPU pushes none */
    .set    vector, 0
    .rept   256
    .balign 16
    .if     !((vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21))
    pushq   $0
    .endif
    pushq   $vector
    .if     vector == VECTOR_NMI
    jmp     nmi
    .elseif vector < VECTORS_RESERVED
    jmp     exception
    .else
    jmp     interrupt
    .endif
    .set    vector, vector + 1
    .endr

exception:
    mov     %rsp, %rdi
    call    vcpu_own_exception

/* Somebody wants this CPU out of the guest, or awake: it is. One that comes before HLT has to end that too. */
nmi:
    add     $16, %rsp
    cmpq    $wait_unless, (%rsp)
    jb      1f
    cmpq    $wait_halt, (%rsp)
    ja      1f
    movq    $wait_over, (%rsp)
1:  iretq

/* wait_unless(rdi: a word): until an interrupt or an NMI, unless the word is not 0 already. */
    .global wait_unless
wait_unless:
    cmpl    $0, (%rdi)
    jne     wait_over
    sti
wait_halt:
    hlt
wait_over:
    cli
    ret

/* Only one at a time: it is noted, and the next is not let in until asked for. */
interrupt:
    push    %rax
    push    %rcx
    mov     %rsp, %rax
    sub     $hyp_stacks, %rax
    shr     $STACK_LG2, %rax
    mov     16(%rsp), %rcx
    mov     %ecx, interrupt_taken(, %rax, 4)
    andl    $~RFLAGS_IF, 48(%rsp)
    pop     %rcx
    pop     %rax
    add     $16, %rsp
    iretq

    .section .rodata
    .balign 8
gdt:
    .quad   0
    .quad   0x00af9b000000ffff /* SELECTOR_CODE */
    .quad   0x00cf93000000ffff /* SELECTOR_DATA */
    .quad   0x00cf9b000000ffff /* SELECTOR_CODE32 */
gdt_end:
gdt_pointer:
    .word   gdt_end - gdt - 1
    .quad   gdt

    .data
    .global idt_pointer
idt_pointer:
    .word   256 * 16 - 1
    .quad   idt

    .bss
    .balign 4096
page_tables_5:
    .skip   4096
page_tables_4:
    .skip   4096
page_tables_3:
    .skip   4096
page_tables_2:
    .skip   4096 * GIB_COUNT
    .global hyp_stacks
hyp_stacks:
    .skip   8 << STACK_LG2 /* HYP_CPUS_MAX */
    .global idt
idt:
    .skip   256 * 16
    .global interrupt_taken
interrupt_taken:
    .skip   8 * 4 /* HYP_CPUS_MAX */
