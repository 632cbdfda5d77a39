//! The simulator's commands as scripts call them, on the sample trace and on synthetic ones.
#![cfg(feature = "sim")]
// Test helpers may panic, like asserts.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use scx_vnuma::cell::{CellView, Demand, Group, GroupId, Node, NodeId, Plan, Pressure};
use scx_vnuma::decision_log::{Header, LogWriter};
use serde_json::{json, Value};

fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cli").join(name);
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

fn parsed(args: &[&str]) -> Value {
    serde_json::from_str(&ok(args)).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn compare_runs_every_policy_and_order_and_draws_them() {
    let out = folder("compare");
    let compared = parsed(&["compare", "--json", "--out", text(&out)]);
    let names: Vec<(&str, Option<&str>)> = compared
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (run["policy"].as_str().unwrap(), run["order"].as_str()))
        .collect();
    let orders = ["none", "request", "cpu", "memory", "cpu-desc", "mai"].map(|order| ("fine", Some(order)));
    let thesis = [[("none", None), ("coarse", None)].as_slice(), orders.as_slice()].concat();
    assert_eq!(names, [thesis.as_slice(), &[("auto", None)]].concat());
    let html = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(html.contains("Synthetic"), "the report doesn't mark synthetic data");
    assert!(
        !html.contains("http://")
            || html.matches("http://").count() == html.matches("http://www.w3.org/2000/svg").count()
    );
    assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
}

#[test]
fn a_sweep_runs_the_product_of_two_options() {
    let points = parsed(&[
        "sweep",
        "--json",
        "--vary",
        "overcommit=0.9..1.1:0.1",
        "--vary",
        "machines=38..40:2",
        "--seeds",
        "1",
    ]);
    assert_eq!(points.as_array().unwrap().len(), 3 * 2 * 4);
    let point = points
        .as_array()
        .unwrap()
        .iter()
        .find(|point| point["varied"] == json!({"overcommit": 1.0, "machines": 40.0}) && point["policy"] == "coarse")
        .unwrap();
    let run = parsed(&["run", "--json", "--policy", "coarse"]);
    assert_eq!(point["cpu_utilisation"], run["cpu_utilisation"]);
}

#[test]
fn a_sweep_over_cell_sizes_draws_each_policy_and_what_it_costs() {
    let out = folder("cells");
    ok(&["sweep", "--vary", "cell=2,4,8", "--out", text(&out)]);
    let html = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(html.contains("Varying cell"));
    for label in ["coarse", "auto", "Gini coefficient", "Network"] {
        assert!(html.contains(label), "{label}");
    }
}

#[test]
fn a_comparison_over_seeds_has_the_means_of_its_runs_and_their_intervals() {
    let all = parsed(&["compare", "--json", "--seeds", "3", "--seed", "5"]);
    let alone = ["5", "6", "7"].map(|seed| parsed(&["compare", "--json", "--seeds", "1", "--seed", seed]));
    for (at, of_policy) in all.as_array().unwrap().iter().enumerate() {
        let ginis = alone.each_ref().map(|runs| runs[at]["gini"].as_f64().unwrap());
        assert_eq!(of_policy["seeds"], 3);
        assert!((of_policy["gini"].as_f64().unwrap() - ginis.iter().sum::<f64>() / 3.0).abs() < 1e-12);
        assert!(of_policy["half_interval"]["gini"].as_f64().unwrap() > 0.0);
        assert_eq!(of_policy["difference"]["to"].is_null(), of_policy["policy"] == "none");
        let differences =
            alone.each_ref().map(|runs| runs[at]["gini"].as_f64().unwrap() - runs[0]["gini"].as_f64().unwrap());
        let wanted = differences.iter().sum::<f64>() / 3.0;
        let difference = of_policy["difference"]["gini"]["mean"].as_f64().unwrap_or(0.0);
        assert!((difference - wanted).abs() < 1e-12, "{difference} {wanted}");
        assert!(alone[0][at]["half_interval"].is_null() && alone[0][at]["difference"].is_null());
    }
    let run = parsed(&["run", "--json", "--policy", "auto", "--seed", "6"]);
    let compared = alone[1].as_array().unwrap().last().unwrap();
    for (name, value) in run.as_object().unwrap() {
        assert_eq!(&compared[name], value, "{name}");
    }
}

