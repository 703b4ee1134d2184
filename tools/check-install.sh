#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Installs the library to a folder of its own, moves that, and builds the example against it as a stranger would: with
# find_package (static and shared) and with pkg-config, without a look at the source tree.
set -eu
cd "$(dirname "$0")/.."

tools/build.sh gcc
work=$PWD/build/install-check
rm -rf "$work"
mkdir -p "$work/consumer"
cmake --install build/gcc --prefix "$work/first" >"$work/install.log"
# What is installed may not depend on where it was put.
mv "$work/first" "$work/prefix"
prefix=$work/prefix

cp examples/quickstart.c "$work/consumer/main.c"
cat >"$work/consumer/CMakeLists.txt" <<'EOF'
cmake_minimum_required(VERSION 3.20)
project(consumer LANGUAGES C)
find_package(aspace 0.1 REQUIRED)
add_executable(with-static main.c)
target_link_libraries(with-static PRIVATE aspace::aspace-linux)
add_executable(with-shared main.c)
target_link_libraries(with-shared PRIVATE aspace::aspace-shared)
EOF
cmake -S "$work/consumer" -B "$work/consumer/build" -DCMAKE_PREFIX_PATH="$prefix" >"$work/consumer.log"
cmake --build "$work/consumer/build" >>"$work/consumer.log"

PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name aspace.pc)")
export PKG_CONFIG_PATH
# Word splitting is how the answers of pkg-config are meant to be used.
# shellcheck disable=SC2046
{
    gcc -std=c11 $(pkg-config --cflags aspace) "$work/consumer/main.c" $(pkg-config --libs aspace) -o "$work/with-pkg-config"
    gcc -std=c11 $(pkg-config --cflags aspace) "$work/consumer/main.c" -static $(pkg-config --static --libs aspace) \
        -o "$work/with-pkg-config-static"
}
lib=$(dirname "$(find "$prefix" -name 'libaspace.so')")

build/gcc/examples/quickstart >"$work/expected"
for program in consumer/build/with-static consumer/build/with-shared with-pkg-config with-pkg-config-static; do
    LD_LIBRARY_PATH=$lib "$work/$program" >"$work/output" || { echo "$program: failed"; exit 1; }
    cmp "$work/expected" "$work/output" || { echo "$program: another output than the one built in the tree"; exit 1; }
done

# A header that was not installed would have been found in none of the above if the example does not use it.
for header in include/aspace/*.h; do
    name=$(basename "$header")
    printf '#include <aspace/%s>\n' "$name" | gcc -std=c11 -Wall -Werror -fsyntax-only -I"$prefix/include" -xc - ||
        { echo "$header: not usable from where it is installed"; exit 1; }
    printf '#include <aspace/%s>\n' "$name" | g++ -Wall -Werror -fsyntax-only -I"$prefix/include" -xc++ - ||
        { echo "$header: not usable from C++"; exit 1; }
done

# Without the hosted port: what an embedder gets who adds the folder to a build of their own.
mkdir -p "$work/embedder"
cat >"$work/embedder/CMakeLists.txt" <<EOF
cmake_minimum_required(VERSION 3.20)
project(embedder LANGUAGES C)
set(ASPACE_PORT_LINUX OFF CACHE BOOL "")
set(ASPACE_SHARED OFF CACHE BOOL "")
add_subdirectory($PWD aspace)
EOF
cmake -S "$work/embedder" -B "$work/embedder/build" >"$work/embedder.log"
cmake --build "$work/embedder/build" -j "$(nproc)" >>"$work/embedder.log"
if nm "$work/embedder/build/aspace/libaspace.a" 2>/dev/null | grep -q 'aspace_linux'; then
    echo "a library without a port asks for the hosted one"
    exit 1
fi
