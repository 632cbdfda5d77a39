# shellcheck shell=bash
# One run of emulated machines: its folder, its streams, its time limit, and its end.
#
# RUN is the run's own folder. Every process that a run starts is recorded, and killed by its id.

RUN='' DEADLINE=0 QEMU_PID='' READERS=() SPINNERS=()

# begin_run TIMEOUT
begin_run() {
    DEADLINE=$((SECONDS + $1))
    mkdir -p "$CACHE/runs"
    remove_abandoned_runs
    RUN=$(mktemp -d "$CACHE/runs/$$.XXXXXX")
    trap end_run EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    keep_cpus_awake
}

# keep_cpus_awake: a machine that is itself virtual yields an idle CPU to its host, and getting it back takes long, which the
# threads of an emulator wait for thousands of times a second. So a busy loop runs on each CPU under SCHED_IDLE, which gives way
# to everything else.
keep_cpus_awake() {
    local cpu
    grep -qw hypervisor /proc/cpuinfo && ! kvm_works || return 0
    for ((cpu = 0; cpu < $(nproc); cpu++)); do
        setpriv --pdeathsig KILL chrt --idle 0 sh -c 'while :; do :; done' </dev/null >/dev/null 2>&1 &
        SPINNERS+=($!)
    done
}

# remove_abandoned_runs: removes the folders of commands that were killed before they could do so.
remove_abandoned_runs() {
    local run owner
    for run in "$CACHE"/runs/*; do
        owner=${run##*/}
        [ -d "/proc/${owner%.*}" ] || rm -rf "$run"
    done
}

# end_run: called on every exit.
end_run() {
    local status=$?
    trap - ERR
    trap '' INT TERM HUP
    stop_machine
    [ ${#SPINNERS[@]} = 0 ] || { kill -KILL "${SPINNERS[@]}" && wait "${SPINNERS[@]}"; } 2>/dev/null || true
    collect_results
    rm -rf "$RUN"
    exit "$status"
}

# read_stream FIFO PREFIX: prints what is written to FIFO, line by line, until it is closed.
read_stream() {
    mkfifo "$1"
    # A Ctrl-C must not cut off the last lines.
    (
        trap '' INT
        exec sed -u "s/^/$2| /" "$1"
    ) &
    READERS+=($!)
}

# keep_stream FIFO FILE: appends what is written to FIFO to FILE, until it is closed.
keep_stream() {
    mkfifo "$1"
    cat "$1" >>"$2" &
    READERS+=($!)
}

# start_machine COMMAND...: starts it in the background; it cannot outlive this command, even if that is killed.
start_machine() {
    setpriv --pdeathsig KILL "$@" </dev/null &
    QEMU_PID=$!
}

# stop_machine: stops it, and waits until its last output has been shown.
stop_machine() {
    if [ -n "$QEMU_PID" ]; then
        end_process "$QEMU_PID" TERM
        QEMU_PID=
    fi
    local reader
    for reader in "${READERS[@]}"; do
        # A reader whose stream was never opened would wait forever.
        end_process "$reader"
    done
    READERS=()
}

# end_process PID [SIGNAL]: gives it two seconds to exit (after that signal), then kills it.
end_process() {
    local pid=$1 step
    [ -z "${2-}" ] || kill "-$2" "$pid" 2>/dev/null || true
    for ((step = 0; step < 40; step++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

# await_file FILE LIMIT-SECOND: returns 0 when FILE exists, 1 when the machine ended or the limit has passed,
# 124 at the run's deadline.
await_file() {
    until [ -e "$1" ]; do
        ((SECONDS < DEADLINE)) || return "$STATUS_TIMEOUT"
        ((SECONDS < $2)) || return 1
        # Check once more after its exit: it may have written the file just before.
        kill -0 "$QEMU_PID" 2>/dev/null || { [ -e "$1" ] && break; return 1; }
        sleep 0.1
    done
}

# end_status: sets MACHINE_STATUS to the exit status of QEMU, or of what it runs under; 128 and more is a signal.
# shellcheck disable=SC2034  # for the commands that source this file
end_status() {
    MACHINE_STATUS=0
    wait "$QEMU_PID" 2>/dev/null || MACHINE_STATUS=$?
}

# await_power_off: waits for a machine to exit by itself, after its last output.
await_power_off() {
    local step
    for ((step = 0; step < 100; step++)); do
        kill -0 "$QEMU_PID" 2>/dev/null || return 0
        sleep 0.05
    done
}

# copy_put_files FOLDER: copies the files given by --put, keeping their modes.
copy_put_files() {
    mkdir -p "$1"
    [ ${#PUT[@]} -eq 0 ] || cp -rL --preserve=mode,timestamps "${PUT[@]}" "$1"
}

# show_console NAME FILE
show_console() {
    printf '%s: the last lines of the console of %s:\n' "$COMMAND" "$1" >&2
    tail -n 60 "$2" 2>/dev/null | tr -d '\r' | sed 's/^/    /' >&2
}
