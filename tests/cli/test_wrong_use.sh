#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Uses every command wrongly: each time the program must say in one line what is wrong, and write nothing.
# Usage: test_wrong_use.sh PROGRAM MAKE_TRANSFORMER
set -u

lilac=$(realpath "$1")
make=$(realpath "$2")
tests=$(realpath "$(dirname "$0")")
. "$tests/check.sh"
. "$tests/sample_data.sh"

mkdir data empty mixed damaged
sample_part data train 60
sample_part data t10k 40
cp data/t10k-images-idx3-ubyte mixed
cp data/train-labels-idx1-ubyte mixed/t10k-labels-idx1-ubyte
for name in images-idx3 labels-idx1; do
    printf '\037\213\010garbage' | tee damaged/train-$name-ubyte.gz >damaged/t10k-$name-ubyte.gz
done
seq 1 1000 >numbers
: >nothing
{
    "$make" linear.st linear logistic-mixture 783 && "$make" text.st linear categorical 40 &&
        "$lilac" mlp train --data data --hidden 8 --epochs 1 --validation 9 --output mlp.st --quiet &&
        "$lilac" lora train --data data --model mlp.st --epochs 1 --validation 9 --output mlp.ad --quiet &&
        "$lilac" train --data data --base linear.st --steps 1 --validation 2 --output linear.ad --no-peak --quiet &&
        "$lilac" train --bytes numbers --base text.st --steps 1 --validation 2 --output text.ad --no-peak --quiet
} >/dev/null || echo 'Bail out! no models'
head -c 3000 linear.st >cut.st
# The last weight is no number.
for name in text.st mlp.st mlp.ad; do
    head -c -4 $name >nan-$name && printf '\377\377\377\177' >>nan-$name
done
head -c 1000 mlp.st | tr '{' 'x' >junk
touch output errors
all_files() {
    find . -type d | sort
    find . -type f ! -name output ! -name errors -exec cksum {} + | sort
}
files=$(all_files)

