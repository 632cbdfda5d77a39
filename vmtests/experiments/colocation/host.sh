# shellcheck shell=sh
# The host level of the co-location experiment: the LC load, and an exporter that the guest can ask about it.
#
# Both stay on the CPU that is no host's: on any other they would themselves be load. The exporter runs only when nobody else
# wants it, so that it doesn't make the clients late.

# All hosts are one machine here, and share their CPUs out by session: LC work, which is on every host, would get less of each
# than the guest, which is on one. On a machine of its own it has equal shares.
echo 0 >/proc/sys/kernel/sched_autogroup_enabled

own=$((LAB_NODES * LAB_VCPUS_PER_NODE))
taskset -c $own chrt -i 0 prometheus-node-exporter --web.listen-address=127.0.0.1:9100 \
    --web.disable-exporter-metrics --collector.disable-defaults --collector.cpu --collector.pressure --log.level=error &
exporter=$!
taskset -c $own /lab/put/vnuma-colocation load --memcached /lab/put/memcached/memcached --out /lab/out @LOAD@ &
load=$!
trap 'kill $exporter $load 2>/dev/null; wait; exit 0' TERM INT
# When the guest hangs up it has ended; without it the guest's own error says what is missing.
wait $load
kill $exporter
