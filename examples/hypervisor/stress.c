/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the stress CPUs: they stay at the hypervisor's level and edit the tables of the running guest through the
 * library, at one random place after another. Nothing they do may be noticed by the guest, other than in time. Knows
 * nothing of the guest's contents.
 */
#include "stress.h"

enum { HELD_US = 10, BETWEEN_EDITS_US = 1000 }; /* the vCPUs, which an invalidation may interrupt, must get on too */
enum { PAGE = 4096, HUGE_LEVEL = 1, FEW_PAGES = 6, MANY_PAGES = 1024 };

static struct stressor stressors[STRESS_MAX];
static atomic_uint changes; /* grows whenever a range is held or let go */
static atomic_bool stop;

/* ---- the guest's faults ---- */

unsigned stress_ticket(void)
{
    return atomic_load(&changes);
}

/* In this order: a range that is let go of meanwhile has been counted in `changes` before it is gone from here. */
bool stress_explains(unsigned ticket, uint64_t va)
{
    for (unsigned i = 0; i < options.stress; i++)
        if (va >= atomic_load(&stressors[i].held) && va < atomic_load(&stressors[i].held_end))
            return true;
    return atomic_load(&changes) != ticket;
}

void stress_hold(struct stressor *s, uint64_t va, uint64_t bytes)
{
    atomic_store(&s->held, va);
    atomic_store(&s->held_end, va + bytes);
    atomic_fetch_add(&changes, 1);
}

void stress_let_go(struct stressor *s)
{
    atomic_fetch_add(&changes, 1);
    atomic_store(&s->held_end, 0);
    atomic_store(&s->held, 0);
}

/* ---- small things ---- */

uint64_t stress_random(struct stressor *s, uint64_t below)
{
    uint64_t x = s->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    s->random = x;
    return (x >> 16) % below;
}

void stress_wait(uint64_t us)
{
    uint64_t end = arch_ticks() + us * arch_ticks_hz() / 1000000;
    while (arch_ticks() < end)
        aspace_pause();
}

void stress_count(struct stressor *s, int error, enum stress_count what)
{
    s->counts[error == ASPACE_OK ? what : COUNT_refused]++;
}

void stress_must(int error, const char *what)
{
    if (error != ASPACE_OK)
        fail("stress: %s: %s", what, aspace_error_message(error));
}

/* ---- edits of the guest's RAM, but for the window at its end ---- */

static uint64_t random_page(struct stressor *s)
{
    return arch.guest_ram + stress_random(s, (options.ram_bytes - window_bytes()) / PAGE) * PAGE;
}

/* A page that has contents, if one of a few tries finds one. */
static bool live_page(struct stressor *s, uint64_t *va, struct aspace_translation *t)
{
    for (unsigned tries = 0; tries < 8; tries++) {
        *va = random_page(s);
        if (aspace_translate(s->space, *va, t) == ASPACE_OK)
            return true;
    }
    return false;
}

/* Mostly one page. Many only where no right to fetch comes back: for each page that gets it, all CPUs are told. */
static uint64_t random_bytes(struct stressor *s, uint64_t va, bool fetch)
{
    uint64_t pages = 1, rest = arch.guest_ram + options.ram_bytes - window_bytes() - va;
    uint64_t dice = stress_random(s, 32);
    if (dice < 4)
        pages = 1 + stress_random(s, dice == 0 && fetch ? MANY_PAGES : FEW_PAGES);
    return pages * PAGE < rest ? pages * PAGE : rest;
}

/* The old frame goes back at once, which poisons it, and is the next to be given out: a CPU that still uses it reads
 * garbage, and writes into another page. */
static void migrate(struct stressor *s)
{
    uint64_t va;
    struct aspace_translation t;
    if (live_page(s, &va, &t))
        stress_count(s, aspace_migrate(s->space, va, ASPACE_PA_NONE), COUNT_migrated);
    (void)aspace_drain(s->host);
}

/* Take rights away for a moment. Once taken they must come back. */
static void protect_for_a_moment(struct stressor *s, uint32_t rights, enum stress_count what)
{
    uint64_t va;
    struct aspace_translation t;
    if (!live_page(s, &va, &t))
        return;
    uint64_t bytes = random_bytes(s, va, rights & ASPACE_X);
    stress_hold(s, va, bytes);
    int error = aspace_protect(s->space, va, bytes, rights);
    stress_count(s, error, what);
    if (error == ASPACE_OK) {
        stress_wait(HELD_US);
        stress_must(aspace_protect(s->space, va, bytes, ASPACE_RWX), "rights cannot be given back");
    }
    stress_let_go(s);
}

static void park(struct stressor *s)
{
    protect_for_a_moment(s, 0, COUNT_parked);
}

static void protect(struct stressor *s)
{
    protect_for_a_moment(s, ASPACE_RX, COUNT_protected);
}

static void split_or_collapse(struct stressor *s)
{
    uint64_t va;
    struct aspace_translation t;
    if (!live_page(s, &va, &t))
        return;
    if (t.leaf_bytes > PAGE)
        stress_count(s, aspace_split(s->space, va), COUNT_split);
    else
        stress_count(s, aspace_collapse(s->space, va, HUGE_LEVEL), COUNT_collapsed);
    (void)aspace_drain(s->host);
}

/* ---- a stress CPU ---- */

static void (*const edits[])(struct stressor *) = {
    migrate, migrate,     migrate,     migrate,     park,        park,           protect,      protect,
    migrate, window_move, window_move, window_move, window_move, window_replace, scratch_edit, scratch_edit,
};
enum { EDITS = sizeof edits / sizeof edits[0], EDITS_A_SPLIT = 40 };

static void edit(struct stressor *s)
{
    if (stress_random(s, EDITS_A_SPLIT) == 0)
        split_or_collapse(s);
    else
        edits[stress_random(s, EDITS)](s);
}

void stress_run(struct aspace_host *host, struct aspace *space, unsigned number)
{
    struct stressor *s = &stressors[number];
    s->host = host;
    s->space = space;
    s->number = number;
    s->random = (number + 1) * UINT64_C(0x9e3779b97f4a7c15) + options.seed;
    while (!atomic_load(&stop)) {
        edit(s);
        arch_sleep(BETWEEN_EDITS_US * arch_ticks_hz() / 1000000);
    }
    atomic_store(&s->stopped, true);
    arch_cpu_park();
}

bool stress_stopped(void)
{
    bool all = true;
    atomic_store(&stop, true);
    for (unsigned i = 0; i < options.stress; i++)
        all = all && atomic_load(&stressors[i].stopped);
    return all;
}

void stress_report(void)
{
    uint64_t sum[COUNT_COUNT] = {0};
    for (unsigned i = 0; i < options.stress; i++)
        for (unsigned c = 0; c < COUNT_COUNT; c++)
            sum[c] += stressors[i].counts[c];
#define HYP_FORMAT(name) " " #name "=%lu"
#define HYP_VALUE(name) , sum[COUNT_##name]
    if (!options.stress)
        return;
    print("stress: cpus=%u seed=%lu" STRESS_COUNTS(HYP_FORMAT), options.stress, options.seed STRESS_COUNTS(HYP_VALUE));
    arch_report_flushes();
#undef HYP_FORMAT
#undef HYP_VALUE
}
