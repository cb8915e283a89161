#!/bin/bash
# A model larger than its device, from the command line: the program with the made-up device as its GPU.
# usage: streaming_test.sh PATH/TO/strata-fake   (in the top of the tree)
set -eu
strata=$(realpath "$1")
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
export XDG_CACHE_HOME=$dir
model=models/strata-demo-base-Q4_K_M.gguf
n=0 failed=0
fail() { failed=$((failed + 1)); echo "FAILED: $title: $1"; sed 's/^/    /' "$dir/out" "$dir/err"; }
runs() { # runs TITLE ARGUMENTS...
    title=$1 n=$((n + 1))
    shift
    "$strata" "$@" -m $model --device gpu --vram 27M -t 1 >"$dir/out" 2>"$dir/err" </dev/null || fail "exit status $?"
}
says() { grep -qF -- "$2" "$dir/$1" || fail "no \"$2\" on std$1"; }

runs "the first start measures" bench -p 0 -n 4 -r 1 -v
says err "figures of this machine: measured now"
says out "the CPU computes"
runs "the second knows" bench -p 0 -n 4 -r 1 -v
says err "figures of this machine: of an earlier start, from $dir/strata/start-"
runs "rows have both sides" bench -p 0 -n 8 -r 1 --json
for key in step_ms cpu_gbs cpu_idle_ms bus_gbs bus_idle_ms cpu_share; do says out "\"$key\": "; done
runs "streamed alone, the CPU computes nothing" bench -p 0 -n 4 -r 1 --json --offload stream
says out '"cpu_share": 0,'
printf '{"custom_id":"%s","method":"POST","url":"/v1/completions","body":{"prompt":"Once","max_tokens":4}}\n' a b c >"$dir/batch"
runs "a file of requests is answered while weights stream" bench --batch-file "$dir/batch" --output "$dir/results" -b 1 -c 64 --json
says out '"answered": 3,'
runs "blocks left out do not hinder it" ask --raw --temperature 0 --skip-threshold 0.97 -v -n 4 -c 64 Once
says err "feed-forward blocks are left out"
title="early exit is refused with the reason" n=$((n + 1))
! "$strata" ask -m $model --device gpu --vram 27M -t 1 -c 64 --early-exit 0.9 x >"$dir/out" 2>"$dir/err" || fail "it was not"
says err "early exit of a model whose weights do not all lie on the device"
echo "streaming: $((n - failed)) passed, $failed failed"
[ $failed = 0 ]
