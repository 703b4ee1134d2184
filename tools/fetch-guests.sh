#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Owns: build/guests/<arch>/Image and build/guests/<arch>/version, the unmodified Debian kernels that the example
# hypervisor boots. They are fetched, never stored in the repository.
#
# usage: fetch-guests.sh riscv64|aarch64|x86_64...
# exit:  0 the kernels are there, 1 they could not be got, 2 bad usage
#
# apt does the work (mirror, signatures, checksums), but with a state of its own under build/apt: neither root nor
# any change of the system's sources is needed. Once the files exist nothing is done, so it works offline.
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

die() {
    echo "fetch-guests: $2" >&2
    exit "$1"
}
say() { echo "fetch-guests: $*"; }

have() { [ -s "$build/guests/$1/Image" ] && [ -s "$build/guests/$1/version" ]; }

[ $# -gt 0 ] || die 2 "usage: fetch-guests.sh riscv64|aarch64|x86_64..."
wanted=
for arch in "$@"; do
    case $arch in
    riscv64 | aarch64 | x86_64) have "$arch" || wanted="$wanted $arch" ;;
    *) die 2 "unknown architecture '$arch' (riscv64, aarch64 or x86_64)" ;;
    esac
done
[ -n "$wanted" ] || exit 0
for tool in apt-get apt-cache dpkg-deb tar od flock; do
    command -v "$tool" >/dev/null 2>&1 || die 1 "$tool is missing: the guest kernels come as Debian packages"
done

apt=$build/apt
mkdir -p "$apt"
# Two runs at a time (make run in two terminals) would share the state; the second then finds the work done.
exec 9>"$apt/lock"
flock 9

# The mirror this machine uses for Debian itself: the first http(s) URI of its sources that ends in /debian.
mirror_of_machine() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -e 's/#.*//' -e 's/\[[^]]*\]//' |
        awk '$1 == "deb" || $1 == "URIs:" {
                 for (i = 2; i <= NF; i++)
                     if ($i ~ /^https?:\/\/.*\/debian\/?$/) { print $i; exit }
             }'
}
mirror=$(mirror_of_machine)
if [ -z "$mirror" ]; then
    mirror=http://deb.debian.org/debian
    say "no Debian mirror in this machine's apt sources, taking $mirror"
fi

deb_arch() {
    case $1 in
    aarch64) echo arm64 ;;
    x86_64) echo amd64 ;;
    *) echo "$1" ;;
    esac
}

deb_archs=
for arch in $wanted; do deb_archs="${deb_archs:+$deb_archs,}$(deb_arch "$arch")"; done

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || die 1 "$keyring is missing (package debian-archive-keyring): packages cannot be verified"
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/state" "$apt/deb"
: >"$apt/status"
for arch in $wanted; do
    echo "deb [signed-by=$keyring arch=$(deb_arch "$arch")] $mirror $(suite_of "$arch") main"
done >"$apt/sources.list"
# In a file, since paths may hold blanks. The sandbox user could not write here, and the system's hooks (which
# refresh caches of its own) are none of our business.
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
APT::Architectures { $(echo "$deb_archs" | sed 's/,/"; "/g; s/^/"/; s/$/";/') };
APT::Architecture "${deb_archs%%,*}";
APT::Update::Post-Invoke-Success "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
CONF
printf '#clear APT::Update::Post-Invoke-Success;\n#clear APT::Update::Post-Invoke;\n' >>"$apt/apt.conf"

apt_run() {
    cmd=$1
    shift
    "$cmd" -c "$apt/apt.conf" "$@"
}

say "reading the package lists of Debian ($deb_archs) from $mirror"
log=$apt/log
apt_run apt-get -qq --error-on=any update >"$log" 2>&1 || {
    tail -n 5 "$log" >&2
    die 1 "cannot read the package lists from $mirror"
}

fetch_one() {
    arch=$1
    darch=$(deb_arch "$arch")
    # Exact names move with every point release; the metapackage knows the current one.
    pkg=$(apt_run apt-cache show --no-all-versions "linux-image-$darch:$darch" 2>>"$log" |
        sed -n 's/^Depends: *\(linux-image-[^ ,(]*\).*/\1/p' | head -n 1)
    [ -n "$pkg" ] || die 1 "the metapackage linux-image-$darch names no kernel"
    version=$(echo "$pkg" | sed -n 's/^linux-image-\([0-9][0-9.]*[0-9]\).*/\1/p')
    [ -n "$version" ] || die 1 "no kernel version in the package name $pkg"

    say "downloading $pkg"
    rm -f "$apt/deb/${pkg}_"*
    (cd "$apt/deb" && apt_run apt-get -qq download "$pkg:$darch") >>"$log" 2>&1 || {
        tail -n 5 "$log" >&2
        die 1 "cannot download $pkg"
    }
    say "unpacking the kernel"
    dir=$build/guests/$arch
    unpack=$dir/unpack
    rm -rf "$unpack"
    mkdir -p "$unpack"
    # Only the kernel: the modules of a package are ten times its size and the guest loads none.
    dpkg-deb --fsys-tarfile "$apt/deb/${pkg}_"*.deb |
        tar -x -C "$unpack" --wildcards './boot/vmlinu*' || die 1 "no kernel image in $pkg"
    image=
    for f in "$unpack"/boot/vmlinu*; do image=$f; done
    # riscv64's "vmlinux" is a flat Image in spite of its name. Other forms (EFI zboot, ELF) would not boot. What x86
    # has is a bzImage.
    case $arch:$(od -An -c -j56 -N4 "$image" | tr -d ' '):$(od -An -c -j514 -N4 "$image" | tr -d ' ') in
    aarch64:ARMd:* | riscv64:RSC005:* | x86_64:*:HdrS) ;;
    *) die 1 "the kernel in $pkg is no flat Image or bzImage, which is what the hypervisor boots" ;;
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
