#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Owns: the disk that sector.S boots from: the sector with its table filled in, then the parts one after another, up to
# the end of a cylinder. Must not know what the parts are for.
#
# usage: mkdisk.sh SECTOR DISK COMMAND_LINE IMAGE=ADDRESS FILE=ADDRESS FILE=ADDRESS
# prints the number of cylinders, of 16 heads and 63 sectors each. The image is started.
set -eu
sector=$1 disk=$2 line=$3
shift 3
line_at=$((0x20000)) bytes_of_cylinder=$((16 * 63 * 512))

word() { # word NUMBER: four bytes, the least first
    n=$(($1))
    # shellcheck disable=SC2059
    for shift in 0 8 16 24; do printf "\\$(printf %03o $((n >> shift & 255)))"; done
}

printf '%s\000' "$line" >"$disk.line"
head -c 442 "$sector" >"$disk"
: >"$disk.parts"
at=1
for part in "$@" "$disk.line=$line_at"; do
    file=${part%=*}
    sectors=$((($(wc -c <"$file") + 511) / 512))
    { word $at; word $sectors; word "${part##*=}"; word 0; } >>"$disk"
    head -c $((sectors * 512)) "$file" >>"$disk.parts"
    truncate -s %512 "$disk.parts"
    at=$((at + sectors))
done
{
    word $line_at
    printf '\125\252'
    cat "$disk.parts"
} >>"$disk"
rm -f "$disk.parts" "$disk.line"
truncate -s %$bytes_of_cylinder "$disk"
echo $(($(wc -c <"$disk") / bytes_of_cylinder))
