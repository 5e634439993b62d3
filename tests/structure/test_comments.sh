#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests that each function of the public headers has a comment directly above it, or above the first of the declarations
# that it stands among without an empty line. Usage: test_comments.sh INCLUDE_FOLDER
set -u

include=$1

# Prints each declaration without a comment. Comments of functions begin at the start of a line.
bare_declarations() {
    awk '
    FNR == 1 { commented = 0; inside = 0; declaring = 0 }
    /LILAC_API/ && !/^LILAC_API / && !/^#define LILAC_API/ {
        print FILENAME ":" FNR ": LILAC_API is not at the start of the line"
    }
    declaring { declaring = !/;$/; next }
    inside { inside = !/\*\/$/; next }
    /^\/\*/ { commented = 1; inside = !/\*\/$/; next }
    /^LILAC_API / {
        if (!commented) {
            print FILENAME ":" FNR ": " $0
        }
        declaring = !/;$/
        next
    }
    { commented = 0 }' "$@"
}

report() { # report NUMBER TITLE PROBLEM: fails if there is a problem
    if [ -z "$3" ]; then
        echo "ok $1 - $2"
    else
        echo "not ok $1 - $2"
        sed 's/^/# /' <<<"$3"
    fi
}

echo 1..3
report 1 'every function is explained' "$(bare_declarations "$include"/lilac/*.h)"
count=$(cat "$include"/lilac/*.h | grep -c '^LILAC_API ')
report 2 "there are functions: $count" "$([ "$count" -gt 0 ] || echo none)"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/sample.h" <<'SAMPLE'
/* A file. */
#include <stddef.h>

/* Both. */
LILAC_API int lilac_first(int a,
                          int b);
LILAC_API int lilac_second(void);

LILAC_API int lilac_third(void);

/* A type. */
struct lilac_type {
    int field; /* a field */
};
LILAC_API int lilac_fourth(void);
SAMPLE
found=$(bare_declarations "$folder/sample.h" | grep -o 'lilac_[a-z]*' | tr '\n' ' ')
report 3 'functions that are not explained are found' \
    "$([ "$found" = 'lilac_third lilac_fourth ' ] || echo "found: $found")"
