#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Owns: build/bochs-later, a Bochs newer than Debian bookworm's 2.7, unpacked beside it and never installed: Debian
# trixie's 3.0, which has mode-based execute control. It comes with the C library that it was linked with, and its own
# loader, so that the system's need not be as new. build/bochs-later/version is there when all is; then `bochs` in it
# starts the emulator.
#
# usage: fetch-bochs.sh
# exit:  0 it is there, 1 it could not be got
#
# Once the files exist nothing is done, so it works offline.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
dir=${ASPACE_BUILD:-$root/build}/bochs-later
name=bochs
# shellcheck source=tools/apt-beside.sh
. "$root/tools/apt-beside.sh"

[ ! -s "$dir/version" ] || exit 0
[ "$(uname -m)" = x86_64 ] || die "there are packages for x86-64 only, this is $(uname -m)"
beside amd64:trixie
# With everything it depends on: what of that is linked to shows only when it is there.
beside_apt install -y --no-install-recommends --download-only bochs || die "cannot download bochs, see $log"
all=$apt/unpacked
rm -rf "$all" "$dir"
mkdir -p "$all" "$dir/lib" "$dir/plugins" "$dir/bios"
for package in "$apt"/cache/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -C "$all" -x -f - ./usr/bin ./usr/lib ./usr/lib64 ./usr/share/bochs \
        ./usr/share/vgabios >>"$log" 2>&1 || true # few have all of these
done
libraries=$all/usr/lib/x86_64-linux-gnu
loader=$all/usr/lib64/ld-linux-x86-64.so.2
for file in "$loader" "$all/usr/bin/bochs-bin"; do
    [ -e "$file" ] || die "the packages are not as expected: no $file"
done
cp "$all/usr/bin/bochs-bin" "$dir/"
cp -L "$loader" "$dir/lib/"
cp -P "$libraries"/bochs/plugins/*.so* "$dir/plugins/"
cp -L "$all/usr/share/bochs"/*-latest "$dir/bios/"
# Of what the program and its plugins name, the files; whatever else they would load is not asked for.
for binary in "$dir/bochs-bin" "$dir/plugins"/*.so; do
    "$loader" --library-path "$libraries:$libraries/pulseaudio" --list "$binary" 2>>"$log"
done | sed -n "s|.* => \($all/[^ ]*\) .*|\1|p" | sort -u >"$apt/needed"
xargs -r cp -L -t "$dir/lib" <"$apt/needed"
rm -rf "$all" "$apt/cache/archives"
cat >"$dir/bochs" <<BOCHS
#!/bin/sh
export LTDL_LIBRARY_PATH="$dir/plugins" BXSHARE="$dir/bios"
exec "$dir/lib/ld-linux-x86-64.so.2" --library-path "$dir/lib" "$dir/bochs-bin" "\$@"
BOCHS
chmod +x "$dir/bochs"
"$dir/bochs" --help cpu 2>&1 | sed -n 's/.*Bochs x86 Emulator \([0-9.]*\).*/\1/p' >"$dir/version.new"
[ -s "$dir/version.new" ] || die "the emulator does not start on this machine, see $log"
mv "$dir/version.new" "$dir/version"
echo "fetch-bochs: version $(cat "$dir/version") is in $dir"
