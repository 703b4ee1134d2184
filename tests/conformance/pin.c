/* SPDX-License-Identifier: BSD-2-Clause */
/* Pins and the mirror: whose frame a pinned page keeps, and for how long. Must not know where pins are counted. */
#include <aspace/pin.h>
#include <string.h>

#include "suites.h"

static uint64_t data_frames(struct env *env)
{
    aspace_trim(env->host);
    return ledger(env).data;
}

static uint64_t *memory(aspace_pa_t pa)
{
    return aspace_phys_to_virt(pa);
}

/* What the device writes is in the page; nothing moves it, and its frame outlives the mapping. */
static void pin_keeps_frame(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    aspace_pa_t pages[4], again[1];
    struct aspace_map m = request(ASPACE_KIND_LAZY, va, env->span[1], env->rw);

    m.max_leaf_level = 1;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_OK(aspace_pin(env->space, va, 3 * PAGE, ASPACE_RW, pages));
    CHECK_OK(aspace_pin(env->space, va + PAGE, PAGE, ASPACE_R, again));
    CHECK_EQ(again[0], pages[1]);
    for (unsigned n = 0; n < 3; n++) {
        CHECK_EQ(pages[n], walk(env, va + n * PAGE).pa);
        *memory(pages[n]) = 100 + n;
    }
    CHECK_ERROR(aspace_migrate(env->space, va + PAGE, ASPACE_PA_NONE), ASPACE_E_BUSY);
    CHECK_OK(aspace_discard(env->space, va, 4 * PAGE));
    CHECK_EQ(peek(env, va + PAGE), 101);
    CHECK_EQ(peek(env, va + 2 * PAGE), 102);
    if (env->huge_level) {
        CHECK_ERROR(aspace_collapse(env->space, va, 1), ASPACE_E_BUSY);
    }
    audit(env);
    CHECK_OK(aspace_unpin(env->space, va + 2 * PAGE, PAGE, pages + 2));
    CHECK_OK(aspace_migrate(env->space, va + 2 * PAGE, ASPACE_PA_NONE));
    CHECK_OK(aspace_unmap(env->space, va, 3 * PAGE));
    CHECK_EQ(data_frames(env), 2 + (agree(env, va + 3 * PAGE).present ? 1 : 0));
    *memory(pages[1]) = 7; /* the ledger would tell if it were free */
    m.size = 3 * PAGE;
    CHECK_OK(aspace_map(env->space, &m, NULL));
    CHECK_EQ(peek(env, va + PAGE), 0);
    CHECK(walk(env, va + PAGE).pa != pages[1]);
    CHECK_OK(aspace_unpin(env->space, va + PAGE, PAGE, again));
    CHECK_EQ(*memory(pages[1]), 7);
    CHECK_OK(aspace_unpin(env->space, va, 2 * PAGE, pages));
    CHECK_OK(aspace_clear(env->space));
    CHECK_EQ(data_frames(env), 0);
}

/* A large frame goes when it is unmapped, but for the page that is pinned. */
static void pin_part_of_large(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    aspace_pa_t page[1];

    for (unsigned way = 0; way < 3; way++) {
        do_map(env, ASPACE_KIND_EAGER, va, env->span[1], env->rw);
        CHECK_OK(aspace_pin(env->space, va + 2 * PAGE, PAGE, ASPACE_W, page));
        CHECK_ERROR(aspace_migrate(env->space, va, ASPACE_PA_NONE), ASPACE_E_BUSY);
        CHECK_OK(aspace_discard(env->space, va, env->span[1]));
        CHECK_EQ(walk(env, va).leaf_bytes, env->span[1]);
        if (way == 1) {
            CHECK_OK(aspace_split(env->space, va));
        }
        if (way == 2) {
            CHECK_OK(aspace_unmap(env->space, va + env->span[1] - PAGE, PAGE));
        }
        CHECK_OK(aspace_clear(env->space));
        CHECK_EQ(data_frames(env), 1);
        *memory(page[0]) = way;
        CHECK_OK(aspace_unpin(env->space, va, PAGE, page));
        CHECK_EQ(data_frames(env), 0);
    }
}

