/* SPDX-License-Identifier: BSD-2-Clause */
/* Spaces as such: what can be created, what the CPU is told, quotas, closing and tearing down. */
#include <stdlib.h>
#include <string.h>

#include "suites.h"

/* --------------------------------------------------------------------------------------------------------- creation */

static struct aspace *space_memory(struct env *env)
{
    size_t bytes = (aspace_bytes(env->host) + 63) / 64 * 64;
    struct aspace *space = aligned_alloc(ASPACE_CACHE_LINE, bytes);

    CHECK(space != NULL);
    memset(space, 0xa6, bytes);
    return space;
}

/* The result of a creation; what was created is destroyed again. */
static int try_create(struct env *env, const struct aspace_config *config)
{
    struct aspace *space = space_memory(env);
    int error = aspace_create(space, env->host, config);

    if (error == ASPACE_OK) {
        CHECK_EQ(aspace_base(space), config->base);
        CHECK_EQ(aspace_last(space), config->base + config->size - 1);
        CHECK_OK(aspace_destroy(space));
    }
    free(space);
    return error;
}

static int create_at(struct env *env, uint64_t base, uint64_t size)
{
    struct aspace_config config = env->config;

    config.base = base;
    config.size = size;
    return try_create(env, &config);
}

static void create_range(struct env *env)
{
    uint64_t width = naive_input_end(env->config.format);

    CHECK_OK(create_at(env, 0, width));
    CHECK_OK(create_at(env, 0, PAGE));
    CHECK_OK(create_at(env, width - PAGE, PAGE));
    CHECK_OK(create_at(env, PAGE, width - PAGE));
    CHECK_ERROR(create_at(env, 0, 0), ASPACE_E_INVALID);
    CHECK_ERROR(create_at(env, 0, PAGE + 1), ASPACE_E_INVALID);
    CHECK_ERROR(create_at(env, 0, PAGE - 1), ASPACE_E_INVALID);
    CHECK_ERROR(create_at(env, 8, PAGE), ASPACE_E_INVALID);
    CHECK_ERROR(create_at(env, 0, width + PAGE), ASPACE_E_RANGE);
    CHECK_ERROR(create_at(env, width, PAGE), ASPACE_E_RANGE);
    CHECK_ERROR(create_at(env, width - PAGE, 2 * PAGE), ASPACE_E_RANGE);
    CHECK_ERROR(create_at(env, UINT64_MAX - PAGE + 1, PAGE), ASPACE_E_RANGE);
    CHECK_ERROR(create_at(env, UINT64_C(1) << 63, UINT64_C(1) << 63), ASPACE_E_RANGE);
    CHECK_ERROR(create_at(env, 2 * PAGE, UINT64_MAX - PAGE + 1), ASPACE_E_RANGE);
}

static void create_refusals(struct env *env)
{
    struct aspace_config config = env->config;

    config.format = ASPACE_FMT_COUNT;
    CHECK(try_create(env, &config) != ASPACE_OK);
    config = env->config;
    config.encrypt_bit = 0;
    config.output_bits = 63;
    CHECK(try_create(env, &config) != ASPACE_OK);
    config.output_bits = 32;
    CHECK_OK(try_create(env, &config));
    CHECK_EQ(aspace_format_name(ASPACE_FMT_COUNT), 0);
    CHECK(aspace_format_name(env->config.format) != NULL);
}

static void create_accessors(struct env *env)
{
    int user = 0;
    struct aspace_config config = env->config;

    config.user = &user;
    recreate(env, &config);
    CHECK_EQ(aspace_base(env->space), env->base);
    CHECK_EQ(aspace_end(env->space), env->end);
    CHECK_EQ(aspace_last(env->space), env->end - 1);
    CHECK_EQ(aspace_size(env->space), env->end - env->base);
    CHECK_EQ(aspace_format_of(env->space), env->config.format);
    CHECK(aspace_user(env->space) == &user);
    CHECK(machine_owns(aspace_root(env->space)));
    CHECK(aspace_contains(env->space, env->base, PAGE));
    CHECK(aspace_contains(env->space, env->end - 1, 1));
    CHECK(aspace_contains(env->space, env->base, env->end - env->base));
    CHECK(!aspace_contains(env->space, env->base, 0));
    CHECK(!aspace_contains(env->space, env->end, 1));
    CHECK(!aspace_contains(env->space, env->end - 1, 2));
    CHECK(!aspace_contains(env->space, env->base + PAGE, UINT64_MAX));
    CHECK(env->base == 0 || !aspace_contains(env->space, env->base - 1, 2));
    struct aspace_counters c = counters(env);
    CHECK(c.tables >= 1);
    CHECK_EQ(c.frames, 0);
}

