//! The series of a run: they agree with its result, in both formats, and change nothing of it.
#![cfg(feature = "sim")]
// Test helpers may panic, like asserts.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::Value;

const TABLES: [&str; 4] = ["tasks", "machines", "rounds", "moves"];
const POLICIES: [&str; 4] = ["none", "coarse", "fine", "auto"];

fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("series").join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn run(args: &[&str], folders: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vnuma-sim"));
    command.arg("run").args(args);
    folders.iter().for_each(|(option, path)| {
        command.arg(option).arg(path);
    });
    command.output().unwrap()
}

fn ok(args: &[&str], folders: &[(&str, &Path)]) {
    let output = run(args, folders);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A table by columns, with the rows' numbers; a missing one is NaN.
type Columns = BTreeMap<String, Vec<f64>>;

fn csv(path: &Path) -> Columns {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut columns: Columns = names.iter().map(|name| (name.to_string(), Vec::new())).collect();
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!(fields.len(), names.len(), "{line}");
        for (name, field) in names.iter().zip(fields) {
            let value = if field.is_empty() { f64::NAN } else { field.parse().unwrap() };
            columns.get_mut(*name).unwrap().push(value);
        }
    }
    columns
}

fn parquet(path: &Path) -> Columns {
    let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let mut columns = Columns::new();
    for row in reader.get_row_iter(None).unwrap() {
        for (name, field) in row.unwrap().get_column_iter() {
            let value = match field {
                Field::ULong(value) => *value as f64,
                Field::Double(value) => *value,
                Field::Null => f64::NAN,
                other => panic!("{name} is {other}"),
            };
            columns.entry(name.clone()).or_default().push(value);
        }
    }
    columns
}

fn sum(values: &[f64]) -> f64 {
    values.iter().sum()
}

/// The sum of the numbers in a list of the result's cells or rounds.
fn total(list: &Value, number: impl Fn(&Value) -> f64) -> f64 {
    list.as_array().unwrap().iter().map(number).sum()
}

fn about(what: &str, found: f64, wanted: f64) {
    assert!((found - wanted).abs() <= 1e-9 * wanted.abs().max(1.0), "{what} is {found}, not {wanted}");
}

#[test]
fn sums_of_the_series_are_those_of_the_result() {
    for policy in POLICIES {
        let dir = folder(&format!("sums-{policy}"));
        ok(&["--policy", policy], &[("--series", &dir.join("series")), ("--out", &dir)]);
        let result: Value = serde_json::from_slice(&fs::read(dir.join("result.json")).unwrap()).unwrap();
        let of_cells = |name: &str| total(&result["cells"], |cell| cell[name].as_f64().unwrap());
        let table = |name: &str| csv(&dir.join("series").join(format!("{name}.csv")));

        let tasks = table("tasks");
        let ended: Vec<usize> = (0..tasks["end_s"].len()).filter(|&row| !tasks["end_s"][row].is_nan()).collect();
        assert_eq!(tasks["job"].len() as f64, of_cells("tasks"));
        assert_eq!(ended.len() as f64, of_cells("finished"));
        let turnaround_s: f64 = ended.iter().map(|&row| tasks["end_s"][row] - tasks["arrival_s"][row]).sum();
        about("the time to the end", turnaround_s, of_cells("turnaround_s"));
        about("the work done", sum(&tasks["work_done_s"]), of_cells("work_done_s"));
        about("the work left", sum(&tasks["work_s"]) - sum(&tasks["work_done_s"]), of_cells("work_left_s"));
        assert!(ended.iter().all(|&row| tasks["work_done_s"][row] == tasks["work_s"][row]));
        let mut started = tasks["start_s"].iter().zip(&tasks["arrival_s"]).filter(|(start, _)| !start.is_nan());
        assert!(started.all(|(start, arrival)| start >= arrival));

        let (machines, rounds, moves) = (table("machines"), table("rounds"), table("moves"));
        for (name, figure) in [("busy_cpu_s", "cpu_utilisation"), ("over_cpu_s", "overcommit")] {
            let of_machines =
                total(&result["cells"], |cell| total(&cell[name], |of_machine| of_machine.as_f64().unwrap()));
            about(name, sum(&machines[name]), of_machines);
            about(name, sum(&rounds[name]), of_machines);
            // The figure is the mean of the rounds' by their length.
            let lasts = rounds["end_s"].iter().zip(&rounds["start_s"]).map(|(end, start)| end - start);
            let weighted: f64 = lasts.clone().zip(&rounds[figure]).map(|(length, share)| length * share).sum();
            about(figure, weighted / lasts.sum::<f64>(), result[figure].as_f64().unwrap());
        }
        for column in ["load_cpus", "reserved_cpus", "running", "migratable", "waiting"] {
            about(column, sum(&machines[column]), sum(&rounds[column]));
        }
        for (moved, bytes) in [(&tasks["moves"], &tasks["moved_bytes"]), (&rounds["moves"], &rounds["moved_bytes"])] {
            assert_eq!(sum(moved), of_cells("migrations"), "{policy}");
            assert_eq!(sum(bytes), of_cells("migrated_bytes"), "{policy}");
        }
        let moved = moves.get("bytes").map_or((0.0, 0.0), |bytes| (bytes.len() as f64, sum(bytes)));
        assert_eq!(moved, (of_cells("migrations"), of_cells("migrated_bytes")), "{policy}");

        // A recording says of each round how many tasks the policy saw.
        let seen = result["rounds"]["migratable"].as_array().unwrap();
        if policy != "none" {
            let seen: Vec<f64> = seen.iter().map(|value| value.as_f64().unwrap()).collect();
            assert_eq!(rounds["migratable"][..seen.len()], seen);
            assert_eq!(rounds["migratable"].len(), seen.len() + 1);
        }
    }
}

