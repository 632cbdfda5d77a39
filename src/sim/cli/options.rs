//! Options that several commands share, and parsers of their values.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::models::ModelsOptions;
use crate::policy::{Order, PolicyName, World};
use crate::sim::models::Shapes;
use crate::sim::params::Params;
use crate::sim::placement::Shard;
use crate::sim::{sample, SimError};

/// The trace to read. Without any of these options, the bundled sample is used.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Trace")]
pub struct TraceOptions {
    /// Parts of the task_events table, plain or .gz: files, globs, directories
    #[arg(long, value_name = "F", num_args = 1.., requires = "usage")]
    pub events: Vec<String>,
    /// Parts of the task_usage table
    #[arg(long, value_name = "F", num_args = 1.., requires = "events")]
    pub usage: Vec<String>,
    /// Parts of the machine_events table. They are only checked and summed up, since the model's machines are identical
    #[arg(long, value_name = "F", num_args = 1..)]
    pub machine_events: Vec<String>,
    /// Make every oddity of the trace fatal
    #[arg(long)]
    pub strict: bool,
}

/// The parameters of the model. No default is set in clap, because a sweep sets the options one by one, and an option
/// that isn't given must not reset another one's value.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Model")]
pub struct ModelOptions {
    /// Scheduling policy [default: fine]
    #[arg(long, value_parser = PolicyName::value_parser(World::Simulated))]
    pub policy: Option<PolicyName>,
    /// Order in which `fine` picks tasks: 0 none, 1 request, 2 cpu, 3 memory, 4 cpu-desc, 5 mai [default: memory]
    #[arg(long)]
    pub order: Option<Order>,
    /// Number of machines in the cluster [default: 800; 40 for the sample]
    #[arg(long, value_name = "N")]
    pub machines: Option<u32>,
    /// CPU of each machine, as a share of the trace's largest machine [default: 0.5]
    #[arg(long, value_name = "CPU")]
    pub capacity: Option<f64>,
    /// Number of machines in a cell [default: 4]
    #[arg(long, value_name = "N")]
    pub cell: Option<u32>,
    /// Time between rebalances, such as 60s or 2min [default: 60s]
    #[arg(long, value_name = "TIME")]
    pub interval: Option<Seconds>,
    /// Share of a task's CPU request that is reserved [default: 1.0]
    #[arg(long, value_name = "RATIO")]
    pub overcommit: Option<f64>,
    /// Tasks below this priority are migratable [default: 2]
    #[arg(long, value_name = "P")]
    pub priority_below: Option<u32>,
    /// Tasks whose maximum CPU is above this are not migratable [default: 0.025]
    #[arg(long, value_name = "CPU")]
    pub max_cpu: Option<f64>,
    /// coarse: a machine's work stays if it is more than this share of its load [default: 0.8]
    #[arg(long, value_name = "SHARE")]
    pub useful: Option<f64>,
    /// No destination is loaded beyond this share of its capacity [default: 1.0]
    #[arg(long, value_name = "SHARE")]
    pub warning: Option<f64>,
    /// fine: what was picked for a destination moves only if it uses more CPU than this [default: 0]
    #[arg(long, value_name = "CPU")]
    pub min_gain: Option<f64>,
    /// coarse, fine: to how many of a cell's machines, the least loaded ones, work moves [default: 1 for coarse, 2 for fine]
    #[arg(long, value_name = "K")]
    pub destinations: Option<u32>,
    /// auto: evening loads out moves a task when CPU² · seconds for each byte exceed this: less is more balance for more
    /// bytes [default: 1e-8]
    #[arg(long, value_name = "PRICE")]
    pub price: Option<f64>,
    /// Memory of each machine [default: 128GiB]
    #[arg(long, value_name = "SIZE")]
    pub machine_memory: Option<Bytes>,
    /// Seed of the placement [default: 1]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Start of the simulation, in trace time [default: start of the first usage window]
    #[arg(long, value_name = "TIME")]
    pub start: Option<Seconds>,
    /// End of the simulation, in trace time [default: end of the last usage window]
    #[arg(long, value_name = "TIME")]
    pub end: Option<Seconds>,
    #[command(flatten)]
    pub models: ModelsOptions,
}

