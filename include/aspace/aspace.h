/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Spaces, areas and the operations on them. A *host* is one instance of the library: the embedder's functions, the
 * CPUs, the pool of page tables and the reclamation they share. A *space* is one address space on a host.
 *
 * Conventions. Addresses and sizes are bytes. Unless an operation says otherwise:
 *   context    any CPU, any time, also on the same space; takes page-table locks; calls the HAL; never blocks other
 *              than by spinning on a page-table lock or on a TLB acknowledgement. aspace_cpu_id() must be stable.
 *   TLB        on return no CPU can use a translation that the operation took away.
 *   failure    a negative aspace_error; the space is exactly as before and nothing is leaked.
 */
#ifndef ASPACE_ASPACE_H
#define ASPACE_ASPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <aspace/format.h>
#include <aspace/hal.h>
#include <aspace/port.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ASPACE_MUST_CHECK __attribute__((warn_unused_result))
#else
#define ASPACE_MUST_CHECK
#endif

/* X(identifier, value, message) */
#define ASPACE_ERRORS(X)                                                                                               \
    X(OK, 0, "success")                                                                                                \
    X(INVALID, -1, "an argument is zero, unaligned or contradicts another")                                            \
    X(RANGE, -2, "an address is outside the space or above the width of the format")                                   \
    X(EXISTS, -3, "something is mapped there already")                                                                 \
    X(NOT_MAPPED, -4, "nothing is mapped there")                                                                       \
    X(NO_MEMORY, -5, "out of memory")                                                                                  \
    X(PERMISSION, -6, "more rights than the area's maximum, or an access it forbids")                                  \
    X(UNSUPPORTED, -7, "the format or the backend cannot express this")                                                \
    X(CLOSED, -8, "the space is closing or closed")                                                                    \
    X(QUOTA, -9, "the quota of the space is used up")                                                                  \
    X(LIMIT, -10, "a fixed limit of the library is reached")                                                           \
    X(RETRY, -11, "a change is in flight; try again")                                                                  \
    X(BUSY, -12, "still in use")                                                                                       \
    X(FAULT, -13, "the memory behind the address could not be supplied")                                               \
    X(MORE, -14, "the budget is used up and work is left; call again")                                                 \
    X(STALE, -15, "what it was for has changed meanwhile")

enum aspace_error {
#define ASPACE_X(id, value, message) ASPACE_E_##id = (value),
    ASPACE_ERRORS(ASPACE_X)
#undef ASPACE_X
        ASPACE_OK = ASPACE_E_OK
};

/* "EXISTS", and the message above; "?" for a number that is no error. */
const char *aspace_error_name(int error);
const char *aspace_error_message(int error);

struct aspace_range {
    aspace_va_t va;
    uint64_t size;
};

/* ------------------------------------------------------------------------------------------------------- the host */

/* How lock-free readers are protected (SMR) when the HAL brings nothing of its own. */
enum aspace_smr {
    ASPACE_SMR_EPOCH, /* every read section announces itself: a store and a fence, no duty for the embedder */
    ASPACE_SMR_QSBR,  /* read sections are free; every online CPU calls aspace_quiescent now and then */
};

struct aspace_host_config {
    unsigned cpus; /* number of CPUs; 0 means 1. At most ASPACE_CPUS_MAX */
    enum aspace_smr smr;
    unsigned chunk_order;        /* tables come from the HAL in chunks of 2^n frames, one of them for descriptors;
                                  1 to 6, 0 means 6. At least 2 for a format with roots of 8 KiB, 3 for 16, 5 for 64 */
    unsigned full_flush_entries; /* above so many leaves an operation flushes the whole tag; 0 means 512 */
    uint32_t share_max;          /* most mappings of one frame, and as many of the large one that it is part of: a fork
                                  copies what has more. At least 2, at most 2^30 - 1, which 0 means */
};

/* Opaque; ASPACE_HOST_BYTES(cpus) bytes, aligned to ASPACE_CACHE_LINE, supplied by the caller and zeroed by init. */
struct aspace_host;
#define ASPACE_HOST_BYTES(cpus) (8192u + (size_t)(cpus)*2048u)

