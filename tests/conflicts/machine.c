/* SPDX-License-Identifier: BSD-2-Clause */
/* The port and the HAL of the conflict checker, and what lies where. Not instrumented: what is done here is
 * nobody's. */
#include "machine.h"

#include <aspace/fork.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "pt/gather.h"
#include "space/space.h"

enum {
    CPU_BYTES = 32 << 20,
    CPU_FRAMES = CPU_BYTES >> 12,
    FRAMES = CPUS * CPU_FRAMES,
    MANY_SPINS = 10000000,
    COUNT_LEVELS = 4
};

enum frame_kind { FRAME_DATA, FRAME_CHUNK, FRAME_PAGE, FRAME_RECORDS, FRAME_COUNTS, FRAME_TABLE };

unsigned conflicts_cpu;
char *conflicts_memory;
struct machine machine;
struct outside outside;
static struct machine_config current;

static struct frames {
    uint64_t next; /* first address never handed out */
    uint64_t pooled[CPU_FRAMES];
    size_t n;
} frames[CPUS];
static uint8_t kinds[FRAMES];

static size_t space_bytes(void)
{
    return (ASPACE_BYTES(CPUS) + 4095) & ~(size_t)4095;
}

static size_t host_bytes(void)
{
    return (ASPACE_HOST_BYTES(CPUS) + 4095) & ~(size_t)4095;
}

/* ------------------------------------------------------------------------------------------------- port and HAL */

static void others_go_on(void)
{
    unsigned me = conflicts_cpu;
    for (unsigned i = 0; i < CPUS; i++) {
        machine_be(i);
        aspace_quiescent(machine.host);
    }
    machine_be(me);
}

void conflicts_stuck(void)
{
    if (machine.patient)
        others_go_on();
    if (++machine.spins < MANY_SPINS)
        return;
    fprintf(stderr, "conflicts: an operation waits for ever\n");
    abort();
}

void conflicts_assert_fail(const char *expr, const char *file, int line)
{
    fprintf(stderr, "conflicts: %s:%d: assertion %s\n", file, line, expr);
    abort();
}

static aspace_pa_t take(struct frames *f, uint64_t base, unsigned order)
{
    uint64_t size = 4096ull << order, pa = (f->next + size - 1) & ~(size - 1);
    if (pa + size > base + CPU_BYTES)
        return ASPACE_PA_NONE;
    f->next = pa + size;
    return pa;
}

/* What another CPU does at this moment, if something was asked for. */
static void elsewhere(void)
{
    void (*f)(void) = machine.meanwhile;
    unsigned me = conflicts_cpu;
    machine.meanwhile = NULL;
    if (f)
        f();
    machine_be(me);
}

static aspace_pa_t hal_alloc(void *ctx, unsigned order, unsigned flags)
{
    struct frames *f = &frames[conflicts_cpu];
    (void)ctx;
    if (flags & ASPACE_ALLOC_TABLE)
        elsewhere();
    if (order && !(flags & ASPACE_ALLOC_TABLE) && !machine.huge)
        return ASPACE_PA_NONE;
    if (!order && f->n) {
        uint64_t pa = f->pooled[--f->n];
        if (flags & ASPACE_ALLOC_ZERO)
            memset(conflicts_memory + pa, 0, 4096);
        return pa;
    }
    aspace_pa_t pa = take(f, (uint64_t)conflicts_cpu * CPU_BYTES, order);
    if (pa == ASPACE_PA_NONE)
        return pa;
    memset(&kinds[pa >> 12], flags & ASPACE_ALLOC_TABLE ? FRAME_PAGE : FRAME_DATA, (size_t)1 << order);
    if (flags & ASPACE_ALLOC_TABLE)
        kinds[pa >> 12] = FRAME_CHUNK;
    return pa;
}

static void hal_free(void *ctx, aspace_pa_t pa, unsigned order)
{
    struct frames *f = &frames[conflicts_cpu];
    (void)ctx;
    if (machine.reuse && !order && f->n < CPU_FRAMES)
        f->pooled[f->n++] = pa;
}

static void hal_flush(void *ctx, const struct aspace_flush *flush)
{
    (void)ctx;
    (void)flush;
}

static void hal_flush_local(void *ctx, uint64_t tag, bool stage2)
{
    (void)ctx;
    (void)tag;
    (void)stage2;
}

static const struct aspace_hal hal = {
    .alloc = hal_alloc,
    .free = hal_free,
    .tlb_flush = hal_flush,
    .tlb_flush_local = hal_flush_local,
};

/* ------------------------------------------------------------------------------------------------------ the machine */

