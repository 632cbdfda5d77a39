//! Traces as found in practice: in parts, compressed or not, in any order, and damaged in every way we know of.
#![cfg(feature = "sim")]
// Test helpers may panic, like asserts.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::write::GzEncoder;
use flate2::Compression;

/// A small trace in its own directory, for a test to damage.
struct Folder(PathBuf);

const EVENTS: &str = "\
0,,1,0,,0,,3,1,0.1,0.05,,0
0,,1,0,7,1,,3,1,0.1,0.05,,0
10000000,,1,1,,0,,3,9,0.2,,,
10000000,,1,1,,1,,3,9,0.2,,,
300000000,,1,0,7,4,,3,1,0.1,0.05,,0
";
const USAGE: &str = "\
0,300000000,1,0,7,0.05,0.1,0.1,,,0.1,,,0.02,,1.5,0.01,,,
10000000,300000000,1,1,8,0.1,0.1,0.1,,,0.1,,,0.3,,,,,,
300000000,600000000,1,1,8,0.2,0.1,0.1,,,0.1,,,0.3,,1.5,0.01,,,
";

impl Folder {
    fn new(name: &str) -> Folder {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        let folder = Folder(path);
        folder.write("events.csv", EVENTS);
        folder.write("usage.csv", USAGE);
        folder
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn write_gz(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), gz(text)).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    fn run(&self, more: &[&str]) -> Output {
        self.run_on(&["events.csv"], &["usage.csv"], more)
    }

    fn run_on(&self, events: &[&str], usage: &[&str], more: &[&str]) -> Output {
        let paths = |names: &[&str]| names.iter().map(|name| self.path(name)).collect::<Vec<_>>();
        sim()
            .args(["run", "--json", "--machines", "2", "--events"])
            .args(paths(events))
            .arg("--usage")
            .args(paths(usage))
            .args(more)
            .output()
            .unwrap()
    }
}

fn sim() -> Command {
    Command::new(env!("CARGO_BIN_EXE_vnuma-sim"))
}

fn gz(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn tasks(output: &Output) -> u64 {
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    figures["tasks"].as_u64().unwrap()
}

/// Replace one table and check that a plain run counts the oddity and a strict one stops at it.
fn is_odd(name: &str, file: &str, text: &str, counted: &str, place: &str) {
    let folder = Folder::new(name);
    folder.write(file, text);
    let lenient = folder.run(&[]);
    assert!(lenient.status.success(), "{}", stderr(&lenient));
    let said = stderr(&lenient);
    assert!(said.contains("not fatal") && said.contains(counted) && said.contains(place), "{said}");
    let strict = folder.run(&["--strict"]);
    assert_eq!(strict.status.code(), Some(1));
    let said = stderr(&strict);
    assert!(said.contains("fatal") && said.contains(place) && said.lines().count() == 1, "{said}");
    assert!(strict.stdout.is_empty());
}

#[test]
fn a_clean_trace_gives_no_messages_even_when_strict() {
    let output = Folder::new("clean").run(&["--strict"]);
    assert!(output.status.success());
    assert_eq!(stderr(&output), "");
    assert_eq!(tasks(&output), 2);
}

#[test]
fn json_has_the_figures_and_nothing_else() {
    let output = Folder::new("json").run(&[]);
    let figures: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let mut names: Vec<&str> = figures.keys().map(String::as_str).collect();
    names.sort_unstable();
    let wanted = [
        "cpu_utilisation",
        "cpu_utilisation_bound",
        "duration_s",
        "finished",
        "gini",
        "gini_bound",
        "migrated_bytes",
        "migrations",
        "network_bytes_per_s",
        "overcommit",
        "slowdown_p50",
        "slowdown_p90",
        "slowdown_p99",
        "tasks",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn parts_may_be_compressed_in_folders_or_globs_and_in_any_order() {
    let folder = Folder::new("parts");
    let (first, rest): (Vec<_>, Vec<_>) =
        USAGE.lines().map(|line| format!("{line}\n")).partition(|l| l.starts_with("0,"));
    fs::create_dir(folder.0.join("task_usage")).unwrap();
    folder.write_gz("task_usage/part-00000.csv.gz", &first.concat());
    folder.write("task_usage/part-00001.csv", &rest.concat());
    let whole = folder.run(&[]);
    let usages: [&[&str]; 4] = [
        &["task_usage/part-00001.csv", "task_usage/part-00000.csv.gz"],
        &["task_usage"],
        &["task_usage/part-*"],
        &["task_usage/part-*", "task_usage"],
    ];
    for usage in usages {
        let output = folder.run_on(&["events.csv"], usage, &["--strict"]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(output.stdout, whole.stdout, "{usage:?}");
    }
}

#[test]
fn windows_line_ends_and_a_missing_last_newline_change_nothing() {
    let folder = Folder::new("line-ends");
    let plain = folder.run(&[]);
    folder.write("usage.csv", USAGE.replace('\n', "\r\n").trim_end());
    let other = folder.run(&["--strict"]);
    assert_eq!(other.stdout, plain.stdout, "{}", stderr(&other));
}

#[test]
fn a_byte_order_mark_costs_no_row() {
    let folder = Folder::new("mark");
    let plain = folder.run(&[]);
    folder.write("events.csv", &format!("\u{feff}{EVENTS}"));
    folder.write_gz("usage.csv.gz", &format!("\u{feff}{USAGE}"));
    let other = folder.run_on(&["events.csv"], &["usage.csv.gz"], &["--strict"]);
    assert_eq!(other.stdout, plain.stdout, "{}", stderr(&other));
}

/// Run a line of bash in the folder, with `$SIM` for the program; it must end within a minute.
fn bash(folder: &Folder, line: &str) -> Output {
    let mut command = Command::new("timeout");
    command.args(["60", "bash", "-c", line]).current_dir(&folder.0);
    command.env("SIM", env!("CARGO_BIN_EXE_vnuma-sim")).output().unwrap()
}

#[test]
fn pipes_are_read_once_with_their_checksums() {
    let folder = Folder::new("pipes");
    folder.write_gz("usage.csv.gz", USAGE);
    let whole = folder.run(&["--out", &folder.path("whole")]);
    let shell = "$SIM run --json --machines 2 --strict";
    for (line, out) in [
        ("--events <(head -n 2 events.csv) <(tail -n +3 events.csv) --usage <(cat usage.csv)", "plain"),
        ("--events events.csv --usage <(cat usage.csv.gz)", "gz"),
        ("--events events.csv --usage fifo", "from-fifo"),
    ] {
        let feed = "rm -f fifo; mkfifo fifo; (cat usage.csv > fifo) & feeder=$!";
        let line = format!("{feed}; {shell} {line} --out {out}; code=$?; kill $feeder 2>&-; exit $code");
        let output = bash(&folder, &line);
        assert!(output.status.success(), "{line}: {}", stderr(&output));
        assert_eq!(output.stdout, whole.stdout, "{line}");
    }
    let inputs = |out: &str| -> serde_json::Value {
        let text = fs::read(folder.0.join(out).join("result.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&text).unwrap()["inputs"].clone()
    };
    let (files, fifo) = (inputs("whole"), inputs("from-fifo"));
    assert_eq!((&files[0], &files[1]["sha256"]), (&fifo[0], &fifo[1]["sha256"]));
    assert_eq!(fifo[1]["name"], "pipe");
}

#[test]
fn messages_and_results_that_cannot_be_written_are_no_panic() {
    let folder = Folder::new("full");
    let line = "$SIM run --json --machines 2 --events events.csv events.csv --usage usage.csv";
    assert_eq!(bash(&folder, &format!("{line} 2> /dev/full")).status.code(), Some(0));
    assert_eq!(bash(&folder, "$SIM run 2> /dev/full").status.code(), Some(0));
    assert_eq!(bash(&folder, "$SIM run --events no-such --usage no-such 2> /dev/full").status.code(), Some(1));
    let output = bash(&folder, &format!("{line} > /dev/full"));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("No space left") && !stderr(&output).contains("panicked"), "{}", stderr(&output));
    let output = bash(&folder, &format!("{line} | true; exit ${{PIPESTATUS[0]}}"));
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn a_pipe_that_would_be_read_again_is_refused() {
    let folder = Folder::new("pipes-again");
    for (line, why) in [
        ("$SIM prepare --shards 2 --out t --events events.csv --usage <(cat usage.csv)", "once per shard"),
        ("$SIM run --trace <(cat events.csv)", "piece by piece"),
        ("mkfifo fifo; $SIM run --trace fifo", "piece by piece"),
        ("$SIM run --events fifo --usage fifo", "--events and --usage both name it"),
    ] {
        let output = bash(&folder, line);
        assert_eq!(output.status.code(), Some(1), "{line}: {}", stderr(&output));
        assert!(stderr(&output).contains("only once") && stderr(&output).contains(why), "{}", stderr(&output));
    }
}

#[test]
fn a_part_that_exists_twice_is_read_once() {
    let folder = Folder::new("twice");
    let once = folder.run(&[]);
    folder.write_gz("usage.csv.gz", USAGE);
    let output = folder.run_on(&["events.csv"], &["usage.csv*"], &[]);
    assert_eq!(output.stdout, once.stdout);
    assert!(stderr(&output).contains("usage.csv.gz"), "{}", stderr(&output));
}

#[test]
fn a_missing_file_is_fatal_and_named() {
    let folder = Folder::new("missing");
    let output = folder.run_on(&["events.csv"], &["no-such.csv"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--usage") && stderr(&output).contains("no-such.csv"), "{}", stderr(&output));
}

#[test]
fn a_truncated_gz_is_fatal_and_named_with_the_last_line_read() {
    let folder = Folder::new("truncated");
    let long = USAGE.repeat(20_000);
    let bytes = gz(&long);
    fs::write(folder.0.join("usage.csv.gz"), &bytes[..bytes.len() / 2]).unwrap();
    let output = folder.run_on(&["events.csv"], &["usage.csv.gz"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("fatal") && said.contains("ends early"), "{said}");
    let line: u64 =
        said.split("usage.csv.gz:").nth(1).and_then(|rest| rest.split(':').next()).unwrap().parse().unwrap();
    // The text compresses evenly, so half of the bytes is about half of the lines.
    assert!((20_000..60_000).contains(&line), "{said}");
}

#[test]
fn a_gz_of_no_bytes_is_fatal_like_any_that_ends_early() {
    let folder = Folder::new("no-bytes");
    for bytes in [&b""[..], &[0x1f], &gz(USAGE)[..7]] {
        fs::write(folder.0.join("usage-2.csv.gz"), bytes).unwrap();
        let output = folder.run_on(&["events.csv"], &["usage*"], &[]);
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(said.contains("usage-2.csv.gz:0: the file ends early"), "{said}");
    }
}

#[test]
fn a_part_without_a_row_is_counted() {
    let folder = Folder::new("no-row");
    let whole = folder.run(&[]);
    for (name, bytes) in [("usage-2.csv", vec![]), ("usage-3.csv.gz", gz("")), ("usage-4.csv", b"\n\r\n".to_vec())] {
        fs::write(folder.0.join(name), bytes).unwrap();
        let lenient = folder.run_on(&["events.csv"], &["usage.csv", name], &[]);
        assert_eq!(lenient.stdout, whole.stdout, "{}", stderr(&lenient));
        let place = format!("{name}: no row of task_usage");
        assert!(stderr(&lenient).contains("1 parts without a row"), "{}", stderr(&lenient));
        assert!(stderr(&lenient).contains(&place), "{}", stderr(&lenient));
        let strict = folder.run_on(&["events.csv"], &["usage.csv", name], &["--strict"]);
        assert_eq!(strict.status.code(), Some(1));
        assert!(stderr(&strict).contains(&place), "{}", stderr(&strict));
    }
}

#[test]
fn a_row_with_too_few_fields_is_counted() {
    let text = format!("{USAGE}300000000,600000000,1,1,8,0.2\n");
    is_odd("few", "usage.csv", &text, "1 rows with a wrong number of fields", "usage.csv:4: 6 fields");
}

#[test]
fn a_row_with_too_many_fields_is_counted() {
    let text = format!("{EVENTS}{}\n", ",".repeat(40));
    is_odd("many", "events.csv", &text, "wrong number of fields", "events.csv:6: 21 or more fields");
}

#[test]
fn an_invalid_number_is_counted_with_its_field() {
    let text = USAGE.replace("0.05,0.1", "0.05x,0.1");
    is_odd("number", "usage.csv", &text, "not a number", "usage.csv:1: field 6 (CPU rate) is '0.05x'");
    let text = EVENTS.replace("10000000,,1,1,,0", "10000000,,,1,,0");
    is_odd("empty", "events.csv", &text, "not a number", "events.csv:3: field 3 (job ID) is ''");
    let text = USAGE.replace(",0.02,,1.5", ",-0.02,,1.5");
    is_odd("negative", "usage.csv", &text, "not a number", "usage.csv:1: field 14 (maximum CPU rate) is '-0.02'");
    let text = EVENTS.replace("300000000,,1,0,7,4", "300000000,,1,0,7,44");
    is_odd("type", "events.csv", &text, "not a number", "events.csv:5: field 6 (event type) is 44");
}

#[test]
fn a_share_larger_than_any_machine_is_counted() {
    let text = USAGE.replace("0.05,0.1,0.1", "5e300,0.1,0.1");
    is_odd("share", "usage.csv", &text, "not a number", "usage.csv:1: field 6 (CPU rate) is '5e300'");
}

#[test]
fn an_endless_line_is_fatal() {
    let folder = Folder::new("endless");
    folder.write("usage.csv", &format!("{USAGE}{}", "7".repeat(20 << 20)));
    let output = folder.run(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("usage.csv:3: ") && stderr(&output).contains("16 MB"), "{}", stderr(&output));
}

#[test]
fn a_window_that_ends_far_in_the_future_is_fatal() {
    let folder = Folder::new("age");
    folder.write("usage.csv", &USAGE.replace("300000000,600000000", "300000000,6000000000000000000"));
    let output = folder.run(&["--policy", "none"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--end"), "{}", stderr(&output));
    assert!(folder.run(&["--end", "600"]).status.success());
}

#[test]
fn time_going_backwards_is_counted() {
    let text = format!("{EVENTS}5000000,,1,0,,7,,3,1,0.1,0.05,,0\n");
    is_odd("backwards", "events.csv", &text, "time is before the row above's", "events.csv:6: field 1 (time)");
    let text = USAGE.replace("10000000,300000000", "10000000,9000000");
    is_odd("window", "usage.csv", &text, "end before they start", "usage.csv:2: field 2 (end time)");
}

/// The rows of a table as parts, one row each, with these names.
fn in_parts(folder: &Folder, table: &str, names: &[&str], rows: &str) {
    let _ = fs::remove_dir_all(folder.0.join(table));
    fs::create_dir(folder.0.join(table)).unwrap();
    for (name, row) in names.iter().zip(rows.lines()) {
        folder.write(&format!("{table}/{name}"), &format!("{row}\n"));
    }
}

#[test]
fn parts_are_read_in_natural_order() {
    let folder = Folder::new("natural");
    let whole = folder.run(&[]);
    in_parts(&folder, "task_usage", &["part-8.csv", "part-9.csv", "part-10.csv"], USAGE);
    in_parts(&folder, "task_events", &["p2.csv", "p3.csv", "p20.csv", "p21.csv", "p100.csv"], EVENTS);
    let output = folder.run_on(&["task_events"], &["task_usage"], &["--strict"]);
    assert_eq!(output.stdout, whole.stdout, "{}", stderr(&output));
}

#[test]
fn time_going_backwards_between_parts_is_counted() {
    let folder = Folder::new("parts-backwards");
    in_parts(&folder, "task_usage", &["c.csv", "b.csv", "a.csv"], USAGE);
    in_parts(&folder, "task_events", &["p5.csv", "p4.csv", "p3.csv", "p2.csv", "p1.csv"], EVENTS);
    for (events, usage, place) in [
        ("events.csv", "task_usage", "task_usage/b.csv: its first row's time 10000000 is before"),
        ("task_events", "usage.csv", "task_events/p2.csv: its first row's time 10000000 is before"),
    ] {
        let lenient = folder.run_on(&[events], &[usage], &[]);
        assert!(lenient.status.success(), "{}", stderr(&lenient));
        assert!(stderr(&lenient).contains("2 rows or parts whose time"), "{}", stderr(&lenient));
        assert!(stderr(&lenient).contains(place), "{}", stderr(&lenient));
        let strict = folder.run_on(&[events], &[usage], &["--strict"]);
        assert_eq!(strict.status.code(), Some(1));
        assert!(stderr(&strict).contains(place), "{}", stderr(&strict));
    }
}

#[test]
fn usage_without_events_is_counted_and_makes_no_task() {
    let text = format!("{USAGE}300000000,600000000,2,0,8,0.2,0.1,0.1,,,0.1,,,0.3,,1.5,0.01,,,\n");
    is_odd("without", "usage.csv", &text, "usage rows of tasks without events", "usage.csv:4: task 2:0");
}

#[test]
fn a_prepared_trace_remembers_its_oddities() {
    let folder = Folder::new("prepared");
    folder.write("usage.csv", &format!("{USAGE}300000000,600000000,1,1,8,0.2\n"));
    let (events, usage, trace) = (folder.path("events.csv"), folder.path("usage.csv"), folder.path("t.parquet"));
    let prepared = sim().args(["prepare", "--events", &events, "--usage", &usage, "--out", &trace]).output().unwrap();
    assert!(prepared.status.success(), "{}", stderr(&prepared));
    let lenient = sim().args(["run", "--trace", &trace]).output().unwrap();
    assert!(stderr(&lenient).contains("usage.csv:4: 6 fields"), "{}", stderr(&lenient));
    let strict = sim().args(["run", "--strict", "--trace", &trace]).output().unwrap();
    assert_eq!(strict.status.code(), Some(1));
}

#[test]
fn tables_of_different_traces_are_fatal() {
    let folder = Folder::new("different");
    folder.write("usage.csv", &USAGE.replace(",1,0,7", ",5,0,7").replace(",1,1,8", ",5,1,8"));
    let output = folder.run(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no task has both"), "{}", stderr(&output));
}

#[test]
fn times_before_and_after_the_trace_are_accepted() {
    let folder = Folder::new("sentinels");
    for after in ["9223372036854775807", "18446744073709551615"] {
        folder.write("events.csv", &EVENTS.replace("300000000,,1,0,7,4", &format!("{after},,1,0,7,4")));
        let output = folder.run(&["--strict"]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(tasks(&output), 2);
    }
}

#[test]
fn an_empty_time_span_is_refused() {
    let output = Folder::new("span").run(&["--start", "500", "--end", "400"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--start"), "{}", stderr(&output));
}

#[test]
fn random_input_is_an_error_and_never_a_panic() {
    let folder = Folder::new("garbage");
    let mut seed = 1u64;
    for round in 0..40 {
        let mut text = if round % 2 == 0 { USAGE.to_owned() } else { EVENTS.to_owned() }.into_bytes();
        for _ in 0..=round {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = (seed >> 33) as usize % text.len();
            text[at] = (seed >> 25) as u8;
        }
        let file = if round % 2 == 0 { "usage.csv" } else { "events.csv" };
        fs::write(folder.0.join(file), &text).unwrap();
        let output = folder.run(&[]);
        assert!(matches!(output.status.code(), Some(0 | 1)), "round {round}: {}", stderr(&output));
    }
}

#[test]
fn without_a_trace_the_sample_runs() {
    let output = sim().args(["run", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(tasks(&output), 920);
}

#[test]
fn a_folder_that_contains_the_tables_is_accepted() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample");
    let output = sim()
        .args(["run", "--json", "--machines", "40", "--strict", "--events"])
        .arg(&sample)
        .arg("--usage")
        .arg(&sample)
        .output()
        .unwrap();
    assert_eq!(tasks(&output), 920, "{}", stderr(&output));
}

#[test]
fn parts_that_are_missing_are_counted() {
    let folder = Folder::new("parts-missing");
    fs::create_dir(folder.0.join("task_usage")).unwrap();
    for (name, row) in ["part-0-of-4.csv", "part-1-of-4.csv", "part-3-of-4.csv"].iter().zip(USAGE.lines()) {
        folder.write(&format!("task_usage/{name}"), &format!("{row}\n"));
    }
    let lenient = folder.run_on(&["events.csv"], &["task_usage"], &[]);
    assert!(lenient.status.success(), "{}", stderr(&lenient));
    assert!(stderr(&lenient).contains("1 tables of which parts are missing"), "{}", stderr(&lenient));
    let place = "3 of 4 parts of task_usage; number 2 is missing";
    assert!(stderr(&lenient).contains(place), "{}", stderr(&lenient));
    let strict = folder.run_on(&["events.csv"], &["task_usage"], &["--strict"]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(stderr(&strict).contains(place) && strict.stdout.is_empty(), "{}", stderr(&strict));
    folder.write("task_usage/part-2-of-4.csv", "600000000,900000000,1,1,8,0.2,0.1,0.1,,,0.1,,,0.3,,1.5,0.01,,,\n");
    // In the wrong order of time, but all there.
    assert!(!stderr(&folder.run_on(&["events.csv"], &["task_usage"], &[])).contains("of which parts"));
}

#[test]
fn windows_that_are_far_too_long_are_counted_with_what_they_do() {
    let text = USAGE.replace("300000000,600000000", "300000000,90600000000");
    let place = "usage.csv:3: field 2 (end time) is 90600000000, more than an hour after the start time 300000000";
    is_odd("long", "usage.csv", &text, "1 usage windows of more than an hour, used", place);
    let folder = Folder::new("long-effect");
    folder.write("usage.csv", &text);
    let said = stderr(&folder.run(&["--policy", "none"]));
    assert!(said.contains("with such windows the trace ends 90300 s later"), "{said}");
}

#[test]
fn more_than_the_largest_machine_has_is_counted_with_what_it_does() {
    let text = USAGE.replace(",8,0.2,", ",8,999,");
    let place = "usage.csv:3: field 6 (CPU rate) is 999, and the largest machine has 1";
    is_odd("above", "usage.csv", &text, "1 rows with more than the largest machine has, used", place);
    let folder = Folder::new("above-effect");
    folder.write("usage.csv", &text);
    let said = stderr(&folder.run(&["--policy", "none"]));
    // 999 * 300 s of that, 0.05 * 300 s and 0.1 * 290 s.
    assert!(said.contains("have 99.9853 % of the trace's CPU time"), "{said}");
    let text = EVENTS.replace(",9,0.2,", ",9,1.5,");
    is_odd("request", "events.csv", &text, "largest machine", "events.csv:3: field 10 (CPU request) is 1.5");
    let text = USAGE.replace("0.1,0.1,,,0.1,,,0.02", "0.1,1.25,,,0.1,,,0.02");
    is_odd("memory", "usage.csv", &text, "largest machine", "usage.csv:1: field 8 (assigned memory usage) is 1.25");
}

#[test]
fn figures_of_no_task_are_refused() {
    let folder = Folder::new("no-task");
    let (events, usage) = (folder.path("events.csv"), folder.path("usage.csv"));
    // Task 1:0 ends at 300 s, and 1:1 runs until the end.
    folder.write("events.csv", &format!("{EVENTS}310000000,,1,1,,5,,3,9,0.2,,,\n"));
    for command in [&["run"][..], &["compare"], &["sweep", "--vary", "order=cpu,memory"]] {
        let output = sim()
            .args(command)
            .args(["--machines", "2", "--start", "400", "--end", "500"])
            .args(["--events", &events, "--usage", &usage])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        let said = stderr(&output);
        assert!(said.contains("no task runs between 400 s and 500 s of the trace; change --start or --end"), "{said}");
    }
    let shard = folder.run(&["--start", "400", "--end", "500", "--shard", "0/2"]);
    assert!(shard.status.success(), "a shard may have none: {}", stderr(&shard));
}

#[test]
fn merged_shards_have_the_oddities_of_the_whole() {
    let folder = Folder::new("merged-oddities");
    // Tasks 2:0 to 2:5 are on both machines, one of each shard.
    let without: String =
        (0..6).map(|task| format!("300000000,600000000,2,{task},8,0.2,0.1,0.1,,,0.1,,,0.3,,1.5,0.01,,,\n")).collect();
    folder.write("usage.csv", &format!("{USAGE}{without}1,2,3\n"));
    let run = |name: &str, more: &[&str]| {
        let out = folder.path(name);
        let more = [more, &["--cell", "1", "--out", &out]].concat();
        assert!(folder.run(&more).status.success());
        out + "/result.json"
    };
    let (whole, shards) = (run("whole", &[]), [run("0", &["--shard", "0/2"]), run("1", &["--shard", "1/2"])]);
    let merged = folder.path("merged");
    assert!(sim().args(["merge", "--out", &merged]).args(&shards).status().unwrap().success());
    let whole = fs::read(whole).unwrap();
    assert_eq!(whole, fs::read(merged + "/result.json").unwrap());
    // The same from a prepared trace, which has the oddities of all tasks.
    let (events, usage, trace) = (folder.path("events.csv"), folder.path("usage.csv"), folder.path("t.parquet"));
    let prepare = ["prepare", "--events", &events, "--usage", &usage, "--out", &trace];
    assert!(sim().args(prepare).status().unwrap().success());
    let parts = ["0/2", "1/2"].map(|shard| {
        let out = folder.path(&format!("prepared-{}", &shard[..1]));
        let run = ["run", "--trace", &trace, "--machines", "2", "--cell", "1", "--shard", shard, "--out", &out];
        assert!(sim().args(run).status().unwrap().success());
        out + "/result.json"
    });
    let merged = folder.path("merged-prepared");
    assert!(sim().args(["merge", "--out", &merged]).args(&parts).status().unwrap().success());
    assert_eq!(whole, fs::read(merged + "/result.json").unwrap());
    // An edited one is refused.
    let text = fs::read_to_string(&shards[1]).unwrap();
    fs::write(&shards[1], text.replace("\"version\":\"", "\"version\":\"9")).unwrap();
    let output = sim().arg("merge").args(&shards).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("1/result.json: it is not as it was written"), "{}", stderr(&output));
}
