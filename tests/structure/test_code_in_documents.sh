#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests that the C code in README.md and docs/ compiles against the public headers. A block is a part of a function;
# what it does not declare itself are the arguments below.
# Usage: CC=COMMAND test_code_in_documents.sh SOURCE_ROOT
set -u

cd "$1" || exit 1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# DOCUMENT.NUMBER.c for each block, its includes first.
for document in README.md docs/*.md; do
    awk -v stem="$folder/$(basename "$document")" '
    function finish() {
        printf "#include <lilac/lilac.h>\n%s%s {\n{\n%s}\n}\n", includes, start, body > file
        close(file)
        file = ""
    }
    BEGIN {
        start = "void block(lilac_context *context, lilac_mlp *model, lilac_adapter *rotated, size_t rows, " \
                "const float *inputs, float *logits, float *workspace);\n" \
                "void block(lilac_context *context, lilac_mlp *model, lilac_adapter *rotated, size_t rows, " \
                "const float *inputs, float *logits, float *workspace)"
    }
    /^```c$/ { file = stem "." ++count ".c"; includes = body = ""; next }
    /^```/ { if (file != "") finish(); next }
    file == "" { next }
    /^#include/ { includes = includes $0 "\n"; next }
    { body = body $0 "\n" }' "$document"
done

number=0
[ -f "$folder/README.md.1.c" ] || echo 'Bail out! README.md has no C code'
for block in "$folder"/*.c; do
    number=$((number + 1))
    # shellcheck disable=SC2086 # the compiler's command may be several words; examples leave out the checks of a status
    if problem=$($CC -std=c17 -Iinclude -Wall -Wextra -Wno-unused -Wno-unused-parameter -Wno-unused-result -Werror \
        -fsyntax-only "$block" 2>&1); then
        echo "ok $number - ${block##*/}"
    else
        echo "not ok $number - ${block##*/}"
        sed 's/^/# /' <<<"$problem"
    fi
done
echo "1..$number"
