/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the way from the boot loader into long mode with four or five levels, the exceptions, the code that runs in user
 * mode and in a guest, and the accesses that may trap. Must not know what is asked.
 */
#define PHYS(symbol) ((symbol) - 0xffffffff80000000)
#define OPTION_SPECIAL 0x4000020 /* struct options, 64 MiB: 1 for five levels */
#define MAGIC 0x1badb002
#define FLAGS 0x00010000

    .section .text.boot, "ax"
    .code32
    .balign 4
header:                         /* Multiboot 1, with the addresses that an ELF of 64 bits cannot tell */
    .long   MAGIC, FLAGS, -(MAGIC + FLAGS)
    .long   PHYS(header), PHYS(image_begin), PHYS(image_end), PHYS(bss_end), PHYS(boot)
    .global boot
boot:
    cli
    cld
    movl    $PHYS(boot_stack_top), %esp
    movl    %cr4, %eax
    orl     $0xa0, %eax         /* PAE, PGE */
    cmpl    $0, OPTION_SPECIAL
    je      1f
    cmpl    $2, OPTION_SPECIAL
    je      1f
    orl     $0x1000, %eax       /* LA57 */
1:  movl    %eax, %cr4
    movl    $PHYS(own_root), %eax
    cmpl    $1, OPTION_SPECIAL
    jne     2f
    movl    $PHYS(own_root5), %eax
2:  movl    %eax, %cr3
    movl    $0xc0000080, %ecx
    rdmsr
    orl     $0x900, %eax        /* LME, NXE */
    wrmsr
    movl    $0x80010013, %eax   /* PG, WP, ET, MP, PE */
    movl    %eax, %cr0
    lgdt    PHYS(gdt_low)
    ljmp    $8, $PHYS(long_mode)

    .code64
long_mode:
    movabs  $upper, %rax
    jmp     *%rax
upper:
    lgdt    gdt_pointer(%rip)
    movl    $16, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %ss
    lea     boot_stack_top(%rip), %rsp
    lea     tss(%rip), %rax     /* the descriptor's base */
    movw    %ax, gdt_tss + 2(%rip)
    shrq    $16, %rax
    movb    %al, gdt_tss + 4(%rip)
    movb    %ah, gdt_tss + 7(%rip)
    shrq    $16, %rax
    movl    %eax, gdt_tss + 8(%rip)
    lea     trap_stack_top(%rip), %rax
    movq    %rax, tss + 4(%rip)
    movl    $0x28, %eax
    ltr     %ax
    call    machine_interrupts
    lidt    idt_pointer(%rip)
    call    oracle_main

/* Every exception ends what was tried: try_access and its like return the vector, and the rest is in trap_frame. */
    .global exceptions
    .balign 16
exceptions:
    .set    vector, 0
    .rept   32
    .balign 16
    .if (vector != 8) && (vector < 10 || vector > 14) && (vector != 17)
    push    $0
    .endif
    push    $vector
    jmp     exception
    .set    vector, vector + 1
    .endr

exception:                      /* vector, code, rip, cs, rflags, rsp, ss */
    movq    %rdx, found(%rip)
    popq    %rax
    popq    trap_frame(%rip)
    popq    trap_frame + 8(%rip)
    popq    trap_frame + 16(%rip)
    movq    %cr2, %rcx
    movq    %rcx, trap_frame + 24(%rip)
    cmpq    $0, expecting(%rip)
    je      machine_own_fault_entry
back:
    movl    $16, %ecx
    movl    %ecx, %ds
    movl    %ecx, %es
    movl    %ecx, %ss
    movq    $0, expecting(%rip)
    movq    kept(%rip), %rsp
    movq    kept + 8(%rip), %rbx
    movq    kept + 16(%rip), %rbp
    movq    kept + 24(%rip), %r12
    movq    kept + 32(%rip), %r13
    movq    kept + 40(%rip), %r14
    movq    kept + 48(%rip), %r15
    ret

machine_own_fault_entry:
    movq    %rax, %rdi
    lea     boot_stack_top(%rip), %rsp
    jmp     machine_own_fault

    .macro  keep
    movq    %rsp, kept(%rip)
    movq    %rbx, kept + 8(%rip)
    movq    %rbp, kept + 16(%rip)
    movq    %r12, kept + 24(%rip)
    movq    %r13, kept + 32(%rip)
    movq    %r14, kept + 40(%rip)
    movq    %r15, kept + 48(%rip)
    movq    $1, expecting(%rip)
    .endm

