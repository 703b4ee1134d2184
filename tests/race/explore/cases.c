/* SPDX-License-Identifier: BSD-2-Clause */
/* The cases with a name: the situations that the protocol's rules were made for, each as programs of two or three
 * CPUs. */
#include "explore.h"

#include <stdio.h>
#include <string.h>

const struct named_case named_cases[] = {
    /* An unlink holds every table below it, also the one that a fault is just hanging in (R1-R3). */
    {"unlink_against_fresh_child", "small/unmap_0_16|touch_5_w",
     "a table is hung into a subtree that is being unlinked"},
    {"unlink_of_marker_against_fresh_child", "small/unmap_16_16|fault_17",
     "a table is hung into the place of a marker"},
    {"unlink_against_fresh_child_and_map", "tables/unmap_16_20|fault_29|replace_lazy_30_5",
     "and an operation goes on through the fresh table to one that is not unlinked"},
    {"unlink_of_deep_tree_against_fresh_child", "tables/unmap_0_48|fault_21", "two levels below what is unlinked"},
    {"unlink_against_partial_map", "tables/unmap_0_16|map_lazy_2_1", "a map waits for a table that is unlinked"},
    {"unlink_against_sweep", "hollow/sweep|map_lazy_12_1", "a table is reclaimed while something is mapped into it"},
    {"fault_against_unlink", "tables/unmap_0_4|touch_2_w", "a fault fills a table that is no longer reached"},

    /* R3: behind the lock phase no fault changes the shape of what is locked. */
    {"map_behind_a_fault", "small/unmap_4_6|fault_5|replace_lazy_6_4",
     "a fault hangs a table into a marker that one operation has passed, and another goes on through it"},
    {"map_behind_a_deep_fault", "small/replace_lazy_18_8|fault_17|replace_lazy_16_16", "the same two levels down"},
    {"replace_against_fault_in_marker", "small/replace_lazy_5_1|fault_5", "a marker is opened while a fault fills it"},
    {"protect_against_fault_in_marker", "small/protect_none_16_16|fault_17",
     "a marker changes its rights while it is filled"},
    {"spans_against_spans", "tables/protect_r_1_5|unmap_1_8|fault_5", "ranges over several tables, and a fault in one"},

    /* R5, R7: nothing is armed, or mapped anew, before the flush of what was there is acknowledged. */
    {"refill_before_flush", "small/discard_0_1|touch_0_w|touch_0_r",
     "a page is filled anew while another CPU has the old frame"},
    {"remap_before_flush", "small/unmap_0_1|map_lazy_0_1,touch_0_w|touch_0_r", "the same after an unmap and a map"},
    {"two_flushes_on_one_leaf", "small/unmap_0_1|unmap_1_1|map_lazy_1_1,touch_1_w",
     "one of two flushes in one table is done, and a third relies on the other"},
    {"unmap_finds_empty_while_flush_is_pending", "small/unmap_0_1|unmap_0_1",
     "what is found empty is out of the TLBs too"},
    {"unlink_finds_empty_while_flush_is_pending", "small/unmap_0_1|unmap_0_4",
     "the same, found by an unlink of the table"},
    {"unmap_finds_unlinked_while_flush_is_pending", "tables/unmap_0_4|unmap_1_5",
     "the same, found empty in an upper table on the way to others"},
    {"discard_finds_unlinked_while_flush_is_pending", "small/discard_0_4|unmap_0_4",
     "what a discard leaves out, because it is gone, is out of the TLBs too"},
    {"protect_while_flush_is_pending", "small/protect_none_0_4|protect_r_0_1",
     "two changes of rights, one not yet flushed"},
    {"replace_shows_no_hole", "small/replace_lazy_0_4|touch_0_w|translate_0",
     "a CPU finds the old or the new, and never nothing"},
    {"touch_against_unmap", "small/unmap_0_1|touch_0_w", "an access through a TLB while the page goes"},

    /* Collapse and faults. */
    {"collapse_against_fault", "small/collapse_0|fault_2", "a slot is filled while all of its table are closed"},
    {"collapse_against_fault_and_unmap", "small/collapse_0|fault_2|unmap_1_1", "and part of the table is unmapped"},
    {"collapse_against_translate", "small/collapse_0|translate_0", "a page that stays is found at any time"},
    {"collapse_against_query", "small/collapse_0|query_0", "and its area"},
    {"collapse_against_protect", "small/collapse_0|protect_r_0_1", "and one page stops being like the others"},
    {"collapse_against_write", "small/collapse_0|touch_0_w|write_2", "no write is lost to the copy"},
    {"migrate_against_write", "small/migrate_0|touch_0_w|exchange_0", "no write is lost to the copy"},
    {"migrate_twice", "small/migrate_0|migrate_0|read_0", "two migrations of one page, and a reader"},

    /* R4: a child is published final, or born locked. */
    {"child_published_final", "huge/protect_r_9_1|replace_lazy_9_1", "a huge leaf is split by two at once"},
    {"child_of_marker_published_final", "small/unmap_5_1|replace_lazy_5_1", "a marker is opened by two at once"},
    {"child_of_deep_marker_published_final", "small/protect_r_17_1|unmap_17_1|fault_17",
     "through two levels, and a fault"},
    {"split_against_unmap", "huge/split_8|unmap_9_1", "a split and an unmap of a part"},

    /* Answers are those of some order, also while another operation has the slot in hand. */
    {"migrate_while_a_leaf_is_split", "huge/migrate_0|split_0", "a huge leaf becomes a table between two looks at it"},
    {"migrate_while_a_table_is_replaced", "small/migrate_to_0|replace_lazy_0_4",
     "the upper slot is taken, not the page"},
    {"collapse_while_all_is_replaced", "small/collapse_0|replace_linear_0_16", "the upper slot is taken, not empty"},
    {"fault_in_an_unlinked_table", "small/fault_5|unmap_0_16", "a marker that an unlink took never comes back"},
    {"part_of_a_marker_discarded_while_it_is_filled", "huge/discard_5_1|fault_5",
     "a marker that was passed as empty becomes a huge leaf"},
    {"marker_discarded_while_it_is_filled", "huge/discard_16_16|fault_17", "the same for the whole of it"},

    /* R8: a page that moves is in one place. */
    {"move_against_touch", "small/move_0_1_to_13|touch_0_w", "a page is written while it moves"},
    {"move_against_touches", "small/move_0_4_to_12|touch_0_w|touch_1_w", "its table is unlinked"},
    {"move_against_fault", "small/move_1_5_to_33|fault_2", "a page is filled before it moves, or refused"},
    {"move_of_a_marker_against_fault", "small/move_16_16_to_32|fault_17", "a table is hung into what moves"},
    {"move_against_unmap", "tables/move_1_5_to_33|unmap_1_8", "what moves is unmapped, in one place or the other"},
    {"move_against_protect", "small/move_0_4_to_12|protect_r_0_1", "rights change before, or there is nothing"},
    {"move_against_translate", "small/move_0_1_to_13|translate_0", "a translation in flight is waited for"},
    {"move_against_map", "hollow/move_0_4_to_12|map_lazy_12_1", "one of the two takes the place"},
    {"move_against_move", "hollow/move_0_4_to_12|move_33_2_to_13", "two ways to one place"},
    {"move_there_and_back", "hollow/move_1_5_to_33|move_33_2_to_13", "what has moved moves on"},

    /* The slot word decides. */
    {"unmap_against_fault", "small/unmap_2_1|fault_2", "a frame that was installed a moment ago is found"},
    {"two_faults_on_one_page", "small/fault_2|fault_2|fault_2", "one frame is installed"},
    {"fault_in_marker_before_discard", "tables/fault_29|discard_16_16",
     "what a TLB has from a table that was just hung in is discarded"},
    {"collapse_of_a_fresh_table", "small/write_17|collapse_16", "a table that was just hung in is looked through"},
    {"read_of_a_fresh_page", "small/read_5|fault_5", "a page that was just filled is read"},
    {"two_faults_in_one_marker", "small/fault_17|fault_21", "one table is hung in"},
    {"fault_finds_same_marker_again", "small/fault_2|unmap_2_1,map_lazy_2_1", "a marker that goes and comes back"},
    {"two_unmaps_of_one_table", "small/unmap_0_4|unmap_1_2", "the whole table and a part"},
    {"read_against_unmap", "small/read_0|unmap_0_1", "a frame is not freed while it is read"},
    {"read_against_unlink", "tables/read_0|unmap_0_16", "nor are the tables on the way"},
    {"query_against_protect", "small/query_0|protect_r_0_1|protect_none_0_4", "slot and value are of one moment"},
    {"values_move_beside_query", "small/query_5|replace_lazy_0_4", "the list of values is changed while it is read"},
    {"return_against_unmap", "small/return_0_r|unmap_0_1", "a CPU comes back that had to be told while it was away"},
    {"hardware_flags_against_protect", "ad/touch_0_w|protect_r_0_1", "hardware sets dirty while rights change"},
    {"hardware_flags_against_migrate", "ad/touch_0_w|migrate_0", "and while the frame does"},

    /* A populate fills what it finds, and has no quarrel with what it may not touch. */
    {"populate_against_migrate", "parked/migrate_0|populate_0_4", "a page without rights is in another's hand"},
    {"populate_against_trap", "small/replace_trap_4_4|populate_4_4", "what was to be filled is a trap now"},

    /* The dirty log: no write is lost (L1, L2). */
    {"harvest_against_touch", "logged/touch_0_w,touch_0_w|harvest_0", "a CPU writes while the right is taken"},
    {"harvest_against_fault", "logged/fault_2|harvest_0|touch_2_w", "a page is filled and granted"},
    {"harvest_against_write", "logged/write_0,write_0|harvest_0", "software stores, then sets the flag"},
    {"harvest_against_exchange", "logged/touch_0_w|exchange_0|harvest_0", "software beside a CPU"},
    {"harvest_against_protect", "logged/touch_0_w,harvest_0|protect_r_0_1",
     "a right is gone from memory and not yet from a TLB"},
    {"harvest_against_park", "logged/touch_0_w,harvest_0|protect_none_0_4", "the same for all rights"},
    {"harvest_against_migrate", "logged/touch_0_w|migrate_0|harvest_0", "the flag goes with the page"},
    {"harvest_against_collapse", "logged/touch_0_w|collapse_0|harvest_0", "and into the merged page"},
    {"harvest_against_split", "loggedhuge/touch_1_w|split_0|harvest_0", "and out of it"},
    {"harvest_against_unmap", "logged/touch_0_w,unmap_0_1|harvest_0", "or it is gone"},
    {"harvest_against_harvest", "logged/touch_0_w,touch_0_w|harvest_0|harvest_0", "one of two tells it"},
    {"hardware_harvest_against_touch", "loggedad/touch_0_w,touch_0_w|harvest_0", "hardware sets dirty"},
    {"hardware_harvest_against_write", "loggedad/write_0,write_0|harvest_0", "software sets it"},
    {"hardware_harvest_against_both", "loggedad/touch_0_w|write_0|harvest_0", "both do"},
    {"hardware_harvest_against_protect", "loggedad/touch_0_w|protect_r_0_1|harvest_0", "while rights change"},
    {"hardware_harvest_against_park", "loggedad/touch_0_w|protect_none_0_4|harvest_0", "while all rights go"},
    {"hardware_harvest_against_migrate", "loggedad/touch_0_w|migrate_0|harvest_0", "while the frame changes"},
    {"hardware_harvest_against_collapse", "loggedad/touch_0_w|collapse_0|harvest_0", "while pages are merged"},
    {"hardware_harvest_against_split", "loggedadhuge/touch_1_w|split_0|harvest_0", "while a page is split"},

    /* Accessed flags are harvested without a lock: on return a CPU has to set them again. */
    {"accessed_against_touch", "ad/touch_0_r,touch_0_r|accessed_0", "a CPU sets a flag again, or has set it before"},
    {"accessed_against_split", "loggedadhuge/touch_1_w|split_0|accessed_0",
     "a CPU has the page in one piece for a while"},
    {"accessed_against_collapse", "ad/touch_0_w|collapse_0|accessed_0", "a flag goes into the merged page, or is told"},
    {"accessed_against_protect", "ad/touch_0_r|protect_r_0_16|accessed_0", "rights change with the flag"},
    {"accessed_against_migrate", "ad/touch_0_w|migrate_0|accessed_0", "and so does the frame"},
    {"accessed_against_unmap", "ad/touch_0_w|unmap_0_48|accessed_0", "the table is unlinked while it is harvested"},
    /* Forks, and pages that are shared until they are written (T7). */
    {"fork_is_one_cut", "shared/fork|write_2,write_17", "who has the later write has the earlier one"},
    {"fork_in_steps_is_one_cut", "shared/fork_in_steps|write_2,write_17", "the same with other calls in between"},
    {"fork_is_one_cut_of_accesses", "shared/fork|touch_1_w,touch_2_w", "the same for accesses through a TLB"},
    {"fork_against_fault", "shared/fork|fault_2", "a page is filled while its space is forked"},
    {"fork_against_unmap", "shared/fork|unmap_0_16", "all of a range is there in the child, or nothing"},
    {"fork_against_protect", "shared/fork,write_1|protect_rwx_0_4", "what the fork took from a leaf is not given back"},
    {"fork_against_flags", "shared_ad/fork|touch_1_w", "hardware sets dirty while the right is taken away"},
    {"fork_against_collapse", "shared_pieces/fork|collapse_0", "the table goes while it is copied"},
    {"two_forks_share_a_page", "shared/fork|copy_fork", "two spaces that share a page are forked at once"},
    {"fault_answers_what_it_did", "shared/copy_fault_0|copy_unmap_0_1|copy_fault_0",
     "one fault relies on the other's copy"},
    {"copy_is_forked_beside_a_copy", "shared/copy_fault_0,copy_read_0|copy_fork", "one section follows another"},
    {"fork_while_the_page_is_written_elsewhere", "shared/fork|copy_write_0", "a page gets a sharer and loses one"},
    {"fork_while_a_sharer_leaves", "shared/fork|copy_write_0,copy_unmap_0_48", "or one that goes for good"},
    {"last_two_sharers_write", "shared/write_0|copy_write_0", "one copies, or both"},
    {"sharer_exits_during_a_copy", "shared/write_0|copy_unmap_0_48", "who is copied from may be the last one then"},
    {"two_faults_on_one_shared_page", "shared/fault_0|fault_0|copy_fault_0", "one copy in each space"},
    {"take_back_against_protect", "shared/copy_unmap_0_1,protect_r_0_1|write_0",
     "the right is taken from an area whose leaf lacks it already"},
    {"copied_while_read_elsewhere", "shared/write_0|touch_0_r",
     "a CPU has the old frame while the leaf gets a new one"},
    {"read_against_copy_and_exit", "shared/read_0|write_0,sweep|copy_unmap_0_1",
     "the last mapping of a frame goes while it is read"},
    {"large_leaf_taken_apart_by_both", "shared_huge/write_0|copy_write_0", "it is counted in pieces by one, then both"},
    {"large_leaf_and_pieces_go", "shared_huge/unmap_0_4|copy_write_0,copy_unmap_0_48",
     "the last one that maps all of it goes while another takes it apart"},
    {"pieces_go_while_whole_is_forked", "shared_pieces/copy_fork|unmap_0_4", "and gets another one beside"},
};