#[test]
fn a_run_with_series_has_the_same_result_and_both_formats_the_same_numbers() {
    for policy in POLICIES {
        let dir = folder(&format!("same-{policy}"));
        let (plain, recorded) = (dir.join("plain"), dir.join("recorded"));
        ok(&["--policy", policy], &[("--out", &plain)]);
        ok(&["--policy", policy], &[("--out", &recorded), ("--series", &dir.join("csv"))]);
        let result = |folder: &Path| fs::read(folder.join("result.json")).unwrap();
        assert_eq!(result(&plain), result(&recorded), "{policy}");
        ok(&["--policy", policy, "--series-format", "parquet"], &[("--series", &dir.join("parquet"))]);
        for name in TABLES {
            let of_csv = csv(&dir.join("csv").join(format!("{name}.csv")));
            let of_parquet = parquet(&dir.join("parquet").join(format!("{name}.parquet")));
            let rows = of_csv.values().next().unwrap().len();
            assert!(rows > 0 || (name, policy) == ("moves", "none"), "{policy}: {name} is empty");
            for (column, values) in of_csv.iter().filter(|_| rows > 0) {
                let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
                assert!(values.iter().zip(&of_parquet[column]).all(same), "{policy}: {name}.{column}");
                assert_eq!(values.len(), of_parquet[column].len());
            }
        }
    }
}

#[test]
fn shards_have_the_rows_of_the_whole() {
    let dir = folder("shards");
    ok(&["--policy", "coarse"], &[("--series", &dir.join("whole"))]);
    let mut rows = Vec::new();
    for shard in ["0/3", "1/3", "2/3"] {
        let to = dir.join(&shard[..1]);
        ok(&["--policy", "coarse", "--shard", shard, "--json"], &[("--series", &to)]);
        let text = fs::read_to_string(to.join("machines.csv")).unwrap();
        rows.extend(text.lines().skip(1).map(str::to_owned));
    }
    let whole = fs::read_to_string(dir.join("whole/machines.csv")).unwrap();
    let mut whole: Vec<String> = whole.lines().skip(1).map(str::to_owned).collect();
    whole.sort();
    rows.sort();
    assert_eq!(rows, whole);
}

#[test]
fn series_of_two_formats_are_not_mixed_and_impossible_ones_are_refused_with_the_remedy() {
    let dir = folder("refused");
    ok(&["--policy", "none"], &[("--series", &dir)]);
    let said = |output: Output| String::from_utf8(output.stderr).unwrap();
    let mixed = run(&["--policy", "none", "--series-format", "parquet"], &[("--series", &dir)]);
    assert!(!mixed.status.success());
    assert!(said(mixed).contains("tasks.csv: it is of another run, in another format; remove it"));
    let mut names: Vec<String> =
        dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["machines.csv", "moves.csv", "rounds.csv", "tasks.csv"]);
    let huge = run(&["--machines", "1000000", "--interval", "1s"], &[("--series", &dir)]);
    assert!(!huge.status.success());
    let said = said(huge);
    assert!(said.contains("--series: a table of 1000000 machines") && said.contains("--shard"), "{said}");
}

#[test]
fn every_column_is_documented() {
    let dir = folder("documented");
    ok(&["--policy", "coarse"], &[("--series", &dir)]);
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/series.md")).unwrap();
    for name in TABLES {
        let after = page.split(&format!("## {name}\n")).nth(1).unwrap_or_else(|| panic!("{name} is not documented"));
        let section = after.split("\n## ").next().unwrap();
        let documented: Vec<&str> =
            section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let text = fs::read_to_string(dir.join(format!("{name}.csv"))).unwrap();
        assert_eq!(documented, text.lines().next().unwrap().split(',').collect::<Vec<_>>(), "{name}");
    }
}
