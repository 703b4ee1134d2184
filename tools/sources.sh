#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Names the files of the project, one a line: of a kind, or all text files. Needs no git, so that it works in a tarball.
#
# usage: sources.sh c|sh|all
set -eu
cd "$(dirname "$0")/.."

find_files() {
    find . \( -path ./build -o -path ./.git \) -prune -o -type f "$@" -print | sed 's|^\./||' | LC_ALL=C sort
}

case ${1-} in
c) find_files \( -name '*.c' -o -name '*.h' -o -name '*.cpp' -o -name '*.hpp' \) ;;
sh) find_files \( -name '*.sh' -o -path ./.ci/run \) ;;
all)
    find_files \( -name '*.[chS]' -o -name '*.[ch]pp' -o -name '*.sh' -o -name '*.md' -o -name '*.cmake' -o -name '*.in' -o -name '*.lds' \
        -o -name '*.ld' -o -name '*.map' -o -name '*.py' -o -name '*.pml' -o -name CMakeLists.txt -o -name Makefile -o -path ./.ci/run \)
    ;;
*) echo "sources: usage: sources.sh c|sh|all" >&2; exit 2 ;;
esac
