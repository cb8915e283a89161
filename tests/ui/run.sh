#!/bin/sh
# tests/ui/run.sh STRATA [MODEL]: serve MODEL (default: the demo model), and the null engine with fixed texts, then run the page's
# checks in Chromium.  SHOTS=folder: leaves pictures of the page there (docs/images/).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
strata=${1:?usage: $0 STRATA [MODEL]}
model=${2:-$here/../../models/strata-demo-base-Q4_K_M.gguf}
CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
[ -n "$CHROMIUM" ] && command -v npm >/dev/null 2>&1 && command -v node >/dev/null 2>&1 ||
    { echo "page tests skipped: chromium, node and npm are needed"; exit 0; }
[ -d "$here/node_modules/playwright-core" ] || (cd "$here" && npm ci --no-audit --no-fund --loglevel=error) ||
    { echo "page tests skipped: npm could not fetch playwright-core"; exit 0; }

logs=$(mktemp -d)
servers=
trap 'kill $servers 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$logs"' EXIT

# serve NAME OPTIONS ...: starts a server on a free port, sets URL to its address.
serve() {
    name=$1 n=0
    shift
    : >"$logs/$name"
    "$strata" serve --model "$model" --port 0 "$@" >"$logs/$name" 2>&1 &
    servers="$servers $!"
    until grep -q '^ready:' "$logs/$name"; do
        n=$((n + 1))
        kill -0 $! 2>/dev/null && [ $n -lt 300 ] || { echo "the server \"$name\" did not become ready:"; cat "$logs/$name"; exit 1; }
        sleep 0.2
    done
    URL=$(sed -n 's|^ready: \(http://[^ ]*\)/v1 .*|\1/|p' "$logs/$name")
}
serve model
MODEL_URL=$URL
serve hostile --null-engine --null-text "$(cat "$here/hostile.md")" --api-key page-test-key
HOSTILE_URL=$URL
serve slow --api-prefix /openai --null-engine --null-rate 25 --null-text "$(for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do printf 'Sentence %s of a slow answer goes on for a while. ' $i; done)"
SLOW_URL=$URL
serve bare --null-engine --no-ui
BARE_URL=$URL
export BARE_URL MODEL_URL HOSTILE_URL SLOW_URL CHROMIUM
node "$here/page.mjs"
[ -z "${SHOTS:-}" ] || node "$here/shots.mjs"
