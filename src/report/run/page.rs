//! The page around the chart: what ran, in numbers, and the moves with their reasons.

use std::fmt::Write;

use super::chart;
use super::text::{self, percent, Clock};
use super::timeline::{NodeBin, NodeTotals, Timeline};
use crate::cell::{NodeId, Payoff};
use crate::decision_log::Header;
use crate::html::{self, escape};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What the page shows.
pub(super) struct Run<'a> {
    /// The log's file name.
    pub name: &'a str,
    pub header: &'a Header,
    pub timeline: &'a Timeline,
    pub clock: Clock,
    pub torn_line: Option<u64>,
}

/// The whole page.
pub(super) fn html(run: &Run<'_>) -> String {
    let policy = &run.header.policy;
    let mut body = format!("<main>\n<h1>Where the work ran under {}</h1>\n", escape(policy));
    notes(&mut body, run);
    summary(&mut body, run);
    body.push_str("<section aria-labelledby=\"nodes-over-time\"><h2 id=\"nodes-over-time\">Nodes over time</h2>\n");
    body.push_str(&chart::html(run.timeline, run.clock));
    caption(&mut body, run);
    body.push_str("</section>\n");
    nodes(&mut body, run.timeline);
    moves(&mut body, run);
    let _ = write!(body, "</main>\n<script>\n{SCRIPT}</script>\n");
    html::page(&format!("{policy}: {}", run.name), STYLE, &body)
}

/// The log, and what the reader should know about it.
fn notes(body: &mut String, run: &Run<'_>) {
    let totals = &run.timeline.totals;
    let rounds = match totals.rounds {
        1 => "1 round".to_owned(),
        nr => format!("{nr} rounds"),
    };
    let mut notes = vec![format!("<code>{}</code>: {rounds}", escape(run.name))];
    match run.clock.interval_s {
        Some(interval_s) => notes.push(format!("one each {interval_s} s, over {}", run.clock.time(run.timeline.end()))),
        None => notes.push("of unknown length; <code>--interval</code> tells it".to_owned()),
    }
    if run.header.guards.is_some() && run.header.policy != "auto" {
        notes.push("with guards".to_owned());
    }
    let _ = writeln!(body, "<p class=\"sub\">{}</p>", notes.join(", "));
    let mut warnings = Vec::new();
    if let Some(line) = run.torn_line {
        warnings.push(format!("Line {line} of the log is cut short and left out."));
    }
    if totals.missing > 0.0 {
        warnings.push(format!("{:.0} rounds are missing in the log, and left blank.", totals.missing));
    }
    if !run.timeline.reloads.is_empty() {
        warnings.push(format!(
            "The scheduler class was loaded again {}, at the dashed lines.",
            match run.timeline.reloads.len() {
                1 => "once".to_owned(),
                nr => format!("{nr} times"),
            }
        ));
    }
    for warning in warnings {
        let _ = writeln!(body, "<p class=\"warning\">{warning}</p>");
    }
}

/// The run in a few numbers.
fn summary(body: &mut String, run: &Run<'_>) {
    let Timeline { nodes, totals, .. } = run.timeline;
    let sum = |of: fn(&NodeBin) -> f64| nodes.values().map(|node| of(&node.sums)).sum::<f64>();
    let mean = |sum: f64, rounds: f64| if rounds > 0.0 { format!("{:.2} CPU", sum / rounds) } else { "?".to_owned() };
    let harvest = percent(sum(|node| node.work_known), sum(|node| node.left)).unwrap_or("?".to_owned());
    let work = mean(sum(|node| node.work), totals.covered);
    let mut tiles = vec![
        ("harvest", harvest, "of the CPU that others left, by migratable work".to_owned()),
        ("work ran on", work, format!("of {} in the mean", mean(sum(|node| node.left), totals.covered))),
    ];
    if totals.balanced > 0.0 {
        let short = format!("short of {} in the mean", mean(totals.short, totals.balanced));
        tiles.push(("work wanted", mean(totals.wanted, totals.balanced), short));
        let used = percent(sum(|node| node.work) / totals.covered, totals.supply / totals.balanced);
        let supply = format!("what the policy would give; {} of it was used", used.unwrap_or("?".to_owned()));
        tiles.push(("supply", mean(totals.supply, totals.balanced), supply));
    }
    let rounds = if totals.moving_rounds == 1 { "round" } else { "rounds" };
    tiles.push(("groups moved", totals.moved.groups.to_string(), format!("in {} {rounds}", totals.moving_rounds)));
    tiles.push(("memory moved", text::bytes(totals.moved.bytes), "resident memory of these groups".to_owned()));
    if !totals.judged.is_empty() {
        let nr = |payoff| totals.judged.get(&payoff).copied().unwrap_or(0);
        let all: u64 = totals.judged.values().sum();
        let about = format!(
            "of the moves that were judged; {} made no difference, {} lost; {:+.2} CPU in all",
            nr(Payoff::Even),
            nr(Payoff::Lost),
            totals.gained_cpus
        );
        tiles.push(("moves that paid", format!("{} of {all}", nr(Payoff::Gained)), about));
    }
    let hits: u64 = nodes.values().map(|node| node.sums.hits).sum();
    if hits > 0 {
        tiles.push(("hits", hits.to_string(), "times that others' use of a node jumped".to_owned()));
    }
    let tile = |(name, value, about): &(&str, String, String)| {
        format!("<div><dt>{name}</dt><dd>{value}</dd><dd class=\"about\">{about}</dd></div>")
    };
    let tiles: String = tiles.iter().map(tile).collect();
    let _ = writeln!(body, "<dl class=\"tiles\">{tiles}</dl>");
}

