/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fibers, and who runs when. A schedule is a list of switches, each before the access with a number; the search makes
 * one schedule after the other and runs the case anew for each. Owns the order of accesses; knows nothing of what they
 * are for.
 *
 * Where the search switches. A word is *contested* if one fiber writes it in some schedule of the case seen so far, and
 * another touches it in some. A preemption is tried before each access to a contested word and nowhere else. Nothing is
 * lost by that: a preemption before another access can be moved on to the preempted fiber's next access to a contested
 * word, because what it does until then touches no word that another fiber touches with one of them writing, so it
 * commutes with all that the others do meanwhile, and the number of preemptions stays the same. Should some schedule
 * show that one more word is contested, the search of the case begins again with all that are known. At the end no
 * schedule within the bound met a word that was not accounted for. What plain accesses do between two accesses through
 * the seams happens in one piece with the first.
 *
 * The watcher's CPU fills its TLB at every switch; flushes are therefore places to switch whoever else comes there.
 */
#include "explore.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum {
    STACK_BYTES = 128 << 10,
    READS_MAX = 16,
    TABLE = 8192,
    PATH_MAX = 4096,
    SWITCHES_MAX = 256,
    STEPS_MAX = 30000,
    CHANGES_MAX = 4,
    SPURIOUS_MAX = 40,
    IDLE_MAX = 100,
    NOBODY = 255,
};

struct fiber {
    ucontext_t context;
    bool done, blocked;
    bool changed; /* another wrote what this one has read since its last pause */
    bool wrote;   /* this one wrote something since then: it did not only look */
    unsigned reads;
    const volatile void *read[READS_MAX]; /* more than fit: all that there is */
    int priority;
};

/* Who touched a word, over all schedules of a case. */
struct word {
    const volatile void *p;
    uint8_t readers, writers;
    uint16_t history; /* number of its history in weak memory, from 1; 0: none yet */
};

/* A choice that was made. */
struct decision {
    uint64_t step;
    bool of_store; /* which of the stores, up to `enabled`, a load reads; else which fiber goes on */
    uint8_t stale; /* stale reads before */
    uint8_t enabled, chosen;
    uint8_t current;   /* runs, and to switch from it costs a preemption; NOBODY: switching is free */
    uint8_t yielding;  /* runs, and would rather not: to stay with it costs one; or NOBODY */
    uint8_t preempted; /* before */
};

struct change {
    uint64_t step;
    bool of_store;
    uint8_t to;
};

enum mode { SEARCH, RANDOM, REPLAY };

static struct {
    const struct test_case *c;
    enum mode mode;
    int running; /* -1: none */
    bool hidden; /* accesses of the machinery itself */
    unsigned bound;
    uint64_t step, last_steps;
    struct fiber fiber[FIBERS_MAX];
    struct decision path[PATH_MAX];
    unsigned depth, given; /* given: decisions that are to be made again as they stand */
    unsigned preempted;
    unsigned stale, stale_bound;
    struct word *latest; /* of the latest access */
    struct change taken[SWITCHES_MAX];
    unsigned n_taken;
    struct change replay[SWITCHES_MAX];
    unsigned n_replay, at_replay;
    uint64_t change_at[CHANGES_MAX];
    unsigned n_changes;
    int lowest;
    uint64_t random;
    struct word table[TABLE];
    unsigned words;
    unsigned spurious; /* times that all were woken because none could go on */
    unsigned idle;     /* pauses outside of a schedule */
    bool grew;
    bool failed;
    char why[400];
    ucontext_t main;
    struct outcome outcome;
} run = {.running = -1};

static char stacks[FIBERS_MAX][STACK_BYTES] __attribute__((aligned(64)));
static sigjmp_buf guard;
static bool guarded;

bool explore_verbose;

uint64_t explore_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

bool explore_in_fiber(void)
{
    return run.running >= 0;
}

/* --------------------------------------------------------------------------------------------------------- failures */

