//! The daemon's rounds with a scheduler class scripted by the test, without a kernel or root.
#![cfg(feature = "daemon")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, Result};
use clap::Parser;
use scx_vnuma::bpf::intf::{vnuma_sentinel_VNUMA_NO_NODE, vnuma_task_record};
use scx_vnuma::bpf::{Class, KernelCounters, KernelPlan, KernelQuota, NoPadding, NodeStats, Retargeted, RunTimes};
use scx_vnuma::cell::NodeId;
use scx_vnuma::daemon::{
    Answer, Cli, Config, Control, DecisionLog, DrainedFile, Reporter, Request, Requests, Rounds, Settings, Shutdown,
    Signals,
};
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
    read_at: Option<Instant>,
}

impl FakeClass {
    /// Advance the counters by the time since they were read, in which the process wants a whole CPU and others take a share of
    /// each node.
    fn pass(&self, stolen_share: [f64; 3]) {
        let mut state = self.state.borrow_mut();
        let time = state.read_at.map_or(Duration::from_millis(20), |at| at.elapsed());
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
        let placed = self.state.borrow().placements.get(&TGID).map(|node| node.0 as i32);
        record.placed_node = placed.unwrap_or(vnuma_sentinel_VNUMA_NO_NODE);
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
        state.read_at = Some(Instant::now());
        if state.nr_counter_reads <= state.nr_failing_reads {
            bail!("the counters can't be read");
        }
        let busy_ns = |node: u32| {
            let time = state.run_times.get(&(TGID, NodeId(node))).copied().unwrap_or_default();
            time.used_ns()
        };
        let cpu_times = (0..3).map(|cpu| (cpu, busy_ns(cpu), state.steal_ns[cpu as usize])).collect();
        Ok(KernelCounters { cpu_times: Some(cpu_times), nr_queued: vec![0; 3], ..KernelCounters::default() })
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

    fn keeps_quotas(&self) -> bool {
        true
    }

    fn set_quota(&self, quota: &KernelQuota) -> Result<()> {
        bail!("a quota was set for cgroup {}, and there are none", quota.cgroup_id)
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
            class.pass(shares);
            rounds.round()?;
        }
        Ok(())
    })?;
    Ok(history)
}

