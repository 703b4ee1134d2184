/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads on one space, with liburcu's read sections in place of the library's own. */
#include "race/race.h"

#include "urcu/linux_urcu.h"

static bool started;

static void install(struct aspace_hal *hal)
{
    if (started) {
        aspace_linux_urcu_stop();
    }
    started = aspace_linux_urcu_start(hal) == 0;
    RACE_CHECK(NULL, started);
}

int main(int argc, char **argv)
{
    static const struct race_smr urcu = {
        .name = "liburcu",
        .install = install,
        .thread_begin = aspace_linux_urcu_thread_begin,
        .thread_end = aspace_linux_urcu_thread_end,
    };
    int status = race_main(argc, argv, &urcu);

    if (started) {
        aspace_linux_urcu_stop();
    }
    return status;
}
