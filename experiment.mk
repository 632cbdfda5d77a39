experiment: setup ## latency-critical hosts, best-effort guest: scx_vnuma beside the thesis's script; 25 minutes
	$(BUILD) $(WORKSPACE)
	vmtests/experiments/colocation/run

.PHONY: experiment
