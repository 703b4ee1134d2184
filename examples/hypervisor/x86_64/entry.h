/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the constants that assembly and C share. Sections are those of the Intel SDM, and of Multiboot 0.6.96. */
#ifndef HYP_ENTRY_H
#define HYP_ENTRY_H

#define MULTIBOOT_HEADER_MAGIC 0x1badb002
#define MULTIBOOT_LOADER_MAGIC 0x2badb002
#define MULTIBOOT_FLAGS 0x10002 /* 3.1.2: tell about memory; addresses are in the header */

#define STACK_LG2 14      /* HYP_STACK_BYTES */
#define TRAMPOLINE 0x8000 /* a page below 1 MiB, where a start-up interrupt finds it */
#define GIB_COUNT 4
#define PTE_TABLE 0x3  /* present, writable */
#define PTE_LARGE 0x83 /* and a leaf of 2 MiB */

#define CR0_PE 0x1
#define CR0_ET 0x10
#define CR0_NE 0x20
#define CR0_WP 0x10000
#define CR0_PG 0x80000000
#define CR4_PAE 0x20
#define CR4_LA57 0x1000
#define CPUID_7_ECX_LA57 0x10000
#define CR4_OSXSAVE 0x40000

#define MSR_EFER 0xc0000080
#define EFER_LME 0x100
#define EFER_LMA 0x400
#define EFER_NXE 0x800
#define EFER_SVME 0x1000

#define SELECTOR_CODE 0x08
#define SELECTOR_DATA 0x10
#define SELECTOR_CODE32 0x18

#define RFLAGS_ONE 0x2 /* always set */
#define RFLAGS_IF 0x200
#define VECTOR_NMI 2
#define VECTORS_RESERVED 32

#endif
