#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# make bench: builds the release configuration and measures. ONLY=part of a row's name measures those rows only, and the
# floors. Results: a table, build/bench.tsv and build/bench.json (build/bench-part.* with ONLY).
set -eu
cd "$(dirname "$0")/.."

tools/build.sh release aspace-bench
BENCH_COMMIT=$(git describe --always --dirty 2>/dev/null || echo none)
BENCH_BUILD=$(sed -n 's/^CMAKE_BUILD_TYPE:[^=]*=//p; s/^CMAKE_C_FLAGS_RELEASE:[^=]*=//p' build/release/CMakeCache.txt | tr '\n' ' ')
BENCH_DATE=$(date -u +%Y-%m-%dT%H:%M:%SZ)
export BENCH_COMMIT BENCH_BUILD BENCH_DATE
results=build
if [ -n "${ONLY-}" ]; then results=build/bench-part; fi
mkdir -p "$results"
build/release/bench/bench "$results" "${ONLY-}"
echo
echo "bench: written to $results/bench.tsv and $results/bench.json"
