#!/bin/sh
# Does tools/check find what it promises to find?  A small tree, one violation at a time.
set -eu
check=$(cd "$(dirname "$0")/.." && pwd)/tools/check
tree=$(mktemp -d) && trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/src/base" "$tree/src/text" "$tree/src/format" "$tree/src/engine" "$tree/src/app" "$tree/tools"
printf 'base 0\ntext 1 format/gguf.h\nformat 1\nengine 4\napp 6\n' >"$tree/src/FLOORS"
n=0 failed=0

# expect WHAT FILE CODE...: with CODE as the lines of FILE, tools/check fails and names FILE and WHAT ("" = passes).
expect() {
    what=$1 file=$2
    shift 2
    n=$((n + 1))
    printf '%s\n' "$@" >"$tree/$file"
    rc=0
    out=$("$check" "$tree" 2>&1) || rc=$?
    if [ -z "$what" ] && [ $rc != 0 ]; then
        echo "FAILED: $file: $*: should pass, got: $out"
        failed=$((failed + 1))
    elif [ -n "$what" ] && { [ $rc != 1 ] || ! echo "$out" | grep -F "$file:" | grep -qF "$what"; }; then
        echo "FAILED: $file: $*: should say \"$what\", got ($rc): $out"
        failed=$((failed + 1))
    fi
    rm "$tree/$file"
}

expect "" src/text/a.c '#include "base/err.h"' '#include "text/b.h"' '#include <stdio.h>'
expect "text (floor 1) may not read engine (floor 4)" src/text/a.c '#include "engine/engine.h"'
expect "text (floor 1) may not read format (floor 1)" src/text/a.c '#  include "format/other.h"'
expect "" src/text/a.c '#include "format/gguf.h"'
expect "format (floor 1) may not read text (floor 1)" src/format/a.h '#include "text/tokenizer.h"'
expect "write it from src/" src/text/a.c '#include "b.h"'
expect "nothere has no line" src/text/a.c '#include "nothere/b.h"'
expect "" src/text/a_test.c '#include "engine/engine.h"'
expect "" tools/a.c '#include "b.h"' '#include "../tests/c.h"' '#include "engine/engine.h"'
mkdir "$tree/src/extra"
expect "module extra has no line" src/extra/a.c 'int a;'
rmdir "$tree/src/extra"

for f in strcpy strcat sprintf strtok atoi gets alloca; do
    expect "$f() is banned" src/base/a.c "void f(char *s) { $f(s); }"
    expect "$f() is banned" src/app/a.c "void f(char *s) { x = $f (s); }"
done
expect "" src/base/a.c '/* never strcpy(a, b) */ // atoi(s)' 'const char *s = "gets(x) \" strtok(";' '/* over' 'alloca(3) lines */' \
    'x->gets(1); my_strcpy(a); strtok_r(a, b, c); snprintf(a);'
expect "strcpy() is banned" src/base/a.c '/* x */ strcpy(a, b); /* y */'
expect "getenv() belongs to src/app/main.c" src/app/a.c 'char *h = getenv("HOME");'
expect "" src/app/main.c 'char *h = getenv("HOME");'
expect "connect(): the server calls nobody" src/base/a.c 'int f(int s) { return connect(s, 0, 0); }'
for f in exit abort printf perror puts; do
    expect "$f() belongs to the program" src/engine/a.c "void f(void) { $f(1); }"
    expect "" src/app/a.c "void f(void) { $f(1); }"
    expect "" tools/a.c "int main(void) { $f(1); }"
done
expect "does not write to stdout or stderr" src/base/a.c 'void f(void) { fputs("x", stderr); }'
expect "malloc(): allocate through base/mem.h" src/text/a.c 'void *p = malloc(3);'
expect "" src/base/mem.c 'void *p = malloc(3);'
expect "stands in a note" src/text/a.c '/* TODO later */'

echo "$((n - failed)) passed, $failed failed"
[ $failed = 0 ]
