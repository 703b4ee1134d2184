/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Grace periods are numbered as they begin. A goal is the next one to begin: one that is under way may have begun
 * before what was unlinked last. One thread makes them, as many as are asked for; that liburcu 0.13 cannot be polled
 * for one is the reason for it.
 */
#include "linux_urcu.h"

#include <pthread.h>
#include <stdbool.h>

#include <urcu/urcu-memb.h>

static struct {
    pthread_mutex_t lock;
    pthread_cond_t asked;
    uint64_t wanted, begun; /* under the lock */
    bool stop;
    uint64_t ended; /* read without it */
    pthread_t thread;
} gp = {.lock = PTHREAD_MUTEX_INITIALIZER, .asked = PTHREAD_COND_INITIALIZER};

static void enter(void *ctx)
{
    (void)ctx;
    urcu_memb_read_lock();
}

static void leave(void *ctx)
{
    (void)ctx;
    urcu_memb_read_unlock();
}

static uint64_t goal(void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&gp.lock);
    uint64_t next = gp.begun + 1;
    if (gp.wanted < next) {
        gp.wanted = next;
        pthread_cond_signal(&gp.asked);
    }
    pthread_mutex_unlock(&gp.lock);
    return next;
}

static bool passed(void *ctx, uint64_t number)
{
    (void)ctx;
    return __atomic_load_n(&gp.ended, __ATOMIC_ACQUIRE) >= number;
}

static void *make_grace_periods(void *arg)
{
    pthread_mutex_lock(&gp.lock);
    for (;;) {
        while (gp.begun == gp.wanted && !gp.stop) {
            pthread_cond_wait(&gp.asked, &gp.lock);
        }
        if (gp.begun == gp.wanted) {
            break;
        }
        uint64_t number = ++gp.begun;
        pthread_mutex_unlock(&gp.lock);
        urcu_memb_synchronize_rcu();
        __atomic_store_n(&gp.ended, number, __ATOMIC_RELEASE);
        pthread_mutex_lock(&gp.lock);
    }
    pthread_mutex_unlock(&gp.lock);
    return arg;
}

int aspace_linux_urcu_start(struct aspace_hal *hal)
{
    gp.stop = false;
    int error = pthread_create(&gp.thread, NULL, make_grace_periods, NULL);
    if (error) {
        return error;
    }
    hal->smr_enter = enter;
    hal->smr_leave = leave;
    hal->smr_goal = goal;
    hal->smr_passed = passed;
    return 0;
}

void aspace_linux_urcu_stop(void)
{
    pthread_mutex_lock(&gp.lock);
    gp.stop = true;
    pthread_cond_signal(&gp.asked);
    pthread_mutex_unlock(&gp.lock);
    pthread_join(gp.thread, NULL);
}

void aspace_linux_urcu_thread_begin(void)
{
    urcu_memb_register_thread();
}

void aspace_linux_urcu_thread_end(void)
{
    urcu_memb_unregister_thread();
}
