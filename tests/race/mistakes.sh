#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Shows that the tests with threads can fail: each mistake below is made in the embedder's part (an option of the stress
# program) or in a copy of one file of the library, and the program named has to find it. Prints a line a mistake, as many
# at a time as there are processors; the last line counts. Needs the configurations gcc, clang-tsan and gcc-helgrind
# (tools/build.sh). ONLY=part of a name makes only those mistakes.
#
# usage: mistakes.sh [--one NAME]
set -eu
cd "$(dirname "$0")/../.."

dir=build/race-mistakes
mkdir -p "$dir"

if [ "${1-}" != --one ]; then
    names=$(sed -n 's/^\(library\|embedder\) \([a-z-]*\).*/\2/p' tests/race/mistakes.sh | grep -Fe "${ONLY-}") ||
        { echo "mistakes: ONLY=${ONLY-} is the name of none" >&2; exit 2; }
    echo "$names" | xargs -P "$(nproc)" -I '{}' tests/race/mistakes.sh --one '{}' | tee "$dir/verdicts"
    passed=$(grep -c ': found$' "$dir/verdicts" || true) failed=$(grep -vc ': found$' "$dir/verdicts" || true)
    [ $((passed + failed)) -eq "$(echo "$names" | wc -l)" ] || failed=$((failed + 1))
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
fi
one=$2

verdict() { # verdict NAME STATUS
    if [ "$2" -eq 0 ]; then
        echo "$1: NOT found"
    elif [ "$2" -ge 124 ] && [ "$2" -ne 134 ] && [ "$2" -ne 135 ] && [ "$2" -ne 139 ]; then
        echo "$1: status $2, which says nothing"
    else
        echo "$1: found"
    fi
}

# In the embedder's part.
embedder() { # embedder MISTAKE
    [ "$1" = "$one" ] || return 0
    status=0
    timeout 200 build/gcc/tests/race/stress --seconds 60 --mistake "$1" >"$dir/$1.log" 2>&1 || status=$?
    verdict "$1" "$status"
}

# In the library: a file is copied, changed by a sed script that has to change something, and compiled in place of it.
library() { # library NAME CONFIGURATION PROGRAM FILE SCRIPT [ARGUMENT...]
    name=$1 configuration=$2 program=$3 file=$4 script=$5
    shift 5
    [ "$name" = "$one" ] || return 0
    sed -e "$script" "$file" >"$dir/$name.c"
    if cmp -s "$file" "$dir/$name.c"; then
        echo "$name: $file is not what this script takes it for"
        return
    fi
    build=build/$configuration compiler=gcc flags='' seams='' checker=''
    case $configuration in
    *tsan) compiler=clang flags=-fsanitize=thread seams=race/seam_tsan.h ;;
    *helgrind) flags='-include tests/race/atomics_helgrind.h' seams=race/seam_helgrind.h checker=tools/helgrind.sh ;;
    esac
    case $program in *schedule | *tickets | *pairs) seams=race/seam_hook.h ;; esac
    # shellcheck disable=SC2086
    "$compiler" -std=c11 -g -O1 -ffreestanding $flags -Iinclude -Iport/linux -Isrc -Itests "-I$(dirname "$file")" \
        '-DASPACE_PORT_HEADER="aspace_port.h"' ${seams:+"-DASPACE_SEAM_HEADER=\"$seams\""} -c "$dir/$name.c" -o "$dir/$name.o"
    case $program in
    *schedule | *tickets | *pairs)
        objects=$(find "$build/CMakeFiles/aspace-hooked.dir" -name '*.o' | grep -v "/$file.o$")
        main=$(find "$build/CMakeFiles" -path "*/tests/$program.c.o")
        ;;
    *)
        objects=''
        main=$(find "$build/CMakeFiles" -path "*/tests/$program.c.o")
        ;;
    esac
    # shellcheck disable=SC2086
    "$compiler" $flags "$main" "$dir/$name.o" $objects "$build/libaspace-test-support.a" "$build/libaspace.a" \
        "$build/libaspace-linux.a" "$build/libaspace.a" -pthread -o "$dir/$name"
    status=0
    # shellcheck disable=SC2086
    TSAN_OPTIONS=halt_on_error=1 timeout 300 $checker "$dir/$name" "$@" >"$dir/$name.log" 2>&1 || status=$?
    # What the program itself found before its checker did shows nothing of the checker.
    if [ -n "$checker" ] && [ "$status" -ne 99 ]; then status=0; fi
    verdict "$name" "$status"
}

