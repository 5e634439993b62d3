#!/bin/sh
# SPDX-License-Identifier: MIT
# Checks that includes run downwards only: a file may include headers of its own folder and of the folders below it.
# usage: test_dependencies.sh SOURCE_ROOT
set -eu
cd "$1"

awk_program='
function rank_of(folder) {
    return folder in rank ? rank[folder] : 0
}
BEGIN {
    # Lowest first; what stands on one line is on one level and must not include each other.
    count = split("core kernels runtime linalg nn,attention,format data adapt model train experiments report bench cli", levels, " ")
    for (i = 1; i <= count; i++) {
        n = split(levels[i], names, ",")
        for (j = 1; j <= n; j++) {
            rank[names[j]] = i
        }
    }
}
FNR == 1 {
    folder = FILENAME
    sub(/^src\//, "", folder)
    sub(/\/.*/, "", folder)
    if (!rank_of(folder)) {
        print FILENAME ": folder " folder " has no place in the order"
        bad = 1
    }
}
/^#include "[^"]*\// {
    split($0, quoted, "\"")
    included = quoted[2]
    sub(/\/.*/, "", included)
    if (included != folder && rank_of(included) >= rank_of(folder)) {
        print FILENAME ":" FNR ": " folder " includes " quoted[2]
        bad = 1
    }
}
END {
    exit bad
}'

echo 1..1
if find src bench cli -name '*.[ch]' -exec awk "$awk_program" {} + >&2; then
    echo 'ok 1 - includes run downwards only'
else
    echo 'not ok 1 - includes run downwards only'
fi
