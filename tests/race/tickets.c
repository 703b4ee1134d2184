/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two operations that concern one ticket, each by a CPU of its own, in every order with two switches (baton.h). Owns
 * these situations; must not know src/.
 */
#include "race/baton.h"
#include "race/race.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <aspace/backend.h>
#include <aspace/ticket.h>

enum { ACTORS = 2, TICKETS = 3, PAGES = 4, VERSIONS = 8 };
#define BASE (64 * RACE_BIG)

void (*race_hook)(void);
void (*race_waits)(void);

static struct race race;

struct actor {
    const char *name;
    void (*run)(void);
    bool takes;  /* what is mapped when it begins is not what is mapped when it ends */
    bool closes; /* the space */
};

/* One schedule. */
static struct {
    const struct actor *actor[ACTORS];
    bool waiting; /* a second and a third ticket wait for the first from the beginning */

    struct aspace *space;
    struct aspace_ticket ticket[TICKETS];
    unsigned wakes[TICKETS], took_effect, cancels, released;
    aspace_pa_t fetched; /* by the leader, before the operations */
    aspace_pa_t at_hand; /* what `fill` gives out */
    uint64_t version;    /* of what is mapped: its pages hold this */
    uint64_t stale;      /* pages given back that hold another */
    bool done;           /* complete was OK */
} now;

static void check(bool ok, const char *what, int line)
{
    if (!ok) {
        struct baton_place where = baton_where();
        baton_stop();
        race_fail(NULL, __FILE__, line, "%s (%s at %u, %s at %u%s)", what, now.actor[0]->name, where.at[0],
                  now.actor[1]->name, where.at[1], now.waiting ? ", others wait" : "");
    }
}
#define CHECK(condition) check((condition), #condition, __LINE__)

/* ------------------------------------------------------------------------------------------------------- the object */

static aspace_pa_t fetch(void)
{
    aspace_pa_t pa = race.hal.alloc(&race.machine, 0, 0);

    CHECK(pa != ASPACE_PA_NONE);
    race_store(pa, now.version);
    return pa;
}

static enum aspace_fault_result fill(const struct aspace_fill *f, struct aspace_page *page)
{
    (void)f;
    if (now.at_hand == ASPACE_PA_NONE) {
        return ASPACE_FAULT_NEEDS_IO;
    }
    page->pa = now.at_hand;
    now.at_hand = ASPACE_PA_NONE;
    return ASPACE_FAULT_DONE;
}

static void release(void *ctx, uint64_t offset, aspace_pa_t pa, unsigned order)
{
    (void)offset;
    now.stale += race_load(pa) != (uint64_t)(uintptr_t)ctx;
    race.hal.free(&race.machine, pa, order);
}

static const struct aspace_backend backend = {.name = "versions", .fill = fill, .release = release};

/* The context of an area is the version that its pages must have: a discard changes what may come, so that an area that
 * is discarded is not looked at when it gives its pages back, but when it is at rest. */
static void map(uint32_t flags)
{
    struct aspace_map m = {.va = BASE,
                           .size = PAGES * RACE_PAGE,
                           .kind = ASPACE_KIND_CUSTOM,
                           .rights = race.rw,
                           .max_rights = race.ro | race.rw,
                           .flags = flags,
                           .backend = &backend};

    m.backend_ctx = (void *)(uintptr_t)now.version;
    CHECK(aspace_map(now.space, &m, NULL) == ASPACE_OK);
}

static void wake(void *ctx, void *waiter)
{
    (void)ctx;
    ++*(unsigned *)waiter;
}

static void count_release(void *user)
{
    (void)user;
    now.released++;
}

/* ------------------------------------------------------------------------------------------------------- the actors */

/* Whatever the answer, the memory of a ticket that was ended is its owner's, who may use it for something else. */
static void check_idle(const struct aspace_ticket *ticket)
{
    CHECK(aspace_ticket_state(ticket) == ASPACE_TICKET_IDLE);
}

static void do_complete(void)
{
    int rc = aspace_fault_complete(&now.ticket[0], now.fetched);

    CHECK(rc == ASPACE_OK || rc == ASPACE_E_STALE || rc == ASPACE_E_EXISTS || rc == ASPACE_E_CLOSED);
    check_idle(&now.ticket[0]);
    now.done = rc == ASPACE_OK;
    if (rc == ASPACE_OK) {
        now.took_effect++;
        now.fetched = ASPACE_PA_NONE;
    }
}

