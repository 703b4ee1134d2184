/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a load may read where memory is weaker than a sequence of accesses: views, as in the operational forms of C11
 * without speculated stores. A contested word has a short history of its stores, each with the view that it releases; a
 * fiber has a view, which says of each word the oldest store that it may still read. Memory itself has the newest
 * value, for what does not go through the seams. Owns histories and views; which of the stores a load reads is the
 * choice of schedule.c.
 *
 * Not played: stores that take effect before earlier loads, or before stores of others to the same word; words that
 * only plain accesses touch. What a plain access changes is seen by everyone at once.
 */
#include "explore.h"

#include <string.h>

enum {
    HISTORY = 16, /* stores of a word that can still be read */
};

#define GARBAGE UINT64_C(0x005a5a5a5a5a5003) /* an entry that points to a table that is none */

/* Of each word the number of a store. */
struct view {
    uint16_t at[WEAK_WORDS];
};

struct message {
    uint64_t value;
    struct view view;
};

struct history {
    const volatile void *p;
    unsigned bytes, count; /* stores since the schedule began, and what was there before; 0: not touched yet */
    unsigned floor;        /* older ones are read by nobody */
    struct message message[HISTORY];
};

struct thread {
    struct view now, acquired,
        released; /* what the fiber knows; what a fence would add; what the last fence released */
};

bool explore_weak;

static struct history history[WEAK_WORDS];
static struct thread thread[FIBERS_MAX];
static struct view fenced; /* by all sequentially consistent fences */
static struct view walked; /* by the hardware of any CPU, into its TLB */
static unsigned words;     /* that have a history */

static void join(struct view *to, const struct view *from)
{
    for (unsigned i = 0; i < words; i++)
        if (to->at[i] < from->at[i])
            to->at[i] = from->at[i];
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? b : a;
}

void weak_begin_case(void)
{
    for (unsigned i = 0; i < words; i++)
        history[i].count = 0;
    words = 0;
}

void weak_begin_schedule(void)
{
    for (unsigned i = 0; i < words; i++)
        history[i].count = 0;
    memset(thread, 0, sizeof thread);
    memset(&fenced, 0, sizeof fenced);
    memset(&walked, 0, sizeof walked);
}

static struct message *message_of(struct history *h, unsigned n)
{
    return &h->message[n % HISTORY];
}

static struct message *append(struct history *h, uint64_t value)
{
    struct message *m = message_of(h, h->count);
    memset(&m->view, 0, sizeof m->view);
    m->value = value;
    h->count++;
    return m;
}

/* The word's history, with what memory has now as its newest: if that is not what the seams stored, someone else did,
 * and everyone sees it. What had been released before stays so, as by an update. */
static struct history *history_of(const volatile void *p, unsigned bytes, uint64_t value)
{
    int index = explore_contested_index(NULL, &words);
    if (index < 0)
        return NULL;
    struct history *h = &history[index];
    if (!h->count || h->p != p || h->bytes != bytes) {
        h->p = p;
        h->bytes = bytes;
        h->floor = h->count;
        append(h, value);
    } else if (message_of(h, h->count - 1)->value != value) {
        struct view before = message_of(h, h->count - 1)->view;
        h->floor = h->count;
        append(h, value)->view = before;
    }
    return h;
}

static void see(struct history *h, unsigned n, unsigned order)
{
    struct thread *t = &thread[explore_fiber()];
    const struct message *m = message_of(h, n);
    unsigned index = (unsigned)(h - history);
    if (t->now.at[index] < n)
        t->now.at[index] = (uint16_t)n;
    join(&t->acquired, &m->view);
    if (order & EXPLORE_ACQUIRE)
        join(&t->now, &m->view);
}

/* Stores that the fiber may read, the newest first. With one stale read left, one that has the newest value would make
 * no difference. */
static unsigned candidates(struct history *h, bool different, unsigned out[HISTORY])
{
    const struct thread *t = &thread[explore_fiber()];
    unsigned newest = h->count - 1, n = 0;
    unsigned oldest = least(h->floor, t->now.at[h - history]);
    out[n++] = newest;
    for (unsigned k = newest; k > oldest && newest - (k - 1) < HISTORY; k--)
        if (!different || message_of(h, k - 1)->value != message_of(h, newest)->value)
            out[n++] = k - 1;
    return n;
}

