# shellcheck shell=bash
# Kernels with sched_ext, taken out of Debian packages without installing them.
#
# A kernel's tree, CACHE/kernel-SERIES:
#   release                     the output of `uname -r` in it
#   vmlinux                     unpacked: boots by its PVH note, so no level decompresses anything
#   boot/vmlinuz-R, config-R    libbpf reads the config: without it a load fails with a bare EINVAL
#   lib/modules/R               the few modules that a guest needs, uncompressed, with an index
#   hypervisor                  KVM's modules, kept apart so that udev does not load them in every guest

# Shares between levels (9p), virtme-ng's own, overlays, and the network to the host level.
GUEST_MODULES=(netfs 9pnet 9pnet_virtio 9p overlay failover net_failover virtio_net)
HYPERVISOR_MODULES=(irqbypass ccp kvm kvm-amd)

kernel_tree() {
    echo "$CACHE/kernel-$1"
}

# require_kernel SERIES: ends the command unless the kernel's tree is complete.
require_kernel() {
    kernel_is_complete "$1" || die "kernel $1 is missing or incomplete: run vmtests/setup."
}

# kernel_is_complete SERIES: checks for the files themselves, not just for a mark that they once existed.
kernel_is_complete() {
    local tree release module
    tree=$(kernel_tree "$1")
    [ -s "$tree/release" ] && release=$(<"$tree/release") &&
        [ -s "$tree/vmlinux" ] && [ -s "$tree/boot/vmlinuz-$release" ] &&
        [ -s "$tree/boot/config-$release" ] && [ -s "$tree/lib/modules/$release/modules.dep" ] &&
        [ -s "$tree/hypervisor/kvm.ko" ] || return 1
    for module in "${GUEST_MODULES[@]}"; do
        [ -s "$tree/lib/modules/$release/kernel/$module.ko" ] || return 1
    done
}

fetch_kernel() {
    local series=$1
    ! kernel_is_complete "$series" || return 0
    refresh_apt kernels
    local release
    release=$(newest_kernel "$series")
    [ -n "$release" ] || die "trixie-backports has no kernel of series $series any more:" \
        "change KERNEL_SERIES in vmtests/machines/common.sh to series that it has."
    say "fetching kernel $release"
    local work=$CACHE/kernel-$series.new
    rm -rf "$work"
    mkdir -p "$work"
    unpack_kernel_packages "$release" "$work"
    lay_out_kernel_tree "$release" "$work"
    rm -rf "$(kernel_tree "$series")"
    mv "$work/tree" "$(kernel_tree "$series")"
    rm -rf "$work"
}

# newest_kernel SERIES: the release name, such as 7.3.4+deb13-amd64; empty if there is none.
newest_kernel() {
    with_apt kernels apt-cache pkgnames "linux-binary-$1." |
        sed -n 's/^linux-binary-\([0-9.]*+deb[0-9]*-amd64\)$/\1/p' | sort -V | tail -n 1
}

# Each kernel is split into what boots (binary), its modules, and its config (base).
unpack_kernel_packages() {
    local release=$1 work=$2 part
    (
        cd "$work"
        with_apt kernels apt-get -q download \
            "linux-base-$release" "linux-binary-$release" "linux-modules-$release" >"$APT/download.log" 2>&1
    ) || die "kernel $release could not be downloaded: check the network (apt's output is in $APT/download.log)."
    for part in "$work"/*.deb; do
        dpkg -x "$part" "$work/root"
    done
}

lay_out_kernel_tree() {
    local release=$1 work=$2
    local tree=$work/tree packed=$work/root/usr/lib/modules/$1
    mkdir -p "$tree/boot"
    cp "$packed/vmlinuz" "$tree/boot/vmlinuz-$release"
    cp "$packed/config" "$tree/boot/config-$release"
    copy_modules "$packed" "$tree/lib/modules/$release" "$tree/hypervisor"
    depmod -b "$tree" "$release"
    unpack_vmlinux "$packed/vmlinuz" >"$tree/vmlinux"
    file -b "$tree/vmlinux" | grep -q '^ELF' ||
        die "the kernel in linux-binary-$release is not packed with zstd as expected: unpack_vmlinux must learn its form."
    echo "$release" >"$tree/release"
}

# Only the modules that a level uses: a whole tree makes udev load hundreds of them.
copy_modules() {
    local from=$1 to=$2 module
    mkdir -p "$to/kernel" "$3"
    cp "$from"/modules.{order,builtin,builtin.modinfo} "$to"
    for module in "${GUEST_MODULES[@]}"; do
        unpack_module "$from" "$module" "$to/kernel"
    done
    for module in "${HYPERVISOR_MODULES[@]}"; do
        unpack_module "$from" "$module" "$3"
    done
}

unpack_module() {
    local found
    found=$(find "$1/kernel" -name "$2.ko.xz")
    [ -n "$found" ] || die "the kernel package has no module $2."
    xz -dc "$found" >"$3/$2.ko"
}

# unpack_vmlinux VMLINUZ: extracts the kernel proper, whose place the boot header gives.
# (Fields setup_sects, payload_offset and payload_length of Documentation/arch/x86/boot.rst; the
# last four bytes of the payload are its unpacked size, not part of the zstd stream.)
unpack_vmlinux() {
    local sectors offset length
    sectors=$(od -An -tu1 -j $((0x1f1)) -N 1 "$1")
    read -r offset length < <(od -An -tu4 -j $((0x248)) -N 8 "$1")
    dd if="$1" bs=1M iflag=skip_bytes,count_bytes status=none \
        skip=$(((sectors + 1) * 512 + offset)) count=$((length - 4)) | zstd -dc
}
