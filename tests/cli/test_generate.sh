#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests the commands that let transformers draw, write and complete. Usage: test_generate.sh PROGRAM MAKE_TRANSFORMER
set -u

lilac=$(realpath "$1")
make=$(realpath "$2")
tests=$(realpath "$(dirname "$0")")
. "$tests/check.sh"
. "$tests/sample_data.sh"
mkdir data
sample_part data t10k 500
export LILAC_DATA=$work/data
"$make" linear.st linear logistic-mixture 783 && "$make" softmax.st softmax logistic-mixture 783 &&
    "$make" text.st linear categorical 40 && "$make" small.st softmax logistic-mixture 48 ||
    echo 'Bail out! no models'

same() { # same DESCRIPTION FILE FILE
    report "$1" "$(cmp "$2" "$3" 2>&1)"
}

differ() { # differ DESCRIPTION FILE FILE
    report "$1" "$(cmp -s "$2" "$3" && echo "$2 and $3 are the same")"
}

is_png() {
    report "$1 is a PNG" "$(head -c 8 "$1" | od -An -tx1 | grep -qx ' 89 50 4e 47 0d 0a 1a 0a' || echo no)"
}

# Images
expect 0 'out=Saved drawn.png: 176 x 118 pixels' 'out=projections' -- \
    generate --model linear.st --count 5 --png drawn.png --threads 1
is_png drawn.png
expect 0 -- generate --model linear.st --count 5 --png again.png --threads 2 --batch 2
same 'images do not depend on threads and batches' drawn.png again.png
expect 0 -- generate --model linear.st --count 5 --png again.png --seed 2
differ 'another seed draws other images' drawn.png again.png
expect 0 -- generate --model linear.st --count 5 --png again.png --precision bf16
differ 'rounded weights draw other images' drawn.png again.png
expect 0 'out=Saved small.png: 18 x 18 pixels' -- generate --model small.st --png small.png
expect 0 -- generate --model small.st --png again.png --no-cache
same 'without the cache the image is the same' small.png again.png
expect 0 'out=Saved wide.png: 102 x 6 pixels' -- generate --model small.st --png wide.png --columns 49
expect 2 'err=--columns: an image of 49 pixels has no rows of 5' -- \
    generate --model small.st --png x.png --columns 5
expect 2 'err=--columns: an image of 40 pixels has no rows of 7' -- \
    generate --model small.st --png x.png --length 40
expect 2 "err=--length: 50 bytes, the model's sequences have at most 49" -- generate --model small.st --png x.png --length 50
expect 2 'err=x.png: a picture of' -- generate --model small.st --png x.png --columns 1 --count 1000000 --zoom 32

# Bytes
expect 0 -- generate --model text.st --prompt 'Once upon' --length 30
report 'bytes begin with the prompt' "$(head -c 9 output | grep -qx 'Once upon' || echo no)"
report 'as many bytes as asked for, and a line break' "$([ "$(wc -c <output)" = 31 ] || wc -c <output)"
cp output bytes
expect 0 'out=Saved written: 2 x 30 bytes' -- \
    generate --model text.st --prompt 'Once upon' --length 30 --count 2 --output written
head -c 30 written >first
head -c 30 bytes >printed
same 'a file holds what would be printed' first printed
report 'a file holds the bytes only' "$([ "$(wc -c <written)" = 60 ] || wc -c <written)"
expect 0 -- generate --model text.st --prompt 'Once upon' --length 30 --temperature 0
cp output likely
expect 0 -- generate --model text.st --prompt 'Once upon' --length 30 --temperature 0 --seed 5
same 'the most likely bytes do not depend on the seed' likely output
expect 2 "err=--prompt: 9 bytes, expected fewer than a sequence's 9" -- generate --model text.st --prompt 'Once upon' --length 9
long=$(printf 'word %.0s' $(seq 40))
expect 2 "err=--prompt: 200 bytes, expected fewer than a sequence's 41" -- generate --model text.st --prompt "$long"
expect 2 "err=--prompt: 200 bytes, expected fewer than a sequence's 9" -- \
    generate --model text.st --prompt "$long" --length 9
expect 2 'err=--png FILE draws images, --prompt TEXT writes bytes: give one' -- generate --model text.st
expect 2 'err=give one' -- generate --model text.st --prompt x --png x.png

# Completion
for model in linear softmax; do
    expect 0 "out=Saved $model.png: 176 x 350 pixels" 'out=prompts' 'out=tokens/s' -- \
        complete --model $model.st --count 6 --png $model.png --zoom 2
    is_png $model.png
    expect 0 -- complete --model $model.st --count 6 --png again.png --batch 4 --threads 1
    same "completions by $model attention do not depend on threads and batches" $model.png again.png
done
expect 0 -- complete --model linear.st --count 2 --first 3 --images data/t10k-images-idx3-ubyte --png idx.png
expect 0 -- complete --model linear.st --count 2 --first 3 --png mnist.png
same 'images come from an IDX file as from the data set' idx.png mnist.png
expect 0 'out=Saved few.png' -- complete --model softmax.st --count 1 --keep-rows 27 --png few.png
expect 0 'out=Saved many.png' -- complete --model softmax.st --count 1 --keep-rows 27 --png many.png --no-cache
same 'without the cache the image is the same' few.png many.png
expect 0 'out=Saved sheet.png: 350 x 1162 pixels' -- \
    complete --model linear.st --count 25 --keep-rows 27 --png sheet.png
