/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns: the guest's only program. Runs as process 1 of an otherwise empty initramfs, puts the guest's memory to the
 * test from the inside, says the result in one line and powers off:
 *
 *     guest-check: ok cpus=N mib=M forks=50 files=F
 *     guest-check: FAILED <what>
 *
 * Kernel command line: aspace.mib=M (default 64) is the size of the memory that is filled and verified,
 * aspace.stress=S (default 0) repeats the checks for S seconds while somebody else moves the pages about.
 *
 * Nothing printed depends on the time (but for the progress of the stress) or on addresses as long as all is well, so
 * that a reproducible machine gives a reproducible console.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    MIB = 1 << 20,
    PAGE = 4096,
    PAGE_WORDS = PAGE / sizeof(uint64_t),
    FORKS = 50,
    FORKS_AT_ONCE = 10, /* enough that several children break the same page's sharing, in any order */
    COW_PAGES = 64,
    CYCLES = 16,
    CYCLE_PAGES = 128,
    FILES = 32,
    CPUS_MAX = 64,
    WORKER_MIB = 4,
    WORKER_ROUNDS = 4,
    STRESS_SLICES = 8, /* a pass handles one, so that it is short against the seconds asked for */
    SHARED_PAGES = 16,
    SHARED_ADDS = 4000,
    SPARE_MIB = 12, /* left to the kernel and to the checks beside the big region */
};

static pid_t init_pid;
static size_t cpu_list[CPUS_MAX];
static int cpus;

/* ---- saying things ---- */

/* One write() per line: lines of several processes must not mix. */
static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(line, sizeof line - 1, format, ap);
    va_end(ap);
    if (n < 0)
        return;
    size_t len = (size_t)n < sizeof line - 2 ? (size_t)n : sizeof line - 2;
    line[len] = '\n';
    for (size_t done = 0; done <= len;) {
        ssize_t put = write(1, line + done, len + 1 - done);
        if (put <= 0)
            return;
        done += (size_t)put;
    }
}

static _Noreturn void power_off(void)
{
    /* A UART that is polled by a timer has lines in its buffer still; power off would cut them. */
    tcdrain(1);
    sync();
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}

static _Noreturn void failed(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void failed(const char *format, ...)
{
    char what[200];
    va_list ap;
    va_start(ap, format);
    vsnprintf(what, sizeof what, format, ap);
    va_end(ap);
    if (getpid() == init_pid) {
        say("guest-check: FAILED %s", what);
        power_off();
    }
    say("guest: process %d: %s", (int)getpid(), what);
    _exit(1);
}

/* ---- faults, wanted and unwanted ---- */

static _Thread_local sigjmp_buf fault_return;
static _Thread_local volatile sig_atomic_t fault_wanted;

static void on_fault(int signal, siginfo_t *info, void *context)
{
    (void)context;
    if (fault_wanted && signal == SIGSEGV)
        siglongjmp(fault_return, 1);
    failed("signal %d at address %p", signal, info->si_addr);
}

static void catch_faults(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO;
    if (sigaction(SIGSEGV, &action, NULL) != 0 || sigaction(SIGBUS, &action, NULL) != 0 ||
        sigaction(SIGILL, &action, NULL) != 0)
        failed("sigaction: %s", strerror(errno));
}

static bool access_faults(volatile uint64_t *at, bool write)
{
    if (sigsetjmp(fault_return, 1) != 0) {
        fault_wanted = 0;
        return true;
    }
    fault_wanted = 1;
    if (write)
        *at = 1;
    else
        (void)*at;
    fault_wanted = 0;
    return false;
}

/* ---- patterns ---- */

/*
 * Each word holds a value made from the address it was written at, so that a page which turns up at another address,
 * or an old copy of a page (the seed changes with every fill), differs in every word.
 */
static uint64_t pattern(uint64_t address, uint64_t seed)
{
    return (address + seed * UINT64_C(0x100000001b3)) * UINT64_C(0x9e3779b97f4a7c15);
}

static void fill_as(uint64_t *words, size_t n, uintptr_t address, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        words[i] = pattern(address + i * sizeof *words, seed);
}

static void verify_as(const uint64_t *words, size_t n, uintptr_t address, uint64_t seed, const char *what)
{
    /* The compiler must not answer from what it knows was stored. */
    __asm__ volatile("" ::: "memory");
    for (size_t i = 0; i < n; i++) {
        uint64_t expected = pattern(address + i * sizeof *words, seed);
        if (words[i] == expected)
            continue;
        say("guest: address %p holds %016llx, not %016llx", (const void *)&words[i], (unsigned long long)words[i],
            (unsigned long long)expected);
        failed("%s: wrong contents", what);
    }
}

static void fill(uint64_t *words, size_t n, uint64_t seed)
{
    fill_as(words, n, (uintptr_t)words, seed);
}

static void verify(const uint64_t *words, size_t n, uint64_t seed, const char *what)
{
    verify_as(words, n, (uintptr_t)words, seed, what);
}

static uint64_t *map(size_t bytes, int flags, const char *what)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        failed("%s: mmap of %zu bytes: %s", what, bytes, strerror(errno));
    return p;
}

