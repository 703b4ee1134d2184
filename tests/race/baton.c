/* SPDX-License-Identifier: BSD-2-Clause */
/* The baton: whose turn it is, and when it is handed on. */
#include "race/baton.h"
#include "race/race.h"

#include <semaphore.h>
#include <string.h>

enum { IDLE_ROUNDS = 100000 };

extern void (*race_hook)(void);
extern void (*race_waits)(void);

static struct {
    const struct baton_pair *pair; /* NULL: no more */
    unsigned at[2], points[2], spins;
    bool switched[2], finished[2];
    sem_t turn[2], over;
    pthread_t thread;
} now;

static _Thread_local unsigned me;

struct baton_place baton_where(void)
{
    return (struct baton_place){now.pair, {now.at[0], now.at[1]}};
}

void baton_stop(void)
{
    race_hook = race_waits = NULL;
}

static void take(sem_t *turn)
{
    while (sem_wait(turn)) {}
}

static void hand_on(void)
{
    sem_post(&now.turn[1 - me]);
    take(&now.turn[me]);
}

static void at_point(void)
{
    if (++now.points[me] == now.at[me] && !now.switched[me]) {
        now.switched[me] = true;
        if (!now.finished[1 - me]) {
            hand_on();
        }
    }
}

static void at_wait(void)
{
    if (++now.spins == IDLE_ROUNDS) {
        baton_stop();
        race_fail(NULL, __FILE__, __LINE__, "%s, at %u and %u: both wait", now.pair->name, now.at[0], now.at[1]);
    }
    if (!now.finished[1 - me]) {
        hand_on();
    }
}

static void play(void)
{
    now.pair->run[me]();
    now.finished[me] = true;
}

static void *second(void *arg)
{
    (void)arg;
    me = 1;
    aspace_linux_set_cpu(1);
    for (take(&now.turn[1]); now.pair; take(&now.turn[1])) {
        play();
        sem_post(now.finished[0] ? &now.over : &now.turn[0]);
    }
    return NULL;
}

static void run_one(void)
{
    for (unsigned n = 0; n < 2; n++) {
        now.points[n] = 0;
        now.switched[n] = now.finished[n] = false;
    }
    now.spins = 0;
    now.pair->prepare();
    race_hook = at_point;
    race_waits = at_wait;
    play();
    if (!now.finished[1]) {
        sem_post(&now.turn[1]);
        take(&now.over);
    }
    baton_stop();
    now.pair->finish();
}

/* Place 0 of the second: it is not interrupted. */
unsigned baton_run(const struct baton_pair *pair, unsigned every, unsigned places)
{
    unsigned n = 0, step = every;

    now.pair = pair;
    for (now.at[0] = 1;; now.at[0]++) {
        for (now.at[1] = 0;; now.at[1] += now.at[1] ? step : 1 + now.at[0] % step) {
            run_one();
            n++;
            if (!now.switched[0]) {
                return n;
            }
            if (now.at[1] && !now.switched[1]) {
                break;
            }
            if (!now.at[1] && places) {
                step = now.points[1] / places + 1;
            }
        }
    }
}

void baton_open(void)
{
    memset(&now, 0, sizeof(now));
    sem_init(&now.turn[0], 0, 0);
    sem_init(&now.turn[1], 0, 0);
    sem_init(&now.over, 0, 0);
    RACE_CHECK(NULL, pthread_create(&now.thread, NULL, second, NULL) == 0);
}

void baton_close(void)
{
    now.pair = NULL;
    sem_post(&now.turn[1]);
    pthread_join(now.thread, NULL);
}
