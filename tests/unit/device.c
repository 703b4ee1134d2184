/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Device addresses and the library's own text: every edge of a range, every length of a buffer. Expectations are
 * written down here, or come from the C library's formatter. Knows nothing of spaces.
 */
#include <aspace/device.h>

#include "inspect/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static unsigned long passed, failed;

static void check(bool ok, const char *what, int line)
{
    if (ok) {
        passed++;
    } else if (++failed <= 20) {
        printf("FAILED line %d: %s\n", line, what);
    }
}

#define CHECK(ok) check((ok), #ok, __LINE__)

/* ---------------------------------------------------------------------------------------------------------- widths */

static void widths(void)
{
    const uint64_t masks[9] = {[1] = 0xff, [2] = 0xffff, [4] = 0xffffffff, [8] = UINT64_MAX};

    for (size_t bytes = 0; bytes <= 20; bytes++) {
        enum aspace_width width = ASPACE_WIDTH_2;
        bool good = bytes < 9 && masks[bytes];
        CHECK(aspace_width_from_bytes(bytes, &width) == good);
        CHECK((size_t)width == (good ? bytes : 2)); /* a refusal leaves it alone */
        CHECK(!good || aspace_width_mask(width) == masks[bytes]);
    }
    enum aspace_width width = ASPACE_WIDTH_1;
    CHECK(!aspace_width_from_bytes(SIZE_MAX, &width));
}

/* ---------------------------------------------------------------------------------------------------------- ranges */

static void inclusive_ranges(void)
{
    struct aspace_port_range com = {0x3f8, 0x3ff}, all = {0, 0xffff}, one = {0x70, 0x70}, none = {2, 1};

    for (uint32_t n = 0; n <= 0xffff; n++) {
        struct aspace_port port = {(uint16_t)n};
        CHECK(aspace_port_in(port, com) == (n / 8 == 0x3f8 / 8));
        CHECK(aspace_port_in(port, all));
        CHECK(aspace_port_in(port, one) == (n == 0x70));
        CHECK(!aspace_port_in(port, none));
    }
    struct aspace_sysreg_range efer = {0xc0000080, 0xc0000084}, top = {UINT64_MAX, UINT64_MAX};
    CHECK(!aspace_sysreg_in((struct aspace_sysreg){0xc000007f}, efer));
    CHECK(aspace_sysreg_in((struct aspace_sysreg){0xc0000080}, efer));
    CHECK(aspace_sysreg_in((struct aspace_sysreg){0xc0000084}, efer));
    CHECK(!aspace_sysreg_in((struct aspace_sysreg){0xc0000085}, efer));
    CHECK(!aspace_sysreg_in((struct aspace_sysreg){0x1c0000080}, efer));
    CHECK(aspace_sysreg_in((struct aspace_sysreg){UINT64_MAX}, top));
    CHECK(!aspace_sysreg_in((struct aspace_sysreg){UINT64_MAX - 1}, top));
}

static void half_open_ranges(void)
{
    const enum aspace_width widths[] = {ASPACE_WIDTH_1, ASPACE_WIDTH_2, ASPACE_WIDTH_4, ASPACE_WIDTH_8};
    struct aspace_device_range apic = {0xfee00000, 0xfee01000}, none = {8, 8}, turned = {9, 8};
    struct aspace_device_range top = {UINT64_MAX - 15, UINT64_MAX};

    CHECK(!aspace_device_in(0xfedfffff, apic));
    CHECK(aspace_device_in(0xfee00000, apic));
    CHECK(aspace_device_in(0xfee00fff, apic));
    CHECK(!aspace_device_in(0xfee01000, apic));
    CHECK(!aspace_device_in(8, none) && !aspace_device_in(8, turned) && !aspace_device_in(9, turned));
    for (unsigned i = 0; i < 4; i++) {
        uint64_t bytes = widths[i];
        CHECK(aspace_device_access_in(0xfee00000, widths[i], apic));
        CHECK(aspace_device_access_in(0xfee01000 - bytes, widths[i], apic));
        CHECK(!aspace_device_access_in(0xfee01000 - bytes + 1, widths[i], apic));
        CHECK(!aspace_device_access_in(0xfee00000 - 1, widths[i], apic));
        CHECK(!aspace_device_access_in(0xfee01000, widths[i], apic));
        CHECK(!aspace_device_access_in(UINT64_MAX - bytes + 1, widths[i], apic));
        CHECK(!aspace_device_access_in(8, widths[i], none));
        CHECK(!aspace_device_access_in(9, widths[i], turned));
        CHECK(aspace_device_access_in(UINT64_MAX - bytes, widths[i], top));
        CHECK(!aspace_device_access_in(UINT64_MAX - bytes + 1, widths[i], top)); /* its end would wrap */
    }
}

