/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inspector inspected: a small space with something of everything in it; the audit must find each damage that is
 * done to it on purpose, one at a time, and nothing before and after; dump, why and the counters must tell what is
 * there. Looks into the engine's tables, since the damage is done there; must not call the engine but through its
 * interface.
 */
#include <aspace/inspect.h>
#include <aspace/memory.h>

#include "linux_hal.h"
#include "pt/walk.h"
#include "space/space.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned long passed, failed;
static const char *subject = "";

static void check(bool ok, const char *what, int line)
{
    if (ok) {
        passed++;
    } else if (++failed <= 40) {
        printf("FAILED %s, line %d: %s\n", subject, line, what);
    }
}

#define CHECK(ok) check((ok), #ok, __LINE__)

/* ------------------------------------------------------------------------------------------------------- the space */

enum { PAGE = 4096, CPUS = 2 };

/* Addresses in one level-0 table, and what is mapped at them. */
#define AT_LINEAR UINT64_C(0x40000000) /* 32 pages, two contiguous runs where there are any */
#define AT_LAZY UINT64_C(0x40020000)   /* 16 pages, of which the first two are filled */
#define AT_EAGER UINT64_C(0x40030000)  /* 4 pages, the second without rights */
#define AT_TRAP UINT64_C(0x40040000)   /* 1 page */
#define AT_HUGE UINT64_C(0x40200000)   /* a lazy huge page, filled */
#define AT_MARKER UINT64_C(0x40400000) /* 4 MiB lazy, not filled */

static struct aspace_host *host;
static struct aspace *space;
static struct aspace_frame run;
static struct pt *pt;

static void map_one(enum aspace_kind kind, uint64_t va, uint64_t size, uint64_t pa)
{
    struct aspace_map m = {.va = va, .size = size, .kind = kind, .rights = ASPACE_RW, .max_rights = ASPACE_RW};
    m.pa = pa;
    m.cookie = kind == ASPACE_KIND_TRAP ? 0x77 : 0;
    m.flags = ASPACE_MAP_COUNT;
    m.max_leaf_level = va == AT_HUGE ? 0 : 1;
    CHECK(aspace_map(space, &m, NULL) == ASPACE_OK);
}

static void touch(uint64_t va)
{
    CHECK(aspace_fault(space, va, ASPACE_W, NULL) == ASPACE_FAULT_DONE);
}

static void build(enum aspace_format format)
{
    struct aspace_linux *port = aspace_linux_default();
    struct aspace_host_config host_config = {.cpus = CPUS};
    struct aspace_config config = {.format = format, .size = UINT64_C(1) << 38, .tag = 5, .output_bits = 40};

    config.features = ASPACE_FEAT_AD | ASPACE_FEAT_NX | ASPACE_FEAT_CONTIG | ASPACE_FEAT_SVNAPOT | ASPACE_FEAT_SVPBMT;
    subject = aspace_format_name(format);
    CHECK(aspace_host_init(host, port->hal, port, &host_config) == ASPACE_OK);
    CHECK(aspace_create(space, host, &config) == ASPACE_OK);
    pt = &space->pt;
    CHECK(aspace_frame_alloc(host, 5, true, &run) == ASPACE_OK);
    map_one(ASPACE_KIND_LINEAR, AT_LINEAR, 32 * PAGE, run.pa);
    map_one(ASPACE_KIND_LAZY, AT_LAZY, 16 * PAGE, 0);
    map_one(ASPACE_KIND_EAGER, AT_EAGER, 4 * PAGE, 0);
    map_one(ASPACE_KIND_TRAP, AT_TRAP, PAGE, 0);
    map_one(ASPACE_KIND_LAZY, AT_HUGE, 512 * PAGE, 0);
    map_one(ASPACE_KIND_LAZY, AT_MARKER, 1024 * PAGE, 0);
    touch(AT_LAZY);
    touch(AT_LAZY + PAGE);
    touch(AT_HUGE);
    CHECK(aspace_protect(space, AT_EAGER + PAGE, PAGE, 0) == ASPACE_OK);
    aspace_trim(host);
}

static void demolish(void)
{
    CHECK(aspace_destroy(space) == ASPACE_OK);
    aspace_frame_release(&run);
    CHECK(aspace_host_fini(host) == ASPACE_OK);
}

/* ----------------------------------------------------------------------------------------------------------- lines */

static char lines[64 * 1024];

static void keep(void *arg, const char *line)
{
    (void)arg;
    CHECK(!strchr(line, '\n'));
    if (strlen(lines) + strlen(line) + 2 < sizeof(lines)) {
        strcat(strcat(lines, line), "\n");
    }
}

