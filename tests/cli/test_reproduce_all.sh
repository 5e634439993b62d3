#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests the reproduction of the whole report on a small data set. Usage: test_reproduce_all.sh PROGRAM CHECK_PAGE
set -u

lilac=$(realpath "$1")
check_page=$(realpath "$2")
tests=$(realpath "$(dirname "$0")")
. "$tests/check.sh"
. "$tests/sample_data.sh"
sample_data data
export LILAC_DATA=$work/data
# Threads that spin while they wait would keep those from working that they wait for.
export OMP_WAIT_POLICY=passive

for attention in linear softmax; do
    expect 0 -- train --output $attention.st --attention $attention --steps 3 --batch 2 --layers 1 --heads 2 \
        --head-size 4 --feed-forward 16 --value-width 8 --position-width 8 --mixtures 2 --validation 5 --no-peak
done
models='--linear linear.st --softmax softmax.st'

# The page's figures are those of the results file, and it needs nothing from elsewhere.
check() { # check DIR LEAST
    "$check_page" "$1/index.html" "$1/results.json" >figures
    local code=$? problem=
    [ $code = 0 ] || problem=$(cat figures)
    [ "$(sed -n 's/ figures$//p' figures)" -ge "$2" ] || problem="only $(cat figures)"
    report "$1: the page's figures are those of results.json" "$problem"
    report "$1: the page is self-contained" \
        "$(grep -oE '(src|href)="[^"]*' "$1/index.html" | grep -vE '="(data:image/png|#)'; grep -oE '<script|@import' "$1/index.html")"
}

expect 0 'out=Saved one/results.json' 'out=Saved one/index.html' 'err=Completion of occluded digits' \
    'out=completed, softmax' 'out=Width 64' -- \
    reproduce all --quick --parts completion,lora $models --output one
check one 240
report 'both models are in the page' "$(grep -q 'linear attention; completed with softmax' one/index.html || echo no)"
report 'the page says that it is a quick look' "$(grep -q 'A quick look' one/index.html || echo no)"
report 'the page says what was not asked for' "$(grep -q 'not asked for (--parts)' one/index.html || echo no)"
report 'the page says how many images bits are of' \
    "$(grep -q 'Here: the first <[^>]*test_images_for_bits">100<.*; in the report: all 10000' one/index.html || echo no)"
report 'ranks of change without published ones are not marked as others' "$(grep -o 'not the report' one/index.html)"
report 'pictures are in the page' "$([ "$(grep -o 'data:image/png;base64,iVBOR' one/index.html | wc -l)" = 2 ] || echo no)"

# Without transformers, beside the earlier results, and where a full run's results lie
mkdir two
echo '{"experiment": "all", "size": "full"}' >two/results.json
cp two/results.json full.json
program=$lilac
cp "$program" .
lilac=$work/lilac
expect 0 'err=models/linear.safetensors is not there' 'out=Changed since the earlier results' \
    'out=two/results.json holds more than this run and stays' -- \
    reproduce all --quick --parts completion,lora --compare one/results.json --output two --seed 2
lilac=$program
report 'a quick run does not replace a full one' "$(cmp two/results.json full.json 2>&1; ls two/index.html 2>/dev/null)"
check two/partial 210
report 'the page says what is missing and what to do' \
    "$(grep -q 'neither models/linear.safetensors nor models/softmax.safetensors is there: .*lilac train' two/partial/index.html || echo no)"
report 'the changes stand in the page' "$(grep -q 'What changed since' two/partial/index.html || echo no)"
report 'figures that are in one alone are counted' \
    "$(grep -q '^Not compared, .*: [1-9][0-9]* of the earlier figures, 0 of these' output || echo no)"
report 'figures that changed are named' "$(grep -q 'lora, widths, hidden 64, lora, rank 1' output || echo no)"
expect 0 'out=Saved out/quick/index.html' -- \
    reproduce all --quick --parts lora --seed 2 --compare two/partial/results.json --threads 1
report 'the same seed gives the same figures' "$(grep '^  lora' output | grep -v ', times,')"

# What can be refused is refused before anything long begins.
expect 2 "err=--parts: expected attention, completion or lora" -- reproduce all --parts atention
echo '{}' >wrong.json
expect 1 'err=wrong.json: expected a results.json' -- reproduce all --compare wrong.json
expect 1 'err=missing.st' -- reproduce all --linear missing.st
expect 1 'err=600 test images to complete, expected 1 to 500' -- reproduce all $models --output four
: >in-the-way
expect 1 'err=cannot make the folder in-the-way' -- reproduce all --parts lora --output in-the-way
report 'nothing is left behind' "$(find . -name '.lilac-*')"

# An interrupt keeps what was finished, and what an earlier run has found.
cp -r one five
"$lilac" reproduce all --quick --parts attention,lora --output five >output 2>errors &
program=$!
while kill -0 $program && ! grep -q '^\[3/' errors; do
    sleep 0.1
done
kill -TERM $program
wait $program
code=$?
report 'an interrupt shows in the exit code' "$([ $code = 143 ] || echo "exit code $code")"
check five/partial 20
report 'an interrupted run does not replace a fuller one' \
    "$(cmp one/results.json five/results.json 2>&1; cmp one/index.html five/index.html 2>&1)"
report 'the page says what is missing after an interrupt' \
    "$(grep -q 'not reached: the run was interrupted' five/partial/index.html || echo no)"

finish
