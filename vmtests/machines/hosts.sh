# shellcheck shell=sh
# A host script for vmtests/lab that serves the hosts' CPU metrics and makes hosts busy.
#
# node_exporter answers on port 9100 of the host level, which the guest reaches as 10.0.2.2; all hosts
# are CPUs of that one machine, so the URL for host i is http://10.0.2.2:9100/metrics?cpus=i. The script
# also runs hogs.sh, which the lab needs to be given: --put vmtests/machines/hogs.sh.

# Run on the CPU without a vCPU: on any other, answering would itself take CPU time from a host.
# It is reachable only from the host level and from the guest.
taskset -c $((LAB_NODES * LAB_VCPUS_PER_NODE)) prometheus-node-exporter --web.listen-address=127.0.0.1:9100 \
    --web.disable-exporter-metrics --collector.disable-defaults --collector.cpu --collector.pressure \
    --log.level=error &
exporter=$!
sh /lab/put/hogs.sh &
hogs=$!

leave() {
    kill "$exporter" "$hogs" 2>/dev/null
    wait
    exit 0
}
trap leave TERM INT

# If one of them exits by itself it has failed: the guest's scenarios will report what is missing.
wait
