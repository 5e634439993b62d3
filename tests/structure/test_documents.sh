#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests what README.md and docs/ say of the source: C code compiles against the public headers, links lead to files, the
# picture of the folders shows each. Usage: CC=COMMAND test_documents.sh SOURCE_ROOT
set -u

cd "$1" || exit 1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
number=0

report() { # report TITLE PROBLEM: fails if there is a problem
    number=$((number + 1))
    if [ -z "$2" ]; then
        echo "ok $number - $1"
    else
        echo "not ok $number - $1"
        sed 's/^/# /' <<<"$2"
    fi
}

# Writes FOLDER/DOCUMENT.NUMBER.c for each block of C, its includes first. A block is part of a function; what it does
# not declare itself are the arguments.
write_blocks() { # write_blocks DOCUMENT
    awk -v stem="$folder/$(basename "$1")" '
    BEGIN {
        arguments = "lilac_context *context, lilac_mlp *model, lilac_adapter *rotated, size_t rows, " \
                    "const float *inputs, float *logits, float *workspace"
    }
    /^```c$/ { file = stem "." ++count ".c"; includes = body = ""; next }
    /^```/ {
        if (file != "") {
            printf "#include <lilac/lilac.h>\n%svoid block(%s) {\n{\n%s}\n}\n", includes, arguments, body > file
            close(file)
        }
        file = ""
        next
    }
    file == "" { next }
    /^#include/ { includes = includes $0 "\n"; next }
    { body = body $0 "\n" }' "$1"
}

for document in README.md docs/*.md; do
    write_blocks "$document"
done
[ -f "$folder/README.md.1.c" ] || echo 'Bail out! README.md has no C code'
for block in "$folder"/*.c; do
    # Examples leave out the checks of a status.
    # shellcheck disable=SC2086 # the compiler's command may be several words
    report "${block##*/}" "$($CC -std=c17 -Iinclude -Wall -Wextra -Wno-unused -Wno-unused-parameter \
        -Wno-unused-result -Werror -fsyntax-only "$block" 2>&1)"
done

# Links to files in Markdown and HTML, without those to other places and to places within a page
links() { # links DOCUMENT
    grep -oE '\]\([^)]+\)|(src|href)="[^"]+"' "$1" | sed -E 's/^\]\(|^[a-z]+="|[)"]$//g; s/#.*//' |
        grep -vE '^$|^[a-z]+:'
}
for document in README.md docs/*.md; do
    report "links of $document" "$(links "$document" | while read -r link; do
        [ -e "$(dirname "$document")/$link" ] || echo "there is no $link"
    done)"
done

# The only picture of docs/architecture.md is its first block.
shown=$(awk '/^```/ { if (inside) exit; inside = 1; next } inside' docs/architecture.md |
    grep -oE '[a-z]+(/[a-z]+)?/' | sort -u)
missing=$(for one in cli bench include/lilac src/*/ examples models tests scripts docs share; do
    grep -qx "${one%/}/" <<<"$shown" || echo "${one%/} is not shown"
done)
report 'docs/architecture.md shows all folders' "$missing"
report 'docs/architecture.md shows only folders' "$(for one in $shown; do
    [ -d "$one" ] || [ -d "src/kernels/$one" ] || echo "there is no folder $one"
done)"
echo "1..$number"
