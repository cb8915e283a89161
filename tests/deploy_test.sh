#!/bin/bash
# An installation, and what deploy/ says about the server, held against a server that is running.
# usage: deploy_test.sh BUILD-FOLDER     (python3 with yaml is asked where it is)
set -eu
build=$(realpath "$1")
cd "$(dirname "$0")/.."
dir=$(mktemp -d) server=
leave() { [ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$dir"; }
trap leave EXIT
n=0 failed=0
is() {
    n=$((n + 1))
    [ "$2" = "$3" ] || { failed=$((failed + 1)); echo "FAILED: $1"; echo "    wanted: $2"; echo "    found:  $3"; }
}

# ---- an installation elsewhere: complete, alive, and gone again
prefix=/opt/strata root=$dir/root
for part in program plain; do
    DESTDIR=$root cmake --install "$build" --prefix $prefix --component $part >"$dir/log" || { cat "$dir/log"; exit 1; }
    cat "$build/install_manifest_$part.txt"
    echo
done | grep . >"$dir/manifest"
here=$root$prefix
strata=$here/bin/strata
is "the manifest names what there is" "$(cd "$root" && find . -type f | sed 's/^\.//' | LC_ALL=C sort)" "$(LC_ALL=C sort "$dir/manifest")"
commands=$("$strata" --help | awk '/^  [a-z]/ { print $1 }')
is "a page for each command, and one for the program" "$(printf 'strata\n%s\n' "$commands" | sed '2,$s/^/strata-/' | LC_ALL=C sort)" \
    "$(find "$here/share/man/man1" -type f | sed 's|.*/||; s/\.1\(\.gz\)\{0,1\}$//' | LC_ALL=C sort)"
for file in share/bash-completion/completions/strata share/fish/vendor_completions.d/strata.fish share/doc/strata/LICENSE share/strata/models/README.md; do
    is "$file is there" yes "$([ -s "$here/$file" ] && echo yes)"
done
is "zsh's function is there" 1 "$(find "$here/share/zsh" -name _strata -size +0 | wc -l)"

# ---- YAML and JSON that can be read
python=$(command -v /usr/bin/python3 || command -v python3 || true)
if [ -n "$python" ] && "$python" -c 'import yaml' 2>/dev/null; then
    find deploy -name '*.y*ml' ! -path '*/templates/*' -print0 | xargs -0 "$python" -c '
import sys, yaml
for path in sys.argv[1:]:
    for doc in yaml.safe_load_all(open(path)):
        assert isinstance(doc, dict) and doc, path' 2>"$dir/err" || true
    is "every YAML file parses" "" "$(tail -1 "$dir/err")"
else
    echo "not here, not asked: python3 with yaml"
fi

if ! echo "$commands" | grep -qx serve; then # built without the server
    [ $failed = 0 ] || { echo "$failed of $n failed"; exit 1; }
    echo "$n passed, none of the server"
    exit 0
fi

is "the unit starts what is installed" "ExecStart=$prefix/bin/strata serve \$STRATA_OPTIONS" "$(grep ^ExecStart= "$here/lib/systemd/system/strata.service")"

# ---- the installed server: the demo model is found, health, notification, metrics
(cd / && exec "$strata" serve --port 0 >"$dir/out" 2>"$dir/err") &
server=$!
for _ in $(seq 600); do
    grep -q '^ready:' "$dir/out" && break
    kill -0 $server 2>/dev/null || break
    sleep 0.1
done
port=$(sed -n 's|^ready: http://127.0.0.1:\([0-9]*\)/.*|\1|p' "$dir/out")
is "the server is ready with the demo model" "ready: http://127.0.0.1:$port/v1 (strata-demo-base-Q4_K_M)" "$(cat "$dir/out" || cat "$dir/err")"
[ -n "$port" ] || { cat "$dir/err"; exit 1; }
rc=0; deploy/docker/healthcheck "$port" || rc=$?
is "the image's health check: healthy" 0 $rc
ask() { # METHOD PATH [BODY]: the answer's body
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf '%s %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' "$1" "$2" "${#3}" "$3" >&3
    tr -d '\r' <&3 | sed '1,/^$/d'
    exec 3>&-
}
is "it answers" 1 "$(ask POST /v1/chat/completions '{"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 4}' | grep -c '"finish_reason"')"
ask GET /metrics "" >"$dir/metrics"
grep -o '^strata_[a-z0-9_]*' "$dir/metrics" | LC_ALL=C sort -u >"$dir/has"
is "/metrics has something" yes "$([ "$(wc -l <"$dir/has")" -gt 30 ] && echo yes)"
for file in deploy/grafana/strata.json deploy/prometheus/strata.rules.yml deploy/prometheus/strata.test.yml; do
    grep -v '"uid"' $file | grep -o '\bstrata_[a-z0-9_]*' | LC_ALL=C sort -u >"$dir/names"
    is "$file names metrics" yes "$([ -s "$dir/names" ] && echo yes)"
    is "$file names only metrics that there are" "" "$(LC_ALL=C comm -23 "$dir/names" "$dir/has")"
done
grep -o 'handler=[^"]*"[^"]*"\|handler!~[^"]*"[^"]*"' deploy/prometheus/strata.rules.yml deploy/grafana/strata.json | grep -o '"[^"]*"' | tr -d '"\134' | tr '|' '\n' | LC_ALL=C sort -u >"$dir/handlers"
for path in health health/ready health/live metrics v2/models/strata-demo-base-Q4_K_M/ready; do ask GET /$path "" >/dev/null; done
ask GET /metrics "" | sed -n 's/^strata_http_requests_total{handler="\([^"]*\)".*/\1/p' | LC_ALL=C sort -u >"$dir/has"
is "handlers that are left out are handlers" "" "$(LC_ALL=C comm -23 "$dir/handlers" "$dir/has")"
kill $server
rc=0; wait $server || rc=$?
server=
is "SIGTERM ends it with status" 0 $rc
rc=0; deploy/docker/healthcheck "$port" 2>/dev/null || rc=$?
is "the image's health check: nobody there" 1 $rc

if [ -n "$python" ]; then # as systemd starts it: Type=notify
    is "a service manager hears READY, then STOPPING" "READY=1 STOPPING=1" "$("$python" -c '
import os, signal, socket, subprocess, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[2])
s.settimeout(60)
p = subprocess.Popen([sys.argv[1], "serve", "--port", "0"], cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                     env=dict(os.environ, NOTIFY_SOCKET=sys.argv[2]))
try:
    first = s.recv(100)
    p.send_signal(signal.SIGTERM)
    print(first.decode(), s.recv(100).decode())
finally:
    p.terminate()
    p.wait()' "$strata" "$dir/notify")"
fi

tools/uninstall "$dir/manifest" $prefix "$root" >"$dir/log"
is "uninstall leaves no file" "" "$(find "$root" -type f)"
is "uninstall leaves no folder of ours" "" "$(find "$here" -mindepth 1 -name 'strata*')"

[ $failed = 0 ] || { echo "$failed of $n failed"; exit 1; }
echo "$n passed"
