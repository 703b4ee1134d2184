#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Owns: `make run`. Checks what was asked for, gets what is needed (packages, a Debian kernel, the initramfs, the
# hypervisor), boots it in an emulator with the guest's console shown live, and judges the outcome.
#
# usage: run.sh            boot the guest on the hypervisor
#        run.sh --plain    boot the same guest without the hypervisor
# exit:  0 all is true that the last line says, 1 the guest failed, 2 bad input or something is missing
#
# Variables (environment, or the command line of make):
#   GUEST=riscv64|aarch64|x86_64   default riscv64
#   CPUS=1..4               vCPUs of the guest, default 1; under Bochs one
#   PAGES=4k|2m             largest leaf the hypervisor maps guest RAM with, default 4k
#   RAM=128M..1G            the guest's RAM, default 512M
#   KERNEL=file             a flat Image, or bzImage for x86_64; default: Debian's, see tools/fetch-guests.sh
#   INITRD=file             default: guest/init.c. With another one the line "guest-check: ok" is not asked for.
#   APPEND="..."            more words for the guest's command line
#   BASELINE=1              boots plain too, side by side, and prints the ratio of the two times
#   REPEAT=n                that many runs of each, the first one shown; the ratio is of their medians. Default 1
#   STRESS=1|2              so many CPUs more, on which the hypervisor migrates, write-protects, parks, splits, collapses,
#                           unmaps and replaces live pages, and maps, populates and discards others beside them
#   STRESS_SECONDS=n        for how long the guest then repeats its check, default 3
#   SEED=n                  of what the stress does, default: another one each time. It grows by one a run, and is printed
#   ICOUNT=1                a reproducible machine: time counts instructions. One vCPU only
#   FORMAT=name             of the second stage, like sv48x4; default: the hypervisor's choice
#   LEAVE_OUT=name          builds the hypervisor with that TLB invalidation left out
#   TIMEOUT=seconds         for each boot, default 120 (300 with STRESS, 900 with Bochs)
#   SILENCE=seconds         fails a guest whose console says nothing for so long, default: no limit
#   HOSTCC=cc               compiler for the tool that packs the initramfs
#   QEMU=file QEMU_FLAGS=.. another QEMU, and what it needs (like -L dir)
#   EMU=qemu|bochs          the emulator, default qemu. Bochs is for x86_64, where it has VMX and QEMU has SVM; it takes
#                           minutes
#
# ---- The interface to the hypervisor --------------------------------------------------------------------------------
# Build:  make -s -j N -C examples/hypervisor ARCH=riscv64|aarch64|x86_64 BUILD=<absolute directory> PAGES=4k|2m \
#              COMMON=<absolute directory> LEAVE_OUT=<name or empty>
#         makes, in that directory, hypervisor.elf (riscv64) or hypervisor.bin (aarch64: flat, with the 64-byte arm64
#         Image header, so that QEMU passes the device tree in x0; x86_64: flat, with a Multiboot header). BUILD is build/hypervisor/<arch>, and
#         build/hypervisor/<arch>-without-<name> with LEAVE_OUT; it does not depend on PAGES, which is given at run time.
#         What does not depend on LEAVE_OUT either is in COMMON, which is build/hypervisor/<arch>.
# Machine, 2 GiB (guest RAM of up to 1 GiB comes out of what the files below leave free):
#                   aarch64                                     riscv64                                     x86_64
#   RAM             0x40000000-0xc0000000                       0x80000000-0x100000000                      0-0x80000000
#   firmware        none                                        0x80000000-0x80080000 (OpenSBI)             SeaBIOS
#   hypervisor      0x40200000 at EL2, x0 = device tree         0x80200000 in HS mode, a1 = device tree     0x100000
#   guest's kernel  0x50000000                                  0x90000000                                  0x4000000
#   boot_info       device tree after the initrd, see x0        device tree at 0xbfe00000, see a1           Multiboot
#   guest's initrd  linux,initrd-start and -end in /chosen      0x98000000                                  0xc000000
#   console         PL011 0x09000000                            ns16550 0x10000000                          port 0x3f8
#   with EMU=bochs the same image finds the same things at the same places, read from a disk (x86_64/disk)
# Options: /chosen/bootargs of the device tree, or the command line of Multiboot behind the file's name, is "aspace.name=value ... -- <guest command line>". The guest's part has
# aspace.* words of its own, so read no further than " -- ". Always present:
#   aspace.kernel_at= aspace.kernel_bytes=   the kernel in memory (hexadecimal with 0x, decimal)
#   aspace.initrd_at= aspace.initrd_bytes=   the initrd. On aarch64 QEMU chooses where: initrd_at is 0, look in /chosen
#   aspace.ram=<bytes> aspace.pages=4k|2m aspace.cpus=n aspace.kernel=6.12.x (only to be printed)
#   aspace.format=<name>                     only if FORMAT is given
#   aspace.stress=n aspace.seed=n            the machine has aspace.cpus + n CPUs, the guest gets maxcpus=<aspace.cpus>
# Output: on the console. When the guest powers off, the hypervisor prints its counters and as its very last line
#   guest ok: arch=riscv64 vcpus=2 kernel=6.12.x pages=4k faults=N tables=N frames=N boot_ms=N leaked=0 audit=ok
#   (or "guest failed: <why>") and then switches the machine off (SBI SRST, PSCI SYSTEM_OFF, ACPI). A guest that asks for a
#   reset has panicked: panic=-1 is on its command line. boot_ms is the hypervisor's own measure, from its entry to the
#   guest's power-off, by the machine's counter. The ratio of BASELINE is of wall-clock times of the whole emulator, the
#   only measure that both sides have.
# ---------------------------------------------------------------------------------------------------------------------
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)

