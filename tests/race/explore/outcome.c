/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What can be seen of a space when all is done, and what it may be: that of some order of the operations, one after the
 * other. The orders are run with the real code, and each is compared with the flat model. Owns the comparison.
 */
#include "explore.h"

#include <stdio.h>
#include <string.h>

#include "conformance/naive.h"

enum {
    OUTCOMES_MAX = 2048,
    ORDERS_MAX = 2500,  /* run; with more the case is judged slot by slot */
    FIRST_FAULT = 0x80, /* in an order: the fault that an access takes, before the access */
    ORDER_MAX = 2 * FIBERS_MAX * PROGRAM_MAX,
};

static struct outcome seen[OUTCOMES_MAX];
static unsigned seen_count, orders;
static struct outcome start;
static bool loose, composite; /* of the case */

/* Pages that are looked at: those that differ from their neighbours in some layout or under some operation. */
static const uint8_t samples[] = {0,  1,  2,  3,  4,  5,  6,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17,
                                  18, 19, 20, 21, 22, 26, 29, 30, 31, 32, 33, 34, 36, 37, 40, 47};

static const void *entry_at(uint64_t pa)
{
    return aspace_phys_to_virt(pa);
}

/* A leaf whose page has to be copied before it is written lacks the right. */
static bool leaf_permits(uint32_t leaf, uint32_t area)
{
    return leaf == area || (machine.layout->forks && leaf == (area & ~(uint32_t)ASPACE_W));
}

static void view_page(unsigned space, unsigned page, struct page_view *v)
{
    struct naive_result r;
    int rc;
    uint64_t va = page * PAGE;
    struct aspace *s = machine.spaces[space];
    struct aspace_area area = machine_query(space, va, &rc);
    v->rc = rc;
    if (rc)
        return;
    v->kind = (uint8_t)area.kind;
    v->rights = (uint8_t)area.rights;
    v->max_rights = (uint8_t)area.max_rights;
    v->cookie = area.cookie;
    if (!area.rights && area.max_rights && aspace_protect(s, va, PAGE, area.max_rights))
        explore_fail("page %u: the rights that were taken cannot be given back", page);
    naive_walk(machine.config.format, &machine.config, aspace_root(s), va, entry_at, &r);
    if (r.malformed || r.open_run)
        explore_fail("page %u: a malformed entry", page);
    if (!r.present)
        return;
    uint32_t withheld = !strncmp(machine.layout->name, "logged", 6) ? ASPACE_W : 0;
    if (area.rights && !leaf_permits(r.rights, area.rights) && !leaf_permits(r.rights, area.rights & ~withheld))
        explore_fail("page %u: the leaf permits %u, the area %u", page, r.rights, area.rights);
    if (machine_owns(r.pa)) {
        v->filled = 1;
        memcpy(v->word, aspace_phys_to_virt(r.pa), sizeof v->word);
    } else {
        v->place = r.pa;
    }
}

/* What the layout looks like, all of it, for the flat model to begin with. */
void outcome_start(void)
{
    machine_restore();
    aspace_cpu_online(machine.host);
    memset(&start, 0, sizeof start);
    for (unsigned s = 0; s < machine_spaces(); s++)
        for (unsigned page = 0; page < PAGES; page++)
            view_page(s, page, &start.page[s][page]);
}

void outcome_take(struct outcome *o)
{
    memset(o->page, 0, sizeof o->page);
    for (unsigned s = 0; s < machine_spaces(); s++)
        for (unsigned i = 0; i < sizeof samples; i++)
            view_page(s, samples[i], &o->page[s][samples[i]]);
}

/* -------------------------------------------------------------------------------------------------------- comparing */

static bool same_page(const struct page_view *a, const struct page_view *b, bool with_filled)
{
    struct page_view x = *a, y = *b;
    if (!with_filled)
        x.filled = y.filled = 0;
    return !memcmp(&x, &y, sizeof x);
}

/* A fault in a large page that is shared takes it apart, and then copies: another operation may come in between. */
static bool takes_apart(const struct operation *op)
{
    return op->kind == OP_FAULT && op->rights & ASPACE_W && machine.layout->forks && machine.layout->huge;
}

static bool same_result(const struct operation *op, const struct result *a, const struct result *b)
{
    if (takes_apart(op) && a->rc <= ASPACE_FAULT_SPURIOUS && b->rc <= ASPACE_FAULT_SPURIOUS)
        return true; /* the other may be what makes the page writable */
    if (op->kind == OP_SWEEP || op->kind == OP_NEXT)
        return true;
    if (op->kind == OP_POPULATE) /* page by page: how far it came before a hole need not be as in any order */
        return a->rc == b->rc;
    return a->rc == b->rc && a->value == b->value;
}

static bool same_results(const struct test_case *c, const struct outcome *a, const struct outcome *b)
{
    for (unsigned f = 0; f < c->fibers; f++)
        for (unsigned i = 0; i < c->program[f].count; i++)
            if (!same_result(c->program[f].op[i], &a->result[f][i], &b->result[f][i]))
                return false;
    return true;
}

