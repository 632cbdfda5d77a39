bench: setup ## what scheduling costs, against the fair class and against changing affinities
	$(BUILD) $(FEATURES)
	vmtests/bench/run

.PHONY: bench
