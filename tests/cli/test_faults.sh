#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Lets each system call with which the program writes files fail in turn, and kills the program at each: the old file
# stays whole, nothing is left beside it, and what was killed can be done again. With LILAC_TEST_ALL in the environment
# it is each call, else each third, beginning anywhere.
# Usage: test_faults.sh PROGRAM PRELOADED, which is built from tests/support/program_faults.c
set -u

lilac=$(realpath "$1")
preloaded=$(realpath "$2")
tests=$(realpath "$(dirname "$0")")
. "$tests/check.sh"
. "$tests/sample_data.sh"
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0"
[ -n "${LILAC_TEST_ALL:-}" ] && step=1 || step=3
mkdir data work
sample_part data train 60
sample_part data t10k 20
seq 1 300 >numbers.txt
echo old >old
export LILAC_DATA=$work/data

faulty() { # faulty CALL ARGUMENT...: runs the program in the folder work, which holds its outputs
    local call=$1
    shift
    (cd work && LD_PRELOAD=$preloaded LILAC_TEST_FAULT=$call "$lilac" "$@") >output 2>errors
}

# Counts the calls, and keeps what the command writes when nothing fails. A file is written by opening it and its folder,
# by bringing both to the disk, and by a rename: if fewer of these calls are seen, others are made that cannot fail here.
measure() { # measure FILES ARGUMENT...
    local files=$1 opens writes syncs renames problem=
    shift
    rm -rf work expected counts
    mkdir work
    LILAC_TEST_COUNT=$work/counts faulty -1 "$@"
    local code=$?
    read -r calls opens writes syncs renames < <(tail -n 1 counts)
    mv work expected
    [ $code = 0 ] || problem="exit code $code"
    [ "$opens" -ge $((2 * files)) ] && [ "$writes" -ge "$files" ] && [ "$syncs" -ge $((2 * files)) ] &&
        [ "$renames" -ge "$files" ] || problem="$problem; of all its calls, only these were seen"
    report "lilac $1 $2 makes $calls calls: $opens opens, $writes writes, $syncs syncs, $renames renames" "$problem"
}

# What is wrong with the files that a command was to write, given as OUTPUT...: each must be old or new.
look_at_outputs() {
    local output
    for output in "$@"; do
        cmp -s work/$output old || cmp -s work/$output expected/$output && continue
        # Results hold times: of them, only the first and the last line are the same each time.
        case $output in
        *.json | *.svg | *.html)
            cmp -s <(sed -n '1p;$p' work/$output) <(sed -n '1p;$p' expected/$output) && continue
            ;;
        esac
        echo "$output is neither the old nor the new file"
    done
}

take_outputs() { # take_outputs OUTPUT... -- ARGUMENT...: sets the caller's array outputs
    outputs=()
    while [ "$1" != -- ]; do
        outputs+=("$1")
        shift
    done
}

