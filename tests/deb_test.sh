#!/bin/bash
# The Debian package from outside: lintian, installation in a chroot of Debian 12, a question to its server, purge.
# usage: deb_test.sh PACKAGE.deb [CHROOT]   as root; CHROOT: a Debian 12 that is copied (default: debootstrap makes one)
set -eu
deb=$(realpath "$1") base=${2:-}
# shellcheck source=tests/chroot.sh
. "$(dirname "$0")/chroot.sh"
[ "$(id -u)" = 0 ] || { echo "deb_test: chroot needs root"; exit 77; }
dir=$(mktemp -d) root=$dir/root server=
leave() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    free_chroot "$root"
    rm -rf --one-file-system "$dir"
}
trap leave EXIT
n=0 failed=0
ok() { n=$((n + 1)); echo "ok: $1"; }
no() { n=$((n + 1)) failed=$((failed + 1)); echo "FAILED: $1"; }
is() { if [ "$2" = "$3" ]; then ok "$1"; else no "$1: wanted \"$2\", found \"$3\""; fi; }

if command -v lintian >/dev/null; then
    is "lintian has nothing to say" "" "$(lintian -I --allow-root "$deb" 2>&1 | grep -v '^running with root' || true)"
else
    echo "not here, not asked: lintian"
fi

# ---- its dependencies by name, then itself by dpkg alone
depends=$(dpkg-deb -f "$deb" Depends | tr ',' '\n' | sed 's/ *([^)]*)//; s/^ *//')
echo "depends on: $(echo "$depends" | paste -sd" ")"
make_chroot "$root" "$base" "$depends"
is "a Debian 12" 12 "$(inside "$root" sed -n 's/^VERSION_ID="\(.*\)"/\1/p' /etc/os-release)"
files() { (cd "$root" && find . -xdev \( -path ./proc -o -path ./dev -o -path ./tmp -o -path ./var/lib/dpkg -o -path ./var/log -o -path ./var/cache \) -prune \
    -o -print | LC_ALL=C sort); }
files >"$dir/before"
cp "$deb" "$root/tmp/strata.deb"
if inside "$root" dpkg -i /tmp/strata.deb >"$dir/log" 2>&1; then ok "dpkg -i"; else no "dpkg -i: $(tail -3 "$dir/log")"; fi
files >"$dir/installed"
# shellcheck disable=SC2016
is "no conffiles" "" "$(inside "$root" dpkg-query -W -f '${Conffiles}' strata)"
is "every file as dpkg knows it" "" "$(inside "$root" dpkg --verify strata)"
is "the program says its version" "strata $(dpkg-deb -f "$deb" Version)" "$(inside "$root" strata --version)"
is "the demo model is found and speaks" yes "$(inside "$root" sh -c 'cd / && strata ask -n 4 --temperature 0 Hello' | grep -q '[a-z]' && echo yes)"

# nobody's server: exec all the way, so that the signal reaches it
(exec chroot --userspec=65534:65534 "$root" /usr/bin/strata serve --port 0) >"$dir/out" 2>"$dir/err" &
server=$!
for _ in $(seq 300); do grep -q '^ready:' "$dir/out" && break; kill -0 $server 2>/dev/null || break; sleep 0.1; done
url=$(sed -n 's/^ready: \(http[^ ]*\).*/\1/p' "$dir/out")
is "the server is ready" 1 "$(grep -c '^ready:' "$dir/out" || { cat "$dir/err" >&2; true; })"
is "/health" 200 "$(curl -s -o /dev/null -w '%{http_code}' "${url%/v1}/health")"
answer=$(curl -s "$url/chat/completions" -H 'Content-Type: application/json' \
    -d '{"messages": [{"role": "user", "content": "Hello!"}], "temperature": 0, "max_tokens": 8}')
is "it answers" 1 "$(echo "$answer" | grep -c '"finish_reason": *"\(length\|stop\)"')"
kill $server
rc=0; wait $server || rc=$?
is "SIGTERM ends it with status" 0 $rc
server=

# ---- gone again
if inside "$root" dpkg -P strata >"$dir/log" 2>&1; then ok "dpkg -P"; else no "dpkg -P: $(tail -3 "$dir/log")"; fi
is "dpkg -P removes without a warning" "" "$(grep -i 'warning' "$dir/log" || true)"
files >"$dir/after"
is "the package added files" yes "$(cmp -s "$dir/before" "$dir/installed" && echo no || echo yes)"
is "purge leaves nothing" "" "$(LC_ALL=C comm -13 "$dir/before" "$dir/after")"
is "purge takes nothing else" "" "$(LC_ALL=C comm -23 "$dir/before" "$dir/after")"

[ $failed = 0 ] || { echo "$failed of $n failed"; exit 1; }
echo "$n passed"
