#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Owns: the oracle. Tables that the library builds on bare metal are walked by the MMU of an emulator, and by the walker
# of tests/conformance; every difference is printed. What cannot be run here is said and counted as skipped.
#
# usage: run.sh [--short] [MACHINE...]     MACHINE: aarch64, riscv64, x86_64, loongarch64, kvm; all if none is given
#        run.sh --build DIRECTORY SOURCES MACHINE    only builds, with the library's sources from elsewhere
#        run.sh --emulate DIRECTORY NAME LAYOUTS ADDRESSES    only runs; NAME: see emulators_of
#        run.sh --ready NAME    only gets what this emulator needs; status 0 if it can run here
#   --short: fewer addresses, the distribution's emulators only
#   SEED=n of the layouts, default 1      LIMIT=seconds for each emulator, default 1800
#   ALONE=1: without the walker of tests/conformance, for planted mistakes
# exit:  0 nothing failed, 1 something did, 2 bad usage
set -eu
cd "$(dirname "$0")/../.."

out=build/oracle
seed=${SEED:-1}
limit=${LIMIT:-1800}
alone=${ALONE:-0}
later=build/qemu-later
bochs_later=build/bochs-later
short='' speed='-O2 -g'
passed=0 failed=0 skipped=0

pass() { passed=$((passed + 1)); echo "ok   $1"; }
fail() { failed=$((failed + 1)); echo "FAIL $1"; }
skip() { skipped=$((skipped + 1)); echo "skip $1"; }

# ------------------------------------------------------------------------------------------------------------ building

describe() { # describe MACHINE: sets prefix, compiler, machine flags, what is there instead of a C library
    prefix='' machine='' library='' compiler=''
    case $1 in
    aarch64)
        prefix=aarch64-linux-gnu-
        machine='-mgeneral-regs-only -mno-outline-atomics -mstrict-align'
        ;;
    riscv64)
        prefix=riscv64-linux-gnu-
        machine='-march=rv64imac_zicsr_zifencei -mabi=lp64 -mcmodel=medany'
        ;;
    x86_64)
        [ "$(uname -m)" = x86_64 ] || prefix=x86_64-linux-gnu-
        machine='-mgeneral-regs-only -mno-red-zone -mcmodel=kernel -fcf-protection=none'
        ;;
    loongarch64)
        # Debian's gcc for it comes later; clang has the target from 16 on, its linker from 17 on.
        compiler=clang-19
        machine='--target=loongarch64-unknown-none -mabi=lp64s -msoft-float -mno-lsx'
        ;;
    kvm)
        # A process, with the C library.
        machine='-std=gnu11' compiler=gcc
        return
        ;;
    *) return 1 ;;
    esac
    machine="$machine -std=c11 -ffreestanding -fno-stack-protector -fno-builtin -Itests/oracle/freestanding"
    library=port/bare/mem.c
    [ -z "$compiler" ] || return 0
    compiler=${prefix}gcc machine="$machine -fno-tree-loop-distribute-patterns"
}

