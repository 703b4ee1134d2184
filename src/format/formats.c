/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of formats, from the list in aspace/format.h. Knows no bits and no geometry. */
#include "format.h"

const struct fmt fmt_table[ASPACE_FMT_COUNT] = {
#define ASPACE_X(id, name) [ASPACE_FMT_##id] = FMT_INIT(id),
    ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X
};

static const char *const fmt_name[ASPACE_FMT_COUNT] = {
#define ASPACE_X(id, name) [ASPACE_FMT_##id] = name,
    ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X
};

const char *aspace_format_name(enum aspace_format format)
{
    return (unsigned)format < ASPACE_FMT_COUNT ? fmt_name[format] : NULL;
}
