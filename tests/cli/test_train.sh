#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests training and evaluating a transformer with the program: options, slices, interrupts.
# Usage: test_train.sh PROGRAM
set -u

lilac=$(realpath "$1")
tests=$(realpath "$(dirname "$0")")
. "$tests/check.sh"
. "$tests/sample_data.sh"
mkdir data
sample_part data train 60
sample_part data t10k 20
seq 1 3000 >numbers.txt
small=(--layers 1 --heads 2 --head-size 4 --feed-forward 8 --value-width 4 --position-width 4 --no-peak)
text=(--bytes numbers.txt --length 24 "${small[@]}")

# Training on images and on a file
expect 0 'out=Step 5 of 5' 'out=validation' 'out=Saved images.st' 'err=Memory: activations of 2 sequences ' -- train --data data --output images.st --steps 5 \
    --batch 3 --validation 4 "${small[@]}" --metrics images.jsonl --report-every 2 --validate-every 2
problem=
[ "$(wc -l <images.jsonl)" = 3 ] || problem='not three reports'
for text_of_line in '"step": 4, "tokens": 9396, "seconds": ' '"loss": ' '"bits": ' '"learning_rate": ' '"gradient_norm": ' \
    '"tokens_per_second": ' '"validation_bits": '; do
    [ "$(sed -n 2p images.jsonl | grep -c "$text_of_line")" = 1 ] || problem="missing in the metrics: $text_of_line"
done
grep -q share_of_peak images.jsonl && problem='a share of a peak that was not measured'
report 'the metrics are lines of JSON' "$problem"
grep -q 'Step 2: training' errors
report 'validations are told' "$([ $? = 0 ] || echo 'nothing is said of step 2')"
expect 0 'out=over 15660 tokens in f32' -- eval bits --model images.st --data data
expect 0 'out=over 2349 tokens in f32' -- eval bits --model images.st --data data --images 3
expect 0 'out=bits a dimension' -- eval bits --model images.st --data data --images 3 --precision bf16
expect 0 'out=bits a dimension' -- eval bits --model images.st --data data --images 3 --precision f16
expect 0 'out=over 2349 tokens in f32' -- eval bits --model images.st --data data --images 3 --precision f16 --cpu scalar
"$lilac" train --data data --output second.st --steps 1 --batch 2 --validation 2 "${small[@]}" --metrics closed.jsonl >output 2>&-
report 'what is said on a closed stream goes into no file' "$([ -s closed.jsonl ] || echo 'no metrics' && grep -v '^{' closed.jsonl)"
# Without the border 484 of an image's tokens are seen
expect 0 'out=Step 3 of 3' 'out=validation' -- train --data data --output inside.st --steps 3 --batch 3 --validation 4 --border 3 \
    "${small[@]}" --metrics inside.jsonl --report-every 3
report 'tokens of the border are not counted' "$(grep -q '"step": 3, "tokens": 4356,' inside.jsonl || cat inside.jsonl)"
expect 1 'err=a border of 14 leaves nothing of 28 x 28 pixels' -- train --data data --output inside.st --steps 3 --border 14 \
    --validation 4 "${small[@]}"
expect 2 'err=--border' -- train --output inside.st --steps 3 --border 3 "${text[@]}"
expect 1 'err=nothing.st: cannot open' -- eval bits --model nothing.st --data data
expect 0 'out=Step 50 of 50' 'out=Saved text.st' -- train --output text.st --steps 50 --learning-rate 0.02 --warm-up 5 \
    --batch 8 --validation 5 --store bf16 "${text[@]}"
expect 0 'out=over 13892 tokens' -- eval bits --model text.st --bytes numbers.txt
expect 0 'err=cannot multiply bf16 matrices: f32 is used' -- train --output second.st --steps 2 --precision bf16 --cpu scalar \
    "${text[@]}"
expect 0 'err=cannot multiply f16 matrices: f32 is used' -- train --output second.st --steps 2 --precision f16 --cpu scalar \
    "${text[@]}"
# Nor does oneDNN bf16 where it may not use its dot products: what it has instead is slower than f32. Tiles are Lilac's.
"$lilac" info | grep -q AMX && told='out=Step 2 of 2' || told='err=cannot multiply bf16 matrices: f32 is used'
ONEDNN_MAX_CPU_ISA=AVX512_CORE expect 0 "$told" -- train --output second.st --steps 2 --precision bf16 "${text[@]}"
expect 0 'out=Saved second.st' -- train --from text.st --bytes numbers.txt --steps 2 --output second.st --no-peak
expect 0 'out=Saved second.st: 1774 weights' -- train --from text.st --distribution logistic-mixture --bytes numbers.txt --steps 2 \
    --output second.st --no-peak