embedder flush-lost
embedder wait-lost
embedder grace-lost
embedder local-flush-lost

library quick-map-without-lock gcc race/stress src/pt/quick.c \
    's/^        seam_lock(&n->lock, host_lock_tag());$//' --seconds 60
library map-published-relaxed clang-tsan race/stress src/pt/commit_map.c \
    's/slot_publish(slots + k, first + k \* step)/slot_store(slots + k, first + k * step)/' --seconds 100
library fault-published-relaxed clang-tsan race/stress src/space/fault.c \
    's/slot_cas(slot, &e, \(bare | fmt_addr_bits(F, pa)\))/__atomic_compare_exchange_n(slot, \&e, \1, false, 0, 0)/' \
    --seconds 100
library segments-plain clang-tsan race/stress src/pt/node.c \
    's/^    seam_store(&to->lo, from.lo);$/    to->lo = from.lo;/' --seconds 100
library batch-born-unlocked gcc regress/regress src/pt/commit_map.c 's/^    if (op->batch)$/    if (0)/' batch_shares
library sweep-waits-for-one-page gcc regress/regress src/pt/huge.c \
    's/OP_UNMAP, va, va + slot_span(pt->F, level))/OP_UNMAP, va, va + 1)/' sweep_waits
library object-sequence-not-read-again gcc race/objects src/space/object.c \
    's/seam_load(&a->object->sequence) == a->sequence &&//'
library object-cleaned-without-flush gcc conformance/conformance src/pt/rmap.c 's/if (present && (new != e || log_may_hide(op->pt)))/if (0)/' object_cleaned
library pending-not-waited-for gcc race/tlb src/pt/quick.c 's/^        gather_settle_node(.*$//'
library seen-when-leaving gcc race/schedule src/space/space.c \
    's/^    seam_and(&pt->active/    c->flush_seen = seam_load_acquire(\&pt->flush_generation);\n&/'
library unmap-by-load-and-store gcc race/schedule src/pt/quick.c \
    's/slot_xchg(\(node_slots(n) + i\), \(slot_empty(&pt->C, 0)\));/slot_load(\1); slot_publish(\1, \2);/'
library split-without-exchange gcc conformance/conformance src/pt/commit.c \
    's/} while (!slot_cas(slot, &e, table));/} while (0); slot_publish(slot, table);/' s46_split

# Between spaces: forks, pins, objects, by random operations on a family of them.
library fork-without-flush gcc family/family src/pt/fork.c \
    '/^static uint64_t protect/,/^}/s/^        gather_flush_range(.*$/        (void)va;/' /x86-ept4
library cow-copy-without-flush gcc family/family src/pt/cow.c \
    '/^static void copy/,/^}/s/^        gather_flush_range(.*$/        (void)0;/' /x86-ept4
library pinned-discarded gcc family/family src/pt/commit.c 's/^    if (!op->only && pins_any(/    if (0 \&\& pins_any(/' /x86-ept4
library upgrade-loses-dirty gcc family/family src/space/object.c \
    's/^        if (slot_dirty(pt->F, 0, k->e))$/        if (0)/' /riscv-sv39x4

# Watchers, pins, the dirty log, forks: in pairs of operations.
library watchers-told-after-release gcc race/pairs src/pt/quick.c \
    '/^        pt_tell(/{h; s/.*/        (void)0;/}; /^    gather_finish(&gather);$/G' 4 watched
library watchers-told-before-flush gcc race/pairs src/pt/quick.c \
    '/^        pt_tell(/s/.*/        (void)0;/
    s/^    if (ask)$/    pt_tell(pt, \&(struct pt_gone){.kind = ASPACE_GONE_UNMAPPED, .va = va, .end = end});\n&/' 4 watched
library unwatch-does-not-wait gcc race/pairs src/space/watch.c 's/^    while (seam_load_acquire(&w->calls))$/    while (0)/' 4 unwatch
library watch-told-of-while-it-is-called gcc race/pairs src/space/watch.c \
    '/^static struct aspace_watcher \*hold_next/,/^}/{/calls + 1/d; s/^    if (w)$//}' 4 unwatch
