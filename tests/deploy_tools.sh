#!/bin/bash
# What deploy/ holds, read by the tools that will read it: promtool, systemd-analyze, shellcheck, Helm's template engine, nginx.
# usage: deploy_tools.sh BUILD-FOLDER      (make test-deploy installs the tools; one that is not here is said)
set -eu
build=$(realpath "$1")
cd "$(dirname "$0")/.."
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
n=0 failed=0
run() { # TITLE COMMAND...: it ends with 0
    n=$((n + 1))
    title=$1
    shift
    if "$@" >"$dir/log" 2>&1; then echo "ok: $title"; else failed=$((failed + 1)) && echo "FAILED: $title" && sed 's/^/    /' "$dir/log"; fi
}
have() { command -v "$1" >/dev/null 2>&1 || { echo "not here, not asked: $1"; return 1; }; }

if have promtool; then
    run "Prometheus reads the rules" promtool check rules deploy/prometheus/strata.rules.yml
    run "Prometheus reads its configuration" promtool check config deploy/prometheus/prometheus.yml
    run "each alert fires on what it is for" promtool test rules deploy/prometheus/strata.test.yml
fi
if have shellcheck; then
    run "shell scripts" shellcheck deploy/docker/healthcheck deploy/debian/postinst deploy/debian/prerm deploy/debian/postrm tools/uninstall \
        tests/chroot.sh tests/deb_test.sh tests/service_test.sh tests/deploy_test.sh tests/deploy_tools.sh tests/docs_test.sh
fi
if have systemd-analyze; then
    cmake --install "$build" --prefix "$dir/usr" --component program >/dev/null
    unit=$dir/usr/lib/systemd/system/strata.service
    run "systemd reads the unit" systemd-analyze verify --man=no "$unit"
    run "and has nothing to remark" test -z "$(cat "$dir/log")"
    run "its exposure is below 2.0 of 10" systemd-analyze security --offline=true --threshold=20 "$unit"
fi
if have go; then
    run "the renderer builds" env GOFLAGS=-mod=mod GOCACHE="$dir/go" go build -o "$dir/render" tests/helm/render.go
    python=$(command -v /usr/bin/python3 || command -v python3)
    run "the chart renders into what Kubernetes takes" "$python" tests/helm/check.py "$dir/render" deploy/helm/strata
fi
if have helm; then run "helm lint" helm lint deploy/helm/strata; fi
if have nginx; then
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$dir/key" -out "$dir/pem" -days 1 -subj /CN=llm.example.org 2>/dev/null
    sed "s|/etc/ssl/llm.example.org.pem|$dir/pem|; s|/etc/ssl/llm.example.org.key|$dir/key|" deploy/proxy/nginx.conf >"$dir/site.conf"
    printf 'pid %s/pid;\nerror_log stderr;\nevents {}\nhttp { include %s/site.conf; }\n' "$dir" "$dir" >"$dir/nginx.conf"
    run "nginx reads the proxy's configuration" nginx -t -c "$dir/nginx.conf"
fi
have docker || true # the images: built by nobody here
[ $failed = 0 ] || { echo "$failed of $n failed"; exit 1; }
echo "$n passed"
