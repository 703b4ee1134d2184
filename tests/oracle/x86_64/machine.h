/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the x86-64 part offer to each other. Owns where memory is; must not know the library's sources. */
#ifndef ORACLE_MACHINE_H
#define ORACLE_MACHINE_H

#include "../oracle.h"

/* machine_options.special */
enum { SPECIAL_FIVE = 1, SPECIAL_SMALL = 2 }; /* five levels; a machine of 2 GiB */

/* Image and pool of frames are below it. */
#define IMAGE_END UINT64_C(0x4000000)

/* entry.S: a page of code; read, write, jump, each for processes and then for guests */
enum { SNIPPET_BYTES = 16, SNIPPETS_SVM = 3 * SNIPPET_BYTES, SNIPPETS_VMX = 6 * SNIPPET_BYTES };
extern char snippets[];
extern uint64_t found; /* what the last read found */

void wrmsr(uint32_t msr, uint64_t value);
uint64_t rdmsr(uint32_t msr);

/* guest.c: a guest whose own tables are in the last 2 MiB of the space */
#define GUEST_OWN (2 * MIB)
enum { GVA_CODE = 0, GVA_TARGET = 0x1000 };
uint64_t guest_base(const struct aspace *space);
bool guest_prepare(struct aspace *space);
/* Where it is to begin. Its linear address is one of user code if the access is: it fetches there all the same. */
uint64_t guest_aim(uint64_t gpa, enum access access, unsigned snippets);

/* vmx.c */
bool vmx_start(void);
uint32_t vmx_features(void); /* ASPACE_FEAT_* that the processor offers */
void vmx_load(const struct layout *layout, const struct aspace_registers *registers);
void vmx_flush(void);
void vmx_print(void); /* what was done to entries on purpose: had it gone unnoticed, there would be a disagreement */
void vmx_ask(uint64_t gpa, enum access access, uint64_t value, const struct naive_result *expected,
             struct reply *reply);

/* svm.c */
bool svm_start(void);
void svm_load(struct aspace *space, const struct aspace_registers *registers);
void svm_ask(uint64_t gpa, enum access access, uint64_t value, struct reply *reply);

#endif