# The code, what the message must hold, and the line, of which '_' is an empty word.
while IFS='|' read -r code text line; do
    read -ra words <<<"$line"
    expect "$code" "err=$text" -- "${words[@]/#_/}"
    problem=
    [ "$(grep -vc "^Try 'lilac" errors)" = 1 ] || problem='not one line'
    grep -q '^lilac[a-z ]*: ' errors || problem='it does not begin with the command'
    [ "$code" = 1 ] || tail -n 1 errors | grep -q "^Try 'lilac.*--help'" || problem='nothing is said of the help'
    report "lilac $line: what is said" "$problem"
done <<'END'
2|unknown command 'benhc'; did you mean 'bench'?|benhc peak
2|a command is missing: all, lora or completion|reproduce
2|unknown command 'merg'; did you mean 'lora merge'?|lora merg
2|options come after the command|--quiet info
2|unexpected argument 'extra'|info extra
2|--output FILE is missing: where to save the model|train
2|--output needs a value: --output FILE|train --output
2|--output needs a value: --output FILE|train --output --bytes numbers
2|--output: expected FILE, got an empty text|train --output _
2|unknown option '--outptu'; did you mean '--output'?|train --outptu x
2|unknown option '--val'; did you mean '--validation'?|train --val 3
2|unknown option '-z'|train -z
2|--quiet takes no value, got 'yes'|info --quiet=yes
2|--layers: expected a whole number from 1 to 256, got '1.5'|train -o x --layers 1.5
2|--layers: expected a whole number from 1 to 256, got ''|train -o x --layers=
2|--dropout: expected a number from 0 to 0.99, got '0,1'|train -o x --dropout 0,1
2|--learning-rate: expected a number from 0 to 100, got '-1'|train -o x --learning-rate -1
2|got 'lienar'; did you mean 'linear'?|train -o x --attention lienar
2|got 'adam'; did you mean 'adamw'?|train -o x --optimiser adam
2|got 'rotate'; did you mean 'rotated'?|mlp train -o x --variant rotate
2|got 'alpha'; did you mean 'alpha/r'?|lora train --model mlp.st -o x --scale alpha
2|got 'bf-16'; did you mean 'bf16'?|generate --model text.st --prompt x --precision bf-16
2|expected one of layer|bench encoder --experiment both
2|--seed: expected a whole number from 0 to|train -o x --seed -1
2|--threads: expected a whole number from 1 to 1024, got '4096'|info --threads 4096
2|--hidden: expected a whole number from 1 to 65536, got ''|mlp train -o x --hidden 64,
2|--tokens: expected a whole number from 1 to 16777216, got '0'|bench attention --tokens 0
2|--width: expected a whole number from 1 to 65536, got '-3'|bench matmul --width -3
2|--rank: expected a whole number from 0 to 8192, got '-1'|bench lora --rank -1
2|--adapter: expected NAME=FILE, got 'mlp.ad'|lora eval --model mlp.st --adapter mlp.ad
2|--model is given twice: 'b.st' as well|generate --model a.st --model b.st --prompt x
2|--output needs a value: --output FILE|train --output -q
2|--adapter: 'a' is named twice|lora eval --model mlp.st --adapter a=mlp.ad --adapter a=mlp.ad
2|--use: no --adapter is called 'b'|lora eval --model mlp.st --adapter a=mlp.ad --use b
2|expected attention, completion or lora, separated by commas, got 'lroa'|reproduce all --parts lroa
2|--heads cannot be combined with --from|train -o x --from text.st --heads 2
2|--alpha does nothing without --base FILE|train -o x --alpha 2
2|--zoom does nothing without --png FILE|complete --model linear.st --zoom 3
2|--linear does nothing: --parts leaves completion out|reproduce all --parts attention,lora --linear linear.st
2|--data does nothing: --parts leaves completion and lora out|reproduce all --parts attention --data data
2|--validate-every cannot be combined with --validation 0|train -o x --bytes numbers --validation 0 --validate-every 3
2|--patience cannot be combined with --validation 0|mlp train -o x --validation 0 --patience 3
2|--base cannot be combined with --optimiser muon|train -o x --base linear.st --optimiser muon
2|--strength does nothing without --adapter FILE|eval bits --model linear.st --strength 0.5
2|--images cannot be combined with --data|complete --model linear.st --data data --images data/t10k-images-idx3-ubyte
2|--features cannot be combined with --attention softmax|train -o x --attention softmax --features relu
2|--feature-size does nothing without --features fourier|train -o x --features relu --feature-size 8
2|--mixtures cannot be combined with --distribution categorical|train -o x --distribution categorical --mixtures 2
2|--mixtures does nothing: the output layer is categorical|train -o x --bytes numbers --mixtures 2
2|--mixtures does nothing: the output layer stays that of --from|train -o x --bytes numbers --from text.st --mixtures 2
2|--cache cannot be combined with --no-cache|generate --model text.st --prompt a --cache bf16 --no-cache
2|--cache does nothing: a model with linear attention|generate --model text.st --prompt a --cache bf16
2|--png FILE draws images, --prompt TEXT writes bytes: give one|generate --model text.st
2|would replace numbers, which is read|train -o numbers --bytes numbers
2|would replace mlp.st, which is read|lora merge --model mlp.st --adapter mlp.ad -o mlp.st
2|--validation: there are only 60 training images, got 60|mlp train -o x --data data --validation 60
2|--keep-rows: the images have 28 rows|complete --model linear.st --data data --keep-rows 28
2|--count: there are only 40 images|complete --model linear.st --data data --count 41
2|--bytes: nothing has 0 bytes, expected at least|train -o x --bytes nothing
2|--bytes: nothing has 0 bytes, expected at least 2|eval bits --model text.st --bytes nothing
2|--columns: an image of 41 pixels has no rows of 7; give what divides it|generate --model text.st --png x
1|none/x: cannot open the folder: No such file|train -o none/x
1|empty: is a directory, expected a regular file|train -o empty
1|"data/" is not the name of a file|train -o data/
1|is a device, pipe or socket, expected a regular file|generate --model text.st --prompt a -o /dev/full
1|none/x.png: cannot open the folder|data variants --data data --png none/x.png
1|none/x.svg|bench attention --tokens 16 --plot none/x.svg
1|a file of that name is in the way|reproduce lora --output nothing/x --data data
1|600 test images to complete, expected 1 to 40|reproduce completion --linear linear.st --output out --data data -q
1|scripts/fetch-mnist DIR fetches MNIST|reproduce lora --output out --data none
1|a border of 14 leaves nothing|train -o x --data data --validation 2 --border 14 --metrics lines.jsonl --no-peak -q
1|none: cannot open: No such file|train -o x --bytes none
1|none: cannot open: No such file|mlp eval --model none
1|none: cannot open: No such file|lora info --adapter none
1|none: cannot open: No such file|reproduce all --compare none --output out --data data
1|data: is a directory, expected a regular file|generate --model data --prompt a
1|expected a file train-images-idx3-ubyte or|mlp train -o x --data empty
1|scripts/fetch-mnist DIR fetches MNIST|train -o x --data none
1|damaged/train-images-idx3-ubyte.gz: damaged gzip data|train -o x --data damaged
1|damaged/t10k-images-idx3-ubyte.gz: damaged gzip data|mlp eval --model mlp.st --data damaged
1|expected 40 labels, one for each image, got 60|mlp eval --model mlp.st --data mixed
1|nothing: the file ends within its IDX header|complete --model linear.st --images nothing
1|not an IDX file|complete --model linear.st --images mlp.st
1|data/t10k-labels-idx1-ubyte: expected 3 dimensions, got 1|complete --model linear.st --images data/t10k-labels-idx1-ubyte
1|nothing: 0 bytes are too few for a safetensors file|generate --model nothing --prompt a
1|junk: not a safetensors file|generate --model junk --prompt a
1|cut.st: tensor|eval bits --model cut.st --data data
1|mlp.st: not a transformer file|train -o x --validation 2 --data data --from mlp.st
1|linear.ad: not a transformer file|generate --model linear.ad --png x
1|linear.st: not an MLP model file|mlp eval --model linear.st --data data
1|mlp.st: not an adapter file|lora merge --model mlp.st --adapter mlp.st -o x
1|mlp.ad: neither a classifier nor a transformer|lora info --adapter mlp.ad --model mlp.ad
1|mlp.ad: neither a classifier nor a transformer|lora merge --model mlp.ad --adapter mlp.ad -o x
1|mlp.ad: neither a classifier nor a transformer|lora train --model mlp.ad --data data -o x
1|'lilac train --base linear.st' trains an adapter of it|lora train --model linear.st --data data -o x
1|is none of this base's|lora eval --model linear.st --adapter a=mlp.ad --data data
1|images of 784 pixels, expected 2 to 41|lora eval --model text.st --adapter a=text.ad --data data
1|is none of this base's|lora merge --model linear.st --adapter mlp.ad -o x
1|this base's is layers.0 (8 x 784)|lora eval --model mlp.st --adapter a=linear.ad --data data
1|is none of this base's|generate --model linear.st --adapter mlp.ad --png x
1|no linear layer matches|train -o x --validation 2 --data data --base linear.st --layers-matching *.kwery
1|nothing: 0 bytes are too few|train -o x --bytes numbers --no-peak --steps 1 --checkpoint nothing --resume -q
1|linear.st: not a checkpoint file|train -o x --bytes text.st --no-peak --steps 1 --checkpoint linear.st --resume -q
1|images of 784 pixels, expected 2 to 41|eval bits --model text.st --data data
1|the model is for 41 pixels, the images have 28 x 28|complete --model text.st --data data
1|expected a results.json that 'lilac reproduce all' has written|reproduce all --compare nothing --output out --data data
1|empty: is a directory, expected a regular file|info --json empty
1|nan-text.st: its predictions are not finite numbers|eval bits --model nan-text.st --bytes numbers
1|nan-mlp.st: its predictions are not finite numbers|mlp eval --model nan-mlp.st --data data
1|wild: its predictions are not finite numbers|lora eval --model mlp.st --adapter wild=nan-mlp.ad --data data
1|output for token 1 of sequence 0 is not a finite number|generate --model nan-text.st --prompt a
END

report 'no file or folder was written, changed or left behind' "$(diff <(echo "$files") <(all_files))"
finish
