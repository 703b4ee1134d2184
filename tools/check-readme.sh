#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The example in README.md is examples/quickstart.c, letter by letter, and what it prints is what the program prints.
# With --update the README is made to say so. The examples in examples/async end well.
set -eu
cd "$(dirname "$0")/.."

tools/build.sh gcc quickstart
work=build/readme
mkdir -p "$work"
build/gcc/examples/quickstart >"$work/output"

# The fenced block behind a marker line.
block() {
    awk -v marker="$1" '
        $0 == marker { seen = 1; next }
        seen && /^```/ { if (inside) exit; inside = 1; next }
        inside { print }' README.md
}
# The README with the block behind a marker replaced by a file.
replace() {
    awk -v marker="$1" -v file="$2" '
        $0 == marker { seen = 1 }
        seen && /^```/ {
            if (inside) { seen = inside = 0 } else {
                print
                while ((getline line < file) > 0) print line
                inside = 1
                next
            }
        }
        !inside { print }' README.md >"$work/README.md"
    cp "$work/README.md" README.md
}

source_marker='<!-- examples/quickstart.c -->'
output_marker='<!-- what it prints -->'
if [ "${1-}" = --update ]; then
    replace "$source_marker" examples/quickstart.c
    replace "$output_marker" "$work/output"
fi
status=0
block "$source_marker" | diff -u - examples/quickstart.c || { echo "README.md: the example is not examples/quickstart.c"; status=1; }
block "$output_marker" | diff -u - "$work/output" || { echo "README.md: the example prints something else"; status=1; }

# Each ends with what it did, and status 1 if that is not right; one that waits for ever is ended.
tools/build.sh gcc examples-async
for example in threads tasks vcpus; do
    timeout -k 5 60 "build/gcc/examples/async/$example" || { echo "examples/async/$example: status $?"; status=1; }
done
exit $status
