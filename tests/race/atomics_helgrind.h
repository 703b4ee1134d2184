/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What Helgrind is to see of atomic accesses, of which it knows none: included before all else in each file of the
 * library, the port and the tests (-include), in place of the compiler's functions. Owns no name that code may use;
 * must not know the library.
 *
 *   Accesses  Each is a read for Helgrind: a load as it is, a change because it is made by an instruction with a lock
 *             prefix, stores as exchanges. So atomic accesses do not race with each other, and each of them races with
 *             a plain write that is not ordered with it, whichever comes first. No address is excluded from checking,
 *             so none stays excluded when its memory comes out of a pool again. What is not seen is a plain read
 *             beside an atomic change; the thread sanitizer sees that.
 *   Order     What releases sends on the address and what acquires receives there; relaxed accesses draw no edge.
 *             Helgrind keeps all that was ever sent: an acquire also receives from stores that were overwritten before
 *             it, and from compare-and-exchanges that failed. That is more order than there is, and more than the
 *             thread sanitizer draws.
 *
 * Sending comes before the change and receiving after the load, so that a switch of threads in between adds order and
 * never loses any.
 */
#ifndef TESTS_RACE_ATOMICS_HELGRIND_H
#define TESTS_RACE_ATOMICS_HELGRIND_H

#include <valgrind/helgrind.h>

static inline __attribute__((always_inline)) void helgrind_send(const volatile void *at, int order)
{
    if (order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST) {
        ANNOTATE_HAPPENS_BEFORE(at);
    }
}

static inline __attribute__((always_inline)) void helgrind_receive(const volatile void *at, int order)
{
    if (order != __ATOMIC_RELAXED && order != __ATOMIC_RELEASE) {
        ANNOTATE_HAPPENS_AFTER(at);
    }
}

/* Inside of its own macro a name is the compiler's function. */
#define __atomic_load_n(p, order)                                                                                      \
    __extension__({                                                                                                    \
        __typeof__(p) load_at = (p);                                                                                   \
        __auto_type load_value = __atomic_load_n(load_at, (order));                                                    \
        helgrind_receive(load_at, (order));                                                                            \
        load_value;                                                                                                    \
    })

#define __atomic_store_n(p, value, order)                                                                              \
    __extension__({                                                                                                    \
        __typeof__(p) store_at = (p);                                                                                  \
        __typeof__(*store_at) store_new = (__typeof__(*store_at))(value), store_old;                                   \
        helgrind_send(store_at, (order));                                                                              \
        __atomic_exchange(store_at, &store_new, &store_old, __ATOMIC_SEQ_CST);                                         \
        (void)store_old;                                                                                               \
    })

#define __atomic_compare_exchange_n(p, expected, value, weak, order, order_failed)                                     \
    __extension__({                                                                                                    \
        __typeof__(p) cas_at = (p);                                                                                    \
        __typeof__(*cas_at) cas_new = (__typeof__(*cas_at))(value);                                                    \
        helgrind_send(cas_at, (order));                                                                                \
        _Bool cas_done = __atomic_compare_exchange(cas_at, (expected), &cas_new, (weak), (order), (order_failed));     \
        helgrind_receive(cas_at, cas_done ? (order) : (order_failed));                                                 \
        cas_done;                                                                                                      \
    })

#define HELGRIND_CHANGE(change, p, value, order)                                                                       \
    __extension__({                                                                                                    \
        __typeof__(p) change_at = (p);                                                                                 \
        __typeof__(*change_at) change_by = (__typeof__(*change_at))(value);                                            \
        helgrind_send(change_at, (order));                                                                             \
        __auto_type change_old = change(change_at, change_by, (order));                                                \
        helgrind_receive(change_at, (order));                                                                          \
        change_old;                                                                                                    \
    })

#define __atomic_exchange_n(p, value, order) HELGRIND_CHANGE(__atomic_exchange_n, p, value, order)
#define __atomic_fetch_add(p, value, order) HELGRIND_CHANGE(__atomic_fetch_add, p, value, order)
#define __atomic_fetch_sub(p, value, order) HELGRIND_CHANGE(__atomic_fetch_sub, p, value, order)
#define __atomic_fetch_or(p, value, order) HELGRIND_CHANGE(__atomic_fetch_or, p, value, order)
#define __atomic_fetch_and(p, value, order) HELGRIND_CHANGE(__atomic_fetch_and, p, value, order)

#endif
