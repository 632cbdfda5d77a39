//! The daemon's rounds with a scheduler class scripted by the test, without a kernel or root.
#![cfg(feature = "daemon")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, Result};
use clap::Parser;
use scx_vnuma::bpf::intf::vnuma_task_record;
use scx_vnuma::bpf::{Class, KernelCounters, KernelPlan, NoPadding, NodeStats, Retargeted, RunTimes};
use scx_vnuma::cell::NodeId;
use scx_vnuma::daemon::{Cli, Config, DecisionLog, Reporter, Rounds, Shutdown, Signals};
use scx_vnuma::report::DecisionHistory;
use scx_vnuma::sense::{Hosts, Nodes, Sampler};
use scx_vnuma::work::policy;

/// Number of rounds after which the fake kernel ends the scheduler class.
const EXITS_AFTER_READS: u32 = 30;
/// The migratable process. It is migratable by choice, so the rounds change the policy of no real task.
const TGID: u32 = 7;

/// A guest with three nodes of one CPU each. Its counters advance when the test calls [`FakeClass::pass`].
#[derive(Default)]
struct FakeClass {
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    epoch: u64,
    destination: NodeId,
    placements: HashMap<u32, NodeId>,
    /// Stolen time by node, ns.
    steal_ns: [u64; 3],
    run_times: RunTimes,
    /// Number of reads of the counters so far, and how many of the first ones fail.
    nr_counter_reads: u32,
    nr_failing_reads: u32,
    nr_signs_of_life: u32,
}

impl FakeClass {
    /// Advance the counters by `time`, in which the process wants a whole CPU and others take a share of each node.
    fn pass(&self, time: Duration, stolen_share: [f64; 3]) {
        let mut state = self.state.borrow_mut();
        let node = state.placements.get(&TGID).copied().unwrap_or(state.destination);
        let ns = time.as_nanos() as u64;
        let stolen_ns = (ns as f64 * stolen_share[node.0 as usize]) as u64;
        state.steal_ns[node.0 as usize] += stolen_ns;
        let run_time = state.run_times.entry((TGID, node)).or_default();
        run_time.run_ns += ns;
        run_time.stolen_ns += stolen_ns;
    }

    fn destination(&self) -> (NodeId, u64) {
        let state = self.state.borrow();
        (state.destination, state.epoch)
    }
}

impl Class for FakeClass {
    fn task_records(&self) -> Result<Box<dyn Read + '_>> {
        let mut record = vnuma_task_record::empty();
        (record.tid, record.tgid) = (TGID as i32, TGID as i32);
        (record.policy, record.own_policy) = (policy::EXT, policy::EXT);
        record.rss_pages = 256;
        Ok(Box::new(Cursor::new(record.as_bytes().to_vec())))
    }

    fn select(&self, tid: i32, _started_at_ns: u64) -> Result<Option<u32>> {
        bail!("task {tid} was selected although it is migratable by choice")
    }

    fn unselect(&self, tid: i32, _started_at_ns: u64) -> Result<bool> {
        bail!("task {tid} was given back although it is migratable by choice")
    }

    fn counters(&self) -> Result<KernelCounters> {
        let mut state = self.state.borrow_mut();
        state.nr_counter_reads += 1;
        if state.nr_counter_reads <= state.nr_failing_reads {
            bail!("the counters can't be read");
        }
        let busy_ns = |node: u32| {
            let time = state.run_times.get(&(TGID, NodeId(node))).copied().unwrap_or_default();
            time.used_ns()
        };
        let cpu_times = (0..3).map(|cpu| (cpu, busy_ns(cpu), state.steal_ns[cpu as usize])).collect();
        Ok(KernelCounters { cpu_times: Some(cpu_times), nr_queued: vec![0; 3] })
    }

    fn run_times(&self, _processes: Option<&[u32]>) -> Result<RunTimes> {
        Ok(self.state.borrow().run_times.clone())
    }

    fn place(&self, _epoch: u64, placements: &[(u32, NodeId)]) -> Result<()> {
        self.state.borrow_mut().placements.extend(placements.iter().copied());
        Ok(())
    }

    fn placement(&self, tgid: u32) -> Result<Option<NodeId>> {
        Ok(self.state.borrow().placements.get(&tgid).copied())
    }

    fn retarget(&self, plan: &KernelPlan) -> Result<Retargeted> {
        let mut state = self.state.borrow_mut();
        state.destination = plan.first;
        state.epoch += 1;
        Ok(Retargeted { epoch: state.epoch, nr_moved: 0, nr_kicked: 1 })
    }

    fn update(&self, plan: &KernelPlan) -> Result<Retargeted> {
        let mut state = self.state.borrow_mut();
        state.destination = plan.first;
        Ok(Retargeted { epoch: state.epoch, ..Retargeted::default() })
    }

    fn node_stats(&self, _node: NodeId) -> Result<NodeStats> {
        Ok(NodeStats::default())
    }

    fn note_alive(&self) -> Result<()> {
        self.state.borrow_mut().nr_signs_of_life += 1;
        Ok(())
    }

    fn has_exited(&self) -> bool {
        self.state.borrow().nr_counter_reads >= EXITS_AFTER_READS
    }
}

