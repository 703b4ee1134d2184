/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The explorer: operations of the real library on simulated CPUs, each a fiber, in every order of their shared accesses
 * that the search asks for. This header is what its files share.
 *
 *   schedule.c    fibers, the choice at each access, and the search over choices
 *   machine.c     the memory, CPUs and TLBs: put back before each schedule, judged during it and after it
 *   operations.c  what a fiber can do, and the layouts that it is done to
 *   outcome.c     what can be seen afterwards, and what sequential orders give
 *   flat.c        a model of a space that knows no tables: says whether the sequential orders are right
 *   weak.c        which stores a load may read where memory is weak
 *   weak_mistakes.c  orders left out that only weak memory shows
 *   mistakes.c    mistakes that the explorer must find
 *   cases.c       the cases with a name
 *   explore.c     the program
 */
#ifndef EXPLORE_H
#define EXPLORE_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <aspace/inspect.h>
#include <aspace/memory.h>

#include "explore_seam.h"
#include "linux_hal.h"

#define PAGE UINT64_C(4096)

enum {
    FIBERS_MAX = 3,
    WATCHER = FIBERS_MAX, /* a CPU that no fiber plays: it only fills its TLB, whenever another fiber gets its turn */
    CPUS = FIBERS_MAX + 1,
    PROGRAM_MAX = 3,  /* operations of a fiber */
    PAGES = 48,       /* of the space: three slots of its root */
    WEAK_WORDS = 256, /* contested words that have a history */
    WORDS = 4,        /* of a page that have meaning; word n is fiber n's, the last is there from the start */
    SPACES = 4, /* the one that CPUs run in; with forks: its copy, and what a fork makes of the one, of the other */
    FORKED = 2, /* from a space to its copy */
};

/* ------------------------------------------------------------------------------------------------------- operations */

enum op_kind {
    OP_FAULT,
    OP_TOUCH, /* an access of the CPU through its TLB, with the faults that it takes */
    OP_MAP,
    OP_REPLACE,
    OP_UNMAP,
    OP_PROTECT,
    OP_DISCARD,
    OP_MOVE,
    OP_MIGRATE,
    OP_COLLAPSE,
    OP_SPLIT,
    OP_SWEEP,
    OP_TRANSLATE,
    OP_QUERY,
    OP_NEXT,
    OP_POPULATE,
    OP_HARVEST,  /* of dirty flags */
    OP_ACCESSED, /* of accessed flags */
    OP_READ,
    OP_WRITE,
    OP_EXCHANGE,
    OP_FORK, /* `what`: the budget of a step, 0: in one go */
};

struct operation {
    const char *name;
    enum op_kind kind;
    unsigned page, pages;
    unsigned what;   /* MAP, REPLACE: enum aspace_kind; MOVE: to which page; TOUCH: whether the CPU leaves before */
    uint32_t rights; /* MAP, REPLACE, PROTECT; of a FAULT or TOUCH: the access */
    unsigned space;  /* others than the first have no CPU in them, so no TOUCH */
};

extern const struct operation operations[];
extern const size_t operation_all, operation_count; /* the latter: that pairs and random cases are made of */
extern const size_t operation_forks;                /* the first of those that need a layout with forks */
const struct operation *operation_find(const char *name, size_t length);

struct layout {
    const char *name;
    void (*build)(void);
    unsigned largest; /* max_leaf_level of what the layout and the operations map */
    uint32_t features;
    enum aspace_smr smr;
    bool huge;  /* how much a fault fills depends on the tables that it meets, so that is not compared */
    bool forks; /* with all spaces, of which the second shares pages with the first */
};

extern const struct layout layouts[];
extern const size_t layout_all, layout_count; /* the latter: that pairs and random cases are made of */

/* What a fiber does, and what it answered. */
struct program {
    unsigned count;
    const struct operation *op[PROGRAM_MAX];
};

struct result {
    int rc;
    uint64_t value;
};

/* Performed by the CPU that runs. `fiber` tells apart what two fibers map and write. */
void operation_run(const struct operation *op, unsigned fiber, struct result *result);

bool operation_is_loose(const struct operation *op);     /* several steps, each for itself */
bool operation_is_composite(const struct operation *op); /* may fault before it does what it is for */
bool operation_takes(const struct operation *op);        /* takes translations away */
bool operation_is_lock_free(const struct operation *op);
uint32_t translate_hides(void); /* rights */
bool operation_fits(const struct operation *op, const struct layout *layout);

/* ---------------------------------------------------------------------------------------------------------- machine */

struct machine {
    struct aspace_linux port;
    struct aspace_hal hal;
    struct aspace_config config;
    struct sim_space sim_space;
    struct aspace_host *host;
    struct aspace *space;
    struct aspace *spaces[SPACES]; /* the first is `space` */
    const struct layout *layout;
    uint64_t device; /* physical address that linear areas map, of page 0 of the space */
    uint64_t fills;  /* stamp of the latest TLB fill */
    uint64_t stamp[CPUS][64];
    struct {
        const struct operation *op; /* being performed, or NULL */
        uint64_t begin;             /* fills, when it began */
        bool flush_left_out;        /* a mistake: to be made up for when the operation returns */
        struct aspace_flush flush;
        uint64_t active;
    } cpu[CPUS];
};

extern struct machine machine;

void machine_build(const struct layout *layout); /* the layout, and a copy of everything */
void machine_restore(void);

