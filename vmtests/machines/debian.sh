# shellcheck shell=bash
# A root of Debian 12 with systemd, in which the package is installed as users install it.

DEBIAN_ROOT=$CACHE/debian-12
# What the package depends on is there already: the machine has no network.
DEBIAN_PACKAGES=(systemd-sysv udev dbus procps libelf1 zlib1g)

debian_root_is_complete() {
    [ -x "$DEBIAN_ROOT/lib/systemd/systemd" ] && [ -e "$DEBIAN_ROOT/var/lib/dpkg/info/libelf1:amd64.list" ]
}

fetch_debian_root() {
    ! debian_root_is_complete || return 0
    refresh_apt tools
    say "fetching a root of Debian 12 with systemd, which takes a minute"
    rm -rf "$DEBIAN_ROOT" "$DEBIAN_ROOT.new"
    mmdebstrap --mode=root --variant=minbase --include="$(IFS=, && echo "${DEBIAN_PACKAGES[*]}")" \
        bookworm "$DEBIAN_ROOT.new" "$APT/tools.list" >"$CACHE/debian-12.log" 2>&1 ||
        die "a root of Debian 12 could not be made: check the network (mmdebstrap's output is in $CACHE/debian-12.log)."
    mv "$DEBIAN_ROOT.new" "$DEBIAN_ROOT"
}