bad() {
    echo "run: $*" >&2
    exit 2
}
guest_failed() {
    echo "guest failed: $*" >&2
    exit 1
}

# ---- what was asked for ----

mode=hypervisor
case $# in
0) ;;
1)
    case $1 in
    --plain) mode=plain ;;
    --help | -h)
        sed -n 's/^# \{0,1\}//; /^usage:/,/^----/{/^----/d;p;}' "$0"
        exit 0
        ;;
    *) bad "unknown option '$1' (only --plain and --help are known)" ;;
    esac
    ;;
*) bad "too many arguments: settings are given as variables, like GUEST=aarch64" ;;
esac

guest=${GUEST:-riscv64}
cpus=${CPUS:-1}
pages=${PAGES:-4k}
ram=${RAM:-512M}
repeat=${REPEAT:-1}
leave_out=${LEAVE_OUT:-}
stress=${STRESS:-0}
stress_seconds=${STRESS_SECONDS:-3}

flag() { # flag NAME VALUE
    case $2 in
    '' | 0) echo 0 ;;
    1) echo 1 ;;
    *) bad "$1=$2 is not 0 or 1" ;;
    esac
}
number() { # number NAME VALUE MIN MAX
    case $2 in
    '' | *[!0-9]* | 0?* | ??????*) bad "$1=$2 is not a number from $3 to $4" ;;
    esac
    if [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then bad "$1=$2 is not a number from $3 to $4"; fi
}
file() { # file NAME VALUE
    if [ ! -f "$2" ] || [ ! -r "$2" ]; then bad "$1=$2: no such file, or it cannot be read"; fi
    [ -s "$2" ] || bad "$1=$2 is empty"
    # Both have 128 MiB of room before the next thing in memory.
    [ "$(size_of "$2")" -le 134217728 ] || bad "$1=$2 is larger than 128 MiB"
}
size_of() { wc -c <"$1" | tr -d ' '; }

