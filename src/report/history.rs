//! The latest metrics and the last decisions, published by the rounds and read from any thread.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cell::NodeId;

use super::{Decision, GroupReport, LinksReport, Metrics, NodeMetrics, NodeStatus, Setup, StatusReport};

/// Number of decisions kept. Consecutive rounds that move nothing for the same reasons count as one.
const NR_KEPT: usize = 256;

/// Written once per round. A reader holds the lock only to copy pointers.
#[derive(Debug, Default)]
pub struct DecisionHistory {
    metrics: Mutex<Arc<Metrics>>,
    decisions: Mutex<VecDeque<Kept>>,
    links: Mutex<Arc<LinksReport>>,
    setup: Mutex<Setup>,
    unmatched_selectors: Mutex<Vec<String>>,
    started_at: Option<Instant>,
    groups: Mutex<Arc<Vec<GroupReport>>>,
}

#[derive(Clone, Debug)]
struct Kept {
    first_round: u64,
    at: Instant,
    decision: Arc<Decision>,
}

/// A decision of the history, for one or more rounds.
#[derive(Clone, Debug)]
pub struct HistoryEntry {
    /// First of the rounds that were alike.
    pub first_round: u64,
    /// Time since the last of these rounds.
    pub ago: Duration,
    /// The decision of the last of these rounds.
    pub decision: Arc<Decision>,
}

impl DecisionHistory {
    /// An empty history of a daemon that starts now.
    pub fn start() -> Self {
        DecisionHistory { started_at: Some(Instant::now()), ..DecisionHistory::default() }
    }

    /// Publish how the daemon is set up.
    pub fn publish_setup(&self, setup: Setup) {
        *self.setup.lock().unwrap_or_else(PoisonError::into_inner) = setup;
    }

    /// Publish which selectors have matched no task for a while.
    pub fn publish_unmatched_selectors(&self, selectors: Vec<String>) {
        *self.unmatched_selectors.lock().unwrap_or_else(PoisonError::into_inner) = selectors;
    }

