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
    if "$strata" help | grep -q '^  ask '; then
        runs 0 "a command that computes warns once when auto falls back" ask -m models/strata-demo-draft-Q8_0.gguf --raw -n 2 Once
        says err "; the CPU computes"
        one_line err
    fi
fi
STRATA_PLUGINS=/nowhere runs 0 "plugins are looked for where STRATA_PLUGINS says" devices
grep -qE '^cuda(:0 +yes| +no +there is no /nowhere/libstrata-cuda13.so)' "$dir/out" || fail "not looked for in /nowhere"
runs 1 "a budget of GPU memory is no option of the CPU" bench --device cpu --vram 1G -m models/strata-demo-draft-Q8_0.gguf
says err "--vram was given, but"
if "$strata" help | grep -q '^  chat '; then
    runs 1 "first steps are taken while loading, or not" chat --warmup --no-warmup --device cpu -m models/strata-demo-draft-Q8_0.gguf
    says err "--warmup and --no-warmup were both given"
    runs 0 "asked for, they are taken on a CPU, too" chat --warmup --device cpu -v -m models/strata-demo-draft-Q8_0.gguf
    says err "first steps: "
    runs 0 "unasked, they are not" chat --device cpu -v -m models/strata-demo-draft-Q8_0.gguf
    ! grep -q "first steps: " "$dir/err" || fail "they were taken"
fi
runs 1 "an unknown device is named" devices --device toaster
says err 'unknown device "toaster"'

draft=models/strata-demo-draft-Q8_0.gguf
runs 0 "bench prints a row for each test, depth and batch" bench -m $draft -p 8,16 -n 4 -d 0,32 -b 1,3 -r 1
[ "$(grep -cE '^(pp8|pp16|tg4) ' "$dir/out")" = 12 ] || fail "not twelve rows"
runs 0 "the first token is part of a prompt's row" bench -m $draft -p 33 -n 0 -r 1 --ops
grep -qE '^  [0-9.]+ us a step in these lines; [0-9.]+ us when nobody looks between them; rest -?[0-9.]+ us, -?[0-9.]+ %$' "$dir/out" || fail "no sum of the lines beside a step"
awk '$1 == "linear" && $NF == "token_embd" && $8 > 0 {n++} END {exit n != 1}' "$dir/out" || fail "no product with the vocabulary"
runs 0 "what launches took, as JSON" bench -m $draft --device cpu -p 16 -n 8 -r 1 --ops --json
for key in ops step us ops_us rest_us calls_per_step of_limit limit; do says out "\"$key\": "; done
runs 0 "a prompt may fill the context" bench -m $draft -p 1024 -n 0 -r 1
runs 0 "bench as JSON has the promised fields" bench -m $draft --device cpu -p 0 -n 4 -t 1 -r 1 --json
for key in model device backend threads test depth batch tok_s tok_s_min tok_s_max runs mbu tflop_s mfu; do says out "\"$key\": "; done
says out '"test": "tg4"'
says out '"threads": 1,'
silent err
runs 1 "a context the model was not trained for is named" bench -m $draft --device cpu -p 1025 -n 0
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

