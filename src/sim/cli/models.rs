//! Options of the models that are off by default.

use std::str::FromStr;

use clap::Args;

use crate::sim::models::{LcModel, Models};

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
}

impl ModelsOptions {
    /// The models, not checked yet.
    pub fn models(&self) -> anyhow::Result<Models> {
        let lc = self.lc.map(|LcTasks(from_priority)| LcModel {
            from_priority,
            cpus: self.lc_cpus.unwrap_or(16),
            weight: self.lc_weight.unwrap_or(1.0),
        });
        needs(
            "--lc",
            lc.is_some(),
            &[("--lc-cpus", self.lc_cpus.is_some()), ("--lc-weight", self.lc_weight.is_some())],
        )?;
        Ok(Models { lc })
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
