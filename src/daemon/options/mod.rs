//! The daemon's options. Their help is the manual.

mod commands;
mod file;
mod values;

use std::net::SocketAddr;
use std::time::Duration;

use crate::act::AffinityOptions;
use crate::policy::{GuardOptions, Order, PolicyName, PolicySettings, World};
use crate::sense::{DsmSpec, HostSpec, SloSpec};
use crate::work::{Grouping, Selector};
use clap::{Args, Parser, ValueHint};
pub use commands::{Command, ConfigCommand, OnOff, EXIT_CODES};
pub use file::{check_file, config_file, with_file, ConfigFileError, CONFIG_FILE};
use values::{
    parse_duration, parse_interval, parse_listen_address, parse_node, parse_page_cost, parse_probe, parse_seconds,
    parse_share, parse_threshold_ticks,
};

/// Runs best-effort tasks on the vNUMA nodes whose hosts are idle, and leaves all other tasks alone.
///
/// A task is migratable if a selector matches it or if `scx_vnuma exec` started it; its children are migratable too. All
/// other tasks are fixed: they stay in the kernel's fair class, which preempts migratable ones.
#[derive(Debug, Parser)]
#[command(name = "scx_vnuma", version, args_conflicts_with_subcommands = true, after_long_help = exit_codes_help())]
pub struct Cli {
    /// What to do instead of scheduling.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to schedule.
    #[command(flatten)]
    pub run: RunOptions,
}

/// The options of scheduling. Their help is the manual.
#[derive(Clone, Debug, Args)]
pub struct RunOptions {
    /// Scheduling policy.
    ///
    /// `auto` uses as many nodes as the work needs, limits work where others need the CPU, and moves a process only if that
    /// pays. `coarse` moves all migratable work to the least loaded node when others take too much of the node it is on
    /// (algorithm 3-1 of the thesis). `fine` moves processes one by one to the two least loaded nodes (algorithms 4-2 and
    /// 4-3).
    #[arg(long, value_parser = PolicyName::value_parser(World::Live), default_value = "auto")]
    pub policy: PolicyName,

    /// Order in which `fine` picks processes.
    ///
    /// 0 none, 1 request, 2 cpu, 3 memory, 4 cpu-desc or 5 mai. mai is memory accesses per instruction: last-level cache
    /// misses where the guest has a PMU, page faults per second of CPU time where it has none. The log says which.
    #[arg(long, value_name = "ORDER", default_value = "memory")]
    pub order: Order,

    /// Unit that `fine` moves as a whole.
    #[arg(long, value_enum, default_value = "process")]
    pub group: GroupName,

    /// Maximum load of a destination under `fine`, as a share of its CPUs.
    #[arg(long, value_name = "SHARE", default_value = "1.0", value_parser = parse_share)]
    pub warning: f64,

