//! The guest's part: `vnuma-scenarios sharers`.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use clap::Args;
use vnuma_dsm::mark::begin_phase;

use super::programs::Team;
use super::record::{Arm, Program, Turn, TURNS_FILE};
use crate::guest::workers::process_cpu_time;
use crate::guest::{node_cpus, nr_nodes, wait_for, Scheduler};
use crate::pages::serve;

/// To load the scheduler class, the kernel stops all CPUs several times, and what they watch meanwhile travels.
const PATIENCE: Duration = Duration::from_secs(240);

/// The arms of the comparison of programs that share memory, in the guest.
#[derive(Args)]
pub struct Options {
    /// Number of turns of each arm with each program
    #[arg(long, default_value_t = 1)]
    pub rounds: u32,
    /// Seconds for an arm to place its work
    #[arg(long, value_name = "S", default_value_t = 25)]
    pub settle: u64,
    /// Seconds in which work and pages are counted
    #[arg(long, value_name = "S", default_value_t = 15)]
    pub window: u64,
    /// Members of a team, processes or threads; there are as many teams as CPUs take (default: as many as a node has CPUs, but at
    /// least two)
    #[arg(long, value_name = "NR")]
    pub members: Option<usize>,
    /// What a page costs here: under `auto`, scx_vnuma is told
    #[arg(long, value_name = "DURATION")]
    pub page_cost: Option<String>,
    /// Only these programs
    #[arg(long = "program", value_name = "PROGRAM", value_enum)]
    pub programs: Vec<Program>,
    /// Only these arms
    #[arg(long = "arm", value_name = "ARM", value_enum)]
    pub arms: Vec<Arm>,
    /// The folder for the records
    #[arg(long, value_name = "DIR", default_value = "/lab/out")]
    pub out: PathBuf,
}

/// Runs each program under each arm, in turn.
pub fn run(options: &Options) -> Result<()> {
    let chosen_or_all = |chosen: &[Program]| if chosen.is_empty() { Program::ALL.to_vec() } else { chosen.to_vec() };
    let arms = if options.arms.is_empty() { Arm::ALL.to_vec() } else { options.arms.clone() };
    for round in 0..options.rounds {
        for program in chosen_or_all(&options.programs) {
            for &arm in &arms {
                let what = || format!("{} under {}", program.label(), arm.label());
                let turn = run_turn(round, program, arm, options).with_context(what)?;
                println!(
                    "round {round}  {:20} {:20} {:8.1}/s, {:4.1} CPUs",
                    program.label(),
                    arm.label(),
                    turn.work_per_s(),
                    turn.cpu_s / turn.lasted_s
                );
                let file = options.out.join(TURNS_FILE);
                let mut file = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&file)
                    .with_context(|| file.display().to_string())?;
                writeln!(file, "{}", serde_json::to_string(&turn)?)?;
            }
        }
    }
    Ok(())
}

fn run_turn(round: u32, program: Program, arm: Arm, options: &Options) -> Result<Turn> {
    set_numa_balancing(arm == Arm::FairBalancing)?;
    let teams = start_teams(program, arm, options)?;
    let mut scheduler = start_scheduler(arm, options)?;
    std::thread::sleep(Duration::from_secs(options.settle));

    let sample = || -> Result<(Vec<u64>, f64)> {
        let pids = teams.iter().flat_map(Team::pids);
        Ok((
            teams.iter().map(Team::work).collect(),
            pids.map(|&pid| Ok(process_cpu_time(pid)?.as_secs_f64())).sum::<Result<f64>>()?,
        ))
    };
    begin_phase(&Turn::phase(round, program, arm));
    let (began, before) = (Instant::now(), sample()?);
    std::thread::sleep(Duration::from_secs(options.window));
    let (lasted_s, after) = (began.elapsed().as_secs_f64(), sample()?);
    begin_phase("between");
    if let Some((scheduler, _)) = &mut scheduler {
        ensure!(scheduler.is_alive()?, "scx_vnuma ended: {}", scheduler.log()?);
        let log = scheduler.end(libc::SIGTERM)?;
        let file =
            options.out.join(format!("{} {}.{round}.log", program.label(), arm.label()).replace([' ', ','], "-"));
        std::fs::write(&file, log).with_context(|| file.display().to_string())?;
    }
    let work: Vec<u64> = after.0.iter().zip(&before.0).map(|(after, before)| after - before).collect();
    Ok(Turn { round, program, arm, lasted_s, work, cpu_s: after.1 - before.1 })
}

fn start_teams(program: Program, arm: Arm, options: &Options) -> Result<Vec<Team>> {
    let per_node = node_cpus(0)?.len();
    let nr_members = options.members.unwrap_or(per_node.max(2));
    let nr_teams = (per_node * nr_nodes() as usize / nr_members).max(1);
    let node = |team: usize| (arm == Arm::ByHand).then(|| team as u32 % nr_nodes());
    let teams = (0..nr_teams).map(|team| Team::start(program, nr_members, node(team))).collect::<Result<Vec<_>>>()?;
    wait_for("all teams work", Duration::from_secs(60), || Ok(teams.iter().all(|team| team.work() > 0)))?;
    Ok(teams)
}

/// Starts scx_vnuma under this arm, and what serves the hosts' counters.
fn start_scheduler(arm: Arm, options: &Options) -> Result<Option<(Scheduler, Option<Exporter>)>> {
    let policy = match arm {
        Arm::Fair | Arm::FairBalancing | Arm::ByHand => return Ok(None),
        Arm::Coarse => "coarse",
        Arm::Fine => "fine",
        Arm::Auto | Arm::AutoCounters => "auto",
    };
    let exporter = (arm == Arm::AutoCounters).then(Exporter::start).transpose()?;
    let url = format!("http://{}", serve::ADDRESS);
    let hosts: Vec<String> = exporter.iter().flat_map(|_| 0..nr_nodes()).map(|node| format!("{node}={url}")).collect();
    let mut args = vec!["--policy", policy];
    hosts.iter().for_each(|host| args.extend(["--dsm", host]));
    let cost = options.page_cost.as_deref().filter(|_| arm == Arm::Auto);
    args.extend(cost.iter().flat_map(|cost| ["--page-cost", cost]));
    Ok(Some((Scheduler::start_within(PATIENCE, &args)?, exporter)))
}

/// Serves the counts of pages as the hosts would; ended when dropped.
struct Exporter(Child);

impl Exporter {
    /// A process of its own: this one must have a single thread to start teams.
    fn start() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let child = command.arg("serve-pages").stdin(Stdio::null()).spawn().context("starting serve-pages")?;
        let exporter = Exporter(child);
        wait_for("serve-pages listens", PATIENCE, || Ok(TcpStream::connect(serve::ADDRESS).is_ok()))?;
        Ok(exporter)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // A child that has ended already is waited for all the same.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn set_numa_balancing(is_on: bool) -> Result<()> {
    const SETTING: &str = "/proc/sys/kernel/numa_balancing";
    std::fs::write(SETTING, if is_on { "1" } else { "0" }).context(SETTING)
}