# ---- a server, measured ------------------------------------------------------------------------------------------
if "$strata" help | grep -q '^  serve '; then
    runs 2 "an option of the other use of bench is named" bench --concurrency 4
    says err "--concurrency is for a server: give its --url, too"
    runs 2 "an option of a model here does not go with --url" bench --url http://127.0.0.1:1 --depth 4
    says err "--depth is for a model here, not for --url"
    runs 1 "a URL that is none is named" bench --url localhost:8080
    says err "it begins with neither http:// nor https://"
    runs 1 "nobody there: one line" bench --url http://127.0.0.1:1
    says err "http://127.0.0.1:1/v1/models: Connection refused"
    one_line err
    runs 1 "two ends of a row are one too many" bench --url http://127.0.0.1:1 --duration 1 --requests 1
    says err "--duration and --requests: one of them"
    runs 1 "a limit that there is not is named" serve --port 0 --limits messages=9,boddy=5
    says err '--limits: "boddy" is not the name of a limit'
    "$strata" serve -m $draft --null-engine --null-endless --null-text 12 --null-rate 2000 --null-prompt-rate 800 --port 0 --api-key sesame --limits body_bytes=2000 >"$dir/serve.out" 2>/dev/null &
    served=$!
    i=0
    until grep -q '^ready: ' "$dir/serve.out" || [ $i = 100 ]; do sleep 0.1; i=$((i + 1)); done
    url=$(sed -n 's/^ready: \(.*\)\/v1 .*/\1/p' "$dir/serve.out")
    runs 1 "a key that is missing is told by the server" bench --url "$url" --requests 1
    says err "status 401"
    runs 1 "a limit is what --limits says" bench --url "$url" --api-key sesame --requests 1 --prompt-tokens 1000
    says err "413: the request body is too large"
    runs 0 "bench --url prints a row for each number of clients" bench --url "$url" --api-key sesame --concurrency 1,3 --requests 6 --prompt-tokens 20 --max-tokens 8 --csv "$dir/rows.csv" --svg "$dir/rows.svg"
    [ "$(grep -cE '^ +[13] +6 +0 ' "$dir/out")" = 2 ] || fail "not two rows of six answers"
    says out "tokens are those the server told (usage)"
    [ "$(wc -l <"$dir/rows.csv")" = 3 ] || fail "not three lines of CSV"
    grep -q '</svg>' "$dir/rows.svg" || fail "the picture has no end"
    STRATA_API_KEY=sesame runs 0 "bench --url at a rate, of completions, as JSON" bench --url "$url" --api completions --request-rate 50,100 --requests 5 --max-tokens 4 --json
    for key in rate answers tok_s ttft_ms gap_ms tpot_ms total_ms p99 errors; do says out "\"$key\": "; done
    says out '"tokens": 20,' # the text is shorter, and begins again
    awk '/"ttft_ms"/ { of = 1 } of && /"min"/ { exit !($2 + 0 >= 150) }' "$dir/out" || fail "the prompt took no time"
    kill $served && wait $served 2>/dev/null || true
fi

