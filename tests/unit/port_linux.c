/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The test bed tested, frames and callbacks: each kind of mistake that the arena exists to find is made here on
 * purpose, and must be found; what is right must pass without a word. Owns nothing; must not know the library's
 * sources.
 */
#define _GNU_SOURCE
#include "port_bed.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* -------------------------------------------------------------------------------------------------- frames, checked */

static void test_alloc_free(void)
{
    open_checked(0, SIM_IMMEDIATE);
    aspace_pa_t a = take(0, ASPACE_ALLOC_ZERO), b = take(3, ASPACE_ALLOC_TABLE), c = take(9, 0);
    CHECK(a != ASPACE_PA_NONE && b % (8 * PAGE) == 0 && c % MIB2 == 0);
    CHECK(arena_contains(&port.arena, a) && !arena_contains(&port.arena, ARENA_DEFAULT_PA - 1));
    CHECK(aspace_virt_to_phys(bytes_at(a)) == a);
    CHECK(counts().frames == 1 + 8 + 512 && counts().tables == 8 && counts().data == 513);
    CHECK(bytes_at(a)[0] == 0 && bytes_at(a)[PAGE - 1] == 0 && bytes_at(c)[0] == ARENA_POISON);
    CHECK(arena_generation(&port.arena, a) % 2 == 1);
    give(a, 0);
    CHECK(arena_generation(&port.arena, a) == 2 && bytes_at(a)[77] == ARENA_POISON);
    give(b, 3);
    give(c, 9);
    CHECK(counts().frames == 0 && counts().tables == 0 && counts().data == 0 && counts().peak == 521);
    CHECK(aspace_linux_violations(&port) == 0);
    aspace_linux_fini(&port);
}

static void test_pieces(void)
{
    open_checked(0, SIM_IMMEDIATE);
    aspace_pa_t huge = take(9, 0);
    give(huge, 0);
    give(huge + PAGE, 0);
    give(huge + 2 * PAGE, 1);
    for (unsigned order = 2; order < 9; order++) {
        give(huge + (PAGE << order), order);
    }
    CHECK(counts().frames == 0 && aspace_linux_violations(&port) == 0);
    CHECK(take(9, 0) != ASPACE_PA_NONE);
    aspace_linux_fini(&port);
}

static void test_free_violations(void)
{
    open_checked(0, SIM_IMMEDIATE);
    aspace_pa_t a = take(0, 0), b = take(2, 0), c = take(2, 0);
    give(a, 0);
    give(a, 0);
    CHECK(found(ARENA_DOUBLE_FREE) == 1 && strstr(last_line, "freed twice"));
    give(ARENA_DEFAULT_PA + (40ull << 20), 0);
    CHECK(found(ARENA_NEVER_ALLOCATED) == 1);
    give(b + PAGE, 1);
    CHECK(found(ARENA_UNALIGNED) == 1);
    CHECK(c == b + 4 * PAGE && b % (8 * PAGE) == 4 * PAGE);
    give(c, 3);
    CHECK(found(ARENA_WRONG_ORDER) == 1);
    give(ARENA_DEFAULT_PA - PAGE, 0);
    give(ARENA_DEFAULT_PA + (64ull << 20), 0);
    give(UINT64_MAX & ~(PAGE - 1), 0);
    give(b, 63);
    CHECK(found(ARENA_OUTSIDE) == 4);
    CHECK(counts().frames == 8);
    give(b, 2);
    give(c + PAGE, 0);
    give(c, 2);
    CHECK(found(ARENA_DOUBLE_FREE) == 2 && counts().frames == 3);
    CHECK(arena_violations(&port.arena) == 9);
    arena_violations_clear(&port.arena);
    CHECK(arena_violations(&port.arena) == 0);
    aspace_linux_fini(&port);
}

static void test_write_after_free(void)
{
    open_checked(0, SIM_IMMEDIATE);
    aspace_pa_t a = take(0, 0), b = take(0, 0);
    give(a, 0);
    give(b, 0);
    bytes_at(a)[4095] = 1;
    CHECK(aspace_linux_violations(&port) == 1 && found(ARENA_WRITE_AFTER_FREE) == 1 && strstr(last_line, "byte 4095"));
    CHECK(aspace_linux_violations(&port) == 1); /* said once */
    bytes_at(b)[0] = ARENA_POISON ^ 1;
    unsigned taken = 0; /* all there is: found when the frame is given out again */
    while (take(0, ASPACE_ALLOC_ZERO) != ASPACE_PA_NONE) {
        taken++;
    }
    CHECK(taken == 64u << 8);
    CHECK(found(ARENA_WRITE_AFTER_FREE) == 2 && bytes_at(b)[0] == 0);
    aspace_linux_fini(&port);
}

/* Nothing was ever allocated there, and something is written all the same. */
static void test_write_before_alloc(void)
{
    open_checked(0, SIM_IMMEDIATE);
    bytes_at(ARENA_DEFAULT_PA)[5] = 5;
    aspace_pa_t a = take(0, ASPACE_ALLOC_ZERO);
    CHECK(a == ARENA_DEFAULT_PA && found(ARENA_WRITE_AFTER_FREE) == 1 && bytes_at(a)[5] == 0);
    aspace_linux_fini(&port);
}

