/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vCPU loops: an exit for a page that has to be read leaves the vCPU halted, and the loop goes on with what else there
 * is. An interrupt for it comes first: the fault is cancelled, the handler runs, and the instruction faults again. In
 * the middle of it the hypervisor throws pages out, so that what is on its way to them comes too late.
 */
#include "disk.h"

enum { VCPUS = 3, DISK_TIME = 4, INTERRUPT_EVERY = 7, DISCARD_EVERY = 29 };

struct vcpu {
    unsigned page; /* of the access that the guest is at; DISK_PAGES: it has finished */
    unsigned left; /* time until the disk is done; 0: it is not reading */
    unsigned interrupts;
    bool halted;
    struct aspace_ticket ticket;
};

static void wake(void *ctx, void *waiter)
{
    (void)ctx;
    ((struct vcpu *)waiter)->halted = false; /* and kick it, where it runs elsewhere */
}

/* An exit with a stage 2 fault. */
static void handle_fault(struct vcpu *v)
{
    switch (aspace_fault_try(disk.space, disk_va(v->page), ASPACE_R, 0, &v->ticket, NULL)) {
    case ASPACE_FAULT_NEEDS_IO:
        v->halted = true;
        v->left = DISK_TIME;
        break;
    case ASPACE_FAULT_WAITING: v->halted = true; break;
    case ASPACE_FAULT_RETRY:
    case ASPACE_FAULT_DONE:
    case ASPACE_FAULT_SPURIOUS: break; /* enter the guest again */
    default: check(ASPACE_E_FAULT, "fault");
    }
}

static void run_guest(struct vcpu *v)
{
    struct aspace_translation t;

    if (aspace_translate(disk.space, disk_va(v->page), &t) != ASPACE_OK) {
        handle_fault(v);
    } else {
        v->page++;
    }
}

/* The transfer may go on: its end finds the ticket idle, or leading for another page, and does not use it. Here it is
 * called off with the fault. */
static void interrupt(struct vcpu *v)
{
    v->interrupts++;
    (void)!aspace_fault_cancel(&v->ticket); /* STALE: it has just been woken, or waited for nothing */
    v->left = 0;
    v->halted = false;
}

static void disk_interrupt(struct vcpu *v)
{
    v->halted = false;
    disk_complete(&v->ticket, disk_read(v->page * PAGE));
}

static bool run_all(struct vcpu *vcpus, unsigned now)
{
    bool left = false;

    for (unsigned n = 0; n < VCPUS; n++) {
        struct vcpu *v = &vcpus[n];
        if (v->left && --v->left == 0) {
            disk_interrupt(v);
        } else if (v->halted && (now + n) % INTERRUPT_EVERY == 0) {
            interrupt(v);
        } else if (!v->halted && v->page < DISK_PAGES) {
            run_guest(v);
        }
        left |= v->page < DISK_PAGES;
    }
    return left;
}

int main(void)
{
    struct vcpu vcpus[VCPUS] = {{0}};
    unsigned now = 0, interrupts = 0, discards = 0;

    disk_open(1, wake);
    for (unsigned n = 0; n < VCPUS; n++) {
        vcpus[n].ticket.waiter = &vcpus[n];
    }
    while (run_all(vcpus, ++now)) {
        check(now < 10000 ? ASPACE_OK : ASPACE_E_RETRY, "a vCPU is halted for ever");
        if (now % DISCARD_EVERY == 0 && vcpus[0].page < DISK_PAGES) {
            check(aspace_discard(disk.space, disk_va(vcpus[0].page), PAGE), "discard");
            discards++;
        }
    }
    for (unsigned n = 0; n < VCPUS; n++) {
        interrupts += vcpus[n].interrupts;
    }
    disk_close();
    printf("vcpus: %d pages for %d vCPUs, %u faults cancelled, %u pages thrown out\n", DISK_PAGES, VCPUS, interrupts,
           discards);
    return interrupts && discards ? 0 : 1;
}
