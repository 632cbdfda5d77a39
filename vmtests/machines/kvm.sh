# shellcheck shell=bash
# Checks whether KVM works here. That its device file can be opened proves little: some machines still
# cannot run an ordinary kernel. So a tiny guest is run with KVM, once for each boot of the machine.

KVM_PROBE_SECONDS=10

# kvm_works: LAB_KVM=no overrides the check.
kvm_works() {
    [ "${LAB_KVM-}" != no ] && [ -w /dev/kvm ] || return 1
    local answer
    answer=$CACHE/kvm-$(</proc/sys/kernel/random/boot_id)
    if [ ! -e "$answer" ]; then
        rm -f "$CACHE"/kvm-*-*
        if probe_kvm; then echo yes; else echo no; fi >"$answer"
        say "KVM works here: $(<"$answer")"
    fi
    [ "$(<"$answer")" = yes ]
}

# probe_kvm: boots an ordinary kernel without a root file system, which must reach its panic message.
probe_kvm() {
    local series=${KERNEL_SERIES[0]} console
    console=$(timeout -k 1 "$KVM_PROBE_SECONDS" "$QEMU" -accel kvm -cpu host -M pc -m 256M \
        -nodefaults -nographic -no-reboot -monitor none -serial stdio \
        -kernel "$(kernel_tree "$series")/vmlinux" -append "console=ttyS0 panic=-1" </dev/null 2>&1 || true)
    [[ $console == *"Kernel panic"*"unable to mount root"* || $console == *"Unable to mount root"* ]]
}
