/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls that -fsanitize=thread makes, and memory functions in place of the C library's. Not instrumented itself. */
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct trace *current;
static uintptr_t stack_low, stack_high;

enum { STACK_BYTES = 8 << 20, LOOK_BACK = 24 };

void trace_init(const void *stack)
{
    stack_high = (uintptr_t)stack + 65536;
    stack_low = (uintptr_t)stack - STACK_BYTES;
}

void trace_begin(struct trace *t)
{
    t->n = 0;
    current = t;
}

void trace_end(void)
{
    current = NULL;
}

/* Loops touch one slot after the other from the same place: such entries grow instead of becoming many. */
static bool joins(struct access *a, uintptr_t addr, uintptr_t end, uintptr_t pc, bool write)
{
    if (a->pc != pc || a->write != write || addr > a->end || end < a->addr)
        return false;
    a->addr = addr < a->addr ? addr : a->addr;
    a->end = end > a->end ? end : a->end;
    return true;
}

static void note(const volatile void *p, size_t bytes, bool write, const void *pc)
{
    struct trace *t = current;
    uintptr_t addr = (uintptr_t)p;
    if (!t || !bytes || (addr >= stack_low && addr < stack_high))
        return;
    for (size_t i = t->n; i > 0 && i + LOOK_BACK > t->n; i--)
        if (joins(&t->a[i - 1], addr, addr + bytes, (uintptr_t)pc, write))
            return;
    if (t->n == TRACE_ENTRIES) {
        fprintf(stderr, "conflicts: an operation makes more accesses than a trace can hold\n");
        abort();
    }
    t->a[t->n++] = (struct access){addr, addr + bytes, (uintptr_t)pc, write};
}

static uintptr_t line_of(uintptr_t addr)
{
    return addr & ~(uintptr_t)(TRACE_LINE - 1);
}

static void add_clash(struct clash *c, size_t *n, size_t max, struct clash new)
{
    for (size_t i = 0; i < *n; i++) {
        if (c[i].line != new.line)
            continue;
        if (new.shared && !c[i].shared)
            c[i] = new;
        return;
    }
    if (*n < max)
        c[(*n)++] = new;
}

size_t trace_clashes(const struct trace *one, const struct trace *two, struct clash *clashes, size_t max)
{
    size_t n = 0;
    for (const struct access *a = one->a; a < one->a + one->n; a++)
        for (const struct access *b = two->a; b < two->a + two->n; b++) {
            if (!a->write && !b->write)
                continue;
            uintptr_t from = line_of(a->addr > b->addr ? a->addr : b->addr);
            uintptr_t last = line_of((a->end < b->end ? a->end : b->end) - 1);
            for (uintptr_t line = from; line <= last; line += TRACE_LINE) {
                uintptr_t lo = a->addr > b->addr ? a->addr : b->addr, hi = a->end < b->end ? a->end : b->end;
                lo = lo > line ? lo : line;
                hi = hi < line + TRACE_LINE ? hi : line + TRACE_LINE;
                add_clash(clashes, &n, max, (struct clash){line, lo < hi, a, b});
            }
        }
    return n;
}

bool trace_wrote(const struct trace *t, uintptr_t addr)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->a[i].write && addr >= t->a[i].addr && addr < t->a[i].end)
            return true;
    return false;
}

/* ------------------------------------------------------------------------------------------------- plain accesses */

#define PC __builtin_return_address(0)

void __tsan_init(void);
void __tsan_func_entry(void *caller);
void __tsan_func_exit(void);
void __tsan_read_range(void *p, size_t bytes);
void __tsan_write_range(void *p, size_t bytes);

void __tsan_init(void)
{
}

void __tsan_func_entry(void *caller)
{
    (void)caller;
}

void __tsan_func_exit(void)
{
}

void __tsan_read_range(void *p, size_t bytes)
{
    note(p, bytes, false, PC);
}

void __tsan_write_range(void *p, size_t bytes)
{
    note(p, bytes, true, PC);
}

#define PLAIN(name, bytes, write)                                                                                      \
    void name(void *p);                                                                                                \
    void name(void *p)                                                                                                 \
    {                                                                                                                  \
        note(p, bytes, write, PC);                                                                                     \
    }
