#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests that commands write the files that they are told to and no others: not where they are run, nor in the home
# folder or that for temporary files. Usage: test_writes.sh PROGRAM
set -u

lilac=$(realpath "$1")
tests=$(realpath "$(dirname "$0")")
. "$tests/check.sh"
. "$tests/sample_data.sh"
mkdir data empty outputs home temporary
sample_part data train 300
sample_part data t10k 100
seq 1 300 >numbers.txt
export LILAC_DATA=$work/data OMP_WAIT_POLICY=passive
out=$work/outputs

# Runs the program in an empty folder. FILES are the names, in the folder outputs, of all that it may write.
writes() { # writes "FILES" ARGUMENT...
    local wanted=$1 before after
    shift
    before=$(find . -type f ! -name output ! -name errors -exec cksum {} + | sort)
    (cd empty && HOME=$work/home TMPDIR=$work/temporary "$lilac" "$@") >output 2>errors
    report "lilac $1 ${2:-} works" "$([ $? = 0 ] || echo 'it does not')"
    after=$(find . -type f ! -name output ! -name errors -exec cksum {} + | sort)
    report "lilac $1 ${2:-} writes: ${wanted:-nothing}" "$(diff <(tr ' ' '\n' <<<"$wanted" | sed '/^$/d; s|^|./outputs/|' | sort) \
        <(comm -13 <(echo "$before") <(echo "$after") | awk '{ print $3 }' | sort))"
    report "lilac $1 ${2:-} leaves the rest alone" "$(comm -23 <(echo "$before") <(echo "$after"))"
}

small=(--layers 1 --heads 2 --head-size 4 --feed-forward 16 --value-width 8 --position-width 8 --no-peak)
writes '' info
writes 'info.json' info --json "$out/info.json"
writes 'variants.png' data variants --png "$out/variants.png"
writes 'base.st' mlp train --output "$out/base.st" --hidden 8 --epochs 1 --validation 50
writes '' mlp eval --model "$out/base.st"
writes 'adapter.st' lora train --model "$out/base.st" --output "$out/adapter.st" --rank 2 --epochs 1 --validation 50
writes '' lora info --adapter "$out/adapter.st"
writes '' lora eval --model "$out/base.st" --adapter "a=$out/adapter.st"
writes 'merged.st' lora merge --model "$out/base.st" --adapter "$out/adapter.st" --output "$out/merged.st"
writes 'images.st' train --output "$out/images.st" "${small[@]}" --mixtures 2 --steps 2 --batch 2 --validation 5
writes 'softmax.st' train --output "$out/softmax.st" "${small[@]}" --mixtures 2 --steps 2 --batch 2 --validation 5 \
    --attention softmax
writes 'text.st text.checkpoint lines.jsonl' train --bytes "$work/numbers.txt" --length 16 --output "$out/text.st" \
    "${small[@]}" --steps 2 --batch 2 --validation 0 --checkpoint "$out/text.checkpoint" --metrics "$out/lines.jsonl"
writes 'completed.png' complete --model "$out/images.st" --count 2 --png "$out/completed.png"
writes '' eval bits --model "$out/text.st" --bytes "$work/numbers.txt"
writes 'completion/results.json completion/linear.png completion/softmax.png' reproduce completion --linear "$out/images.st" \
    --softmax "$out/softmax.st" --output "$out/completion" --images 2 --times 2 --training-images 0 --bits-images 0

finish