impl ModelOptions {
    /// The checked parameters. `of_sample` selects the sample's number of machines as the default.
    pub fn params(&self, of_sample: bool) -> Result<Params, SimError> {
        let default = Params::default();
        let policy = self.policy.unwrap_or(default.policy);
        let machines = if of_sample { sample::MACHINES } else { default.machines };
        let models = self.models.models().map_err(|err| SimError::Parameters(format!("{err:#}")))?;
        let own_cell = models.shapes.as_ref().and_then(Shapes::largest_cell);
        if own_cell.is_some() && self.cell.is_some() {
            return Err(SimError::Parameters(
                "--cell: the file of --shapes has cells of its own; leave --cell out".to_owned(),
            ));
        }
        let machines =
            models.shapes.as_ref().map_or(machines, |shapes| shapes.nr_machines().min(u64::from(u32::MAX)) as u32);
        let params = Params {
            policy,
            order: policy.has_orders().then(|| self.order.unwrap_or_default()),
            machines: self.machines.unwrap_or(machines),
            capacity: self.capacity.unwrap_or(default.capacity),
            cell: self.cell.or(own_cell).unwrap_or(default.cell),
            interval_s: self.interval.map_or(default.interval_s, |interval| interval.0),
            overcommit: self.overcommit.unwrap_or(default.overcommit),
            priority_below: self.priority_below.unwrap_or(default.priority_below),
            max_cpu: self.max_cpu.unwrap_or(default.max_cpu),
            useful: self.useful.unwrap_or(default.useful),
            warning: self.warning.unwrap_or(default.warning),
            min_gain: self.min_gain.unwrap_or(default.min_gain),
            destinations: self.destinations,
            price: self.price.unwrap_or(default.price),
            machine_memory_bytes: self.machine_memory.map_or(default.machine_memory_bytes, |memory| memory.0),
            seed: self.seed.unwrap_or(default.seed),
            start_s: self.start.map(|start| start.0),
            end_s: self.end.map(|end| end.0),
            models,
        };
        params.check()?;
        Ok(params)
    }
}

/// How a command runs. These options don't affect its figures.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Running")]
pub struct RunningOptions {
    /// Trace written by `prepare`, instead of --events and --usage
    #[arg(long, value_name = "T.parquet", conflicts_with_all = ["events", "usage"])]
    pub trace: Option<PathBuf>,
    /// Number of threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(..=MAX_THREADS))]
    pub threads: Option<u16>,
}

impl RunningOptions {
    /// Start the threads.
    pub fn start_threads(&self) -> anyhow::Result<()> {
        start_threads(self.threads)
    }
}

/// Maximum number of threads: more would only wait for each other.
pub const MAX_THREADS: i64 = 1024;

/// Start the threads; one per core if no number is given.
pub fn start_threads(threads: Option<u16>) -> anyhow::Result<()> {
    let threads = threads.map_or(0, usize::from);
    Ok(rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?)
}

/// A time: a number of seconds, or with units, such as `1h 30min`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seconds(pub f64);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(seconds) = text.parse::<f64>() {
            let possible = seconds.is_finite() && seconds >= 0.0;
            return possible.then_some(Seconds(seconds)).ok_or_else(|| format!("'{text}' is not a time"));
        }
        let duration: Duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
        Ok(Seconds(duration.as_secs_f64()))
    }
}

/// A size: a number of bytes, or with a unit, such as `128GiB` or `1.5TB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let factor: f64 = match unit {
            "" | "B" => 1.0,
            "KiB" | "K" => 2f64.powi(10),
            "MiB" | "M" => 2f64.powi(20),
            "GiB" | "G" => 2f64.powi(30),
            "TiB" | "T" => 2f64.powi(40),
            "KB" | "kB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "TB" => 1e12,
            _ => return Err(format!("'{unit}' is not a unit; units are B, KiB, MiB, GiB, TiB, KB, MB, GB, TB")),
        };
        match number.trim().parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(Bytes((number * factor).round() as u64)),
            _ => Err(format!("'{text}' is not a size")),
        }
    }
}

/// A shard, written `i/n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardOption(pub Shard);

impl FromStr for ShardOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((index, of)) if index < of => Ok(ShardOption(Shard { index, of })),
            _ => Err(format!("'{text}' is not a shard; the shards of 4 are 0/4, 1/4, 2/4 and 3/4")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_parsed_with_and_without_units() {
        assert_eq!("60s".parse::<Seconds>().unwrap(), Seconds(60.0));
        assert_eq!("0.5".parse::<Seconds>().unwrap(), Seconds(0.5));
        assert_eq!("2min".parse::<Seconds>().unwrap(), Seconds(120.0));
        assert!("-1".parse::<Seconds>().is_err());
        assert_eq!("128GiB".parse::<Bytes>().unwrap(), Bytes(137_438_953_472));
        assert_eq!("1.5KB".parse::<Bytes>().unwrap(), Bytes(1500));
        assert!("12 parsecs".parse::<Bytes>().is_err());
    }

    #[test]
    fn a_shards_index_is_below_the_number_of_shards() {
        assert_eq!("1/4".parse::<ShardOption>().unwrap().0, Shard { index: 1, of: 4 });
        assert!("4/4".parse::<ShardOption>().is_err());
        assert!("0/0".parse::<ShardOption>().is_err());
    }
}