case $guest in
riscv64 | aarch64 | x86_64) ;;
*) bad "GUEST=$guest is not known (riscv64, aarch64 or x86_64)" ;;
esac
case $pages in
4k | 2m) ;;
*) bad "PAGES=$pages is not known (4k or 2m)" ;;
esac
emu=${EMU:-qemu}
case $emu:$guest in
qemu:* | bochs:x86_64) ;;
bochs:*) bad "EMU=bochs is for x86_64, not GUEST=$guest" ;;
*) bad "EMU=$emu is not known (qemu or bochs)" ;;
esac
number CPUS "$cpus" 1 4
number REPEAT "$repeat" 1 99
number STRESS "$stress" 0 2
number STRESS_SECONDS "$stress_seconds" 0 3600
baseline=$(flag BASELINE "${BASELINE:-}")
icount=$(flag ICOUNT "${ICOUNT:-}")
limit=${TIMEOUT:-$(if [ "$emu" = bochs ]; then echo 900; elif [ "$stress" != 0 ]; then echo 300; else echo 120; fi)}
number TIMEOUT "$limit" 1 86400
if [ -n "${SILENCE:-}" ]; then number SILENCE "$SILENCE" 1 86400; fi
seed=${SEED:-$(($(date +%s%N) / 1000 % 100000))}
number SEED "$seed" 0 99999

case $ram in
*[!0-9]*[MG] | [MG] | 0* | ??????*) bad "RAM=$ram is not a size like 512M or 1G" ;;
*M) ram_mib=${ram%M} ;;
*G) ram_mib=$((${ram%G} * 1024)) ;;
*) bad "RAM=$ram is not a size like 512M or 1G" ;;
esac
[ "$ram_mib" -ge 128 ] || bad "RAM=$ram is too little: a Debian kernel needs 128M at least"
[ "$ram_mib" -le 1024 ] || bad "RAM=$ram is too much: the machine has 2G and the guest gets up to 1G of it"

if [ -n "$leave_out" ]; then
    # The build knows the names; asked here, so that a wrong one is told apart from a build that fails.
    kinds=$(sed -n "s/^kinds_$guest := *//p" "$here/Makefile")
    case " $kinds " in
    *" $leave_out "*) ;;
    *) bad "LEAVE_OUT=$leave_out is not known for $guest (one of: $kinds)" ;;
    esac
fi
case ${FORMAT:-} in
*[!a-z0-9-]*) bad "FORMAT=$FORMAT is not the name of a format" ;;
esac
if [ "$icount" = 1 ] && [ "$cpus" -ne 1 ]; then bad "ICOUNT=1 is for one vCPU, not CPUS=$cpus"; fi
if [ "$icount" = 1 ] && [ "$stress" != 0 ]; then bad "ICOUNT=1 is for one CPU, and STRESS=$stress needs others"; fi
if [ "$emu" = bochs ]; then
    [ "$cpus" -eq 1 ] || bad "CPUS=$cpus is for QEMU, not EMU=bochs"
    for set in "BASELINE=$baseline" "STRESS=$stress" "ICOUNT=$icount"; do
        [ "${set#*=}" = 0 ] || bad "$set is for QEMU, not EMU=bochs"
    done
    [ "$mode" = hypervisor ] || bad "--plain is for QEMU, not EMU=bochs"
fi
if [ "$mode" = plain ]; then
    for set in "BASELINE=$baseline" "STRESS=$stress"; do
        [ "${set#*=}" = 0 ] || bad "$set needs the hypervisor, which --plain leaves out"
    done
    [ -z "$leave_out" ] || bad "LEAVE_OUT=$leave_out needs the hypervisor, which --plain leaves out"
fi
if [ -n "${KERNEL:-}" ]; then file KERNEL "$KERNEL"; fi
if [ -n "${INITRD:-}" ]; then file INITRD "$INITRD"; fi

# ---- what is needed for it ----

build=${ASPACE_BUILD:-$root/build}
mkdir -p "$build"
build=$(CDPATH='' cd -- "$build" && pwd)
export ASPACE_BUILD="$build"
guests=$build/guests/$guest
qemu=${QEMU:-qemu-system-$guest}
cross=$guest-linux-gnu-gcc

packages=
need() { # need COMMAND PACKAGE...
    command -v "$1" >/dev/null 2>&1 && return
    shift
    packages="$packages $*"
}
if [ "$emu" = bochs ]; then
    qemu=bochs
    need bochs bochs bochsbios vgabios
