//! The metrics that `--stats` and `--monitor` print and that `--metrics` serves.
//!
//! A name ends in its unit: `_ms`, `_us`, `_pct`, `_bytes`, `_cpus`; `nr_` is a count. A value below 0 is unknown. The
//! Prometheus page (`openmetrics`) is generated from these descriptions; `_om_counter` marks counters.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use scx_stats_derive::{stat_doc, Stats};
use serde::{Deserialize, Serialize};

use super::sources::source_lines;
use super::{Decision, Round, SloReport};
use crate::act::{AffinityCounts, MemoryCounts};
use crate::bpf::NodeStats;
use crate::cell::{Node, NodeId, Payoff, Pressure};
use crate::sense::NodeReadings;

/// One source's reading of a node's pressure.
#[stat_doc]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Stats)]
#[stat(_om_prefix = "node_source_", _om_label = "source")]
pub struct SourceMetrics {
    #[stat(desc = "share of the node's CPU that others took, by this source; -1 (no sample) if unknown")]
    pub pressure_pct: f64,
    #[stat(desc = "age of the reading when the round began; -1 (no sample) if unknown")]
    pub age_ms: i64,
}

/// One latency objective.
#[stat_doc]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Stats)]
#[stat(_om_prefix = "slo_", _om_label = "slo")]
pub struct SloMetrics {
    #[stat(desc = "latency as a share of the objective, above 100 % if it is missed; -1 (no sample) if unknown")]
    pub latency_pct: f64,
    #[stat(desc = "share of what migratable work may otherwise take that the objective leaves it")]
    pub room_pct: f64,
}

/// One node, over the last round unless the description says otherwise.
#[stat_doc]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Stats)]
#[stat(_om_prefix = "node_", _om_label = "node")]
pub struct NodeMetrics {
    #[stat(desc = "CPUs online")]
    pub nr_cpus: u32,
    #[stat(desc = "share of the node's CPU that others took, as the policy saw it; -1 (no sample) if unknown")]
    pub pressure_pct: f64,
    #[stat(
        desc = "PSI of the node's host: share of time in which something waited for a CPU; -1 (no sample) if unknown"
    )]
    pub host_psi_pct: f64,
    #[stat(desc = "pressure by source: steal, host, probe")]
    pub sources: BTreeMap<String, SourceMetrics>,
    #[stat(desc = "share of the node's CPU that was stolen; little shows on an idle node")]
    pub steal_pct: f64,
    #[stat(desc = "CPU in use by others and by all of the guest's tasks")]
    pub load_cpus: f64,
    #[stat(desc = "1 if the node is drained: work leaves it, and none comes; otherwise 0")]
    pub is_drained: u32,
    #[stat(desc = "memory that more work may use: free, or reclaimable; -1 (no sample) if unknown")]
    pub free_bytes: i64,
    #[stat(
        desc = "faults of the distributed memory since the node's host began to count (--dsm); -1 (no sample) if unknown",
        _om_counter
    )]
    pub nr_dsm_faults: i64,
    #[stat(desc = "vCPUs that waited for pages of other hosts, on average (--dsm); -1 (no sample) if unknown")]
    pub dsm_waiting_cpus: f64,
    #[stat(desc = "CPU that migratable tasks used")]
    pub work_cpus: f64,
    #[stat(desc = "CPU that migratable tasks may use; -1 (no sample) without a limit")]
    pub limit_cpus: f64,
    #[stat(desc = "migratable tasks that waited in the node's queue when the round began")]
    pub nr_queued: u32,
    #[stat(desc = "time that migratable tasks held a CPU, since load", _om_counter)]
    pub run_ms: u64,
    #[stat(desc = "part of the run time in which the host ran something else, since load", _om_counter)]
    pub stolen_ms: u64,
    #[stat(desc = "1 if work on the node gives way to others, see using.md; otherwise 0")]
    pub gives_way: u32,
    #[stat(desc = "time for which CPUs gave way to others while migratable tasks waited, since load", _om_counter)]
    pub rested_ms: u64,
    #[stat(desc = "times a migratable task was put on a CPU, since load", _om_counter)]
    pub nr_runs: u64,
    #[stat(desc = "runs by tasks whose affinity forbids their destination, since load", _om_counter)]
    pub nr_elsewhere: u64,
    #[stat(
        desc = "runs by tasks that were sent on at once because the plan had just changed, since load",
        _om_counter
    )]
    pub nr_stragglers: u64,
    #[stat(desc = "queued tasks moved to this node by changes of plan, since load", _om_counter)]
    pub nr_arrived: u64,
    #[stat(desc = "groups moved to this node, since load", _om_counter)]
    pub nr_moved_in: u64,
    #[stat(desc = "groups moved away from this node, since load", _om_counter)]
    pub nr_moved_out: u64,
}

