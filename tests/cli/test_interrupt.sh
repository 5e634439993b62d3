#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests that an interrupted program stops and leaves no file behind. Usage: test_interrupt.sh PROGRAM
set -u

lilac=$(realpath "$1")
tests=$(realpath "$(dirname "$0")")
. "$tests/check.sh"
. "$tests/sample_data.sh"
sample_data data
mkdir results

interrupt() { # interrupt SIGNAL CODE ARGUMENT...: the arguments start work that would take days
    local signal=$1 wanted=$2 problem=
    shift 2
    "$lilac" "$@" --data data >output 2>errors &
    local process=$!
    # The work has begun once the program has spent some time on it.
    while [ "$(awk '{ print $14 + $15 }' /proc/$process/stat)" -lt 20 ]; do
        sleep 0.05
    done
    kill -s "$signal" $process
    wait $process
    local code=$?
    [ $code = "$wanted" ] || problem="exit code $code instead of $wanted"
    grep -q 'interrupted' errors || problem='no message'
    report "SIG$signal during lilac $1 $2" "$problem"
}

endless=(--epochs 1000000 --patience 0)
interrupt INT 130 mlp train --output results/model.st "${endless[@]}"
report 'no file is left' "$(ls -A results)"
interrupt TERM 143 mlp train --output results/model.st "${endless[@]}"
report 'no file is left' "$(ls -A results)"

expect 0 -- mlp train --output results/base.st --epochs 1 --data data
cp results/base.st old.st
interrupt INT 130 mlp train --output results/base.st "${endless[@]}"
report 'an older file is as it was' "$(cmp results/base.st old.st 2>&1)"
interrupt INT 130 lora train --model results/base.st --output results/adapter.st "${endless[@]}"
interrupt INT 130 reproduce lora --hidden 64 --seeds 1000 --output results
rm results/base.st
report 'no other file is left' "$(ls -A results)"

finish