void explore_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(run.why, sizeof run.why, format, args);
    va_end(args);
    run.failed = true;
    run.hidden = false;
    if (run.running >= 0) {
        run.running = -1;
        setcontext(&run.main);
    }
    if (guarded)
        siglongjmp(guard, 1);
    fprintf(stderr, "explore: %s\n", run.why);
    abort();
}

void explore_assert_fail(const char *expr, const char *file, int line)
{
    explore_fail("%s:%d: assertion failed: %s", file, line, expr);
}

/* A pointer out of a frame that was freed is poison, so a use after free often ends here. */
static void on_signal(int signal)
{
    explore_fail("signal %d (%s)", signal, signal == SIGALRM ? "does not end" : "a wild pointer");
}

static void catch_signals(void)
{
    static char stack[64 << 10];
    static bool done;
    if (done)
        return;
    done = true;
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_NODEFER};
    sigaltstack(&alternate, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
}

bool explore_guarded(void (*fn)(void *), void *arg, char *why, size_t why_bytes)
{
    catch_signals();
    run.failed = false;
    run.idle = 0;
    guarded = true;
    if (!sigsetjmp(guard, 1))
        fn(arg);
    guarded = false;
    run.hidden = false;
    if (run.failed) {
        snprintf(why, why_bytes, "%s", run.why);
        machine_spoilt();
    }
    return !run.failed;
}

/* -------------------------------------------------------------------------------------------------- contested words */

static bool is_contested(const struct word *w)
{
    return w->writers && ((w->readers | w->writers) & ((w->readers | w->writers) - 1));
}

static struct word *find_word(const volatile void *p)
{
    uintptr_t hash = (uintptr_t)p;
    hash = (hash >> 2 ^ hash >> 13 ^ hash << 5) % TABLE;
    while (run.table[hash].p && run.table[hash].p != p)
        hash = (hash + 1) % TABLE;
    return &run.table[hash];
}

/* Whether the word is contested; a new one among those begins the search again. */
static bool note_word(const volatile void *p, unsigned how)
{
    struct word *w = run.latest = find_word(p);
    bool before = is_contested(w);
    if (!w->p && run.words++ > TABLE / 2)
        explore_fail("more words are touched than the table has room for");
    w->p = p;
    if (how & EXPLORE_READ)
        w->readers |= (uint8_t)(1u << run.running);
    if (how & EXPLORE_WRITE)
        w->writers |= (uint8_t)(1u << run.running);
    bool now = is_contested(w);
    run.grew |= now && !before;
    return now;
}

int explore_contested_index(const volatile void *p, unsigned *count)
{
    struct word *w = p ? find_word(p) : run.latest;
    if (!is_contested(w))
        return -1;
    if (!w->history && *count == WEAK_WORDS)
        explore_fail("more words are contested than have room for a history");
    if (!w->history)
        w->history = (uint16_t)++ * count;
    return w->history - 1;
}

/* ------------------------------------------------------------------------------------------------------ the choices */

static unsigned enabled_fibers(void)
{
    unsigned mask = 0;
    for (unsigned f = 0; f < run.c->fibers; f++)
        if (!run.fiber[f].done && !run.fiber[f].blocked)
            mask |= 1u << f;
    return mask;
}

static unsigned lowest_of(unsigned mask)
{
    unsigned f = 0;
    while (!(mask >> f & 1))
        f++;
    return f;
}

static unsigned default_of(unsigned enabled, unsigned current, unsigned yielding)
{
    if (current != NOBODY)
        return current;
    unsigned others = yielding == NOBODY ? enabled : enabled & ~(1u << yielding);
    return lowest_of(others ? others : enabled);
}

static unsigned cost_of(const struct decision *d, unsigned f)
{
    return (d->current != NOBODY && f != d->current) || f == d->yielding;
}

