//! Experiments: the example runs, is resumed, and names mistakes; and the decision log that comes with the project.
#![cfg(feature = "sim")]
// Test helpers may panic, like asserts.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("experiment").join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn sim(args: &[&str], paths: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vnuma-sim")).args(args).args(paths).output().unwrap()
}

fn experiment(file: &Path, out: &Path) -> (String, String) {
    let output = sim(&["experiment"], &[file, Path::new("--out"), out]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    (String::from_utf8(output.stdout).unwrap(), said)
}

/// The files of a folder, with their bytes and when they were last written.
fn files(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let files = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), (fs::read(&path).unwrap(), path.metadata().unwrap().modified().unwrap()))).collect()
}

#[test]
fn the_example_is_a_sweep_and_is_resumed_where_it_was_interrupted() {
    let out = folder("example");
    let example = project("examples/experiment.toml");
    let (first, _) = experiment(&example, &out);
    let sweep = fs::read(out.join("sample/sweep.json")).unwrap();
    let page = fs::read_to_string(out.join("sample/report.html")).unwrap();
    assert!(page.contains("Varying cell") && first.starts_with("# sample\n"), "{first}");
    let parsed: Value = serde_json::from_slice(&sweep).unwrap();
    // Six combinations under five policies, with four seeds each.
    let points = parsed["points"].as_array().unwrap();
    assert_eq!(points.len(), 6 * 5);
    assert!(points.iter().all(|point| point["runs"].as_array().unwrap().len() == 4));

    // The same figures as those of a sweep.
    let args = ["sweep", "--vary", "cell=2,4", "--vary", "overcommit=0.8..1.2:0.2", "--seeds", "4", "--json"];
    let swept: Value = serde_json::from_slice(&sim(&args, &[]).stdout).unwrap();
    let swept: Vec<&Value> = swept.as_array().unwrap().iter().filter(|point| point["policy"] == "coarse").collect();
    let coarse: Vec<&Value> = points.iter().filter(|point| point["parameters"]["policy"] == "coarse").collect();
    assert_eq!((swept.len(), coarse.len()), (6, 6));
    for (swept, point) in swept.iter().zip(coarse) {
        let runs = point["runs"].as_array().unwrap();
        let mean = runs.iter().map(|run| run["cpu_utilisation"].as_f64().unwrap()).sum::<f64>() / 4.0;
        assert!((swept["cpu_utilisation"].as_f64().unwrap() - mean).abs() < 1e-12);
    }

    // One piece is lost, and another one damaged.
    let pieces = files(&out.join("sample/pieces"));
    assert_eq!(pieces.len(), 24);
    let (lost, damaged) = (pieces.keys().next().unwrap(), pieces.keys().nth(1).unwrap());
    fs::remove_file(lost).unwrap();
    let text = fs::read_to_string(damaged).unwrap();
    fs::write(damaged, text.replace("\"gini\":0.", "\"gini\":0.9")).unwrap();
    let (again, said) = experiment(&example, &out);
    assert!(said.contains("sample: 22 of 24 pieces are finished already"), "{said}");
    assert!(said.contains("it is not as it was written; it is run again"), "{said}");
    assert_eq!((again, fs::read(out.join("sample/sweep.json")).unwrap()), (first, sweep));
    for (path, (bytes, written)) in files(&out.join("sample/pieces")) {
        assert_eq!(bytes, pieces[&path].0, "{}", path.display());
        assert_eq!(written == pieces[&path].1, path != *lost && path != *damaged, "{}", path.display());
    }
}

