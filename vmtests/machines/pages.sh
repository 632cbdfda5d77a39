# shellcheck shell=bash
# Memory as in a distributed virtual machine: a plugin of QEMU's emulator that charges for pages which travel between nodes.

PAGE_PLUGIN=libvnuma_dsm_plugin.so

# read_page_cost FLAG COST: sets PAGE_COST_NS; 20us and 0us are understood.
read_page_cost() {
    [[ $2 =~ ^([0-9]{1,6})us$ ]] || usage_error "$1 accepts microseconds such as 20us or 0us, not '$2'."
    PAGE_COST_NS=$((10#${BASH_REMATCH[1]} * 1000))
    [ -e "$TARGET/release/$PAGE_PLUGIN" ] ||
        die "$TARGET/release/$PAGE_PLUGIN is missing: run cargo build --release --workspace."
}

# page_plugin NODES BASE MEGABYTES FILE: the value of QEMU's -plugin. NODES are those of the CPUs, separated by colons; BASE is
# where the distributed memory begins; the record is written to FILE.
page_plugin() {
    echo "$TARGET/release/$PAGE_PLUGIN,nodes=$1,base=$2,bytes=$(($3 << 20)),cost_ns=$PAGE_COST_NS,out=$4"
}

# page_boot_seconds: how much longer a boot may take. Every access is looked at, and a boot moves tens of thousands of pages.
page_boot_seconds() {
    echo $((30 + PAGE_COST_NS / 1000))
}

# keep_page_record FILE: copies the record to DIR of --get, and draws it.
keep_page_record() {
    local shows
    cp "$1" "$GET/dsm.json" 2>/dev/null || return 0
    shows=$(project_binary vnuma-scenarios)
    [ -z "$shows" ] || "$shows" show-pages "$GET/dsm.json" --svg "$GET/dsm.svg" || true
}
