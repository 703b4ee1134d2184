/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The model: an array with one element a page that says what is mapped there, and what every page contains. Owns the
 * expected state; must not know page tables.
 */
#ifndef TESTS_MODEL_H
#define TESTS_MODEL_H

#include "../harness.h"

enum { MODEL_PAGES_MAX = 1100, DEVICE_ORDER = 11, WORDS = 2 };

/* What the library calls a kind, plus nothing at all. */
enum { NOTHING = 255 };

struct page {
    uint8_t kind; /* enum aspace_kind or NOTHING */
    uint8_t rights, max_rights;
    uint8_t attr, fork;
    bool filled;          /* a frame is there (EAGER, LAZY) */
    uint32_t cookie;      /* number of the map call: one a call */
    uint32_t device_page; /* LINEAR, ROM: which page of the device memory */
    uint32_t offset;      /* which page of the map call */
    uint64_t pa;          /* of the frame, if filled */
    uint64_t word[WORDS]; /* contents at the beginning and at the end; the rest is zero. EAGER, LAZY */
};

struct model {
    struct env *env;
    uint64_t va; /* of the first page */
    unsigned pages;
    unsigned huge_pages; /* pages in a large leaf */
    struct page page[MODEL_PAGES_MAX];
    struct aspace_frame device;
    uint64_t device_word[1 << DEVICE_ORDER][WORDS];
    uint32_t next_cookie;
    uint64_t random; /* of the step at hand: a step depends on the seed and its number alone */
    unsigned fills;  /* pages that the step filled, for the count */
    char text[200];  /* the step at hand, for a person */
};

static inline uint64_t model_va(const struct model *m, unsigned page)
{
    return m->va + page * PAGE;
}

static inline bool model_owned(const struct page *p)
{
    return p->kind == ASPACE_KIND_LAZY || p->kind == ASPACE_KIND_EAGER;
}

static inline bool model_linear(const struct page *p)
{
    return p->kind == ASPACE_KIND_LINEAR || p->kind == ASPACE_KIND_ROM;
}

uint64_t *model_words(struct model *m, unsigned page);
/* Take over what the library filled: the page, and its neighbours in the same leaf. */
void model_filled(struct model *m, unsigned page);
/* One random operation, its answer compared with what the model expects, and the model changed. */
void model_step(struct model *m);
/* Everything that can be seen, page by page. */
void model_compare(struct model *m, unsigned first, unsigned end);
void model_compare_areas(struct model *m);

#endif