/* Of all spaces: page n of space s is s * PAGES + n. */
static int first_difference(const struct outcome *a, const struct outcome *b)
{
    for (unsigned s = 0; s < machine_spaces(); s++)
        for (unsigned i = 0; i < sizeof samples; i++)
            if (!same_page(&a->page[s][samples[i]], &b->page[s][samples[i]], !composite && !loose))
                return (int)(s * PAGES) + samples[i];
    return -1;
}

/* ------------------------------------------------------------------------------------------------ sequential orders */

/* One step of an order by the running CPU. An access that has to fill its page first does that in a step of its own:
 * others may see it filled and take it away again before the access is made. */
static void run_step(const struct operation *op, unsigned f, bool first_fault, struct result *result)
{
    if (first_fault && takes_apart(op)) {
        (void)!aspace_split(machine.spaces[op->space], op->page * PAGE);
        return;
    }
    if (first_fault) {
        (void)!aspace_fault(machine.spaces[op->space], op->page * PAGE, op->rights, NULL);
        return;
    }
    machine_begin(op);
    operation_run(op, f, result);
    machine_end(op, result);
    flat_apply(op, f, result);
}

/* Runs operations as the order says: order[k] is the fiber whose next step is k-th. */
static void run_order(const struct test_case *c, const uint8_t *order, unsigned length, struct outcome *o)
{
    unsigned next[FIBERS_MAX] = {0};
    machine_restore();
    memset(o, 0, sizeof *o);
    flat_begin(&start);
    for (unsigned k = 0; k < length; k++) {
        bool first_fault = order[k] & FIRST_FAULT;
        unsigned f = order[k] & (FIRST_FAULT - 1u), i = next[f];
        next[f] += !first_fault;
        machine_become(f);
        aspace_cpu_online(machine.host); /* alone: a fork waits for all that are */
        run_step(c->program[f].op[i], f, first_fault, &o->result[f][i]);
        aspace_cpu_offline(machine.host);
    }
    machine_check_rest();
    outcome_take(o);
    flat_compare(o);
    machine_check_empty();
}

static void keep_outcome(const struct test_case *c, const struct outcome *o)
{
    for (unsigned i = 0; i < seen_count; i++)
        if (same_results(c, o, &seen[i]) && first_difference(o, &seen[i]) < 0)
            return;
    if (seen_count == OUTCOMES_MAX)
        explore_fail("more sequential outcomes than there is room for");
    seen[seen_count++] = *o;
}

/* May the next operation of fiber f begin with a fault in a step of its own, here? Right before the access it would
 * make no difference, and with two operations there is nobody to take away what another has seen. */
static bool may_split(const struct test_case *c, unsigned f, unsigned next, const uint8_t *order, unsigned length)
{
    unsigned all = 0;
    for (unsigned g = 0; g < c->fibers; g++)
        all += c->program[g].count;
    bool done = false; /* it has, since its last operation */
    for (unsigned k = length; k && !done && order[k - 1] != f; k--)
        done = order[k - 1] == (f | FIRST_FAULT);
    const struct operation *op = c->program[f].op[next];
    return all > 2 && !done && ((operation_is_composite(op) && !operation_is_loose(op)) || takes_apart(op));
}

static void all_orders(const struct test_case *c, uint8_t *order, unsigned length, const unsigned *used)
{
    bool any = false;
    if (orders > ORDERS_MAX)
        return;
    for (unsigned f = 0; f < c->fibers; f++) {
        if (used[f] == c->program[f].count)
            continue;
        any = true;
        if (may_split(c, f, used[f], order, length)) {
            order[length] = (uint8_t)(f | FIRST_FAULT);
            all_orders(c, order, length + 1, used);
        }
        if (length && order[length - 1] == (f | FIRST_FAULT))
            continue;
        unsigned more[FIBERS_MAX];
        memcpy(more, used, sizeof more);
        more[f]++;
        order[length] = (uint8_t)f;
        all_orders(c, order, length + 1, more);
    }
    if (!any && ++orders <= ORDERS_MAX) {
        struct outcome o;
        run_order(c, order, length, &o);
        keep_outcome(c, &o);
    }
}

/* Migrate and protect find out without a lock that nothing is there: then they are lookups. */
static bool may_only_look(const struct operation *op)
{
    return operation_is_lock_free(op) || op->kind == OP_MIGRATE || op->kind == OP_PROTECT;
}

/* Range operations are atomic towards each other, towards faults and lookups slot by slot: a fiber that makes two of
 * these beside a range operation can see it half done. */
static bool sees_halves(const struct test_case *c)
{
    bool range = false, two = false;
    for (unsigned f = 0; f < c->fibers; f++) {
        unsigned lock_free = 0;
        for (unsigned i = 0; i < c->program[f].count; i++) {
            lock_free += may_only_look(c->program[f].op[i]);
            const struct operation *op = c->program[f].op[i];
            range |= operation_takes(op) && (op->pages > 1 || op->kind == OP_MOVE) && op->kind != OP_FORK; /* one cut */
        }
        two |= lock_free > 1;
    }
    return range && two;
}

