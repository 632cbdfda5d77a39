"""The module gives the figures of vnuma-sim, and a policy in Python those of the same policy in Rust.

python -m unittest discover python/tests, once the wheel is installed. VNUMA_SIM names another vnuma-sim than
target/release/vnuma-sim.
"""
import json, os, pathlib, subprocess, unittest

import vnuma_sim

SIM = os.environ.get("VNUMA_SIM", str(pathlib.Path(__file__).resolve().parents[2] / "target/release/vnuma-sim"))


def figures(*arguments):
    out = subprocess.run([SIM, *arguments, "--json"], check=True, capture_output=True).stdout
    return json.loads(out)


def one_by_one(view):
    """As examples/own_policy.rs."""
    nodes = view["nodes"]
    low = min(nodes, key=lambda node: node["load_cpus"])
    high = max(reversed(nodes), key=lambda node: node["load_cpus"])
    if low["id"] == high["id"]:
        return None
    half = (high["load_cpus"] - low["load_cpus"]) / 2
    off = lambda group: abs(group["demand"]["usage_cpus"] - half)
    best = min((group for group in view["groups"] if group["node"] == high["id"]), key=off, default=None)
    return [(best["id"], low["id"])] if best and off(best) < half else []


class Module(unittest.TestCase):
    trace = vnuma_sim.Trace.sample()

    def test_a_run_has_the_figures_of_the_program(self):
        self.assertEqual(len(self.trace), 920)
        found = self.trace.run("fine cpu", overcommit=0.8, cell=2)
        wanted = figures("run", "--policy", "fine", "--order", "cpu", "--overcommit", "0.8", "--cell", "2")
        self.assertEqual({name: found[name] for name in wanted}, wanted)
        self.assertEqual(found["parameters"]["machines"], 40)

    def test_a_comparison_has_the_figures_of_the_program(self):
        rows = self.trace.compare(["none", "coarse"], seeds=2, overcommit=0.8)
        self.assertEqual([(row["policy"], row["seed"]) for row in rows], [("none", 1), ("coarse", 1), ("none", 2), ("coarse", 2)])
        wanted = figures("run", "--policy", "coarse", "--overcommit", "0.8", "--seed", "2")
        self.assertEqual(rows[3]["cpu_utilisation"], wanted["cpu_utilisation"])

    def test_a_function_is_a_policy(self):
        run = self.trace.run(one_by_one)
        # What `cargo run --example own_policy` prints.
        self.assertEqual((round(run["cpu_utilisation"], 4), round(run["gini"], 4)), (0.3182, 0.1896))
        self.assertEqual(self.trace.run(lambda view: None)["migrations"], 0)

    def test_mistakes_are_told(self):
        group_twice = lambda view: [(view["groups"][0]["id"], view["nodes"][0]["id"])] * 2 if view["groups"] else None
        for run, said in [
            (lambda: self.trace.run("corse"), "corse"),
            (lambda: self.trace.run("none", overcomit=1), "overcomit"),
            (lambda: self.trace.run("none", cell=0), "--cell 0: must be at least 1"),
            (lambda: self.trace.run(lambda view: [(10**9, 0)]), "the view has no such group"),
            (lambda: self.trace.run(group_twice), "the group moves twice"),
            (lambda: self.trace.compare([]), "the list is empty"),
            (lambda: vnuma_sim.Trace.load("no-such.parquet"), "no-such.parquet"),
        ]:
            with self.assertRaises(ValueError) as raised:
                run()
            self.assertIn(said, str(raised.exception))
        with self.assertRaises(ZeroDivisionError):
            self.trace.run(lambda view: 1 / 0)


if __name__ == "__main__":
    unittest.main()