static size_t count_lines(void)
{
    size_t n = 0;

    for (const char *p = lines; (p = strchr(p, '\n')) != NULL; p++) {
        n++;
    }
    return n;
}

static bool told(const char *what)
{
    return strstr(lines, what) != NULL;
}

static size_t audit(void)
{
    lines[0] = 0;
    return aspace_audit(space, keep, NULL);
}

/* ---------------------------------------------------------------------------------------------------------- damage */

static struct node *leaf_node(void)
{
    struct walk w;
    walk_any(pt, AT_LINEAR, &w);
    return walk_node(pt, w.slots);
}

static uint64_t *slot_of(uint64_t va)
{
    struct walk w;
    walk_any(pt, va, &w);
    return w.slots + w.index;
}

/* The entry that points to the leaf table. */
static uint64_t *table_slot(void)
{
    uint64_t *slots = pt->root_slots;
    for (unsigned level = pt->top;; level--) {
        uint64_t *slot = slots + slot_index(pt->F, level, AT_LINEAR);
        if (level == 1) {
            return slot;
        }
        slots = aspace_phys_to_virt(fmt_table_pa(pt->F, *slot));
    }
}

static struct area *area_at(uint64_t va)
{
    return value_area(host, node_value(leaf_node(), slot_index(pt->F, 0, va)));
}

static uint64_t leaf_for(uint32_t rights, uint32_t attr, uint64_t pa)
{
    return fmt_leaf(pt->F, &pt->C, 0, rights, attr) | fmt_addr_bits(pt->F, pa);
}

static uint64_t frame_at(uint64_t va)
{
    return fmt_output(pt->F, &pt->C, 0, *slot_of(va), slot_index(pt->F, 0, va));
}

static void empty_bits(void)
{
    *slot_of(AT_TRAP + PAGE) |= 1 << 16;
}
static void empty_mapped(void)
{
    *slot_of(AT_LAZY) = slot_empty(&pt->C, 0);
}
static void busy(void)
{
    *slot_of(AT_LAZY + 2 * PAGE) = slot_busy(&pt->C, 0, 1);
}
static void no_kind(void)
{
    *slot_of(AT_LAZY + 2 * PAGE) |= 7 << SLOT_KIND_SHIFT;
}
static void armed_rights(void)
{
    *slot_of(AT_LAZY + 2 * PAGE) ^= 1ull << 41;
}
static void armed_how(void)
{
    *slot_of(AT_LAZY + 2 * PAGE) ^= SLOT_HUGE;
}
static void upper_armed(void)
{
    *slot_of(AT_MARKER) ^= SLOT_ZERO;
}
static void linear_armed(void)
{
    *slot_of(AT_LINEAR) = slot_armed(&pt->C, 0, node_value(leaf_node(), 0), 0);
}
static void linear_moved(void)
{
    *slot_of(AT_LINEAR + PAGE) = leaf_for(ASPACE_RW, 0, run.pa + 2 * PAGE);
}
static void rights_lost(void)
{
    *slot_of(AT_LAZY) = leaf_for(ASPACE_R, 0, frame_at(AT_LAZY));
}
static void attr_changed(void)
{
    uint32_t attr = pt->C.attr[ASPACE_ATTR_DEVICE] != pt->C.attr[0] && fmt_attr_ok(&pt->C, ASPACE_ATTR_DEVICE)
                        ? ASPACE_ATTR_DEVICE
                        : ASPACE_ATTR_WC;
    *slot_of(AT_LAZY) = leaf_for(ASPACE_RW, attr, frame_at(AT_LAZY));
}
static void frame_twice(void)
{
    *slot_of(AT_EAGER) = leaf_for(ASPACE_RW, 0, frame_at(AT_LAZY));
}
static void frame_in_huge(void)
{
    *slot_of(AT_EAGER) = leaf_for(ASPACE_RW, 0, fmt_output(pt->F, &pt->C, 1, *slot_of(AT_HUGE), 0) + 5 * PAGE);
}
static void frame_above(void)
{
    *slot_of(AT_LAZY) = leaf_for(ASPACE_RW, 0, 1ull << 40);
}
static void parked_rights(void)
{
    *slot_of(AT_LAZY) = slot_parked(pt->F, &pt->C, 0, frame_at(AT_LAZY), 0);
}
static void parked_bits(void)
{
    *slot_of(AT_EAGER + PAGE) |= 1ull << 9;
}
static void parked_unaligned(void)
{
    *slot_of(AT_HUGE) = slot_parked(pt->F, &pt->C, 1, run.pa + PAGE, 0);
}
static void trap_filled(void)
{
    *slot_of(AT_TRAP) = leaf_for(ASPACE_RW, 0, run.pa);
}
static void run_broken(void)
{
    uint64_t *slot = slot_of(AT_LINEAR + 3 * PAGE);
    *slot = fmt_unrun(pt->F, *slot, 3);
}
static void table_bits(void)
{
    *table_slot() |= 1ull << 58;
}
static void table_elsewhere(void)
{
    *table_slot() = fmt_table_entry(pt->F, &pt->C, node_pa(pt->root));
}
static void table_of_descriptors(void)
{
    *table_slot() &= ~fmt_addr_bits(pt->F, (4096ull << host->chunk_order) - 4096);
}
static void root_above(void)
{
    node_slots(pt->root)[node_entries(pt->F, pt->top)] = leaf_for(ASPACE_RW, 0, 0);
}
static void count_high(void)
{
    leaf_node()->count++;
}
static void locked(void)
{
    leaf_node()->lock = 2;
}
static void seq_odd(void)
{
    leaf_node()->seq++;
}
static void stale(void)
{
    leaf_node()->stale = 1;
}
static void doomed(void)
{
    leaf_node()->doomed = 1;
}
static void building(void)
{
    leaf_node()->building = 1;
}
static void level(void)
{
    leaf_node()->level = 1;
}
static void segments_crossed(void)
{
    struct node *n = leaf_node();
    if (n->dense) {
        n->n_segs = 1;
    } else {
        n->segs[1].lo = n->segs[0].lo;
    }
}
static void value_lost(void)
{
    struct node *n = leaf_node();
    if (n->dense) {
        node_values(n->dense)[slot_index(pt->F, 0, AT_TRAP)] = 0;
    } else {
        n->n_segs--;
    }
}
static void value_unknown(void)
{
    struct node *n = leaf_node();
    if (n->dense) {
        node_values(n->dense)[slot_index(pt->F, 0, AT_LAZY)] ^= 0xff0000;
    } else {
        n->segs[1].value ^= 0xff0000;
    }
}
static void pages_low(void)
{
    area_at(AT_LINEAR)->pages--;
}
static void pages_high(void)
{
    area_at(AT_LAZY)->pages++;
}
static void rights_maximum(void)
{
    area_at(AT_LAZY)->max_rights = ASPACE_R;
}
static void area_short(void)
{
    area_at(AT_LAZY)->size = PAGE;
}
static void space_short(void)
{
    pt->end = AT_HUGE;
}
static void tables_high(void)
{
    pt->cpu[1].tables++;
}
static void frames_low(void)
{
    pt->cpu[1].frames--;
}
static void quota_tables(void)
{
    pt->quota_tables = 100;
}
static void quota_frames(void)
{
    pt->quota_frames = 100;
}

