//! The daemon's options. Their help is the manual.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::act::SurroundingsOptions;
use crate::policy::{GuardOptions, Order, PolicyName, PolicySettings, World};
use crate::sense::HostSpec;
use crate::work::{Grouping, Selector};
use clap::{Args, Parser, Subcommand};

/// Sends migratable work to the vNUMA node whose host is idlest, and leaves all other tasks alone.
///
/// Migratable are the tasks that a selector matches and what `scx_vnuma exec` starts, with their children. All other
/// tasks stay in the kernel's fair class, which preempts migratable ones.
#[derive(Debug, Parser)]
#[command(name = "scx_vnuma", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of scheduling.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to schedule.
    #[command(flatten)]
    pub run: RunOptions,
}

/// What the program does instead of scheduling.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command as migratable, whatever the selectors say; its children are migratable too.
    Exec {
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Undo what a killed scx_vnuma left: give tasks, IRQs and workqueues back what they had, and remove pinned maps.
    Restore,
    /// Tell the last decisions of the scx_vnuma that is running: what was seen, chosen, refused and done, and why.
    Explain {
        /// How many decisions; rounds in which all stayed for the same reasons count as one. It keeps 256.
        #[arg(short, value_name = "NUMBER", default_value = "20")]
        nr: usize,
    },
}

/// The options of scheduling. Their help is the manual.
#[derive(Clone, Debug, Args)]
pub struct RunOptions {
    /// How to decide: `coarse` sends all migratable work to the least loaded node when others take too much of its
    /// node (the thesis's algorithm 3-1); `fine` sends processes one by one, to the least loaded node and then to the
    /// second least loaded (algorithms 4-2 and 4-3).
    #[arg(long, value_parser = PolicyName::value_parser(World::Live), default_value = "coarse")]
    pub policy: PolicyName,

    /// The order in which `fine` picks processes: 0 none, 1 request, 2 cpu, 3 memory, 4 cpu-desc or 5 mai: memory
    /// accesses per instruction, which are last-level cache misses where the guest has a PMU; where it has none, page
    /// faults per second of CPU time stand for them, and it says so.
    #[arg(long, value_name = "ORDER", default_value = "memory")]
    pub order: Order,

    /// What `fine` moves as a whole.
    #[arg(long, value_enum, default_value = "process")]
    pub group: GroupName,

    /// `fine` loads a destination to at most this share of its CPUs.
    #[arg(long, value_name = "SHARE", default_value = "1.0", value_parser = parse_share)]
    pub warning: f64,

