# shellcheck shell=sh
# SPDX-License-Identifier: BSD-2-Clause
# Owns: an apt with a state of its own under build/, for Debian packages that are unpacked beside the system's and never
# installed. apt does the work (mirror, signatures, checksums); neither root nor any change of the system's sources is
# needed. Read by the scripts that fetch an emulator or kernels, which know what is needed of the packages.
#
# usage: name=NAME; . tools/apt-beside.sh; then  beside ARCHITECTURE:SUITE...  and  beside_apt ARGUMENT...  (NAME: of the
#        messages and of build/apt-NAME). Sets `apt`, the directory, `log` and `mirror`.

# shellcheck disable=SC2154 # name and root: of the script that reads this
die() {
    echo "fetch-$name: $1" >&2
    exit 1
}

# The mirror this machine uses for Debian itself: the first http(s) URI of its sources that ends in /debian.
beside_mirror() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -e 's/#.*//' -e 's/\[[^]]*\]//' |
        awk '$1 == "deb" || $1 == "URIs:" {
                 for (i = 2; i <= NF; i++) if ($i ~ /^https?:\/\/.*\/debian\/?$/) { print $i; exit }
             }'
}

beside_apt() {
    apt-get -c "$apt/apt.conf" -qq "$@" >>"$log" 2>&1
}

beside() { # beside ARCHITECTURE:SUITE...
    for tool in apt-get apt-cache dpkg-deb flock; do
        command -v "$tool" >/dev/null 2>&1 || die "$tool is missing: what is fetched comes as Debian packages"
    done
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -r "$keyring" ] || die "$keyring is missing (package debian-archive-keyring): packages cannot be verified"
    apt=${ASPACE_BUILD:-$root/build}/apt-$name
    log=$apt/log
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/state" "$apt/deb"
    # Two runs at a time (make run in two terminals) would share the state; the second waits here.
    exec 9>"$apt/lock"
    flock 9
    mirror=$(beside_mirror)
    mirror=${mirror:-http://deb.debian.org/debian}
    : >"$apt/status"
    : >"$log"
    architectures=''
    for one in "$@"; do
        architectures="$architectures\"${one%%:*}\"; "
        echo "deb [signed-by=$keyring arch=${one%%:*}] $mirror ${one#*:} main"
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
APT::Architecture "${1%%:*}";
APT::Architectures { $architectures};
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
#clear APT::Update::Post-Invoke-Success;
#clear APT::Update::Post-Invoke;
CONF
    beside_apt --error-on=any update || die "cannot read the package lists from $mirror, see $log"
}
