#!/bin/sh
# strata info: sound files are summed up, damaged ones are refused with one line.
# usage: info_test.sh PATH/TO/strata PATH/TO/strata-synth
set -eu
strata=$1 synth=$2
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
n=0 failed=0

fail() {
    echo "FAILED: $title: $1"
    sed 's/^/    stderr: /' "$dir/err" | head -5
    failed=$((failed + 1))
}

accepts() { # 'TITLE' ARGS...
    title=$1 n=$((n + 1)) rc=0
    shift
    "$strata" info "$@" >"$dir/out" 2>"$dir/err" </dev/null || rc=$?
    [ $rc = 0 ] || fail "exit status $rc"
    [ ! -s "$dir/err" ] || fail "stderr is not empty"
}
says() { grep -qF -- "$1" "$dir/out" || fail "no \"$1\" in the output"; }

refuses() { # 'TITLE' FILE 'TEXT OF THE MESSAGE'
    title=$1 n=$((n + 1)) rc=0
    timeout 60 "$strata" info "$2" >"$dir/out" 2>"$dir/err" </dev/null || rc=$?
    [ $rc -ge 1 ] && [ $rc -le 123 ] || fail "exit status $rc"
    [ ! -s "$dir/out" ] || fail "stdout is not empty"
    [ "$(wc -l <"$dir/err")" = 1 ] && [ "$(wc -c <"$dir/err")" -le 501 ] || fail "not one line of at most 500 bytes"
    [ -z "$(LC_ALL=C tr -d '\n -~' <"$dir/err")" ] || fail "bytes that are not printable"
    grep -qF -- "$3" "$dir/err" || fail "no \"$3\""
}

# patch KEY BYTES: overwrites the value that follows KEY and its type in a copy of the model.
patch() {
    cp "$dir/tiny.gguf" "$dir/bad.gguf"
    at=$(LC_ALL=C grep -abo -m1 "$1" "$dir/bad.gguf" | head -1 | cut -d: -f1)
    # shellcheck disable=SC2059
    printf "$2" | dd of="$dir/bad.gguf" bs=1 seek=$((at + ${#1} + 4)) conv=notrunc 2>/dev/null
}

accepts "the demo model" models/strata-demo-draft-Q8_0.gguf
says "6 layers of 256, 4 heads of 64"
says "gpt2 qwen2, 8192 tokens"
accepts "the demo model as JSON" --json models/strata-demo-draft-Q8_0.gguf
says '"runnable":true'
says '"tokenizer.ggml.tokens":{"count":8192,"first":['
accepts "the demo model's tensors" --tensors models/strata-demo-base-Q4_K_M.gguf
says "blk.11.ffn_down.weight"

for shape in tiny tiny-qwen2 tiny-qwen3; do
    "$synth" --shape $shape "$dir/$shape.gguf" 2>/dev/null
    accepts "a made-up $shape" "$dir/$shape.gguf"
done
"$synth" --split 3 "$dir/set.gguf" 2>/dev/null
accepts "a set of three files" "$dir/set-00001-of-00003.gguf"
says "in 3 files"
refuses "the second file of a set" "$dir/set-00002-of-00003.gguf" "open the first part"
"$synth" --rope-scaling yarn:4:512 "$dir/yarn.gguf" 2>/dev/null
accepts "scaled rope" "$dir/yarn.gguf"
says "YaRN x 4 from 512"

patch llama.embedding_length '\000\002\000\000'
refuses "a width that no tensor has" "$dir/bad.gguf" "the hyperparameters ask for"
patch llama.block_count '\003\000\000\000'
refuses "a layer too many" "$dir/bad.gguf" "tensor blk.2."
patch llama.attention.head_count '\000\000\000\000'
refuses "no heads" "$dir/bad.gguf" "head_count is 0"
patch llama.attention.head_count_kv '\003\000\000\000'
refuses "heads that do not divide" "$dir/bad.gguf" "no multiple of head_count_kv 3"
patch general.architecture '\005\000\000\000\000\000\000\000llam\033'
accepts "an architecture nobody knows is told" "$dir/bad.gguf"
says 'cannot be run: architecture "llam\x1b"'
patch tokenizer.ggml.bos_token_id '\377\377\377\000'
refuses "a token beyond the vocabulary" "$dir/bad.gguf" "bos_token_id"

size=$(wc -c <"$dir/tiny.gguf")
for cut in 0 3 4 23 24 100 1000 30000 $((size / 2)) $((size - 1)); do
    head -c "$cut" "$dir/tiny.gguf" >"$dir/bad.gguf"
    refuses "cut at $cut bytes" "$dir/bad.gguf" "bad.gguf: "
done
refuses "a folder" "$dir" "is a directory"
mkfifo "$dir/fifo"
refuses "a FIFO" "$dir/fifo" "is a FIFO"
refuses "a device" /dev/zero "is a device"
refuses "nothing" "$dir/none.gguf" "No such file"
rm "$dir/bad.gguf" && truncate -s 1T "$dir/bad.gguf"
refuses "a terabyte of nothing (QEMU takes 11 s to map it)" "$dir/bad.gguf" "bad.gguf: "

echo "info_test: $n cases, $failed failed"
[ $failed = 0 ]