static void create_error_names(struct env *env)
{
    (void)env;
    CHECK(strcmp(aspace_error_name(ASPACE_E_EXISTS), "EXISTS") == 0);
    CHECK(strcmp(aspace_error_name(ASPACE_OK), "OK") == 0);
    CHECK(strcmp(aspace_error_name(77), "?") == 0);
    CHECK(strcmp(aspace_error_name(-77), "?") == 0);
    CHECK(strcmp(aspace_error_message(ASPACE_E_NO_MEMORY), "out of memory") == 0);
    CHECK(strcmp(aspace_fault_name(ASPACE_FAULT_SPURIOUS), "SPURIOUS") == 0);
    CHECK(strcmp(aspace_fault_name(ASPACE_FAULT_COUNT), "?") == 0);
}

/* -------------------------------------------------------------------------------------------------------- registers */

static uint64_t bits(uint64_t value, unsigned hi, unsigned lo)
{
    return (value >> lo) & ((UINT64_C(1) << (hi - lo + 1)) - 1);
}

static unsigned input_bits(const struct env *env)
{
    unsigned n = 0;

    while (UINT64_C(1) << n < naive_input_end(env->config.format)) {
        n++;
    }
    return n;
}

static void registers_arm(struct env *env, const struct aspace_registers *r)
{
    bool stage2 = env->config.format <= ASPACE_FMT_ARM_S2_48;

    CHECK_EQ(bits(r->base, 47, 1), aspace_root(env->space) >> 1);
    CHECK_EQ(bits(r->base, 63, 48), env->config.tag);
    CHECK_EQ(bits(r->control, 5, 0), 64 - input_bits(env)); /* T0SZ */
    if (stage2) {
        CHECK_EQ(bits(r->control, 7, 6), env->levels - 2); /* SL0: 1 starts at level 1, 2 at level 0 */
        CHECK_EQ(bits(r->control, 15, 14), 0);             /* TG0: 4 KiB */
    } else {
        CHECK_EQ(r->memory_types & 0xffffffff, env->config.mair ? env->config.mair : 0x004404ff);
    }
}

static void registers_riscv(struct env *env, const struct aspace_registers *r)
{
    bool stage2 = env->config.format <= ASPACE_FMT_RISCV_SV57X4;

    CHECK_EQ(bits(r->base, 63, 60), 8 + env->levels - 3); /* 8 Sv39, 9 Sv48, 10 Sv57, x4 alike */
    CHECK_EQ(bits(r->base, 43, 0), aspace_root(env->space) >> 12);
    CHECK_EQ(stage2 ? bits(r->base, 57, 44) : bits(r->base, 59, 44), env->config.tag);
}

static void create_registers(struct env *env)
{
    struct aspace_registers r;
    enum aspace_format f = env->config.format;

    aspace_registers(env->space, &r);
    if (f <= ASPACE_FMT_X86_EPT5) { /* EPTP: 2..0 type 6 is write-back, 5..3 levels less one, 6 A/D */
        CHECK_EQ(bits(r.base, 2, 0), 6);
        CHECK_EQ(bits(r.base, 5, 3), env->levels - 1);
        CHECK_EQ(bits(r.base, 6, 6), (env->config.features & ASPACE_FEAT_AD) != 0);
        CHECK_EQ(r.base >> 12, aspace_root(env->space) >> 12);
    } else if (f <= ASPACE_FMT_X86_PT5) {
        CHECK_EQ(bits(r.base, 51, 12), aspace_root(env->space) >> 12);
        CHECK_EQ(r.memory_types, env->config.pat ? env->config.pat : UINT64_C(0x0007040100070406));
    } else if (f <= ASPACE_FMT_ARM_S1_48) {
        registers_arm(env, &r);
    } else if (f <= ASPACE_FMT_RISCV_SV57) {
        registers_riscv(env, &r);
    } else {
        CHECK_EQ(r.base, aspace_root(env->space));
    }
    aspace_set_tag(env->space, 9);
    aspace_registers(env->space, &r);
    env->config.tag = 9;
    if (f > ASPACE_FMT_X86_PT5 && f <= ASPACE_FMT_ARM_S1_48) {
        registers_arm(env, &r);
    } else if (f > ASPACE_FMT_ARM_S1_48 && f <= ASPACE_FMT_RISCV_SV57) {
        registers_riscv(env, &r);
    }
}

