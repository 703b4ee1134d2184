/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns what GCC calls where the instruction set has no instruction for it: counting bits (Zbb has), atomic bytes and
 * halfwords (Zabha). Its own library is of no use: it is built for another floating-point ABI. */
#include <stdint.h>

uint8_t __atomic_exchange_1(volatile void *p, uint8_t value, int order);
_Bool __atomic_compare_exchange_1(volatile void *p, void *expected, uint8_t desired, _Bool weak, int ok, int no);
_Bool __atomic_compare_exchange_2(volatile void *p, void *expected, uint16_t desired, _Bool weak, int ok, int no);
int __ctzdi2(uint64_t x);
int __clzdi2(uint64_t x);
int __popcountdi2(uint64_t x);

int __popcountdi2(uint64_t x)
{
    x -= x >> 1 & UINT64_C(0x5555555555555555);
    x = (x & UINT64_C(0x3333333333333333)) + (x >> 2 & UINT64_C(0x3333333333333333));
    x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (int)(x * UINT64_C(0x0101010101010101) >> 56);
}

int __ctzdi2(uint64_t x)
{
    return __popcountdi2(~x & (x - 1));
}

int __clzdi2(uint64_t x)
{
    for (unsigned shift = 1; shift < 64; shift <<= 1)
        x |= x >> shift;
    return 64 - __popcountdi2(x);
}

/* Replace the bits `mask` << shift of the word that holds p by desired, if they are `expected`. What was there is
 * returned, shifted down. Always sequentially consistent. */
static uint32_t exchange_part(volatile void *p, uint32_t mask, uint32_t expected, uint32_t desired)
{
    uintptr_t address = (uintptr_t)p;
    uint32_t *word = (uint32_t *)(address & ~(uintptr_t)3);
    unsigned shift = (unsigned)(address & 3) * 8;
    uint32_t old = __atomic_load_n(word, __ATOMIC_SEQ_CST);
    while ((old >> shift & mask) == expected) {
        uint32_t new = (old & ~(mask << shift)) | desired << shift;
        if (__atomic_compare_exchange_n(word, &old, new, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return expected;
    }
    return old >> shift & mask;
}

_Bool __atomic_compare_exchange_1(volatile void *p, void *expected, uint8_t desired, _Bool weak, int ok, int no)
{
    uint8_t *want = expected, seen = (uint8_t)exchange_part(p, 0xff, *want, desired);
    _Bool same = seen == *want;
    (void)weak, (void)ok, (void)no;
    *want = seen;
    return same;
}

_Bool __atomic_compare_exchange_2(volatile void *p, void *expected, uint16_t desired, _Bool weak, int ok, int no)
{
    uint16_t *want = expected, seen = (uint16_t)exchange_part(p, 0xffff, *want, desired);
    _Bool same = seen == *want;
    (void)weak, (void)ok, (void)no;
    *want = seen;
    return same;
}

uint8_t __atomic_exchange_1(volatile void *p, uint8_t value, int order)
{
    uint8_t old = *(volatile uint8_t *)p;
    while (!__atomic_compare_exchange_1(p, &old, value, 0, order, order))
        ;
    return old;
}