/// The daemon, over the time since load unless the description says otherwise.
#[stat_doc]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Stats)]
#[stat(top)]
pub struct Metrics {
    #[stat(desc = "rounds, since load", _om_counter)]
    pub nr_rounds: u64,
    #[stat(desc = "rounds that failed and left the plan unchanged, since load", _om_counter)]
    pub nr_failed_rounds: u64,
    #[stat(desc = "number of the current plan; each change of plan increases it")]
    pub epoch: u64,
    #[stat(desc = "node that migratable work goes to")]
    pub destination: u32,
    #[stat(desc = "node for work that doesn't fit on the first; -1 (no sample) if there is none")]
    pub second_destination: i64,
    #[stat(desc = "decision of the last round in text: what was decided, why, and each node's pressure", _om_skip)]
    pub decision: String,
    #[stat(desc = "quantity that `--order mai` picks by in this guest; empty for other orders", _om_skip)]
    pub picked_by: String,
    #[stat(desc = "CPU that migratable work wanted; -1 (no sample) if the policy doesn't estimate it")]
    pub wanted_cpus: f64,
    #[stat(
        desc = "CPU that the nodes could give to migratable work; -1 (no sample) if the policy doesn't estimate it"
    )]
    pub supply_cpus: f64,
    #[stat(desc = "CPU that migratable work wanted and didn't get; -1 (no sample) if the policy doesn't estimate it")]
    pub short_cpus: f64,
    #[stat(desc = "1 in a dry run: plans are made, but not carried out; otherwise 0")]
    pub is_dry_run: u32,
    #[stat(desc = "migratable tasks, running or sleeping")]
    pub nr_migratable: u64,
    #[stat(desc = "tasks that selectors made migratable, since load", _om_counter)]
    pub nr_selected: u64,
    #[stat(desc = "tasks that got their own policy back, since load", _om_counter)]
    pub nr_given_back: u64,
    #[stat(desc = "changes of policy that the kernel refused, since load", _om_counter)]
    pub nr_refused: u64,
    #[stat(desc = "changes of plan, since load", _om_counter)]
    pub nr_retargets: u64,
    #[stat(desc = "moves after which a group used clearly more CPU than it would have got, since load", _om_counter)]
    pub nr_moves_gained: u64,
    #[stat(desc = "moves that made no difference to a group's CPU, since load", _om_counter)]
    pub nr_moves_even: u64,
    #[stat(desc = "moves after which a group got clearly less CPU and wanted more, since load", _om_counter)]
    pub nr_moves_lost: u64,
    #[stat(desc = "resident memory of the groups that moved, since load", _om_counter)]
    pub moved_bytes: u64,
    #[stat(desc = "resident memory of the groups that the last change of plan moved")]
    pub last_moved_bytes: u64,
    #[stat(desc = "memory that moves had to fetch, as estimated, since load", _om_counter)]
    pub fetched_bytes: u64,
    #[stat(
        desc = "memory that further moves may fetch now (--byte-budget); -1 (no sample) if the policy doesn't limit it"
    )]
    pub budget_bytes: i64,
    #[stat(desc = "time for which a vCPU waits for a page of another host (--dsm); -1 (no sample) if unknown")]
    pub page_cost_us: f64,
    #[stat(desc = "groups that stay because no node with CPU for them has memory for them")]
    pub nr_no_room: u32,
    #[stat(desc = "groups that can't leave a node that is short of CPU because of --byte-budget")]
    pub nr_over_budget: u32,
    #[stat(desc = "CPU time of the daemon for the last change of plan")]
    pub retarget_cpu_us: u64,
    #[stat(desc = "CPU time used by probes, since load", _om_counter)]
    pub probe_cpu_ms: u64,
    #[stat(desc = "page faults of the daemon in the last round")]
    pub page_faults: u64,
    #[stat(desc = "times an IRQ was moved along with the work, since load", _om_counter)]
    pub nr_irqs_moved: u64,
    #[stat(desc = "IRQs that can't be moved because they are per-CPU or managed by the kernel")]
    pub nr_irqs_skipped: u64,
    #[stat(desc = "times the kernel refused to move an IRQ, since load; each is retried", _om_counter)]
    pub nr_irqs_refused: u64,
    #[stat(desc = "times the unbound workqueues were moved along with the work, since load", _om_counter)]
    pub nr_workqueues_moved: u64,
    #[stat(desc = "times the kernel refused to move the unbound workqueues, since load", _om_counter)]
    pub nr_workqueues_refused: u64,
    #[stat(desc = "IRQs and workqueues left alone because someone else has set their affinity")]
    pub nr_left: u64,
    #[stat(desc = "memory moved along with processes by --move-memory, since load", _om_counter)]
    pub moved_memory_bytes: u64,
    #[stat(desc = "pages that --move-memory could not move, since load", _om_counter)]
    pub nr_pages_not_moved: u64,
    #[stat(desc = "processes whose memory the kernel refused to move, since load", _om_counter)]
    pub nr_memory_refused: u64,
    #[stat(desc = "per latency objective, in order of --slo, from 0")]
    pub slos: BTreeMap<u32, SloMetrics>,
    #[stat(desc = "per node")]
    pub nodes: BTreeMap<u32, NodeMetrics>,
}