/* The smallest chunk that holds a descriptor beside a root of 1 to 16 tables. */
static void create_in_small_chunks(struct env *env)
{
    uint64_t roots = counters(env).tables;
    struct aspace_host_config host = {.cpus = env->cpus, .smr = env->variant->smr, .chunk_order = 1};

    CHECK_OK(aspace_destroy(env->space));
    for (; 1u << host.chunk_order <= roots; host.chunk_order++) {
        CHECK_OK(aspace_host_fini(env->host));
        CHECK_OK(aspace_host_init(env->host, &env->hal, &env->machine, &host));
        CHECK_ERROR(aspace_create(env->space, env->host, &env->config), ASPACE_E_UNSUPPORTED);
    }
    CHECK_OK(aspace_host_fini(env->host));
    CHECK_ERROR(aspace_host_init(env->host, &env->hal, &env->machine, &(struct aspace_host_config){.chunk_order = 7}),
                ASPACE_E_INVALID);
    CHECK_OK(aspace_host_init(env->host, &env->hal, &env->machine, &host));
    struct aspace_config config = env->config;
    config.quota_tables = roots - 1;
    if (roots > 1) {
        CHECK_ERROR(aspace_create(env->space, env->host, &config), ASPACE_E_QUOTA);
    }
    CHECK_OK(aspace_create(env->space, env->host, &env->config));
    do_map(env, ASPACE_KIND_LAZY, at(env, 0, 0), PAGE, env->rw);
    touch(env, at(env, 0, 0), ASPACE_W);
}

/* --------------------------------------------------------------------------------------------------- quota, closing */

static void quota_frames(struct env *env)
{
    struct aspace_config config = env->config;
    struct aspace_map m;

    config.quota_frames = 3;
    recreate(env, &config);
    uint64_t va = at(env, 1, 0);
    m = request(ASPACE_KIND_EAGER, va, 4 * PAGE, env->rw);
    CHECK_ERROR(aspace_map(env->space, &m, NULL), ASPACE_E_QUOTA);
    CHECK(!mapped(env, va));
    do_map(env, ASPACE_KIND_EAGER, va, 2 * PAGE, env->rw);
    do_map(env, ASPACE_KIND_LAZY, va + 2 * PAGE, 2 * PAGE, env->rw);
    touch(env, va + 2 * PAGE, ASPACE_W);
    CHECK_FAULT(aspace_fault(env->space, va + 3 * PAGE, ASPACE_W, NULL), ASPACE_FAULT_NO_MEMORY);
    expect_absent(env, va + 3 * PAGE);
    CHECK_EQ(frames_held(env), 3);
    CHECK_OK(aspace_unmap(env->space, va, PAGE));
    touch(env, va + 3 * PAGE, ASPACE_W);
    CHECK_EQ(frames_held(env), 3);
}

static void quota_tables(struct env *env)
{
    struct aspace_config config = env->config;
    uint64_t root_tables = counters(env).tables;

    config.quota_tables = root_tables + env->levels - 1;
    recreate(env, &config);
    CHECK_EQ(counters(env).tables, root_tables);
    uint64_t va = at(env, env->levels - 1, 0), other = at(env, env->levels - 1, 1);
    do_map(env, ASPACE_KIND_LAZY, va, PAGE, env->rw);
    struct aspace_map m = request(ASPACE_KIND_LAZY, other, PAGE, env->rw);
    struct snapshot *before = snapshot_take(env);
    int error = aspace_map(env->space, &m, NULL);
    CHECK_ERROR(error, ASPACE_E_QUOTA);
    snapshot_same(env, before, "a map beyond the quota");
    snapshot_free(before);
    CHECK(counters(env).tables <= config.quota_tables);
}

