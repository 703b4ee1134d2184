/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the shared part offer to each other: console, options, frames, stress. */
#ifndef HYP_HYP_H
#define HYP_HYP_H

#include <stdarg.h>

#include <aspace/inspect.h>

#include "vcpu.h"

enum { STRESS_MAX = 2 };

/* ---- console.c: %s %c %u %x with l for 64 bits, %%; one line is never cut by another CPU's ---- */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2))); /* "guest failed: ...", power off */
void format_text(char *text, size_t bytes, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- options.c: the words of bootargs before "--" ---- */
struct options {
    uint64_t kernel_at, kernel_bytes;
    uint64_t initrd_at, initrd_bytes;
    uint64_t ram_bytes;
    unsigned cpus;
    unsigned leaf_level; /* aspace_map.max_leaf_level of guest RAM */
    const char *pages;
    unsigned stress;           /* how many CPUs */
    uint64_t seed;             /* of what they do */
    enum aspace_format format; /* ASPACE_FMT_COUNT: the CPU decides */
    char kernel[32];
    const char *command_line;
};
extern struct options options;
void options_read(char *bootargs);

/* ---- alloc.c: frames of 4 KiB in runs of 2^order, order 0 to 9 ---- */
void frames_init(uint64_t begin, uint64_t end); /* host-physical */
aspace_pa_t frames_alloc(unsigned order, unsigned flags);
void frames_free(aspace_pa_t pa, unsigned order);
void frames_guest_gone(void); /* nobody is left who could use a stale translation: no more poison */
uint64_t frames_free_count(void);
uint64_t frames_bad_frees(void); /* frames given back that were not out */

/* ---- stress.c ---- */
_Noreturn void stress_run(struct aspace_host *host, struct aspace *space, unsigned number); /* on a spare CPU */
bool stress_stopped(void);                          /* asks all of them to stop; true once they have */
unsigned stress_ticket(void);                       /* before a fault is handled ... */
bool stress_explains(unsigned ticket, uint64_t va); /* ... and after: may a stress CPU have caused its refusal? */
void stress_report(void);

/* ---- window.c: what only the stress CPUs map and unmap. 0 bytes without stress ---- */
uint64_t window_bytes(void);  /* the end of the guest's RAM, mapped to frames that are ours */
uint64_t scratch_bytes(void); /* after the guest's RAM: addresses the guest knows nothing of */
int window_map(struct aspace *space);
void window_free(void); /* the frames, once the space is destroyed */

/* ---- main.c ---- */
void hyp_icache_sync(uint64_t pa, uint64_t bytes);

#endif
