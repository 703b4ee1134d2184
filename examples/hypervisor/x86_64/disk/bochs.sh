#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Owns: a run of Bochs, without a window or a terminal: the machine, and its serial line as our standard output. Must
# not know what is on the disk.
#
# usage: bochs.sh DIRECTORY CYLINDERS    DIRECTORY/disk is booted; DIRECTORY/pid is whom to end
# exit:  0 the machine was switched off, 1 it ended otherwise
set -eu
cd "$1"

cat >bochsrc <<CONFIG
config_interface: textconfig
display_library: rfb, options="timeout=0"
memory: guest=2048, host=2048
cpu: model=corei7_haswell_4770, count=1, ips=20000000, reset_on_triple_fault=0
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=disk, path="disk", mode=flat, cylinders=$2, heads=16, spt=63
boot: disk
com1: enabled=1, mode=file, dev=serial
log: log
panic: action=fatal
error: action=ignore
info: action=ignore
clock: sync=none
speaker: enabled=1, mode=none
sound: driver=dummy, waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
CONFIG
# Debian's has the debugger compiled in, which waits for this; without sound drivers ALSA is tried, and fails.
echo c >commands
: >serial
bochs -q -f bochsrc -rc commands </dev/null >out 2>&1 &
emulator=$!
echo $$ >pid
trap 'kill $emulator 2>/dev/null; exit 143' INT TERM HUP
tail -n +1 -f -s 0.2 --pid=$emulator serial &
wait $!
wait $emulator || true
# It calls this a panic.
grep -q 'soft power off' out && exit 0
grep -A 1 'exiting with' out | tail -n 1 >&2
exit 1
