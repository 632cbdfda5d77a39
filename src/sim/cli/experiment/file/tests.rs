use super::*;

fn parsed(text: &str) -> Result<Plan, String> {
    let table = DeTable::parse(text).map_err(|error| error.to_string())?;
    plan(table.get_ref(), Path::new("dir")).map_err(|(span, what)| format!("{}: {what}", &text[span]))
}

#[test]
fn a_file_is_what_it_says() {
    let text = r#"
        policies = ["none", "fine"]
        orders = ["memory", "mai"]
        seeds = 3
        baseline = "none"
        options.interval = "2min"
        vary.overcommit = "0.5..1.0:0.25"
        vary.cell = [2, 4]
        [traces.raw]
        events = "events"
        usage = ["a", "/b"]
        options.machines = 12
        [traces.sample]
        sample = true
        [traces.week]
        trace = "week.parquet"
        strict = true
    "#;
    let plan = parsed(text).unwrap();
    let labels: Vec<String> = plan
        .policies
        .iter()
        .map(|(name, order)| format!("{name} {}", order.map_or(String::new(), |it| it.to_string())))
        .collect();
    assert_eq!(labels, ["none ", "fine memory", "fine mai"]);
    assert_eq!((plan.seeds, plan.baseline.as_deref()), (3, Some("none")));
    let vary: Vec<(&str, Vec<&str>)> =
        plan.vary.iter().map(|it| (it.option.as_str(), it.values.iter().map(String::as_str).collect())).collect();
    assert_eq!(vary, [("cell", vec!["2", "4"]), ("overcommit", vec!["0.50", "0.75", "1.00"])]);
    let [raw, sample, week] = plan.traces.as_slice() else { panic!("{:?}", plan.traces) };
    assert!(
        matches!(&raw.source, Source::Tables { events, usage } if events == &["dir/events"] && usage == &["dir/a", "/b"])
    );
    assert!(matches!(sample.source, Source::Sample) && !sample.strict);
    assert!(matches!(&week.source, Source::Prepared(path) if path == Path::new("dir/week.parquet")) && week.strict);
    let of = |trace: &TracePlan| trace.model.params(false).unwrap();
    assert_eq!((of(raw).machines, of(raw).interval_s), (12, 120.0));
    assert_eq!((of(week).machines, of(week).interval_s), (800, 120.0));
}

#[test]
fn a_mistake_is_named_with_the_remedy() {
    let sample = "[traces.sample]\nsample = true\n";
    for (text, said) in [
        ("polices = ['none']", "polices: there is no key 'polices'; did you mean 'policies'?"),
        ("policies = ['corse']", "there is no policy 'corse'; did you mean 'coarse'?"),
        ("policies = []", "policies: the list is empty"),
        ("orders = ['size']", "orders: "),
        ("options.overcomit = 1", "there is no option 'overcomit'; did you mean 'overcommit'?"),
        ("options.overcommit = 'much'", "options.overcommit: invalid value 'much'"),
        ("options.overcommit = [1]", "overcommit: a number or a text is wanted"),
        ("options.policy = 'none'", "options.policy: give 'policies' at the top"),
        ("vary.seed = [1, 2]", "vary.seed: give 'seeds' at the top"),
        ("vary.celll = [1, 2]", "did you mean 'cell'?"),
        ("vary.cell = '1..4'", "vary.cell: a range needs a step"),
        ("vary.cell = []", "vary.cell: the list is empty"),
        ("vary.cell = [4, 'x']", "vary.cell: invalid value 'x'"),
        ("vary = 1", "vary: a table is wanted, as [vary]"),
        ("seeds = 0", "from 1 to 10000"),
        ("seeds = 'ten'", "seeds: their number"),
        ("baseline = 1", "baseline: a text is wanted"),
        ("traces.a.sampel = true", "traces.a.sampel: there is no key 'sampel'; did you mean 'sample'?"),
        ("traces.a.sample = 1", "traces.a.sample: true or false is wanted"),
        ("traces.a.events = 'e'", "traces.a: one of sample = true"),
        ("traces.a = {sample = true, trace = 't'}", "traces.a: one of sample = true"),
        ("traces.'../a'.sample = true", "'../a': a trace is named by letters"),
        ("traces.a = 1", "traces.a: a table is wanted"),
    ] {
        let refused = parsed(&format!("{text}\n{sample}")).unwrap_err();
        assert!(refused.contains(said), "{text}: {refused}");
    }
    assert!(parsed("seeds = 1").unwrap_err().contains("there is no trace: add [traces.NAME]"));
}
