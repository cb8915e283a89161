#!/bin/sh
# The program from outside: exit status, stdout and stderr of the commands.
# usage: cli_test.sh PATH/TO/strata
set -eu
strata=$1
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
n=0 failed=0

# runs STATUS 'TITLE' ARGS...: the program ends with STATUS; its output is left in $dir/out and $dir/err.
runs() {
    want=$1 title=$2 rc=0
    shift 2
    n=$((n + 1)) ok=yes
    "$strata" "$@" >"$dir/out" 2>"$dir/err" </dev/null || rc=$?
    [ $rc = "$want" ] || fail "exit status $rc, not $want"
}
fail() {
    [ $ok = no ] || failed=$((failed + 1))
    ok=no
    echo "FAILED: $title: $1"
    sed 's/^/    stdout: /' "$dir/out" | head -5
    sed 's/^/    stderr: /' "$dir/err" | head -5
}
says() { grep -qF -- "$2" "$dir/$1" || fail "no \"$2\" in $1"; }
silent() { [ ! -s "$dir/$1" ] || fail "$1 is not empty"; }
one_line() { [ "$(wc -l <"$dir/$1")" = 1 ] || fail "$1 is not one line"; }

runs 0 "help goes to stdout and names the commands" --help
says out "usage: strata COMMAND"
says out "version"
silent err
runs 2 "no command: the overview on stderr"
says err "usage: strata COMMAND"
silent out
runs 0 "version" --version
says out "strata 0."
one_line out
runs 2 "an unknown command is named with the nearest one" verison
says err 'unknown command "verison"; did you mean version?'
one_line err
silent out
runs 2 "an unknown command near nothing" quux
says err 'unknown command "quux"; see strata --help'
runs 2 "an option before the command" --json
says err "options follow the command"
runs 2 "an unknown option of a command" version --jsno
says err "unknown option --jsno"
silent out
runs 0 "help of a command" help version
says out "usage: strata version"
runs 2 "control characters are not echoed" "$(printf 'a\033[2J')"
says err '\x1b[2J'
runs 0 "devices lists the CPU and says why not CUDA" devices
says out "cpu      yes"
grep -q '^cuda' "$dir/out" || fail "no line for cuda"
silent err
has_cuda=$(grep -c '^cuda.* yes' "$dir/out" || true)
runs 0 "devices as JSON" devices --json
says out '"device": "cpu"'
if [ "$has_cuda" = 0 ]; then
    runs 1 "a device that cannot be had is an error with the reason" devices --device cuda
    says err 'device "cuda" was asked for, but'
    one_line err
    silent out
    runs 0 "auto falls back and says so" devices --device auto
    says out "cpu      yes"
    says err "device auto: "
fi
runs 1 "an unknown device is named" devices --device toaster
says err 'unknown device "toaster"'

if [ -e /dev/full ]; then
    title="a full disk is an error" n=$((n + 1)) ok=yes rc=0
    "$strata" help >/dev/full 2>"$dir/err" || rc=$?
    : >"$dir/out"
    [ $rc = 1 ] || fail "exit status $rc"
    says err "stdout: No space left on device"
fi
title="a reader that leaves is no error" n=$((n + 1)) ok=yes
: >"$dir/out"
{ "$strata" help 2>"$dir/err" || echo "status $?" >>"$dir/err"; } | true
silent err

echo "cli: $((n - failed)) passed, $failed failed"
[ $failed = 0 ]
