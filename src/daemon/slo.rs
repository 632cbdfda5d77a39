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
    /// Start to watch these objectives, with all room.
    pub fn start(specs: &[SloSpec], interval: Duration) -> Result<Self> {
        Ok(SloLoops {
            slos: Slos::start(specs, interval)?,
            controllers: specs.iter().map(|_| SloController::default()).collect(),
        })
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
