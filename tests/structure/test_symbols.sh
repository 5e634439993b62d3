#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests that the shared library exports what the public headers declare with LILAC_API, and nothing else.
# Usage: test_symbols.sh LIBRARY INCLUDE_FOLDER
set -u

library=$1
include=$2
echo 1..2

declared() {
    cat "$include"/lilac/*.h | tr '\n' ' ' | grep -oE 'LILAC_API [^;(]*\(' | grep -oE 'lilac_[a-z0-9_]+\($' | tr -d '('
}

exported() { # AddressSanitizer adds names of its own
    nm --dynamic --defined-only --format=posix "$library" | cut -d ' ' -f 1 | grep -v '^__odr_asan'
}

report() { # report NUMBER DESCRIPTION NAMES: fails if there are any names
    if [ -z "$3" ]; then
        echo "ok $1 - $2"
    else
        echo "not ok $1 - $2"
        sed 's/^/# /' <<<"$3"
    fi
}

report 1 'all that is declared is exported' "$(comm -23 <(declared | sort -u) <(exported | sort -u))"
report 2 'all that is exported is declared' "$(comm -13 <(declared | sort -u) <(exported | sort -u))"
[ -n "$(declared)" ] || echo 'Bail out! no declaration was found'
