/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns: the initramfs archive of the guest (cpio "newc", see the Linux kernel's
 * Documentation/driver-api/early-userspace/buffer-format.rst).
 *
 * usage: mkinitramfs INIT >archive
 *
 * A program of our own and not cpio: cpio copies device nodes from a directory, and only root can make those. The
 * kernel gives /init no standard output unless /dev/console is in the archive. Nothing in the result depends on the
 * time, the user or the file system, so the same INIT gives the same bytes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODE_DIR = 0040755, MODE_CONSOLE = 0020600, MODE_INIT = 0100755 };
enum { CONSOLE_MAJOR = 5, CONSOLE_MINOR = 1 };

static size_t written;
static unsigned next_inode = 1;

static void put(const void *bytes, size_t n)
{
    if (n != 0 && fwrite(bytes, 1, n, stdout) != n) {
        fprintf(stderr, "mkinitramfs: cannot write the archive: %s\n", strerror(errno));
        exit(1);
    }
    written += n;
}

static void pad_to_4(void)
{
    static const char zeros[4];
    put(zeros, (4 - written % 4) % 4);
}

static void entry(const char *name, unsigned mode, unsigned major, unsigned minor, const void *data, size_t n)
{
    char header[6 + 13 * 8 + 1];
    unsigned links = (mode & 0170000) == 0040000 ? 2 : 1;
    int len = snprintf(header, sizeof header, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", next_inode,
                       mode, 0u, 0u, links, 0u, (unsigned)n, 0u, 0u, major, minor, (unsigned)strlen(name) + 1, 0u);
    next_inode++;
    put(header, (size_t)len);
    put(name, strlen(name) + 1);
    pad_to_4();
    put(data, n);
    pad_to_4();
}

static unsigned char *slurp(const char *path, size_t *size)
{
    unsigned char *bytes = NULL;
    size_t have = 0, room = 0;
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        fprintf(stderr, "mkinitramfs: %s: %s\n", path, strerror(errno));
        exit(1);
    }
    for (;;) {
        if (have == room) {
            room = room != 0 ? 2 * room : 1u << 20;
            bytes = realloc(bytes, room);
            if (bytes == NULL) {
                fprintf(stderr, "mkinitramfs: out of memory\n");
                exit(1);
            }
        }
        size_t got = fread(bytes + have, 1, room - have, f);
        if (got == 0)
            break;
        have += got;
    }
    /* Sizes are 32 bits wide in this format. */
    if (ferror(f) || have == 0 || have > 0x7fffffff) {
        fprintf(stderr, "mkinitramfs: %s: cannot be read, empty, or too large\n", path);
        exit(1);
    }
    fclose(f);
    *size = have;
    return bytes;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "mkinitramfs: usage: mkinitramfs INIT >archive\n");
        return 2;
    }
    size_t size;
    unsigned char *init = slurp(argv[1], &size);

    entry("dev", MODE_DIR, 0, 0, NULL, 0);
    entry("dev/console", MODE_CONSOLE, CONSOLE_MAJOR, CONSOLE_MINOR, NULL, 0);
    entry("proc", MODE_DIR, 0, 0, NULL, 0);
    entry("ram", MODE_DIR, 0, 0, NULL, 0);
    entry("init", MODE_INIT, 0, 0, init, size);
    entry("TRAILER!!!", 0, 0, 0, NULL, 0);
    free(init);
    if (fflush(stdout) != 0) {
        fprintf(stderr, "mkinitramfs: cannot write the archive: %s\n", strerror(errno));
        return 1;
    }
    return 0;
}
