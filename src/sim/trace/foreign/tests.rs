//! Rows made to the published schemas, and a row of Google's trace of 2019 as published (CC-BY 4.0).

use std::io::Write;

use super::*;
use crate::sim::trace::{OddityKind, UsageWindow};

/// Load tables, each of one part; a part is gzipped if its name says so.
fn loaded(format: Format, events: &[&str], usage: &[&str], strict: bool) -> Result<Trace, SimError> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: String, text: &str| {
        let path = folder.path().join(name);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text.as_bytes()).unwrap();
        std::fs::write(&path, gz.finish().unwrap()).unwrap();
        path
    };
    let parts = |table: &str, texts: &[&str]| -> Vec<PathBuf> {
        texts.iter().enumerate().map(|(at, text)| write(format!("{table}-{at}.gz"), text)).collect()
    };
    let tables = CsvTables { events: parts("e", events), usage: parts("u", usage), checksums: true };
    let host = format.host().unwrap_or(Host { cpus: 1.0, memory_gb: 1.0 });
    load(format, host, &tables, strict, &|_| true, &|_| {})
}

fn counts(trace: &Trace) -> Vec<(OddityKind, u64)> {
    trace.oddities.counts().collect()
}

fn about(found: f64, wanted: f64) {
    assert!((found - wanted).abs() <= 1e-6 * wanted.abs(), "{found}, not {wanted}");
}

/// As `gsutil cp gs://clusterdata_2019_a/instance_usage-000000000000.json.gz` gives it, without the histograms.
const USAGE_2019: &str = r#"{"start_time":"1838400000000","end_time":"1838700000000","collection_id":"330587238433","instance_index":"111","machine_id":"23624491139","alloc_collection_id":"330587160469","alloc_instance_index":"111","collection_type":"0","average_usage":{"cpus":0.008392333984375,"memory":0.0094757080078125},"maximum_usage":{"cpus":0.04791259765625,"memory":0.019378662109375},"random_sample_usage":{"cpus":0.016632080078125},"assigned_memory":0,"page_cache_memory":0.0032196044921875,"cycles_per_instruction":0.89924430847167969,"memory_accesses_per_instruction":0.00151212012860924,"sample_rate":0.996666669845581}"#;

fn event_2019(time: i64, kind: u32, of: &str) -> String {
    format!(
        r#"{{"time":"{time}","type":"{kind}","collection_id":"330587238433",{of}"priority":"200","instance_index":"111","machine_id":"0","resource_request":{{"cpus":0.02,"memory":0.01}}}}"#
    )
}