static void test_quarantine(void)
{
    open_checked(0, SIM_IMMEDIATE);
    aspace_pa_t first = take(0, 0);
    give(first, 0);
    for (unsigned i = 0; i < 7; i++) {
        aspace_pa_t pa = take(0, 0);
        CHECK(pa != first);
        give(pa, 0);
    }
    aspace_pa_t other = take(0, 0);
    CHECK(other != first);
    give(other, 0); /* the ninth: the first may be used again */
    CHECK(take(0, 0) == first);
    aspace_linux_fini(&port);
}

static void test_exhaustion(void)
{
    struct aspace_linux_config config = checked_config(0, SIM_IMMEDIATE);
    config.arena.bytes = 8 * PAGE;
    open_config(&config);
    CHECK(take(4, 0) == ASPACE_PA_NONE && take(40, 0) == ASPACE_PA_NONE);
    aspace_pa_t all = take(3, 0);
    CHECK(all != ASPACE_PA_NONE && take(0, 0) == ASPACE_PA_NONE && counts().failed == 3);
    give(all, 3);
    CHECK(take(3, 0) == all); /* all eight were in quarantine */
    CHECK(arena_violations(&port.arena) == 0);
    aspace_linux_fini(&port);
}

static void test_fail_nth(void)
{
    open_checked(0, SIM_IMMEDIATE);
    aspace_pa_t batch[8];
    for (unsigned nth = 1; nth <= 4; nth++) {
        uint64_t before = counts().calls;
        arena_fail_nth(&port.arena, nth);
        for (unsigned i = 1; i <= 5; i++) {
            CHECK((take(0, 0) == ASPACE_PA_NONE) == (i == nth));
        }
        CHECK(counts().calls == before + 5);
    }
    arena_fail_from(&port.arena, 3);
    CHECK(port.hal->alloc_batch(&port, batch, 8, 0) == 2);
    CHECK(take(0, 0) == ASPACE_PA_NONE && take(2, 0) == ASPACE_PA_NONE);
    arena_fail_nth(&port.arena, 0);
    CHECK(port.hal->alloc_batch(&port, batch, 8, 0) == 8);
    port.hal->free_batch(&port, batch, 8);
    CHECK(counts().frames == 4 * 4 + 2 && counts().failed == 4 + 3);
    aspace_linux_fini(&port);
}

static void test_addresses(void)
{
    struct aspace_linux_config config = checked_config(0, SIM_IMMEDIATE);
    static const uint64_t bases[] = {1ull << 30, (1ull << 47) - (1ull << 30), (1ull << 52) - (1ull << 30)};
    for (unsigned i = 0; i < sizeof(bases) / sizeof(*bases); i++) {
        config.arena.pa_base = bases[i];
        config.arena.bytes = 1ull << 30;
        open_config(&config);
        aspace_pa_t low = take(9, ASPACE_ALLOC_TABLE), last = bases[i] + (1ull << 30) - 1;
        bytes_at(last)[0] = 1;
        CHECK(low == bases[i] && *(unsigned char *)arena_pointer(&port.arena, last) == 1);
        CHECK(aspace_virt_to_phys(bytes_at(last)) == last && arena_contains(&port.arena, last));
        CHECK(!arena_contains(&port.arena, last + 1));
        aspace_linux_fini(&port);
    }
}

static void test_bad_config(void)
{
    struct aspace_linux_config good = checked_config(1, SIM_IMMEDIATE), bad = good;
    bad.arena.pa_base = 4096;
    CHECK(aspace_linux_init(&port, &bad) == -1 && errno == EINVAL);
    bad = good;
    bad.arena.bytes = 4097;
    CHECK(aspace_linux_init(&port, &bad) == -1 && errno == EINVAL);
    bad = good;
    bad.sim.cpus = SIM_CPUS_MAX + 1;
    CHECK(aspace_linux_init(&port, &bad) == -1 && errno == EINVAL);
    bad = good;
    bad.arena.kind = ARENA_FAST;
    CHECK(aspace_linux_init(&port, &bad) == -1 && errno == EINVAL);
    open_config(&good);
    struct arena second;
    CHECK(arena_init(&second, &good.arena) == -1 && errno == EBUSY);
    aspace_linux_fini(&port);
    CHECK(aspace_linux_base == NULL);
}

/* ----------------------------------------------------------------------------------------------------- frames, fast */

static void open_fast(uint64_t bytes)
{
    struct aspace_linux_config config = {.arena = {.kind = ARENA_FAST, .bytes = bytes}, .quiet = true};
    open_config(&config);
}

static int compare_pa(const void *a, const void *b)
{
    aspace_pa_t x = *(const aspace_pa_t *)a, y = *(const aspace_pa_t *)b;
    return x < y ? -1 : x > y;
}

