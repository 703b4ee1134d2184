/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Orders that are left out, each of which must be found with stale reads and cannot be found without: then the order of
 * an access says nothing. Owns which rule each of them breaks.
 */
#include "explore.h"

#include <string.h>

#define CASES(...) ((const char *const[]){__VA_ARGS__, NULL})

const struct weak_mistake weak_mistakes[] = {
    {{"child_published_relaxed", "O1: a table is hung in without release",
      CASES("child_of_deep_marker_published_final")},
     1,
     1,
     {{"fmt_table_entry", NULL}}},
    {{"fault_installs_relaxed", "O1: a fault fills a page, or hangs a table in, without release",
      CASES("read_of_a_fresh_page", "collapse_of_a_fresh_table")},
     1,
     1,
     {{"slot", "publish"}}},
    {{"slots_reached_relaxed", "O1: what a slot leads to is read without acquire",
      CASES("child_of_deep_marker_published_final")},
     1,
     1,
     {{"lot", NULL}}},
    {{"reader_unfenced", "O2: nothing between a reader's epoch and its first load",
      CASES("read_against_unmap", "read_against_unlink")},
     1,
     1,
     {{"fence", "smr_enter"}}},
    {{"reclaimer_unfenced", "O2: nothing between the unlink and the look at the readers",
      CASES("read_against_unmap", "fault_against_unlink")},
     1,
     1,
     {{"fence", "smr_goal"}, {"fence", "smr_passed"}, {"fence", "whom_to_ask"}, {"fence", "slot_xchg_fence"}}},
    {{"section_left_relaxed", "O7: a section ends without release", CASES("fault_against_unlink")},
     1,
     1,
     {{"smr_seen", "smr_leave"}}},
    {{"section_begun_relaxed",
      "O7: a section begins without release, though the end of the last may not have been seen",
      CASES("copy_is_forked_beside_a_copy")},
     2,
     1,
     {{"smr_seen", "smr_enter"}}},
    {{"readers_seen_relaxed", "O7: the readers' epochs are read without acquire", CASES("fault_against_unlink")},
     1,
     1,
     {{"smr_seen", "smr_passed"}}},
    {{"unlocked_relaxed", "O5: a lock is given up without release", CASES("unmap_finds_empty_while_flush_is_pending")},
     1,
     1,
     {{"unlock", NULL}}},
    {{"locked_relaxed", "O5: a lock is taken without acquire", CASES("protect_while_flush_is_pending")},
     1,
     1,
     {{"lock", "op_lock"}, {"lock", "enter"}}},
    {{"values_read_unfenced", "O3: the sequence is read again without a fence before",
      CASES("values_move_beside_query")},
     2,
     1,
     {{"fence", "node_value_rcu"}, {"fence", "page_answer"}}},
    {{"values_written_unfenced", "O3: the sequence is made odd without a fence behind",
      CASES("values_move_beside_query")},
     2,
     1,
     {{"fence", "change_begin"}}},
    {{"sequence_read_relaxed", "O3: the sequence is first read without acquire", CASES("values_move_beside_query")},
     1,
     1,
     {{"seq", "node_value_rcu"}}},
    {{"activation_unfenced", "O6: nothing between entering the set and reading the generation",
      CASES("return_against_unmap")},
     1,
     1,
     {{"fence", "aspace_activate"}}},
    {{"change_unfenced", "O6: nothing between a change and the look at the active set", CASES("return_against_unmap")},
     1,
     2,
     {{"fence", "whom_to_ask"}, {"fence", "slot_xchg_fence"}}},
};

const size_t weak_mistake_count = sizeof weak_mistakes / sizeof weak_mistakes[0];

static bool leaves_out(const struct weak_mistake *m, const struct access *a)
{
    for (unsigned i = 0; i < sizeof m->access / sizeof m->access[0] && m->access[i].text; i++)
        if (strstr(a->text, m->access[i].text) && (!m->access[i].where || !strcmp(m->access[i].where, a->where)))
            return true;
    return false;
}

unsigned mistake_order(const struct access *a)
{
    for (size_t i = 0; explore_has_mistake && i < weak_mistake_count; i++)
        if (explore_mistake == &weak_mistakes[i].mistake && leaves_out(&weak_mistakes[i], a))
            return EXPLORE_RELAXED;
    return a->order;
}