elif [ -n "${QEMU:-}" ]; then
    command -v "$QEMU" >/dev/null 2>&1 || bad "QEMU=$QEMU: no such program"
elif [ "$guest" = aarch64 ]; then
    need "$qemu" qemu-system-arm
elif [ "$guest" = x86_64 ]; then
    need "$qemu" qemu-system-x86 seabios
else
    need "$qemu" qemu-system-misc opensbi
    # Debian has the firmware in a package of its own, which the emulator's only recommends.
    if [ "$(command -v "$qemu")" = "/usr/bin/$qemu" ] && [ ! -e /usr/share/qemu/opensbi-riscv64-generic-fw_dynamic.bin ]; then
        packages="$packages opensbi"
    fi
fi
if [ "$mode" = hypervisor ] || [ -z "${INITRD:-}" ]; then
    case $guest in
    aarch64) need "$cross" gcc-aarch64-linux-gnu ;;
    riscv64) need "$cross" gcc-riscv64-linux-gnu ;;
    x86_64) need "$cross" "$([ "$(uname -m)" = x86_64 ] && echo gcc || echo gcc-x86-64-linux-gnu)" ;;
    esac
fi
if [ "$mode" = hypervisor ]; then need make make; fi
if [ -z "${INITRD:-}" ]; then
    need "${HOSTCC:-cc}" gcc
    need gzip gzip
    case $("$cross" -print-file-name=libc.a 2>/dev/null || true) in
    */*) ;;
    *)
        case $guest in
        aarch64) packages="$packages libc6-dev-arm64-cross" ;;
        riscv64) packages="$packages libc6-dev-riscv64-cross" ;;
        x86_64) packages="$packages $([ "$(uname -m)" = x86_64 ] && echo libc6-dev || echo libc6-dev-amd64-cross)" ;;
        esac
        ;;
    esac
fi
if [ -n "$packages" ]; then
    # shellcheck disable=SC2086
    "$root/tools/install-packages.sh" $packages || exit $?
    command -v "$qemu" >/dev/null 2>&1 || bad "$qemu is installed but not in PATH"
fi

if [ -n "${KERNEL:-}" ]; then
    kernel=$KERNEL
    version=$(grep -a -o -m 1 'Linux version [0-9][0-9.]*[0-9]' "$kernel" | head -n 1 | sed 's/.* //')
    version=${version:-unknown}
else
    "$root/tools/fetch-guests.sh" "$guest" || exit 1
    kernel=$guests/Image
    version=$(cat "$guests/version")
fi
case $guest:$(od -An -c -j56 -N4 "$kernel" | tr -d ' '):$(od -An -c -j514 -N4 "$kernel" | tr -d ' ') in
aarch64:ARMd:* | riscv64:RSC005:* | x86_64:*:HdrS) ;;
*) bad "$kernel is no flat Linux Image (x86_64: bzImage) for $guest" ;;
esac
if [ -n "${INITRD:-}" ]; then
    initrd=$INITRD
else
    "$here/guest/build-initrd.sh" "$guest" "$build/initrd/$guest" || exit 1
    initrd=$build/initrd/$guest/initrd.gz
fi
# The header says what the kernel takes once it runs, which is more than the file has. On x86_64 it begins at 16 MiB.
case $guest in
x86_64) kernel_mib=$((16 + $(od -An -tu4 -j608 -N4 "$kernel") / 1048576)) ;;
*) kernel_mib=$(($(od -An -tu8 -j16 -N8 "$kernel") / 1048576)) ;;
esac
least=$((kernel_mib + 2 * $(size_of "$initrd") / 1048576 + 64))
[ "$ram_mib" -ge "$least" ] || bad "RAM=$ram is too little: this kernel and initrd need ${least}M"

if [ "$mode" = hypervisor ]; then
    hypervisor_dir=$build/hypervisor/$guest${leave_out:+-without-$leave_out}
    mkdir -p "$hypervisor_dir"
    # What was given to this run is no business of that make, least of all BUILD.
    if ! MAKEFLAGS='' make -s -j "$(nproc)" -C "$here" ARCH="$guest" BUILD="$hypervisor_dir" PAGES="$pages" \
        COMMON="$build/hypervisor/$guest" LEAVE_OUT="$leave_out"; then
        guest_failed "the hypervisor could not be built"
    fi
    case $guest in
    aarch64 | x86_64) hypervisor=$hypervisor_dir/hypervisor.bin ;;
    riscv64) hypervisor=$hypervisor_dir/hypervisor.elf ;;
    esac
    [ -s "$hypervisor" ] || guest_failed "the build made no $hypervisor"
fi

# ---- command lines ----

case $guest in
aarch64) guest_line="console=ttyAMA0 earlycon" ;;
riscv64) guest_line="console=ttyS0 earlycon=sbi" ;;
# Without it each SIGSEGV that /init raises on purpose is reported. reboot=t: a reset is a triple fault.
x86_64) guest_line="console=ttyS0 reboot=t sysctl.debug.exception-trace=0" ;;
esac
# The clock of all CPUs is one here. The kernel does not believe that of AMD's, and would have nothing but its ticks.
if [ "$guest" = x86_64 ] && [ "$cpus" -ne 1 ]; then guest_line="$guest_line tsc=reliable"; fi
# Bochs is slow enough: what guards against the leaks of real CPUs flushes at each system call.
if [ "$emu" = bochs ]; then guest_line="$guest_line mitigations=off"; fi
# panic=-1: a panic resets the machine, which ends the emulator, instead of hanging until the timeout.
# aspace.mib: leaves room for the kernel and for the other checks. Under stress every page is checked many times.
mib=$((stress != 0 ? 16 : 64))
guest_line="$guest_line panic=-1 aspace.mib=$((ram_mib < 320 && (ram_mib - 64) / 4 < mib ? (ram_mib - 64) / 4 : mib))"
if [ "$icount" = 1 ]; then guest_line="$guest_line nokaslr"; fi
if [ "$stress" != 0 ]; then guest_line="$guest_line oops=panic maxcpus=$cpus aspace.stress=$stress_seconds"; fi
guest_line="$guest_line${APPEND:+ $APPEND}"

# QEMU splits the value of an option at commas; a doubled one stands for itself.
escaped() { printf '%s\n' "$1" | sed 's/,/,,/g'; }

work=$(mktemp -d "$build/run.XXXXXX")
trap 'rm -rf "$work"' EXIT
# Where the loader, or the disk's boot sector, puts the guest's files.
case $guest in
riscv64) kernel_at=0x90000000 initrd_at=0x98000000 ;;
aarch64) kernel_at=0x50000000 initrd_at=0 ;;
x86_64) kernel_at=0x4000000 initrd_at=0xc000000 ;;
esac
trap 'exit 130' INT
trap 'exit 143' HUP TERM

# Ends the emulator when the console has not grown for SILENCE seconds.
watch_silence() {
    size=0 quiet=0
    while [ -d "$work" ] && [ ! -e "$work/result" ]; do
        sleep 1
        now=$(size_of "$work/raw" 2>/dev/null)
        now=${now:-0}
        quiet=$((now == size ? quiet + 1 : 0))
        size=$now
        if [ "$quiet" -ge "$SILENCE" ] && [ -s "$work/pid" ]; then
            touch "$work/silent"
            kill "$(cat "$work/pid")" 2>/dev/null || true
            return
        fi
    done
}

# The hypervisor's command line for run number $n.
hypervisor_line() {
    echo "aspace.ram=$((ram_mib * 1048576)) aspace.pages=$pages aspace.cpus=$cpus aspace.stress=$stress" \
        "aspace.seed=$((seed + n - 1)) aspace.kernel=$version aspace.kernel_at=$kernel_at" \
        "aspace.kernel_bytes=$(size_of "$kernel") aspace.initrd_at=$initrd_at" \
        "aspace.initrd_bytes=$(size_of "$initrd")${FORMAT:+ aspace.format=$FORMAT} -- $guest_line"
}

# Boots once, in $emu. boot plain|hypervisor LIVE(yes|no)
boot() {
    rm -f "$work/result" "$work/silent" "$work/pid"
    if [ "$emu" = bochs ]; then
        boot_in_bochs "$@"
    else
        boot_in_qemu "$@"
    fi
}

boot_in_bochs() {
    cylinders=$("$here/x86_64/disk/mkdisk.sh" "$hypervisor_dir/sector.bin" "$work/disk" "hypervisor $(hypervisor_line)" \
        "$hypervisor=0x100000" "$kernel=$kernel_at" "$initrd=$initrd_at")
    emulate "$1" "$2" "$here/x86_64/disk/bochs.sh" "$work" "$cylinders"
}

boot_in_qemu() {
    what=$1
    live=$2
    set -- -nodefaults -no-user-config -display none -monitor none -serial stdio -no-reboot -accel tcg
    machine=virt
    if [ "$guest" = aarch64 ]; then
        machine=virt,gic-version=3,virtualization=on,highmem=off
        set -- "$@" -cpu cortex-a57
    elif [ "$guest" = x86_64 ]; then
        machine=pc
        # Nested tables have as many levels as the host's.
        case ${FORMAT:-} in
        *npt5) set -- "$@" -cpu "EPYC,+svm,+npt,+la57" ;;
        *) set -- "$@" -cpu "EPYC,+svm,+npt" ;;
        esac
    else
        set -- "$@" -cpu "rv64,h=true"
    fi
    if [ "$icount" = 1 ]; then
        set -- "$@" -icount "shift=2,sleep=off" -rtc "base=2026-01-01,clock=vm"
        # Not every machine (riscv64's before QEMU 10) can leave out the random seed.
        # shellcheck disable=SC2086
        if "$qemu" ${QEMU_FLAGS:-} -M "virt,help" 2>/dev/null | grep -q dtb-randomness; then
            machine=$machine,dtb-randomness=off
        fi
    fi
    set -- "$@" -M "$machine"
    if [ "$what" = plain ]; then
        set -- "$@" -smp "$cpus" -m "${ram_mib}M" -kernel "$kernel" -initrd "$initrd" -append "$guest_line"
    else
        set -- "$@" -smp "$((cpus + stress))" -m 2G -kernel "$hypervisor" -append "$(hypervisor_line)" \
            -device "loader,file=$(escaped "$kernel"),addr=$kernel_at,force-raw=on"
        if [ "$initrd_at" = 0 ]; then
            set -- "$@" -initrd "$initrd"
        else
            set -- "$@" -device "loader,file=$(escaped "$initrd"),addr=$initrd_at,force-raw=on"
        fi
    fi
    # shellcheck disable=SC2086
    emulate "$what" "$live" "$qemu" ${QEMU_FLAGS:-} "$@" -pidfile "$work/pid"
}

# Runs an emulator whose standard output is the console. emulate plain|hypervisor LIVE(yes|no) COMMAND...; leaves
# $work/console, and $work/result with the emulator's exit status and the milliseconds it took.
emulate() {
    what=$1
    live=$2
    shift 2
    : >"$work/raw"
    if [ -n "${SILENCE:-}" ]; then watch_silence & fi
    {
        begin=$(date +%s%N)
        status=0
        # In the foreground, so that an interrupt from the terminal reaches the emulator too. Its own remarks are kept
        # apart: they are not the guest's and would spoil the last line.
        timeout --foreground -k 5 "$limit" "$@" </dev/null 2>"$work/stderr" || status=$?
        end=$(date +%s%N)
        echo "$status $(((end - begin) / 1000000))" >"$work/result"
    } | tee "$work/raw" | if [ "$live" = yes ]; then
        # The verdict is for us to give, at the very end.
        sed -u -e 's/\r*$//' -e '/^guest ok:/d' -e '/^guest failed:/d'
    else
        cat >/dev/null
    fi
    sed 's/\r*$//' "$work/raw" >"$work/console"
    cp "$work/console" "$build/console-$guest-$what.log"
    read -r status ms <"$work/result"
}

value_of() { printf '%s\n' "$2" | tr ' ' '\n' | sed -n "s/^$1=//p"; }

# Sets $why if the last boot was not what it should be, and $verdict to the hypervisor's last line.
judge() {
    what=$1
    why=
    verdict=$(grep -a . "$work/console" | tail -n 1 || true)
    check=$(grep -a '^guest-check: ' "$work/console" | tail -n 1 || true)
    said=$(sed -n 's/^guest failed: *//p' "$work/console" | tail -n 1)
    case $check in
    "guest-check: FAILED"*) why="its check says: ${check#guest-check: }" ;;
    esac
    if [ -z "$why" ]; then why=$said; fi
    if [ -z "$why" ] && [ -e "$work/silent" ]; then why="its console was silent for $SILENCE s"; fi
    if [ -z "$why" ]; then
        case $status in
        0) ;;
        124 | 137) why="not finished after $limit s" ;;
        *) why="the emulator ended with status $status: $(tail -n 1 "$work/stderr")" ;;
        esac
    fi
    if [ -z "$why" ] && [ -z "${INITRD:-}" ]; then
        case $check in
        "guest-check: ok"*)
            seen=$(value_of cpus "$check")
            [ "$seen" = "$cpus" ] || why="it saw $seen cpus and should have $cpus"
            ;;
        *) why="it ended without the line \"guest-check: ok\"" ;;
        esac
    fi
    if [ -z "$why" ] && [ "$what" = hypervisor ]; then
        case $verdict in
        "guest ok: "*)
            for want in "arch=$guest" "vcpus=$cpus" "pages=$pages" leaked=0 audit=ok; do
                got=$(value_of "${want%%=*}" "$verdict")
                [ "$got" = "${want#*=}" ] || why="the hypervisor says ${want%%=*}=$got and should say $want"
            done
            ;;
        *) why="the hypervisor's last line is not \"guest ok: ...\"" ;;
        esac
    fi
    if [ -n "$why" ]; then guest_failed "$why (console: ${build#"$PWD"/}/console-$guest-$what.log)"; fi
}

