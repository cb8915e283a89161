# shellcheck shell=bash
# make_chroot ROOT BASE PACKAGES: a Debian 12 at ROOT with this machine's sources of packages and PACKAGES installed.
# BASE: a Debian 12 that is copied; "": debootstrap makes one.  Leaves ROOT/proc and ROOT/dev mounted; free_chroot undoes that.
make_chroot() {
    local root=$1 base=$2 packages=$3 log
    log=$(mktemp)
    if [ -n "$base" ]; then
        cp -a "$base" "$root"
    elif ! debootstrap --variant=minbase bookworm "$root" >"$log" 2>&1; then
        tail -5 "$log"
        return 1
    fi
    rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d "$root"/etc/apt/apt.conf.d
    cp -a /etc/apt/apt.conf.d "$root/etc/apt/"
    cp -a /etc/apt/sources.list.d "$root/etc/apt/" 2>/dev/null || mkdir -p "$root/etc/apt/sources.list.d"
    [ ! -f /etc/apt/sources.list ] || cp /etc/apt/sources.list "$root/etc/apt/"
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    mount -t proc proc "$root/proc"
    mount --bind /dev "$root/dev"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" && chmod +x "$root/usr/sbin/policy-rc.d" # no service starts in here
    # shellcheck disable=SC2086
    if ! { inside "$root" apt-get -q update && inside "$root" apt-get -qy install --no-install-recommends $packages; } >"$log" 2>&1; then
        tail -5 "$log"
        return 1
    fi
    rm -f "$log"
}
free_chroot() {
    ! mountpoint -q "$1/proc" || umount "$1/proc"
    ! mountpoint -q "$1/dev" || umount "$1/dev"
}
inside() {
    local root=$1
    shift
    chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"
}
