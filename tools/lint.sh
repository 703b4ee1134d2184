#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# make lint: layers, style, cppcheck, clang-tidy, shellcheck. Everything is run, then the status tells whether all is well.
set -eu
cd "$(dirname "$0")/.."

tools/install-packages.sh gcc clang clang-format clang-tidy cppcheck shellcheck cmake ninja-build >/dev/null
status=0
step() {
    name=$1
    shift
    begin=$(date +%s)
    if "$@"; then verdict=ok; else verdict=FAILED status=1; fi
    echo "lint: $name: $verdict ($(($(date +%s) - begin)) s)"
}

core=$(find src -name '*.c' | sort)
hosted=$(find port/linux bench examples/quickstart.c -name '*.c' 2>/dev/null | sort)

# Chosen for what they find here: misuse of macros and types, dead stores, null dereferences, arithmetic that wraps. The
# style checks are left out, since the style is clang-format's and check-style's.
tidy_checks='-*,bugprone-*,clang-analyzer-*,cert-err34-c,cert-flp30-c,misc-redundant-expression,misc-unused-parameters'
tidy_checks="$tidy_checks,performance-*,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier"
tidy_checks="$tidy_checks,-bugprone-narrowing-conversions,-bugprone-macro-parentheses,-bugprone-branch-clone"
tidy_checks="$tidy_checks,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling,-performance-no-int-to-ptr"
tidy_checks="$tidy_checks,-bugprone-assignment-in-if-condition"

run_cppcheck() {
    # shellcheck disable=SC2086
    cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr --enable=warning,performance,portability \
        --suppress=missingIncludeSystem --suppress=unusedStructMember -j "$(nproc)" -Iinclude -Isrc -Iport/linux \
        '-DASPACE_PORT_HEADER="aspace_port.h"' -UASPACE_SEAM_HEADER $core $hosted
}
run_tidy() {
    tools/build.sh clang aspace >/dev/null || return 1
    # The compiler that made the database knows the flags; a file that is not in it has the core's. The two quarters of
    # the list are looked at side by side.
    # shellcheck disable=SC2086
    printf '%s\n' $core | xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p build/clang -checks="$tidy_checks" \
        -warnings-as-errors='*' >build/tidy.log 2>/dev/null || { grep -E '(warning|error):' build/tidy.log | sort -u; return 1; }
}
run_shellcheck() {
    tools/sources.sh sh | xargs shellcheck -e SC2317
}

mkdir -p build
step layers tools/check-layers.sh
step style tools/check-style.sh
step shellcheck run_shellcheck
step cppcheck run_cppcheck
step clang-tidy run_tidy
exit $status
