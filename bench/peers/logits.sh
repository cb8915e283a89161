#!/usr/bin/env bash
# Our logits against llama.cpp's on the same files: every architecture and rope scaling in F32, every format of one.
# usage: bench/peers/logits.sh BUILD_DIR      (a build with -DSTRATA_LLAMA_DIR=..., see setup.sh)
#
# Limits are mean KL divergences per position, from what differs by design: llama.cpp's fused attention accumulates in f16,
# it rounds activations to the weights' f16 or bf16, and both engines quantise activations for quantised weights, not to the
# same codes (one flipped 8-bit code moves an output by about 1/127 of a term).
set -euo pipefail
build=${1:-build}
[ -x "$build/peer_llama" ] || { echo "SKIP: $build/peer_llama is not built (bench/peers/setup.sh, -DSTRATA_LLAMA_DIR=...)"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
ids=$(seq -s" " 1 19 1020)
failed=0 passed=0

compare() { # name limit synth-options...
    local name=$1 limit=$2
    shift 2
    "$build/strata-synth" -s tiny "$@" "$dir/m.gguf" >/dev/null 2>&1
    echo "$ids" | "$build/strata-logits" "$dir/m.gguf" "$dir/a.f32"
    echo "$ids" | "$build/peer_llama" logits --model "$dir/m.gguf" --all --no-repack "$dir/b.f32" >/dev/null 2>"$dir/log" || { cat "$dir/log"; exit 1; }
    local rows vocab
    rows=$(echo "$ids" | wc -w)
    vocab=$(($(stat -c %s "$dir/a.f32") / 4 / rows))
    printf '%-28s ' "$name"
    if "$build/strata-logits" --compare "$dir/a.f32" "$dir/b.f32" "$vocab" "$limit"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

compare llama 1e-5 -f F32
compare 'llama, tied' 1e-5 -f F32 --tied
compare 'llama, grouped heads of 80' 1e-5 -f F32 --heads 8 --kv-heads 2 --head-dim 80
compare 'llama, llama3 rope' 1e-5 -f F32 --rope-scaling llama3:8:128 --rope-theta 500000
compare 'llama, linear rope' 1e-5 -f F32 --rope-scaling linear:4
compare 'llama, yarn' 1e-5 -f F32 --rope-scaling yarn:4:256
compare qwen2 1e-5 -f F32 --arch qwen2
compare 'qwen2, yarn' 1e-5 -f F32 --arch qwen2 --rope-scaling yarn:4:128
compare qwen3 1e-5 -f F32 --arch qwen3 --head-dim 128
compare 'F16' 1e-5 -f F16
compare 'BF16' 1e-4 -f BF16
for f in Q8_0 Q4_0 Q4_K Q5_K Q6_K Q4_K_M Q5_K_M Q6_K; do compare "$f" 3e-3 -f $f; done
compare 'qwen2 Q4_K_M' 3e-3 -f Q4_K_M --arch qwen2
compare 'qwen3 Q8_0' 3e-3 -f Q8_0 --arch qwen3
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
