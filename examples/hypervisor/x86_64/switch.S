/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the instructions around the entry to the guest: general registers are exchanged here, all else is the CPU's
 * business. The layout of registers is that of struct vcpu_state. The hypervisor uses no others: they stay the guest's.
 */
    .macro  each_register op
    \op     8, %rcx
    \op     16, %rdx
    \op     24, %rbx
    \op     40, %rbp
    \op     48, %rsi
    \op     64, %r8
    \op     72, %r9
    \op     80, %r10
    \op     88, %r11
    \op     96, %r12
    \op     104, %r13
    \op     112, %r14
    \op     120, %r15
    .endm

    .macro  load offset, register
    mov     \offset(%rdi), \register
    .endm

    .macro  store offset, register
    mov     \register, \offset(%rdi)
    .endm

    .macro  each_kept op
    \op     %rbx
    \op     %rbp
    \op     %r12
    \op     %r13
    \op     %r14
    \op     %r15
    .endm

    .macro  each_kept_back op
    \op     %r15
    \op     %r14
    \op     %r13
    \op     %r12
    \op     %rbp
    \op     %rbx
    .endm

/* svm_switch(rdi: state, rsi: physical address of the VMCB), which holds RAX too. From CLGI on not even an NMI gets
 * through before the guest runs; after the exit STGI lets it. */
    .text
    .global svm_switch
svm_switch:
    each_kept push
    push    %rdi
    mov     %rsi, %rax
    each_register load
    mov     56(%rdi), %rdi
    vmrun   %rax
    push    %rdi
    mov     8(%rsp), %rdi
    each_register store
    pop     56(%rdi)
    pop     %rdi
    stgi
    each_kept_back pop
    ret

/* vmx_switch(rdi: state, esi: not 0 if it has been launched before): 0 after an exit, 1 if there was no entry. */
    .equ    VMCS_HOST_RSP, 0x6c14
    .global vmx_switch, vmx_exit
vmx_switch:
    each_kept push
    push    %rdi
    mov     $VMCS_HOST_RSP, %eax
    vmwrite %rsp, %rax
    test    %esi, %esi
    mov     (%rdi), %rax
    each_register load
    mov     56(%rdi), %rdi
    jnz     1f
    vmlaunch
    jmp     2f
1:  vmresume
2:  pop     %rdi
    mov     $1, %eax
    jmp     3f
vmx_exit:
    push    %rdi
    mov     8(%rsp), %rdi
    mov     %rax, (%rdi)
    each_register store
    pop     56(%rdi)
    pop     %rdi
    xor     %eax, %eax
3:  each_kept_back pop
    ret
