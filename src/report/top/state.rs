//! What `top` shows, and what keys change. No terminal, no daemon.

use std::cmp::Ordering;
use std::collections::HashMap;

use anyhow::Result;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::action::TopAction;
use crate::report::{GroupReport, LinksReport, Metrics, NodeMetrics};

/// What the daemon said.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub metrics: Metrics,
    pub groups: Vec<GroupReport>,
    /// Newest last, each of several lines.
    pub decisions: Vec<String>,
    pub links: LinksReport,
}

/// A table of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Nodes,
    Groups,
}

/// The columns by which nodes can be sorted, in order of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeColumn {
    Node,
    Others,
    Work,
    Queued,
}

/// The columns by which groups can be sorted, in order of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupColumn {
    Work,
    Wanted,
    Memory,
    Node,
    Name,
}

const NODE_COLUMNS: [NodeColumn; 4] = [NodeColumn::Node, NodeColumn::Others, NodeColumn::Work, NodeColumn::Queued];
const GROUP_COLUMNS: [GroupColumn; 5] =
    [GroupColumn::Work, GroupColumn::Wanted, GroupColumn::Memory, GroupColumn::Node, GroupColumn::Name];

/// A row of the table of groups.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GroupRow {
    pub report: GroupReport,
    pub name: String,
    /// The groups that it shares memory with, as far as known.
    pub nr_links: usize,
    /// It is kept together with others.
    pub is_in_cluster: bool,
}

#[derive(Clone, Debug)]
pub(super) struct State {
    answer: Answer,
    names: HashMap<u32, String>,
    /// Why there was no answer the last time.
    pub trouble: Option<String>,
    pub has_colour: bool,
    pub focus: Table,
    pub node_column: NodeColumn,
    pub group_column: GroupColumn,
    /// The order of each table is turned round.
    pub nodes_reversed: bool,
    pub groups_reversed: bool,
    pub filter: String,
    pub is_typing: bool,
    /// Only groups of this node are shown.
    pub only_node: Option<u32>,
    pub selected_node: usize,
    pub selected_group: usize,
    pub shows_decisions: bool,
    pub shows_keys: bool,
    /// What the user must confirm.
    pub asked: Option<TopAction>,
    confirmed: Option<TopAction>,
    /// It is being done.
    pub is_acting: bool,
    /// What was done, or why nothing was; until the next key.
    pub said: Option<Result<String, String>>,
    is_paused: bool,
    has_quit: bool,
}

impl State {
    /// Nothing has been asked yet.
    pub fn new(has_colour: bool) -> Self {
        State {
            answer: Answer::default(),
            names: HashMap::new(),
            trouble: None,
            has_colour,
            focus: Table::Groups,
            node_column: NodeColumn::Node,
            group_column: GroupColumn::Work,
            nodes_reversed: false,
            groups_reversed: false,
            filter: String::new(),
            is_typing: false,
            only_node: None,
            selected_node: 0,
            selected_group: 0,
            shows_decisions: false,
            shows_keys: false,
            asked: None,
            confirmed: None,
            is_acting: false,
            said: None,
            is_paused: false,
            has_quit: false,
        }
    }

    /// Take over an answer, or keep the last one and say what is wrong.
    pub fn take(&mut self, answer: Result<Answer>) {
        match answer {
            Ok(answer) => {
                self.names = answer.groups.iter().map(|group| (group.tgid, name_of(group.tgid))).collect();
                self.answer = answer;
                self.trouble = None;
            }
            Err(err) => self.trouble = Some(format!("{err:#}")),
        }
    }

    pub fn metrics(&self) -> &Metrics {
        &self.answer.metrics
    }

    /// The decisions, newest first.
    pub fn decisions(&self) -> impl Iterator<Item = &str> {
        self.answer.decisions.iter().rev().map(String::as_str)
    }

    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub fn has_quit(&self) -> bool {
        self.has_quit
    }

