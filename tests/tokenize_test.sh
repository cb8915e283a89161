#!/bin/sh
# strata tokenize and detokenize from outside: the forms that scripts rely on.
# usage: tokenize_test.sh PATH/TO/strata, from the source root
set -eu
strata=$1
model=models/strata-demo-base-Q4_K_M.gguf
golden=tests/data/tokenizer/demo.txt
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
n=0 failed=0

# gives 'TITLE' 'WANTED BYTES (printf)' 'STDIN (printf)' ARGS...: exit 0 and exactly this on stdout.
gives() {
    title=$1 rc=0
    # shellcheck disable=SC2059
    printf "$2" >"$dir/want"
    # shellcheck disable=SC2059
    printf "$3" >"$dir/in"
    shift 3
    n=$((n + 1))
    "$strata" "$@" <"$dir/in" >"$dir/out" 2>"$dir/err" || rc=$?
    if [ $rc != 0 ] || ! cmp -s "$dir/want" "$dir/out" || [ -s "$dir/err" ]; then
        failed=$((failed + 1))
        echo "FAILED: $title: exit status $rc"
        head -c 300 "$dir/out" && head -c 300 "$dir/err"
    fi
}
# refuses STATUS 'TITLE' 'PART OF THE MESSAGE' 'STDIN (printf)' ARGS...: that status, one line on stderr, no result.
refuses() {
    want=$1 title=$2 part=$3 rc=0
    # shellcheck disable=SC2059
    printf "$4" >"$dir/in"
    shift 4
    n=$((n + 1))
    "$strata" "$@" <"$dir/in" >"$dir/out" 2>"$dir/err" || rc=$?
    if [ $rc != "$want" ] || [ -s "$dir/out" ] || [ "$(wc -l <"$dir/err")" != 1 ] || ! grep -qF -- "$part" "$dir/err"; then
        failed=$((failed + 1))
        echo "FAILED: $title: exit status $rc"
        head -c 300 "$dir/out" && head -c 300 "$dir/err"
    fi
}

gives "ids on one line" '3877 975\n' 'Hello world' tokenize --model $model --ids
gives "no text, an empty line" '\n' '' tokenize --model $model --ids
gives "no text, with BOS" '0\n' '' tokenize --model $model --ids --add-special
gives "stdin is not trimmed, NUL is a byte like others" '3877 191 975 201\n' 'Hello\000 world\n' tokenize --model $model --ids
gives "control tokens in text are text" '30 94 321 65 577 94 32\n' '<|im_end|>' tokenize --model $model --ids
gives "unless they are asked for" '2\n' '<|im_end|>' tokenize --model $model --ids --parse-special
gives "without --ids a table for people" '3877\t"Hello"\n201\t"\\x0a"\n' 'Hello\n' tokenize --model $model
gives "hex, a line each, empty ones too" '3877\n\n975\n' '48656c6c6f\n\n20776f726c64\n' tokenize --model $model --batch-hex
gives "the last line needs no end" '3877\n' '48656c6c6f' tokenize --model $model --ids --batch-hex
gives "ids back to hex, control tokens as their text" '48656c6c6f3c7c696d5f656e647c3e\n\n' '3877 2\n\n' \
    detokenize --model $model --batch-hex
gives "ids back to text" 'Hello world' '3877\n 975\n' detokenize --model $model

for flags in 0 1 2 3; do # llama.cpp's ids, all lines of one setting in one process
    set --
    [ $((flags & 1)) = 0 ] || set -- "$@" --add-special
    [ $((flags & 2)) = 0 ] || set -- "$@" --parse-special
    sed -n "s/^$flags \([0-9a-f]*\):.*/\1/p" $golden >"$dir/in"
    sed -n "s/^$flags [0-9a-f]*://p" $golden >"$dir/want"
    n=$((n + 1))
    "$strata" tokenize --model $model --ids --batch-hex "$@" <"$dir/in" >"$dir/out"
    cmp -s "$dir/want" "$dir/out" || { failed=$((failed + 1)); echo "FAILED: golden ids, flags $flags"; }
    [ $((flags & 1)) = 0 ] || continue # and back: nothing is lost
    n=$((n + 1))
    "$strata" detokenize --model $model --batch-hex <"$dir/out" >"$dir/back"
    cmp -s "$dir/in" "$dir/back" || { failed=$((failed + 1)); echo "FAILED: golden texts back, flags $flags"; }
done

n=$((n + 1)) # a line is answered before the next is asked for
mkfifo "$dir/ask" "$dir/answer"
"$strata" tokenize --model $model --batch-hex <"$dir/ask" >"$dir/answer" &
exec 3>"$dir/ask" 4<"$dir/answer"
for hex in 48656c6c6f 20776f726c64; do
    echo $hex >&3
    read -r line <&4
    echo "$line"
done >"$dir/out"
exec 3>&- 4<&-
wait
[ "$(tr '\n' ' ' <"$dir/out")" = "3877 975 " ] || { failed=$((failed + 1)); echo "FAILED: line by line"; }

n=$((n + 1)) # many megabytes
head -c 20000000 /dev/zero | "$strata" tokenize --model $model --ids | wc -w >"$dir/out"
[ "$(cat "$dir/out")" -gt 1000 ] || { failed=$((failed + 1)); echo "FAILED: 20 MB of stdin"; }

refuses 1 "a line that is no hex is named" 'not hex digits < while answering line 1' '4g\n' tokenize --model $model --batch-hex
refuses 1 "half a byte" 'odd number of hex digits' '4\n' tokenize --model $model --batch-hex
refuses 1 "an id that is none" 'not token ids < while answering line 1' '1 x\n' detokenize --model $model --batch-hex
refuses 1 "an id outside the vocabulary" 'token id 8192 at position 1' '1 8192\n' detokenize --model $model --batch-hex
refuses 1 "an id too large for any vocabulary" 'not token ids' '99999999999999999999\n' detokenize --model $model
refuses 1 "a missing model" 'nothing.gguf: No such file' '' tokenize --model "$dir/nothing.gguf" --ids
refuses 1 "a file that is no model" 'tokenize_test.sh' '' tokenize --model tests/tokenize_test.sh --ids
refuses 2 "no model" '--model FILE is missing' '' tokenize --ids
refuses 2 "an unknown option" '--idz' '' tokenize --model $model --idz
if [ -e /dev/full ]; then
    n=$((n + 1)) rc=0
    echo 48 | "$strata" tokenize --model $model --batch-hex >/dev/full 2>"$dir/err" || rc=$?
    { [ $rc = 1 ] && grep -q "No space left" "$dir/err"; } || { failed=$((failed + 1)); echo "FAILED: a full disk"; }
fi

echo "tokenize: $((n - failed)) passed, $failed failed"
[ $failed = 0 ]