/* A fault that needs two tables and gets one gives it back. */
static void quota_in_fault(struct env *env)
{
    struct aspace_config config = env->config;
    uint64_t va = at(env, 2, 0);
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, env->span[2], env->rw);

    m.max_leaf_level = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    config.quota_tables = counters(env).tables + 1;
    recreate(env, &config);
    CHECK_OK(aspace_map(env->space, &m, NULL));
    struct snapshot *before = snapshot_take(env);
    CHECK_FAULT(aspace_fault(env->space, va + PAGE, ASPACE_W, NULL), ASPACE_FAULT_NO_MEMORY);
    snapshot_same(env, before, "a fault without tables");
    snapshot_free(before);
    CHECK_EQ(counters(env).tables, config.quota_tables - 1);
    CHECK_EQ(frames_held(env), 0);
    audit(env);
}

/* The last frames of a quota are found, however many would be taken at once. */
static void quota_in_populate(struct env *env)
{
    struct aspace_config config = env->config;
    uint64_t done;

    config.quota_frames = 5;
    recreate(env, &config);
    uint64_t va = at(env, 1, 0);
    do_map(env, ASPACE_KIND_LAZY, va, 40 * PAGE, env->rw);
    CHECK_ERROR(aspace_populate(env->space, va, 40 * PAGE, &done), ASPACE_E_NO_MEMORY);
    CHECK_EQ(done, 5 * PAGE);
    CHECK_EQ(frames_held(env), 5);
    CHECK_OK(aspace_protect(env->space, va + 5 * PAGE, 4 * PAGE, 0));
    CHECK_OK(aspace_populate(env->space, va, 9 * PAGE, &done)); /* what nobody may use yet is passed */
    CHECK_EQ(frames_held(env), 5);
}

/* Tables for a part of a large page. */
static void quota_in_parts(struct env *env)
{
    struct aspace_config config = env->config;
    uint64_t va = at(env, 1, 1);

    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    config.quota_tables = tables_held(env);
    recreate(env, &config);
    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    struct snapshot *before = snapshot_take(env);
    CHECK_ERROR(aspace_unmap(env->space, va, PAGE), ASPACE_E_QUOTA);
    CHECK_ERROR(aspace_protect(env->space, va, PAGE, env->ro), ASPACE_E_QUOTA);
    CHECK_ERROR(aspace_discard(env->space, va, PAGE), ASPACE_E_QUOTA);
    CHECK_ERROR(aspace_split(env->space, va), ASPACE_E_QUOTA);
    snapshot_same(env, before, "parts beyond the quota");
    snapshot_free(before);
    CHECK_OK(aspace_unmap(env->space, va, env->span[1]));
}

/* A merge of small pages counts what it fills: it is refused where that is too much, and what it counted goes back. */
static void quota_in_collapse(struct env *env)
{
    struct aspace_config config = env->config;
    uint64_t va = at(env, 1, 1), pages = env->span[1] / PAGE;

    config.quota_frames = pages;
    recreate(env, &config);
    do_map(env, ASPACE_KIND_EAGER, va - PAGE, PAGE, env->rw); /* so that no large page is filled */
    do_map(env, ASPACE_KIND_LAZY, va, env->span[1], env->rw);
    poke(env, va + PAGE, 5);
    struct snapshot *before = snapshot_take(env);
    CHECK_ERROR(aspace_collapse(env->space, va, 1), ASPACE_E_QUOTA);
    snapshot_same(env, before, "a collapse beyond the quota");
    snapshot_free(before);
    CHECK_EQ(frames_held(env), 2);
    CHECK_OK(aspace_unmap(env->space, va - PAGE, PAGE));
    CHECK_EQ(frames_held(env), 1);
    CHECK_OK(aspace_collapse(env->space, va, 1));
    CHECK_EQ(frames_held(env), pages);
    CHECK_EQ(peek(env, va + PAGE), 5);
    CHECK_OK(aspace_discard(env->space, va, env->span[1]));
    CHECK_EQ(frames_held(env), 0);
    touch(env, va, ASPACE_W);
    CHECK_EQ(frames_held(env), pages);
}

