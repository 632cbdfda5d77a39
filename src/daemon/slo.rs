//! Latency objectives between rounds: what is read of each, and the room that their loops leave.

use std::time::Duration;

use anyhow::Result;

use crate::cell::CellView;
use crate::policy::{SloController, SloState};
use crate::report::SloReport;
use crate::sense::{SloSpec, Slos};

/// The objectives and their loops.
#[derive(Debug)]
pub(super) struct SloLoops {
    slos: Slos,
    controllers: Vec<SloController>,
}

impl SloLoops {
    /// Start to watch these objectives. Those that `before` has too go on with their room; others begin with all of it.
    pub fn start(specs: Vec<SloSpec>, interval: Duration, before: Option<&SloLoops>) -> Result<Self> {
        let had = |spec: &SloSpec| before.and_then(|before| before.controller_of(spec)).copied();
        let controllers = specs.iter().map(|spec| had(spec).unwrap_or_default()).collect();
        Ok(SloLoops { slos: Slos::start(specs, interval)?, controllers })
    }

    /// Return true if these, and no others, are watched.
    pub fn are_about(&self, specs: &[SloSpec]) -> bool {
        self.slos.readings().map(|(spec, ..)| spec).eq(specs)
    }

    fn controller_of(&self, spec: &SloSpec) -> Option<&SloController> {
        self.slos.readings().zip(&self.controllers).find(|((it, ..), _)| *it == spec).map(|(_, controller)| controller)
    }

    /// Take in what is known now, `passed` after the last call.
    pub fn step(&mut self, passed: Duration) {
        for ((spec, value, reading), controller) in self.slos.readings().zip(&mut self.controllers) {
            let before = controller.state();
            controller.note(reading, passed.as_secs_f64());
            let report = SloReport::of(spec, value, controller);
            match (before, controller.state()) {
                (before, now) if before == now => {}
                (_, SloState::Missed | SloState::Blind) => log::warn!("{}", report.text()),
                (SloState::Missed | SloState::Blind, _) | (_, SloState::Met) => log::info!("{}", report.text()),
                _ => log::debug!("{}", report.text()),
            }
        }
    }

    /// Set the room of each node: the least of the objectives that are about it.
    pub fn set_room(&self, view: &mut CellView) {
        for ((spec, ..), controller) in self.slos.readings().zip(&self.controllers) {
            for node in view.nodes.iter_mut().filter(|node| spec.node.is_none_or(|of| of == node.id)) {
                node.room_share = node.room_share.min(controller.room_share());
            }
        }
    }

    /// What to report of them.
    pub fn reports(&self) -> Vec<SloReport> {
        let all = self.slos.readings().zip(&self.controllers);
        all.map(|((spec, value, _), controller)| SloReport::of(spec, value, controller)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::SloReading;

    #[test]
    fn objectives_that_a_reload_leaves_keep_their_room() {
        let spec = |port: u16| format!("http://127.0.0.1:{port}#p99<5ms").parse::<SloSpec>().unwrap();
        let start = |specs, before| SloLoops::start(specs, Duration::from_secs(1), before).unwrap();
        let mut loops = start(vec![spec(1), spec(2)], None);
        loops.controllers[1].note(SloReading::Unknown, 1.0);
        let room = loops.controllers[1].room_share();
        assert!(room < 1.0 && loops.are_about(&[spec(1), spec(2)]) && !loops.are_about(&[spec(2), spec(1)]));
        let again = start(vec![spec(2), spec(3)], Some(&loops));
        let rooms: Vec<f64> = again.reports().iter().map(|report| report.room_share).collect();
        assert_eq!(rooms, [room, 1.0]);
    }
}