static unsigned choose_search(unsigned enabled, unsigned current, unsigned yielding)
{
    if (run.depth == PATH_MAX)
        explore_fail("more choices than a path has room for");
    struct decision *d = &run.path[run.depth++];
    if (run.depth > run.given) {
        *d = (struct decision){.step = run.step,
                               .enabled = (uint8_t)enabled,
                               .current = (uint8_t)current,
                               .yielding = (uint8_t)yielding,
                               .preempted = (uint8_t)run.preempted};
        d->chosen = (uint8_t)default_of(enabled, current, yielding);
    } else if (d->enabled != enabled || d->current != current || d->step != run.step) {
        explore_fail("the same choices led elsewhere: something besides the schedule decides");
    }
    run.preempted += cost_of(d, d->chosen);
    return d->chosen;
}

static unsigned search_store(unsigned stores)
{
    if (run.depth == PATH_MAX)
        explore_fail("more choices than a path has room for");
    struct decision *d = &run.path[run.depth++];
    if (run.depth > run.given)
        *d = (struct decision){
            .step = run.step, .of_store = true, .enabled = (uint8_t)stores, .stale = (uint8_t)run.stale};
    else if (!d->of_store || d->enabled != stores || d->step != run.step)
        explore_fail("the same choices led elsewhere: something besides the schedule decides");
    return d->chosen;
}

static bool next_store(struct decision *d)
{
    if (d->chosen + 1u == d->enabled || d->stale == run.stale_bound)
        return false;
    d->chosen++;
    return true;
}

static bool next_fiber(struct decision *d)
{
    unsigned first = default_of(d->enabled, d->current, d->yielding);
    for (unsigned f = d->chosen == first ? 0 : d->chosen + 1u; f < run.c->fibers; f++)
        if (f != first && d->enabled >> f & 1 && d->preempted + cost_of(d, f) <= run.bound) {
            d->chosen = (uint8_t)f;
            return true;
        }
    return false;
}

/* The next path in order: the last choice that has an alternative within the bound takes it. */
static bool next_path(void)
{
    while (run.depth) {
        struct decision *d = &run.path[run.depth - 1];
        if (d->of_store ? next_store(d) : next_fiber(d)) {
            run.given = run.depth;
            return true;
        }
        run.depth--;
    }
    return false;
}

/* Random priorities, with a few places at which the running fiber gets the lowest (PCT). */
static unsigned choose_random(unsigned enabled)
{
    unsigned best = lowest_of(enabled);
    for (unsigned f = best; f < run.c->fibers; f++)
        if (enabled >> f & 1 && run.fiber[f].priority > run.fiber[best].priority)
            best = f;
    return best;
}

static void maybe_lower(void)
{
    for (unsigned i = 0; i < run.n_changes; i++)
        if (run.change_at[i] == run.step)
            run.fiber[run.running].priority = --run.lowest;
}

static bool is_replayed(bool of_store)
{
    const struct change *c = &run.replay[run.at_replay];
    return run.at_replay < run.n_replay && c->step == run.step && c->of_store == of_store;
}

static unsigned choose_replay(unsigned enabled, unsigned current, unsigned yielding)
{
    if (is_replayed(false)) {
        unsigned to = run.replay[run.at_replay++].to;
        if (enabled >> to & 1)
            return to;
    }
    return default_of(enabled, current, yielding);
}

/* One that yields gets the lowest priority, since it may do so again and again until another has done something. */
static unsigned choose(unsigned enabled, unsigned current, unsigned yielding)
{
    if (yielding != NOBODY)
        run.fiber[yielding].priority = --run.lowest;
    unsigned f = run.mode == RANDOM   ? choose_random(enabled)
                 : run.mode == REPLAY ? choose_replay(enabled, current, yielding)
                                      : choose_search(enabled, current, yielding);
    if (f != current && run.n_taken < SWITCHES_MAX)
        run.taken[run.n_taken++] = (struct change){run.step, false, (uint8_t)f};
    return f;
}