static void do_cancel(void)
{
    int rc = aspace_fault_cancel(&now.ticket[0]);

    CHECK(rc == ASPACE_OK || rc == ASPACE_E_STALE);
    check_idle(&now.ticket[0]);
    now.took_effect += rc == ASPACE_OK;
    now.cancels += rc == ASPACE_OK;
}

static void do_fail(void)
{
    int rc = aspace_fault_fail(&now.ticket[0], ASPACE_E_FAULT);

    CHECK(rc == ASPACE_OK || rc == ASPACE_E_STALE);
    check_idle(&now.ticket[0]);
    now.took_effect += rc == ASPACE_OK;
}

static void do_cancel_second(void)
{
    int rc = aspace_fault_cancel(&now.ticket[1]);

    CHECK(rc == ASPACE_OK || rc == ASPACE_E_STALE);
    CHECK(aspace_ticket_state(&now.ticket[1]) != ASPACE_TICKET_LEADING); /* it may be armed only now */
}

static void do_try_second(void)
{
    (void)!aspace_fault_try(now.space, BASE, ASPACE_R, 0, &now.ticket[1], NULL);
}

static void do_fault(void)
{
    now.at_hand = fetch();
    (void)!aspace_fault(now.space, BASE, ASPACE_R, NULL);
    if (now.at_hand != ASPACE_PA_NONE) {
        race.hal.free(&race.machine, now.at_hand, 0);
        now.at_hand = ASPACE_PA_NONE;
    }
}

static void do_unmap(void)
{
    CHECK(aspace_unmap(now.space, BASE, PAGES * RACE_PAGE) == ASPACE_OK);
}

static void do_unmap_table(void)
{
    CHECK(aspace_unmap(now.space, BASE, RACE_BIG) == ASPACE_OK);
}

static void do_remap(void)
{
    do_unmap();
    now.version++;
    map(0);
}

static void do_replace(void)
{
    now.version++;
    map(ASPACE_MAP_REPLACE);
}

static void do_discard(void)
{
    CHECK(aspace_discard(now.space, BASE, RACE_PAGE) == ASPACE_OK);
}

static void do_protect_none(void)
{
    CHECK(aspace_protect(now.space, BASE, RACE_PAGE, 0) == ASPACE_OK);
}

static void do_protect_read(void)
{
    CHECK(aspace_protect(now.space, BASE, RACE_PAGE, race.ro) == ASPACE_OK);
}

static void do_close(void)
{
    aspace_close(now.space);
}

static void do_destroy(void)
{
    uint64_t *root = aspace_phys_to_virt(aspace_root(now.space));

    CHECK(aspace_destroy(now.space) == ASPACE_OK);
    for (unsigned n = 0; n < RACE_PAGE / sizeof(*root); n++) {
        root[n] = UINT64_C(1) << 40 | ASPACE_RWX; /* the page is the pool's: who goes on in the tables gets nowhere */
    }
}

static const struct actor enders[] = {
    {"complete", do_complete, false, false},     {"fail", do_fail, false, false},
    {"cancel", do_cancel, false, false},         {"cancel second", do_cancel_second, false, false},
    {"try second", do_try_second, false, false},
};

static const struct actor others[] = {
    {"cancel", do_cancel, false, false},
    {"cancel second", do_cancel_second, false, false},
    {"fault", do_fault, false, false},
    {"unmap", do_unmap, true, false},
    {"unmap table", do_unmap_table, true, false},
    {"remap", do_remap, true, false},
    {"replace", do_replace, true, false},
    {"discard", do_discard, true, false},
    {"protect none", do_protect_none, false, false},
    {"protect read", do_protect_read, false, false},
    {"close", do_close, false, true},
    {"destroy", do_destroy, true, true},
};

/* ----------------------------------------------------------------------------------------------------- one schedule */

static void prepare(void)
{
    struct aspace_config c = race.config;

    c.released = count_release;
    CHECK(aspace_create(now.space, race.host, &c) == ASPACE_OK);
    memset(now.ticket, 0, sizeof(now.ticket));
    memset(now.wakes, 0, sizeof(now.wakes));
    now.took_effect = now.cancels = now.released = 0;
    now.version = 1;
    now.stale = 0;
    now.done = false;
    now.at_hand = ASPACE_PA_NONE;
    map(0);
    for (unsigned n = 0; n < TICKETS; n++) {
        now.ticket[n].waiter = &now.wakes[n];
        if (!n || now.waiting) {
            CHECK(aspace_fault_try(now.space, BASE, ASPACE_W, 0, &now.ticket[n], NULL) ==
                  (n ? ASPACE_FAULT_WAITING : ASPACE_FAULT_NEEDS_IO));
        }
    }
    now.fetched = fetch();
}

