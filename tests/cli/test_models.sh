#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests the commands that train, adapt, merge and measure models, on a small data set. Usage: test_models.sh PROGRAM
set -u

lilac=$(realpath "$1")
tests=$(realpath "$(dirname "$0")")
. "$tests/check.sh"
. "$tests/sample_data.sh"
sample_data data
export LILAC_DATA=$work/data
quick=(--epochs 2 --batch 500 --learning-rate 0.003 --validation 1000)

same() { # same DESCRIPTION FILE FILE
    report "$1" "$(cmp "$2" "$3" 2>&1)"
}

differ() { # differ DESCRIPTION FILE FILE
    report "$1" "$(cmp -s "$2" "$3" && echo "$2 and $3 are the same")"
}

# The row of a table on standard input that starts with a word, from the second word on.
row() {
    awk -v word="$1" '$1 == word { $1 = ""; print }'
}

# Pictures
expect 0 'out=Saved variants.png: 351 x 873 pixels' -- data variants --png variants.png
report 'the picture is a PNG' "$(head -c 8 variants.png | od -An -tx1 | grep -qx ' 89 50 4e 47 0d 0a 1a 0a' || echo no)"

# Training
expect 0 'out=Saved base.st: 7466 weights' 'out=On the test images: accuracy' -- \
    mlp train --output base.st --hidden 8,64,8 "${quick[@]}" --threads 1
expect 0 -- mlp train --output base-2.st --hidden 8,64,8 "${quick[@]}" --threads 2
same 'the same seed gives the same model at 1 and 2 threads' base.st base-2.st
expect 0 -- mlp train --output other.st --hidden 8,64,8 "${quick[@]}" --seed 2
differ 'another seed gives another model' base.st other.st
expect 0 'out=  -' -- mlp train --output whole.st --epochs 1 --validation 0
expect 0 'out=accuracy on' 'out=inverted' -- mlp eval --model base.st
expect 0 'out=plain' -- mlp eval --model base.st --variant plain

# Adapters
expect 0 'out=Saved rotated.st' -- lora train --model base.st --output rotated.st --rank 4 "${quick[@]}" --threads 1
expect 0 -- lora train --model base.st --output rotated-2.st --rank 4 "${quick[@]}" --threads 2
same 'the same seed gives the same adapter at 1 and 2 threads' rotated.st rotated-2.st
expect 0 -- lora train --model base.st --output inverted.st --variant inverted --rank 1 --scale fixed --alpha 1 \
    --init report "${quick[@]}"
expect 0 'out=1 (fixed, alpha 1)' 'out=report' 'out=layers' -- lora info --adapter inverted.st
expect 0 'out=2 (alpha/r, alpha 8)' 'out=That is base.st' -- lora info --adapter rotated.st --model base.st
expect 1 'err=rotated.st: the adapter was made for the base with hash' -- \
    lora info --adapter rotated.st --model other.st

# Switching
expect 0 -- lora eval --model base.st --adapter a=rotated.st --adapter b=inverted.st
cp output all
row '(base' <all | sed 's/ alone)//' >base-row
"$lilac" mlp eval --model base.st | row base.st >alone
same 'the base in a table with adapters is the base alone' base-row alone
expect 0 -- lora eval --model base.st --adapter a=rotated.st --adapter b=inverted.st --use b
row b <all >row-all
row b <output >row-used
same 'an adapter does the same whatever is loaded beside it' row-all row-used
report 'only the adapter named by --use is measured' "$(row a <output)"
expect 0 -- lora eval --model base.st --adapter a=rotated.st --strength 0
row a <output >row-strength-0
same 'an adapter of strength 0 changes nothing' row-strength-0 alone
expect 0 -- lora eval --model base.st --adapter a=rotated.st --variant plain --images 1
report 'of one image all or none are right' "$(grep -c ' \(0.00\|100.00\) %$' output | grep -vx 2)"
expect 2 "err=--use: no --adapter is called 'c'" -- lora eval --model base.st --adapter a=rotated.st --use c
expect 1 'err=was made for the base with hash' -- lora eval --model other.st --adapter a=rotated.st

# Merging
expect 0 'out=Saved merged.st' -- lora merge --model base.st --adapter rotated.st --output merged.st
"$lilac" mlp eval --model merged.st | row merged.st >merged
row a <all >adapted
# A near tie may fall to the other side by rounding: a point is 5 of the 500 images.
report 'a merged model does as the adapted one' "$(paste -d ' ' merged adapted | tr -d % |
    awk '{ for (i = 1; i <= NF / 2; i++) { d = $i - $(i + NF / 2); if (d > 1 || d < -1) print "differs by", d } }')"
expect 0 -- lora merge --model base.st --adapter rotated.st --strength 0 --output unchanged.st
"$lilac" mlp eval --model unchanged.st | row unchanged.st >unchanged
same 'merging at strength 0 changes nothing' unchanged alone
expect 1 'err=was made for the base with hash' -- lora merge --model other.st --adapter rotated.st --output no.st
report 'a refused merge writes nothing' "$(ls no.st 2>/dev/null)"

# Files that are missing, of another kind, or cannot be written
expect 1 'err=missing.st' -- mlp eval --model missing.st
expect 1 'err=rotated.st' -- mlp eval --model rotated.st
expect 1 'err=base.st' -- lora info --adapter base.st
expect 1 'err=nowhere/x.st: cannot open the folder: No such file or directory' -- mlp train --output nowhere/x.st
expect 1 'err=data: is a directory, expected a regular file' -- mlp train --output data
expect 2 'err=base.st would replace ./base.st, which is read' -- lora merge --model ./base.st --adapter rotated.st \
    --output base.st
expect 2 'err=rotated.st would replace rotated.st' -- lora merge --model base.st --adapter rotated.st --output rotated.st
expect 2 'err=base.st would replace base.st' -- lora train --model base.st --output base.st
expect 1 'err=/dev/null: is a device' -- mlp train --output /dev/null
report 'a refused output leaves no temporary file' "$(find . -name '.lilac-*')"
expect 1 'err=scripts/fetch-mnist' -- mlp eval --model base.st --data nowhere
expect 2 'err=--validation: there are only 6000 training images' -- mlp train --output x.st --validation 6000
unset LILAC_DATA
(cd / && "$lilac" data variants --png "$work/elsewhere.png") >output 2>errors
if [ -e elsewhere.png ]; then
    report 'the clone holds MNIST' ''
else
    report 'without MNIST the message says how to get it' "$(grep -q scripts/fetch-mnist errors || echo no)"
fi

finish
