#!/bin/sh
# rebalance.sh: the thesis's coarse-grained scheduler (algorithm 3-1) as the shell script that it was.
#
# Binds every task, IRQ and workqueue of the guest to node 0. Every 2 s it reads the steal time of each node; when 50
# ticks or more were stolen from the node that has the work, and it isn't the one with the least steal, it binds all of
# them to that one. Says so in a line each time. On TERM it lets everything run everywhere again, which the thesis's
# script never does.
#
# What it takes beyond the thesis: steal is read without starting a process, tasks that the kernel binds are skipped
# silently, and a command is started for each task as in the thesis.
INTERVAL_S=2
THRESHOLD_TICKS=50

NODES=/sys/devices/system/node
WORKQUEUES=/sys/devices/virtual/workqueue

# set_affinity_all CPUMASK
set_affinity_all() {
    for task in /proc/[0-9]*/task/[0-9]*; do
        taskset -p "$1" "${task##*/}"
    done >/dev/null 2>&1
    for file in /proc/irq/[0-9]*/smp_affinity "$WORKQUEUES"/cpumask "$WORKQUEUES"/*/cpumask; do
        echo "$1" >"$file"
    done 2>/dev/null
}

# set_affinity_to NODE
set_affinity_to() {
    # Not by `read`: byte by byte, this file reads as empty.
    set_affinity_all "$(cat "$NODES/node$1/cpumap")"
}

# read_steal: sets steal_NODE, in ticks since boot.
read_steal() {
    for node in $nodes; do
        eval "steal_$node=0"
    done
    # shellcheck disable=SC2034  # steal is read by eval
    while read -r cpu _ _ _ _ _ _ _ steal _; do
        case $cpu in
        cpu[0-9]*)
            eval "node=\$node_of_$cpu"
            eval "steal_$node=\$((steal_$node + steal))"
            ;;
        esac
    done </proc/stat
}

# find_min_stealtime_node: sets min_node, and this_ticks, what was stolen from this_node since the last call.
find_min_stealtime_node() {
    for node in $nodes; do
        eval "before_$node=\$steal_$node"
    done
    read_steal
    min_ticks=
    for node in $nodes; do
        eval "ticks=\$((steal_$node - before_$node))"
        # shellcheck disable=SC2154  # set by eval
        if [ -z "$min_ticks" ] || [ "$ticks" -lt "$min_ticks" ]; then
            min_node=$node
            min_ticks=$ticks
        fi
        [ "$node" != "$this_node" ] || this_ticks=$ticks
    done
}

leave() {
    set_affinity_all "$everything"
    exit 0
}

nodes=
for folder in "$NODES"/node[0-9]*; do
    node=${folder##*/node}
    nodes="$nodes $node"
    for cpu in "$folder"/cpu[0-9]*; do
        eval "node_of_${cpu##*/}=$node"
    done
done
read -r everything <"$WORKQUEUES/cpumask"
trap leave TERM INT

this_node=0
set_affinity_to $this_node
echo "all to node $this_node"
read_steal
while :; do
    sleep "$INTERVAL_S" &
    wait $!
    find_min_stealtime_node
    if [ "$this_node" = "$min_node" ] || [ "$this_ticks" -lt "$THRESHOLD_TICKS" ]; then
        continue
    fi
    echo "all to node $min_node: $this_ticks ticks of steal on node $this_node, $min_ticks there"
    this_node=$min_node
    set_affinity_to "$this_node"
done
