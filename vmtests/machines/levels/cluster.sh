# shellcheck shell=sh
# The host level's program: boots the guest level, runs both scripts, ends both levels.
#
# Reads LAB_NODES, LAB_VCPUS_PER_NODE, LAB_SPARE_CPUS, LAB_NODE_MEMORY_MB, LAB_GUEST_SCRIPT (yes or empty),
# LAB_QEMU_DATA, LAB_AWAIT_ISOLATION (yes or empty), LAB_GUEST_MEMORY_BASE_MB (empty unless pages are charged for), and the streams'
# devices LAB_HOST_STREAM and LAB_GUEST_STREAM.
# Guest output goes to /lab/guest-out. Reports its state by files in /lab/run/state: host-up, guest-up, guest-died, status.

vcpus=$((LAB_NODES * LAB_VCPUS_PER_NODE))
control=/lab/control

run_cluster() {
    mkdir -p $control
    cp /lab/run/parameters $control/parameters
    : >/lab/run/state/host-up
    start_guest
    pin_vcpus
    await_guest $control/guest-up || return
    export LAB_NODES LAB_VCPUS_PER_NODE LAB_VCPU_TIDS
    : >/lab/run/state/guest-up
    until [ -z "$LAB_AWAIT_ISOLATION" ] || [ -e /lab/run/state/isolated ]; do
        pause 0.1
    done
    start_script /lab/scripts/host "$LAB_HOST_STREAM" $control/host-status "0-$((vcpus + LAB_SPARE_CPUS - 1))"
    : >$control/go
    if [ "$LAB_GUEST_SCRIPT" ]; then
        await_guest $control/guest-status || return
        end_script $control/host-status
        report_status $control/guest-status
    else
        await_guest $control/host-status || return
        end_script $control/host-status
        report_status $control/host-status
    fi
    kill "$guest_pid"
    wait "$guest_pid"
}

# Its virtio devices are the legacy kind, notified by port: with the modern kind, notified by memory,
# the emulated SVM often ends the guest with "KVM internal error. Suberror: 3".
#
# All of QEMU but the vCPU threads stays on the first CPU that belongs to no host of the cluster.
start_guest() {
    # shellcheck disable=SC2046
    taskset -c "$vcpus" qemu-system-x86_64 -L "$LAB_QEMU_DATA" -name guest,debug-threads=on \
        -accel kvm -cpu host,svm=off,vmx=off \
        -M pc,smm=off,hpet=off,i8042=off,usb=off \
        -smp "$vcpus" -m "$((LAB_NODES * LAB_NODE_MEMORY_MB))M" $(numa_options) \
        -nodefaults -nographic -no-reboot -monitor none \
        -serial file:/lab/run/console-guest.log \
        -device virtio-serial-pci,disable-modern=on -chardev "file,id=stream,path=$LAB_GUEST_STREAM,append=on" \
        -device virtserialport,chardev=stream,name=lab.stream \
        $(share_options out /lab/guest-out) $(share_options shared /lab/shared) \
        $(share_options control $control) \
        -netdev user,id=net -device virtio-net-pci,disable-modern=on,netdev=net,romfile= \
        -kernel /lab/boot/vmlinux -initrd /lab/boot/guest.cpio \
        -append "console=ttyS0 lab.level=guest quiet panic=-1 reboot=t mitigations=off nokaslr audit=0 tsc=reliable" \
        </dev/null >>/lab/run/qemu-guest.log 2>&1 &
    guest_pid=$!
}

numa_options() {
    node=0
    while [ $node -lt "$LAB_NODES" ]; do
        first=$((node * LAB_VCPUS_PER_NODE))
        echo "-object $(memory_backend $node),id=m$node,size=${LAB_NODE_MEMORY_MB}M"
        echo "-numa node,nodeid=$node,cpus=$first-$((first + LAB_VCPUS_PER_NODE - 1)),memdev=m$node"
        node=$((node + 1))
    done
}

# memory_backend NODE: of pages that are charged for, the place is known: the kernel of this level leaves it alone.
memory_backend() {
    if [ "$LAB_GUEST_MEMORY_BASE_MB" ]; then
        offset_mb=$((LAB_GUEST_MEMORY_BASE_MB + $1 * LAB_NODE_MEMORY_MB))
        echo "memory-backend-file,mem-path=/dev/mem,share=on,offset=$((offset_mb << 20))"
    else
        echo memory-backend-ram
    fi
}

share_options() {
    echo "-fsdev local,id=$1,path=$2,security_model=none,multidevs=remap"
    echo "-device virtio-9p-pci,disable-modern=on,fsdev=$1,mount_tag=$1"
}

# pin_vcpus: pins vCPU i to CPU i. This is done early: otherwise the guest level would boot on QEMU's one CPU.
pin_vcpus() {
    LAB_VCPU_TIDS=
    vcpu=0
    while [ $vcpu -lt $vcpus ]; do
        tid=$(vcpu_thread $vcpu)
        if [ "$tid" ]; then
            taskset -p -c $vcpu "$tid" >/dev/null
            LAB_VCPU_TIDS="$LAB_VCPU_TIDS${LAB_VCPU_TIDS:+ }$tid"
            vcpu=$((vcpu + 1))
        else
            guest_lives || return
            pause 0.02
        fi
    done
}

vcpu_thread() {
    for task in /proc/"$guest_pid"/task/*; do
        { read -r name <"$task/comm"; } 2>/dev/null || continue
        case $name in
        "CPU $1/"*) echo "${task##*/}" ;;
        esac
    done
}

# await_guest FILE: fails when the guest level dies before the file appears.
await_guest() {
    until [ -e "$1" ]; do
        if ! guest_lives; then
            : >/lab/run/state/guest-died
            return 1
        fi
        pause 0.1
    done
}

guest_lives() {
    { read -r line <"/proc/$guest_pid/stat"; } 2>/dev/null || return 1
    case ${line##*) } in
    Z*) return 1 ;;
    esac
}

report_status() {
    cp "$1" /lab/run/state/status.new
    mv /lab/run/state/status.new /lab/run/state/status
}
