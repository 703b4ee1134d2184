#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Dependencies point down only:
#
#     space, inspect  ->  pt  ->  format, sync  ->  include/aspace
#
# The table below says what a file of each layer may include besides the public headers and its own folder. Nothing in
# the engine includes a header that only a hosted compiler has. Prints each violation; status 1 if there is one.
set -eu
cd "$(dirname "$0")/.."

LC_ALL=C
export LC_ALL

# Every C11 header that a freestanding implementation must have (C11 4, paragraph 6).
freestanding=' float.h iso646.h limits.h stdalign.h stdarg.h stdbool.h stddef.h stdint.h stdnoreturn.h '

# What a layer may see of the layers below it.
below() {
    case $1 in
    include) echo '' ;;
    sync) echo '' ;;
    format) echo '' ;;
    pt) echo 'format sync' ;;
    space) echo 'pt sync' ;;
    inspect) echo 'space pt sync format' ;;
    *) echo '?' ;;
    esac
}

status=0
bad() {
    echo "$1:$2: $3"
    status=1
}

# The layer that the text of an include, seen in a file, belongs to: "-" if the header does not exist in the tree.
layer_of() {
    file=$1
    text=$2
    for root in "$(dirname "$file")" src include .; do
        [ -f "$root/$text" ] || continue
        path=$(realpath --relative-to=. "$root/$text")
        case $path in
        include/*) echo include ;;
        src/*/*) path=${path#src/}; echo "${path%%/*}" ;;
        src/*) echo common ;;
        *) echo outside ;;
        esac
        return
    done
    echo -
}

check_file() {
    file=$1
    case $file in
    include/*) layer=include ;;
    src/*/*) layer=${file#src/} layer=${layer%%/*} ;;
    *) layer=common ;;
    esac
    allowed=$(below "$layer")
    if [ "$allowed" = '?' ]; then
        bad "$file" 1 "the folder is no layer that tools/check-layers.sh knows"
        return
    fi
    includes=$(grep -nE '^[[:space:]]*#[[:space:]]*include' "$file" | tr -d '\r' || true)
    while IFS=: read -r line text; do
        [ -n "$line" ] || continue
        case $text in
        *'<aspace/'*'>'*) continue ;;
        *'<'*'>'*)
            name=${text#*<} name=${name%%>*}
            case $freestanding in
            *" $name "*) ;;
            *) bad "$file" "$line" "includes <$name>, which a freestanding compiler need not have" ;;
            esac
            ;;
        *'"'*'"'*)
            name=${text#*\"} name=${name%%\"*}
            seen=$(layer_of "$file" "$name")
            case " include $layer $allowed " in
            *" $seen "*) ;;
            *) bad "$file" "$line" "$layer must not include \"$name\" ($seen)" ;;
            esac
            ;;
        *ASPACE_SEAM_HEADER*) [ "$file" = src/sync/seam.h ] || bad "$file" "$line" "only seam.h includes the seams" ;;
        *ASPACE_PORT_HEADER*) [ "$file" = include/aspace/port.h ] || bad "$file" "$line" "only port.h includes the port" ;;
        *) bad "$file" "$line" "an include that this check cannot read" ;;
        esac
    done <<EOF
$includes
EOF
}

for file in $(find include/aspace src -name '*.[ch]' | sort); do
    check_file "$file"
done
exit $status