/// Rounds that go by a configuration file, with what asks them to change.
fn with_controlled_rounds<T>(
    class: &FakeClass,
    config: &Path,
    history: &Arc<DecisionHistory>,
    act: impl FnOnce(&mut Rounds<'_>, &Requests) -> Result<T>,
) -> Result<T> {
    let args = ["scx_vnuma", "--config", config.to_str().expect("a path"), "--no-probe", "--interval", "10ms"];
    let (_, mut settings) = Settings::of(args.iter().map(Into::into).collect())?;
    let config = Config::new(&settings.options)?;
    let nodes = Nodes::new([(NodeId(0), vec![0]), (NodeId(1), vec![1]), (NodeId(2), vec![2])]);
    let mut log = DecisionLog::create(None, &config.log_header())?;
    let reporter = Reporter::new(history, &mut log, config.interval, NodeId(0));
    let sampler = Sampler::open(Hosts::start(Vec::new(), config.interval)?, None)?;
    let (requests, asked) = Requests::channel();
    let drained = DrainedFile::at(config_folder(args[2]).join("drained"));
    let start_probes = |_: &Config, _: &dyn Fn(NodeId) -> bool| Ok(None);
    let control = Control { asked: &asked, settings: &mut settings, drained: &drained, start_probes: &start_probes };
    let rounds = Rounds::new(&config, class, &nodes, NodeId(0), sampler, reporter, Signals::default())?;
    let mut rounds = rounds.controlled_by(control);
    act(&mut rounds, &requests)
}

fn config_folder(config: &str) -> &Path {
    Path::new(config).parent().expect("the file is in a folder")
}

/// Let 20 ms pass, and run a round.
fn pass_a_round(class: &FakeClass, rounds: &mut Rounds<'_>, shares: [f64; 3]) -> Result<()> {
    std::thread::sleep(Duration::from_millis(20));
    class.pass(shares);
    rounds.round()
}

/// Ask for something, let the rounds answer, and return the answer.
fn answer(rounds: &mut Rounds<'_>, requests: &Requests, request: Request) -> Answer {
    let requests = requests.clone();
    let asker = std::thread::spawn(move || requests.ask(request));
    while !asker.is_finished() {
        rounds.serve_requests();
        std::thread::sleep(Duration::from_millis(1));
    }
    asker.join().expect("it asks")
}

#[test]
fn a_reload_changes_policy_and_thresholds_and_moves_nothing_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "policy = \"fine\"\nsevere = 0.9\nselect = [\"uid=1\"]").unwrap();
    let (class, history) = (FakeClass::default(), Arc::new(DecisionHistory::start()));
    with_controlled_rounds(&class, &config, &history, |rounds, requests| {
        rounds.round()?;
        pass_a_round(&class, rounds, [0.4, 0.0, 0.0])?;
        assert_eq!(class.destination(), (NodeId(0), 0), "it is bad, but not severe");

        std::fs::write(&config, "policy = \"coarse\"\nsevere = 0.3\nselect = [\"uid=2\"]")?;
        let done = answer(rounds, requests, Request::Reload);
        assert_eq!(done, Ok("reloaded: policy, severe, select changed".into()));
        assert_eq!(history.status().setup.policy, "coarse");
        pass_a_round(&class, rounds, [0.0, 0.0, 0.0])?;
        assert_eq!(class.destination(), (NodeId(0), 0), "nothing moves needlessly");
        pass_a_round(&class, rounds, [0.4, 0.0, 0.0])?;
        assert_eq!(class.destination(), (NodeId(1), 1), "by the new threshold");
        assert_eq!(class.placement(TGID)?, Some(NodeId(1)), "also where fine had placed it");
        assert!(!rounds.must_load_again());

        std::fs::write(&config, "policy = \"coarse\"\nsevere = 7")?;
        let refused = answer(rounds, requests, Request::Reload).unwrap_err();
        assert!(
            refused.starts_with("nothing is changed: ") && refused.contains("config.toml:2: severe: "),
            "{refused}"
        );
        std::fs::write(&config, "interval = \"1s\"")?;
        // The interval is given as an argument, which wins.
        assert!(answer(rounds, requests, Request::Reload).unwrap().contains("policy"));
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_policy_that_needs_more_of_the_class_has_it_loaded_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "policy = \"coarse\"").unwrap();
    let class = FakeClass::default();
    with_controlled_rounds(&class, &config, &Arc::default(), |rounds, requests| {
        std::fs::write(&config, "policy = \"auto\"")?;
        requests.post(Request::Reload);
        rounds.run(&Shutdown::new()?)?;
        assert!(rounds.must_load_again());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_drained_node_is_left_at_once_and_gets_no_new_work() {
    for policy in ["coarse", "fine"] {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        std::fs::write(&config, format!("policy = \"{policy}\"")).unwrap();
        let (class, history) = (FakeClass::default(), Arc::new(DecisionHistory::start()));
        with_controlled_rounds(&class, &config, &history, |rounds, requests| {
            rounds.round()?;
            pass_a_round(&class, rounds, [0.0; 3])?;
            std::fs::write(folder.path().join("drained"), "0\n1\n")?;
            let done = answer(rounds, requests, Request::Drained);
            assert_eq!(done, Ok("nodes 0, 1 are drained: work leaves, and none comes".into()));
            // Nothing has run: work that sleeps goes too.
            std::thread::sleep(Duration::from_millis(20));
            rounds.round()?;
            assert_eq!(class.destination().0, NodeId(2), "{policy}");
            // However busy node 2 is.
            for _ in 0..3 {
                pass_a_round(&class, rounds, [0.0, 0.0, 0.6])?;
            }
            assert_eq!(class.destination(), (NodeId(2), 1), "{policy}");
            let status = history.status();
            let drained: Vec<u32> = status.nodes.iter().filter(|node| node.is_drained).map(|node| node.id).collect();
            assert_eq!(drained, [0, 1]);
            std::fs::write(folder.path().join("drained"), "x\n")?;
            assert!(answer(rounds, requests, Request::Drained).unwrap_err().contains("'x' is no node"));
            std::fs::write(folder.path().join("drained"), "1\n")?;
            assert_eq!(
                answer(rounds, requests, Request::Drained).unwrap(),
                "node 1 is drained: work leaves, and none comes"
            );
            pass_a_round(&class, rounds, [0.0, 0.0, 0.6])?;
            pass_a_round(&class, rounds, [0.0, 0.0, 0.6])?;
            // Under fine, nodes 0 and 2 are the two destinations now, and nothing leaves those.
            let expected = if policy == "coarse" { NodeId(0) } else { NodeId(2) };
            assert_eq!(class.destination().0, expected, "{policy}: node 0 may be used again");
            Ok(())
        })
        .unwrap();
    }
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
fn the_groups_that_ran_are_published_with_their_processes() {
    let class = FakeClass::default();
    let history = rounds(&class, &[], &[[0.0, 0.0, 0.0]]).unwrap();
    let groups = history.groups();
    let found: Vec<(u32, u32, f64)> = groups.iter().map(|group| (group.tgid, group.node, group.memory_bytes)).collect();
    assert_eq!(found, [(TGID, 0, 256.0 * 4096.0)]);
    assert!(groups[0].work_cpus > 0.0);
    assert_eq!(history.metrics().nodes[&0].work_cpus, groups[0].work_cpus);
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
fn a_dry_run_begins_and_ends_between_rounds_and_outlives_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "policy = \"coarse\"").unwrap();
    let (class, history) = (FakeClass::default(), Arc::new(DecisionHistory::start()));
    with_controlled_rounds(&class, &config, &history, |rounds, requests| {
        rounds.round()?;
        pass_a_round(&class, rounds, [0.0; 3])?;
        let begun = answer(rounds, requests, Request::DryRun(true));
        assert!(begun.unwrap().starts_with("dry run: plans are made, but not carried out"));
        assert_eq!(answer(rounds, requests, Request::DryRun(true)), Ok("it is a dry run already".into()));
        std::fs::write(&config, "policy = \"coarse\"\nbad = 0.1")?;
        assert_eq!(answer(rounds, requests, Request::Reload), Ok("reloaded: bad changed".into()));
        pass_a_round(&class, rounds, [0.5, 0.0, 0.0])?;
        assert!(history.decisions(1)[0].decision.what().contains("would move"));
        assert_eq!(class.destination(), (NodeId(0), 0), "nothing is carried out");
        assert!(history.status().setup.dry_run && history.metrics().is_dry_run == 1);

        assert_eq!(
            answer(rounds, requests, Request::DryRun(false)),
            Ok("the dry run is over: plans are carried out".into())
        );
        // The move that was not made starts its cool-down all the same.
        std::fs::write(&config, "policy = \"coarse\"\ncool-down = \"0s\"")?;
        answer(rounds, requests, Request::Reload).unwrap();
        for _ in 0..2 {
            pass_a_round(&class, rounds, [0.5, 0.0, 0.0])?;
        }
        assert_eq!(class.destination().0, NodeId(1), "plans are carried out again");
        assert!(!history.status().setup.dry_run && history.metrics().is_dry_run == 0);
        Ok(())
    })
    .unwrap();
}

/// Answers every request with a latency of this many microseconds, as a page. Returns the port.
fn serve_latency(latency_us: &'static AtomicU32) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        let answer = |mut stream: TcpStream| {
            let _ = stream.read(&mut [0; 4096])?;
            let text = format!("p99_seconds {}e-6\n", latency_us.load(Ordering::Relaxed));
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
            stream.write_all((head + &text).as_bytes())
        };
        for stream in listener.incoming() {
            // The rounds may have ended.
            let _ = stream.and_then(answer);
        }
    });
    Ok(port)
}

