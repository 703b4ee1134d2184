/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stress program: configurations in turn, each for a share of the time, on eight threads. Owns the options and the
 * watchdog; must not know what an operation does.
 */
#include "race/race.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static struct {
    uint64_t seed, steps;
    double seconds;
    const char *only;
    enum race_mistake mistake;
    unsigned cpus;
    bool verbose;
} options = {.seed = 1, .seconds = 4, .cpus = RACE_CPUS};

static struct race race;

static const struct {
    const char *name;
    enum aspace_format format;
    uint32_t features;
    enum aspace_smr smr;
} configurations[] = {
    {"x86-ept4", ASPACE_FMT_X86_EPT4, ASPACE_FEAT_AD, ASPACE_SMR_EPOCH},
    {"arm-s2-48", ASPACE_FMT_ARM_S2_48, 0, ASPACE_SMR_QSBR},
    {"riscv-sv39x4", ASPACE_FMT_RISCV_SV39X4, 0, ASPACE_SMR_EPOCH},
    {"x86-pt4", ASPACE_FMT_X86_PT4, ASPACE_FEAT_NX | ASPACE_FEAT_AD, ASPACE_SMR_QSBR},
    {"arm-s1-39", ASPACE_FMT_ARM_S1_39, ASPACE_FEAT_AD, ASPACE_SMR_EPOCH},
    {"loongarch-s2", ASPACE_FMT_LOONGARCH_S2, 0, ASPACE_SMR_QSBR},
    {"riscv-sv48", ASPACE_FMT_RISCV_SV48, ASPACE_FEAT_AD, ASPACE_SMR_QSBR},
    {"arm-s2-39", ASPACE_FMT_ARM_S2_39, ASPACE_FEAT_AD, ASPACE_SMR_EPOCH},
};
enum { CONFIGURATIONS = sizeof(configurations) / sizeof(configurations[0]) };

static const char *const mistake_names[RACE_MISTAKES] = {"none", "flush-lost", "wait-lost", "grace-lost",
                                                         "local-flush-lost"};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ------------------------------------------------------------------------------------------------------ the threads */

enum { STEPS_IN_ROUND = 1000, HANG_SECONDS = 40 };

static void toggle(struct race_cpu *cpu)
{
    cpu->doing = "activate";
    if (cpu->active == 0 || (cpu->active == 1 && race_below(cpu, 4) == 0)) {
        race_enter(cpu);
    } else {
        race_leave(cpu);
    }
}

static void step(struct race_cpu *cpu)
{
    cpu->step++;
    if (race_below(cpu, 24) == 0) {
        toggle(cpu);
    } else if (race_below(cpu, 2)) {
        own_step(cpu);
    } else {
        shared_step(cpu);
    }
    race_quiescent(cpu);
}

static double deadline;

static void body(struct race_cpu *cpu)
{
    struct race *r = cpu->race;

    race_enter(cpu);
    for (uint64_t done = 0; !r->stop; done += STEPS_IN_ROUND) {
        for (unsigned i = 0; i < STEPS_IN_ROUND; i++) {
            step(cpu);
        }
        if (cpu->id == 0) {
            r->enough = options.steps ? done + STEPS_IN_ROUND >= options.steps : now() > deadline;
        }
        race_rest(cpu);
    }
    own_check_all(cpu);
}

/* A run that hangs says where each thread was. */
static void hung(const char *how)
{
    for (unsigned id = 0; id < race.options.cpus; id++) {
        const struct race_cpu *cpu = &race.cpu[id];
        printf("  cpu %u, step %llu: %s\n", id, (unsigned long long)cpu->step, cpu->doing ? cpu->doing : "-");
    }
    printf("FAILED %s\n0 passed, 1 failed\n", how);
    fflush(stdout);
    _exit(1);
}

static void on_alarm(int number)
{
    (void)number;
    hung("not finished in time");
}

static uint64_t steps_taken(void)
{
    uint64_t steps = 0;

    for (unsigned id = 0; id < race.options.cpus; id++) {
        steps += race.cpu[id].step;
    }
    return steps;
}

/* By the processor time of all threads: a machine that is busy with something else is not taken for a hang. */
static void on_profile(int number)
{
    static uint64_t before;
    uint64_t steps = steps_taken();

    (void)number;
    if (steps == before) {
        hung("no step was done for long");
    }
    before = steps;
}

static void watch(time_t seconds)
{
    struct itimerval limit = {.it_interval = {.tv_sec = seconds}, .it_value = {.tv_sec = seconds}};

    setitimer(ITIMER_PROF, &limit, NULL);
}

/* ------------------------------------------------------------------------------------------------------- the report */