int explore_fiber(void)
{
    return run.hidden ? -1 : run.running;
}

unsigned explore_stale_left(void)
{
    return run.stale_bound - run.stale;
}

/* One in four at random, so that there are some left for later. */
static unsigned random_store(unsigned stores)
{
    uint64_t random = explore_random(&run.random);
    return random & 3 ? 0 : 1 + (unsigned)((random >> 8) % (stores - 1));
}

bool explore_is_new(void)
{
    return run.grew;
}

/* Whoever read an old store has something new to see already, should he wait. */
unsigned explore_choose_store(unsigned stores)
{
    unsigned chosen = 0;
    if (run.grew)
        return 0;
    if (run.mode == REPLAY)
        chosen = is_replayed(true) ? run.replay[run.at_replay++].to : 0;
    else if (run.stale < run.stale_bound)
        chosen = run.mode == RANDOM ? random_store(stores) : search_store(stores);
    if (!chosen || chosen >= stores)
        return 0;
    run.stale++;
    run.fiber[run.running].changed = true;
    if (run.n_taken < SWITCHES_MAX)
        run.taken[run.n_taken++] = (struct change){run.step, true, (uint8_t)chosen};
    if (explore_verbose)
        printf("        cpu %d reads what was there %u before\n", run.running, chosen);
    return chosen;
}

static void enter(unsigned to)
{
    if (explore_verbose)
        printf("%6llu  -------- cpu %u\n", (unsigned long long)run.step, to);
    run.running = (int)to;
    machine_become(to);
}

static void switch_to(unsigned to)
{
    unsigned from = (unsigned)run.running;
    if (from == to)
        return;
    run.hidden = true;
    machine_switched();
    run.hidden = false;
    enter(to);
    swapcontext(&run.fiber[from].context, &run.fiber[to].context);
}

/* The running fiber cannot go on. */
static void give_way(void)
{
    bool all_done = true;
    for (unsigned f = 0; f < run.c->fibers; f++)
        all_done &= run.fiber[f].done;
    if (all_done) {
        run.running = -1;
        setcontext(&run.main);
    }
    /* A pause need not be a wait, so when none can go on all look again; but not for ever. */
    if (!enabled_fibers()) {
        if (run.spurious++ > SPURIOUS_MAX)
            explore_fail("every CPU waits for something that nobody will change");
        for (unsigned f = 0; f < run.c->fibers; f++)
            run.fiber[f].blocked = false;
    }
    switch_to(choose(enabled_fibers(), NOBODY, NOBODY));
}

static bool may_switch(unsigned how, bool contested)
{
    if (run.mode == SEARCH)
        return (contested || how & EXPLORE_ALWAYS) && run.preempted <= run.bound;
    return true;
}

static void wake_readers(const volatile void *p)
{
    run.fiber[run.running].wrote = true;
    for (unsigned f = 0; f < run.c->fibers; f++) {
        struct fiber *fiber = &run.fiber[f];
        bool all = fiber->reads > READS_MAX;
        for (unsigned i = 0; !all && i < fiber->reads; i++)
            all = fiber->read[i] == p;
        if ((int)f != run.running && all) {
            fiber->changed = true;
            fiber->blocked = false;
        }
    }
}

static void remember_read(const volatile void *p)
{
    struct fiber *fiber = &run.fiber[run.running];
    if (fiber->reads < READS_MAX)
        fiber->read[fiber->reads++] = p;
    else
        fiber->reads = READS_MAX + 1;
}