#[test]
fn a_comparison_says_which_of_its_rankings_are_noise() {
    let said = ok(&["compare", "--baseline", "fine-memory"]);
    assert!(said.contains("Means over 10 placements") && said.contains("Differences to fine memory"), "{said}");
    let ranking = said.lines().rfind(|line| line.starts_with("gini")).unwrap();
    assert!(ranking.contains(" ≈ ") && ranking.ends_with(" < none"), "{ranking}");
    assert!(!ok(&["compare", "--seeds", "1"]).contains('≈'));
    let output = sim(&["compare", "--baseline", "rotate"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--baseline rotate: this policy is not run; none, coarse"));
}

#[test]
fn durations_are_compared_over_tasks_that_finish_under_every_policy() {
    let compared = parsed(&["compare", "--json", "--seeds", "1"]);
    let alone = parsed(&["sweep", "--json", "--seeds", "1", "--vary", "policy=none"]);
    let runs = compared.as_array().unwrap();
    let by_all = runs[0]["finished_by_all"].as_u64().unwrap();
    assert!(by_all > 0);
    for run in runs {
        assert_eq!(run["finished_by_all"], by_all);
        assert!(run["finished"].as_u64().unwrap() >= by_all);
    }
    assert_eq!(alone[0]["finished_by_all"], alone[0]["finished"]);
    // The same tasks, added in another order.
    let durations = ["duration_by_all_s", "duration_s"].map(|name| alone[0][name].as_f64().unwrap());
    assert!((durations[0] - durations[1]).abs() < 1e-6, "{durations:?}");
}

#[test]
fn a_sweep_over_seeds_is_not_repeated_with_others() {
    let points = parsed(&["sweep", "--json", "--vary", "seed=3,4"]);
    assert_eq!(points[0]["seeds"], 1);
    let output = sim(&["sweep", "--vary", "seed=3,4", "--seeds", "2"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("varies the seed already"));
}

#[test]
fn results_of_an_earlier_format_are_refused_with_the_remedy() {
    let out = folder("earlier");
    ok(&["run", "--out", text(&out)]);
    let path = out.join("result.json");
    let written = fs::read_to_string(&path).unwrap().replace("vnuma-sim result 2", "vnuma-sim result 1");
    fs::write(&path, written).unwrap();
    let page = out.join("report.html");
    for command in [&["merge"][..], &["report", "--out", text(&page)]] {
        let output = sim(&[command, &[text(&path)]].concat());
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("'vnuma-sim result 1', not 'vnuma-sim result 2'; create it with `vnuma-sim run`"),
            "{said}"
        );
    }
    fs::write(&path, "{\"format\": \"vnuma-sim sweep 1\"}").unwrap();
    let said = String::from_utf8(sim(&["report", "--out", text(&page), text(&path)]).stderr).unwrap();
    assert!(said.contains("not 'vnuma-sim sweep 2'; create it with `vnuma-sim compare`, `sweep` or"), "{said}");
}

#[test]
fn a_report_names_its_inputs_and_marks_all_that_belongs_to_a_policy() {
    let out = folder("report");
    ok(&["compare", "--seeds", "2", "--out", text(&out)]);
    let result: Value = serde_json::from_slice(&fs::read(out.join("none.json")).unwrap()).unwrap();
    ok(&["sweep", "--vary", "cell=2,4", "--seeds", "1", "--out", text(&out.join("sweep"))]);
    ok(&["report", "--out", text(&out.join("run.html")), text(&out.join("none.json"))]);
    for page in ["report.html", "sweep/report.html", "run.html"] {
        let html = fs::read_to_string(out.join(page)).unwrap();
        for input in result["inputs"].as_array().unwrap() {
            assert!(html.contains(input["sha256"].as_str().unwrap()), "{page}");
        }
        assert!(html.contains("default-src 'none'") && !html.contains("fine none"), "{page}");
    }
    let html = fs::read_to_string(out.join("report.html")).unwrap();
    for policy in ["none", "coarse", "fine unsorted", "fine cpu-desc", "auto"] {
        // A heat map, a row of the table, and a dot or a line in each chart of what it does.
        let parts = html.matches(&format!("data-policy=\"{policy}\"")).count();
        assert!(html.contains(&format!("<details data-policy=\"{policy}\"")) && parts > 1, "{policy}: {parts}");
    }
}

#[test]
fn an_unknown_option_cannot_be_varied() {
    let output = sim(&["sweep", "--vary", "colour=red,blue"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--vary colour"));
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("vnuma-sim: fatal: ") && !said.contains("Usage"), "{said}");
}

#[test]
fn values_too_large_for_any_machine_are_refused_in_one_sentence() {
    let refused: [&[&str]; 7] = [
        &["--interval", "1ns"],
        &["--capacity", "1e308"],
        &["--machines", "4000000000"],
        &["--machine-memory", "1000000TiB"],
        &["--overcommit", "inf"],
        &["--end", "1e300"],
        &["--threads", "100000"],
    ];
    for options in refused {
        let output = sim(&[&["run"], options].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(1 | 2)) && said.contains(options[0]), "{options:?}: {said}");
    }
}

#[test]
fn a_report_of_all_files_of_compare_draws_its_runs() {
    let out = folder("report-glob");
    ok(&["compare", "--out", text(&out)]);
    let path = |name: &str| text(&out.join(name)).to_owned();
    ok(&["report", &path("compare.json"), &path("none.json"), &path("fine-memory.json"), "--out", &path("two.html")]);
    let html = fs::read_to_string(out.join("two.html")).unwrap();
    assert!(html.contains("<td>none</td>") && html.contains("<td>fine memory</td>"));
}

#[test]
fn an_order_may_be_given_by_name_or_number() {
    assert_eq!(ok(&["run", "--json", "--order", "5"]), ok(&["run", "--json", "--policy", "fine", "--order", "mai"]));
}

#[test]
fn csv_parquet_and_merged_shards_of_a_synthetic_trace_give_the_same_bytes() {
    let out = folder("synthetic");
    let path = |name: &str| text(&out.join(name)).to_owned();
    ok(&["synthesise", "--machines", "20", "--hours", "1", "--seed", "7", "--out", &path("csv")]);
    let csv = ["--events", &path("csv"), "--usage", &path("csv")];
    let cluster = ["--machines", "20", "--policy", "fine"];
    ok(&[&["run", "--strict", "--out", &path("from-csv")], &csv[..], &cluster[..]].concat());
    ok(&[&["prepare", "--out", &path("t.parquet"), "--shards", "3", "--machines", "20"], &csv[..]].concat());
    ok(&[&["run", "--trace", &path("t.parquet"), "--out", &path("from-parquet")], &cluster[..]].concat());
    let whole = fs::read(out.join("from-csv/result.json")).unwrap();
    assert!(whole == fs::read(out.join("from-parquet/result.json")).unwrap(), "CSV and Parquet differ");
    for shard in ["0/3", "1/3", "2/3"] {
        let printed = ok(&[&["run", "--trace", &path("t.parquet"), "--json", "--shard", shard], &cluster[..]].concat());
        fs::write(out.join(format!("{}.json", &shard[..1])), printed).unwrap();
    }
    ok(&["merge", &path("2.json"), &path("0.json"), &path("1.json"), "--out", &path("merged")]);
    assert!(whole == fs::read(out.join("merged/result.json")).unwrap(), "merged shards and the whole differ");
    ok(&["report", &path("merged/result.json"), "--out", &path("report.html")]);
    assert!(fs::read_to_string(out.join("report.html")).unwrap().contains("--machines 20 --hours 1 --seed 7"));
}

#[test]
fn a_synthetic_trace_is_the_same_as_parquet_and_as_csv() {
    let out = folder("synthetic-parquet");
    let path = |name: &str| text(&out.join(name)).to_owned();
    let drawn = ["synthesise", "--machines", "20", "--hours", "1", "--out"];
    ok(&[&drawn[..], &[&path("csv")]].concat());
    ok(&[&drawn[..], &[&path("t.parquet"), "--shards", "2"]].concat());
    let run = ["run", "--json", "--machines", "20"];
    let csv = ok(&[&run[..], &["--events", &path("csv"), "--usage", &path("csv")]].concat());
    let parquet = ok(&[&run[..], &["--trace", &path("t.parquet")]].concat());
    assert_eq!(csv, parquet);
}

#[test]
fn a_folder_in_place_of_a_result_is_told_with_the_remedy() {
    let folder = folder("folder-as-result");
    for args in [["merge", text(&folder)].as_slice(), &["report", text(&folder), "--out", "never.html"]] {
        let output = sim(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains("name those in it, such as result.json"), "{said}");
    }
}

#[test]
fn shards_of_different_runs_do_not_merge() {
    let out = folder("different");
    for (shard, seed) in [("0/2", "1"), ("1/2", "2")] {
        let printed = ok(&["run", "--json", "--shard", shard, "--seed", seed]);
        fs::write(out.join(format!("{seed}.json")), printed).unwrap();
    }
    let output = sim(&["merge", text(&out.join("1.json")), text(&out.join("2.json"))]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("parameters differ"));
    let output = sim(&["merge", text(&out.join("1.json"))]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("missing: [1]"));
}

#[test]
fn a_file_that_is_not_a_prepared_trace_is_refused() {
    let out = folder("no-parquet");
    fs::write(out.join("t.parquet"), "PAR1 nothing of the kind PAR1").unwrap();
    let output = sim(&["run", "--trace", text(&out.join("t.parquet"))]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("t.parquet"));
}

/// A log of two rounds of a cell in which node 0 is under pressure and runs two groups. Its policy moved nothing.
fn decision_log() -> Vec<u8> {
    let node = |id, load_cpus| {
        let pressure = Pressure::Fresh { share: load_cpus / 10.0 };
        Node { id: NodeId(id), capacity_cpus: 8.0, pressure, load_cpus, ..Node::default() }
    };
    let group = |id| {
        let demand = Demand { usage_cpus: 0.5, memory_bytes: 1e9, ..Demand::default() };
        Group { id: GroupId(id), node: NodeId(0), nr_tasks: 1, demand, ..Group::default() }
    };
    let view = |nodes, groups| CellView { nodes, groups, ..CellView::default() };
    let pressed = view(vec![node(0, 7.0), node(1, 1.0), node(2, 2.0)], vec![group(1), group(2)]);
    let calm = view(vec![node(0, 1.0), node(1, 1.0), node(2, 2.0)], Vec::new());
    let mut bytes = Vec::new();
    let mut log = LogWriter::new(&mut bytes, &Header::new("auto", None)).unwrap();
    log.append(1, &pressed, &Plan::default(), None).unwrap();
    log.append(2, &calm, &Plan::default(), None).unwrap();
    bytes
}

#[test]
fn replay_shows_what_another_policy_would_have_decided() {
    let path = folder("replay").join("decisions.jsonl");
    fs::write(&path, decision_log()).unwrap();
    let replayed = ok(&["replay", text(&path), "--policy", "coarse", "--json"]);
    let rounds: Vec<Value> = replayed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rounds[0]["same"], false);
    assert_eq!(rounds[0]["replayed"]["groups"], 2);
    assert_eq!(rounds[0]["replayed_plan"]["moves"][0]["to"], 1);
    assert_eq!(rounds[1]["same"], true);
    let table = ok(&["replay", text(&path), "--policy", "coarse"]);
    assert!(table.contains("2 rounds, 1 differ"), "{table}");
    assert!(ok(&["replay", text(&path), "--policy", "none"]).contains("0 differ"));
}

#[test]
fn replay_names_the_line_at_which_a_log_is_truncated() {
    let path = folder("replay-cut").join("decisions.jsonl");
    let log = decision_log();
    fs::write(&path, &log[..log.len() - 5]).unwrap();
    let output = sim(&["replay", text(&path)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 3"));
}

/// The names in a folder, hidden ones too.
fn names(folder: &Path) -> Vec<String> {
    let names = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn an_interrupted_prepare_leaves_the_old_file_and_nothing_else() {
    let folder = folder("interrupted");
    let out = folder.join("t.parquet");
    fs::write(&out, "old").unwrap();
    let fifo = folder.join("usage.fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample");
    // It waits for the usage table for ever.
    let mut child = Command::new("env")
        // The tests may run where INT is ignored.
        .args(["--default-signal", env!("CARGO_BIN_EXE_vnuma-sim")])
        .args(["prepare", "--out", text(&out), "--events", text(&sample), "--usage", text(&fifo)])
        .spawn()
        .unwrap();
    let began = std::time::Instant::now();
    while names(&folder).len() < 3 {
        assert!(began.elapsed().as_secs() < 20, "{:?}", names(&folder));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // SAFETY: kill has no memory effects; the child has not been waited for, so its id is its own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(names(&folder), ["t.parquet", "usage.fifo"]);
    assert_eq!(fs::read(&out).unwrap(), b"old");
}

#[test]
fn a_prepare_that_fails_leaves_the_old_file_and_nothing_else() {
    let folder = folder("failing");
    let out = folder.join("t.parquet");
    fs::write(&out, "old").unwrap();
    fs::write(folder.join("usage.csv"), "1,2,3\n").unwrap();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample");
    let usage = folder.join("usage.csv");
    let output = sim(&["prepare", "--out", text(&out), "--events", text(&sample), "--usage", text(&usage)]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((names(&folder).len(), fs::read(&out).unwrap()), (2, b"old".to_vec()));
}

#[test]
fn a_full_disk_is_told_as_such_and_not_as_a_damaged_trace() {
    let output = sim(&["prepare", "--out", "/dev/full", "--events", "data/sample", "--usage", "data/sample"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.trim_end(), "vnuma-sim: fatal: /dev/full: No space left on device (os error 28)");
}

#[test]
fn synthetic_parts_are_not_mixed_with_others() {
    let folder = folder("mixed");
    ok(&["synthesise", "--machines", "2", "--hours", "1", "--out", text(&folder)]);
    assert!(fs::read_to_string(folder.join("PROVENANCE")).unwrap().contains("Synthetic"));
    ok(&["synthesise", "--machines", "3", "--hours", "1", "--out", text(&folder)]);
    fs::write(folder.join("task_usage/part-00001-of-00002.csv.gz"), "").unwrap();
    let output = sim(&["synthesise", "--machines", "2", "--hours", "1", "--out", text(&folder)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("part-00001-of-00002.csv.gz: a part of another trace"));
    assert!(fs::read_to_string(folder.join("PROVENANCE")).unwrap().contains("--machines 3"));
}

#[test]
fn a_report_of_a_single_shard_is_refused() {
    let out = folder("report-of-shard");
    ok(&["run", "--shard", "0/2", "--out", text(&out)]);
    let page = out.join("report.html");
    let output = sim(&["report", "--out", text(&page), text(&out.join("result.json"))]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("it is shard 0/2 of a run; draw what `merge` makes"));
    assert!(!page.exists());
}

#[test]
fn a_report_of_an_impossible_figure_is_refused_at_once() {
    let out = folder("impossible");
    ok(&["sweep", "--vary", "order=cpu,memory", "--out", text(&out)]);
    let path = out.join("sweep.json");
    let mut sweep: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    sweep["points"][1]["runs"][0]["overcommit"] = json!(1e308);
    fs::write(&path, sweep.to_string()).unwrap();
    let output = sim(&["report", "--out", text(&out.join("again.html")), text(&path)]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("sweep.json: point 1: overcommit is 1e308, which no run gives"), "{said}");
}

#[test]
fn shards_with_every_model_merge_to_the_whole_and_are_drawn() {
    let out = folder("models");
    let shapes = out.join("shapes.toml");
    fs::write(&shapes, "[[machines]]\ncount = 20\ncpu = 0.5\n[[machines]]\ncount = 20\ncpu = 1.0\n").unwrap();
    let models = ["--shapes", text(&shapes), "--lc", "--link", "1GB", "--sharing", "1000", "--sensing-noise", "0.05"];
    let run = |more: &[&str]| ok(&[&["run", "--json"], models.as_slice(), more].concat());
    let whole = run(&["--out", text(&out)]);
    let shards = [0, 1].map(|shard| {
        let path = out.join(format!("{shard}.json"));
        fs::write(&path, run(&["--shard", &format!("{shard}/2")])).unwrap();
        path
    });
    assert_eq!(ok(&["merge", "--json", text(&shards[0]), text(&shards[1])]), whole);
    let compared = ok(&[&["compare", "--seeds", "1"], models.as_slice(), &["--out", text(&out)]].concat());
    assert!(compared.contains("lc_slowdown_p99") && compared.contains("page_wait_share"), "{compared}");
    assert!(fs::read_to_string(out.join("report.html")).unwrap().contains("lc_<wbr>slowdown_<wbr>p99"));
    assert!(!ok(&["compare", "--seeds", "1"]).contains("lc_slowdown_p99"));
}

#[test]
fn settings_of_models_that_mean_nothing_are_refused_by_option_and_line() {
    let shapes = folder("bad-models").join("shapes.toml");
    fs::write(&shapes, "[[machines]]\ncount = 2\ncpus = 1\n").unwrap();
    for (options, said) in [
        (["--shapes", text(&shapes)], "shapes.toml:3: unknown field `cpus`"),
        (["--lc-cpus", "3"], "without --lc"),
        (["--sensing-blind", "2"], "--sensing-blind 2"),
        (["--link", "0"], "--link 0"),
    ] {
        let output = sim(&[&["run"], options.as_slice()].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(said), "{options:?}: {error}");
    }
}
