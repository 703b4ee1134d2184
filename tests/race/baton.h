/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two operations in every order with two switches: the first is interrupted at each access to shared memory, the second
 * then runs to some of its own, or to its end, the first goes on, and the rest follows. Who has to wait for the other
 * lets him go on. Two threads hand a baton to each other, so a failure is found again. Owns the turns; must not know
 * what the operations do. For programs with the seams of seam_hook.h.
 */
#ifndef TESTS_RACE_BATON_H
#define TESTS_RACE_BATON_H

#include <stdbool.h>

struct baton_pair {
    const char *name;
    void (*prepare)(void); /* before each schedule, as CPU 0 */
    void (*run[2])(void);  /* as CPU 0, and as CPU 1 */
    void (*finish)(void);  /* when both are done, as CPU 0 */
};

void baton_open(void);
void baton_close(void);

/* The schedules of the pair. For each place of the first, those of the second that are `every` apart, others each time;
 * if `places` is not 0, so far apart that about so many are looked at. Returns how many schedules there were. */
unsigned baton_run(const struct baton_pair *pair, unsigned every, unsigned places);

/* The schedule that is running: its pair, and where each was interrupted. */
struct baton_place {
    const struct baton_pair *pair;
    unsigned at[2];
};
struct baton_place baton_where(void);

/* Nobody is interrupted any more: before a failure is reported. */
void baton_stop(void);

#endif