impl Metrics {
    /// The state before the first round, with all migratable work sent to `start`.
    pub fn new(start: NodeId) -> Self {
        let unknown = -1.0;
        Metrics {
            destination: start.0,
            second_destination: -1,
            wanted_cpus: unknown,
            supply_cpus: unknown,
            short_cpus: unknown,
            budget_bytes: -1,
            page_cost_us: unknown,
            ..Metrics::default()
        }
    }

    /// Take over the counts of moved IRQs and workqueues.
    pub fn note_affinity(&mut self, done: &AffinityCounts) {
        self.nr_irqs_moved = done.nr_irqs_moved;
        self.nr_irqs_skipped = done.nr_irqs_skipped;
        self.nr_irqs_refused = done.nr_irqs_refused;
        self.nr_workqueues_moved = done.nr_workqueues_moved;
        self.nr_workqueues_refused = done.nr_workqueues_refused;
        self.nr_left = done.nr_foreign;
    }

    /// Take over the counts of moved memory.
    pub fn note_memory(&mut self, done: &MemoryCounts) {
        self.moved_memory_bytes = done.bytes;
        self.nr_pages_not_moved = done.nr_pages_not_moved;
        self.nr_memory_refused = done.nr_refused;
    }

    /// Add a round and its decision. `destination` is the one after the round; `counters` reads a node's counters.
    pub fn note(
        &mut self,
        round: &Round,
        decision: &Decision,
        destination: NodeId,
        counters: impl Fn(NodeId) -> Result<NodeStats>,
    ) -> Result<()> {
        self.nr_rounds = round.number;
        self.decision = decision.line();
        self.destination = destination.0;
        self.page_faults = round.page_faults;
        self.picked_by = round.picked_by.unwrap_or_default().to_string();
        self.probe_cpu_ms = round.probed.as_millis() as u64;
        if let Some(balance) = round.plan.balance {
            (self.wanted_cpus, self.supply_cpus) = (balance.wanted_cpus, balance.supply_cpus);
            self.short_cpus = balance.short_cpus;
        }
        let slo = |report: &SloReport| SloMetrics {
            latency_pct: report.value.map_or(-1.0, |value| 100.0 * value / report.limit),
            room_pct: 100.0 * report.room_share,
        };
        self.slos = (0..).zip(round.slos.iter().map(slo)).collect();
        self.page_cost_us = round.page_s.map_or(-1.0, |page_s| page_s * 1e6);
        if let Some(bytes) = round.plan.bytes {
            self.budget_bytes = bytes.left as i64;
            (self.nr_no_room, self.nr_over_budget) = (bytes.nr_no_room, bytes.nr_over_budget);
        }
        for judged in &round.plan.judged {
            *match judged.payoff {
                Payoff::Gained => &mut self.nr_moves_gained,
                Payoff::Even => &mut self.nr_moves_even,
                Payoff::Lost => &mut self.nr_moves_lost,
            } += 1;
        }
        for node in &round.view.nodes {
            let metrics = self.nodes.entry(node.id.0).or_default();
            metrics.note(node, round, &counters(node.id)?);
        }
        if let Some(done) = round.retargeted {
            self.epoch = done.epoch;
            self.second_destination = round.plan.second.map_or(-1, |node| node.0.into());
            self.nr_retargets += 1;
            self.retarget_cpu_us = round.retarget_cpu_us;
            self.last_moved_bytes = decision.routes().values().map(|moved| moved.bytes as u64).sum();
            self.moved_bytes += self.last_moved_bytes;
            self.fetched_bytes += round.plan.bytes.map_or(0, |bytes| bytes.fetched as u64);
            for ((from, to), moved) in decision.routes() {
                self.nodes.entry(from.0).or_default().nr_moved_out += moved.groups;
                self.nodes.entry(to.0).or_default().nr_moved_in += moved.groups;
            }
        }
        Ok(())
    }