    /// What the daemon does now.
    pub fn status(&self) -> StatusReport {
        let metrics = self.metrics();
        let last = self.decisions(1).pop();
        let places = last.as_ref().map(|last| last.decision.places()).unwrap_or_default();
        let known = |value: f64| (value >= 0.0).then_some(value);
        let node = |(&id, node): (&u32, &NodeMetrics)| NodeStatus {
            id,
            nr_cpus: node.nr_cpus,
            pressure_share: known(node.pressure_pct).map(|pct| pct / 100.0),
            is_drained: node.is_drained > 0,
            limit_cpus: known(node.limit_cpus),
            nr_queued: node.nr_queued,
            has_work: places.contains(&NodeId(id)),
        };
        StatusReport {
            running: true,
            version: env!("CARGO_PKG_VERSION").into(),
            process: std::process::id(),
            running_s: self.started_at.map_or(0.0, |at| at.elapsed().as_secs_f64()),
            setup: self.setup.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            nr_migratable: metrics.nr_migratable,
            wanted_cpus: known(metrics.wanted_cpus),
            supply_cpus: known(metrics.supply_cpus),
            short_cpus: known(metrics.short_cpus),
            nodes: metrics.nodes.iter().map(node).collect(),
            slos: last.as_ref().map(|last| last.decision.slos().to_vec()).unwrap_or_default(),
            decision: last.as_ref().map(|last| last.decision.summary()),
            decided_s_ago: last.as_ref().map(|last| last.ago.as_secs_f64()),
            nr_failed_rounds: metrics.nr_failed_rounds,
            unmatched_selectors: self.unmatched_selectors.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Publish a round's metrics and decision.
    pub fn publish(&self, metrics: Metrics, decision: Decision) {
        *self.metrics.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(metrics);
        let mut kept = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut first_round = decision.number();
        // If the number isn't the next one, the scheduler class was loaded again.
        let goes_on = |last: &Kept| last.decision.is_like(&decision) && last.decision.number() + 1 == first_round;
        if let Some(last) = kept.back().filter(|last| goes_on(last)) {
            first_round = last.first_round;
            kept.pop_back();
        } else if kept.len() == NR_KEPT {
            kept.pop_front();
        }
        kept.push_back(Kept { first_round, at: Instant::now(), decision: Arc::new(decision) });
    }

    /// Publish only metrics, after a round without a decision.
    pub fn publish_metrics(&self, metrics: Metrics) {
        *self.metrics.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(metrics);
    }

    /// Publish who shares memory with whom.
    pub fn publish_links(&self, links: LinksReport) {
        *self.links.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(links);
    }

    /// Who shares memory with whom, as last published.
    pub fn links(&self) -> Arc<LinksReport> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Publish the busiest groups.
    pub fn publish_groups(&self, groups: Vec<GroupReport>) {
        *self.groups.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(groups);
    }

    /// The busiest groups, as last published.
    pub fn groups(&self) -> Arc<Vec<GroupReport>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The metrics of the last round.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last `nr` decisions, newest last.
    pub fn decisions(&self, nr: usize) -> Vec<HistoryEntry> {
        let kept = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        let last = kept.iter().skip(kept.len().saturating_sub(nr));
        let entry = |kept: &Kept| HistoryEntry {
            first_round: kept.first_round,
            ago: kept.at.elapsed(),
            decision: kept.decision.clone(),
        };
        last.map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::decision::tests::{round, DONE, MOVES, STAYS};
    use super::super::Round;
    use super::*;

    fn publish(history: &DecisionHistory, rounds: impl IntoIterator<Item = (u64, Round)>) {
        for (number, round) in rounds {
            let round = Round { number, ..round };
            history.publish(Metrics { nr_rounds: number, ..Metrics::default() }, Decision::of(&round));
        }
    }

    fn kept(history: &DecisionHistory) -> Vec<(u64, u64)> {
        history.decisions(usize::MAX).iter().map(|entry| (entry.first_round, entry.decision.number())).collect()
    }

    #[test]
    fn rounds_that_stay_alike_are_merged_and_moves_never_are() {
        let history = DecisionHistory::default();
        publish(&history, (1..=5).map(|number| (number, round(STAYS, None))));
        publish(&history, (6..=7).map(|number| (number, round(MOVES, Some(DONE)))));
        publish(&history, [(8, round(STAYS, None))]);
        assert_eq!(kept(&history), [(1, 5), (6, 6), (7, 7), (8, 8)]);
        assert_eq!(history.metrics().nr_rounds, 8);
        assert_eq!(history.decisions(1)[0].decision.number(), 8);
    }

    #[test]
    fn rounds_of_different_loads_are_not_merged() {
        let history = DecisionHistory::default();
        publish(&history, [(7, round(STAYS, None)), (1, round(STAYS, None))]);
        assert_eq!(kept(&history), [(7, 7), (1, 1)]);
    }

    #[test]
    fn the_status_has_the_last_decision_and_what_is_known_of_each_node() {
        let history = DecisionHistory::start();
        assert_eq!(history.status().decision, None);
        history.publish(super::super::stats::tests::metrics(), Decision::of(&round(STAYS, None)));
        history.publish_setup(Setup { policy: "coarse".into(), ..Setup::default() });
        let status = history.status();
        assert!(status.decision.as_ref().unwrap().starts_with("stay on node 0: others take 0.10 CPU"), "{status:?}");
        assert_eq!((status.setup.policy.as_str(), status.wanted_cpus), ("coarse", None));
        let node =
            |id: usize| (status.nodes[id].pressure_share, status.nodes[id].has_work, status.nodes[id].limit_cpus);
        assert_eq!((node(0), node(1)), ((Some(0.52), true, None), (Some(0.0), false, None)));
    }

    #[test]
    fn only_the_last_decisions_are_kept() {
        let history = DecisionHistory::default();
        publish(&history, (1..=1000).map(|number| (number, round(MOVES, Some(DONE)))));
        assert_eq!(kept(&history).len(), NR_KEPT);
        assert_eq!(kept(&history)[0], (1000 - NR_KEPT as u64 + 1, 1000 - NR_KEPT as u64 + 1));
    }
}
