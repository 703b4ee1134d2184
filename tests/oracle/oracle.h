/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of the oracle offer to each other: a machine that asks a real MMU, random layouts that the library
 * builds, and the judge that compares. Owns these three contracts; must not know the library's sources, nor any bit of
 * an entry.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include <aspace/fault.h>
#include <aspace/inspect.h>

#include "../conformance/naive.h"

#define PAGE UINT64_C(4096)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* An access by privileged code, and by user code. */
enum access { ACCESS_R, ACCESS_W, ACCESS_X, ACCESS_UR, ACCESS_UW, ACCESS_UX, ACCESS_COUNT };
#define ACCESS_BIT(access) (1u << (access))
#define ACCESS_SUPERVISOR (ACCESS_BIT(ACCESS_R) | ACCESS_BIT(ACCESS_W) | ACCESS_BIT(ACCESS_X))
#define ACCESS_ALL ((1u << ACCESS_COUNT) - 1)

/* What became of an access. */
enum kind {
    KIND_UNTOLD,     /* could not be asked here */
    KIND_ALLOWED,    /* it took place, or would have */
    KIND_ABSENT,     /* refused: no leaf */
    KIND_PERMISSION, /* refused: a leaf that does not allow it */
    KIND_REFUSED,    /* refused, and the MMU does not say which of the two */
    KIND_BROKEN,     /* refused: the MMU calls an entry malformed */
    KIND_STRANGE,    /* anything else: always a disagreement */
};

#define LEVEL_UNTOLD (-1)
#define PA_UNTOLD UINT64_MAX
#define ATTR_UNTOLD UINT32_MAX

struct reply {
    enum kind kind;
    int level;       /* of the entry that ended the walk, 0 is the smallest leaf; or LEVEL_UNTOLD */
    uint64_t pa;     /* output address, or PA_UNTOLD */
    uint32_t attr;   /* enum aspace_attr; ASPACE_ATTR_COUNT for one without a name; or ATTR_UNTOLD */
    uint64_t raw[3]; /* what the MMU's registers held, for a person */
};

/* A format, and what this machine can do with it. */
struct subject {
    enum aspace_format format;
    uint32_t features;    /* ASPACE_FEAT_* that may be used, any subset of them */
    uint32_t always;      /* those that must be */
    unsigned output_bits; /* physical addresses that the machine knows */
    uint64_t top;         /* addresses from here on are not used; 0: all are */
    uint64_t own;         /* bytes at the end of each space that the machine maps itself */
    uint32_t accesses;    /* ACCESS_BITs that can be asked */
};

/* What may be said from outside, in this order at OPTIONS_AT of each machine; zero means the default. */
struct options {
    uint64_t layouts;   /* a format; 200 */
    uint64_t addresses; /* a layout; 520 */
    uint64_t seed;      /* 1 */
    uint64_t full;      /* not 0: an emulator without the faults that the default machine is known for */
    uint64_t special;   /* what a machine makes of it */
    uint64_t alone;     /* not 0: the walker is not asked, the MMU has to find what is wrong */
};

/* ---- machine: one a folder ---- */

extern const struct options machine_options;
void machine_put(char c);
_Noreturn void machine_off(void);

/* Finds out what this machine can do, and gets ready. Returns the number of subjects. */
unsigned machine_start(void);
const struct subject *machine_subject(unsigned n);

/* Maps what the machine needs at the end of a new space. */
struct layout;
bool machine_prepare(const struct layout *layout);

/* The space is what the MMU walks from now on. */
void machine_load(const struct layout *layout);
void machine_unload(void);
void machine_flush(const struct aspace_flush *flush);

/* Does a leaf of these rights allow the access? */
bool machine_allows(const struct aspace_config *config, uint32_t rights, enum access access);

/* A physical address for a linear leaf of 2^lg2 bytes, aligned to it. */
uint64_t machine_target(const struct subject *subject, unsigned lg2);

/* Memory, or something like it: another address in the leaf of `bytes` that begins at `leaf`, where an access can be
 * tried; or `pa` itself. */
uint64_t machine_steer(uint64_t pa, uint64_t leaf, uint64_t bytes);

/* Asks for an access of 8 bytes at va, which should lead where the walker says: nothing else is to be harmed. */
void machine_ask(uint64_t va, enum access access, const struct naive_result *expected, struct reply *reply);

/* Does an access set the flags that naive_used tells of, when the configuration says so? */
enum flags { FLAGS_MAYBE, FLAGS_SET };
enum flags machine_sets_flags(enum access access);

/* ---- print.c ---- */
void print_text(const char *text);
void print_number(uint64_t value);
void print_hex(uint64_t value);
/* A line: "%s" a text, "%u" a number, "%x" a hexadecimal number; all arguments are as wide as a register. */
void print(const char *format, ...);

/* ---- random.c ---- */
void random_seed(uint64_t seed);
uint64_t random_next(void);
uint64_t random_below(uint64_t n); /* n not 0 */
bool random_one_in(uint64_t n);

/* ---- layout.c ---- */
enum { LAYOUT_SPANS_MAX = 160 };

struct layout {
    const struct subject *subject;
    struct aspace_config config;
    struct aspace *space;
    struct aspace_range spans[LAYOUT_SPANS_MAX]; /* what operations were about */
    unsigned count;
    unsigned levels;
    unsigned leaf_levels; /* levels that a leaf can have */
};

/* Creates a space in memory of this size and fills it at random; changes it at random; destroys it. */
bool layout_make(struct layout *layout, const struct subject *subject, struct aspace_host *host, void *memory);
void layout_change(struct layout *layout);
bool layout_end(struct layout *layout);

/* An address worth asking about, 8 bytes aligned; may lie outside the space and outside the format. */
uint64_t layout_address(const struct layout *layout);

uint64_t span_of(unsigned level); /* bytes of a leaf of this level */

/* ---- judge.c ---- */
struct tally {
    uint64_t addresses, questions, allowed, refused, disagreements;
    uint64_t leaves[ASPACE_LEVELS_MAX], runs;     /* addresses found in a leaf of each level, and in a run */
    uint64_t pas, levels, attrs, flags;           /* answers that told an address, a level, an attribute, set flags */
    uint64_t attr[ASPACE_ATTR_COUNT], rights[16]; /* addresses found in a leaf of each, as its bits read back */
    uint64_t holes, edges, top, beyond;           /* in no leaf; in a leaf's first or last page; see judge_address */
};

void judge_address(const struct layout *layout, uint64_t va, struct tally *tally);

#endif
