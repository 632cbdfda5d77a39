# shellcheck shell=bash
# Prometheus node_exporter as Debian ships it, taken out of its package without installing it: a host
# level that is asked how busy it is runs it, and nothing else does.

NODE_EXPORTER_PACKAGE=prometheus-node-exporter
NODE_EXPORTER=$CACHE/node-exporter/usr/bin/prometheus-node-exporter

fetch_node_exporter() {
    [ ! -x "$NODE_EXPORTER" ] || return 0
    refresh_apt tools
    say "fetching $NODE_EXPORTER_PACKAGE"
    local work=$CACHE/node-exporter.new
    rm -rf "$work"
    mkdir -p "$work"
    (cd "$work" && with_apt tools apt-get -q download "$NODE_EXPORTER_PACKAGE" >"$APT/download.log" 2>&1) ||
        die "$NODE_EXPORTER_PACKAGE could not be downloaded: check the network (apt's words are in $APT/download.log)."
    dpkg -x "$work"/*.deb "$work/root"
    rm -rf "$CACHE/node-exporter"
    mv "$work/root" "$CACHE/node-exporter"
    rm -rf "$work"
}
