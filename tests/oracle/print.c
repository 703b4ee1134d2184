/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the text of lines, and random numbers: what every machine needs and none differs in. Must not know the MMU. */
#include <stdarg.h>

#include "oracle.h"

void print_text(const char *text)
{
    while (*text) {
        machine_put(*text++);
    }
}

static void print_base(uint64_t value, unsigned base)
{
    char digits[24];
    unsigned n = 0;

    do {
        digits[n++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    while (n) {
        machine_put(digits[--n]);
    }
}

void print_number(uint64_t value)
{
    print_base(value, 10);
}

void print_hex(uint64_t value)
{
    print_text("0x");
    print_base(value, 16);
}

static void print_argument(char form, va_list *args)
{
    switch (form) {
    case 's': print_text(va_arg(*args, const char *)); break;
    case 'u': print_number(va_arg(*args, uint64_t)); break;
    default: print_hex(va_arg(*args, uint64_t)); break;
    }
}

void print(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    for (; *format; format++) {
        if (*format == '%') {
            print_argument(*++format, &args);
        } else {
            machine_put(*format);
        }
    }
    va_end(args);
    machine_put('\n');
}

/* xorshift64*, George Marsaglia and Sebastiano Vigna. */
static uint64_t random_state = 1;

void random_seed(uint64_t seed)
{
    random_state = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

uint64_t random_next(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t random_below(uint64_t n)
{
    return (random_next() >> 8) % n;
}

bool random_one_in(uint64_t n)
{
    return random_below(n) == 0;
}
