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
title="a server tells what steps take and what was predicted" n=$((n + 1))
serve() { # ARGUMENTS...: sets server, port
    "$strata" serve --device gpu -t 1 --parallel 2 --host 127.0.0.1 --port 0 "$@" >"$dir/out" 2>"$dir/err" </dev/null &
    server=$! port=
    for _ in $(seq 100); do
        port=$(sed -n 's,^ready: http://127.0.0.1:\([0-9]*\)/.*,\1,p' "$dir/out")
        [ -z "$port" ] || return 0
        sleep 0.2
    done
    fail "it does not listen"
}
asks() { # the answer: head and body
    exec 3<>"/dev/tcp/127.0.0.1/${port:-0}"
    local body='{"prompt":"Once","max_tokens":4,"ignore_eos":true}' # a drawn token may end an answer
    printf 'POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' ${#body} "$body" >&3
    cat <&3 >"$dir/answer"
    exec 3>&-
}
ends() { kill $server && wait $server || fail "its status is not 0"; }
serve -m $model --vram 38M -c 256 -v
asks
ends
says err "device memory: weights "
says err "stream slots "
says err " warmup_steps=0 "
says answer '"completion_tokens":4'
says err "weights outside the device come in every step bytes_device="
says err "steps with weights from outside the device steps="
grep -q "step_ms=[0-9.]* predicted_ms=[0-9.]* bus_gbs=" "$dir/err" || fail "no step beside its prediction"
title="first steps are taken while loading, unless they are not wanted" n=$((n + 1))
serve -m $model -c 256
asks
ends
says answer '"completion_tokens":4'
grep -q " warmup_steps=[1-9][0-9]* warmup_seconds=0.[0-9]" "$dir/err" || fail "none were taken"
serve -m $model -c 256 --no-warmup
asks
ends
says err " warmup_steps=0 "
serve -m $model -c 256 --vram 38M --warmup
asks
ends
grep -q " warmup_steps=[1-9]" "$dir/err" || fail "none were taken with weights that come in every step"
title="a file cut short under a server is an error that names no path" n=$((n + 1))
cp $model "$dir/short.gguf"
serve -m "$dir/short.gguf" --vram 33M --ram 6M -c 128
asks
says answer '"completion_tokens":4'
truncate -s 12000000 "$dir/short.gguf"
asks
says answer "500 Internal Server Error"
says answer "A file of the model could not be read; the server's log says which."
! grep -qF "$dir" "$dir/answer" || fail "the answer names the file"
ends
says err "$dir/short.gguf"
for option in "--offload stream" "--ram 1G" "--pcie-gbs 1" "--transit coded" "--ram-format q4_0" "--disk-io uring"; do
    title="$option without a GPU" n=$((n + 1))
    # shellcheck disable=SC2086 # an option and its value
    ! "$strata" bench -m $model --device cpu -p 0 -n 2 -r 1 $option >"$dir/out" 2>"$dir/err" || fail "it was not refused"
    says err "${option%% *} was given, but the model would be computed on the CPU"
done
title="nothing to code" n=$((n + 1))
! "$strata" bench -m $model --device gpu --vram 27M -t 1 -p 0 -n 2 -r 1 --transit coded >"$dir/out" 2>"$dir/err" || fail "it was not refused"
says err "no weight would be smaller coded"
title="early exit is refused with the reason" n=$((n + 1))
! "$strata" ask -m $model --device gpu --vram 27M -t 1 -c 64 --early-exit 0.9 x >"$dir/out" 2>"$dir/err" || fail "it was not"
says err "early exit of a model whose weights do not all lie on the device"
echo "streaming: $((n - failed)) passed, $failed failed"
[ $failed = 0 ]