/*
 * Set up a host in caller's memory. hal and ctx must stay valid until aspace_host_fini. Allocates nothing.
 * Failure: INVALID (no alloc or free, too many CPUs, incomplete SMR hooks, chunk_order or share_max out of
 * range).
 */
ASPACE_MUST_CHECK int aspace_host_init(struct aspace_host *host, const struct aspace_hal *hal, void *ctx,
                                       const struct aspace_host_config *config);

/* Tear down: all spaces must be destroyed. Waits for grace periods, returns every cached frame to the HAL.
 * Failure: BUSY if spaces are left. */
ASPACE_MUST_CHECK int aspace_host_fini(struct aspace_host *host);

/* Wait for a grace period and free what is deferred; then return cached tables and records to the HAL as far as they
 * are unused. After every space is destroyed this returns every frame. No other call may be in progress on the host,
 * since it reaches into what the CPUs keep at hand. Must not be called inside a read section; in QSBR mode it
 * announces a quiescent state for the calling CPU and spins until the other online CPUs did too. */
void aspace_trim(struct aspace_host *host);

/* Free what this CPU has deferred, as far as grace periods have passed; never waits. Returns the number of items still
 * waiting. Operations that run out of memory look at the lists of all CPUs. */
size_t aspace_drain(struct aspace_host *host);

/* QSBR: a CPU is offline until it says otherwise, and must not call anything else while offline. `aspace_quiescent`
 * says that the calling CPU is in no read section now. All three are no-ops in other modes. Cost: a store. */
void aspace_cpu_online(struct aspace_host *host);
void aspace_cpu_offline(struct aspace_host *host);
void aspace_quiescent(struct aspace_host *host);

/* A read section: tables and frames seen inside are not recycled before its end. May be nested. Must not wait for
 * anything, and no aspace_trim, destroy or host_fini inside. Cost: nothing (QSBR) or a store and a fence (EPOCH). */
void aspace_read_begin(struct aspace_host *host);
void aspace_read_end(struct aspace_host *host);

/* ------------------------------------------------------------------------------------------------------- the space */

struct aspace_config {
    enum aspace_format format;
    aspace_va_t base;        /* first address, 4 KiB aligned */
    uint64_t size;           /* bytes, 4 KiB aligned, not 0; base + size within the format's width */
    uint32_t features;       /* ASPACE_FEAT_* of the CPUs that walk this space */
    uint32_t tag;            /* VMID or ASID, unique while live; passed to the HAL and put into the registers */
    unsigned output_bits;    /* width of physical addresses; 0 means the most the format can hold */
    unsigned encrypt_bit;    /* position of the encrypted/shared bit in an entry; 0 means none */
    unsigned max_leaf_level; /* largest leaf used: 0 means no limit, 1 means 4 KiB only, 2 up to 2 MiB, 3 up to 1 GiB,
                                  4 up to 512 GiB, 5 up to 256 TiB. Above 1 GiB are linear leaves of RISC-V alone */
    unsigned fault_around;   /* pages a fault may fill beside the one asked for, at most 64; 0 means none. The window
                                  grows to this on sequential access and shrinks at once on any other */
    uint64_t quota_tables;   /* most tables held; 0 means no limit */
    uint64_t quota_frames;   /* most data frames held, 4 KiB each; 0 means no limit */
    uint64_t mair;           /* Arm stage 1: MAIR_EL1; 0 means 0xff (WB) 0x04 (nGnRE) 0x44 (NC) 0x00 from index 0 */
    uint64_t pat;            /* x86 process and nested tables: IA32_PAT; 0 means the value after reset with WC in PA4 */
    void *user;              /* the embedder's own */
    void (*released)(void *user); /* nothing refers to the space's memory any more: destroyed, and every ticket has
                                  ended; called by the last of them. May be NULL where there are no tickets */
};