    /// The nodes as sorted.
    pub fn nodes(&self) -> Vec<(u32, &NodeMetrics)> {
        let mut nodes: Vec<(u32, &NodeMetrics)> =
            self.answer.metrics.nodes.iter().map(|(&id, node)| (id, node)).collect();
        let most_first = |a: f64, b: f64| b.total_cmp(&a);
        nodes.sort_by(|(a_id, a), (b_id, b)| {
            let order = match self.node_column {
                NodeColumn::Node => Ordering::Equal,
                NodeColumn::Others => most_first(a.pressure_pct, b.pressure_pct),
                NodeColumn::Work => most_first(a.work_cpus, b.work_cpus),
                NodeColumn::Queued => b.nr_queued.cmp(&a.nr_queued),
            };
            turned(order.then(a_id.cmp(b_id)), self.nodes_reversed)
        });
        nodes
    }

    /// The groups that pass the filter, as sorted.
    pub fn groups(&self) -> Vec<GroupRow> {
        let mut rows: Vec<GroupRow> = self.answer.groups.iter().map(|report| self.row(report)).collect();
        rows.retain(|row| self.passes(row));
        let most_first = |a: f64, b: f64| b.total_cmp(&a);
        rows.sort_by(|a, b| {
            let (x, y) = (&a.report, &b.report);
            let order = match self.group_column {
                GroupColumn::Work => most_first(x.work_cpus, y.work_cpus),
                GroupColumn::Wanted => most_first(x.wanted_cpus, y.wanted_cpus),
                GroupColumn::Memory => most_first(x.memory_bytes, y.memory_bytes),
                GroupColumn::Node => x.node.cmp(&y.node).then(most_first(x.work_cpus, y.work_cpus)),
                GroupColumn::Name => a.name.cmp(&b.name),
            };
            turned(order.then(x.group.cmp(&y.group)), self.groups_reversed)
        });
        rows
    }

    /// Number of groups without the filter.
    pub fn nr_groups(&self) -> usize {
        self.answer.groups.len()
    }

    fn row(&self, report: &GroupReport) -> GroupRow {
        let links = &self.answer.links;
        let is_in = |pair: &&crate::report::SharingPair| [pair.a.group, pair.b.group].contains(&report.group);
        GroupRow {
            name: self.names.get(&report.tgid).cloned().unwrap_or_default(),
            nr_links: links.links.iter().filter(is_in).count(),
            is_in_cluster: links.clusters.iter().any(|cluster| cluster.contains(&report.group)),
            report: report.clone(),
        }
    }

    fn passes(&self, row: &GroupRow) -> bool {
        let is_there = self.only_node.is_none_or(|node| row.report.node == node);
        is_there && (row.name.contains(&self.filter) || row.report.group.to_string().contains(&self.filter))
    }

