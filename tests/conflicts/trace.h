/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an operation of the library reads and writes. The library is compiled with -fsanitize=thread, whose calls are
 * answered by trace.c instead of the sanitizer's runtime. Owns the record; must not know what lies at an address.
 */
#ifndef CONFLICTS_TRACE_H
#define CONFLICTS_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TRACE_ENTRIES = 16384, TRACE_LINE = 64 };

/* Bytes [addr, end) accessed from one place in the code, `pc` being the address that the call returns to. */
struct access {
    uintptr_t addr, end, pc;
    bool write; /* stores, and all atomic read-modify-writes, whether they succeed or not */
};

struct trace {
    size_t n;
    struct access a[TRACE_ENTRIES];
};

/* Accesses to the stack are left out: each CPU has its own. `stack` is an address at its top. */
void trace_init(const void *stack);
void trace_begin(struct trace *t);
void trace_end(void);

/* One line that two operations both touched, and at least one of them wrote. */
struct clash {
    uintptr_t line;                 /* address of its first byte */
    bool shared;                    /* the same bytes; else only the line is the same */
    const struct access *one, *two; /* an example, of the same bytes if there is one */
};

/* The clashes of two traces; returns how many, at most max. */
size_t trace_clashes(const struct trace *one, const struct trace *two, struct clash *clashes, size_t max);

/* Was [addr, addr + 1) written? */
bool trace_wrote(const struct trace *t, uintptr_t addr);

#endif