void outcomes_sequential(const struct test_case *c)
{
    uint8_t order[ORDER_MAX];
    unsigned used[FIBERS_MAX] = {0};
    seen_count = orders = 0;
    composite = c->layout->huge;
    loose = sees_halves(c);
    for (unsigned f = 0; f < c->fibers; f++)
        for (unsigned i = 0; i < c->program[f].count; i++) {
            loose |= operation_is_loose(c->program[f].op[i]);
            composite |= operation_is_composite(c->program[f].op[i]);
        }
    all_orders(c, order, 0, used);
    loose |= orders > ORDERS_MAX;
}

/* ------------------------------------------------------------------------------------------------------ the verdict */

/* A change in flight for longer than a caller is made to wait is a right answer of these, if a rare one. */
static bool may_retry(const struct operation *op, const struct result *r)
{
    if (op->kind == OP_FAULT)
        return r->rc == ASPACE_FAULT_RETRY;
    return operation_is_lock_free(op) && op->kind != OP_TOUCH && r->rc == ASPACE_E_RETRY;
}

static bool any_retry(const struct test_case *c, const struct outcome *o)
{
    for (unsigned f = 0; f < c->fibers; f++)
        for (unsigned i = 0; i < c->program[f].count; i++)
            if (may_retry(c->program[f].op[i], &o->result[f][i]))
                return true;
    return false;
}

/* Slot by slot: every page as some order leaves it, every answer as some order gives it. */
static bool pages_are_loosely_sequential(const struct outcome *o, unsigned space, char *why, size_t why_bytes)
{
    for (unsigned s = 0; s < sizeof samples; s++) {
        bool found = false;
        for (unsigned i = 0; i < seen_count && !found; i++)
            found = same_page(&o->page[space][samples[s]], &seen[i].page[space][samples[s]], false);
        if (!found) {
            snprintf(why, why_bytes, "page %u of space %u is as no order of the operations leaves it", samples[s],
                     space);
            return false;
        }
    }
    return true;
}

static bool is_loosely_sequential(const struct test_case *c, const struct outcome *o, char *why, size_t why_bytes)
{
    for (unsigned s = 0; s < machine_spaces(); s++)
        if (!pages_are_loosely_sequential(o, s, why, why_bytes))
            return false;
    for (unsigned f = 0; f < c->fibers; f++)
        for (unsigned k = 0; k < c->program[f].count; k++) {
            const struct result *r = &o->result[f][k];
            bool found = may_retry(c->program[f].op[k], r);
            for (unsigned i = 0; i < seen_count && !found; i++)
                found = same_result(c->program[f].op[k], r, &seen[i].result[f][k]);
            if (!found) {
                snprintf(why, why_bytes, "%s answers %d, 0x%llx, as in no order of the operations",
                         c->program[f].op[k]->name, r->rc, (unsigned long long)r->value);
                return false;
            }
        }
    return true;
}

static void describe_page(const struct page_view *v, char *out, size_t bytes)
{
    if (v->rc) {
        snprintf(out, bytes, "not mapped");
        return;
    }
    snprintf(out, bytes, "kind %u, rights %u, cookie %llu, filled %u, place 0x%llx, words %llu %llu %llu %llu", v->kind,
             v->rights, (unsigned long long)v->cookie, v->filled, (unsigned long long)v->place,
             (unsigned long long)v->word[0], (unsigned long long)v->word[1], (unsigned long long)v->word[2],
             (unsigned long long)v->word[3]);
}

static void explain(const struct test_case *c, const struct outcome *o, char *why, size_t why_bytes)
{
    char have[160], want[160];
    size_t n = (size_t)snprintf(why, why_bytes, "no order of the operations gives this: answers");
    for (unsigned f = 0; f < c->fibers; f++)
        for (unsigned i = 0; i < c->program[f].count && n < why_bytes; i++)
            n += (size_t)snprintf(why + n, why_bytes - n, " %d,0x%llx", o->result[f][i].rc,
                                  (unsigned long long)o->result[f][i].value);
    for (unsigned i = 0; i < seen_count; i++) {
        if (!same_results(c, o, &seen[i]) || n >= why_bytes)
            continue;
        int page = first_difference(o, &seen[i]);
        describe_page(&o->page[page / (int)PAGES][page % (int)PAGES], have, sizeof have);
        describe_page(&seen[i].page[page / (int)PAGES][page % (int)PAGES], want, sizeof want);
        snprintf(why + n, why_bytes - n, "; page %d: %s; in an order with these answers: %s", page, have, want);
        return;
    }
}

bool outcome_is_sequential(const struct test_case *c, const struct outcome *o, char *why, size_t why_bytes)
{
    if (loose || any_retry(c, o))
        return is_loosely_sequential(c, o, why, why_bytes);
    for (unsigned i = 0; i < seen_count; i++)
        if (same_results(c, o, &seen[i]) && first_difference(o, &seen[i]) < 0)
            return true;
    explain(c, o, why, why_bytes);
    return false;
}