/// Make rounds with these options and pass them to a function.
fn with_rounds<T>(
    class: &FakeClass,
    args: &[&str],
    history: &Arc<DecisionHistory>,
    act: impl FnOnce(&mut Rounds<'_>) -> Result<T>,
) -> Result<T> {
    let fixed = ["scx_vnuma", "--no-probe", "--move-irqs=false", "--move-workqueues=false"];
    let policy: &[&str] = if args.contains(&"--policy") { &[] } else { &["--policy", "coarse"] };
    let options = Cli::try_parse_from([&fixed, policy, args].concat()).expect("invalid options").run;
    let config = Config::new(&options)?;
    let nodes = Nodes::new([(NodeId(0), vec![0]), (NodeId(1), vec![1]), (NodeId(2), vec![2])]);
    let mut log = DecisionLog::create(None, &config.log_header())?;
    let reporter = Reporter::new(history, &mut log, config.interval, NodeId(0));
    let sampler = Sampler::open(Hosts::start(Vec::new(), config.interval)?, None)?;
    let mut rounds = Rounds::new(&config, class, &nodes, NodeId(0), sampler, reporter, Signals::default())?;
    act(&mut rounds)
}

/// Run rounds. Before each, 20 ms pass in which these shares of the nodes are stolen. Returns the history.
fn rounds(class: &FakeClass, args: &[&str], stolen_shares: &[[f64; 3]]) -> Result<Arc<DecisionHistory>> {
    let history = Arc::new(DecisionHistory::default());
    with_rounds(class, args, &history, |rounds| {
        rounds.round()?;
        for &shares in stolen_shares {
            // The window is measured by the real clock.
            std::thread::sleep(Duration::from_millis(20));
            class.pass(Duration::from_millis(20), shares);
            rounds.round()?;
        }
        Ok(())
    })?;
    Ok(history)
}

#[test]
fn severe_steal_moves_the_work_in_the_same_round() {
    let class = FakeClass::default();
    let history = rounds(&class, &[], &[[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]).unwrap();
    assert_eq!(class.destination(), (NodeId(1), 1));
    let metrics = history.metrics();
    assert_eq!((metrics.nr_rounds, metrics.nr_retargets, metrics.destination), (3, 1, 1));
    assert_eq!(metrics.last_moved_bytes, 256 * 4096);
    let moved = history.decisions(2).iter().map(|entry| entry.decision.what()).collect::<Vec<_>>();
    assert!(moved[0].contains("move from node 0 to 1"), "{moved:?}");
}

#[test]
fn a_single_mildly_bad_round_moves_nothing() {
    let class = FakeClass::default();
    rounds(&class, &[], &[[0.0, 0.0, 0.0], [0.15, 0.0, 0.0], [0.0, 0.0, 0.0], [0.15, 0.0, 0.0]]).unwrap();
    assert_eq!(class.destination(), (NodeId(0), 0));
}

#[test]
fn a_dry_run_decides_but_retargets_nothing() {
    let class = FakeClass::default();
    let history = rounds(&class, &["--dry-run"], &[[0.0, 0.0, 0.0], [0.5, 0.0, 0.0]]).unwrap();
    assert_eq!(class.destination(), (NodeId(0), 0));
    assert!(history.decisions(1)[0].decision.what().contains("would move"), "no plan in the text");
}

#[test]
fn fine_places_each_process_before_it_retargets() {
    let class = FakeClass::default();
    // Nodes 1 and 2 are the two least loaded, so work leaves node 0 for the first of them.
    rounds(&class, &["--policy", "fine"], &[[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]).unwrap();
    assert_eq!(class.placement(TGID).unwrap(), Some(NodeId(1)));
    assert_eq!(class.destination(), (NodeId(1), 1));
}

/// Run the loop until the scheduler class has exited. The first rounds fail. Returns the history.
fn run_with_failures(nr_failing_reads: u32) -> (Result<()>, Arc<DecisionHistory>) {
    let class = FakeClass::default();
    class.state.borrow_mut().nr_failing_reads = nr_failing_reads;
    let history = Arc::new(DecisionHistory::default());
    let outcome = with_rounds(&class, &["--interval", "10ms"], &history, |rounds| rounds.run(&Shutdown::new()?));
    (outcome, history)
}

#[test]
fn a_few_rounds_that_fail_are_counted_and_the_loop_goes_on() {
    let (outcome, history) = run_with_failures(5);
    outcome.unwrap();
    let metrics = history.metrics();
    assert_eq!(metrics.nr_failed_rounds, 5);
    assert!(metrics.nr_rounds > 10, "{}", metrics.nr_rounds);
}

#[test]
fn the_class_is_told_of_each_round_that_the_daemon_is_alive_also_if_it_fails() {
    let class = FakeClass::default();
    class.state.borrow_mut().nr_failing_reads = 5;
    let history = Arc::new(DecisionHistory::default());
    with_rounds(&class, &["--interval", "10ms"], &history, |rounds| rounds.run(&Shutdown::new()?)).unwrap();
    let signs_of_life = class.state.borrow().nr_signs_of_life;
    assert!(signs_of_life >= EXITS_AFTER_READS, "{signs_of_life}");
}

#[test]
fn many_rounds_that_fail_in_a_row_end_the_loop_with_the_reason() {
    let message = format!("{:#}", run_with_failures(u32::MAX).0.unwrap_err());
    assert!(
        message.contains("20 rounds in a row failed") && message.contains("the counters can't be read"),
        "{message}"
    );
}
