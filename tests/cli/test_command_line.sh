#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests the program's command line: help, errors, exit codes. Usage: test_command_line.sh PROGRAM
set -u

lilac=$(realpath "$1")
. "$(dirname "$0")/check.sh"

# The commands, as the overview lists them: lines of two spaces, one or two words, and a summary after more spaces.
mapfile -t commands < <("$lilac" --help | sed -n 's/^  \([a-z]\+\( [a-z]\+\)\?\)  .*/\1/p')
[ ${#commands[@]} -gt 0 ] || echo 'Bail out! the overview lists no command'

for command in "${commands[@]}"; do
    # shellcheck disable=SC2086 # a command may be two words
    expect 0 "out=usage: lilac $command" out=Example: "out=--help" -- $command --help
    problem=
    # shellcheck disable=SC2086
    "$lilac" help $command | cmp -s - output || problem='not the text of --help'
    report "lilac help $command" "$problem"
    problem=
    [ "$(awk '{ if (length($0) > 80) print }' output)" = '' ] || problem='a line of more than 80 characters'
    report "lilac $command: help fits the screen" "$problem"
    # shellcheck disable=SC2086
    expect 2 "err=unknown option '--hepl'; did you mean '--help'?" "err=Try 'lilac $command --help'" -- $command --hepl
    # shellcheck disable=SC2086
    expect 2 "err=unexpected argument 'stray'" -- $command stray
done

expect 0 'out=To begin with:' -- --help
expect 0 'out=To begin with:' -- -h
expect 0 'out=To begin with:' -- help
report 'the overview fits the screen' "$("$lilac" --help | awk 'length($0) > 80')"
expect 0 'out=Commands:' 'out=lora merge' -- lora --help
expect 0 'out=lilac 0.' -- --version
expect 2 'err=To begin with:' --
expect 2 "err=unknown command 'ifno'; did you mean 'info'?" -- ifno
expect 2 "err=unknown command 'TRAIN'; did you mean 'train'?" -- TRAIN
expect 2 "err=unknown command '--vers'; did you mean '--version'?" -- --vers
expect 2 "err=lilac lora: a command is missing: train, eval, merge or info" -- lora
expect 2 "err=lilac eval: a command is missing: bits" -- eval
expect 2 "err=lilac lora: unknown command 'trian'; did you mean 'lora train'?" -- lora trian
expect 0 'out=lilac 0.' -- -V
expect 2 "err=unknown command 'xyzzy'" "err=Try 'lilac --help'" -- xyzzy
expect 2 'err=options come after the command' -- --threads 2 info
expect 2 "err=unknown command 'ifno'" -- help ifno

expect 0 'out=Lilac' 'out=Matrix products' -- info
expect 0 'out=softmax_attention: scalar' 'out=f32 arithmetic' -- info --cpu scalar --threads=1 --quiet
expect 0 'out=Peak in f32' 'out=Reading memory' 'out=Saved machine.json' -- info --peaks --json machine.json --cpu scalar
report 'lilac info: the file tells of kernels, caches and peaks' "$(for text in '"layer_norm":[[:space:]]*"scalar"' \
    '"cache_bytes":' '"bf16_attention":[[:space:]]*"f32 arithmetic"' '"f16_all":[[:space:]]*0' \
    '"read_memory_all":[[:space:]]*[0-9.]*[1-9]'; do grep -q "$text" machine.json || echo "no $text"; done)"
expect 1 'err=no/such/machine.json' -- info --json no/such/machine.json
expect 2 "err=--threads: expected a whole number from 1 to 1024, got '0'" -- info --threads 0
expect 2 "err=--cpu: expected one of scalar|avx2|avx512, got 'mmx'" -- info --cpu mmx
expect 2 "err=got 'AVX2'; did you mean 'avx2'?" -- info --cpu AVX2
expect 2 'err=--threads needs a value' -- info --threads
LILAC_CPU=scalar expect 0 'out=scalar' 'err=LILAC_CPU allows' -- info --cpu avx2
LILAC_CPU=mmx expect 2 'err=LILAC_CPU: expected scalar, avx2 or avx512' -- info

expect 0 'out=f32 multiply and add' 'out=reading 512 MiB' -- bench peak
expect 0 'out=of peak' 'out=Peak of 1 thread' -- bench lora --hidden 8,16 --rank 0,2 --batch 32 --threads 1 --cpu scalar
expect 0 'out=generation' 'out=weight gradient' 'out=f16 ms' 'out=Peak of 1 thread' -- \
    bench matmul --tokens 9 --rows 1 --width 16 --feed-forward 32 --threads 1 --cpu scalar

plot=()
command -v gnuplot >/dev/null && plot=(--plot time.svg)
expect 0 'out=softmax, causal' 'out=linear faster from' 'out=Peak of 1 thread' 'out=Saved figures.json' -- \
    bench attention --tokens 32,16 --size 4 --heads 2 --threads 1 --cpu scalar --json figures.json ${plot[@]+"${plot[@]}"}
problem=
for text in '"tokens":[[:space:]]*16,' '"extra_bytes":[[:space:]]*[1-9]' \
    '"linear_exponent":[[:space:]]*null' '"share_of_peak":[[:space:]]*[0-9]'; do
    grep -q "$text" figures.json || problem="missing in the file: $text"
done
[ "$(grep -c '"tokens"' figures.json)" = 8 ] || problem='not two lengths of four curves'
report 'lilac bench attention: the file holds the figures' "$problem"
expect 1 'err=no/such/figures.json' -- bench attention --tokens 16 --json no/such/figures.json
if [ ${#plot[@]} -gt 0 ]; then
    problem=
    grep -q 'softmax, causal' time.svg || problem='a curve is missing'
    grep -q 'bf16 forward, D = 4' time.svg || problem='a panel is missing'
    report 'lilac bench attention: the figure shows the curves' "$problem"
fi
problem=
PATH=/nonexistent "$lilac" bench attention --plot time.svg >output 2>errors && problem='exit code 0'
grep -q 'gnuplot is not installed' errors || problem='no message'
report 'lilac bench attention: that gnuplot is missing is said at once' "$problem"

expect 0 'out=One layer, 12 heads x 64' 'out=Linear faster' 'out=Peak of 1 thread' 'out=Saved encoder.json' -- \
    bench encoder --tokens 16,8 --batch 2 --runs 1 --threads 1 --cpu scalar --json encoder.json \
    ${plot[@]+"${plot[@]/time/encoder}"}
problem=
for text in '"tokens":[[:space:]]*8,' '"batch":[[:space:]]*2,' '"share_of_peak":[[:space:]]*[0-9]' \
    '"milliseconds_per_sequence":[[:space:]]*[0-9]' '"linear_exponent":[[:space:]]*null' '"linear_faster_from"'; do
    grep -q "$text" encoder.json || problem="missing in the file: $text"
done
[ "$(grep -c '"tokens"' encoder.json)" = 4 ] || problem='not two lengths of two curves'
report 'lilac bench encoder: the file holds the figures' "$problem"
expect 0 'out=8 layers, 8 heads x 64' 'out=softmax' -- bench encoder --experiment inference --tokens 8 --runs 1
expect 1 'err=no/such/figures.json' -- bench encoder --tokens 16 --json no/such/figures.json
if [ ${#plot[@]} -gt 0 ]; then
    problem=
    grep -q '>softmax<' encoder.svg || problem='a curve is missing'
    report 'lilac bench encoder: the figure shows the curves' "$problem"
fi

expect 0 'out=1 layers, 2 heads x 4, width 8' 'out=A training step of 3 sequences, 2 at a time' 'out=softmax' \
    'out=the mean of 4 of the 10 that complete 10 tokens, after prompts of 13' 'out=Peak of 1 thread' \
    'out=Saved transformer.json' -- bench transformer --layers 1 --heads 2 --head-size 4 --feed-forward 8 --tokens 20 \
    --batch 3 --steps 1 --sequences 1,3 --generated 4 --threads 1 --cpu scalar --json transformer.json
problem=
for text in '"width":[[:space:]]*8,' '"milliseconds_per_step":[[:space:]]*[0-9]' '"share_of_peak":[[:space:]]*[0-9]' \
    '"share_of_f32_peak":[[:space:]]*[0-9]' '"times_as_fast_as_f32":[[:space:]]*null' \
    '"activation_bytes":[[:space:]]*[1-9]' '"state_bytes":[[:space:]]*[1-9]' '"steps_timed":[[:space:]]*4,'; do
    grep -q "$text" transformer.json || problem="missing in the file: $text"
done
[ "$(grep -c '"micro_batch"' transformer.json)" = 6 ] || problem='not six kinds of training'
[ "$(grep -c '"sequences"' transformer.json)" = 8 ] || problem='not eight kinds of generation'
report 'lilac bench transformer: the file holds the figures' "$problem"
expect 1 'err=no/such/figures.json' -- bench transformer --json no/such/figures.json

# A full disk and a closed pipe are failures.
problem=
"$lilac" info >/dev/full 2>errors && problem='exit code 0'
grep -q 'No space left' errors || problem='no message'
report 'a full disk is noticed' "$problem"
problem=
{
    # Once this loop ends, the other end is certainly closed.
    (trap '' PIPE; while echo x; do sleep 0.01; done) 2>/dev/null
    "$lilac" info 2>errors
    echo $? >code
} | true
[ "$(cat code)" = 1 ] || problem="exit code $(cat code)"
grep -q 'Broken pipe' errors || problem='no message'
report 'a closed pipe is noticed' "$problem"

finish
