/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What sync/seam.h is replaced by (ASPACE_SEAM_HEADER) when the library is compiled for the explorer: each access tells
 * the explorer first, which may let another fiber run in between, and planted mistakes are played here. Everything runs
 * in one thread, so plain accesses would do; atomic ones keep the compiler from caching.
 */
#ifndef EXPLORE_SEAM_H
#define EXPLORE_SEAM_H

#include <stdbool.h>
#include <stdint.h>

enum explore_how {
    EXPLORE_READ = 1 << 0,
    EXPLORE_WRITE = 1 << 1,
    EXPLORE_UPDATE = EXPLORE_READ | EXPLORE_WRITE,
    EXPLORE_ALWAYS = 1 << 2, /* a place to switch whoever else comes here */
    EXPLORE_TRY = 1 << 3,    /* may turn out to write nothing: explore_wrote tells */
};

/* Called before each access. `text` and `where` name it for a person, and for mistakes. */
void explore_before(const volatile void *p, unsigned how, const char *text, const char *where);

void explore_wrote(const volatile void *p);

/* A mistake may change what was read, or swallow a store. Asked only while one is planted. */
extern bool explore_has_mistake;
void explore_bend(const char *text, void *value, unsigned bytes);
bool explore_swallows(const char *text);

/* What an access orders; the bits as C11 composes them. Only weak memory (weak.c) looks at it. */
enum explore_order {
    EXPLORE_RELAXED = 0,
    EXPLORE_ACQUIRE = 1,
    EXPLORE_RELEASE = 2,
    EXPLORE_ACQ_REL = 3,
    EXPLORE_SEQ_CST = 7,
};

struct access {
    const volatile void *p;
    unsigned bytes, order;
    const char *text, *where;
};

/* While weak memory is played: which of the values a load returns, that memory has another now, and fences. */
extern bool explore_weak;
uint64_t explore_weak_load(const struct access *a, uint64_t value);
void explore_weak_store(const struct access *a, uint64_t before, uint64_t value, bool update);
void explore_weak_fresh(const volatile void *p, unsigned bytes);
bool explore_weak_compare(const struct access *a, uint64_t value, uint64_t *expected);
void explore_fence(unsigned order, const char *where);

uint64_t explore_slot_load(const uint64_t *slot, unsigned order, const char *text, const char *where);
void explore_slot_store(uint64_t *slot, uint64_t e, unsigned order, const char *text, const char *where);
bool explore_slot_cas(uint64_t *slot, uint64_t *expected, uint64_t e, const char *text, const char *where);
uint64_t explore_slot_xchg(uint64_t *slot, uint64_t e, const char *text, const char *where);
bool explore_trylock(uint32_t *lock, uint32_t tag, const char *where);
void explore_lock(uint32_t *lock, uint32_t tag, const char *where);
void explore_unlock(uint32_t *lock, const char *where);

#define slot_load(slot) explore_slot_load((slot), EXPLORE_ACQUIRE, #slot, __func__)
#define slot_peek(slot) explore_slot_load((slot), EXPLORE_RELAXED, #slot, __func__)
#define slot_publish(slot, e) explore_slot_store((slot), (e), EXPLORE_RELEASE, #slot ", " #e, __func__)
#define slot_store(slot, e) explore_slot_store((slot), (e), EXPLORE_RELAXED, #slot ", " #e, __func__)
#define slot_cas(slot, expected, e) explore_slot_cas((slot), (expected), (e), #slot ", " #e, __func__)
#define slot_xchg(slot, e) explore_slot_xchg((slot), (e), #slot ", " #e, __func__)

#define EXPLORE_ACCESS(order, text) (&(const struct access){at_, sizeof *at_, (order), (text), __func__})
#define EXPLORE_LOAD(p, order, text)                                                                                   \
    ({                                                                                                                 \
        __auto_type at_ = (p);                                                                                         \
        explore_before(at_, EXPLORE_READ, text, __func__);                                                             \
        __auto_type value_ = __atomic_load_n(at_, __ATOMIC_RELAXED);                                                   \
        if (explore_weak)                                                                                              \
            value_ = (__typeof__(value_))explore_weak_load(EXPLORE_ACCESS(order, text), (uintptr_t)value_);            \
        if (explore_has_mistake)                                                                                       \
            explore_bend(text, &value_, sizeof value_);                                                                \
        value_;                                                                                                        \
    })
