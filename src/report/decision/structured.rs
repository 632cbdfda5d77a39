//! A decision as JSON, for `scx_vnuma explain --json`.

use serde::Serialize;

use super::Decision;
use super::SloReport;
use crate::cell::{Balance, Bytes, Fetched, JudgedMove, Node, NodeId, Verdict};

/// A decision of one or more rounds that were alike. CPU in CPUs of the guest, memory in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct DecisionReport {
    /// First of the rounds that were alike.
    pub first_round: u64,
    /// Last of them. The rest is about this one.
    pub round: u64,
    /// Seconds since then.
    pub ago_s: f64,
    /// What is done: `stay on node 0`, or `epoch 3: move from node 3 to 1`.
    pub what: String,
    /// Why, in words.
    pub why: String,
    /// The nodes that migratable work ran on.
    pub places: Vec<NodeId>,
    /// The destinations.
    pub first: Option<NodeId>,
    /// The second one, if any.
    pub second: Option<NodeId>,
    /// What the policy saw of each node.
    pub nodes: Vec<Node>,
    /// Why each node's work stays or goes.
    pub verdicts: Vec<Verdict>,
    /// Demand and supply, from policies that estimate them.
    pub balance: Option<Balance>,
    /// What moves.
    pub routes: Vec<RouteReport>,
    /// What earlier moves brought, of those whose trial has just ended.
    pub judged: Vec<JudgedMove>,
    /// Latency objectives, and the room that they leave.
    pub slos: Vec<SloReport>,
    /// What the moves take of memory and of the link; `None` if the policy doesn't know.
    pub bytes: Option<Bytes>,
    /// What groups fetched after earlier moves, of those for which it has just been counted.
    pub fetched: Vec<Fetched>,
    /// The change of plan that was carried out; `None` if nothing moved, or in a dry run.
    pub epoch: Option<u64>,
}

/// What moves from one node to another.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RouteReport {
    /// The node that it leaves.
    pub from: NodeId,
    /// The node that it goes to.
    pub to: NodeId,
    /// Number of groups.
    pub groups: u64,
    /// CPU that they use.
    pub cpus: f64,
    /// Their memory.
    pub bytes: f64,
}

impl Decision {
    /// The decision as data. `first_round` is the first of the rounds that were alike, and `ago_s` the time since the last.
    pub fn report(&self, first_round: u64, ago_s: f64) -> DecisionReport {
        let routes = self.routes.iter().map(|(&(from, to), moved)| RouteReport {
            from,
            to,
            groups: moved.groups,
            cpus: moved.cpus,
            bytes: moved.bytes,
        });
        DecisionReport {
            first_round,
            round: self.number,
            ago_s,
            what: self.what(),
            why: self.why(),
            places: self.places.clone(),
            first: self.first,
            second: self.second,
            nodes: self.nodes.clone(),
            verdicts: self.verdicts.clone(),
            balance: self.balance,
            routes: routes.collect(),
            judged: self.judged.clone(),
            slos: self.slos.clone(),
            bytes: self.bytes,
            fetched: self.fetched.clone(),
            epoch: self.retargeted.map(|done| done.epoch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{round, DONE, MOVES};
    use super::*;

    #[test]
    fn a_move_as_json_has_its_route_its_epoch_and_the_numbers_that_decided_it() {
        let report = Decision::of(&round(MOVES, Some(DONE))).report(2, 1.5);
        let json = serde_json::to_value(report).unwrap();
        assert_eq!((&json["first_round"], &json["round"], &json["epoch"]), (&2.into(), &4.into(), &3.into()));
        assert_eq!(json["routes"][0]["to"], 1);
        assert_eq!(json["verdicts"][0]["outcome"], "moves");
        assert_eq!(json["nodes"][0]["pressure"]["fresh"]["share"], 0.52);
        assert_eq!(json["what"], "epoch 3: move from node 0 to 1");
    }
}
