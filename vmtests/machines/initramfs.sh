# shellcheck shell=bash
# Packs the emulated machines' file systems: cpio archives, concatenated in the order in which
# the kernel unpacks them. The large ones are packed once and kept; a run packs only its own files.
#
#   tools.cpio           every level: busybox, the tools of LEVEL_TOOLS, their libraries
#   modules-SERIES.cpio  every level: the kernel's modules and config
#   stress-ng.cpio       every level of a run that names stress-ng: it is as large as all the rest
#   node-exporter.cpio   host level of a run that names prometheus-node-exporter
#   qemu.cpio            host level: QEMU, its libraries and firmware
#   guest-SERIES.cpio    host level: /lab/boot, the guest's kernel, tools and modules as they are
#   (the run's own)      /lab/put, /lab/scripts, /lab/levels, the project's binaries

PACKED=$CACHE/packed
LEVEL_TOOLS=(/usr/bin/taskset /usr/bin/chrt /usr/sbin/bpftool)
STRESS_NG=/usr/bin/stress-ng
QEMU=/usr/bin/qemu-system-x86_64
QEMU_DATA=/usr/share/qemu
FIRMWARE=(/usr/share/seabios/bios-256k.bin "$QEMU_DATA"/{kvmvapic,linuxboot_dma,pvh}.bin)
# Built by the project itself; copied to every level if they exist.
PROJECT_BINARIES=(scx_vnuma vnuma-sim vnuma-scenarios)

# pack FOLDER ARCHIVE
pack() {
    (cd "$1" && find . -mindepth 1 -print0 | cpio -o -0 -H newc --quiet -R 0:0) >"$2.new"
    mv "$2.new" "$2"
}

# pack_once NAME KEY FUNCTION ARGUMENT...: packs PACKED/NAME.cpio from the folder that FUNCTION fills,
# unless it was packed for this KEY already. The folder is kept to show what the archive contains.
pack_once() {
    local name=$1 key=$2 filler=$3
    shift 3
    # This file, which defines how archives are packed, is part of the key.
    key=$(cat - "$VMTESTS/machines/initramfs.sh" <<<"$key" | sha256sum)
    if [ ! -s "$PACKED/$name.cpio" ] || [ "$(cat "$PACKED/$name.key" 2>/dev/null)" != "$key" ]; then
        say "packing $name"
        rm -rf "${PACKED:?}/$name" "$PACKED/$name.key"
        mkdir -p "$PACKED/$name"
        "$filler" "$PACKED/$name" "$@"
        pack "$PACKED/$name" "$PACKED/$name.cpio"
        echo "$key" >"$PACKED/$name.key"
    fi
}

# pack_kept_archives SERIES
pack_kept_archives() {
    local series=$1 tool
    for tool in busybox "${LEVEL_TOOLS[@]}" "$STRESS_NG" "$QEMU" cpio; do
        command -v "$tool" >/dev/null || die "$tool is missing: run vmtests/setup."
    done
    [ -x "$NODE_EXPORTER" ] || die "prometheus-node-exporter is missing: run vmtests/setup."
    mkdir -p "$PACKED"
    # Two concurrent labs would pack into the same folders.
    exec 8>"$PACKED/lock"
    flock 8
    pack_once tools "$(identity /usr/bin/busybox "${LEVEL_TOOLS[@]}")" fill_tools
    pack_once stress-ng "$(identity "$STRESS_NG")" fill_stress_ng
    pack_once node-exporter "$(identity "$NODE_EXPORTER")" fill_node_exporter
    pack_once qemu "$(identity "$QEMU" "${FIRMWARE[@]}")" fill_qemu
    pack_once "modules-$series" "$(identity "$(kernel_tree "$series")/vmlinux")" fill_modules "$series"
    pack_once "guest-$series" "$(cat "$PACKED"/{tools,"modules-$series"}.key)" fill_guest_boot "$series"
    exec 8>&-
}

identity() {
    stat -L -c '%n %s %Y' "$@"
}

fill_tools() {
    local root=$1 applet
    mkdir -p "$root"/{bin,boot,dev,lab/bin,lab/put,proc,root,run,sys,tmp,etc}
    cp /usr/bin/busybox "$root/bin/busybox"
    for applet in $(busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    cp "${LEVEL_TOOLS[@]}" "$root/lab/bin"
    echo "root:x:0:0:root:/root:/bin/sh" >"$root/etc/passwd"
    echo "root:x:0:" >"$root/etc/group"
    ln -s /proc/self/mounts "$root/etc/mtab"
    copy_libraries "$root" "${LEVEL_TOOLS[@]}"
}

fill_stress_ng() {
    mkdir -p "$1/lab/bin"
    cp "$STRESS_NG" "$1/lab/bin"
    copy_libraries "$1" "$STRESS_NG"
}

fill_node_exporter() {
    mkdir -p "$1/lab/bin"
    cp "$NODE_EXPORTER" "$1/lab/bin"
    copy_libraries "$1" "$NODE_EXPORTER"
}

fill_qemu() {
    local root=$1
    mkdir -p "$root/lab/bin" "$root/lab/qemu"
    cp "$QEMU" "$root/lab/bin"
    cp "${FIRMWARE[@]}" "$root/lab/qemu"
    copy_libraries "$root" "$QEMU"
}

fill_modules() {
    local root=$1 tree release
    tree=$(kernel_tree "$2")
    release=$(<"$tree/release")
    mkdir -p "$root/boot" "$root/lib/modules"
    cp "$tree/boot/config-$release" "$root/boot"
    cp -r "$tree/lib/modules/$release" "$root/lib/modules"
    cp -r "$tree/hypervisor" "$root/lib/hypervisor"
}

fill_guest_boot() {
    mkdir -p "$1/lab/boot"
    ln "$(kernel_tree "$2")/vmlinux" "$1/lab/boot/vmlinux"
    cat "$PACKED"/{tools,"modules-$2"}.cpio >"$1/lab/boot/base.cpio"
}

# copy_libraries ROOT BINARY...: copies the libraries that ldd lists, at the same paths, except those that each level has.
copy_libraries() {
    local root=$1 library
    shift
    for library in $(ldd "$@" 2>/dev/null | grep -o '/[^ :]*\.so[^ :]*' | sort -u); do
        if [ ! -e "$root$library" ] && [ ! -e "$PACKED/tools$library" ]; then
            mkdir -p "$root$(dirname "$library")"
            cp -L "$library" "$root$library"
        fi
    done
}

# copy_project_binaries FOLDER SCRIPT...: warns when a script uses a binary that does not exist.
copy_project_binaries() {
    local folder=$1 name binary
    shift
    mkdir -p "$folder"
    for name in "${PROJECT_BINARIES[@]}"; do
        binary=$(project_binary "$name")
        if [ -n "$binary" ]; then
            cp "$binary" "$folder"
        elif grep -qw -- "$name" "$@"; then
            say "$name is not built: run cargo build --release --workspace"
        fi
    done
}

# add_libraries ROOT: of every executable below ROOT/lab.
add_libraries() {
    local root=$1 file
    while IFS= read -r -d '' file; do
        if [ "$(head -c 4 "$file" | tr -d '\0')" = $'\177ELF' ]; then
            copy_libraries "$root" "$file"
        fi
    done < <(find "$root/lab" -type f -perm -u+x -print0)
}
