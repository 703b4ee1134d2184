#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The rules of the house that a script can see: licence line, length of files and lines, no trailing blanks or tabs, no
# conditional compilation inside functions, nothing left to do, no path of anybody's machine, headers that compile alone,
# relative links in documents that lead somewhere. Prints each violation; status 1 if there is one.
set -eu
cd "$(dirname "$0")/.."

LC_ALL=C
export LC_ALL
cc=${CC:-cc}
lines_max=900
status=0

report() {
    # Each line of standard input is a violation, with what is wrong behind it.
    while IFS= read -r line; do
        echo "$line: $1"
    done
}
fail_if_any() {
    if [ -n "$1" ]; then
        printf '%s\n' "$1"
        status=1
    fi
}

code=$(tools/sources.sh c)
shell=$(tools/sources.sh sh)
all=$(tools/sources.sh all)

# shellcheck disable=SC2086
{
    fail_if_any "$(for f in $all; do
        case $f in *.md) continue ;; esac
        head -n 2 "$f" | grep -q 'SPDX-License-Identifier: BSD-2-Clause' || echo "$f:1"
    done | report "no SPDX line at the top")"
    fail_if_any "$(for f in $all; do
        n=$(wc -l <"$f")
        [ "$n" -le $lines_max ] || echo "$f:$n"
    done | report "longer than $lines_max lines")"
    fail_if_any "$(grep -nHE '[[:blank:]]+$' $code $shell | cut -d: -f1,2 | report 'blanks at the end of the line')"
    fail_if_any "$(grep -nHF "$(printf '\t')" $code $shell | cut -d: -f1,2 | report 'a tab')"
    fail_if_any "$(awk 'length($0) > 120 { print FILENAME ":" FNR }' $code | report 'wider than 120 columns')"
    fail_if_any "$(grep -nHE '(^|[[:space:]])//([[:space:]]|$)' $code | cut -d: -f1,2 | report 'a // comment')"
    # The words are put together here so that this file does not match itself.
    words='TO''DO|FIX''ME|XX''X'
    fail_if_any "$(grep -nHwE "$words" $all | cut -d: -f1,2 | report 'something left to do')"
    places='/ho''me/|/ro''ot/|/Us''ers/|/wo''rk/'
    fail_if_any "$(grep -nHE "$places" $all | cut -d: -f1,2 | report "a path of somebody's machine")"
    # A function of this style begins with a brace in the first column and ends with one.
    fail_if_any "$(awk '
        FNR == 1 { inside = 0 }
        /^\{/ { inside = 1; next }
        /^\}/ { inside = 0 }
        inside && /^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|else)/ { print FILENAME ":" FNR }' $code |
        report 'conditional compilation inside a function')"
    # At most sixty lines between the braces.
    fail_if_any "$(awk '
        FNR == 1 { begin = 0 }
        /^\{/ { begin = FNR; next }
        /^\}/ { if (begin && FNR - begin - 1 > 60) print FILENAME ":" begin; begin = 0 }' $code |
        report 'a function of more than sixty lines')"
}

# A document's relative links lead to files that exist.
for f in $(tools/sources.sh all | grep '\.md$' || true); do
    links=$(grep -oE '\]\([^)#: ]+' "$f" | sed 's/^](//' | sort -u || true)
    for link in $links; do
        [ -e "$(dirname "$f")/$link" ] || { echo "$f:1: link to $link, which does not exist"; status=1; }
    done
done

# Headers must not lean on what was included before them.
check_header() {
    printf '#include "%s"\n' "$1" | "$cc" -std=c11 -fsyntax-only -Wall -Wextra -ffreestanding -Iinclude -Isrc -xc - 2>&1 |
        grep -m 1 -E 'error' || true
}
for f in $(find include src -name '*.h' | sort); do
    found=$(check_header "$f")
    [ -z "$found" ] || { echo "$f:1: does not compile on its own: $found"; status=1; }
done

if command -v clang-format >/dev/null; then
    tools/format.sh --check || status=1
else
    echo "check-style: clang-format is not installed, the layout was not checked" >&2
fi
exit $status
