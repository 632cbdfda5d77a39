//! The screen of `top`: a summary, nodes, groups, decisions, and the keys. All of it is readable on 80 by 24 characters.

use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table as Rows, TableState, Wrap};
use ratatui::Frame;

use super::last_line::{key_lines, last_line};
use super::state::{GroupColumn, GroupRow, NodeColumn, State, Table};
use crate::report::{NodeMetrics, SourceMetrics};

/// Below this height, decisions give way to the tables.
const LOW: u16 = 16;

pub(super) fn draw(frame: &mut Frame, state: &State) {
    let area = frame.area();
    let nr_decisions = match area.height {
        ..LOW => 0,
        LOW..30 => 4,
        30.. => 8,
    };
    let last = last_line(state);
    // A message may be longer than the screen is wide.
    let nr_last = (last.width().div_ceil(usize::from(area.width.max(1))) as u16).clamp(1, 3);
    let tables = area.height.saturating_sub(2 + nr_last + nr_decisions);
    let nr_nodes = state.metrics().nodes.len() as u16;
    let nodes = (nr_nodes + 1).min(tables / 2).max(2);
    let heights = [2, nodes, tables.saturating_sub(nodes), nr_decisions, nr_last].map(Constraint::Length);
    let [summary, nodes, groups, decisions, keys] = Layout::vertical(heights).areas(area);
    frame.render_widget(Paragraph::new(summary_lines(state)), summary);
    draw_nodes(frame, state, nodes);
    if state.shows_keys {
        frame.render_widget(Paragraph::new(key_lines()), union(groups, decisions));
    } else if state.shows_decisions {
        frame.render_widget(Paragraph::new(decision_lines(state)), union(groups, decisions));
    } else {
        draw_groups(frame, state, groups);
        frame.render_widget(Paragraph::new(decision_lines(state)), decisions);
    }
    frame.render_widget(Paragraph::new(last).wrap(Wrap { trim: true }), keys);
}

fn union(above: Rect, below: Rect) -> Rect {
    Rect { height: above.height + below.height, ..above }
}

fn summary_lines(state: &State) -> Vec<Line<'static>> {
    let metrics = state.metrics();
    let balance = match metrics.wanted_cpus >= 0.0 {
        true => format!(
            ", wants {:.2} of {:.2} CPU, short {:.2}",
            metrics.wanted_cpus, metrics.supply_cpus, metrics.short_cpus
        ),
        false => String::new(),
    };
    let dry_run = if metrics.is_dry_run > 0 { ", DRY RUN" } else { "" };
    let first = format!(
        "round {}{dry_run}: {} tasks{balance}; {} moved, {} MiB",
        metrics.nr_rounds,
        metrics.nr_migratable,
        metrics.nodes.values().map(|node| node.nr_moved_out).sum::<u64>(),
        metrics.moved_bytes >> 20
    );
    let second = match (&state.trouble, state.is_paused()) {
        (Some(trouble), _) => Line::styled(format!("{trouble}; asking again"), alarm(state)),
        (None, true) => Line::styled("paused", bold()),
        (None, false) => Line::raw(metrics.decision.clone()),
    };
    vec![Line::styled(first, bold()), second]
}

fn draw_nodes(frame: &mut Frame, state: &State, area: Rect) {
    let sorted = |column, text: &str| heading(text, state.node_column == column, state.nodes_reversed);
    let head = Row::new([
        sorted(NodeColumn::Node, "node"),
        "cpus".into(),
        sorted(NodeColumn::Others, "others"),
        "by source, age".into(),
        "load".into(),
        sorted(NodeColumn::Work, "work"),
        sorted(NodeColumn::Queued, "queued"),
        "limit".into(),
        "in".into(),
        "out".into(),
    ]);
    let rows = state.nodes().into_iter().map(|(id, node)| {
        let mark = if id == state.metrics().destination { "*" } else { "" };
        Row::new([
            Cell::from(format!("{id}{mark}")),
            node.nr_cpus.to_string().into(),
            others(state, node),
            sources(node).into(),
            format!("{:.2}", node.load_cpus).into(),
            format!("{:.2}", node.work_cpus).into(),
            node.nr_queued.to_string().into(),
            (if node.limit_cpus < 0.0 { "-".to_owned() } else { format!("{:.2}", node.limit_cpus) }).into(),
            node.nr_moved_in.to_string().into(),
            node.nr_moved_out.to_string().into(),
        ])
    });
    // What the other columns and the gaps leave, but no more than all three sources need: figures stay near their node.
    let by_source = area.width.saturating_sub(55).clamp(20, 52);
    let widths = [
        Constraint::Length(5),
        Constraint::Length(4),
        Constraint::Length(7),
        Constraint::Length(by_source),
        Constraint::Length(5),
        Constraint::Length(5),
        Constraint::Length(7),
        Constraint::Length(5),
        Constraint::Length(4),
        Constraint::Length(4),
    ];
    draw_table(frame, area, Rows::new(rows, widths).header(head.style(head_style())), state, Table::Nodes);
}