    /// Time between two decisions, as in `100ms` or `2s`. Work leaves a busy host after about as long.
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = parse_interval)]
    pub interval: Duration,

    /// `coarse` moves when others take at least this much of the node that runs the work: ticks (10 ms) of steal per 2 s
    /// of wall time, over all its CPUs, whatever the interval [default: what --bad says; 50, a quarter of one CPU, with
    /// --no-guards].
    #[arg(long, value_name = "TICKS", value_parser = parse_threshold_ticks)]
    pub threshold_ticks: Option<f64>,

    /// A node is left only after bad rounds: others took at least this share of its CPUs.
    #[arg(long, value_name = "SHARE", default_value = "0.05", value_parser = parse_share)]
    pub bad: f64,

    /// Less than this ends a row of bad rounds; in between it goes on without growing.
    #[arg(long, value_name = "SHARE", default_value = "0.02", value_parser = parse_share)]
    pub calm: f64,

    /// So many bad rounds in a row make a move. What is mild must last to be worth one
    /// [default: as many as make 2 s, and 2 at least].
    #[arg(long, value_name = "ROUNDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub bad_rounds: Option<u32>,

    /// From this share on, one bad round is enough. The default is the thesis's 50 ticks of steal in 2 s.
    #[arg(long, value_name = "SHARE", default_value = "0.25", value_parser = parse_share)]
    pub severe: f64,

    /// After a move, wait at least this long before the next. A move's cost is the memory that follows it: a gigabyte
    /// takes a second at 10 Gbit/s, a fifth of this. Out of --severe pressure, to where it isn't, work need not wait, until
    /// each node has been tried.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub cool_down: Duration,

    /// Decide without --bad, --calm, --bad-rounds, --severe and --cool-down, as the thesis's script does.
    #[arg(long)]
    pub no_guards: bool,

    /// Where nothing else says how busy an empty node's host is, let one of its CPUs spin this long each second, at the
    /// lowest priority, and see how much of it is stolen. While it is found busy that is done less often, down to every
    /// four seconds; before work is sent anywhere it is done on all such nodes at once, for three times as long.
    #[arg(long, value_name = "DURATION", default_value = "10ms", value_parser = parse_probe)]
    pub probe: Duration,

    /// Probe nothing: an empty node without another source counts as idle.
    #[arg(long)]
    pub no_probe: bool,

    /// IRQs are handled where migratable work goes, from its first move on. Per-CPU and managed IRQs stay
    /// [default: true for `coarse`, as in algorithm 3-1; else false].
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          hide_possible_values = true)]
    pub move_irqs: Option<bool>,

    /// The kernel's unbound workqueues run where migratable work goes, from its first move on
    /// [default: true for `coarse`, as in algorithm 3-1; else false].
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          hide_possible_values = true)]
    pub move_workqueues: Option<bool>,

    /// Move the memory of processes that move after them, in the background: where a node's memory is really remote and
    /// pages don't move by themselves, as they do in a distributed VM.
    #[arg(long)]
    pub move_memory: bool,

    /// How fast --move-memory may be, bytes per second, in the mean over processes [default: 134217728, about a tenth
    /// of 10 Gbit/s].
    #[arg(long, value_name = "BYTES", default_value = "134217728", hide_default_value = true,
          value_parser = clap::value_parser!(u64).range(1..), requires = "move_memory")]
    pub memory_rate: u64,

    /// The node that migratable work goes to at first [default: the first node with CPUs].
    #[arg(long, value_name = "NODE")]
    pub start_node: Option<u32>,

    /// A task that matches is migratable; repeatable, any match counts: `cgroup=/batch/**`, `comm=GLOB`, `uid=N`,
    /// `nice>=N`, `policy=batch|idle`. Kernel threads and real-time tasks never are
    /// [default: `nice>=1` and `policy=batch|idle`].
    #[arg(long, value_name = "SELECTOR")]
    pub select: Vec<Selector>,

    /// Take every ordinary task, as the thesis's script does; then nothing is fixed but real-time tasks.
    #[arg(long, conflicts_with = "select")]
    pub all: bool,

    /// Where a node's host says how busy it is: the URL of its Prometheus node_exporter, as in
    /// `0=http://host-a:9100?cpus=0-7`; repeatable. `cpus=` names the host's CPUs that the node runs on; without it all
    /// of them count.
    #[arg(long, value_name = "NODE=URL")]
    pub host: Vec<HostSpec>,

    /// The same in a file, with passwords, tokens and certificates: a `[[host]]` for each node, with `node`, `url` and, if
    /// need be, `cpus`, `user` and `password_file`, `bearer_token_file`, `ca_file`.
    #[arg(long, value_name = "FILE.toml")]
    pub hosts: Option<std::path::PathBuf>,

    /// Decide and report, but move nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// Run even if only one node has CPUs, where there is nowhere to move to.
    #[arg(long)]
    pub allow_single_node: bool,

    /// Write what each round saw and decided to this new file, for `vnuma-sim replay`.
    #[arg(long, value_name = "FILE.jsonl")]
    pub log: Option<std::path::PathBuf>,

    /// Print statistics every so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub stats: Option<Duration>,

    /// Print statistics of the scx_vnuma that is running, every so many seconds, and start none.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub monitor: Option<Duration>,

    /// Serve the statistics as OpenMetrics, for Prometheus, at http://ADDR/metrics. A port alone, `9100` or `:9100`, is
    /// on 127.0.0.1; `0.0.0.0:9100` and `[::]:9100` answer everybody.
    #[arg(long, value_name = "ADDR", value_parser = parse_listen_address)]
    pub metrics: Option<SocketAddr>,

    /// Explain the statistics.
    #[arg(long)]
    pub help_stats: bool,

    /// Length of the exit report's dump in bytes; 0 for the kernel's default.
    #[arg(long, value_name = "BYTES", default_value = "0")]
    pub exit_dump_len: u32,

    /// Print every round's decision, not only what changes; twice, also what libbpf says.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum GroupName {
    /// The threads of a process.
    Process,
    /// The processes of a cgroup.
    Cgroup,
}