/* uint64_t try_kernel(va, value, code), try_user(va, value, code): runs one of the snippets below, whose place in their
 * page is `code`, and returns the vector that ended it. What was read is in rdx then, and here in `found`. */
    .global try_kernel, try_user
try_kernel:
    keep
    lea     snippets(%rip), %rax
    addq    %rdx, %rax
    movq    %rsi, %rdx
    jmp     *%rax
try_user:
    keep
    movabs  $0xffff808000000000, %rax   /* the user's map of the snippets: entry 257 of the level below the top */
    addq    %rdx, %rax
    movq    %rsi, %rdx
    pushq   $0x23
    pushq   $0
    pushq   $2
    pushq   $0x1b
    pushq   %rax
    iretq

/* uint64_t try_guest(va, value, code, vmcb): the same in a guest; what ended it is in the VMCB. */
    .global try_guest
try_guest:
    keep
    movq    %rcx, %rax
    movq    %rsi, %rdx
    vmrun   %rax                /* what VMLOAD would load is the same for both */
    movq    %rdx, found(%rip)
    jmp     back

/* uint64_t try_vmx(va, value, launched): 0, or 1 if there was no entry. */
    .global try_vmx, vmx_exit
try_vmx:
    keep
    movq    %rdx, %rcx
    movq    %rsi, %rdx
    testq   %rcx, %rcx
    jnz     1f
    vmlaunch
    jmp     2f
1:  vmresume
2:  movl    $1, %eax
    jmp     back
vmx_exit:
    movq    %rdx, found(%rip)
    xorl    %eax, %eax
    jmp     back

    .balign 4096
    .global snippets
snippets:                       /* rdi: address, rdx: value */
    movq    (%rdi), %rdx
    int3
    .balign 16
    movq    %rdx, (%rdi)
    int3
    .balign 16
    jmp     *%rdi
    .balign 16                  /* the same for a guest */
    movq    (%rdi), %rdx
    vmmcall
    .balign 16
    movq    %rdx, (%rdi)
    vmmcall
    .balign 16
    jmp     *%rdi
    .balign 16                  /* and for one of the other maker's */
    movq    (%rdi), %rdx
    vmcall
    .balign 16
    movq    %rdx, (%rdi)
    vmcall
    .balign 16
    jmp     *%rdi
    .balign 4096

    .data
    .balign 8
    .global gdt
gdt:
    .quad   0
    .quad   0x00af9b000000ffff  /* 8: code */
    .quad   0x00cf93000000ffff  /* 16: data */
    .quad   0x00affb000000ffff  /* 24: user code */
    .quad   0x00cff3000000ffff  /* 32: user data */
gdt_tss:
    .quad   0x0000890000000067, 0
gdt_end:
gdt_low:
    .word   gdt_end - gdt - 1
    .long   PHYS(gdt)
gdt_pointer:
    .word   gdt_end - gdt - 1
    .quad   gdt
idt_pointer:
    .word   32 * 16 - 1
    .quad   idt
    .balign 8
expecting:
    .quad   0

/* Own tables: one to one below for the way up, the same from the first upper address on, 1 GiB at the top. */
    .balign 4096
    .global own_root, own_root5
own_root:
    .quad   PHYS(own_gib) + 7
    .fill   255, 8, 0
    .quad   PHYS(own_gib) + 3
    .quad   0                   /* 257: snippets for the user, machine.c */
    .fill   253, 8, 0
    .quad   PHYS(own_top) + 3
own_root5:
    .quad   PHYS(own_root) + 7
    .fill   510, 8, 0
    .quad   PHYS(own_root) + 7
own_gib:
    .set    gib, 0
    .rept   512
    .quad   (gib << 30) + 0xe3
    .set    gib, gib + 1
    .endr
own_top:
    .fill   510, 8, 0
    .quad   0xe3
    .quad   0

    .bss
    .balign 16
    .global idt, trap_frame, found, tss, trap_stack_top
idt:
    .skip   32 * 16
tss:
    .skip   104
trap_frame:
    .skip   32
found:
    .skip   8
kept:
    .skip   64
    .balign 16
    .skip   4096
trap_stack_top:
    .skip   65536
boot_stack_top:
