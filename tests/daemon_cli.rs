//! The daemon's command line, up to the point at which it would load the scheduler class.
#![cfg(feature = "daemon")]

use std::path::Path;
use std::process::{Command, Output};

fn scx_vnuma(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_scx_vnuma")).args(args).output().expect("can't start scx_vnuma")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_version_is_the_crates() {
    let output = scx_vnuma(&["--version"]);
    assert!(output.status.success());
    assert_eq!(stdout(&output).trim(), format!("scx_vnuma {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_stats_describes_each_metric() {
    let output = scx_vnuma(&["--help-stats"]);
    assert!(output.status.success(), "{}", stderr(&output));
    for metric in [
        "epoch",
        "destination",
        "page_faults",
        "pressure_pct",
        "age_ms",
        "nr_queued",
        "nr_stragglers",
        "moved_bytes",
        "retarget_cpu_us",
    ] {
        assert!(stdout(&output).contains(metric), "{metric} is missing in:\n{}", stdout(&output));
    }
}

/// Run a line of bash, with `$IT` for the program.
fn bash(line: &str) -> Output {
    let mut command = Command::new("bash");
    command.args(["-c", line]).env("IT", env!("CARGO_BIN_EXE_scx_vnuma")).output().expect("can't start bash")
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    let output = bash("$IT --help-stats | true; exit ${PIPESTATUS[0]}");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn output_that_cannot_be_written_is_one_sentence_and_not_a_panic() {
    let output = bash("$IT --help-stats > /dev/full");
    let said = "scx_vnuma: standard output can't be written: No space left on device (os error 28)\n";
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(1), said));
    assert_eq!(bash("$IT --help-stats > /dev/full 2> /dev/full").status.code(), Some(1));
}

#[test]
fn an_invalid_option_is_refused_with_its_name() {
    for (args, part) in [
        (["--interval", "0"], "--interval"),
        (["--select", "nice=3"], "not one of cgroup, comm, uid, nice, policy"),
        (["--policy", "finest"], "--policy"),
        (["drain", "x"], "takes the number of a node, such as 1"),
        (["--polcy", "fine"], "a similar argument exists: '--policy'"),
    ] {
        let output = scx_vnuma(&args);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
}

#[test]
fn questions_without_a_daemon_fail_with_one_sentence() {
    if Path::new("/var/run/scx/root/stats").exists() {
        eprintln!("skipped: a scheduler is running here");
        return;
    }
    for args in [&["explain", "-n", "5"][..], &["explain", "--json"], &["links"], &["links", "--json"]] {
        let output = scx_vnuma(args);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""));
        let message = stderr(&output);
        assert!(message.contains("no scx_vnuma is running") && message.trim_end().lines().count() == 1, "{message}");
    }
}

#[test]
fn a_status_without_a_daemon_says_so_and_has_an_exit_code_of_its_own() {
    if Path::new("/var/run/scx/root/stats").exists() {
        eprintln!("skipped: a scheduler is running here");
        return;
    }
    let output = scx_vnuma(&["status"]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(3), ""));
    assert!(stdout(&output).starts_with("scx_vnuma not running"), "{}", stdout(&output));
    let output = scx_vnuma(&["status", "--json"]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(3), "{\"running\":false}\n"));
}

#[test]
fn a_port_in_use_is_refused_before_anything_is_loaded() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("no free port");
    let port = taken.local_addr().expect("the listener has no address").port().to_string();
    let output = scx_vnuma(&["--metrics", &port]);
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    let expected = format!("--metrics 127.0.0.1:{port}");
    assert!(message.contains(&expected) && message.trim_end().lines().count() == 1, "{message}");
}

#[test]
fn a_kernel_without_sched_ext_is_refused_with_the_config_option() {
    if Path::new("/sys/kernel/sched_ext").exists() {
        eprintln!("skipped: this kernel has sched_ext");
        return;
    }
    // SAFETY: no arguments, cannot fail.
    let expected = match unsafe { libc::geteuid() } {
        0 => "CONFIG_SCHED_CLASS_EXT=y",
        _ => "must run as root",
    };
    let output = scx_vnuma(&[]);
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.contains(expected) && message.trim_end().lines().count() == 1, "{message}");
}

#[test]
fn restore_on_a_kernel_without_sched_ext_has_nothing_to_do() {
    if Path::new("/sys/kernel/sched_ext").exists() || Path::new("/run/scx_vnuma").exists() {
        eprintln!("skipped: this kernel has sched_ext, or scx_vnuma has run here");
        return;
    }
    let output = scx_vnuma(&["restore"]);
    // SAFETY: no arguments, cannot fail.
    match unsafe { libc::geteuid() } {
        0 => assert_eq!((output.status.code(), stdout(&output).trim()), (Some(0), "nothing to restore")),
        _ => assert!(stderr(&output).contains("as root"), "{}", stderr(&output)),
    }
}

#[test]
fn exec_on_a_kernel_without_sched_ext_fails_with_the_reason() {
    if Path::new("/sys/kernel/sched_ext").exists() {
        eprintln!("skipped: this kernel has sched_ext");
        return;
    }
    let output = scx_vnuma(&["exec", "--", "true"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no sched_ext"), "{}", stderr(&output));
}

#[test]
fn a_pid_namespace_of_its_own_is_refused_with_the_remedy() {
    // A user namespace allows a PID namespace without root.
    let unshared = |args: &[&str]| {
        let scx_vnuma = env!("CARGO_BIN_EXE_scx_vnuma");
        let unshare = ["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", scx_vnuma];
        Command::new("unshare").args(unshare).args(args).output().expect("unshare starts")
    };
    for args in [&["--dry-run"][..], &["restore"], &["exec", "--", "true"]] {
        let output = unshared(args);
        let message = stderr(&output);
        if message.contains("unshare failed") || message.contains("Operation not permitted") {
            eprintln!("skipped: this machine allows no user namespaces: {message}");
            return;
        }
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains("PID namespace") && message.contains("nsenter"), "{message}");
    }
}

#[test]
fn top_without_a_terminal_names_what_prints_the_same() {
    let output = scx_vnuma(&["top"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("top needs a terminal; --monitor 2 prints"), "{}", stderr(&output));
}

/// A decision log of two rounds of a node.
fn decision_log() -> Vec<u8> {
    use scx_vnuma::cell::{CellView, Node, Plan, Pressure};
    use scx_vnuma::decision_log::{Header, LogWriter};

    let nodes = vec![Node { capacity_cpus: 2.0, pressure: Pressure::Fresh { share: 0.5 }, ..Node::default() }];
    let view = CellView { nodes, ..CellView::default() };
    let mut log = Vec::new();
    let header = Header { interval_s: Some(0.5), ..Header::new("coarse", None) };
    let mut writer = LogWriter::new(&mut log, &header).expect("a vector takes all");
    for round in 1..=2 {
        writer.append(round, &view, &Plan::default(), None).expect("a vector takes all");
    }
    log
}

#[test]
fn report_makes_a_page_of_a_log_and_tells_of_a_torn_line() {
    let folder = tempfile::tempdir().unwrap();
    let (log, page) = (folder.path().join("run.jsonl"), folder.path().join("run.html"));
    let report = || scx_vnuma(&["report", log.to_str().unwrap(), "-o", page.to_str().unwrap()]);
    let whole = decision_log();
    std::fs::write(&log, &whole).unwrap();
    let output = report();
    assert!(output.status.success() && stderr(&output).is_empty(), "{}", stderr(&output));
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("node 0") && html.contains("2 rounds") && html.contains("coarse"), "{html}");

    std::fs::write(&log, &whole[..whole.len() - 5]).unwrap();
    let output = report();
    assert!(
        output.status.success() && stderr(&output).contains("run.jsonl: line 3 is cut short"),
        "{}",
        stderr(&output)
    );
    assert!(std::fs::read_to_string(&page).unwrap().contains("1 round,"));
}

#[test]
fn report_of_no_log_names_the_file_and_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("run.jsonl");
    for (text, said) in
        [("", "run.jsonl: line 1: the file is empty"), ("{}\n", "run.jsonl: line 1: not a valid header")]
    {
        std::fs::write(&log, text).unwrap();
        let output = scx_vnuma(&["report", log.to_str().unwrap(), "-o", "/dev/null"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
}

/// Makes a child process write more to standard error than a pipe holds.
#[test]
fn an_unread_log_blocks_nothing() {
    const MUCH_MORE_THAN_A_PIPE_HOLDS: usize = 10_000;
    if std::env::var_os("VNUMA_TEST_LOG_CHILD").is_some() {
        let log = scx_vnuma::daemon::Log::start(0).unwrap();
        let start = std::time::Instant::now();
        for nr in 0..MUCH_MORE_THAN_A_PIPE_HOLDS {
            log::info!(target: "scx_vnuma", "line {nr} of an unread log");
        }
        assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
        println!("dropped {}", log.nr_dropped());
        // The log's writer thread is blocked for good.
        std::process::exit(if log.nr_dropped() > 0 { 0 } else { 1 });
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "an_unread_log_blocks_nothing", "--nocapture"])
        .env("VNUMA_TEST_LOG_CHILD", "1")
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // The pipe stays open but is never read.
    let _unread = child.stderr.take();
    assert!(child.wait().unwrap().success(), "it blocked, or it dropped nothing");
}

#[test]
fn the_systems_error_is_told_once() {
    let output = scx_vnuma(&["config", "check", "/nonexistent"]);
    let said = stderr(&output);
    assert!(!output.status.success() && said.contains("/nonexistent: it must be a readable file"), "{said}");
    assert_eq!(said.matches("No such file or directory").count(), 1, "{said}");
}
