/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads on one space, with the library's own read sections. */
#include "race/race.h"

int main(int argc, char **argv)
{
    return race_main(argc, argv, NULL);
}