    /// Print the metrics for people.
    pub(super) fn format(&self, out: &mut impl Write) -> Result<()> {
        let Metrics { nr_migratable, nr_selected, nr_given_back, nr_refused, .. } = self;
        let Metrics { nr_retargets, moved_bytes, last_moved_bytes, retarget_cpu_us, .. } = self;
        let Metrics { probe_cpu_ms, page_faults, .. } = self;
        writeln!(out, "{}", self.decision)?;
        writeln!(
            out,
            "  migratable {nr_migratable} (selected {nr_selected}, given back {nr_given_back}, refused {nr_refused}); \
             moves {nr_retargets} with {} MiB, the last with {} MiB in {retarget_cpu_us} us; \
             probes {probe_cpu_ms} ms; page faults {page_faults}",
            moved_bytes >> 20,
            last_moved_bytes >> 20
        )?;
        self.format_moved(out)?;
        if !self.picked_by.is_empty() {
            writeln!(out, "  order mai: fewest {} first", self.picked_by)?;
        }
        writeln!(out, "{}", NodeMetrics::HEADING)?;
        for (id, node) in &self.nodes {
            let mark = if *id == self.destination { '*' } else { ' ' };
            node.format(&format!("{id}{mark}"), out)?;
        }
        Ok(())
    }

    /// What moved along with the work, if anything did or could not.
    fn format_moved(&self, out: &mut impl Write) -> Result<()> {
        let Metrics { nr_irqs_moved, nr_irqs_skipped, nr_irqs_refused, nr_left, .. } = self;
        let Metrics { nr_workqueues_moved, nr_workqueues_refused, moved_memory_bytes, .. } = self;
        let Metrics { nr_pages_not_moved, nr_memory_refused, .. } = self;
        if nr_irqs_moved + nr_irqs_skipped + nr_irqs_refused + nr_workqueues_moved + nr_workqueues_refused > 0 {
            writeln!(
                out,
                "  moved along: IRQs {nr_irqs_moved} times (unmovable {nr_irqs_skipped}, refused {nr_irqs_refused}), \
                 workqueues {nr_workqueues_moved} times (refused {nr_workqueues_refused}); left alone {nr_left}"
            )?;
        }
        if moved_memory_bytes + nr_pages_not_moved + nr_memory_refused > 0 {
            writeln!(
                out,
                "  moved along: memory {} MiB; {nr_pages_not_moved} pages stayed, \
                 {nr_memory_refused} processes refused",
                moved_memory_bytes >> 20
            )?;
        }
        Ok(())
    }
}

