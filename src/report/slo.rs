//! What is reported of a latency objective (`--slo`).

use serde::{Deserialize, Serialize};

use crate::cell::NodeId;
use crate::policy::{SloController, SloState, SLO_SHRINK_SLACK};
use crate::sense::SloSpec;

/// A latency objective and its loop in one round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SloReport {
    /// The objective as it was given.
    pub objective: String,
    /// The node whose work makes room; all nodes if `None`.
    pub node: Option<NodeId>,
    /// The latency, in the query's unit; `None` if it isn't known.
    pub value: Option<f64>,
    /// What it must stay below.
    pub limit: f64,
    /// The same as it was given.
    pub limit_text: String,
    /// Share of what work may otherwise take that it may take, 0..=1.
    pub room_share: f64,
    /// What became of the room.
    pub state: SloState,
}

impl SloReport {
    /// The report of a loop whose last value is `value`.
    pub fn of(spec: &SloSpec, value: Option<f64>, controller: &SloController) -> Self {
        SloReport {
            objective: spec.to_string(),
            node: spec.node,
            value,
            limit: spec.limit,
            limit_text: spec.limit_text.clone(),
            room_share: controller.room_share(),
            state: controller.state(),
        }
    }

    /// `the latency is 1.43 of the objective of 5ms, which is missed: work has 50 % of its room on all nodes`.
    pub fn text(&self) -> String {
        let of = format!("the objective of {}", self.limit_text);
        let latency = match self.value {
            Some(value) => format!("the latency is {:.2} of {of}", value / self.limit),
            None if self.state == SloState::Waits => format!("no latency for {of} yet"),
            None => format!("the latency for {of} is unknown"),
        };
        let slack = self.value.map_or(1.0, |value| 1.0 - value / self.limit);
        let what = match self.state {
            _ if slack < 0.0 => ", which is missed",
            _ if slack < SLO_SHRINK_SLACK => ", which is nearly missed",
            SloState::Missed | SloState::Shrinks | SloState::Holds => {
                "; room grows when it has been well below for long enough"
            }
            SloState::Waits | SloState::Met | SloState::Grows | SloState::Blind => "",
        };
        let room = match self.room_share {
            1.0.. => "all of its room".to_owned(),
            share => format!("{:.0} % of its room", 100.0 * share),
        };
        let nodes = self.node.map_or_else(|| "all nodes".to_owned(), |node| format!("node {node}"));
        format!("{latency}{what}: work has {room} on {nodes}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_the_latency_what_follows_and_where() {
        let report = SloReport {
            value: Some(0.00715),
            limit: 0.005,
            limit_text: "5ms".into(),
            room_share: 0.5,
            state: SloState::Missed,
            ..SloReport::default()
        };
        assert_eq!(
            report.text(),
            "the latency is 1.43 of the objective of 5ms, which is missed: work has 50 % of its room on all nodes"
        );
        let blind = SloReport { value: None, state: SloState::Blind, node: Some(NodeId(2)), ..report.clone() };
        assert_eq!(
            blind.text(),
            "the latency for the objective of 5ms is unknown: work has 50 % of its room on node 2"
        );
        // The room is that of the last step, and the latency may be newer.
        let holds = SloReport { value: Some(0.004), ..report.clone() };
        assert_eq!(
            holds.text(),
            "the latency is 0.80 of the objective of 5ms; room grows when it has been well below for long enough: work has 50 % of \
             its room on all nodes"
        );
        let met = SloReport { value: Some(0.002), state: SloState::Met, room_share: 1.0, ..report };
        assert_eq!(met.text(), "the latency is 0.40 of the objective of 5ms: work has all of its room on all nodes");
    }
}