static bool all_different(aspace_pa_t *pa, size_t n)
{
    qsort(pa, n, sizeof(*pa), compare_pa);
    for (size_t i = 1; i < n; i++) {
        if (pa[i - 1] == pa[i]) {
            return false;
        }
    }
    return true;
}

static void test_fast(void)
{
    enum { FRAMES = 4096 };
    static aspace_pa_t pa[FRAMES];
    open_fast(FRAMES * PAGE);
    aspace_pa_t small = take(0, 0), huge = take(9, 0), middle = take(3, 0);
    CHECK(huge % MIB2 == 0 && middle % (8 * PAGE) == 0 && small % PAGE == 0);
    CHECK(counts().frames == 1 + 512 + 8);
    give(small, 0);
    give(middle, 3);
    for (unsigned i = 0; i < 512; i++) {
        give(huge + i * PAGE, 0);
    }
    CHECK(counts().frames == 0);
    for (unsigned round = 0; round < 3; round++) {
        size_t n = port.hal->alloc_batch(&port, pa, FRAMES / 2, 0);
        while (n < FRAMES && (pa[n] = take(0, 0)) != ASPACE_PA_NONE) {
            n++;
        }
        /* What lies in this CPU's stacks of other orders is not cut up. */
        CHECK(n >= FRAMES - 8 * 128 - 2 * 512 && n <= FRAMES && all_different(pa, n) && counts().frames == n);
        port.hal->free_batch(&port, pa, n / 2);
        for (size_t i = n / 2; i < n; i++) {
            give(pa[i], 0);
        }
        CHECK(counts().frames == 0);
    }
    aspace_linux_fini(&port);
}

static void test_fast_cpus(void)
{
    open_fast(16ull << 20);
    unsigned done_pairs = 0;
    while (done_pairs < 40000) { /* ten times the arena: frames freed on another CPU must come back */
        aspace_linux_set_cpu(1);
        aspace_pa_t pa = take(0, 0);
        if (pa == ASPACE_PA_NONE) {
            break;
        }
        aspace_linux_set_cpu(2);
        give(pa, 0);
        done_pairs++;
    }
    CHECK(done_pairs == 40000);
    CHECK(counts().frames == 0);
    aspace_linux_set_cpu(0);
    aspace_linux_fini(&port);
}

static void test_fast_zero(void)
{
    for (unsigned skip = 0; skip < 2; skip++) {
        struct aspace_linux_config config = {
            .arena = {.kind = ARENA_FAST, .bytes = 1 << 24, .skip_zeroing = skip != 0}};
        open_config(&config);
        aspace_pa_t pa = take(0, 0);
        memset(bytes_at(pa), 7, PAGE);
        give(pa, 0);
        CHECK(take(0, ASPACE_ALLOC_ZERO) == pa && bytes_at(pa)[9] == (skip ? 7 : 0));
        give(pa, 0);
        CHECK(take(0, ASPACE_ALLOC_ZERO | ASPACE_ALLOC_TABLE) == pa && bytes_at(pa)[9] == 0);
        aspace_linux_fini(&port);
    }
}

static void test_default(void)
{
    struct aspace_linux *a = aspace_linux_default(), *b = aspace_linux_default();
    CHECK(a && a == b && a->hal->alloc && a->hal->free && a->hal->tlb_flush);
    aspace_pa_t pa = a->hal->alloc(a, 0, ASPACE_ALLOC_ZERO);
    CHECK(pa != ASPACE_PA_NONE && bytes_at(pa)[0] == 0);
    a->hal->free(a, pa, 0);
    struct aspace_linux_counts c;
    aspace_linux_counts_read(a, &c);
    CHECK(c.alloc == 1 && c.free == 1 && c.tlb_flush == 0);
    aspace_linux_fini(a);
}

/* ---------------------------------------------------------------------------------------------------- odds and ends */

static void test_callbacks(void)
{
    struct aspace_linux_counts c;
    open_checked(0, SIM_IMMEDIATE);
    port.hal->icache_sync(&port, 0x1000, 64);
    port.hal->wake(&port, NULL);
    aspace_linux_set_cpu(3);
    port.hal->icache_sync(&port, 0x2000, 128);
    aspace_linux_set_cpu(0);
    aspace_linux_counts_read(&port, &c);
    CHECK(c.icache_sync == 2 && c.icache_bytes == 192 && port.icache_last == 0x2000 && c.wake == 1);
    aspace_linux_fini(&port);
}

static void test_assert(void)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        (void)!freopen("/dev/null", "w", stderr);
        aspace_assert_fail("1 == 2", "file.c", 3);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void (*const tests[])(void) = {
    test_alloc_free, test_pieces,     test_free_violations, test_write_after_free, test_write_before_alloc,
    test_quarantine, test_exhaustion, test_fail_nth,        test_addresses,        test_bad_config,
    test_fast,       test_fast_cpus,  test_fast_zero,       test_default,          test_callbacks,
    test_assert};

int main(void)
{
    return bed_run(tests, sizeof(tests) / sizeof(*tests));
}
