/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What each format can express, from the manuals: the other half of the reference beside the naive walker. Owns these
 * expectations; must not know src/.
 */
#include "harness.h"

static bool is_ept(enum aspace_format f)
{
    return f <= ASPACE_FMT_X86_EPT5;
}

static bool is_x86(enum aspace_format f)
{
    return f >= ASPACE_FMT_X86_NPT4 && f <= ASPACE_FMT_X86_PT5;
}

static bool is_arm_s2(enum aspace_format f)
{
    return f >= ASPACE_FMT_ARM_S2_39 && f <= ASPACE_FMT_ARM_S2_48;
}

static bool is_arm_s1(enum aspace_format f)
{
    return f == ASPACE_FMT_ARM_S1_39 || f == ASPACE_FMT_ARM_S1_48;
}

static bool is_riscv(enum aspace_format f)
{
    return f >= ASPACE_FMT_RISCV_SV39X4 && f <= ASPACE_FMT_RISCV_SV57;
}

static bool is_toy(enum aspace_format f)
{
    return f == ASPACE_FMT_TOY;
}

static bool tells_user(enum aspace_format f)
{
    return is_toy(f) || f == ASPACE_FMT_X86_PT4 || f == ASPACE_FMT_X86_PT5 || is_arm_s1(f) ||
           f == ASPACE_FMT_LOONGARCH_S1 || (f >= ASPACE_FMT_RISCV_SV39 && f <= ASPACE_FMT_RISCV_SV57);
}

/* Without an NX bit whatever can be read can be executed; most formats cannot write without reading. */
bool expressible(const struct env *env, uint32_t rights)
{
    enum aspace_format f = env->config.format;
    uint32_t features = env->config.features;
    bool r = (rights & ASPACE_R) != 0, w = (rights & ASPACE_W) != 0, x = (rights & ASPACE_X) != 0;

    if ((rights & ASPACE_RWX) == 0) {
        return false;
    }
    if ((rights & ASPACE_U) && !tells_user(f)) {
        /* two execute rights: U is the second one */
        uint32_t feature = is_ept(f) ? ASPACE_FEAT_MBEC : is_arm_s2(f) ? ASPACE_FEAT_XNX : 0u;
        if (!x || (features & feature) == 0) {
            return false;
        }
    }
    if (is_ept(f)) {
        return r || (x && !w && (features & ASPACE_FEAT_EXEC_ONLY) != 0);
    }
    if (is_x86(f)) {
        return r && (x || (features & ASPACE_FEAT_NX) != 0);
    }
    if (is_arm_s1(f)) {
        return r;
    }
    if (is_riscv(f)) {
        return r || !w;
    }
    return true; /* Arm stage 2, LoongArch and the toy have a bit for each */
}

uint32_t attr_class(const struct env *env, uint32_t attr)
{
    enum aspace_format f = env->config.format;
    uint32_t encrypted = attr & ASPACE_ATTR_ENCRYPTED;

    switch (attr & ~ASPACE_ATTR_ENCRYPTED) {
    case ASPACE_ATTR_NORMAL: return ASPACE_ATTR_DEFAULT | encrypted;
    case ASPACE_ATTR_UC: return (is_arm_s1(f) || is_arm_s2(f) ? ASPACE_ATTR_UC : ASPACE_ATTR_DEVICE) | encrypted;
    default: return attr;
    }
}

bool attr_expressible(const struct env *env, uint32_t attr)
{
    if ((attr & ASPACE_ATTR_ENCRYPTED) != 0 && env->config.encrypt_bit == 0) {
        return false;
    }
    attr &= ~ASPACE_ATTR_ENCRYPTED;
    if (attr >= ASPACE_ATTR_COUNT) {
        return false;
    }
    if (is_riscv(env->config.format)) {
        return attr <= ASPACE_ATTR_NORMAL || (env->config.features & ASPACE_FEAT_SVPBMT) != 0;
    }
    return true;
}
