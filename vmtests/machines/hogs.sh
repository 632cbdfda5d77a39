# shellcheck shell=sh
# A host script for vmtests/lab that makes hosts busy when the guest asks for it.
#
# /lab/shared/hogs lists CPUs of the host level, separated by blanks; a missing or empty file means none.
# A tenth of a second later each listed CPU has exactly one busy loop, and no other CPU has one. A CPU with a `b` after it, as in
# `3b`, has one that is busy for about 4 ms and then sleeps for 16 ms, again and again.
#
# If there is a file /lab/shared/pause, it stops the guest for as many seconds as the file says, and then removes the file.
#
# If a file /lab/shared/hog-times exists, it is kept up to date: the host level's uptime in seconds; a line for each loop, also
# for those that have ended: its CPU, the time that it ran there and the time that it waited for the CPU, ns; and the uptime
# again, so that a copy that was read in the middle of a write is recognised.
#
# The script runs until it gets SIGTERM (the lab sends it when the guest's script has ended), and its
# loops end with it.

# If the machine itself is the host level, its shell may lack `read -t`; busybox has it.
case $(readlink "/proc/$$/exe") in
*busybox*) ;;
*) exec busybox sh "$0" ;;
esac

# Run on the CPU without a vCPU: on any other, polling the file would itself be a hog.
taskset -p -c $((LAB_NODES * LAB_VCPUS_PER_NODE)) $$ >/dev/null

# pause SECONDS: without starting a process, which is costly in emulation.
never=$(mktemp -u)
mkfifo "$never"
exec 8<>"$never"
rm "$never"
pause() {
    # shellcheck disable=SC3045  # busybox knows it
    read -r -t "$1" _ <&8 || :
}

# The running loops, as a list of CPU:PID.
loops=''
# The times of loops that have ended, a line for each.
ended_times=''
newline='
'

# It finds out how many turns of its loop take 4 ms, by the kernel's count of its run time.
# shellcheck disable=SC2016  # it expands them itself
bursts='
    never=$(mktemp -u)
    mkfifo "$never"
    exec 8<>"$never"
    rm "$never"
    spin() {
        turn=0
        while [ "$turn" -lt "$1" ]; do turn=$((turn + 1)); done
    }
    read -r before_ns _ </proc/self/schedstat
    spin 5000
    read -r after_ns _ </proc/self/schedstat
    turns=$((5000 * 4000000 / (after_ns - before_ns + 1) + 1))
    while :; do
        spin "$turns"
        read -r -t 0.016 _ <&8 || :
    done'

# start_loop CPU | CPUb
start_loop() {
    # taskset executes the shell, which loops without a child: $! is the loop's own process id.
    case $1 in
    *b) taskset -c "${1%b}" busybox sh -c "$bursts" & ;;
    *) taskset -c "$1" sh -c 'while :; do :; done' & ;;
    esac
    loops="$loops $1:$!"
}

# read_times CPU:PID: sets times to the loop's line in hog-times. The kernel counts both times exactly, not by ticks.
read_times() {
    times=''
    { read -r ran_ns waited_ns _ <"/proc/${1#*:}/schedstat"; } 2>/dev/null || return 0
    cpu=${1%%:*}
    times="${cpu%b} $ran_ns $waited_ns$newline"
}

publish_times() {
    [ -e /lab/shared/hog-times ] || return 0
    all_times=$ended_times
    for loop in $loops; do
        read_times "$loop"
        all_times=$all_times$times
    done
    read -r uptime_s _ </proc/uptime
    # In place: the text never gets shorter, and whoever reads it never finds it empty.
    printf '%s\n%s%s\n' "$uptime_s" "$all_times" "$uptime_s" 1<>/lab/shared/hog-times
}

# end_loop CPU:PID
end_loop() {
    read_times "$1"
    ended_times=$ended_times$times
    kill -KILL "${1#*:}" 2>/dev/null
    wait "${1#*:}" 2>/dev/null
    kept=''
    for loop in $loops; do
        [ "$loop" = "$1" ] || kept="$kept $loop"
    done
    loops=$kept
}

# As a live migration or a snapshot does: time goes on, and the vCPUs do not wait for a CPU, so none of it is steal time.
pause_guest() {
    read -r seconds </lab/shared/pause
    # The signal goes to the process that the thread belongs to.
    kill -STOP "${LAB_VCPU_TIDS%% *}"
    pause "$seconds"
    kill -CONT "${LAB_VCPU_TIDS%% *}"
    rm /lab/shared/pause
}

leave() {
    for loop in $loops; do
        end_loop "$loop"
    done
    exit 0
}
trap leave TERM INT

while :; do
    named=''
    { read -r named </lab/shared/hogs; } 2>/dev/null
    for loop in $loops; do
        case " $named " in
        *" ${loop%%:*} "*) ;;
        *) end_loop "$loop" ;;
        esac
    done
    for cpu in $named; do
        case "$loops " in
        *" $cpu:"*) ;;
        *) start_loop "$cpu" ;;
        esac
    done
    publish_times
    [ ! -e /lab/shared/pause ] || pause_guest
    pause 0.1
done