static void close_answers(struct env *env)
{
    uint64_t va = at(env, 0, 0);
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, PAGE, env->rw);
    struct aspace_find find = {.size = PAGE};
    uint64_t value = 0, done;
    bool swapped;

    do_map(env, ASPACE_KIND_EAGER, va, 2 * PAGE, env->rw);
    aspace_close(env->space);
    CHECK_ERROR(aspace_map(env->space, &m, NULL), ASPACE_E_CLOSED);
    CHECK_ERROR(aspace_map_batch(env->space, &m, 1, NULL), ASPACE_E_CLOSED);
    CHECK_ERROR(aspace_map_anywhere(env->space, &m, &find, &value), ASPACE_E_CLOSED);
    CHECK_ERROR(aspace_unmap(env->space, va, PAGE), ASPACE_E_CLOSED);
    CHECK_ERROR(aspace_protect(env->space, va, PAGE, env->ro), ASPACE_E_CLOSED);
    CHECK_ERROR(aspace_discard(env->space, va, PAGE), ASPACE_E_CLOSED);
    CHECK_ERROR(aspace_populate(env->space, va, PAGE, &done), ASPACE_E_CLOSED);
    CHECK_ERROR(aspace_clear(env->space), ASPACE_E_CLOSED);
    CHECK_ERROR(aspace_migrate(env->space, va, ASPACE_PA_NONE), ASPACE_E_CLOSED);
    CHECK_ERROR(aspace_collapse(env->space, va, 1), ASPACE_E_CLOSED);
    CHECK_ERROR(aspace_split(env->space, va), ASPACE_E_CLOSED);
    CHECK_ERROR(aspace_read(env->space, va, &value, 8, NULL), ASPACE_E_CLOSED);
    CHECK_ERROR(aspace_write(env->space, va, &value, 8, NULL), ASPACE_E_CLOSED);
    CHECK_ERROR(aspace_compare_exchange(env->space, va, 8, &value, 1, &swapped), ASPACE_E_CLOSED);
    CHECK_FAULT(aspace_fault(env->space, va, ASPACE_R, NULL), ASPACE_FAULT_CLOSED);
    CHECK(walk(env, va).present);
    destroy(env);
}

static unsigned released;

static void count_release(void *user)
{
    released += user == &released;
}

/* Active spaces are not torn down; afterwards nothing refers to the memory, which is said once. */
static void destroy_busy(struct env *env)
{
    struct aspace_config config = env->config;

    config.user = &released;
    config.released = count_release;
    released = 0;
    recreate(env, &config);
    do_map(env, ASPACE_KIND_EAGER, at(env, 0, 1), 2 * PAGE, env->rw);
    CHECK_ERROR(aspace_host_fini(env->host), ASPACE_E_BUSY);
    cpu_enter(env, 1);
    CHECK_ERROR(aspace_destroy(env->space), ASPACE_E_BUSY);
    CHECK_EQ(released, 0);
    destroy(env);
    CHECK_EQ(released, 1);
}

/* Steps are bounded: a budget of one never takes as long as all. */
static void destroy_in_steps(struct env *env)
{
    unsigned spots = env->config.format == ASPACE_FMT_TOY ? 2 : 6;
    unsigned steps = 0;
    int error;

    for (unsigned n = 0; n < spots; n++) {
        do_map(env, ASPACE_KIND_EAGER, at(env, 2, n), PAGE, env->rw);
        do_map(env, ASPACE_KIND_LAZY, at(env, 2, n) + 2 * PAGE, PAGE, env->rw);
    }
    uint64_t tables = counters(env).tables;
    do {
        error = aspace_destroy_step(env->space, 1);
        steps++;
        CHECK(steps < 100000);
    } while (error == ASPACE_E_MORE);
    CHECK_OK(error);
    CHECK(steps >= tables / 8);
    CHECK(steps > 2);
    env->destroyed = true;
}

