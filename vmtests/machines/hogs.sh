# shellcheck shell=sh
# A host script for vmtests/lab that makes hosts busy when the guest asks for it.
#
# /lab/shared/hogs names CPUs of the host level, with blanks between; no file or no word means none.
# A tenth of a second later each CPU that it names has exactly one busy loop, and no other CPU has.
#
# It stays until it gets TERM (the lab sends it when the guest's script has ended), and its loops end
# with it.

# The shell of a machine that is the host level itself may have no `read -t`; busybox has.
case $(readlink "/proc/$$/exe") in
*busybox*) ;;
*) exec busybox sh "$0" ;;
esac

# Ours is the CPU that no vCPU has: on any other, looking at the file would itself be a hog.
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

# The loops that run: words of the form CPU:PID.
loops=''

start_loop() {
    # taskset becomes the shell, and that loops without a child: $! is the loop's own id.
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