void explore_before(const volatile void *p, unsigned how, const char *text, const char *where)
{
    if (run.running < 0 || run.hidden)
        return;
    if (++run.step > STEPS_MAX)
        explore_fail("does not come to an end");
    bool contested = note_word(p, how);
    if (run.mode == RANDOM)
        maybe_lower();
    if (may_switch(how, contested)) {
        unsigned enabled = enabled_fibers();
        if (enabled & (enabled - 1))
            switch_to(choose(enabled, (unsigned)run.running, NOBODY));
    }
    run.latest = find_word(p); /* others have run meanwhile */
    if (how & EXPLORE_WRITE && !(how & EXPLORE_TRY))
        wake_readers(p);
    if (how & EXPLORE_READ)
        remember_read(p);
    if (explore_verbose)
        printf("%6llu%s cpu %d  %s: %s  [%p]\n", (unsigned long long)run.step, contested ? "*" : " ", run.running,
               where, text, (void *)(uintptr_t)p);
}

void explore_wrote(const volatile void *p)
{
    if (run.running >= 0 && !run.hidden)
        wake_readers(p);
}

/* What another access than the library's touches: noted, and never a place to switch. */
void explore_note(const volatile void *p, unsigned how)
{
    if (run.running < 0 || run.hidden)
        return;
    note_word(p, how);
    if (explore_weak && how & EXPLORE_READ)
        weak_looked();
    if (how & EXPLORE_WRITE)
        wake_readers(p);
}

/* What the simulated hardware does goes on without a switch in between. */
void explore_hide(bool hidden)
{
    run.hidden = hidden;
}

void explore_nobody_waits(void)
{
    run.idle = 0;
}

void explore_pause(void)
{
    if (run.running < 0 && ++run.idle > IDLE_MAX)
        explore_fail("something is waited for while nobody else is at work");
    if (run.running < 0)
        return;
    struct fiber *fiber = &run.fiber[run.running];
    run.step++; /* every choice has a number of its own */
    if (explore_verbose)
        printf("%6llu  cpu %d  pauses\n", (unsigned long long)run.step, run.running);
    if (fiber->wrote) {
        switch_to(choose(enabled_fibers(), NOBODY, (unsigned)run.running));
    } else if (!fiber->changed) {
        fiber->blocked = true;
        give_way();
    }
    fiber->changed = fiber->wrote = false;
    fiber->reads = 0;
}

/* --------------------------------------------------------------------------------------------------- running a case */

static void fiber_main(void)
{
    unsigned f = (unsigned)run.running;
    const struct program *program = &run.c->program[f];
    aspace_cpu_online(machine.host);
    for (unsigned i = 0; i < program->count; i++) {
        struct result *result = &run.outcome.result[f][i];
        if (explore_verbose)
            printf("        cpu %u begins %s\n", f, program->op[i]->name);
        machine_begin(program->op[i]);
        operation_run(program->op[i], f, result);
        machine_end(program->op[i], result);
        if (explore_verbose)
            printf("        cpu %u ends %s: %d, 0x%llx\n", f, program->op[i]->name, result->rc,
                   (unsigned long long)result->value);
        aspace_quiescent(machine.host);
    }
    aspace_cpu_offline(machine.host);
    run.fiber[f].done = true;
    run.step++;
    give_way();
}

static void prepare_fibers(void)
{
    for (unsigned f = 0; f < run.c->fibers; f++) {
        struct fiber *fiber = &run.fiber[f];
        fiber->done = fiber->blocked = fiber->changed = fiber->wrote = false;
        fiber->reads = 0;
        getcontext(&fiber->context);
        fiber->context.uc_stack.ss_sp = stacks[f];
        fiber->context.uc_stack.ss_size = STACK_BYTES;
        fiber->context.uc_link = NULL;
        makecontext(&fiber->context, fiber_main, 0);
    }
}

static void prepare_random(void)
{
    uint64_t steps = run.last_steps ? run.last_steps : 200;
    for (unsigned f = 0; f < run.c->fibers; f++)
        run.fiber[f].priority = (int)(explore_random(&run.random) >> 40);
    run.lowest = -1;
    run.n_changes = 1 + (unsigned)(explore_random(&run.random) % CHANGES_MAX);
    for (unsigned i = 0; i < run.n_changes; i++)
        run.change_at[i] = 1 + explore_random(&run.random) % steps;
}