static void unmap(void *p, size_t bytes, const char *what)
{
    if (munmap(p, bytes) != 0)
        failed("%s: munmap: %s", what, strerror(errno));
}

/* ---- children ---- */

static pid_t start(const char *what)
{
    pid_t pid = fork();
    if (pid < 0)
        failed("%s: fork: %s", what, strerror(errno));
    return pid;
}

static void finish(pid_t pid, const char *what)
{
    int status;
    if (waitpid(pid, &status, 0) != pid)
        failed("%s: waitpid: %s", what, strerror(errno));
    if (WIFSIGNALED(status))
        failed("%s: a child died of signal %d", what, WTERMSIG(status));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        failed("%s: a child found an error", what);
}

static void pin(size_t cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        failed("cannot run on cpu %zu: %s", cpu, strerror(errno));
}

/* ---- the checks ---- */

/* Children read pages that they share with us, write to them, and must then see their own and we still ours: of these
 * pages at once, of all others when the region is verified for the last time. */
static void check_forks(uint64_t *region, size_t words, uint64_t seed, int forks)
{
    size_t pages = words / PAGE_WORDS, set = pages < COW_PAGES ? pages : COW_PAGES, stride = pages / set;
    pid_t pids[FORKS_AT_ONCE];

    for (int first = 0; first < forks; first += FORKS_AT_ONCE) {
        int n = forks - first < FORKS_AT_ONCE ? forks - first : FORKS_AT_ONCE;
        for (int i = 0; i < n; i++) {
            pids[i] = start("fork");
            if (pids[i] != 0)
                continue;
            size_t offset = (size_t)(first + i) % stride;
            uint64_t own = seed + 1000 + (uint64_t)(first + i);
            for (size_t k = 0; k < set; k++) {
                uint64_t *page = region + (k * stride + offset) * PAGE_WORDS;
                verify(page, PAGE_WORDS, seed, "copy on write, child before its write");
                fill(page, PAGE_WORDS, own);
            }
            sched_yield();
            for (size_t k = 0; k < set; k++)
                verify(region + (k * stride + offset) * PAGE_WORDS, PAGE_WORDS, own,
                       "copy on write, child after its write");
            _exit(0);
        }
        for (int i = 0; i < n; i++)
            finish(pids[i], "fork");
        for (int i = 0; i < n; i++)
            for (size_t k = 0; k < set; k++)
                verify(region + (k * stride + (size_t)(first + i) % stride) * PAGE_WORDS, PAGE_WORDS, seed,
                       "copy on write, parent");
    }
}

/* Each page costs several invalidations on all CPUs that the process was on, and each of those takes as long as it
 * takes an emulator to get all of these CPUs to run: less is as good on more. */
static size_t cycle_pages(void)
{
    return (size_t)(CYCLE_PAGES / (cpus > 2 ? cpus : 1));
}

/*
 * Mappings come, change their rights, move, lose their contents and go. With alone set, nobody else maps memory in
 * this process, and what was unmapped must fault.
 */
