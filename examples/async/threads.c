/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads: who leads reads the disk and sleeps on that, who waits sleeps until he is woken. */
#define _DEFAULT_SOURCE

#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include "disk.h"

enum { THREADS = 4 };

struct thread {
    pthread_t id;
    unsigned cpu, reads, waits;
    sem_t woken;
};

static void wake(void *ctx, void *waiter)
{
    (void)ctx;
    sem_post(&((struct thread *)waiter)->woken);
}

/* After WAITING: as the library says, once woken, the ticket leads or is idle. */
static void wait_for_page(struct thread *t, struct aspace_ticket *ticket)
{
    t->waits++;
    while (aspace_ticket_state(ticket) == ASPACE_TICKET_WAITING) {
        sem_wait(&t->woken);
    }
}

static void touch(struct thread *t, uint64_t va)
{
    struct aspace_ticket ticket = {.waiter = t};
    struct aspace_fault_info info;

    for (;;) {
        switch (aspace_fault_try(disk.space, va, ASPACE_R, 0, &ticket, &info)) {
        case ASPACE_FAULT_NEEDS_IO:
            usleep(200); /* no lock and no section is held: others map, unmap and fault meanwhile */
            t->reads++;
            disk_complete(&ticket, disk_read(va - DISK_VA));
            break;
        case ASPACE_FAULT_WAITING: wait_for_page(t, &ticket); break;
        case ASPACE_FAULT_RETRY: break;
        case ASPACE_FAULT_DONE:
        case ASPACE_FAULT_SPURIOUS: return;
        default: check(ASPACE_E_FAULT, "touch");
        }
    }
}

static void *run(void *arg)
{
    struct thread *t = arg;

    aspace_linux_set_cpu(t->cpu);
    for (unsigned n = 0; n < DISK_PAGES; n++) {
        touch(t, disk_va(n));
    }
    return NULL;
}

int main(void)
{
    struct thread threads[THREADS] = {{0}};
    unsigned reads = 0;

    disk_open(THREADS, wake);
    for (unsigned n = 0; n < THREADS; n++) {
        threads[n].cpu = n;
        sem_init(&threads[n].woken, 0, 0);
        check(pthread_create(&threads[n].id, NULL, run, &threads[n]) ? ASPACE_E_NO_MEMORY : ASPACE_OK, "thread");
    }
    for (unsigned n = 0; n < THREADS; n++) {
        pthread_join(threads[n].id, NULL);
        reads += threads[n].reads;
    }
    disk_close();
    printf("threads: %d pages for %d threads, %u reads\n", DISK_PAGES, THREADS, reads);
    return reads == DISK_PAGES ? 0 : 1; /* each page once */
}
