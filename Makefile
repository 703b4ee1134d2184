# SPDX-License-Identifier: BSD-2-Clause
# The front door (GNU make): each target hands over to one script, and everything made lands under build/.
# How the library is built is CMakeLists.txt's business; a project that embeds it uses that and never this file.

# What may stand on the command line. Make passes these on to the scripts in the environment.
variables := GUEST CPUS PAGES RAM KERNEL INITRD APPEND BASELINE REPEAT STRESS STRESS_SECONDS SEED ICOUNT LEAVE_OUT TIMEOUT \
    SILENCE FORMAT EMU QEMU QEMU_FLAGS ONLY FAST SOAK_GUESTS RACE_SECONDS RACE_SEED SCHEDULES SECONDS_MAX
given := $(foreach v,$(.VARIABLES),$(if $(filter command,$(origin $v)),$v))
unknown := $(filter-out $(variables) MAKEFLAGS SHELL,$(given))
ifneq ($(unknown),)
$(error unknown variable: $(unknown) (make help lists them))
endif

.PHONY: help build run test oracle models prove explore conflicts soak bench lint format clean

help:
	@echo 'make build    compile the library, the hosted port and the example into build/release'
	@echo 'make run      boot an unmodified Linux guest on the library, under QEMU. Variables:'
	@echo '                GUEST=riscv64|aarch64|x86_64 CPUS=1..4 PAGES=4k|2m RAM=512M KERNEL=file INITRD=file'
	@echo '                BASELINE=1 REPEAT=n STRESS=1|2 LEAVE_OUT=name ICOUNT=1 TIMEOUT=seconds EMU=qemu|bochs'
	@echo '                (all of them: examples/hypervisor/run.sh --help)'
	@echo 'make test     everything that can fail; installs what it lacks. ONLY=part of a step'\''s name; FAST=1'
	@echo 'make oracle   ask the MMUs of emulators about tables that the library builds, and plant mistakes for them to find;'
	@echo '                installs and fetches the emulators. SEED=n'
	@echo 'make models   search every state of the models of the protocol, with Spin. ONLY=part of a model'\''s name; FAST=1'
	@echo 'make prove    the bits of every format, for all entries, with Z3; four minutes. ONLY=part of a family'\''s name; FAST=1'
	@echo 'make explore  interleavings of the real code, two preemptions for every pair: half an hour. SEED=n, SCHEDULES=n of'
	@echo '                a random case, SECONDS_MAX=n, ONLY=part of a name'
	@echo 'make conflicts  which cache lines operations on different leaves share; a table, and planted mistakes'
	@echo 'make soak     what takes hours: threads on one space for RACE_SECONDS=600 (RACE_SEED=n), then SOAK_GUESTS=20 guests of'
	@echo '                each architecture under stress; reports in build/soak-*.txt'
	@echo 'make bench    measure; table, build/bench.tsv and build/bench.json. ONLY=part of a row'\''s name'
	@echo 'make lint     layers, style, cppcheck, clang-tidy, shellcheck'
	@echo 'make format   clang-format over every C file'
	@echo 'make clean    remove build/'

build:
	@tools/build.sh release

run:
	@examples/hypervisor/run.sh

test:
	@tools/test.sh

oracle:
	@tests/oracle/run.sh
	@tests/oracle/mistakes.sh

models:
	@tools/models.sh

prove:
	@tools/prove.sh

explore:
	@tools/explore.sh full

conflicts:
	@tools/conflicts.sh

soak:
	@tools/soak-threads.sh
	@tools/soak-guests.sh

bench:
	@tools/bench.sh

lint:
	@tools/lint.sh

format:
	@tools/format.sh

clean:
	rm -rf build
