#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# make prove: the headers of the formats and of the slots compiled over Z3 terms, and what tests/prove claims of them for
# every entry and every address. Then the mistakes of tests/prove/mistakes.txt, each in a copy, each to be refuted with
# a counterexample. Logs are in build/prove; the last line is "N proved, N refuted as expected, N failed". Status 1 if
# something failed, 2 if Z3 cannot be had or nothing was run.
#
# ONLY=part of a family's name proves these alone.   FAST=1: fewer formats and configurations, one mistake a family.
set -eu
cd "$(dirname "$0")/.."

export LC_ALL=C
only=${ONLY-}
fast=${FAST-}
out=build/prove
brief=
[ -z "$fast" ] || brief=--brief

tools/install-packages.sh g++ gcc libc6-dev libz3-dev >/dev/null || {
    echo "prove: Z3 could not be installed" >&2
    exit 2
}
rm -rf "$out"
mkdir -p "$out"

# `!a & b` is a proposition here: hence -Wno-parentheses.
strict="-O1 -Wall -Wextra -Wconversion -Werror -Wno-parentheses"
cpp() { # cpp TREE SWITCHES SOURCE OBJECT
    # shellcheck disable=SC2086
    g++ -std=gnu++20 $2 -I"$1/include" -I"$1/src" -I"$1/tests/prove" -c "$3" -o "$4"
}

# The program of a tree: of the project, or of a copy with a mistake. The claims are one unit, which compiles faster; the
# engine is the same for all.
compile() { # compile TREE PROGRAM SWITCHES
    for part in subject leaves slots fields prove; do echo "#include \"$part.cpp\""; done >"$2-unit.cpp"
    cpp "$1" "$3" "$2-unit.cpp" "$2-claims.o" && cpp "$1" "$3" "$1/tests/prove/hardware.cpp" "$2-hardware.o" &&
        gcc -std=c11 -I"$1/include" -I"$1/src" -c "$1/src/format/formats.c" -o "$2-formats.o" &&
        g++ "$2-claims.o" "$2-hardware.o" "$2-formats.o" "$out/engine.o" -lz3 -o "$2"
}

proved=0 refuted=0 failed=0

prove_all() {
    status=0
    compile . "$out/prove" "$strict"
    # shellcheck disable=SC2086
    { "$out/prove" $brief "$only" 2>&1 || echo "$?" >"$out/status"; } | tee "$out/prove.log" |
        grep --line-buffered -v '^[0-9]* proved, ' || true
    [ ! -f "$out/status" ] || status=$(cat "$out/status")
    [ "$status" -ne 2 ] || exit 2
    # shellcheck disable=SC2046
    set -- $(sed -n 's/^\([0-9]*\) proved, \([0-9]*\) refuted$/\1 \2/p' "$out/prove.log")
    proved=${1-0} failed=${2-1}
    # A program that ended badly without having counted a failure.
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
}

# How a mistake was met: refuted, or what is wrong.
verdict_of() { # verdict_of FAMILY FILE EXPRESSION CLAIM
    tree=$out/mistake
    rm -rf "$tree"
    mkdir -p "$tree/tests"
    cp -r src include "$tree/"
    cp -r tests/prove "$tree/tests/"
    sed -i "$3" "$tree/$2"
    if cmp -s "$2" "$tree/$2"; then
        echo "the expression changes nothing in $2"
        return
    fi
    if ! compile "$tree" "$log" "-O0 -w" >"$log.log" 2>&1; then
        echo "does not compile, see $log.log"
        return
    fi
    status=0
    timeout -k 5 120 "$log" --brief --until "$4" "$1" >"$log.log" 2>&1 || status=$?
    if [ "$status" -eq 1 ] && ended_with "$4"; then
        echo refuted
    else
        echo "not refuted as expected (status $status), see $log.log"
    fi
    rm -f "$log" "$log-unit.cpp" "$log"-*.o
}

# The last refutation in the log is of the claim that is expected.
ended_with() { # ended_with CLAIM
    awk '/^REFUTED/ { text = "" } { text = text "\n" $0 } END { print text }' "$log.log" |
        grep -E '^    (does not hold: |vacuous)' | grep -qF "$1"
}

counterexample() {
    awk '/^REFUTED/ { text = "" } { text = text $0 "\n" } END { printf "%s", text }' "$log.log" | sed 's/^/        /'
}

mistake() { # mistake WORDS FAMILY FILE EXPRESSION CLAIM
    case $2 in *"$only"*) ;; *) return 0 ;; esac
    case $fast,$seen in 1,*" $2 "*) return 0 ;; esac
    seen="$seen$2 "
    number=$((number + 1))
    log=$out/mistake-$number
    got=$(verdict_of "$2" "$3" "$4" "$5")
    if [ "$got" = refuted ]; then
        refuted=$((refuted + 1))
        echo "prove: refuted: $1"
        counterexample
    else
        failed=$((failed + 1))
        echo "prove: FAILED: $1: $got"
    fi
}

# Paragraphs of four lines, after the first.
mistakes() {
    number=0 seen=' '
    {
        while read -r line && [ -n "$line" ]; do :; done
        while read -r words; do
            read -r family file
            read -r expression
            read -r claim
            if ! read -r blank || [ -n "$blank" ]; then
                echo "prove: mistakes.txt: no paragraph: $words" >&2
                exit 2
            fi
            mistake "$words" "$family" "$file" "$expression" "$claim"
        done
    } <tests/prove/mistakes.txt
    # A check that finds nothing in nothing.
    if [ "$number" -eq 0 ]; then
        failed=$((failed + 1))
        echo "prove: FAILED: no mistake was tried"
    fi
}

cpp . "$strict" tests/prove/engine.cpp "$out/engine.o"
prove_all
mistakes
echo "$proved proved, $refuted refuted as expected, $failed failed"
[ "$failed" -eq 0 ]
