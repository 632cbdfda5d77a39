# shellcheck shell=bash
# shellcheck disable=SC2034  # for the commands that source it
# Services as Debian ships them, unpacked without installing them: an installed service would start on the machine, and it is
# needed only in tests.

# The exporter for host levels that serve their CPU metrics.
NODE_EXPORTER=$CACHE/node-exporter/usr/bin/prometheus-node-exporter
# A folder with memcached and those of its libraries that a machine may lack.
MEMCACHED=$CACHE/memcached

# Prometheus and promtool, for the tests of examples/monitoring. Not installed: its package would start a service.
PROMETHEUS=$CACHE/prometheus/usr/bin/prometheus

fetch_services() {
    if [ ! -x "$PROMETHEUS" ]; then
        unpack_packages prometheus.new prometheus
        replace_folder prometheus.new prometheus
    fi
    if [ ! -x "$NODE_EXPORTER" ]; then
        unpack_packages node-exporter.new prometheus-node-exporter
        replace_folder node-exporter.new node-exporter
    fi
    if [ ! -x "$MEMCACHED/memcached" ]; then
        unpack_packages memcached.packages memcached libevent-2.1-7 libsasl2-2 libssl3
        rm -rf "$MEMCACHED.new"
        mkdir -p "$MEMCACHED.new"
        cp "$CACHE"/memcached.packages/usr/bin/memcached "$CACHE"/memcached.packages/usr/lib/*/*.so.* "$MEMCACHED.new"
        replace_folder memcached.new memcached
        rm -rf "$CACHE/memcached.packages"
    fi
}

# unpack_packages FOLDER PACKAGE...: Debian 12's, into CACHE/FOLDER.
unpack_packages() {
    local folder=$CACHE/$1 package
    shift
    refresh_apt tools
    say "fetching $*"
    rm -rf "$folder"
    mkdir -p "$folder/packages"
    (cd "$folder/packages" && with_apt tools apt-get -q download "$@" >"$APT/download.log" 2>&1) ||
        die "$* could not be downloaded: check the network (apt's output is in $APT/download.log)."
    for package in "$folder"/packages/*.deb; do
        dpkg -x "$package" "$folder"
    done
    rm -rf "$folder/packages"
}

# replace_folder NEW OLD: replaces a folder of CACHE in one step.
replace_folder() {
    rm -rf "${CACHE:?}/$2"
    mv "$CACHE/$1" "$CACHE/$2"
}
