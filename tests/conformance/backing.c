/* SPDX-License-Identifier: BSD-2-Clause */
/* The hosted port's objects: files, and memory that is somewhere else. */
#define _GNU_SOURCE

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file_object.h"
#include "remote_object.h"
#include "suites.h"

enum { FILE_PAGES = 4, FILE_BYTES = 3 * 4096 + 100 };

/* ------------------------------------------------------------------------------------------------------------ files */

static uint64_t number_of(unsigned page)
{
    return (page + 1) * UINT64_C(0x0101010101010101);
}

/* Page n is full of n + 1; the last one ends early. The file has no name any more. */
static int make_file(void)
{
    char name[] = "/tmp/aspace-file-XXXXXX", bytes[FILE_BYTES];
    int fd = mkstemp(name);

    CHECK(fd >= 0);
    unlink(name);
    for (unsigned i = 0; i < FILE_BYTES; i++) {
        bytes[i] = (char)(i / PAGE + 1);
    }
    CHECK_EQ(pwrite(fd, bytes, sizeof(bytes), 0), FILE_BYTES);
    return fd;
}

static uint64_t in_file(int fd, uint64_t offset)
{
    uint64_t word = 0;

    CHECK_EQ(pread(fd, &word, sizeof(word), (off_t)offset), sizeof(word));
    return word;
}

static unsigned files_released;

static void on_released(void *arg)
{
    (void)arg;
    files_released++;
}

static void open_file(struct env *env, struct linux_file *f, struct linux_file_config config)
{
    config.released = on_released;
    files_released = 0;
    CHECK_EQ(linux_file_init(f, env->host, &config), 0);
}

static void map_object(struct env *env, enum aspace_kind kind, uint64_t va, uint64_t pages,
                       struct aspace_object *object)
{
    struct aspace_map m = request(kind, va, pages * PAGE, env->rw);

    m.object = object;
    CHECK_OK(aspace_map(env->space, &m, NULL));
}

static void close_file(struct env *env, struct linux_file *f, int fd)
{
    CHECK_OK(aspace_clear(env->space));
    aspace_object_put(&f->object);
    aspace_trim(env->host);
    CHECK_EQ(files_released, 1);
    close(fd);
}

static void file_read_and_written(struct env *env)
{
    static struct linux_file f;
    uint64_t va = at(env, 1, 0), private = va + 8 * PAGE;
    int fd = make_file();

    open_file(env, &f, (struct linux_file_config){.fd = fd, .writes = true, .reads_at_once = true});
    map_object(env, ASPACE_KIND_SHARED, va, 6, &f.object);
    map_object(env, ASPACE_KIND_PRIVATE, private, 6, &f.object);
    CHECK_EQ(peek(env, va + PAGE), number_of(1));
    CHECK_EQ(peek(env, private + PAGE), number_of(1));
    CHECK_EQ(f.reads, 1);
    CHECK_EQ(peek(env, va + 3 * PAGE + 104), 0); /* behind the end, in the last page */
    CHECK_FAULT(aspace_fault(env->space, va + 4 * PAGE, ASPACE_R, NULL), ASPACE_FAULT_BUS);
    poke(env, private + PAGE, 77);
    poke(env, va + PAGE, 11);
    poke(env, va + 2 * PAGE, 22);
    CHECK_EQ(peek(env, private + PAGE), 77);
    CHECK_EQ(in_file(fd, PAGE), number_of(1));
    CHECK_EQ(linux_file_sync(&f), 0);
    CHECK_EQ(f.writes, 2);
    CHECK_EQ(in_file(fd, PAGE), 11);
    CHECK_EQ(in_file(fd, 2 * PAGE), 22);
    CHECK_EQ(linux_file_sync(&f), 0);
    CHECK_EQ(f.writes, 2);
    poke(env, va + PAGE, 12); /* dirty again */
    poke(env, va + 3 * PAGE + 96, 0x4242424242424242);
    while (linux_file_shrink(&f) == 1) {
        continue;
    }
    CHECK_EQ(in_file(fd, PAGE), 12);
    CHECK_EQ(lseek(fd, 0, SEEK_END), FILE_BYTES);
    expect_absent(env, va + PAGE);
    CHECK_EQ(peek(env, va + PAGE), 12);
    CHECK_EQ(peek(env, private + PAGE), 77);
    poke(env, va, 99); /* written back with the last reference */
    close_file(env, &f, dup(fd));
    CHECK_EQ(in_file(fd, 0), 99);
    CHECK_EQ(in_file(fd, PAGE), 12);
    close(fd);
}