#[test]
fn an_objective_that_is_missed_is_reported_and_its_room_is_in_the_view() {
    static LATENCY_US: AtomicU32 = AtomicU32::new(2000);
    let slo = format!("http://127.0.0.1:{}#p99_seconds<5ms", serve_latency(&LATENCY_US).unwrap());
    let (class, history) = (FakeClass::default(), Arc::new(DecisionHistory::start()));
    let args = ["--policy", "auto", "--slo", &slo];
    with_rounds(&class, &args, &history, |rounds| {
        rounds.round()?;
        let mut until = |wanted: &str| -> Result<String> {
            for _ in 0..500 {
                pass_a_round(&class, rounds, [0.0; 3])?;
                let text = history.decisions(1)[0].decision.explained();
                if text.contains(wanted) {
                    return Ok(text);
                }
            }
            bail!("no {wanted:?} in {}", history.decisions(1)[0].decision.explained())
        };
        until("latency  the latency is 0.40 of the objective of 5ms: work has all of its room on all nodes")?;
        LATENCY_US.store(6000, Ordering::Relaxed);
        until("latency  the latency is 1.20 of the objective of 5ms, which is missed: work has 50 % of its room")?;
        let status = history.status();
        assert_eq!(status.nodes[0].limit_cpus, Some(0.5));
        assert!(status.text().contains("which is missed"), "{}", status.text());
        assert!(history.metrics().decision.contains("which is missed"), "{}", history.metrics().decision);
        let slo = &history.metrics().slos[&0];
        assert!((slo.latency_pct - 120.0).abs() < 1e-6 && slo.room_pct == 50.0, "{slo:?}");
        Ok(())
    })
    .unwrap();
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
