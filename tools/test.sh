#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# make test: everything that can fail, in steps. Each prints one line; what it did is in build/test/<step>.log. The last
# line has the totals. Status 0 if nothing failed, 1 if something did, 2 if something that is needed cannot be had.
#
# ONLY=part of a step's name runs these steps only.   FAST=1 leaves out the guests and the emulated architectures.
set -eu
cd "$(dirname "$0")/.."

export LC_ALL=C
# Variables that are meant for the guests' runner would change what the guest steps do.
unset GUEST CPUS PAGES RAM KERNEL INITRD APPEND BASELINE REPEAT STRESS STRESS_SECONDS SEED ICOUNT LEAVE_OUT TIMEOUT \
    SILENCE FORMAT EMU SCHEDULES SECONDS_MAX LIMIT ALONE MAKEFLAGS

only=${ONLY-}
fast=${FAST-}
logs=build/test
rm -rf "$logs"
mkdir -p "$logs"
passed=0 failed=0 skipped=0
begin_all=$(date +%s)

# ------------------------------------------------------------------------------------------------------ the machinery

# How many passed, failed and were skipped in a step: the last line of each program says so. A program that ends badly
# without having counted a failure counts as one.
tally=$logs/tally

count() { # count PASSED FAILED SKIPPED
    echo "$1 $2 $3" >>"$tally"
}

# Runs one program, or the part of it that a name picks, and reads its last line. A script of its own for xargs.
cat >"$logs/run-one" <<'EOF'
#!/bin/sh
# run-one LOG TALLY EMULATOR PROGRAM [PART]
log=$1.$(basename "$(dirname "$4")")-$(basename "$4")${5:+.$(printf '%s' "$5" | tr -d /)} tally=$2
status=0
begin=$(date +%s)
timeout -k 5 900 $3 "$4" ${5:+"$5"} >"$log" 2>&1 || status=$?
echo "# status $status after $(($(date +%s) - begin)) s" >>"$log"
line=$(grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$log" | tail -n 1)
set -- $(echo "$line" | tr -c '0-9\n' ' ')
passed=${1:-0} failed=${2:-0} skipped=${3:-0}
if [ -z "$line" ] || { [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; }; then failed=$((failed + 1)); fi
echo "$passed $failed $skipped" >>"$tally"
[ "$failed" -eq 0 ] || echo "$log"
EOF
chmod +x "$logs/run-one"

# Starts the work of a step now, for one that leaves a processor free beside it; `step` waits for it.
ahead() { # ahead NAME COMMAND...
    case $1 in *"$only"*) ;; *) return 0 ;; esac
    (
        name=$1 tally=$logs/$1.tally status=0
        shift
        : >"$tally"
        "$@" >"$logs/$name.log" 2>&1 || status=$?
        echo "$status" >"$logs/$name.status"
    ) &
    echo $! >"$logs/$1.pid"
}

step() { # step NAME COMMAND...
    name=$1
    shift
    case $name in *"$only"*) ;; *) return 0 ;; esac
    begin=$(date +%s)
    log=$logs/$name.log
    status=0 sums=$tally
    if [ -f "$logs/$name.pid" ]; then
        wait "$(cat "$logs/$name.pid")" || true
        status=$(cat "$logs/$name.status") sums=$logs/$name.tally
    else
        : >"$tally"
        "$@" >"$log" 2>&1 || status=$?
    fi
    # shellcheck disable=SC2046
    set -- $(awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }' "$sums")
    # A step without programs is one check.
    if [ -s "$sums" ]; then
        p=$1 f=$2 s=$3
        if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    elif [ "$status" -eq 0 ]; then
        p=1 f=0 s=0
    else
        p=0 f=1 s=0
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    line="test: $name: $p passed, $f failed"
    [ "$s" -eq 0 ] || line="$line, $s skipped"
    echo "$line ($(($(date +%s) - begin)) s)"
    if [ "$f" -ne 0 ]; then
        tail -n 25 "$log" | sed 's/^/    /'
        echo "    (all of it: $log)"
        echo "$line" >>"$logs/failures"
        tail -n 8 "$log" | sed 's/^/    /' >>"$logs/failures"
    fi
}