enum { RUNS = 1, WIDE_ROOT = 2, ATTRS = 4 };

static const struct damage {
    void (*inflict)(void);
    const char *expected;
    unsigned needs;
} damages[] = {
    {empty_bits, "0x40041000 level 0 slot 65 entry", 0},
    {empty_bits, "empty, with wrong bits", 0},
    {empty_mapped, "empty, with a value in the segments", 0},
    {empty_mapped, "slots in use, and has", 0},
    {busy, "left busy", 0},
    {no_kind, "a marker of no kind", 0},
    {armed_rights, "the marker's value is not that of the segments", 0},
    {armed_how, "a marker with wrong bits", 0},
    {upper_armed, "0x40400000 level 1", 0},
    {linear_armed, "unfilled, in a linear area", 0},
    {linear_moved, "not where a linear area maps to", 0},
    {rights_lost, ", not rw--", 0},
    {attr_changed, "not the leaf that its area asks for", ATTRS},
    {frame_twice, ": mapped at 0x40020000 and at 0x40030000", 0},
    {frame_in_huge, ": mapped at 0x40030000 and at 0x40205000", 0},
    {frame_above, "the frame is above the width of addresses", 0},
    {parked_rights, "parked, though the area has rights", 0},
    {parked_bits, "a parked frame with wrong bits", 0},
    {parked_unaligned, "the frame is not aligned to the leaf", 0},
    {trap_filled, "filled, in an area that never is", 0},
    {run_broken, "in a contiguous run that is not whole", RUNS},
    {table_bits, "a pointer to a table with wrong bits", 0},
    {table_elsewhere, "points to a table of another level", 0},
    {table_of_descriptors, "points to what is no table", 0},
    {root_above, "a slot above the space is not empty", WIDE_ROOT},
    {count_high, "slots in use, and has", 0},
    {locked, ": locked", 0},
    {seq_odd, "a change of values is not finished", 0},
    {stale, "marked as unlinked", 0},
    {doomed, "marked as unlinked", 0},
    {building, "a builder of a child is left", 0},
    {level, "points to a table of another level", 0},
    {segments_crossed, "segments that overlap", 0},
    {value_lost, "has no value in the segments", 0},
    {value_unknown, "value of no area", 0},
    {pages_low, ": counts 31 pages, and has 32", 0},
    {pages_high, ": counts 17 pages, and has 16", 0},
    {rights_maximum, "more rights than the area's maximum", 0},
    {area_short, "mapped outside of what its area was mapped as", 0},
    {space_short, "mapped outside of the space", 0},
    {tables_high, "tables counted: ", 0},
    {frames_low, "owned frames counted: 517, not 518", 0},
    {quota_tables, "tables accounted to the quota: 0, not ", 0},
    {quota_frames, "frames accounted to the quota: 0, not 518", 0},
};

