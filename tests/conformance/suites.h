/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of the conformance suite, a file each. */
#ifndef TESTS_SUITES_H
#define TESTS_SUITES_H

#include "../harness.h"

extern const struct suite create_suite;  /* spaces: creation, registers, quota, close, destroy */
extern const struct suite mapping_suite; /* map, unmap, replace, batch; rights and attributes read back */
extern const struct suite change_suite;  /* protect, discard, populate, fault */
extern const struct suite huge_suite;    /* large leaves and runs: split, collapse, migrate */
extern const struct suite move_suite;    /* move: all that is mapped, to another place */
extern const struct suite watch_suite;   /* watchers */
extern const struct suite layout_suite;  /* all replaced at once; break and stack */
extern const struct suite lookup_suite;  /* translate, limit, query, next, find */
extern const struct suite access_suite;  /* reading and writing by input address, traps, doorbells, backends, frames */
extern const struct suite dirty_suite;   /* which pages were written */
extern const struct suite writeback_suite; /* the log and a backend that wants the same flag */
extern const struct suite pin_suite;       /* pages that devices use */
extern const struct suite object_suite;    /* objects: shared, private, truncated, evicted, written back */
extern const struct suite backing_suite;   /* the port's objects: files, memory that is elsewhere */
extern const struct suite tag_suite;       /* VMIDs and ASIDs by generation */
extern const struct suite fork_suite;      /* forks, and pages shared until they are written */
extern const struct suite scenario_suite;  /* the cases from defects seen elsewhere, numbered */
extern const struct suite lifetime_suite;  /* more of them: who takes away what others are still at */
extern const struct suite ticket_suite;    /* faults that wait for I/O */
extern const struct suite hal_suite;       /* what an embedder's HAL may be */
extern const struct suite sort_suite;      /* pins and the dirty log over pages of every sort */
extern const struct suite flight_suite;    /* more of them: while an invalidation is in flight, a fork between steps */

#endif
