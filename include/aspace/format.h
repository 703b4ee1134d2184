/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page-table formats a space can be created with, rights, memory attributes, and the features of the CPU that
 * change the meaning of entries. The bits themselves are in src/format.
 */
#ifndef ASPACE_FORMAT_H
#define ASPACE_FORMAT_H

#include <stdint.h>

/* X(identifier, name): one line a format. */
#define ASPACE_FORMATS(X)                                                                                              \
    X(X86_EPT4, "x86-ept4")         /* Intel SDM 3C 29.3.2, 48-bit guest-physical addresses */                         \
    X(X86_EPT5, "x86-ept5")         /* the same with 5 levels, 57 bits */                                              \
    X(X86_NPT4, "x86-npt4")         /* AMD APM 2 15.25: nested, 48-bit guest-physical addresses */                     \
    X(X86_NPT5, "x86-npt5")         /* nested, 57 bits */                                                              \
    X(X86_PT4, "x86-pt4")           /* Intel SDM 3A 4.5, AMD APM 2 5.3: process tables, lower half of 48 bits */       \
    X(X86_PT5, "x86-pt5")           /* lower half of 57 bits */                                                        \
    X(ARM_S2_39, "arm-s2-39")       /* Arm ARM DDI 0487 D8: stage 2, 4K granule, 3 levels, 39-bit IPA */               \
    X(ARM_S2_40, "arm-s2-40")       /* 3 levels, 40-bit IPA, 2 concatenated root tables */                             \
    X(ARM_S2_43, "arm-s2-43")       /* 3 levels, 43-bit IPA, 16 concatenated root tables */                            \
    X(ARM_S2_48, "arm-s2-48")       /* 4 levels, 48-bit IPA */                                                         \
    X(ARM_S1_39, "arm-s1-39")       /* stage 1 (TTBR0), 4K granule, 3 levels */                                        \
    X(ARM_S1_48, "arm-s1-48")       /* stage 1 (TTBR0), 4 levels */                                                    \
    X(RISCV_SV39X4, "riscv-sv39x4") /* RISC-V privileged, hypervisor extension: 41-bit GPA, 16 KiB root */             \
    X(RISCV_SV48X4, "riscv-sv48x4") /* 50-bit GPA */                                                                   \
    X(RISCV_SV57X4, "riscv-sv57x4") /* 59-bit GPA */                                                                   \
    X(RISCV_SV39, "riscv-sv39")     /* RISC-V privileged 12.4: lower half of 39 bits */                                \
    X(RISCV_SV48, "riscv-sv48")     /* lower half of 48 bits */                                                        \
    X(RISCV_SV57, "riscv-sv57")     /* lower half of 57 bits */                                                        \
    X(LOONGARCH_S1, "loongarch-s1") /* LoongArch reference manual 1, 5.4: 4 levels of 9 bits, lower half of 48 bits */ \
    X(LOONGARCH_S2, "loongarch-s2") /* the same layout for guest-physical addresses, 48 bits */                        \
    X(TOY, "toy")                   /* 3 levels of 2 bits over 4 KiB pages, for exhaustive tests */

enum aspace_format {
#define ASPACE_X(id, name) ASPACE_FMT_##id,
    ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X
        ASPACE_FMT_COUNT
};

/* Rights of a range or an access; any combination. */
enum {
    ASPACE_R = 1u << 0, /* read */
    ASPACE_W = 1u << 1, /* write */
    ASPACE_X = 1u << 2, /* execute (instruction fetch) */
    ASPACE_U = 1u << 3, /* for unprivileged code; only where the format tells user from privileged */
    ASPACE_RW = ASPACE_R | ASPACE_W,
    ASPACE_RX = ASPACE_R | ASPACE_X,
    ASPACE_RWX = ASPACE_R | ASPACE_W | ASPACE_X,
};

/* Memory attributes. DEFAULT is what the format says when nothing is said (RISC-V: the PMA; elsewhere NORMAL). */
enum aspace_attr {
    ASPACE_ATTR_DEFAULT,
    ASPACE_ATTR_NORMAL, /* write-back cacheable */
    ASPACE_ATTR_DEVICE, /* side effects: no gathering, no speculation (Arm Device-nGnRE, x86 UC, Svpbmt IO) */
    ASPACE_ATTR_WC,     /* uncached, writes may be combined (Arm Normal-NC, x86 WC, Svpbmt NC) */
    ASPACE_ATTR_UC,     /* uncached (Arm Device-nGnRnE, x86 UC, Svpbmt IO) */
    ASPACE_ATTR_COUNT
};

/* May be added to an attribute: the page is shared with the host of a confidential guest, or encrypted, according to
 * the format's bit (aspace_config.encrypt_bit). UNSUPPORTED where no bit is configured. */
#define ASPACE_ATTR_ENCRYPTED 0x10u

/* Features of the CPUs that will walk the tables, told at creation; each is ignored by formats that have no use for
 * it. Zero is always safe. */
enum {
    ASPACE_FEAT_AD = 1u << 0, /* hardware sets accessed and dirty flags in leaves (EPTP bit 6, Arm HA/HD, Svadu) */
    ASPACE_FEAT_EXEC_ONLY = 1u << 1, /* execute without read can be expressed (EPT capability bit 0) */
    ASPACE_FEAT_SVPBMT = 1u << 2,    /* RISC-V Svpbmt */
    ASPACE_FEAT_SVNAPOT = 1u << 3,   /* RISC-V Svnapot: 64 KiB runs */
    ASPACE_FEAT_CONTIG = 1u << 4,    /* use Arm contiguous runs of 64 KiB */
    ASPACE_FEAT_XNX = 1u << 5,       /* Arm FEAT_XNX: stage 2 execute-never per exception level */
    ASPACE_FEAT_MBEC = 1u << 6,      /* EPT mode-based execute control: bit 10 is execute for user code */
    ASPACE_FEAT_NO_1G = 1u << 7,     /* no 1 GiB leaves */
    ASPACE_FEAT_NO_2M = 1u << 8,     /* no 2 MiB leaves (implies NO_1G) */
    ASPACE_FEAT_VE = 1u << 9,        /* EPT-violation #VE is in use: not-present entries carry suppress #VE (bit 63) */
    ASPACE_FEAT_NX = 1u << 10,       /* x86 EFER.NXE is set: execute-never can be expressed */
    ASPACE_FEAT_FWB = 1u << 11,      /* Arm FEAT_S2FWB: the stage 2 attribute overrides stage 1 (HCR_EL2.FWB set) */
    ASPACE_FEAT_BBML2 = 1u << 12,    /* Arm FEAT_BBM level 2: leaf size may change without break-before-make */
    ASPACE_FEAT_GLOBAL = 1u << 13,   /* first stage: leaves hold for every ASID. For the kernel's own space, whose upper
                                      entries others share */
};

/* The name of a format, as in ASPACE_FORMATS; NULL for a value that is none. */
const char *aspace_format_name(enum aspace_format format);

#endif