fn draw_groups(frame: &mut Frame, state: &State, area: Rect) {
    let sorted = |column, text: &str| heading(text, state.group_column == column, state.groups_reversed);
    let shown = state.groups();
    let head = Row::new([
        "group".into(),
        sorted(GroupColumn::Name, "name"),
        sorted(GroupColumn::Node, "node"),
        sorted(GroupColumn::Work, "CPU"),
        sorted(GroupColumn::Wanted, "wants"),
        sorted(GroupColumn::Memory, "MiB"),
        "tasks".into(),
        "shares memory with".into(),
    ]);
    let rows = shown.iter().map(group_row);
    let widths = [
        Constraint::Length(8),
        Constraint::Length(16),
        Constraint::Length(5),
        Constraint::Length(5),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(5),
        Constraint::Min(18),
    ];
    draw_table(frame, area, Rows::new(rows, widths).header(head.style(head_style())), state, Table::Groups);
}

fn group_row(row: &GroupRow) -> Row<'static> {
    let report = &row.report;
    let name = match report.nr_processes {
        ..=1 => row.name.clone(),
        nr => format!("{} +{}", row.name, nr - 1),
    };
    let wanted = if report.wanted_cpus < 0.0 { "-".to_owned() } else { format!("{:.2}", report.wanted_cpus) };
    let links = match (row.nr_links, row.is_in_cluster) {
        (0, _) => String::new(),
        (nr, false) => nr.to_string(),
        (nr, true) => format!("{nr}, kept together"),
    };
    Row::new([
        report.group.to_string(),
        name,
        report.node.to_string(),
        format!("{:.2}", report.work_cpus),
        wanted,
        format!("{:.0}", report.memory_bytes / f64::from(1 << 20)),
        report.nr_tasks.to_string(),
        links,
    ])
}

/// Draw a table; the one with the focus shows its selected row, and the rows around it.
fn draw_table(frame: &mut Frame, area: Rect, rows: Rows<'_>, state: &State, table: Table) {
    let selected = match table {
        Table::Nodes => state.selected_node,
        Table::Groups => state.selected_group,
    };
    let highlight = if state.focus == table { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
    let mut at = TableState::new().with_selected(selected);
    frame.render_stateful_widget(rows.column_spacing(1).row_highlight_style(highlight), area, &mut at);
}

/// The decisions, newest first, with the reasons for what moved.
fn decision_lines(state: &State) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled("decisions, newest first", head_style())];
    for decision in state.decisions() {
        let mut texts = decision.lines();
        lines.extend(texts.next().map(|first| Line::raw(first.to_owned())));
        let mut is_reason = false;
        for text in texts {
            let heading = text.get(2..10).unwrap_or_default().trim();
            if !heading.is_empty() {
                is_reason = heading == "moves" || (state.shows_decisions && heading != "measured");
            }
            if is_reason {
                lines.push(Line::raw(text.to_owned()));
            }
        }
    }
    lines
}

fn heading(text: &str, is_sorted: bool, is_reversed: bool) -> Cell<'static> {
    match (is_sorted, is_reversed) {
        (false, _) => Cell::from(text.to_owned()),
        (true, false) => Cell::from(format!("{text}▾")),
        (true, true) => Cell::from(format!("{text}▴")),
    }
}