impl NodeMetrics {
    fn note(&mut self, node: &Node, round: &Round, counters: &NodeStats) {
        let readings = round.readings.get(&node.id).copied().unwrap_or_default();
        *self = NodeMetrics {
            nr_cpus: node.capacity_cpus as u32,
            pressure_pct: match node.pressure {
                Pressure::Fresh { share } => share * 100.0,
                Pressure::Stale { .. } | Pressure::Unknown => -1.0,
            },
            host_psi_pct: readings.host_psi_share.map_or(-1.0, |share| share * 100.0),
            sources: sources(&readings),
            steal_pct: readings.steal_share * 100.0,
            load_cpus: node.load_cpus,
            is_drained: node.drained.into(),
            free_bytes: node.free_bytes.map_or(-1, |bytes| bytes as i64),
            nr_dsm_faults: readings.dsm.map_or(-1, |dsm| dsm.counters.faults() as i64),
            dsm_waiting_cpus: readings.dsm.and_then(|dsm| dsm.waiting_cpus).unwrap_or(-1.0),
            // Not `sum`, which is -0.0 for a node without groups.
            work_cpus: round.view.groups_on(node.id).iter().fold(0.0, |sum, group| sum + group.demand.usage_cpus),
            limit_cpus: round.plan.limits.get(&node.id).copied().unwrap_or(-1.0),
            nr_queued: round.nr_queued.get(node.id.0 as usize).copied().unwrap_or(0),
            run_ms: counters.run_ns / 1_000_000,
            stolen_ms: counters.stolen_ns / 1_000_000,
            gives_way: round.plan.gives_way.contains(&node.id).into(),
            rested_ms: counters.rested_ns / 1_000_000,
            nr_runs: counters.nr_runs,
            nr_elsewhere: counters.nr_elsewhere,
            nr_stragglers: counters.nr_stragglers,
            nr_arrived: counters.nr_arrived,
            nr_moved_in: self.nr_moved_in,
            nr_moved_out: self.nr_moved_out,
        };
    }

    const HEADING: &str = "  node  cpus pressure steal  load queued   run_ms stolen_ms elsewhere stragglers arrived  \
                           in out  by source";

    /// Print the node's line under the heading.
    fn format(&self, name: &str, out: &mut impl Write) -> Result<()> {
        let drained = (self.is_drained > 0).then(|| "drained".to_string());
        let percent = |pct: f64| if pct < 0.0 { "?".to_string() } else { format!("{pct:.0}%") };
        let sources = self.sources.iter().map(|(source, reading)| match reading.pressure_pct {
            ..0.0 => format!("{source} ?"),
            pct => format!("{source} {pct:.0}% {:.1} s old", reading.age_ms as f64 / 1000.0),
        });
        let psi = (self.host_psi_pct >= 0.0).then(|| format!("host PSI {:.0}%", self.host_psi_pct));
        writeln!(
            out,
            "  {name:>5} {:4} {:>8} {:>5} {:5.2} {:6} {:8} {:9} {:9} {:10} {:7} {:3} {:3}  {}",
            self.nr_cpus,
            percent(self.pressure_pct),
            percent(self.steal_pct),
            self.load_cpus,
            self.nr_queued,
            self.run_ms,
            self.stolen_ms,
            self.nr_elsewhere,
            self.nr_stragglers,
            self.nr_arrived,
            self.nr_moved_in,
            self.nr_moved_out,
            drained.into_iter().chain(sources).chain(psi).collect::<Vec<_>>().join(", ")
        )?;
        Ok(())
    }
}