/* All memory that damage is done to. */
struct wound {
    void *at;
    size_t bytes;
    char kept[16384];
};
static struct wound wounds[12];

static unsigned list_wounds(void)
{
    struct node *n = leaf_node();
    unsigned k = 0;
    wounds[k].at = n, wounds[k++].bytes = sizeof(*n);
    wounds[k].at = node_slots(n), wounds[k++].bytes = PAGE;
    wounds[k].at = table_slot(), wounds[k++].bytes = 8;
    wounds[k].at = slot_of(AT_HUGE), wounds[k++].bytes = 8;
    wounds[k].at = slot_of(AT_MARKER), wounds[k++].bytes = 8;
    wounds[k].at = pt->root_slots, wounds[k++].bytes = (size_t)PAGE << pt->root->order;
    wounds[k].at = area_at(AT_LINEAR), wounds[k++].bytes = sizeof(struct area);
    wounds[k].at = area_at(AT_LAZY), wounds[k++].bytes = sizeof(struct area);
    wounds[k].at = &pt->end, wounds[k++].bytes = sizeof(pt->end);
    wounds[k].at = &pt->quota_tables, wounds[k++].bytes = 2 * sizeof(pt->quota_tables);
    wounds[k].at = &pt->cpu[1], wounds[k++].bytes = sizeof(struct pt_cpu);
    if (n->dense) {
        wounds[k].at = node_slots(n->dense), wounds[k++].bytes = PAGE;
    }
    return k;
}

static bool concerned(const struct damage *d)
{
    return (!(d->needs & RUNS) || pt->C.run_lg2) && (!(d->needs & ATTRS) || (pt->C.attr_ok & 0x1c)) &&
           (!(d->needs & WIDE_ROOT) || (!pt->F->upper_half && node_entries(pt->F, pt->top) < 512u << pt->root->order));
}

static void audit_finds_damage(void)
{
    unsigned n = list_wounds();
    CHECK(audit() == 0 && count_lines() == 0);
    for (unsigned k = 0; k < n; k++) {
        memcpy(wounds[k].kept, wounds[k].at, wounds[k].bytes);
    }
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        if (!concerned(&damages[i])) {
            continue;
        }
        damages[i].inflict();
        size_t found = audit();
        check(found > 0 && told(damages[i].expected), damages[i].expected, (int)i);
        CHECK(found <= count_lines());
        if (!told(damages[i].expected) && failed <= 40) {
            printf("%s", lines);
        }
        for (unsigned k = 0; k < n; k++) {
            memcpy(wounds[k].at, wounds[k].kept, wounds[k].bytes);
        }
        CHECK(audit() == 0);
    }
}

/* ------------------------------------------------------------------------------------------------------- the words */

static void dump_tells(void)
{
    static const char *const expected[] = {
        "0x40000000-0x40020000     linear   rw-- default 128K: 32 x 4K",
        "0x40020000-0x40030000     lazy     rw-- default 64K: 2 x 4K, unfilled 56K",
        "0x40030000-0x40031000     eager    rw-- default 4K: 1 x 4K",
        "0x40031000-0x40032000     eager    ---- default 4K: parked 4K, at most rw--",
        "0x40032000-0x40034000     eager    rw-- default 8K: 2 x 4K",
        "0x40040000-0x40041000     trap     rw-- default 4K, cookie 0x77",
        "0x40200000-0x40400000     lazy     rw-- default 2M: 1 x 2M",
        "0x40400000-0x40800000     lazy     rw-- default 4M: unfilled 4M",
    };
    char first[80];

    lines[0] = 0;
    aspace_dump(space, keep, NULL);
    CHECK(count_lines() == 1 + sizeof(expected) / sizeof(expected[0]));
    const char *at = lines;
    for (unsigned i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        at = at ? strstr(at, expected[i]) : NULL;
        check(at != NULL, expected[i], __LINE__);
    }
    snprintf(first, sizeof(first), "%s 0x0-0x4000000000 tag 5: tables ", subject);
    CHECK(strncmp(lines, first, strlen(first)) == 0);
    CHECK(told(", frames 518\n"));
    CHECK(!pt->C.run_lg2 || told("32 x 4K, in runs 32"));
}

