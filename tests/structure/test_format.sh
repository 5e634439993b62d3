#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests that clang-format would leave the source as it is. Skipped where it is not there in the version that .clang-format
# was written for. Usage: test_format.sh SOURCE_ROOT
set -u

cd "$1" || exit 1
version=$(sed -n 's/^# For clang-format \([0-9]*\).*/\1/p' .clang-format)
echo 1..1
for program in "clang-format-$version" clang-format; do
    if "$program" --version 2>/dev/null | grep -q "version $version\."; then
        problem=$(find src cli include bench examples tests -name '*.[ch]' -exec "$program" --dry-run -Werror {} + 2>&1 |
            grep 'error:')
        if [ -z "$problem" ]; then
            echo 'ok 1 - the source is formatted'
        else
            echo 'not ok 1 - the source is formatted'
            sed 's/^/# /' <<<"$problem"
        fi
        exit
    fi
done
echo "ok 1 - the source is formatted # SKIP there is no clang-format $version"
