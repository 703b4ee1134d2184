# SPDX-License-Identifier: BSD-2-Clause
# Linux on aarch64 with Debian's cross compiler. Programs are linked statically, so that the user-mode emulator needs no
# libraries of that architecture.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(ASPACE_SHARED OFF CACHE BOOL "" FORCE)