static void check_mappings(int cycles, uint64_t seed, bool alone)
{
    const size_t pages = cycle_pages(), bytes = pages * PAGE, words = bytes / sizeof(uint64_t), half = words / 2;

    for (int i = 0; i < cycles; i++) {
        uint64_t *p = map(bytes, MAP_PRIVATE, "mmap");
        uintptr_t origin = (uintptr_t)p;
        for (size_t page = 0; page < pages; page++)
            if (p[page * PAGE_WORDS] != 0)
                failed("mmap: a fresh page is not zero");
        fill(p, words, seed + (uint64_t)i);

        if (mprotect(p, bytes, PROT_READ) != 0)
            failed("mprotect: %s", strerror(errno));
        if (!access_faults(p + half, true))
            failed("mprotect: a read-only page took a write");
        if (mprotect(p + half, bytes / 2, PROT_NONE) != 0)
            failed("mprotect: %s", strerror(errno));
        if (!access_faults(p + half, false))
            failed("mprotect: a page without rights was read");
        if (mprotect(p, bytes, PROT_READ | PROT_WRITE) != 0)
            failed("mprotect: %s", strerror(errno));
        verify(p, words, seed + (uint64_t)i, "mprotect");

        uint64_t *q = mremap(p, bytes, 2 * bytes, MREMAP_MAYMOVE);
        if (q == MAP_FAILED)
            failed("mremap: %s", strerror(errno));
        verify_as(q, words, origin, seed + (uint64_t)i, "mremap");
        fill(q + words, words, seed);
        if (madvise(q, bytes / 2, MADV_DONTNEED) != 0)
            failed("madvise: %s", strerror(errno));
        for (size_t k = 0; k < half; k++)
            if (q[k] != 0)
                failed("madvise: a dropped page is not zero");
        verify_as(q + half, half, origin + bytes / 2, seed + (uint64_t)i, "madvise");
        verify(q + words, words, seed, "mremap, new part");
        unmap(q, 2 * bytes, "munmap");
        if (alone && !access_faults(q, false))
            failed("munmap: an unmapped page was read");
    }
}

static size_t file_size(int i)
{
    return (size_t)(1 + i * 37 % 61) * PAGE + (size_t)i * 13;
}

static uint64_t checksum(uint64_t sum, const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
    return sum;
}

