#!/bin/sh
# tests/clients/run.sh COMMAND ...: start servers by that command (it must take --host, --port, --api-key and --null-engine; "strata
# serve --model FILE"), then run every client's checks against them.  CLIENTS="openai ollama": only these.
# URL=http://... instead: the server is already there; API_KEY then says its key, and checks that need tools are left out unless
# TOOLS_URL names a server whose every answer is the one below.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
clients=${CLIENTS:-openai anthropic ollama vercel langchain}
command -v npm >/dev/null 2>&1 && command -v node >/dev/null 2>&1 || { echo "client tests skipped: npm and node are not installed"; exit 0; }
if [ -z "${CLIENTS:-}" ] && ! node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)'; then
    clients="openai anthropic ollama vercel"
    echo "@langchain/openai skipped: it needs node 20"
fi
cmp -s "$here/package-lock.json" "$here/node_modules/.fetched" ||
    { (cd "$here" && npm ci --no-audit --no-fund --loglevel=error) && cp "$here/package-lock.json" "$here/node_modules/.fetched"; } ||
    { echo "client tests skipped: npm could not fetch the clients"; exit 0; }

call='Let me look.
<tool_call>
{"name": "get_weather", "arguments": {"city": "Ulm"}}
</tool_call>'
servers=
log=$(mktemp)
trap 'for s in $servers; do kill "$s" 2>/dev/null || true; wait "$s" 2>/dev/null || true; done; rm -f "$log"' EXIT

# start PORT COMMAND ...: a server on that port, ready.
start() {
    at=$1
    shift
    "$@" --host 127.0.0.1 --port "$at" --api-key "$API_KEY" >>"$log" 2>&1 &
    server=$!
    servers="$servers $server"
    n=0
    until node -e "fetch('http://127.0.0.1:$at/health').then(r=>process.exit(r.ok?0:1),()=>process.exit(1))"; do
        n=$((n + 1))
        kill -0 $server 2>/dev/null && [ $n -lt 300 ] || { echo "the server did not become ready:"; cat "$log"; exit 1; }
        sleep 0.2
    done
}
free_port() { node -e 's=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})'; }

if [ -z "${URL:-}" ]; then
    [ $# -gt 0 ] || { echo "usage: $0 COMMAND ...   or   URL=http://host:port $0" >&2; exit 2; }
    API_KEY=client-test-key
    port=$(free_port)
    start "$port" "$@"
    URL=http://127.0.0.1:$port
    port=$(free_port)
    start "$port" "$@" --null-engine --null-text "$call"
    TOOLS_URL=http://127.0.0.1:$port
fi
export BASE_URL="$URL" TOOLS_URL="${TOOLS_URL:-}" API_KEY
rc=0
for client in $clients; do
    node "$here/$client.mjs" || rc=1
done
exit $rc