/* Faults that may not wait: the cache never has more pages than it may. */
static void file_loaded(struct env *env)
{
    static struct linux_file f;
    struct aspace_fault_info info;
    uint64_t va = at(env, 1, 0);
    int fd = make_file();

    open_file(env, &f, (struct linux_file_config){.fd = fd, .writes = true, .pages_max = 2});
    map_object(env, ASPACE_KIND_SHARED, va, FILE_PAGES, &f.object);
    for (unsigned n = 0; n < FILE_PAGES; n++) {
        CHECK_FAULT(aspace_fault(env->space, va + n * PAGE + 8, ASPACE_W, &info), ASPACE_FAULT_NEEDS_IO);
        expect_absent(env, va + n * PAGE);
        CHECK_EQ(linux_file_load(&f, info.offset), 0);
        CHECK(f.cache.pages <= 2);
        poke(env, va + n * PAGE, n + 50);
    }
    CHECK_EQ(in_file(fd, 0), 50); /* had to make room */
    CHECK_EQ(in_file(fd, PAGE), 51);
    CHECK_EQ(in_file(fd, 2 * PAGE), number_of(2));
    CHECK_FAULT(aspace_fault(env->space, va, ASPACE_R, NULL), ASPACE_FAULT_NEEDS_IO);
    close_file(env, &f, fd);
}

static void file_truncated(struct env *env)
{
    static struct linux_file f;
    uint64_t va = at(env, 1, 0);
    int fd = make_file();

    open_file(env, &f, (struct linux_file_config){.fd = fd, .writes = true, .reads_at_once = true});
    map_object(env, ASPACE_KIND_SHARED, va, FILE_PAGES, &f.object);
    poke(env, va + PAGE, 11);
    poke(env, va + 2 * PAGE, 22);
    CHECK_EQ(linux_file_truncate(&f, PAGE + 16), 0);
    CHECK_EQ(lseek(fd, 0, SEEK_END), PAGE + 16);
    CHECK_FAULT(aspace_fault(env->space, va + 2 * PAGE, ASPACE_R, NULL), ASPACE_FAULT_BUS);
    CHECK_EQ(peek(env, va + PAGE), 11);
    CHECK_EQ(peek(env, va + PAGE + 16), 0);
    poke(env, va + PAGE + 64, 5); /* lost: it is no part of the file */
    CHECK_EQ(linux_file_truncate(&f, FILE_BYTES), 0);
    CHECK_EQ(peek(env, va + PAGE + 64), 0);
    CHECK_EQ(peek(env, va + 2 * PAGE), 0);
    CHECK_EQ(peek(env, va + 3 * PAGE), 0);
    CHECK_EQ(linux_file_sync(&f), 0);
    CHECK_EQ(in_file(fd, PAGE), 11);
    CHECK_EQ(in_file(fd, PAGE + 64), 0);
    close_file(env, &f, fd);
}

/* Who waits for another truncation to end goes on from the size that it left. */
static void *cut_to_a_page(void *file)
{
    CHECK_EQ(linux_file_truncate(file, PAGE), 0);
    return NULL;
}

static void file_truncated_twice(struct env *env)
{
    static struct linux_file f;
    uint64_t va = at(env, 1, 0);
    int fd = make_file();
    pthread_t thread;

    open_file(env, &f, (struct linux_file_config){.fd = fd, .writes = true, .reads_at_once = true});
    map_object(env, ASPACE_KIND_SHARED, va, FILE_PAGES, &f.object);
    CHECK_EQ(linux_file_truncate(&f, 16), 0);
    pthread_mutex_lock(&f.io); /* the other truncation, which makes the file larger, is this test */
    CHECK_EQ(pthread_create(&thread, NULL, cut_to_a_page, &f), 0);
    usleep(20000);
    CHECK_EQ(ftruncate(fd, FILE_BYTES), 0);
    aspace_object_truncate(&f.object, FILE_BYTES);
    poke(env, va + 2 * PAGE, 22);
    pthread_mutex_unlock(&f.io);
    pthread_join(thread, NULL);
    CHECK_EQ(f.cache.pages, 0);
    CHECK_EQ(linux_file_truncate(&f, FILE_BYTES), 0);
    CHECK_EQ(peek(env, va + 2 * PAGE), 0);
    close_file(env, &f, fd);
}