static void print_counts(const char *title, const char *(*name)(unsigned op), unsigned which)
{
    printf("  %s:", title);
    for (unsigned op = 0; name(op); op++) {
        uint64_t n = 0;
        for (unsigned id = 0; id < race.options.cpus; id++) {
            n += race.cpu[id].counts[which][op];
        }
        printf(" %s %llu", name(op), (unsigned long long)n);
    }
    printf("\n");
}

static void report(const char *name, double seconds)
{
    uint64_t steps = steps_taken(), retries = 0;
    struct sim_counts c;

    for (unsigned id = 0; id < race.options.cpus; id++) {
        retries += race.cpu[id].retries;
    }
    sim_counts_read(&race.machine.sim, &c);
    printf("%s: %llu steps of %u CPUs in %.1f s, %llu accesses, %llu hits, %llu flushes served, %llu retries\n", name,
           (unsigned long long)steps, race.options.cpus, seconds, (unsigned long long)c.accesses,
           (unsigned long long)c.hits, (unsigned long long)c.requests, (unsigned long long)retries);
    if (options.verbose) {
        print_counts("own", own_op_name, 0);
        print_counts("shared", shared_op_name, 1);
    }
    fflush(stdout);
}

static void run(unsigned k, double seconds, const struct race_smr *hooks)
{
    struct race_options o = {
        .format = configurations[k].format,
        .features = configurations[k].features,
        .smr = hooks ? ASPACE_SMR_EPOCH : configurations[k].smr,
        .hooks = hooks,
        .mistake = options.mistake,
        .seed = options.seed,
        .cpus = options.cpus,
    };
    double begin = now();

    alarm((unsigned)(seconds * 8) + 240);
    watch(HANG_SECONDS);
    deadline = begin + seconds;
    race_open(&race, &o);
    race_run(&race, body);
    report(configurations[k].name, now() - begin);
    race_close(&race);
    watch(0);
    alarm(0);
}

/* ------------------------------------------------------------------------------------------------------ the options */

static int usage(const char *program)
{
    fprintf(
        stderr,
        "%s: usage: %s [--seed N] [--seconds S] [--steps N] [--cpus N] [--only name] [--mistake name] [--verbose]\n",
        program, program);
    return 2;
}

static bool find_mistake(const char *name)
{
    for (unsigned m = 0; m < RACE_MISTAKES; m++) {
        if (strcmp(name, mistake_names[m]) == 0) {
            options.mistake = (enum race_mistake)m;
            return true;
        }
    }
    return false;
}

static bool number(const char *text, double *value)
{
    char *end;

    *value = strtod(text, &end);
    return *text >= '0' && *text <= '9' && *end == '\0';
}

static bool parse_one(const char *name, const char *value)
{
    double n = 0;

    if (strcmp(name, "--only") == 0) {
        options.only = value;
        return true;
    }
    if (strcmp(name, "--mistake") == 0) {
        return find_mistake(value);
    }
    if (!number(value, &n)) {
        return false;
    }
    if (strcmp(name, "--seed") == 0) {
        options.seed = (uint64_t)n;
    } else if (strcmp(name, "--steps") == 0) {
        options.steps = (uint64_t)n;
    } else if (strcmp(name, "--seconds") == 0) {
        options.seconds = n;
    } else if (strcmp(name, "--cpus") == 0 && n >= 1 && n <= RACE_CPUS) {
        options.cpus = (unsigned)n;
    } else {
        return false;
    }
    return true;
}

static bool parse(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            options.verbose = true;
        } else if (i + 1 == argc || !parse_one(argv[i], argv[i + 1])) {
            return false;
        } else {
            i++;
        }
    }
    return true;
}

static bool chosen(unsigned k)
{
    return !options.only || strcmp(options.only, configurations[k].name) == 0;
}

int race_main(int argc, char **argv, const struct race_smr *hooks)
{
    unsigned n = 0;

    if (!parse(argc, argv)) {
        return usage(argv[0]);
    }
    for (unsigned k = 0; k < CONFIGURATIONS; k++) {
        n += chosen(k);
    }
    if (n == 0) {
        fprintf(stderr, "%s: there is no configuration %s\n", argv[0], options.only);
        return 2;
    }
    signal(SIGALRM, on_alarm);
    signal(SIGPROF, on_profile);
    printf("seed %llu%s%s\n", (unsigned long long)options.seed, hooks ? ", read sections of " : "",
           hooks ? hooks->name : "");
    for (unsigned k = 0; k < CONFIGURATIONS; k++) {
        if (chosen(k)) {
            run(k, options.seconds / n, hooks);
        }
    }
    printf("%u passed, 0 failed\n", n);
    return 0;
}
