#!/bin/sh
# The program from outside: exit status, stdout and stderr of the commands.
# usage: cli_test.sh PATH/TO/strata
set -eu
strata=$(realpath "$1")
cd "$(dirname "$0")/.."
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

draft=models/strata-demo-draft-Q8_0.gguf
runs 0 "bench prints a row for each test, depth and batch" bench -m $draft -p 8,16 -n 4 -d 0,32 -b 1,3 -r 1
[ "$(grep -cE '^(pp8|pp16|tg4) ' "$dir/out")" = 12 ] || fail "not twelve rows"
runs 0 "bench as JSON has the promised fields" bench -m $draft -p 0 -n 4 -t 1 -r 1 --json
for key in model device backend threads test depth batch tok_s tok_s_min tok_s_max runs mbu mfu; do says out "\"$key\": "; done
says out '"test": "tg4"'
says out '"threads": 1,'
silent err
runs 1 "a context the model was not trained for is named" bench -m $draft -p 1025 -n 0
says err "context of 1025 tokens asked; the model was trained for 1024"
one_line err
runs 1 "a missing model is named" bench -m "$dir/nothing.gguf"
says err "nothing.gguf: No such file or directory"
one_line err
runs 1 "a file that is no model is named" bench -m tests/cli_test.sh
says err "tests/cli_test.sh"
one_line err
runs 2 "a wrong number is named with its range" bench -b 0
says err "--batch 0: must be in 1 .. 1024"

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
