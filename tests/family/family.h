/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A family of spaces, and what each page of each ought to be: an array a space with one element a page, and the
 * contents of what they share. Owns the expected state; must not know page tables.
 */
#ifndef TESTS_FAMILY_H
#define TESTS_FAMILY_H

#include <aspace/dirty.h>
#include <aspace/object.h>
#include <aspace/ticket.h>
#include <aspace/watch.h>

#include "../harness.h"

enum { SPACES = 4, PAGES = 24, PINS = 4, TICKETS = 4, OBJECTS = 2, STORE_PAGES = 12, DEVICE_ORDER = 6, FRAMES = 1024 };

/* What the library calls a kind, plus nothing at all. */
enum { NOTHING = 255 };

struct page {
    uint8_t kind; /* enum aspace_kind or NOTHING */
    uint8_t rights, max_rights, fork;
    uint8_t store;       /* PRIVATE, SHARED: number of the object */
    bool own;            /* PRIVATE: it has been copied */
    bool dirty, maybe;   /* for a dirty log: has been written; may be told, as something may have set the flag */
    uint32_t pins;       /* made through this page */
    uint32_t cookie;     /* number of the map call: one a call */
    uint32_t offset;     /* in pages: of the object, of the device memory, or of the map call */
    uint64_t pinned_pa;  /* with pins */
    uint64_t custom_pa;  /* CUSTOM: the frame that it was given, or 0 */
    uint64_t word[2];    /* contents at the beginning and at the end, of what is the page's own */
    uint64_t seen_pa;    /* before the step at hand: where it led, or ASPACE_PA_NONE, */
    uint32_t seen_right; /* ... and with which rights */
};

struct member {
    struct aspace *space; /* NULL: no such member now */
    struct aspace_config config;
    struct sim_space sim;
    bool log, hardware; /* there is a dirty log; its mode */
    bool fresh;         /* since the step at hand */
    struct aspace_watcher watcher;
    bool told[PAGES];  /* by the step at hand */
    bool knows[PAGES]; /* its CPU, that the page is dirty, by what is still in the TLB */
    struct page page[PAGES];
};

/* An object that keeps books. */
struct store {
    struct aspace_object object; /* first */
    struct aspace_frame frame[STORE_PAGES];
    uint64_t word[STORE_PAGES][2];
    int references[STORE_PAGES];
    bool written[STORE_PAGES]; /* through a shared mapping, and nobody has been told */
    bool told[STORE_PAGES];
    uint32_t granted[STORE_PAGES]; /* accesses it was asked for, since they were taken back */
    bool mean;                     /* a page may be written, or executed, once somebody asks for it */
    bool out;                      /* pages are on their way out */
};

struct pending {
    struct aspace_ticket ticket;
    unsigned member, page;
    uint32_t cookie, need;
    bool armed, leads, stale;
};

struct pin {
    struct member *member;
    uint64_t va;
    aspace_pa_t pa; /* 0: none */
};

struct family {
    struct env *env;
    uint64_t va; /* of the first page */
    unsigned pages;
    struct member member[SPACES];
    struct store store[OBJECTS];
    struct pending pending[TICKETS];
    struct pin pin[PINS];
    struct aspace_frame device;
    uint64_t device_word[1 << DEVICE_ORDER][2];
    struct {
        uint64_t pa;
        int references;
    } frame[FRAMES]; /* given to CUSTOM areas */
    bool far;        /* their pages are not at hand */
    bool scarce;     /* some allocation fails */
    uint32_t next_cookie;
    uint64_t random;
    char text[160]; /* the step at hand, for a person */
};

static inline unsigned pick(struct family *f, uint64_t n)
{
    return (unsigned)(random_next(&f->random) % n);
}

/* Half of what happens happens to four pages, on both sides of a border of tables. */
static inline unsigned pick_page(struct family *f)
{
    return pick(f, 2) ? pick(f, f->pages) : f->pages * 2 / 3 - 2 + pick(f, 4);
}

static inline uint64_t family_va(const struct family *f, unsigned page)
{
    return f->va + page * PAGE;
}

static inline bool family_owned(const struct page *p)
{
    return p->kind == ASPACE_KIND_LAZY || p->kind == ASPACE_KIND_EAGER;
}

struct range {
    unsigned first, end;
};

#define SAY(f, ...) snprintf((f)->text, sizeof((f)->text), __VA_ARGS__)

static inline unsigned number_of(const struct family *f, const struct member *m)
{
    return (unsigned)(m - f->member);
}

struct member *pick_member(struct family *f);
/* OK; or out of memory, if some allocation was to fail, and nothing has changed. */
bool family_worked(const struct family *f, int error);
/* Without the right to write it cannot be told whether a page has been written. */
bool family_always_told(const struct family *f, const struct page *p);
/* The contents go, unless a device uses them. */
void family_drop(struct page *p);
/* A fault, which answers what it should. */
void family_touch(struct family *f, struct member *m, unsigned i, uint32_t access);
/* The page is written, or may be from now on. */
void family_becomes_own(struct family *f, struct member *m, unsigned i);
void family_unpin(struct family *f, struct pin *pin);
void family_end_tickets(struct family *f, struct member *m, bool closed);

/* What follows from a write to the page. */
void family_written(struct family *f, struct member *m, unsigned i, unsigned n, uint64_t value);

/* cpus.c */
void step_cpu(struct family *f);
void compare_tlb(struct family *f, struct member *m);

/* sharing.c */
void step_store_write(struct family *f);
void step_evict(struct family *f);
void step_clean(struct family *f);
void step_truncate(struct family *f);
void step_pin(struct family *f);
void step_device(struct family *f);
void step_log(struct family *f);
void step_mark(struct family *f);
void step_ticket(struct family *f);

/* What the page reads, or ought to if it were mapped now. */
uint64_t *family_words(struct family *f, struct page *p);
/* May it be accessed so? Else what a fault answers. */
enum aspace_fault_result family_fault(const struct family *f, const struct page *p, uint32_t access);
/* Something may have set the dirty flag of the leaf that the page is in. */
void family_touched(struct family *f, struct member *m, unsigned page);
/* Tickets for these pages are over. */
void family_revoke(struct family *f, const struct member *m, unsigned first, unsigned end);

void family_begin(struct family *f, struct env *env);
void family_end(struct family *f);
void family_open(struct family *f, unsigned n);
void family_watch(struct family *f, struct member *m);
void family_close(struct family *f, unsigned n);
/* A frame for a CUSTOM page, with what its object has there. */
aspace_pa_t family_give(struct family *f, uint32_t cookie, uint64_t offset);
void family_take(struct family *f, aspace_pa_t pa);
extern const struct aspace_backend family_backend;

/* One random operation, its answer compared with what is expected, and the expectation changed. */
void family_step(struct family *f);
/* The end of all members, and nothing is left of anything. */
void family_finish(struct family *f);
/* Before a step, and after it: everything that can be seen, and that watchers were told of what went. */
void family_look(struct family *f);
void family_compare(struct family *f);

#endif
