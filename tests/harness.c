/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The runner, the machines and the snapshots. Owns the registry and the ledger check; must not know src/ nor what any
 * single test is about.
 */
#define _POSIX_C_SOURCE 200809L

#include "harness.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
    snprintf(run.text, sizeof(run.text), number == SIGALRM ? "not finished in time (signal %d)" : "aborted (signal %d)", number);
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

/* ------------------------------------------------------------------------------------------------- what is expected */

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
    return is_toy(f) || f == ASPACE_FMT_X86_PT4 || f == ASPACE_FMT_X86_PT5 || is_arm_s1(f) || f == ASPACE_FMT_LOONGARCH_S1 ||
           (f >= ASPACE_FMT_RISCV_SV39 && f <= ASPACE_FMT_RISCV_SV57);
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
    case ASPACE_ATTR_NORMAL:
        return ASPACE_ATTR_DEFAULT | encrypted;
    case ASPACE_ATTR_UC:
        return (is_arm_s1(f) || is_arm_s2(f) ? ASPACE_ATTR_UC : ASPACE_ATTR_DEVICE) | encrypted;
    default:
        return attr;
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

/* ------------------------------------------------------------------------------------------------------ looking at it */

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
    if (r.malformed) {
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

/* --------------------------------------------------------------------------------------------------- making requests */

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

/* -------------------------------------------------------------------------------------------------------- snapshots */

enum row_kind { ROW_LEAF, ROW_AREA, ROW_QUERY };

struct row {
    enum row_kind kind;
    uint64_t va, size;
    uint64_t field[10];
};

struct snapshot {
    struct row *rows;
    size_t count, capacity;
    uint64_t frames;
};

static const char *const field_name[3][10] = {
    [ROW_LEAF] = {"pa", "leaf bytes", "rights", "attr", "contents", "", "", "", "", ""},
    [ROW_AREA] = {"kind", "rights", "maximum", "attr", "fork", "pa", "cookie", "offset", "frames", "unfilled"},
    [ROW_QUERY] = {"kind", "rights", "maximum", "attr", "fork", "pa", "cookie", "offset", "id", ""},
};

static struct row *add_row(struct snapshot *s, enum row_kind kind, uint64_t va, uint64_t size)
{
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 64;
        s->rows = realloc(s->rows, s->capacity * sizeof(*s->rows));
        if (!s->rows) {
            abort();
        }
    }
    struct row *row = &s->rows[s->count++];
    memset(row, 0, sizeof(*row));
    row->kind = kind;
    row->va = va;
    row->size = size;
    return row;
}

