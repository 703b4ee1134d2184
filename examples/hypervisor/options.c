/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the options: the words "aspace.name=value" of bootargs up to "--"; the rest is the guest's command line. */
#include "hyp.h"

#include <string.h>

struct options options;

static unsigned digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 16;
}

static uint64_t number(const char *name, const char *value)
{
    uint64_t n = 0;
    unsigned base = 10;
    const char *p = value;
    if (p[0] == '0' && p[1] == 'x') {
        base = 16;
        p += 2;
    }
    if (!*p)
        fail("option %s has no value", name);
    for (; *p; p++) {
        unsigned digit = digit_of(*p);
        if ((*p == 'M' || *p == 'G') && p[1] == '\0')
            return n << (*p == 'M' ? 20 : 30);
        if (digit >= base || n >> 58)
            fail("option %s=%s is not a number", name, value);
        n = n * base + digit;
    }
    return n;
}

static void set_pages(const char *value)
{
    if (strcmp(value, "4k") != 0 && strcmp(value, "2m") != 0)
        fail("option pages=%s is neither 4k nor 2m", value);
    options.leaf_level = value[0] == '4' ? 1 : 2;
    options.pages = value;
}

/* A whole name, or what follows the first dash in it: "riscv-sv48x4" or "sv48x4". */
static void set_format(const char *value)
{
    for (unsigned f = 0; f < ASPACE_FMT_COUNT; f++) {
        const char *name = aspace_format_name((enum aspace_format)f);
        const char *tail = name;
        while (*tail && *tail++ != '-')
            ;
        if (strcmp(value, name) == 0 || strcmp(value, tail) == 0) {
            options.format = (enum aspace_format)f;
            return;
        }
    }
    fail("option format=%s is not known", value);
}

static void set_option(const char *name, const char *value)
{
    static const struct {
        const char *name;
        uint64_t *to;
    } numbers[] = {
        {"kernel_at", &options.kernel_at}, {"kernel_bytes", &options.kernel_bytes},
        {"initrd_at", &options.initrd_at}, {"initrd_bytes", &options.initrd_bytes},
        {"ram", &options.ram_bytes},       {"seed", &options.seed},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            *numbers[i].to = number(name, value);
            return;
        }
    }
    if (strcmp(name, "cpus") == 0)
        options.cpus = (unsigned)number(name, value);
    else if (strcmp(name, "stress") == 0)
        options.stress = (unsigned)number(name, value);
    else if (strcmp(name, "pages") == 0)
        set_pages(value);
    else if (strcmp(name, "format") == 0)
        set_format(value);
    else if (strcmp(name, "kernel") == 0)
        format_text(options.kernel, sizeof options.kernel, "%s", value);
    else
        fail("option %s is not known", name);
}

/* Cut the word at its "=" and set what it names. */
static void read_word(char *word)
{
    static const char prefix[] = "aspace.";
    if (strlen(word) < sizeof prefix - 1 || memcmp(word, prefix, sizeof prefix - 1) != 0)
        fail("option %s does not begin with %s", word, prefix);
    char *name = word + sizeof prefix - 1;
    char *value = name;
    while (*value && *value != '=')
        value++;
    if (*value)
        *value++ = '\0';
    set_option(name, value);
}

static void check(void)
{
    if (options.cpus == 0 || options.stress > STRESS_MAX || options.cpus + options.stress > machine.cpus)
        fail("%u vCPUs and %u for stress on a machine of %u CPUs", options.cpus, options.stress, machine.cpus);
    if (options.kernel_at == 0 || options.kernel_bytes == 0)
        fail("options kernel_at and kernel_bytes are missing");
    if (options.ram_bytes & 0x1fffff || options.ram_bytes == 0)
        fail("option ram=%lu is not a multiple of 2M", options.ram_bytes);
    if (options.initrd_bytes && options.initrd_at == 0)
        options.initrd_at = machine.initrd;
    if (options.initrd_bytes && options.initrd_at == 0)
        fail("nobody says where the initrd is");
}

void options_read(char *bootargs)
{
    options.cpus = 1;
    options.ram_bytes = UINT64_C(512) << 20;
    options.format = ASPACE_FMT_COUNT;
    format_text(options.kernel, sizeof options.kernel, "unknown");
    set_pages("4k");

    char *p = bootargs;
    while (*p) {
        while (*p == ' ')
            p++;
        char *word = p;
        while (*p && *p != ' ')
            p++;
        if (*p)
            *p++ = '\0';
        if (strcmp(word, "--") == 0)
            break;
        if (*word)
            read_word(word);
    }
    options.command_line = p;
    check();
}