/* In the main context, with explore_fail caught: the whole of one schedule. */
static void run_schedule(void *arg)
{
    (void)arg;
    machine_restore();
    dirty_forget();
    run.step = 0;
    run.depth = run.preempted = run.stale = run.n_taken = run.at_replay = run.spurious = 0;
    if (explore_weak)
        weak_begin_schedule();
    memset(&run.outcome, 0, sizeof run.outcome);
    prepare_fibers();
    if (run.mode == RANDOM)
        prepare_random();
    volatile bool started = false;
    getcontext(&run.main);
    if (!started) {
        started = true;
        unsigned first = choose((1u << run.c->fibers) - 1, NOBODY, NOBODY);
        enter(first);
        setcontext(&run.fiber[first].context);
    }
    run.last_steps = run.step;
    if (run.failed)
        siglongjmp(guard, 1);
    char why[sizeof run.why];
    dirty_check();
    machine_check_rest();
    outcome_take(&run.outcome);
    if (!outcome_is_sequential(run.c, &run.outcome, why, sizeof why))
        explore_fail("%s", why);
    machine_check_empty();
}

static void print_schedule(char *out, size_t bytes)
{
    size_t n = 0;
    for (unsigned i = 0; i < run.n_taken && n < bytes; i++)
        n += (size_t)snprintf(out + n, bytes - n, "%s%llu%c%u", i ? "." : "", (unsigned long long)run.taken[i].step,
                              run.taken[i].of_store ? '=' : ':', run.taken[i].to);
}

static void parse_schedule(const char *text)
{
    run.n_replay = 0;
    while (*text && run.n_replay < SWITCHES_MAX) {
        char *end;
        uint64_t step = strtoull(text, &end, 10);
        bool of_store = *end == '=';
        unsigned to = of_store || *end == ':' ? (unsigned)strtoul(end + 1, &end, 10) : 0;
        run.replay[run.n_replay++] = (struct change){step, of_store, (uint8_t)to};
        text = *end == '.' ? end + 1 : end + strlen(end);
    }
}

static bool run_one(struct found *found)
{
    found->schedules++;
    run.grew = false;
    found->failed = !explore_guarded(run_schedule, NULL, found->why, sizeof found->why);
    if (found->failed)
        print_schedule(found->schedule, sizeof found->schedule);
    return !found->failed;
}

static void search_all(const struct search *search, struct found *found)
{
    do {
        if (!run_one(found))
            return;
        if (run.grew)
            run.depth = run.given = 0; /* with what is known now, from the beginning */
        else if (!next_path())
            found->complete = true;
    } while (!found->complete && (!search->most || found->schedules < search->most));
}

static void sequential_orders(void *arg)
{
    outcomes_sequential(arg);
}

void explore_case(const struct test_case *c, const struct search *search, struct found *found)
{
    memset(found, 0, sizeof *found);
    memset(run.table, 0, sizeof run.table);
    run.words = 0;
    run.c = c;
    run.bound = search->bound;
    run.stale_bound = search->stale;
    explore_weak = search->stale > 0;
    weak_begin_case();
    run.depth = run.given = 0;
    run.last_steps = 0;
    run.random = search->seed;
    if (!explore_guarded(sequential_orders, (void *)(uintptr_t)c, found->why, sizeof found->why)) {
        found->failed = true;
        snprintf(found->schedule, sizeof found->schedule, "none: in a sequential order");
        return;
    }
    if (search->replay) {
        run.mode = REPLAY;
        parse_schedule(search->replay);
        do /* until all is known that is contested */
            run_one(found);
        while (!found->failed && run.grew);
    } else if (search->random) {
        run.mode = RANDOM;
        while (found->schedules < search->random && run_one(found))
            continue;
    } else {
        run.mode = SEARCH;
        search_all(search, found);
    }
}
