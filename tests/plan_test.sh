#!/bin/sh
# strata plan and strata probe: what a person or a script sees.
# usage: plan_test.sh PATH/TO/strata PATH/TO/strata-synth [quick]     quick: nothing is measured, which takes minutes under a checker
set -eu
strata=$1 synth=$2
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
n=0 failed=0
XDG_CACHE_HOME=$dir/cache && export XDG_CACHE_HOME

fail() {
    echo "FAILED: $title: $1"
    sed 's/^/    stderr: /' "$dir/err" | head -5
    failed=$((failed + 1))
}
plans() { # STATUS 'TITLE' ARGS...
    want=$1 title=$2 n=$((n + 1)) rc=0
    shift 2
    "$strata" plan "$@" >"$dir/out" 2>"$dir/err" </dev/null || rc=$?
    [ $rc = "$want" ] || fail "exit status $rc, not $want"
}
says() { grep -qF -- "$1" "$dir/out" || fail "no \"$1\" in the output"; }
refuses() { # 'TITLE' 'TEXT OF THE MESSAGE' ARGS...
    t=$1 text=$2
    shift 2
    plans 1 "$t" "$@"
    [ ! -s "$dir/out" ] || fail "stdout is not empty"
    [ "$(wc -l <"$dir/err")" = 1 ] || fail "not one line"
    grep -qF -- "$text" "$dir/err" || fail "no \"$text\""
}
parses() { # the output as JSON, where the system has a parser
    ! command -v python3 >/dev/null || python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); exec(sys.argv[2])' "$dir/out" "$1" || fail "JSON"
}

for p in t4 rtx3060 rtx3090 h200; do
    plans 0 "70B on $p" synth:70b:Q4_K_M --profile $p
    says "decode with 512 tokens"
    says "batch 1 with one change:"
    plans 0 "70B on $p as JSON" synth:70b:Q4_K_M --profile $p --batch 1,8,32 --json
    parses 'assert d["fits"] and sum(t["bytes"] for t in d["tiers"]) == d["weight_bytes"] and len(d["decode"]) == 3
assert d["machine"]["profile"] == "'$p'" and d["vram_used_bytes"] <= d["machine"]["vram_bytes"]
assert d["weight_bytes"] + d["vector_bytes"] - 256 == d["tensor_bytes"]'
done
plans 0 "a model that spills" synth:70b:Q4_K_M --profile t4 --vram 14G
says "<- helps most"
says "the CPU computes"
plans 0 "a CPU's share in f32, as measured" synth:70b:Q4_K_M --profile h200 --vram 24G --cpu-activations f32
says "(activations in f32)"
plans 0 "everything on a large card" synth:8b:Q4_K_M --profile h200
says "every weight that is read whole lies on the device"
plans 0 "without a device" synth:8b:Q4_K_M --profile h200 --cpu-only
says "RAM, as mapped"
plans 0 "the word cpu-threads" synth:8b:Q4_K_M --profile h200 --cpu-only --cpu-threads 4
says "all 16 CPU threads"
refuses "products that the profile has not" "t4 has no figures of such products" synth:8b:Q4_K_M --profile t4 --cpu-only --cpu-activations f32
refuses "a CPU that has nothing to multiply" "the CPU multiplies no weights" synth:70b:Q4_K_M --profile t4 --offload stream --cpu-activations f32
plans 0 "a file" models/strata-demo-base-Q4_K_M.gguf --profile t4 --ctx 512
says "12 layers"
plans 0 "the file of a shape and the shape itself agree" synth:tiny:Q4_K_M --profile t4 --json
cp "$dir/out" "$dir/shape"
"$synth" --shape tiny --format Q4_K_M "$dir/tiny.gguf" 2>/dev/null
plans 0 "the file of a shape and the shape itself agree" "$dir/tiny.gguf" --profile t4 --json
[ "$(grep -v '"model"' "$dir/out")" = "$(grep -v '"model"' "$dir/shape")" ] || fail "they differ"

# A template for AI Core: what deploy/aicore has, with the model's own figures, and no option that strata serve has not.
plans 0 "a template for AI Core" synth:8b:Q4_K_M --parallel 8 --ctx 4096 --emit aicore --ram-format q4_0 --cache-type-k q8_0
says "default: infer.s}"
says "--ram=8500000000"
says "--threads=2"
says "--cache-type-k=q8_0"
says 'name: contextTokens, type: string, default: "4096"'
grep -v -E '^ *#|default: |^ *- --|modelFile' deploy/aicore/serving-template.yaml | while IFS= read -r line; do
    grep -qF -- "$line" "$dir/out" || echo "$line"
done >"$dir/lacks"
[ ! -s "$dir/lacks" ] || fail "deploy/aicore has \"$(head -1 "$dir/lacks")\""
"$strata" serve --help 2>/dev/null | grep -o -E -- '--[a-z][a-z-]*' | tr -d - >"$dir/served" || true # nothing: built without the server
for o in $(grep -o -E '^ *- --[a-z-]+' "$dir/out" | tr -d ' -' | sort -u); do # without their hyphens, as the next line compares
    [ ! -s "$dir/served" ] || grep -qx "$o" "$dir/served" || fail "strata serve has no option like $o"
