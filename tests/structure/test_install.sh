#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs the build into a temporary folder and builds a program against what lies there, with what pkg-config says
# and nothing else: in C17 and C++17, with the shared and with the static library.
# Usage: CC=COMMAND [CXX=COMMAND] [FLAGS=OPTIONS] test_install.sh MESON BUILD_FOLDER PREFIX VERSION PROGRAM_SOURCE;
# FLAGS are what the build itself was given (a sanitizer).
set -u
shopt -s extglob

meson=$1
build=$2
prefix=$3
version=$4
source=$(realpath "$5")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
root=$folder/root
number=0

report() { # report TITLE [PROBLEM]: fails if there is a problem
    number=$((number + 1))
    if [ -z "${2:-}" ]; then
        echo "ok $number - $1"
    else
        echo "not ok $number - $1"
        sed 's/^/# /' <<<"$2"
    fi
}

touch "$folder/before"
if ! "$meson" install -C "$build" --no-rebuild --destdir "$root" >"$folder/log" 2>&1; then
    report 'meson install' "$(cat "$folder/log")"
    echo "1..$number"
    exit
fi
report 'all that is installed lies under the prefix' "$(find "$root" ! -type d ! -path "$root$prefix/*"
    grep '^/' "$build/meson-logs/install-log.txt" | grep -vE "^$root(/|\$)")"
[ ! -d "$prefix" ] || installed=$(find "$prefix" -newer "$folder/before" -iname '*lilac*' 2>/dev/null)
report 'nothing is installed where DESTDIR does not point' "${installed:-}"

pc=$(find "$root" -name lilac.pc)
library=$(find "$root" -name liblilac.so)
report 'a pkg-config file and both libraries' \
    "$([ -f "$pc" ] && [ -f "$library" ] && [ -f "${library%.so}.a" ] || find "$root")"
export PKG_CONFIG_SYSROOT_DIR=$root
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
# This library is to be found at run time, and no other that may be installed.
export LD_LIBRARY_PATH=${library%/*}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
report 'the version' "$([ "$(pkg-config --modversion lilac)" = "$version" ] || pkg-config --modversion lilac 2>&1)"
# What is linked once must go on working with every later version of the same soname.
soname=$(readelf -d "$library" | sed -n 's/.*soname: \[\(.*\)\]/\1/p')
report "the soname leads to version $version" \
    "$([ "$(readlink -f "${library%/*}/$soname")" = "$(readlink -f "$library")" ] &&
        [ "$(basename "$(readlink -f "$library")")" = "liblilac.so.$version" ] &&
        [[ $soname == liblilac.so.+([0-9]) ]] || echo "soname $soname, $(ls "${library%/*}")")"
problem=
for file in LICENSE README.md docs/attention.md examples/stream.c; do
    [ -f "$root$prefix/share/doc/lilac/$file" ] || problem="$problem$file is missing "
done
report 'licence, documentation and examples' "$problem"
problem=
[ ! -e "$root$prefix/bin" ] || for file in man/man1/lilac.1 bash-completion/completions/lilac; do
    grep -q 'Made by the program' "$root$prefix/share/$file" 2>/dev/null || problem="$problem$file is missing "
done
report "the program's manual page and completion" "$problem"

try() { # try TITLE LINK SOURCE COMMAND...: builds a program outside of the source tree and runs it
    local title=$1 link=$2 program=$3
    shift 3
    if [ $# -eq 0 ]; then
        report "$title # SKIP no C++ compiler"
        return
    fi
    # shellcheck disable=SC2046,SC2086 # options are meant to be split
    report "$title" "$(cd "$folder" && {
        "$@" ${FLAGS:-} -Wall -Wextra -Wpedantic -Werror $(pkg-config --cflags lilac) "$program" -x none -o program \
            $(pkg-config $link --libs lilac) && ./program >output && grep -q '^attention: 5.0000$' output
    } 2>&1 || echo failed)"
    if [ -n "$link" ]; then
        report "$title: needs no liblilac.so" "$(readelf -d "$folder/program" | grep -F 'Shared library: [liblilac')"
    else
        report "$title: needs $soname" \
            "$(readelf -d "$folder/program" | grep -qF "Shared library: [$soname]" || echo 'it does not')"
    fi
}

# shellcheck disable=SC2086 # a compiler's command may be several words
both() { # both TITLE LINK
    try "C17, $1" "$2" "$source" $CC -std=c17 -x c
    try "C++17, $1" "$2" "$source" ${CXX:+$CXX -std=c++17 -x c++}
}
both 'shared library' ''
# Where both are there, linkers take the shared one.
rm -f "${library%/*}"/liblilac.so*
both 'static library' --static
"$root$prefix/bin/lilac" --version >"$folder/output" 2>&1 || echo >"$folder/output"
[ ! -e "$root$prefix/bin" ] ||
    report 'the program runs alone' "$(grep -qx "lilac $version.*" "$folder/output" || cat "$folder/output")"
# The data set is asked for after the models, and is missing.
(cd "$folder" && "$root$prefix/bin/lilac" reproduce completion --data root) >"$folder/output" 2>&1
[ ! -e "$root$prefix/bin" ] || report 'the program finds the models' "$(grep -q 'root: expected a file' "$folder/output" &&
    ! grep -q 'is not there' "$folder/output" || cat "$folder/output")"
echo "1..$number"
