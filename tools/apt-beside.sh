# shellcheck shell=sh
# SPDX-License-Identifier: BSD-2-Clause
# Owns: an apt with a state of its own under build/, for Debian packages that are unpacked beside the system's and never
# installed. apt does the work (mirror, signatures, checksums). Read by the scripts that fetch an emulator, which know
# what is needed of the packages.
#
# usage: . tools/apt-beside.sh; then  beside NAME SUITE  and  beside_apt ARGUMENT...  (NAME: of the messages and of
#        build/apt-NAME). Sets `apt`, the directory, and `log`.

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

beside() { # beside NAME SUITE
    name=$1
    apt=${ASPACE_BUILD:-$root/build}/apt-$name
    log=$apt/log
    for tool in apt-get apt-cache dpkg-deb; do
        command -v "$tool" >/dev/null 2>&1 || die "$tool is missing: the emulator comes as Debian packages"
    done
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -r "$keyring" ] || die "$keyring is missing (package debian-archive-keyring): packages cannot be verified"
    mirror=$(beside_mirror)
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/state" "$apt/deb"
    : >"$apt/status"
    : >"$log"
    echo "deb [signed-by=$keyring arch=amd64] ${mirror:-http://deb.debian.org/debian} $2 main" >"$apt/sources.list"
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
    beside_apt --error-on=any update || die "cannot read the package lists, see $log"
}