const size_t named_count = sizeof named_cases / sizeof named_cases[0];

static const struct layout *find_layout(const char *name, size_t length)
{
    for (size_t i = 0; i < layout_all; i++)
        if (strlen(layouts[i].name) == length && !strncmp(layouts[i].name, name, length))
            return &layouts[i];
    return NULL;
}

bool case_parse(const char *text, struct test_case *c)
{
    size_t length = strcspn(text, "/");
    memset(c, 0, sizeof *c);
    c->layout = find_layout(text, length);
    if (!c->layout || text[length] != '/') {
        fprintf(stderr, "explore: no layout in '%s'\n", text);
        return false;
    }
    c->fibers = 1;
    for (text += length + 1; *text; text += strspn(text + length, ",") + length) {
        struct program *p = &c->program[c->fibers - 1];
        length = strcspn(text, ",|");
        const struct operation *op = operation_find(text, length);
        if (!op || !operation_fits(op, c->layout) || p->count == PROGRAM_MAX) {
            fprintf(stderr, "explore: no operation, or one too many: '%s'\n", text);
            return false;
        }
        p->op[p->count++] = op;
        if (text[length] == '|' && c->fibers++ == FIBERS_MAX) {
            fprintf(stderr, "explore: more than %d CPUs\n", FIBERS_MAX);
            return false;
        }
        length += text[length] == '|';
    }
    return true;
}

void case_print(const struct test_case *c, char *out, size_t bytes)
{
    size_t n = (size_t)snprintf(out, bytes, "%s/", c->layout->name);
    for (unsigned f = 0; f < c->fibers; f++)
        for (unsigned i = 0; i < c->program[f].count && n < bytes; i++)
            n += (size_t)snprintf(out + n, bytes - n, "%s%s", i ? "," : f ? "|" : "", c->program[f].op[i]->name);
}
