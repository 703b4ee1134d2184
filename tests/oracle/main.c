/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An MMU that nobody here wrote is asked about tables that the library built. For each format of the machine: random
 * layouts, each asked about, changed with nothing but the library's own invalidations, and asked about again. Owns the
 * course of the program; must not know the MMU.
 */
#include "oracle.h"

#include "bare.h"

#define SPACE_BYTES 16384

static _Alignas(ASPACE_CACHE_LINE) unsigned char host_memory[ASPACE_HOST_BYTES(1)];
static _Alignas(ASPACE_CACHE_LINE) unsigned char space_memory[SPACE_BYTES];
static struct layout layout; /* too large for a stack */

static void flush(void *ctx, const struct aspace_flush *what)
{
    (void)ctx;
    machine_flush(what);
}

static void ask_about(const struct layout *l, uint64_t addresses, struct tally *tally)
{
    for (uint64_t i = 0; i < addresses; i++) {
        judge_address(l, layout_address(l), tally);
    }
}

static bool one_layout(const struct subject *subject, struct aspace_host *host, uint64_t addresses, struct tally *tally)
{
    if (!layout_make(&layout, subject, host, space_memory)) {
        return false;
    }
    machine_load(&layout);
    ask_about(&layout, addresses / 2, tally);
    layout_change(&layout);
    ask_about(&layout, addresses - addresses / 2, tally);
    machine_unload();
    return layout_end(&layout);
}

static void print_leaves(const char *name, const struct tally *t)
{
    static const char *const size[ASPACE_LEVELS_MAX] = {"4K", "2M", "1G", "512G", "256T", "128P"};

    print_text("count ");
    print_text(name);
    print_text(": leaves of");
    for (unsigned level = 0; level < ASPACE_LEVELS_MAX; level++) {
        if (t->leaves[level]) {
            print_text(" ");
            print_text(size[level]);
            print_text(" ");
            print_number(t->leaves[level]);
        }
    }
    print(", runs %u; holes %u, edges of leaves %u, top of the format %u, beyond it %u", t->runs, t->holes, t->edges,
          t->top, t->beyond);
}

/* Attributes as their bits read back, rights by their letters. */
static void print_meanings(const char *name, const struct tally *t)
{
    static const char *const attr[ASPACE_ATTR_COUNT] = {"default", "normal", "device", "wc", "uc"};

    print_text("count ");
    print_text(name);
    print_text(": attributes");
    for (unsigned a = 0; a < ASPACE_ATTR_COUNT; a++) {
        if (t->attr[a]) {
            print_text(" ");
            print_text(attr[a]);
            print_text(" ");
            print_number(t->attr[a]);
        }
    }
    print_text("; rights");
    for (unsigned r = 0; r < 16; r++) {
        for (unsigned i = 0; t->rights[r] && i < 6; i++) {
            machine_put(i == 0 || i == 5 ? ' ' : (r >> (i - 1) & 1) ? "rwxu"[i - 1] : '-');
        }
        if (t->rights[r]) {
            print_number(t->rights[r]);
        }
    }
    machine_put('\n');
}

/* What every layout of this many must have touched, or the numbers above mean less than they say; but for leaves that
 * the machine does not have, which has said so. */
static bool has_all(const struct subject *subject, uint64_t layouts, const struct tally *t)
{
    bool all = t->holes && t->edges && t->top && t->beyond && t->attr[ASPACE_ATTR_DEFAULT] && t->rights[ASPACE_R];

    for (unsigned level = 0; level < naive_leaf_levels(subject->format); level++) {
        bool none = level == 2 && subject->always & ASPACE_FEAT_NO_1G;
        all = all && (none || t->leaves[level]);
    }
    return all || layouts < 100;
}

static void report(const struct subject *subject, uint64_t layouts, const struct tally *t)
{
    const char *name = aspace_format_name(subject->format);

    print("%s: %u questions, %u allowed, %u refused; told: %u addresses, %u levels, %u attributes, %u flags set", name,
          t->questions, t->allowed, t->refused, t->pas, t->levels, t->attrs, t->flags);
    print_leaves(name, t);
    print_meanings(name, t);
    print("oracle %s: %u addresses, %u layouts, %u disagreements", name, t->addresses, layouts, t->disagreements);
}

static bool run_subject(const struct subject *subject)
{
    struct aspace_host *host = (struct aspace_host *)(void *)host_memory;
    struct aspace_host_config config = {.cpus = 1, .chunk_order = 6, .full_flush_entries = 24};
    uint64_t layouts = machine_options.layouts ? machine_options.layouts : 200;
    uint64_t addresses = machine_options.addresses ? machine_options.addresses : 520;
    struct aspace_hal hal = bare_hal;
    struct tally tally = {0};
    bool ok = true;

    hal.tlb_flush = flush;
    random_seed(machine_options.seed * 64 + subject->format);
    if (aspace_host_init(host, &hal, NULL, &config) != ASPACE_OK) {
        return false;
    }
    for (uint64_t i = 0; ok && i < layouts; i++) {
        ok = one_layout(subject, host, addresses, &tally);
    }
    ok = aspace_host_fini(host) == ASPACE_OK && ok;
    report(subject, layouts, &tally);
    if (!ok || bare_frames_used() != 0) {
        print("oracle: %s: a space was not created, not in order, not destroyed, or frames are missing",
              aspace_format_name(subject->format));
        return false;
    }
    if (!has_all(subject, layouts, &tally)) {
        print("oracle: %s: a size of leaf, a hole, an edge or the top was never asked about",
              aspace_format_name(subject->format));
        return false;
    }
    return tally.disagreements == 0;
}

_Noreturn void oracle_main(void);
_Noreturn void oracle_main(void)
{
    unsigned subjects = machine_start();
    bool ok = ASPACE_BYTES(1) <= SPACE_BYTES;

    for (unsigned i = 0; i < subjects; i++) {
        ok = run_subject(machine_subject(i)) && ok;
    }
    print("oracle: %s", ok ? "done" : "failed");
    machine_off();
}