/* Opaque; aspace_bytes(host) bytes, aligned to ASPACE_CACHE_LINE, supplied by the caller. */
struct aspace;
#define ASPACE_BYTES(cpus) (2048u + (size_t)(cpus)*256u)
size_t aspace_bytes(const struct aspace_host *host);

/*
 * Create an empty space. Allocates one root table. Failure: INVALID, RANGE (base, size, format width),
 * UNSUPPORTED (a feature or layout the format has not, or a root larger than the host's chunks), NO_MEMORY, QUOTA.
 * Cost: zeroing the root table.
 */
ASPACE_MUST_CHECK int aspace_create(struct aspace *space, struct aspace_host *host, const struct aspace_config *config);

/* After close every operation answers CLOSED, aspace_fault_complete too (ticket.h); who waits for a page is woken. But
 * for lookups: translations stay until destroy. Does not wait. */
void aspace_close(struct aspace *space);

/*
 * Tear down in bounded steps: about `budget` tables a call. MORE while work is left, OK when every frame and table has
 * been returned and the memory of the space may be reused, if no ticket (ticket.h) still refers to it. Closes the space
 * first. The space must not be active on any CPU, and no other call on it may be in progress but the end of a ticket.
 * Not inside a read section; waits for a grace period in the last step. Failure: BUSY if active somewhere, or if pages
 * are pinned.
 */
ASPACE_MUST_CHECK int aspace_destroy_step(struct aspace *space, size_t budget);
ASPACE_MUST_CHECK int aspace_destroy(struct aspace *space); /* all steps at once */

aspace_va_t aspace_base(const struct aspace *space);
aspace_va_t aspace_end(const struct aspace *space);  /* one past the last byte */
aspace_va_t aspace_last(const struct aspace *space); /* the last byte */
uint64_t aspace_size(const struct aspace *space);
bool aspace_contains(const struct aspace *space, aspace_va_t va, uint64_t size); /* false if size is 0 or it wraps */
enum aspace_format aspace_format_of(const struct aspace *space);
void *aspace_user(const struct aspace *space);
aspace_pa_t aspace_root(const struct aspace *space); /* physical address of the root table */

/* What a CPU needs to walk the space. `base` is EPTP, nCR3/CR3, VTTBR_EL2, TTBR0_EL1, hgatp, satp, PGDL/...; `control`
 * is VTCR_EL2 or TCR_EL1 (fields that describe this space) or PWCL|PWCH<<32; 0 elsewhere. */
struct aspace_registers {
    uint64_t base;
    uint64_t control;
    uint64_t memory_types; /* MAIR_EL1 or IA32_PAT that the attributes assume; 0 where there is none */
};
void aspace_registers(const struct aspace *space, struct aspace_registers *registers);

/*
 * First stage: share the kernel's half of the addresses. upper[0] to upper[255] are what the upper half of a root is to
 * hold: the kernel's root from entry 256 on or, where the kernel's space is one of the library's, its root from entry 0
 * on. Those present are copied and marked global where an entry for a table can be (RISC-V; elsewhere the kernel's
 * leaves say it: ASPACE_FEAT_GLOBAL). The tables below stay the kernel's: never looked at, changed or freed by this
 * space. Call it again, for each space, when entries were added to the kernel's root; to flush after one was taken away
 * or changed is the caller's business. Failure: INVALID, UNSUPPORTED (a second stage, and formats with a root of its
 * own for the kernel: Arm, LoongArch), CLOSED.
 */
enum { ASPACE_UPPER_ENTRIES = 256 };
ASPACE_MUST_CHECK int aspace_share_upper(struct aspace *space, const uint64_t *upper);

/* The tag (VMID or ASID) in use now: where the registers above do not hold it, as in a VMCB or with EPT. */
uint32_t aspace_tag(const struct aspace *space);

/* The tag to be used from now on, for roll-over: caller guarantees that the space is active nowhere. aspace/tag.h has
 * an allocator that does all of this. */
void aspace_set_tag(struct aspace *space, uint32_t tag);

