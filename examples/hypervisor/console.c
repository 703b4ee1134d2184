/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns text: formatting, and the console it goes to, which the guest uses too. Knows nothing of spaces. */
#include "hyp.h"

#include <stdatomic.h>
#include <string.h>

static atomic_flag console_lock = ATOMIC_FLAG_INIT;

struct sink {
    char *text;
    size_t bytes, used;
};

static void put(struct sink *sink, char c)
{
    if (!sink->text)
        arch_console_put(c);
    else if (sink->used + 1 < sink->bytes)
        sink->text[sink->used++] = c;
}

static void put_text(struct sink *sink, const char *text)
{
    while (*text)
        put(sink, *text++);
}

static void put_number(struct sink *sink, uint64_t value, unsigned base)
{
    char digits[24];
    size_t n = sizeof digits;
    digits[--n] = '\0';
    do {
        digits[--n] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    put_text(sink, digits + n);
}

static void put_formatted(struct sink *sink, const char *format, va_list *args)
{
    for (; *format; format++) {
        if (*format != '%') {
            put(sink, *format);
            continue;
        }
        bool wide = *++format == 'l';
        format += wide;
        switch (*format) {
        case 's': put_text(sink, va_arg(*args, const char *)); break;
        case 'c': put(sink, (char)va_arg(*args, int)); break;
        case 'u': put_number(sink, wide ? va_arg(*args, uint64_t) : va_arg(*args, unsigned), 10); break;
        case 'x': put_number(sink, wide ? va_arg(*args, uint64_t) : va_arg(*args, unsigned), 16); break;
        default: put(sink, *format); break;
        }
    }
}

static void print_line(const char *prefix, const char *format, va_list *args)
{
    struct sink sink = {NULL, 0, 0};
    while (atomic_flag_test_and_set_explicit(&console_lock, memory_order_acquire))
        aspace_pause();
    put_text(&sink, prefix);
    put_formatted(&sink, format, args);
    put_text(&sink, "\r\n");
    atomic_flag_clear_explicit(&console_lock, memory_order_release);
}

void print(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_line("", format, &args);
    va_end(args);
}

void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_line("guest failed: ", format, &args);
    va_end(args);
    arch_machine_off();
}

void format_text(char *text, size_t bytes, const char *format, ...)
{
    struct sink sink = {text, bytes, 0};
    va_list args;
    va_start(args, format);
    put_formatted(&sink, format, &args);
    va_end(args);
    text[sink.used] = '\0';
}
