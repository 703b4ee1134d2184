#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Owns: the named build configurations, each in build/<name>. Other scripts ask for them by name, so that nobody else
# needs to know a compiler flag.
#
# usage: build.sh NAME [TARGET...]     prints nothing when all is well
set -eu
cd "$(dirname "$0")/.."

usage() {
    echo "build: usage: build.sh release|gcc|clang|gcc-san|clang-san|clang-tsan|gcc-helgrind|aarch64|riscv64 [target...]" >&2
    exit 2
}

[ $# -ge 1 ] || usage
name=$1
shift
case $name in
release) set -- gcc Release "" "$@" ;;
gcc) set -- gcc Debug "" "$@" ;;
clang) set -- clang Debug "" "$@" ;;
gcc-san) set -- gcc Debug address,undefined "$@" ;;
clang-san) set -- clang Debug address,undefined "$@" ;;
clang-tsan) set -- clang Debug thread "$@" ;;
gcc-helgrind) set -- gcc Debug "" "$@" ;;
aarch64 | riscv64) set -- "$name-linux-gnu-gcc" Debug "" "$@" ;;
*) usage ;;
esac
compiler=$1 type=$2 sanitize=$3
shift 3
# Sanitizers make gcc warn of its own code, and macros in each other of shadows; the plain builds judge the warnings.
werror=ON
# A report needs functions and lines; where variables are takes these compilers half of their time.
debug=-g
[ -z "$sanitize" ] || debug=-g1
# What a checker of threads has to see of the accesses that are meant to race; Helgrind in all files.
seams='' first=''
case $name in
*-tsan) seams='"race/seam_tsan.h"' ;;
*-helgrind) seams='"race/seam_helgrind.h"' first=" -include \"$PWD/tests/race/atomics_helgrind.h\"" ;;
esac
[ -z "$sanitize$first" ] || werror=OFF

command -v cmake >/dev/null || { echo "build: cmake is not installed" >&2; exit 2; }
command -v "$compiler" >/dev/null || { echo "build: $compiler is not installed" >&2; exit 2; }

dir=build/$name
mkdir -p "$dir"
if [ ! -f "$dir/CMakeCache.txt" ]; then
    cross=
    case $name in
    aarch64 | riscv64) cross=-DCMAKE_TOOLCHAIN_FILE=$PWD/cmake/toolchain-$name.cmake ;;
    esac
    generator='Unix Makefiles'
    if command -v ninja >/dev/null; then generator=Ninja; fi
    # shellcheck disable=SC2086
    cmake -S . -B "$dir" -G "$generator" -DCMAKE_C_COMPILER="$compiler" -DCMAKE_BUILD_TYPE="$type" \
        -DCMAKE_C_FLAGS_DEBUG="$debug -O1$first" -DCMAKE_C_FLAGS_RELEASE='-O2' -DCMAKE_EXPORT_COMPILE_COMMANDS=ON \
        -DASPACE_SANITIZE="$sanitize" -DASPACE_WERROR="$werror" -DASPACE_SEAM_HEADER="$seams" $cross >"$dir/configure.log" 2>&1 || {
        rm -f "$dir/CMakeCache.txt"
        cat "$dir/configure.log" >&2
        exit 1
    }
fi
# The targets asked for, or all.
[ $# -gt 0 ] || set -- all
if ! cmake --build "$dir" -j "$(nproc)" --target "$@" >"$dir/build.log" 2>&1; then
    grep -E 'error|warning|undefined|FAILED' "$dir/build.log" | head -n 40 >&2 || true
    echo "build: $name failed, all of it in $dir/build.log" >&2
    exit 1
fi
