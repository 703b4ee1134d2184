#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Owns: build/guests/<arch>/Image and build/guests/<arch>/version, the unmodified Debian kernels that the example
# hypervisor boots. They are fetched, never stored in the repository.
#
# usage: fetch-guests.sh riscv64|aarch64|x86_64...
# exit:  0 the kernels are there, 1 they could not be got, 2 bad usage
#
# Once the files exist nothing is done, so it works offline.
set -eu

# The first Debian release with a riscv64 port; its 6.12 serves aarch64 too. For x86_64 the 6.1 of the release before,
# whose instructions the emulators know.
suite_of() {
    case $1 in
    x86_64) echo bookworm ;;
    *) echo trixie ;;
    esac
}
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
build=${ASPACE_BUILD:-$root/build}
name=guests
# shellcheck source=tools/apt-beside.sh
. "$root/tools/apt-beside.sh"

say() { echo "fetch-guests: $*"; }

usage() {
    echo "fetch-guests: $1" >&2
    exit 2
}

have() { [ -s "$build/guests/$1/Image" ] && [ -s "$build/guests/$1/version" ]; }

[ $# -gt 0 ] || usage "usage: fetch-guests.sh riscv64|aarch64|x86_64..."
wanted=
for arch in "$@"; do
    case $arch in
    riscv64 | aarch64 | x86_64) have "$arch" || wanted="$wanted $arch" ;;
    *) usage "unknown architecture '$arch' (riscv64, aarch64 or x86_64)" ;;
    esac
done
[ -n "$wanted" ] || exit 0

deb_arch() {
    case $1 in
    aarch64) echo arm64 ;;
    x86_64) echo amd64 ;;
    *) echo "$1" ;;
    esac
}

# shellcheck disable=SC2046
set -- $(for arch in $wanted; do echo "$(deb_arch "$arch"):$(suite_of "$arch")"; done)
say "reading the package lists of Debian ($*)"
beside "$@"

fetch_one() {
    arch=$1
    darch=$(deb_arch "$arch")
    # Exact names move with every point release; the metapackage knows the current one.
    pkg=$(apt-cache -c "$apt/apt.conf" show --no-all-versions "linux-image-$darch:$darch" 2>>"$log" |
        sed -n 's/^Depends: *\(linux-image-[^ ,(]*\).*/\1/p' | head -n 1)
    [ -n "$pkg" ] || die "the metapackage linux-image-$darch names no kernel"
    version=$(echo "$pkg" | sed -n 's/^linux-image-\([0-9][0-9.]*[0-9]\).*/\1/p')
    [ -n "$version" ] || die "no kernel version in the package name $pkg"

    say "downloading $pkg"
    rm -f "$apt/deb/${pkg}_"*
    (cd "$apt/deb" && beside_apt download "$pkg:$darch") || die "cannot download $pkg from $mirror, see $log"
    say "unpacking the kernel"
    dir=$build/guests/$arch
    unpack=$dir/unpack
    rm -rf "$unpack"
    mkdir -p "$unpack"
    # Only the kernel: the modules of a package are ten times its size and the guest loads none.
    dpkg-deb --fsys-tarfile "$apt/deb/${pkg}_"*.deb |
        tar -x -C "$unpack" --wildcards './boot/vmlinu*' || die "no kernel image in $pkg"
    image=
    for f in "$unpack"/boot/vmlinu*; do image=$f; done
    # riscv64's "vmlinux" is a flat Image in spite of its name. Other forms (EFI zboot, ELF) would not boot. What x86
    # has is a bzImage.
    case $arch:$(od -An -c -j56 -N4 "$image" | tr -d ' '):$(od -An -c -j514 -N4 "$image" | tr -d ' ') in
    aarch64:ARMd:* | riscv64:RSC005:* | x86_64:*:HdrS) ;;
    *) die "the kernel in $pkg is no flat Image or bzImage, which is what the hypervisor boots" ;;
    esac
    mv "$image" "$dir/Image.new"
    rm -rf "$unpack" "$apt/deb/${pkg}_"*
    chmod 644 "$dir/Image.new"
    # The version last: have() takes it as the sign that all is complete.
    rm -f "$dir/version"
    mv "$dir/Image.new" "$dir/Image"
    echo "$version" >"$dir/version.new"
    mv "$dir/version.new" "$dir/version"
    say "$arch kernel $version is in $dir/Image"
}

for arch in $wanted; do
    # Perhaps somebody else got it while we waited for the lock.
    have "$arch" || fetch_one "$arch"
done
