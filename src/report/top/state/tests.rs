//! The keys, the order and the filter of `top`, without a terminal.

use super::*;
use crate::report::{Sharer, SharingPair};

/// Two nodes, of which others take most of the second, and three groups.
pub(in crate::report::top) fn state() -> State {
    let node = |pressure_pct, work_cpus, nr_queued| NodeMetrics {
        nr_cpus: 2,
        pressure_pct,
        work_cpus,
        nr_queued,
        limit_cpus: -1.0,
        ..NodeMetrics::default()
    };
    let group = |group, node, work_cpus, memory_mib: u32| GroupReport {
        group,
        node,
        work_cpus,
        memory_bytes: f64::from(memory_mib << 20),
        nr_tasks: 1,
        ..GroupReport::default()
    };
    let sharer = |group| Sharer { group, ..Sharer::default() };
    let pair = SharingPair { a: sharer(11), b: sharer(12), ..SharingPair::default() };
    let answer = Answer {
        metrics: Metrics {
            nr_rounds: 42,
            nr_migratable: 3,
            nodes: [(0, node(0.0, 0.5, 0)), (1, node(80.0, 0.25, 3))].into(),
            ..Metrics::new(crate::cell::NodeId(0))
        },
        groups: vec![group(10, 0, 0.5, 1), group(11, 1, 0.25, 300), group(12, 1, 0.0, 20)],
        decisions: vec!["round 41, 2.0 s ago: stay on node 0\n  stays    node 0: calm\n".to_owned()],
        links: LinksReport { links: vec![pair], clusters: vec![vec![11, 12]], ..LinksReport::default() },
    };
    let mut state = State::new(true);
    state.take(Ok(answer));
    state.names = [(0, "worker".to_owned())].into();
    state
}

fn press(state: &mut State, keys: &str) {
    for c in keys.chars() {
        let code = match c {
            '\t' => KeyCode::Tab,
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '↓' => KeyCode::Down,
            c => KeyCode::Char(c),
        };
        state.press(KeyEvent::from(code));
    }
}

fn shown(state: &State) -> Vec<u64> {
    state.groups().iter().map(|row| row.report.group).collect()
}

#[test]
fn groups_are_sorted_by_the_column_that_the_key_chose() {
    let mut state = state();
    assert_eq!(shown(&state), [10, 11, 12]);
    press(&mut state, "ss");
    assert_eq!(shown(&state), [11, 12, 10], "by memory");
    press(&mut state, "r");
    assert_eq!(shown(&state), [10, 12, 11]);
}

#[test]
fn nodes_are_sorted_when_they_have_the_focus() {
    let mut state = state();
    press(&mut state, "\ts");
    assert_eq!(state.nodes()[0].0, 1, "others take most of node 1");
    assert_eq!(shown(&state), [10, 11, 12]);
}

#[test]
fn a_filter_is_typed_and_cleared() {
    let mut state = state();
    press(&mut state, "/1q");
    assert_eq!((state.filter.as_str(), state.has_quit()), ("1q", false));
    press(&mut state, "\u{1b}/12\n");
    assert_eq!(shown(&state), [12]);
    press(&mut state, "\u{1b}");
    assert_eq!(shown(&state).len(), 3);
}

#[test]
fn enter_on_a_node_shows_its_groups_only() {
    let mut state = state();
    press(&mut state, "\t↓\n");
    assert_eq!(shown(&state), [11, 12]);
    press(&mut state, "\n");
    assert_eq!(shown(&state).len(), 3);
}

#[test]
fn sharers_are_marked() {
    let rows = state().groups();
    let links: Vec<(usize, bool)> = rows.iter().map(|row| (row.nr_links, row.is_in_cluster)).collect();
    assert_eq!(links, [(0, false), (1, true), (1, true)]);
}

#[test]
fn without_an_answer_the_last_one_stays_and_the_trouble_is_told() {
    let mut state = state();
    state.take(Err(anyhow::anyhow!("no scx_vnuma is running")));
    assert_eq!((shown(&state).len(), state.trouble.as_deref()), (3, Some("no scx_vnuma is running")));
    let answer = state.answer.clone();
    state.take(Ok(answer));
    assert_eq!(state.trouble, None);
}

#[test]
fn q_and_control_c_quit_and_the_blank_pauses() {
    let (mut by_q, mut by_c) = (state(), state());
    press(&mut by_q, " q");
    by_c.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert!(by_q.is_paused() && by_q.has_quit() && by_c.has_quit());
}

#[test]
fn a_node_is_drained_only_after_a_yes() {
    let mut state = state();
    press(&mut state, "x");
    assert!(state.asked.is_none() && state.said.as_ref().is_some_and(|said| said.is_err()), "no node has the focus");
    press(&mut state, "\t↓x");
    assert_eq!((state.asked, state.take_confirmed()), (Some(TopAction::Drain(1)), None));
    press(&mut state, "q");
    assert!(!state.has_quit() && state.said == Some(Ok("nothing is changed".to_owned())));
    assert_eq!((state.asked, state.take_confirmed()), (None, None));
    press(&mut state, "xy");
    assert_eq!((state.take_confirmed(), state.is_acting), (Some(TopAction::Drain(1)), true));
    press(&mut state, "x");
    assert_eq!((state.asked, state.take_confirmed()), (None, None), "one at a time");
    state.note_outcome(Err(anyhow::anyhow!("must be done as root")));
    assert_eq!(state.said, Some(Err("must be done as root".to_owned())));
    press(&mut state, "↓");
    assert_eq!(state.said, None);
}

#[test]
fn a_drained_node_is_taken_back_and_a_dry_run_is_turned_by_what_is_so_now() {
    let mut state = state();
    state.answer.metrics.nodes.get_mut(&0).unwrap().is_drained = 1;
    press(&mut state, "\txy");
    assert_eq!(state.take_confirmed(), Some(TopAction::Undrain(0)));
    state.note_outcome(Ok(String::new()));
    press(&mut state, "ty");
    assert_eq!(state.take_confirmed(), Some(TopAction::DryRun(true)));
    state.note_outcome(Ok(String::new()));
    state.answer.metrics.is_dry_run = 1;
    press(&mut state, "ty");
    assert_eq!(state.take_confirmed(), Some(TopAction::DryRun(false)));
    state.note_outcome(Ok(String::new()));
    state.take(Err(anyhow::anyhow!("no scx_vnuma is running")));
    press(&mut state, "t");
    assert!(state.asked.is_none() && state.said.is_some_and(|said| said.is_err()));
}
