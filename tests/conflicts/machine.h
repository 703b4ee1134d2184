/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine under the operations: a host of 64 CPUs, two spaces and room for two more, frames from one free list a
 * CPU, and the names of everything that lies in memory. One thread takes the part of each CPU in turn. Must not know
 * the operations.
 */
#ifndef CONFLICTS_MACHINE_H
#define CONFLICTS_MACHINE_H

#include <aspace/dirty.h>
#include <aspace/object.h>
#include <aspace/ticket.h>
#include <aspace/watch.h>

#include "trace.h"

/* Neighbours, so that what two CPUs have side by side is seen if it shares a line. */
enum {
    CPUS = 64,
    CPU_OTHER = 0,
    CPU_ONE = 20,
    CPU_TWO = 21,
    SPACES = 6,
    CREATED = 2,
    FORKED_FROM = 4,
    NAME_BYTES = 40
};
enum { RING_ENTRIES = 16 };

struct machine_config {
    enum aspace_format format;
    enum aspace_smr smr;
    bool quota; /* the spaces count tables and frames against a limit that is not reached */
    bool idle;  /* a third CPU was active in each space, and is not now */
};

struct machine {
    struct aspace_host *host;
    struct aspace *space[SPACES]; /* the first CREATED of them are there after a reset, copies at FORKED_FROM */
    bool reuse;                   /* freed frames are handed out again */
    bool huge;                    /* there are frames of more than a page */
    unsigned spins;               /* rounds that something was waited for */
    bool patient;                 /* ... in which all other CPUs pass quiescent states */
    void (*meanwhile)(void);      /* called once, where the pool asks for a chunk: what another CPU does then */
};
extern struct machine machine;

/* What the embedder has the library's structures in, apart from hosts and spaces, each from a line of its own on. */
struct outside {
    struct aspace_anon anon __attribute__((aligned(TRACE_LINE)));
    struct {
        struct aspace_ticket ticket __attribute__((aligned(TRACE_LINE)));
    } ticket[2];
    struct aspace_watcher watcher __attribute__((aligned(TRACE_LINE)));
    struct aspace_dirty_ring rings[CREATED][CPUS];
    uint64_t ring_pages[CREATED][CPUS][RING_ENTRIES] __attribute__((aligned(TRACE_LINE)));
};
extern struct outside outside;

void machine_init(void);

/* A host and two spaces in which CPU_ONE and CPU_TWO are active, with magazines half full and nothing deferred. */
void machine_reset(const struct machine_config *config);

/* The space of this number is forked by the CPU that is on; the copy is the one FORKED_FROM places on. */
void machine_fork(unsigned space);

/* From now on the calls are those of this CPU. */
void machine_be(unsigned cpu);

/* All CPUs pass a quiescent state, and this one frees what it deferred. */
void machine_settle(void);

/* Learn which frames are tables and records: names are as of the last survey, of what was one at any survey. */
void machine_survey(void);

/* What lies in the line at `line`: a structure and the first of its members in the line, or "slots.L2", "node.L0". */
void machine_name(uintptr_t line, char name[NAME_BYTES]);

/* The members in [addr, end). */
void machine_members(uintptr_t addr, uintptr_t end, char *text, size_t bytes);

/* Whose line is it, if it is of one CPU: its number; else CPUS. */
unsigned machine_owner(uintptr_t line);

/* A copy of all memory, and the address of a byte that has changed since without being in the trace; 0 if none. */
void machine_snapshot(void);
uintptr_t machine_unseen(const struct trace *t);

#endif
