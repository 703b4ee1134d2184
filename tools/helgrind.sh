#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Runs a program of the configuration gcc-helgrind under Helgrind; the first report ends it, with status 99.
# Fair: one thread runs at a time, and those who spin would keep the turn from whom they wait for.
#
# usage: helgrind.sh PROGRAM [ARGUMENT...]
set -eu
cd "$(dirname "$0")/.."

[ $# -ge 1 ] || { echo "helgrind: usage: helgrind.sh program [argument...]" >&2; exit 2; }
command -v valgrind >/dev/null || { echo "helgrind: valgrind is not installed" >&2; exit 2; }
exec valgrind -q --tool=helgrind --error-exitcode=99 --exit-on-first-error=yes --fair-sched=yes \
    --history-level=approx --default-suppressions=no --suppressions=tests/race/helgrind.supp "$@"