uint64_t explore_weak_load(const struct access *a, uint64_t value)
{
    struct history *h = explore_fiber() < 0 ? NULL : history_of(a->p, a->bytes, value);
    unsigned which[HISTORY];
    if (!h)
        return value;
    unsigned n = candidates(h, explore_stale_left() < 2, which);
    unsigned chosen = which[n > 1 ? explore_choose_store(n) : 0];
    see(h, chosen, mistake_order(a));
    return message_of(h, chosen)->value;
}

/* A compare that fails is a load; one that could have succeeded fails as well if it reads an old value. */
bool explore_weak_compare(const struct access *a, uint64_t value, uint64_t *expected)
{
    uint64_t seen = value;
    if (explore_fiber() >= 0)
        seen = explore_weak_load(a, value);
    if (seen == *expected && value == *expected)
        return true;
    *expected = seen == *expected ? value : seen;
    return false;
}

void explore_weak_store(const struct access *a, uint64_t before, uint64_t value, bool update)
{
    struct history *h = explore_fiber() < 0 ? NULL : history_of(a->p, a->bytes, before);
    if (!h)
        return;
    struct thread *t = &thread[explore_fiber()];
    unsigned order = mistake_order(a), index = (unsigned)(h - history);
    struct view continued = message_of(h, h->count - 1)->view;
    if (update)
        see(h, h->count - 1, order);
    t->now.at[index] = (uint16_t)h->count;
    struct message *m = append(h, value);
    m->view = order & EXPLORE_RELEASE ? t->now : t->released;
    if (update)
        join(&m->view, &continued);
    m->view.at[index] = t->now.at[index];
}

/* The running fiber has stored the word by plain accesses, in memory that nobody else uses yet. */
void explore_weak_fresh(const volatile void *p, unsigned bytes)
{
    int index = explore_fiber() < 0 ? -1 : explore_contested_index(p, &words);
    uint64_t value = 0;
    if (index < 0)
        return;
    struct history *h = &history[index];
    memcpy(&value, (const void *)(uintptr_t)p, bytes);
    h->p = p;
    h->bytes = bytes;
    h->floor = h->count;
    append(h, GARBAGE);
    thread[explore_fiber()].now.at[index] = (uint16_t)h->count;
    append(h, value)->view.at[index] = thread[explore_fiber()].now.at[index];
}

/* Contents of frames are plain memory: no values are kept, only who must see that they are there. */
void weak_made(const volatile void *p)
{
    int index = explore_fiber() < 0 ? -1 : explore_contested_index(p, &words);
    if (index < 0)
        return;
    struct history *h = &history[index];
    h->p = p;
    h->bytes = 0;
    if (!h->count)
        append(h, 0);
    thread[explore_fiber()].now.at[index] = (uint16_t)h->count;
    append(h, 0);
}

void weak_used(const volatile void *p)
{
    int index = explore_fiber() < 0 ? -1 : explore_contested_index(p, &words);
    if (index >= 0 && !explore_is_new() && history[index].count &&
        thread[explore_fiber()].now.at[index] < history[index].count - 1)
        explore_fail("a frame is used by a CPU that need not see what it was filled with");
}

void explore_fence(unsigned order, const char *where)
{
    static const char fences; /* stands for all of them in the eyes of the search */
    const struct access a = {&fences, 0, order, "fence", where};
    if (!explore_weak || explore_fiber() < 0)
        return;
    if (order == EXPLORE_SEQ_CST)
        explore_before(&fences, EXPLORE_WRITE | EXPLORE_TRY, "fence", where);
    struct thread *t = &thread[explore_fiber()];
    order = mistake_order(&a);
    if (order & EXPLORE_ACQUIRE)
        join(&t->now, &t->acquired);
    if (order == EXPLORE_SEQ_CST) {
        join(&t->now, &fenced);
        fenced = t->now;
    }
    if (order & EXPLORE_RELEASE)
        t->released = t->now;
}

/* Hardware has read the word for the running fiber: what it reads by itself from now on is no older. */
void weak_looked(void)
{
    int index = explore_contested_index(NULL, &words);
    if (index >= 0 && history[index].count)
        thread[explore_fiber()].now.at[index] = (uint16_t)(history[index].count - 1);
}

/*
 * An operation that takes translations away answers for all that were made before it began. C11 knows no "before"
 * across CPUs but by synchronisation; the machine does: a store that one CPU's walk has used is seen by what any other
 * begins to read after that.
 */
void weak_walked(const volatile void *p)
{
    int index = explore_contested_index(p, &words);
    if (index >= 0 && history[index].count)
        walked.at[index] = (uint16_t)(history[index].count - 1);
}

void weak_began(void)
{
    join(&thread[explore_fiber()].now, &walked);
}