/* The dirty log's promise: each page is told by a harvest that returns after its last write began. */
void dirty_forget(void);                          /* a schedule begins */
void dirty_written(uint64_t page);                /* a write begins, or is made at once */
void dirty_gone(const struct operation *op);      /* what it takes away need not be told */
int dirty_harvest(unsigned page, unsigned pages); /* and note what is told */
void dirty_check(void);                           /* all is done: a last harvest has told everything */
void machine_late_flush(void);                    /* of the running CPU, if a mistake has left one out */
void machine_drop(void);
void machine_spoilt(void);
void machine_become(unsigned cpu);
bool machine_access(uint64_t va, uint32_t access, uint64_t *pa);      /* of the running CPU, through its TLB */
void machine_begin(const struct operation *op);                       /* of the running CPU */
void machine_end(const struct operation *op, const struct result *r); /* judges what TLBs hold on return */
void machine_switched(void);                                          /* the watcher's turn, and the invariants */
void machine_check_rest(void);                                        /* when all is done: TLBs against memory, audit */
void machine_check_empty(void);                                       /* destroys everything: the ledger */
bool machine_owns(uint64_t pa);                                       /* a frame of the arena */
struct aspace_area machine_query(unsigned space, uint64_t va, int *rc);
unsigned machine_spaces(void);

/* --------------------------------------------------------------------------------------------------------- outcomes */

struct page_view {
    int32_t rc;
    uint8_t kind, rights, max_rights, filled;
    uint64_t cookie, place; /* place: of LINEAR, where */
    uint64_t word[WORDS];
};

struct outcome {
    struct result result[FIBERS_MAX][PROGRAM_MAX];
    struct page_view page[SPACES][PAGES];
};

/* A test: programs on a layout. */
struct test_case {
    const char *name;
    const struct layout *layout;
    unsigned fibers;
    struct program program[FIBERS_MAX];
};

void outcome_start(void);                            /* after a layout was built */
void outcome_take(struct outcome *o);                /* results are the caller's business */
void outcomes_sequential(const struct test_case *c); /* runs every order; explore_fail if the flat model disagrees */
bool outcome_is_sequential(const struct test_case *c, const struct outcome *o, char *why, size_t why_bytes);

void flat_begin(const struct outcome *start);
void flat_apply(const struct operation *op, unsigned fiber, const struct result *got);
void flat_compare(const struct outcome *o);

/* -------------------------------------------------------------------------------------------------------- schedules */

/* A violation: ends the schedule. */
void explore_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

struct search {
    unsigned bound;  /* most preemptions */
    uint64_t most;   /* schedules; 0: no limit */
    uint64_t random; /* not 0: this many schedules with random priorities instead */
    uint64_t seed;
    const char *replay; /* not NULL: this schedule */
    unsigned stale;     /* most loads that read another store than the newest */
};

struct found {
    uint64_t schedules;
    bool complete; /* every schedule within the bound was run */
    bool failed;
    char why[400];
    char schedule[600]; /* to be replayed */
};

void explore_case(const struct test_case *c, const struct search *search, struct found *found);

/* Runs fn with explore_fail caught; false if it failed, and the reason is in `why`. */
bool explore_guarded(void (*fn)(void *), void *arg, char *why, size_t why_bytes);
extern bool explore_verbose; /* print each access */
bool explore_in_fiber(void);
void explore_note(const volatile void *p, unsigned how);
void explore_hide(bool hidden);
void explore_nobody_waits(void); /* pauses outside of a schedule are counted from here */
uint64_t explore_random(uint64_t *state);

/* ------------------------------------------------------------------------------------------------------ weak memory */

void weak_begin_case(void);
void weak_begin_schedule(void);
void weak_looked(void);
void weak_walked(const volatile void *p); /* an entry that a TLB was filled from */
void weak_began(void);                    /* by the running fiber: an operation that takes translations */
void weak_made(const volatile void *p);   /* contents of a frame, by the running fiber */
void weak_used(const volatile void *p);   /* explore_fail if it need not see them */

/* What it asks of the schedule: the fiber whose access this is, -1 if nobody's; the number, below WEAK_WORDS, of a word
 * (NULL: that of the latest access), -1 if it is not contested; how many more stale reads there may be; and which store
 * to read, 0 being the newest. */
int explore_fiber(void);
int explore_contested_index(const volatile void *p, unsigned *count);
unsigned explore_stale_left(void);
bool explore_is_new(void); /* a word turned out to be contested: what was released by it before is not known */
unsigned explore_choose_store(unsigned stores);

/* --------------------------------------------------------------------------------------------------------- mistakes */

struct mistake {
    const char *name, *what;
    const char *const *cases; /* names of cases, each of which must find it */
};

extern const struct mistake mistakes[];
extern const size_t mistake_count;
extern const struct mistake *explore_mistake; /* planted, or NULL */
void mistake_plant(const char *name);         /* NULL: none */
bool mistake_is(const char *name);

/* Accesses whose order is left out: those in a function (NULL: in any) whose text contains this. Found only with stale
 * reads. */
struct weak_mistake {
    struct mistake mistake;
    unsigned preemptions, stale; /* that it takes */
    struct {
        const char *text, *where;
    } access[4];
};

extern const struct weak_mistake weak_mistakes[];
extern const size_t weak_mistake_count;
unsigned mistake_order(const struct access *a); /* the order, unless the planted mistake leaves it out */

struct named_case {
    const char *name, *text, *what;
};
extern const struct named_case named_cases[];
extern const size_t named_count;

/* "layout/op,op|op|op": false, and a line on standard error, if it is none. */
bool case_parse(const char *text, struct test_case *c);
void case_print(const struct test_case *c, char *out, size_t bytes);

#endif
