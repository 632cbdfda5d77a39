//! The counts in the Prometheus text format, under the names that a host of a distributed virtual machine exports them by.

use std::fmt::Write;

use crate::Memory;

impl Memory {
    /// What a host would export of each node, all on one page.
    pub fn metrics(&self) -> String {
        let (counts, waited_ns) = (self.counts(), self.waited_ns());
        let mut text = String::from(
            "# HELP dsm_faults_total Accesses that waited for another host: a page came for a load or a store, or other copies of a \
             page ended.\n# TYPE dsm_faults_total counter\n",
        );
        for node in 0..self.nr_nodes() {
            let to = |matrix: &[Vec<u64>]| matrix.iter().map(|row| row[node]).sum::<u64>();
            let kinds =
                [("read", to(&counts.reads)), ("write", to(&counts.writes)), ("upgrade", counts.upgrades[node])];
            for (kind, faults) in kinds {
                // Writing to a String can't fail.
                let _ = writeln!(text, "dsm_faults_total{{node=\"{node}\",kind=\"{kind}\"}} {faults}");
            }
        }
        text += "# HELP dsm_fault_seconds_total Time for which virtual CPUs waited in these accesses.\n";
        text += "# TYPE dsm_fault_seconds_total counter\n";
        for (node, ns) in waited_ns.iter().enumerate() {
            let _ = writeln!(text, "dsm_fault_seconds_total{{node=\"{node}\"}} {}", *ns as f64 / 1e9);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use crate::{Access, Arguments, Memory, PAGE_BYTES};

    #[test]
    fn each_nodes_faults_are_exported_by_kind_with_the_time_that_was_waited() {
        let memory = Memory::new(&Arguments {
            cpu_nodes: vec![Some(0), Some(1)],
            base: 0,
            bytes: 4 * PAGE_BYTES,
            cost_ns: 2_000_000,
            out: "unused".into(),
        });
        for (cpu, is_store) in [(0, true), (1, false), (1, true), (0, true), (1, true)] {
            memory.access(Access { cpu, address: 0, is_store, code: 0 });
        }
        let text = memory.metrics();
        for line in [
            "dsm_faults_total{node=\"0\",kind=\"read\"} 0",
            "dsm_faults_total{node=\"0\",kind=\"write\"} 1",
            "dsm_faults_total{node=\"1\",kind=\"read\"} 1",
            "dsm_faults_total{node=\"1\",kind=\"write\"} 1",
            "dsm_faults_total{node=\"1\",kind=\"upgrade\"} 1",
        ] {
            assert!(text.lines().any(|it| it == line), "no {line} in\n{text}");
        }
        let seconds = |node: &str| -> f64 {
            let series = format!("dsm_fault_seconds_total{{node=\"{node}\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap()
        };
        assert!((0.002..0.1).contains(&seconds("0")) && seconds("1") >= 0.006, "{text}");
        assert!(text.ends_with('\n'));
    }
}
