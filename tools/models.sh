#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# make models: lets Spin search every state of the models in models/. The head comment of a model lists its runs, a line
# each: the verdict that is expected, the switches ("-": none), and in words what is run.
#
#   clean    no violation in an exhaustive search
#   deep     the same, more than a few seconds: left out with FAST=1
#   assert   a seeded mistake: an assertion must fail
#   stuck    a seeded mistake: processes must come to wait for each other for ever
#
# Anything else fails, and so does a search that was cut off by its depth or its memory. Each run prints one line; its
# log, and the steps to a violation, are in build/models/<model>/. The last line is "N passed, N failed"; status 1 if
# something failed, 2 if Spin cannot be had or nothing was run.
#
# ONLY=part of a model's name runs these models only.
set -eu
cd "$(dirname "$0")/.."

export LC_ALL=C
only=${ONLY-}
fast=${FAST-}
out=$PWD/build/models
depth=2000000
megabytes=2000
seconds=600
passed=0 failed=0

tools/install-packages.sh spin gcc libc6-dev >/dev/null || {
    echo "models: spin could not be installed" >&2
    exit 2
}
mkdir -p "$out"

# The lines of the head comment that describe runs, as "verdict switches... words".
runs_of() { # runs_of MODEL
    sed -n '1d; /\*\//q; s/^ \*  *\(clean\|deep\|assert\|stuck\)  */\1 /p' "$1"
}

compile() { # compile MODEL VERDICT SWITCHES: into ./pan
    # What is searched in no time is not worth optimising.
    case $2 in clean) optimise=-O1 ;; deep) optimise=-O2 ;; *) optimise=-O0 ;; esac
    # shellcheck disable=SC2086
    spin -a $3 "$1" >spin.log 2>&1 && [ -f pan.c ] || return 1
    # Exact storage of every state: the switches save memory, not accuracy.
    cc $optimise -w -DSAFETY -DCOLLAPSE -DMEMLIM=$megabytes -o pan pan.c >cc.log 2>&1
}

# What a search came to, from its log: clean, assert, stuck, or what is wrong with the search itself.
verdict_of() { # verdict_of LOG STATUS
    if grep -q 'assertion violated.*in_bounds' "$1"; then
        echo "the model is too small for what it runs"
    elif grep -q '^pan:1: assertion violated' "$1"; then
        echo assert
    elif grep -q '^pan:1: invalid end state' "$1"; then
        echo stuck
    elif [ "$2" -eq 124 ]; then
        echo "no end after $seconds s"
    elif grep -q 'max search depth too small' "$1"; then
        echo "cut off: deeper than $depth steps"
    elif grep -qi -e 'memory limit' -e 'out of memory' -e 'MEMLIM bound' "$1"; then
        echo "cut off: more than $megabytes MB"
    elif grep -q 'Search not completed' "$1"; then
        echo "cut off"
    elif [ "$2" -eq 0 ] && grep -q 'errors: 0$' "$1"; then
        echo clean
    else
        echo "the checker failed with status $2"
    fi
}

figures() { # figures LOG: states, seconds, memory
    awk '/states, stored$/ { n = $1 } /elapsed time/ { t = $4 } /total actual memory usage/ { m = $1 }
        END { printf "%d states, %.1f s, %d MB", n, t, m + 0.5 }' "$1"
}

run() { # run MODEL VERDICT SWITCHES WORDS
    expected=$2 switches=$3 words=$4
    name=$(basename "$1" .pml)
    model=$PWD/$1
    title=$(echo "$switches" | sed 's/-D//g; s/ /+/g')
    dir=$out/$name/${title:-plain}
    rm -rf "$dir"
    mkdir -p "$dir"
    if ! (cd "$dir" && compile "$model" "$expected" "$switches"); then
        got="does not compile"
    else
        status=0
        (cd "$dir" && exec timeout -k 5 $seconds ./pan -m$depth) >"$dir/pan.log" 2>&1 || status=$?
        got=$(verdict_of "$dir/pan.log" $status)
        rm -f "$dir"/pan "$dir"/pan.?
    fi
    case $expected in deep) wanted=clean ;; *) wanted=$expected ;; esac
    label="models: $name${title:+ $title}"
    if [ "$got" != "$wanted" ]; then
        failed=$((failed + 1))
        echo "$label: FAILED: $words: expected $wanted, got: $got (see ${dir#"$PWD"/})"
    elif [ "$wanted" = clean ]; then
        passed=$((passed + 1))
        echo "$label: no violation: $words ($(figures "$dir/pan.log"))"
    else
        passed=$((passed + 1))
        echo "$label: refuted ($got): $words"
    fi
}

all_of() { # all_of MODEL
    cleans=0 mistakes=0
    while read -r verdict rest; do
        switches=
        while :; do
            case $rest in
            -D*' '*) switches="$switches${switches:+ }${rest%% *}" rest=${rest#* } ;;
            '- '*) rest=${rest#- } ;;
            ' '*) rest=${rest# } ;;
            *) break ;;
            esac
        done
        case $verdict in clean | deep) cleans=$((cleans + 1)) ;; *) mistakes=$((mistakes + 1)) ;; esac
        if [ "$verdict" = deep ] && [ -n "$fast" ]; then continue; fi
        run "$1" "$verdict" "$switches" "$rest"
    done <<EOF
$(runs_of "$1")
EOF
    # A model that lists nothing, or nothing that can go wrong, shows nothing.
    if [ $cleans -eq 0 ] || [ $mistakes -eq 0 ]; then
        failed=$((failed + 1))
        echo "models: $1: FAILED: its head comment lists $cleans clean runs and $mistakes mistakes"
    fi
}

for model in models/*.pml; do
    case $(basename "$model" .pml) in *"$only"*) all_of "$model" ;; esac
done
[ $((passed + failed)) -gt 0 ] || { echo "models: ONLY=$only is the name of no model" >&2; exit 2; }
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