/* What an operation took away is not there with the contents that it had, and write access only where the area has. */
static void check_page(void)
{
    struct aspace_translation t;
    bool there = aspace_translate(now.space, BASE, &t) == ASPACE_OK;

    if (now.actor[1]->takes && now.done) {
        CHECK(!there);
    }
    if (now.actor[1]->run == do_protect_none) {
        CHECK(!there);
    }
    if (now.actor[1]->run == do_protect_read && there) {
        CHECK(!(t.rights & ASPACE_W));
    }
    if (there) {
        CHECK(race_load(t.pa) == now.version);
    }
}

/* Whoever leads gives up, until nobody does: then nobody waits. */
static void end_tickets(void)
{
    for (unsigned n = 0; n < TICKETS; n++) {
        for (unsigned k = 0; k < TICKETS; k++) {
            (void)!aspace_fault_fail(&now.ticket[k], ASPACE_E_FAULT);
        }
    }
    for (unsigned n = 0; n < TICKETS; n++) {
        CHECK(aspace_ticket_state(&now.ticket[n]) == ASPACE_TICKET_IDLE);
    }
}

static void finish(void)
{
    struct arena_counts a;
    bool destroyed = now.actor[1]->run == do_destroy;

    CHECK(now.took_effect <= 1);
    if (now.waiting && now.actor[0]->run != do_cancel_second && now.actor[1]->run != do_cancel_second) {
        CHECK(now.wakes[1] == (aspace_ticket_state(&now.ticket[1]) != ASPACE_TICKET_WAITING));
    }
    if (!destroyed) {
        CHECK(aspace_audit(now.space, race_print_line, NULL) == 0);
        if (!now.actor[1]->closes) {
            check_page();
        }
    }
    for (unsigned n = 0; n < TICKETS && now.actor[1]->closes; n++) {
        CHECK(now.ticket[n].pending.stale || aspace_ticket_state(&now.ticket[n]) == ASPACE_TICKET_IDLE);
    }
    end_tickets();
    CHECK(now.wakes[0] == 0 && now.wakes[1] <= 1 && now.wakes[2] <= 1);
    if (!destroyed) {
        CHECK(aspace_destroy(now.space) == ASPACE_OK);
    }
    CHECK(now.released == 1 && now.stale == 0);
    if (now.fetched != ASPACE_PA_NONE) {
        race.hal.free(&race.machine, now.fetched, 0);
    }
    aspace_trim(race.host);
    arena_counts_read(&race.machine.arena, &a);
    CHECK(a.data == race.device_frames && arena_violations(&race.machine.arena) == 0);
}

static unsigned run_all(enum aspace_format format, unsigned every)
{
    struct race_options o = {.format = format, .cpus = 3, .seed = 1, .memory = UINT64_C(64) << 20};
    unsigned n = 0;

    race_open(&race, &o);
    race.hal.wake = wake;
    now.space = aligned_alloc(ASPACE_CACHE_LINE, aspace_bytes(race.host));
    CHECK(now.space != NULL);
    baton_open();
    for (unsigned a = 0; a < sizeof(enders) / sizeof(enders[0]); a++) {
        for (unsigned b = 0; b < sizeof(others) / sizeof(others[0]); b++) {
            now.actor[0] = &enders[a];
            now.actor[1] = &others[b];
            /* A try is a call on the space, which destroy must not meet. */
            if (enders[a].run == others[b].run || (enders[a].run == do_try_second && others[b].run == do_destroy)) {
                continue;
            }
            for (unsigned w = 0; w < 2; w++) {
                now.waiting = w && enders[a].run != do_try_second;
                if (now.waiting == w) {
                    struct baton_pair pair = {enders[a].name, prepare, {enders[a].run, others[b].run}, finish};
                    n += baton_run(&pair, every, 0);
                }
            }
        }
    }
    baton_close();
    free(now.space);
    race_close(&race);
    return n;
}

/* An argument: look at every place of the second that is a multiple of this apart; 1: at all. */
int main(int argc, char **argv)
{
    unsigned every = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 4;

    if (!every) {
        fprintf(stderr, "tickets: %s is no number\n", argv[1]);
        return 2;
    }
    alarm(600);
    printf("x86-ept4: %u schedules\n", run_all(ASPACE_FMT_X86_EPT4, every));
    printf("1 passed, 0 failed\n");
    return 0;
}
