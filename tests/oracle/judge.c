/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the comparison: for one address, what the library says, what the walker written from the manuals says, and what
 * the MMU does, must be the same in everything that each of them tells. Must not know how the MMU is asked, nor any bit
 * of an entry.
 */
#include "oracle.h"

/* The three answers about one address. */
struct opinions {
    const struct layout *layout;
    uint64_t va;
    int error; /* of aspace_translate */
    struct aspace_translation library;
    struct naive_result naive;
    struct aspace_registers registers;
};

static const void *phys(uint64_t pa)
{
    return aspace_phys_to_virt(pa);
}

/* The library's opinion in the place of the walker's. */
static void repeat_library(struct opinions *o)
{
    o->naive = (struct naive_result){.fault_level = (int)o->layout->levels};
    if (o->error == ASPACE_OK) {
        o->naive.present = true;
        o->naive.pa = o->library.pa;
        o->naive.leaf_bytes = o->library.leaf_bytes;
        o->naive.rights = o->library.rights;
        o->naive.attr = o->library.attr;
    }
}

static void ask_software(struct opinions *o)
{
    const struct layout *l = o->layout;

    o->error = aspace_translate(l->space, o->va, &o->library);
    if (machine_options.alone) {
        repeat_library(o);
        return;
    }
    naive_walk(l->config.format, &l->config, aspace_root(l->space), o->va, phys, &o->naive);
}

static const char *const kind_name[] = {"untold",  "allowed",           "no leaf",       "no permission",
                                        "refused", "a malformed entry", "something else"};
static const char *const access_name[] = {"read", "write", "fetch", "user read", "user write", "user fetch"};

static void print_walk(const struct opinions *o)
{
    for (unsigned i = 0; i < o->naive.tables; i++) {
        bool last = i + 1 == o->naive.tables;
        print(last ? "  table %x, entry %x" : "  table %x", o->naive.table_pa[i],
              last ? *(const uint64_t *)phys(o->naive.entry_pa) : 0);
    }
}

static void print_software(const struct opinions *o)
{
    if (o->error) {
        print("  library: %s", aspace_error_name(o->error));
    } else {
        print("  library: pa %x, leaf %x, rights %x, attribute %u", o->library.pa, o->library.leaf_bytes,
              (uint64_t)o->library.rights, (uint64_t)o->library.attr);
    }
    if (o->naive.present) {
        print("  walker:  pa %x, leaf %x, rights %x, attribute %u%s", o->naive.pa, o->naive.leaf_bytes,
              (uint64_t)o->naive.rights, (uint64_t)o->naive.attr, o->naive.malformed ? ", malformed" : "");
    } else {
        print("  walker:  no leaf, level %u%s", (uint64_t)(unsigned)o->naive.fault_level,
              o->naive.malformed ? ", malformed" : "");
    }
}

enum { PRINTED_MAX = 10 };

/* The first few in full. */
static void disagree(const struct opinions *o, const char *what, struct tally *tally)
{
    const struct aspace_config *c = &o->layout->config;

    if (tally->disagreements++ >= PRINTED_MAX) {
        return;
    }
    print("disagreement: %s: %s at %x (features %x, output bits %u)", aspace_format_name(c->format), what, o->va,
          (uint64_t)c->features, (uint64_t)c->output_bits);
    print("  registers: base %x, control %x, memory types %x", o->registers.base, o->registers.control,
          o->registers.memory_types);
    print_walk(o);
    print_software(o);
}

static void disagree_reply(const struct opinions *o, const char *what, enum access access, const struct reply *r,
                           struct tally *tally)
{
    disagree(o, what, tally);
    if (tally->disagreements <= PRINTED_MAX) {
        print("  machine: %s: %s, pa %x, level %x, attribute %x, raw %x %x %x", access_name[access], kind_name[r->kind],
              r->pa, (uint64_t)(int64_t)r->level, (uint64_t)r->attr, r->raw[0], r->raw[1], r->raw[2]);
    }
}

/* The library beside the walker. */
static bool software_agrees(const struct opinions *o, struct tally *tally)
{
    const struct naive_result *n = &o->naive;

    if (n->malformed) {
        disagree(o, "malformed entry", tally);
    } else if ((o->error == ASPACE_OK) != n->present) {
        disagree(o, "present or not", tally);
    } else if (o->error != ASPACE_OK && o->error != ASPACE_E_NOT_MAPPED && o->error != ASPACE_E_RANGE) {
        disagree(o, "error", tally);
    } else if (n->present && (o->library.pa != n->pa || o->library.rights != n->rights || o->library.attr != n->attr ||
                              o->library.leaf_bytes != n->leaf_bytes)) {
        disagree(o, "library and walker", tally);
    } else {
        return true;
    }
    return false;
}

static int leaf_level(uint64_t bytes)
{
    int level = 0;

    while (level < 5 && span_of((unsigned)level + 1) <= bytes) {
        level++;
    }
    return level;
}

