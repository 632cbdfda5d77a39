# shellcheck shell=sh
# The host level of the co-location experiment: the LC load, and an exporter that the guest can ask about it.
#
# Neither runs on a host's CPU, where it would itself be load. The clients have a CPU to themselves, as on machines of their
# own; the exporter is on the one of the guest's devices, and runs only when these don't.

# All hosts are one machine here, and share their CPUs out by session: LC work, which is on every host, would get less of each
# than the guest, which is on one. On a machine of its own it has equal shares.
echo 0 >/proc/sys/kernel/sched_autogroup_enabled

devices=$((LAB_NODES * LAB_VCPUS_PER_NODE))
clients=$((devices + 1))
taskset -c $devices chrt -i 0 prometheus-node-exporter --web.listen-address=127.0.0.1:9100 \
    --web.disable-exporter-metrics --collector.disable-defaults --collector.cpu --collector.pressure --log.level=error &
exporter=$!
taskset -c $clients /lab/put/vnuma-colocation load --memcached /lab/put/memcached/memcached --out /lab/out @LOAD@ &
load=$!
trap 'kill $exporter $load 2>/dev/null; wait; exit 0' TERM INT
# When the guest hangs up it has ended; without it the guest's own error says what is missing.
wait $load
kill $exporter
