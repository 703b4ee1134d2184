/* SPDX-License-Identifier: BSD-2-Clause */
/* Words for enumerations. */
#include "inspect/describe.h"

const char *kind_name(unsigned kind)
{
    static const char *const names[] = {
        [ASPACE_KIND_LINEAR] = "linear", [ASPACE_KIND_EAGER] = "eager",   [ASPACE_KIND_LAZY] = "lazy",
        [ASPACE_KIND_TRAP] = "trap",     [ASPACE_KIND_ROM] = "rom",       [ASPACE_KIND_RESERVED] = "reserved",
        [ASPACE_KIND_GUARD] = "guard",   [ASPACE_KIND_CUSTOM] = "custom", [ASPACE_KIND_PRIVATE] = "private",
        [ASPACE_KIND_SHARED] = "shared",
    };
    return kind < sizeof names / sizeof names[0] ? names[kind] : "?";
}

const char *fork_name(unsigned fork)
{
    static const char *const names[] = {
        [ASPACE_FORK_COW] = "cow",   [ASPACE_FORK_SHARE] = "share", [ASPACE_FORK_COPY] = "copy",
        [ASPACE_FORK_DROP] = "drop", [ASPACE_FORK_WIPE] = "wipe",   [ASPACE_FORK_REFUSE] = "refuse",
    };
    return fork < sizeof names / sizeof names[0] ? names[fork] : "?";
}

void text_rights(struct text *t, const char *before, uint32_t rights)
{
    text_put(t, before);
    text_char(t, rights & ASPACE_R ? 'r' : '-');
    text_char(t, rights & ASPACE_W ? 'w' : '-');
    text_char(t, rights & ASPACE_X ? 'x' : '-');
    text_char(t, rights & ASPACE_U ? 'u' : '-');
}

void text_attr(struct text *t, const char *before, uint32_t attr)
{
    static const char *const names[] = {
        [ASPACE_ATTR_DEFAULT] = "default", [ASPACE_ATTR_NORMAL] = "normal", [ASPACE_ATTR_DEVICE] = "device",
        [ASPACE_ATTR_WC] = "wc",           [ASPACE_ATTR_UC] = "uc",
    };
    uint32_t plain = attr & ~(uint32_t)ASPACE_ATTR_ENCRYPTED;
    text_put(t, before);
    text_put(t, plain < ASPACE_ATTR_COUNT ? names[plain] : "?");
    if (attr & ASPACE_ATTR_ENCRYPTED)
        text_put(t, "+encrypted");
}
