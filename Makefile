# `make check`, `make sim` and what follows from them run as any user. The other targets set themselves up, on Debian 12
# as root. All need a Rust toolchain.

BUILD := cargo build --release --locked
SIM := target/release/vnuma-sim
SIM_ONLY := --package scx_vnuma --no-default-features --features sim

# Every shell script, by its first lines.
SCRIPTS = $(shell grep -rlE '^(#!.*[/ ](ba)?sh|\# shellcheck shell=.*)$$' .ci benches examples vmtests --exclude-dir=.cache)

.NOTPARALLEL:
.PHONY: help build demo experiment bench \
	check tools fmt clippy unit-test doc shellcheck clang-format deny test vm-test setup clean \
	sim sim-test sim-demo sim-bench sim-scale sim-slurm

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

build: ## scx_vnuma and vnuma-sim, in target/release
	vmtests/setup --build-only
	$(BUILD)

demo: setup ## migratable work leaves busy hosts, on a cluster of four emulated hosts
	$(BUILD) --workspace
	vmtests/demo/run
	$(SIM) compare --out target/demo/simulator
	@echo "The same policies over a cluster of machines: open target/demo/simulator/report.html in a browser"

experiment: setup ## latency-critical hosts, best-effort guest, against the thesis's script; 25 minutes
	$(BUILD) --workspace
	vmtests/experiments/colocation/run

bench: setup ## what scheduling costs, against the fair class, other schedulers and changing affinities
	vmtests/setup --peers
	$(BUILD) --workspace
	vmtests/bench/run

check: tools fmt clippy unit-test doc shellcheck clang-format deny ## all that needs no root and no virtual machine

# need PROGRAM, PACKAGE: a line that ends make if the program is missing.
need = @command -v $(1) >/dev/null || { echo "$(1) is missing: run make setup as root, or apt-get install $(2)" >&2; exit 1; }

tools:
	$(call need,$${BPF_CLANG:-clang-19},clang-19)
	$(call need,pkg-config,pkg-config)
	@pkg-config --exists libelf || { echo "libelf is missing: run make setup as root, or apt-get install libelf-dev" >&2; exit 1; }
	$(call need,shellcheck,shellcheck)
	$(call need,clang-format-19,clang-format-19)

fmt: ## Rust sources are formatted
	cargo fmt --all --check

clippy: ## lints, of all and of the simulator alone
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy $(SIM_ONLY) --all-targets --locked -- -D warnings

unit-test: ## the tests that need no virtual machine
	cargo test --workspace --locked --quiet

doc: ## the Rust documentation, without a broken link
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

shellcheck: ## lints of the shell scripts
	shellcheck $(SCRIPTS)

clang-format: ## BPF sources are formatted
ifneq ($(wildcard .clang-format),)
	clang-format-19 --dry-run -Werror src/bpf/*.[ch]
endif

deny: ## licences and sources of what each program links
	.ci/deny

test: setup check vm-test ## all tests; under 40 minutes on two cores

vm-test: setup ## the tests in virtual machines, with genuine steal time
	$(BUILD) --workspace
	vmtests/run

setup: ## what builds, checks and virtual machines need, from packages, into the system and vmtests/.cache
	vmtests/setup

clean: ## remove what was built and fetched
	cargo clean
	rm -rf vmtests/.cache

sim: ## the simulator alone: no clang, no BPF, no root
	$(BUILD) $(SIM_ONLY) --bin vnuma-sim

sim-test: ## the simulator's tests
	cargo test $(SIM_ONLY) --locked

sim-demo: sim ## every policy over the sample trace, with a report
	$(SIM) compare --out target/sim-demo
	@echo "open target/sim-demo/report.html in a browser to see it drawn"

sim-bench: sim ## whole-process times against a plain Python program; VNUMA_TRACES has g2011-hybrid-A
	benches/sim

sim-scale: sim ## seconds and memory of a month of 12,500 machines; CASES="1 2 4" for less, see benches/sim-scale --help
	benches/sim-scale $(CASES)

sim-slurm: sim ## the array job on a one-node Slurm cluster (root; slurm-wlm and munge installed)
	VNUMA_SIM=$(CURDIR)/$(SIM) examples/slurm/one-node