/* A CPU begins, and ends, to walk the space. Activate flushes the tag locally if invalidations were made while the CPU
 * was not active. Call activate before the register is loaded, deactivate after it is replaced. */
void aspace_activate(struct aspace *space);
void aspace_deactivate(struct aspace *space);

/* --------------------------------------------------------------------------------------------------------- mapping */

enum aspace_kind {
    ASPACE_KIND_LINEAR,   /* known contiguous physical memory; frames are borrowed, never freed */
    ASPACE_KIND_EAGER,    /* every frame allocated now, zeroed, huge where aligned and available */
    ASPACE_KIND_LAZY,     /* frames allocated at first touch, zeroed */
    ASPACE_KIND_TRAP,     /* no leaf ever: a fault reports cookie and offset */
    ASPACE_KIND_ROM,      /* linear memory for reads and fetches, a write is reported as a trap */
    ASPACE_KIND_RESERVED, /* holds the range; a fault answers PERMISSION */
    ASPACE_KIND_GUARD,    /* the same with an answer of its own, GUARD */
    ASPACE_KIND_CUSTOM,   /* the embedder's backend */
    ASPACE_KIND_PRIVATE,  /* pages of an object, which are copied before they are written */
    ASPACE_KIND_SHARED,   /* pages of an object: whoever maps it sees the same ones */
};

enum aspace_fork_policy {
    ASPACE_FORK_COW,
    ASPACE_FORK_SHARE,
    ASPACE_FORK_COPY,
    ASPACE_FORK_DROP,
    ASPACE_FORK_WIPE,
    ASPACE_FORK_REFUSE,
};

enum {
    ASPACE_MAP_REPLACE = 1u << 0, /* unmap what is there and map this, in one step */
    ASPACE_MAP_COUNT = 1u << 1,   /* count this area's faults in its record: a shared cache line a fault */
};

struct aspace_backend; /* backend.h */
struct aspace_object;  /* object.h */
struct aspace_doorbell;

struct aspace_map {
    aspace_va_t va; /* 4 KiB aligned */
    uint64_t size;  /* bytes, 4 KiB aligned, not 0 */
    enum aspace_kind kind;
    uint32_t rights;         /* ASPACE_R... current protection */
    uint32_t max_rights;     /* the most that protect may grant; 0 means `rights` */
    uint32_t attr;           /* enum aspace_attr, with ASPACE_ATTR_ENCRYPTED where wanted; DEFAULT (0) for TRAP,
                                     RESERVED and GUARD. Only DEFAULT gets the shortest fault path */
    uint32_t flags;          /* ASPACE_MAP_* */
    uint32_t max_leaf_level; /* as in aspace_config, for this area */
    enum aspace_fork_policy fork;
    aspace_pa_t pa;                          /* LINEAR, ROM: what va translates to; 4 KiB aligned */
    uint64_t cookie;                         /* TRAP, ROM: reported with a fault; listed by query for every kind */
    const struct aspace_doorbell *doorbells; /* TRAP: optional array, caller's memory, valid while mapped */
    size_t doorbell_count;
    const struct aspace_backend *backend; /* CUSTOM */
    void *backend_ctx;                    /* CUSTOM: handed to the backend */
    struct aspace_object *object;         /* PRIVATE, SHARED: referred to for as long as any page is mapped */
    uint64_t offset;                      /* CUSTOM, PRIVATE, SHARED: object offset of va, bytes, 4 KiB aligned */
    uint64_t reserved[8];                 /* for the library, during aspace_map_batch */
};

/*
 * Map a range. On EXISTS *culprit (may be NULL) is a range that is in the way. LINEAR uses the largest leaves that va,
 * pa, size and hardware allow. Failure: INVALID, RANGE, EXISTS, UNSUPPORTED (rights or attribute the format cannot
 * express), NO_MEMORY, QUOTA, CLOSED. Cost: LAZY, TRAP, RESERVED, GUARD, CUSTOM, PRIVATE, SHARED: boundary
 * slots only; LINEAR: its leaves; EAGER: its frames.
 */
