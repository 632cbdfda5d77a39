# shellcheck shell=bash
# One run of emulated machines: its folder, its streams, its time limit, and its end.
#
# RUN is the run's own folder. Every process that a run starts is recorded, and ended by its id.

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

# keep_cpus_awake: a machine that is virtual itself gives an idle CPU back, and getting it again takes long, which the threads
# of an emulator wait for thousands of times a second. So something runs on each CPU, and gives way to everything (SCHED_IDLE).
keep_cpus_awake() {
    local cpu
    grep -qw hypervisor /proc/cpuinfo && ! kvm_works || return 0
    for ((cpu = 0; cpu < $(nproc); cpu++)); do
        setpriv --pdeathsig KILL chrt --idle 0 sh -c 'while :; do :; done' </dev/null >/dev/null 2>&1 &
        SPINNERS+=($!)
    done
}

# remove_abandoned_runs: of commands that were killed before they could.
remove_abandoned_runs() {
    local run owner
    for run in "$CACHE"/runs/*; do
        owner=${run##*/}
        [ -d "/proc/${owner%.*}" ] || rm -rf "$run"
    done
}

# end_run: on every way out.
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

# read_stream FIFO PREFIX: shows what comes through, line by line, until it is closed.
read_stream() {
    mkfifo "$1"
    # A Ctrl-C must not cut off the last lines.
    (
        trap '' INT
        exec sed -u "s/^/$2| /" "$1"
    ) &
    READERS+=($!)
}

# keep_stream FIFO FILE: adds what comes through to a file, until it is closed.
keep_stream() {
    mkfifo "$1"
    cat "$1" >>"$2" &
    READERS+=($!)
}

# start_machine COMMAND...: in the background; it cannot outlive this command, even if that is killed.
start_machine() {
    setpriv --pdeathsig KILL "$@" </dev/null &
    QEMU_PID=$!
}

# stop_machine: and wait until the last words have been shown.
stop_machine() {
    if [ -n "$QEMU_PID" ]; then
        end_process "$QEMU_PID" TERM
        QEMU_PID=
    fi
    local reader
    for reader in "${READERS[@]}"; do
        # A reader whose stream was never opened would wait for ever.
        end_process "$reader"
    done
    READERS=()
}

# end_process PID [SIGNAL]: two seconds to end (on that signal), then it is killed.
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

# await_file FILE LIMIT-SECOND: 0 when it is there, 1 when the machine ended or the limit has passed,
# 124 at the run's deadline.
await_file() {
    until [ -e "$1" ]; do
        ((SECONDS < DEADLINE)) || return "$STATUS_TIMEOUT"
        ((SECONDS < $2)) || return 1
        # Once more after its end: it may have written the file just before.
        kill -0 "$QEMU_PID" 2>/dev/null || { [ -e "$1" ] && break; return 1; }
        sleep 0.1
    done
}

# end_status: sets MACHINE_STATUS to what QEMU, or what it runs under, ended with; 128 and more is a signal.
# shellcheck disable=SC2034  # for the commands that source this file
end_status() {
    MACHINE_STATUS=0
    wait "$QEMU_PID" 2>/dev/null || MACHINE_STATUS=$?
}

# await_power_off: a machine ends by itself, after its last words.
await_power_off() {
    local step
    for ((step = 0; step < 100; step++)); do
        kill -0 "$QEMU_PID" 2>/dev/null || return 0
        sleep 0.05
    done
}

# copy_put_files FOLDER: what --put named, with modes kept.
copy_put_files() {
    mkdir -p "$1"
    [ ${#PUT[@]} -eq 0 ] || cp -rL --preserve=mode,timestamps "${PUT[@]}" "$1"
}

# show_console NAME FILE
show_console() {
    printf '%s: the last lines of the console of %s:\n' "$COMMAND" "$1" >&2
    tail -n 60 "$2" 2>/dev/null | tr -d '\r' | sed 's/^/    /' >&2
}