#define EXPLORE_STORE(p, v, order, text)                                                                               \
    ({                                                                                                                 \
        __auto_type at_ = (p);                                                                                         \
        __typeof__(*at_) value_ = (v), before_;                                                                        \
        explore_before(at_, EXPLORE_WRITE, text, __func__);                                                            \
        before_ = __atomic_load_n(at_, __ATOMIC_RELAXED);                                                              \
        if (!explore_has_mistake || !explore_swallows(text)) {                                                         \
            __atomic_store_n(at_, value_, __ATOMIC_RELAXED);                                                           \
            if (explore_weak)                                                                                          \
                explore_weak_store(EXPLORE_ACCESS(order, text), (uintptr_t)before_, (uintptr_t)value_, false);         \
        }                                                                                                              \
    })
#define EXPLORE_FETCH(op, p, v, order, text)                                                                           \
    ({                                                                                                                 \
        __auto_type at_ = (p);                                                                                         \
        __typeof__(*at_) value_ = (__typeof__(*at_))(v);                                                               \
        explore_before(at_, EXPLORE_UPDATE, text, __func__);                                                           \
        __auto_type before_ = __atomic_fetch_##op(at_, value_, __ATOMIC_RELAXED);                                      \
        if (explore_weak)                                                                                              \
            explore_weak_store(EXPLORE_ACCESS(order, text), before_, *at_, true);                                      \
        before_;                                                                                                       \
    })

#define seam_load(p) EXPLORE_LOAD(p, EXPLORE_RELAXED, #p)
#define seam_load_acquire(p) EXPLORE_LOAD(p, EXPLORE_ACQUIRE, #p)
#define seam_store(p, v) EXPLORE_STORE(p, v, EXPLORE_RELAXED, #p)
#define seam_store_release(p, v) EXPLORE_STORE(p, v, EXPLORE_RELEASE, #p)
#define seam_add(p, v) EXPLORE_FETCH(add, p, v, EXPLORE_RELAXED, #p)
#define seam_add_acq_rel(p, v) EXPLORE_FETCH(add, p, v, EXPLORE_ACQ_REL, #p)
#define seam_sub_release(p, v) EXPLORE_FETCH(sub, p, v, EXPLORE_RELEASE, #p)
#define seam_sub_acq_rel(p, v) EXPLORE_FETCH(sub, p, v, EXPLORE_ACQ_REL, #p)
#define seam_or(p, v) EXPLORE_FETCH(or, p, v, EXPLORE_ACQ_REL, #p) /* no fence, whatever the machine does */
#define seam_and(p, v) EXPLORE_FETCH(and, p, v, EXPLORE_ACQ_REL, #p)
#define seam_fence() explore_fence(EXPLORE_SEQ_CST, __func__)
#define seam_fence_acquire() explore_fence(EXPLORE_ACQUIRE, __func__)
#define seam_fence_release() explore_fence(EXPLORE_RELEASE, __func__)

/* Memory of the space: what a guest reads is not the library's affair, so these have no history. */
#define seam_memory_load(p)                                                                                            \
    ({                                                                                                                 \
        __auto_type at_ = (p);                                                                                         \
        explore_before(at_, EXPLORE_READ, #p, __func__);                                                               \
        __atomic_load_n(at_, __ATOMIC_RELAXED);                                                                        \
    })
#define seam_memory_cas(p, expected, v)                                                                                \
    ({                                                                                                                 \
        __auto_type at_ = (p);                                                                                         \
        explore_before(at_, EXPLORE_UPDATE | EXPLORE_TRY, #p, __func__);                                               \
        bool done_ = __atomic_compare_exchange_n(at_, (expected), (v), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);     \
        if (done_)                                                                                                     \
            explore_wrote(at_);                                                                                        \
        done_;                                                                                                         \
    })

#define seam_trylock(lock, tag) explore_trylock((lock), (tag), __func__)
#define seam_lock(lock, tag) explore_lock((lock), (tag), __func__)
#define seam_unlock(lock) explore_unlock((lock), __func__)

#endif
