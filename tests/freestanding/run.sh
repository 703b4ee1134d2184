#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The library as a kernel builds it: no C library, no floating point or vector registers, no helper of the compiler's.
# For each compiler and architecture: it compiles without a warning, asks for nothing but four functions, links with
# port/bare under -nostdlib, and port/bare's program runs, natively or under qemu-user. What cannot be tested here is
# said and counted as skipped.
#
# usage: run.sh [ARCH...]        ARCH: host, host-clang, aarch64, riscv64; all of them if none is given
# exit:  0 nothing failed, 1 something did, 2 bad usage
set -eu
cd "$(dirname "$0")/../.."

allowed='memcmp memcpy memmove memset'
out=build/freestanding
passed=0
failed=0
skipped=0

pass() { passed=$((passed + 1)); echo "ok   $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1"; }
skip() { skipped=$((skipped + 1)); echo "skip $1"; }

# Sets compiler, binutils prefix, runner and machine flags of an architecture. The machine flags keep the compiler away
# from registers that a kernel does not save, and from atomics that are calls into its own library.
describe() {
    prefix='' runner='' machine=''
    case $1 in
    host | host-clang)
        compiler=gcc
        [ "$1" = host ] || compiler=clang
        case $(uname -m) in
        x86_64) machine='-mgeneral-regs-only -mno-red-zone' ;;
        aarch64) machine='-mgeneral-regs-only -mno-outline-atomics' ;;
        riscv64) machine='-march=rv64imac -mabi=lp64' ;;
        *) return 1 ;;
        esac
        ;;
    aarch64)
        prefix=aarch64-linux-gnu- compiler=aarch64-linux-gnu-gcc runner=qemu-aarch64
        machine='-mgeneral-regs-only -mno-outline-atomics'
        ;;
    riscv64)
        prefix=riscv64-linux-gnu- compiler=riscv64-linux-gnu-gcc runner=qemu-riscv64
        machine='-march=rv64imac -mabi=lp64 -mcmodel=medany'
        ;;
    esac
}

# build_objects DIRECTORY COMMAND... : one object for each C file named on standard input, named after its path.
build_objects() {
    directory=$1
    shift
    rm -rf "$directory"
    mkdir -p "$directory"
    sed 's|\(.*\)\.c$|& \1|; :again; s|\( .*\)/|\1_|; t again; s|\(.*\) \(.*\)|-c \1 -o '"$directory"'/\2.o|' |
        xargs -L 1 -P "$(nproc)" "$@"
}

# The folder of the headers that a freestanding compiler brings along. GCC names a file it does not have as it was given.
include_of() {
    header=$("$1" -print-file-name=include/stddef.h)
    case $header in
    /*) ;;
    *) header=$("$1" -print-resource-dir)/include/stddef.h ;;
    esac
    dirname "$header"
}

undefined_of() {
    "${prefix}nm" -u "$1" | awk '{ print $NF }' | LC_ALL=C sort -u
}

check_symbols() {
    strangers=''
    for symbol in $(undefined_of "$1"); do
        case " $allowed " in
        *" $symbol "*) ;;
        *) strangers="$strangers $symbol" ;;
        esac
    done
    if [ -z "$strangers" ]; then
        pass "$arch: nothing undefined but $(undefined_of "$1" | tr '\n' ' ')"
    else
        fail "$arch: undefined symbols:$strangers"
    fi
}

check_run() {
    if [ -n "$runner" ] && ! command -v "$runner" >/dev/null 2>&1; then
        skip "$arch: the program was linked but not run: no $runner (package qemu-user)"
        return
    fi
    status=0
    # A spin that never ends is a failure too.
    # shellcheck disable=SC2086
    timeout 60 $runner "$1" || status=$?
    if [ "$status" -eq 0 ]; then
        pass "$arch: the program ran"
    else
        fail "$arch: the program ended with status $status (port/bare/main.c: a line that is $((status - 1)) modulo 255)"
    fi
}

check_arch() {
    arch=$1
    if ! describe "$arch" || ! command -v "$compiler" >/dev/null 2>&1; then
        skip "$arch: no compiler for it ($compiler)"
        return
    fi
    dir=$out/$arch
    mkdir -p "$dir"
    flags="-std=c11 -O2 -g -Wall -Wextra -Wconversion -Wshadow -Werror -ffreestanding -fno-stack-protector -fno-pic"
    # No header but the compiler's own: a C library's are not there on bare metal.
    flags="$flags -nostdinc -isystem $(include_of "$compiler") $machine -Iinclude -Iport/bare"
    # shellcheck disable=SC2086
    if find src -name '*.c' | LC_ALL=C sort |
        build_objects "$dir/lib" "$compiler" $flags -fno-strict-aliasing -Isrc '-DASPACE_PORT_HEADER="aspace_port.h"'; then
        pass "$arch: the library compiles"
    else
        fail "$arch: the library does not compile"
        return
    fi
    rm -f "$dir/libaspace.a"
    "${prefix}ar" rcs "$dir/libaspace.a" "$dir"/lib/*.o
    # One object of all: what is still undefined then is what the embedder must supply.
    # shellcheck disable=SC2086
    "$compiler" $machine -nostdlib -r -o "$dir/all.o" "$dir"/lib/*.o
    check_symbols "$dir/all.o"
    # GCC makes calls of memset out of loops even in freestanding code; Clang does not know the option against it.
    own_flags=-fno-builtin
    [ "$compiler" = clang ] || own_flags="$own_flags -fno-tree-loop-distribute-patterns"
    # shellcheck disable=SC2086
    if find port/bare -name '*.c' | LC_ALL=C sort | build_objects "$dir/port" "$compiler" $flags $own_flags \
        '-DASPACE_PORT_HEADER="aspace_port.h"' &&
        "$compiler" $machine -nostdlib -static -Wl,-z,separate-code -o "$dir/bare" "$dir"/port/*.o "$dir/libaspace.a"; then
        pass "$arch: the program links without a library"
        check_run "$dir/bare"
    else
        fail "$arch: the program does not link"
    fi
}

for arch in "$@"; do
    case $arch in
    host | host-clang | aarch64 | riscv64) ;;
    *) echo "freestanding: unknown architecture '$arch' (host, host-clang, aarch64, riscv64)" >&2; exit 2 ;;
    esac
done
if [ $# -eq 0 ]; then
    set -- host host-clang aarch64 riscv64
fi
for arch in "$@"; do
    check_arch "$arch"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
