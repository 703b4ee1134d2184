/* SPDX-License-Identifier: BSD-2-Clause */
/* Which formats, in which configurations, the claims are made for; the command line. Must not know a claim. */
#include "subject.hpp"

#include <stdio.h>
#include <time.h>

static void prove_subject()
{
    for (at = 0; at < hardware_levels(S->m); at++) {
        claim_entries();
        claim_slots();
        if (leaves_at(at)) {
            claim_leaves();
            claim_parked();
            claim_fields();
        }
    }
}

/* ------------------------------------------------------------------------------------------------- configurations */

struct configuration {
    const char *name;
    unsigned features, output_bits, encrypt_below; /* the encrypt bit, from the top of the address; 0: none */
    raw pat, mair;
    enum { ALWAYS, IF_IT_MATTERS, NOT_IN_BRIEF } when;
};

static constexpr unsigned ALL = (ASPACE_FEAT_GLOBAL << 1) - 1 - ASPACE_FEAT_NO_1G - ASPACE_FEAT_NO_2M;

/* A feature that changes no entry of a family is left out there. */
static const configuration configurations[] = {
    {"", 0, 0, 0, 0, 0, configuration::ALWAYS},
    {"+ad", ASPACE_FEAT_AD, 0, 0, 0, 0, configuration::IF_IT_MATTERS},
    {"+nx", ASPACE_FEAT_NX, 0, 0, 0, 0, configuration::IF_IT_MATTERS},
    {"+execonly", ASPACE_FEAT_EXEC_ONLY, 0, 0, 0, 0, configuration::IF_IT_MATTERS},
    {"+mbec", ASPACE_FEAT_MBEC, 0, 0, 0, 0, configuration::IF_IT_MATTERS},
    {"+ve", ASPACE_FEAT_VE, 0, 0, 0, 0, configuration::IF_IT_MATTERS},
    {"+xnx", ASPACE_FEAT_XNX, 0, 0, 0, 0, configuration::IF_IT_MATTERS},
    {"+fwb", ASPACE_FEAT_FWB, 0, 0, 0, 0, configuration::IF_IT_MATTERS},
    {"+contig", ASPACE_FEAT_CONTIG, 0, 0, 0, 0, configuration::IF_IT_MATTERS},
    {"+svpbmt", ASPACE_FEAT_SVPBMT, 0, 0, 0, 0, configuration::IF_IT_MATTERS},
    {"+svnapot", ASPACE_FEAT_SVNAPOT, 0, 0, 0, 0, configuration::IF_IT_MATTERS},
    {"+global", ASPACE_FEAT_GLOBAL, 0, 0, 0, 0, configuration::IF_IT_MATTERS},
    {"+no1g+36bits", ASPACE_FEAT_NO_1G, 36, 0, 0, 0, configuration::NOT_IN_BRIEF},
    {"+all", ALL, 0, 0, 0, 0, configuration::ALWAYS},
    {"+all-ad+encrypt+types", ALL & ~ASPACE_FEAT_AD, 0, 1, 0x0600070401070400ul, 0xff000444ul,
     configuration::NOT_IN_BRIEF},
};

static unsigned matters(enum fmt_family family)
{
    switch (family) {
    case FMT_EPT: return ASPACE_FEAT_AD | ASPACE_FEAT_EXEC_ONLY | ASPACE_FEAT_MBEC | ASPACE_FEAT_VE;
    case FMT_X86: return ASPACE_FEAT_AD | ASPACE_FEAT_NX | ASPACE_FEAT_GLOBAL;
    case FMT_ARM_S1: return ASPACE_FEAT_AD | ASPACE_FEAT_CONTIG | ASPACE_FEAT_GLOBAL;
    case FMT_ARM_S2: return ASPACE_FEAT_AD | ASPACE_FEAT_CONTIG | ASPACE_FEAT_XNX | ASPACE_FEAT_FWB;
    case FMT_RISCV: return ASPACE_FEAT_AD | ASPACE_FEAT_SVPBMT | ASPACE_FEAT_SVNAPOT | ASPACE_FEAT_GLOBAL;
    case FMT_LOONGARCH: return ASPACE_FEAT_GLOBAL;
    case FMT_TOY: return ASPACE_FEAT_AD | ASPACE_FEAT_CONTIG;
    }
    return 0;
}