# What failed, from the logs that run-one named.
explain() { # explain LOG...
    for one in "$@"; do
        echo "$one:"
        grep -E '^FAILED|assertion|ERROR|runtime error|^# status' "$one" | head -n 8
        tail -n 3 "$one"
    done
    [ $# -eq 0 ]
}

# Lines of PROGRAM [VARIANT]: what runs each test in each variant of each format does so in these variants only.
in_variants() { # in_variants PROGRAMS VARIANT...
    list=$1
    shift
    for one in $list; do
        case $one in
        */conformance | */inject) for variant in "${@-}"; do echo "$one${variant:+ $variant}"; done ;;
        *) echo "$one" ;;
        esac
    done
}

# With more threads than the machine has processors: beside something else they would mostly wait for each other.
threaded='/race/(forks|objects|stress|tlb|urcu)$'

# Builds a configuration and runs its test programs, two at a time, then those with many threads, each alone. One
# configuration goes through all variants; the others share them.
programs() { # programs CONFIGURATION tests|tests-unthreaded [VARIANT...]
    configuration=$1 left_out=
    [ "$2" = tests ] || left_out='*/race/*'
    tools/build.sh "$configuration" "$2" || return 1
    shift 2
    list=$(find "build/$configuration/tests" -type f -perm -u+x ! -path "$left_out" | sort)
    [ -n "$list" ] || { echo "no test program was built"; return 1; }
    # shellcheck disable=SC2046
    explain $(
        in_variants "$(echo "$list" | grep -Ev "$threaded")" "$@" | xargs -L 1 -P 2 "$logs/run-one" "$logs/$name" "$tally" ""
        echo "$list" | grep -E "$threaded" | xargs -r -L 1 "$logs/run-one" "$logs/$name" "$tally" ""
    )
}

# The conformance suite of another architecture, for a format of each family with all features, a format at a time, so
# that both processors have something to do.
emulated() { # emulated ARCHITECTURE
    tools/build.sh "$1" conformance-conformance || return 1
    program=build/$1/tests/conformance/conformance
    list=$("qemu-$1" "$program" --list |
        sed -En 's,.*(/(toy|x86-ept4|arm-s2-48|riscv-sv39x4|loongarch-s1)\+all)$,\1,p' | sort -u)
    [ -n "$list" ] || { echo "no test in $program"; return 1; }
    # shellcheck disable=SC2086,SC2046
    explain $(printf '%s\n' $list | xargs -P 2 -I '{}' "$logs/run-one" "$logs/$name" "$tally" "qemu-$1" "$program" '{}')
}

# The MMU of an emulator, in the short form.
oracle() { # oracle MACHINE
    status=0
    SEED=1 tests/oracle/run.sh --short "$1" >"$logs/oracle-$1.out" 2>&1 || status=$?
    cat "$logs/oracle-$1.out"
    # shellcheck disable=SC2046
    count $(tail -n 1 "$logs/oracle-$1.out" | tr -c '0-9\n' ' ')
    return "$status"
}

# Interleavings, in the short form.
explored() {
    # shellcheck disable=SC2046
    explain $("$logs/run-one" "$logs/$name" "$tally" "" tools/explore.sh)
}

# ------------------------------------------------------------------------------------------------------------ the steps

guest() { # guest VARIABLE=VALUE...
    env "$@" TIMEOUT=150 examples/hypervisor/run.sh
}

# A guest that hangs is seen by its silence: at work it says something every second.
stress="CPUS=4 STRESS=2 SILENCE=30 TIMEOUT=240"

# Some in a row, with small and with large leaves.
guest_stress() { # guest_stress ARCHITECTURE PAGES...
    guest=$1
    shift
    for pages in "$@"; do
        # shellcheck disable=SC2086
        if env GUEST="$guest" PAGES="$pages" $stress examples/hypervisor/run.sh; then count 1 0 0; else count 0 1 0; fi
    done
    grep -q ' [^0 ]' "$tally" || touch "$logs/stress-$guest"
}

