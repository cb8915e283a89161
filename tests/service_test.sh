#!/bin/bash
# The service under systemd itself: a Debian 12 with the package is booted in a container (systemd-nspawn), and asked from within.
# usage: service_test.sh PACKAGE.deb [CHROOT]   as root; CHROOT: a Debian 12 that is copied (default: debootstrap makes one)
set -eu
deb=$(realpath "$1") base=${2:-}
# shellcheck source=tests/chroot.sh
. "$(dirname "$0")/chroot.sh"
[ "$(id -u)" = 0 ] || { echo "service_test: systemd-nspawn needs root"; exit 77; }
dir=$(mktemp -d) root=$dir/strata-service
trap 'free_chroot "$root"; rm -rf --one-file-system "$dir"' EXIT
n=0 failed=0
# said WANTED TITLE: the probe's line "TITLE: ..." says WANTED
said() {
    n=$((n + 1))
    found=$(sed -n "s/^$2: //p" "$root/root/said")
    if [ "$found" = "$1" ]; then echo "ok: $2: $1"; else failed=$((failed + 1)) && echo "FAILED: $2: wanted \"$1\", found \"$found\""; fi
}

make_chroot "$root" "$base" "systemd-sysv dbus curl"
cp "$deb" "$root/root/strata.deb"
inside "$root" apt-get -qy install --no-install-recommends /root/strata.deb >"$dir/log" 2>&1 || { tail -5 "$dir/log"; exit 1; }
rm "$root/usr/sbin/policy-rc.d"
free_chroot "$root"

cat >"$root/root/probe" <<'EOF'
#!/bin/bash
exec >/root/said 2>/root/probe.log
set -x
say() { echo "$1: $2"; }
state() { systemctl show strata -p "$1" --value; }
status() { curl -s -o /dev/null -w '%{http_code}' "$@"; }
trap 'systemctl poweroff' EXIT

say "before anybody enables it" "$(systemctl is-enabled strata) $(systemctl is-active strata)"
systemctl start strata
say "when start returns, health is" "$(status http://127.0.0.1:8080/health)"
pid=$(state MainPID)
say "user of its own" "$(awk '/^Uid:/ { print ($2 > 1000 ? "yes" : $2) }' /proc/$pid/status)"
say "capabilities" "$(awk '/^CapEff:/ { print $2 }' /proc/$pid/status)"
say "system calls filtered" "$(awk '/^Seccomp:/ { print $2 }' /proc/$pid/status)"
say "cache" "$(stat -c %a /var/cache/private/strata)"
systemctl stop strata
say "stopped" "$(state Result) $(state ExecMainStatus)"

printf 'STRATA_OPTIONS=--port 8081 --engine process --parallel 4\nSTRATA_API_KEY=secret\n' >/etc/default/strata
chmod 600 /etc/default/strata
systemctl enable --now strata
say "enabled" "$(systemctl is-enabled strata)"
say "without the key" "$(status http://127.0.0.1:8081/v1/models)"
say "with the key" "$(status -H 'Authorization: Bearer secret' http://127.0.0.1:8081/v1/models)"
pid=$(state MainPID)
chat() {
    curl -s --retry 20 --retry-delay 1 http://127.0.0.1:8081/v1/chat/completions -H 'Authorization: Bearer secret' -H 'Content-Type: application/json' \
        -d '{"messages":[{"role":"user","content":"Hello!"}],"max_tokens":8}' | grep -c '"finish_reason":"length"'
}
say "answers" "$(chat)"
kill -KILL "$(grep -vx "$pid" /sys/fs/cgroup/system.slice/strata.service/cgroup.procs /sys/fs/cgroup/systemd/system.slice/strata.service/cgroup.procs 2>/dev/null |
    sed 's/.*://' | grep -vx "$pid" | head -1)"
sleep 1
say "answers after its engine was killed" "$(chat)"
say "engines replaced" "$(curl -s http://127.0.0.1:8081/metrics | awk '/^strata_engine_restarts_total/ { print $2 }')"
say "the server stayed" "$([ "$(state MainPID)" = "$pid" ] && echo yes)"
dpkg -i /root/strata.deb >&2
say "an upgrade restarts what runs" "$([ "$(state MainPID)" != "$pid" ] && systemctl is-active strata)"
kill -KILL "$(state MainPID)"
for _ in $(seq 30); do sleep 0.5; [ "$(state ActiveState)" = active ] && [ "$(state NRestarts)" = 1 ] && break; done
say "started again after it was killed" "$(state NRestarts) $(state ActiveState)"
echo 'STRATA_OPTIONS=--wrong' >/etc/default/strata
systemctl restart strata
say "a wrong option is not tried again" "$(state ActiveState) $(state ExecMainStatus) $(state NRestarts)"
echo 'STRATA_OPTIONS=--port 8081' >/etc/default/strata
systemctl reset-failed strata
systemctl start strata
dpkg -P strata >&2
say "purged while it runs" "$(systemctl is-active strata)"
say "left behind" "$(find / -xdev -name '*strata*' ! -path '/proc/*' ! -path '/var/log/*' ! -path '/root/*' | paste -sd' ')"
say "end" reached
EOF
chmod +x "$root/root/probe"
printf '[Unit]\nAfter=multi-user.target\n[Service]\nExecStart=/root/probe\n' >"$root/etc/systemd/system/probe.service"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../probe.service "$root/etc/systemd/system/multi-user.target.wants/probe.service"
timeout 180 systemd-nspawn -q -D "$root" -b --register=no --keep-unit </dev/null >"$dir/log" 2>&1 || true
[ -s "$root/root/said" ] || { echo "FAILED: the container did not boot"; tail -20 "$dir/log"; exit 1; }

said "disabled inactive" "before anybody enables it"
said 200 "when start returns, health is"
said yes "user of its own"
said 0000000000000000 "capabilities"
said 2 "system calls filtered"
said 700 "cache"
said "success 0" "stopped"
said enabled "enabled"
said 401 "without the key"
said 200 "with the key"
said 1 "answers"
said 1 "answers after its engine was killed"
said 1 "engines replaced"
said yes "the server stayed"
said active "an upgrade restarts what runs"
said "1 active" "started again after it was killed"
said "failed 2 0" "a wrong option is not tried again"
said inactive "purged while it runs"
said "" "left behind"
said reached "end"
[ $failed = 0 ] || { tail -40 "$root/root/probe.log"; echo "$failed of $n failed"; exit 1; }
echo "$n passed"
