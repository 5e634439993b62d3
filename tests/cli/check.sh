# SPDX-License-Identifier: MIT
# For the tests of the program: runs it, looks at what it did, and prints TAP. The caller sets `lilac` to the program.

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
unset LILAC_DATA LILAC_CPU
number=0
failed=0

report() { # report DESCRIPTION PROBLEM: one test, which failed unless PROBLEM is empty
    number=$((number + 1))
    if [ -z "$2" ]; then
        echo "ok $number - $1"
    else
        failed=$((failed + 1))
        echo "not ok $number - $1"
        echo "# $2"
        sed 's/^/# /' output errors
    fi
}

# Runs the program and looks at its exit code and, for the texts given, at its output (out=) and its errors (err=).
expect() { # expect CODE [out=TEXT | err=TEXT]... -- ARGUMENT...
    local wanted=$1 texts=() text problem=
    shift
    while [ "$1" != -- ]; do
        texts+=("$1")
        shift
    done
    shift
    "$lilac" "$@" >output 2>errors
    local code=$?
    [ $code = "$wanted" ] || problem="exit code $code instead of $wanted"
    for text in ${texts[@]+"${texts[@]}"}; do
        case $text in
        out=*) grep -qF -- "${text#out=}" output || problem="missing in the output: ${text#out=}" ;;
        err=*) grep -qF -- "${text#err=}" errors || problem="missing in the errors: ${text#err=}" ;;
        esac
    done
    report "lilac $*" "$problem"
}

finish() { # the last line: how many tests there were; fails if one did
    echo "1..$number"
    [ $failed = 0 ]
}
