bench: setup ## what scheduling costs, against the fair class, other schedulers and changing affinities
	vmtests/setup --peers
	$(BUILD) $(WORKSPACE)
	vmtests/bench/run

.PHONY: bench
