bench: setup ## what scheduling costs, against the fair class, other schedulers and changing affinities
	vmtests/setup --peers
	$(BUILD) $(FEATURES)
	vmtests/bench/run

.PHONY: bench
