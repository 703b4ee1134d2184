#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# make soak, second half: guests under stress, one after another: SOAK_GUESTS of each architecture (default 20) with
# 4 vCPUs and two stress CPUs, small leaves and large ones by turns. build/soak-guests.txt gets what they ran with, a line
# for each with its seed and outcome, and the totals. Status 0 if all passed, 1 if one failed, 2 for bad input.
set -eu
cd "$(dirname "$0")/.."
export LC_ALL=C

runs=${SOAK_GUESTS:-20}
case $runs in
'' | *[!0-9]* | 0* | ?????*) echo "soak: SOAK_GUESTS=$runs is not a number from 1 to 9999" >&2; exit 2 ;;
esac
unset GUEST CPUS PAGES RAM KERNEL INITRD APPEND BASELINE REPEAT STRESS STRESS_SECONDS SEED ICOUNT LEAVE_OUT TIMEOUT \
    SILENCE FORMAT EMU MAKEFLAGS

mkdir -p build
report=build/soak-guests.txt
log=build/soak-guests.log
passed=0 failed=0

versions() {
    echo "date: $(date -u +%Y-%m-%dT%H:%M:%SZ)"
    echo "commit: $(git rev-parse HEAD 2>/dev/null || echo unknown)$(git diff --quiet 2>/dev/null || echo ', changed')"
    echo "machine: $(uname -srm), $(nproc) processors, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
    for program in qemu-system-riscv64 qemu-system-aarch64 qemu-system-x86_64 \
        riscv64-linux-gnu-gcc aarch64-linux-gnu-gcc x86_64-linux-gnu-gcc; do
        echo "$program: $("$program" --version 2>/dev/null | head -n 1)"
    done
}

one() { # one ARCHITECTURE PAGES SEED
    status=0
    begin=$(date +%s)
    env GUEST="$1" PAGES="$2" SEED="$3" CPUS=4 STRESS=2 SILENCE=60 TIMEOUT=600 examples/hypervisor/run.sh >"$log" 2>&1 ||
        status=$?
    took=$(($(date +%s) - begin))
    if [ "$status" -eq 0 ]; then
        passed=$((passed + 1))
        sed -n 's/^stress: /  stress: /p' "$log" | tail -n 1
    else
        failed=$((failed + 1))
        cp "$log" "build/soak-guests-failed-$failed.log"
        echo "  see build/soak-guests-failed-$failed.log"
    fi
    echo "$1 pages=$2 seed=$3 status=$status seconds=$took: $(tail -n 1 "$log")"
}

versions >"$report"
cat "$report"
run=1
while [ "$run" -le "$runs" ]; do
    for guest in riscv64 aarch64 x86_64; do
        seed=$(($(od -An -N2 -tu2 /dev/urandom)))
        one "$guest" "$([ $((run % 2)) = 1 ] && echo 4k || echo 2m)" "$seed" >build/soak-guests.line
        tee -a "$report" <build/soak-guests.line
    done
    run=$((run + 1))
done
rm -f build/soak-guests.line
echo "$passed passed, $failed failed" | tee -a "$report"
[ "$failed" -eq 0 ]
