#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# make explore: operations of the real library in every order of their shared accesses (tests/race/explore). Compiles the
# library with the explorer's seams into build/explore and runs the program; the last line has the totals.
#
# usage: explore.sh [short|full] [OPTION...]      options as for the program
# variables: SEED=n, SCHEDULES=n (of each random case), SECONDS_MAX=n (then no more pairs are begun), ONLY=part of a name
set -eu
cd "$(dirname "$0")/.."

out=build/explore
compiler=${CC:-gcc}
mkdir -p "$out"

command -v "$compiler" >/dev/null || { echo "explore: $compiler is not installed" >&2; exit 2; }

# The library gets the seams; the port and the explorer itself get the warnings that all other code gets.
common="-std=gnu11 -O2 -g -Iinclude -Isrc -Iport/linux -Itests -Itests/race/explore"
port='-DASPACE_PORT_HEADER="explore_port.h"'
seam='-DASPACE_SEAM_HEADER="explore_seam.h"'
strict='-Wall -Wextra -Wconversion -Werror'

objects=
compile() { # compile FILE FLAGS...
    file=$1
    shift
    object=$out/$(printf '%s' "${file%.c}" | tr / _).o
    objects="$objects $object"
    # Anything that is newer than the object makes it anew: the headers are many and the files few.
    if [ -f "$object" ] && [ -z "$(find "$file" src include port/linux tests/race/explore tests/conformance/naive.h \
        tests/sim_walker.h tools/explore.sh -name '*.[hc]' -newer "$object" -print -quit)" ]; then
        return 0
    fi
    # shellcheck disable=SC2086
    "$compiler" $common "$@" -c "$file" -o "$object"
}

for file in $(find src -name '*.c' | sort); do
    compile "$file" "$port" "$seam" -Wall -Wextra -Werror -Wno-shadow -ffreestanding -Dmemcpy=explore_memcpy
done
for file in $(find port/linux -maxdepth 1 -name '*.c' | sort) $(find tests/race/explore -name '*.c' | sort) \
    tests/conformance/naive.c; do
    # shellcheck disable=SC2086
    compile "$file" "$port" "$seam" $strict
done
# shellcheck disable=SC2086
"$compiler" $objects -o "$out/explore" -pthread

form=short
case ${1-} in
short | full) form=$1; shift ;;
esac
seed=${SEED:-1}
case $form in
short) set -- --bound 1 --stale 1 --seed "$seed" "$@" ;;
full) set -- --bound 2 --named-bound 3 --triples 8000 --programs 4000 --stale 2 --weak-pairs 8 --seed "$seed" "$@" ;;
esac
[ -z "${SCHEDULES-}" ] || set -- --schedules "$SCHEDULES" "$@"
[ -z "${SECONDS_MAX-}" ] || set -- --seconds "$SECONDS_MAX" "$@"
[ "$form" = short ] || [ -z "${ONLY-}" ] || set -- "$@" "$ONLY"
exec "$out/explore" "$@"
