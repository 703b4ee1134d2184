#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# make conflicts: which cache lines do two operations on different leaves share? The library is compiled with
# -fsanitize=thread and linked with tests/conflicts, which answers the sanitizer's calls and compares what each operation
# touched. Then mistakes are planted, one at a time, and each has to be found.
#
# The tables are in build/conflicts/<compiler>-<format>.txt, the first is also printed. The last line has the totals.
# usage: conflicts.sh [--brief]      --brief prints no table
set -eu
cd "$(dirname "$0")/.."

export LC_ALL=C
case ${1-} in
'' | --brief) brief=${1-} ;;
*) echo "conflicts: usage: conflicts.sh [--brief]" >&2; exit 2 ;;
esac
tools/install-packages.sh gcc clang binutils libc6-dev >/dev/null

out=build/conflicts
exceptions=tests/conflicts/exceptions.txt
passed=0 failed=0
rm -rf "$out"
mkdir -p "$out"

pass() { passed=$((passed + 1)); echo "ok   $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1"; }

# ------------------------------------------------------------------------------------------------------------ building

common='-O1 -g -Wall -Wextra -Wconversion -Wshadow'
port='-DASPACE_PORT_HEADER="conflicts_port.h"'

# How a compiler takes the library. GCC warns that the sanitizer's own runtime knows no fences: ours does.
library_flags() {
    flags="-std=c11 $common -ffreestanding -fno-jump-tables -fsanitize=thread"
    [ "$1" = clang ] || flags="$flags -Wno-tsan"
}

# compile COMPILER TREE DIRECTORY FILE... : objects of files of the tree, two at a time.
compile() {
    compiler=$1 tree=$2 directory=$3
    shift 3
    library_flags "$compiler"
    mkdir -p "$directory"
    for file in "$@"; do
        echo "$file"
    done | xargs -P 2 -I '{}' sh -c "nice $compiler $flags -Iinclude -I$tree/src -Itests/conflicts '$port' -c $tree/{} \
        -o $directory/\$(echo {} | tr / _).o" || exit 1
}

