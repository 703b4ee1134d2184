#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Can the oracle find something? One bit after the other is made wrong in a copy of the formats' headers. The library then
# agrees with itself, the walker of tests/conformance is not asked, and the MMU has to disagree in each format named.
#
# usage: mistakes.sh [MACHINE...]      default: aarch64 riscv64 x86_64 loongarch64
# exit:  0 all were found, 1 some were not, 2 bad usage
set -eu
cd "$(dirname "$0")/../.."

out=build/oracle/mistakes
passed=0 failed=0 skipped=0

# MACHINE | EMULATOR | FILE | WRONG BIT (sed) | FORMATS
list() {
    cat <<'END'
aarch64|aarch64-max|arm.h|s/define ARM_S2_R FMT_BIT(6)/define ARM_S2_R FMT_BIT(11)/|arm-s2-39 arm-s2-40 arm-s2-43 arm-s2-48
aarch64|aarch64-max|arm.h|s/define ARM_S1_USER FMT_BIT(6)/define ARM_S1_USER FMT_BIT(58)/|arm-s1-39 arm-s1-48
aarch64|aarch64-max|arm.h|s/ARM_S2_NC = 5/ARM_S2_NC = 4/|arm-s2-39 arm-s2-40 arm-s2-43 arm-s2-48
riscv64|riscv64|riscv.h|s/define RISCV_U FMT_BIT(4)/define RISCV_U FMT_BIT(5)/|riscv-sv39x4 riscv-sv48x4 riscv-sv57x4
riscv64|riscv64|riscv.h|s/define RISCV_NAPOT_64K FMT_BIT(13)/define RISCV_NAPOT_64K FMT_BIT(12)/|riscv-sv39x4 riscv-sv39 riscv-sv48 riscv-sv57
x86_64|x86_64-4|x86.h|s/define X86_NX FMT_BIT(63)/define X86_NX FMT_BIT(58)/|x86-pt4 x86-npt4
x86_64|x86_64-5|x86.h|s/define X86_NX FMT_BIT(63)/define X86_NX FMT_BIT(59)/|x86-pt5 x86-npt5
x86_64|bochs-vmx|ept.h|s/EPT_WB = 6/EPT_WB = 2/|x86-ept4
x86_64|bochs-vmx|ept.h|s/define EPT_SUPPRESS_VE FMT_BIT(63)/define EPT_SUPPRESS_VE FMT_BIT(62)/|x86-ept4
x86_64|bochs-vmx-later|ept.h|s/define EPT_X_USER FMT_BIT(10)/define EPT_X_USER FMT_BIT(11)/|x86-ept4
loongarch64|loongarch64-later|loongarch.h|s/define LOONGARCH_D FMT_BIT(1)/define LOONGARCH_D FMT_BIT(9)/|loongarch-s1 loongarch-s2
loongarch64|loongarch64-later|loongarch.h|s/define LOONGARCH_NR FMT_BIT(61)/define LOONGARCH_NR FMT_BIT(60)/|loongarch-s1 loongarch-s2
loongarch64|loongarch64-fetch1-later|loongarch.h|s/define LOONGARCH_NX FMT_BIT(62)/define LOONGARCH_NX FMT_BIT(60)/|loongarch-s1
loongarch64|loongarch64-later|loongarch.h|s/define LOONGARCH_PLV_USER FMT_FIELD(3, 2)/define LOONGARCH_PLV_USER FMT_BIT(2)/|loongarch-s1 loongarch-s2
loongarch64|loongarch64-later|loongarch.h|s/define LOONGARCH_HUGE_G FMT_BIT(12)/define LOONGARCH_HUGE_G FMT_BIT(13)/;s/leaf_bits << 6/leaf_bits << 7/;s/HUGE_G) >> 6/HUGE_G) >> 7/;s/LOONGARCH_G) << 6/LOONGARCH_G) << 7/|loongarch-s1
loongarch64|loongarch64-later|loongarch.h|s/UINT64_C(30) << 20/UINT64_C(29) << 20/|loongarch-s1 loongarch-s2
END
}

[ $# -gt 0 ] || set -- aarch64 riscv64 x86_64 loongarch64
wanted=" $* "

try() { # try MACHINE EMULATOR FILE WRONG FORMATS
    rm -rf "$out/src"
    mkdir -p "$out"
    cp -r src "$out/src"
    sed -i "$4" "$out/src/format/$3"
    if cmp -s "src/format/$3" "$out/src/format/$3"; then
        failed=$((failed + 1))
        echo "FAIL $3: $4: there is no such line any more"
        return
    fi
    if ! tests/oracle/run.sh --build "$out/$1" "$out/src" "$1" >"$out/log" 2>&1; then
        failed=$((failed + 1))
        echo "FAIL $3: $4: does not build, see $out/log"
        return
    fi
    ALONE=1 LIMIT=${LIMIT:-120} tests/oracle/run.sh --emulate "$out/$1" "$2" 8 240 >"$out/log" 2>&1 || true
    for format in $5; do
        line=$(tr -d '\r' <"$out/log" | grep "^oracle $format: .* disagreements" || true)
        case $line in
        '' | *' 0 disagreements') failed=$((failed + 1)); echo "FAIL $4: not found: ${line:-no answer for $format}" ;;
        *) passed=$((passed + 1)); echo "ok   $4: $line" ;;
        esac
    done
}

mkdir -p "$out"
list >"$out/list"
while IFS='|' read -r machine emulator file wrong formats <&3; do
    case $wanted in *" $machine "*) ;; *) continue ;; esac
    if ! tests/oracle/run.sh --ready "$emulator"; then
        skipped=$((skipped + 1))
        echo "skip $wrong: no emulator ($emulator)"
        continue
    fi
    echo "trying $emulator: $wrong"
    try "$machine" "$emulator" "$file" "$wrong" "$formats"
done 3<"$out/list"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
