# shellcheck shell=bash
# shellcheck disable=SC2034  # most of this is for the commands that source it
# Shared by every command of vmtests/: paths, progress messages and error handling.

VMTESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PROJECT=$(dirname "$VMTESTS")
CACHE=$VMTESTS/.cache
TARGET=${CARGO_TARGET_DIR:-$PROJECT/target}
COMMAND=$(basename "$0")

# Kernel series that setup fetches; the first is the default.
KERNEL_SERIES=(7.3 7.2)

# Other schedulers, which the benchmarks compare with.
PEERS=(scx_bpfland@1.1.4 scx_rusty@1.1.4)

# Exit statuses that must not be mistaken for a script's own status.
STATUS_USAGE=2 STATUS_NO_BOOT=3 STATUS_TIMEOUT=124

# Progress, with the seconds since the command began.
say() {
    printf '%s: %s (%d s)\n' "$COMMAND" "$*" "$SECONDS" >&2
}

# die SENTENCE: ends the command because of a problem in its environment.
die() {
    printf '%s: %s\n' "$COMMAND" "$*" >&2
    exit 1
}

# usage_error SENTENCE: the command line is wrong.
usage_error() {
    printf '%s: %s\n' "$COMMAND" "$*" >&2
    exit "$STATUS_USAGE"
}

# A step that fails without a message of its own still reports its place.
trap 'printf "%s: failed at %s line %s\n" "$COMMAND" "${BASH_SOURCE[0]}" "$LINENO" >&2' ERR
set -o errtrace

# print_help: prints the comment block at the head of the command, which is its manual.
print_help() {
    sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"
}

# project_binary NAME: where cargo left it, empty if it is not built.
project_binary() {
    [ ! -x "$TARGET/release/$1" ] || echo "$TARGET/release/$1"
}

# require_binaries NAME...: all are built, or the command ends.
require_binaries() {
    local name
    for name; do
        [ -x "$TARGET/release/$name" ] || die "$TARGET/release/$name is missing: run cargo build --release --workspace."
    done
}
