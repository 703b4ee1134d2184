/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A space as an array of pages. Told the operations one after the other, it says what each may answer and what every
 * page has to look like in the end. Knows no tables, so whether a page that was never written is filled is not its
 * business; an unfilled page reads as zero.
 */
#include "explore.h"

#include <string.h>

struct flat_page {
    bool mapped;
    struct page_view view; /* filled and rc are not used */
};

static struct flat_page all[SPACES][PAGES];
static struct flat_page *flat; /* of the operation's space */

/* Begins with what the layout looks like: looked at before the first operation, so that layouts are written once. */
void flat_begin(const struct outcome *start)
{
    for (unsigned s = 0; s < SPACES; s++)
        for (unsigned p = 0; p < PAGES; p++) {
            all[s][p].mapped = s < machine_spaces() && start->page[s][p].rc == 0;
            all[s][p].view = start->page[s][p];
        }
}

static bool owned(const struct flat_page *p)
{
    return p->view.kind == ASPACE_KIND_LAZY || p->view.kind == ASPACE_KIND_EAGER;
}

static void must(bool right, const struct operation *op, const struct result *got, const char *expected)
{
    if (!right)
        explore_fail("one after the other: %s answers %d, 0x%llx; the flat model: %s", op->name, got->rc,
                     (unsigned long long)got->value, expected);
}

/* What a fault at a page answers; DONE stands for SPURIOUS too. */
static enum aspace_fault_result fault_answer(const struct flat_page *p, uint32_t access)
{
    if (!p->mapped)
        return ASPACE_FAULT_NO_AREA;
    if (p->view.kind == ASPACE_KIND_TRAP)
        return ASPACE_FAULT_TRAP;
    return access & ~(uint32_t)p->view.rights ? ASPACE_FAULT_PERMISSION : ASPACE_FAULT_DONE;
}

static int access_answer(const struct flat_page *p, uint32_t access)
{
    switch (fault_answer(p, access)) {
    case ASPACE_FAULT_NO_AREA: return ASPACE_E_NOT_MAPPED;
    case ASPACE_FAULT_TRAP: return ASPACE_E_FAULT;
    case ASPACE_FAULT_PERMISSION: return ASPACE_E_PERMISSION;
    default: return ASPACE_OK;
    }
}

static uint64_t mix(const uint64_t *words)
{
    uint64_t hash = 0;
    for (unsigned i = 0; i < WORDS; i++)
        hash = hash * 1000 + (words[i] & 0xff);
    return hash;
}

static void apply_fault(const struct operation *op, const struct result *got)
{
    int expected = (int)fault_answer(&flat[op->page], op->rights);
    if (got->rc == ASPACE_FAULT_SPURIOUS && expected == ASPACE_FAULT_DONE)
        expected = ASPACE_FAULT_SPURIOUS;
    must(got->rc == expected, op, got, "another answer");
}

static void apply_touch(const struct operation *op, unsigned fiber, const struct result *got)
{
    struct flat_page *p = &flat[op->page];
    enum aspace_fault_result r = fault_answer(p, op->rights);
    if (r != ASPACE_FAULT_DONE) {
        must(got->rc == (int)r, op, got, "the access is refused otherwise");
        return;
    }
    must(got->rc == -1 && got->value == (owned(p) ? mix(p->view.word) : 0), op, got, "memory is reached, and is other");
    if (op->rights & ASPACE_W && owned(p))
        p->view.word[fiber] = fiber + 1;
}

static void apply_map(const struct operation *op, unsigned fiber, const struct result *got)
{
    bool exists = false;
    for (unsigned p = op->page; p < op->page + op->pages; p++)
        exists |= flat[p].mapped;
    if (op->kind == OP_MAP && exists) {
        must(got->rc == ASPACE_E_EXISTS, op, got, "something is there");
        return;
    }
    must(got->rc == ASPACE_OK, op, got, "nothing is in the way");
    for (unsigned p = op->page; p < op->page + op->pages; p++) {
        flat[p].mapped = true;
        flat[p].view = (struct page_view){
            .kind = (uint8_t)op->what,
            .rights = (uint8_t)op->rights,
            .max_rights = op->what == ASPACE_KIND_TRAP ? 0 : ASPACE_RWX,
            .cookie = (fiber + 1) * 256 + (uint64_t)(op - operations),
            .place = op->what == ASPACE_KIND_LINEAR ? machine.device + (fiber * 64 + p) * PAGE : 0,
        };
    }
}

static void apply_protect(const struct operation *op, const struct result *got)
{
    int expected = ASPACE_OK;
    for (unsigned p = op->page; p < op->page + op->pages; p++) {
        if (!flat[p].mapped)
            expected = ASPACE_E_NOT_MAPPED;
        else if (op->rights & ~(uint32_t)flat[p].view.max_rights)
            expected = ASPACE_E_PERMISSION;
        if (expected)
            break;
    }
    /* With a hole and a refusal in one table, which of the two is told is not promised. */
    must(got->rc == expected || (got->rc && expected), op, got, "another answer");
    for (unsigned p = op->page; !expected && p < op->page + op->pages; p++)
        flat[p].view.rights = (uint8_t)op->rights;
}