# The negative controls of that: with one kind of invalidation left out the same guest has to fail, and not for another
# reason such as a build that broke. That it hangs counts only if it does not hang with all of them.
guest_must_fail() { # guest_must_fail ARCHITECTURE KIND...
    guest=$1
    shift
    for kind in "$@"; do
        got=0
        # shellcheck disable=SC2086
        out=$(env GUEST="$guest" LEAVE_OUT="$kind" $stress examples/hypervisor/run.sh 2>&1) || got=$?
        printf '%s\n' "$out" | tail -n 8
        case $out in
        *"could not be built"*) got=2 ;;
        *"guest failed: its console was silent"* | *"guest failed: not finished"*)
            [ -e "$logs/stress-$guest" ] || got=3
            ;;
        esac
        if [ "$got" -eq 1 ]; then count 1 0 0; else
            count 0 1 0
            echo "without $kind the guest should have failed, the status is $got"
        fi
    done
}

# Threads on one space under the thread sanitizer: the first report ends the run.
race_tsan() {
    tools/build.sh clang-tsan race-stress race-tlb race-objects race-forks || return 1
    TSAN_OPTIONS='halt_on_error=1 history_size=4' timeout -k 5 900 build/clang-tsan/tests/race/stress --seconds 24 &&
        TSAN_OPTIONS=halt_on_error=1 timeout -k 5 900 build/clang-tsan/tests/race/tlb 60000 &&
        TSAN_OPTIONS=halt_on_error=1 timeout -k 5 900 build/clang-tsan/tests/race/objects --steps 1000 &&
        TSAN_OPTIONS=halt_on_error=1 timeout -k 5 900 build/clang-tsan/tests/race/forks --rounds 3
}

# The same under Helgrind, one thousand steps of each CPU with epochs and with quiescent states.
race_helgrind() {
    tools/build.sh gcc-helgrind race-stress || return 1
    printf '%s\n' x86-ept4 arm-s2-48 | xargs -P 2 -I '{}' timeout -k 5 900 tools/helgrind.sh \
        build/gcc-helgrind/tests/race/stress --steps 1000 --seconds 60 --only '{}'
}

# Are these tests able to find something?
race_mistakes() {
    tools/build.sh gcc tests && tools/build.sh clang-tsan race-stress && tools/build.sh gcc-helgrind race-stress || return 1
    # shellcheck disable=SC2046
    explain $("$logs/run-one" "$logs/$name" "$tally" "env -u ONLY" tests/race/mistakes.sh)
}

# The models that are searched in a few seconds each.
models() {
    # shellcheck disable=SC2046
    explain $("$logs/run-one" "$logs/$name" "$tally" "env -u ONLY FAST=1" tools/models.sh)
}

# The bits of the formats: the short form, and a mistake a family.
proofs() {
    status=0
    env -u ONLY FAST=1 tools/prove.sh || status=$?
    # shellcheck disable=SC2046
    set -- $(sed -n 's/^\([0-9]*\) proved, \([0-9]*\) refuted as expected, \([0-9]*\) failed$/\1 \2 \3/p' "$log")
    count $((${1-0} + ${2-0})) "${3-1}" 0
    return $status
}

# An example that says by its status whether it worked.
example() { # example NAME
    tools/build.sh gcc "$1" && "build/gcc/examples/$1"
}

check_guest_lines() {
    # Bad input gets one line and status 2.
    for bad in GUEST=vax "GUEST=x86_64 EMU=bochs CPUS=2" "GUEST=riscv64 EMU=bochs" CPUS=0 PAGES=3k STRESS=3 RAM=1M RAM=lots KERNEL=/nonexistent TIMEOUT=x; do
        got=0
        # shellcheck disable=SC2086
        out=$(env $bad examples/hypervisor/run.sh 2>&1) || got=$?
        lines=$(printf '%s\n' "$out" | wc -l)
        if [ "$got" -eq 2 ] && [ "$lines" -eq 1 ]; then count 1 0 0; else
            count 0 1 0
            echo "$bad: status $got: $out"
        fi
    done
}