# ---- asking ------------------------------------------------------------------------------------------------------
if "$strata" help | grep -q '^  ask '; then
    runs 0 "ask: the answer alone on stdout" ask -m $draft --device cpu --raw --temperature 0 -n 8 "Once upon a time"
    silent err
    [ -s "$dir/out" ] || fail "no answer"
    cp "$dir/out" "$dir/first"
    title="ask: the prompt from stdin gives the same" n=$((n + 1)) ok=yes
    printf 'Once upon a time' | "$strata" ask -m $draft --device cpu --raw --temperature 0 -n 8 - >"$dir/out" 2>"$dir/err" || fail "status $?"
    cmp -s "$dir/out" "$dir/first" || fail "not the same answer"
    runs 0 "ask: a seed makes an answer repeatable" ask -m $draft --raw --temperature 2 --seed 7 -n 12 "The river"
    cp "$dir/out" "$dir/first"
    runs 0 "ask: the same seed again" ask -m $draft --raw --temperature 2 --seed 7 -n 12 "The river"
    cmp -s "$dir/out" "$dir/first" || fail "not the same answer"
    runs 0 "ask: another seed" ask -m $draft --raw --temperature 2 --seed 8 -n 12 "The river"
    ! cmp -s "$dir/out" "$dir/first" || fail "the same answer"
    runs 0 "ask: the chat template, a system message, and figures on stderr" \
        ask -m $draft -v --temperature 0 --system "Be brief." -n 4 Hello
    says err "answer 4 tokens"
    runs 2 "ask: --raw and --system contradict each other" ask --raw --system x y
    runs 1 "ask: two prompts" ask -m $draft --prompt a b
    says err "two prompts"
    runs 1 "ask: a prompt longer than the context" ask -m $draft --device cpu --raw -c 16 "$(seq 1 40)"
    says err "the context is 16"
    one_line err
    runs 1 "ask: a prompt that is not UTF-8 needs --raw" ask -m $draft "$(printf 'a\377')"
    says err "not valid UTF-8"
    title="ask: a reader that leaves ends the answer" n=$((n + 1)) ok=yes
    : >"$dir/out"
    { "$strata" ask -m $draft --device cpu --raw --ignore-end -n 900 x 2>"$dir/err" || echo "status $?" >>"$dir/err"; } | head -c 1 >/dev/null
    silent err
    title="ask: SIGINT ends the answer with status 130" n=$((n + 1)) ok=yes rc=0
    mkfifo "$dir/pipe"
    (trap - INT; exec "$strata" ask -m $draft --raw --ignore-end -n 1000 x >"$dir/pipe" 2>"$dir/err") &
    pid=$!
    exec 3<"$dir/pipe"
    head -c 1 <&3 >/dev/null
    kill -INT $pid
    cat <&3 >"$dir/out"
    exec 3<&-
    wait $pid || rc=$?
    [ $rc = 130 ] || fail "exit status $rc"

    title="chat: lines of stdin are messages" n=$((n + 1)) ok=yes
    printf 'Hello!\n\n/save %s\n/clear\n/nonsense\nBye.\n/quit\nnever\n' "$dir/saved.json" |
        "$strata" chat -m $draft --temperature 0 -n 8 >"$dir/out" 2>"$dir/err" || fail "status $?"
    [ "$(wc -l <"$dir/out")" = 2 ] || fail "not two answers"
    says err "(2 messages written to"
    says err "(no command /nonsense;"
    grep -q '"role": "assistant"' "$dir/saved.json" || fail "no answer in the saved conversation"

    printf '{"custom_id":"%s","method":"POST","url":"/v1/completions","body":{"prompt":"Once","max_tokens":4}}\n' a b a >"$dir/batch"
    runs 0 "bench: a file of requests is answered" bench -m $draft --batch-file "$dir/batch" --output "$dir/results" -b 2 -c 64 --json
    says out '"answered": 2,'
    says out '"invalid": 1,'
    [ "$(wc -l <"$dir/results")" = 3 ] || fail "not three results"
    runs 0 "bench: what is answered already is left out" bench -m $draft --batch-file "$dir/batch" --output "$dir/results" -c 64
    says out "3 requests, 3 done before; 0 answered"
    runs 2 "bench: a batch file goes with an output" bench --batch-file "$dir/batch"
    says err "needs --output"
    runs 2 "bench: a batch file goes without prompts" bench --batch-file "$dir/batch" --output "$dir/results" -p 16
    one_line err
    runs 2 "bench: an output goes with a batch file" bench --output "$dir/results"

    runs 0 "perplexity as JSON" perplexity -m $draft --chunk 64 --chunks 3 --json docs/HOUSE.md
    says out '"tokens":93,' # 3 x (64 - 32 - 1)
    runs 0 "perplexity of what is left of a model beside the whole one" perplexity -m $draft --chunk 64 --chunks 2 --skip-threshold 0.5 --json docs/HOUSE.md
    for key in ppl_whole ppl kl same_top tok_s blocks_left_out cosine; do says out "\"$key\":"; done
    ! grep -q '"blocks_left_out":0,' "$dir/out" || fail "no block is left out"
    runs 0 "perplexity of a model that may end early" perplexity -m $draft --chunk 64 --chunks 1 --early-exit 0.01 docs/HOUSE.md
    says out "of the steps tested ended early"
    runs 0 "an answer with blocks left out" ask -m $draft --raw --temperature 0 --skip-threshold 0.5 -v -n 4 "Once"
    says err "feed-forward blocks are left out"
    runs 1 "a text to skip by goes with a threshold" ask --device cpu -m $draft --skip-text README.md x
    says err "no --skip-threshold"
    one_line err
    runs 1 "a layer to end at goes with a probability" ask -m $draft --exit-layer 2 x
    says err "no --early-exit"
    runs 1 "a layer that is not there" ask --device cpu -m $draft --early-exit 0.9 --exit-layer 99 x
    says err "early exit after layer 99 of"
    one_line err

    runs 1 "perplexity of a text that is too short" perplexity -m $draft --device cpu LICENSE --chunk 1048576
    one_line err
    runs 1 "perplexity of a file that is not there" perplexity -m $draft "$dir/nothing"
    says err "nothing: No such file or directory"

    # ---- serving: what clients see is tested in src/serve and tests/clients
    runs 1 "serve: a model that cannot be loaded ends the server with the reason" serve --port 0 -m "$dir/nothing.gguf"
    says err "nothing.gguf: No such file or directory"
    runs 1 "serve: an address that cannot be had" serve --port 0 -m $draft --host 192.0.2.1
    says err "192.0.2.1"
    one_line err
    echo k >"$dir/keys" && chmod 644 "$dir/keys"
    runs 1 "serve: a key file that others may read" serve --port 0 -m $draft --api-key-file "$dir/keys"
    says err "others may read it (mode 0644)"
    title="serve: one ready line on stdout, SIGTERM ends with 0" n=$((n + 1)) ok=yes rc=0
    "$strata" serve -m $draft --port 0 --log-json >"$dir/out" 2>"$dir/err" &
    pid=$!
    i=0
    until [ -s "$dir/out" ] || [ $i = 300 ]; do sleep 0.1 && i=$((i + 1)); done
    kill -TERM $pid
    wait $pid || rc=$?
    [ $rc = 0 ] || fail "exit status $rc"
    one_line out
    says out "ready: http://127.0.0.1:"
    ! grep -qv '^{"time":.*}$' "$dir/err" || fail "a line of the log is no JSON object"
fi

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
