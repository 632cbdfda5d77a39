//! Machines with memory and cells of their own, as the command line takes them.
#![cfg(feature = "sim")]
// Test helpers may panic, like asserts.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{json, Value};

fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("shapes").join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vnuma-sim")).args(args).output().unwrap()
}

fn ok(args: &[&str]) -> String {
    let output = sim(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const CELLS: &str =
    "[[cells]]\ncount = 8\nmachines = [{ count = 3, cpu = 0.5, memory = 0.25 }, { count = 1, cpu = 1.0 }]\n\
                     [[cells]]\ncount = 4\nmachines = [{ count = 2, cpu = 0.5 }]\n";

#[test]
fn shards_of_cells_of_their_own_merge_to_the_whole() {
    let out = folder("cells");
    let shapes = out.join("cells.toml");
    fs::write(&shapes, CELLS).unwrap();
    let run = |more: &[&str]| ok(&[&["run", "--json", "--shapes", text(&shapes), "--memory"], more].concat());
    let whole = run(&["--out", text(&out), "--series", text(&out.join("series"))]);
    let shards = [0, 1, 2].map(|shard| {
        let path = out.join(format!("{shard}.json"));
        fs::write(&path, run(&["--shard", &format!("{shard}/3")])).unwrap();
        path
    });
    assert_eq!(ok(&["merge", "--json", text(&shards[2]), text(&shards[0]), text(&shards[1])]), whole);
    let result: Value = serde_json::from_slice(&fs::read(out.join("result.json")).unwrap()).unwrap();
    assert_eq!((&result["parameters"]["machines"], &result["parameters"]["cell"]), (&json!(40), &json!(4)));
    let cells = result["cells"].as_array().unwrap();
    let sizes: Vec<usize> = cells.iter().map(|cell| cell["busy_cpu_s"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [[4; 8].as_slice(), &[2; 4]].concat());
    let had: Vec<f64> = cells[0]["memory"]["had_s"].as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect();
    assert_eq!([had[0] / had[3], had[1] / had[3], had[2] / had[3]], [0.5; 3]);
    // Tasks stay in their cell.
    let machines = fs::read_to_string(out.join("series/machines.csv")).unwrap();
    let machine_38 = machines.lines().find(|line| line.starts_with("38,")).unwrap();
    assert!(machine_38.starts_with("38,11,"), "{machine_38}");
    assert!(fs::metadata(out.join("series/tasks.csv")).unwrap().len() > 0);
    let damaged = fs::read_to_string(&shards[0]).unwrap().replacen("\"used_s\":[", "\"used_s\":[1e9,", 1);
    fs::write(&shards[0], damaged).unwrap();
    let output = sim(&["merge", text(&shards[0]), text(&shards[1]), text(&shards[2])]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("memory of its machines"), "{said}");
}

#[test]
fn memory_of_machine_events_counts_once_memory_is_limited() {
    let out = folder("events");
    let events = out.join("machine_events.csv");
    let rows: String = (0..40).map(|id| format!("0,{id},0,,0.5,{}\n", if id < 20 { 0.25 } else { 0.5 })).collect();
    fs::write(&events, rows).unwrap();
    let shapes = |more: &[&str]| -> Value {
        let folder = out.join(more.join("-"));
        ok(&[&["run", "--shapes", text(&events), "--out", text(&folder)], more].concat());
        let result: Value = serde_json::from_slice(&fs::read(folder.join("result.json")).unwrap()).unwrap();
        result["parameters"]["models"]["shapes"]["machines"].clone()
    };
    assert_eq!(shapes(&["--policy=none"]), json!([{"count": 40, "cpu": 0.5}]));
    let with = json!([{"count": 20, "cpu": 0.5, "memory": 0.25}, {"count": 20, "cpu": 0.5, "memory": 0.5}]);
    assert_eq!(shapes(&["--policy=none", "--memory"]), with);
}

#[test]
fn less_memory_lets_fewer_tasks_run_and_a_sweep_may_vary_it() {
    let points: Value =
        serde_json::from_str(&ok(&["sweep", "--json", "--seeds", "1", "--vary", "memory=0.05,0.5"])).unwrap();
    let of = |memory: f64, name: &str| {
        let is_it = |point: &&Value| point["varied"]["memory"] == json!(memory) && point["policy"] == "none";
        points.as_array().unwrap().iter().find(is_it).unwrap()[name].as_f64().unwrap()
    };
    assert!(of(0.05, "finished") < of(0.5, "finished"));
    assert!(of(0.05, "memory_utilisation") > of(0.5, "memory_utilisation"));
}

#[test]
fn shapes_that_mean_nothing_are_refused_by_what_is_wrong() {
    let out = folder("bad");
    for (name, shapes, more, said) in [
        ("both", format!("[[machines]]\ncount = 1\ncpu = 1\n{CELLS}"), None, "either [[machines]] or [[cells]]"),
        ("empty", String::new(), None, "either [[machines]] or [[cells]]"),
        ("none", "[[cells]]\ncount = 3\nmachines = []\n".to_owned(), None, "a cell has no machine"),
        ("key", CELLS.replace("memory", "ram"), None, "key.toml:3: unknown field `ram`"),
        ("cell", CELLS.to_owned(), Some("--cell=3"), "--cell: the file of --shapes has cells of its own"),
        ("memory", CELLS.to_owned(), Some("--memory=0"), "--memory 0: must be above 0"),
        ("set", CELLS.to_owned(), Some("--working-set=1.5"), "--working-set 1.5"),
        ("huge", CELLS.replace("count = 8", "count = 4294967295"), None, "--machines 4294967295: must be at most"),
    ] {
        let path = out.join(format!("{name}.toml"));
        fs::write(&path, shapes).unwrap();
        let args = ["run", "--shapes", text(&path)];
        let output = sim(&[&args[..], more.as_slice()].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(said), "{name}: {error}");
    }
}