packages="gcc g++ clang libclang-rt-dev cmake ninja-build make pkg-config libc6-dev binutils liburcu-dev spin valgrind libz3-dev"
if [ -z "$fast" ]; then
    packages="$packages gcc-aarch64-linux-gnu gcc-riscv64-linux-gnu libc6-dev-arm64-cross libc6-dev-riscv64-cross qemu-user"
    packages="$packages qemu-system-arm qemu-system-misc opensbi qemu-system-x86 seabios"
fi
# shellcheck disable=SC2086
tools/install-packages.sh $packages >"$logs/packages.log" 2>&1 || {
    status=$?
    tail -n 3 "$logs/packages.log" >&2
    exit $status
}
echo "test: packages: there"

step layers tools/check-layers.sh
step style tools/check-style.sh
step gcc programs gcc tests
step clang programs clang tests +all
# What threads do to each other is for the thread sanitizer.
step gcc-san programs gcc-san tests-unthreaded +all +napot
step clang-san programs clang-san tests-unthreaded +ad +top
step race-tsan race_tsan
step race-helgrind race_helgrind
ahead models models
step quickstart tools/check-readme.sh
step handler example handler
step install tools/check-install.sh
step symbols tools/check-symbols.sh
step freestanding tests/freestanding/run.sh
step models
step prove proofs
ahead explore explored
step conflicts tools/conflicts.sh --brief
step explore
if [ -z "$fast" ]; then
    step race-mistakes race_mistakes
    step aarch64 emulated aarch64
    step riscv64 emulated riscv64
    step oracle-aarch64 oracle aarch64
    step oracle-riscv64 oracle riscv64
    step oracle-x86_64 oracle x86_64
    step oracle-kvm oracle kvm
    step guest-input check_guest_lines
    # Booting keeps one processor busy: those of different architectures beside each other.
    ahead guest-riscv64 guest GUEST=riscv64
    ahead guest-x86_64 guest GUEST=x86_64
    step guest-aarch64 guest GUEST=aarch64
    step guest-riscv64
    step guest-x86_64
    ahead guest-riscv64-smp guest GUEST=riscv64 CPUS=2
    ahead guest-x86_64-smp guest GUEST=x86_64 CPUS=2
    step guest-aarch64-smp guest GUEST=aarch64 CPUS=2
    step guest-riscv64-smp
    step guest-x86_64-smp
    ahead guest-riscv64-2m guest GUEST=riscv64 PAGES=2m
    ahead guest-x86_64-2m guest GUEST=x86_64 PAGES=2m FORMAT=npt5
    step guest-aarch64-2m guest GUEST=aarch64 PAGES=2m
    step guest-riscv64-2m
    step guest-x86_64-2m
    step guest-riscv64-stress guest_stress riscv64 4k 2m 4k
    step guest-riscv64-without guest_must_fail riscv64 gvma-remote
    step guest-aarch64-stress guest_stress aarch64 4k 2m 4k
    step guest-aarch64-without guest_must_fail aarch64 ipas2 vmalle1 vmalls12 broadcast
    step guest-x86_64-stress guest_stress x86_64 4k 2m
    step guest-x86_64-without guest_must_fail x86_64 asid-remote
fi

[ $((passed + failed + skipped)) -gt 0 ] || { echo "test: ONLY=$only is the name of no step" >&2; exit 2; }
echo "test: all of it took $(($(date +%s) - begin_all)) s"
# Once more where nobody has to look for it.
[ ! -e "$logs/failures" ] || sed 's/^test:/test: failed:/' "$logs/failures"
line="$passed passed, $failed failed"
[ "$skipped" -eq 0 ] || line="$line, $skipped skipped"
echo "$line"
[ "$failed" -eq 0 ]