static const char *const families[] = {"ept", "x86", "arm-s1", "arm-s2", "riscv", "loongarch", "toy"};

/* The fields of what is an entry. */
static std::string explain(const std::string &name, raw value)
{
    if (name != "entry" && name != "after" && name != "small leaf" && name != "large leaf" && name != "member" &&
        name != "marker")
        return "";
    view v = hardware_look(S->m, at, value, 0);
    auto rights = [](access a) { return std::string(a.r ? "r" : "-") + (a.w ? "w" : "-") + (a.x ? "x" : "-"); };
    std::string text = !v.present ? "absent" : v.table ? "table" : "leaf";

    if (v.reserved)
        text += " reserved";
    return text + " user " + rights(v.user) + " kernel " + rights(v.kernel) + " type " + std::to_string(v.type.value);
}

static void prove_configuration(const struct fmt *format, const configuration &c)
{
    unsigned riscv = format->family == FMT_RISCV ? 2 : 0;
    unsigned encrypt = c.encrypt_below ? format->output_bits - c.encrypt_below - riscv : 0;
    struct aspace_config config;
    subject s;

    memset((void *)&config, 0, sizeof config);
    memset((void *)&s.C, 0, sizeof s.C);
    config.features = c.features;
    config.output_bits = (decltype(config.output_bits))c.output_bits;
    config.encrypt_bit = (decltype(config.encrypt_bit))encrypt;
    config.pat = c.pat;
    config.mair = c.mair;
    s.F = format;
    s.m = {format->id, c.features, c.output_bits, encrypt, c.pat, c.mair};
    s.name = std::string(aspace_format_name(format->id)) + c.name;
    engine_reset();
    S = &s;
    if (fmt_init(format, &s.C, &config) != ASPACE_OK) {
        printf("REFUTED %s: fmt_init refuses the configuration\n", s.name.c_str());
        totals.refuted++;
        return;
    }
    prove_subject();
}

static bool worth_it(const struct fmt *format, const configuration &c, bool brief)
{
    switch (c.when) {
    case configuration::ALWAYS: return true;
    case configuration::NOT_IN_BRIEF: return !brief;
    case configuration::IF_IT_MATTERS: return !brief && (c.features & matters(format->family));
    }
    return true;
}

static void prove_family(unsigned family, bool brief)
{
    engine_totals before = totals;
    clock_t begin = clock();
    unsigned spaces = 0;
    bool seen_stage[2] = {};

    for (unsigned id = 0; id < ASPACE_FMT_COUNT; id++) {
        const struct fmt *format = &fmt_table[id];
        if (format->family != (enum fmt_family)family || (brief && seen_stage[format->stage2]))
            continue;
        seen_stage[format->stage2] = true;
        for (const configuration &c : configurations)
            if (worth_it(format, c, brief)) {
                prove_configuration(format, c);
                spaces++;
            }
    }
    printf("prove: %s: %lu proved, %lu refuted: %u configurations, %lu claims on %lu paths, %lu queries (%.1f s)\n",
           families[family], totals.proved - before.proved, totals.refuted - before.refuted, spaces,
           totals.claims - before.claims, totals.paths - before.paths, totals.queries - before.queries,
           (double)(clock() - begin) / CLOCKS_PER_SEC);
    fflush(stdout);
}

/*
 * prove [--brief] [--until TEXT] [FAMILY]: status 0 if all is proved, 1 if something was refuted. Until: end with the
 * first refutation of a claim with this in its text.
 */
int main(int argc, char **argv)
{
    bool brief = false;
    const char *only = "";
    unsigned run = 0;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--brief"))
            brief = true;
        else if (!strcmp(argv[i], "--until") && i + 1 < argc)
            engine_wanted = argv[++i];
        else
            only = argv[i];
    }
    engine_explain = explain;
    for (unsigned family = 0; family < sizeof families / sizeof *families; family++)
        if (strstr(families[family], only)) {
            prove_family(family, brief);
            run++;
        }
    if (!run) {
        fprintf(stderr, "prove: no family has %s in its name\n", only);
        return 2;
    }
    printf("%lu proved, %lu refuted\n", totals.proved, totals.refuted);
    return totals.refuted != 0;
}
