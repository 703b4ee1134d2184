#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# clang-format over every C file that is in the tree. With --check it changes nothing and names the files that differ.
set -eu
cd "$(dirname "$0")/.."

command -v clang-format >/dev/null || { echo "format: clang-format is not installed" >&2; exit 2; }
mode=-i
case ${1-} in
'') ;;
--check) mode=--dry-run ;;
*) echo "format: usage: format.sh [--check]" >&2; exit 2 ;;
esac
if [ "$mode" = -i ]; then
    tools/sources.sh c | xargs clang-format -i
    exit 0
fi
status=0
for file in $(tools/sources.sh c); do
    if ! clang-format "$file" | cmp -s - "$file"; then
        echo "$file: not as clang-format has it (make format)"
        status=1
    fi
done
exit $status