#define PLAIN_SIZES(prefix, write)                                                                                     \
    PLAIN(prefix##1, 1, write)                                                                                         \
    PLAIN(prefix##2, 2, write)                                                                                         \
    PLAIN(prefix##4, 4, write)                                                                                         \
    PLAIN(prefix##8, 8, write)                                                                                         \
    PLAIN(prefix##16, 16, write)
PLAIN_SIZES(__tsan_read, false)
PLAIN_SIZES(__tsan_write, true)
PLAIN_SIZES(__tsan_unaligned_read, false)
PLAIN_SIZES(__tsan_unaligned_write, true)
PLAIN_SIZES(__tsan_volatile_read, false)
PLAIN_SIZES(__tsan_volatile_write, true)
PLAIN_SIZES(__tsan_read_write, true)
PLAIN_SIZES(__tsan_unaligned_read_write, true)

/* ------------------------------------------------------------------------------------------------ atomic accesses */

#define FETCH(n, type, op)                                                                                             \
    type __tsan_atomic##n##_fetch_##op(volatile type *p, type v, int order);                                           \
    type __tsan_atomic##n##_fetch_##op(volatile type *p, type v, int order)                                            \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        note(p, sizeof *p, true, PC);                                                                                  \
        return __atomic_fetch_##op(p, v, __ATOMIC_SEQ_CST);                                                            \
    }
#define EXCHANGE_IF(n, type, name)                                                                                     \
    int __tsan_atomic##n##_compare_exchange_##name(volatile type *p, type *expected, type v, int order, int fail);     \
    int __tsan_atomic##n##_compare_exchange_##name(volatile type *p, type *expected, type v, int order, int fail)      \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        (void)fail;                                                                                                    \
        note(p, sizeof *p, true, PC);                                                                                  \
        return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                 \
    }
#define ATOMIC(n, type)                                                                                                \
    type __tsan_atomic##n##_load(const volatile type *p, int order);                                                   \
    void __tsan_atomic##n##_store(volatile type *p, type v, int order);                                                \
    type __tsan_atomic##n##_exchange(volatile type *p, type v, int order);                                             \
    type __tsan_atomic##n##_compare_exchange_val(volatile type *p, type expected, type v, int order, int fail);        \
    type __tsan_atomic##n##_load(const volatile type *p, int order)                                                    \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        note(p, sizeof *p, false, PC);                                                                                 \
        return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                                   \
    }                                                                                                                  \
    void __tsan_atomic##n##_store(volatile type *p, type v, int order)                                                 \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        note(p, sizeof *p, true, PC);                                                                                  \
        __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                                                      \
    }                                                                                                                  \
    type __tsan_atomic##n##_exchange(volatile type *p, type v, int order)                                              \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        note(p, sizeof *p, true, PC);                                                                                  \
        return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                                            \
    }                                                                                                                  \
    type __tsan_atomic##n##_compare_exchange_val(volatile type *p, type expected, type v, int order, int fail)         \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        (void)fail;                                                                                                    \
        note(p, sizeof *p, true, PC);                                                                                  \
        __atomic_compare_exchange_n(p, &expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                       \
        return expected;                                                                                               \
    }                                                                                                                  \
    EXCHANGE_IF(n, type, strong)                                                                                       \
    EXCHANGE_IF(n, type, weak)                                                                                         \
    FETCH(n, type, add)                                                                                                \
    FETCH(n, type, sub)                                                                                                \
    FETCH(n, type, and)                                                                                                \
    FETCH(n, type, or)                                                                                                 \
    FETCH(n, type, xor)                                                                                                \
    FETCH(n, type, nand)
ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_signal_fence(int order);

void __tsan_atomic_thread_fence(int order)
{
    (void)order;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void __tsan_atomic_signal_fence(int order)
{
    (void)order;
}

/* ----------------------------------------------------------------------------------------------- memory functions */

/* tools/conflicts.sh renames the library's calls to these: compilers make them of copies of structures, too. */
void *trace_memcpy(void *to, const void *from, size_t n);
void *trace_memmove(void *to, const void *from, size_t n);
void *trace_memset(void *to, int byte, size_t n);
int trace_memcmp(const void *a, const void *b, size_t n);

void *trace_memcpy(void *to, const void *from, size_t n)
{
    note(from, n, false, PC);
    note(to, n, true, PC);
    return memcpy(to, from, n);
}

void *trace_memmove(void *to, const void *from, size_t n)
{
    note(from, n, false, PC);
    note(to, n, true, PC);
    return memmove(to, from, n);
}

void *trace_memset(void *to, int byte, size_t n)
{
    note(to, n, true, PC);
    return memset(to, byte, n);
}

int trace_memcmp(const void *a, const void *b, size_t n)
{
    note(a, n, false, PC);
    note(b, n, false, PC);
    return memcmp(a, b, n);
}
