/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stackless tasks on one thread: a fault is a state of a task. Nothing of the library has to be remembered while it is
 * pending but the ticket, which is part of the task. The disk fails now and then, so that another task has to lead.
 */
#include "disk.h"

enum { TASKS = 6, DISK_TIME = 3 };

enum state { RUNNING, READING, WAITING, FINISHED };

struct task {
    enum state state;
    unsigned page, step; /* pages it touches: step, 2 * step, ... modulo the disk's */
    unsigned done, left; /* pages touched; rounds until the disk is done */
    struct aspace_ticket ticket;
};

static unsigned transfers, failures;

/* The waiter's task is looked at in the next round. */
static void wake(void *ctx, void *waiter)
{
    struct task *t = waiter;

    (void)ctx;
    if (t->state == WAITING) {
        t->state = RUNNING;
    }
}

static void start_reading(struct task *t)
{
    t->state = READING;
    t->left = DISK_TIME;
}

/* The same answers whether it is a new fault or one that was woken: a ticket that leads by now answers NEEDS_IO. */
static void access_page(struct task *t)
{
    switch (aspace_fault_try(disk.space, disk_va(t->page), ASPACE_R, 0, &t->ticket, NULL)) {
    case ASPACE_FAULT_NEEDS_IO: start_reading(t); break;
    case ASPACE_FAULT_WAITING: t->state = WAITING; break;
    case ASPACE_FAULT_RETRY: break;
    case ASPACE_FAULT_DONE:
    case ASPACE_FAULT_SPURIOUS:
        t->page = (t->page + t->step) % DISK_PAGES;
        t->state = ++t->done == DISK_PAGES ? FINISHED : RUNNING;
        break;
    default: check(ASPACE_E_FAULT, "access");
    }
}

static void poll_disk(struct task *t)
{
    if (--t->left) {
        return;
    }
    t->state = RUNNING; /* to run the access again, whatever comes of it */
    if (++transfers % 5 == 0) {
        failures++;
        check(aspace_fault_fail(&t->ticket, ASPACE_E_FAULT), "fail");
    } else {
        disk_complete(&t->ticket, disk_read(t->page * PAGE));
    }
}

static bool run_round(struct task *tasks)
{
    bool left = false;

    for (unsigned n = 0; n < TASKS; n++) {
        if (tasks[n].state == RUNNING) {
            access_page(&tasks[n]);
        } else if (tasks[n].state == READING) {
            poll_disk(&tasks[n]);
        }
        left |= tasks[n].state != FINISHED;
    }
    return left;
}

int main(void)
{
    struct task tasks[TASKS] = {{0}};
    unsigned rounds = 0;

    disk_open(1, wake);
    for (unsigned n = 0; n < TASKS; n++) {
        tasks[n].step = n & 1 ? 1 : DISK_PAGES - 1; /* up or down: they meet */
        tasks[n].ticket.waiter = &tasks[n];
    }
    while (run_round(tasks)) {
        check(++rounds < 10000 ? ASPACE_OK : ASPACE_E_RETRY, "a task waits for ever");
    }
    disk_close();
    printf("tasks: %d pages for %d tasks, %u transfers, %u of them failed\n", DISK_PAGES, TASKS, transfers, failures);
    return failures && transfers == DISK_PAGES + failures ? 0 : 1;
}
