#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests that the shared library exports what the public headers declare with LILAC_API and nothing else, and that the
# static library, which cannot hide what its files share, names all of it lilac_.
# Usage: test_symbols.sh SHARED_LIBRARY STATIC_LIBRARY INCLUDE_FOLDER
set -u

shared=$1
static=$2
include=$3
echo 1..4

declared() {
    cat "$include"/lilac/*.h | tr '\n' ' ' | grep -oE 'LILAC_API [^;(]*\(' | grep -oE 'lilac_[a-z0-9_]+\($' | tr -d '('
}

exported() { # AddressSanitizer adds names of its own
    nm --dynamic --defined-only --format=posix "$shared" | cut -d ' ' -f 1 | grep -v '^__odr_asan'
}

global() { # likewise
    nm --extern-only --defined-only --format=posix "$static" | awk 'NF > 1 { print $1 }' | grep -v '^__odr_asan'
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
report 3 'the static library holds all that is declared' "$(comm -23 <(declared | sort -u) <(global | sort -u))"
report 4 'all global names of the static library start with lilac_' "$(global | grep -v '^lilac_' | sort -u)"
[ -n "$(declared)" ] || echo 'Bail out! no declaration was found'
