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

static void report(const struct subject *subject, uint64_t layouts, const struct tally *t)
{
    const char *name = aspace_format_name(subject->format);

    print("%s: %u questions, %u allowed, %u refused; told: %u addresses, %u levels, %u attributes, %u flags set", name,
          t->questions, t->allowed, t->refused, t->pas, t->levels, t->attrs, t->flags);
    print("%s: in leaves of 4K: %u, 2M: %u, 1G: %u, in runs: %u", name, t->leaves[0], t->leaves[1], t->leaves[2],
          t->runs);
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