fail_each() { # fail_each OUTPUT... -- ARGUMENT...
    local outputs output call code made problem=
    take_outputs "$@"
    shift $((${#outputs[@]} + 1))
    measure ${#outputs[@]} "$@"
    for ((call = RANDOM % step; call < calls; call += step)); do
        rm -rf work
        mkdir work
        for output in "${outputs[@]}"; do
            cp old work/$output
        done
        LILAC_TEST_COUNT=$work/counts faulty $call "$@"
        code=$?
        read -r made _ < <(tail -n 1 counts)
        # A checkpoint holds seconds, whose digits decide whether it is padded: there may be a call less for each.
        if [ "$made" -le $call ]; then
            [ $code = 0 ] && [ $call -gt $((calls - 3)) ] || problem="$problem; call $call: only $made were made"
            continue
        fi
        [ $code = 1 ] || problem="$problem; call $call: exit code $code"
        grep -q '^lilac' errors || problem="$problem; call $call: no message"
        [ -z "$(ls -A work | grep '^\.lilac')" ] || problem="$problem; call $call: a temporary file is left"
        problem=$problem$(look_at_outputs "${outputs[@]}")
    done
    report "lilac $1 $2 when each call fails" "$problem"
}

kill_each() { # kill_each OUTPUT... -- ARGUMENT...
    local outputs output call code problem=
    take_outputs "$@"
    shift $((${#outputs[@]} + 1))
    measure ${#outputs[@]} "$@"
    mkdir work
    for ((call = RANDOM % step; call < calls; call += step)); do
        for output in "${outputs[@]}"; do
            cp old work/$output
        done
        # The subshell tells of the signal; nobody wants to read it.
        { LILAC_TEST_KILL=1 faulty $call "$@"; } 2>/dev/null
        code=$?
        # A training that goes on from its checkpoint makes fewer calls.
        [ $code = 137 ] || [ -e work/checkpoint ] || problem="$problem; call $call: exit code $code"
        [ "$(ls -A work | grep -c '^\.lilac')" -le 2 ] || problem="$problem; call $call: temporary files pile up"
        problem=$problem$(look_at_outputs "${outputs[@]}")
    done
    faulty -1 "$@" || problem="$problem; then not done"
    for output in "${outputs[@]}"; do
        cmp -s work/$output expected/$output || problem="$problem; then another $output"
    done
    [ -z "$(ls -A work | grep '^\.lilac')" ] || problem="$problem; then a temporary file is left"
    report "lilac $1 $2 killed at each call" "$problem"
}

small=(--layers 1 --heads 2 --head-size 4 --feed-forward 8 --value-width 4 --position-width 4 --no-peak --threads 1)
train_mlp=(mlp train --hidden 8 --epochs 1 --validation 10 --threads 1 --output)
train_transformer=(train --bytes "$work/numbers.txt" --length 24 "${small[@]}" --steps 2 --batch 2 --validation 2
    --checkpoint checkpoint --checkpoint-every 1 --resume --output model.st)
expect 0 -- "${train_mlp[@]}" base.st
train_adapter=(lora train --model "$work/base.st" --epochs 1 --validation 10 --threads 1 --output adapter.st)
expect 0 -- train "${small[@]}" --data data --validation 10 --steps 1 --batch 1 --output pixels.st
cp "$work/pixels.st" pixels_before.st

fail_each model.st -- "${train_mlp[@]}" model.st
fail_each adapter.st -- "${train_adapter[@]}"
fail_each model.st -- "${train_transformer[@]}" --metrics lines.jsonl --report-every 1
fail_each variants.png -- data variants --png variants.png
fail_each completed.png -- complete --model "$work/pixels.st" --keep-rows 27 --count 1 --threads 1 --png completed.png
kill_each model.st -- "${train_mlp[@]}" model.st
kill_each adapter.st -- "${train_adapter[@]}"
kill_each model.st -- "${train_transformer[@]}"
# Minutes of timings, run after run
if [ -n "${LILAC_TEST_ALL:-}" ]; then
    fail_each times.json times.svg -- bench attention --tokens 16,32 --size 4 --heads 1 --json times.json --plot times.svg
fi
report 'what is read stays as it is' "$(cmp pixels.st pixels_before.st 2>&1)"

# On a full disk, the lines of the metrics that fit are whole. (An ignored signal stays ignored in the program.)
trap '' XFSZ
rm -f lines.jsonl
(
    ulimit -f 1
    "$lilac" train --bytes numbers.txt --length 24 "${small[@]}" --validation 0 --steps 60 --batch 2 --output none.st \
        --metrics lines.jsonl --report-every 1
) >output 2>errors
code=$?
problem=
[ $code = 1 ] || problem="exit code $code"
grep -q 'lines.jsonl: cannot write: File too large' errors || problem="$problem; another message"
[ -s lines.jsonl ] && [ "$(grep -vc '}$' lines.jsonl)" = 0 ] || problem="$problem; not whole lines"
report 'metrics on a full disk are whole lines' "$problem"

finish
