# shellcheck shell=sh
# The host level of the co-location experiment: the LC load, and an exporter that the guest can query about it.
#
# Neither the clients nor the exporter run on a host's CPU, where they would be load themselves. The clients have a CPU of their
# own, as on separate machines; the exporter shares the CPU of the guest's devices, and runs only when these don't.

# All hosts are one machine here, whose kernel divides CPU time by session (autogroup): LC work, which runs on every host, would
# get less of each CPU than the guest, which runs on one. On a separate machine it would have an equal share.
echo 0 >/proc/sys/kernel/sched_autogroup_enabled

devices=$((LAB_NODES * LAB_VCPUS_PER_NODE))
clients=$((devices + 1))
taskset -c $devices chrt -i 0 prometheus-node-exporter --web.listen-address=127.0.0.1:9100 \
    --web.disable-exporter-metrics --collector.disable-defaults --collector.cpu --collector.pressure --log.level=error &
exporter=$!
taskset -c $clients /lab/put/vnuma-colocation load --memcached /lab/put/memcached/memcached --out /lab/out \
    --hosts "$LAB_NODES" --cpus-per-host "$LAB_VCPUS_PER_NODE" @LOAD@ &
load=$!
trap 'kill $exporter $load 2>/dev/null; wait; exit 0' TERM INT
# It exits when the guest closes the connection. If it is missing, the guest's own error says so.
wait $load
kill $exporter