ASPACE_MUST_CHECK int aspace_map(struct aspace *space, const struct aspace_map *request, struct aspace_range *culprit);

/* Map all of requests[0..n) or none. They may be in any order and must not overlap (INVALID); none may have REPLACE.
 * The `reserved` members are overwritten. One preparation, one round of locks. */
ASPACE_MUST_CHECK int aspace_map_batch(struct aspace *space, struct aspace_map *requests, size_t n,
                                       struct aspace_range *culprit);

/* Unmap everything and map all of requests[0..n), in one atomic step, as exec does: on any failure the old layout is
 * there as it was. Requests as for a batch; n 0 is aspace_clear. Lock-free readers see old, new, or a change in flight.
 * Needs memory, and quota, for the new layout beside the old one. Failure: as aspace_map_batch, but EXISTS. */
ASPACE_MUST_CHECK int aspace_replace_all(struct aspace *space, struct aspace_map *requests, size_t n);

/* Remove whatever is mapped in the range: several areas, holes, parts of areas and of huge pages. A range of whole
 * areas cannot fail; parts may need tables (NO_MEMORY, QUOTA). A range of holes is OK. Failure: INVALID, RANGE,
 * NO_MEMORY, QUOTA, CLOSED. Cost: tables, not pages, where whole tables are covered. */
ASPACE_MUST_CHECK int aspace_unmap(struct aspace *space, aspace_va_t va, uint64_t size);

/* Change the rights of the range. Pages not yet filled take the new rights too. No rights at all keeps the frames.
 * Failure: INVALID, RANGE, NOT_MAPPED (a hole), PERMISSION (beyond an area's maximum), UNSUPPORTED, NO_MEMORY,
 * QUOTA, CLOSED. */
ASPACE_MUST_CHECK int aspace_protect(struct aspace *space, aspace_va_t va, uint64_t size, uint32_t rights);

/* Drop the contents and keep the area: a later access reads zero (LAZY, EAGER), asks the backend (CUSTOM) or finds
 * the object's page (SHARED, and PRIVATE, whose copies are dropped). Holes and areas without contents of their own are
 * skipped, and so are leaves with a pinned page. Failure: INVALID, RANGE, NO_MEMORY, QUOTA, CLOSED. */
ASPACE_MUST_CHECK int aspace_discard(struct aspace *space, aspace_va_t va, uint64_t size);

/* As discard, but every page of the range reads zero afterwards, also where an object has data: PRIVATE pages become
 * zeroed ones of the area's own, SHARED ones are the object's to make zero. Holes, areas without contents, and pages
 * past the end of their object are skipped. Not atomic: *done (may be NULL) is how many bytes from va read zero.
 * Failure: INVALID, RANGE, UNSUPPORTED (CUSTOM, and objects that cannot), PERMISSION (SHARED, without the right to
 * write), BUSY (a page is pinned, and keeps its contents), NO_MEMORY, QUOTA, CLOSED, RETRY, or what the object's
 * `zero` answers.
 * Cost: of PRIVATE areas, a frame a page. */
ASPACE_MUST_CHECK int aspace_discard_zero(struct aspace *space, aspace_va_t va, uint64_t size, uint64_t *done);

/*
 * Move what the range holds to new_va: areas and parts of areas, filled pages with their frames, rights, accessed and
 * dirty, unfilled ones as such, holes as holes. The new range must be free and must not overlap the old one. A large
 * page stays one where both addresses are alike modulo its size, and is told in small ones elsewhere; contiguous runs
 * likewise. What moves counts as an area of its own, with a new id; offsets count on from where they were, and a CUSTOM
 * backend sees nothing of it: its pages are not released, and the end of all that its map call mapped is told once.
 *
 * Context: as all. Other range operations see the old layout or the new one. A fault or a lookup finds a page in the
 * old place, in the new one, or in flight (RETRY); never in both. TLB: a page is visible in the new place when no CPU
 * can use the old one any more. On EXISTS *culprit (may be NULL) is a range in the way.
 * Failure: INVALID (also for ranges that overlap), RANGE, EXISTS, NO_MEMORY, QUOTA, CLOSED. Tables_needed of
 * both ranges is enough. Cost: the slots of the old range, one invalidation.
 */
