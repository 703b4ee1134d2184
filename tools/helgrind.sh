#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Runs a program of the configuration gcc-helgrind under Helgrind; the first report ends it, with status 99.
#
#   Lock order is not asked about: a descriptor's lock is of another place in the tree each time its page comes out of
#   the pool, so that no order among addresses means anything. What keeps locks from waiting in a circle is the order
#   of places (docs/locking.md), which the explorer and the models check.
#   Fair: with one thread running at a time those who spin would keep the turn from whom they wait for.
#
# usage: helgrind.sh PROGRAM [ARGUMENT...]
set -eu
cd "$(dirname "$0")/.."

[ $# -ge 1 ] || { echo "helgrind: usage: helgrind.sh program [argument...]" >&2; exit 2; }
command -v valgrind >/dev/null || { echo "helgrind: valgrind is not installed" >&2; exit 2; }
exec valgrind -q --tool=helgrind --error-exitcode=99 --exit-on-first-error=yes --fair-sched=yes --track-lockorders=no \
    --history-level=${HELGRIND_HISTORY:-approx} --default-suppressions=no --suppressions=tests/race/helgrind.supp "$@"
