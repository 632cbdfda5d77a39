# The simulator's targets; included from the Makefile.

SIM := target/release/vnuma-sim
SIM_FEATURES := --no-default-features --features sim

.PHONY: sim sim-test sim-demo sim-bench sim-scale sim-slurm

sim: ## build the simulator alone: no clang, no BPF, no root
	cargo build --release $(SIM_FEATURES) --bin vnuma-sim

sim-test: ## the simulator's tests
	cargo test $(SIM_FEATURES)

sim-demo: sim ## every policy over the sample trace, with a report
	$(SIM) compare --out target/sim-demo
	@echo "open target/sim-demo/report.html in a browser to see it drawn"

sim-bench: sim ## whole-process times against a plain Python program; VNUMA_TRACES has g2011-hybrid-A
	benches/sim

sim-scale: sim ## seconds and memory of a month of 12,500 machines; CASES="1 2 4" for less, see benches/sim-scale --help
	benches/sim-scale $(CASES)

sim-slurm: sim ## the array job on a one-node Slurm cluster (root; slurm-wlm and munge installed)
	VNUMA_SIM=$(CURDIR)/$(SIM) examples/slurm/one-node