/* A file system in RAM: what was written comes back, and deleting gives every block back. */
static void check_files(int files, uint64_t seed)
{
    static unsigned char buffer[64 * 1024] __attribute__((aligned(8)));
    uint64_t sums[FILES];
    struct statfs before, after;
    char name[32];

    if (statfs("/ram", &before) != 0)
        failed("files: statfs: %s", strerror(errno));
    for (int i = 0; i < files; i++) {
        snprintf(name, sizeof name, "/ram/file%d", i);
        int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);
        if (fd < 0)
            failed("files: create: %s", strerror(errno));
        sums[i] = 0;
        for (size_t left = file_size(i), block = 0; left != 0; block++) {
            size_t n = left < sizeof buffer ? left : sizeof buffer;
            fill_as((uint64_t *)(void *)buffer, sizeof buffer / 8, block * sizeof buffer, seed + (uint64_t)i);
            if (write(fd, buffer, n) != (ssize_t)n)
                failed("files: write: %s", strerror(errno));
            sums[i] = checksum(sums[i], buffer, n);
            left -= n;
        }
        if (fsync(fd) != 0 || close(fd) != 0)
            failed("files: fsync: %s", strerror(errno));
    }
    for (int i = 0; i < files; i++) {
        snprintf(name, sizeof name, "/ram/file%d", i);
        int fd = open(name, O_RDONLY);
        if (fd < 0)
            failed("files: open: %s", strerror(errno));
        uint64_t sum = 0;
        size_t total = 0;
        ssize_t n;
        while ((n = read(fd, buffer, sizeof buffer)) > 0) {
            sum = checksum(sum, buffer, (size_t)n);
            total += (size_t)n;
        }
        if (n < 0)
            failed("files: read: %s", strerror(errno));
        if (total != file_size(i) || sum != sums[i])
            failed("files: file %d came back changed", i);

        /* Once more through a mapping: another way to the same pages. */
        unsigned char *p = mmap(NULL, total, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
            failed("files: mmap: %s", strerror(errno));
        if (checksum(0, p, total) != sum)
            failed("files: file %d is another one when mapped", i);
        unmap(p, total, "files");
        if (close(fd) != 0 || unlink(name) != 0)
            failed("files: unlink: %s", strerror(errno));
    }
    if (statfs("/ram", &after) != 0)
        failed("files: statfs: %s", strerror(errno));
    if (after.f_bfree != before.f_bfree || after.f_ffree != before.f_ffree)
        failed("files: deleted files did not give their blocks back");
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* One process on one CPU: fills and verifies memory of its own and adds to counters that all CPUs share. */
static void work(int index, int rounds, double deadline, _Atomic uint64_t *shared)
{
    const size_t bytes = (size_t)WORKER_MIB * MIB, words = bytes / sizeof(uint64_t);
    pin(cpu_list[index]);
    uint64_t *own = map(bytes, MAP_PRIVATE, "cpu");
    for (int round = 0; round < rounds || now() < deadline; round++) {
        uint64_t seed = 5000 + (uint64_t)index * 1000 + (uint64_t)round;
        fill(own, words, seed);
        if (round < rounds)
            for (int i = 0; i < SHARED_ADDS; i++)
                atomic_fetch_add(&shared[(size_t)((i * 7 + index) % SHARED_PAGES) * PAGE_WORDS], 1);
        verify(own, words, seed, "cpu");
        if (round >= rounds && round % 8 == 0) {
            /* New frames now and then: contents must follow through refaults too. */
            unmap(own, bytes, "cpu");
            own = map(bytes, MAP_PRIVATE, "cpu");
        }
    }
    unmap(own, bytes, "cpu");
}

static _Atomic uint64_t *start_workers(pid_t *pids, int rounds, double deadline, uint64_t *region, size_t words)
{
    uint64_t *shared = map((size_t)SHARED_PAGES * PAGE, MAP_SHARED, "cpu");
    for (int i = 0; i < cpus; i++) {
        pids[i] = start("cpu");
        if (pids[i] != 0)
            continue;
        /* As we write to the region, a worker that keeps it would double its memory. */
        unmap(region, words * sizeof *region, "cpu");
        work(i, rounds, deadline, (_Atomic uint64_t *)shared);
        _exit(0);
    }
    return (_Atomic uint64_t *)shared;
}

static void finish_workers(const pid_t *pids, int rounds, _Atomic uint64_t *shared)
{
    uint64_t total = 0;
    for (int i = 0; i < cpus; i++)
        finish(pids[i], "cpu");
    for (int i = 0; i < SHARED_PAGES; i++)
        total += atomic_load(&shared[(size_t)i * PAGE_WORDS]);
    if (total != (uint64_t)cpus * (uint64_t)rounds * SHARED_ADDS)
        failed("cpu: shared counters: %llu additions were seen", (unsigned long long)total);
    unmap((void *)(uintptr_t)shared, (size_t)SHARED_PAGES * PAGE, "cpu");
}

static void *thread_main(void *arg)
{
    int index = *(const int *)arg;
    pin(cpu_list[index]);
    check_mappings(CYCLES / 8, 9000 + (uint64_t)index * 100, false);
    return NULL;
}

/* Threads of one process: each change of a mapping has to reach the other CPUs, as remote fences or broadcasts. */
static void check_threads(void)
{
    pthread_t threads[CPUS_MAX];
    int index[CPUS_MAX];
    pid_t pid = start("threads");
    if (pid == 0) {
        for (int i = 0; i < cpus; i++) {
            index[i] = i;
            if (pthread_create(&threads[i], NULL, thread_main, &index[i]) != 0)
                failed("pthread_create");
        }
        for (int i = 0; i < cpus; i++)
            pthread_join(threads[i], NULL);
        _exit(0);
    }
    finish(pid, "threads");
}

static void stress(uint64_t *region, size_t words, uint64_t seed, unsigned seconds)
{
    pid_t pids[CPUS_MAX];
    uint64_t seeds[STRESS_SLICES];
    double begin = now(), end = begin + seconds, tell = begin + 1;
    const size_t slice = words / STRESS_SLICES; /* a whole number of pages, as words is of MiB */
    unsigned passes = 0;
    _Atomic uint64_t *shared = start_workers(pids, 1, end, region, words);

    for (int i = 0; i < STRESS_SLICES; i++)
        seeds[i] = seed;
    do {
        unsigned i = passes % STRESS_SLICES;
        uint64_t *part = region + i * slice;
        verify(part, slice, seeds[i], "stress");
        seeds[i] = ++seed;
        fill(part, slice, seed);
        check_forks(part, slice, seed, FORKS_AT_ONCE);
        check_mappings(1, seed, true);
        check_files(FILES / 4, seed);
        passes++;
        if (now() >= tell) {
            say("guest: stress: %u passes in %.0f s", passes, now() - begin);
            while (tell <= now())
                tell += 1;
        }
    } while (now() < end);
    finish_workers(pids, 1, shared);
    for (int i = 0; i < STRESS_SLICES; i++)
        verify(region + (size_t)i * slice, slice, seeds[i], "stress");
    say("guest: stress: ended after %u passes", passes);
}

/* ---- setting up ---- */

/* The value of a number on the kernel's command line; the last one counts, as it does for the kernel. */
static unsigned option(const char *cmdline, const char *name, unsigned otherwise, unsigned max)
{
    size_t len = strlen(name);
    unsigned value = otherwise;
    for (const char *p = cmdline; (p = strstr(p, name)) != NULL; p += len) {
        if ((p != cmdline && p[-1] != ' ') || p[len] != '=')
            continue;
        char *end;
        unsigned long n = strtoul(p + len + 1, &end, 10);
        if (end == p + len + 1 || (*end != ' ' && *end != '\n' && *end != '\0') || n > max)
            failed("bad value of %s on the kernel command line", name);
        value = (unsigned)n;
    }
    return value;
}

static void read_cmdline(char *cmdline, size_t size)
{
    if (mount("proc", "/proc", "proc", 0, NULL) != 0)
        failed("mount /proc: %s", strerror(errno));
    int fd = open("/proc/cmdline", O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, cmdline, size - 1);
    if (n < 0)
        failed("/proc/cmdline: %s", strerror(errno));
    cmdline[n] = '\0';
    close(fd);
}

static void find_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        failed("sched_getaffinity: %s", strerror(errno));
    for (size_t cpu = 0; cpu < CPU_SETSIZE && cpus < CPUS_MAX; cpu++)
        if (CPU_ISSET(cpu, &set))
            cpu_list[cpus++] = cpu;
}

