#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Kills the training of a transformer at random moments and lets it go on: it ends with the bytes of one that was not
# killed. LILAC_TEST_KILLS in the environment says how often. Usage: test_kill.sh PROGRAM
set -u

lilac=$(realpath "$1")
tests=$(realpath "$(dirname "$0")")
. "$tests/check.sh"
kills=${LILAC_TEST_KILLS:-12}
seed=${LILAC_TEST_SEED:-$RANDOM}
RANDOM=$seed
echo "# LILAC_TEST_SEED=$seed draws the same moments"
seq 1 3000 >numbers.txt
train=(train --bytes numbers.txt --length 24 --layers 1 --heads 2 --head-size 4 --feed-forward 8 --value-width 4
    --position-width 4 --no-peak --steps 400 --batch 2 --dropout 0.1 --validation 0)
killable=("${train[@]}" --checkpoint killed.checkpoint --checkpoint-every 3 --resume --output killed.st
    --metrics killed.jsonl --report-every 1)

expect 0 -- "${train[@]}" --output whole.st
mkdir killed
mv numbers.txt killed
cd killed || exit 1
killed=0 finished=0 files=0 problem=
# Trainings that end before they are killed are compared, and begun anew.
while [ $killed -lt "$kills" ]; do
    "$lilac" "${killable[@]}" >output 2>errors &
    process=$!
    sleep "0.$(printf %03d $((RANDOM % 400)))"
    kill -KILL $process 2>/dev/null
    wait $process 2>/dev/null
    code=$?
    if [ $code = 137 ]; then
        killed=$((killed + 1))
    elif [ $code = 0 ]; then
        finished=$((finished + 1))
        cmp -s ../whole.st killed.st || problem="$problem; other bytes after $killed kills"
        rm -f killed.checkpoint killed.st killed.jsonl
    else
        problem="$problem; exit code $code after $killed kills"
        break
    fi
    left=$(ls -A | grep -c '^\.lilac')
    [ "$left" -gt "$files" ] && files=$left
done
report "trainings killed $killed times, finished $finished times meanwhile, end with the same bytes" "$problem"
# One for the checkpoint, one for the model
report "at most $files temporary files at a time" "$([ "$files" -le 2 ] || echo 'they pile up')"

"$lilac" "${killable[@]}" >output 2>errors
report 'what was killed last is finished' "$(cmp ../whole.st killed.st 2>&1)"
report 'no temporary file is left' "$(ls -A | grep '^\.lilac')"
problem=$(sed -n 's/{"step": \([0-9]*\),.*}$/\1/p' killed.jsonl |
    awk 'NR > 1 && $1 <= last && last - $1 >= 3 { print "from step " last " back to " $1 } { last = $1 }')
report 'at most the steps since the last checkpoint are done again' "$problem"
finish