fn sources(node: &NodeMetrics) -> String {
    let known = |reading: &&SourceMetrics| reading.pressure_pct >= 0.0;
    let source = |(name, reading): (&String, &SourceMetrics)| match Some(reading).filter(known) {
        None => format!("{name} ?"),
        Some(reading) if reading.age_ms <= 0 => format!("{name} {}", percent(reading.pressure_pct)),
        Some(reading) => {
            format!("{name} {} {:.1}s", percent(reading.pressure_pct), reading.age_ms as f64 / 1000.0)
        }
    };
    // The newest comes first: the column may be too narrow for all. What is unknown counts only where nothing is known.
    let mut sources: Vec<(&String, &SourceMetrics)> = node.sources.iter().collect();
    sources.sort_by_key(|(_, reading)| (reading.pressure_pct < 0.0, reading.age_ms));
    let nr_known = sources.iter().filter(|(_, reading)| reading.pressure_pct >= 0.0).count();
    sources.truncate(if nr_known > 0 { nr_known } else { sources.len() });
    sources.into_iter().map(source).collect::<Vec<_>>().join(", ")
}

fn others(state: &State, node: &NodeMetrics) -> Cell<'static> {
    if node.is_drained > 0 {
        return Cell::from("drained").style(if state.has_colour { Style::new().fg(Color::Yellow) } else { bold() });
    }
    Cell::from(percent(node.pressure_pct)).style(pressure_style(state, node.pressure_pct))
}

fn percent(pct: f64) -> String {
    if pct < 0.0 {
        "?".to_owned()
    } else {
        format!("{pct:.0}%")
    }
}

pub(super) fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn head_style() -> Style {
    Style::new().add_modifier(Modifier::UNDERLINED)
}

pub(super) fn alarm(state: &State) -> Style {
    if state.has_colour {
        bold().fg(Color::Red)
    } else {
        bold()
    }
}

/// How hard others press: nothing depends on the colour alone.
fn pressure_style(state: &State, pct: f64) -> Style {
    match pct {
        _ if !state.has_colour => Style::new(),
        ..5.0 => Style::new(),
        5.0..50.0 => Style::new().fg(Color::Yellow),
        _ => Style::new().fg(Color::Red),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use ratatui::backend::TestBackend;
    use ratatui::Terminal;

    use super::super::state::tests::state;
    use super::super::state::Answer;
    use super::*;

    pub(in crate::report::top) fn screen(state: &State, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state)).unwrap();
        let buffer = terminal.backend().buffer();
        let cell = |x, y| buffer.cell((x, y)).map_or(" ", |cell| cell.symbol());
        (0..height).map(|y| (0..width).map(|x| cell(x, y)).collect::<String>().trim_end().to_owned() + "\n").collect()
    }

    #[test]
    fn a_screen_of_80_by_24_has_nodes_groups_decisions_and_keys() {
        let screen = screen(&state(), 80, 24);
        for part in [
            "round 42: 3 tasks; ",
            "\n0*    2    0%",
            "\n1     2    80%",
            "\n10       worker           0     0.50",
            "300     1     1, kept together",
            "round 41, 2.0 s ago: stay on node 0",
            "q quit  ? keys  Tab groups",
        ] {
            assert!(screen.contains(part), "no {part:?} in\n{screen}");
        }
        assert_eq!(screen.lines().count(), 24);
    }

    #[test]
    fn figures_stay_near_their_node_on_a_wide_screen() {
        let column_of_load = |width| {
            let screen = screen(&state(), width, 50);
            screen.lines().nth(2).unwrap().split("load").next().unwrap().chars().count()
        };
        assert_eq!((column_of_load(80), column_of_load(200)), (45, 72));
    }

    #[test]
    fn a_screen_of_any_size_is_drawn() {
        for (width, height) in [(1, 1), (20, 5), (80, 10), (200, 60), (40, 100)] {
            let screen = screen(&state(), width, height);
            assert!(width < 20 || screen.contains("round 42"), "{width}x{height}:\n{screen}");
        }
    }

    #[test]
    fn a_drained_node_and_a_dry_run_are_on_the_screen() {
        let mut answer = state();
        let mut metrics = answer.metrics().clone();
        metrics.is_dry_run = 1;
        metrics.nodes.get_mut(&1).unwrap().is_drained = 1;
        answer.take(Ok(Answer { metrics, ..Answer::default() }));
        let screen = screen(&answer, 80, 24);
        assert!(screen.contains("round 42, DRY RUN: ") && screen.contains("\n1     2    drained"), "{screen}");
    }

    #[test]
    fn trouble_is_on_the_screen() {
        let mut state = state();
        state.take(Err(anyhow::anyhow!("no scx_vnuma is running")));
        assert!(screen(&state, 80, 24).contains("no scx_vnuma is running; asking again"));
    }
}
