#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What the libraries show and what they ask for:
#   - the shared library exports the functions that the public headers declare, and with the hosted port inside the port's
#   - the static library needs nothing from outside but itself, the port, and memcpy, memmove, memset and memcmp
#   - the engine jumps through no table (a switch that became one): each such jump costs a hypervisor a retpoline
set -eu
cd "$(dirname "$0")/.."
export LC_ALL=C

tools/build.sh release aspace aspace-shared
status=0
work=build/symbols
mkdir -p "$work"

# Names that the headers declare as functions: comments and macros are gone after the preprocessor, types end in _fn.
for header in include/aspace/*.h; do
    gcc -std=c11 -E -P -Iinclude "$header"
done | tr '\n' ' ' | grep -oE '\baspace_[a-z0-9_]+\(' | tr -d '(' | grep -v '_fn$' | sort -u >"$work/declared"
nm -D --defined-only build/release/libaspace.so | awk '$2 == "T" { print $3 }' | grep '^aspace_' |
    grep -v '^aspace_linux_' | sort -u >"$work/exported"
for name in $(comm -23 "$work/declared" "$work/exported"); do
    echo "$name: declared in a public header, but not exported"
    status=1
done
for name in $(comm -13 "$work/declared" "$work/exported"); do
    echo "$name: exported, but no public header declares it"
    status=1
done

# What the archive has undefined after all its own definitions are taken off.
nm build/release/libaspace.a 2>/dev/null | awk 'NF == 2 && $1 == "U" { print $2 }' | sort -u >"$work/wanted"
nm build/release/libaspace.a 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u >"$work/has"
for name in $(comm -23 "$work/wanted" "$work/has"); do
    case $name in
    memcpy | memmove | memset | memcmp | aspace_linux_* | __tls_get_addr | _GLOBAL_OFFSET_TABLE_ | __stack_chk_fail) ;;
    *) echo "$name: the engine needs it from outside"; status=1 ;;
    esac
done

objdump -d --no-show-raw-insn build/release/libaspace.a | grep -E 'jmp +\*.*\(.*,|notrack jmp' >"$work/jumps" || true
if [ -s "$work/jumps" ]; then
    echo "jumps through a table:"
    cat "$work/jumps"
    status=1
fi
exit $status