expect 0 'out=Saved second.st: 1585 weights' -- train --from text.st --distribution logistic-mixture --mixtures 3 \
    --bytes numbers.txt --steps 2 --output second.st --no-peak
expect 0 'out=of 15 after' -- train --output short.st --epochs 0.1 --batch 4 --validation 0 "${text[@]}"

# An adapter of a saved model
expect 0 'out=Saved adapter.st: ' 'out= weights beside the base' -- train --base images.st --rank 2 --data data \
    --variant rotated --steps 12 --learning-rate 0.01 --warm-up 2 --batch 3 --validation 4 --no-peak --output adapter.st
expect 0 'out=bits a dimension' -- eval bits --model images.st --adapter adapter.st --variant rotated --data data
expect 0 'out=That is images.st' -- lora info --adapter adapter.st --model images.st
expect 1 'err=adapter.st' -- lora info --adapter adapter.st --model text.st
expect 1 'err=the adapter was made for the base with hash' -- eval bits --model text.st --adapter adapter.st \
    --bytes numbers.txt
expect 0 'out=bits a dimension on  rotated' -- lora eval --model images.st --adapter a=adapter.st --data data \
    --variant rotated --images 5
cp output table
for name in '(base' a; do
    case $name in a) adapter=(--adapter adapter.st) ;; *) adapter=() ;; esac
    bits=$("$lilac" eval bits --model images.st ${adapter[@]+"${adapter[@]}"} --data data --variant rotated --images 5)
    report "lora eval prints for $name what eval bits does" "$(awk -v name="$name" '$1 == name { print $NF }' table |
        grep -qx "${bits%% *}" || cat table)"
done
expect 0 'out=quantized' -- lora eval --model images.st --adapter a=adapter.st --data data --strength 0 --images 2
report 'an adapter of strength 0 does as the base' "$(awk '/alone/ { $1 = ""; base = $0; sub(/^ alone\)/, "", base) }
    $1 == "a" { $1 = ""; if ($0 != base) print $0, base }' output)"
expect 1 'err=adapter.st: the adapter' -- lora eval --model text.st --adapter a=adapter.st --data data
expect 0 'out=Saved merged.st' -- lora merge --model images.st --adapter adapter.st --output merged.st
bits() { # bits ARGUMENT...
    "$lilac" eval bits --data data --variant rotated "$@" | cut -d ' ' -f 1
}
report 'a merged transformer does as the adapted one' "$(echo "$(bits --model merged.st)" \
    "$(bits --model images.st --adapter adapter.st)" "$(bits --model images.st)" |
    awk '{ d = $1 - $2; if (d > 1e-3 || d < -1e-3 || $2 == $3) print $0 }')"
report 'at strength 0 it does as its base' "$(echo "$(bits --model images.st --adapter adapter.st --strength 0)" \
    "$(bits --model images.st)" | awk '$1 != $2')"
expect 0 -- lora merge --model images.st --adapter adapter.st --strength 0 --output unchanged.st
report 'merging into a transformer at strength 0 changes nothing' "$(cmp images.st unchanged.st 2>&1)"
expect 1 'err=adapter.st: the adapter was made for the base with hash' -- lora merge --model merged.st \
    --adapter adapter.st --output x.st
expect 2 'err=images.st would replace images.st' -- lora merge --model images.st --adapter adapter.st --output images.st
expect 1 "err=images.st is a transformer, not a classifier: 'lilac train --base images.st' trains" -- lora train \
    --model images.st --data data --output x.st
expect 1 'err=kwery' -- train --base images.st --layers-matching '*.kwery' --data data --validation 4 \
    --output x.st --no-peak
expect 2 'err=--base cannot be combined with --from' -- train --base images.st --from images.st --data data --output x.st
expect 2 'err=images.st would replace images.st' -- train --base images.st --data data --output images.st

expect 2 'err=--layers cannot be combined with --from: leave one of them out' -- train --from text.st --layers 2 \
    --bytes numbers.txt --output x.st
expect 2 'err=--dropout cannot be combined with --base' -- train --base text.st --dropout 0.1 --bytes numbers.txt --output x.st
expect 2 'err=--rank does nothing without --base FILE: give that too' -- train --rank 2 --bytes numbers.txt --output x.st
expect 2 'err=--variant cannot be combined with --bytes' -- train --variant rotated --bytes numbers.txt --output x.st
expect 2 'err=--images cannot be combined with --bytes' -- eval bits --model text.st --bytes numbers.txt --images 3

# Slices: each of the first ones ends after a step
train=(train --steps 12 --batch 3 --micro-batch 2 --dropout 0.1 --validation 2 "${text[@]}")
expect 0 -- "${train[@]}" --output whole.st
expect 0 'out=Step 1 of 12' 'out=without --checkpoint it cannot go on' -- "${train[@]}" --output short.st --minutes 1e-9
for slice in 1 2 3; do
    expect 0 "out=Step $slice of 12" 'out=the same command with --resume' -- "${train[@]}" --output sliced.st \
        --checkpoint sliced.checkpoint --resume --minutes 1e-9 --threads $((slice % 2 + 1))
