#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests how the tests are counted. Usage: test_count_tests.sh SCRIPT
set -u

script=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0

# A log of meson test with one executable, whose output is standard input.
section() { # section RESULT
    printf '==================================== 1/2 =====================================\n'
    printf 'test:         sample\nstart time:   18:37:17\nduration:     0.06s\nresult:       %s\n' "$1"
    printf 'command:      sample\n----------------------------------- stdout -----------------------------------\n'
    cat
    printf '==============================================================================\n\n'
}

counts() { # counts DESCRIPTION MESON_STATUS LAST_LINES EXIT_CODE: the log is standard input
    number=$((number + 1))
    cat >"$work/log"
    awk -v ran="$2" -f "$script" "$work/log" >"$work/output"
    local code=$?
    if [ "$(tail -n "$(printf '%s\n' "$3" | wc -l)" "$work/output")" = "$3" ] && [ "$code" = "$4" ]; then
        echo "ok $number - $1"
    else
        echo "not ok $number - $1"
        echo "# exit code $code"
        sed 's/^/# /' "$work/output"
    fi
}

echo 1..13
printf '1..2\nok 1 - a\nok 2 - b\n# ok - tests\n' | section 'exit status 0' |
    counts 'tests that pass' 0 '2 passed, 0 failed' 0
printf '1..2\nok 1 - a\nnot ok 2 - b\n# 1 != 2\n# not ok - tests\n' | section 'exit status 1' |
    counts 'a test that fails' 1 '1 passed, 1 failed' 1
printf '1..2\nok 1 - a\nnot ok 2 # SKIP b\n' | section 'exit status 0' |
    counts 'a test that cmocka skips' 0 '1 passed, 0 failed, 1 skipped' 0
printf '1..2\nok 1 - a\nok 2 - b # SKIP no data\n' | section 'exit status 0' |
    counts 'a test that a script skips' 0 '1 passed, 0 failed, 1 skipped' 0
printf '1..5\nok 1 - a\nnot ok 2 - b\n' | section 'killed by signal 6 SIGABRT' |
    counts 'a crash before the last test' 1 '1 passed, 4 failed' 1
printf '1..3\nok 1 - a\n' | section 'exit status 0' |
    counts 'an early end without an error' 0 '1 passed, 2 failed' 1
printf '1..1\nok 1 - a\n' | section 'exit status 134' |
    counts 'a crash after the last test' 1 '1 passed, 1 failed' 1
printf 'seed 42\n1..1\nnoise ok 9 - x\nok 1 - a\n' | section 'exit status 0' |
    counts 'other output' 0 '1 passed, 0 failed' 0
printf 'hello\n' | section 'exit status 0' |
    counts 'an executable without TAP' 0 '1 passed, 0 failed' 0
printf '' | section 'killed by signal 11 SIGSEGV' |
    counts 'a crash before any output' 1 '0 passed, 1 failed' 1
printf '1..1\nok 1 - a\n' | section 'exit status 0' |
    counts 'meson test failing for another reason' 1 '1 passed, 1 failed' 1
{
    printf '1..1\nok 1 - a\n' | section 'exit status 0'
    printf '1..1\n1..2\nok 1 - a\nok 1 - b\nok 2 - c\n' | section 'exit status 0'
} | counts 'several executables and plans' 0 '4 passed, 0 failed' 0
{
    printf '1..1\nok 1 - a\n# 40 kernel cases\n' | section 'exit status 0'
    printf '1..1\nok 1 - b\n# 2 kernel cases\n' | section 'exit status 0'
} | counts 'kernel cases' 0 'kernel cases (kernel x level x shape x kind of input): 42
2 passed, 0 failed' 0
