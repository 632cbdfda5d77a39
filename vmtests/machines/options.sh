# shellcheck shell=bash
# Checks of command lines. Each ends the command with one sentence that names the flag.

# need_value FLAG COUNT-OF-ARGUMENTS-LEFT
need_value() {
    [ "$2" -ge 2 ] || usage_error "$1 needs a value: see --help."
}

check_count() {
    [[ $2 =~ ^[1-9][0-9]{0,4}$ ]] || usage_error "$1 accepts a whole number from 1 on, not '$2'."
}

check_kernel() {
    local series
    for series in "${KERNEL_SERIES[@]}"; do
        [ "$1" != "$series" ] || return 0
    done
    usage_error "--kernel accepts one of ${KERNEL_SERIES[*]}, not '$1'."
}

check_script() {
    [[ -f $2 && -r $2 ]] || usage_error "$1 accepts a readable file, and '$2' is none."
}

check_put() {
    [ -r "$1" ] || usage_error "--put accepts a readable file or folder, and '$1' is none."
}

# read_megabytes FLAG SIZE: sets MEGABYTES; 256M and 1G are understood.
read_megabytes() {
    [[ $2 =~ ^([1-9][0-9]{0,5})([MG])$ ]] || usage_error "$1 accepts a size such as 256M or 1G, not '$2'."
    MEGABYTES=${BASH_REMATCH[1]}
    [ "${BASH_REMATCH[2]}" = M ] || MEGABYTES=$((MEGABYTES * 1024))
}