done
plans 0 "a template for a model larger than the GPU" synth:70b:Q4_K_M --emit aicore
says "default: infer.l}"
says "infer.m  T4  7 cores  26 GB: does not fit"
plans 0 "a template without a GPU" models/strata-demo-base-Q4_K_M.gguf --cpu-only --emit aicore
says "default: basic}"
says 'default: "strata-demo-base-Q4_K_M.gguf"}'
says "--device=cpu"
plans 2 "a template for what no resource plan holds" synth:70b:F16 --emit aicore
[ ! -s "$dir/out" ] || fail "stdout is not empty"
grep -qF "no resource plan of AI Core holds it: infer.l" "$dir/err" || fail "the largest is not named"
refuses "a template as JSON" "exclude each other" synth:8b:Q4_K_M --emit aicore --json

plans 2 "far too large" synth:70b:F16 --profile rtx3060 --ram 20G --no-disk
says "does not fit: "
says "would fit: "
plans 2 "far too large, as JSON" synth:70b:F16 --profile rtx3060 --ram 1G --no-disk --vram 1G --json
parses 'assert not d["fits"] and d["vram_short_bytes"] + d["ram_short_bytes"] > 0'

refuses "a shape nobody knows" 'unknown shape "8bb"; did you mean 8b?' synth:8bb:Q4_K_M --profile t4
refuses "a format nobody knows" 'unknown format "Q4_K_N"; did you mean' synth:8b:Q4_K_N --profile t4
refuses "no format" 'synth:SHAPE:FORMAT' synth:8b --profile t4
refuses "a machine nobody knows" 'no profile t5.json in ./profiles' synth:8b:F16 --profile t5
refuses "no such profile" "$dir/none.json: No such file" synth:8b:F16 --profile "$dir/none.json"
refuses "no such model" "none.gguf: No such file" "$dir/none.gguf" --profile t4
refuses "too much context" "trained for 8192" synth:8b:Q8_0 --profile t4 --ctx 10000
refuses "memory of a device that is not planned with" "--cpu-only plans without a device" synth:8b:Q8_0 --profile t4 --vram 4G --cpu-only
sed 's/"h2d_gbs": 12.3/"h2d_gbs": -1/' profiles/t4.json >"$dir/bad.json"
refuses "a figure that cannot be" 'device.h2d_gbs is -1; 0.001 to 100000 expected' synth:8b:Q8_0 --profile "$dir/bad.json"
sed 's/"h2d_gbs": 12.3/"h2d_gb": 12.3/' profiles/t4.json >"$dir/bad.json"
refuses "a field nobody knows" 'device.h2d_gb is no field of a profile' synth:8b:Q8_0 --profile "$dir/bad.json"
head -c 300 profiles/t4.json >"$dir/bad.json"
refuses "half a profile" 'invalid JSON' synth:8b:Q8_0 --profile "$dir/bad.json"

if [ "${3:-}" = quick ]; then
    echo "plan_test: $n cases, $failed failed; nothing was measured"
    exit $((failed > 0))
fi

# What was measured before is taken from the cache; a profile that was written is one that plans.
mkdir -p "$dir/cache/strata"
title="probe" n=$((n + 1))
"$strata" probe --device cpu --out "$dir/here.json" --json >"$dir/out" 2>"$dir/err" || fail "exit status $?"
cmp -s "$dir/out" "$dir/here.json" || fail "--out and --json differ"
ls "$dir/cache/strata"/probe-*.json >/dev/null 2>&1 || fail "nothing was kept"
plans 0 "with what was measured" synth:tiny:Q4_K_M --profile "$dir/here.json"
says "measured"
title="probe again" n=$((n + 1))
"$strata" probe --device cpu --cached --json >"$dir/out" 2>"$dir/err" || fail "exit status $?"
cmp -s "$dir/out" "$dir/here.json" || fail "the cache was not used"

# A smaller machine, rehearsed: in the profile that is written, not in what is kept.
title="a limited probe" n=$((n + 1))
"$strata" probe --device cpu --cached --ram 1G --cpu-threads 1 --nvme-gbs 0.01 --out "$dir/small.json" >"$dir/out" 2>"$dir/err" || fail "exit status $?"
says "measured, limited to 1 GB RAM, disk 0.01 GB/s, 1 threads"
plans 0 "a plan of it" synth:1.1b:Q4_K_M --profile "$dir/small.json" --json
parses 'assert d["machine"]["ram_bytes"] < 1e9 and d["machine"]["threads"] == 1 and "limited" in d["machine"]["source"]'
title="what is kept has no limits" n=$((n + 1))
"$strata" probe --device cpu --cached --json >"$dir/out" 2>"$dir/err" || fail "exit status $?"
cmp -s "$dir/out" "$dir/here.json" || fail "the limits were kept"
for bad in "--vram 4G|the profile has no device" "--pcie-gbs 3|the profile has no device" "--cpu-threads 1024|threads of 1024: the machine has" "--ram 900T|GB of RAM of 900000: the machine has"; do
    title="probe ${bad%%|*}" n=$((n + 1)) rc=0
    # shellcheck disable=SC2086 # an option and its value
    "$strata" probe --device cpu --cached ${bad%%|*} >"$dir/out" 2>"$dir/err" || rc=$?
    [ $rc = 1 ] && [ ! -s "$dir/out" ] || fail "exit status $rc"
    grep -qF -- "${bad#*|}" "$dir/err" || fail "no \"${bad#*|}\""
done
# What the CPU multiplies quantised weights by: measured both ways.
plans 0 "activations in f32" synth:1.1b:Q4_K_M --profile "$dir/here.json" --cpu-activations f32 --json
parses 'assert d["machine"]["cpu_activations"] == "f32" and d["decode"][0]["tok_s"] > 0'

echo "plan_test: $n cases, $failed failed"
[ $failed = 0 ]