# One object a file, two compilers at a time.
build() { # build DIRECTORY SOURCES MACHINE
    directory=$1 sources=$2 name=$3
    describe "$name" || return 1
    rm -rf "$directory"
    mkdir -p "$directory"
    flags="$speed -Wall -Wextra -Wconversion -Wshadow -Werror -fno-pic -fno-strict-aliasing -DBARE_FRAMES=8192 $machine"
    flags="$flags -Iinclude -I$sources -Itests/oracle/$name -Itests/oracle -Iport/bare"
    cat >"$directory/compile" <<COMPILE
#!/bin/sh
exec $compiler $flags '-DASPACE_PORT_HEADER="aspace_port.h"' -c "\$1" -o "$directory/\$(printf '%s' "\$1" | tr / _).o"
COMPILE
    chmod +x "$directory/compile"
    {
        find "$sources" -name '*.c'
        find tests/oracle -maxdepth 1 -name '*.c'
        find "tests/oracle/$name" -maxdepth 1 -name '*.[cS]'
        echo "tests/conformance/naive.c port/bare/frames.c $library"
    } | xargs -n 1 -P 2 "$directory/compile" || return 1
    if [ "$name" = kvm ]; then
        gcc -no-pie -static -Wl,--defsym,machine_options=machine_options_here -o "$directory/oracle" "$directory"/*.o
        return
    fi
    if [ "$name" = loongarch64 ]; then
        ld.lld-19 -static -z noexecstack -T "tests/oracle/$name/link.ld" -o "$directory/oracle.elf" "$directory"/*.o
        return
    fi
    # shellcheck disable=SC2086
    "$compiler" $machine -nostdlib -static -Wl,--build-id=none,--no-warn-rwx-segments,-z,noexecstack \
        -Wl,-T,"tests/oracle/$name/link.ld" -o "$directory/oracle.elf" "$directory"/*.o || return 1
    # A boot loader of 32 bits wants it flat.
    [ "$name" != x86_64 ] || "${prefix}objcopy" -O binary "$directory/oracle.elf" "$directory/oracle.bin"
}

# ------------------------------------------------------------------------------------------------------------- running

# The emulators that a machine is run on: the distribution's, and a later one beside it where there is one. Not on
# aarch64: QEMU 10.0.2 ends with an assertion (is_s2_format) when AT S12E1R meets a permission fault of stage 2.
# LoongArch in the later one alone: 7.2 knows one size of large pages, and goes elsewhere where an entry has NX.
emulators_of() { # emulators_of MACHINE
    case $1$short in
    kvm*) echo 'kvm' ;;
    aarch64) echo 'aarch64-max aarch64-a57' ;;
    aarch64short) echo 'aarch64-max' ;;
    riscv64) echo 'riscv64 riscv64-later' ;;
    riscv64short) echo 'riscv64' ;;
    loongarch64) echo 'loongarch64-later' ;;
    x86_64) echo 'x86_64-4 x86_64-5 bochs-vmx bochs-svm x86_64-4-later x86_64-5-later bochs-vmx-later' ;;
    x86_64short) echo 'x86_64-4 x86_64-5' ;;
    esac
}

have() { # have PROGRAM PACKAGE...: is it there, or can it be installed? An ordinary user is told what root has to run.
    program=$1
    shift
    command -v "$program" >/dev/null 2>&1 && return 0
    tools/install-packages.sh "$@" >&2 && command -v "$program" >/dev/null 2>&1
}

compiler_of() { # compiler_of MACHINE
    case $1 in
    aarch64) have aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross ;;
    riscv64) have riscv64-linux-gnu-gcc gcc-riscv64-linux-gnu libc6-dev-riscv64-cross ;;
    loongarch64) have clang-19 clang-19 lld-19 ;;
    *) have "$compiler" gcc ;;
    esac
}

# A machine of Linux's own is not to be had by a command.
ready() { # ready EMULATOR
    case $1 in
    kvm) [ "$(uname -m)" = x86_64 ] && [ -w /dev/kvm ] ;;
    bochs-*-later) tools/fetch-bochs.sh >&2 ;;
    bochs-*) have bochs bochs bochsbios vgabios ;;
    loongarch64*) compiler_of loongarch64 && tools/fetch-qemu.sh >&2 ;;
    *-later) tools/fetch-qemu.sh >&2 ;;
    aarch64*) have qemu-system-aarch64 qemu-system-arm ;;
    riscv64*) have qemu-system-riscv64 qemu-system-misc opensbi ;;
    x86_64*) have qemu-system-x86_64 qemu-system-x86 seabios ;;
    esac
}

# Why it matters that an emulator could not be had.
missed() { # missed EMULATOR
    case $1 in
    kvm) echo "no /dev/kvm that may be opened" ;;
    bochs-*-later) echo "Bochs 3.0 cannot be had; it alone has mode-based execute control" ;;
    bochs-*) echo "no Bochs, which alone has EPT and PCIDs" ;;
    *-later) echo "no later QEMU, which LoongArch and the upper half of RISC-V's guest-physical addresses need" ;;
    *) echo "no emulator for it" ;;
    esac
}

# The words of struct options, stored by the emulator.
options() { # options ADDRESS LAYOUTS ADDRESSES FULL
    at=$(($1))
    for word in "$2" "$3" "$seed" "$4" "$special" "$alone"; do
        printf ' -device loader,addr=0x%x,data=%s,data-len=8' "$at" "$word"
        at=$((at + 8))
    done
}

# Bochs boots from a disk: the first sector, the options in the second, the image.
disk() { # disk DIRECTORY LAYOUTS ADDRESSES
    gcc -m32 -c tests/oracle/x86_64/disk/boot.S -o "$1/boot.obj" || return 1
    ld -m elf_i386 -Ttext=0x7c00 --oformat binary -e _start -o "$1/boot.bin" "$1/boot.obj" || return 1
    [ "$(wc -c <"$1/oracle.bin")" -le 480000 ] || { echo "oracle: the image is larger than the first sector reads" >&2; return 1; }
    {
        cat "$1/boot.bin"
        for word in "$2" "$3" "$seed" 0 2 "$alone"; do
            for shift in 0 8 16 24 32 40 48 56; do
                # shellcheck disable=SC2059
                printf "\\$(printf %03o $((word >> shift & 255)))"
            done
        done
        head -c 464 /dev/zero
        cat "$1/oracle.bin"
    } >"$1/disk.img"
    truncate -s $((2 * 16 * 63 * 512)) "$1/disk.img"
}

# Without a window, a terminal or a sound card; the debugger, where it is compiled in, is told to go on.
bochs_emulate() { # bochs_emulate DIRECTORY MODEL LAYOUTS ADDRESSES [PROGRAM BIOS]
    disk "$1" "$3" "$4" || return 1
    bios=${6:-/usr/share/bochs}
    cat >"$1/bochsrc" <<BOCHS
config_interface: textconfig
display_library: rfb, options="timeout=0"
memory: guest=2048, host=256
cpu: model=$2, count=1, ips=20000000, reset_on_triple_fault=0
romimage: file=$bios/BIOS-bochs-latest
vgaromimage: file=$bios/VGABIOS-lgpl-latest
ata0-master: type=disk, path="$1/disk.img", mode=flat, cylinders=2, heads=16, spt=63
boot: disk
port_e9_hack: enabled=1
log: $1/bochs.log
panic: action=fatal
clock: sync=none
speaker: enabled=1, mode=none
sound: driver=dummy, waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
BOCHS
    echo c >"$1/bochs.go"
    # It ends by a panic, which is how it can be switched off from inside: the output tells.
    timeout -k 5 "$limit" "${5:-bochs}" -q -f "$1/bochsrc" -rc "$1/bochs.go" </dev/null || true
}

emulate() { # emulate DIRECTORY NAME LAYOUTS ADDRESSES
    case $2 in
    bochs-vmx) bochs_emulate "$1" corei7_haswell_4770 "$3" "$4"; return ;;
    bochs-vmx-later) bochs_emulate "$1" corei7_skylake_x "$3" "$4" "$bochs_later/bochs" "$bochs_later/bios"; return ;;
    kvm) timeout -k 5 "$limit" "$1/oracle" "$3" "$4" "$seed" "$alone"; return ;;
    bochs-svm) bochs_emulate "$1" ryzen "$3" "$4"; return ;;
    esac
    image=$1/oracle.elf grace=5
    common="-nographic -nic none -no-reboot"
    case $2 in
    x86_64-5*) special=1 ;;
    loongarch64-fetch*)
        special=${2#loongarch64-fetch} special=${special%-later} grace=1
        common="$common -d int -D $1/fetch.log"
        # shellcheck disable=SC3045 # dash, bash and busybox have this limit
        ulimit -f 65536
        ;;
    *) special=0 ;;
    esac
    case $2 in
    x86_64*)
        image=$1/oracle.bin
        set -- "$2" qemu-system-x86_64 "-M pc -accel tcg -cpu max -m 8G -device isa-debug-exit,iobase=0xf4,iosize=4" \
            0x4000000 "$3" "$4"
        ;;
    aarch64-max*) set -- "$2" qemu-system-aarch64 "-M virt,virtualization=on -cpu max -m 5G" 0x48000000 "$3" "$4" ;;
    aarch64-a57*) set -- "$2" qemu-system-aarch64 "-M virt,virtualization=on -cpu cortex-a57 -m 5G" 0x48000000 "$3" "$4" ;;
    riscv64*)
        set -- "$2" qemu-system-riscv64 "-M virt -cpu rv64,h=true,svpbmt=true,svnapot=true -bios none -m 6G" 0x88000000 "$3" "$4"
        ;;
    loongarch64*) set -- "$2" qemu-system-loongarch64 "-M virt -cpu la464 -m 6G" 0xa000000 "$3" "$4" ;;
    esac
    qemu=$2 full=0
    case $1 in
    *-later) qemu="$later/usr/bin/$2 -L $later/usr/share/qemu -L $later/usr/share/seabios" full=1 ;;
    esac
    # shellcheck disable=SC2046,SC2086
    timeout -k "$grace" "$limit" $qemu $3 $common -kernel "$image" $(options "$4" "$5" "$6" $full) </dev/null
}

# Each line of totals is a check; without the last line the program did not get to its end.
judge() { # judge NAME LOG STATUS
    while IFS= read -r line; do
        case $line in
        *', 0 disagreements') pass "$1: $line" ;;
        *) fail "$1: $line" ;;
        esac
    done <"$2.totals"
    if ! grep -q '^oracle: done' "$2" && [ "$3" -ne 77 ]; then
        fail "$1: the program did not end well (status $3), see $2"
        grep -A 8 -E '^(disagreement|oracle:)' "$2" | head -n 24
    fi
}

run_one() { # run_one NAME MACHINE LAYOUTS ADDRESSES
    log=$out/$1.log status=0
    emulate "$out/$2" "$1" "$3" "$4" >"$log" 2>&1 || status=$?
    tr -d '\r' <"$log" >"$log.plain"
    mv "$log.plain" "$log"
    grep -E '^oracle [a-z0-9-]+: ' "$log" >"$log.totals" || true
    grep '^oracle: skipped' "$log" >"$log.skipped" || true
    while IFS= read -r line; do skip "$1: ${line#oracle: skipped: }"; done <"$log.skipped"
    [ -n "$short" ] || sed -n "s/^count /     $1: /p" "$log"
    judge "$1" "$log" "$status"
}

# The emulator never comes back from a fetch that finds a page and is refused it, and logs it again and again: it is
# killed, and its log must have the exception that the program foretold, at its address. A slow machine gets more time.
last_fetch() { # last_fetch NUMBER
    log=$out/loongarch64-fetch.log long=$out/loongarch64/fetch.log
    for seconds in 4 16 64; do
        (limit=$seconds && emulate "$out/loongarch64" "loongarch64-fetch$1-later" 40 400) >"$log" 2>&1 || true
        line=$(tr -d '\r' <"$log" | sed -n '/^oracle: last fetch: /{p;q;}')
        exception=${line#*exception } exception=${exception% at *}
        if [ -n "$line" ] && grep -q "enter: pc 0*${line##*0x} .*exception: $exception " "$long"; then
            pass "loongarch64-later: $1: ${line#oracle: }"
            rm -f "$long"
            return
        fi
        ! grep -q '^oracle: \(done\|failed\)' "$log" || break
    done
    fail "loongarch64-later: $1: ${line:-no fetch that is refused}: not so, see $log"
    rm -f "$long"
}

run_machine() { # run_machine MACHINE
    describe "$1" || { skip "$1: not known"; return; }
    if [ -z "$(emulators_of "$1")" ]; then
        skip "$1: not in the short form"
        return
    fi
    if ! compiler_of "$1"; then
        skip "$1: no compiler for it ($compiler)"
        return
    fi
    # Not built where nothing could run it.
    if [ "$1" = kvm ] && ! ready kvm; then
        skip "kvm: $(missed kvm)"
        return
    fi
    if ! build "$out/$1" src "$1"; then
        fail "$1: does not build"
        return
    fi
    for emulator in $(emulators_of "$1"); do
        if ! ready "$emulator"; then
            skip "$emulator: $(missed "$emulator")"
            continue
        fi
        [ -n "$short" ] || echo "asking $emulator: $layouts layouts of each format, $addresses addresses in each; minutes"
        run_one "$emulator" "$1" "$layouts" "$addresses"
        [ "$emulator" != loongarch64-later ] || for number in 1 2 9 10 39 40; do last_fetch "$number"; done
    done
}

layouts=200 addresses=520
case ${1-} in
--ready)
    [ $# -eq 2 ] || { echo "oracle: usage: run.sh --ready NAME" >&2; exit 2; }
    ready "$2"
    exit
    ;;
--build)
    [ $# -eq 4 ] || { echo "oracle: usage: run.sh --build DIRECTORY SOURCES MACHINE" >&2; exit 2; }
    build "$2" "$3" "$4"
    exit
    ;;
--emulate)
    [ $# -eq 5 ] || { echo "oracle: usage: run.sh --emulate DIRECTORY NAME LAYOUTS ADDRESSES" >&2; exit 2; }
    emulate "$2" "$3" "$4" "$5"
    exit
    ;;
--short)
    layouts=6 addresses=300 short=short speed=-O1 # most of the time is the compiler's
    shift
    ;;
esac
for name in "$@"; do
    describe "$name" || { echo "oracle: unknown machine '$name' (aarch64, riscv64, x86_64, loongarch64, kvm)" >&2; exit 2; }
done
[ $# -gt 0 ] || set -- aarch64 riscv64 x86_64 loongarch64 kvm
mkdir -p "$out"
for name in "$@"; do
    run_machine "$name"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
