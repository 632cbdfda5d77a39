# shellcheck shell=sh
# A host script for vmtests/lab that makes hosts busy when the guest asks for it.
#
# /lab/shared/hogs lists CPUs of the host level, separated by blanks; a missing or empty file means none.
# A tenth of a second later each listed CPU has exactly one busy loop, and no other CPU has one.
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

start_loop() {
    # taskset executes the shell, which loops without a child: $! is the loop's own process id.
    taskset -c "$1" sh -c 'while :; do :; done' &
    loops="$loops $1:$!"
}

# end_loop CPU:PID
end_loop() {
    kill -KILL "${1#*:}" 2>/dev/null
    wait "${1#*:}" 2>/dev/null
    kept=''
    for loop in $loops; do
        [ "$loop" = "$1" ] || kept="$kept $loop"
    done
    loops=$kept
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
    pause 0.1
done