    /// Time between two decisions, as in `100ms` or `2s`.
    ///
    /// Work leaves a busy host after about this long.
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = parse_interval)]
    pub interval: Duration,

    /// Steal at which `coarse` moves work, in ticks of 10 ms per 2 s of wall time over all CPUs of the node.
    ///
    /// It does not depend on --interval. Default: set by --bad; 50, a quarter of a CPU, with --no-guards.
    #[arg(long, value_name = "TICKS", value_parser = parse_threshold_ticks)]
    pub threshold_ticks: Option<f64>,

    /// Share of a node's CPU that others must take for a round to count as bad.
    ///
    /// Only bad rounds make work leave a node (see --bad-rounds).
    #[arg(long, value_name = "SHARE", default_value = "0.05", value_parser = parse_share)]
    pub bad: f64,

    /// Share of a node's CPU below which a series of bad rounds ends.
    ///
    /// Between --calm and --bad the series neither ends nor grows.
    #[arg(long, value_name = "SHARE", default_value = "0.02", value_parser = parse_share)]
    pub calm: f64,

    /// Number of consecutive bad rounds after which work leaves a node.
    ///
    /// Default: the number of rounds in 2 s, at least 2.
    #[arg(long, value_name = "ROUNDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub bad_rounds: Option<u32>,

    /// Share of a node's CPU from which a single bad round is enough.
    ///
    /// The default is the thesis's 50 ticks of steal in 2 s.
    #[arg(long, value_name = "SHARE", default_value = "0.25", value_parser = parse_share)]
    pub severe: f64,

    /// Minimum time between two moves.
    ///
    /// A move costs the memory that follows it: a gigabyte takes a second at 10 Gbit/s. Severe pressure skips the cool-down
    /// until every node has been tried.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub cool_down: Duration,

    /// Ignore --bad, --calm, --bad-rounds, --severe and --cool-down, as the thesis's script does.
    #[arg(long)]
    pub no_guards: bool,

    /// Time per second that a CPU of an empty node spins to measure steal.
    ///
    /// An idle vCPU accrues no steal, so an empty node looks idle however busy its host is. A probe spins at the lowest
    /// priority on nodes that have no other source, every second, and ends once it is evident that others run there.
    /// Before work moves, all such nodes are probed at once for three times as long.
    #[arg(long, value_name = "DURATION", default_value = "10ms", value_parser = parse_probe)]
    pub probe: Duration,

    /// Never probe: an empty node without another source counts as idle.
    #[arg(long)]
    pub no_probe: bool,

    /// Don't look for processes that share memory, and don't keep them together.
    ///
    /// Under `auto`, processes that wake each other up often, or map the same memory, are kept on one node where that pays:
    /// otherwise the pages that they share travel between hosts. `scx_vnuma links` shows them.
    #[arg(long)]
    pub no_links: bool,

    /// Move IRQs to the CPUs of the node that migratable work is on, from its first move on.
    ///
    /// Per-CPU and managed IRQs stay. Default: true for `coarse`, as in algorithm 3-1; otherwise false.
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          hide_possible_values = true)]
    pub move_irqs: Option<bool>,

    /// Move unbound workqueues to the CPUs of the node that migratable work is on, from its first move on.
    ///
    /// Default: true for `coarse`, as in algorithm 3-1; otherwise false.
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          hide_possible_values = true)]
    pub move_workqueues: Option<bool>,

    /// Move the memory of processes that move, in the background.
    ///
    /// Use it where a node's memory is really remote and pages don't move by themselves, as they do in a distributed VM.
    #[arg(long)]
    pub move_memory: bool,

    /// Maximum rate of --move-memory in bytes per second, averaged over processes.
    ///
    /// Default: 134217728, about a tenth of 10 Gbit/s.
    #[arg(long, value_name = "BYTES", default_value = "134217728", hide_default_value = true,
          value_parser = clap::value_parser!(u64).range(1..), requires = "move_memory")]
    pub memory_rate: u64,

    /// Memory that moves may make travel under `auto`, in bytes per second.
    ///
    /// An average: what isn't used is kept for a minute. Moves off a node that others have just come to are free of it.
    /// Default: 125000000, a tenth of 10 Gbit/s.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    pub byte_budget: Option<u64>,

    /// How long a vCPU waits for a page of another host under `auto`, where the hosts don't tell (--dsm).
    ///
    /// It prices moves, and what it costs to keep processes that share memory on different nodes. Default: 10us, as over RDMA.
    #[arg(long, value_name = "DURATION", value_parser = parse_page_cost)]
    pub page_cost: Option<Duration>,

    /// Node on which migratable work starts. Default: the first node with CPUs.
    #[arg(long, value_name = "NODE", value_parser = parse_node)]
    pub start_node: Option<u32>,

    /// Make tasks that match migratable; repeatable, any match counts.
    ///
    /// Selectors are `cgroup=/batch/**`, `comm=GLOB`, `uid=N`, `nice>=N` and `policy=batch|idle`. Kernel threads and
    /// real-time tasks are never migratable. Default: `nice>=1` and `policy=batch|idle`.
    #[arg(long, value_name = "SELECTOR")]
    pub select: Vec<Selector>,

    /// Make every ordinary task migratable, as the thesis's script does. Only real-time tasks stay fixed.
    #[arg(long, conflicts_with = "select")]
    pub all: bool,

    /// Let migratable tasks escape the CPU quotas of their cgroups (`cpu.max`).
    ///
    /// By default they keep them, those of the cgroups above theirs included.
    #[arg(long)]
    pub lift_quotas: bool,

    /// URL of the node_exporter of a node's host, as in `0=http://host-a:9100?cpus=0-7`; repeatable.
    ///
    /// `cpus=` names the host's CPUs that the node runs on. Without it all CPUs of the host count.
    #[arg(long, value_name = "NODE=URL")]
    pub host: Vec<HostSpec>,

    /// File with hosts, their passwords, tokens and certificates.
    ///
    /// It has a `[[host]]` for each node, with `node` and `url`, and optionally `cpus`, `user` and `password_file`,
    /// `bearer_token_file`, `ca_file`, `cert_file` and `key_file`.
    #[arg(long, value_name = "FILE.toml", value_hint = ValueHint::FilePath)]
    pub hosts: Option<std::path::PathBuf>,

    /// A latency that must stay below a limit, as in `http://db:9104/metrics#request_p99_seconds<5ms`; repeatable. Needs `auto`.
    ///
    /// While it is above, migratable work has less room on all nodes, and gets it back step by step when it is well below. After
    /// `#` comes a series of the page, `request_p99_seconds{job="db"}`, or, for a URL that ends in `/api/v1/query`, a query for
    /// Prometheus. The largest value counts. `1=http://…` makes room on node 1 only. While there is no answer, work has little room.
    #[arg(long, value_name = "[NODE=]URL#QUERY<LIMIT")]
    pub slo: Vec<SloSpec>,

    /// File with latencies as for --slo, of servers that need passwords, tokens or certificates.
    ///
    /// It has a `[[slo]]` for each, with `url`, `query` and `limit`, and optionally `node`, `user` and `password_file`,
    /// `bearer_token_file`, `ca_file`, `cert_file` and `key_file`.
    #[arg(long, value_name = "FILE.toml", value_hint = ValueHint::FilePath)]
    pub slos: Option<std::path::PathBuf>,

    /// URL at which a node's host exports the faults of its distributed memory, as in `0=http://host-a:9401`; repeatable.
    ///
    /// In the Prometheus text format, with the metrics `dsm_faults_total` and `dsm_fault_seconds_total`: see
    /// docs/distributed-memory.md. `auto` learns from them what a page costs, and what of its memory a process fetches
    /// after a move; without them it assumes 10 us a page, and all of the memory.
    #[arg(long, value_name = "NODE=URL")]
    pub dsm: Vec<DsmSpec>,

    /// File with any of these options, as TOML: `select = ["nice>=1"]`. Default: /etc/scx_vnuma/config.toml, if it exists.
    ///
    /// A key is the name of an option. Options that are given as arguments win. `scx_vnuma reload` or SIGHUP reads it again;
    /// `scx_vnuma config check` checks it.
    #[arg(long, value_name = "FILE.toml", value_hint = ValueHint::FilePath)]
    pub config: Option<std::path::PathBuf>,

    /// Decide and report, but change nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// Run even if only one node has CPUs, so that there is nowhere to move work.
    #[arg(long)]
    pub allow_single_node: bool,

    /// Record each round's view and plan in this new file, for `vnuma-sim replay`.
    #[arg(long, value_name = "FILE.jsonl", value_hint = ValueHint::FilePath)]
    pub log: Option<std::path::PathBuf>,

    /// Print statistics every SECONDS.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub stats: Option<Duration>,

    /// Print the statistics of the scx_vnuma that is already running every SECONDS; don't start another.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub monitor: Option<Duration>,

    /// Serve the statistics as OpenMetrics at http://ADDR/metrics.
    ///
    /// A port alone, `9100` or `:9100`, listens on 127.0.0.1; `0.0.0.0:9100` and `[::]:9100` listen on all addresses.
    #[arg(long, value_name = "ADDR", value_parser = parse_listen_address)]
    pub metrics: Option<SocketAddr>,

    /// Explain the statistics.
    #[arg(long)]
    pub help_stats: bool,

    /// Length of the dump in the exit report, in bytes; 0 for the kernel's default.
    #[arg(long, value_name = "BYTES", default_value = "0")]
    pub exit_dump_len: u32,

    /// Log every round's decision, not only changes; given twice, also what libbpf says.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The exit codes as the end of `--help` has them.
