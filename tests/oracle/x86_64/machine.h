/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the x86-64 part offer to each other. Owns where memory is; must not know the library's sources. */
#ifndef ORACLE_MACHINE_H
#define ORACLE_MACHINE_H

#include "../oracle.h"

/* Memory that nothing else uses; image and pool of frames are below IMAGE_END. */
#define TARGET_FIRST UINT64_C(0x100000000)
#define TARGET_END UINT64_C(0x200000000)
#define IMAGE_END UINT64_C(0x4000000)

/* entry.S: a page of code; read, write, jump, each for processes and then for guests */
enum { SNIPPET_BYTES = 16, SNIPPETS_GUEST = 3 * SNIPPET_BYTES };
extern char snippets[];
extern uint64_t found; /* what the last read found */

void wrmsr(uint32_t msr, uint64_t value);
uint64_t rdmsr(uint32_t msr);

/* svm.c: a guest whose own tables are in the last 2 MiB of the space */
#define SVM_OWN (2 * MIB)
bool svm_start(void);
bool svm_prepare(struct aspace *space);
void svm_load(struct aspace *space, const struct aspace_registers *registers);
void svm_ask(uint64_t gpa, enum access access, uint64_t value, uint64_t *got, struct reply *reply);

#endif
