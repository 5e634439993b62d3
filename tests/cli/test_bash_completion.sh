#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests what the program says of itself to other programs: completion for bash, and the manual page.
# Usage: test_bash_completion.sh PROGRAM
set -u

lilac=$(realpath "$1")
. "$(dirname "$0")/check.sh"

expect 0 'out=complete -F _lilac lilac' -- help --bash-completion
cp output lilac.bash
report 'bash reads the completion' "$(bash -n lilac.bash 2>&1)"
. ./lilac.bash

# Outside of readline there is nothing to hand such a wish to; remember it instead.
compopt() {
    wish=$2
}

# Completes the last word, as readline would have it, '=' being a word of its own.
completed() { # completed WORD...
    COMP_WORDS=(lilac "$@")
    COMP_CWORD=$#
    wish=
    COMPREPLY=()
    _lilac
    echo "${COMPREPLY[*]}${wish:+[$wish]}"
}

check() { # check EXPECTED WORD...
    local expected=$1 got
    shift
    got=$(completed "$@")
    report "completion of: lilac $*" "$([ "$got" = "$expected" ] || echo "'$got' instead of '$expected'")"
}

check 'train' tr
check 'lora' lo
check 'train eval merge info --help' lora ''
check 'merge' lora m
check '--help --version' --
check '--model' lora eval --mo
check '--adapter' generate --ad
check '--threads' info --th
check 'quantized' train --variant q
check 'scalar avx2 avx512' info --cpu ''
check 'avx2 avx512' info --cpu = av
check 'scalar avx2 avx512' info --cpu =
check 'alpha/r alpha/sqrt\(r\)' lora train --scale al
check '[default]' train --output mo
check '[default]' train -o mo
check '[default]' train --output = mo
check '[default]' lora eval --adapter name =
check '[default]' lora eval --adapter name = ro
check '[dirnames]' train --data x
check '' train --layers 1
check 'bench' help be
check 'peak lora attention encoder matmul transformer --help' help bench ''
check '' help train --o
check '' nonsense ''
check '' lora nonsense ''

# Every command and every option of its help can be completed, and nothing else.
mapfile -t commands < <("$lilac" --help | sed -n 's/^  \([a-z]\+\( [a-z]\+\)\?\)  .*/\1/p')
for command in "${commands[@]}"; do
    # shellcheck disable=SC2086 # a command may be two words
    known=$("$lilac" $command --help | sed -n 's/^  \(-., \)\?--\([a-z0-9-]*\).*/--\2/p' | sort)
    # shellcheck disable=SC2086
    offered=$(completed $command -- | tr ' ' '\n' | sort)
    report "lilac $command: completion offers the options of the help" "$(diff <(echo "$known") <(echo "$offered"))"
done

# The manual page
expect 0 'out=.Dt LILAC 1' -- help --man
cp output lilac.1
problem=
for command in "${commands[@]}"; do
    grep -qx ".Ss lilac $command" lilac.1 || problem="nothing about lilac $command"
done
report 'the manual page tells of all commands' "$problem"
if command -v mandoc >/dev/null; then
    report 'mandoc finds nothing to say of the manual page' "$(mandoc -Tlint -Wstyle lilac.1 2>&1)"
fi
if command -v groff >/dev/null; then
    report 'groff neither' "$(groff -mdoc -Tutf8 -ww lilac.1 2>&1 >/dev/null)"
fi

finish
