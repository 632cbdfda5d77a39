# shellcheck shell=sh
# Runs a scenario's script in a level.

# pause SECONDS: without starting a process, which is costly here and would disturb what is measured.
never=$(mktemp -u)
mkfifo "$never"
exec 9<>"$never"
rm "$never"
pause() {
    # shellcheck disable=SC3045  # busybox and bash know it
    read -r -t "$1" _ <&9 || :
}

# start_script SCRIPT STREAM STATUS [CPUS]: runs it in the background, in a session of its own (on
# those CPUs), with what it prints going to STREAM; its exit status appears in the file STATUS when it
# has ended.
start_script() {
    # Output goes through a pipe: a virtio port can be opened only once, so `>/dev/stderr` would fail on it.
    script_pipe=$(mktemp -u)
    mkfifo "$script_pipe"
    cat "$script_pipe" >"$2" &
    script_cat=$!
    (
        # shellcheck disable=SC2016  # expanded by the inner shell, whose id is the session's
        setsid sh -c 'echo $$ >"$2.session"; exec ${3:+taskset -c "$3"} sh "$1"' sh "$1" "$3" "${4-}" >"$script_pipe" 2>&1 </dev/null
        echo $? >"$3.new"
        mv "$3.new" "$3"
    ) &
    # shellcheck disable=SC2034  # for callers that wait for it
    script_pid=$!
}

# end_script STATUS: kills what is left of the script's session, after passing on its last output.
end_script() {
    read -r script_session <"$1.session"
    if [ ! -e "$1" ]; then
        kill -TERM "-$script_session"
        for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            [ -e "$1" ] && break
            pause 0.1
        done
    fi
    kill_session "$script_session"
    (
        sleep 1
        kill "$script_cat"
    ) 2>/dev/null &
    wait "$script_cat"
}

kill_session() {
    for process in /proc/[0-9]*; do
        { read -r line <"$process/stat"; } 2>/dev/null || continue
        # After the name, which may hold anything: state, parent, process group, session.
        # shellcheck disable=SC2086
        set -- "$1" ${line##*) }
        if [ "$5" = "$1" ]; then
            kill -KILL "${process#/proc/}" 2>/dev/null
        fi
    done
}
