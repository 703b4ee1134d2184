#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Owns: build/qemu-later, an emulator newer than the distribution's, unpacked beside it and never installed: Debian's
# backport. What the distribution's walks wrongly can be asked there. build/qemu-later/version is there when all is.
#
# usage: fetch-qemu.sh
# exit:  0 it is there, 1 it could not be got
#
# apt does the work (mirror, signatures, checksums) with a state of its own, as in fetch-guests.sh. Once the files exist
# nothing is done, so it works offline.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
build=${ASPACE_BUILD:-$root/build}
dir=$build/qemu-later
apt=$build/apt-qemu

die() {
    echo "fetch-qemu: $1" >&2
    exit 1
}

[ ! -s "$dir/version" ] || exit 0
for tool in apt-get apt-cache dpkg-deb; do
    command -v "$tool" >/dev/null 2>&1 || die "$tool is missing: the emulator comes as Debian packages"
done
# shellcheck disable=SC1091
suite=$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}")
[ "$suite" = bookworm ] || die "there is a backport for Debian bookworm only, this is ${suite:-something else}"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || die "$keyring is missing (package debian-archive-keyring): packages cannot be verified"

# The mirror this machine uses for Debian itself: the first http(s) URI of its sources that ends in /debian.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    sed -e 's/#.*//' -e 's/\[[^]]*\]//' |
    awk '$1 == "deb" || $1 == "URIs:" {
             for (i = 2; i <= NF; i++) if ($i ~ /^https?:\/\/.*\/debian\/?$/) { print $i; exit }
         }')
mirror=${mirror:-http://deb.debian.org/debian}

mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/state" "$apt/deb" "$dir"
: >"$apt/status"
echo "deb [signed-by=$keyring arch=amd64] $mirror $suite-backports main" >"$apt/sources.list"
cat >"$apt/apt.conf" <<CONF
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$apt/state";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
APT::Sandbox::User "$(id -un)";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
Acquire::Languages "none";
#clear APT::Update::Post-Invoke-Success;
#clear APT::Update::Post-Invoke;
CONF
log=$apt/log
apt-get -c "$apt/apt.conf" -qq --error-on=any update >"$log" 2>&1 || die "cannot read the package lists, see $log"
packages="qemu-system-x86 qemu-system-arm qemu-system-misc qemu-system-riscv qemu-system-common qemu-system-data seabios"
(
    cd "$apt/deb"
    rm -f ./*.deb
    # shellcheck disable=SC2086
    apt-get -c "$apt/apt.conf" -qq download $packages >>"$log" 2>&1
) || die "cannot download $packages, see $log"
for package in "$apt"/deb/*.deb; do
    dpkg-deb -x "$package" "$dir" || die "cannot unpack $package"
done
rm -f "$apt"/deb/*.deb
"$dir/usr/bin/qemu-system-aarch64" --version 2>>"$log" | sed -n 's/.*version \([0-9.]*\).*/\1/p' >"$dir/version.new"
[ -s "$dir/version.new" ] || die "the emulator does not start on this machine, see $log"
mv "$dir/version.new" "$dir/version"
echo "fetch-qemu: version $(cat "$dir/version") is in $dir"