    /// A key was pressed.
    pub fn press(&mut self, key: KeyEvent) {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            self.has_quit |= key.code == KeyCode::Char('c');
            return;
        }
        self.said = None;
        match (self.asked.take(), self.is_typing) {
            (Some(action), _) => self.answer_key(action, key.code),
            (None, true) => self.type_key(key.code),
            (None, false) => self.command_key(key.code),
        }
        self.keep_selection();
    }

    /// What the user has confirmed, once.
    pub fn take_confirmed(&mut self) -> Option<TopAction> {
        let action = self.confirmed.take();
        self.is_acting |= action.is_some();
        action
    }

    /// What became of it.
    pub fn note_outcome(&mut self, outcome: Result<String>) {
        self.is_acting = false;
        self.said = Some(outcome.map_err(|err| format!("{err:#}")));
    }

    /// Only `y` confirms.
    fn answer_key(&mut self, action: TopAction, code: KeyCode) {
        match code {
            KeyCode::Char('y' | 'Y') => self.confirmed = Some(action),
            _ => self.said = Some(Ok("nothing is changed".to_owned())),
        }
    }

    /// Ask before something is done. While something else is being done, the key has no effect.
    fn ask(&mut self, action: Result<TopAction, &str>) {
        match action {
            _ if self.is_acting => {}
            Ok(action) => self.asked = Some(action),
            Err(reason) => self.said = Some(Err(reason.to_owned())),
        }
    }

    /// Drain the selected node, or take it back.
    fn drain_selected(&self) -> Result<TopAction, &'static str> {
        if self.focus != Table::Nodes {
            return Err("select a node first: Tab goes to the nodes, and the arrow keys select one");
        }
        let nodes = self.nodes();
        let &(id, node) = nodes.get(self.selected_node).ok_or("there is no node to drain")?;
        Ok(if node.is_drained > 0 { TopAction::Undrain(id) } else { TopAction::Drain(id) })
    }

    fn turn_dry_run(&self) -> Result<TopAction, &'static str> {
        match self.trouble {
            None => Ok(TopAction::DryRun(self.metrics().is_dry_run == 0)),
            Some(_) => Err("nobody answers, so a dry run can neither begin nor end"),
        }
    }

    fn type_key(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => (self.is_typing, self.filter) = (false, String::new()),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(c) => self.filter.push(c),
            _ => {}
        }
    }

    fn command_key(&mut self, code: KeyCode) {
        /// Rows that Page Up and Page Down go.
        const PAGE: usize = 10;

        match code {
            KeyCode::Char('q') => self.has_quit = true,
            KeyCode::Char(' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('d') => self.shows_decisions = !self.shows_decisions,
            KeyCode::Char('x') => self.ask(self.drain_selected()),
            KeyCode::Char('t') => self.ask(self.turn_dry_run()),
            KeyCode::Char('?' | 'h') => self.shows_keys = !self.shows_keys,
            KeyCode::Char('s') => self.next_column(),
            KeyCode::Char('r') => match self.focus {
                Table::Nodes => self.nodes_reversed = !self.nodes_reversed,
                Table::Groups => self.groups_reversed = !self.groups_reversed,
            },
            KeyCode::Tab | KeyCode::BackTab => {
                self.focus = if self.focus == Table::Nodes { Table::Groups } else { Table::Nodes };
            }
            KeyCode::Esc if self.shows_keys => self.shows_keys = false,
            KeyCode::Esc => (self.only_node, self.filter) = (None, String::new()),
            KeyCode::Enter if self.focus == Table::Nodes => {
                let node = self.nodes().get(self.selected_node).map(|(id, _)| *id);
                self.only_node = if self.only_node == node { None } else { node };
            }
            KeyCode::Up => self.select(|at| at.saturating_sub(1)),
            KeyCode::Down => self.select(|at| at + 1),
            KeyCode::PageUp => self.select(|at| at.saturating_sub(PAGE)),
            KeyCode::PageDown => self.select(|at| at + PAGE),
            KeyCode::Home => self.select(|_| 0),
            KeyCode::End => self.select(|_| usize::MAX),
            _ => {}
        }
    }

    fn next_column(&mut self) {
        match self.focus {
            Table::Nodes => self.node_column = next(&NODE_COLUMNS, self.node_column),
            Table::Groups => self.group_column = next(&GROUP_COLUMNS, self.group_column),
        }
    }

    fn select(&mut self, to: impl Fn(usize) -> usize) {
        match self.focus {
            Table::Nodes => self.selected_node = to(self.selected_node),
            Table::Groups => self.selected_group = to(self.selected_group),
        }
    }

    fn keep_selection(&mut self) {
        self.selected_node = self.selected_node.min(self.answer.metrics.nodes.len().saturating_sub(1));
        self.selected_group = self.selected_group.min(self.groups().len().saturating_sub(1));
    }
}

fn turned(order: Ordering, is_reversed: bool) -> Ordering {
    if is_reversed {
        order.reverse()
    } else {
        order
    }
}

fn next<T: Copy + PartialEq>(all: &[T], now: T) -> T {
    let at = all.iter().position(|one| *one == now).unwrap_or(0);
    all[(at + 1) % all.len()]
}

/// The name of a process of this machine; empty if it has ended. Control characters would upset the terminal.
fn name_of(tgid: u32) -> String {
    let name = std::fs::read(format!("/proc/{tgid}/comm")).unwrap_or_default();
    let name = String::from_utf8_lossy(&name);
    name.trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
pub(super) mod tests;
