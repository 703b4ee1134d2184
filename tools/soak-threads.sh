#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# make soak, first half: the tests with threads for long. RACE_SECONDS (600) are shared by the plain build, the one over
# liburcu, the thread sanitizer's and Helgrind's, which ends each configuration only after a round of half a minute;
# RACE_SEED is the first seed (by default the time). Writes seeds, versions, machine and outcome to
# build/soak-threads.txt, and says so. Status 0 if all is well, 1 if something was found, 2 for bad input.
set -eu
cd "$(dirname "$0")/.."

export LC_ALL=C
seconds=${RACE_SECONDS:-600}
seed=${RACE_SEED:-$(date +%s)}
for number in "$seconds" "$seed"; do
    case $number in
    '' | *[!0-9]* | 0) echo "soak: RACE_SECONDS and RACE_SEED are positive numbers, not '$number'" >&2; exit 2 ;;
    esac
done

tools/install-packages.sh gcc clang libclang-rt-dev cmake ninja-build libc6-dev liburcu-dev valgrind >/dev/null
tools/build.sh gcc race-stress race-urcu
tools/build.sh clang-tsan race-stress
tools/build.sh gcc-helgrind race-stress

report=build/soak-threads.txt
status=0
{
    echo "began: $(date -u +%Y-%m-%dT%H:%M:%SZ), seed $seed, $seconds s"
    echo "source: $(git describe --always --dirty 2>/dev/null || echo unknown)"
    echo "machine: $(uname -srm), $(nproc) processors, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
    echo "compilers: $(gcc --version | head -n 1); $(clang --version | head -n 1); $(valgrind --version)"
} >"$report"

part() { # part NAME SEED PROGRAM...
    got=0 part=$1 first=$2
    shift 2
    echo "soak: $part, seed $first, $((seconds / 4)) s"
    TSAN_OPTIONS='halt_on_error=1 history_size=4' \
        "$@" --seed "$first" --seconds "$((seconds / 4))" --verbose >"build/soak-$part.log" 2>&1 || got=$?
    {
        echo "$part: seed $first, status $got"
        grep -E 'steps|FAILED|SUMMARY|data race|Thread #.*lock|passed' "build/soak-$part.log" | sed 's/^/    /'
    } >>"$report"
    [ "$got" -eq 0 ] || status=1
}

part plain "$seed" build/gcc/tests/race/stress
part liburcu "$((seed + 1))" build/gcc/tests/race/urcu
part tsan "$((seed + 2))" build/clang-tsan/tests/race/stress
part helgrind "$((seed + 3))" tools/helgrind.sh build/gcc-helgrind/tests/race/stress
outcome='nothing was found'
[ "$status" -eq 0 ] || outcome='SOMETHING WAS FOUND'
echo "ended: $(date -u +%Y-%m-%dT%H:%M:%SZ), $outcome" >>"$report"
echo "soak: $outcome: $report"
exit $status