#[test]
fn google_2019_is_read_in_any_order_of_its_rows() {
    let job = r#""collection_type":"0","#;
    // Parts of an export are in no order: the end comes first in the file.
    let rows = [
        event_2019(1_838_999_000_000, 6, job),
        event_2019(1_838_300_000_000, 3, job),
        event_2019(1_838_200_000_000, 0, job),
        event_2019(1_838_250_000_000, 2, job),
        event_2019(0, 0, r#""collection_type":"1","#),
    ];
    let trace = loaded(Format::Google2019, &[&rows.join("\n")], &[USAGE_2019], false).unwrap();
    let [task] = trace.tasks.as_slice() else { panic!("{:?}", trace.tasks) };
    assert_eq!((task.id.job, task.id.index), (330_587_238_433, 111));
    assert_eq!((task.submit_us, task.schedule_us), (Some(1_838_200_000_000), Some(1_838_300_000_000)));
    assert_eq!((task.end_us, task.request_cpus, task.priority), (Some(1_838_999_000_000), 0.02, 9));
    let window = UsageWindow {
        start_us: 1_838_400_000_000,
        cpu_mean: 0.008_392_334,
        cpu_max: 0.047_912_598,
        // No limit was recorded.
        memory: 0.009_475_708,
        accesses_per_instruction: 0.001_512_120_1,
    };
    assert_eq!(trace.windows, [window]);
    assert_eq!((trace.first_us, trace.last_us), (1_838_400_000_000, 1_838_700_000_000));
    assert_eq!(counts(&trace), [(OddityKind::Unmapped, 1)]);
    assert_eq!(trace.inputs.len(), 2);
    assert_eq!((trace.inputs[1].table.as_str(), trace.inputs[1].name.as_str()), ("instance_usage", "u-0.gz"));
}

#[test]
fn google_2019_as_csv_with_a_header_is_the_same() {
    let events = "time,type,collection_id,instance_index,collection_type,priority,resource_request.cpus\n\
                  600000000,SUBMIT,7,0,JOB,103,0.25\n600000000,SCHEDULE,7,0,JOB,103,\n";
    let usage = "start_time,end_time,collection_id,instance_index,average_usage_cpus,maximum_usage_cpus,assigned_memory,cpu_usage_distribution\n\
                 600000000,900000000,7,0,0.125,0.5,0.0625,\"[0.1,0.2]\"\n";
    let trace = loaded(Format::Google2019, &[events], &[usage], true).unwrap();
    assert_eq!((trace.tasks[0].request_cpus, trace.tasks[0].priority, trace.tasks[0].end_us), (0.25, 1, None));
    let window = trace.windows[0];
    assert_eq!((window.cpu_mean, window.cpu_max, window.memory), (0.125, 0.5, 0.0625));
    let headless = loaded(Format::Google2019, &["1,2,3\n"], &[usage], true).unwrap_err().to_string();
    assert!(headless.contains("e-0.gz:1: 3 fields; a CSV part needs a first line"), "{headless}");
}

/// Ids are 88 characters of base64, of which the first 16 tell VMs apart.
const VMS: [&str; 4] =
    ["71fJw0x+SDRdAxKPwLyHZhTgQpYw", "rKggHO/04j31UFy65mDTwtjdMQL", "YrR8gPtBmfNaOdnNEW5If1SdTq", "not base64!"];

#[test]
fn azure_vms_are_tasks_with_their_cores_as_request() {
    let row = |vm: usize, created, deleted, category, size| {
        format!("{},sub,dep,{created},{deleted},91.8,0.73,20.8,{category},{size}\n", VMS[vm])
    };
    let vmtable = [
        row(0, 0, 2_591_700, "Delay-insensitive", "8,32"),
        row(1, 600, 600, "Unknown", ">24,>64"),
        row(2, 300, 900, "Interactive", "2,4"),
        row(3, 0, 300, "Interactive", "2,4"),
    ];
    let readings: String = [(0, 0, 50.0, 25.0), (600, 1, 100.0, 50.0), (300, 2, 10.0, 5.0), (600, 2, 20.0, 10.0)]
        .iter()
        .map(|(time, vm, max, avg)| format!("{time},{},0.5,{max},{avg}\n", VMS[*vm as usize]))
        .collect();
    let trace = loaded(Format::Azure2019, &[&vmtable.concat()], &[&readings], true).unwrap();
    // A VM without a reading is no task, as in the other tables.
    assert_eq!(trace.tasks.len(), 3);
    let of = |priority| trace.tasks.iter().find(|task| task.priority == priority).unwrap();
    let (batch, unknown, interactive) = (of(0), of(4), of(9));
    assert_eq!((batch.submit_us, batch.schedule_us, batch.end_us), (Some(0), Some(0), None));
    assert_eq!(batch.request_cpus, 8.0 / 64.0);
    let window = trace.windows_of(batch)[0];
    assert_eq!((window.cpu_mean, window.cpu_max, window.memory), (0.25 * 0.125, 0.5 * 0.125, 32.0 / 512.0));
    // Within one reading it has lived for some of it.
    assert_eq!((unknown.end_us, unknown.request_cpus), (Some(900_000_000), 30.0 / 64.0));
    about(trace.windows_of(unknown)[0].memory.into(), 70.0 / 512.0);
    assert_eq!(interactive.end_us, Some(900_000_000));
    assert_eq!(
        trace.windows_of(interactive).iter().map(|it| it.start_us).collect::<Vec<_>>(),
        [300_000_000, 600_000_000]
    );
    assert_eq!((trace.first_us, trace.last_us), (0, 900_000_000));
}

#[test]
fn alibabas_batch_instances_may_move_and_its_containers_may_not() {
    let batch_task = "M1,2,j_3,1,Terminated,87076,87086,100.00,0.30\n";
    let batch_instance = "ins_74901673,M1,j_3,1,Terminated,87076,87086,m_2637,1,1,41,162,0.02,0.02\n\
                          ins_815802872,M1,j_3,1,Running,87080,0,m_3430,1,1,25,27,0.02,-1\n\
                          ins_5,M1,j_3,1,Waiting,0,0,,1,1,,,,\n\
                          ins_6,R2,j_3,1,Terminated,87076,87086,m_1,1,1,41,162,0.02,0.02\n";
    let container_meta = "c_1,m_2556,0,app_5052,started,400,400,1.56\nc_1,m_962,287942,app_5052,started,400,400,1.56\n";
    let container_usage = "c_1,m_2556,86430,8,51,1.5,0.1,1,,,4\nc_1,m_2556,86490,150,51,,,,,,\n";
    let trace =
        loaded(Format::Alibaba2018, &[batch_task, container_meta], &[batch_instance, container_usage], false).unwrap();
    let [first, second, container] = trace.tasks.as_slice() else { panic!("{:?}", trace.tasks) };
    assert_eq!((first.id.job, first.id.index, second.id.index), (3, 74_901_673, 815_802_872));
    let second_us = |s: i64| s * 1_000_000;
    assert_eq!((first.submit_us, first.end_us), (Some(second_us(87_076)), Some(second_us(87_086))));
    assert_eq!((second.submit_us, second.end_us), (Some(second_us(87_080)), None));
    assert_eq!((first.priority, container.priority), (0, 9));
    about(first.request_cpus, 1.0 / 96.0);
    let window = trace.windows_of(first)[0];
    about(window.cpu_mean.into(), 0.41 / 96.0);
    about(window.cpu_max.into(), 1.62 / 96.0);
    about(window.memory.into(), 0.0002);
    about(container.request_cpus, 4.0 / 96.0);
    assert_eq!((container.submit_us, container.end_us), (Some(0), None));
    let windows = trace.windows_of(container);
    about(windows[0].cpu_mean.into(), 0.08 * 4.0 / 96.0);
    about(windows[1].cpu_mean.into(), 1.5 * 4.0 / 96.0);
    about(windows[1].memory.into(), 0.0156);
    assert_eq!(counts(&trace), [(OddityKind::UsageWithoutEvents, 1), (OddityKind::Unmapped, 1)]);
}

#[test]
fn what_can_not_be_read_is_told_with_its_line_and_the_rest_is_used() {
    let good = event_2019(600_000_000, 3, "");
    for (format, events, usage, said) in [
        (Format::Google2019, "{\"time\":", USAGE_2019, "e-0.gz:1: EOF while parsing"),
        (
            Format::Google2019,
            &*format!("{good}\n{}", good.replace("\"3\"", "\"11\"")),
            USAGE_2019,
            "e-0.gz:2: type is '11'",
        ),
        (Format::Google2019, &*good.replace("0.02", "-1"), USAGE_2019, "resource_request.cpus is '-1', not a number"),
        (
            Format::Google2019,
            &good,
            &USAGE_2019.replace("1838700000000", "1"),
            "u-0.gz:1: the window ends at 1, before",
        ),
        (
            Format::Google2019,
            &good,
            &USAGE_2019.replace("330587238433", "5"),
            "task 5:111 has usage but no row in instance_events",
        ),
        (Format::Azure2017, "1,b,c\n", "", "e-0.gz:1: 3 fields; a row of vmtable has 11"),
        (Format::Azure2017, "vm,s,d,0,300,1,1,1,Busy,1,1.75\n", "", "vmcategory is 'Busy'"),
        (Format::Azure2017, "vm,s,d,0,300,1,1,1,Unknown,1,1.75\n", "0,vm,0,nan,1\n", "u-0.gz:1: maxcpu is 'nan'"),
        (Format::Azure2017, "vm,s,d,0,300,1,1,1,Unknown,1,1.75\n", "", "u-0.gz: no row"),
        (Format::Azure2017, "vmid,created\n", "", "e-0.gz: no row"),
        (Format::Alibaba2018, "x1\n", "", "e-0.gz:1: 1 fields; a row of batch_task has 9"),
        (
            Format::Alibaba2018,
            "M1,1,j_1,1,Terminated,1,2,100,1\n",
            "ins_1,M1,j_1,1,Terminated,1,2,m,1,1,1e9,1,1,1\n",
            "cpu_avg is '1e9'",
        ),
    ] {
        let strict = loaded(format, &[events], &[usage], true).unwrap_err();
        assert!(strict.to_string().contains(said), "{strict}");
        loaded(format, &[events], &[usage], false).unwrap();
    }
}

#[test]
fn shards_have_the_tasks_of_the_whole() {
    let rows = |index: u32, row: &str| row.replace("\"111\"", &format!("\"{index}\""));
    let event = event_2019(600_000_000, 3, "");
    let events: Vec<String> = (0..50).map(|index| rows(index, &event)).collect();
    let usage: Vec<String> = (0..50).map(|index| rows(index, USAGE_2019)).collect();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, rows: &[String]| {
        let path = folder.path().join(name);
        std::fs::write(&path, rows.join("\n")).unwrap();
        path
    };
    let tables = CsvTables {
        events: vec![write("e0", &events[..20]), write("e1", &events[20..])],
        usage: vec![write("u0", &usage[..31]), write("u1", &usage[31..])],
        checksums: false,
    };
    let host = Host { cpus: 1.0, memory_gb: 1.0 };
    let of =
        |keep: &(dyn Fn(TaskId) -> bool + Sync)| load(Format::Google2019, host, &tables, true, keep, &|_| {}).unwrap();
    let whole = of(&|_| true);
    let (even, odd) = (of(&|task| task.index % 2 == 0), of(&|task| task.index % 2 == 1));
    assert_eq!((whole.tasks.len(), even.tasks.len(), odd.tasks.len()), (50, 25, 25));
    assert_eq!((even.first_us, odd.last_us), (whole.first_us, whole.last_us));
}
