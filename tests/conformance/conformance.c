/* SPDX-License-Identifier: BSD-2-Clause */
/* One suite for every format and configuration. Owns the list of its parts; must not know what they test. */
#include "suites.h"

int main(int argc, char **argv)
{
    const struct suite suites[] = {create_suite, mapping_suite,  change_suite,   huge_suite,      lookup_suite,
                                   access_suite, object_suite,   backing_suite,  dirty_suite,     pin_suite,
                                   tag_suite,    scenario_suite, lifetime_suite, fork_suite,      ticket_suite,
                                   move_suite,   watch_suite,    layout_suite,   writeback_suite, hal_suite,
                                   flight_suite, sort_suite};
    const struct program program = {"conformance", suites, sizeof(suites) / sizeof(suites[0]), NULL};

    return harness_main(&program, argc, argv);
}