static void clear_everything(struct env *env)
{
    uint64_t va = at(env, 1, 0), far = at(env, 1, 3);

    do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
    do_map(env, ASPACE_KIND_LAZY, far, PAGE, env->rw);
    do_map(env, ASPACE_KIND_GUARD, far + PAGE, PAGE, env->rw);
    touch(env, far, ASPACE_W);
    CHECK_OK(aspace_clear(env->space));
    struct aspace_area area;
    CHECK_ERROR(aspace_next(env->space, env->base, &area), ASPACE_E_NOT_MAPPED);
    expect_absent(env, va);
    expect_absent(env, far);
    CHECK_EQ(frames_held(env), 0);
    CHECK_OK(aspace_clear(env->space));
    do_map(env, ASPACE_KIND_LAZY, va, 2 * PAGE, env->rw);
    touch(env, va, ASPACE_W);
    CHECK_EQ(peek(env, va), 0);
}

/* Two spaces of different formats share nothing but the host. */
static void create_two(struct env *env)
{
    struct aspace *other = space_memory(env);
    struct aspace_config config = {.format =
                                       env->config.format == ASPACE_FMT_TOY ? ASPACE_FMT_RISCV_SV39 : ASPACE_FMT_TOY,
                                   .size = 16 * PAGE,
                                   .tag = 8,
                                   .features = ASPACE_FEAT_NX};
    uint64_t value = 5;

    CHECK_OK(aspace_create(other, env->host, &config));
    struct aspace_map m = request(ASPACE_KIND_LAZY, 0, PAGE, ASPACE_RW);
    CHECK_OK(aspace_map(other, &m, NULL));
    CHECK_OK(aspace_write(other, 0, &value, sizeof(value), NULL));
    struct snapshot *before = snapshot_take(env);
    CHECK_OK(aspace_clear(other));
    snapshot_same(env, before, "clear of another space");
    snapshot_free(before);
    CHECK_OK(aspace_destroy(other));
    free(other);
}

/* ------------------------------------------------------------------------------------------------ the kernel's half */

enum { ENTRIES = 512, UPPER = ENTRIES - ASPACE_UPPER_ENTRIES };

/* A root whose lower half is the upper half of another: what the MMU finds there, for the naive walker, which takes
 * lower addresses only. */
static uint64_t folded[ENTRIES] __attribute__((aligned(4096)));
static const uint64_t folded_pa = UINT64_C(1) << 40;

static const void *folded_phys(uint64_t pa)
{
    if (pa - folded_pa < sizeof(folded)) {
        return (const char *)folded + (pa - folded_pa);
    }
    return aspace_phys_to_virt(pa);
}

static struct naive_result walk_upper(struct env *env, const struct aspace_config *kernel, uint64_t va)
{
    const uint64_t *root = aspace_phys_to_virt(aspace_root(env->space));
    struct naive_result r;

    memset(folded, 0, sizeof(folded));
    memcpy(folded, root + UPPER, ASPACE_UPPER_ENTRIES * sizeof(*root));
    naive_walk(env->config.format, kernel, folded_pa, va, folded_phys, &r);
    return r;
}

static struct aspace *create_kernel(struct env *env, struct aspace_config *config)
{
    struct aspace *kernel = space_memory(env);

    *config = env->config;
    config->features |= ASPACE_FEAT_GLOBAL;
    CHECK_OK(aspace_create(kernel, env->host, config));
    return kernel;
}

static bool has_upper_half(enum aspace_format f)
{
    return f == ASPACE_FMT_X86_PT4 || f == ASPACE_FMT_X86_PT5 ||
           (f >= ASPACE_FMT_RISCV_SV39 && f <= ASPACE_FMT_RISCV_SV57);
}

/* The kernel's leaves are seen through the upper half of a user's root, stay when that space is cleared, and survive
 * it. */