library pinned-without-lock gcc race/pairs src/space/pin.c '/^    seam_lock(&n->lock/d; /^    seam_unlock(&n->lock/d' 4 pin
library left-to-pins-without-lock gcc race/pairs src/pt/pins.c \
    '/^static bool leave_to_pins/,/^}/{/seam_lock(/d; /seam_unlock(/d}' 4 unpin
library harvest-without-flush gcc race/pairs src/space/dirty.c 's/^    \*flush |= .*$/    (void)flush;/' 4 harvest
library harvest-without-lock gcc race/pairs src/space/dirty.c \
    '/^static aspace_va_t visit_at/,/^}/{/seam_lock(/d; /seam_unlock(/d}' 4 rings
library gate-passed-by-write-faults gcc race/pairs src/pt/cow.c 's/^    if (gate_is_open(c->pt))$/    if (1)/' 100 'taken back, fork'
library gate-passed-by-faults gcc race/pairs src/space/fault.c 's/ || !gate_is_open(pt)))$/))/' 4 fork
library gate-passed-by-writes gcc race/pairs src/space/memory.c 's/int rc = gate_is_open(&s->pt) ?/int rc = 1 ?/' 4 fork
library gate-raised-for-nobody gcc race/pairs src/pt/cow.c 's/^    smr_wait(pt->host, smr_goal(pt->host));$//' 4 fork

# Objects and tickets.
library object-sequence-not-raised gcc race/objects src/pt/rmap.c 's/^    seam_add_acq_rel(&object->sequence, 1);$//'
library object-size-stored-late gcc race/objects src/space/object.c \
    '/^    seam_store(&object->size, size);/d; s/^    rmap_revoke(&r);$/&\n    seam_store(\&object->size, size);/'
library object-visitor-not-waited-for gcc race/pairs src/pt/rmap.c \
    's/^        while (seam_load_acquire(.*visiting) == pt)$/        while (0)/' 4 evict
library object-page-given-back-late gcc race/pairs src/pt/rmap.c \
    's/^        area_put_pages(object->host, link->area.*/        struct area *area = link->area;/
    s/^        link = hold(link->next.*/&\n        area_put_pages(object->host, area, 1);/' 4 evict
library ticket-stale-not-asked-for gcc race/tickets src/space/ticket.c 's/^    if (seam_load(&t->pending.stale))$/    if (0)/'
library ticket-completed-without-lock gcc race/tickets src/space/ticket.c \
    's/seam_lock(&n->lock, host_lock_tag())/(void)n/; s/seam_unlock(&n->lock)/(void)n/'
library ticket-not-waited-for-by-destroy gcc race/tickets src/space/ticket.c \
    's/^    while (seam_load_acquire(&s->completing))$/    while (0)/'

# Helgrind sees a lock that is not held, or is taken out of order, an order of accesses that is not there, and plain
# writes beside atomic reads.
library helgrind-quick-map-without-lock gcc-helgrind race/stress src/pt/quick.c \
    '/^        seam_lock(&n->lock, host_lock_tag());$/d; /^        seam_unlock(&n->lock);$/d; /^    seam_unlock(&n->lock);$/d' \
    --seconds 100 --only x86-ept4
library helgrind-unlocked-twice gcc-helgrind race/stress src/pt/range.c \
    's/^        seam_unlock(&n->lock);$/&&/' --seconds 100 --only x86-ept4
library helgrind-right-to-left gcc-helgrind race/stress src/pt/plan.c \
    's/for (unsigned i = 0; n->level && \(i < node_entries(.*); i\)++/for (unsigned i = node_entries(op->F, n->level) - 1; n->level \&\& \1--/' \
    --seconds 100 --only x86-ept4
library helgrind-born-unlocked gcc-helgrind race/stress src/pt/range.c \
    's/^    seam_lock_new(&n->lock, op->tag);/    (void)op;/' --seconds 100 --only x86-ept4
library helgrind-map-published-relaxed gcc-helgrind race/stress src/pt/commit_map.c \
    's/slot_publish(slots + k, first + k \* step)/slot_store(slots + k, first + k * step)/' --seconds 100 --only x86-ept4
library helgrind-segments-plain gcc-helgrind race/stress src/pt/node.c \
    's/^    seam_store(&to->lo, from.lo);$/    to->lo = from.lo;/' --seconds 100 --only x86-ept4
