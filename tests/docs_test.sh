#!/bin/bash
# Manual pages and shell completions, as the program makes them.  zsh, fish, man and mandoc are asked where they are.
# usage: docs_test.sh PATH/TO/strata
set -eu
strata=$(realpath "$1")
top=$(realpath "$(dirname "$0")/..")
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
n=0 failed=0
PATH=$dir:$PATH
ln -s "$strata" "$dir/strata"

is() {
    n=$((n + 1))
    [ "$2" = "$3" ] || { failed=$((failed + 1)); echo "FAILED: $1"; echo "    wanted: $2"; echo "    found:  $3"; }
}
have() { command -v "$1" >/dev/null 2>&1 || { echo "not here, not asked: $1"; return 1; }; }
commands=$("$strata" --help | awk '/^  [a-z]/ { print $1 }')

# ---- manual pages: one for the program, one a command, every option of --help in it
for c in "" $commands; do
    page=$dir/strata${c:+-$c}.1
    # shellcheck disable=SC2086
    "$strata" help --as man $c >"$page"
    is "the page of strata $c has its name" 1 "$(grep -c "^strata${c:+\\\\-$c} \\\\- ." "$page")"
    [ -z "$c" ] || is "the page of strata $c has every option of --help" "" "$("$strata" "$c" --help |
        sed -n 's/^  \(-., \|    \)\(--[a-z-]*\).*/\2/p' | sed 's/-/\\\\-/g' | while read -r o; do
            grep -qF -- "\\fB${o//\\\\/\\}\\fR" "$page" || echo "$o"; done)"
    ! have man || is "man has nothing to say about $c" "" "$(LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -l "$page" 2>&1 >/dev/null)"
    ! have mandoc || is "mandoc has nothing to say about $c" "" "$(mandoc -Tlint "$page" 2>&1 || true)"
done
is "a page of a command that is not there" 2 "$("$strata" help --as man nothing 2>/dev/null || echo $?)"
is "a completion of one command" 2 "$("$strata" help --as bash serve 2>/dev/null || echo $?)"

# ---- bash: what <TAB> would offer at the end of a line
for shell in bash zsh fish; do "$strata" help --as $shell >"$dir/completion.$shell"; done
# bash_offers LINE...: the words of the line as readline would cut them; the last is the one to complete
bash_offers() {
    # shellcheck disable=SC1091,SC2016
    bash --norc -c '. "$1/completion.bash"; shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _strata strata "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf "%s\n" "${COMPREPLY[@]}" | LC_ALL=C sort | paste -sd" "' bash "$dir" "$@"
}
touch "$dir/model.gguf"
cd "$dir"
has_server=$(echo "$commands" | grep -cx serve || true)
is "bash: a command" "detokenize devices" "$(bash_offers strata de | sed 's/^devices$/detokenize devices/')"
is "bash: commands that help explains" "version" "$(bash_offers strata help vers)"
is "bash: words of a choice" "man" "$(bash_offers strata help --as ma)"
is "bash: words of a choice after =" "man" "$(bash_offers strata help --as = ma)"
is "bash: an empty word after =" "bash fish man text zsh" "$(bash_offers strata help --as =)"
is "bash: operands that are files" "model.gguf" "$(bash_offers strata info mod)"
is "bash: options of a command" "--json" "$(bash_offers strata devices --js)"
is "bash: an unknown command offers nothing" "" "$(bash_offers strata nothing --js)"
if [ "$has_server" = 1 ]; then
    is "bash: strata se<TAB>" "serve" "$(bash_offers strata se)"
    is "bash: strata serve --ap<TAB>" "--api-key --api-key-file --api-prefix" "$(bash_offers strata serve --ap)"
    is "bash: a file after --model" "model.gguf" "$(bash_offers strata serve --model mod)"
    is "bash: a file after -m" "model.gguf" "$(bash_offers strata serve -m mod)"
    is "bash: nothing after --port" "" "$(bash_offers strata serve --port '')"
fi
is "bash: the function is bound to strata" "complete -F _strata strata" "$(bash --norc -c ". $dir/completion.bash; complete -p strata")"

if have zsh; then
    is "zsh: the completion parses" "" "$(zsh -fn "$dir/completion.zsh" 2>&1)"
    mkdir "$dir/functions" && cp "$dir/completion.zsh" "$dir/functions/_strata"
    # shellcheck disable=SC2016
    is "zsh: compinit binds it" "_strata" "$(zsh -fc 'fpath=($1 $fpath); autoload -Uz compinit; compinit -u -D; print -r -- $_comps[strata]' zsh "$dir/functions")"
fi
if have fish; then
    offers() { HOME=$dir fish --no-config -c "source $dir/completion.fish; complete -C '$1'" 2>&1 | cut -f1 | LC_ALL=C sort | paste -sd' '; }
    is "fish: a command" "version" "$(offers 'strata vers')"
    is "fish: words of a choice" "man" "$(offers 'strata help --as ma')"
    [ "$has_server" = 0 ] || is "fish: options" "--api-key --api-key-file --api-prefix" "$(offers 'strata serve --ap')"
fi

# ---- what the documents name as proof is there: programs of tests and, behind a program, functions in it
cd "$top"
# shellcheck disable=SC2016
proofs=$(sed -n '/^## Faults/,/^## Fuzzing/p; /^## Limits/,/^## Known/p' docs/RELIABILITY.md | grep -oE '`[a-z_]+_(test|fuzz)( [a-z0-9_]+)?`(, `[a-z0-9_]+`)*' || true)
is "docs/RELIABILITY.md names tests" 1 "$([ "$(echo "$proofs" | wc -l)" -gt 40 ] && echo 1)"
is "each of them is there" "" "$(echo "$proofs" | while read -r line; do
    # shellcheck disable=SC2001
    program=$(echo "$line" | sed 's/^`\([a-z_]*\).*/\1/')
    source=$(find src tests -name "$program.c" -o -name "$program.py" -o -name "$program.sh" -o -name "${program%_tls_test}_test.c" | paste -sd' ')
    [ -n "$source" ] || echo "$program"
    for word in $(echo "$line" | sed 's/^`[a-z_]* *//' | tr -c 'a-z0-9_\n' ' '); do
        # shellcheck disable=SC2086
        grep -qE "NAME $word( |\$)" tests/CMakeLists.txt || [[ $word =~ _(test|fuzz)$ ]] || grep -qsE "\b$word\(" $source || echo "$program $word"
    done
done)"

[ $failed = 0 ] || { echo "$failed of $n failed"; exit 1; }
echo "$n passed"
