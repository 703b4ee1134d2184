/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the stress CPU: it stays at the hypervisor's level and edits the tables of the running guest through the
 * library, one random live page after another. Nothing it does may be noticed by the guest, other than in time.
 * Knows nothing of the guest's contents.
 */
#include "hyp.h"

#include <stdatomic.h>

enum { OP_MIGRATE, OP_PARK, OP_PROTECT, OP_SPLIT, OP_COUNT };
enum { PROTECTED_US = 10, BETWEEN_EDITS_US = 20 }; /* the vCPUs, which an invalidation may interrupt, must get on too */

/* The page whose rights are less than the guest's own, and how often there was one: the guest's faults on it are not
 * errors. Odd while a page is held, so one word says both. */
static _Atomic uint64_t held_page;
static _Atomic unsigned held_ticket;
static atomic_bool stop, stopped;

static struct {
    uint64_t migrated, parked, protected, split, collapsed, refused;
} done;

static uint64_t random_next(void)
{
    static uint64_t x = UINT64_C(0x9e3779b97f4a7c15);
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

static void wait_us(uint64_t us)
{
    uint64_t end = arch_ticks() + us * arch_ticks_hz() / 1000000;
    while (arch_ticks() < end)
        ;
}

unsigned stress_ticket(void)
{
    return atomic_load(&held_ticket);
}

bool stress_explains(unsigned ticket, uint64_t va)
{
    unsigned now = atomic_load(&held_ticket);
    return options.stress && (now != ticket || (now & 1 && atomic_load(&held_page) == (va & ~UINT64_C(0xfff))));
}

static void hold(uint64_t va)
{
    atomic_store(&held_page, va);
    atomic_fetch_add(&held_ticket, 1);
}

static void let_go(void)
{
    atomic_fetch_add(&held_ticket, 1);
}

static void count(int error, uint64_t *counter)
{
    if (error == ASPACE_OK)
        ++*counter;
    else
        done.refused++;
}

/* Take rights away for a moment. Once taken they must come back. */
static void protect_for_a_moment(struct aspace *space, uint64_t va, uint32_t rights, uint64_t *counter)
{
    hold(va);
    int error = aspace_protect(space, va, 4096, rights);
    count(error, counter);
    if (error == ASPACE_OK) {
        wait_us(PROTECTED_US);
        error = aspace_protect(space, va, 4096, ASPACE_RWX);
        if (error != ASPACE_OK)
            fail("stress: rights of a page cannot be given back: %s", aspace_error_message(error));
    }
    let_go();
}

static void split_or_collapse(struct aspace *space, uint64_t va, bool huge)
{
    if (huge)
        count(aspace_split(space, va), &done.split);
    else
        count(aspace_collapse(space, va, 1), &done.collapsed);
}

/* The old frame goes back at once, which poisons it, and is the next to be given out: a CPU that still uses it reads
 * garbage, and writes into another page. */
static void migrate(struct aspace_host *host, struct aspace *space, uint64_t va)
{
    count(aspace_migrate(space, va, ASPACE_PA_NONE), &done.migrated);
    (void)aspace_drain(host);
}

static void edit_a_page(struct aspace_host *host, struct aspace *space)
{
    struct aspace_translation t;
    uint64_t pages = options.ram_bytes >> 12;
    uint64_t va = arch.guest_ram + (random_next() % pages << 12);
    if (aspace_translate(space, va, &t) != ASPACE_OK)
        return;
    unsigned operation = (unsigned)(random_next() >> 32) % (options.leaf_level > 1 ? OP_COUNT : OP_SPLIT);
    switch (operation) {
    case OP_MIGRATE: migrate(host, space, va); break;
    case OP_PARK: protect_for_a_moment(space, va, 0, &done.parked); break;
    case OP_PROTECT: protect_for_a_moment(space, va, ASPACE_RX, &done.protected); break;
    default: split_or_collapse(space, va, t.leaf_bytes > 4096); break;
    }
}

void stress_run(struct aspace_host *host, struct aspace *space)
{
    while (!atomic_load(&stop)) {
        edit_a_page(host, space);
        wait_us(BETWEEN_EDITS_US);
    }
    atomic_store(&stopped, true);
    arch_cpu_park();
}

bool stress_stopped(void)
{
    atomic_store(&stop, true);
    return !options.stress || atomic_load(&stopped);
}

void stress_report(void)
{
    if (options.stress)
        print("stress: migrated=%lu protected=%lu parked=%lu split=%lu collapsed=%lu refused=%lu", done.migrated,
              done.protected, done.parked, done.split, done.collapsed, done.refused);
}
