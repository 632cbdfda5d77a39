# shellcheck shell=bash
# Whether KVM works here. Its device file says little: there are machines where it opens and cannot
# run an ordinary kernel. So a tiny guest is run with it, once for each boot of the machine.

KVM_PROBE_SECONDS=10

# kvm_works: LAB_KVM=no answers for it.
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

# probe_kvm: an ordinary kernel without a root file system comes to its panic, and says so.
probe_kvm() {
    local series=${KERNEL_SERIES[0]} console
    console=$(timeout -k 1 "$KVM_PROBE_SECONDS" "$QEMU" -accel kvm -cpu host -M pc -m 256M \
        -nodefaults -nographic -no-reboot -monitor none -serial stdio \
        -kernel "$(kernel_tree "$series")/vmlinux" -append "console=ttyS0 panic=-1" </dev/null 2>&1 || true)
    [[ $console == *"Kernel panic"*"unable to mount root"* || $console == *"Unable to mount root"* ]]
}