expect 2 'err=--keep-rows: the images have 28 rows, 28 leave nothing' -- complete --model linear.st --keep-rows 28
expect 2 'err=--count: there are only 2 images from number 498 on' -- complete --model linear.st --first 498 --count 3
expect 2 'err=--count: there are only 0 images from number 900 on' -- complete --model linear.st --first 900
expect 1 'err=the model is for 41 pixels, the images have 28 x 28' -- complete --model text.st

expect 0 -- complete --model softmax.st --count 6 --png half.png --zoom 2 --cache bf16
expect 0 -- complete --model softmax.st --count 6 --png again.png --zoom 2 --cache bf16 --batch 4 --threads 1
same 'completions with a cache in bf16 do not depend on threads and batches' half.png again.png
expect 0 -- generate --model softmax.st --count 2 --png again.png --cache bf16
expect 2 "err=--cache: expected one of f32|bf16, got 'f16'" -- complete --model softmax.st --cache f16

# Adapters
sample_part data train 20
for model in linear text; do
    case $model in linear) learn=(--variant inverted --validation 2) ;; text) learn=(--bytes linear.st --validation 0) ;; esac
    expect 0 -- train --base $model.st --output $model.adapter --steps 3 --learning-rate 1 --warm-up 0 --batch 1 --no-peak \
        "${learn[@]}"
done
expect 0 -- generate --model text.st --prompt 'Once upon' --length 30 --adapter text.adapter
differ 'an adapter changes the bytes' bytes output
expect 0 -- generate --model text.st --prompt 'Once upon' --length 30 --adapter text.adapter --strength 0
same 'at strength 0 it does not' bytes output
expect 0 -- generate --model linear.st --count 5 --png adapted.png --adapter linear.adapter
differ 'an adapter changes the images' drawn.png adapted.png
expect 0 -- complete --model linear.st --count 2 --first 3 --png adapted.png --adapter linear.adapter
differ 'an adapter changes the completion' mnist.png adapted.png
expect 0 -- complete --model linear.st --count 2 --first 3 --png again.png --adapter linear.adapter --strength 0
same 'at strength 0 it does not' mnist.png again.png
# Of several adapters sequence i takes number i modulo how many there are
expect 0 -- train --base text.st --output other.adapter --steps 3 --learning-rate 1 --warm-up 0 --batch 1 --no-peak \
    --bytes linear.st --validation 0 --seed 7 --rank 2
written=(generate --model text.st --prompt 'Once upon' --length 30 --count 5)
for one in text other; do
    expect 0 -- "${written[@]}" --adapter $one.adapter --output $one.alone
done
differ 'another adapter writes other bytes' text.alone other.alone
for i in 0 1 2 3 4; do
    case $i in 1 | 3) one=other ;; *) one=text ;; esac
    tail -c +$((30 * i + 1)) $one.alone | head -c 30
done >turns
expect 0 -- "${written[@]}" --adapter text.adapter --adapter other.adapter --output mixed
same 'sequences with adapters in turn are those with each adapter alone' turns mixed
expect 0 -- "${written[@]}" --adapter text.adapter --adapter other.adapter --output mixed --batch 3 --threads 1
same 'also in batches' turns mixed
expect 0 -- train --base linear.st --output second.adapter --steps 3 --learning-rate 1 --warm-up 0 --batch 1 --no-peak \
    --variant rotated --validation 2
expect 0 -- complete --model linear.st --count 1 --first 3 --png one.png --adapter second.adapter
expect 0 -- complete --model linear.st --count 1 --first 3 --png again.png --adapter linear.adapter --adapter second.adapter
same 'image 3 is completed with the same one of two adapters whichever are completed before' one.png again.png
expect 0 -- complete --model linear.st --count 2 --first 3 --png mixed.png --adapter linear.adapter --adapter second.adapter
differ 'the second with the second' adapted.png mixed.png
expect 2 "err=--adapter: 'text.adapter' is named twice" -- "${written[@]}" --adapter text.adapter --adapter text.adapter

expect 1 'err=the adapter was made for the base with hash' -- \
    generate --model text.st --prompt x --adapter linear.adapter
expect 1 'err=missing.adapter' -- complete --model linear.st --adapter missing.adapter
expect 2 'err=text.adapter would replace text.adapter' -- \
    generate --model text.st --prompt x --adapter text.adapter --output text.adapter
expect 2 'err=text.adapter would replace text.adapter' -- \
    generate --model text.st --prompt x --adapter other.adapter --adapter text.adapter --output text.adapter

# Files
expect 1 'err=missing.st' -- complete --model missing.st
expect 1 'err=missing.st' -- generate --model missing.st --png x.png
expect 1 'err=not a safetensors file' -- generate --model drawn.png --png x.png
expect 2 'err=linear.st would replace linear.st' -- generate --model linear.st --png linear.st
expect 2 'err=linear.st would replace linear.st' -- complete --model linear.st --png linear.st
expect 2 'err=would replace' -- complete --model linear.st --images idx.png --png idx.png
expect 1 'err=nowhere/x.png' -- generate --model linear.st --png nowhere/x.png
expect 1 'err=idx.png' -- complete --model linear.st --images idx.png
report 'nothing is left behind' "$(find . -name '.lilac-*' -o -name x.png)"

finish
