#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests the reproduction of the completion experiment with tiny transformers. Usage: test_reproduce_completion.sh PROGRAM
set -u

lilac=$(realpath "$1")
tests=$(realpath "$(dirname "$0")")
. "$tests/check.sh"
. "$tests/sample_data.sh"
mkdir data
sample_part data train 300
sample_part data t10k 100
export LILAC_DATA=$work/data

for attention in linear softmax; do
    expect 0 -- train --output $attention.st --attention $attention --steps 3 --batch 2 --layers 1 --heads 2 \
        --head-size 4 --feed-forward 16 --value-width 8 --position-width 8 --mixtures 2 --validation 5 --no-peak
done

# The results file without its times, which stand at its end.
results() {
    sed '/"times"/,$d' "$1/results.json"
}

small='--images 12 --times 5,4 --no-cache-images 1 --training-images 10 --bits-images 3 --epochs 2'
expect 0 'out=n = 5' 'out=  steps: projections' 'out=softmax, cache in bf16 ' 'out=softmax without cache ' 'out=~ measured on 1 image,' 'out=completed, linear' \
    'out=on their completions, softmax, cache in bf16' 'out=The first 3 test images here, all 10000 in the report' 'out=Saved one/deep/linear.png' \
    'out=Saved one/deep/softmax.png' 'out=Saved one/deep/results.json' -- \
    reproduce completion --linear linear.st --softmax softmax.st $small --threads 1 --output one/deep
expect 0 -- reproduce completion --linear linear.st --softmax softmax.st $small --threads 2 --output two
results one/deep >first
results two >second
report 'the same seed gives the same results at 1 and 2 threads' "$(cmp first second 2>&1)"
report 'the same pictures, too' "$(cmp one/deep/linear.png two/linear.png 2>&1; cmp one/deep/softmax.png two/softmax.png 2>&1)"
report 'the results are not empty' "$(grep -q '"bits_a_dimension"' first || echo no bits)"

# What "complete" draws is what is judged.
expect 0 -- complete --model linear.st --count 12 --png same.png --zoom 2 --threads 1
report 'the images are those that "complete" draws' "$(cmp same.png two/linear.png 2>&1)"

# Missing transformers
program=$lilac
cp "$program" .
lilac=$work/lilac
expect 2 'err=neither models/linear.safetensors nor models/softmax.safetensors is there' -- reproduce completion
expect 1 'err=missing.st' -- reproduce completion --linear missing.st
mkdir models
cp linear.st models/linear.safetensors
expect 0 'err=models/softmax.safetensors is not there: its part is left out' 'out=Saved out/completion/linear.png' -- \
    reproduce completion $small --bits-images 0 --training-images 0
report 'no picture without a transformer' "$(find out -name softmax.png)"
report 'no parts that were not asked for' "$(grep -e 'Bits a dimension' -e 'their completions' output)"
expect 1 'err=the transformer with linear attention, expected one with softmax attention' -- \
    reproduce completion --softmax linear.st $small --output wrong
expect 1 'err=10 images to time, expected 1 to 5' -- reproduce completion --images 5 --times 10 --bits-images 0 --training-images 0
report 'nothing is left behind' "$(find . -name '.lilac-*')"

# Without them there, those of the clone that holds the program, or those installed beside it
rm -r models
for place in clone/build/cli:clone/models moved/bin:moved/share/lilac/models; do
    mkdir -p "${place%:*}" "${place#*:}"
    cp "$program" "${place%:*}/lilac"
    cp linear.st "${place#*:}/linear.safetensors"
    lilac=$work/${place%:*}/lilac
    expect 1 'err=models/softmax.safetensors is not there' 'err=nowhere: expected a file' -- \
        reproduce completion --data nowhere
done

finish
