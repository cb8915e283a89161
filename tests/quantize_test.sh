#!/bin/sh
# strata quantize from outside: files that are as they should be, and refusals of one line that leave nothing behind.
# usage: quantize_test.sh PATH/TO/strata PATH/TO/strata-synth
set -eu
strata=$1 synth=$2
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
n=0 failed=0
master=tests/data/strata-demo-draft-bf16.gguf

fail() {
    echo "FAILED: $title: $1"
    sed 's/^/    stderr: /' "$dir/err" | head -5
    failed=$((failed + 1))
}

# runs STATUS 'TITLE' ARGS...: strata quantize ends with STATUS; its output is left in $dir/out and $dir/err.
runs() {
    want=$1 title=$2 n=$((n + 1)) rc=0
    shift 2
    "$strata" quantize "$@" >"$dir/out" 2>"$dir/err" </dev/null || rc=$?
    [ $rc = "$want" ] || fail "exit status $rc, not $want"
    [ -z "$(ls "$dir" | grep '\.part$')" ] || fail "a partial file is left"
}
says() { grep -qF -- "$2" "$dir/$1" || fail "no \"$2\" in $1"; }
silent() { [ ! -s "$dir/$1" ] || fail "$1 is not empty"; }
one_line() { [ "$(wc -l <"$dir/$1")" = 1 ] || fail "$1 is not one line"; }
absent() { [ ! -e "$dir/$1" ] || fail "$1 is there"; }

# refuses 'TITLE' 'TEXT' ARGS...
refuses() {
    text=$2
    title=$1
    shift 2
    runs 1 "$title" "$@"
    one_line err
    silent out
    says err "$text"
}

# ---- results -------------------------------------------------------------------------------------------------------
runs 0 "the bundled draft is its master's Q8_0" $master "$dir/q8.gguf" Q8_0
silent out
says err "Q8_0, 56 tensors, 7.5 MB from 13.9 MB, 8.84 bits a weight"
one_line err
cmp -s "$dir/q8.gguf" models/strata-demo-draft-Q8_0.gguf || fail "not the same bytes"
for f in F32 F16 BF16 Q8_0 Q6_K Q5_K_M Q5_K_S Q4_K_M Q4_K_S Q4_0 q4_k; do
    runs 0 "the draft as $f" $master "$dir/x.gguf" $f
    "$strata" info "$dir/x.gguf" >"$dir/out" 2>"$dir/err" || fail "strata info refuses it"
    says out "8192 tokens, chat template"
done
runs 0 "a format that is there already is a copy" $master "$dir/x.gguf" bf16
cmp -s "$dir/x.gguf" $master || fail "not the same bytes"
runs 0 "each tensor's format and loss on request" --tensors -t 1 $master "$dir/x.gguf" Q4_K_M
[ "$(wc -l <"$dir/out")" = 56 ] || fail "not a line for each tensor"
says out "token_embd.weight                    BF16  -> Q6_K  relative error 0.017"
says out "output_norm.weight                   F32   kept"
runs 0 "a file that was quantised before" "$dir/q8.gguf" "$dir/x.gguf" Q4_0
says err "note: 43 tensors were quantised before"
"$synth" --split 3 -f F16 "$dir/set.gguf" 2>/dev/null
runs 0 "a set of three files" "$dir/set-00001-of-00003.gguf" "$dir/x.gguf" Q4_K_S
"$strata" info "$dir/x.gguf" >"$dir/out" 2>"$dir/err" || fail "strata info refuses it"
says out "in 1 file"

# ---- refusals ------------------------------------------------------------------------------------------------------
runs 2 "an operand too few" $master "$dir/no.gguf"
refuses "an unknown format, with the nearest" 'unknown format "Q4_K_N"; did you mean Q4_K' $master "$dir/no.gguf" Q4_K_N
refuses "a format near nothing" 'unknown format "\x1bzzzzz"; strata quantize --help' $master "$dir/no.gguf" "$(printf '\033zzzzz')"
refuses "the source as the target" "is the file to be converted" "$dir/q8.gguf" "$dir/q8.gguf" Q4_0
ln -s q8.gguf "$dir/link.gguf"
refuses "the source as the target by a link" "is the file to be converted" "$dir/q8.gguf" "$dir/link.gguf" Q4_0
cmp -s "$dir/q8.gguf" models/strata-demo-draft-Q8_0.gguf || fail "the source was changed"
refuses "no source" "none.gguf: No such file" "$dir/none.gguf" "$dir/no.gguf" Q4_0
refuses "a source that is no model" "README.md: " README.md "$dir/no.gguf" Q4_0
refuses "a folder that is not there" "No such file" $master "$dir/none/no.gguf" Q4_0
refuses "a device as the target" "not a regular file" $master /dev/full Q4_0
head -c 5000000 $master >"$dir/cut.gguf"
refuses "a source cut short" "cut.gguf: " "$dir/cut.gguf" "$dir/no.gguf" Q4_0
if [ "$(id -u)" != 0 ]; then
    mkdir "$dir/closed" && chmod 500 "$dir/closed"
    refuses "a folder that may not be written" "Permission denied" $master "$dir/closed/no.gguf" Q4_0
fi
absent no.gguf

title="a disk that is full" n=$((n + 1)) rc=0 # a limit on file size stands in; 1,024-byte blocks in dash, 512 elsewhere
cp "$dir/q8.gguf" "$dir/old.gguf"
(trap '' XFSZ && ulimit -f 4000 && exec "$strata" quantize $master "$dir/old.gguf" F16 >"$dir/out" 2>"$dir/err") || rc=$?
[ $rc = 1 ] || fail "exit status $rc"
one_line err
says err "old.gguf.part: writing at "
absent old.gguf.part
cmp -s "$dir/q8.gguf" "$dir/old.gguf" || fail "the old file was changed"

title="SIGINT leaves nothing behind" n=$((n + 1)) rc=0
timeout --preserve-status -s INT 0.2 "$strata" quantize -t 1 models/strata-demo-base-Q4_K_M.gguf "$dir/no.gguf" Q5_K_M \
    >"$dir/out" 2>"$dir/err" || rc=$?
[ $rc = 130 ] || fail "exit status $rc"
absent no.gguf
absent no.gguf.part

echo "quantize_test: $n cases, $failed failed"
[ $failed = 0 ]
