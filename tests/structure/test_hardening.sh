#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests what the linker and the compiler have left in the shared library and the program: no code can be run on the
# stack, addresses are bound before the start and then read-only, the program can be loaded anywhere, stack and string
# functions are checked, the targets of indirect jumps are marked.
# Usage: test_hardening.sh FILE..., with CPU (the family), SANITIZED and FORTIFIED (true or false) in the environment
set -u

number=0
echo "1..$((7 * $#))"

check() { # check DESCRIPTION STATUS
    number=$((number + 1))
    if [ "$2" -eq 0 ]; then
        echo "ok $number - $1"
    else
        echo "not ok $number - $1"
    fi
}

# A file that readelf cannot read must not pass as one without a flaw.
readable() {
    readelf --wide --file-header "$1" | grep -q 'Class:'
}

check_or_skip() { # check_or_skip CONDITION DESCRIPTION STATUS
    if [ "$1" = true ]; then
        check "$2" "$3"
    else
        number=$((number + 1))
        echo "ok $number - $2 # SKIP not in this build"
    fi
}

for file in "$@"; do
    name=${file##*/}
    segments=$(readelf --wide --segments "$file")
    dynamic=$(readelf --wide --dynamic "$file")
    symbols=$(readelf --wide --dyn-syms "$file")

    readable "$file" && grep -q 'Type: *DYN' <<<"$(readelf --file-header "$file")"
    check "$name can be loaded at any address" $?
    grep 'GNU_STACK' <<<"$segments" | grep -q ' RW '
    check "$name has a stack without code" $?
    grep -q 'GNU_RELRO' <<<"$segments" && grep -q 'NOW' <<<"$dynamic"
    check "$name binds all addresses before it starts" $?
    ! grep -q 'TEXTREL' <<<"$dynamic" && ! grep -E '^ *LOAD' <<<"$segments" | grep -q 'RWE'
    check "$name has no code that can be written" $?
    grep -q '__stack_chk_fail' <<<"$symbols"
    check "$name checks its stack" $?

    grep -qE '__(mem|str|sn?|vsn?|f)[a-z]*_chk' <<<"$symbols"
    check_or_skip "$FORTIFIED" "$name checks string functions" $?
    guarded=false
    if [ "$CPU" = x86_64 ] && [ "$SANITIZED" = false ]; then
        guarded=true
    fi
    # Each global function, and not the file's own note, which tells only whether the C library's start files are guarded,
    # too.
    unguarded=$(objdump --disassemble "$file" | awk '
        /^[0-9a-f]+ <lilac_[a-z0-9_]+>:/ { functions++; name = $2; getline; if (!/endbr64/) print "#", name }
        END { if (functions < 100) print "# only", functions + 0, "functions" }')
    [ -z "$unguarded" ]
    check_or_skip "$guarded" "$name marks where jumps may lead" $?
    [ "$guarded" = false ] || [ -z "$unguarded" ] || head -n 5 <<<"$unguarded"
done
