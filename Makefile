# `make demo` and `make test` do all their own set-up, on Debian 12 as root with a Rust toolchain.

WORKSPACE := --workspace
BUILD := cargo build --release --locked

.PHONY: help build demo test unit-test vm-test lint setup clean

help: ## what there is to make
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

build: ## scx_vnuma and vnuma-sim, in target/release
	vmtests/setup --build-only
	$(BUILD)

demo: setup ## see migratable work leave busy hosts, on a cluster of four emulated hosts
	$(BUILD) $(WORKSPACE)
	vmtests/demo/run
	$(SIM) compare --out target/demo/simulator
	@echo "The same policies over a cluster of machines: open target/demo/simulator/report.html in a browser"

test: setup unit-test vm-test ## all tests

unit-test: lint ## the tests that need no virtual machine
	cargo test --release --locked $(WORKSPACE)

vm-test: setup ## the tests in virtual machines, with genuine steal time
	$(BUILD) $(WORKSPACE)
	vmtests/run

lint: setup ## format and lints
	cargo fmt --check
	cargo clippy --release --locked --all-targets $(WORKSPACE) -- -D warnings

setup: ## what builds and virtual machines need, from packages, into vmtests/.cache
	vmtests/setup

clean: ## remove what was built and fetched
	cargo clean
	rm -rf vmtests/.cache

include sim.mk bench.mk experiment.mk
