#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Owns: OUTDIR/initrd.gz, the guest's initramfs: init.c built static, packed by mkinitramfs.c. The bytes depend on
# the sources and the compilers only.
#
# usage: build-initrd.sh riscv64|aarch64|x86_64 OUTDIR
set -eu

[ $# -eq 2 ] || { echo "build-initrd: usage: build-initrd.sh riscv64|aarch64|x86_64 OUTDIR" >&2; exit 2; }
arch=$1
out=$2
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
case $arch in
riscv64 | aarch64 | x86_64) ;;
*) echo "build-initrd: unknown architecture '$arch' (riscv64, aarch64 or x86_64)" >&2; exit 2 ;;
esac
cross=${GUEST_CC:-$arch-linux-gnu-gcc}

# Compared by time, like make does; an initrd that is newer than all it is made of stays.
if [ -s "$out/initrd.gz" ] && [ -z "$(find "$here" -type f -newer "$out/initrd.gz")" ]; then exit 0; fi

mkdir -p "$out"
tmp=$(mktemp -d "$out/initrd.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
warn='-std=c11 -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes'
# No vector code: emulators run it slowly, and the point is to touch memory.
# shellcheck disable=SC2086
"$cross" $warn -O2 -fno-tree-vectorize -static -s -o "$tmp/init" "$here/init.c"
# shellcheck disable=SC2086
"${HOSTCC:-cc}" $warn -O1 -o "$tmp/mkinitramfs" "$here/mkinitramfs.c"
"$tmp/mkinitramfs" "$tmp/init" >"$tmp/initrd"
gzip -n -9 "$tmp/initrd"
mv "$tmp/initrd.gz" "$out/initrd.gz"
