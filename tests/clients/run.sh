#!/bin/sh
# tests/clients/run.sh COMMAND ...: start a server by that command (it must take --host, --port and --api-key; "strata serve
# --model FILE"), then run every client's checks against it.
# URL=http://... instead: the server is already there; API_KEY then says its key.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
command -v npm >/dev/null 2>&1 && command -v node >/dev/null 2>&1 || { echo "client tests skipped: npm and node are not installed"; exit 0; }
[ -d "$here/node_modules/openai" ] || (cd "$here" && npm ci --no-audit --no-fund --loglevel=error) ||
    { echo "client tests skipped: npm could not fetch the clients"; exit 0; }

if [ -z "${URL:-}" ]; then
    [ $# -gt 0 ] || { echo "usage: $0 COMMAND ...   or   URL=http://host:port $0" >&2; exit 2; }
    port=$(node -e 's=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})')
    API_KEY=client-test-key
    log=$(mktemp)
    "$@" --host 127.0.0.1 --port "$port" --api-key "$API_KEY" >"$log" 2>&1 &
    server=$!
    trap 'kill $server 2>/dev/null || true; wait $server 2>/dev/null || true; rm -f "$log"' EXIT
    URL=http://127.0.0.1:$port
    n=0
    until node -e "fetch('$URL/health').then(r=>process.exit(r.ok?0:1),()=>process.exit(1))"; do
        n=$((n + 1))
        kill -0 $server 2>/dev/null && [ $n -lt 300 ] || { echo "the server did not become ready:"; cat "$log"; exit 1; }
        sleep 0.2
    done
fi
export BASE_URL="$URL/v1" API_KEY
node "$here/openai.mjs"