/* The level to be told for a refused access. Beyond the width of the format no table is to blame. */
static bool level_agrees(const struct opinions *o, const struct reply *r)
{
    int level = o->naive.present ? leaf_level(o->naive.leaf_bytes) : o->naive.fault_level;

    return r->level == LEVEL_UNTOLD || level == (int)o->layout->levels || r->level == level;
}

static bool kind_agrees(const struct opinions *o, bool allowed, enum kind kind)
{
    switch (kind) {
    case KIND_UNTOLD: return true;
    case KIND_ALLOWED: return allowed;
    case KIND_REFUSED: return !allowed;
    case KIND_ABSENT: return !o->naive.present;
    case KIND_PERMISSION: return o->naive.present && !allowed;
    default: return false;
    }
}

static void judge_reply(const struct opinions *o, enum access access, const struct reply *r, struct tally *tally)
{
    bool allowed = o->naive.present && machine_allows(&o->layout->config, o->naive.rights, access);

    tally->questions += r->kind != KIND_UNTOLD;
    tally->allowed += r->kind == KIND_ALLOWED;
    tally->refused += r->kind > KIND_ALLOWED;
    tally->pas += r->pa != PA_UNTOLD;
    tally->attrs += r->attr != ATTR_UNTOLD;
    tally->levels += r->level != LEVEL_UNTOLD;
    if (!kind_agrees(o, allowed, r->kind)) {
        disagree_reply(o, "allowed or not", access, r, tally);
    } else if (r->kind == KIND_ALLOWED && r->pa != PA_UNTOLD && r->pa != o->naive.pa) {
        disagree_reply(o, "output address", access, r, tally);
    } else if (r->kind == KIND_ALLOWED && r->attr != ATTR_UNTOLD && r->attr != o->naive.attr) {
        disagree_reply(o, "attribute", access, r, tally);
    } else if (r->kind > KIND_ALLOWED && !level_agrees(o, r)) {
        disagree_reply(o, "level", access, r, tally);
    }
}

/* An entry of another format's making must be the same after the access, but for what hardware is said to set. */
static void judge_flags(const struct opinions *o, uint64_t before, enum access access, const struct reply *r,
                        struct tally *tally)
{
    uint64_t after = *(const uint64_t *)phys(o->naive.entry_pa), should = before;
    bool write = access == ACCESS_W || access == ACCESS_UW;

    if (r->kind == KIND_ALLOWED) {
        should = naive_used(&o->layout->config, before, write);
        should = machine_sets_flags(access) == FLAGS_MAYBE && after == before ? before : should;
        tally->flags += should != before;
    }
    if (r->kind != KIND_UNTOLD && after != should) {
        disagree_reply(o, "accessed and dirty flags", access, r, tally);
    }
}

static void judge_access(const struct opinions *o, enum access access, struct tally *tally)
{
    struct reply r = {.kind = KIND_UNTOLD, .level = LEVEL_UNTOLD, .pa = PA_UNTOLD, .attr = ATTR_UNTOLD};
    uint64_t before = o->naive.tables ? *(const uint64_t *)phys(o->naive.entry_pa) : 0;

    machine_ask(o->va, access, &o->naive, &r);
    judge_reply(o, access, &r, tally);
    if (o->naive.tables) {
        judge_flags(o, before, access, &r, tally);
    }
}

/* Where the address lies: the last 2 MiB that the format has, or behind them; a hole; a page at an edge of a leaf. */
static void count_place(const struct opinions *o, struct tally *tally)
{
    const struct layout *l = o->layout;
    uint64_t end = naive_input_end(l->config.format);

    end = l->subject->top && l->subject->top < end ? l->subject->top : end;
    tally->beyond += o->va >= end;
    tally->top += o->va < end && end - o->va <= 2 * MIB + l->subject->own;
    if (!o->naive.present) {
        tally->holes++;
        return;
    }
    uint64_t bytes = o->naive.leaf_bytes, offset = o->va % bytes;
    tally->edges += offset < PAGE || bytes - offset <= PAGE;
    tally->attr[o->naive.attr % ASPACE_ATTR_COUNT]++;
    tally->rights[o->naive.rights % 16]++;
}

void judge_address(const struct layout *l, uint64_t va, struct tally *tally)
{
    struct opinions o = {.layout = l, .va = va};

    ask_software(&o);
    if (o.naive.present) {
        uint64_t offset = va % o.naive.leaf_bytes, leaf = o.naive.pa - offset;
        o.va = va - offset + (machine_steer(o.naive.pa, leaf, o.naive.leaf_bytes) - leaf);
        ask_software(&o);
        tally->leaves[leaf_level(o.naive.leaf_bytes)]++;
        tally->runs += o.naive.leaf_bytes == 16 * PAGE;
    }
    tally->addresses++;
    count_place(&o, tally);
    aspace_registers(l->space, &o.registers);
    if (!software_agrees(&o, tally)) {
        return;
    }
    for (unsigned access = 0; access < ACCESS_COUNT; access++) {
        if (l->subject->accesses & ACCESS_BIT(access)) {
            judge_access(&o, (enum access)access, tally);
        }
    }
}
