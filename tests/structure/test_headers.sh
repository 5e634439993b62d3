#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests that each public header compiles by itself, in C and in C++. Usage: CC=COMMAND [CXX=COMMAND] test_headers.sh
# INCLUDE_FOLDER; without CXX, C++ is skipped.
set -u

include=$1
headers=("$include"/lilac/*.h)
number=0
echo "1..$((2 * ${#headers[@]}))"

check() { # check HEADER LANGUAGE COMMAND...: reads the header as a source file of its own
    number=$((number + 1))
    local title="${1#"$include"/} in $2" problem
    shift 2
    if [ $# -eq 0 ]; then
        echo "ok $number - $title # SKIP no C++ compiler"
    elif problem=$("$@" -I"$include" -Wall -Wextra -Wpedantic -Werror -fsyntax-only 2>&1); then
        echo "ok $number - $title"
    else
        echo "not ok $number - $title"
        sed 's/^/# /' <<<"$problem"
    fi
}

for header in "${headers[@]}"; do
    # shellcheck disable=SC2086 # the compiler's command may be several words
    check "$header" C17 $CC -std=c17 -include "$header" -x c /dev/null
    # shellcheck disable=SC2086
    check "$header" C++17 ${CXX:+$CXX -std=c++17 -include "$header" -x c++ /dev/null}
done
