//! Traces of other clusters, from their tables to a run.
#![cfg(feature = "sim")]
// Test helpers may panic, like asserts.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("formats").join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn sim(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vnuma-sim")).current_dir(folder).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Two VMs that may move on one host, which between them want more than it has.
fn write_azure(dir: &Path) {
    let vm = |id: u32, category: &str| format!("vm{id},s,d,0,3300,90,50,80,{category},1,1.75\n");
    fs::write(dir.join("vmtable.csv"), vm(1, "Delay-insensitive") + &vm(2, "Interactive")).unwrap();
    let readings: String =
        (0..12).flat_map(|at| [(at, 1), (at, 2)]).map(|(at, id)| format!("{},vm{id},1,90,50\n", at * 300)).collect();
    fs::write(dir.join("vm_cpu_readings.csv"), readings).unwrap();
}

const AZURE: [&str; 7] =
    ["prepare", "--format", "azure2017", "--events", "vmtable.csv", "--usage", "vm_cpu_readings.csv"];

#[test]
fn a_trace_of_vms_is_prepared_and_run() {
    let dir = folder("azure");
    write_azure(&dir);
    let prepared = sim(
        &dir,
        &[&AZURE[..], &["--host-cpus", "2", "--host-memory", "4GB", "--out", "t.parquet", "--strict"]].concat(),
    );
    assert!(prepared.status.success(), "{}", said(&prepared));
    let args = ["run", "--trace", "t.parquet", "--machines", "1", "--policy", "none", "--out", "out", "--json"];
    let run = sim(&dir, &args);
    let figures: Value = serde_json::from_slice(&run.stdout).unwrap();
    // Each VM uses half of its core, which is a quarter of the host; the machine has half a host for 55 minutes of an hour.
    assert_eq!((figures["tasks"].as_u64(), figures["finished"].as_u64()), (Some(2), Some(1)));
    let result: Value = serde_json::from_slice(&fs::read(dir.join("out/result.json")).unwrap()).unwrap();
    let inputs: Vec<&str> =
        result["inputs"].as_array().unwrap().iter().map(|it| it["table"].as_str().unwrap()).collect();
    assert_eq!(inputs, ["vmtable", "vm_cpu_readings"]);
}

#[test]
fn shards_of_a_prepared_trace_are_those_of_the_whole() {
    let dir = folder("shards");
    let rows: String = (0..200)
        .map(|at| format!("ins_{at},M1,j_{},1,Terminated,{},{},m_1,1,1,50,60,1,2\n", at % 40, 10 + at, 700 + at))
        .collect();
    let tasks: String = (0..40).map(|job| format!("M1,5,j_{job},1,Terminated,1,2,100,0.5\n")).collect();
    fs::write(dir.join("batch_task.csv"), tasks).unwrap();
    fs::write(dir.join("batch_instance.csv"), rows).unwrap();
    let tables = ["prepare", "--format", "alibaba2018", "--events", "batch_task.csv", "--usage", "batch_instance.csv"];
    let mut results = Vec::new();
    for shards in ["1", "3"] {
        let prepared =
            sim(&dir, &[&tables[..], &["--machines", "12", "--shards", shards, "--out", "t.parquet"]].concat());
        assert!(prepared.status.success() && said(&prepared).is_empty(), "{}", said(&prepared));
        let run = sim(&dir, &["run", "--trace", "t.parquet", "--machines", "12", "--json"]);
        assert!(run.status.success());
        results.push(run.stdout);
    }
    assert_eq!(results[0], results[1]);
    assert_eq!(serde_json::from_slice::<Value>(&results[0]).unwrap()["tasks"], 200);
}

#[test]
fn options_that_a_format_has_no_use_for_are_refused() {
    let dir = folder("refused");
    write_azure(&dir);
    for (args, wanted) in [
        (&["--host-cpus", "0", "--out", "t"][..], "--host-cpus: must be above 0"),
        (
            &["--machine-events", "vmtable.csv", "--out", "t"],
            "--machine-events: tables of --format azure2017 don't need it",
        ),
    ] {
        let output = sim(&dir, &[&AZURE[..], args].concat());
        assert!(!output.status.success() && said(&output).contains(wanted), "{}", said(&output));
    }
    let tables = ["--events", "vmtable.csv", "--usage", "vm_cpu_readings.csv", "--out", "t"];
    for (format, option, value) in [
        ("google2011", "--host-cpus", "8"),
        ("google2019", "--host-memory", "1GB"),
        ("alibaba2018", "--host-memory", "1GB"),
    ] {
        let output = sim(&dir, &[&["prepare", "--format", format, option, value][..], &tables].concat());
        assert!(
            said(&output).contains(&format!("{option}: tables of --format {format} don't need it")),
            "{}",
            said(&output)
        );
    }
    assert!(!dir.join("t").exists());
}