/* What cannot be read answers BUS; what cannot be written stays dirty. */
static void file_fails(struct env *env)
{
    static struct linux_file f;
    uint64_t va = at(env, 1, 0);
    int fd = make_file(), pipes[2];

    CHECK_EQ(pipe(pipes), 0);
    open_file(env, &f, (struct linux_file_config){.fd = fd, .writes = true, .reads_at_once = true});
    map_object(env, ASPACE_KIND_SHARED, va, FILE_PAGES, &f.object);
    poke(env, va, 5);
    f.config.fd = pipes[0];
    CHECK_FAULT(aspace_fault(env->space, va + PAGE, ASPACE_R, NULL), ASPACE_FAULT_BUS);
    CHECK_EQ(linux_file_load(&f, PAGE), -1);
    CHECK_EQ(linux_file_sync(&f), -1);
    CHECK_EQ(linux_file_shrink(&f), -1);
    CHECK_EQ(linux_file_truncate(&f, 0), -1);
    CHECK_EQ(peek(env, va), 5);
    f.config.fd = fd;
    CHECK_EQ(linux_file_sync(&f), 0);
    CHECK_EQ(in_file(fd, 0), 5);
    CHECK_EQ(peek(env, va + PAGE), number_of(1));
    close_file(env, &f, fd);
    fd = make_file();
    open_file(env, &f, (struct linux_file_config){.fd = fd, .reads_at_once = true});
    map_object(env, ASPACE_KIND_SHARED, va, FILE_PAGES, &f.object);
    CHECK_EQ(peek(env, va), number_of(0));
    CHECK_FAULT(aspace_fault(env->space, va, ASPACE_W, NULL), ASPACE_FAULT_PERMISSION);
    close_file(env, &f, fd);
    close(pipes[0]);
    close(pipes[1]);
}

/* --------------------------------------------------------------------------------------------------- somewhere else */

static void remote(struct env *env)
{
    static struct linux_remote r;
    uint64_t va = at(env, 1, 0), offset, words[512] = {0}, back[512];

    CHECK_EQ(linux_remote_init(&r, env->host, 8 * PAGE), 0);
    map_object(env, ASPACE_KIND_SHARED, va, 8, &r.object);
    CHECK(!linux_remote_take(&r, &offset));
    CHECK_FAULT(aspace_fault(env->space, va + 5 * PAGE, ASPACE_W, NULL), ASPACE_FAULT_NEEDS_IO);
    CHECK_FAULT(aspace_fault(env->space, va + 5 * PAGE, ASPACE_R, NULL), ASPACE_FAULT_NEEDS_IO);
    CHECK(linux_remote_take(&r, &offset));
    CHECK_EQ(offset, 5 * PAGE);
    CHECK(!linux_remote_take(&r, &offset));
    words[0] = 55;
    CHECK_EQ(linux_remote_fill(&r, 5 * PAGE, words), 0);
    CHECK_EQ(linux_remote_fill(&r, 5 * PAGE, words), -1);
    CHECK_EQ(errno, EEXIST);
    touch(env, va + 5 * PAGE, ASPACE_W);
    CHECK_EQ(peek(env, va + 5 * PAGE), 55);
    poke(env, va + 5 * PAGE + 8, 56);
    CHECK_EQ(linux_remote_drop(&r, 5 * PAGE, back), 0); /* swapped out */
    CHECK_EQ(back[0], 55);
    CHECK_EQ(back[1], 56);
    CHECK_EQ(linux_remote_drop(&r, 5 * PAGE, back), -1);
    expect_absent(env, va + 5 * PAGE);
    CHECK_FAULT(aspace_fault(env->space, va + 5 * PAGE, ASPACE_R, NULL), ASPACE_FAULT_NEEDS_IO);
    CHECK_EQ(linux_remote_fill(&r, 5 * PAGE, back), 0);
    CHECK_EQ(peek(env, va + 5 * PAGE + 8), 56);
    CHECK(!linux_remote_take(&r, &offset)); /* nobody waits for it any more */
    CHECK_OK(aspace_clear(env->space));
    aspace_trim(env->host);
    aspace_object_put(&r.object);
}

/* Offsets come from the other side. */
static void remote_has_no_such_page(struct env *env)
{
    static struct linux_remote r;
    static const uint64_t words[512];
    const uint64_t bad[] = {8 * PAGE, 4096 * PAGE, PAGE / 2, 0 - PAGE};

    CHECK_EQ(linux_remote_init(&r, env->host, 7 * PAGE + 1), 0);
    for (unsigned n = 0; n < 4; n++) {
        errno = 0;
        CHECK_EQ(linux_remote_fill(&r, bad[n], words), -1);
        CHECK_EQ(errno, EINVAL);
    }
    CHECK_EQ(r.cache.pages, 0);
    CHECK_EQ(linux_remote_fill(&r, 7 * PAGE, words), 0);
    aspace_object_put(&r.object);
}

static const struct test tests[] = {
    {"file_read_and_written", file_read_and_written, NEEDS_FEW},
    {"file_loaded", file_loaded, NEEDS_FEW},
    {"file_truncated", file_truncated, NEEDS_FEW},
    {"file_truncated_twice", file_truncated_twice, NEEDS_FEW},
    {"file_fails", file_fails, NEEDS_FEW},
    {"remote", remote, NEEDS_FEW},
    {"remote_has_no_such_page", remote_has_no_such_page, NEEDS_FEW},
};
const struct suite backing_suite = SUITE(tests);
