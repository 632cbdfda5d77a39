//! Rounds of a log as a longer interval would have made them.

use std::collections::BTreeMap;

use crate::cell::{CellView, Group, GroupId, Link, Node, Pressure, Sample};
use crate::decision_log::LoggedRound;

/// Merge each `count` consecutive rounds into one. A round that a hit started ends what is merged: a hit starts a round at once,
/// whatever the interval is. Lengths and ages are in rounds of the longer interval.
pub(super) fn merged(rounds: &[LoggedRound], count: usize) -> Vec<LoggedRound> {
    let is_hit = |round: &LoggedRound| round.view.nodes.iter().any(|node| node.alarm);
    let mut all = Vec::new();
    let mut part = Vec::new();
    for round in rounds {
        part.push(round);
        if part.len() == count.max(1) || is_hit(round) {
            all.extend(one_of(&part, count));
            part.clear();
        }
    }
    all.extend(one_of(&part, count));
    all
}

fn one_of(part: &[&LoggedRound], count: usize) -> Option<LoggedRound> {
    let &last = part.last()?;
    if count <= 1 {
        return Some(last.clone());
    }
    let weights: Vec<f64> = part.iter().map(|round| round.view.window_rounds).collect();
    let rounds: f64 = weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let nodes = last.view.nodes.iter().map(|node| {
        let of_node =
            part.iter().zip(&weights).filter_map(|(round, weight)| Some((round.view.node(node.id)?, *weight)));
        merged_node(node, &of_node.collect::<Vec<_>>(), count)
    });
    let mut groups = BTreeMap::<GroupId, Group>::new();
    for (round, weight) in part.iter().zip(&weights) {
        for group in &round.view.groups {
            let share = weight / rounds;
            let sum = groups.entry(group.id).or_insert_with(|| without_use(group));
            let (usage_cpus, wanted_cpus) = (sum.demand.usage_cpus, sum.wanted_cpus);
            *sum = *group;
            sum.demand.usage_cpus = usage_cpus + share * group.demand.usage_cpus;
            sum.wanted_cpus = group.wanted_cpus.map(|wanted| wanted_cpus.unwrap_or(0.0) + share * wanted);
            sum.age_rounds = group.age_rounds / count as f64;
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| (group.node, group.id));
    let view = CellView {
        nodes: nodes.collect(),
        groups,
        links: last
            .view
            .links
            .iter()
            .map(|link| Link::new(link.a, link.b, link.pages_per_round * count as f64))
            .collect(),
        residents: last.view.residents.clone(),
        memory_follows: last.view.memory_follows,
        page_cost_rounds: last.view.page_cost_rounds.map(|cost_rounds| cost_rounds / count as f64),
        window_rounds: rounds / count as f64,
    };
    Some(LoggedRound { round: last.round, view, plan: last.plan.clone(), observed: None })
}

fn without_use(group: &Group) -> Group {
    let mut group = *group;
    group.demand.usage_cpus = 0.0;
    group.wanted_cpus = None;
    group
}

/// `last` with means over the rounds that are merged, each with its weight.
fn merged_node(last: &Node, of_node: &[(&Node, f64)], count: usize) -> Node {
    let mean = |value: &dyn Fn(&Node) -> Option<f64>| {
        let known = of_node.iter().filter_map(|(node, weight)| Some((value(node)?, *weight)));
        let (sum, weights) =
            known.fold((0.0, 0.0), |(sum, weights), (value, weight)| (sum + value * weight, weights + weight));
        (weights > 0.0).then(|| sum / weights)
    };
    let sample_rounds: f64 = of_node.iter().filter_map(|(node, _)| node.sample).map(|sample| sample.rounds).sum();
    let sample_sum: f64 =
        of_node.iter().filter_map(|(node, _)| node.sample).map(|sample| sample.share * sample.rounds).sum();
    let sample = last.sample.map(|sample| Sample {
        share: if sample_rounds > 0.0 { sample_sum / sample_rounds } else { sample.share },
        rounds: sample_rounds / count as f64,
    });
    Node {
        pressure: mean(&|node| node.pressure.share()).map_or(last.pressure, |share| Pressure::Fresh { share }),
        load_cpus: mean(&|node| Some(node.load_cpus)).unwrap_or(last.load_cpus),
        waiting_cpus: mean(&|node| Some(node.waiting_cpus)).unwrap_or(last.waiting_cpus),
        stolen_share: mean(&|node| node.stolen_share),
        sample,
        ..last.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Plan;
    use crate::policy::test_cell::{cell, group, node};

    /// A round of two nodes; others take this much of node 0, and group 7 uses the rest of it.
    fn round(number: u64, taken_cpus: f64) -> LoggedRound {
        let view = cell(vec![node(0, 1.0, taken_cpus), node(1, 1.0, 0.0)], vec![group(7, 0, 1.0 - taken_cpus)]);
        LoggedRound { round: number, view, plan: Plan::default(), observed: None }
    }

    #[test]
    fn a_merged_round_has_means_and_the_whole_window() {
        let rounds = [round(1, 0.0), round(2, 0.5), round(3, 1.0)];
        let merged = merged(&rounds, 2);
        assert_eq!(merged.iter().map(|round| round.round).collect::<Vec<_>>(), [2, 3]);
        let first = &merged[0].view;
        assert_eq!(first.nodes[0].pressure, Pressure::Fresh { share: 0.25 });
        assert_eq!((first.groups[0].demand.usage_cpus, first.window_rounds), (0.75, 1.0));
        assert_eq!(merged[1].view.window_rounds, 0.5, "the last one is incomplete");
    }

    #[test]
    fn a_hit_ends_a_merged_round_and_one_alone_is_as_it_was() {
        let mut rounds = [round(1, 0.0), round(2, 0.5), round(3, 1.0), round(4, 1.0)];
        rounds[0].view.nodes[0].alarm = true;
        let ends: Vec<u64> = merged(&rounds, 2).iter().map(|round| round.round).collect();
        assert_eq!(ends, [1, 3, 4]);
        assert_eq!(merged(&rounds, 1), rounds);
    }
}