int main(void)
{
    char cmdline[2048];
    struct utsname name;
    struct sysinfo info;
    pid_t pids[CPUS_MAX];

    init_pid = getpid();
    if (init_pid != 1) {
        fprintf(stderr, "guest: this is the guest's /init and ends by switching the machine off\n");
        return 2;
    }
    catch_faults();
    /* The kernel prints into the middle of our lines otherwise; an oops turns this off again. */
    klogctl(8, NULL, 1);
    read_cmdline(cmdline, sizeof cmdline);
    if (mount("tmpfs", "/ram", "tmpfs", 0, "size=50%") != 0)
        failed("mount tmpfs: %s", strerror(errno));
    unsigned mib = option(cmdline, "aspace.mib", 64, 1u << 20);
    unsigned seconds = option(cmdline, "aspace.stress", 0, 86400);
    find_cpus();
    if (uname(&name) != 0 || sysinfo(&info) != 0)
        failed("uname: %s", strerror(errno));
    uint64_t free_mib = (uint64_t)info.freeram * info.mem_unit / MIB;
    say("guest: Linux %s %s, %d cpu%s", name.release, name.machine, cpus, cpus == 1 ? "" : "s");
    if (mib == 0)
        failed("aspace.mib=0 leaves nothing to check");
    if (free_mib < (uint64_t)mib + SPARE_MIB + (uint64_t)cpus * WORKER_MIB)
        failed("%llu MiB are free, too few to check %u MiB", (unsigned long long)free_mib, mib);

    uint64_t *region = map((size_t)mib * MIB, MAP_PRIVATE, "memory");
    size_t words = (size_t)mib * MIB / sizeof(uint64_t);
    fill(region, words, 1);
    verify(region, words, 1, "memory");
    say("guest: %u MiB filled and verified", mib);

    check_forks(region, words, 1, FORKS);
    say("guest: %d forks, %d pages each copied on write", FORKS, COW_PAGES);

    check_mappings(CYCLES, 1, true);
    say("guest: %d cycles of mmap, mprotect, mremap, madvise, munmap", CYCLES);

    check_files(FILES, 1);
    say("guest: %d files written, synced, read back, deleted", FILES);

    if (cpus > 1) {
        _Atomic uint64_t *shared = start_workers(pids, WORKER_ROUNDS, 0, region, words);
        finish_workers(pids, WORKER_ROUNDS, shared);
        check_threads();
        say("guest: %d cpus verified their memory at the same time", cpus);
    }
    if (seconds != 0) {
        stress(region, words, 1, seconds);
    } else {
        verify(region, words, 1, "memory, at the end");
    }
    say("guest-check: ok cpus=%d mib=%u forks=%d files=%d", cpus, mib, FORKS, FILES);
    power_off();
}