/* ------------------------------------------------------------------------------------------------------------ text */

/* Whatever the room: the length of the whole text, as much of it as fits, terminated, and nothing behind. */
static void check_room(size_t (*format)(char *text, size_t n), const char *expected)
{
    char out[64];
    size_t length = strlen(expected);

    for (size_t n = 0; n <= length + 2; n++) {
        memset(out, '#', sizeof(out));
        CHECK(format(out, n) == length);
        size_t shown = n == 0 ? 0 : n - 1 < length ? n - 1 : length;
        CHECK(memcmp(out, expected, shown) == 0);
        CHECK(n == 0 || out[shown] == 0);
        CHECK(out[n == 0 ? 0 : shown + 1] == '#');
    }
    CHECK(format(NULL, 0) == length);
}

static size_t format_port(char *text, size_t n)
{
    return aspace_port_format((struct aspace_port){0x3f8}, text, n);
}

static size_t format_sysreg(char *text, size_t n)
{
    return aspace_sysreg_format((struct aspace_sysreg){0xc0000080}, text, n);
}

static size_t format_range(char *text, size_t n)
{
    return aspace_device_range_format((struct aspace_device_range){0xfee00000, 0xfee01000}, text, n);
}

static size_t format_widest(char *text, size_t n)
{
    return aspace_device_range_format((struct aspace_device_range){0, UINT64_MAX}, text, n);
}

static void formatted(void)
{
    check_room(format_port, "port 0x3f8");
    check_room(format_sysreg, "sysreg 0xc0000080");
    check_room(format_range, "0xfee00000-0xfee01000");
    check_room(format_widest, "0x0-0xffffffffffffffff");
}

static void check_number(uint64_t n)
{
    char out[64], expected[64];
    struct text t;

    text_begin(&t, out, sizeof(out));
    text_hex(&t, "at ", n);
    text_dec(&t, " is ", n);
    snprintf(expected, sizeof(expected), "at 0x%" PRIx64 " is %" PRIu64, n, n);
    CHECK(strcmp(out, expected) == 0);
    CHECK(t.length == strlen(expected));
}

static void numbers(void)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        for (int more = -1; more <= 1; more++) {
            check_number((UINT64_C(1) << bit) + (uint64_t)more);
        }
    }
    for (uint64_t ten = 1, k = 0; k < 20; k++, ten *= 10) {
        check_number(ten - 1);
        check_number(ten);
    }
    check_number(UINT64_C(0x123456789abcdef0));
}

static bool bytes_are(uint64_t bytes, const char *expected)
{
    char out[32];
    struct text t;

    text_begin(&t, out, sizeof(out));
    text_bytes(&t, "", bytes);
    return strcmp(out, expected) == 0;
}

static void sizes(void)
{
    CHECK(bytes_are(0, "0"));
    CHECK(bytes_are(1, "1"));
    CHECK(bytes_are(1023, "1023"));
    CHECK(bytes_are(1024, "1K"));
    CHECK(bytes_are(1025, "1025"));
    CHECK(bytes_are(4096, "4K"));
    CHECK(bytes_are(UINT64_C(1) << 20, "1M"));
    CHECK(bytes_are((UINT64_C(1) << 20) + 4096, "1028K"));
    CHECK(bytes_are(UINT64_C(3) << 30, "3G"));
    CHECK(bytes_are(UINT64_C(1) << 40, "1T"));
    CHECK(bytes_are(UINT64_C(1) << 50, "1P"));
    CHECK(bytes_are(UINT64_C(1) << 60, "1E"));
    CHECK(bytes_are(UINT64_C(1) << 63, "8E"));
}

static void columns(void)
{
    char out[32];
    struct text t;

    text_begin(&t, out, sizeof(out));
    text_put(&t, "ab");
    text_column(&t, 4);
    text_char(&t, 'c');
    text_column(&t, 2); /* passed already: one blank */
    text_put(&t, "d");
    CHECK(strcmp(out, "ab  c d") == 0);
}

int main(void)
{
    widths();
    inclusive_ranges();
    half_open_ranges();
    formatted();
    numbers();
    sizes();
    columns();
    printf("%lu passed, %lu failed\n", passed, failed);
    return failed != 0;
}