ASPACE_MUST_CHECK int aspace_move(struct aspace *space, aspace_va_t va, uint64_t size, aspace_va_t new_va,
                                  struct aspace_range *culprit);

/* Fill the unfilled pages of a range now; many CPUs may share the work. Not atomic: *done (may be NULL) is how many
 * bytes from va are filled. Failure: INVALID, RANGE, NOT_MAPPED, NO_MEMORY (or quota), FAULT (backend), CLOSED, RETRY
 * (a change is in flight, or a fork). */
ASPACE_MUST_CHECK int aspace_populate(struct aspace *space, aspace_va_t va, uint64_t size, uint64_t *done);

/*
 * Which pages were accessed since the last harvest, for working-set estimation: bit n of bitmap[n / 64] is set or
 * cleared for the page at va + n * 4096, and the accessed flags are cleared. A leaf of more than one page tells for all
 * its pages, and is cleared if the range has all of it. bitmap: caller's, (size / 4096 + 63) / 64 words; *accessed (may
 * be NULL): how many bits are set. Context: lock-free, also towards faults and range operations; a page that is
 * unmapped meanwhile counts or does not. TLB: on return no CPU can access a page without its flag being set again; of
 * two at once in one range, when both have returned.
 * Failure: INVALID, RANGE, CLOSED, UNSUPPORTED (hardware sets no flags: ASPACE_FEAT_AD). Cost: a compare-and-swap for
 * each leaf that was accessed, one invalidation.
 */
ASPACE_MUST_CHECK int aspace_harvest_accessed(struct aspace *space, aspace_va_t va, uint64_t size, uint64_t *bitmap,
                                              uint64_t *accessed);

/* Unmap everything. Failure: CLOSED. */
ASPACE_MUST_CHECK int aspace_clear(struct aspace *space);

/* Replace the page at va (any address in it) by the 4 KiB frame new_pa or, if ASPACE_PA_NONE, its whole leaf, of
 * whatever size, by a frame that the library allocates: break before make, contents copied. The old frame is freed.
 * Owned pages only (LAZY, EAGER, copies of PRIVATE).
 * Failure: INVALID, RANGE, NOT_MAPPED (not filled), UNSUPPORTED (not owned, or new_pa for a page that is part of a
 * large leaf, also if others have just made it so), BUSY (pinned), NO_MEMORY, CLOSED; the frame stays the caller's. */
ASPACE_MUST_CHECK int aspace_migrate(struct aspace *space, aspace_va_t va, aspace_pa_t new_pa);

/* Merge the small pages under one huge page of level `level` (1: 2 MiB, 2: 1 GiB; linear areas also 3: 512 GiB and 4:
 * 256 TiB where the format has them) that contains va into one leaf, and back by one level. Collapse needs one area
 * with one protection; pages not yet filled become zero. Accessed and dirty are kept.
 * Failure: INVALID, RANGE, NOT_MAPPED, UNSUPPORTED (cannot be one leaf), BUSY (pinned), NO_MEMORY, QUOTA (what is
 * not yet filled counts then), CLOSED. */
ASPACE_MUST_CHECK int aspace_collapse(struct aspace *space, aspace_va_t va, unsigned level);
ASPACE_MUST_CHECK int aspace_split(struct aspace *space, aspace_va_t va);

/* ------------------------------------------------------------------------------------------------------ looking up */

struct aspace_translation {
    aspace_pa_t pa;      /* of va itself, not of its page */
    uint64_t leaf_bytes; /* size of the leaf, or of the contiguous run it is part of */
    uint64_t length;     /* translate_limit: contiguous bytes from va, at most the cap; translate: to the leaf's end */
    uint32_t rights;
    uint32_t attr;
};