static void why(uint64_t va, uint32_t access, const char *verdict)
{
    lines[0] = 0;
    aspace_why(space, va, access, keep, NULL);
    check(told(verdict), verdict, __LINE__);
}

static void why_tells(void)
{
    why(AT_LAZY, ASPACE_W, "the MMU allows it; a fault would answer SPURIOUS");
    CHECK(count_lines() == pt->F->levels + 3u);
    CHECK(told("level 1 slot 0 0x40000000-0x40200000 entry "));
    CHECK(told(": leaf of 4K at "));
    why(AT_LAZY + 2 * PAGE, ASPACE_R, "the answer is DONE");
    why(AT_LAZY + 2 * PAGE, ASPACE_X, "the answer is PERMISSION: the area lacks a right, missing --x-");
    why(AT_EAGER + PAGE, ASPACE_R, "no rights, keeps the frame at ");
    why(AT_TRAP + 8, ASPACE_W, "the answer is TRAP");
    CHECK(told("offset 0x8"));
    why(AT_TRAP + PAGE, ASPACE_W, "the answer is NO_AREA");
    why(AT_HUGE + 0x12345, ASPACE_W, ": leaf of 2M at ");
    why(pt->end, ASPACE_W, "outside of the space 0x0-0x4000000000");
    CHECK(count_lines() == 1);
}

static void counters_count(void)
{
    struct aspace_counters c;
    struct aspace_area_counters a;

    aspace_counters_read(space, &c);
    CHECK(c.mapped[0] == 32 + 2 + 3 && c.mapped[1] == 1 && c.mapped[2] == 0);
    CHECK(c.frames == 2 + 4 + 512);
    CHECK(c.tables == (1u << pt->root->order) + pt->F->levels - 1u);
    CHECK(c.faults[ASPACE_FAULT_DONE] == 3 && c.faults[ASPACE_FAULT_NO_AREA] == 0);
    CHECK(aspace_area_counters_read(space, AT_LAZY + 9 * PAGE, &a) == ASPACE_OK);
    CHECK(a.mapped[0] == 2 && a.frames == 2 && a.unfilled == 14 * PAGE && a.faults == 2);
    CHECK(aspace_area_counters_read(space, AT_EAGER + PAGE, &a) == ASPACE_OK);
    CHECK(a.mapped[0] == 0 && a.frames == 1 && a.unfilled == 0);
    CHECK(aspace_area_counters_read(space, AT_TRAP, &a) == ASPACE_OK);
    CHECK(a.mapped[0] == 0 && a.frames == 0 && a.unfilled == 0);
    CHECK(aspace_area_counters_read(space, AT_LINEAR, &a) == ASPACE_OK);
    CHECK(a.mapped[0] == 32 && a.frames == 0 && a.unfilled == 0);
    CHECK(aspace_area_counters_read(space, AT_TRAP + PAGE, &a) == ASPACE_E_NOT_MAPPED);
    CHECK(aspace_area_counters_read(space, pt->end, &a) == ASPACE_E_RANGE);
}

int main(void)
{
    static const enum aspace_format formats[] = {
        ASPACE_FMT_X86_EPT4,   ASPACE_FMT_X86_PT4,      ASPACE_FMT_X86_NPT5,
        ASPACE_FMT_ARM_S2_39,  ASPACE_FMT_ARM_S2_40,    ASPACE_FMT_ARM_S1_48,
        ASPACE_FMT_RISCV_SV39, ASPACE_FMT_RISCV_SV48X4, ASPACE_FMT_LOONGARCH_S1,
    };

    host = aligned_alloc(ASPACE_CACHE_LINE, ASPACE_HOST_BYTES(CPUS));
    space = aligned_alloc(ASPACE_CACHE_LINE, ASPACE_BYTES(CPUS));
    if (!aspace_linux_default() || !host || !space) {
        return 2;
    }
    for (unsigned i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        build(formats[i]);
        dump_tells();
        why_tells();
        counters_count();
        audit_finds_damage();
        demolish();
    }
    free(space);
    free(host);
    printf("%lu passed, %lu failed\n", passed, failed);
    return failed != 0;
}
