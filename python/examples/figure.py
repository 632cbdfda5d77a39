"""Utilisation and balance of the built-in policies and of one in Python, drawn with matplotlib.

Run it as a script, or cell by cell in an editor that knows `# %%`. Writes figure.png, or the file that is named.
"""
# %%
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import vnuma_sim

trace = vnuma_sim.Trace.sample()


# %% A policy is a function of a cell's view.
def spread(view):
    """One task goes from the most to the least loaded machine: the largest one that leaves the former more loaded."""
    nodes = sorted(view["nodes"], key=lambda node: node["load_cpus"])
    gap = nodes[-1]["load_cpus"] - nodes[0]["load_cpus"]
    here = [group for group in view["groups"] if group["node"] == nodes[-1]["id"]]
    fits = [group for group in here if group["demand"]["usage_cpus"] < gap / 2]
    best = max(fits, default=None, key=lambda group: group["demand"]["usage_cpus"])
    return [(best["id"], nodes[0]["id"])] if best else None


# %% The same trace under each.
runs = {name: trace.run(name) for name in ["none", "coarse", "fine memory", "auto"]}
runs["spread (Python)"] = trace.run(spread)

# %% Two figures, and the moves over time.
figure, (balance, moves) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
for name, run in runs.items():
    balance.scatter(run["cpu_utilisation"], run["gini"], label=name)
    rounds = run["rounds"]
    sums, total = [], 0
    for first, second in zip(rounds["to_first"], rounds["to_second"]):
        total += first + second
        sums.append(total)
    moves.plot([(at + 1) / 60 for at in range(len(sums))], sums, label=name)
balance.set(xlabel="CPU utilisation", ylabel="Gini coefficient: 0 is even", title="The sample trace")
moves.set(xlabel="hours", ylabel="moves so far", title="Moves", yscale="symlog")
balance.legend()
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "figure.png", dpi=120)