fn exit_codes_help() -> String {
    let lines = EXIT_CODES.iter().map(|(code, meaning)| format!("  {code}  {meaning}\n"));
    format!("Exit codes:\n{}", lines.collect::<String>())
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

    /// The options that have no effect under the policy, of those that differ from their defaults.
    pub(super) fn without_effect(&self) -> Vec<&'static str> {
        if self.policy != PolicyName::AUTO {
            let given = [("--byte-budget", self.byte_budget.is_some()), ("--page-cost", self.page_cost.is_some())];
            return given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
        }
        let default = Cli::parse_from(["scx_vnuma"]).run;
        let differs = [
            ("--order", self.order != default.order),
            ("--warning", self.warning != default.warning),
            ("--threshold-ticks", self.threshold_ticks != default.threshold_ticks),
            ("--bad", self.bad != default.bad),
            ("--calm", self.calm != default.calm),
            ("--bad-rounds", self.bad_rounds != default.bad_rounds),
            ("--severe", self.severe != default.severe),
            ("--cool-down", self.cool_down != default.cool_down),
            ("--no-guards", self.no_guards != default.no_guards),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }

    /// What the policy is made from.
    pub(super) fn policy_settings(&self) -> PolicySettings {
        /// The thesis counts ticks of 10 ms in rounds of 2 s.
        const TICKS_OF_ONE_CPU: f64 = 200.0;

        let live = PolicySettings::live(self.guards().as_ref(), self.interval.as_secs_f64());
        PolicySettings {
            trigger_cpus: self.threshold_ticks.map(|ticks| ticks / TICKS_OF_ONE_CPU).or(live.trigger_cpus),
            warning_share: self.warning,
            order: self.order,
            byte_budget: self.byte_budget.map(|bytes| bytes as f64),
            ..live
        }
    }

    /// Whether IRQs and workqueues move along with the work; never in a dry run.
    pub(super) fn affinity(&self) -> AffinityOptions {
        if self.dry_run {
            return AffinityOptions::default();
        }
        let as_in_the_thesis = self.policy == PolicyName::COARSE;
        AffinityOptions {
            irqs: self.move_irqs.unwrap_or(as_in_the_thesis),
            workqueues: self.move_workqueues.unwrap_or(as_in_the_thesis),
        }
    }

    /// Rate at which memory moves to its processes' nodes; `None` if it stays where it is, as in a dry run.
    pub(super) fn memory_bytes_per_s(&self) -> Option<u64> {
        (self.move_memory && !self.dry_run).then_some(self.memory_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, String> {
        Cli::try_parse_from([&["scx_vnuma"], args].concat()).map_err(|err| err.to_string())
    }

    #[test]
    fn the_default_policy_is_auto_and_coarse_decides_as_the_thesis_does_but_four_times_as_often() {
        let run = parse(&[]).unwrap().run;
        assert_eq!(run.interval, Duration::from_millis(500));
        assert_eq!(run.threshold_ticks, None);
        assert_eq!(run.policy, PolicyName::AUTO);
    }

    #[test]
    fn options_that_the_policy_ignores_are_named() {
        let without_effect = |args: &[&str]| parse(args).unwrap().run.without_effect();
        assert!(without_effect(&[]).is_empty());
        assert_eq!(without_effect(&["--no-guards", "--bad", "0.1"]), ["--bad", "--no-guards"]);
        assert!(without_effect(&["--policy", "coarse", "--no-guards"]).is_empty());
        assert_eq!(without_effect(&["--policy", "fine", "--byte-budget", "1000"]), ["--byte-budget"]);
        assert_eq!(without_effect(&["--policy", "fine", "--page-cost", "5us"]), ["--page-cost"]);
        assert!(without_effect(&["--byte-budget", "1000", "--page-cost", "5us"]).is_empty());
    }

    #[test]
    fn errors_for_bad_values_name_the_flag_and_the_remedy() {
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
            (["--dsm", "0=http://a?cpus=3"], "--dsm", "leave it out"),
            (["--byte-budget", "0"], "--byte-budget", "1..=1000000000000"),
            (["--page-cost", "10"], "--page-cost", "from 100ns to 100ms, such as 10us"),
            (["--page-cost", "0us"], "--page-cost", "from 100ns to 100ms, such as 10us"),
            (["--host", "host-a:9100"], "--host", "expected NODE=URL"),
        ] {
            let message = parse(&args).unwrap_err();
            assert!(message.contains(flag) && message.contains(remedy), "{message}");
        }
    }

    #[test]
    fn the_guards_have_the_simulators_defaults() {
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
    fn metrics_are_on_the_loopback_by_default() {
        let address = |text| parse(&["--metrics", text]).unwrap().run.metrics.unwrap().to_string();
        assert_eq!(address("9100"), "127.0.0.1:9100");
        assert_eq!(address(":9100"), "127.0.0.1:9100");
        assert_eq!(address("0.0.0.0:9100"), "0.0.0.0:9100");
        assert_eq!(address("[::1]:9100"), "[::1]:9100");
    }

    #[test]
    fn irqs_and_workqueues_follow_only_the_thesis_policy_by_default() {
        let follow = |args: &[&str]| {
            let AffinityOptions { irqs, workqueues } = parse(args).unwrap().run.affinity();
            (irqs, workqueues)
        };
        assert_eq!(follow(&[]), (false, false));
        assert_eq!(follow(&["--policy", "coarse"]), (true, true));
        assert_eq!(follow(&["--policy", "coarse", "--move-irqs=false"]), (false, true));
        assert_eq!(follow(&["--policy", "fine"]), (false, false));
        assert_eq!(follow(&["--policy", "fine", "--move-irqs", "--move-workqueues=true"]), (true, true));
        assert_eq!(follow(&["--policy", "coarse", "--dry-run", "--move-irqs"]), (false, false));
        assert!(parse(&["--move-irqs", "false"]).unwrap_err().contains("false"));
    }

    #[test]
    fn memory_follows_only_when_asked_for() {
        let rate = |args: &[&str]| parse(args).unwrap().run.memory_bytes_per_s();
        assert_eq!(rate(&[]), None);
        assert_eq!(rate(&["--move-memory"]), Some(128 << 20));
        assert_eq!(rate(&["--move-memory", "--memory-rate", "1000"]), Some(1000));
        assert_eq!(rate(&["--dry-run", "--move-memory"]), None);
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
