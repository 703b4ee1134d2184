/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The runner, the machines and the snapshots. Owns the registry and the ledger check; must not know src/ nor what any
 * single test is about.
 */
#define _DEFAULT_SOURCE

#include "harness.h"
#include "sim_walker.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------ failing, skipping */

static struct {
    sigjmp_buf out;
    bool inside;
    char text[512];
    uint64_t seed, count;
    bool seed_given, verbose, list;
    const char *filters[16];
    unsigned filter_count;
} run;

enum { OUT_FAILED = 1, OUT_SKIPPED = 2, SECONDS_MAX = 20 };

void test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    int n = snprintf(run.text, sizeof(run.text), "%s:%d: ", file, line);

    va_start(args, format);
    vsnprintf(run.text + n, sizeof(run.text) - (size_t)n, format, args);
    va_end(args);
    if (!run.inside) {
        fprintf(stderr, "%s\n", run.text);
        abort();
    }
    siglongjmp(run.out, OUT_FAILED);
}

void test_skip(const char *why)
{
    snprintf(run.text, sizeof(run.text), "%s", why);
    siglongjmp(run.out, OUT_SKIPPED);
}

/* An assertion of the library, or a test that does not end, fails the one test. */
static void on_signal(int number)
{
    if (!run.inside) {
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    snprintf(run.text, sizeof(run.text),
             number == SIGALRM || number == SIGPROF ? "not finished in time (signal %d)" : "aborted (signal %d)",
             number);
    siglongjmp(run.out, OUT_FAILED);
}

uint64_t harness_seed(void)
{
    return run.seed;
}

bool harness_seed_given(void)
{
    return run.seed_given;
}

uint64_t harness_count(uint64_t standard)
{
    return run.count != 0 ? run.count : standard;
}

bool harness_verbose(void)
{
    return run.verbose;
}

uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* ---------------------------------------------------------------------------------------------------- looking at it */

static bool phys_outside;

static const void *phys(uint64_t pa)
{
    static const uint64_t nothing;

    if (!machine_owns(pa)) {
        phys_outside = true;
        return &nothing;
    }
    return aspace_phys_to_virt(pa);
}

struct naive_result walk(struct env *env, uint64_t va)
{
    struct naive_result r;

    phys_outside = false;
    naive_walk(env->config.format, &env->config, aspace_root(env->space), va, phys, &r);
    if (phys_outside) {
        test_fail(__FILE__, __LINE__, "the tables for 0x%llx lead outside the memory of the machine",
                  (unsigned long long)va);
    }
    if (r.malformed || r.open_run) {
        test_fail(__FILE__, __LINE__, "the entries for 0x%llx are malformed (entry at 0x%llx is 0x%llx)",
                  (unsigned long long)va, (unsigned long long)r.entry_pa,
                  (unsigned long long)*(const uint64_t *)phys(r.entry_pa));
    }
    return r;
}

struct naive_result agree(struct env *env, uint64_t va)
{
    struct naive_result r = walk(env, va);
    struct aspace_translation t;
    int error = aspace_translate(env->space, va, &t);

    if (!r.present || r.rights == 0) {
        CHECK_ERROR(error, ASPACE_E_NOT_MAPPED);
        return r;
    }
    CHECK_OK(error);
    CHECK_EQ(t.pa, r.pa);
    CHECK_EQ(t.leaf_bytes, r.leaf_bytes);
    CHECK_EQ(t.length, r.leaf_bytes - va % r.leaf_bytes);
    CHECK_EQ(t.rights, r.rights);
    CHECK_EQ(attr_class(env, t.attr), r.attr);
    return r;
}

void expect_absent(struct env *env, uint64_t va)
{
    struct naive_result r = agree(env, va);

    if (r.present && r.rights != 0) {
        test_fail(__FILE__, __LINE__, "0x%llx can be accessed", (unsigned long long)va);
    }
}

void expect_leaf(struct env *env, uint64_t va, uint64_t pa, uint32_t rights)
{
    struct naive_result r = agree(env, va);

    if (!r.present) {
        test_fail(__FILE__, __LINE__, "0x%llx is not present", (unsigned long long)va);
    }
    CHECK_EQ(r.pa, pa);
    CHECK_EQ(r.rights, rights);
}

struct aspace_area query(struct env *env, uint64_t va)
{
    struct aspace_area area;

    CHECK_OK(aspace_query(env->space, va, &area));
    CHECK(va >= area.va && va - area.va < area.size);
    return area;
}

uint64_t peek(struct env *env, uint64_t va)
{
    uint64_t value = 0;
    size_t done = 0;

    CHECK_OK(aspace_read(env->space, va, &value, sizeof(value), &done));
    CHECK_EQ(done, sizeof(value));
    return value;
}

void poke(struct env *env, uint64_t va, uint64_t value)
{
    size_t done = 0;

    CHECK_OK(aspace_write(env->space, va, &value, sizeof(value), &done));
    CHECK_EQ(done, sizeof(value));
}

void touch(struct env *env, uint64_t va, uint32_t access)
{
    CHECK_FAULT(aspace_fault(env->space, va, access, NULL), ASPACE_FAULT_DONE);
}

bool mapped(struct env *env, uint64_t va)
{
    struct aspace_area area;
    int error = aspace_query(env->space, va, &area);

    if (error != ASPACE_E_NOT_MAPPED) {
        CHECK_OK(error);
        CHECK(va >= area.va && va - area.va < area.size);
    }
    return error == ASPACE_OK;
}

static void print_line(void *arg, const char *line)
{
    const char *prefix = arg;

    fprintf(stderr, "  %s: %s\n", prefix, line);
}

void audit(struct env *env)
{
    static char prefix[] = "audit";
    size_t violations = aspace_audit(env->space, print_line, prefix);

    CHECK_EQ(violations, 0);
}

uint64_t frames_held(struct env *env)
{
    aspace_trim(env->host); /* frames of tables that were unlinked as a whole are counted down with them */
    return counters(env).frames;
}

uint64_t tables_held(struct env *env)
{
    aspace_trim(env->host);
    return counters(env).tables;
}

struct aspace_counters counters(struct env *env)
{
    struct aspace_counters c;

    aspace_counters_read(env->space, &c);
    return c;
}

/* -------------------------------------------------------------------------------------------------- making requests */

struct aspace_map request(enum aspace_kind kind, uint64_t va, uint64_t size, uint32_t rights)
{
    return (struct aspace_map){.va = va, .size = size, .kind = kind, .rights = rights};
}

struct aspace_map request_linear(uint64_t va, uint64_t size, uint32_t rights, uint64_t pa)
{
    struct aspace_map m = request(ASPACE_KIND_LINEAR, va, size, rights);

    m.pa = pa;
    return m;
}

void do_map(struct env *env, enum aspace_kind kind, uint64_t va, uint64_t size, uint32_t rights)
{
    struct aspace_map m = request(kind, va, size, rights);

    m.max_rights = rights | env->rw;
    CHECK_OK(aspace_map(env->space, &m, NULL));
}

void do_linear(struct env *env, uint64_t va, uint64_t size, uint32_t rights, uint64_t pa)
{
    struct aspace_map m = request_linear(va, size, rights, pa);

    m.max_rights = rights | env->rw;
    CHECK_OK(aspace_map(env->space, &m, NULL));
}

uint64_t at(const struct env *env, unsigned level, uint64_t n)
{
    uint64_t span = env->span[level];
    uint64_t va = (env->base + span - 1) / span * span + n * span;

    if (va >= env->end || env->end - va < span) {
        test_skip("the space is too small");
    }
    return va;
}

uint64_t highest_pa(const struct env *env, uint64_t bytes)
{
    return naive_output_end(&env->config) - bytes;
}

uint64_t device_pa(const struct env *env, uint64_t bytes)
{
    uint64_t half = naive_output_end(&env->config) / 2;

    CHECK(bytes <= half / 2);
    return half + half / 4;
}

/* --------------------------------------------------------------------------------------------------------- machines */

static struct env *current;

bool machine_owns(uint64_t pa)
{
    return arena_contains(&current->machine.arena, pa);
}

void cpu_enter(struct env *env, unsigned n)
{
    aspace_linux_become(&env->machine, n);
    aspace_linux_enter(&env->machine, env->space, &env->sim_space);
    env->entered[n] = true;
    aspace_linux_become(&env->machine, 0);
}

void cpu_leave(struct env *env, unsigned n)
{
    aspace_linux_become(&env->machine, n);
    aspace_linux_leave(&env->machine, env->space, &env->sim_space);
    env->entered[n] = false;
    aspace_linux_become(&env->machine, 0);
}

uint64_t cpu_access(struct env *env, unsigned n, uint64_t va, uint32_t access)
{
    uint64_t pa = ASPACE_PA_NONE;
    enum sim_answer answer = sim_cpu_access(&env->machine.sim.cpu[n], &env->sim_space, va, access, &pa);

    return answer == SIM_OK ? pa : ASPACE_PA_NONE;
}

uint64_t cpu_run(struct env *env, unsigned n, uint64_t va, uint32_t access)
{
    for (unsigned tries = 0; tries < 4; tries++) {
        uint64_t pa = cpu_access(env, n, va, access);
        if (pa != ASPACE_PA_NONE) {
            return pa;
        }
        enum aspace_fault_result result = aspace_fault(env->space, va, access, NULL);
        if (result != ASPACE_FAULT_DONE && result != ASPACE_FAULT_SPURIOUS) {
            return ASPACE_PA_NONE;
        }
        sim_cpu_fence(&env->machine.sim.cpu[n], &env->sim_space, va);
    }
    test_fail(__FILE__, __LINE__, "faults at 0x%llx lead to nothing", (unsigned long long)va);
}

static void *aligned_memory(size_t bytes)
{
    void *p = aligned_alloc(ASPACE_CACHE_LINE, (bytes + ASPACE_CACHE_LINE - 1) / ASPACE_CACHE_LINE * ASPACE_CACHE_LINE);

    if (!p) {
        abort();
    }
    memset(p, 0x5a, bytes); /* what the library does not initialise shows */
    return p;
}

static void describe(struct env *env)
{
    enum { TEST_CPUS = 4 };

    env->levels = naive_levels(env->config.format);
    for (unsigned level = 0; level < 6; level++) {
        env->span[level] = PAGE << (level * naive_index_bits(env->config.format));
    }
    env->base = env->config.base;
    env->end = env->config.base + env->config.size;
    env->cpus = TEST_CPUS;
    env->run_pages = naive_run_pages(&env->config);
    bool huge = (env->config.features & ASPACE_FEAT_NO_2M) == 0 && env->config.max_leaf_level != 1;
    bool giant = huge && (env->config.features & ASPACE_FEAT_NO_1G) == 0 &&
                 (env->config.max_leaf_level == 0 || env->config.max_leaf_level > 2);
    env->huge_level = giant ? 2 : huge ? 1 : 0;
    env->top_level = giant ? naive_leaf_levels(env->config.format) - 1 : env->huge_level;
    env->ro = expressible(env, ASPACE_R) ? ASPACE_R : ASPACE_RX;
    env->rw = expressible(env, ASPACE_RW) ? ASPACE_RW : ASPACE_RWX;
}

static void on_window(void *ctx)
{
    struct env *env = ctx;

    if (env->window) {
        env->window(env);
    }
}

static void start_machine(struct env *env)
{
    struct aspace_linux_config config = {
        .arena = {.kind = ARENA_CHECKED,
                  .bytes = UINT64_C(256) << 20,
                  .pa_base = env->variant->arena_pa,
                  .quarantine = 4096},
        .sim = {.cpus = env->cpus, .mode = (env->needs & DELAYED) ? SIM_DELAYED : SIM_IMMEDIATE},
        .window = on_window,
        .window_ctx = env,
    };
    struct aspace_host_config host = {.cpus = env->cpus, .smr = env->variant->smr};

    CHECK_EQ(aspace_linux_init(&env->machine, &config), 0);
    env->host = aligned_memory(ASPACE_HOST_BYTES(env->cpus));
    env->hal = *env->machine.hal;
    CHECK_OK(aspace_host_init(env->host, &env->hal, &env->machine, &host));
    for (unsigned n = 0; n < env->cpus && env->variant->smr == ASPACE_SMR_QSBR && n < 1; n++) {
        aspace_cpu_online(env->host);
    }
    env->space = aligned_memory(aspace_bytes(env->host));
}

static void start_space(struct env *env)
{
    CHECK_OK(aspace_create(env->space, env->host, &env->config));
    env->sim_space.walk = sim_walk_naively;
    env->sim_space.levels = env->levels;
    env->sim_space.index_bits = naive_index_bits(env->config.format);
    aspace_linux_describe(env->space, &env->config, &env->sim_space);
}

void check_ledger(struct env *env)
{
    aspace_trim(env->host);
    CHECK_OK(aspace_host_fini(env->host));
    struct arena_counts left = ledger(env);
    CHECK_EQ(left.data, 0);
    CHECK_EQ(left.tables, 0);
    CHECK_EQ(left.frames, 0);
    CHECK_EQ(aspace_linux_violations(&env->machine), 0);
}

void destroy(struct env *env)
{
    for (unsigned n = 0; n < env->cpus; n++) {
        if (env->entered[n]) {
            cpu_leave(env, n);
        }
    }
    CHECK_OK(aspace_destroy(env->space));
    env->destroyed = true;
}

void recreate(struct env *env, const struct aspace_config *config)
{
    destroy(env);
    env->config = *config;
    describe(env);
    env->destroyed = false;
    start_space(env);
}

struct arena_counts ledger(struct env *env)
{
    struct arena_counts c;

    arena_counts_read(&env->machine.arena, &c);
    return c;
}

static uint64_t frames_at_most;

static aspace_pa_t alloc_within(void *ctx, unsigned order, unsigned flags)
{
    struct aspace_linux *machine = ctx;
    struct arena_counts now;

    arena_counts_read(&machine->arena, &now);
    return now.frames + (1ull << order) > frames_at_most ? ASPACE_PA_NONE : machine->hal->alloc(ctx, order, flags);
}

static size_t alloc_no_batch(void *ctx, aspace_pa_t *pa, size_t n, unsigned flags)
{
    (void)ctx, (void)pa, (void)n, (void)flags;
    return 0;
}

void limit_frames(struct env *env, uint64_t most)
{
    bool all = most == UINT64_MAX;

    frames_at_most = most;
    env->hal.alloc = all ? env->machine.hal->alloc : alloc_within;
    env->hal.alloc_batch = all ? env->machine.hal->alloc_batch : alloc_no_batch;
}

static void throw_away(struct env *env)
{
    free(env->host);
    free(env->space);
    env->host = NULL;
    env->space = NULL;
    if (env->machine.hal) {
        aspace_linux_fini(&env->machine);
    }
}

void restart(struct env *env)
{
    throw_away(env);
    aspace_linux_set_cpu(0);
    env->config = env->variant->config;
    env->destroyed = false;
    memset(env->entered, 0, sizeof(env->entered));
    start_machine(env);
    start_space(env);
}

bool test_attempt(struct env *env, test_fn *part)
{
    sigjmp_buf outer;

    memcpy(&outer, &run.out, sizeof(outer));
    int out = sigsetjmp(run.out, 1);
    if (out == 0) {
        part(env);
    }
    memcpy(&run.out, &outer, sizeof(outer));
    return out == OUT_FAILED;
}

const char *test_reason(void)
{
    return run.text;
}

static void finish_space(struct env *env)
{
    if (!env->destroyed) {
        audit(env);
        destroy(env);
    }
    check_ledger(env);
}

/* ------------------------------------------------------------------------------------------------------- the runner */

static bool one_of_few(const char *name)
{
    const char *special = strchr(name, '+');

    return !special || strcmp(special, "+all") == 0 || strcmp(special, "+4k") == 0;
}

/* LoongArch has neither flags that hardware sets, nor other features. */
static bool one_of_sample(const char *name)
{
    static const char *const formats[] = {"toy", "x86-ept4", "arm-s2-48", "riscv-sv39x4", "loongarch-s1"};
    const char *special = strchr(name, '+');
    size_t length = special ? (size_t)(special - name) : strlen(name);

    for (unsigned i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        if (strlen(formats[i]) == length && strncmp(formats[i], name, length) == 0) {
            return !special || strcmp(special, "+all") == 0 || strcmp(special, "+ad") == 0;
        }
    }
    return false;
}

static bool applies(const struct env *env, const struct test *test)
{
    uint32_t needs = test->needs;

    return !((needs & NEEDS_HUGE) && env->huge_level < 1) && !((needs & NEEDS_GIANT) && env->huge_level < 2) &&
           !((needs & NEEDS_RUNS) && env->run_pages == 1) &&
           !((needs & NEEDS_ROOM) && env->config.format == ASPACE_FMT_TOY) &&
           !((needs & NEEDS_AD) && naive_used(&env->config, 0, true) == 0) &&
           !((needs & NEEDS_SAMPLE) && !one_of_sample(env->variant->name)) &&
           !((needs & NEEDS_FEW) && !one_of_few(env->variant->name)) &&
           !((needs & NEEDS_PLAIN) && strchr(env->variant->name, '+') != NULL);
}

static bool selected(const char *name)
{
    for (unsigned i = 0; i < run.filter_count; i++) {
        if (!strstr(name, run.filters[i])) {
            return false;
        }
    }
    return true;
}

/* Some seconds of processor time, for what spins, and far more of the clock's, for what sleeps: the machine may be
 * slow, or be stopped for a while. 0: none. */
static void set_deadline(unsigned times)
{
    struct itimerval limit = {.it_value = {.tv_sec = (time_t)times * SECONDS_MAX}};

    setitimer(ITIMER_PROF, &limit, NULL);
    alarm(times * 20 * SECONDS_MAX);
}

/* 0: passed. What a failed test leaves behind is thrown away with the arena. */
static int run_one(struct env *env, const struct test *test)
{
    aspace_linux_set_cpu(0);
    current = env;
    run.inside = true;
    set_deadline((test->needs & SLOW) ? 30 : 1);
    int out = sigsetjmp(run.out, 1);
    if (out == 0) {
        start_machine(env);
        start_space(env);
        test->run(env);
        finish_space(env);
    }
    set_deadline(0);
    run.inside = false;
    throw_away(env);
    return out;
}

struct tally {
    unsigned passed, failed, skipped;
};

static void run_variant(const struct test *test, const struct variant *variant, struct tally *tally)
{
    static struct env env;
    char name[128];

    snprintf(name, sizeof(name), "%s/%s", test->name, variant->name);
    if (!selected(name)) {
        return;
    }
    memset(&env, 0, sizeof(env));
    env.needs = test->needs;
    env.variant = variant;
    env.config = variant->config;
    describe(&env);
    if (!applies(&env, test)) {
        return;
    }
    if (run.list) {
        printf("%s\n", name);
        return;
    }
    if (run.verbose) {
        printf("%s\n", name);
        fflush(stdout);
    }
    int out = run_one(&env, test);
    if (out == OUT_FAILED) {
        printf("FAILED %s: %s\n", name, run.text);
        fflush(stdout);
        tally->failed++;
    } else if (out == OUT_SKIPPED) {
        tally->skipped++;
    } else {
        tally->passed++;
    }
}

static bool number(const char *text, uint64_t *value)
{
    char *end;

    if (!text || *text < '0' || *text > '9') {
        return false;
    }
    *value = strtoull(text, &end, 0);
    return *end == '\0';
}

static bool parse(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0) {
            run.list = true;
        } else if (strcmp(argv[i], "--verbose") == 0) {
            run.verbose = true;
        } else if (strcmp(argv[i], "--seed") == 0 && number(i + 1 < argc ? argv[i + 1] : NULL, &run.seed)) {
            run.seed_given = true;
            i++;
        } else if (strcmp(argv[i], "--count") == 0 && number(i + 1 < argc ? argv[i + 1] : NULL, &run.count)) {
            i++;
        } else if (argv[i][0] == '-' || run.filter_count == sizeof(run.filters) / sizeof(run.filters[0])) {
            return false;
        } else {
            run.filters[run.filter_count++] = argv[i];
        }
    }
    return true;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    sigaction(SIGALRM, &action, NULL);
    sigaction(SIGPROF, &action, NULL);
    if (!run.verbose) { /* else stop where it happens, for a debugger or a sanitizer */
        sigaction(SIGABRT, &action, NULL);
        sigaction(SIGSEGV, &action, NULL);
        sigaction(SIGBUS, &action, NULL);
        sigaction(SIGILL, &action, NULL);
    }
}

int harness_main(const struct program *program, int argc, char **argv)
{
    struct tally tally = {0, 0, 0};
    size_t variant_count;
    const struct variant *variants = variants_all(&variant_count);

    run.seed = 1;
    if (!parse(argc, argv)) {
        fprintf(stderr, "%s: usage: %s [--list] [--verbose] [--seed N] [--count N] [part of a name]...\n",
                program->name, program->name);
        return 2;
    }
    catch_signals();
    for (size_t s = 0; s < program->suite_count; s++) {
        for (size_t t = 0; t < program->suites[s].count; t++) {
            if (program->picked) {
                program->picked(t);
            }
            for (size_t v = 0; v < variant_count; v++) {
                run_variant(&program->suites[s].tests[t], &variants[v], &tally);
            }
        }
    }
    if (run.list) {
        return 0;
    }
    if (tally.passed + tally.failed + tally.skipped == 0) {
        fprintf(stderr, "%s: no test has such a name\n", program->name);
        return 2;
    }
    printf("%u passed, %u failed", tally.passed, tally.failed);
    if (tally.skipped != 0) {
        printf(", %u skipped", tally.skipped);
    }
    printf("\n");
    return tally.failed != 0 ? 1 : 0;
}