void machine_init(void)
{
    conflicts_memory = mmap(NULL, (size_t)CPUS * CPU_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    machine.host = aligned_alloc(4096, host_bytes());
    bool there = conflicts_memory != MAP_FAILED && machine.host;
    for (unsigned i = 0; i < SPACES; i++) {
        machine.space[i] = aligned_alloc(4096, space_bytes());
        there = there && machine.space[i];
    }
    if (!there) {
        fprintf(stderr, "conflicts: out of memory\n");
        exit(2);
    }
    for (unsigned i = 0; i < CPUS; i++)
        frames[i].next = (uint64_t)i * CPU_BYTES;
}

void machine_be(unsigned cpu)
{
    conflicts_cpu = cpu;
}

void machine_settle(void)
{
    others_go_on();
    while (aspace_drain(machine.host))
        others_go_on();
}

/* Halfway between a refill and a spill, and ids to come from a block that is begun. */
static void warm(struct aspace_host *host)
{
    struct area *area = area_alloc(host);
    if (!area)
        abort();
    area_free(host, area);
    (void)area_new_id(host);
    struct node *page = pool_alloc(host);
    if (!page)
        abort();
    pool_free(host, page);
}

static void create(struct aspace *s, const struct machine_config *config)
{
    struct aspace_config c = {
        .format = config->format,
        .size = 1ull << 44,
        .tag = 1,
        .quota_tables = config->quota ? 1 << 20 : 0,
        .quota_frames = config->quota ? 1 << 20 : 0,
    };
    int rc = aspace_create(s, machine.host, &c);
    if (rc) {
        fprintf(stderr, "conflicts: create: %s\n", aspace_error_message(rc));
        exit(2);
    }
}

/* What happens once in the life of a space has happened: something went to a deferred list. */
static void begin_life(struct aspace *s)
{
    struct aspace_map q = {.va = 0, .size = 4096, .kind = ASPACE_KIND_LAZY, .rights = ASPACE_R};
    if (aspace_map(s, &q, NULL) || aspace_fault(s, 0, ASPACE_R, NULL) != ASPACE_FAULT_DONE || aspace_unmap(s, 0, 4096))
        abort();
    machine_settle();
}

static void forget_memory(void)
{
    for (unsigned i = 0; i < CPUS; i++) {
        uint64_t base = (uint64_t)i * CPU_BYTES, used = frames[i].next - base;
        memset(conflicts_memory + base, 0, used);
        memset(&kinds[base >> 12], FRAME_DATA, used >> 12);
        frames[i].next = base;
        frames[i].n = 0;
    }
    for (unsigned i = 0; i < SPACES; i++)
        memset((void *)machine.space[i], 0, space_bytes());
}

void machine_reset(const struct machine_config *config)
{
    struct aspace_host_config h = {.cpus = CPUS, .smr = config->smr};
    current = *config;
    forget_memory();
    machine_be(CPU_OTHER);
    if (aspace_host_init(machine.host, &hal, NULL, &h)) {
        fprintf(stderr, "conflicts: the host cannot be made\n");
        exit(2);
    }
    for (unsigned i = 0; i < CPUS; i++) {
        machine_be(i);
        aspace_cpu_online(machine.host);
    }
    machine_be(CPU_OTHER);
    for (unsigned i = 0; i < CREATED; i++) {
        create(machine.space[i], config);
        begin_life(machine.space[i]);
        if (config->idle) {
            aspace_activate(machine.space[i]);
            aspace_deactivate(machine.space[i]);
        }
    }
    for (unsigned cpu = CPU_ONE; cpu <= CPU_TWO; cpu++) {
        machine_be(cpu);
        warm(machine.host);
        for (unsigned i = 0; i < CREATED; i++)
            aspace_activate(machine.space[i]);
    }
}

void machine_fork(unsigned space)
{
    struct aspace *copy = machine.space[FORKED_FROM + space];
    create(copy, &current);
    int rc = aspace_fork(machine.space[space], copy);
    if (rc) {
        fprintf(stderr, "conflicts: fork: %s\n", aspace_error_message(rc));
        exit(2);
    }
    machine_settle();
}

/* ------------------------------------------------------------------------------------------------------------ names */

struct member {
    const char *name;
    size_t offset, bytes;
};

#define MEMBER(type, name)                                                                                             \
    {                                                                                                                  \
#name, offsetof(type, name), sizeof(((type *)NULL)->name)                                                      \
    }
#define END                                                                                                            \
    {                                                                                                                  \
        NULL, 0, 0                                                                                                     \
    }

#define M(name) MEMBER(struct aspace_host, name)
static const struct member host_members[] = {
    M(hal),      M(ctx),        M(cpus),        M(chunk_order), M(full_flush_entries),
    M(smr),      M(smr_epoch),  M(next_id),     M(spaces),      M(lock),
    M(chunks),   M(emergency),  M(n_emergency), M(area_pages),  M(area_partial),
    M(area_dir), M(share_root), M(pin_root),    M(pinned),      M(shares),
    END,
};
#undef M
#define M(name) MEMBER(struct host_cpu, name)
static const struct member cpu_members[] = {
    M(smr_seen),   M(smr_nest),    M(limbo_lock), M(limbo_open), M(limbo_first),
    M(limbo_last), M(limbo_polls), M(releasing),  M(n_tables),   M(n_areas),
    M(id_next),    M(id_end),      M(tables),     M(areas),      END,
};
#undef M
#define M(name) MEMBER(struct pt, name)
static const struct member pt_members[] = {
    M(F),
    M(host),
    M(root),
    M(root_slots),
    M(walk_id),
    M(base),
    M(end),
    M(top),
    M(max_level),
    M(fault_around),
    M(tag),
    M(deferred),
    M(zero_leaf),
    M(C),
    M(owner),
    M(quota_tables),
    M(quota_frames),
    M(root_pa),
    M(used_tables),
    M(used_frames),
    M(flush_generation),
    M(active),
    M(known),
    M(cpu),
    M(gate),
    M(log),
    M(gone),
    M(pending),
    M(log_lock),
    END,
};
#undef M
#define M(name) MEMBER(struct aspace, name)
static const struct member space_members[] = {
    M(state),    M(user),       M(released),     M(mirror),   M(context), M(pins), M(completing),
    M(sweep_va), M(watch_lock), M(watch_number), M(watchers), M(pinned),  END,
};
#undef M
#define M(name) MEMBER(struct pt_cpu, name)
static const struct member pt_cpu_members[] = {
    M(faults), M(tables),       M(frames),     M(flushes),   M(full_flushes), M(flushed_entries),
    M(splits), M(collapses),    M(migrations), M(retries),   M(flush_seen),   M(next_va),
    M(window), M(active_count), M(flush_va),   M(flush_end), M(cow_copies),   M(cow_takes),
    END,
};
#undef M
#define M(name) MEMBER(struct node, name)
static const struct member node_members[] = {
    M(lock),
    M(seq),
    M(count),
    M(n_segs),
    M(stale),
    M(doomed),
    M(building),
    M(flushing),
    {"level,order", offsetof(struct node, flushing) + 1, 1},
    /* bits of one byte */ M(dense),
    M(next),
    M(segs),
    END,
};
#undef M
#define M(name) MEMBER(struct area, name)
static const struct member area_members[] = {
    M(va_base),   M(size),           M(id),     M(pa),   M(offset),     M(cookie), M(backend), M(ctx),
    M(doorbells), M(doorbell_count), M(index),  M(kind), M(max_rights), M(attr),   M(fork),    M(flags),
    M(max_level), M(pages),          M(faults), END,
};
#undef M

#define M(name) MEMBER(struct aspace_object, name)
static const struct member object_members[] = {
    M(ops), M(host), M(size), M(sequence), M(references), M(lock), M(first), M(append), END,
};
#undef M
#define M(name) MEMBER(struct aspace_anon, name)
static const struct member anon_members[] = {M(limit), M(frames), M(root), M(released), END};
#undef M
#define M(name) MEMBER(struct aspace_ticket, name)
static const struct member ticket_members[] = {
    M(waiter), M(pending), M(space), M(area_id), M(pa_end), M(state), M(need), M(leads), END,
};
#undef M
#define M(name) MEMBER(struct aspace_watcher, name)
static const struct member watcher_members[] = {M(va), M(size), M(gone), M(next), M(number), M(calls), END};
#undef M
#define M(name) MEMBER(struct aspace_dirty_ring, name)
static const struct member ring_members[] = {M(pages), M(entries), M(tail), M(head), M(overflow), END};
#undef M

/* What an address belongs to. */
struct what {
    char name[NAME_BYTES];
    const struct member *members; /* of the structure at `base`; NULL: it has none */
    uintptr_t base;
    unsigned owner;
};

static void what_structure(struct what *w, const char *name, const struct member *members, const void *base)
{
    snprintf(w->name, sizeof w->name, "%s", name);
    w->members = members;
    w->base = (uintptr_t)base;
}

static bool inside(uintptr_t addr, const void *p, size_t bytes)
{
    return addr >= (uintptr_t)p && addr - (uintptr_t)p < bytes;
}

static void what_host(struct what *w, uintptr_t addr)
{
    const struct host_cpu *cpus = machine.host->cpu;
    if (!inside(addr, cpus, CPUS * sizeof *cpus)) {
        what_structure(w, "host", host_members, machine.host);
        return;
    }
    w->owner = (unsigned)((addr - (uintptr_t)cpus) / sizeof *cpus);
    what_structure(w, "cpu", cpu_members, &cpus[w->owner]);
}

static void what_space(struct what *w, const struct aspace *s, uintptr_t addr)
{
    if (inside(addr, s->cpu, CPUS * sizeof s->cpu[0])) {
        w->owner = (unsigned)((addr - (uintptr_t)s->cpu) / sizeof s->cpu[0]);
        what_structure(w, "space-cpu", pt_cpu_members, &s->cpu[w->owner]);
    } else if (inside(addr, &s->pt, sizeof s->pt)) {
        what_structure(w, "space", pt_members, &s->pt);
    } else {
        what_structure(w, "space", space_members, s);
    }
}

/* The descriptor of one of a chunk's frames. */
static void what_descriptor(struct what *w, uint64_t pa)
{
    unsigned index = (unsigned)(pa & 4095) / NODE_BYTES, kind = kinds[(pa >> 12) + index];
    char name[NAME_BYTES];
    if (!index) {
        what_structure(w, "chunk", NULL, NULL);
        return;
    }
    snprintf(name, sizeof name, kind >= FRAME_TABLE ? "node.L%u" : "node.page", kind - FRAME_TABLE);
    what_structure(w, name, node_members, conflicts_memory + (pa & ~(uint64_t)(NODE_BYTES - 1)));
}

static void what_frame(struct what *w, uint64_t pa)
{
    unsigned kind = kinds[pa >> 12];
    switch (kind) {
    case FRAME_DATA: what_structure(w, "frame", NULL, NULL); break;
    case FRAME_CHUNK: what_descriptor(w, pa); break;
    case FRAME_PAGE: what_structure(w, "page", NULL, NULL); break;
    case FRAME_COUNTS: what_structure(w, "counts", NULL, NULL); break;
    case FRAME_RECORDS:
        if (pa & 4095 & ~(sizeof(struct area) - 1))
            what_structure(w, "record", area_members, conflicts_memory + (pa & ~(uint64_t)(sizeof(struct area) - 1)));
        else
            what_structure(w, "record-page", NULL, NULL);
        break;
    default: snprintf(w->name, sizeof w->name, "slots.L%u", kind - FRAME_TABLE); break;
    }
}

/* What the embedder has. */
static void what_outside(struct what *w, uintptr_t addr)
{
    const struct aspace_dirty_ring *rings = outside.rings[0];
    if (inside(addr, &outside.anon.object, sizeof outside.anon.object)) {
        what_structure(w, "object", object_members, &outside.anon.object);
    } else if (inside(addr, &outside.anon, sizeof outside.anon)) {
        what_structure(w, "anon", anon_members, &outside.anon);
    } else if (inside(addr, outside.ticket, sizeof outside.ticket)) {
        size_t i = (addr - (uintptr_t)outside.ticket) / sizeof *outside.ticket;
        what_structure(w, "ticket", ticket_members, &outside.ticket[i]);
    } else if (inside(addr, &outside.watcher, sizeof outside.watcher)) {
        what_structure(w, "watcher", watcher_members, &outside.watcher);
    } else if (inside(addr, rings, sizeof outside.rings)) {
        size_t i = (addr - (uintptr_t)rings) / sizeof *rings;
        what_structure(w, "ring", ring_members, rings + i);
        w->owner = (unsigned)(i % CPUS);
    } else {
        what_structure(w, "ring-pages", NULL, NULL);
        w->owner = (unsigned)((addr - (uintptr_t)outside.ring_pages) / sizeof outside.ring_pages[0][0] % CPUS);
    }
}

static struct what what_is(uintptr_t addr)
{
    struct what w = {.owner = CPUS};
    if (inside(addr, machine.host, host_bytes())) {
        what_host(&w, addr);
    } else if (inside(addr, conflicts_memory, (size_t)CPUS * CPU_BYTES)) {
        what_frame(&w, addr - (uintptr_t)conflicts_memory);
    } else if (inside(addr, &outside, sizeof outside)) {
        what_outside(&w, addr);
    } else {
        what_structure(&w, "elsewhere", NULL, NULL);
        for (unsigned i = 0; i < SPACES; i++)
            if (inside(addr, machine.space[i], space_bytes()))
                what_space(&w, machine.space[i], addr);
    }
    return w;
}

/* A line with several members of a structure has the name of the first that begins there. */
void machine_name(uintptr_t line, char name[NAME_BYTES])
{
    struct what w = what_is(line);
    const char *member = NULL;
    bool whole = !strncmp(w.name, "node", 4);
    for (const struct member *m = w.members; m && m->name && !whole; m++) {
        uintptr_t at = w.base + m->offset;
        if (at <= line || (at < line + TRACE_LINE && !member))
            member = at + m->bytes > line ? m->name : member;
    }
    snprintf(name, NAME_BYTES, member ? "%.20s.%.18s" : "%.20s", w.name, member ? member : "");
}

unsigned machine_owner(uintptr_t line)
{
    return what_is(line).owner;
}

void machine_members(uintptr_t addr, uintptr_t end, char *text, size_t bytes)
{
    struct what w = what_is(addr);
    size_t n = 0;
    text[0] = '\0';
    for (const struct member *m = w.members; m && m->name && n < bytes; m++)
        if (w.base + m->offset < end && w.base + m->offset + m->bytes > addr)
            n += (size_t)snprintf(text + n, bytes - n, "%s%s", n ? "," : "", m->name);
    if (!w.members && !strncmp(w.name, "slots", 5))
        snprintf(text, bytes, "%u..%u", (unsigned)(addr & 4095) / 8, (unsigned)((end - 1) & 4095) / 8);
}

/* ------------------------------------------------------------------------------------------------------- the survey */

static void mark(const struct node *n, unsigned kind)
{
    kinds[node_pa(n) >> 12] = (uint8_t)kind;
}

static void survey_table(const struct pt *pt, const struct node *n)
{
    mark(n, FRAME_TABLE + n->level);
    for (unsigned i = 0; n->level && i < node_entries(pt->F, n->level); i++) {
        uint64_t e = slot_peek(node_slots(n) + i);
        if (slot_kind(pt->F, n->level, e) == SLOT_TABLE)
            survey_table(pt, pt_child(pt, e));
    }
}

/* Pages of counts, and those above them. */
static void survey_counts(void *const *page, unsigned level)
{
    if (!page)
        return;
    kinds[aspace_virt_to_phys(page) >> 12] = FRAME_COUNTS;
    for (unsigned i = 0; level && i < 512; i++)
        survey_counts(page[i], level - 1);
}

void machine_survey(void)
{
    const struct aspace_host *host = machine.host;
    survey_counts(host->share_root, COUNT_LEVELS);
    survey_counts(host->pin_root, COUNT_LEVELS);
    for (unsigned i = 0; i < SPACES; i++)
        if (machine.space[i]->pt.root)
            survey_table(&machine.space[i]->pt, machine.space[i]->pt.root);
    for (uint32_t p = 0; p < host->area_pages; p++)
        if (host->area_dir[p >> 9][p & 511])
            kinds[aspace_virt_to_phys(host->area_dir[p >> 9][p & 511]) >> 12] = FRAME_RECORDS;
}

/* ----------------------------------------------------------------------------------------------------- the snapshot */

static struct copy {
    char *of, *bytes;
    size_t n, room;
} copies[2 + SPACES + CPUS];

static void copy_region(struct copy *c, void *of, size_t n)
{
    if (n > c->room) {
        free(c->bytes);
        c->bytes = malloc(n);
        c->room = n;
    }
    if (n && !c->bytes)
        abort();
    c->of = of;
    c->n = n;
    if (n)
        memcpy(c->bytes, of, n);
}

void machine_snapshot(void)
{
    struct copy *c = copies;
    copy_region(c++, machine.host, host_bytes());
    copy_region(c++, &outside, sizeof outside);
    for (unsigned i = 0; i < SPACES; i++)
        copy_region(c++, machine.space[i], space_bytes());
    for (unsigned i = 0; i < CPUS; i++) {
        uint64_t base = (uint64_t)i * CPU_BYTES;
        copy_region(c++, conflicts_memory + base, frames[i].next - base);
    }
}

uintptr_t machine_unseen(const struct trace *t)
{
    for (const struct copy *c = copies; c < copies + sizeof copies / sizeof *copies; c++)
        for (size_t i = 0; i < c->n; i++) {
            if (!(i & 4095) && c->n - i >= 4096 && !memcmp(c->of + i, c->bytes + i, 4096))
                i += 4095;
            else if (c->of[i] != c->bytes[i] && !trace_wrote(t, (uintptr_t)c->of + i))
                return (uintptr_t)c->of + i;
        }
    return 0;
}