# link COMPILER DIRECTORY CHECKER : the objects in it and the checker become the program in it. The library's calls of memory
# functions become calls of the checker's; no position-independent code, so that addresses are those in the file.
link() {
    ld -r -o "$2/library.o" "$2"/src_*.o
    objcopy --redefine-sym memcpy=trace_memcpy --redefine-sym memset=trace_memset \
        --redefine-sym memmove=trace_memmove --redefine-sym memcmp=trace_memcmp "$2/library.o"
    "$1" -no-pie -o "$2/conflicts" "$3"/*.o "$2/library.o"
}

# checker TREE DIRECTORY : it knows the layout of the engine's structures, so it is compiled for each.
checker() {
    mkdir -p "$2"
    for file in tests/conflicts/*.c; do
        # shellcheck disable=SC2086
        gcc -std=gnu11 $common -Werror -Iinclude "-I$1/src" -Itests/conflicts "$port" -c "$file" \
            -o "$2/$(basename "$file").o"
    done
}

# The engine without what is only for inspection.
sources=$(find src/format src/sync src/pt src/space -name '*.c' | sort)

# ---------------------------------------------------------------------------------------------------------- measuring

# Reads the last line of a program's output.
total() { # total FILE STATUS
    line=$(tail -n 1 "$1" | grep -E '^[0-9]+ passed, [0-9]+ failed$' || echo '0 passed, 1 failed')
    # shellcheck disable=SC2046
    set -- "$1" "$2" $(echo "$line" | tr -c '0-9\n' ' ')
    passed=$((passed + $3)) failed=$((failed + $4))
    if [ "$2" -eq 0 ] && [ "$4" -eq 0 ]; then
        echo "ok   $(basename "$1" .txt): $3 pairs and periods"
    else
        [ "$4" -gt 0 ] || failed=$((failed + 1))
        echo "FAIL $(basename "$1" .txt), status $2:"
        sed -n '/^CONFLICT/,$p' "$1" | head -n 60
        grep -E '^(conflicts:|FAILED|NEVER MET)|  X ' "$1" || true
    fi
}

measure() { # measure COMPILER FORMAT
    status=0
    timeout 300 nice "$out/$1/conflicts" --exceptions $exceptions --format "$2" >"$out/$1-$2.txt" 2>&1 || status=$?
    echo "$status" >"$out/$1-$2.status"
}

result() { # result COMPILER FORMAT
    total "$out/$1-$2.txt" "$(cat "$out/$1-$2.status")"
}

# ---------------------------------------------------------------------------------------------------- planted mistakes

# plant NAME FILE SED-SCRIPT : a tree with one file changed. The change must have been one.
plant() {
    tree=$out/$1
    mkdir -p "$tree"
    cp -r src "$tree/"
    sed -i "$3" "$tree/$2"
    if cmp -s "$2" "$tree/$2"; then
        fail "$1: nothing was planted in $2"
        return 1
    fi
}

# found NAME DIRECTORY ARGUMENTS PATTERN... : the program fails, and every pattern is in what it prints.
found() {
    name=$1 directory=$2 arguments=$3
    shift 3
    status=0
    # shellcheck disable=SC2086
    timeout 120 nice "$directory/conflicts" $arguments >"$out/$name.txt" 2>&1 || status=$?
    [ "$status" -eq 1 ] || { fail "$name: status $status, see $out/$name.txt"; return; }
    for pattern in "$@"; do
        grep -qE "$pattern" "$out/$name.txt" || { fail "$name: '$pattern' is not in $out/$name.txt"; return; }
    done
    pass "$name is found"
}

# seeded NAME FILE SED-SCRIPT ARGUMENTS PATTERN... : a header concerns all objects, another file its own only.
seeded() {
    name=$1 file=$2 script=$3 arguments=$4
    shift 4
    plant "$name" "$file" "$script" || return 0
    directory=$out/$name/objects
    mkdir -p "$directory"
    # shellcheck disable=SC2086
    case $file in
    *.h)
        compile gcc "$out/$name" "$directory" $sources
        checker "$out/$name" "$directory/checker"
        link gcc "$directory" "$directory/checker"
        ;;
    *)
        cp "$out"/gcc/src_*.o "$directory/"
        compile gcc "$out/$name" "$directory" "$file"
        link gcc "$directory" "$out/checker"
        ;;
    esac
    found "$name" "$directory" "--exceptions $exceptions $arguments" "$@"
}

# A file of the library that is not instrumented: the checker has to notice that it is blind there.
blind() {
    directory=$out/blind-spot
    mkdir -p "$directory"
    cp "$out"/gcc/src_*.o "$directory/"
    # shellcheck disable=SC2086
    gcc -std=c11 $common -ffreestanding -fno-jump-tables -Iinclude -Isrc -Itests/conflicts "$port" -c src/pt/node.c \
        -o "$directory/src_pt_node.c.o"
    link gcc "$directory" "$out/checker"
    found blind-spot "$directory" "--exceptions $exceptions --relation far" 'FAILED map-lazy: a change that the trace has not'
}

wrong_lists() {
    sed '/^exception number-of-spaces/,/^$/d' $exceptions >"$out/too-short"
    found exception-missing "$out/gcc" "--exceptions $out/too-short --relation spaces" \
        '^CONFLICT spaces: host.lock, the same bytes'
    { cat $exceptions; printf 'exception idle\nrelations far\nline node.L0\nbytes same\n'
      printf 'between fault\nand translate\nbecause of nothing\n'; } >"$out/too-long"
    found exception-unused "$out/gcc" "--exceptions $out/too-long --relation far" 'NEVER MET: exception idle: fault translate'
}

planted_here() {
    seeded counter-in-fault src/space/fault.c \
        '/aspace_trace(fault, s, va, access);/a seam_add(\&s->pt.used_frames, 1);' '--relation far' \
        '^CONFLICT far: space.used_tables, the same bytes' 'writes used_frames: aspace_fault, '
    seeded counter-in-copy src/pt/cow.c \
        '/^    COUNT(pt_this_cpu(c->pt)->cow_copies, 1);/a seam_add(\&c->pt->used_frames, 1);' '--relation far' \
        '^CONFLICT far: space.used_tables, the same bytes' 'writes used_frames: copy, '
    seeded one-ring-for-all src/pt/log.c 's/&rings\[aspace_cpu_id()\]/\&rings[0]/' '--relation far' \
        '^CONFLICT far: ring.head, the same bytes' '(reads|writes) head.*: log_push, '
    seeded watchers-always-asked src/space/watch.c 's/^    if (!may_concern(s, gone))$/    if (0 \&\& !may_concern(s, gone))/' \
        '--relation watched' '^CONFLICT watched: space.sweep_va, the same bytes' 'writes watch_lock.*: hold_next, '
    seeded lock-in-map src/space/map.c \
        '/aspace_trace(map, s, q->va, q->size);/a seam_lock((uint32_t *)\&s->sweep_va, 1); seam_unlock((uint32_t *)\&s->sweep_va);' \
        '--relation far' '^CONFLICT far: space.sweep_va, the same bytes' 'writes sweep_va: aspace_map, '
    seeded descriptors-read-on-the-way src/pt/plan.c 's/unsigned level = op->pt->top; level; level--/unsigned level = n->level; level; level = n->level/' \
        '--relation leaves' '^CONFLICT leaves: node.L1, the same line only' 'reads level.*: find_top, '
}

planted_there() {
    seeded cpus-share-line src/pt/pt.h \
        '/^struct pt_cpu {/,/^}/{s/ __attribute__((aligned(ASPACE_CACHE_LINE)))//;s/tables, frames;/tables;/;s/^}/    int64_t frames;\n}/}' '--relation far' \
        '^CONFLICT far: space-cpu.*, the same line only' '(reads|writes) faults: fault_'
    seeded id-from-the-host src/pt/area.c 's/IDS_IN_BLOCK = 64/IDS_IN_BLOCK = 1/' '--relation spaces --periods' \
        'map.unmap +host.lock +0 +1  X more often' '^CONFLICT spaces: host.lock, the same bytes'
    seeded builders-wait src/space/fault.c 's/(f->w.index % 255 + 1)/(f->w.index % 1 + 1)/' '--relation spaces' \
        'FAILED a fault waits while'
    blind
    wrong_lists
}

# Two at a time. What is said is counted here, since each is a process of its own.
planted() {
    planted_here >"$out/planted-here" &
    here=$!
    planted_there >"$out/planted-there" &
    there=$!
    wait $here || echo 'FAIL the first mistakes ended early' >>"$out/planted-here"
    wait $there || echo 'FAIL the other mistakes ended early' >>"$out/planted-there"
    cat "$out/planted-here" "$out/planted-there"
    passed=$((passed + $(cat "$out"/planted-* | grep -c '^ok ' || true)))
    failed=$((failed + $(cat "$out"/planted-* | grep -c '^FAIL ' || true)))
}

checker . "$out/checker" &
checks=$!
for compiler in gcc clang; do
    # shellcheck disable=SC2086
    compile $compiler . "$out/$compiler" $sources
    [ -z "$checks" ] || wait $checks
    checks=
    link "$compiler" "$out/$compiler" "$out/checker"
done
# The second format breaks before it makes.
measure gcc x86-ept4 &
measure gcc arm-s2-48 &
measure clang x86-ept4 &
wait
[ -n "$brief" ] || cat "$out/gcc-x86-ept4.txt"
result gcc x86-ept4
result gcc arm-s2-48
result clang x86-ept4
planted
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
