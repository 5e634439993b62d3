#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests the reproduction of the LoRA tables on a small data set. Usage: test_reproduce.sh PROGRAM
set -u

lilac=$(realpath "$1")
tests=$(realpath "$(dirname "$0")")
. "$tests/check.sh"
. "$tests/sample_data.sh"
sample_data data
export LILAC_DATA=$work/data

# The results file without its times, which stand at its end.
results() {
    sed '/"times"/,$d' "$1/results.json"
}

expect 0 'out=Width 8' 'out=2 seeds from 1 on' 'out=LoRA, r = 64' 'out=Saved one/deep/results.json' -- \
    reproduce lora --hidden 8 --seeds 2 --output one/deep --threads 1
cp output tables
expect 0 -- reproduce lora --hidden 8 --seeds 2 --output two --threads 2 --quiet
results one/deep >first
results two >second
report 'the same seed gives the same results at 1 and 2 threads' "$(cmp first second 2>&1)"
report 'the same tables, too' "$(diff <(sed '/took/d; /Saved/d' tables) <(sed '/took/d; /Saved/d' output))"
report 'seeds differ in their results' "$(grep -q '± [0-9.]*[1-9]' tables || echo 'all spreads are 0')"
: >in-the-way
expect 1 'err=cannot make the folder in-the-way' -- reproduce lora --output in-the-way
expect 1 'err=cannot make the folder in-the-way:' -- reproduce lora --output in-the-way/below

finish
