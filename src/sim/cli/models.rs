//! Options of the models that are off by default.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::options::Bytes;
use super::shapes;
use crate::sim::models::{LcModel, MemoryModel, Models, Pages, Sensing};

/// What is simulated besides the thesis's model. No default is set in clap, see [`super::options::ModelOptions`].
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Beyond the thesis's model")]
pub struct ModelsOptions {
    /// Give the slowdown of latency-critical work, which shares the machines' CPUs with the other tasks: that of tasks that
    /// are not migratable, or with =P of those from priority P on
    #[arg(long, value_name = "P", num_args = 0..=1, require_equals = true, default_missing_value = "fixed")]
    pub lc: Option<LcTasks>,
    /// --lc: number of CPUs of a machine [default: 16]
    #[arg(long, value_name = "K")]
    pub lc_cpus: Option<u32>,
    /// --lc: weight of a latency-critical thread, where that of one of the guest's vCPUs is 1 [default: 1]
    #[arg(long, value_name = "W")]
    pub lc_weight: Option<f64>,
    /// --lc: coefficient of variation of the work of bursts; 1 in the co-location experiment [default: 0]
    #[arg(long, value_name = "CV")]
    pub lc_cv: Option<f64>,
    /// Machines that are not identical: a TOML file with [[machines]], each with count, cpu and perhaps memory, or with [[cells]],
    /// each with count and machines; or a part of the machine_events table, whose machines are those at time 0. Instead of
    /// --machines and --capacity
    #[arg(long, value_name = "F", conflicts_with_all = ["machines", "capacity"])]
    pub shapes: Option<PathBuf>,
    /// Machines have this share of the largest machine's memory, where --shapes says nothing else; alone: 0.5. A task starts only where
    /// its memory request fits, too, and auto moves none to where it doesn't fit [default: memory is no limit]
    #[arg(long, value_name = "SHARE", num_args = 0..=1, require_equals = true, default_missing_value = "0.5")]
    pub memory: Option<f64>,
    /// Share of a moved task's memory that the move takes along: its working set [default: 1]
    #[arg(long, value_name = "SHARE")]
    pub working_set: Option<f64>,
    /// Standard deviation of what policies see of others' load, as a share of a machine's CPU [default: 0]
    #[arg(long, value_name = "SHARE")]
    pub sensing_noise: Option<f64>,
    /// Age of what policies see of others' load, in rebalances [default: 0]
    #[arg(long, value_name = "ROUNDS")]
    pub sensing_age: Option<u32>,
    /// Share of the machines without migratable tasks of whose load policies see nothing, in each rebalance [default: 0]
    #[arg(long, value_name = "SHARE")]
    pub sensing_blind: Option<f64>,
    /// A moved task makes no progress until its memory has come, at SIZE bytes per second, such as 1.25GB [default: moves take no
    /// time]
    #[arg(long, value_name = "SIZE")]
    pub link: Option<Bytes>,
    /// Pages per second that a task exchanges with the other tasks of its job in the cell: of those that are on other machines it
    /// waits 10 us for each [default: 0]
    #[arg(long, value_name = "PAGES")]
    pub sharing: Option<f64>,
}

impl ModelsOptions {
    /// The models, not checked yet.
    pub fn models(&self) -> anyhow::Result<Models> {
        let lc = self.lc.map(|LcTasks(from_priority)| LcModel {
            from_priority,
            cpus: self.lc_cpus.unwrap_or(16),
            weight: self.lc_weight.unwrap_or(1.0),
            variation: self.lc_cv.unwrap_or(0.0),
        });
        needs(
            "--lc",
            lc.is_some(),
            &[
                ("--lc-cpus", self.lc_cpus.is_some()),
                ("--lc-weight", self.lc_weight.is_some()),
                ("--lc-cv", self.lc_cv.is_some()),
            ],
        )?;
        let sensing = Sensing {
            noise: self.sensing_noise.unwrap_or(0.0),
            age_rounds: self.sensing_age.unwrap_or(0),
            blind: self.sensing_blind.unwrap_or(0.0),
        };
        let pages =
            Pages { link_bytes_per_s: self.link.map(|link| link.0 as f64), shared_per_s: self.sharing.unwrap_or(0.0) };
        // Unless memory is limited, that of machines changes nothing.
        let with_memory = self.memory.is_some();
        let shapes = self.shapes.as_deref().map(|path| shapes::read(path, with_memory)).transpose()?;
        let memory = self.memory.map(|capacity| MemoryModel { capacity });
        let pages = Some(pages).filter(|pages| *pages != Pages::default());
        Ok(Models { lc, shapes, memory, working_set: self.working_set, sensing, pages })
    }
}

/// Fail if one of a model's options is given without the option that turns the model on.
fn needs(model: &str, is_on: bool, options: &[(&str, bool)]) -> anyhow::Result<()> {
    match options.iter().find(|(_, given)| *given && !is_on) {
        Some((option, _)) => Err(anyhow::anyhow!("{option} changes nothing without {model}: add {model}")),
        None => Ok(()),
    }
}

/// Which tasks are latency-critical: those from a priority on, or those that are not migratable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LcTasks(pub Option<u32>);

impl FromStr for LcTasks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse::<u32>()) {
            ("fixed", _) => Ok(LcTasks(None)),
            (_, Ok(priority)) => Ok(LcTasks(Some(priority))),
            _ => {
                Err("expected a priority, such as --lc=9, or nothing for the tasks that are not migratable".to_owned())
            }
        }
    }
}
