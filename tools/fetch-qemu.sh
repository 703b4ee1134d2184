#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Owns: build/qemu-later, an emulator newer than the distribution's, unpacked beside it and never installed: Debian's
# backport. What the distribution's walks wrongly can be asked there. build/qemu-later/version is there when all is.
#
# usage: fetch-qemu.sh
# exit:  0 it is there, 1 it could not be got
#
# Once the files exist nothing is done, so it works offline.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
dir=${ASPACE_BUILD:-$root/build}/qemu-later
name=qemu
# shellcheck source=tools/apt-beside.sh
. "$root/tools/apt-beside.sh"

[ ! -s "$dir/version" ] || exit 0
# shellcheck disable=SC1091
suite=$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}")
[ "$suite" = bookworm ] || die "there is a backport for Debian bookworm only, this is ${suite:-something else}"
beside "amd64:$suite-backports"
mkdir -p "$dir"
packages="qemu-system-x86 qemu-system-arm qemu-system-misc qemu-system-riscv qemu-system-common qemu-system-data seabios"
(
    cd "$apt/deb"
    rm -f ./*.deb
    # shellcheck disable=SC2086
    beside_apt download $packages
) || die "cannot download $packages, see $log"
for package in "$apt"/deb/*.deb; do
    dpkg-deb -x "$package" "$dir" || die "cannot unpack $package"
done
rm -f "$apt"/deb/*.deb
"$dir/usr/bin/qemu-system-aarch64" --version 2>>"$log" | sed -n 's/.*version \([0-9.]*\).*/\1/p' >"$dir/version.new"
[ -s "$dir/version.new" ] || die "the emulator does not start on this machine, see $log"
mv "$dir/version.new" "$dir/version"
echo "fetch-qemu: version $(cat "$dir/version") is in $dir"
