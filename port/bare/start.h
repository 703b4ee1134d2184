/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a program begins and ends where there is no C library: the entry point, and the system call that ends a Linux
 * process. On bare metal both are the board's. Owns nothing; must not know the library.
 */
#ifndef ASPACE_BARE_START_H
#define ASPACE_BARE_START_H

#if defined(__x86_64__)

/* System V ABI: the stack is aligned to 16 bytes before a call. Linux: exit_group is 231. */
#define BARE_START                                                                                                     \
    __asm__(".globl _start\n"                                                                                          \
            "_start:\n"                                                                                                \
            "    xor %ebp, %ebp\n"                                                                                     \
            "    and $-16, %rsp\n"                                                                                     \
            "    call bare_main\n");
#define BARE_EXIT(status) __asm__ volatile("syscall" ::"a"(231L), "D"((long)(status)) : "rcx", "r11", "memory")

#elif defined(__aarch64__)

/* Linux, generic numbers: exit_group is 94. */
#define BARE_START                                                                                                     \
    __asm__(".globl _start\n"                                                                                          \
            "_start:\n"                                                                                                \
            "    mov x29, xzr\n"                                                                                       \
            "    bl bare_main\n");
#define BARE_EXIT(status)                                                                                              \
    do {                                                                                                               \
        register long number_ __asm__("x8") = 94;                                                                      \
        register long status_ __asm__("x0") = (status);                                                                \
        __asm__ volatile("svc 0" ::"r"(number_), "r"(status_) : "memory");                                             \
    } while (0)

#elif defined(__riscv)

/* The global pointer is the program's to set (psABI), and must not be set through itself. */
#define BARE_START                                                                                                     \
    __asm__(".globl _start\n"                                                                                          \
            "_start:\n"                                                                                                \
            ".option push\n"                                                                                           \
            ".option norelax\n"                                                                                        \
            "    la gp, __global_pointer$\n"                                                                           \
            ".option pop\n"                                                                                            \
            "    call bare_main\n");
#define BARE_EXIT(status)                                                                                              \
    do {                                                                                                               \
        register long number_ __asm__("a7") = 94;                                                                      \
        register long status_ __asm__("a0") = (status);                                                                \
        __asm__ volatile("ecall" ::"r"(number_), "r"(status_) : "memory");                                             \
    } while (0)

#else
#error "port/bare/start.h does not know this architecture"
#endif

#endif