impl From<GroupName> for Grouping {
    fn from(name: GroupName) -> Self {
        match name {
            GroupName::Process => Grouping::Process,
            GroupName::Cgroup => Grouping::Cgroup,
        }
    }
}

impl RunOptions {
    /// What the guards hold back; `None` without them.
    pub(super) fn guards(&self) -> Option<GuardOptions> {
        const BAD_FOR: Duration = Duration::from_secs(2);
        let rounds = |time: Duration| (time.as_secs_f64() / self.interval.as_secs_f64()).ceil() as u32;
        let guards = GuardOptions {
            enter_share: self.bad,
            exit_share: self.calm.min(self.bad),
            bad_rounds: self.bad_rounds.unwrap_or(rounds(BAD_FOR).max(2)),
            severe_share: self.severe.max(self.bad),
            cool_down_rounds: rounds(self.cool_down),
        };
        (!self.no_guards).then_some(guards)
    }

    /// What the policy is made from.
    pub(super) fn policy_settings(&self) -> PolicySettings {
        /// The thesis counts ticks of 10 ms in rounds of 2 s.
        const TICKS_OF_ONE_CPU: f64 = 200.0;
        const THESIS_TICKS: f64 = 50.0;
        // With guards, they say what is too much: any pressure may move work then.
        let default_ticks = if self.no_guards { THESIS_TICKS } else { f64::MIN_POSITIVE };
        // With guards, a node that would be left again is no destination.
        let avoid_share = if self.no_guards { f64::INFINITY } else { self.bad };
        PolicySettings {
            trigger_cpus: Some(self.threshold_ticks.unwrap_or(default_ticks) / TICKS_OF_ONE_CPU),
            warning_share: self.warning,
            avoid_share,
            order: self.order,
            ..PolicySettings::default()
        }
    }

    /// What follows the work beside tasks; nothing does in a dry run.
    pub(super) fn surroundings(&self) -> SurroundingsOptions {
        if self.dry_run {
            return SurroundingsOptions::default();
        }
        let as_in_the_thesis = self.policy == PolicyName::COARSE;
        SurroundingsOptions {
            irqs: self.move_irqs.unwrap_or(as_in_the_thesis),
            workqueues: self.move_workqueues.unwrap_or(as_in_the_thesis),
            memory_bytes_per_s: self.move_memory.then_some(self.memory_rate),
        }
    }
}

/// Shorter rounds than this cost more than they tell.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write a duration as 100ms or 2s".to_string())
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if interval < INTERVAL_MIN {
        return Err(format!("must be at least {}", humantime::format_duration(INTERVAL_MIN)));
    }
    Ok(interval)
}

/// Longer probes would be work.
const PROBE_MAX: Duration = Duration::from_millis(100);

fn parse_probe(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        burst if (Duration::from_millis(1)..=PROBE_MAX).contains(&burst) => Ok(burst),
        _ => Err("takes a duration from 1ms to 100ms; --no-probe turns it off".into()),
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("takes a share from 0 to 1, as in 0.05".into()),
    }
}

fn parse_threshold_ticks(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(ticks) if ticks.is_finite() && ticks > 0.0 => Ok(ticks),
        _ => Err("takes a number of ticks above 0".into()),
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..1e6).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("takes a number of seconds above 0, as in 1 or 0.5".into()),
    }
}

