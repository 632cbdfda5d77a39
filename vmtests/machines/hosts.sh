# shellcheck shell=sh
# A host script for vmtests/lab whose hosts can be asked how busy they are, and are made busy.
#
# node_exporter answers on port 9100 of the host level, which the guest reaches as 10.0.2.2; all hosts
# are CPUs of that one machine, so host i is asked by http://10.0.2.2:9100/metrics?cpus=i. Beside it
# runs hogs.sh, which the lab has to be given: --put vmtests/machines/hogs.sh.

# On the CPU that no vCPU has: on any other, answering would itself take from a host.
# Only from here and from the guest can it be reached.
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

# Whichever ends first by itself has failed: the guest's scenarios will say what they miss.
wait
