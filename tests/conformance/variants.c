/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The matrix: which configurations every test is run for. Owns the list; must not know what the tests are. A new format
 * appears here by itself, since the list is made from ASPACE_FORMATS.
 */
#include <stdio.h>
#include <string.h>

#include "../harness.h"

enum { SPECIALS_MAX = 12 };

static struct variant list[ASPACE_FMT_COUNT * SPECIALS_MAX];
static size_t list_count;

static const char *const format_name[ASPACE_FMT_COUNT] = {
#define ASPACE_X(id, name) [ASPACE_FMT_##id] = name,
    ASPACE_FORMATS(ASPACE_X)
#undef ASPACE_X
};

static bool is_x86_tables(enum aspace_format f)
{
    return f >= ASPACE_FMT_X86_NPT4 && f <= ASPACE_FMT_X86_PT5;
}

static bool is_arm(enum aspace_format f)
{
    return f >= ASPACE_FMT_ARM_S2_39 && f <= ASPACE_FMT_ARM_S1_48;
}

static bool is_riscv(enum aspace_format f)
{
    return f >= ASPACE_FMT_RISCV_SV39X4 && f <= ASPACE_FMT_RISCV_SV57;
}

static struct variant *add(enum aspace_format format, const char *special)
{
    struct variant *v = &list[list_count++];

    snprintf(v->name, sizeof(v->name), "%s%s", format_name[format], special);
    v->config.format = format;
    v->config.size = naive_input_end(format);
    v->config.tag = 7;
    v->config.features = ASPACE_FEAT_NX;
    return v;
}

/* Not aligned to anything but pages, and small leaves only. */
static void add_small(enum aspace_format format)
{
    struct variant *v = add(format, "+4k");
    uint64_t span = naive_input_end(format) / 8;

    v->config.features |= ASPACE_FEAT_NO_2M;
    v->config.base = span + 3 * PAGE;
    v->config.size = 5 * span - 2 * PAGE;
}

/* The last byte of the space is the format's last, and the frames are the last that an entry can hold. */
static void add_top(enum aspace_format format)
{
    struct variant *v = add(format, "+top");

    v->config.size = naive_input_end(format) / 2;
    v->config.base = naive_input_end(format) - v->config.size;
    v->arena_pa = naive_output_end(&v->config) - (UINT64_C(1) << 30);
}

static void add_encrypted(enum aspace_format format)
{
    struct variant *v = add(format, "+encrypt");
    uint64_t end = naive_output_end(&v->config);
    unsigned top = 0;

    while (UINT64_C(1) << (top + 1) < end) {
        top++;
    }
    v->config.encrypt_bit = is_riscv(format) ? top - 2 : top;
}

static void add_format(enum aspace_format format)
{
    add(format, "");
    add(format, "+ad")->config.features |= ASPACE_FEAT_AD;
    add_small(format);
    add_top(format);
    add_encrypted(format);
    struct variant *v = add(format, "+all");
    v->config.features = ASPACE_FEAT_AD | ASPACE_FEAT_EXEC_ONLY | ASPACE_FEAT_SVPBMT | ASPACE_FEAT_SVNAPOT |
                         ASPACE_FEAT_CONTIG | ASPACE_FEAT_XNX | ASPACE_FEAT_MBEC | ASPACE_FEAT_VE | ASPACE_FEAT_NX |
                         ASPACE_FEAT_FWB | ASPACE_FEAT_BBML2 | ASPACE_FEAT_GLOBAL;
    v->smr = ASPACE_SMR_QSBR;
    v = add(format, "+2m");
    v->config.max_leaf_level = 2;
    if (is_x86_tables(format)) {
        add(format, "+nonx")->config.features = ASPACE_FEAT_NO_1G;
    }
    if (is_arm(format)) {
        add(format, "+contig")->config.features |= ASPACE_FEAT_CONTIG;
    }
    if (is_riscv(format)) {
        add(format, "+napot")->config.features |= ASPACE_FEAT_SVNAPOT;
    }
}

const struct variant *variants_all(size_t *count)
{
    if (list_count == 0) {
        for (unsigned f = 0; f < ASPACE_FMT_COUNT; f++) {
            add_format((enum aspace_format)f);
        }
    }
    *count = list_count;
    return list;
}