static void apply_range(const struct operation *op, const struct result *got)
{
    must(got->rc == ASPACE_OK, op, got, "it cannot fail");
    for (unsigned p = op->page; p < op->page + op->pages; p++) {
        if (op->kind == OP_UNMAP)
            memset(&flat[p], 0, sizeof *flat);
        else if (owned(&flat[p]))
            memset(flat[p].view.word, 0, sizeof flat[p].view.word);
    }
}

static void apply_move(const struct operation *op, const struct result *got)
{
    struct flat_page moved[PAGES];
    bool exists = false;
    for (unsigned p = op->what; p < op->what + op->pages; p++)
        exists |= flat[p].mapped;
    if (exists) {
        must(got->rc == ASPACE_E_EXISTS, op, got, "something is there");
        return;
    }
    must(got->rc == ASPACE_OK, op, got, "nothing is in the way");
    memcpy(moved, &flat[op->page], op->pages * sizeof moved[0]);
    memset(&flat[op->page], 0, op->pages * sizeof moved[0]);
    memcpy(&flat[op->what], moved, op->pages * sizeof moved[0]);
}

static void apply_lookup(const struct operation *op, const struct result *got)
{
    const struct flat_page *p = &flat[op->page];
    const struct page_view *v = &p->view;
    if (op->kind == OP_QUERY) {
        uint64_t told = v->cookie << 16 | (uint64_t)v->kind << 8 | v->rights;
        must(p->mapped ? got->rc == ASPACE_OK && got->value == told : got->rc == ASPACE_E_NOT_MAPPED, op, got,
             "another area, or none");
    } else if (got->rc == ASPACE_OK) {
        must(p->mapped && v->rights && v->kind != ASPACE_KIND_TRAP &&
                 got->value == (v->place | (v->rights & ~translate_hides())),
             op, got, "another translation, or none");
    } else {
        bool linear = p->mapped && v->kind == ASPACE_KIND_LINEAR && v->rights;
        must(got->rc == ASPACE_E_NOT_MAPPED && !linear, op, got, "there is a translation");
    }
}

static void apply_populate(const struct operation *op, const struct result *got)
{
    bool hole = false;
    for (unsigned p = op->page; p < op->page + op->pages; p++)
        hole |= !flat[p].mapped;
    must(got->rc == (hole ? ASPACE_E_NOT_MAPPED : ASPACE_OK), op, got, "another answer");
}

static void apply_memory(const struct operation *op, unsigned fiber, const struct result *got)
{
    struct flat_page *p = &flat[op->page];
    uint64_t *last = &p->view.word[WORDS - 1];
    must(got->rc == access_answer(p, op->rights), op, got, "another answer");
    if (got->rc || !owned(p))
        return;
    if (op->kind == OP_READ) {
        must(got->value == mix(p->view.word), op, got, "other contents");
    } else if (op->kind == OP_WRITE) {
        p->view.word[fiber] = fiber + 1;
    } else {
        must(got->value == (*last << 1 | (*last == 7)), op, got, "other contents");
        *last = *last == 7 ? fiber + 17 : *last;
    }
}

static void apply_fork(const struct operation *op, const struct result *got)
{
    must(got->rc == ASPACE_OK, op, got, "it cannot fail");
    memcpy(all[op->space + FORKED], flat, sizeof all[0]);
}

void flat_apply(const struct operation *op, unsigned fiber, const struct result *got)
{
    flat = all[op->space];
    switch (op->kind) {
    case OP_FAULT: apply_fault(op, got); break;
    case OP_TOUCH: apply_touch(op, fiber, got); break;
    case OP_MAP:
    case OP_REPLACE: apply_map(op, fiber, got); break;
    case OP_PROTECT: apply_protect(op, got); break;
    case OP_UNMAP:
    case OP_DISCARD: apply_range(op, got); break;
    case OP_MOVE: apply_move(op, got); break;
    case OP_TRANSLATE:
    case OP_QUERY: apply_lookup(op, got); break;
    case OP_POPULATE: apply_populate(op, got); break;
    case OP_READ:
    case OP_WRITE:
    case OP_EXCHANGE: apply_memory(op, fiber, got); break;
    case OP_FORK: apply_fork(op, got); break;
    default: break; /* change no page, and what they answer depends on tables */
    }
}

void flat_compare(const struct outcome *o)
{
    for (unsigned i = 0; i < machine_spaces() * PAGES; i++) {
        const struct flat_page *p = &all[i / PAGES][i % PAGES];
        struct page_view want = p->view, have = o->page[i / PAGES][i % PAGES];
        if (!have.rc && !have.kind && !have.cookie)
            continue; /* not looked at */
        want.filled = have.filled = 0;
        want.rc = p->mapped ? 0 : ASPACE_E_NOT_MAPPED;
        if (memcmp(&want, &have, sizeof want))
            explore_fail("one after the other: page %u of space %u is not as the flat model has it",
                         (unsigned)(i % PAGES), (unsigned)(i / PAGES));
    }
}
