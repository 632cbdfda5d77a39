//! The last line of the screen: the keys, a question, or what became of it; and the list of all keys.

use ratatui::text::{Line, Span};

use super::draw::{alarm, bold};
use super::state::{State, Table};

/// Every key.
const KEYS: [(&str, &str); 12] = [
    ("Tab", "go to the other table"),
    ("arrows, PgUp, PgDn", "select a row; Home and End: the first, the last"),
    ("Enter", "on a node: only its groups, or all again"),
    ("s  r", "sort by the next column; turn the order round"),
    ("/", "filter groups by name or id; Esc shows all"),
    ("d", "decisions with their reasons, or groups again"),
    ("x", "drain the selected node, or take it back; asks first"),
    ("t", "begin or end a dry run; asks first"),
    ("Space", "pause"),
    ("?", "this list, or groups again"),
    ("q, Ctrl-C", "quit"),
    ("", "others: the share of CPU that others take; *: destination"),
];

/// The list of all keys.
pub(super) fn key_lines() -> Vec<Line<'static>> {
    KEYS.map(key_line).to_vec()
}

fn key_line((key, what): (&'static str, &'static str)) -> Line<'static> {
    Line::from(vec![Span::styled(format!("{key:<20}"), bold()), Span::raw(what)])
}

/// Keys, or what they led to.
pub(super) fn last_line(state: &State) -> Line<'static> {
    if let Some(action) = state.asked {
        return Line::from(vec![Span::styled(action.question(), alarm(state)), Span::styled(" y/n", bold())]);
    }
    if state.is_acting {
        return Line::styled("asking scx_vnuma…", bold());
    }
    match &state.said {
        Some(Ok(said)) => Line::styled(said.clone(), bold()),
        Some(Err(reason)) => Line::styled(reason.clone(), alarm(state)),
        None => keys_line(state),
    }
}

fn keys_line(state: &State) -> Line<'static> {
    if state.is_typing {
        return Line::from(vec![
            Span::styled("filter by name or id: ", bold()),
            Span::raw(format!("{}_", state.filter)),
        ]);
    }
    let mut filters = Vec::new();
    if let Some(node) = state.only_node {
        filters.push(format!("only node {node}"));
    }
    if !state.filter.is_empty() {
        filters.push(format!("filter '{}'", state.filter));
    }
    if !filters.is_empty() {
        let shown = state.groups().len();
        return Line::styled(
            format!("{} ({shown} of {} groups); Esc shows all", filters.join(", "), state.nr_groups()),
            bold(),
        );
    }
    let table = if state.focus == Table::Nodes { "nodes" } else { "groups" };
    Line::raw(format!("q quit  ? keys  Tab {table}  s sort  / filter  x drain  t dry run  Space pause"))
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::{KeyCode, KeyEvent};

    use super::super::draw::tests::screen;
    use super::super::state::tests::state;
    use super::*;

    fn press(state: &mut State, keys: &[KeyCode]) {
        keys.iter().for_each(|&code| state.press(KeyEvent::from(code)));
    }

    #[test]
    fn the_question_its_outcome_and_all_keys_fit_on_80_by_24() {
        let mut state = state();
        press(&mut state, &[KeyCode::Tab, KeyCode::Char('x')]);
        let asked = screen(&state, 80, 24);
        assert!(
            asked.ends_with("\ndrain node 0: its work leaves, and none comes, also after a restart? y/n\n"),
            "{asked}"
        );
        press(&mut state, &[KeyCode::Esc]);
        let reason = "it can't be done, because of something that takes far more words to say than a line of this screen has room for";
        state.note_outcome(Err(anyhow::anyhow!("{reason}")));
        let refused = screen(&state, 80, 24);
        assert!(refused.lines().rev().take(2).all(|line| reason.contains(line.trim())), "{refused}");
        press(&mut state, &[KeyCode::Char('?')]);
        let keys = screen(&state, 80, 24);
        for (key, what) in KEYS {
            assert!(keys.contains(key) && keys.contains(what), "no {key} in\n{keys}");
        }
        for (focus, table) in [(Table::Nodes, "nodes"), (Table::Groups, "groups")] {
            state.focus = focus;
            let line = keys_line(&state).to_string();
            assert!(line.len() <= 80 && line.contains(table) && line.ends_with("pause"), "{line}");
        }
    }
}