/*
 * Translate va as the MMU would. Lock-free, writes nothing shared. Failure: RANGE, NOT_MAPPED (nothing there, or
 * unfilled, or without any right), RETRY (a change is in flight after a bounded wait).
 * The answer is good for as long as the caller is in a read section, as a TLB entry that no flush reaches.
 */
ASPACE_MUST_CHECK int aspace_translate(struct aspace *space, aspace_va_t va, struct aspace_translation *t);

/* The same, and t->length is exactly the number of bytes, up to cap, whose output addresses are contiguous from va and
 * whose rights and attributes are equal. cap 0 is INVALID. */
ASPACE_MUST_CHECK int aspace_translate_limit(struct aspace *space, aspace_va_t va, uint64_t cap,
                                             struct aspace_translation *t);

struct aspace_area {
    aspace_va_t va; /* of the mapped range that contains the address asked for, as far as it is compatible */
    uint64_t size;
    enum aspace_kind kind;
    uint32_t rights, max_rights, attr;
    enum aspace_fork_policy fork;
    aspace_pa_t pa; /* LINEAR, ROM: of the member va; else ASPACE_PA_NONE */
    uint64_t id;    /* of the area record: never reused */
    uint64_t cookie;
    uint64_t offset;                      /* CUSTOM, PRIVATE, SHARED: object offset of the member va */
    const struct aspace_backend *backend; /* CUSTOM */
    void *backend_ctx;
    struct aspace_object *object; /* PRIVATE, SHARED */
};

/* The area at va, its extent limited to what one table knows (the whole extent: aspace_next). Lock-free, O(levels).
 * Failure: RANGE, NOT_MAPPED, RETRY. */
ASPACE_MUST_CHECK int aspace_query(struct aspace *space, aspace_va_t va, struct aspace_area *area);

/* The first area at or after va, with its whole extent, compatible neighbours merged; may be used to list all while
 * others change them. Failure: NOT_MAPPED (after the last), RETRY. Cost: tables visited. */
ASPACE_MUST_CHECK int aspace_next(struct aspace *space, aspace_va_t va, struct aspace_area *area);

enum {
    ASPACE_FIND_DOWN = 1u << 0,  /* highest fit below the hint instead of the lowest at or above it */
    ASPACE_FIND_ARENA = 1u << 1, /* begin in a part of the limit that is the calling CPU's own, where its last such find
                                  ended, so that CPUs map into different tables; then the rest of the limit. Not with
                                  DOWN, nor with a hint */
};

struct aspace_find {
    uint64_t size;             /* bytes, 4 KiB aligned */
    uint64_t align;            /* bytes, a power of two; 0 means 4 KiB */
    aspace_va_t hint;          /* where to begin; 0 with DOWN means the end of the limit */
    struct aspace_range limit; /* only there; size 0 means the whole space */
    uint32_t flags;            /* ASPACE_FIND_* */
};

/* First fit from the hint on, then in the rest of the limit. Failure: INVALID, RANGE, LIMIT (no room). Cost: the tables
 * between the hint and the fit; with ARENA, as a rule the one where the last fit was. */
ASPACE_MUST_CHECK int aspace_find(struct aspace *space, const struct aspace_find *find, aspace_va_t *va);

/* Find and map, atomically: request->va and ->size are ignored, find->size counts. *va is where. */
ASPACE_MUST_CHECK int aspace_map_anywhere(struct aspace *space, const struct aspace_map *request,
                                          const struct aspace_find *find, aspace_va_t *va);

/* Worst case of new tables that one operation on [va, va+size) can need, for fixed pools. Context: none. */
uint64_t aspace_tables_needed(const struct aspace *space, aspace_va_t va, uint64_t size);

/* Give the pool of the host tables in advance: at least n. Failure: NO_MEMORY. */
ASPACE_MUST_CHECK int aspace_reserve_tables(struct aspace_host *host, uint64_t n);

/* Reclaim tables that hold nothing, looking at no more than `budget` tables from where the last sweep ended. Returns
 * how many were reclaimed. */
size_t aspace_sweep(struct aspace *space, size_t budget);

#ifdef __cplusplus
}
#endif
#endif