static void pin_refused(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    aspace_pa_t pages[4];

    do_map(env, ASPACE_KIND_LAZY, va, 2 * PAGE, env->rw);
    do_map(env, ASPACE_KIND_TRAP, va + 2 * PAGE, PAGE, 0);
    CHECK_ERROR(aspace_pin(env->space, va, 4 * PAGE, ASPACE_R, pages), ASPACE_E_FAULT);
    CHECK_ERROR(aspace_pin(env->space, va + 3 * PAGE, PAGE, ASPACE_R, pages), ASPACE_E_NOT_MAPPED);
    CHECK_ERROR(aspace_pin(env->space, va, PAGE, 0, pages), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_pin(env->space, va, PAGE, ASPACE_R, NULL), ASPACE_E_INVALID);
    CHECK_ERROR(aspace_pin(env->space, va, 0, ASPACE_R, pages), ASPACE_E_INVALID);
    CHECK_OK(aspace_migrate(env->space, va, ASPACE_PA_NONE)); /* nothing is left of a pin that failed */
    CHECK_OK(aspace_protect(env->space, va, 2 * PAGE, env->ro));
    CHECK_ERROR(aspace_pin(env->space, va, PAGE, ASPACE_W, pages), ASPACE_E_PERMISSION);
    CHECK_OK(aspace_pin(env->space, va, 2 * PAGE, ASPACE_R, pages));
    CHECK_ERROR(aspace_destroy(env->space), ASPACE_E_BUSY);
    CHECK_OK(aspace_unpin(env->space, va, 2 * PAGE, pages));
    CHECK_ERROR(aspace_unpin(env->space, va, 2 * PAGE, pages), ASPACE_E_INVALID);
    do_linear(env, va + 8 * PAGE, PAGE, env->rw, device_pa(env, PAGE));
    CHECK_OK(aspace_pin(env->space, va + 8 * PAGE, PAGE, ASPACE_RW, pages));
    CHECK_EQ(pages[0], device_pa(env, PAGE));
    CHECK_OK(aspace_unpin(env->space, va + 8 * PAGE, PAGE, pages));
}

static struct {
    unsigned maps, unmaps, fail;
    uint64_t bytes, wrong;
    struct env *env;
} mirror;

static int mirror_map(void *ctx, aspace_va_t va, aspace_pa_t pa, uint64_t bytes, uint32_t rights)
{
    CHECK(ctx == &mirror);
    mirror.maps++;
    if (mirror.maps == mirror.fail) {
        return ASPACE_E_FAULT;
    }
    mirror.wrong += walk(mirror.env, va).pa != pa || rights != ASPACE_RW;
    mirror.wrong += walk(mirror.env, va + bytes - PAGE).pa != pa + bytes - PAGE;
    mirror.bytes += bytes;
    return ASPACE_OK;
}

static void mirror_unmap(void *ctx, aspace_va_t va, uint64_t bytes)
{
    CHECK(ctx == &mirror);
    mirror.wrong += ledger(mirror.env).data == 0 || va == 0;
    mirror.unmaps++;
    mirror.bytes -= bytes;
}

static const struct aspace_mirror mirror_functions = {mirror_map, mirror_unmap};

/* Told of each contiguous stretch, and before a frame is free again; what it refuses is not pinned. */
static void pin_mirror(struct env *env)
{
    uint64_t va = at(env, 1, 1);
    aspace_pa_t pages[3];

    memset(&mirror, 0, sizeof(mirror));
    mirror.env = env;
    do_map(env, ASPACE_KIND_LAZY, va, 3 * PAGE, env->rw);
    poke(env, va + 2 * PAGE, 1);
    poke(env, va, 1);
    poke(env, va + PAGE, 1);
    CHECK_OK(aspace_set_mirror(env->space, &mirror_functions, &mirror));
    CHECK_OK(aspace_pin(env->space, va, 3 * PAGE, ASPACE_RW, pages));
    CHECK_EQ(mirror.bytes, 3 * PAGE);
    CHECK_ERROR(aspace_set_mirror(env->space, NULL, NULL), ASPACE_E_BUSY);
    CHECK_OK(aspace_unmap(env->space, va, 3 * PAGE));
    CHECK_EQ(data_frames(env), 3);
    CHECK_EQ(mirror.unmaps, 0);
    CHECK_OK(aspace_unpin(env->space, va, 3 * PAGE, pages));
    CHECK_EQ(mirror.bytes, 0);
    CHECK_EQ(data_frames(env), 0);
    do_map(env, ASPACE_KIND_LAZY, va, 3 * PAGE, env->rw);
    mirror.fail = mirror.maps + 1;
    CHECK_ERROR(aspace_pin(env->space, va, 3 * PAGE, ASPACE_RW, pages), ASPACE_E_FAULT);
    CHECK_EQ(mirror.bytes, 0);
    do_linear(env, va + 3 * PAGE, PAGE, env->rw, device_pa(env, 4 * PAGE));
    do_linear(env, va + 4 * PAGE, PAGE, env->rw, device_pa(env, 4 * PAGE) + 2 * PAGE);
    mirror.fail = mirror.maps + 2;
    CHECK_ERROR(aspace_pin(env->space, va + 3 * PAGE, 2 * PAGE, ASPACE_RW, pages), ASPACE_E_FAULT);
    CHECK_EQ(mirror.bytes, 0); /* what it had taken before it refused is taken back */
    CHECK_EQ(mirror.wrong, 0);
    CHECK_OK(aspace_set_mirror(env->space, NULL, NULL));
    CHECK_OK(aspace_clear(env->space));
    CHECK_EQ(data_frames(env), 0);
}

static const struct test tests[] = {
    {"pin_keeps_frame", pin_keeps_frame, 0},
    {"pin_part_of_large", pin_part_of_large, NEEDS_HUGE},
    {"pin_refused", pin_refused, 0},
    {"pin_mirror", pin_mirror, 0},
};
const struct suite pin_suite = SUITE(tests);