fn sources(readings: &NodeReadings) -> BTreeMap<String, SourceMetrics> {
    let metrics = source_lines(readings).map(|line| {
        let metrics = line.reading.map_or(SourceMetrics { pressure_pct: -1.0, age_ms: -1 }, |reading| SourceMetrics {
            pressure_pct: reading.share * 100.0,
            age_ms: reading.age.as_millis() as i64,
        });
        (line.source.to_string(), metrics)
    });
    metrics.collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::decision::tests::{round, DONE, MOVES, STAYS};
    use super::*;
    use crate::cell::{GroupId, JudgedMove};

    /// The metrics after a move of 3 MiB from node 0 to node 1; both nodes have the same counters.
    pub(in crate::report) fn metrics() -> Metrics {
        let counters = || NodeStats { run_ns: 1_500_000_000, nr_arrived: 6, ..NodeStats::default() };
        let mut metrics = Metrics::new(NodeId(0));
        let round = round(MOVES, Some(DONE));
        metrics.note(&round, &Decision::of(&round), NodeId(1), |_| Ok(counters())).unwrap();
        metrics
    }

    #[test]
    fn a_move_adds_to_the_counters_and_staying_leaves_them() {
        let mut metrics = metrics();
        let figures =
            |metrics: &Metrics| (metrics.epoch, metrics.nr_retargets, metrics.moved_bytes, metrics.destination);
        assert_eq!(figures(&metrics), (3, 1, 3 << 20, 1));
        let round = round(STAYS, None);
        metrics.note(&round, &Decision::of(&round), NodeId(1), |_| Ok(NodeStats::default())).unwrap();
        assert_eq!(figures(&metrics), (3, 1, 3 << 20, 1));
        assert_eq!((metrics.nodes[&0].nr_moved_out, metrics.nodes[&1].nr_moved_in), (1, 1));
        assert_eq!(metrics.last_moved_bytes, 3 << 20);
    }

    #[test]
    fn judged_moves_are_counted_by_what_they_brought() {
        let mut round = round(STAYS, None);
        let it = |payoff| JudgedMove {
            group: GroupId(7),
            from: NodeId(0),
            to: NodeId(1),
            age_rounds: 4.0,
            used_cpus: 0.5,
            instead_cpus: 0.5,
            payoff,
        };
        round.plan.judged = [Payoff::Gained, Payoff::Lost, Payoff::Gained].map(it).into();
        let mut metrics = Metrics::new(NodeId(0));
        metrics.note(&round, &Decision::of(&round), NodeId(0), |_| Ok(NodeStats::default())).unwrap();
        assert_eq!((metrics.nr_moves_gained, metrics.nr_moves_even, metrics.nr_moves_lost), (2, 0, 1));
    }

    #[test]
    fn a_node_without_work_uses_zero_cpu_and_not_minus_zero() {
        let mut round = round(STAYS, None);
        round.view.groups.clear();
        let mut metrics = Metrics::new(NodeId(0));
        metrics.note(&round, &Decision::of(&round), NodeId(0), |_| Ok(NodeStats::default())).unwrap();
        assert_eq!(format!("{:.2}", metrics.nodes[&1].work_cpus), "0.00");
    }

    #[test]
    fn an_unknown_reading_is_below_0_and_printed_as_a_question_mark() {
        let metrics = metrics();
        let node = &metrics.nodes[&1];
        assert_eq!(node.sources["steal"], SourceMetrics { pressure_pct: -1.0, age_ms: -1 });
        assert_eq!(node.sources["probe"], SourceMetrics { pressure_pct: 0.0, age_ms: 400 });
        let mut shown = Vec::new();
        metrics.format(&mut shown).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        let columns = |line: &str| line.split_whitespace().map(str::to_string).collect::<Vec<_>>();
        let lines: Vec<Vec<String>> = shown.lines().map(columns).collect();
        assert_eq!(
            lines[1].join(" "),
            "migratable 0 (selected 0, given back 0, refused 0); moves 1 with 3 MiB, \
             the last with 3 MiB in 85 us; probes 0 ms; page faults 0"
        );
        assert_eq!(lines[3].join(" "), "0 1 52% 52% 0.52 6 1500 0 0 0 6 0 1 steal 52% 0.0 s old");
        assert_eq!(lines[4].join(" "), "1* 1 0% 0% 0.00 0 1500 0 0 0 6 1 0 probe 0% 0.4 s old, steal ?");
        assert_eq!(lines[2].iter().position(|word| word == "run_ms"), Some(6));
    }

    #[test]
    fn optional_lines_are_printed_where_they_apply() {
        let mut round = round(STAYS, None);
        round.picked_by = Some("page faults per second of CPU time");
        round.readings.insert(NodeId(1), NodeReadings { host_psi_share: Some(0.25), ..NodeReadings::default() });
        let mut metrics = Metrics::new(NodeId(0));
        metrics.note(&round, &Decision::of(&round), NodeId(0), |_| Ok(NodeStats::default())).unwrap();
        metrics.note_affinity(&AffinityCounts {
            nr_irqs_moved: 4,
            nr_irqs_skipped: 3,
            nr_workqueues_refused: 2,
            ..AffinityCounts::default()
        });
        let mut shown = Vec::new();
        metrics.format(&mut shown).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        for part in [
            "IRQs 4 times (unmovable 3, refused 0), workqueues 0 times (refused 2); left alone 0\n",
            "  order mai: fewest page faults per second of CPU time first\n",
            "host PSI 25%\n",
        ] {
            assert!(shown.contains(part), "no {part} in\n{shown}");
        }
        assert!(!shown.contains("memory"), "{shown}");
    }
}