#[test]
fn pieces_of_a_trace_that_has_changed_are_not_used() {
    let dir = folder("changed");
    let file = dir.join("e.toml");
    let trace = dir.join("t.parquet");
    fs::write(&file, "policies = ['coarse']\nseeds = 1\n[traces.t]\ntrace = 't.parquet'\noptions.machines = 8\n")
        .unwrap();
    let synthesise = |seed| {
        let args = ["synthesise", "--machines", "8", "--hours", "1", "--seed", seed, "--out"];
        assert!(sim(&args, &[&trace]).status.success());
    };
    let mut results = Vec::new();
    for seed in ["1", "2", "1"] {
        synthesise(seed);
        let (_, said) = experiment(&file, &dir.join("out"));
        // The first trace's piece is still there when it comes back.
        assert_eq!(said.contains("1 of 1 pieces"), results.len() == 2, "{said}");
        results.push(fs::read(dir.join("out/t/sweep.json")).unwrap());
    }
    assert_ne!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
}

#[test]
fn a_mistake_is_told_with_its_line_before_anything_runs() {
    let dir = folder("mistakes");
    let sample = "[traces.sample]\nsample = true\n";
    for (text, said) in [
        ("seeds = 1\noverlap = 3\n", "e.toml:2: overlap: there is no key 'overlap'; there are policies"),
        ("[vary]\novercomit = [1]\n", "e.toml:2: there is no option 'overcomit'; did you mean 'overcommit'?"),
        ("baseline = 'fine'\n", "baseline: 'fine' is not run; none, coarse, fine memory, auto are"),
        ("[vary]\ncell = [4, 0]\n", "--cell 0: must be at least 1"),
        ("seeds = \n", "e.toml:1: "),
    ] {
        fs::write(dir.join("e.toml"), format!("{text}{sample}")).unwrap();
        let output = sim(&["experiment"], &[&dir.join("e.toml"), Path::new("--out"), &dir.join("out")]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && message.contains(said), "{text}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(!dir.join("out").exists());
    }
}

#[test]
fn the_demos_log_is_replayed_as_it_was_decided() {
    let log = project("data/decisions/demo.jsonl.gz");
    let text = |args: &[&str]| String::from_utf8(sim(args, &[&log]).stdout).unwrap();
    let same = text(&["replay", "--policy", "auto"]);
    assert!(
        same.ends_with(
            "\n102 rounds, 0 differ; auto: 25 groups, 4.292 CPUs, 2.232e7 B; auto: 25 groups, 4.292 CPUs, 2.232e7 B\n"
        ),
        "{same}"
    );
    assert!(text(&["replay", "--policy", "coarse"]).contains("102 rounds, 13 differ"));
    assert!(text(&["replay", "--policy", "none", "--follow"]).starts_with("102 rounds, 0 moves of 0 groups"));
}

#[test]
fn advice_on_the_demos_log_keeps_its_settings_and_says_what_it_cannot_know() {
    let log = project("data/decisions/demo.jsonl.gz");
    let output = |args: &[&str]| String::from_utf8(sim(args, &[&log]).stdout).unwrap();
    let text = output(&["advise"]);
    for part in [
        "102 rounds in 49 s under auto: the work used 2.85 CPU",
        "\nnothing moves ",
        "\ndrain 1 (3 nodes left) ",
        "\nKeep the log's settings: none of the others is better",
        "\n- How others would have reacted.",
        "it is 0.38 CPU off from what was",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let advice: Value = serde_json::from_str(&output(&["advise", "--json"])).unwrap();
    assert_eq!((&advice["rounds"], &advice["same_rounds"], &advice["best"]), (&102.into(), &102.into(), &Value::Null));
    assert_eq!(advice["settings"][1]["verdict"], "worse");
}

#[test]
fn advice_names_what_is_wrong_with_a_log() {
    let dir = folder("advice");
    for (name, text, said) in [
        ("none.jsonl", "", "the file is empty"),
        ("other.jsonl", "{\"format\":\"x\",\"version\":1,\"policy\":\"auto\"}\n", "the file is 'x' version 1"),
        (
            "short.jsonl",
            "{\"format\":\"scx_vnuma decisions\",\"version\":1,\"policy\":\"auto\"}\n",
            "the log has no round: let scx_vnuma run for longer",
        ),
    ] {
        fs::write(dir.join(name), text).unwrap();
        let output = sim(&["advise"], &[&dir.join(name)]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && message.contains(name) && message.contains(said), "{message}");
    }
}
