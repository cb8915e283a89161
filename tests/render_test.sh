#!/bin/sh
# `strata render` from outside: exit status, stdout, stderr.   usage: render_test.sh "COMMAND"
set -eu
render=$1
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
failed=0 n=0
fail() { failed=$((failed + 1)); echo "FAILED: $title: $1"; sed 's/^/    stdout: /' "$dir/out"; sed 's/^/    stderr: /' "$dir/err"; }
# gives STATUS TITLE INPUT [ARG]: runs the command; its output is left in $dir/out and $dir/err.
gives() {
    want=$1 title=$2 rc=0
    n=$((n + 1))
    printf '%s' "$3" | $render ${4:+"$4"} >"$dir/out" 2>"$dir/err" || rc=$?
    [ "$rc" = "$want" ] || fail "exit status $rc, not $want"
}
out_is() { printf '%s' "$1" | cmp -s - "$dir/out" || fail "stdout is not \"$1\""; }
err_has() { grep -qF -- "$1" "$dir/err" || fail "no \"$1\" in stderr"; [ "$(wc -l <"$dir/err")" = 1 ] || fail "stderr is not one line"; }

gives 0 "text without an added newline" '{"template": "a{{ x }}", "vars": {"x": "ü"}}'
out_is "aü"
gives 0 "now is the time" '{"template": "{{ strftime_now(\"%Y-%m-%d %H:%M\") }}", "vars": {}, "now": 1783168496}'
out_is "2026-07-04 12:34"
gives 0 "variables may be missing" '{"template": "{{ x }}."}'
out_is "."
gives 1 "what is raised is the error" '{"template": "a{{ raise_exception(\"no\\nway\") }}", "vars": {}}'
out_is ""
err_has 'no\nway'
gives 1 "a syntax error names its line" '{"template": "a\n{% if %}", "vars": {}}'
err_has "line 2: "
gives 1 "bad JSON" '{"template": '
err_has "request: "
gives 1 "no template" '{"vars": {}}'
err_has '"template" must be a string'
gives 1 "variables of the wrong type" '{"template": "x", "vars": []}'
err_has '"vars" must be an object'
gives 2 "an operand" '' extra
gives 0 "a batch has an answer per line" '{"template": "{{ 1 + 1 }}"}
nonsense
{"template": "{{ x.y }}"}
{"template": "{{ 1 + 1 }}\n\n"}
' --batch
out_is '{"out":"2"}
{"error":"request: '"'[' or '{' expected near 'nonsense'"' (byte 8)"}
{"error":"line 1: '"'x'"' is undefined"}
{"out":"2\n"}
'
echo "render: $n runs, $failed failed"
[ $failed = 0 ]