fn parse_listen_address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text).parse::<u16>();
    let on_loopback = port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let refused = |_| "takes a port, or an address of this machine and a port, as in 9100 or 0.0.0.0:9100".to_string();
    on_loopback.or_else(|_| text.parse()).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, String> {
        Cli::try_parse_from([&["scx_vnuma"], args].concat()).map_err(|err| err.to_string())
    }

    #[test]
    fn alone_it_decides_as_the_thesis_does_but_four_times_as_often() {
        let run = parse(&[]).unwrap().run;
        assert_eq!(run.interval, Duration::from_millis(500));
        assert_eq!(run.threshold_ticks, None);
        assert_eq!(run.policy, PolicyName::COARSE);
    }

    #[test]
    fn bad_values_are_refused_with_the_flag_and_the_remedy() {
        for (args, flag, remedy) in [
            (["--interval", "0"], "--interval", "at least 10ms"),
            (["--interval", "0s"], "--interval", "at least 10ms"),
            (["--interval", "2"], "--interval", "100ms or 2s"),
            (["--threshold-ticks", "0"], "--threshold-ticks", "above 0"),
            (["--probe", "2s"], "--probe", "--no-probe"),
            (["--bad", "5"], "--bad", "0.05"),
            (["--order", "6"], "--order", "5 mai"),
            (["--stats", "0"], "--stats", "above 0"),
            (["--metrics", "host:9100"], "--metrics", "9100 or 0.0.0.0:9100"),
            (["--metrics", "65536"], "--metrics", "takes a port"),
            (["--select", "nice"], "--select", "expected cgroup=GLOB"),
            (["--host", "host-a:9100"], "--host", "expected NODE=URL"),
        ] {
            let message = parse(&args).unwrap_err();
            assert!(message.contains(flag) && message.contains(remedy), "{message}");
        }
    }

    #[test]
    fn the_guards_defaults_are_the_simulators() {
        assert_eq!(parse(&["--interval", "2s"]).unwrap().run.guards(), Some(GuardOptions::with_cool_down(3)));
        let short = GuardOptions { bad_rounds: 20, ..GuardOptions::with_cool_down(50) };
        assert_eq!(parse(&["--interval", "100ms"]).unwrap().run.guards(), Some(short));
        assert_eq!(parse(&["--no-guards"]).unwrap().run.guards(), None);
    }

    #[test]
    fn all_and_select_exclude_each_other() {
        assert!(parse(&["--all", "--select", "uid=0"]).unwrap_err().contains("cannot be used with"));
    }

    #[test]
    fn metrics_are_on_the_loopback_unless_told_otherwise() {
        let address = |text| parse(&["--metrics", text]).unwrap().run.metrics.unwrap().to_string();
        assert_eq!(address("9100"), "127.0.0.1:9100");
        assert_eq!(address(":9100"), "127.0.0.1:9100");
        assert_eq!(address("0.0.0.0:9100"), "0.0.0.0:9100");
        assert_eq!(address("[::1]:9100"), "[::1]:9100");
    }

    #[test]
    fn irqs_and_workqueues_follow_the_thesiss_policy_unless_told_otherwise() {
        let follow = |args: &[&str]| {
            let SurroundingsOptions { irqs, workqueues, .. } = parse(args).unwrap().run.surroundings();
            (irqs, workqueues)
        };
        assert_eq!(follow(&[]), (true, true));
        assert_eq!(follow(&["--move-irqs=false"]), (false, true));
        assert_eq!(follow(&["--policy", "fine"]), (false, false));
        assert_eq!(follow(&["--policy", "fine", "--move-irqs", "--move-workqueues=true"]), (true, true));
        assert_eq!(follow(&["--dry-run", "--move-irqs"]), (false, false));
        assert!(parse(&["--move-irqs", "false"]).unwrap_err().contains("false"));
    }

    #[test]
    fn memory_follows_only_when_asked_for() {
        let rate = |args: &[&str]| parse(args).unwrap().run.surroundings().memory_bytes_per_s;
        assert_eq!(rate(&[]), None);
        assert_eq!(rate(&["--move-memory"]), Some(128 << 20));
        assert_eq!(rate(&["--move-memory", "--memory-rate", "1000"]), Some(1000));
        assert!(parse(&["--memory-rate", "1000"]).unwrap_err().contains("--move-memory"));
    }

    #[test]
    fn exec_passes_the_commands_own_flags_on() {
        let Some(Command::Exec { command }) = parse(&["exec", "--", "make", "-j4"]).unwrap().command else {
            panic!("not exec");
        };
        assert_eq!(command, ["make", "-j4"]);
    }
}