static uint64_t hash_memory(uint64_t pa, uint64_t bytes)
{
    uint64_t hash = 1;

    if (!machine_owns(pa) || !machine_owns(pa + bytes - 1)) {
        return 0;
    }
    const uint64_t *words = aspace_phys_to_virt(pa);
    for (uint64_t i = 0; i < bytes / 8; i += 4) {
        hash = (hash ^ words[i]) * UINT64_C(0x100000001b3);
        hash = (hash ^ words[i + 1] ^ (words[i + 2] << 1) ^ (words[i + 3] << 2)) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* Every leaf, found by the naive walker alone; what is not present is skipped an entry at a time. */
static void collect_leaves(struct env *env, struct snapshot *s)
{
    for (uint64_t va = env->base; va < env->end;) {
        struct naive_result r = walk(env, va);
        uint64_t step = r.present ? r.leaf_bytes : env->span[r.fault_level];
        uint64_t next = (va / step + 1) * step;
        next = next > env->end ? env->end : next;
        if (r.present) {
            struct row *row = add_row(s, ROW_LEAF, va, next - va);
            row->field[0] = r.pa;
            row->field[1] = r.leaf_bytes;
            row->field[2] = r.rights;
            row->field[3] = r.attr;
            row->field[4] = hash_memory(r.pa, next - va);
        }
        va = next;
    }
}

static void fill_area(struct row *row, const struct aspace_area *area)
{
    row->field[0] = area->kind;
    row->field[1] = area->rights;
    row->field[2] = area->max_rights;
    row->field[3] = area->attr;
    row->field[4] = area->fork;
    row->field[5] = area->pa;
    row->field[6] = area->cookie;
    row->field[7] = area->offset;
}

static void collect_query(struct env *env, struct snapshot *s, uint64_t va)
{
    struct aspace_area area;
    struct row *row = add_row(s, ROW_QUERY, va, 1);

    CHECK_OK(aspace_query(env->space, va, &area));
    fill_area(row, &area);
    row->field[8] = area.id;
}

static void collect_areas(struct env *env, struct snapshot *s)
{
    struct aspace_area area;

    for (uint64_t va = env->base; va < env->end; va = area.va + area.size) {
        int error = aspace_next(env->space, va, &area);
        if (error == ASPACE_E_NOT_MAPPED) {
            break;
        }
        CHECK_OK(error);
        CHECK(area.size != 0 && area.va >= va && area.va + area.size <= env->end);
        struct aspace_area_counters counted;
        CHECK_OK(aspace_area_counters_read(env->space, area.va, &counted));
        struct row *row = add_row(s, ROW_AREA, area.va, area.size);
        fill_area(row, &area);
        row->field[8] = counted.frames;
        row->field[9] = counted.unfilled;
        collect_query(env, s, area.va);
        collect_query(env, s, area.va + area.size / 2 / PAGE * PAGE);
        collect_query(env, s, area.va + area.size - 1);
    }
}

struct snapshot *snapshot_take(struct env *env)
{
    struct snapshot *s = calloc(1, sizeof(*s));

    if (!s) {
        abort();
    }
    collect_leaves(env, s);
    collect_areas(env, s);
    s->frames = frames_held(env);
    return s;
}

const char *snapshot_difference(const struct snapshot *a, const struct snapshot *b)
{
    static const char *const kind_name[3] = {"leaf", "area", "query"};
    static char text[240];

    for (size_t i = 0; i < a->count && i < b->count; i++) {
        const struct row *x = &a->rows[i], *y = &b->rows[i];
        if (x->kind != y->kind || x->va != y->va || x->size != y->size) {
            snprintf(text, sizeof(text), "%s 0x%llx+0x%llx became %s 0x%llx+0x%llx", kind_name[x->kind],
                     (unsigned long long)x->va, (unsigned long long)x->size, kind_name[y->kind],
                     (unsigned long long)y->va, (unsigned long long)y->size);
            return text;
        }
        for (unsigned f = 0; f < 10; f++) {
            if (x->field[f] != y->field[f]) {
                snprintf(text, sizeof(text), "%s 0x%llx+0x%llx: %s was 0x%llx, is 0x%llx", kind_name[x->kind],
                         (unsigned long long)x->va, (unsigned long long)x->size, field_name[x->kind][f],
                         (unsigned long long)x->field[f], (unsigned long long)y->field[f]);
                return text;
            }
        }
    }
    if (a->count != b->count) {
        const struct snapshot *longer = a->count > b->count ? a : b;
        const struct row *row = &longer->rows[a->count < b->count ? a->count : b->count];
        snprintf(text, sizeof(text), "%s 0x%llx+0x%llx %s", kind_name[row->kind], (unsigned long long)row->va,
                 (unsigned long long)row->size, longer == a ? "is gone" : "is new");
        return text;
    }
    if (a->frames != b->frames) {
        snprintf(text, sizeof(text), "%llu frames were held, now %llu", (unsigned long long)a->frames,
                 (unsigned long long)b->frames);
        return text;
    }
    return NULL;
}

void snapshot_free(struct snapshot *snapshot)
{
    if (snapshot) {
        free(snapshot->rows);
        free(snapshot);
    }
}

void snapshot_same(struct env *env, const struct snapshot *before, const char *what)
{
    struct snapshot *now = snapshot_take(env);
    const char *difference = snapshot_difference(before, now);

    snapshot_free(now);
    if (difference) {
        test_fail(__FILE__, __LINE__, "%s: %s", what, difference);
    }
}

/* --------------------------------------------------------------------------------------------------------- machines */

static struct env *current;

bool machine_owns(uint64_t pa)
{
    return arena_contains(&current->machine.arena, pa);
}

static void sim_walk(const struct sim_space *space, uint64_t va, const void *(*at_pa)(uint64_t pa),
                     struct sim_walk *found)
{
    struct naive_result r;

    naive_walk(space->format, space->config, space->root, va, at_pa, &r);
    found->present = r.present;
    found->malformed = r.malformed;
    found->fault_level = r.fault_level;
    found->pa = r.pa;
    found->leaf_bytes = r.leaf_bytes;
    found->rights = r.rights;
    found->attr = r.attr;
    memcpy(found->table_pa, r.table_pa, sizeof(found->table_pa));
    found->tables = r.tables;
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
        .arena = {.kind = ARENA_CHECKED, .bytes = UINT64_C(256) << 20, .pa_base = env->variant->arena_pa,
                  .quarantine = 4096},
        .sim = {.cpus = env->cpus, .mode = (env->needs & DELAYED) ? SIM_DELAYED : SIM_IMMEDIATE},
        .window = on_window,
        .window_ctx = env,
    };
    struct aspace_host_config host = {.cpus = env->cpus, .smr = env->variant->smr};

    CHECK_EQ(aspace_linux_init(&env->machine, &config), 0);
    env->host = aligned_memory(ASPACE_HOST_BYTES(env->cpus));
    CHECK_OK(aspace_host_init(env->host, env->machine.hal, &env->machine, &host));
    for (unsigned n = 0; n < env->cpus && env->variant->smr == ASPACE_SMR_QSBR && n < 1; n++) {
        aspace_cpu_online(env->host);
    }
    env->space = aligned_memory(aspace_bytes(env->host));
}

static void start_space(struct env *env)
{
    CHECK_OK(aspace_create(env->space, env->host, &env->config));
    env->sim_space.walk = sim_walk;
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

static bool applies(const struct env *env, const struct test *test)
{
    uint32_t needs = test->needs;

    return !((needs & NEEDS_HUGE) && env->huge_level < 1) && !((needs & NEEDS_GIANT) && env->huge_level < 2) &&
           !((needs & NEEDS_RUNS) && env->run_pages == 1) &&
           !((needs & NEEDS_ROOM) && env->config.format == ASPACE_FMT_TOY) &&
           !((needs & NEEDS_AD) && naive_used(&env->config, 0, true) == 0) &&
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

/* 0: passed. What a failed test leaves behind is thrown away with the arena. */
static int run_one(struct env *env, const struct test *test)
{
    aspace_linux_set_cpu(0);
    current = env;
    run.inside = true;
    alarm((test->needs & SLOW) ? 30 * SECONDS_MAX : SECONDS_MAX);
    int out = sigsetjmp(run.out, 1);
    if (out == 0) {
        start_machine(env);
        start_space(env);
        test->run(env);
        finish_space(env);
    }
    alarm(0);
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