fn caption(body: &mut String, run: &Run<'_>) {
    let bin = match run.timeline.bin_rounds {
        1.0 => String::new(),
        rounds => format!(" Each point is the mean of {rounds:.0} rounds, and the lowest limit of them."),
    };
    let _ = writeln!(
        body,
        "<p id=\"keys\" class=\"caption\">A row is the CPU of a node: work from below, others from above.{bin} Point at a row, or \
         focus the chart and use the arrow keys (Page Up and Page Down for a tenth of the run, N and P for the next and previous \
         move, Escape to leave), to see values and reasons.</p>"
    );
}

/// The table of nodes.
fn nodes(body: &mut String, timeline: &Timeline) {
    body.push_str("<section><h2>Nodes</h2>\n");
    let head = [
        "node",
        "CPUs",
        "work",
        "rest of the guest",
        "others",
        "unknown",
        "limited",
        "groups in",
        "out",
        "hits",
        "verdicts",
    ];
    let rows: Vec<Vec<String>> = timeline.nodes.iter().map(|(id, node)| node_cells(*id, node)).collect();
    let _ = write!(body, "<div class=\"nodes\">{}</div>", html::table(&head, &rows));
    body.push_str("<p class=\"caption\">Means over the time in which the node had CPUs; others over the time in which they are \
                   known. Unknown and limited are shares of that time, verdicts shares of the rounds that judged the node.</p></section>\n");
}

fn node_cells(id: NodeId, node: &NodeTotals) -> Vec<String> {
    let sums = &node.sums;
    let mean = |sum: f64| if sums.online > 0.0 { format!("{:.2}", sum / sums.online) } else { "–".to_owned() };
    let share = |part: f64| percent(part, sums.online).unwrap_or("–".to_owned());
    let judged: u64 = node.verdicts.values().sum();
    let mut verdicts: Vec<(&str, u64)> = node.verdicts.iter().map(|(&kind, &nr)| (kind, nr)).collect();
    verdicts.sort_by_key(|&(_, nr)| std::cmp::Reverse(nr));
    let verdict = |&(kind, nr): &(&str, u64)| Some(format!("{kind} {}", percent(nr as f64, judged as f64)?));
    vec![
        id.to_string(),
        format!("{}", sums.capacity_cpus),
        mean(sums.work),
        mean(sums.rest),
        percent(sums.others, sums.others + sums.left).unwrap_or("?".to_owned()),
        share(sums.online - sums.known),
        share(sums.limited),
        sums.groups_in.to_string(),
        sums.groups_out.to_string(),
        sums.hits.to_string(),
        verdicts.iter().filter_map(verdict).collect::<Vec<_>>().join(", "),
    ]
}

/// The table of moves.
fn moves(body: &mut String, run: &Run<'_>) {
    /// More are folded away.
    const OPEN_MAX: usize = 12;

    let Timeline { moves, totals, .. } = run.timeline;
    body.push_str("<section><h2>Moves</h2>\n");
    if moves.is_empty() {
        body.push_str("<p>Nothing moved.</p></section>\n");
        return;
    }
    let row = |moving: &super::timeline::MovingRound| {
        vec![run.clock.time(moving.at), moving.round.to_string(), text::routes(&moving.routes), moving.why.clone()]
    };
    let rows: Vec<Vec<String>> = moves.iter().map(row).collect();
    let shown = match moves.len() as u64 == totals.moving_rounds {
        true if moves.len() == 1 => "One round moved something".to_owned(),
        true => format!("{} rounds moved something", moves.len()),
        false => format!("The first {} of {} rounds that moved something", moves.len(), totals.moving_rounds),
    };
    let open = if moves.len() <= OPEN_MAX { " open" } else { "" };
    let table = html::table(&["time", "round", "what", "why"], &rows);
    let _ = writeln!(body, "<details{open} class=\"moves\"><summary>{shown}</summary>{table}</details></section>");
}