seconds() { awk -v ms="$1" 'BEGIN { printf "%.2f", ms / 1000 }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : int((v[NR / 2] + v[NR / 2 + 1]) / 2) }'; }

# ---- the runs ----

setting="Linux $version $guest, vCPUs: $cpus, RAM: $ram"
if [ "$mode" = plain ]; then
    echo "run: booting $setting, without the hypervisor"
else
    echo "run: booting $setting, pages: $pages${leave_out:+, left out: $leave_out}"
fi

n=1
while [ "$n" -le "$repeat" ]; do
    live=$([ "$n" = 1 ] && echo yes || echo no)
    if [ "$mode" = plain ]; then
        boot plain "$live"
        judge plain
        verdict="plain ok: arch=$guest vcpus=$cpus kernel=$version wall_ms=$ms"
        echo "$ms" >>"$work/plain"
        [ "$repeat" = 1 ] || echo "run: $n of $repeat: $(seconds "$ms") s"
    else
        # Plain and hypervisor by turns, so that whatever else the host does meets both.
        if [ "$baseline" = 1 ]; then
            boot plain no
            judge plain
            plain_ms=$ms
            echo "$ms" >>"$work/plain"
        fi
        boot hypervisor "$live"
        judge hypervisor
        echo "$ms" >>"$work/hypervisor"
        if [ "$baseline" = 1 ]; then
            echo "run: $n of $repeat: plain $(seconds "$plain_ms") s, hypervisor $(seconds "$ms") s, ratio $(ratio "$ms" "$plain_ms")"
        elif [ "$repeat" != 1 ]; then
            echo "run: $n of $repeat: $(seconds "$ms") s: $verdict"
        fi
    fi
    n=$((n + 1))
done

if [ "$baseline" = 1 ]; then
    p=$(median <"$work/plain")
    h=$(median <"$work/hypervisor")
    echo "baseline: plain $(seconds "$p") s, hypervisor $(seconds "$h") s, ratio $(ratio "$h" "$p") (wall clock, median of $repeat)"
fi
echo "$verdict"
