#!/bin/sh
# The demo's guest script: the same work beside the same hogs, first under Linux alone, then with scx_vnuma.
# Each run leaves a record, a line of JSON a second: /lab/out/alone.jsonl and /lab/out/with.jsonl.
set -e

# As docs/using.md advises, and the same in both runs.
echo 0 >/proc/sys/kernel/numa_balancing

# What passes on the output would wake up wherever a CPU is idle, and take time from the hog there. It stays on node 0, as
# the fixed task does.
for pid in $(pidof cat); do
    taskset -p -c 0 "$pid" >/dev/null
done

cat <<'TEXT'

Linux alone: eight migratable tasks, bound to nothing, and a fixed task on node 0. Hogs come to host 1,
then to host 3, then to hosts 1 and 2. You will see the work use all four hosts all the time: it takes
half of the CPU of a host with a hog, because the guest does not know that someone else needs it.

TEXT
vnuma-scenarios demo alone

cat <<'TEXT'

With scx_vnuma: the same tasks, the same hogs at the same times. You will see the work use all four
hosts, leave those that a hog comes to, and return when the hog has gone.

TEXT
vnuma-scenarios demo with
