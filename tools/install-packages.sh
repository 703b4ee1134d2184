#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Owns: turning "these Debian packages are needed" into installed packages, or into the one line somebody with
# the right to do it has to run. Needs no network when everything is there already.
#
# usage: install-packages.sh PKG...
# exit:  0 all installed, 1 the installation failed, 2 not root (or no apt, or bad usage)
set -eu

if [ $# -eq 0 ]; then
    echo "install-packages: usage: install-packages.sh PKG..." >&2
    exit 2
fi
for pkg in "$@"; do
    case $pkg in
    [!a-z0-9]* | *[!a-z0-9+.-]* | '')
        echo "install-packages: not a Debian package name: '$pkg'" >&2
        exit 2
        ;;
    esac
done
if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
    echo "install-packages: this is no Debian system; install by hand the equivalent of: $*" >&2
    exit 2
fi

# The status, not the exit code: dpkg-query also answers for packages that were removed but left their configuration.
missing_of() {
    for pkg in "$@"; do
        case $(dpkg-query -W -f='${Status}\n' "$pkg" 2>/dev/null || true) in
        *"install ok installed"*) ;;
        *) printf ' %s' "$pkg" ;;
        esac
    done
}

missing=$(missing_of "$@")
if [ -z "$missing" ]; then
    echo "install-packages: all installed: $*"
    exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "run this as root: apt-get install -y --no-install-recommends$missing" >&2
    exit 2
fi

# Other installations may be under way; wait for them instead of failing.
wait_lock="-o DPkg::Lock::Timeout=600"
echo "install-packages: missing:$missing"
echo "install-packages: reading the package lists"
# A source that does not answer is no reason to stop: the lists of the others may be all that is needed.
# shellcheck disable=SC2086
if ! apt-get $wait_lock -qq update >/dev/null 2>&1; then
    echo "install-packages: the package lists could not all be refreshed, trying with what is there"
fi
# Several of us may have waited for the same lock.
missing=$(missing_of "$@")
if [ -n "$missing" ]; then
    echo "install-packages: installing$missing"
    log=$(mktemp)
    # shellcheck disable=SC2086
    if ! DEBIAN_FRONTEND=noninteractive apt-get $wait_lock install -y --no-install-recommends $missing </dev/null >"$log" 2>&1
    then
        tail -n 15 "$log" >&2
        rm -f "$log"
        echo "install-packages: failed to install$missing" >&2
        exit 1
    fi
    rm -f "$log"
fi
echo "install-packages: done"