static void share_upper(struct env *env)
{
    struct aspace_config config;
    struct aspace *kernel = create_kernel(env, &config);
    const uint64_t *root = aspace_phys_to_virt(aspace_root(kernel));
    uint64_t low = at(env, 1, 1), high = env->end - PAGE, pa = device_pa(env, env->span[1]);
    struct aspace_map m = request_linear(low, PAGE, env->rw, pa), n = request_linear(high, PAGE, env->ro, pa + PAGE);

    CHECK_ERROR(aspace_share_upper(env->space, NULL), ASPACE_E_INVALID);
    CHECK_OK(aspace_map(kernel, &m, NULL));
    if (!has_upper_half(env->config.format)) {
        CHECK_ERROR(aspace_share_upper(env->space, root), ASPACE_E_UNSUPPORTED);
    } else {
        CHECK_OK(aspace_share_upper(env->space, root));
        struct naive_result r = walk_upper(env, &config, low);
        CHECK(r.present && !r.malformed);
        CHECK_EQ(r.pa, pa);
        CHECK(!walk_upper(env, &config, high).present || low >> 39 == high >> 39);
        CHECK_OK(aspace_map(kernel, &n, NULL));
        CHECK_OK(aspace_share_upper(env->space, root));
        do_map(env, ASPACE_KIND_LAZY, env->base, env->end - env->base, env->rw);
        touch(env, low, ASPACE_W);
        touch(env, high, ASPACE_W);
        audit(env);
        CHECK_OK(aspace_clear(env->space));
        audit(env);
        CHECK_EQ(walk_upper(env, &config, low).pa, pa);
        CHECK_EQ(walk_upper(env, &config, high).pa, pa + PAGE);
        aspace_close(env->space);
        CHECK_ERROR(aspace_share_upper(env->space, root), ASPACE_E_CLOSED);
        CHECK_OK(aspace_destroy(env->space));
        env->destroyed = true;
        struct aspace_translation t;
        CHECK_OK(aspace_translate(kernel, high, &t));
        CHECK_EQ(t.pa, pa + PAGE);
    }
    CHECK_OK(aspace_destroy(kernel));
    free(kernel);
}

/* Entries of the kernel's root that are no tables yet are markers of its own: nobody else's business. */
static void share_upper_lazy(struct env *env)
{
    struct aspace_config config;
    struct aspace *kernel = create_kernel(env, &config);
    struct aspace_map m = request(ASPACE_KIND_LAZY, env->base, env->end - env->base, env->rw);

    CHECK_OK(aspace_map(kernel, &m, NULL));
    if (has_upper_half(env->config.format)) {
        CHECK_OK(aspace_share_upper(env->space, aspace_phys_to_virt(aspace_root(kernel))));
        const uint64_t *mine = aspace_phys_to_virt(aspace_root(env->space));
        for (unsigned i = UPPER; i < ENTRIES; i++) {
            CHECK_EQ(mine[i], mine[0]); /* empty, as all of the space is */
        }
    }
    CHECK_OK(aspace_destroy(kernel));
    free(kernel);
}

static const struct test tests[] = {
    {"create_range", create_range, NEEDS_PLAIN},
    {"create_refusals", create_refusals, 0},
    {"create_accessors", create_accessors, 0},
    {"create_error_names", create_error_names, NEEDS_PLAIN},
    {"create_registers", create_registers, 0},
    {"create_two", create_two, NEEDS_PLAIN},
    {"create_in_small_chunks", create_in_small_chunks, NEEDS_PLAIN},
    {"quota_frames", quota_frames, NEEDS_PLAIN},
    {"quota_in_fault", quota_in_fault, NEEDS_ROOM},
    {"quota_in_populate", quota_in_populate, NEEDS_ROOM},
    {"quota_in_parts", quota_in_parts, NEEDS_FEW | NEEDS_HUGE},
    {"quota_in_collapse", quota_in_collapse, NEEDS_FEW | NEEDS_HUGE},
    {"quota_tables", quota_tables, NEEDS_PLAIN},
    {"close_answers", close_answers, NEEDS_PLAIN},
    {"destroy_busy", destroy_busy, NEEDS_PLAIN},
    {"destroy_in_steps", destroy_in_steps, 0},
    {"clear_everything", clear_everything, 0},
    {"share_upper", share_upper, 0},
    {"share_upper_lazy", share_upper_lazy, NEEDS_PLAIN},
};
const struct suite create_suite = SUITE(tests);