done
expect 0 'out=Step 12 of 12' -- "${train[@]}" --output sliced.st --checkpoint sliced.checkpoint --resume
report 'a training in slices ends with the same bytes' "$(cmp whole.st sliced.st 2>&1)"
expect 0 'out=Step 12 of 12' -- "${train[@]}" --output again.st --checkpoint sliced.checkpoint --resume
report 'and can be asked for them again' "$(cmp whole.st again.st 2>&1)"

# Refusals
expect 2 'err=sliced.checkpoint exists; --resume goes on from it' -- "${train[@]}" --output x.st \
    --checkpoint sliced.checkpoint
expect 1 'err=sliced.checkpoint is of a training with another batch: 3, here it is 4' -- "${train[@]}" --batch 4 \
    --output x.st --checkpoint sliced.checkpoint --resume
expect 1 'err=another attention: linear, here it is softmax' -- "${train[@]}" --attention softmax --output x.st \
    --checkpoint sliced.checkpoint --resume
head -c 5000 sliced.checkpoint >cut.checkpoint
expect 1 'err=cut.checkpoint' -- "${train[@]}" --output x.st --checkpoint cut.checkpoint --resume
expect 1 'err=not a checkpoint file' -- "${train[@]}" --output x.st --checkpoint whole.st --resume
expect 2 'err=--resume' -- "${train[@]}" --output x.st --resume
expect 2 'err=another file than --output' -- "${train[@]}" --output x.st --checkpoint x.st
expect 2 'err=another file than --output x.st, got ./x.st' -- "${train[@]}" --output x.st --checkpoint ./x.st
expect 2 'err=numbers.txt has 13893 bytes, expected at least' -- train --bytes numbers.txt --length 10000 --output x.st
expect 2 'err=text.st would replace text.st' -- train --from text.st --bytes numbers.txt --output text.st
expect 1 'err=no/such/file' -- "${train[@]}" --output no/such/file
expect 1 'err=no/such/metrics' -- "${train[@]}" --output x.st --metrics no/such/metrics
expect 1 'err=position width is 5, expected an even number' -- "${train[@]}" --position-width 5 --output x.st
cp numbers.txt kept.txt
expect 2 'err=numbers.txt would replace numbers.txt, which is read' -- "${train[@]}" --output numbers.txt
expect 2 'err=numbers.txt would replace numbers.txt, which is read' -- "${train[@]}" --output x.st --metrics numbers.txt
expect 2 'err=--metrics: expected another file than --output' -- "${train[@]}" --output x.st --metrics x.st
same_bytes=$(cmp numbers.txt kept.txt 2>&1)
report 'what is read stays as it is' "$same_bytes"
: >nothing
expect 2 'err=--bytes: nothing has 0 bytes, expected at least 2' -- eval bits --model text.st --bytes nothing
report 'no refused training leaves a model' "$([ ! -e x.st ] || echo 'x.st is there')"

# Interrupted, it saves a checkpoint and the model first, if it has been given a checkpoint
start_and_interrupt() { # start_and_interrupt SIGNAL ARGUMENT...: leaves the exit code in `code`
    local signal=$1
    shift
    "$lilac" "${train[@]}" --steps 1000000 "$@" >output 2>errors &
    local process=$!
    # The work has begun once the program has spent some time on it.
    while [ "$(awk '{ print $14 + $15 }' /proc/$process/stat)" -lt 20 ]; do
        sleep 0.05
    done
    kill -s "$signal" $process
    wait $process
    code=$?
}
interrupt() { # interrupt SIGNAL CODE
    local problem=
    rm -f stopped.st
    start_and_interrupt "$1" --checkpoint-every 0 --output stopped.st --checkpoint stopped.checkpoint --resume
    [ $code = "$2" ] || problem="exit code $code instead of $2"
    grep -q 'Saved the checkpoint stopped.checkpoint' errors || problem='no message'
    grep -q 'Saved stopped.st' output || problem='nothing is said of the model'
    [ -e stopped.checkpoint ] || problem='no checkpoint'
    report "SIG$1 stops with a checkpoint" "$problem"
    expect 0 'out=bits a byte' -- eval bits --model stopped.st --bytes numbers.txt
}
interrupt INT 130
interrupt TERM 143
start_and_interrupt INT --output lost.st
report 'without a checkpoint no model is saved' "$([ $code = 130 ] && [ ! -e lost.st ] || echo "exit code $code")"
report 'no other file is left' "$(ls -A | grep lilac)"

finish
